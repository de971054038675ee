/* AdamW on CUDA: weights and moments in float32, with a copy of the weights in 16 bits where there is one. */
#include "nn_adamw.cuh"

/* Without a copy TYPE does not matter. */
template <kd_view_type TYPE, bool COPY> struct adamw_work {
    float *w, *m, *v;
    const float *g;
    void *w16;
    kd_adamw_factors f;
    template <int N> GPU void at(int64_t i) const
    {
        float x[N], first[N], second[N], gradient[N];
        nn_read<KD_VIEW_F32>(x, w, i);
        nn_read<KD_VIEW_F32>(first, m, i);
        nn_read<KD_VIEW_F32>(second, v, i);
        nn_read<KD_VIEW_F32>(gradient, g, i);
#pragma unroll
        for (int j = 0; j < N; j++) nn_adamw_element(&x[j], &first[j], &second[j], gradient[j], f);
        nn_write<KD_VIEW_F32>(w, i, x);
        nn_write<KD_VIEW_F32>(m, i, first);
        nn_write<KD_VIEW_F32>(v, i, second);
        if (COPY) nn_write<TYPE>(w16, i, x);
    }
};

template <int N, class WORK>
static __global__ void __launch_bounds__(NN_EACH) adamw_each(WORK work, double clip, const kd_step_sums *sums, int64_t n)
{
    if (!sums->finite) return;
    work.f = nn_adamw_factors(work.f, clip, sums);
    nn_each_of<N>(work, n);
}

template <kd_view_type TYPE, bool COPY> static kd_status adamw(kd_ctx *ctx, const kd_adamw_args *a)
{
    typedef adamw_work<TYPE, COPY> WORK;
    const kd_step_sums unknown = {};
    const WORK work = {a->w, a->m, a->v, a->g, a->w16.data, kd_adamw_prepare(a->adamw, &unknown)};
    bool packs = nn_aligned(a->w, 16) && nn_aligned(a->m, 16) && nn_aligned(a->v, 16) && nn_aligned(a->g, 16) && nn_aligned(a->w16.data, 8);
    void (*kernel)(WORK, double, const kd_step_sums *, int64_t) = packs ? adamw_each<4, WORK> : adamw_each<1, WORK>;
    unsigned blocks = nn_blocks(kd_segments(kd_segments(a->n, packs ? 4 : 1), NN_EACH), 64 * (int64_t)ctx->cuda->multiprocessors);
    KD_LAUNCH(kernel, blocks, NN_EACH, 0, ctx->cuda->stream, work, a->adamw->clip, a->sums, a->n);
    return kd_cuda_launched("AdamW");
}

extern "C" kd_status kd_adamw_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_adamw_args *a = (const kd_adamw_args *)args;
    (void)workspace;
    if (!a->w16.data) return adamw<KD_VIEW_F32, false>(ctx, a);
    if (a->w16.type == KD_VIEW_F32) return kd_fail(KD_ENOTSUP, "AdamW on CUDA: a copy of the weights has 16 bits");
    return a->w16.type == KD_VIEW_BF16 ? adamw<KD_VIEW_BF16, true>(ctx, a) : adamw<KD_VIEW_F16, true>(ctx, a);
}

/* Operations element by element on CUDA: one access of 16 bytes for each array and thread where the arrays begin at such addresses. */
#include "nn_gpu.cuh"

/* ---- swiglu ----------------------------------------------------------------------------------------------------------------- */

template <kd_view_type TYPE> struct swiglu_work {
    kd_swiglu_args a;
    template <int N> GPU void at(int64_t i) const
    {
        float gate[N], up[N];
        nn_read<TYPE>(gate, a.gate.data, i);
        nn_read<TYPE>(up, a.up.data, i);
#pragma unroll
        for (int j = 0; j < N; j++) up[j] *= gate[j] * nn_sigmoid(gate[j]);
        nn_write<TYPE>(a.out.data, i, up);
    }
};

/* silu' = s + x s (1 - s) with s = 1/(1+e^-x) */
template <kd_view_type TYPE> struct swiglu_backward_work {
    kd_swiglu_backward_args a;
    template <int N> GPU void at(int64_t i) const
    {
        float gate[N], up[N], dout[N], out[N];
        nn_read<TYPE>(gate, a.gate.data, i);
        nn_read<TYPE>(up, a.up.data, i);
        nn_read<TYPE>(dout, a.dout.data, i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float s = nn_sigmoid(gate[j]), silu = gate[j] * s;
            out[j] = silu * up[j];
            gate[j] = dout[j] * up[j] * fmaf(silu, 1.0f - s, s);
            up[j] = dout[j] * silu;
        }
        nn_write<TYPE>(a.dgate.data, i, gate);
        nn_write<TYPE>(a.dup.data, i, up);
        if (a.out.data) nn_write<TYPE>(a.out.data, i, out);
    }
};

/* ---- add, copy, round --------------------------------------------------------------------------------------------------------- */

template <kd_view_type TYPE> struct add_work {
    void *out;
    const void *x;
    template <int N> GPU void at(int64_t i) const
    {
        float sum[N], term[N];
        nn_read<TYPE>(sum, out, i);
        nn_read<TYPE>(term, x, i);
#pragma unroll
        for (int j = 0; j < N; j++) sum[j] += term[j];
        nn_write<TYPE>(out, i, sum);
    }
};

template <kd_view_type OUT, kd_view_type IN> struct convert_work {
    void *out;
    const void *x;
    template <int N> GPU void at(int64_t i) const
    {
        float y[N];
        nn_read<IN>(y, x, i);
        nn_write<OUT>(out, i, y);
    }
};

template <kd_view_type TYPE> struct round_work {
    void *x;
    template <int N> GPU void at(int64_t i) const
    {
        float y[N];
        nn_read<TYPE>(y, x, i);
#pragma unroll
        for (int j = 0; j < N; j++) y[j] = gpu_widen_bf16(gpu_bf16(y[j]));
        nn_write<TYPE>(x, i, y);
    }
};

/* ---- launches ------------------------------------------------------------------------------------------------------------------- */

/* In packs of N elements, if all of the arrays allow it. */
template <int N, class WORK> static kd_status run(const char *what, const WORK &work, int64_t n, bool aligned, cudaStream_t stream)
{
    if (aligned) nn_run_each<N>(work, n, NN_MANY, stream);
    else nn_run_each<1>(work, n, NN_MANY, stream);
    return kd_cuda_launched(what);
}

template <kd_view_type TYPE> static kd_status swiglu(kd_ctx *ctx, const kd_swiglu_args *a)
{
    bool aligned = nn_aligned(a->out.data, 16) && nn_aligned(a->gate.data, 16) && nn_aligned(a->up.data, 16);
    return run<nn_wide<TYPE>>("swiglu", swiglu_work<TYPE>{*a}, a->n, aligned, ctx->cuda->stream);
}

extern "C" kd_status kd_swiglu_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_swiglu_args *a = (const kd_swiglu_args *)args;
    const kd_array arrays[] = {a->out, a->gate, a->up};
    (void)workspace;
    KD_TRY(kd_gpu_same_type("swiglu", arrays, 3));
    if (a->out.type == KD_VIEW_F32) return swiglu<KD_VIEW_F32>(ctx, a);
    return a->out.type == KD_VIEW_BF16 ? swiglu<KD_VIEW_BF16>(ctx, a) : swiglu<KD_VIEW_F16>(ctx, a);
}

template <kd_view_type TYPE> static kd_status swiglu_backward(kd_ctx *ctx, const kd_swiglu_backward_args *a)
{
    bool aligned = nn_aligned(a->dgate.data, 16) && nn_aligned(a->dup.data, 16) && nn_aligned(a->out.data, 16) &&
                   nn_aligned(a->dout.data, 16) && nn_aligned(a->gate.data, 16) && nn_aligned(a->up.data, 16);
    return run<nn_wide<TYPE>>("swiglu backward", swiglu_backward_work<TYPE>{*a}, a->n, aligned, ctx->cuda->stream);
}

extern "C" kd_status kd_swiglu_backward_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_swiglu_backward_args *a = (const kd_swiglu_backward_args *)args;
    const kd_array arrays[] = {a->dgate, a->dup, a->out, a->dout, a->gate, a->up};
    (void)workspace;
    KD_TRY(kd_gpu_same_type("swiglu backward", arrays, 6));
    if (a->gate.type == KD_VIEW_F32) return swiglu_backward<KD_VIEW_F32>(ctx, a);
    return a->gate.type == KD_VIEW_BF16 ? swiglu_backward<KD_VIEW_BF16>(ctx, a) : swiglu_backward<KD_VIEW_F16>(ctx, a);
}

template <kd_view_type TYPE> static kd_status add(void *out, const void *x, int64_t n, cudaStream_t stream)
{
    return run<nn_wide<TYPE>>("add", add_work<TYPE>{out, x}, n, nn_aligned(out, 16) && nn_aligned(x, 16), stream);
}

extern "C" kd_status kd_gpu_add_f32(float *out, const float *x, int64_t n, cudaStream_t stream)
{
    return n > 0 ? add<KD_VIEW_F32>(out, x, n, stream) : KD_OK;
}

extern "C" kd_status kd_add_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_pair_args *a = (const kd_pair_args *)args;
    const kd_array arrays[] = {a->out, a->x};
    (void)workspace;
    KD_TRY(kd_gpu_same_type("add", arrays, 2));
    if (a->out.type == KD_VIEW_F32) return add<KD_VIEW_F32>(a->out.data, a->x.data, a->n, ctx->cuda->stream);
    return a->out.type == KD_VIEW_BF16 ? add<KD_VIEW_BF16>(a->out.data, a->x.data, a->n, ctx->cuda->stream)
                                       : add<KD_VIEW_F16>(a->out.data, a->x.data, a->n, ctx->cuda->stream);
}

extern "C" kd_status kd_zero_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_pair_args *a = (const kd_pair_args *)args;
    (void)workspace;
    return kd_cuda_try("cudaMemsetAsync", cudaMemsetAsync(a->out.data, 0, (size_t)(a->n * kd_type_size(a->out.type)), ctx->cuda->stream));
}

template <kd_view_type OUT, kd_view_type IN> static kd_status convert(kd_ctx *ctx, const kd_pair_args *a)
{
    return run<8>("copy", convert_work<OUT, IN>{a->out.data, a->x.data}, a->n, nn_aligned(a->out.data, 16) && nn_aligned(a->x.data, 16),
                  ctx->cuda->stream);
}

extern "C" kd_status kd_copy_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_pair_args *a = (const kd_pair_args *)args;
    (void)workspace;
    if (a->out.type == a->x.type)
        return kd_cuda_try("cudaMemcpyAsync", cudaMemcpyAsync(a->out.data, a->x.data, (size_t)(a->n * kd_type_size(a->out.type)),
                                                              cudaMemcpyDeviceToDevice, ctx->cuda->stream));
    if (a->out.type == KD_VIEW_F32)
        return a->x.type == KD_VIEW_BF16 ? convert<KD_VIEW_F32, KD_VIEW_BF16>(ctx, a) : convert<KD_VIEW_F32, KD_VIEW_F16>(ctx, a);
    if (a->out.type == KD_VIEW_BF16)
        return a->x.type == KD_VIEW_F32 ? convert<KD_VIEW_BF16, KD_VIEW_F32>(ctx, a) : convert<KD_VIEW_BF16, KD_VIEW_F16>(ctx, a);
    return a->x.type == KD_VIEW_F32 ? convert<KD_VIEW_F16, KD_VIEW_F32>(ctx, a) : convert<KD_VIEW_F16, KD_VIEW_BF16>(ctx, a);
}

/* What is stored as bf16 is rounded already. */
extern "C" kd_status kd_round_bf16_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_pair_args *a = (const kd_pair_args *)args;
    bool aligned = nn_aligned(a->out.data, 16);
    (void)workspace;
    if (a->out.type == KD_VIEW_F32)
        return run<4>("rounding to bf16", round_work<KD_VIEW_F32>{a->out.data}, a->n, aligned, ctx->cuda->stream);
    if (a->out.type == KD_VIEW_F16)
        return run<8>("rounding to bf16", round_work<KD_VIEW_F16>{a->out.data}, a->n, aligned, ctx->cuda->stream);
    return KD_OK;
}

extern "C" kd_status kd_gpu_same_type(const char *what, const kd_array *arrays, int64_t count)
{
    int64_t first = 0;
    while (first < count && !arrays[first].data) first++;
    for (int64_t i = first + 1; i < count; i++)
        if (arrays[i].data && arrays[i].type != arrays[first].type)
            return kd_fail(KD_ENOTSUP, "%s on CUDA: arrays of different types", what);
    return KD_OK;
}

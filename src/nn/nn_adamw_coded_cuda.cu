/* AdamW with moments in 8 bits on CUDA: a warp has a block of KD_CODED_BLOCK numbers, a lane eight neighbors of them. */
#include "nn_adamw.cuh"

enum { EACH = 8, WARPS = 8 };
static_assert(EACH * NN_WARP == KD_CODED_BLOCK, "a warp has a block");

struct coded_work {
    float *w;
    uint16_t *w16;
    kd_coded m, v;
    const float *g;
    kd_adamw_factors f;
    int64_t n;
    bool packs;              /* all arrays allow the widest accesses */
};

/* Numbers i .. i+7 of n; those beyond are 0. */
GPU void read8(float (&x)[EACH], const float *from, int64_t i, int64_t n, bool packs)
{
    if (packs && i + EACH <= n) {
        nn_read<KD_VIEW_F32>(x, from, i);
        return;
    }
#pragma unroll
    for (int j = 0; j < EACH; j++) x[j] = i + j < n ? from[i + j] : 0.0f;
}

GPU void write8(float *to, int64_t i, int64_t n, const float (&x)[EACH], bool packs)
{
    if (packs && i + EACH <= n) {
        nn_write<KD_VIEW_F32>(to, i, x);
        return;
    }
#pragma unroll
    for (int j = 0; j < EACH; j++)
        if (i + j < n) to[i + j] = x[j];
}

GPU void widen8(float (&x)[EACH], const kd_coded &in, const kd_coded_shares &s, int64_t i, int64_t n, bool packs)
{
    float scale = i < n ? in.scale[i / KD_CODED_BLOCK] : 0.0f;
    uint8_t code[EACH] = {};
    if (packs && i + EACH <= n) *(nn_pack<8> *)code = *(const nn_pack<8> *)(in.code + i);
    else
        for (int j = 0; j < EACH; j++)
            if (i + j < n) code[j] = in.code[i + j];
#pragma unroll
    for (int j = 0; j < EACH; j++) x[j] = s.share[code[j]] * scale;
}

/* kd_coded_narrow of the warp's block; numbers beyond n are 0, which are never the largest unless all are. */
GPU void narrow8(const kd_coded &out, const float (&x)[EACH], const kd_coded_shares &s, int64_t i, int64_t n, bool packs)
{
    float most = x[0];
#pragma unroll
    for (int j = 1; j < EACH; j++)
        if (fabsf(x[j]) > fabsf(most)) most = x[j];
#pragma unroll
    for (int step = 1; step < NN_WARP; step *= 2) {
        float other = __shfl_xor_sync(0xffffffffu, most, step);
        bool later = threadIdx.x & step;  /* of equals the first: the other lane's is that if it stands before */
        if (fabsf(other) > fabsf(most) || (later && fabsf(other) == fabsf(most))) most = other;
    }
    uint8_t code[EACH];
#pragma unroll
    for (int j = 0; j < EACH; j++) code[j] = kd_share_code(&s, most != 0.0f ? x[j] / most : 0.0f);
    if (i < n && i % KD_CODED_BLOCK == 0) out.scale[i / KD_CODED_BLOCK] = most;
    if (packs && i + EACH <= n) *(nn_pack<8> *)(out.code + i) = *(nn_pack<8> *)code;
    else
        for (int j = 0; j < EACH; j++)
            if (i + j < n) out.code[i + j] = code[j];
}

static __global__ void __launch_bounds__(WARPS *NN_WARP)
adamw_coded(coded_work a, double clip, const kd_step_sums *sums, const kd_coded_shares *tables)
{
    __shared__ kd_coded_shares shares[2];
    if (!sums->finite) return;
    for (int i = threadIdx.x; i < (int)(sizeof shares / 4); i += blockDim.x) ((uint32_t *)shares)[i] = ((const uint32_t *)tables)[i];
    __syncthreads();
    const kd_adamw_factors f = nn_adamw_factors(a.f, clip, sums);
    int64_t blocks = (a.n + KD_CODED_BLOCK - 1) / KD_CODED_BLOCK;
    for (int64_t b = (int64_t)blockIdx.x * WARPS + threadIdx.x / NN_WARP; b < blocks; b += (int64_t)gridDim.x * WARPS) {
        int64_t i = b * KD_CODED_BLOCK + threadIdx.x % NN_WARP * EACH;
        float w[EACH], g[EACH], m[EACH], v[EACH];
        read8(w, a.w, i, a.n, a.packs);
        read8(g, a.g, i, a.n, a.packs);
        widen8(m, a.m, shares[1], i, a.n, a.packs);
        widen8(v, a.v, shares[0], i, a.n, a.packs);
#pragma unroll
        for (int j = 0; j < EACH; j++) nn_adamw_element(&w[j], &m[j], &v[j], g[j], f);
        write8(a.w, i, a.n, w, a.packs);
        if (a.w16 && a.packs && i + EACH <= a.n) nn_write<KD_VIEW_BF16>(a.w16, i, w);
        else
            for (int j = 0; a.w16 && j < EACH; j++)
                if (i + j < a.n) a.w16[i + j] = gpu_bf16(w[j]);
        narrow8(a.m, m, shares[1], i, a.n, a.packs);
        narrow8(a.v, v, shares[0], i, a.n, a.packs);
    }
}

extern "C" int64_t kd_adamw_coded_workspace_cuda(const kd_ctx *ctx, const void *args)
{
    (void)ctx, (void)args;
    return 2 * (int64_t)sizeof(kd_coded_shares);
}

extern "C" kd_status kd_adamw_coded_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_adamw_coded_args *a = (const kd_adamw_coded_args *)args;
    const kd_step_sums unknown = {};
    kd_coded_shares *tables = (kd_coded_shares *)workspace;
    if (a->w16.data && a->w16.type != KD_VIEW_BF16) return kd_fail(KD_ENOTSUP, "AdamW with moments in 8 bits: the copy of the weights is bf16");
    for (int i = 0; i < 2; i++) KD_TRY(kd_cuda_put_later(ctx, &tables[i], kd_coded_shares_of(i), sizeof *tables));
    const coded_work work = {a->w, (uint16_t *)a->w16.data, a->m, a->v, a->g, kd_adamw_prepare(a->adamw, &unknown), a->n,
                             nn_aligned(a->w, 16) && nn_aligned(a->g, 16) && nn_aligned(a->m.code, 8) && nn_aligned(a->v.code, 8) &&
                                 nn_aligned(a->w16.data, 16)};
    int64_t blocks = kd_segments(a->n, WARPS * KD_CODED_BLOCK), most = 16 * (int64_t)ctx->cuda->multiprocessors;
    KD_LAUNCH(adamw_coded, (unsigned)(blocks < most ? blocks : most), WARPS * NN_WARP, 0, ctx->cuda->stream, work, a->adamw->clip, a->sums, tables);
    return kd_cuda_launched("AdamW with moments in 8 bits");
}

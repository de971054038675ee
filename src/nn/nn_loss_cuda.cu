/* The loss of a block of logits and its gradient on CUDA. A block of threads takes a row at a time. It reads the row once for the maximum
 * and the sum of exponentials, and keeps the row's first chunks in shared memory, as many as fit; the gradient then reads the rest
 * again, last chunk first, so that what the second cache still holds of it is found there.
 *
 * A thread's sum leaves out one number, its largest, which counts as 1: the others are not lost beside it, so that a target that is
 * nearly certain keeps its loss's digits. Threads are summed up in double. */
#include "nn_gpu.cuh"

enum { THREADS = 512, CHUNK = 16 * THREADS };  /* logits that all threads look at together */

/* sum e^(x - maximum) = 1 + rest, as soon as there is a maximum. */
typedef struct exponentials { float maximum, rest; } exponentials;

/* Adds numbers whose maximum is `top`. A new maximum is taken out of them, and what was there is scaled to it. */
GPU void take_in(exponentials *e, float (&x)[16], float top)
{
    if (top > e->maximum) {
        e->rest = __fmul_rn(e->rest + 1.0f, nn_exp(e->maximum - top));
        e->maximum = top;
        bool out = false;
#pragma unroll
        for (int j = 0; j < 16; j++)
            if (!out && x[j] == top) {
                x[j] = -INFINITY;
                out = true;
            }
    }
    float sum[4] = {};
#pragma unroll
    for (int j = 0; j < 16; j++) sum[j % 4] += nn_exp(x[j] - e->maximum);
    e->rest += (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* A thread has packs of N at chunk + (k * THREADS + thread) * N, k below 16 / N. */
template <kd_view_type GRADIENT, int N>
static __global__ void __launch_bounds__(THREADS, 2) loss_rows(kd_cross_entropy_args a, int64_t kept_chunks, int32_t *fault)
{
    KD_SHARED(float, kept);
    __shared__ float top_room[NN_WARP], factors[2];
    __shared__ double sum_room[NN_WARP];
    enum { PACKS = 16 / N };
    const int64_t chunks = (a.V + CHUNK - 1) / CHUNK;
    for (int64_t m = blockIdx.x; m < a.M; m += gridDim.x) {
        const int32_t target = a.target[m];
        const float *row = a.logits + m * a.V;
        if (target < 0 || target >= a.V) {
            if (target < -1 || target >= a.V) {
                if (threadIdx.x == 0) nn_note(fault, KD_CUDA_BAD_TARGET, m, target);
                continue;
            }
            if (threadIdx.x == 0) a.loss[m] = 0.0;
            const float zero[N] = {};
            for (int64_t v = (int64_t)threadIdx.x * N; v < a.V && a.scale != 0.0f; v += THREADS * N)
                nn_write<GRADIENT>(a.gradient.data, m * a.V + v, zero);
            continue;
        }

        exponentials e = {-3.4e38f, 0.0f};  /* finite: a logit of -infinity counts as 0 */
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            const int64_t first = chunk * CHUNK + (int64_t)threadIdx.x * N;
            float x[16], top = -INFINITY;
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                const int64_t v = first + k * THREADS * N;
                float part[N];
#pragma unroll
                for (int j = 0; j < N; j++) part[j] = -INFINITY;
                if (v < a.V) nn_read<KD_VIEW_F32>(part, row, v);
#pragma unroll
                for (int j = 0; j < N; j++) x[k * N + j] = part[j];
            }
            if (chunk < kept_chunks) {
#pragma unroll
                for (int k = 0; k < PACKS; k++) {
                    float part[N];
#pragma unroll
                    for (int j = 0; j < N; j++) part[j] = x[k * N + j];
                    nn_write<KD_VIEW_F32>(kept, first + k * THREADS * N, part);
                }
            }
#pragma unroll
            for (int j = 0; j < 16; j++) top = fmaxf(top, x[j]);
            take_in(&e, x, top);
        }
        const float maximum = nn_block_max(e.maximum, top_room);
        const double own = __dmul_rn(1.0 + (double)e.rest, (double)nn_exp(e.maximum - maximum));
        const double sum = nn_block_sum(own, sum_room);
        if (threadIdx.x == 0) {
            const double loss = log(sum) - ((double)row[target] - (double)maximum);
            a.loss[m] = loss;
            factors[0] = (float)(a.scale / sum);
            factors[1] = (float)(a.scale * expm1(-loss));  /* softmax - 1 without cancellation */
        }
        __syncthreads();
        if (a.scale == 0.0f) continue;

        const float factor = factors[0], at_target = factors[1];
        for (int64_t chunk = chunks - 1; chunk >= 0; chunk--) {
            const int64_t first = chunk * CHUNK + (int64_t)threadIdx.x * N;
            float x[PACKS][N];
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                const int64_t v = first + k * THREADS * N;
                if (v < a.V) {
                    if (chunk < kept_chunks) nn_read<KD_VIEW_F32>(x[k], kept, v);
                    else nn_read<KD_VIEW_F32>(x[k], row, v);
                }
            }
#pragma unroll
            for (int k = 0; k < PACKS; k++) {
                const int64_t v = first + k * THREADS * N;
                if (v < a.V) {
#pragma unroll
                    for (int j = 0; j < N; j++) x[k][j] = factor * nn_exp(x[k][j] - maximum);
                    nn_write<GRADIENT>(a.gradient.data, m * a.V + v, x[k]);
                }
            }
        }
        const float one[1] = {at_target};
        if (target / N % THREADS == (int)threadIdx.x) nn_write<GRADIENT>(a.gradient.data, m * a.V + target, one);  /* by who wrote its pack */
    }
}

/* Two blocks share a multiprocessor, each with half of its shared memory but for what kernels have besides. */
template <kd_view_type GRADIENT, int N> static kd_status losses_in(kd_ctx *ctx, const kd_cross_entropy_args *a)
{
    void (*kernel)(kd_cross_entropy_args, int64_t, int32_t *) = loss_rows<GRADIENT, N>;
    const int64_t chunk_bytes = CHUNK * (int64_t)sizeof(float), chunks = kd_segments(a->V, CHUNK);
    int64_t kept = (ctx->cuda->shared_bytes / 2 - 2048) / chunk_bytes;
    if (kept > chunks) kept = chunks;
    if (kept < 0 || a->scale == 0.0f) kept = 0;
    KD_TRY(kd_cuda_try("cudaFuncSetAttribute", cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                                    (int)(kept * chunk_bytes))));
    unsigned blocks = nn_blocks(a->M, 2 * (int64_t)ctx->cuda->multiprocessors);
    KD_LAUNCH(kernel, blocks, THREADS, (size_t)(kept * chunk_bytes), ctx->cuda->stream, *a, kept, ctx->cuda->fault);
    return kd_cuda_launched("cross entropy");
}

template <kd_view_type GRADIENT> static kd_status losses(kd_ctx *ctx, const kd_cross_entropy_args *a)
{
    bool packs = a->V % 4 == 0 && nn_aligned(a->logits, 16) && nn_aligned(a->gradient.data, GRADIENT == KD_VIEW_F32 ? 16 : 8);
    return packs ? losses_in<GRADIENT, 4>(ctx, a) : losses_in<GRADIENT, 1>(ctx, a);
}

extern "C" kd_status kd_cross_entropy_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_cross_entropy_args *a = (const kd_cross_entropy_args *)args;
    (void)workspace;
    if (a->gradient.type == KD_VIEW_F32) return losses<KD_VIEW_F32>(ctx, a);
    return a->gradient.type == KD_VIEW_BF16 ? losses<KD_VIEW_BF16>(ctx, a) : losses<KD_VIEW_F16>(ctx, a);
}

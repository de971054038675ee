/* Sums on CUDA: of losses and gradients over a whole step, in double, and of a block's columns. Every sum is a fixed tree over the
 * places of its terms, the same for the same number of terms: neighbors in a warp, warps in a block, blocks in the end. */
#include "nn_gpu.cuh"

enum { SUM_THREADS = 256, SUM_STRETCH = 4096, WARPS = SUM_THREADS / NN_WARP };  /* doubles that a block adds up */

/* ---- doubles ---------------------------------------------------------------------------------------------------------------------- */

/* In every thread of a block the sum of x[begin..end-1]: each adds every SUM_THREADS-th, then the tree over threads. */
GPU double sum_stretch(const double *x, int64_t begin, int64_t end, double *room)
{
    double sum = 0.0;
    for (int64_t i = begin + threadIdx.x; i < end; i += SUM_THREADS) sum += x[i];
    return nn_block_sum(sum, room);
}

static __global__ void __launch_bounds__(SUM_THREADS) sum_stretches(double *part, const double *x, int64_t n)
{
    __shared__ double room[2][NN_WARP];
    int64_t stretches = (n + SUM_STRETCH - 1) / SUM_STRETCH;
    int turn = 0;
    for (int64_t s = blockIdx.x; s < stretches; s += gridDim.x, turn ^= 1) {
        int64_t begin = s * SUM_STRETCH;
        double sum = sum_stretch(x, begin, begin + SUM_STRETCH < n ? begin + SUM_STRETCH : n, room[turn]);
        if (threadIdx.x == 0) part[s] = sum;
    }
}

static __global__ void __launch_bounds__(SUM_THREADS) finish_loss(kd_step_sums *sums, const double *part, int64_t n)
{
    __shared__ double room[NN_WARP];
    double sum = sum_stretch(part, 0, n, room);
    if (threadIdx.x == 0) sums->loss = sum;
}

GPU bool is_finite(double x) { return x - x == 0.0; }

static __global__ void __launch_bounds__(SUM_THREADS) finish_norm(kd_step_sums *sums, const double *part, int64_t n)
{
    __shared__ double room[NN_WARP];
    double norm = sqrt(sum_stretch(part, 0, n, room));
    if (threadIdx.x) return;
    sums->grad_norm = norm;
    sums->finite = is_finite(sums->loss) && is_finite(norm);
}

static kd_status sum_doubles(kd_ctx *ctx, double *part, const double *x, int64_t n)
{
    KD_LAUNCH(sum_stretches, nn_blocks(kd_segments(n, SUM_STRETCH), NN_MANY), SUM_THREADS, 0, ctx->cuda->stream, part, x, n);
    return kd_cuda_launched("sum");
}

extern "C" int64_t kd_sum_loss_workspace_cuda(const kd_ctx *ctx, const void *args)
{
    const kd_sum_loss_args *a = (const kd_sum_loss_args *)args;
    (void)ctx;
    return kd_segments(a->T, SUM_STRETCH) * (int64_t)sizeof(double);
}

extern "C" kd_status kd_sum_loss_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_sum_loss_args *a = (const kd_sum_loss_args *)args;
    double *part = (double *)workspace;
    KD_TRY(sum_doubles(ctx, part, a->loss, a->T));
    KD_LAUNCH(finish_loss, 1, SUM_THREADS, 0, ctx->cuda->stream, a->sums, part, kd_segments(a->T, SUM_STRETCH));
    return kd_cuda_launched("sum of losses");
}

extern "C" int64_t kd_sum_norm_workspace_cuda(const kd_ctx *ctx, const void *args)
{
    const kd_sum_norm_args *a = (const kd_sum_norm_args *)args;
    (void)ctx;
    return kd_segments(a->segments, SUM_STRETCH) * (int64_t)sizeof(double);
}

extern "C" kd_status kd_sum_norm_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_sum_norm_args *a = (const kd_sum_norm_args *)args;
    double *part = (double *)workspace;
    KD_TRY(sum_doubles(ctx, part, a->partial, a->segments));
    KD_LAUNCH(finish_norm, 1, SUM_THREADS, 0, ctx->cuda->stream, a->sums, part, kd_segments(a->segments, SUM_STRETCH));
    return kd_cuda_launched("norm");
}

/* ---- squares: a warp for each segment. Squares of floats are exact in double. ------------------------------------------------------ */

template <int N> static __global__ void __launch_bounds__(SUM_THREADS) sum_segments(double *partial, const float *g, int64_t n)
{
    const int64_t segments = (n + KD_NORM_SEGMENT - 1) / KD_NORM_SEGMENT;
    const int lane = threadIdx.x % NN_WARP;
    for (int64_t s = (int64_t)blockIdx.x * WARPS + threadIdx.x / NN_WARP; s < segments; s += (int64_t)gridDim.x * WARPS) {
        const int64_t begin = s * KD_NORM_SEGMENT, end = begin + KD_NORM_SEGMENT < n ? begin + KD_NORM_SEGMENT : n;
        double sum[N] = {};
        float x[N];
        int64_t i = begin + lane * N;
#pragma unroll 4
        for (; i + N <= end; i += NN_WARP * N) {
            nn_read<KD_VIEW_F32>(x, g, i);
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] += (double)x[j] * x[j];
        }
        for (int j = 0; j < N && i + j < end; j++) sum[0] += (double)g[i + j] * g[i + j];
#pragma unroll
        for (int j = 1; j < N; j++) sum[0] += sum[j];
        sum[0] = nn_warp_sum(sum[0]);
        if (lane == 0) partial[s] = sum[0];
    }
}

extern "C" kd_status kd_sum_squares_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_sum_squares_args *a = (const kd_sum_squares_args *)args;
    unsigned blocks = nn_blocks(kd_segments(kd_segments(a->n, KD_NORM_SEGMENT), WARPS), NN_MANY);
    (void)workspace;
    if (nn_aligned(a->g, 16)) KD_LAUNCH(sum_segments<4>, blocks, SUM_THREADS, 0, ctx->cuda->stream, a->partial, a->g, a->n);
    else KD_LAUNCH(sum_segments<1>, blocks, SUM_THREADS, 0, ctx->cuda->stream, a->partial, a->g, a->n);
    return kd_cuda_launched("sum of squares");
}

/* ---- sums over tokens (nn_ops.h) ------------------------------------------------------------------------------------------------ */

enum { COLUMN_THREADS = 128 };
template <kd_view_type TYPE, int N>
static __global__ void __launch_bounds__(COLUMN_THREADS) column_groups(kd_column_sum_args a, float *part, int64_t groups)
{
    const int64_t n = ((int64_t)blockIdx.x * COLUMN_THREADS + threadIdx.x) * N;
    if (n >= a.N) return;
    for (int64_t g = blockIdx.y; g < groups; g += gridDim.y) {
        const int64_t begin = g * KD_GPU_GROUP, end = begin + KD_GPU_GROUP < a.M ? begin + KD_GPU_GROUP : a.M;
        float sum[N] = {}, x[N];
#pragma unroll 4
        for (int64_t m = begin; m < end; m++) {
            nn_read<TYPE>(x, a.x.data, m * a.N + n);
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] += x[j];
        }
        nn_write<KD_VIEW_F32>(part, g * a.N + n, sum);
    }
}

/* A warp adds up the groups of a stretch in 32 columns, the first warp the stretches' sums. */
enum { MERGE_WARPS = 16 };
static __global__ void __launch_bounds__(MERGE_WARPS * NN_WARP) add_groups(float *out, const float *part, int64_t groups, int64_t C)
{
    __shared__ float sums[MERGE_WARPS][NN_WARP];
    const int lane = threadIdx.x % NN_WARP, warp = threadIdx.x / NN_WARP;
    const int64_t c = (int64_t)blockIdx.x * NN_WARP + lane;
    float chain = warp == 0 && c < C ? out[c] : 0.0f;
    for (int64_t first = 0; first < groups; first += MERGE_WARPS * KD_GPU_STRETCH) {
        const int64_t begin = first + warp * KD_GPU_STRETCH, end = begin + KD_GPU_STRETCH < groups ? begin + KD_GPU_STRETCH : groups;
        float sum = 0.0f;
        if (c < C) {
#pragma unroll 8
            for (int64_t g = begin; g < end; g++) sum += part[g * C + c];
        }
        sums[warp][lane] = sum;
        __syncthreads();
        for (int w = 0; warp == 0 && w < MERGE_WARPS && first + w * KD_GPU_STRETCH < groups; w++) chain += sums[w][lane];
        __syncthreads();
    }
    if (warp == 0 && c < C) out[c] = chain;
}

extern "C" kd_status kd_gpu_add_groups(float *out, const float *part, int64_t groups, int64_t C, cudaStream_t stream)
{
    KD_LAUNCH(add_groups, nn_blocks(kd_segments(C, NN_WARP), NN_MANY), MERGE_WARPS * NN_WARP, 0, stream, out, part, groups, C);
    return kd_cuda_launched("sum over tokens");
}

template <kd_view_type TYPE, int N> static kd_status column_sum_in(kd_ctx *ctx, const kd_column_sum_args *a, float *part)
{
    void (*kernel)(kd_column_sum_args, float *, int64_t) = column_groups<TYPE, N>;
    int64_t groups = kd_segments(a->M, KD_GPU_GROUP);
    dim3 grid(nn_blocks(kd_segments(kd_segments(a->N, N), COLUMN_THREADS), NN_MANY), nn_blocks(groups, 65535));
    KD_LAUNCH(kernel, grid, COLUMN_THREADS, 0, ctx->cuda->stream, *a, part, groups);
    KD_TRY(kd_cuda_launched("column sum"));
    return kd_gpu_add_groups(a->out, part, groups, a->N, ctx->cuda->stream);
}

template <kd_view_type TYPE> static kd_status column_sum(kd_ctx *ctx, const kd_column_sum_args *a, float *part)
{
    constexpr int N = nn_wide<TYPE>;
    return a->N % N == 0 && nn_aligned(a->x.data, 16) ? column_sum_in<TYPE, N>(ctx, a, part) : column_sum_in<TYPE, 1>(ctx, a, part);
}

extern "C" int64_t kd_column_sum_workspace_cuda(const kd_ctx *ctx, const void *args)
{
    const kd_column_sum_args *a = (const kd_column_sum_args *)args;
    (void)ctx;
    return kd_segments(a->M, KD_GPU_GROUP) * a->N * (int64_t)sizeof(float);
}

extern "C" kd_status kd_column_sum_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_column_sum_args *a = (const kd_column_sum_args *)args;
    if (a->x.type == KD_VIEW_F32) return column_sum<KD_VIEW_F32>(ctx, a, (float *)workspace);
    return a->x.type == KD_VIEW_BF16 ? column_sum<KD_VIEW_BF16>(ctx, a, (float *)workspace)
                                     : column_sum<KD_VIEW_F16>(ctx, a, (float *)workspace);
}

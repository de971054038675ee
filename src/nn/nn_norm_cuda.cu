/* Root-mean-square normalization on CUDA. A block of threads takes one row at a time, of which each thread has a few packs in
 * registers, so that an array is read from memory once. */
#include "nn_gpu.cuh"

enum { KEPT = 4, THREADS_MOST = 1024 };  /* packs of a row that a thread of the forward keeps */

/* Threads for a row of so many packs, `each` of them a thread: a power of two, so that C alone decides the order of sums. */
static int row_threads(int64_t packs, int each)
{
    int threads = NN_WARP;
    while (threads < THREADS_MOST && (int64_t)threads * each < packs) threads *= 2;
    return threads;
}

/* ---- forward -------------------------------------------------------------------------------------------------------------------- */

template <kd_view_type TYPE, int N> static __global__ void __launch_bounds__(THREADS_MOST) rmsnorm_rows(kd_rmsnorm_args a)
{
    __shared__ float room[2][NN_WARP];
    const int64_t step = (int64_t)blockDim.x * N, first = (int64_t)threadIdx.x * N;
    int turn = 0;
    for (int64_t m = blockIdx.x; m < a.M; m += gridDim.x, turn ^= 1) {
        const int64_t row = m * a.C;
        nn_pack<N * nn_bytes<TYPE>> kept[KEPT];
        float squares = 0.0f, x[N], w[N];
#pragma unroll
        for (int k = 0; k < KEPT; k++)
            if (first + k * step < a.C) kept[k] = nn_load<TYPE, N>(a.x.data, row + first + k * step);
#pragma unroll
        for (int k = 0; k < KEPT; k++)
            if (first + k * step < a.C) {
                nn_widen<TYPE>(x, kept[k]);
#pragma unroll
                for (int j = 0; j < N; j++) squares = fmaf(x[j], x[j], squares);
            }
        for (int64_t c = first + KEPT * step; c < a.C; c += step) {
            nn_read<TYPE>(x, a.x.data, row + c);
#pragma unroll
            for (int j = 0; j < N; j++) squares = fmaf(x[j], x[j], squares);
        }
        const float rinv = 1.0f / sqrtf(nn_block_sum(squares, room[turn]) / (float)a.C + a.eps);
        if (threadIdx.x == 0) a.rinv[m] = rinv;
#pragma unroll
        for (int k = 0; k < KEPT; k++)
            if (first + k * step < a.C) {
                nn_widen<TYPE>(x, kept[k]);
                nn_read<TYPE>(w, a.w.data, first + k * step);
#pragma unroll
                for (int j = 0; j < N; j++) x[j] = x[j] * rinv * w[j];
                nn_write<TYPE>(a.out.data, row + first + k * step, x);
            }
        for (int64_t c = first + KEPT * step; c < a.C; c += step) {
            nn_read<TYPE>(x, a.x.data, row + c);
            nn_read<TYPE>(w, a.w.data, c);
#pragma unroll
            for (int j = 0; j < N; j++) x[j] = x[j] * rinv * w[j];
            nn_write<TYPE>(a.out.data, row + c, x);
        }
    }
}

template <kd_view_type TYPE, int N> static kd_status rmsnorm_in(kd_ctx *ctx, const kd_rmsnorm_args *a)
{
    void (*kernel)(kd_rmsnorm_args) = rmsnorm_rows<TYPE, N>;
    int threads = row_threads(kd_segments(a->C, N), KEPT);
    KD_LAUNCH(kernel, nn_blocks(a->M, NN_MANY), threads, 0, ctx->cuda->stream, *a);
    return kd_cuda_launched("rmsnorm");
}

template <kd_view_type TYPE> static kd_status rmsnorm(kd_ctx *ctx, const kd_rmsnorm_args *a)
{
    constexpr int N = nn_wide<TYPE>;
    bool packs = a->C % N == 0 && nn_aligned(a->out.data, 16) && nn_aligned(a->x.data, 16) && nn_aligned(a->w.data, 16);
    return packs ? rmsnorm_in<TYPE, N>(ctx, a) : rmsnorm_in<TYPE, 1>(ctx, a);
}

extern "C" kd_status kd_rmsnorm_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_rmsnorm_args *a = (const kd_rmsnorm_args *)args;
    const kd_array arrays[] = {a->out, a->x, a->w};
    (void)workspace;
    KD_TRY(kd_gpu_same_type("rmsnorm", arrays, 3));
    if (a->x.type == KD_VIEW_F32) return rmsnorm<KD_VIEW_F32>(ctx, a);
    return a->x.type == KD_VIEW_BF16 ? rmsnorm<KD_VIEW_BF16>(ctx, a) : rmsnorm<KD_VIEW_F16>(ctx, a);
}

/* ---- backward: dx += rinv * (dout*w) - x * rinv^3 * mean(dout*w*x) ------------------------------------------------------------------ */

/* The factor of x. */
GPU float along_x(float rinv, float dot, int64_t C) { return -(rinv * rinv * rinv) * (dot / (float)C); }

/* A thread has one pack of every row of its block's group, and that pack's part of the weight's gradient: dout and x are read
 * once. The next row is under way while this one's sum is made. */
template <kd_view_type TYPE, int N>
static __global__ void __launch_bounds__(THREADS_MOST) rmsnorm_backward_groups(kd_rmsnorm_backward_args a, float *part, int64_t groups)
{
    __shared__ float room[2][NN_WARP];
    typedef nn_pack<N * nn_bytes<TYPE>> pack;
    const int64_t c = (int64_t)threadIdx.x * N;
    const bool mine = c < a.C;
    pack w_pack = {}, dout_pack = {}, x_pack = {}, dx_pack = {};
    if (mine) w_pack = nn_load<TYPE, N>(a.w.data, c);
    for (int64_t g = blockIdx.x; g < groups; g += gridDim.x) {
        const int64_t begin = g * KD_GPU_GROUP, end = begin + KD_GPU_GROUP < a.M ? begin + KD_GPU_GROUP : a.M;
        float dw[N] = {};
        if (mine) {
            dout_pack = nn_load<TYPE, N>(a.dout.data, begin * a.C + c);
            x_pack = nn_load<TYPE, N>(a.x.data, begin * a.C + c);
            dx_pack = nn_load<TYPE, N>(a.dx.data, begin * a.C + c);
        }
        for (int64_t m = begin; m < end; m++) {
            const pack x_now = x_pack, dx_now = dx_pack;
            const float rinv = a.rinv[m];
            float dout[N], x[N], w[N], dx[N], dot = 0.0f;
            nn_widen<TYPE>(dout, dout_pack);
            nn_widen<TYPE>(x, x_now);
            nn_widen<TYPE>(w, w_pack);
#pragma unroll
            for (int j = 0; j < N; j++) {
                dw[j] = fmaf(dout[j], x[j] * rinv, dw[j]);
                dout[j] *= w[j];
                dot = fmaf(dout[j], x[j], dot);
            }
            if (mine && m + 1 < end) {
                dout_pack = nn_load<TYPE, N>(a.dout.data, (m + 1) * a.C + c);
                x_pack = nn_load<TYPE, N>(a.x.data, (m + 1) * a.C + c);
                dx_pack = nn_load<TYPE, N>(a.dx.data, (m + 1) * a.C + c);
            }
            const float along = along_x(rinv, nn_block_sum(dot, room[m & 1]), a.C);
            if (mine) {
                nn_widen<TYPE>(x, x_now);
                nn_widen<TYPE>(dx, dx_now);
#pragma unroll
                for (int j = 0; j < N; j++) dx[j] += fmaf(x[j], along, dout[j] * rinv);
                nn_write<TYPE>(a.dx.data, m * a.C + c, dx);
            }
        }
        if (mine) nn_write<KD_VIEW_F32>(part, g * a.C + c, dw);
    }
}

/* For rows that no block holds, or that do not begin at whole packs: the same sums of the weight's gradient, in two kernels. */
template <kd_view_type TYPE, int N>
static __global__ void __launch_bounds__(THREADS_MOST) rmsnorm_backward_rows(kd_rmsnorm_backward_args a)
{
    __shared__ float room[2][NN_WARP];
    const int64_t step = (int64_t)blockDim.x * N, first = (int64_t)threadIdx.x * N;
    int turn = 0;
    for (int64_t m = blockIdx.x; m < a.M; m += gridDim.x, turn ^= 1) {
        const int64_t row = m * a.C;
        const float rinv = a.rinv[m];
        float dout[N], x[N], w[N], dx[N], dot = 0.0f;
        for (int64_t c = first; c < a.C; c += step) {
            nn_read<TYPE>(dout, a.dout.data, row + c);
            nn_read<TYPE>(x, a.x.data, row + c);
            nn_read<TYPE>(w, a.w.data, c);
#pragma unroll
            for (int j = 0; j < N; j++) dot = fmaf(dout[j] * w[j], x[j], dot);
        }
        const float along = along_x(rinv, nn_block_sum(dot, room[turn]), a.C);
        for (int64_t c = first; c < a.C; c += step) {
            nn_read<TYPE>(dout, a.dout.data, row + c);
            nn_read<TYPE>(x, a.x.data, row + c);
            nn_read<TYPE>(w, a.w.data, c);
            nn_read<TYPE>(dx, a.dx.data, row + c);
#pragma unroll
            for (int j = 0; j < N; j++) dx[j] += fmaf(x[j], along, dout[j] * w[j] * rinv);
            nn_write<TYPE>(a.dx.data, row + c, dx);
        }
    }
}

enum { COLUMN_THREADS = 128 };
template <kd_view_type TYPE, int N>
static __global__ void __launch_bounds__(COLUMN_THREADS) rmsnorm_weight_groups(kd_rmsnorm_backward_args a, float *part, int64_t groups)
{
    const int64_t c = ((int64_t)blockIdx.x * COLUMN_THREADS + threadIdx.x) * N;
    if (c >= a.C) return;
    for (int64_t g = blockIdx.y; g < groups; g += gridDim.y) {
        const int64_t begin = g * KD_GPU_GROUP, end = begin + KD_GPU_GROUP < a.M ? begin + KD_GPU_GROUP : a.M;
        float dw[N] = {}, dout[N], x[N];
#pragma unroll 4
        for (int64_t m = begin; m < end; m++) {
            const float rinv = a.rinv[m];
            nn_read<TYPE>(dout, a.dout.data, m * a.C + c);
            nn_read<TYPE>(x, a.x.data, m * a.C + c);
#pragma unroll
            for (int j = 0; j < N; j++) dw[j] = fmaf(dout[j], x[j] * rinv, dw[j]);
        }
        nn_write<KD_VIEW_F32>(part, g * a.C + c, dw);
    }
}

extern "C" int64_t kd_rmsnorm_backward_workspace_cuda(const kd_ctx *ctx, const void *args)
{
    const kd_rmsnorm_backward_args *a = (const kd_rmsnorm_backward_args *)args;
    (void)ctx;
    return kd_segments(a->M, KD_GPU_GROUP) * a->C * (int64_t)sizeof(float);
}

template <kd_view_type TYPE, int N>
static kd_status backward_in_two(kd_ctx *ctx, const kd_rmsnorm_backward_args *a, float *part, int64_t groups)
{
    void (*rows)(kd_rmsnorm_backward_args) = rmsnorm_backward_rows<TYPE, N>;
    void (*weights)(kd_rmsnorm_backward_args, float *, int64_t) = rmsnorm_weight_groups<TYPE, N>;
    int threads = row_threads(kd_segments(a->C, N), KEPT);
    dim3 grid(nn_blocks(kd_segments(kd_segments(a->C, N), COLUMN_THREADS), NN_MANY), nn_blocks(groups, 65535));
    KD_LAUNCH(weights, grid, COLUMN_THREADS, 0, ctx->cuda->stream, *a, part, groups);
    KD_TRY(kd_cuda_launched("rmsnorm backward, of the weight"));
    KD_LAUNCH(rows, nn_blocks(a->M, NN_MANY), threads, 0, ctx->cuda->stream, *a);
    return kd_cuda_launched("rmsnorm backward, of the rows");
}

template <kd_view_type TYPE> static kd_status rmsnorm_backward(kd_ctx *ctx, const kd_rmsnorm_backward_args *a, float *part)
{
    constexpr int N = nn_wide<TYPE>;
    int64_t groups = kd_segments(a->M, KD_GPU_GROUP);
    bool packs = a->C % N == 0 && nn_aligned(a->dx.data, 16) && nn_aligned(a->dout.data, 16) && nn_aligned(a->x.data, 16) &&
                 nn_aligned(a->w.data, 16);
    if (!packs) {
        KD_TRY((backward_in_two<TYPE, 1>(ctx, a, part, groups)));
    } else if (a->C > (int64_t)THREADS_MOST * N) {
        KD_TRY((backward_in_two<TYPE, N>(ctx, a, part, groups)));
    } else {
        void (*kernel)(kd_rmsnorm_backward_args, float *, int64_t) = rmsnorm_backward_groups<TYPE, N>;
        int threads = row_threads(a->C / N, 1);
        KD_LAUNCH(kernel, nn_blocks(groups, NN_MANY), threads, 0, ctx->cuda->stream, *a, part, groups);
        KD_TRY(kd_cuda_launched("rmsnorm backward"));
    }
    return kd_gpu_add_groups(a->dw, part, groups, a->C, ctx->cuda->stream);
}

extern "C" kd_status kd_rmsnorm_backward_cuda(kd_ctx *ctx, const void *args, void *workspace)
{
    const kd_rmsnorm_backward_args *a = (const kd_rmsnorm_backward_args *)args;
    const kd_array arrays[] = {a->dx, a->dout, a->x, a->w};
    KD_TRY(kd_gpu_same_type("rmsnorm backward", arrays, 4));
    if (a->x.type == KD_VIEW_F32) return rmsnorm_backward<KD_VIEW_F32>(ctx, a, (float *)workspace);
    return a->x.type == KD_VIEW_BF16 ? rmsnorm_backward<KD_VIEW_BF16>(ctx, a, (float *)workspace)
                                     : rmsnorm_backward<KD_VIEW_F16>(ctx, a, (float *)workspace);
}

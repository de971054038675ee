/* What the kernels of the layers share: arrays read and written in packs of neighboring elements, sums of a block, exponentials, faults,
 * and operations element by element. Kernels compute in float32, whatever their arrays are stored as. */
#ifndef KD_NN_GPU_CUH
#define KD_NN_GPU_CUH

#include "dev/gpu.cuh"

extern "C" {
#include "dev/cuda.h"
#include "nn_gpu.h"
#include "nn_ops.h"
}

enum { NN_WARP = 32 };

/* ---- packs: N neighbors of a row, as they are stored ---------------------------------------------------------------------- */

template <int BYTES> struct nn_pack;
template <> struct nn_pack<2> { uint16_t word[1]; };
template <> struct nn_pack<4> { uint32_t word[1]; };
template <> struct __attribute__((aligned(8))) nn_pack<8> { uint32_t word[2]; };
template <> struct __attribute__((aligned(16))) nn_pack<16> { uint32_t word[4]; };

/* Longer ones are several accesses of 16 bytes. */
template <> struct nn_pack<32> { nn_pack<16> half[2]; };

template <kd_view_type TYPE> constexpr int nn_bytes = TYPE == KD_VIEW_F32 ? 4 : 2;
/* Elements in 16 bytes, the widest access. */
template <kd_view_type TYPE> constexpr int nn_wide = 16 / nn_bytes<TYPE>;

/* Elements i..i+N-1; i is a multiple of N. */
template <kd_view_type TYPE, int N> GPU nn_pack<N * nn_bytes<TYPE>> nn_load(const void *from, int64_t i)
{
    return *(const nn_pack<N * nn_bytes<TYPE>> *)((const char *)from + i * nn_bytes<TYPE>);
}

template <kd_view_type TYPE> GPU float nn_widen16(uint32_t x)
{
    return TYPE == KD_VIEW_BF16 ? gpu_widen_bf16((uint16_t)x) : gpu_widen_f16((uint16_t)x);
}

template <kd_view_type TYPE, int BYTES> GPU void nn_widen(float (&x)[BYTES / nn_bytes<TYPE>], const nn_pack<BYTES> &pack)
{
    if constexpr (BYTES == 32) {
        float first[16 / nn_bytes<TYPE>], second[16 / nn_bytes<TYPE>];
        nn_widen<TYPE>(first, pack.half[0]);
        nn_widen<TYPE>(second, pack.half[1]);
#pragma unroll
        for (int i = 0; i < 16 / nn_bytes<TYPE>; i++) {
            x[i] = first[i];
            x[i + 16 / nn_bytes<TYPE>] = second[i];
        }
    } else if constexpr (TYPE == KD_VIEW_F32) {
#pragma unroll
        for (int i = 0; i < BYTES / 4; i++) x[i] = __uint_as_float(pack.word[i]);
    } else if constexpr (BYTES == 2) {
        x[0] = nn_widen16<TYPE>(pack.word[0]);
    } else {
#pragma unroll
        for (int i = 0; i < BYTES / 4; i++) {
            x[2 * i] = nn_widen16<TYPE>(pack.word[i] & 0xffff);
            x[2 * i + 1] = nn_widen16<TYPE>(pack.word[i] >> 16);
        }
    }
}

/* To nearest, ties to even. */
template <kd_view_type TYPE, int N> GPU nn_pack<N * nn_bytes<TYPE>> nn_round(const float (&x)[N])
{
    nn_pack<N * nn_bytes<TYPE>> pack;
    if constexpr (N * nn_bytes<TYPE> == 32) {
        float first[N / 2], second[N / 2];
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            first[i] = x[i];
            second[i] = x[i + N / 2];
        }
        pack.half[0] = nn_round<TYPE, N / 2>(first);
        pack.half[1] = nn_round<TYPE, N / 2>(second);
    } else if constexpr (TYPE == KD_VIEW_F32) {
#pragma unroll
        for (int i = 0; i < N; i++) pack.word[i] = __float_as_uint(x[i]);
    } else if constexpr (N == 1) {
        pack.word[0] = TYPE == KD_VIEW_BF16 ? gpu_bf16(x[0]) : gpu_f16(x[0]);
    } else {
#pragma unroll
        for (int i = 0; i < N / 2; i++)
            pack.word[i] = TYPE == KD_VIEW_BF16 ? gpu_pair_bf16(x[2 * i], x[2 * i + 1]) : gpu_pair_f16(x[2 * i], x[2 * i + 1]);
    }
    return pack;
}

template <kd_view_type TYPE, int N> GPU void nn_read(float (&x)[N], const void *from, int64_t i)
{
    nn_widen<TYPE>(x, nn_load<TYPE, N>(from, i));
}

template <kd_view_type TYPE, int N> GPU void nn_write(void *to, int64_t i, const float (&x)[N])
{
    *(nn_pack<N * nn_bytes<TYPE>> *)((char *)to + i * nn_bytes<TYPE>) = nn_round<TYPE, N>(x);
}

/* Whether arrays may be read in packs of so many bytes; NULL is no hindrance. */
static inline bool nn_aligned(const void *array, int bytes) { return (uintptr_t)array % (uintptr_t)bytes == 0; }

/* ---- sums in one fixed order ------------------------------------------------------------------------------------------------ */

/* The lanes' sum or maximum, the same in all of them: neighbors first. A product that is summed up is made with __dmul_rn, or the compiler
 * would fuse it with a lane's own addition. */
template <class T> GPU T nn_warp_sum(T x)
{
#pragma unroll
    for (int lane = 1; lane < NN_WARP; lane *= 2) x += __shfl_xor_sync(0xffffffffu, x, lane);
    return x;
}
GPU float nn_warp_max(float x)
{
#pragma unroll
    for (int lane = 1; lane < NN_WARP; lane *= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

/* Of a block of whole warps, in every thread. `room` has a place for each warp; who sums again takes another room, and the first again
 * thereafter: one barrier each time is enough. */
template <class T> GPU T nn_block_sum(T x, T *room)
{
    int warps = blockDim.x / NN_WARP, lane = threadIdx.x % NN_WARP;
    x = nn_warp_sum(x);
    if (warps == 1) return x;
    if (lane == 0) room[threadIdx.x / NN_WARP] = x;
    __syncthreads();
    return nn_warp_sum(lane < warps ? room[lane] : (T)0);
}
GPU float nn_block_max(float x, float *room)
{
    int warps = blockDim.x / NN_WARP, lane = threadIdx.x % NN_WARP;
    x = nn_warp_max(x);
    if (lane == 0) room[threadIdx.x / NN_WARP] = x;
    __syncthreads();
    return nn_warp_max(lane < warps ? room[lane] : x);
}

/* ---- functions ------------------------------------------------------------------------------------------------------------------ */

/* e^x to 3 units in the last place, for -104 <= x <= 88. log2(e) is given in two numbers, and what the product x * log2(e) loses by
 * rounding is made good by 2^d = 1 + d ln 2. */
GPU float nn_exp_between(float x)
{
    const float log2e = 1.44269502f, log2e_low = 1.92596299e-8f, ln2 = 0.693147181f;
    float t = x * log2e, power = gpu_exp2(t);
    return fmaf(power, fmaf(x, log2e_low, fmaf(x, log2e, -t)) * ln2, power);
}
/* For any x up to 88: below -104, where float32 ends, 0; a NaN stays one. */
GPU float nn_exp(float x) { return nn_exp_between(x < -104.0f ? -104.0f : x); }

/* 1 / (1 + e^-x); of a NaN something. Beyond 87 it is as good as 0, and below 2^126 the approximate division is good to 2 units. */
GPU float nn_sigmoid(float x) { return __fdividef(1.0f, 1.0f + nn_exp_between(fminf(fmaxf(-x, -104.0f), 87.0f))); }

/* Notes the first thing that is wrong. */
GPU void nn_note(int32_t *fault, kd_cuda_fault what, int64_t index, int32_t value)
{
    if (atomicCAS(fault, 0, (int32_t)what) != 0) return;
    fault[1] = (int32_t)index;
    fault[2] = value;
}

/* ---- launches ------------------------------------------------------------------------------------------------------------------- */

/* As many blocks as there are pieces, or as the machine wants. */
static inline unsigned nn_blocks(int64_t pieces, int64_t most) { return (unsigned)(pieces < most ? pieces : most); }

/* Elements 0..n-1 in packs of N, what is left over one by one. A `work` has at<N>(i) for elements i..i+N-1. */
enum { NN_EACH = 256 };
template <int N, class WORK> GPU void nn_each_of(const WORK &work, int64_t n)
{
    int64_t packs = n / N, threads = (int64_t)gridDim.x * NN_EACH, thread = (int64_t)blockIdx.x * NN_EACH + threadIdx.x;
    for (int64_t p = thread; p < packs; p += threads) work.template at<N>(p * N);
    for (int64_t i = packs * N + thread; i < n; i += threads) work.template at<1>(i);
}
template <int N, class WORK> static __global__ void __launch_bounds__(NN_EACH) nn_each(WORK work, int64_t n) { nn_each_of<N>(work, n); }

template <int N, class WORK> static void nn_run_each(const WORK &work, int64_t n, int64_t most, cudaStream_t stream)
{
    void (*kernel)(WORK, int64_t) = nn_each<N, WORK>;
    KD_LAUNCH(kernel, nn_blocks(kd_segments(kd_segments(n, N), NN_EACH), most), NN_EACH, 0, stream, work, n);
}
enum { NN_MANY = 1 << 30 };  /* blocks, of an operation whose blocks have nothing to prepare */

#endif

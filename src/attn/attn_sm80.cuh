/* What the portable tensor-core kernels share (attn_sm80_forward.cu, attn_sm80_backward.cu): tiles in shared memory, and the pieces of
 * them that mma.sync takes as operands.
 *
 * A tile is rows of EP 16-bit numbers, one behind the other, cut into chunks of 16 bytes that are permuted within a row, so that eight
 * rows of one column of chunks, which ldmatrix reads at once, lie in all 32 banks. */
#ifndef KD_ATTN_SM80_CUH
#define KD_ATTN_SM80_CUH

#include "dev/gpu.cuh"

extern "C" {
#include "attn_sm80.h"
}

#define SM80 static __device__ __forceinline__

struct alignas(16) sm80_chunk { uint32_t w[4]; };   /* moved by one instruction */
struct alignas(8) sm80_pair { float x, y; };

/* What follows from x is computed behind this, not kept in registers from outside a loop. */
SM80 void sm80_anew(int &x) { asm volatile("" : "+r"(x)); }

/* The number of this warp in its block, the same in all lanes to the compiler's knowledge. */
SM80 int sm80_warp(void) { return __shfl_sync(~0u, (int)threadIdx.x / 32, 0); }

/* ---- tiles -------------------------------------------------------------------------------------------------------------
 * Chunk c of a row lies at place c ^ turn among its neighbours, turn being the row's within eight. Rows of whole 128 bytes all begin in
 * bank 0 and are permuted in eights; others (192 and 64 bytes) begin in bank 0 or 16 by turns, in fours. */
template <int EP> struct sm80_turn { static constexpr int MASK = EP % 64 ? 3 : 7; };

template <int EP> SM80 int sm80_at(int row, int chunk) {
    constexpr int MASK = sm80_turn<EP>::MASK;
    return row * EP + (chunk ^ ((MASK == 3 ? row >> 1 : row) & MASK)) * 8;
}

/* Begins to copy rows 0..count-1 of `from`; zeros behind them. Each thread's places are one and constants. */
template <int EP, int ROWS, int THREADS> SM80 void sm80_load(uint16_t *tile, const uint16_t *from, int count) {
    constexpr int ACROSS = sm80_turn<EP>::MASK + 1, STEP = THREADS / ACROSS;
    static_assert(ROWS % STEP == 0 && STEP % 8 == 0, "each thread copies as much");
    const int row = (int)threadIdx.x / ACROSS, chunk = (int)threadIdx.x % ACROSS;
    tile += sm80_at<EP>(row, chunk);
    from += row * EP + chunk * 8;
#pragma unroll
    for (int i = 0; i < ROWS; i += STEP)
#pragma unroll
        for (int c = 0; c < EP; c += 8 * ACROSS) gpu_copy16(tile + i * EP + c, from + i * EP + c, row + i < count);
}

/* ---- operands of m16n8k16 --------------------------------------------------------------------------------------------------
 * a: 16 x 16, rows m, columns k. b: 16 x 16, two of the instruction's side by side: rows k, columns n. A tile holds either as it is
 * written here, its rows being m or n and its chunks lying along k, or transposed (_t): its rows are k. Rows of pieces are counted in
 * eights, numbers along a row in sixteens, both known when compiled, so that a lane's address is one of few plus a constant: `lane` is
 * sm80_tall for a and b_t, sm80_wide for b and a_t. */
template <int EP> SM80 int sm80_tall(void) { return sm80_at<EP>((int)threadIdx.x % 16, (int)threadIdx.x / 16 % 2); }
template <int EP> SM80 int sm80_wide(void) {
    return sm80_at<EP>((int)threadIdx.x / 16 % 2 * 8 + (int)threadIdx.x % 8, (int)threadIdx.x / 8 % 2);
}
template <int EP> SM80 const uint16_t *sm80_piece(const uint16_t *tile, int lane, int row, int number) {
    constexpr int MASK = sm80_turn<EP>::MASK * 8;
    return tile + (lane ^ (number & MASK)) + (row * EP + (number & ~MASK));
}
template <int EP> SM80 void sm80_a(uint32_t a[4], const uint16_t *tile, int tall, int m, int k) {
    gpu_load_matrix4(a, sm80_piece<EP>(tile, tall, m, k));
}
template <int EP> SM80 void sm80_a_t(uint32_t a[4], const uint16_t *tile, int wide, int m, int k) {
    gpu_load_matrix4_t(a, sm80_piece<EP>(tile, wide, k, m));
}
template <int EP> SM80 void sm80_b(uint32_t b[4], const uint16_t *tile, int wide, int n, int k) {
    gpu_load_matrix4(b, sm80_piece<EP>(tile, wide, n, k));
}
template <int EP> SM80 void sm80_b_t(uint32_t b[4], const uint16_t *tile, int tall, int n, int k) {
    gpu_load_matrix4_t(b, sm80_piece<EP>(tile, tall, k, n));
}

template <bool F16> SM80 void sm80_mma(float d[4], const uint32_t a[4], const uint32_t *b) {
    if constexpr (F16) gpu_mma_f16(d, a, b);
    else gpu_mma_bf16(d, a, b);
}

template <bool F16> SM80 uint32_t sm80_round(float first, float second) {
    return F16 ? gpu_pair_f16(first, second) : gpu_pair_bf16(first, second);
}

/* s [16 M, 8 N] = sum_e x[.., e] y[.., e]; split: of the high parts, plus high by low and low by high. */
template <int EP, int MODE, int M, int N>
SM80 void sm80_scores(float (&s)[M][N][4], const uint16_t *x, const uint16_t *x_low, const uint16_t *y, const uint16_t *y_low, int tall,
                      int wide) {
    constexpr bool F16 = MODE == KD_GPU_F16, SPLIT = MODE == KD_GPU_SPLIT;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[m][n][i] = 0;
#pragma unroll 4  /* whole, addresses would fill registers */
    for (int e = 0; e < EP; e += 16) {
        uint32_t a[M][4], a_low[SPLIT ? M : 1][4];
#pragma unroll
        for (int m = 0; m < M; m++) {
            sm80_a<EP>(a[m], x, tall, 16 * m, e);
            if constexpr (SPLIT) sm80_a<EP>(a_low[m], x_low, tall, 16 * m, e);
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            uint32_t b[4];
            sm80_b<EP>(b, y, wide, 8 * n, e);
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    sm80_mma<F16>(s[m][n + half], a[m], b + 2 * half);
                    if constexpr (SPLIT) sm80_mma<F16>(s[m][n + half], a_low[m], b + 2 * half);
                }
            if constexpr (SPLIT) {
                sm80_b<EP>(b, y_low, wide, 8 * n, e);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int half = 0; half < 2; half++) sm80_mma<F16>(s[m][n + half], a[m], b + 2 * half);
            }
        }
    }
}

/* ---- launches (attn_sm80_forward.cu, attn_sm80_backward.cu) -------------------------------------------------------------- */

/* A kernel for a head size and a mode, and what a launch of it needs. */
typedef void (*sm80_kernel)(const kd_gpu_attn);
struct sm80_entry {
    int32_t Ep;
    kd_gpu_mode mode;
    sm80_kernel kernel;
    int threads, shared_bytes;
    int resident;              /* blocks of it that a multiprocessor may hold at most */
    kd_gpu_shape shape;        /* rows, or keys and block */
};

#endif

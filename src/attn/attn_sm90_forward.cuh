/* The forward of attention on Hopper, its parts: measures, and what a warpgroup does with its 64 rows. attn_sm90_forward.cu says how they
 * work together. */
#ifndef KD_ATTN_SM90_FORWARD_CUH
#define KD_ATTN_SM90_FORWARD_CUH

#include <math.h>

extern "C" {
#include "attn_cuda.h"
}
#include "dev/gpu.cuh"

namespace {

enum { GROUP = 128, GROUP_ROWS = 64, BOX = 64, ROW_BYTES = 128 };  /* threads and rows of a warpgroup; numbers and bytes of a box's row */

#define HUGE_LOGIT 3e38f     /* no row's logit is below -this; differences with others are finite, or -infinity */
#define LAG 8.0f             /* sums of so many times 2^8 are as good as others, and O is seldom rescaled */
#define HIDDEN (-INFINITY)

/* Measures of the kernel for a padded head size and a mode. Registers: of a thread of the producer's, of consumers'. */
template <int E, int MODE> struct measures {
    static constexpr int parts = MODE == KD_GPU_SPLIT ? 2 : 1;  /* q and k: high, low */
    static constexpr int boxes = E / BOX;
    static constexpr int groups = E == 64 ? 3 : 2;
    static constexpr int rows = groups * GROUP_ROWS;
    static constexpr int keys = E == 128 && parts == 2 ? 64 : 128;
    static constexpr int stages = E == 64 && parts == 1 ? 3 : 2;  /* of keys, of values; of queries: 2 */
    static constexpr int q_box = rows * ROW_BYTES, k_box = keys * ROW_BYTES;
    static constexpr int q_bytes = parts * boxes * q_box, k_bytes = parts * boxes * k_box, v_bytes = boxes * k_box;
    static constexpr int k_at = 2 * q_bytes, v_at = k_at + stages * k_bytes, control_at = v_at + stages * v_bytes;
    static constexpr int threads = (1 + groups) * GROUP;
    static constexpr int producer_registers = groups == 3 ? 32 : 40, consumer_registers = groups == 3 ? 160 : 232;
};

/* What consumers need to know of a work item; blocks < 0: there are no more. */
typedef struct item {
    int first, count, other, others, blocks, head, group;
} item;

template <int STAGES> struct control {
    uint64_t q_full[2], q_empty[2], k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES];
    item at[2];
};

typedef struct maps { gpu_map q, q_low, k, k_low, v; } maps;

/* A use of a ring of N stages in one number: its stage, and N more where its parity is 1. */
template <int N> GPU int stage_of(int use) { return use < N ? use : use - N; }
template <int N> GPU int parity_of(int use) { return use >= N; }
template <int N> GPU int behind(int use) { return use < 2 * N - 1 ? use + 1 : 0; }

/* The tile so many bytes further: a descriptor begins with the address in units of 16 bytes, and shared memory ends before that
 * overflows. */
GPU uint64_t further(uint64_t tile, int bytes) { return (tile & 0xffffffff00000000) | ((uint32_t)tile + (uint32_t)(bytes >> 4)); }

/* The same, and the compiler knows that all lanes have it, so that what is added goes by the warp's own registers. */
GPU uint64_t even(uint64_t tile) { return (tile & 0xffffffff00000000) | __shfl_sync(0xffffffff, (uint32_t)tile, 0); }

typedef struct alignas(8) pair { float first, second; } pair;
typedef struct alignas(16) piece { uint32_t half[4]; } piece;

/* ---- products --------------------------------------------------------------------------------------------------------------- */

/* s [64, N] = q k' of the first N keys of a block, the smaller products first. */
template <int E, int MODE, int N> GPU void multiply_keys(float (&s)[N / 2], uint64_t q, uint64_t k) {
    typedef measures<E, MODE> M;
    constexpr int first = M::parts == 2 ? 0 : 2;
#pragma unroll
    for (int product = first; product < 3; product++) {
        const int q_low = product == 0, k_low = product == 1;
#pragma unroll
        for (int e = 0; e < E / 16; e++)
            gpu_wgmma_ss<N, MODE == KD_GPU_F16, false, false>(s, further(q, (q_low * M::boxes + e / 4) * M::q_box + e % 4 * 32),
                                                              further(k, (k_low * M::boxes + e / 4) * M::k_box + e % 4 * 32),
                                                              product > first || e);
    }
}

/* o [64, E] += p v of the first N keys of a block. */
template <int E, int N> GPU void multiply_values(float (&o)[E / 2], const uint32_t (*p)[4], uint64_t v) {
#pragma unroll
    for (int i = 0; i < N / 16; i++) gpu_wgmma_rs<E, false, true>(o, p[i], further(v, i * 16 * ROW_BYTES), true);
}

/* ---- softmax ----------------------------------------------------------------------------------------------------------------
 * Of a fragment s [64, N] a thread has rows r and r + 8 (index 0 and 1 below), columns 8 j + c and the next, c = 2 (lane % 4); its four
 * neighbors have the rest of these rows. */

/* Of two rows: what their logits, scaled and in base 2, are reduced by before 2 is raised to them, and the thread's part of the sum. */
typedef struct softmax { float level[2], sum[2]; } softmax;

/* Hides column j from row i where j > limit[i]. */
template <int N> GPU void hide(float (&s)[N / 2], const int (&limit)[2], int column) {
    const int limit0 = limit[0] - column, limit1 = limit[1] - column;
#pragma unroll
    for (int j = 0; j < N / 8; j++) {
        if (8 * j > limit0) s[4 * j] = HIDDEN;
        if (8 * j + 1 > limit0) s[4 * j + 1] = HIDDEN;
        if (8 * j > limit1) s[4 * j + 2] = HIDDEN;
        if (8 * j + 1 > limit1) s[4 * j + 3] = HIDDEN;
    }
}

/* s = 2^(scale2 s - level). A row's level follows its maximum once that is LAG higher; true if one of the warp did: then what is summed so
 * far is to be multiplied by `rescale`. Maxima and sums are chains over even and over odd columns. A row that sees nothing yet has the
 * level -HUGE_LOGIT: its s become 2^-infinity = 0. */
template <int N> GPU bool exponentials(float (&s)[N / 2], softmax *state, float (&rescale)[2], float scale2) {
    float most[2][2], sum[2][2], before[2];
#pragma unroll
    for (int i = 0; i < 4; i++) most[i / 2][i % 2] = s[i];
#pragma unroll
    for (int j = 1; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) most[i / 2][i % 2] = fmaxf(most[i / 2][i % 2], s[4 * j + i]);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float all = fmaxf(most[i][0], most[i][1]);
        all = fmaxf(all, __shfl_xor_sync(0xffffffff, all, 1));
        all = fmaxf(all, __shfl_xor_sync(0xffffffff, all, 2)) * scale2;
        before[i] = state->level[i];
        state->level[i] = all > before[i] + LAG ? all : before[i];
    }
    const bool moved = __any_sync(0xffffffff, state->level[0] != before[0] || state->level[1] != before[1]);
    if (moved) {
        rescale[0] = gpu_exp2(before[0] - state->level[0]);
        rescale[1] = gpu_exp2(before[1] - state->level[1]);
        state->sum[0] *= rescale[0];
        state->sum[1] *= rescale[1];
    }
#pragma unroll
    for (int j = 0; j < N / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[4 * j + i] = gpu_exp2(fmaf(s[4 * j + i], scale2, -state->level[i / 2]));
            sum[i / 2][i % 2] = j ? sum[i / 2][i % 2] + s[4 * j + i] : s[i];
        }
#pragma unroll
    for (int i = 0; i < 2; i++) state->sum[i] += sum[i][0] + sum[i][1];
    return moved;
}

/* The exponentials are to run beside products under way, so the assembler must not put them behind the wait for these: what it can be
 * made to believe that they are needed for is a barrier of the warp. Sums are never negative; the mask is that of all lanes. */
GPU void stay_before(const softmax *state) { __syncwarp(~__ballot_sync(0xffffffff, state->sum[0] < 0 || state->sum[1] < 0)); }

/* The fragment as left operand of a product: 16 columns are two of its pairs of eight. */
template <int N> GPU void pack(uint32_t (*p)[4], const float (&s)[N / 2]) {
#pragma unroll
    for (int i = 0; i < N / 16; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) p[i][j] = gpu_pair_bf16(s[8 * i + 2 * j], s[8 * i + 2 * j + 1]);
}

template <int FROM, int TO> GPU void clear(uint32_t (*p)[4]) {
#pragma unroll
    for (int i = FROM / 16; i < TO / 16; i++) p[i][0] = p[i][1] = p[i][2] = p[i][3] = 0;
}

template <int E> GPU void multiply_rows(float (&o)[E / 2], const float (&by)[2]) {
#pragma unroll
    for (int i = 0; i < E / 2; i++) o[i] *= by[i / 2 % 2];
}

/* A thread's rows `row` and row + 8 before any key: the levels, which are the anchor's logits, and can be asked for early; */
GPU void begin_levels(float (&level)[2], const kd_gpu_attn &x, const item &it, int row) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        level[i] = -HUGE_LOGIT;
        if (x.anchor_logit2 && row + 8 * i < x.rows) level[i] = x.anchor_logit2[(int64_t)it.head * x.rows + row + 8 * i];
    }
}

/* sums, of which the first of four neighbors has the anchor, and numerators. */
template <int E> GPU void begin_sums(float (&o)[E / 2], softmax *state, const kd_gpu_attn &x, const item &it, int lane) {
    state->sum[0] = state->sum[1] = x.anchor_logit2 && lane % 4 == 0;
    if (x.anchor_logit2) {
        const float *value = x.anchor_value + (int64_t)it.group * E + lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < E / 8; j++) {
            const pair two = *(const pair *)(value + 8 * j);
            o[4 * j] = o[4 * j + 2] = two.first;
            o[4 * j + 1] = o[4 * j + 3] = two.second;
        }
    } else {
#pragma unroll
        for (int i = 0; i < E / 2; i++) o[i] = 0;
    }
}

/* ---- results ---------------------------------------------------------------------------------------------------------------- */

/* What a warp knows of its 16 rows; a thread's own are lane / 4 and that + 8. */
typedef struct warp_rows {
    int lane, first, count, head;   /* first: a packed row; those from `count` on (of 16) are not its tile's */
} warp_rows;

/* o as it is kept, of its numerators; lse. A row that sees nothing has 0 and -infinity. */
template <int E> GPU void finish(float (&o)[E / 2], softmax *state, const kd_gpu_attn &x, const warp_rows &w) {
    float inverse[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float sum = state->sum[i];
        sum += __shfl_xor_sync(0xffffffff, sum, 1);
        sum += __shfl_xor_sync(0xffffffff, sum, 2);
        inverse[i] = sum == 0 ? 0 : __fdividef(1, sum);  /* not the exact quotient, which may call a function */
        const int row = w.lane / 4 + 8 * i;
        if (w.lane % 4 == 0 && row < w.count)
            x.lse[(int64_t)w.head * x.rows + w.first + row] = sum == 0 ? -INFINITY : (state->level[i] + log2f(sum)) * 0.6931471805599453f;
    }
    multiply_rows<E>(o, inverse);
}

/* float32 straight from registers: four neighbors write 32 bytes. whole: by 8, if o lies so. */
template <int E> GPU void put_floats(const float (&o)[E / 2], const kd_gpu_attn &x, const warp_rows &w, bool whole) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int row = w.lane / 4 + 8 * i;
        if (row >= w.count) continue;
        float *to = x.o.data + (int64_t)(w.first + row) * x.o.token_stride + w.head * x.o.head_stride + w.lane % 4 * 2;
#pragma unroll
        for (int j = 0; j < E / 8; j++) {
            if (8 * j + w.lane % 4 * 2 >= x.E) break;
            const pair two = {o[4 * j + 2 * i], o[4 * j + 2 * i + 1]};
            if (whole) *(pair *)(to + 8 * j) = two;
            else to[8 * j] = two.first, to[8 * j + 1] = two.second;
        }
    }
}

/* 16-bit numbers through the warp's rows of the queries' boxes, which nobody needs any more: pieces of 16 bytes are permuted as by the copy
 * engine, so that neither side meets a bank twice. whole: they can be written as they are. */
template <int E, int Q_BOX>
GPU void put_halves(unsigned char *own, const float (&o)[E / 2], const kd_gpu_attn &x, const warp_rows &w, bool whole) {
    constexpr int pieces = E / 8, at_once = 32 / pieces;
    const bool bf16 = x.o.type == KD_VIEW_BF16;
    const int row = w.lane % 16, column = w.lane % pieces * 8;
#pragma unroll
    for (int i = 0; i < E / 16; i++) {
        uint32_t d[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            d[j] = bf16 ? gpu_pair_bf16(o[8 * i + 2 * j], o[8 * i + 2 * j + 1]) : gpu_pair_f16(o[8 * i + 2 * j], o[8 * i + 2 * j + 1]);
        gpu_store_matrix4(own + i / 4 * Q_BOX + row * ROW_BYTES + ((i % 4 * 2 + w.lane / 16) ^ row % 8) * 16, d);
    }
    __syncwarp();
#pragma unroll 1
    for (int r = w.lane / pieces; r < 16; r += at_once) {
        if (r >= w.count || column >= x.E) continue;
        uint16_t *to = x.o.half + (int64_t)(w.first + r) * x.o.token_stride + w.head * x.o.head_stride + column;
        const unsigned char *from = own + column / BOX * Q_BOX + r * ROW_BYTES + (column / 8 % 8 ^ r % 8) * 16;
        if (whole) *(piece *)to = *(const piece *)from;
        else
            for (int e = 0; e < 8 && column + e < x.E; e++) to[e] = ((const uint16_t *)from)[e];
    }
}

}  // namespace

#endif

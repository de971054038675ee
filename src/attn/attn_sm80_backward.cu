/* Attention backward for tensor cores from compute capability 8.0 on: mma.sync, ldmatrix, cp.async. For machines and head sizes that
 * attn_sm90_backward.cu does not serve.
 *
 * A block owns a tile of keys of one key/value head and passes over the rows that see it, for each query head of the group: dK and dV stay
 * in registers and are written once. A warp owns 16 keys and computes transposed, S^T = K Q^T and dP^T = V dO^T, so that P^T and dS^T are
 * operands of dV += P^T dO and dK += dS^T Q as they stand in registers; dS^T alone goes through shared memory, for dQ = dS K, where warps
 * share out rows and columns. Heads of 256 numbers do not fit: there two warps share 16 keys, each with half of the rows of S^T and half of
 * the columns of dK and dV, and P^T goes through shared memory too.
 *
 * dQ is added up in global memory by the blocks that share rows, in the order of their keys (kd_gpu_attn.turn): the same bits in every run.
 * Somebody always goes on: blocks take items in the order of the list, a block waits for an item earlier in the list alone, and passes its
 * own turn before it waits for the next one; so of the items that are taken and not done the earliest waits for nobody. Rows are passed
 * over from the document's end, where all its tiles begin, so that they follow one another at a distance of one block of rows. */
#include <limits.h>

#include "attn_sm80.cuh"

extern "C" {
#include "dev/cuda.h"
}

/* What a kernel is made of. Two STAGES: the next block of rows is copied during this one's products, where a block may have the shared
 * memory; else behind the last product that needs the place. OVER: dS^T lies where dO lay. */
template <int EP_, int MODE_, int KEYS_, int ROWS_, int HALVES_, int STAGES_, bool OVER_> struct build {
    static constexpr int EP = EP_, MODE = MODE_, KEYS = KEYS_, ROWS = ROWS_, HALVES = HALVES_, STAGES = STAGES_;
    static constexpr bool OVER = OVER_, SPLIT = MODE == KD_GPU_SPLIT, F16 = MODE == KD_GPU_F16;
    static constexpr int WARPS = KEYS / 16 * HALVES, THREADS = 32 * WARPS;
    static constexpr int N = ROWS / 8 / HALVES, NE = EP / 8 / HALVES;   /* eights of rows of S^T, of columns of dK and dV: a warp's */
    static constexpr int DOWN = WARPS == 8 && EP % 64 ? 4 : 2, ACROSS = WARPS / DOWN;  /* warps over dQ */
    static constexpr int M = ROWS / 16 / DOWN, COLUMNS = EP / ACROSS;   /* sixteens of rows, columns of dQ: a warp's */
    static constexpr int PASSES = M * COLUMNS > 128 ? 4 : M * COLUMNS > 96 ? 2 : 1;            /* over its columns: dK and dV leave no more registers */
    /* places in shared memory, in 16-bit numbers */
    static constexpr int K = 0, K_LOW = K + KEYS * EP, V = K_LOW + SPLIT * KEYS * EP, Q = V + KEYS * EP, Q_LOW = Q + STAGES * ROWS * EP,
                         DOUT = Q_LOW + SPLIT * ROWS * EP, P = DOUT + STAGES * ROWS * EP, DS = OVER ? DOUT : P + (HALVES - 1) * KEYS * ROWS,
                         STATISTICS = OVER ? P : DS + KEYS * ROWS, TAKEN = STATISTICS + 2 * 2 * ROWS, END = TAKEN + 16;
    static constexpr int BYTES = 2 * END;
    static_assert(!SPLIT || STAGES == 1, "low parts have one place");
    static_assert(!OVER || (STAGES == 1 && HALVES == 1 && KEYS <= EP), "dS fits where dO is");
    static_assert(2 * ROWS <= THREADS, "a thread fetches a number of a row");
    static_assert(COLUMNS / PASSES % 16 == 0, "whole operands");
};

/* out [16, 8 NE] += a b of 16 of its columns: a's keys by 16 rows, b those rows of a tile. */
template <bool F16, int EP, int NE> SM80 void add(float (&out)[NE][4], const uint32_t (&a)[4], const uint16_t *tile, int tall, int row) {
#pragma unroll
    for (int n = 0; n < NE; n += 2) {
        uint32_t b[4];
        sm80_b_t<EP>(b, tile, tall, 8 * n, row);
        sm80_mma<F16>(out[n], a, b);
        sm80_mma<F16>(out[n + 1], a, b + 2);
    }
}

/* Of sixteen rows, the warp's j-th, of S^T and dP^T: P and dS, rounded, as operands. HIDE: row r of the warp's sees its keys
 * 0 .. r + shift, of `keys` that there are. statistics: lse2 and sigma delta of the warp's rows. */
template <class B, bool HIDE>
SM80 void probabilities(uint32_t (&p)[4], uint32_t (&ds)[4], const float (&s)[B::N][4], const float (&dp)[B::N][4], int j,
                        const float *statistics, float scale2, float sigma, int shift, int keys) {
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < 2; n++) {
        const sm80_pair lse2 = *(const sm80_pair *)(statistics + 16 * j + 8 * n + lane % 4 * 2);
        const sm80_pair delta = *(const sm80_pair *)(statistics + B::ROWS + 16 * j + 8 * n + lane % 4 * 2);
        float w[4], d[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w[i] = gpu_exp2(fmaf(s[2 * j + n][i], scale2, i % 2 ? -lse2.y : -lse2.x));
            if (HIDE && (8 * (i / 2) > shift + lane % 4 * 2 - lane / 4 + 16 * j + 8 * n + i % 2 || 8 * (i / 2) >= keys - lane / 4))
                w[i] = 0;
            d[i] = w[i] * fmaf(sigma, dp[2 * j + n][i], i % 2 ? -delta.y : -delta.x);
        }
        p[2 * n] = gpu_pair_bf16(w[0], w[1]), p[2 * n + 1] = gpu_pair_bf16(w[2], w[3]);
        ds[2 * n] = sm80_round<B::F16>(d[0], d[1]), ds[2 * n + 1] = sm80_round<B::F16>(d[2], d[3]);
    }
}

/* Rows 16 j .. of P^T or dS^T to a tile of ROWS numbers a key, at the warp's keys and rows. */
template <class B> SM80 void put(uint16_t *tile, const uint32_t (&x)[4], int j, int row0) {
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 4; i++)
        *(uint32_t *)(tile + sm80_at<B::ROWS>(lane / 4 + i % 2 * 8, row0 / 8 + 2 * j + i / 2) + lane % 4 * 2) = x[i];
}

/* dQ of a block of rows: the warp's part of dS K over keys 0 .. 16 groups - 1, to rows 0..count-1 of `to` when it is its turn. */
template <class B>
SM80 void add_dq(float *to, int count, const uint16_t *ds, const uint16_t *k, int groups, const int32_t *turn, int order) {
    constexpr int COLUMNS = B::COLUMNS / B::PASSES;
    const int lane = (int)threadIdx.x % 32, warp = sm80_warp(), row0 = warp / B::ACROSS * 16 * B::M;
    const int tall = sm80_tall<B::EP>(), wide = sm80_wide<B::ROWS>();
    int column0 = warp % B::ACROSS * B::COLUMNS;
#pragma unroll 1
    for (int pass = 0; pass < B::PASSES; pass++, column0 += COLUMNS) {
        float dq[B::M][COLUMNS / 8][4] = {};
#pragma unroll 1
        for (int j = 0; j < groups; j++) {
            uint32_t a[B::M][4];
#pragma unroll
            for (int m = 0; m < B::M; m++) sm80_a_t<B::ROWS>(a[m], ds + 16 * j * B::ROWS, wide, row0 + 16 * m, 0);
#pragma unroll
            for (int n = 0; n < COLUMNS / 8; n += 2) {
                uint32_t b[4];
                sm80_b_t<B::EP>(b, k + 16 * j * B::EP, tall, column0 + 8 * n, 0);
#pragma unroll
                for (int m = 0; m < B::M; m++) {
                    sm80_mma<B::F16>(dq[m][n], a[m], b);
                    sm80_mma<B::F16>(dq[m][n + 1], a[m], b + 2);
                }
            }
        }
        if (turn && order > 0 && pass == 0) {
            if (threadIdx.x == 0) gpu_wait_turn(turn, order);
            __syncthreads();
        }
#pragma unroll
        for (int m = 0; m < B::M; m++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int row = row0 + 16 * m + 8 * i + lane / 4;
                float *out = to + row * B::EP + column0 + lane % 4 * 2;
                if (row >= count) continue;
                if (turn && order == 0) {
#pragma unroll
                    for (int n = 0; n < COLUMNS / 8; n++) *(sm80_pair *)(out + 8 * n) = {dq[m][n][2 * i], dq[m][n][2 * i + 1]};
                } else {
#pragma unroll
                    for (int n = 0; n < COLUMNS / 8; n++) {
                        atomicAdd(out + 8 * n, dq[m][n][2 * i]);
                        atomicAdd(out + 8 * n + 1, dq[m][n][2 * i + 1]);
                    }
                }
            }
    }
}

/* The warp's keys and columns of dK or dV. */
template <int EP, int NE> SM80 void write(float *to, int count, const float (&x)[NE][4]) {
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int key = lane / 4 + 8 * i;
        if (key >= count) continue;
#pragma unroll
        for (int n = 0; n < NE; n++) *(sm80_pair *)(to + key * EP + 8 * n + lane % 4 * 2) = {x[n][2 * i], x[n][2 * i + 1]};
    }
}

/* What the thread fetches for a block of `count` rows: lse2 of one, or sigma delta; of no row, what makes P and dS 0. */
template <class B> SM80 float statistic(const kd_gpu_attn &x, int64_t row0, int count, float sigma) {
    const int row = (int)threadIdx.x % B::ROWS;
    const bool is_lse = (int)threadIdx.x < B::ROWS;
    if (row >= count || (int)threadIdx.x >= 2 * B::ROWS) return is_lse ? INFINITY : 0;
    return is_lse ? x.lse2[row0 + row] : sigma * x.delta[row0 + row];
}

/* By one thread, behind a barrier: what the block has added to dQ is there before its turn is seen to be over. */
SM80 void pass_turn(const kd_gpu_attn &x, int &turn, int to) {
    if (x.turn && turn >= 0) {
        __threadfence();
        gpu_pass_turn(x.turn + turn, to);
    }
    turn = -1;
}

/* A block of rows of a tile, of a query head. */
struct place { int h, block; };
template <class B> SM80 int blocks_of(const kd_gpu_tile &tile) { return (tile.others + B::ROWS - 1) / B::ROWS; }
template <class B> SM80 place behind(place p, const kd_gpu_tile &tile) {
    if (p.block) return {p.h, p.block - 1};
    return {p.h + 1, blocks_of<B>(tile) - 1};
}
template <class B> SM80 int64_t row_of(const kd_gpu_attn &x, const kd_gpu_tile &tile, place p) {
    return (int64_t)p.h * x.rows + tile.other + p.block * B::ROWS;
}
/* Sixteens of keys that any row of a block sees: row r keys 0 .. r + see. */
template <class B> SM80 int groups_of(const kd_gpu_tile &tile, int block, int see) {
    return (min(tile.count, see + min(B::ROWS, tile.others - block * B::ROWS)) + 15) / 16;
}

template <class B> __global__ void __launch_bounds__(B::THREADS, 1) backward(const kd_gpu_attn x) {
    constexpr int EP = B::EP, ROWS = B::ROWS, THREADS = B::THREADS;
    KD_SHARED(uint16_t, shared);
    float *const statistics = (float *)(shared + B::STATISTICS);
    struct job { int32_t item; kd_gpu_tile tile; } *const job = (struct job *)(shared + B::TAKEN);  /* read where it is needed */
    const kd_gpu_tile &tile = job->tile;
    const int warp = sm80_warp(), key0 = warp / B::HALVES * 16, half = warp % B::HALVES;  /* the warp's keys; which rows and columns */
    const int tall = sm80_tall<EP>(), wide = sm80_wide<EP>();
    int pass = -1, pass_to = 0;  /* the turn to be passed when all threads have added */

    if (B::F16 ? x.unfit && *x.unfit : x.run_if_unfit && !*x.unfit) return;
    const float sigma = B::F16 ? x.sigma[0] : 1;
#pragma unroll 1
    for (;;) {
        __syncthreads();  /* nobody needs the item before any more */
        if (threadIdx.x == 0) {
            pass_turn(x, pass, pass_to);
            job->item = atomicAdd(x.next, 1);
            if (job->item < x.tiles * x.G) job->tile = x.tile[job->item / x.G];
        }
        __syncthreads();
        if (job->item >= x.tiles * x.G) return;
        const int g = job->item % x.G, end = (g + 1) * (x.H / x.G);
        place now = {g * (x.H / x.G), blocks_of<B>(tile) - 1};
        int stage = 0;

        float dk[B::NE][4] = {}, dv[B::NE][4] = {}, mine = 0;
        if (now.block >= 0) {
            const int64_t key = ((int64_t)g * x.keys + tile.first) * EP, row = row_of<B>(x, tile, now);
            const int count = tile.others - now.block * ROWS;
            sm80_load<EP, B::KEYS, THREADS>(shared + B::K, x.k + key, tile.count);
            if constexpr (B::SPLIT) sm80_load<EP, B::KEYS, THREADS>(shared + B::K_LOW, x.k_low + key, tile.count);
            sm80_load<EP, B::KEYS, THREADS>(shared + B::V, x.v + key, tile.count);
            sm80_load<EP, ROWS, THREADS>(shared + B::Q, x.q + row * EP, count);
            if constexpr (B::SPLIT) sm80_load<EP, ROWS, THREADS>(shared + B::Q_LOW, x.q_low + row * EP, count);
            if constexpr (B::OVER) gpu_copy_commit();
            sm80_load<EP, ROWS, THREADS>(shared + B::DOUT, x.dout + row * EP, count);
            gpu_copy_commit();
            mine = statistic<B>(x, row, count, sigma);
        }

#pragma unroll 1
        while (now.block >= 0 && now.h < end) {
            const uint16_t *const q = shared + B::Q + stage * ROWS * EP, *const dout = shared + B::DOUT + stage * ROWS * EP;
            const int see = tile.other + x.lead - tile.first + now.block * ROWS;  /* row r of the block sees keys 0 .. r + see */
            const int groups = groups_of<B>(tile, now.block, see);

            if (threadIdx.x < 2 * ROWS) statistics[threadIdx.x] = mine;
            gpu_copy_wait<B::OVER ? 1 : 0>();
            __syncthreads();  /* queries (not OVER: dO) and statistics are there; the block before is done with */
            place next = behind<B>(now, tile);
            if (next.h < end) {
                const int64_t row = row_of<B>(x, tile, next);
                const int count = tile.others - next.block * ROWS;
                mine = statistic<B>(x, row, count, sigma);
                if constexpr (B::STAGES == 2) {
                    sm80_load<EP, ROWS, THREADS>(shared + B::Q + (stage ^ 1) * ROWS * EP, x.q + row * EP, count);
                    sm80_load<EP, ROWS, THREADS>(shared + B::DOUT + (stage ^ 1) * ROWS * EP, x.dout + row * EP, count);
                    gpu_copy_commit();
                    stage ^= 1;
                }
            }

            const bool works = key0 < 16 * groups;
            constexpr int PART = ROWS / B::HALVES;
            float s[1][B::N][4], dp[1][B::N][4];
            uint32_t p[B::N / 2][4], ds[B::N / 2][4];
            if (works)
                sm80_scores<EP, B::MODE>(s, shared + B::K + key0 * EP, shared + B::K_LOW + key0 * EP, q + half * PART * EP,
                                         shared + B::Q_LOW + half * PART * EP, tall, wide);
            if (threadIdx.x == 0) pass_turn(x, pass, pass_to);
            __syncwarp();
            if constexpr (B::OVER) {
                gpu_copy_wait<0>();
                __syncthreads();  /* dO is there */
            }
            if (works) {
                sm80_scores<EP, KD_GPU_BF16>(dp, shared + B::V + key0 * EP, shared, dout + half * PART * EP, shared, tall, wide);
                const bool hides = see + half * PART < key0 + 15 || tile.count < key0 + 16;
#pragma unroll
                for (int j = 0; j < B::N / 2; j++)
                    if (hides)
                        probabilities<B, true>(p[j], ds[j], s[0], dp[0], j, statistics + half * PART, x.scale2, sigma,
                                               see + half * PART - key0, tile.count - key0);
                    else probabilities<B, false>(p[j], ds[j], s[0], dp[0], j, statistics + half * PART, x.scale2, sigma, 0, 0);
            }
            if constexpr (B::HALVES == 1) {
                if (works)
#pragma unroll
                    for (int j = 0; j < B::N / 2; j++) add<false, EP>(dv, p[j], dout, tall, 16 * j);
                if constexpr (B::OVER) __syncthreads();  /* dO has been used */
                if (works)
#pragma unroll
                    for (int j = 0; j < B::N / 2; j++) {
                        put<B>(shared + B::DS + key0 * ROWS, ds[j], j, 0);
                        add<B::F16, EP>(dk, ds[j], q, tall, 16 * j);
                    }
            } else {
                if (works)
#pragma unroll
                    for (int j = 0; j < B::N / 2; j++) {
                        put<B>(shared + B::P + key0 * ROWS, p[j], j, half * PART);
                        put<B>(shared + B::DS + key0 * ROWS, ds[j], j, half * PART);
                    }
                __syncthreads();  /* the other half of the rows is there */
                if (works) {
                    const int across = sm80_tall<ROWS>();
#pragma unroll
                    for (int j = 0; j < ROWS / 16; j++) {
                        uint32_t a[4];
                        sm80_a<ROWS>(a, shared + B::P + key0 * ROWS, across, 0, 16 * j);
                        add<false, EP>(dv, a, dout + half * 8 * B::NE, tall, 16 * j);
                        sm80_a<ROWS>(a, shared + B::DS + key0 * ROWS, across, 0, 16 * j);
                        add<B::F16, EP>(dk, a, q + half * 8 * B::NE, tall, 16 * j);
                    }
                }
            }
            __syncthreads();  /* dS is there; queries have been used, and, not OVER, dO */
            sm80_anew(now.block);
            next = behind<B>(now, tile);
            if (B::STAGES == 1 && next.h < end) {
                const int64_t row = row_of<B>(x, tile, next);
                const int count = tile.others - next.block * ROWS;
                sm80_load<EP, ROWS, THREADS>(shared + B::Q, x.q + row * EP, count);
                if constexpr (B::SPLIT) sm80_load<EP, ROWS, THREADS>(shared + B::Q_LOW, x.q_low + row * EP, count);
                if constexpr (!B::OVER) sm80_load<EP, ROWS, THREADS>(shared + B::DOUT, x.dout + row * EP, count);
                gpu_copy_commit();
            }

            const int turn = now.h * x.turns + tile.turn + now.block;
            add_dq<B>(x.dq + row_of<B>(x, tile, now) * EP, tile.others - now.block * ROWS, shared + B::DS, shared + B::K,
                      groups_of<B>(tile, now.block, tile.other + x.lead - tile.first + now.block * ROWS), x.turn ? x.turn + turn : NULL,
                      tile.order);
            pass = turn, pass_to = tile.order + 1;
            now = behind<B>(now, tile);
            if constexpr (B::OVER) {
                __syncthreads();  /* dS has been used */
                if (now.h < end) {
                    sm80_load<EP, ROWS, THREADS>(shared + B::DOUT, x.dout + row_of<B>(x, tile, now) * EP, tile.others - now.block * ROWS);
                    gpu_copy_commit();
                }
            }
        }
        const int64_t to = ((int64_t)(job->item % x.G) * x.keys + tile.first + key0) * EP + half * 8 * B::NE;
        write<EP>(x.dk + to, tile.count - key0, dk);
        write<EP>(x.dv + to, tile.count - key0, dv);
    }
}

/* ---- the host's half ------------------------------------------------------------------------------------------------------- */

#define ENTRY(Ep, mode, keys, rows, halves, stages, over, resident)                                                                \
    {Ep, mode, backward<build<Ep, mode, keys, rows, halves, stages, over>>, build<Ep, mode, keys, rows, halves, stages, over>::THREADS, \
     build<Ep, mode, keys, rows, halves, stages, over>::BYTES, resident, {0, keys, rows}}

/* Of several for a head size and a mode the one that needs most shared memory first; the last does with what consumers' cards have. */
static const sm80_entry entries[] = {
    ENTRY(64, KD_GPU_BF16, 128, 64, 1, 2, false, 1),
    ENTRY(96, KD_GPU_BF16, 128, 64, 1, 2, false, 1),
    ENTRY(96, KD_GPU_BF16, 128, 64, 1, 1, false, 1),
    ENTRY(128, KD_GPU_BF16, 128, 64, 1, 2, false, 1),
    ENTRY(128, KD_GPU_BF16, 128, 64, 1, 1, true, 1),
    ENTRY(256, KD_GPU_BF16, 64, 64, 2, 1, false, 1),
    ENTRY(256, KD_GPU_BF16, 32, 32, 2, 1, false, 2),
    ENTRY(64, KD_GPU_F16, 128, 64, 1, 2, false, 1),
    ENTRY(96, KD_GPU_F16, 128, 64, 1, 2, false, 1),
    ENTRY(96, KD_GPU_F16, 128, 64, 1, 1, false, 1),
    ENTRY(128, KD_GPU_F16, 128, 64, 1, 2, false, 1),
    ENTRY(128, KD_GPU_F16, 128, 64, 1, 1, true, 1),
    ENTRY(256, KD_GPU_F16, 64, 64, 2, 1, false, 1),
    ENTRY(256, KD_GPU_F16, 32, 32, 2, 1, false, 2),
    ENTRY(64, KD_GPU_SPLIT, 128, 64, 1, 1, false, 1),
    ENTRY(96, KD_GPU_SPLIT, 64, 64, 1, 1, false, 2),
    ENTRY(128, KD_GPU_SPLIT, 64, 32, 1, 1, false, 2),
    ENTRY(256, KD_GPU_SPLIT, 64, 32, 2, 1, false, 1),
    ENTRY(256, KD_GPU_SPLIT, 16, 32, 2, 1, false, 2),
};

static const sm80_entry *entry_of(int64_t Ep, kd_gpu_mode mode, int shared_bytes) {
    for (const sm80_entry &e : entries)
        if (e.Ep == Ep && e.mode == mode && e.shared_bytes <= shared_bytes) return &e;
    return NULL;
}

/* Shared memory that a block of the current device may have; where there is no device, as much as any kernel wants. */
static int shared_limit(void) {
    int device, bytes;
    if (cudaGetDevice(&device) || cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device)) return INT_MAX;
    return bytes;
}

extern "C" bool kd_attn_sm80_backward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode, int shared_bytes) {
    const sm80_entry *e = entry_of(Ep, mode, shared_bytes);
    if (e) *shape = e->shape;
    return e != NULL;
}

extern "C" bool kd_attn_sm80_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode) {
    kd_gpu_shape forward;
    if (!kd_attn_sm80_forward_shape(&forward, Ep, mode) || !kd_attn_sm80_backward_shape(shape, Ep, mode, shared_limit())) return false;
    shape->rows = forward.rows;
    return true;
}

extern "C" kd_status kd_attn_sm80_backward_within(const kd_gpu_attn *x, int shared_bytes) {
    const sm80_entry *e = entry_of(x->Ep, x->mode, shared_bytes);
    if (!e)
        return kd_fail(KD_ENOTSUP, "attention backward: no kernel for heads of %d numbers in mode %d with %d bytes of shared memory",
                       (int)x->Ep, (int)x->mode, shared_bytes);
    const int64_t items = (int64_t)x->tiles * x->G, most = (int64_t)x->multiprocessors * e->resident;
    if (items == 0) return KD_OK;
    KD_TRY(kd_cuda_try("cudaFuncSetAttribute", cudaFuncSetAttribute((const void *)e->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                                    e->shared_bytes)));
    KD_LAUNCH(e->kernel, (unsigned)(items < most ? items : most), e->threads, e->shared_bytes, x->stream, *x);
    return kd_cuda_launched("attention backward");
}

extern "C" kd_status kd_attn_sm80_backward(const kd_gpu_attn *x) { return kd_attn_sm80_backward_within(x, shared_limit()); }

/* Attention forward for tensor cores from compute capability 8.0 on, in the manner of FlashAttention-2 (Dao 2023): mma.sync, ldmatrix,
 * cp.async. For machines and head sizes that attn_sm90_forward.cu does not serve.
 *
 * A warp owns 16 or 32 rows and passes over the keys of the tile's document in tiles, first to last, with an online softmax in base 2 that
 * begins with the anchor. The next tile of keys is copied while probabilities are made and multiplied with values, the values while logits
 * are made. What a row does not see does not change it by a bit, and tiles of keys are counted from the document's first: a row does not
 * depend on the rows beside it. Blocks take tiles of rows one by one from the list until it is at its end. */
#include "attn_sm80.cuh"

extern "C" {
#include "dev/cuda.h"
}

#define LN2 0.69314718056f
#define NEVER (1 << 30)
#define NOTHING (-1e30f)  /* a maximum of no logits: finite, so that its difference with itself is 0 */

/* Logits of one tile become P, not yet divided by the sum; what the rows have so far is scaled to the new maximum, if any row of the warp
 * has one: seldom in long documents. The four lanes that share a row add up `sum` in parts. */
template <int M, int N, int NE>
SM80 void softmax(float (&s)[M][N][4], float (&o)[M][NE][4], float (&most)[M][2], float (&sum)[M][2], float scale2) {
    float shrink[M][2];
    bool grows = false;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float now = s[m][0][2 * i];
#pragma unroll
            for (int n = 0; n < N; n++) now = fmaxf(now, fmaxf(s[m][n][2 * i], s[m][n][2 * i + 1]));
            now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
            now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
            now = fmaxf(most[m][i], now * scale2);
            grows = grows || now != most[m][i];
            shrink[m][i] = gpu_exp2(most[m][i] - now);
            most[m][i] = now;
        }
    if (__any_sync(~0u, grows)) {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                sum[m][i] *= shrink[m][i];
#pragma unroll
                for (int n = 0; n < NE; n++) o[m][n][2 * i] *= shrink[m][i], o[m][n][2 * i + 1] *= shrink[m][i];
            }
    }
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) sum[m][i / 2] += s[m][n][i] = gpu_exp2(fmaf(s[m][n][i], scale2, -most[m][i / 2]));
}

/* Hides what no row of the warp's sees: the row of lane / 4 sees columns 0..last + row. */
template <int M, int N> SM80 void hide(float (&s)[M][N][4], int last, int columns) {
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int to = min(columns - 1, last + 16 * m + 8 * i + lane / 4) - lane % 4 * 2;
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int j = 0; j < 2; j++)
                    if (8 * n + j > to) s[m][n][2 * i + j] = -INFINITY;
        }
}

/* o += P v of KEYS keys. */
template <int EP, int M, int N> SM80 void add_values(float (&o)[M][EP / 8][4], const float (&s)[M][N][4], const uint16_t *v,
                                                           int tall) {
#pragma unroll
    for (int j = 0; j < N / 2; j++) {
        uint32_t a[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) a[m][i] = gpu_pair_bf16(s[m][2 * j + i / 2][i % 2 * 2], s[m][2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int n = 0; n < EP / 8; n += 2) {
            uint32_t b[4];
            sm80_b_t<EP>(b, v, tall, 8 * n, 16 * j);
#pragma unroll
            for (int m = 0; m < M; m++) {
                gpu_mma_bf16(o[m][n], a[m], b);
                gpu_mma_bf16(o[m][n + 1], a[m], b + 2);
            }
        }
    }
}

/* The first `numbers` of eight, in one or two pieces of 16 bytes where that may be. */
template <typename T> SM80 void put(T *out, const T (&v)[8], int numbers) {
    constexpr int IN_CHUNK = 16 / (int)sizeof(T);
    if (numbers == 8 && !((uintptr_t)out & 15))
#pragma unroll
        for (int j = 0; j < 8; j += IN_CHUNK) {
            sm80_chunk chunk;
            memcpy(&chunk, v + j, sizeof chunk);
            *(sm80_chunk *)(out + j) = chunk;
        }
    else
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (j < numbers) out[j] = v[j];
}

/* The warp's rows from eight times PART on to x.o, rows row .. row+count-1 of it: by way of `stage`, eight rows of float32, so that they
 * leave in chunks. */
template <int EP, int M, int PART>
SM80 void store(const kd_gpu_attn &x, int row, int count, int h, const float (&o)[M][EP / 8][4], uint16_t *stage) {
    if constexpr (PART < 2 * M) {
        int lane = (int)threadIdx.x % 32, place = sm80_at<2 * EP>(lane / 4, lane % 4 / 2) + lane % 2 * 4;
        sm80_anew(lane), sm80_anew(place);
        __syncwarp();
#pragma unroll
        for (int n = 0; n < EP / 8; n++) {
            const float *pair = o[PART / 2][n] + PART % 2 * 2;
            *(sm80_pair *)(stage + (place ^ (16 * n & 63)) + (16 * n & ~63)) = {pair[0], pair[1]};
        }
        __syncwarp();
#pragma unroll 1
        for (int at = lane; at < 8 * (EP / 8); at += 32) {
            const int r = at / (EP / 8), e = at % (EP / 8) * 8, numbers = min(8, x.E - e);
            const int64_t out = (int64_t)(row + r) * x.o.token_stride + h * x.o.head_stride + e;
            if (r >= count) break;
            float v[8];
            memcpy(v, stage + sm80_at<2 * EP>(r, e / 4), 16);
            memcpy(v + 4, stage + sm80_at<2 * EP>(r, e / 4 + 1), 16);
            if (x.o.type == KD_VIEW_F32) {
                put(x.o.data + out, v, numbers);
                continue;
            }
            uint16_t w[8];
#pragma unroll
            for (int j = 0; j < 8; j++) w[j] = x.o.type == KD_VIEW_F16 ? gpu_f16(v[j]) : gpu_bf16(v[j]);
            put(x.o.half + out, w, numbers);
        }
        store<EP, M, PART + 1>(x, row + 8, count - 8, h, o, stage);
    }
}

/* What a row has before it sees a key: the anchor, or nothing. Rows of the item's tile from `mine` on. */
template <int EP, int M>
SM80 void begin(float (&o)[M][EP / 8][4], float (&most)[M][2], float (&sum)[M][2], const kd_gpu_attn &x, int item, int mine) {
    const int lane = (int)threadIdx.x % 32, h = item % x.H;
    const kd_gpu_tile tile = x.tile[item / x.H];
    const float *logit = x.anchor_logit2 + (int64_t)h * x.rows + tile.first, *value = x.anchor_value + h / (x.H / x.G) * EP + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int row = mine + 16 * m + 8 * i + lane / 4;
            const bool anchored = x.anchor_logit2 && row < tile.count;
            most[m][i] = anchored ? logit[row] : NOTHING;
            sum[m][i] = anchored && lane % 4 == 0 ? 1.f : 0.f;
        }
#pragma unroll
    for (int n = 0; n < EP / 8; n++) {
        sm80_pair v = {0, 0};
        if (x.anchor_logit2) v = *(const sm80_pair *)(value + 8 * n);
#pragma unroll
        for (int m = 0; m < M; m++) o[m][n][0] = o[m][n][2] = v.x, o[m][n][1] = o[m][n][3] = v.y;
    }
}

/* Divides by the sums, and hands out. */
template <int EP, int M>
SM80 void finish(const kd_gpu_attn &x, int item, int mine, float (&o)[M][EP / 8][4], const float (&most)[M][2], const float (&sum)[M][2],
                 uint16_t *stage) {
    const int lane = (int)threadIdx.x % 32, h = item % x.H;
    const kd_gpu_tile tile = x.tile[item / x.H];
    float *lse = x.lse + (int64_t)h * x.rows + tile.first;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float all = sum[m][i];
            all += __shfl_xor_sync(~0u, all, 1);
            all += __shfl_xor_sync(~0u, all, 2);
            const int row = mine + 16 * m + 8 * i + lane / 4;
            const float share = all == 0 ? 0 : 1 / all;  /* a sum that is not a number stays visible */
            if (row < tile.count && lane % 4 == 0) lse[row] = all == 0 ? -INFINITY : fmaf(most[m][i], LN2, logf(all));
#pragma unroll
            for (int n = 0; n < EP / 8; n++) o[m][n][2 * i] *= share, o[m][n][2 * i + 1] *= share;
        }
    store<EP, M, 0>(x, tile.first + mine, tile.count - mine, h, o, stage);
}

template <int EP, int MODE, int ROWS, int KEYS, int WARPS, int RESIDENT>
__global__ void __launch_bounds__(32 * WARPS, RESIDENT) forward(const kd_gpu_attn x) {
    constexpr bool SPLIT = MODE == KD_GPU_SPLIT;
    constexpr int THREADS = 32 * WARPS, M = ROWS / (16 * WARPS), N = KEYS / 8;
    KD_SHARED(uint16_t, shared);
    uint16_t *const q = shared, *const q_low = q + SPLIT * ROWS * EP, *const k = q_low + ROWS * EP, *const k_low = k + SPLIT * KEYS * EP,
             *const v = k_low + KEYS * EP;
    int32_t *const taken = (int32_t *)(v + KEYS * EP);
    const int mine = sm80_warp() * 16 * M;  /* the warp's first row in a tile */
    int tall = sm80_tall<EP>(), wide = sm80_wide<EP>();

    if (MODE == KD_GPU_F16 ? x.unfit && *x.unfit : x.run_if_unfit && !*x.unfit) return;
#pragma unroll 1
    for (;;) {
        __syncthreads();  /* nobody needs the tile before any more */
        if (threadIdx.x == 0) *taken = atomicAdd(x.next, 1);
        __syncthreads();
        int item = *taken;
        if (item >= x.tiles * x.H) return;

        float o[M][EP / 8][4], most[M][2], sum[M][2];
        begin<EP, M>(o, most, sum, x, item, mine);
        int left = 0, last, reach;  /* keys that are left; the column that the warp's first row sees last, and its last row, behind it */
        int64_t at;                 /* where the tile of keys begins in k and v */
        {
            const kd_gpu_tile tile = x.tile[item / x.H];
            const int h = item % x.H, count = tile.count - mine;
            const int64_t query = ((int64_t)h * x.rows + tile.first) * EP;
            left = tile.others;
            last = tile.first + mine + x.lead - tile.other;
            reach = count > 0 ? min(count, 16 * M) : -NEVER;
            at = ((int64_t)(h / (x.H / x.G)) * x.keys + tile.other) * EP;
            if (left) {
                sm80_load<EP, ROWS, THREADS>(q, x.q + query, tile.count);
                sm80_load<EP, KEYS, THREADS>(k, x.k + at, left);
                if constexpr (SPLIT) {
                    sm80_load<EP, ROWS, THREADS>(q_low, x.q_low + query, tile.count);
                    sm80_load<EP, KEYS, THREADS>(k_low, x.k_low + at, left);
                }
                gpu_copy_commit();
            }
        }

#pragma unroll 1
        for (; left > 0; left -= KEYS, last -= KEYS) {
            const bool works = last + reach > 0;  /* any of the warp's rows sees any of these keys */
            gpu_copy_wait<0>();
            __syncthreads();  /* queries and keys are there; the values before have been used */
            sm80_load<EP, KEYS, THREADS>(v, x.v + at, left);
            gpu_copy_commit();
            at += KEYS * EP;
            float s[M][N][4];
            if (works) sm80_scores<EP, MODE>(s, q + mine * EP, q_low + mine * EP, k, k_low, tall, wide);
            gpu_copy_wait<0>();
            __syncthreads();  /* values are there; the keys have been used */
            if (left > KEYS) {
                sm80_load<EP, KEYS, THREADS>(k, x.k + at, left - KEYS);
                if constexpr (SPLIT) sm80_load<EP, KEYS, THREADS>(k_low, x.k_low + at, left - KEYS);
                gpu_copy_commit();
            }
            if (!works) continue;
            if (min(last, left - 1) < KEYS - 1) hide(s, last, left);
            softmax(s, o, most, sum, x.scale2);
            add_values<EP>(o, s, v, tall);
        }
        sm80_anew(item);
        finish<EP, M>(x, item, mine, o, most, sum, q + mine * EP);
    }
}

/* ---- the host's half ------------------------------------------------------------------------------------------------------- */

#define ENTRY(Ep, mode, rows, keys, warps, resident)                                                                               \
    {Ep, mode, forward<Ep, mode, rows, keys, warps, resident>, 32 * warps,                                                         \
     (mode == KD_GPU_SPLIT ? 2 * (rows + keys) + keys : rows + 2 * keys) * Ep * 2 + 16, resident, {rows, 0, 0}}

static const sm80_entry entries[] = {
    ENTRY(64, KD_GPU_BF16, 128, 64, 4, 2), ENTRY(96, KD_GPU_BF16, 128, 64, 4, 2), ENTRY(128, KD_GPU_BF16, 128, 64, 4, 2),
    ENTRY(256, KD_GPU_BF16, 128, 32, 8, 1),
    ENTRY(64, KD_GPU_F16, 128, 64, 4, 2), ENTRY(96, KD_GPU_F16, 128, 64, 4, 2), ENTRY(128, KD_GPU_F16, 128, 64, 4, 2),
    ENTRY(256, KD_GPU_F16, 128, 32, 8, 1),
    ENTRY(64, KD_GPU_SPLIT, 128, 64, 4, 2), ENTRY(96, KD_GPU_SPLIT, 128, 32, 4, 2), ENTRY(128, KD_GPU_SPLIT, 128, 32, 4, 2),
    ENTRY(256, KD_GPU_SPLIT, 64, 16, 4, 2),
};

static const sm80_entry *entry_of(int64_t Ep, kd_gpu_mode mode) {
    for (const sm80_entry &e : entries)
        if (e.Ep == Ep && e.mode == mode) return &e;
    return NULL;
}

extern "C" bool kd_attn_sm80_forward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode) {
    const sm80_entry *e = entry_of(Ep, mode);
    if (e) *shape = e->shape;
    return e != NULL;
}

extern "C" kd_status kd_attn_sm80_forward(const kd_gpu_attn *x) {
    const sm80_entry *e = entry_of(x->Ep, x->mode);
    if (!e) return kd_fail(KD_ENOTSUP, "attention: no kernel for heads of %d numbers in mode %d", (int)x->Ep, (int)x->mode);
    const int64_t items = (int64_t)x->tiles * x->H, most = (int64_t)x->multiprocessors * e->resident;
    if (items == 0) return KD_OK;
    KD_TRY(kd_cuda_try("cudaFuncSetAttribute", cudaFuncSetAttribute((const void *)e->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                                    e->shared_bytes)));
    KD_LAUNCH(e->kernel, (unsigned)(items < most ? items : most), e->threads, e->shared_bytes, x->stream, *x);
    return kd_cuda_launched("attention forward");
}

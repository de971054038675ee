/* The forward of attention on Hopper: wgmma fed by the copy engine, in the manner of FlashAttention-3 (Shah et al. 2024).
 *
 * A block stays on its multiprocessor and takes work items (a tile of rows, a head) from a counter, longest first. One thread of its first
 * warpgroup, the producer, has the items' queries, keys and values copied into shared memory; two (E = 128) or three (E = 64) further
 * warpgroups own 64 rows each. Blocks of keys are walked from the last, on the diagonal, to the first, so that masks are needed at the
 * beginning alone. For block b a warpgroup
 *
 *   in its turn issues S(b) = Q K(b)' and O += P(b+1) V(b+1), and passes the turn on: while its own exponentials are computed, tensor
 *   cores have the products of the others;
 *   waits for S(b) alone, and turns it into P(b) while O is still being added to;
 *   waits for O, rescales it if maxima have risen much, and keeps P(b) in registers, the left operand of its next turn.
 *
 * A warpgroup passes over blocks that none of its rows sees, and takes half of its first block where it sees no more. Blocks are counted
 * from the document's first key, and all else that a row goes through is its own: it has the same bits in whichever tile it stands.
 *
 * What waits for what. A place in shared memory with n stages (queries: 2) has for each stage two mbarriers: `full` (the producer's arrival
 * and the copy engine's bytes) and `empty` (an arrival of every consumer warp). Use u is of stage u mod n, and phase u / n of both
 * barriers: a consumer waits for full's parity u / n mod 2, the producer for empty's opposite parity, which on a fresh barrier is there.
 * Every consumer warp goes through every use, also of blocks that it passes over; so none is ever two phases late, where a parity would
 * mislead. Turns are a ring of named barriers, each complete when its own warpgroup comes and the one before has issued; a warpgroup has
 * one turn for each block, and waits for data before its turn, not in it.
 * It always goes on. The producer asks for Q, K(n-1), then K(b-1) and V(b) for each b, V(0), and so over all items. To give K(b) back a
 * warpgroup needs K(b), V(b+1) and a turn; to give V(b) back it needs K(b-1) besides. All that is asked for before the use two or more
 * uses later, which is what the producer waits with; and a turn needs of others only what comes earlier still.
 *
 * Boxes of the copy engine reach beyond a tile: into rows and keys of other documents, and beyond the last ones, where zeros are
 * loaded. Such rows are computed and not stored. Such keys are hidden by selection, whatever they are; the values beside them are
 * multiplied by 0, so a value that is not finite also spoils rows of other documents whose last block of keys reaches it. */
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

/* A use of a ring of stages. */
typedef struct place { int stage, parity; } place;

template <int STAGES> GPU place behind(place p) {
    place next = {p.stage + 1, p.parity};
    if (next.stage == STAGES) next.stage = 0, next.parity ^= 1;
    return next;
}

/* The tile so many bytes further: a descriptor begins with the address in units of 16 bytes, and shared memory ends before that
 * overflows. */
GPU uint64_t further(uint64_t tile, int bytes) { return (tile & 0xffffffff00000000) | ((uint32_t)tile + (uint32_t)(bytes >> 4)); }

/* The same, and the compiler knows that all lanes have it, so that what is added goes by the warp's own registers. */
GPU uint64_t even(uint64_t tile) { return (tile & 0xffffffff00000000) | __shfl_sync(0xffffffff, (uint32_t)tile, 0); }

typedef struct alignas(8) pair { float first, second; } pair;
typedef struct alignas(16) piece { uint32_t half[4]; } piece;

/* ---- the producer: one thread ------------------------------------------------------------------------------------------------ */

template <int E, int MODE> struct producer {
    typedef measures<E, MODE> M;
    unsigned char *shared;
    control<M::stages> *c;
    const maps *map;
    place k, v;                  /* the next uses */

    /* Boxes of 64 columns side by side, those of the low parts behind those of the high ones. */
    template <int PARTS, int BOX_BYTES>
    GPU void ask(int at, uint64_t *full, const gpu_map *high, const gpu_map *low, int first, int head) const {
        gpu_mbar_expect(full, PARTS * M::boxes * BOX_BYTES);
#pragma unroll
        for (int i = 0; i < PARTS * M::boxes; i++)
            gpu_tma_load3(shared + at + i * BOX_BYTES, i < M::boxes ? high : low, full, i % M::boxes * BOX, first, head);
    }
    GPU void ask_keys(int first, int head) {
        gpu_mbar_wait(&c->k_empty[k.stage], k.parity ^ 1);
        ask<M::parts, M::k_box>(M::k_at + k.stage * M::k_bytes, &c->k_full[k.stage], &map->k, &map->k_low, first, head);
        k = behind<M::stages>(k);
    }
    GPU void ask_values(int first, int head) {
        gpu_mbar_wait(&c->v_empty[v.stage], v.parity ^ 1);
        ask<1, M::k_box>(M::v_at + v.stage * M::v_bytes, &c->v_full[v.stage], &map->v, &map->v, first, head);
        v = behind<M::stages>(v);
    }

    GPU void run(const kd_gpu_attn &x) {
        int work = atomicAdd(x.next, 1);
        for (place q = {0, 0};; q = behind<2>(q)) {
            item *it = &c->at[q.stage];
            gpu_mbar_wait(&c->q_empty[q.stage], q.parity ^ 1);
            if (work >= x.tiles * x.H) {
                it->blocks = -1;
                gpu_mbar_arrive(&c->q_full[q.stage]);
                return;
            }
            const kd_gpu_tile tile = x.tile[work / x.H];
            const int head = work % x.H, group = head / (x.H / x.G), blocks = (tile.others + M::keys - 1) / M::keys;
            *it = {tile.first, tile.count, tile.other, tile.others, blocks, head, group};
            ask<M::parts, M::q_box>(q.stage * M::q_bytes, &c->q_full[q.stage], &map->q, &map->q_low, tile.first, head);
            for (int b = blocks - 1; b >= 0; b--) {
                ask_keys(tile.other + b * M::keys, group);
                if (b < blocks - 1) ask_values(tile.other + (b + 1) * M::keys, group);
            }
            work = atomicAdd(x.next, 1);  /* under way while V(0) waits for its stage */
            if (blocks) ask_values(tile.other, group);
        }
    }
};

/* ---- consumers: products ----------------------------------------------------------------------------------------------------- */

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

/* ---- consumers: softmax ------------------------------------------------------------------------------------------------------
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

template <int E> GPU void multiply_rows(float (&o)[E / 2], const float (&by)[2]) {
#pragma unroll
    for (int i = 0; i < E / 2; i++) o[i] *= by[i / 2 % 2];
}

/* The state of a thread's rows `row` and row + 8 before any key: that of the anchor, of which the first of four neighbors has the sum. */
template <int E> GPU void begin_rows(float (&o)[E / 2], softmax *state, const kd_gpu_attn &x, const item &it, int row, int lane) {
    if (x.anchor_logit2) {
        const float *value = x.anchor_value + (int64_t)it.group * E + lane % 4 * 2;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            state->level[i] = row + 8 * i < x.rows ? x.anchor_logit2[(int64_t)it.head * x.rows + row + 8 * i] : 0;
            state->sum[i] = lane % 4 == 0;
        }
#pragma unroll
        for (int j = 0; j < E / 8; j++) {
            const pair two = *(const pair *)(value + 8 * j);
            o[4 * j] = o[4 * j + 2] = two.first;
            o[4 * j + 1] = o[4 * j + 3] = two.second;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 2; i++) state->level[i] = -HUGE_LOGIT, state->sum[i] = 0;
#pragma unroll
        for (int i = 0; i < E / 2; i++) o[i] = 0;
    }
}

/* ---- consumers: results ------------------------------------------------------------------------------------------------------ */

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
        inverse[i] = sum == 0 ? 0 : 1 / sum;
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
    for (int r = w.lane / pieces; r < 16; r += at_once) {
        if (r >= w.count || column >= x.E) continue;
        uint16_t *to = x.o.half + (int64_t)(w.first + r) * x.o.token_stride + w.head * x.o.head_stride + column;
        const unsigned char *from = own + column / BOX * Q_BOX + r * ROW_BYTES + (column / 8 % 8 ^ r % 8) * 16;
        if (whole) *(piece *)to = *(const piece *)from;
        else
            for (int e = 0; e < 8 && column + e < x.E; e++) to[e] = ((const uint16_t *)from)[e];
    }
}

/* ---- consumers: work items --------------------------------------------------------------------------------------------------- */

/* A warpgroup at work. What can be had again is not kept: registers are scarce. */
template <int E, int MODE> struct consumer {
    typedef measures<E, MODE> M;
    control<M::stages> *c;
    const kd_gpu_attn *x;
    const item *it;
    uint64_t q, k, v;            /* tiles: of the group's queries in this item, of stage 0 */
    place at;                    /* use of keys and values by the block last begun */
    int group;

    GPU static int lane(void) { return threadIdx.x % 32; }
    /* The group's first row, and the thread's: packed. */
    GPU int first_row(void) const { return it->first + group * GROUP_ROWS; }
    GPU int row(void) const { return first_row() + threadIdx.x / 32 % 4 * 16 + lane() / 4; }

    GPU void give_back(uint64_t *empty) const {
        __syncwarp();
        if (lane() == 0) gpu_mbar_arrive(empty);
    }
    GPU void take_turn(void) const { gpu_barrier_sync(1 + group, 2 * GROUP); }
    GPU void pass_turn(void) const { gpu_barrier_arrive(1 + (group + 1) % M::groups, 2 * GROUP); }
    GPU void wait_for_keys(place use) const { gpu_mbar_wait(&c->k_full[use.stage], use.parity); }
    GPU void wait_for_values(place use) const { gpu_mbar_wait(&c->v_full[use.stage], use.parity); }
    GPU uint64_t keys_of(place use) const { return even(further(k, use.stage * M::k_bytes)); }
    GPU uint64_t values_of(place use) const { return even(further(v, use.stage * M::v_bytes)); }

    /* Whether the group's first row, which sees least, does not see all of the block whose first key is `key`, counted from the item's. */
    GPU bool is_cut(int key) const { return key + M::keys - 1 > min(first_row() + x->lead - it->other, it->others - 1); }
    template <int N> GPU void hide_unseen(float (&s)[N / 2], int key) const {
        const int last = it->others - 1, lead = x->lead - it->other;
        const int limit[2] = {min(row() + lead, last), min(row() + 8 + lead, last)};
        hide<N>(s, limit, key + lane() % 4 * 2);
    }

    /* A block that no row of the group sees. */
    GPU void pass_over(void) {
        at = behind<M::stages>(at);
        wait_for_keys(at);
        give_back(&c->k_empty[at.stage]);
        take_turn();
        pass_turn();
        wait_for_values(at);
        give_back(&c->v_empty[at.stage]);
    }

    /* The first block: logits, then p, of its first N keys; o and state as rows begin. */
    template <int N> GPU void begin(float (&s)[N / 2], float (&o)[E / 2], uint32_t (*p)[4], softmax *state, int key) {
        float rescale[2] = {1, 1};
        const bool cut = is_cut(key);
        at = behind<M::stages>(at);
        wait_for_keys(at);
        take_turn();
        gpu_keep(s);
        gpu_wgmma_fence();
        multiply_keys<E, MODE, N>(s, even(q), keys_of(at));
        gpu_wgmma_commit();
        pass_turn();
        begin_rows<E>(o, state, *x, *it, row(), lane());
        gpu_wgmma_wait<0>();
        gpu_keep(s);
        give_back(&c->k_empty[at.stage]);
        if (cut) hide_unseen<N>(s, key);
        const bool moved = exponentials<N>(s, state, rescale, x->scale2);
        pack<N>(p, s);
        if (moved) multiply_rows<E>(o, rescale);
    }

    /* The next block, and the values of the one before, of which p holds N keys. */
    template <int N> GPU void step(float (&s)[M::keys / 2], float (&o)[E / 2], uint32_t (*p)[4], softmax *state, int key) {
        float rescale[2] = {1, 1};
        const bool cut = is_cut(key);
        const place before = at;
        at = behind<M::stages>(at);
        wait_for_keys(at);
        wait_for_values(before);
        take_turn();
        gpu_keep(s);
        gpu_keep(o);
        gpu_wgmma_fence();
        multiply_keys<E, MODE, M::keys>(s, even(q), keys_of(at));
        gpu_wgmma_commit();
        multiply_values<E, N>(o, p, values_of(before));
        gpu_wgmma_commit();
        pass_turn();
        gpu_wgmma_wait<1>();
        gpu_keep(s);
        give_back(&c->k_empty[at.stage]);
        if (cut) hide_unseen<M::keys>(s, key);
        const bool moved = exponentials<M::keys>(s, state, rescale, x->scale2);
        stay_before(state);
        gpu_wgmma_wait<0>();
        gpu_keep(o);
        give_back(&c->v_empty[before.stage]);
        pack<M::keys>(p, s);
        if (moved) multiply_rows<E>(o, rescale);
    }

    /* The values of the last block. */
    template <int N> GPU void end(float (&o)[E / 2], const uint32_t (*p)[4]) const {
        wait_for_values(at);
        gpu_keep(o);
        gpu_wgmma_fence();
        multiply_values<E, N>(o, p, values_of(at));
        gpu_wgmma_commit();
        gpu_wgmma_wait<0>();
        gpu_keep(o);
        give_back(&c->v_empty[at.stage]);
    }

    /* Numerators and states of the item's rows. */
    GPU void run(float (&o)[E / 2], softmax *state) {
        const int count = min(it->count - group * GROUP_ROWS, (int)GROUP_ROWS);
        const int seen = count > 0 ? max(0, min(first_row() + count + x->lead - it->other, it->others)) : 0;
        const int blocks = (seen + M::keys - 1) / M::keys;
        float s[M::keys / 2];
        uint32_t p[M::keys / 16][4];
        for (int b = it->blocks; b > blocks; b--) pass_over();
        if (!blocks) {
            begin_rows<E>(o, state, *x, *it, row(), lane());
            return;
        }
        int key = (blocks - 1) * M::keys;
        if (seen - key <= M::keys / 2) {
            begin<M::keys / 2>(reinterpret_cast<float (&)[M::keys / 4]>(s), o, p, state, key);
            if (!key) {
                end<M::keys / 2>(o, p);
                return;
            }
            step<M::keys / 2>(s, o, p, state, key -= M::keys);
        } else {
            begin<M::keys>(s, o, p, state, key);
        }
        while (key) step<M::keys>(s, o, p, state, key -= M::keys);
        end<M::keys>(o, p);
    }
};

template <int E, int MODE>
GPU void consume(unsigned char *shared, control<measures<E, MODE>::stages> *c, const kd_gpu_attn &x, bool whole) {
    typedef measures<E, MODE> M;
    consumer<E, MODE> me;
    const int warp = threadIdx.x / 32 % 4;
    me.c = c;
    me.x = &x;
    me.group = threadIdx.x / GROUP - 1;
    me.k = gpu_tile_128b(shared + M::k_at, 0, 8 * ROW_BYTES);
    me.v = gpu_tile_128b(shared + M::v_at, M::k_box, 8 * ROW_BYTES);
    me.at = {M::stages - 1, 1};                     /* before the first use */
    if (me.group == M::groups - 1) me.pass_turn();  /* the first turn is free */
    for (place use = {0, 0};; use = behind<2>(use)) {
        float o[E / 2];
        softmax state;
        gpu_mbar_wait(&c->q_full[use.stage], use.parity);
        me.it = &c->at[use.stage];
        if (me.it->blocks < 0) break;
        unsigned char *own = shared + use.stage * M::q_bytes + me.group * GROUP_ROWS * ROW_BYTES;
        me.q = gpu_tile_128b(own, 0, 8 * ROW_BYTES);
        me.run(o, &state);
        const warp_rows w = {me.lane(), me.first_row() + 16 * warp, me.it->count - me.group * GROUP_ROWS - 16 * warp, me.it->head};
        finish<E>(o, &state, x, w);
        if (x.o.type == KD_VIEW_F32) {
            put_floats<E>(o, x, w, whole);
        } else {
            gpu_barrier_sync(1 + M::groups + me.group, GROUP);  /* all four warps are done with the queries */
            put_halves<E, M::q_box>(own + 16 * warp * ROW_BYTES, o, x, w, whole);
            gpu_fence_async();
        }
        me.give_back(&c->q_empty[use.stage]);
    }
    /* The turn that nobody took: barriers end empty, and nobody leaves before what he arrived at is complete. */
    if (me.group == 0) me.take_turn();
    gpu_barrier_sync(1 + 2 * M::groups, M::groups * GROUP);
}

/* ---- the kernel -------------------------------------------------------------------------------------------------------------- */

template <int E, int MODE>
__global__ void __launch_bounds__(measures<E, MODE>::threads, 1)
    attn_sm90_forward(const __grid_constant__ maps map, const __grid_constant__ kd_gpu_attn x, int whole) {
    typedef measures<E, MODE> M;
    KD_SHARED(unsigned char, shared);
    control<M::stages> *c = reinterpret_cast<control<M::stages> *>(shared + M::control_at);
    if (x.unfit && (MODE == KD_GPU_F16 ? *x.unfit != 0 : x.run_if_unfit && *x.unfit == 0)) return;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2; i++) gpu_mbar_init(&c->q_full[i], 1), gpu_mbar_init(&c->q_empty[i], 4 * M::groups);
        for (int i = 0; i < M::stages; i++) {
            gpu_mbar_init(&c->k_full[i], 1), gpu_mbar_init(&c->k_empty[i], 4 * M::groups);
            gpu_mbar_init(&c->v_full[i], 1), gpu_mbar_init(&c->v_empty[i], 4 * M::groups);
        }
        gpu_mbar_fence_init();
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        gpu_registers_fewer<M::producer_registers>();
        if (threadIdx.x == 0) {
            producer<E, MODE> me = {shared, c, &map, {0, 0}, {0, 0}};
            me.run(x);
        }
    } else {
        gpu_registers_more<M::consumer_registers>();
        consume<E, MODE>(shared, c, x, whole);
    }
}

/* ---- the host's part --------------------------------------------------------------------------------------------------------- */

/* Of [heads][rows][E] 16-bit numbers, in boxes of 64 by so many rows. */
kd_status map_of(gpu_map *map, const uint16_t *data, int64_t heads, int64_t rows, int64_t E, int box_rows) {
    const uint64_t dims[] = {(uint64_t)E, (uint64_t)rows, (uint64_t)heads}, strides[] = {(uint64_t)(2 * E), (uint64_t)(2 * E * rows)};
    const uint32_t box[] = {BOX, (uint32_t)box_rows, 1};
    return gpu_map_init(map, GPU_MAP_16, 3, data, dims, strides, box, GPU_MAP_128B);
}

/* Whether rows of o can be written by 16 bytes (float32: by 8). */
bool is_whole(const kd_view *o, int64_t E) {
    const int64_t unit = o->type == KD_VIEW_F32 ? 2 : 8;
    const uintptr_t base = o->type == KD_VIEW_F32 ? (uintptr_t)o->data : (uintptr_t)o->half;
    return E % unit == 0 && o->token_stride % unit == 0 && o->head_stride % unit == 0 && base % (o->type == KD_VIEW_F32 ? 8 : 16) == 0;
}

template <int E, int MODE> kd_status launch(const kd_gpu_attn *x) {
    typedef measures<E, MODE> M;
    const int bytes = M::control_at + (int)sizeof(control<M::stages>), items = x->tiles * x->H;
    maps map;
    KD_TRY(map_of(&map.q, x->q, x->H, x->rows, E, M::rows));
    KD_TRY(map_of(&map.q_low, M::parts == 2 ? x->q_low : x->q, x->H, x->rows, E, M::rows));
    KD_TRY(map_of(&map.k, x->k, x->G, x->keys, E, M::keys));
    KD_TRY(map_of(&map.k_low, M::parts == 2 ? x->k_low : x->k, x->G, x->keys, E, M::keys));
    KD_TRY(map_of(&map.v, x->v, x->G, x->keys, E, M::keys));
    KD_TRY(kd_cuda_try("cudaFuncSetAttribute", cudaFuncSetAttribute((const void *)attn_sm90_forward<E, MODE>,
                                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)));
    KD_LAUNCH((attn_sm90_forward<E, MODE>), items < x->multiprocessors ? items : x->multiprocessors, M::threads, bytes, x->stream, map, *x,
              is_whole(&x->o, x->E));
    return kd_cuda_launched("attn_sm90_forward");
}

typedef struct instance { kd_gpu_shape shape; kd_status (*launch)(const kd_gpu_attn *); } instance;

template <int E, int MODE> instance instance_of(void) {
    return {{measures<E, MODE>::rows, measures<E, MODE>::keys, 0}, launch<E, MODE>};
}

bool find(instance *out, int64_t Ep, kd_gpu_mode mode) {
    if (Ep != 64 && Ep != 128) return false;
    switch (mode) {
    case KD_GPU_BF16: *out = Ep == 64 ? instance_of<64, KD_GPU_BF16>() : instance_of<128, KD_GPU_BF16>(); return true;
    case KD_GPU_F16: *out = Ep == 64 ? instance_of<64, KD_GPU_F16>() : instance_of<128, KD_GPU_F16>(); return true;
    case KD_GPU_SPLIT: *out = Ep == 64 ? instance_of<64, KD_GPU_SPLIT>() : instance_of<128, KD_GPU_SPLIT>(); return true;
    default: return false;
    }
}

}  // namespace

extern "C" bool kd_attn_sm90_forward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode) {
    instance found;
    if (!find(&found, Ep, mode)) return false;
    *shape = found.shape;
    return true;
}

extern "C" kd_status kd_attn_sm90_forward(const kd_gpu_attn *x) {
    instance found;
    if (!find(&found, x->Ep, x->mode))
        return kd_fail(KD_ENOTSUP, "attention of head size %d, mode %d: no kernel for compute capability 9.0", x->Ep, (int)x->mode);
    return x->tiles > 0 ? found.launch(x) : KD_OK;
}

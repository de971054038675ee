/* Attention backward on Hopper: how a block of threads is laid out in shared memory, and its warps that do not multiply.
 *
 * A block is three warpgroups. Two multiply (attn_sm90_backward.cu); of the third's warps
 *   0  takes work items and has the copy engine fetch K, V, and block after block of rows of Q and dO
 *   1  carries the blocks' dQ to global memory, when it is their turn
 *   2  fetches log-sum-exps and deltas, and clears rows of a box that are not the document's: a weight of 0 times a neighbor's
 *      infinity would not be 0
 * so that nobody who multiplies waits for memory. They meet at mbarriers: `full` when something is there, `empty` when all who read it
 * have. Boxes that are to be cleared arrive at `raw` instead, and at `full` when they are. */
#ifndef KD_ATTN_SM90_BACKWARD_CUH
#define KD_ATTN_SM90_BACKWARD_CUH

#include "dev/gpu.cuh"

extern "C" {
#include "attn_cuda.h"
}

struct backward_arguments {
    gpu_map q, q_low, k, k_low, v, dout;
    const kd_gpu_tile *tile;
    const float *lse2, *delta, *sigma;
    float *dq, *dk, *dv;
    int32_t *next, *turn;
    const int32_t *unfit;           /* NULL: runs always */
    int32_t run_if_unfit;
    int32_t items, G, group;        /* heads of queries for each of keys */
    int32_t rows, keys, lead, turns;
    float scale2;
};

/* A tile and a head of keys, which meet a row; blocks -1: no more work. Blocks of rows are walked from the last, which all tiles of a
 * document have, each for every head of the group: tiles taken together then meet a block one shortly after the other, and none waits long
 * for its turn, while from the first block on every one would go at the pace of the longest, head by head. */
struct backward_work {
    int32_t first, count, other, others, turn, order;
    int32_t g, blocks;
};

enum { BACKWARD_KEYS = 128, BACKWARD_MULTIPLIERS = 256, BACKWARD_THREADS = 384, BACKWARD_ITEMS = 2, BACKWARD_O_STAGES = 2,
       BACKWARD_Q_STAGES_MOST = 3, BACKWARD_LOW_STAGES_MOST = 2 };

/* Shared memory, in bytes. Tiles of 16-bit numbers lie as the copy engine leaves them with a 128-byte swizzle, 64 columns behind the other:
 * [Ep/64][rows][64]. dS: [rows/64][keys][64], dQ: [rows][Ep] float32. */
template <int Ep, kd_gpu_mode MODE> struct backward_room {
    static constexpr bool split = MODE == KD_GPU_SPLIT;
    static constexpr int rows = Ep == 64 ? 128 : 64;
    static constexpr int key_tile = BACKWARD_KEYS * Ep * 2, row_tile = rows * Ep * 2;
    static constexpr int q_stages = split && Ep == 128 ? 2 : 3, low_stages = !split ? 0 : Ep == 128 ? 1 : 2;
    static constexpr int low_count = split ? low_stages : 1;  /* to divide by */
    static constexpr int k = 0, k_low = k + key_tile, v = k_low + (split ? key_tile : 0), q = v + key_tile, q_low = q + q_stages * row_tile,
                         dout = q_low + low_stages * row_tile, ds = dout + BACKWARD_O_STAGES * row_tile, dq = ds + BACKWARD_KEYS * rows * 2,
                         state = dq + rows * Ep * 4;
};

/* What hides parts of a block: key k of the tile, below count, is seen from row from + k on, up to row to. */
struct backward_look { int32_t masked, from, to, count; };

template <int rows> struct backward_state {
    uint64_t item_full[BACKWARD_ITEMS], item_empty[BACKWARD_ITEMS];
    uint64_t k_raw, k_full, k_empty, v_raw, v_full, v_empty;
    uint64_t q_raw[BACKWARD_Q_STAGES_MOST], q_full[BACKWARD_Q_STAGES_MOST], q_empty[BACKWARD_Q_STAGES_MOST];
    uint64_t low_full[BACKWARD_LOW_STAGES_MOST], low_empty[BACKWARD_LOW_STAGES_MOST];
    uint64_t o_raw[BACKWARD_O_STAGES], o_full[BACKWARD_O_STAGES], o_empty[BACKWARD_O_STAGES];
    uint64_t ds_empty, dq_full, dq_empty;
    backward_work item[BACKWARD_ITEMS];
    backward_look look[BACKWARD_O_STAGES];
    float sigma;
    alignas(16) float lse[BACKWARD_O_STAGES][rows], delta[BACKWARD_O_STAGES][rows];  /* -lse2, -delta * sigma */
};

/* A place in a ring, and the parity of the phase in which it is filled. */
struct backward_ring {
    int at = 0, parity = 0;
    GPU void step(int stages)
    {
        if (++at == stages) at = 0, parity ^= 1;
    }
};

/* Blocks of rows of an item, in order: j over the blocks from the last, and in each over the group's heads. */
struct backward_walk {
    int left, head, block;
    GPU void begin(const backward_work *w, int group) { left = w->blocks * group, head = 0, block = w->blocks - 1; }
    GPU void step(int group)
    {
        left--;
        if (++head == group) head = 0, block--;
    }
};

template <int rows> GPU void backward_begin(backward_state<rows> *state, float sigma)
{
    state->sigma = sigma;
    const int multipliers = BACKWARD_MULTIPLIERS / 32;
    for (int i = 0; i < BACKWARD_ITEMS; i++) gpu_mbar_init(&state->item_full[i], 1), gpu_mbar_init(&state->item_empty[i], multipliers + 2);
    gpu_mbar_init(&state->k_raw, 1), gpu_mbar_init(&state->k_full, 1), gpu_mbar_init(&state->k_empty, multipliers);
    gpu_mbar_init(&state->v_raw, 1), gpu_mbar_init(&state->v_full, 1), gpu_mbar_init(&state->v_empty, multipliers);
    for (int i = 0; i < BACKWARD_Q_STAGES_MOST; i++)
        gpu_mbar_init(&state->q_raw[i], 1), gpu_mbar_init(&state->q_full[i], 1), gpu_mbar_init(&state->q_empty[i], multipliers);
    for (int i = 0; i < BACKWARD_LOW_STAGES_MOST; i++)
        gpu_mbar_init(&state->low_full[i], 1), gpu_mbar_init(&state->low_empty[i], multipliers);
    for (int i = 0; i < BACKWARD_O_STAGES; i++)
        gpu_mbar_init(&state->o_raw[i], 1), gpu_mbar_init(&state->o_full[i], 2), gpu_mbar_init(&state->o_empty[i], multipliers);
    gpu_mbar_init(&state->ds_empty, multipliers), gpu_mbar_init(&state->dq_full, multipliers), gpu_mbar_init(&state->dq_empty, 1);
    gpu_mbar_fence_init();
}

/* A tile by boxes of 64 columns. */
GPU void backward_load(char *to, const gpu_map *map, uint64_t *bar, int columns, int rows, int row, int head)
{
    for (int e = 0; e < columns; e += 64) gpu_tma_load3(to + e * rows * 2, map, bar, e, row, head);
}

/* Warp 0, one lane. Its registers are few, as those of all that do not multiply: it reads again what it has written of an item. */
template <int Ep, kd_gpu_mode MODE> GPU void backward_fetch(const backward_arguments &x, char *shared)
{
    typedef backward_room<Ep, MODE> room;
    auto *state = reinterpret_cast<backward_state<room::rows> *>(shared + room::state);
    backward_ring items, q, low, o;
    int kv_parity = 1;  /* of the emptiness that is waited for */
    for (;;) {
        gpu_mbar_wait(&state->item_empty[items.at], items.parity ^ 1);
        backward_work *work = &state->item[items.at];
        const int w = atomicAdd(x.next, 1);
        if (w < x.items) {
            const kd_gpu_tile tile = x.tile[w / x.G];
            const int blocks = (tile.others + room::rows - 1) / room::rows;
            *work = {tile.first, tile.count, tile.other, tile.others, tile.turn, tile.order, w % x.G, blocks};
        } else
            work->blocks = -1;
        gpu_mbar_arrive(&state->item_full[items.at]);
        items.step(BACKWARD_ITEMS);
        if (work->blocks < 0) return;
        backward_walk walk;
        for (walk.begin(work, x.group); walk.left; walk.step(x.group)) {
            const int row = work->other + walk.block * room::rows, head = work->g * x.group + walk.head;
            const bool ragged = (walk.block + 1) * room::rows > work->others;
            gpu_mbar_wait(&state->q_empty[q.at], q.parity ^ 1);
            uint64_t *bar = ragged ? &state->q_raw[q.at] : &state->q_full[q.at];
            gpu_mbar_expect(bar, room::row_tile);
            backward_load(shared + room::q + q.at * room::row_tile, &x.q, bar, Ep, room::rows, row, head);
            q.step(room::q_stages);
            if (room::split) {
                gpu_mbar_wait(&state->low_empty[low.at], low.parity ^ 1);
                bar = &state->low_full[low.at];
                gpu_mbar_expect(bar, room::row_tile);
                backward_load(shared + room::q_low + low.at * room::row_tile, &x.q_low, bar, Ep, room::rows, row, head);
                low.step(room::low_count);
            }
            gpu_mbar_wait(&state->o_empty[o.at], o.parity ^ 1);
            bar = ragged ? &state->o_raw[o.at] : &state->o_full[o.at];
            gpu_mbar_expect(bar, room::row_tile);
            backward_load(shared + room::dout + o.at * room::row_tile, &x.dout, bar, Ep, room::rows, row, head);
            o.step(BACKWARD_O_STAGES);
            if (walk.left < work->blocks * x.group) continue;
            /* The first block's Q and dO do not wait for the last item to be done with K and V. */
            gpu_mbar_wait(&state->v_empty, kv_parity);
            bar = work->count < BACKWARD_KEYS ? &state->v_raw : &state->v_full;
            gpu_mbar_expect(bar, room::key_tile);
            backward_load(shared + room::v, &x.v, bar, Ep, BACKWARD_KEYS, work->first, work->g);
            gpu_mbar_wait(&state->k_empty, kv_parity);
            bar = work->count < BACKWARD_KEYS ? &state->k_raw : &state->k_full;
            gpu_mbar_expect(bar, room::key_tile * (room::split ? 2 : 1));
            backward_load(shared + room::k, &x.k, bar, Ep, BACKWARD_KEYS, work->first, work->g);
            if (room::split) backward_load(shared + room::k_low, &x.k_low, bar, Ep, BACKWARD_KEYS, work->first, work->g);
            kv_parity ^= 1;
        }
    }
}

/* Warp 1, one lane: out go the rows that are the document's. */
template <int Ep, kd_gpu_mode MODE> GPU void backward_carry(const backward_arguments &x, char *shared)
{
    typedef backward_room<Ep, MODE> room;
    auto *state = reinterpret_cast<backward_state<room::rows> *>(shared + room::state);
    const float *dq = reinterpret_cast<const float *>(shared + room::dq);
    backward_ring items;
    int parity = 0;
    for (;;) {
        gpu_mbar_wait(&state->item_full[items.at], items.parity);
        const backward_work *work = &state->item[items.at];
        if (work->blocks < 0) break;
        backward_walk walk;
        for (walk.begin(work, x.group); walk.left; walk.step(x.group)) {
            const int row = walk.block * room::rows, head = work->g * x.group + walk.head, order = work->order;
            const int bytes = min(room::rows, work->others - row) * Ep * 4;
            float *to = x.dq + ((int64_t)head * x.rows + work->other + row) * Ep;
            int32_t *turn = x.turn ? x.turn + (int64_t)head * x.turns + work->turn + walk.block : NULL;
            gpu_mbar_wait(&state->dq_full, parity);
            parity ^= 1;
            if (turn && order) gpu_wait_turn(turn, order), gpu_fence_async_global();
            if (turn && !order) gpu_bulk_store(to, dq, bytes);
            else gpu_bulk_add_f32(to, dq, bytes);
            gpu_bulk_commit();
            gpu_bulk_wait_read<0>();
            gpu_mbar_arrive(&state->dq_empty);
            if (turn) {
                gpu_bulk_wait<0>();
                gpu_fence_async_global();
                gpu_pass_turn(turn, order + 1);
            }
        }
        gpu_mbar_arrive(&state->item_empty[items.at]);
        items.step(BACKWARD_ITEMS);
    }
    gpu_bulk_wait<0>();
}

/* Rows from `from` of a tile become zeros; the warp's lanes together. */
GPU void backward_clear(char *tile, int columns, int rows, int from, int lane)
{
    struct alignas(16) piece { uint32_t word[4]; };
#pragma unroll 1
    for (int e = 0; e < columns; e += 64)
#pragma unroll 1
        for (int i = from * 8 + lane; i < rows * 8; i += 32) reinterpret_cast<piece *>(tile + e * rows * 2)[i] = piece{};
    gpu_fence_async();
    __syncwarp();
}

/* Warp 2. */
template <int Ep, kd_gpu_mode MODE> GPU void backward_assist(const backward_arguments &x, char *shared, int lane)
{
    typedef backward_room<Ep, MODE> room;
    auto *state = reinterpret_cast<backward_state<room::rows> *>(shared + room::state);
    backward_ring items, q, o;
    int kv_parity = 0, q_raw = 0, o_raw = 0;  /* parities, of rings a bit for each stage */
    for (;;) {
        gpu_mbar_wait(&state->item_full[items.at], items.parity);
        const backward_work *work = &state->item[items.at];
        if (work->blocks < 0) return;
        if (work->count < BACKWARD_KEYS) {
            gpu_mbar_wait(&state->v_raw, kv_parity);
            backward_clear(shared + room::v, Ep, BACKWARD_KEYS, work->count, lane);
            if (lane == 0) gpu_mbar_arrive(&state->v_full);
            gpu_mbar_wait(&state->k_raw, kv_parity);
            backward_clear(shared + room::k, Ep, BACKWARD_KEYS, work->count, lane);
            if (lane == 0) gpu_mbar_arrive(&state->k_full);
            kv_parity ^= 1;
        }
        backward_walk walk;
        for (walk.begin(work, x.group); walk.left; walk.step(x.group)) {
            const int row = walk.block * room::rows, count = min(room::rows, work->others - row);
            if (count < room::rows) {
                gpu_mbar_wait(&state->q_raw[q.at], q_raw >> q.at & 1);
                q_raw ^= 1 << q.at;
                backward_clear(shared + room::q + q.at * room::row_tile, Ep, room::rows, count, lane);
                if (lane == 0) gpu_mbar_arrive(&state->q_full[q.at]);
            }
            q.step(room::q_stages);
            gpu_mbar_wait(&state->o_empty[o.at], o.parity ^ 1);
            const int64_t at = (int64_t)(work->g * x.group + walk.head) * x.rows + work->other + row + lane;
            float lse[room::rows / 32], delta[room::rows / 32];
#pragma unroll
            for (int i = 0; i < room::rows / 32; i++) {
                lse[i] = lane + 32 * i < count ? x.lse2[at + 32 * i] : 0;
                delta[i] = lane + 32 * i < count ? x.delta[at + 32 * i] : 0;
            }
#pragma unroll
            for (int i = 0; i < room::rows / 32; i++) {
                state->lse[o.at][lane + 32 * i] = -lse[i];
                state->delta[o.at][lane + 32 * i] = -delta[i] * state->sigma;
            }
            if (lane == 0) {
                const int from = work->first - x.lead - work->other - row;
                const bool masked = count < room::rows || work->count < BACKWARD_KEYS || from + BACKWARD_KEYS - 1 > 0;
                state->look[o.at] = {masked, from, count, work->count};
            }
            if (count < room::rows) {
                gpu_mbar_wait(&state->o_raw[o.at], o_raw >> o.at & 1);
                o_raw ^= 1 << o.at;
                backward_clear(shared + room::dout + o.at * room::row_tile, Ep, room::rows, count, lane);
                if (lane == 0) gpu_mbar_arrive(&state->o_full[o.at]);
            }
            __syncwarp();
            if (lane == 0) gpu_mbar_arrive(&state->o_full[o.at]);
            o.step(BACKWARD_O_STAGES);
        }
        __syncwarp();
        if (lane == 0) gpu_mbar_arrive(&state->item_empty[items.at]);
        items.step(BACKWARD_ITEMS);
    }
}

#endif

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
 * The last turn of an item takes the first logits of the next one along, which are computed while the item is written. A warpgroup passes
 * over blocks that none of its rows sees, and takes half of its first block where it sees no more. Blocks are counted from the document's
 * first key, and all else that a row goes through is its own: it has the same bits in whichever tile it stands.
 *
 * What waits for what. A place in shared memory with n stages (queries: 2) has for each stage two mbarriers: `full` (the producer's arrival
 * and the copy engine's bytes) and `empty` (an arrival of every consumer warp). Use u is of stage u mod n, and phase u / n of both
 * barriers: a consumer waits for full's parity u / n mod 2, the producer for empty's opposite parity, which on a fresh barrier is there.
 * Every consumer warp goes through every use, also of blocks that it passes over; so none is ever two phases late, where a parity would
 * mislead. Turns are a ring of named barriers, each complete when its own warpgroup comes and the one before has issued; a warpgroup has
 * one turn for each block, and waits for data before its turn, not in it.
 * It always goes on. The producer asks for Q, K(n-1), then K(b-1) and V(b) for each b, V(0), and so over all items. To give K(b) back a
 * warpgroup needs K(b), V(b+1) and a turn; to give V(b) back it needs K(b-1) besides, which after V(0) is the next item's first, and that
 * item's Q. All that is asked for before the use two or more uses later, which is what the producer waits with; Q is given back when
 * an item is written, and another is asked for only then. And a turn needs of others only what comes earlier still.
 *
 * Boxes of the copy engine reach beyond a tile: into rows and keys of other documents, and beyond the last ones, where zeros are
 * loaded. Such rows are computed and not stored. Such keys are hidden by selection, whatever they are; the values beside them are
 * multiplied by 0, so a value that is not finite also spoils rows of other documents whose last block of keys reaches it. */
#include "attn_sm90_forward.cuh"

namespace {

/* ---- the producer: one thread ------------------------------------------------------------------------------------------------ */

template <int E, int MODE> struct producer {
    typedef measures<E, MODE> M;
    unsigned char *shared;
    control<M::stages> *c;
    const maps *map;
    int k, v;                    /* the next uses */

    /* Boxes of 64 columns side by side, those of the low parts behind those of the high ones. */
    template <int PARTS, int BOX_BYTES>
    GPU void ask(int at, uint64_t *full, const gpu_map *high, const gpu_map *low, int first, int head) const {
        gpu_mbar_expect(full, PARTS * M::boxes * BOX_BYTES);
#pragma unroll
        for (int i = 0; i < PARTS * M::boxes; i++)
            gpu_tma_load3(shared + at + i * BOX_BYTES, i < M::boxes ? high : low, full, i % M::boxes * BOX, first, head);
    }
    GPU void ask_keys(int first, int head) {
        const int stage = stage_of<M::stages>(k);
        gpu_mbar_wait(&c->k_empty[stage], !parity_of<M::stages>(k));
        ask<M::parts, M::k_box>(M::k_at + stage * M::k_bytes, &c->k_full[stage], &map->k, &map->k_low, first, head);
        k = behind<M::stages>(k);
    }
    GPU void ask_values(int first, int head) {
        const int stage = stage_of<M::stages>(v);
        gpu_mbar_wait(&c->v_empty[stage], !parity_of<M::stages>(v));
        ask<1, M::k_box>(M::v_at + stage * M::v_bytes, &c->v_full[stage], &map->v, &map->v, first, head);
        v = behind<M::stages>(v);
    }

    GPU void run(const kd_gpu_attn &x) {
        int work = atomicAdd(x.next, 1);
        for (int q = 0;; q = behind<2>(q)) {
            const int stage = stage_of<2>(q);
            item *it = &c->at[stage];
            gpu_mbar_wait(&c->q_empty[stage], !parity_of<2>(q));
            if (work >= x.tiles * x.H) {
                it->blocks = -1;
                gpu_mbar_arrive(&c->q_full[stage]);
                return;
            }
            const kd_gpu_tile tile = x.tile[work / x.H];
            const int head = work % x.H, group = head / (x.H / x.G), blocks = (tile.others + M::keys - 1) / M::keys;
            *it = {tile.first, tile.count, tile.other, tile.others, blocks, head, group};
            ask<M::parts, M::q_box>(stage * M::q_bytes, &c->q_full[stage], &map->q, &map->q_low, tile.first, head);
            for (int b = blocks - 1; b >= 0; b--) {
                ask_keys(tile.other + b * M::keys, group);
                if (b < blocks - 1) ask_values(tile.other + (b + 1) * M::keys, group);
            }
            work = atomicAdd(x.next, 1);  /* under way while V(0) waits for its stage */
            if (blocks) ask_values(tile.other, group);
        }
    }
};

/* ---- consumers: work items --------------------------------------------------------------------------------------------------- */

/* A warpgroup at work. What can be had again is not kept: registers are scarce. */
template <int E, int MODE> struct consumer {
    typedef measures<E, MODE> M;
    static constexpr int S = M::stages;
    unsigned char *shared;
    control<S> *c;
    const kd_gpu_attn *x;
    int use, at;                 /* uses: of queries by this item, of keys and values by the block last begun */
    int group;

    GPU static int lane(void) { return threadIdx.x % 32; }
    GPU static int warp(void) { return threadIdx.x / 32 % 4; }
    GPU const item *item_of(int of) const { return &c->at[stage_of<2>(of)]; }
    /* The group's first row, and the thread's: packed. */
    GPU int first_row(const item *i) const { return i->first + group * GROUP_ROWS; }
    GPU int row(const item *i) const { return first_row(i) + warp() * 16 + lane() / 4; }

    GPU void give_back(uint64_t *empty) const {
        __syncwarp();
        if (lane() == 0) gpu_mbar_arrive(empty);
    }
    GPU void take_turn(void) const { gpu_barrier_sync(1 + group, 2 * GROUP); }
    GPU void pass_turn(void) const { gpu_barrier_arrive(1 + (group + 1) % M::groups, 2 * GROUP); }
    GPU void wait_for_item(int of) const { gpu_mbar_wait(&c->q_full[stage_of<2>(of)], parity_of<2>(of)); }
    GPU void wait_for_keys(int of) const { gpu_mbar_wait(&c->k_full[stage_of<S>(of)], parity_of<S>(of)); }
    GPU void wait_for_values(int of) const { gpu_mbar_wait(&c->v_full[stage_of<S>(of)], parity_of<S>(of)); }
    GPU unsigned char *queries_of(int of) const { return shared + stage_of<2>(of) * M::q_bytes; }
    GPU uint64_t tile_of(int of) const { return gpu_tile_128b(queries_of(of) + group * GROUP_ROWS * ROW_BYTES, 0, 8 * ROW_BYTES); }
    GPU uint64_t keys_of(int of) const { return gpu_tile_128b(shared + M::k_at + stage_of<S>(of) * M::k_bytes, 0, 8 * ROW_BYTES); }
    GPU uint64_t values_of(int of) const { return gpu_tile_128b(shared + M::v_at + stage_of<S>(of) * M::v_bytes, M::k_box, 8 * ROW_BYTES); }

    /* Keys that any of the group's rows sees, counted from the item's first; blocks of them. */
    GPU int seen_of(const item *i) const {
        const int count = min(i->count - group * GROUP_ROWS, (int)GROUP_ROWS);
        return count > 0 ? max(0, min(first_row(i) + count + x->lead - i->other, i->others)) : 0;
    }
    GPU int blocks_of(const item *i) const { return (seen_of(i) + M::keys - 1) / M::keys; }

    /* Whether the group's first row, which sees least, does not see all of the block whose first key is `key`, counted from the item's. */
    GPU bool is_cut(int key) const {
        const item *it = item_of(use);
        return key + M::keys - 1 > min(first_row(it) + x->lead - it->other, it->others - 1);
    }
    template <int N> GPU void hide_unseen(float (&s)[N / 2], int key) const {
        const item *it = item_of(use);
        const int last = it->others - 1, lead = x->lead - it->other;
        const int limit[2] = {min(row(it) + lead, last), min(row(it) + 8 + lead, last)};
        hide<N>(s, limit, key + lane() % 4 * 2);
    }

    /* A block that no row of the group sees. */
    GPU void pass_over(void) {
        at = behind<S>(at);
        wait_for_keys(at);
        give_back(&c->k_empty[stage_of<S>(at)]);
        take_turn();
        pass_turn();
        wait_for_values(at);
        give_back(&c->v_empty[stage_of<S>(at)]);
    }

    /* An item's first logits, where they were not asked for at the end of the item before. */
    GPU void ask(float (&s)[M::keys / 2]) {
        at = behind<S>(at);
        wait_for_keys(at);
        take_turn();
        gpu_keep(s);
        gpu_wgmma_fence();
        multiply_keys<E, MODE, M::keys>(s, even(tile_of(use)), even(keys_of(at)));
        gpu_wgmma_commit();
        pass_turn();
        gpu_wgmma_wait<0>();
        gpu_keep(s);
    }

    /* Out of these, p of the block's first N keys. */
    template <int N> GPU void begin(float (&s)[N / 2], float (&o)[E / 2], uint32_t (*p)[4], softmax *state, int key) {
        float rescale[2] = {1, 1};
        if (is_cut(key)) hide_unseen<N>(s, key);
        const bool moved = exponentials<N>(s, state, rescale, x->scale2);
        pack<N>(p, s);
        if (moved) multiply_rows<E>(o, rescale);
    }

    /* The next block, and the values of the one before, of which p holds N keys. */
    template <int N> GPU void step(float (&s)[M::keys / 2], float (&o)[E / 2], uint32_t (*p)[4], softmax *state, int key) {
        float rescale[2] = {1, 1};
        const bool cut = is_cut(key);
        const int before = at;
        at = behind<S>(at);
        wait_for_keys(at);
        wait_for_values(before);
        take_turn();
        gpu_keep(s);
        gpu_keep(o);
        gpu_wgmma_fence();
        multiply_keys<E, MODE, M::keys>(s, even(tile_of(use)), even(keys_of(at)));
        gpu_wgmma_commit();
        multiply_values<E, N>(o, p, even(values_of(before)));
        gpu_wgmma_commit();
        pass_turn();
        gpu_wgmma_wait<1>();
        gpu_keep(s);
        give_back(&c->k_empty[stage_of<S>(at)]);
        if (cut) hide_unseen<M::keys>(s, key);
        const bool moved = exponentials<M::keys>(s, state, rescale, x->scale2);
        stay_before(state);
        gpu_wgmma_wait<0>();
        gpu_keep(o);
        give_back(&c->v_empty[stage_of<S>(before)]);
        pack<M::keys>(p, s);
        if (moved) multiply_rows<E>(o, rescale);
    }

    /* The values of the last block. */
    GPU void end(float (&o)[E / 2], const uint32_t (*p)[4]) {
        wait_for_values(at);
        gpu_keep(o);
        gpu_wgmma_fence();
        multiply_values<E, M::keys>(o, p, even(values_of(at)));
        gpu_wgmma_commit();
        gpu_wgmma_wait<0>();
        gpu_keep(o);
        give_back(&c->v_empty[stage_of<S>(at)]);
    }

    /* Whether the first logits of the next item can be asked for with them: there are some, and before them no block to pass over, for
     * whose values the stage may be needed that is still in use. */
    GPU bool asks(void) const {
        wait_for_item(behind<2>(use));
        const item *next = item_of(behind<2>(use));
        return next->blocks > 0 && blocks_of(next) == next->blocks;
    }
    /* Does so. They are under way then, and must not be while wgmma may also not be, on another way to the same place: the assembler would
     * have each wait for the one before. level: the next item's. */
    GPU void end_and_ask(float (&s)[M::keys / 2], float (&o)[E / 2], const uint32_t (*p)[4], float (&level)[2]) {
        const int last = at;
        const item *next = item_of(behind<2>(use));
        at = behind<S>(at);
        begin_levels(level, *x, *next, row(next));
        wait_for_values(last);
        wait_for_keys(at);
        take_turn();
        gpu_keep(s);
        gpu_keep(o);
        gpu_wgmma_fence();
        multiply_values<E, M::keys>(o, p, even(values_of(last)));
        gpu_wgmma_commit();
        multiply_keys<E, MODE, M::keys>(s, even(tile_of(behind<2>(use))), even(keys_of(at)));
        gpu_wgmma_commit();
        pass_turn();
        gpu_wgmma_wait<1>();
        gpu_keep(o);
        give_back(&c->v_empty[stage_of<S>(last)]);
    }

    /* o and lse of the item. */
    GPU void write(float (&o)[E / 2], softmax *state, bool whole) const {
        const item *it = item_of(use);
        const warp_rows w = {lane(), first_row(it) + 16 * warp(), it->count - group * GROUP_ROWS - 16 * warp(), it->head};
        finish<E>(o, state, *x, w);
        if (x->o.type == KD_VIEW_F32) {
            put_floats<E>(o, *x, w, whole);
        } else {
            gpu_barrier_sync(1 + M::groups + group, GROUP);  /* all four warps are done with the queries */
            put_halves<E, M::q_box>(queries_of(use) + (group * GROUP_ROWS + 16 * warp()) * ROW_BYTES, o, *x, w, whole);
            gpu_fence_async();
        }
        give_back(&c->q_empty[stage_of<2>(use)]);
    }

    /* p of the item's first block out of its logits, then all further blocks; what is left is to add the last one's values. */
    GPU void walk(float (&s)[M::keys / 2], float (&o)[E / 2], uint32_t (*p)[4], softmax *state) {
        const item *it = item_of(use);
        int key = (blocks_of(it) - 1) * M::keys;
        give_back(&c->k_empty[stage_of<S>(at)]);
        if (seen_of(it) - key <= M::keys / 2) {
            begin<M::keys / 2>(reinterpret_cast<float (&)[M::keys / 4]>(s), o, p, state, key);
            if (key) step<M::keys / 2>(s, o, p, state, key -= M::keys);
            else clear<M::keys / 2, M::keys>(p);
        } else {
            begin<M::keys>(s, o, p, state, key);
        }
        while (key) step<M::keys>(s, o, p, state, key -= M::keys);
    }

    GPU void run(bool whole) {
        float s[M::keys / 2], o[E / 2], level[2] = {0, 0};
        uint32_t p[M::keys / 16][4];
        bool asked = false;
        wait_for_item(use);
        for (; item_of(use)->blocks >= 0; use = behind<2>(use)) {
            const item *it = item_of(use);
            const int blocks = blocks_of(it);
            if (!asked) {
                begin_levels(level, *x, *it, row(it));
                for (int b = it->blocks; b > blocks; b--) pass_over();
                if (blocks) ask(s);
            }
            softmax state = {{level[0], level[1]}, {0, 0}};
            begin_sums<E>(o, &state, *x, *it, lane());
            if (blocks) walk(s, o, p, &state);
            asked = asks() && blocks;
            if (asked) {
                end_and_ask(s, o, p, level);
                write(o, &state, whole);
                gpu_wgmma_wait<0>();
                gpu_keep(s);
            } else {
                if (blocks) end(o, p);
                write(o, &state, whole);
            }
        }
        /* The turn that nobody took: barriers end empty, and nobody leaves before what he arrived at is complete. */
        if (group == 0) take_turn();
        gpu_barrier_sync(1 + 2 * M::groups, M::groups * GROUP);
    }
};

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
            producer<E, MODE> me = {shared, c, &map, 0, 0};
            me.run(x);
        }
    } else {
        gpu_registers_more<M::consumer_registers>();
        const int group = (int)__shfl_sync(0xffffffff, threadIdx.x / GROUP, 0) - 1;  /* in a register of the warp's */
        consumer<E, MODE> me;
        me.shared = shared, me.c = c, me.x = &x, me.group = group;
        me.use = 0;
        me.at = 2 * M::stages - 1;                     /* before the first use */
        if (group == M::groups - 1) me.pass_turn();    /* the first turn is free */
        me.run(whole);
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

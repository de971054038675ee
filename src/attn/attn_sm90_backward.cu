/* Attention backward on Hopper: dQ, dK, dV of packed 16-bit q, k, v and dO, for heads of 64 and 128.
 *
 * One block stands on each multiprocessor and takes items, a tile of 128 keys and a head of keys, until there are none. dK and dV stay in
 * registers while the group's query heads and their rows pass by in blocks (of 64 rows for E = 128, of 128 for E = 64), so they are written
 * once; dQ goes out for every block. Each of two warpgroups has 64 of the keys and multiplies with keys as rows:
 *
 *   S^T = K Q^T,  dP^T = V dO^T      [64 keys, rows]   both operands from shared memory
 *   P = exp2(scale2 S - lse2),  dS = P (sigma dP - sigma delta)
 *   dV += P^T dO,  dK += dS^T Q      [64 keys, E]      P^T and dS^T stay in registers, which hold them as these products want them
 *   dQ = dS K                        [rows, E]         dS of both warpgroups through shared memory; each makes 64 x 64 numbers of dQ
 *
 *
 * Products run behind the arithmetic, as far as registers go round (dK and dV take 128 of 240 for E = 128): dP while P is made, dV in
 * halves while P and dS are, S of the next block while dQ is handed over. The compiler keeps products asynchronous only if it can see at
 * every read of a result that it is done, for which it does not look beyond the head of a loop: none is under way there.
 *
 * Why nobody waits forever. Inside a block of threads: every mbarrier has one kind of filler and one kind of emptier, both go through the
 * same items and blocks of rows in the same order, and each waits only for what the other does at that block or before it; copies are
 * asked for in the order in which they are needed, but that V and K of an item come behind its first Q and dO, which need stages alone
 * that earlier blocks of rows free. Between blocks of threads: a tile waits for its turn at a block of rows until the tile before it in
 * the document has had it. That one stands earlier in the list, so its item for the same head was taken earlier, by an atomic counter, by
 * threads that are running. They finish their items in the order they took them; so the earliest unfinished item of all is under way and
 * waits for none. What of an item is fetched ahead holds nothing that others need.
 *
 * The order of sums is fixed: of dK and dV by the walk over heads and rows, of dQ by x->turn. */
#include "attn_sm90_backward.cuh"

extern "C" {
#include "dev/cuda.h"
}

/* A descriptor so many bytes further: addresses stay within its lower half. */
GPU uint64_t backward_at(uint64_t tile, int bytes) { return (tile & 0xffffffff00000000) | (uint32_t)((uint32_t)tile + (bytes >> 4)); }

/* S^T (+)= K Q^T over the columns, or dP^T. k: this warpgroup's 64 rows of a tile of keys. */
template <int Ep, int rows, bool F16> GPU void backward_product(float (&s)[rows / 2], uint64_t k, uint64_t q, bool accumulate)
{
#pragma unroll
    for (int e = 0; e < Ep / 16; e++) {
        const int half = e / 4, step = e % 4 * 32;
        const uint64_t k_now = backward_at(k, half * BACKWARD_KEYS * 128 + step), q_now = backward_at(q, half * rows * 128 + step);
        gpu_wgmma_ss<rows, F16, false, false>(s, k_now, q_now, accumulate || e > 0);
    }
}

/* Lanes that hold the same columns of four neighboring rows would meet in the same banks, as rows are whole numbers of 128 bytes. So each
 * lane begins with another eight columns: registers of eight columns i become those of i ^ turned. */
GPU void backward_turn(float (&d)[32], int turned)
{
#pragma unroll
    for (int bit = 1; bit < 4; bit *= 2) {
        const bool swap = turned & bit;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            if (i & bit) continue;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float one = d[4 * i + j], other = d[4 * (i ^ bit) + j];
                d[4 * i + j] = swap ? other : one;
                d[4 * (i ^ bit) + j] = swap ? one : other;
            }
        }
    }
}

/* Two floats, moved at once. */
struct alignas(8) backward_two { float a, b; };

/* A thread of the two warpgroups that multiply. It has few registers to spare: what can be computed again is. */
template <int Ep, kd_gpu_mode MODE> struct backward_thread {
    typedef backward_room<Ep, MODE> room;
    static constexpr int rows = room::rows;
    static constexpr bool F16 = MODE == KD_GPU_F16;
    static constexpr int early = Ep == 64 ? 1 : 2;  /* halves of a block that P is multiplied by before dS is made; registers decide */

    const backward_arguments &x;
    char *shared;
    backward_state<rows> *state;
    int group, lane;
    int block;                             /* blocks of rows done: the count that barriers' stages and phases come from */
    backward_ring q;                       /* of the next block's Q */

    /* The warpgroup as a number that is seen to be the same in all lanes, so that descriptors live in uniform registers, and is asked for
     * anew, so that they do not live long. */
    GPU int own() const { return __shfl_sync(0xffffffff, threadIdx.x / 128, 0) - 1; }
    GPU int thread() const { return __shfl_sync(0xffffffff, threadIdx.x % 128, threadIdx.x % 32); }  /* of the warpgroup's; likewise */
    /* Of S^T this thread has keys key() and key() + 8 of the tile, and from column() on two of every 8 rows. */
    GPU int key() const
    {
        const int me = thread();
        return 64 * group + me / 32 * 16 + me % 32 / 4;
    }
    GPU int column() const { return 2 * (lane % 4); }
    GPU uint64_t tile(int at, int lead) const { return gpu_tile_128b(shared + at, lead, 1024); }
    GPU uint64_t q_tile() const { return backward_at(tile(room::q, rows * 128), q.at * room::row_tile); }
    GPU uint64_t o_tile() const { return backward_at(tile(room::dout, rows * 128), stage() * room::row_tile); }
    GPU int stage() const { return block % BACKWARD_O_STAGES; }
    GPU int parity() const { return block / BACKWARD_O_STAGES & 1; }

    GPU void arrive(uint64_t *bar) const
    {
        if (lane == 0) gpu_mbar_arrive(bar);
    }

    /* S^T of block n, whose Q comes next. */
    GPU void begin_s(float (&s)[rows / 2], int n) const
    {
        const int rows_of_keys = own() * 64 * 128;
        gpu_mbar_wait(&state->q_full[q.at], q.parity);
        gpu_keep(s);
        if (room::split) {
            const int low_stage = n % room::low_count, low_parity = n / room::low_count & 1;
            gpu_mbar_wait(&state->low_full[low_stage], low_parity);
            gpu_wgmma_fence();
            backward_product<Ep, rows, F16>(s, tile(room::k_low + rows_of_keys, 16), q_tile(), false);
            const uint64_t q_low = backward_at(tile(room::q_low, 16), low_stage * room::row_tile);
            backward_product<Ep, rows, F16>(s, tile(room::k + rows_of_keys, 16), q_low, true);
        } else
            gpu_wgmma_fence();
        backward_product<Ep, rows, F16>(s, tile(room::k + rows_of_keys, 16), q_tile(), room::split);
    }

    /* dV += P^T dO of half a block: a product's result holds keys and rows as the next one takes them. */
    template <int half> GPU void add_dv(float (&dv)[Ep / 2], uint32_t (&p16)[rows / 16][4], const float (&s)[rows / 2]) const
    {
#pragma unroll
        for (int i = half * rows / 32; i < (half + 1) * rows / 32; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) p16[i][j] = gpu_pair_bf16(s[8 * i + 2 * j], s[8 * i + 2 * j + 1]);
        gpu_wgmma_fence();
#pragma unroll
        for (int i = half * rows / 32; i < (half + 1) * rows / 32; i++)
            gpu_wgmma_rs<Ep, false, true>(dv, p16[i], backward_at(o_tile(), i * 2048), true);
        gpu_wgmma_commit();
    }

    template <int half> GPU void exponentiate(float (&s)[rows / 2], const float *lse) const
    {
#pragma unroll
        for (int i = half * rows / 16; i < (half + 1) * rows / 16; i++) {
            const backward_two l = *reinterpret_cast<const backward_two *>(lse + 8 * i);
            s[4 * i] = gpu_exp2(fmaf(s[4 * i], x.scale2, l.a));
            s[4 * i + 1] = gpu_exp2(fmaf(s[4 * i + 1], x.scale2, l.b));
            s[4 * i + 2] = gpu_exp2(fmaf(s[4 * i + 2], x.scale2, l.a));
            s[4 * i + 3] = gpu_exp2(fmaf(s[4 * i + 3], x.scale2, l.b));
        }
    }

    /* dP^T behind S^T; then P in place of S, and its products, which are under way at the end, when dP is there. */
    GPU void weigh(float (&s)[rows / 2], float (&dp)[rows / 2], uint32_t (&p16)[rows / 16][4], float (&dv)[Ep / 2])
    {
        gpu_mbar_wait(&state->o_full[stage()], parity());
        gpu_keep(dp);
        gpu_wgmma_fence();
        backward_product<Ep, rows, false>(dp, tile(room::v + own() * 64 * 128, 16), o_tile(), false);
        gpu_wgmma_commit();
        gpu_wgmma_wait<1>();
        gpu_keep(s);
        if (room::split) arrive(&state->low_empty[block % room::low_count]);
        const backward_look *look = &state->look[stage()];
        if (look->masked) mask(s, look);
        const float *lse = state->lse[stage()] + column();
        exponentiate<0>(s, lse);
        add_dv<0>(dv, p16, s);
        exponentiate<1>(s, lse);
        if (early == 2) add_dv<1>(dv, p16, s);
        gpu_wgmma_wait<early>();
        gpu_keep(dp);
    }

    /* A key is seen from a row on. What is not there sees nothing and is seen by none. */
    GPU void mask(float (&s)[rows / 2], const backward_look *look) const
    {
        const int key = this->key(), from = max(look->from + key, 0), from8 = max(look->from + key + 8, 0), to = look->to;
        const unsigned span = key < look->count ? max(to - from, 0) : 0, span8 = key + 8 < look->count ? max(to - from8, 0) : 0;
        const int begin = column() - from, begin8 = column() - from8;
#pragma unroll
        for (int i = 0; i < rows / 8; i++) {
            s[4 * i] = (unsigned)(begin + 8 * i) < span ? s[4 * i] : -INFINITY;
            s[4 * i + 1] = (unsigned)(begin + 8 * i + 1) < span ? s[4 * i + 1] : -INFINITY;
            s[4 * i + 2] = (unsigned)(begin8 + 8 * i) < span8 ? s[4 * i + 2] : -INFINITY;
            s[4 * i + 3] = (unsigned)(begin8 + 8 * i + 1) < span8 ? s[4 * i + 3] : -INFINITY;
        }
    }

    /* dS^T, kept for dK and, for dQ, in shared memory. Half by half it takes the registers of P, when the products of that are done. */
    GPU void differentiate(uint32_t (&ds16)[rows / 16][4], const float (&s)[rows / 2], float (&dp)[rows / 2], uint32_t (&p16)[rows / 16][4],
                           float (&dv)[Ep / 2])
    {
        const float *delta = state->delta[stage()] + column();
        differ<0>(dp, s, delta);
        if (early == 1) add_dv<1>(dv, p16, s);
        gpu_wgmma_wait<0>();
        gpu_mbar_wait(&state->ds_empty, (block & 1) ^ 1);
        keep_ds<0>(ds16, dp);
        differ<1>(dp, s, delta);
        keep_ds<1>(ds16, dp);
        gpu_fence_async();
    }

    template <int half> GPU void differ(float (&dp)[rows / 2], const float (&s)[rows / 2], const float *delta) const
    {
        const float sigma = state->sigma;
#pragma unroll
        for (int i = half * rows / 16; i < (half + 1) * rows / 16; i++) {
            const backward_two d = *reinterpret_cast<const backward_two *>(delta + 8 * i);
            dp[4 * i] = s[4 * i] * fmaf(dp[4 * i], sigma, d.a);
            dp[4 * i + 1] = s[4 * i + 1] * fmaf(dp[4 * i + 1], sigma, d.b);
            dp[4 * i + 2] = s[4 * i + 2] * fmaf(dp[4 * i + 2], sigma, d.a);
            dp[4 * i + 3] = s[4 * i + 3] * fmaf(dp[4 * i + 3], sigma, d.b);
        }
    }

    template <int half> GPU void keep_ds(uint32_t (&ds16)[rows / 16][4], const float (&dp)[rows / 2]) const
    {
        /* stmatrix: lane l has row l % 8 of the matrix of keys l / 8 % 2 and rows l / 16. */
        const int me = thread(), piece = ((me % 32 / 16) ^ (me % 8)) * 16;
        char *const at = shared + room::ds + (64 * group + me / 32 * 16 + me % 16) * 128;
#pragma unroll
        for (int i = half * rows / 32; i < (half + 1) * rows / 32; i++) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float one = dp[8 * i + 2 * j], two = dp[8 * i + 2 * j + 1];
                ds16[i][j] = F16 ? gpu_pair_f16(one, two) : gpu_pair_bf16(one, two);
            }
            gpu_store_matrix4(at + i / 4 * BACKWARD_KEYS * 128 + (piece ^ (i % 4 * 32)), ds16[i]);
        }
    }

    /* dQ, and dK += dS^T Q, under way. This warpgroup has columns (of 128) or rows (of 128) of dQ. */
    GPU void begin_dq(float (&dq)[32], float (&dk)[Ep / 2], uint32_t (&ds16)[rows / 16][4])
    {
        const int other_half = own() * BACKWARD_KEYS * 128;
        const uint64_t ds = tile(room::ds + (Ep == 64 ? other_half : 0), 16), k = tile(room::k + (Ep == 128 ? other_half : 0), 16);
        gpu_barrier_sync(1, BACKWARD_MULTIPLIERS);
        gpu_keep(dq);
        gpu_wgmma_fence();
#pragma unroll
        for (int i = 0; i < BACKWARD_KEYS / 16; i++)
            gpu_wgmma_ss<64, F16, true, true>(dq, backward_at(ds, i * 2048), backward_at(k, i * 2048), i > 0);
        gpu_wgmma_commit();
        gpu_wgmma_fence();
#pragma unroll
        for (int i = 0; i < rows / 16; i++) gpu_wgmma_rs<Ep, F16, true>(dk, ds16[i], backward_at(q_tile(), i * 2048), true);
        gpu_wgmma_commit();
    }

    /* dQ, which is there, to the warp that carries it out. */
    GPU void hand_dq(float (&dq)[32])
    {
        const int me = thread(), turned = me / 4 & 3, row = (Ep == 64 ? 64 * group : 0) + me / 32 * 16 + me % 32 / 4;
        char *const to = shared + room::dq + row * Ep * 4 + (Ep == 128 ? group * 256 : 0) + me % 4 * 8;
        arrive(&state->o_empty[stage()]);
        arrive(&state->ds_empty);
        backward_turn(dq, turned);
        gpu_mbar_wait(&state->dq_empty, (block & 1) ^ 1);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            char *at = to + ((i ^ turned) * 32);
            *reinterpret_cast<backward_two *>(at) = backward_two{dq[4 * i], dq[4 * i + 1]};
            *reinterpret_cast<backward_two *>(at + 8 * Ep * 4) = backward_two{dq[4 * i + 2], dq[4 * i + 3]};
        }
        gpu_fence_async();
        __syncwarp();
        arrive(&state->dq_full);
        block++;
    }

    /* dK and dV of the tile's keys, which are written once. */
    GPU void write(const float (&dk)[Ep / 2], const float (&dv)[Ep / 2], const backward_work &work) const
    {
        const int key = this->key();
#pragma unroll
        for (int half = 0; half < 2; half++) {
            if (key + 8 * half >= work.count) continue;
            const int64_t at = ((int64_t)work.g * x.keys + work.first + key + 8 * half) * Ep + column();
#pragma unroll
            for (int i = 0; i < Ep / 8; i++) {
                *reinterpret_cast<backward_two *>(x.dk + at + 8 * i) = backward_two{dk[4 * i + 2 * half], dk[4 * i + 2 * half + 1]};
                *reinterpret_cast<backward_two *>(x.dv + at + 8 * i) = backward_two{dv[4 * i + 2 * half], dv[4 * i + 2 * half + 1]};
            }
        }
    }
};

/* The two warpgroups. */
template <int Ep, kd_gpu_mode MODE> GPU void backward_multiply(const backward_arguments &x, char *shared, int group, int lane)
{
    typedef backward_thread<Ep, MODE> thread;
    auto *state = reinterpret_cast<backward_state<thread::rows> *>(shared + thread::room::state);
    thread t = {x, shared, state, group, lane, 0, {}};
    float dk[Ep / 2], dv[Ep / 2], s[thread::rows / 2], dp[thread::rows / 2], dq[32];
    uint32_t p16[thread::rows / 16][4], ds16[thread::rows / 16][4];
    for (int item = 0;; item++) {
        const int at = item % BACKWARD_ITEMS;
        gpu_mbar_wait(&state->item_full[at], item / BACKWARD_ITEMS & 1);
        int left = state->item[at].blocks * x.group;
        if (left < 0) return;
#pragma unroll
        for (int i = 0; i < Ep / 2; i++) dk[i] = dv[i] = 0;
        gpu_mbar_wait(&state->k_full, item & 1);
        t.begin_s(s, t.block);
        gpu_wgmma_commit();
        gpu_mbar_wait(&state->v_full, item & 1);
        t.weigh(s, dp, p16, dv);
        t.differentiate(ds16, s, dp, p16, dv);
        while (--left) {
            t.begin_dq(dq, dk, ds16);
            const int q_stage = t.q.at;
            t.q.step(thread::room::q_stages);
            t.begin_s(s, t.block + 1);
            gpu_wgmma_commit();
            gpu_wgmma_wait<1>();
            gpu_keep(dq);
            t.arrive(&state->q_empty[q_stage]);
            t.hand_dq(dq);
            t.weigh(s, dp, p16, dv);
            t.differentiate(ds16, s, dp, p16, dv);
        }
        t.arrive(&state->v_empty);
        t.begin_dq(dq, dk, ds16);
        gpu_wgmma_wait<0>();
        gpu_keep(dq);
        t.arrive(&state->k_empty);
        t.arrive(&state->q_empty[t.q.at]);
        t.q.step(thread::room::q_stages);
        t.hand_dq(dq);
        gpu_keep(dk);
        gpu_keep(dv);
        t.write(dk, dv, state->item[at]);
        __syncwarp();
        t.arrive(&state->item_empty[at]);
    }
}

template <int Ep, kd_gpu_mode MODE> __global__ void __launch_bounds__(BACKWARD_THREADS, 1)
attn_sm90_backward(const __grid_constant__ backward_arguments x)
{
    typedef backward_room<Ep, MODE> room;
    KD_SHARED(char, shared);
    if (x.unfit && (*x.unfit != 0) != x.run_if_unfit) return;
    if (threadIdx.x == 0) backward_begin(reinterpret_cast<backward_state<room::rows> *>(shared + room::state), x.sigma[0]);
    __syncthreads();
    /* The same in all lanes, which the compiler is to know: descriptors are then made in uniform registers. */
    const int warps = __shfl_sync(0xffffffff, threadIdx.x / 32, 0), group = warps / 4, warp = warps % 4, lane = threadIdx.x % 32;
    if (group == 0) {
        gpu_registers_fewer<24>();
        if (warp == 0) {
            if (lane == 0) backward_fetch<Ep, MODE>(x, shared);
        } else if (warp == 1) {
            if (lane == 0) backward_carry<Ep, MODE>(x, shared);
        } else if (warp == 2)
            backward_assist<Ep, MODE>(x, shared, lane);
    } else {
        gpu_registers_more<240>();
        backward_multiply<Ep, MODE>(x, shared, group - 1, lane);
    }
}

/* [heads][count][Ep], by boxes of 64 columns and `rows` rows of one head. */
static kd_status backward_map(gpu_map *map, const uint16_t *base, int64_t Ep, int64_t count, int64_t heads, int rows)
{
    const uint64_t dims[3] = {(uint64_t)Ep, (uint64_t)count, (uint64_t)heads};
    const uint64_t strides[2] = {(uint64_t)Ep * 2, (uint64_t)(Ep * 2 * count)};
    const uint32_t box[3] = {64, (uint32_t)rows, 1};
    return gpu_map_init(map, GPU_MAP_16, 3, base, dims, strides, box, GPU_MAP_128B);
}

template <int Ep, kd_gpu_mode MODE> static kd_status backward_launch(const kd_gpu_attn *x)
{
    typedef backward_room<Ep, MODE> room;
    const int bytes = room::state + (int)sizeof(backward_state<room::rows>);
    backward_arguments a = {};
    KD_TRY(backward_map(&a.q, x->q, Ep, x->rows, x->H, room::rows));
    KD_TRY(backward_map(&a.k, x->k, Ep, x->keys, x->G, BACKWARD_KEYS));
    KD_TRY(backward_map(&a.v, x->v, Ep, x->keys, x->G, BACKWARD_KEYS));
    KD_TRY(backward_map(&a.dout, x->dout, Ep, x->rows, x->H, room::rows));
    if (room::split) {
        KD_TRY(backward_map(&a.q_low, x->q_low, Ep, x->rows, x->H, room::rows));
        KD_TRY(backward_map(&a.k_low, x->k_low, Ep, x->keys, x->G, BACKWARD_KEYS));
    }
    a.tile = x->tile;
    a.lse2 = x->lse2, a.delta = x->delta, a.sigma = x->sigma;
    a.dq = x->dq, a.dk = x->dk, a.dv = x->dv;
    a.next = x->next, a.turn = x->turn;
    a.unfit = MODE == KD_GPU_F16 || x->run_if_unfit ? x->unfit : NULL;
    a.run_if_unfit = MODE != KD_GPU_F16;
    a.items = x->tiles * x->G, a.G = x->G, a.group = x->H / x->G;
    a.rows = x->rows, a.keys = x->keys, a.lead = x->lead, a.turns = x->turns;
    a.scale2 = x->scale2;
    KD_TRY(kd_cuda_try("cudaFuncSetAttribute", cudaFuncSetAttribute((const void *)attn_sm90_backward<Ep, MODE>,
                                                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes)));
    const int blocks = a.items < x->multiprocessors ? a.items : x->multiprocessors;
    KD_LAUNCH((attn_sm90_backward<Ep, MODE>), blocks, BACKWARD_THREADS, bytes, x->stream, a);
    return kd_cuda_launched("attn_sm90_backward");
}

template <int Ep> static kd_status backward_launch_mode(const kd_gpu_attn *x)
{
    if (x->mode == KD_GPU_F16) return backward_launch<Ep, KD_GPU_F16>(x);
    if (x->mode == KD_GPU_SPLIT) return backward_launch<Ep, KD_GPU_SPLIT>(x);
    return backward_launch<Ep, KD_GPU_BF16>(x);
}

extern "C" bool kd_attn_sm90_backward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode)
{
    if (Ep != 64 && Ep != 128) return false;
    *shape = kd_gpu_shape{0, BACKWARD_KEYS, Ep == 64 ? backward_room<64, KD_GPU_BF16>::rows : backward_room<128, KD_GPU_BF16>::rows};
    return mode < KD_GPU_MODES;
}

extern "C" kd_status kd_attn_sm90_backward(const kd_gpu_attn *x)
{
    if (!x->tiles) return KD_OK;
    if (x->Ep == 64) return backward_launch_mode<64>(x);
    if (x->Ep == 128) return backward_launch_mode<128>(x);
    return kd_fail(KD_ENOTSUP, "attn_sm90_backward: heads of %d, of 64 or 128", x->Ep);
}

/* Context parallelism by gathered keys: each rank computes some blocks of queries, all heads, on the keys and values of all tokens,
 * which come a few key/value heads at a time. Source: the recipe of Llama 3 (Dubey et al. 2024, section 3.3.2); blocks are dealt out by
 * their pairs, so that ranks have about as much to do whatever the documents. More ranks than heads are allowed.
 *
 * A row of attention does not depend on which rows are computed beside it, so o, lse and dq have the bits of one rank. dk and
 * dv do not: each rank has the sum over its blocks, and the owner of a token adds these by a binary tree over ranks. */
#include <string.h>

#include "blocks.h"
#include "dev/ctx.h"
#include "nn/nn.h"

enum { BLOCKS = 4 };  /* of a rank: each call packs the keys that it sees once more */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Floats of a token's keys and values of so many heads. */
static int64_t width_of(const kd_sequence *s, int64_t heads) { return 2 * heads * s->E; }

static kd_status init(kd_sequence *s, bool backward, kd_arena *arena) {
    kd_allgather *all = &s->allgather;
    int64_t size = kd_comm_size(s->comm), HE = s->H * s->E;
    s->blocks = least(BLOCKS, s->T / size);
    int64_t rows = s->blocks * kd_block_most(s), room = most(rows, s->count) * HE;
    /* What is gathered is no more than a rank's own queries, if heads allow. */
    *all = (kd_allgather){.heads = most(1, least(s->H / (2 * size), s->G))};
    s->keeps_inputs = true;
    s->kept_q = rows * HE, s->kept_kv = s->count * s->G * s->E, s->kept_lse = rows * s->H;
    int64_t gathered = s->T * width_of(s, all->heads);
    s->deal = kd_arena_take(arena, 2 * s->blocks * size, sizeof *s->deal);
    s->send = kd_arena_take(arena, room, sizeof(float));
    s->recv = kd_arena_take(arena, backward ? most(room, size * s->count * width_of(s, all->heads)) : room, sizeof(float));
    all->kv = kd_arena_take(arena, gathered, sizeof(float));
    if (!backward) return KD_OK;
    all->part = kd_arena_take(arena, gathered, sizeof(float));
    all->dkv = kd_arena_take(arena, gathered, sizeof(float));
    all->dout = kd_arena_take(arena, rows * HE, sizeof(float));
    all->dq = kd_arena_take(arena, rows * HE, sizeof(float));
    return KD_OK;
}

/* [tokens, 2, heads, E]: the keys, or the values. */
static kd_view half_of(float *kv, const kd_sequence *s, int64_t heads, bool values) {
    return (kd_view){.data = kv + (values ? heads * s->E : 0), .token_stride = width_of(s, heads), .head_stride = s->E};
}

/* The queries `rows`, which begin with row `at` of this rank's, and key/value heads g0 .. g0+heads-1. */
static kd_attn block_of(const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, kd_stretch rows, int64_t at, int64_t g0,
                        int64_t heads) {
    const kd_allgather *all = &s->allgather;
    int64_t group = s->H / s->G, h0 = g0 * group, from = (at * s->H + h0) * s->E;
    kd_attn own = *a;
    own.H = heads * group, own.G = heads;
    own.rows = rows, own.keys = (kd_stretch){0, rows.to};
    own.lse = kept->lse + at * s->H + h0 * kd_stretch_count(rows);
    own.q = kd_view_heads(kept->q + from, s->H, s->E), own.o = kd_view_heads(kept->o + from, s->H, s->E);
    own.k = half_of(all->kv, s, heads, false), own.v = half_of(all->kv, s, heads, true);
    if (!all->part) return own;
    own.dout = kd_view_heads(all->dout + from, s->H, s->E), own.dq = kd_view_heads(all->dq + from, s->H, s->E);
    own.dk = half_of(all->part, s, heads, false), own.dv = half_of(all->part, s, heads, true);
    return own;
}

static kd_status gather(const kd_sequence *s, const kd_sequence_kept *kept, int64_t g0, int64_t heads) {
    int64_t width = width_of(s, heads);
    float *own = s->allgather.kv + s->first * width;
    const kd_view k = kd_view_heads(kept->k, s->G, s->E), v = kd_view_heads(kept->v, s->G, s->E);
    kd_rows_pack(own, width, &k, 0, s->count, g0, heads, s->E);
    kd_rows_pack(own + heads * s->E, width, &v, 0, s->count, g0, heads, s->E);
    kd_move move = kd_sequence_move(s, "keys and values", 0);
    move.send = move.recv = s->allgather.kv;
    for (int64_t r = 0; r < kd_comm_size(s->comm); r++) {
        kd_move_send(&move, r, s->first * width, s->count * width);
        kd_move_take(&move, r, kd_first_token(s, r) * width, kd_tokens_of(s, r) * width);
    }
    return kd_comm_exchange(s->comm, &move);
}

/* This rank's sums go to the tokens' owners; those of its own tokens are added by a tree over ranks. */
static kd_status add_up(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, int64_t g0, int64_t heads) {
    int64_t width = width_of(s, heads), size = kd_comm_size(s->comm), floats = s->count * width;
    kd_move move = kd_sequence_move(s, "gradients of keys and values", 0);
    move.send = s->allgather.dkv;
    for (int64_t r = 0; r < size; r++) {
        kd_move_send(&move, r, kd_first_token(s, r) * width, kd_tokens_of(s, r) * width);
        kd_move_take(&move, r, r * floats, floats);
    }
    KD_TRY(kd_comm_exchange(s->comm, &move));
    for (int64_t step = 1; step < size; step *= 2)
        for (int64_t r = 0; r + step < size; r += 2 * step)
            KD_TRY(kd_add(ctx, kd_f32(s->recv + r * floats), kd_f32(s->recv + (r + step) * floats), floats));
    kd_rows_unpack(&a->dk, 0, s->count, g0, heads, s->recv, width, s->E);
    kd_rows_unpack(&a->dv, 0, s->count, g0, heads, s->recv + heads * s->E, width, s->E);
    return KD_OK;
}

/* This rank's blocks, for some heads; backward, dk and dv of all keys are added up in dkv. */
static kd_status run_blocks(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, int64_t g0, int64_t heads,
                            bool back) {
    const kd_allgather *all = &s->allgather;
    int64_t width = width_of(s, heads), rank = kd_comm_rank(s->comm);
    if (back) memset(all->dkv, 0, (size_t)(s->T * width) * sizeof(float));
    for (int64_t i = 0; i < s->blocks; i++) {
        kd_stretch rows = kd_block(s, kd_block_of(s, rank, i));
        kd_attn own = block_of(s, a, kept, rows, kd_block_row(s, rank, i), g0, heads);
        KD_TRY(back ? kd_attn_backward(ctx, &own) : kd_attn_forward(ctx, &own));
        if (back) KD_TRY(kd_add(ctx, kd_f32(all->dkv), kd_f32(all->part), rows.to * width));
    }
    return KD_OK;
}

/* Any block may be this rank's. */
static kd_status measure(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, bool back) {
    for (int64_t b = 0; b < s->blocks * kd_comm_size(s->comm); b++) {
        kd_attn own = block_of(s, a, kept, kd_block(s, b), 0, 0, s->allgather.heads);
        KD_TRY(back ? kd_attn_backward(ctx, &own) : kd_attn_forward(ctx, &own));
    }
    return KD_OK;
}

/* A rank that fails comes to every move all the same: the others hear of it at the end. */
static kd_status forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    if (ctx->measuring) return measure(ctx, s, a, kept, false);
    const kd_cargo in = {&a->q, kept->q, s->H}, out = {&a->o, kept->o, s->H};
    kd_status status = KD_OK;
    kd_blocks_deal(s, a->plan);
    kd_rows_pack(kept->k, s->G * s->E, &a->k, 0, s->count, 0, s->G, s->E);
    kd_rows_pack(kept->v, s->G * s->E, &a->v, 0, s->count, 0, s->G, s->E);
    KD_TRY(kd_blocks_to_rows(ctx, s, "queries", &in, 1));
    for (int64_t g0 = 0, heads; g0 < s->G; g0 += heads) {
        heads = least(s->allgather.heads, s->G - g0);
        KD_TRY(gather(s, kept, g0, heads));
        if (!status) status = run_blocks(ctx, s, a, kept, g0, heads, false);
    }
    KD_TRY(kd_comm_agree(s->comm, "attention", status));
    return kd_blocks_to_tokens(ctx, s, "attention's output", &out, 1);
}

static kd_status backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    if (ctx->measuring) return measure(ctx, s, a, kept, true);
    const kd_cargo in = {&a->dout, s->allgather.dout, s->H}, out = {&a->dq, s->allgather.dq, s->H};
    kd_status status = KD_OK;
    kd_blocks_deal(s, a->plan);
    KD_TRY(kd_blocks_to_rows(ctx, s, "gradients of attention's output", &in, 1));
    for (int64_t g0 = 0, heads; g0 < s->G; g0 += heads) {
        heads = least(s->allgather.heads, s->G - g0);
        KD_TRY(gather(s, kept, g0, heads));
        if (!status) status = run_blocks(ctx, s, a, kept, g0, heads, true);
        KD_TRY(add_up(ctx, s, a, g0, heads));
    }
    KD_TRY(kd_comm_agree(s->comm, "attention backward", status));
    return kd_blocks_to_tokens(ctx, s, "gradients of queries", &out, 1);
}

static int64_t pairs(kd_sequence *s, const kd_plan *plan) {
    kd_blocks_deal(s, plan);
    return kd_blocks_pairs(s, plan);
}

const kd_sequence_way kd_allgather_way = {init, forward, backward, pairs};

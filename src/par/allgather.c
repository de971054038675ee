/* Context parallelism by gathered keys: each rank computes its own queries, all heads, on the keys and values up to its last
 * token, which the ranks before it send, a few key/value heads at a time. Source: the recipe of Llama 3 (Dubey et al. 2024,
 * section 3.3.2). More ranks than heads are allowed.
 *
 * A row of attention does not depend on which rows are computed beside it, so o, lse and dq have the bits of one rank. dk and
 * dv do not: each rank has the sum over its queries, and the owner of a token adds these by a binary tree over ranks. Work is
 * not balanced: of a window of one document the last rank computes 2 - 1/P times the mean. */
#include "nn/nn.h"
#include "sequence_ways.h"

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Floats of a token's keys and values of so many heads. */
static int64_t width_of(const kd_sequence *s, int64_t heads) { return 2 * heads * s->E; }

static kd_status init(kd_sequence *s, bool backward, kd_arena *arena) {
    kd_allgather *all = &s->allgather;
    int64_t size = kd_comm_size(s->comm), heads = s->H / (2 * size);
    /* What is gathered is no more than a rank's own queries, if heads allow. */
    *all = (kd_allgather){.heads = heads < 1 ? 1 : least(heads, s->G)};
    s->kept_lse = s->H * s->count;
    all->kv = kd_arena_take(arena, s->T * width_of(s, all->heads), sizeof(float));
    if (!backward) return KD_OK;
    all->dkv = kd_arena_take(arena, s->T * width_of(s, all->heads), sizeof(float));
    s->recv = kd_arena_take(arena, size * s->count * width_of(s, all->heads), sizeof(float));
    all->part = kd_arena_take(arena, size, sizeof *all->part);
    return KD_OK;
}

/* The attention of key/value heads g0 .. g0+heads-1 that this rank computes. */
static kd_attn own_queries(const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, int64_t g0, int64_t heads) {
    const kd_allgather *all = &s->allgather;
    int64_t group = s->H / s->G, h0 = g0 * group, width = width_of(s, heads), E = s->E;
    kd_attn own = *a;
    own.H = heads * group, own.G = heads;
    own.rows = (kd_stretch){s->first, s->first + s->count}, own.keys = (kd_stretch){0, own.rows.to};
    own.lse = kept->lse + h0 * s->count;
    own.q = kd_view_from_head(a->q, h0), own.o = kd_view_from_head(a->o, h0);
    own.dout = kd_view_from_head(a->dout, h0), own.dq = kd_view_from_head(a->dq, h0);
    own.k = (kd_view){.data = all->kv, .token_stride = width, .head_stride = E};
    own.v = (kd_view){.data = all->kv + heads * E, .token_stride = width, .head_stride = E};
    if (!all->dkv) return own;
    own.dk = (kd_view){.data = all->dkv, .token_stride = width, .head_stride = E};
    own.dv = (kd_view){.data = all->dkv + heads * E, .token_stride = width, .head_stride = E};
    return own;
}

/* Keys and values of all tokens up to this rank's last come into kv: a token is seen by no rank before its own. */
static kd_status gather(const kd_sequence *s, const kd_attn *a, int64_t g0, int64_t heads) {
    int64_t width = width_of(s, heads), rank = kd_comm_rank(s->comm), size = kd_comm_size(s->comm);
    float *kv = s->allgather.kv, *own = kv + s->first * width;
    kd_rows_pack(own, width, &a->k, 0, s->count, g0, heads, s->E);
    kd_rows_pack(own + heads * s->E, width, &a->v, 0, s->count, g0, heads, s->E);
    kd_move move = kd_sequence_move(s, "keys and values", 0);
    move.send = move.recv = kv;
    for (int64_t r = rank + 1; r < size; r++) kd_move_send(&move, r, s->first * width, s->count * width);
    for (int64_t r = 0; r < rank; r++) kd_move_take(&move, r, kd_first_token(s, r) * width, kd_tokens_of(s, r) * width);
    return kd_comm_exchange(s->comm, &move);
}

/* This rank's sums go to the tokens' owners; its own tokens' are added by a tree, in which ranks before it, whose queries do not
 * see them, count nothing. */
static kd_status add_up(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, int64_t g0, int64_t heads) {
    int64_t width = width_of(s, heads), rank = kd_comm_rank(s->comm), size = kd_comm_size(s->comm), floats = s->count * width;
    float *dkv = s->allgather.dkv, **part = s->allgather.part;
    kd_move move = kd_sequence_move(s, "gradients of keys and values", 0);
    move.send = dkv;
    for (int64_t r = 0; r < rank; r++) kd_move_send(&move, r, kd_first_token(s, r) * width, kd_tokens_of(s, r) * width);
    for (int64_t r = rank + 1; r < size; r++) kd_move_take(&move, r, r * floats, floats);
    KD_TRY(kd_comm_exchange(s->comm, &move));
    for (int64_t r = 0; r < size; r++) part[r] = r < rank ? NULL : r == rank ? dkv + s->first * width : s->recv + r * floats;
    for (int64_t step = 1; step < size; step *= 2)
        for (int64_t r = 0; r + step < size; r += 2 * step) {
            if (!part[r]) part[r] = part[r + step];
            else KD_TRY(kd_add(ctx, part[r], part[r + step], floats));
        }
    kd_rows_unpack(&a->dk, 0, s->count, g0, heads, part[0], width, s->E);
    kd_rows_unpack(&a->dv, 0, s->count, g0, heads, part[0] + heads * s->E, width, s->E);
    return KD_OK;
}

/* A rank that fails comes to every move all the same: the others hear of it at the end. */
static kd_status forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    kd_status status = KD_OK;
    for (int64_t g0 = 0, heads; g0 < s->G; g0 += heads) {
        heads = least(s->allgather.heads, s->G - g0);
        kd_attn own = own_queries(s, a, kept, g0, heads);
        if (!ctx->measuring) KD_TRY(gather(s, a, g0, heads));
        if (!status) status = kd_attn_forward(ctx, &own);
    }
    return ctx->measuring ? status : kd_comm_agree(s->comm, "attention", status);
}

static kd_status backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    kd_status status = KD_OK;
    for (int64_t g0 = 0, heads; g0 < s->G; g0 += heads) {
        heads = least(s->allgather.heads, s->G - g0);
        kd_attn own = own_queries(s, a, kept, g0, heads);
        if (!ctx->measuring) KD_TRY(gather(s, a, g0, heads));
        if (!status) status = kd_attn_backward(ctx, &own);
        if (!ctx->measuring) KD_TRY(add_up(ctx, s, a, g0, heads));
    }
    return ctx->measuring ? status : kd_comm_agree(s->comm, "attention backward", status);
}

static int64_t pairs(const kd_sequence *s, const kd_plan *plan) {
    kd_stretch rows = {s->first, s->first + s->count};
    return s->H * kd_stretch_pairs(plan, rows, (kd_stretch){0, rows.to});
}

const kd_sequence_way kd_allgather_way = {init, forward, backward, pairs};

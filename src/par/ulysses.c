/* Sequence parallelism by heads. Source: Jacobs et al. 2023 (DeepSpeed-Ulysses).
 *
 * Rank r of P computes all tokens of query heads r*H/P .. (r+1)*H/P-1 with the key/value heads that these read: one packed
 * exchange takes tokens to the ranks of their heads, another takes what these computed back. P divides H, and P divides G or G
 * divides P; then a key/value head comes to several ranks, whose dk and dv are summed as the tree over a group's heads that one
 * rank would make: P/G and H/P are powers of two. Attention of a head does not depend on other heads, so everything has the same
 * bits as on one rank. */
#include <string.h>

#include "dev/ctx.h"
#include "nn/nn.h"
#include "sequence_ways.h"

/* A tensor on its way: token rows of all heads here, all tokens of some heads there. */
typedef struct cargo {
    const kd_view *tokens;  /* [count, H or G, E] */
    float *heads;           /* [T, q_heads or kv_heads, E] */
    bool kv;
} cargo;

typedef struct cargoes {
    const kd_sequence *s;
    const cargo *item;
    int64_t n;
} cargoes;

/* Heads that each rank has of a tensor, and the first of rank `rank`. */
static int64_t heads_of(const kd_sequence *s, const cargo *c) { return c->kv ? s->ulysses.kv_heads : s->ulysses.q_heads; }
static int64_t first_head(const kd_sequence *s, const cargo *c, int64_t rank) {
    return c->kv ? rank * s->G / kd_comm_size(s->comm) : rank * s->ulysses.q_heads;
}

/* Ranks that have the same key/value head. */
static int64_t sharers_of(const kd_sequence *s) { return kd_comm_size(s->comm) > s->G ? kd_comm_size(s->comm) / s->G : 1; }

/* Floats of a token of one rank's heads, all tensors. */
static int64_t width_of(const cargoes *all) {
    int64_t width = 0;
    for (int64_t i = 0; i < all->n; i++) width += heads_of(all->s, &all->item[i]) * all->s->E;
    return width;
}

/* ---- packing: a task for each rank --------------------------------------------------------------------------------- */

/* This rank's tokens, rank `rank`'s heads. */
static kd_status pack_tokens(void *opaque, int64_t rank, int64_t thread) {
    const cargoes *all = opaque;
    const kd_sequence *s = all->s;
    (void)thread;
    float *to = s->send + rank * s->count * width_of(all);
    for (int64_t i = 0; i < all->n; i++) {
        const cargo *c = &all->item[i];
        int64_t heads = heads_of(s, c);
        kd_rows_pack(to, heads * s->E, c->tokens, 0, s->count, first_head(s, c, rank), heads, s->E);
        to += s->count * heads * s->E;
    }
    return KD_OK;
}

/* Rank `rank`'s tokens, this rank's heads. */
static kd_status move_heads(const cargoes *all, int64_t rank, bool out) {
    const kd_sequence *s = all->s;
    float *packed = (out ? s->send : s->recv) + kd_first_token(s, rank) * width_of(all);
    for (int64_t i = 0; i < all->n; i++) {
        int64_t row = heads_of(s, &all->item[i]) * s->E, floats = kd_tokens_of(s, rank) * row;
        float *heads = all->item[i].heads + kd_first_token(s, rank) * row;
        memcpy(out ? packed : heads, out ? heads : packed, (size_t)floats * sizeof(float));
        packed += floats;
    }
    return KD_OK;
}

static kd_status pack_heads(void *opaque, int64_t rank, int64_t thread) {
    (void)thread;
    return move_heads(opaque, rank, true);
}

static kd_status unpack_heads(void *opaque, int64_t rank, int64_t thread) {
    (void)thread;
    return move_heads(opaque, rank, false);
}

/* A key/value head that came from several ranks is summed in the first one's place and counts there alone. */
static kd_status unpack_tokens(void *opaque, int64_t rank, int64_t thread) {
    const cargoes *all = opaque;
    const kd_sequence *s = all->s;
    (void)thread;
    const float *from = s->recv + rank * s->count * width_of(all);
    for (int64_t i = 0; i < all->n; i++) {
        const cargo *c = &all->item[i];
        int64_t heads = heads_of(s, c);
        if (!c->kv || rank % sharers_of(s) == 0)
            kd_rows_unpack(c->tokens, 0, s->count, first_head(s, c, rank), heads, from, heads * s->E, s->E);
        from += s->count * heads * s->E;
    }
    return KD_OK;
}

/* The tree over the ranks that share a key/value head. */
static kd_status add_shared(kd_ctx *ctx, const cargoes *all) {
    const kd_sequence *s = all->s;
    int64_t size = kd_comm_size(s->comm), stride = s->count * width_of(all);
    int64_t at = 0;
    for (int64_t i = 0; i < all->n; i++) {
        int64_t floats = s->count * heads_of(s, &all->item[i]) * s->E;
        for (int64_t step = 1; all->item[i].kv && step < sharers_of(s); step *= 2)
            for (int64_t r = 0; r < size; r += 2 * step)
                if (floats > 0) KD_TRY(kd_add(ctx, kd_f32(s->recv + r * stride + at), kd_f32(s->recv + (r + step) * stride + at), floats));
        at += floats;
    }
    return KD_OK;
}

/* ---- exchanges ----------------------------------------------------------------------------------------------------- */

/* own_tokens: what is sent is of this rank's tokens, and of all tokens what comes. */
static kd_status exchange(const cargoes *all, const char *what, bool own_tokens) {
    const kd_sequence *s = all->s;
    int64_t width = width_of(all);
    kd_move move = kd_sequence_move(s, what, 0);
    for (int64_t r = 0; r < kd_comm_size(s->comm); r++) {
        int64_t own = s->count * width, theirs = kd_tokens_of(s, r) * width;
        (own_tokens ? kd_move_send : kd_move_take)(&move, r, r * own, own);
        (own_tokens ? kd_move_take : kd_move_send)(&move, r, kd_first_token(s, r) * width, theirs);
    }
    return kd_comm_exchange(s->comm, &move);
}

static kd_status to_heads(kd_ctx *ctx, const kd_sequence *s, const char *what, const cargo *item, int64_t n) {
    cargoes all = {s, item, n};
    KD_TRY(kd_pool_run(ctx->pool, pack_tokens, &all, kd_comm_size(s->comm)));
    KD_TRY(exchange(&all, what, true));
    return kd_pool_run(ctx->pool, unpack_heads, &all, kd_comm_size(s->comm));
}

static kd_status to_tokens(kd_ctx *ctx, const kd_sequence *s, const char *what, const cargo *item, int64_t n) {
    cargoes all = {s, item, n};
    KD_TRY(kd_pool_run(ctx->pool, pack_heads, &all, kd_comm_size(s->comm)));
    KD_TRY(exchange(&all, what, false));
    KD_TRY(add_shared(ctx, &all));
    return kd_pool_run(ctx->pool, unpack_tokens, &all, kd_comm_size(s->comm));
}

/* ---- the mode -------------------------------------------------------------------------------------------------------- */

static bool power_of_two(int64_t n) { return n > 0 && !(n & (n - 1)); }

static kd_status init(kd_sequence *s, bool backward, kd_arena *arena) {
    int64_t size = kd_comm_size(s->comm), T = s->T, H = s->H, G = s->G, E = s->E;
    kd_ulysses *u = &s->ulysses;
    if (H % size) return kd_fail(KD_EARG, "%lld ranks do not fit %lld heads; mode allgather has no such limit", (long long)size, (long long)H);
    if (size <= G ? G % size : size % G || !power_of_two(size / G) || !power_of_two(H / size))
        return kd_fail(KD_EARG, "%lld ranks do not fit %lld key/value heads of %lld heads", (long long)size, (long long)G, (long long)H);
    u->q_heads = H / size, u->kv_heads = size <= G ? G / size : 1;
    s->keeps_inputs = true;
    s->kept_q = T * u->q_heads * E, s->kept_kv = T * u->kv_heads * E, s->kept_lse = T * u->q_heads;
    int64_t room = (T + size) * (u->q_heads + 2 * u->kv_heads) * E;
    s->send = kd_arena_take(arena, room, sizeof(float));
    s->recv = kd_arena_take(arena, room, sizeof(float));
    if (!backward) return KD_OK;
    u->dout = kd_arena_take(arena, s->kept_q, sizeof(float));
    u->dq = kd_arena_take(arena, s->kept_q, sizeof(float));
    u->dk = kd_arena_take(arena, s->kept_kv, sizeof(float));
    u->dv = kd_arena_take(arena, s->kept_kv, sizeof(float));
    return KD_OK;
}

/* The attention that this rank computes. */
static kd_attn own_heads(const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    const kd_ulysses *u = &s->ulysses;
    kd_attn own = *a;
    own.lse = kept->lse;
    own.H = u->q_heads, own.G = u->kv_heads;
    own.q = kd_view_heads(kept->q, own.H, s->E), own.o = kd_view_heads(kept->o, own.H, s->E);
    own.k = kd_view_heads(kept->k, own.G, s->E), own.v = kd_view_heads(kept->v, own.G, s->E);
    own.dout = kd_view_heads(u->dout, own.H, s->E), own.dq = kd_view_heads(u->dq, own.H, s->E);
    own.dk = kd_view_heads(u->dk, own.G, s->E), own.dv = kd_view_heads(u->dv, own.G, s->E);
    return own;
}

static kd_status forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    kd_attn own = own_heads(s, a, kept);
    if (ctx->measuring) return kd_attn_forward(ctx, &own);
    const cargo in[] = {{&a->q, kept->q, false}, {&a->k, kept->k, true}, {&a->v, kept->v, true}}, out = {&a->o, kept->o, false};
    KD_TRY(to_heads(ctx, s, "queries, keys and values", in, 3));
    KD_TRY(kd_comm_agree(s->comm, "attention", kd_attn_forward(ctx, &own)));
    return to_tokens(ctx, s, "attention's output", &out, 1);
}

static kd_status backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    kd_attn own = own_heads(s, a, kept);
    if (ctx->measuring) return kd_attn_backward(ctx, &own);
    const kd_ulysses *u = &s->ulysses;
    const cargo in = {&a->dout, u->dout, false}, out[] = {{&a->dq, u->dq, false}, {&a->dk, u->dk, true}, {&a->dv, u->dv, true}};
    KD_TRY(to_heads(ctx, s, "gradients of attention's output", &in, 1));
    KD_TRY(kd_comm_agree(s->comm, "attention backward", kd_attn_backward(ctx, &own)));
    return to_tokens(ctx, s, "gradients of queries, keys and values", out, 3);
}

static int64_t pairs(kd_sequence *s, const kd_plan *plan) { return s->ulysses.q_heads * kd_plan_pairs(plan); }

const kd_sequence_way kd_ulysses_way = {init, forward, backward, pairs};

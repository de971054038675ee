/* One packed exchange takes a rank's tokens to the ranks of their heads, another one takes what these computed back. */
#include "ulysses.h"

#include <string.h>

#include "dev/ctx.h"
#include "nn/nn.h"

/* A tensor on its way: token rows of all heads here, all tokens of some heads there. */
typedef struct cargo {
    const kd_view *tokens;  /* [count, H or G, E] */
    float *heads;           /* [T, q_heads or kv_heads, E] */
    bool kv;
} cargo;

typedef struct cargoes {
    const kd_ulysses *u;
    const cargo *item;
    int64_t n;
} cargoes;

static int64_t size_of(const kd_ulysses *u) { return kd_comm_size(u->comm); }
static int64_t first_token(const kd_ulysses *u, int64_t rank) { return rank * u->T / size_of(u); }
static int64_t tokens_of(const kd_ulysses *u, int64_t rank) { return first_token(u, rank + 1) - first_token(u, rank); }

/* Heads that each rank has of a tensor, and the first of rank `rank`. */
static int64_t heads_of(const kd_ulysses *u, const cargo *c) { return c->kv ? u->kv_heads : u->q_heads; }
static int64_t first_head(const kd_ulysses *u, const cargo *c, int64_t rank) {
    return c->kv ? rank * u->G / size_of(u) : rank * u->q_heads;
}

/* Floats of a token of one rank's heads, all tensors. */
static int64_t width_of(const cargoes *all) {
    int64_t width = 0;
    for (int64_t i = 0; i < all->n; i++) width += heads_of(all->u, &all->item[i]) * all->u->E;
    return width;
}

static float *row_of(const kd_ulysses *u, const cargo *c, int64_t t, int64_t rank) {
    return c->tokens->data + t * c->tokens->token_stride + first_head(u, c, rank) * c->tokens->head_stride;
}

/* Heads of a token row to contiguous floats, or back. */
static void copy_heads(float *packed, float *row, const cargo *c, int64_t heads, int64_t E, bool out) {
    for (int64_t h = 0; h < heads; h++, packed += E, row += c->tokens->head_stride)
        memcpy(out ? packed : row, out ? row : packed, (size_t)E * sizeof(float));
}

/* ---- packing: a task for each rank --------------------------------------------------------------------------------- */

/* This rank's tokens, rank `rank`'s heads. */
static kd_status pack_tokens(void *opaque, int64_t rank, int64_t thread) {
    const cargoes *all = opaque;
    const kd_ulysses *u = all->u;
    (void)thread;
    float *to = u->send + rank * u->count * width_of(all);
    for (int64_t i = 0; i < all->n; i++) {
        int64_t heads = heads_of(u, &all->item[i]);
        for (int64_t t = 0; t < u->count; t++, to += heads * u->E) copy_heads(to, row_of(u, &all->item[i], t, rank), &all->item[i], heads, u->E, true);
    }
    return KD_OK;
}

/* Rank `rank`'s tokens, this rank's heads. */
static kd_status move_heads(const cargoes *all, int64_t rank, bool out) {
    const kd_ulysses *u = all->u;
    float *packed = (out ? u->send : u->recv) + first_token(u, rank) * width_of(all);
    for (int64_t i = 0; i < all->n; i++) {
        int64_t row = heads_of(u, &all->item[i]) * u->E, floats = tokens_of(u, rank) * row;
        float *heads = all->item[i].heads + first_token(u, rank) * row;
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
    const kd_ulysses *u = all->u;
    (void)thread;
    int64_t width = width_of(all), sharers = size_of(u) > u->G ? size_of(u) / u->G : 1;
    float *from = u->recv + rank * u->count * width;
    for (int64_t i = 0; i < all->n; i++) {
        const cargo *c = &all->item[i];
        int64_t heads = heads_of(u, c), floats = u->count * heads * u->E;
        if (!c->kv || rank % sharers == 0)
            for (int64_t t = 0; t < u->count; t++) copy_heads(from + t * heads * u->E, row_of(u, c, t, rank), c, heads, u->E, false);
        from += floats;
    }
    return KD_OK;
}

/* The tree over the ranks that share a key/value head. */
static kd_status add_shared(kd_ctx *ctx, const cargoes *all) {
    const kd_ulysses *u = all->u;
    int64_t size = size_of(u), sharers = size > u->G ? size / u->G : 1, stride = u->count * width_of(all);
    int64_t at = 0;
    for (int64_t i = 0; i < all->n; i++) {
        int64_t floats = u->count * heads_of(u, &all->item[i]) * u->E;
        for (int64_t step = 1; all->item[i].kv && step < sharers; step *= 2)
            for (int64_t r = 0; r < size; r += 2 * step)
                if (floats > 0) KD_TRY(kd_add(ctx, u->recv + r * stride + at, u->recv + (r + step) * stride + at, floats));
        at += floats;
    }
    return KD_OK;
}

/* ---- exchanges ----------------------------------------------------------------------------------------------------- */

/* own_tokens: what is sent is of this rank's tokens, and of all tokens what comes. */
static kd_status exchange(const cargoes *all, const char *what, bool own_tokens) {
    const kd_ulysses *u = all->u;
    int64_t size = size_of(u), unit = width_of(all) * (int64_t)sizeof(float), *at[2] = {u->counts, u->counts + 2 * size};
    for (int64_t r = 0; r < size; r++) {
        int64_t *own = at[!own_tokens] + r, *theirs = at[own_tokens] + r;
        own[0] = r * u->count * unit, own[size] = u->count * unit;
        theirs[0] = first_token(u, r) * unit, theirs[size] = tokens_of(u, r) * unit;
    }
    return kd_comm_exchange(u->comm, &(kd_move){what, u->send, u->recv, at[0], at[0] + size, at[1], at[1] + size});
}

static kd_status to_heads(kd_ctx *ctx, const kd_ulysses *u, const char *what, const cargo *item, int64_t n) {
    cargoes all = {u, item, n};
    KD_TRY(kd_pool_run(ctx->pool, pack_tokens, &all, size_of(u)));
    KD_TRY(exchange(&all, what, true));
    return kd_pool_run(ctx->pool, unpack_heads, &all, size_of(u));
}

static kd_status to_tokens(kd_ctx *ctx, const kd_ulysses *u, const char *what, const cargo *item, int64_t n) {
    cargoes all = {u, item, n};
    KD_TRY(kd_pool_run(ctx->pool, pack_heads, &all, size_of(u)));
    KD_TRY(exchange(&all, what, false));
    KD_TRY(add_shared(ctx, &all));
    return kd_pool_run(ctx->pool, unpack_tokens, &all, size_of(u));
}

/* ---- attention ------------------------------------------------------------------------------------------------------- */

static bool power_of_two(int64_t n) { return n > 0 && !(n & (n - 1)); }

kd_status kd_ulysses_init(kd_ulysses *u, kd_comm *comm, int64_t T, int64_t H, int64_t G, int64_t E, bool backward, kd_arena *arena) {
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm);
    *u = (kd_ulysses){.comm = comm, .T = T, .H = H, .G = G, .E = E};
    if (H % size || T < size)
        return kd_fail(KD_EARG, "%lld ranks do not fit %lld heads and %lld tokens", (long long)size, (long long)H, (long long)T);
    if (size <= G ? G % size : size % G || !power_of_two(size / G) || !power_of_two(H / size))
        return kd_fail(KD_EARG, "%lld ranks do not fit %lld key/value heads of %lld heads", (long long)size, (long long)G, (long long)H);
    u->first = first_token(u, rank), u->count = tokens_of(u, rank);
    u->q_heads = H / size, u->kv_heads = size <= G ? G / size : 1;
    int64_t width = (u->q_heads + 2 * u->kv_heads) * E, room = size > 1 ? (T + size) * width : 0;
    u->send = kd_arena_take(arena, room, sizeof(float));
    u->recv = kd_arena_take(arena, room, sizeof(float));
    u->counts = kd_arena_take(arena, 4 * size, sizeof *u->counts);
    if (!backward || size == 1) return KD_OK;
    u->dout = kd_arena_take(arena, T * u->q_heads * E, sizeof(float));
    u->dq = kd_arena_take(arena, T * u->q_heads * E, sizeof(float));
    u->dk = kd_arena_take(arena, T * u->kv_heads * E, sizeof(float));
    u->dv = kd_arena_take(arena, T * u->kv_heads * E, sizeof(float));
    return KD_OK;
}

/* Floats that a window keeps of q or o, and of k or v. */
static int64_t kept_floats(const kd_ulysses *u, bool kv) {
    return size_of(u) > 1 ? u->T * (kv ? u->kv_heads : u->q_heads) * u->E : 0;
}

void kd_ulysses_keep(kd_ulysses_kept *kept, const kd_ulysses *u, int64_t windows, kd_arena *arena) {
    kept->q = kd_arena_take(arena, windows * kept_floats(u, false), sizeof(float));
    kept->k = kd_arena_take(arena, windows * kept_floats(u, true), sizeof(float));
    kept->v = kd_arena_take(arena, windows * kept_floats(u, true), sizeof(float));
    kept->o = kd_arena_take(arena, windows * kept_floats(u, false), sizeof(float));
    kept->lse = kd_arena_take(arena, windows * u->T * u->q_heads, sizeof(float));
}

kd_ulysses_kept kd_ulysses_kept_of(const kd_ulysses_kept *kept, const kd_ulysses *u, int64_t window) {
    int64_t q = window * kept_floats(u, false), kv = window * kept_floats(u, true);
    return (kd_ulysses_kept){kept->q + q, kept->k + kv, kept->v + kv, kept->o + q, kept->lse + window * u->T * u->q_heads};
}

/* The attention that this rank computes. */
static kd_attn own_heads(const kd_ulysses *u, const kd_attn *a, const kd_ulysses_kept *kept) {
    kd_attn own = *a;
    own.lse = kept->lse;
    if (size_of(u) == 1) return own;
    own.H = u->q_heads, own.G = u->kv_heads;
    own.q = kd_view_heads(kept->q, own.H, u->E), own.o = kd_view_heads(kept->o, own.H, u->E);
    own.k = kd_view_heads(kept->k, own.G, u->E), own.v = kd_view_heads(kept->v, own.G, u->E);
    own.dout = kd_view_heads(u->dout, own.H, u->E), own.dq = kd_view_heads(u->dq, own.H, u->E);
    own.dk = kd_view_heads(u->dk, own.G, u->E), own.dv = kd_view_heads(u->dv, own.G, u->E);
    return own;
}

kd_status kd_ulysses_forward(kd_ctx *ctx, kd_ulysses *u, const kd_attn *a, const kd_ulysses_kept *kept) {
    kd_attn own = own_heads(u, a, kept);
    if (size_of(u) == 1 || ctx->measuring) return kd_attn_forward(ctx, &own);
    const cargo in[] = {{&a->q, kept->q, false}, {&a->k, kept->k, true}, {&a->v, kept->v, true}}, out = {&a->o, kept->o, false};
    KD_TRY(to_heads(ctx, u, "queries, keys and values", in, 3));
    KD_TRY(kd_comm_agree(u->comm, "attention", kd_attn_forward(ctx, &own)));
    return to_tokens(ctx, u, "attention's output", &out, 1);
}

kd_status kd_ulysses_backward(kd_ctx *ctx, kd_ulysses *u, const kd_attn *a, const kd_ulysses_kept *kept) {
    kd_attn own = own_heads(u, a, kept);
    if (size_of(u) == 1 || ctx->measuring) return kd_attn_backward(ctx, &own);
    const cargo in = {&a->dout, u->dout, false}, out[] = {{&a->dq, u->dq, false}, {&a->dk, u->dk, true}, {&a->dv, u->dv, true}};
    KD_TRY(to_heads(ctx, u, "gradients of attention's output", &in, 1));
    KD_TRY(kd_comm_agree(u->comm, "attention backward", kd_attn_backward(ctx, &own)));
    return to_tokens(ctx, u, "gradients of queries, keys and values", out, 3);
}

/* Context parallelism on a ring, to compare. Source: Liu et al. 2023 (Ring Attention); the zigzag order and the merge of parts are
 * those of ring-flash-attention, which EasyContext and others use.
 *
 * A window is 2P blocks; rank r computes the queries of blocks r and 2P-1-r, so that all have as many pairs of a window of one
 * document. The model's tokens stay contiguous: they are brought into that order, and back, inside this step. In step i a rank has
 * the keys and values of rank r-i, while the next ones come; what its queries see of them is one part of each row:
 *   o = o - sigmoid(part_lse - lse) * (o - part),   lse = lse + log(1 + e^(part_lse - lse))
 * in float32. In mode zigzag-bf16 a part, and what the backward adds of a step, is rounded to bf16 before, as kernels do that
 * return their storage type. Sums depend on the number of ranks in either mode. */
#include <math.h>
#include <string.h>

#include "blocks.h"
#include "dev/ctx.h"
#include "nn/nn.h"

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* ---- the ring -------------------------------------------------------------------------------------------------------- */

/* Whose keys and values are here in a step. */
static int64_t owner(const kd_sequence *s, int64_t step) {
    int64_t size = kd_comm_size(s->comm);
    return (kd_comm_rank(s->comm) - step + size) % size;
}

/* Floats of a rank's keys and values. */
static int64_t load_of(const kd_sequence *s, int64_t rank) { return kd_block_row(s, rank, 2) * 2 * s->G * s->E; }

/* To the next rank what is here in this step, from the one before it what comes in the next. */
static kd_move pass_on(const kd_sequence *s, const char *what, int second, const float *from, float *to, int64_t step) {
    int64_t size = kd_comm_size(s->comm), rank = kd_comm_rank(s->comm);
    kd_move move = kd_sequence_move(s, what, second);
    move.send = from, move.recv = to;
    kd_move_send(&move, (rank + 1) % size, 0, load_of(s, owner(s, step)));
    kd_move_take(&move, (rank + size - 1) % size, 0, load_of(s, owner(s, step + 1)));
    return move;
}

/* Rows of this rank's block i. */
static int64_t rows_of(const kd_sequence *s, int i) {
    return kd_stretch_count(kd_block(s, kd_block_of(s, kd_comm_rank(s->comm), i)));
}

/* Of keys and values, or their gradients, of rank `from`: block j's keys. The values stand behind all keys. */
static float *block_at(const kd_sequence *s, float *kv, int64_t from, int j) { return kv + kd_block_row(s, from, j) * s->G * s->E; }

/* Rows of block i on keys of block j of `from`. False if they see none. */
static bool part_of(kd_attn *part, const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, float *kv, int64_t from, int i, int j) {
    const kd_zigzag *z = &s->zigzag;
    int64_t rank = kd_comm_rank(s->comm), at = kd_block_row(s, rank, i), HE = s->H * s->E, GE = s->G * s->E;
    float *keys = block_at(s, kv, from, j), *values = keys + kd_block_row(s, from, 2) * GE;
    *part = *a;
    part->rows = kd_block(s, kd_block_of(s, rank, i)), part->keys = kd_block(s, kd_block_of(s, from, j));
    part->q = kd_view_heads(kept->q + at * HE, s->H, s->E);
    part->k = kd_view_heads(keys, s->G, s->E), part->v = kd_view_heads(values, s->G, s->E);
    if (z->dout) part->dout = kd_view_heads(z->dout + at * HE, s->H, s->E);
    return part->keys.from <= part->rows.from && kd_stretch_pairs(a->plan, part->rows, part->keys) > 0;
}

/* Rows of a block and what is merged into them. */
typedef struct merging { float *o, *lse; const float *part, *part_lse; int64_t rows, H, E; } merging;

enum { MERGED = 64 };  /* rows that a task takes */

static void merge_row(float *o, float *lse, const float *part, double part_lse, int64_t E) {
    if (part_lse == -INFINITY) return;
    double rise = part_lse - *lse;
    float share = (float)(1 / (1 + exp(-rise)));
    for (int64_t e = 0; e < E; e++) o[e] -= share * (o[e] - part[e]);
    *lse = (float)(rise > 0 ? part_lse + log1p(exp(-rise)) : *lse + log1p(exp(rise)));
}

static kd_status merge_task(void *opaque, int64_t task, int64_t thread) {
    const merging *m = opaque;
    (void)thread;
    for (int64_t r = task * MERGED; r < m->rows && r < (task + 1) * MERGED; r++)
        for (int64_t h = 0; h < m->H; h++) {
            int64_t at = (r * m->H + h) * m->E, lse = h * m->rows + r;
            merge_row(m->o + at, m->lse + lse, m->part + at, m->part_lse[lse], m->E);
        }
    return KD_OK;
}

/* o [rows, H, E] and lse [H, rows] take a part in. */
static kd_status merge(kd_ctx *ctx, const kd_sequence *s, float *o, float *lse, const float *part, const float *part_lse, int64_t rows) {
    merging m = {o, lse, part, part_lse, rows, s->H, s->E};
    return kd_pool_run(ctx->pool, merge_task, &m, (rows + MERGED - 1) / MERGED);
}

/* What this rank's queries see of the keys of `from`: one part of each row, merged into kept. */
static kd_status forward_step(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, float *kv,
                              int64_t from) {
    const kd_zigzag *z = &s->zigzag;
    for (int i = 0; i < 2; i++) {
        int64_t rank = kd_comm_rank(s->comm), at = kd_block_row(s, rank, i), rows = rows_of(s, i), seen = 0;
        for (int j = 0; j < 2; j++) {
            kd_attn part;
            if (!part_of(&part, s, a, kept, kv, from, i, j) && !ctx->measuring) continue;
            part.o = kd_view_heads(seen ? z->part : z->step, s->H, s->E), part.lse = seen ? z->part_lse : z->step_lse;
            KD_TRY(kd_attn_forward(ctx, &part));
            if (!ctx->measuring && seen++) KD_TRY(merge(ctx, s, z->step, z->step_lse, z->part, z->part_lse, rows));
        }
        if (!seen) continue;
        if (z->bf16) KD_TRY(kd_round_bf16(ctx, kd_f32(z->step), rows * s->H * s->E));
        KD_TRY(merge(ctx, s, kept->o + at * s->H * s->E, kept->lse + at * s->H, z->step, z->step_lse, rows));
    }
    return KD_OK;
}

/* The gradients of this rank's queries by the keys of `from`, and of these by its queries: added to dq and dkv. */
static kd_status backward_step(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, float *kv, float *dkv,
                               int64_t from) {
    const kd_zigzag *z = &s->zigzag;
    int64_t rank = kd_comm_rank(s->comm), HE = s->H * s->E, GE = s->G * s->E, load = load_of(s, from);
    if (!ctx->measuring) memset(z->step_dkv, 0, (size_t)load * sizeof(float));
    for (int i = 0; i < 2; i++) {
        int64_t at = kd_block_row(s, rank, i), rows = rows_of(s, i), seen = 0;
        for (int j = 0; j < 2; j++) {
            kd_attn part;
            if (!part_of(&part, s, a, kept, kv, from, i, j) && !ctx->measuring) continue;
            int64_t keys = kd_stretch_count(part.keys) * GE;
            part.o = kd_view_heads(kept->o + at * HE, s->H, s->E), part.lse = kept->lse + at * s->H;
            part.dq = kd_view_heads(seen ? z->part : z->step, s->H, s->E);
            part.dk = kd_view_heads(z->part_dkv, s->G, s->E), part.dv = kd_view_heads(z->part_dkv + keys, s->G, s->E);
            KD_TRY(kd_attn_backward(ctx, &part));
            if (ctx->measuring) continue;
            float *dk = block_at(s, z->step_dkv, from, j), *dv = dk + kd_block_row(s, from, 2) * GE;
            if (seen++) KD_TRY(kd_add(ctx, kd_f32(z->step), kd_f32(z->part), rows * HE));
            KD_TRY(kd_add(ctx, kd_f32(dk), kd_f32(z->part_dkv), keys));
            KD_TRY(kd_add(ctx, kd_f32(dv), kd_f32(z->part_dkv + keys), keys));
        }
        if (!seen) continue;
        if (z->bf16) KD_TRY(kd_round_bf16(ctx, kd_f32(z->step), rows * HE));
        KD_TRY(kd_add(ctx, kd_f32(z->dq + at * HE), kd_f32(z->step), rows * HE));
    }
    if (ctx->measuring) return KD_OK;
    if (z->bf16) KD_TRY(kd_round_bf16(ctx, kd_f32(z->step_dkv), load));
    return kd_add(ctx, kd_f32(dkv), kd_f32(z->step_dkv), load);
}

/* ---- the mode -------------------------------------------------------------------------------------------------------- */

static kd_status init_as(kd_sequence *s, bool bf16, bool backward, kd_arena *arena) {
    int64_t size = kd_comm_size(s->comm), rank = kd_comm_rank(s->comm), load = 0;
    kd_zigzag *z = &s->zigzag;
    if (s->T < 2 * size)
        return kd_fail(KD_EARG, "%lld ranks do not fit %lld tokens: mode zigzag needs two for each", (long long)size, (long long)s->T);
    s->blocks = 2;
    for (int64_t r = 0; r < size; r++) load = most(load, load_of(s, r));
    int64_t HE = s->H * s->E, GE = s->G * s->E, rows = kd_block_row(s, rank, 2), longest = kd_block_most(s);
    s->keeps_inputs = true;
    s->kept_q = rows * HE, s->kept_kv = rows * GE, s->kept_lse = rows * s->H;
#define TAKE(n) kd_arena_take(arena, (n), sizeof(float))
    *z = (kd_zigzag){.bf16 = bf16, .travel = {TAKE(load), TAKE(load)}, .step = TAKE(longest * HE), .step_lse = TAKE(longest * s->H),
                     .part = TAKE(longest * HE), .part_lse = TAKE(longest * s->H)};
    s->send = TAKE(most(rows, s->count) * (HE + 2 * GE));
    s->recv = TAKE(most(rows, s->count) * (HE + 2 * GE));
    if (!backward) return KD_OK;
    z->dtravel[0] = TAKE(load), z->dtravel[1] = TAKE(load);
    z->dout = TAKE(rows * HE), z->dq = TAKE(rows * HE);
    z->step_dkv = TAKE(load), z->part_dkv = TAKE(longest * 2 * GE);
#undef TAKE
    return KD_OK;
}

static kd_status init(kd_sequence *s, bool backward, kd_arena *arena) { return init_as(s, false, backward, arena); }
static kd_status init_bf16(kd_sequence *s, bool backward, kd_arena *arena) { return init_as(s, true, backward, arena); }

/* This rank's own keys and values, as they travel. */
static void load(float *kv, const kd_sequence *s, const float *k, const float *v) {
    size_t floats = (size_t)s->kept_kv;
    memcpy(kv, k, floats * sizeof *kv);
    memcpy(kv + floats, v, floats * sizeof *kv);
}

static kd_status measure(kd_ctx *ctx, const kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept, bool back) {
    for (int64_t from = 0; from < kd_comm_size(s->comm); from++)
        KD_TRY(back ? backward_step(ctx, s, a, kept, s->zigzag.travel[0], NULL, from)
                    : forward_step(ctx, s, a, kept, s->zigzag.travel[0], from));
    return KD_OK;
}

/* A rank that fails passes on all the same: the others hear of it at the end. */
static kd_status forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    if (ctx->measuring) return measure(ctx, s, a, kept, false);
    const kd_zigzag *z = &s->zigzag;
    const kd_cargo in[] = {{&a->q, kept->q, s->H}, {&a->k, kept->k, s->G}, {&a->v, kept->v, s->G}}, out = {&a->o, kept->o, s->H};
    int64_t size = kd_comm_size(s->comm);
    kd_status status = KD_OK;
    KD_TRY(kd_blocks_to_rows(ctx, s, "queries, keys and values", in, 3));
    load(z->travel[0], s, kept->k, kept->v);
    memset(kept->o, 0, (size_t)s->kept_q * sizeof(float));
    for (int64_t i = 0; i < s->kept_lse; i++) kept->lse[i] = -INFINITY;
    for (int64_t step = 0; step < size; step++) {
        kd_flight flight;
        kd_move move = pass_on(s, "keys and values", 0, z->travel[step % 2], z->travel[(step + 1) % 2], step);
        if (step + 1 < size) KD_TRY(kd_comm_begin(&flight, s->comm, &move));
        if (!status) status = forward_step(ctx, s, a, kept, z->travel[step % 2], owner(s, step));
        if (step + 1 < size) KD_TRY(kd_comm_end(&flight));
    }
    KD_TRY(kd_comm_agree(s->comm, "attention", status));
    return kd_blocks_to_tokens(ctx, s, "attention's output", &out, 1);
}

/* Gradients of keys and values go round behind these, each rank adding its own, and are at home after the last step. */
static kd_status backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept) {
    if (ctx->measuring) return measure(ctx, s, a, kept, true);
    const kd_zigzag *z = &s->zigzag;
    int64_t size = kd_comm_size(s->comm);
    float *home = z->dtravel[size % 2];
    const kd_cargo in = {&a->dout, z->dout, s->H};
    const kd_cargo out[] = {{&a->dq, z->dq, s->H}, {&a->dk, home, s->G}, {&a->dv, home + s->kept_kv, s->G}};
    kd_status status = KD_OK;
    KD_TRY(kd_blocks_to_rows(ctx, s, "gradients of attention's output", &in, 1));
    load(z->travel[0], s, kept->k, kept->v);
    memset(z->dtravel[0], 0, (size_t)(2 * s->kept_kv) * sizeof(float));
    memset(z->dq, 0, (size_t)s->kept_q * sizeof(float));
    for (int64_t step = 0; step < size; step++) {
        int64_t here = step % 2, next = (step + 1) % 2;
        kd_flight flight;
        kd_move move = pass_on(s, "keys and values", 0, z->travel[here], z->travel[next], step);
        if (step + 1 < size) KD_TRY(kd_comm_begin(&flight, s->comm, &move));
        if (!status) status = backward_step(ctx, s, a, kept, z->travel[here], z->dtravel[here], owner(s, step));
        if (step + 1 < size) KD_TRY(kd_comm_end(&flight));
        kd_move sums = pass_on(s, "gradients of keys and values", 1, z->dtravel[here], z->dtravel[next], step);
        KD_TRY(kd_comm_exchange(s->comm, &sums));
    }
    KD_TRY(kd_comm_agree(s->comm, "attention backward", status));
    return kd_blocks_to_tokens(ctx, s, "gradients of queries, keys and values", out, 3);
}

static int64_t pairs(kd_sequence *s, const kd_plan *plan) { return kd_blocks_pairs(s, plan); }

const kd_sequence_way kd_zigzag_way = {init, forward, backward, pairs};
const kd_sequence_way kd_zigzag_bf16_way = {init_bf16, forward, backward, pairs};

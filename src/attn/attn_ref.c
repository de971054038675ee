/* The definition in float32, behind the lists of variants: what every kernel falls back to. */
#include <math.h>

#include "attn_variants.h"

#include "base/half.h"

#define REAL float
#define EXP expf
#define LOG logf

static void rotation(float *cosine, float *sine, const kd_rope *rope, kd_angles angles, int64_t p) {
    float made[KD_HEAD_MOST];
    int64_t half = rope->E / 2;
    const float *row = kd_rope_row(rope, angles, p < 0 ? -p : p, made);
    for (int64_t e = 0; e < half; e++) {
        cosine[e] = row[e];
        sine[e] = p < 0 ? -row[e + half] : row[e + half];
    }
}

#include "attn_ref.inc"

/* Where the definition finds a view's numbers, those of some tokens: 16-bit ones as float32, [tokens, heads, E]. */
static view view_of(kd_arena *arena, const kd_attn *a, const kd_view *x, int64_t heads, kd_stretch of) {
    if (x->type == KD_VIEW_F32) return (view){x->data, x->token_stride, x->head_stride, of};
    return (view){kd_arena_take(arena, kd_stretch_count(of) * heads * a->E, sizeof(float)), heads * a->E, a->E, of};
}

/* Of the numbers that a view of float32 stands for. */
static uint16_t *half_at(const kd_view *x, view wide, int64_t t, int64_t head) {
    return x->half + (t - wide.of.from) * x->token_stride + head * x->head_stride;
}

static void widen(view to, const kd_attn *a, const kd_view *x, int64_t heads) {
    for (int64_t t = to.of.from; t < to.of.to && x->type != KD_VIEW_F32; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t e = 0; e < a->E; e++) {
                uint16_t half = half_at(x, to, t, h)[e];
                at(to, t, h)[e] = x->type == KD_VIEW_BF16 ? kd_bf16_widen(half) : kd_f16_widen(half);
            }
}

static void narrow(const kd_view *x, const kd_attn *a, view from, int64_t heads) {
    for (int64_t t = from.of.from; t < from.of.to && x->type != KD_VIEW_F32; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t e = 0; e < a->E; e++) {
                float y = at(from, t, h)[e];
                half_at(x, from, t, h)[e] = x->type == KD_VIEW_BF16 ? kd_bf16_round(y) : kd_f16_round(y);
            }
}

static void place(problem *x, kd_arena *arena, const kd_attn *a, bool backward) {
    kd_stretch rows = kd_attn_rows(a), keys = kd_attn_keys(a);
    *x = (problem){.shape = a, .lse = a->lse};
    x->q = view_of(arena, a, &a->q, a->H, rows);
    x->k = view_of(arena, a, &a->k, a->G, keys);
    x->v = view_of(arena, a, &a->v, a->G, keys);
    x->o = view_of(arena, a, &a->o, a->H, rows);
    x->dout = view_of(arena, a, &a->dout, a->H, rows);
    x->dq = view_of(arena, a, &a->dq, a->H, rows);
    x->dk = view_of(arena, a, &a->dk, a->G, keys);
    x->dv = view_of(arena, a, &a->dv, a->G, keys);
    x->logit = kd_arena_take(arena, a->G * a->plan->T, sizeof(float));
    x->rotated = kd_arena_take(arena, 2 * a->G * a->plan->T * a->E, sizeof(float));
    x->turned = kd_arena_take(arena, a->G * 4 * a->E, sizeof(float));
    if (backward) x->sums = kd_arena_take(arena, a->G * sums_of(a) * 2 * kd_stretch_count(keys) * a->E, sizeof(float));
}

static int64_t workspace_of(const kd_attn *a, bool backward) {
    problem x;
    kd_arena arena = {0};
    place(&x, &arena, a, backward);
    return arena.used;
}

int64_t kd_attn_workspace_forward_ref(const kd_ctx *ctx, const void *args) {
    (void)ctx;
    return workspace_of(args, false);
}

int64_t kd_attn_workspace_backward_ref(const kd_ctx *ctx, const void *args) {
    (void)ctx;
    return workspace_of(args, true);
}

static kd_status forward_task(void *opaque, int64_t task, int64_t thread) {
    (void)thread;
    return forward_group(opaque, task);
}

static kd_status backward_task(void *opaque, int64_t task, int64_t thread) {
    (void)thread;
    return backward_group(opaque, task);
}

static void begin(problem *x, const kd_attn *a, void *workspace, bool backward) {
    kd_arena arena = {workspace, workspace_of(a, backward), 0};
    place(x, &arena, a, backward);
    widen(x->q, a, &a->q, a->H);
    widen(x->k, a, &a->k, a->G);
    widen(x->v, a, &a->v, a->G);
}

kd_status kd_attn_forward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_attn *a = args;
    problem x;
    begin(&x, a, workspace, false);
    KD_TRY(kd_pool_run(ctx->pool, forward_task, &x, a->G));
    narrow(&a->o, a, x.o, a->H);
    return KD_OK;
}

kd_status kd_attn_backward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_attn *a = args;
    problem x;
    begin(&x, a, workspace, true);
    widen(x.o, a, &a->o, a->H);
    widen(x.dout, a, &a->dout, a->H);
    KD_TRY(kd_pool_run(ctx->pool, backward_task, &x, a->G));
    narrow(&a->dq, a, x.dq, a->H);
    narrow(&a->dk, a, x.dk, a->G);
    narrow(&a->dv, a, x.dv, a->G);
    return KD_OK;
}

/* ---- logits alone ------------------------------------------------------------------------------------------ */

typedef struct logits_args { const kd_attn *a; float *logit; problem x; } logits_args;

static int64_t logits_workspace(const kd_ctx *ctx, const void *args) {
    return kd_attn_workspace_forward_ref(ctx, ((const logits_args *)args)->a);
}

static kd_status logits_task(void *opaque, int64_t g, int64_t thread) {
    const logits_args *l = opaque;
    const kd_attn *a = l->a;
    const kd_plan *plan = a->plan;
    int64_t T = plan->T, group = a->H / a->G;
    (void)thread;
    KD_TRY(rotate_keys(&l->x, g));
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        for (int64_t i = 0; i < T * T; i++) l->logit[h * T * T + i] = -INFINITY;
        for (int64_t n = 0; n < plan->N; n++)
            for (int64_t i = plan->start[n]; i < plan->start[n + 1]; i++) {
                float anchor, *row = l->logit + (h * T + i) * T;
                KD_TRY(row_logits(&anchor, &l->x, n, h, i));
                if (plan->anchors) row[0] = anchor;
                for (int64_t j = plan->start[n]; j <= i; j++) row[j] = l->x.logit[g * T + j - plan->start[n]];
            }
    }
    return KD_OK;
}

static kd_status logits_ref(kd_ctx *ctx, const void *args, void *workspace) {
    logits_args l = *(const logits_args *)args;
    begin(&l.x, l.a, workspace, false);
    return kd_pool_run(ctx->pool, logits_task, &l, l.a->G);
}

static const kd_variant attn_logits_variants[] = {{"ref", KD_ISA_REF, NULL, logits_workspace, logits_ref}};
static KD_OP(attn_logits, attn_logits_variants);

kd_status kd_attn_logits(kd_ctx *ctx, float *logit, const kd_attn *a) {
    KD_TRY(kd_attn_check(ctx, a, false));
    if (a->rows.to || a->keys.to) return kd_fail(KD_EARG, "attention: logits are those of a whole window");
    return kd_op_run(ctx, &attn_logits, &(logits_args){.a = a, .logit = logit});
}

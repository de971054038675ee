/* The definition in float32, behind the lists of variants: what every kernel falls back to. */
#include <math.h>

#include "attn_variants.h"

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

static view view_of(kd_view x) { return (view){x.data, x.token_stride, x.head_stride}; }

static void place(problem *x, kd_arena *arena, const kd_attn *a) {
    *x = (problem){a, view_of(a->q), view_of(a->k), view_of(a->v), view_of(a->o), view_of(a->dout), view_of(a->dq),
                   view_of(a->dk), view_of(a->dv), a->lse, NULL, NULL, NULL};
    x->logit = kd_arena_take(arena, a->G * a->plan->T, sizeof(float));
    x->rotated = kd_arena_take(arena, 2 * a->G * a->plan->T * a->E, sizeof(float));
    x->turned = kd_arena_take(arena, a->G * 4 * a->E, sizeof(float));
}

int64_t kd_attn_workspace_ref(const kd_ctx *ctx, const void *args) {
    (void)ctx;
    problem x;
    kd_arena arena = {0};
    place(&x, &arena, args);
    return arena.used;
}

static kd_status forward_task(void *opaque, int64_t task, int64_t thread) {
    (void)thread;
    return forward_group(opaque, task);
}

static kd_status backward_task(void *opaque, int64_t task, int64_t thread) {
    (void)thread;
    return backward_group(opaque, task);
}

static kd_status run(kd_ctx *ctx, const kd_attn *a, void *workspace, kd_task *task) {
    problem x;
    kd_arena arena = {workspace, kd_attn_workspace_ref(ctx, a), 0};
    place(&x, &arena, a);
    return kd_pool_run(ctx->pool, task, &x, a->G);
}

kd_status kd_attn_forward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    return run(ctx, args, workspace, forward_task);
}

kd_status kd_attn_backward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    return run(ctx, args, workspace, backward_task);
}

/* ---- logits alone ------------------------------------------------------------------------------------------ */

typedef struct logits_args { const kd_attn *a; float *logit; problem x; } logits_args;

static int64_t logits_workspace(const kd_ctx *ctx, const void *args) {
    return kd_attn_workspace_ref(ctx, ((const logits_args *)args)->a);
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
    kd_arena arena = {workspace, kd_attn_workspace_ref(ctx, l.a), 0};
    place(&l.x, &arena, l.a);
    return kd_pool_run(ctx->pool, logits_task, &l, l.a->G);
}

static const kd_variant attn_logits_variants[] = {{"ref", KD_ISA_REF, NULL, logits_workspace, logits_ref}};
static KD_OP(attn_logits, attn_logits_variants);

kd_status kd_attn_logits(kd_ctx *ctx, float *logit, const kd_attn *a) {
    KD_TRY(kd_attn_check(ctx, a, false));
    return kd_op_run(ctx, &attn_logits, &(logits_args){.a = a, .logit = logit});
}

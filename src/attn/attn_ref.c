/* The definition in float32, behind the lists of variants: what every kernel falls back to. */
#include <math.h>

#include "attn_variants.h"

#define REAL float
#define EXP expf
#define LOG logf

static void rotation(float *cosine, float *sine, const kd_rope *rope, int64_t p, int64_t e) {
    const float *row = rope->table + (p < 0 ? -p : p) * rope->E;
    *cosine = row[e];
    *sine = p < 0 ? -row[e + rope->E / 2] : row[e + rope->E / 2];
}

#include "attn_ref.inc"

static view view_of(kd_view x) { return (view){x.data, x.token_stride, x.head_stride}; }

static void place(problem *x, kd_arena *arena, const kd_attn *a) {
    *x = (problem){a, view_of(a->q), view_of(a->k), view_of(a->v), view_of(a->o), view_of(a->dout), view_of(a->dq),
                   view_of(a->dk), view_of(a->dv), a->lse, NULL, NULL, NULL};
    x->logit = kd_arena_take(arena, a->G * a->plan->T, sizeof(float));
    x->rotated = kd_arena_take(arena, a->G * a->plan->T * a->E, sizeof(float));
    x->turned = kd_arena_take(arena, a->G * 3 * a->E, sizeof(float));
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
    forward_group(opaque, task);
    return KD_OK;
}

static kd_status backward_task(void *opaque, int64_t task, int64_t thread) {
    (void)thread;
    backward_group(opaque, task);
    return KD_OK;
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

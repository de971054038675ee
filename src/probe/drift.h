/* What a shift changes in one layer's attention: the probe's one operation. Everything is double from the logits' products on;
 * precision bf16-eager alone rounds them and the probabilities, as it says. */
#ifndef KD_DRIFT_H
#define KD_DRIFT_H

#include "attn/ladder.h"
#include "dev/op.h"

enum { KD_DRIFT_KEYS = 8 };   /* keys stand beside each other in groups of so many */

/* What attention multiplies at one shift: kept queries and keys, W numbers each: E, or 2 E of pairs, (hi, lo) of a query and
 * (hi + lo, hi) of a key, whose product is hi.hi + hi.lo + lo.hi. */
typedef struct kd_turned {
    float *query;             /* [H, T, W] */
    float *key;               /* [G, T/8 rounded up, W, 8] */
    double *anchor;           /* [H, T] the anchor's unscaled logit; NULL: there is no anchor */
} kd_turned;

static inline int64_t kd_drift_groups(int64_t T) { return (T + KD_DRIFT_KEYS - 1) / KD_DRIFT_KEYS; }

/* A query's first key is the anchor, or else its document's first token. */
typedef struct kd_drift {
    const kd_plan *plan;
    const kd_turned *turned;  /* [shifts] */
    int64_t shifts;
    const int64_t *base;      /* [bases] indexes of shifts that all are compared with; pair b * shifts + s */
    int64_t bases;
    int64_t H, G, W;
    double scale;
    bool eager;
    double *key, *key_signed; /* [H, pairs, T] sum over queries of |change of attention| on a key, and of the change */
    double *first;            /* [H, pairs, T] of query i: |change of the first key's logit|, unscaled */
    double *most;             /* [H, pairs] the largest change of a logit, scaled */
    double *sink;             /* [H] mean attention of the queries behind it on the first key, shift 0 */
} kd_drift;

/* Room for key .. sink of plans of T tokens; free(*memory). */
kd_status kd_drift_sums(double **memory, kd_drift *drift, int64_t T);
/* Overwrites key .. sink. Variants agree to rounding in double. */
kd_status kd_drift_run(kd_ctx *ctx, const kd_drift *drift);

/* args: const kd_drift *. Best first; bf16-eager has the definition alone. */
extern const kd_op kd_drift_op;

/* What variants share (drift.c): one head a task, its outputs zeroed; scratch [scratch] of a thread's own. */
typedef void kd_drift_head(const kd_drift *drift, int64_t h, double *scratch);
kd_status kd_drift_heads(kd_ctx *ctx, const kd_drift *drift, kd_drift_head *head, void *workspace, int64_t scratch);
kd_status kd_drift_ref(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_drift_avx2(kd_ctx *ctx, const void *args, void *workspace);
int64_t kd_drift_workspace_ref(const kd_ctx *ctx, const void *args);
int64_t kd_drift_workspace_avx2(const kd_ctx *ctx, const void *args);

/* Where a head's numbers of a pair begin. */
static inline int64_t kd_drift_at(const kd_drift *d, int64_t h, int64_t pair) {
    return (h * d->bases * d->shifts + pair) * d->plan->T;
}

/* ---- turning (turn.c) ------------------------------------------------------------------------------------------- */

/* turned = what attn's precision keeps of q [T, H, E] and k [T, G, E], not rotated, at the plan's positions. attn: plan, rope,
 * frame, precision, H, G, E; its views are not read. KD_ENUMERIC as kd_attn_forward. */
kd_status kd_turn(kd_ctx *ctx, const kd_turned *turned, const kd_attn *attn, const float *q, const float *k);
int64_t kd_turned_width(const kd_attn *attn);
/* Keys that are turned already, x [G, T, E], laid out as kd_turned has them. */
void kd_turned_keys(float *key, const float *x, int64_t G, int64_t T, int64_t E);

#endif

/* What a precision keeps of a layer's queries and keys at one shift, laid out for the measurement. */
#include <math.h>

#include "attn/attn.h"
#include "drift.h"

typedef struct turn_args { const kd_turned *to; const kd_attn *a; const float *q, *k; } turn_args;

int64_t kd_turned_width(const kd_attn *a) { return kd_rung_of(a)->storage == KD_STORE_PAIR ? 2 * a->E : a->E; }

/* out [E], low [E] of a pair. */
static bool keep(float *out, float *low, const float *x, const kd_attn *a, const kd_rung *rung, int64_t p) {
    float made[KD_HEAD_MOST];
    const float *row = kd_rope_row(a->rope, rung->angles, p < 0 ? -p : p, made);
    return kd_rung_turn(out, low, x, row, p < 0 ? -1 : 1, a->E, rung);
}

/* A document's tokens; an anchor is none of them. */
static kd_status turn_queries(const turn_args *x, int64_t h) {
    const kd_attn *a = x->a;
    const kd_plan *plan = a->plan;
    int64_t W = kd_turned_width(a);
    for (int64_t n = 0; n < plan->N; n++)
        for (int64_t t = plan->start[n]; t < plan->start[n + 1]; t++) {
            float *to = x->to->query + (h * plan->T + t) * W;
            if (!keep(to, to + a->E, x->q + (t * a->H + h) * a->E, a, kd_rung_of(a), kd_attn_rotation(a, n, t)))
                return kd_rung_unfit(a, "query", t, h);
        }
    return KD_OK;
}

static void put_key(float *keys, int64_t t, const float *kept, const float *low, const kd_attn *a) {
    int64_t W = kd_turned_width(a);
    float *to = keys + t / KD_DRIFT_KEYS * W * KD_DRIFT_KEYS + t % KD_DRIFT_KEYS;
    for (int64_t e = 0; e < a->E; e++) {
        bool pair = W > a->E;
        to[e * KD_DRIFT_KEYS] = pair ? kept[e] + low[e] : kept[e];
        if (pair) to[(e + a->E) * KD_DRIFT_KEYS] = kept[e];
    }
}

static kd_status turn_keys(const turn_args *x, int64_t g) {
    const kd_attn *a = x->a;
    const kd_plan *plan = a->plan;
    float kept[KD_HEAD_MOST], low[KD_HEAD_MOST];
    float *keys = x->to->key + g * kd_drift_groups(plan->T) * kd_turned_width(a) * KD_DRIFT_KEYS;
    if (plan->anchors && kd_anchor_is_kept(a)) {
        if (!keep(kept, low, x->k + g * a->E, a, kd_rung_of(a), kd_attn_position(a, 0))) return kd_rung_unfit(a, "key", 0, g);
        put_key(keys, 0, kept, low, a);
    }
    for (int64_t n = 0; n < plan->N; n++)
        for (int64_t t = plan->start[n]; t < plan->start[n + 1]; t++) {
            if (!keep(kept, low, x->k + (t * a->G + g) * a->E, a, kd_rung_of(a), kd_attn_rotation(a, n, t)))
                return kd_rung_unfit(a, "key", t, g);
            put_key(keys, t, kept, low, a);
        }
    return KD_OK;
}

/* Of a kept key, or exact, of q turned by the distance to the anchor and the anchor's key as it came. */
static void anchor_logits(const turn_args *x, int64_t h) {
    const kd_attn *a = x->a;
    int64_t T = a->plan->T, E = a->E, g = h * a->G / a->H, W = kd_turned_width(a);
    const float *key = x->to->key + g * kd_drift_groups(T) * W * KD_DRIFT_KEYS;
    float turned[KD_HEAD_MOST];
    for (int64_t t = a->plan->anchors; t < T; t++) {
        double sum = 0;
        const float *query = x->to->query + (h * T + t) * W;
        if (kd_anchor_is_kept(a)) {
            for (int64_t e = 0; e < W; e++) sum += (double)query[e] * (double)key[e * KD_DRIFT_KEYS];
        } else {
            (void)keep(turned, NULL, x->q + (t * a->H + h) * E, a, &kd_ladder[KD_PRECISION_EXACT],
                       kd_attn_distance(a, t));
            for (int64_t e = 0; e < E; e++) sum += (double)turned[e] * (double)x->k[g * E + e];
        }
        x->to->anchor[h * T + t] = sum;
    }
}

static kd_status key_task(void *opaque, int64_t g, int64_t thread) {
    (void)thread;
    return turn_keys(opaque, g);
}

static kd_status query_task(void *opaque, int64_t h, int64_t thread) {
    const turn_args *x = opaque;
    (void)thread;
    KD_TRY(turn_queries(x, h));
    if (x->to->anchor) anchor_logits(x, h);
    return KD_OK;
}

kd_status kd_turn(kd_ctx *ctx, const kd_turned *turned, const kd_attn *a, const float *q, const float *k) {
    turn_args x = {turned, a, q, k};
    KD_TRY(kd_pool_run(ctx->pool, key_task, &x, a->G));
    return kd_pool_run(ctx->pool, query_task, &x, a->H);
}

void kd_turned_keys(float *key, const float *x, int64_t G, int64_t T, int64_t E) {
    for (int64_t g = 0; g < G; g++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t e = 0; e < E; e++)
                key[((g * kd_drift_groups(T) + t / KD_DRIFT_KEYS) * E + e) * KD_DRIFT_KEYS + t % KD_DRIFT_KEYS] = x[(g * T + t) * E + e];
}

/* The definition: row by row, key by key. */
#include <math.h>

#include "drift.h"

/* Row i of a head at one shift, by token; what it does not see is not written. */
typedef struct row {
    double *logit;            /* [T] unscaled */
    double *scaled;           /* [T] */
    double *attention;        /* [T] */
} row;

static double logit_of(const kd_drift *d, double product, double scale) {
    return d->eager ? kd_eager_logit((float)product, (float)scale) : product * scale;
}

/* Keys from..i of query i, and the anchor, which is token 0 then. */
static void look(const row *r, const kd_drift *d, const kd_turned *t, int64_t h, int64_t from, int64_t i) {
    int64_t T = d->plan->T, first = t->anchor ? 0 : from;
    const float *q = t->query + (h * T + i) * d->W;
    const float *keys = t->key + h * d->G / d->H * kd_drift_groups(T) * d->W * KD_DRIFT_KEYS;
    double most = -INFINITY, sum = 0;
    for (int64_t j = first; j <= i; j = j < from ? from : j + 1) {
        double product = 0;
        for (int64_t e = 0; e < d->W; e++)
            product += (double)q[e] * (double)keys[(j / KD_DRIFT_KEYS * d->W + e) * KD_DRIFT_KEYS + j % KD_DRIFT_KEYS];
        if (j < from) product = t->anchor[h * T + i];
        r->logit[j] = logit_of(d, product, 1);
        r->scaled[j] = logit_of(d, product, d->scale);
        most = r->scaled[j] > most ? r->scaled[j] : most;
    }
    for (int64_t j = first; j <= i; j = j < from ? from : j + 1) sum += r->attention[j] = exp(r->scaled[j] - most);
    for (int64_t j = first; j <= i; j = j < from ? from : j + 1) {
        r->attention[j] /= sum;
        if (d->eager) r->attention[j] = kd_eager_probability((float)r->attention[j]);
    }
}

static void compare(const kd_drift *d, int64_t h, int64_t pair, const row *x, const row *y, int64_t from, int64_t i) {
    int64_t at = kd_drift_at(d, h, pair), first = d->plan->anchors ? 0 : from;
    double *most = d->most + h * d->bases * d->shifts + pair;
    for (int64_t j = first; j <= i; j = j < from ? from : j + 1) {
        double change = x->attention[j] - y->attention[j], logit = fabs(x->scaled[j] - y->scaled[j]);
        d->key[at + j] += fabs(change);
        d->key_signed[at + j] += change;
        if (!(logit <= *most)) *most = logit;
    }
    d->first[at + i] = fabs(x->logit[first] - y->logit[first]);
}

static void head(const kd_drift *d, int64_t h, double *scratch) {
    int64_t T = d->plan->T, behind = 0;
    row base[2], x = {scratch, scratch + T, scratch + 2 * T};
    for (int64_t b = 0; b < d->bases; b++)
        base[b] = (row){scratch + (3 * b + 3) * T, scratch + (3 * b + 4) * T, scratch + (3 * b + 5) * T};
    for (int64_t n = 0; n < d->plan->N; n++)
        for (int64_t from = d->plan->start[n], i = from; i < d->plan->start[n + 1]; i++) {
            for (int64_t b = 0; b < d->bases; b++) look(&base[b], d, &d->turned[d->base[b]], h, from, i);
            for (int64_t s = 0; s < d->shifts; s++) {
                look(&x, d, &d->turned[s], h, from, i);
                for (int64_t b = 0; b < d->bases; b++) compare(d, h, b * d->shifts + s, &x, &base[b], from, i);
                if (s || (i == from && !d->plan->anchors)) continue;
                d->sink[h] += x.attention[d->plan->anchors ? 0 : from];
                behind++;
            }
        }
    if (behind) d->sink[h] /= (double)behind;
}

static int64_t scratch_of(const kd_drift *d) { return (3 + 3 * d->bases) * d->plan->T; }

int64_t kd_drift_workspace_ref(const kd_ctx *ctx, const void *args) {
    return kd_pool_threads(ctx->pool) * scratch_of(args) * (int64_t)sizeof(double);
}

kd_status kd_drift_ref(kd_ctx *ctx, const void *args, void *workspace) {
    return kd_drift_heads(ctx, args, head, workspace, scratch_of(args));
}

#include "tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

kd_status kd_tally_init(kd_tally *t, int64_t L, int64_t H, int64_t T, int64_t shifts, int64_t bases, int64_t main_pair) {
    int64_t pairs = shifts * bases;
    *t = (kd_tally){.L = L, .H = H, .T = T, .shifts = shifts, .bases = bases, .main_pair = main_pair};
    kd_status status;
    KD_GO(kd_new(&t->key, pairs * T, sizeof(double)));
    KD_GO(kd_new(&t->key_signed, pairs * T, sizeof(double)));
    KD_GO(kd_new(&t->d_head, L * H, sizeof(double)));
    KD_GO(kd_new(&t->first, T, sizeof(double)));
    KD_GO(kd_new(&t->most, pairs, sizeof(double)));
    KD_GO(kd_new(&t->rows, pairs, sizeof(double)));
    KD_GO(kd_new(&t->sink, L * H, sizeof(double)));
done:
    if (status) kd_tally_free(t);
    return status;
}

void kd_tally_free(kd_tally *t) {
    double *const all[] = {t->key, t->key_signed, t->d_head, t->first, t->most, t->rows, t->sink};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    *t = (kd_tally){0};
}

void kd_tally_clear(kd_tally *t, const kd_plan *plan) {
    int64_t pairs = t->shifts * t->bases;
    t->plan = plan;
    const struct { double *x; int64_t n; } all[] = {{t->key, pairs * t->T}, {t->key_signed, pairs * t->T}, {t->d_head, t->L * t->H},
                                                    {t->first, t->T}, {t->most, pairs}, {t->rows, pairs}, {t->sink, t->L * t->H}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memset(all[i].x, 0, (size_t)all[i].n * sizeof(double));
}

/* The changes of keys j .. of one document; `seen` queries see the first of them, one fewer each that follows. */
static void add_keys(kd_tally *t, const kd_drift *d, int64_t layer, int64_t h, int64_t pair, int64_t from, int64_t to, int64_t seen) {
    int64_t at = kd_drift_at(d, h, pair);
    for (int64_t j = from; j < to; j++, seen--) {
        double change = d->key[at + j] / (double)seen;
        t->key[pair * t->T + j] += change;
        t->key_signed[pair * t->T + j] += fabs(d->key_signed[at + j]) / (double)seen;
        t->rows[pair] += d->key[at + j];
        if (pair == t->main_pair) t->d_head[layer * t->H + h] += change;
    }
}

void kd_tally_add(kd_tally *t, const kd_drift *d, int64_t layer) {
    const kd_plan *plan = d->plan;
    int64_t pairs = t->shifts * t->bases;
    for (int64_t h = 0; h < t->H; h++) {
        for (int64_t pair = 0; pair < pairs; pair++) {
            if (plan->anchors) add_keys(t, d, layer, h, pair, 0, 1, t->T);
            for (int64_t n = 0; n < plan->N; n++)
                add_keys(t, d, layer, h, pair, plan->start[n], plan->start[n + 1], plan->start[n + 1] - plan->start[n]);
            if (!(d->most[h * pairs + pair] <= t->most[pair])) t->most[pair] = d->most[h * pairs + pair];
        }
        for (int64_t i = 0; i < t->T; i++) t->first[i] += d->first[kd_drift_at(d, h, t->main_pair) + i];
        t->sink[layer * t->H + h] = d->sink[h];
    }
}

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* The first key beside the others; spare [T]. */
static void compare_first(double *over_median, double *over_largest, const double *key, int64_t T, double *spare) {
    *over_median = *over_largest = NAN;
    if (T < 2) return;
    memcpy(spare, key + 1, (size_t)(T - 1) * sizeof *spare);
    qsort(spare, (size_t)(T - 1), sizeof *spare, ascending);
    double median = spare[(T - 1) / 2], largest = spare[T - 2];
    if (median > 0) *over_median = key[0] / median;
    if (largest > 0) *over_largest = key[0] / largest;
}

void kd_tally_lengths(kd_probe_numbers *x, const kd_probe *p, int64_t text, const kd_tally *t, int64_t from, int64_t to) {
    for (int64_t i = 0; i < p->grid.lengths; i++) {
        int64_t T = p->grid.length[i];
        double sum = 0;
        if (T <= from || T > to) continue;
        for (int64_t j = 0; j < T; j++) sum += t->first[j];
        x->logit[text * p->grid.lengths + i] = sum / (double)T;
    }
}

kd_status kd_tally_finish(kd_probe_curve *c, kd_probe_mode mode, const kd_probe *p, int64_t text, const kd_tally *t) {
    kd_probe_numbers *x = &c->mode[mode];
    int64_t pairs = kd_probe_pairs(&p->grid), queries = t->T - t->plan->anchors;
    double *spare, share = 1 / (double)p->texts;
    KD_TRY(kd_new(&spare, t->T, sizeof *spare));
    for (int64_t pair = 0; pair < pairs; pair++) {
        const double *key = t->key + pair * t->T;
        double d = 0, d_signed = 0;
        for (int64_t j = 0; j < t->T; j++) d += key[j], d_signed += t->key_signed[pair * t->T + j];
        int64_t at = text * pairs + pair;
        x->d[at] = d;
        x->d_signed[at] = d_signed;
        x->rows[at] = t->rows[pair] / (double)(t->L * t->H * queries);
        x->most[at] = t->most[pair];
        compare_first(&x->first[at], &x->first_other[at], key, t->T, spare);
    }
    for (int64_t j = 0; j < t->T; j++) x->key[j] += share * t->key[t->main_pair * t->T + j];
    for (int64_t i = 0; i < t->L * t->H; i++) {
        x->head[i] += share * t->d_head[i];
        if (mode == KD_PROPAGATED) c->sink[i] += share * t->sink[i];
    }
    kd_tally_lengths(x, p, text, t, 0, t->T);
    free(spare);
    return KD_OK;
}

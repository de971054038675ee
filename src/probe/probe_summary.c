#include "probe_summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "format/page.h"

const char *const kd_probe_mode_names[KD_PROBE_MODES] = {"propagated", "isolated"};

kd_spread kd_spread_of(const double *value, int64_t count, int64_t stride) {
    kd_spread s = {NAN, NAN, NAN, NAN, 0};
    double sum = 0, squares = 0;
    for (int64_t i = 0; value && i < count; i++) {
        double v = value[i * stride];
        if (!isfinite(v)) continue;
        s.min = s.count ? fmin(s.min, v) : v;
        s.max = s.count ? fmax(s.max, v) : v;
        s.count++;
        sum += v;
    }
    if (!s.count) return s;
    s.mean = sum / (double)s.count;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(value[i * stride])) squares += pow(value[i * stride] - s.mean, 2);
    if (s.count > 1) s.sd = sqrt(squares / (double)(s.count - 1));
    return s;
}

/* ---- curves ------------------------------------------------------------------------------------------------ */

kd_probe_mode kd_probe_main_mode(const kd_probe *p) {
    for (int m = 0; m < KD_PROBE_MODES; m++)
        for (int64_t i = 0; i < p->curves; i++)
            if (p->curve[i].mode[m].d) return (kd_probe_mode)m;
    return KD_PROPAGATED;
}

bool kd_is_bf16(const kd_probe_curve *c) { return !strncmp(c->precision, "bf16", 4); }

const kd_probe_curve *kd_probe_shown(const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        if (kd_is_bf16(&p->curve[i]) && !p->curve[i].random) return &p->curve[i];
    return p->curves ? p->curve : NULL;
}

/* Different names of the models that are random, or are not. */
static int64_t count_models(const kd_probe *p, bool random) {
    int64_t count = 0;
    for (int64_t i = 0; i < p->curves; i++) {
        bool fresh = p->curve[i].random == random;
        for (int64_t k = 0; k < i && fresh; k++)
            fresh = p->curve[k].random != random || strcmp(p->curve[k].model, p->curve[i].model) != 0;
        count += fresh;
    }
    return count;
}

const char *kd_only_model(const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        if (!p->curve[i].random) return count_models(p, false) == 1 ? p->curve[i].model : NULL;
    return NULL;
}

/* The precision first: names at a line's end are cut. */
void kd_curve_name(char out[KD_CURVE_NAME], const kd_probe *p, const kd_probe_curve *c) {
    bool one = count_models(p, c->random) == 1;
    snprintf(out, KD_CURVE_NAME, "%.24s%s%.64s", c->precision, one && !c->random ? "" : ", ",
             !one ? c->model : c->random ? "random" : "");
}

/* 0 has no sign. */
void kd_show_power(char out[32], double exponent) { snprintf(out, 32, "T^%.2f", round(exponent * 100) / 100 + 0.0); }

void kd_show_factor(char out[32], double factor) {
    double unit = pow(10, floor(log10(factor)) - 2);
    if (factor >= 1e3 && factor < 1e6) snprintf(out, 32, "%.0f", round(factor / unit) * unit);
    else if (factor >= 1e-4 && factor < 1e3) snprintf(out, 32, "%.3g", factor);
    else kd_show_number(out, factor);
}

/* ---- the table --------------------------------------------------------------------------------------------- */

/* Least squares of ln D_logit over ln T, of the means that are more than 0. */
static double growth(const kd_probe *p, const double *logit) {
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (int64_t i = 0; i < p->grid.lengths && logit; i++) {
        double value = kd_over_texts(p, logit, p->grid.lengths, i).mean, at = log((double)p->grid.length[i]);
        if (!(value > 0)) continue;
        n++;
        x += at;
        y += log(value);
        xx += at * at;
        xy += at * log(value);
    }
    return n > 1 ? (n * xy - x * y) / (n * xx - x * x) : NAN;
}

static void fill(kd_probe_row *r, const kd_probe *p) {
    const kd_probe_numbers *n = &r->curve->mode[r->mode];
    const kd_probe_grid *g = &p->grid;
    int64_t pairs = kd_probe_pairs(g), pair = kd_probe_main_pair(g), last = g->shifts - 1;
    kd_spread sink = kd_spread_of(r->curve->sink, r->curve->L * r->curve->H, 1);
    r->d = kd_over_texts(p, n->d, pairs, pair);
    r->first = kd_over_texts(p, n->first, pairs, pair).mean;
    r->first_other = kd_over_texts(p, n->first_other, pairs, pair).mean;
    r->most = kd_over_texts(p, n->most, pairs, pair).max;
    r->logit = g->lengths && n->logit ? kd_over_texts(p, n->logit, g->lengths, g->lengths - 1).mean : NAN;
    r->growth = growth(p, n->logit);
    r->far = last != pair && r->d.mean > 0 ? kd_over_texts(p, n->d, pairs, last).mean / r->d.mean : NAN;
    r->sink = sink.mean;
    r->sink_most = sink.max;
}

static bool alike(const kd_probe_row *a, const kd_probe_row *b) {
    return a->mode == b->mode && !strcmp(a->curve->model, b->curve->model);
}

kd_status kd_probe_table_open(kd_probe_table *t, const kd_probe *p) {
    *t = (kd_probe_table){.probe = p, .mode = kd_probe_main_mode(p)};
    KD_TRY(kd_new(&t->row, KD_PROBE_MODES * p->curves, sizeof *t->row));
    for (int m = 0; m < KD_PROBE_MODES; m++)
        for (int64_t i = 0; i < p->curves; i++) {
            if (!p->curve[i].mode[m].d) continue;
            kd_probe_row *row = &t->row[t->rows++];
            *row = (kd_probe_row){.curve = &p->curve[i], .mode = (kd_probe_mode)m, .number = i};
            fill(row, p);
        }
    for (int64_t i = 0; i < t->rows; i++) {
        double least = INFINITY;
        for (int64_t k = 0; k < t->rows; k++)
            if (alike(&t->row[i], &t->row[k]) && t->row[k].d.mean > 0) least = fmin(least, t->row[k].d.mean);
        t->row[i].ratio = isfinite(least) ? t->row[i].d.mean / least : NAN;
    }
    return KD_OK;
}

void kd_probe_table_close(kd_probe_table *t) { free(t->row); }

const kd_probe_row *kd_table_worst(const kd_probe_table *t, const char *model) {
    const kd_probe_row *worst = NULL;
    int rank = -1;
    for (int64_t i = 0; i < t->rows; i++) {
        const kd_probe_row *r = &t->row[i];
        int here = 2 * !r->curve->random + kd_is_bf16(r->curve);
        if (r->mode != t->mode || (model && strcmp(model, r->curve->model))) continue;
        if (here < rank || (here == rank && !(r->d.mean > worst->d.mean))) continue;
        worst = r;
        rank = here;
    }
    return worst;
}

const kd_probe_row *kd_table_best(const kd_probe_table *t, const kd_probe_row *row) {
    const kd_probe_row *best = NULL;
    for (int64_t i = 0; i < t->rows && row; i++) {
        const kd_probe_row *r = &t->row[i];
        if (r == row || !alike(r, row)) continue;
        if (!best || r->d.mean < best->d.mean) best = r;
    }
    return best;
}

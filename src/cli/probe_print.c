#include "probe_print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "format/json.h"

static const char *const modes[] = {[KD_PROPAGATED] = "propagated", [KD_ISOLATED] = "isolated"};

/* Mean over texts of a pair's column, its standard deviation. */
static double mean_of(const double *x, int64_t texts, int64_t columns, int64_t column, double *deviation) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < texts; i++) sum += x[i * columns + column];
    double mean = sum / (double)texts;
    for (int64_t i = 0; i < texts; i++) squares += (x[i * columns + column] - mean) * (x[i * columns + column] - mean);
    if (deviation) *deviation = texts > 1 ? sqrt(squares / (double)(texts - 1)) : 0;
    return mean;
}

/* A curve's mode in a few figures. */
typedef struct summary { double d, deviation, far, far_logit, first, logit, sink, sink_most; int64_t far_shift; } summary;

static summary summarise(const kd_probe *p, const kd_probe_curve *c, kd_probe_mode mode) {
    const kd_probe_numbers *x = &c->mode[mode];
    const kd_probe_grid *g = &p->grid;
    int64_t pairs = kd_probe_pairs(g), main_pair = kd_probe_main_pair(g), heads = c->L * c->H;
    summary s = {.far_shift = g->shift[g->shifts - 1], .logit = NAN};
    s.d = mean_of(x->d, p->texts, pairs, main_pair, &s.deviation);
    s.far = mean_of(x->d, p->texts, pairs, g->shifts - 1, NULL);
    s.far_logit = mean_of(x->most, p->texts, pairs, main_pair, NULL);
    s.first = mean_of(x->first, p->texts, pairs, main_pair, NULL);
    if (g->lengths) s.logit = mean_of(x->logit, p->texts, g->lengths, g->lengths - 1, NULL);
    for (int64_t i = 0; i < heads; i++) {
        s.sink += c->sink[i] / (double)heads;
        s.sink_most = c->sink[i] > s.sink_most ? c->sink[i] : s.sink_most;
    }
    return s;
}

static void print_table(const kd_probe *p) {
    const kd_probe_grid *g = &p->grid;
    char far[32];
    snprintf(far, sizeof far, "D(%lld,%lld)", (long long)g->shift[0], (long long)g->shift[g->shifts - 1]);
    char near[32];
    snprintf(near, sizeof near, "D(%lld,%lld)", (long long)g->shift[0], (long long)g->against);
    printf("%-24s %-12s %-10s %10s %9s %12s %12s %10s %10s %6s\n", "model", "precision", "mode", near, "+-", far, "first/median", "logit",
           "D_logit", "sink");
    for (int64_t i = 0; i < p->curves; i++)
        for (kd_probe_mode m = 0; m < KD_PROBE_MODES; m++) {
            const kd_probe_curve *c = &p->curve[i];
            if (!c->mode[m].d) continue;
            summary s = summarise(p, c, m);
            printf("%-24s %-12s %-10s %10.3g %9.2g %12.3g %12.3g %10.3g %10.3g %6.3f\n", c->model, c->precision, modes[m], s.d, s.deviation, s.far,
                   s.first, s.far_logit, s.logit, s.sink);
        }
    printf("%lld text%s of %lld tokens (%s); mask %s, frame %s. D: equation 4, summed over layers and heads; first/median: D of the first key\n"
           "over the median key's; logit: the largest change; D_logit: equation 5 at %lld tokens; sink: attention on the first key\n",
           (long long)p->texts, p->texts == 1 ? "" : "s", (long long)g->T, p->source, p->mask, p->frame,
           (long long)(g->lengths ? g->length[g->lengths - 1] : 0));
}

static kd_status print_json(const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        for (kd_probe_mode m = 0; m < KD_PROBE_MODES; m++) {
            const kd_probe_curve *c = &p->curve[i];
            if (!c->mode[m].d) continue;
            summary s = summarise(p, c, m);
            char *text;
            json_t *row = json_pack("{s:s, s:s, s:b, s:s, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f}", "model", c->model, "precision", c->precision,
                                    "random", c->random, "mode", modes[m], "d", s.d, "d_sd", s.deviation, "far_shift", (json_int_t)s.far_shift,
                                    "d_far", s.far, "largest_logit_change", s.far_logit, "sink", s.sink, "sink_most", s.sink_most, "seconds",
                                    c->seconds);
            /* JSON has no NaN: what is not there is null. */
            if (row) json_object_set_new(row, "first_over_median", isfinite(s.first) ? json_real(s.first) : json_null());
            if (row) json_object_set_new(row, "d_logit", isfinite(s.logit) ? json_real(s.logit) : json_null());
            kd_status status = row ? kd_json_print(&text, row, JSON_COMPACT, "probe") : kd_fail(KD_ENOMEM, "out of memory");
            json_decref(row);
            KD_TRY(status);
            printf("%s\n", text);
            free(text);
        }
    return KD_OK;
}

/* What a pair is of: "subject, bf16, propagated: D between 0 and 16". */
static kd_status check_pair(const kd_probe *p, const kd_probe_curve *c, kd_probe_mode m, int64_t pair, const kd_probe_limits *limits) {
    const kd_probe_grid *g = &p->grid;
    int64_t pairs = kd_probe_pairs(g), base = pair / g->shifts ? g->against : g->shift[0];
    double d = mean_of(c->mode[m].d, p->texts, pairs, pair, NULL), logit = 0;
    for (int64_t t = 0; t < p->texts; t++) logit = fmax(logit, c->mode[m].most[t * pairs + pair]);
    const struct { const char *what, *option; double value, limit; } row[] = {{"D", "--max-d", d, limits->d},
                                                                              {"a logit's change", "--max-logit", logit, limits->logit}};
    for (int i = 0; i < 2; i++)
        if (!(row[i].value <= row[i].limit))
            return kd_fail(KD_ENUMERIC, "%s, %s, %s: %s between shifts %lld and %lld is %.4g, above %s %.4g", c->model, c->precision, modes[m],
                           row[i].what, (long long)base, (long long)g->shift[pair % g->shifts], row[i].value, row[i].option, row[i].limit);
    return KD_OK;
}

/* Worst first is not needed: one is enough to fail. */
static kd_status check_limits(const kd_probe *p, const kd_probe_limits *limits) {
    for (int64_t i = 0; i < p->curves; i++)
        for (kd_probe_mode m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t pair = 0; p->curve[i].mode[m].d && pair < kd_probe_pairs(&p->grid); pair++)
                KD_TRY(check_pair(p, &p->curve[i], m, pair, limits));
    return KD_OK;
}

/* Before anything is written: JSON and pictures have no NaN. */
static kd_status check_finite(const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        for (kd_probe_mode m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t at = 0; p->curve[i].mode[m].d && at < p->texts * kd_probe_pairs(&p->grid); at++)
                if (!isfinite(p->curve[i].mode[m].d[at]))
                    return kd_fail(KD_ENUMERIC, "%s, %s: attention is not finite in text %lld", p->curve[i].model, p->curve[i].precision,
                                   (long long)(at / kd_probe_pairs(&p->grid)));
    return KD_OK;
}

kd_status kd_probe_tell(const kd_probe *p, const char *folder, bool json, const kd_probe_limits *limits) {
    KD_TRY(check_finite(p));
    KD_TRY(kd_make_folders(folder));
    KD_TRY(kd_probe_write(p, folder));
    if (json) KD_TRY(print_json(p));
    else print_table(p);
    return check_limits(p, limits);
}

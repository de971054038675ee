#include "probe_print.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/json.h"
#include "format/jsonl.h"
#include "probe/probe_summary.h"

/* As wide as the widest, at least as wide as its heading. */
static int width_of(const kd_probe *p, const char *heading, bool model) {
    size_t width = strlen(heading);
    for (int64_t i = 0; i < p->curves; i++) {
        size_t size = strlen(model ? p->curve[i].model : p->curve[i].precision);
        width = size > width ? size : width;
    }
    return (int)width;
}

static void print_cell(double value, int width) {
    char text[32] = "-";
    if (isfinite(value)) snprintf(text, sizeof text, value && value < 1e-3 ? "%.2e" : "%.4g", value);
    printf("  %*s", width, text);
}

static void print_table(const kd_probe_table *t) {
    const kd_probe *p = t->probe;
    const kd_probe_grid *g = &p->grid;
    int model = width_of(p, "model", true), precision = width_of(p, "precision", false);
    char d[48];
    snprintf(d, sizeof d, "D(%lld,%lld)", (long long)g->shift[0], (long long)g->against);
    int size = strlen(d) > 9 ? (int)strlen(d) : 9;
    printf("%-*s  %-*s  %-10s  %*s  %9s  %9s  %9s  %9s  %9s  %9s\n", model, "model", precision, "precision", "mode", size, d, "+-", "far/near",
           "first/med", "logit", "D_logit", "sink");
    for (int64_t i = 0; i < t->rows; i++) {
        const kd_probe_row *r = &t->row[i];
        printf("%-*s  %-*s  %-10s", model, r->curve->model, precision, r->curve->precision, kd_probe_mode_names[r->mode]);
        print_cell(r->d.mean, size);
        const double rest[] = {r->d.sd, r->far, r->first, r->most, r->logit, r->sink};
        for (int k = 0; k < 6; k++) print_cell(rest[k], 9);
        printf("\n");
    }
    printf("D: equation 4, summed over layers and heads, mean of %lld text%s of %lld tokens (%s); +-: their standard deviation\n"
           "far/near: D(%lld,%lld) over it; first/med: the first key's D over the median key's; logit: the largest change of one\n",
           (long long)p->texts, p->texts == 1 ? "" : "s", (long long)g->T, p->source, (long long)g->shift[0], (long long)g->shift[g->shifts - 1]);
    if (g->lengths) printf("D_logit: equation 5 at %lld tokens; ", (long long)g->length[g->lengths - 1]);
    printf("sink: attention on the first key; mask %s, frame %s\n", p->mask, p->frame);
}

/* JSON has no NaN: what is not there is null. */
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static kd_status print_row(const kd_probe_row *r, const kd_probe_grid *g) {
    char *text;
    const char *model = r->curve->model;
    if (kd_utf8_invalid(model, (int64_t)strlen(model)) >= 0) model = "unknown";  /* a folder's name may be any bytes */
    json_t *row = json_pack("{s:s, s:s, s:b, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:f}", "model", model, "precision",
                            r->curve->precision, "random", r->curve->random, "mode", kd_probe_mode_names[r->mode], "d1",
                            (json_int_t)g->shift[0], "d2", (json_int_t)g->against, "d", real(r->d.mean), "d_sd", real(r->d.sd), "far_over_near",
                            real(r->far), "first_over_median", real(r->first), "first_over_largest_other", real(r->first_other),
                            "largest_logit_change", real(r->most), "d_logit", real(r->logit), "sink", real(r->sink), "sink_most", real(r->sink_most),
                            "seconds", r->curve->seconds);
    kd_status status = row ? kd_json_print(&text, row, JSON_COMPACT, "probe") : kd_fail(KD_ENOMEM, "out of memory");
    json_decref(row);
    KD_TRY(status);
    printf("%s\n", text);
    free(text);
    return KD_OK;
}

/* What a pair is of: "subject, bf16, propagated: D between 0 and 16". */
static kd_status check_pair(const kd_probe *p, const kd_probe_curve *c, kd_probe_mode m, int64_t pair, const kd_probe_limits *limits) {
    const kd_probe_grid *g = &p->grid;
    int64_t pairs = kd_probe_pairs(g), base = pair / g->shifts ? g->against : g->shift[0];
    double d = kd_over_texts(p, c->mode[m].d, pairs, pair).mean, logit = kd_over_texts(p, c->mode[m].most, pairs, pair).max;
    const struct { const char *what, *option; double value, limit; } row[] = {{"D", "--max-d", d, limits->d},
                                                                              {"a logit's change", "--max-logit", logit, limits->logit}};
    for (int i = 0; i < 2; i++)
        if (!(row[i].value <= row[i].limit))
            return kd_fail(KD_ENUMERIC, "%s, %s, %s: %s between shifts %lld and %lld is %.4g, above %s %.4g", c->model, c->precision, kd_probe_mode_names[m],
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
kd_status kd_probe_check_finite(const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        for (kd_probe_mode m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t at = 0; p->curve[i].mode[m].d && at < p->texts * kd_probe_pairs(&p->grid); at++)
                if (!isfinite(p->curve[i].mode[m].d[at]))
                    return kd_fail(KD_ENUMERIC, "%s, %s: attention is not finite in text %lld", p->curve[i].model, p->curve[i].precision,
                                   (long long)(at / kd_probe_pairs(&p->grid)));
    return KD_OK;
}

kd_status kd_probe_tell(const kd_probe *p, const char *folder, bool json, const kd_probe_limits *limits) {
    kd_probe_table table;
    KD_TRY(kd_probe_check_finite(p));
    KD_TRY(kd_make_folders(folder));
    KD_TRY(kd_probe_write(p, folder));
    KD_TRY(kd_probe_table_open(&table, p));
    kd_status status = KD_OK;
    if (!json) print_table(&table);
    for (int64_t i = 0; i < table.rows && json && !status; i++) status = print_row(&table.row[i], &p->grid);
    kd_probe_table_close(&table);
    return status ? status : check_limits(p, limits);
}

#include "retention_tell.h"

#include <math.h>
#include <stdlib.h>

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- tables ----------------------------------------------------------------------------------------------------------------- */

enum { SCORE = 4, WITH_CHANGE = 6 };

typedef struct tables {
    kd_table_column column[KD_RETENTION_MEASURES][WITH_CHANGE];
    char title[KD_RETENTION_MEASURES][160];
    kd_table table[KD_RETENTION_MEASURES + 1];
    const kd_table *shown[KD_RETENTION_MEASURES + 1];
    int64_t count;
} tables;

static void tables_free(tables *t) {
    for (int64_t i = 0; i < t->count; i++) kd_table_close(&t->table[i]);
}

static void fill_row(kd_table *table, const kd_retained *model, int m, const char *name, double step) {
    kd_table_words(table, name);
    kd_table_number(table, step);
    kd_table_number(table, model->score[m].mean);
    kd_table_number(table, model->score[m].error);
    if (table->columns == SCORE) return;
    kd_table_number(table, model->change[m].mean);
    kd_table_number(table, model->change[m].error);
}

static void add_measure(tables *t, const kd_retention_told *told, int m) {
    const kd_retention_words *words = &kd_retention_measures[m];
    const int decimals = m == KD_RETAIN_LOSS ? 4 : 2;
    const kd_table_column column[WITH_CHANGE] = {{"model", -1}, {"step", 0}, {words->score, decimals}, {"stderr", decimals},
                                                 {"change", decimals}, {"change_stderr", decimals}};
    kd_table *table = &t->table[t->count];
    for (int k = 0; k < WITH_CHANGE; k++) t->column[m][k] = column[k];
    snprintf(t->title[m], sizeof t->title[m], "%s: %s, %s%s", words->title, words->score, words->unit,
             told->base ? m == KD_RETAIN_LOSS ? "; more is worse" : "; change in points" : "");
    kd_table_open(table, words->key, t->title[m], t->column[m], told->base ? WITH_CHANGE : SCORE);
    t->shown[t->count++] = table;
    if (told->base) fill_row(table, told->base, m, "base", NAN);
    for (int64_t i = 0; i < told->steps; i++) {
        char name[32];
        snprintf(name, sizeof name, "step-%lld", (long long)told->step[i].step);
        fill_row(table, &told->after[i], m, name, (double)told->step[i].step);
    }
}

/* ---- the verdict -------------------------------------------------------------------------------------------------------------- */

double kd_retention_lost(const kd_retention_told *told, kd_retention_measure m) {
    double change = told->after[told->steps - 1].change[m].mean;
    return kd_retention_measures[m].more_is_worse ? change : 0 - change;
}

static double most_of(const kd_retention_told *told, int m) { return m == KD_RETAIN_LOSS ? told->most_loss : told->most_points; }

static bool is_judged(const kd_retention_told *told, int m) { return kd_retention_count(told->items, m) && !isnan(most_of(told, m)); }

/* A loss that is no number is more than any. */
static bool is_lost(const kd_retention_told *told, int m) { return !(kd_retention_lost(told, m) <= most_of(told, m)); }

static void add_verdict(tables *t, const kd_retention_told *told) {
    static const kd_table_column columns[] = {{"measure", -1}, {"lost", 4}, {"stderr", 4}, {"most", 4}, {"verdict", -1}};
    kd_table *table = &t->table[t->count];
    kd_table_open(table, "verdict", "What the last may lose", columns, 5);
    for (int m = 0; m < KD_RETENTION_MEASURES; m++) {
        if (!is_judged(told, m)) continue;
        kd_table_words(table, kd_retention_measures[m].title);
        kd_table_number(table, kd_retention_lost(told, m));
        kd_table_number(table, told->after[told->steps - 1].change[m].error);
        kd_table_number(table, most_of(told, m));
        kd_table_words(table, is_lost(told, m) ? "lost more" : "kept");
    }
    if (kd_table_rows(table) || table->failed) t->shown[t->count++] = table;
    else kd_table_close(table);
}

kd_status kd_retention_verdict(kd_text *lost, const kd_retention_told *told) {
    for (int m = 0; m < KD_RETENTION_MEASURES; m++) {
        if (!is_judged(told, m) || !is_lost(told, m)) continue;
        double error = told->after[told->steps - 1].change[m].error;
        if (lost->size) kd_text_put(lost, "; ");
        else kd_text_print(lost, "step-%lld lost more than it may: ", (long long)told->step[told->steps - 1].step);
        kd_text_print(lost, m == KD_RETAIN_LOSS ? "%s %.4f" : "%s %.2f", kd_retention_measures[m].title, kd_retention_lost(told, m));
        if (!isnan(error)) kd_text_print(lost, m == KD_RETAIN_LOSS ? " +- %.4f" : " +- %.2f", error);
        kd_text_print(lost, " %s, --most-%s %g", m == KD_RETAIN_LOSS ? "nats per token" : "points", m == KD_RETAIN_LOSS ? "loss" : "points",
                      most_of(told, m));
    }
    return kd_text_status(lost);
}

/* ---- scores ------------------------------------------------------------------------------------------------------------------- */

static bool put(json_t *out, const char *key, const char *suffix, double value) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", key, suffix);
    return !json_object_set_new(out, name, isfinite(value) ? json_real(value) : json_null());
}

static kd_status flatten(json_t *out, const kd_retained *model, const kd_retention_items *items, const kd_retained *base) {
    bool whole = out;
    for (int m = 0; m < KD_RETENTION_MEASURES && whole; m++) {
        const char *key = kd_retention_measures[m].key;
        if (!kd_retention_count(items, m)) continue;
        whole = put(out, key, "", model->score[m].mean) && put(out, key, "_stderr", model->score[m].error);
        if (base)
            whole = whole && put(out, key, "_base", base->score[m].mean) && put(out, key, "_change", model->change[m].mean) &&
                    put(out, key, "_change_stderr", model->change[m].error);
    }
    return whole ? KD_OK : no_memory();
}

/* ---- charts -------------------------------------------------------------------------------------------------------------------- */

enum { LINES = 2 * KD_RETENTION_MEASURES };

typedef struct charts {
    double *x, *y;                   /* steps; a row a measure */
    double ends[2], flat[KD_RETENTION_MEASURES][2];
    char name[LINES][48];
    kd_series series[LINES];
    kd_chart chart[2];
    int64_t lines, count;
} charts;

/* A measure's curve, and its base as a broken line of the same colour over the same steps. */
static void draw(charts *c, const kd_retention_told *told, int m, int colour) {
    double *y = c->y + m * told->steps;
    const char *name = m == KD_RETAIN_LOSS ? NULL : kd_retention_measures[m].title;
    for (int64_t i = 0; i < told->steps; i++) y[i] = told->after[i].score[m].mean;
    snprintf(c->name[c->lines], sizeof *c->name, "%s", name ? name : "trained");
    c->series[c->lines] = (kd_series){c->name[c->lines], c->x, y, told->steps, KD_SERIES_POINTS, colour};
    c->lines++;
    if (!told->base) return;
    c->flat[m][0] = c->flat[m][1] = told->base->score[m].mean;
    snprintf(c->name[c->lines], sizeof *c->name, name ? "%s, base" : "base", name);
    c->series[c->lines] = (kd_series){c->name[c->lines], c->ends, c->flat[m], 2, KD_SERIES_LINE, colour + KD_SVG_COLOURS};
    c->lines++;
}

static void add_chart(charts *c, const char *title, const char *unit, int64_t first) {
    if (c->lines == first) return;
    c->chart[c->count++] = (kd_chart){title, {.label = "step", .whole = true}, {.label = unit}, c->series + first, c->lines - first};
}

static kd_status charts_open(charts *c, const kd_retention_told *told) {
    KD_TRY(kd_new(&c->x, told->steps, sizeof *c->x));
    KD_TRY(kd_new(&c->y, told->steps * KD_RETENTION_MEASURES, sizeof *c->y));
    for (int64_t i = 0; i < told->steps; i++) c->x[i] = (double)told->step[i].step;
    c->ends[1] = c->x[told->steps - 1];
    draw(c, told, KD_RETAIN_LOSS, 0);
    add_chart(c, "Short-context loss over training", "nats per token", 0);
    int64_t first = c->lines;
    for (int m = KD_RETAIN_HELLASWAG; m < KD_RETENTION_MEASURES; m++)
        if (kd_retention_count(told->items, m)) draw(c, told, m, m);
    add_chart(c, "Questions over training", "right, percent", first);
    return KD_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------------------- */

kd_status kd_retention_tell_one(kd_results *results, const char *about, const kd_retained *model, const kd_retention_items *items,
                                double seconds) {
    static const kd_table_column columns[] = {{"measure", -1}, {"score", 4}, {"stderr", 4}, {"items", 0}};
    kd_table table;
    const kd_table *shown[] = {&table};
    json_t *flat = json_object();
    kd_status status;
    kd_table_open(&table, "measures", "Short context", columns, 4);
    for (int m = 0; m < KD_RETENTION_MEASURES; m++) {
        if (!kd_retention_count(items, m)) continue;
        kd_table_words(&table, kd_retention_measures[m].title);
        kd_table_number(&table, model->score[m].mean);
        kd_table_number(&table, model->score[m].error);
        kd_table_number(&table, (double)kd_retention_count(items, m));
    }
    KD_GO(kd_table_status(&table));
    KD_GO(flatten(flat, model, items, NULL));
    const kd_outcome outcome = {"retention", "Short context", about, flat, shown, 1, NULL, 0, NULL, 0, seconds};
    status = kd_results_finish(results, &outcome);
done:
    json_decref(flat);
    kd_table_close(&table);
    return status;
}

kd_status kd_retention_tell(kd_results *results, const char *about, const kd_retention_told *told, bool json) {
    tables t = {.count = 0};
    charts c = {.count = 0};
    json_t *flat = json_object();
    kd_status status;
    for (int m = 0; m < KD_RETENTION_MEASURES; m++)
        if (kd_retention_count(told->items, m)) add_measure(&t, told, m);
    if (told->base) add_verdict(&t, told);
    for (int64_t i = 0; i < t.count; i++) KD_GO(kd_table_status(&t.table[i]));
    KD_GO(flatten(flat, &told->after[told->steps - 1], told->items, told->base));
    KD_GO(charts_open(&c, told));
    const kd_outcome outcome = {"retention", "Short-context retention", about, flat, t.shown, t.count, c.chart, c.count, NULL, 0,
                                told->seconds};
    status = kd_eval_tell(results, &outcome, json);
done:
    free(c.x);
    free(c.y);
    json_decref(flat);
    tables_free(&t);
    return status;
}

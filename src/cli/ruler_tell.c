#include "ruler_tell.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 320 };  /* bytes of a prompt's end */

/* ---- tables --------------------------------------------------------------------------------------------------------------------- */

static kd_table *next_table(kd_ruler_tables *t, const char *name, const char *title, const kd_table_column *column, int64_t columns) {
    kd_table *table = &t->table[t->count];
    t->shown[t->count++] = table;
    kd_table_open(table, name, title, column, columns);
    return table;
}

/* A row a task, then the mean of tasks. which: 0 scores, 1 errors, 2 empty answers. */
static void fill_tasks(kd_table *table, const kd_ruler_grid *g, const kd_ruler_scores *s, int which) {
    for (int64_t t = 0; t < g->tasks; t++) {
        kd_table_words(table, kd_ruler_tasks[g->place[t]].name);
        for (int64_t l = 0; l < g->lengths; l++) {
            const kd_ruler_scored *c = &s->cell[l * g->tasks + t];
            kd_table_number(table, which == 0 ? c->score : which == 1 ? c->error : (double)c->nulls);
        }
    }
    if (which == 2) return;
    kd_table_words(table, "average");
    for (int64_t l = 0; l < g->lengths; l++) kd_table_number(table, which ? s->error[l] : s->mean[l]);
}

static void fill_averages(kd_table *table, const kd_ruler_scores *s) {
    const struct { const char *name; double value; } row[] = {{"average over lengths", s->average.mean},
                                                              {"weighted, long lengths more", s->average.increasing},
                                                              {"weighted, short lengths more", s->average.decreasing},
                                                              {"effective length (85.6 and more up to it)",
                                                               s->average.effective < 0 ? NAN : (double)s->average.effective}};
    for (int i = 0; i < 4; i++) {
        kd_table_words(table, row[i].name);
        kd_table_number(table, row[i].value);
    }
}

static kd_status put(json_t *object, const char *key, double value) {
    return json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null()) ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

static kd_status fill_scores(json_t *out, const kd_ruler_grid *g, const kd_ruler_scores *s) {
    char key[64];
    if (!out) return kd_fail(KD_ENOMEM, "out of memory");
    KD_TRY(put(out, "average", s->average.mean));
    KD_TRY(put(out, "weighted_increasing", s->average.increasing));
    KD_TRY(put(out, "weighted_decreasing", s->average.decreasing));
    KD_TRY(put(out, "effective_length", s->average.effective < 0 ? NAN : (double)s->average.effective));
    for (int64_t l = 0; l < g->lengths; l++) {
        snprintf(key, sizeof key, "%lld", (long long)g->length[l]);
        KD_TRY(put(out, key, s->mean[l]));
        snprintf(key, sizeof key, "%lld_stderr", (long long)g->length[l]);
        KD_TRY(put(out, key, s->error[l]));
    }
    return KD_OK;
}

/* ---- the chart by length --------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; int first, last; } curves[KD_RULER_CURVES] = {
    {"average", 0, KD_RULER_TASKS - 1}, {"needles", 0, 7}, {"tracking", 8, 8}, {"counting", 9, 10}, {"questions", 11, 12}};

static void draw_lengths(kd_ruler_tables *t, const kd_ruler_grid *g, const kd_ruler_scores *s) {
    int64_t n = 0;
    for (int64_t l = 0; l < g->lengths; l++) t->x[l] = (double)g->length[l];
    for (int c = 0; c < KD_RULER_CURVES; c++) {
        int64_t tasks = 0;
        for (int64_t l = 0; l < g->lengths; l++) {
            double sum = 0;
            tasks = 0;
            for (int64_t k = 0; k < g->tasks; k++) {
                if (g->place[k] < curves[c].first || g->place[k] > curves[c].last) continue;
                sum += s->cell[l * g->tasks + k].score;
                tasks++;
            }
            t->y[c][l] = tasks ? sum / (double)tasks : NAN;
        }
        if (tasks && (c == 0 || tasks < g->tasks))
            t->series[n++] = (kd_series){curves[c].name, t->x, t->y[c], g->lengths, KD_SERIES_POINTS, c};
    }
    t->chart = (kd_chart){"RULER by length", {.label = "tokens", .scale = KD_LOG2_SCALE}, {.label = "score, %", .min = 0, .max = 100},
                          t->series, n};
}

kd_status kd_ruler_tables_open(kd_ruler_tables *t, const kd_ruler_grid *g, const kd_ruler_scores *s) {
    static const kd_table_column averages[] = {{"measure", -1}, {"score", 2}};
    int64_t nulls = 0;
    *t = (kd_ruler_tables){0};
    t->column[0] = t->count_column[0] = (kd_table_column){"task", -1};
    for (int64_t l = 0; l < g->lengths; l++) {
        snprintf(t->length_name[l], sizeof t->length_name[l], "%lld", (long long)g->length[l]);
        t->column[l + 1] = (kd_table_column){t->length_name[l], 2};
        t->count_column[l + 1] = (kd_table_column){t->length_name[l], 0};
    }
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) nulls += s->cell[i].nulls;
    fill_tasks(next_table(t, "ruler", "RULER: scores in percent, by length in tokens", t->column, g->lengths + 1), g, s, 0);
    fill_tasks(next_table(t, "stderr", "Standard errors", t->column, g->lengths + 1), g, s, 1);
    if (nulls) fill_tasks(next_table(t, "nulls", "Empty answers", t->count_column, g->lengths + 1), g, s, 2);
    fill_averages(next_table(t, "averages", "Averages", averages, 2), s);
    t->scores = json_object();
    KD_TRY(fill_scores(t->scores, g, s));
    draw_lengths(t, g, s);
    for (int64_t i = 0; i < t->count; i++) KD_TRY(kd_table_status(&t->table[i]));
    return KD_OK;
}

kd_status kd_ruler_tables_steps(kd_ruler_tables *t, const kd_ruler_grid *g, const kd_run_step *step, const kd_ruler_scores *scores,
                                int64_t count) {
    t->step_column[0] = (kd_table_column){"step", 0};
    for (int64_t l = 0; l < g->lengths; l++) t->step_column[l + 1] = t->column[l + 1];
    t->step_column[g->lengths + 1] = (kd_table_column){"average", 2};
    t->step_column[g->lengths + 2] = (kd_table_column){"perplexity", 3};
    kd_table *table = next_table(t, "steps", "By step: average over tasks, perplexity of validation", t->step_column, g->lengths + 3);
    for (int64_t i = 0; i < count; i++) {
        kd_table_number(table, (double)step[i].step);
        for (int64_t l = 0; l < g->lengths; l++) kd_table_number(table, scores[i].mean[l]);
        kd_table_number(table, scores[i].average.mean);
        kd_table_number(table, step[i].perplexity);
    }
    return kd_table_status(table);
}

void kd_ruler_tables_close(kd_ruler_tables *t) {
    for (int64_t i = 0; i < t->count; i++) kd_table_close(&t->table[i]);
    json_decref(t->scores);
    *t = (kd_ruler_tables){0};
}

/* ---- some answers ------------------------------------------------------------------------------------------------------------------ */

static const char *keep(kd_ruler_examples *e, kd_text *text) {
    if (text->failed || !text->data) return NULL;
    e->text[e->texts++] = text->data;
    const char *kept = text->data;
    *text = (kd_text){0};
    return kept;
}

/* The end of a prompt, from the beginning of a character. */
static void put_end(kd_text *out, const kd_ruler_sample *s) {
    kd_text whole = {0};
    kd_text_put(&whole, s->input);
    kd_text_put(&whole, s->prefix);
    int64_t from = whole.size > SHOWN ? whole.size - SHOWN : 0;
    while (from < whole.size && ((unsigned char)whole.data[from] & 0xc0) == 0x80) from++;
    kd_text_print(out, "%s%s", from ? "... " : "", whole.failed ? "" : whole.data + from);
    kd_text_free(&whole);
}

static kd_status add_example(kd_ruler_examples *e, kd_ruler_grid *g, int64_t cell, const kd_results *results) {
    const kd_ruler_cell *c = &g->cell[cell];
    kd_ruler_sample s;
    kd_text text = {0};
    char key[96];
    kd_example *x = &e->example[e->count];
    snprintf(key, sizeof key, "%lld/%s/0", (long long)c->length, c->task->name);
    x->answered = json_string_value(json_object_get(kd_results_find(results, key), "pred"));
    KD_TRY(kd_ruler_grid_sample(&s, g, cell, 0, false));
    kd_text_print(&text, "%s: ", c->task->name);
    put_end(&text, &s);
    x->asked = keep(e, &text);
    for (int64_t i = 0; i < s.outputs; i++) kd_text_print(&text, "%s%s", i ? ", " : "", s.output[i]);
    x->wanted = keep(e, &text);
    kd_ruler_sample_close(&s);
    kd_text_free(&text);
    if (!x->asked || !x->wanted) return kd_fail(KD_ENOMEM, "out of memory");
    e->count++;
    return KD_OK;
}

kd_status kd_ruler_examples_open(kd_ruler_examples *e, kd_ruler_grid *g, const kd_results *results) {
    kd_status status = KD_OK;
    *e = (kd_ruler_examples){0};
    for (int64_t t = 0; t < g->tasks && !status; t++) status = add_example(e, g, t, results);
    if (status) kd_ruler_examples_close(e);
    return status;
}

void kd_ruler_examples_close(kd_ruler_examples *e) {
    for (int64_t i = 0; i < e->texts; i++) free(e->text[i]);
    *e = (kd_ruler_examples){0};
}

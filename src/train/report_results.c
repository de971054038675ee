#include "report_results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "format/json.h"

#define RESULT "result.json"
#define RETENTION "retention"

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "\u2013";
}

/* NULL: there is none, or it cannot be read, which is said then: the page is of more than this. */
static kd_status load(json_t **out, kd_text *page, const char *folder, const char *name) {
    char *inner = kd_path_join(folder, name), *path = inner ? kd_path_join(inner, RESULT) : NULL;
    kd_status status = path ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    *out = NULL;
    if (!status && kd_exists(path)) status = kd_json_load(out, path);
    free(path);
    free(inner);
    if (!status || status == KD_ENOMEM) return status;
    kd_text_put(page, "<p class=\"note\">");
    kd_text_escape(page, kd_message());
    kd_text_put(page, "</p>\n");
    return KD_OK;
}

/* ---- retention --------------------------------------------------------------------------------------------------------------- */

/* The tables of kedge eval retention, a row a model, the base first: as they are named, what is scored, and for people. */
static const struct { const char *table, *score, *title; int decimals; } measures[] = {
    {"loss", "loss", "loss, nats per token", 4}, {"hellaswag", "acc_norm", "HellaSwag, %", 2}, {"mmlu", "acc", "MMLU, %", 2}};
enum { MEASURES = sizeof measures / sizeof *measures };

typedef struct kept {
    const json_t *rows[MEASURES];
    size_t count;           /* the most rows */
    bool changed;           /* some row says what changed */
} kept;

static kept look_at(const json_t *result) {
    kept r = {.count = 0};
    for (int m = 0; m < MEASURES; m++) {
        r.rows[m] = json_object_get(json_object_get(result, "tables"), measures[m].table);
        if (json_array_size(r.rows[m]) > r.count) r.count = json_array_size(r.rows[m]);
        for (size_t i = 0; i < json_array_size(r.rows[m]); i++) r.changed |= isfinite(number_of(json_array_get(r.rows[m], i), "change"));
    }
    return r;
}

/* "2.5000 \u00b1 0.0050". */
static void write_figure(kd_text *page, const json_t *row, const char *key, const char *error, int decimals) {
    char value[32], around[32], all[96];
    kd_show_fixed(value, number_of(row, key), decimals);
    kd_show_fixed(around, number_of(row, error), decimals);
    snprintf(all, sizeof all, isfinite(number_of(row, error)) ? "%s \u00b1 %s" : "%s", value, around);
    kd_page_cell(page, all, false, true);
}

static void write_scores(kd_text *page, const kept *r) {
    kd_page_table(page);
    kd_page_cell(page, "model", true, false);
    for (int m = 0; m < MEASURES; m++) {
        if (!json_array_size(r->rows[m])) continue;
        kd_page_cell(page, measures[m].title, true, true);
        if (r->changed) kd_page_cell(page, "change", true, true);
    }
    for (size_t i = 0; i < r->count; i++) {
        kd_page_row(page);
        const char *name = NULL;
        for (int m = 0; m < MEASURES && !name; m++) name = json_string_value(json_object_get(json_array_get(r->rows[m], i), "model"));
        kd_page_cell(page, name ? name : "\u2013", false, false);
        for (int m = 0; m < MEASURES; m++) {
            const json_t *row = json_array_get(r->rows[m], i);
            if (!json_array_size(r->rows[m])) continue;
            write_figure(page, row, measures[m].score, "stderr", measures[m].decimals);
            if (r->changed) write_figure(page, row, "change", "change_stderr", measures[m].decimals);
        }
    }
    kd_page_table_close(page);
}

static void write_verdict(kd_text *page, const json_t *rows) {
    if (!json_array_size(rows)) return;
    kd_page_table(page);
    static const char *const head[] = {"the last one", "lost", "may lose", "verdict"};
    for (int k = 0; k < 4; k++) kd_page_cell(page, head[k], true, k == 1 || k == 2);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        kd_page_row(page);
        kd_page_cell(page, text_of(row, "measure"), false, false);
        write_figure(page, row, "lost", "stderr", 4);
        write_figure(page, row, "most", "", 4);
        kd_page_cell(page, text_of(row, "verdict"), false, false);
    }
    kd_page_table_close(page);
}

/* Measures first .. last-1: curves over steps, their base a broken line of the same colour. */
static kd_status write_chart(kd_text *page, const kept *r, const char *title, const char *unit, int first, int last) {
    double *x[MEASURES] = {NULL}, *y[MEASURES] = {NULL}, ends[MEASURES][2], flat[MEASURES][2];
    kd_series series[2 * MEASURES];
    int64_t count = 0;
    kd_status status = KD_OK;
    for (int m = first; m < last; m++) {
        int64_t n = 0, size = (int64_t)json_array_size(r->rows[m]);
        double base = NAN, from = NAN;
        if (!size) continue;
        KD_GO(kd_new(&x[m], size, sizeof **x));
        KD_GO(kd_new(&y[m], size, sizeof **y));
        for (int64_t i = 0; i < size; i++) {
            const json_t *row = json_array_get(r->rows[m], (size_t)i);
            double step = number_of(row, "step"), value = number_of(row, measures[m].score);
            if (!isfinite(step)) base = value;
            else if (!n || step > x[m][n - 1]) x[m][n] = step, y[m][n++] = value;
        }
        if (n) from = x[m][n - 1];
        const char *name = last - first == 1 ? NULL : m == 1 ? "HellaSwag" : "MMLU";
        series[count++] = (kd_series){name ? name : "trained", x[m], y[m], n, KD_SERIES_POINTS, m};
        if (!isfinite(base) || !isfinite(from)) continue;
        ends[m][0] = 0, ends[m][1] = from;
        flat[m][0] = flat[m][1] = base;
        series[count++] = (kd_series){name ? NULL : "base", ends[m], flat[m], 2, KD_SERIES_LINE, m + KD_SVG_COLOURS};
    }
    const kd_chart chart = {title, {.label = "step", .whole = true}, {.label = unit}, series, count};
    if (count) status = kd_page_chart(page, &chart);
done:
    for (int m = 0; m < MEASURES; m++) {
        free(x[m]);
        free(y[m]);
    }
    return status;
}

static void write_about(kd_text *page, const json_t *result, const kept *r) {
    const json_t *settings = json_object_get(result, "settings");
    char length[32];
    kd_show_fixed(length, number_of(settings, "length"), 0);
    kd_text_print(page, "<p class=\"note\">Loss of the first %s tokens of documents of ", length);
    kd_text_escape(page, text_of(settings, "texts"));
    if (r->changed) {
        kd_text_put(page, ". The base, a broken line, is ");
        kd_text_escape(page, text_of(json_object_get(settings, "base"), "model"));
        kd_text_put(page, "; a change is that of the same items, its error that of the paired difference");
    }
    kd_text_put(page, ".</p>\n");
}

static kd_status write_retention(kd_text *page, const json_t *result) {
    const kept r = look_at(result);
    kd_page_section(page, "Short-context retention");
    write_about(page, result, &r);
    kd_page_charts(page);
    KD_TRY(write_chart(page, &r, "Short-context loss", "nats per token", 0, 1));
    KD_TRY(write_chart(page, &r, "HellaSwag and MMLU", "right, percent; broken: the base", 1, MEASURES));
    kd_page_charts_close(page);
    write_scores(page, &r);
    write_verdict(page, json_object_get(json_object_get(result, "tables"), "verdict"));
    return KD_OK;
}

/* ---- all of them -------------------------------------------------------------------------------------------------------------- */

enum { SHOWN = 5 };

/* The first scores, as they are named. */
static void write_line(kd_text *page, const char *name, const json_t *result, bool links) {
    kd_text scores = {0}, path = {0};
    const char *key;
    json_t *value;
    char number[32];
    int count = 0;
    kd_text_print(&path, "%s/report.html", name);
    json_object_foreach(json_object_get(result, "scores"), key, value) {
        if (!json_is_number(value) || strstr(key, "_stderr") || count++ == SHOWN) continue;
        if (count > SHOWN) break;
        kd_show_number(number, json_number_value(value));
        kd_text_print(&scores, "%s%s %s", scores.size ? ", " : "", key, number);
    }
    kd_page_row(page);
    if (links && path.data) kd_page_link(page, name, path.data);
    else kd_page_cell(page, name, false, false);
    kd_page_cell(page, text_of(result, "task"), false, false);
    kd_page_cell(page, scores.data ? scores.data : "\u2013", false, false);
    page->failed |= scores.failed || path.failed;
    kd_text_free(&scores);
    kd_text_free(&path);
}

/* A line for each; retention is read already. */
static kd_status write_others(kd_text *page, const char *folder, json_t *retention, bool links) {
    static const char *const head[] = {"results", "task", "scores"};
    kd_text rows = {0};
    kd_paths names;
    kd_status status = KD_OK;
    KD_TRY(kd_list_folder(&names, folder));
    for (int64_t i = 0; i < names.count; i++) {
        const char *name = names.path[i];
        json_t *result = retention;
        if (name[0] == '.') continue;
        if (strcmp(name, RETENTION)) KD_GO(load(&result, page, folder, name));
        else json_incref(result);
        if (!result) continue;
        write_line(&rows, name, result, links);
        json_decref(result);
    }
    status = kd_text_status(&rows);
    if (status || !rows.size) goto done;
    kd_page_section(page, "Evaluations");
    kd_page_table(page);
    for (int k = 0; k < 3; k++) kd_page_cell(page, head[k], true, false);
    kd_text_add(page, rows.data, rows.size);
    kd_page_table_close(page);
done:
    kd_text_free(&rows);
    kd_paths_free(&names);
    return status;
}

kd_status kd_report_results(kd_text *page, const char *folder, bool links) {
    json_t *retention;
    KD_TRY(load(&retention, page, folder, RETENTION));
    kd_status status = retention ? write_retention(page, retention) : KD_OK;
    if (!status) status = write_others(page, folder, retention, links);
    json_decref(retention);
    return status;
}

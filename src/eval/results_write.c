/* What an evaluation leaves behind: JSON, CSV, a page. */
#include "results_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/page.h"

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- JSON --------------------------------------------------------------------------------------------------------------- */

static kd_status tables_json(json_t **out, const kd_outcome *o) {
    *out = json_object();
    kd_status status = *out ? KD_OK : no_memory();
    for (int64_t i = 0; i < o->tables && !status; i++) {
        json_t *rows = NULL;
        status = kd_table_json(&rows, o->table[i]);
        if (!status && json_object_set_new(*out, o->table[i]->name, rows)) status = no_memory();
    }
    return status;
}

kd_status kd_results_json(json_t **out, const kd_results *r, const kd_outcome *o) {
    json_t *tables = NULL;
    kd_status status;
    *out = NULL;
    KD_GO(tables_json(&tables, o));
    json_int_t answered = (json_int_t)json_object_size(r->answers) - r->found;
    *out = json_pack("{s:s, s:s, s:O, s:O, s:O, s:{s:f, s:I, s:I}}", "kedge", KD_VERSION, "task", o->task, "settings", r->settings,
                     "scores", o->scores, "tables", tables, "time", "seconds", o->seconds, "answered", answered, "found",
                     (json_int_t)r->found);
    if (!*out) status = no_memory();
done:
    json_decref(tables);
    return status;
}

kd_status kd_results_load(json_t **out, const char *path) {
    char *file = kd_is_folder(path) ? kd_path_join(path, KD_RESULT_FILE) : strdup(path);
    kd_status status;
    *out = NULL;
    if (!file) KD_GO(no_memory());
    KD_GO(kd_json_load(out, file));
    if (json_is_string(json_object_get(*out, "task")) && json_is_object(json_object_get(*out, "scores")) &&
        json_is_object(json_object_get(*out, "settings")) && json_is_object(json_object_get(*out, "tables")))
        goto done;
    json_decref(*out);
    *out = NULL;
    status = kd_fail(KD_EFORMAT, "%s: no results of an evaluation: task, settings, scores and tables are needed", file);
done:
    free(file);
    return status;
}

kd_status kd_results_text(kd_text *text, const kd_results *r, const kd_outcome *o) {
    for (int64_t i = 0; i < o->tables; i++) {
        kd_text_print(text, "%s%s\n", i ? "\n" : "", o->table[i]->title);
        kd_table_print(text, o->table[i]);
    }
    if (r->folder) kd_text_print(text, "\n%s\n", r->folder);
    return kd_text_status(text);
}

/* ---- the page ----------------------------------------------------------------------------------------------------------- */

enum { TILES = 12 };

/* A score, and below it the standard error where NAME_stderr is one of the scores too. */
static void write_tile(kd_text *page, const kd_outcome *o, const char *name, double value) {
    char number[32], key[128], error[32], note[48];
    if (value == floor(value) && fabs(value) < 1e6) snprintf(number, sizeof number, "%.0f", value);  /* counts and lengths are exact */
    else kd_show_number(number, value);
    snprintf(key, sizeof key, "%.100s_stderr", name);
    const json_t *spread = json_object_get(o->scores, key);
    kd_show_number(error, json_is_number(spread) ? json_number_value(spread) : NAN);
    snprintf(note, sizeof note, "\u00b1 %s", error);
    snprintf(key, sizeof key, "%.100s", name);
    for (char *c = key; *c; c++)
        if (*c == '_') *c = ' ';
    kd_page_tile(page, number, key, json_is_number(spread) ? note : NULL);
}

/* The first scores; tables have all. */
static void write_tiles(kd_text *page, const kd_outcome *o) {
    const char *name;
    json_t *value;
    int64_t count = 0;
    kd_page_tiles(page);
    json_object_foreach((json_t *)o->scores, name, value) {
        size_t size = strlen(name);
        if (!json_is_number(value) || count == TILES || (size > 7 && !strcmp(name + size - 7, "_stderr"))) continue;
        write_tile(page, o, name, json_number_value(value));
        count++;
    }
    kd_page_tiles_close(page);
}

static void write_example(kd_text *page, const kd_example *e) {
    const struct { const char *name, *words; } part[] = {{"asked", e->asked}, {"answered", e->answered}, {"wanted", e->wanted},
                                                         {"scored", e->scored}};
    for (int i = 0; i < 4; i++) {
        if (!part[i].words) continue;
        kd_page_row(page);
        kd_page_cell(page, part[i].name, true, false);
        kd_page_cell(page, part[i].words, false, false);
    }
}

static void write_examples(kd_text *page, const kd_outcome *o) {
    if (!o->examples) return;
    kd_page_section(page, "Some answers");
    kd_page_table(page);
    for (int64_t i = 0; i < o->examples; i++) write_example(page, &o->example[i]);
    kd_page_table_close(page);
}

static kd_status write_setting(void *opaque, const char *key, const json_t *value) {
    kd_text *page = opaque, words = {0};
    if (!strcmp(key, "task")) return KD_OK;  /* it leads the table */
    kd_status status = kd_leaf_text(&words, value);
    if (!status) kd_page_fact(page, false, key, words.data ? words.data : "");
    kd_text_free(&words);
    return status;
}

static kd_status write_settings(kd_text *page, const kd_results *r, const kd_outcome *o) {
    char time[32], all[128];
    kd_page_section(page, "Settings");
    kd_page_table(page);
    kd_page_fact(page, true, "task", o->task);
    KD_TRY(kd_each_leaf(r->settings, write_setting, page));
    kd_show_time(time, o->seconds);
    long long answers = (long long)json_object_size(r->answers), found = (long long)r->found;
    if (answers) snprintf(all, sizeof all, "%s for %lld answers; %lld were there", time, answers - found, found);
    else snprintf(all, sizeof all, "%s", time);  /* a mean over other results */
    kd_page_fact(page, false, "time", all);
    kd_page_table_close(page);
    return KD_OK;
}

static kd_status write_page(kd_text *page, const kd_results *r, const kd_outcome *o) {
    kd_page_open(page, o->title, o->about);
    write_tiles(page, o);
    if (o->charts) {
        kd_page_section(page, "Charts");
        kd_page_charts(page);
        for (int64_t i = 0; i < o->charts; i++) KD_TRY(kd_page_chart(page, &o->chart[i]));
        kd_page_charts_close(page);
    }
    for (int64_t i = 0; i < o->tables; i++) kd_table_page(page, o->table[i]);
    write_examples(page, o);
    KD_TRY(write_settings(page, r, o));
    kd_page_close(page, json_object_size(r->answers) ? "from answers.jsonl, which has every answer."
                                                     : "from results in folders below this one.");
    return kd_text_status(page);
}

/* ---- all of it ---------------------------------------------------------------------------------------------------------- */

static kd_status write_tables(const kd_results *r, const kd_outcome *o) {
    for (int64_t i = 0; i < o->tables; i++) {
        kd_text csv = {0};
        char name[128];
        snprintf(name, sizeof name, "%.100s.csv", i ? o->table[i]->name : "result");
        kd_table_csv(&csv, o->table[i]);
        kd_status status = kd_text_status(&csv);
        if (!status) status = kd_folder_replace(r->folder, name, csv.data, csv.size);
        kd_text_free(&csv);
        KD_TRY(status);
    }
    return KD_OK;
}

static kd_status write_charts(const kd_results *r, const kd_outcome *o) {
    for (int64_t i = 0; i < o->charts; i++) {
        kd_text svg = {0};
        char name[64];
        snprintf(name, sizeof name, i ? "chart-%lld.svg" : "chart.svg", (long long)i + 1);
        kd_status status = kd_chart_draw(&svg, &o->chart[i], true);
        if (!status) status = kd_folder_replace(r->folder, name, svg.data, svg.size);
        kd_text_free(&svg);
        KD_TRY(status);
    }
    return KD_OK;
}

/* result.json comes last: where it is, everything is. */
kd_status kd_results_finish(kd_results *r, const kd_outcome *o) {
    json_t *json = NULL;
    char *text = NULL;
    kd_text page = {0};
    kd_status status = KD_OK;
    if (!r->folder) return KD_OK;
    if (fsync(r->fd)) KD_GO(kd_fail_errno(KD_EIO, "%s: cannot be written", r->path));
    KD_GO(write_tables(r, o));
    KD_GO(write_charts(r, o));
    KD_GO(write_page(&page, r, o));
    KD_GO(kd_folder_replace(r->folder, "report.html", page.data, page.size));
    KD_GO(kd_results_json(&json, r, o));
    KD_GO(kd_json_print(&text, json, JSON_INDENT(2), KD_RESULT_FILE));
    status = kd_folder_replace(r->folder, KD_RESULT_FILE, text, (int64_t)strlen(text));
done:
    kd_text_free(&page);
    free(text);
    json_decref(json);
    return status;
}

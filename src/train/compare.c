#include "compare.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/page.h"
#include "run_schema.h"

kd_status kd_comparison_open(kd_comparison *c, const char *const *folder, int64_t folders) {
    *c = (kd_comparison){0};
    kd_status status;
    KD_GO(kd_new(&c->run, folders, sizeof *c->run));
    for (; c->runs < folders; c->runs++) KD_GO(kd_history_open(&c->run[c->runs], folder[c->runs]));
done:
    if (status) kd_comparison_close(c);
    return status;
}

void kd_comparison_close(kd_comparison *c) {
    for (int64_t i = 0; i < c->runs; i++) kd_history_close(&c->run[i]);
    free(c->run);
    *c = (kd_comparison){0};
}

/* ---- the figures of a run ---------------------------------------------------------------------------------- */

typedef void show_value(char out[32], double value);
static void show_loss(char out[32], double value) { kd_show_fixed(out, value, 3); }
static void show_count(char out[32], double value) { kd_show_fixed(out, value, 0); }

/* One column of the table, on the terminal, in JSON and on the page. */
static const struct { const char *key, *name; show_value *show; size_t at; } figure[] = {
    {"steps", "steps", show_count, offsetof(kd_summary, steps)},
    {"tokens", "tokens", kd_show_number, offsetof(kd_summary, tokens)},
    {"loss", "loss", show_loss, offsetof(kd_summary, loss)},
    {"valid_before", "before", show_loss, offsetof(kd_summary, valid_before)},
    {"valid_after", "after", show_loss, offsetof(kd_summary, valid_after)},
    {"tokens_per_second", "tokens/s", kd_show_number, offsetof(kd_summary, tokens_per_second)},
    {"share_of_peak", "of peak", kd_show_percent, offsetof(kd_summary, share_of_peak)},
    {"pairs", "pairs", kd_show_number, offsetof(kd_summary, pairs)},
    {"memory", "memory", kd_show_bytes, offsetof(kd_summary, memory)},
    {"seconds", "seconds", kd_show_number, offsetof(kd_summary, seconds)},
};
enum { FIGURES = sizeof figure / sizeof *figure };

static double value_of(const kd_summary *s, int i) { return *(const double *)((const char *)s + figure[i].at); }

/* Buckets that any run's last validation has, ascending. */
static int64_t all_buckets(double from[KD_HISTORY_BUCKETS], const kd_comparison *c) {
    int64_t count = 0;
    for (double least = -1;;) {
        double next = INFINITY;
        for (int64_t r = 0; r < c->runs; r++) {
            const kd_history *h = &c->run[r];
            for (int64_t b = 0; h->valids && b < h->valid[h->valids - 1].buckets; b++) {
                double at = h->valid[h->valids - 1].from[b];
                if (at > least && at < next) next = at;
            }
        }
        if (!isfinite(next) || count == KD_HISTORY_BUCKETS) return count;
        from[count++] = least = next;
    }
}

static double loss_from(const kd_history *h, double from) {
    const kd_validation *last = h->valids ? &h->valid[h->valids - 1] : NULL;
    for (int64_t b = 0; last && b < last->buckets; b++)
        if (last->from[b] == from) return last->by_position[b];
    return NAN;
}

/* ---- the terminal ------------------------------------------------------------------------------------------ */

/* Columns of a text: the signs of UTF-8, not its bytes. */
static int columns(const char *text) {
    int count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static void put_right(kd_text *text, const char *words, int width) {
    kd_text_print(text, "%*s%s", width > columns(words) ? width - columns(words) : 0, "", words);
}

static int name_width(const kd_comparison *c) {
    int width = 4;
    for (int64_t r = 0; r < c->runs; r++) width = columns(c->run[r].name) > width ? columns(c->run[r].name) : width;
    return width;
}

kd_status kd_comparison_table(kd_text *text, const kd_comparison *c) {
    int wide = name_width(c);
    char out[32], mask[32];
    double from[KD_HISTORY_BUCKETS];
    kd_text_print(text, "%-*s  %-9s", wide, "run", "mask");
    for (int i = 0; i < FIGURES; i++) put_right(text, figure[i].name, 10);
    kd_text_put(text, "\n");
    for (int64_t r = 0; r < c->runs; r++) {
        kd_summary s = kd_history_summary(&c->run[r]);
        kd_text_print(text, "%s%*s  %-9s", c->run[r].name, wide - columns(c->run[r].name), "",
                      kd_history_key(mask, sizeof mask, &c->run[r], "mask"));
        for (int i = 0; i < FIGURES; i++) {
            figure[i].show(out, value_of(&s, i));
            put_right(text, out, 10);
        }
        kd_text_put(text, "\n");
    }
    kd_text_put(text, "\nloss: training, mean of the last twentieth of the steps; before, after: validation; nats a token. "
                      "pairs: of a step\n");
    int64_t buckets = all_buckets(from, c);
    if (!buckets) return kd_text_status(text);
    kd_text_print(text, "\nvalidation loss by how many tokens of its own text precede a token\n%8s", "from");
    for (int64_t r = 0; r < c->runs; r++) put_right(text, c->run[r].name, wide < 8 ? 10 : wide + 2);
    kd_text_put(text, "\n");
    for (int64_t b = 0; b < buckets; b++) {
        kd_number_format(out, from[b], true);
        put_right(text, out, 8);
        for (int64_t r = 0; r < c->runs; r++) {
            show_loss(out, loss_from(&c->run[r], from[b]));
            put_right(text, out, wide < 8 ? 10 : wide + 2);
        }
        kd_text_put(text, "\n");
    }
    return kd_text_status(text);
}

/* ---- JSON -------------------------------------------------------------------------------------------------- */

static json_t *number_or_null(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *json_of(const kd_history *h) {
    char mask[32];
    kd_summary s = kd_history_summary(h);
    json_t *run = json_pack("{s:s, s:s, s:s}", "name", h->name, "folder", h->folder, "mask",
                            kd_history_key(mask, sizeof mask, h, "mask"));
    json_t *positions = json_array();
    for (int i = 0; i < FIGURES; i++) json_object_set_new(run, figure[i].key, number_or_null(value_of(&s, i)));
    for (int64_t b = 0; h->valids && b < h->valid[h->valids - 1].buckets; b++)
        json_array_append_new(positions, json_pack("{s:f, s:o}", "from", h->valid[h->valids - 1].from[b], "loss",
                                                   number_or_null(h->valid[h->valids - 1].by_position[b])));
    json_object_set_new(run, "by_position", positions);
    return run;
}

kd_status kd_comparison_json(json_t **out, const kd_comparison *c) {
    json_t *runs = json_array();
    for (int64_t r = 0; r < c->runs; r++) json_array_append_new(runs, json_of(&c->run[r]));
    *out = json_pack("{s:o}", "runs", runs);
    return *out && json_array_size(runs) == (size_t)c->runs ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

/* ---- the page ---------------------------------------------------------------------------------------------- */

static void write_table(kd_text *page, const kd_comparison *c) {
    char out[32], mask[32];
    kd_page_table(page);
    kd_page_cell(page, "run", true, false);
    kd_page_cell(page, "mask", true, false);
    for (int i = 0; i < FIGURES; i++) kd_page_cell(page, figure[i].name, true, true);
    for (int64_t r = 0; r < c->runs; r++) {
        kd_summary s = kd_history_summary(&c->run[r]);
        kd_page_row(page);
        kd_page_cell(page, c->run[r].name, false, false);
        kd_page_cell(page, kd_history_key(mask, sizeof mask, &c->run[r], "mask"), false, false);
        for (int i = 0; i < FIGURES; i++) {
            figure[i].show(out, value_of(&s, i));
            kd_page_cell(page, out, false, true);
        }
    }
    kd_page_table_close(page);
    kd_text_put(page, "<p class=\"note\">loss: training, mean of the last twentieth of the steps. before, after: validation. "
                      "pairs: query/key pairs of a step, for one head.</p>\n");
}

/* A column of every run over another one. */
static kd_status chart_columns(kd_text *page, const kd_comparison *c, kd_series *series, const char *title,
                               const kd_axis *x, const kd_axis *y, kd_column over, kd_column column) {
    int64_t count = 0;
    for (int64_t r = 0; r < c->runs; r++) {
        const kd_history *h = &c->run[r];
        if (!h->steps) continue;
        series[count++] = (kd_series){h->name, h->column[over], h->column[column], h->steps, KD_SERIES_TREND, (int)r};
    }
    const kd_chart chart = {title, *x, *y, series, count};
    return kd_page_chart(page, &chart);
}

/* points [runs, KD_HISTORY_BUCKETS]: where the buckets stand. */
static kd_status chart_positions(kd_text *page, const kd_comparison *c, kd_series *series, double *points) {
    int64_t count = 0;
    for (int64_t r = 0; r < c->runs; r++) {
        const kd_history *h = &c->run[r];
        const kd_validation *last = h->valids ? &h->valid[h->valids - 1] : NULL;
        double *x = points + r * KD_HISTORY_BUCKETS;
        if (!last) continue;
        for (int64_t b = 0; b < last->buckets; b++) x[b] = kd_bucket_middle(last->from[b]);
        series[count++] = (kd_series){h->name, x, last->by_position, last->buckets, KD_SERIES_POINTS, (int)r};
    }
    const kd_chart chart = {"Validation loss by position, at the end",
                            {.label = "tokens of its own text before a token", .scale = KD_LOG2_SCALE},
                            {.label = "nats per token"}, series, count};
    return kd_page_chart(page, &chart);
}

static kd_status write_charts(kd_text *page, const kd_comparison *c) {
    static const kd_axis steps = {.label = "step", .whole = true}, tokens = {.label = "tokens seen"},
                         time = {.label = "seconds of training"}, loss = {.label = "nats per token"},
                         norm = {.label = "before clipping", .scale = KD_LOG_SCALE},
                         speed = {.label = "tokens per second", .max = 1e-9};  /* from 0 */
    kd_series *series = NULL;
    double *points = NULL;
    kd_status status;
    KD_GO(kd_new(&series, c->runs, sizeof *series));
    KD_GO(kd_new(&points, c->runs * KD_HISTORY_BUCKETS, sizeof *points));
    kd_page_charts(page);
    KD_GO(chart_columns(page, c, series, "Training loss over steps", &steps, &loss, KD_H_STEP, KD_H_LOSS));
    KD_GO(chart_columns(page, c, series, "Training loss over tokens", &tokens, &loss, KD_H_TOKENS, KD_H_LOSS));
    KD_GO(chart_columns(page, c, series, "Training loss over time", &time, &loss, KD_H_ELAPSED, KD_H_LOSS));
    KD_GO(chart_positions(page, c, series, points));
    KD_GO(chart_columns(page, c, series, "Speed", &steps, &speed, KD_H_STEP, KD_H_RATE));
    KD_GO(chart_columns(page, c, series, "Gradient norm", &steps, &norm, KD_H_STEP, KD_H_GRAD_NORM));
    kd_page_charts_close(page);
done:
    free(points);
    free(series);
    return status;
}

/* Keys of the run files that are not the same everywhere; where results went says nothing. */
static void write_keys(kd_text *page, const kd_comparison *c) {
    char value[256], first[256];
    kd_page_section(page, "Keys that differ");
    kd_page_table(page);
    kd_page_cell(page, "key", true, false);
    for (int64_t r = 0; r < c->runs; r++) kd_page_cell(page, c->run[r].name, true, false);
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const char *key = kd_run_schema[i].key;
        bool differs = false;
        kd_history_key(first, sizeof first, &c->run[0], key);
        for (int64_t r = 1; r < c->runs; r++)
            differs |= strcmp(first, kd_history_key(value, sizeof value, &c->run[r], key)) != 0;
        if (!differs || !strcmp(key, "output")) continue;
        kd_page_row(page);
        kd_page_cell(page, key, true, false);
        for (int64_t r = 0; r < c->runs; r++)
            kd_page_cell(page, kd_history_key(value, sizeof value, &c->run[r], key), false, false);
    }
    kd_page_table_close(page);
}

kd_status kd_comparison_page(kd_text *page, const kd_comparison *c) {
    char title[64];
    kd_text about = {0};
    snprintf(title, sizeof title, "%lld run%s side by side", (long long)c->runs, c->runs == 1 ? "" : "s");
    for (int64_t r = 0; r < c->runs; r++) kd_text_print(&about, "%s%s", r ? ", " : "", c->run[r].name);
    kd_page_open(page, title, about.data ? about.data : "");
    kd_text_free(&about);
    write_table(page, c);
    kd_page_section(page, "Training");
    KD_TRY(write_charts(page, c));
    if (c->runs > 1) write_keys(page, c);
    kd_page_close(page, "from metrics.jsonl. Losses are means over targets, in nats per token.");
    return kd_text_status(page);
}

#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/page.h"
#include "history.h"
#include "report_results.h"

enum { MOST_EVENTS = 200 };
#define LARGE 0x1p32 /* bytes: from here on memory is shown in GiB */

/* ---- the head ---------------------------------------------------------------------------------------------- */

/* "AnchorAttention, running positions, window 16384; llama, 1.26M parameters, 8192 tokens a step". */
static void describe(char *out, size_t size, const kd_history *h) {
    static const struct { const char *mask, *words; } known[] = {
        {"full", "Full attention"}, {"document", "Attention inside documents"}, {"anchor", "AnchorAttention"}};
    char value[64], number[32];
    const char *mask = kd_history_key(value, sizeof value, h, "mask"), *type = kd_history_text(h, "model_type");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(mask, known[i].mask)) mask = known[i].words;
    size_t used = (size_t)snprintf(out, size, "%s", mask);
#define ADD(...) (used += used < size ? (size_t)snprintf(out + used, size - used, __VA_ARGS__) : 0)
    if (*mask) ADD(", %s positions", kd_history_key(value, sizeof value, h, "positions"));
    if (!strcmp(kd_history_key(value, sizeof value, h, "interleave"), "true")) ADD(", interleaved");
    if (!strcmp(kd_history_key(value, sizeof value, h, "tag"), "true")) ADD(", tagged");
    if (*kd_history_key(value, sizeof value, h, "window")) ADD(", window %s tokens", value);
    if (type) ADD("; %s", type);
    double parameters = kd_history_number(h, NULL, "parameters"), tokens = kd_history_number(h, NULL, "tokens_per_step");
    kd_show_number(number, parameters);
    if (isfinite(parameters)) ADD(", %s parameters", number);
    kd_show_number(number, tokens);
    if (isfinite(tokens)) ADD(", %s tokens a step", number);
#undef ADD
}

static void write_tiles(kd_text *page, const kd_history *h) {
    kd_summary s = kd_history_summary(h);
    char value[96], note[96], number[32], other[32];
    kd_page_tiles(page);
    snprintf(value, sizeof value, "%.0f", s.steps);
    bool planned = *kd_history_key(other, sizeof other, h, "steps");
    snprintf(note, sizeof note, "of %s", other);
    kd_page_tile(page, value, "Steps", planned ? note : NULL);
    kd_show_number(number, s.tokens);
    kd_page_tile(page, number, "Tokens seen", NULL);
    kd_show_fixed(number, s.loss, 3);
    snprintf(note, sizeof note, "nats per token, mean of the last %lld step%s", (long long)(h->steps + 19) / 20,
             h->steps > 20 ? "s" : "");
    kd_page_tile(page, number, "Training loss", note);
    kd_show_fixed(number, isfinite(s.valid_after) ? s.valid_after : s.valid_before, 3);
    kd_show_fixed(other, s.valid_before, 3);
    snprintf(note, sizeof note, "nats per token, %s before training", other);
    bool both = isfinite(s.valid_after) && isfinite(s.valid_before);
    kd_page_tile(page, number, "Validation loss", both ? note : "nats per token");
    kd_show_number(number, s.tokens_per_second);
    kd_page_tile(page, number, "Tokens per second", NULL);
    kd_show_percent(number, s.share_of_peak);
    kd_show_unit(other, s.peak, "FLOP/s");
    snprintf(note, sizeof note, "useful operations; peak %s", other);
    kd_page_tile(page, number, "Share of peak", isfinite(s.share_of_peak) ? note : NULL);
    kd_show_bytes(number, s.memory);
    kd_page_tile(page, number, "Memory", isfinite(s.memory) ? "resident, the most" : NULL);
    kd_show_time(number, s.seconds);
    kd_page_tile(page, number, "Time", "training steps alone");
    kd_page_tiles_close(page);
}

/* ---- charts ------------------------------------------------------------------------------------------------ */

static kd_status chart_column(kd_text *page, const kd_history *h, const char *title, const char *unit, kd_column column,
                              double factor, kd_scale scale, bool from_zero, int colour) {
    double *value;
    bool any = false;
    KD_TRY(kd_new(&value, h->steps, sizeof *value));
    for (int64_t i = 0; i < h->steps; i++) {
        value[i] = h->column[column][i] * factor;
        any |= isfinite(value[i]);
    }
    kd_series_style style = column == KD_H_LR || column == KD_H_MEMORY ? KD_SERIES_LINE : KD_SERIES_TREND;
    kd_series series = {NULL, h->column[KD_H_STEP], value, h->steps, style, colour};
    double most = from_zero ? 1e-9 : 0;
    kd_chart chart = {title, {.label = "step", .whole = true}, {.label = unit, .scale = scale, .max = most}, &series, 1};
    kd_status status = any ? kd_page_chart(page, &chart) : KD_OK;
    free(value);
    return status;
}

static kd_status chart_loss(kd_text *page, const kd_history *h) {
    double *x;
    KD_TRY(kd_new(&x, 2 * h->valids, sizeof *x));
    for (int64_t i = 0; i < h->valids; i++) {
        x[i] = h->valid[i].step;
        x[h->valids + i] = h->valid[i].loss;
    }
    const kd_series series[] = {{"training", h->column[KD_H_STEP], h->column[KD_H_LOSS], h->steps, KD_SERIES_TREND, 0},
                                {"validation", x, x + h->valids, h->valids, KD_SERIES_POINTS, 1}};
    const kd_chart chart = {"Loss", {.label = "step", .whole = true}, {.label = "nats per token"}, series, 2};
    kd_status status = kd_page_chart(page, &chart);
    free(x);
    return status;
}

/* The first, the middle and the last validation. */
static kd_status chart_positions(kd_text *page, const kd_history *h) {
    double x[3][KD_HISTORY_BUCKETS];
    char name[3][32];
    kd_series series[3];
    int64_t count = 0, before = -1;
    for (int64_t k = 0; k < 3; k++) {
        int64_t i = k == 0 ? 0 : k == 1 ? h->valids / 2 : h->valids - 1;
        if (i <= before || i >= h->valids || !h->valid[i].buckets) continue;
        before = i;
        for (int64_t b = 0; b < h->valid[i].buckets; b++) x[count][b] = kd_bucket_middle(h->valid[i].from[b]);
        snprintf(name[count], sizeof name[count], "step %.0f", h->valid[i].step);
        series[count] = (kd_series){name[count], x[count], h->valid[i].by_position, h->valid[i].buckets, KD_SERIES_POINTS,
                                    k == 0 ? 5 : k == 1 ? 2 : 0};
        count++;
    }
    const kd_chart chart = {"Validation loss by position",
                            {.label = "tokens of its own text before a token", .scale = KD_LOG2_SCALE},
                            {.label = "nats per token"}, series, count};
    return count ? kd_page_chart(page, &chart) : KD_OK;
}

static kd_status chart_memory(kd_text *page, const kd_history *h) {
    static const char *const part[] = {"weights", "gradients", "moments", "activations", "scratch"};
    bool large = kd_history_summary(h).memory >= LARGE;
    double value[5], unit = large ? 0x1p-30 : 0x1p-20;
    for (int i = 0; i < 5; i++) value[i] = kd_history_number(h, "memory", part[i]) * unit;
    KD_TRY(chart_column(page, h, "Memory", large ? "resident, GiB" : "resident, MiB", KD_H_MEMORY, unit, KD_LINEAR_SCALE,
                        true, 5));
    const kd_bars bars = {"Memory by use", large ? "GiB, as placed at the start" : "MiB, as placed at the start", part, value, .count = 5};
    return isfinite(value[0]) ? kd_page_bars(page, &bars) : KD_OK;
}

static kd_status write_charts(kd_text *page, const kd_history *h) {
    kd_page_charts(page);
    KD_TRY(chart_loss(page, h));
    KD_TRY(chart_positions(page, h));
    KD_TRY(chart_column(page, h, "Gradient norm", "before clipping", KD_H_GRAD_NORM, 1, KD_LOG_SCALE, false, 3));
    KD_TRY(chart_column(page, h, "Learning rate", "", KD_H_LR, 1, KD_LINEAR_SCALE, true, 4));
    KD_TRY(chart_column(page, h, "Speed", "tokens per second", KD_H_RATE, 1, KD_LINEAR_SCALE, true, 2));
    KD_TRY(chart_column(page, h, "Share of peak", "% of the machine's measured FLOP/s", KD_H_SHARE, 100, KD_LINEAR_SCALE,
                        true, 2));
    KD_TRY(chart_memory(page, h));
    kd_page_charts_close(page);
    return KD_OK;
}

/* ---- the rest ---------------------------------------------------------------------------------------------- */

/* As an image: nothing in it can run, whatever the file holds. */
static kd_status write_window(kd_text *page, const kd_history *h) {
    char *path = kd_path_join(h->folder, "window.svg"), *data = NULL;
    int64_t size;
    kd_status status = path ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    if (!status && kd_exists(path)) status = kd_file_read(&data, &size, path, 16 << 20);
    if (!status && data) {
        kd_text_put(page, "<div>\n");
        kd_page_section(page, "The run's first window");
        kd_text_put(page, "<p class=\"note\">A query sees the keys that are coloured in its row. Below: the position that RoPE "
                          "turns each token by.</p>\n<figure><img alt=\"who sees whom in the first window, and every token's "
                          "position\" src=\"data:image/svg+xml;base64,");
        kd_text_base64(page, data, size);
        kd_text_put(page, "\"></figure>\n</div>\n");
    }
    free(data);
    free(path);
    return status;
}

static void write_event(kd_text *page, double step, double time, const char *what) {
    char text[32];
    kd_page_row(page);
    kd_show_fixed(text, step, 0);
    kd_page_cell(page, text, false, true);
    kd_show_date(text, time);
    kd_page_cell(page, text, false, false);
    kd_page_cell(page, what, false, false);
}

/* Steps that were not taken, from the first-th on and up to step `last`; returns the next one. */
static int64_t write_skipped(kd_text *page, int64_t *shown, const kd_history *h, int64_t first, double last) {
    int64_t i = first;
    for (; i < h->steps && h->column[KD_H_STEP][i] <= last; i++) {
        if (isfinite(h->column[KD_H_LOSS][i]) || (*shown)++ >= MOST_EVENTS) continue;
        write_event(page, h->column[KD_H_STEP][i], h->column[KD_H_TIME][i], "not taken: loss or gradient was not finite");
    }
    return i;
}

static void write_events(kd_text *page, const kd_history *h) {
    char what[256];
    int64_t shown = 0, next = 0;
    kd_page_section(page, "Events");
    kd_page_table(page);
    kd_page_cell(page, "step", true, true);
    kd_page_cell(page, "time", true, false);
    kd_page_cell(page, "what", true, false);
    for (int64_t i = 0; i < h->starts && i < MOST_EVENTS; i++) {
        const json_t *row = h->start[i].row, *time = json_object_get(row, "time");
        const char *event = json_string_value(json_object_get(row, "event"));
        const char *version = json_string_value(json_object_get(row, "kedge"));
        size_t used = (size_t)snprintf(what, sizeof what, "%s%s%.32s", !strcmp(event, "start") ? "started" : "went on",
                                       version ? ", kedge " : "", version ? version : "");
        if (h->start[i].lost)
            snprintf(what + used, sizeof what - used, "; %lld steps were lost and done again", (long long)h->start[i].lost);
        next = write_skipped(page, &shown, h, next, json_number_value(json_object_get(row, "step")));
        write_event(page, json_number_value(json_object_get(row, "step")),
                    json_is_number(time) ? json_number_value(time) : NAN, what);
    }
    write_skipped(page, &shown, h, next, INFINITY);
    kd_page_table_close(page);
    if (!h->left_out) return;
    kd_text_print(page, "<p class=\"note\">%lld lines of metrics.jsonl could not be read and are left out.</p>\n",
                  (long long)h->left_out);
}

static void write_machine(kd_text *page, const kd_history *h) {
    char text[32], all[96];
    kd_page_section(page, "Machine and build");
    kd_page_table(page);
    kd_page_fact(page, true, "kedge", kd_history_text(h, "kedge"));
    kd_page_fact(page, false, "device", kd_history_text(h, "device"));
    kd_page_fact(page, false, "processor", kd_history_text(h, "cpu"));
    kd_show_fixed(text, kd_history_number(h, NULL, "threads"), 0);
    snprintf(all, sizeof all, "%s, %.32s", text, kd_history_text(h, "isa") ? kd_history_text(h, "isa") : "\u2013");
    kd_page_fact(page, false, "threads, instructions", all);
    kd_show_unit(text, kd_history_summary(h).peak, "FLOP/s");
    snprintf(all, sizeof all, "%s, float32, the best that was measured", text);
    kd_page_fact(page, false, "peak", all);
    kd_page_table_close(page);
}

static void write_run_file(kd_text *page, const kd_history *h) {
    if (!h->run_text) return;
    kd_text_put(page, "<details><summary>The run file, every key</summary>\n<pre>");
    kd_text_escape(page, h->run_text);
    kd_text_put(page, "</pre></details>\n");
}

static kd_status write_page(kd_text *page, const kd_history *h, bool links) {
    char about[256];
    describe(about, sizeof about, h);
    kd_page_open(page, h->name, about);
    write_tiles(page, h);
    kd_page_section(page, "Training");
    KD_TRY(write_charts(page, h));
    KD_TRY(kd_report_results(page, h->folder, links));
    kd_page_charts(page);
    KD_TRY(write_window(page, h));
    kd_text_put(page, "<div>\n");
    write_events(page, h);
    write_machine(page, h);
    kd_text_put(page, "</div>\n");
    kd_page_charts_close(page);
    write_run_file(page, h);
    kd_page_close(page, "from metrics.jsonl. Losses are means over targets, in nats per token.");
    return kd_text_status(page);
}

kd_status kd_report_write(const char *folder, const char *path) {
    kd_history history = {0};
    kd_text page = {0};
    char *own = path ? NULL : kd_path_join(folder, "report.html");
    kd_status status;
    if (!path && !own) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_history_open(&history, folder));
    KD_GO(write_page(&page, &history, !path));
    KD_GO(kd_file_replace(path ? path : own, page.data, page.size));
done:
    kd_text_free(&page);
    kd_history_close(&history);
    free(own);
    return status;
}

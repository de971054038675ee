#include "history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "run_schema.h"

#define LIMIT ((int64_t)1 << 32) /* bytes of metrics.jsonl: ten million steps */

static const char *const column_key[] = {
#define X(column, key) key,
    KD_HISTORY_COLUMNS(X)
#undef X
};

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void add_step(kd_history *h, const json_t *row) {
    double step = number_of(row, "step");
    if (!isfinite(step)) {
        h->left_out++;
        return;
    }
    while (h->steps && h->column[KD_H_STEP][h->steps - 1] >= step) h->steps--;
    for (int c = 0; c < KD_H_COLUMNS; c++) h->column[c][h->steps] = column_key[c] ? number_of(row, column_key[c]) : NAN;
    h->steps++;
}

static void add_validation(kd_history *h, const json_t *row) {
    kd_validation v = {.step = number_of(row, "step"), .loss = number_of(row, "loss"), .targets = number_of(row, "targets")};
    const json_t *by_position = json_object_get(row, "by_position");
    if (!isfinite(v.step)) {
        h->left_out++;
        return;
    }
    for (size_t i = 0; i < json_array_size(by_position) && v.buckets < KD_HISTORY_BUCKETS; i++, v.buckets++) {
        v.from[v.buckets] = number_of(json_array_get(by_position, i), "from");
        v.by_position[v.buckets] = number_of(json_array_get(by_position, i), "loss");
    }
    while (h->valids && h->valid[h->valids - 1].step >= v.step) h->valids--;
    h->valid[h->valids++] = v;
}

/* What stands behind the step that a run goes on from was lost. */
static void add_start(kd_history *h, json_t *row) {
    double step = number_of(row, "step"), before = (double)h->steps;
    bool anew = !strcmp(json_string_value(json_object_get(row, "event")), "start");
    while (h->steps && (anew || h->column[KD_H_STEP][h->steps - 1] > step)) h->steps--;
    while (h->valids && (anew || h->valid[h->valids - 1].step > step)) h->valids--;
    h->start[h->starts++] = (kd_start){json_incref(row), (int64_t)before - h->steps};
}

/* A line that is not JSON was cut by a kill: it is left out and counted. */
static kd_status add_line(kd_history *h, const char *line, int64_t size) {
    json_t *row = NULL;
    kd_status status = size ? kd_json_parse(&row, line, size, "metrics.jsonl") : KD_OK;
    if (status == KD_ENOMEM) return status;
    const char *event = json_string_value(json_object_get(row, "event"));
    if (!row) h->left_out += size > 0;
    else if (event && !strcmp(event, "valid")) add_validation(h, row);
    else if (event && (!strcmp(event, "start") || !strcmp(event, "resume"))) add_start(h, row);
    else if (!event && json_object_get(row, "seconds")) add_step(h, row);
    json_decref(row);
    return KD_OK;
}

/* The best that was measured: a burst beside a neighbour's work says too little. */
static double best_peak(const kd_history *h) {
    double best = NAN;  /* of a number and NAN fmax takes the number */
    for (int64_t i = 0; i < h->starts; i++) best = fmax(best, number_of(h->start[i].row, "peak_flops"));
    for (int64_t i = 0; i < h->steps; i++) best = fmax(best, h->column[KD_H_PEAK][i]);
    return best;
}

static void derive(kd_history *h) {
    double peak = best_peak(h);
    for (int64_t i = 0; i < h->steps; i++) {
        double share = h->column[KD_H_FLOPS][i] / h->column[KD_H_SECONDS][i] / peak;
        if (isfinite(share)) h->column[KD_H_SHARE][i] = share;
    }
    double tokens = 0, elapsed = 0;
    for (int64_t i = 0, v = 0; i <= h->steps; i++) {
        for (; v < h->valids && (i == h->steps || h->valid[v].step < h->column[KD_H_STEP][i]); v++) {
            h->valid[v].tokens = tokens;
            h->valid[v].elapsed = elapsed;
        }
        if (i == h->steps) break;
        double seconds = h->column[KD_H_SECONDS][i];
        if (isfinite(seconds)) elapsed += seconds;
        if (isfinite(seconds * h->column[KD_H_RATE][i])) tokens += round(seconds * h->column[KD_H_RATE][i]);
        h->column[KD_H_TOKENS][i] = tokens;
        h->column[KD_H_ELAPSED][i] = elapsed;
    }
}

static kd_status read_metrics(kd_history *h, const char *path) {
    char *data = NULL;
    int64_t size, lines = 1;
    kd_status status;
    KD_GO(kd_file_read(&data, &size, path, LIMIT));
    for (int64_t i = 0; i < size; i++) lines += data[i] == '\n';
    for (int c = 0; c < KD_H_COLUMNS; c++) KD_GO(kd_new(&h->column[c], lines, sizeof **h->column));
    KD_GO(kd_new(&h->valid, lines, sizeof *h->valid));
    KD_GO(kd_new(&h->start, lines, sizeof *h->start));
    for (const char *line = data, *end; line < data + size; line = end + 1) {
        end = memchr(line, '\n', (size_t)(data + size - line));
        if (!end) end = data + size;
        KD_GO(add_line(h, line, end - line));
    }
    derive(h);
done:
    free(data);
    return status;
}

/* "runs/anchor" is called "anchor". */
static char *last_part(const char *folder) {
    size_t size = strlen(folder);
    while (size > 1 && folder[size - 1] == '/') size--;
    size_t from = size;
    while (from > 0 && folder[from - 1] != '/') from--;
    return strndup(folder + from, size - from);
}

kd_status kd_history_open(kd_history *h, const char *folder) {
    *h = (kd_history){.folder = strdup(folder), .name = last_part(folder)};
    char *metrics = kd_path_join(folder, "metrics.jsonl"), *run = kd_path_join(folder, "run.yaml");
    int64_t size;
    kd_status status;
    if (!h->folder || !h->name || !metrics || !run) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    if (!kd_exists(metrics)) KD_GO(kd_fail(KD_EIO, "%s: no run's folder: it has no metrics.jsonl", folder));
    KD_GO(read_metrics(h, metrics));
    if (kd_exists(run)) {
        KD_GO(kd_file_read(&h->run_text, &size, run, 1 << 20));
        KD_GO(kd_yaml_parse(&h->run, h->run_text, size, run));
    }
done:
    free(run);
    free(metrics);
    if (status) kd_history_close(h);
    return status;
}

void kd_history_close(kd_history *h) {
    for (int c = 0; c < KD_H_COLUMNS; c++) free(h->column[c]);
    for (int64_t i = 0; i < h->starts; i++) json_decref(h->start[i].row);
    free(h->valid);
    free(h->start);
    free(h->folder);
    free(h->name);
    free(h->run_text);
    kd_yaml_free(h->run);
    *h = (kd_history){0};
}

double kd_bucket_middle(double from) { return from > 0 ? 1.5 * from : 128; }

static void append(char *out, int64_t size, const char *text) {
    size_t used = strlen(out);
    snprintf(out + used, (size_t)size - used, "%s", text);
}

const char *kd_history_key(char *out, int64_t size, const kd_history *h, const char *key) {
    int line;
    const kd_yaml *node = h->run ? kd_run_node(h->run, key, &line) : NULL;
    *out = 0;
    if (node && node->kind == KD_YAML_SCALAR) append(out, size, node->text);
    if (!node || node->kind != KD_YAML_LIST) return out;
    for (int64_t i = 0; i < node->count; i++) {
        append(out, size, i ? ", " : "[");
        append(out, size, node->child[i]->kind == KD_YAML_SCALAR ? node->child[i]->text : "...");
    }
    append(out, size, "]");
    return out;
}

double kd_history_number(const kd_history *h, const char *within, const char *key) {
    double value = NAN;
    for (int64_t i = h->starts; i-- > 0 && !isfinite(value);)
        value = number_of(within ? json_object_get(h->start[i].row, within) : h->start[i].row, key);
    return value;
}

const char *kd_history_text(const kd_history *h, const char *key) {
    const char *value = NULL;
    for (int64_t i = h->starts; i-- > 0 && !value;) value = json_string_value(json_object_get(h->start[i].row, key));
    return value;
}

/* The mean of the finite values of a column's last steps. */
static double mean_of(const kd_history *h, kd_column column, int64_t last) {
    double sum = 0, count = 0;
    for (int64_t i = h->steps - last; i < h->steps; i++) {
        if (!isfinite(h->column[column][i])) continue;
        sum += h->column[column][i];
        count++;
    }
    return count > 0 ? sum / count : NAN;
}

kd_summary kd_history_summary(const kd_history *h) {
    kd_summary s = {.loss = mean_of(h, KD_H_LOSS, (h->steps + 19) / 20), .pairs = mean_of(h, KD_H_PAIRS, h->steps),
                    .peak = best_peak(h), .valid_before = NAN, .valid_after = NAN, .tokens_per_second = NAN, .share_of_peak = NAN, .memory = NAN};
    double shared = 0, weighed = 0;
    if (h->valids && (h->valids > 1 || h->valid[0].step == 0)) s.valid_before = h->valid[0].loss;
    if (h->valids > 1 || (h->valids && h->valid[0].step > 0)) s.valid_after = h->valid[h->valids - 1].loss;
    for (int64_t i = 0; i < h->steps; i++) {
        s.not_taken += !isfinite(h->column[KD_H_LOSS][i]);
        s.memory = fmax(s.memory, h->column[KD_H_MEMORY][i]);
        if (!isfinite(h->column[KD_H_SHARE][i])) continue;
        shared += h->column[KD_H_SHARE][i] * h->column[KD_H_SECONDS][i];
        weighed += h->column[KD_H_SECONDS][i];
    }
    if (!h->steps) return s;
    s.steps = h->column[KD_H_STEP][h->steps - 1];
    s.tokens = h->column[KD_H_TOKENS][h->steps - 1];
    s.seconds = h->column[KD_H_ELAPSED][h->steps - 1];
    if (s.seconds > 0) s.tokens_per_second = s.tokens / s.seconds;
    if (weighed > 0) s.share_of_peak = shared / weighed;
    return s;
}

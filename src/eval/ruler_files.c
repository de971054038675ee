#include "ruler_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "averages.h"
#include "scores.h"

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- where they lie ------------------------------------------------------------------------------------------------------------ */

static kd_status try_path(char **path, const char *format, const char *folder, int64_t length, const char *task) {
    kd_text text = {0};
    if (*path) return KD_OK;
    kd_text_print(&text, "%s/", folder);
    for (const char *at = format; *at; at++) {  /* L and T stand for length and task */
        if (*at == 'L') kd_text_print(&text, "%lld", (long long)length);
        else if (*at == 'T') kd_text_put(&text, task);
        else kd_text_add(&text, at, 1);
    }
    KD_TRY(kd_text_status(&text));
    if (kd_exists(text.data)) *path = text.data;
    else kd_text_free(&text);
    return KD_OK;
}

kd_status kd_ruler_file_find(char **path, const char *folder, int64_t length, const char *task, bool only) {
    static const char *const place[] = {"L/data/T/validation.jsonl", "L/T/validation.jsonl", "L/T.jsonl", "data/T/validation.jsonl",
                                        "T/validation.jsonl", "T.jsonl"};
    *path = NULL;
    for (int i = 0; i < (only ? 6 : 3); i++) KD_TRY(try_path(path, place[i], folder, length, task));
    return KD_OK;
}

static int by_length(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

kd_status kd_ruler_file_lengths(int64_t *length, int64_t *count, int64_t most, const char *folder) {
    kd_paths names;
    kd_status status = KD_OK;
    *count = 0;
    KD_TRY(kd_list_folder(&names, folder));
    for (int64_t i = 0; i < names.count && !status; i++) {
        size_t digits = strspn(names.path[i], "0123456789");
        if (!digits || names.path[i][digits] || digits > 12) continue;
        if (*count == most) status = kd_fail(KD_EFORMAT, "%s: more than %lld lengths", folder, (long long)most);
        else length[(*count)++] = atoll(names.path[i]);
    }
    kd_paths_free(&names);
    qsort(length, (size_t)*count, sizeof *length, by_length);
    return status;
}

/* ---- samples --------------------------------------------------------------------------------------------------------------------- */

static kd_status read_sample(kd_ruler_sample *s, const json_t *row, const char *place) {
    const char *input, *prefix = "";
    const json_t *outputs;
    s->length = s->position = -1;
    KD_TRY(kd_json_text(&input, row, "input", place));
    KD_TRY(kd_json_texts(&outputs, row, "outputs", 0, place));
    if (json_object_get(row, "answer_prefix")) KD_TRY(kd_json_text(&prefix, row, "answer_prefix", place));
    KD_TRY(kd_json_maybe_int(&s->length, NULL, row, "length", place));
    s->input = strdup(input);
    s->prefix = strdup(prefix);
    bool whole = s->input && s->prefix;
    KD_TRY(kd_new(&s->output, (int64_t)json_array_size(outputs), sizeof *s->output));
    s->outputs = (int64_t)json_array_size(outputs);
    for (int64_t i = 0; i < s->outputs; i++) {
        s->output[i] = strdup(json_string_value(json_array_get(outputs, (size_t)i)));
        whole &= s->output[i] != NULL;
    }
    return whole ? KD_OK : no_memory();
}

kd_status kd_ruler_sample_next(kd_ruler_sample *sample, bool *more, kd_json_lines *lines) {
    json_t *row;
    *sample = (kd_ruler_sample){0};
    KD_TRY(kd_json_lines_next(&row, lines));
    *more = row != NULL;
    if (!row) return KD_OK;
    kd_status status = read_sample(sample, row, lines->place);
    json_decref(row);
    if (status) kd_ruler_sample_close(sample);
    return status;
}

kd_status kd_ruler_file_count(int64_t *count, uint64_t *hash, const char *path) {
    kd_json_lines lines;
    kd_ruler_sample sample;
    bool more;
    *count = 0;
    KD_TRY(kd_json_lines_open(&lines, path));
    *hash = lines.hash;
    kd_status status = kd_ruler_sample_next(&sample, &more, &lines);
    for (; !status && more; status = kd_ruler_sample_next(&sample, &more, &lines)) {
        kd_ruler_sample_close(&sample);
        ++*count;
    }
    kd_json_lines_close(&lines);
    if (!status && !*count) status = kd_fail(KD_EFORMAT, "%s: no samples", path);
    return status;
}

static json_t *texts_json(char *const *text, int64_t count) {
    json_t *out = json_array();
    for (int64_t i = 0; i < count && out; i++)
        if (json_array_append_new(out, json_string(text[i]))) {
            json_decref(out);
            out = NULL;
        }
    return out;
}

kd_status kd_ruler_sample_json(json_t **out, const kd_ruler_sample *s) {
    *out = json_pack("{s:I, s:s, s:o, s:I, s:I, s:s}", "index", (json_int_t)s->line, "input", s->input, "outputs",
                     texts_json(s->output, s->outputs), "length", (json_int_t)s->length, "length_w_model_temp", (json_int_t)s->length,
                     "answer_prefix", s->prefix);
    if (*out && s->position >= 0 && json_object_set_new(*out, "token_position_answer", json_integer(s->position))) {
        json_decref(*out);
        *out = NULL;
    }
    return *out ? KD_OK : no_memory();
}

kd_status kd_ruler_prediction_json(json_t **out, const kd_ruler_sample *s, const char *pred) {
    kd_text prompt = {0};
    kd_text_put(&prompt, s->input);
    kd_text_put(&prompt, s->prefix);
    KD_TRY(kd_text_status(&prompt));
    *out = json_pack("{s:I, s:s, s:s, s:o, s:{}, s:i, s:I}", "index", (json_int_t)s->line, "pred", pred, "input", prompt.data, "outputs",
                     texts_json(s->output, s->outputs), "others", "truncation", -1, "length", (json_int_t)s->length);
    kd_text_free(&prompt);
    return *out ? KD_OK : no_memory();
}

/* ---- files of lines -------------------------------------------------------------------------------------------------------------- */

kd_status kd_ruler_writer_open(kd_ruler_writer_file *f, const char *path) {
    char *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    kd_text aside = {0};
    kd_status status = KD_OK;
    *f = (kd_ruler_writer_file){.writer.fd = -1, .path = strdup(path)};
    kd_text_print(&aside, "%s.tmp", path);
    f->aside = aside.data;
    if (!folder || !f->path || aside.failed) status = no_memory();
    if (!status && slash) {
        *slash = 0;
        status = kd_make_folders(folder);
    }
    if (!status) status = kd_writer_open(&f->writer, f->aside);
    free(folder);
    if (status) kd_ruler_writer_close(f, false);
    return status;
}

kd_status kd_ruler_writer_put(kd_ruler_writer_file *f, json_t *line) {
    char *text = NULL;
    kd_status status = kd_json_print(&text, line, JSON_ENSURE_ASCII, f->path);
    json_decref(line);
    if (!status) status = kd_writer_put(&f->writer, text, (int64_t)strlen(text));
    if (!status) status = kd_writer_put(&f->writer, "\n", 1);
    free(text);
    return status;
}

kd_status kd_ruler_writer_close(kd_ruler_writer_file *f, bool keep) {
    kd_status status = KD_OK;
    if (f->writer.path) {
        if (keep) status = kd_writer_sync(&f->writer);
        kd_status closed = kd_writer_close(&f->writer);
        if (keep && !status) status = closed;
        if (keep && !status && rename(f->aside, f->path)) status = kd_fail_errno(KD_EIO, "%s: cannot be renamed", f->aside);
        if (!keep || status) unlink(f->aside);
    }
    free(f->path);
    free(f->aside);
    *f = (kd_ruler_writer_file){.writer.fd = -1};
    return status;
}

/* ---- scores ---------------------------------------------------------------------------------------------------------------------- */

kd_status kd_ruler_score(double *score, bool *null, const kd_ruler_task *task, const char *pred, const json_t *outputs) {
    const char **reference = NULL;
    char *answer = NULL;
    int64_t count = (int64_t)json_array_size(outputs);
    kd_status status;
    KD_GO(kd_new(&reference, count, sizeof *reference));
    for (int64_t i = 0; i < count; i++) reference[i] = json_string_value(json_array_get(outputs, (size_t)i));
    KD_GO(kd_ruler_answer(&answer, pred));
    *null = !*answer;
    status = kd_score_ruler(score, answer, reference, count, task->any);
done:
    free(answer);
    free(reference);
    return status;
}

/* "100.0", "97.25": two decimals, the last zero left out. */
static void put_score(kd_text *out, double score) {
    long long hundredths = llround(kd_round_to(score, 2) * 100);
    kd_text_print(out, "%lld.%lld", hundredths / 100, hundredths / 10 % 10);
    if (hundredths % 10) kd_text_print(out, "%lld", hundredths % 10);
}

kd_status kd_ruler_summary_write(const char *folder, const kd_ruler_line *line, int64_t count) {
    kd_text text = {0};
    char name[80] = "summary.csv";
    if (count == 1) snprintf(name, sizeof name, "summary-%s.csv", line->task);
    for (int64_t i = 0; i <= count; i++) kd_text_print(&text, "%s%lld", i ? "," : "", (long long)i);
    kd_text_put(&text, "\nTasks");
    for (int64_t i = 0; i < count; i++) kd_text_print(&text, ",%s", line[i].task);
    kd_text_put(&text, "\nScore");
    for (int64_t i = 0; i < count; i++) {
        kd_text_put(&text, ",");
        put_score(&text, line[i].score);
    }
    kd_text_put(&text, "\nNulls");
    for (int64_t i = 0; i < count; i++) kd_text_print(&text, ",%lld/%lld", (long long)line[i].nulls, (long long)line[i].samples);
    kd_text_put(&text, "\n");
    kd_status status = kd_text_status(&text);
    if (!status) status = kd_folder_replace(folder, name, text.data, text.size);
    kd_text_free(&text);
    return status;
}

#include "ruler_grid.h"

#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "base/log.h"

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- what is asked ----------------------------------------------------------------------------------------------------------- */

static kd_status open_grid(kd_ruler_grid *g, const int64_t *length, int64_t lengths, const int64_t *place, int64_t tasks) {
    *g = (kd_ruler_grid){.lengths = lengths, .tasks = tasks, .open = -1};
    if (lengths < 1 || lengths > KD_RULER_LENGTHS || tasks < 1 || tasks > KD_RULER_TASKS)
        return kd_fail(KD_EARG, "%lld lengths, %lld tasks", (long long)lengths, (long long)tasks);
    memcpy(g->length, length, (size_t)lengths * sizeof *length);
    memcpy(g->place, place, (size_t)tasks * sizeof *place);
    KD_TRY(kd_new(&g->cell, lengths * tasks, sizeof *g->cell));
    for (int64_t i = 0; i < lengths * tasks; i++) {
        const kd_ruler_task *task = &kd_ruler_tasks[place[i % tasks]];
        g->cell[i] = (kd_ruler_cell){.task = task, .length = length[i / tasks], .generate = task->generate};
    }
    return KD_OK;
}

static void count_questions(kd_ruler_grid *g) {
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) {
        g->cell[i].first = g->questions;
        g->questions += g->cell[i].samples;
    }
}

static kd_status make_cells(kd_ruler_grid *g, const kd_ruler_source *source, int64_t samples) {
    g->source = source;
    KD_TRY(kd_ruler_draft_new(&g->draft, source));
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) {
        kd_ruler_cell *c = &g->cell[i];
        KD_TRY(kd_ruler_maker_open(&c->maker, source, c->task, c->length, g->draft));
        if (c->maker.samples < samples)
            return kd_fail(KD_ECONFIG, "%s: %lld samples are wanted, there are %lld questions", c->task->name, (long long)samples,
                           (long long)c->maker.samples);
        c->samples = samples;
        c->generate = c->maker.generate;
    }
    return KD_OK;
}

kd_status kd_ruler_grid_make(kd_ruler_grid *grid, const kd_ruler_source *source, const int64_t *length, int64_t lengths,
                             const int64_t *place, int64_t tasks, int64_t samples) {
    kd_status status = open_grid(grid, length, lengths, place, tasks);
    if (!status) status = make_cells(grid, source, samples);
    if (status) kd_ruler_grid_close(grid);
    else count_questions(grid);
    return status;
}

/* Tasks that no length has. */
static kd_status leave_out(int64_t *place, int64_t *tasks, const char *folder, const int64_t *length, int64_t lengths) {
    char names[256] = "";
    int64_t n = 0;
    for (int64_t t = 0; t < *tasks; t++) {
        const char *name = kd_ruler_tasks[place[t]].name;
        char *path = NULL;
        for (int64_t l = 0; l < lengths && !path; l++) KD_TRY(kd_ruler_file_find(&path, folder, length[l], name, lengths == 1));
        if (path) place[n++] = place[t];
        else snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "", name);
        free(path);
    }
    *tasks = n;
    if (!n) return kd_fail(KD_ECONFIG, "%s has no samples: no LENGTH/data/TASK/validation.jsonl", folder);
    if (*names) kd_warn("%s has no samples of %s: left out", folder, names);
    return KD_OK;
}

static kd_status find_cells(kd_ruler_grid *g, const char *folder, int64_t samples) {
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) {
        kd_ruler_cell *c = &g->cell[i];
        KD_TRY(kd_ruler_file_find(&c->path, folder, c->length, c->task->name, g->lengths == 1));
        if (!c->path)
            return kd_fail(KD_ECONFIG, "%s has no samples of %s at %lld tokens: no %lld/data/%s/validation.jsonl", folder, c->task->name,
                           (long long)c->length, (long long)c->length, c->task->name);
        KD_TRY(kd_ruler_file_count(&c->samples, &c->hash, c->path));
        if (samples && c->samples > samples) c->samples = samples;
    }
    return KD_OK;
}

kd_status kd_ruler_grid_read(kd_ruler_grid *grid, const char *folder, const int64_t *length, int64_t lengths, const int64_t *place,
                             int64_t tasks, int64_t samples, bool some) {
    int64_t here[KD_RULER_TASKS];
    kd_status status = KD_OK;
    *grid = (kd_ruler_grid){.open = -1};
    memcpy(here, place, (size_t)tasks * sizeof *here);
    if (some) KD_TRY(leave_out(here, &tasks, folder, length, lengths));
    status = open_grid(grid, length, lengths, here, tasks);
    if (!status) status = find_cells(grid, folder, samples);
    if (status) kd_ruler_grid_close(grid);
    else count_questions(grid);
    return status;
}

void kd_ruler_grid_close(kd_ruler_grid *g) {
    for (int64_t i = 0; g->cell && i < g->lengths * g->tasks; i++) free(g->cell[i].path);
    free(g->cell);
    kd_ruler_draft_free(g->draft);
    kd_json_lines_close(&g->lines);
    *g = (kd_ruler_grid){.open = -1};
}

static kd_status read_line(kd_ruler_sample *sample, kd_ruler_grid *g, int64_t cell, int64_t line) {
    bool more = true;
    if (g->open != cell || g->next > line) {
        kd_json_lines_close(&g->lines);
        g->open = -1;
        KD_TRY(kd_json_lines_open(&g->lines, g->cell[cell].path));
        g->open = cell;
        g->next = 0;
    }
    for (;; g->next++) {
        KD_TRY(kd_ruler_sample_next(sample, &more, &g->lines));
        if (!more) return kd_fail(KD_EFORMAT, "%s: it had more samples before", g->cell[cell].path);
        if (g->next == line) break;
        kd_ruler_sample_close(sample);
    }
    sample->line = g->next++;
    return KD_OK;
}

kd_status kd_ruler_grid_sample(kd_ruler_sample *sample, kd_ruler_grid *g, int64_t cell, int64_t line, bool positions) {
    kd_ruler_cell *c = &g->cell[cell];
    if (c->path) return read_line(sample, g, cell, line);
    return kd_ruler_make(sample, &c->maker, g->draft, line, positions && c->task->kind == KD_RULER_NIAH);
}

/* ---- asking -------------------------------------------------------------------------------------------------------------------- */

typedef struct asking {
    kd_ruler_grid *grid;
    kd_results *results;
    kd_subject *subject;
    json_t **outputs;          /* [questions] of those under way */
    int64_t cell;              /* of the last question */
    char name[96];
} asking;

static int64_t cell_of(asking *a, int64_t index) {
    const kd_ruler_grid *g = a->grid;
    if (index < g->cell[a->cell].first) a->cell = 0;
    while (index >= g->cell[a->cell].first + g->cell[a->cell].samples) a->cell++;
    return a->cell;
}

static void key_of(char out[96], const kd_ruler_cell *c, int64_t line) {
    snprintf(out, 96, "%lld/%s/%lld", (long long)c->length, c->task->name, (long long)line);
}

static const char *name_of(void *opaque, int64_t index) {
    asking *a = opaque;
    const kd_ruler_cell *c = &a->grid->cell[cell_of(a, index)];
    key_of(a->name, c, index - c->first);
    return a->name;
}

static kd_status encode(kd_ids *ids, asking *a, const kd_ruler_sample *s, int64_t generate, const char *name) {
    kd_text prompt = {0};
    kd_status status;
    kd_text_put(&prompt, s->input);
    kd_text_put(&prompt, s->prefix);
    KD_GO(kd_text_status(&prompt));
    KD_GO(kd_subject_encode(ids, a->subject, prompt.data, prompt.size, true));
    int64_t need = ids->count + generate - 1;
    if (!ids->count) status = kd_fail(KD_EFORMAT, "%s: the prompt is empty", name);
    else if (need > a->subject->options.length)
        status = kd_fail(KD_ECONFIG, "%s: %lld tokens of prompt and %lld of answer: --length %lld is needed", name, (long long)ids->count,
                         (long long)generate, (long long)need);
done:
    kd_text_free(&prompt);
    return status;
}

static kd_status ask(kd_question *question, kd_ids *ids, void *opaque, int64_t index) {
    asking *a = opaque;
    kd_ruler_grid *g = a->grid;
    const char *name = name_of(a, index);
    int64_t cell = a->cell;
    kd_ruler_sample sample;
    if (kd_results_find(a->results, name)) return KD_OK;
    KD_TRY(kd_ruler_grid_sample(&sample, g, cell, index - g->cell[cell].first, false));
    kd_status status = encode(ids, a, &sample, g->cell[cell].generate, name);
    question->most = g->cell[cell].generate;
    json_t *outputs = a->outputs[index] = json_array();
    for (int64_t i = 0; i < sample.outputs && !status; i++)
        if (!outputs || json_array_append_new(outputs, json_string(sample.output[i]))) status = no_memory();
    kd_ruler_sample_close(&sample);
    return status;
}

static kd_status hear(void *opaque, int64_t index, const kd_question *question, const kd_answer *answer) {
    asking *a = opaque;
    json_t *row = json_pack("{s:o, s:o}", "pred", kd_json_of_text(answer->text ? answer->text : "", answer->text ? answer->text_size : 0),
                            "outputs", a->outputs[index]);
    (void)question;
    a->outputs[index] = NULL;
    return kd_results_add(a->results, name_of(a, index), row);
}

kd_status kd_ruler_grid_ask(kd_ruler_grid *grid, kd_results *results, kd_subject *subject) {
    asking a = {.grid = grid, .results = results, .subject = subject};
    const kd_asking g = {grid->questions, ask, hear, name_of, &a};
    KD_TRY(kd_new(&a.outputs, grid->questions, sizeof *a.outputs));
    kd_status status = kd_ask(subject->engine, &g, subject->options.sequences + 2);
    for (int64_t i = 0; i < grid->questions; i++) json_decref(a.outputs[i]);
    free(a.outputs);
    return status;
}

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */

static kd_status write_cell(kd_ruler_grid *g, int64_t cell, const char *path, const kd_results *results, kd_progress *progress) {
    const kd_ruler_cell *c = &g->cell[cell];
    kd_ruler_writer_file file;
    kd_status status = KD_OK;
    KD_TRY(kd_ruler_writer_open(&file, path));
    for (int64_t line = 0; line < c->samples && !status; line++) {
        kd_ruler_sample sample;
        json_t *row = NULL;
        char key[96];
        key_of(key, c, line);
        if (progress) kd_progress_set(progress, c->first + line, key);
        status = kd_ruler_grid_sample(&sample, g, cell, line, !results);
        if (status) break;
        const char *pred = results ? json_string_value(json_object_get(kd_results_find(results, key), "pred")) : NULL;
        if (results && !pred) status = kd_fail(KD_EFORMAT, "%s: its answer has no \"pred\"", key);
        else status = pred ? kd_ruler_prediction_json(&row, &sample, pred) : kd_ruler_sample_json(&row, &sample);
        if (!status) status = kd_ruler_writer_put(&file, row);
        kd_ruler_sample_close(&sample);
    }
    kd_status closed = kd_ruler_writer_close(&file, !status);
    return status ? status : closed;
}

static kd_status write_cells(kd_ruler_grid *g, const char *folder, const kd_results *results, kd_progress *progress) {
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) {
        const kd_ruler_cell *c = &g->cell[i];
        kd_text path = {0};
        kd_text_print(&path, results ? "%s/%lld/pred/%s.jsonl" : "%s/%lld/data/%s/validation.jsonl", folder, (long long)c->length,
                      c->task->name);
        kd_status status = kd_text_status(&path);
        if (!status) status = write_cell(g, i, path.data, results, progress);
        kd_text_free(&path);
        KD_TRY(status);
    }
    return KD_OK;
}

kd_status kd_ruler_grid_write(kd_ruler_grid *grid, const char *folder) {
    kd_progress progress;
    kd_progress_open(&progress, grid->questions);
    kd_status status = write_cells(grid, folder, NULL, &progress);
    kd_progress_close(&progress);
    return status;
}

kd_status kd_ruler_grid_predict(kd_ruler_grid *grid, const kd_results *results, const char *folder) {
    kd_ruler_scores scores;
    KD_TRY(write_cells(grid, folder, results, NULL));
    KD_TRY(kd_ruler_scores_open(&scores, grid, results));
    kd_status status = KD_OK;
    for (int64_t l = 0; l < grid->lengths && !status; l++) {
        kd_ruler_line line[KD_RULER_TASKS];
        kd_text path = {0};
        for (int64_t t = 0; t < grid->tasks; t++) {
            int64_t i = l * grid->tasks + t;
            line[t] = (kd_ruler_line){grid->cell[i].task->name, scores.cell[i].score, scores.cell[i].nulls, grid->cell[i].samples};
        }
        kd_text_print(&path, "%s/%lld/pred", folder, (long long)grid->length[l]);
        status = kd_text_status(&path);
        if (!status) status = kd_ruler_summary_write(path.data, line, grid->tasks);
        kd_text_free(&path);
    }
    kd_ruler_scores_close(&scores);
    return status;
}

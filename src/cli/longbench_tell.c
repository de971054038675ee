#include "longbench_tell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

void kd_longbench_told_free(kd_longbench_told *t) {
    for (int64_t i = 0; i < KD_LB_EXAMPLES; i++)
        for (int k = 0; k < 3; k++) free(t->text[i][k]);
    json_decref(t->written);
    *t = (kd_longbench_told){0};
}

/* The first answer of a set. */
static kd_status add_example(kd_longbench_told *t, const kd_longbench_task *task, const kd_prediction *p) {
    char **text = t->text[t->examples];
    const char *truth = json_string_value(json_array_get(p->answers, 0));
    text[0] = strdup(task->name);
    text[1] = strdup(p->pred);
    text[2] = strdup(truth ? truth : "");
    if (!text[0] || !text[1] || !text[2]) return no_memory();
    t->example[t->examples++] = (kd_example){text[0], text[1], text[2], NULL};
    return KD_OK;
}

kd_status kd_longbench_tell_set(kd_longbench_told *t, const kd_longbench_task *task, const kd_prediction *p, int64_t count) {
    int64_t i = task - kd_longbench_tasks;
    if (t->has[i]) return kd_fail(KD_ECONFIG, "%s: twice", task->name);
    KD_TRY(kd_longbench_score_of(&t->score[i], task, p, count));
    t->has[i] = true;
    return count && t->examples < KD_LB_EXAMPLES ? add_example(t, task, p) : KD_OK;
}

/* ---- predictions ------------------------------------------------------------------------------------------------------------ */

/* A model's name: the last part of its folder, two of a checkpoint's: "anchor-64k-step-2000". */
static void name_model(char *out, size_t size, const char *folder) {
    size_t end = strlen(folder), begin;
    while (end > 1 && folder[end - 1] == '/') end--;
    for (begin = end; begin > 0 && folder[begin - 1] != '/'; begin--) {}
    bool step = !strncmp(folder + begin, "step-", 5) && begin > 1;
    if (step)
        for (begin--; begin > 0 && folder[begin - 1] != '/'; begin--) {}
    snprintf(out, size, "%.*s", (int)(end - begin), folder + begin);
    for (char *at = out; *at; at++)
        if (*at == '/') *at = '-';
}

/* The scores so far, as eval.py writes them. */
static kd_status write_scores(kd_longbench_told *t, const char *folder, const kd_longbench_task *task) {
    const kd_longbench_score *s = &t->score[task - kd_longbench_tasks];
    json_t *own = t->e ? json_object() : json_real(s->score);
    char *text = NULL;
    for (int b = 0; t->e && b < KD_LB_BUCKETS; b++)
        json_object_set_new(own, kd_longbench_buckets[b], isnan(s->bucket[b]) ? json_null() : json_real(s->bucket[b]));
    if (!t->written) t->written = json_object();
    if (json_object_set_new(t->written, task->name, own)) return no_memory();
    kd_status status = kd_json_print(&text, t->written, JSON_INDENT(4), folder);
    if (!status) status = kd_folder_replace(folder, KD_RESULT_FILE, text, (int64_t)strlen(text));
    free(text);
    return status;
}

kd_status kd_longbench_write(kd_longbench_told *t, const char *out, const char *model, const kd_longbench_task *task,
                             const kd_prediction *p,
                             int64_t count) {
    char name[256], file[64];
    kd_text folder = {0}, lines = {0};
    kd_status status;
    name_model(name, sizeof name, model);
    snprintf(file, sizeof file, "%s.jsonl", task->name);
    kd_text_print(&folder, "%s/%s/%s", out, t->e ? "pred_e" : "pred", name);
    KD_GO(kd_text_status(&folder));
    for (int64_t i = 0; i < count; i++) KD_GO(kd_prediction_print(&lines, &p[i]));
    KD_GO(kd_make_folders(folder.data));
    KD_GO(kd_folder_replace(folder.data, file, lines.data, lines.size));
    status = write_scores(t, folder.data, task);
done:
    kd_text_free(&lines);
    kd_text_free(&folder);
    return status;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------------- */

static const kd_table_column group_columns[] = {{"group", -1}, {"score", 2}};
static const kd_table_column set_columns[] = {{"dataset", -1}, {"group", -1}, {"metric", -1}, {"score", 2}, {"answers", 0}};
static const kd_table_column e_columns[] = {{"dataset", -1}, {"group", -1}, {"metric", -1}, {"score", 2}, {"answers", 0}, {"0-4k", 2},
                                            {"4-8k", 2}, {"8k+", 2}};

static void fill_sets(kd_table *sets, const kd_longbench_told *t) {
    for (int i = 0; i < KD_LB_TASKS; i++) {
        const kd_longbench_task *task = &kd_longbench_tasks[i];
        if (!t->has[i]) continue;
        kd_table_words(sets, task->name);
        kd_table_words(sets, kd_longbench_groups[task->group].key);
        kd_table_words(sets, kd_longbench_metrics[task->metric]);
        kd_table_number(sets, t->score[i].score);
        kd_table_number(sets, (double)t->score[i].count);
        for (int b = 0; t->e && b < KD_LB_BUCKETS; b++) kd_table_number(sets, t->score[i].bucket[b]);
    }
}

static json_t *real(double x) { return isnan(x) ? json_null() : json_real(x); }

static kd_status flatten(json_t **out, kd_table *groups, const kd_longbench_told *t) {
    double score[KD_LB_TASKS], group[KD_LB_GROUPS], average;
    for (int i = 0; i < KD_LB_TASKS; i++) score[i] = t->has[i] ? t->score[i].score : NAN;
    kd_longbench_average(group, &average, score);
    *out = json_pack("{s:o}", "average", real(average));
    bool failed = !*out;
    for (int g = 0; g < KD_LB_GROUPS && !failed; g++) {
        failed = json_object_set_new(*out, kd_longbench_groups[g].key, real(group[g])) != 0;
        kd_table_words(groups, kd_longbench_groups[g].name);
        kd_table_number(groups, group[g]);
    }
    kd_table_words(groups, "average of the six");
    kd_table_number(groups, average);
    for (int i = 0; i < KD_LB_TASKS && !failed; i++)
        if (t->has[i]) failed = json_object_set_new(*out, kd_longbench_tasks[i].name, real(score[i])) != 0;
    return failed ? no_memory() : KD_OK;
}

kd_status kd_longbench_tell(const kd_longbench_told *t, kd_results *results, double seconds, bool json) {
    kd_table groups, sets;
    json_t *flat = NULL;
    const kd_table *tables[] = {&sets, &groups};
    kd_status status;
    kd_table_open(&groups, "groups", "Groups", group_columns, 2);
    kd_table_open(&sets, "datasets", t->e ? "LongBench-E" : "LongBench", t->e ? e_columns : set_columns, t->e ? 8 : 5);
    fill_sets(&sets, t);
    KD_GO(flatten(&flat, &groups, t));
    KD_GO(kd_table_status(&sets));
    KD_GO(kd_table_status(&groups));
    const kd_outcome outcome = {"longbench", t->e ? "LongBench-E" : "LongBench",
                                "Questions about long texts, answers generated greedily. A group is the mean of its English data sets, and "
                                "has no score where one is missing.", flat, tables, 2, NULL, 0, t->example, t->examples, seconds};
    status = kd_eval_tell(results, &outcome, json);
done:
    json_decref(flat);
    kd_table_close(&sets);
    kd_table_close(&groups);
    return status;
}

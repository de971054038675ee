/* LongBench's questions. */
#include "longbench.h"

#include <stdlib.h>
#include <string.h>

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- data ------------------------------------------------------------------------------------------------------------------- */

static kd_status check_classes(const json_t *record, const char *place) {
    const json_t *list, *value = json_object_get(record, "all_classes");
    return !value || json_is_null(value) ? KD_OK : kd_json_texts(&list, record, "all_classes", 0, place);
}

static kd_status check_record(kd_longbench_row *row, json_t *record, const char *place) {
    const json_t *answers;
    int64_t length;
    row->record = record;
    KD_TRY(kd_json_text(&row->input, record, "input", place));
    KD_TRY(kd_json_text(&row->context, record, "context", place));
    KD_TRY(kd_json_texts(&answers, record, "answers", 0, place));
    KD_TRY(kd_json_int(&length, record, "length", place));
    return check_classes(record, place);
}

kd_status kd_longbench_open(kd_longbench_set *set, const char *path, int64_t limit) {
    kd_json_lines lines;
    json_t *record = NULL;
    kd_status status = KD_OK;
    *set = (kd_longbench_set){0};
    KD_TRY(kd_json_lines_open(&lines, path));
    set->hash = lines.hash;
    while (!limit || set->count < limit) {
        KD_GO(kd_json_lines_next(&record, &lines));
        if (!record) break;
        KD_GO(kd_grow(&set->row, &set->room, set->count + 1, sizeof *set->row));
        kd_longbench_row *row = &set->row[set->count++];
        *row = (kd_longbench_row){0};
        json_t *own = record;
        record = NULL;  /* the row's from here on */
        KD_GO(check_record(row, own, lines.place));
    }
    if (!set->count) status = kd_fail(KD_EFORMAT, "%s: no questions in it", path);
done:
    json_decref(record);
    kd_json_lines_close(&lines);
    if (status) kd_longbench_close(set);
    return status;
}

void kd_longbench_close(kd_longbench_set *set) {
    for (int64_t i = 0; i < set->count; i++) json_decref(set->row[i].record);
    free(set->row);
    *set = (kd_longbench_set){0};
}

/* ---- prompts ---------------------------------------------------------------------------------------------------------------- */

static kd_status find_config(char **path, const char *folder) {
    static const char *const inner[] = {"", "config/", "LongBench/config/"};
    for (int i = 0; i < 3; i++) {
        kd_text text = {0};
        kd_text_print(&text, "%s/%sdataset2prompt.json", folder, inner[i]);
        if (kd_text_status(&text)) {
            kd_text_free(&text);
            return no_memory();
        }
        *path = text.data;
        if (kd_exists(*path)) return KD_OK;
        free(*path);
    }
    *path = NULL;
    return kd_fail(KD_ECONFIG, "%s: no dataset2prompt.json in it, in config or in LongBench/config", folder);
}

kd_status kd_longbench_prompts_open(kd_longbench_prompts *p, const char *folder) {
    char *path = NULL, *text = NULL;
    kd_status status;
    *p = (kd_longbench_prompts){0};
    if (!folder) {
        for (int64_t i = 0; i < KD_LB_TASKS; i++)
            p->hash = p->hash * 31 + kd_hash(kd_longbench_tasks[i].prompt, (int64_t)strlen(kd_longbench_tasks[i].prompt));
        return KD_OK;
    }
    KD_GO(find_config(&path, folder));
    KD_GO(kd_json_load(&p->prompt, path));
    strcpy(strrchr(path, '/') + 1, "dataset2maxlen.json");
    KD_GO(kd_json_load(&p->tokens, path));
    KD_GO(kd_json_print(&text, p->prompt, JSON_COMPACT | JSON_SORT_KEYS, folder));
    p->hash = kd_hash(text, (int64_t)strlen(text));
done:
    free(text);
    free(path);
    if (status) kd_longbench_prompts_close(p);
    return status;
}

void kd_longbench_prompts_close(kd_longbench_prompts *p) {
    json_decref(p->prompt);
    json_decref(p->tokens);
    *p = (kd_longbench_prompts){0};
}

kd_status kd_longbench_prompt_of(const char **prompt, int64_t *tokens, const kd_longbench_prompts *p, const kd_longbench_task *task) {
    *prompt = task->prompt;
    *tokens = task->tokens;
    if (!p->prompt) return KD_OK;
    *prompt = json_string_value(json_object_get(p->prompt, task->name));
    const json_t *number = json_object_get(p->tokens, task->name);
    *tokens = json_integer_value(number);
    if (!*prompt) return kd_fail(KD_ECONFIG, "dataset2prompt.json has no prompt of %s", task->name);
    if (!json_is_integer(number) || *tokens < 1)
        return kd_fail(KD_ECONFIG, "dataset2maxlen.json has no number of tokens of %s", task->name);
    return KD_OK;
}

kd_status kd_longbench_format(kd_text *text, const char *prompt, const char *context, const char *input) {
    for (const char *at = prompt; *at;) {
        size_t plain = strcspn(at, "{}");
        kd_text_add(text, at, (int64_t)plain);
        at += plain;
        if (!*at) break;
        bool context_here = !strncmp(at, "{context}", 9), input_here = !strncmp(at, "{input}", 7);
        if (at[0] == at[1]) {
            kd_text_add(text, at, 1);
            at += 2;
        } else if (context_here || input_here) {
            kd_text_put(text, context_here ? context : input);
            at += context_here ? 9 : 7;
        } else {
            return kd_fail(KD_EFORMAT, "a prompt has \"%.20s\": {context} and {input} are known, {{ and }} are braces", at);
        }
    }
    return kd_text_status(text);
}

void kd_longbench_cut(int64_t *left, int64_t *right, int64_t n, int64_t most) {
    int64_t half = most / 2;
    *left = n > most ? half : n;
    *right = n > most ? (half ? n - half : 0) : n;
}

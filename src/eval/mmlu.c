#include "mmlu.h"

#include <stdlib.h>
#include <string.h>

#include "format/csv.h"
#include "format/yaml.h"
#include "json_lines.h"

#define MOST ((int64_t)256 << 20)  /* bytes of a file */

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

static kd_status copy(char **out, const char *text) {
    *out = strdup(text);
    return *out ? KD_OK : no_memory();
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static kd_status add_row(kd_mmlu *set, int64_t subject, const char *const text[1 + KD_CHOICES], int64_t answer) {
    KD_TRY(kd_grow(&set->row, &set->room, set->count + 1, sizeof *set->row));
    kd_mmlu_row *row = &set->row[set->count++];
    *row = (kd_mmlu_row){.subject = subject, .answer = answer};
    for (int k = 0; k < 1 + KD_CHOICES; k++) KD_TRY(copy(&row->text[k], text[k]));
    return KD_OK;
}

static int64_t letter_of(const char *text) { return text[0] >= 'A' && text[0] < 'A' + KD_CHOICES && !text[1] ? text[0] - 'A' : -1; }

static kd_status read_csv(kd_mmlu *set, const char *path, int64_t subject) {
    kd_csv csv = {0};
    char *data;
    int64_t size, before = set->count;
    bool more;
    kd_status status = KD_OK;
    KD_TRY(kd_file_read(&data, &size, path, MOST));
    set->hash = set->hash * 31 + kd_hash(data, size);
    kd_csv_init(&csv, data, size, path);
    for (;;) {
        KD_GO(kd_csv_next(&csv, &more));
        if (!more) break;
        if (csv.fields != 2 + KD_CHOICES)
            KD_GO(kd_fail(KD_EFORMAT, "%s:%lld: %lld fields, a question, four choices and a letter are six", path, (long long)csv.first,
                          (long long)csv.fields));
        int64_t answer = letter_of(csv.field[1 + KD_CHOICES]);
        if (answer < 0)
            KD_GO(kd_fail(KD_EFORMAT, "%s:%lld: the answer is \"%.20s\", not A, B, C or D", path, (long long)csv.first,
                          csv.field[1 + KD_CHOICES]));
        KD_GO(add_row(set, subject, csv.field, answer));
    }
    if (set->count == before) status = kd_fail(KD_EFORMAT, "%s: no questions in it", path);
done:
    kd_csv_free(&csv);
    free(data);
    return status;
}

static bool is_wanted(int64_t subject, const int64_t *only, int64_t wanted) {
    for (int64_t i = 0; i < wanted; i++)
        if (only[i] == subject) return true;
    return wanted == 0;
}

/* DIR/SPLIT/SUBJECT_SPLIT.csv or DIR/SUBJECT_SPLIT.csv. */
static kd_status read_folder(kd_mmlu *set, const char *folder, const char *split, const int64_t *only, int64_t wanted) {
    kd_status status = KD_OK;
    char *inner = kd_path_join(folder, split);
    if (!inner) return no_memory();
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS && !status; i++) {
        char name[128];
        if (!is_wanted(i, only, wanted)) continue;
        snprintf(name, sizeof name, "%s_%.20s.csv", kd_mmlu_subjects[i].name, split);
        char *path = kd_path_join(kd_is_folder(inner) ? inner : folder, name);
        status = !path ? no_memory() : !kd_exists(path) ? kd_fail(KD_EIO, "%s: no such file; --subject names those that are there", path)
                                                        : read_csv(set, path, i);
        free(path);
    }
    free(inner);
    return status;
}

static kd_status read_answer(int64_t *answer, const json_t *row, const char *place) {
    const json_t *value = json_object_get(row, "answer");
    *answer = json_is_string(value) ? letter_of(json_string_value(value)) : json_is_integer(value) ? json_integer_value(value) : -1;
    return *answer >= 0 && *answer < KD_CHOICES ? KD_OK : kd_fail(KD_EFORMAT, "%s: \"answer\" is 0 to 3, or a letter A to D", place);
}

static kd_status read_line(kd_mmlu *set, const json_t *row, const char *place, const int64_t *only, int64_t wanted) {
    const char *text[1 + KD_CHOICES], *name, *known[KD_MMLU_SUBJECTS];
    const json_t *choices;
    int64_t answer;
    KD_TRY(kd_json_text(&text[0], row, "question", place));
    KD_TRY(kd_json_text(&name, row, "subject", place));
    KD_TRY(kd_json_texts(&choices, row, "choices", KD_CHOICES, place));
    KD_TRY(read_answer(&answer, row, place));
    int64_t subject = kd_mmlu_find(name);
    if (subject < 0) {
        for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) known[i] = kd_mmlu_subjects[i].name;
        const char *near = kd_nearest(name, known, KD_MMLU_SUBJECTS);
        return kd_fail(KD_EFORMAT, "%s: \"subject\" %.60s is none of the 57%s%s", place, name, near ? "; is it " : "", near ? near : "");
    }
    for (int k = 0; k < KD_CHOICES; k++) text[1 + k] = json_string_value(json_array_get(choices, (size_t)k));
    return is_wanted(subject, only, wanted) ? add_row(set, subject, text, answer) : KD_OK;
}

static kd_status read_lines(kd_mmlu *set, const char *path, const int64_t *only, int64_t wanted) {
    kd_json_lines lines;
    json_t *row = NULL;
    kd_status status;
    KD_TRY(kd_json_lines_open(&lines, path));
    set->hash = lines.hash;
    for (;;) {
        KD_GO(kd_json_lines_next(&row, &lines));
        if (!row) break;
        KD_GO(read_line(set, row, lines.place, only, wanted));
        json_decref(row);
        row = NULL;
    }
    if (!set->count) status = kd_fail(KD_EFORMAT, "%s: no questions in it%s", path, wanted ? " of the subjects that are named" : "");
done:
    json_decref(row);
    kd_json_lines_close(&lines);
    return status;
}

/* A stable sort by subject: where each begins. */
static kd_status sort(kd_mmlu *set) {
    kd_mmlu_row *sorted;
    int64_t next[KD_MMLU_SUBJECTS];
    KD_TRY(kd_new(&sorted, set->count, sizeof *sorted));
    for (int64_t i = 0; i < set->count; i++) set->first[set->row[i].subject + 1]++;
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) {
        set->first[i + 1] += set->first[i];
        next[i] = set->first[i];
    }
    for (int64_t i = 0; i < set->count; i++) sorted[next[set->row[i].subject]++] = set->row[i];
    free(set->row);
    set->row = sorted;
    set->room = set->count;
    return KD_OK;
}

kd_status kd_mmlu_open(kd_mmlu *set, const char *path, const char *split, const int64_t *only, int64_t wanted) {
    *set = (kd_mmlu){0};
    kd_status status = kd_is_folder(path) ? read_folder(set, path, split, only, wanted) : read_lines(set, path, only, wanted);
    if (!status) status = sort(set);
    if (status) kd_mmlu_close(set);
    return status;
}

void kd_mmlu_close(kd_mmlu *set) {
    for (int64_t i = 0; i < set->count; i++)
        for (int k = 0; k < 1 + KD_CHOICES; k++) free(set->row[i].text[k]);
    free(set->row);
    *set = (kd_mmlu){0};
}

/* ---- descriptions ------------------------------------------------------------------------------------------------------- */

static kd_status own_words(char **out, int64_t subject) {
    char text[192], *at;
    snprintf(text, sizeof text, "Questions about %s, each with four choices and its answer.\n\n", kd_mmlu_subjects[subject].name);
    for (at = text; *at; at++)
        if (*at == '_') *at = ' ';
    return copy(out, text);
}

static kd_status load_yaml(kd_yaml **out, const char *path) {
    char *text;
    int64_t size;
    KD_TRY(kd_file_read(&text, &size, path, 1 << 20));
    kd_status status = kd_yaml_parse(out, text, size, path);
    free(text);
    return status;
}

static kd_status take(char **out, const kd_yaml *map, const char *key, const char *path) {
    const kd_yaml *node = map->kind == KD_YAML_MAP ? kd_yaml_get(map, key) : NULL;
    if (!node) return kd_fail(KD_EFORMAT, "%s: no key %s", path, key);
    return node->kind == KD_YAML_SCALAR ? copy(out, node->text) : kd_fail(KD_EFORMAT, "%s:%d: %s is not a text", path, node->line, key);
}

static kd_status from_folder(char **out, const char *folder, int64_t subject) {
    char name[96];
    kd_yaml *yaml = NULL;
    snprintf(name, sizeof name, "mmlu_%s.yaml", kd_mmlu_subjects[subject].name);
    char *path = kd_path_join(folder, name);
    kd_status status = path ? load_yaml(&yaml, path) : no_memory();
    if (!status) status = take(out, yaml, "description", path);
    kd_yaml_free(yaml);
    free(path);
    return status;
}

kd_status kd_mmlu_descriptions_open(kd_mmlu_descriptions *d, const char *path, const kd_mmlu *set) {
    kd_yaml *yaml = NULL;
    kd_status status = KD_OK;
    bool folder = path && kd_is_folder(path);
    *d = (kd_mmlu_descriptions){0};
    if (path && !folder) KD_GO(load_yaml(&yaml, path));
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) {
        if (set->first[i] == set->first[i + 1]) continue;
        if (!path) KD_GO(own_words(&d->text[i], i));
        else if (folder) KD_GO(from_folder(&d->text[i], path, i));
        else KD_GO(take(&d->text[i], yaml, kd_mmlu_subjects[i].name, path));
        d->hash = d->hash * 31 + kd_hash(d->text[i], (int64_t)strlen(d->text[i]));
    }
done:
    kd_yaml_free(yaml);
    if (status) kd_mmlu_descriptions_close(d);
    return status;
}

void kd_mmlu_descriptions_close(kd_mmlu_descriptions *d) {
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) free(d->text[i]);
    *d = (kd_mmlu_descriptions){0};
}

/* ---- questions ---------------------------------------------------------------------------------------------------------- */

static void put_block(kd_text *text, const kd_mmlu_row *row, bool solved) {
    kd_mmlu_item item = {.question = row->text[0], .answer = row->answer};
    for (int k = 0; k < KD_CHOICES; k++) item.choice[k] = row->text[1 + k];
    kd_mmlu_block(text, &item, solved);
}

static kd_status ask_one(kd_choice_items *items, const kd_mmlu_row *row, const char *lead, int64_t number) {
    static const char *const letter[KD_CHOICES] = {"A", "B", "C", "D"};
    kd_choice_item *item = kd_choice_items_next(items);
    kd_text context = {0};
    char key[96];
    if (!item) return no_memory();
    snprintf(key, sizeof key, "%s/%lld", kd_mmlu_subjects[row->subject].name, (long long)number);
    kd_text_put(&context, lead);
    put_block(&context, row, false);
    item->context = context.data;
    item->group = row->subject;
    item->answer = row->answer;
    KD_TRY(kd_text_status(&context));
    KD_TRY(copy(&item->key, key));
    for (int k = 0; k < KD_CHOICES; k++) KD_TRY(copy(&item->choice[k], letter[k]));
    return KD_OK;
}

static kd_status ask_subject(kd_choice_items *items, const kd_mmlu *set, const kd_mmlu *dev, const char *description, int64_t subject,
                             int64_t shots,
                             int64_t limit) {
    kd_text lead = {0};
    int64_t first = set->first[subject], count = set->first[subject + 1] - first,
        there = shots ? dev->first[subject + 1] - dev->first[subject] : 0;
    kd_status status = KD_OK;
    if (there < shots)
        return kd_fail(KD_ECONFIG, "%s: %lld solved questions are asked for, %lld are there", kd_mmlu_subjects[subject].name,
                       (long long)shots, (long long)there);
    kd_text_put(&lead, description);
    for (int64_t k = 0; k < shots; k++) put_block(&lead, &dev->row[dev->first[subject] + k], true);
    KD_GO(kd_text_status(&lead));
    for (int64_t i = 0; i < count && (!limit || i < limit); i++) KD_GO(ask_one(items, &set->row[first + i], lead.data ? lead.data : "", i));
done:
    kd_text_free(&lead);
    return status;
}

kd_status kd_mmlu_ask(kd_choice_items *items, const kd_mmlu *set, const kd_mmlu *dev, const kd_mmlu_descriptions *d, int64_t shots,
                      int64_t limit) {
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++)
        if (set->first[i] < set->first[i + 1]) KD_TRY(ask_subject(items, set, dev, d->text[i], i, shots, limit));
    return KD_OK;
}

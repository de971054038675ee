/* The sentences of a checkout of RULER's repository, read from its Python files when they are needed. */
#include <stdlib.h>
#include <string.h>

#include "format/yaml.h"
#include "ruler_wording.h"

#define SYNTHETIC "scripts/data/synthetic/"

/* One literal of a file in the checkout; *path stays, for messages. */
static kd_status load(json_t **out, char **path, const char *checkout, const char *file, const char *name) {
    free(*path);
    *path = kd_path_join(checkout, file);
    if (!*path) return kd_fail(KD_ENOMEM, "out of memory");
    return kd_python_literal(out, *path, name);
}

static kd_status take(kd_ruler_wording *w, kd_ruler_text which, const json_t *value, const char *path, const char *key) {
    if (!json_is_string(value)) return kd_fail(KD_EFORMAT, "%s: %s is no string", path, key);
    free(w->text[which]);
    w->text[which] = strdup(json_string_value(value));
    return w->text[which] ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

static kd_status read_text(kd_ruler_wording *w, kd_ruler_text which, const char *checkout, const char *file, const char *name) {
    json_t *value = NULL;
    char *path = NULL;
    kd_status status = load(&value, &path, checkout, file, name);
    if (!status) status = take(w, which, value, path, name);
    json_decref(value);
    free(path);
    return status;
}

static kd_status read_tasks(kd_ruler_wording *w, const char *checkout) {
    static const struct { const char *key; kd_ruler_text text; } row[KD_RULER_KINDS] = {
        [KD_RULER_NIAH] = {"niah", KD_RULER_TEXT_NIAH},
        [KD_RULER_CHAINS] = {"variable_tracking", KD_RULER_TEXT_CHAINS},
        [KD_RULER_COMMON] = {"common_words_extraction", KD_RULER_TEXT_COMMON},
        [KD_RULER_CODED] = {"freq_words_extraction", KD_RULER_TEXT_CODED},
        [KD_RULER_QA] = {"qa", KD_RULER_TEXT_QA}};
    json_t *tasks = NULL;
    char *path = NULL;
    kd_status status;
    KD_GO(load(&tasks, &path, checkout, SYNTHETIC "constants.py", "TASKS"));
    for (int i = 0; i < KD_RULER_KINDS; i++) {
        json_t *task = json_object_get(tasks, row[i].key), *generate = json_object_get(task, "tokens_to_generate");
        if (!json_is_object(task)) KD_GO(kd_fail(KD_EFORMAT, "%s: TASKS has no \"%s\"", path, row[i].key));
        KD_GO(take(w, row[i].text, json_object_get(task, "template"), path, "a template"));
        KD_GO(take(w, row[i].text + 1, json_object_get(task, "answer_prefix"), path, "an answer_prefix"));
        if (generate && (!json_is_integer(generate) || json_integer_value(generate) < 1))
            KD_GO(kd_fail(KD_EFORMAT, "%s: \"%s\": tokens_to_generate is no number from 1", path, row[i].key));
        w->generate[i] = json_integer_value(generate);
    }
done:
    json_decref(tasks);
    free(path);
    return status;
}

static kd_status read_wrapper(kd_ruler_wording *w, const char *checkout, const char *chat) {
    json_t *all = NULL, *value;
    char *path = NULL;
    kd_status status;
    KD_GO(load(&all, &path, checkout, "scripts/data/template.py", "Templates"));
    if (!(value = json_object_get(all, chat))) {
        const char *known[64], *name, *near;
        int64_t count = 0;
        json_object_foreach(all, name, value) if (count < 64) known[count++] = name;
        near = kd_nearest(chat, known, count);
        if (near) KD_GO(kd_fail(KD_ECONFIG, "%s has no template \"%s\", did you mean %s?", path, chat, near));
        KD_GO(kd_fail(KD_ECONFIG, "%s has no template \"%s\"", path, chat));
    }
    KD_GO(take(w, KD_RULER_TEXT_WRAPPER, value, path, chat));
    const char *place = strstr(w->text[KD_RULER_TEXT_WRAPPER], "{task_template}");
    if (!place || strstr(place + 1, "{task_template}"))
        status = kd_fail(KD_EFORMAT, "%s: template \"%s\" has no place, or two, for the task", path, chat);
done:
    json_decref(all);
    free(path);
    return status;
}

static kd_status replace_all(char **text, const char *from, const char *to) {
    kd_text out = {0};
    const char *at = *text;
    for (const char *found; (found = strstr(at, from)); at = found + strlen(from)) {
        kd_text_add(&out, at, found - at);
        kd_text_put(&out, to);
    }
    kd_text_put(&out, at);
    if (kd_text_status(&out)) {
        kd_text_free(&out);
        return kd_fail(KD_ENOMEM, "out of memory");
    }
    free(*text);
    *text = out.data;
    return KD_OK;
}

/* With one value RULER makes the whole prompt singular by these replacements, in this order, wherever the letters stand. */
static kd_status make_singular(char **one, const char *many) {
    static const char *const pair[][2] = {{"Some", "A"}, {"are all", "is"}, {"are", "is"}, {"answers", "answer"}};
    free(*one);
    *one = strdup(many);
    if (!*one) return kd_fail(KD_ENOMEM, "out of memory");
    for (int i = 0; i < 4; i++) KD_TRY(replace_all(one, pair[i][0], pair[i][1]));
    return KD_OK;
}

/* Every text is filled once, so that what is wrong with it is said now. */
static kd_status check_fields(const kd_ruler_wording *w, const char *checkout) {
    static const char *const known[] = {
#define X(text, fields) fields,
        KD_RULER_TEXTS(X)
#undef X
    };
    for (int i = 0; i < KD_RULER_TEXT_COUNT; i++) {
        kd_field field[8];
        char names[64];
        int64_t count = 0;
        kd_text out = {0};
        strcpy(names, known[i]);
        for (char *at = names; at && *at;) {
            field[count++] = (kd_field){at, "", 0};
            at = strchr(at, ' ');
            if (at) *at++ = 0;
        }
        kd_status status = kd_ruler_fill(&out, w->text[i], field, count);
        kd_text_free(&out);
        if (status) return kd_fail_prefix(status, "%s", checkout);
    }
    return KD_OK;
}

static kd_status read_all(kd_ruler_wording *w, const char *checkout, const char *chat) {
    KD_TRY(read_tasks(w, checkout));
    KD_TRY(read_wrapper(w, checkout, chat));
    KD_TRY(read_text(w, KD_RULER_TEXT_NEEDLE, checkout, SYNTHETIC "niah.py", "needle"));
    KD_TRY(read_text(w, KD_RULER_TEXT_NOISE, checkout, SYNTHETIC "niah.py", "haystack"));
    KD_TRY(read_text(w, KD_RULER_TEXT_CHAINS_NOISE, checkout, SYNTHETIC "variable_tracking.py", "haystack"));
    KD_TRY(read_text(w, KD_RULER_TEXT_DOCUMENT, checkout, SYNTHETIC "qa.py", "DOCUMENT_PROMPT"));
    KD_TRY(make_singular(&w->text[KD_RULER_TEXT_NIAH_ONE], w->text[KD_RULER_TEXT_NIAH]));
    KD_TRY(make_singular(&w->text[KD_RULER_TEXT_NIAH_ONE_PREFIX], w->text[KD_RULER_TEXT_NIAH_PREFIX]));
    KD_TRY(make_singular(&w->text[KD_RULER_TEXT_WRAPPER_ONE], w->text[KD_RULER_TEXT_WRAPPER]));
    KD_TRY(check_fields(w, checkout));
    kd_text all = {0};
    for (int i = 0; i < KD_RULER_TEXT_COUNT; i++) kd_text_put(&all, w->text[i]);
    if (!all.failed) w->hash = kd_hash(all.data, all.size);
    kd_status status = kd_text_status(&all);
    kd_text_free(&all);
    return status;
}

kd_status kd_ruler_wording_read(kd_ruler_wording *wording, const char *checkout, const char *chat) {
    *wording = (kd_ruler_wording){0};
    kd_status status = KD_OK;
    wording->source = strdup(checkout);
    if (!wording->source) status = kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = read_all(wording, checkout, chat);
    if (status) kd_ruler_wording_close(wording);
    return status;
}

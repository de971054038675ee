#include "ruler_questions.h"

#include <stdlib.h>
#include <string.h>

#include "base/random.h"

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

static void close_question(kd_ruler_question *q) {
    for (int64_t i = 0; q->answer && i < q->answers; i++) free(q->answer[i]);
    free(q->answer);
    free(q->query);
    free(q->own);
    free(q->more);
}

void kd_ruler_questions_close(kd_ruler_questions *s) {
    for (int64_t i = 0; i < s->documents; i++) free(s->document[i]);
    for (int64_t i = 0; i < s->questions; i++) close_question(&s->question[i]);
    free(s->document);
    free(s->question);
    *s = (kd_ruler_questions){0};
}

kd_status kd_ruler_document_add(kd_ruler_questions *s, const char *text, int64_t size) {
    KD_TRY(kd_grow(&s->document, &s->document_room, s->documents + 1, sizeof *s->document));
    s->document[s->documents] = strndup(text, (size_t)size);
    if (!s->document[s->documents]) return no_memory();
    s->documents++;
    return KD_OK;
}

kd_status kd_ruler_question_add(kd_ruler_question **out, kd_ruler_questions *s, const char *query, int64_t answers, int64_t owns,
                                int64_t mores) {
    KD_TRY(kd_grow(&s->question, &s->room, s->questions + 1, sizeof *s->question));
    kd_ruler_question *q = *out = &s->question[s->questions];
    *q = (kd_ruler_question){.query = strdup(query), .answers = answers, .owns = owns, .mores = mores};
    s->questions++;
    KD_TRY(kd_new(&q->answer, answers, sizeof *q->answer));
    KD_TRY(kd_new(&q->own, owns, sizeof *q->own));
    KD_TRY(kd_new(&q->more, mores + 1, sizeof *q->more));
    return q->query ? KD_OK : no_memory();
}

/* ---- files ------------------------------------------------------------------------------------------------------------------ */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Sorted, each once. */
static void settle(kd_ruler_questions *s) {
    int64_t n = 0;
    if (s->documents) qsort(s->document, (size_t)s->documents, sizeof *s->document, by_text);
    for (int64_t i = 0; i < s->documents; i++) {
        if (n && !strcmp(s->document[n - 1], s->document[i])) free(s->document[i]);
        else s->document[n++] = s->document[i];
    }
    s->documents = n;
}

static int64_t place_of(const kd_ruler_questions *s, const char *text) {
    char *const *found = bsearch(&text, s->document, (size_t)s->documents, sizeof *s->document, by_text);
    return found - s->document;
}

/* A member that is a text, without U+0000. */
static kd_status text_of(const char **out, const json_t *object, const char *key, const char *place) {
    const json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    if (*out && strlen(*out) == json_string_length(value)) return KD_OK;
    return kd_fail(KD_EFORMAT, "%s: no text \"%s\"", place, key);
}

static kd_status list_of(json_t **out, const json_t *object, const char *key, const char *place) {
    *out = json_object_get(object, key);
    return json_is_array(*out) ? KD_OK : kd_fail(KD_EFORMAT, "%s: no list \"%s\"", place, key);
}

static kd_status set_answer(kd_ruler_question *q, int64_t i, const char *text) {
    q->answer[i] = strdup(text);
    return q->answer[i] ? KD_OK : no_memory();
}

static kd_status add_squad_question(kd_ruler_questions *s, const json_t *qa, const json_t *paragraphs, const char *context,
                                    const char *place) {
    const char *query, *text;
    kd_ruler_question *q;
    json_t *answers, *row;
    size_t i;
    if (json_is_true(json_object_get(qa, "is_impossible"))) return KD_OK;
    KD_TRY(text_of(&query, qa, "question", place));
    KD_TRY(list_of(&answers, qa, "answers", place));
    if (!json_array_size(answers)) return kd_fail(KD_EFORMAT, "%s: a question that can be answered has no answers", place);
    KD_TRY(kd_ruler_question_add(&q, s, query, (int64_t)json_array_size(answers), 1, (int64_t)json_array_size(paragraphs)));
    json_array_foreach(answers, i, row) {
        KD_TRY(text_of(&text, row, "text", place));
        KD_TRY(set_answer(q, (int64_t)i, text));
    }
    q->own[0] = place_of(s, context);
    q->mores = 0;
    json_array_foreach(paragraphs, i, row) {
        int64_t other = place_of(s, json_string_value(json_object_get(row, "context")));
        bool known = other == q->own[0];
        for (int64_t k = 0; k < q->mores && !known; k++) known = q->more[k] == other;
        if (!known) q->more[q->mores++] = other;
    }
    return KD_OK;
}

/* The walk is made twice: for documents, then for questions. */
static kd_status walk_squad(kd_ruler_questions *s, const json_t *file, const char *path, bool questions) {
    json_t *data, *article, *paragraphs, *paragraph, *qas, *qa;
    const char *context;
    char place[4200];
    size_t a, p, i;
    snprintf(place, sizeof place, "%s", path);
    KD_TRY(list_of(&data, file, "data", place));
    json_array_foreach(data, a, article) {
        snprintf(place, sizeof place, "%s: data[%d]", path, (int)a);
        KD_TRY(list_of(&paragraphs, article, "paragraphs", place));
        json_array_foreach(paragraphs, p, paragraph) {
            snprintf(place, sizeof place, "%s: data[%d].paragraphs[%d]", path, (int)a, (int)p);
            KD_TRY(text_of(&context, paragraph, "context", place));
            KD_TRY(list_of(&qas, paragraph, "qas", place));
            if (!questions) KD_TRY(kd_ruler_document_add(s, context, (int64_t)strlen(context)));
            if (!questions) continue;
            json_array_foreach(qas, i, qa) {
                snprintf(place, sizeof place, "%s: data[%d].paragraphs[%d].qas[%d]", path, (int)a, (int)p, (int)i);
                KD_TRY(add_squad_question(s, qa, paragraphs, context, place));
            }
        }
    }
    return KD_OK;
}

/* A pair of title and sentences as one text. */
static kd_status hotpot_document(kd_text *out, const json_t *pair, const char *place) {
    json_t *sentences = json_array_get(pair, 1), *sentence;
    const char *title = json_string_value(json_array_get(pair, 0));
    size_t i;
    out->size = 0;
    if (!title || !json_is_array(sentences)) return kd_fail(KD_EFORMAT, "%s: no title with sentences", place);
    kd_text_print(out, "%s\n", title);
    json_array_foreach(sentences, i, sentence) {
        if (!json_is_string(sentence)) return kd_fail(KD_EFORMAT, "%s: a sentence that is no text", place);
        kd_text_put(out, json_string_value(sentence));
    }
    return kd_text_status(out);
}

static kd_status walk_hotpot_row(kd_ruler_questions *s, const json_t *row, kd_text *text, const char *place, bool questions) {
    const char *query, *answer;
    kd_ruler_question *q = NULL;
    json_t *context, *pair;
    size_t i;
    KD_TRY(text_of(&query, row, "question", place));
    KD_TRY(text_of(&answer, row, "answer", place));
    KD_TRY(list_of(&context, row, "context", place));
    if (!json_array_size(context)) return kd_fail(KD_EFORMAT, "%s: \"context\" is empty", place);
    if (questions) {
        KD_TRY(kd_ruler_question_add(&q, s, query, 1, (int64_t)json_array_size(context), 0));
        KD_TRY(set_answer(q, 0, answer));
    }
    json_array_foreach(context, i, pair) {
        KD_TRY(hotpot_document(text, pair, place));
        if (questions) q->own[i] = place_of(s, text->data);
        else KD_TRY(kd_ruler_document_add(s, text->data, text->size));
    }
    return KD_OK;
}

static kd_status walk_hotpot(kd_ruler_questions *s, const json_t *file, const char *path, bool questions) {
    kd_text text = {0};
    json_t *row;
    kd_status status = json_is_array(file) ? KD_OK : kd_fail(KD_EFORMAT, "%s: no list of questions", path);
    for (size_t i = 0; !status && i < json_array_size(file); i++) {
        char place[4200];
        row = json_array_get(file, i);
        snprintf(place, sizeof place, "%s: [%d]", path, (int)i);
        status = walk_hotpot_row(s, row, &text, place, questions);
    }
    kd_text_free(&text);
    return status;
}

typedef kd_status walk_file(kd_ruler_questions *s, const json_t *file, const char *path, bool questions);

static kd_status read_file(kd_ruler_questions *s, const char *path, walk_file *walk) {
    json_t *file = NULL;
    int64_t size;
    kd_status status;
    *s = (kd_ruler_questions){0};
    KD_GO(kd_json_load(&file, path));
    KD_GO(kd_file_hash(&s->hash, &size, path));
    KD_GO(walk(s, file, path, false));
    settle(s);
    KD_GO(walk(s, file, path, true));
    if (!s->questions) status = kd_fail(KD_EFORMAT, "%s: no question that can be answered", path);
done:
    json_decref(file);
    if (status) kd_ruler_questions_close(s);
    return status;
}

kd_status kd_ruler_questions_squad(kd_ruler_questions *s, const char *path) { return read_file(s, path, walk_squad); }
kd_status kd_ruler_questions_hotpot(kd_ruler_questions *s, const char *path) { return read_file(s, path, walk_hotpot); }

/* ---- which documents -------------------------------------------------------------------------------------------------------- */

static bool among(const int64_t *list, int64_t count, int64_t value) {
    for (int64_t i = 0; i < count; i++)
        if (list[i] == value) return true;
    return false;
}

void kd_ruler_question_documents(int64_t *place, const kd_ruler_questions *s, int64_t question, int64_t n, uint64_t seed) {
    const kd_ruler_question *q = &s->question[question];
    uint64_t stream = (uint64_t)question * 2 + 0x0a00000000;
    int64_t count = 0;
    if (n >= s->documents) {
        for (; count < n; count++) place[count] = count % s->documents;
        return;
    }
    for (; count < q->owns; count++) place[count] = q->own[count];
    for (int64_t i = 0; i < q->mores && count < n; i++)
        place[count++] = q->more[kd_random_permute(seed, stream, (uint64_t)i, (uint64_t)q->mores)];
    for (int64_t i = 0; count < n; i++) {
        int64_t other = (int64_t)kd_random_permute(seed, stream + 1, (uint64_t)i, (uint64_t)s->documents);
        if (!among(q->own, q->owns, other) && !among(q->more, q->mores, other)) place[count++] = other;
    }
}

#include "longbench_ask.h"

#include <stdlib.h>
#include <string.h>

#include "ask.h"

enum { SPARE = 8 };  /* tokens by which a text that was cut may grow where its halves meet */

typedef struct state {
    const kd_longbench_asking *asking;
    kd_results *results;
    kd_subject *subject;
    int32_t newline;
    int64_t *cut;             /* [rows] */
    char name[128];
} state;

int64_t kd_longbench_most(int64_t length, int64_t tokens) {
    int64_t usual = length / 1000 * 1000 - 500, room = length - tokens - SPARE;
    return usual > 0 && usual < room ? usual : room;
}

static const char *name_of(void *opaque, int64_t index) {
    state *s = opaque;
    snprintf(s->name, sizeof s->name, "%s/%lld", s->asking->task->name, (long long)index);
    return s->name;
}

/* The halves as text, and that as ids again: as pred.py does, who counts tokens behind it differently. */
static kd_status cut_middle(kd_ids *ids, state *s, int64_t *cut) {
    int64_t left, right;
    const kd_tokenizer *t = &s->subject->tokenizer;
    kd_text text = {0};
    kd_status status;
    kd_longbench_cut(&left, &right, ids->count, s->asking->most);
    *cut = right - left;
    KD_GO(kd_decode(&text, t, ids->id, left, true));
    KD_GO(kd_decode(&text, t, ids->id + right, ids->count - right, true));
    KD_GO(kd_text_status(&text));
    ids->count = 0;
    status = kd_subject_encode(ids, s->subject, text.data ? text.data : "", text.size, true);
done:
    kd_text_free(&text);
    return status;
}

/* What is still too long for the model loses ids of its middle. */
static kd_status fit(kd_ids *ids, const state *s, int64_t *cut) {
    int64_t room = s->subject->options.length - s->asking->tokens + 1, left, right;
    if (ids->count <= room) return KD_OK;
    if (room < 2 + 2 * s->subject->lead.count)
        return kd_fail(KD_ECONFIG, "an answer of %lld tokens leaves no room for a prompt: a larger --length is needed",
                       (long long)s->asking->tokens);
    kd_longbench_cut(&left, &right, ids->count, room);
    *cut += right - left;
    memmove(ids->id + left, ids->id + right, (size_t)(ids->count - right) * sizeof *ids->id);
    ids->count -= right - left;
    return KD_OK;
}

static kd_status ask(kd_question *question, kd_ids *ids, void *opaque, int64_t index) {
    state *s = opaque;
    const kd_longbench_row *row = &s->asking->set->row[index];
    kd_text text = {0};
    kd_status status;
    if (kd_results_find(s->results, name_of(s, index))) return KD_OK;
    KD_GO(kd_longbench_format(&text, s->asking->prompt, row->context, row->input));
    KD_GO(kd_subject_encode(ids, s->subject, text.data ? text.data : "", text.size, true));
    if (ids->count > s->asking->most) KD_GO(cut_middle(ids, s, &s->cut[index]));
    KD_GO(fit(ids, s, &s->cut[index]));
    question->most = s->asking->tokens;
    if (!strcmp(s->asking->task->name, "samsum")) {  /* its examples end a summary with a line break */
        question->stop_token = &s->newline;
        question->stop_tokens = s->newline >= 0;
        question->least = 1;
    }
done:
    kd_text_free(&text);
    return status ? kd_fail_prefix(status, "%s", name_of(s, index)) : KD_OK;
}

static kd_status hear(void *opaque, int64_t index, const kd_question *question, const kd_answer *answer) {
    state *s = opaque;
    json_t *row = json_pack("{s:o}", "pred", kd_json_of_text(answer->text ? answer->text : "", answer->text_size));
    (void)question;
    if (row && s->cut[index] && json_object_set_new(row, "cut", json_integer(s->cut[index]))) {
        json_decref(row);
        row = NULL;
    }
    return kd_results_add(s->results, name_of(s, index), row);
}

kd_status kd_longbench_ask(kd_results *results, kd_subject *subject, const kd_longbench_asking *asking) {
    state s = {.asking = asking, .results = results, .subject = subject, .newline = -1};
    kd_ids newline = {0};
    const kd_asking g = {asking->set->count, ask, hear, name_of, &s};
    kd_status status;
    KD_GO(kd_new(&s.cut, asking->set->count, sizeof *s.cut));
    KD_GO(kd_subject_encode(&newline, subject, "\n", 1, false));
    if (newline.count) s.newline = newline.id[newline.count - 1];
    status = kd_ask(subject->engine, &g, subject->options.sequences + 2);
done:
    free(newline.id);
    free(s.cut);
    return status;
}

kd_status kd_longbench_answers(kd_predictions *out, const kd_results *results, const kd_longbench_asking *asking) {
    kd_status status;
    *out = (kd_predictions){.rows = json_array()};
    KD_GO(kd_new(&out->prediction, asking->set->count, sizeof *out->prediction));
    for (int64_t i = 0; i < asking->set->count; i++) {
        const json_t *record = asking->set->row[i].record, *classes = json_object_get(record, "all_classes");
        char key[128];
        snprintf(key, sizeof key, "%s/%lld", asking->task->name, (long long)i);
        kd_prediction *p = &out->prediction[out->count++];
        *p = (kd_prediction){.answers = json_object_get(record, "answers"), .classes = json_is_array(classes) ? classes : NULL};
        KD_GO(kd_json_int(&p->length, record, "length", key));
        KD_GO(kd_json_text(&p->pred, kd_results_find(results, key), "pred", key));
    }
done:
    if (status) kd_predictions_close(out);
    return status;
}

#include "multiple_choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "encode_pair.h"

kd_choice_item *kd_choice_items_next(kd_choice_items *items) {
    if (kd_grow(&items->item, &items->room, items->count + 1, sizeof *items->item)) return NULL;
    kd_choice_item *item = &items->item[items->count++];
    *item = (kd_choice_item){0};
    return item;
}

void kd_choice_items_free(kd_choice_items *items) {
    for (int64_t i = 0; i < items->count; i++) {
        kd_choice_item *item = &items->item[i];
        free(item->key);
        free(item->context);
        for (int k = 0; k < KD_CHOICES; k++) free(item->choice[k]);
    }
    free(items->item);
    *items = (kd_choice_items){0};
}

/* ---- asking ------------------------------------------------------------------------------------------------------------- */

typedef struct state { double log[KD_CHOICES]; int64_t heard, cut; } state;

typedef struct asking {
    kd_results *results;
    kd_subject *subject;
    const kd_choice_items *items;
    state *state;             /* [items] */
} asking;

static const char *name_of(void *opaque, int64_t index) {
    const asking *a = opaque;
    return a->items->item[index / KD_CHOICES].key;
}

static kd_status encode(kd_ids *ids, void *opaque, const char *text, int64_t size) {
    return kd_subject_encode(ids, opaque, text, size, true);
}

/* Choices of one context follow each other, so that it is read once. */
static kd_status ask(kd_question *question, kd_ids *ids, void *opaque, int64_t index) {
    asking *a = opaque;
    const kd_choice_item *item = &a->items->item[index / KD_CHOICES];
    kd_subject *s = a->subject;
    state *own = &a->state[index / KD_CHOICES];
    char *continuation;
    int64_t cut = 0;
    if (kd_results_find(a->results, item->key)) return KD_OK;
    KD_TRY(kd_new(&continuation, (int64_t)strlen(item->choice[index % KD_CHOICES]) + 2, 1));
    sprintf(continuation, " %s", item->choice[index % KD_CHOICES]);
    int32_t prefix = s->tokenizer.bos >= 0 ? s->tokenizer.bos : s->tokenizer.eos;
    kd_status status = kd_encode_pair(ids, &question->scored, encode, s, prefix, item->context, continuation);
    free(continuation);
    if (!status && !question->scored)
        status = kd_fail(KD_EFORMAT, "choice %c has no token of its own behind the context", 'A' + (int)(index % KD_CHOICES));
    if (!status) status = kd_cut_left(ids, &cut, s->options.length + 1, s->anchor ? s->lead.count : 0, question->scored);
    if (status) return kd_fail_prefix(status, "%s", item->key);
    if (cut > own->cut) own->cut = cut;
    return KD_OK;
}

static kd_status hear(void *opaque, int64_t index, const kd_question *question, const kd_answer *answer) {
    asking *a = opaque;
    state *own = &a->state[index / KD_CHOICES];
    double sum = 0;
    for (int64_t i = 0; i < question->scored; i++) sum += answer->likelihood[i].log;
    if (!isfinite(sum))
        return kd_fail(KD_ENUMERIC, "%s: the likelihood of choice %c is not finite", name_of(a, index), 'A' + (int)(index % KD_CHOICES));
    own->log[index % KD_CHOICES] = sum;
    if (++own->heard < KD_CHOICES) return KD_OK;
    json_t *row = json_pack("{s:[f, f, f, f]}", "loglikelihood", own->log[0], own->log[1], own->log[2], own->log[3]);
    if (row && own->cut && json_object_set_new(row, "cut", json_integer(own->cut))) {
        json_decref(row);
        row = NULL;
    }
    return kd_results_add(a->results, name_of(a, index), row);
}

kd_status kd_choice_ask(kd_results *results, kd_subject *subject, const kd_choice_items *items) {
    asking a = {results, subject, items, NULL};
    const kd_asking g = {items->count * KD_CHOICES, ask, hear, name_of, &a};
    KD_TRY(kd_new(&a.state, items->count, sizeof *a.state));
    kd_status status = kd_ask(subject->engine, &g, 2 * subject->options.sequences);
    free(a.state);
    return status;
}

/* ---- scores ------------------------------------------------------------------------------------------------------------- */

static kd_status read_answer(double log[KD_CHOICES], const kd_results *results, const kd_choice_item *item) {
    const json_t *answer = kd_results_find(results, item->key), *list = json_object_get(answer, "loglikelihood");
    bool good = json_array_size(list) == KD_CHOICES;
    for (size_t k = 0; good && k < KD_CHOICES; k++) {
        good = json_is_number(json_array_get(list, k));
        log[k] = json_number_value(json_array_get(list, k));
    }
    return good ? KD_OK : kd_fail(KD_EFORMAT, "%s: no answer with four likelihoods", item->key);
}

kd_status kd_choice_score(kd_choice_scores *s, const kd_results *results, const kd_choice_items *items) {
    kd_status status;
    *s = (kd_choice_scores){.count = items->count};
    for (int n = 0; n < 3; n++) KD_GO(kd_new(&s->right[n], items->count, sizeof **s->right));
    for (int64_t i = 0; i < items->count; i++) {
        const kd_choice_item *item = &items->item[i];
        double log[KD_CHOICES];
        KD_GO(read_answer(log, results, item));
        for (int n = 0; n < 3; n++)
            s->right[n][i] = kd_choice_best(log, (const char *const *)item->choice, KD_CHOICES, (kd_choice_norm)n) == item->answer;
        s->cut += json_object_get(kd_results_find(results, item->key), "cut") != NULL;
    }
done:
    if (status) kd_choice_scores_free(s);
    return status;
}

void kd_choice_scores_free(kd_choice_scores *s) {
    for (int n = 0; n < 3; n++) free(s->right[n]);
    *s = (kd_choice_scores){0};
}

/* ---- a page ------------------------------------------------------------------------------------------------------------- */

enum { ASKED, ANSWERED, WANTED, TEXTS, TAIL = 400 };  /* TAIL: bytes of a context that are shown */

static const char *tail_of(const char *context) {
    size_t size = strlen(context);
    if (size <= TAIL) return context;
    context += size - TAIL;
    while (((unsigned char)*context & 0xc0) == 0x80) context++;
    return context;
}

static kd_status show_one(kd_example *e, kd_text *text, const kd_results *results, const kd_choice_item *item) {
    double log[KD_CHOICES];
    KD_TRY(read_answer(log, results, item));
    int64_t best = kd_choice_best(log, (const char *const *)item->choice, KD_CHOICES, KD_CHOICE_SUM);
    const char *shown = tail_of(item->context);
    kd_text_print(&text[ASKED], "%s%s", shown == item->context ? "" : "\u2026", shown);
    kd_text_print(&text[ANSWERED], "%s (likelihoods %.3f, %.3f, %.3f, %.3f)", item->choice[best], log[0], log[1], log[2], log[3]);
    kd_text_put(&text[WANTED], item->choice[item->answer]);
    for (int k = 0; k < TEXTS; k++) KD_TRY(kd_text_status(&text[k]));
    *e = (kd_example){text[ASKED].data, text[ANSWERED].data, text[WANTED].data, best == item->answer ? "right" : "wrong"};
    return KD_OK;
}

kd_status kd_choice_show(kd_choice_examples *x, const kd_results *results, const kd_choice_items *items, int64_t most) {
    kd_status status;
    *x = (kd_choice_examples){.count = items->count < most ? items->count : most};
    KD_GO(kd_new(&x->example, x->count, sizeof *x->example));
    KD_GO(kd_new(&x->text, x->count * TEXTS, sizeof *x->text));
    for (int64_t i = 0; i < x->count; i++) KD_GO(show_one(&x->example[i], &x->text[i * TEXTS], results, &items->item[i]));
done:
    if (status) kd_choice_examples_free(x);
    return status;
}

void kd_choice_examples_free(kd_choice_examples *x) {
    for (int64_t i = 0; x->text && i < x->count * TEXTS; i++) kd_text_free(&x->text[i]);
    free(x->text);
    free(x->example);
    *x = (kd_choice_examples){0};
}

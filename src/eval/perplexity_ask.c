/* Windows of texts put to a model. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "perplexity.h"

/* What a window had: kept until the text's last one is heard, and then summed in order, so that no digit depends on which came first. */
typedef struct window { kd_ppl_sum all, bucket[KD_PPL_BUCKETS]; } window;

/* A text at one length. */
typedef struct item {
    int64_t text, k, first;   /* first: its first window, counted through all */
    kd_excerpt *excerpt;      /* [count] */
    int64_t count, heard;
    window *window;           /* [count] from the first question to the answer */
    bool known;
    char key[48];
} item;

typedef struct asking {
    kd_results *results;
    kd_subject *subject;
    const kd_ppl_texts *texts;
    const kd_ppl_options *options;
    item *item;
    int64_t items, windows;
    int64_t *owner;           /* [windows] items */
    int32_t prefix;           /* leads the first of rolling windows */
} asking;

/* ---- questions -------------------------------------------------------------------------------------------------------------- */

/* Whether what leads a prompt stands before each window. */
static bool is_led(const asking *a) { return a->options->way != KD_PPL_ROLLING || a->subject->anchor; }

static const char *name_of(void *opaque, int64_t index) {
    const asking *a = opaque;
    return a->item[a->owner[index]].key;
}

static kd_status ask(kd_question *question, kd_ids *ids, void *opaque, int64_t index) {
    asking *a = opaque;
    item *m = &a->item[a->owner[index]];
    const kd_ppl_text *text = &a->texts->text[m->text];
    const kd_excerpt *e = &m->excerpt[index - m->first];
    int64_t begin = e->begin < 0 ? 0 : e->begin, lead = is_led(a) ? a->subject->lead.count : e->begin < 0;
    if (m->known) return KD_OK;
    if (!m->window) KD_TRY(kd_new(&m->window, m->count, sizeof *m->window));
    KD_TRY(kd_ids_reserve(ids, lead + e->end - begin));
    if (is_led(a)) memcpy(ids->id, a->subject->lead.id, (size_t)lead * sizeof *ids->id);
    else if (lead) ids->id[0] = a->prefix;
    memcpy(ids->id + lead, text->id + begin, (size_t)(e->end - begin) * sizeof *ids->id);
    ids->count = lead + e->end - begin;
    question->scored = e->end - e->first;
    return KD_OK;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

static json_t *pair(kd_ppl_sum sum) { return json_pack("[f, I]", sum.nats, (json_int_t)sum.tokens); }

static kd_status add_answer(asking *a, item *m) {
    json_t *windows = json_array(), *positions = json_array();
    kd_ppl_sum bucket[KD_PPL_BUCKETS] = {{0}};
    int64_t buckets = 0, failed = 0;
    for (int64_t w = 0; w < m->count; w++) {
        failed |= json_array_append_new(windows, pair(m->window[w].all));
        for (int64_t b = 0; b < KD_PPL_BUCKETS; b++) {
            bucket[b].nats += m->window[w].bucket[b].nats;
            bucket[b].tokens += m->window[w].bucket[b].tokens;
            if (bucket[b].tokens && b >= buckets) buckets = b + 1;
        }
    }
    for (int64_t b = 0; b < buckets; b++) failed |= json_array_append_new(positions, pair(bucket[b]));
    free(m->window);
    m->window = NULL;
    json_t *answer = failed ? NULL : json_pack("{s:O, s:O}", "windows", windows, "positions", positions);
    json_decref(windows);
    json_decref(positions);
    return kd_results_add(a->results, m->key, answer);
}

static kd_status hear(void *opaque, int64_t index, const kd_question *question, const kd_answer *answer) {
    asking *a = opaque;
    item *m = &a->item[a->owner[index]];
    const kd_excerpt *e = &m->excerpt[index - m->first];
    const uint8_t *silent = a->texts->text[m->text].silent;
    window *w = &m->window[index - m->first];
    for (int64_t i = 0; i < question->scored; i++) {
        int64_t before = question->count - question->scored + i;
        if (silent && silent[e->first + i]) continue;
        double nats = -answer->likelihood[i].log;
        if (!isfinite(nats)) return kd_fail(KD_ENUMERIC, "%s: token %lld has no finite likelihood", m->key, (long long)(e->first + i));
        kd_ppl_sum *bucket = &w->bucket[kd_ppl_bucket(before)];
        w->all.nats += nats;
        bucket->nats += nats;
        w->all.tokens++;
        bucket->tokens++;
    }
    return ++m->heard < m->count ? KD_OK : add_answer(a, m);
}

/* ---- all of them ------------------------------------------------------------------------------------------------------------ */

/* A text without a window to score has its answer at once. */
static kd_status open_item(asking *a, item *m, int64_t text, int64_t k) {
    const kd_ppl_text *t = &a->texts->text[text];
    *m = (item){.text = text, .k = k, .first = a->windows};
    snprintf(m->key, sizeof m->key, "%lld/%lld", (long long)a->options->length[k], (long long)text);
    m->known = kd_results_find(a->results, m->key) != NULL;
    if (m->known) return KD_OK;
    KD_TRY(kd_ppl_windows(&m->excerpt, &m->count, a->options, k, t->count, a->subject->lead.count, a->subject->anchor));
    while (m->count && m->excerpt[m->count - 1].first == m->excerpt[m->count - 1].end) m->count--;
    a->windows += m->count;
    return m->count ? KD_OK : add_answer(a, m);
}

/* The longest window of a text first: what shorter ones have in common with it is known then. */
static kd_status open_items(asking *a) {
    const kd_ppl_options *o = a->options;
    for (int64_t i = 0; i < a->texts->count; i++)
        for (int64_t k = o->lengths - 1; k >= 0; k--) KD_TRY(open_item(a, &a->item[a->items++], i, k));
    KD_TRY(kd_new(&a->owner, a->windows, sizeof *a->owner));
    for (int64_t i = 0; i < a->items; i++)
        for (int64_t w = 0; w < a->item[i].count; w++) a->owner[a->item[i].first + w] = i;
    return KD_OK;
}

static kd_status check(asking *a) {
    const kd_ppl_options *o = a->options;
    const kd_tokenizer *t = &a->subject->tokenizer;
    int64_t lead = a->subject->lead.count;
    a->prefix = t->bos >= 0 ? t->bos : t->eos;
    if (o->way == KD_PPL_ROLLING && !a->subject->anchor && a->prefix < 0)
        return kd_fail(KD_ECONFIG, "rolling windows begin with BOS or EOS, and %s has neither", t->name);
    for (int64_t i = 0; i < a->texts->count && o->way == KD_PPL_WHOLE; i++)
        if (a->texts->text[i].count + lead > a->subject->options.length + 1)
            return kd_fail(KD_ECONFIG, "a document of %lld tokens does not fit into %lld: a larger --length is needed",
                           (long long)a->texts->text[i].count,
                           (long long)a->subject->options.length);
    return KD_OK;
}

kd_status kd_ppl_ask(kd_results *results, kd_subject *subject, const kd_ppl_texts *texts, const kd_ppl_options *options) {
    asking a = {.results = results, .subject = subject, .texts = texts, .options = options};
    kd_status status;
    KD_GO(check(&a));
    KD_GO(kd_new(&a.item, texts->count * options->lengths, sizeof *a.item));
    KD_GO(open_items(&a));
    const kd_asking g = {a.windows, ask, hear, name_of, &a};
    status = kd_ask(subject->engine, &g, subject->options.sequences + 2);
done:
    for (int64_t i = 0; i < a.items; i++) {
        free(a.item[i].excerpt);
        free(a.item[i].window);
    }
    free(a.item);
    free(a.owner);
    return status;
}

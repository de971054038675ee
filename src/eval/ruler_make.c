#include <stdlib.h>
#include <string.h>

#include "ruler_draft.h"
#include "ruler_fit.h"

enum { ATTEMPTS = 64, EXAMPLE = 500 /* tokens */, WORDS = 9000 };

static const kd_ruler_text text_of_kind[KD_RULER_KINDS] = {[KD_RULER_NIAH] = KD_RULER_TEXT_NIAH, [KD_RULER_CHAINS] = KD_RULER_TEXT_CHAINS,
                                                           [KD_RULER_COMMON] = KD_RULER_TEXT_COMMON, [KD_RULER_CODED] = KD_RULER_TEXT_CODED,
                                                           [KD_RULER_QA] = KD_RULER_TEXT_QA};
static kd_ruler_writer *const writer_of_kind[KD_RULER_KINDS] = {kd_ruler_write_niah, kd_ruler_write_chains, kd_ruler_write_common,
                                                                kd_ruler_write_coded, kd_ruler_write_qa};

/* ---- sources ------------------------------------------------------------------------------------------------------------------ */

static kd_status open_questions(kd_ruler_source *s, const kd_ruler_options *o, bool second) {
    const char *path = second ? o->hotpot : o->squad;
    if (!path) return kd_ruler_questions_made(&s->questions[second], second);
    return second ? kd_ruler_questions_hotpot(&s->questions[1], path) : kd_ruler_questions_squad(&s->questions[0], path);
}

static kd_status open_source(kd_ruler_source *s, const kd_ruler_options *o, const int64_t *place, int64_t tasks) {
    bool essays = false, words = false, questions[2] = {false, false};
    for (int64_t i = 0; i < tasks; i++) {
        const kd_ruler_task *t = &kd_ruler_tasks[place[i]];
        essays |= t->kind == KD_RULER_NIAH && t->haystack == KD_RULER_ESSAYS;
        words |= t->kind == KD_RULER_COMMON;
        questions[t->second] |= t->kind == KD_RULER_QA;
    }
    KD_TRY(o->templates ? kd_ruler_wording_read(&s->wording, o->templates, o->chat ? o->chat : "base") : kd_ruler_wording_own(&s->wording));
    if (essays) KD_TRY(kd_ruler_essays_open(&s->essays, o->essays, o->essays_size, o->longest + 1));
    int64_t need = o->longest / 10 + 40 > WORDS ? o->longest / 10 + 40 : WORDS;
    if (words) KD_TRY(kd_ruler_words_open(&s->words, o->essays, o->essays_size, need));
    for (int i = 0; i < 2; i++)
        if (questions[i]) KD_TRY(open_questions(s, o, i));
    return KD_OK;
}

kd_status kd_ruler_source_open(kd_ruler_source *source, const kd_ruler_options *options, const int64_t *place, int64_t tasks) {
    *source = (kd_ruler_source){.options = *options};
    kd_status status = open_source(source, options, place, tasks);
    if (status) kd_ruler_source_close(source);
    return status;
}

void kd_ruler_source_close(kd_ruler_source *s) {
    kd_ruler_wording_close(&s->wording);
    kd_ruler_essays_close(&s->essays);
    kd_ruler_words_close(&s->words);
    for (int i = 0; i < 2; i++) kd_ruler_questions_close(&s->questions[i]);
}

/* ---- drafts ------------------------------------------------------------------------------------------------------------------- */

kd_status kd_ruler_draft_new(kd_ruler_draft **out, const kd_ruler_source *source) {
    KD_TRY(kd_new(out, 1, sizeof **out));
    kd_status status = kd_encoder_new(&(*out)->encoder, source->options.tokenizer);
    if (!status) return KD_OK;
    kd_ruler_draft_free(*out);
    *out = NULL;
    return status;
}

static void each_text(kd_ruler_draft *d, void (*each)(kd_text *text)) {
    for (int i = 0; i < KD_RULER_DRAFT_TEXTS; i++) each(&d->text[i]);
}

/* Empty, but a text: readers find a NUL. */
static void clear(kd_text *text) {
    text->size = 0;
    kd_text_put(text, "");
}

void kd_ruler_draft_free(kd_ruler_draft *d) {
    if (!d) return;
    each_text(d, kd_text_free);
    kd_encoder_free(d->encoder);
    free(d->ids.id);
    free(d->place);
    free(d->code);
    free(d);
}

uint64_t kd_ruler_stream(const kd_ruler_job *job, kd_ruler_purpose purpose) {
    uint64_t task = (uint64_t)(job->maker->task - kd_ruler_tasks) + 1;
    return task << 56 | (uint64_t)job->attempt << 48 | (uint64_t)job->line << 8 | (uint64_t)purpose;
}

void kd_ruler_output(kd_ruler_draft *d, const char *text) {
    kd_text_add(&d->output, text, (int64_t)strlen(text) + 1);
    d->outputs++;
}

void kd_ruler_expect(kd_ruler_draft *d, const char *text, int64_t count, bool alone) {
    kd_ruler_expected *e = &d->expected[d->expecteds++];
    size_t size = strlen(text) < sizeof e->text - 1 ? strlen(text) : sizeof e->text - 1;
    for (size_t i = 0; i <= size; i++) e->text[i] = i == size ? 0 : text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] | 32) : text[i];
    e->count = count;
    e->alone = alone;
}

void kd_ruler_places(int64_t *place, const kd_ruler_job *job, int64_t n, int64_t count) {
    uint64_t seed = job->maker->source->options.seed, stream = kd_ruler_stream(job, KD_RULER_FOR_PLACES);
    for (int64_t i = 0; i < count; i++) {
        int64_t value = (int64_t)kd_random_permute(seed, stream, (uint64_t)i, (uint64_t)n), at = i;
        for (; at > 0 && place[at - 1] > value; at--) place[at] = place[at - 1];
        place[at] = value;
    }
}

/* ---- a prompt ------------------------------------------------------------------------------------------------------------------- */

static bool is_one(const kd_ruler_task *t) { return t->kind == KD_RULER_NIAH && t->queries * t->values == 1; }

static kd_status fill(kd_text *out, const kd_ruler_maker *m, const char *format, const kd_text *context, const kd_text *query) {
    static const char *const type[2][3] = {{"words", "numbers", "uuids"}, {"word", "number", "uuid"}};
    const kd_field field[] = {{"context", context->data, context->size},
                              {"query", query ? query->data : "", query ? query->size : 0},
                              {"type_needle_v", type[is_one(m->task)][m->task->value], -1},
                              {"num_v", "5", -1},
                              {"num_cw", "10", -1}};
    return kd_ruler_fill(out, format, field, 5);
}

kd_status kd_ruler_fill_task(kd_text *out, const kd_ruler_maker *m, const kd_text *context, const kd_text *query, bool prefix) {
    kd_ruler_text which = is_one(m->task) ? KD_RULER_TEXT_NIAH_ONE : text_of_kind[m->task->kind];
    return fill(out, m, m->source->wording.text[which + (prefix ? 1 : 0)], context, query);
}

/* What is before, the wrapper's head, what is within, the template, the wrapper's tail; the prefix. */
static kd_status assemble(kd_ruler_draft *d, const kd_ruler_maker *m) {
    const char *wrapper = m->source->wording.text[is_one(m->task) ? KD_RULER_TEXT_WRAPPER_ONE : KD_RULER_TEXT_WRAPPER];
    const char *place = strstr(wrapper, "{task_template}");
    if (!place) return kd_fail(KD_EFORMAT, "a wrapper without a place for the task: \"%.60s\"", wrapper);
    clear(&d->whole);
    kd_text_add(&d->whole, d->before.data, d->before.size);
    kd_text_add(&d->whole, wrapper, place - wrapper);
    kd_text_add(&d->whole, d->within.data, d->within.size);
    KD_TRY(kd_ruler_fill_task(&d->whole, m, &d->context, &d->query, false));
    kd_text_put(&d->whole, place + strlen("{task_template}"));
    d->split = d->whole.size;
    return kd_ruler_fill_task(&d->whole, m, &d->context, &d->query, true);
}

static kd_status count_tokens(int64_t *tokens, kd_ruler_draft *d, const char *text, int64_t size) {
    d->ids.count = 0;
    KD_TRY(kd_encode(&d->ids, d->encoder, text, size, 0));
    *tokens = d->ids.count;
    return KD_OK;
}

static kd_status texts_status(kd_ruler_draft *d) {
    bool whole = true;
    for (int i = 0; i < KD_RULER_DRAFT_TEXTS; i++) whole &= !d->text[i].failed;
    return whole ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

/* A job and its draft, for the search. */
typedef struct search { kd_ruler_draft *draft; kd_ruler_job job; } search;

static kd_status write_prompt(void *opaque, int64_t size, int64_t *tokens) {
    search *s = opaque;
    kd_ruler_draft *d = s->draft;
    each_text(d, clear);
    d->outputs = d->expecteds = 0;
    KD_TRY(texts_status(d));
    KD_TRY(writer_of_kind[s->job.maker->task->kind](d, &s->job, size));
    KD_TRY(texts_status(d));
    KD_TRY(assemble(d, s->job.maker));
    KD_TRY(kd_text_status(&d->whole));
    KD_TRY(count_tokens(tokens, d, d->whole.data, d->whole.size));
    *tokens += s->job.maker->generate;
    return KD_OK;
}

static kd_status write_example(void *opaque, int64_t size, int64_t *tokens) {
    search *s = opaque;
    each_text(s->draft, clear);
    KD_TRY(kd_ruler_chains_example(s->draft, &s->job, size));
    return count_tokens(tokens, s->draft, s->draft->within.data, s->draft->within.size);
}

/* ---- whether answers can be told apart -------------------------------------------------------------------------------------- */

static int64_t count_in(const char *text, const char *what) {
    int64_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

static void lower(kd_text *out, const kd_text *text) {
    clear(out);
    kd_text_add(out, text->data, text->size);
    if (out->failed) return;
    for (int64_t i = 0; i < out->size; i++)
        if (out->data[i] >= 'A' && out->data[i] <= 'Z') out->data[i] |= 32;
}

static kd_status is_clear(bool *yes, kd_ruler_draft *d) {
    *yes = true;
    if (!d->expecteds) return KD_OK;
    lower(&d->scratch, &d->context);
    lower(&d->small, &d->whole);
    KD_TRY(texts_status(d));
    for (int64_t i = 0; i < d->expecteds && *yes; i++) {
        const kd_ruler_expected *e = &d->expected[i];
        *yes = count_in(d->scratch.data, e->text) == e->count && (!e->alone || count_in(d->small.data, e->text) == e->count);
    }
    return KD_OK;
}

/* ---- sizes -------------------------------------------------------------------------------------------------------------------- */

void kd_ruler_sizes(int64_t *least, int64_t *most, const kd_ruler_maker *m, int64_t line) {
    const kd_ruler_task *t = m->task;
    *least = 1;
    *most = m->length;
    if (t->kind == KD_RULER_NIAH) {
        *least = t->haystack == KD_RULER_ESSAYS ? 1 : t->keys * t->values;
        if (t->haystack == KD_RULER_ESSAYS) *most = m->source->essays.words;
        else if (t->haystack == KD_RULER_NEEDLES && *most > kd_ruler_keys() - t->keys) *most = kd_ruler_keys() - t->keys;
    } else if (t->kind == KD_RULER_CHAINS) {
        *least = 5;
    } else if (t->kind == KD_RULER_COMMON) {
        *least = 11;
        *most = kd_ruler_words_of(m) - 40;
    } else if (t->kind == KD_RULER_CODED) {
        *least = 53;  /* from here on the fourth word comes more often than the fifth */
        *most = 4 * m->length;
    } else {
        *least = m->source->questions[t->second].question[line].owns;
    }
    if (*most < *least) *most = *least;
}

static kd_status fit(search *s, int64_t guess, int64_t *size, int64_t *tokens) {
    const kd_ruler_maker *m = s->job.maker;
    kd_ruler_fit f = {.budget = m->length, .slack = m->length / 1024, .guess = guess, .cost = write_prompt, .opaque = s};
    kd_ruler_sizes(&f.least, &f.most, m, s->job.line);
    return kd_ruler_fit_find(size, tokens, &f);
}

static kd_status place_fail(kd_status status, const kd_ruler_maker *m) {
    return status == KD_ECONFIG ? kd_fail_prefix(status, "%s at %lld tokens", m->task->name, (long long)m->length) : status;
}

static kd_status open_maker(kd_ruler_maker *m, kd_ruler_draft *draft) {
    search s = {draft, {m, 0, 0}};
    int64_t tokens, words;
    if (m->task->kind == KD_RULER_CODED && kd_ruler_vocabulary(m) < 5)
        return kd_fail(KD_ECONFIG, "at least %lld are needed for five code words", (long long)m->generate + 250);
    if (m->task->kind == KD_RULER_CHAINS) {
        kd_ruler_fit f = {.least = 5, .most = EXAMPLE, .budget = EXAMPLE, .cost = write_example, .opaque = &s};
        KD_TRY(write_example(&s, f.least, &tokens));
        if (tokens > EXAMPLE) m->example = f.least;  /* of a tokenizer by which texts are long */
        else KD_TRY(kd_ruler_fit_find(&m->example, &tokens, &f));
    }
    KD_TRY(fit(&s, 0, &m->guess, &words));
    return KD_OK;
}

kd_status kd_ruler_maker_open(kd_ruler_maker *maker, const kd_ruler_source *source, const kd_ruler_task *task, int64_t length,
                              kd_ruler_draft *draft) {
    *maker = (kd_ruler_maker){.source = source, .task = task, .length = length, .samples = INT64_MAX,
                              .generate = source->wording.generate[task->kind]};
    if (!maker->generate) maker->generate = task->generate;
    if (task->kind == KD_RULER_QA) maker->samples = source->questions[task->second].questions;
    return place_fail(open_maker(maker, draft), maker);
}

/* ---- samples ---------------------------------------------------------------------------------------------------------------- */

void kd_ruler_sample_close(kd_ruler_sample *s) {
    for (int64_t i = 0; s->output && i < s->outputs; i++) free(s->output[i]);
    free(s->output);
    free(s->input);
    free(s->prefix);
    *s = (kd_ruler_sample){0};
}

static kd_status keep(kd_ruler_sample *out, kd_ruler_draft *d, bool positions) {
    const char *at = d->output.data;
    out->input = strndup(d->whole.data, (size_t)d->split);
    out->prefix = strdup(d->whole.data + d->split);
    KD_TRY(kd_new(&out->output, d->outputs, sizeof *out->output));
    out->outputs = d->outputs;
    bool whole = out->input && out->prefix;
    for (int64_t i = 0; i < d->outputs; i++, at += strlen(at) + 1) whole &= (out->output[i] = strdup(at)) != NULL;
    if (!whole) return kd_fail(KD_ENOMEM, "out of memory");
    out->position = -1;
    const char *found = positions ? strstr(out->input, out->output[0]) : NULL;
    return found ? count_tokens(&out->position, d, out->input, found - out->input) : KD_OK;
}

static kd_status make(kd_ruler_sample *out, const kd_ruler_maker *m, kd_ruler_draft *d, int64_t line, bool positions) {
    search s = {d, {m, line, 0}};
    bool clear_cut = false;
    int64_t size;
    if (line >= m->samples) return kd_fail(KD_ECONFIG, "sample %lld: there are %lld questions", (long long)line + 1, (long long)m->samples);
    for (; !clear_cut; s.job.attempt++) {
        if (s.job.attempt == ATTEMPTS)
            return kd_fail(KD_ECONFIG, "sample %lld: in %d attempts answers stood elsewhere in the text too", (long long)line + 1,
                           ATTEMPTS);
        KD_TRY(fit(&s, m->guess, &size, &out->length));
        KD_TRY(is_clear(&clear_cut, d));
    }
    return keep(out, d, positions);
}

kd_status kd_ruler_make(kd_ruler_sample *sample, const kd_ruler_maker *maker, kd_ruler_draft *draft, int64_t line, bool positions) {
    *sample = (kd_ruler_sample){.line = line};
    kd_status status = place_fail(make(sample, maker, draft, line, positions), maker);
    if (status) kd_ruler_sample_close(sample);
    return status;
}

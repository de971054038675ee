/* Opening, asking, stepping. Who reads where is decided in engine_place.c, what is read and what comes of it in engine_read.c. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "engine_state.h"

enum { SEQUENCES = KD_BLOCK / 2 };  /* however many speak, half a block is left for those that read */

void kd_answer_free(kd_answer *a) {
    free(a->message);
    free(a->likelihood);
    free(a->top);
    free(a->ids.id);
    free(a->log);
    free(a->text);
    *a = (kd_answer){0};
}

/* ---- jobs --------------------------------------------------------------------------------------------------------------- */

static void free_job(kd_job *job) {
    kd_answer_text_close(&job->words);
    kd_answer_free(&job->answer);
    free(job);
}

void kd_engine_finish(kd_engine *engine, kd_job *job, kd_status status) {
    kd_ticket *ticket = job->ticket;
    kd_answer answer = job->answer;
    for (kd_slot *s = engine->slot; s < engine->slot + engine->options.sequences; s++)
        if (s->job == job) s->job = NULL;
    answer.status = status;
    answer.message = status ? strdup(kd_message()) : NULL;  /* NULL where memory is out: the status says so */
    if (job->words.text.data && !status) {
        answer.text = job->words.text.data;
        answer.text_size = job->words.text.size;
        job->words.text = (kd_text){0};
    }
    job->answer = (kd_answer){0};
    free_job(job);
    ticket->done(ticket, &answer);
}

static kd_status check(const kd_engine *e, const kd_question *q) {
    const long long length = (long long)e->options.length, V = (long long)e->config->V, tops = V < KD_TOPS ? V : KD_TOPS;
    if (q->count < 1) return kd_fail(KD_EARG, "a prompt without a token");
    if (q->most < 0 || q->most > e->options.length || q->count - 1 > e->options.length - q->most)
        return kd_fail(KD_EARG, "a prompt of %lld tokens and %lld more: the length is %lld", (long long)q->count, (long long)q->most, length);
    if (q->scored < 0 || q->scored > q->count - 1)
        return kd_fail(KD_EARG, "likelihoods of %lld tokens of %lld: the first has none", (long long)q->scored, (long long)q->count);
    if (q->tops < 0 || q->tops > tops) return kd_fail(KD_EARG, "the %lld likeliest tokens: at most %lld", (long long)q->tops, tops);
    if (q->most && !e->tokenizer) return kd_fail(KD_EARG, "to generate text takes a tokenizer");
    for (int64_t i = 0; i < q->count; i++)
        if (q->token[i] < 0 || q->token[i] >= V)
            return kd_fail(KD_EARG, "token %lld of the prompt is %d: the vocabulary has %lld", (long long)i, (int)q->token[i], V);
    if (q->least < 0 || q->stop_tokens < 0 || q->stop_tokens > KD_STOP_TOKENS)
        return kd_fail(KD_EARG, "%lld stop tokens: at most %d; %lld tokens at least", (long long)q->stop_tokens, KD_STOP_TOKENS,
                       (long long)q->least);
    for (int64_t i = 0; i < q->stops; i++)
        if (!q->stop[i] || !*q->stop[i]) return kd_fail(KD_EARG, "stop string %lld is empty", (long long)i);
    return kd_sampling_check(&q->sampling);
}

static kd_status open_job(kd_engine *e, kd_job *job) {
    const kd_question *q = job->question;
    KD_TRY(kd_new(&job->answer.likelihood, q->scored + 1, sizeof *job->answer.likelihood));
    job->top_room = q->scored * q->tops + 1;
    KD_TRY(kd_new(&job->answer.top, job->top_room, sizeof *job->answer.top));
    if (!q->most) return KD_OK;
    KD_TRY(kd_answer_text_open(&job->words, e->tokenizer, q->token, q->count, q->stop, q->stops));
    kd_text_put(&job->words.text, "");  /* there is a text, if an empty one */
    return kd_text_status(&job->words.text);
}

kd_status kd_engine_submit(kd_engine *e, kd_ticket *ticket) {
    kd_job *job;
    KD_TRY(check(e, &ticket->question));
    KD_TRY(kd_new(&job, 1, sizeof *job));
    job->ticket = ticket;
    job->question = &ticket->question;
    kd_status status = open_job(e, job);
    if (status) {
        free_job(job);
        return status;
    }
    *e->last = job;
    e->last = &job->next;
    return KD_OK;
}

void kd_engine_unqueue(kd_engine *e, kd_job **at) {
    kd_job *job = *at;
    *at = job->next;
    if (e->last == &job->next) e->last = at;
    job->next = NULL;
}

void kd_engine_cancel(kd_engine *e, kd_ticket *ticket) {
    kd_job *found = NULL, **at = &e->first;
    while (*at && (*at)->ticket != ticket) at = &(*at)->next;
    if ((found = *at)) kd_engine_unqueue(e, at);
    for (int64_t i = 0; i < e->options.sequences && !found; i++)
        if (e->slot[i].job && e->slot[i].job->ticket == ticket) found = e->slot[i].job;
    if (found) kd_engine_finish(e, found, kd_fail(KD_EAGAIN, "cancelled"));
}

static kd_job *any_job(kd_engine *e) {
    kd_job *job = e->first;
    if (job) kd_engine_unqueue(e, &e->first);
    for (int64_t i = 0; i < e->options.sequences && !job; i++) job = e->slot[i].job;
    return job;
}

/* All of them, whose done may ask again: that is not answered. */
static void end_all(kd_engine *e, kd_status status, const char *why) {
    char *message = strdup(why), *said = strdup(kd_message());  /* said: of whatever the caller is about */
    for (kd_job *job; (job = any_job(e));) {
        kd_message_set(message ? message : "out of memory");
        kd_engine_finish(e, job, status);
    }
    kd_message_set(said ? said : "out of memory");
    free(message);
    free(said);
    for (int64_t i = 0; i < e->options.sequences; i++) e->slot[i].held = e->slot[i].known = 0;  /* what the decoder holds is in doubt */
}

/* ---- the engine ----------------------------------------------------------------------------------------------------------- */

static kd_status open_buffers(kd_engine *e) {
    const int64_t S = e->options.sequences;
    int64_t logits;
    KD_TRY(kd_size_multiply(&logits, S, e->config->V));
    KD_TRY(kd_new(&e->slot, S, sizeof *e->slot));
    for (int64_t i = 0; i < S; i++) e->slot[i].sequence = i;
    KD_TRY(kd_new(&e->feed, S, sizeof *e->feed));
    KD_TRY(kd_new(&e->fed, S, sizeof *e->fed));
    KD_TRY(kd_new(&e->target, KD_BLOCK, sizeof *e->target));
    KD_TRY(kd_new(&e->likelihood, KD_BLOCK, sizeof *e->likelihood));
    KD_TRY(kd_new(&e->top, KD_BLOCK * KD_TOPS, sizeof *e->top));
    KD_TRY(kd_new(&e->logits, logits, sizeof *e->logits));
    return kd_sampler_open(&e->sampler, e->config->V);
}

static void add_eos(kd_engine *e, int64_t id) {
    if (id < 0 || id >= e->config->V || (e->eoses && e->eos[0] == id)) return;
    e->eos[e->eoses++] = (int32_t)id;
}

kd_status kd_engine_open(kd_engine **out, kd_decoder *decoder, const kd_config *config, const kd_decoder_options *options,
                         const kd_tokenizer *tokenizer) {
    kd_engine *e;
    *out = NULL;
    if (options->sequences < 1 || options->sequences > SEQUENCES || options->length < 1)
        return kd_fail(KD_ECONFIG, "%lld sequences of %lld tokens at once: 1 to %d sequences of 1 token or more", (long long)options->sequences,
                       (long long)options->length, SEQUENCES);
    KD_TRY(kd_new(&e, 1, sizeof *e));
    *e = (kd_engine){.decoder = decoder, .config = config, .tokenizer = tokenizer, .options = *options, .ids = config->V};
    e->last = &e->first;
    if (tokenizer && tokenizer->vocabulary < e->ids) e->ids = tokenizer->vocabulary;
    if (tokenizer) add_eos(e, tokenizer->eos);
    add_eos(e, config->eos);
    kd_status status = open_buffers(e);
    if (status) kd_engine_close(e);
    else *out = e;
    return status;
}

void kd_engine_close(kd_engine *e) {
    if (!e) return;
    if (e->slot) end_all(e, KD_EAGAIN, "the engine is closed");
    for (int64_t i = 0; e->slot && i < e->options.sequences; i++) {
        free(e->slot[i].token);
        free(e->slot[i].score);
    }
    kd_sampler_close(&e->sampler);
    free(e->slot);
    free(e->feed);
    free(e->fed);
    free(e->target);
    free(e->likelihood);
    free(e->top);
    free(e->logits);
    free(e);
}

static kd_status step(kd_engine *e, bool *idle) {
    KD_TRY(kd_engine_place(e));
    int64_t feeds = kd_engine_feed(e);
    *idle = feeds == 0 && !e->first;
    if (!feeds) return KD_OK;
    KD_TRY(kd_decoder_read(e->decoder, e->feed, feeds));
    for (int64_t i = 0; i < feeds; i++) {
        kd_job *job = e->fed[i]->job;
        if (!job) continue;  /* cancelled by what another's answer made its asker do */
        kd_status status = kd_engine_take(e, &e->feed[i], e->fed[i]);
        if (status) kd_engine_finish(e, job, status);
    }
    return KD_OK;
}

kd_status kd_engine_step(kd_engine *e, bool *idle) {
    *idle = false;
    kd_status status = step(e, idle);
    if (status) end_all(e, status, kd_message());
    return status;
}

/* ---- many at once ----------------------------------------------------------------------------------------------------------- */

typedef struct many { kd_answer *answer; int64_t *left; kd_ticket ticket; } many;

static void keep(kd_ticket *ticket, kd_answer *answer) {
    many *m = ticket->opaque;
    *m->answer = *answer;
    --*m->left;
}

/* Those that begin alike follow one another. */
static int by_tokens(const void *x, const void *y) {
    const kd_question *a = &((const many *)x)->ticket.question, *b = &((const many *)y)->ticket.question;
    int64_t shorter = a->count < b->count ? a->count : b->count;
    for (int64_t i = 0; i < shorter; i++)
        if (a->token[i] != b->token[i]) return a->token[i] < b->token[i] ? -1 : 1;
    return (a->count > b->count) - (a->count < b->count);
}

kd_status kd_engine_answer(kd_engine *e, const kd_question *question, kd_answer *answer, int64_t count) {
    many *m;
    int64_t left = count;
    kd_status status = KD_OK;
    bool idle;
    memset(answer, 0, (size_t)count * sizeof *answer);
    KD_TRY(kd_new(&m, count, sizeof *m));
    for (int64_t i = 0; i < count; i++) m[i] = (many){&answer[i], &left, {question[i], keep, NULL}};
    qsort(m, (size_t)count, sizeof *m, by_tokens);
    for (int64_t i = 0; i < count; i++) {
        m[i].ticket.opaque = &m[i];
        kd_status refused = kd_engine_submit(e, &m[i].ticket);
        if (!refused) continue;
        *m[i].answer = (kd_answer){.status = refused, .message = strdup(kd_message())};
        left--;
    }
    while (left > 0 && !status) status = kd_engine_step(e, &idle);
    free(m);
    return status;
}

/* What sequences read next, and what comes of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "engine_state.h"

static bool has(const int32_t *list, int64_t count, int32_t token) {
    for (int64_t i = 0; i < count; i++)
        if (list[i] == token) return true;
    return false;
}

static bool speaks(const kd_job *job, const kd_slot *s) { return job->question->most > 0 && s->held >= kd_job_reads(job); }

static bool at_least(const kd_job *job) { return job->answer.ids.count < job->question->least; }

/* Whether the likeliest token, which the decoder names, is the next one, whatever it is. */
static bool is_plain(const kd_engine *e, const kd_job *job) {
    const kd_question *q = job->question;
    return q->sampling.temperature == 0 && e->ids == e->config->V && !at_least(job);
}

/* ---- feeds --------------------------------------------------------------------------------------------------------------- */

typedef struct room { int64_t feeds, tokens; } room;

static kd_feed *next_feed(kd_engine *e, kd_slot *s, const room *r, const int32_t *token, int64_t count) {
    kd_feed *f = &e->feed[r->feeds];
    *f = (kd_feed){.sequence = s->sequence, .from = s->held, .token = token, .count = count, .top = e->top + r->tokens * KD_TOPS};
    e->fed[r->feeds] = s;
    return f;
}

/* The next token follows what this feed ends with. */
static void ask_next(kd_engine *e, kd_feed *f, const kd_job *job, const room *r) {
    f->tops = job->question->tops > 1 ? job->question->tops : 1;
    if (!is_plain(e, job)) f->logits = e->logits + r->feeds * e->config->V;
}

static void feed_answer(kd_engine *e, kd_slot *s, room *r) {
    const kd_ids *ids = &s->job->answer.ids;
    kd_feed *f = next_feed(e, s, r, &ids->id[ids->count - 1], 1);
    ask_next(e, f, s->job, r);
    r->feeds++;
    r->tokens++;
}

static void feed_prompt(kd_engine *e, kd_slot *s, room *r) {
    const kd_job *job = s->job;
    const kd_question *q = job->question;
    int64_t left = kd_job_reads(job) - s->held, first = q->count - q->scored;
    int64_t count = left < KD_BLOCK - r->tokens ? left : KD_BLOCK - r->tokens;
    kd_feed *f = next_feed(e, s, r, q->token + s->held, count);
    if (count == left && q->most) ask_next(e, f, job, r);
    if (s->held + count >= first) {  /* some of the tokens behind these are asked about */
        int32_t *target = e->target + r->tokens;
        for (int64_t k = 0; k < count; k++) {
            int64_t next = s->held + k + 1;
            target[k] = next >= first && next < q->count ? q->token[next] : -1;
        }
        f->target = target;
        f->likelihood = e->likelihood + r->tokens;
        if (f->tops < q->tops) f->tops = q->tops;
    }
    r->feeds++;
    r->tokens += count;
}

int64_t kd_engine_feed(kd_engine *e) {
    room r = {0, 0};
    kd_slot *end = e->slot + e->options.sequences;
    for (kd_slot *s = e->slot; s < end; s++)
        if (s->job && speaks(s->job, s)) feed_answer(e, s, &r);
    for (int64_t turn = 0; r.tokens < KD_BLOCK;) {  /* who came first reads first */
        kd_slot *next = NULL;
        for (kd_slot *s = e->slot; s < end; s++)
            if (s->job && s->job->turn > turn && !speaks(s->job, s) && (!next || s->job->turn < next->job->turn)) next = s;
        if (!next) break;
        turn = next->job->turn;
        feed_prompt(e, next, &r);
    }
    return r.feeds;
}

/* ---- what came of a prompt --------------------------------------------------------------------------------------------------- */

static kd_status take_likelihoods(kd_slot *s, const kd_feed *f) {
    kd_job *job = s->job;
    const kd_question *q = job->question;
    int64_t first = q->count - q->scored;
    for (int64_t k = 0; k < f->count; k++) {
        if (f->target[k] < 0) continue;
        int64_t at = f->from + k + 1;
        kd_score *score = &s->score[at];
        if (isnan(f->likelihood[k].log)) return kd_fail(KD_ENUMERIC, "the likelihood of token %lld is not a number", (long long)at);
        *score = (kd_score){.likelihood = f->likelihood[k], .known = KD_SCORE_LIKELIHOOD | (f->tops ? KD_SCORE_TOP : 0)};
        if (f->tops) score->top = f->top[k * f->tops];
        job->answer.likelihood[at - first] = f->likelihood[k];
        for (int64_t i = 0; i < q->tops; i++) job->answer.top[(at - first) * q->tops + i] = f->top[k * f->tops + i];
        s->scores = at + 1;
    }
    return KD_OK;
}

/* ---- the next token -------------------------------------------------------------------------------------------------------- */

static kd_status end_answer(kd_engine *e, kd_job *job, kd_finish finish);

static kd_status hear(kd_job *job, bool ended) {
    const kd_question *q = job->question;
    int64_t settled = kd_answer_text_settled(&job->words, ended), from = job->told;
    if (!q->heard || settled <= from) return KD_OK;
    job->told = settled;
    return q->heard(q->opaque, job->words.text.data + from, settled - from);
}

static kd_status choose_token(int32_t *token, double *log, kd_engine *e, const kd_job *job, const kd_feed *f) {
    const kd_question *q = job->question;
    const kd_likely *top = f->top + (f->count - 1) * f->tops;
    int32_t banned[2 + KD_STOP_TOKENS];
    int64_t bans = 0;
    if (!isfinite(top[0].log)) return kd_fail(KD_ENUMERIC, "the likelihood of the next token is %g", top[0].log);
    *token = top[0].token;
    *log = top[0].log;
    if (!f->logits) return KD_OK;
    for (int64_t i = 0; at_least(job) && !q->past_eos && i < e->eoses; i++) banned[bans++] = e->eos[i];
    for (int64_t i = 0; at_least(job) && i < q->stop_tokens; i++) banned[bans++] = q->stop_token[i];
    KD_TRY(kd_sample(token, &e->sampler, f->logits, e->ids, &q->sampling, job->answer.ids.count, banned, bans));
    *log = (double)f->logits[*token] - (double)f->logits[top[0].token] + top[0].log;  /* as kd_likelihoods has it, to the bit */
    return KD_OK;
}

static kd_status keep_token(kd_job *job, int32_t token, double log, const kd_feed *f) {
    const kd_question *q = job->question;
    kd_answer *a = &job->answer;
    int64_t rows = q->scored + a->ids.count, log_room = a->ids.room;
    KD_TRY(kd_ids_reserve(&a->ids, 1));
    if (a->ids.room > log_room || !a->log) {
        double *larger = realloc(a->log, (size_t)a->ids.room * sizeof *larger);
        if (!larger) return kd_fail(KD_ENOMEM, "out of memory: an answer of %lld tokens", (long long)a->ids.count);
        a->log = larger;
    }
    KD_TRY(kd_grow(&a->top, &job->top_room, (rows + 1) * q->tops + 1, sizeof *a->top));
    for (int64_t i = 0; i < q->tops; i++) a->top[rows * q->tops + i] = f->top[(f->count - 1) * f->tops + i];
    a->log[a->ids.count] = log;
    a->ids.id[a->ids.count++] = token;
    return KD_OK;
}

static kd_status next_token(kd_engine *e, kd_job *job, const kd_feed *f) {
    const kd_question *q = job->question;
    int32_t token;
    double log;
    KD_TRY(choose_token(&token, &log, e, job, f));
    if (has(q->stop_token, q->stop_tokens, token)) return end_answer(e, job, KD_FINISH_STOP);
    if (!q->past_eos && has(e->eos, e->eoses, token)) return end_answer(e, job, KD_FINISH_EOS);
    KD_TRY(keep_token(job, token, log, f));
    KD_TRY(kd_answer_text_add(&job->words, token));
    if (job->words.stopped) return end_answer(e, job, KD_FINISH_STOP);
    if (job->answer.ids.count == q->most) return end_answer(e, job, KD_FINISH_LENGTH);
    return hear(job, false);
}

static kd_status end_answer(kd_engine *e, kd_job *job, kd_finish finish) {
    KD_TRY(kd_answer_text_end(&job->words));
    KD_TRY(hear(job, true));
    job->answer.finish = job->words.stopped ? KD_FINISH_STOP : finish;
    kd_engine_finish(e, job, KD_OK);
    return KD_OK;
}

kd_status kd_engine_take(kd_engine *e, const kd_feed *f, kd_slot *s) {
    kd_job *job = s->job;
    bool spoke = speaks(job, s);
    if (spoke) s->token[s->held] = f->token[0];
    if (f->target) KD_TRY(take_likelihoods(s, f));
    s->held += f->count;
    if (spoke) s->known = s->held;
    if (s->held < kd_job_reads(job)) return KD_OK;
    if (job->question->most) return next_token(e, job, f);
    kd_engine_finish(e, job, KD_OK);
    return KD_OK;
}

/* Which sequence reads a question: the one that holds most of it, so that least has to be read again. */
#include <string.h>

#include "base/arena.h"
#include "engine_state.h"

enum {
    WAIT = 16,   /* tokens that are worth waiting for until another has read them */
    LOOK = 256,  /* questions that are looked at while the first waits */
};

int64_t kd_job_reads(const kd_job *job) { return job->question->count - (job->question->most == 0); }

static int64_t common(const int32_t *a, const int32_t *b, int64_t count) {
    int64_t n = 0;
    while (n + 64 <= count && !memcmp(a + n, b + n, 64 * sizeof *a)) n += 64;
    while (n < count && a[n] == b[n]) n++;
    return n;
}

/* Whether the slot knows, or will know when it has read its prompt, what is asked about token i < known. */
static bool knows(const kd_slot *s, int64_t i, int64_t tops, bool coming) {
    int wanted = KD_SCORE_LIKELIHOOD | (tops ? KD_SCORE_TOP : 0);
    if (tops > 1) return false;
    if (i <= s->held) return (s->score[i].known & wanted) == wanted;
    return coming && i >= s->job->question->count - s->job->question->scored && (!tops || s->job->question->tops);
}

/* The token that a job's reading begins with, behind `shared` tokens of a slot: what comes of reading a token is wanted of all from there
 * on. */
static int64_t begin(const kd_slot *s, const kd_job *job, int64_t shared, bool coming) {
    const kd_question *q = job->question;
    int64_t first = q->count - q->scored, reads = kd_job_reads(job), at = q->most ? q->count - 1 : q->count;
    while (first < q->count && first < shared && knows(s, first, q->tops, coming)) first++;
    if (first < q->count) at = first - 1;
    return at < shared ? at : shared < reads ? shared : reads;
}

typedef struct place { kd_slot *slot; int64_t shared, begin; } place;

/* The slot with which least is left to read; of equals one that is free. coming: with what it will hold. */
static place best_place(const kd_engine *e, const kd_job *job, bool coming) {
    place best = {NULL, 0, -1};
    for (kd_slot *s = e->slot; s < e->slot + e->options.sequences; s++) {
        if (coming && !s->job) continue;
        int64_t there = coming ? s->known : s->held;
        if (there > job->question->count) there = job->question->count;
        if (there < best.begin) continue;
        int64_t shared = common(s->token, job->question->token, there);
        int64_t at = begin(s, job, shared, coming);
        if (at > best.begin || (at == best.begin && best.slot->job && !s->job)) best = (place){s, shared, at};
    }
    return best;
}

static kd_slot *longest_unused(const kd_engine *e) {
    kd_slot *best = NULL;
    for (kd_slot *s = e->slot; s < e->slot + e->options.sequences; s++)
        if (!s->job && (!best || s->used < best->used)) best = s;
    return best;
}

/* ---- taking a place ----------------------------------------------------------------------------------------------------- */

static kd_status reserve(kd_slot *s, int64_t count) {
    int64_t room = s->score_room;
    KD_TRY(kd_grow(&s->token, &s->token_room, count, sizeof *s->token));
    KD_TRY(kd_grow(&s->score, &s->score_room, count, sizeof *s->score));
    if (s->score_room > room) memset(s->score + room, 0, (size_t)(s->score_room - room) * sizeof *s->score);
    return KD_OK;
}

/* What is known of the first tokens stays, what was known of others does not. */
static void keep_scores(kd_slot *s, int64_t shared) {
    for (int64_t i = shared; i < s->scores; i++) s->score[i].known = 0;
    s->scores = shared;
}

/* What is known already of those that are asked about. */
static void take_known(const kd_slot *s, kd_job *job, int64_t at) {
    const kd_question *q = job->question;
    int64_t first = q->count - q->scored;
    for (int64_t i = first; i <= at && i < q->count; i++) {
        job->answer.likelihood[i - first] = s->score[i].likelihood;
        if (q->tops) job->answer.top[i - first] = s->score[i].top;
    }
}

static kd_status begin_job(kd_engine *e, kd_slot *s, kd_job *job, const place *p) {
    const kd_question *q = job->question;
    KD_TRY(reserve(s, q->count + q->most));
    if (p->slot != s && p->begin > 0) {
        KD_TRY(kd_decoder_copy(e->decoder, s->sequence, p->slot->sequence, p->begin));
        s->held = 0;
        memcpy(s->score, p->slot->score, (size_t)p->shared * sizeof *s->score);
        s->scores = s->scores > p->shared ? s->scores : p->shared;
    }
    memcpy(s->token, q->token, (size_t)q->count * sizeof *q->token);
    keep_scores(s, p->shared);
    s->job = job;
    s->held = p->begin;
    s->known = kd_job_reads(job);
    s->used = job->turn = ++e->turns;
    job->answer.reused = p->begin;
    take_known(s, job, p->begin);
    return KD_OK;
}

/* Whether another will soon have read so much of the question that it is better begun then. */
static bool waits(const kd_engine *e, kd_job *job, const place *now) {
    place later = best_place(e, job, true);
    if (!later.slot || later.begin - now->begin < WAIT) return false;
    job->behind = later.slot;
    job->before = later.slot->job;
    job->until = later.shared;
    return true;
}

static bool still_waits(const kd_job *job) {
    return job->behind && job->behind->job == job->before && job->behind->held < job->until;
}

/* In the slot that holds most of it, unless that would lose more than it saves. */
static kd_slot *choose(const place *p, kd_slot *unused) {
    return p->begin > 0 && !p->slot->job && 2 * p->begin >= p->slot->held ? p->slot : unused;
}

/* *done: nothing has to be read for its answer. */
static kd_status place_job(kd_engine *e, kd_job **at, kd_slot *unused, const place *p, bool *done) {
    kd_job *job = *at;
    KD_TRY(begin_job(e, choose(p, unused), job, p));
    kd_engine_unqueue(e, at);
    *done = !job->question->most && p->begin == kd_job_reads(job);
    return KD_OK;
}

kd_status kd_engine_place(kd_engine *e) {
    kd_slot *unused;
    kd_job **at = &e->first;
    for (int64_t looked = 0; *at && looked < LOOK && (unused = longest_unused(e)); looked++) {
        kd_job *job = *at;
        bool done = !job->question->most && !job->question->scored;
        if (done) {
            kd_engine_unqueue(e, at);
        } else {
            place p = still_waits(job) ? (place){NULL, 0, 0} : best_place(e, job, false);
            if (!p.slot || waits(e, job, &p)) {
                at = &job->next;
                continue;
            }
            KD_TRY(place_job(e, at, unused, &p, &done));
        }
        if (!done) continue;
        kd_engine_finish(e, job, KD_OK);
        at = &e->first;  /* who heard of it may have asked more, or called a question back */
    }
    return KD_OK;
}

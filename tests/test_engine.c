/* Questions answered together: each as if it were alone, whatever was read for others, and read as little as can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "eval/answer_text.h"
#include "eval/engine.h"
#include "eval/sampler.h"
#include "fake_decoder.h"
#include "format/jsonl.h"
#include "scratch.h"

enum { LENGTH = 4096, MOST_STOPS = 4 };

static kd_tokenizer tokenizer;
static kd_config config = {.V = FAKE_V, .bos = KD_BYTES_BOS, .eos = KD_BYTES_EOS};
static kd_decoder *decoder;
static kd_engine *engine;

static void open_engine(int64_t sequences) {
    const kd_decoder_options options = {LENGTH, sequences, false};
    assert_done(kd_decoder_open(&decoder, NULL, &config, "", &options));
    assert_done(kd_engine_open(&engine, decoder, &config, &options, &tokenizer));
}

static void close_engine(void) {
    kd_engine_close(engine);
    kd_decoder_close(decoder);
}

static int open_all(void **state) {
    (void)state;
    return kd_tokenizer_open(&tokenizer, "bytes") != KD_OK;
}

static int close_all(void **state) {
    (void)state;
    kd_tokenizer_close(&tokenizer);
    return 0;
}

/* ---- the definition ------------------------------------------------------------------------------------------------------- */

static bool has(const int32_t *list, int64_t count, int32_t token) {
    for (int64_t i = 0; i < count; i++)
        if (list[i] == token) return true;
    return false;
}

/* One question, one token after another. */
static void answer_alone(kd_answer *a, const kd_question *q) {
    int32_t *token = malloc((size_t)(q->count + q->most) * sizeof *token);
    float logits[FAKE_V];
    kd_likely one;
    kd_sampler sampler;
    kd_answer_text words;
    *a = (kd_answer){.finish = KD_FINISH_LENGTH};
    assert_done(kd_sampler_open(&sampler, FAKE_V));
    assert_done(kd_answer_text_open(&words, &tokenizer, q->token, q->count, q->stop, q->stops));
    memcpy(token, q->token, (size_t)q->count * sizeof *token);
    a->likelihood = calloc((size_t)q->scored + 1, sizeof *a->likelihood);
    a->top = calloc((size_t)((q->scored + q->most) * q->tops + 1), sizeof *a->top);
    a->log = calloc((size_t)q->most + 1, sizeof *a->log);
    for (int64_t i = q->count - q->scored; i < q->count; i++) {
        int64_t at = i - (q->count - q->scored);
        fake_logits(logits, token, i);
        fake_likelihoods(&a->likelihood[at], a->top + at * q->tops, q->tops, logits, token[i]);
    }
    for (int64_t n = 0; n < q->most; n++) {
        int32_t banned[KD_STOP_TOKENS + 1], next;
        kd_likelihood l;
        int64_t bans = 0;
        fake_logits(logits, token, q->count + n);
        if (n < q->least && !q->past_eos) banned[bans++] = KD_BYTES_EOS;
        for (int64_t i = 0; n < q->least && i < q->stop_tokens; i++) banned[bans++] = q->stop_token[i];
        assert_done(kd_sample(&next, &sampler, logits, FAKE_V, &q->sampling, n, banned, bans));
        if (has(q->stop_token, q->stop_tokens, next)) {
            a->finish = KD_FINISH_STOP;
            break;
        }
        if (next == KD_BYTES_EOS && !q->past_eos) {
            a->finish = KD_FINISH_EOS;
            break;
        }
        fake_likelihoods(&l, &one, 0, logits, next);
        fake_likelihoods(NULL, a->top + (q->scored + n) * q->tops, q->tops, logits, -1);
        a->log[n] = l.log;
        assert_done(kd_ids_reserve(&a->ids, 1));
        a->ids.id[a->ids.count++] = token[q->count + n] = next;
        assert_done(kd_answer_text_add(&words, next));
        if (words.stopped) break;
    }
    assert_done(kd_answer_text_end(&words));
    if (words.stopped) a->finish = KD_FINISH_STOP;
    a->text = q->most ? malloc((size_t)words.text.size + 1) : NULL;
    a->text_size = words.text.size;
    if (a->text_size) memcpy(a->text, words.text.data, (size_t)a->text_size);
    kd_answer_text_close(&words);
    kd_sampler_close(&sampler);
    free(token);
}

static void assert_same(const kd_answer *got, const kd_answer *wanted, const kd_question *q) {
    if (got->status) fail_msg("%s: %s", kd_status_name(got->status), got->message);
    assert_int_equal(got->ids.count, wanted->ids.count);
    for (int64_t i = 0; i < q->scored; i++) {
        assert_memory_equal(&got->likelihood[i].log, &wanted->likelihood[i].log, sizeof(double));
        assert_int_equal(got->likelihood[i].best, wanted->likelihood[i].best);
    }
    for (int64_t i = 0; i < got->ids.count; i++) {
        assert_int_equal(got->ids.id[i], wanted->ids.id[i]);
        assert_memory_equal(&got->log[i], &wanted->log[i], sizeof(double));
    }
    for (int64_t i = 0; i < (q->scored + got->ids.count) * q->tops; i++) {
        assert_int_equal(got->top[i].token, wanted->top[i].token);
        assert_memory_equal(&got->top[i].log, &wanted->top[i].log, sizeof(double));
    }
    if (!q->most) {
        assert_null(got->text);
        return;
    }
    assert_int_equal(got->finish, wanted->finish);
    assert_int_equal(got->text_size, wanted->text_size);
    assert_memory_equal(got->text, wanted->text, (size_t)got->text_size);
    assert_int_equal(kd_utf8_invalid(got->text, got->text_size), -1);
}

/* ---- questions at random --------------------------------------------------------------------------------------------------- */

static uint64_t drawn;
static int64_t pick(int64_t below) { return (int64_t)(kd_random_bits(99, 0, drawn++) % (uint64_t)below); }

typedef struct random_question {
    kd_question q;
    int32_t *token, stop_token[2];
    char stop[MOST_STOPS][4];
    const char *stops[MOST_STOPS];
    kd_text heard;
} random_question;

static kd_status hear(void *opaque, const char *text, int64_t size) {
    random_question *r = opaque;
    assert_true(size > 0);
    assert_int_equal(kd_utf8_invalid(text, size), -1);
    kd_text_add(&r->heard, text, size);
    return KD_OK;
}

/* A few stems, so that many have much in common; some are asked again as they were. */
static void draw_question(random_question *r, const random_question *earlier, int64_t others) {
    memset(r, 0, sizeof *r);
    int64_t stem = pick(4), stem_size = 20 + 150 * stem, own = pick(60) + (pick(12) == 0 ? 600 : 0);
    r->q.count = 1 + stem_size + own;
    r->token = malloc((size_t)r->q.count * sizeof *r->token);
    r->token[0] = KD_BYTES_BOS;
    for (int64_t i = 0; i < stem_size; i++) r->token[1 + i] = (int32_t)(kd_random_bits(5, (uint64_t)stem, (uint64_t)i) % 256);
    for (int64_t i = 0; i < own; i++) r->token[1 + stem_size + i] = (int32_t)pick(i < 20 ? 2 : 259);
    if (others && pick(4) == 0) {
        const random_question *o = &earlier[pick(others)];
        free(r->token);
        r->q.count = o->q.count;
        r->token = malloc((size_t)r->q.count * sizeof *r->token);
        memcpy(r->token, o->token, (size_t)r->q.count * sizeof *r->token);
    }
    r->q.token = r->token;
    switch (pick(4)) {
        case 0: r->q.scored = r->q.count - 1; break;
        case 1: r->q.scored = pick(r->q.count); break;
        case 2: r->q.scored = pick(3) % r->q.count; break;
        default: break;
    }
    r->q.tops = pick(3) == 0 ? pick(6) : pick(2);
    r->q.most = pick(3) == 0 ? 0 : 1 + pick(40);
    r->q.least = pick(4) == 0 ? pick(10) : 0;
    r->q.past_eos = pick(4) == 0;
    r->q.sampling = (kd_sampling){.temperature = pick(2) ? 0 : 1 + 0.1 * (double)pick(5), .top_k = pick(2) * pick(50), .top_p = pick(2) ? 1 : 0.9,
                                  .seed = (uint64_t)pick(1000)};
    for (int64_t i = 0; i < MOST_STOPS && pick(2); i++) {
        for (int64_t j = 0; j <= pick(2); j++) r->stop[i][j] = (char)(1 + pick(127));
        r->stops[r->q.stops++] = r->stop[i];
    }
    r->q.stop = r->stops;
    if (pick(3) == 0) r->stop_token[r->q.stop_tokens++] = (int32_t)pick(256);
    r->q.stop_token = r->stop_token;
}

static void answers_do_not_depend_on_company(void **state) {
    (void)state;
    enum { QUESTIONS = SANITIZED ? 60 : 150 };
    static random_question r[QUESTIONS];
    static kd_answer alone[QUESTIONS], answer[QUESTIONS];
    static kd_question q[QUESTIONS];
    const int64_t sequences[] = {1, 2, 7, 32};
    int64_t reused = 0, copies = 0;
    drawn = 0;
    for (int64_t i = 0; i < QUESTIONS; i++) {
        draw_question(&r[i], r, i);
        answer_alone(&alone[i], &r[i].q);
    }
    for (size_t s = 0; s < sizeof sequences / sizeof *sequences; s++) {
        open_engine(sequences[s]);
        for (int64_t at = 0, n; at < 2 * QUESTIONS; at += n) {  /* all of them twice, in portions, with another in front */
            n = 1 + pick(40);
            if (at + n > 2 * QUESTIONS) n = 2 * QUESTIONS - at;
            for (int64_t i = 0; i < n; i++) {
                random_question *one = &r[(at + i) * 7 % QUESTIONS];
                one->heard.size = 0;
                one->q.heard = hear;
                one->q.opaque = one;
                q[i % QUESTIONS] = one->q;
            }
            assert_done(kd_engine_answer(engine, q, answer, n));
            for (int64_t i = 0; i < n; i++) {
                int64_t which = (at + i) * 7 % QUESTIONS;
                assert_same(&answer[i], &alone[which], &r[which].q);
                reused += answer[i].reused;
                kd_answer_free(&answer[i]);
                if (!r[which].q.most) continue;
                assert_int_equal(r[which].heard.size, alone[which].text_size);
                if (alone[which].text_size) assert_memory_equal(r[which].heard.data, alone[which].text, (size_t)alone[which].text_size);
            }
        }
        copies += decoder->copies;
        assert_true(decoder->most <= KD_BLOCK);
        close_engine();
    }
    assert_true(reused > 1000 && copies > 20);
    for (int64_t i = 0; i < QUESTIONS; i++) {
        kd_answer_free(&alone[i]);
        kd_text_free(&r[i].heard);
        free(r[i].token);
    }
}

/* ---- reading as little as can be --------------------------------------------------------------------------------------------- */

static int32_t stem[3 * KD_BLOCK + 64];

static void draw_stem(void) {
    for (int64_t i = 0; i < (int64_t)(sizeof stem / sizeof *stem); i++) stem[i] = (int32_t)(kd_random_bits(8, 0, (uint64_t)i) % 250);
}

static void choices_share_their_question(void **state) {
    (void)state;
    enum { CHOICES = 4, STEM = 700, OWN = 5 };
    int32_t token[CHOICES][STEM + OWN];
    kd_question q[CHOICES];
    kd_answer answer[CHOICES];
    draw_stem();
    for (int64_t c = 0; c < CHOICES; c++) {
        memcpy(token[c], stem, STEM * sizeof *stem);
        for (int64_t i = 0; i < OWN; i++) token[c][STEM + i] = (int32_t)(c * 10 + i);
        q[c] = (kd_question){.token = token[c], .count = STEM + OWN, .scored = OWN};
    }
    const int64_t sequences[] = {1, 4, 16};
    for (int s = 0; s < 3; s++) {
        open_engine(sequences[s]);
        assert_done(kd_engine_answer(engine, q, answer, CHOICES));
        /* the stem once; of each its own but the last, and for all but one the token before them */
        assert_int_equal(decoder->read, STEM + CHOICES * (OWN - 1) + (CHOICES - 1));
        int64_t fresh = 0;
        for (int64_t c = 0; c < CHOICES; c++) {
            fresh += answer[c].reused == 0;
            if (answer[c].reused) assert_int_equal(answer[c].reused, STEM - 1);
            kd_answer_free(&answer[c]);
        }
        assert_int_equal(fresh, 1);
        close_engine();
    }
}

static void what_was_scored_is_not_read_again(void **state) {
    (void)state;
    enum { N = 600 };
    draw_stem();
    kd_question q = {.token = stem, .count = N, .scored = N - 1, .tops = 1, .most = 1};
    kd_answer first, second;
    open_engine(4);
    assert_done(kd_engine_answer(engine, &q, &first, 1));
    assert_int_equal(decoder->read, N);
    int32_t last = stem[N - 1];
    stem[N - 1] = (last + 1) % 250;
    assert_done(kd_engine_answer(engine, &q, &second, 1));
    assert_int_equal(decoder->read, N + 2);
    assert_int_equal(second.reused, N - 2);
    for (int64_t i = 0; i < N - 2; i++) assert_memory_equal(&first.likelihood[i].log, &second.likelihood[i].log, sizeof(double));
    kd_answer_free(&second);
    q.tops = 3;  /* more than is remembered */
    assert_done(kd_engine_answer(engine, &q, &second, 1));
    assert_int_equal(decoder->read, 2 * N + 2);
    kd_answer_free(&first);
    kd_answer_free(&second);
    close_engine();
}

static void nothing_is_read_for_nothing(void **state) {
    (void)state;
    draw_stem();
    kd_question q = {.token = stem, .count = 300};
    kd_answer answer;
    open_engine(2);
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    assert_int_equal(answer.status, KD_OK);
    assert_int_equal(decoder->read, 0);
    kd_answer_free(&answer);
    close_engine();
}

/* ---- tickets ------------------------------------------------------------------------------------------------------------------ */

typedef struct asked { kd_ticket ticket; kd_answer answer; int64_t done, pieces; struct asked *cancels; } asked;

static void done(kd_ticket *ticket, kd_answer *answer) {
    asked *a = ticket->opaque;
    a->answer = *answer;
    a->done++;
    if (a->cancels) kd_engine_cancel(engine, &a->cancels->ticket);
}

static kd_status count_pieces(void *opaque, const char *text, int64_t size) {
    (void)text, (void)size;
    asked *a = opaque;
    a->pieces++;
    return KD_OK;
}

static void ask(asked *a, const kd_question *q) {
    *a = (asked){.ticket = {*q, done, a}};
    a->ticket.question.heard = count_pieces;
    a->ticket.question.opaque = a;
    assert_done(kd_engine_submit(engine, &a->ticket));
}

static void a_long_prompt_holds_nobody_up(void **state) {
    (void)state;
    bool idle;
    asked speaker, reader;
    const kd_question speech = {.token = (int32_t[]){'a', 'b'}, .count = 2, .most = 50, .least = 50, .past_eos = true};
    draw_stem();
    const kd_question prompt = {.token = stem, .count = 3 * KD_BLOCK, .scored = 1};
    open_engine(4);
    ask(&speaker, &speech);
    assert_done(kd_engine_step(engine, &idle));
    ask(&reader, &prompt);
    for (int step = 0; step < 3; step++) {
        int64_t read = decoder->read;
        assert_false(reader.done);
        assert_done(kd_engine_step(engine, &idle));
        assert_int_equal(decoder->read - read, KD_BLOCK);  /* one of the speaker's, the rest of the prompt's */
    }
    assert_done(kd_engine_step(engine, &idle));
    assert_int_equal(reader.done, 1);
    while (!idle) assert_done(kd_engine_step(engine, &idle));
    assert_int_equal(speaker.done, 1);
    assert_int_equal(speaker.answer.ids.count, 50);
    kd_answer_free(&speaker.answer);
    kd_answer_free(&reader.answer);
    close_engine();
}

static void a_cancelled_question_is_gone(void **state) {
    (void)state;
    bool idle;
    asked a[4];
    kd_answer alone;
    kd_question q = {.token = (int32_t[]){'x', 'y', 'z'}, .count = 3, .most = 30, .past_eos = true};
    answer_alone(&alone, &q);
    open_engine(2);
    for (int i = 0; i < 4; i++) ask(&a[i], &q);
    assert_done(kd_engine_step(engine, &idle));
    kd_engine_cancel(engine, &a[0].ticket);  /* speaks */
    kd_engine_cancel(engine, &a[3].ticket);  /* waits, the last */
    kd_engine_cancel(engine, &a[3].ticket);  /* is gone */
    assert_int_equal(a[0].done, 1);
    assert_int_equal(a[3].done, 1);
    assert_int_equal(a[0].answer.status, KD_EAGAIN);
    asked late;
    ask(&late, &q);
    for (idle = false; !idle;) assert_done(kd_engine_step(engine, &idle));
    assert_same(&a[1].answer, &alone, &q);
    assert_same(&a[2].answer, &alone, &q);
    assert_same(&late.answer, &alone, &q);
    for (int i = 0; i < 4; i++) kd_answer_free(&a[i].answer);
    kd_answer_free(&late.answer);
    for (int i = 0; i < 2; i++) ask(&a[i], &q);  /* one's end is another's, in the same step */
    a[0].cancels = &a[1];
    for (idle = false; !idle;) assert_done(kd_engine_step(engine, &idle));
    assert_same(&a[0].answer, &alone, &q);
    assert_int_equal(a[1].answer.status, KD_EAGAIN);
    assert_int_equal(a[1].done, 1);
    for (int i = 0; i < 2; i++) kd_answer_free(&a[i].answer);
    for (int i = 0; i < 4; i++) ask(&a[i], &q);
    assert_done(kd_engine_step(engine, &idle));
    kd_answer_free(&alone);
    kd_engine_close(engine);
    kd_decoder_close(decoder);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(a[i].done, 1);
        assert_int_equal(a[i].answer.status, KD_EAGAIN);
        kd_answer_free(&a[i].answer);
    }
}

static void a_broken_decoder_ends_all_and_may_recover(void **state) {
    (void)state;
    const kd_question one = {.token = (int32_t[]){'x', 'y', 'z'}, .count = 3, .most = 30}, q[3] = {one, one, one};
    kd_answer answer[3], alone;
    answer_alone(&alone, q);
    open_engine(2);
    decoder->broken = true;
    assert_fails(kd_engine_answer(engine, q, answer, 3), KD_EIO, "the decoder is broken");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(answer[i].status, KD_EIO);
        assert_string_equal(answer[i].message, "the decoder is broken");
        kd_answer_free(&answer[i]);
    }
    decoder->broken = false;
    decoder->held[0] = decoder->held[1] = 0;
    assert_done(kd_engine_answer(engine, q, answer, 3));
    for (int i = 0; i < 3; i++) {
        assert_same(&answer[i], &alone, q);
        kd_answer_free(&answer[i]);
    }
    kd_answer_free(&alone);
    close_engine();
}

/* ---- ends ----------------------------------------------------------------------------------------------------------------------- */

/* What script n says to these stops. */
static void assert_says(const char *script, const kd_question *how, const char *text, kd_finish finish, int64_t ids) {
    kd_question q = *how;
    kd_answer answer;
    random_question r = {0};
    fake_script[1] = script;
    q.token = (int32_t[]){KD_BYTES_EOS, 1};
    q.count = 2;
    q.heard = hear;
    q.opaque = &r;
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    if (answer.status) fail_msg("%s", answer.message);
    assert_string_equal(answer.text, text);
    assert_int_equal(answer.text_size, strlen(text));
    assert_int_equal(answer.finish, finish);
    assert_int_equal(answer.ids.count, ids);
    assert_string_equal(r.heard.data ? r.heard.data : "", text);
    kd_text_free(&r.heard);
    kd_answer_free(&answer);
}

#define STOPS(...) .stop = (const char *[]){__VA_ARGS__}, .stops = sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)

static void an_answer_ends_where_it_should(void **state) {
    (void)state;
    open_engine(2);
    assert_says("one two", &(kd_question){.most = 100}, "one two", KD_FINISH_EOS, 7);
    assert_says("one two", &(kd_question){.most = 5}, "one t", KD_FINISH_LENGTH, 5);
    assert_says("one two", &(kd_question){.most = 7}, "one two", KD_FINISH_LENGTH, 7);
    assert_says("one two", &(kd_question){.most = 100, STOPS("e t")}, "on", KD_FINISH_STOP, 5);
    assert_says("one two", &(kd_question){.most = 100, STOPS("two!", "two", "xyz")}, "one ", KD_FINISH_STOP, 7);
    assert_says("one two", &(kd_question){.most = 100, STOPS("two!")}, "one two", KD_FINISH_EOS, 7);
    assert_says("one two", &(kd_question){.most = 5, STOPS("two")}, "one t", KD_FINISH_LENGTH, 5);
    assert_says("one two", &(kd_question){.most = 100, STOPS("o")}, "", KD_FINISH_STOP, 1);
    assert_says("aaab", &(kd_question){.most = 100, STOPS("aab")}, "a", KD_FINISH_STOP, 4);
    assert_says("abcabd", &(kd_question){.most = 100, STOPS("abd", "bc")}, "a", KD_FINISH_STOP, 3);
    assert_says("one two", &(kd_question){.most = 100, .stop_token = (int32_t[]){' '}, .stop_tokens = 1}, "one", KD_FINISH_STOP, 3);
    assert_says("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80.", &(kd_question){.most = 100},
                "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80.", KD_FINISH_EOS, 16);
    assert_says("gr\xc3\xbc\xc3\x9f", &(kd_question){.most = 100, STOPS("\xc3\x9f")}, "gr\xc3\xbc", KD_FINISH_STOP, 6);
    assert_says("\xe2\x82\xac", &(kd_question){.most = 2}, KD_REPLACEMENT, KD_FINISH_LENGTH, 2);
    assert_says("\xe2\x82\xac", &(kd_question){.most = 2, STOPS(KD_REPLACEMENT)}, "", KD_FINISH_STOP, 2);
    assert_says("a\x80\xff\xe2\x82z", &(kd_question){.most = 100}, "a" KD_REPLACEMENT KD_REPLACEMENT KD_REPLACEMENT "z", KD_FINISH_EOS, 6);
    close_engine();
}

static void at_least_so_many_tokens_come(void **state) {
    (void)state;
    kd_answer answer;
    fake_script[2] = "ab";
    kd_question q = {.token = (int32_t[]){KD_BYTES_EOS, 2}, .count = 2, .most = 20, .least = 6, .stop_token = (int32_t[]){'b'}, .stop_tokens = 1};
    open_engine(1);
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    assert_int_equal(answer.ids.id[0], 'a');
    assert_int_equal(answer.ids.count, 6);  /* EOS would have come at the third, 'b' at the second */
    for (int64_t i = 0; i < 6; i++) assert_true(answer.ids.id[i] != KD_BYTES_EOS && answer.ids.id[i] != 'b');
    assert_int_equal(answer.finish, KD_FINISH_EOS);
    kd_answer_free(&answer);
    q = (kd_question){.token = q.token, .count = 2, .most = 4, .past_eos = true};
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    assert_int_equal(answer.ids.count, 4);
    assert_int_equal(answer.ids.id[2], KD_BYTES_EOS);
    assert_int_equal(answer.finish, KD_FINISH_LENGTH);
    assert_memory_equal(answer.text, "ab", 2);
    kd_answer_free(&answer);
    close_engine();
}

static kd_status refuse(void *opaque, const char *text, int64_t size) {
    (void)opaque, (void)text, (void)size;
    return kd_fail(KD_EIO, "nobody listens");
}

static void who_does_not_listen_ends_the_answer(void **state) {
    (void)state;
    kd_answer answer;
    fake_script[3] = "abc";
    kd_question q = {.token = (int32_t[]){KD_BYTES_EOS, 3}, .count = 2, .most = 20, .heard = refuse};
    open_engine(1);
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    assert_int_equal(answer.status, KD_EIO);
    assert_string_equal(answer.message, "nobody listens");
    kd_answer_free(&answer);
    close_engine();
}

static void the_whole_length_may_be_used(void **state) {
    (void)state;
    kd_answer answer;
    int32_t *token = calloc(LENGTH + 1, sizeof *token);
    open_engine(1);
    kd_question q = {.token = token, .count = LENGTH, .most = 1, .scored = 3};
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    assert_int_equal(answer.status, KD_OK);
    assert_int_equal(decoder->held[0], LENGTH);
    kd_answer_free(&answer);
    q = (kd_question){.token = token, .count = LENGTH - 9, .most = 10, .past_eos = true};
    assert_done(kd_engine_answer(engine, &q, &answer, 1));
    assert_int_equal(answer.ids.count, 10);
    kd_answer_free(&answer);
    close_engine();
    free(token);
}

static void questions_that_cannot_be_asked_are_refused(void **state) {
    (void)state;
    int32_t *token = calloc(LENGTH + 1, sizeof *token);
    const struct { kd_question q; const char *message; } cases[] = {
        {{.token = token}, "a prompt without a token"},
        {{.token = token, .count = LENGTH + 2}, "4098 tokens and 0 more: the length is 4096"},
        {{.token = token, .count = LENGTH, .most = 2}, "4096 tokens and 2 more"},
        {{.token = token, .count = 1, .most = INT64_MAX}, "the length is 4096"},
        {{.token = token, .count = 5, .scored = 5}, "likelihoods of 5 tokens of 5"},
        {{.token = token, .count = 5, .tops = 65}, "at most 64"},
        {{.token = (int32_t[]){1, 259}, .count = 2}, "token 1 of the prompt is 259: the vocabulary has 259"},
        {{.token = (int32_t[]){-1}, .count = 1}, "token 0 of the prompt is -1"},
        {{.token = token, .count = 1, .most = 1, STOPS("a", "")}, "stop string 1 is empty"},
        {{.token = token, .count = 1, .most = 1, .stop_tokens = 65}, "65 stop tokens"},
        {{.token = token, .count = 1, .most = 1, .sampling = {.temperature = -1}}, "temperature -1"},
    };
    open_engine(1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_answer answer;
        assert_done(kd_engine_answer(engine, &cases[i].q, &answer, 1));
        assert_int_equal(answer.status, KD_EARG);
        if (!strstr(answer.message, cases[i].message)) fail_msg("\"%s\" is not in \"%s\"", cases[i].message, answer.message);
        kd_answer_free(&answer);
    }
    close_engine();
    const kd_decoder_options options = {LENGTH, KD_BLOCK / 2 + 1, false};
    assert_fails(kd_engine_open(&engine, NULL, &config, &options, &tokenizer), KD_ECONFIG, "1 to 256 sequences");
    free(token);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_depend_on_company),
        cmocka_unit_test(choices_share_their_question),
        cmocka_unit_test(what_was_scored_is_not_read_again),
        cmocka_unit_test(nothing_is_read_for_nothing),
        cmocka_unit_test(a_long_prompt_holds_nobody_up),
        cmocka_unit_test(a_cancelled_question_is_gone),
        cmocka_unit_test(a_broken_decoder_ends_all_and_may_recover),
        cmocka_unit_test(an_answer_ends_where_it_should),
        cmocka_unit_test(at_least_so_many_tokens_come),
        cmocka_unit_test(who_does_not_listen_ends_the_answer),
        cmocka_unit_test(the_whole_length_may_be_used),
        cmocka_unit_test(questions_that_cannot_be_asked_are_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}

/* The check of the mask: what it compares with, that it finds nothing where nothing is, and every leak that is planted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "train/mask_check.h"
#include "train/trainer.h"

enum { BOS = 1, E = 32, DEADLINE = 120, DOCUMENTS = 5, MOST = 16 };

static const int64_t lengths[DOCUMENTS] = {40, 1, 73, 20, 58};

/* A window's parts: documents whole, or cut into chunks that are dealt out in turn. */
typedef struct parts { kd_piece piece[DOCUMENTS]; kd_chunk chunk[3 * DOCUMENTS]; int64_t chunks; } parts;

static int32_t text[256], tag[2] = {7, 8};

static parts make_parts(bool chunked, bool tags) {
    parts p = {.chunks = 0};
    int64_t from[DOCUMENTS] = {0}, at = 0, cuts = chunked ? 3 : 1;
    for (int32_t i = 0; i < 256; i++) text[i] = 100 + i;
    for (int64_t n = 0; n < DOCUMENTS; n++) {
        p.piece[n] = (kd_piece){.tag = tags && n != 1 ? tag : NULL, .tag_count = tags && n != 1 ? 2 : 0, .next = -1};
        from[n] = at, at += lengths[n];
    }
    for (int64_t k = 0; k < cuts; k++)
        for (int64_t n = 0; n < DOCUMENTS; n++) {
            int64_t begin = lengths[n] * k / cuts, end = lengths[n] * (k + 1) / cuts;
            p.chunk[p.chunks++] = (kd_chunk){n, text + from[n] + begin, end - begin, NULL};
        }
    return p;
}

typedef struct row { kd_plan_options options; bool chunked, tags; } row;
static const row rows[] = {
    {{.mask = KD_MASK_FULL, .lead_bos = true, .bos = BOS}, false, false},
    {{.mask = KD_MASK_FULL, .bos = BOS}, true, true},
    {{.mask = KD_MASK_DOCUMENT, .lead_bos = true, .bos = BOS}, false, false},
    {{.mask = KD_MASK_DOCUMENT, .reset = true, .bos = BOS}, true, true},
    {{.mask = KD_MASK_ANCHOR, .bos = BOS}, false, false},
    {{.mask = KD_MASK_ANCHOR, .reset = true, .bos = BOS}, true, true},
    {{.mask = KD_MASK_ANCHOR, .anchor_is_bos = true, .bos = BOS}, true, false},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void make_window(kd_sight *sight, kd_plan *plan, const row *r, kd_mask mask) {
    parts p = make_parts(r->chunked, r->tags);
    assert_done(kd_sight_init(sight, &r->options, mask, p.piece, DOCUMENTS, p.chunk, p.chunks));
    assert_done(kd_plan_init(plan, &r->options, p.piece, DOCUMENTS, p.chunk, p.chunks));
}

static void close_window(kd_sight *sight, kd_plan *plan) {
    kd_sight_free(sight);
    kd_plan_free(plan);
}

/* Two programs that share no line say the same. */
static void sight_and_plan_agree_on_every_mask(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        kd_sight s;
        kd_plan plan;
        make_window(&s, &plan, &rows[i], rows[i].options.mask);
        assert_done(kd_sight_matches(&s, &plan));
        assert_int_equal(s.N, plan.N);
        for (int64_t t = 0; t < plan.anchors; t++) assert_int_equal(s.owner[t], -1);
        for (int64_t n = 0; n < plan.N; n++)
            for (int64_t t = plan.start[n]; t < plan.start[n + 1]; t++) assert_int_equal(s.owner[t], n);
        plan.token[plan.T - 1]++;
        assert_int_equal(kd_sight_matches(&s, &plan), KD_ENUMERIC);
        assert_non_null(strstr(kd_message(), "the window's documents have"));
        close_window(&s, &plan);
    }
}

/* By the definition: every pair of tokens. */
static void reach_is_what_pairs_say(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++)
        for (int step = 1; step < 40; step += 13) {
            kd_sight s;
            kd_plan plan;
            bool touched[512] = {false}, trained[512], output[512], gradient[512], must[512];
            make_window(&s, &plan, &rows[i], rows[i].options.mask);
            for (int64_t t = 0; t < s.T; t++) trained[t] = t % 3 != 1;
            for (int64_t t = step; t < s.T; t += 4 * step + 20) touched[t] = true;
            if (step == 14) touched[0] = true;
            assert_done(kd_sight_reach(&(kd_reach){output, gradient, must}, &s, touched, trained));
#define SEES(i, j) (s.owner[j] < 0 || (s.owner[j] == s.owner[i] && (j) <= (i)))
            for (int64_t t = 0; t < s.T; t++) {
                bool moves = false, may = false, will = false;
                for (int64_t j = 0; j < s.T; j++) moves |= touched[j] && SEES(t, j);
                for (int64_t x = 0; x < s.T; x++) {
                    bool other = false;
                    for (int64_t j = 0; j < s.T; j++) other |= touched[j] && SEES(x, j);
                    may |= other && SEES(x, t);
                    will |= other && SEES(x, t) && trained[x] && s.owner[x] >= 0;
                }
                if (s.owner[t] >= 0 && s.first[s.owner[t]] == s.last[s.owner[t]]) will = false;
                assert_int_equal(output[t], moves);
                /* What the tokens before a touched one give to gradients does not move, but its own do. */
                if (may) assert_true(gradient[t]);
                if (will) assert_true(must[t]);
                if (must[t]) assert_true(will && gradient[t]);
            }
            close_window(&s, &plan);
        }
}

/* ---- attention ------------------------------------------------------------------------------------------------------- */

/* A window that attention is run on by `plan`, whatever the sight says. */
typedef struct trial {
    const kd_sight *sight;
    const kd_plan *plan;
    kd_precision precision;
    kd_sequence_mode mode;
    kd_mask_row found[MOST];
    int64_t count;
} trial;

static kd_status run_rank(void *arg, kd_comm *comm) {
    trial *y = arg;
    kd_ctx *ctx;
    kd_rope rope = {0};
    kd_mask_attention x = {0};
    kd_touch touch[MOST];
    kd_mask_row found[MOST];
    double inv_freq[E / 2];
    kd_status status;
    for (int e = 0; e < E / 2; e++) inv_freq[e] = 1.0 / (1 + e * e);
    KD_TRY(kd_ctx_open(&ctx, 1));
    KD_GO(kd_rope_init_for(&rope, ctx, y->precision, inv_freq, E, 512));
    const kd_attn like = {.rope = &rope, .frame = KD_FRAME_WINDOW, .precision = y->precision, .E = E};
    KD_GO(kd_mask_attention_open(&x, ctx, comm, y->mode, y->plan, &like, KD_VIEW_F32));
    int64_t count = kd_touches_each(touch, y->sight, 4);
    KD_GO(kd_mask_check(found, &x.subject, y->sight, touch, count));
    if (kd_comm_rank(comm) == 0) {
        memcpy(y->found, found, sizeof found);
        y->count = count;
    }
done:
    kd_mask_attention_close(&x);
    kd_rope_free(&rope, ctx);
    kd_ctx_close(ctx);
    return status;
}

static kd_mask_verdict worst(trial *y, int64_t ranks) {
    kd_mask_verdict worst = KD_MASK_HOLDS;
    assert_done(kd_comm_threads(ranks, DEADLINE, run_rank, y));
    for (int64_t i = 0; i < y->count; i++) {
        const kd_mask_row *r = &y->found[i];
        if (r->verdict == KD_MASK_LEAKS || worst == KD_MASK_HOLDS) worst = r->verdict;
        assert_int_equal(kd_mask_judge(r, 1, "here") == KD_OK, r->verdict == KD_MASK_HOLDS);
    }
    return worst;
}

static void every_mask_precision_and_way_of_sharing_holds(void **state) {
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        kd_sight s;
        kd_plan plan;
        make_window(&s, &plan, &rows[i], rows[i].options.mask);
        for (kd_precision p = 0; p < KD_PRECISIONS; p++) {
            trial y = {.sight = &s, .plan = &plan, .precision = p, .mode = KD_SEQUENCE_ULYSSES};
            assert_int_equal(worst(&y, 1), KD_MASK_HOLDS);
            for (int64_t k = 0; k < y.count; k++) {  /* and all that may be seen is */
                assert_int_equal(y.found[k].output.inside, y.found[k].output.inside_of);
                assert_int_equal(y.found[k].gradient.inside, y.found[k].gradient.inside_of);
            }
        }
        for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++)
            for (int64_t ranks = 2; ranks <= 4; ranks += 2) {
                trial y = {.sight = &s, .plan = &plan, .precision = KD_PRECISION_EXACT, .mode = mode};
                assert_int_equal(worst(&y, ranks), KD_MASK_HOLDS);
            }
        close_window(&s, &plan);
    }
}

/* Two documents become one, or a boundary moves by a token: what a wrong table of starts does. */
static void a_planted_leak_is_found(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++)
        for (int64_t ranks = 1; ranks <= 4; ranks *= 4) {
            kd_sight s;
            kd_plan plan;
            make_window(&s, &plan, &rows[way % 2 ? 4 : 2], rows[way % 2 ? 4 : 2].options.mask);
            if (way < 2) {
                memmove(plan.start + 3, plan.start + 4, (size_t)(plan.N - 3) * sizeof *plan.start);
                plan.N--;
            } else {
                plan.start[3]++;
            }
            trial y = {.sight = &s, .plan = &plan, .precision = KD_PRECISION_EXACT, .mode = KD_SEQUENCE_ZIGZAG};
            assert_int_equal(worst(&y, ranks), KD_MASK_LEAKS);
            assert_true(strstr(kd_message(), "the mask leaks: touching") || y.count);
            close_window(&s, &plan);
        }
}

/* What the window promises, and another mask does. */
static void the_wrong_mask_is_found(void **state) {
    (void)state;
    kd_sight s;
    kd_plan plan;
    make_window(&s, &plan, &rows[0], KD_MASK_DOCUMENT);
    trial full = {.sight = &s, .plan = &plan, .precision = KD_PRECISION_EXACT, .mode = KD_SEQUENCE_ULYSSES};
    assert_int_equal(worst(&full, 1), KD_MASK_LEAKS);
    close_window(&s, &plan);
    make_window(&s, &plan, &rows[2], KD_MASK_FULL);
    trial hidden = {.sight = &s, .plan = &plan, .precision = KD_PRECISION_EXACT, .mode = KD_SEQUENCE_ULYSSES};
    assert_int_equal(worst(&hidden, 1), KD_MASK_IS_BLIND);
    close_window(&s, &plan);
    make_window(&s, &plan, &rows[4], KD_MASK_DOCUMENT);  /* a shared anchor where none should be */
    trial shared = {.sight = &s, .plan = &plan, .precision = KD_PRECISION_EXACT, .mode = KD_SEQUENCE_ULYSSES};
    assert_int_equal(worst(&shared, 1), KD_MASK_LEAKS);
    close_window(&s, &plan);
}

/* An anchor that nobody sees: its column is another document's. */
static void an_anchor_that_is_not_seen_is_found(void **state) {
    (void)state;
    kd_sight s;
    kd_plan plan;
    make_window(&s, &plan, &rows[4], KD_MASK_ANCHOR);
    plan.anchors = 0;
    plan.start[0] = 0;  /* the first document's own */
    trial y = {.sight = &s, .plan = &plan, .precision = KD_PRECISION_EXACT, .mode = KD_SEQUENCE_ULYSSES};
    assert_int_equal(worst(&y, 1), KD_MASK_IS_BLIND);
    close_window(&s, &plan);
}

/* ---- the start of a run ------------------------------------------------------------------------------------------------ */

static void open_run(kd_run_file *run, const char *output, const char *more) {
    char set[3][600];
    const char *override[] = {set[0], set[1], set[2]};
    const char *yaml = "model: {init: {arch: llama, preset: tiny}}\ntokenizer: bytes\nwindow: 256\nsteps: 1\nbatch: {windows: 2}\n";
    snprintf(set[0], sizeof set[0], "data.train=[%s]", in_scratch("text.jsonl"));
    snprintf(set[1], sizeof set[1], "output=%s", in_scratch(output));
    snprintf(set[2], sizeof set[2], "%s", more);
    assert_done(kd_run_file_parse(run, yaml, (int64_t)strlen(yaml), "run.yaml", override, 3));
}

/* Windows laid out with another mask than the run file says. */
static void a_run_that_leaks_does_not_begin(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    const kd_train_options options = {.quiet = true};
    open_run(&run, "leaks", "mask=document");
    assert_done(kd_trainer_open(&t, &run, &options));
    assert_true(t.mask.seconds > 0 && t.mask.outside_of > 0 && t.mask.inside > 0);
    t.train.windows.plan.mask = KD_MASK_FULL;
    assert_int_equal(kd_trainer_check_mask(&t), KD_ENUMERIC);
    assert_non_null(strstr(kd_message(), "check.mask: the first window: the mask leaks: touching "));
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

static void the_check_can_be_left_out(void **state) {
    (void)state;
    kd_run_file run;
    kd_trainer t;
    const kd_train_options options = {.quiet = true};
    open_run(&run, "unchecked", "check.mask=false");
    assert_done(kd_trainer_open(&t, &run, &options));
    assert_true(t.mask.seconds == 0);
    t.train.windows.plan.mask = KD_MASK_FULL;
    assert_done(kd_trainer_check_mask(&t));
    kd_trainer_close(&t);
    kd_run_file_close(&run);
}

static int setup(void **state) {
    char *line = NULL;
    int64_t size = 0;
    if (scratch_open(state)) return -1;
    if (kd_new(&line, 40000, 1)) return -1;
    for (int i = 0; i < 40; i++) size += snprintf(line + size, 400, "{\"text\": \"%0*d\"}\n", 20 + 7 * i, i);
    int failed = kd_file_write(in_scratch("text.jsonl"), line, size) != KD_OK;
    free(line);
    return failed ? -1 : 0;
}

int main(void) {
    kd_log_level(KD_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sight_and_plan_agree_on_every_mask),
        cmocka_unit_test(reach_is_what_pairs_say),
        cmocka_unit_test(every_mask_precision_and_way_of_sharing_holds),
        cmocka_unit_test(a_planted_leak_is_found),
        cmocka_unit_test(the_wrong_mask_is_found),
        cmocka_unit_test(an_anchor_that_is_not_seen_is_found),
        cmocka_unit_test(a_run_that_leaks_does_not_begin),
        cmocka_unit_test(the_check_can_be_left_out),
    };
    return cmocka_run_group_tests(tests, setup, scratch_close);
}

/* Attention's promises about bits: threads, instruction sets, places, neighbours. Equal means equal in every bit. */
#include "attn_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sanitized.h"

static kd_ctx *ctx;

static void assert_same(const problem *x, const problem *y) {
    assert_int_equal(x->out.from[PARTS], y->out.from[PARTS]);
    assert_memory_equal(x->out.f, y->out.f, (size_t)x->out.from[PARTS] * sizeof(float));
}

static const window long_document = {.mask = KD_MASK_FULL, .N = 1, .length = {700}};
static const window documents = {.mask = KD_MASK_ANCHOR, .cuts = 2, .N = 7, .length = {560, 1, 48, 97, 300, 5, 16}};

static void any_number_of_threads_gives_the_same_bits(void **state) {
    (void)state;
    const window *w[] = {&long_document, &documents};
    const int repeats = SANITIZED ? 1 : 3;  /* a sanitizer takes a minute for one, and sees in it what it would see in three */
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (int i = 0; i < 2; i++) {
            problem one;
            problem_init(&one, ctx, w[i], 3, 1, 64, KD_FRAME_DOCUMENT, 2);
            problem_run(&one, variant);
            for (int64_t threads = 2; threads <= 4; threads++) {
                kd_ctx *many;
                problem x;
                assert_int_equal(kd_ctx_open(&many, threads), KD_OK);
                problem_init(&x, many, w[i], 3, 1, 64, KD_FRAME_DOCUMENT, 2);
                for (int repeat = 0; repeat < repeats; repeat++) {
                    problem_run(&x, variant);
                    assert_same(&one, &x);
                }
                problem_free(&x);
                kd_ctx_close(many);
            }
            problem_free(&one);
        }
}

/* More heads than a batch holds: the number of threads decides where batches end. */
static void batches_of_heads_do_not_matter(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_DOCUMENT, .N = 3, .length = {3000, 1800, 700}};
    problem all, some;
    problem_init(&all, ctx, &w, 14, 14, 4, KD_FRAME_DOCUMENT, 1);
    problem_run(&all, first_variant());
    kd_ctx *many;
    assert_int_equal(kd_ctx_open(&many, 8), KD_OK);
    problem_init(&some, many, &w, 14, 14, 4, KD_FRAME_DOCUMENT, 1);
    problem_run(&some, first_variant());
    assert_same(&all, &some);
    for (int64_t t = 0; t < all.plan.T; t++) assert_false(isnan(all.out.f[(t * 14 + 13) * 4]));
    problem_free(&some);
    problem_free(&all);
    kd_ctx_close(many);
}

static void avx2_and_avx512_give_the_same_bits(void **state) {
    (void)state;
    if (kd_isa_best() < KD_ISA_AVX512) {
        print_message("skipped: this machine has no AVX-512\n");
        skip();
    }
    const int64_t E[] = {2, 6, 64, 96, 128, 256};
    const window *w[] = {&long_document, &documents};
    for (int i = 0; i < 2; i++)
        for (size_t j = 0; j < sizeof E / sizeof *E; j++) {
            problem x, y;
            kd_frame frame = j % 2 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT;
            problem_init(&x, ctx, w[i], 3, 1, E[j], frame, 4);
            problem_init(&y, ctx, w[i], 3, 1, E[j], frame, 4);
            assert_string_equal(kd_attn_forward_op.variant[0].name, "avx512");
            assert_string_equal(kd_attn_backward_op.variant[1].name, "avx2");
            problem_run(&x, 0);
            problem_run(&y, 1);
            assert_same(&x, &y);
            problem_free(&x);
            problem_free(&y);
        }
}

static void kedge_isa_ref_is_the_last_variant(void **state) {
    (void)state;
    assert_int_equal(setenv("KEDGE_ISA", "ref", 1), 0);
    kd_ctx *capped;
    assert_int_equal(kd_ctx_open(&capped, 1), KD_OK);
    assert_int_equal(unsetenv("KEDGE_ISA"), 0);
    problem x;
    problem_init(&x, capped, &documents, 2, 1, 16, KD_FRAME_WINDOW, 2);
    problem_run(&x, kd_attn_forward_op.count - 1);
    int64_t n = x.plan.T * 2 * 16;
    float *o = oracle_new(n, sizeof *o);
    for (int64_t t = 0; t < x.plan.T; t++)
        for (int64_t e = 0; e < 32; e++) x.a.o.data[t * x.a.o.token_stride + e] = -1;
    assert_int_equal(kd_attn_forward(capped, &x.a), KD_OK);
    for (int64_t t = 0; t < x.plan.T; t++) memcpy(o + t * 32, x.a.o.data + t * x.a.o.token_stride, 32 * sizeof *o);
    assert_memory_equal(o, x.out.f, (size_t)n * sizeof *o);
    free(o);
    problem_free(&x);
    kd_ctx_close(capped);
}

/* Rows of a document's tokens in part `part`; BOS tokens of its own included. */
static const float *rows_of(const problem *x, enum part part, int64_t n) {
    int64_t heads = part >= PART_DK ? x->a.G : x->a.H;
    return x->out.f + x->out.from[part] + x->plan.start[n] * heads * x->a.E;
}

/* Every result of document n of x and of document m of y. */
static bool same_document(const problem *x, int64_t n, const problem *y, int64_t m) {
    int64_t count = x->plan.start[n + 1] - x->plan.start[n];
    bool same = count == y->plan.start[m + 1] - y->plan.start[m];
    for (int part = 0; part < PARTS && same; part++) {
        if (part == PART_LSE) continue;
        int64_t heads = part >= PART_DK ? x->a.G : x->a.H;
        same = memcmp(rows_of(x, part, n), rows_of(y, part, m), (size_t)(count * heads * x->a.E) * sizeof(float)) == 0;
    }
    for (int64_t h = 0; h < x->a.H && same; h++)
        same = memcmp(x->out.f + x->out.from[PART_LSE] + h * x->plan.T + x->plan.start[n],
                      y->out.f + y->out.from[PART_LSE] + h * y->plan.T + y->plan.start[m],
                      (size_t)count * sizeof(float)) == 0;
    return same;
}

/* The same document, tokens 5000 .., second of three and third of four. */
static void place_at(problem *x, problem *y, int64_t length, kd_mask mask, bool reset, bool own_bos, kd_frame frame) {
    window here = {mask, reset, own_bos, 0, 3, {30, length, 12}, {0, 5000, 0}};
    window there = {mask, reset, own_bos, 0, 4, {3, length + 20, length, 1}, {900, 0, 5000, 0}};
    problem_init(x, ctx, &here, 4, 2, 64, frame, 4);
    problem_init(y, ctx, &there, 4, 2, 64, frame, 4);
}

static void place_it_twice(problem *x, problem *y, int64_t variant, int64_t length, kd_mask mask, bool reset,
                           bool own_bos, kd_frame frame) {
    place_at(x, y, length, mask, reset, own_bos, frame);
    problem_run(x, variant);
    problem_run(y, variant);
}

static void a_document_does_not_know_its_place(void **state) {
    (void)state;
    const struct { kd_mask mask; bool reset, own_bos; } form[] = {
        {KD_MASK_DOCUMENT, false, false}, {KD_MASK_DOCUMENT, true, true}, {KD_MASK_DOCUMENT, false, true},
        {KD_MASK_ANCHOR, true, false},    {KD_MASK_ANCHOR, true, true},
    };
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (size_t i = 0; i < 2 * (sizeof form / sizeof *form); i++) {
            problem x, y;
            if (variant == kd_attn_forward_op.count - 1 && i % 2 == 0) continue;  /* it knows no long documents, and is slow */
            place_it_twice(&x, &y, variant, i % 2 ? 161 : 530, form[i / 2].mask, form[i / 2].reset, form[i / 2].own_bos,
                           KD_FRAME_DOCUMENT);
            assert_true(same_document(&x, 1, &y, 2));
            problem_free(&x);
            problem_free(&y);
        }
}

static void nor_does_it_at_any_precision(void **state) {
    (void)state;
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_EXACT + 1; p < KD_PRECISIONS; p++)
            for (int anchored = 0; anchored < 2; anchored++) {
                problem x, y;
                place_at(&x, &y, 161, anchored ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT, anchored, false, KD_FRAME_DOCUMENT);
                problem_set_precision(&x, p, x.plan.T + 1);
                problem_set_precision(&y, p, y.plan.T + 1);
                if (problem_is_served(&x, variant)) {
                    problem_run(&x, variant);
                    problem_run(&y, variant);
                    assert_true(same_document(&x, 1, &y, 2));
                }
                problem_free(&x);
                problem_free(&y);
            }
}

/* Only distances are turned by, the anchor's among them: a rotary table for the window as it stood serves it anywhere. */
static void a_window_moved_whole_gives_the_same_bits_in_frame_document(void **state) {
    (void)state;
    const window w[] = {{.mask = KD_MASK_ANCHOR, .N = 4, .length = {70, 1, 530, 9}},
                        {.mask = KD_MASK_ANCHOR, .reset = true, .N = 3, .length = {70, 1, 161}},
                        {.mask = KD_MASK_ANCHOR, .cuts = 3, .N = 3, .length = {70, 5, 161}}};
    const int32_t by[] = {1000, 1 << 29};
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++)
            for (int i = 0; i < 3; i++) {
                problem x;
                if (variant == kd_attn_forward_op.count - 1 && i == 0) continue;  /* as above */
                problem_init(&x, ctx, &w[i], 2, 1, 32, KD_FRAME_DOCUMENT, 4);
                problem_set_precision(&x, p, x.plan.T + 1);
                if (problem_is_served(&x, variant)) {
                    size_t bytes = (size_t)x.out.from[PARTS] * sizeof(float);
                    float *here = oracle_new(x.out.from[PARTS], sizeof *here);
                    problem_run(&x, variant);
                    memcpy(here, x.out.f, bytes);
                    for (int j = 0; j < 2; j++) {
                        problem_move(&x, by[j], by[j]);
                        problem_run(&x, variant);
                        assert_memory_equal(here, x.out.f, bytes);
                    }
                    free(here);
                }
                problem_free(&x);
            }
}

/* In frame window queries and keys are turned by where they stand, which rounds differently. */
static void a_window_moved_whole_changes_by_rounding_in_frame_window(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_ANCHOR, .N = 4, .length = {70, 1, 530, 9}};
    enum { BY = 100000 };
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        problem x;
        problem_init(&x, ctx, &w, 2, 1, 32, KD_FRAME_WINDOW, 4);
        problem_set_precision(&x, KD_PRECISION_EXACT, x.plan.T + BY);
        problem_run(&x, variant);
        for (int64_t i = 0; i < x.out.from[PARTS]; i++) x.out.d[i] = x.out.f[i];
        problem_move(&x, BY, BY);
        problem_run(&x, variant);
        for (int part = 0; part < PARTS; part++) {
            error e = part_error(&x, part);
            assert_true(e.most > 0 && e.most <= 1e-6 * (1 + e.size));
        }
        problem_free(&x);
    }
}

/* With running positions the distance to the shared anchor is the place in the window, and the anchor's logit follows
 * it: that is the method, a different function, not rounding. With frame window even masks that are the same function
 * at every place round differently. */
static void a_running_anchor_and_the_window_frame_know_the_place(void **state) {
    (void)state;
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        problem x, y;
        place_it_twice(&x, &y, variant, 161, KD_MASK_ANCHOR, false, false, KD_FRAME_DOCUMENT);
        assert_false(same_document(&x, 1, &y, 2));
        problem_free(&x);
        problem_free(&y);
        place_it_twice(&x, &y, variant, 161, KD_MASK_DOCUMENT, false, true, KD_FRAME_WINDOW);
        assert_false(same_document(&x, 1, &y, 2));
        problem_free(&x);
        problem_free(&y);
    }
}

/* Three ways to say the same thing: every document by itself, its BOS just before its text. */
static void masks_that_are_the_same_function_give_the_same_bits(void **state) {
    (void)state;
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        window running = {.mask = KD_MASK_DOCUMENT, .own_bos = true, .N = 5, .length = {100, 1, 49, 130, 7}};
        window reset = running, anchor = running;
        reset.reset = anchor.reset = true;
        anchor.mask = KD_MASK_ANCHOR;
        problem x, y, z;
        problem_init(&x, ctx, &running, 4, 2, 64, KD_FRAME_DOCUMENT, 4);
        problem_init(&y, ctx, &reset, 4, 2, 64, KD_FRAME_DOCUMENT, 4);
        problem_init(&z, ctx, &anchor, 4, 2, 64, KD_FRAME_DOCUMENT, 4);
        problem_run(&x, variant);
        problem_run(&y, variant);
        problem_run(&z, variant);
        assert_same(&x, &y);
        assert_same(&x, &z);
        problem_free(&x);
        problem_free(&y);
        problem_free(&z);
    }
}

static int64_t workspace(const kd_variant *variant, const problem *x, kd_measuring measuring) {
    ctx->measuring = measuring;
    int64_t bytes = variant->workspace(ctx, &x->a);
    ctx->measuring = KD_MEASURE_NOTHING;
    return bytes;
}

/* A step must find its workspace as large as the measured one, whatever the documents. */
static void no_documents_need_more_workspace_than_was_measured(void **state) {
    (void)state;
    enum { T = 1200 };
    const struct { int64_t N, length; } cut[] = {{1, T}, {2, T / 2}, {12, 100}, {100, 12}, {4, 300}};
    for (int64_t i = 0; i < 2 * (kd_attn_forward_op.count - first_variant()); i++) {
        const kd_op *op = i % 2 ? &kd_attn_backward_op : &kd_attn_forward_op;
        const kd_variant *variant = &op->variant[first_variant() + i / 2];
        int64_t any = -1;
        for (size_t c = 0; c < sizeof cut / sizeof *cut; c++) {
            window w = {.mask = KD_MASK_ANCHOR, .N = cut[c].N};
            for (int64_t n = 0; n < w.N; n++) w.length[n] = cut[c].length;
            problem x;
            problem_init(&x, ctx, &w, 2, 1, 32, KD_FRAME_WINDOW, 1);
            int64_t most = workspace(variant, &x, KD_MEASURE_ANY);
            assert_true(workspace(variant, &x, KD_MEASURE_THIS) <= most);
            assert_true(any < 0 || any == most);
            any = most;
            problem_free(&x);
        }
    }
}

static int open_ctx(void **state) {
    (void)state;
    return kd_ctx_open(&ctx, 1);
}

static int close_ctx(void **state) {
    (void)state;
    kd_ctx_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(batches_of_heads_do_not_matter),
        cmocka_unit_test(avx2_and_avx512_give_the_same_bits),
        cmocka_unit_test(kedge_isa_ref_is_the_last_variant),
        cmocka_unit_test(a_document_does_not_know_its_place),
        cmocka_unit_test(nor_does_it_at_any_precision),
        cmocka_unit_test(a_window_moved_whole_gives_the_same_bits_in_frame_document),
        cmocka_unit_test(a_window_moved_whole_changes_by_rounding_in_frame_window),
        cmocka_unit_test(a_running_anchor_and_the_window_frame_know_the_place),
        cmocka_unit_test(masks_that_are_the_same_function_give_the_same_bits),
        cmocka_unit_test(no_documents_need_more_workspace_than_was_measured),
    };
    return cmocka_run_group_tests(test, open_ctx, close_ctx);
}

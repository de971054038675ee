/* The ladder of rotary precisions: every variant keeps what the definition keeps, the anchor stays exact in frame
 * document, what does not fit is said, and angles are right up to position 2^24 - 1. */
#include "attn_oracle.h"
#include "sanitized.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/rope_config.h"
#include "train/run_schema.h"

static kd_ctx *ctx;

typedef struct shape { const char *what; window w; int64_t H, G, E; kd_frame frame; } shape;

static const shape shapes[] = {
    {"one token", {KD_MASK_FULL, 0, 0, 0, 1, {1}, {0}}, 2, 2, 64, KD_FRAME_WINDOW},
    {"the anchor alone", {KD_MASK_ANCHOR, 0, 0, 0, 0, {0}, {0}}, 4, 2, 64, KD_FRAME_WINDOW},
    {"a long document", {KD_MASK_FULL, 0, 0, 0, 1, {531}, {0}}, 1, 1, 48, KD_FRAME_WINDOW},
    {"anchored, window frame", {KD_MASK_ANCHOR, 0, 0, 0, 3, {100, 3, 61}, {0}}, 4, 2, 128, KD_FRAME_WINDOW},
    {"anchored, document frame", {KD_MASK_ANCHOR, 0, 0, 0, 3, {100, 3, 61}, {0}}, 4, 2, 128, KD_FRAME_DOCUMENT},
    {"anchored, long, document frame", {KD_MASK_ANCHOR, 0, 0, 0, 2, {9, 530}, {0}}, 1, 1, 32, KD_FRAME_DOCUMENT},
    {"interleaved", {KD_MASK_ANCHOR, 0, 0, 4, 5, {60, 9, 150, 33, 4}, {0}}, 4, 1, 64, KD_FRAME_WINDOW},
    {"E = 6", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 6, KD_FRAME_WINDOW},
    {"E = 80", {KD_MASK_DOCUMENT, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 80, KD_FRAME_DOCUMENT},
    {"E = 256", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 256, KD_FRAME_WINDOW},
};

/* What rungs keep is the same in double, float32 and vectors, so what is left is float32's own error, as in test_attn.c:
 * one number of the kept ones rounded the other way would stand out. Two exceptions: vector kernels add lo times lo of a
 * pair, and eager logits are rounded after sums that float32 and double make differently. */
static double floor_of(kd_precision p, int64_t variant) {
    if (p == KD_PRECISION_BF16_EAGER) return 3e-2;
    return p == KD_PRECISION_SPLIT && variant < kd_attn_forward_op.count - 1 ? 2e-5 : 3e-7;
}

/* How many variants' results are too far from the definition's. */
static int64_t count_bad(problem *x, const char *what) {
    int64_t first = first_variant(), last = kd_attn_forward_op.count - 1, bad = 0;
    kd_precision p = x->a.precision;
    error naive[PARTS];
    problem_define(x);
    for (int64_t variant = last; variant >= first; variant--) {
        if (!problem_is_served(x, variant)) continue;
        problem_run(x, variant);
        for (int part = 0; part < PARTS; part++) {
            error e = part_error(x, part);
            if (variant == last) naive[part] = e;
            double floor = floor_of(p, variant) * (1 + e.size);
            if (e.most <= 2 * naive[part].most + floor && e.rms <= 2 * naive[part].rms + floor / 2 &&
                naive[part].most <= 100 * 3e-7 * (1 + e.size) + (p == KD_PRECISION_BF16_EAGER) * floor)
                continue;
            print_error("%s, %s, %s, %s: off by %.2g, rms %.2g; the naive float32 %.2g, %.2g of %.2g\n", what,
                        kd_precision_name(p), kd_attn_forward_op.variant[variant].name, part_name[part], e.most,
                        e.rms, naive[part].most, naive[part].rms, e.size);
            bad++;
        }
    }
    return bad;
}

static void every_variant_keeps_what_the_definition_keeps(void **state) {
    (void)state;
    int64_t first = first_variant(), bad = 0;
    if (first > 0) print_message("skipped: %lld variants that this machine cannot run\n", (long long)first);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i += SANITIZED ? 6 : 1)  /* a sanitizer takes minutes for all */
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
            const shape *s = &shapes[i];
            problem x;
            problem_init(&x, ctx, &s->w, s->H, s->G, s->E, s->frame, 4);
            problem_set_precision(&x, p, x.plan.T + 1);
            bad += count_bad(&x, s->what);
            problem_free(&x);
        }
    assert_int_equal(bad, 0);
}

static void an_anchor_may_stand_anywhere(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_ANCHOR, .N = 4, .length = {60, 1, 520, 9}};
    static const struct { const char *what; int32_t anchor, documents; } row[] = {
        {"all moved", 1000, 1000}, {"the anchor far behind its documents", -1000, 1000}, {"the anchor ahead", 2000, 300}};
    int64_t bad = 0;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++)
            for (kd_frame frame = KD_FRAME_WINDOW; frame <= KD_FRAME_DOCUMENT; frame++) {
                problem x;
                problem_init(&x, ctx, &w, 2, 1, 32, frame, 4);
                problem_set_precision(&x, p, 4000);
                problem_move(&x, row[i].anchor, row[i].documents);
                bad += count_bad(&x, row[i].what);
                problem_free(&x);
            }
    assert_int_equal(bad, 0);
}

/* The root mean square of x - y against that of y. */
static double apart(const double *x, const double *y, int64_t n) {
    double size = 0, off = 0;
    for (int64_t i = 0; i < n; i++) size += y[i] * y[i], off += (x[i] - y[i]) * (x[i] - y[i]);
    return sqrt(off / size);
}

/* Gradients pass roundings: they are exact's but for what the rounding itself does to probabilities. The anchor's are
 * looked at by themselves too, or they could hide among those of all other tokens. */
static void every_gradient_is_near_exact(void **state) {
    (void)state;
    enum { H = 4, G = 2, E = 64, FAR = 1000 };
    static const double most[KD_PRECISIONS] = {0, 1e-4, 1e-4, 5e-3, 4e-2, 6e-2, 1e-1};
    for (int bits = 0; bits < 4; bits++)
        for (kd_precision p = KD_PRECISION_F32_ANGLE; p < KD_PRECISIONS; p++) {
            window w = {.mask = KD_MASK_ANCHOR, .N = 3, .length = {60, 9, 90}};
            kd_frame frame = bits & 1 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW;
            problem exact, x;
            problem_init(&exact, ctx, &w, H, G, E, frame, 2);
            problem_init(&x, ctx, &w, H, G, E, frame, 2);
            problem_set_precision(&x, p, x.plan.T + 1);
            if (bits & 2) problem_move(&exact, FAR, FAR), problem_move(&x, FAR, FAR);
            problem_define(&exact);
            problem_define(&x);
            for (int part = PART_DQ; part < PARTS; part++) {
                int64_t from = x.out.from[part], n = x.out.from[part + 1] - from;
                double whole = apart(x.out.d + from, exact.out.d + from, n), anchor = 0;
                if (part != PART_DQ) anchor = apart(x.out.d + from, exact.out.d + from, G * E);
                if (!(whole > 0 && whole <= most[p] && anchor <= most[p]))
                    fail_msg("%s, %s: off by %g, the anchor's by %g", kd_precision_name(p), part_name[part], whole, anchor);
            }
            problem_free(&x);
            problem_free(&exact);
        }
}

/* Probabilities sum to one whatever is rounded: where all values are equal, no logit has a gradient. */
static void where_values_are_equal_no_logit_matters(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_ANCHOR, .N = 2, .length = {60, 90}};
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
            problem x;
            problem_init(&x, ctx, &w, 2, 1, 32, KD_FRAME_WINDOW, 2);
            problem_set_precision(&x, p, x.plan.T + 1);
            for (int64_t t = 0; t < x.plan.T; t++)
                for (int64_t e = 0; e < 32; e++) x.a.v.data[t * x.a.v.token_stride + e] = 1;
            if (problem_is_served(&x, variant)) {
                problem_run(&x, variant);
                for (int64_t i = x.out.from[PART_DQ]; i < x.out.from[PART_DV]; i++) assert_true(fabsf(x.out.f[i]) <= 2e-5f);
            }
            problem_free(&x);
        }
}

/* Keys of the documents are 0, so rows differ by their anchor's logit alone. */
static void the_anchors_logit_is_exact_in_frame_document_alone(void **state) {
    (void)state;
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (int i = 0; i < 2 * KD_PRECISIONS; i++) {
            kd_precision p = (kd_precision)(i / 2);
            window w = {.mask = KD_MASK_ANCHOR, .N = 3, .length = {50, 70, 3}};
            problem exact, x;
            problem *both[] = {&exact, &x};
            for (int j = 0; j < 2; j++) {
                problem_init(both[j], ctx, &w, 2, 1, 64, i % 2 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW, 2);
                if (j) problem_set_precision(&x, p, x.plan.T + 1);
                for (int64_t t = 1; t < x.plan.T && j == 1; t++)
                    for (int64_t e = 0; e < 64; e++)
                        exact.a.k.data[t * 69 + e] = x.a.k.data[t * 69 + e] = 0;
            }
            if (problem_is_served(&x, variant)) {
                problem_run(&exact, variant);
                problem_run(&x, variant);
                const float *lse = exact.out.f + exact.out.from[PART_LSE], *kept = x.out.f + x.out.from[PART_LSE];
                bool same = !memcmp(lse, kept, (size_t)(2 * x.plan.T) * sizeof *lse);
                assert_int_equal(same, i % 2 || p == KD_PRECISION_EXACT);
            }
            problem_free(&x);
            problem_free(&exact);
        }
}

static void what_float16_cannot_hold_is_named(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_DOCUMENT, .N = 2, .length = {20, 600}};
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        const kd_variant *run[] = {&kd_attn_forward_op.variant[variant], &kd_attn_backward_op.variant[variant]};
        problem x;
        problem_init(&x, ctx, &w, 4, 2, 32, KD_FRAME_WINDOW, 1);
        problem_set_precision(&x, KD_PRECISION_F16_STORE, x.plan.T + 1);
        float *k = x.a.k.data + 7 * x.a.k.token_stride + x.a.k.head_stride, *q = x.a.q.data + 300 * x.a.q.token_stride;
        k[0] = 65504, k[16] = 0;
        for (int i = 0; i < 2; i++) {
            k[0] = 65504;  /* turned, it is no longer than this */
            assert_int_equal(kd_op_run_variant(ctx, run[i], &x.a), KD_OK);
            k[0] = 2e5f;
            assert_int_equal(kd_op_run_variant(ctx, run[i], &x.a), KD_ENUMERIC);
            assert_non_null(strstr(kd_message(), "precision f16-store: token 7, key head 1: a rotated number is beyond 65504"));
            k[0] = 1, q[3] = -1e6f;
            assert_int_equal(kd_op_run_variant(ctx, run[i], &x.a), KD_ENUMERIC);
            assert_non_null(strstr(kd_message(), "token 300, query head 0"));
            q[3] = NAN;  /* a bad activation is seen as what it is */
            assert_int_equal(kd_op_run_variant(ctx, run[i], &x.a), KD_OK);
            q[3] = INFINITY;
            assert_int_equal(kd_op_run_variant(ctx, run[i], &x.a), KD_OK);
            assert_true(isnan(x.a.lse[300]));
            q[3] = 1;
        }
        problem_free(&x);
    }
}

/* Queries among float16's subnormal numbers, whose steps are absolute; keys make up for it. */
static void small_numbers_round_to_float16s_steps(void **state) {
    (void)state;
    enum { H = 2, E = 64 };
    window w = {.mask = KD_MASK_ANCHOR, .N = 2, .length = {60, 90}};
    problem x;
    problem_init(&x, ctx, &w, H, H, E, KD_FRAME_WINDOW, 1);
    problem_set_precision(&x, KD_PRECISION_F16_STORE, x.plan.T + 1);
    for (int64_t t = 0; t < x.plan.T; t++)
        for (int64_t e = 0; e < H * E; e++) {
            x.q[t * H * E + e] *= 0x1p-13, x.a.q.data[t * x.a.q.token_stride + e] *= 0x1p-13f;
            x.k[t * H * E + e] *= 0x1p13, x.a.k.data[t * x.a.k.token_stride + e] *= 0x1p13f;
        }
    problem_define(&x);
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        problem_run(&x, variant);
        error o = part_error(&x, PART_O), lse = part_error(&x, PART_LSE);
        assert_true(o.most <= 3e-6 * (1 + o.size) && lse.most <= 3e-6 * (1 + lse.size));
    }
    problem_free(&x);
}

static void a_nan_stays_a_nan(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_DOCUMENT, .N = 1, .length = {20}};
    static const uint32_t bits[] = {0x7fc00000, 0x7fffffff, 0xffffffff, 0x7f800001};  /* those that a carry would make a number */
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (int i = 0; i < 4 * KD_PRECISIONS; i++) {
            problem x;
            problem_init(&x, ctx, &w, 1, 1, 32, KD_FRAME_WINDOW, 1);
            problem_set_precision(&x, (kd_precision)(i / 4), x.plan.T + 1);
            memcpy(x.a.q.data + 7 * x.a.q.token_stride + 3, &bits[i % 4], sizeof *bits);
            if (problem_is_served(&x, variant)) {
                problem_run(&x, variant);
                const float *lse = x.out.f + x.out.from[PART_LSE];
                for (int64_t t = 0; t < 20; t++) assert_int_equal(isnan(lse[t]) != 0, t == 7);
            }
            problem_free(&x);
        }
}

static void a_table_for_another_precision_is_refused(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_DOCUMENT, .N = 1, .length = {20}};
    problem x;
    problem_init(&x, ctx, &w, 1, 1, 32, KD_FRAME_WINDOW, 1);
    x.a.precision = KD_PRECISION_SPLIT;  /* the same angles as exact */
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_OK);
    x.a.precision = KD_PRECISION_BF16;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    assert_non_null(strstr(kd_message(), "precision bf16, the rotary table is made for exact"));
    x.a.precision = KD_PRECISIONS;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    problem_free(&x);
}

static void run_files_name_every_precision_as_it_is_called(void **state) {
    int64_t words = 0;
    (void)state;
    for (int64_t i = 0; i < kd_run_rows; i++) {
        if (strcmp(kd_run_schema[i].key, "model.rope.precision")) continue;
        for (const kd_run_word *w = kd_run_schema[i].word; w->text; w++, words++)
            assert_string_equal(w->text, kd_precision_name((kd_precision)w->value));
    }
    assert_int_equal(words, KD_PRECISIONS);
    assert_null(kd_precision_name(KD_PRECISIONS));
}

/* ---- angles ------------------------------------------------------------------------------------------------ */

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* The largest absolute error of cosines and sines at random positions, against long double. */
static double furthest(const kd_rope *rope, kd_angles angles, uint64_t seed) {
    enum { ROWS = 2000 };
    double most = 0;
    for (int64_t i = 0; i < ROWS; i++) {
        int64_t p = i < 3 ? rope->positions - 1 - i : (int64_t)(next(&seed) % (uint64_t)rope->positions);
        float made[KD_HEAD_MOST];
        const float *row = kd_rope_row(rope, angles, p, made);
        for (int64_t e = 0; e < rope->E / 2; e++) {
            long double angle = (long double)p * (long double)rope->inv_freq[e];
            if (angles != KD_ANGLES_DOUBLE) angle = (float)p * (float)rope->inv_freq[e];
            double c = fabs((double)(row[e] - cosl(angle))), s = fabs((double)(row[e + rope->E / 2] - sinl(angle)));
            most = fmax(most, fmax(c, s));
        }
    }
    return most;
}

static void angles_are_right_up_to_the_last_position(void **state) {
    (void)state;
    static const struct { kd_rope_type type; double theta, factor, original; } kind[] = {
        {KD_ROPE_DEFAULT, 1e4, 0, 0}, {KD_ROPE_DEFAULT, 5e5, 0, 0}, {KD_ROPE_DEFAULT, 5e6, 0, 0},
        {KD_ROPE_LLAMA3, 5e5, 8, 8192}, {KD_ROPE_YARN, 1e4, 16, 4096}};
    static const int64_t positions[] = {1000, 1 << 15, 1 << 24};
    double worst = 0;
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++) {
        kd_rope_config config;
        double inv_freq[KD_ROPE_PAIRS];
        kd_rope_clear(&config, kind[i].type, kind[i].theta, 4096);
        config.factor = kind[i].factor;
        config.original = kind[i].original;
        config.low_freq_factor = 1, config.high_freq_factor = 4;
        kd_rope_frequencies(inv_freq, &config, 128, 4096);
        for (int j = 0; j < 3; j++)
            for (int f32 = 0; f32 < 2; f32++) {
                kd_rope rope;
                kd_precision p = f32 ? KD_PRECISION_F32_ANGLE : KD_PRECISION_EXACT;
                assert_int_equal(kd_rope_init_for(&rope, ctx, p, inv_freq, 128, positions[j]), KD_OK);
                worst = fmax(worst, furthest(&rope, f32 ? KD_ANGLES_F32 : KD_ANGLES_DOUBLE, i));
                if (f32) worst = fmax(worst, furthest(&rope, KD_ANGLES_DOUBLE, i + 100));
                assert_true(kd_rope_bytes(p, 128, positions[j]) <= 256 << 20);
                kd_rope_free(&rope, ctx);
            }
    }
    print_message("cosines and sines are off by at most %.3g\n", worst);
    assert_true(worst <= 3.2e-8);
}

/* Both levels and the table round the same numbers; where they differ, one unit in the last place. */
static void two_levels_are_the_table(void **state) {
    (void)state;
    enum { T = 1 << 18, E = 16 };
    double inv_freq[E / 2];
    for (int64_t e = 0; e < E / 2; e++) inv_freq[e] = (float)pow(1e4, -2.0 * (double)e / E);
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
        kd_rope table, levels;
        int64_t different = 0;
        kd_angles angles = kd_ladder[p].angles;
        if (p != KD_PRECISION_EXACT && p != KD_PRECISION_F32_ANGLE && p != KD_PRECISION_BF16) continue;
        assert_int_equal(kd_rope_init_for(&table, ctx, p, inv_freq, E, T), KD_OK);
        assert_int_equal(kd_rope_init_for(&levels, ctx, p, inv_freq, E, 1 << 20), KD_OK);
        assert_non_null(table.table);
        assert_null(levels.table);
        for (int64_t t = 0; t < T; t += 7) {
            float made[E], unused[E];
            const float *x = kd_rope_row(&levels, angles, t, made), *y = kd_rope_row(&table, angles, t, unused);
            for (int64_t e = 0; e < E; e++)
                if (x[e] != y[e]) {
                    different++;
                    assert_true(fabsf(x[e] - y[e]) <= (p == KD_PRECISION_BF16 ? 0x1p-8f : 0x1p-24f));
                }
        }
        assert_true(different <= 2);
        kd_rope_free(&table, ctx);
        kd_rope_free(&levels, ctx);
    }
    kd_rope none;
    assert_int_equal(kd_rope_init(&none, ctx, inv_freq, E, (1 << 24) + 1), KD_EARG);
}

/* Attention at the far end, where a row is made for every query and key. */
static void attention_works_at_the_last_positions(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_ANCHOR, .N = 3, .length = {90, 5, 40}};
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISION_BF16_EAGER; p++)
        for (kd_frame frame = KD_FRAME_WINDOW; frame <= KD_FRAME_DOCUMENT; frame++) {
            problem x;
            problem_init(&x, ctx, &w, 2, 1, 64, frame, 4);
            int32_t shift = (1 << 24) - 1 - x.plan.position[x.plan.T - 1];
            for (int64_t t = 1; t < x.plan.T; t++) x.plan.position[t] += shift;
            for (int64_t n = 0; n < x.plan.N; n++) x.plan.base[n] += shift;
            problem_set_precision(&x, p, 1 << 24);
            problem_define(&x);
            for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
                problem_run(&x, variant);
                for (int part = 0; part < PARTS; part++) {
                    error e = part_error(&x, part);
                    assert_true(e.most <= (p == KD_PRECISION_SPLIT ? 1e-4 : 2e-5) * (1 + e.size));
                }
            }
            problem_free(&x);
        }
}

static int open_ctx(void **state) {
    (void)state;
    return kd_ctx_open(&ctx, 2);
}

static int close_ctx(void **state) {
    (void)state;
    kd_ctx_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(every_variant_keeps_what_the_definition_keeps),
        cmocka_unit_test(an_anchor_may_stand_anywhere),
        cmocka_unit_test(every_gradient_is_near_exact),
        cmocka_unit_test(where_values_are_equal_no_logit_matters),
        cmocka_unit_test(the_anchors_logit_is_exact_in_frame_document_alone),
        cmocka_unit_test(what_float16_cannot_hold_is_named),
        cmocka_unit_test(small_numbers_round_to_float16s_steps),
        cmocka_unit_test(a_nan_stays_a_nan),
        cmocka_unit_test(a_table_for_another_precision_is_refused),
        cmocka_unit_test(run_files_name_every_precision_as_it_is_called),
        cmocka_unit_test(angles_are_right_up_to_the_last_position),
        cmocka_unit_test(two_levels_are_the_table),
        cmocka_unit_test(attention_works_at_the_last_positions),
    };
    return cmocka_run_group_tests(test, open_ctx, close_ctx);
}

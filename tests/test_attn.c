/* Attention against its definition, and the definition against a dense mask. */
#include "attn_oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kd_ctx *ctx;

static double furthest(const double *x, const double *y, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(x[i] - y[i]) <= most)) most = fabs(x[i] - y[i]);
    return most;
}

/* ---- the definition ---------------------------------------------------------------------------------------- */

/* The definition on x's plan against a dense mask over the same tokens in another order: token t of the mask is stored
 * at place[t]. */
static void compare_with_dense(problem *x, const bool *seen, const int32_t *position, const int64_t *place) {
    int64_t T = x->plan.T, H = x->a.H, G = x->a.G, E = x->a.E;
    const int64_t *from = x->out.from, width[PARTS] = {H * E, 0, H * E, G * E, G * E};
    double *out = oracle_new(from[PARTS], 8), *in[4];
    const double *source[4] = {x->q, x->k, x->v, x->dout};
    for (int i = 0; i < 4; i++) {
        int64_t row = (i == 0 || i == 3 ? H : G) * E;
        in[i] = oracle_new(T * row, 8);
        for (int64_t t = 0; t < T; t++) memcpy(in[i] + t * row, source[i] + place[t] * row, (size_t)row * 8);
    }
    dense_run(&(dense_attention){T, H, G, E, seen, position, x->rope.inv_freq, in[0], in[1], in[2], in[3], out,
                                 out + from[PART_LSE], out + from[PART_DQ], out + from[PART_DK], out + from[PART_DV]});
    problem_define(x);
    for (int64_t t = 0; t < T; t++) {
        for (int part = 0; part < PARTS; part++)
            assert_true(furthest(out + from[part] + t * width[part], x->out.d + from[part] + place[t] * width[part],
                                 width[part]) < 1e-11);
        for (int64_t h = 0; h < H; h++)
            assert_true(fabs(out[from[PART_LSE] + h * T + t] - x->out.d[from[PART_LSE] + h * T + place[t]]) < 1e-11);
    }
    for (int i = 0; i < 4; i++) free(in[i]);
    free(out);
}

/* Where anchor and documents may go: all on by a distance, documents behind an anchor that is not at 0, or before it. */
static const struct { int32_t anchor, documents; } place_of[] = {{0, 0}, {1000, 1000}, {1000, 5000}, {1000, 0}};
enum { PLACES = sizeof place_of / sizeof *place_of };

static void the_definition_is_the_dense_mask(void **state) {
    (void)state;
    for (int bits = 0; bits < 24 * PLACES; bits++) {
        window w = {.mask = (kd_mask)(bits / 8 % 3), .reset = bits & 1, .own_bos = bits & 2, .N = 4, .length = {5, 1, 17, 8}};
        problem x;
        problem_init(&x, ctx, &w, 4, 2, 6, bits & 4 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW, 2);
        problem_move(&x, place_of[bits / 24].anchor, place_of[bits / 24].documents);
        bool *seen = plan_sight(&x.plan);
        int64_t place[64];
        for (int64_t t = 0; t < x.plan.T; t++) place[t] = t;
        compare_with_dense(&x, seen, x.plan.position, place);
        free(seen);
        problem_free(&x);
    }
}

/* In window order a document's chunks lie among others'; stored, they are one run whose positions jump. */
static void interleaved_chunks_are_their_dense_form(void **state) {
    (void)state;
    enum { N = 3, CUTS = 3 };
    window w = {.mask = KD_MASK_ANCHOR, .cuts = CUTS, .N = N, .length = {9, 4, 14}};
    for (kd_frame frame = KD_FRAME_WINDOW; frame <= KD_FRAME_DOCUMENT; frame++) {
        problem x;
        problem_init(&x, ctx, &w, 2, 1, 8, frame, 2);
        int64_t T = x.plan.T, t = 1, place[64] = {0}, document[64] = {-1}, taken[N] = {0};
        for (int64_t c = 0; c < CUTS; c++)
            for (int64_t i = 0; i < N; i++) {
                int64_t n = c % 2 ? N - 1 - i : i, end = w.length[n] * (c + 1) / CUTS;
                for (; taken[n] < end; t++) document[t] = n, place[t] = x.plan.start[n] + taken[n]++;
            }
        assert_int_equal(t, T);
        bool *seen = oracle_new(T * T, sizeof *seen);
        int32_t position[64];
        for (int64_t i = 0; i < T; i++) {
            position[i] = (int32_t)i;
            for (int64_t j = 0; j <= i; j++) seen[i * T + j] = j == 0 || document[i] == document[j];
        }
        compare_with_dense(&x, seen, position, place);
        free(seen);
        problem_free(&x);
    }
}

static double loss(problem *x) {
    const int64_t *from = x->out.from;
    assert_int_equal(kd_attn_define_forward(x->out.d, x->out.d + from[PART_LSE], x->q, x->k, x->v, &x->a), KD_OK);
    double sum = 0;
    for (int64_t i = 0; i < from[1]; i++) sum += x->out.d[i] * x->dout[i];
    return sum;
}

static void the_definitions_gradient_is_its_finite_difference(void **state) {
    (void)state;
    const double step = 1e-4;
    for (int bits = 0; bits < 4 * PLACES; bits++) {
        window w = {.mask = bits & 1 ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT, .cuts = 2, .N = 3, .length = {4, 1, 6}};
        problem x;
        problem_init(&x, ctx, &w, 4, 2, 4, bits & 2 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW, 2);
        problem_move(&x, place_of[bits / 4].anchor, place_of[bits / 4].documents);
        problem_define(&x);
        double *input[] = {x.q, x.k, x.v};
        for (int i = 0; i < 3; i++) {
            int part = PART_DQ + i;
            int64_t n = x.out.from[part + 1] - x.out.from[part];
            double most = 0, size = 0;
            for (int64_t j = 0; j < n; j++) {
                double kept = input[i][j], gradient = x.out.d[x.out.from[part] + j];
                input[i][j] = kept + step;
                double up = loss(&x);
                input[i][j] = kept - step;
                double difference = (up - loss(&x)) / (2 * step) - gradient;
                input[i][j] = kept;
                most = fmax(most, fabs(difference));
                size = fmax(size, fabs(gradient));
            }
            assert_true(most <= 1e-7 * size);
        }
        problem_free(&x);
    }
}

/* Fact 7 of the design: a BOS at position 0 sees only itself, so one for each document is one for all. */
static void a_bos_of_its_own_is_the_shared_anchor(void **state) {
    (void)state;
    enum { H = 4, G = 2, E = 8, N = 3 };
    for (int running = 0; running < 2; running++) {
        window w = {.mask = KD_MASK_ANCHOR, .reset = !running, .N = N, .length = {7, 1, 12}};
        problem shared, own;
        problem_init(&shared, ctx, &w, H, G, E, KD_FRAME_WINDOW, 3);
        w.own_bos = true;
        problem_init(&own, ctx, &w, H, G, E, KD_FRAME_WINDOW, 3);
        for (int64_t n = 0; n < N; n++)  /* running positions count the other BOS tokens: give text the same ones */
            for (int64_t i = 0; i < w.length[n]; i++)
                own.plan.position[own.plan.start[n] + 1 + i] = shared.plan.position[shared.plan.start[n] + i];
        for (int64_t n = 0; n < N; n++)  /* BOS and anchor carry no loss */
            memset(own.dout + own.plan.start[n] * H * E, 0, H * E * sizeof(double));
        memset(shared.dout, 0, H * E * sizeof(double));
        problem_define(&shared);
        problem_define(&own);
        const int64_t *a = shared.out.from, *b = own.out.from, width[PARTS] = {H * E, 0, H * E, G * E, G * E};
        for (int part = 0; part < PARTS; part++) {
            double sum[H * E] = {0};
            for (int64_t n = 0; n < N; n++) {
                int64_t at = shared.plan.start[n], bos = own.plan.start[n];
                assert_true(furthest(shared.out.d + a[part] + at * width[part],
                                     own.out.d + b[part] + (bos + 1) * width[part], w.length[n] * width[part]) < 1e-12);
                for (int64_t e = 0; e < width[part]; e++) sum[e] += own.out.d[b[part] + bos * width[part] + e];
            }
            if (part >= PART_DK) assert_true(furthest(sum, shared.out.d + a[part], width[part]) < 1e-12);
        }
        problem_free(&shared);
        problem_free(&own);
    }
}

/* ---- the kernels ------------------------------------------------------------------------------------------- */

typedef struct shape { const char *what; window w; int64_t H, G, E; kd_frame frame; } shape;

static const shape awkward[] = {
    {"one token", {KD_MASK_FULL, 0, 0, 0, 1, {1}, {0}}, 2, 2, 64, KD_FRAME_WINDOW},
    {"the anchor alone", {KD_MASK_ANCHOR, 0, 0, 0, 0, {0}, {0}}, 4, 2, 64, KD_FRAME_DOCUMENT},
    {"an anchor and a token", {KD_MASK_ANCHOR, 0, 0, 0, 1, {1}, {0}}, 2, 1, 16, KD_FRAME_WINDOW},
    {"one-token documents", {KD_MASK_ANCHOR, 0, 0, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {0}}, 2, 1, 64, KD_FRAME_DOCUMENT},
    {"a register tile", {KD_MASK_FULL, 0, 0, 0, 1, {48}, {0}}, 2, 1, 64, KD_FRAME_WINDOW},
    {"a key tile and one", {KD_MASK_FULL, 0, 0, 0, 1, {129}, {0}}, 2, 1, 64, KD_FRAME_WINDOW},
    {"a block and one", {KD_MASK_FULL, 0, 0, 0, 1, {193}, {0}}, 1, 1, 32, KD_FRAME_DOCUMENT},
    {"three key tiles", {KD_MASK_FULL, 0, 0, 0, 1, {384}, {0}}, 2, 2, 128, KD_FRAME_WINDOW},
    {"a long document", {KD_MASK_FULL, 0, 0, 0, 1, {531}, {0}}, 2, 1, 64, KD_FRAME_WINDOW},
    {"long and short ones", {KD_MASK_ANCHOR, 0, 0, 0, 5, {7, 512, 511, 1, 640}, {0}}, 4, 2, 64, KD_FRAME_DOCUMENT},
    {"ragged documents", {KD_MASK_DOCUMENT, 0, 1, 0, 6, {1, 47, 48, 49, 130, 17}, {0}}, 6, 2, 96, KD_FRAME_WINDOW},
    {"ragged, anchored", {KD_MASK_ANCHOR, 0, 0, 0, 6, {1, 47, 48, 49, 130, 17}, {0}}, 6, 2, 96, KD_FRAME_DOCUMENT},
    {"anchored, window frame", {KD_MASK_ANCHOR, 0, 0, 0, 3, {100, 3, 61}, {0}}, 3, 3, 128, KD_FRAME_WINDOW},
    {"anchored, reset", {KD_MASK_ANCHOR, 1, 0, 0, 3, {100, 3, 61}, {0}}, 5, 1, 128, KD_FRAME_DOCUMENT},
    {"a BOS for each", {KD_MASK_ANCHOR, 0, 1, 0, 3, {100, 3, 61}, {0}}, 4, 2, 64, KD_FRAME_DOCUMENT},
    {"interleaved", {KD_MASK_ANCHOR, 0, 0, 4, 5, {60, 9, 150, 33, 4}, {0}}, 4, 1, 64, KD_FRAME_DOCUMENT},
    {"interleaved, window frame", {KD_MASK_DOCUMENT, 0, 1, 3, 4, {60, 9, 150, 33}, {0}}, 4, 4, 64, KD_FRAME_WINDOW},
    {"E = 2", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 2, KD_FRAME_DOCUMENT},
    {"E = 6", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 6, KD_FRAME_WINDOW},
    {"E = 80", {KD_MASK_DOCUMENT, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 80, KD_FRAME_DOCUMENT},
    {"E = 256", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 256, KD_FRAME_DOCUMENT},
    {"seven heads on one", {KD_MASK_FULL, 0, 0, 0, 1, {150}, {0}}, 7, 1, 64, KD_FRAME_WINDOW},
};

/* A kernel may be as far from double as twice the naive float32 evaluation, or as rounding alone explains. */
static void every_variant_keeps_to_the_definition(void **state) {
    (void)state;
    int64_t first = first_variant(), last = kd_attn_forward_op.count - 1, bad = 0;
    if (first > 0) print_message("skipped: %lld variants that this machine cannot run\n", (long long)first);
    for (size_t i = 0; i < sizeof awkward / sizeof *awkward; i++) {
        const shape *s = &awkward[i];
        error naive[PARTS];
        problem x;
        problem_init(&x, ctx, &s->w, s->H, s->G, s->E, s->frame, 4);
        problem_define(&x);
        for (int64_t variant = last; variant >= first; variant--) {
            problem_run(&x, variant);
            for (int part = 0; part < PARTS; part++) {
                error e = part_error(&x, part);
                if (variant == last) naive[part] = e;
                double floor = 3e-7 * (1 + e.size);
                if (e.most <= 2 * naive[part].most + floor && e.rms <= 2 * naive[part].rms + floor / 3 &&
                    naive[part].most <= 100 * floor)
                    continue;
                print_error("%s, %s, %s: off by %.2g, rms %.2g; the naive float32 %.2g, %.2g of %.2g\n", s->what,
                            kd_attn_forward_op.variant[variant].name, part_name[part], e.most, e.rms,
                            naive[part].most, naive[part].rms, e.size);
                bad++;
            }
        }
        problem_free(&x);
    }
    assert_int_equal(bad, 0);
}

/* No -1e30 where the largest logit should be: rows of very negative or very large logits are ordinary rows. */
static void logits_of_any_size_are_ordinary(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_ANCHOR, .N = 2, .length = {70, 150}};
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        problem x;
        problem_init(&x, ctx, &w, 2, 1, 64, KD_FRAME_WINDOW, 1);
        x.a.scale = 40;  /* logits of several thousand: every row has one winner */
        problem_define(&x);
        problem_run(&x, variant);
        for (int part = 0; part < PARTS; part++) {
            error e = part_error(&x, part);
            assert_true(e.rms <= 2e-3 * (1 + e.size));
        }
        problem_free(&x);
    }
}

/* A bad activation must be seen, and must not spread to other rows, nor to other documents' gradients. */
static void a_nan_stays_a_nan_and_stays_where_it_is_seen(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_DOCUMENT, .N = 2, .length = {60, 60}};
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        problem x;
        problem_init(&x, ctx, &w, 1, 1, 16, KD_FRAME_WINDOW, 1);
        x.a.q.data[10 * x.a.q.token_stride] = NAN;
        problem_run(&x, variant);
        const float *dk = x.out.f + x.out.from[PART_DK];
        for (int64_t t = 0; t < x.plan.T; t++) {
            assert_int_equal(isnan(x.out.f[t * 16]) != 0, t == 10);
            if (t <= 10) assert_true(isnan(dk[t * 16]));           /* keys that the row sees */
            if (t >= 60) assert_false(isnan(dk[t * 16]));          /* another document's */
        }
        problem_free(&x);
    }
}

static void mistakes_are_named(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_ANCHOR, .N = 1, .length = {20}};
    problem x;
    problem_init(&x, ctx, &w, 2, 1, 16, KD_FRAME_WINDOW, 1);
    const kd_attn right = x.a;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_OK);
    assert_int_equal(kd_attn_backward(ctx, &x.a), KD_OK);
    x.a.G = 2, x.a.H = 3;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    assert_non_null(strstr(kd_message(), "3 query heads on 2"));
    x.a = right, x.a.E = 18;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    assert_non_null(strstr(kd_message(), "head size 18, the rotary table's is 16"));
    x.a = right, x.a.E = 17;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    x.a = right, x.a.scale = -1;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    x.a = right, x.a.dk.data = NULL;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_OK);
    assert_int_equal(kd_attn_backward(ctx, &x.a), KD_EARG);
    assert_non_null(strstr(kd_message(), "dk is missing"));
    x.a = right, x.rope.positions = 20;  /* positions 1 .. 20 */
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    assert_non_null(strstr(kd_message(), "token 20 turns by 20"));
    x.a.frame = KD_FRAME_DOCUMENT;  /* the anchor's logit still needs the window's positions */
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
    x.rope.positions = 21, x.plan.anchors = 2;
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_ENOTSUP);
    x.plan.anchors = 1;
    problem_free(&x);
}

/* What is turned must lie in the table, not where it stands: distances of either sign, the anchor's key where it is kept. */
static void rotations_beyond_the_table_are_named(void **state) {
    (void)state;
    enum { FAR = 1 << 25 };
    static const struct { int32_t anchor, documents; kd_frame frame; kd_precision precision; const char *said; } row[] = {
        {FAR, FAR, KD_FRAME_DOCUMENT, KD_PRECISION_EXACT, NULL},
        {FAR, FAR, KD_FRAME_DOCUMENT, KD_PRECISION_SPLIT, NULL},
        {50, 50, KD_FRAME_WINDOW, KD_PRECISION_EXACT, "token 1 turns by 51,"},
        {21, 0, KD_FRAME_WINDOW, KD_PRECISION_EXACT, NULL},  /* distances -20 .. -1 */
        {22, 0, KD_FRAME_WINDOW, KD_PRECISION_EXACT, "token 1 turns by -21,"},
        {22, 0, KD_FRAME_DOCUMENT, KD_PRECISION_SPLIT, "token 1 turns by -21,"},
        {0, 1, KD_FRAME_DOCUMENT, KD_PRECISION_SPLIT, "token 20 turns by 21,"},
        {-1, 0, KD_FRAME_WINDOW, KD_PRECISION_SPLIT, NULL},
        {-1, 0, KD_FRAME_WINDOW, KD_PRECISION_EXACT, "token 20 turns by 21,"},
        {20, 0, KD_FRAME_WINDOW, KD_PRECISION_SPLIT, NULL},
        {21, 0, KD_FRAME_WINDOW, KD_PRECISION_SPLIT, "token 0 turns by 21,"},
        {-21, 0, KD_FRAME_WINDOW, KD_PRECISION_SPLIT, "token 0 turns by -21,"},
    };
    window w = {.mask = KD_MASK_ANCHOR, .N = 1, .length = {20}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        problem x;
        problem_init(&x, ctx, &w, 2, 1, 16, row[i].frame, 1);  /* positions 0 and 1 .. 20 */
        problem_set_precision(&x, row[i].precision, 21);
        problem_move(&x, row[i].anchor, row[i].documents);
        assert_int_equal(kd_attn_forward(ctx, &x.a), row[i].said ? KD_EARG : KD_OK);
        assert_int_equal(kd_attn_backward(ctx, &x.a), row[i].said ? KD_EARG : KD_OK);
        if (row[i].said) assert_non_null(strstr(kd_message(), row[i].said));
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
        cmocka_unit_test(the_definition_is_the_dense_mask),
        cmocka_unit_test(interleaved_chunks_are_their_dense_form),
        cmocka_unit_test(the_definitions_gradient_is_its_finite_difference),
        cmocka_unit_test(a_bos_of_its_own_is_the_shared_anchor),
        cmocka_unit_test(every_variant_keeps_to_the_definition),
        cmocka_unit_test(logits_of_any_size_are_ordinary),
        cmocka_unit_test(a_nan_stays_a_nan_and_stays_where_it_is_seen),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(rotations_beyond_the_table_are_named),
    };
    return cmocka_run_group_tests(test, open_ctx, close_ctx);
}

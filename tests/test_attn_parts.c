/* Attention of some of the queries to some of the keys: against the definition, and as parts of the whole window's. */
#include "attn_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "sanitized.h"

static kd_ctx *ctx;

static const window windows[] = {
    {.mask = KD_MASK_FULL, .N = 1, .length = {700}},
    {.mask = KD_MASK_DOCUMENT, .cuts = 2, .N = 5, .length = {130, 1, 90, 7, 260}},
    {.mask = KD_MASK_DOCUMENT, .own_bos = true, .reset = true, .N = 4, .length = {33, 260, 5, 64}},
    {.mask = KD_MASK_ANCHOR, .N = 6, .length = {120, 2, 600, 16, 1, 61}},
    {.mask = KD_MASK_ANCHOR, .reset = true, .cuts = 2, .N = 4, .length = {80, 99, 20, 131}},
};
enum { WINDOWS = sizeof windows / sizeof *windows };

/* What attention of a part computes, in double by the definition and in float by a variant: contiguous. */
typedef struct part_results {
    kd_stretch rows, keys;
    int64_t from[PARTS + 1];
    float *f;
    double *d;
} part_results;

static void part_init(part_results *y, const problem *x, kd_stretch rows, kd_stretch keys) {
    int64_t R = kd_stretch_count(rows), K = kd_stretch_count(keys), HE = x->a.H * x->a.E, GE = x->a.G * x->a.E;
    const int64_t count[PARTS] = {R * HE, R * x->a.H, R * HE, K * GE, K * GE};
    *y = (part_results){.rows = rows, .keys = keys};
    for (int i = 0; i < PARTS; i++) y->from[i + 1] = y->from[i] + count[i];
    y->f = oracle_new(y->from[PARTS], sizeof *y->f);
    y->d = oracle_new(y->from[PARTS], sizeof *y->d);
}

static void part_free(part_results *y) {
    free(y->f);
    free(y->d);
}

/* lse [H, T] of a window -> [H, rows], numbers of so many bytes. */
static void cut_lse(void *to, const void *from, const problem *x, kd_stretch rows, int64_t size) {
    int64_t bytes = kd_stretch_count(rows) * size;
    for (int64_t h = 0; h < x->a.H; h++)
        memcpy((char *)to + h * bytes, (const char *)from + (h * x->plan.T + rows.from) * size, (size_t)bytes);
}

static kd_attn part_of(const problem *x, const part_results *y) {
    kd_attn a = x->a;
    a.rows = y->rows, a.keys = y->keys;
    a.q.data += y->rows.from * a.q.token_stride, a.dout.data += y->rows.from * a.dout.token_stride;
    a.k.data += y->keys.from * a.k.token_stride, a.v.data += y->keys.from * a.v.token_stride;
    return a;
}

/* The window's own o and lse, x->out.d, go into the backward. */
static void part_define(part_results *y, const problem *x) {
    kd_attn a = part_of(x, y);
    int64_t HE = x->a.H * x->a.E, GE = x->a.G * x->a.E;
    const double *q = x->q + y->rows.from * HE, *k = x->k + y->keys.from * GE, *v = x->v + y->keys.from * GE;
    double *lse = oracle_new(y->from[PART_DQ], sizeof *lse);
    assert_int_equal(kd_attn_define_forward(y->d, y->d + y->from[PART_LSE], q, k, v, &a), KD_OK);
    cut_lse(lse, x->out.d + x->out.from[PART_LSE], x, y->rows, sizeof *lse);
    assert_int_equal(kd_attn_define_backward(y->d + y->from[PART_DQ], y->d + y->from[PART_DK], y->d + y->from[PART_DV],
                                             x->dout + y->rows.from * HE, q, k, v, x->out.d + y->rows.from * HE, lse, &a), KD_OK);
    free(lse);
}

static void run_poisoned(const kd_attn *a, const kd_variant *variant) {
    assert_int_equal(kd_ctx_reserve(ctx, variant->workspace(ctx, a)), KD_OK);
    memset(ctx->scratch, 0xff, (size_t)ctx->scratch_bytes);
    assert_int_equal(kd_op_run_variant(ctx, variant, a), KD_OK);
}

/* The same by a variant; o and lse for the backward are x->out.f. Outputs begin as NaN, in memory that just holds them. */
static void part_run(part_results *y, const problem *x, int64_t variant) {
    kd_attn a = part_of(x, y);
    int64_t H = a.H, G = a.G, E = a.E, *from = y->from;
    float *out[PARTS];
    for (int i = 0; i < PARTS; i++) {
        out[i] = malloc((size_t)(from[i + 1] - from[i]) * sizeof(float));
        assert_non_null(out[i]);
        for (int64_t j = 0; j < from[i + 1] - from[i]; j++) out[i][j] = NAN;
    }
    a.o = kd_view_heads(out[PART_O], H, E), a.dq = kd_view_heads(out[PART_DQ], H, E);
    a.dk = kd_view_heads(out[PART_DK], G, E), a.dv = kd_view_heads(out[PART_DV], G, E);
    a.lse = out[PART_LSE];
    assert_int_equal(kd_attn_check(ctx, &a, true), KD_OK);
    run_poisoned(&a, &kd_attn_forward_op.variant[variant]);
    memcpy(y->f, out[PART_O], (size_t)from[1] * sizeof(float));
    memcpy(y->f + from[PART_LSE], out[PART_LSE], (size_t)(from[2] - from[1]) * sizeof(float));
    a.o = kd_view_heads(x->out.f + y->rows.from * H * E, H, E);
    cut_lse(a.lse, x->out.f + x->out.from[PART_LSE], x, y->rows, sizeof *a.lse);
    run_poisoned(&a, &kd_attn_backward_op.variant[variant]);
    for (int i = PART_DQ; i < PARTS; i++) memcpy(y->f + from[i], out[i], (size_t)(from[i + 1] - from[i]) * sizeof(float));
    for (int i = 0; i < PARTS; i++) free(out[i]);
}

/* log(exp(a) + exp(b)) */
static double log_sum(double a, double b) {
    double top = fmax(a, b);
    return top == -INFINITY ? top : top + log(exp(a - top) + exp(b - top));
}

/* Definition against definition: the keys in three parts, for the rows in two, make up the window's attention. */
static void parts_by_definition_make_up_the_whole(void **state) {
    (void)state;
    for (int w = 0; w < WINDOWS; w++) {
        problem x;
        problem_init(&x, ctx, &windows[w], 4, 2, 8, w % 2 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT, 2);
        problem_define(&x);
        int64_t T = x.plan.T, H = 4, E = 8, rows[] = {0, T / 2 + 3, T}, keys[] = {0, T / 3, 2 * T / 3 + 5, T};
        double *sum = oracle_new(x.out.from[PARTS], sizeof *sum), *lse = sum + x.out.from[PART_LSE];
        int64_t pairs = 0;
        for (int64_t i = 0; i < H * T; i++) lse[i] = -INFINITY;
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < 3; j++) {
                part_results y;
                part_init(&y, &x, (kd_stretch){rows[i], rows[i + 1]}, (kd_stretch){keys[j], keys[j + 1]});
                part_define(&y, &x);
                pairs += kd_stretch_pairs(&x.plan, y.rows, y.keys);
                int64_t R = kd_stretch_count(y.rows);
                for (int64_t h = 0; h < H; h++)
                    for (int64_t r = 0; r < R; r++) {
                        double *whole = &lse[h * T + rows[i] + r], own = y.d[y.from[PART_LSE] + h * R + r], both = log_sum(*whole, own);
                        double *o = sum + ((rows[i] + r) * H + h) * E;
                        for (int64_t e = 0; e < E && both > -INFINITY; e++)
                            o[e] = exp(*whole - both) * o[e] + exp(own - both) * y.d[(r * H + h) * E + e];
                        *whole = both;
                    }
                for (int part = PART_DQ; part < PARTS; part++) {
                    double *to = sum + x.out.from[part] + (part == PART_DQ ? rows[i] * H : keys[j] * 2) * E;
                    for (int64_t n = 0; n < y.from[part + 1] - y.from[part]; n++) to[n] += y.d[y.from[part] + n];
                }
                part_free(&y);
            }
        assert_int_equal(pairs, kd_plan_pairs(&x.plan));
        for (int64_t i = 0; i < x.out.from[PARTS]; i++)
            if (!(fabs(sum[i] - x.out.d[i]) < 1e-11)) fail_msg("window %d, number %lld: %g, not %g", w, (long long)i, sum[i], x.out.d[i]);
        free(sum);
        problem_free(&x);
    }
}

/* Where rows and keys begin and end: inside tiles and documents, at their ends, apart, one behind the other. */
static const struct { double row[2], key[2]; } cuts[] = {
    {{0, 1}, {0, 1}},       {{0.5, 1}, {0, 1}},    {{0.25, 0.5}, {0, 0.5}},  {{0, 0.5}, {0.5, 1}},   {{0.5, 1}, {0, 0.25}},
    {{0.6, 0.9}, {0.3, 1}}, {{0.1, 1}, {0.4, 0.7}}, {{0, 1}, {0.33, 1}},     {{0.7, 0.71}, {0, 1}},  {{0, 1}, {0.5, 0.505}},
    {{0, 0}, {0, 1}},       {{0, 1}, {0, 0}},       {{0, 0}, {0.2, 0.5}},
};
enum { CUTS = sizeof cuts / sizeof *cuts };

/* At least one token. */
static kd_stretch cut(const problem *x, const double at[2]) {
    int64_t T = x->plan.T, from = (int64_t)(at[0] * (double)T), to = (int64_t)(at[1] * (double)T);
    return (kd_stretch){from, to > from ? to : from + 1};
}

static void compare(const problem *x, const part_results *y, const char *what) {
    for (int part = 0; part < PARTS; part++)
        for (int64_t i = y->from[part]; i < y->from[part + 1]; i++) {
            bool same = y->d[i] == -INFINITY ? y->f[i] == -INFINITY : fabs(y->f[i] - y->d[i]) <= 2e-5 * (1 + fabs(y->d[i]));
            if (!same)
                fail_msg("%s, rows %lld..%lld, keys %lld..%lld of %lld: %s[%lld] is %g, not %g", what, (long long)y->rows.from,
                         (long long)y->rows.to, (long long)y->keys.from, (long long)y->keys.to, (long long)x->plan.T, part_name[part],
                         (long long)(i - y->from[part]), y->f[i], y->d[i]);
        }
}

static void every_variant_computes_every_part(void **state) {
    (void)state;
    for (int w = 0; w < WINDOWS; w += SANITIZED ? 3 : 1) {
        problem x;
        part_results y[CUTS];
        problem_init(&x, ctx, &windows[w], 4, 2, w % 2 ? 24 : 64, w % 2 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW, 2);
        problem_define(&x);
        for (int i = 0; i < CUTS; i++) {
            part_init(&y[i], &x, cut(&x, cuts[i].row), cut(&x, cuts[i].key));
            part_define(&y[i], &x);
        }
        for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
            problem_run(&x, variant);
            for (int i = 0; i < CUTS; i++) {
                part_run(&y[i], &x, variant);
                compare(&x, &y[i], kd_attn_forward_op.variant[variant].name);
            }
        }
        for (int i = 0; i < CUTS; i++) part_free(&y[i]);
        problem_free(&x);
    }
}

/* In every bit, at every precision: o, lse and dq of rows with all that they see, wherever the rows begin. */
static void a_row_does_not_know_which_are_computed_beside_it(void **state) {
    (void)state;
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
        for (int w = 0; w < WINDOWS; w += SANITIZED ? 3 : 1)
            for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p += SANITIZED ? 3 : 1) {
                problem x;
                if (p != KD_PRECISION_EXACT && w % 2 == 0) continue;
                problem_init(&x, ctx, &windows[w], 2, 1, 32, w == 3 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT, 2);
                problem_set_precision(&x, p, 2048);
                if (problem_is_served(&x, variant)) {
                    problem_run(&x, variant);
                    int64_t T = x.plan.T, step = T / 7 + 1;
                    for (int64_t from = 0; from < T; from += step) {
                        part_results y;
                        kd_stretch rows = {from, from + step < T ? from + step : T};
                        part_init(&y, &x, rows, (kd_stretch){0, rows.to});
                        part_run(&y, &x, variant);
                        float *lse = oracle_new(y.from[PART_DQ] - y.from[PART_LSE], sizeof *lse);
                        cut_lse(lse, x.out.f + x.out.from[PART_LSE], &x, rows, sizeof *lse);
                        const float *o = x.out.f + from * 64, *dq = o + x.out.from[PART_DQ];
                        assert_memory_equal(y.f, o, (size_t)y.from[1] * sizeof(float));
                        assert_memory_equal(y.f + y.from[PART_LSE], lse, (size_t)(y.from[2] - y.from[1]) * sizeof(float));
                        assert_memory_equal(y.f + y.from[PART_DQ], dq, (size_t)y.from[1] * sizeof(float));
                        free(lse);
                        part_free(&y);
                    }
                }
                problem_free(&x);
            }
}

/* 16-bit views of the same numbers: what they hold is what float32 ones hold, rounded. */
static void parts_of_16_bit_views_are_those_of_float32_rounded(void **state) {
    (void)state;
    enum { H = 2, G = 1, E = 32 };
    for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
        problem x;
        problem_init(&x, ctx, &windows[3], H, G, E, KD_FRAME_WINDOW, 2);
        kd_view *in[] = {&x.a.q, &x.a.dout, &x.a.k, &x.a.v};
        for (int i = 0; i < 4; i++)
            for (int64_t j = 0; j < x.plan.T * in[i]->token_stride; j++) in[i]->data[j] = kd_bf16_widen(kd_bf16_round(in[i]->data[j]));
        problem_run(&x, variant);
        for (int64_t j = 0; j < x.out.from[1]; j++) x.out.f[j] = kd_bf16_widen(kd_bf16_round(x.out.f[j]));
        part_results y;
        part_init(&y, &x, (kd_stretch){100, 555}, (kd_stretch){0, 430});
        part_run(&y, &x, variant);
        kd_attn a = part_of(&x, &y);
        const float *o = x.out.f + 100 * H * E;
        kd_view *view[] = {&a.q, &a.dout, &a.k, &a.v, &a.o, &a.dq, &a.dk, &a.dv};
        const int64_t heads[] = {H, H, G, G, H, H, G, G};
        for (int i = 0; i < 8; i++) {
            int64_t count = kd_stretch_count(heads[i] == H ? y.rows : y.keys), n = heads[i] * E;
            uint16_t *half = oracle_new(count * n, sizeof *half);
            for (int64_t t = 0; t < count && i < 4; t++)
                for (int64_t j = 0; j < n; j++) half[t * n + j] = kd_bf16_round(view[i]->data[t * view[i]->token_stride + j]);
            *view[i] = kd_view_half(half, KD_VIEW_BF16, heads[i], E);
        }
        a.lse = oracle_new(y.from[PART_DQ], sizeof *a.lse);
        run_poisoned(&a, &kd_attn_forward_op.variant[variant]);
        for (int64_t j = 0; j < y.from[1]; j++) assert_int_equal(a.o.half[j], kd_bf16_round(y.f[j]));
        for (int64_t j = 0; j < y.from[1]; j++) a.o.half[j] = kd_bf16_round(o[j]);
        cut_lse(a.lse, x.out.f + x.out.from[PART_LSE], &x, y.rows, sizeof *a.lse);
        run_poisoned(&a, &kd_attn_backward_op.variant[variant]);
        for (int i = 5; i < 8; i++)
            for (int64_t j = y.from[i - 3]; j < y.from[i - 2]; j++)
                assert_int_equal(view[i]->half[j - y.from[i - 3]], kd_bf16_round(y.f[j]));
        for (int i = 0; i < 8; i++) free(view[i]->half);
        free(a.lse);
        part_free(&y);
        problem_free(&x);
    }
}

/* Rows far behind it meet the anchor's key. */
static void an_anchor_that_float16_cannot_hold_is_named_by_any_part(void **state) {
    (void)state;
    problem x;
    problem_init(&x, ctx, &windows[3], 2, 1, 32, KD_FRAME_WINDOW, 1);
    problem_set_precision(&x, KD_PRECISION_F16_STORE, 2048);
    x.a.k.data[0] = 1e6f;
    x.a.rows = (kd_stretch){400, 500};
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_ENUMERIC);
    assert_non_null(strstr(kd_message(), "token 0, key head 0"));
    x.a.keys = (kd_stretch){1, 500};
    assert_int_equal(kd_attn_forward(ctx, &x.a), KD_OK);
    problem_free(&x);
}

static void parts_never_need_more_workspace_than_was_measured(void **state) {
    (void)state;
    for (int w = 0; w < WINDOWS; w++) {
        problem x;
        problem_init(&x, ctx, &windows[w], 2, 1, 32, KD_FRAME_WINDOW, 1);
        for (int i = 0; i < CUTS; i++)
            for (int64_t v = 2 * first_variant(); v < 2 * kd_attn_forward_op.count; v++) {
                const kd_variant *variant = &(v % 2 ? &kd_attn_backward_op : &kd_attn_forward_op)->variant[v / 2];
                kd_attn a = x.a;
                a.rows = cut(&x, cuts[i].row), a.keys = cut(&x, cuts[i].key);
                ctx->measuring = KD_MEASURE_ANY;
                int64_t most = variant->workspace(ctx, &a);
                ctx->measuring = KD_MEASURE_NOTHING;
                assert_true(variant->workspace(ctx, &a) <= most);
            }
        problem_free(&x);
    }
}

static void pairs_are_those_of_the_mask(void **state) {
    (void)state;
    for (int w = 0; w < WINDOWS; w++) {
        problem x;
        problem_init(&x, ctx, &windows[w], 1, 1, 2, KD_FRAME_WINDOW, 1);
        int64_t T = x.plan.T;
        bool *seen = plan_sight(&x.plan);
        for (int i = 0; i < CUTS; i++) {
            kd_stretch rows = cut(&x, cuts[i].row), keys = cut(&x, cuts[i].key);
            int64_t pairs = 0;
            for (int64_t r = rows.from; r < rows.to; r++)
                for (int64_t k = keys.from; k < keys.to; k++) pairs += seen[r * T + k];
            assert_int_equal(kd_stretch_pairs(&x.plan, rows, keys), pairs);
        }
        free(seen);
        problem_free(&x);
    }
}

static void parts_that_are_none_are_refused(void **state) {
    (void)state;
    const kd_stretch wrong[] = {{-1, 4}, {4, 4}, {5, 4}, {3, 21}};
    window w = {.mask = KD_MASK_DOCUMENT, .N = 1, .length = {20}};
    problem x;
    problem_init(&x, ctx, &w, 2, 1, 16, KD_FRAME_WINDOW, 1);
    for (int i = 0; i < 4; i++) {
        x.a.rows = wrong[i], x.a.keys = (kd_stretch){0, 0};
        assert_int_equal(kd_attn_forward(ctx, &x.a), KD_EARG);
        assert_non_null(strstr(kd_message(), "rows"));
        x.a.keys = wrong[i], x.a.rows = (kd_stretch){0, 0};
        assert_int_equal(kd_attn_backward(ctx, &x.a), KD_EARG);
        assert_non_null(strstr(kd_message(), "of a window of 20 tokens"));
    }
    problem_free(&x);
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
        cmocka_unit_test(parts_by_definition_make_up_the_whole),
        cmocka_unit_test(every_variant_computes_every_part),
        cmocka_unit_test(a_row_does_not_know_which_are_computed_beside_it),
        cmocka_unit_test(parts_of_16_bit_views_are_those_of_float32_rounded),
        cmocka_unit_test(an_anchor_that_float16_cannot_hold_is_named_by_any_part),
        cmocka_unit_test(parts_never_need_more_workspace_than_was_measured),
        cmocka_unit_test(pairs_are_those_of_the_mask),
        cmocka_unit_test(parts_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(test, open_ctx, close_ctx);
}

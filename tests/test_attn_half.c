/* Attention on views of 16-bit numbers: to the bit what it makes of the widened numbers, rounded once. */
#include "attn_oracle.h"
#include "sanitized.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

#define F32 KD_VIEW_F32
#define BF16 KD_VIEW_BF16
#define F16 KD_VIEW_F16

static kd_ctx *ctx;

static int open_ctx(void **state) {
    (void)state;
    return kd_ctx_open(&ctx, 2) != KD_OK;
}

static int close_ctx(void **state) {
    (void)state;
    kd_ctx_close(ctx);
    return 0;
}

enum { VIEWS = 8, GAP = 3 };
static const uint16_t untouched = 0xabcd;

/* q, k, v, o, dout, dq, dk, dv */
static kd_view *view_of(kd_attn *a, int i) {
    kd_view *view[VIEWS] = {&a->q, &a->k, &a->v, &a->o, &a->dout, &a->dq, &a->dk, &a->dv};
    return view[i];
}

static int64_t heads_of(const kd_attn *a, int i) { return i == 1 || i == 2 || i > 5 ? a->G : a->H; }

static uint16_t narrow(float x, kd_view_type type) { return type == KD_VIEW_BF16 ? kd_bf16_round(x) : kd_f16_round(x); }
static float widen(uint16_t x, kd_view_type type) { return type == KD_VIEW_BF16 ? kd_bf16_widen(x) : kd_f16_widen(x); }

/* The same places in two views of the same shape. */
static float *number(const kd_view *x, int64_t t, int64_t i) { return x->data + t * x->token_stride + i; }
static uint16_t *half(const kd_view *x, int64_t t, int64_t i) { return x->half + t * x->token_stride + i; }

/* Rounds the numbers of a view to what the type holds, and makes a view of them that has gaps. */
static kd_view halve(const kd_attn *a, const kd_view *x, int64_t heads, kd_view_type type) {
    int64_t T = a->plan->T, n = heads * a->E, stride = n + GAP;
    if (type == KD_VIEW_F32) {
        kd_view copy = {oracle_new(T * stride, sizeof(float)), stride, a->E, KD_VIEW_F32, NULL};
        for (int64_t t = 0; t < T; t++) memcpy(copy.data + t * stride, number(x, t, 0), (size_t)n * sizeof(float));
        return copy;
    }
    kd_view h = {NULL, stride, a->E, type, oracle_new(T * stride, sizeof(uint16_t))};
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < stride; i++) {
            *half(&h, t, i) = i < n ? narrow(*number(x, t, i), type) : untouched;
            if (i < n) *number(x, t, i) = widen(*half(&h, t, i), type);
        }
    return h;
}

/* `got` is `expected`, rounded once; what lies between rows is untouched. */
static void same(const kd_attn *a, const kd_view *got, const kd_view *expected, int64_t heads) {
    int64_t n = heads * a->E;
    for (int64_t t = 0; t < a->plan->T; t++) {
        for (int64_t i = 0; i < n; i++) {
            if (got->type == KD_VIEW_F32) assert_memory_equal(number(got, t, i), number(expected, t, i), sizeof(float));
            else assert_int_equal(*half(got, t, i), narrow(*number(expected, t, i), got->type));
        }
        for (int64_t i = n; i < n + GAP && got->type != KD_VIEW_F32; i++) assert_int_equal(*half(got, t, i), untouched);
    }
}

static void run(const kd_attn *a, int64_t variant, bool backward) {
    const kd_variant *v = &(backward ? &kd_attn_backward_op : &kd_attn_forward_op)->variant[variant];
    assert_int_equal(kd_attn_check(ctx, a, backward), KD_OK);
    assert_int_equal(kd_op_run_variant(ctx, v, a), KD_OK);
}

static void compare(problem *x, int64_t variant, const kd_view_type type[VIEWS]) {
    kd_attn wide = x->a, narrow_one = x->a;
    int64_t n = wide.H * wide.plan->T;
    narrow_one.lse = oracle_new(n, sizeof(float));
    for (int i = 0; i < VIEWS; i++) *view_of(&narrow_one, i) = halve(&wide, view_of(&wide, i), heads_of(&wide, i), type[i]);
    run(&wide, variant, false);
    run(&narrow_one, variant, false);
    same(&wide, &narrow_one.o, &wide.o, wide.H);
    assert_memory_equal(narrow_one.lse, wide.lse, (size_t)n * sizeof(float));
    kd_view again = halve(&wide, &wide.o, wide.H, type[3]);  /* the backward reads the rounded output */
    run(&wide, variant, true);
    run(&narrow_one, variant, true);
    for (int i = 5; i < VIEWS; i++) same(&wide, view_of(&narrow_one, i), view_of(&wide, i), heads_of(&wide, i));
    free(again.data);
    free(again.half);
    free(narrow_one.lse);
    for (int i = 0; i < VIEWS; i++) {
        free(view_of(&narrow_one, i)->data);
        free(view_of(&narrow_one, i)->half);
    }
}

static void sixteen_bits_are_the_widened_numbers(void **state) {
    (void)state;
    static const struct { window w; int64_t H, G, E; kd_precision precision; } shape[] = {
        {{KD_MASK_FULL, 0, 0, 0, 1, {1}, {0}}, 2, 1, 64, KD_PRECISION_EXACT},
        {{KD_MASK_ANCHOR, 0, 0, 0, 0, {0}, {0}}, 4, 2, 64, KD_PRECISION_EXACT},
        {{KD_MASK_ANCHOR, 0, 0, 0, 5, {7, 512, 130, 1, 640}, {0}}, 4, 2, 64, KD_PRECISION_EXACT},
        {{KD_MASK_ANCHOR, 0, 0, 0, 3, {100, 3, 61}, {0}}, 3, 3, 128, KD_PRECISION_BF16_STORE},
        {{KD_MASK_DOCUMENT, 0, 1, 0, 3, {47, 49, 530}, {0}}, 6, 2, 96, KD_PRECISION_F32_ANGLE},
        {{KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 6, KD_PRECISION_EXACT},
        {{KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 140}, {0}}, 2, 1, 22, KD_PRECISION_EXACT},
    };
    static const kd_view_type type[][VIEWS] = {
        {BF16, BF16, BF16, BF16, BF16, BF16, BF16, BF16},
        {F16, F16, F16, F16, F16, F16, F16, F16},
        {BF16, F32, F16, BF16, F32, F16, F32, BF16},
        {F32, F16, F32, F32, BF16, F32, BF16, F32},
    };
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++)
            for (size_t k = SANITIZED ? 2 : 0; k < (SANITIZED ? 3 : sizeof type / sizeof *type); k++) {  /* a sanitizer takes minutes for all */
                problem x;
                problem_init(&x, ctx, &shape[i].w, shape[i].H, shape[i].G, shape[i].E, KD_FRAME_WINDOW, 2);
                problem_set_precision(&x, shape[i].precision, x.plan.T + 1);
                compare(&x, variant, type[k]);
                problem_free(&x);
            }
}

/* Every pattern of 16 bits through the vectors and the tails of rows: one token sees itself, so its output is its value. */
static void every_value_comes_through(void **state) {
    (void)state;
    enum { E = 22, T = 65536 / E + 1 };
    for (kd_view_type type = KD_VIEW_BF16; type <= KD_VIEW_F16; type++)
        for (int64_t variant = first_variant(); variant < kd_attn_forward_op.count; variant++) {
            window w = {.mask = KD_MASK_ANCHOR};  /* the anchor alone */
            problem x;
            problem_init(&x, ctx, &w, 1, 1, E, KD_FRAME_WINDOW, 1);
            uint16_t value[E], out[E];
            kd_attn a = x.a;
            a.v = kd_view_half(value, type, 1, E);
            a.o = kd_view_half(out, type, 1, E);
            for (int64_t t = 0; t < T; t++) {
                for (int64_t e = 0; e < E; e++) value[e] = (uint16_t)(t * E + e);
                run(&a, variant, false);
                for (int64_t e = 0; e < E; e++) {
                    float was = widen(value[e], type);
                    if (isnan(was)) assert_true(isnan(widen(out[e], type)));
                    else assert_int_equal(out[e], value[e]);
                }
            }
            problem_free(&x);
        }
}

static void a_type_that_is_none_is_named(void **state) {
    (void)state;
    window w = {.mask = KD_MASK_FULL, .N = 1, .length = {3}};
    problem x;
    problem_init(&x, ctx, &w, 1, 1, 16, KD_FRAME_WINDOW, 1);
    kd_attn a = x.a;
    a.k.type = (kd_view_type)7;
    assert_int_equal(kd_attn_forward(ctx, &a), KD_EARG);
    assert_non_null(strstr(kd_message(), "k: there is no view of type 7"));
    a = x.a, a.v.type = KD_VIEW_F16;
    assert_int_equal(kd_attn_forward(ctx, &a), KD_EARG);
    assert_non_null(strstr(kd_message(), "v is missing"));
    problem_free(&x);
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(sixteen_bits_are_the_widened_numbers),
        cmocka_unit_test(every_value_comes_through),
        cmocka_unit_test(a_type_that_is_none_is_named),
    };
    return cmocka_run_group_tests(test, open_ctx, close_ctx);
}

/* Rotation alone, against cosines and sines in double; and attention on what was rotated before, against attention that rotates. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attn_oracle.h"
#include "base/half.h"

enum { T = 200, HEADS = 3, E = 16, GAP = 5, STRIDE = HEADS * E + GAP };

static kd_ctx *host;

static int open_host(void **state) {
    (void)state;
    return kd_ctx_open(&host, 2) != KD_OK;
}

static int close_host(void **state) {
    (void)state;
    kd_ctx_close(host);
    return 0;
}

static void rope_of(kd_rope *rope, kd_precision precision, int64_t positions) {
    double inv_freq[E / 2];
    for (int64_t e = 0; e < E / 2; e++) inv_freq[e] = (float)pow(1e4, -2.0 * (double)e / E);
    assert_int_equal(kd_rope_init_for(rope, host, precision, inv_freq, E, positions), KD_OK);
}

static void numbers(float x[T * STRIDE], int32_t position[T], int64_t positions) {
    for (int i = 0; i < T * STRIDE; i++) x[i] = (float)((i * 7919 + 31) % 2003) / 1001.5f - 1;
    for (int t = 0; t < T; t++) position[t] = (int32_t)((t * 104729 + 17) % positions) * (t % 3 == 2 ? -1 : 1);
}

static void exact_is_a_rotation_by_double_angles(void **state) {
    static const int64_t tables[] = {3000, 1 << 24};  /* one table; two levels */
    static float x[T * STRIDE], out[T * STRIDE], back[T * STRIDE];
    int32_t position[T];
    (void)state;
    for (int k = 0; k < 2; k++) {
        kd_rope rope;
        double worst = 0, worst_back = 0;
        rope_of(&rope, KD_PRECISION_EXACT, tables[k]);
        numbers(x, position, tables[k]);
        memcpy(out, x, sizeof x);  /* in place */
        kd_view from = {.data = out, .token_stride = STRIDE, .head_stride = E}, to = from, returned = from;
        returned.data = back;
        memcpy(back, x, sizeof x);
        assert_int_equal(kd_rope_rotate(host, &to, &from, &rope, KD_PRECISION_EXACT, position, T, HEADS, false), KD_OK);
        assert_int_equal(kd_rope_rotate(host, &returned, &to, &rope, KD_PRECISION_EXACT, position, T, HEADS, true), KD_OK);
        for (int t = 0; t < T; t++) {
            for (int i = 0; i < HEADS * E; i++) {
                int e = i % (E / 2), at = t * STRIDE + i / E * E + e;
                double angle = (double)position[t] * rope.inv_freq[e], c = cos(angle), s = sin(angle);
                double wanted = i % E < E / 2 ? c * x[at] - s * x[at + E / 2] : c * x[at + E / 2] + s * x[at];
                worst = fmax(worst, fabs(wanted - out[t * STRIDE + i]));
                worst_back = fmax(worst_back, fabs((double)x[t * STRIDE + i] - back[t * STRIDE + i]));
            }
            assert_memory_equal(out + t * STRIDE + HEADS * E, x + t * STRIDE + HEADS * E, GAP * sizeof *x);
        }
        assert_true(worst < 2e-7 && worst_back < 4e-7);
        kd_rope_free(&rope, host);
    }
}

static float kept(float x, kd_storage storage) {
    float high = kd_bf16_widen(kd_bf16_round(x));
    switch (storage) {
        case KD_STORE_BF16: return high;
        case KD_STORE_F16: return kd_f16_widen(kd_f16_round(x));
        case KD_STORE_PAIR: return high + kd_bf16_widen(kd_bf16_round(x - high));
        default: return x;
    }
}

/* A rung keeps what it says of a plain float32 rotation; views round once. */
static void the_ladder_rounds_as_it_says(void **state) {
    static float x[T * STRIDE], plain[T * STRIDE], out[T * STRIDE];
    static uint16_t half[T * STRIDE];
    int32_t position[T];
    (void)state;
    for (kd_precision p = 0; p < KD_PRECISION_BF16; p++) {
        kd_rope rope;
        const kd_rung *rung = &kd_ladder[p];
        rope_of(&rope, p, 3000);
        numbers(x, position, 3000);
        kd_view from = {.data = x, .token_stride = STRIDE, .head_stride = E}, to = from, narrow = from;
        kd_precision unrounded = rung->angles == KD_ANGLES_DOUBLE ? KD_PRECISION_EXACT : KD_PRECISION_F32_ANGLE;
        narrow.half = half, narrow.type = KD_VIEW_BF16;
        to.data = plain;
        assert_int_equal(kd_rope_rotate(host, &to, &from, &rope, unrounded, position, T, HEADS, false), KD_OK);
        to.data = out;
        assert_int_equal(kd_rope_rotate(host, &to, &from, &rope, p, position, T, HEADS, false), KD_OK);
        assert_int_equal(kd_rope_rotate(host, &narrow, &from, &rope, p, position, T, HEADS, false), KD_OK);
        for (int t = 0; t < T; t++)
            for (int i = t * STRIDE; i < t * STRIDE + HEADS * E; i++) {
                assert_true(out[i] == kept(plain[i], rung->storage));
                assert_int_equal(half[i], kd_bf16_round(out[i]));
            }
        kd_rope_free(&rope, host);
    }
}

static void what_cannot_be_is_refused(void **state) {
    static float x[T * STRIDE];
    int32_t position[T];
    kd_rope rope;
    kd_view view = {.data = x, .token_stride = STRIDE, .head_stride = E}, none = {.token_stride = STRIDE, .head_stride = E};
    (void)state;
    rope_of(&rope, KD_PRECISION_EXACT, 100);
    numbers(x, position, 100);
    assert_int_equal(kd_rope_rotate(host, &view, &none, &rope, KD_PRECISION_EXACT, position, T, HEADS, false), KD_EARG);
    assert_string_equal(kd_message(), "rotation: x is missing");
    assert_int_equal(kd_rope_rotate(host, &view, &view, &rope, KD_PRECISION_BF16, position, T, HEADS, false), KD_EARG);
    assert_string_equal(kd_message(), "rotation: precision bf16, the rotary table is made for exact");
    assert_int_equal(kd_rope_rotate(host, &view, &view, &rope, KD_PRECISIONS, position, T, HEADS, false), KD_EARG);
    position[7] = -100;
    assert_int_equal(kd_rope_rotate(host, &view, &view, &rope, KD_PRECISION_EXACT, position, T, HEADS, false), KD_EARG);
    assert_string_equal(kd_message(), "rotation: token 7 turns by -100, the rotary table has 100 positions");
    position[7] = 0;
    x[7 * STRIDE + E] = 70000;
    assert_int_equal(kd_rope_rotate(host, &view, &view, &rope, KD_PRECISION_F16_STORE, position, T, HEADS, false), KD_ENUMERIC);
    assert_non_null(strstr(kd_message(), "precision f16-store: token 7, head 1"));
    assert_int_equal(kd_rope_rotate(host, &view, &view, &rope, KD_PRECISION_F16_STORE, position, T, HEADS, true), KD_OK);
    kd_rope_free(&rope, host);
}

/* ---- attention ----------------------------------------------------------------------------------------------------------------- */

static const window windows[] = {{KD_MASK_ANCHOR, 0, 0, 3, 3, {60, 9, 150}, {0}}, {KD_MASK_DOCUMENT, 1, 0, 0, 3, {1, 70, 33}, {0}}};

/* Through the front door, into x->out.f. */
static void attend(problem *x, const kd_attn *a) {
    assert_int_equal(kd_attn_forward(host, a), KD_OK);
    assert_int_equal(kd_attn_backward(host, a), KD_OK);
    const struct { const kd_view *view; int64_t heads, from; } part[] = {
        {&a->o, a->H, x->out.from[PART_O]}, {&a->dq, a->H, x->out.from[PART_DQ]}, {&a->dk, a->G, x->out.from[PART_DK]},
        {&a->dv, a->G, x->out.from[PART_DV]}};
    for (int i = 0; i < 4; i++)
        for (int64_t t = 0; t < x->plan.T; t++)
            memcpy(x->out.f + part[i].from + t * part[i].heads * a->E, part[i].view->data + t * part[i].view->token_stride,
                   (size_t)(part[i].heads * a->E) * sizeof(float));
    memcpy(x->out.f + x->out.from[PART_LSE], a->lse, (size_t)(a->H * x->plan.T) * sizeof(float));
}

static void no_rope_is_frequencies_of_zero(void **state) {
    const double none[64] = {0};
    (void)state;
    for (kd_isa isa = kd_isa_best(), best = isa; isa >= KD_ISA_REF && isa <= best; isa--)
        for (int i = 0; i < 4; i++)
            for (kd_precision p = 0; p < KD_PRECISIONS; p++) {
                problem x;
                kd_rope zero;
                problem_init(&x, host, &windows[i / 2], 4, 2, 32, i % 2 ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW, 2);
                assert_int_equal(kd_rope_init_for(&zero, host, p, none, 32, x.plan.T + 1), KD_OK);
                kd_attn a = x.a;
                size_t bytes = (size_t)x.out.from[PARTS] * sizeof(float);
                float *first = oracle_new(x.out.from[PARTS], sizeof *first);
                a.precision = p, a.rope = &zero;
                host->isa = isa;
                attend(&x, &a);
                memcpy(first, x.out.f, bytes);
                memset(x.out.f, 0xff, bytes);
                a.rope = NULL;
                attend(&x, &a);
                assert_memory_equal(first, x.out.f, bytes);
                host->isa = best;
                free(first);
                kd_rope_free(&zero, host);
                problem_free(&x);
            }
}

/* q and k are rotated, attention goes without a rope, dq and dk are rotated back. Where the anchor's key is kept like every key that is
 * what attention does by itself, and what is kept is the same to the bit. */
static void rotated_before_is_rotated_inside(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        for (kd_precision p = 0; p < KD_PRECISIONS; p++) {
            problem x;
            problem_init(&x, host, &windows[i], 4, 2, 32, KD_FRAME_WINDOW, 2);
            problem_set_precision(&x, p, x.plan.T + 1);
            kd_attn a = x.a;
            int64_t size = x.out.from[PARTS], tokens = x.plan.T;
            float *inside = oracle_new(size, sizeof *inside);
            attend(&x, &a);
            memcpy(inside, x.out.f, (size_t)size * sizeof *inside);
            const int32_t *position = x.plan.position;
            assert_int_equal(kd_rope_rotate(host, &a.q, &a.q, &x.rope, p, position, tokens, a.H, false), KD_OK);
            assert_int_equal(kd_rope_rotate(host, &a.k, &a.k, &x.rope, p, position, tokens, a.G, false), KD_OK);
            a.rope = NULL;
            attend(&x, &a);
            if (p != KD_PRECISION_EXACT && p != KD_PRECISION_SPLIT && p != KD_PRECISION_F32_ANGLE)
                assert_memory_equal(x.out.f, inside, (size_t)x.out.from[PART_DQ] * sizeof(float));
            kd_view *gradient[] = {&a.dq, &a.dk};
            for (int g = 0; g < 2; g++) {
                int64_t heads = g ? a.G : a.H, from = x.out.from[g ? PART_DK : PART_DQ];
                kd_view to = kd_view_heads(x.out.f + from, heads, a.E);
                assert_int_equal(kd_rope_rotate(host, &to, gradient[g], &x.rope, p, position, tokens, heads, true), KD_OK);
            }
            for (int64_t n = 0; n < size; n++)
                if (!(fabsf(x.out.f[n] - inside[n]) < 2e-5f)) fail_msg("%s: %g, inside %g", kd_precision_name(p), x.out.f[n], inside[n]);
            free(inside);
            problem_free(&x);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_is_a_rotation_by_double_angles),
        cmocka_unit_test(the_ladder_rounds_as_it_says),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(no_rope_is_frequencies_of_zero),
        cmocka_unit_test(rotated_before_is_rotated_inside),
    };
    return cmocka_run_group_tests(tests, open_host, close_host);
}

/* The end of a step: sums of loss and gradient, and AdamW. */
#include "base/half.h"
#include "nn_test.h"

/* The norm of a gradient in one piece. */
static kd_status norm_of(kd_ctx *ctx, kd_step_sums *sums, const float *g, int64_t n) {
    int64_t segments = kd_segments(n, KD_NORM_SEGMENT);
    double *partial = nn_doubles(segments);
    KD_TRY(kd_sum_squares(ctx, partial, g, n));
    return kd_sum_norm(ctx, sums, partial, segments);
}

static void the_norm_and_the_loss_are_sums_in_double(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 3, 5, 4095, 4096, 4097, 100003};
    for (int l = 0; l < 7; l++) {
        int64_t n = lengths[l];
        float *g = nn_random(n, 3.0f);
        double *loss = nn_doubles(n), squares = 0.0, total = 0.0, first = 0.0;
        for (int64_t i = 0; i < n; i++) {
            squares += (double)g[i] * g[i];
            loss[i] = fabs(g[i]);
            total += loss[i];
        }
        for (int64_t threads = 1; threads <= 4; threads++) {
            kd_ctx *ctx = nn_open(threads);
            kd_step_sums sums;
            memset(&sums, 0xff, sizeof sums);
            assert_int_equal(kd_sum_loss(ctx, &sums, loss, n), KD_OK);
            assert_int_equal(norm_of(ctx, &sums, g, n), KD_OK);
            assert_true(sums.loss == total);
            assert_true(fabs(sums.grad_norm / sqrt(squares) - 1.0) < 1e-13);
            assert_int_equal(sums.finite, 1);
            if (threads == 1) first = sums.grad_norm;
            assert_true(sums.grad_norm == first);
            kd_ctx_close(ctx);
        }
        nn_drop();
    }
}

static void the_largest_gradients_do_not_overflow_the_norm(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    float g[] = {3e38f, 3e38f, 0.0f, -3e38f, 3e38f};
    kd_step_sums sums = {.loss = 1.0};
    assert_int_equal(norm_of(ctx, &sums, g, 5), KD_OK);
    assert_true(fabs(sums.grad_norm / 6e38 - 1.0) < 1e-7);
    assert_int_equal(sums.finite, 1);
    nn_drop();
    kd_ctx_close(ctx);
}

static kd_adamw settings(int64_t step) {
    return (kd_adamw){.lr = 3e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 1.0, .step = step};
}

/* torch.optim.AdamW after clip_grad_norm_, in double. */
static void adamw_in_double(double *w, double *m, double *v, const float *g, double norm, const kd_adamw *s, int64_t n) {
    double factor = fmin(1.0, s->clip / (norm + 1e-6));
    for (int64_t i = 0; i < n; i++) {
        double d = g[i] * factor;
        w[i] *= 1.0 - s->lr * s->weight_decay;
        m[i] = s->beta1 * m[i] + (1.0 - s->beta1) * d;
        v[i] = s->beta2 * v[i] + (1.0 - s->beta2) * d * d;
        double m_hat = m[i] / (1.0 - pow(s->beta1, (double)s->step)), v_hat = v[i] / (1.0 - pow(s->beta2, (double)s->step));
        w[i] -= s->lr * m_hat / (sqrt(v_hat) + s->eps);
    }
}

static void ten_steps_of_adamw_agree_with_double(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 15, 16, 33, 40001};
    kd_ctx *ctx = nn_open(2);
    for (int l = 0; l < 5; l++) {
        int64_t n = lengths[l];
        float *w0 = nn_random(n, 1.0f), *first = NULL;
        for (int64_t variant = 0; variant < kd_adamw_op.count; variant++) {
            float *w = nn_copy(w0, n), *m = nn_floats(n), *v = nn_floats(n);
            double *dw = nn_doubles(n), *dm = nn_doubles(n), *dv = nn_doubles(n);
            for (int64_t i = 0; i < n; i++) {
                m[i] = v[i] = 0.0f;
                dw[i] = w[i];
                dm[i] = dv[i] = 0.0;
            }
            nn_seed = 5;
            bool ran = true;
            for (int64_t step = 1; step <= 10 && ran; step++) {
                float *g = nn_random(n, 0.01f * (float)(step * step));
                kd_adamw s = settings(step);
                kd_step_sums sums = {.loss = 1.0};
                assert_int_equal(norm_of(ctx, &sums, g, n), KD_OK);
                ran = nn_run(ctx, &kd_adamw_op.variant[variant], &(kd_adamw_args){w, kd_none(), m, v, g, &sums, &s, n});
                adamw_in_double(dw, dm, dv, g, sums.grad_norm, &s, n);
            }
            if (!ran) continue;
            if (!first) first = w;
            nn_assert_same(w, first, n * 4);
            for (int64_t i = 0; i < n; i++) {
                assert_true(fabs(w[i] - dw[i]) < 1e-6);
                assert_true(fabs(m[i] - dm[i]) < 1e-6 * (fabs(dm[i]) + 0.1));
                assert_true(fabs(v[i] - dv[i]) < 2e-6 * dv[i] + 1e-30);
            }
        }
        nn_drop();
    }
    kd_ctx_close(ctx);
}

/* Ties, what overflows, infinities and a NaN among the weights: the copy is what the definition rounds them to. */
static void the_copy_in_16_bits_is_the_updated_weight_rounded(void **state) {
    (void)state;
    enum { n = 1003 };
    static const uint32_t odd[] = {0x3f808000, 0x3f818000, 0x7f7fffff, 0x7f800000, 0xff800000,
                                   0x7f800001, 0xffc00000, 0x80000000, 0x00008001};
    kd_ctx *ctx = nn_open(2);
    const kd_step_sums sums = {1.0, 1.0, 1}, bad = {1.0, INFINITY, 0};
    kd_adamw s = settings(4);
    for (int64_t variant = 0; variant < kd_adamw_op.count; variant++) {
        float *w = nn_random(n, 1.0f), *m = nn_random(n, 1.0f), *v = nn_random(n, 1.0f), *g = nn_random(n, 1.0f);
        for (int64_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
        for (int64_t i = 0; i < (int64_t)(sizeof odd / sizeof *odd); i++) {
            m[i] = g[i] = 0.0f;
            w[i] = w[n - 1 - i] = kd_float_of(odd[i]);
        }
        uint16_t *w16 = nn_take(n * 2);
        s.weight_decay = 0.0;  /* the odd ones stay as they are */
        memset(w16, 0x55, n * 2);
        if (!nn_run(ctx, &kd_adamw_op.variant[variant], &(kd_adamw_args){w, kd_bf16(w16), m, v, g, &bad, &s, n})) continue;
        for (int64_t i = 0; i < n; i++) assert_int_equal(w16[i], 0x5555);
        nn_run(ctx, &kd_adamw_op.variant[variant], &(kd_adamw_args){w, kd_bf16(w16), m, v, g, &sums, &s, n});
        for (int64_t i = 0; i < n; i++)
            if (w16[i] != kd_bf16_round(w[i]))
                fail_msg("%s, weight %lld: %08x gave %04x", kd_adamw_op.variant[variant].name, (long long)i, kd_bits_of(w[i]), w16[i]);
        assert_int_equal(w16[0], 0x3f80);
        assert_int_equal(w16[1], 0x3f82);
        nn_drop();
    }
    kd_ctx_close(ctx);
}

static void a_clip_of_zero_leaves_the_gradient_alone(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(1);
    float w = 1.0f, m = 0.0f, v = 0.0f, g = 50.0f;
    kd_adamw s = settings(1);
    s.clip = 0.0;
    assert_int_equal(kd_adamw_step(ctx, &w, kd_none(), &m, &v, &g, &(kd_step_sums){1.0, 50.0, 1}, &s, 1), KD_OK);
    assert_true(fabs(m - 5.0) < 1e-6);
    s.clip = 100.0;  /* above the norm: no scaling up */
    m = 0.0f;
    assert_int_equal(kd_adamw_step(ctx, &w, kd_none(), &m, &v, &g, &(kd_step_sums){1.0, 50.0, 1}, &s, 1), KD_OK);
    assert_true(fabs(m - 5.0) < 1e-6);
    kd_ctx_close(ctx);
}

static void a_loss_or_gradient_that_is_not_finite_leaves_the_weights_alone(void **state) {
    (void)state;
    enum { n = 5000 };
    kd_ctx *ctx = nn_open(2);
    const double losses[] = {NAN, INFINITY, 1.0, 1.0, 1.0};
    const float gradients[] = {1.0f, 1.0f, NAN, INFINITY, -INFINITY};
    for (int64_t variant = 0; variant < kd_adamw_op.count; variant++)
        for (int c = 0; c < 5; c++) {
            float *w = nn_random(n, 1.0f), *m = nn_random(n, 1.0f), *v = nn_random(n, 1.0f), *g = nn_random(n, 1.0f);
            float *kept_w = nn_copy(w, n), *kept_m = nn_copy(m, n), *kept_v = nn_copy(v, n);
            g[4321] = gradients[c];
            kd_step_sums sums;
            kd_adamw s = settings(3);
            assert_int_equal(kd_sum_loss(ctx, &sums, &losses[c], 1), KD_OK);
            assert_int_equal(norm_of(ctx, &sums, g, n), KD_OK);
            assert_int_equal(sums.finite, 0);
            nn_run(ctx, &kd_adamw_op.variant[variant], &(kd_adamw_args){w, kd_none(), m, v, g, &sums, &s, n});
            nn_assert_same(w, kept_w, n * 4);
            nn_assert_same(m, kept_m, n * 4);
            nn_assert_same(v, kept_v, n * 4);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void steps_are_counted_from_one(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(1);
    float x = 1.0f;
    kd_adamw s = settings(0);
    assert_int_equal(kd_adamw_step(ctx, &x, kd_none(), &x, &x, &x, &(kd_step_sums){1.0, 1.0, 1}, &s, 1), KD_EARG);
    assert_non_null(strstr(kd_message(), "step 0"));
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_norm_and_the_loss_are_sums_in_double),
        cmocka_unit_test(the_largest_gradients_do_not_overflow_the_norm),
        cmocka_unit_test(ten_steps_of_adamw_agree_with_double),
        cmocka_unit_test(the_copy_in_16_bits_is_the_updated_weight_rounded),
        cmocka_unit_test(a_clip_of_zero_leaves_the_gradient_alone),
        cmocka_unit_test(a_loss_or_gradient_that_is_not_finite_leaves_the_weights_alone),
        cmocka_unit_test(steps_are_counted_from_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

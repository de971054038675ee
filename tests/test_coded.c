/* Moments in 8 bits: what codes stand for, that they survive a checkpoint, and AdamW on them. */
#include "base/half.h"
#include "nn_test.h"

static kd_coded take_coded(int64_t n) { return (kd_coded){nn_take(n), nn_floats(kd_segments(n, KD_CODED_BLOCK))}; }

static void shares_ascend_from_the_smallest_to_one(void **state) {
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        const kd_coded_shares *s = kd_coded_shares_of(is_signed);
        for (int i = 0; i < 255; i++) {
            assert_true(s->share[i] < s->share[i + 1]);
            assert_true(s->share[i] < s->middle[i] && s->middle[i] <= s->share[i + 1]);
        }
        assert_true(s->share[255] == 1.0f);
        assert_true(s->share[is_signed ? 127 : 0] == 0.0f);
        assert_true(fabs(s->share[is_signed ? 128 : 1] - (is_signed ? 5.5e-7 : 3.25e-7)) < 1e-12);
        for (int i = 0; is_signed && i < 127; i++) assert_true(s->share[126 - i] == -s->share[128 + i]);
    }
}

static void each_number_gets_the_nearest_share(void **state) {
    (void)state;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        const kd_coded_shares *s = kd_coded_shares_of(is_signed);
        for (int i = 0; i < 200000; i++) {
            float x = powf(10.0f, -8.0f * (float)(i % 1000) / 1000.0f) * (is_signed && i % 3 == 0 ? -1.0f : 1.0f);
            float found = fabsf(s->share[kd_share_code(s, x)] - x);
            for (int c = 0; c < 256; c += i % 7 + 1)
                if (is_signed || c > 0) assert_true(found <= fabsf(s->share[c] - x) * 1.000001f);
        }
        for (int c = 0; c < 256; c++) assert_int_equal(kd_share_code(s, s->share[c]), c);
    }
    const kd_coded_shares *positive = kd_coded_shares_of(false);
    assert_int_equal(kd_share_code(positive, 1e-30f), 1);  /* never 0 */
    assert_int_equal(kd_share_code(positive, 0.0f), 0);
}

/* Widened and coded again: the same bytes, also where the largest number is negative or stands twice, and in a block that is all zeros. */
static void a_checkpoint_in_float32_loses_nothing(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 255, 256, 257, 5000};
    for (int l = 0; l < 5; l++)
        for (int is_signed = 0; is_signed < 2; is_signed++) {
            int64_t n = lengths[l], blocks = kd_segments(n, KD_CODED_BLOCK);
            float *x = nn_random(n, 3e-5f), *once = nn_floats(n), *twice = nn_floats(n);
            for (int64_t i = 0; i < n; i++) x[i] = is_signed ? x[i] * fabsf(x[i]) : fabsf(x[i]);
            if (n > 300) {
                for (int64_t i = 256; i < 512; i++) x[i] = 0.0f;
                x[700] = x[701] = 1.0f;
                x[702] = is_signed ? -1.0f : 1.0f;
            }
            kd_coded a = take_coded(n), b = take_coded(n);
            kd_coded_narrow(a, x, is_signed, n);
            kd_coded_widen(once, a, is_signed, n);
            kd_coded_narrow(b, once, is_signed, n);
            kd_coded_widen(twice, b, is_signed, n);
            nn_assert_same(a.code, b.code, n);
            nn_assert_same(a.scale, b.scale, blocks * 4);
            nn_assert_same(once, twice, n * 4);
            for (int64_t i = 0; i < n; i++) {
                float most = fabsf(a.scale[i / KD_CODED_BLOCK]);
                assert_true(fabsf(once[i] - x[i]) <= 0.051f * fabsf(x[i]) + 0.0071f * most);
            }
            nn_drop();
        }
}

static kd_adamw settings(int64_t step) {
    return (kd_adamw){.lr = 3e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1.0, .step = step};
}

/* A step from coded moments is AdamW's step from the widened ones, and what it leaves is theirs coded. */
static void a_step_is_adamws_between_widening_and_coding(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 256, 1000, 70001};
    for (int l = 0; l < 4; l++) {
        int64_t n = lengths[l], blocks = kd_segments(n, KD_CODED_BLOCK);
        float *w = nn_random(n, 1.0f), *g = nn_random(n, 0.01f), *m = nn_random(n, 0.01f), *v = nn_random(n, 1e-4f);
        for (int64_t i = 0; i < n; i++) v[i] = fabsf(v[i]);
        kd_coded cm = take_coded(n), cv = take_coded(n), em = take_coded(n), ev = take_coded(n);
        uint16_t *w16 = nn_take(n * 2);
        kd_coded_narrow(cm, m, true, n);
        kd_coded_narrow(cv, v, false, n);
        kd_coded_widen(m, cm, true, n);
        kd_coded_widen(v, cv, false, n);
        float *expected = nn_copy(w, n);
        const kd_step_sums sums = {1.0, 3.0, 1}, bad = {NAN, 3.0, 0};
        kd_adamw s = settings(3);
        kd_ctx *one = nn_open(1), *ctx = nn_open(3);
        ctx->isa = KD_ISA_REF;
        assert_int_equal(kd_adamw_step(ctx, expected, kd_none(), m, v, g, &sums, &s, n), KD_OK);
        kd_coded_narrow(em, m, true, n);
        kd_coded_narrow(ev, v, false, n);
        for (int64_t i = 0; i < kd_adamw_coded_op.count; i++) {
            kd_coded own_m = take_coded(n), own_v = take_coded(n);
            float *own = nn_copy(w, n);
            memcpy(own_m.code, cm.code, (size_t)n), memcpy(own_v.code, cv.code, (size_t)n);
            memcpy(own_m.scale, cm.scale, (size_t)blocks * 4), memcpy(own_v.scale, cv.scale, (size_t)blocks * 4);
            const kd_variant *variant = &kd_adamw_coded_op.variant[i];
            if (!nn_run(ctx, variant, &(kd_adamw_coded_args){own, kd_bf16(w16), own_m, own_v, g, &bad, &s, n})) continue;
            nn_assert_same(own, w, n * 4);
            nn_run(i % 2 ? ctx : one, variant, &(kd_adamw_coded_args){own, kd_bf16(w16), own_m, own_v, g, &sums, &s, n});
            nn_assert_same(own, expected, n * 4);
            nn_assert_same(own_m.code, em.code, n);
            nn_assert_same(own_v.code, ev.code, n);
            nn_assert_same(own_m.scale, em.scale, blocks * 4);
            nn_assert_same(own_v.scale, ev.scale, blocks * 4);
            for (int64_t k = 0; k < n; k++) assert_int_equal(w16[k], kd_bf16_round(own[k]));
        }
        kd_ctx_close(one);
        kd_ctx_close(ctx);
        nn_drop();
    }
}

/* A quadratic bowl with gradients of very different sizes: as low as with moments in float32, within a tenth. */
static void descent_is_that_of_float32(void **state) {
    (void)state;
    enum { n = 2048, STEPS = 400 };
    float *w[2] = {nn_random(n, 1.0f), NULL}, *g = nn_floats(n), *m = nn_floats(n), *v = nn_floats(n);
    w[1] = nn_copy(w[0], n);
    kd_coded cm = take_coded(n), cv = take_coded(n);
    for (int64_t i = 0; i < n; i++) m[i] = v[i] = 0.0f;
    kd_coded_narrow(cm, m, true, n);
    kd_coded_narrow(cv, v, false, n);
    kd_ctx *ctx = nn_open(2);
    double left[2] = {0};
    for (int64_t step = 1; step <= STEPS; step++) {
        const kd_step_sums sums = {1.0, 1.0, 1};
        kd_adamw s = settings(step);
        s.clip = s.weight_decay = 0.0;
        for (int which = 0; which < 2; which++) {
            for (int64_t i = 0; i < n; i++) g[i] = powf(10.0f, -4.0f * (float)(i % 64) / 64.0f) * w[which][i];
            if (which == 0) assert_int_equal(kd_adamw_step(ctx, w[0], kd_none(), m, v, g, &sums, &s, n), KD_OK);
            else assert_int_equal(kd_adamw_coded_step(ctx, w[1], kd_none(), cm, cv, g, &sums, &s, n), KD_OK);
        }
    }
    for (int which = 0; which < 2; which++)
        for (int64_t i = 0; i < n; i++) left[which] += fabs(w[which][i]) / n;
    print_message("left of 0.5 after %d steps: %.3g with float32 moments, %.3g with 8 bits\n", STEPS, left[0], left[1]);
    assert_true(left[0] < 0.05 && fabs(left[1] - left[0]) < 0.05);
    kd_ctx_close(ctx);
    nn_drop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_ascend_from_the_smallest_to_one),
        cmocka_unit_test(each_number_gets_the_nearest_share),
        cmocka_unit_test(a_checkpoint_in_float32_loses_nothing),
        cmocka_unit_test(a_step_is_adamws_between_widening_and_coding),
        cmocka_unit_test(descent_is_that_of_float32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

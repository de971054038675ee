/* Likelihoods of next tokens and the likeliest ones; embeddings and products from stored numbers. */
#include "nn_test.h"

#include "base/half.h"

static int64_t better(const float *row, int64_t V, int64_t than) {
    int64_t count = 0;
    for (int64_t v = 0; v < V; v++) count += row[v] > row[than] || (row[v] == row[than] && v < than);
    return count;
}

static void likelihoods_agree_with_double(void **state) {
    (void)state;
    static const struct { int64_t M, V, tops; } sizes[] = {{1, 1, 1}, {3, 5, 5}, {9, 321, 0}, {3, 2049, 1}, {2, 32000, 64}};
    kd_ctx *ctx = nn_open(2);
    for (int b = 0; b < 5; b++)
        for (int64_t i = 0; i < kd_likelihood_op.count; i++) {
            int64_t M = sizes[b].M, V = sizes[b].V, tops = sizes[b].tops;
            float *logits = nn_random(M * V, 9), *kept = nn_copy(logits, M * V);
            for (int64_t v = 0; v < V; v += 3) logits[v] = kept[v] = floorf(logits[v]);  /* equal ones */
            kd_likelihood *likelihood = nn_take(M * (int64_t)sizeof *likelihood);
            kd_likely *top = nn_take((M * tops + 1) * (int64_t)sizeof *top);
            int32_t *target = nn_take(M * 4);
            for (int64_t m = 0; m < M; m++) target[m] = m == 1 ? -1 : (int32_t)((m * 7919 + 5) % V);
            if (M == 9) for (int64_t v = 0; v < V; v++) target[8] = better(logits + 8 * V, V, v) ? target[8] : (int32_t)v;
            if (!nn_run(ctx, &kd_likelihood_op.variant[i], &(kd_likelihood_args){likelihood, top, tops, logits, target, M, V})) continue;
            nn_assert_same(logits, kept, M * V * 4);
            for (int64_t m = 0; m < M; m++) {
                const float *row = logits + m * V;
                double sum = 0, maximum = -INFINITY;
                for (int64_t v = 0; v < V; v++) maximum = fmax(maximum, row[v]);
                for (int64_t v = 0; v < V; v++) sum += exp(row[v] - maximum);
                if (target[m] >= 0) {
                    assert_true(fabs(likelihood[m].log - (row[target[m]] - maximum - log(sum))) < 2e-7);
                    assert_int_equal(likelihood[m].best, (double)row[target[m]] == maximum);
                }
                for (int64_t n = 0; n < tops; n++) {
                    const kd_likely *t = &top[m * tops + n];
                    assert_int_equal(better(row, V, t->token), n);
                    assert_true(fabs(t->log - (row[t->token] - maximum - log(sum))) < 2e-7);
                    if (t->token == target[m]) assert_true(t->log == likelihood[m].log);
                }
            }
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void what_is_out_of_range_is_refused(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(1);
    kd_likelihood likelihood;
    kd_likely top[9];
    const float logits[3] = {0, 1, 2};
    assert_int_equal(kd_likelihoods(ctx, &likelihood, top, 4, logits, NULL, 1, 3), KD_EARG);
    assert_int_equal(kd_likelihoods(ctx, &likelihood, top, 0, logits, (int32_t[]){3}, 1, 3), KD_EARG);
    assert_non_null(strstr(kd_message(), "token 3 at 0 is outside -1..2"));
    assert_int_equal(kd_likelihoods(ctx, NULL, top, 3, logits, NULL, 1, 3), KD_OK);
    assert_true(top[0].token == 2 && top[2].token == 0);
    kd_ctx_close(ctx);
}

static void a_logit_that_is_not_a_number_reaches_the_likelihood(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(1);
    float logits[40] = {0};
    kd_likelihood likelihood;
    logits[20] = NAN;
    assert_int_equal(kd_likelihoods(ctx, &likelihood, NULL, 0, logits, (int32_t[]){3}, 1, 40), KD_OK);
    assert_true(isnan(likelihood.log));
    kd_ctx_close(ctx);
}

static void stored_numbers_are_what_they_are_widened_to(void **state) {
    (void)state;
    enum { V = 50, C = 37, M = 5 };
    kd_ctx *ctx = nn_open(2);
    for (kd_view_type type = KD_VIEW_F32; type <= KD_VIEW_F16; type++) {
        float *w = nn_random(V * C, 2), *x = nn_random(M * C, 1), *bias = nn_random(V, 1), *residual = nn_random(M * V, 1);
        uint16_t *half = nn_take(V * C * 2);
        for (int64_t i = 0; i < V * C && type != KD_VIEW_F32; i++) {
            half[i] = type == KD_VIEW_BF16 ? kd_bf16_round(w[i]) : kd_f16_round(w[i]);
            w[i] = type == KD_VIEW_BF16 ? kd_bf16_widen(half[i]) : kd_f16_widen(half[i]);
        }
        const kd_array stored = {type == KD_VIEW_F32 ? (void *)w : (void *)half, type};
        const int32_t token[M] = {3, 49, 0, 3, 7};
        float *a = nn_floats(M * C), *b = nn_floats(M * C), *y = nn_floats(M * V), *z = nn_floats(M * V);
        assert_int_equal(kd_embedding_forward(ctx, kd_f32(a), kd_f32(w), token, M, V, C), KD_OK);
        assert_int_equal(kd_embedding_forward(ctx, kd_f32(b), stored, token, M, V, C), KD_OK);
        nn_assert_same(a, b, M * C * 4);
        assert_int_equal(kd_linear_forward(ctx, kd_f32(y), kd_f32(x), kd_f32(w), kd_f32(bias), kd_f32(residual), M, V, C), KD_OK);
        assert_int_equal(kd_linear_forward(ctx, kd_f32(z), kd_f32(x), stored, kd_f32(bias), kd_f32(residual), M, V, C), KD_OK);
        nn_assert_same(y, z, M * V * 4);
        nn_drop();
    }
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(likelihoods_agree_with_double),
        cmocka_unit_test(what_is_out_of_range_is_refused),
        cmocka_unit_test(a_logit_that_is_not_a_number_reaches_the_likelihood),
        cmocka_unit_test(stored_numbers_are_what_they_are_widened_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

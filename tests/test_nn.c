/* The layers beside the matrix products: every variant against double, central differences, bits and refusals. */
#include "base/half.h"
#include "nn_test.h"

typedef struct block { int64_t M, C; } block;
static const block blocks[] = {{1, 1}, {1, 5}, {2, 16}, {3, 63}, {7, 64}, {5, 65}, {16, 129}, {33, 321}, {257, 48}, {4, 4096}};
enum { BLOCKS = sizeof blocks / sizeof *blocks };

/* Largest |x - y| over n, in units of `size`. */
static double distance(const float *x, const double *y, int64_t n, double size) {
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(x[i] - y[i]) / size;
        if (!(d <= worst)) worst = d;  /* NaN counts */
    }
    return worst;
}

/* ---- double evaluations -------------------------------------------------------------------------------- */

static double norm_rinv(const double *x, int64_t C, double eps) {
    double sum = 0.0;
    for (int64_t c = 0; c < C; c++) sum += x[c] * x[c];
    return 1.0 / sqrt(sum / (double)C + eps);
}

/* sum_c g[c] * rmsnorm(x)[c], a scalar to differentiate */
static double norm_scalar(const double *x, const double *w, const float *g, int64_t C, double eps) {
    double rinv = norm_rinv(x, C, eps), sum = 0.0;
    for (int64_t c = 0; c < C; c++) sum += g[c] * x[c] * rinv * w[c];
    return sum;
}

static double silu(double x) { return x / (1.0 + exp(-x)); }

static double row_loss(const double *row, int64_t V, int64_t target) {
    double maximum = row[0], sum = 0.0;
    for (int64_t v = 1; v < V; v++) maximum = fmax(maximum, row[v]);
    for (int64_t v = 0; v < V; v++) sum += exp(row[v] - maximum);
    return log(sum) + maximum - row[target];
}

static double *widen(const float *x, int64_t n) {
    double *y = nn_doubles(n);
    for (int64_t i = 0; i < n; i++) y[i] = x[i];
    return y;
}

/* ---- normalisation ------------------------------------------------------------------------------------- */

static void rmsnorm_agrees_with_double(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    const float eps = 1e-5f;
    for (int b = 0; b < BLOCKS; b++)
        for (int64_t v = 0; v < kd_rmsnorm_op.count; v++) {
            int64_t M = blocks[b].M, C = blocks[b].C;
            float *x = nn_random(M * C, 3.0f), *w = nn_random(C, 2.0f), *out = nn_floats(M * C), *rinv = nn_floats(M);
            if (!nn_run(ctx, &kd_rmsnorm_op.variant[v], &(kd_rmsnorm_args){kd_f32(out), kd_f32(x), kd_f32(w), rinv, eps, M, C})) continue;
            double *wide = widen(x, M * C), *expected = nn_doubles(C);
            for (int64_t m = 0; m < M; m++) {
                double r = norm_rinv(wide + m * C, C, eps);
                assert_true(fabs(rinv[m] / r - 1.0) < 4e-7);
                for (int64_t c = 0; c < C; c++) expected[c] = wide[m * C + c] * r * w[c];
                assert_true(distance(out + m * C, expected, C, 2.0 * 3.0 * r) < 5e-7);
            }
            float *in_place = nn_copy(x, M * C);
            nn_run(ctx, &kd_rmsnorm_op.variant[v], &(kd_rmsnorm_args){kd_f32(in_place), kd_f32(in_place), kd_f32(w), rinv, eps, M, C});
            nn_assert_same(in_place, out, M * C * 4);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void rmsnorm_gradients_are_central_differences(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    const float eps = 1e-5f;
    const double h = 1e-4;
    for (int b = 0; b < BLOCKS - 1; b++)
        for (int64_t v = 0; v < kd_rmsnorm_backward_op.count; v++) {
            int64_t M = blocks[b].M, C = blocks[b].C;
            float *x = nn_random(M * C, 3.0f), *w = nn_random(C, 2.0f), *g = nn_random(M * C, 1.0f), *rinv = nn_floats(M);
            float *old_dx = nn_random(M * C, 1.0f), *old_dw = nn_random(C, 1.0f);
            float *dx = nn_copy(old_dx, M * C), *dw = nn_copy(old_dw, C);
            double *wx = widen(x, M * C), *ww = widen(w, C), *sum = widen(old_dw, C), *size = nn_doubles(C);
            for (int64_t c = 0; c < C; c++) size[c] = 1.0;
            for (int64_t m = 0; m < M; m++) rinv[m] = (float)norm_rinv(wx + m * C, C, eps);
            kd_rmsnorm_backward_args a = {kd_f32(dx), dw, kd_f32(g), kd_f32(x), kd_f32(w), rinv, M, C};
            if (!nn_run(ctx, &kd_rmsnorm_backward_op.variant[v], &a)) continue;
            for (int64_t m = 0; m < M; m++)
                for (int64_t c = 0; c < C; c++) {
                    double *at = &wx[m * C + c], keep = *at;
                    *at = keep + h;
                    double up = norm_scalar(wx + m * C, ww, g + m * C, C, eps);
                    *at = keep - h;
                    double down = norm_scalar(wx + m * C, ww, g + m * C, C, eps);
                    *at = keep;
                    double slope = (up - down) / (2 * h), scale = 1.0 + 20.0 * rinv[m];
                    /* One feature's norm is a step at 0: the difference itself is inexact near it. */
                    if (C > 1) assert_true(fabs(dx[m * C + c] - old_dx[m * C + c] - slope) < 1e-6 * scale);
                    sum[c] += g[m * C + c] * keep * rinv[m];
                    size[c] += fabs(g[m * C + c] * keep * rinv[m]);
                }
            for (int64_t c = 0; c < C; c++) assert_true(fabs(dw[c] - sum[c]) < 1e-6 * size[c]);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void rmsnorm_weight_gradients_continue_over_blocks(void **state) {
    (void)state;
    enum { M = 301, C = 77, CUT = 256 };
    kd_ctx *ctx = nn_open(2);
    float *x = nn_random(M * C, 3.0f), *w = nn_random(C, 2.0f), *g = nn_random(M * C, 1.0f), *rinv = nn_random(M, 1.0f);
    float *old = nn_random(C, 1.0f), *old_dx = nn_random(M * C, 1.0f);
    for (int64_t v = 0; v < kd_rmsnorm_backward_op.count; v++) {
        const kd_variant *variant = &kd_rmsnorm_backward_op.variant[v];
        float *whole = nn_copy(old, C), *cut = nn_copy(old, C), *dx = nn_copy(old_dx, M * C), *dx_cut = nn_copy(old_dx, M * C);
        if (!nn_run(ctx, variant, &(kd_rmsnorm_backward_args){kd_f32(dx), whole, kd_f32(g), kd_f32(x), kd_f32(w), rinv, M, C})) continue;
        nn_run(ctx, variant, &(kd_rmsnorm_backward_args){kd_f32(dx_cut), cut, kd_f32(g), kd_f32(x), kd_f32(w), rinv, CUT, C});
        nn_run(ctx, variant, &(kd_rmsnorm_backward_args){kd_f32(dx_cut + CUT * C), cut, kd_f32(g + CUT * C), kd_f32(x + CUT * C), kd_f32(w),
                                                         rinv + CUT, M - CUT, C});
        nn_assert_same(whole, cut, C * 4);
        nn_assert_same(dx, dx_cut, M * C * 4);
    }
    nn_drop();
    kd_ctx_close(ctx);
}

/* ---- pointwise ----------------------------------------------------------------------------------------- */

static const int64_t lengths[] = {1, 7, 8, 15, 17, 321, 16384, 16385, 40000};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static void swiglu_agrees_with_double(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    for (int l = 0; l < LENGTHS; l++)
        for (int64_t v = 0; v < kd_swiglu_op.count; v++) {
            int64_t n = lengths[l];
            float *gate = nn_random(n, 20.0f), *up = nn_random(n, 3.0f), *out = nn_floats(n);
            if (n > 15) memcpy(gate, (float[]){0.0f, -0.0f, 88.0f, -88.0f, 1000.0f, -1000.0f, 1e-30f}, 28);
            if (!nn_run(ctx, &kd_swiglu_op.variant[v], &(kd_swiglu_args){kd_f32(out), kd_f32(gate), kd_f32(up), n})) continue;
            for (int64_t i = 0; i < n; i++) {
                double expected = silu(gate[i]) * up[i];
                assert_true(fabs(out[i] - expected) <= 5e-7 * fabs(expected) + 1e-30);
            }
            nn_run(ctx, &kd_swiglu_op.variant[v], &(kd_swiglu_args){kd_f32(gate), kd_f32(gate), kd_f32(up), n});
            nn_assert_same(gate, out, n * 4);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void swiglu_gradients_are_central_differences(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    const double h = 1e-4;
    for (int l = 0; l < LENGTHS; l++)
        for (int64_t v = 0; v < kd_swiglu_backward_op.count; v++) {
            int64_t n = lengths[l];
            float *gate = nn_random(n, 20.0f), *up = nn_random(n, 3.0f), *dout = nn_random(n, 1.0f);
            float *dgate = nn_floats(n), *dup = nn_floats(n), *out = nn_floats(n), *again = nn_floats(n);
            const kd_variant *variant = &kd_swiglu_backward_op.variant[v];
            kd_swiglu_backward_args a = {kd_f32(dgate), kd_f32(dup), kd_f32(out), kd_f32(dout), kd_f32(gate), kd_f32(up), n};
            if (!nn_run(ctx, variant, &a)) continue;
            for (int64_t i = 0; i < n; i++) {
                double slope = (silu(gate[i] + h) - silu(gate[i] - h)) / (2 * h);
                /* x (1 - s) loses half a unit of 1, x times: 20 * 3 * 6e-8 */
                assert_true(fabs(dgate[i] - dout[i] * up[i] * slope) < 4e-6);
                assert_true(fabs(dup[i] - dout[i] * silu(gate[i])) < 5e-7 * 20.0);
            }
            nn_run(ctx, &kd_swiglu_op.variant[v], &(kd_swiglu_args){kd_f32(again), kd_f32(gate), kd_f32(up), n});
            nn_assert_same(again, out, n * 4);
            nn_run(ctx, variant, &(kd_swiglu_backward_args){kd_f32(gate), kd_f32(up), kd_none(), kd_f32(dout), kd_f32(gate), kd_f32(up), n});
            nn_assert_same(gate, dgate, n * 4);
            nn_assert_same(up, dup, n * 4);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void adding_zeroing_and_copying_are_exact(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    for (int l = 0; l < LENGTHS; l++) {
        int64_t n = lengths[l];
        float *x = nn_random(n, 1.0f), *old = nn_random(n, 1.0f);
        for (int64_t v = 0; v < kd_add_op.count; v++) {
            float *out = nn_copy(old, n);
            if (!nn_run(ctx, &kd_add_op.variant[v], &(kd_pair_args){kd_f32(out), kd_f32(x), n})) continue;
            for (int64_t i = 0; i < n; i++) assert_true(out[i] == old[i] + x[i]);
        }
        float *zero = nn_floats(n);
        assert_int_equal(kd_zero(ctx, kd_f32(zero), n), KD_OK);
        for (int64_t i = 0; i < n; i++) assert_true(zero[i] == 0.0f);
        assert_int_equal(kd_copy(ctx, kd_f32(zero), kd_f32(x), n), KD_OK);
        nn_assert_same(zero, x, n * 4);
        nn_drop();
    }
    kd_ctx_close(ctx);
}

static void column_sums_are_one_chain_over_rows(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    for (int b = 0; b < BLOCKS; b++) {
        int64_t M = blocks[b].M, N = blocks[b].C;
        float *x = nn_random(M * N, 1.0f), *old = nn_random(N, 1.0f), *expected = nn_copy(old, N);
        for (int64_t m = 0; m < M; m++)
            for (int64_t n = 0; n < N; n++) expected[n] += x[m * N + n];
        for (int64_t v = 0; v < kd_column_sum_op.count; v++) {
            float *out = nn_copy(old, N);
            if (nn_run(ctx, &kd_column_sum_op.variant[v], &(kd_column_sum_args){out, kd_f32(x), M, N}))
                nn_assert_same(out, expected, N * 4);
        }
        nn_drop();
    }
    kd_ctx_close(ctx);
}

/* ---- embedding ----------------------------------------------------------------------------------------- */

static void an_embedding_gathers_rows_and_adds_them_in_order(void **state) {
    (void)state;
    enum { M = 300, V = 11, C = 517 };
    kd_ctx *ctx = nn_open(3);
    float *w = nn_random(V * C, 1.0f), *out = nn_floats(M * C), *dout = nn_random(M * C, 1.0f), *dw = nn_copy(w, V * C);
    float *expected = nn_copy(w, V * C), *parts = nn_copy(w, V * C);
    int32_t *token = nn_take(M * 4);
    for (int64_t m = 0; m < M; m++) token[m] = (int32_t)((m * m + 3) % V);
    assert_int_equal(kd_embedding_forward(ctx, kd_f32(out), kd_f32(w), token, M, V, C), KD_OK);
    assert_int_equal(kd_embedding_backward(ctx, dw, kd_f32(dout), token, M, V, C, 0, V * C), KD_OK);
    for (int64_t at = 0, count = 1000; at < V * C; at += count) {  /* stretches cut rows */
        if (count > V * C - at) count = V * C - at;
        assert_int_equal(kd_embedding_backward(ctx, parts + at, kd_f32(dout), token, M, V, C, at, count), KD_OK);
    }
    for (int64_t m = 0; m < M; m++) {
        nn_assert_same(out + m * C, w + token[m] * C, C * 4);
        for (int64_t c = 0; c < C; c++) expected[token[m] * C + c] += dout[m * C + c];
    }
    nn_assert_same(dw, expected, V * C * 4);
    nn_assert_same(parts, expected, V * C * 4);
    nn_drop();
    kd_ctx_close(ctx);
}

static void a_token_outside_the_vocabulary_is_named(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    float w[6] = {1, 2, 3, 4, 5, 6}, out[4] = {0}, kept[4] = {7, 8, 9, 10};
    double loss[2] = {5, 6};
    assert_int_equal(kd_embedding_forward(ctx, kd_f32(out), kd_f32(w), (int32_t[]){2, 3}, 2, 3, 2), KD_EARG);
    assert_non_null(strstr(kd_message(), "token 3 at 1 is outside 0..2"));
    assert_int_equal(kd_embedding_backward(ctx, w, kd_f32(kept), (int32_t[]){-1, 2}, 2, 3, 2, 0, 6), KD_EARG);
    assert_non_null(strstr(kd_message(), "token -1 at 0"));
    assert_true(w[4] == 5.0f);
    for (kd_isa isa = ctx->isa; isa + 1 > KD_ISA_REF; isa--) {
        ctx->isa = isa;
        assert_int_equal(kd_cross_entropy(ctx, loss, kept, kd_f32(kept), (int32_t[]){0, 2}, 1.0f, 2, 2), KD_EARG);
        assert_non_null(strstr(kd_message(), "token 2 at 1 is outside -1..1"));
        assert_int_equal(kd_cross_entropy(ctx, loss, kept, kd_f32(kept), (int32_t[]){0, -2}, 1.0f, 2, 2), KD_EARG);
        assert_true(kept[0] == 7.0f && loss[0] == 5.0);
        if (isa == KD_ISA_REF) break;
    }
    kd_ctx_close(ctx);
}

static float widened(uint16_t x, kd_view_type type) { return type == KD_VIEW_F16 ? kd_f16_widen(x) : kd_bf16_widen(x); }
static uint16_t narrowed(float x, kd_view_type type) { return type == KD_VIEW_F16 ? kd_f16_round(x) : kd_bf16_round(x); }

static void a_copy_of_another_type_is_rounded_or_widened(void **state) {
    (void)state;
    enum { n = 20000 };
    kd_ctx *ctx = nn_open(2);
    float *x = nn_random(n, 3.0f), *wide = nn_floats(n);
    uint16_t *half = nn_take(n * 2), *other = nn_take(n * 2);
    x[7] = NAN, x[8] = INFINITY, x[9] = 1e-39f;
    for (kd_view_type type = KD_VIEW_BF16; type <= KD_VIEW_F16; type++) {
        kd_view_type third = type == KD_VIEW_BF16 ? KD_VIEW_F16 : KD_VIEW_BF16;
        assert_int_equal(kd_copy(ctx, (kd_array){half, type}, kd_f32(x), n), KD_OK);
        for (int64_t i = 0; i < n; i++) assert_int_equal(half[i], narrowed(x[i], type));
        assert_int_equal(kd_copy(ctx, kd_f32(wide), (kd_array){half, type}, n), KD_OK);
        for (int64_t i = 0; i < n; i++) assert_int_equal(kd_bits_of(wide[i]), kd_bits_of(widened(half[i], type)));
        assert_int_equal(kd_copy(ctx, (kd_array){other, third}, (kd_array){half, type}, n), KD_OK);
        for (int64_t i = 0; i < n; i++) assert_int_equal(other[i], narrowed(widened(half[i], type), third));
        assert_int_equal(kd_zero(ctx, (kd_array){other, third}, n - 1), KD_OK);
        for (int64_t i = 0; i < n - 1; i++) assert_int_equal(other[i], 0);
        assert_int_equal(other[n - 1], narrowed(widened(half[n - 1], type), third));
    }
    nn_drop();
    kd_ctx_close(ctx);
}

/* Where the host has no variant, it says so and writes nothing. */
static void the_host_refuses_16_bits_where_it_computes_in_float32(void **state) {
    (void)state;
    enum { M = 2, C = 4, n = M * C };
    kd_ctx *ctx = nn_open(1);
    uint16_t half[n], out[n];
    float x[n] = {0}, dw[n] = {0}, rinv[M] = {0};
    double loss[M];
    int32_t target[M] = {0, 1};
    memset(half, 0, sizeof half);
    memset(out, 0x55, sizeof out);
    kd_array h = kd_bf16(half), o = kd_bf16(out), f = kd_f32(x);
    assert_int_equal(kd_linear_forward(ctx, o, f, f, kd_none(), kd_none(), M, M, C), KD_ENOTSUP);
    assert_non_null(strstr(kd_message(), "no variant serves"));
    assert_int_equal(kd_linear_forward(ctx, f, h, f, kd_none(), kd_none(), M, M, C), KD_ENOTSUP);
    assert_int_equal(kd_linear_forward(ctx, kd_f32(dw), f, f, h, kd_none(), M, M, C), KD_ENOTSUP);
    assert_int_equal(kd_linear_backward_weight(ctx, &(kd_tree){.count = 1, .sum = {dw}}, 0, h, f, M, M, C), KD_ENOTSUP);
    assert_int_equal(kd_linear_backward_weight(ctx, &(kd_tree){.count = 1, .sum = {dw}}, 0, f, h, M, M, C), KD_ENOTSUP);
    assert_int_equal(kd_column_sum(ctx, dw, h, M, C), KD_ENOTSUP);
    assert_int_equal(kd_rmsnorm_forward(ctx, o, rinv, h, f, 1e-5f, M, C), KD_ENOTSUP);
    assert_int_equal(kd_rmsnorm_backward(ctx, o, dw, h, h, rinv, f, M, C), KD_ENOTSUP);
    assert_int_equal(kd_swiglu_forward(ctx, o, h, h, n), KD_ENOTSUP);
    assert_int_equal(kd_swiglu_backward(ctx, o, o, kd_none(), h, h, h, n), KD_ENOTSUP);
    assert_int_equal(kd_add(ctx, o, h, n), KD_ENOTSUP);
    assert_int_equal(kd_round_bf16(ctx, o, n), KD_ENOTSUP);
    assert_int_equal(kd_embedding_forward(ctx, o, f, target, M, M, C), KD_ENOTSUP);
    assert_int_equal(kd_embedding_backward(ctx, dw, h, target, M, M, C, 0, n), KD_ENOTSUP);
    assert_int_equal(kd_cross_entropy(ctx, loss, x, o, target, 1.0f, M, C), KD_ENOTSUP);
    for (int i = 0; i < n; i++) assert_true(out[i] == 0x5555 && dw[i] == 0.0f);
    kd_ctx_close(ctx);
}

/* ---- cross-entropy ------------------------------------------------------------------------------------- */

static void cross_entropy_agrees_with_double(void **state) {
    (void)state;
    static const block sizes[] = {{1, 1}, {3, 5}, {2, 16}, {5, 63}, {9, 321}, {3, 2049}, {2, 32000}, {1, 151936}};
    kd_ctx *ctx = nn_open(2);
    for (int b = 0; b < 8; b++)
        for (int64_t v = 0; v < kd_cross_entropy_op.count; v++)
            for (int sharp = 0; sharp < 3; sharp++) {
                int64_t M = sizes[b].M, V = sizes[b].C;
                const float scale = 0.37f;
                float *logits = nn_random(M * V, sharp == 2 ? 60.0f : sharp ? 12.0f : 1.0f), *kept = nn_copy(logits, M * V);
                double *loss = nn_doubles(M), *kept_loss = nn_doubles(M), *row;
                int32_t *target = nn_take(M * 4);
                for (int64_t m = 0; m < M; m++) target[m] = (int32_t)((m * 7919 + 5) % V);
                row = widen(logits, M * V);
                const kd_variant *variant = &kd_cross_entropy_op.variant[v];
                if (!nn_run(ctx, variant, &(kd_cross_entropy_args){loss, logits, kd_f32(logits), target, scale, M, V})) continue;
                for (int64_t m = 0; m < M; m++, row += V) {
                    double expected = row_loss(row, V, target[m]), lse = expected + row[target[m]];
                    assert_true(fabs(loss[m] - expected) <= 2e-7 + 2e-7 * fabs(expected));
                    for (int64_t c = 0; c < V; c++) {
                        double slope = scale * (c == target[m] ? expm1(-expected) : exp(row[c] - lse));
                        assert_true(fabs(logits[m * V + c] - slope) <= 4e-6 * fabs(slope) + 1e-16);
                    }
                }
                float *again = nn_copy(kept, M * V);
                nn_run(ctx, variant, &(kd_cross_entropy_args){kept_loss, again, kd_f32(again), target, 0.0f, M, V});
                nn_assert_same(again, kept, M * V * 4);
                nn_assert_same(kept_loss, loss, M * 8);
                float *apart = nn_floats(M * V);
                nn_run(ctx, variant, &(kd_cross_entropy_args){kept_loss, again, kd_f32(apart), target, scale, M, V});
                nn_assert_same(again, kept, M * V * 4);
                nn_assert_same(apart, logits, M * V * 4);
                nn_assert_same(kept_loss, loss, M * 8);
                nn_drop();
            }
    kd_ctx_close(ctx);
}

static void cross_entropy_gradients_are_central_differences(void **state) {
    (void)state;
    enum { V = 37 };
    const double h = 1e-4;
    kd_ctx *ctx = nn_open(1);
    for (int64_t v = 0; v < kd_cross_entropy_op.count; v++) {
        float *logits = nn_random(V, 3.0f);
        double *wide = widen(logits, V), loss;
        int32_t target = 20;
        if (!nn_run(ctx, &kd_cross_entropy_op.variant[v], &(kd_cross_entropy_args){&loss, logits, kd_f32(logits), &target, 1.0f, 1, V})) continue;
        for (int64_t c = 0; c < V; c++) {
            double keep = wide[c];
            wide[c] = keep + h;
            double up = row_loss(wide, V, target);
            wide[c] = keep - h;
            double slope = (up - row_loss(wide, V, target)) / (2 * h);
            wide[c] = keep;
            assert_true(fabs(logits[c] - slope) < 1e-7);
        }
        nn_drop();
    }
    kd_ctx_close(ctx);
}

static void a_target_that_is_nearly_certain_keeps_its_gradients_digits(void **state) {
    (void)state;
    enum { V = 50 };
    kd_ctx *ctx = nn_open(1);
    for (int64_t v = 0; v < kd_cross_entropy_op.count; v++) {
        float *logits = nn_random(V, 1.0f);
        int32_t target = 17;
        logits[target] = 20.0f;
        double loss, expected = row_loss(widen(logits, V), V, target);
        if (nn_run(ctx, &kd_cross_entropy_op.variant[v], &(kd_cross_entropy_args){&loss, logits, kd_f32(logits), &target, 1.0f, 1, V})) {
            assert_true(expected < 1e-6);
            assert_true(fabs(logits[target] / expm1(-expected) - 1.0) < 1e-6);
        }
        nn_drop();
    }
    kd_ctx_close(ctx);
}

static void a_row_without_target_has_no_loss_and_no_gradient(void **state) {
    (void)state;
    enum { M = 3, V = 50 };
    kd_ctx *ctx = nn_open(2);
    for (int64_t v = 0; v < kd_cross_entropy_op.count; v++) {
        float *logits = nn_random(M * V, 3.0f), *kept;
        int32_t target[M] = {-1, 4, -1};
        double *loss = nn_doubles(M);
        for (int64_t c = 0; c < V; c++) logits[c] = NAN;  /* not even looked at */
        kept = nn_copy(logits, M * V);
        kd_cross_entropy_args a = {loss, logits, kd_f32(logits), target, 0.0f, M, V};
        if (!nn_run(ctx, &kd_cross_entropy_op.variant[v], &a)) continue;
        assert_true(loss[0] == 0.0 && loss[1] > 0.0 && loss[2] == 0.0);
        nn_assert_same(logits, kept, M * V * 4);
        a.scale = 1.0f;
        nn_run(ctx, &kd_cross_entropy_op.variant[v], &a);
        assert_true(loss[0] == 0.0 && loss[1] > 0.0 && loss[2] == 0.0);
        for (int64_t c = 0; c < V; c++) assert_true(logits[c] == 0.0f && logits[V + c] != 0.0f && logits[2 * V + c] == 0.0f);
        nn_drop();
    }
    kd_ctx_close(ctx);
}

static void a_logit_that_is_not_finite_reaches_the_loss(void **state) {
    (void)state;
    enum { V = 133 };
    kd_ctx *ctx = nn_open(1);
    const float bad[] = {NAN, -NAN, INFINITY};
    for (int64_t v = 0; v < kd_cross_entropy_op.count; v++)
        for (int64_t at = 0; at < V; at += 11)
            for (int b = 0; b < 3; b++) {
                float *logits = nn_random(V, 3.0f);
                double loss = 0.0;
                int32_t target = 5;
                logits[at] = bad[b];
                kd_cross_entropy_args a = {&loss, logits, kd_f32(logits), &target, 1.0f, 1, V};
                if (nn_run(ctx, &kd_cross_entropy_op.variant[v], &a)) assert_false(isfinite(loss));
                nn_drop();
            }
    kd_ctx_close(ctx);
}

/* ---- bits ---------------------------------------------------------------------------------------------- */

/* Runs everything with vector variants on one set of inputs and returns the outputs, one after the other. */
static float *run_all(kd_ctx *ctx, int64_t *count) {
    enum { M = 77, C = 421, n = M * C };
    nn_seed = 99;
    float *x = nn_random(n, 3.0f), *g = nn_random(n, 9.0f), *w = nn_random(C, 2.0f), *all = nn_floats(8 * n + 3 * M + 2 * C);
    float *normed = all, *dx = all + n, *dw = dx + n, *rinv = dw + C, *glu = rinv + M, *dgate = glu + n, *dup = dgate + n;
    float *out = dup + n, *added = out + n, *logits = added + n, *column = logits + n, *losses = column + C;
    double *loss = nn_doubles(M);
    int32_t *target = nn_take(M * 4);
    for (int64_t m = 0; m < M; m++) target[m] = (int32_t)(m * 5 % (C + 1)) - 1;
    memset(dx, 0, n * 4);
    memset(dw, 0, C * 4);
    memset(column, 0, C * 4);
    memcpy(added, g, n * 4);
    memcpy(logits, g, n * 4);
    assert_int_equal(kd_rmsnorm_forward(ctx, kd_f32(normed), rinv, kd_f32(x), kd_f32(w), 1e-5f, M, C), KD_OK);
    assert_int_equal(kd_rmsnorm_backward(ctx, kd_f32(dx), dw, kd_f32(g), kd_f32(x), rinv, kd_f32(w), M, C), KD_OK);
    assert_int_equal(kd_swiglu_forward(ctx, kd_f32(glu), kd_f32(g), kd_f32(x), n), KD_OK);
    assert_int_equal(kd_swiglu_backward(ctx, kd_f32(dgate), kd_f32(dup), kd_f32(out), kd_f32(normed), kd_f32(g), kd_f32(x), n), KD_OK);
    assert_int_equal(kd_add(ctx, kd_f32(added), kd_f32(x), n), KD_OK);
    assert_int_equal(kd_cross_entropy(ctx, loss, logits, kd_f32(logits), target, 0.1f, M, C), KD_OK);
    assert_int_equal(kd_column_sum(ctx, column, kd_f32(x), M, C), KD_OK);
    memcpy(losses, loss, M * 8);
    *count = 8 * n + 3 * M + 2 * C;
    return all;
}

/* A tie goes to the even number, from either side; what is none stays none; more than a task's elements. */
static void rounding_to_bf16_is_to_nearest_even(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    const float in[] = {1.00390625f, 1.01171875f, 1.004f, -1.00390625f, 3.4e38f, 0}, out[] = {1, 1.015625f, 1.0078125f, -1, INFINITY, 0};
    enum { CASES = sizeof in / sizeof *in };
    int64_t n = 3 * KD_SEGMENT + 11;
    float *x = nn_floats(n);
    for (int64_t i = 0; i < n; i++) x[i] = i % (CASES + 1) < CASES ? in[i % (CASES + 1)] : NAN;
    assert_int_equal(kd_round_bf16(ctx, kd_f32(x), n), KD_OK);
    for (int64_t i = 0; i < n; i++)
        if (i % (CASES + 1) < CASES) assert_true(x[i] == out[i % (CASES + 1)]);
        else assert_true(isnan(x[i]));
    kd_ctx_close(ctx);
}

static void the_vector_variants_give_the_same_bits(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    if (ctx->isa < KD_ISA_AVX512) {
        print_message("skipped: fewer than two vector variants\n");
    } else {
        int64_t count;
        float *wide = run_all(ctx, &count);
        ctx->isa = KD_ISA_AVX2;
        nn_assert_same(run_all(ctx, &count), wide, count * 4);
        for (int64_t i = 0; i < count; i++) assert_true(i >= count - 2 * 77 || !isnan(wide[i]));
    }
    nn_drop();
    kd_ctx_close(ctx);
}

static void any_number_of_threads_gives_the_same_bits(void **state) {
    (void)state;
    for (kd_isa isa = KD_ISA_REF; isa <= kd_isa_best(); isa++) {
        float *first = NULL;
        for (int64_t threads = 1; threads <= 4; threads++) {
            int64_t count;
            kd_ctx *ctx = nn_open(threads);
            if (isa < ctx->isa) ctx->isa = isa;
            float *all = run_all(ctx, &count);
            if (!first) first = all;
            nn_assert_same(all, first, count * 4);
            kd_ctx_close(ctx);
        }
        nn_drop();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_agrees_with_double),
        cmocka_unit_test(rmsnorm_gradients_are_central_differences),
        cmocka_unit_test(rmsnorm_weight_gradients_continue_over_blocks),
        cmocka_unit_test(swiglu_agrees_with_double),
        cmocka_unit_test(swiglu_gradients_are_central_differences),
        cmocka_unit_test(a_copy_of_another_type_is_rounded_or_widened),
        cmocka_unit_test(the_host_refuses_16_bits_where_it_computes_in_float32),
        cmocka_unit_test(adding_zeroing_and_copying_are_exact),
        cmocka_unit_test(column_sums_are_one_chain_over_rows),
        cmocka_unit_test(an_embedding_gathers_rows_and_adds_them_in_order),
        cmocka_unit_test(a_token_outside_the_vocabulary_is_named),
        cmocka_unit_test(cross_entropy_agrees_with_double),
        cmocka_unit_test(cross_entropy_gradients_are_central_differences),
        cmocka_unit_test(a_target_that_is_nearly_certain_keeps_its_gradients_digits),
        cmocka_unit_test(a_row_without_target_has_no_loss_and_no_gradient),
        cmocka_unit_test(a_logit_that_is_not_finite_reaches_the_loss),
        cmocka_unit_test(rounding_to_bf16_is_to_nearest_even),
        cmocka_unit_test(the_vector_variants_give_the_same_bits),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

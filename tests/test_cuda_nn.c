/* The per-token layers on CUDA: every operation and type against double, the order of its sums, its bits and refusals. */
#include "cuda_nn_test.h"

typedef struct block { int64_t M, C; bool odd; } block;

static double norm_rinv(const double *x, int64_t C, double eps) {
    double sum = 0.0;
    for (int64_t c = 0; c < C; c++) sum += x[c] * x[c];
    return 1.0 / sqrt(sum / (double)C + eps);
}
static double silu(double x) { return x / (1.0 + exp(-x)); }

/* ---- normalization ------------------------------------------------------------------------------------------------------ */

/* Rows that a block holds, ragged ones, unaligned ones, and one that is read in pieces. */
static const block norm_blocks[] = {{1, 1, false},   {33, 7, false},  {129, 64, false},  {5, 100, false},   {3, 104, true},
                                    {129, 72, true}, {7, 520, false}, {33, 4096, false}, {2, 12288, false}, {2, 40000, false}};
enum { NORM_BLOCKS = sizeof norm_blocks / sizeof *norm_blocks };

static void rmsnorm_agrees_with_double(void **state) {
    (void)state;
    need_gpu();
    const float eps = 1e-5f;
    for (int b = 0; b < NORM_BLOCKS; b++)
        for (int t = 0; t < TYPES; t++) {
            kd_view_type type = types[t];
            int64_t M = norm_blocks[b].M, C = norm_blocks[b].C;
            bool odd = norm_blocks[b].odd;
            double *x = random_numbers(M * C, 3.0), *w = random_numbers(C, 2.0);
            kd_array dx = array_of(type, x, M * C, odd), dw = array_of(type, w, C, odd), out = array_of(type, NULL, M * C, odd);
            kd_array rinv = array_of(KD_VIEW_F32, NULL, M, false), alone = array_of(type, NULL, C, odd);
            run(&kd_rmsnorm_op, &(kd_rmsnorm_args){out, dx, dw, kd_floats(rinv), eps, M, C});
            double *y = read_back(out, M * C), *r = read_back(rinv, M);
            for (int64_t m = 0; m < M; m++) {
                double expected = norm_rinv(x + m * C, C, eps);
                assert_true(fabs(r[m] / expected - 1.0) < 4e-7);
                for (int64_t c = 0; c < C; c++) {
                    double product = x[m * C + c] * expected * w[c];
                    assert_near(type, y[m * C + c], product, fabs(product));
                }
            }
            /* a row does not know of others */
            run(&kd_rmsnorm_op, &(kd_rmsnorm_args){alone, kd_at(dx, (M - 1) * C), dw, kd_floats(rinv), eps, 1, C});
            assert_same(alone, kd_at(out, (M - 1) * C), C);
            run(&kd_rmsnorm_op, &(kd_rmsnorm_args){dx, dx, dw, kd_floats(rinv), eps, M, C});
            assert_same(dx, out, M * C);
            drop();
        }
}

/* dw of tokens `from`.. as documented in nn_ops.h, added to dw. */
static void weight_gradient(float *dw, const double *dout, const double *x, const float *rinv, int64_t M, int64_t C) {
    for (int64_t c = 0; c < C; c++)
        for (int64_t stretch = 0; stretch < M; stretch += KD_GPU_GROUP * KD_GPU_STRETCH) {
            float sum = 0.0f;
            for (int64_t group = stretch; group < M && group < stretch + KD_GPU_GROUP * KD_GPU_STRETCH; group += KD_GPU_GROUP) {
                float chain = 0.0f;
                for (int64_t m = group; m < M && m < group + KD_GPU_GROUP; m++)
                    chain = x ? fmaf((float)dout[m * C + c], (float)x[m * C + c] * rinv[m], chain) : chain + (float)dout[m * C + c];
                sum += chain;
            }
            dw[c] += sum;
        }
}

/* On top of what is there; the weight's gradient to the bit, in two calls. */
static void rmsnorm_backward_agrees_with_double(void **state) {
    (void)state;
    need_gpu();
    for (int b = 0; b < NORM_BLOCKS; b++)
        for (int t = 0; t < TYPES; t++) {
            kd_view_type type = types[t];
            int64_t M = norm_blocks[b].M, C = norm_blocks[b].C, cut = M > 64 ? 48 : M;
            bool odd = norm_blocks[b].odd;
            double *x = random_numbers(M * C, 3.0), *w = random_numbers(C, 2.0), *dout = random_numbers(M * C, 1.0);
            double *old = random_numbers(M * C, 1.0), *old_dw = random_numbers(C, 1.0);
            float *rinv = nn_floats(M), *dw = nn_floats(C);
            kd_array ax = array_of(type, x, M * C, odd), aw = array_of(type, w, C, odd), adout = array_of(type, dout, M * C, odd);
            kd_array adx = array_of(type, old, M * C, odd), adw = array_of(KD_VIEW_F32, old_dw, C, odd);
            for (int64_t m = 0; m < M; m++) rinv[m] = (float)norm_rinv(x + m * C, C, 1e-5);
            for (int64_t c = 0; c < C; c++) dw[c] = (float)old_dw[c];
            float *arinv = put(rinv, M * 4);
            run(&kd_rmsnorm_backward_op, &(kd_rmsnorm_backward_args){adx, kd_floats(adw), adout, ax, aw, arinv, cut, C});
            weight_gradient(dw, dout, x, rinv, cut, C);
            if (cut < M) {
                run(&kd_rmsnorm_backward_op, &(kd_rmsnorm_backward_args){kd_at(adx, cut * C), kd_floats(adw), kd_at(adout, cut * C),
                                                                             kd_at(ax, cut * C), aw, arinv + cut, M - cut, C});
                weight_gradient(dw, dout + cut * C, x + cut * C, rinv + cut, M - cut, C);
            }
            double *dx = read_back(adx, M * C), *got = read_back(adw, C);
            for (int64_t c = 0; c < C; c++) assert_true(got[c] == dw[c]);
            for (int64_t m = 0; m < M; m++) {
                double dot = 0.0, r = rinv[m];
                for (int64_t c = 0; c < C; c++) dot += dout[m * C + c] * w[c] * x[m * C + c];
                for (int64_t c = 0; c < C; c++) {
                    int64_t i = m * C + c;
                    double across = r * dout[i] * w[c], along = x[i] * r * r * r * dot / (double)C;
                    /* the sum over a row is good to a few units of its largest terms' root */
                    assert_near(type, dx[i], old[i] + across - along, fabs(old[i]) + fabs(across) + fabs(along) + 3.0 * r);
                }
            }
            drop();
        }
}

/* More than one stretch of groups. */
static void column_sums_have_the_documented_order(void **state) {
    (void)state;
    need_gpu();
    static const block blocks[] = {{1, 1, false}, {33, 7, false}, {257, 64, false}, {129, 100, true}, {4500, 40, false}};
    for (int b = 0; b < 5; b++)
        for (int t = 0; t < TYPES; t++) {
            int64_t M = blocks[b].M, N = blocks[b].C, cut = M / 3;
            double *x = random_numbers(M * N, 1.0), *old = random_numbers(N, 1.0);
            kd_array ax = array_of(types[t], x, M * N, blocks[b].odd), out = array_of(KD_VIEW_F32, old, N, false);
            kd_array again = array_of(KD_VIEW_F32, old, N, false);
            float *expected = nn_floats(N);
            for (int64_t n = 0; n < N; n++) expected[n] = (float)old[n];
            if (cut) {
                run(&kd_column_sum_op, &(kd_column_sum_args){kd_floats(out), ax, cut, N});
                run(&kd_column_sum_op, &(kd_column_sum_args){kd_floats(again), ax, cut, N});
                weight_gradient(expected, x, NULL, NULL, cut, N);
            }
            run(&kd_column_sum_op, &(kd_column_sum_args){kd_floats(out), kd_at(ax, cut * N), M - cut, N});
            run(&kd_column_sum_op, &(kd_column_sum_args){kd_floats(again), kd_at(ax, cut * N), M - cut, N});
            weight_gradient(expected, x + cut * N, NULL, NULL, M - cut, N);
            double *got = read_back(out, N);
            for (int64_t n = 0; n < N; n++) {
                double sum = old[n], size = fabs(old[n]);
                for (int64_t m = 0; m < M; m++) sum += x[m * N + n], size += fabs(x[m * N + n]);
                assert_true(got[n] == expected[n]);
                assert_near(KD_VIEW_F32, got[n], sum, size);
            }
            assert_same(out, again, N);
            drop();
        }
}

/* ---- pointwise ------------------------------------------------------------------------------------------------------------ */

static const int64_t lengths[] = {1, 7, 8, 15, 257, 4099};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* In units of what the gate's exponential loses nothing of: the result itself. */
static void swiglu_agrees_with_double(void **state) {
    (void)state;
    need_gpu();
    for (int l = 0; l < LENGTHS; l++)
        for (int t = 0; t < TYPES; t++)
            for (int odd = 0; odd < 2; odd++) {
                int64_t n = lengths[l];
                double *gate = random_numbers(n, 20.0), *up = random_numbers(n, 3.0);
                if (n > 15) memcpy(gate, (double[]){0.0, -0.0, 80.0, -80.0, 1000.0, -1000.0, 1e-5, -60.0}, 64);
                kd_array ag = array_of(types[t], gate, n, odd), au = array_of(types[t], up, n, odd), out = array_of(types[t], NULL, n, odd);
                run(&kd_swiglu_op, &(kd_swiglu_args){out, ag, au, n});
                double *y = read_back(out, n);
                for (int64_t i = 0; i < n; i++) assert_near(types[t], y[i], silu(gate[i]) * up[i], fabs(silu(gate[i]) * up[i]));
                run(&kd_swiglu_op, &(kd_swiglu_args){au, ag, au, n});
                assert_same(au, out, n);
                drop();
            }
}

static void swiglu_backward_agrees_with_double(void **state) {
    (void)state;
    need_gpu();
    for (int l = 0; l < LENGTHS; l++)
        for (int t = 0; t < TYPES; t++)
            for (int odd = 0; odd < 2; odd++) {
                kd_view_type type = types[t];
                int64_t n = lengths[l];
                double *gate = random_numbers(n, 20.0), *up = random_numbers(n, 3.0), *dout = random_numbers(n, 1.0);
                if (n > 15) memcpy(gate, (double[]){0.0, -0.0, 80.0, -80.0, 1000.0, -1000.0, 1e-5, -60.0}, 64);
                kd_array ag = array_of(type, gate, n, odd), au = array_of(type, up, n, odd), ad = array_of(type, dout, n, odd);
                kd_array dg = array_of(type, NULL, n, odd), du = array_of(type, NULL, n, odd), out = array_of(type, NULL, n, odd);
                kd_array forward = array_of(type, NULL, n, odd);
                run(&kd_swiglu_backward_op, &(kd_swiglu_backward_args){dg, du, out, ad, ag, au, n});
                run(&kd_swiglu_op, &(kd_swiglu_args){forward, ag, au, n});
                assert_same(out, forward, n);
                double *dgate = read_back(dg, n), *dup = read_back(du, n);
                for (int64_t i = 0; i < n; i++) {
                    double s = 1.0 / (1.0 + exp(-gate[i])), slope = s + gate[i] * s * (1.0 - s);
                    /* gate * (1 - s) loses units of 1, gate times */
                    assert_near(type, dgate[i], dout[i] * up[i] * slope, fabs(dout[i] * up[i]) * s * (1.0 + fmin(fabs(gate[i]), 100.0)));
                    assert_near(type, dup[i], dout[i] * silu(gate[i]), fabs(dout[i] * silu(gate[i])));
                }
                run(&kd_swiglu_backward_op, &(kd_swiglu_backward_args){ag, au, {NULL, type}, ad, ag, au, n});
                assert_same(ag, dg, n);
                assert_same(au, du, n);
                drop();
            }
}

static void adding_zeroing_and_rounding_are_exact(void **state) {
    (void)state;
    need_gpu();
    for (int l = 0; l < LENGTHS; l++)
        for (int t = 0; t < TYPES; t++)
            for (int odd = 0; odd < 2; odd++) {
                int64_t n = lengths[l];
                double *x = random_numbers(n, 1.0), *old = random_numbers(n, 1.0), *y;
                kd_array ax = array_of(types[t], x, n, odd), out = array_of(types[t], old, n, odd);
                run(&kd_add_op, &(kd_pair_args){out, ax, n});
                y = read_back(out, n);
                for (int64_t i = 0; i < n; i++) assert_true(y[i] == stored(types[t], (float)old[i] + (float)x[i]));
                run(&kd_round_bf16_op, &(kd_pair_args){ax, {NULL, types[t]}, n});
                y = read_back(ax, n);
                for (int64_t i = 0; i < n; i++) assert_true(y[i] == stored(types[t], stored(KD_VIEW_BF16, x[i])));
                run(&kd_zero_op, &(kd_pair_args){out, {NULL, types[t]}, n});
                y = read_back(out, n);
                for (int64_t i = 0; i < n; i++) assert_true(y[i] == 0.0);
                drop();
            }
}

static void copies_change_the_type(void **state) {
    (void)state;
    need_gpu();
    for (int l = 0; l < LENGTHS; l++)
        for (int from = 0; from < TYPES; from++)
            for (int to = 0; to < TYPES; to++)
                for (int odd = 0; odd < 2; odd++) {
                    int64_t n = lengths[l];
                    double *x = random_numbers(n, 3.0);
                    if (n > 8) memcpy(x, (double[]){1.00390625, 1.01171875, 70000.0, 1e-6, -3e38, 6e-8}, 48);
                    kd_array ax = array_of(types[from], x, n, odd), out = array_of(types[to], NULL, n, odd);
                    run(&kd_copy_op, &(kd_pair_args){out, ax, n});
                    double *y = read_back(out, n);
                    for (int64_t i = 0; i < n; i++) assert_true(y[i] == stored(types[to], x[i]));
                    drop();
                }
}

/* ---- embedding -------------------------------------------------------------------------------------------------------------- */

static void an_embedding_gathers_rows_of_any_type(void **state) {
    (void)state;
    need_gpu();
    static const block blocks[] = {{1, 1, false}, {33, 7, false}, {129, 64, false}, {33, 72, true}, {3, 4096, false}};
    enum { V = 23 };
    for (int b = 0; b < 5; b++)
        for (int from = 0; from < TYPES; from++)
            for (int to = 0; to < TYPES; to++) {
                int64_t M = blocks[b].M, C = blocks[b].C;
                double *w = random_numbers(V * C, 1.0);
                int32_t *token = nn_take(M * 4);
                for (int64_t m = 0; m < M; m++) token[m] = (int32_t)((m * m + 3) % V);
                kd_array aw = array_of(types[from], w, V * C, blocks[b].odd), out = array_of(types[to], NULL, M * C, blocks[b].odd);
                run(&kd_embedding_op, &(kd_embedding_args){.out = out, .in = aw, .token = put(token, M * 4), .M = M, .V = V, .C = C});
                double *y = read_back(out, M * C);
                for (int64_t m = 0; m < M; m++)
                    for (int64_t c = 0; c < C; c++) assert_true(y[m * C + c] == stored(types[to], w[token[m] * C + c]));
                drop();
            }
}

/* Tokens that repeat, in the definition's order and so to the bit; more tokens than a launch sees; stretches that cut rows. */
static void rows_are_added_in_the_order_of_tokens(void **state) {
    (void)state;
    need_gpu();
    static const struct { int64_t M, V, C, stretch; bool odd; } cases[] = {
        {1, 3, 1, 3, false},          {33, 5, 7, 11, false},     {129, 11, 64, 64 * 3, false},
        {300, 7, 1040, 1040 * 7, false}, {100, 90, 24, 1000, true}, {4500, 40, 8, 80, false}};
    for (int k = 0; k < 6; k++)
        for (int t = 0; t < TYPES; t++) {
            int64_t M = cases[k].M, V = cases[k].V, C = cases[k].C;
            double *dout = random_numbers(M * C, 1.0), *old = random_numbers(V * C, 1.0);
            int32_t *token = nn_take(M * 4);
            for (int64_t m = 0; m < M; m++) token[m] = (int32_t)(m % 3 ? (m * m + 3) % V : V / 2);
            kd_array ad = array_of(types[t], dout, M * C, cases[k].odd), dw = array_of(KD_VIEW_F32, old, V * C, cases[k].odd);
            int32_t *at_token = put(token, M * 4);
            for (int64_t at = 0, count = cases[k].stretch; at < V * C; at += count)
                run(&kd_embedding_backward_op,
                    &(kd_embedding_args){.out = kd_at(dw, at), .in = ad, .token = at_token, .M = M, .V = V, .C = C, .at = at,
                                         .count = count < V * C - at ? count : V * C - at});
            for (int64_t m = 0; m < M; m++)
                for (int64_t c = 0; c < C; c++) {
                    double *sum = &old[token[m] * C + c];
                    *sum = (float)*sum + (float)dout[m * C + c];
                }
            double *y = read_back(dw, V * C);
            for (int64_t i = 0; i < V * C; i++) {
                if (y[i] != old[i]) fail_msg("case %d: element %lld is %.9g, not %.9g", k, (long long)i, y[i], old[i]);
            }
            drop();
        }
}

/* ---- cross-entropy ------------------------------------------------------------------------------------------------------------ */

static double row_loss(const double *row, int64_t V, int64_t target) {
    double maximum = row[0], sum = 0.0;
    for (int64_t v = 1; v < V; v++) maximum = fmax(maximum, row[v]);
    for (int64_t v = 0; v < V; v++) sum += exp(row[v] - maximum);
    return log(sum) - (row[target] - maximum);
}

static void cross_entropy_agrees_with_double(void **state) {
    (void)state;
    need_gpu();
    static const block sizes[] = {{1, 1, false}, {3, 5, false}, {33, 257, false}, {3, 2052, true}, {2, 32000, false}, {1, 151936, false}};
    const float scale = 0.37f;
    for (int b = 0; b < 6; b++)
        for (int t = 0; t < TYPES; t++)
            for (int sharp = 0; sharp < 3; sharp++) {
                int64_t M = sizes[b].M, V = sizes[b].C;
                double *logits = random_numbers(M * V, sharp == 2 ? 60.0 : sharp ? 12.0 : 1.0);
                int32_t *target = nn_take(M * 4);
                for (int64_t m = 0; m < M; m++) target[m] = (int32_t)((m * 7919 + 5) % V);
                int32_t *at_target = put(target, M * 4);
                kd_array al = array_of(KD_VIEW_F32, logits, M * V, sizes[b].odd), kept = array_of(KD_VIEW_F32, logits, M * V, sizes[b].odd);
                kd_array gradient = array_of(types[t], NULL, M * V, sizes[b].odd);
                double *loss = gpu_take(gpu, M * 8), *again = gpu_take(gpu, M * 8), *host = nn_doubles(M), *host_again = nn_doubles(M);
                run(&kd_cross_entropy_op, &(kd_cross_entropy_args){loss, kd_floats(al), gradient, at_target, scale, M, V});
                assert_same(al, kept, M * V);
                run(&kd_cross_entropy_op, &(kd_cross_entropy_args){again, kd_floats(al), {NULL, types[t]}, at_target, 0.0f, M, V});
                get(host, loss, M * 8);
                get(host_again, again, M * 8);
                nn_assert_same(host, host_again, M * 8);
                double *g = read_back(gradient, M * V);
                for (int64_t m = 0; m < M; m++) {
                    const double *row = logits + m * V;
                    double expected = row_loss(row, V, target[m]), lse = expected + row[target[m]];
                    if (!(fabs(host[m] - expected) <= 1e-6 * fabs(expected))) fail_msg("loss %.9g, not %.9g", host[m], expected);
                    for (int64_t v = 0; v < V; v++) {
                        double slope = scale * (v == target[m] ? expm1(-expected) : exp(row[v] - lse));
                        assert_near(types[t], g[m * V + v], slope, 4.0 * fabs(slope));
                    }
                }
                if (types[t] == KD_VIEW_F32) {
                    run(&kd_cross_entropy_op, &(kd_cross_entropy_args){again, kd_floats(al), al, at_target, scale, M, V});
                    assert_same(al, gradient, M * V);
                }
                drop();
            }
}

static void a_target_that_is_nearly_certain_keeps_its_digits(void **state) {
    (void)state;
    need_gpu();
    enum { V = 5000 };
    double *logits = random_numbers(V, 1.0), loss;
    int32_t target = 4017;
    logits[target] = 30.0;
    kd_array al = array_of(KD_VIEW_F32, logits, V, false);
    double others = 0.0, *at_loss = gpu_take(gpu, 8);
    for (int64_t v = 0; v < V; v++) others += v == target ? 0.0 : exp(logits[v] - logits[target]);
    double expected = log1p(others);
    run(&kd_cross_entropy_op, &(kd_cross_entropy_args){at_loss, kd_floats(al), al, put(&target, 4), 1.0f, 1, V});
    get(&loss, at_loss, 8);
    assert_true(expected < 1e-8 && fabs(loss / expected - 1.0) < 1e-6);
    assert_true(fabs(read_back(al, V)[target] / expm1(-expected) - 1.0) < 1e-6);
    drop();
}

static void a_row_without_target_has_no_loss_and_no_gradient(void **state) {
    (void)state;
    need_gpu();
    enum { M = 3, V = 52 };
    for (int t = 0; t < TYPES; t++) {
        double *logits = random_numbers(M * V, 3.0), loss[M];
        for (int64_t v = 0; v < V; v++) logits[v] = NAN;  /* not even looked at */
        kd_array al = array_of(KD_VIEW_F32, logits, M * V, false), gradient = array_of(types[t], NULL, M * V, false);
        double *at_loss = gpu_take(gpu, sizeof loss);
        int32_t *target = put((int32_t[]){-1, 4, -1}, 12);
        run(&kd_cross_entropy_op, &(kd_cross_entropy_args){at_loss, kd_floats(al), gradient, target, 1.0f, M, V});
        get(loss, at_loss, sizeof loss);
        assert_true(loss[0] == 0.0 && loss[1] > 0.0 && loss[2] == 0.0);
        double *g = read_back(gradient, M * V);
        for (int64_t v = 0; v < V; v++) assert_true(g[v] == 0.0 && g[V + v] != 0.0 && g[2 * V + v] == 0.0);
        drop();
    }
}

static void logits_that_are_not_finite_reach_the_loss_and_minus_infinity_is_nothing(void **state) {
    (void)state;
    need_gpu();
    enum { V = 133 };
    const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int64_t at = 6; at < V; at += 23)
        for (int b = 0; b < 3; b++) {
            double *logits = random_numbers(V, 3.0), loss;
            logits[at] = bad[b];
            if (b == 2)
                for (int64_t v = 6; v < V; v++) logits[v] = -INFINITY;  /* most threads see no other */
            kd_array al = array_of(KD_VIEW_F32, logits, V, false);
            double *at_loss = gpu_take(gpu, 8);
            run(&kd_cross_entropy_op, &(kd_cross_entropy_args){at_loss, kd_floats(al), al, put((int32_t[]){5}, 4), 1.0f, 1, V});
            get(&loss, at_loss, 8);
            if (b < 2) {
                assert_false(isfinite(loss));
            } else {
                assert_true(fabs(loss / row_loss(logits, V, 5) - 1.0) < 1e-6);
                assert_true(read_back(al, V)[at] == 0.0);
            }
            drop();
        }
}

/* ---- sums and AdamW ------------------------------------------------------------------------------------------------------------- */

static void the_norm_and_the_loss_are_sums_in_double(void **state) {
    (void)state;
    need_gpu();
    static const int64_t counts[] = {1, 3, 4095, 4097, 9001, 40003};
    for (int l = 0; l < 6; l++)
        for (int odd = 0; odd < 2; odd++) {
            int64_t n = counts[l], segments = kd_segments(n, KD_NORM_SEGMENT);
            double *g = random_numbers(n, 3.0), *loss = random_numbers(n, 5.0), squares = 0.0, total = 0.0, size = 0.0;
            if (n > 3) g[1] = 3e38;
            kd_array ag = array_of(KD_VIEW_F32, g, n, odd);
            double *at_loss = put(loss, n * 8), *partial = gpu_take(gpu, segments * 8);
            for (int64_t i = 0; i < n; i++) squares += g[i] * g[i], total += loss[i], size += fabs(loss[i]);
            kd_step_sums *at_sums = gpu_take(gpu, sizeof *at_sums), sums, again;
            for (int twice = 0; twice < 2; twice++) {
                run(&kd_sum_loss_op, &(kd_sum_loss_args){at_sums, at_loss, n});
                run(&kd_sum_squares_op, &(kd_sum_squares_args){partial, kd_floats(ag), n});
                run(&kd_sum_norm_op, &(kd_sum_norm_args){at_sums, partial, segments});
                again = sums;
                get(&sums, at_sums, sizeof sums);
            }
            nn_assert_same(&sums, &again, sizeof sums);
            assert_true(fabs(sums.loss - total) <= 1e-13 * size);
            assert_true(fabs(sums.grad_norm / sqrt(squares) - 1.0) < 1e-13);
            assert_int_equal(sums.finite, 1);
            drop();
        }
}

/* Enough partial sums that a block does not add them all up. */
static void what_is_not_finite_forbids_the_step(void **state) {
    (void)state;
    need_gpu();
    enum { S = 10000 };
    for (int which = 0; which < 4; which++) {
        double *loss = random_numbers(S, 1.0), *partial = nn_doubles(S), norm = 0.0;
        for (int64_t s = 0; s < S; s++) norm += partial[s] = (double)s;
        if (which == 1) loss[7000] = NAN;
        if (which == 2) partial[9000] = INFINITY;
        if (which == 3) partial[3] = NAN;
        kd_step_sums *at_sums = gpu_take(gpu, sizeof *at_sums), sums;
        run(&kd_sum_loss_op, &(kd_sum_loss_args){at_sums, put(loss, S * 8), S});
        run(&kd_sum_norm_op, &(kd_sum_norm_args){at_sums, put(partial, S * 8), S});
        get(&sums, at_sums, sizeof sums);
        assert_int_equal(sums.finite, which == 0);
        if (which < 2) assert_true(fabs(sums.grad_norm / sqrt(norm) - 1.0) < 1e-14);
        drop();
    }
}

/* The host's bits, which test_adamw.c compares with double; among them steps that must not be taken. */
static void steps_of_adamw_have_the_hosts_bits_and_keep_a_copy(void **state) {
    (void)state;
    need_gpu();
    static const int64_t counts[] = {1, 15, 16, 4099};
    static const kd_view_type copies[] = {KD_VIEW_F32, KD_VIEW_BF16, KD_VIEW_F16};  /* F32: none */
    kd_ctx *host = nn_open(1);
    for (int l = 0; l < 4; l++)
        for (int t = 0; t < 3; t++)
            for (int odd = 0; odd < 2; odd++) {
                int64_t n = counts[l], bytes = n * (int64_t)sizeof(float);
                double *x = random_numbers(n, 1.0), *zero = nn_doubles(n);
                float *w = nn_floats(n), *m = nn_floats(n), *v = nn_floats(n), *g = nn_floats(n), *got = nn_floats(n);
                for (int64_t i = 0; i < n; i++) w[i] = (float)x[i], zero[i] = m[i] = v[i] = 0.0f;
                kd_array aw = array_of(KD_VIEW_F32, x, n, odd), am = array_of(KD_VIEW_F32, zero, n, odd);
                kd_array av = array_of(KD_VIEW_F32, zero, n, odd), copy = t ? array_of(copies[t], NULL, n, odd) : kd_none();
                for (int64_t step = 1; step <= 4; step++) {
                    double *gradient = random_numbers(n, 0.01 * (double)(step * step)), norm = 0.0;
                    kd_array ag = array_of(KD_VIEW_F32, gradient, n, odd);
                    for (int64_t i = 0; i < n; i++) norm += gradient[i] * gradient[i], g[i] = (float)gradient[i];
                    kd_adamw s = {.lr = 3e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 1.0, .step = step};
                    if (step == 2) s.clip = 0.0;
                    for (int64_t finite = 1; finite >= 0; finite--) {
                        kd_step_sums sums = {1.0, sqrt(norm), finite};
                        kd_adamw_args there = {.w = kd_floats(aw), .w16 = copy, .m = kd_floats(am), .v = kd_floats(av), .g = kd_floats(ag),
                                               .sums = put(&sums, sizeof sums), .adamw = &s, .n = n};
                        kd_adamw_args here = {.w = w, .w16 = kd_none(), .m = m, .v = v, .g = g, .sums = &sums, .adamw = &s, .n = n};
                        run(&kd_adamw_op, &there);
                        gpu_done(kd_op_run(host, &kd_adamw_op, &here));
                    }
                }
                get(got, aw.data, bytes);
                nn_assert_same(got, w, bytes);
                if (t) {
                    double *kept = read_back(copy, n);
                    for (int64_t i = 0; i < n; i++) assert_true(kept[i] == stored(copy.type, w[i]));
                }
                get(got, am.data, bytes);
                nn_assert_same(got, m, bytes);
                get(got, av.data, bytes);
                nn_assert_same(got, v, bytes);
                drop();
            }
    kd_ctx_close(host);
}

/* ---- refusals ------------------------------------------------------------------------------------------------------------------- */

/* What a kernel finds wrong is said by the next wait, once, and harms no other row. */
static void a_token_outside_the_vocabulary_is_named(void **state) {
    (void)state;
    need_gpu();
    enum { V = 3, C = 8, M = 3 };
    double *w = random_numbers(V * C, 1.0), loss;
    kd_array aw = array_of(KD_VIEW_F32, w, V * C, false), out = array_of(KD_VIEW_F32, NULL, M * C, false);
    kd_embedding_args gather = {.out = out, .in = aw, .token = put((int32_t[]){2, 3, 1}, 12), .M = M, .V = V, .C = C};
    kd_embedding_args add = {.out = aw, .in = out, .token = put((int32_t[]){2, 0, -1}, 12), .M = M, .V = V, .C = C, .count = V * C};
    assert_int_equal(kd_op_run(gpu, &kd_embedding_op, &gather), KD_OK);
    assert_int_equal(gpu->device->finish(gpu), KD_EARG);
    assert_non_null(strstr(kd_message(), "token 3 at 1"));
    assert_int_equal(gpu->device->finish(gpu), KD_OK);
    assert_true(read_back(out, M * C)[2 * C] == w[C]);
    assert_int_equal(kd_op_run(gpu, &kd_embedding_backward_op, &add), KD_OK);
    assert_int_equal(gpu->device->finish(gpu), KD_EARG);
    assert_non_null(strstr(kd_message(), "token -1 at 2"));
    assert_true(read_back(aw, V * C)[C] == w[C]);
    for (int32_t target = -2; target <= C; target += C + 2) {
        double *at_loss = put((double[]){5.0, 5.0}, 16);
        kd_array logits = array_of(KD_VIEW_F32, random_numbers(2 * C, 1.0), 2 * C, false);
        kd_cross_entropy_args a = {at_loss, kd_floats(logits), logits, put((int32_t[]){1, target}, 8), 1.0f, 2, C};
        char words[40];
        assert_int_equal(kd_op_run(gpu, &kd_cross_entropy_op, &a), KD_OK);
        snprintf(words, sizeof words, "token %d at 1", (int)target);
        assert_int_equal(gpu->device->finish(gpu), KD_EARG);
        assert_non_null(strstr(kd_message(), words));
        get(&loss, at_loss + 1, 8);
        assert_true(loss == 5.0);
        get(&loss, at_loss, 8);
        assert_true(loss != 5.0);
    }
    drop();
}

static void arrays_of_different_types_are_refused(void **state) {
    (void)state;
    need_gpu();
    enum { C = 8 };
    kd_array f32 = array_of(KD_VIEW_F32, NULL, C, false), bf16 = array_of(KD_VIEW_BF16, NULL, C, false);
    assert_int_equal(kd_op_run(gpu, &kd_rmsnorm_op, &(kd_rmsnorm_args){f32, bf16, f32, kd_floats(f32), 1e-5f, 1, C}), KD_ENOTSUP);
    assert_int_equal(kd_op_run(gpu, &kd_swiglu_op, &(kd_swiglu_args){f32, f32, bf16, C}), KD_ENOTSUP);
    assert_int_equal(kd_op_run(gpu, &kd_swiglu_backward_op, &(kd_swiglu_backward_args){bf16, bf16, f32, bf16, bf16, bf16, C}), KD_ENOTSUP);
    assert_int_equal(kd_op_run(gpu, &kd_add_op, &(kd_pair_args){f32, bf16, C}), KD_ENOTSUP);
    kd_rmsnorm_backward_args back = {bf16, kd_floats(f32), bf16, bf16, f32, kd_floats(f32), 1, C};
    assert_int_equal(kd_op_run(gpu, &kd_rmsnorm_backward_op, &back), KD_ENOTSUP);
    drop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rmsnorm_agrees_with_double),
        cmocka_unit_test(rmsnorm_backward_agrees_with_double),
        cmocka_unit_test(column_sums_have_the_documented_order),
        cmocka_unit_test(swiglu_agrees_with_double),
        cmocka_unit_test(swiglu_backward_agrees_with_double),
        cmocka_unit_test(adding_zeroing_and_rounding_are_exact),
        cmocka_unit_test(copies_change_the_type),
        cmocka_unit_test(an_embedding_gathers_rows_of_any_type),
        cmocka_unit_test(rows_are_added_in_the_order_of_tokens),
        cmocka_unit_test(cross_entropy_agrees_with_double),
        cmocka_unit_test(a_target_that_is_nearly_certain_keeps_its_digits),
        cmocka_unit_test(a_row_without_target_has_no_loss_and_no_gradient),
        cmocka_unit_test(logits_that_are_not_finite_reach_the_loss_and_minus_infinity_is_nothing),
        cmocka_unit_test(the_norm_and_the_loss_are_sums_in_double),
        cmocka_unit_test(what_is_not_finite_forbids_the_step),
        cmocka_unit_test(steps_of_adamw_have_the_hosts_bits_and_keep_a_copy),
        cmocka_unit_test(a_token_outside_the_vocabulary_is_named),
        cmocka_unit_test(arrays_of_different_types_are_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (gpu) kd_ctx_close(gpu);
    return failed;
}

/* Matrix products: one ascending chain of FMAs for every element, whatever computes it. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "base/half.h"
#include "nn_test.h"

typedef struct shape { int64_t rows, columns, sum; } shape;
static const shape shapes[] = {
    {1, 1, 1},     {1, 321, 64},   {2, 16, 17},    {3, 33, 255},   {6, 15, 256},   {13, 31, 257},  {14, 32, 512},
    {15, 65, 513}, {28, 5, 600},   {64, 130, 96},  {100, 700, 31}, {255, 47, 129}, {256, 96, 256}, {257, 97, 300},
    {300, 1, 40},  {257, 259, 16}, {16, 48, 1025},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const char *const form_name[] = {"NT", "NN", "TN"};

static kd_matmul_args random_args(kd_form form, shape s) {
    kd_matmul_args a = {.form = form, .rows = s.rows, .columns = s.columns, .sum = s.sum};
    a.left = kd_f32(nn_random(s.rows * s.sum, 1.0f));
    a.right = kd_f32(nn_random(s.columns * s.sum, 1.0f));
    return a;
}

static double left_at(const kd_matmul_args *a, int64_t i, int64_t p) {
    return kd_floats(a->left)[a->form == KD_FORM_TN ? p * a->rows + i : i * a->sum + p];
}

static double right_at(const kd_matmul_args *a, int64_t p, int64_t j) {
    return kd_floats(a->right)[a->form == KD_FORM_NT ? j * a->sum + p : p * a->columns + j];
}

/* One chain that goes on: dw += dy' x. */
static void add_weight(kd_ctx *ctx, float *dw, const float *dy, const float *x, int64_t M, int64_t N, int64_t K) {
    kd_tree one = {.count = 1, .sum = {dw}};
    assert_int_equal(kd_linear_backward_weight(ctx, &one, 0, kd_f32(dy), kd_f32(x), M, N, K), KD_OK);
}

/* The three starts of a chain: zero, a bias, the old value; with a residual and without. */
static void every_variant_gives_the_bits_of_the_definition(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    int64_t compared = 0;
    for (int s = 0; s < SHAPES; s++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_TN; form++)
            for (int way = 0; way < 6; way++) {
                int start = way % 3;
                kd_matmul_args a = random_args(form, shapes[s]);
                int64_t n = a.rows * a.columns;
                float *old = nn_random(n, 1.0f), *expected = NULL;
                a.bias = kd_f32(start == 1 ? nn_random(a.columns, 1.0f) : NULL);
                a.add = start == 2;
                a.residual = kd_f32(way >= 3 ? nn_random(n, 1.0f) : NULL);
                for (int64_t v = kd_matmul_op.count - 1; v >= 0; v--) {
                    a.out = kd_f32(a.add ? nn_copy(old, n) : nn_floats(n));
                    if (!nn_run(ctx, &kd_matmul_op.variant[v], &a)) continue;
                    if (!expected) expected = kd_floats(a.out);
                    if (memcmp(expected, a.out.data, (size_t)n * sizeof *old))
                        fail_msg("%s %s %lldx%lldx%lld way %d", kd_matmul_op.variant[v].name, form_name[form],
                                 (long long)a.rows, (long long)a.columns, (long long)a.sum, way);
                    compared++;
                }
                nn_drop();
            }
    print_message("%lld products\n", (long long)compared);
    kd_ctx_close(ctx);
}

static void the_definition_is_near_double(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    const kd_variant *ref = &kd_matmul_op.variant[kd_matmul_op.count - 1];
    assert_string_equal(ref->name, "ref");
    for (int s = 0; s < SHAPES; s++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_TN; form++) {
            kd_matmul_args a = random_args(form, shapes[s]);
            a.bias = kd_f32(nn_random(a.columns, 1.0f));
            a.out = kd_f32(nn_floats(a.rows * a.columns));
            assert_true(nn_run(ctx, ref, &a));
            for (int64_t i = 0; i < a.rows; i++)
                for (int64_t j = 0; j < a.columns; j++) {
                    double sum = kd_floats(a.bias)[j], size = fabs(sum);
                    for (int64_t p = 0; p < a.sum; p++) {
                        double term = left_at(&a, i, p) * right_at(&a, p, j);
                        sum += term;
                        size += fabs(term);
                    }
                    /* A chain of n roundings: n half units of the sizes' sum, and in practice far below. */
                    assert_true(fabs(kd_floats(a.out)[i * a.columns + j] - sum) <= (double)a.sum * 6e-8 * size);
                }
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void a_row_does_not_depend_on_the_rows_beside_it(void **state) {
    (void)state;
    enum { M = 257, N = 75, K = 520 };
    kd_ctx *ctx = nn_open(2);
    for (int64_t v = 0; v < kd_matmul_op.count; v++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_NN; form++) {
            kd_matmul_args a = random_args(form, (shape){M, N, K});
            float *whole = nn_floats(M * N);
            a.out = kd_f32(whole);
            assert_true(nn_run(ctx, &kd_matmul_op.variant[kd_matmul_op.count - 1], &a));
            int64_t ran = 0;
            for (int64_t rows = 1; rows <= M; rows += rows < 20 ? 1 : 37) {
                kd_matmul_args part = a;
                int64_t first = M - rows;
                part.rows = rows;
                part.left = kd_at(a.left, first * K);
                part.out = kd_f32(nn_floats(rows * N));
                if (!nn_run(ctx, &kd_matmul_op.variant[v], &part)) continue;
                nn_assert_same(part.out.data, whole + first * N, rows * N * 4);
                ran++;
            }
            assert_true(ran || form == KD_FORM_NN || !kd_isa_serves(ctx->isa, kd_matmul_op.variant[v].isa));
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void any_number_of_threads_gives_the_same_bits(void **state) {
    (void)state;
    for (int64_t v = 0; v < kd_matmul_op.count; v++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_TN; form++)
            for (int s = 10; s < SHAPES; s++) {
                kd_matmul_args a = random_args(form, shapes[s]);
                float *first = NULL;
                for (int64_t threads = 1; threads <= 4; threads++) {
                    kd_ctx *ctx = nn_open(threads);
                    a.out = kd_f32(nn_floats(a.rows * a.columns));
                    bool ran = nn_run(ctx, &kd_matmul_op.variant[v], &a);
                    kd_ctx_close(ctx);
                    if (!ran) continue;
                    if (!first) first = kd_floats(a.out);
                    nn_assert_same(a.out.data, first, a.rows * a.columns * 4);
                }
                nn_drop();
            }
}

static void adding_block_after_block_equals_one_longer_block(void **state) {
    (void)state;
    enum { M = 613, N = 70, K = 45 };
    kd_ctx *ctx = nn_open(2);
    float *dy = nn_random(M * N, 1.0f), *x = nn_random(M * K, 1.0f), *old = nn_random(N * K, 1.0f);
    float *old_bias = nn_random(N, 1.0f);
    kd_isa best = ctx->isa;
    for (kd_isa isa = KD_ISA_REF; isa <= best; isa++) {
        ctx->isa = isa;
        float *whole = nn_copy(old, N * K), *blocks = nn_copy(old, N * K);
        float *whole_bias = nn_copy(old_bias, N), *blocks_bias = nn_copy(old_bias, N);
        add_weight(ctx, whole, dy, x, M, N, K);
        assert_int_equal(kd_column_sum(ctx, whole_bias, kd_f32(dy), M, N), KD_OK);
        for (int64_t m = 0; m < M; m += KD_BLOCK) {
            int64_t count = M - m < KD_BLOCK ? M - m : KD_BLOCK;
            add_weight(ctx, blocks, dy + m * N, x + m * K, count, N, K);
            assert_int_equal(kd_column_sum(ctx, blocks_bias, kd_f32(dy + m * N), count, N), KD_OK);
        }
        nn_assert_same(whole, blocks, N * K * 4);
        nn_assert_same(whole_bias, blocks_bias, N * 4);
    }
    nn_drop();
    kd_ctx_close(ctx);
}

/* A window's leaves, and some windows', in blocks of every count against one chain a leaf, merged by a plain recursion; the
 * sums begin as NaN: what a tree begins, it overwrites. */
static float range_sum(const float *leaf_sums, int64_t stride, int64_t from, int64_t count) {
    if (count == 1) return leaf_sums[from * stride];
    return range_sum(leaf_sums, stride, from, count / 2) + range_sum(leaf_sums, stride, from + count / 2, count / 2);
}

static void every_variant_sums_leaves_in_a_tree(void **state) {
    (void)state;
    static const struct { int64_t T, leaves, N, K; } tree[] = {{77, 8, 29, 35}, {1100, 4, 13, 50}, {64, 16, 130, 17}, {9, 8, 3, 3}, {40, 1, 7, 33}};
    kd_ctx *ctx = nn_open(2);
    for (size_t c = 0; c < sizeof tree / sizeof *tree; c++) {
        int64_t T = tree[c].T, leaves = tree[c].leaves, N = tree[c].N, K = tree[c].K, n = N * K, at = 5;
        float *dy = nn_random(T * N, 1.0f), *x = nn_random(T * K, 1.0f), *earlier = nn_random(n, 1.0f), *leaf_sums = nn_floats(leaves * n);
        memset(leaf_sums, 0, (size_t)(leaves * n) * sizeof *leaf_sums);
        for (int64_t l = 0; l < leaves; l++) {
            int64_t from = l * T / leaves, to = (l + 1) * T / leaves;
            for (int64_t i = 0; i < n; i++)
                for (int64_t m = from; m < to; m++)
                    leaf_sums[l * n + i] = fmaf(dy[m * N + i / K], x[m * K + i % K], leaf_sums[l * n + i]);
        }
        for (int64_t v = 0; v < kd_matmul_op.count; v++)
            for (int64_t count = 1; count <= leaves; count *= 2) {
                float *sum[6];
                bool ran = true;
                for (int d = 0; d < 6; d++) sum[d] = nn_floats(at + n);
                memcpy(sum[5] + at, earlier, (size_t)n * sizeof *earlier);  /* another window's */
                for (int64_t l = 0; l < leaves && ran; l += count) {
                    int64_t from = l * T / leaves, to = (l + count) * T / leaves, depth = kd_tree_depth(l);
                    int64_t merges = kd_tree_merges(l + count - 1) - kd_tree_merges(count - 1);
                    kd_tree t = {T, leaves, l, count, true, true, 0, {sum[depth]}};
                    for (int64_t k = 0; k < merges; k++) t.sum[++t.merges] = sum[--depth];
                    if (l + count == leaves) t.sum[++t.merges] = sum[5];
                    kd_matmul_args a = {.form = KD_FORM_TN, .out = kd_f32(t.sum[0] + at), .left = kd_f32(dy + from * N),
                                        .right = kd_f32(x + from * K), .rows = N, .columns = K, .sum = to - from, .tree = &t, .at = at};
                    ran = nn_run(ctx, &kd_matmul_op.variant[v], &a);
                }
                for (int64_t i = 0; i < n && ran; i++)
                    if (sum[5][at + i] != earlier[i] + range_sum(leaf_sums + i, n, 0, leaves))
                        fail_msg("%s, %lld tokens, %lld of %lld leaves at once, element %lld", kd_matmul_op.variant[v].name, (long long)T,
                                 (long long)count, (long long)leaves, (long long)i);
            }
        nn_drop();
    }
    kd_ctx_close(ctx);
}

static void check_16_bit_weights(kd_view_type type) {
    bool f16 = type == KD_VIEW_F16;
    kd_ctx *ctx = nn_open(2);
    for (int s = 0; s < SHAPES; s++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_NN; form++) {
            kd_matmul_args a = random_args(form, shapes[s]);
            int64_t n = a.rows * a.columns, weights = a.columns * a.sum;
            float *wide = nn_floats(weights), *expected = nn_floats(n);
            uint16_t *narrow = nn_take(weights * (int64_t)sizeof *narrow);
            for (int64_t i = 0; i < weights; i++) {
                narrow[i] = f16 ? kd_f16_round(kd_floats(a.right)[i]) : kd_bf16_round(kd_floats(a.right)[i]);
                wide[i] = f16 ? kd_f16_widen(narrow[i]) : kd_bf16_widen(narrow[i]);
            }
            a.right = kd_f32(wide);
            a.out = kd_f32(expected);
            assert_true(nn_run(ctx, &kd_matmul_op.variant[kd_matmul_op.count - 1], &a));
            a.right = (kd_array){narrow, type};
            for (int64_t v = 0; v < kd_matmul_op.count; v++) {
                a.out = kd_f32(nn_floats(n));
                if (nn_run(ctx, &kd_matmul_op.variant[v], &a)) nn_assert_same(a.out.data, expected, n * 4);
            }
            nn_drop();
        }
    kd_ctx_close(ctx);
}

static void weights_of_16_bits_give_the_bits_of_widened_ones(void **state) {
    (void)state;
    check_16_bit_weights(KD_VIEW_BF16);
    check_16_bit_weights(KD_VIEW_F16);
}

/* nn.h's formulas, element by element, with whole numbers that float32 sums exactly in any order. */
static void the_public_functions_are_the_formulas(void **state) {
    (void)state;
    enum { M = 37, N = 19, K = 51 };
    kd_ctx *ctx = nn_open(2);
    float *x = nn_random(M * K, 8.0f), *w = nn_random(N * K, 8.0f), *bias = nn_random(N, 8.0f), *dy = nn_random(M * N, 8.0f);
    float *residual = nn_random(M * N, 8.0f);
    float *lists[] = {x, w, bias, dy, residual};
    int64_t sizes[] = {M * K, N * K, N, M * N, M * N};
    for (int l = 0; l < 5; l++)
        for (int64_t i = 0; i < sizes[l]; i++) lists[l][i] = floorf(lists[l][i]);
    float *y = nn_floats(M * N), *dx = nn_floats(M * K), *dw = nn_copy(w, N * K), *dbias = nn_copy(bias, N);
    assert_int_equal(kd_linear_forward(ctx, kd_f32(y), kd_f32(x), kd_f32(w), kd_f32(bias), kd_f32(residual), M, N, K), KD_OK);
    assert_int_equal(kd_linear_backward_input(ctx, kd_f32(dx), kd_f32(dy), kd_f32(w), false, M, N, K), KD_OK);
    assert_int_equal(kd_linear_backward_input(ctx, kd_f32(dx), kd_f32(dy), kd_f32(w), true, M, N, K), KD_OK);
    add_weight(ctx, dw, dy, x, M, N, K);
    assert_int_equal(kd_column_sum(ctx, dbias, kd_f32(dy), M, N), KD_OK);
    for (int64_t n = 0; n < N; n++) {
        float sum = bias[n];
        for (int64_t m = 0; m < M; m++) {
            float dot = residual[m * N + n] + bias[n];
            for (int64_t k = 0; k < K; k++) dot += x[m * K + k] * w[n * K + k];
            assert_true(y[m * N + n] == dot);
            sum += dy[m * N + n];
        }
        assert_true(dbias[n] == sum);
        for (int64_t k = 0; k < K; k++) {
            float chain = w[n * K + k];
            for (int64_t m = 0; m < M; m++) chain += dy[m * N + n] * x[m * K + k];
            assert_true(dw[n * K + k] == chain);
        }
    }
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            float dot = 0.0f;
            for (int64_t n = 0; n < N; n++) dot += dy[m * N + n] * w[n * K + k];
            assert_true(dx[m * K + k] == 2.0f * dot);
        }
    nn_drop();
    kd_ctx_close(ctx);
}

/* x whose last element is the last before memory that faults. */
static float *at_the_end(const float *x, int64_t n, void **region, size_t *bytes) {
    size_t page = 4096, used = ((size_t)n * sizeof *x + page - 1) / page * page;
    *bytes = used + page;
    char *memory = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    mprotect(memory + used, page, PROT_NONE);
    *region = memory;
    return memcpy(memory + used - (size_t)n * sizeof *x, x, (size_t)n * sizeof *x);
}

static void a_product_reads_nothing_behind_its_operands(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(1);
    for (int s = 0; s < SHAPES; s++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_TN; form++)
            for (int64_t v = 0; v < kd_matmul_op.count; v++) {
                kd_matmul_args a = random_args(form, shapes[s]);
                void *region[2];
                size_t bytes[2];
                a.left = kd_f32(at_the_end(a.left.data, a.rows * a.sum, &region[0], &bytes[0]));
                a.right = kd_f32(at_the_end(a.right.data, a.columns * a.sum, &region[1], &bytes[1]));
                a.out = kd_f32(nn_floats(a.rows * a.columns));
                nn_run(ctx, &kd_matmul_op.variant[v], &a);
                munmap(region[0], bytes[0]);
                munmap(region[1], bytes[1]);
                nn_drop();
            }
    kd_ctx_close(ctx);
}

static void a_size_below_one_is_refused(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(1);
    float x = 1.0f;
    assert_int_equal(kd_linear_forward(ctx, kd_f32(&x), kd_f32(&x), kd_f32(&x), kd_none(), kd_none(), 0, 3, 4), KD_EARG);
    assert_non_null(strstr(kd_message(), "M=0, N=3, K=4"));
    assert_int_equal(kd_linear_backward_input(ctx, kd_f32(&x), kd_f32(&x), kd_f32(&x), false, 1, -1, 1), KD_EARG);
    assert_int_equal(kd_linear_backward_weight(ctx, &(kd_tree){.count = 1, .sum = {&x}}, 0, kd_f32(&x), kd_f32(&x), 1, 1, 0), KD_EARG);
    assert_true(x == 1.0f);
    kd_ctx_close(ctx);
}

static void a_measured_product_asks_for_its_workspace_and_touches_nothing(void **state) {
    (void)state;
    kd_ctx *ctx = nn_open(2);
    float y = 7.0f;
    ctx->measuring = KD_MEASURE_THIS;
    assert_int_equal(kd_linear_forward(ctx, kd_f32(&y), kd_none(), kd_none(), kd_none(), kd_none(), 256, 2048, 768), KD_OK);
    ctx->measuring = KD_MEASURE_NOTHING;
    assert_true(y == 7.0f);
    if (ctx->isa > KD_ISA_REF) assert_true(ctx->scratch_need >= 256 * 768 * 4);
    assert_null(ctx->scratch);
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_variant_gives_the_bits_of_the_definition),
        cmocka_unit_test(the_definition_is_near_double),
        cmocka_unit_test(a_row_does_not_depend_on_the_rows_beside_it),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(adding_block_after_block_equals_one_longer_block),
        cmocka_unit_test(every_variant_sums_leaves_in_a_tree),
        cmocka_unit_test(weights_of_16_bits_give_the_bits_of_widened_ones),
        cmocka_unit_test(the_public_functions_are_the_formulas),
        cmocka_unit_test(a_product_reads_nothing_behind_its_operands),
        cmocka_unit_test(a_size_below_one_is_refused),
        cmocka_unit_test(a_measured_product_asks_for_its_workspace_and_touches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

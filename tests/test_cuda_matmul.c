/* Matrix products on CUDA against their definition in double: every form, type, start and tree. Inputs are what is stored, so a result is
 * off by a float32 sum's rounding and by one rounding to its own type. */
#include "cuda_test.h"
#include "dev/peak.h"

typedef struct shape { int64_t rows, columns, sum; } shape;
static const shape shapes[] = {{1, 1, 1},   {1, 40, 64},  {2, 16, 17},  {7, 9, 33},    {64, 64, 64},
                               {65, 72, 40}, {48, 129, 24}, {100, 8, 136}, {128, 96, 128}, {33, 256, 80}};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const char *const form_name[] = {"NT", "NN", "TN"};
static const char *const type_name[] = {"f32", "bf16", "f16"};

/* A product's arguments on the device, and the same numbers here. */
typedef struct product {
    kd_matmul_args a;
    float *left, *right, *bias, *residual, *old;
} product;

static const kd_variant *variant_of(const kd_ctx *ctx, const kd_matmul_args *a) {
    const kd_variant *v = kd_op_choose(ctx, &kd_matmul_op, a);
    if (!v) fail_msg("no variant for %s of %s", form_name[a->form], type_name[a->left.type]);
    return v;
}

static product make(kd_ctx *ctx, kd_form form, shape s, kd_view_type type, kd_view_type out) {
    product p = {.left = nn_random(s.rows * s.sum, 1.0f), .right = nn_random(s.columns * s.sum, 1.0f)};
    p.a = (kd_matmul_args){.form = form, .rows = s.rows, .columns = s.columns, .sum = s.sum};
    p.a.left = gpu_array(ctx, p.left, s.rows * s.sum, type);
    p.a.right = gpu_array(ctx, p.right, s.columns * s.sum, type);
    p.a.out = gpu_output(ctx, s.rows * s.columns, out);
    return p;
}

static double left_at(const product *p, int64_t i, int64_t k) {
    return p->a.form == KD_FORM_TN ? p->left[k * p->a.rows + i] : p->left[i * p->a.sum + k];
}
static double right_at(const product *p, int64_t k, int64_t j) {
    return p->a.form == KD_FORM_NT ? p->right[j * p->a.sum + k] : p->right[k * p->a.columns + j];
}

/* sum over from .. to-1, and the sum of the sizes of what is summed. */
static double sum_of(double *size, const product *p, int64_t i, int64_t j, int64_t from, int64_t to) {
    double sum = 0;
    for (int64_t k = from; k < to; k++) {
        double term = left_at(p, i, k) * right_at(p, k, j);
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

static void check_product(kd_ctx *ctx, const product *p, const char *what) {
    const kd_matmul_args *a = &p->a;
    const float *out = gpu_read(ctx, a->out, a->rows * a->columns);
    for (int64_t i = 0; i < a->rows; i++)
        for (int64_t j = 0; j < a->columns; j++) {
            double start = p->old ? p->old[i * a->columns + j] : p->bias ? p->bias[j] : 0;
            double more = p->residual ? p->residual[i * a->columns + j] : 0;
            double size = fabs(start) + fabs(more), sum = sum_of(&size, p, i, j, 0, a->sum) + start + more;
            double allowed = (double)(a->sum + 3) * 0x1p-24 * size + gpu_half_unit(sum, a->out.type) * 1.01, got = out[i * a->columns + j];
            if (!(fabs(got - sum) <= allowed))
                fail_msg("%s of %s into %s, %lldx%lldx%lld, %s: element %lld, %lld is %.9g, not %.9g", form_name[a->form],
                         type_name[a->left.type], type_name[a->out.type], (long long)a->rows, (long long)a->columns, (long long)a->sum,
                         what, (long long)i, (long long)j, got, sum);
        }
}

enum { PLAIN, BIAS, ADD, RESIDUAL, BIAS_AND_RESIDUAL, WAYS };
static const char *const way_name[] = {"plain", "bias", "add", "residual", "bias and residual"};

static void start_with(kd_ctx *ctx, product *p, int way) {
    int64_t n = p->a.rows * p->a.columns;
    kd_view_type out = p->a.out.type;
    if (way == BIAS || way == BIAS_AND_RESIDUAL) p->a.bias = gpu_array(ctx, p->bias = nn_random(p->a.columns, 1.0f), p->a.columns, out);
    if (way == RESIDUAL || way == BIAS_AND_RESIDUAL) p->a.residual = gpu_array(ctx, p->residual = nn_random(n, 1.0f), n, out);
    p->a.add = way == ADD;
    if (p->a.add) p->a.out = gpu_array(ctx, p->old = nn_random(n, 1.0f), n, out);
}

static void every_form_type_and_start_is_near_the_definition(void **state) {
    kd_ctx *ctx = gpu_open();
    int64_t compared = 0;
    (void)state;
    for (int s = 0; s < SHAPES; s++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_TN; form++)
            for (kd_view_type type = KD_VIEW_F32; type <= KD_VIEW_F16; type++)
                for (int wide = 0; wide < (type == KD_VIEW_F32 ? 1 : 2); wide++)
                    for (int way = PLAIN; way < WAYS; way++) {
                        product p = make(ctx, form, shapes[s], type, wide ? KD_VIEW_F32 : type);
                        start_with(ctx, &p, way);
                        assert_true(gpu_run(ctx, variant_of(ctx, &p.a), &p.a));
                        check_product(ctx, &p, way_name[way]);
                        gpu_drop(ctx);
                        nn_drop();
                        compared++;
                    }
    print_message("%lld products\n", (long long)compared);
    kd_ctx_close(ctx);
}

static void what_cannot_be_is_refused(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
    product p = make(ctx, KD_FORM_NT, (shape){4, 8, 16}, KD_VIEW_BF16, KD_VIEW_BF16);
    kd_matmul_args mixed = p.a, other = p.a, both = p.a;
    mixed.right.type = KD_VIEW_F16;
    other.out.type = KD_VIEW_F16;
    both.add = true, both.residual = both.left;
    assert_int_equal(kd_op_run(ctx, &kd_matmul_op, &mixed), KD_ENOTSUP);
    assert_int_equal(kd_op_run(ctx, &kd_matmul_op, &other), KD_ENOTSUP);
    assert_int_equal(kd_op_run(ctx, &kd_matmul_op, &both), KD_ENOTSUP);
    gpu_drop(ctx);
    nn_drop();
    kd_ctx_close(ctx);
}

/* Blocks of a window of any length are made by the same algorithm. */
static void a_row_does_not_depend_on_the_rows_beside_it(void **state) {
    kd_ctx *ctx = gpu_open();
    int64_t M = ctx->block + 3;
    (void)state;
    for (kd_view_type type = KD_VIEW_F32; type <= KD_VIEW_BF16; type++)
        for (kd_form form = KD_FORM_NT; form <= KD_FORM_NN; form++) {
            enum { N = 24, K = 72 };
            product p = make(ctx, form, (shape){M, N, K}, type, type);
            assert_true(gpu_run(ctx, variant_of(ctx, &p.a), &p.a));
            const float *whole = gpu_read(ctx, p.a.out, M * N);
            for (int64_t rows = 1; rows <= M; rows += rows < 3 ? 1 : 1 + M / 4) {
                kd_matmul_args part = p.a;
                part.rows = rows;
                part.left = kd_at(p.a.left, (M - rows) * K);
                part.out = gpu_output(ctx, rows * N, type);
                assert_true(gpu_run(ctx, variant_of(ctx, &part), &part));
                nn_assert_same(gpu_read(ctx, part.out, rows * N), whole + (M - rows) * N, rows * N * 4);
            }
            gpu_drop(ctx);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

/* ---- trees --------------------------------------------------------------------------------------------------------------------- */

/* A window's leaves in blocks of `count`, onto another window's sum: the sums begin as NaN, for what a tree begins it overwrites. Every
 * count must give the same bits, near the definition. */
static void run_tree(kd_ctx *ctx, const product *p, int64_t leaves, int64_t count, float *const sum[6], int64_t at) {
    int64_t T = p->a.sum;
    for (int64_t l = 0; l < leaves; l += count) {
        int64_t from = l * T / leaves, to = (l + count) * T / leaves, depth = kd_tree_depth(l);
        int64_t merges = kd_tree_merges(l + count - 1) - kd_tree_merges(count - 1);
        kd_tree t = {T, leaves, l, count, true, true, 0, {sum[depth]}};
        for (int64_t k = 0; k < merges; k++) t.sum[++t.merges] = sum[--depth];
        if (l + count == leaves) t.sum[++t.merges] = sum[5];
        kd_matmul_args a = p->a;
        a.out = kd_f32(t.sum[0] + at);
        a.left = kd_at(p->a.left, from * a.rows);
        a.right = kd_at(p->a.right, from * a.columns);
        a.sum = to - from;
        a.tree = &t;
        a.at = at;
        assert_true(gpu_run(ctx, variant_of(ctx, &a), &a));
    }
}

static void leaves_are_summed_in_a_tree(void **state) {
    static const struct { int64_t T, leaves, N, K; } tree[] = {
        {77, 8, 29, 35}, {96, 4, 16, 48}, {64, 16, 130, 17}, {9, 8, 3, 3}, {40, 1, 7, 33}};
    kd_ctx *ctx = gpu_open();
    (void)state;
    for (size_t c = 0; c < sizeof tree / sizeof *tree; c++)
        for (kd_view_type type = KD_VIEW_F32; type <= KD_VIEW_F16; type++) {
            int64_t leaves = tree[c].leaves, n = tree[c].N * tree[c].K, at = 5;
            product p = make(ctx, KD_FORM_TN, (shape){tree[c].N, tree[c].K, tree[c].T}, type, KD_VIEW_F32);
            float *earlier = nn_random(at + n, 1.0f), *first = NULL;
            for (int64_t count = 1; count <= leaves; count *= 2) {
                float *sum[6];
                for (int d = 0; d < 5; d++) sum[d] = gpu_take(ctx, (at + n) * 4);
                sum[5] = gpu_put(ctx, earlier, (at + n) * 4);
                run_tree(ctx, &p, leaves, count, sum, at);
                float *got = gpu_read(ctx, kd_f32(sum[5]), at + n);
                nn_assert_same(got, earlier, at * 4);
                if (!first) first = got;
                nn_assert_same(got, first, (at + n) * 4);
            }
            for (int64_t i = 0; i < n; i++) {
                double size = fabs(earlier[at + i]), sum = sum_of(&size, &p, i / tree[c].K, i % tree[c].K, 0, tree[c].T);
                double expected = earlier[at + i] + sum;
                assert_true(fabs(first[at + i] - expected) <= (double)(tree[c].T + 8) * 0x1p-24 * size);
            }
            gpu_drop(ctx);
            nn_drop();
        }
    kd_ctx_close(ctx);
}

/* One leaf in three blocks: the first begins the sum, the last ends it and merges it. */
static void a_leaf_goes_on_from_block_to_block(void **state) {
    enum { T = 90, N = 24, K = 40 };
    kd_ctx *ctx = gpu_open();
    (void)state;
    product p = make(ctx, KD_FORM_TN, (shape){N, K, T}, KD_VIEW_BF16, KD_VIEW_F32);
    float *earlier = nn_random(N * K, 1.0f), *own = gpu_take(ctx, N * K * 4), *before = gpu_put(ctx, earlier, N * K * 4);
    for (int64_t b = 0; b < 3; b++) {
        kd_tree t = {T, 1, 0, 1, b == 0, b == 2, 1, {own, before}};
        gpu_done(kd_linear_backward_weight(ctx, &t, 0, kd_at(p.a.left, b * 30 * N), kd_at(p.a.right, b * 30 * K), 30, N, K));
    }
    const float *got = gpu_read(ctx, kd_f32(before), N * K);
    for (int64_t i = 0; i < N * K; i++) {
        double size = fabs(earlier[i]), expected = earlier[i] + sum_of(&size, &p, i / K, i % K, 0, T);
        assert_true(fabs(got[i] - expected) <= (T + 4) * 0x1p-24 * size);
    }
    gpu_drop(ctx);
    nn_drop();
    kd_ctx_close(ctx);
}

/* Two leaves of one token at once, and a gradient larger than the room for leaves' sums: products of bf16 are exact in float32. */
static void a_large_gradient_is_made_stretch_by_stretch(void **state) {
    enum { N = 129, K = 1 << 17 };
    kd_ctx *ctx = gpu_open();
    (void)state;
    product p = make(ctx, KD_FORM_TN, (shape){N, K, 2}, KD_VIEW_BF16, KD_VIEW_F32);
    kd_tree t = {2, 2, 0, 2, true, true, 0, {p.a.out.data}};
    kd_matmul_args a = p.a;
    a.tree = &t;
    assert_true(kd_matmul_op.variant[0].workspace(ctx, &a) < (int64_t)N * K * 4 + (32 << 20));
    gpu_done(kd_linear_backward_weight(ctx, &t, 0, p.a.left, p.a.right, 2, N, K));
    const float *got = gpu_read(ctx, p.a.out, (int64_t)N * K);
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < K; j++) {
            float expected = p.left[i] * p.right[j] + p.left[N + i] * p.right[K + j];
            if (got[i * K + j] != expected) fail_msg("row %lld, column %lld", (long long)i, (long long)j);
        }
    gpu_drop(ctx);
    nn_drop();
    kd_ctx_close(ctx);
}

/* ---- what it takes -------------------------------------------------------------------------------------------------------------- */

/* An operation's time comes from the device, once somebody has waited for it. */
static void a_clock_counts_what_the_device_took(void **state) {
    kd_ctx *ctx = gpu_open();
    kd_clock clock = {.parts = 0};
    (void)state;
    product p = make(ctx, KD_FORM_NT, (shape){64, 64, 64}, KD_VIEW_BF16, KD_VIEW_BF16);
    ctx->clock = &clock;
    for (int i = 0; i < 3; i++) gpu_done(kd_op_run(ctx, &kd_matmul_op, &p.a));
    gpu_done(ctx->device->finish(ctx));
    assert_int_equal(clock.parts, 1);
    assert_ptr_equal(clock.part[0].op, &kd_matmul_op);
    assert_int_equal(clock.part[0].calls, 3);
    assert_true(clock.part[0].seconds > 0);
    for (int i = 0; i < 1100; i++) gpu_done(kd_op_run(ctx, &kd_matmul_op, &p.a));  /* more than there are marks for */
    gpu_done(ctx->device->finish(ctx));
    assert_int_equal(clock.part[0].calls, 1103);
    ctx->clock = NULL;
    gpu_drop(ctx);
    nn_drop();
    kd_ctx_close(ctx);
}

static void large_products_have_a_speed(void **state) {
    kd_ctx *ctx = gpu_open();
    double flops = 0;
    (void)state;
    gpu_done(kd_peak_gemm(&flops, ctx));
    assert_true(flops > 0 && isfinite(flops));
    assert_true(kd_peak_flops(ctx) > 0);
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_type_and_start_is_near_the_definition),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(a_row_does_not_depend_on_the_rows_beside_it),
        cmocka_unit_test(leaves_are_summed_in_a_tree),
        cmocka_unit_test(a_leaf_goes_on_from_block_to_block),
        cmocka_unit_test(a_large_gradient_is_made_stretch_by_stretch),
        cmocka_unit_test(a_clock_counts_what_the_device_took),
        cmocka_unit_test(large_products_have_a_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

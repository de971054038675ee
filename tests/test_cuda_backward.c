/* Attention's backward kernel for compute capability 9.0 alone, on packed operands: modes, head sizes, documents, stretches of rows and
 * keys, in turns and as they come, against a double loop over the same 16-bit numbers. */
#include "attn_oracle.h"
#include "cuda_test.h"

#include "attn/attn_cuda.h"

/* A run: what is packed, on the host and on the device, and what comes back. */
typedef struct run {
    kd_ctx *ctx;
    kd_plan plan;
    kd_attn a;
    kd_gpu_attn x;
    kd_gpu_shape shape;
    kd_gpu_tile *tile;
    int64_t turns;
    float *q, *k, *v, *q_low, *k_low, *dout;  /* [H or G][rows or keys][Ep] as they are kept */
    float *lse2, *delta, sigma[2];
    float *dq, *dk, *dv;                  /* what came back */
} run;

static bool is_served(const kd_ctx *ctx) { return kd_isa_serves(ctx->isa, KD_ISA_SM90); }

/* x [rows][Ep] in 16 bits; it becomes what is kept. low, low_on_device: the rest, kept likewise; or NULL. */
static const uint16_t *packed(const run *r, float *x, float **low, const uint16_t **low_on_device, int64_t rows, kd_view_type type) {
    int64_t n = rows * r->x.Ep;
    float *rest = nn_floats(n);
    for (int64_t i = 0; i < n; i++) rest[i] = x[i] - gpu_as_stored(x[i], type);
    const uint16_t *out = gpu_array(r->ctx, x, n, type).data;
    if (!low) return out;
    *low_on_device = gpu_array(r->ctx, rest, n, type).data;
    *low = rest;
    return out;
}

/* Keys of its own document that a packed row sees, packed. */
static kd_stretch sight(const run *r, int64_t row) {
    kd_stretch keys = kd_attn_keys(&r->a);
    int64_t t = kd_attn_rows(&r->a).from + row, n = 0;
    while (n < r->plan.N && r->plan.start[n + 1] <= t) n++;
    if (t < r->plan.start[0]) return (kd_stretch){0, 0};
    kd_stretch seen = kd_stretch_both(keys, (kd_stretch){r->plan.start[n], t + 1});
    return (kd_stretch){seen.from - keys.from, seen.to - keys.from};
}

static double product(const float *x, const float *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * y[i];
    return sum;
}

static double product_of_sizes(const float *x, const float *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += fabs((double)x[i] * y[i]);
    return sum;
}

static double logit2(const run *r, int64_t h, int64_t row, int64_t key) {
    const kd_gpu_attn *x = &r->x;
    int64_t i = (h * x->rows + row) * x->Ep, j = (h / (x->H / x->G) * x->keys + key) * x->Ep;
    double sum = product(r->q + i, r->k + j, x->Ep);
    if (r->q_low) sum += product(r->q_low + i, r->k + j, x->Ep) + product(r->q + i, r->k_low + j, x->Ep);
    return sum * x->scale2;
}

/* dO . v of a row and a key. */
static double dp_of(const run *r, int64_t h, int64_t row, int64_t key, double (*multiply)(const float *, const float *, int64_t)) {
    const kd_gpu_attn *x = &r->x;
    return multiply(r->dout + (h * x->rows + row) * x->Ep, r->v + (h / (x->H / x->G) * x->keys + key) * x->Ep, x->Ep);
}

/* What the forward would have left: an anchor takes a share, too. */
static void statistics(run *r) {
    kd_gpu_attn *x = &r->x;
    r->lse2 = nn_floats((int64_t)x->H * x->rows);
    r->delta = nn_random((int64_t)x->H * x->rows, 0.2f);
    for (int64_t h = 0; h < x->H; h++)
        for (int64_t row = 0; row < x->rows; row++) {
            kd_stretch seen = sight(r, row);
            double sum = 0.3, o = 0;
            for (int64_t j = seen.from; j < seen.to; j++) sum += exp2(logit2(r, h, row, j));
            for (int64_t j = seen.from; j < seen.to; j++) o += exp2(logit2(r, h, row, j)) / sum * dp_of(r, h, row, j, product);
            r->lse2[h * x->rows + row] = seen.from < seen.to ? (float)log2(sum) : INFINITY;
            r->delta[h * x->rows + row] += (float)o;
        }
    x->lse2 = gpu_put(r->ctx, r->lse2, (int64_t)x->H * x->rows * 4);
    x->delta = gpu_put(r->ctx, r->delta, (int64_t)x->H * x->rows * 4);
}

/* Operands of these rows and keys; {0, 0}: all. */
static void run_init(run *r, kd_ctx *ctx, const window *w, int64_t H, int64_t G, int64_t Ep, kd_gpu_mode mode, kd_stretch rows,
                     kd_stretch keys) {
    bool split = mode == KD_GPU_SPLIT;
    kd_view_type type = mode == KD_GPU_F16 ? KD_VIEW_F16 : KD_VIEW_BF16;
    *r = (run){.ctx = ctx, .sigma = {mode == KD_GPU_F16 ? 64 : 1, mode == KD_GPU_F16 ? 1.0f / 64 : 1}};
    window_plan(&r->plan, w);
    r->a = (kd_attn){.plan = &r->plan, .H = H, .G = G, .E = Ep, .rows = rows, .keys = keys};
    r->x = (kd_gpu_attn){.H = (int32_t)H, .G = (int32_t)G, .Ep = (int32_t)Ep, .E = (int32_t)Ep, .mode = mode, .stream = ctx->cuda->stream,
                         .multiprocessors = ctx->cuda->multiprocessors, .scale2 = (float)(1.4426950408889634 / sqrt((double)Ep))};
    kd_gpu_attn *x = &r->x;
    rows = kd_attn_rows(&r->a), keys = kd_attn_keys(&r->a);
    x->rows = (int32_t)kd_stretch_count(rows), x->keys = (int32_t)kd_stretch_count(keys), x->lead = (int32_t)(rows.from - keys.from);
    int64_t HR = H * x->rows, GK = G * x->keys;
    r->q = nn_random(HR * Ep, 2), r->k = nn_random(GK * Ep, 2), r->v = nn_random(GK * Ep, 1), r->dout = nn_random(HR * Ep, 1);
    x->q = packed(r, r->q, split ? &r->q_low : NULL, &x->q_low, HR, type);
    x->k = packed(r, r->k, split ? &r->k_low : NULL, &x->k_low, GK, type);
    x->v = packed(r, r->v, NULL, NULL, GK, KD_VIEW_BF16);
    x->dout = packed(r, r->dout, NULL, NULL, HR, KD_VIEW_BF16);
    x->sigma = gpu_put(ctx, r->sigma, sizeof r->sigma);
    statistics(r);
    assert_true(kd_attn_sm90_backward_shape(&r->shape, Ep, mode));
    int64_t tiles = kd_gpu_backward_tiles(NULL, &r->turns, &r->a, r->shape);
    r->tile = oracle_new(tiles, sizeof *r->tile);
    kd_gpu_backward_tiles(r->tile, &r->turns, &r->a, r->shape);
    x->tiles = (int32_t)tiles, x->turns = (int32_t)r->turns;
}

/* Runs, in turns or as tiles come, into poison. */
static void run_through(run *r, bool in_turns) {
    kd_gpu_attn *x = &r->x;
    int32_t zero = 0;
    int64_t queries = (int64_t)x->H * x->rows * x->Ep, keys = (int64_t)x->G * x->keys * x->Ep;
    x->tile = gpu_put(r->ctx, r->tile, x->tiles * (int64_t)sizeof *r->tile);
    x->next = gpu_put(r->ctx, &zero, sizeof zero);
    x->dq = gpu_take(r->ctx, queries * 4), x->dk = gpu_take(r->ctx, keys * 4), x->dv = gpu_take(r->ctx, keys * 4);
    x->turn = NULL;
    if (in_turns) gpu_fill(r->ctx, x->turn = gpu_take(r->ctx, x->H * r->turns * 4), 0, x->H * r->turns * 4);
    else gpu_fill(r->ctx, x->dq, 0, queries * 4);
    gpu_done(kd_attn_sm90_backward(x));
    r->dq = gpu_read(r->ctx, (kd_array){x->dq, KD_VIEW_F32}, queries);
    r->dk = gpu_read(r->ctx, (kd_array){x->dk, KD_VIEW_F32}, keys);
    r->dv = gpu_read(r->ctx, (kd_array){x->dv, KD_VIEW_F32}, keys);
}

static void run_free(run *r) {
    free(r->tile);
    kd_plan_free(&r->plan);
    gpu_drop(r->ctx);
    nn_drop();
}

/* What should come and how far off what comes may be. P is rounded to bf16, dS to bf16 or float16, before they are multiplied: half a unit
 * of each, in the worst case all one way; sums in float32 and exp2 add little. */
typedef struct sums { double *dq, *dk, *dv, *dq_bound, *dk_bound, *dv_bound; } sums;

static sums sums_of(const run *r) {
    const kd_gpu_attn *x = &r->x;
    int64_t Ep = x->Ep, queries = x->H * x->rows * Ep, keys = x->G * x->keys * Ep;
    double *all = oracle_new(2 * queries + 4 * keys, sizeof *all), sigma = r->sigma[0];
    double round = x->mode == KD_GPU_F16 ? 0x1p-11 : 0x1p-8, least = x->mode == KD_GPU_F16 ? 0x1p-25 : 0;
    sums s = {all, all + 2 * queries, all + 2 * queries + keys, all + queries, all + 2 * queries + 2 * keys, all + 2 * queries + 3 * keys};
    for (int64_t h = 0; h < x->H; h++)
        for (int64_t row = 0; row < x->rows; row++) {
            kd_stretch seen = sight(r, row);
            int64_t at = h * x->rows + row, i = at * Ep;
            for (int64_t key = seen.from; key < seen.to; key++) {
                int64_t j = (h / (x->H / x->G) * x->keys + key) * Ep;
                double p = exp2(logit2(r, h, row, key) - r->lse2[at]), delta = r->delta[at];
                double ds = sigma * p * (dp_of(r, h, row, key, product) - delta);
                double size = sigma * p * (dp_of(r, h, row, key, product_of_sizes) + fabs(delta));
                double p_off = p * (0x1p-8 + 0x1p-12), ds_off = fabs(ds) * (round + 0x1p-14) + size * 0x1p-16 + least;
                for (int64_t e = 0; e < Ep; e++) {
                    s.dq[i + e] += ds * r->k[j + e], s.dq_bound[i + e] += ds_off * fabs(r->k[j + e]);
                    s.dk[j + e] += ds * r->q[i + e], s.dk_bound[j + e] += ds_off * fabs(r->q[i + e]);
                    s.dv[j + e] += p * r->dout[i + e], s.dv_bound[j + e] += p_off * fabs(r->dout[i + e]);
                }
            }
        }
    return s;
}

static void compare_part(const char *part, const float *got, const double *want, const double *bound, int64_t head, int64_t at,
                         int64_t Ep) {
    for (int64_t e = 0; e < Ep; e++, got++, want++, bound++)
        if (!(fabs(*got - *want) <= *bound * 1.01 + 1e-30))
            fail_msg("%s of head %d at %d, element %d: %.9g, not %.9g within %.3g", part, (int)head, (int)at, (int)e, *got, *want, *bound);
}

static void assert_untouched(const float *x, int64_t n, bool zero) {
    for (int64_t i = 0; i < n; i++) assert_true(zero ? x[i] == 0 : isnan(x[i]));
}

/* Rows that see keys, keys of tiles; the others are as they were, or 0 where they share a block with such. */
static void compare(const run *r, bool in_turns) {
    const kd_gpu_attn *x = &r->x;
    int64_t Ep = x->Ep;
    sums s = sums_of(r);
    bool *in_tile = oracle_new(x->keys, 1), *in_block = oracle_new(x->rows, 1);
    for (int64_t n = 0; n < x->tiles; n++) {
        for (int64_t i = 0; i < r->tile[n].count; i++) in_tile[r->tile[n].first + i] = true;
        for (int64_t i = 0; i < r->tile[n].others; i++) in_block[r->tile[n].other + i] = true;
    }
    for (int64_t h = 0; h < x->H; h++)
        for (int64_t row = 0; row < x->rows; row++) {
            int64_t i = (h * x->rows + row) * Ep;
            if (in_block[row]) compare_part("dq", r->dq + i, s.dq + i, s.dq_bound + i, h, row, Ep);
            else assert_untouched(r->dq + i, Ep, !in_turns);
        }
    for (int64_t g = 0; g < x->G; g++)
        for (int64_t key = 0; key < x->keys; key++) {
            int64_t j = (g * x->keys + key) * Ep;
            if (in_tile[key]) {
                compare_part("dk", r->dk + j, s.dk + j, s.dk_bound + j, g, key, Ep);
                compare_part("dv", r->dv + j, s.dv + j, s.dv_bound + j, g, key, Ep);
            } else assert_untouched(r->dk + j, Ep, false), assert_untouched(r->dv + j, Ep, false);
        }
    free(in_tile), free(in_block), free(s.dq);
}

/* ---- facts -------------------------------------------------------------------------------------------------------------------- */

static const window windows[] = {
    {.mask = KD_MASK_FULL, .N = 1, .length = {1}},
    {.mask = KD_MASK_FULL, .N = 1, .length = {389}},
    {.mask = KD_MASK_DOCUMENT, .N = 7, .length = {1, 63, 64, 65, 127, 128, 129}},
    {.mask = KD_MASK_ANCHOR, .N = 4, .length = {191, 192, 3, 193}},
};
enum { WINDOWS = sizeof windows / sizeof *windows };
static const int sizes[] = {64, 128}, heads[][2] = {{1, 1}, {2, 2}, {4, 2}, {3, 1}};
static const kd_stretch all = {0, 0};

/* Heads go round while all else is met. */
static void every_mode_and_size_computes_gradients(void **state) {
    kd_ctx *ctx = gpu_open();
    int64_t turn = 0;
    (void)state;
    if (!is_served(ctx)) skip();
    for (int mode = 0; mode < KD_GPU_MODES; mode++)
        for (int s = 0; s < 2; s++)
            for (int w = 0; w < WINDOWS; w++, turn++) {
                run r;
                const int *head = heads[(turn + turn / 4) % 4];
                run_init(&r, ctx, &windows[w], head[0], head[1], sizes[s], (kd_gpu_mode)mode, all, all);
                run_through(&r, turn % 3 != 2);
                compare(&r, turn % 3 != 2);
                run_free(&r);
            }
    kd_ctx_close(ctx);
}

/* Rows that begin behind the first key, or before it and see nothing; keys that end before the rows. */
static void stretches_of_rows_and_keys(void **state) {
    static const struct { kd_stretch rows, keys; } cuts[] = {
        {{200, 400}, {0, 0}},   {{129, 420}, {101, 417}}, {{0, 0}, {233, 350}},
        {{250, 370}, {0, 240}}, {{0, 230}, {240, 420}},   {{300, 301}, {290, 420}},
    };
    static const window w[] = {{.mask = KD_MASK_FULL, .N = 1, .length = {420}}, {.mask = KD_MASK_ANCHOR, .N = 3, .length = {90, 265, 64}}};
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (size_t c = 0; c < 2 * sizeof cuts / sizeof *cuts; c++)
        for (int s = 0; s < 2; s++) {
            run r;
            run_init(&r, ctx, &w[c % 2], 2, 1, sizes[s], KD_GPU_BF16, cuts[c / 2].rows, cuts[c / 2].keys);
            assert_int_equal(r.plan.T, 420);
            run_through(&r, true);
            compare(&r, true);
            run_free(&r);
        }
    kd_ctx_close(ctx);
}

/* With turns every run gives the same bits; without, dk and dv do. In the simulator the second run's order is drawn. */
static void the_same_bits_run_by_run(void **state) {
    enum { AGAIN = 4 };
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    const char *seed = getenv("KEDGE_SIMT_SEED");
    char *kept = seed ? strdup(seed) : NULL;
    for (int s = 0; s < 2; s++) {
        run r;
        run_init(&r, ctx, &(window){.mask = KD_MASK_FULL, .N = 1, .length = {600}}, 2, 1, sizes[s], KD_GPU_F16, all, all);
        run_through(&r, true);
        run first = r;
        for (int again = 0; again < AGAIN; again++) {
            char text[2] = {(char)('1' + again), 0};
            setenv("KEDGE_SIMT_SEED", text, 1);
            run_through(&r, again < AGAIN - 1);
            if (again < AGAIN - 1) assert_memory_equal(r.dq, first.dq, (size_t)(r.x.H * r.x.rows * r.x.Ep) * sizeof *r.dq);
            else compare(&r, false);
            assert_memory_equal(r.dk, first.dk, (size_t)(r.x.G * r.x.keys * r.x.Ep) * sizeof *r.dk);
            assert_memory_equal(r.dv, first.dv, (size_t)(r.x.G * r.x.keys * r.x.Ep) * sizeof *r.dv);
        }
        if (kept) setenv("KEDGE_SIMT_SEED", kept, 1);
        else unsetenv("KEDGE_SIMT_SEED");
        run_free(&r);
    }
    free(kept);
    kd_ctx_close(ctx);
}

/* Writes NaN and infinities over rows from..to-1 of [heads][rows][Ep]. */
static void spoil(const run *r, const void *array, int bytes, int64_t count, int64_t rows, int64_t Ep, int64_t from, int64_t to) {
    uint32_t wild32 = 0x7fc00000;
    uint16_t wild16[] = {0x7fc0, 0xff80, 0x7fff};
    for (int64_t h = 0; h < count; h++)
        for (int64_t i = (h * rows + from) * Ep; i < (h * rows + to) * Ep; i++) {
            const void *wild = bytes == 4 ? (const void *)&wild32 : &wild16[i % 3];
            gpu_done(r->ctx->device->put(r->ctx, (char *)(uintptr_t)array + i * bytes, wild, bytes));
        }
}

/* Boxes reach into the documents beside; nothing of them counts, and nothing of theirs is written. */
static void neighbors_may_be_anything(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (int mode = 0; mode < KD_GPU_MODES; mode++)
        for (int s = 0; s < 2; s++) {
            enum { BEFORE = 3, OWN = 150, BEHIND = 5, T = BEFORE + OWN + BEHIND };
            run r;
            const window w = {.mask = KD_MASK_DOCUMENT, .N = 3, .length = {BEFORE, OWN, BEHIND}};
            run_init(&r, ctx, &w, 2, 1, sizes[s], (kd_gpu_mode)mode, all, all);
            kd_gpu_attn *x = &r.x;
            const uint16_t *of_rows[] = {x->q, x->q_low, x->dout}, *of_keys[] = {x->k, x->k_low, x->v};
            for (int side = 0; side < 2; side++) {
                int64_t from = side ? BEFORE + OWN : 0, to = side ? T : BEFORE;
                for (int i = 0; i < 3; i++) {
                    if (of_rows[i]) spoil(&r, of_rows[i], 2, x->H, T, x->Ep, from, to);
                    if (of_keys[i]) spoil(&r, of_keys[i], 2, x->G, T, x->Ep, from, to);
                }
                spoil(&r, x->lse2, 4, x->H, T, 1, from, to);
                spoil(&r, x->delta, 4, x->H, T, 1, from, to);
            }
            int32_t tiles = 0;
            for (int32_t n = 0; n < x->tiles; n++)
                if (r.tile[n].first >= BEFORE && r.tile[n].first < BEFORE + OWN) r.tile[tiles++] = r.tile[n];
            assert_true(tiles < x->tiles);
            x->tiles = tiles;
            run_through(&r, true);
            compare(&r, true);
            run_free(&r);
        }
    kd_ctx_close(ctx);
}

/* Of a pair of launches, float16 and bf16 on demand, the flag lets one run. */
static void one_of_two_kernels_runs(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (int32_t unfit = 0; unfit < 2; unfit++)
        for (int mode = KD_GPU_BF16; mode <= KD_GPU_F16; mode++) {
            run r;
            run_init(&r, ctx, &windows[0], 1, 1, 64, (kd_gpu_mode)mode, all, all);
            r.x.unfit = gpu_put(ctx, &unfit, sizeof unfit);
            r.x.run_if_unfit = mode == KD_GPU_BF16;
            run_through(&r, true);
            if ((mode == KD_GPU_BF16) == unfit) compare(&r, true);
            else assert_untouched(r.dq, 64, false), assert_untouched(r.dk, 64, false), assert_untouched(r.dv, 64, false);
            run_free(&r);
        }
    kd_ctx_close(ctx);
}

static void shapes_without_a_kernel_are_refused(void **state) {
    kd_gpu_shape shape;
    (void)state;
    for (int64_t Ep = 32; Ep <= 256; Ep += 32)
        for (int mode = 0; mode < KD_GPU_MODES; mode++)
            assert_int_equal(kd_attn_sm90_backward_shape(&shape, Ep, (kd_gpu_mode)mode), Ep == 64 || Ep == 128);
    assert_int_equal(kd_attn_sm90_backward(&(kd_gpu_attn){.Ep = 96, .tiles = 1}), KD_ENOTSUP);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_and_size_computes_gradients), cmocka_unit_test(stretches_of_rows_and_keys),
        cmocka_unit_test(the_same_bits_run_by_run),               cmocka_unit_test(neighbors_may_be_anything),
        cmocka_unit_test(one_of_two_kernels_runs),                cmocka_unit_test(shapes_without_a_kernel_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

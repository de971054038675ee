/* Attention's forward kernel for compute capability 9.0 alone, on packed operands: modes, head sizes, documents, stretches of rows and
 * keys, the anchor, layouts of o, against a double loop over the same 16-bit numbers. */
#include "attn_oracle.h"
#include "cuda_test.h"

#include "attn/attn_cuda.h"

/* A run: what is packed, on the host and on the device, and what comes back. */
typedef struct run {
    kd_ctx *ctx;
    kd_plan plan;
    kd_attn a;
    kd_gpu_attn x;
    float *q, *k, *v, *q_low, *k_low;    /* [H or G][rows or keys][Ep] as they are kept */
    float *logit2, *anchor_value;
    int64_t gap;                          /* numbers between heads of o */
    float rise;                           /* the first keys are larger by this factor than the last ones, about */
    kd_array o;
    int64_t o_count;
    float *got_o, *got_lse;
} run;

typedef struct layout { int64_t E; kd_view_type type; int64_t gap; } layout;

static bool is_served(const kd_ctx *ctx) { return kd_isa_serves(ctx->isa, KD_ISA_SM90); }

/* x [heads][tokens][Ep] in 16 bits, zeros from E on; it becomes what is kept. low, low_on_device: the rest, kept likewise; or NULL. */
static uint16_t *packed(const run *r, float *x, float **low, const uint16_t **low_on_device, int64_t rows, kd_view_type type) {
    int64_t Ep = r->x.Ep, n = rows * Ep;
    float *rest = nn_floats(n);
    for (int64_t i = 0; i < n; i++) {
        if (i % Ep >= r->x.E) x[i] = 0;
        rest[i] = x[i] - gpu_as_stored(x[i], type);
    }
    uint16_t *out = gpu_array(r->ctx, x, n, type).data;
    if (!low) return out;
    *low_on_device = gpu_array(r->ctx, rest, n, type).data;
    *low = rest;
    return out;
}

static void run_init(run *r, kd_ctx *ctx, const window *w, int64_t H, int64_t G, int64_t Ep, kd_gpu_mode mode, layout o) {
    *r = (run){.ctx = ctx, .gap = o.gap};
    window_plan(&r->plan, w);
    r->a = (kd_attn){.plan = &r->plan, .H = H, .G = G, .E = o.E};
    r->x = (kd_gpu_attn){.H = (int32_t)H, .G = (int32_t)G, .Ep = (int32_t)Ep, .E = (int32_t)o.E, .mode = mode, .stream = ctx->cuda->stream,
                         .multiprocessors = ctx->cuda->multiprocessors, .scale2 = (float)(1.4426950408889634 / sqrt((double)o.E))};
    r->o.type = o.type;
}

/* Operands of these rows and keys; {0, 0}: all. */
static void run_fill(run *r, kd_stretch rows, kd_stretch keys) {
    kd_gpu_attn *x = &r->x;
    bool split = x->mode == KD_GPU_SPLIT;
    kd_view_type type = x->mode == KD_GPU_F16 ? KD_VIEW_F16 : KD_VIEW_BF16;
    r->a.rows = rows, r->a.keys = keys;
    x->rows = (int32_t)kd_stretch_count(kd_attn_rows(&r->a));
    x->keys = (int32_t)kd_stretch_count(kd_attn_keys(&r->a));
    x->lead = (int32_t)(kd_attn_rows(&r->a).from - kd_attn_keys(&r->a).from);
    int64_t HR = (int64_t)x->H * x->rows, GK = (int64_t)x->G * x->keys;
    r->q = nn_random(HR * x->Ep, 3), r->k = nn_random(GK * x->Ep, 3), r->v = nn_random(GK * x->Ep, 1);
    for (int64_t i = 0; i < GK * x->Ep && r->rise > 0; i++) r->k[i] *= 1 + r->rise * (1 - (float)(i / x->Ep % x->keys) / (float)x->keys);
    x->q = packed(r, r->q, split ? &r->q_low : NULL, &x->q_low, HR, type);
    x->k = packed(r, r->k, split ? &r->k_low : NULL, &x->k_low, GK, type);
    x->v = packed(r, r->v, NULL, NULL, GK, KD_VIEW_BF16);
    if (kd_attn_sees_anchor(&r->a)) {
        r->logit2 = nn_random(HR, 6);
        r->anchor_value = nn_random((int64_t)x->G * x->Ep, 1);
        x->anchor_logit2 = gpu_put(r->ctx, r->logit2, HR * 4);
        x->anchor_value = gpu_put(r->ctx, r->anchor_value, (int64_t)x->G * x->Ep * 4);
    }
}

static void run_outputs(run *r) {
    kd_gpu_attn *x = &r->x;
    int64_t stride = x->E + r->gap;
    r->o_count = (int64_t)x->rows * x->H * stride;
    r->o = gpu_output(r->ctx, r->o_count, r->o.type);
    x->o = (kd_view){r->o.data, x->H * stride, stride, r->o.type, r->o.data};
    x->lse = gpu_take(r->ctx, (int64_t)x->H * x->rows * 4);
    int32_t zero = 0;
    x->next = gpu_put(r->ctx, &zero, sizeof zero);
}

static void run_enqueue(run *r) {
    kd_gpu_shape shape;
    assert_true(kd_attn_sm90_forward_shape(&shape, r->x.Ep, r->x.mode));
    int64_t tiles = kd_gpu_forward_tiles(NULL, &r->a, shape);
    kd_gpu_tile *tile = oracle_new(tiles, sizeof *tile);
    kd_gpu_forward_tiles(tile, &r->a, shape);
    r->x.tiles = (int32_t)tiles;
    r->x.tile = gpu_put(r->ctx, tile, tiles * (int64_t)sizeof *tile);
    free(tile);
    gpu_done(kd_attn_sm90_forward(&r->x));
}

static void run_read(run *r) {
    r->got_o = gpu_read(r->ctx, r->o, r->o_count);
    r->got_lse = gpu_read(r->ctx, (kd_array){r->x.lse, KD_VIEW_F32}, (int64_t)r->x.H * r->x.rows);
}

static void run_free(run *r) {
    kd_plan_free(&r->plan);
    gpu_drop(r->ctx);
    nn_drop();
}

static float *o_row(const run *r, int64_t h, int64_t row) { return r->got_o + (row * r->x.H + h) * (r->x.E + r->gap); }

/* Logit in base 2 of row and key, both packed. */
static double logit(const run *r, int64_t h, int64_t row, int64_t key) {
    const kd_gpu_attn *x = &r->x;
    int64_t at_q = (h * x->rows + row) * x->Ep, at_k = (h / (x->H / x->G) * x->keys + key) * x->Ep;
    double sum = 0;
    for (int64_t e = 0; e < x->E; e++) {
        sum += (double)r->q[at_q + e] * r->k[at_k + e];
        if (r->q_low) sum += (double)r->q_low[at_q + e] * r->k[at_k + e] + (double)r->q[at_q + e] * r->k_low[at_k + e];
    }
    return sum * x->scale2;
}

/* One row of one head. A probability is rounded to bf16 before it meets a value: half a unit of each, in the worst case all one way. */
static void compare_row(const run *r, int64_t h, int64_t row) {
    const kd_gpu_attn *x = &r->x;
    int64_t g = h / (x->H / x->G), t = kd_attn_rows(&r->a).from + row, n = 0;
    kd_stretch keys = kd_attn_keys(&r->a), seen = {0, 0};
    while (n < r->plan.N && r->plan.start[n + 1] <= t) n++;
    if (t >= r->plan.start[0]) seen = kd_stretch_both(keys, (kd_stretch){r->plan.start[n], t + 1});
    int64_t count = kd_stretch_count(seen), first = seen.from - keys.from;
    double *p = oracle_new(count + 1, sizeof *p), most = -INFINITY, sum = 0;
    for (int64_t j = 0; j < count; j++) p[j] = logit(r, h, row, first + j);
    p[count] = r->logit2 ? r->logit2[h * x->rows + row] : -INFINITY;
    for (int64_t j = 0; j <= count; j++) most = fmax(most, p[j]);
    for (int64_t j = 0; j <= count; j++) sum += p[j] = most > -INFINITY ? exp2(p[j] - most) : 0;
    float got_lse = r->got_lse[h * x->rows + row];
    if (sum == 0) assert_true(isinf(got_lse) && got_lse < 0);
    else {
        double lse = log(2) * (most + log2(sum));
        if (!(fabs(got_lse - lse) <= 5e-5 + 2e-6 * fabs(lse)))
            fail_msg("lse of head %d row %d: %.9g, not %.9g", (int)h, (int)row, got_lse, lse);
    }
    for (int64_t e = 0; e < x->E; e++) {
        double o = 0, size = 0;
        for (int64_t j = 0; j < count; j++) {
            double v = r->v[(g * x->keys + first + j) * x->Ep + e];
            o += p[j] * v, size += p[j] * fabs(v);
        }
        double bound = size * (0x1p-8 + 0x1p-12);
        if (r->logit2) o += p[count] * r->anchor_value[g * x->Ep + e], bound += p[count] * fabs(r->anchor_value[g * x->Ep + e]) * 0x1p-12;
        if (sum > 0) o /= sum, bound /= sum;
        bound += gpu_half_unit(fabs(o) + bound, r->o.type) + 1e-30;
        double got = o_row(r, h, row)[e];
        if (!(fabs(got - o) <= bound))
            fail_msg("o of head %d row %d element %d: %.9g, not %.9g within %.3g", (int)h, (int)row, (int)e, got, o, bound);
    }
    for (int64_t e = x->E; e < x->E + r->gap; e++) assert_true(isnan(o_row(r, h, row)[e]));
    free(p);
}

static void compare(const run *r) {
    for (int64_t h = 0; h < r->x.H; h++)
        for (int64_t row = 0; row < r->x.rows; row++) compare_row(r, h, row);
}

/* ---- facts -------------------------------------------------------------------------------------------------------------------- */

static const window windows[] = {
    {.mask = KD_MASK_FULL, .N = 1, .length = {1}},
    {.mask = KD_MASK_FULL, .N = 1, .length = {449}},
    {.mask = KD_MASK_DOCUMENT, .N = 7, .length = {1, 63, 64, 65, 127, 128, 129}},
    {.mask = KD_MASK_ANCHOR, .N = 4, .length = {191, 192, 3, 193}},
    {.mask = KD_MASK_ANCHOR, .N = 3, .length = {1, 1, 300}},
};
enum { WINDOWS = sizeof windows / sizeof *windows };
static const int sizes[] = {64, 128};
static const layout layouts[] = {{0, KD_VIEW_BF16, 0},   {0, KD_VIEW_F16, 8},   {0, KD_VIEW_F32, 0},
                                 {-16, KD_VIEW_BF16, 0}, {-14, KD_VIEW_F16, 3}, {-2, KD_VIEW_F32, 5}};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* Layouts and heads go round while all else is met. */
static void every_mode_and_size_computes_attention(void **state) {
    kd_ctx *ctx = gpu_open();
    int64_t turn = 0;
    (void)state;
    if (!is_served(ctx)) skip();
    for (int mode = 0; mode < KD_GPU_MODES; mode++)
        for (int s = 0; s < 2; s++)
            for (int w = 0; w < WINDOWS; w++, turn++) {
                run r;
                layout o = layouts[turn % LAYOUTS];
                o.E += sizes[s];
                run_init(&r, ctx, &windows[w], turn % 3 + 1, turn % 3 == 2 ? 1 : turn % 3 + 1, sizes[s], (kd_gpu_mode)mode, o);
                run_fill(&r, (kd_stretch){0, 0}, (kd_stretch){0, 0});
                run_outputs(&r);
                run_enqueue(&r);
                run_read(&r);
                compare(&r);
                run_free(&r);
            }
    kd_ctx_close(ctx);
}

/* Keys are walked from the last to the first; here each block's logits are larger than those before. */
static void maxima_may_come_late(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (int s = 0; s < 2; s++)
        for (int rise = 1; rise <= 8; rise *= 8) {
            run r;
            run_init(&r, ctx, &(window){.mask = KD_MASK_ANCHOR, .N = 1, .length = {700}}, 1, 1, sizes[s], KD_GPU_F16,
                     (layout){sizes[s], KD_VIEW_F32, 0});
            r.rise = (float)rise;
            run_fill(&r, (kd_stretch){0, 0}, (kd_stretch){0, 0});
            run_outputs(&r);
            run_enqueue(&r);
            run_read(&r);
            compare(&r);
            run_free(&r);
        }
    kd_ctx_close(ctx);
}

/* Rows that begin behind the first key, or before it and see nothing; keys that end before the rows, with and without the anchor. */
static void stretches_of_rows_and_keys(void **state) {
    static const struct { kd_stretch rows, keys; } cuts[] = {
        {{300, 500}, {0, 0}},     {{129, 580}, {101, 577}}, {{0, 0}, {333, 450}},
        {{350, 470}, {0, 340}},   {{0, 330}, {340, 580}},   {{400, 401}, {390, 580}},
    };
    static const window w[] = {{.mask = KD_MASK_FULL, .N = 1, .length = {580}},
                               {.mask = KD_MASK_ANCHOR, .N = 3, .length = {110, 365, 104}}};
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (size_t c = 0; c < 2 * sizeof cuts / sizeof *cuts; c++)
        for (int s = 0; s < 2; s++) {
            run r;
            run_init(&r, ctx, &w[c % 2], 2, 1, sizes[s], KD_GPU_BF16, (layout){sizes[s], KD_VIEW_F32, 0});
            assert_int_equal(r.plan.T, 580);
            run_fill(&r, cuts[c / 2].rows, cuts[c / 2].keys);
            run_outputs(&r);
            run_enqueue(&r);
            run_read(&r);
            compare(&r);
            run_free(&r);
        }
    kd_ctx_close(ctx);
}

/* The same rows in other tiles, where they stand elsewhere: from row 37 on. */
static void a_row_does_not_depend_on_its_tile(void **state) {
    enum { FROM = 37 };
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (int s = 0; s < 2; s++) {
        run r;
        run_init(&r, ctx, &(window){.mask = KD_MASK_ANCHOR, .N = 2, .length = {30, 420}}, 2, 1, sizes[s], KD_GPU_F16,
                 (layout){sizes[s], KD_VIEW_F32, 0});
        run_fill(&r, (kd_stretch){0, 0}, (kd_stretch){0, 0});
        run_outputs(&r);
        run_enqueue(&r);
        run_read(&r);
        float *o = r.got_o, *lse = r.got_lse;
        int64_t H = r.x.H, T = r.plan.T, E = r.x.E, rows = T - FROM;
        /* Packed rows follow each other in a head, so each head's share of the operands is taken by itself. */
        for (int64_t h = 0; h < H; h++) {
            run one = r;
            one.a.rows = (kd_stretch){FROM, T};
            one.a.H = one.x.H = one.x.G = 1;
            one.x.rows = (int32_t)rows, one.x.lead = FROM;
            one.x.q += (h * T + FROM) * E;
            one.x.anchor_logit2 += h * T + FROM;
            run_outputs(&one);
            run_enqueue(&one);
            run_read(&one);
            for (int64_t i = 0; i < rows; i++) {
                assert_memory_equal(one.got_o + i * E, o + ((FROM + i) * H + h) * E, (size_t)E * sizeof *o);
                assert_memory_equal(&one.got_lse[i], &lse[h * T + FROM + i], sizeof *lse);
            }
        }
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
            run_init(&r, ctx, &windows[3], 1, 1, 128, (kd_gpu_mode)mode, (layout){128, KD_VIEW_BF16, 0});
            run_fill(&r, (kd_stretch){0, 0}, (kd_stretch){0, 0});
            run_outputs(&r);
            r.x.unfit = gpu_put(ctx, &unfit, sizeof unfit);
            r.x.run_if_unfit = mode == KD_GPU_BF16;
            run_enqueue(&r);
            run_read(&r);
            if ((mode == KD_GPU_BF16) == unfit) compare(&r);
            else {
                for (int64_t i = 0; i < r.o_count; i++) assert_true(isnan(r.got_o[i]));
                for (int64_t i = 0; i < r.x.rows; i++) assert_true(isnan(r.got_lse[i]));
            }
            run_free(&r);
        }
    kd_ctx_close(ctx);
}

/* Keys beyond a tile's last one, of the next document or hidden by the diagonal, are selected away, not multiplied by nothing. */
static void hidden_keys_may_be_anything(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
    if (!is_served(ctx)) skip();
    for (int s = 0; s < 2; s++) {
        run r;
        run_init(&r, ctx, &(window){.mask = KD_MASK_DOCUMENT, .N = 2, .length = {70, 50}}, 1, 1, sizes[s], KD_GPU_BF16,
                 (layout){sizes[s], KD_VIEW_F32, 0});
        run_fill(&r, (kd_stretch){0, 70}, (kd_stretch){0, 0});
        uint16_t *wild = oracle_new(50 * sizes[s], sizeof *wild);
        for (int64_t i = 0; i < 50 * sizes[s]; i++) wild[i] = i % 3 ? 0x7fc0 : 0xff80;  /* NaN, -infinity */
        gpu_done(ctx->device->put(ctx, (uint16_t *)r.x.k + 70 * sizes[s], wild, 50 * sizes[s] * (int64_t)sizeof *wild));
        free(wild);
        run_outputs(&r);
        run_enqueue(&r);
        run_read(&r);
        compare(&r);
        run_free(&r);
    }
    kd_ctx_close(ctx);
}

static void shapes_without_a_kernel_are_refused(void **state) {
    kd_gpu_shape shape;
    (void)state;
    for (int64_t Ep = 32; Ep <= 256; Ep += 32)
        for (int mode = 0; mode < KD_GPU_MODES; mode++)
            assert_int_equal(kd_attn_sm90_forward_shape(&shape, Ep, (kd_gpu_mode)mode), Ep == 64 || Ep == 128);
    assert_int_equal(kd_attn_sm90_forward(&(kd_gpu_attn){.Ep = 96, .tiles = 1}), KD_ENOTSUP);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_and_size_computes_attention),
        cmocka_unit_test(maxima_may_come_late),
        cmocka_unit_test(stretches_of_rows_and_keys),
        cmocka_unit_test(a_row_does_not_depend_on_its_tile),
        cmocka_unit_test(one_of_two_kernels_runs),
        cmocka_unit_test(hidden_keys_may_be_anything),
        cmocka_unit_test(shapes_without_a_kernel_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Attention on CUDA against its definition in double. Kernels for tensor cores may be as far from it as twice what their own roundings make
 * of it when they are done plainly; float32 kernels as twice the naive float32 evaluation. */
#include "attn_gpu.h"

#include "attn/attn_cuda.h"

#define ALL(type) {type, type, type, type, type, type, type, type}
#define F32 KD_VIEW_F32
#define BF16 KD_VIEW_BF16
#define F16 KD_VIEW_F16

typedef struct shape { const char *what; window w; int64_t H, G, E; kd_frame frame; int32_t anchor, documents; } shape;

static const shape shapes[] = {
    {"one token", {KD_MASK_FULL, 0, 0, 0, 1, {1}, {0}}, 2, 2, 64, KD_FRAME_WINDOW, 0, 0},
    {"the anchor alone", {KD_MASK_ANCHOR, 0, 0, 0, 0, {0}, {0}}, 4, 2, 64, KD_FRAME_WINDOW, 0, 0},
    {"an anchor and a token", {KD_MASK_ANCHOR, 0, 0, 0, 1, {1}, {0}}, 2, 1, 128, KD_FRAME_DOCUMENT, 0, 0},
    {"a document of odd length", {KD_MASK_FULL, 0, 0, 0, 1, {197}, {0}}, 2, 1, 64, KD_FRAME_WINDOW, 0, 0},
    {"long", {KD_MASK_FULL, 0, 0, 0, 1, {421}, {0}}, 1, 1, 128, KD_FRAME_DOCUMENT, 0, 0},
    {"anchored, window frame", {KD_MASK_ANCHOR, 0, 0, 0, 3, {100, 3, 161}, {0}}, 4, 2, 128, KD_FRAME_WINDOW, 0, 0},
    {"anchored, document frame", {KD_MASK_ANCHOR, 1, 0, 0, 4, {1, 129, 64, 63}, {0}}, 4, 1, 64, KD_FRAME_DOCUMENT, 0, 0},
    {"documents alone", {KD_MASK_DOCUMENT, 0, 1, 0, 3, {65, 2, 128}, {0}}, 3, 3, 128, KD_FRAME_WINDOW, 0, 0},
    {"an anchor far away", {KD_MASK_ANCHOR, 0, 0, 0, 2, {60, 90}, {0}}, 2, 1, 64, KD_FRAME_DOCUMENT, -1000, 700},
    {"an anchor far away, kept", {KD_MASK_ANCHOR, 0, 0, 0, 2, {60, 90}, {0}}, 2, 1, 64, KD_FRAME_WINDOW, 900, 300},
    {"interleaved", {KD_MASK_ANCHOR, 0, 0, 3, 3, {60, 9, 150}, {0}}, 2, 1, 96, KD_FRAME_DOCUMENT, 0, 0},
    {"E = 256", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 40}, {0}}, 2, 1, 256, KD_FRAME_DOCUMENT, 0, 0},
    {"E = 40", {KD_MASK_ANCHOR, 0, 0, 0, 2, {70, 33}, {0}}, 2, 1, 40, KD_FRAME_WINDOW, 0, 0},
    {"E = 2", {KD_MASK_DOCUMENT, 0, 0, 0, 2, {7, 33}, {0}}, 2, 1, 2, KD_FRAME_WINDOW, 0, 0},
    {"seven heads on one", {KD_MASK_FULL, 0, 0, 0, 1, {70}, {0}}, 7, 1, 64, KD_FRAME_WINDOW, 0, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, FAR = 4000 };

static void open_shape(problem *x, const shape *s, kd_precision precision) {
    problem_init(x, host, &s->w, s->H, s->G, s->E, s->frame, 3);
    problem_set_precision(x, precision, FAR);
    problem_move(x, s->anchor, s->documents);
}

static const char *name_of(int64_t variant) { return kd_attn_forward_op.variant[variant].name; }
static bool is_plain(int64_t variant) { return !strcmp(name_of(variant), "cuda-plain"); }
static bool is_atomic(int64_t variant) { return !strcmp(name_of(variant), "sm90-atomic"); }

/* The problem's results, until free. */
static float *results_of(const problem *x) {
    float *copy = oracle_new(x->out.from[PARTS], sizeof *copy);
    return memcpy(copy, x->out.f, (size_t)x->out.from[PARTS] * sizeof *copy);
}

/* The bound: what the same roundings make of it, done plainly. The results stay as they are. */
static void naive_errors(error naive[PARTS], problem *x, bool plain, kd_storage storage) {
    float *out[PARTS], *kept = results_of(x);
    gpu_parts(out, x);
    if (plain) problem_run(x, kd_attn_forward_op.count - 1);
    else gpu_naive(out, x, storage);
    for (int part = 0; part < PARTS; part++) naive[part] = part_error(x, part);
    memcpy(x->out.f, kept, (size_t)x->out.from[PARTS] * sizeof *kept);
    free(kept);
}

/* cuda-plain multiplies pairs whole, the definition three of their four products. */
static double floor_of(const problem *x, int64_t variant) {
    return x->a.precision == KD_PRECISION_SPLIT && is_plain(variant) ? 2e-5 : 1e-6;
}

static int64_t count_bad(const problem *x, const error naive[PARTS], const char *what, int64_t variant) {
    int64_t bad = 0;
    for (int part = 0; part < PARTS; part++) {
        error e = part_error(x, part);
        /* luck: of the one number that is furthest off */
        double floor = floor_of(x, variant) * (1 + e.size), luck = is_plain(variant) ? 0 : 0x1p-8 * e.size;
        if (e.most <= 2 * naive[part].most + floor + luck && e.rms <= 2 * naive[part].rms + floor / 3) continue;
        print_error("%s, %s, %s, %s: off by %.2g, rms %.2g; done plainly %.2g, %.2g of %.2g\n", what, kd_precision_name(x->a.precision),
                    name_of(variant), part_name[part], e.most, e.rms, naive[part].most, naive[part].rms, e.size);
        bad++;
    }
    return bad;
}

static void every_variant_keeps_to_the_definition(void **state) {
    (void)state;
    if (!gpu) skip();
    int64_t bad = 0, ran[16] = {0};
    const gpu_run_of run = {.type = ALL(F32)};
    for (int i = 0; i < SHAPES; i++)
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISION_BF16_EAGER; p++) {
            problem x;
            float *out[PARTS];
            open_shape(&x, &shapes[i], p);
            problem_define(&x);
            gpu_parts(out, &x);
            for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++) {
                error naive[PARTS];
                for (int64_t n = 0; n < x.out.from[PARTS]; n++) x.out.f[n] = NAN;
                if (!gpu_attention(out, gpu, &x, variant, &run)) continue;
                naive_errors(naive, &x, is_plain(variant), kd_rung_of(&x.a)->storage);
                bad += count_bad(&x, naive, shapes[i].what, variant);
                ran[variant]++;
            }
            problem_free(&x);
        }
    for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++)
        if (kd_attn_forward_op.variant[variant].isa >= KD_ISA_SM80)
            print_message("%s: %lld problems%s\n", name_of(variant), (long long)ran[variant],
                          ran[variant] ? "" : ", skipped: it has no kernel for them here");
    assert_int_equal(bad, 0);
}

/* dO of any size: float16's dS is scaled by what the largest can be. */
static void gradients_may_be_of_any_size(void **state) {
    (void)state;
    if (!gpu) skip();
    static const float size[] = {1e-6f, 1e3f, 0};
    const gpu_run_of run = {.type = ALL(F32)};
    int64_t bad = 0;
    for (int i = 0; i < 3; i++)
        for (kd_precision p = KD_PRECISION_SPLIT; p < KD_PRECISION_BF16_EAGER; p++) {
            problem x;
            float *out[PARTS];
            open_shape(&x, &shapes[5], p);
            for (int64_t t = 0; t < x.plan.T; t++)
                for (int64_t e = 0; e < x.a.H * x.a.E; e++) {
                    float *y = x.a.dout.data + t * x.a.dout.token_stride + e;
                    *y *= size[i];
                    x.dout[t * x.a.H * x.a.E + e] = *y;
                }
            problem_define(&x);
            gpu_parts(out, &x);
            for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++) {
                if (!gpu_attention(out, gpu, &x, variant, &run)) continue;
                error naive[PARTS];
                naive_errors(naive, &x, is_plain(variant), kd_rung_of(&x.a)->storage);
                for (int part = PART_DQ; part < PARTS; part++) {
                    error e = part_error(&x, part);
                    if (e.rms <= 2 * naive[part].rms + floor_of(&x, variant) * e.size) continue;
                    print_error("dout times %g, %s, %s, %s: off by %.2g; done plainly %.2g of %.2g\n", size[i], kd_precision_name(p),
                                name_of(variant), part_name[part], e.rms, naive[part].rms, e.size);
                    bad++;
                }
            }
            problem_free(&x);
        }
    assert_int_equal(bad, 0);
}

/* What float16 cannot hold is kept in bf16: found on the device, and counted there. */
static void what_float16_cannot_hold_is_kept_in_bf16(void **state) {
    (void)state;
    if (!gpu) skip();
    const gpu_run_of run = {.type = ALL(F32)};
    int64_t bad = 0;
    for (int frame = 0; frame < 2; frame++)
        for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++) {
            problem x;
            float *out[PARTS];
            int64_t before, after;
            shape s = shapes[5];
            s.frame = (kd_frame)frame;
            open_shape(&x, &s, KD_PRECISION_F16_STORE);
            gpu_parts(out, &x);
            for (int64_t t = 0; t < x.plan.T; t++) {
                for (int64_t e = 0; e < x.a.H * x.a.E; e++) x.q[t * x.a.H * x.a.E + e] *= 0x1p17;
                for (int64_t e = 0; e < x.a.G * x.a.E; e++) x.k[t * x.a.G * x.a.E + e] *= 0x1p-17;
            }
            for (int64_t t = 0; t < x.plan.T; t++) {  /* the naive float32 evaluation reads these */
                for (int64_t e = 0; e < x.a.H * x.a.E; e++) x.a.q.data[t * x.a.q.token_stride + e] *= 0x1p17f;
                for (int64_t e = 0; e < x.a.G * x.a.E; e++) x.a.k.data[t * x.a.k.token_stride + e] *= 0x1p-17f;
            }
            x.a.precision = KD_PRECISION_EXACT;  /* which float16 and bf16 are both compared with */
            problem_define(&x);
            x.a.precision = KD_PRECISION_F16_STORE;
            gpu_done(kd_attn_cuda_fallbacks(&before, gpu));
            if (gpu_attention(out, gpu, &x, variant, &run)) {
                gpu_done(kd_attn_cuda_fallbacks(&after, gpu));
                assert_int_equal(after, before + 2);  /* forward and backward */
                error naive[PARTS];
                naive_errors(naive, &x, false, KD_STORE_BF16);
                bad += count_bad(&x, naive, "beyond float16", variant);
            }
            problem_free(&x);
        }
    assert_int_equal(bad, 0);
}

/* ---- the same bits ------------------------------------------------------------------------------------------------------------ */

static void a_run_can_be_repeated(void **state) {
    (void)state;
    if (!gpu) skip();
    const gpu_run_of run = {.type = ALL(BF16)};
    for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_SPLIT; p <= KD_PRECISION_BF16_STORE; p++) {
            problem x;
            float *out[PARTS], *first[PARTS];
            open_shape(&x, &shapes[6], p);
            gpu_problem_round(&x, run.type);
            gpu_parts(out, &x);
            if (!is_atomic(variant) && gpu_attention(out, gpu, &x, variant, &run)) {
                float *kept = results_of(&x);
                for (int part = 0; part < PARTS; part++) first[part] = kept + x.out.from[part];
                assert_true(gpu_attention(out, gpu, &x, variant, &run));
                for (int part = 0; part < PARTS; part++)
                    nn_assert_same(out[part], first[part], (x.out.from[part + 1] - x.out.from[part]) * (int64_t)sizeof(float));
                free(kept);
            }
            problem_free(&x);
        }
}

/* A long window's heads are served a few at a time. */
static void batches_of_heads_do_not_matter(void **state) {
    (void)state;
    if (!gpu) skip();
    const gpu_run_of run = {.type = ALL(BF16)};
    int64_t block = gpu->block;
    for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_EXACT; p <= KD_PRECISION_BF16_STORE; p++) {
            problem x;
            float *out[PARTS];
            shape s = shapes[5];
            s.H = 8, s.G = 4;
            open_shape(&x, &s, p);
            gpu_problem_round(&x, run.type);
            gpu_parts(out, &x);
            gpu->block = 1;  /* one key/value head at a time */
            if (!is_atomic(variant) && gpu_attention(out, gpu, &x, variant, &run)) {
                float *kept = results_of(&x);
                gpu->block = 3 * x.plan.T * 2 / 512 + 1;  /* three, then the last */
                assert_true(gpu_attention(out, gpu, &x, variant, &run));
                /* What float16's gradients are scaled by is a batch's own. */
                nn_assert_same(kept, x.out.f, x.out.from[p == KD_PRECISION_F16_STORE ? PART_DQ : PARTS] * (int64_t)sizeof(float));
                free(kept);
            }
            gpu->block = block;
            problem_free(&x);
        }
}

/* Views of 16 bits, with gaps of any width: to the bit what the widened numbers give, rounded once. */
static void views_of_16_bits_are_the_widened_numbers(void **state) {
    (void)state;
    if (!gpu) skip();
    static const kd_view_type types[][GPU_VIEWS] = {ALL(BF16), ALL(F16), {BF16, F32, F16, F32, F32, F16, F32, BF16}};
    static const int64_t gaps[] = {8, 3, 24};
    static const int view[PARTS] = {3, -1, 5, 6, 7};
    for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++)
        for (int i = 0; i < 3; i++) {
            gpu_run_of narrow = {.gap = gaps[i]}, wide = {.type = ALL(F32), .gap = gaps[i]};
            problem x;
            float *out[PARTS];
            memcpy(narrow.type, types[i], sizeof narrow.type);
            open_shape(&x, &shapes[i == 1 ? 5 : 6], i == 1 ? KD_PRECISION_BF16_STORE : KD_PRECISION_F16_STORE);
            gpu_problem_round(&x, narrow.type);
            gpu_parts(out, &x);
            if (!is_atomic(variant) && gpu_attention(out, gpu, &x, variant, &narrow)) {
                float *kept = results_of(&x);
                double *read = oracle_new(x.out.from[PART_DQ], sizeof *read);  /* the backward reads the rounded output */
                for (int64_t n = 0; n < x.out.from[PART_DQ]; n++) read[n] = kept[n];
                wide.o = read, wide.lse = read + x.out.from[PART_LSE];
                assert_true(gpu_attention(out, gpu, &x, variant, &wide));
                for (int part = 0; part < PARTS; part++)
                    for (int64_t n = x.out.from[part]; n < x.out.from[part + 1]; n++) {
                        float expected = view[part] < 0 ? x.out.f[n] : gpu_as_stored(x.out.f[n], narrow.type[view[part]]);
                        assert_memory_equal(&kept[n], &expected, sizeof expected);
                    }
                free(read);
                free(kept);
            }
            problem_free(&x);
        }
}

/* ---- parts of a window --------------------------------------------------------------------------------------------------------- */

/* Into x->out.d, as much of it as the part has; returns the arrays' beginnings. */
static void define_part(double *d[PARTS], const problem *x, kd_stretch rows, kd_stretch keys, const double *o, const double *lse) {
    kd_attn a = x->a;
    a.rows = rows, a.keys = keys;
    int64_t H = a.H, G = a.G, E = a.E, T = x->plan.T, R = kd_stretch_count(rows), from = rows.from;
    const double *q = x->q + from * H * E, *dout = x->dout + from * H * E, *k = x->k + keys.from * G * E, *v = x->v + keys.from * G * E;
    assert_int_equal(kd_attn_define_forward(d[PART_O], d[PART_LSE], q, k, v, &a), KD_OK);
    double *cut = malloc((size_t)(H * R) * sizeof *cut);
    assert_non_null(cut);
    for (int64_t i = 0; i < H * R; i++) cut[i] = lse[i / R * T + from + i % R];
    assert_int_equal(kd_attn_define_backward(d[PART_DQ], d[PART_DK], d[PART_DV], dout, q, k, v, o + from * H * E, cut, &a), KD_OK);
    free(cut);
}

static void parts_of_a_window_keep_to_the_definition(void **state) {
    (void)state;
    if (!gpu) skip();
    static const struct { int rows_from, rows_to, keys_from, keys_to; } cut[] = {
        {2, 4, 0, 2}, {0, 2, 0, 4}, {1, 3, 1, 4}, {0, 1, 2, 4}, {3, 4, 0, 4}};
    const kd_precision precision[] = {KD_PRECISION_EXACT, KD_PRECISION_F16_STORE, KD_PRECISION_BF16_STORE};
    int64_t bad = 0;
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 5; c++)
            for (int p = 0; p < 3; p++) {
                problem x, whole;
                open_shape(&x, &shapes[i + 3], precision[p]);
                open_shape(&whole, &shapes[i + 3], precision[p]);
                problem_define(&whole);
                int64_t T = x.plan.T, H = x.a.H, G = x.a.G, E = x.a.E;
                gpu_run_of run = {.rows = {T * cut[c].rows_from / 4, T * cut[c].rows_to / 4},
                                  .keys = {T * cut[c].keys_from / 4, T * cut[c].keys_to / 4}, .type = ALL(F32),
                                  .o = whole.out.d, .lse = whole.out.d + whole.out.from[PART_LSE]};
                int64_t R = kd_stretch_count(run.rows), K = kd_stretch_count(run.keys);
                const int64_t count[PARTS] = {R * H * E, R * H, R * H * E, K * G * E, K * G * E};
                double *d[PARTS];
                float *f[PARTS];
                for (int part = 0; part < PARTS; part++) {
                    x.out.from[part + 1] = x.out.from[part] + count[part];
                    d[part] = x.out.d + x.out.from[part], f[part] = x.out.f + x.out.from[part];
                }
                define_part(d, &x, run.rows, run.keys, run.o, run.lse);
                for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++) {
                    if (!gpu_attention(f, gpu, &x, variant, &run)) continue;
                    double most = is_plain(variant) ? 3e-6 : 6e-3;  /* shares of the largest number */
                    for (int part = 0; part < PARTS; part++) {
                        for (int64_t n = 0; n < count[part]; n++)  /* rows that see nothing */
                            if (isinf(d[part][n]) && d[part][n] == f[part][n]) d[part][n] = f[part][n] = 0;
                        error e = part_error(&x, part);
                        if (e.most <= most * (1 + e.size) && e.rms <= most / 3 * (1 + e.size)) continue;
                        print_error("%s, rows %lld..%lld, keys %lld..%lld, %s, %s, %s: off by %.2g of %.2g\n", shapes[i + 3].what,
                                    (long long)run.rows.from, (long long)run.rows.to, (long long)run.keys.from, (long long)run.keys.to,
                                    kd_precision_name(precision[p]), name_of(variant), part_name[part], e.most, e.size);
                        bad++;
                    }
                    define_part(d, &x, run.rows, run.keys, run.o, run.lse);
                }
                problem_free(&x);
                problem_free(&whole);
            }
    assert_int_equal(bad, 0);
}

/* ---- what depends on what ------------------------------------------------------------------------------------------------------- */

/* Frame document, positions reset: the same document in another place and company gives the same bits. */
static void a_documents_output_does_not_know_its_neighbours(void **state) {
    (void)state;
    if (!gpu) skip();
    window first = {.mask = KD_MASK_ANCHOR, .reset = true, .N = 3, .length = {70, 130, 9}, .first_token = {100, 5000, 900}};
    window second = {.mask = KD_MASK_ANCHOR, .reset = true, .N = 2, .length = {130, 41}, .first_token = {5000, 300}};
    const gpu_run_of run = {.type = ALL(F32)};
    for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_EXACT; p <= KD_PRECISION_BF16; p++) {
            enum { H = 2, G = 1, E = 64 };
            problem x, y;
            float *a[PARTS], *b[PARTS];
            problem_init(&x, host, &first, H, G, E, KD_FRAME_DOCUMENT, 2);
            problem_init(&y, host, &second, H, G, E, KD_FRAME_DOCUMENT, 2);
            problem_set_precision(&x, p, FAR);
            problem_set_precision(&y, p, FAR);
            gpu_parts(a, &x);
            gpu_parts(b, &y);
            if (gpu_attention(a, gpu, &x, variant, &run)) {
                assert_true(gpu_attention(b, gpu, &y, variant, &run));
                nn_assert_same(a[PART_O] + x.plan.start[1] * H * E, b[PART_O] + y.plan.start[0] * H * E,
                               130 * H * E * (int64_t)sizeof(float));
                for (int64_t h = 0; h < H; h++)
                    nn_assert_same(a[PART_LSE] + h * x.plan.T + x.plan.start[1], b[PART_LSE] + h * y.plan.T + y.plan.start[0],
                                   130 * (int64_t)sizeof(float));
            }
            problem_free(&x);
            problem_free(&y);
        }
}

static void a_nan_stays_where_it_is_seen(void **state) {
    (void)state;
    if (!gpu) skip();
    window w = {.mask = KD_MASK_DOCUMENT, .N = 2, .length = {60, 60}};
    const gpu_run_of run = {.type = ALL(F32)};
    for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++)
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISION_BF16_EAGER; p++) {
            problem x;
            float *out[PARTS];
            problem_init(&x, host, &w, 1, 1, 64, KD_FRAME_WINDOW, 1);
            problem_set_precision(&x, p, FAR);
            x.q[10 * 64] = NAN;
            gpu_parts(out, &x);
            if (gpu_attention(out, gpu, &x, variant, &run))
                for (int64_t t = 0; t < x.plan.T; t++) {
                    assert_int_equal(isnan(out[PART_O][t * 64]) != 0, t == 10);
                    assert_int_equal(isnan(out[PART_LSE][t]) != 0, t == 10);
                    if (t <= 10) assert_true(isnan(out[PART_DK][t * 64]));
                    if (t >= 60) assert_false(isnan(out[PART_DK][t * 64]));
                }
            problem_free(&x);
        }
}

/* Queries and keys that come rotated are as if all frequencies were 0. */
static void no_rope_is_frequencies_of_zero(void **state) {
    (void)state;
    if (!gpu) skip();
    gpu_run_of run = {.type = ALL(F32)};
    for (int i = 5; i < 7; i++)
        for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISION_BF16_EAGER; p++) {
            problem x;
            float *out[PARTS];
            open_shape(&x, &shapes[i], p);
            memset(x.rope.inv_freq, 0, (size_t)(x.a.E / 2) * sizeof *x.rope.inv_freq);
            gpu_parts(out, &x);
            for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++) {
                run.no_rope = false;
                if (!gpu_attention(out, gpu, &x, variant, &run)) continue;
                float *turned = results_of(&x);
                memset(x.out.f, 0xff, (size_t)x.out.from[PARTS] * sizeof *turned);
                run.no_rope = true;
                assert_true(gpu_attention(out, gpu, &x, variant, &run));
                assert_memory_equal(turned, x.out.f, (size_t)x.out.from[PARTS] * sizeof *turned);
                free(turned);
            }
            problem_free(&x);
        }
}

/* ---- scratch -------------------------------------------------------------------------------------------------------------------- */

/* What any window of as many tokens can need is enough for every one. */
static void scratch_for_any_window_is_enough(void **state) {
    (void)state;
    if (!gpu) skip();
    for (int i = 0; i < SHAPES; i++)
        for (int64_t variant = 0; variant < kd_attn_forward_op.count; variant++) {
            problem x;
            open_shape(&x, &shapes[i], KD_PRECISION_F16_STORE);
            kd_plan none = {.T = x.plan.T};
            kd_attn any = x.a;
            any.plan = &none;
            for (int backward = 0; backward < 2; backward++) {
                const kd_variant *v = &(backward ? &kd_attn_backward_op : &kd_attn_forward_op)->variant[variant];
                if (!kd_isa_serves(gpu->isa, v->isa) || !v->supports(&x.a)) continue;
                int64_t need = v->workspace(gpu, &x.a);
                gpu->measuring = KD_MEASURE_ANY;
                assert_true(v->workspace(gpu, &any) >= need);
                gpu->measuring = KD_MEASURE_NOTHING;
            }
            problem_free(&x);
        }
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(every_variant_keeps_to_the_definition),
        cmocka_unit_test(gradients_may_be_of_any_size),
        cmocka_unit_test(what_float16_cannot_hold_is_kept_in_bf16),
        cmocka_unit_test(a_run_can_be_repeated),
        cmocka_unit_test(batches_of_heads_do_not_matter),
        cmocka_unit_test(views_of_16_bits_are_the_widened_numbers),
        cmocka_unit_test(parts_of_a_window_keep_to_the_definition),
        cmocka_unit_test(a_documents_output_does_not_know_its_neighbours),
        cmocka_unit_test(a_nan_stays_where_it_is_seen),
        cmocka_unit_test(no_rope_is_frequencies_of_zero),
        cmocka_unit_test(scratch_for_any_window_is_enough),
    };
    return cmocka_run_group_tests(test, open_both, close_both);
}

/* The probe beside PyTorch, on the file of tools/gen_golden_probe.py, which computes the same definitions its own way: queries and
 * keys turned at several shifts at every precision, a dump, and two models through all of their layers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attn/attn.h"
#include "format/safetensors.h"
#include "probe/dump.h"
#include "probe/probe_run.h"
#include "probe/tally.h"
#include "scratch.h"

enum { L = 2, H = 4, G = 2, T = 48, E = 32, SHIFTS = 5, PAIRS = 2 * SHIFTS, LENGTHS = 4 };
static const int64_t shifts[SHIFTS] = {0, 5, 16, 1000, 131072};
static kd_tensors file;
static kd_ctx *ctx;

/* A tensor as doubles; free() it. */
static double *doubles(const char *prefix, const char *name, int64_t count) {
    char whole[64];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    const kd_tensor *tensor = kd_tensors_find(&file, whole);
    if (!tensor) fail_msg("golden tensor %s is missing", whole);
    assert_int_equal(tensor->count, count);
    double *x = malloc((size_t)count * sizeof *x);
    if (tensor->dtype == KD_F64) {
        assert_done(kd_tensor_read(x, tensor, 0, count));
        return x;
    }
    float *narrow = malloc((size_t)count * sizeof *narrow);
    assert_done(kd_tensor_read_f32(narrow, tensor, 0, count));
    for (int64_t i = 0; i < count; i++) x[i] = narrow[i];
    free(narrow);
    return x;
}

/* The largest difference, as a share of PyTorch's number; numbers below `floor` are compared with the floor. */
static double worst_of(const double *own, const double *theirs, int64_t count, double floor) {
    double worst = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = fabs(own[i] - theirs[i]) / fmax(fabs(theirs[i]), floor);
        worst = d > worst || isnan(d) ? d : worst;
    }
    return worst;
}

/* [heads, T, E] to [T, heads, E]. */
static float *by_token(const double *x, int64_t heads) {
    float *out = malloc((size_t)(heads * T * E) * sizeof *out);
    for (int64_t h = 0; h < heads; h++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t e = 0; e < E; e++) out[(t * heads + h) * E + e] = (float)x[(h * T + t) * E + e];
    return out;
}

/* ---- queries and keys ------------------------------------------------------------------------------------------- */

/* What one precision makes of the golden queries and keys, by one variant. */
typedef struct isolated { kd_tally tally; double *d, *d_signed; } isolated;

static void measure_layer(isolated *x, kd_precision precision, const kd_variant *variant, int64_t layer, const kd_rope *rope,
                          const double *q, const double *k) {
    int64_t start[2] = {0, T}, base[2] = {0, 2};
    int32_t position[SHIFTS][T], zero[1] = {0};
    kd_plan plan[SHIFTS];
    kd_turned turned[SHIFTS];
    float *queries = by_token(q + layer * H * T * E, H), *keys = by_token(k + layer * G * T * E, G);
    double *sums;
    kd_attn a = {.rope = rope, .precision = precision, .H = H, .G = G, .E = E};
    int64_t W = kd_turned_width(&a);
    for (int s = 0; s < SHIFTS; s++) {
        for (int64_t t = 0; t < T; t++) position[s][t] = (int32_t)(shifts[s] + t);
        plan[s] = (kd_plan){.T = T, .N = 1, .start = start, .position = position[s], .base = zero};
        turned[s] = (kd_turned){malloc((size_t)(H * T * W) * sizeof(float)), malloc((size_t)(G * T * W) * sizeof(float)), NULL};
        a.plan = &plan[s];
        assert_done(kd_turn(ctx, &turned[s], &a, queries, keys));
    }
    kd_drift drift = {.plan = plan, .turned = turned, .shifts = SHIFTS, .base = base, .bases = 2, .H = H, .G = G, .W = W,
                      .scale = 1 / sqrt(E), .eager = kd_rung_of(&a)->eager};
    assert_done(kd_drift_sums(&sums, &drift, T));
    assert_done(kd_op_run_variant(ctx, variant, &drift));
    x->tally.plan = plan;
    kd_tally_add(&x->tally, &drift, layer);
    for (int64_t h = 0; h < H; h++)
        for (int64_t pair = 0; pair < PAIRS; pair++) {
            double *d = x->d + (layer * H + h) * PAIRS + pair, *d_signed = x->d_signed + (layer * H + h) * PAIRS + pair;
            *d = *d_signed = 0;
            for (int64_t j = 0; j < T; j++) {
                *d += drift.key[kd_drift_at(&drift, h, pair) + j] / (double)(T - j);
                *d_signed += fabs(drift.key_signed[kd_drift_at(&drift, h, pair) + j]) / (double)(T - j);
            }
        }
    for (int s = 0; s < SHIFTS; s++) {
        free(turned[s].query);
        free(turned[s].key);
    }
    free(sums);
    free(queries);
    free(keys);
}

/* What PyTorch has under a name, beside this; the worst of all is kept. */
static void beside(double *worst, const char *prefix, const char *name, const double *own, int64_t count, double floor) {
    double *theirs = doubles(prefix, name, count), d = worst_of(own, theirs, count, floor);
    if (!(d <= *worst)) *worst = d;
    free(theirs);
}

static double compare_isolated(kd_precision precision, const kd_variant *variant) {
    double *q = doubles("", "q", L * H * T * E), *k = doubles("", "k", L * G * T * E), *inv_freq = doubles("", "inv_freq", E / 2), worst = 0;
    double d[L * H * PAIRS], d_signed[L * H * PAIRS], logit[LENGTHS];
    isolated x = {.d = d, .d_signed = d_signed};
    char prefix[32];
    kd_rope rope;
    snprintf(prefix, sizeof prefix, "%s.", kd_precision_name(precision));
    assert_done(kd_rope_init_for(&rope, ctx, precision, inv_freq, E, shifts[SHIFTS - 1] + T));
    assert_done(kd_tally_init(&x.tally, L, H, T, SHIFTS, 2, 2));
    for (int64_t l = 0; l < L; l++) measure_layer(&x, precision, variant, l, &rope, q, k);
    for (int i = 0; i < LENGTHS; i++) {
        static const int64_t length[LENGTHS] = {8, 16, 32, 48};
        logit[i] = 0;
        for (int64_t j = 0; j < length[i]; j++) logit[i] += x.tally.first[j] / (double)length[i];
    }
    beside(&worst, prefix, "d", d, L * H * PAIRS, 0x1p-1000);
    beside(&worst, prefix, "d_signed", d_signed, L * H * PAIRS, 0x1p-1000);
    beside(&worst, prefix, "most", x.tally.most, PAIRS, 0x1p-1000);
    beside(&worst, prefix, "key", x.tally.key + 2 * T, T, 0x1p-1000);
    beside(&worst, prefix, "logit", logit, LENGTHS, 0x1p-1000);
    beside(&worst, prefix, "sink", x.tally.sink, L * H, 0x1p-1000);
    kd_tally_free(&x.tally);
    kd_rope_free(&rope, ctx);
    free(inv_freq);
    free(k);
    free(q);
    return worst;
}

static void queries_and_keys_move_as_pytorch_says(void **state) {
    (void)state;
    for (kd_precision p = 0; p < KD_PRECISIONS; p++)
        for (int64_t v = 0; v < kd_drift_op.count; v++) {
            const kd_variant *variant = &kd_drift_op.variant[v];
            if (!kd_isa_serves(ctx->isa, variant->isa) || (p == KD_PRECISION_BF16_EAGER && variant->supports)) continue;
            double worst = compare_isolated(p, variant);
            print_message("%-12s %-6s worst number: %.1e of itself\n", kd_precision_name(p), variant->name, worst);
            assert_true(worst < 1e-8);
        }
}

/* ---- a dump ------------------------------------------------------------------------------------------------------- */

static void a_dump_is_measured_as_pytorch_measures_it(void **state) {
    (void)state;
    kd_dump d;
    kd_probe p = {.texts = 1, .curves = 1, .curve = calloc(1, sizeof *p.curve)};
    double worst = 0;
    assert_done(kd_dump_open(&d, "tests/golden/dump_small.safetensors"));
    assert_int_equal(d.L, 2);
    assert_int_equal(d.H, 4);
    assert_int_equal(d.G, 2);
    assert_int_equal(d.T, 24);
    assert_true(d.scale == 0.3);
    p.grid = (kd_probe_grid){.T = d.T, .shift = calloc(2, sizeof(int64_t)), .shifts = 2, .against = 16, .length = calloc(1, sizeof(int64_t)),
                             .lengths = 1, .longest = d.T};
    p.grid.shift[1] = 16;
    p.grid.length[0] = d.T;
    *p.curve = (kd_probe_curve){.L = d.L, .H = d.H, .E = d.E};
    assert_done(kd_probe_curve_init(p.curve, &p, 1));
    assert_done(kd_probe_dump(p.curve, ctx, &p, &d, 0));
    const kd_probe_numbers *x = p.curve->mode;
    beside(&worst, "dump.", "d", x->head, d.L * d.H, 0x1p-1000);
    beside(&worst, "dump.", "key", x->key, d.T, 0x1p-1000);
    beside(&worst, "dump.", "most", x->most + 1, 1, 0x1p-1000);
    beside(&worst, "dump.", "logit", x->logit, 1, 0x1p-1000);
    beside(&worst, "dump.", "sink", p.curve->sink, d.L * d.H, 0x1p-1000);
    print_message("dump: worst number %.1e of itself\n", worst);
    assert_true(worst < 1e-10);
    double sum = 0;
    for (int64_t i = 0; i < d.L * d.H; i++) sum += x->head[i];
    assert_true(fabs(x->d[1] - sum) < 1e-14 && x->d[0] == 0 && fabs(x->d[2] - sum) < 1e-14 && x->d[3] == 0);
    kd_probe_free(&p);
    kd_dump_close(&d);
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

enum { MODEL_T = 64, MODEL_SHIFTS = 3 };
static const int64_t model_shift[MODEL_SHIFTS] = {0, 16, 4096};

static void probe_model(kd_probe *p, const char *model, kd_precision precision) {
    char folder[64];
    int64_t tokens[MODEL_T];
    int32_t token[MODEL_T];
    kd_config config;
    kd_plan plan;
    kd_progress progress;
    int64_t done = 0;
    snprintf(folder, sizeof folder, "tests/golden/%s", model);
    assert_done(kd_config_open(&config, folder));
    assert_done(kd_tensor_read_i64(tokens, kd_tensors_find(&file, "tokens"), 0, MODEL_T));
    for (int i = 0; i < MODEL_T; i++) token[i] = (int32_t)tokens[i];
    const kd_plan_options options = {.mask = KD_MASK_FULL};
    const kd_piece piece = {.next = -1};
    const kd_chunk chunk = {0, token, MODEL_T, NULL};
    assert_done(kd_plan_init(&plan, &options, &piece, 1, &chunk, 1));
    *p = (kd_probe){.texts = 1, .curves = 1, .curve = calloc(1, sizeof *p->curve)};
    p->grid = (kd_probe_grid){.T = MODEL_T, .shift = calloc(MODEL_SHIFTS, sizeof(int64_t)), .shifts = MODEL_SHIFTS, .against = 16,
                              .longest = MODEL_T};
    memcpy(p->grid.shift, model_shift, sizeof model_shift);
    *p->curve = (kd_probe_curve){.L = config.L, .H = config.H, .E = config.E};
    assert_done(kd_probe_curve_init(p->curve, p, KD_PROBE_MODES));
    const kd_probe_subject subject = {&config, folder, 1, precision, KD_FRAME_WINDOW};
    const kd_probe_texts texts = {&plan, NULL};
    kd_progress_open(&progress, 1);
    assert_done(kd_probe_model(p->curve, ctx, p, &subject, &texts, &progress, &done));
    kd_progress_close(&progress);
    assert_int_equal(done, kd_probe_units(p, &config));
    kd_plan_free(&plan);
    kd_config_close(&config);
}

static void models_move_as_pytorch_says(void **state) {
    (void)state;
    static const char *const model[] = {"llama-plain", "llama-grouped"};
    for (int m = 0; m < 2; m++) {
        kd_probe p;
        char prefix[32];
        probe_model(&p, model[m], KD_PRECISION_F32_ANGLE);
        int64_t heads = p.curve->L * p.curve->H;
        snprintf(prefix, sizeof prefix, "%s.", model[m]);
        double *sink = doubles(prefix, "sink", heads), *d = doubles(prefix, "angles.d", 2 * heads), all[2] = {0, 0};
        for (int64_t i = 0; i < 2 * heads; i++) all[i % 2] += d[i];
        double own = p.curve->mode[KD_PROPAGATED].d[2], sinks = worst_of(p.curve->sink, sink, heads, 1);
        print_message("%-14s sinks: %.1e; D between 0 and 4096: %.6g, PyTorch in double with float32 angles %.6g\n", model[m], sinks, own, all[1]);
        assert_true(sinks < 2e-6);
        assert_true(fabs(own - all[1]) < 5e-3 * all[1]);
        /* Between 0 and 16 float32's own rounding is most of it. */
        double near = p.curve->mode[KD_PROPAGATED].d[1];
        assert_true(near > all[0] / 2 && near < 10 * all[0]);
        free(d);
        free(sink);
        kd_probe_free(&p);

        probe_model(&p, model[m], KD_PRECISION_EXACT);
        sink = doubles(prefix, "exact.sink", heads);
        assert_true(worst_of(p.curve->sink, sink, heads, 1) < 2e-6);
        print_message("%-14s exact: D between 0 and 4096: %.2g\n", model[m], p.curve->mode[KD_PROPAGATED].d[2]);
        assert_true(p.curve->mode[KD_PROPAGATED].d[2] < all[1] / 10);
        free(sink);
        kd_probe_free(&p);
    }
}

static int open_all(void **state) {
    (void)state;
    kd_log_level(KD_WARN);
    return kd_ctx_open(&ctx, 2) || kd_tensors_open(&file, "tests/golden/probe.safetensors");
}

static int close_all(void **state) {
    (void)state;
    kd_tensors_close(&file);
    kd_ctx_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries_and_keys_move_as_pytorch_says),
        cmocka_unit_test(a_dump_is_measured_as_pytorch_measures_it),
        cmocka_unit_test(models_move_as_pytorch_says),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}

/* The probe's own properties: variants agree, layers walked one by one are the model, and what must not move does not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "model/model_state.h"
#include "model/walk.h"
#include "probe/drift.h"
#include "probe/probe_run.h"
#include "scratch.h"

static kd_ctx *ctx;

static float normal(uint64_t stream, int64_t i) { return (float)kd_random_normal(7, stream, (uint64_t)i); }

/* ---- the operation ------------------------------------------------------------------------------------------------ */

typedef struct shape { int64_t T, N, anchors, H, G, W, shifts; } shape;

/* Random kept queries and keys, a little apart at each shift. */
static void make_turned(kd_turned *turned, const shape *s) {
    int64_t groups = kd_drift_groups(s->T), keys = s->G * groups * s->W * KD_DRIFT_KEYS, queries = s->H * s->T * s->W;
    for (int64_t i = 0; i < s->shifts; i++) {
        turned[i] = (kd_turned){malloc((size_t)queries * sizeof(float)), malloc((size_t)keys * sizeof(float)),
                                s->anchors ? malloc((size_t)(s->H * s->T) * sizeof(double)) : NULL};
        for (int64_t j = 0; j < queries; j++) turned[i].query[j] = normal(1, j) + 0.01f * normal(10 + (uint64_t)i, j);
        /* Keys behind the last token are poison: nobody may look at them. */
        for (int64_t j = 0; j < keys; j++) {
            int64_t key = j / (s->W * KD_DRIFT_KEYS) % groups * KD_DRIFT_KEYS + j % KD_DRIFT_KEYS;
            turned[i].key[j] = key < s->T ? normal(2, j) + 0.01f * normal(50 + (uint64_t)i, j) : NAN;
        }
        for (int64_t j = 0; s->anchors && j < s->H * s->T; j++) turned[i].anchor[j] = normal(3, j) + 0.01 * normal(90 + (uint64_t)i, j);
    }
}

static double worst(const double *x, const double *y, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(x[i] - y[i]) / fmax(1e-3, fabs(y[i]));
        if (!(d <= most)) most = d;
    }
    return most;
}

static void check_shape(const shape *s) {
    int64_t start[8], base[2] = {0, s->shifts - 1}, pairs = 2 * s->shifts, n = s->H * pairs * s->T;
    kd_turned turned[4];
    for (int64_t i = 0; i <= s->N; i++) start[i] = s->anchors + (s->T - s->anchors) * i * i / (s->N * s->N);
    const kd_plan plan = {.T = s->T, .N = s->N, .anchors = s->anchors, .start = start};
    kd_drift d = {.plan = &plan, .turned = turned, .shifts = s->shifts, .base = base, .bases = 2, .H = s->H, .G = s->G, .W = s->W, .scale = 0.2};
    double *sums[2];
    make_turned(turned, s);
    assert_done(kd_drift_sums(&sums[0], &d, s->T));
    assert_done(kd_op_run_variant(ctx, &kd_drift_op.variant[kd_drift_op.count - 1], &d));
    for (int64_t v = 0; v + 1 < kd_drift_op.count; v++) {
        if (!kd_isa_serves(ctx->isa, kd_drift_op.variant[v].isa)) continue;
        kd_drift other = d;
        assert_done(kd_drift_sums(&sums[1], &other, s->T));
        for (int64_t i = 0; i < 3 * n + s->H * (pairs + 1); i++) sums[1][i] = NAN;
        assert_done(kd_op_run_variant(ctx, &kd_drift_op.variant[v], &other));
        double off = worst(sums[1], sums[0], 3 * n + s->H * (pairs + 1));
        if (!(off < 1e-12)) fail_msg("%s, T %lld N %lld anchors %lld: %g", kd_drift_op.variant[v].name, (long long)s->T, (long long)s->N,
                                     (long long)s->anchors, off);
        free(sums[1]);
    }
    free(sums[0]);
    for (int64_t i = 0; i < s->shifts; i++) {
        free(turned[i].query);
        free(turned[i].key);
        free(turned[i].anchor);
    }
}

static void variants_agree(void **state) {
    (void)state;
    static const shape shapes[] = {{1, 1, 0, 1, 1, 2, 2},   {2, 1, 0, 2, 1, 6, 3},   {33, 1, 0, 2, 2, 16, 2}, {40, 3, 0, 4, 2, 8, 4},
                                   {41, 3, 1, 4, 1, 32, 3}, {9, 4, 1, 2, 1, 4, 2},   {64, 5, 1, 2, 2, 10, 2}, {130, 2, 0, 3, 1, 12, 3}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_shape(&shapes[i]);
}

/* A query, a key, or logits beyond double: what sees them has no number, at any variant, and nothing else. */
static void what_is_not_finite_is_never_a_number(void **state) {
    (void)state;
    const shape s = {41, 3, 0, 2, 1, 4, 2};
    for (int what = 0; what < 3; what++) {
        int64_t start[] = {0, 4, 22, 41}, base[2] = {0, 1}, pairs = 4, n = s.H * pairs * s.T;
        kd_turned turned[2];
        const kd_plan plan = {.T = s.T, .N = s.N, .start = start};
        kd_drift d = {.plan = &plan, .turned = turned, .shifts = 2, .base = base, .bases = 2, .H = s.H, .G = s.G, .W = s.W, .scale = 0.2};
        double *sums[2];
        make_turned(turned, &s);
        if (what == 0) turned[1].query[20 * s.W] = NAN;
        if (what == 1) turned[1].key[2 * s.W * KD_DRIFT_KEYS + 3] = INFINITY;
        if (what == 2) d.scale = 1e308, turned[0].query[30 * s.W] = 1e30f;
        for (int64_t v = kd_drift_op.count - 1; v >= 0; v--) {
            double **out = &sums[v + 1 < kd_drift_op.count];
            if (!kd_isa_serves(ctx->isa, kd_drift_op.variant[v].isa)) continue;
            assert_done(kd_drift_sums(out, &d, s.T));
            assert_done(kd_op_run_variant(ctx, &kd_drift_op.variant[v], &d));
            int64_t none = 0;
            for (int64_t i = 0; i < n; i++) {
                none += isnan((*out)[i]) != 0;
                if (!isnan((*out)[i]) != !isnan(sums[0][i]))
                    fail_msg("%d: %s: number %lld is %g, not %g", what, kd_drift_op.variant[v].name, (long long)i, (*out)[i], sums[0][i]);
            }
            assert_true(none > 0 && none < n);
            if (out != sums) free(*out);
        }
        free(sums[0]);
        for (int64_t i = 0; i < s.shifts; i++) {
            free(turned[i].query);
            free(turned[i].key);
        }
    }
}

/* ---- models ------------------------------------------------------------------------------------------------------- */

enum { T = 40, SHIFTS = 4 };
static const char model[] = "tests/golden/llama-grouped";

/* Documents of 7, 1 and what is left, each with its own positions; mask anchor: behind a shared anchor. */
static void make_plan(kd_plan *plan, kd_mask mask, const kd_config *config) {
    int32_t token[T];
    int64_t length[3] = {7, 1, T - 8 - (mask == KD_MASK_ANCHOR)};
    const kd_plan_options options = {.mask = mask, .bos = 1};
    const kd_piece piece[3] = {{.next = -1}, {.next = -1}, {.next = -1}};
    kd_chunk chunk[3];
    for (int64_t i = 0; i < T; i++) token[i] = (int32_t)(kd_random_bits(3, 0, (uint64_t)i) % (uint64_t)config->V);
    for (int64_t n = 0, at = 0; n < 3; at += length[n++]) chunk[n] = (kd_chunk){n, token + at, length[n], NULL};
    assert_done(kd_plan_init(plan, &options, piece, 3, chunk, 3));
    assert_int_equal(plan->T, T);
}

static void layers_walked_one_by_one_are_the_model(void **state) {
    (void)state;
    kd_config config;
    kd_plan plan;
    kd_walk walk;
    kd_model *whole;
    assert_done(kd_config_open(&config, model));
    make_plan(&plan, KD_MASK_DOCUMENT, &config);
    const kd_walk_options options = {T, T + 1, KD_FRAME_WINDOW, KD_PRECISION_BF16_STORE};
    const kd_model_options all = {.window = T, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_WINDOW,
                                  .precision = KD_PRECISION_BF16_STORE, .training = true};
    const kd_plan *one = &plan;
    assert_done(kd_model_open(&whole, ctx, &config, &all));
    assert_done(kd_model_load(whole, model));
    assert_done(kd_model_forward(whole, &one, 1, 0));
    assert_done(kd_walk_open(&walk, ctx, &config, model, 0, &options));
    float *x = malloc((size_t)(T * config.C) * sizeof *x), *q = malloc((size_t)(T * config.H * config.E) * sizeof *q);
    assert_done(kd_walk_embed(x, &walk, plan.token));
    for (int64_t l = 0; l < config.L; l++) {
        assert_memory_equal(x, kd_layer_input(whole, l).data, (size_t)(T * config.C) * sizeof *x);
        assert_done(kd_walk_load(&walk, l));
        assert_done(kd_walk_project(q, NULL, &walk, x, &plan));
        assert_done(kd_walk_finish(x, &walk));
    }
    assert_memory_equal(x, kd_layer_input(whole, config.L).data, (size_t)(T * config.C) * sizeof *x);
    free(q);
    free(x);
    kd_walk_close(&walk);
    kd_model_close(whole);
    kd_plan_free(&plan);
    kd_config_close(&config);
}

/* Probes tests/golden's model, or a fresh one of its shape. */
static void probe(kd_probe *p, const kd_plan *plan, const kd_plan *longer, int64_t tokens, bool fresh, kd_precision precision, kd_frame frame) {
    static const int64_t shift[SHIFTS] = {0, 3, 16, 131072}, length[3] = {8, 20, T};
    kd_config config;
    kd_progress progress;
    int64_t done = 0;
    assert_done(kd_config_open(&config, model));
    *p = (kd_probe){.texts = 1, .curves = 1, .curve = calloc(1, sizeof *p->curve)};
    p->grid = (kd_probe_grid){.T = tokens, .shift = malloc(sizeof shift), .shifts = SHIFTS, .against = 16, .length = malloc(sizeof length),
                              .lengths = 3, .longest = T};
    memcpy(p->grid.shift, shift, sizeof shift);
    memcpy(p->grid.length, length, sizeof length);
    *p->curve = (kd_probe_curve){.L = config.L, .H = config.H, .E = config.E};
    assert_done(kd_probe_curve_init(p->curve, p, KD_PROBE_MODES));
    const kd_probe_subject subject = {&config, fresh ? NULL : model, 5, precision, frame};
    const kd_probe_texts texts = {plan, longer};
    kd_progress_open(&progress, 1);
    assert_done(kd_probe_model(p->curve, ctx, p, &subject, &texts, &progress, &done));
    kd_progress_close(&progress);
    assert_int_equal(done, kd_probe_units(p, &config));
    kd_config_close(&config);
}

static kd_plan planned(kd_mask mask) {
    kd_config config;
    kd_plan plan;
    assert_done(kd_config_open(&config, model));
    make_plan(&plan, mask, &config);
    kd_config_close(&config);
    return plan;
}

/* Fact 6: whole documents may be moved anywhere. */
static void in_frame_document_nothing_moves(void **state) {
    (void)state;
    for (int mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++)
        for (kd_precision precision = 0; precision < KD_PRECISIONS; precision++) {
            kd_plan plan = planned((kd_mask)mask);
            kd_probe p;
            probe(&p, &plan, NULL, T, false, precision, KD_FRAME_DOCUMENT);
            for (int m = 0; m < KD_PROBE_MODES; m++)
                for (int64_t pair = 0; pair < kd_probe_pairs(&p.grid); pair++) {
                    assert_true(p.curve->mode[m].d[pair] == 0);
                    assert_true(p.curve->mode[m].most[pair] == 0);
                }
            assert_true(p.curve->sink[0] > 0 && p.curve->sink[0] < 1);
            kd_probe_free(&p);
            kd_plan_free(&plan);
        }
}

static void in_frame_window_rounding_moves_attention(void **state) {
    (void)state;
    for (int mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++) {
        kd_plan plan = planned((kd_mask)mask);
        kd_probe exact, bf16;
        probe(&exact, &plan, NULL, T, false, KD_PRECISION_EXACT, KD_FRAME_WINDOW);
        probe(&bf16, &plan, NULL, T, false, KD_PRECISION_BF16, KD_FRAME_WINDOW);
        for (int m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t s = 0; s < SHIFTS; s++)
                for (int64_t b = 0; b < KD_PROBE_BASES; b++) {
                    double d = bf16.curve->mode[m].d[b * SHIFTS + s], little = exact.curve->mode[m].d[b * SHIFTS + s];
                    bool same = s == (b ? 2 : 0);
                    assert_true(same ? d == 0 && little == 0 : d > 500 * little && little > 0);
                    assert_true(bf16.curve->mode[m].d_signed[b * SHIFTS + s] <= d * (1 + 1e-12));
                    assert_true(bf16.curve->mode[m].rows[b * SHIFTS + s] < 2);
                }
        kd_probe_free(&exact);
        kd_probe_free(&bf16);
        kd_plan_free(&plan);
    }
}

/* A text's beginning is a text: D_logit of short lengths comes out of a longer run, and the same out of a run of its own. */
static void lengths_are_prefixes(void **state) {
    (void)state;
    kd_plan plan = planned(KD_MASK_FULL), prefix = planned(KD_MASK_FULL);
    kd_probe whole, parted;
    prefix.T = prefix.start[1] = 20;
    probe(&whole, &plan, NULL, T, false, KD_PRECISION_BF16, KD_FRAME_WINDOW);
    probe(&parted, &prefix, &plan, 20, false, KD_PRECISION_BF16, KD_FRAME_WINDOW);
    for (int m = 0; m < KD_PROBE_MODES; m++)
        for (int i = 0; i < 3; i++) {
            assert_true(whole.curve->mode[m].logit[i] > 0);
            assert_true(whole.curve->mode[m].logit[i] == parted.curve->mode[m].logit[i]);
        }
    kd_probe_free(&whole);
    kd_probe_free(&parted);
    kd_plan_free(&plan);
    kd_plan_free(&prefix);
}

static void a_fresh_model_is_the_seeds(void **state) {
    (void)state;
    kd_plan plan = planned(KD_MASK_FULL);
    kd_probe one, two;
    probe(&one, &plan, NULL, T, true, KD_PRECISION_BF16, KD_FRAME_WINDOW);
    probe(&two, &plan, NULL, T, true, KD_PRECISION_BF16, KD_FRAME_WINDOW);
    assert_true(one.curve->mode[0].d[2] > 0 && one.curve->mode[0].d[2] == two.curve->mode[0].d[2]);
    kd_probe_free(&one);
    kd_probe_free(&two);
    kd_plan_free(&plan);
}

static int open_all(void **state) {
    (void)state;
    kd_log_level(KD_WARN);
    return kd_ctx_open(&ctx, 2);
}

static int close_all(void **state) {
    (void)state;
    kd_ctx_close(ctx);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variants_agree),
        cmocka_unit_test(what_is_not_finite_is_never_a_number),
        cmocka_unit_test(layers_walked_one_by_one_are_the_model),
        cmocka_unit_test(in_frame_document_nothing_moves),
        cmocka_unit_test(in_frame_window_rounding_moves_attention),
        cmocka_unit_test(lengths_are_prefixes),
        cmocka_unit_test(a_fresh_model_is_the_seeds),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}

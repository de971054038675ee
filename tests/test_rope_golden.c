/* The ladder beside PyTorch, on the file of tools/gen_golden_rope.py: angles, tables, what is kept, eager logits and
 * probabilities. What is elementwise is the same to the bit; how often the rest differs is printed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attn/attn.h"
#include "format/safetensors.h"
#include "model/rope_config.h"
#include "scratch.h"

static kd_tensors file;
static const char *const kinds[] = {"default", "llama3", "yarn"};
enum { KINDS = 3 };

static const kd_tensor *find(const char *kind, const char *name) {
    char whole[64];
    snprintf(whole, sizeof whole, "%s.%s", kind, name);
    const kd_tensor *tensor = kd_tensors_find(&file, whole);
    if (!tensor) fail_msg("golden tensor %s is missing", whole);
    return tensor;
}

/* A tensor of any of the floating types, widened; free() it. */
static float *floats(const char *kind, const char *name) {
    const kd_tensor *tensor = find(kind, name);
    float *x = malloc((size_t)tensor->count * sizeof *x);
    assert_done(kd_tensor_read_f32(x, tensor, 0, tensor->count));
    return x;
}

/* One kind's rows. */
typedef struct rows { const char *kind; int64_t P, E; int64_t *position; float *inv_freq; } rows;

static rows rows_of(const char *kind) {
    const kd_tensor *q = find(kind, "q");
    rows r = {kind, q->shape[0], q->shape[1], malloc((size_t)q->shape[0] * sizeof(int64_t)), floats(kind, "inv_freq")};
    assert_done(kd_tensor_read_i64(r.position, find(kind, "positions"), 0, r.P));
    return r;
}

static void free_rows(rows *r) {
    free(r->position);
    free(r->inv_freq);
}

/* Distance in units in the last place of a type with so many bits of significand, where y is. */
static double units(float x, float y, int bits) {
    int exponent;
    frexpf(fmaxf(fabsf(x), fabsf(y)), &exponent);
    return x == y ? 0 : fabs((double)x - (double)y) / ldexp(1, exponent - bits);
}

/* At most one unit between them; returns how many differ. */
static int64_t compare(const float *x, const float *y, int64_t n, int bits) {
    int64_t different = 0;
    for (int64_t i = 0; i < n; i++) {
        different += x[i] != y[i];
        if (!(units(x[i], y[i], bits) <= 1)) fail_msg("number %lld: %.9g, PyTorch has %.9g", (long long)i, x[i], y[i]);
    }
    return different;
}

static void say(const char *what, int64_t different, int64_t of) {
    print_message("%-34s %5lld of %5lld differ, by one unit\n", what, (long long)different, (long long)of);
}

static void frequencies_and_angles_are_pytorchs(void **state) {
    (void)state;
    int64_t different = 0, of = 0;
    for (int i = 0; i < KINDS; i++) {
        static const kd_rope_config config[KINDS] = {
            {.type = KD_ROPE_DEFAULT, .theta = 5e6},
            {.type = KD_ROPE_LLAMA3, .theta = 5e5, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original = 8192},
            {.type = KD_ROPE_YARN, .theta = 1e4, .factor = 32, .original = 4096, .beta_fast = 32, .beta_slow = 1, .truncate = 1}};
        rows r = rows_of(kinds[i]);
        double made[KD_ROPE_PAIRS];
        float own[KD_ROPE_PAIRS], *angle = floats(kinds[i], "angles");
        kd_rope_frequencies(made, &config[i], r.E, 131072);
        for (int64_t e = 0; e < r.E / 2; e++) own[e] = (float)made[e];
        different += compare(own, r.inv_freq, r.E / 2, 24);
        of += r.E / 2;
        for (int64_t t = 0; t < r.P; t++)
            for (int64_t e = 0; e < r.E / 2; e++) {
                float exact = (float)((double)r.position[t] * (double)r.inv_freq[e]);
                assert_memory_equal(&exact, angle + t * r.E / 2 + e, sizeof exact);
            }
        free(angle);
        free_rows(&r);
    }
    say("inverse frequencies", different, of);
}

static void tables_are_pytorchs_to_a_unit(void **state) {
    (void)state;
    static const struct { const char *what, *cosine, *sine; kd_angles angles; int bits; double most; } table[] = {
        {"cosines and sines, double angles", "cos_exact", "sin_exact", KD_ANGLES_DOUBLE, 24, 0},
        {"float32", "cos", "sin", KD_ANGLES_F32, 24, 0.15},
        {"bf16", "cos_bf16", "sin_bf16", KD_ANGLES_BF16, 8, 0.001},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        int64_t different = 0, of = 0;
        for (int i = 0; i < KINDS; i++) {
            rows r = rows_of(kinds[i]);
            int64_t n = r.P * r.E / 2;
            float *cosine = floats(kinds[i], table[k].cosine), *sine = floats(kinds[i], table[k].sine);
            float *own = malloc((size_t)(2 * n) * sizeof *own);
            for (int64_t j = 0; j < n; j++)
                kd_rope_entry(own + j, own + n + j, table[k].angles, r.inv_freq[j % (r.E / 2)], r.position[j / (r.E / 2)]);
            different += compare(own, cosine, n, table[k].bits) + compare(own + n, sine, n, table[k].bits);
            of += 2 * n;
            free(own);
            free(cosine);
            free(sine);
            free_rows(&r);
        }
        say(table[k].what, different, of);
        assert_true((double)different <= table[k].most * (double)of);
    }
}

/* Given PyTorch's tables, every rung keeps PyTorch's bits. */
static void what_is_kept_is_pytorchs_to_the_bit(void **state) {
    (void)state;
    static const struct { kd_precision precision; const char *cosine, *sine, *x, *kept, *low; } rung[] = {
        {KD_PRECISION_F32_ANGLE, "cos", "sin", "q", "q_f32", NULL},
        {KD_PRECISION_F32_ANGLE, "cos", "sin", "k", "k_f32", NULL},
        {KD_PRECISION_SPLIT, "cos_exact", "sin_exact", "q", "q_high", "q_low"},
        {KD_PRECISION_F16_STORE, "cos_exact", "sin_exact", "q", "q_f16_store", NULL},
        {KD_PRECISION_BF16_STORE, "cos", "sin", "q", "q_bf16_store", NULL},
        {KD_PRECISION_BF16, "cos_bf16", "sin_bf16", "q", "q_bf16", NULL},
        {KD_PRECISION_BF16, "cos_bf16", "sin_bf16", "k", "k_bf16", NULL},
        {KD_PRECISION_BF16_EAGER, "cos_bf16", "sin_bf16", "q", "q_bf16", NULL},
    };
    for (size_t k = 0; k < sizeof rung / sizeof *rung; k++)
        for (int i = 0; i < KINDS; i++) {
            rows r = rows_of(kinds[i]);
            int64_t half = r.E / 2;
            size_t bytes = (size_t)r.E * sizeof(float);
            float *cosine = floats(kinds[i], rung[k].cosine), *sine = floats(kinds[i], rung[k].sine);
            float *x = floats(kinds[i], rung[k].x), *kept = floats(kinds[i], rung[k].kept);
            float *low = rung[k].low ? floats(kinds[i], rung[k].low) : NULL;
            for (int64_t t = 0; t < r.P; t++) {
                float row[KD_HEAD_MOST], out[KD_HEAD_MOST], rest[KD_HEAD_MOST];
                memcpy(row, cosine + t * half, bytes / 2);
                memcpy(row + half, sine + t * half, bytes / 2);
                assert_true(kd_rung_turn(out, rest, x + t * r.E, row, 1, r.E, &kd_ladder[rung[k].precision]));
                assert_memory_equal(out, kept + t * r.E, bytes);
                if (low) assert_memory_equal(rest, low + t * r.E, bytes);
            }
            free(cosine);
            free(sine);
            free(x);
            free(kept);
            free(low);
            free_rows(&r);
        }
}

/* Products of matrices and exponentials are sums and functions that two libraries round differently; logits are not. */
static void eager_logits_and_probabilities_are_pytorchs(void **state) {
    (void)state;
    int64_t products = 0, probabilities = 0, of = 0;
    for (int i = 0; i < KINDS; i++) {
        rows r = rows_of(kinds[i]);
        float *q = floats(kinds[i], "q_bf16"), *k = floats(kinds[i], "k_bf16"), *product = floats(kinds[i], "product");
        float *logit = floats(kinds[i], "logits"), *want = floats(kinds[i], "probabilities"), scale = (float)(1 / sqrt((double)r.E));
        for (int64_t t = 0; t < r.P; t++) {
            float own[KD_HEAD_MOST], sum = 0, max = -INFINITY;
            for (int64_t j = 0; j < r.P; j++) {
                float dot = 0, made = kd_eager_logit(product[t * r.P + j], scale);
                for (int64_t e = 0; e < r.E; e++) dot += q[t * r.E + e] * k[j * r.E + e];
                own[j] = kd_eager_logit(dot, 1);
                assert_memory_equal(&made, logit + t * r.P + j, sizeof made);
            }
            products += compare(own, product + t * r.P, r.P, 8);
            for (int64_t j = 0; j <= t; j++) max = fmaxf(max, logit[t * r.P + j]);
            for (int64_t j = 0; j <= t; j++) sum += own[j] = expf(logit[t * r.P + j] - max);
            for (int64_t j = 0; j < r.P; j++) own[j] = j <= t ? kd_eager_probability(own[j] / sum) : 0;
            probabilities += compare(own, want + t * r.P, r.P, 8);
            of += r.P;
        }
        free(q);
        free(k);
        free(product);
        free(logit);
        free(want);
        free_rows(&r);
    }
    say("bf16 products q.k", products, of);
    say("bf16 probabilities", probabilities, of);
    assert_true(products <= of / 100 && probabilities <= of / 100);
}

/* Attention as a whole, from q, k and v to what it returns. Where a table or a logit is one unit off, so is the result. */
static void eager_attention_is_pytorchs(void **state) {
    (void)state;
    kd_ctx *ctx;
    assert_done(kd_ctx_open(&ctx, 1));
    for (int i = 0; i < KINDS; i++) {
        rows r = rows_of(kinds[i]);
        float *q = floats(kinds[i], "q"), *k = floats(kinds[i], "k"), *v = floats(kinds[i], "v"), *out = floats(kinds[i], "out");
        float *o = malloc((size_t)(r.P * r.E) * sizeof *o), *lse = malloc((size_t)r.P * sizeof *lse);
        double inv_freq[KD_ROPE_PAIRS], most = 0, size = 0;
        int64_t start[2] = {0, r.P};
        int32_t position[256], base[1] = {0};
        for (int64_t e = 0; e < r.E / 2; e++) inv_freq[e] = r.inv_freq[e];
        for (int64_t t = 0; t < r.P; t++) position[t] = (int32_t)r.position[t];
        kd_plan plan = {.T = r.P, .N = 1, .start = start, .position = position, .base = base};
        kd_rope rope;
        assert_done(kd_rope_init_for(&rope, ctx, KD_PRECISION_BF16_EAGER, inv_freq, r.E, 131072));
        kd_attn a = {.plan = &plan, .rope = &rope, .frame = KD_FRAME_WINDOW, .precision = KD_PRECISION_BF16_EAGER, .H = 1,
                     .G = 1, .E = r.E, .q = kd_view_heads(q, 1, r.E), .k = kd_view_heads(k, 1, r.E),
                     .v = kd_view_heads(v, 1, r.E), .o = kd_view_heads(o, 1, r.E), .lse = lse};
        assert_done(kd_attn_forward(ctx, &a));
        for (int64_t j = 0; j < r.P * r.E; j++) {
            most = fmax(most, fabs((double)o[j] - (double)out[j]));
            size = fmax(size, fabs((double)out[j]));
        }
        print_message("%-8s attention: max|d|/max %.2g, of which PyTorch's output in bf16 makes up to %.2g\n", kinds[i], most / size,
                      0x1p-8);
        assert_true(most <= 0x1p-8 * size);
        kd_rope_free(&rope, ctx);
        free(q);
        free(k);
        free(v);
        free(o);
        free(lse);
        free(out);
        free_rows(&r);
    }
    kd_ctx_close(ctx);
}

static int open_file(void **state) {
    (void)state;
    return kd_tensors_open(&file, "tests/golden/rope.safetensors");
}

static int close_file(void **state) {
    (void)state;
    kd_tensors_close(&file);
    return 0;
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(frequencies_and_angles_are_pytorchs),
        cmocka_unit_test(tables_are_pytorchs_to_a_unit),
        cmocka_unit_test(what_is_kept_is_pytorchs_to_the_bit),
        cmocka_unit_test(eager_logits_and_probabilities_are_pytorchs),
        cmocka_unit_test(eager_attention_is_pytorchs),
    };
    return cmocka_run_group_tests(test, open_file, close_file);
}

/* What the tests of src/nn share: buffers between canaries, numbers, and runs of one variant on a poisoned workspace. */
#ifndef NN_TEST_H
#define NN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn_ops.h"

#define CANARY 32 /* bytes before and after a buffer */
enum { TAKEN_MOST = 256 };
static struct { char *memory; int64_t bytes; } nn_taken[TAKEN_MOST];
static int nn_taken_count;
static uint64_t nn_seed = 1;

/* `bytes` bytes of 0xff, which are NaN as float and as double, until nn_drop. */
static inline void *nn_take(int64_t bytes) {
    assert_true(nn_taken_count < TAKEN_MOST);
    char *memory = malloc((size_t)bytes + 2 * CANARY);
    assert_non_null(memory);
    memset(memory, 0x5a, (size_t)bytes + 2 * CANARY);
    nn_taken[nn_taken_count].memory = memory;
    nn_taken[nn_taken_count++].bytes = bytes;
    return memset(memory + CANARY, 0xff, (size_t)bytes);
}

/* Frees every buffer; fails if something was written beside one. */
static inline void nn_drop(void) {
    while (nn_taken_count) {
        char *memory = nn_taken[--nn_taken_count].memory;
        for (int64_t i = 0; i < CANARY; i++) {
            assert_int_equal(memory[i], 0x5a);
            assert_int_equal(memory[CANARY + nn_taken[nn_taken_count].bytes + i], 0x5a);
        }
        free(memory);
    }
}

static inline float *nn_floats(int64_t n) { return nn_take(n * (int64_t)sizeof(float)); }
static inline double *nn_doubles(int64_t n) { return nn_take(n * (int64_t)sizeof(double)); }

/* Uniform in -scale .. scale. */
static inline float *nn_random(int64_t n, float scale) {
    float *x = nn_floats(n);
    for (int64_t i = 0; i < n; i++) {
        nn_seed = nn_seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = scale * ((float)(nn_seed >> 40) / 8388608.0f - 1.0f);
    }
    return x;
}

static inline float *nn_copy(const float *x, int64_t n) { return memcpy(nn_floats(n), x, (size_t)n * sizeof *x); }

static inline void nn_assert_same(const void *a, const void *b, int64_t bytes) { assert_memory_equal(a, b, (size_t)bytes); }

static inline kd_ctx *nn_open(int64_t threads) {
    kd_ctx *ctx;
    if (kd_ctx_open(&ctx, threads)) fail_msg("%s", kd_message());
    return ctx;
}

/* Runs a variant with scratch full of NaN; false: this machine or KEDGE_ISA does not allow it, or it is not for these arguments. */
static inline bool nn_run(kd_ctx *ctx, const kd_variant *variant, const void *args) {
    if (!kd_isa_serves(ctx->isa, variant->isa) || (variant->supports && !variant->supports(args))) return false;
    int64_t need = variant->workspace ? variant->workspace(ctx, args) : 0;
    assert_int_equal(kd_ctx_reserve(ctx, need), KD_OK);
    if (ctx->scratch) memset(ctx->scratch, 0xff, (size_t)ctx->scratch_bytes);
    if (kd_op_run_variant(ctx, variant, args)) fail_msg("%s: %s", variant->name, kd_message());
    return true;
}

#endif

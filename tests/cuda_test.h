/* What the tests of CUDA share: a context on the GPU, or on the one that the host plays (make CUDA=simulated), and arrays on it between
 * canaries. Where there is neither, a test that asks for a context is skipped, with the reason. */
#ifndef CUDA_TEST_H
#define CUDA_TEST_H

#include "base/half.h"
#include "nn_test.h"

#define GPU_CANARY 256 /* bytes before and after an array: it stays aligned as memory of the device is */
static struct { char *memory; int64_t bytes; } gpu_taken[TAKEN_MOST];
static int gpu_taken_count;

static inline void gpu_done(kd_status status) {
    if (status) fail_msg("%s", kd_message());
}

static inline kd_ctx *gpu_open(void) {
    kd_ctx *ctx = NULL;
    kd_status status = kd_ctx_open_device(&ctx, "cuda", 2);
    if (status == KD_ENOTSUP) {
        print_message("skipped: %s\n", kd_message());
        skip();
    }
    gpu_done(status);
    return ctx;
}

static inline void gpu_fill(kd_ctx *ctx, void *to, int byte, int64_t bytes) {
    char *host = malloc((size_t)bytes);
    assert_non_null(host);
    memset(host, byte, (size_t)bytes);
    gpu_done(ctx->device->put(ctx, to, host, bytes));
    free(host);
}

/* `bytes` bytes of 0xff, which are NaN in every type, until gpu_drop. */
static inline void *gpu_take(kd_ctx *ctx, int64_t bytes) {
    void *memory;
    assert_true(gpu_taken_count < TAKEN_MOST);
    gpu_done(ctx->device->alloc(ctx, &memory, bytes + 2 * GPU_CANARY));
    gpu_taken[gpu_taken_count].memory = memory;
    gpu_taken[gpu_taken_count++].bytes = bytes;
    gpu_fill(ctx, memory, 0x5a, bytes + 2 * GPU_CANARY);
    gpu_fill(ctx, (char *)memory + GPU_CANARY, 0xff, bytes);
    return (char *)memory + GPU_CANARY;
}

/* Gives every array back; fails if something was written beside one. */
static inline void gpu_drop(kd_ctx *ctx) {
    char beside[2 * GPU_CANARY];
    while (gpu_taken_count) {
        char *memory = gpu_taken[--gpu_taken_count].memory;
        int64_t bytes = gpu_taken[gpu_taken_count].bytes;
        gpu_done(ctx->device->get(ctx, beside, memory, GPU_CANARY));
        gpu_done(ctx->device->get(ctx, beside + GPU_CANARY, memory + GPU_CANARY + bytes, GPU_CANARY));
        for (int64_t i = 0; i < 2 * GPU_CANARY; i++) assert_int_equal(beside[i], 0x5a);
        ctx->device->release(ctx, memory, bytes + 2 * GPU_CANARY);
    }
}

static inline void *gpu_put(kd_ctx *ctx, const void *host, int64_t bytes) {
    void *memory = gpu_take(ctx, bytes);
    gpu_done(ctx->device->put(ctx, memory, host, bytes));
    return memory;
}

/* ---- arrays of a type ---------------------------------------------------------------------------------------------------------- */

static inline float gpu_as_stored(float x, kd_view_type type) {
    if (type == KD_VIEW_BF16) return kd_bf16_widen(kd_bf16_round(x));
    return type == KD_VIEW_F16 ? kd_f16_widen(kd_f16_round(x)) : x;
}

/* x on the device, stored as `type`; x becomes what is stored. */
static inline kd_array gpu_array(kd_ctx *ctx, float *x, int64_t n, kd_view_type type) {
    uint16_t *narrow = malloc((size_t)n * sizeof *narrow);
    assert_non_null(narrow);
    for (int64_t i = 0; i < n; i++) {
        narrow[i] = type == KD_VIEW_F16 ? kd_f16_round(x[i]) : kd_bf16_round(x[i]);
        x[i] = gpu_as_stored(x[i], type);
    }
    kd_array a = {gpu_put(ctx, type == KD_VIEW_F32 ? (void *)x : (void *)narrow, n * kd_type_size(type)), type};
    free(narrow);
    return a;
}

/* NaN, to be written. */
static inline kd_array gpu_output(kd_ctx *ctx, int64_t n, kd_view_type type) {
    return (kd_array){gpu_take(ctx, n * kd_type_size(type)), type};
}

/* The array's numbers, until nn_drop. */
static inline float *gpu_read(kd_ctx *ctx, kd_array a, int64_t n) {
    float *x = nn_floats(n);
    uint16_t *narrow = malloc((size_t)n * sizeof *narrow);
    assert_non_null(narrow);
    gpu_done(ctx->device->get(ctx, a.type == KD_VIEW_F32 ? (void *)x : (void *)narrow, a.data, n * kd_type_size(a.type)));
    for (int64_t i = 0; i < n && a.type != KD_VIEW_F32; i++)
        x[i] = a.type == KD_VIEW_BF16 ? kd_bf16_widen(narrow[i]) : kd_f16_widen(narrow[i]);
    free(narrow);
    return x;
}

/* Half a unit in the last place of x as it is stored. */
static inline double gpu_half_unit(double x, kd_view_type type) {
    double relative = type == KD_VIEW_F32 ? 0x1p-24 : type == KD_VIEW_BF16 ? 0x1p-9 : 0x1p-12;
    double least = type == KD_VIEW_F16 ? 0x1p-25 : 0x1p-140;
    return fmax(fabs(x) * 2 * relative, least);
}

/* Runs a variant with scratch full of NaN (of much scratch, its beginning and its end), and waits; false: it is not for this context or
 * these arguments. */
static inline bool gpu_run(kd_ctx *ctx, const kd_variant *variant, const void *args) {
    if (!kd_isa_serves(ctx->isa, variant->isa) || (variant->supports && !variant->supports(args))) return false;
    int64_t need = variant->workspace ? variant->workspace(ctx, args) : 0;
    gpu_done(kd_ctx_reserve(ctx, need));
    int64_t part = need < 1 << 20 ? need : 1 << 20;
    if (part > 0) gpu_fill(ctx, ctx->scratch, 0xff, part);
    if (part < need) gpu_fill(ctx, (char *)ctx->scratch + need - part, 0xff, part);
    if (kd_op_run_variant(ctx, variant, args)) fail_msg("%s: %s", variant->name, kd_message());
    gpu_done(ctx->device->finish(ctx));
    return true;
}

#endif

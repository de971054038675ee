/* What tests of CUDA's operations share: a context, arrays in the device's memory between canaries, numbers of any type, and operations
 * run on a poisoned workspace. Host arrays are nn_test.h's. */
#ifndef CUDA_ARRAYS_H
#define CUDA_ARRAYS_H

#include "base/half.h"
#include "nn_test.h"

enum { GUARD = 64, HELD_MOST = 64 };
static kd_ctx *gpu; /* NULL: there is none, and why was said */
static struct { char *memory; int64_t bytes; } held[HELD_MOST];
static int held_count;

/* Opens the context; to be closed by the caller. */
static inline void gpu_open(void) {
    if (kd_ctx_open_device(&gpu, "cuda", 2) != KD_OK) {
        print_message("skipped: %s\n", kd_message());
        gpu = NULL;
    }
}

static inline void gpu_put(void *to, const void *host, int64_t bytes) { assert_int_equal(gpu->device->put(gpu, to, host, bytes), KD_OK); }
static inline void gpu_get(void *host, const void *from, int64_t bytes) {
    if (gpu->device->get(gpu, host, from, bytes) != KD_OK) fail_msg("%s", kd_message());
}

/* `bytes` bytes of the device, which are NaN in every type, `shift` bytes behind an address that is aligned to 64; until gpu_drop. */
static inline void *gpu_take(int64_t bytes, int64_t shift) {
    assert_true(held_count < HELD_MOST);
    int64_t all = bytes + shift + 2 * GUARD;
    char *host = nn_take(all), *memory;
    if (gpu->device->alloc(gpu, (void **)&memory, all) != KD_OK) fail_msg("%s", kd_message());
    memset(host, 0x5a, (size_t)all);
    memset(host + GUARD + shift, 0xff, (size_t)bytes);
    gpu_put(memory, host, all);
    held[held_count].memory = memory;
    held[held_count++].bytes = all;
    return memory + GUARD + shift;
}

/* Frees every array, the host's as well; fails if something was written beside one of the device's. */
static inline void gpu_drop(void) {
    while (held_count) {
        char *memory = held[--held_count].memory, edge[GUARD];
        int64_t all = held[held_count].bytes;
        for (int end = 0; end < 2; end++) {
            gpu_get(edge, memory + end * (all - GUARD), GUARD);
            for (int i = 0; i < GUARD; i++) assert_int_equal(edge[i], 0x5a);
        }
        gpu->device->release(gpu, memory, all);
    }
    nn_drop();
}

/* What is stored of a number, and the number that this is. */
static inline double stored(kd_view_type type, double x) {
    if (type == KD_VIEW_BF16) return kd_bf16_widen(kd_bf16_round((float)x));
    return type == KD_VIEW_F16 ? kd_f16_widen(kd_f16_round((float)x)) : (float)x;
}

/* n numbers in device memory, x rounded to what is stored; x NULL: poison. One element behind an aligned address when `odd`. */
static inline kd_array gpu_array(kd_view_type type, double *x, int64_t n, bool odd) {
    int64_t size = kd_type_size(type);
    kd_array a = {gpu_take(n * size, odd ? size : 0), type};
    if (!x) return a;
    char *host = nn_take(n * size);
    for (int64_t i = 0; i < n; i++) {
        float value = (float)x[i];
        uint16_t half = type == KD_VIEW_BF16 ? kd_bf16_round(value) : kd_f16_round(value);
        memcpy(host + i * size, type == KD_VIEW_F32 ? (void *)&value : (void *)&half, (size_t)size);
        x[i] = stored(type, x[i]);
    }
    gpu_put(a.data, host, n * size);
    return a;
}

static inline double *gpu_read(kd_array a, int64_t n) {
    int64_t size = kd_type_size(a.type);
    char *host = nn_take(n * size);
    double *x = nn_doubles(n);
    gpu_get(host, a.data, n * size);
    for (int64_t i = 0; i < n; i++) {
        float value;
        uint16_t half;
        memcpy(a.type == KD_VIEW_F32 ? (void *)&value : (void *)&half, host + i * size, (size_t)size);
        x[i] = a.type == KD_VIEW_F32 ? value : a.type == KD_VIEW_BF16 ? kd_bf16_widen(half) : kd_f16_widen(half);
    }
    return x;
}

static inline void *gpu_copy_of(const void *host, int64_t bytes) {
    void *memory = gpu_take(bytes, 0);
    gpu_put(memory, host, bytes);
    return memory;
}

/* Half the distance of neighbors at y, and float32's own error of computing in units of `size`. */
static inline double allowance(kd_view_type type, double y, double size) {
    double half = type == KD_VIEW_BF16 ? 0x1p-9 : type == KD_VIEW_F16 ? 0x1p-12 + 0x1p-16 : 0.0;  /* 2^-12 of 1..2: 2^-11 of a binade's end */
    return 2.0 * half * fabs(y) + (type == KD_VIEW_F16 ? 0x1p-25 : 0.0) + 6e-7 * size + 1e-30;
}

static inline void assert_near(kd_view_type type, double x, double y, double size) {
    if (!(fabs(x - y) <= allowance(type, y, size))) fail_msg("%.9g instead of %.9g (type %d, size %g)", x, y, (int)type, size);
}

/* Uniform in -scale .. scale. */
static inline double *random_doubles(int64_t n, double scale) {
    double *x = nn_doubles(n);
    for (int64_t i = 0; i < n; i++) {
        nn_seed = nn_seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = scale * ((double)(nn_seed >> 40) / 8388608.0 - 1.0);
    }
    return x;
}
static inline double *copy_doubles(const double *x, int64_t n) { return memcpy(nn_doubles(n), x, (size_t)n * sizeof *x); }

/* The operation's variant for this context, with a workspace of NaN. */
static inline void gpu_run(const kd_op *op, const void *args) {
    const kd_variant *variant = kd_op_choose(gpu, op, args);
    if (!variant) fail_msg("%s: no variant", op->name);
    int64_t need = variant->workspace ? variant->workspace(gpu, args) : 0;
    assert_int_equal(kd_ctx_reserve(gpu, need), KD_OK);
    if (need > 0) {
        void *poison = malloc((size_t)need);
        assert_non_null(poison);
        gpu_put(gpu->scratch, memset(poison, 0xff, (size_t)need), need);
        free(poison);
    }
    if (kd_op_run_variant(gpu, variant, args)) fail_msg("%s: %s", op->name, kd_message());
}

/* The same bytes on the device. */
static inline void gpu_assert_same(kd_array a, kd_array b, int64_t n) {
    assert_int_equal(a.type, b.type);
    int64_t bytes = n * kd_type_size(a.type);
    char *x = nn_take(bytes), *y = nn_take(bytes);
    gpu_get(x, a.data, bytes);
    gpu_get(y, b.data, bytes);
    nn_assert_same(x, y, bytes);
}

/* Of a test that cannot run here. */
#define NEEDS_GPU() do { if (!gpu) skip(); } while (0)

static const kd_view_type types[] = {KD_VIEW_F32, KD_VIEW_BF16, KD_VIEW_F16};
enum { TYPES = sizeof types / sizeof *types };

#endif

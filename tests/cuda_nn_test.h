/* Numbers for the tests of layers on CUDA: in double, rounded to what the device's arrays store. */
#ifndef CUDA_NN_TEST_H
#define CUDA_NN_TEST_H

#include "cuda_test.h"

static const kd_view_type types[] = {KD_VIEW_F32, KD_VIEW_BF16, KD_VIEW_F16};
enum { TYPES = sizeof types / sizeof *types };

static kd_ctx *gpu; /* opened by the first test */

static inline void need_gpu(void) {
    if (!gpu) gpu = gpu_open();
}

static inline void drop(void) {
    gpu_drop(gpu);
    nn_drop();
}

/* n numbers on the device, x rounded to what is stored; x NULL: poison. One element behind an aligned address when `odd`. */
static inline kd_array array_of(kd_view_type type, double *x, int64_t n, bool odd) {
    if (!x) return kd_at(gpu_output(gpu, n + odd, type), odd);
    float *narrow = nn_floats(n + odd);
    narrow[0] = 0.0f;
    for (int64_t i = 0; i < n; i++) narrow[i + odd] = (float)x[i];
    kd_array a = gpu_array(gpu, narrow, n + odd, type);
    for (int64_t i = 0; i < n; i++) x[i] = narrow[i + odd];
    return kd_at(a, odd);
}

static inline double *read_back(kd_array a, int64_t n) {
    float *narrow = gpu_read(gpu, a, n);
    double *x = nn_doubles(n);
    for (int64_t i = 0; i < n; i++) x[i] = narrow[i];
    return x;
}

static inline double stored(kd_view_type type, double x) { return gpu_as_stored((float)x, type); }

static inline void *put(const void *host, int64_t bytes) { return gpu_put(gpu, host, bytes); }
static inline void get(void *host, const void *from, int64_t bytes) { gpu_done(gpu->device->get(gpu, host, from, bytes)); }

/* The rounding of what is stored, and float32's own errors in units of `size`. */
static inline void assert_near(kd_view_type type, double x, double y, double size) {
    double allowed = (type == KD_VIEW_F32 ? 0.0 : gpu_half_unit(y, type)) + 6e-7 * size + 1e-30;
    if (!(fabs(x - y) <= allowed)) fail_msg("%.9g instead of %.9g (type %d, size %g)", x, y, (int)type, size);
}

static inline void assert_same(kd_array a, kd_array b, int64_t n) {
    int64_t bytes = n * kd_type_size(a.type);
    char *x = nn_take(bytes), *y = nn_take(bytes);
    assert_int_equal(a.type, b.type);
    get(x, a.data, bytes);
    get(y, b.data, bytes);
    nn_assert_same(x, y, bytes);
}

/* Uniform in -scale .. scale. */
static inline double *random_numbers(int64_t n, double scale) {
    float *narrow = nn_random(n, (float)scale);
    double *x = nn_doubles(n);
    for (int64_t i = 0; i < n; i++) x[i] = narrow[i];
    return x;
}

/* The variant that the context would take. */
static inline void run(const kd_op *op, const void *args) {
    const kd_variant *variant = kd_op_choose(gpu, op, args);
    if (!variant) fail_msg("%s: no variant", op->name);
    assert_true(gpu_run(gpu, variant, args));
}

#endif

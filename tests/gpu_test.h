/* What tests of kernels share, in CUDA C++: memory of the device that begins as NaN, and the way there and back. They run on a GPU with
 * CUDA=1 and on the host with CUDA=simulated; where there is no device that can, a test is skipped, with the reason. */
#ifndef GPU_TEST_H
#define GPU_TEST_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "dev/gpu.cuh"

extern "C" {
#include <cmocka.h>

#include "base/half.h"
#include "base/random.h"
}

static inline void gpu_need(int capability) {
    int count = 0, major = 0, minor = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count < 1) {
        print_message("skipped: there is no GPU\n");
        skip();
    }
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0);
    if (capability == 90 ? major * 10 + minor != 90 : major * 10 + minor < capability) {
        print_message("skipped: needs compute capability %d.%d, the device has %d.%d\n", capability / 10, capability % 10, major, minor);
        skip();
    }
}

static inline void gpu_ok(cudaError_t error) {
    if (error) fail_msg("CUDA: %s", cudaGetErrorString(error));
}

/* n numbers of the device, NaN. */
template <class T> static inline T *gpu_new(int64_t n) {
    void *memory;
    gpu_ok(cudaMalloc(&memory, (size_t)n * sizeof(T)));
    gpu_ok(cudaMemset(memory, 0xff, (size_t)n * sizeof(T)));
    return (T *)memory;
}
template <class T> static inline T *gpu_copy_of(const T *host, int64_t n) {
    T *memory = gpu_new<T>(n);
    gpu_ok(cudaMemcpy(memory, host, (size_t)n * sizeof(T), cudaMemcpyHostToDevice));
    return memory;
}
/* After all that was enqueued; to be freed with free. */
template <class T> static inline T *gpu_fetch(const T *memory, int64_t n) {
    T *host = (T *)malloc((size_t)n * sizeof(T));
    gpu_ok(cudaGetLastError());
    gpu_ok(cudaDeviceSynchronize());
    gpu_ok(cudaMemcpy(host, memory, (size_t)n * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
}

/* Small random numbers that 16 bits hold exactly: eighths from -2 to 2. */
static inline float gpu_eighth(uint64_t stream, int64_t index) {
    return (float)((int)(kd_random_bits(7, stream, (uint64_t)index) % 33) - 16) / 8;
}
static inline uint16_t gpu_short_of(float x, bool f16) { return f16 ? kd_f16_round(x) : kd_bf16_round(x); }

#endif

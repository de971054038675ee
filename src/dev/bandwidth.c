/* How fast this machine reads memory. */
#include <string.h>

#include "base/log.h"
#include "peak.h"

enum { PASSES = 5, PART = 1 << 20 };
static const int64_t BYTES = (int64_t)768 << 20;  /* more than caches hold */

static kd_status read_task(void *opaque, int64_t task, int64_t thread) {
    const uint64_t *x = (const uint64_t *)((const char *)opaque + task * PART);
    uint64_t sum[8] = {0};
    (void)thread;
    for (int64_t i = 0; i < PART / 8; i += 8)
        for (int k = 0; k < 8; k++) sum[k] ^= x[i + k];
    for (int k = 1; k < 8; k++) sum[0] ^= sum[k];
    volatile uint64_t used = sum[0];  /* or the compiler would see that nobody wants the result */
    (void)used;
    return KD_OK;
}

kd_status kd_peak_bandwidth(double *bytes_per_second, kd_ctx *ctx) {
    if (ctx->cuda) return kd_cuda_copy_bandwidth(bytes_per_second, ctx);
    void *memory;
    double best = 0;
    KD_TRY(kd_device_host.alloc(ctx, &memory, BYTES));
    memset(memory, 1, (size_t)BYTES);
    for (int i = 0; i < PASSES; i++) {
        double began = kd_now();
        kd_pool_run(ctx->pool, read_task, memory, BYTES / PART);
        double rate = (double)BYTES / (kd_now() - began);
        if (rate > best) best = rate;
    }
    kd_device_host.release(ctx, memory, BYTES);
    *bytes_per_second = best;
    return KD_OK;
}

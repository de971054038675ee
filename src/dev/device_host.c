/* The host as a device: memory straight from the system, zeroed, in huge pages where it can be had. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"
#include "memory.h"

#define HUGE_PAGE ((int64_t)2 << 20)

static kd_status host_alloc(kd_ctx *ctx, void **out, int64_t bytes) {
    (void)ctx;
    *out = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*out == MAP_FAILED) {
        *out = NULL;
        return kd_fail(KD_ENOMEM, "out of memory: %lld bytes", (long long)bytes);
    }
    if (bytes >= HUGE_PAGE) madvise(*out, (size_t)bytes, MADV_HUGEPAGE);  /* advice: a refusal changes nothing */
    return KD_OK;
}

static void host_release(kd_ctx *ctx, void *memory, int64_t bytes) {
    (void)ctx;
    munmap(memory, (size_t)bytes);
}

static kd_status host_put(kd_ctx *ctx, void *to, const void *host, int64_t bytes) {
    (void)ctx;
    memcpy(to, host, (size_t)bytes);
    return KD_OK;
}

static kd_status host_get(kd_ctx *ctx, void *host, const void *from, int64_t bytes) {
    (void)ctx;
    memcpy(host, from, (size_t)bytes);
    return KD_OK;
}

static kd_status host_memory(kd_ctx *ctx, int64_t *free, int64_t *total) {
    (void)ctx;
    *free = kd_memory_available();
    *total = kd_memory_total();
    return KD_OK;
}

const kd_device kd_device_host = {.name = "host", .host_may_touch = true, .alloc = host_alloc, .release = host_release,
                                  .put = host_put, .get = host_get, .memory = host_memory};

/* A device for tests: its memory faults when anything but an operation or a copy touches it. It proves that model
 * code never dereferences tensor data, as a GPU would, on a machine without one. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ctx.h"

static void protect(kd_ctx *ctx, int rights) {
    for (kd_region *r = ctx->guarded; r; r = r->next) mprotect(r->memory, (size_t)r->bytes, rights);
}

static void guard_enter(kd_ctx *ctx) {
    if (ctx->entered++ == 0) protect(ctx, PROT_READ | PROT_WRITE);
}

static void guard_leave(kd_ctx *ctx) {
    if (--ctx->entered == 0) protect(ctx, PROT_NONE);
}

static kd_status guard_alloc(kd_ctx *ctx, void **out, int64_t bytes) {
    kd_region *region;
    KD_TRY(kd_new(&region, 1, sizeof *region));
    kd_status status = kd_device_host.alloc(ctx, out, bytes);
    if (status) {
        free(region);
        return status;
    }
    *region = (kd_region){*out, bytes, ctx->guarded};
    ctx->guarded = region;
    if (!ctx->entered) mprotect(*out, (size_t)bytes, PROT_NONE);
    return KD_OK;
}

static void guard_release(kd_ctx *ctx, void *memory, int64_t bytes) {
    for (kd_region **at = &ctx->guarded; *at; at = &(*at)->next) {
        if ((*at)->memory != memory) continue;
        kd_region *region = *at;
        *at = region->next;
        free(region);
        break;
    }
    kd_device_host.release(ctx, memory, bytes);
}

static kd_status guard_put(kd_ctx *ctx, void *to, const void *host, int64_t bytes) {
    guard_enter(ctx);
    memcpy(to, host, (size_t)bytes);
    guard_leave(ctx);
    return KD_OK;
}

static kd_status guard_get(kd_ctx *ctx, void *host, const void *from, int64_t bytes) {
    guard_enter(ctx);
    memcpy(host, from, (size_t)bytes);
    guard_leave(ctx);
    return KD_OK;
}

static kd_status guard_memory(kd_ctx *ctx, int64_t *free, int64_t *total) { return kd_device_host.memory(ctx, free, total); }

const kd_device kd_device_guard = {.name = "guard", .alloc = guard_alloc, .release = guard_release, .put = guard_put, .get = guard_get,
                                   .enter = guard_enter, .leave = guard_leave, .memory = guard_memory};

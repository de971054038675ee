#include "ctx.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

const char *kd_isa_name(kd_isa isa) {
    static const char *const name[] = {"ref", "avx2", "avx512", "sm80", "sm90"};
    return name[isa];
}

kd_isa kd_isa_best(void) {
#if defined(KD_X86)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return KD_ISA_REF;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq")) return KD_ISA_AVX2;
    return KD_ISA_AVX512;
#else
    return KD_ISA_REF;
#endif
}

kd_status kd_isa_cap(kd_isa *isa) {
    const char *cap = getenv("KEDGE_ISA");
    if (!cap || !*cap) return KD_OK;
    for (kd_isa i = KD_ISA_REF; i <= KD_ISA_SM90; i++) {
        if (strcmp(cap, kd_isa_name(i))) continue;
        if (kd_isa_serves(*isa, i)) *isa = i;
        return KD_OK;
    }
    return kd_fail(KD_ECONFIG, "KEDGE_ISA=%s: it is one of ref, avx2, avx512, or sm80, sm90 for GPUs", cap);
}

kd_status kd_ctx_open_on(kd_ctx **out, const kd_device *device, int64_t threads) {
    *out = NULL;
    kd_isa isa = kd_isa_best();
    KD_TRY(kd_isa_cap(&isa));
    kd_ctx *ctx;
    KD_TRY(kd_new(&ctx, 1, sizeof *ctx));
    ctx->device = device;
    ctx->isa = isa;
    ctx->block = KD_HOST_BLOCK;
    kd_status status = kd_pool_new(&ctx->pool, threads);
    if (status) {
        kd_ctx_close(ctx);
        return status;
    }
    *out = ctx;
    return KD_OK;
}

kd_status kd_ctx_open(kd_ctx **out, int64_t threads) { return kd_ctx_open_on(out, &kd_device_host, threads); }

/* "cuda" is the first GPU that CUDA shows. */
kd_status kd_ctx_open_device(kd_ctx **out, const char *device, int64_t threads) {
    *out = NULL;
    if (!strcmp(device, "host")) return kd_ctx_open(out, threads);
    if (!strcmp(device, "cuda")) return kd_ctx_open_cuda(out, 0, threads);
    const char *number = strncmp(device, "cuda:", 5) ? "" : device + 5;
    size_t digits = strspn(number, "0123456789");
    if (digits < 1 || digits > 4 || number[digits])
        return kd_fail(KD_ECONFIG, "device %s: it is one of host, cuda, or cuda:N for the GPU of number N", device);
    return kd_ctx_open_cuda(out, atoi(number), threads);
}

kd_status kd_ctx_use_stream(kd_ctx *ctx, void *stream) {
    if (!ctx->device->use_stream) return kd_fail(KD_EARG, "device %s has no streams", ctx->device->name);
    return ctx->device->use_stream(ctx, stream);
}

kd_status kd_ctx_finish(kd_ctx *ctx) { return ctx->device->finish ? ctx->device->finish(ctx) : KD_OK; }

kd_status kd_device_memory(kd_ctx *ctx, int64_t *free, int64_t *total) { return ctx->device->memory(ctx, free, total); }

void kd_ctx_close(kd_ctx *ctx) {
    if (!ctx) return;
    if (ctx->scratch) ctx->device->release(ctx, ctx->scratch, ctx->scratch_bytes);
    if (ctx->device->close) ctx->device->close(ctx);
    kd_pool_free(ctx->pool);
    free(ctx);
}

kd_status kd_ctx_reserve(kd_ctx *ctx, int64_t bytes) {
    assert(!ctx->entered);
    if (bytes <= ctx->scratch_bytes) return KD_OK;
    if (ctx->scratch) ctx->device->release(ctx, ctx->scratch, ctx->scratch_bytes);
    ctx->scratch = NULL;
    ctx->scratch_bytes = 0;
    KD_TRY(ctx->device->alloc(ctx, &ctx->scratch, bytes));
    ctx->scratch_bytes = bytes;
    return KD_OK;
}

kd_status kd_ctx_place(kd_ctx *ctx, kd_arena *arena) {
    void *memory;
    int64_t size = arena->used;
    KD_TRY(ctx->device->alloc(ctx, &memory, size > 0 ? size : KD_ALIGN));
    *arena = (kd_arena){memory, size, 0};
    return KD_OK;
}

static kd_status copy_now(kd_ctx *ctx, void *to, const void *from, int64_t bytes) {
    if (ctx->device->enter) ctx->device->enter(ctx);
    memcpy(to, from, (size_t)bytes);
    if (ctx->device->leave) ctx->device->leave(ctx);
    return KD_OK;
}

kd_status kd_ctx_copy_beside(kd_ctx *ctx, void *to, const void *from, int64_t bytes, int64_t lane) {
    assert(lane >= 0 && lane < KD_LANES);
    return ctx->device->copy_beside ? ctx->device->copy_beside(ctx, to, from, bytes, lane) : copy_now(ctx, to, from, bytes);
}

kd_status kd_ctx_await_copy(kd_ctx *ctx, int64_t lane) { return ctx->device->await_copy ? ctx->device->await_copy(ctx, lane) : KD_OK; }

void kd_ctx_unplace(kd_ctx *ctx, kd_arena *arena) {
    if (arena->base) ctx->device->release(ctx, arena->base, arena->size > 0 ? arena->size : KD_ALIGN);
    *arena = (kd_arena){0};
}

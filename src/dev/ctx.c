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

static kd_status isa_from_environment(kd_isa *isa) {
    const char *cap = getenv("KEDGE_ISA");
    *isa = kd_isa_best();
    if (!cap || !*cap) return KD_OK;
    for (kd_isa i = KD_ISA_REF; i <= KD_ISA_AVX512; i++) {
        if (strcmp(cap, kd_isa_name(i))) continue;
        if (i < *isa) *isa = i;
        return KD_OK;
    }
    return kd_fail(KD_ECONFIG, "KEDGE_ISA=%s: it is one of ref, avx2, avx512", cap);
}

kd_status kd_ctx_open_on(kd_ctx **out, const kd_device *device, int64_t threads) {
    *out = NULL;
    kd_isa isa;
    KD_TRY(isa_from_environment(&isa));
    kd_ctx *ctx;
    KD_TRY(kd_new(&ctx, 1, sizeof *ctx));
    ctx->device = device;
    ctx->isa = isa;
    kd_status status = kd_pool_new(&ctx->pool, threads);
    if (status) {
        kd_ctx_close(ctx);
        return status;
    }
    *out = ctx;
    return KD_OK;
}

kd_status kd_ctx_open(kd_ctx **out, int64_t threads) { return kd_ctx_open_on(out, &kd_device_host, threads); }

void kd_ctx_close(kd_ctx *ctx) {
    if (!ctx) return;
    if (ctx->scratch) ctx->device->release(ctx, ctx->scratch, ctx->scratch_bytes);
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

void kd_ctx_unplace(kd_ctx *ctx, kd_arena *arena) {
    if (arena->base) ctx->device->release(ctx, arena->base, arena->size > 0 ? arena->size : KD_ALIGN);
    *arena = (kd_arena){0};
}

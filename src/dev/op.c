#include "op.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

const kd_variant *kd_op_choose(const kd_ctx *ctx, const kd_op *op, const void *args) {
    for (int64_t i = 0; i < op->count; i++) {
        const kd_variant *v = &op->variant[i];
        if (kd_isa_serves(ctx->isa, v->isa) && (!v->supports || v->supports(args))) return v;
    }
    return NULL;
}

kd_status kd_op_run_variant(kd_ctx *ctx, const kd_variant *variant, const void *args) {
    int64_t need = variant->workspace ? variant->workspace(ctx, args) : 0;
    if (need > ctx->scratch_need) ctx->scratch_need = need;
    if (ctx->measuring) return KD_OK;
    KD_TRY(kd_ctx_reserve(ctx, need));
    if (ctx->device->enter) ctx->device->enter(ctx);
    kd_status status = variant->run(ctx, args, ctx->scratch);
    if (ctx->device->leave) ctx->device->leave(ctx);
    return status;
}

void kd_op_words(char out[40], const kd_op *op) {
    const char *name = op->name + (strncmp(op->name, "kd_", 3) ? 0 : 3), *end = strstr(name, "_op");
    snprintf(out, 40, "%.*s", end ? (int)(end - name) : (int)strlen(name), name);
}

void kd_clock_count(kd_clock *clock, const kd_op *op, double seconds) {
    int64_t i = 0;
    while (i < clock->parts && clock->part[i].op != op) i++;
    if (i == KD_CLOCK_OPS) return;
    if (i == clock->parts) {
        clock->parts++;
        clock->part[i].op = op;
        clock->part[i].seconds = 0;
        clock->part[i].calls = 0;
    }
    clock->part[i].seconds += seconds;
    clock->part[i].calls++;
}

kd_status kd_op_run(kd_ctx *ctx, const kd_op *op, const void *args) {
    const kd_variant *variant = kd_op_choose(ctx, op, args);
    if (!variant) return kd_fail(KD_ENOTSUP, "%s: no variant serves these arguments", op->name);
    if (!ctx->clock || ctx->measuring) return kd_op_run_variant(ctx, variant, args);
    int64_t mark = ctx->device->mark ? ctx->device->mark(ctx) : -1;
    double began = kd_now();
    kd_status status = kd_op_run_variant(ctx, variant, args);
    if (ctx->device->count) ctx->device->count(ctx, op, mark);
    else kd_clock_count(ctx->clock, op, kd_now() - began);
    return status;
}

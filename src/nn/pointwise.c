/* Operations element by element: the public functions, the lists, the definitions. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "nn_ops.h"

static kd_status swiglu_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_swiglu_args *a = opaque;
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++)
        a->out[i] = a->gate[i] * (1.0f / (1.0f + expf(-a->gate[i]))) * a->up[i];
    return KD_OK;
}

static kd_status swiglu_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_swiglu_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, swiglu_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

/* silu' = s + x s (1 - s) with s = 1/(1+e^-x) */
static kd_status swiglu_backward_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_swiglu_backward_args *a = opaque;
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++) {
        float gate = a->gate[i], up = a->up[i], dout = a->dout[i];
        float s = 1.0f / (1.0f + expf(-gate)), silu = gate * s;
        a->dgate[i] = dout * up * fmaf(silu, 1.0f - s, s);
        a->dup[i] = dout * silu;
        if (a->out) a->out[i] = silu * up;
    }
    return KD_OK;
}

static kd_status swiglu_backward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_swiglu_backward_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, swiglu_backward_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

static kd_status add_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_pair_args *a = opaque;
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++) a->out[i] += a->x[i];
    return KD_OK;
}

static kd_status add_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_pair_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, add_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

static kd_status zero_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_pair_args *a = opaque;
    (void)thread;
    int64_t begin = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT);
    memset(a->out + begin, 0, (size_t)(end - begin) * sizeof(float));
    return KD_OK;
}

static kd_status zero_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_pair_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, zero_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

static kd_status round_bf16_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_pair_args *a = opaque;
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++) a->out[i] = kd_bf16_widen(kd_bf16_round(a->out[i]));
    return KD_OK;
}

static kd_status round_bf16_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_pair_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, round_bf16_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

static const kd_variant swiglu_variants[] = {
    KD_VECTOR_VARIANTS(swiglu)
    {"ref", KD_ISA_REF, NULL, NULL, swiglu_ref},
};
KD_OP(kd_swiglu_op, swiglu_variants);

static const kd_variant swiglu_backward_variants[] = {
    KD_VECTOR_VARIANTS(swiglu_backward)
    {"ref", KD_ISA_REF, NULL, NULL, swiglu_backward_ref},
};
KD_OP(kd_swiglu_backward_op, swiglu_backward_variants);

static const kd_variant add_variants[] = {
    KD_VECTOR_VARIANTS(add)
    {"ref", KD_ISA_REF, NULL, NULL, add_ref},
};
KD_OP(kd_add_op, add_variants);

/* The C library's memset is a vector variant already. */
static const kd_variant zero_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, zero_ref}};
KD_OP(kd_zero_op, zero_variants);

/* For what emulates others: its speed does not matter. */
static const kd_variant round_bf16_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, round_bf16_ref}};
KD_OP(kd_round_bf16_op, round_bf16_variants);

static kd_status check(const char *what, int64_t n) {
    return n >= 1 ? KD_OK : kd_fail(KD_EARG, "%s: %lld elements, must be at least 1", what, (long long)n);
}

kd_status kd_swiglu_forward(kd_ctx *ctx, float *out, const float *gate, const float *up, int64_t n) {
    KD_TRY(check("swiglu forward", n));
    return kd_op_run(ctx, &kd_swiglu_op, &(kd_swiglu_args){out, gate, up, n});
}

kd_status kd_swiglu_backward(kd_ctx *ctx, float *dgate, float *dup, float *out, const float *dout, const float *gate,
                             const float *up, int64_t n) {
    KD_TRY(check("swiglu backward", n));
    return kd_op_run(ctx, &kd_swiglu_backward_op, &(kd_swiglu_backward_args){dgate, dup, out, dout, gate, up, n});
}

kd_status kd_add(kd_ctx *ctx, float *out, const float *x, int64_t n) {
    KD_TRY(check("add", n));
    return kd_op_run(ctx, &kd_add_op, &(kd_pair_args){out, x, n});
}

kd_status kd_zero(kd_ctx *ctx, float *out, int64_t n) {
    KD_TRY(check("zero", n));
    return kd_op_run(ctx, &kd_zero_op, &(kd_pair_args){out, NULL, n});
}

kd_status kd_round_bf16(kd_ctx *ctx, float *x, int64_t n) {
    KD_TRY(check("rounding to bf16", n));
    return kd_op_run(ctx, &kd_round_bf16_op, &(kd_pair_args){x, NULL, n});
}

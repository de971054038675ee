/* Operations element by element: the public functions, the lists, the definitions. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "nn_ops.h"

static kd_status swiglu_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_swiglu_args *a = opaque;
    const float *gate = kd_floats(a->gate), *up = kd_floats(a->up);
    float *out = kd_floats(a->out);
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++)
        out[i] = gate[i] * (1.0f / (1.0f + expf(-gate[i]))) * up[i];
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
    float *dgate = kd_floats(a->dgate), *dup = kd_floats(a->dup), *out = kd_floats(a->out);
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++) {
        float gate = kd_floats(a->gate)[i], up = kd_floats(a->up)[i], dout = kd_floats(a->dout)[i];
        float s = 1.0f / (1.0f + expf(-gate)), silu = gate * s;
        dgate[i] = dout * up * fmaf(silu, 1.0f - s, s);
        dup[i] = dout * silu;
        if (out) out[i] = silu * up;
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
    const float *x = kd_floats(a->x);
    float *out = kd_floats(a->out);
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++) out[i] += x[i];
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
    memset(kd_at(a->out, begin).data, 0, (size_t)((end - begin) * kd_type_size(a->out.type)));
    return KD_OK;
}

static kd_status zero_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_pair_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, zero_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

static float widened(kd_array x, int64_t i) {
    if (x.type == KD_VIEW_F32) return kd_floats(x)[i];
    uint16_t half = ((const uint16_t *)x.data)[i];
    return x.type == KD_VIEW_F16 ? kd_f16_widen(half) : kd_bf16_widen(half);
}

static void store(kd_array out, int64_t i, float x) {
    if (out.type == KD_VIEW_F32) kd_floats(out)[i] = x;
    else ((uint16_t *)out.data)[i] = out.type == KD_VIEW_F16 ? kd_f16_round(x) : kd_bf16_round(x);
}

static kd_status copy_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_pair_args *a = opaque;
    (void)thread;
    int64_t begin = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT);
    if (a->out.type == a->x.type)
        memcpy(kd_at(a->out, begin).data, kd_at(a->x, begin).data, (size_t)((end - begin) * kd_type_size(a->x.type)));
    else
        for (int64_t i = begin; i < end; i++) store(a->out, i, widened(a->x, i));
    return KD_OK;
}

static kd_status copy_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_pair_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, copy_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

static kd_status round_bf16_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_pair_args *a = opaque;
    float *out = kd_floats(a->out);
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++)
        out[i] = kd_bf16_widen(kd_bf16_round(out[i]));
    return KD_OK;
}

static kd_status round_bf16_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_pair_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, round_bf16_segment, (void *)a, kd_segments(a->n, KD_SEGMENT));
}

bool kd_swiglu_on_host(const void *args) {
    const kd_swiglu_args *a = args;
    return kd_is_f32(a->out) && kd_is_f32(a->gate) && kd_is_f32(a->up);
}

bool kd_swiglu_backward_on_host(const void *args) {
    const kd_swiglu_backward_args *a = args;
    return kd_is_f32(a->dgate) && kd_is_f32(a->dup) && kd_is_f32(a->out) && kd_is_f32(a->dout) && kd_is_f32(a->gate) && kd_is_f32(a->up);
}

bool kd_pair_on_host(const void *args) {
    const kd_pair_args *a = args;
    return kd_is_f32(a->out) && kd_is_f32(a->x);
}

static const kd_variant swiglu_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_swiglu_cuda})
    KD_VECTOR_VARIANTS(swiglu, kd_swiglu_on_host)
    {"ref", KD_ISA_REF, kd_swiglu_on_host, NULL, swiglu_ref},
};
KD_OP(kd_swiglu_op, swiglu_variants);

static const kd_variant swiglu_backward_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_swiglu_backward_cuda})
    KD_VECTOR_VARIANTS(swiglu_backward, kd_swiglu_backward_on_host)
    {"ref", KD_ISA_REF, kd_swiglu_backward_on_host, NULL, swiglu_backward_ref},
};
KD_OP(kd_swiglu_backward_op, swiglu_backward_variants);

static const kd_variant add_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_add_cuda})
    KD_VECTOR_VARIANTS(add, kd_pair_on_host)
    {"ref", KD_ISA_REF, kd_pair_on_host, NULL, add_ref},
};
KD_OP(kd_add_op, add_variants);

/* The C library's memset and memcpy are vector variants already. */
static const kd_variant zero_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_zero_cuda})
    {"ref", KD_ISA_REF, NULL, NULL, zero_ref},
};
KD_OP(kd_zero_op, zero_variants);

static const kd_variant copy_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_copy_cuda})
    {"ref", KD_ISA_REF, NULL, NULL, copy_ref},
};
KD_OP(kd_copy_op, copy_variants);

/* For what emulates others: its speed does not matter. */
static const kd_variant round_bf16_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_round_bf16_cuda})
    {"ref", KD_ISA_REF, kd_pair_on_host, NULL, round_bf16_ref},
};
KD_OP(kd_round_bf16_op, round_bf16_variants);

static kd_status check(const char *what, int64_t n) {
    return n >= 1 ? KD_OK : kd_fail(KD_EARG, "%s: %lld elements, must be at least 1", what, (long long)n);
}

kd_status kd_swiglu_forward(kd_ctx *ctx, kd_array out, kd_array gate, kd_array up, int64_t n) {
    KD_TRY(check("swiglu forward", n));
    return kd_op_run(ctx, &kd_swiglu_op, &(kd_swiglu_args){out, gate, up, n});
}

kd_status kd_swiglu_backward(kd_ctx *ctx, kd_array dgate, kd_array dup, kd_array out, kd_array dout, kd_array gate, kd_array up,
                             int64_t n) {
    KD_TRY(check("swiglu backward", n));
    return kd_op_run(ctx, &kd_swiglu_backward_op, &(kd_swiglu_backward_args){dgate, dup, out, dout, gate, up, n});
}

kd_status kd_add(kd_ctx *ctx, kd_array out, kd_array x, int64_t n) {
    KD_TRY(check("add", n));
    return kd_op_run(ctx, &kd_add_op, &(kd_pair_args){out, x, n});
}

kd_status kd_zero(kd_ctx *ctx, kd_array out, int64_t n) {
    KD_TRY(check("zero", n));
    return kd_op_run(ctx, &kd_zero_op, &(kd_pair_args){out, kd_none(), n});
}

kd_status kd_copy(kd_ctx *ctx, kd_array out, kd_array x, int64_t n) {
    KD_TRY(check("copy", n));
    return kd_op_run(ctx, &kd_copy_op, &(kd_pair_args){out, x, n});
}

kd_status kd_round_bf16(kd_ctx *ctx, kd_array x, int64_t n) {
    KD_TRY(check("rounding to bf16", n));
    return kd_op_run(ctx, &kd_round_bf16_op, &(kd_pair_args){x, kd_none(), n});
}

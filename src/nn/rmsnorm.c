/* Root-mean-square normalisation: the public functions, the lists, the definition. */
#include <math.h>

#include "nn_ops.h"

static kd_status normalise_row(void *opaque, int64_t m, int64_t thread) {
    const kd_rmsnorm_args *a = opaque;
    (void)thread;
    const float *x = kd_floats(a->x) + m * a->C, *w = kd_floats(a->w);
    float *out = kd_floats(a->out) + m * a->C;
    double squares = 0.0;
    for (int64_t c = 0; c < a->C; c++) squares += (double)x[c] * x[c];
    float rinv = (float)(1.0 / sqrt(squares / (double)a->C + a->eps));
    for (int64_t c = 0; c < a->C; c++) out[c] = x[c] * rinv * w[c];
    a->rinv[m] = rinv;
    return KD_OK;
}

static kd_status rmsnorm_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_rmsnorm_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, normalise_row, (void *)a, a->M);
}

/* dx = rinv * (dout*w) - x * rinv^3 * mean(dout*w*x) */
static kd_status input_gradient_row(void *opaque, int64_t m, int64_t thread) {
    const kd_rmsnorm_backward_args *a = opaque;
    (void)thread;
    const float *x = kd_floats(a->x) + m * a->C, *dout = kd_floats(a->dout) + m * a->C, *w = kd_floats(a->w);
    float *dx = kd_floats(a->dx) + m * a->C, rinv = a->rinv[m];
    double dot = 0.0;
    for (int64_t c = 0; c < a->C; c++) dot += (double)dout[c] * w[c] * x[c];
    float along = -(float)((double)rinv * rinv * rinv * dot / (double)a->C);
    for (int64_t c = 0; c < a->C; c++) dx[c] += fmaf(x[c], along, dout[c] * w[c] * rinv);
    return KD_OK;
}

static kd_status weight_gradient_column(void *opaque, int64_t c, int64_t thread) {
    const kd_rmsnorm_backward_args *a = opaque;
    (void)thread;
    const float *x = kd_floats(a->x) + c, *dout = kd_floats(a->dout) + c;
    float chain = a->dw[c];
    for (int64_t m = 0; m < a->M; m++) chain = fmaf(dout[m * a->C], x[m * a->C] * a->rinv[m], chain);
    a->dw[c] = chain;
    return KD_OK;
}

static kd_status rmsnorm_backward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_rmsnorm_backward_args *a = args;
    (void)workspace;
    KD_TRY(kd_pool_run(ctx->pool, input_gradient_row, (void *)a, a->M));
    return kd_pool_run(ctx->pool, weight_gradient_column, (void *)a, a->C);
}

bool kd_rmsnorm_on_host(const void *args) {
    const kd_rmsnorm_args *a = args;
    return kd_is_f32(a->out) && kd_is_f32(a->x) && kd_is_f32(a->w);
}

bool kd_rmsnorm_backward_on_host(const void *args) {
    const kd_rmsnorm_backward_args *a = args;
    return kd_is_f32(a->dx) && kd_is_f32(a->dout) && kd_is_f32(a->x) && kd_is_f32(a->w);
}

static const kd_variant rmsnorm_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_rmsnorm_cuda})
    KD_VECTOR_VARIANTS(rmsnorm, kd_rmsnorm_on_host)
    {"ref", KD_ISA_REF, kd_rmsnorm_on_host, NULL, rmsnorm_ref},
};
KD_OP(kd_rmsnorm_op, rmsnorm_variants);

static const kd_variant rmsnorm_backward_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, kd_rmsnorm_backward_workspace_cuda, kd_rmsnorm_backward_cuda})
    KD_VECTOR_VARIANTS(rmsnorm_backward, kd_rmsnorm_backward_on_host)
    {"ref", KD_ISA_REF, kd_rmsnorm_backward_on_host, NULL, rmsnorm_backward_ref},
};
KD_OP(kd_rmsnorm_backward_op, rmsnorm_backward_variants);

static kd_status check(const char *what, int64_t M, int64_t C) {
    if (M >= 1 && C >= 1) return KD_OK;
    return kd_fail(KD_EARG, "%s: M=%lld, C=%lld: each must be at least 1", what, (long long)M, (long long)C);
}

kd_status kd_rmsnorm_forward(kd_ctx *ctx, kd_array out, float *rinv, kd_array x, kd_array w, float eps, int64_t M, int64_t C) {
    KD_TRY(check("rmsnorm forward", M, C));
    return kd_op_run(ctx, &kd_rmsnorm_op, &(kd_rmsnorm_args){out, x, w, rinv, eps, M, C});
}

kd_status kd_rmsnorm_backward(kd_ctx *ctx, kd_array dx, float *dw, kd_array dout, kd_array x, const float *rinv, kd_array w,
                              int64_t M, int64_t C) {
    KD_TRY(check("rmsnorm backward", M, C));
    return kd_op_run(ctx, &kd_rmsnorm_backward_op, &(kd_rmsnorm_backward_args){dx, dw, dout, x, w, rinv, M, C});
}

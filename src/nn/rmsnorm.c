/* Root-mean-square normalisation: the public functions, the lists, the definition. */
#include <math.h>

#include "nn_ops.h"

static kd_status normalise_row(void *opaque, int64_t m, int64_t thread) {
    const kd_rmsnorm_args *a = opaque;
    (void)thread;
    const float *x = a->x + m * a->C;
    float *out = a->out + m * a->C;
    double squares = 0.0;
    for (int64_t c = 0; c < a->C; c++) squares += (double)x[c] * x[c];
    float rinv = (float)(1.0 / sqrt(squares / (double)a->C + a->eps));
    for (int64_t c = 0; c < a->C; c++) out[c] = x[c] * rinv * a->w[c];
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
    const float *x = a->x + m * a->C, *dout = a->dout + m * a->C;
    float *dx = a->dx + m * a->C, rinv = a->rinv[m];
    double dot = 0.0;
    for (int64_t c = 0; c < a->C; c++) dot += (double)dout[c] * a->w[c] * x[c];
    float along = -(float)((double)rinv * rinv * rinv * dot / (double)a->C);
    for (int64_t c = 0; c < a->C; c++) dx[c] += fmaf(x[c], along, dout[c] * a->w[c] * rinv);
    return KD_OK;
}

static kd_status weight_gradient_column(void *opaque, int64_t c, int64_t thread) {
    const kd_rmsnorm_backward_args *a = opaque;
    (void)thread;
    float chain = a->dw[c];
    for (int64_t m = 0; m < a->M; m++) chain = fmaf(a->dout[m * a->C + c], a->x[m * a->C + c] * a->rinv[m], chain);
    a->dw[c] = chain;
    return KD_OK;
}

static kd_status rmsnorm_backward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_rmsnorm_backward_args *a = args;
    (void)workspace;
    KD_TRY(kd_pool_run(ctx->pool, input_gradient_row, (void *)a, a->M));
    return kd_pool_run(ctx->pool, weight_gradient_column, (void *)a, a->C);
}

static const kd_variant rmsnorm_variants[] = {
    KD_VECTOR_VARIANTS(rmsnorm)
    {"ref", KD_ISA_REF, NULL, NULL, rmsnorm_ref},
};
KD_OP(kd_rmsnorm_op, rmsnorm_variants);

static const kd_variant rmsnorm_backward_variants[] = {
    KD_VECTOR_VARIANTS(rmsnorm_backward)
    {"ref", KD_ISA_REF, NULL, NULL, rmsnorm_backward_ref},
};
KD_OP(kd_rmsnorm_backward_op, rmsnorm_backward_variants);

static kd_status check(const char *what, int64_t M, int64_t C) {
    if (M >= 1 && C >= 1) return KD_OK;
    return kd_fail(KD_EARG, "%s: M=%lld, C=%lld: each must be at least 1", what, (long long)M, (long long)C);
}

kd_status kd_rmsnorm_forward(kd_ctx *ctx, float *out, float *rinv, const float *x, const float *w, float eps, int64_t M,
                             int64_t C) {
    KD_TRY(check("rmsnorm forward", M, C));
    return kd_op_run(ctx, &kd_rmsnorm_op, &(kd_rmsnorm_args){out, rinv, x, w, eps, M, C});
}

kd_status kd_rmsnorm_backward(kd_ctx *ctx, float *dx, float *dw, const float *dout, const float *x, const float *rinv,
                              const float *w, int64_t M, int64_t C) {
    KD_TRY(check("rmsnorm backward", M, C));
    return kd_op_run(ctx, &kd_rmsnorm_backward_op, &(kd_rmsnorm_backward_args){dx, dw, dout, x, rinv, w, M, C});
}

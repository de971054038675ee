/* Sums: of losses and gradients over a whole step, in double and in index order, and of a block's columns. */
#include <math.h>

#include "nn_ops.h"

static kd_status sum_loss_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_sum_loss_args *a = args;
    (void)ctx;
    (void)workspace;
    double sum = 0.0;
    for (int64_t t = 0; t < a->T; t++) sum += a->loss[t];
    a->sums->loss = sum;
    return KD_OK;
}

/* Squares of floats are exact in double. Four sums in flight hide the latency of the additions. */
static kd_status sum_segment(void *opaque, int64_t task, int64_t thread) {
    const kd_sum_squares_args *a = opaque;
    (void)thread;
    int64_t i = task * KD_NORM_SEGMENT, end = kd_segment_end(task, a->n, KD_NORM_SEGMENT);
    double sum[4] = {0};
    for (; i + 4 <= end; i += 4)
        for (int l = 0; l < 4; l++) sum[l] += (double)a->g[i + l] * a->g[i + l];
    for (; i < end; i++) sum[0] += (double)a->g[i] * a->g[i];
    a->partial[task] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return KD_OK;
}

static kd_status sum_squares_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_sum_squares_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, sum_segment, (void *)a, kd_segments(a->n, KD_NORM_SEGMENT));
}

static kd_status sum_norm_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_sum_norm_args *a = args;
    (void)ctx;
    (void)workspace;
    double sum = 0.0;
    for (int64_t s = 0; s < a->segments; s++) sum += a->partial[s];
    a->sums->grad_norm = sqrt(sum);
    a->sums->finite = isfinite(a->sums->loss) && isfinite(a->sums->grad_norm);
    return KD_OK;
}

static kd_status sum_column(void *opaque, int64_t n, int64_t thread) {
    const kd_column_sum_args *a = opaque;
    const float *x = kd_floats(a->x);
    (void)thread;
    float chain = a->out[n];
    for (int64_t m = 0; m < a->M; m++) chain += x[m * a->N + n];
    a->out[n] = chain;
    return KD_OK;
}

static kd_status column_sum_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_column_sum_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, sum_column, (void *)a, a->N);
}

bool kd_column_sum_on_host(const void *args) { return kd_is_f32(((const kd_column_sum_args *)args)->x); }

static const kd_variant sum_loss_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, kd_sum_loss_workspace_cuda, kd_sum_loss_cuda})
    {"ref", KD_ISA_REF, NULL, NULL, sum_loss_ref},
};
static const kd_variant sum_squares_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_sum_squares_cuda})
    {"ref", KD_ISA_REF, NULL, NULL, sum_squares_ref},
};
static const kd_variant sum_norm_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, kd_sum_norm_workspace_cuda, kd_sum_norm_cuda})
    {"ref", KD_ISA_REF, NULL, NULL, sum_norm_ref},
};
static const kd_variant column_sum_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, kd_column_sum_workspace_cuda, kd_column_sum_cuda})
    KD_VECTOR_VARIANTS(column_sum, kd_column_sum_on_host)
    {"ref", KD_ISA_REF, kd_column_sum_on_host, NULL, column_sum_ref},
};
KD_OP(kd_sum_loss_op, sum_loss_variants);
KD_OP(kd_sum_squares_op, sum_squares_variants);
KD_OP(kd_sum_norm_op, sum_norm_variants);
KD_OP(kd_column_sum_op, column_sum_variants);

kd_status kd_sum_loss(kd_ctx *ctx, kd_step_sums *sums, const double *loss, int64_t T) {
    if (T < 1) return kd_fail(KD_EARG, "sum of losses: T=%lld, must be at least 1", (long long)T);
    return kd_op_run(ctx, &kd_sum_loss_op, &(kd_sum_loss_args){sums, loss, T});
}

kd_status kd_sum_squares(kd_ctx *ctx, double *partial, const float *g, int64_t n) {
    if (n < 1) return kd_fail(KD_EARG, "norm: %lld elements, must be at least 1", (long long)n);
    return kd_op_run(ctx, &kd_sum_squares_op, &(kd_sum_squares_args){partial, g, n});
}

kd_status kd_sum_norm(kd_ctx *ctx, kd_step_sums *sums, const double *partial, int64_t segments) {
    return kd_op_run(ctx, &kd_sum_norm_op, &(kd_sum_norm_args){sums, partial, segments});
}

kd_status kd_column_sum(kd_ctx *ctx, float *out, kd_array x, int64_t M, int64_t N) {
    return kd_op_run(ctx, &kd_column_sum_op, &(kd_column_sum_args){out, x, M, N});
}

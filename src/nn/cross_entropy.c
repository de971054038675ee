/* The loss of a block of logits and its gradient: the public function, the list, the definition. */
#include <math.h>
#include <string.h>

#include "nn_ops.h"

static kd_status loss_row(void *opaque, int64_t m, int64_t thread) {
    const kd_cross_entropy_args *a = opaque;
    (void)thread;
    const float *row = a->logits + m * a->V;
    float *gradient = a->scale != 0.0f ? kd_floats(a->gradient) + m * a->V : NULL, maximum = -INFINITY;
    int32_t target = a->target[m];
    if (target < 0) {
        a->loss[m] = 0.0;
        if (gradient) memset(gradient, 0, (size_t)a->V * sizeof *gradient);
        return KD_OK;
    }
    for (int64_t v = 0; v < a->V; v++) maximum = row[v] > maximum ? row[v] : maximum;
    double sum = 0.0;
    for (int64_t v = 0; v < a->V; v++) sum += exp((double)row[v] - maximum);
    double loss = log(sum) + maximum - row[target];
    a->loss[m] = loss;
    if (!gradient) return KD_OK;
    for (int64_t v = 0; v < a->V; v++) gradient[v] = (float)(a->scale * exp((double)row[v] - maximum) / sum);
    gradient[target] = (float)(a->scale * expm1(-loss));
    return KD_OK;
}

static kd_status cross_entropy_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_cross_entropy_args *a = args;
    (void)workspace;
    KD_TRY(kd_tokens_check("cross entropy", a->target, a->M, -1, a->V));
    return kd_pool_run(ctx->pool, loss_row, (void *)a, a->M);
}

bool kd_cross_entropy_on_host(const void *args) {
    const kd_cross_entropy_args *a = args;
    return a->scale == 0.0f || kd_is_f32(a->gradient);
}

static const kd_variant cross_entropy_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_cross_entropy_cuda})
    KD_VECTOR_VARIANTS(cross_entropy, kd_cross_entropy_on_host)
    {"ref", KD_ISA_REF, kd_cross_entropy_on_host, NULL, cross_entropy_ref},
};
KD_OP(kd_cross_entropy_op, cross_entropy_variants);

kd_status kd_cross_entropy(kd_ctx *ctx, double *loss, const float *logits, kd_array gradient, const int32_t *target, float scale, int64_t M,
                           int64_t V) {
    if (M < 1 || V < 1)
        return kd_fail(KD_EARG, "cross entropy: M=%lld, V=%lld: each must be at least 1", (long long)M, (long long)V);
    return kd_op_run(ctx, &kd_cross_entropy_op, &(kd_cross_entropy_args){loss, logits, gradient, target, scale, M, V});
}

/* The loss of a block of logits and its gradient in place: the public function, the list, the definition. */
#include <math.h>
#include <string.h>

#include "nn_ops.h"

static kd_status loss_row(void *opaque, int64_t m, int64_t thread) {
    const kd_cross_entropy_args *a = opaque;
    (void)thread;
    float *row = a->logits + m * a->V, maximum = -INFINITY;
    int32_t target = a->target[m];
    if (target < 0) {
        a->loss[m] = 0.0;
        if (a->scale != 0.0f) memset(row, 0, (size_t)a->V * sizeof *row);
        return KD_OK;
    }
    for (int64_t v = 0; v < a->V; v++) maximum = row[v] > maximum ? row[v] : maximum;
    double sum = 0.0;
    for (int64_t v = 0; v < a->V; v++) sum += exp((double)row[v] - maximum);
    double loss = log(sum) + maximum - row[target];
    a->loss[m] = loss;
    if (a->scale == 0.0f) return KD_OK;
    for (int64_t v = 0; v < a->V; v++) row[v] = (float)(a->scale * exp((double)row[v] - maximum) / sum);
    row[target] = (float)(a->scale * expm1(-loss));
    return KD_OK;
}

static kd_status cross_entropy_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_cross_entropy_args *a = args;
    (void)workspace;
    KD_TRY(kd_tokens_check("cross entropy", a->target, a->M, -1, a->V));
    return kd_pool_run(ctx->pool, loss_row, (void *)a, a->M);
}

static const kd_variant cross_entropy_variants[] = {
    KD_VECTOR_VARIANTS(cross_entropy)
    {"ref", KD_ISA_REF, NULL, NULL, cross_entropy_ref},
};
KD_OP(kd_cross_entropy_op, cross_entropy_variants);

kd_status kd_cross_entropy(kd_ctx *ctx, double *loss, float *logits, const int32_t *target, float scale, int64_t M,
                           int64_t V) {
    if (M < 1 || V < 1)
        return kd_fail(KD_EARG, "cross entropy: M=%lld, V=%lld: each must be at least 1", (long long)M, (long long)V);
    return kd_op_run(ctx, &kd_cross_entropy_op, &(kd_cross_entropy_args){loss, logits, target, scale, M, V});
}

/* The list of variants, and heads as tasks. */
#include "drift.h"

#include <string.h>

static bool not_eager(const void *args) { return !((const kd_drift *)args)->eager; }

static const kd_variant drift_variants[] = {
    KD_ON_X86({"avx2", KD_ISA_AVX2, not_eager, kd_drift_workspace_avx2, kd_drift_avx2})
    {"ref", KD_ISA_REF, NULL, kd_drift_workspace_ref, kd_drift_ref},
};
KD_OP(kd_drift_op, drift_variants);

typedef struct heads { const kd_drift *drift; kd_drift_head *head; double *workspace; int64_t scratch; } heads;

static kd_status head_task(void *opaque, int64_t h, int64_t thread) {
    const heads *x = opaque;
    const kd_drift *d = x->drift;
    int64_t pairs = d->bases * d->shifts, n = pairs * d->plan->T;
    double *const sums[] = {d->key + h * n, d->key_signed + h * n, d->first + h * n};
    for (int i = 0; i < 3; i++) memset(sums[i], 0, (size_t)n * sizeof(double));
    memset(d->most + h * pairs, 0, (size_t)pairs * sizeof(double));
    d->sink[h] = 0;
    x->head(d, h, x->workspace + thread * x->scratch);
    return KD_OK;
}

kd_status kd_drift_heads(kd_ctx *ctx, const kd_drift *d, kd_drift_head *head, void *workspace, int64_t scratch) {
    heads x = {d, head, workspace, scratch};
    return kd_pool_run(ctx->pool, head_task, &x, d->H);
}

kd_status kd_drift_sums(double **memory, kd_drift *d, int64_t T) {
    int64_t pairs = d->bases * d->shifts, n = d->H * pairs * T;
    KD_TRY(kd_new(memory, 3 * n + d->H * (pairs + 1), sizeof **memory));
    d->key = *memory;
    d->key_signed = d->key + n;
    d->first = d->key_signed + n;
    d->most = d->first + n;
    d->sink = d->most + d->H * pairs;
    return KD_OK;
}

kd_status kd_drift_run(kd_ctx *ctx, const kd_drift *d) { return kd_op_run(ctx, &kd_drift_op, d); }

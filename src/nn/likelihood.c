/* Likelihoods of next tokens from a block of logits: the public function, the list, the definition. */
#include <math.h>

#include "nn_ops.h"

/* The likeliest, by insertion: few rows have more than a few. */
static void list_likeliest(kd_likely *top, int64_t tops, const float *logits, int64_t V) {
    int64_t held = 0;
    for (int64_t v = 0; v < V; v++) {
        double x = logits[v];
        if (held == tops && !(x > top[held - 1].log)) continue;
        int64_t i = held < tops ? held++ : held - 1;
        for (; i > 0 && x > top[i - 1].log; i--) top[i] = top[i - 1];
        top[i] = (kd_likely){(int32_t)v, x};
    }
}

void kd_likelihood_row(const kd_likelihood_args *a, int64_t m, double maximum, double log_sum) {
    const float *logits = a->logits + m * a->V;
    if (a->target && a->target[m] >= 0) {
        double logit = logits[a->target[m]];
        a->likelihood[m] = (kd_likelihood){logit - maximum - log_sum, logit >= maximum};
    }
    if (!a->tops) return;
    kd_likely *top = a->top + m * a->tops;
    list_likeliest(top, a->tops, logits, a->V);
    for (int64_t i = 0; i < a->tops; i++) top[i].log = top[i].log - maximum - log_sum;
}

static kd_status row(void *opaque, int64_t m, int64_t thread) {
    const kd_likelihood_args *a = opaque;
    const float *logits = a->logits + m * a->V;
    (void)thread;
    double maximum = -INFINITY, sum = 0;
    for (int64_t v = 0; v < a->V; v++) maximum = logits[v] > maximum ? logits[v] : maximum;
    for (int64_t v = 0; v < a->V; v++) sum += exp(logits[v] - maximum);
    kd_likelihood_row(a, m, maximum, log(sum));
    return KD_OK;
}

static kd_status likelihood_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_likelihood_args *a = args;
    (void)workspace;
    if (a->target) KD_TRY(kd_tokens_check("likelihood", a->target, a->M, -1, a->V));
    return kd_pool_run(ctx->pool, row, (void *)a, a->M);
}

static const kd_variant likelihood_variants[] = {
    KD_VECTOR_VARIANTS(likelihood, NULL)
    {"ref", KD_ISA_REF, NULL, NULL, likelihood_ref},
};
KD_OP(kd_likelihood_op, likelihood_variants);

kd_status kd_likelihoods(kd_ctx *ctx, kd_likelihood *likelihood, kd_likely *top, int64_t tops, const float *logits, const int32_t *target,
                         int64_t M, int64_t V) {
    if (M < 1 || V < 1 || tops < 0 || tops > KD_TOPS || tops > V)
        return kd_fail(KD_EARG, "likelihoods: M=%lld, V=%lld, the likeliest %lld: at least 1, 1, 0, and at most %d", (long long)M,
                       (long long)V, (long long)tops, KD_TOPS);
    return kd_op_run(ctx, &kd_likelihood_op, &(kd_likelihood_args){likelihood, top, tops, logits, target, M, V});
}

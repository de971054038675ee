/* AdamW: the public function, the list, the definition. */
#include <math.h>

#include "base/half.h"
#include "nn_ops.h"

kd_adamw_factors kd_adamw_prepare(const kd_adamw *adamw, const kd_step_sums *sums) {
    double clip = adamw->clip > 0.0 ? adamw->clip / (sums->grad_norm + 1e-6) : 1.0;
    double correction1 = 1.0 - pow(adamw->beta1, (double)adamw->step);
    double correction2 = 1.0 - pow(adamw->beta2, (double)adamw->step);
    return (kd_adamw_factors){
        .clip = clip < 1.0 ? (float)clip : 1.0f,
        .keep = (float)(1.0 - adamw->lr * adamw->weight_decay),
        .one_beta1 = (float)(1.0 - adamw->beta1),
        .beta2 = (float)adamw->beta2,
        .one_beta2 = (float)(1.0 - adamw->beta2),
        .root = (float)sqrt(correction2),
        .eps = (float)adamw->eps,
        .rate = (float)(adamw->lr / correction1),
    };
}

typedef struct adamw_job { const kd_adamw_args *a; kd_adamw_factors f; } adamw_job;

static kd_status adamw_segment(void *opaque, int64_t task, int64_t thread) {
    const adamw_job *job = opaque;
    const kd_adamw_args *a = job->a;
    const kd_adamw_factors *f = &job->f;
    uint16_t *w16 = a->w16.data;
    (void)thread;
    for (int64_t i = task * KD_SEGMENT, end = kd_segment_end(task, a->n, KD_SEGMENT); i < end; i++) {
        float g = a->g[i] * f->clip;
        float m = fmaf(g - a->m[i], f->one_beta1, a->m[i]);
        float v = fmaf(g * f->one_beta2, g, a->v[i] * f->beta2);
        a->m[i] = m;
        a->v[i] = v;
        a->w[i] = a->w[i] * f->keep - f->rate * (m / (sqrtf(v) / f->root + f->eps));
        if (w16) w16[i] = kd_bf16_round(a->w[i]);
    }
    return KD_OK;
}

static kd_status adamw_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_adamw_args *a = args;
    (void)workspace;
    if (!a->sums->finite) return KD_OK;
    adamw_job job = {a, kd_adamw_prepare(a->adamw, a->sums)};
    return kd_pool_run(ctx->pool, adamw_segment, &job, kd_segments(a->n, KD_SEGMENT));
}

bool kd_adamw_on_host(const void *args) {
    const kd_adamw_args *a = args;
    return !a->w16.data || a->w16.type == KD_VIEW_BF16;
}

static const kd_variant adamw_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_adamw_cuda})
    KD_VECTOR_VARIANTS(adamw, kd_adamw_on_host)
    {"ref", KD_ISA_REF, kd_adamw_on_host, NULL, adamw_ref},
};
KD_OP(kd_adamw_op, adamw_variants);

kd_status kd_adamw_step(kd_ctx *ctx, float *w, kd_array w16, float *m, float *v, const float *g, const kd_step_sums *sums,
                        const kd_adamw *adamw, int64_t n) {
    if (n < 1 || adamw->step < 1)
        return kd_fail(KD_EARG, "AdamW: %lld elements, step %lld: each must be at least 1", (long long)n,
                       (long long)adamw->step);
    return kd_op_run(ctx, &kd_adamw_op, &(kd_adamw_args){w, w16, m, v, g, sums, adamw, n});
}

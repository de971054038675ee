/* AdamW with moments in 8 bits: the public function, the list, the definition. */
#include <math.h>

#include "base/half.h"
#include "nn_ops.h"

enum { TASK_BLOCKS = 64 };

typedef struct job { const kd_adamw_coded_args *a; kd_adamw_factors f; } job;

static kd_coded block_of(kd_coded x, int64_t b) { return (kd_coded){x.code + b * KD_CODED_BLOCK, x.scale + b}; }

static void step_block(const job *j, int64_t b) {
    const kd_adamw_coded_args *a = j->a;
    const kd_adamw_factors *f = &j->f;
    int64_t from = b * KD_CODED_BLOCK, n = kd_segment_end(b, a->n, KD_CODED_BLOCK) - from;
    float m[KD_CODED_BLOCK], v[KD_CODED_BLOCK], *w = a->w + from;
    uint16_t *w16 = a->w16.data;
    kd_coded_widen(m, block_of(a->m, b), true, n);
    kd_coded_widen(v, block_of(a->v, b), false, n);
    for (int64_t i = 0; i < n; i++) {
        float g = a->g[from + i] * f->clip;
        m[i] = fmaf(g - m[i], f->one_beta1, m[i]);
        v[i] = fmaf(g * f->one_beta2, g, v[i] * f->beta2);
        w[i] = w[i] * f->keep - f->rate * (m[i] / (sqrtf(v[i]) / f->root + f->eps));
        if (w16) w16[from + i] = kd_bf16_round(w[i]);
    }
    kd_coded_narrow(block_of(a->m, b), m, true, n);
    kd_coded_narrow(block_of(a->v, b), v, false, n);
}

static kd_status step_task(void *opaque, int64_t task, int64_t thread) {
    const job *j = opaque;
    (void)thread;
    for (int64_t b = task * TASK_BLOCKS, end = kd_segment_end(task, kd_segments(j->a->n, KD_CODED_BLOCK), TASK_BLOCKS); b < end; b++) step_block(j, b);
    return KD_OK;
}

static kd_status adamw_coded_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_adamw_coded_args *a = args;
    (void)workspace;
    if (!a->sums->finite) return KD_OK;
    job j = {a, kd_adamw_prepare(a->adamw, a->sums)};
    return kd_pool_run(ctx->pool, step_task, &j, kd_segments(a->n, TASK_BLOCKS * KD_CODED_BLOCK));
}

static bool on_host(const void *args) {
    const kd_adamw_coded_args *a = args;
    return !a->w16.data || a->w16.type == KD_VIEW_BF16;
}

static const kd_variant adamw_coded_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, kd_adamw_coded_workspace_cuda, kd_adamw_coded_cuda})
    {"ref", KD_ISA_REF, on_host, NULL, adamw_coded_ref},
};
KD_OP(kd_adamw_coded_op, adamw_coded_variants);

kd_status kd_adamw_coded_step(kd_ctx *ctx, float *w, kd_array w16, kd_coded m, kd_coded v, const float *g, const kd_step_sums *sums,
                              const kd_adamw *adamw, int64_t n) {
    if (n < 1 || adamw->step < 1)
        return kd_fail(KD_EARG, "AdamW: %lld elements, step %lld: each must be at least 1", (long long)n, (long long)adamw->step);
    return kd_op_run(ctx, &kd_adamw_coded_op, &(kd_adamw_coded_args){w, w16, m, v, g, sums, adamw, n});
}

/* Attention's front door: arguments are checked once, then the best variant runs. */
#include "attn.h"

#include <math.h>
#include <stdlib.h>

#include "attn_variants.h"

/* Rounded logits and probabilities are the definition's alone. */
static bool not_eager(const void *args) { return !kd_rung_of(args)->eager; }

#define ON_CUDA(name, isa, function) \
    KD_ON_CUDA({name, isa, kd_attn_supports_##function, kd_attn_workspace_##function, kd_attn_##function})

/* sm90-atomic adds to dq in whatever order tiles come: faster, and other bits in every run. It stands behind a variant that serves as
 * much, so it is taken by its name alone. */
static const kd_variant attn_forward_variants[] = {
    ON_CUDA("sm90", KD_ISA_SM90, forward_sm90)
    ON_CUDA("sm90-atomic", KD_ISA_SM90, forward_sm90)
    ON_CUDA("sm80", KD_ISA_SM80, forward_sm80)
    ON_CUDA("cuda-plain", KD_ISA_SM80, forward_plain)
    KD_ON_X86({"avx512", KD_ISA_AVX512, not_eager, kd_attn_workspace_forward, kd_attn_forward_avx512})
    KD_ON_X86({"avx2", KD_ISA_AVX2, not_eager, kd_attn_workspace_forward, kd_attn_forward_avx2})
    {"ref", KD_ISA_REF, NULL, kd_attn_workspace_forward_ref, kd_attn_forward_ref},
};
KD_OP(kd_attn_forward_op, attn_forward_variants);

static const kd_variant attn_backward_variants[] = {
    ON_CUDA("sm90", KD_ISA_SM90, backward_sm90)
    ON_CUDA("sm90-atomic", KD_ISA_SM90, backward_sm90_atomic)
    ON_CUDA("sm80", KD_ISA_SM80, backward_sm80)
    ON_CUDA("cuda-plain", KD_ISA_SM80, backward_plain)
    KD_ON_X86({"avx512", KD_ISA_AVX512, not_eager, kd_attn_workspace_backward, kd_attn_backward_avx512})
    KD_ON_X86({"avx2", KD_ISA_AVX2, not_eager, kd_attn_workspace_backward, kd_attn_backward_avx2})
    {"ref", KD_ISA_REF, NULL, kd_attn_workspace_backward_ref, kd_attn_backward_ref},
};
KD_OP(kd_attn_backward_op, attn_backward_variants);

static kd_status check_rotation(const kd_attn *a, int64_t t, int64_t r) {
    if (llabs(r) < a->rope->positions) return KD_OK;
    return kd_fail(KD_EARG, "attention: token %lld turns by %lld, the rotary table has %lld positions", (long long)t,
                   (long long)r, (long long)a->rope->positions);
}

/* Every rotation must lie in the table. Read from the plan: the device's copy may be out of the host's reach. */
static kd_status check_rotations(const kd_attn *a) {
    kd_attn on_host = *a;
    on_host.position = NULL;
    const kd_plan *plan = a->plan;
    bool kept = kd_anchor_is_kept(a);
    if (plan->anchors && kept) KD_TRY(check_rotation(a, 0, plan->position[0]));
    for (int64_t n = 0; n < plan->N; n++)
        for (int64_t t = plan->start[n]; t < plan->start[n + 1]; t++) {
            KD_TRY(check_rotation(a, t, kd_attn_rotation(&on_host, n, t)));
            if (plan->anchors && !kept) KD_TRY(check_rotation(a, t, kd_attn_distance(&on_host, t)));
        }
    return KD_OK;
}

static kd_status check_views(const kd_attn *a, bool backward) {
    const struct { const char *name; const kd_view *view; } all[] = {
        {"q", &a->q}, {"k", &a->k}, {"v", &a->v}, {"o", &a->o}, {"dout", &a->dout}, {"dq", &a->dq}, {"dk", &a->dk}, {"dv", &a->dv},
    };
    for (int i = 0; i < (backward ? 8 : 4); i++) {
        const kd_view *x = all[i].view;
        if (x->type < KD_VIEW_F32 || x->type > KD_VIEW_F16)
            return kd_fail(KD_EARG, "attention: %s: there is no view of type %d", all[i].name, (int)x->type);
        if (x->type == KD_VIEW_F32 ? !x->data : !x->half) return kd_fail(KD_EARG, "attention: %s is missing", all[i].name);
    }
    return a->lse ? KD_OK : kd_fail(KD_EARG, "attention: lse is missing");
}

static kd_status check_stretch(const char *name, kd_stretch x, int64_t T) {
    if (!x.from && !x.to) return KD_OK;
    if (x.from >= 0 && x.from < x.to && x.to <= T) return KD_OK;
    return kd_fail(KD_EARG, "attention: %s %lld..%lld of a window of %lld tokens", name, (long long)x.from, (long long)x.to, (long long)T);
}

kd_status kd_attn_check(const kd_ctx *ctx, const kd_attn *a, bool backward) {
    if (!a->plan || !a->rope) return kd_fail(KD_EARG, "attention: %s is missing", a->plan ? "rope" : "plan");
    if (a->E < 2 || a->E > 256 || a->E % 2)
        return kd_fail(KD_EARG, "attention: head size %lld is not even in 2..256", (long long)a->E);
    if (a->G < 1 || a->H < 1 || a->H % a->G)
        return kd_fail(KD_EARG, "attention: %lld query heads on %lld key/value heads", (long long)a->H, (long long)a->G);
    if (a->plan->anchors < 0 || a->plan->anchors > 1)
        return kd_fail(KD_ENOTSUP, "attention: %lld anchors, there are kernels for 0 and 1", (long long)a->plan->anchors);
    if (a->rope->E != a->E)
        return kd_fail(KD_EARG, "attention: head size %lld, the rotary table's is %lld", (long long)a->E,
                       (long long)a->rope->E);
    const char *name = kd_precision_name(a->precision);
    if (!name) return kd_fail(KD_EARG, "attention: there is no precision %d", (int)a->precision);
    if (kd_ladder[a->rope->precision].angles != kd_rung_of(a)->angles)
        return kd_fail(KD_EARG, "attention: precision %s, the rotary table is made for %s", name,
                       kd_precision_name(a->rope->precision));
    if (!(a->scale >= 0 && isfinite(a->scale)))
        return kd_fail(KD_EARG, "attention: scale %g is not positive", (double)a->scale);
    if (a->plan->T == 0) return KD_OK;
    KD_TRY(check_stretch("rows", a->rows, a->plan->T));
    KD_TRY(check_stretch("keys", a->keys, a->plan->T));
    if (ctx->measuring) return KD_OK;
    KD_TRY(check_views(a, backward));
    return check_rotations(a);
}

static kd_status run(kd_ctx *ctx, const kd_op *op, const kd_attn *attn, bool backward) {
    kd_attn a = *attn;
    const kd_rope still = kd_rope_still(a.E, a.precision);
    if (!a.rope) a.rope = &still;
    KD_TRY(kd_attn_check(ctx, &a, backward));
    return a.plan->T ? kd_op_run(ctx, op, &a) : KD_OK;
}

kd_status kd_attn_forward(kd_ctx *ctx, const kd_attn *attn) { return run(ctx, &kd_attn_forward_op, attn, false); }

kd_status kd_attn_backward(kd_ctx *ctx, const kd_attn *attn) { return run(ctx, &kd_attn_backward_op, attn, true); }

/* Token embeddings: rows of a table, and rows added to one. Bound by memory, so plain C serves every machine. */
#include <string.h>

#include "base/half.h"
#include "nn_ops.h"

enum { COLUMNS = 256 };  /* of the table, for a task of the backward */

kd_status kd_tokens_check(const char *what, const int32_t *token, int64_t M, int64_t low, int64_t V) {
    for (int64_t m = 0; m < M; m++)
        if (token[m] < low || token[m] >= V)
            return kd_fail(KD_EARG, "%s: token %d at %lld is outside %lld..%lld", what, token[m], (long long)m,
                           (long long)low, (long long)V - 1);
    return KD_OK;
}

static kd_status gather_row(void *opaque, int64_t m, int64_t thread) {
    const kd_embedding_args *a = opaque;
    (void)thread;
    float *out = kd_floats(a->out) + m * a->C;
    kd_array in = kd_at(a->in, a->token[m] * a->C);
    const uint16_t *half = in.data;
    if (in.type == KD_VIEW_F32) memcpy(out, in.data, (size_t)a->C * sizeof(float));
    else
        for (int64_t c = 0; c < a->C; c++) out[c] = in.type == KD_VIEW_F16 ? kd_f16_widen(half[c]) : kd_bf16_widen(half[c]);
    return KD_OK;
}

static kd_status embedding_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_embedding_args *a = args;
    (void)workspace;
    KD_TRY(kd_tokens_check("embedding forward", a->token, a->M, 0, a->V));
    return kd_pool_run(ctx->pool, gather_row, (void *)a, a->M);
}

/* A task owns columns, so tokens that repeat are added in order by one thread. */
static kd_status scatter_columns(void *opaque, int64_t task, int64_t thread) {
    const kd_embedding_args *a = opaque;
    (void)thread;
    int64_t begin = task * COLUMNS, end = kd_segment_end(task, a->C, COLUMNS);
    for (int64_t m = 0; m < a->M; m++) {
        int64_t row = a->token[m] * a->C - a->at;  /* where it begins in dw, or would */
        int64_t from = row + begin < 0 ? -row : begin, to = row + end > a->count ? a->count - row : end;
        const float *dout = kd_floats(a->in) + m * a->C;
        float *dw = kd_floats(a->out);
        for (int64_t c = from; c < to; c++) dw[row + c] += dout[c];
    }
    return KD_OK;
}

static kd_status embedding_backward_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_embedding_args *a = args;
    (void)workspace;
    KD_TRY(kd_tokens_check("embedding backward", a->token, a->M, 0, a->V));
    return kd_pool_run(ctx->pool, scatter_columns, (void *)a, kd_segments(a->C, COLUMNS));
}

bool kd_embedding_on_host(const void *args) { return kd_is_f32(((const kd_embedding_args *)args)->out); }
bool kd_embedding_backward_on_host(const void *args) { return kd_is_f32(((const kd_embedding_args *)args)->in); }

static const kd_variant embedding_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_embedding_cuda})
    {"ref", KD_ISA_REF, kd_embedding_on_host, NULL, embedding_ref},
};
static const kd_variant embedding_backward_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, NULL, NULL, kd_embedding_backward_cuda})
    {"ref", KD_ISA_REF, kd_embedding_backward_on_host, NULL, embedding_backward_ref},
};
KD_OP(kd_embedding_op, embedding_variants);
KD_OP(kd_embedding_backward_op, embedding_backward_variants);

static kd_status check(const char *what, int64_t M, int64_t V, int64_t C) {
    if (M >= 1 && V >= 1 && C >= 1) return KD_OK;
    return kd_fail(KD_EARG, "%s: M=%lld, V=%lld, C=%lld: each must be at least 1", what, (long long)M, (long long)V,
                   (long long)C);
}

kd_status kd_embedding_forward(kd_ctx *ctx, kd_array out, kd_array w, const int32_t *token, int64_t M, int64_t V, int64_t C) {
    KD_TRY(check("embedding forward", M, V, C));
    return kd_op_run(ctx, &kd_embedding_op, &(kd_embedding_args){.out = out, .in = w, .token = token, .M = M, .V = V, .C = C});
}

kd_status kd_embedding_backward(kd_ctx *ctx, float *dw, kd_array dout, const int32_t *token, int64_t M, int64_t V, int64_t C, int64_t at,
                                int64_t count) {
    KD_TRY(check("embedding backward", M, V, C));
    if (at < 0 || count < 0 || at > V * C - count)
        return kd_fail(KD_EARG, "embedding backward: elements %lld..%lld of %lld", (long long)at, (long long)(at + count),
                       (long long)(V * C));
    return kd_op_run(ctx, &kd_embedding_backward_op,
                     &(kd_embedding_args){.out = kd_f32(dw), .in = dout, .token = token, .M = M, .V = V, .C = C, .at = at, .count = count});
}

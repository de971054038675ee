/* Matrix products: the public functions and the list of variants. */
#include "nn_ops.h"

bool kd_matmul_on_host(const void *args) {
    const kd_matmul_args *a = args;
    return kd_is_f32(a->out) && kd_is_f32(a->left) && kd_is_f32(a->bias) && kd_is_f32(a->residual) &&
           (a->form != KD_FORM_TN || kd_is_f32(a->right));
}

static const kd_variant matmul_variants[] = {
    KD_ON_CUDA({"cuda", KD_ISA_SM80, kd_matmul_supports_cuda, kd_matmul_workspace_cuda, kd_matmul_cuda})
    KD_ON_X86({"avx512-few", KD_ISA_AVX512, kd_matmul_few_supports_avx512, NULL, kd_matmul_few_avx512},
              {"avx2-few", KD_ISA_AVX2, kd_matmul_few_supports_avx2, NULL, kd_matmul_few_avx2})
    KD_ON_X86({"avx512", KD_ISA_AVX512, kd_matmul_on_host, kd_matmul_workspace_avx512, kd_matmul_avx512},
              {"avx2", KD_ISA_AVX2, kd_matmul_on_host, kd_matmul_workspace_avx2, kd_matmul_avx2})
    KD_ON_CBLAS({"cblas", KD_ISA_YARDSTICK, kd_matmul_supports_cblas, NULL, kd_matmul_cblas})
    {"ref", KD_ISA_REF, kd_matmul_on_host, NULL, kd_matmul_ref},
};
KD_OP(kd_matmul_op, matmul_variants);

static kd_status check(const char *what, int64_t M, int64_t N, int64_t K) {
    if (M >= 1 && N >= 1 && K >= 1) return KD_OK;
    return kd_fail(KD_EARG, "%s: M=%lld, N=%lld, K=%lld: each must be at least 1", what, (long long)M, (long long)N,
                   (long long)K);
}

kd_status kd_linear_forward(kd_ctx *ctx, kd_array y, kd_array x, kd_array w, kd_array bias, kd_array residual, int64_t M,
                            int64_t N, int64_t K) {
    KD_TRY(check("linear forward", M, N, K));
    return kd_op_run(ctx, &kd_matmul_op, &(kd_matmul_args){.form = KD_FORM_NT, .out = y, .left = x, .right = w, .bias = bias,
                                                           .residual = residual, .rows = M, .columns = N, .sum = K});
}

kd_status kd_linear_backward_input(kd_ctx *ctx, kd_array dx, kd_array dy, kd_array w, bool add, int64_t M, int64_t N, int64_t K) {
    KD_TRY(check("linear backward input", M, N, K));
    return kd_op_run(ctx, &kd_matmul_op, &(kd_matmul_args){.form = KD_FORM_NN, .add = add, .out = dx, .left = dy, .right = w, .rows = M,
                                                           .columns = K, .sum = N});
}

kd_status kd_linear_backward_weight(kd_ctx *ctx, const kd_tree *dw, int64_t at, kd_array dy, kd_array x, int64_t M, int64_t N, int64_t K) {
    KD_TRY(check("linear backward weight", M, N, K));
    if (dw->count > 1 && kd_tree_token(dw, dw->count) != M)
        return kd_fail(KD_EARG, "linear backward weight: %lld leaves are not %lld tokens", (long long)dw->count, (long long)M);
    return kd_op_run(ctx, &kd_matmul_op, &(kd_matmul_args){.form = KD_FORM_TN, .out = kd_f32(dw->sum[0] + at), .left = dy, .right = x,
                                                           .rows = N, .columns = K, .sum = M, .tree = dw, .at = at});
}

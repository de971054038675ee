/* Matrix products: the public functions and the list of variants. */
#include "nn_ops.h"

static const kd_variant matmul_variants[] = {
    KD_ON_X86({"avx512", KD_ISA_AVX512, NULL, kd_matmul_workspace_avx512, kd_matmul_avx512},
              {"avx2", KD_ISA_AVX2, NULL, kd_matmul_workspace_avx2, kd_matmul_avx2})
    {"ref", KD_ISA_REF, NULL, NULL, kd_matmul_ref},
};
KD_OP(kd_matmul_op, matmul_variants);

static kd_status check(const char *what, int64_t M, int64_t N, int64_t K) {
    if (M >= 1 && N >= 1 && K >= 1) return KD_OK;
    return kd_fail(KD_EARG, "%s: M=%lld, N=%lld, K=%lld: each must be at least 1", what, (long long)M, (long long)N,
                   (long long)K);
}

kd_status kd_linear_forward(kd_ctx *ctx, float *y, const float *x, const float *w, const float *bias, int64_t M,
                            int64_t N, int64_t K) {
    KD_TRY(check("linear forward", M, N, K));
    return kd_op_run(ctx, &kd_matmul_op, &(kd_matmul_args){KD_FORM_NT, false, y, x, w, bias, M, N, K});
}

kd_status kd_linear_backward_input(kd_ctx *ctx, float *dx, const float *dy, const float *w, bool add, int64_t M,
                                   int64_t N, int64_t K) {
    KD_TRY(check("linear backward input", M, N, K));
    return kd_op_run(ctx, &kd_matmul_op, &(kd_matmul_args){KD_FORM_NN, add, dx, dy, w, NULL, M, K, N});
}

kd_status kd_linear_backward_weight(kd_ctx *ctx, float *dw, float *dbias, const float *dy, const float *x, int64_t M,
                                    int64_t N, int64_t K) {
    KD_TRY(check("linear backward weight", M, N, K));
    KD_TRY(kd_op_run(ctx, &kd_matmul_op, &(kd_matmul_args){KD_FORM_TN, true, dw, dy, x, NULL, N, K, M}));
    return dbias ? kd_column_sum(ctx, dbias, dy, M, N) : KD_OK;
}

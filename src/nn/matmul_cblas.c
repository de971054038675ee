/* Matrix products by OpenBLAS, with make CBLAS=1: what the others are measured beside. Never chosen to compute: its bits
 * change with the number of threads. */
#include <cblas.h>

#include "nn_ops.h"

bool kd_matmul_supports_cblas(const void *args) {
    const kd_matmul_args *a = args;
    return kd_matmul_on_host(a) && kd_is_f32(a->right) && !a->bias.data && !a->residual.data && !a->tree;
}

kd_status kd_matmul_cblas(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_matmul_args *a = args;
    (void)workspace;
    bool left_turned = a->form == KD_FORM_TN, right_turned = a->form == KD_FORM_NT;
    openblas_set_num_threads((int)kd_pool_threads(ctx->pool));
    cblas_sgemm(CblasRowMajor, left_turned ? CblasTrans : CblasNoTrans, right_turned ? CblasTrans : CblasNoTrans, (int)a->rows,
                (int)a->columns, (int)a->sum, 1, a->left.data, (int)(left_turned ? a->rows : a->sum), a->right.data,
                (int)(right_turned ? a->sum : a->columns), a->add ? 1 : 0, a->out.data, (int)a->columns);
    return KD_OK;
}

/* Matrix products, the definition: one ascending chain of fmaf for every output element. */
#include <math.h>

#include "nn_ops.h"

static kd_status multiply_row(void *opaque, int64_t i, int64_t thread) {
    const kd_matmul_args *a = opaque;
    (void)thread;
    int64_t left_row = a->form == KD_FORM_TN ? 1 : a->sum, left_step = a->form == KD_FORM_TN ? a->rows : 1;
    int64_t right_column = a->form == KD_FORM_NT ? a->sum : 1, right_step = a->form == KD_FORM_NT ? 1 : a->columns;
    for (int64_t j = 0; j < a->columns; j++) {
        float *out = &a->out[i * a->columns + j], chain = a->add ? *out : a->bias ? a->bias[j] : 0.0f;
        for (int64_t p = 0; p < a->sum; p++)
            chain = fmaf(a->left[i * left_row + p * left_step], a->right[j * right_column + p * right_step], chain);
        *out = chain;
    }
    return KD_OK;
}

kd_status kd_matmul_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_matmul_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, multiply_row, (void *)a, a->rows);
}

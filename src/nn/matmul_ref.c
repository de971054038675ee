/* Matrix products, the definition: one ascending chain of fmaf for every output element. */
#include <math.h>

#include "base/half.h"
#include "nn_ops.h"

static float right(const kd_matmul_args *a, int64_t at) {
    if (a->right.type == KD_VIEW_F32) return kd_floats(a->right)[at];
    uint16_t half = ((const uint16_t *)a->right.data)[at];
    return a->right.type == KD_VIEW_F16 ? kd_f16_widen(half) : kd_bf16_widen(half);
}

/* start + sum_p left(i,p) * right(p,j) for p in from .. to-1. */
static float chain(const kd_matmul_args *a, int64_t i, int64_t j, float start, int64_t from, int64_t to) {
    int64_t left_row = a->form == KD_FORM_TN ? 1 : a->sum, left_step = a->form == KD_FORM_TN ? a->rows : 1;
    int64_t right_column = a->form == KD_FORM_NT ? a->sum : 1, right_step = a->form == KD_FORM_NT ? 1 : a->columns;
    const float *left = kd_floats(a->left) + i * left_row;
    for (int64_t p = from; p < to; p++) {
        int64_t at = j * right_column + p * right_step;
        start = fmaf(left[p * left_step], right(a, at), start);
    }
    return start;
}

/* The block's leaves are merged in `sum`; what they complete is merged in the tree's own sums. */
static void tree_element(const kd_matmul_args *a, int64_t i, int64_t j) {
    const kd_tree *tree = a->tree;
    int64_t at = a->at + i * a->columns + j;
    float sum[64];
    for (int64_t leaf = 0; leaf < tree->count; leaf++) {
        int64_t from = tree->count > 1 ? kd_tree_token(tree, leaf) : 0, to = tree->count > 1 ? kd_tree_token(tree, leaf + 1) : a->sum;
        int64_t depth = kd_tree_depth(leaf);
        sum[depth] = chain(a, i, j, tree->begins ? 0 : tree->sum[0][at], from, to);
        for (int64_t k = kd_tree_merges(leaf); k > 0 && depth > 0; k--, depth--) sum[depth - 1] += sum[depth];
    }
    float all = sum[0];
    int64_t last = tree->ends ? tree->merges : 0;
    for (int64_t k = 1; k <= last; k++) all = tree->sum[k][at] + all;
    tree->sum[last][at] = all;
}

static kd_status multiply_row(void *opaque, int64_t i, int64_t thread) {
    const kd_matmul_args *a = opaque;
    (void)thread;
    for (int64_t j = 0; j < a->columns; j++) {
        float *out = kd_floats(a->out) + i * a->columns + j;
        if (a->tree) {
            tree_element(a, i, j);
            continue;
        }
        float sum = chain(a, i, j, a->add ? *out : a->bias.data ? kd_floats(a->bias)[j] : 0.0f, 0, a->sum);
        *out = a->residual.data ? kd_floats(a->residual)[i * a->columns + j] + sum : sum;
    }
    return KD_OK;
}

kd_status kd_matmul_ref(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_matmul_args *a = args;
    (void)workspace;
    return kd_pool_run(ctx->pool, multiply_row, (void *)a, a->rows);
}

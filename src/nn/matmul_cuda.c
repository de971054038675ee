/* Matrix products on CUDA: what cuBLASLt is asked for (dev/blas_cuda.h), and the tree of a weight's gradient, product by product. */
#include "dev/blas_cuda.h"
#include "nn_gpu.h"
#include "nn_ops.h"

enum {
    LEAF_ROOM = 64 << 20,   /* bytes of leaves' sums at a time: a larger gradient is made stretch by stretch of its rows */
    STRETCH = 128,          /* rows, of which a stretch has a multiple: every stretch is aligned like the whole */
};

/* 16-bit inputs give 16 bits of their kind or float32; what is added is of the output's type. */
bool kd_matmul_supports_cuda(const void *args) {
    const kd_matmul_args *a = args;
    if (a->left.type != a->right.type || (a->out.type != KD_VIEW_F32 && a->out.type != a->left.type)) return false;
    if (a->tree) return a->form == KD_FORM_TN && a->out.type == KD_VIEW_F32;
    if (a->residual.data && (a->add || a->residual.type != a->out.type)) return false;
    return !a->bias.data || a->add || a->bias.type == a->out.type;
}

/* ---- a tree's leaves ----------------------------------------------------------------------------------------------------------- */

/* Sums beside the tree's own that merging the block's leaves takes. */
static int64_t leaf_sums(const kd_matmul_args *a) { return a->tree ? __builtin_ctzll((unsigned long long)a->tree->count) : 0; }

static int64_t stretch_of(const kd_matmul_args *a) {
    int64_t sums = leaf_sums(a);
    if (!sums) return a->rows;
    int64_t rows = LEAF_ROOM / (sums * a->columns * (int64_t)sizeof(float)) / STRETCH * STRETCH;
    if (rows < STRETCH) rows = STRETCH;
    return rows < a->rows ? rows : a->rows;
}

int64_t kd_matmul_workspace_cuda(const kd_ctx *ctx, const void *args) {
    const kd_matmul_args *a = args;
    (void)ctx;
    return KD_BLAS_WORKSPACE + leaf_sums(a) * stretch_of(a) * a->columns * (int64_t)sizeof(float);
}

/* What all products of these arguments have in common. */
static kd_blas_product product_of(const kd_ctx *ctx, const kd_matmul_args *a) {
    bool turned = a->form == KD_FORM_TN;
    return (kd_blas_product){.left_turned = turned, .right_turned = a->form == KD_FORM_NT, .type = a->left.type, .out_type = a->out.type,
                             .rows = a->rows, .columns = a->columns, .sum = a->sum, .usual_rows = turned ? a->rows : ctx->block,
                             .usual_sum = turned ? ctx->block : a->sum, .left_stride = turned ? a->rows : a->sum, .out = a->out.data,
                             .left = a->left.data, .right = a->right.data};
}

/* The tree over rows from .. from+rows-1: each leaf into the sum of its depth, of which `own` holds all but the first. */
static kd_status tree_stretch(kd_ctx *ctx, const kd_matmul_args *a, int64_t from, int64_t rows, float *own, void *workspace) {
    const kd_tree *tree = a->tree;
    cudaStream_t stream = ctx->cuda->stream;
    int64_t at = a->at + from * a->columns, n = rows * a->columns;
    float *sum[64] = {tree->sum[0] + at};
    for (int64_t d = 1; d <= leaf_sums(a); d++) sum[d] = own + (d - 1) * n;
    for (int64_t leaf = 0; leaf < tree->count; leaf++) {
        int64_t begin = tree->count > 1 ? kd_tree_token(tree, leaf) : 0, end = tree->count > 1 ? kd_tree_token(tree, leaf + 1) : a->sum;
        int64_t depth = kd_tree_depth(leaf);
        kd_blas_product p = product_of(ctx, a);
        p.rows = rows;
        p.sum = end - begin;
        p.out = sum[depth];
        p.start = tree->begins ? NULL : sum[depth];
        p.left = kd_at(a->left, begin * a->rows + from).data;
        p.right = kd_at(a->right, begin * a->columns).data;
        KD_TRY(kd_blas_multiply(ctx, &p, workspace));
        for (int64_t k = kd_tree_merges(leaf); k > 0 && depth > 0; k--, depth--)
            KD_TRY(kd_gpu_add_f32(sum[depth - 1], sum[depth], n, stream));
    }
    for (int64_t k = 1; tree->ends && k <= tree->merges; k++) KD_TRY(kd_gpu_add_f32(tree->sum[k] + at, tree->sum[k - 1] + at, n, stream));
    return KD_OK;
}

static kd_status tree_of_products(kd_ctx *ctx, const kd_matmul_args *a, void *workspace) {
    float *own = (float *)((char *)workspace + KD_BLAS_WORKSPACE);
    int64_t stretch = stretch_of(a);
    for (int64_t from = 0; from < a->rows; from += stretch)
        KD_TRY(tree_stretch(ctx, a, from, a->rows - from < stretch ? a->rows - from : stretch, own, workspace));
    return KD_OK;
}

kd_status kd_matmul_cuda(kd_ctx *ctx, const void *args, void *workspace) {
    const kd_matmul_args *a = args;
    if (a->tree) return tree_of_products(ctx, a, workspace);
    kd_blas_product p = product_of(ctx, a);
    p.bias = a->add ? NULL : a->bias.data;
    p.start = a->add ? a->out.data : a->residual.data;
    return kd_blas_multiply(ctx, &p, workspace);
}

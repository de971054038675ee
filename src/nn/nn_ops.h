/* The operations of this folder as lists of variants, for dispatch, tests and benchmarks. Public functions are in nn.h.
 * Sizes and pointers mean what they mean there. */
#ifndef KD_NN_OPS_H
#define KD_NN_OPS_H

#include "nn.h"

/* out[i,j] = residual[i,j] + (start[i,j] + sum_p left(i,p) * right(p,j)), p ascending, one chain of FMAs for each element.
 * The start is out's old value when `add`, else bias[j], else 0. residual NULL: nothing is added; it is not out.
 * out [rows, columns] is contiguous.
 *   NT  left(i,p) = left[i, p]   right(p,j) = right[j, p]
 *   NN  left(i,p) = left[i, p]   right(p,j) = right[p, j]
 *   TN  left(i,p) = left[p, i]   right(p,j) = right[p, j]
 * With a tree (TN alone; add, bias and residual are not read) p counts the tokens of a block, out is tree->sum[0] + at, and
 * the rest is kd_tree's (nn.h).
 * On CUDA left and right are of one type; bias and residual are, and out is unless it is float32 (logits, a tree). */
typedef enum kd_form { KD_FORM_NT, KD_FORM_NN, KD_FORM_TN } kd_form;
typedef struct kd_matmul_args {
    kd_form form;
    bool add;
    kd_array out;              /* f32 with a tree */
    kd_array left, right, bias, residual;  /* bias, residual: data NULL where there is none */
    int64_t rows, columns, sum;
    const kd_tree *tree;
    int64_t at;
} kd_matmul_args;

/* ---- trees, in which item i of a binary tree over items in order is added to the sum of its depth ---------------- */

static inline int64_t kd_tree_depth(int64_t i) { return __builtin_popcountll((unsigned long long)i); }
/* As many sums before it as item i completes. */
static inline int64_t kd_tree_merges(int64_t i) { return __builtin_ctzll(~(unsigned long long)i); }
/* Chains that a block is cut into. */
static inline int64_t kd_tree_leaves(const kd_tree *tree) { return tree ? tree->count : 1; }
/* The first token of the block's leaf i, counted from the block's first. */
static inline int64_t kd_tree_token(const kd_tree *tree, int64_t i) {
    return (tree->leaf + i) * tree->T / tree->leaves - tree->leaf * tree->T / tree->leaves;
}

typedef struct kd_column_sum_args { float *out; kd_array x; int64_t M, N; } kd_column_sum_args;
typedef struct kd_rmsnorm_args {
    kd_array out, x, w;
    float *rinv;
    float eps;
    int64_t M, C;
} kd_rmsnorm_args;
typedef struct kd_rmsnorm_backward_args {
    kd_array dx;
    float *dw;
    kd_array dout, x, w;
    const float *rinv;
    int64_t M, C;
} kd_rmsnorm_backward_args;
typedef struct kd_swiglu_args { kd_array out, gate, up; int64_t n; } kd_swiglu_args;
typedef struct kd_swiglu_backward_args {
    kd_array dgate, dup, out, dout, gate, up;  /* out.data NULL: not wanted */
    int64_t n;
} kd_swiglu_backward_args;
typedef struct kd_pair_args { kd_array out, x; int64_t n; } kd_pair_args;  /* zero, rounding: x is not read */
typedef struct kd_embedding_args {
    kd_array out;        /* [M,C] forward, dw [count], f32, backward */
    kd_array in;         /* w [V,C] forward, dout [M,C] backward */
    const int32_t *token;
    int64_t M, V, C;
    int64_t at, count;   /* backward: the table's elements that dw is */
} kd_embedding_args;
typedef struct kd_cross_entropy_args {
    double *loss;
    const float *logits;
    kd_array gradient;   /* may be the logits, in place; not written when scale is 0 */
    const int32_t *target;
    float scale;
    int64_t M, V;
} kd_cross_entropy_args;
typedef struct kd_likelihood_args {
    kd_likelihood *likelihood;
    kd_likely *top;
    int64_t tops;
    const float *logits;
    const int32_t *target;
    int64_t M, V;
} kd_likelihood_args;
typedef struct kd_sum_loss_args { kd_step_sums *sums; const double *loss; int64_t T; } kd_sum_loss_args;
typedef struct kd_sum_squares_args { double *partial; const float *g; int64_t n; } kd_sum_squares_args;
typedef struct kd_sum_norm_args { kd_step_sums *sums; const double *partial; int64_t segments; } kd_sum_norm_args;
typedef struct kd_adamw_args {
    float *w;
    kd_array w16;        /* data NULL: there is no copy in 16 bits */
    float *m, *v;
    const float *g;
    const kd_step_sums *sums;
    const kd_adamw *adamw;
    int64_t n;
} kd_adamw_args;
typedef struct kd_adamw_coded_args {
    float *w;
    kd_array w16;
    kd_coded m, v;
    const float *g;
    const kd_step_sums *sums;
    const kd_adamw *adamw;
    int64_t n;
} kd_adamw_coded_args;

extern const kd_op kd_matmul_op, kd_column_sum_op, kd_rmsnorm_op, kd_rmsnorm_backward_op, kd_swiglu_op,
    kd_swiglu_backward_op, kd_add_op, kd_zero_op, kd_copy_op, kd_round_bf16_op, kd_embedding_op, kd_embedding_backward_op,
    kd_cross_entropy_op, kd_likelihood_op, kd_sum_loss_op, kd_sum_squares_op, kd_sum_norm_op, kd_adamw_op, kd_adamw_coded_op;

/* KD_EARG naming the first of token[0..M-1] outside low..V-1. For operations: token lies on the device. */
kd_status kd_tokens_check(const char *what, const int32_t *token, int64_t M, int64_t low, int64_t V);

/* What is wanted of row m, whose largest logit and the logarithm of whose sum of e^(logit - maximum) are given (likelihood.c). */
void kd_likelihood_row(const kd_likelihood_args *args, int64_t m, double maximum, double log_sum);

/* The step's scalars, in double as torch.optim.AdamW has them, then rounded once. */
typedef struct kd_adamw_factors { float clip, keep, one_beta1, beta2, one_beta2, root, eps, rate; } kd_adamw_factors;
kd_adamw_factors kd_adamw_prepare(const kd_adamw *adamw, const kd_step_sums *sums);

/* Elements a task of a pointwise operation takes. */
#define KD_SEGMENT 16384
static inline int64_t kd_segments(int64_t n, int64_t size) { return (n + size - 1) / size; }
static inline int64_t kd_segment_end(int64_t task, int64_t n, int64_t size) {
    return (task + 1) * size < n ? (task + 1) * size : n;
}

/* What a variant serves of arrays: float32, or nothing. */
static inline bool kd_is_f32(kd_array a) { return !a.data || a.type == KD_VIEW_F32; }

/* What host variants serve. */
bool kd_matmul_on_host(const void *args);
bool kd_column_sum_on_host(const void *args);
bool kd_rmsnorm_on_host(const void *args);
bool kd_rmsnorm_backward_on_host(const void *args);
bool kd_swiglu_on_host(const void *args);
bool kd_swiglu_backward_on_host(const void *args);
bool kd_pair_on_host(const void *args);
bool kd_embedding_on_host(const void *args);
bool kd_embedding_backward_on_host(const void *args);
bool kd_cross_entropy_on_host(const void *args);
bool kd_adamw_on_host(const void *args);

/* Vector variants are named kd_<op>_<isa>; their sources write KD_VECTOR(op), with VISA from the vocabulary. */
#define KD_PASTE3(op, isa) kd_##op##_##isa
#define KD_PASTE2(op, isa) KD_PASTE3(op, isa)
#define KD_VECTOR(op) KD_PASTE2(op, VISA)

#define KD_VECTOR_DECLARE(op)                                              \
    kd_status kd_##op##_avx2(kd_ctx *ctx, const void *args, void *workspace); \
    kd_status kd_##op##_avx512(kd_ctx *ctx, const void *args, void *workspace)
#define KD_VECTOR_VARIANTS(op, supports) \
    KD_ON_X86({"avx512", KD_ISA_AVX512, supports, NULL, kd_##op##_avx512}, {"avx2", KD_ISA_AVX2, supports, NULL, kd_##op##_avx2})

KD_VECTOR_DECLARE(matmul);
KD_VECTOR_DECLARE(matmul_few);
KD_VECTOR_DECLARE(column_sum);
KD_VECTOR_DECLARE(rmsnorm);
KD_VECTOR_DECLARE(rmsnorm_backward);
KD_VECTOR_DECLARE(swiglu);
KD_VECTOR_DECLARE(swiglu_backward);
KD_VECTOR_DECLARE(add);
KD_VECTOR_DECLARE(cross_entropy);
KD_VECTOR_DECLARE(likelihood);
KD_VECTOR_DECLARE(adamw);
int64_t kd_matmul_workspace_avx2(const kd_ctx *ctx, const void *args);
int64_t kd_matmul_workspace_avx512(const kd_ctx *ctx, const void *args);
bool kd_matmul_few_supports_avx2(const void *args);
bool kd_matmul_few_supports_avx512(const void *args);
kd_status kd_matmul_ref(kd_ctx *ctx, const void *args, void *workspace);
bool kd_matmul_supports_cblas(const void *args);
kd_status kd_matmul_cblas(kd_ctx *ctx, const void *args, void *workspace);

/* On CUDA sums over tokens (of column_sum and rmsnorm_backward) are cut by the token's place in the block: KD_GPU_GROUP tokens are one
 * ascending chain from 0, KD_GPU_STRETCH groups are one ascending chain of their sums from 0, and to the old value the stretches' sums
 * are added in ascending order. */
enum { KD_GPU_GROUP = 16, KD_GPU_STRETCH = 16 };

/* CUDA's: matmul_cuda.c, and the kernels of *.cu. Those that need scratch say how much. */
#if defined(KD_CUDA)
#define KD_CUDA_DECLARE(op) kd_status kd_##op##_cuda(kd_ctx *ctx, const void *args, void *workspace)
#define KD_CUDA_WORKSPACE(op) int64_t kd_##op##_workspace_cuda(const kd_ctx *ctx, const void *args)
KD_CUDA_DECLARE(matmul);
KD_CUDA_DECLARE(column_sum);
KD_CUDA_DECLARE(rmsnorm);
KD_CUDA_DECLARE(rmsnorm_backward);
KD_CUDA_DECLARE(swiglu);
KD_CUDA_DECLARE(swiglu_backward);
KD_CUDA_DECLARE(add);
KD_CUDA_DECLARE(zero);
KD_CUDA_DECLARE(copy);
KD_CUDA_DECLARE(round_bf16);
KD_CUDA_DECLARE(embedding);
KD_CUDA_DECLARE(embedding_backward);
KD_CUDA_DECLARE(cross_entropy);
KD_CUDA_DECLARE(sum_loss);
KD_CUDA_DECLARE(sum_squares);
KD_CUDA_DECLARE(sum_norm);
KD_CUDA_DECLARE(adamw);
KD_CUDA_DECLARE(adamw_coded);
KD_CUDA_WORKSPACE(adamw_coded);
KD_CUDA_WORKSPACE(matmul);
bool kd_matmul_supports_cuda(const void *args);
KD_CUDA_WORKSPACE(column_sum);
KD_CUDA_WORKSPACE(rmsnorm_backward);
KD_CUDA_WORKSPACE(sum_loss);
KD_CUDA_WORKSPACE(sum_norm);
#endif

#endif

/* The layers that work token by token: forward and backward side by side.
 *
 * Legend: M tokens (a block: at most the context's), C, F, V as in kedge.h, N and K output and input features. All pointers
 * are the device's. Arrays of one call have the types that a variant of its device serves: on the host float32, but for what is said
 * to be of any type; on CUDA float32 throughout or bf16 throughout. KD_ENOTSUP where none does. Every operation gives the same bits
 * for any number of threads, and a token's results do not depend on the tokens beside it. "Adds" means that the output's old values
 * are the start of the chain of additions: calling it block after block continues one ascending sum over tokens. All return KD_EARG
 * for sizes below 1. */
#ifndef KD_NN_H
#define KD_NN_H

#include "coded.h"
#include "dev/op.h"

enum { KD_BLOCK = KD_HOST_BLOCK };  /* tokens: the most that a matrix product sees, of whatever runs on the host alone */

/* Numbers in the device's memory, as they are stored there: float32, bf16 or float16. Inputs are not written. Operations compute in
 * float32 and round what they store. */
typedef struct kd_array { void *data; kd_view_type type; } kd_array;

static inline kd_array kd_f32(const float *data) {
    kd_array a = {(void *)data, KD_VIEW_F32};
    return a;
}
/* Where an array may be missing. */
static inline kd_array kd_none(void) { return kd_f32(0); }
static inline kd_array kd_bf16(const uint16_t *data) {
    kd_array a = {(void *)data, KD_VIEW_BF16};
    return a;
}
static inline int64_t kd_type_size(kd_view_type type) { return type == KD_VIEW_F32 ? 4 : 2; }
/* From element i on; nothing stays nothing. */
static inline kd_array kd_at(kd_array a, int64_t i) {
    if (a.data) a.data = (char *)a.data + i * kd_type_size(a.type);
    return a;
}
/* Of float32 alone. */
static inline float *kd_floats(kd_array a) { return (float *)a.data; }

/* Sums over tokens are a binary tree over a step's (window, leaf), each leaf one ascending chain: the same bits however the
 * tree is shared out. Item i of a tree (kd_tree_depth) adds up in the sum of depth popcount(i); what it completes it is
 * merged with, nearest first, as earlier + later. This is one block's part of it. */
enum { KD_TREE_SUMS = 32 };
typedef struct kd_tree {
    int64_t T, leaves;    /* tokens of a window, leaves they are cut into: leaf i begins with token iT/leaves */
    int64_t leaf, count;  /* the block holds leaves leaf .. leaf+count-1 whole, count a power of two that divides leaf; or a part
                             of one leaf, count 1 */
    bool begins, ends;    /* whether the block has its last leaf's first token, and its last */
    int64_t merges;       /* once it ends: with how many sums before it */
    float *sum[KD_TREE_SUMS];  /* where the block adds up; then those sums, the last of which takes all in */
} kd_tree;

/* ---- matrix products (matmul.c): one ascending chain of FMAs over the summed index for every output element ---- */

/* y[m,n] = residual[m,n] + (bias[n] + sum_k x[m,k] * w[n,k]); no bias: the chain starts from 0; no residual: nothing is
 * added.  y [M,N] overwritten, not residual [M,N]; x [M,K], w [N,K]. w of any type: the bits of widened weights. */
kd_status kd_linear_forward(kd_ctx *ctx, kd_array y, kd_array x, kd_array w, kd_array bias, kd_array residual, int64_t M,
                            int64_t N, int64_t K);
/* dx[m,k] = sum_n dy[m,n] * w[n,k], or added to dx when `add`.  dx [M,K], dy [M,N], w [N,K], of any type. */
kd_status kd_linear_backward_input(kd_ctx *ctx, kd_array dx, kd_array dy, kd_array w, bool add, int64_t M, int64_t N, int64_t K);
/* dw[n,k] += sum_m dy[m,n] * x[m,k] in the tree, whose sums have dw [N,K] at `at`. */
kd_status kd_linear_backward_weight(kd_ctx *ctx, const kd_tree *dw, int64_t at, kd_array dy, kd_array x, int64_t M, int64_t N, int64_t K);
/* out[n] += sum_m x[m,n], a bias's gradient: one ascending chain for each column. Adds. */
kd_status kd_column_sum(kd_ctx *ctx, float *out, kd_array x, int64_t M, int64_t N);

/* ---- normalisation (rmsnorm.c) ------------------------------------------------------------------------------- */

/* out[m,c] = x[m,c] * rinv[m] * w[c],  rinv[m] = 1/sqrt(mean_c x[m,c]^2 + eps).
 * Source: Zhang & Sennrich 2019; eps inside the root, as in Hugging Face's Llama. out may be x; rinv [M] is kept. */
kd_status kd_rmsnorm_forward(kd_ctx *ctx, kd_array out, float *rinv, kd_array x, kd_array w, float eps, int64_t M, int64_t C);
/* dx[m,:] += the gradient through the norm of dout [M,C] (adds: the residual path is already there);
 * dw[c] += sum_m dout[m,c] * x[m,c] * rinv[m]. */
kd_status kd_rmsnorm_backward(kd_ctx *ctx, kd_array dx, float *dw, kd_array dout, kd_array x, const float *rinv, kd_array w,
                              int64_t M, int64_t C);

/* ---- pointwise (pointwise.c) ------------------------------------------------------------------------------ */

/* out[i] = silu(gate[i]) * up[i],  silu(x) = x/(1+e^-x). out may be gate or up. Source: Shazeer 2020. */
kd_status kd_swiglu_forward(kd_ctx *ctx, kd_array out, kd_array gate, kd_array up, int64_t n);
/* dgate, dup overwritten (may be gate, up) from dout, gate, up. out: the forward's result again, unless there is none. */
kd_status kd_swiglu_backward(kd_ctx *ctx, kd_array dgate, kd_array dup, kd_array out, kd_array dout, kd_array gate, kd_array up, int64_t n);
/* out[i] += x[i] */
kd_status kd_add(kd_ctx *ctx, kd_array out, kd_array x, int64_t n);
kd_status kd_zero(kd_ctx *ctx, kd_array out, int64_t n);
/* out and x do not overlap; of any types: what is narrower than x is rounded to nearest, ties to even. */
kd_status kd_copy(kd_ctx *ctx, kd_array out, kd_array x, int64_t n);
/* x[i] = the nearest bf16 number, ties to even; a NaN stays one. */
kd_status kd_round_bf16(kd_ctx *ctx, kd_array x, int64_t n);

/* ---- embedding (embedding.c) ------------------------------------------------------------------------------ */

/* out[m,:] = w[token[m],:], w of any type. KD_EARG naming the token if one is outside 0..V-1; on CUDA with what waits for it next. */
kd_status kd_embedding_forward(kd_ctx *ctx, kd_array out, kd_array w, const int32_t *token, int64_t M, int64_t V, int64_t C);
/* table[token[m],:] += dout[m,:], m ascending, of a table [V,C] that dw [count] is a stretch of: its elements from `at` on. */
kd_status kd_embedding_backward(kd_ctx *ctx, float *dw, kd_array dout, const int32_t *token, int64_t M, int64_t V, int64_t C, int64_t at,
                                int64_t count);

/* ---- loss (cross_entropy.c) -------------------------------------------------------------------------------- */

/* loss[m] = ln sum_v e^logits[m,v] - logits[m,target[m]] in double from a float32 row maximum, 0 where target is -1.
 * gradient [M,V] = scale * (softmax - onehot), 0 rows where target is -1: the logits in place, or apart from them; scale 0: nothing is
 * written. KD_EARG naming the token if a target is >= V; on CUDA with what waits for it next. */
kd_status kd_cross_entropy(kd_ctx *ctx, double *loss, const float *logits, kd_array gradient, const int32_t *target, float scale, int64_t M,
                           int64_t V);

/* ---- likelihoods (likelihood.c) ------------------------------------------------------------------------------ */

typedef struct kd_likelihood { double log; bool best; } kd_likelihood;  /* ln p; whether no other token is likelier */
typedef struct kd_likely { int32_t token; double log; } kd_likely;      /* a token and its ln p */

/* likelihood[m] of target[m] where it is not -1, and top[m, 0..tops-1], the likeliest tokens, of equals the lowest first, from logits
 * [M,V], which are kept: ln p[v] = logits[v] - max - ln sum_u e^(logits[u] - max), in double. likelihood or target NULL: only top. tops
 * at most KD_TOPS and V; 0: none. Equal logits have equal ln p. KD_EARG naming the token if a target is >= V. */
enum { KD_TOPS = 64 };
kd_status kd_likelihoods(kd_ctx *ctx, kd_likelihood *likelihood, kd_likely *top, int64_t tops, const float *logits, const int32_t *target,
                         int64_t M, int64_t V);

/* ---- sums over the whole step (reduce.c), in double and in index order ------------------------------------------ */

#define KD_NORM_SEGMENT 4096 /* canonical elements: a partial sum of squares */

/* What the host reads once at the end of a step. */
typedef struct kd_step_sums {
    double loss;       /* sum of the targets' losses */
    double grad_norm;  /* 2-norm of the whole gradient, before clipping */
    int64_t finite;    /* 0: loss or norm is NaN or infinite, and the step must not be taken */
} kd_step_sums;

/* sums->loss = sum_t loss[t], t ascending. Overwritten. */
kd_status kd_sum_loss(kd_ctx *ctx, kd_step_sums *sums, const double *loss, int64_t T);
/* partial[s] = the sum of g[i]^2 over segment s of KD_NORM_SEGMENT elements, the last may be shorter. */
kd_status kd_sum_squares(kd_ctx *ctx, double *partial, const float *g, int64_t n);
/* sums->grad_norm = sqrt(sum of partial[s]), s ascending; sums->finite, from it and from sums->loss, which is there already. */
kd_status kd_sum_norm(kd_ctx *ctx, kd_step_sums *sums, const double *partial, int64_t segments);

/* ---- AdamW (adamw.c) ---------------------------------------------------------------------------------------- */

typedef struct kd_adamw {
    double lr, beta1, beta2, eps, weight_decay;  /* double: 1 - 0.999f is off by 1.3e-5 */
    double clip;          /* the gradient is scaled by min(1, clip / (norm + 1e-6)); 0: not clipped */
    int64_t step;         /* 1 for the first */
} kd_adamw;

/* Source: Loshchilov & Hutter 2019, in the form of torch.optim.AdamW: w *= 1 - lr*weight_decay, then
 * w -= lr/(1-beta1^step) * m / (sqrt(v)/sqrt(1-beta2^step) + eps). w, m, v [n] updated in place; w16 [n], bf16, if there is one, is w
 * rounded to nearest, ties to even. Nothing is changed when sums->finite is 0. */
kd_status kd_adamw_step(kd_ctx *ctx, float *w, kd_array w16, float *m, float *v, const float *g, const kd_step_sums *sums,
                        const kd_adamw *adamw, int64_t n);

/* The same with moments in 8 bits (coded.h), m signed and v positive, which begin with a block: each block is widened, stepped as above, and
 * coded again; weights are updated from the moments before they are coded. */
kd_status kd_adamw_coded_step(kd_ctx *ctx, float *w, kd_array w16, kd_coded m, kd_coded v, const float *g, const kd_step_sums *sums,
                              const kd_adamw *adamw, int64_t n);

#endif

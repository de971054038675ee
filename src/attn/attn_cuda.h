/* Attention on CUDA: a window is prepared once for each call, then kernels for tensor cores work on packed 16-bit numbers.
 *
 *   prepare   turns q and k in float32, keeps them as the precision says, packed by head; v in bf16; the anchor's logit in float32
 *   forward   the kernel of this machine (attn_sm90_forward.cu, attn_sm80.cu), over tiles of queries
 *   before    (backward) delta = dout.o, dout in bf16, the anchor's own gradients
 *   backward  the kernel of this machine, over tiles of keys
 *   after     turns dq and dk back, adds the anchor's share, writes what the caller asked for
 *
 * The device has no float32 product worth the name: precisions exact and f32-angle are served by attn_plain.cu, in float32, slowly.
 * Rows and keys are those of kd_attn's stretches, counted from their first: row r is token rows.from + r. */
#ifndef KD_ATTN_CUDA_H
#define KD_ATTN_CUDA_H

#include "attn_cuda_tiles.h"
#include "dev/cuda.h"

/* What q and k are kept as. dS, which is multiplied with them, is float16 in F16, scaled by sigma, else bf16. P, V, dO: bf16. */
typedef enum kd_gpu_mode { KD_GPU_BF16, KD_GPU_F16, KD_GPU_SPLIT, KD_GPU_MODES } kd_gpu_mode;

/* One run of a kernel. Pointers are the device's. Ep: E padded with zeros to 64, 96, 128 or 256. */
typedef struct kd_gpu_attn {
    int32_t rows, keys;             /* packed */
    int32_t H, G, Ep, E;
    int32_t lead;                   /* row r of a document sees its key j iff j <= r + lead */
    kd_gpu_mode mode;
    float scale2;                   /* the logits' scale * log2(e): P = exp2(scale2 * q.k - lse2) */
    const kd_gpu_tile *tile;
    int32_t tiles;
    int32_t *next;                  /* [1] zero before the launch: the next work item, which blocks take one by one */
    const uint16_t *q, *q_low;      /* [H][rows][Ep]; q_low, k_low: split alone */
    const uint16_t *k, *k_low;      /* [G][keys][Ep] */
    const uint16_t *v;              /* [G][keys][Ep] bf16 */
    const float *anchor_logit2;     /* [H][rows] base 2: scale2 * the anchor's logit before scaling; NULL: there is no anchor */
    const float *anchor_value;      /* [G][Ep] */
    const int32_t *unfit;           /* not 0: a number was beyond float16. The kernel of mode F16 returns at once if it is set, that of
                                       BF16, when run_if_unfit, if it is not */
    bool run_if_unfit;
    /* forward */
    kd_view o;                      /* rows of it are packed rows; E elements each */
    float *lse;                     /* [H][rows] natural logarithm; -infinity where a row sees nothing, and o is 0 */
    /* backward */
    const uint16_t *dout;           /* [H][rows][Ep] bf16 */
    const float *lse2, *delta;      /* [H][rows]: log2(e) * lse (+infinity where lse is -infinity: P becomes 0); dO.O */
    const float *sigma;             /* [2] a power of two that float16 dS are multiplied by, and 1/it; 1 in other modes */
    float *dq;                      /* [H][rows][Ep] written whole where a row sees a key (order 0 writes, the others add in order):
                                       sum_j sigma dS_ij k_j, not yet times scale and 1/sigma */
    float *dk, *dv;                 /* [G][keys][Ep] written whole, over the group's heads: sum sigma dS_ij q_i; sum P_ij dO_i */
    int32_t *turn;                  /* [H][turns] zero before the launch: key tiles that have added to a block of rows; NULL: dq is zero
                                       before, and tiles add as they come (atomically) */
    int32_t turns;
    int32_t multiprocessors;
    cudaStream_t stream;
} kd_gpu_attn;

#ifdef __cplusplus
extern "C" {
#endif

/* ---- kernels: enqueue, and return what the launch was refused for -------------------------------------------------------- */
/* Whether there is a kernel for this padded head size and mode, and the tiles it wants. */
bool kd_attn_sm90_forward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode);
bool kd_attn_sm90_backward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode);
bool kd_attn_sm80_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode);
kd_status kd_attn_sm90_forward(const kd_gpu_attn *x);
kd_status kd_attn_sm90_backward(const kd_gpu_attn *x);
kd_status kd_attn_sm80_forward(const kd_gpu_attn *x);
kd_status kd_attn_sm80_backward(const kd_gpu_attn *x);

/* How often a batch of heads was done again in bf16 so far, because a number was beyond float16. Waits. */
kd_status kd_attn_cuda_fallbacks(int64_t *count, kd_ctx *ctx);

#ifdef __cplusplus
}
#endif

#endif

/* What stands around attention's kernels on CUDA: packing what they read, unpacking what they made. One struct for all of it, which
 * kernels take by value. */
#ifndef KD_ATTN_CUDA_CALL_H
#define KD_ATTN_CUDA_CALL_H

#include "attn_cuda.h"
#include "dev/cuda.h"

#define KD_LOG2_E 1.44269504088896340736f

/* One run: a batch of key/value heads and their query heads. Views and lse begin at the batch's first head; pointers are the device's.
 * Packed arrays are [heads][rows or keys][Ep], padded with zeros. */
typedef struct kd_gpu_call {
    int32_t rows, keys, H, G, E, Ep;
    int32_t first_row, first_key;    /* tokens of packed row 0, and of packed key 0 */
    float scale;
    bool sees_anchor;                /* key 0 is the anchor */
    bool anchor_row;                 /* row 0 is the anchor's */
    bool anchor_kept;                /* kd_anchor_is_kept */
    bool plain;                      /* packed numbers are float32, a pair's sum; else 16 bits */
    bool bf16_products;              /* the rung's, as what follows */
    kd_angles angles;
    kd_storage storage;
    const int32_t *rotation;         /* [T] what each token is turned by among its document's */
    const int32_t *position;         /* [T] window positions */
    int32_t origin;                  /* the anchor's */
    /* kd_rope, without any of them kd_rope_still; inv_freq [E/2] only beside coarse and fine */
    const float *table, *exact;
    const double *coarse, *fine, *inv_freq;
    kd_view q, k, v, o, dout, dq, dk, dv;
    const float *lse;                /* [H][rows] backward */
    void *packed_q, *q_low, *packed_k, *k_low;  /* low: pairs in 16 bits alone */
    void *packed_v, *packed_dout;    /* bf16, or float32 */
    float *anchor_logit2;            /* [H][rows] scale * log2(e) * (its query . the anchor's key) */
    float *anchor_value;             /* [G][Ep] */
    float *lse2, *delta;             /* [H][rows] as kd_gpu_attn has them */
    float *anchor_ds;                /* [H][rows] the gradient of the anchor's scaled logit */
    float *parts;                    /* [kd_attn_parts][G][2][E] */
    float *sums;                     /* [G][2][E] over rows and the group's heads: dS times turned queries, P times dout */
    int32_t *most;                   /* [3] bits of float32, zero before: the largest |dout row|^2, |v row|^2, |delta| */
    float *sigma;                    /* [2] */
    int32_t *unfit;                  /* set where a finite number is beyond float16; NULL: not looked at */
    bool if_unfit;                   /* do it again, if it is set; else do nothing */
    int32_t *fallbacks;              /* how often it was done again */
    float *packed_dq, *packed_dk, *packed_dv;
    cudaStream_t stream;
} kd_gpu_call;

#ifdef __cplusplus
extern "C" {
#endif

/* Blocks of kd_attn_pack_queries along the rows. */
int64_t kd_attn_parts(int64_t rows, int64_t E);

/* ---- attn_cuda_prepare.cu ------------------------------------------------------------------------------------------------ */
/* k turned and kept, v; the anchor's value; most[1]. */
kd_status kd_attn_pack_keys(const kd_gpu_call *x);
/* q turned and kept; anchor_logit2. Backward also dout, lse2, delta, anchor_ds, parts, most[0], most[2]. Reads no packed keys. */
kd_status kd_attn_pack_queries(const kd_gpu_call *x, bool backward);
/* sums out of parts, in one order; sigma out of most: 1 unless q and k are float16. */
kd_status kd_attn_sum_parts(const kd_gpu_call *x);

/* ---- attn_cuda_finish.cu ------------------------------------------------------------------------------------------------- */
/* dq out of packed_dq: times scale / sigma, turned back, with the anchor's share. */
kd_status kd_attn_unpack_dq(const kd_gpu_call *x);
/* dk, dv out of packed_dk and packed_dv, and the anchor's out of sums. */
kd_status kd_attn_unpack_dkv(const kd_gpu_call *x);

/* ---- attn_plain.cu: float32 on ordinary units; packed numbers are float32 ------------------------------------------------ */
kd_gpu_shape kd_attn_plain_shape(int64_t Ep);
/* The fields of kd_gpu_attn that are uint16_t * point to float32; mode, next and turn are not looked at. Backward: x's tiles for dk and dv,
 * the forward's for dq. */
kd_status kd_attn_plain_forward(const kd_gpu_attn *x);
kd_status kd_attn_plain_backward(const kd_gpu_attn *x, const kd_gpu_tile *forward_tile, int32_t forward_tiles);

#ifdef __cplusplus
}
#endif

#endif

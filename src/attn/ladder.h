/* The ladder of rotary precisions, rung by rung: whose angles, what is kept of a turned row, what else is rounded.
 *
 * What a rung keeps is defined to the bit, here, in plain float32 without fused operations: every variant of attention
 * keeps the same numbers, and PyTorch's elementwise operations make them too. What comes after them is float32 (double
 * in the definition). `exact` alone is free to fuse: it keeps what it computes. */
#ifndef KD_LADDER_H
#define KD_LADDER_H

#include "rope.h"

typedef enum kd_storage { KD_STORE_F32, KD_STORE_BF16, KD_STORE_F16, KD_STORE_PAIR } kd_storage;

typedef struct kd_rung {
    const char *name;
    kd_angles angles;
    kd_storage storage;   /* PAIR: hi = bf16(x) and lo = bf16(x - hi) */
    bool bf16_products;   /* the rotation's own operations are rounded, their operands before */
    bool eager;           /* q.k, logits and probabilities are rounded */
} kd_rung;

extern const kd_rung kd_ladder[KD_PRECISIONS];

static inline const kd_rung *kd_rung_of(const kd_attn *a) { return &kd_ladder[a->precision]; }

/* Whether the anchor's key is turned and kept like every key. Exact loses nothing by leaving it and turning queries by
 * their distance from the anchor, which is their position where the anchor stands at 0. */
static inline bool kd_anchor_is_kept(const kd_attn *a) {
    return a->frame == KD_FRAME_WINDOW && a->precision != KD_PRECISION_EXACT;
}

/* out [E] = what the rung keeps of x [E] turned by row (cosines, then sines; sign -1: the other way). low [E]: the second
 * number of a pair, else not touched. out may be x. False: a finite number is beyond float16. */
bool kd_rung_turn(float *out, float *low, const float *x, const float *row, float sign, int64_t E, const kd_rung *rung);

/* KD_ENUMERIC for a row of token t that kd_rung_turn refused; what: "query" or "key". */
kd_status kd_rung_unfit(const kd_attn *a, const char *what, int64_t t, int64_t head);

/* The eager rung's two further roundings, as eager PyTorch makes them: of a product of matrices, of that times scale. */
float kd_eager_logit(float product, float scale);
float kd_eager_probability(float probability);

#endif

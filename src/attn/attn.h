/* Attention inside the library: the list of variants, and the definition in double for tests. */
#ifndef KD_ATTN_H
#define KD_ATTN_H

#include "dev/op.h"
#include "ladder.h"

/* args: const kd_attn *. Best first, the definition in float32 last. */
extern const kd_op kd_attn_forward_op, kd_attn_backward_op;

/* The queries, and the keys, that attention is of. */
static inline kd_stretch kd_attn_rows(const kd_attn *a) { return a->rows.to ? a->rows : (kd_stretch){0, a->plan->T}; }
static inline kd_stretch kd_attn_keys(const kd_attn *a) { return a->keys.to ? a->keys : (kd_stretch){0, a->plan->T}; }

/* Whether the anchor is among the keys. */
static inline bool kd_attn_sees_anchor(const kd_attn *a) { return a->plan->anchors && a->keys.from == 0; }

static inline int64_t kd_stretch_count(kd_stretch x) { return x.to - x.from; }

/* What two of them have in common, perhaps nothing. */
static inline kd_stretch kd_stretch_both(kd_stretch x, kd_stretch y) {
    kd_stretch both = {x.from > y.from ? x.from : y.from, x.to < y.to ? x.to : y.to};
    if (both.to < both.from) both.to = both.from;
    return both;
}

/* Those of document n. */
static inline kd_stretch kd_stretch_of_document(const kd_plan *plan, int64_t n, kd_stretch x) {
    return kd_stretch_both(x, (kd_stretch){plan->start[n], plan->start[n + 1]});
}

/* kd_plan_pairs of these queries and keys alone (plan.c). */
int64_t kd_stretch_pairs(const kd_plan *plan, kd_stretch rows, kd_stretch keys);

/* The window position of token t; the anchor's is that of token 0. */
static inline int64_t kd_attn_position(const kd_attn *a, int64_t t) {
    return a->position ? a->position[t] : a->plan->position[t];
}

/* From the anchor to token t: what the query is rotated by for the anchor's logit, unless kd_anchor_is_kept. */
static inline int64_t kd_attn_distance(const kd_attn *a, int64_t t) {
    return kd_attn_position(a, t) - kd_attn_position(a, 0);
}

/* The position that token t of document n is rotated by among the document's own tokens. */
static inline int64_t kd_attn_rotation(const kd_attn *a, int64_t n, int64_t t) {
    return kd_attn_position(a, t) - (a->frame == KD_FRAME_DOCUMENT ? a->plan->base[n] : 0);
}

/* A window of N documents whose tokens stand one after another: measurements and single texts. length[n] >= 1; otherwise as
 * kd_plan_init (plan.c). */
kd_status kd_plan_init_lengths(kd_plan *plan, const kd_plan_options *options, const int32_t *token, const int64_t *length, int64_t N);

/* A window of token [count], in documents of `length` each, the last of what is left: measurements and single texts. length
 * >= 1; otherwise as kd_plan_init (plan.c). */
kd_status kd_plan_init_even(kd_plan *plan, const kd_plan_options *options, const int32_t *token, int64_t count, int64_t length);

/* KD_OK if the arguments are in range, else a message with the values. While ctx measures, views may be NULL. */
kd_status kd_attn_check(const kd_ctx *ctx, const kd_attn *a, bool backward);

/* The definition in double: dense loops, contiguous [T,H,E] and [T,G,E], lse [H,T]; angles and sines in double.
 * shape holds plan, rope->inv_freq, frame, precision, H, G, E, scale; its views are not read. What a rung of the ladder
 * below exact keeps is made in float32, as ladder.h defines it. Allocates. The gradients are overwritten. KD_ENUMERIC as
 * kd_attn_forward. */
kd_status kd_attn_define_forward(double *o, double *lse, const double *q, const double *k, const double *v,
                                 const kd_attn *shape);
kd_status kd_attn_define_backward(double *dq, double *dk, double *dv, const double *dout, const double *q,
                                  const double *k, const double *v, const double *o, const double *lse,
                                  const kd_attn *shape);

/* logit [H, T, T] by the definition in float32, from attn->q and attn->k. Row i: in column 0 the anchor's if there is one,
 * in column j those of keys j of its own document; -infinity elsewhere. For measurements: H T^2 floats. */
kd_status kd_attn_logits(kd_ctx *ctx, float *logit, const kd_attn *attn);

#endif

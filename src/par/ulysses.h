/* Sequence parallelism by heads: each rank has a stretch of every window's tokens, and for attention all tokens of some
 * heads. Source: Jacobs et al. 2023 (DeepSpeed-Ulysses).
 *
 * Rank r of P has tokens r*T/P .. (r+1)*T/P-1 and query heads r*H/P .. (r+1)*H/P-1 with the key/value heads that these read.
 * P divides H, and P divides G or G divides P; then a key/value head comes to several ranks, whose dk and dv are summed as
 * the tree over a group's heads that one rank would make: P/G and H/P are powers of two. Attention of a head does not depend
 * on other heads, so everything has the same bits as on one rank. */
#ifndef KD_ULYSSES_H
#define KD_ULYSSES_H

#include "attn/attn.h"
#include "base/arena.h"
#include "comm.h"

/* Attention of all tokens and this rank's heads, of one window: contiguous [T, H/P, E], k and v [T, G', E], lse [H/P, T]. */
typedef struct kd_ulysses_kept { float *q, *k, *v, *o, *lse; } kd_ulysses_kept;

typedef struct kd_ulysses {
    kd_comm *comm;
    int64_t T, H, G, E;
    int64_t first, count;      /* this rank's tokens */
    int64_t q_heads, kv_heads; /* this rank's: H/P, G' */
    float *send, *recv;        /* the packed exchange */
    float *dout, *dq, *dk, *dv;/* of this rank's heads, as in kd_ulysses_kept; NULL without a backward */
    int64_t *counts;           /* [4][P] of a move */
} kd_ulysses;

/* Places the buffers; an arena that measures is allowed. KD_EARG with values if P does not fit T, H and G. */
kd_status kd_ulysses_init(kd_ulysses *u, kd_comm *comm, int64_t T, int64_t H, int64_t G, int64_t E, bool backward, kd_arena *arena);
/* Room for so many windows, and that of one of them. On one rank lse alone: the rest is not copied. */
void kd_ulysses_keep(kd_ulysses_kept *kept, const kd_ulysses *u, int64_t windows, kd_arena *arena);
kd_ulysses_kept kd_ulysses_kept_of(const kd_ulysses_kept *kept, const kd_ulysses *u, int64_t window);

/* kd_attn_forward with this rank's tokens in a->q, k, v, o, in float32; a's plan, heads and sizes are the whole window's; a->lse is
 * not read. What the backward needs is left in kept. On one rank, and while ctx only measures, it is kd_attn_forward itself. */
kd_status kd_ulysses_forward(kd_ctx *ctx, kd_ulysses *u, const kd_attn *a, const kd_ulysses_kept *kept);

/* kd_attn_backward in the same way: a->dout, dq, dk, dv are this rank's tokens; of several, a->q, k, v, o are not read. */
kd_status kd_ulysses_backward(kd_ctx *ctx, kd_ulysses *u, const kd_attn *a, const kd_ulysses_kept *kept);

#endif

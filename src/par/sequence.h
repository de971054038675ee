/* Sequence parallelism: attention of windows that several ranks share, in one of several modes. Rank r of P has tokens
 * r*T/P .. (r+1)*T/P-1 of each window; on one rank every mode is plain attention.
 *
 *   ulysses      a rank computes all tokens of some heads (ulysses.c): the bits of one rank, P divides H
 *   allgather    some blocks of queries, all keys (allgather.c): o, lse and dq with the bits of one rank; dk and dv are sums over ranks
 *   zigzag       queries of two blocks, keys and values go round a ring (zigzag.c): outputs merged by their lse, in float32
 *   zigzag-bf16  the same with each step's part rounded to bf16, as public implementations have it: to compare */
#ifndef KD_SEQUENCE_H
#define KD_SEQUENCE_H

#include "attn/attn.h"
#include "base/arena.h"
#include "comm.h"

typedef enum kd_sequence_mode {
    KD_SEQUENCE_ULYSSES, KD_SEQUENCE_ALLGATHER, KD_SEQUENCE_ZIGZAG, KD_SEQUENCE_ZIGZAG_BF16, KD_SEQUENCE_MODES
} kd_sequence_mode;

/* "ulysses", ...; NULL where there is none. */
const char *kd_sequence_mode_name(kd_sequence_mode mode);

/* What the backward needs of one window, as the mode lays it out; of modes that keep no inputs lse alone. */
typedef struct kd_sequence_kept { float *q, *k, *v, *o, *lse; } kd_sequence_kept;

/* All tokens of this rank's heads: H/P, and G' of keys. */
typedef struct kd_ulysses { int64_t q_heads, kv_heads; float *dout, *dq, *dk, *dv; } kd_ulysses;
/* Keys and values of all tokens, their gradients of one block's queries and of all its: of so many key/value heads at once, [T, 2, heads, E]. */
typedef struct kd_allgather { int64_t heads; float *kv, *part, *dkv, *dout, *dq; } kd_allgather;
typedef struct kd_zigzag {
    bool bf16;
    float *travel[2], *dtravel[2];     /* all keys, then all values; their gradients */
    float *step, *step_lse, *part, *part_lse;  /* of one block's rows; the backward's dq in step and part */
    float *dout, *dq, *step_dkv, *part_dkv;
} kd_zigzag;

/* A block of queries, and its query/key pairs. */
typedef struct kd_dealt { int64_t block, pairs; } kd_dealt;

typedef struct kd_sequence {
    const struct kd_sequence_way *way;
    kd_comm *comm;
    int64_t T, H, G, E;
    int64_t first, count;       /* this rank's tokens */
    bool keeps_inputs;          /* a window's q, k and v need not outlive its forward */
    int64_t kept_q, kept_kv, kept_lse;  /* floats that a window keeps of q or o, of k or v, of lse */
    float *send, *recv;         /* the packed exchange */
    int64_t *counts;            /* [2][4][P] of two moves */
    int64_t blocks;             /* of queries, that each rank computes (blocks.h) */
    kd_dealt *deal;             /* [2][P, blocks]; NULL: in zigzag order */
    union { kd_ulysses ulysses; kd_allgather allgather; kd_zigzag zigzag; };
} kd_sequence;

/* Places the buffers; an arena that measures is allowed. KD_EARG with values if the ranks do not fit T, H and G. */
kd_status kd_sequence_init(kd_sequence *s, kd_sequence_mode mode, kd_comm *comm, int64_t T, int64_t H, int64_t G, int64_t E, bool backward,
                           kd_arena *arena);
/* Room for so many windows, and that of one of them. */
void kd_sequence_keep(kd_sequence_kept *kept, const kd_sequence *s, int64_t windows, kd_arena *arena);
kd_sequence_kept kd_sequence_kept_of(const kd_sequence_kept *kept, const kd_sequence *s, int64_t window);

/* kd_attn_forward with this rank's tokens in a->q, k, v, o, in float32; a's plan, heads and sizes are the whole window's; a->lse is
 * not read. What the backward needs is left in kept. While ctx measures, only attention is. Collective. */
kd_status kd_sequence_forward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept);

/* kd_attn_backward in the same way: a->dout, dq, dk, dv are this rank's tokens; a->q, k, v, o are not read where keeps_inputs. */
kd_status kd_sequence_backward(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept);

/* Query/key pairs that this rank computes of a window, over all heads. */
int64_t kd_sequence_pairs(kd_sequence *s, const kd_plan *plan);

#endif

/* What a mode of sequence parallelism is, and what modes share. Private to src/par. */
#ifndef KD_SEQUENCE_WAYS_H
#define KD_SEQUENCE_WAYS_H

#include "sequence.h"

/* init, of several ranks: checks, sets keeps_inputs and what is kept, places buffers; the rest as sequence.h has it. */
typedef struct kd_sequence_way {
    kd_status (*init)(kd_sequence *s, bool backward, kd_arena *arena);
    kd_status (*forward)(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept);
    kd_status (*backward)(kd_ctx *ctx, kd_sequence *s, const kd_attn *a, const kd_sequence_kept *kept);
    int64_t (*pairs)(kd_sequence *s, const kd_plan *plan);
} kd_sequence_way;

extern const kd_sequence_way kd_ulysses_way, kd_allgather_way, kd_zigzag_way, kd_zigzag_bf16_way;

static inline int64_t kd_first_token(const kd_sequence *s, int64_t rank) { return rank * s->T / kd_comm_size(s->comm); }
static inline int64_t kd_tokens_of(const kd_sequence *s, int64_t rank) { return kd_first_token(s, rank + 1) - kd_first_token(s, rank); }

/* Heads head .. head+heads-1 of rows t .. t+count-1 of a view to packed rows of `stride` floats, or back. */
void kd_rows_pack(float *packed, int64_t stride, const kd_view *rows, int64_t t, int64_t count, int64_t head, int64_t heads, int64_t E);
void kd_rows_unpack(const kd_view *rows, int64_t t, int64_t count, int64_t head, int64_t heads, const float *packed, int64_t stride, int64_t E);

/* A move of s->send and s->recv in the first, or second, of s->counts, of nothing yet; and floats `at` to, or from, a rank, after those
 * that it has already. */
kd_move kd_sequence_move(const kd_sequence *s, const char *what, int second);
void kd_move_send(const kd_move *move, int64_t rank, int64_t at, int64_t floats);
void kd_move_take(const kd_move *move, int64_t rank, int64_t at, int64_t floats);

#endif

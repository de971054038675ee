/* The flat order in parts, and what of them a rank owns.
 *
 * A part is what is complete, moved and used at one time: the embedding; of each layer attention's projections with the norm
 * before them, then the rest; the last norm; the head. Each part is cut among all ranks (kd_rank_range): a rank owns one piece of it.
 * An array of what a rank owns has its pieces one after another, in the order of parts; of one rank that is the flat order.
 * The gradient has a part more where the head is tied: the head's own, behind the flat order. */
#ifndef KD_PARTS_H
#define KD_PARTS_H

#include "par/shards.h"
#include "params.h"

typedef struct kd_parts {
    int64_t count;             /* of the flat order */
    int64_t ranks, rank;
    int64_t layers, end;       /* end: floats of the flat order */
    int64_t embed, attention, rest, norm, head;  /* floats of the parts by kind; attention and rest: of one layer */
} kd_parts;

/* What rank `rank` of `ranks`, a power of two, owns. */
kd_parts kd_parts_of(const kd_layout *layout, int64_t ranks, int64_t rank);

enum { KD_PART_EMBED = 0 };
static inline int64_t kd_part_attention(int64_t layer) { return 1 + 2 * layer; }
static inline int64_t kd_part_rest(int64_t layer) { return 2 + 2 * layer; }
static inline int64_t kd_part_norm(const kd_parts *parts) { return 1 + 2 * parts->layers; }
static inline int64_t kd_part_head(const kd_parts *parts) { return 2 + 2 * parts->layers; }

/* Part i in the flat order. */
kd_range kd_part_whole(const kd_parts *parts, int64_t i);

/* A stretch of the flat order, and where it lies in an array of what this rank owns. */
typedef struct kd_slice { int64_t at, count, own; } kd_slice;
/* Part i's piece of this rank; of another one (own is not set). */
kd_slice kd_part_piece(const kd_parts *parts, int64_t i);
kd_range kd_part_piece_of(const kd_parts *parts, int64_t i, int64_t rank);
/* What of a tensor this rank owns; count 0: nothing. */
kd_slice kd_parts_tensor(const kd_parts *parts, const kd_param_place *place);
kd_range kd_parts_tensor_of(const kd_parts *parts, const kd_param_place *place, int64_t rank);

/* Floats that this rank owns of the flat order, and of the gradient. */
int64_t kd_parts_own(const kd_parts *parts);
int64_t kd_parts_own_gradient(const kd_parts *parts);

#endif

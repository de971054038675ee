/* Flat arrays cut among ranks, and sums over ranks with the same bits for any number of them.
 *
 * A sum over ranks is a binary tree over them in order: (0+1)+(2+3), ... So where each rank has summed an aligned part of a
 * binary tree, the result is the whole tree's, whatever the number of ranks. They are a power of two. */
#ifndef KD_SHARDS_H
#define KD_SHARDS_H

#include "comm.h"
#include "nn/nn.h"

/* Elements at .. at+count-1 of a flat array. */
typedef struct kd_range { int64_t at, count; } kd_range;

/* What rank `rank` of `size` owns of n elements after kd_reduce_scatter: the array is halved once for each bit of the rank,
 * lowest bit first, at multiples of KD_SHARD_UNIT while they last; a part may be empty. */
enum { KD_SHARD_UNIT = 4096 };
kd_range kd_rank_range(int64_t n, int64_t size, int64_t rank);

/* x [n], one for each rank -> this rank's shard of their sum, in its place; the rest of x is overwritten. Neighbours in rank
 * exchange the big halves, so (size-1)/size * n floats leave each rank. room: floats of kd_reduce_room. */
kd_status kd_reduce_scatter(kd_ctx *ctx, kd_comm *comm, const char *what, float *x, int64_t n, float *room);
int64_t kd_reduce_room(int64_t n, int64_t size);

/* Each rank's shard of x [n] comes to all. */
kd_status kd_gather_shards(kd_comm *comm, const char *what, float *x, int64_t n);

#endif

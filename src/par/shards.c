/* Recursive halving by distance doubling: rank r meets r^1, r^2, r^4, ..., which is the tree from its leaves up. */
#include "shards.h"

#include <stdlib.h>

#include "base/arena.h"

/* The first half of so many elements. */
static int64_t half_of(int64_t count) {
    int64_t half = (count / 2 + KD_SHARD_UNIT - 1) / KD_SHARD_UNIT * KD_SHARD_UNIT;
    return half < count ? half : count;
}

/* The part of `whole` that goes to the rank with this bit clear, or set. */
static kd_range halve(kd_range whole, bool set) {
    int64_t half = half_of(whole.count);
    return set ? (kd_range){whole.at + half, whole.count - half} : (kd_range){whole.at, half};
}

kd_range kd_rank_range(int64_t n, int64_t size, int64_t rank) {
    kd_range own = {0, n};
    for (int64_t bit = 1; bit < size; bit *= 2) own = halve(own, rank & bit);
    return own;
}

int64_t kd_reduce_room(int64_t n, int64_t size) { return size > 1 ? half_of(n) : 0; }

kd_status kd_reduce_scatter(kd_ctx *ctx, kd_comm *comm, const char *what, float *x, int64_t n, float *room) {
    int64_t rank = kd_comm_rank(comm), size = kd_comm_size(comm);
    kd_range own = {0, n};
    if (size & (size - 1)) return kd_fail(KD_EARG, "%s: %lld ranks are not a power of two", what, (long long)size);
    for (int64_t bit = 1; bit < size; bit *= 2) {
        kd_range mine = halve(own, rank & bit), other = halve(own, !(rank & bit));
        KD_TRY(kd_comm_swap(comm, what, rank ^ bit, x + other.at, other.count * (int64_t)sizeof *x, room, mine.count * (int64_t)sizeof *x));
        if (mine.count > 0) KD_TRY(kd_add(ctx, kd_f32(x + mine.at), kd_f32(room), mine.count));
        own = mine;
    }
    return KD_OK;
}

kd_status kd_gather_shards(kd_comm *comm, const char *what, float *x, int64_t n) {
    int64_t size = kd_comm_size(comm), *at;
    KD_TRY(kd_comm_break(comm, kd_new(&at, 2 * size, sizeof *at)));
    for (int64_t r = 0; r < size; r++) {
        kd_range shard = kd_rank_range(n, size, r);
        at[r] = shard.at * (int64_t)sizeof *x;
        at[size + r] = shard.count * (int64_t)sizeof *x;
    }
    kd_status status = kd_comm_gather(comm, what, x, at, at + size);
    free(at);
    return status;
}

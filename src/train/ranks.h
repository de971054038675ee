/* How ranks share a run: what each of them holds and what leaves it in a step, before it runs. */
#ifndef KD_RANKS_H
#define KD_RANKS_H

#include "estimate.h"

/* Rank = data group * sequence + place in the group. */
typedef struct kd_ranks {
    int64_t sequence, data;  /* ranks that share a window; groups with windows of their own */
    int64_t zero;            /* what is in shards over all ranks: 1 moments, 2 gradients too, 3 weights too */
    kd_sequence_mode mode;   /* how attention is shared */
    kd_recompute recompute;
    int64_t leaves;
} kd_ranks;

/* The run file's own. */
kd_ranks kd_ranks_of(const kd_run_file *run);

/* KD_EARG saying why, where these ranks do not fit the model's heads or the run's windows and leaves. */
kd_status kd_ranks_check(const kd_ranks *ranks, const kd_trainer *prepared);

/* Key/value heads that mode allgather has at once: what is gathered is no more than a rank's own queries, if heads allow. */
int64_t kd_ranks_heads(const kd_ranks *ranks, const kd_config *config);

/* Memory of rank 0, which has the largest shards, in an estimate of one rank; what its windows were stays. */
kd_status kd_ranks_memory(kd_estimate *estimate, const kd_trainer *prepared, const kd_ranks *ranks);

/* ---- what leaves a rank (ranks_sent.c) ----------------------------------------------------------------------------- */

typedef enum kd_sent_use {
    KD_SENT_ATTENTION,   /* queries, keys, values, outputs and their gradients */
    KD_SENT_EMBEDDING,   /* gradients of the embedding's output */
    KD_SENT_GRADIENTS,
    KD_SENT_WEIGHTS,
    KD_SENT_LOSSES,
    KD_SENT_VERDICTS,    /* whether all went well */
    KD_SENT_USES
} kd_sent_use;

/* Of one rank in one step: bytes to ranks of its host [0] and of others [1]; moves that follow one another. */
typedef struct kd_sent {
    int64_t bytes[KD_SENT_USES][2], moves[KD_SENT_USES];
} kd_sent;

/* host: ranks of a host, in their order. Float32 throughout. What kd_comm_sent counts, to the byte, for zero 1
 * (tests/test_ranks.c), but for how allgather's queries are dealt out; 2 and 3 by their formulas. */
kd_status kd_sent_count(kd_sent *sent, const kd_trainer *prepared, const kd_ranks *ranks, int64_t rank, int64_t host);
int64_t kd_sent_bytes(const kd_sent *sent, int link);  /* of all uses */
const char *kd_sent_name(kd_sent_use use);

/* Seconds of a step: work shared equally, but for attention where queries are dealt out in blocks and one of them is more than a
 * rank's share; and moves one after the other, nothing of them hidden behind computing. Without speeds of links nothing of them is counted. */
kd_seconds kd_ranks_seconds(const kd_estimate *estimate, const kd_trainer *prepared, const kd_ranks *ranks, const kd_speed *speed,
                            const kd_sent *sent);

#endif

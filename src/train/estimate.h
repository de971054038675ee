/* What a run will take, before it runs: memory and disk by the same walk that allocates, operations by counting, time by
 * how fast a machine does each. */
#ifndef KD_ESTIMATE_H
#define KD_ESTIMATE_H

#include "speed.h"

enum { KD_STRETCHES = 13, KD_DEALT = 4 };

typedef struct kd_estimate {
    int64_t parameters;
    /* Bytes. */
    int64_t weights, gradients, moments, activations;
    int64_t files;            /* of activations and moments, not counted there */
    int64_t scratch;          /* what the sampled windows touch of it */
    int64_t plans;            /* of the windows of a step */
    int64_t program;          /* this process so far: the code, the documents in memory */
    int64_t reading;          /* the most that this process had so far: while it read the data */
    int64_t memory;           /* all but `reading`, or that if it is more; of a GPU what lies there: no plans, program, reading */
    int64_t available;        /* what the system, or the GPU, can still give; 0: it does not say */
    kd_recompute recompute;   /* what auto becomes */
    int64_t checkpoint;       /* one on disk */
    int64_t disk;             /* all that are there at once, exports included */
    int64_t disk_available;   /* where the output folder is or will be; -1: it cannot be told */

    /* A step, by the mean of the sampled windows. */
    int64_t sampled;          /* windows */
    int64_t tokens, documents;
    double pairs, full_pairs; /* that see each other; if every window were one document */
    double targets;
    double flops;             /* kd_model_flops */
    kd_lengths lengths;       /* of the documents of the sampled windows; `share` of them are a step's */
    double share;
    double worst[KD_STRETCHES];  /* pairs of the rank that has most over their mean, where 2^k share a window in KD_DEALT blocks each */
} kd_estimate;

/* Bytes, operations and windows of a prepared run on one rank, from the first `windows` windows in training order (fewer where a
 * run has fewer). */
kd_status kd_estimate_memory(kd_estimate *estimate, const kd_trainer *prepared, int64_t windows);
/* Its pieces: memory of a measured model and its moments; scratch, if this window touches more of it; the sum. */
void kd_estimate_model(kd_estimate *estimate, const kd_model *model, const kd_run_file *run);
kd_status kd_estimate_window(kd_estimate *estimate, kd_model *model, const kd_plan *plan);
void kd_estimate_total(kd_estimate *estimate);

/* Seconds of a step of the run on a machine. */
kd_seconds kd_estimate_seconds(const kd_estimate *estimate, const kd_trainer *prepared, const kd_speed *speed);

/* KD_ENOMEM or KD_EIO when memory or disk will not do, saying by how much; KD_OK when they do or nobody knows. */
kd_status kd_estimate_fits(const kd_estimate *estimate);

#endif

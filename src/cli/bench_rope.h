/* What kedge bench rope measures: how far logits move when all positions do, and what a precision takes in attention. */
#ifndef KD_BENCH_ROPE_H
#define KD_BENCH_ROPE_H

#include "kedge.h"

typedef struct kd_rope_bench {
    int64_t tokens, heads, size, samples;  /* of the windows whose logits are compared */
    int64_t time_tokens, time_documents, time_heads, rounds;  /* of the window that is timed, and pairs of runs */
    double theta;
} kd_rope_bench;

/* Over all samples, heads and pairs of a query and a key that it sees: largest and root mean square difference of logits
 * (scaled by 1/sqrt(E)), and the root mean square of the logits themselves. */
typedef struct kd_rope_change { double most, rms, size; } kd_rope_change;

/* change [shifts]: between positions 0 .. and shift .., one document. Queries and keys are normal, key 0 six times larger. */
kd_status kd_rope_bench_change(kd_rope_change *change, kd_ctx *ctx, const kd_rope_bench *bench, kd_precision precision,
                               kd_frame frame, const int64_t *shift, int64_t shifts);

/* The same of rows of attention, by whatever kernels the context has (bench_rope_device.c): most and rms become the largest and the mean sum of
 * |change| over a row, size the first key's share of all change. */
kd_status kd_rope_bench_rows(kd_rope_change *change, kd_ctx *ctx, const kd_rope_bench *bench, kd_precision precision, kd_frame frame,
                             const int64_t *shift, int64_t shifts);
/* Seconds of a forward and of a backward of one document of time_tokens. */
kd_status kd_rope_bench_cost(double took[2], kd_ctx *ctx, const kd_rope_bench *bench, kd_precision precision);

/* Attention forward of one precision over exact by the same variant: of the best times, and the median of the pairs, which
 * a machine with other work moves by more than there is to see. Rates are those of the best times. */
typedef struct kd_rope_time {
    const char *variant;
    int64_t tokens;
    double best, median, gflops, exact_gflops, peak_gflops;
} kd_rope_time;
kd_status kd_rope_bench_time(kd_rope_time *time, kd_ctx *ctx, const kd_rope_bench *bench, kd_precision precision);

#endif

/* What kedge eval retention says and writes. */
#ifndef KD_RETENTION_TELL_H
#define KD_RETENTION_TELL_H

#include "eval/retention.h"
#include "run_steps.h"

/* A model and how it did; change.error and change.mean are NAN without a base. */
typedef struct kd_retained { kd_mean score[KD_RETENTION_MEASURES], change[KD_RETENTION_MEASURES]; } kd_retained;

typedef struct kd_retention_told {
    const kd_retention_items *items;
    const kd_run_step *step;             /* [steps] */
    const kd_retained *base, *after;     /* base: NULL where there is none; after [steps] */
    int64_t steps;
    double most_loss, most_points;       /* the last may lose so much; NAN: it was not asked */
    double seconds;
} kd_retention_told;

/* One model's own results: a row a measure. Written, not told. */
kd_status kd_retention_tell_one(kd_results *results, const char *about, const kd_retained *model, const kd_retention_items *items,
                                double seconds);

/* A table a measure, a row a model; charts over steps; a verdict where one was asked for. */
kd_status kd_retention_tell(kd_results *results, const char *about, const kd_retention_told *told, bool json);

/* What the last of them lost: nats per token, points. */
double kd_retention_lost(const kd_retention_told *told, kd_retention_measure measure);
/* KD_OK where the last lost no more than it may; otherwise *lost is the sentence that says what. */
kd_status kd_retention_verdict(kd_text *lost, const kd_retention_told *told);

#endif

/* Measuring: models through their layers, and what other stacks wrote. */
#ifndef KD_PROBE_RUN_H
#define KD_PROBE_RUN_H

#include "base/log.h"
#include "probe.h"

typedef struct kd_probe_subject {
    const kd_config *config;
    const char *folder;       /* of its weights; NULL: a fresh model, Kaiming uniform of the seed */
    int64_t seed;
    kd_precision precision;
    kd_frame frame;
} kd_probe_subject;

/* What is read: texts as plans at their own positions, shift 0. */
typedef struct kd_probe_texts {
    const kd_plan *plan;      /* [texts] of grid.T tokens */
    const kd_plan *longer;    /* [texts] of grid.longest tokens; NULL where that is grid.T */
} kd_probe_texts;

/* Fills the numbers of a curve, whose L, H and E are the config's. done [units] counts on. KD_ECONFIG for a shift beyond 2^24
 * positions; what kd_walk_open and attention give. */
kd_status kd_probe_model(kd_probe_curve *curve, kd_ctx *ctx, const kd_probe *probe, const kd_probe_subject *subject,
                         const kd_probe_texts *texts, kd_progress *progress, int64_t *done);
/* What progress counts up to, for one curve. */
int64_t kd_probe_units(const kd_probe *probe, const kd_config *config);

#endif

/* AdamW over what a rank owns of the flat order, with its moments and the sums of a step on the device. */
#ifndef KD_OPTIMIZER_H
#define KD_OPTIMIZER_H

#include "model/model.h"

typedef struct kd_optimizer_options {
    bool decay_all;        /* norms and biases decay too */
    bool coded;            /* moments in 8 bits (nn/coded.h): of one rank alone */
    const char *files;     /* where all of it lies: the folder of a file, or KD_PLACE_HOST; NULL: in the device's memory */
} kd_optimizer_options;

typedef struct kd_optimizer {
    kd_ctx *ctx;
    kd_arena arena;
    kd_owned m, v;         /* first and second moments of what this rank owns (kd_model_parts): ZeRO-1 */
    kd_step_sums *sums;    /* on the device */
    double *partial;       /* the gradient's sums of squares, segment by segment of each part */
    double *own;           /* this rank's of them; partial itself on one rank */
    double *gathered, *ordered;  /* of several ranks, on the host: theirs one after another, and as partial has them */
    int64_t *at, *bytes;   /* [ranks] of gathered */
    int64_t segments;
    kd_optimizer_options options;
    int64_t updates;       /* steps that were taken: what the bias correction counts */
} kd_optimizer;

kd_status kd_optimizer_open(kd_optimizer *optimizer, kd_ctx *ctx, const kd_model *model, const kd_optimizer_options *options);
void kd_optimizer_close(kd_optimizer *optimizer);

/* Bytes that one takes. */
int64_t kd_optimizer_bytes(const kd_model *model, bool coded);

/* Sums the step's `tokens` losses and the gradient's norm, then updates every weight unless one of them is not finite. *sums
 * is what the step saw: the one read at its end. adamw->step is set here. Collective: each rank updates what it owns, and all have
 * the weights that they need afterwards. */
kd_status kd_optimizer_step(kd_optimizer *optimizer, kd_step_sums *sums, kd_model *model, const kd_adamw *adamw,
                            int64_t tokens);

#endif

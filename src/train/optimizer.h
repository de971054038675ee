/* AdamW over the flat order, with its moments and the sums of a step on the device. */
#ifndef KD_OPTIMIZER_H
#define KD_OPTIMIZER_H

#include "model/model.h"
#include "par/shards.h"

typedef struct kd_optimizer {
    kd_ctx *ctx;
    kd_arena arena;
    kd_comm *world;        /* ranks that share the update: each has the moments of its shard; NULL: one */
    float *m, *v;          /* [layout->count] first and second moments; what is not this rank's is not touched */
    kd_step_sums *sums;    /* on the device */
    bool decay_all;        /* norms and biases decay too */
    int64_t updates;       /* steps that were taken: what the bias correction counts */
} kd_optimizer;

kd_status kd_optimizer_open(kd_optimizer *optimizer, kd_ctx *ctx, const kd_model *model, kd_comm *world, bool decay_all);
void kd_optimizer_close(kd_optimizer *optimizer);

/* Sums the losses of the step's `windows` and the gradient's norm, then updates every weight unless one of them is not
 * finite. *sums is what the step saw: the one read at its end. adamw->step is set here. Every rank updates its shard of the flat
 * order (ZeRO-1), and all have all weights afterwards. */
kd_status kd_optimizer_step(kd_optimizer *optimizer, kd_step_sums *sums, kd_model *model, const kd_adamw *adamw,
                            int64_t tokens);

#endif

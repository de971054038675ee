/* The checkpoints of a run, asked one after the other. */
#ifndef KD_RUN_STEPS_H
#define KD_RUN_STEPS_H

#include "eval.h"

typedef struct kd_run_step {
    int64_t step;
    char *folder;
    double perplexity;   /* what validation said at this step; NAN: nothing, or it was not read */
} kd_run_step;

/* Those of RUN/export, or where there is none of RUN, the last so many (0: all), ascending. KD_ECONFIG naming the command where there are
 * none. Free with kd_run_steps_free. */
kd_status kd_run_steps_find(kd_run_step **step, int64_t *count, const char *command, const char *run, int64_t last);
void kd_run_steps_free(kd_run_step *step, int64_t count);

/* kd_eval_settings of an evaluation over them. Which ones they were is not among the settings: a run goes on, and so does this.
 * subject: one of them. */
kd_status kd_run_settings(json_t **out, const char *task, const char *run, int64_t last, const kd_subject *subject, json_t *own);

#endif

/* The main job: a checkpoint folder and texts in, a checkpoint folder out. */
#ifndef KD_TRAIN_H
#define KD_TRAIN_H

#include <signal.h>

#include "par/comm.h"
#include "run_file.h"

typedef struct kd_train_options {
    bool resume;                          /* go on from the newest checkpoint in the output folder, if there is one */
    bool quiet;                           /* no progress */
    const volatile sig_atomic_t *stop;    /* not 0 on any rank: finish the step, save, return KD_EAGAIN; NULL: never */
    kd_comm *world;                       /* as many ranks as the run file says; NULL: one */
} kd_train_options;

/* KD_OK when all steps are done and saved. KD_EAGAIN when stopped and saved. KD_ENUMERIC after three steps in a row
 * whose loss or gradient was not finite; KD_EBUSY when another run holds the output folder. On several ranks all return the
 * same; a rank that cannot go on alone, or has waited for another beyond the deadline (KD_ELOST), ends the job by kd_comm_abort. */
kd_status kd_train(const kd_run_file *run, const kd_train_options *options);

#endif

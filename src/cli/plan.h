/* kedge plan, in two files. */
#ifndef KD_PLAN_COMMAND_H
#define KD_PLAN_COMMAND_H

#include "cli.h"
#include "train/estimate.h"

typedef struct kd_plan_command {
    bool json, no_time, draw;
    const char *path, *svg, *machine, *windows;
    int64_t window;
    kd_list set;
} kd_plan_command;

/* The machine of --machine, or this one, measured. */
kd_status kd_plan_speed(kd_speed *speed, const kd_plan_command *o, const kd_trainer *prepared, const kd_lengths *lengths,
                        kd_recompute recompute);
/* "3.2 hours" */
const char *kd_plan_duration(char text[32], double seconds);
/* Seconds by what they are spent on, and the machine's figures, as JSON; NULL: memory is out. */
json_t *kd_plan_parts(const kd_seconds *seconds);
json_t *kd_plan_machine(const kd_speed *speed);

/* --windows (plan_windows.c): the time of a billion tokens by window, under full attention and the run's own mask. */
kd_status kd_plan_windows(const kd_plan_command *o);

#endif

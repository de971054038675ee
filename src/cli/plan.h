/* kedge plan, in several files. */
#ifndef KD_PLAN_COMMAND_H
#define KD_PLAN_COMMAND_H

#include "cli.h"
#include "train/ranks.h"

enum { KD_PLAN_SAMPLED = 32 };  /* windows */

typedef struct kd_plan_command {
    bool json, no_time, draw;
    const char *path, *svg, *machine, *windows, *cluster;
    int64_t window, hosts;
    kd_list set;
} kd_plan_command;

/* A run of several ranks beside the same run on one. */
typedef struct kd_plan_ranks {
    kd_ranks ranks;
    int64_t host;             /* ranks of a host */
    kd_sent sent;             /* by rank 0 */
    kd_estimate alone;
    kd_seconds alone_time;
} kd_plan_ranks;

/* The machine of --machine, or this one, measured. */
kd_status kd_plan_speed(kd_speed *speed, const kd_plan_command *o, const kd_trainer *prepared, const kd_lengths *lengths,
                        kd_recompute recompute);
/* "3.2 hours" */
const char *kd_plan_duration(char text[32], double seconds);
/* Seconds by what they are spent on, and the machine's figures, as JSON; NULL: memory is out. */
json_t *kd_plan_parts(const kd_seconds *seconds);
json_t *kd_plan_machine(const kd_speed *speed);
json_t *kd_plan_memory(const kd_estimate *estimate);
json_t *kd_plan_sent(const kd_sent *sent);
/* Whether JSON was made of it, which is printed and freed. */
kd_status kd_plan_print_json(json_t *whole);

/* The run file's own ranks (plan_ranks.c). *rank comes as the estimate of one rank and becomes that of a rank. */
kd_status kd_plan_ranks_open(kd_plan_ranks *ranks, kd_estimate *rank, const kd_trainer *prepared, const kd_speed *file);
void kd_plan_ranks_print(const kd_plan_ranks *ranks);
void kd_plan_ranks_print_time(const kd_plan_ranks *ranks, const kd_seconds *time, const kd_speed *speed);
json_t *kd_plan_ranks_json(const kd_plan_ranks *ranks, bool timed);

/* --cluster (plan_cluster.c): the layouts of a run on a cluster, those that fit by their time. KD_ENOMEM if none does. */
kd_status kd_plan_cluster(const kd_plan_command *o);

/* --windows (plan_windows.c): the time of a billion tokens by window, under full attention and the run's own mask. */
kd_status kd_plan_windows(const kd_plan_command *o);

#endif

/* A pool of threads that runs numbered tasks. Which thread runs a task is unspecified, so results must not depend
 * on it: tasks write to places of their own. */
#ifndef KD_POOL_H
#define KD_POOL_H

#include "error.h"

typedef struct kd_pool kd_pool;
typedef kd_status kd_task(void *arg, int64_t task, int64_t thread);

/* threads < 1: one for each core the process may use. The calling thread is one of them. */
kd_status kd_pool_new(kd_pool **out, int64_t threads);
int64_t kd_cores(void);  /* that the process may use */
void kd_pool_free(kd_pool *pool);
int64_t kd_pool_threads(const kd_pool *pool);

/* Runs tasks 0 .. tasks-1, handed out in ascending order, and waits. Returns the status and message of the lowest
 * failing task; tasks after a failure may be left out. Allocates nothing. A NULL pool runs them here. */
kd_status kd_pool_run(kd_pool *pool, kd_task *run, void *arg, int64_t tasks);

#endif

/* Workers spin for a moment before they sleep: operations follow each other within microseconds. */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"

#define SPINS 4000 /* about 50 us of pause instructions */

struct kd_pool {
    int64_t threads;
    pthread_t *worker;          /* [threads-1] */
    int64_t started;
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    /* One job at a time; `job` counts them and announces a new one. */
    atomic_llong job, next, busy, failed;
    kd_task *run;
    void *arg;
    int64_t tasks;
    kd_status status;           /* of task `failed`; under the mutex */
    char message[1024];
    bool quit;
};

typedef struct worker_arg { kd_pool *pool; int64_t thread; } worker_arg;

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void work(kd_pool *pool, int64_t thread) {
    for (;;) {
        int64_t task = atomic_fetch_add(&pool->next, 1);
        if (task >= pool->tasks || task > atomic_load(&pool->failed)) return;
        kd_status status = pool->run(pool->arg, task, thread);
        if (!status) continue;
        pthread_mutex_lock(&pool->mutex);
        if (task < atomic_load(&pool->failed)) {
            atomic_store(&pool->failed, task);
            pool->status = status;
            snprintf(pool->message, sizeof pool->message, "%s", kd_message());
        }
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *opaque) {
    worker_arg self = *(worker_arg *)opaque;
    kd_pool *pool = self.pool;
    free(opaque);
    long long seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && atomic_load_explicit(&pool->job, memory_order_acquire) == seen; i++) pause_cpu();
        pthread_mutex_lock(&pool->mutex);
        while (atomic_load(&pool->job) == seen) pthread_cond_wait(&pool->wake, &pool->mutex);
        seen = atomic_load(&pool->job);
        bool quit = pool->quit;
        pthread_mutex_unlock(&pool->mutex);
        if (quit) return NULL;
        work(pool, self.thread);
        if (atomic_fetch_sub(&pool->busy, 1) == 1) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
}

kd_status kd_pool_run(kd_pool *pool, kd_task *run, void *arg, int64_t tasks) {
    if (!pool || pool->threads == 1 || tasks < 2) {
        for (int64_t task = 0; task < tasks; task++) KD_TRY(run(arg, task, 0));
        return KD_OK;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->run = run;
    pool->arg = arg;
    pool->tasks = tasks;
    pool->status = KD_OK;
    atomic_store(&pool->failed, INT64_MAX);
    atomic_store(&pool->next, 0);
    atomic_store(&pool->busy, pool->threads - 1);
    atomic_fetch_add(&pool->job, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);

    work(pool, 0);
    for (int i = 0; i < SPINS && atomic_load_explicit(&pool->busy, memory_order_acquire); i++) pause_cpu();
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->busy)) pthread_cond_wait(&pool->done, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
    if (pool->status) kd_message_set(pool->message);
    return pool->status;
}

int64_t kd_pool_threads(const kd_pool *pool) { return pool ? pool->threads : 1; }

int64_t kd_cores(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

kd_status kd_pool_new(kd_pool **out, int64_t threads) {
    *out = NULL;
    if (threads < 1) threads = kd_cores();
    kd_pool *pool;
    KD_TRY(kd_new(&pool, 1, sizeof *pool));
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = threads;
    kd_status status = kd_new(&pool->worker, threads, sizeof *pool->worker);
    for (int64_t i = 1; i < threads && !status; i++) {
        worker_arg *arg;
        status = kd_new(&arg, 1, sizeof *arg);
        if (status) break;
        *arg = (worker_arg){pool, i};
        if (pthread_create(&pool->worker[i - 1], NULL, worker_main, arg)) {
            free(arg);
            status = kd_fail(KD_ENOMEM, "cannot start thread %lld of %lld", (long long)i + 1, (long long)threads);
        } else {
            pool->started = i;
        }
    }
    if (status) {
        kd_pool_free(pool);
        return status;
    }
    *out = pool;
    return KD_OK;
}

void kd_pool_free(kd_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->mutex);
    pool->quit = true;
    atomic_fetch_add(&pool->job, 1);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->mutex);
    for (int64_t i = 0; i < pool->started; i++) pthread_join(pool->worker[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->mutex);
    free(pool->worker);
    free(pool);
}

/* Ranks as threads of one process: a rank shows its move, and the others copy from it what is theirs. A rank whose move has
 * failed may free its buffers, so from then on nothing is copied: copies hold the hub's lock for reading, giving up takes it for
 * writing. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "comm_backend.h"

/* A rank's move while it is under way. */
typedef struct post {
    _Atomic int64_t number;   /* of the move that is shown, from 1; release after `move` */
    _Atomic int64_t taken;    /* receivers that are done with it */
    const kd_move *move;
    int64_t receivers;
    char *got;                /* [size] what has come here; the owner's alone */
} post;

typedef struct hub {
    int64_t size;
    post *posts;              /* [size][KD_COMM_FLIGHT] */
    char *got;
    pthread_rwlock_t lock;
    _Atomic int64_t gave_up;  /* the first rank that did, from 1; 0: none */
    _Atomic int64_t users;
} hub;

static void hub_drop(hub *h, int64_t users) {
    if (!h || atomic_fetch_sub(&h->users, users) != users) return;
    pthread_rwlock_destroy(&h->lock);
    free(h->posts);
    free(h->got);
    free(h);
}

static kd_status hub_new(hub **out, int64_t size) {
    hub *h;
    *out = NULL;
    KD_TRY(kd_new(&h, 1, sizeof *h));
    h->size = size;
    pthread_rwlock_init(&h->lock, NULL);
    atomic_init(&h->users, size);
    kd_status status = kd_new(&h->posts, size * KD_COMM_FLIGHT, sizeof *h->posts);
    if (!status) status = kd_new(&h->got, size * KD_COMM_FLIGHT * size, 1);
    for (int64_t i = 0; !status && i < size * KD_COMM_FLIGHT; i++) h->posts[i].got = h->got + i * size;
    if (status) hub_drop(h, size);
    else *out = h;
    return status;
}

static post *post_of(const hub *h, int64_t rank, int64_t number) { return &h->posts[rank * KD_COMM_FLIGHT + number % KD_COMM_FLIGHT]; }

static kd_status threads_begin(kd_comm *comm, const kd_flight *f) {
    hub *h = comm->state;
    post *own = post_of(h, comm->rank, f->number);
    own->move = f->move;
    own->receivers = 0;
    for (int64_t r = 0; r < h->size; r++) {
        own->got[r] = r == comm->rank || f->move->recv_bytes[r] == 0;
        own->receivers += r != comm->rank && f->move->send_bytes[r] > 0;
    }
    atomic_store_explicit(&own->taken, 0, memory_order_relaxed);
    atomic_store_explicit(&own->number, f->number + 1, memory_order_release);
    return KD_OK;
}

static bool given_up(const kd_comm *comm) {
    for (; comm; comm = comm->parent)
        if (atomic_load_explicit(&((hub *)comm->state)->gave_up, memory_order_relaxed)) return true;
    return false;
}

/* In all groups that it is in, the widest last. */
static void give_up(kd_comm *comm) {
    for (; comm; comm = comm->parent) {
        hub *h = comm->state;
        int64_t nobody = 0;
        pthread_rwlock_wrlock(&h->lock);
        atomic_compare_exchange_strong(&h->gave_up, &nobody, comm->rank + 1);
        pthread_rwlock_unlock(&h->lock);
    }
}

static kd_status take(kd_comm *comm, const kd_flight *f, bool *done, int64_t *missing) {
    hub *h = comm->state;
    const kd_move *move = f->move;
    post *own = post_of(h, comm->rank, f->number);
    *missing = -1;
    for (int64_t i = 1; i < h->size; i++) {
        int64_t r = (comm->rank + i) % h->size;
        post *other = post_of(h, r, f->number);
        if (own->got[r]) continue;
        if (atomic_load_explicit(&other->number, memory_order_acquire) != f->number + 1) {
            if (*missing < 0) *missing = r;
            continue;
        }
        int64_t bytes = other->move->send_bytes[comm->rank];
        if (bytes != move->recv_bytes[r])
            return kd_fail(KD_EARG, "rank %lld of %lld: %s: rank %lld sends %lld bytes in its %s, not %lld", (long long)comm->rank,
                           (long long)comm->size, move->what, (long long)r, (long long)bytes, other->move->what, (long long)move->recv_bytes[r]);
        memcpy((char *)move->recv + move->recv_at[r], (const char *)other->move->send + other->move->send_at[comm->rank], (size_t)bytes);
        own->got[r] = 1;
        atomic_fetch_add_explicit(&other->taken, 1, memory_order_release);
    }
    *done = *missing < 0 && atomic_load_explicit(&own->taken, memory_order_acquire) == own->receivers;
    return KD_OK;
}

static kd_status threads_test(kd_comm *comm, const kd_flight *f, bool *done, int64_t *missing) {
    hub *h = comm->state;
    pthread_rwlock_rdlock(&h->lock);
    kd_status status = given_up(comm) ? kd_fail(KD_ELOST, "rank %lld of %lld: %s: another rank has given up", (long long)comm->rank,
                                                (long long)comm->size, f->move->what)
                                      : take(comm, f, done, missing);
    pthread_rwlock_unlock(&h->lock);
    return status;
}

/* The group's first rank makes the hub, and its address goes round. */
static kd_status threads_split(kd_comm *part, kd_comm *comm, int64_t colour, const int64_t *members, int64_t count) {
    hub *made = NULL, **all = NULL;
    (void)colour;
    kd_status status = kd_new(&all, comm->size, sizeof(hub *));
    if (!status && part->rank == 0) status = hub_new(&made, count);
    status = kd_comm_agree(comm, "groups", status);
    if (!status) status = kd_comm_gather_equal(comm, "groups", all, &made, sizeof made);
    if (!status) part->state = all[members[0]];
    else hub_drop(made, count);
    free(all);
    return status;
}

static void threads_abort(kd_comm *comm, int code) {
    (void)code;
    give_up(comm);
}

static void threads_release(kd_comm *comm) { hub_drop(comm->state, 1); }

static const kd_backend backend = {threads_begin, threads_test, threads_split, give_up, threads_abort, threads_release, "threads", NULL};

/* ---- running them ---------------------------------------------------------------------------------------------------- */

typedef struct rank_thread {
    pthread_t thread;
    kd_comm *comm;
    kd_comm_body *run;
    void *arg;
    kd_status status;
    char message[1024];
} rank_thread;

static void *rank_main(void *opaque) {
    rank_thread *t = opaque;
    t->status = t->run(t->arg, t->comm);
    if (!t->status) return NULL;
    strncpy(t->message, kd_message(), sizeof t->message - 1);
    kd_comm_abort(t->comm, 1);  /* nobody waits for it */
    return NULL;
}

kd_status kd_comm_threads(int64_t size, double deadline, kd_comm_body *run, void *arg) {
    hub *h = NULL;
    rank_thread *ranks = NULL;
    int64_t started = 0;
    kd_status status = KD_OK;
    KD_GO(hub_new(&h, size));
    KD_GO(kd_new(&ranks, size, sizeof *ranks));
    for (int64_t r = 0; r < size; r++) {
        KD_GO(kd_comm_new(&ranks[r].comm, &backend, r, size, deadline));
        ranks[r].comm->state = h;
        ranks[r].run = run, ranks[r].arg = arg;
    }
    for (; started < size; started++)
        if (pthread_create(&ranks[started].thread, NULL, rank_main, &ranks[started])) {
            status = kd_fail(KD_ENOMEM, "a thread for rank %lld could not be had", (long long)started);
            give_up(ranks[started].comm);
            break;
        }
    for (int64_t r = 0; r < started; r++) pthread_join(ranks[r].thread, NULL);
    int64_t first = atomic_load(&h->gave_up) - 1;
    if (!status && first >= 0) {
        status = ranks[first].status;
        kd_message_set(ranks[first].message);
    }
done:
    for (int64_t r = 0; ranks && r < size; r++) {
        if (!ranks[r].comm) continue;
        free(ranks[r].comm->scratch);
        free(ranks[r].comm);
    }
    free(ranks);
    hub_drop(h, size);
    return status;
}

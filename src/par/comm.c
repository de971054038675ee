/* Communicators: what all backends share, above all the one loop that waits. */
#include "comm.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/log.h"
#include "comm_backend.h"

enum { VALUES = 64 };  /* of 8 bytes, that each rank gives at once */

kd_status kd_comm_new(kd_comm **out, const kd_backend *backend, int64_t rank, int64_t size, double deadline) {
    kd_comm *comm;
    *out = NULL;
    KD_TRY(kd_new(&comm, 1, sizeof *comm));
    *comm = (kd_comm){.backend = backend, .rank = rank, .size = size, .deadline = deadline};
    kd_status status = kd_new(&comm->scratch, (4 + VALUES) * size, sizeof *comm->scratch);
    if (status) free(comm);
    else *out = comm;
    return status;
}

kd_status kd_comm_self(kd_comm **out) { return kd_comm_new(out, NULL, 0, 1, 0); }

void kd_comm_free(kd_comm *comm) {
    if (!comm) return;
    if (comm->backend) comm->backend->release(comm);
    free(comm->world);
    free(comm->scratch);
    free(comm);
}

void kd_comm_abort(kd_comm *comm, int code) {
    if (comm->backend) comm->backend->abort(comm, code);
    else exit(code);
}

static const kd_comm *world_of(const kd_comm *comm) {
    while (comm->parent) comm = comm->parent;
    return comm;
}

kd_status kd_comm_break(kd_comm *comm, kd_status status) {
    for (; status && comm; comm = comm->parent) comm->broken = true;
    return status;
}

bool kd_comm_broken(const kd_comm *comm) { return world_of(comm)->broken; }

int64_t kd_comm_rank(const kd_comm *comm) { return comm->rank; }
int64_t kd_comm_size(const kd_comm *comm) { return comm->size; }
const char *kd_comm_backend_name(const kd_comm *comm) { return comm->backend ? comm->backend->name : "self"; }
int64_t kd_comm_world_rank(const kd_comm *comm, int64_t rank) { return comm->world ? comm->world[rank] : rank; }
int64_t kd_comm_sent(const kd_comm *comm) { return comm->sent + (comm->host ? kd_comm_sent(comm->host) : 0); }
double kd_comm_seconds(const kd_comm *comm) { return comm->seconds + (comm->host ? kd_comm_seconds(comm->host) : 0); }

/* ---- waiting ------------------------------------------------------------------------------------------------------- */

/* A core may be needed by the rank that is waited for: after a few polls it is given away, soon for longer. */
static void pause_after(int64_t polls) {
    enum { YIELDS = 50, MOMENT = 20000 };  /* nanoseconds */
    if (polls < YIELDS) sched_yield();
    else nanosleep(&(struct timespec){0, MOMENT}, NULL);
}

/* People know ranks by their names in the world. */
static kd_status lost(const kd_comm *comm, const kd_flight *f, int64_t missing) {
    const kd_comm *world = world_of(comm);
    char what[64] = "not all was taken";
    if (missing < -1) snprintf(what, sizeof what, "not all was taken by rank %lld", (long long)kd_comm_world_rank(comm, -2 - missing));
    if (missing >= 0) snprintf(what, sizeof what, "nothing from rank %lld", (long long)kd_comm_world_rank(comm, missing));
    return kd_fail(KD_ELOST, "rank %lld of %lld: %s (move %lld): %s after %g s", (long long)world->rank, (long long)world->size,
                   f->move->what, (long long)f->number, what, comm->deadline);
}

static void count_seconds(kd_comm *comm, double since) {
    for (double took = kd_now() - since; comm; comm = comm->parent) comm->seconds += took;
}

kd_status kd_comm_begin(kd_flight *flight, kd_comm *comm, const kd_move *move) {
    int64_t own = comm->rank, bytes = move->send_bytes[own];
    if (comm->host) {
        bool yes;
        KD_TRY(comm->backend->takes(&yes, comm, move));
        if (!yes) return kd_comm_begin(flight, comm->host, move);
    }
    *flight = (kd_flight){comm, move, comm->begun};
    if (comm->begun - comm->ended >= KD_COMM_FLIGHT)
        return kd_fail(KD_EARG, "%s: %d moves are under way already", move->what, KD_COMM_FLIGHT);
    if (bytes != move->recv_bytes[own])
        return kd_comm_break(comm, kd_fail(KD_EARG, "%s: rank %lld sends itself %lld bytes and takes %lld", move->what, (long long)own,
                                           (long long)bytes, (long long)move->recv_bytes[own]));
    double since = kd_now();
    comm->begun++;
    for (int64_t r = 0; r < comm->size; r++)
        for (kd_comm *c = comm; c && r != own; c = c->parent) c->sent += move->send_bytes[r];
    if (comm->backend) KD_TRY(kd_comm_break(comm, comm->backend->begin(comm, flight)));
    const char *from = (const char *)move->send + move->send_at[own];
    char *to = (char *)move->recv + move->recv_at[own];
    if (bytes > 0 && from != to && !comm->host) memcpy(to, from, (size_t)bytes);
    count_seconds(comm, since);
    return KD_OK;
}

kd_status kd_comm_end(kd_flight *flight) {
    kd_comm *comm = flight->comm;
    bool done = !comm->backend;
    int64_t missing = -1;
    double since = kd_now();
    if (flight->number != comm->ended)
        return kd_fail(KD_EARG, "%s: move %lld began before it", flight->move->what, (long long)comm->ended);
    for (int64_t polls = 0; !done; polls++) {
        kd_status status = comm->backend->test(comm, flight, &done, &missing);
        if (!status && !done && kd_now() - since > comm->deadline) status = lost(comm, flight, missing);
        if (status && comm->backend->withdraw) comm->backend->withdraw(comm);
        if (status) return kd_comm_break(comm, status);
        if (!done) pause_after(polls);
    }
    comm->ended++;
    count_seconds(comm, since);
    return KD_OK;
}

kd_status kd_comm_exchange(kd_comm *comm, const kd_move *move) {
    kd_flight flight;
    KD_TRY(kd_comm_begin(&flight, comm, move));
    return kd_comm_end(&flight);
}

/* ---- moves of one kind ---------------------------------------------------------------------------------------------- */

/* A move in the communicator's own arrays, of nothing yet. */
static kd_move empty_move(kd_comm *comm, const char *what, const void *send, void *recv) {
    int64_t *s = comm->scratch, n = comm->size;
    memset(s, 0, (size_t)(4 * n) * sizeof *s);
    return (kd_move){what, send, recv, s, s + n, s + 2 * n, s + 3 * n};
}

/* Rank r of that move's arrays. */
static void send_to(kd_comm *comm, int64_t r, int64_t bytes) { comm->scratch[comm->size + r] = bytes; }

static void take_from(kd_comm *comm, int64_t r, int64_t at, int64_t bytes) {
    comm->scratch[2 * comm->size + r] = at;
    comm->scratch[3 * comm->size + r] = bytes;
}

kd_status kd_comm_gather(kd_comm *comm, const char *what, void *all, const int64_t *at, const int64_t *bytes) {
    kd_move move = empty_move(comm, what, (const char *)all + at[comm->rank], all);
    for (int64_t r = 0; r < comm->size; r++) {
        send_to(comm, r, bytes[comm->rank]);
        take_from(comm, r, at[r], bytes[r]);
    }
    return kd_comm_exchange(comm, &move);
}

kd_status kd_comm_gather_equal(kd_comm *comm, const char *what, void *all, const void *own, int64_t bytes) {
    kd_move move = empty_move(comm, what, own, all);
    for (int64_t r = 0; r < comm->size; r++) {
        send_to(comm, r, bytes);
        take_from(comm, r, r * bytes, bytes);
    }
    return kd_comm_exchange(comm, &move);
}

kd_status kd_comm_swap(kd_comm *comm, const char *what, int64_t peer, const void *send, int64_t send_bytes, void *recv,
                       int64_t recv_bytes) {
    kd_move move = empty_move(comm, what, send, recv);
    send_to(comm, peer, send_bytes);
    take_from(comm, peer, 0, recv_bytes);
    return kd_comm_exchange(comm, &move);
}

kd_status kd_comm_broadcast(kd_comm *comm, const char *what, int64_t root, void *data, int64_t bytes) {
    kd_move move = empty_move(comm, what, data, data);
    take_from(comm, root, 0, bytes);
    if (comm->rank == root)
        for (int64_t r = 0; r < comm->size; r++) send_to(comm, r, bytes);
    return kd_comm_exchange(comm, &move);
}

/* ---- what ranks agree on --------------------------------------------------------------------------------------------- */

/* *out: [size][n] of 8 bytes each, valid until the next call of this kind. No memory is asked for: a rank that has none still
 * comes to say so. */
static kd_status gather_values(void *out, kd_comm *comm, const char *what, const void *own, int64_t n) {
    *(int64_t **)out = comm->scratch + 4 * comm->size;
    if (n < 1 || n > VALUES) return kd_comm_break(comm, kd_fail(KD_EARG, "%s: %lld values are not 1 to %d", what, (long long)n, VALUES));
    return kd_comm_gather_equal(comm, what, comm->scratch + 4 * comm->size, own, 8 * n);
}

kd_status kd_comm_barrier(kd_comm *comm, const char *what) {
    int64_t nothing = 0;
    return kd_comm_sum(comm, what, &nothing, 1);
}

kd_status kd_comm_sum(kd_comm *comm, const char *what, int64_t *values, int64_t n) {
    int64_t *all;
    KD_TRY(gather_values(&all, comm, what, values, n));
    for (int64_t i = 0; i < n; i++) values[i] = 0;
    for (int64_t i = 0; i < comm->size * n; i++) values[i % n] += all[i];
    return KD_OK;
}

kd_status kd_comm_max(kd_comm *comm, const char *what, double *values, int64_t n) {
    double *all;
    KD_TRY(gather_values(&all, comm, what, values, n));
    for (int64_t i = 0; i < n; i++) values[i] = all[i];
    for (int64_t i = n; i < comm->size * n; i++)
        if (isnan(all[i]) || all[i] > values[i % n]) values[i % n] = all[i];
    return KD_OK;
}

kd_status kd_comm_agree(kd_comm *comm, const char *what, kd_status status) {
    enum { TEXT = 500 };
    typedef struct verdict { int64_t status; char message[TEXT]; } verdict;
    if (comm->size == 1) return status;
    int64_t own = status, *all, first = -1;
    KD_TRY(gather_values(&all, comm, what, &own, 1));
    for (int64_t r = comm->size - 1; r >= 0; r--)
        if (all[r]) first = r;
    if (first < 0) return KD_OK;
    verdict v = {.status = status};
    if (comm->rank == first) strncpy(v.message, kd_message(), TEXT - 1);
    KD_TRY(kd_comm_broadcast(comm, what, first, &v, sizeof v));
    if (first == 0) return kd_fail((kd_status)v.status, "%s", v.message);  /* mostly the run file's fault, not a rank's */
    return kd_fail((kd_status)v.status, "rank %lld: %s", (long long)kd_comm_world_rank(comm, first), v.message);
}

/* ---- groups -------------------------------------------------------------------------------------------------------- */

kd_status kd_comm_split(kd_comm **out, kd_comm *comm, int64_t colour) {
    int64_t *all, *members = NULL, count = 0, rank = 0;
    kd_comm *part = NULL;
    *out = NULL;
    KD_TRY(gather_values(&all, comm, "groups", &colour, 1));
    kd_status status = kd_new(&members, comm->size, sizeof *members);
    for (int64_t r = 0; !status && r < comm->size; r++) {
        if (all[r] != colour) continue;
        if (r == comm->rank) rank = count;
        members[count++] = r;
    }
    if (!status) status = kd_comm_new(&part, comm->backend, rank, count, comm->deadline);
    if (!status) status = kd_new(&part->world, count, sizeof *part->world);
    for (int64_t i = 0; !status && i < count; i++) part->world[i] = kd_comm_world_rank(comm, members[i]);
    status = kd_comm_agree(comm, "groups", status);
    if (!status) part->parent = comm;
    if (!status && comm->backend) status = kd_comm_break(comm, comm->backend->split(part, comm, colour, members, count));
    if (status && part) {
        free(part->world);
        free(part->scratch);
        free(part);
        part = NULL;
    }
    free(members);
    *out = part;
    return status;
}

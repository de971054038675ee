/* Ranks, and the bytes that move between them.
 *
 * A communicator is a group of ranks 0 .. size-1: this process alone, threads of one process, or MPI's processes. A backend
 * moves bytes; the reductions here are exact (integers, maxima), and every sum of floats is made in an order of kedge's own
 * (shards.h). So no result depends on what moved the bytes.
 *
 * All ranks of a communicator make the same calls in the same order, with a `what` for messages ("keys of layer 3"). All
 * waiting is done in one loop: it polls, yields, then sleeps for moments, and after the deadline it fails with KD_ELOST,
 * naming the move and a rank that has not come. After KD_ELOST a communicator is good for kd_comm_abort alone. */
#ifndef KD_COMM_H
#define KD_COMM_H

#include "base/error.h"

typedef struct kd_comm kd_comm;

/* This process alone. */
kd_status kd_comm_self(kd_comm **out);

/* Runs run(arg, comm) in `size` threads, rank r of the group in the r-th, and returns the status and message of the rank
 * that failed first. deadline: seconds. */
typedef kd_status kd_comm_body(void *arg, kd_comm *comm);
kd_status kd_comm_threads(int64_t size, double deadline, kd_comm_body *run, void *arg);

/* MPI's world, begun if need be; KD_ENOTSUP in a build without MPI. kd_comm_free of it ends MPI. */
kd_status kd_comm_mpi(kd_comm **out, double deadline);
bool kd_comm_has_mpi(void);

/* A rank that is planned and not run (comm_paper.c): it has a rank and a size, and every move of it fails with KD_ENOTSUP. */
kd_status kd_comm_on_paper(kd_comm **out, int64_t rank, int64_t size);

/* The communicator of this process's job (launch.c): MPI's where `wanted` ranks are more than one or a launcher says that it has
 * started several, else this process alone. KD_ECONFIG if a launcher has started several that do not know of each other. */
kd_status kd_comm_launched(kd_comm **out, int64_t wanted, double deadline);
/* Ranks on this one's host, itself included; collective. */
kd_status kd_comm_neighbours(int64_t *count, kd_comm *comm);

/* The ranks with the same colour, in the order of their old ranks; collective. Free it before what it was split from. */
kd_status kd_comm_split(kd_comm **out, kd_comm *comm, int64_t colour);
void kd_comm_free(kd_comm *comm);

/* Ends the job for all ranks: of processes, with this exit code, and it does not return; of threads, they fail where they
 * wait. For a rank that cannot go on and cannot tell the others by kd_comm_agree. */
void kd_comm_abort(kd_comm *comm, int code);

int64_t kd_comm_rank(const kd_comm *comm);
int64_t kd_comm_size(const kd_comm *comm);

/* ---- moves -------------------------------------------------------------------------------------------------------- */

/* send_bytes[r] bytes from send + send_at[r] go to rank r, recv_bytes[r] come from it to recv + recv_at[r]; each array has
 * `size` entries; 0 bytes are no message. Own bytes are copied. Arrays and buffers stay valid and untouched until the end. */
typedef struct kd_move {
    const char *what;
    const void *send;
    void *recv;
    const int64_t *send_at, *send_bytes, *recv_at, *recv_bytes;
} kd_move;

/* A move that has begun and not ended, in the caller's memory. At most KD_COMM_FLIGHT of a communicator at a time, ended in
 * the order of their beginning. */
enum { KD_COMM_FLIGHT = 4 };
typedef struct kd_flight { kd_comm *comm; const kd_move *move; int64_t number; } kd_flight;
kd_status kd_comm_begin(kd_flight *flight, kd_comm *comm, const kd_move *move);
kd_status kd_comm_end(kd_flight *flight);
kd_status kd_comm_exchange(kd_comm *comm, const kd_move *move);

/* Rank r's bytes[r] bytes at all + at[r] come to all ranks; the own ones are there already. */
kd_status kd_comm_gather(kd_comm *comm, const char *what, void *all, const int64_t *at, const int64_t *bytes);
/* `bytes` each from all ranks: all [size][bytes]. */
kd_status kd_comm_gather_equal(kd_comm *comm, const char *what, void *all, const void *own, int64_t bytes);
/* Send and receive in a pair of ranks. */
kd_status kd_comm_swap(kd_comm *comm, const char *what, int64_t peer, const void *send, int64_t send_bytes, void *recv,
                       int64_t recv_bytes);
kd_status kd_comm_broadcast(kd_comm *comm, const char *what, int64_t root, void *data, int64_t bytes);
kd_status kd_comm_barrier(kd_comm *comm, const char *what);

/* ---- what ranks agree on ------------------------------------------------------------------------------------------- */

/* values[i] = the sum, or maximum, over ranks. A NaN of any rank is the maximum. At most 64 values. */
kd_status kd_comm_sum(kd_comm *comm, const char *what, int64_t *values, int64_t n);
kd_status kd_comm_max(kd_comm *comm, const char *what, double *values, int64_t n);

/* The status of the lowest rank that has failed, with its message; KD_OK if none has. Before a collective that a failed
 * rank would not come to. */
kd_status kd_comm_agree(kd_comm *comm, const char *what, kd_status status);

/* Bytes that this rank has sent to others so far, those of groups split from it included. */
int64_t kd_comm_sent(const kd_comm *comm);

#endif

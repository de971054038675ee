/* Ranks, and the bytes that move between them.
 *
 * A communicator is a group of ranks 0 .. size-1: this process alone, threads of one process, or processes joined by MPI or
 * TCP. One with a GPU each has another beneath it, for all that is not in device memory. A backend moves bytes; the reductions
 * here are exact (integers, maxima), and every sum of floats is made in an order of kedge's own (shards.h). So no result depends
 * on what moved the bytes.
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

/* Processes that know rank 0's address. `job`: a number that all of them and no others have. The deadline is also that of
 * joining. KD_ELOST naming a rank that has not come; KD_ECONFIG if the ranks' jobs or sizes differ; KD_EIO. */
typedef struct kd_tcp_job { int64_t rank, size; const char *address; int port; uint64_t job; } kd_tcp_job;
kd_status kd_comm_tcp(kd_comm **out, const kd_tcp_job *job, double deadline);

/* A GPU for each rank of `host`, which stays the caller's and is freed after it; collective. Moves in device memory go by NCCL,
 * moves in the host's memory and agreements over `host`; a move is of one kind on all its ranks. NCCL does not notice lengths that
 * differ, nor say who is missing.
 *   device  this rank's; from now on it is this thread's
 *   stream  a cudaStream_t, NULL the default one: what it was given before a move begins is done before it
 * KD_ENOTSUP in a build without NCCL, and where there is no GPU. */
kd_status kd_comm_nccl(kd_comm **out, kd_comm *host, int64_t device, void *stream, double deadline);
bool kd_comm_has_nccl(void);

/* A rank that is planned and not run (comm_paper.c): it has a rank and a size, and every move of it fails with KD_ENOTSUP. */
kd_status kd_comm_on_paper(kd_comm **out, int64_t rank, int64_t size);

/* The communicator of this process's job (launch.c): MPI's or TCP's where a launcher says that it has started several processes,
 * MPI's also where `wanted` ranks are more than one, else this process alone. KD_ECONFIG if a launcher has started several that
 * do not know of each other, or gives a part of the variables; kd_comm_tcp's. */
kd_status kd_comm_launched(kd_comm **out, int64_t wanted, double deadline);
/* Ranks on this one's host, itself included, and its place among them, from 0: the device it takes. That is LOCAL_RANK where the
 * variables of this rank give it, else the order of ranks. Collective. */
kd_status kd_comm_neighbours(int64_t *count, int64_t *place, kd_comm *comm);

/* The ranks with the same colour, in the order of their old ranks; collective. Free it before what it was split from. */
kd_status kd_comm_split(kd_comm **out, kd_comm *comm, int64_t colour);
void kd_comm_free(kd_comm *comm);

/* Ends the job for all ranks: of processes, with this exit code, and it does not return; of threads, they fail where they
 * wait. For a rank that cannot go on and cannot tell the others by kd_comm_agree. */
void kd_comm_abort(kd_comm *comm, int code);

/* For a rank that fails where the others go into a collective (returns status): it cannot end in order any more, and should
 * kd_comm_abort. So it is after a move that has failed. */
kd_status kd_comm_break(kd_comm *comm, kd_status status);
bool kd_comm_broken(const kd_comm *comm);

int64_t kd_comm_rank(const kd_comm *comm);
int64_t kd_comm_size(const kd_comm *comm);
const char *kd_comm_backend_name(const kd_comm *comm);  /* self, threads, MPI, TCP */
/* What a rank is called in the communicator that this one's groups were split from. */
int64_t kd_comm_world_rank(const kd_comm *comm, int64_t rank);

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

/* The status of the lowest rank that has failed, with its message and, but for rank 0, its name; KD_OK if none has. Before a
 * collective that a failed rank would not come to. */
kd_status kd_comm_agree(kd_comm *comm, const char *what, kd_status status);

/* Bytes that this rank has sent to others so far, and the seconds that it spent in moves, waiting for others included; those of groups
 * split from it too. */
int64_t kd_comm_sent(const kd_comm *comm);
double kd_comm_seconds(const kd_comm *comm);

#endif

/* NVIDIA's NCCL: moves of device memory, bytes alone. What ranks agree on, groups and moves of the host's memory go over the
 * host communicator. Not tried on a GPU yet: docs/parallel.md.
 *
 * NCCL would wait inside its calls, for ever. So its communicators are nonblocking; while one is busy it takes no call but the
 * question whether it still is. Moves queue here and are handed to it one by one, whenever a move begins or is asked about; the
 * event put behind a move on the stream says when it is done. NCCL 2.14 or later. */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "comm_backend.h"

typedef struct nccl_state {
    ncclComm_t nccl;                       /* NULL: not yet, or given up */
    int device;
    cudaStream_t stream, after;            /* moves run on the one; the caller's work on the other comes before them */
    cudaEvent_t before[KD_COMM_FLIGHT], done[KD_COMM_FLIGHT];
    const kd_move *queue[KD_COMM_FLIGHT];
    int64_t handed, marked;                /* moves that NCCL has had; that have their event behind them */
} nccl_state;

static bool accepted(ncclResult_t code) { return code == ncclSuccess || code == ncclInProgress; }

static kd_status check_nccl(const kd_comm *comm, const char *what, ncclResult_t code) {
    if (accepted(code)) return KD_OK;
    return kd_fail(KD_ELOST, "rank %lld of %lld: %s: NCCL: %s", (long long)comm->rank, (long long)comm->size, what,
                   ncclGetErrorString(code));
}

static kd_status check_cuda(const kd_comm *comm, const char *what, cudaError_t code) {
    if (code == cudaSuccess) return KD_OK;
    return kd_fail(KD_EIO, "rank %lld of %lld: %s: CUDA: %s", (long long)comm->rank, (long long)comm->size, what, cudaGetErrorString(code));
}

/* ---- moves --------------------------------------------------------------------------------------------------------------- */

/* Whether what a move sends, or takes, lies in device memory; *any: it is not nothing. */
static bool on_device(bool *any, int64_t size, const void *base, const int64_t *at, const int64_t *bytes) {
    struct cudaPointerAttributes about;
    *any = false;
    for (int64_t r = 0; r < size; r++) {
        if (bytes[r] == 0) continue;
        *any = true;
        return cudaPointerGetAttributes(&about, (const char *)base + at[r]) == cudaSuccess &&
               (about.type == cudaMemoryTypeDevice || about.type == cudaMemoryTypeManaged);
    }
    return false;
}

/* No rank hears of another's memory: all must have the same kind. */
static kd_status nccl_takes(bool *yes, const kd_comm *comm, const kd_move *m) {
    bool sends, takes, from = on_device(&sends, comm->size, m->send, m->send_at, m->send_bytes),
                       to = on_device(&takes, comm->size, m->recv, m->recv_at, m->recv_bytes);
    *yes = from || to;
    if (sends && takes && from != to) return kd_fail(KD_EARG, "%s: of what it sends and takes, one is not in device memory", m->what);
    return KD_OK;
}

/* The next move, own bytes and all, goes to the stream. */
static kd_status hand_over(const kd_comm *comm, nccl_state *s) {
    const kd_move *m = s->queue[s->handed % KD_COMM_FLIGHT];
    int64_t own = comm->rank, size = comm->size;
    const char *send = m->send;
    char *recv = m->recv;
    KD_TRY(check_cuda(comm, m->what, cudaStreamWaitEvent(s->stream, s->before[s->handed++ % KD_COMM_FLIGHT], 0)));
    if (m->send_bytes[own] > 0 && send + m->send_at[own] != recv + m->recv_at[own])
        KD_TRY(check_cuda(comm, m->what, cudaMemcpyAsync(recv + m->recv_at[own], send + m->send_at[own], (size_t)m->send_bytes[own],
                                                         cudaMemcpyDeviceToDevice, s->stream)));
    ncclResult_t code = ncclGroupStart();
    for (int64_t i = 1; i < size; i++) {
        int64_t r = (own + i) % size;
        size_t out = (size_t)m->send_bytes[r], in = (size_t)m->recv_bytes[r];
        if (accepted(code) && out > 0) code = ncclSend(send + m->send_at[r], out, ncclUint8, (int)r, s->nccl, s->stream);
        if (accepted(code) && in > 0) code = ncclRecv(recv + m->recv_at[r], in, ncclUint8, (int)r, s->nccl, s->stream);
    }
    ncclResult_t end = ncclGroupEnd();
    return check_nccl(comm, m->what, accepted(code) ? end : code);
}

/* As far as NCCL lets it: the last move gets its event, the next is handed over. */
static kd_status advance(const kd_comm *comm, nccl_state *s, const char *what) {
    if (!s->nccl) return kd_fail(KD_ELOST, "rank %lld of %lld: %s: NCCL was given up", (long long)comm->rank, (long long)comm->size, what);
    for (;;) {
        ncclResult_t now;
        KD_TRY(check_nccl(comm, what, ncclCommGetAsyncError(s->nccl, &now)));
        KD_TRY(check_nccl(comm, what, now));
        if (now == ncclInProgress) return KD_OK;
        if (s->marked < s->handed) {
            KD_TRY(check_cuda(comm, what, cudaEventRecord(s->done[s->marked % KD_COMM_FLIGHT], s->stream)));
            s->marked++;
        }
        if (s->handed == comm->begun) return KD_OK;
        KD_TRY(hand_over(comm, s));
    }
}

/* Ends what is under way; NCCL waits for that, not for other ranks. */
static void nccl_withdraw(kd_comm *comm) {
    nccl_state *s = comm->state;
    if (s->nccl) ncclCommAbort(s->nccl);
    s->nccl = NULL;
}

static kd_status nccl_begin(kd_comm *comm, const kd_flight *f) {
    nccl_state *s = comm->state;
    int64_t place = f->number % KD_COMM_FLIGHT;
    s->queue[place] = f->move;
    kd_status status = check_cuda(comm, f->move->what, cudaEventRecord(s->before[place], s->after));
    if (!status) status = advance(comm, s, f->move->what);
    if (status) nccl_withdraw(comm);
    return status;
}

/* NCCL does not say who is missing. */
static kd_status nccl_test(kd_comm *comm, const kd_flight *f, bool *done, int64_t *missing) {
    nccl_state *s = comm->state;
    *missing = -1;
    KD_TRY(advance(comm, s, f->move->what));
    if (f->number >= s->marked) return KD_OK;
    cudaError_t code = cudaEventQuery(s->done[f->number % KD_COMM_FLIGHT]);
    *done = code == cudaSuccess;
    return code == cudaErrorNotReady ? KD_OK : check_cuda(comm, f->move->what, code);
}

/* A move of nothing: it ends when NCCL is ready again. */
static kd_status settle(kd_comm *comm, const char *what) {
    int64_t *none = comm->scratch;
    memset(none, 0, (size_t)comm->size * sizeof *none);
    kd_move nothing = {what, NULL, NULL, none, none, none, none};
    kd_flight flight = {comm, &nothing, comm->begun++};
    kd_status status = nccl_begin(comm, &flight);
    return status ? status : kd_comm_end(&flight);
}

/* ---- beginning and end ---------------------------------------------------------------------------------------------------- */

static void nccl_abort(kd_comm *comm, int code) {
    nccl_withdraw(comm);
    kd_comm_abort(comm->host, code);
}

static void nccl_release(kd_comm *comm) {
    nccl_state *s = comm->state;
    if (s && s->nccl) {
        char before[1024];  /* what has failed is told, not that its end fails too */
        snprintf(before, sizeof before, "%s", kd_message());
        kd_status status = check_nccl(comm, "the end", ncclCommFinalize(s->nccl));
        if (status || settle(comm, "the end")) nccl_withdraw(comm);
        else ncclCommDestroy(s->nccl);
        kd_message_set(before);
    }
    for (int i = 0; s && i < KD_COMM_FLIGHT; i++) {
        if (s->before[i]) cudaEventDestroy(s->before[i]);
        if (s->done[i]) cudaEventDestroy(s->done[i]);
    }
    if (s && s->stream) cudaStreamDestroy(s->stream);
    free(s);
    if (comm->parent) kd_comm_free(comm->host);  /* the first one's is its maker's */
}

static kd_status open_device(const kd_comm *comm, nccl_state *s, int64_t device) {
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code || count == 0) return kd_fail(KD_ENOTSUP, "NCCL needs a GPU: %s", code ? cudaGetErrorString(code) : "there is none");
    if (device < 0 || device >= count) return kd_fail(KD_EARG, "GPU %lld: there are %d", (long long)device, count);
    s->device = (int)device;
    KD_TRY(check_cuda(comm, "a GPU", cudaSetDevice(s->device)));
    KD_TRY(check_cuda(comm, "a stream", cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking)));
    for (int i = 0; i < 2 * KD_COMM_FLIGHT; i++)
        KD_TRY(check_cuda(comm, "an event", cudaEventCreateWithFlags(i % 2 ? &s->before[i / 2] : &s->done[i / 2], cudaEventDisableTiming)));
    return KD_OK;
}

/* comm->host is set. The ranks agree before each step in which one would wait for all. */
static kd_status state_new(kd_comm *comm, int64_t device, void *after) {
    nccl_state *s = NULL;
    ncclUniqueId id = {{0}};
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    kd_status status = kd_new(&s, 1, sizeof *s);
    if (!status) {
        comm->state = s;
        s->after = after;
        status = open_device(comm, s, device);
    }
    if (!status && comm->rank == 0) status = check_nccl(comm, "an id", ncclGetUniqueId(&id));
    KD_TRY(kd_comm_agree(comm->host, "NCCL's id", status));
    KD_TRY(kd_comm_broadcast(comm->host, "NCCL's id", 0, &id, sizeof id));
    status = check_nccl(comm, "the beginning", ncclCommInitRankConfig(&s->nccl, (int)comm->size, id, (int)comm->rank, &config));
    KD_TRY(kd_comm_agree(comm->host, "NCCL's beginning", status));
    return settle(comm, "NCCL's beginning");
}

static kd_status nccl_split(kd_comm *part, kd_comm *comm, int64_t colour, const int64_t *members, int64_t count) {
    nccl_state *s = comm->state;
    (void)members, (void)count;
    KD_TRY(kd_comm_split(&part->host, comm->host, colour));
    kd_status status = state_new(part, s->device, s->after);
    if (status) nccl_release(part);
    return status;
}

static const kd_backend backend = {nccl_begin, nccl_test, nccl_split, nccl_withdraw, nccl_abort, nccl_release, "NCCL", nccl_takes};

kd_status kd_comm_nccl(kd_comm **out, kd_comm *host, int64_t device, void *stream, double deadline) {
    kd_comm *comm;
    *out = NULL;
    kd_status status = kd_comm_agree(host, "a communicator", kd_comm_new(&comm, &backend, host->rank, host->size, deadline));
    if (!status) {
        comm->host = host;
        status = state_new(comm, device, stream);
    }
    if (status) kd_comm_free(comm);
    else *out = comm;
    return status;
}

bool kd_comm_has_nccl(void) { return true; }

/* MPI's processes. Every message is nonblocking and the waiting is kedge's: MPI's own spins, which starves ranks that share a
 * core, and never gives up. MPI 3.1, one thread. */
#include <mpi.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "comm_backend.h"

enum { CHUNK = 1 << 30, TAGS = 1 << 14 };  /* MPI counts in int */

typedef struct letter {
    MPI_Request request;
    int64_t from;             /* the rank it comes from, or -2 - the rank it goes to */
    int bytes;
} letter;

/* The messages of a move under way. */
typedef struct letters {
    letter *item;
    int64_t room, count;
} letters;

typedef struct mpi_state {
    MPI_Comm comm;
    bool world;
    letters flight[KD_COMM_FLIGHT];
} mpi_state;

static kd_status mpi_failed(const kd_comm *comm, const char *what, int code) {
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(code, text, &length);
    return kd_fail(KD_ELOST, "rank %lld of %lld: %s: MPI: %.*s", (long long)comm->rank, (long long)comm->size, what, length, text);
}

static kd_status post_letters(kd_comm *comm, const kd_flight *f, int64_t rank, bool sends) {
    mpi_state *s = comm->state;
    letters *l = &s->flight[f->number % KD_COMM_FLIGHT];
    const kd_move *move = f->move;
    int64_t bytes = sends ? move->send_bytes[rank] : move->recv_bytes[rank];
    char *at = sends ? (char *)move->send + move->send_at[rank] : (char *)move->recv + move->recv_at[rank];
    int tag = (int)(f->number % TAGS);
    for (int64_t done = 0, now; done < bytes; done += now) {
        now = bytes - done < CHUNK ? bytes - done : CHUNK;
        KD_TRY(kd_grow(&l->item, &l->room, l->count + 1, sizeof *l->item));
        letter *x = &l->item[l->count];
        *x = (letter){.from = sends ? -2 - rank : rank, .bytes = (int)now};
        int code = sends ? MPI_Isend(at + done, x->bytes, MPI_BYTE, (int)rank, tag, s->comm, &x->request)
                         : MPI_Irecv(at + done, x->bytes, MPI_BYTE, (int)rank, tag, s->comm, &x->request);
        if (code) return mpi_failed(comm, move->what, code);
        l->count++;
    }
    return KD_OK;
}

static kd_status mpi_begin(kd_comm *comm, const kd_flight *f) {
    mpi_state *s = comm->state;
    s->flight[f->number % KD_COMM_FLIGHT].count = 0;
    for (int sends = 0; sends < 2; sends++)
        for (int64_t i = 1; i < comm->size; i++) KD_TRY(post_letters(comm, f, (comm->rank + i) % comm->size, sends));
    return KD_OK;
}

static kd_status mpi_test(kd_comm *comm, const kd_flight *f, bool *done, int64_t *missing) {
    mpi_state *s = comm->state;
    letters *l = &s->flight[f->number % KD_COMM_FLIGHT];
    *missing = -1;
    for (int64_t i = 0; i < l->count;) {
        letter *x = &l->item[i];
        MPI_Status about;
        int came = 0, bytes = x->bytes, code = MPI_Test(&x->request, &came, &about);
        if (code) return mpi_failed(comm, f->move->what, code);
        if (!came) {
            if (x->from >= 0 || *missing == -1) *missing = x->from;
            i++;
            continue;
        }
        if (x->from >= 0) MPI_Get_count(&about, MPI_BYTE, &bytes);
        if (bytes != x->bytes)
            return kd_fail(KD_EARG, "rank %lld of %lld: %s: rank %lld sends %d bytes, not %d", (long long)comm->rank, (long long)comm->size,
                           f->move->what, (long long)x->from, bytes, x->bytes);
        *x = l->item[--l->count];
    }
    *done = l->count == 0;
    return KD_OK;
}

static const kd_backend backend;

static kd_status state_new(kd_comm *comm, MPI_Comm handle, bool world) {
    mpi_state *s;
    KD_TRY(kd_new(&s, 1, sizeof *s));
    s->comm = handle;
    s->world = world;
    comm->state = s;
    MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN);
    return KD_OK;
}

static kd_status mpi_split(kd_comm *part, kd_comm *comm, int64_t colour, const int64_t *members, int64_t count) {
    mpi_state *s = comm->state;
    MPI_Comm handle;
    (void)colour, (void)count;
    int code = MPI_Comm_split(s->comm, (int)members[0], (int)comm->rank, &handle);
    if (code) return mpi_failed(comm, "groups", code);
    return state_new(part, handle, false);
}

static volatile sig_atomic_t abort_code;
static void leave(int number) {
    (void)number;
    _exit(abort_code);
}

/* MPI_Abort may hang where a network is cut. */
static void mpi_abort(kd_comm *comm, int code) {
    enum { SECONDS = 10 };
    (void)comm;
    abort_code = code;
    signal(SIGALRM, leave);
    alarm(SECONDS);
    MPI_Abort(MPI_COMM_WORLD, code);
    _exit(code);
}

static void mpi_release(kd_comm *comm) {
    mpi_state *s = comm->state;
    if (!s) return;
    for (int i = 0; i < KD_COMM_FLIGHT; i++) free(s->flight[i].item);
    if (s->world) MPI_Finalize();
    else MPI_Comm_free(&s->comm);
    free(s);
}

static const kd_backend backend = {mpi_begin, mpi_test, mpi_split, NULL, mpi_abort, mpi_release, "MPI", NULL};

kd_status kd_comm_mpi(kd_comm **out, double deadline) {
    int begun = 0, rank = 0, size = 1, provided;
    kd_comm *comm;
    *out = NULL;
    MPI_Initialized(&begun);
    if (!begun && MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided)) return kd_fail(KD_EIO, "MPI cannot begin");
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    KD_TRY(kd_comm_new(&comm, &backend, rank, size, deadline));
    kd_status status = state_new(comm, MPI_COMM_WORLD, true);
    if (status) {
        free(comm->scratch);
        free(comm);
        return status;
    }
    *out = comm;
    return KD_OK;
}

bool kd_comm_has_mpi(void) { return true; }

/* A rank of a job that is planned and not run: whoever measures asks for rank and size, and whoever would move something is
 * refused. */
#include "comm_backend.h"

static kd_status paper_begin(kd_comm *comm, const kd_flight *flight) {
    return kd_fail(KD_ENOTSUP, "%s: rank %lld of %lld is on paper", flight->move->what, (long long)comm->rank, (long long)comm->size);
}

static void paper_abort(kd_comm *comm, int code) { (void)comm, (void)code; }

static void paper_release(kd_comm *comm) { (void)comm; }

/* No move begins, so none is tested, and groups begin with a move. */
static const kd_backend backend = {.begin = paper_begin, .abort = paper_abort, .release = paper_release};

kd_status kd_comm_on_paper(kd_comm **out, int64_t rank, int64_t size) { return kd_comm_new(out, &backend, rank, size, 0); }

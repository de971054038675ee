/* What a build without MPI says of it. */
#include <stddef.h>

#include "comm.h"

kd_status kd_comm_mpi(kd_comm **out, double deadline) {
    *out = NULL;
    (void)deadline;
    return kd_fail(KD_ENOTSUP, "this build has no MPI: make MPI=1");
}

bool kd_comm_has_mpi(void) { return false; }

/* What a build without NCCL says of it. */
#include <stddef.h>

#include "comm.h"

kd_status kd_comm_nccl(kd_comm **out, kd_comm *host, int64_t device, void *stream, double deadline) {
    *out = NULL;
    (void)host, (void)device, (void)stream, (void)deadline;
    return kd_fail(KD_ENOTSUP, "this build has no NCCL: make NCCL=1");
}

bool kd_comm_has_nccl(void) { return false; }

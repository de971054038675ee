/* How a job is launched: by MPI's launchers, or by nobody. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "comm.h"

/* What launchers tell the processes they start: how many there are. SLURM_NTASKS is also seen by a batch script, from which
 * one process is started by mistake. */
static const char *const told[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"};

static int64_t launched(const char **by) {
    int64_t most = 1;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        const char *value = getenv(told[i]);
        int64_t n = value ? atoll(value) : 0;
        if (n > most) most = n, *by = told[i];
    }
    return most;
}

kd_status kd_comm_launched(kd_comm **out, int64_t wanted, double deadline) {
    const char *by = NULL;
    int64_t processes = launched(&by);
    *out = NULL;
    if (wanted <= 1 && processes <= 1) return kd_comm_self(out);
    kd_status status = kd_comm_mpi(out, deadline);
    if (status) return processes > 1 ? kd_fail_prefix(status, "%s says %lld processes", by, (long long)processes) : status;
    if (processes == 1 || kd_comm_size(*out) > 1) return KD_OK;
    kd_comm_free(*out);
    *out = NULL;
    return kd_fail(KD_ECONFIG, "%s says %lld processes, but this one is alone: srun --mpi=pmix or mpirun start them together", by,
                   (long long)processes);
}

kd_status kd_comm_neighbours(int64_t *count, kd_comm *comm) {
    enum { NAME = 64 };
    char own[NAME] = {0}, *all;
    *count = 0;
    if (gethostname(own, NAME - 1)) own[0] = 0;
    KD_TRY(kd_new(&all, kd_comm_size(comm), NAME));
    kd_status status = kd_comm_gather_equal(comm, "names of hosts", all, own, NAME);
    for (int64_t r = 0; !status && r < kd_comm_size(comm); r++) *count += !memcmp(own, all + r * NAME, NAME);
    free(all);
    return status;
}

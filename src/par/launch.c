/* How a job is launched: by MPI's launchers, by the variables that torchrun and Kubernetes' operators set, or by nobody. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/arena.h"
#include "comm.h"

/* What MPI's launchers tell the processes they start: how many there are. SLURM_NTASKS is also seen by a batch script, from
 * which one process is started by mistake. */
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

/* srun without PMIx starts processes that MPI does not bring together. */
static bool by_mpi(const char *by) {
    return kd_comm_has_mpi() && by && (strcmp(by, "SLURM_NTASKS") || getenv("PMIX_RANK") || getenv("PMI_RANK"));
}

/* A variable's number; absent: -1. */
static kd_status number_of(int64_t *out, const char *name, int64_t least, int64_t most) {
    const char *text = getenv(name);
    char *end = NULL;
    *out = -1;
    if (!text || !*text) return KD_OK;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (*end || errno || n < least || n > most)
        return kd_fail(KD_ECONFIG, "%s=%s: a number from %lld to %lld is needed", name, text, (long long)least, (long long)most);
    *out = n;
    return KD_OK;
}

/* FNV-1a */
static uint64_t hash_of(const char *text) {
    uint64_t hash = 14695981039346656037u;
    for (; text && *text; text++) hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    return hash;
}

/* job.size 1: nothing is said of several. */
static kd_status read_variables(kd_tcp_job *job) {
    enum { MOST = 1 << 16 };
    int64_t port;
    const char *address = getenv("MASTER_ADDR"), *store = getenv("TORCHELASTIC_USE_AGENT_STORE"), *missing;
    *job = (kd_tcp_job){.size = 1};
    KD_TRY(number_of(&job->size, "WORLD_SIZE", 1, MOST));
    KD_TRY(number_of(&job->rank, "RANK", 0, MOST));
    if (job->size < 0 && job->rank > 0) return kd_fail(KD_ECONFIG, "RANK is %lld, but WORLD_SIZE is not set", (long long)job->rank);
    if (job->size <= 1) {
        job->size = 1;
        return KD_OK;
    }
    KD_TRY(number_of(&port, "MASTER_PORT", 1, 65534));
    missing = job->rank < 0 ? "RANK" : !address || !*address ? "MASTER_ADDR" : port < 0 ? "MASTER_PORT" : NULL;
    if (missing)
        return kd_fail(KD_ECONFIG, "WORLD_SIZE says %lld processes, but %s is not set: torchrun sets RANK, WORLD_SIZE, MASTER_ADDR "
                       "and MASTER_PORT", (long long)job->size, missing);
    if (job->rank >= job->size)
        return kd_fail(KD_ECONFIG, "RANK is %lld of WORLD_SIZE %lld: ranks count from 0", (long long)job->rank, (long long)job->size);
    /* torchrun itself may listen at the port that it names. */
    job->port = (int)port + (store && (!strcasecmp(store, "true") || !strcmp(store, "1")));
    job->address = address;
    job->job = hash_of(getenv("TORCHELASTIC_RUN_ID"));
    return KD_OK;
}

kd_status kd_comm_launched(kd_comm **out, int64_t wanted, double deadline) {
    const char *by = NULL;
    int64_t processes = launched(&by);
    bool torch = getenv("TORCHELASTIC_RUN_ID") != NULL;  /* within whatever started it */
    kd_tcp_job job = {.size = 1};
    *out = NULL;
    if (torch || !by_mpi(by)) {
        KD_TRY(read_variables(&job));
        if (job.size > 1) return kd_comm_tcp(out, &job, deadline);
    }
    if (torch || (processes <= 1 && (wanted <= 1 || !kd_comm_has_mpi()))) return kd_comm_self(out);
    kd_status status = kd_comm_mpi(out, deadline);
    if (status) return processes > 1 ? kd_fail_prefix(status, "%s says %lld processes", by, (long long)processes) : status;
    if (processes == 1 || kd_comm_size(*out) > 1) return KD_OK;
    kd_comm_free(*out);
    *out = NULL;
    return kd_fail(KD_ECONFIG, "%s says %lld processes, but this one is alone: srun --mpi=pmix or mpirun start them together", by,
                   (long long)processes);
}

/* ---- hosts ------------------------------------------------------------------------------------------------------------ */

/* A host's name and its kernel's boot: hosts may be called alike, and containers of one host are not. */
typedef struct host { char name[256], boot[40]; } host;

static host own_host(void) {
    host h = {0};
    if (gethostname(h.name, sizeof h.name - 1)) h.name[0] = 0;
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return h;
    if (read(fd, h.boot, sizeof h.boot - 1) < 0) h.boot[0] = 0;
    close(fd);
    return h;
}

/* LOCAL_RANK is believed where RANK and WORLD_SIZE are this rank's: others may be left from a shell. */
static bool place_is_given(int64_t *place, const kd_comm *comm, int64_t count) {
    int64_t rank, size;
    return !number_of(&rank, "RANK", 0, INT64_MAX) && rank == kd_comm_rank(comm) && !number_of(&size, "WORLD_SIZE", 1, INT64_MAX) &&
           size == kd_comm_size(comm) && !number_of(place, "LOCAL_RANK", 0, count - 1) && *place >= 0;
}

kd_status kd_comm_neighbours(int64_t *count, int64_t *place, kd_comm *comm) {
    const host own = own_host();
    host *all;
    *count = *place = 0;
    KD_TRY(kd_comm_break(comm, kd_new(&all, kd_comm_size(comm), sizeof *all)));
    kd_status status = kd_comm_gather_equal(comm, "names of hosts", all, &own, sizeof own);
    for (int64_t r = 0; !status && r < kd_comm_size(comm); r++) {
        if (memcmp(&own, &all[r], sizeof own)) continue;
        *place += r < kd_comm_rank(comm);
        ++*count;
    }
    free(all);
    int64_t given;
    if (!status && place_is_given(&given, comm, *count)) *place = given;
    return status;
}

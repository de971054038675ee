/* Communicators whose ranks have a GPU each: device memory goes by NCCL, the rest over the communicator beneath. Ranks are threads, on
 * 1, 2, ... GPUs, or with KEDGE_RANKS_TEST=1 under a launcher MPI's processes, on one host. tests/simulated_nccl.c is for machines
 * without a GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the three above. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "par/comm.h"

static kd_comm *world;  /* MPI's, if that is tested */

static kd_status refused_body(void *arg, kd_comm *host) {
    kd_comm *comm;
    return kd_comm_nccl(&comm, host, *(int64_t *)arg, NULL, 1);
}

static void one_without_its_gpu_is_refused(void **state) {
    (void)state;
    int64_t device = 1000;
    kd_status status = kd_comm_threads(1, 60, refused_body, &device);
    assert_int_equal(status, strstr(kd_message(), "GPU 1000: there are") ? KD_EARG : KD_ENOTSUP);
    if (status == KD_EARG) return;
    assert_non_null(strstr(kd_message(), kd_comm_has_nccl() ? "NCCL needs a GPU: " : "this build has no NCCL: make NCCL=1"));
}

#ifdef KD_NCCL
#include <cuda_runtime_api.h>

enum { DEADLINE = 60, MOST = 8 };

static int gpus(void) {
    int count = 0;
    if (cudaGetDeviceCount(&count)) return 0;
    return count < MOST ? count : MOST;
}

/* A check inside a rank: assertions of cmocka belong to the main thread. */
#define CHECK(what)                                                                                                   \
    do {                                                                                                              \
        if (!(what)) return kd_fail(KD_EFORMAT, "rank %lld: %s:%d: %s", (long long)kd_comm_rank(comm), __FILE__, __LINE__, #what); \
    } while (0)

typedef kd_status nccl_body(kd_comm *comm, kd_comm *host, cudaStream_t stream);
typedef struct job { nccl_body *run; double deadline; } job;

/* A rank's communicator, over `host`, after a stream of its own. Its end, in vain where a rank has gone, changes no message. */
static kd_status rank_body(void *arg, kd_comm *host) {
    const job *j = arg;
    kd_comm *comm = NULL;
    cudaStream_t stream = NULL;
    char message[1024];
    cudaSetDevice((int)kd_comm_rank(host));
    if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) return kd_fail(KD_EIO, "no stream");
    kd_status status = kd_comm_nccl(&comm, host, kd_comm_rank(host), stream, j->deadline);
    if (!status) status = j->run(comm, host, stream);
    snprintf(message, sizeof message, "%s", kd_message());
    kd_comm_free(comm);
    cudaStreamDestroy(stream);
    if (strcmp(kd_message(), message)) return kd_fail(KD_EFORMAT, "the message was \"%s\"", message);
    return status;
}

/* run on every number of GPUs from `least` that can be had. */
static void on_gpus(nccl_body *run, int least, double deadline) {
    int ranks = world ? (int)kd_comm_size(world) : gpus();
    job j = {run, deadline};
    if (ranks > gpus() || ranks < least) {
        printf("skipped: NCCL: of GPUs there are %d\n", gpus());
        skip();
    }
    for (int size = world ? ranks : least; size <= ranks; size++)
        if (world ? kd_comm_agree(world, "a test", rank_body(&j, world)) : kd_comm_threads(size, DEADLINE, rank_body, &j))
            fail_msg("%d GPUs: %s", size, kd_message());
}

static void *device_new(int64_t bytes) {
    void *p = NULL;
    return cudaMalloc(&p, (size_t)bytes + 1) ? NULL : p;
}
static bool put(void *device, const void *host, int64_t bytes) { return !cudaMemcpy(device, host, (size_t)bytes, cudaMemcpyHostToDevice); }
static bool get(void *host, const void *device, int64_t bytes) { return !cudaMemcpy(host, device, (size_t)bytes, cudaMemcpyDeviceToHost); }

/* What rank a sends rank b, itself included: its length differs for each pair, some send nothing. */
static int64_t length_of(int64_t a, int64_t b, int64_t round) { return (a * 37 + b * 101 + round * 13) % 5 * 1000 + (a + b) % 3; }
static char byte_of(int64_t a, int64_t b, int64_t i, int64_t round) { return (char)(a * 3 + b * 7 + i * 11 + round); }

/* What is sent is made on the caller's stream, which nobody waits for. */
static kd_status exchange_body(kd_comm *comm, kd_comm *host, cudaStream_t stream) {
    enum { ROOM = 40000 };
    static const char none[ROOM];
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), counts[4][MOST], sent = kd_comm_sent(comm), by_host = kd_comm_sent(host);
    char *made = device_new(ROOM), *send = device_new(ROOM), *recv = device_new(ROOM), *here = malloc(ROOM);
    CHECK(made && send && recv && here);
    for (int64_t round = 0; round < 20; round++) {
        int64_t out = 0, in = 0;
        for (int64_t r = 0; r < size; r++) {
            counts[0][r] = out, counts[1][r] = length_of(rank, r, round), out += counts[1][r];
            counts[2][r] = in, counts[3][r] = length_of(r, rank, round), in += counts[3][r];
            if (r != rank) sent += counts[1][r];
            for (int64_t i = 0; i < counts[1][r]; i++) here[counts[0][r] + i] = byte_of(rank, r, i, round);
        }
        CHECK(put(made, here, out) && put(send, none, ROOM) && put(recv, none, ROOM));
        if (out > 0) CHECK(!cudaMemcpyAsync(send, made, (size_t)out, cudaMemcpyDeviceToDevice, stream));
        KD_TRY(kd_comm_exchange(comm, &(kd_move){"letters", send, recv, counts[0], counts[1], counts[2], counts[3]}));
        CHECK(get(here, recv, in));
        for (int64_t r = 0; r < size; r++)
            for (int64_t i = 0; i < counts[3][r]; i++) CHECK(here[counts[2][r] + i] == byte_of(r, rank, i, round));
    }
    CHECK(kd_comm_sent(comm) == sent && kd_comm_sent(host) == by_host);
    cudaFree(made), cudaFree(send), cudaFree(recv);
    free(here);
    return KD_OK;
}

static void device_memory_of_any_length_arrives(void **state) {
    (void)state;
    on_gpus(exchange_body, 1, DEADLINE);
}

static kd_status flight_body(kd_comm *comm, kd_comm *host, cudaStream_t stream) {
    enum { N = 1000, BYTES = N * 8 };
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), next = (rank + 1) % size, before = (rank + size - 1) % size;
    int64_t counts[KD_COMM_FLIGHT][4][MOST] = {0}, data[N];
    char *device = device_new(2 * KD_COMM_FLIGHT * BYTES);
    kd_move move[KD_COMM_FLIGHT];
    kd_flight flight[KD_COMM_FLIGHT], more;
    (void)host, (void)stream;
    CHECK(device);
    for (int64_t f = 0; f < KD_COMM_FLIGHT; f++) {
        char *send = device + 2 * f * BYTES, *recv = send + BYTES;
        counts[f][1][next] = counts[f][3][before] = BYTES;
        for (int64_t i = 0; i < N; i++) data[i] = rank * 1000000 + f * 10000 + i;
        CHECK(put(send, data, BYTES));
        move[f] = (kd_move){"rings", send, recv, counts[f][0], counts[f][1], counts[f][2], counts[f][3]};
        KD_TRY(kd_comm_begin(&flight[f], comm, &move[f]));
    }
    CHECK(kd_comm_begin(&more, comm, &move[0]) == KD_EARG);
    int64_t sent = kd_comm_sent(comm);
    KD_TRY(kd_comm_barrier(comm, "the host's, meanwhile"));
    CHECK(kd_comm_sent(comm) - sent == 8 * (size - 1));
    for (int64_t f = 0; f < KD_COMM_FLIGHT; f++) {
        KD_TRY(kd_comm_end(&flight[f]));
        CHECK(get(data, move[f].recv, BYTES));
        for (int64_t i = 0; i < N; i++) CHECK(data[i] == before * 1000000 + f * 10000 + i);
    }
    cudaFree(device);
    return KD_OK;
}

static void moves_overlap(void **state) {
    (void)state;
    on_gpus(flight_body, 1, DEADLINE);
}

/* Agreements and groups: integers of the host, then a gather in each group's device memory. */
static kd_status groups_body(kd_comm *comm, kd_comm *host, cudaStream_t stream) {
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), value[2] = {rank, 1}, all[MOST], *device = device_new(sizeof all);
    kd_status own = rank == size - 1 ? kd_fail(KD_EIO, "the last") : KD_OK;
    (void)host, (void)stream;
    CHECK(device);
    CHECK(kd_comm_agree(comm, "a failure", own) == KD_EIO && strstr(kd_message(), "the last"));
    KD_TRY(kd_comm_sum(comm, "sums", value, 2));
    CHECK(value[0] == size * (size - 1) / 2 && value[1] == size);
    for (int64_t colours = 1; colours <= 3; colours++) {
        kd_comm *part;
        KD_TRY(kd_comm_split(&part, comm, rank % colours));
        int64_t here = kd_comm_rank(part), count = kd_comm_size(part), at[MOST], bytes[MOST], x = rank == rank % colours ? 77 : 0;
        KD_TRY(kd_comm_broadcast(part, "a number", 0, &x, sizeof x));
        CHECK(x == 77);
        for (int64_t r = 0; r < count; r++) at[r] = 8 * r, bytes[r] = 8, all[r] = r == here ? rank : -1;
        CHECK(put(device, all, 8 * count));
        KD_TRY(kd_comm_gather(part, "ranks of a group", device, at, bytes));
        CHECK(get(all, device, 8 * count));
        for (int64_t r = 0; r < count; r++) CHECK(all[r] == r * colours + rank % colours);
        kd_comm_free(part);
    }
    cudaFree(device);
    return KD_OK;
}

static void agreements_and_groups(void **state) {
    (void)state;
    on_gpus(groups_body, 1, DEADLINE);
}

static kd_status mixed_body(kd_comm *comm, kd_comm *host, cudaStream_t stream) {
    int64_t x = 0, *device = device_new(sizeof x);
    (void)host, (void)stream;
    CHECK(device);
    CHECK(kd_comm_gather_equal(comm, "a number", device, &x, sizeof x) == KD_EARG);
    CHECK(strstr(kd_message(), "a number: of what it sends and takes, one is not in device memory"));
    cudaFree(device);
    return KD_OK;
}

static void a_move_is_in_one_kind_of_memory(void **state) {
    (void)state;
    on_gpus(mixed_body, 1, DEADLINE);
}

/* The last rank does not come to a move in device memory. */
static kd_status absent_body(kd_comm *comm, kd_comm *host, cudaStream_t stream) {
    int64_t size = kd_comm_size(comm), x[MOST], *device = device_new(sizeof x);
    kd_status status = KD_OK;
    (void)stream;
    CHECK(device);
    if (kd_comm_rank(comm) < size - 1) {
        status = kd_comm_gather_equal(comm, "roll call", device, device + kd_comm_rank(comm), 8);
        CHECK(status == KD_ELOST && strstr(kd_message(), "roll call"));
        CHECK(kd_comm_gather_equal(comm, "again", device, device, 8) == KD_ELOST && strstr(kd_message(), "NCCL was given up"));
    }
    cudaFree(device);
    return kd_comm_barrier(host, "all know");
}

static void a_silent_rank_is_not_waited_for_after_the_deadline(void **state) {
    (void)state;
    on_gpus(absent_body, world || gpus() < 2 ? 2 : gpus(), 1);
}
#endif

int main(void) {
    if (getenv("KEDGE_RANKS_TEST") && kd_comm_mpi(&world, 60)) {
        fprintf(stderr, "%s\n", kd_message());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_without_its_gpu_is_refused),
#ifdef KD_NCCL
        cmocka_unit_test(device_memory_of_any_length_arrives),
        cmocka_unit_test(moves_overlap),
        cmocka_unit_test(agreements_and_groups),
        cmocka_unit_test(a_move_is_in_one_kind_of_memory),
        cmocka_unit_test(a_silent_rank_is_not_waited_for_after_the_deadline),
#endif
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kd_comm_free(world);
    return failed;
}

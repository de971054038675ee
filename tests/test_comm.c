/* Communicators: bytes arrive, errors travel, nobody waits for ever; and sums over ranks are one tree. Ranks are threads, and
 * processes over TCP; with KEDGE_RANKS_TEST=1 the processes of a launcher. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the three above. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "par/shards.h"
#include "tcp_ranks.h"

enum { DEADLINE = 60 };

/* A check inside a rank: assertions of cmocka belong to the main thread. */
#define CHECK(what)                                                                                                   \
    do {                                                                                                              \
        if (!(what)) return kd_fail(KD_EFORMAT, "rank %lld: %s:%d: %s", (long long)kd_comm_rank(comm), __FILE__, __LINE__, #what); \
    } while (0)

static kd_comm *world;  /* the launcher's, if that is tested */

/* run on every number of ranks that can be had. */
static void on_ranks(kd_comm_body *run, void *arg) {
    if (world) {
        kd_status status = kd_comm_agree(world, "a test", run(arg, world));
        if (status) fail_msg("%s", kd_message());
        return;
    }
    for (int64_t size = 1; size <= 8; size++)
        if (kd_comm_threads(size, DEADLINE, run, arg)) fail_msg("%lld threads: %s", (long long)size, kd_message());
    for (int64_t size = 2; size <= 8; size += size < 4 ? 1 : 4)
        if (on_tcp(size, DEADLINE, run, arg)) fail_msg("%lld processes: %s", (long long)size, kd_message());
}

/* What rank a sends rank b: its length differs for each pair, some send nothing. */
static int64_t length_of(int64_t a, int64_t b, int64_t round) { return (a * 37 + b * 101 + round * 13) % 5 * 1000 + (a + b) % 3; }
static char byte_of(int64_t a, int64_t b, int64_t i, int64_t round) { return (char)(a * 3 + b * 7 + i * 11 + round); }

static kd_status exchange_body(void *arg, kd_comm *comm) {
    (void)arg;
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), counts[4][16], sent = kd_comm_sent(comm);
    CHECK(size <= 16);
    for (int64_t round = 0; round < 20; round++) {
        int64_t out = 0, in = 0;
        for (int64_t r = 0; r < size; r++) {
            counts[0][r] = out, counts[1][r] = length_of(rank, r, round), out += counts[1][r];
            counts[2][r] = in, counts[3][r] = length_of(r, rank, round), in += counts[3][r];
            if (r != rank) sent += counts[1][r];
        }
        char *send = malloc((size_t)out + 1), *recv = malloc((size_t)in + 1);
        for (int64_t r = 0; r < size; r++)
            for (int64_t i = 0; i < counts[1][r]; i++) send[counts[0][r] + i] = byte_of(rank, r, i, round);
        KD_TRY(kd_comm_exchange(comm, &(kd_move){"letters", send, recv, counts[0], counts[1], counts[2], counts[3]}));
        for (int64_t r = 0; r < size; r++)
            for (int64_t i = 0; i < counts[3][r]; i++) CHECK(recv[counts[2][r] + i] == byte_of(r, rank, i, round));
        free(send);
        free(recv);
    }
    CHECK(kd_comm_sent(comm) == sent);
    return KD_OK;
}

static void bytes_of_any_length_arrive(void **state) {
    (void)state;
    on_ranks(exchange_body, NULL);
}

static kd_status flight_body(void *arg, kd_comm *comm) {
    (void)arg;
    enum { N = 1000 };
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), next = (rank + 1) % size, before = (rank + size - 1) % size;
    int64_t counts[KD_COMM_FLIGHT][4][16] = {0}, data[KD_COMM_FLIGHT][2][N];
    kd_move move[KD_COMM_FLIGHT];
    kd_flight flight[KD_COMM_FLIGHT], more;
    for (int64_t f = 0; f < KD_COMM_FLIGHT; f++) {
        counts[f][1][next] = counts[f][3][before] = N * 8;
        for (int64_t i = 0; i < N; i++) data[f][0][i] = rank * 1000000 + f * 10000 + i;
        move[f] = (kd_move){"rings", data[f][0], data[f][1], counts[f][0], counts[f][1], counts[f][2], counts[f][3]};
        KD_TRY(kd_comm_begin(&flight[f], comm, &move[f]));
    }
    CHECK(kd_comm_begin(&more, comm, &move[0]) == KD_EARG);
    CHECK(kd_comm_end(&flight[1]) == KD_EARG);
    for (int64_t f = 0; f < KD_COMM_FLIGHT; f++) {
        KD_TRY(kd_comm_end(&flight[f]));
        for (int64_t i = 0; i < N; i++) CHECK(data[f][1][i] == before * 1000000 + f * 10000 + i);
    }
    return KD_OK;
}

static void moves_overlap(void **state) {
    (void)state;
    on_ranks(flight_body, NULL);
}

/* Two groups whose moves are begun in another order by every other rank. */
static kd_status crossing_body(void *arg, kd_comm *comm) {
    (void)arg;
    enum { N = 40000, ROUNDS = 5 };
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), counts[4][16] = {{0}};
    kd_comm *group[2];
    int64_t *send = malloc(2 * N * 8), *recv = malloc(2 * 16 * N * 8);
    for (int g = 0; g < 2; g++) KD_TRY(kd_comm_split(&group[g], comm, 0));
    for (int64_t r = 0; r < size; r++) counts[1][r] = counts[3][r] = N * 8, counts[2][r] = r * N * 8;
    for (int64_t round = 0; round < ROUNDS; round++) {
        kd_move move[2];
        kd_flight flight[2];
        for (int64_t i = 0; i < 2 * N; i++) send[i] = round * 1000000000 + rank * 100000000 + i;
        for (int i = 0; i < 2; i++) {
            int g = (i + (int)rank) % 2;
            move[g] = (kd_move){g ? "one" : "other", send + g * N, recv + g * 16 * N, counts[0], counts[1], counts[2], counts[3]};
            KD_TRY(kd_comm_begin(&flight[g], group[g], &move[g]));
        }
        for (int i = 0; i < 2; i++) KD_TRY(kd_comm_end(&flight[i]));
        for (int g = 0; g < 2; g++)
            for (int64_t r = 0; r < size; r++)
                for (int64_t i = 0; i < N; i += 97)
                    CHECK(recv[(g * 16 + r) * N + i] == round * 1000000000 + r * 100000000 + g * N + i);
    }
    for (int g = 0; g < 2; g++) kd_comm_free(group[g]);
    free(recv);
    free(send);
    return KD_OK;
}

static void moves_of_groups_cross(void **state) {
    (void)state;
    on_ranks(crossing_body, NULL);
}

static kd_status hosts_body(void *arg, kd_comm *comm) {
    (void)arg;
    int64_t count, place, sum;
    KD_TRY(kd_comm_neighbours(&count, &place, comm));
    sum = place;
    CHECK(count == kd_comm_size(comm) && place >= 0 && place < count);
    KD_TRY(kd_comm_sum(comm, "places", &sum, 1));
    CHECK(sum == count * (count - 1) / 2);
    return KD_OK;
}

static void ranks_of_one_host_have_places_on_it(void **state) {
    (void)state;
    on_ranks(hosts_body, NULL);
}

static kd_status kinds_body(void *arg, kd_comm *comm) {
    (void)arg;
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm), all[16], at[16], bytes[16], value[2] = {rank, 1};
    double most[3] = {(double)rank, -(double)rank, rank == size / 2 ? NAN : 1};
    for (int64_t root = 0; root < size; root++) {
        int64_t x = rank == root ? 77 + root : 0;
        KD_TRY(kd_comm_broadcast(comm, "a number", root, &x, sizeof x));
        CHECK(x == 77 + root);
    }
    for (int64_t r = 0; r < size; r++) at[r] = 8 * r, bytes[r] = r % 2 ? 0 : 8, all[r] = r == rank ? r : -1;
    KD_TRY(kd_comm_gather(comm, "numbers of even ranks", all, at, bytes));
    for (int64_t r = 0; r < size; r++) CHECK(all[r] == (r % 2 && r != rank ? -1 : r));
    KD_TRY(kd_comm_sum(comm, "sums", value, 2));
    CHECK(value[0] == size * (size - 1) / 2 && value[1] == size);
    KD_TRY(kd_comm_max(comm, "maxima", most, 3));
    CHECK(most[0] == (double)(size - 1) && most[1] == 0 && isnan(most[2]));
    KD_TRY(kd_comm_barrier(comm, "a barrier"));
    for (int64_t colours = 1; colours <= 3; colours++) {
        kd_comm *part;
        int64_t own = rank % colours, sum = rank;
        KD_TRY(kd_comm_split(&part, comm, own));
        CHECK(kd_comm_rank(part) == rank / colours && kd_comm_size(part) == (size - own + colours - 1) / colours);
        KD_TRY(kd_comm_sum(part, "a group's ranks", &sum, 1));
        int64_t expected = 0;
        for (int64_t r = own; r < size; r += colours) expected += r;
        CHECK(sum == expected);
        kd_comm_free(part);
    }
    return KD_OK;
}

static void gathers_broadcasts_reductions_and_groups(void **state) {
    (void)state;
    on_ranks(kinds_body, NULL);
}

static kd_status agree_body(void *arg, kd_comm *comm) {
    (void)arg;
    int64_t size = kd_comm_size(comm), rank = kd_comm_rank(comm);
    CHECK(kd_comm_agree(comm, "nothing", KD_OK) == KD_OK);
    if (size < 3) return KD_OK;
    kd_status own = rank == size - 1 ? kd_fail(KD_EIO, "the last") : rank == size - 2 ? kd_fail(KD_ENOMEM, "the last but one") : KD_OK;
    CHECK(kd_comm_agree(comm, "a failure", own) == KD_ENOMEM);
    char said[64];
    snprintf(said, sizeof said, "rank %lld: the last but one", (long long)size - 2);
    CHECK(!strcmp(kd_message(), said));
    return KD_OK;
}

static void the_lowest_failing_rank_is_heard_by_all(void **state) {
    (void)state;
    on_ranks(agree_body, NULL);
}

/* ---- what goes wrong; threads alone: test_comm_tcp.c has that of processes --------------------------------------------- */

static kd_status absent_body(void *arg, kd_comm *comm) {
    (void)arg;
    return kd_comm_rank(comm) == 2 ? KD_OK : kd_comm_barrier(comm, "roll call");
}

static void a_silent_rank_is_named_after_the_deadline(void **state) {
    (void)state;
    if (world) skip();
    assert_int_equal(kd_comm_threads(4, 0.2, absent_body, NULL), KD_ELOST);
    assert_non_null(strstr(kd_message(), " of 4: roll call (move 0): nothing from rank 2 after 0.2 s"));
}

static kd_status failing_body(void *arg, kd_comm *comm) {
    (void)arg;
    if (kd_comm_rank(comm) == 3) return kd_fail(KD_EIO, "a disk is full");
    return kd_comm_barrier(comm, "roll call");
}

static void a_rank_that_fails_ends_the_others_waiting(void **state) {
    (void)state;
    if (world) skip();
    assert_int_equal(kd_comm_threads(4, 3600, failing_body, NULL), KD_EIO);
    assert_string_equal(kd_message(), "a disk is full");
}

static kd_status unequal_body(void *arg, kd_comm *comm) {
    (void)arg;
    char byte[2] = {0};
    int64_t peer = 1 - kd_comm_rank(comm);
    return kd_comm_swap(comm, peer ? "two bytes" : "one byte", peer, byte, 1 + peer, byte, 1 + peer);
}

static void moves_that_do_not_fit_are_refused(void **state) {
    (void)state;
    if (world) skip();
    assert_int_equal(kd_comm_threads(2, 3600, unequal_body, NULL), KD_EARG);
    assert_non_null(strstr(kd_message(), "byte"));
}

/* ---- sums -------------------------------------------------------------------------------------------------------------- */

static float value_of(int64_t rank, int64_t i) { return (float)sin((double)(rank * 7919 + i)) * expf((float)((i * 31 + rank * 17) % 40 - 20)); }

static kd_status sum_body(void *arg, kd_comm *comm) {
    int64_t n = *(int64_t *)arg, size = kd_comm_size(comm), rank = kd_comm_rank(comm);
    kd_ctx *ctx;
    KD_TRY(kd_ctx_open(&ctx, 1));
    float *x = malloc((size_t)n * 4), *room = malloc((size_t)kd_reduce_room(n, size) * 4 + 4), part[16];
    for (int64_t i = 0; i < n; i++) x[i] = value_of(rank, i);
    kd_status status = kd_reduce_scatter(ctx, comm, "a sum", x, n, room);
    if (size & (size - 1)) {
        CHECK(status == KD_EARG);
    } else {
        KD_TRY(status);
        KD_TRY(kd_gather_shards(comm, "a sum", x, n));
        for (int64_t i = 0; i < n; i++) {
            for (int64_t r = 0; r < size; r++) part[r] = value_of(r, i);
            for (int64_t step = 1; step < size; step *= 2)
                for (int64_t r = 0; r < size; r += 2 * step) part[r] += part[r + step];
            CHECK(!memcmp(&x[i], &part[0], 4));
        }
    }
    free(x);
    free(room);
    kd_ctx_close(ctx);
    return KD_OK;
}

static void a_sum_over_ranks_is_a_binary_tree(void **state) {
    (void)state;
    const int64_t lengths[] = {1, 100, 4096, 4097, 50000};
    for (int i = 0; i < 5; i++) on_ranks(sum_body, (void *)&lengths[i]);
}

static void shards_are_disjoint_and_everything(void **state) {
    (void)state;
    const int64_t lengths[] = {0, 1, 4096, 8192, 12289, 1000000, 109529856};
    for (int i = 0; i < 7; i++)
        for (int64_t size = 1; size <= 64; size *= 2) {
            int64_t sum = 0, n = lengths[i];
            for (int64_t r = 0; r < size; r++) {
                kd_range own = kd_rank_range(n, size, r);
                assert_true(own.count >= 0 && own.at >= 0 && own.at + own.count <= n);
                assert_true(own.count == 0 || own.at % KD_SHARD_UNIT == 0);
                sum += own.count;
                for (int64_t other = 0; other < r; other++) {
                    kd_range o = kd_rank_range(n, size, other);
                    assert_true(o.count == 0 || own.count == 0 || o.at + o.count <= own.at || own.at + own.count <= o.at);
                }
                /* Of many elements no rank has much more than its share. */
                if (n >= 1000 * size * KD_SHARD_UNIT / 64) assert_true(own.count <= n / size + 7 * KD_SHARD_UNIT);
            }
            assert_int_equal(sum, n);
        }
}

int main(void) {
    if (getenv("KEDGE_RANKS_TEST") && kd_comm_launched(&world, 2, DEADLINE)) {
        fprintf(stderr, "%s\n", kd_message());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_any_length_arrive),
        cmocka_unit_test(moves_overlap),
        cmocka_unit_test(moves_of_groups_cross),
        cmocka_unit_test(ranks_of_one_host_have_places_on_it),
        cmocka_unit_test(gathers_broadcasts_reductions_and_groups),
        cmocka_unit_test(the_lowest_failing_rank_is_heard_by_all),
        cmocka_unit_test(a_silent_rank_is_named_after_the_deadline),
        cmocka_unit_test(a_rank_that_fails_ends_the_others_waiting),
        cmocka_unit_test(moves_that_do_not_fit_are_refused),
        cmocka_unit_test(a_sum_over_ranks_is_a_binary_tree),
        cmocka_unit_test(shards_are_disjoint_and_everything),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kd_comm_free(world);
    return failed;
}

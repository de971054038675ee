/* Ranks over TCP: who may join, what strangers cannot do, and how a job ends when a rank does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the three above. */
#include <cmocka.h>
#include <signal.h>
#include <time.h>

#include "base/log.h"
#include "tcp_ranks.h"

enum { ANY = 16 };

static void sleep_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* Starts a job's ranks with its size and number, but those that `other` says otherwise. */
typedef struct trial { tcp_rank rank[ANY]; tcp_verdict said[ANY]; int code[ANY]; double seconds; } trial;

static void run_trial(trial *t, int64_t size, double deadline, kd_comm_body *run, void *arg) {
    kd_tcp_job job = {.size = size, .address = "127.0.0.1", .port = free_port(), .job = 5};
    double began = kd_now();
    for (job.rank = 0; job.rank < size; job.rank++) t->rank[job.rank] = start_rank(&job, deadline, run, arg);
    for (int64_t r = 0; r < size; r++) t->code[r] = end_rank(&t->rank[r], &t->said[r]);
    t->seconds = kd_now() - began;
}

#define SAYS(verdict, text)                                                                                      \
    do {                                                                                                         \
        if (!strstr((verdict).message, text)) fail_msg("\"%s\" does not say \"%s\"", (verdict).message, text);       \
    } while (0)

static kd_status barrier_body(void *arg, kd_comm *comm) {
    (void)arg;
    return kd_comm_barrier(comm, "roll call");
}

/* ---- who may join ------------------------------------------------------------------------------------------------------- */

static void a_rank_that_does_not_come_is_named(void **state) {
    (void)state;
    kd_tcp_job job = {.size = 3, .address = "127.0.0.1", .port = free_port()};
    tcp_verdict v;
    tcp_rank rank[2];
    for (job.rank = 0; job.rank < 2; job.rank++) rank[job.rank] = start_rank(&job, 2, barrier_body, NULL);
    assert_int_equal(end_rank(&rank[0], &v), 1);
    assert_int_equal(v.status, KD_ELOST);
    SAYS(v, "rank 0 of 3: joining by 127.0.0.1 port");
    SAYS(v, "nothing from rank 2 after 2 s");
    assert_int_equal(end_rank(&rank[1], &v), 1);
    assert_int_equal(v.status, KD_ELOST);
    job.rank = 1;
    rank[1] = start_rank(&job, 0.3, barrier_body, NULL);
    end_rank(&rank[1], &v);
    SAYS(v, "nothing from rank 0 after 0.3 s");
}

/* Ranks may start in any order, and a name may take its time. */
static void the_first_rank_may_be_the_last_to_come(void **state) {
    (void)state;
    kd_tcp_job job = {.size = 3, .address = "localhost", .port = free_port()};
    tcp_rank rank[3];
    tcp_verdict v;
    for (job.rank = 2; job.rank >= 0; job.rank--, sleep_ms(150)) rank[job.rank] = start_rank(&job, 20, barrier_body, NULL);
    for (int r = 0; r < 3; r++)
        if (end_rank(&rank[r], &v)) fail_msg("%s", v.message);
}

/* One rank's job differs; rank 0 goes on waiting for the right one, which comes. */
static void refuses(kd_tcp_job wrong, const char *why) {
    kd_tcp_job job = {.size = 2, .address = "127.0.0.1", .port = free_port(), .job = 5};
    tcp_verdict v;
    tcp_rank first = start_rank(&job, 20, barrier_body, NULL);
    wrong.address = job.address, wrong.port = job.port;
    tcp_rank other = start_rank(&wrong, 20, barrier_body, NULL);
    assert_int_equal(end_rank(&other, &v), 1);
    assert_int_equal(v.status, KD_ECONFIG);
    SAYS(v, why);
    job.rank = 1;
    tcp_rank second = start_rank(&job, 20, barrier_body, NULL);
    if (end_rank(&second, &v) || end_rank(&first, &v)) fail_msg("%s", v.message);
}

static void ranks_of_another_job_are_refused(void **state) {
    (void)state;
    refuses((kd_tcp_job){.rank = 1, .size = 2, .job = 6}, "refused by rank 0 of 2 at 127.0.0.1 port");
    refuses((kd_tcp_job){.rank = 1, .size = 2, .job = 6}, "another job");
    refuses((kd_tcp_job){.rank = 1, .size = 4, .job = 5}, "another WORLD_SIZE");
}

static void a_second_rank_of_one_number_is_refused(void **state) {
    (void)state;
    kd_tcp_job job = {.rank = 0, .size = 3, .address = "127.0.0.1", .port = free_port()};
    tcp_verdict v;
    tcp_rank first = start_rank(&job, 20, barrier_body, NULL), one[2];
    job.rank = 1;
    one[0] = start_rank(&job, 20, barrier_body, NULL);
    sleep_ms(300);  /* it is there */
    one[1] = start_rank(&job, 20, barrier_body, NULL);
    assert_int_equal(end_rank(&one[1], &v), 1);
    SAYS(v, "a RANK that is here already");
    /* One that dies while others are waited for may come again. */
    kill(one[0].pid, SIGKILL);
    end_rank(&one[0], &v);
    one[0] = start_rank(&job, 20, barrier_body, NULL);
    job.rank = 2;
    one[1] = start_rank(&job, 20, barrier_body, NULL);
    if (end_rank(&one[0], &v) || end_rank(&one[1], &v) || end_rank(&first, &v)) fail_msg("%s", v.message);
}

/* ---- strangers ------------------------------------------------------------------------------------------------------------ */

static int connect_to_port(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    for (int i = 0; i < 200; i++, sleep_ms(10)) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (!connect(fd, (struct sockaddr *)&a, sizeof a)) return fd;
        close(fd);
    }
    return -1;
}

static void strangers_at_the_port_do_no_harm(void **state) {
    (void)state;
    enum { STRANGERS = 100 };  /* more than are remembered */
    kd_tcp_job job = {.size = 2, .address = "127.0.0.1", .port = free_port()};
    int fd[STRANGERS];
    char junk[4096];
    tcp_verdict v;
    tcp_rank first = start_rank(&job, 20, barrier_body, NULL);
    for (int i = 0; i < STRANGERS; i++) {
        fd[i] = connect_to_port(job.port);
        assert_true(fd[i] >= 0);
        for (int k = 0; k < 4096; k++) junk[k] = (char)(k * 37 + i * 11);
        if (i % 4 == 1) memcpy(junk, "kedgetcp", 8);         /* the rest is nonsense */
        if (i % 4 == 2) memcpy(junk, "GET / HTTP/1.0\r\n\r\n", 18);
        if (i % 4 && send(fd[i], junk, i % 4 == 3 ? 5 : sizeof junk, MSG_NOSIGNAL) < 0) continue;  /* closed already */
        if (i % 8 == 1) close(fd[i]), fd[i] = -1;
    }
    job.rank = 1;
    tcp_rank second = start_rank(&job, 20, barrier_body, NULL);
    if (end_rank(&second, &v) || end_rank(&first, &v)) fail_msg("%s", v.message);
    for (int i = 0; i < STRANGERS; i++)
        if (fd[i] >= 0) close(fd[i]);
}

/* Who listens there is no rank 0. */
static void another_server_at_the_port_is_named(void **state) {
    (void)state;
    kd_tcp_job job = {.rank = 1, .size = 2, .address = "127.0.0.1", .port = free_port()};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)job.port)};
    int one = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    char junk[256];
    tcp_verdict v;
    memset(junk, 'x', sizeof junk);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    assert_true(!bind(server, (struct sockaddr *)&a, sizeof a) && !listen(server, 4));
    tcp_rank rank = start_rank(&job, 10, barrier_body, NULL);
    int fd = accept(server, NULL, NULL);
    assert_int_equal(send(fd, junk, sizeof junk, MSG_NOSIGNAL), sizeof junk);
    assert_int_equal(end_rank(&rank, &v), 1);
    assert_int_equal(v.status, KD_ECONFIG);
    SAYS(v, "is no rank 0 of kedge");
    close(fd);
    close(server);
}

/* A rank that has joined as it should and then sends what is no message: by hand, as this file's own rank 1 of 2. */
static int join_by_hand(int port) {
    struct { char magic[8]; uint32_t order, version; int64_t rank, size; uint64_t job; int64_t port, verdict; } hello = {
        .order = 0x01020304, .version = 1, .rank = 1, .size = 2, .port = 1};
    char reply[sizeof hello], places[40], byte = 1;
    memcpy(hello.magic, "kedgetcp", 8);
    int fd = connect_to_port(port);
    assert_int_equal(send(fd, &hello, sizeof hello, 0), sizeof hello);
    assert_int_equal(recv(fd, reply, sizeof reply, MSG_WAITALL), sizeof reply);
    assert_int_equal(recv(fd, places, sizeof places, MSG_WAITALL), sizeof places);
    assert_int_equal(send(fd, &byte, 1, 0), 1);
    assert_int_equal(recv(fd, &byte, 1, MSG_WAITALL), 1);
    return fd;
}

static void what_is_no_message_ends_the_job_and_nothing_else(void **state) {
    (void)state;
    enum { READY = 0x6b650001, DATA, ABORT };
    /* roll call: 8 bytes each way, move 0 of the group 0 */
    const int64_t bad[][4] = {
        {0, 0, 0, 0}, {-1, -1, -1, -1}, {READY, 0, 0, -8}, {READY, 0, -1, 8}, {READY, 0, 0, 9}, {READY, 0, 0, INT64_MAX},
        {DATA, 0, 0, INT64_MAX}, {DATA, 0, 0, 7}, {DATA, 0, 4, 8}, {DATA, 1, 0, 8}, {ABORT, 0, 1, INT64_MAX}, {ABORT, 0, 1, 501}, {READY, 0, 0, 0},
    };
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        kd_tcp_job job = {.size = 2, .address = "127.0.0.1", .port = free_port()};
        tcp_verdict v;
        tcp_rank rank = start_rank(&job, 20, barrier_body, NULL);
        int fd = join_by_hand(job.port);
        if (i < sizeof bad / sizeof *bad) {
            (void)!send(fd, bad[i], sizeof bad[i], MSG_NOSIGNAL);
        } else {  /* asks for moves that never begin */
            for (int64_t k = 0; k < 3000; k++)
                if (send(fd, (int64_t[4]){READY, 99, k, 8}, 32, MSG_NOSIGNAL) < 0) break;
        }
        int code = end_rank(&rank, &v);
        if (code != 1 || !v.status) fail_msg("message %d: exit code %d, %s", (int)i, code, v.message);
        SAYS(v, "rank 0 of 2: roll call (move 0): rank 1 ");
        close(fd);
    }
}

/* ---- ends ----------------------------------------------------------------------------------------------------------------- */

/* Rank 2 does what it should not, while the others go on and on. */
static kd_status dying_body(void *arg, kd_comm *comm) {
    static char data[ANY][100000];
    const char *how = arg;
    for (int64_t i = 0; i < 100000; i++) {
        if (kd_comm_rank(comm) == 2 && i == 20) {
            if (!strcmp(how, "killed")) raise(SIGKILL);
            if (!strcmp(how, "stopped")) raise(SIGSTOP);
            if (!strcmp(how, "full")) return kd_fail(KD_EIO, "a disk\nis full");
            if (!strcmp(how, "leaves")) return KD_OK;
            if (!strcmp(how, "exits")) _exit(0);
            if (!strcmp(how, "unequal")) return kd_comm_gather_equal(comm, "other letters", data, data[0], 50);
        }
        KD_TRY(kd_comm_gather_equal(comm, "letters", data, data[0], sizeof data[0]));
    }
    return KD_OK;
}

static void a_rank_that_dies_ends_the_others_at_once(void **state) {
    (void)state;
    static const char *const ways[] = {"killed", "exits", "leaves"};
    for (int i = 0; i < 3; i++) {
        trial t;
        run_trial(&t, 4, 60, dying_body, (void *)ways[i]);
        assert_int_equal(t.code[2], i ? 0 : 128 + SIGKILL);
        for (int r = 0; r < 4; r++) {
            if (r == 2) continue;
            if (t.code[r] != 75 || t.said[r].status != KD_ELOST)
                fail_msg("%s: rank %d: exit %d, %s", ways[i], r, t.code[r], t.said[r].message);
            SAYS(t.said[r], " of 4: letters (move ");
            /* It has seen the end itself, or hears it from one that has. */
            SAYS(t.said[r], i == 2 ? "rank 2 has left" : "rank 2 is gone");
        }
        assert_true(t.seconds < 10);
    }
}

static void a_rank_that_gives_up_says_why_and_how_to_end(void **state) {
    (void)state;
    trial t;
    run_trial(&t, 4, 60, dying_body, "full");
    for (int r = 0; r < 4; r++) {
        assert_int_equal(t.code[r], 1);
        SAYS(t.said[r], r == 2 ? "a disk" : "gives up: ");
        SAYS(t.said[r], "is full");
    }
    assert_true(t.seconds < 10);
}

static void a_rank_that_is_stopped_is_named_after_the_deadline(void **state) {
    (void)state;
    kd_tcp_job job = {.size = 4, .address = "127.0.0.1", .port = free_port()};
    trial t;
    int named = 0;
    double began = kd_now();
    for (job.rank = 0; job.rank < 4; job.rank++) t.rank[job.rank] = start_rank(&job, 0.5, dying_body, "stopped");
    for (int r = 0; r < 4; r++) {
        if (r == 2) continue;
        assert_int_equal(end_rank(&t.rank[r], &t.said[r]), 75);
        named += strstr(t.said[r].message, "from rank 2") != NULL;
    }
    assert_int_equal(named, 3);
    assert_true(kd_now() - began < 10);
    kill(t.rank[2].pid, SIGKILL);
    end_rank(&t.rank[2], &t.said[2]);
}

static void moves_that_do_not_fit_are_refused(void **state) {
    (void)state;
    trial t;
    run_trial(&t, 4, 60, dying_body, "unequal");
    int first = -1;
    for (int r = 0; r < 4; r++) {
        assert_int_equal(t.code[r], 1);
        if (t.said[r].status == KD_EARG) first = r;
    }
    assert_true(first >= 0);
    SAYS(t.said[first], "bytes, not");
}

/* ---- sizes ---------------------------------------------------------------------------------------------------------------- */

/* More than a connection holds, both ways at once. */
static kd_status large_body(void *arg, kd_comm *comm) {
    const int64_t n = 24 << 20, peer = 1 - kd_comm_rank(comm);
    (void)arg;
    char *send = malloc((size_t)n), *recv = malloc((size_t)n);
    for (int64_t i = 0; i < n; i++) send[i] = (char)(i * 2654435761u >> 13 ^ (uint64_t)kd_comm_rank(comm));
    KD_TRY(kd_comm_swap(comm, "much", peer, send, n, recv, n));
    for (int64_t i = 0; i < n; i++)
        if (recv[i] != (char)(i * 2654435761u >> 13 ^ (uint64_t)peer)) return kd_fail(KD_EFORMAT, "byte %lld", (long long)i);
    free(recv);
    free(send);
    return KD_OK;
}

static void large_messages_arrive(void **state) {
    (void)state;
    if (on_tcp(2, 60, large_body, NULL)) fail_msg("%s", kd_message());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_that_does_not_come_is_named),
        cmocka_unit_test(the_first_rank_may_be_the_last_to_come),
        cmocka_unit_test(ranks_of_another_job_are_refused),
        cmocka_unit_test(a_second_rank_of_one_number_is_refused),
        cmocka_unit_test(strangers_at_the_port_do_no_harm),
        cmocka_unit_test(another_server_at_the_port_is_named),
        cmocka_unit_test(what_is_no_message_ends_the_job_and_nothing_else),
        cmocka_unit_test(a_rank_that_dies_ends_the_others_at_once),
        cmocka_unit_test(a_rank_that_gives_up_says_why_and_how_to_end),
        cmocka_unit_test(a_rank_that_is_stopped_is_named_after_the_deadline),
        cmocka_unit_test(moves_that_do_not_fit_are_refused),
        cmocka_unit_test(large_messages_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

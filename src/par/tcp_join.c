/* Hello and welcome. The sockets are not authenticated: what comes in is read into fixed room, compared, and otherwise refused. */
#include "tcp_join.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"

enum { VERSION = 1, ORDER = 0x01020304, STRANGERS = 64, WARNINGS = 8, BACKLOG = 1024 };

#define MAGIC "kedgetcp"  /* 8 bytes */

typedef enum verdict { WELCOME, OTHER_VERSION, OTHER_JOB, OTHER_SIZE, NO_SUCH_RANK, TAKEN, VERDICTS } verdict;
static const char *const reason[VERDICTS] = {"welcome", "another version of kedge or another kind of machine", "another job",
                                             "another WORLD_SIZE", "a RANK that is not expected here", "a RANK that is here already"};

typedef struct hello {
    char magic[8];
    uint32_t order, version;   /* of bytes; of this file's and comm_tcp.c's messages */
    int64_t rank, size;        /* the sender's */
    uint64_t job;
    int64_t port;              /* where the sender listens */
    int64_t verdict;           /* in a reply */
} hello;

/* Where a rank listens, as it goes over the wire. */
typedef struct place { uint16_t six, port; uint8_t address[16]; } place;

/* A connection that has not said hello to the end. */
typedef struct pending { int fd; int64_t got; hello said; char from[64]; } pending;

typedef struct join {
    const kd_tcp_job *job;
    int *fd;                   /* [size] */
    double until, deadline;
    int listener;
    int64_t port;              /* of the listener */
    int64_t warned;
    place *places;             /* [size] */
    struct pollfd *polls;      /* [1 + STRANGERS + size] */
    pending strangers[STRANGERS];
    int64_t waiting;           /* strangers */
} join;

static kd_status absent(const join *j, int64_t rank) {
    return kd_fail(KD_ELOST, "rank %lld of %lld: joining by %s port %d: nothing from rank %lld after %g s", (long long)j->job->rank,
                   (long long)j->job->size, j->job->address, j->job->port, (long long)rank, j->deadline);
}

static kd_status left(const join *j, int64_t rank) {
    return kd_fail(KD_ELOST, "rank %lld of %lld: joining by %s port %d: rank %lld is gone", (long long)j->job->rank,
                   (long long)j->job->size, j->job->address, j->job->port, (long long)rank);
}

static void make_nonblocking(int fd) {
    int one = 1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  /* messages are whole */
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* poll() for the time that is left, at most a second, so that a caller looks at the clock; its number of events. */
static int poll_until(struct pollfd *polls, int64_t count, double until) {
    double left_s = until - kd_now();
    int ms = left_s <= 0 ? 0 : left_s > 1 ? 1000 : (int)(left_s * 1000) + 1;
    int ready = poll(polls, (nfds_t)count, ms);
    return ready < 0 ? 0 : ready;  /* a signal: again */
}

typedef enum outcome { DONE, OVER, TIMEOUT } outcome;  /* OVER: the connection ended */

/* All of size bytes, one way. */
static outcome transfer(int fd, void *data, int64_t size, bool sends, double until) {
    for (int64_t at = 0; at < size;) {
        struct pollfd p = {.fd = fd, .events = sends ? POLLOUT : POLLIN};
        if (kd_now() > until) return TIMEOUT;
        if (poll_until(&p, 1, until) == 0) continue;
        char *from = (char *)data + at;
        ssize_t n = sends ? send(fd, from, (size_t)(size - at), MSG_NOSIGNAL) : recv(fd, from, (size_t)(size - at), 0);
        if (n > 0) at += n;
        else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return OVER;
    }
    return DONE;
}

/* ---- addresses -------------------------------------------------------------------------------------------------------- */

static bool says_loopback(const char *name) { return !strcmp(name, "localhost") || !strcmp(name, "127.0.0.1") || !strcmp(name, "::1"); }

static place place_of(const struct sockaddr_storage *a) {
    place p = {0};
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)a;
    const struct sockaddr_in *four = (const struct sockaddr_in *)a;
    if (a->ss_family != AF_INET6) {
        memcpy(p.address, &four->sin_addr, 4);
    } else if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        memcpy(p.address, six->sin6_addr.s6_addr + 12, 4);
    } else {
        p.six = 1;
        memcpy(p.address, &six->sin6_addr, 16);
    }
    return p;
}

static bool is_loopback(const place *p) {
    return p->six ? IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)p->address) : p->address[0] == 127;
}

static socklen_t address_of(struct sockaddr_storage *a, const place *p) {
    memset(a, 0, sizeof *a);
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)a;
    struct sockaddr_in *four = (struct sockaddr_in *)a;
    if (p->six) {
        six->sin6_family = AF_INET6, six->sin6_port = p->port;
        memcpy(&six->sin6_addr, p->address, 16);
        return sizeof *six;
    }
    four->sin_family = AF_INET, four->sin_port = p->port;
    memcpy(&four->sin_addr, p->address, 4);
    return sizeof *four;
}

static place end_of(int fd, bool own) {
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    if (own) getsockname(fd, (struct sockaddr *)&a, &size);
    else getpeername(fd, (struct sockaddr *)&a, &size);
    return place_of(&a);
}

static void print_place(char *text, size_t size, const place *p) {
    if (!inet_ntop(p->six ? AF_INET6 : AF_INET, p->address, text, (socklen_t)size)) snprintf(text, size, "somewhere");
}

/* Binds and listens; the port that it is, or -1. */
static int64_t try_listen(join *j, place p, bool anywhere) {
    struct sockaddr_storage a;
    int one = 1, none = 0;
    j->listener = socket(p.six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
    if (j->listener < 0) return -1;
    if (p.six && anywhere) setsockopt(j->listener, IPPROTO_IPV6, IPV6_V6ONLY, &none, sizeof none);
    setsockopt(j->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    make_nonblocking(j->listener);
    socklen_t size = address_of(&a, &p);
    if (!bind(j->listener, (struct sockaddr *)&a, size) && !listen(j->listener, BACKLOG) &&
        !getsockname(j->listener, (struct sockaddr *)&a, &size))
        return ntohs(p.six ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
    int error = errno;
    close_fd(&j->listener);
    errno = error;
    return -1;
}

/* At an address, or NULL: at all of this host's; port 0: any that is free. */
static kd_status listen_at(join *j, const place *at, int64_t port) {
    enum { PATIENCE = 10 };  /* seconds: the rank 0 of a job before this one may be about to end */
    double until = kd_now() + PATIENCE < j->until ? kd_now() + PATIENCE : j->until;
    place p = at ? *at : (place){.six = 1};
    p.port = htons((uint16_t)port);
    while ((j->port = try_listen(j, p, !at)) < 0) {
        bool used = errno == EADDRINUSE;
        if (!used && !at && p.six) p.six = 0;  /* a host without IPv6 */
        else if (!used || port == 0 || kd_now() > until)
            return kd_fail_errno(KD_EIO, "joining: rank %lld cannot listen at port %lld", (long long)j->job->rank, (long long)port);
        else nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    return KD_OK;
}

/* A connection, or -1. */
static int connect_to(const struct sockaddr *a, socklen_t size, double until) {
    int fd = socket(a->sa_family, SOCK_STREAM, 0), error = 0;
    socklen_t room = sizeof error;
    if (fd < 0) return -1;
    make_nonblocking(fd);
    if (!connect(fd, a, size)) return fd;
    bool going = errno == EINPROGRESS;
    while (going && kd_now() <= until) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll_until(&p, 1, until) == 0) continue;
        if (!getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &room) && !error) return fd;
        going = false;
    }
    close(fd);
    return -1;
}

/* ---- who has come ----------------------------------------------------------------------------------------------------- */

static hello hello_of(const join *j, verdict v) {
    hello h = {.order = ORDER, .version = VERSION, .rank = j->job->rank, .size = j->job->size, .job = j->job->job, .port = j->port,
               .verdict = v};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    return h;
}

static bool is_hello(const hello *h) { return !memcmp(h->magic, MAGIC, sizeof h->magic); }

static verdict judge(const join *j, const hello *h) {
    if (h->order != ORDER || h->version != VERSION) return OTHER_VERSION;
    if (h->job != j->job->job) return OTHER_JOB;
    if (h->size != j->job->size) return OTHER_SIZE;
    if (h->rank <= j->job->rank || h->rank >= j->job->size || h->port < 1 || h->port > 65535) return NO_SUCH_RANK;
    return j->fd[h->rank] >= 0 ? TAKEN : WELCOME;
}

static void dismiss(join *j, int64_t i) {
    close_fd(&j->strangers[i].fd);
    j->strangers[i] = j->strangers[--j->waiting];
}

/* A hello is whole: its sender is one of us, or is told why not. */
static void receive_hello(join *j, int64_t i, int64_t *come) {
    pending *p = &j->strangers[i];
    verdict v = judge(j, &p->said);
    hello reply = hello_of(j, v);
    bool sent = send(p->fd, &reply, sizeof reply, MSG_NOSIGNAL) == sizeof reply;  /* the first bytes of a connection: there is room */
    if (v == WELCOME && sent) {
        j->fd[p->said.rank] = p->fd;
        j->places[p->said.rank] = end_of(p->fd, false);
        j->places[p->said.rank].port = htons((uint16_t)p->said.port);
        p->fd = -1;
        ++*come;
    } else if (v != WELCOME && j->warned++ < WARNINGS) {
        kd_warn("joining: rank %lld of %lld from %s is refused: %s", (long long)p->said.rank, (long long)p->said.size, p->from, reason[v]);
    }
    dismiss(j, i);
}

static void read_hello(join *j, int64_t i, int64_t *come) {
    pending *p = &j->strangers[i];
    ssize_t n = recv(p->fd, (char *)&p->said + p->got, sizeof p->said - (size_t)p->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n > 0) p->got += n;
    size_t known = p->got < (int64_t)sizeof p->said.magic ? (size_t)p->got : sizeof p->said.magic;
    bool stranger = memcmp(p->said.magic, MAGIC, known) != 0;
    if (n <= 0 || stranger) {
        if (stranger && j->warned++ < WARNINGS) kd_warn("joining: a connection from %s is refused: it is no rank of kedge", p->from);
        dismiss(j, i);
    } else if (p->got == sizeof p->said) {
        receive_hello(j, i, come);
    }
}

static void accept_stranger(join *j) {
    int fd = accept(j->listener, NULL, NULL);
    if (fd < 0) return;
    if (j->waiting == STRANGERS) dismiss(j, 0);  /* it has said nothing for the longest, or about so */
    make_nonblocking(fd);
    pending *p = &j->strangers[j->waiting++];
    *p = (pending){.fd = fd};
    place from = end_of(fd, false);
    print_place(p->from, sizeof p->from, &from);
}

/* Of the ranks above this one; who has never come, before who has given up waiting. */
static int64_t first_absent(const join *j) {
    int64_t first = j->job->rank + 1;
    for (int64_t r = j->job->size - 1; r > j->job->rank; r--)
        if (j->fd[r] < 0) first = r;
    for (int64_t r = j->job->size - 1; r > j->job->rank; r--)
        if (!j->places[r].port) first = r;
    return first;
}

/* Until all ranks above this one have come. Nobody who is there has anything to say yet: a connection that can be read
 * has ended. Rank 0 then waits for the rank's next attempt, since it may have been started again. */
static kd_status accept_all(join *j) {
    int64_t rank = j->job->rank, size = j->job->size, come = 0;
    while (come < size - 1 - rank) {
        int64_t n = 0, strangers = j->waiting;
        j->polls[n++] = (struct pollfd){.fd = j->listener, .events = POLLIN};
        for (int64_t i = 0; i < strangers; i++) j->polls[n++] = (struct pollfd){.fd = j->strangers[i].fd, .events = POLLIN};
        for (int64_t r = 0; r < size; r++)  /* a lower rank's reply is read later */
            j->polls[n++] = (struct pollfd){.fd = r == rank || (r > 0 && r < rank) ? -1 : j->fd[r], .events = POLLIN};
        if (kd_now() > j->until) return absent(j, first_absent(j));
        if (poll_until(j->polls, n, j->until) == 0) continue;
        for (int64_t r = 0; r < size; r++) {
            if (!j->polls[1 + strangers + r].revents) continue;
            if (rank > 0) return left(j, r);
            close_fd(&j->fd[r]);
            come--;
        }
        for (int64_t i = strangers - 1; i >= 0; i--)
            if (j->polls[1 + i].revents) read_hello(j, i, &come);
        if (j->polls[0].revents) accept_stranger(j);
    }
    return KD_OK;
}

/* The reply to a hello. `lower`: who gives it. */
static kd_status read_reply(join *j, int fd, int64_t lower, outcome *how) {
    hello reply;
    *how = transfer(fd, &reply, sizeof reply, false, j->until);
    if (*how != DONE) return KD_OK;
    if (!is_hello(&reply))
        return kd_fail(KD_ECONFIG, "joining: who listens at %s port %d is no rank 0 of kedge", j->job->address, j->job->port);
    if (reply.verdict < 0 || reply.verdict >= VERDICTS) reply.verdict = OTHER_VERSION;
    if (reply.verdict != WELCOME)
        return kd_fail(KD_ECONFIG, "joining: rank %lld of %lld is refused by rank %lld of %lld at %s port %d: %s",
                       (long long)j->job->rank, (long long)j->job->size, (long long)reply.rank, (long long)reply.size, j->job->address,
                       j->job->port, reason[reply.verdict]);
    if (reply.rank != lower)
        return kd_fail(KD_ECONFIG, "joining: rank %lld answers for rank %lld", (long long)reply.rank, (long long)lower);
    return KD_OK;
}

/* ---- the two sides ---------------------------------------------------------------------------------------------------- */

/* One attempt at rank 0; *fd stays -1 if another one may do better. Names are looked up each time: a cluster's may not be there yet. */
static kd_status try_rank_0(join *j, double until) {
    char port[16];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    snprintf(port, sizeof port, "%d", j->job->port);
    if (getaddrinfo(j->job->address, port, &hints, &list)) return KD_OK;
    kd_status status = KD_OK;
    for (const struct addrinfo *a = list; a && !status && j->fd[0] < 0; a = a->ai_next) {
        int fd = connect_to(a->ai_addr, a->ai_addrlen, until);
        if (fd < 0) continue;
        /* As reachable as rank 0 is from here. */
        place own = end_of(fd, true);
        bool anywhere = is_loopback(&own) && !says_loopback(j->job->address);
        outcome how = OVER;
        if (j->listener < 0) status = listen_at(j, anywhere ? NULL : &own, 0);
        hello h = hello_of(j, WELCOME);
        if (!status) how = transfer(fd, &h, sizeof h, true, j->until);
        if (!status && how == DONE) status = read_reply(j, fd, 0, &how);
        if (!status && how == DONE) j->fd[0] = fd;
        else close(fd);
    }
    freeaddrinfo(list);
    return status;
}

static kd_status find_rank_0(join *j) {
    enum { ATTEMPT = 5 };  /* seconds for a connection: a packet may be lost */
    for (int64_t wait = 10; j->fd[0] < 0; wait = wait < 500 ? 2 * wait : wait) {
        double now = kd_now();
        if (now > j->until) return absent(j, 0);
        KD_TRY(try_rank_0(j, now + ATTEMPT < j->until ? now + ATTEMPT : j->until));
        if (j->fd[0] < 0) nanosleep(&(struct timespec){wait / 1000, wait % 1000 * 1000000}, NULL);
    }
    return KD_OK;
}

static kd_status checked(const join *j, int64_t rank, outcome how) {
    return how == DONE ? KD_OK : how == OVER ? left(j, rank) : absent(j, rank);
}

/* A rank of rank 0's own host may be known to it by a loopback address; others reach it where they reached rank 0. */
static kd_status send_places(join *j) {
    int64_t size = j->job->size;
    place *table;
    KD_TRY(kd_new(&table, size, sizeof *table));
    kd_status status = KD_OK;
    for (int64_t r = 1; !status && r < size; r++) {
        place own = end_of(j->fd[r], true);
        for (int64_t i = 1; i < size; i++) {
            table[i] = j->places[i];
            if (!is_loopback(&table[i]) || is_loopback(&own)) continue;
            own.port = table[i].port;
            table[i] = own;
        }
        status = checked(j, r, transfer(j->fd[r], table, size * (int64_t)sizeof *table, true, j->until));
    }
    free(table);
    return status;
}

static kd_status connect_lower(join *j) {
    for (int64_t r = 1; r < j->job->rank; r++) {
        struct sockaddr_storage a;
        socklen_t size = address_of(&a, &j->places[r]);
        hello h = hello_of(j, WELCOME);
        j->fd[r] = connect_to((struct sockaddr *)&a, size, j->until);
        if (j->fd[r] < 0) {
            char at[64];
            print_place(at, sizeof at, &j->places[r]);
            return kd_fail(KD_ELOST, "rank %lld of %lld: joining: rank %lld is not reached at %s port %d: it is gone, or something is "
                           "in between", (long long)j->job->rank, (long long)j->job->size, (long long)r, at, ntohs(j->places[r].port));
        }
        KD_TRY(checked(j, r, transfer(j->fd[r], &h, sizeof h, true, j->until)));
    }
    return KD_OK;
}

/* Rank 0 hears from all that they are ready. */
static kd_status all_ready(join *j) {
    int64_t size = j->job->size, ready = 0;
    for (int64_t r = 0; r < size; r++) j->polls[r] = (struct pollfd){.fd = r == 0 ? -1 : j->fd[r], .events = POLLIN};
    while (ready < size - 1) {
        if (kd_now() > j->until) {
            int64_t first = 1;
            while (j->polls[first].fd < 0) first++;
            return absent(j, first);
        }
        poll_until(j->polls, size, j->until);
        for (int64_t r = 1; r < size; r++) {
            char byte;
            if (j->polls[r].fd < 0 || !j->polls[r].revents) continue;
            KD_TRY(checked(j, r, transfer(j->fd[r], &byte, 1, false, j->until)));
            j->polls[r].fd = -1;
            ready++;
        }
    }
    return KD_OK;
}

static kd_status lead(join *j) {
    char byte = 1;
    place loopback = {.address = {127, 0, 0, 1}}, six = {.six = 1, .address = {[15] = 1}};
    const place *at = !says_loopback(j->job->address) ? NULL : !strcmp(j->job->address, "::1") ? &six : &loopback;
    KD_TRY(listen_at(j, at, j->job->port));
    KD_TRY(accept_all(j));
    KD_TRY(send_places(j));
    KD_TRY(all_ready(j));
    for (int64_t r = 1; r < j->job->size; r++) KD_TRY(checked(j, r, transfer(j->fd[r], &byte, 1, true, j->until)));
    return KD_OK;
}

static kd_status follow(join *j) {
    char byte = 1;
    KD_TRY(find_rank_0(j));
    KD_TRY(checked(j, 0, transfer(j->fd[0], j->places, j->job->size * (int64_t)sizeof *j->places, false, j->until)));
    KD_TRY(connect_lower(j));
    KD_TRY(accept_all(j));
    for (int64_t r = 1; r < j->job->rank; r++) {
        outcome how;
        KD_TRY(read_reply(j, j->fd[r], r, &how));
        KD_TRY(checked(j, r, how));
    }
    KD_TRY(checked(j, 0, transfer(j->fd[0], &byte, 1, true, j->until)));
    return checked(j, 0, transfer(j->fd[0], &byte, 1, false, j->until));
}

kd_status kd_tcp_join(int *fd, const kd_tcp_job *job, double deadline) {
    join *j = NULL;
    kd_status status;
    for (int64_t r = 0; r < job->size; r++) fd[r] = -1;
    KD_GO(kd_new(&j, 1, sizeof *j));
    j->job = job, j->fd = fd, j->deadline = deadline, j->until = kd_now() + deadline, j->listener = -1;
    KD_GO(kd_new(&j->places, job->size, sizeof *j->places));
    KD_GO(kd_new(&j->polls, 1 + STRANGERS + job->size, sizeof *j->polls));
    status = job->rank == 0 ? lead(j) : follow(j);
done:
    for (int64_t r = 0; status && r < job->size; r++) close_fd(&fd[r]);
    if (!j) return status;
    while (j->waiting) dismiss(j, 0);
    close_fd(&j->listener);
    free(j->polls);
    free(j->places);
    free(j);
    return status;
}

/* Processes over TCP, without any library: one connection for each pair of ranks, shared by all groups.
 *
 * A receiver asks (READY: group, move, bytes) and only then is it sent to (DATA), straight into the buffer of its move. So
 * nothing comes that has no place, lengths are compared before a byte moves, and no memory is asked for in a step. All that
 * comes is checked against what this rank has begun; what does not fit ends the communicator.
 *
 * A process that dies ends its connections, which the others see at their next poll. Who gives up says so first, with its
 * exit code and message (ABORT); who leaves in order says GOODBYE. Neither is authenticated or encrypted. One thread. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "comm_backend.h"
#include "tcp_join.h"

enum { AGAIN = 75, TEXT = 500, EARLY = 1024, TURN = 8 << 20 };  /* TURN: bytes of a peer before the next peer has its turn */

typedef enum kind { READY = 0x6b650001, DATA, ABORT, GOODBYE } kind;
/* In front of everything. ABORT: `number` is the exit code, the bytes are a message. */
typedef struct frame { int64_t kind; uint64_t group; int64_t number, bytes; } frame;

/* Of a message to come: WANTED, then ASKED for, then COMING. Of one to go: HELD, then DUE when asked for, then GOING. */
typedef enum stage { NONE, WANTED, ASKED, COMING, HELD, DUE, GOING } stage;
typedef struct letter { char *data; int64_t bytes, *open; stage stage; } letter;

typedef struct peer {
    int fd;
    bool left, deaf;           /* has said goodbye; cannot be written to */
    frame in, out;
    int64_t in_at, out_at;     /* bytes of the frame and what follows it so far; out.kind 0: nothing is on its way */
    letter *coming, *going;
    frame *early;              /* READY for moves that are not begun here */
    int64_t early_count, early_room;
    char text[TEXT + 1];       /* of an ABORT */
} peer;

typedef struct group {
    struct mesh *mesh;
    uint64_t id;               /* the same on its ranks, and no other of a pair of ranks */
    int64_t size, splits;
    int64_t *member, *place;   /* [size] ranks of the mesh; [mesh's size] ranks of the group, or -1 */
    letter *letters;           /* [KD_COMM_FLIGHT][2][size]: to come, to go */
    int64_t number[KD_COMM_FLIGHT], open[KD_COMM_FLIGHT];  /* moves under way, letters that are not done */
    struct group *next;
} group;

typedef struct mesh {
    int64_t rank, size;
    peer *peers;               /* [size] */
    struct pollfd *polls;      /* [size] */
    group *groups;             /* the world last */
    kd_status failed;          /* once and for all */
    char why[TEXT + 64];
} mesh;

static letter *letter_of(const group *g, int64_t number, bool goes, int64_t place) {
    return &g->letters[(number % KD_COMM_FLIGHT * 2 + goes) * g->size + place];
}

static void fail(mesh *m, kd_status status, int64_t rank, const char *what) {
    if (m->failed) return;
    m->failed = status;
    snprintf(m->why, sizeof m->why, "rank %lld %s", (long long)rank, what);
}

static void finish(letter *l) {
    --*l->open;
    l->stage = NONE;
}

/* ---- what goes out ---------------------------------------------------------------------------------------------------- */

/* The next frame for a rank: what it is asked for before what it is given, so that it can begin. */
static void choose(mesh *m, int64_t r) {
    peer *p = &m->peers[r];
    for (int goes = 0; goes < 2; goes++)
        for (group *g = m->groups; g; g = g->next)
            for (int64_t f = 0; g->place[r] >= 0 && f < KD_COMM_FLIGHT; f++) {
                letter *l = letter_of(g, f, goes, g->place[r]);
                if (l->stage != (goes ? DUE : WANTED)) continue;
                l->stage = goes ? GOING : ASKED;
                p->out = (frame){goes ? DATA : READY, g->id, g->number[f], l->bytes};
                p->out_at = 0;
                p->going = goes ? l : NULL;
                return;
            }
}

/* As much as the connection takes. */
static void transmit(mesh *m, int64_t r) {
    peer *p = &m->peers[r];
    const int64_t head = sizeof p->out;
    for (int64_t turn = 0; turn < TURN && !p->deaf;) {
        if (!p->out.kind) choose(m, r);
        if (!p->out.kind) return;
        struct iovec part[2];
        struct msghdr message = {.msg_iov = part};
        int64_t body = p->going ? p->out.bytes : 0;
        if (p->out_at < head) part[message.msg_iovlen++] = (struct iovec){(char *)&p->out + p->out_at, (size_t)(head - p->out_at)};
        int64_t at = p->out_at > head ? p->out_at - head : 0;
        if (body > at) part[message.msg_iovlen++] = (struct iovec){p->going->data + at, (size_t)(body - at)};
        ssize_t n = sendmsg(p->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) p->deaf = true;  /* what it had to say, and its end, are still to be read */
        if (n < 0) return;
        p->out_at += n, turn += n;
        if (p->out_at < head + body) continue;
        if (p->going) finish(p->going);
        p->going = NULL;
        p->out.kind = 0;
    }
}

/* ---- what comes in ---------------------------------------------------------------------------------------------------- */

static group *find_group(mesh *m, uint64_t id, int64_t r) {
    for (group *g = m->groups; g; g = g->next)
        if (g->id == id && g->place[r] >= 0) return g;
    return NULL;
}

/* Whether a rank that asks for a move is given it now: it may ask before the move begins here. */
static bool answer(mesh *m, const group *g, int64_t r, const frame *ready) {
    int64_t f = ready->number % KD_COMM_FLIGHT;
    if (!g || g->number[f] < ready->number) return false;
    letter *l = letter_of(g, f, true, g->place[r]);
    char what[128];
    snprintf(what, sizeof what, "takes %lld bytes, not %lld", (long long)ready->bytes, l->stage == HELD ? (long long)l->bytes : 0LL);
    if (g->number[f] > ready->number || l->stage != HELD || l->bytes != ready->bytes) fail(m, KD_EARG, r, what);
    else l->stage = DUE;
    return true;
}

static void take_ready(mesh *m, int64_t r) {
    peer *p = &m->peers[r];
    if (answer(m, find_group(m, p->in.group, r), r, &p->in)) return;
    if (p->early_count == EARLY) fail(m, KD_EFORMAT, r, "asks for too many moves that nobody else has begun");
    else if (kd_grow(&p->early, &p->early_room, p->early_count + 1, sizeof *p->early)) fail(m, KD_ENOMEM, r, "cannot be noted: out of memory");
    else p->early[p->early_count++] = p->in;
}

static void take_header(mesh *m, int64_t r) {
    peer *p = &m->peers[r];
    const frame *in = &p->in;
    if (in->number < 0 || in->bytes < 0) {
        fail(m, KD_EFORMAT, r, "sends what is no message of kedge's");
    } else if (in->kind == READY && in->bytes > 0) {
        take_ready(m, r);
    } else if (in->kind == DATA) {
        const group *g = find_group(m, in->group, r);
        letter *l = g && g->number[in->number % KD_COMM_FLIGHT] == in->number ? letter_of(g, in->number, false, g->place[r]) : NULL;
        if (!l || l->stage != ASKED || l->bytes != in->bytes) {
            fail(m, KD_EFORMAT, r, "sends what it was not asked for");
            return;
        }
        l->stage = COMING;
        p->coming = l;
        return;
    } else if (in->kind == GOODBYE) {
        p->left = true;
    } else if (in->kind == ABORT && in->bytes <= TEXT) {
        return;
    } else {
        fail(m, KD_EFORMAT, r, "sends what is no message of kedge's");
    }
    p->in_at = 0;
}

/* Of those who give up because another has, the first one's message. */
static void take_abort(mesh *m, int64_t r) {
    peer *p = &m->peers[r];
    char what[TEXT + 32];
    p->text[p->in.bytes] = 0;
    kd_text_plain(p->text);
    const char *first = p->text;
    for (const char *at; (at = strstr(first, "gives up: ")) != NULL;) first = at + strlen("gives up: ");
    snprintf(what, sizeof what, "gives up: %s", first);
    fail(m, p->in.number == AGAIN ? KD_ELOST : KD_EIO, r, what);
}

/* As much as has come. */
static void receive(mesh *m, int64_t r) {
    peer *p = &m->peers[r];
    const int64_t head = sizeof p->in;
    for (int64_t turn = 0; turn < TURN && !m->failed && p->fd >= 0;) {
        int64_t at = p->in_at < head ? p->in_at : p->in_at - head, size = p->in_at < head ? head : p->in.bytes;
        char *to = p->in_at < head ? (char *)&p->in : p->coming ? p->coming->data : p->text;
        ssize_t n = recv(p->fd, to + at, (size_t)(size - at), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0 && !p->left) fail(m, KD_ELOST, r, "is gone: its connection has ended");
        if (n <= 0) {
            close(p->fd);
            p->fd = -1, p->deaf = true;
            return;
        }
        p->in_at += n, turn += n;
        if (p->in_at == head) take_header(m, r);
        if (m->failed) return;
        if (p->in_at < head || p->in_at < head + p->in.bytes) continue;
        if (p->coming) finish(p->coming);
        else take_abort(m, r);
        p->coming = NULL;
        p->in_at = 0;
    }
}

/* One poll of all connections. */
static void progress(mesh *m) {
    for (int64_t r = 0; r < m->size && !m->failed; r++)
        if (r != m->rank) transmit(m, r);
    for (int64_t r = 0; r < m->size; r++) m->polls[r] = (struct pollfd){.fd = m->peers[r].fd, .events = POLLIN};
    if (m->failed || poll(m->polls, (nfds_t)m->size, 0) <= 0) return;
    for (int64_t r = 0; r < m->size && !m->failed; r++) {
        if (!m->polls[r].revents) continue;
        receive(m, r);
        if (!m->failed) transmit(m, r);  /* what it has asked for */
    }
}

/* ---- the seam --------------------------------------------------------------------------------------------------------- */

static kd_status failure(const kd_comm *comm, const kd_flight *f, int64_t missing) {
    const mesh *m = ((group *)comm->state)->mesh;
    char also[64] = "";
    if (missing >= 0) snprintf(also, sizeof also, "; nothing yet from rank %lld", (long long)kd_comm_world_rank(comm, missing));
    return kd_fail(m->failed, "rank %lld of %lld: %s (move %lld): %s%s", (long long)m->rank, (long long)m->size, f->move->what,
                   (long long)f->number, m->why, also);
}

static kd_status tcp_begin(kd_comm *comm, const kd_flight *flight) {
    group *g = comm->state;
    mesh *m = g->mesh;
    const kd_move *move = flight->move;
    int64_t f = flight->number % KD_COMM_FLIGHT;
    if (m->failed) return failure(comm, flight, -1);
    g->number[f] = flight->number;
    g->open[f] = 0;
    for (int64_t i = 0; i < g->size; i++) {
        if (i == comm->rank) continue;
        letter *in = letter_of(g, f, false, i), *out = letter_of(g, f, true, i);
        *in = (letter){(char *)move->recv + move->recv_at[i], move->recv_bytes[i], &g->open[f], move->recv_bytes[i] > 0 ? WANTED : NONE};
        *out = (letter){(char *)move->send + move->send_at[i], move->send_bytes[i], &g->open[f], move->send_bytes[i] > 0 ? HELD : NONE};
        g->open[f] += (in->stage != NONE) + (out->stage != NONE);
        int64_t r = g->member[i];
        peer *p = &m->peers[r];
        for (int64_t e = 0; e < p->early_count;) {
            if (p->early[e].group == g->id && answer(m, g, r, &p->early[e])) p->early[e] = p->early[--p->early_count];
            else e++;
        }
    }
    progress(m);
    return KD_OK;  /* a failure is told by the move's end, which is waited for */
}

static kd_status tcp_test(kd_comm *comm, const kd_flight *flight, bool *done, int64_t *missing) {
    group *g = comm->state;
    mesh *m = g->mesh;
    *missing = -1;
    progress(m);
    *done = g->open[flight->number % KD_COMM_FLIGHT] == 0;
    if (*done) return KD_OK;
    for (int64_t i = 0; i < g->size; i++) {
        if (i == comm->rank) continue;
        bool in = letter_of(g, flight->number, false, i)->stage != NONE, out = letter_of(g, flight->number, true, i)->stage != NONE;
        if (in) *missing = i;
        else if (out && *missing == -1) *missing = -2 - i;
        if ((in || out) && m->peers[g->member[i]].left) fail(m, KD_ELOST, g->member[i], "has left");
    }
    return m->failed ? failure(comm, flight, *missing) : KD_OK;
}

static void tcp_withdraw(kd_comm *comm) {
    mesh *m = ((group *)comm->state)->mesh;
    fail(m, KD_ELOST, m->rank, "has failed before");
}

/* ---- groups ----------------------------------------------------------------------------------------------------------- */

static void group_drop(group *g) {
    if (!g) return;
    free(g->member);
    free(g->place);
    free(g->letters);
    free(g);
}

/* member: ranks of the mesh. */
static kd_status group_new(group **out, mesh *m, uint64_t id, const int64_t *member, int64_t size) {
    group *g;
    *out = NULL;
    KD_TRY(kd_new(&g, 1, sizeof *g));
    g->mesh = m, g->id = id, g->size = size;
    kd_status status = kd_new(&g->member, size, sizeof *g->member);
    if (!status) status = kd_new(&g->place, m->size, sizeof *g->place);
    if (!status) status = kd_new(&g->letters, KD_COMM_FLIGHT * 2 * size, sizeof *g->letters);
    if (status) {
        group_drop(g);
        return status;
    }
    for (int64_t f = 0; f < KD_COMM_FLIGHT; f++) g->number[f] = -1;
    for (int64_t r = 0; r < m->size; r++) g->place[r] = -1;
    for (int64_t i = 0; i < size; i++) g->member[i] = member[i], g->place[member[i]] = i;
    g->next = m->groups;
    m->groups = g;
    *out = g;
    return KD_OK;
}

/* A number of the splits before it: groups of one split share no pair of ranks. */
static uint64_t id_of_split(uint64_t id, int64_t splits) {
    uint64_t x = id * 6364136223846793005u + (uint64_t)splits + 1;
    x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

static kd_status tcp_split(kd_comm *part, kd_comm *comm, int64_t colour, const int64_t *members, int64_t count) {
    group *g = comm->state, *made;
    int64_t *ranks;
    (void)colour;
    KD_TRY(kd_new(&ranks, count, sizeof *ranks));
    for (int64_t i = 0; i < count; i++) ranks[i] = g->member[members[i]];
    kd_status status = group_new(&made, g->mesh, id_of_split(g->id, g->splits++), ranks, count);
    free(ranks);
    part->state = made;
    return status;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

/* Says a last thing to all that can hear it, and waits for moments until they have ended too: a connection that is closed
 * with bytes unread takes back what it has sent. */
static void part_from_all(mesh *m, const frame *last, const char *text, double seconds) {
    double until = kd_now() + seconds;
    for (int64_t r = 0; r < m->size; r++) {
        peer *p = &m->peers[r];
        if (p->fd < 0) continue;
        struct iovec parts[2] = {{(void *)last, sizeof *last}, {(void *)text, (size_t)last->bytes}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
        bool between = !p->out.kind || p->out_at == 0;
        if (between && last->kind) (void)!sendmsg(p->fd, &message, MSG_NOSIGNAL);
        shutdown(p->fd, SHUT_WR);
    }
    for (;;) {
        int64_t open = 0;
        for (int64_t r = 0; r < m->size; r++) {
            peer *p = &m->peers[r];
            char rest[4096];
            ssize_t n = 1;
            m->polls[r] = (struct pollfd){.fd = p->fd, .events = POLLIN};
            while (p->fd >= 0 && (n = recv(p->fd, rest, sizeof rest, 0)) > 0) continue;
            if (p->fd >= 0 && n < 0 && (errno == EAGAIN || errno == EINTR)) open++;
            else if (p->fd >= 0) close(p->fd), p->fd = m->polls[r].fd = -1;
        }
        double left = until - kd_now();
        if (!open || left <= 0) break;
        poll(m->polls, (nfds_t)m->size, (int)(left * 1000) + 1);
    }
    for (int64_t r = 0; r < m->size; r++)
        if (m->peers[r].fd >= 0) close(m->peers[r].fd);
}

static void tcp_abort(kd_comm *comm, int code) {
    mesh *m = ((group *)comm->state)->mesh;
    char text[TEXT + 1];
    snprintf(text, sizeof text, "%s", kd_message());
    part_from_all(m, &(frame){.kind = ABORT, .number = code, .bytes = (int64_t)strlen(text)}, text, 0.3);
    _exit(code);
}

static void mesh_drop(mesh *m) {
    for (int64_t r = 0; m->peers && r < m->size; r++) free(m->peers[r].early);
    free(m->peers);
    free(m->polls);
    free(m);
}

static void tcp_release(kd_comm *comm) {
    group *g = comm->state;
    if (!g) return;
    mesh *m = g->mesh;
    if (comm->broken) tcp_withdraw(comm);
    for (int64_t f = 0; f < KD_COMM_FLIGHT; f++)
        if (g->open[f]) tcp_withdraw(comm);  /* its letters are gone */
    for (group **at = &m->groups; *at; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            break;
        }
    group_drop(g);
    if (m->groups) return;
    part_from_all(m, &(frame){.kind = m->failed ? 0 : GOODBYE}, "", m->failed ? 0 : 1);
    mesh_drop(m);
}

static const kd_backend backend = {tcp_begin, tcp_test, tcp_split, tcp_withdraw, tcp_abort, tcp_release, "TCP", NULL};

kd_status kd_comm_tcp(kd_comm **out, const kd_tcp_job *job, double deadline) {
    mesh *m = NULL;
    group *g = NULL;
    kd_comm *comm = NULL;
    int64_t *all = NULL;
    int *fd = NULL;
    kd_status status;
    *out = NULL;
    if (job->size < 1 || job->rank < 0 || job->rank >= job->size)
        return kd_fail(KD_EARG, "rank %lld of %lld is none", (long long)job->rank, (long long)job->size);
    KD_GO(kd_new(&m, 1, sizeof *m));
    m->rank = job->rank, m->size = job->size;
    KD_GO(kd_new(&m->peers, m->size, sizeof *m->peers));
    KD_GO(kd_new(&m->polls, m->size, sizeof *m->polls));
    KD_GO(kd_new(&all, m->size, sizeof *all));
    KD_GO(kd_new(&fd, m->size, sizeof *fd));
    for (int64_t r = 0; r < m->size; r++) all[r] = r;
    KD_GO(group_new(&g, m, job->job, all, m->size));
    KD_GO(kd_comm_new(&comm, &backend, job->rank, job->size, deadline));
    KD_GO(kd_tcp_join(fd, job, deadline));
    for (int64_t r = 0; r < m->size; r++) m->peers[r].fd = fd[r];
    comm->state = g;
    *out = comm;
done:
    free(fd);
    free(all);
    if (!status) return KD_OK;
    if (comm) free(comm->scratch);
    free(comm);
    group_drop(g);
    if (m) mesh_drop(m);
    return status;
}

/* Ranks as processes over TCP, forked. */
#ifndef KD_TCP_RANKS_H
#define KD_TCP_RANKS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "par/comm.h"

/* A port of this host that was free a moment ago. */
static inline int free_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, size) || getsockname(fd, (struct sockaddr *)&a, &size)) exit(1);
    close(fd);
    return ntohs(a.sin_port);
}

typedef struct tcp_rank { pid_t pid; int said; } tcp_rank;
typedef struct tcp_verdict { kd_status status; char message[1000]; } tcp_verdict;

/* A rank in a child, which says how it ended; after KD_ELOST or a failure of its own it ends the job as a run does. */
static inline tcp_rank start_rank(const kd_tcp_job *job, double deadline, kd_comm_body *run, void *arg) {
    int ends[2];
    fflush(NULL);
    if (pipe(ends)) exit(1);
    tcp_rank child = {fork(), ends[0]};
    if (child.pid) {
        close(ends[1]);
        return child;
    }
    close(ends[0]);
    kd_comm *comm;
    tcp_verdict v = {.status = kd_comm_tcp(&comm, job, deadline)};
    if (!v.status) v.status = run(arg, comm);
    strncpy(v.message, kd_message(), sizeof v.message - 1);
    if (write(ends[1], &v, sizeof v) != sizeof v) _exit(9);
    if (comm && v.status) kd_comm_abort(comm, v.status == KD_ELOST ? 75 : 1);
    kd_comm_free(comm);
    _exit(v.status != KD_OK);
}

/* Its exit code, or 128 and its signal; *v is what it said, if it did. */
static inline int end_rank(tcp_rank *rank, tcp_verdict *v) {
    int how;
    memset(v, 0, sizeof *v);
    if (read(rank->said, v, sizeof *v) != sizeof *v) snprintf(v->message, sizeof v->message, "it said nothing");
    close(rank->said);
    waitpid(rank->pid, &how, 0);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

/* run on `size` of them; the status and message of one that failed. */
static inline kd_status on_tcp(int64_t size, double deadline, kd_comm_body *run, void *arg) {
    tcp_rank rank[16];
    kd_status status = KD_OK;
    char message[1000] = "";
    kd_tcp_job job = {.size = size, .address = "127.0.0.1", .port = free_port(), .job = 77};
    for (job.rank = 0; job.rank < size; job.rank++) rank[job.rank] = start_rank(&job, deadline, run, arg);
    for (int64_t r = 0; r < size; r++) {
        tcp_verdict v;
        int code = end_rank(&rank[r], &v);
        if (code && !v.status) v.status = KD_EIO, snprintf(v.message, sizeof v.message, "exit code %d", code);
        if (v.status && !status) status = v.status, strcpy(message, v.message);
    }
    kd_message_set(message);
    return status;
}

#endif

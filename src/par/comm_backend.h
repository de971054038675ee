/* What a backend of comm.h is made of. */
#ifndef KD_COMM_BACKEND_H
#define KD_COMM_BACKEND_H

#include "comm.h"

typedef struct kd_backend {
    /* Starts a move's messages to and from other ranks. */
    kd_status (*begin)(kd_comm *comm, const kd_flight *flight);
    /* One poll. missing: a rank whose message has not come; or -2 - r, r one that has not taken its own; or -1. */
    kd_status (*test)(kd_comm *comm, const kd_flight *flight, bool *done, int64_t *missing);
    /* members [count]: old ranks of the group that this rank is in. */
    kd_status (*split)(kd_comm *part, kd_comm *comm, int64_t colour, const int64_t *members, int64_t count);
    /* After a move has failed: nobody reads any more what this rank has shown. NULL: nobody does. */
    void (*withdraw)(kd_comm *comm);
    void (*abort)(kd_comm *comm, int code);
    void (*release)(kd_comm *comm);
    const char *name;
    /* With a host communicator: which moves are the backend's; own bytes are then its to copy. The others go to the host's. */
    kd_status (*takes)(bool *yes, const kd_comm *comm, const kd_move *move);
} kd_backend;

struct kd_comm {
    const kd_backend *backend;  /* NULL: this process alone */
    void *state;
    int64_t rank, size;
    int64_t begun, ended;       /* moves so far */
    int64_t sent;
    double seconds;             /* in moves */
    double deadline;            /* seconds */
    int64_t *scratch;           /* [4][size] arrays of the moves that are made here; then values that ranks give each other */
    bool broken;                /* kd_comm_break */
    kd_comm *parent;            /* that it was split from */
    kd_comm *host;              /* of the same ranks, for what the backend does not take, or NULL */
    int64_t *world;             /* [size] what its ranks are called there; NULL: as here */
};

/* A communicator without a backend's state. */
kd_status kd_comm_new(kd_comm **out, const kd_backend *backend, int64_t rank, int64_t size, double deadline);

#endif

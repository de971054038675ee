/* What comm_nccl.c calls of NCCL and the CUDA runtime, on threads of one process: for machines without a GPU. It proves the order of
 * calls and what moves where, not that a GPU does the same. Eight devices; their memory faults where the host touches it; streams
 * advance one operation a poll, in turn, so what is not ordered comes late; a communicator is busy for some polls after each call, as a
 * nonblocking one may be, and what it was given starts only then; calls that NCCL refuses end the process. */
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEVICES = 8, BUSY = 3 };
static const size_t MEMORY = (size_t)1 << 28;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void misuse(const char *what) {
    fprintf(stderr, "simulated NCCL: %s\n", what);
    abort();
}

static void *new(size_t bytes) {
    void *p = calloc(1, bytes);
    if (!p) misuse("out of memory");
    return p;
}

/* ---- memory: one file mapped twice, for the host without any rights --------------------------------------------------- */

static char *shown, *real;
static size_t used;

static bool is_device(const void *p) { return shown && (const char *)p >= shown && (const char *)p < shown + MEMORY; }
static void copy(void *to, const void *from, size_t bytes) {
    memmove(is_device(to) ? real + ((char *)to - shown) : to, is_device(from) ? real + ((const char *)from - shown) : from, bytes);
}

cudaError_t cudaMalloc(void **out, size_t bytes) {
    pthread_mutex_lock(&lock);
    if (!shown) {
        int file = memfd_create("device", 0);
        if (file < 0 || ftruncate(file, (off_t)MEMORY)) misuse("no memory for devices");
        shown = mmap(NULL, MEMORY, PROT_NONE, MAP_SHARED, file, 0);
        real = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (shown == MAP_FAILED || real == MAP_FAILED) misuse("no memory for devices");
    }
    *out = shown + used;
    used += (bytes + 255) / 256 * 256;
    if (used > MEMORY) misuse("the devices' memory is used up");
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p) { return (void)p, cudaSuccess; }

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    (void)kind;
    copy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *out, const void *p) {
    *out = (struct cudaPointerAttributes){.type = is_device(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered};
    return cudaSuccess;
}

/* ---- streams and events ------------------------------------------------------------------------------------------------- */

typedef struct message {
    int from, to;
    char *at;
    size_t bytes;
    bool posted, done;
    struct message *next;
} message;

typedef struct world {
    int64_t id;
    int size, arrived, finalized, left;
    message *sends;           /* in the order of their posting */
    struct world *next;
} world;

struct ncclComm { world *world; int rank, device, busy; bool finalizing; cudaStream_t stream; message *group; };
struct CUevent_st { int64_t recorded, passed; };

/* One of four: a copy, an event that is reached, an event that is waited for, a group of messages. */
typedef struct operation {
    void *to;
    const void *from;
    size_t bytes;
    cudaEvent_t reached, awaited;
    int64_t number;
    ncclComm_t comm;
    message *group;
    struct operation *next;
} operation;

struct CUstream_st { int device; operation *first; struct CUstream_st *next; };

static struct CUstream_st *streams;
static _Thread_local int current;

static void append(cudaStream_t s, operation o) {
    operation **at = &s->first;
    while (*at) at = &(*at)->next;
    *at = new(sizeof o);
    **at = o;
}

static void drop(operation **at) {
    operation *o = *at;
    *at = o->next;
    for (message *m = o->group, *next; m; m = next) {
        next = m->next;
        free(m);
    }
    free(o);
}

/* Sends are shown once; what is for this rank is taken in the order of its sending. */
static bool group_done(const operation *o) {
    world *w = o->comm->world;
    bool done = true;
    for (message *m = o->group; m; m = m->next) {
        message **at = &w->sends;
        if (m->from == o->comm->rank && !m->posted) {
            while (*at) at = &(*at)->next;
            *at = new(sizeof *m);
            **at = (message){m->from, m->to, m->at, m->bytes, false, false, NULL};
            m->posted = true;
        } else if (m->from == o->comm->rank) {
            while (*at && ((*at)->at != m->at || (*at)->to != m->to || (*at)->from != m->from)) at = &(*at)->next;
            m->done = !*at;
        } else if (!m->done) {
            while (*at && ((*at)->from != m->from || (*at)->to != m->to)) at = &(*at)->next;
            if (*at) {
                message *send = *at;
                if (send->bytes != m->bytes) misuse("a message of another length");
                copy(m->at, send->at, m->bytes);
                *at = send->next;
                free(send);
                m->done = true;
            }
        }
        done = done && m->done;
    }
    return done;
}

/* One operation of one stream. */
static void poll_streams(void) {
    static int turn;
    int count = 0;
    for (cudaStream_t s = streams; s; s = s->next) count++;
    if (count == 0) return;
    cudaStream_t s = streams;
    for (int i = turn++ % count; i > 0; i--) s = s->next;
    operation *o = s->first;
    if (!o || (o->awaited && o->awaited->passed < o->number) || (o->comm && !group_done(o))) return;
    if (o->to) copy(o->to, o->from, o->bytes);
    if (o->reached) o->reached->passed = o->number;
    drop(&s->first);
}

cudaError_t cudaGetDeviceCount(int *out) { return *out = DEVICES, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return current = device, cudaSuccess; }
const char *cudaGetErrorString(cudaError_t code) { return code == cudaErrorNotReady ? "not ready" : "no error"; }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags) {
    if (flags != cudaStreamNonBlocking) misuse("a stream that waits for the default one");
    pthread_mutex_lock(&lock);
    *out = new(sizeof **out);
    **out = (struct CUstream_st){current, NULL, streams};
    streams = *out;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) {
    pthread_mutex_lock(&lock);
    while (s->first) drop(&s->first);
    for (cudaStream_t *at = &streams; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    free(s);
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags) {
    (void)flags;
    *out = new(sizeof **out);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    pthread_mutex_lock(&lock);
    for (cudaStream_t s = streams; s; s = s->next)
        for (operation **at = &s->first; *at;) {
            if ((*at)->reached == event || (*at)->awaited == event) drop(at);
            else at = &(*at)->next;
        }
    pthread_mutex_unlock(&lock);
    free(event);
    return cudaSuccess;
}

/* The default stream, NULL, has never anything to do. */
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t s) {
    pthread_mutex_lock(&lock);
    event->recorded++;
    if (s) append(s, (operation){.reached = event, .number = event->recorded});
    else event->passed = event->recorded;
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t event, unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    append(s, (operation){.awaited = event, .number = event->recorded});
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
    pthread_mutex_lock(&lock);
    poll_streams();
    bool passed = event->passed == event->recorded;
    pthread_mutex_unlock(&lock);
    return passed ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
    if (kind != cudaMemcpyDeviceToDevice || !is_device(to) || !is_device(from)) misuse("a copy within a device, of the host's memory");
    pthread_mutex_lock(&lock);
    append(s, (operation){.to = to, .from = from, .bytes = bytes});
    pthread_mutex_unlock(&lock);
    return cudaSuccess;
}

/* ---- NCCL ------------------------------------------------------------------------------------------------------------------ */

static world *worlds;
static int64_t ids;
static _Thread_local int depth;
static _Thread_local ncclComm_t grouped;

const char *ncclGetErrorString(ncclResult_t code) { return code == ncclSuccess ? "no error" : "an error"; }

ncclResult_t ncclGetUniqueId(ncclUniqueId *out) {
    pthread_mutex_lock(&lock);
    ids++;
    memset(out, 0, sizeof *out);
    memcpy(out, &ids, sizeof ids);
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId id, int rank, ncclConfig_t *config) {
    int64_t number;
    memcpy(&number, &id, sizeof number);
    if (config->blocking || number == 0) misuse("a communicator that blocks, or has no id");
    pthread_mutex_lock(&lock);
    world *w = worlds;
    while (w && w->id != number) w = w->next;
    if (!w) {
        w = new(sizeof *w);
        *w = (world){.id = number, .size = size, .next = worlds};
        worlds = w;
    }
    w->arrived++;
    *out = new(sizeof **out);
    **out = (struct ncclComm){.world = w, .rank = rank, .device = current, .busy = BUSY};
    pthread_mutex_unlock(&lock);
    return ncclInProgress;
}

static bool busy(const struct ncclComm *c) {
    return c->busy > 0 || c->world->arrived < c->world->size || (c->finalizing && c->world->finalized < c->world->size);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *out) {
    pthread_mutex_lock(&lock);
    poll_streams();
    if (c->busy > 0 && --c->busy == 0 && c->group) {
        append(c->stream, (operation){.comm = c, .group = c->group});
        c->group = NULL;
    }
    *out = busy(c) ? ncclInProgress : ncclSuccess;
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

static ncclResult_t post(ncclComm_t c, int from, int to, const void *at, size_t bytes, ncclDataType_t type, cudaStream_t s) {
    if (depth != 1 || busy(c) || c->finalizing) misuse("a message of a busy communicator, or in no group");
    if (type != ncclUint8 || !is_device(at) || s->device != c->device) misuse("a message that is not bytes of this device");
    message **end = &c->group;
    while (*end) end = &(*end)->next;
    *end = new(sizeof **end);
    **end = (message){from, to, (char *)at, bytes, false, false, NULL};
    c->stream = s;
    grouped = c;
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *at, size_t bytes, ncclDataType_t type, int to, ncclComm_t c, cudaStream_t s) {
    return post(c, c->rank, to, at, bytes, type, s);
}
ncclResult_t ncclRecv(void *at, size_t bytes, ncclDataType_t type, int from, ncclComm_t c, cudaStream_t s) {
    return post(c, from, c->rank, at, bytes, type, s);
}

ncclResult_t ncclGroupStart(void) { return depth++, ncclSuccess; }
ncclResult_t ncclGroupEnd(void) {
    ncclComm_t c = grouped;
    grouped = NULL;
    depth--;
    if (!c) return ncclSuccess;
    c->busy = BUSY;
    return ncclInProgress;
}

__attribute__((destructor)) static void at_exit(void) {
    if (worlds || streams) misuse("communicators or streams are left");
}

static void leave(ncclComm_t c) {
    world *w = c->world;
    for (cudaStream_t s = streams; s; s = s->next)
        for (operation **at = &s->first; *at;) {
            if ((*at)->comm == c) drop(at);
            else at = &(*at)->next;
        }
    operation rest = {.group = c->group}, *last = new(sizeof rest);
    *last = rest;
    drop(&last);
    free(c);
    if (++w->left < w->size) return;
    while (w->sends) {
        message *m = w->sends;
        w->sends = m->next;
        free(m);
    }
    world **at = &worlds;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    free(w);
}

ncclResult_t ncclCommFinalize(ncclComm_t c) {
    pthread_mutex_lock(&lock);
    ncclResult_t code = busy(c) ? ncclInvalidArgument : ncclInProgress;
    if (code == ncclInProgress) c->finalizing = true, c->busy = BUSY, c->world->finalized++;
    pthread_mutex_unlock(&lock);
    return code;
}

ncclResult_t ncclCommDestroy(ncclComm_t c) {
    pthread_mutex_lock(&lock);
    if (!c->finalizing || busy(c)) misuse("a communicator is destroyed that is not finalized");
    leave(c);
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c) {
    pthread_mutex_lock(&lock);
    leave(c);
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

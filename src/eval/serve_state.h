/* What is behind kd_serve: one thread asks the engine, one for each connection reads and writes. For the server's own files. */
#ifndef KD_SERVE_STATE_H
#define KD_SERVE_STATE_H

#include <pthread.h>

#include "serve.h"
#include "serve_reply.h"

enum { KD_SERVE_CONNECTIONS = 256, KD_SERVE_ENCODERS = 16 };

typedef struct kd_server kd_server;

/* A request's prompts, while the engine has them. Everything but what `asked` stands before is under the server's lock once it is posted. */
typedef struct kd_call {
    kd_server *server;
    kd_request request;
    kd_ids *prompt;              /* [request.prompts] */
    kd_text *echo;               /* [request.prompts] */
    const char **echo_text;      /* [request.prompts] */
    int64_t *echo_size;          /* [request.prompts] */
    kd_reply reply;
    char id[40];
    struct kd_asked *asked;      /* [request.prompts] */
    kd_answer *answer;           /* [request.prompts] */
    kd_text events;              /* of a stream: what was not sent yet, from `sent` on */
    int64_t sent;
    int64_t left;                /* prompts that are not answered */
    bool in_mail, taking, submitted, cancelled;  /* taking: the engine's thread goes through its prompts */
    pthread_cond_t changed;
    struct kd_call *next;        /* in the mail */
} kd_call;

/* One of its prompts. */
typedef struct kd_asked { kd_ticket ticket; kd_call *call; int64_t index; } kd_asked;

/* What a connection is at, so that none is held open for nothing. */
typedef enum kd_stage { KD_RECEIVING, KD_WORKING, KD_SENDING } kd_stage;
typedef struct kd_peer {
    int fd;
    kd_stage stage;
    double since;
    bool closed, quiet;          /* closed: was told to go; quiet: it was answered, and has asked nothing since */
    struct kd_peer *next, *previous;
} kd_peer;

struct kd_server {
    kd_subject *subject;
    const kd_serve_options *options;
    const char *name;
    kd_vocabulary_texts texts;
    char *models, *tokenizer_info;      /* what is answered to GET, the same to all */
    pthread_mutex_t lock;
    pthread_cond_t mail_came;
    kd_call *mail;                      /* for the engine's thread, last come first */
    pthread_t engine_thread;
    bool engine_runs, ends, stopping, abandoned;
    int64_t under_way;                  /* prompts */
    int64_t requests;                   /* being read, answered or sent */
    int64_t calls;                      /* so many came; for their names and seeds */
    kd_peer *peers;
    kd_encoder *encoder[KD_SERVE_ENCODERS];
    int64_t encoders;
};

/* ---- asking (serve_call.c) ---------------------------------------------------------------------------------------------- */

kd_status kd_serve_engine_start(kd_server *server);
void kd_serve_engine_end(kd_server *server);   /* one that was not started is allowed */

/* Reads a body and encodes its prompts. KD_EARG, KD_EFORMAT: the client's fault; KD_EBUSY: too many prompts are waiting. */
kd_status kd_call_open(kd_call **out, kd_server *server, bool generate, const char *body, int64_t size);
/* Cancels what is not answered yet, and waits for that. NULL is allowed. */
void kd_call_close(kd_call *call);
/* Until all is answered, or for a stream until the engine has taken it: KD_OK, or the first failure. KD_EAGAIN: the client has gone, or the
 * server is stopping. */
kd_status kd_call_wait(kd_call *call, int fd);
/* Waits for events: the next bytes of them, at most `most`; 0: there are no more. KD_EAGAIN as kd_call_wait. */
kd_status kd_call_events(int64_t *size, char *out, kd_call *call, int fd, int64_t most);

/* An encoder that no other thread has until it is given back. */
kd_status kd_serve_encoder(kd_encoder **out, kd_server *server);
void kd_serve_encoder_back(kd_server *server, kd_encoder *encoder);

/* ---- HTTP (serve_http.c) ------------------------------------------------------------------------------------------------------ */

struct MHD_Daemon;
kd_status kd_http_start(struct MHD_Daemon **out, kd_server *server, char address[300]);
void kd_http_refuse(struct MHD_Daemon *daemon);  /* no more connections */
void kd_http_end(struct MHD_Daemon *daemon);
/* Closes connections that take too long. */
void kd_http_watch(kd_server *server);

#endif

/* A model asked over HTTP: OpenAI's completions with likelihoods of the prompt, as lm-evaluation-harness asks, PUT /generate as RULER's
 * clients do, and what goes with them. */
#ifndef KD_SERVE_H
#define KD_SERVE_H

#include <signal.h>

#include "subject.h"

typedef struct kd_serve_options {
    const char *host;      /* name or address to listen on */
    int64_t port;          /* 0: any that is free */
    const char *token;     /* that clients must bear; NULL: none */
    const char *name;      /* the model's; NULL: its folder */
    int64_t body;          /* bytes of a request at most */
    int64_t timeout;       /* seconds that a client may take to send a request or to receive what was answered */
    int64_t queue;         /* prompts under way and waiting, of all clients, at most */
    int64_t grace;         /* seconds that requests under way are given to finish when it is stopped */
    void (*ready)(void *opaque, const char *address);  /* "http://127.0.0.1:8000": clients may come */
    void *opaque;
} kd_serve_options;

/* Until *stop is not 0: then no more is taken, what is under way is finished within the grace, or until *stop is 2. The subject serves
 * this call alone. KD_EIO where the address cannot be listened on; KD_ECONFIG. */
kd_status kd_serve(kd_subject *subject, const kd_serve_options *options, const volatile sig_atomic_t *stop);

#endif

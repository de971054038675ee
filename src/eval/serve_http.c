/* HTTP: requests in, JSON out. libmicrohttpd gives each connection a thread, which may wait for the engine. */
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/log.h"
#include "serve_state.h"

/* A request while it is read and answered. */
typedef struct exchange {
    const struct route *route;
    char *body;
    int64_t size, room;
    bool too_large, out_of_memory;
    unsigned refused;            /* the code that it is answered with, whatever else it says; 0: it is not */
    char message[200];
} exchange;

typedef struct route {
    const char *path, *method, *other;  /* other: NULL, or one more */
    bool open;                   /* without a token too */
    enum MHD_Result (*answer)(kd_server *s, struct MHD_Connection *c, exchange *x);
} route;

/* ---- peers ----------------------------------------------------------------------------------------------------------------- */

static kd_peer *peer_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static int fd_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

static void set_stage(kd_server *s, struct MHD_Connection *c, kd_stage stage) {
    kd_peer *peer = peer_of(c);
    if (!peer) return;
    pthread_mutex_lock(&s->lock);
    peer->stage = stage;
    peer->since = kd_now();
    pthread_mutex_unlock(&s->lock);
}

static void connection_changed(void *opaque, struct MHD_Connection *c, void **socket_context, enum MHD_ConnectionNotificationCode code) {
    kd_server *s = opaque;
    kd_peer *peer = *socket_context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        if (kd_new(&peer, 1, sizeof *peer)) return;  /* it is served, and not watched */
        *peer = (kd_peer){.fd = fd_of(c), .since = kd_now()};
        *socket_context = peer;
        pthread_mutex_lock(&s->lock);
        peer->next = s->peers;
        if (s->peers) s->peers->previous = peer;
        s->peers = peer;
        pthread_mutex_unlock(&s->lock);
    } else if (peer) {
        pthread_mutex_lock(&s->lock);
        if (peer->next) peer->next->previous = peer->previous;
        *(peer->previous ? &peer->previous->next : &s->peers) = peer->next;
        pthread_mutex_unlock(&s->lock);
        free(peer);
        *socket_context = NULL;
    }
}

/* The first words of a request were read. */
static void *request_began(void *opaque, const char *uri, struct MHD_Connection *c) {
    kd_server *s = opaque;
    kd_peer *peer = peer_of(c);
    (void)uri;
    pthread_mutex_lock(&s->lock);
    if (peer) peer->quiet = false;
    pthread_mutex_unlock(&s->lock);
    return NULL;  /* an exchange is made later */
}

static void say_late(const kd_peer *peer) {
    kd_text body = {0}, text = {0};
    kd_reply_put_error(&body, MHD_HTTP_REQUEST_TIMEOUT, "the request took too long (--timeout)");
    kd_text_print(&text, "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %lld\r\n\r\n%s",
                  (long long)body.size, body.data ? body.data : "");
    if (!body.failed && !text.failed) (void)!send(peer->fd, text.data, (size_t)text.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    kd_text_free(&body);
    kd_text_free(&text);
}

/* Who is slow to send hears it; the library, whose thread waits for more, then finds the connection closed. */
void kd_http_watch(kd_server *s) {
    double now = kd_now();
    pthread_mutex_lock(&s->lock);
    for (kd_peer *peer = s->peers; peer; peer = peer->next) {
        if (peer->closed || peer->stage == KD_WORKING || now - peer->since < (double)s->options->timeout) continue;
        peer->closed = true;
        if (peer->stage == KD_RECEIVING && !peer->quiet) say_late(peer);
        shutdown(peer->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- replies ---------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result send_response(kd_server *s, struct MHD_Connection *c, unsigned code, struct MHD_Response *response, const char *type) {
    if (!response) return MHD_NO;
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (stopping) MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (code == MHD_HTTP_UNAUTHORIZED) MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (code == MHD_HTTP_TOO_MANY_REQUESTS || code == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    set_stage(s, c, KD_SENDING);
    enum MHD_Result result = MHD_queue_response(c, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_error(kd_server *s, struct MHD_Connection *c, unsigned code, const char *message);

/* Takes the text over. */
static enum MHD_Result send_text(kd_server *s, struct MHD_Connection *c, unsigned code, kd_text *text) {
    if (text->failed) {
        kd_text_free(text);
        return code == MHD_HTTP_OK ? send_error(s, c, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory") : MHD_NO;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer((size_t)text->size, text->data, MHD_RESPMEM_MUST_FREE);
    if (!response) kd_text_free(text);
    return send_response(s, c, code, response, "application/json");
}

static enum MHD_Result send_error(kd_server *s, struct MHD_Connection *c, unsigned code, const char *message) {
    kd_text text = {0};
    kd_reply_put_error(&text, code, message);
    return send_text(s, c, code, &text);
}

static enum MHD_Result send_failure(kd_server *s, struct MHD_Connection *c, kd_status status) {
    unsigned code = status == KD_EARG || status == KD_EFORMAT || status == KD_ENOTSUP ? MHD_HTTP_BAD_REQUEST
                  : status == KD_EBUSY ? MHD_HTTP_TOO_MANY_REQUESTS : status == KD_EAGAIN ? MHD_HTTP_SERVICE_UNAVAILABLE
                                                                                          : MHD_HTTP_INTERNAL_SERVER_ERROR;
    return send_error(s, c, code, kd_message());
}

static enum MHD_Result send_fixed(kd_server *s, struct MHD_Connection *c, const char *text) {
    return send_response(s, c, MHD_HTTP_OK, MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT),
                         "application/json");
}

/* ---- completions ------------------------------------------------------------------------------------------------------------ */

typedef struct stream { kd_call *call; kd_server *server; struct MHD_Connection *connection; bool failed; } stream;

static ssize_t read_stream(void *opaque, uint64_t at, char *out, size_t most) {
    stream *x = opaque;
    int64_t size;
    (void)at;
    if (x->failed) return MHD_CONTENT_READER_END_OF_STREAM;
    set_stage(x->server, x->connection, KD_WORKING);
    kd_status status = kd_call_events(&size, out, x->call, fd_of(x->connection), (int64_t)most);
    set_stage(x->server, x->connection, KD_SENDING);
    if (!status) return size ? (ssize_t)size : MHD_CONTENT_READER_END_OF_STREAM;
    kd_text text = {0};
    kd_text_put(&text, "data: ");
    kd_reply_put_error(&text, MHD_HTTP_INTERNAL_SERVER_ERROR, kd_message());
    kd_text_put(&text, "\n\n");
    x->failed = true;
    size = !text.failed && text.size <= (int64_t)most ? text.size : 0;
    if (size) memcpy(out, text.data, (size_t)size);
    kd_text_free(&text);
    return size ? (ssize_t)size : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_stream(void *opaque) {
    stream *x = opaque;
    kd_call_close(x->call);
    free(x);
}

static enum MHD_Result send_stream(kd_server *s, struct MHD_Connection *c, kd_call *call) {
    stream *x;
    if (kd_new(&x, 1, sizeof *x)) {
        kd_call_close(call);
        return send_error(s, c, MHD_HTTP_INTERNAL_SERVER_ERROR, kd_message());
    }
    *x = (stream){call, s, c, false};
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64 << 10, read_stream, x, free_stream);
    if (!response) free_stream(x);
    else MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    return send_response(s, c, MHD_HTTP_OK, response, "text/event-stream");
}

static enum MHD_Result complete(kd_server *s, struct MHD_Connection *c, exchange *x, bool generate) {
    kd_call *call;
    kd_text text = {0};
    kd_status status = kd_call_open(&call, s, generate, x->body ? x->body : "", x->size);
    if (!status) status = kd_call_wait(call, fd_of(c));
    if (!status && call->request.stream) return send_stream(s, c, call);
    if (!status) kd_reply_put(&text, &call->reply, call->answer);
    char *message = status ? strdup(kd_message()) : NULL;
    kd_call_close(call);
    if (!status) return send_text(s, c, MHD_HTTP_OK, &text);
    kd_message_set(message ? message : "out of memory");
    free(message);
    return send_failure(s, c, status);
}

static enum MHD_Result answer_completions(kd_server *s, struct MHD_Connection *c, exchange *x) { return complete(s, c, x, false); }
static enum MHD_Result answer_generate(kd_server *s, struct MHD_Connection *c, exchange *x) { return complete(s, c, x, true); }

/* ---- the model and its tokenizer ---------------------------------------------------------------------------------------------- */

static enum MHD_Result answer_health(kd_server *s, struct MHD_Connection *c, exchange *x) {
    (void)x;
    return send_fixed(s, c, "{\"status\":\"ok\"}");
}

static enum MHD_Result answer_models(kd_server *s, struct MHD_Connection *c, exchange *x) {
    (void)x;
    return send_fixed(s, c, s->models);
}

static enum MHD_Result answer_info(kd_server *s, struct MHD_Connection *c, exchange *x) {
    (void)x;
    return send_fixed(s, c, s->tokenizer_info);
}

/* A special token's name alone is that token, also where the tokenizer would spell it: clients find ids so. */
static bool is_special(const kd_server *s, int32_t id, const char *text, int64_t size) {
    kd_text name = {0};
    bool same = id >= 0 && !kd_decode(&name, &s->subject->tokenizer, &id, 1, false) && size > 0 && name.size == size &&
                !memcmp(name.data, text, (size_t)size);
    kd_text_free(&name);
    return same;
}

static kd_status tokenize(kd_ids *ids, kd_server *s, const char *body, int64_t size) {
    const kd_tokenizer *t = &s->subject->tokenizer;
    kd_encoder *encoder = NULL;
    char *text;
    int64_t text_size;
    bool lead;
    KD_TRY(kd_request_tokenize(&text, &text_size, &lead, body, size));
    int32_t special = is_special(s, t->bos, text, text_size) ? t->bos : is_special(s, t->eos, text, text_size) ? t->eos : -1;
    kd_status status;
    KD_GO(kd_serve_encoder(&encoder, s));
    KD_GO(kd_subject_encode_with(ids, s->subject, encoder, text, special < 0 ? text_size : 0, lead));
    if (special >= 0 && !(ids->count && ids->id[ids->count - 1] == special)) {
        KD_GO(kd_ids_reserve(ids, 1));
        ids->id[ids->count++] = special;
    }
done:
    if (encoder) kd_serve_encoder_back(s, encoder);
    free(text);
    return status;
}

static enum MHD_Result answer_tokenize(kd_server *s, struct MHD_Connection *c, exchange *x) {
    kd_ids ids = {0};
    kd_text text = {0};
    kd_status status = tokenize(&ids, s, x->body ? x->body : "", x->size);
    kd_text_print(&text, "{\"count\":%lld,\"max_model_len\":%lld,\"tokens\":[", (long long)ids.count, (long long)s->subject->options.length);
    for (int64_t i = 0; i < ids.count; i++) kd_text_print(&text, "%s%d", i ? "," : "", (int)ids.id[i]);
    kd_text_put(&text, "]}");
    free(ids.id);
    if (!status) return send_text(s, c, MHD_HTTP_OK, &text);
    kd_text_free(&text);
    return send_failure(s, c, status);
}

static enum MHD_Result answer_detokenize(kd_server *s, struct MHD_Connection *c, exchange *x) {
    kd_ids ids;
    kd_text said = {0}, text = {0};
    kd_status status = kd_request_detokenize(&ids, x->body ? x->body : "", x->size);
    if (!status) status = kd_decode(&said, &s->subject->tokenizer, ids.id, ids.count, false);
    kd_text_put(&text, "{\"prompt\":");
    kd_text_quote(&text, said.size ? said.data : "", said.size);
    kd_text_put(&text, "}");
    free(ids.id);
    kd_text_free(&said);
    if (!status) return send_text(s, c, MHD_HTTP_OK, &text);
    kd_text_free(&text);
    return send_failure(s, c, status);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------ */

static const route routes[] = {
    {"/v1/completions", "POST", NULL, false, answer_completions},
    {"/generate", "PUT", "POST", false, answer_generate},
    {"/v1/models", "GET", NULL, false, answer_models},
    {"/tokenize", "POST", NULL, false, answer_tokenize},
    {"/detokenize", "POST", NULL, false, answer_detokenize},
    {"/tokenizer_info", "GET", NULL, false, answer_info},
    {"/health", "GET", "HEAD", true, answer_health},
};
enum { ROUTES = sizeof routes / sizeof *routes };

/* "Bearer TOKEN", in a time that does not tell how much of it is right. */
static bool bears(struct MHD_Connection *c, const char *token) {
    const char *given = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (!given || strncmp(given, "Bearer ", 7)) return false;
    size_t size = strlen(token), given_size = strlen(given + 7);
    unsigned char other = size != given_size;
    for (size_t i = 0; i < size; i++) other |= (unsigned char)(token[i] ^ (i < given_size ? given[7 + i] : 0));
    return !other;
}

/* What can be said before a body is read: a code, 0 where there is nothing to be said. Under the lock. */
static unsigned find_refusal(kd_server *s, struct MHD_Connection *c, const char *url, const char *method, const route **found,
                             char message[200]) {
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    *found = NULL;
    for (int i = 0; i < ROUTES; i++)
        if (!strcmp(routes[i].path, url)) *found = &routes[i];
    if (s->options->token && !(*found && (*found)->open) && !bears(c, s->options->token)) {
        snprintf(message, 200, "a bearer token is needed, and it is not this one");
        return MHD_HTTP_UNAUTHORIZED;
    }
    if (!*found) {
        snprintf(message, 200, "%.100s: there is nothing here; POST /v1/completions is what is served", url);
        return MHD_HTTP_NOT_FOUND;
    }
    if (strcmp((*found)->method, method) && (!(*found)->other || strcmp((*found)->other, method))) {
        snprintf(message, 200, "%.20s: %s takes %s", method, url, (*found)->method);
        return MHD_HTTP_METHOD_NOT_ALLOWED;
    }
    if (length && strtoull(length, NULL, 10) > (unsigned long long)s->options->body) {
        snprintf(message, 200, "a body of %.20s bytes: at most %lld (--max-body)", length, (long long)s->options->body);
        return MHD_HTTP_CONTENT_TOO_LARGE;
    }
    if (s->stopping) {
        snprintf(message, 200, "the server is stopping");
        return MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    return 0;
}

static enum MHD_Result send_allowed(kd_server *s, struct MHD_Connection *c, const route *r, const char *message) {
    kd_text text = {0};
    char allowed[32];
    kd_reply_put_error(&text, MHD_HTTP_METHOD_NOT_ALLOWED, message);
    if (text.failed) return MHD_NO;
    struct MHD_Response *response = MHD_create_response_from_buffer((size_t)text.size, text.data, MHD_RESPMEM_MUST_FREE);
    snprintf(allowed, sizeof allowed, "%s%s%s", r->method, r->other ? ", " : "", r->other ? r->other : "");
    if (response) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allowed);
    else kd_text_free(&text);
    return send_response(s, c, MHD_HTTP_METHOD_NOT_ALLOWED, response, "application/json");
}

/* Who sends a body before reading would not hear what is said in between: it is read to its end, unless that is far, or the client asks
 * before it sends. */
static bool is_heard_early(const kd_server *s, struct MHD_Connection *c) {
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) ||
           (length && strtoull(length, NULL, 10) / 4 > (unsigned long long)s->options->body);
}

static enum MHD_Result send_refusal(kd_server *s, struct MHD_Connection *c, unsigned code, const route *r, const char *message) {
    return code == MHD_HTTP_METHOD_NOT_ALLOWED ? send_allowed(s, c, r, message) : send_error(s, c, code, message);
}

static enum MHD_Result begin(kd_server *s, struct MHD_Connection *c, const char *url, const char *method, void **context) {
    exchange *x;
    if (kd_new(&x, 1, sizeof *x)) return MHD_NO;
    pthread_mutex_lock(&s->lock);
    x->refused = find_refusal(s, c, url, method, &x->route, x->message);
    s->requests++;
    pthread_mutex_unlock(&s->lock);
    *context = x;
    if (x->refused && is_heard_early(s, c)) return send_refusal(s, c, x->refused, x->route, x->message);
    return MHD_YES;
}

/* What is too large, or has no room, is read to its end and forgotten: only then can it be said. */
static void take_body(const kd_server *s, exchange *x, const char *data, size_t size) {
    x->too_large |= x->size + (int64_t)size > s->options->body;
    if (x->refused || x->too_large || x->out_of_memory) return;
    if (kd_grow(&x->body, &x->room, x->size + (int64_t)size, 1)) x->out_of_memory = true;
    else memcpy(x->body + x->size, data, size), x->size += (int64_t)size;
}

static enum MHD_Result handle(void *opaque, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                              const char *upload, size_t *upload_size, void **context) {
    kd_server *s = opaque;
    exchange *x = *context;
    (void)version;
    if (!x) return begin(s, c, url, method, context);
    if (*upload_size) {
        take_body(s, x, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    set_stage(s, c, KD_WORKING);
    if (x->refused) return send_refusal(s, c, x->refused, x->route, x->message);
    if (x->too_large) return send_error(s, c, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large (--max-body)");
    if (x->out_of_memory) return send_error(s, c, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
    return x->route->answer(s, c, x);
}

static void request_ended(void *opaque, struct MHD_Connection *c, void **context, enum MHD_RequestTerminationCode code) {
    kd_server *s = opaque;
    exchange *x = *context;
    (void)code;
    kd_peer *peer = peer_of(c);
    set_stage(s, c, KD_RECEIVING);
    pthread_mutex_lock(&s->lock);
    if (peer) peer->quiet = true;
    if (x) s->requests--;
    pthread_mutex_unlock(&s->lock);
    if (!x) return;
    free(x->body);
    free(x);
    *context = NULL;
}

/* ---- listening ------------------------------------------------------------------------------------------------------------------ */

static kd_status listen_on(int *out, const kd_serve_options *o) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    char port[16];
    int on = 1, fd = -1;
    snprintf(port, sizeof port, "%lld", (long long)o->port);
    int failed = getaddrinfo(o->host, port, &hints, &list);
    if (failed) return kd_fail(KD_EIO, "--host %s: %s", o->host, gai_strerror(failed));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, SOMAXCONN)) break;
        int why = errno;
        close(fd);
        errno = why;
        fd = -1;
    }
    freeaddrinfo(list);
    *out = fd;
    return fd < 0 ? kd_fail_errno(KD_EIO, "cannot listen on %s port %s", o->host, port) : KD_OK;
}

static void describe_address(char address[300], int fd) {
    struct sockaddr_storage a;
    socklen_t size = sizeof a;
    char host[200] = "?", port[16] = "?";
    if (!getsockname(fd, (struct sockaddr *)&a, &size))
        getnameinfo((struct sockaddr *)&a, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    bool six = strchr(host, ':');
    snprintf(address, 300, "http://%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port);
}

kd_status kd_http_start(struct MHD_Daemon **out, kd_server *s, char address[300]) {
    int fd = -1;
    KD_TRY(listen_on(&fd, s->options));
    describe_address(address, fd);
    const struct MHD_OptionItem options[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connection_changed, s},
        {MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)request_ended, s},
        {MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)request_began, s},
        {MHD_OPTION_CONNECTION_LIMIT, KD_SERVE_CONNECTIONS, NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, 256 << 10, NULL},
        {MHD_OPTION_THREAD_STACK_SIZE, 1 << 20, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    *out = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL | MHD_USE_ITC, 0, NULL, NULL, handle,
                            s, MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (*out) return KD_OK;
    close(fd);
    return kd_fail(KD_EIO, "%s: the server could not be started", address);
}

void kd_http_refuse(struct MHD_Daemon *daemon) {
    int fd = MHD_quiesce_daemon(daemon);
    if (fd >= 0) close(fd);
}

void kd_http_end(struct MHD_Daemon *daemon) { MHD_stop_daemon(daemon); }

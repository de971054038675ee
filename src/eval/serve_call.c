/* Prompts of clients, handed to the engine's thread and back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/arena.h"
#include "base/log.h"
#include "base/random.h"
#include "serve_state.h"

/* ---- the engine's thread ------------------------------------------------------------------------------------------------ */

static void done(kd_ticket *ticket, kd_answer *answer) {
    kd_asked *asked = ticket->opaque;
    kd_call *call = asked->call;
    pthread_mutex_lock(&call->server->lock);
    call->answer[asked->index] = *answer;
    call->left--;
    call->server->under_way--;
    if (call->request.stream && !answer->status)
        kd_reply_put_piece(&call->events, &call->reply, asked->index, "", 0, kd_reply_finish(answer->finish));
    if (call->request.stream && !call->left) {
        int64_t tokens = 0;
        for (int64_t i = 0; i < call->request.prompts; i++) tokens += call->answer[i].ids.count;
        kd_reply_put_end(&call->events, &call->reply, tokens);
    }
    pthread_cond_broadcast(&call->changed);
    pthread_mutex_unlock(&call->server->lock);
}

/* A piece of a stream. */
static kd_status heard(void *opaque, const char *text, int64_t size) {
    kd_asked *asked = opaque;
    kd_call *call = asked->call;
    pthread_mutex_lock(&call->server->lock);
    kd_reply_put_piece(&call->events, &call->reply, asked->index, text, size, NULL);
    bool failed = call->events.failed;
    pthread_cond_broadcast(&call->changed);
    pthread_mutex_unlock(&call->server->lock);
    return failed ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

static void refuse(kd_asked *asked, kd_status status) {
    kd_answer answer = {.status = status, .message = strdup(kd_message())};
    done(&asked->ticket, &answer);
}

static void read_mail(kd_engine *engine, kd_call *call, bool submitted, bool cancelled) {
    for (int64_t i = 0; i < call->request.prompts; i++) {
        kd_asked *asked = &call->asked[i];
        if (submitted) {
            if (cancelled) kd_engine_cancel(engine, &asked->ticket);
            continue;
        }
        kd_status status = cancelled ? kd_fail(KD_EAGAIN, "cancelled") : kd_engine_submit(engine, &asked->ticket);
        if (status) refuse(asked, status);
    }
}

/* The call stays while its prompts are gone through, also when all of them are answered. */
static void take_mail(kd_server *s, kd_call *call) {
    pthread_mutex_lock(&s->lock);
    bool submitted = call->submitted, cancelled = call->cancelled;
    call->in_mail = false;
    call->submitted = call->taking = true;
    pthread_mutex_unlock(&s->lock);
    read_mail(s->subject->engine, call, submitted, cancelled);
    pthread_mutex_lock(&s->lock);
    call->taking = false;
    pthread_cond_broadcast(&call->changed);
    pthread_mutex_unlock(&s->lock);
}

/* First come, first served. NULL where there is none; waits for some, or the end, where the engine has nothing to do. */
static kd_call *fetch_mail(kd_server *s, bool idle, bool *ends) {
    kd_call *ordered = NULL;
    pthread_mutex_lock(&s->lock);
    while (idle && !s->mail && !s->ends) pthread_cond_wait(&s->mail_came, &s->lock);
    *ends = s->ends && !s->mail;
    for (kd_call *next; s->mail; s->mail = next) {
        next = s->mail->next;
        s->mail->next = ordered;
        ordered = s->mail;
    }
    pthread_mutex_unlock(&s->lock);
    return ordered;
}

static void *run_engine(void *opaque) {
    kd_server *s = opaque;
    for (bool idle = true, ends = false; !ends;) {
        for (kd_call *call = fetch_mail(s, idle, &ends), *next; call; call = next) {
            next = call->next;
            take_mail(s, call);
        }
        if (kd_engine_step(s->subject->engine, &idle)) kd_warn("what was asked could not be answered: %s", kd_message());
    }
    return NULL;
}

kd_status kd_serve_engine_start(kd_server *s) {
    int failed = pthread_create(&s->engine_thread, NULL, run_engine, s);
    s->engine_runs = !failed;
    if (!failed) return KD_OK;
    errno = failed;
    return kd_fail_errno(KD_EIO, "a thread for the engine");
}

void kd_serve_engine_end(kd_server *s) {
    if (!s->engine_runs) return;
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_broadcast(&s->mail_came);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->engine_thread, NULL);
    s->engine_runs = false;
}

/* ---- prompts --------------------------------------------------------------------------------------------------------------- */

kd_status kd_serve_encoder(kd_encoder **out, kd_server *s) {
    *out = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->encoders) *out = s->encoder[--s->encoders];
    pthread_mutex_unlock(&s->lock);
    return *out ? KD_OK : kd_encoder_new(out, &s->subject->tokenizer);
}

void kd_serve_encoder_back(kd_server *s, kd_encoder *encoder) {
    pthread_mutex_lock(&s->lock);
    bool kept = encoder && s->encoders < KD_SERVE_ENCODERS;
    if (kept) s->encoder[s->encoders++] = encoder;
    pthread_mutex_unlock(&s->lock);
    if (!kept) kd_encoder_free(encoder);
}

/* Ids of a client are asked as they are: nothing leads them. */
static kd_status encode_prompt(kd_ids *ids, kd_call *call, kd_encoder *encoder, const kd_prompt *prompt) {
    if (prompt->text) return kd_subject_encode_with(ids, call->server->subject, encoder, prompt->text, prompt->size, !call->request.plain);
    KD_TRY(kd_ids_reserve(ids, prompt->ids.count));
    memcpy(ids->id, prompt->ids.id, (size_t)prompt->ids.count * sizeof *ids->id);
    ids->count = prompt->ids.count;
    return KD_OK;
}

static kd_status echo_prompt(kd_call *call, int64_t i) {
    const kd_prompt *prompt = &call->request.prompt[i];
    call->echo_text[i] = prompt->text;
    call->echo_size[i] = prompt->size;
    if (prompt->text || !call->request.echo) return KD_OK;
    kd_status status = kd_decode(&call->echo[i], &call->server->subject->tokenizer, call->prompt[i].id, call->prompt[i].count, false);
    if (status == KD_EFORMAT) call->echo[i].size = 0;  /* the model has more ids than the tokenizer: they say nothing */
    else if (status) return status;
    call->echo_text[i] = call->echo[i].size ? call->echo[i].data : "";
    call->echo_size[i] = call->echo[i].size;
    return KD_OK;
}

static kd_status encode_prompts(kd_call *call) {
    kd_encoder *encoder;
    KD_TRY(kd_serve_encoder(&encoder, call->server));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < call->request.prompts && !status; i++) {
        status = encode_prompt(&call->prompt[i], call, encoder, &call->request.prompt[i]);
        if (!status) status = echo_prompt(call, i);
        if (status && status != KD_ENOMEM) kd_fail_prefix(status, "prompt %lld", (long long)i);
    }
    kd_serve_encoder_back(call->server, encoder);
    return status;
}

static void ask(kd_call *call, int64_t i) {
    const kd_request *r = &call->request;
    kd_asked *asked = &call->asked[i];
    int64_t count = call->prompt[i].count, room = call->server->subject->options.length - count + 1;
    bool scored = r->echo && r->logprobs >= 0;
    *asked = (kd_asked){.call = call, .index = i, .ticket = {.done = done, .opaque = asked}};
    asked->ticket.question = (kd_question){
        .token = call->prompt[i].id, .count = count, .scored = scored && count ? count - 1 : 0, .tops = r->logprobs > 0 ? r->logprobs : 0,
        .most = r->most < room ? r->most : room > 0 ? room : 0, .sampling = r->sampling, .stop = (const char *const *)r->stop, .stops = r->stops,
        .stop_token = r->stop_token.id, .stop_tokens = r->stop_token.count, .least = r->least,
        .past_eos = r->past_eos || (scored && r->most == 1),  /* who asks for one more token behind an echo counts on it */
        .heard = r->stream ? heard : NULL, .opaque = asked};
    if (!r->seeded) asked->ticket.question.sampling.seed = kd_random_bits(r->sampling.seed, 0, (uint64_t)i);
}

static kd_status open_parts(kd_call *call) {
    const kd_request *r = &call->request;
    KD_TRY(kd_new(&call->prompt, r->prompts, sizeof *call->prompt));
    KD_TRY(kd_new(&call->echo, r->prompts, sizeof *call->echo));
    KD_TRY(kd_new(&call->echo_text, r->prompts, sizeof *call->echo_text));
    KD_TRY(kd_new(&call->echo_size, r->prompts, sizeof *call->echo_size));
    KD_TRY(kd_new(&call->asked, r->prompts, sizeof *call->asked));
    KD_TRY(kd_new(&call->answer, r->prompts, sizeof *call->answer));
    return encode_prompts(call);
}

static void begin_stream(kd_call *call) {
    if (!call->request.stream || !call->request.echo) return;
    for (int64_t i = 0; i < call->request.prompts; i++)
        kd_reply_put_piece(&call->events, &call->reply, i, call->echo_text[i], call->echo_size[i], NULL);
}

/* Takes the call's prompts, if there is room for them. */
static kd_status post(kd_call *call) {
    kd_server *s = call->server;
    kd_status status = KD_OK;
    pthread_mutex_lock(&s->lock);
    if (s->stopping) status = kd_fail(KD_EAGAIN, "the server is stopping");
    else if (s->under_way + call->request.prompts > s->options->queue)
        status = kd_fail(KD_EBUSY, "%lld prompts are under way, and %lld more would be too many: the queue has %lld", (long long)s->under_way,
                         (long long)call->request.prompts, (long long)s->options->queue);
    if (!status) {
        call->left = call->request.prompts;
        s->under_way += call->left;
        call->next = s->mail;
        s->mail = call;
        call->in_mail = true;
        pthread_cond_broadcast(&s->mail_came);
    }
    pthread_mutex_unlock(&s->lock);
    return status;
}

kd_status kd_call_open(kd_call **out, kd_server *s, bool generate, const char *body, int64_t size) {
    kd_call *call;
    kd_status status;
    *out = NULL;
    KD_TRY(kd_new(&call, 1, sizeof *call));
    call->server = s;
    pthread_cond_init(&call->changed, NULL);
    KD_GO(kd_request_parse(&call->request, generate, body, size));
    pthread_mutex_lock(&s->lock);
    int64_t number = ++s->calls;
    pthread_mutex_unlock(&s->lock);
    if (!call->request.seeded) call->request.sampling.seed = kd_random_bits((uint64_t)time(NULL), (uint64_t)(kd_now() * 1e9), (uint64_t)number);
    snprintf(call->id, sizeof call->id, "cmpl-%lld", (long long)number);
    KD_GO(open_parts(call));
    call->reply = (kd_reply){&call->request, call->prompt, call->echo_text, call->echo_size, call->id, s->name, (int64_t)time(NULL), &s->texts};
    begin_stream(call);
    for (int64_t i = 0; i < call->request.prompts; i++) ask(call, i);
    KD_GO(post(call));
    *out = call;
done:
    if (status) kd_call_close(call);
    return status;
}

/* ---- waiting ---------------------------------------------------------------------------------------------------------------- */

static void wait_a_little(kd_call *call) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * 1000 * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&call->changed, &call->server->lock, &until);
}

/* Under the lock. */
static bool has_gone(const kd_call *call, int fd) {
    char byte;
    if (call->server->abandoned) return true;
    ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static kd_status say_gone(const kd_call *call) {
    return kd_fail(KD_EAGAIN, call->server->abandoned ? "the server is stopping" : "the client has gone");
}

void kd_call_close(kd_call *call) {
    if (!call) return;
    kd_server *s = call->server;
    pthread_mutex_lock(&s->lock);
    if (call->left) {
        call->cancelled = true;
        if (!call->in_mail) {
            call->in_mail = true;
            call->next = s->mail;
            s->mail = call;
        }
        pthread_cond_broadcast(&s->mail_came);
    }
    while (call->left || call->in_mail || call->taking) pthread_cond_wait(&call->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    for (int64_t i = 0; i < call->request.prompts; i++) {
        if (call->prompt) free(call->prompt[i].id);
        if (call->echo) kd_text_free(&call->echo[i]);
        if (call->answer) kd_answer_free(&call->answer[i]);
    }
    pthread_cond_destroy(&call->changed);
    kd_text_free(&call->events);
    free(call->prompt);
    free(call->echo);
    free(call->echo_text);
    free(call->echo_size);
    free(call->asked);
    free(call->answer);
    kd_request_free(&call->request);
    free(call);
}

/* Under the lock. */
static kd_status first_failure(const kd_call *call) {
    for (int64_t i = 0; i < call->request.prompts; i++) {
        const kd_answer *a = &call->answer[i];
        if (!a->status) continue;
        return call->request.prompts > 1 ? kd_fail(a->status, "prompt %lld: %s", (long long)i, a->message ? a->message : "out of memory")
                                         : kd_fail(a->status, "%s", a->message ? a->message : "out of memory");
    }
    return KD_OK;
}

kd_status kd_call_wait(kd_call *call, int fd) {
    kd_status status = KD_OK;
    pthread_mutex_lock(&call->server->lock);
    for (;;) {
        bool taken = call->submitted && !call->taking;
        status = first_failure(call);
        if (status || !call->left || (call->request.stream && taken)) break;
        if (has_gone(call, fd)) {
            status = say_gone(call);
            break;
        }
        wait_a_little(call);
    }
    pthread_mutex_unlock(&call->server->lock);
    return status;
}

kd_status kd_call_events(int64_t *size, char *out, kd_call *call, int fd, int64_t most) {
    kd_status status = KD_OK;
    *size = 0;
    pthread_mutex_lock(&call->server->lock);
    while (!status) {
        int64_t there = call->events.size - call->sent;
        status = call->events.failed ? kd_fail(KD_ENOMEM, "out of memory") : first_failure(call);
        if (status || there || !call->left) break;
        if (has_gone(call, fd)) status = say_gone(call);
        else wait_a_little(call);
    }
    if (!status) {
        int64_t there = call->events.size - call->sent;
        *size = there < most ? there : most;
        if (*size) memcpy(out, call->events.data + call->sent, (size_t)*size);
        call->sent += *size;
        if (call->sent == call->events.size) call->sent = call->events.size = 0;
    }
    pthread_mutex_unlock(&call->server->lock);
    return status;
}

/* Starting and stopping; serve_http.c reads and writes, serve_call.c asks. */
#include "serve.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/log.h"
#include "format/json.h"
#include "serve_state.h"

/* ---- what is said of the model -------------------------------------------------------------------------------------------- */

static kd_status describe_model(kd_server *s) {
    json_t *subject, *name = json_stringn_nocheck(s->name, strlen(s->name)), *all;
    kd_status status = kd_subject_json(&subject, s->subject);
    if (status) {
        json_decref(name);
        return status;
    }
    all = json_pack("{s:s, s:[{s:O, s:s, s:I, s:s, s:I, s:O}]}", "object", "list", "data", "id", name, "object", "model", "created",
                    (json_int_t)time(NULL), "owned_by", "kedge", "max_model_len", (json_int_t)s->subject->options.length, "kedge", subject);
    status = all ? kd_json_print(&s->models, all, JSON_COMPACT, "models") : kd_fail(KD_ENOMEM, "out of memory");
    json_decref(all);
    json_decref(name);
    json_decref(subject);
    return status;
}

static void put_special(kd_text *out, const kd_server *s, const char *key, int32_t id) {
    kd_text name = {0};
    kd_text_print(out, ",\"%s\":", key);
    if (id < 0 || kd_decode(&name, &s->subject->tokenizer, &id, 1, false)) kd_text_put(out, "null");
    else kd_text_quote(out, name.data, name.size);
    kd_text_free(&name);
}

static kd_status describe_tokenizer(kd_server *s) {
    const kd_tokenizer *t = &s->subject->tokenizer;
    kd_text text = {0};
    kd_text_put(&text, "{\"tokenizer\":");
    kd_text_quote(&text, t->name, (int64_t)strlen(t->name));
    put_special(&text, s, "bos_token", t->bos);
    put_special(&text, s, "eos_token", t->eos);
    kd_text_print(&text, ",\"pad_token\":null,\"chat_template\":null,\"bos_token_id\":%d,\"eos_token_id\":%d,\"vocab_size\":%lld,"
                  "\"max_model_len\":%lld,\"lead\":[", (int)t->bos, (int)t->eos, (long long)t->vocabulary, (long long)s->subject->options.length);
    for (int64_t i = 0; i < s->subject->lead.count; i++) kd_text_print(&text, "%s%d", i ? "," : "", (int)s->subject->lead.id[i]);
    kd_text_put(&text, "]}");
    s->tokenizer_info = text.data;
    return kd_text_status(&text);
}

/* ---- running ----------------------------------------------------------------------------------------------------------------- */

static void pause_briefly(void) { nanosleep(&(struct timespec){0, 50 * 1000 * 1000}, NULL); }

static bool is_quiet(kd_server *s) {
    pthread_mutex_lock(&s->lock);
    bool quiet = !s->requests && !s->under_way;
    pthread_mutex_unlock(&s->lock);
    return quiet;
}

/* What is under way has the grace to finish; then it is called back. */
static void stop(kd_server *s, struct MHD_Daemon *daemon, const volatile sig_atomic_t *signalled) {
    double until = kd_now() + (double)s->options->grace;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    kd_http_refuse(daemon);
    while (!is_quiet(s) && kd_now() < until && *signalled < 2) {
        kd_http_watch(s);
        pause_briefly();
    }
    bool late = !is_quiet(s);
    if (late) kd_warn("requests were under way: they are answered with 503");
    pthread_mutex_lock(&s->lock);
    s->abandoned = true;
    pthread_mutex_unlock(&s->lock);
    for (until = kd_now() + 5; late && !is_quiet(s) && kd_now() < until;) pause_briefly();
    kd_http_end(daemon);
}

static kd_status run(kd_server *s, const volatile sig_atomic_t *signalled) {
    struct MHD_Daemon *daemon = NULL;
    char address[300];
    KD_TRY(kd_serve_engine_start(s));
    kd_status status = kd_http_start(&daemon, s, address);
    if (!status) {
        if (s->options->ready) s->options->ready(s->options->opaque, address);
        while (!*signalled) {
            kd_http_watch(s);
            pause_briefly();
        }
        stop(s, daemon, signalled);
    }
    kd_serve_engine_end(s);
    return status;
}

kd_status kd_serve(kd_subject *subject, const kd_serve_options *o, const volatile sig_atomic_t *stop_signal) {
    kd_server *s;
    kd_status status;
    if (o->port < 0 || o->port > 65535) return kd_fail(KD_ECONFIG, "port %lld: 0 to 65535", (long long)o->port);
    KD_TRY(kd_new(&s, 1, sizeof *s));
    *s = (kd_server){.subject = subject, .options = o, .name = o->name ? o->name : subject->options.model};
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->mail_came, NULL);
    KD_GO(kd_vocabulary_texts_open(&s->texts, &subject->tokenizer, subject->config.V));
    KD_GO(describe_model(s));
    KD_GO(describe_tokenizer(s));
    status = run(s, stop_signal);
done:
    while (s->encoders) kd_encoder_free(s->encoder[--s->encoders]);
    kd_vocabulary_texts_close(&s->texts);
    free(s->models);
    free(s->tokenizer_info);
    pthread_cond_destroy(&s->mail_came);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return status;
}

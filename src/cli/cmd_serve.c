/* kedge serve */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "cli.h"
#include "eval/serve.h"
#include "subject_options.h"

static volatile sig_atomic_t signals;

static void count_signal(int number) {
    (void)number;
    if (signals < 2) signals++;
}

static void say_ready(void *opaque, const char *address) {
    const kd_subject *s = opaque;
    kd_info("%s: %lld sequences of %lld tokens at once, %s", s->options.model, (long long)s->options.sequences, (long long)s->options.length,
            s->anchor ? "an anchor leads texts" : s->lead.count ? "BOS leads texts" : "nothing leads texts");
    kd_info("serving at %s", address);
}

static bool is_loopback(const char *host) {
    return !strcmp(host, "localhost") || !strcmp(host, "::1") || !strncmp(host, "127.", 4);
}

/* "@FILE": its first line. *owned: to be freed. */
static kd_status read_token(char **owned, const char *token) {
    int64_t size;
    *owned = NULL;
    if (!token) return KD_OK;
    if (*token == '@') {
        KD_TRY(kd_file_read(owned, &size, token + 1, 4096));
        (*owned)[strcspn(*owned, "\r\n")] = 0;
    } else if (!(*owned = strdup(token))) {
        return kd_fail(KD_ENOMEM, "out of memory");
    }
    if (**owned) return KD_OK;
    free(*owned);
    *owned = NULL;
    return kd_fail(KD_ECONFIG, "serve: --token is empty");
}

static kd_status serve(const kd_subject_words *words, kd_serve_options *o) {
    kd_subject_options options;
    kd_subject subject;
    char *token;
    KD_TRY(kd_subject_options_read(&options, words, "serve"));
    if (o->port < 0 || o->port > 65535) return kd_fail(KD_ECONFIG, "serve: --port %lld: 0 to 65535", (long long)o->port);
    if (o->body < 1024 || o->timeout < 1 || o->queue < 1 || o->grace < 0)
        return kd_fail(KD_ECONFIG, "serve: --max-body is 1K or more, --timeout and --queue 1 or more, --grace 0 or more");
    KD_TRY(read_token(&token, o->token));
    o->token = token;
    if (!token && !is_loopback(o->host)) kd_warn("everybody who reaches %s may ask: --token sets a bearer token", o->host);
    kd_status status = kd_subject_open(&subject, &options);
    if (!status) {
        o->ready = say_ready;
        o->opaque = &subject;
        status = kd_serve(&subject, o, &signals);
        kd_subject_close(&subject);
        if (!status) kd_info("stopped");
    }
    free(token);
    return status;
}

int kd_cmd_serve(int argc, char **argv) {
    kd_subject_words words = KD_SUBJECT_DEFAULTS;
    kd_serve_options o = {.host = "127.0.0.1", .port = 8000, .body = (int64_t)32 << 20, .timeout = 60, .queue = 1024, .grace = 30};
    const kd_option option[] = {
        KD_SUBJECT_OPTIONS(words),
        {"--host", KD_TEXT, &o.host, "NAME", "address to listen on; 0.0.0.0 for all of this machine's"},
        {"--port", KD_INTEGER, &o.port, "N", "0: any that is free, which is printed"},
        {"--token", KD_TEXT, &o.token, "TEXT", "a bearer token that clients must send; @FILE reads it from a file, where others do not see it"},
        {"--name", KD_TEXT, &o.name, "NAME", "the model's, for clients; its folder unless given"},
        {"--max-body", KD_INTEGER, &o.body, "SIZE", "bytes of a request at most"},
        {"--timeout", KD_INTEGER, &o.timeout, "N", "seconds that a client may take to send a request or to receive what was answered"},
        {"--queue", KD_INTEGER, &o.queue, "N", "prompts under way and waiting at most; more are refused with 429"},
        {"--grace", KD_INTEGER, &o.grace, "N", "seconds that requests under way have to finish after SIGTERM or Ctrl-C"},
    };
    const kd_usage usage = {"serve", "--model DIR [options]",
                            "Answers OpenAI's completions over HTTP, with likelihoods of the prompt (echo, logprobs), as lm-evaluation-harness "
                            "asks for them (POST /v1/completions, /tokenize, /detokenize, GET /tokenizer_info, /v1/models, /health), and PUT "
                            "/generate as RULER's clients do. Requests of all clients are answered together; an answer does not depend on "
                            "the others. Token ids are asked as they are; texts are led by BOS or the anchor as --bos and --anchor say. "
                            "SIGTERM and Ctrl-C stop it: what is under way is finished; a second one does not wait.",
                            "  kedge serve --model models/llama-2-7b --length 8K\n"
                            "  kedge serve --model runs/anchor/step-2000 --port 5000 --batch 32 --cache bf16\n"
                            "  kedge serve --model models/small --host 0.0.0.0 --token @secret\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    struct sigaction action = {.sa_handler = count_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return kd_exit_code(serve(&words, &o));
}

/* kedge generate */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "cli.h"
#include "format/json.h"
#include "subject_options.h"
#include "text_source.h"

typedef struct options {
    kd_subject_words subject;
    const char *prompt, *file, *temperature, *top_p;
    kd_list stop;
    int64_t most, top_k, seed;
    bool past_eos, json;
} options;

/* One prompt and what became of it. */
typedef struct run {
    kd_subject subject;
    kd_ids ids;
    kd_ticket ticket;
    kd_answer answer;
    bool done;
    double reading, speaking;  /* seconds: up to the first token, and the others */
} run;

/* ---- the prompt ---------------------------------------------------------------------------------------------------------- */

static kd_status read_prompt(run *r, const options *o) {
    kd_text_source from = {0};
    kd_given given;
    bool more;
    if (o->prompt) return kd_subject_encode(&r->ids, &r->subject, o->prompt, (int64_t)strlen(o->prompt), true);
    kd_status status;
    KD_GO(kd_text_source_open(&from, o->file ? &o->file : NULL, o->file != NULL, false, true));
    KD_GO(kd_text_source_next(&given, &from, &more));
    status = kd_subject_encode(&r->ids, &r->subject, given.text, given.size, true);
    if (status) KD_GO(kd_fail_prefix(status, "%s", given.path));
done:
    kd_text_source_close(&from);
    return status;
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------- */

static kd_status print_piece(void *opaque, const char *text, int64_t size) {
    (void)opaque;
    if (fwrite(text, 1, (size_t)size, stdout) != (size_t)size || fflush(stdout)) return kd_fail_errno(KD_EIO, "standard output");
    return KD_OK;
}

static void done(kd_ticket *ticket, kd_answer *answer) {
    run *r = ticket->opaque;
    r->answer = *answer;
    r->done = true;
}

static kd_status answer(run *r, const kd_question *question) {
    bool idle;
    r->ticket = (kd_ticket){*question, done, r};
    KD_TRY(kd_engine_submit(r->subject.engine, &r->ticket));
    double started = kd_now();
    for (int64_t step = 1; !r->done; step++) {
        KD_TRY(kd_engine_step(r->subject.engine, &idle));
        double now = kd_now() - started;
        if (step * KD_BLOCK < question->count + KD_BLOCK) r->reading = now;  /* the first token comes with the prompt's last block */
        r->speaking = now - r->reading;
    }
    return r->answer.status ? kd_fail(r->answer.status, "%s", r->answer.message ? r->answer.message : "out of memory") : KD_OK;
}

static double per_second(int64_t tokens, double seconds) { return tokens > 0 && seconds > 0 ? (double)tokens / seconds : 0; }

static const char *finish_name(kd_finish finish) {
    static const char *const name[] = {"length", "stop", "eos"};
    return name[finish];
}

static json_t *list_ids(const kd_ids *ids) {
    json_t *list = json_array();
    for (int64_t i = 0; i < ids->count; i++)
        if (json_array_append_new(list, json_integer(ids->id[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *list_logs(const kd_answer *a) {
    json_t *list = json_array();
    for (int64_t i = 0; i < a->ids.count; i++)
        if (json_array_append_new(list, json_real(a->log[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static kd_status print_json(const run *r) {
    json_t *subject, *out = NULL;
    char *text = NULL;
    const kd_answer *a = &r->answer;
    KD_TRY(kd_subject_json(&subject, &r->subject));
    json_t *ids = list_ids(&a->ids), *logs = list_logs(a);
    if (ids && logs)
        out = json_pack("{s:s%, s:s, s:O, s:O, s:I, s:{s:f, s:f, s:f, s:f}, s:O}", "text", a->text, (size_t)a->text_size, "finish",
                        finish_name(a->finish), "ids", ids, "logprobs", logs, "prompt_tokens", (json_int_t)r->ids.count, "timing",
                        "prompt_seconds", r->reading, "prompt_tokens_per_second", per_second(r->ids.count, r->reading), "answer_seconds",
                        r->speaking, "answer_tokens_per_second", per_second(a->ids.count - 1, r->speaking), "subject", subject);
    kd_status status = out ? kd_json_print(&text, out, JSON_COMPACT, "output") : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) puts(text);
    free(text);
    json_decref(out);
    json_decref(ids);
    json_decref(logs);
    json_decref(subject);
    return status;
}

static void print_timing(const run *r) {
    kd_info("%lld tokens read, %.4g a second; %lld generated, %.4g a second; ended by %s", (long long)r->ids.count,
            per_second(r->ids.count, r->reading), (long long)r->answer.ids.count, per_second(r->answer.ids.count - 1, r->speaking),
            finish_name(r->answer.finish));
}

/* ---- the command ----------------------------------------------------------------------------------------------------------- */

static kd_status read_number(double *out, const char *option, const char *text) {
    char *end;
    *out = kd_number_parse(text, &end);
    return *end || end == text ? kd_fail(KD_ECONFIG, "generate: %s %s: not a number", option, text) : KD_OK;
}

static kd_status read_question(kd_question *q, const options *o) {
    *q = (kd_question){.most = o->most, .stop = o->stop.text, .stops = o->stop.count, .past_eos = o->past_eos,
                       .sampling = {.top_k = o->top_k, .seed = (uint64_t)o->seed}};
    KD_TRY(read_number(&q->sampling.temperature, "--temperature", o->temperature));
    KD_TRY(read_number(&q->sampling.top_p, "--top-p", o->top_p));
    if (o->most < 1) return kd_fail(KD_ECONFIG, "generate: --max-tokens %lld: 1 or more", (long long)o->most);
    if (o->prompt && o->file) return kd_fail(KD_ECONFIG, "generate: --prompt or --file, not both");
    if (q->sampling.temperature < 0 || q->sampling.top_k < 0 || !(q->sampling.top_p >= 0 && q->sampling.top_p <= 1))
        return kd_fail(KD_ECONFIG, "generate: --temperature and --top-k are 0 or more, --top-p is 0 to 1");
    for (int64_t i = 0; i < o->stop.count; i++)
        if (!*o->stop.text[i]) return kd_fail(KD_ECONFIG, "generate: --stop \"\": an answer would end before it begins");
    if (!o->json) q->heard = print_piece;
    return KD_OK;
}

static kd_status generate(const options *o) {
    run r = {.done = false};
    kd_subject_options subject;
    kd_question q;
    kd_status status;
    KD_TRY(read_question(&q, o));
    KD_TRY(kd_subject_options_read(&subject, &o->subject, "generate"));
    KD_TRY(kd_subject_open(&r.subject, &subject));
    KD_GO(read_prompt(&r, o));
    if (!r.ids.count) KD_GO(kd_fail(KD_ECONFIG, "generate: the prompt is empty, and nothing leads it"));
    q.token = r.ids.id;
    q.count = r.ids.count;
    int64_t room = r.subject.options.length - q.count + 1;
    if (room < 1)
        KD_GO(kd_fail(KD_ECONFIG, "generate: a prompt of %lld tokens: the length is %lld (--length)", (long long)q.count,
                      (long long)r.subject.options.length));
    if (q.most > room) q.most = room;
    KD_GO(answer(&r, &q));
    if (o->json) KD_GO(print_json(&r));
    else puts("");
    print_timing(&r);
done:
    kd_answer_free(&r.answer);
    free(r.ids.id);
    kd_subject_close(&r.subject);
    return status;
}

int kd_cmd_generate(int argc, char **argv) {
    options o = {.subject = KD_SUBJECT_DEFAULTS, .temperature = "0", .top_p = "1", .most = 256, .seed = 1};
    o.subject.batch = 1;
    const kd_option option[] = {
        KD_SUBJECT_OPTIONS(o.subject),
        {"--prompt", KD_TEXT, &o.prompt, "TEXT", "what the text goes on from"},
        {"--file", KD_TEXT, &o.file, "FILE", "or a file with it; standard input unless one of the two is given"},
        {"--max-tokens", KD_INTEGER, &o.most, "N", "so many at most; fewer where the length ends"},
        {"--temperature", KD_TEXT, &o.temperature, "X", "0: always the likeliest token"},
        {"--top-k", KD_INTEGER, &o.top_k, "N", "draws of the N likeliest tokens; 0: of all"},
        {"--top-p", KD_TEXT, &o.top_p, "X", "draws of the fewest whose probabilities sum to X"},
        {"--seed", KD_INTEGER, &o.seed, "N", "of what is drawn: the same seed, the same text"},
        {"--stop", KD_LIST, &o.stop, "TEXT", "ends before it; may be given several times"},
        {"--past-eos", KD_FLAG, &o.past_eos, NULL, "EOS is a token like others"},
        {"--json", KD_FLAG, &o.json, NULL, "one object at the end: text, ids, logprobs, why it ended, tokens a second"},
    };
    const kd_usage usage = {"generate", "--model DIR [--prompt TEXT | --file FILE] [options]",
                            "Goes on from a text. What is generated goes to standard output as it comes; the same options give the same text, on "
                            "any number of threads.",
                            "  kedge generate --model models/llama-2-7b --prompt 'The tide'\n"
                            "  kedge generate --model runs/anchor/step-2000 --file book.txt --temperature 0.8 --seed 7\n"
                            "  kedge generate --model models/small --stop '.' --json <question.txt\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool shown;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &shown);
    if (!status && !shown) status = generate(&o);
    return ferror(stdout) ? KD_EXIT_FAILED : kd_exit_code(status);  /* of which main speaks */
}

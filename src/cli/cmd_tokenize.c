/* kedge tokenize */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/pool.h"
#include "cli.h"
#include "format/pieces.h"
#include "text_source.h"

/* Texts that are worked on at once: enough for many threads, little beside a tokenizer. */
enum { JOBS = 4096 };
#define BATCH_BYTES ((int64_t)16 << 20)

typedef struct job {
    char *path;                  /* borrowed */
    int64_t line, source;        /* source: in tally */
    kd_text in, out;
    kd_ids ids;
    bool done;
} job;

typedef struct tally { char *source; int64_t documents, bytes, tokens; } tally;

typedef struct work {
    kd_tokenizer tokenizer;
    kd_encoder **encoder;        /* [threads] */
    kd_pool *pool;
    kd_text_source from;
    bool decode, lines, json, stats, no_specials, specials_as_text, replace_invalid;
    job *job;                    /* [JOBS] */
    int64_t jobs;
    tally *tally;                /* by source; the first is for all */
    int64_t tallies;
    double seconds, processor;   /* encoding or decoding alone; processor: of all threads together */
    kd_pieces pieces;            /* --json */
} work;

/* ---- writing ------------------------------------------------------------------------------------------------ */

static void put_number(kd_text *out, int64_t number) {
    char digit[20];
    int64_t at = sizeof digit;
    do digit[--at] = (char)('0' + number % 10);
    while (number /= 10);
    kd_text_add(out, digit + at, (int64_t)sizeof digit - at);
}

static void put_ids(kd_text *out, const kd_ids *ids, const char *between) {
    for (int64_t i = 0; i < ids->count; i++) {
        if (i) kd_text_put(out, between);
        put_number(out, ids->id[i]);
    }
}

static kd_status put_pieces(kd_text *out, const work *w, const kd_ids *ids) {
    kd_text piece = {0};
    kd_status status = KD_OK;
    for (int64_t i = 0; i < ids->count && !status; i++) {
        piece.size = 0;
        status = kd_pieces_put(&piece, &w->pieces, ids->id[i]);
        if (i) kd_text_put(out, ",");
        kd_text_quote(out, piece.data, piece.size);
    }
    kd_text_free(&piece);
    return status;
}

static kd_status format_ids(job *j, const work *w) {
    if (!w->json) {
        put_ids(&j->out, &j->ids, " ");
    } else {
        kd_text_put(&j->out, "{\"path\":");
        kd_text_quote(&j->out, j->path, (int64_t)strlen(j->path));
        kd_text_print(&j->out, ",\"line\":%lld,\"tokens\":%lld,\"ids\":[", (long long)j->line, (long long)j->ids.count);
        put_ids(&j->out, &j->ids, ",");
        kd_text_put(&j->out, "],\"pieces\":[");
        KD_TRY(put_pieces(&j->out, w, &j->ids));
        kd_text_put(&j->out, "]}");
    }
    kd_text_put(&j->out, "\n");
    return kd_text_status(&j->out);
}

/* ---- one text ------------------------------------------------------------------------------------------------ */

static kd_status encode(job *j, const work *w, int64_t thread) {
    int flags = (w->no_specials ? 0 : KD_ENCODE_SPECIALS) | (w->specials_as_text ? KD_ENCODE_SPECIALS_AS_TEXT : 0) |
                (w->replace_invalid ? KD_ENCODE_REPLACE : 0);
    KD_TRY(kd_encode(&j->ids, w->encoder[thread], j->in.size ? j->in.data : "", j->in.size, flags));
    return w->stats ? KD_OK : format_ids(j, w);
}

/* "1 2 3", "[1, 2, 3]", or an object of kedge tokenize --json. */
static kd_status read_ids(job *j) {
    const char *at = j->in.size ? j->in.data : "", *end = at + j->in.size, *list = NULL;
    if (end > at && *at == '{') {
        list = strstr(at, "\"ids\":");
        if (!list) return kd_fail(KD_EFORMAT, "no \"ids\" in this object");
        at = list + 6;
        const char *close = strchr(at, ']');
        end = close ? close : end;
    }
    while (at < end) {
        if (isspace((unsigned char)*at) || *at == ',' || *at == '[' || *at == ']') {
            at++;
            continue;
        }
        int64_t id = 0;
        const char *first = at;
        for (; at < end && *at >= '0' && *at <= '9' && id <= INT32_MAX; at++) id = 10 * id + (*at - '0');
        if (at == first || id > INT32_MAX)
            return kd_fail(KD_EFORMAT, "column %lld: an id expected, a whole number from 0", (long long)(first - j->in.data) + 1);
        KD_TRY(kd_ids_reserve(&j->ids, 1));
        j->ids.id[j->ids.count++] = (int32_t)id;
    }
    return KD_OK;
}

static kd_status decode(job *j, const work *w) {
    kd_text text = {0};
    bool wrapped = w->json && !w->stats;
    KD_TRY(read_ids(j));
    kd_status status = kd_decode(wrapped ? &text : &j->out, &w->tokenizer, j->ids.id, j->ids.count, w->no_specials);
    if (wrapped) {
        kd_text_print(&j->out, "{\"tokens\":%lld,\"text\":", (long long)j->ids.count);
        kd_text_quote(&j->out, text.data, text.size);
        kd_text_put(&j->out, "}");
    }
    kd_text_put(&j->out, "\n");
    kd_text_free(&text);
    return status ? status : kd_text_status(&j->out);
}

static kd_status run_job(void *arg, int64_t task, int64_t thread) {
    work *w = arg;
    job *j = &w->job[task];
    j->ids.count = j->out.size = 0;
    kd_status status = w->decode ? decode(j, w) : encode(j, w, thread);
    j->done = !status;
    return status ? kd_fail_prefix(status, "%s:%lld", j->path, (long long)j->line) : KD_OK;
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

static kd_status find_tally(int64_t *out, work *w, const char *source) {
    for (*out = 1; *out < w->tallies; ++*out)
        if (!strcmp(w->tally[*out].source, source)) return KD_OK;
    tally *larger = realloc(w->tally, (size_t)(w->tallies + 1) * sizeof *larger);
    if (larger) w->tally = larger;
    char *name = larger ? strdup(source) : NULL;
    if (!name) return kd_fail(KD_ENOMEM, "out of memory: the name of a source");
    w->tally[w->tallies++] = (tally){.source = name};
    return KD_OK;
}

/* Fills the batch; *more false when there is nothing behind it. */
static kd_status read_batch(work *w, bool *more) {
    int64_t bytes = 0;
    for (w->jobs = 0; w->jobs < JOBS && bytes < BATCH_BYTES; w->jobs++) {
        kd_given given;
        job *j = &w->job[w->jobs];
        KD_TRY(kd_text_source_next(&given, &w->from, more));
        if (!*more) return KD_OK;
        KD_TRY(find_tally(&j->source, w, given.source));
        j->path = (char *)given.path;
        j->line = given.line;
        j->done = false;
        j->in.size = 0;
        kd_text_add(&j->in, given.text, given.size);
        KD_TRY(kd_text_status(&j->in));
        bytes += given.size;
    }
    return KD_OK;
}

/* A long text's memory is given back: the longest ones of all batches would add up. */
static void trim(job *j) {
    enum { KEPT = 64 << 10 };
    if (j->in.room > KEPT) kd_text_free(&j->in);
    if (j->out.room > KEPT) kd_text_free(&j->out);
    if (j->ids.room * (int64_t)sizeof *j->ids.id <= KEPT) return;
    free(j->ids.id);
    j->ids = (kd_ids){0};
}

/* Prints and counts what is done, in the order of the texts. */
static void deliver(work *w) {
    for (int64_t i = 0; i < w->jobs && w->job[i].done; i++) {
        job *j = &w->job[i];
        if (!w->stats) fwrite(j->out.data, 1, (size_t)j->out.size, stdout);
        const int64_t both[] = {0, j->source};
        for (int k = 0; k < 2; k++) {
            tally *t = &w->tally[both[k]];
            t->documents++;
            t->bytes += w->decode ? j->out.size - 1 : j->in.size;
            t->tokens += j->ids.count;
        }
        trim(j);
    }
}

static double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static kd_status run_batches(work *w) {
    char why[1024] = "";
    for (bool more = true; more;) {
        kd_status bad = read_batch(w, &more);  /* what came before a text that cannot be read is worked on first */
        if (bad) snprintf(why, sizeof why, "%s", kd_message());
        double begin = kd_now(), processor = processor_seconds();
        kd_status status = kd_pool_run(w->pool, run_job, w, w->jobs);
        w->seconds += kd_now() - begin;
        w->processor += processor_seconds() - processor;
        deliver(w);
        KD_TRY(status);
        if (bad) kd_message_set(why);
        KD_TRY(bad);
        if (ferror(stdout)) return KD_OK;  /* kedge's own end says so */
    }
    return KD_OK;
}

/* ---- statistics ---------------------------------------------------------------------------------------------- */

static double ratio(double above, double below) { return below > 0 ? above / below : 0; }

static void print_stats(const work *w) {
    const tally *all = &w->tally[0];
    printf("%-20s %10s %14s %12s %12s\n", "source", "texts", "bytes", "tokens", "bytes/token");
    for (int64_t i = 1; i <= w->tallies; i++) {
        const tally *t = &w->tally[i % w->tallies];
        if (i == w->tallies || *t->source || t->documents)
            printf("%-20s %10lld %14lld %12lld %12.2f\n", i == w->tallies ? "all" : *t->source ? t->source : "-", (long long)t->documents,
                   (long long)t->bytes, (long long)t->tokens, ratio((double)t->bytes, (double)t->tokens));
    }
    printf("%s in %.3f s on %lld thread%s, %.3f s of processor time: %.2f MB/s, %.3gM tokens/s (reading and printing not counted)\n",
           w->decode ? "decoded" : "encoded", w->seconds, (long long)kd_pool_threads(w->pool), kd_pool_threads(w->pool) == 1 ? "" : "s",
           w->processor, ratio((double)all->bytes * 1e-6, w->seconds), ratio((double)all->tokens * 1e-6, w->seconds));
}

static kd_status print_stats_json(const work *w) {
    const tally *all = &w->tally[0];
    kd_text out = {0};
    kd_text_put(&out, "{\"tokenizer\":");
    kd_text_quote(&out, w->tokenizer.name, (int64_t)strlen(w->tokenizer.name));
    kd_text_print(&out, ",\"threads\":%lld,\"texts\":%lld,\"bytes\":%lld,\"tokens\":%lld,\"seconds\":%.6f,\"processor_seconds\":%.6f,\"sources\":[",
                  (long long)kd_pool_threads(w->pool), (long long)all->documents, (long long)all->bytes, (long long)all->tokens, w->seconds,
                  w->processor);
    for (int64_t i = 1; i < w->tallies; i++) {
        const tally *t = &w->tally[i];
        kd_text_put(&out, i > 1 ? ",{\"source\":" : "{\"source\":");
        kd_text_quote(&out, t->source, (int64_t)strlen(t->source));
        kd_text_print(&out, ",\"texts\":%lld,\"bytes\":%lld,\"tokens\":%lld}", (long long)t->documents, (long long)t->bytes,
                      (long long)t->tokens);
    }
    kd_text_put(&out, "]}\n");
    kd_status status = kd_text_status(&out);
    if (!status) fwrite(out.data, 1, (size_t)out.size, stdout);
    kd_text_free(&out);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------------------- */

static kd_status open_work(work *w, const char *tokenizer, const char *const *file, int64_t files, int64_t threads) {
    KD_TRY(kd_tokenizer_open(&w->tokenizer, tokenizer));
    KD_TRY(kd_text_source_open(&w->from, file, files, w->lines || w->decode, w->decode));
    KD_TRY(kd_pool_new(&w->pool, threads));
    KD_TRY(kd_new(&w->encoder, kd_pool_threads(w->pool), sizeof *w->encoder));
    for (int64_t i = 0; i < kd_pool_threads(w->pool); i++) KD_TRY(kd_encoder_new(&w->encoder[i], &w->tokenizer));
    KD_TRY(kd_new(&w->job, JOBS, sizeof *w->job));
    KD_TRY(kd_new(&w->tally, 1, sizeof *w->tally));
    w->tallies = 1;
    return w->json && !w->decode && !w->stats ? kd_pieces_open(&w->pieces, &w->tokenizer) : KD_OK;
}

static void close_work(work *w) {
    for (int64_t i = 0; w->job && i < JOBS; i++) {
        kd_text_free(&w->job[i].in);
        kd_text_free(&w->job[i].out);
        free(w->job[i].ids.id);
    }
    free(w->job);
    for (int64_t i = 1; i < w->tallies; i++) free(w->tally[i].source);
    free(w->tally);
    for (int64_t i = 0; w->encoder && i < kd_pool_threads(w->pool); i++) kd_encoder_free(w->encoder[i]);
    free(w->encoder);
    kd_pool_free(w->pool);
    kd_text_source_close(&w->from);
    kd_pieces_close(&w->pieces);
    kd_tokenizer_close(&w->tokenizer);
}

int kd_cmd_tokenize(int argc, char **argv) {
    work w = {0};
    const char *tokenizer = NULL, **file = NULL;
    int64_t files, threads = 0;
    const kd_option option[] = {
        {"--tokenizer", KD_TEXT, &tokenizer, "DIR", "`bytes`, a folder with tokenizer.json, or such a file"},
        {"--decode", KD_FLAG, &w.decode, NULL, "from ids to text: every line is a list of ids, as printed here, with --json too"},
        {"--lines", KD_FLAG, &w.lines, NULL, "every line of a plain file is a text of its own, without its newline"},
        {"--json", KD_FLAG, &w.json, NULL, "an object a text: path, line, tokens, ids, and pieces: each id's text"},
        {"--stats", KD_FLAG, &w.stats, NULL, "counts and speed by source, no ids; with --json as one object"},
        {"--no-specials", KD_FLAG, &w.no_specials, NULL,
         "adds no BOS or whatever else the tokenizer's post-processor adds; with --decode: leaves special tokens out"},
        {"--specials-as-text", KD_FLAG, &w.specials_as_text, NULL,
         "<s> in a text is three characters, not BOS: what a corpus wants, whose texts are not trusted"},
        {"--replace-invalid", KD_FLAG, &w.replace_invalid, NULL, "what is not UTF-8 in a plain file becomes U+FFFD instead of an error"},
        {"--threads", KD_INTEGER, &threads, "N", "0: one a core; the output is the same for any number"},
    };
    const kd_usage usage = {
        "tokenize", "--tokenizer DIR [FILE...] [options]",
        "Prints the ids of texts, a line a text, as Hugging Face's tokenizers makes them of the same tokenizer.json, BOS included "
        "where the tokenizer adds it; or, with --decode, the texts of ids.\n\n"
        "FILE is *.jsonl or *.json, of which every record's \"text\" is one (SlimPajama's form), or any other file, which is one text; "
        "each may be zstd (.zst). Patterns such as 'corpus/**/*.jsonl.zst' and - for standard input are taken; without FILE, "
        "standard input is one text. Texts are spread over threads and printed in order.",
        "  echo -n 'Hello world' | kedge tokenize --tokenizer models/llama\n"
        "  kedge tokenize --tokenizer models/llama --json --lines prompts.txt\n"
        "  kedge tokenize --tokenizer models/llama --stats 'corpus/train/**/*.jsonl.zst'\n"
        "  kedge tokenize --tokenizer models/llama --specials-as-text --no-specials corpus/a.jsonl >a.ids\n"
        "  echo 1 15043 3186 | kedge tokenize --tokenizer models/llama --decode\n",
        option, sizeof option / sizeof *option};
    bool done;
    kd_status status = kd_new(&file, argc, sizeof *file);
    if (!status) status = kd_options_read(&usage, argc, argv, file, argc, &files, &done);
    if (!status && !done) {
        if (!tokenizer) status = kd_fail(KD_ECONFIG, "tokenize: which tokenizer? kedge tokenize --tokenizer DIR [FILE...]");
        else if (threads < 0) status = kd_fail(KD_ECONFIG, "tokenize: --threads is less than 0");
        if (!status) status = open_work(&w, tokenizer, file, files, threads);
        if (!status) status = run_batches(&w);
        if (!status && w.stats && w.json) status = print_stats_json(&w);
        else if (!status && w.stats) print_stats(&w);
        close_work(&w);
    }
    free(file);
    return kd_exit_code(status);
}

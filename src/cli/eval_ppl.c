/* kedge eval ppl */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "eval.h"
#include "ppl_tell.h"

enum { STRIDE = 256 };  /* YaRN's */

typedef struct options {
    kd_eval_words words;
    kd_ppl_source source;
    kd_ppl_options ppl;
    const char *lengths, *part;
    bool rolling;
} options;

static kd_status settings_of(json_t **out, const kd_subject *subject, const kd_ppl_given *given, const options *o) {
    static const char *const way[] = {"sliding", "rolling", "whole documents"};
    json_t *lengths = json_array();
    for (int64_t k = 0; k < o->ppl.lengths; k++) json_array_append_new(lengths, json_integer(o->ppl.length[k]));
    json_t *own = json_array_size(lengths) == (size_t)o->ppl.lengths
                      ? json_pack("{s:s, s:s, s:o, s:s, s:O, s:I, s:b, s:I, s:I}", "data",
                                  kd_name_of_path(o->source.pack ? o->source.pack : o->source.text.text[0]),
                                  "part", o->source.pack ? o->source.part : "", "data_hash", kd_json_of_hash(given->hash), "windows",
                                  way[o->ppl.way], "lengths", lengths, "stride", (json_int_t)o->ppl.stride, "truncate", o->ppl.truncate,
                                  "min_tokens", (json_int_t)o->source.least, "documents", (json_int_t)o->source.most)
                      : NULL;
    json_decref(lengths);
    return kd_eval_settings(out, "ppl", subject, own);
}

/* What the windows are, in a sentence. */
static void describe(char *out, size_t size, const options *o, const kd_subject *subject, const kd_ppl_given *given) {
    const char *lead = subject->anchor ? "the anchor" : subject->lead.count ? "BOS" : "nothing";
    if (o->ppl.way == KD_PPL_WHOLE)
        snprintf(out, size, "%lld documents of %lld windows of a pack, each read alone behind %s, its positions without gaps%s; scored is "
                            "what was a target.",
                 (long long)given->texts.count, (long long)given->windows, lead,
                     given->positions_differ ? ", which in the windows they have" : "");
    else if (o->ppl.way == KD_PPL_ROLLING)
        snprintf(out, size, "%lld texts in windows that follow each other, as lm-evaluation-harness rolls them; %s.",
                 (long long)given->texts.count,
                 subject->anchor ? "the anchor leads each" : "BOS leads the first of a text, the token before it each other one");
    else
        snprintf(out, size, "%lld texts in windows that slide by %lld tokens, as YaRN's script has them%s; each behind %s, positions from "
                            "0. \"by windows\" is the mean over windows, YaRN's figure.", (long long)given->texts.count,
                                (long long)o->ppl.stride,
                 o->ppl.truncate ? ", the first of each text alone" : "", lead);
}

/* least: tokens of the shortest window, beside what leads it. */
static kd_status choose_stride(options *o, int64_t least) {
    bool slides = o->ppl.way == KD_PPL_SLIDING && !o->ppl.truncate;
    if (!o->ppl.stride) o->ppl.stride = !slides || least > STRIDE ? STRIDE : least;
    if (!slides || o->ppl.stride <= least) return KD_OK;
    return kd_fail(KD_ECONFIG, "ppl: --stride %lld: a window has %lld tokens, some would lie between windows", (long long)o->ppl.stride,
                   (long long)least);
}

static kd_status run(options *o, const kd_subject_options *subject_options) {
    kd_subject subject = {0};
    kd_ppl_given given = {.shorter = 0};
    kd_results *results = NULL;
    json_t *settings = NULL;
    char about[512];
    double started = kd_now();
    kd_status status;
    KD_GO(kd_subject_open(&subject, subject_options));
    if (!o->lengths) o->ppl.length[o->ppl.lengths++] = subject.options.length;
    if (o->ppl.length[0] < 2 + subject.lead.count)
        KD_GO(kd_fail(KD_ECONFIG, "ppl: a window of %lld tokens: %lld lead it, and two more are needed", (long long)o->ppl.length[0],
                      (long long)subject.lead.count));
    KD_GO(choose_stride(o, o->ppl.length[0] - subject.lead.count));
    KD_GO(kd_ppl_given_open(&given, &o->source, &subject));
    KD_GO(settings_of(&settings, &subject, &given, o));
    KD_GO(kd_results_open(&results, o->words.out, settings));
    KD_GO(kd_ppl_ask(results, &subject, &given.texts, &o->ppl));
    describe(about, sizeof about, o, &subject, &given);
    if (given.shorter)
        kd_info("%lld texts are shorter than %lld tokens and left out", (long long)given.shorter,
                (long long)(o->source.least ? o->source.least : 1));
    const kd_ppl_told told = {o->words.subject.model, about, o->words.out, &given, &o->ppl, kd_now() - started, o->words.json};
    status = kd_ppl_tell(results, &told);
done:
    kd_results_close(results);
    json_decref(settings);
    kd_ppl_given_close(&given);
    kd_subject_close(&subject);
    return status;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------ */

static int ascending(const void *x, const void *y) {
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static kd_status read_lengths(options *o) {
    if (!o->lengths) return KD_OK;
    if (o->words.subject.length) return kd_fail(KD_ECONFIG, "ppl: --length or --lengths, not both");
    if (o->source.pack) return kd_fail(KD_ECONFIG, "ppl: --lengths: a pack's documents are as long as they are");
    KD_TRY(kd_options_integers(o->ppl.length, 64, &o->ppl.lengths, "ppl", "--lengths", o->lengths));
    qsort(o->ppl.length, (size_t)o->ppl.lengths, sizeof *o->ppl.length, ascending);
    for (int64_t k = 0; k < o->ppl.lengths; k++)
        if (o->ppl.length[k] < 2 || (k && o->ppl.length[k] == o->ppl.length[k - 1]))
            return kd_fail(KD_ECONFIG, "ppl: --lengths %lld: each once, 2 or more", (long long)o->ppl.length[k]);
    o->words.subject.length = o->ppl.length[o->ppl.lengths - 1];
    return KD_OK;
}

static kd_status check(kd_subject_options *subject, options *o) {
    KD_TRY(read_lengths(o));
    KD_TRY(kd_subject_options_read(subject, &o->words.subject, "ppl"));
    if (!o->source.text.count == !o->source.pack)
        return kd_fail(KD_ECONFIG, "ppl: which texts? --text FILE or --pack DIR%s", o->source.pack ? ", not both" : "");
    if (o->source.pack && (o->rolling || o->ppl.truncate))
        return kd_fail(KD_ECONFIG, "ppl: --rolling and --truncate are of texts: a pack's documents are read whole");
    if (o->rolling && o->ppl.truncate) return kd_fail(KD_ECONFIG, "ppl: --truncate is of sliding windows");
    if (o->ppl.stride < 0 || o->source.least < 0 || o->source.most < 0)
        return kd_fail(KD_ECONFIG, "ppl: --stride, --min-tokens and --documents are 0 or more");
    if (o->source.pack && strcmp(o->source.part, "train") && strcmp(o->source.part, "valid"))
        return kd_fail(KD_ECONFIG, "ppl: --part %s: train or valid", o->source.part);
    o->ppl.way = o->source.pack ? KD_PPL_WHOLE : o->rolling ? KD_PPL_ROLLING : KD_PPL_SLIDING;
    return KD_OK;
}

int kd_eval_ppl(int argc, char **argv) {
    options o = {.words = KD_EVAL_DEFAULTS, .source.part = "valid"};
    const kd_option option[] = {
        {"--text", KD_LIST, &o.source.text, "FILE", "texts: plain files whole, JSON lines each by its key text, or by input_ids; may be "
                                                    "given several times"},
        {"--pack", KD_TEXT, &o.source.pack, "DIR", "or the windows of a pack: each document alone, behind anchor or BOS"},
        {"--part", KD_TEXT, &o.source.part, "NAME", "of the pack: train or valid"},
        {"--lengths", KD_TEXT, &o.lengths, "LIST", "windows of several lengths in a row, as in 2K,4K,8K; --length alone unless given"},
        {"--stride", KD_INTEGER, &o.ppl.stride, "N", "tokens from a window to the next; 256 unless given, or a whole window where that is "
                                                     "less"},
        {"--truncate", KD_FLAG, &o.ppl.truncate, NULL, "the first window of each text alone"},
        {"--rolling", KD_FLAG, &o.rolling, NULL, "windows that do not overlap, and perplexity by words and bytes, as lm-evaluation-harness "
                                                 "has them"},
        {"--min-tokens", KD_INTEGER, &o.source.least, "N", "shorter texts are left out"},
        {"--documents", KD_INTEGER, &o.source.most, "N", "the first N of those that are left (of a pack: windows); all unless given"},
        KD_EVAL_OPTIONS(o.words),
    };
    const kd_usage usage = {"eval ppl", "--model DIR --text FILE [options]",
                            "Perplexity of texts: windows of --length tokens slide over each, as YaRN's script has them, every token is "
                            "scored once, and its loss is also told by how many tokens are seen before it. Two figures: e to the mean over "
                            "tokens, and over windows. Of a pack, each document of its windows is read alone, and what was a target is "
                            "scored.",
                            "  kedge eval ppl --model m --text pg19.jsonl --length 32K --documents 50 --out results/pg19\n"
                            "  kedge eval ppl --model m --text pile.jsonl --min-tokens 128K --truncate --lengths 2K,32K,128K\n"
                            "  kedge eval ppl --model m --text wikitext.jsonl --rolling --length 4K\n"
                            "  kedge eval ppl --model runs/a/step-2000 --pack pack --part valid\n",
                            option, sizeof option / sizeof *option};
    kd_subject_options subject;
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&subject, &o);
    if (!status) status = run(&o, &subject);
    return kd_exit_code(status);
}

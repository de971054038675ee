/* kedge eval retention */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/number.h"
#include "eval/hellaswag.h"
#include "retention_source.h"
#include "retention_tell.h"
#include "train/report.h"

enum { SHORT = 4096, SHOTS = 5, DOCUMENTS = 100 };

typedef struct options {
    kd_eval_words words;
    kd_retention_source source;
    const char *run, *base, *hellaswag, *mmlu, *loss_words, *points_words;
    int64_t length, hellaswag_limit, mmlu_limit, shots, last;
    double most_loss, most_points;
} options;

/* All that is asked, and what has been heard so far. */
typedef struct guard {
    const options *o;
    kd_subject_options subject;          /* but for the model */
    kd_run_file run;
    kd_run_step *step;
    int64_t steps;
    const char *base;                    /* NULL: the run began from random weights */
    char *out;
    kd_retention_items items;
    uint64_t texts_hash, tokenizer_hash, hellaswag_hash, mmlu_hash;
    json_t *base_json, *settings;        /* of the base; of the whole, by the last model */
    kd_retention_answers base_answers;
    kd_retained base_scores, *after;     /* [steps] */
} guard;

/* ---- what is asked --------------------------------------------------------------------------------------------------------- */

static kd_status read_hellaswag(guard *g) {
    kd_hellaswag set, none = {0};
    KD_TRY(kd_hellaswag_open(&set, g->o->hellaswag));
    g->hellaswag_hash = set.hash;
    kd_status status = kd_hellaswag_ask(&g->items.hellaswag, &set, &none, 0, 0, g->o->hellaswag_limit);
    kd_hellaswag_close(&set);
    return status;
}

static kd_status read_mmlu(guard *g) {
    kd_mmlu set = {0}, dev = {0};
    kd_mmlu_descriptions descriptions = {{NULL}, 0};
    kd_status status;
    KD_GO(kd_mmlu_open(&set, g->o->mmlu, "test", NULL, 0));
    if (g->o->shots) KD_GO(kd_mmlu_open(&dev, g->o->mmlu, "dev", NULL, 0));
    KD_GO(kd_mmlu_descriptions_open(&descriptions, NULL, &set));
    g->mmlu_hash = set.hash * 31 + dev.hash + descriptions.hash;
    status = kd_mmlu_ask(&g->items.mmlu, &set, &dev, &descriptions, g->o->shots, g->o->mmlu_limit);
done:
    kd_mmlu_descriptions_close(&descriptions);
    kd_mmlu_close(&dev);
    kd_mmlu_close(&set);
    return status;
}

static kd_status find_base(guard *g) {
    g->base = g->o->base ? g->o->base : g->run.model_path;
    if (g->base && !kd_is_folder(g->base))
        return kd_fail(KD_ECONFIG, "retention: %s %s: no such folder%s", g->o->base ? "--base" : "model.path", g->base,
                       g->o->base ? "" : ": where is the model that the run began with? --base DIR");
    if (g->base) return KD_OK;
    if (g->o->loss_words || g->o->points_words)
        return kd_fail(KD_ECONFIG, "retention: --most-%s: the run began from random weights: lost in comparison with which model? "
                       "--base DIR", g->o->loss_words ? "loss" : "points");
    kd_info("the run began from random weights: there is no base, and no change is told; --base DIR names a model to compare with");
    return KD_OK;
}

/* A short context is what the model was made for before; questions are never cut shorter than that. */
static kd_status choose_length(guard *g) {
    const char *of = g->base ? g->base : g->step[0].folder;
    kd_config config;
    KD_TRY(kd_config_open(&config, of));
    int64_t declared = config.rope.max_positions;
    if (config.sliding_window && config.sliding_window < declared) declared = config.sliding_window;
    kd_config_close(&config);
    int64_t most = declared < SHORT ? declared : SHORT;
    g->items.length = g->o->length ? g->o->length : most;
    g->subject.length = g->items.length > most ? g->items.length : most;
    if (!g->o->length) kd_info("short context: %lld tokens: %s declares %lld", (long long)most, of, (long long)declared);
    else if (g->o->length > declared) kd_warn("--length %lld: %s declares %lld tokens", (long long)g->o->length, of, (long long)declared);
    return KD_OK;
}

/* Once for all models of one tokenizer; of another, the ids must be the same. */
static kd_status read_texts(guard *g, const kd_subject *subject) {
    kd_retention_items again = {.length = g->items.length};
    uint64_t hash;
    if (g->items.texts.count && g->tokenizer_hash == subject->tokenizer.hash) return KD_OK;
    if (!g->items.texts.count) {
        g->tokenizer_hash = subject->tokenizer.hash;
        return kd_retention_texts(&g->items, &g->texts_hash, &g->o->source, &subject->tokenizer, subject->ctx->pool);
    }
    kd_status status = kd_retention_texts(&again, &hash, &g->o->source, &subject->tokenizer, subject->ctx->pool);
    if (!status && hash != g->texts_hash)
        status = kd_fail(KD_ECONFIG, "retention: %s reads the texts as other tokens than the model before it: one tokenizer for all, "
                         "--tokenizer DIR", subject->options.model);
    kd_retention_items_free(&again);
    return status;
}

/* ---- settings -------------------------------------------------------------------------------------------------------------- */

static bool set(json_t *object, const char *key, json_t *value) { return value && !json_object_set_new(object, key, value); }

/* NULL when memory is out. */
static json_t *asked_json(const guard *g) {
    const options *o = g->o;
    json_t *out = json_pack("{s:I, s:s, s:o, s:I}", "length", (json_int_t)g->items.length, "texts", kd_retention_name(&o->source),
                            "texts_hash", kd_json_of_hash(g->texts_hash), "documents", (json_int_t)o->source.documents);
    bool whole = out;
    if (whole && o->hellaswag)
        whole = set(out, "hellaswag", json_pack("{s:s, s:o, s:I}", "data", kd_name_of_path(o->hellaswag), "data_hash",
                                                kd_json_of_hash(g->hellaswag_hash), "limit", (json_int_t)o->hellaswag_limit));
    if (whole && o->mmlu)
        whole = set(out, "mmlu", json_pack("{s:s, s:o, s:I, s:I}", "data", kd_name_of_path(o->mmlu), "data_hash",
                                           kd_json_of_hash(g->mmlu_hash), "shots", (json_int_t)o->shots, "limit",
                                           (json_int_t)o->mmlu_limit));
    if (whole) return out;
    json_decref(out);
    return NULL;
}

static kd_status settle(guard *g, const kd_subject *subject) {
    json_t *own = asked_json(g);
    if (own && g->base_json && json_object_set(own, "base", g->base_json)) {
        json_decref(own);
        own = NULL;
    }
    return kd_run_settings(&g->settings, "retention", g->o->run, g->o->last, subject, own);
}

/* ---- a model ---------------------------------------------------------------------------------------------------------------- */

static kd_status score(kd_retained *out, const guard *g, const kd_retention_answers *answers, bool changed) {
    for (int m = 0; m < KD_RETENTION_MEASURES; m++) {
        out->change[m] = (kd_mean){NAN, NAN, 0};
        if (!kd_retention_count(&g->items, m)) continue;
        KD_TRY(kd_retention_mean(&out->score[m], m, answers, NULL, &g->items));
        if (changed) KD_TRY(kd_retention_mean(&out->change[m], m, answers, &g->base_answers, &g->items));
    }
    return KD_OK;
}

/* Asked in OUT/name; answers stay open, to be freed in any case. */
static kd_status ask(guard *g, kd_retention_answers *answers, kd_retained *out, const char *model, const char *name, bool is_base) {
    kd_subject_options asked = g->subject;
    kd_subject subject = {0};
    kd_results *results = NULL;
    json_t *settings = NULL;
    char *folder = kd_path_join(g->out, name), about[160];
    bool has = true;
    double started = kd_now();
    kd_status status;
    if (!folder) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    asked.model = model;
    if (!asked.tokenizer) KD_GO(kd_holds(&has, model, "tokenizer.json"));
    if (!has) asked.tokenizer = g->run.tokenizer;
    KD_GO(kd_subject_open(&subject, &asked));
    KD_GO(read_texts(g, &subject));
    KD_GO(kd_eval_settings(&settings, "retention", &subject, asked_json(g)));
    KD_GO(kd_results_open(&results, folder, settings));
    KD_GO(kd_retention_ask(results, &subject, &g->items));
    KD_GO(kd_retention_read(answers, results, &g->items));
    KD_GO(score(out, g, answers, !is_base && g->base));
    if (answers->cut)
        kd_warn("%lld questions were longer than %lld tokens and lost their beginning", (long long)answers->cut,
                (long long)g->subject.length);
    if (is_base) KD_GO(kd_subject_json(&g->base_json, &subject));
    else if (model == g->step[g->steps - 1].folder) KD_GO(settle(g, &subject));
    snprintf(about, sizeof about, "One of the models that the folder above compares: %s of %.60s.", name, kd_name_of_path(g->o->run));
    status = kd_retention_tell_one(results, about, out, &g->items, kd_now() - started);
done:
    kd_results_close(results);
    json_decref(settings);
    kd_subject_close(&subject);
    free(folder);
    return status;
}

static kd_status ask_all(guard *g) {
    kd_retention_answers answers = {.size = NULL};
    kd_status status = KD_OK;
    if (g->base) {
        kd_info("the base, %s", g->base);
        KD_TRY(ask(g, &g->base_answers, &g->base_scores, g->base, "base", true));
    }
    KD_TRY(kd_new(&g->after, g->steps, sizeof *g->after));
    for (int64_t i = 0; i < g->steps && !status; i++) {
        char name[32];
        snprintf(name, sizeof name, "step-%lld", (long long)g->step[i].step);
        kd_info("step %lld, %lld of %lld", (long long)g->step[i].step, (long long)i + 1, (long long)g->steps);
        status = ask(g, &answers, &g->after[i], g->step[i].folder, name, false);
        kd_retention_answers_free(&answers);
    }
    return status;
}

/* ---- all of it --------------------------------------------------------------------------------------------------------------- */

static void describe(char *out, size_t size, const guard *g) {
    snprintf(out, size, "What %lld %s of %.80s kept%s%.120s. Loss: of the first %lld tokens of %lld documents, but for the very first, by "
                        "tokens. %s",
             (long long)g->steps, g->steps == 1 ? "checkpoint" : "checkpoints", kd_name_of_path(g->o->run), g->base ? " of " : "",
             g->base ? kd_name_of_path(g->base) : "", (long long)g->items.length, (long long)g->items.texts.count,
             g->base ? "A change is that of the same items; its error is that of the paired difference." : "");
}

static kd_status tell(guard *g, double seconds) {
    const options *o = g->o;
    kd_results *results = NULL;
    kd_text lost = {0};
    char about[600], *metrics = kd_path_join(o->run, "metrics.jsonl");
    const kd_retention_told told = {&g->items, g->step, g->base ? &g->base_scores : NULL, g->after, g->steps, o->most_loss,
                                    o->most_points, seconds};
    kd_status status;
    if (!metrics) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    describe(about, sizeof about, g);
    KD_GO(kd_results_open(&results, g->out, g->settings));
    KD_GO(kd_retention_tell(results, about, &told, o->words.json));
    if (!o->words.out && kd_exists(metrics)) KD_GO(kd_report_write(o->run, NULL));
    KD_GO(kd_retention_verdict(&lost, &told));
    if (lost.size) status = kd_fail(KD_ENUMERIC, "%s", lost.data);
done:
    kd_results_close(results);
    kd_text_free(&lost);
    free(metrics);
    return status;
}

static kd_status run(options *o) {
    guard g = {.o = o};
    char *path = kd_path_join(o->run, "run.yaml");
    double started = kd_now();
    kd_status status;
    g.out = o->words.out ? strdup(o->words.out) : kd_path_join(o->run, "retention");
    if (!path || !g.out) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    if (!kd_exists(path)) KD_GO(kd_fail(KD_ECONFIG, "retention: --checkpoints %s: no run.yaml in it", o->run));
    KD_GO(kd_run_file_open(&g.run, path, NULL, 0));
    KD_GO(kd_run_steps_find(&g.step, &g.steps, "retention", o->run, o->last));
    o->words.subject.model = g.step[0].folder;
    KD_GO(kd_subject_options_read(&g.subject, &o->words.subject, "retention"));
    o->source.run = &g.run;
    KD_GO(find_base(&g));
    KD_GO(choose_length(&g));
    if (o->hellaswag) KD_GO(read_hellaswag(&g));
    if (o->mmlu) KD_GO(read_mmlu(&g));
    KD_GO(ask_all(&g));
    status = tell(&g, kd_now() - started);
done:
    kd_retention_items_free(&g.items);
    kd_retention_answers_free(&g.base_answers);
    free(g.after);
    json_decref(g.base_json);
    json_decref(g.settings);
    kd_run_steps_free(g.step, g.steps);
    kd_run_file_close(&g.run);
    free(g.out);
    free(path);
    return status;
}

/* ---- the command -------------------------------------------------------------------------------------------------------------- */

static kd_status read_most(double *out, const char *option, const char *text) {
    char *end;
    *out = NAN;
    if (!text) return KD_OK;
    *out = kd_number_parse(text, &end);
    if (end != text && !*end && isfinite(*out) && *out >= 0) return KD_OK;
    return kd_fail(KD_ECONFIG, "retention: %s %s: a number, 0 or more", option, text);
}

static kd_status check(options *o) {
    KD_TRY(read_most(&o->most_loss, "--most-loss", o->loss_words));
    KD_TRY(read_most(&o->most_points, "--most-points", o->points_words));
    if (!o->run) return kd_fail(KD_ECONFIG, "retention: which run? --checkpoints RUN");
    if (o->source.text.count && o->source.pack) return kd_fail(KD_ECONFIG, "retention: --text or --pack, not both");
    if (o->length && o->length < 3) return kd_fail(KD_ECONFIG, "retention: --length %lld: 3 or more", (long long)o->length);
    if (o->source.documents < 0 || o->hellaswag_limit < 0 || o->mmlu_limit < 0 || o->last < 0)
        return kd_fail(KD_ECONFIG, "retention: --documents, --hellaswag-limit, --mmlu-limit and --last are 0 or more");
    if ((o->hellaswag_limit && !o->hellaswag) || (o->mmlu_limit && !o->mmlu))
        return kd_fail(KD_ECONFIG, "retention: --%s-limit: of which %s? --%s", o->mmlu_limit && !o->mmlu ? "mmlu" : "hellaswag",
                       o->mmlu_limit && !o->mmlu ? "questions" : "items", o->mmlu_limit && !o->mmlu ? "mmlu DIR" : "hellaswag FILE");
    if (o->points_words && !o->hellaswag && !o->mmlu)
        return kd_fail(KD_ECONFIG, "retention: --most-points: of which questions? --hellaswag FILE or --mmlu DIR");
    bool folder = o->mmlu && kd_is_folder(o->mmlu);
    if (o->shots < 0) o->shots = folder ? SHOTS : 0;
    if (o->shots > 100 || (o->shots && !folder))
        return kd_fail(KD_ECONFIG, "retention: --mmlu-shots %lld: 0 to 100, out of the folder that --mmlu names", (long long)o->shots);
    return KD_OK;
}

int kd_eval_retention(int argc, char **argv) {
    options o = {.words = KD_EVAL_DEFAULTS, .source.documents = DOCUMENTS, .shots = -1};
    const kd_option option[] = {
        {"--checkpoints", KD_TEXT, &o.run, "RUN", "every export of a run, or checkpoint where it has none"},
        {"--last", KD_INTEGER, &o.last, "N", "of them the last N alone"},
        {"--base", KD_TEXT, &o.base, "DIR", "the model they are compared with; the one that the run began with (model.path) unless given"},
        {"--text", KD_LIST, &o.source.text, "FILE", "documents: plain files, JSON lines, as data.train takes them; may be given several "
                                                    "times; the run's data.valid unless given"},
        {"--pack", KD_TEXT, &o.source.pack, "DIR", "or the validation documents of a pack"},
        {"--documents", KD_INTEGER, &o.source.documents, "N", "that are read, evenly over all there are; 0: all"},
        {"--length", KD_INTEGER, &o.length, "N", "tokens of a document that are read; 4K unless given, or what the base declares where "
                                                 "that is less"},
        {"--hellaswag", KD_TEXT, &o.hellaswag, "FILE", "hellaswag_val.jsonl, to be asked too"},
        {"--hellaswag-limit", KD_INTEGER, &o.hellaswag_limit, "N", "the first N items alone"},
        {"--mmlu", KD_TEXT, &o.mmlu, "DIR", "MMLU's folder, or a file of JSON lines, to be asked too"},
        {"--mmlu-limit", KD_INTEGER, &o.mmlu_limit, "N", "the first N questions of each subject alone"},
        {"--mmlu-shots", KD_INTEGER, &o.shots, "N", "solved questions before each; of a folder 5 unless given"},
        {"--most-loss", KD_TEXT, &o.loss_words, "X", "exit code 1 if the last lost more: nats per token of short-context loss"},
        {"--most-points", KD_TEXT, &o.points_words, "X", "the same of HellaSwag and MMLU, in points of percent"},
        {"--out", KD_TEXT, &o.words.out, "DIR", "answers and results, gone on with; RUN/retention unless given, which kedge report "
                                                  "shows"},
        {"--json", KD_FLAG, &o.words.json, NULL, "one JSON object on stdout, instead of tables"},
        KD_SUBJECT_MANNERS(o.words.subject),
    };
    const kd_usage usage = {"eval retention", "--checkpoints RUN [options]",
                            "What a run that trains for long contexts keeps of short ones: the model that it began with and every export "
                            "read the beginnings of the same documents and, where files are given, answer the same questions of "
                            "HellaSwag and MMLU. Told are scores, and changes with the error of the paired difference. With --most-loss "
                            "and --most-points the exit code says whether the last export lost more than it may.",
                            "  kedge eval retention --checkpoints runs/anchor-64k\n"
                            "  kedge eval retention --checkpoints runs/anchor-64k --hellaswag val.jsonl --hellaswag-limit 1000\n"
                            "  kedge eval retention --checkpoints runs/anchor-64k --last 1 --most-loss 0.02\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&o);
    if (!status) status = run(&o);
    return kd_exit_code(status);
}

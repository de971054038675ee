/* kedge eval longbench */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "eval.h"
#include "eval/longbench_ask.h"
#include "longbench_tell.h"

typedef struct options {
    kd_eval_words words;
    kd_list datasets;
    const char *data, *config, *score;
    int64_t most;
    bool e;
} options;

/* The data sets that are asked: files, and what they hash to. */
typedef struct chosen { const kd_longbench_task *task; char *path; uint64_t hash; } chosen;
typedef struct choice { chosen one[KD_LB_TASKS]; int64_t count; } choice;

static kd_status no_memory(void) { return kd_fail(KD_ENOMEM, "out of memory"); }

/* ---- which ------------------------------------------------------------------------------------------------------------------ */

static void free_choice(choice *c) {
    for (int64_t i = 0; i < c->count; i++) free(c->one[i].path);
}

/* data/SET.jsonl under the folder, or SET.jsonl in it; named: it must be there. */
static kd_status add(choice *c, const options *o, const kd_longbench_task *task, bool named) {
    kd_text path = {0};
    for (int i = 0; i < 2; i++) {
        path.size = 0;
        kd_text_print(&path, "%s/%s%s%s.jsonl", o->data, i ? "" : "data/", task->name, o->e ? "_e" : "");
        if (kd_text_status(&path)) break;
        if (!kd_exists(path.data)) continue;
        chosen *one = &c->one[c->count++];
        *one = (chosen){task, path.data, 0};
        int64_t size;
        return kd_file_hash(&one->hash, &size, one->path);
    }
    kd_status status = kd_text_status(&path);
    if (!status && named) status = kd_fail(KD_EIO, "%s: no such file, nor in data", path.data);
    kd_text_free(&path);
    return status;
}

static kd_status choose(choice *c, const options *o) {
    for (int64_t i = 0; i < o->datasets.count; i++) {
        const kd_longbench_task *task;
        kd_status status = kd_longbench_find(&task, o->datasets.text[i]);
        if (status) return kd_fail_prefix(status, "longbench: --dataset");
        if (o->e && !task->e) return kd_fail(KD_ECONFIG, "longbench: --dataset %s: LongBench-E has no such set", task->name);
        for (int64_t k = 0; k < c->count; k++)
            if (c->one[k].task == task) return kd_fail(KD_ECONFIG, "longbench: --dataset %s: twice", task->name);
        KD_TRY(add(c, o, task, true));
    }
    for (int i = 0; i < KD_LB_TASKS && !o->datasets.count; i++)
        if (!kd_longbench_tasks[i].chinese && (!o->e || kd_longbench_tasks[i].e)) KD_TRY(add(c, o, &kd_longbench_tasks[i], false));
    return c->count ? KD_OK : kd_fail(KD_EIO, "%s: no data set of LongBench%s in it: data/qasper%s.jsonl and so on", o->data,
                                      o->e ? "-E" : "", o->e ? "_e" : "");
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------- */

static kd_status settings_of(json_t **out, const kd_subject *subject, const choice *c, const kd_longbench_prompts *prompts,
                             const options *o) {
    json_t *sets = json_object();
    for (int64_t i = 0; i < c->count; i++) json_object_set_new(sets, c->one[i].task->name, kd_json_of_hash(c->one[i].hash));
    json_t *own = json_object_size(sets) == (size_t)c->count
                      ? json_pack("{s:o, s:b, s:s, s:o, s:I, s:I}", "datasets", sets, "e", o->e, "prompts",
                                  o->config ? "LongBench's" : "own wording", "prompts_hash", kd_json_of_hash(prompts->hash),
                                  "max_prompt", (json_int_t)o->most, "limit", (json_int_t)o->words.limit)
                      : NULL;
    return kd_eval_settings(out, "longbench", subject, own);
}

static kd_status run_one(kd_longbench_told *told, kd_results *results, kd_subject *subject, const chosen *one,
                         const kd_longbench_prompts *prompts, const options *o) {
    kd_longbench_set set;
    kd_predictions predictions = {0};
    kd_longbench_asking asking = {.task = one->task, .set = &set};
    kd_status status;
    KD_TRY(kd_longbench_open(&set, one->path, o->words.limit));
    KD_GO(kd_longbench_prompt_of(&asking.prompt, &asking.tokens, prompts, one->task));
    asking.most = o->most ? o->most : kd_longbench_most(subject->options.length, asking.tokens);
    if (asking.most < 1)
        KD_GO(kd_fail(KD_ECONFIG, "%s: an answer of %lld tokens leaves no room for a prompt in %lld", one->task->name,
                      (long long)asking.tokens,
                      (long long)subject->options.length));
    KD_GO(kd_longbench_ask(results, subject, &asking));
    KD_GO(kd_longbench_answers(&predictions, results, &asking));
    KD_GO(kd_longbench_tell_set(told, one->task, predictions.prediction, predictions.count));
    if (o->words.out)
        status = kd_longbench_write(told, o->words.out, subject->options.model, one->task, predictions.prediction, predictions.count);
done:
    kd_predictions_close(&predictions);
    kd_longbench_close(&set);
    return status;
}

static kd_status run(const options *o, const kd_subject_options *subject_options) {
    choice c = {.count = 0};
    kd_longbench_prompts prompts = {0};
    kd_longbench_told told = {.e = o->e};
    kd_subject subject = {0};
    kd_results *results = NULL;
    json_t *settings = NULL;
    double started = kd_now();
    kd_status status;
    KD_GO(choose(&c, o));
    KD_GO(kd_longbench_prompts_open(&prompts, o->config));
    KD_GO(kd_subject_open(&subject, subject_options));
    KD_GO(settings_of(&settings, &subject, &c, &prompts, o));
    KD_GO(kd_results_open(&results, o->words.out, settings));
    for (int64_t i = 0; i < c.count; i++) {
        kd_info("%s, %lld of %lld", c.one[i].task->name, (long long)i + 1, (long long)c.count);
        KD_GO(run_one(&told, results, &subject, &c.one[i], &prompts, o));
    }
    status = kd_longbench_tell(&told, results, kd_now() - started, o->words.json);
done:
    kd_longbench_told_free(&told);
    kd_results_close(results);
    json_decref(settings);
    kd_subject_close(&subject);
    kd_longbench_prompts_close(&prompts);
    free_choice(&c);
    return status;
}

/* ---- predictions of others -------------------------------------------------------------------------------------------------- */

static kd_status score_file(kd_longbench_told *told, json_t *sets, const char *folder, const char *file) {
    char name[64];
    const kd_longbench_task *task;
    kd_predictions predictions = {0};
    size_t size = strlen(file) - strlen(".jsonl");
    snprintf(name, sizeof name, "%.*s", (int)(size < sizeof name ? size : sizeof name - 1), file);
    kd_status status = kd_longbench_find(&task, name);
    if (status == KD_ENOTSUP) {
        kd_warn("%s: not scored", kd_message());
        return KD_OK;
    }
    if (status) return kd_fail_prefix(status, "%s", folder);
    char *path = kd_path_join(folder, file);
    status = path ? kd_predictions_open(&predictions, path) : no_memory();
    if (!status && !predictions.count) status = kd_fail(KD_EFORMAT, "%s: no predictions in it", path);
    if (!status) status = kd_longbench_tell_set(told, task, predictions.prediction, predictions.count);
    if (!status && json_object_set_new(sets, name, kd_json_of_hash(predictions.hash))) status = no_memory();
    kd_predictions_close(&predictions);
    free(path);
    return status;
}

static kd_status score(const options *o) {
    kd_paths names = {0};
    kd_longbench_told told = {.e = o->e};
    kd_results *results = NULL;
    json_t *settings = NULL, *sets = json_object();
    double started = kd_now();
    kd_status status;
    if (!sets) KD_GO(no_memory());
    KD_GO(kd_list_folder(&names, o->score));
    for (int64_t i = 0; i < names.count; i++) {
        size_t size = strlen(names.path[i]);
        if (size > 6 && !strcmp(names.path[i] + size - 6, ".jsonl")) KD_GO(score_file(&told, sets, o->score, names.path[i]));
    }
    if (!json_object_size(sets))
        KD_GO(kd_fail(KD_EIO, "%s: no predictions in it: qasper.jsonl and so on, a line each with pred and answers", o->score));
    KD_GO(kd_eval_settings(&settings, "longbench", NULL, json_pack("{s:s, s:O, s:b}", "predictions", kd_name_of_path(o->score), "datasets",
                                                                   sets, "e", o->e)));
    KD_GO(kd_results_open(&results, o->words.out, settings));
    status = kd_longbench_tell(&told, results, kd_now() - started, o->words.json);
done:
    kd_longbench_told_free(&told);
    kd_results_close(results);
    json_decref(settings);
    json_decref(sets);
    kd_paths_free(&names);
    return status;
}

/* ---- the command ------------------------------------------------------------------------------------------------------------ */

static kd_status check(const options *o) {
    if (o->score && (o->data || o->words.subject.model))
        return kd_fail(KD_ECONFIG, "longbench: --score DIR takes neither --data nor --model: nobody is asked");
    if (!o->score && !o->data) return kd_fail(KD_ECONFIG, "longbench: which questions? --data DIR with data/qasper.jsonl and so on");
    if (o->words.limit < 0 || o->most < 0) return kd_fail(KD_ECONFIG, "longbench: --limit and --max-prompt are 0 or more");
    return KD_OK;
}

int kd_eval_longbench(int argc, char **argv) {
    options o = {.words = KD_EVAL_DEFAULTS};
    const kd_option option[] = {
        {"--data", KD_TEXT, &o.data, "DIR", "the unpacked data: SET.jsonl in it or in its folder data"},
        {"--dataset", KD_LIST, &o.datasets, "SET", "this one alone; may be given several times. All English ones that are there unless "
                                                   "given"},
        {"--e", KD_FLAG, &o.e, NULL, "LongBench-E: SET_e.jsonl, and scores by length"},
        {"--config", KD_TEXT, &o.config, "DIR", "a checkout of LongBench, whose dataset2prompt.json and dataset2maxlen.json count; our own "
                                                "wording unless given"},
        {"--max-prompt", KD_INTEGER, &o.most, "N", "tokens of a prompt: of a longer one the middle is left out; 3500 of a model of 4K, "
                                                   "31500 of 32K and so on unless given"},
        {"--limit", KD_INTEGER, &o.words.limit, "N", "the first N questions of each set alone"},
        {"--score", KD_TEXT, &o.score, "DIR", "instead: scores predictions that are there, pred/MODEL with a SET.jsonl each, whoever made "
                                              "them"},
        KD_EVAL_OPTIONS(o.words),
    };
    const kd_usage usage = {"eval longbench", "--model DIR --data DIR [options]",
                            "LongBench, version 1: answers are generated greedily, prompts are cut in the middle, and scores computed as "
                            "its programs do. With --out, predictions are also written as pred/MODEL/SET.jsonl, which its eval.py takes. "
                            "Sets in Chinese whose scores need a dictionary (multifieldqa_zh, dureader, vcsum) are refused.",
                            "  kedge eval longbench --model m --data LongBench --config LongBench --out results/longbench\n"
                            "  kedge eval longbench --model runs/a/step-2000 --data LongBench --dataset trec --dataset samsum\n"
                            "  kedge eval longbench --score LongBench/pred/llama2-7b-chat-4k\n",
                            option, sizeof option / sizeof *option};
    kd_subject_options subject;
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&o);
    if (!status && o.score) return kd_exit_code(score(&o));
    if (!status) status = kd_subject_options_read(&subject, &o.words.subject, "longbench");
    if (!status) status = run(&o, &subject);
    return kd_exit_code(status);
}

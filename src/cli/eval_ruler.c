/* kedge eval ruler */
#include "eval_ruler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "text_source.h"

enum { SPARE = 256, LLAMA2_VOCABULARY = 32000, PAPER_4K = 4000, PAPER_EXPORTS = 5 };

/* ---- a grid of what is asked ------------------------------------------------------------------------------------------------ */

kd_status kd_ruler_opened_open(kd_ruler_opened *o, const kd_ruler_asked *a, const kd_tokenizer *tokenizer) {
    *o = (kd_ruler_opened){.grid.open = -1};
    if (a->data) return kd_ruler_grid_read(&o->grid, a->data, a->length, a->lengths, a->place, a->tasks, a->samples, a->all);
    const kd_ruler_options options = {tokenizer, a->essay, a->essay_size, a->squad, a->hotpot, a->templates, a->chat,
                                      a->length[a->lengths - 1], (uint64_t)a->seed};
    KD_TRY(kd_ruler_source_open(&o->source, &options, a->place, a->tasks));
    return kd_ruler_grid_make(&o->grid, &o->source, a->length, a->lengths, a->place, a->tasks, a->samples);
}

void kd_ruler_opened_close(kd_ruler_opened *o) {
    kd_ruler_grid_close(&o->grid);
    kd_ruler_source_close(&o->source);
}

static bool set(json_t *object, const char *key, json_t *value) { return value && !json_object_set_new(object, key, value); }

static bool set_made(json_t *out, const kd_ruler_asked *a, const kd_ruler_opened *o) {
    bool whole = set(out, "seed", json_integer(a->seed)) && set(out, "wording", json_string(a->templates ? "templates" : "kedge")) &&
                 set(out, "wording_hash", kd_json_of_hash(o->source.wording.hash));
    if (a->templates) whole &= set(out, "chat", json_string(a->chat ? a->chat : "base"));
    if (a->essay) whole &= set(out, "essays_hash", kd_json_of_hash(kd_hash(a->essay, a->essay_size)));
    for (int i = 0; i < 2; i++)
        if (o->source.questions[i].hash) whole &= set(out, i ? "hotpot_hash" : "squad_hash", kd_json_of_hash(o->source.questions[i].hash));
    return whole;
}

json_t *kd_ruler_settings(const kd_ruler_asked *a, const kd_ruler_opened *o) {
    const kd_ruler_grid *g = &o->grid;
    json_t *out = json_object(), *lengths = json_array(), *tasks = json_array(), *files = json_object();
    bool whole = out && lengths && tasks && files;
    for (int64_t i = 0; i < g->lengths && whole; i++) whole = !json_array_append_new(lengths, json_integer(g->length[i]));
    for (int64_t i = 0; i < g->tasks && whole; i++) whole = !json_array_append_new(tasks, json_string(kd_ruler_tasks[g->place[i]].name));
    for (int64_t i = 0; i < g->lengths * g->tasks && whole && a->data; i++) {
        char name[64];
        snprintf(name, sizeof name, "%lld/%s", (long long)g->cell[i].length, g->cell[i].task->name);
        whole = set(files, name, kd_json_of_hash(g->cell[i].hash));
    }
    whole = whole && !json_object_set(out, "lengths", lengths) && !json_object_set(out, "tasks", tasks) &&
        set(out, "samples", json_integer(a->samples));
    if (whole && a->preset) whole = set(out, "preset", json_string(a->preset));
    if (whole && a->data) whole = set(out, "data", json_string(kd_name_of_path(a->data))) && !json_object_set(out, "data_hash", files);
    else if (whole) whole = set_made(out, a, o);
    json_decref(lengths);
    json_decref(tasks);
    json_decref(files);
    if (whole) return out;
    json_decref(out);
    return NULL;
}

/* ---- a model ------------------------------------------------------------------------------------------------------------------ */

kd_status kd_ruler_session_run(kd_ruler_session *s, const kd_ruler_asked *a, const kd_subject_options *options, const char *folder) {
    kd_subject_options longer = *options;
    double started = kd_now();
    *s = (kd_ruler_session){.opened.grid.open = -1};
    if (a->data) KD_TRY(kd_ruler_opened_open(&s->opened, a, NULL));  /* what is wrong with files is told at once */
    if (!longer.length) longer.length = a->length[a->lengths - 1] + SPARE;  /* BOS and the like are not counted */
    KD_TRY(kd_subject_open(&s->subject, &longer));
    if (!a->data) KD_TRY(kd_ruler_opened_open(&s->opened, a, &s->subject.tokenizer));
    KD_TRY(kd_eval_settings(&s->settings, "ruler", &s->subject, kd_ruler_settings(a, &s->opened)));
    KD_TRY(kd_results_open(&s->results, folder, s->settings));
    KD_TRY(kd_ruler_grid_ask(&s->opened.grid, s->results, &s->subject));
    if (folder) KD_TRY(kd_ruler_grid_predict(&s->opened.grid, s->results, folder));
    s->seconds = kd_now() - started;
    return KD_OK;
}

void kd_ruler_session_close(kd_ruler_session *s) {
    kd_results_close(s->results);
    json_decref(s->settings);
    kd_ruler_opened_close(&s->opened);
    kd_subject_close(&s->subject);
}

kd_status kd_ruler_session_tell(kd_ruler_session *s, const kd_ruler_asked *a, const kd_ruler_scores *scores, bool one_of_many) {
    kd_ruler_tables tables = {0};
    kd_ruler_examples examples = {0};
    const kd_ruler_grid *g = &s->opened.grid;
    char about[400];
    kd_status status;
    KD_GO(kd_ruler_tables_open(&tables, g, scores));
    KD_GO(kd_ruler_examples_open(&examples, &s->opened.grid, s->results));
    snprintf(about, sizeof about, "%lld of RULER's tasks at %lld lengths, %s. A score is the share of the wanted texts that an answer has "
                                  "in it; of a question's, one is enough. %s", (long long)g->tasks, (long long)g->lengths,
             a->data ? "its files" : a->templates ? "made with the sentences of a checkout of RULER" : "made, in kedge's own words",
             a->data || a->templates ? "" : "Scores of own words compare with each other, not with published ones.");
    const kd_outcome outcome = {"ruler", "RULER", about, tables.scores, tables.shown, tables.count, &tables.chart, g->lengths > 1,
                                examples.example, examples.count, s->seconds};
    status = one_of_many ? kd_results_finish(s->results, &outcome) : kd_eval_tell(s->results, &outcome, a->words.json);
done:
    kd_ruler_examples_close(&examples);
    kd_ruler_tables_close(&tables);
    return status;
}

static kd_status evaluate(const kd_ruler_asked *a, const kd_subject_options *options) {
    kd_ruler_session session;
    kd_ruler_scores scores = {0};
    kd_status status;
    KD_GO(kd_ruler_session_run(&session, a, options, a->words.out));
    KD_GO(kd_ruler_scores_open(&scores, &session.opened.grid, session.results));
    status = kd_ruler_session_tell(&session, a, &scores, false);
done:
    kd_ruler_scores_close(&scores);
    kd_ruler_session_close(&session);
    return status;
}

/* ---- files alone -------------------------------------------------------------------------------------------------------------- */

static kd_status tell_written(const kd_ruler_asked *a, const kd_ruler_opened *o) {
    const kd_ruler_grid *g = &o->grid;
    if (!a->words.json) {
        for (int64_t l = 0; l < g->lengths; l++)
            printf("%s/%lld/data: %lld tasks, %lld samples each\n", a->write, (long long)g->length[l], (long long)g->tasks,
                   (long long)a->samples);
        return KD_OK;
    }
    json_t *settings = kd_ruler_settings(a, o);
    char *text = NULL;
    kd_status status = settings ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    if (!status && json_object_set_new(settings, "folder", json_string(a->write)))
        status = kd_fail(KD_ENOMEM, "out of memory, or no UTF-8: %s", a->write);
    if (!status) status = kd_json_print(&text, settings, JSON_INDENT(2), "ruler");
    if (!status) printf("%s\n", text);
    free(text);
    json_decref(settings);
    return status;
}

static kd_status write_files(const kd_ruler_asked *a) {
    const kd_subject_words *w = &a->words.subject;
    kd_tokenizer tokenizer;
    kd_ruler_opened opened;
    KD_TRY(kd_tokenizer_open(&tokenizer, w->tokenizer ? w->tokenizer : w->model));
    kd_status status = kd_ruler_opened_open(&opened, a, &tokenizer);
    if (!status) status = kd_ruler_grid_write(&opened.grid, a->write);
    if (!status) status = tell_written(a, &opened);
    kd_ruler_opened_close(&opened);
    kd_tokenizer_close(&tokenizer);
    return status;
}

/* ---- options ------------------------------------------------------------------------------------------------------------------- */

/* All texts of the file, each on lines of its own. */
static kd_status read_essays(kd_ruler_asked *a) {
    kd_text_source source;
    kd_text text = {0};
    kd_given given;
    bool more;
    KD_TRY(kd_text_source_open(&source, &a->essays, 1, false, false));
    kd_status status = kd_text_source_next(&given, &source, &more);
    for (; !status && more; status = kd_text_source_next(&given, &source, &more)) {
        kd_text_add(&text, given.text, given.size);
        kd_text_put(&text, "\n");
    }
    kd_text_source_close(&source);
    if (!status) status = kd_text_status(&text);
    if (!status && !text.size) status = kd_fail(KD_ECONFIG, "ruler: --essays %s: there is no text", a->essays);
    a->essay = text.data;
    a->essay_size = text.size;
    return status;
}

/* What a model declares: its positions, and whether it is one of Llama 2's family, for which the paper leaves tasks out. */
static kd_status read_model(int64_t *positions, bool *llama2, const char *folder) {
    kd_config config;
    KD_TRY(kd_config_open(&config, folder));
    *positions = config.rope.max_positions;
    *llama2 = !strcmp(config.model_type, "llama") && config.V == LLAMA2_VOCABULARY;
    kd_config_close(&config);
    return KD_OK;
}

static kd_status default_lengths(kd_ruler_asked *a, int64_t positions) {
    if (a->data) {
        KD_TRY(kd_ruler_file_lengths(a->length, &a->lengths, KD_RULER_LENGTHS, a->data));
        return a->lengths ? KD_OK : kd_fail(KD_ECONFIG, "ruler: %s has no folders of lengths: of which one is it? --lengths 4K", a->data);
    }
    if (a->write) return kd_fail(KD_ECONFIG, "ruler: --write: of which lengths? --lengths 4K,8K");
    for (int64_t length = 4096; length <= 131072 && length <= positions; length *= 2) a->length[a->lengths++] = length;
    return a->lengths ? KD_OK : kd_fail(KD_ECONFIG, "ruler: the model declares %lld positions: --lengths is needed", (long long)positions);
}

static kd_status read_lengths(kd_ruler_asked *a, int64_t positions) {
    if (!a->length_words) KD_TRY(default_lengths(a, positions));
    else KD_TRY(kd_options_integers(a->length, KD_RULER_LENGTHS, &a->lengths, "ruler", "--lengths", a->length_words));
    for (int64_t i = 0; i < a->lengths; i++) {
        if (a->preset && !a->data && a->length[i] == 4096) a->length[i] = PAPER_4K;
        if (a->length[i] < 1) return kd_fail(KD_ECONFIG, "ruler: --lengths %s: lengths are 1 or more", a->length_words);
        for (int64_t k = i; k > 0 && a->length[k - 1] >= a->length[k]; k--) {  /* ascending */
            int64_t other = a->length[k - 1];
            if (other == a->length[k]) return kd_fail(KD_ECONFIG, "ruler: --lengths: %lld stands twice", (long long)other);
            a->length[k - 1] = a->length[k];
            a->length[k] = other;
        }
    }
    return KD_OK;
}

static kd_status read_tasks(kd_ruler_asked *a, bool llama2) {
    const char *eleven = "niah_single_1,niah_single_2,niah_single_3,niah_multikey_1,niah_multikey_2,niah_multivalue,niah_multiquery,vt,"
                         "fwe,qa_1,qa_2";
    const char *names = a->task_words ? a->task_words : a->preset && llama2 ? eleven : "all";
    kd_status status = kd_ruler_tasks_named(a->place, &a->tasks, names);
    a->all = !strcmp(names, "all");
    return status ? kd_fail_prefix(status, "ruler: --tasks %s", names) : KD_OK;
}

static kd_status check_ways(const kd_ruler_asked *a) {
    const struct { const char *name, *value; } made[] = {{"--essays", a->essays}, {"--squad", a->squad}, {"--hotpot", a->hotpot},
                                                         {"--templates", a->templates}, {"--write", a->write}};
    const kd_subject_words *w = &a->words.subject;
    for (int i = 0; i < 5; i++)
        if (a->data && made[i].value) return kd_fail(KD_ECONFIG, "ruler: %s is for samples that are made, --data has them", made[i].name);
    if (a->chat && !a->templates) return kd_fail(KD_ECONFIG, "ruler: --chat %s: out of which checkout? --templates DIR", a->chat);
    if (a->preset && strcmp(a->preset, "anchorattention"))
        return kd_fail(KD_ECONFIG, "ruler: --preset %s: there is anchorattention", a->preset);
    if (a->samples < 0 || a->seed < 0 || a->last < 0) return kd_fail(KD_ECONFIG, "ruler: --samples, --seed and --last are 0 or more");
    if (a->checkpoints && w->model) return kd_fail(KD_ECONFIG, "ruler: --model and --checkpoints: one of them");
    if (a->checkpoints && a->write) return kd_fail(KD_ECONFIG, "ruler: --write and --checkpoints: one of them");
    if (a->last && !a->checkpoints) return kd_fail(KD_ECONFIG, "ruler: --last %lld: of which run? --checkpoints RUN", (long long)a->last);
    if (a->write && !w->tokenizer && !w->model)
        return kd_fail(KD_ECONFIG, "ruler: --write: which tokenizer? --tokenizer DIR, or --model DIR");
    return KD_OK;
}

static kd_status run(kd_ruler_asked *a) {
    kd_subject_options options = {0};
    kd_run_step *step = NULL;
    int64_t steps = 0, positions = 0;
    bool llama2 = false;
    kd_status status;
    KD_GO(check_ways(a));
    if (!a->data && !a->samples) a->samples = 500;
    if (a->preset && a->checkpoints && !a->last) a->last = PAPER_EXPORTS;
    if (a->checkpoints) {
        KD_GO(kd_run_steps_find(&step, &steps, "ruler", a->checkpoints, a->last));
        a->words.subject.model = step[0].folder;
    }
    if (!a->write) KD_GO(kd_subject_options_read(&options, &a->words.subject, "ruler"));
    if (a->words.subject.model && (a->preset || !a->write)) KD_GO(read_model(&positions, &llama2, a->words.subject.model));
    KD_GO(read_tasks(a, llama2));
    KD_GO(read_lengths(a, positions));
    if (a->essays) KD_GO(read_essays(a));
    if (a->write) status = write_files(a);
    else status = a->checkpoints ? kd_ruler_checkpoints(a, &options, step, steps) : evaluate(a, &options);
done:
    kd_run_steps_free(step, steps);
    free(a->essay);
    return status;
}

int kd_eval_ruler(int argc, char **argv) {
    kd_ruler_asked a = {.words = KD_EVAL_DEFAULTS, .seed = 42};
    const kd_option option[] = {
        {"--lengths", KD_TEXT, &a.length_words, "LIST", "tokens of prompt and answer, as in 4K,8K,128K; what the model declares of 4K to "
                                                        "128K unless given"},
        {"--tasks", KD_TEXT, &a.task_words, "LIST", "all, or some of niah_single_1, _2, _3, niah_multikey_1, _2, _3, niah_multivalue, "
                                                    "niah_multiquery, vt, cwe, fwe, qa_1, qa_2"},
        {"--samples", KD_INTEGER, &a.samples, "N", "of each task at each length; 500 unless given, of files all"},
        {"--seed", KD_INTEGER, &a.seed, "N", "of samples that are made"},
        {"--data", KD_TEXT, &a.data, "DIR", "samples that RULER's generators wrote, of 2024 or later: LENGTH/data/TASK/validation.jsonl"},
        {"--write", KD_TEXT, &a.write, "DIR", "writes samples as such files, and asks nobody: --tokenizer is enough"},
        {"--essays", KD_TEXT, &a.essays, "FILE", "a text, plain or JSON lines, for haystacks, and for the words of cwe"},
        {"--squad", KD_TEXT, &a.squad, "FILE", "SQuAD's dev-v2.0.json, for qa_1"},
        {"--hotpot", KD_TEXT, &a.hotpot, "FILE", "HotpotQA's hotpot_dev_distractor_v1.json, for qa_2"},
        {"--templates", KD_TEXT, &a.templates, "DIR", "a checkout of RULER, for its sentences in the place of kedge's own"},
        {"--chat", KD_TEXT, &a.chat, "NAME", "a wrapper in its template.py; base unless given"},
        {"--checkpoints", KD_TEXT, &a.checkpoints, "RUN", "in the place of --model: every export of a run, or checkpoint where it has "
                                                          "none, and their average"},
        {"--last", KD_INTEGER, &a.last, "N", "of them the last N alone"},
        {"--preset", KD_TEXT, &a.preset, "NAME", "anchorattention: 4K is 4000 tokens, Llama 2 is not asked niah_multikey_3 and cwe, the "
                                                 "last five exports"},
        KD_EVAL_OPTIONS(a.words),
    };
    const kd_usage usage = {"eval ruler", "--model DIR [options]",
                            "RULER: thirteen tasks that are made at any length: needles in haystacks, variables that follow each other, "
                            "words to be counted, questions to one of many documents. Samples are RULER's own files, or made here, in "
                            "kedge's words or in those of a checkout of RULER; scores of kedge's words compare with each other, not with "
                            "published ones. With --out, DIR/LENGTH/pred has what RULER's evaluate.py reads, and the summary that it "
                            "writes.",
                            "  kedge eval ruler --model models/llama-2-7b --lengths 4K --out results/ruler\n"
                            "  kedge eval ruler --model m --data RULER/results/llama/synthetic --out results/official\n"
                            "  kedge eval ruler --checkpoints runs/anchor-64k --preset anchorattention --out results/anchor-64k\n"
                            "  kedge eval ruler --write data --tokenizer models/llama-2-7b --lengths 4K,128K --templates RULER\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    return kd_exit_code(run(&a));
}

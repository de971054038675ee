/* kedge eval mmlu */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "eval.h"
#include "eval/mmlu.h"
#include "format/yaml.h"

enum { EXAMPLES = 5 };

typedef struct options {
    kd_eval_words words;
    kd_list subjects;
    const char *data, *dev, *split, *descriptions;
    int64_t shots;
} options;

/* ---- results ------------------------------------------------------------------------------------------------------------ */

static const kd_table_column group_columns[] = {{"group", -1}, {"acc", 4}, {"stderr", 4}, {"questions", 0}};
static const kd_table_column subject_columns[] = {{"subject", -1}, {"group", -1}, {"acc", 4}, {"stderr", 4}, {"questions", 0}};

static void add_mean(kd_table *table, const char *name, const char *group, kd_mean m) {
    kd_table_words(table, name);
    if (group) kd_table_words(table, group);
    kd_table_number(table, m.mean);
    kd_table_number(table, m.error);
    kd_table_number(table, (double)m.n);
}

static kd_status fill(kd_table *groups, kd_table *subjects, const kd_mmlu_scores *s) {
    add_mean(groups, "all", NULL, s->all);
    for (int g = 0; g < KD_MMLU_GROUPS; g++)
        if (s->group[g].n) add_mean(groups, kd_mmlu_group_names[g], NULL, s->group[g]);
    kd_table_words(groups, "mean of subjects");
    kd_table_number(groups, s->macro);
    kd_table_words(groups, NULL);
    kd_table_number(groups, (double)s->all.n);
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++)
        if (s->subject[i].n) add_mean(subjects, kd_mmlu_subjects[i].name, kd_mmlu_group_names[kd_mmlu_subjects[i].group], s->subject[i]);
    KD_TRY(kd_table_status(groups));
    return kd_table_status(subjects);
}

static kd_status flatten(json_t **out, const kd_mmlu_scores *s, int64_t cut) {
    *out = json_pack("{s:f, s:f, s:f, s:I, s:I, s:I}", "acc", s->all.mean, "acc_stderr", s->all.error, "acc_macro", s->macro, "subjects",
                     (json_int_t)s->subjects, "questions", (json_int_t)s->all.n, "cut", (json_int_t)cut);
    bool failed = !*out;
    for (int g = 0; g < KD_MMLU_GROUPS && !failed; g++)
        if (s->group[g].n) failed = json_object_set_new(*out, kd_mmlu_group_names[g], json_real(s->group[g].mean)) != 0;
    return failed ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

static kd_status tell(kd_results *results, const kd_choice_items *items, const options *o, double seconds) {
    kd_table groups, subjects;
    kd_choice_scores right = {.count = 0};
    kd_choice_examples examples = {.count = 0};
    json_t *flat = NULL;
    const kd_table *tables[] = {&groups, &subjects};
    char about[256];
    kd_status status;
    kd_table_open(&groups, "groups", "MMLU", group_columns, sizeof group_columns / sizeof *group_columns);
    kd_table_open(&subjects, "subjects", "Subjects", subject_columns, sizeof subject_columns / sizeof *subject_columns);
    KD_GO(kd_choice_score(&right, results, items));
    kd_mmlu_scores scores = kd_mmlu_score(items, right.right[KD_CHOICE_SUM]);
    KD_GO(fill(&groups, &subjects, &scores));
    KD_GO(flatten(&flat, &scores, right.cut));
    KD_GO(kd_choice_show(&examples, results, items, EXAMPLES));
    if (right.cut)
        kd_warn("%lld of %lld contexts were longer than --length and lost their beginning", (long long)right.cut, (long long)right.count);
    if (scores.subjects < KD_MMLU_SUBJECTS)
        kd_warn("%lld of 57 subjects: these are not the benchmark's figures", (long long)scores.subjects);
    snprintf(about, sizeof about, "Which of four letters follows: %lld questions of %lld subjects, %lld solved ones before each. Groups "
                                  "and all are weighted by questions.", (long long)items->count, (long long)scores.subjects,
                                      (long long)o->shots);
    const kd_outcome outcome = {"mmlu", "MMLU", about, flat, tables, 2, NULL, 0, examples.example, examples.count, seconds};
    status = kd_eval_tell(results, &outcome, o->words.json);
done:
    json_decref(flat);
    kd_choice_examples_free(&examples);
    kd_choice_scores_free(&right);
    kd_table_close(&subjects);
    kd_table_close(&groups);
    return status;
}

/* ---- the command -------------------------------------------------------------------------------------------------------- */

static kd_status settings_of(json_t **out, const kd_subject *subject, const kd_mmlu *set, const kd_mmlu *dev, const kd_mmlu_descriptions *d,
                             const options *o) {
    json_t *own = json_pack("{s:s, s:s, s:o, s:I, s:I, s:s, s:o}", "data", kd_name_of_path(o->data), "split", o->split, "data_hash",
                            kd_json_of_hash(set->hash), "shots", (json_int_t)o->shots, "limit", (json_int_t)o->words.limit, "descriptions",
                            o->descriptions ? kd_name_of_path(o->descriptions) : "own wording", "descriptions_hash",
                                kd_json_of_hash(d->hash));
    if (own && o->shots && json_object_set_new(own, "dev_hash", kd_json_of_hash(dev->hash))) {
        json_decref(own);
        own = NULL;
    }
    return kd_eval_settings(out, "mmlu", subject, own);
}

static kd_status run(const options *o, const kd_subject_options *subject_options, const int64_t *only, int64_t wanted) {
    kd_mmlu set = {0}, dev = {0};
    kd_mmlu_descriptions descriptions = {{NULL}, 0};
    kd_choice_items items = {0};
    kd_subject subject = {0};
    kd_results *results = NULL;
    json_t *settings = NULL;
    double started = kd_now();
    kd_status status;
    KD_GO(kd_mmlu_open(&set, o->data, o->split, only, wanted));
    if (o->shots) KD_GO(kd_mmlu_open(&dev, o->dev ? o->dev : o->data, "dev", only, wanted));
    KD_GO(kd_mmlu_descriptions_open(&descriptions, o->descriptions, &set));
    KD_GO(kd_mmlu_ask(&items, &set, &dev, &descriptions, o->shots, o->words.limit));
    KD_GO(kd_subject_open(&subject, subject_options));
    KD_GO(settings_of(&settings, &subject, &set, &dev, &descriptions, o));
    KD_GO(kd_results_open(&results, o->words.out, settings));
    KD_GO(kd_choice_ask(results, &subject, &items));
    status = tell(results, &items, o, kd_now() - started);
done:
    kd_results_close(results);
    json_decref(settings);
    kd_subject_close(&subject);
    kd_choice_items_free(&items);
    kd_mmlu_descriptions_close(&descriptions);
    kd_mmlu_close(&dev);
    kd_mmlu_close(&set);
    return status;
}

static kd_status read_subjects(int64_t *only, const kd_list *list) {
    const char *known[KD_MMLU_SUBJECTS];
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) known[i] = kd_mmlu_subjects[i].name;
    for (int64_t i = 0; i < list->count; i++) {
        only[i] = kd_mmlu_find(list->text[i]);
        if (only[i] >= 0) continue;
        const char *near = kd_nearest(list->text[i], known, KD_MMLU_SUBJECTS);
        return kd_fail(KD_ECONFIG, "mmlu: --subject %s is none of the 57%s%s%s", list->text[i], near ? ", did you mean " : "",
                       near ? near : "", near ? "?" : "");
    }
    return KD_OK;
}

static kd_status check(kd_subject_options *subject, const options *o) {
    KD_TRY(kd_subject_options_read(subject, &o->words.subject, "mmlu"));
    if (!o->data) return kd_fail(KD_ECONFIG, "mmlu: which questions? --data DIR with dev/ and test/, or a file of JSON lines");
    if (o->shots < 0 || o->shots > 100) return kd_fail(KD_ECONFIG, "mmlu: --shots %lld: 0 to 100", (long long)o->shots);
    if (o->shots && !o->dev && !kd_is_folder(o->data))
        return kd_fail(KD_ECONFIG, "mmlu: --shots %lld: out of which questions? --dev FILE", (long long)o->shots);
    if (o->words.limit < 0) return kd_fail(KD_ECONFIG, "mmlu: --limit %lld: 0 or more", (long long)o->words.limit);
    return KD_OK;
}

int kd_eval_mmlu(int argc, char **argv) {
    options o = {.words = KD_EVAL_DEFAULTS, .shots = 5, .split = "test"};
    const kd_option option[] = {
        {"--data", KD_TEXT, &o.data, "PATH", "a folder with dev/SUBJECT_dev.csv and test/SUBJECT_test.csv, or a file of JSON lines: "
                                             "question, subject, choices, answer"},
        {"--shots", KD_INTEGER, &o.shots, "N", "solved questions before each, the first of the subject's in dev"},
        {"--dev", KD_TEXT, &o.dev, "PATH", "folder or file of these; --data unless given"},
        {"--split", KD_TEXT, &o.split, "NAME", "of a folder: test or val"},
        {"--subject", KD_LIST, &o.subjects, "NAME", "this one alone; may be given several times"},
        {"--descriptions", KD_TEXT, &o.descriptions, "PATH", "the sentences that lead each subject's questions: lm-evaluation-harness's "
                                                             "folder lm_eval/tasks/mmlu/default, or a YAML or JSON file of subjects and "
                                                             "texts; our own wording unless given"},
        {"--limit", KD_INTEGER, &o.words.limit, "N", "the first N questions of each subject alone"},
        KD_EVAL_OPTIONS(o.words),
    };
    const kd_usage usage = {"eval mmlu", "--model DIR --data PATH [options]",
                            "MMLU as lm-evaluation-harness asks it: a question, four choices, and which letter is the likeliest. Accuracy "
                            "of 57 subjects, of four groups and of all, weighted by questions, with pooled standard errors; and the plain "
                            "mean of subjects.",
                            "  kedge eval mmlu --model models/llama-2-7b --data mmlu --out results/mmlu\n"
                            "  kedge eval mmlu --model m --data mmlu --descriptions harness/lm_eval/tasks/mmlu/default\n",
                            option, sizeof option / sizeof *option};
    kd_subject_options subject;
    int64_t count, only[sizeof o.subjects.text / sizeof *o.subjects.text];
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&subject, &o);
    if (!status) status = read_subjects(only, &o.subjects);
    if (!status) status = run(&o, &subject, only, o.subjects.count);
    return kd_exit_code(status);
}

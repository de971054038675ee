/* kedge eval hellaswag */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "eval.h"
#include "eval/hellaswag.h"

enum { EXAMPLES = 5 };

typedef struct options {
    kd_eval_words words;
    const char *data, *train;
    int64_t shots, seed;
} options;

static const kd_table_column columns[] = {{"measure", -1}, {"score", 4}, {"stderr", 4}, {"items", 0}};
static const char *const measures[] = {"acc", "acc_norm", "acc_bytes"};

static kd_status fill(kd_table *table, json_t *scores, const kd_choice_scores *s) {
    for (int n = 0; n < 3; n++) {
        char name[32];
        kd_mean m = kd_mean_of(s->right[n], s->count);
        kd_table_words(table, measures[n]);
        kd_table_number(table, m.mean);
        kd_table_number(table, m.error);
        kd_table_number(table, (double)m.n);
        snprintf(name, sizeof name, "%s_stderr", measures[n]);
        if (json_object_set_new(scores, measures[n], json_real(m.mean)) || json_object_set_new(scores, name, json_real(m.error)))
            return kd_fail(KD_ENOMEM, "out of memory");
    }
    if (json_object_set_new(scores, "items", json_integer(s->count)) || json_object_set_new(scores, "cut", json_integer(s->cut)))
        return kd_fail(KD_ENOMEM, "out of memory");
    return kd_table_status(table);
}

static kd_status tell(kd_results *results, const kd_choice_items *items, const options *o, double seconds) {
    kd_table table;
    kd_choice_scores scores = {.count = 0};
    kd_choice_examples examples = {.count = 0};
    json_t *flat = json_object();
    const kd_table *tables[] = {&table};
    char about[256];
    kd_status status;
    kd_table_open(&table, "measures", "HellaSwag", columns, sizeof columns / sizeof *columns);
    KD_GO(kd_choice_score(&scores, results, items));
    KD_GO(fill(&table, flat, &scores));
    KD_GO(kd_choice_show(&examples, results, items, EXAMPLES));
    if (scores.cut)
        kd_warn("%lld of %lld contexts were longer than --length and lost their beginning", (long long)scores.cut, (long long)scores.count);
    snprintf(about, sizeof about, "Which of four endings follows: %lld items, %lld shots. acc: the likeliest; acc_norm, acc_bytes: by "
                                  "likelihood over characters and bytes of the ending.", (long long)items->count, (long long)o->shots);
    const kd_outcome outcome = {"hellaswag", "HellaSwag", about, flat, tables, 1, NULL, 0, examples.example, examples.count, seconds};
    status = kd_eval_tell(results, &outcome, o->words.json);
done:
    json_decref(flat);
    kd_choice_examples_free(&examples);
    kd_choice_scores_free(&scores);
    kd_table_close(&table);
    return status;
}

static kd_status settings_of(json_t **out, const kd_subject *subject, const kd_hellaswag *set, const kd_hellaswag *train,
                             const options *o) {
    json_t *own = json_pack("{s:s, s:o, s:I, s:I}", "data", kd_name_of_path(o->data), "data_hash", kd_json_of_hash(set->hash), "shots",
                            (json_int_t)o->shots, "limit", (json_int_t)o->words.limit);
    if (own && o->shots &&
        json_object_update_new(own, json_pack("{s:s, s:o, s:I}", "train", kd_name_of_path(o->train), "train_hash",
                                              kd_json_of_hash(train->hash), "seed",
                                              (json_int_t)o->seed))) {
        json_decref(own);
        own = NULL;
    }
    return kd_eval_settings(out, "hellaswag", subject, own);
}

/* Data are read before the model is: what is wrong with them is told at once. */
static kd_status run(const options *o, const kd_subject_options *subject_options) {
    kd_hellaswag set = {0}, train = {0};
    kd_choice_items items = {0};
    kd_subject subject = {0};
    kd_results *results = NULL;
    json_t *settings = NULL;
    double started = kd_now();
    kd_status status;
    KD_GO(kd_hellaswag_open(&set, o->data));
    if (o->shots) KD_GO(kd_hellaswag_open(&train, o->train));
    KD_GO(kd_hellaswag_ask(&items, &set, &train, o->shots, (uint64_t)o->seed, o->words.limit));
    KD_GO(kd_subject_open(&subject, subject_options));
    KD_GO(settings_of(&settings, &subject, &set, &train, o));
    KD_GO(kd_results_open(&results, o->words.out, settings));
    KD_GO(kd_choice_ask(results, &subject, &items));
    status = tell(results, &items, o, kd_now() - started);
done:
    kd_results_close(results);
    json_decref(settings);
    kd_subject_close(&subject);
    kd_choice_items_free(&items);
    kd_hellaswag_close(&train);
    kd_hellaswag_close(&set);
    return status;
}

static kd_status check(kd_subject_options *subject, const options *o) {
    KD_TRY(kd_subject_options_read(subject, &o->words.subject, "hellaswag"));
    if (!o->data) return kd_fail(KD_ECONFIG, "hellaswag: which items? --data hellaswag_val.jsonl");
    if (o->shots < 0 || o->shots > 100) return kd_fail(KD_ECONFIG, "hellaswag: --shots %lld: 0 to 100", (long long)o->shots);
    if (o->shots && !o->train)
        return kd_fail(KD_ECONFIG, "hellaswag: --shots %lld: out of which items? --train hellaswag_train.jsonl", (long long)o->shots);
    if (o->words.limit < 0 || o->seed < 0) return kd_fail(KD_ECONFIG, "hellaswag: --limit and --seed are 0 or more");
    return KD_OK;
}

int kd_eval_hellaswag(int argc, char **argv) {
    options o = {.words = KD_EVAL_DEFAULTS, .seed = 1234};
    const kd_option option[] = {
        {"--data", KD_TEXT, &o.data, "FILE", "hellaswag_val.jsonl"},
        {"--shots", KD_INTEGER, &o.shots, "N", "solved items before each; 0 unless given, leaderboards had 10"},
        {"--train", KD_TEXT, &o.train, "FILE", "hellaswag_train.jsonl, which they are drawn from"},
        {"--seed", KD_INTEGER, &o.seed, "N", "of that draw"},
        {"--limit", KD_INTEGER, &o.words.limit, "N", "the first N items alone"},
        KD_EVAL_OPTIONS(o.words),
    };
    const kd_usage usage = {"eval hellaswag", "--model DIR --data FILE [options]",
                            "HellaSwag as lm-evaluation-harness asks it: which of four endings of a text is the likeliest. acc by the "
                            "likelihood of the ending, acc_norm by that over its characters, acc_bytes over its bytes; each with its "
                            "standard error.",
                            "  kedge eval hellaswag --model models/llama-2-7b --data hellaswag_val.jsonl --out results/hellaswag\n"
                            "  kedge eval hellaswag --model m --data hellaswag_val.jsonl --shots 10 --train hellaswag_train.jsonl\n",
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

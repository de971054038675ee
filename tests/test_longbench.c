/* LongBench from its files to its scores, without a model: cases of its programs in eval_vectors, and files of our own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/longbench.h"
#include "eval/longbench_ask.h"
#include "eval_vectors.h"

static const kd_longbench_task *task_of(const char *name) {
    const kd_longbench_task *task;
    assert_done(kd_longbench_find(&task, name));
    return task;
}

static void prompts_are_cut_in_the_middle(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "longbench_truncation", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        const json_t *kept_left = json_object_get(row, "kept_left"), *kept_right = json_object_get(row, "kept_right");
        int64_t left, right, n = (int64_t)number_of(row, "n_tokens");
        kd_longbench_cut(&left, &right, n, (int64_t)number_of(row, "max_length"));
        assert_int_equal(left, json_array_size(kept_left));
        assert_int_equal(n - right, json_array_size(kept_right));
        for (int64_t k = 0; k < left; k++) assert_int_equal(json_integer_value(json_array_get(kept_left, (size_t)k)), k);
        for (int64_t k = right; k < n; k++) assert_int_equal(json_integer_value(json_array_get(kept_right, (size_t)(k - right))), k);
        assert_int_equal(left + n - right, number_of(row, "kept"));
    }
    json_decref(file);
}

static void same_score(double got, const json_t *wanted) {
    if (json_is_null(wanted)) assert_true(isnan(got));
    else if (fabs(got - json_number_value(wanted)) > 1e-9) fail_msg("%.17g, not %.17g", got, json_number_value(wanted));
}

static void sets_are_scored_as_by_its_programs(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "longbench_scorer", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        kd_prediction p[16];
        kd_longbench_score score;
        const json_t *preds = json_object_get(row, "preds"), *classes = json_object_get(row, "all_classes");
        int64_t count = (int64_t)json_array_size(preds);
        for (size_t k = 0; k < (size_t)count; k++)
            p[k] = (kd_prediction){json_string_value(json_array_get(preds, k)), json_array_get(json_object_get(row, "answers"), k),
                                   json_is_array(classes) ? classes : NULL,
                                   json_integer_value(json_array_get(json_object_get(row, "lengths"), k))};
        assert_done(kd_longbench_score_of(&score, task_of(text_of(row, "dataset")), p, count));
        same_score(score.score, json_object_get(row, "expected"));
        for (int b = 0; b < KD_LB_BUCKETS; b++)
            same_score(score.bucket[b], json_object_get(json_object_get(row, "expected_e"), kd_longbench_buckets[b]));
    }
    json_decref(file);
}

/* Llama-2-7B-chat-4k of the authors' README: its sets, groups and average, to one decimal. */
static void groups_are_means_of_english_sets(void **state) {
    (void)state;
    static const struct { const char *name; double score; } set[] = {
        {"narrativeqa", 18.7}, {"qasper", 19.2}, {"multifieldqa_en", 36.8}, {"hotpotqa", 25.4}, {"2wikimqa", 32.8}, {"musique", 9.4},
        {"gov_report", 27.3}, {"qmsum", 20.8}, {"multi_news", 25.8}, {"trec", 61.5}, {"triviaqa", 77.8}, {"samsum", 40.7},
        {"passage_count", 2.1}, {"passage_retrieval_en", 9.8}, {"lcc", 52.4}, {"repobench-p", 43.8}};
    static const double wanted[KD_LB_GROUPS] = {24.9, 22.6, 24.7, 60.0, 5.9, 48.1};
    double score[KD_LB_TASKS], group[KD_LB_GROUPS], average;
    for (int i = 0; i < KD_LB_TASKS; i++) score[i] = NAN;
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) score[task_of(set[i].name) - kd_longbench_tasks] = set[i].score;
    kd_longbench_average(group, &average, score);
    for (int g = 0; g < KD_LB_GROUPS; g++) assert_true(fabs(group[g] - wanted[g]) < 0.1);  /* theirs are of scores with more digits */
    assert_true(fabs(average - 31.0) < 0.0501);
    score[task_of("lcc") - kd_longbench_tasks] = NAN;
    kd_longbench_average(group, &average, score);
    assert_true(isnan(group[KD_LB_CODE]) && isnan(average) && !isnan(group[KD_LB_SYNTHETIC]));
}

static void the_table_has_what_the_authors_have(void **state) {
    (void)state;
    int64_t chinese = 0, e = 0, refused = 0;
    const kd_longbench_task *task;
    for (int i = 0; i < KD_LB_TASKS; i++) {
        const kd_longbench_task *t = &kd_longbench_tasks[i];
        chinese += t->chinese;
        e += t->e;
        kd_status status = kd_longbench_find(&task, t->name);
        refused += status == KD_ENOTSUP;
        if (status) assert_true(t->chinese);
        else assert_ptr_equal(task, t);
        assert_non_null(strstr(t->prompt, "{context}"));
    }
    assert_int_equal(chinese, 5);
    assert_int_equal(e, 13);
    assert_int_equal(refused, 3);
    assert_fails(kd_longbench_find(&task, "dureader"), KD_ENOTSUP, "dureader", "Chinese");
    assert_fails(kd_longbench_find(&task, "quasper"), KD_ECONFIG, "did you mean qasper");
    assert_int_equal(kd_longbench_most(4096, 128), 3500);
    assert_int_equal(kd_longbench_most(32768, 512), 31500);
    assert_int_equal(kd_longbench_most(128000, 512), 127480);  /* not 127500: the answer would not fit */
    assert_int_equal(kd_longbench_most(600, 128), 464);
}

static void prompts_are_formatted_as_python_does(void **state) {
    (void)state;
    kd_text text = {0};
    assert_done(kd_longbench_format(&text, "{{a}} {context}|{input}{context}", "C{input}", "I"));
    assert_string_equal(text.data, "{a} C{input}|IC{input}");
    text.size = 0;
    assert_fails(kd_longbench_format(&text, "{contexts}", "", ""), KD_EFORMAT, "{contexts}");
    assert_fails(kd_longbench_format(&text, "a } b", "", ""), KD_EFORMAT, "}");
    kd_text_free(&text);
}

static void a_checkouts_prompts_count(void **state) {
    (void)state;
    kd_longbench_prompts p;
    const char *prompt;
    int64_t tokens;
    assert_done(kd_longbench_prompts_open(&p, NULL));
    assert_done(kd_longbench_prompt_of(&prompt, &tokens, &p, task_of("lcc")));
    assert_true(!strcmp(prompt, "{context}") && tokens == 64);
    kd_longbench_prompts_close(&p);
    assert_done(kd_make_folders(in_scratch("repo/LongBench/config")));
    assert_fails(kd_longbench_prompts_open(&p, in_scratch("repo")), KD_ECONFIG, "no dataset2prompt.json");
    scratch_text("repo/LongBench/config/dataset2prompt.json", "{\"lcc\": \"Go on: {context}\", \"trec\": \"x\"}");
    scratch_text("repo/LongBench/config/dataset2maxlen.json", "{\"lcc\": 7}");
    assert_done(kd_longbench_prompts_open(&p, in_scratch("repo")));
    assert_done(kd_longbench_prompt_of(&prompt, &tokens, &p, task_of("lcc")));
    assert_true(!strcmp(prompt, "Go on: {context}") && tokens == 7);
    assert_fails(kd_longbench_prompt_of(&prompt, &tokens, &p, task_of("trec")), KD_ECONFIG, "no number of tokens of trec");
    assert_fails(kd_longbench_prompt_of(&prompt, &tokens, &p, task_of("qmsum")), KD_ECONFIG, "no prompt of qmsum");
    kd_longbench_prompts_close(&p);
}

static void files_are_read_and_written(void **state) {
    (void)state;
    static const char text[] = "{\"pred\": \"\\nParagraph 3\", \"answers\": [\"Paragraph 3\"], \"all_classes\": null, \"length\": 3999}\n"
                               "{\"pred\": \"Paragraph 30 or 3\", \"answers\": [\"Paragraph 3\"], \"all_classes\": [\"a\"], \"length\": "
                               "8000}\n";
    kd_predictions p;
    kd_longbench_score score;
    kd_longbench_set set;
    kd_text again = {0};
    assert_done(kd_predictions_open(&p, scratch_text("passage_retrieval_en.jsonl", text)));
    for (int64_t i = 0; i < p.count; i++) assert_done(kd_prediction_print(&again, &p.prediction[i]));
    assert_string_equal(again.data, text);
    assert_done(kd_longbench_score_of(&score, task_of("passage_retrieval_en"), p.prediction, p.count));
    assert_true(score.score == 75 && score.bucket[0] == 100 && isnan(score.bucket[1]) && score.bucket[2] == 50);
    kd_predictions_close(&p);
    kd_text_free(&again);
    assert_fails(kd_predictions_open(&p, scratch_text("x.jsonl", "{\"pred\": \"a\", \"answers\": [], \"length\": 1}")), KD_EFORMAT,
                 "x.jsonl:1: \"answers\"");
    assert_fails(kd_predictions_open(&p, scratch_text("x.jsonl", "{\"answers\": [\"a\"], \"length\": 1}")), KD_EFORMAT,
                 "x.jsonl:1: \"pred\" is missing");
    assert_fails(kd_longbench_open(&set, scratch_text("x.jsonl", "{\"input\": \"a\", \"context\": \"c\", \"answers\": [\"a\"]}"), 0),
                 KD_EFORMAT, "x.jsonl:1: \"length\"");
    assert_fails(kd_longbench_open(&set, scratch_text("x.jsonl", ""), 0), KD_EFORMAT, "no questions");
    scratch_text("x.jsonl", "{\"input\": \"a\", \"context\": \"c\", \"answers\": [\"a\"], \"length\": 1, \"all_classes\": null}\nnonsense");
    assert_done(kd_longbench_open(&set, in_scratch("x.jsonl"), 1));
    assert_true(set.count == 1 && !strcmp(set.row[0].context, "c"));
    kd_longbench_close(&set);
    assert_fails(kd_longbench_open(&set, in_scratch("x.jsonl"), 2), KD_EFORMAT, "x.jsonl:2:1");
}

static void chinese_retrieval_counts_paragraphs(void **state) {
    (void)state;
    json_t *answers = json_pack("[s]", "\u6bb5\u843d7");
    const kd_prediction p[] = {{"\u6bb5\u843d7", answers, NULL, 1}, {"7 8", answers, NULL, 1}};
    kd_longbench_score score;
    assert_done(kd_longbench_score_of(&score, task_of("passage_retrieval_zh"), p, 2));
    assert_true(score.score == 75);
    json_decref(answers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_cut_in_the_middle),
        cmocka_unit_test(sets_are_scored_as_by_its_programs),
        cmocka_unit_test(groups_are_means_of_english_sets),
        cmocka_unit_test(the_table_has_what_the_authors_have),
        cmocka_unit_test(prompts_are_formatted_as_python_does),
        cmocka_unit_test(a_checkouts_prompts_count),
        cmocka_unit_test(files_are_read_and_written),
        cmocka_unit_test(chinese_retrieval_counts_paragraphs),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

/* What a run keeps: the error of a paired difference, by documents and by questions; which tokens are scored. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "eval/retention.h"
#include "scratch.h"

static void assert_close(double a, double b) {
    if (!(fabs(a - b) <= 1e-12 * (1 + fabs(b)))) fail_msg("%.17g is not %.17g", a, b);
}

/* Questions of these subjects, in order. */
static void add_questions(kd_choice_items *items, const int64_t *group, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        kd_choice_item *item = kd_choice_items_next(items);
        assert_non_null(item);
        item->group = group[i];
    }
}

static void add_documents(kd_retention_items *items, int64_t count) {
    for (int64_t i = 0; i < count; i++) assert_non_null(kd_ppl_texts_next(&items->texts));
}

/* ---- means ------------------------------------------------------------------------------------------------------------------- */

static void a_mean_by_size_is_that_of_its_parts(void **state) {
    (void)state;
    const double sum[] = {6, 1, 9, 8}, size[] = {2, 1, 3, 2}, same[] = {5, 5, 5, 5}, ratio[] = {4, 2, 6, 4};
    kd_mean m = kd_mean_by_size(sum, size, 4), plain = kd_mean_of(sum, 4), even = kd_mean_by_size(sum, same, 4);
    assert_close(m.mean, 3);
    /* residuals 0, -2, 0, 2 */
    assert_close(m.error, sqrt(8 * 4.0 / 3) / 8);
    assert_int_equal(m.n, 4);
    assert_close(even.mean, plain.mean / 5);
    assert_close(even.error, plain.error / 5);  /* of equal sizes: the mean's */
    assert_close(kd_mean_by_size(ratio, size, 4).error, 0);
    assert_true(kd_mean_by_size(sum, size, 1).error == 0 && kd_mean_by_size(sum, size, 0).mean == 0);
}

/* ---- changes ------------------------------------------------------------------------------------------------------------------ */

static void a_change_that_all_documents_share_has_no_error(void **state) {
    (void)state;
    kd_retention_items items = {.length = 8};
    double before[] = {30, 4, 90, 8}, after[4], tokens[] = {10, 2, 20, 4};
    for (int i = 0; i < 4; i++) after[i] = before[i] + 0.25 * tokens[i];
    const kd_retention_answers base = {.value = {before}, .size = tokens}, trained = {.value = {after}, .size = tokens};
    kd_mean score, change;
    add_documents(&items, 4);
    assert_done(kd_retention_mean(&score, KD_RETAIN_LOSS, &trained, NULL, &items));
    assert_done(kd_retention_mean(&change, KD_RETAIN_LOSS, &trained, &base, &items));
    assert_close(score.mean, 132.0 / 36 + 0.25);
    assert_true(score.error > 0.1);
    assert_close(change.mean, 0.25);
    assert_true(change.error < 1e-15);
    kd_retention_items_free(&items);
}

static void a_change_of_documents_is_the_ratio_of_their_differences(void **state) {
    (void)state;
    kd_retention_items items = {.length = 8};
    double before[] = {30, 4, 90}, after[] = {31, 6, 93}, tokens[] = {1, 1, 2}, difference[] = {1, 2, 3};
    const kd_retention_answers base = {.value = {before}, .size = tokens}, trained = {.value = {after}, .size = tokens};
    kd_mean change, direct = kd_mean_by_size(difference, tokens, 3);
    add_documents(&items, 3);
    assert_done(kd_retention_mean(&change, KD_RETAIN_LOSS, &trained, &base, &items));
    assert_close(change.mean, 1.5);
    assert_close(change.error, sqrt(0.5 * 3 / 2) / 4);  /* residuals -0.5, 0.5, 0 */
    assert_true(change.mean == direct.mean && change.error == direct.error);
    kd_retention_items_free(&items);
}

/* The variance of a difference is that of both less twice what they share. */
static void questions_that_both_find_hard_make_the_error_small(void **state) {
    (void)state;
    enum { N = 40 };
    kd_retention_items items = {.length = 8};
    double before[N], after[N];
    int64_t group[N] = {0};
    for (int i = 0; i < N; i++) {
        before[i] = i % 2 ? 100 : 0;
        after[i] = i == 1 || i == 3 ? 0 : before[i];  /* two are lost */
    }
    const kd_retention_answers base = {.value = {NULL, before}}, trained = {.value = {NULL, after}};
    kd_mean a, b, change;
    add_questions(&items.hellaswag, group, N);
    assert_done(kd_retention_mean(&a, KD_RETAIN_HELLASWAG, &trained, NULL, &items));
    assert_done(kd_retention_mean(&b, KD_RETAIN_HELLASWAG, &base, NULL, &items));
    assert_done(kd_retention_mean(&change, KD_RETAIN_HELLASWAG, &trained, &base, &items));
    assert_close(change.mean, -5);
    assert_close(change.mean, a.mean - b.mean);
    double shared = 0;
    for (int i = 0; i < N; i++) shared += (before[i] - b.mean) * (after[i] - a.mean) / (N - 1) / N;
    assert_close(change.error * change.error, a.error * a.error + b.error * b.error - 2 * shared);
    assert_true(change.error < 0.4 * sqrt(a.error * a.error + b.error * b.error));
    kd_retention_items_free(&items);
}

/* Differences between subjects are not chance. */
static void questions_of_a_subject_are_compared_with_each_other(void **state) {
    (void)state;
    const int64_t group[] = {0, 0, 0, 3, 3, 3};
    double before[] = {0, 0, 0, 100, 100, 100}, after[] = {100, 100, 100, 100, 100, 100};
    kd_retention_items items = {.length = 8};
    const kd_retention_answers base = {.value = {NULL, NULL, before}}, trained = {.value = {NULL, NULL, after}};
    kd_mean change;
    add_questions(&items.mmlu, group, 6);
    assert_done(kd_retention_mean(&change, KD_RETAIN_MMLU, &trained, &base, &items));
    assert_close(change.mean, 50);
    assert_close(change.error, 0);
    after[0] = 0;
    assert_done(kd_retention_mean(&change, KD_RETAIN_MMLU, &trained, &base, &items));
    assert_close(change.mean, 200.0 / 6);
    assert_close(change.error, sqrt((2.0 / 3) * 100 * 100 / 4 / 6));  /* squares within subjects, over 6 - 2, over 6 */
    kd_retention_items_free(&items);
}

static void too_few_items_have_no_error(void **state) {
    (void)state;
    const int64_t group[] = {0, 3};
    double value[] = {100, 0}, tokens[] = {3, 4};
    kd_retention_items items = {.length = 8};
    const kd_retention_answers answers = {.value = {value, value, value}, .size = tokens};
    kd_mean m;
    add_documents(&items, 1);
    add_questions(&items.hellaswag, group, 1);
    add_questions(&items.mmlu, group, 2);
    for (int k = 0; k < KD_RETENTION_MEASURES; k++) {
        assert_done(kd_retention_mean(&m, (kd_retention_measure)k, &answers, NULL, &items));
        assert_true(isnan(m.error) && isfinite(m.mean));
    }
    kd_retention_items_free(&items);
}

/* ---- items and answers ---------------------------------------------------------------------------------------------------------- */

static void documents_lose_their_end_and_a_first_target(void **state) {
    (void)state;
    kd_retention_items items = {.length = 4};
    const int32_t id[] = {5, 6, 7, 8, 9};
    const uint8_t loss[] = {1, 1, 0, 1, 1};
    assert_done(kd_retention_add_document(&items, id, NULL, 5));
    assert_done(kd_retention_add_document(&items, id, NULL, 1));
    assert_done(kd_retention_add_document(&items, id, loss, 3));
    assert_done(kd_retention_add_document(&items, id, NULL, 2));
    assert_int_equal(items.texts.count, 3);
    const kd_ppl_text *t = items.texts.text;
    assert_int_equal(t[0].count, 3);  /* one more leads it */
    assert_memory_equal(t[0].id, id, 3 * sizeof *id);
    assert_memory_equal(t[0].silent, ((uint8_t[]){1, 0, 0}), 3);
    assert_memory_equal(t[1].silent, ((uint8_t[]){1, 0, 1}), 3);
    assert_int_equal(t[2].count, 2);
    kd_retention_items_free(&items);
}

static void answers_are_read_by_item(void **state) {
    (void)state;
    kd_retention_items items = {.length = 8};
    kd_retention_answers answers;
    kd_results *results;
    json_t *settings = json_object();
    assert_done(kd_results_open(&results, NULL, settings));
    json_decref(settings);
    add_documents(&items, 2);
    assert_done(kd_results_add(results, "8/0", json_pack("{s:[[f, i]], s:[[f, i]]}", "windows", 2.5, 7, "positions", 2.5, 7)));
    assert_fails(kd_retention_read(&answers, results, &items), KD_EFORMAT, "8/1");
    kd_retention_answers_free(&answers);
    assert_done(kd_results_add(results, "8/1", json_pack("{s:[], s:[]}", "windows", "positions")));
    const struct { kd_choice_items *of; const char *key, *right; } question[] = {{&items.hellaswag, "hellaswag/0", "abc"},
                                                                                  {&items.mmlu, "anatomy/0", "B"}};
    for (int q = 0; q < 2; q++) {
        kd_choice_item *item = kd_choice_items_next(question[q].of);
        assert_non_null(item);
        item->key = strdup(question[q].key);
        item->answer = 1;
        for (int k = 0; k < KD_CHOICES; k++) item->choice[k] = strdup(k == 1 ? question[q].right : "x");
    }
    /* -4 for three letters is more than -2 for one */
    json_t *cut = json_pack("{s:[f, f, f, f], s:i}", "loglikelihood", -2.0, -4.0, -2.0, -2.0, "cut", 3);
    assert_done(kd_results_add(results, "hellaswag/0", cut));
    assert_done(kd_results_add(results, "anatomy/0", json_pack("{s:[f, f, f, f]}", "loglikelihood", -2.0, -4.0, -3.0, -5.0)));
    assert_done(kd_retention_read(&answers, results, &items));
    assert_true(answers.value[KD_RETAIN_LOSS][0] == 2.5 && answers.size[0] == 7 && answers.size[1] == 0);
    assert_true(answers.value[KD_RETAIN_HELLASWAG][0] == 100 && answers.value[KD_RETAIN_MMLU][0] == 0);
    assert_int_equal(answers.cut, 1);
    kd_retention_answers_free(&answers);
    kd_retention_items_free(&items);
    kd_results_close(results);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mean_by_size_is_that_of_its_parts),
        cmocka_unit_test(a_change_that_all_documents_share_has_no_error),
        cmocka_unit_test(a_change_of_documents_is_the_ratio_of_their_differences),
        cmocka_unit_test(questions_that_both_find_hard_make_the_error_small),
        cmocka_unit_test(questions_of_a_subject_are_compared_with_each_other),
        cmocka_unit_test(too_few_items_have_no_error),
        cmocka_unit_test(documents_lose_their_end_and_a_first_target),
        cmocka_unit_test(answers_are_read_by_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

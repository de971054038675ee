/* What is asked and how answers are averaged, beside the harnesses: cases in eval_vectors, beside KEDGE_ASSETS, and some of our own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/averages.h"
#include "eval/choices.h"
#include "eval/excerpts.h"
#include "eval_vectors.h"

static void hellaswag_is_cleaned_as_the_harness_does(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "hellaswag_preprocess", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        char *query;
        assert_done(kd_hellaswag_query(&query, text_of(row, "activity_label"), text_of(row, "ctx_a"), text_of(row, "ctx_b")));
        assert_string_equal(query, text_of(row, "expected_query"));
        free(query);
        for (size_t k = 0; k < 4; k++) {
            char *choice;
            assert_done(kd_hellaswag_clean(&choice, json_string_value(json_array_get(json_object_get(row, "endings"), k))));
            assert_string_equal(choice, json_string_value(json_array_get(json_object_get(row, "expected_choices"), k)));
            free(choice);
        }
    }
    json_decref(file);
}

static kd_mmlu_item item_of(const json_t *row) {
    kd_mmlu_item item = {text_of(row, "question"), {NULL}, json_integer_value(json_object_get(row, "answer"))};
    for (size_t k = 0; k < KD_MMLU_CHOICES; k++) item.choice[k] = json_string_value(json_array_get(json_object_get(row, "choices"), k));
    return item;
}

static void mmlu_is_asked_as_the_harness_does(void **state) {
    (void)state;
    json_t *file, *dev = cases_of(&file, "mmlu_prompt", "dev"), *row;
    kd_text text = {0};
    kd_mmlu_item item;
    size_t i;
    kd_text_put(&text, text_of(file, "description"));
    json_array_foreach(dev, i, row) {
        item = item_of(row);
        kd_mmlu_block(&text, &item, true);
    }
    item = item_of(json_object_get(file, "doc"));
    kd_mmlu_block(&text, &item, false);
    assert_done(kd_text_status(&text));
    assert_string_equal(text.data, text_of(file, "expected_context"));
    kd_text_free(&text);
    json_decref(file);
}

static void the_first_of_the_best_choices_is_taken(void **state) {
    (void)state;
    static const char *const key[] = {"pred", "pred_norm", "pred_bytes"};
    json_t *file, *cases = cases_of(&file, "multiple_choice", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        const char *choice[8];
        double value[8];
        int64_t count = (int64_t)json_array_size(json_object_get(row, "choices"));
        for (int64_t k = 0; k < count; k++) {
            choice[k] = json_string_value(json_array_get(json_object_get(row, "choices"), (size_t)k));
            value[k] = json_number_value(json_array_get(json_object_get(row, "loglikelihoods"), (size_t)k));
        }
        for (kd_choice_norm norm = KD_CHOICE_SUM; norm <= KD_CHOICE_BYTES; norm++)
            assert_int_equal(kd_choice_best(value, choice, count, norm), json_integer_value(json_object_get(row, key[norm])));
    }
    json_decref(file);
}

static double element(const json_t *row, const char *key, int64_t i) { return json_number_value(json_array_get(json_object_get(row, key), (size_t)i)); }

static void averages_are_the_harnesses(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "aggregate", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        kd_mean task[8];
        double plain[8];
        int64_t n = (int64_t)json_array_size(json_object_get(row, "sizes"));
        for (int64_t k = 0; k < n; k++) {
            plain[k] = element(row, "metrics", k);
            task[k] = (kd_mean){plain[k], 0, (int64_t)element(row, "sizes", k)};
        }
        assert_true(fabs(kd_mean_pooled(task, n).mean - number_of(row, "expected_weighted")) < 1e-15);
        assert_true(fabs(kd_mean_of(plain, n).mean - number_of(row, "expected_macro")) < 1e-15);
    }
    json_array_foreach(json_object_get(file, "stderr_cases"), i, row) {
        double item[16];
        int64_t n = (int64_t)json_array_size(json_object_get(row, "items"));
        for (int64_t k = 0; k < n; k++) item[k] = element(row, "items", k);
        kd_mean m = kd_mean_of(item, n);
        assert_true(fabs(m.mean - number_of(row, "mean")) < 1e-15 && fabs(m.error - number_of(row, "stderr")) < 1e-15);
    }
    json_decref(file);
}

static void lengths_are_averaged_as_rulers(void **state) {
    (void)state;
    static const int64_t length[] = {4096, 8192, 16384, 32768, 65536, 131072};
    json_t *file, *cases = cases_of(&file, "ruler_averages", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        double score[6];
        for (int64_t k = 0; k < 6; k++) score[k] = element(row, "scores_4k_to_128k", k);
        kd_ruler_average a = kd_ruler_average_of(score, length, 6);
        assert_true(fabs(a.mean - number_of(row, "avg")) < 1e-12);
        assert_true(fabs(a.increasing - number_of(row, "wavg_inc")) < 1e-12);
        assert_true(fabs(a.decreasing - number_of(row, "wavg_dec")) < 1e-12);
        const json_t *effective = json_object_get(row, "effective_length");
        assert_int_equal(a.effective, json_is_null(effective) ? -1 : json_integer_value(effective));
    }
    json_decref(file);
}

/* Tokens of a text whose token 0 is 100, and 1 before it. */
static void same_tokens(const json_t *wanted, int64_t begin, int64_t end) {
    assert_int_equal(json_array_size(wanted), end - begin);
    for (int64_t i = begin; i < end; i++) assert_int_equal(json_integer_value(json_array_get(wanted, (size_t)(i - begin))), i < 0 ? 1 : 100 + i);
}

static void rolling_windows_are_the_harnesss(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "rolling_windows", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        kd_excerpt *s;
        int64_t count, n = (int64_t)json_array_size(json_object_get(row, "tokens"));
        const json_t *windows = json_object_get(row, "windows");
        assert_done(kd_excerpts_rolling(&s, &count, n, (int64_t)number_of(row, "max_seq_len"), (int64_t)number_of(row, "context_len")));
        assert_int_equal(count, json_array_size(windows));
        for (int64_t k = 0; k < count; k++) {
            const json_t *window = json_array_get(windows, (size_t)k);
            same_tokens(json_array_get(window, 0), s[k].begin, s[k].end - 1);
            same_tokens(json_array_get(window, 1), s[k].first, s[k].end);
            const json_t *disjoint = json_array_get(json_object_get(row, "disjoint"), (size_t)k);
            same_tokens(json_array_get(disjoint, 0), s[k].begin, s[k].first);
            same_tokens(json_array_get(disjoint, 1), s[k].first, s[k].end);
        }
        free(s);
    }
    json_decref(file);
}

static void sliding_windows_are_yarns(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "sliding_ppl", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        kd_excerpt *s;
        int64_t count, scored = 0;
        double means = 0, sum = 0;
        bool bos = json_is_true(json_object_get(row, "bos"));
        const json_t *windows = json_object_get(row, "windows");
        assert_done(kd_excerpts_sliding(&s, &count, (int64_t)number_of(row, "seq_len"), (int64_t)number_of(row, "max_length") - bos,
                                         (int64_t)number_of(row, "stride"), bos, json_is_true(json_object_get(row, "truncate"))));
        assert_int_equal(count, json_array_size(windows));
        for (int64_t k = 0; k < count; k++) {
            const json_t *window = json_array_get(windows, (size_t)k);
            double own = 0;
            assert_int_equal(s[k].begin, number_of(window, "begin"));
            assert_int_equal(s[k].end, number_of(window, "end"));
            assert_int_equal(s[k].first, number_of(window, "scored_first"));
            for (int64_t t = s[k].first; t < s[k].end; t++) own += 1 + 0.5 * sin((double)t);
            means += own / (double)(s[k].end - s[k].first) / (double)count;
            sum += own;
            scored += s[k].end - s[k].first;
        }
        assert_true(fabs(exp(means) - number_of(row, "toy_ppl_mean_of_window_means")) < 1e-12);
        assert_true(fabs(exp(sum / (double)scored) - number_of(row, "toy_ppl_token_weighted")) < 1e-12);
        free(s);
    }
    json_decref(file);
}

/* ---- without those files ------------------------------------------------------------------------------------------------ */

static void texts_are_cleaned(void **state) {
    (void)state;
    char *text;
    assert_done(kd_hellaswag_query(&text, "Tea", "[header] How to brew [title] Boil   water.", "IT steams"));
    assert_string_equal(text, "Tea: How to brew. Boil  water. It steams");
    free(text);
    const char *const choice[] = {"long enough", "ab", "\u00e9\u00e9"};
    const double value[] = {-3, -2, -2};
    assert_int_equal(kd_choice_best(value, choice, 3, KD_CHOICE_SUM), 1);
    assert_int_equal(kd_choice_best(value, choice, 3, KD_CHOICE_CHARACTERS), 0);
    assert_int_equal(kd_choice_best(value + 1, choice + 1, 2, KD_CHOICE_BYTES), 1);
}

static void every_token_is_scored_once(void **state) {
    (void)state;
    for (int64_t n = 0; n < 40; n++)
        for (int64_t most = 1; most < 12; most++)
            for (int64_t other = 1; other <= most; other++)
                for (int sliding = 0; sliding < 2; sliding++) {
                    kd_excerpt *s;
                    int64_t count, next = 0;
                    assert_done(sliding ? kd_excerpts_sliding(&s, &count, n, most, other, true, false) : kd_excerpts_rolling(&s, &count, n, most, other));
                    for (int64_t i = 0; i < count; i++) {
                        assert_int_equal(s[i].first, next);
                        assert_true(s[i].end > next && s[i].begin >= -1 && s[i].end - s[i].begin <= most + !sliding);
                        next = s[i].end;
                    }
                    assert_int_equal(next, n);
                    free(s);
                }
    kd_excerpt *s;
    int64_t count;
    assert_fails(kd_excerpts_sliding(&s, &count, 10, 4, 0, true, false), KD_EARG, "0 further");
    assert_fails(kd_excerpts_sliding(&s, &count, 10, 4, 5, true, false), KD_EARG, "windows of 4 tokens every 5");
    assert_done(kd_excerpts_sliding(&s, &count, 8, 4, 4, false, false));  /* without a BOS nothing stands before a window's first token */
    assert_true(count == 2 && s[0].first == 1 && s[1].begin == 4 && s[1].first == 5);
    free(s);
    assert_fails(kd_excerpts_rolling(&s, &count, 10, 4, 6), KD_EARG, "10");
}

static void numbers_are_rounded_as_python_does(void **state) {
    (void)state;
    assert_true(kd_round_to(2.675, 2) == 2.67);  /* which is a little less */
    assert_true(kd_round_to(0.125, 2) == 0.12 && kd_round_to(0.375, 2) == 0.38 && kd_round_to(-1.5, 0) == -2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hellaswag_is_cleaned_as_the_harness_does),
        cmocka_unit_test(mmlu_is_asked_as_the_harness_does),
        cmocka_unit_test(the_first_of_the_best_choices_is_taken),
        cmocka_unit_test(averages_are_the_harnesses),
        cmocka_unit_test(lengths_are_averaged_as_rulers),
        cmocka_unit_test(rolling_windows_are_the_harnesss),
        cmocka_unit_test(sliding_windows_are_yarns),
        cmocka_unit_test(texts_are_cleaned),
        cmocka_unit_test(every_token_is_scored_once),
        cmocka_unit_test(numbers_are_rounded_as_python_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

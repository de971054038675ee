/* Scores beside those of the programs that published them: cases in eval_vectors, beside KEDGE_ASSETS, and some of our own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/letters.h"
#include "eval/scores.h"
#include "eval_vectors.h"

static void expect(double got, double wanted, const json_t *row) {
    if (fabs(got - wanted) > 1e-12) fail_msg("%s: %.17g, not %.17g", text_of(row, "name"), got, wanted);
}

typedef kd_status pair_score(double *score, const char *answer, const char *truth);

static void check_pairs(const char *name, pair_score *score) {
    json_t *file, *cases = cases_of(&file, name, "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        double got;
        assert_done(score(&got, text_of(row, "prediction"), text_of(row, "ground_truth")));
        expect(got, number_of(row, "expected"), row);
    }
    json_decref(file);
}

static void f1_is_longbenchs(void **state) {
    (void)state;
    check_pairs("longbench_qa_f1", kd_score_f1);
}

static void rouge_l_is_longbenchs(void **state) {
    (void)state;
    check_pairs("longbench_rouge_l", kd_score_rouge_l);
}

static void counts_and_retrieval_are_longbenchs(void **state) {
    (void)state;
    check_pairs("longbench_count", kd_score_count);
    check_pairs("longbench_retrieval", kd_score_retrieval);
}

static void code_is_longbenchs(void **state) {
    (void)state;
    check_pairs("longbench_code_sim", kd_score_code);
    json_t *file, *cases = cases_of(&file, "longbench_code_sim", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        double ratio;
        int64_t matches;
        assert_done(kd_difflib_ratio(&ratio, &matches, text_of(row, "selected_line"), text_of(row, "ground_truth")));
        assert_int_equal(matches, json_integer_value(json_object_get(row, "difflib_matches")));
        expect(ratio, number_of(row, "difflib_ratio"), row);
    }
    json_decref(file);
}

/* The strings of an array; free it. */
static const char **strings_of(const json_t *array, int64_t *count) {
    *count = (int64_t)json_array_size(array);
    const char **out = calloc((size_t)*count + 1, sizeof *out);
    for (int64_t i = 0; i < *count; i++) out[i] = json_string_value(json_array_get(array, (size_t)i));
    return out;
}

static void classes_are_longbenchs(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "longbench_classification", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        int64_t count;
        const char **classes = strings_of(json_object_get(row, "all_classes"), &count);
        double got;
        assert_done(kd_score_classification(&got, text_of(row, "prediction"), text_of(row, "ground_truth"), classes, count));
        expect(got, number_of(row, "expected"), row);
        free(classes);
    }
    json_decref(file);
}

static void answers_match_as_rulers(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "ruler_string_match", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        bool any = !strcmp(text_of(row, "metric"), "string_match_part");
        json_t *raw = json_object_get(row, "raw_preds");
        double sum = 0;
        int64_t n = (int64_t)json_array_size(raw), empty = 0;
        for (int64_t k = 0; k < n; k++) {
            char *answer;
            int64_t count;
            double got;
            const char **wanted = strings_of(json_array_get(json_object_get(row, "refs"), (size_t)k), &count);
            assert_done(kd_ruler_answer(&answer, json_string_value(json_array_get(raw, (size_t)k))));
            assert_string_equal(answer, json_string_value(json_array_get(json_object_get(row, "postprocessed"), (size_t)k)));
            assert_done(kd_score_ruler(&got, answer, wanted, count, any));
            sum += got;
            empty += !*answer;
            free(answer);
            free(wanted);
        }
        char rounded[32], nulls[32];
        snprintf(rounded, sizeof rounded, "%.2f", sum / (double)n * 100);
        snprintf(nulls, sizeof nulls, "%lld/%lld", (long long)empty, (long long)n);
        expect(atof(rounded), number_of(row, "expected_score"), row);
        assert_string_equal(nulls, text_of(row, "expected_nulls"));
    }
    json_decref(file);
}

/* ---- without those files ------------------------------------------------------------------------------------------------ */

static void letters_are_pythons(void **state) {
    (void)state;
    static const struct { const char *text, *lower, *capital; } cases[] = {
        {"", "", ""}, {"NASA Crew", "nasa crew", "Nasa crew"}, {"\u00c9COLE", "\u00e9cole", "\u00c9cole"},
        {"\u0130X", "i\u0307x", "\u0130x"}, {"\u039f\u0394\u039f\u03a3 \u03a3\u03a3", "\u03bf\u03b4\u03bf\u03c2 \u03c3\u03c2", "\u039f\u03b4\u03bf\u03c2 \u03c3\u03c2"},
        {"\u00dfA", "\u00dfa", "Ssa"}, {"\ufb01N", "\ufb01n", "Fin"}, {"\u01c6A", "\u01c6a", "\u01c5a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int capital = 0; capital < 2; capital++) {
            kd_letters l;
            char *text;
            int64_t size;
            assert_done((capital ? kd_letters_capitalize : kd_letters_lower)(&l, cases[i].text, (int64_t)strlen(cases[i].text)));
            assert_done(kd_letters_text(&text, &size, &l));
            assert_string_equal(text, capital ? cases[i].capital : cases[i].lower);
            assert_int_equal(size, strlen(text));
            free(text);
            kd_letters_free(&l);
        }
    const char *stripped;
    int64_t size;
    kd_text_strip(&stripped, &size, "\u3000\x1c a b\u00a0\n", 11);
    assert_int_equal(size, 3);
    assert_memory_equal(stripped, "a b", 3);
    kd_text_strip(&stripped, &size, " \n", 2);
    assert_int_equal(size, 0);
}

static void scores_of_nothing_are_nothing(void **state) {
    (void)state;
    double score;
    pair_score *const scores[] = {kd_score_f1, kd_score_rouge_l, kd_score_count};
    for (int i = 0; i < 3; i++) {
        assert_done(scores[i](&score, "", ""));
        assert_true(score == 0);
        assert_done(scores[i](&score, "7", "7"));
        assert_true(fabs(score - 1) < 1e-8);
    }
    assert_done(kd_score_code(&score, "x = 1\n", "x = 1"));
    assert_true(score == 1);
    assert_fails(kd_score_retrieval(&score, "7", "Section 7"), KD_EFORMAT, "Paragraph N");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f1_is_longbenchs),
        cmocka_unit_test(rouge_l_is_longbenchs),
        cmocka_unit_test(counts_and_retrieval_are_longbenchs),
        cmocka_unit_test(code_is_longbenchs),
        cmocka_unit_test(classes_are_longbenchs),
        cmocka_unit_test(answers_match_as_rulers),
        cmocka_unit_test(letters_are_pythons),
        cmocka_unit_test(scores_of_nothing_are_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

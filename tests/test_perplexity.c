/* Perplexity: windows, sums and figures, without a model where that will do; cases of the harnesses in eval_vectors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/perplexity.h"
#include "eval_vectors.h"

/* Answers as they are kept, of texts whose token i has 1 + sin(i) / 2 nats, through to YaRN's figures. */
static void sliding_windows_give_yarns_figures(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "sliding_ppl", "cases"), *row, *none = json_object();
    size_t i;
    json_array_foreach(cases, i, row) {
        int64_t lead = json_is_true(json_object_get(row, "bos")), n = (int64_t)number_of(row, "seq_len"), count;
        kd_ppl_options o = {KD_PPL_SLIDING, {(int64_t)number_of(row, "max_length")}, 1, (int64_t)number_of(row, "stride"),
                            json_is_true(json_object_get(row, "truncate"))};
        const json_t *windows = json_object_get(row, "windows");
        kd_ppl_text text = {.count = n};
        const kd_ppl_texts texts = {&text, 1, 1};
        kd_excerpt *e;
        kd_results *results;
        kd_ppl_score score;
        char key[64];
        json_t *sums = json_array();
        assert_done(kd_ppl_windows(&e, &count, &o, 0, n, lead, false));
        assert_int_equal(count, json_array_size(windows));
        for (int64_t w = 0; w < count; w++) {
            double nats = 0;
            assert_int_equal(lead + e[w].end - e[w].begin, number_of(json_array_get(windows, (size_t)w), "input_len"));
            assert_int_equal(e[w].end - e[w].first, number_of(json_array_get(windows, (size_t)w), "n_scored"));
            for (int64_t t = e[w].first; t < e[w].end; t++) nats += 1 + 0.5 * sin((double)t);
            json_array_append_new(sums, json_pack("[f, I]", nats, (json_int_t)(e[w].end - e[w].first)));
        }
        snprintf(key, sizeof key, "%lld/0", (long long)o.length[0]);
        assert_done(kd_results_open(&results, NULL, none));
        assert_done(kd_results_add(results, key, json_pack("{s:o, s:[]}", "windows", sums, "positions")));
        assert_done(kd_ppl_score_of(&score, results, &texts, &o, 0));
        assert_true(fabs(kd_ppl_by_windows(&score) - number_of(row, "toy_ppl_mean_of_window_means")) < 1e-12);
        assert_true(fabs(kd_ppl_tokens(&score) - number_of(row, "toy_ppl_token_weighted")) < 1e-12);
        kd_results_close(results);
        free(e);
    }
    json_decref(none);
    json_decref(file);
}

static void rolling_figures_are_the_harnesss(void **state) {
    (void)state;
    json_t *file, *row;
    size_t i, k;
    cases_of(&file, "aggregate", "rolling_ppl_cases");
    json_array_foreach(json_object_get(file, "rolling_ppl_cases"), i, row) {
        json_t *item;
        double nats = 0;
        int64_t count = 0;
        json_array_foreach(json_object_get(row, "items"), k, item) {
            nats -= json_number_value(json_array_get(item, 0));
            count += json_integer_value(json_array_get(item, 1));
        }
        assert_true(fabs(kd_ppl_of(nats, count) - number_of(row, "weighted_perplexity")) < 1e-12);
        assert_true(fabs(kd_ppl_bits(nats, count) - number_of(row, "bits_per_byte")) < 1e-12);
    }
    json_decref(file);
}

static void windows_that_roll_behind_an_anchor_have_room_for_it(void **state) {
    (void)state;
    const kd_ppl_options o = {KD_PPL_ROLLING, {8}, 1, 1, false};
    kd_excerpt *e;
    int64_t count;
    assert_done(kd_ppl_windows(&e, &count, &o, 0, 20, 1, false));
    assert_true(count == 3 && e[0].begin == -1 && e[0].end == 8 && e[1].begin == 7 && e[1].end == 16);
    free(e);
    assert_done(kd_ppl_windows(&e, &count, &o, 0, 20, 1, true));
    for (int64_t w = 0; w < count; w++) assert_true(1 + e[w].end - (e[w].begin < 0 ? 0 : e[w].begin) - 1 <= 8);
    free(e);
}

static void whole_documents_are_one_window(void **state) {
    (void)state;
    const kd_ppl_options o = {KD_PPL_WHOLE, {8}, 1, 1, false};
    kd_excerpt *e;
    int64_t count;
    for (int lead = 0; lead < 2; lead++) {
        assert_done(kd_ppl_windows(&e, &count, &o, 0, 20, lead, false));
        assert_true(count == 1 && e[0].begin == 0 && e[0].end == 20 && e[0].first == 1 - lead);
        free(e);
    }
}

static void words_are_counted_as_re_split_does(void **state) {
    (void)state;
    static const struct { const char *text; int64_t words; } cases[] = {
        {"", 1}, {"a", 1}, {"a b", 2}, {" a  b\n", 4}, {"a\u00a0b\u2003c\xc2\x85" "d", 4}, {"\u00e9\u4e2d\U0001f600 x", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(kd_ppl_words(cases[i].text, (int64_t)strlen(cases[i].text)), cases[i].words);
    kd_ppl_words("\xf0", 1);  /* cut short, and not read beyond */
}

static void positions_are_in_octaves(void **state) {
    (void)state;
    for (int64_t before = 0, last = 0; before < 5000; before++) {
        int64_t b = kd_ppl_bucket(before);
        assert_true(b == last || b == last + 1);
        assert_true(before >= kd_ppl_bucket_from(b) && before < kd_ppl_bucket_from(b + 1));
        last = b;
    }
    assert_int_equal(kd_ppl_bucket_from(1), 16);
    assert_true(kd_ppl_bucket(INT64_MAX) < KD_PPL_BUCKETS);
}

static void what_is_no_answer_is_named(void **state) {
    (void)state;
    static const char *const bad[] = {"{\"windows\": 1, \"positions\": []}", "{\"windows\": [[1.5]], \"positions\": []}",
                                      "{\"windows\": [[\"a\", 1]], \"positions\": []}",
                                      "{\"windows\": [], \"positions\": [[1, 1.5]]}"};
    const kd_ppl_options o = {KD_PPL_SLIDING, {8}, 1, 1, false};
    kd_ppl_text text = {.count = 3};
    const kd_ppl_texts texts = {&text, 1, 1};
    kd_ppl_score score;
    json_t *none = json_object(), *answer;
    for (size_t i = 0; i < 4; i++) {
        kd_results *results;
        assert_done(kd_results_open(&results, NULL, none));
        assert_fails(kd_ppl_score_of(&score, results, &texts, &o, 0), KD_EFORMAT, "8/0: no answer");
        assert_done(kd_json_parse(&answer, bad[i], (int64_t)strlen(bad[i]), "x"));
        assert_done(kd_results_add(results, "8/0", answer));
        assert_fails(kd_ppl_score_of(&score, results, &texts, &o, 0), KD_EFORMAT, "8/0: no answer");
        kd_results_close(results);
    }
    json_decref(none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sliding_windows_give_yarns_figures),
        cmocka_unit_test(rolling_figures_are_the_harnesss),
        cmocka_unit_test(windows_that_roll_behind_an_anchor_have_room_for_it),
        cmocka_unit_test(whole_documents_are_one_window),
        cmocka_unit_test(words_are_counted_as_re_split_does),
        cmocka_unit_test(positions_are_in_octaves),
        cmocka_unit_test(what_is_no_answer_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Folders of results: what is kept, gone on with, refused, written. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "eval/results.h"
#include "scratch.h"

static json_t *settings_of(int shots) { return json_pack("{s:s, s:{s:s}, s:i}", "task", "quiz", "subject", "model", "m", "shots", shots); }

static kd_results *opened(const char *name, int shots) {
    kd_results *r;
    json_t *settings = settings_of(shots);
    assert_done(kd_results_open(&r, name ? in_scratch(name) : NULL, settings));
    json_decref(settings);
    return r;
}

static void add(kd_results *r, const char *key, int value) { assert_done(kd_results_add(r, key, json_pack("{s:i}", "value", value))); }

static int64_t value_of(const kd_results *r, const char *key) {
    const json_t *answer = kd_results_find(r, key);
    return answer ? json_integer_value(json_object_get(answer, "value")) : -1;
}

static void answers_are_found_again(void **state) {
    (void)state;
    kd_results *r = opened("again", 0);
    assert_null(kd_results_find(r, "a/0"));
    add(r, "a/0", 7);
    add(r, "a/1", 8);
    assert_int_equal(value_of(r, "a/0"), 7);
    assert_fails(kd_results_add(r, "a/0", json_object()), KD_EARG, "a second answer to a/0");
    assert_fails(kd_results_add(r, "a/2", NULL), KD_ENOMEM, "memory");
    kd_results_close(r);
    r = opened("again", 0);
    assert_int_equal(kd_results_found(r), 2);
    assert_int_equal(value_of(r, "a/1"), 8);
    add(r, "a/2", 9);
    kd_results_close(r);
    r = opened(NULL, 0);  /* nowhere */
    add(r, "a/0", 1);
    assert_int_equal(value_of(r, "a/0"), 1);
    assert_int_equal(kd_results_found(r), 0);
    kd_results_close(r);
}

/* As a kill leaves it, wherever it comes. */
static void a_line_that_is_cut_short_is_asked_again(void **state) {
    (void)state;
    kd_results *r = opened("cut", 0);
    add(r, "a/0", 7);
    kd_results_close(r);
    static const char whole[] = "{\"key\":\"a/0\",\"value\":7}\n", next[] = "{\"key\":\"a/1\",\"value\":99}\n";
    for (size_t cut = 1; cut < sizeof next - 1; cut++) {
        char data[sizeof whole + sizeof next], *after;
        int64_t size;
        snprintf(data, sizeof data, "%s%.*s", whole, (int)cut, next);
        scratch_text("cut/answers.jsonl", data);
        r = opened("cut", 0);
        assert_int_equal(kd_results_found(r), 1);
        assert_int_equal(value_of(r, "a/1"), -1);
        add(r, "a/1", 8);
        kd_results_close(r);
        assert_done(kd_file_read(&after, &size, in_scratch("cut/answers.jsonl"), 1 << 20));
        assert_true(!strncmp(after, whole, sizeof whole - 1) && !strcmp(after + sizeof whole - 1, "{\"key\":\"a/1\",\"value\":8}\n"));
        free(after);
    }
}

static void other_settings_are_refused(void **state) {
    (void)state;
    kd_results *r = opened("settings", 5), *other;
    json_t *settings = settings_of(0), *more = settings_of(5);
    assert_fails(kd_results_open(&other, in_scratch("settings"), more), KD_EBUSY, "settings is being written");
    kd_results_close(r);
    assert_fails(kd_results_open(&other, in_scratch("settings"), settings), KD_ECONFIG, "shots is 5 there, 0 here");
    json_object_set_new(json_object_get(settings, "subject"), "model", json_string("n"));
    assert_fails(kd_results_open(&other, in_scratch("settings"), settings), KD_ECONFIG, "subject.model is m there, n here");
    json_object_set_new(more, "limit", json_integer(3));
    assert_fails(kd_results_open(&other, in_scratch("settings"), more), KD_ECONFIG, "limit is not set there, 3 here");
    json_object_del(more, "limit");
    json_object_del(json_object_get(more, "subject"), "model");
    assert_fails(kd_results_open(&other, in_scratch("settings"), more), KD_ECONFIG, "subject.model is m there, not set here");
    json_decref(settings);
    json_decref(more);
}

static void what_is_no_answer_is_named_by_line(void **state) {
    (void)state;
    kd_results *r;
    json_t *settings = settings_of(0);
    kd_results_close(opened("bad", 0));
    scratch_text("bad/answers.jsonl", "{\"key\":\"a\"}\n{\"key\":\"b\",}\n");
    assert_fails(kd_results_open(&r, in_scratch("bad"), settings), KD_EFORMAT, "answers.jsonl:2:12");
    scratch_text("bad/answers.jsonl", "{\"key\":\"a\"}\n{\"key\":\"a\"}\n");
    assert_fails(kd_results_open(&r, in_scratch("bad"), settings), KD_EFORMAT, "answers.jsonl:2: a second answer to a");
    scratch_text("bad/answers.jsonl", "{\"value\":1}\n");
    assert_fails(kd_results_open(&r, in_scratch("bad"), settings), KD_EFORMAT, "answers.jsonl:1: no \"key\"");
    assert_int_equal(unlink(in_scratch("bad/settings.json")), 0);
    assert_fails(kd_results_open(&r, in_scratch("bad"), settings), KD_ECONFIG, "without settings.json");
    json_decref(settings);
}

static const kd_table_column columns[] = {{"name", -1}, {"score", 2}, {"n", 0}};

static void fill(kd_table *t) {
    kd_table_open(t, "scores", "Scores", columns, 3);
    kd_table_words(t, "one, \"two\" | three");
    kd_table_number(t, 0.123456);
    kd_table_number(t, 12);
    kd_table_words(t, "\u00e9\u00e9");
    kd_table_number(t, NAN);
    kd_table_number(t, 1);
    assert_done(kd_table_status(t));
}

static void tables_are_shown_everywhere(void **state) {
    (void)state;
    kd_table t;
    kd_text text = {0};
    json_t *rows;
    fill(&t);
    kd_table_print(&text, &t);
    assert_string_equal(text.data, "name                score   n\none, \"two\" | three   0.12  12\n\u00e9\u00e9                      "
                                   "\u2013   1\n");
    text.size = 0;
    kd_table_csv(&text, &t);
    assert_string_equal(text.data, "name,score,n\n\"one, \"\"two\"\" | three\",0.123456,12\n\u00e9\u00e9,,1\n");
    text.size = 0;
    kd_table_markdown(&text, &t);
    assert_string_equal(text.data, "| name | score | n |\n|---|---:|---:|\n| one, \"two\" \\| three | 0.12 | 12 |\n| \u00e9\u00e9 | \u2013 "
                                   "| 1 |\n");
    assert_done(kd_table_json(&rows, &t));
    assert_int_equal(json_array_size(rows), 2);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "score")));
    assert_int_equal(json_integer_value(json_object_get(json_array_get(rows, 0), "n")), 12);
    json_decref(rows);
    kd_text_free(&text);
    kd_table_close(&t);
}

static void everything_is_written_at_the_end(void **state) {
    (void)state;
    kd_results *r = opened("end", 0);
    kd_table first, second;
    const kd_table *tables[] = {&first, &second};
    static const double x[] = {1, 2}, y[] = {3, 4};
    const kd_series series = {NULL, x, y, 2, KD_SERIES_LINE, 0};
    const kd_chart chart = {"A chart", {.label = "x"}, {.label = "y"}, &series, 1};
    const kd_example example = {"asked <this>", "answered", NULL, "right"};
    json_t *scores = json_pack("{s:f, s:f, s:i}", "acc", 0.5, "acc_stderr", 0.25, "length", 2048), *result;
    for (int i = 4; i <= 12; i++) {
        char name[] = {'s', (char)('a' + i), 0};
        json_object_set_new(scores, name, json_real(i + 0.5));
    }
    fill(&first);
    fill(&second);
    second.name = "more";
    add(r, "a", 1);
    const kd_outcome outcome = {"quiz", "A quiz", "About it.", scores, tables, 2, &chart, 1, &example, 1, 1.5};
    assert_done(kd_results_finish(r, &outcome));
    kd_results_close(r);
    assert_done(kd_results_load(&result, in_scratch("end")));
    assert_true(json_number_value(json_object_get(json_object_get(result, "scores"), "acc")) == 0.5);
    assert_int_equal(json_array_size(json_object_get(json_object_get(result, "tables"), "more")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(result, "time"), "answered")), 1);
    assert_true(kd_exists(in_scratch("end/result.csv")) && kd_exists(in_scratch("end/more.csv")) && kd_exists(in_scratch("end/chart.svg")));
    char *page;
    int64_t size;
    assert_done(kd_file_read(&page, &size, in_scratch("end/report.html"), 1 << 20));
    assert_non_null(strstr(page, "asked &lt;this&gt;"));
    assert_non_null(strstr(page, "subject.model"));
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "<dd>2048</dd>"));
    assert_non_null(strstr(page, "\u00b1 0.25<"));
    assert_null(strstr(page, "<dt>acc_stderr"));
    for (int i = 4; i <= 12; i++) {
        char tile[] = {'<', 'd', 't', '>', 's', (char)('a' + i), '<', 0};
        assert_non_null(strstr(page, tile));
    }
    assert_null(strstr(strstr(page, ">task<") + 1, ">task<"));
    free(page);
    json_decref(result);
    assert_fails(kd_results_load(&result, scratch_text("other.json", "{\"task\": \"quiz\"}")), KD_EFORMAT, "no results of an evaluation");
    assert_fails(kd_results_load(&result, in_scratch("nowhere")), KD_EIO, "nowhere");
    json_decref(scores);
    kd_table_close(&first);
    kd_table_close(&second);
}

static void texts_are_made_valid(void **state) {
    (void)state;
    json_t *text = kd_json_of_text("a\xff\xc3\xa9", 4);
    assert_string_equal(json_string_value(text), "a\xef\xbf\xbd\xc3\xa9");
    json_decref(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_found_again),
        cmocka_unit_test(a_line_that_is_cut_short_is_asked_again),
        cmocka_unit_test(other_settings_are_refused),
        cmocka_unit_test(what_is_no_answer_is_named_by_line),
        cmocka_unit_test(tables_are_shown_everywhere),
        cmocka_unit_test(everything_is_written_at_the_end),
        cmocka_unit_test(texts_are_made_valid),
    };
    kd_log_level(KD_QUIET);
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

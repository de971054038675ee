/* What is read out of a run's folder: the history with its resumes, the report and the comparison. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>

#include "markup.h"
#include "scratch.h"
#include "train/compare.h"
#include "train/report.h"

#define START "{\"event\":\"start\",\"step\":0,\"kedge\":\"0.1.0\",\"device\":\"host\",\"cpu\":\"c\",\"isa\":\"avx2\",\"threads\":2,"         \
              "\"model_type\":\"llama\",\"parameters\":1000,\"peak_flops\":1e9,\"tokens_per_step\":100,\"memory\":{\"weights\":1048576,"     \
              "\"gradients\":1,\"moments\":1,\"activations\":1,\"scratch\":1},\"time\":0}\n"
#define STEP(n, loss)                                                                                                  \
    "{\"step\":" #n ",\"loss\":" #loss ",\"targets\":90,\"grad_norm\":2,\"lr\":1e-3,\"pairs\":7,\"skipped\":0,\"seconds\":2.0,"             \
    "\"tokens_per_second\":50.0,\"flops\":1e9,\"share_of_peak\":0.5,\"memory\":3145728,\"time\":1}\n"
#define OLD_STEP(n, loss) "{\"step\":" #n ",\"loss\":" #loss ",\"seconds\":1.0,\"tokens_per_second\":10.0}\n"
#define VALID(n, loss) "{\"event\":\"valid\",\"step\":" #n ",\"loss\":" #loss ",\"targets\":9,\"by_position\":[{\"from\":0,\"loss\":1.25,"   \
                       "\"targets\":5},{\"from\":256,\"loss\":" #loss ",\"targets\":4}]}\n"

/* A run's folder with these metrics and run file (NULL: none). */
static const char *make_run(const char *name, const char *metrics, const char *run) {
    char path[512];
    assert_done(kd_make_folders(in_scratch(name)));
    snprintf(path, sizeof path, "%s/metrics.jsonl", name);
    scratch_text(path, metrics);
    snprintf(path, sizeof path, "%s/run.yaml", name);
    if (run) scratch_text(path, run);
    return in_scratch(name);
}

static char *read_report(const char *folder) {
    char path[700], *data;
    int64_t size;
    assert_done(kd_report_write(folder, NULL));
    snprintf(path, sizeof path, "%s/report.html", folder);
    assert_done(kd_file_read(&data, &size, path, 1 << 24));
    assert_markup(data, false);
    return data;
}

static void assert_has(const char *text, const char *words) {
    if (!text) text = "";
    if (!strstr(text, words)) fail_msg("\"%s\" is not in\n%.3000s", words, text);
}

/* ---- history ----------------------------------------------------------------------------------------------- */

static void shares_are_of_the_best_peak_of_the_run(void **state) {
    (void)state;
    kd_history h;
    const char *folder = make_run("peaks", START STEP(1, 9) "{\"step\":2,\"loss\":8,\"seconds\":2.0,\"tokens_per_second\":50.0,"
                                  "\"flops\":1e9,\"peak_flops\":4e9,\"share_of_peak\":0.125}\n" OLD_STEP(3, 7), NULL);
    assert_done(kd_history_open(&h, folder));
    assert_true(h.column[KD_H_SHARE][0] == 0.125 && h.column[KD_H_SHARE][1] == 0.125 && isnan(h.column[KD_H_SHARE][2]));
    assert_true(kd_history_summary(&h).peak == 4e9);
    kd_history_close(&h);
}

static void steps_that_were_lost_count_once_as_they_were_done_last(void **state) {
    (void)state;
    kd_history h;
    const char *folder = make_run("resumed", START VALID(0, 9.5) STEP(1, 9) STEP(2, 8) VALID(2, 7.5) STEP(3, 7) STEP(4, 6) VALID(4, 5.5)
                                  "{\"event\":\"resume\",\"step\":2}\n" STEP(3, 70) STEP(4, null) STEP(5, 50) VALID(5, 4.5), NULL);
    assert_done(kd_history_open(&h, folder));
    assert_int_equal(h.steps, 5);
    const double loss[] = {9, 8, 70, NAN, 50};
    for (int i = 0; i < 5; i++) {
        assert_true(h.column[KD_H_STEP][i] == i + 1);
        assert_true(isnan(loss[i]) ? isnan(h.column[KD_H_LOSS][i]) : h.column[KD_H_LOSS][i] == loss[i]);
        assert_true(h.column[KD_H_TOKENS][i] == 100 * (i + 1) && h.column[KD_H_ELAPSED][i] == 2 * (i + 1));
    }
    assert_int_equal(h.valids, 3);  /* at 0, 2 and 5: the one at 4 was lost */
    assert_true(h.valid[1].step == 2 && h.valid[1].tokens == 200 && h.valid[2].step == 5 && h.valid[2].elapsed == 10);
    assert_int_equal(h.starts, 2);
    assert_int_equal(h.start[1].lost, 2);
    kd_summary s = kd_history_summary(&h);
    assert_true(s.steps == 5 && s.tokens == 500 && s.seconds == 10 && s.tokens_per_second == 50 && s.share_of_peak == 0.5);
    assert_true(s.valid_before == 9.5 && s.valid_after == 4.5 && s.loss == 50 && s.not_taken == 1 && s.memory == 3145728);
    assert_true(kd_history_number(&h, NULL, "peak_flops") == 1e9);  /* the resume row does not say; the start does */
    assert_true(kd_history_number(&h, "memory", "weights") == 1048576);
    assert_string_equal(h.name, "resumed");
    kd_history_close(&h);
}

static void rows_that_stand_twice_without_a_resume_count_once(void **state) {
    (void)state;
    kd_history h;
    assert_done(kd_history_open(&h, make_run("twice", OLD_STEP(1, 5) OLD_STEP(2, 4) OLD_STEP(1, 3) OLD_STEP(2, 2), NULL)));
    assert_int_equal(h.steps, 2);
    assert_true(h.column[KD_H_LOSS][0] == 3 && h.column[KD_H_LOSS][1] == 2);
    kd_history_close(&h);
    assert_done(kd_history_open(&h, make_run("anew", START STEP(1, 5) STEP(2, 4) VALID(2, 1.5) START STEP(1, 3), NULL)));
    assert_true(h.steps == 1 && h.valids == 0 && h.start[1].lost == 2);
    kd_history_close(&h);
}

static void torn_and_strange_lines_are_left_out(void **state) {
    (void)state;
    kd_history h;
    assert_done(kd_history_open(&h, make_run("torn", OLD_STEP(1, 5) "[1,2]\n\n{\"step\":2,\"lo\n7\n{\"event\":\"later\",\"step\":3}\n"
                                             OLD_STEP(3, 4) "{\"seconds\":1}\n{\"step\":4,\"loss\":3.9,\"sec", NULL)));
    assert_int_equal(h.steps, 2);
    assert_int_equal(h.left_out, 4);  /* two cut lines, a number, a step without its number */
    kd_history_close(&h);
}

static void a_folder_without_metrics_is_no_run(void **state) {
    (void)state;
    kd_history h;
    assert_done(kd_make_folders(in_scratch("none")));
    assert_fails(kd_history_open(&h, in_scratch("none")), KD_EIO, "none", "metrics.jsonl");
    assert_fails(kd_report_write(in_scratch("none"), NULL), KD_EIO, "metrics.jsonl");
}

/* ---- report ------------------------------------------------------------------------------------------------ */

static void a_report_says_what_the_metrics_say(void **state) {
    (void)state;
    const char *folder = make_run("whole", START VALID(0, 9.5) STEP(1, 9) STEP(2, 8.125) VALID(2, 7.25), "mask: anchor\nwindow: 4096\nsteps: 2\n");
    scratch_text("whole/window.svg", "<svg onload=\"alert(1)\"></svg>");
    char *page = read_report(folder);
    assert_has(page, "<title>whole</title>");
    assert_has(page, "AnchorAttention");
    assert_has(page, "window 4096 tokens; llama, 1K parameters, 100 tokens a step");
    assert_has(page, "<dt>Steps</dt><dd>2</dd><dd class=\"note\">of 2</dd>");
    assert_has(page, "<dt>Tokens seen</dt><dd>200</dd>");
    assert_has(page, "<dt>Training loss</dt><dd>8.125</dd>");
    assert_has(page, "<dt>Validation loss</dt><dd>7.250</dd><dd class=\"note\">nats per token, 9.500 before training</dd>");
    assert_has(page, "<dt>Tokens per second</dt><dd>50</dd>");
    assert_has(page, "<dt>Share of peak</dt><dd>50.0%</dd><dd class=\"note\">useful operations; peak 1 GFLOP/s</dd>");
    assert_has(page, "<dt>Memory</dt><dd>3.0 MiB</dd>");
    assert_has(page, "<dt>Time</dt><dd>4.0s</dd>");
    static const char *const charts[] = {"Loss", "Validation loss by position", "Gradient norm", "Learning rate", "Speed", "Share of peak",
                                         "Memory", "Memory by use"};
    for (size_t i = 0; i < sizeof charts / sizeof *charts; i++) {
        char title[64];
        snprintf(title, sizeof title, "<title>%s</title>", charts[i]);
        assert_has(page, title);
    }
    assert_has(page, "src=\"data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIj48L3N2Zz4=\"");
    assert_has(page, "window: 4096\n");
    assert_has(page, "1970-01-01 00:00 UTC");
    free(page);
}

static void a_report_of_old_metrics_lacks_what_they_lack(void **state) {
    (void)state;
    char *page = read_report(make_run("old", OLD_STEP(1, 5) OLD_STEP(2, 4), NULL));
    assert_has(page, "<title>Speed</title>");
    assert_null(strstr(page, "<title>Share of peak</title>"));
    assert_null(strstr(page, "<title>Memory</title>"));
    assert_null(strstr(page, "<title>Validation loss by position</title>"));
    free(page);
}

static void hostile_words_stay_words(void **state) {
    (void)state;
    char *page = read_report(make_run("<script>alert('x')<", "{\"event\":\"start\",\"step\":0,\"kedge\":\"<script>\",\"model_type\":\"</p><script>\","
                                      "\"cpu\":\"\\\"><img onerror=x>\",\"isa\":\"<b\"}\n" STEP(1, 5),
                                      "mask: \"<script src='//x'>\"\nwindow: </pre><script>1\n"));
    assert_null(strstr(page, "<script"));
    assert_has(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;");
    assert_has(page, "&lt;/pre&gt;&lt;script&gt;1");
    free(page);
}

static void little_and_nothing_are_reported_too(void **state) {
    (void)state;
    static const struct { const char *name, *metrics; } run[] = {
        {"empty", ""}, {"started", START}, {"one-step", START STEP(1, 5)}, {"no-loss", START STEP(1, null) STEP(2, null)},
        {"one-validation", START VALID(0, 5.5)}, {"torn", START "{\"st"}, {"huge", OLD_STEP(1e308, 1e308) "{\"step\":1e308,\"loss\":-1e308,\"seconds\":1e300,\"time\":1e300}\n"
                                             "{\"event\":\"resume\",\"step\":1e308,\"time\":1e308}\n" OLD_STEP(4e-320, 4e-320)}, {"zero", OLD_STEP(1, 0) OLD_STEP(2, 0)}};
    for (size_t i = 0; i < sizeof run / sizeof *run; i++) {
        char *page = read_report(make_run(run[i].name, run[i].metrics, NULL));
        if (!strcmp(run[i].name, "empty")) assert_has(page, "no values yet");
        if (!strcmp(run[i].name, "no-loss")) assert_has(page, "not taken: loss or gradient was not finite");
        if (!strcmp(run[i].name, "one-validation")) assert_has(page, "<dt>Validation loss</dt><dd>5.500</dd><dd class=\"note\">nats per token</dd>");
        free(page);
    }
}

#define RETENTION                                                                                                                            \
    "{\"task\":\"retention\",\"settings\":{\"length\":256,\"texts\":\"<b>\",\"base\":{\"model\":\"m&m\"}},\"scores\":{\"loss\":2.5,"            \
    "\"loss_stderr\":0.1},\"tables\":{\"loss\":[{\"model\":\"base\",\"step\":null,\"loss\":2.25,\"stderr\":0.5,\"change\":null,"                \
    "\"change_stderr\":null},{\"model\":\"step-2\",\"step\":2,\"loss\":2.5,\"stderr\":0.5,\"change\":0.25,\"change_stderr\":0.03125}],"           \
    "\"verdict\":[{\"measure\":\"Short-context loss\",\"lost\":0.25,\"stderr\":0.03125,\"most\":0.125,\"verdict\":\"lost more\"}]}}"

static void results_in_the_folder_are_reported(void **state) {
    (void)state;
    const char *folder = make_run("kept", START STEP(1, 9), NULL);
    assert_done(kd_make_folders(in_scratch("kept/retention")));
    assert_done(kd_make_folders(in_scratch("kept/javascript:a \"b")));
    assert_done(kd_make_folders(in_scratch("kept/torn")));
    scratch_text("kept/retention/result.json", RETENTION);
    scratch_text("kept/javascript:a \"b/result.json", "{\"task\":\"<i>\",\"scores\":{\"acc\":0.5,\"acc_stderr\":1,\"none\":null}}");
    scratch_text("kept/torn/result.json", "{\"task");
    char *page;
    int64_t size;
    assert_done(kd_report_write(folder, NULL));
    assert_done(kd_file_read(&page, &size, in_scratch("kept/report.html"), 1 << 24));
    assert_has(page, "<h2>Short-context retention</h2>");
    assert_has(page, "first 256 tokens of documents of &lt;b&gt;. The base, a broken line, is m&amp;m;");
    assert_has(page, "<td>base</td><td class=\"f\">2.2500 \u00b1 0.5000</td><td class=\"f\">\u2013</td>");
    assert_has(page, "<td>step-2</td><td class=\"f\">2.5000 \u00b1 0.5000</td><td class=\"f\">0.2500 \u00b1 0.0312</td>");
    assert_has(page, "<td>lost more</td>");
    assert_has(page, "<title>Short-context loss</title>");
    assert_null(strstr(page, "<title>HellaSwag and MMLU</title>"));
    assert_has(page, "href=\"./javascript%3Aa%20%22b/report.html\">javascript:a &quot;b</a></td><td>&lt;i&gt;</td><td>acc 0.5</td>");
    assert_has(page, "torn/result.json:1");
    char *scheme = strstr(page, "javascript:");  /* it stands there as a name */
    for (; scheme; scheme = strstr(scheme, "javascript:")) *scheme = 'J';
    assert_markup(page, false);
    free(page);
}

static void results_that_are_none_harm_no_report(void **state) {
    (void)state;
    static const char *const result[] = {"[]", "{}", "{\"tables\":{\"loss\":[1,{\"model\":3,\"step\":\"x\",\"loss\":\"y\"}],\"mmlu\":{},\"verdict\":[[]]}}",
                                         "{\"tables\":{\"loss\":[{\"step\":3,\"loss\":1e308},{\"step\":1,\"loss\":-1e308}]},\"scores\":[1]}"};
    make_run("odd", START STEP(1, 9), NULL);
    assert_done(kd_make_folders(in_scratch("odd/retention")));
    for (size_t i = 0; i < sizeof result / sizeof *result; i++) {
        scratch_text("odd/retention/result.json", result[i]);
        char *page = read_report(in_scratch("odd"));
        assert_has(page, "<h2>Short-context retention</h2>");
        free(page);
    }
}

/* ---- comparison -------------------------------------------------------------------------------------------- */

static void open_three(kd_comparison *c) {
    const char *folder[] = {
        make_run("a", START VALID(0, 9.5) STEP(1, 9) VALID(1, 6.5), "mask: full\nseed: 1\noutput: a\n"),
        make_run("b<c>", START VALID(0, 9.5) STEP(1, 9) STEP(2, 8) VALID(2, 7.5), "mask: anchor\nseed: 1\noutput: b\n"),
        make_run("bare", "", NULL)};
    assert_done(kd_comparison_open(c, folder, 3));
}

static void a_table_has_a_line_for_each_run(void **state) {
    (void)state;
    kd_comparison c;
    kd_text table = {0};
    open_three(&c);
    assert_done(kd_comparison_table(&table, &c));
    assert_has(table.data, "\na     full              1       100     9.000     9.500     6.500        50     50.0%         7   3.0 MiB         2\n");
    assert_has(table.data, "\nb<c>  anchor            2       200     8.000     9.500     7.500        50     50.0%         7   3.0 MiB         4\n");
    assert_has(table.data, "\nbare                    0         0         \u2013         \u2013");
    assert_has(table.data, "\n     256     6.500     7.500         \u2013\n");
    kd_text_free(&table);
    kd_comparison_close(&c);
}

static void a_length_that_a_run_did_not_see_is_a_dash(void **state) {
    (void)state;
    const char *folder[] = {
        make_run("short", VALID(0, 2.5), NULL),
        make_run("long", "{\"event\":\"valid\",\"step\":0,\"loss\":3,\"by_position\":[{\"from\":0,\"loss\":3.5},"
                         "{\"from\":512,\"loss\":4.5}]}\n", NULL)};
    kd_comparison c;
    kd_text table = {0};
    assert_done(kd_comparison_open(&c, folder, 2));
    assert_done(kd_comparison_table(&table, &c));
    assert_has(table.data, "\n       0     1.250     3.500\n     256     2.500         \u2013\n     512         \u2013     4.500\n");
    kd_text_free(&table);
    kd_comparison_close(&c);
}

static void json_has_numbers_and_nulls(void **state) {
    (void)state;
    kd_comparison c;
    json_t *out;
    open_three(&c);
    assert_done(kd_comparison_json(&out, &c));
    const json_t *runs = json_object_get(out, "runs"), *b = json_array_get(runs, 1), *bare = json_array_get(runs, 2);
    assert_int_equal(json_array_size(runs), 3);
    assert_string_equal(json_string_value(json_object_get(b, "mask")), "anchor");
    assert_true(json_number_value(json_object_get(b, "tokens")) == 200 && json_number_value(json_object_get(b, "valid_after")) == 7.5);
    assert_int_equal(json_array_size(json_object_get(b, "by_position")), 2);
    assert_true(json_is_null(json_object_get(bare, "valid_after")) && json_is_null(json_object_get(bare, "tokens_per_second")));
    json_decref(out);
    kd_comparison_close(&c);
}

static void a_page_has_curves_and_the_keys_that_differ(void **state) {
    (void)state;
    kd_comparison c;
    kd_text page = {0};
    open_three(&c);
    assert_done(kd_comparison_page(&page, &c));
    assert_markup(page.data, false);
    assert_has(page.data, "<title>Training loss over tokens</title>");
    assert_has(page.data, ">b&lt;c&gt;</text>");
    assert_has(page.data, "<th>mask</th><td>full</td><td>anchor</td><td></td>");
    assert_null(strstr(page.data, "<th>output</th>"));
    assert_null(strstr(page.data, "<th>window</th>"));
    kd_text_free(&page);
    kd_comparison_close(&c);
    const char *missing[] = {in_scratch("a"), in_scratch("nowhere")};
    assert_fails(kd_comparison_open(&c, missing, 2), KD_EIO, "nowhere");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_of_the_best_peak_of_the_run),
        cmocka_unit_test(steps_that_were_lost_count_once_as_they_were_done_last),
        cmocka_unit_test(rows_that_stand_twice_without_a_resume_count_once),
        cmocka_unit_test(torn_and_strange_lines_are_left_out),
        cmocka_unit_test(a_folder_without_metrics_is_no_run),
        cmocka_unit_test(a_report_says_what_the_metrics_say),
        cmocka_unit_test(a_report_of_old_metrics_lacks_what_they_lack),
        cmocka_unit_test(hostile_words_stay_words),
        cmocka_unit_test(little_and_nothing_are_reported_too),
        cmocka_unit_test(results_in_the_folder_are_reported),
        cmocka_unit_test(results_that_are_none_harm_no_report),
        cmocka_unit_test(a_table_has_a_line_for_each_run),
        cmocka_unit_test(a_length_that_a_run_did_not_see_is_a_dash),
        cmocka_unit_test(json_has_numbers_and_nulls),
        cmocka_unit_test(a_page_has_curves_and_the_keys_that_differ),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

/* Pictures: numbers, ticks, escaping, values in their places, and what charts do with nothing, one value and NaN. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/axis.h"
#include "markup.h"

static void numbers_read_well(void **state) {
    (void)state;
    static const struct { double value; bool binary; const char *text; } row[] = {
        {0, false, "0"}, {1, false, "1"}, {2.5, false, "2.5"}, {0.0123, false, "0.0123"}, {2e-5, false, "2e-5"},
        {1234, false, "1.23K"}, {12345, false, "12.3K"}, {999.99, false, "1K"}, {1e6, false, "1M"}, {-1500, false, "-1.5K"},
        {2.6e9, false, "2.6G"}, {100, false, "100"}, {256, true, "256"}, {1024, true, "1K"}, {65536, true, "64K"},
        {1 << 20, true, "1M"}, {1023, true, "1023"}, {NAN, false, "-"}, {INFINITY, false, "infinite"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char out[32];
        kd_number_format(out, row[i].value, row[i].binary);
        assert_string_equal(out, row[i].text);
    }
}

static void coordinates_are_hundredths(void **state) {
    (void)state;
    kd_text text = {0};
    const double x[] = {0, 1, -0.004, 1.5, -2.25, 3.999, 1e300, NAN};
    for (size_t i = 0; i < 8; i++) {
        kd_svg_number(&text, x[i]);
        kd_text_put(&text, " ");
    }
    assert_string_equal(text.data, "0 1 0 1.5 -2.25 4 10000000 0 ");
    kd_text_free(&text);
}

/* The labels of an axis, joined. */
static const char *labels(kd_axis axis, double lo, double hi, int64_t wanted, bool snug) {
    static char all[512];
    kd_ticks ticks;
    kd_ticks_init(&ticks, &axis, lo, hi, wanted, snug);
    ticks.from = 0;
    ticks.to = 100;
    *all = 0;
    for (int64_t i = 0; i < ticks.count; i++) {
        double at = kd_ticks_place(&ticks, ticks.at[i]);
        assert_true(at >= -0.01 && at <= 100.01);
        if (i) assert_true(ticks.at[i] > ticks.at[i - 1]);
        strcat(strcat(all, i ? " " : ""), ticks.label[i]);
    }
    return all;
}

static void ticks_are_at_one_two_and_five(void **state) {
    (void)state;
    assert_string_equal(labels((kd_axis){0}, 1.8, 7, 5, false), "1 2 3 4 5 6 7");
    assert_string_equal(labels((kd_axis){0}, 0, 2000, 5, true), "0 500 1000 1500 2000");
    assert_string_equal(labels((kd_axis){0}, 0, 23456, 5, false), "0 5K 10K 15K 20K 25K");
    assert_string_equal(labels((kd_axis){0}, 3.1, 3.2, 5, false), "3.10 3.12 3.14 3.16 3.18 3.20");
    assert_string_equal(labels((kd_axis){.whole = true}, 1, 3, 6, true), "1 2 3");
    assert_string_equal(labels((kd_axis){.whole = true}, 3, 3, 6, true), "2 3 4");
    assert_string_equal(labels((kd_axis){0}, 0, 2e-5, 5, false), "0 0.5 1.0 1.5 2.0");
    assert_string_equal(labels((kd_axis){.scale = KD_LOG_SCALE}, 1, 1e6, 5, true), "1 100 10K 1M");
    assert_string_equal(labels((kd_axis){.scale = KD_LOG_SCALE}, 0.5, 30, 5, true), "0.5 1 2 5 10 20");
    assert_string_equal(labels((kd_axis){.scale = KD_LOG2_SCALE}, 128, 16384, 4, true), "128 512 2K 8K");
    assert_string_equal(labels((kd_axis){.scale = KD_TOKENS_SCALE}, 0, 65536, 4, true), "0 16K 32K 48K 64K");
    assert_string_equal(labels((kd_axis){.min = 0, .max = 1}, INFINITY, -INFINITY, 5, false), "0 0.2 0.4 0.6 0.8 1.0");
}

static void a_small_unit_is_named_at_the_axis(void **state) {
    (void)state;
    kd_ticks ticks;
    char name[128];
    kd_ticks_init(&ticks, &(kd_axis){0}, 0, 2e-5, 5, false);
    kd_ticks_name(name, &ticks, "lr");
    assert_string_equal(name, "lr, \u00d7 1e-5");
}

static char *draw(const kd_chart *chart, bool alone) {
    kd_text text = {0};
    assert_int_equal(kd_chart_draw(&text, chart, alone), KD_OK);
    assert_markup(text.data, alone);
    return text.data;
}

static void a_value_is_where_the_axis_says(void **state) {
    (void)state;
    const double x[] = {0, 5, 10}, y[] = {0, 50, 100};
    const kd_series series = {"s", x, y, 3, KD_SERIES_POINTS, 2};
    char *picture = draw(&(kd_chart){"t", {.label = "x"}, {.label = "y"}, &series, 1}, true);
    /* Three points of a straight line: the middle one lies in the middle of the others. */
    double cx[3], cy[3];
    const char *at = picture;
    for (int i = 0; i < 3; i++) {
        at = strstr(at, "<circle class=\"k2 k-halo\" cx=\"");
        assert_non_null(at);
        cx[i] = strtod(at + 30, NULL);
        cy[i] = strtod(strstr(at, "cy=\"") + 4, NULL);
        at++;
    }
    assert_true(fabs(cx[1] - (cx[0] + cx[2]) / 2) < 0.02 && fabs(cy[1] - (cy[0] + cy[2]) / 2) < 0.02);
    assert_true(cy[0] == 238 && cy[2] == 48 && cx[0] < cx[2]);  /* 0 at the bottom, 100 at the top */
    assert_non_null(strstr(picture, "<title>s: 50 at 5</title>"));
    free(picture);
}

static void hostile_names_stay_words(void **state) {
    (void)state;
    const char *evil = "<script>alert('x')</script>\"&\x01\xff";
    const double one = 1;
    const kd_series series = {evil, &one, &one, 1, KD_SERIES_TREND, 0};
    char *picture = draw(&(kd_chart){evil, {.label = evil}, {.label = evil}, &series, 1}, false);
    assert_null(strstr(picture, "<script"));
    assert_non_null(strstr(picture, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;??"));
    free(picture);
    kd_text text = {0};
    kd_text_escape(&text, "a\xc3\xa4\xff<\xe2\x82");
    assert_string_equal(text.data, "a\xc3\xa4?&lt;??");
    kd_text_free(&text);
}

static void nothing_one_value_and_nan_are_drawn(void **state) {
    (void)state;
    const double x[] = {1, 2, 3, 4}, nan[] = {NAN, NAN, NAN, NAN}, gap[] = {5, NAN, 6, INFINITY}, below[] = {-1, 0, 2, 3};
    kd_series series = {"s", x, nan, 4, KD_SERIES_TREND, 0};
    kd_chart chart = {"t", {.label = "x"}, {.label = "y"}, &series, 0};
    char *picture = draw(&chart, true);
    assert_non_null(strstr(picture, "no values yet"));
    free(picture);
    chart.y.nothing = "exactly 0";
    picture = draw(&chart, true);
    assert_non_null(strstr(picture, ">exactly 0</text>"));
    free(picture);
    chart.y.nothing = NULL;
    chart.count = 1;
    picture = draw(&chart, true);
    assert_non_null(strstr(picture, "no values yet"));
    free(picture);
    series.y = gap;
    series.style = KD_SERIES_LINE;
    picture = draw(&chart, true);
    assert_null(strstr(picture, "nan"));
    const char *line = strstr(picture, "class=\"k0 k-line\" d=\"");  /* two points that are not joined */
    assert_true(line[21] == 'M' && strchr(line + 22, 'M') < strchr(line + 21, '/') && !memchr(line + 21, 'L', (size_t)(strchr(line + 21, '/') - line - 21)));
    free(picture);
    series.n = 1;
    picture = draw(&chart, true);
    assert_non_null(strstr(picture, "<circle"));
    free(picture);
    series = (kd_series){"s", x, below, 4, KD_SERIES_POINTS, 0};
    chart.y.scale = KD_LOG_SCALE;
    picture = draw(&chart, true);
    free(picture);
}

static void a_million_points_make_a_small_picture(void **state) {
    (void)state;
    enum { N = 200000 };
    double *x = calloc(N, sizeof *x), *y = calloc(N, sizeof *y);
    for (int i = 0; i < N; i++) x[i] = i, y[i] = i % 977;
    y[100000] = 5000;  /* one of them stands out and is still there */
    const kd_series series = {NULL, x, y, N, KD_SERIES_LINE, 0};
    char *picture = draw(&(kd_chart){"t", {0}, {0}, &series, 1}, false);
    assert_true(strlen(picture) < 40000);
    assert_non_null(strstr(picture, " 48L"));
    free(picture);
    free(x);
    free(y);
}

static void names_at_line_ends_do_not_meet(void **state) {
    (void)state;
    const double x[] = {0, 1}, y[] = {3, 3};
    kd_series series[8];
    for (int i = 0; i < 8; i++) series[i] = (kd_series){"run", x, y, 2, KD_SERIES_LINE, i};
    char *picture = draw(&(kd_chart){"t", {0}, {0}, series, 8}, false);
    double last = -100;
    for (const char *at = picture; (at = strstr(at, "k-name\""));) {
        double here = strtod(strstr(at, " y=\"") + 4, NULL);
        assert_true(here - last >= 13.9);
        last = here;
        at++;
    }
    assert_true(last <= 280);
    free(picture);
}

/* Names stand at 0, 1 ..; those that have no room are left out, never the last, and the points say them all. */
static void names_along_an_axis_do_not_meet(void **state) {
    (void)state;
    static const char *const name[] = {"0", "2", "15", "16", "17", "a<b", "1000", "2000", "131072"};
    enum { N = sizeof name / sizeof *name, MANY = 4 };
    const double x[] = {0, 1, 2, 3, 4, 5, 6, 7, 8}, y[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    const kd_series series = {"s", x, y, N, KD_SERIES_POINTS, 0};
    const char *many[MANY * N];
    char *picture = draw(&(kd_chart){"t", {.name = name, .names = N}, {0}, &series, 1}, false);
    for (int i = 0; i < N; i++) {  /* all of them have room */
        char words[32];
        snprintf(words, sizeof words, ">%s</text>", i == 5 ? "a&lt;b" : name[i]);
        if (!strstr(picture, words)) fail_msg("%s is not there", words);
    }
    assert_non_null(strstr(picture, "1 at a&lt;b</title>"));
    free(picture);
    for (int i = 0; i < MANY * N; i++) many[i] = name[i % N];
    picture = draw(&(kd_chart){"t", {.name = many, .names = MANY * N}, {0}, &series, 1}, false);
    double end = -100, limit = 0;
    int64_t shown = 0;
    for (const char *at = strstr(picture, "k-axis"); (at = strstr(at, "text-anchor=\"middle\" x=\""));) {
        double middle = strtod(at + 24, NULL);
        char words[16];
        at = strchr(at, '>');
        snprintf(words, sizeof words, "%.*s", (int)strcspn(at + 1, "<"), at + 1);
        if (shown++ == 0) {  /* the last one is drawn first */
            assert_string_equal(words, name[N - 1]);
            limit = middle - kd_svg_width(words) / 2;
            continue;
        }
        assert_true(middle - kd_svg_width(words) / 2 > end);
        end = middle + kd_svg_width(words) / 2;
        assert_true(end < limit);
    }
    assert_true(shown > 10 && shown < MANY * N);
    free(picture);
}

static void a_second_round_of_colours_is_dashed(void **state) {
    (void)state;
    const double x[] = {0, 1};
    const kd_series series[] = {{"a", x, x, 2, KD_SERIES_LINE, 1}, {"b", x, x, 2, KD_SERIES_LINE, 1 + KD_SVG_COLOURS}};
    char *picture = draw(&(kd_chart){"t", {0}, {0}, series, 2}, false);
    assert_non_null(strstr(picture, "class=\"k1 k-line\""));
    assert_non_null(strstr(picture, "class=\"k1 k-line k-dash\""));
    free(picture);
}

static void heat_maps_and_bars_are_drawn(void **state) {
    (void)state;
    const double value[] = {1, -2, NAN, 4, 0, 3};
    const char *const row[] = {"a<b", "c"};
    kd_text text = {0};
    assert_int_equal(kd_heat_map_draw(&text, &(kd_heat_map){"m", "rows", "columns", row, NULL, value, 2, 3, "%"}, true), KD_OK);
    assert_markup(text.data, true);
    assert_non_null(strstr(text.data, "<title>a&lt;b, 1: -2</title>"));
    assert_null(strstr(text.data, "a&lt;b, 2:"));  /* a value that is not there is no cell */
    text.size = 0;
    assert_int_equal(kd_heat_map_draw(&text, &(kd_heat_map){"m", NULL, NULL, NULL, NULL, NULL, 0, 0, NULL}, true), KD_OK);
    assert_markup(text.data, true);
    text.size = 0;
    const kd_bars bars = {"b", "%", row, value + 3, .count = 2};
    assert_int_equal(kd_bars_draw(&text, &bars, true), KD_OK);
    assert_markup(text.data, true);
    assert_non_null(strstr(text.data, ">4</text>"));
    kd_text_free(&text);
}

static int64_t count_of(const char *text, const char *words) {
    int64_t count = 0;
    for (const char *at = strstr(text, words); at; at = strstr(at + 1, words)) count++;
    return count;
}

/* Two series and what was aimed at, which one name does not have: four bars, one mark, and the key. */
static void bars_of_several_series_have_a_key_and_a_mark(void **state) {
    (void)state;
    const char *const name[] = {"one", "two"}, *const series[] = {"before<", "after", "planned"};
    const double value[] = {10, 20, 30, 0.5, 25, NAN};
    const kd_bars bars = {"b", "%", name, value, 2, series, 3, true};
    kd_text text = {0};
    assert_int_equal(kd_bars_draw(&text, &bars, true), KD_OK);
    assert_markup(text.data, true);
    assert_int_equal(count_of(text.data, "<rect class=\"k-fill\""), 4 + 2);
    assert_int_equal(count_of(text.data, "<rect class=\"k-ink\""), 1 + 1);
    assert_non_null(strstr(text.data, ">before&lt;</text>"));
    assert_non_null(strstr(text.data, ">0.5</text>"));
    kd_text_free(&text);
}

static void base64_is_rfc_4648(void **state) {
    (void)state;
    static const char *const vector[] = {"", "", "f", "Zg==", "fo", "Zm8=", "foo", "Zm9v", "foob", "Zm9vYg==", "foobar", "Zm9vYmFy"};
    for (int i = 0; i < 12; i += 2) {
        kd_text text = {0};
        kd_text_put(&text, "");
        kd_text_base64(&text, vector[i], (int64_t)strlen(vector[i]));
        assert_string_equal(text.data, vector[i + 1]);
        kd_text_free(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(coordinates_are_hundredths),
        cmocka_unit_test(ticks_are_at_one_two_and_five),
        cmocka_unit_test(a_small_unit_is_named_at_the_axis),
        cmocka_unit_test(a_value_is_where_the_axis_says),
        cmocka_unit_test(hostile_names_stay_words),
        cmocka_unit_test(nothing_one_value_and_nan_are_drawn),
        cmocka_unit_test(a_million_points_make_a_small_picture),
        cmocka_unit_test(names_at_line_ends_do_not_meet),
        cmocka_unit_test(names_along_an_axis_do_not_meet),
        cmocka_unit_test(a_second_round_of_colours_is_dashed),
        cmocka_unit_test(heat_maps_and_bars_are_drawn),
        cmocka_unit_test(bars_of_several_series_have_a_key_and_a_mark),
        cmocka_unit_test(base64_is_rfc_4648),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

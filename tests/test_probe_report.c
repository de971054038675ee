/* The report of a probe that was filled by hand: what its files hold, and what they do without numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdint.h>

#include "base/random.h"
#include "format/json.h"
#include "markup.h"
#include "probe/probe.h"
#include "scratch.h"

enum { T = 2048, L = 4, H = 4, TEXTS = 3, CURVES = 3, MOST_SHIFTS = 21, LENGTHS = 6 };

static const int64_t paper_shifts[MOST_SHIFTS] = {0, 2, 4, 6, 8, 10, 12, 14, 15, 16, 17, 18, 20, 22, 50, 100, 200, 500, 1000, 2000, 131072};
static const int64_t paper_lengths[LENGTHS] = {64, 128, 256, 512, 1024, 2048};

typedef struct made { kd_probe probe; kd_probe_curve curve[CURVES]; int64_t shift[MOST_SHIFTS], length[LENGTHS]; } made;

/* What each curve's numbers are multiples of. */
static const double size_of[CURVES] = {100, 0.125, 12.5};

/* Near 1, and another number at every place. */
static double about_one(int64_t c, int64_t what, int64_t i) {
    return 1 + 0.1 * kd_random_normal(7, (uint64_t)(16 * c + what), (uint64_t)i);
}

static double *numbers_of(int64_t count) {
    double *out;
    assert_done(kd_new(&out, count, sizeof *out));
    return out;
}

static void fill_mode(const kd_probe *p, int64_t c, int m) {
    const kd_probe_grid *g = &p->grid;
    kd_probe_numbers *n = &p->curve[c].mode[m];
    int64_t pairs = kd_probe_pairs(g);
    double size = size_of[c] * (m == KD_ISOLATED ? 0.25 : 1);
    double **array[] = {&n->d, &n->d_signed, &n->rows, &n->most, &n->first, &n->first_other};
    const double part[] = {1, 0.3, 0.001, 0.01, 0.4, 0.03};
    for (int k = 0; k < 6; k++) {
        *array[k] = numbers_of(TEXTS * pairs);
        for (int64_t i = 0; i < TEXTS * pairs; i++) {
            int64_t base = i % pairs / g->shifts, s = i % g->shifts;
            bool same = g->shift[s] == (base ? g->against : g->shift[0]);
            (*array[k])[i] = k >= 4 ? (same ? NAN : 100 * part[k] * about_one(c, k, i)) : same ? 0 : size * part[k] * about_one(c, k, i);
        }
    }
    n->logit = numbers_of(TEXTS * g->lengths);
    for (int64_t i = 0; i < TEXTS * g->lengths; i++) n->logit[i] = size * pow((double)g->length[i % g->lengths], 0.5);
    n->key = numbers_of(g->T);
    for (int64_t j = 0; j < g->T; j++) n->key[j] = size * 0.02 * (j ? fabs(about_one(c, 8, j)) / sqrt((double)j) : 12);
    n->head = numbers_of(L * H);
    for (int64_t h = 0; h < L * H; h++) n->head[h] = size / 16 * (1 + (double)h / 8);
}

/* "toy" in bf16 and exact, and in bf16 with random weights; `modes` of them, `shifts` of the paper's. */
static void make(made *m, int modes, int64_t shifts, int64_t lengths) {
    static char *model[CURVES] = {"toy", "toy", "random toy"};
    static const char *const precision[CURVES] = {"bf16", "exact", "bf16"};
    *m = (made){.probe = {.grid = {T, m->shift, shifts, 16, m->length, lengths, T}, .texts = TEXTS, .curve = m->curve, .curves = CURVES,
                          .mask = "full", .frame = "window", .source = "three made texts"}};
    memcpy(m->shift, paper_shifts, sizeof m->shift);
    memcpy(m->length, paper_lengths, sizeof m->length);
    if (shifts == 2) m->shift[1] = 16;
    for (int64_t c = 0; c < CURVES; c++) {
        m->curve[c] = (kd_probe_curve){.model = model[c], .precision = precision[c], .random = c == 2, .L = L, .H = H, .E = 64, .seconds = 12.5};
        m->curve[c].sink = numbers_of(L * H);
        for (int64_t h = 0; h < L * H; h++) m->curve[c].sink[h] = c == 2 ? 0.01 : 0.05 * (double)(h + 1);
        for (int k = 0; k < modes; k++) fill_mode(&m->probe, c, k);
    }
}

static void unmake(made *m) {
    for (int64_t c = 0; c < CURVES; c++) {
        free(m->curve[c].sink);
        for (int k = 0; k < KD_PROBE_MODES; k++) {
            kd_probe_numbers *n = &m->curve[c].mode[k];
            double *array[] = {n->d, n->d_signed, n->rows, n->most, n->first, n->first_other, n->logit, n->key, n->head};
            for (size_t i = 0; i < sizeof array / sizeof *array; i++) free(array[i]);
        }
    }
}

/* ---- files ------------------------------------------------------------------------------------------------- */

static const char *const names[] = {
    "probe.json", "report.html", "figure1_left.svg", "figure1_left.csv", "figure1_middle.svg", "figure1_middle.csv",
    "figure1_right.svg", "figure1_right.csv", "figure7_left.svg", "figure7_left.csv", "figure7_right.svg", "figure7_right.csv",
    "heads.svg", "heads.csv", "sink.svg",
};

/* The text of a file; NULL where there is none. free() it. */
static char *text_of(const char *name) {
    char *data = NULL;
    int64_t size;
    if (kd_exists(in_scratch(name))) assert_done(kd_file_read(&data, &size, in_scratch(name), 64 << 20));
    return data;
}

/* Writes it; every file there is in order; returns the page, to be freed. */
static char *write_all(const made *m) {
    assert_done(kd_probe_write(&m->probe, scratch));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *text = text_of(names[i]);
        if (text && strstr(names[i], ".svg")) assert_markup(text, true);
        if (text && strstr(names[i], ".html")) assert_markup(text, false);
        if (text) assert_int_equal(text[strlen(text) - 1], strstr(names[i], ".json") ? '}' : '\n');
        free(text);
    }
    return text_of("report.html");
}

static bool is_written(const char *name) { return kd_exists(in_scratch(name)); }

static int64_t lines_of(const char *name) {
    char *text = text_of(name);
    int64_t count = 0;
    assert_non_null(text);
    for (const char *at = text; *at; at++) count += *at == '\n';
    free(text);
    return count;
}

/* The field of the first line that begins so; fields are counted from 0. */
static double field(const char *name, const char *begin, int number) {
    char *text = text_of(name), *at = text;
    assert_non_null(text);
    while (at && strncmp(at, begin, strlen(begin))) at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL;
    if (!at || !*at) fail_msg("%s has no line \"%s\"", name, begin);
    for (int i = 0; i < number; i++) at = strchr(at, ',') + 1;
    double value = *at == ',' || *at == '\n' ? NAN : strtod(at, NULL);
    free(text);
    return value;
}

static void assert_says(const char *page, const char *words) {
    if (!strstr(page, words)) fail_msg("the page does not say \"%s\"", words);
}

/* ---- tests ------------------------------------------------------------------------------------------------- */

static void every_number_is_in_a_table(void **state) {
    (void)state;
    made m;
    make(&m, 2, MOST_SHIFTS, LENGTHS);
    free(write_all(&m));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_true(is_written(names[i]));
    assert_int_equal(lines_of("figure1_left.csv"), 1 + CURVES * 2 * MOST_SHIFTS);
    assert_int_equal(lines_of("figure1_middle.csv"), 1 + CURVES * 2 * T);
    assert_int_equal(lines_of("figure1_right.csv"), 1 + CURVES * 2 * LENGTHS);
    assert_int_equal(lines_of("figure7_left.csv"), 1 + CURVES * 2 * TEXTS * MOST_SHIFTS);
    assert_int_equal(lines_of("figure7_right.csv"), 1 + CURVES * 2 * TEXTS * MOST_SHIFTS);
    assert_int_equal(lines_of("heads.csv"), 1 + CURVES * 2 * L * H);
    /* Shift 4 against 16: base 1, place 2. */
    const kd_probe_numbers *n = &m.curve[0].mode[KD_PROPAGATED];
    const int64_t pairs = 2 * MOST_SHIFTS, at = MOST_SHIFTS + 2;
    double a = n->d[at], b = n->d[pairs + at], c = n->d[2 * pairs + at], mean = (a + b + c) / 3;
    double sd = sqrt(((a - mean) * (a - mean) + (b - mean) * (b - mean) + (c - mean) * (c - mean)) / 2);
    const char *line = "toy,bf16,propagated,4,16,";
    assert_float_equal(field("figure1_left.csv", line, 5), mean, 1e-12 * mean);
    assert_float_equal(field("figure1_left.csv", line, 6), sd, 1e-9 * sd);
    assert_true(field("figure1_left.csv", line, 7) == fmin(a, fmin(b, c)));
    assert_true(field("figure1_left.csv", line, 8) == fmax(a, fmax(b, c)));
    assert_true(field("figure1_left.csv", line, 9) == TEXTS);
    assert_true(field("figure1_left.csv", "toy,exact,isolated,16,16,", 5) == 0);
    assert_true(field("figure1_middle.csv", "random toy,bf16,propagated,1000,", 4) == m.curve[2].mode[0].key[1000]);
    assert_float_equal(field("figure1_right.csv", "toy,exact,isolated,256,", 4), 0.125 * 0.25 * 16, 1e-12);
    line = "toy,bf16,propagated,1,4,16,";
    const double *array[] = {n->d, n->d_signed, n->rows, n->first, n->first_other, n->most};
    for (int k = 0; k < 6; k++) assert_true(field("figure7_left.csv", line, 6 + k) == array[k][pairs + at]);
    assert_true(field("figure7_right.csv", "toy,bf16,propagated,1,0,4,", 6) == n->d[pairs + 2]);
    assert_true(isnan(field("figure7_right.csv", "toy,bf16,propagated,1,0,0,", 9)));  /* nothing over nothing */
    assert_true(field("heads.csv", "toy,exact,isolated,1,2,", 5) == m.curve[1].mode[1].head[H + 2]);
    assert_true(field("heads.csv", "toy,exact,isolated,1,2,", 6) == m.curve[1].sink[H + 2]);
    unmake(&m);
}

static double real_at(const json_t *list, size_t i, size_t k) { return json_number_value(json_array_get(json_array_get(list, i), k)); }

static void json_has_every_number(void **state) {
    (void)state;
    made m;
    json_t *root;
    int64_t version = 0;
    make(&m, 2, MOST_SHIFTS, LENGTHS);
    free(write_all(&m));
    assert_done(kd_json_load(&root, in_scratch("probe.json")));
    assert_done(kd_json_int(&version, root, "version", "probe.json"));
    assert_int_equal(version, 1);
    assert_int_equal(json_array_size(json_object_get(root, "shifts")), MOST_SHIFTS);
    assert_string_equal(json_string_value(json_object_get(root, "source")), "three made texts");
    const json_t *curves = json_object_get(root, "curves"), *curve = json_array_get(curves, 2);
    assert_int_equal(json_array_size(curves), CURVES);
    assert_true(json_is_true(json_object_get(curve, "random")));
    assert_true(real_at(json_object_get(curve, "sink"), 3, 3) == m.curve[2].sink[15]);
    for (int k = 0; k < KD_PROBE_MODES; k++) {
        const json_t *mode = json_object_get(curve, k ? "isolated" : "propagated");
        const kd_probe_numbers *n = &m.curve[2].mode[k];
        const struct { const char *name; const double *value; int64_t columns; } row[] = {
            {"d", n->d, 2 * MOST_SHIFTS}, {"d_signed", n->d_signed, 2 * MOST_SHIFTS}, {"rows", n->rows, 2 * MOST_SHIFTS},
            {"largest_logit_change", n->most, 2 * MOST_SHIFTS}, {"first_over_median", n->first, 2 * MOST_SHIFTS},
            {"first_over_largest_other", n->first_other, 2 * MOST_SHIFTS}, {"d_logit", n->logit, LENGTHS}};
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            const json_t *list = json_object_get(mode, row[i].name);
            assert_int_equal(json_array_size(list), TEXTS);
            assert_true(real_at(list, 2, 3) == row[i].value[2 * row[i].columns + 3]);
        }
        assert_true(json_is_null(json_array_get(json_array_get(json_object_get(mode, "first_over_median"), 0), 0)));
        assert_int_equal(json_array_size(json_object_get(mode, "d_by_key")), T);
        assert_true(json_number_value(json_array_get(json_object_get(mode, "d_by_key"), 77)) == n->key[77]);
        assert_true(real_at(json_object_get(mode, "d_by_head"), 1, 2) == n->head[H + 2]);
    }
    json_decref(root);
    unmake(&m);
}

static void set_all(double *value, int64_t count, double to) {
    for (int64_t i = 0; i < count; i++) value[i] = to;
}

/* The factor between two curves is known, and the words turn when the numbers do. */
static void sentences_follow_the_numbers(void **state) {
    (void)state;
    made m;
    make(&m, 2, MOST_SHIFTS, LENGTHS);
    const int64_t all = TEXTS * 2 * MOST_SHIFTS;
    kd_probe_numbers *bf16 = &m.curve[0].mode[0], *exact = &m.curve[1].mode[0], *random = &m.curve[2].mode[0];
    set_all(bf16->d, all, 100);
    set_all(exact->d, all, 0.25);
    set_all(random->d, all, 12.5);
    set_all(m.curve[0].mode[1].d, all, 25);
    set_all(bf16->first, all, 41);
    set_all(bf16->first_other, all, 0.5);
    for (int64_t i = 0; i < TEXTS; i++) bf16->d[i * 2 * MOST_SHIFTS + MOST_SHIFTS - 1] = 300;  /* at the last shift */
    char *page = write_all(&m);
    assert_says(page, "bf16 moves attention 400 times as much as exact: D is 100 and 0.25.");
    assert_says(page, "The first key moves 41 times as much as the median key and 2 times less than the one that moves most of the others.");
    assert_says(page, "From 64 to 2048 tokens D_logit of the first key grows as T^0.50.");
    assert_says(page, "Between 0 and 131072 bf16 moves 3 times as much as between 0 and 16.");
    assert_says(page, "A random model of the same shape moves 8 times less than this one; there the first key moves ");
    assert_says(page, "moves 4 times less than the whole network.");
    assert_says(page, "Head 3 of layer 3 moves most, ");
    assert_says(page, "Queries give the first key 42.5% of their attention on average; in head 3 of layer 3, 80.0%.");
    assert_says(page, "<dd>400\u00d7</dd>");
    free(page);
    set_all(exact->d, all, 200);
    set_all(random->d, all, 103);
    set_all(bf16->first, all, 0.5);
    for (int64_t i = 0; i < TEXTS * LENGTHS; i++) bf16->logit[i] = 3;
    page = write_all(&m);
    assert_says(page, "bf16 moves attention 2 times less than exact");
    assert_says(page, "The first key moves 2 times less than the median key");
    assert_says(page, "stays about the same: T^0.00.");
    assert_says(page, "A random model of the same shape moves as much as this one; there ");
    free(page);
    set_all(random->d, all, 5000);  /* most of all, but it is the trained model that is reported */
    page = write_all(&m);
    assert_says(page, "bf16 moves attention 2 times less than exact");
    assert_says(page, "A random model of the same shape moves 50 times as much as this one");
    assert_says(page, "<dt>D(0, 16), bf16</dt>");
    free(page);
    unmake(&m);
}

static void what_does_not_move_is_said_to(void **state) {
    (void)state;
    made m;
    make(&m, 2, MOST_SHIFTS, LENGTHS);
    const int64_t all = TEXTS * 2 * MOST_SHIFTS;
    for (int c = 1; c >= 0; c--) {  /* exact alone, then all but the random model */
        for (int k = 0; k < KD_PROBE_MODES; k++) {
            kd_probe_numbers *n = &m.curve[c].mode[k];
            double *array[] = {n->d, n->d_signed, n->rows, n->most};
            for (int i = 0; i < 4; i++) set_all(array[i], all, 0);
            set_all(n->first, all, NAN);
            set_all(n->first_other, all, NAN);
            set_all(n->logit, TEXTS * LENGTHS, 0);
            set_all(n->key, T, 0);
            set_all(n->head, L * H, 0);
        }
        char *page = write_all(&m);
        assert_says(page, c ? "exact does not move it at all." : "Neither bf16 nor exact moves attention: D is exactly 0.");
        assert_says(page, c ? "so that what does not move is not drawn: exact (propagated), exact (isolated)."
                            : "not drawn: bf16 (propagated), exact (propagated), bf16 (isolated), exact (isolated).");
        if (c == 0) assert_says(page, "exactly 0 everywhere");  /* text by text */
        free(page);
    }
    unmake(&m);
}

/* As of a dump, after a probe that measured more: nothing of that one is left. */
static void one_mode_two_shifts_no_lengths(void **state) {
    (void)state;
    made m;
    make(&m, 2, MOST_SHIFTS, LENGTHS);
    free(write_all(&m));
    unmake(&m);
    make(&m, 1, 2, 0);
    m.curve[0].precision = "as stored";
    m.probe.curves = 1;
    char *page = write_all(&m);
    assert_non_null(page);
    assert_says(page, "as stored moves attention: D is ");
    assert_null(strstr(page, "isolated"));
    assert_null(strstr(page, "From 64"));
    assert_says(page, "one curve of this model was measured");
    assert_null(strstr(page, "Figure 7"));
    free(page);
    static const char *const none[] = {"figure1_left.svg", "figure1_right.svg", "figure1_right.csv", "figure7_left.svg", "figure7_right.svg"};
    for (int i = 0; i < 5; i++) assert_false(is_written(none[i]));
    assert_true(is_written("figure1_middle.svg") && is_written("heads.svg") && is_written("sink.svg"));
    assert_int_equal(lines_of("figure1_left.csv"), 1 + 2);
    assert_int_equal(lines_of("figure7_right.csv"), 1 + TEXTS * 2);
    m.probe.curves = CURVES;
    unmake(&m);
}

static void isolated_alone_is_the_main_mode(void **state) {
    (void)state;
    made m;
    make(&m, 2, MOST_SHIFTS, LENGTHS);
    kd_probe_numbers kept[CURVES];
    for (int c = 0; c < CURVES; c++) {
        kept[c] = m.curve[c].mode[KD_PROPAGATED];
        m.curve[c].mode[KD_PROPAGATED] = (kd_probe_numbers){0};
    }
    char *page = write_all(&m), *picture = text_of("figure1_left.svg");
    assert_says(page, "bf16 moves attention ");
    assert_says(picture, "rotation alone (isolated)");
    assert_int_equal(lines_of("figure1_left.csv"), 1 + CURVES * MOST_SHIFTS);
    free(picture);
    free(page);
    for (int c = 0; c < CURVES; c++) m.curve[c].mode[KD_PROPAGATED] = kept[c];
    unmake(&m);
}

static void hostile_names_stay_names(void **state) {
    (void)state;
    made m;
    json_t *root;
    make(&m, 1, MOST_SHIFTS, LENGTHS);
    m.curve[0].model = "a<b>&\"c\",\nd";
    m.curve[1].model = "not \xff UTF-8";
    m.curve[1].precision = "<&>";
    set_all(m.curve[1].mode[0].d, TEXTS * 2 * MOST_SHIFTS, 0);
    m.probe.source = "<script>alert('x')</script>";
    char *page = write_all(&m), *table = text_of("heads.csv");
    assert_says(page, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
    assert_says(page, "a&lt;b&gt;&amp;&quot;c&quot;");
    assert_says(page, "&lt;&amp;&gt;, not ? UTF-8 (propagated).");
    assert_says(table, "\n\"a<b>&\"\"c\"\",\nd\",bf16,propagated,0,0,");
    assert_done(kd_json_load(&root, in_scratch("probe.json")));
    const json_t *curve = json_array_get(json_object_get(root, "curves"), 0);
    assert_string_equal(json_string_value(json_object_get(curve, "model")), m.curve[0].model);
    json_decref(root);
    free(table);
    free(page);
    unmake(&m);
}

/* A point says its value and its shift; at d1 = d2 there is none, and text by text it is 0. */
static void a_picture_has_the_pair_it_says(void **state) {
    (void)state;
    static const char *const file[] = {"figure1_left.svg", "figure7_left.svg", "figure7_right.svg"};
    static const char *const there[] = {"<title>bf16: 55 at 4</title>", "<title>text 1: 55 at 4</title>", "<title>text 1: 66 at 4</title>"};
    static const char *const same[] = {" at 16</title>", "<title>text 1: 0 at 16</title>", "<title>text 1: 0 at 0</title>"};
    made m;
    make(&m, 1, MOST_SHIFTS, LENGTHS);
    for (int64_t i = 0; i < TEXTS; i++) {
        m.curve[0].mode[0].d[i * 2 * MOST_SHIFTS + 2] = 66;
        m.curve[0].mode[0].d[i * 2 * MOST_SHIFTS + MOST_SHIFTS + 2] = 55;
    }
    free(write_all(&m));
    for (int i = 0; i < 3; i++) {
        char *picture = text_of(file[i]);
        assert_says(picture, there[i]);
        assert_int_equal(strstr(picture, same[i]) != NULL, i > 0);
        free(picture);
    }
    unmake(&m);
}

/* The picture of keys is small, and has the first key, every key below 64 and the largest of the others. */
static void the_picture_of_keys_is_small(void **state) {
    (void)state;
    made m;
    make(&m, 1, MOST_SHIFTS, LENGTHS);
    char *before, *after;
    kd_probe_numbers *n = &m.curve[0].mode[0];
    free(write_all(&m));
    before = text_of("figure1_middle.svg");
    assert_true(strlen(before) < 20000);
    n->key[1500] = 0;  /* one of many in its run: nothing is seen of it */
    free(write_all(&m));
    after = text_of("figure1_middle.svg");
    assert_string_equal(before, after);
    free(after);
    n->key[63] *= 2;
    free(write_all(&m));
    after = text_of("figure1_middle.svg");
    assert_string_not_equal(before, after);
    free(after);
    free(before);
    unmake(&m);
}

static void a_folder_that_is_not_there_is_an_error(void **state) {
    (void)state;
    made m;
    make(&m, 1, 3, 1);
    assert_fails(kd_probe_write(&m.probe, in_scratch("nowhere")), KD_EIO, "nowhere");
    m.probe.curves = 0;
    assert_done(kd_probe_write(&m.probe, scratch));  /* and nothing is something to write */
    unmake(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_in_a_table),
        cmocka_unit_test(json_has_every_number),
        cmocka_unit_test(sentences_follow_the_numbers),
        cmocka_unit_test(what_does_not_move_is_said_to),
        cmocka_unit_test(one_mode_two_shifts_no_lengths),
        cmocka_unit_test(isolated_alone_is_the_main_mode),
        cmocka_unit_test(hostile_names_stay_names),
        cmocka_unit_test(a_picture_has_the_pair_it_says),
        cmocka_unit_test(the_picture_of_keys_is_small),
        cmocka_unit_test(a_folder_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

/* Draws beside Python's: random.Random and numpy.random.RandomState. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/python_random.h"
#include "eval_vectors.h"

static void draws_are_pythons(void **state) {
    (void)state;
    kd_python_random r;
    static const double uniform[] = {0.6394267984578837, 0.025010755222666936, 0.27502931836911926, 0.22321073814882275,
                                     0.7364712141640124};
    static const uint32_t bits[] = {2746317213u, 478163327u, 107420369u, 3184935163u, 1181241943u};
    static const int64_t below[] = {654, 114, 25, 759, 281};
    kd_python_seed(&r, 42);
    for (int i = 0; i < 5; i++) assert_true(kd_python_uniform(&r) == uniform[i]);
    kd_python_seed(&r, 42);
    for (int i = 0; i < 5; i++) assert_int_equal(kd_python_bits32(&r), bits[i]);
    kd_python_seed(&r, 42);
    for (int i = 0; i < 5; i++) assert_int_equal(kd_python_below(&r, 1000), below[i]);
    kd_python_seed(&r, (uint64_t)1 << 40);  /* two words */
    assert_true(kd_python_uniform(&r) == 0.1036394562812375);
}

static void samples_and_shuffles_are_pythons(void **state) {
    (void)state;
    kd_python_random r;
    static const struct { int64_t n, k, drawn[10]; } sample[] = {
        {40, 4, {7, 1, 17, 15}}, {1000, 5, {654, 114, 25, 759, 281}}, {21, 10, {20, 3, 0, 8, 7, 16, 2, 11, 1, 10}}};
    int64_t out[16], order[10];
    for (int i = 0; i < 3; i++) {
        kd_python_seed(&r, 42);
        assert_done(kd_python_sample(out, &r, sample[i].n, sample[i].k));
        assert_memory_equal(out, sample[i].drawn, (size_t)sample[i].k * sizeof *out);
    }
    assert_fails(kd_python_sample(out, &r, 3, 4), KD_EARG, "4 out of 3");
    static const int64_t shuffled[] = {7, 3, 2, 8, 5, 6, 9, 4, 0, 1};
    for (int64_t i = 0; i < 10; i++) order[i] = i;
    kd_python_seed(&r, 42);
    kd_python_shuffle(&r, order, 10, sizeof *order);
    assert_memory_equal(order, shuffled, sizeof shuffled);
    /* The examples of HellaSwag's first documents, ten shots: eleven are drawn for each. */
    static const int64_t examples[2][11] = {{28883, 7657, 490, 5940, 38156, 2288, 5500, 6450, 23241, 15519, 1142},
                                            {2019, 1038, 22681, 31735, 30379, 9735, 5982, 11999, 7498, 958, 32970}};
    kd_python_seed(&r, 1234);
    for (int i = 0; i < 2; i++) {
        assert_done(kd_python_sample(out, &r, 39905, 11));
        assert_memory_equal(out, examples[i], sizeof examples[i]);
    }
}

static void integers_are_numpys(void **state) {
    (void)state;
    static const int64_t drawn[] = {25795, 10860, 86820, 64886, 16265, 92386};
    kd_python_random r;
    kd_numpy_seed(&r, 42);
    for (int i = 0; i < 6; i++) assert_int_equal(kd_numpy_between(&r, 10000, 99999), drawn[i]);
}

static void same_integers(const int64_t *got, const json_t *wanted, size_t count) {
    for (size_t i = 0; i < count; i++) assert_int_equal(got[i], json_integer_value(json_array_get(wanted, i)));
}

/* The streams that CPython and numpy themselves gave. */
static void streams_are_those_of_the_file(void **state) {
    (void)state;
    json_t *file, *list, *row;
    kd_python_random r;
    int64_t out[16];
    size_t i;
    cases_of(&file, "python_random", "seed42");
    list = json_object_get(file, "seed42");
    kd_python_seed(&r, 42);
    json_array_foreach(json_object_get(list, "random_5"), i, row) assert_true(kd_python_uniform(&r) == json_real_value(row));
    kd_python_seed(&r, 42);
    json_array_foreach(json_object_get(list, "randint_7digit_5"), i, row)
        assert_int_equal(1000000 + kd_python_below(&r, 9000000), json_integer_value(row));
    kd_python_seed(&r, 42);
    const char *letters = json_string_value(json_object_get(list, "choices_upper_k5"));
    for (i = 0; i < 5; i++) assert_int_equal('A' + (int)(kd_python_uniform(&r) * 26), letters[i]);
    static const struct { const char *key; int64_t n, k; } sample[] = {{"sample_range40_4", 40, 4}, {"sample_range1000_5", 1000, 5},
                                                                       {"sample_range21_10", 21, 10}};
    for (i = 0; i < 3; i++) {
        kd_python_seed(&r, 42);
        assert_done(kd_python_sample(out, &r, sample[i].n, sample[i].k));
        same_integers(out, json_object_get(list, sample[i].key), (size_t)sample[i].k);
    }
    list = json_object_get(file, "seed1234");
    kd_python_seed(&r, 1234);
    assert_done(kd_python_sample(out, &r, 100, 5));
    same_integers(out, json_object_get(list, "sample_range100_5"), 5);
    assert_done(kd_python_sample(out, &r, 100, 5));
    same_integers(out, json_object_get(list, "next_sample_range100_5"), 5);
    list = json_object_get(json_object_get(file, "hellaswag_fewshot_10_indices_first3docs"), "draws");
    kd_python_seed(&r, 1234);
    json_array_foreach(list, i, row) {
        assert_done(kd_python_sample(out, &r, 39905, 11));
        same_integers(out, row, 11);
    }
    kd_numpy_seed(&r, 42);
    json_array_foreach(json_object_get(json_object_get(file, "numpy"), "RandomState42_randint_10000_99999"), i, row)
        assert_int_equal(kd_numpy_between(&r, 10000, 99999), json_integer_value(row));
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_pythons),
        cmocka_unit_test(samples_and_shuffles_are_pythons),
        cmocka_unit_test(integers_are_numpys),
        cmocka_unit_test(streams_are_those_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Draws beside Python's: random.Random and numpy.random.RandomState. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/python_random.h"
#include "scratch.h"

static void draws_are_pythons(void **state) {
    (void)state;
    kd_python_random r;
    static const double uniform[] = {0.6394267984578837, 0.025010755222666936, 0.27502931836911926, 0.22321073814882275, 0.7364712141640124};
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_pythons),
        cmocka_unit_test(samples_and_shuffles_are_pythons),
        cmocka_unit_test(integers_are_numpys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Memory, threads, random numbers and half precision. */
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/half.h"
#include "base/pool.h"
#include "base/random.h"

/* ---- errors ------------------------------------------------------------------------------------------------ */

static void a_message_may_be_built_from_the_last_one(void **state) {
    (void)state;
    assert_int_equal(kd_fail(KD_EIO, "disk %d", 3), KD_EIO);
    assert_int_equal(kd_fail(KD_EFORMAT, "file: %s", kd_message()), KD_EFORMAT);
    assert_string_equal(kd_message(), "file: disk 3");
    assert_int_equal(kd_fail_prefix(KD_EFORMAT, "line %d", 7), KD_EFORMAT);
    assert_string_equal(kd_message(), "line 7: file: disk 3");
}

static void a_long_message_is_cut_and_not_lost(void **state) {
    (void)state;
    char path[3000];
    memset(path, 'p', sizeof path);
    path[sizeof path - 1] = 0;
    kd_fail(KD_EIO, "%s", path);
    assert_int_equal(strspn(kd_message(), "p"), 1023);
    memset(path, 'q', sizeof path - 1);
    kd_fail_prefix(KD_EIO, "%s", path);
    assert_in_range(strspn(kd_message(), "q"), 400, 600);
    assert_in_range(strspn(strchr(kd_message(), ':') + 2, "p"), 400, 600);
}

/* ---- arenas ------------------------------------------------------------------------------------------------ */

static void measuring_and_placing_take_the_same_bytes(void **state) {
    (void)state;
    static const int64_t count[] = {1, 7, 0, 64, 1000};
    kd_arena measured = {0}, placed = {0};
    uintptr_t counted[5];
    for (int i = 0; i < 5; i++) counted[i] = (uintptr_t)kd_arena_take(&measured, count[i], 4);
    placed.base = aligned_alloc(KD_ALIGN, (size_t)measured.used);
    placed.size = measured.used;
    char *end = placed.base;
    for (int i = 0; i < 5; i++) {
        char *taken = kd_arena_take(&placed, count[i], 4);
        assert_int_equal((uintptr_t)taken % KD_ALIGN, 0);
        assert_int_equal((uintptr_t)taken - (uintptr_t)placed.base, counted[i] - counted[0]);
        assert_true(taken >= end);
        end = taken + 4 * count[i];
        memset(taken, 1, (size_t)(4 * count[i]));
    }
    assert_int_equal(measured.used, placed.used);
    free(placed.base);
}

static void a_size_that_overflows_is_refused(void **state) {
    (void)state;
    int64_t out;
    assert_int_equal(kd_size_multiply(&out, 1 << 20, 1 << 20), KD_OK);
    assert_int_equal(out, (int64_t)1 << 40);
    assert_int_equal(kd_size_multiply(&out, (int64_t)1 << 33, (int64_t)1 << 31), KD_EFORMAT);
    assert_int_equal(kd_size_multiply(&out, -1, 1), KD_EFORMAT);
    void *memory;
    assert_int_equal(kd_new(&memory, (int64_t)1 << 62, 8), KD_EFORMAT);
    assert_int_equal(kd_new(&memory, 0, 8), KD_OK);
    assert_non_null(memory);
    free(memory);
}

/* ---- threads ----------------------------------------------------------------------------------------------- */

typedef struct work { atomic_int ran[1000]; int64_t threads, fail_from, fail_step; } work;

static kd_status count_task(void *arg, int64_t task, int64_t thread) {
    work *w = arg;
    if (thread < 0 || thread >= w->threads) return kd_fail(KD_EARG, "thread %lld", (long long)thread);
    atomic_fetch_add(&w->ran[task], 1);
    if (w->fail_step && task >= w->fail_from && (task - w->fail_from) % w->fail_step == 0)
        return kd_fail(task % 2 ? KD_EIO : KD_EFORMAT, "task %lld", (long long)task);
    return KD_OK;
}

static void every_task_runs_exactly_once(void **state) {
    (void)state;
    static const int64_t threads[] = {1, 2, 3, 8}, tasks[] = {0, 1, 2, 3, 7, 1000};
    static work w;
    for (size_t i = 0; i < 4; i++) {
        kd_pool *pool;
        assert_int_equal(kd_pool_new(&pool, threads[i]), KD_OK);
        assert_int_equal(kd_pool_threads(pool), threads[i]);
        for (size_t j = 0; j < 6; j++) {
            for (int again = 0; again < 20; again++) {
                memset(&w, 0, sizeof w);
                w.threads = threads[i];
                assert_int_equal(kd_pool_run(pool, count_task, &w, tasks[j]), KD_OK);
                for (int64_t t = 0; t < 1000; t++) assert_int_equal(atomic_load(&w.ran[t]), t < tasks[j]);
            }
        }
        kd_pool_free(pool);
    }
}

static void the_lowest_failing_task_speaks(void **state) {
    (void)state;
    static work w;
    for (int64_t threads = 1; threads <= 8; threads++) {
        kd_pool *pool;
        assert_int_equal(kd_pool_new(&pool, threads), KD_OK);
        for (int64_t first = 0; first < 40; first++) {
            char wanted[32];
            memset(&w, 0, sizeof w);
            w.threads = threads;
            w.fail_from = first;
            w.fail_step = 3;
            kd_status status = kd_pool_run(pool, count_task, &w, 200);
            snprintf(wanted, sizeof wanted, "task %lld", (long long)first);
            assert_string_equal(kd_message(), wanted);
            assert_int_equal(status, first % 2 ? KD_EIO : KD_EFORMAT);
            for (int64_t t = 0; t <= first; t++) assert_int_equal(atomic_load(&w.ran[t]), 1);
        }
        w.fail_step = 0;  /* and a failure leaves nothing behind */
        assert_int_equal(kd_pool_run(pool, count_task, &w, 100), KD_OK);
        kd_pool_free(pool);
    }
}

typedef struct race { atomic_int begun; int64_t slow; } race;

/* Tasks 0 and 1 run at the same time, and the slow one fails last. */
static kd_status race_task(void *arg, int64_t task, int64_t thread) {
    race *r = arg;
    struct timespec moment = {0, 2000000};
    (void)thread;
    atomic_fetch_add(&r->begun, 1);
    while (atomic_load(&r->begun) < 2) sched_yield();
    if (task == r->slow) nanosleep(&moment, NULL);
    return kd_fail(task ? KD_EIO : KD_EFORMAT, "task %lld", (long long)task);
}

static void who_fails_first_does_not_matter(void **state) {
    (void)state;
    kd_pool *pool;
    assert_int_equal(kd_pool_new(&pool, 2), KD_OK);
    for (int again = 0; again < 20; again++) {
        race r = {0, again % 2};
        assert_int_equal(kd_pool_run(pool, race_task, &r, 2), KD_EFORMAT);
        assert_string_equal(kd_message(), "task 0");
    }
    kd_pool_free(pool);
}

static void without_a_pool_tasks_run_here(void **state) {
    (void)state;
    static work w;
    memset(&w, 0, sizeof w);
    w.threads = 1;
    assert_int_equal(kd_pool_threads(NULL), 1);
    assert_int_equal(kd_pool_run(NULL, count_task, &w, 5), KD_OK);
    for (int64_t t = 0; t < 6; t++) assert_int_equal(atomic_load(&w.ran[t]), t < 5);
    kd_pool_free(NULL);
}

static void a_pool_has_a_thread_for_each_core(void **state) {
    (void)state;
    kd_pool *pool;
    assert_int_equal(kd_pool_new(&pool, 0), KD_OK);
    assert_true(kd_pool_threads(pool) >= 1);
    kd_pool_free(pool);
}

/* ---- random numbers ---------------------------------------------------------------------------------------- */

/* Source: Random123, tests/kat_vectors, "philox4x32 10". */
static const struct { uint64_t index, stream, seed; uint32_t word[4]; } philox_vector[] = {
    {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void random_numbers_are_philox(void **state) {
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const uint32_t *word = philox_vector[i].word;
        uint64_t seed = philox_vector[i].seed, stream = philox_vector[i].stream, index = philox_vector[i].index;
        uint64_t low = (uint64_t)word[1] << 32 | word[0], high = (uint64_t)word[3] << 32 | word[2];
        assert_true(kd_random_bits(seed, stream, index) == low);
        assert_true(kd_random_uniform(seed, stream, index) == (double)(low >> 11) / 9007199254740992.0);
        double radius = sqrt(-2 * log((double)((low >> 11) + 1) / 9007199254740992.0));
        double wanted = radius * cos(2 * acos(-1.0) * (double)(high >> 11) / 9007199254740992.0);
        assert_true(fabs(kd_random_normal(seed, stream, index) - wanted) < 1e-12);
    }
}

static void normal_numbers_have_mean_0_and_variance_1(void **state) {
    (void)state;
    double sum = 0, squares = 0, fourth = 0;
    int64_t n = 200000;
    for (int64_t i = 0; i < n; i++) {
        double x = kd_random_normal(5, 6, (uint64_t)i);
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    assert_true(fabs(sum / (double)n) < 0.01);
    assert_true(fabs(squares / (double)n - 1) < 0.02);
    assert_true(fabs(fourth / (double)n - 3) < 0.15);
}

static void assert_bijection(uint64_t seed, uint64_t stream, uint64_t n) {
    char *seen = calloc(1, n);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t to = kd_random_permute(seed, stream, i, n);
        assert_true(to < n);
        assert_int_equal(seen[to], 0);
        seen[to] = 1;
    }
    free(seen);
}

static void a_permutation_is_a_bijection(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= 1000; n++) assert_bijection(n, 3, n);
    assert_bijection(1, 2, (uint64_t)1 << 20);
}

static void permutations_differ_by_seed_and_by_stream(void **state) {
    (void)state;
    int same_seed = 0, same_stream = 0, fixed = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t to = kd_random_permute(1, 1, i, 1000);
        same_seed += to == kd_random_permute(2, 1, i, 1000);
        same_stream += to == kd_random_permute(1, 2, i, 1000);
        fixed += to == i;
    }
    assert_in_range(same_seed, 0, 20);
    assert_in_range(same_stream, 0, 20);
    assert_in_range(fixed, 0, 20);
}

/* ---- half precision ---------------------------------------------------------------------------------------- */

typedef struct format { int fraction, lowest, highest; float (*widen)(uint16_t); uint16_t (*round)(float); } format;

static float widen_bf16(uint16_t x) { return kd_bf16_widen(x); }
static uint16_t round_bf16(float x) { return kd_bf16_round(x); }
static float widen_f16(uint16_t x) { return kd_f16_widen(x); }
static uint16_t round_f16(float x) { return kd_f16_round(x); }

static const format formats[] = {{7, -126, 127, widen_bf16, round_bf16}, {10, -14, 15, widen_f16, round_f16}};

/* The value of bits by the definition of the format. */
static double define_value(const format *f, uint16_t bits) {
    int fraction = bits & ((1 << f->fraction) - 1), exponent = (bits & 0x7fff) >> f->fraction;
    int top = f->highest - f->lowest + 2;
    double value = exponent == top ? (fraction ? NAN : INFINITY)
                 : ldexp((double)(fraction + (exponent ? 1 << f->fraction : 0)), f->lowest - f->fraction + (exponent ? exponent - 1 : 0));
    return bits & 0x8000 ? -value : value;
}

/* The nearest value, ties to even: nearbyint of a multiple of the last place, exact in double. */
static double define_round(const format *f, double x) {
    if (x == 0 || isnan(x) || isinf(x)) return x;
    int exponent = ilogb(x) > f->lowest ? ilogb(x) : f->lowest;
    double rounded = ldexp(nearbyint(ldexp(x, f->fraction - exponent)), exponent - f->fraction);
    return fabs(rounded) >= ldexp(1, f->highest + 1) ? copysign(INFINITY, x) : rounded;
}

static bool same(double a, double b) { return isnan(a) ? isnan(b) : a == b && signbit(a) == signbit(b); }

static void every_half_value_survives_a_round_trip(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        for (uint32_t bits = 0; bits < 65536; bits++) {
            float wide = formats[k].widen((uint16_t)bits);
            assert_true(same((double)wide, define_value(&formats[k], (uint16_t)bits)));
            uint16_t back = formats[k].round(wide);
            if (isnan(wide)) assert_true(isnan(formats[k].widen(back)));
            else assert_int_equal(back, bits);
        }
    }
}

static void assert_rounds(const format *f, uint32_t bits) {
    float x = kd_float_of(bits);
    if (!same((double)f->widen(f->round(x)), define_round(f, (double)x)))
        fail_msg("%a (0x%08x) becomes %a and not %a", (double)x, bits, (double)f->widen(f->round(x)), define_round(f, (double)x));
}

static void rounding_is_to_nearest_even(void **state) {
    (void)state;
    for (int k = 0; k < 2; k++) {
        const format *f = &formats[k];
        for (uint64_t i = 0; i < 1000000; i++) assert_rounds(f, (uint32_t)kd_random_bits(9, (uint64_t)k, i));
        /* Around every value and around every midpoint between two. */
        for (uint32_t bits = 0; bits < 65536; bits++) {
            float x = f->widen((uint16_t)bits), y = f->widen((uint16_t)(bits + 1));
            if (!isfinite(x) || !isfinite(y)) continue;
            uint32_t middle = kd_bits_of((float)(((double)x + (double)y) / 2));
            for (uint32_t step = 0; step < 3; step++) {
                assert_rounds(f, kd_bits_of(x) + step - 1);
                assert_rounds(f, middle + step - 1);
            }
        }
    }
}

static void a_message_is_one_line_whatever_a_file_calls_its_things(void **state) {
    (void)state;
    kd_fail(KD_EFORMAT, "tensor %s", "a\nb\033[2J\177\xc3\xa9");
    assert_string_equal(kd_message(), "tensor a?b?[2J?\xc3\xa9");
    kd_fail_prefix(KD_EFORMAT, "%s", "x\ry");
    assert_string_equal(kd_message(), "x?y: tensor a?b?[2J?\xc3\xa9");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_one_line_whatever_a_file_calls_its_things),
        cmocka_unit_test(a_message_may_be_built_from_the_last_one),
        cmocka_unit_test(a_long_message_is_cut_and_not_lost),
        cmocka_unit_test(measuring_and_placing_take_the_same_bytes),
        cmocka_unit_test(a_size_that_overflows_is_refused),
        cmocka_unit_test(every_task_runs_exactly_once),
        cmocka_unit_test(the_lowest_failing_task_speaks),
        cmocka_unit_test(who_fails_first_does_not_matter),
        cmocka_unit_test(without_a_pool_tasks_run_here),
        cmocka_unit_test(a_pool_has_a_thread_for_each_core),
        cmocka_unit_test(random_numbers_are_philox),
        cmocka_unit_test(normal_numbers_have_mean_0_and_variance_1),
        cmocka_unit_test(a_permutation_is_a_bijection),
        cmocka_unit_test(permutations_differ_by_seed_and_by_stream),
        cmocka_unit_test(every_half_value_survives_a_round_trip),
        cmocka_unit_test(rounding_is_to_nearest_even),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}

/* The next token: which may be drawn, how often each is, and that nothing else decides. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "eval/sampler.h"
#include "scratch.h"

enum { V = 200, DRAWS = 40000 };

static float logits[V];
static kd_sampler sampler;

static int open_sampler(void **state) {
    (void)state;
    for (int64_t v = 0; v < V; v++) logits[v] = (float)sin((double)v * 1.7) * 3;
    return kd_sampler_open(&sampler, V) != KD_OK;
}

static int close_sampler(void **state) {
    (void)state;
    kd_sampler_close(&sampler);
    return 0;
}

static int32_t draw(const kd_sampling *s, int64_t n) {
    int32_t token;
    assert_done(kd_sample(&token, &sampler, logits, V, s, n, NULL, 0));
    return token;
}

/* Chi-squared of what is drawn against probabilities [V] that sum to 1; those that cannot come do not come. */
static void check_distribution(const kd_sampling *s, const double *p) {
    static int64_t seen[V];
    memset(seen, 0, sizeof seen);
    for (int64_t n = 0; n < DRAWS; n++) seen[draw(s, n)]++;
    double chi = 0, kinds = 0;
    for (int64_t v = 0; v < V; v++) {
        if (p[v] == 0) assert_int_equal(seen[v], 0);
        if (p[v] * DRAWS < 5) continue;
        chi += (seen[v] - p[v] * DRAWS) * (seen[v] - p[v] * DRAWS) / (p[v] * DRAWS);
        kinds++;
    }
    assert_true(kinds >= 2);
    if (chi > kinds + 5 * sqrt(2 * kinds)) fail_msg("chi-squared %g of %g kinds", chi, kinds);
}

static void normalize(double *p) {
    double sum = 0;
    for (int64_t v = 0; v < V; v++) sum += p[v];
    for (int64_t v = 0; v < V; v++) p[v] /= sum;
}

static void draws_are_as_likely_as_the_logits_say(void **state) {
    (void)state;
    const double temperatures[] = {0.3, 1, 2.5};
    for (int i = 0; i < 3; i++) {
        double p[V];
        for (int64_t v = 0; v < V; v++) p[v] = exp(logits[v] / temperatures[i]);
        normalize(p);
        check_distribution(&(kd_sampling){.temperature = temperatures[i], .top_p = 1, .seed = 7 + (uint64_t)i}, p);
    }
}

/* The definition: sort, then cut. */
static void cut(double p[V], double temperature, int64_t k, double top_p) {
    int64_t order[V];
    double sum = 0, all = 0;
    for (int64_t v = 0; v < V; v++) order[v] = v;
    for (int64_t i = 0; i < V; i++)
        for (int64_t j = i + 1; j < V; j++)
            if (logits[order[j]] > logits[order[i]] || (logits[order[j]] == logits[order[i]] && order[j] < order[i])) {
                int64_t other = order[i];
                order[i] = order[j];
                order[j] = other;
            }
    if (k == 0 || k > V) k = V;
    memset(p, 0, V * sizeof *p);
    for (int64_t i = 0; i < k; i++) all += exp(logits[order[i]] / temperature);
    for (int64_t i = 0; i < k && (i == 0 || sum < top_p * all); i++) sum += p[order[i]] = exp(logits[order[i]] / temperature);
    normalize(p);
}

static void top_k_and_top_p_leave_the_likeliest(void **state) {
    (void)state;
    const struct { int64_t k; double p; } cases[] = {{5, 1}, {0, 0.5}, {20, 0.9}, {0, 0.999}, {199, 1}, {2, 0.9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double p[V];
        cut(p, 0.9, cases[i].k, cases[i].p);
        check_distribution(&(kd_sampling){.temperature = 0.9, .top_k = cases[i].k, .top_p = cases[i].p, .seed = i}, p);
    }
}

static void of_equals_the_lowest_id_is_left(void **state) {
    (void)state;
    float kept[V];
    memcpy(kept, logits, sizeof kept);
    for (int64_t v = 0; v < V; v++) logits[v] = v % 10 == 3 ? 5 : 0;
    for (int64_t n = 0; n < 500; n++) {
        assert_int_equal(draw(&(kd_sampling){.temperature = 0, .top_p = 1, .seed = (uint64_t)n}, n), 3);
        assert_int_equal(draw(&(kd_sampling){.temperature = 1, .top_k = 1, .top_p = 1}, n), 3);
        assert_int_equal(draw(&(kd_sampling){.temperature = 1, .top_p = 0}, n), 3);
        int32_t token = draw(&(kd_sampling){.temperature = 1, .top_k = 2, .top_p = 1}, n);
        assert_true(token == 3 || token == 13);
        token = draw(&(kd_sampling){.temperature = 1, .top_k = 25, .top_p = 1}, n);  /* all twenty and the first five of the others */
        assert_true(token % 10 == 3 || token < 6);
    }
    memcpy(logits, kept, sizeof kept);
}

static void cuts_that_cut_nothing_change_nothing(void **state) {
    (void)state;
    for (int64_t n = 0; n < 2000; n++) {
        int32_t token = draw(&(kd_sampling){.temperature = 1, .top_p = 1, .seed = 3}, n);
        assert_int_equal(token, draw(&(kd_sampling){.temperature = 1, .top_k = V, .top_p = 1, .seed = 3}, n));
        assert_int_equal(token, draw(&(kd_sampling){.temperature = 1, .top_k = V + 5, .top_p = 1, .seed = 3}, n));
    }
}

static void seed_and_number_decide_alone(void **state) {
    (void)state;
    int same_seed = 0, same_number = 0;
    for (int64_t n = 0; n < 1000; n++) {
        const kd_sampling a = {.temperature = 1, .top_p = 1, .seed = 1}, b = {.temperature = 1, .top_p = 1, .seed = 2};
        int32_t token = draw(&a, n);
        assert_int_equal(token, draw(&a, n));
        same_seed += token == draw(&a, n + 1);
        same_number += token == draw(&b, n);
    }
    assert_true(same_seed < 200 && same_number < 200);
}

static void what_is_banned_does_not_come(void **state) {
    (void)state;
    int32_t best = draw(&(kd_sampling){.temperature = 0}, 0), token;
    for (int64_t n = 0; n < 1000; n++) {
        assert_done(kd_sample(&token, &sampler, logits, V, &(kd_sampling){.temperature = n % 2 ? 0.2 : 0, .top_p = 1}, n, &best, 1));
        assert_int_not_equal(token, best);
        assert_done(kd_sample(&token, &sampler, logits, best, &(kd_sampling){.temperature = n % 2 ? 0.2 : 0, .top_p = 1}, n, NULL, 0));
        assert_true(token < best);
    }
}

static void extremes_give_tokens(void **state) {
    (void)state;
    float kept[V];
    int32_t token;
    memcpy(kept, logits, sizeof kept);
    int32_t best = draw(&(kd_sampling){.temperature = 0}, 0);
    for (int64_t n = 0; n < 100; n++) {
        assert_int_equal(draw(&(kd_sampling){.temperature = 1e-300, .top_p = 1}, n), best);
        assert_int_equal(draw(&(kd_sampling){.temperature = 4.9e-324, .top_p = 0.5}, n), best);
        draw(&(kd_sampling){.temperature = 1e300, .top_p = 1}, n);
        draw(&(kd_sampling){.temperature = 1, .top_p = 1e-300}, n);
        draw(&(kd_sampling){.temperature = 1, .top_p = nextafter(1, 0)}, n);
    }
    for (int64_t v = 0; v < V; v++) logits[v] = v == 50 || v == 60 ? 1 : -INFINITY;
    for (int64_t n = 0; n < 100; n++) {
        token = draw(&(kd_sampling){.temperature = 1, .top_k = 10, .top_p = 1}, n);
        assert_true(token == 50 || token == 60);
    }
    logits[7] = NAN;
    assert_fails(kd_sample(&token, &sampler, logits, V, &(kd_sampling){.temperature = 1, .top_p = 1}, 0, NULL, 0), KD_ENUMERIC, "token 7");
    assert_fails(kd_sample(&token, &sampler, logits, V, &(kd_sampling){.temperature = 0, .top_p = 1}, 0, NULL, 0), KD_ENUMERIC, "token 7");
    logits[7] = INFINITY;
    assert_fails(kd_sample(&token, &sampler, logits, V, &(kd_sampling){.temperature = 1, .top_p = 1}, 0, NULL, 0), KD_ENUMERIC, "inf");
    logits[7] = -INFINITY;
    assert_fails(kd_sample(&token, &sampler, logits, V, &(kd_sampling){.temperature = 1, .top_p = 1}, 0, (int32_t[]){50, 60}, 2), KD_ENUMERIC,
                 "no token is left");
    memcpy(logits, kept, sizeof kept);
}

static void bad_numbers_are_refused(void **state) {
    (void)state;
    assert_fails(kd_sampling_check(&(kd_sampling){.temperature = -1, .top_p = 1}), KD_EARG, "temperature -1");
    assert_fails(kd_sampling_check(&(kd_sampling){.temperature = NAN, .top_p = 1}), KD_EARG, "temperature");
    assert_fails(kd_sampling_check(&(kd_sampling){.temperature = INFINITY, .top_p = 1}), KD_EARG, "temperature");
    assert_fails(kd_sampling_check(&(kd_sampling){.top_k = -1, .top_p = 1}), KD_EARG, "top_k -1");
    assert_fails(kd_sampling_check(&(kd_sampling){.top_p = 1.5}), KD_EARG, "top_p 1.5");
    assert_fails(kd_sampling_check(&(kd_sampling){.top_p = NAN}), KD_EARG, "top_p");
    assert_done(kd_sampling_check(&(kd_sampling){.temperature = 2, .top_k = 1, .top_p = 0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_as_likely_as_the_logits_say),
        cmocka_unit_test(top_k_and_top_p_leave_the_likeliest),
        cmocka_unit_test(of_equals_the_lowest_id_is_left),
        cmocka_unit_test(cuts_that_cut_nothing_change_nothing),
        cmocka_unit_test(seed_and_number_decide_alone),
        cmocka_unit_test(what_is_banned_does_not_come),
        cmocka_unit_test(extremes_give_tokens),
        cmocka_unit_test(bad_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, open_sampler, close_sampler);
}

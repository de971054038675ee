/* The arithmetic of predicted time: lengths of documents, what a step takes, how fast a machine is. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scratch.h"
#include "train/estimate.h"

#define NEAR(a, b) assert_true(fabs((double)(a) - (double)(b)) <= 1e-9 * fabs((double)(b)))

static const kd_config shape = {.V = 100, .C = 64, .F = 176, .L = 3, .H = 4, .G = 2, .E = 16};

/* Documents of 1, 100, 128 and 129 tokens. */
static kd_lengths some(bool anchor) {
    kd_lengths lengths = {0};
    const int64_t length[] = {1, 100, 128, 129};
    for (int i = 0; i < 4; i++) kd_lengths_add(&lengths, length[i], anchor);
    return lengths;
}

static void a_class_ends_at_a_power_of_two(void **state) {
    (void)state;
    kd_lengths lengths = some(false), all = {0};
    assert_int_equal(lengths.class[0].count, 1);
    assert_int_equal(lengths.class[7].count, 2);
    assert_int_equal(lengths.class[8].count, 1);
    NEAR(kd_lengths_pairs(&lengths), 1 + 5050 + 8256 + 8385);
    NEAR(kd_lengths_tokens(&lengths), 358);
    for (int i = 0; i < 100; i++) kd_lengths_merge(&all, &lengths);
    NEAR(kd_lengths_pairs(&all), 100 * kd_lengths_pairs(&lengths));
    assert_int_equal(all.class[7].count, 200);
    for (int i = 0; i < KD_LENGTHS_KEPT; i++) assert_true(all.class[7].kept[i] == 100 || all.class[7].kept[i] == 128);
}

static void the_anchor_is_a_pair_of_every_token(void **state) {
    (void)state;
    kd_lengths without = some(false), with = some(true);
    NEAR(kd_lengths_pairs(&with) - kd_lengths_pairs(&without), 358);
}

static void without_recomputation_work_is_the_model_s_operations(void **state) {
    (void)state;
    kd_work w = kd_work_count(&shape, 256, 4, 1, KD_RECOMPUTE_NONE, 1000, 1);
    NEAR(w.products + (w.forward + w.backward) * 5000, kd_model_flops(&shape, 1024, 5000));
    kd_work again = kd_work_count(&shape, 256, 4, 1, KD_RECOMPUTE_LAYER, 1000, 1);
    NEAR(again.forward, w.forward * 5 / 3);  /* of all layers but the last */
    assert_true(again.products > w.products && again.backward == w.backward);
    assert_true(w.sent == 0);
}

static kd_speed machine(void) {
    return (kd_speed){.devices = 1, .peak = 100, .products = 50, .numbers = 10, .update = 4,
                      .forward = {2, {64, 256}, {20, 40}}, .backward = {1, {64}, {10}}};
}

static void seconds_are_work_over_speed(void **state) {
    (void)state;
    kd_speed s = machine();
    kd_lengths lengths = {0};
    kd_lengths_add(&lengths, 128, false);
    kd_work w = {.products = 500, .forward = 30, .backward = 20, .numbers = 40, .parameters = 8, .sent = 12};
    kd_seconds t = kd_speed_seconds(&s, &w, &lengths, 0.5);
    NEAR(t.products, 10);
    NEAR(t.attention, 0.5 * 8256 * (30 / 30.0 + 20 / 10.0));  /* 128 is half way from 64 to 256 */
    NEAR(t.numbers, 4);
    NEAR(t.update, 2);
    NEAR(t.all, t.products + t.attention + t.numbers + t.update);
    s.devices = 4;
    s.link = 3;
    kd_seconds four = kd_speed_seconds(&s, &w, &lengths, 0.5);
    NEAR(four.attention, t.attention / 4);
    NEAR(four.sent, 4);
    NEAR(four.all, t.all / 4 + 4);
}

static void beyond_a_curve_its_end_holds(void **state) {
    (void)state;
    kd_speed s = machine();
    kd_work w = {.forward = 1};
    kd_lengths shorter = {0}, longer = {0};
    kd_lengths_add(&shorter, 2, false);
    kd_lengths_add(&longer, 4096, false);
    NEAR(kd_speed_seconds(&s, &w, &shorter, 1).attention, 3 / 20.0);
    NEAR(kd_speed_seconds(&s, &w, &longer, 1).attention, 4096.0 * 4097 / 2 / 40);
}

/* Reads a machine; `what` stands in the message where it is refused. */
static void refused(const char *text, const char *what) {
    kd_speed speed;
    assert_int_equal(kd_file_write(in_scratch("machine.yaml"), text, (int64_t)strlen(text)), KD_OK);
    kd_status status = kd_speed_read(&speed, in_scratch("machine.yaml"));
    if (!what) {
        assert_int_equal(status, KD_OK);
        return;
    }
    assert_int_equal(status, KD_ECONFIG);
    if (!strstr(kd_message(), what)) fail_msg("%s: no \"%s\"", kd_message(), what);
}

#define REST "products: 2e3, numbers: 1e6, update: 1e6"
#define CURVES "attention: {forward: {1K: 1e3, 2K: 2e3}, backward: {1K: 1e3}}"

static void a_machine_s_file_is_strict(void **state) {
    (void)state;
    refused("{peak: 4e3, " REST ", " CURVES "}", NULL);
    refused("{" REST ", " CURVES "}", "peak is missing");
    refused("{peak: 0, " REST ", " CURVES "}", "machine.yaml:1: peak: 0 is not above 0");
    refused("{peak: fast, " REST ", " CURVES "}", "peak");
    refused("{peak: 4e3, speed: 1, " REST ", " CURVES "}", "speed: unknown key");
    refused("{peak: 4e3, " REST "}", "attention.forward");
    refused("{peak: 4e3, " REST ", attention: {forward: {2K: 1, 1K: 2}, backward: {1K: 1}}}", "lengths ascend");
    refused("{peak: 4e3, " REST ", attention: {forward: {}, backward: {1K: 1}}}", "attention.forward");
    refused("{peak: 4e3, devices: 8, " REST ", " CURVES "}", "link is missing");
    refused("[1]", "a machine is a map");
    refused("{peak: 4e3, hosts: 4, memory: 0, " REST ", " CURVES "}", "memory: 0 is not above 0");
}

static void links_are_in_bytes_or_in_numbers(void **state) {
    (void)state;
    kd_speed s;
    assert_done(kd_speed_read(&s, scratch_text("cluster.yaml", "{peak: 4e3, devices: 8, hosts: 2, inside: 40, between: 5, latency: 1e-6, " REST ", " CURVES "}")));
    NEAR(s.link, 10);  /* float32 */
    NEAR(s.between, 5);
    NEAR(s.hosts, 2);
    NEAR(s.latency, 1e-6);
    assert_done(kd_speed_read(&s, scratch_text("machine.yaml", "{peak: 4e3, devices: 8, link: 10, " REST ", " CURVES "}")));
    NEAR(s.inside, 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_class_ends_at_a_power_of_two),
        cmocka_unit_test(the_anchor_is_a_pair_of_every_token),
        cmocka_unit_test(without_recomputation_work_is_the_model_s_operations),
        cmocka_unit_test(seconds_are_work_over_speed),
        cmocka_unit_test(beyond_a_curve_its_end_holds),
        cmocka_unit_test(a_machine_s_file_is_strict),
        cmocka_unit_test(links_are_in_bytes_or_in_numbers),
    };
    return cmocka_run_group_tests_name("speed", tests, scratch_open, scratch_close);
}

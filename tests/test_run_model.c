/* The configuration that a run asks for, over what its checkpoint says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "train/run_file.h"

#define SHAPE "\"vocab_size\": 300, \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 3, " \
              "\"num_attention_heads\": 4, \"num_key_value_heads\": 2"
#define LLAMA "{\"model_type\": \"llama\", " SHAPE ", \"max_position_embeddings\": 64, \"rope_theta\": 2e4"
#define YARN LLAMA ", \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 16, \"beta_fast\": 8}}"
#define LONG LLAMA ", \"rope_scaling\": {\"type\": \"longrope\", \"original_max_position_embeddings\": 32, " \
             "\"short_factor\": [1, 1, 1, 1, 1, 1, 1, 1], \"long_factor\": [1, 1, 2, 2, 3, 3, 4, 4]}}"
#define MISTRAL(window) "{\"model_type\": \"mistral\", " SHAPE ", \"sliding_window\": " window "}"

/* The checkpoint's configuration, changed as `model` of a run file with a window of 100 asks. */
static kd_status configure(kd_config *config, const char *checkpoint, const char *model, bool resumed) {
    kd_run_file run;
    char yaml[1024];
    snprintf(yaml, sizeof yaml, "model: {path: m%s%s}\ntokenizer: bytes\ndata: {train: t}\nwindow: 100\nsteps: 1\noutput: o\n",
             *model ? ", " : "", model);
    assert_done(kd_run_file_open(&run, scratch_text("run.yaml", yaml), NULL, 0));
    assert_done(kd_config_parse(config, checkpoint, (int64_t)strlen(checkpoint), "config.json"));
    kd_status status = kd_run_configure(config, &run, resumed);
    kd_run_file_close(&run);
    return status;
}

static void check(const char *checkpoint, const char *model, kd_rope_config want) {
    kd_config config;
    assert_done(configure(&config, checkpoint, model, false));
    if (!kd_rope_same(&config.rope, &want, config.E))
        fail_msg("%s over %s: type %s, theta %g, factor %g, original %g", model, checkpoint, kd_rope_type_name(config.rope.type),
                 config.rope.theta, config.rope.factor, config.rope.original);
    kd_config_close(&config);
}

static kd_rope_config yarn(double theta, double factor, double original, double beta_fast) {
    kd_rope_config rope;
    kd_rope_clear(&rope, KD_ROPE_YARN, theta, 64);
    rope.factor = factor, rope.original = original, rope.beta_fast = beta_fast;
    return rope;
}

static void what_the_run_leaves_open_is_the_checkpoints(void **state) {
    (void)state;
    check(LLAMA "}", "", (kd_rope_config){.theta = 2e4});
    check(LLAMA "}", "rope: {theta: 5e6}", (kd_rope_config){.theta = 5e6});
    check(YARN, "", yarn(2e4, 4, 16, 8));
    check(YARN, "rope: {theta: 5e6}", yarn(5e6, 4, 16, 8));
    check(YARN, "rope: {scaling: yarn}", yarn(2e4, 4, 16, 8));
    check(YARN, "rope: {scaling: none}", (kd_rope_config){.theta = 2e4});
    check(YARN, "rope: {scaling: {type: dynamic, factor: 3}}", (kd_rope_config){.type = KD_ROPE_DYNAMIC, .theta = 2e4, .factor = 3});
}

static void numbers_of_the_run_are_the_types_alone(void **state) {
    (void)state;
    kd_rope_config want = yarn(2e4, 8, 64, 32);
    check(LLAMA "}", "rope: {scaling: {type: yarn, factor: 8}}", want);  /* original: max_position_embeddings */
    want.original = 16;
    check(YARN, "rope: {scaling: {type: yarn, factor: 8}}", want);  /* the checkpoint's original, nobody's beta */
    want.truncate = 0, want.attention_factor = 1.5, want.mscale = 0.5, want.mscale_all_dim = 0.25, want.original = 32;
    check(LLAMA "}", "rope: {scaling: {type: yarn, factor: 8, truncate: false, attention_factor: 1.5, mscale: 0.5, mscale_all_dim: 0.25, "
                     "original_max_position_embeddings: 32}}", want);
}

static void longropes_lists_come_from_the_checkpoint(void **state) {
    (void)state;
    kd_config config;
    assert_done(configure(&config, LONG, "rope: {scaling: {type: longrope, attention_factor: 1.5}}", false));
    assert_true(config.rope.long_factor[7] == 4 && config.rope.original == 32 && config.rope.factor == 2);
    assert_true(config.rope.attention_factor == 1.5);
    kd_config_close(&config);
    assert_fails(configure(&config, LLAMA "}", "rope: {scaling: longrope}", false), KD_ECONFIG, "read from the checkpoint, whose type is default");
    kd_config_close(&config);
}

static void a_type_without_its_factor_is_refused(void **state) {
    (void)state;
    static const char *const type[] = {"linear", "dynamic", "ntk", "llama3", "yarn"};
    for (int i = 0; i < 5; i++) {
        kd_config config;
        char model[64], words[64];
        snprintf(model, sizeof model, "rope: {scaling: %s}", type[i]);
        snprintf(words, sizeof words, "%s needs its factor", type[i]);
        assert_fails(configure(&config, LLAMA "}", model, false), KD_ECONFIG, words, "model.rope.scaling");
        kd_config_close(&config);
    }
}

static void numbers_that_do_not_go_together_are_refused(void **state) {
    (void)state;
    kd_config config;
    assert_fails(configure(&config, LLAMA "}", "rope: {scaling: {type: yarn, factor: 2, beta_fast: 1, beta_slow: 3}}", false), KD_ECONFIG,
                 "model.rope: RoPE beta_fast 1 is below beta_slow 3");
    kd_config_close(&config);
    assert_fails(configure(&config, LLAMA "}", "rope: {scaling: {type: llama3, factor: 2, low_freq_factor: 4, high_freq_factor: 4, "
                           "original_max_position_embeddings: 32}}", false), KD_ECONFIG, "high_freq_factor 4 is not above low_freq_factor 4");
    kd_config_close(&config);
    assert_fails(configure(&config, LLAMA "}", "rope: {scaling: {type: yarn, factor: 2, original_max_position_embeddings: 32.5}}", false),
                 KD_ECONFIG, "original_max_position_embeddings is 32.5");
    kd_config_close(&config);
}

/* ntk's base is made from the checkpoint's once, however often the folder that was written is trained on. */
static void ntk_is_applied_once(void **state) {
    (void)state;
    const char *const asked = "rope: {scaling: {type: ntk, factor: 4}}";
    kd_config config, next;
    double made = 2e4 * pow(4, 16.0 / 14);
    assert_done(configure(&config, LLAMA "}", asked, false));
    for (int resumed = 0; resumed < 2; resumed++) {
        assert_done(configure(&next, config.text, asked, resumed));
        assert_true(kd_rope_same(&next.rope, &config.rope, config.E));
        assert_true(kd_rope_ntk_theta(&next.rope, next.E) == made);
        kd_config_close(&next);
        assert_done(configure(&next, config.text, "", resumed));
        assert_true(kd_rope_ntk_theta(&next.rope, next.E) == made);
        kd_config_close(&next);
    }
    check(config.text, "rope: {scaling: {type: ntk, factor: 2}}", (kd_rope_config){.type = KD_ROPE_NTK, .theta = 2e4, .factor = 2});
    check(config.text, "rope: {scaling: {type: linear, factor: 2}}", (kd_rope_config){.type = KD_ROPE_LINEAR, .theta = made, .factor = 2});
    check(config.text, "rope: {scaling: none}", (kd_rope_config){.theta = made});
    check(config.text, "rope: {theta: 3e4}", (kd_rope_config){.theta = 3e4});
    kd_config_close(&config);
}

static void a_resumed_run_keeps_its_rope(void **state) {
    (void)state;
    static const char *const other[] = {"rope: {theta: 5e6}", "rope: {scaling: none}", "rope: {scaling: {type: yarn, factor: 8}}",
                                        "rope: {scaling: {type: yarn, factor: 4}}", "rope: {scaling: {type: yarn, factor: 4, beta_fast: 9}}"};
    kd_config config;
    assert_done(configure(&config, YARN, "rope: {theta: 2e4, scaling: {type: yarn, factor: 4, beta_fast: 8}}", true));
    kd_config_close(&config);
    for (int i = 0; i < 5; i++) {
        assert_fails(configure(&config, YARN, other[i], true), KD_ECONFIG, "model.rope", "has type yarn, theta 20000, factor 4");
        kd_config_close(&config);
    }
}

/* Token i sees i-s+1 .. i, so the last of 100 tokens sees the first if s is 100. */
static void a_sliding_window_shorter_than_the_window_is_refused_unless_lifted(void **state) {
    (void)state;
    kd_config config;
    assert_done(configure(&config, MISTRAL("100"), "", false));
    assert_int_equal(config.sliding_window, 100);
    kd_config_close(&config);
    assert_fails(configure(&config, MISTRAL("99"), "", false), KD_ECONFIG, "model.sliding_window", "99 tokens", "has 100", "lift");
    kd_config_close(&config);
    assert_done(configure(&config, MISTRAL("99"), "sliding_window: lift", false));
    assert_non_null(strstr(config.text, "\"sliding_window\": null"));
    kd_config_close(&config);
    assert_done(configure(&config, MISTRAL("null"), "sliding_window: lift", false));  /* nothing to lift */
    kd_config_close(&config);
    assert_done(configure(&config, MISTRAL("null"), "", true));
    kd_config_close(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_run_leaves_open_is_the_checkpoints),
        cmocka_unit_test(numbers_of_the_run_are_the_types_alone),
        cmocka_unit_test(longropes_lists_come_from_the_checkpoint),
        cmocka_unit_test(a_type_without_its_factor_is_refused),
        cmocka_unit_test(numbers_that_do_not_go_together_are_refused),
        cmocka_unit_test(ntk_is_applied_once),
        cmocka_unit_test(a_resumed_run_keeps_its_rope),
        cmocka_unit_test(a_sliding_window_shorter_than_the_window_is_refused_unless_lifted),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

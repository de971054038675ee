/* config.json and RoPE in both dialects: read, refused by name, written back with as little changed as can be. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "model/params.h"

#define SHAPE "\"model_type\": \"llama\", \"vocab_size\": 300, \"hidden_size\": 64, \"intermediate_size\": 96, " \
              "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2"

static kd_status parse(kd_config *config, const char *text) {
    return kd_config_parse(config, text, (int64_t)strlen(text), "config.json");
}

static void refused(const char *text, kd_status status, const char *says) {
    kd_config config;
    assert_int_equal(parse(&config, text), status);
    if (!strstr(kd_message(), says)) fail_msg("\"%s\" does not say \"%s\"", kd_message(), says);
}

static void both_dialects_of_rope_are_read(void **state) {
    (void)state;
    static const char *const text[] = {
        "{" SHAPE ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}",
        "{" SHAPE ", \"rope_theta\": 500000, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4.0}}",
        "{" SHAPE ", \"rope_parameters\": {\"rope_type\": \"linear\", \"rope_theta\": 5e5, \"factor\": 4.0}}",
        "{" SHAPE ", \"rope_theta\": 5e5, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4}, "
        "\"rope_parameters\": {\"rope_type\": \"linear\", \"rope_theta\": 5e5, \"factor\": 4.0}}",
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        kd_config config;
        assert_done(parse(&config, text[i]));
        assert_int_equal(config.rope.type, KD_ROPE_LINEAR);
        assert_true(config.rope.theta == 5e5 && config.rope.factor == 4);
        kd_config_close(&config);
    }
}

static void dialects_that_disagree_are_refused(void **state) {
    (void)state;
    refused("{" SHAPE ", \"rope_theta\": 1, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4}, "
            "\"rope_parameters\": {\"rope_type\": \"linear\", \"rope_theta\": 5e5, \"factor\": 4.0}}", KD_EFORMAT,
            "rope_scaling and rope_parameters say different things (linear with theta 1, linear with theta 500000)");
    refused("{" SHAPE ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 4}, "
            "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2}}", KD_EFORMAT, "say different things");
}

static void an_absent_theta_is_ten_thousand(void **state) {
    (void)state;
    kd_config config;
    assert_done(parse(&config, "{" SHAPE ", \"rope_scaling\": null}"));
    assert_true(config.rope.theta == 10000 && config.rope.type == KD_ROPE_DEFAULT);
    assert_int_equal(config.E, 16);
    kd_config_close(&config);
}

static void what_changes_the_maths_is_refused_by_name(void **state) {
    (void)state;
    refused("{" SHAPE ", \"rope_scaling\": {\"rope_type\": \"spiral\"}}", KD_ENOTSUP, "unknown RoPE type \"spiral\"");
    refused("{" SHAPE ", \"rope_scaling\": {\"rope_type\": \"ntk\", \"factor\": 2}}", KD_ENOTSUP, "unknown RoPE type \"ntk\"");
    refused("{" SHAPE ", \"rope_scaling\": {\"rope_type\": \"linear\"}}", KD_EFORMAT, "factor");
    refused("{" SHAPE ", \"partial_rotary_factor\": 0.4}", KD_ENOTSUP, "partial_rotary_factor 0.4");
    refused("{" SHAPE ", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\"}}}", KD_ENOTSUP, "by layer type");
    refused("{" SHAPE ", \"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}}", KD_ENOTSUP, "partial_rotary_factor");
    refused("{" SHAPE ", \"hidden_act\": \"gelu\"}", KD_ENOTSUP, "gelu");
    refused("{" SHAPE ", \"attention_bias\": true}", KD_ENOTSUP, "attention_bias");
    refused("{" SHAPE ", \"mlp_bias\": true}", KD_ENOTSUP, "mlp_bias");
    refused("{" SHAPE ", \"layer_types\": [\"full_attention\", \"sliding_attention\"]}", KD_ENOTSUP, "sliding_attention");
    refused("{" SHAPE ", \"attention_dropout\": 0.1}", KD_ENOTSUP, "attention_dropout");
    refused("{" SHAPE ", \"quantization_config\": {\"bits\": 4}}", KD_ENOTSUP, "quantized");
    refused("{\"model_type\": \"mamba\"}", KD_ENOTSUP, "unknown model_type \"mamba\"");
}

/* Eight pairs a head. */
#define ONES "[1, 1, 1, 1, 1, 1, 1, 1]"
#define SCALED(...) "{" SHAPE ", \"max_position_embeddings\": 64, \"rope_scaling\": {" __VA_ARGS__ "}}"

static void numbers_of_rope_that_cannot_be_are_refused_with_their_value(void **state) {
    (void)state;
    refused(SCALED("\"type\": \"dynamic\", \"factor\": 0.5"), KD_EFORMAT, "RoPE factor is 0.5, the least is 1");
    refused(SCALED("\"type\": \"dynamic\", \"factor\": \"4\""), KD_EFORMAT, "\"factor\" is not a number");
    refused(SCALED("\"type\": \"dynamic\""), KD_EFORMAT, "RoPE type dynamic needs \"factor\"");
    refused(SCALED("\"type\": \"yarn\", \"factor\": 4, \"attention_factor\": -1"), KD_EFORMAT, "attention_factor is -1");
    refused(SCALED("\"type\": \"yarn\", \"factor\": 4, \"beta_fast\": 1, \"beta_slow\": 2"), KD_EFORMAT, "beta_fast 1 is below beta_slow 2");
    refused(SCALED("\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 64.5"), KD_EFORMAT, "64.5, which is no whole number");
    refused(SCALED("\"type\": \"yarn\", \"factor\": 4, \"rope_theta\": 1"), KD_EFORMAT, "theta above 1");
    refused(SCALED("\"type\": \"yarn\", \"factor\": 4, \"truncate\": 1"), KD_EFORMAT, "\"truncate\" is neither true nor false");
    refused(SCALED("\"type\": \"longrope\", \"short_factor\": [1, 2], \"long_factor\": " ONES), KD_EFORMAT,
            "RoPE short_factor: 2 numbers, a head of 16 needs a list of 8");
    refused(SCALED("\"type\": \"longrope\", \"short_factor\": " ONES), KD_EFORMAT, "RoPE long_factor: 0 numbers");
    refused(SCALED("\"type\": \"su\", \"long_factor\": " ONES ", \"short_factor\": [1, 1, 1, 0, 1, 1, 1, 1]"), KD_EFORMAT, "short_factor[3] is 0");
    refused("{" SHAPE ", \"max_position_embeddings\": 0}", KD_EFORMAT, "max_position_embeddings is 0");
}

/* What is absent is what transformers fills in. */
static void absent_numbers_of_rope_are_those_of_transformers(void **state) {
    (void)state;
    kd_config config;
    assert_done(parse(&config, SCALED("\"type\": \"yarn\", \"factor\": 4")));
    assert_true(config.rope.original == 64 && config.rope.beta_fast == 32 && config.rope.beta_slow == 1 && config.rope.truncate == 1);
    kd_config_close(&config);
    assert_done(parse(&config, SCALED("\"type\": \"su\", \"original_max_position_embeddings\": 16, \"short_factor\": " ONES
                                      ", \"long_factor\": " ONES)));
    assert_true(config.rope.type == KD_ROPE_LONGROPE && config.rope.factor == 4);  /* 64 / 16 */
    kd_config_close(&config);
    assert_done(parse(&config, "{" SHAPE ", \"original_max_position_embeddings\": 32, \"rope_scaling\": {\"type\": \"longrope\", "
                      "\"original_max_position_embeddings\": 16, \"short_factor\": " ONES ", \"long_factor\": " ONES "}}"));
    assert_true(config.rope.original == 32 && config.rope.factor == 64);  /* beside goes before inside; 2048 / 32 */
    kd_config_close(&config);
}

/* Written with another theta and read again, by both versions' keys. */
static void every_rope_type_is_written_as_it_was_read(void **state) {
    (void)state;
    static const char *const scaling[] = {
        SCALED("\"type\": \"linear\", \"factor\": 2.5"), SCALED("\"type\": \"dynamic\", \"factor\": 2"),
        SCALED("\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, \"original_max_position_embeddings\": 32"),
        SCALED("\"type\": \"yarn\", \"factor\": 8, \"original_max_position_embeddings\": 32, \"attention_factor\": 1.5, \"beta_fast\": 16, "
               "\"beta_slow\": 2, \"mscale\": 0.7, \"mscale_all_dim\": 0.9, \"truncate\": false"),
        SCALED("\"type\": \"longrope\", \"factor\": 3, \"original_max_position_embeddings\": 32, \"attention_factor\": 1.25, "
               "\"short_factor\": " ONES ", \"long_factor\": [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]"),
    };
    static const char *const dialect[] = {"rope_parameters", "rope_scaling"};
    for (size_t i = 0; i < sizeof scaling / sizeof *scaling; i++)
        for (int other = 0; other < 2; other++) {
            kd_config config;
            kd_rope_config rope, again;
            assert_done(parse(&config, scaling[i]));
            rope = config.rope;
            rope.theta = 3e5;
            assert_done(kd_config_set_rope(&config, &rope));
            json_object_del(config.json, dialect[other]);
            assert_done(kd_rope_parse(&again, config.json, config.E, 64, "again"));
            assert_true(again.theta == 3e5);
            assert_true(kd_rope_same(&rope, &again, config.E));
            kd_config_close(&config);
        }
}

/* theta * 4^(16/14), once: written as a base, recognised when read, and asked for again without effect. */
static void ntk_is_a_base_that_is_made_once(void **state) {
    (void)state;
    kd_config config, again;
    assert_done(parse(&config, "{" SHAPE "}"));
    kd_rope_config rope = config.rope;
    rope.type = KD_ROPE_NTK;
    rope.factor = 4;
    double made = 1e4 * pow(4, 16.0 / 14), frequencies[8], plain[8];
    assert_done(kd_config_set_rope(&config, &rope));
    const json_t *five = json_object_get(config.json, "rope_parameters");
    assert_string_equal(json_string_value(json_object_get(five, "rope_type")), "default");
    assert_true(json_real_value(json_object_get(five, "rope_theta")) == made);
    assert_true(json_real_value(json_object_get(config.json, "rope_theta")) == made);
    assert_true(json_is_null(json_object_get(config.json, "rope_scaling")));
    assert_done(kd_config_parse(&again, config.text, config.text_size, "again"));
    assert_true(kd_rope_same(&again.rope, &rope, again.E));
    kd_rope_frequencies(frequencies, &again.rope, 16, 64);
    kd_rope_frequencies(plain, &(kd_rope_config){.theta = made}, 16, 64);
    assert_memory_equal(frequencies, plain, sizeof plain);
    assert_done(kd_config_set_rope(&again, &(kd_rope_config){.theta = 7e4}));  /* another base: what made the first is forgotten */
    assert_null(json_object_get(again.json, "rope_ntk"));
    kd_config_close(&again);

    json_object_set_new(config.json, "rope_theta", json_real(5e5));  /* somebody else's change */
    json_object_del(config.json, "rope_parameters");
    assert_done(kd_rope_parse(&rope, config.json, 16, 64, "changed"));
    assert_true(rope.type == KD_ROPE_DEFAULT && rope.theta == 5e5);
    kd_config_close(&config);
}

#define SHAPE_OF(family) "\"model_type\": \"" family "\", \"vocab_size\": 300, \"hidden_size\": 64, \"intermediate_size\": 96, " \
                         "\"num_hidden_layers\": 3, \"num_attention_heads\": 4, \"num_key_value_heads\": 2"

/* Tokens that a token sees in some layer, as transformers 4 and 5 read the keys. */
static void sliding_windows_are_found_where_transformers_finds_them(void **state) {
    (void)state;
    static const struct { const char *text; int64_t window; } row[] = {
        {"{" SHAPE ", \"sliding_window\": 16}", 0},
        {"{" SHAPE_OF("mistral") "}", 4096},
        {"{" SHAPE_OF("mistral") ", \"sliding_window\": null}", 0},
        {"{" SHAPE_OF("mistral") ", \"sliding_window\": 16}", 16},
        {"{" SHAPE_OF("mistral") ", \"sliding_window\": 16, \"use_sliding_window\": false}", 16},
        {"{" SHAPE_OF("qwen2") ", \"sliding_window\": 16}", 0},
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 3}", 0},
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 2}", 16},
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16}", 0},  /* max_window_layers: 28 */
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"max_window_layers\": 0}", 4096},
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": null, \"max_window_layers\": 0}", 0},
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 0, "
         "\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\"]}", 0},
        {"{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16, "
         "\"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\"]}", 16},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        kd_config config;
        assert_done(parse(&config, row[i].text));
        if (config.sliding_window != row[i].window)
            fail_msg("%s: %lld and not %lld", row[i].text, (long long)config.sliding_window, (long long)row[i].window);
        kd_config_close(&config);
    }
    refused("{" SHAPE_OF("mistral") ", \"layer_types\": [\"sliding_attention\"]}", KD_ENOTSUP, "sliding_attention");
    refused("{" SHAPE_OF("qwen2") ", \"layer_types\": [\"sliding_attention\"]}", KD_ENOTSUP, "sliding_attention");
}

static void a_lifted_sliding_window_is_gone_for_every_engine(void **state) {
    (void)state;
    static const char *const text[] = {
        "{" SHAPE_OF("mistral") "}",
        "{" SHAPE_OF("mistral") ", \"sliding_window\": 16}",
        "{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16, \"max_window_layers\": 1}",
        "{" SHAPE_OF("qwen2") ", \"use_sliding_window\": true, \"sliding_window\": 16, "
        "\"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\"]}",
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        kd_config config, again;
        assert_done(parse(&config, text[i]));
        assert_done(kd_config_lift_sliding_window(&config));
        assert_done(kd_config_parse(&again, config.text, config.text_size, "again"));
        assert_int_equal(again.sliding_window, 0);
        assert_true(json_is_null(json_object_get(again.json, "sliding_window")));
        assert_false(json_is_true(json_object_get(again.json, "use_sliding_window")));
        assert_null(strstr(config.text, "sliding_attention"));
        kd_config_close(&again);
        kd_config_close(&config);
    }
}

/* Keys that a family's own code has defaults for. */
static void absent_key_value_heads_are_the_familys(void **state) {
    (void)state;
    static const char shape[] = "\"vocab_size\": 300, \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 1, "
                                "\"num_attention_heads\": 32";
    static const struct { const char *family; int64_t heads; } row[] = {{"llama", 32}, {"mistral", 8}, {"qwen2", 32}};
    for (int i = 0; i < 3; i++)
        for (int null = 0; null < 2; null++) {
            char text[512];
            kd_config config;
            snprintf(text, sizeof text, "{\"model_type\": \"%s\", %s%s}", row[i].family, shape, null ? ", \"num_key_value_heads\": null" : "");
            assert_done(parse(&config, text));
            assert_int_equal(config.G, null ? 32 : row[i].heads);
            kd_config_close(&config);
        }
}

static void a_shape_that_cannot_be_is_refused(void **state) {
    (void)state;
    refused("[1]", KD_EFORMAT, "not an object");
    refused("{\"hidden_size\": 64}", KD_EFORMAT, "model_type");
    refused("{\"model_type\": \"llama\"}", KD_EFORMAT, "vocab_size");
    refused("{" SHAPE ", \"head_dim\": 15}", KD_ENOTSUP, "head size 15");
    refused("{\"model_type\": \"llama\", \"vocab_size\": 9, \"hidden_size\": 64, \"intermediate_size\": 9, "
            "\"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": 3}", KD_EFORMAT, "4 heads do not divide");
    refused("{" SHAPE ", \"rms_norm_eps\": 0}", KD_EFORMAT, "rms_norm_eps");
}

static void an_unchanged_config_is_written_byte_for_byte(void **state) {
    (void)state;
    const char *text = "{ " SHAPE ",\n\t\"torch_dtype\" : \"float32\", \"rope_theta\": 1e4, \"use_cache\":true }\n\n";
    kd_config config;
    char *out;
    int64_t size;
    assert_done(parse(&config, text));
    assert_done(kd_config_set_rope(&config, &(kd_rope_config){.theta = 10000}));
    assert_done(kd_config_print(&out, &size, &config, "float32"));
    assert_int_equal(size, strlen(text));
    assert_memory_equal(out, text, (size_t)size);
    free(out);
    kd_config_close(&config);
}

static void only_what_changed_is_changed(void **state) {
    (void)state;
    kd_config config, again;
    char *out;
    int64_t size;
    assert_done(parse(&config, "{" SHAPE ", \"torch_dtype\": \"bfloat16\", \"kedge\": 12345678901234567, \"rope_theta\": 1e4}"));
    kd_rope_config rope = {.type = KD_ROPE_LLAMA3, .theta = 5e5, .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4, .original = 8192};
    assert_done(kd_config_set_rope(&config, &rope));
    assert_done(kd_config_print(&out, &size, &config, "float32"));
    assert_non_null(strstr(out, "12345678901234567"));
    assert_non_null(strstr(out, "\"torch_dtype\": \"float32\""));
    assert_non_null(strstr(out, "\"rope_scaling\""));     /* transformers 4 */
    assert_non_null(strstr(out, "\"rope_parameters\""));  /* transformers 5 */
    assert_done(kd_config_parse(&again, out, size, "again"));
    assert_int_equal(again.rope.type, KD_ROPE_LLAMA3);
    assert_true(again.rope.theta == 5e5 && again.rope.factor == 8 && again.rope.original == 8192);
    kd_config_close(&again);
    free(out);
    kd_config_close(&config);
}

static void the_flat_order_has_no_gaps(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        kd_config config;
        kd_layout layout;
        assert_done(parse(&config, tied ? "{" SHAPE ", \"tie_word_embeddings\": true}" : "{" SHAPE "}"));
        assert_done(kd_layout_init(&layout, &config));
        assert_int_equal(layout.tensors, 1 + 3 * 9 + 1 + !tied);
        int64_t at = 0;
        for (int64_t i = 0; i < layout.tensors; i++) {
            kd_param_place p = kd_layout_tensor(&layout, i);
            assert_int_equal(p.at, at);
            at += p.size;
        }
        assert_int_equal(at, layout.count);
        assert_int_equal(layout.count, 300 * 64 * (2 - tied) + 64 + 3 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 96 * 64));
        kd_config_close(&config);
    }
}

static void every_preset_of_every_family_is_a_model(void **state) {
    (void)state;
    static const char *const arch[] = {"llama", "mistral", "qwen2"}, *const name[] = {"tiny", "demo", "5m", "10m", "124m"};
    for (int a = 0; a < 3; a++)
        for (int n = 0; n < 5; n++) {
            char *text;
            kd_config config;
            assert_done(kd_config_preset(&text, arch[a], name[n], &(kd_tokenizer){.bos = 256, .eos = 257}, 259, 65536));
            assert_done(parse(&config, text));
            assert_string_equal(config.model_type, arch[a]);
            assert_non_null(strstr(kd_preset_names(), name[n]));
            kd_config_close(&config);
            free(text);
        }
    char *text;
    assert_int_equal(kd_config_preset(&text, "llama", "huge", &(kd_tokenizer){.bos = 256, .eos = 257}, 259, 64), KD_ECONFIG);
    assert_int_equal(kd_config_preset(&text, "gpt", "tiny", &(kd_tokenizer){.bos = 256, .eos = 257}, 259, 64), KD_ECONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_dialects_of_rope_are_read),
        cmocka_unit_test(dialects_that_disagree_are_refused),
        cmocka_unit_test(an_absent_theta_is_ten_thousand),
        cmocka_unit_test(numbers_of_rope_that_cannot_be_are_refused_with_their_value),
        cmocka_unit_test(absent_numbers_of_rope_are_those_of_transformers),
        cmocka_unit_test(every_rope_type_is_written_as_it_was_read),
        cmocka_unit_test(ntk_is_a_base_that_is_made_once),
        cmocka_unit_test(sliding_windows_are_found_where_transformers_finds_them),
        cmocka_unit_test(a_lifted_sliding_window_is_gone_for_every_engine),
        cmocka_unit_test(absent_key_value_heads_are_the_familys),
        cmocka_unit_test(what_changes_the_maths_is_refused_by_name),
        cmocka_unit_test(a_shape_that_cannot_be_is_refused),
        cmocka_unit_test(an_unchanged_config_is_written_byte_for_byte),
        cmocka_unit_test(only_what_changed_is_changed),
        cmocka_unit_test(the_flat_order_has_no_gaps),
        cmocka_unit_test(every_preset_of_every_family_is_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* config.json and RoPE in both dialects: read, refused by name, written back with as little changed as can be. */
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
    refused("{" SHAPE ", \"rope_scaling\": {\"rope_type\": \"linear\"}}", KD_EFORMAT, "factor");
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
    static const char *const arch[] = {"llama", "qwen2"}, *const name[] = {"tiny", "demo", "5m", "10m", "124m"};
    for (int a = 0; a < 2; a++)
        for (int n = 0; n < 5; n++) {
            char *text;
            kd_config config;
            assert_done(kd_config_preset(&text, arch[a], name[n], 259, 65536));
            assert_done(parse(&config, text));
            assert_string_equal(config.model_type, arch[a]);
            assert_non_null(strstr(kd_preset_names(), name[n]));
            kd_config_close(&config);
            free(text);
        }
    char *text;
    assert_int_equal(kd_config_preset(&text, "llama", "huge", 259, 64), KD_ECONFIG);
    assert_int_equal(kd_config_preset(&text, "gpt", "tiny", 259, 64), KD_ECONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_dialects_of_rope_are_read),
        cmocka_unit_test(an_absent_theta_is_ten_thousand),
        cmocka_unit_test(what_changes_the_maths_is_refused_by_name),
        cmocka_unit_test(a_shape_that_cannot_be_is_refused),
        cmocka_unit_test(an_unchanged_config_is_written_byte_for_byte),
        cmocka_unit_test(only_what_changed_is_changed),
        cmocka_unit_test(the_flat_order_has_no_gaps),
        cmocka_unit_test(every_preset_of_every_family_is_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

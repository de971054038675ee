/* Files that somebody made to do harm: each ends in one line that names the file and the place or the key, in bounded
 * time and memory. Headers of safetensors are attacked in test_safetensors.c, JSON lines and zstd in test_jsonl.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "format/safetensors.h"
#include "format/json.h"
#include "format/yaml.h"
#include "model/model.h"
#include "probe/dump.h"
#include "scratch.h"
#include "train/run_file.h"

/* "head" "middle" x count "tail", on the heap. */
static char *repeated(const char *head, const char *middle, int64_t count, const char *tail) {
    size_t size = strlen(middle);
    char *text = malloc(strlen(head) + size * (size_t)count + strlen(tail) + 1), *p = stpcpy(text, head);
    for (int64_t i = 0; i < count; i++, p += size) memcpy(p, middle, size);
    strcpy(p, tail);
    return text;
}

static kd_status parse_config(kd_config *config, const char *text) {
    return kd_config_parse(config, text, (int64_t)strlen(text), "config.json");
}

/* ---- config.json ------------------------------------------------------------------------------------------- */

/* A model of llama's form with a value of one key; NULL: without it. */
static kd_status config_with(kd_config *config, const char *key, const char *value) {
    static const char *const usual[][2] = {
        {"model_type", "\"llama\""}, {"vocab_size", "300"}, {"hidden_size", "64"}, {"intermediate_size", "96"},
        {"num_hidden_layers", "3"}, {"num_attention_heads", "4"}, {"num_key_value_heads", "2"},
    };
    char text[2048] = "{\n";
    bool replaced = false;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        bool this = strcmp(usual[i][0], key) == 0;
        replaced |= this;
        if (this && !value) continue;
        snprintf(text + strlen(text), sizeof text - strlen(text), "\"%s\": %s,\n", usual[i][0], this ? value : usual[i][1]);
    }
    if (!replaced) snprintf(text + strlen(text), sizeof text - strlen(text), "\"%s\": %s,\n", key, value);
    strcpy(text + strlen(text) - 2, "\n}\n");
    return parse_config(config, text);
}

static void a_wrong_value_in_a_config_is_named_by_its_key(void **state) {
    (void)state;
    static const struct { const char *key, *value, *why; kd_status status; } cases[] = {
        {"vocab_size", NULL, "\"vocab_size\" is missing", KD_EFORMAT},
        {"vocab_size", "null", "\"vocab_size\" is missing", KD_EFORMAT},
        {"vocab_size", "\"300\"", "\"vocab_size\" is not an integer", KD_EFORMAT},
        {"vocab_size", "true", "\"vocab_size\" is not an integer", KD_EFORMAT},
        {"vocab_size", "[300]", "\"vocab_size\" is not an integer", KD_EFORMAT},
        {"vocab_size", "{}", "\"vocab_size\" is not an integer", KD_EFORMAT},
        {"vocab_size", "300.5", "\"vocab_size\" is not an integer", KD_EFORMAT},
        {"vocab_size", "1e300", "\"vocab_size\" is not an integer", KD_EFORMAT},
        {"vocab_size", "1e999", "config.json:3:15: a number beyond the range of double", KD_EFORMAT},
        {"vocab_size", "-1e999", "config.json:3:15: a number beyond", KD_EFORMAT},
        {"vocab_size", "9223372036854775807", "vocab_size is 9223372036854775807, outside", KD_EFORMAT},
        {"vocab_size", "9223372036854775808", "config.json:3:15: an integer beyond 64 bits", KD_EFORMAT},
        {"vocab_size", "-9223372036854775809", "config.json:3:15: an integer beyond 64 bits", KD_EFORMAT},
        {"vocab_size", "0", "vocab_size is 0, outside 1..16777216", KD_EFORMAT},
        {"vocab_size", "-0", "vocab_size is 0, outside", KD_EFORMAT},
        {"vocab_size", "-300", "vocab_size is -300, outside", KD_EFORMAT},
        {"vocab_size", "0x12c", "config.json:3:16: a comma or } expected", KD_EFORMAT},
        {"vocab_size", "0300", "config.json:3:16: a comma or } expected", KD_EFORMAT},
        {"vocab_size", "NaN", "config.json:3:15: a value expected", KD_EFORMAT},
        {"hidden_size", "-64", "hidden_size is -64", KD_EFORMAT},
        {"hidden_size", "4294967360", "hidden_size is 4294967360, outside", KD_EFORMAT},
        {"hidden_size", "66", "hidden_size 66 is not a multiple of 4 heads", KD_EFORMAT},
        {"hidden_size", "4", "head size 1: it is even", KD_ENOTSUP},
        {"intermediate_size", "0", "intermediate_size is 0", KD_EFORMAT},
        {"intermediate_size", "16777217", "intermediate_size is 16777217, outside 1..16777216", KD_EFORMAT},
        {"num_hidden_layers", "0", "num_hidden_layers is 0", KD_EFORMAT},
        {"num_hidden_layers", "16385", "num_hidden_layers is 16385, outside 1..16384", KD_EFORMAT},
        {"num_attention_heads", "0", "num_attention_heads is 0", KD_EFORMAT},
        {"num_attention_heads", "3", "not a multiple of 3 heads", KD_EFORMAT},
        {"num_attention_heads", "-4", "num_attention_heads is -4", KD_EFORMAT},
        {"num_key_value_heads", "0", "4 heads do not divide into 0", KD_EFORMAT},
        {"num_key_value_heads", "-2", "4 heads do not divide into -2", KD_EFORMAT},
        {"num_key_value_heads", "3", "4 heads do not divide into 3", KD_EFORMAT},
        {"num_key_value_heads", "8", "4 heads do not divide into 8", KD_EFORMAT},
        {"num_key_value_heads", "\"2\"", "\"num_key_value_heads\" is not an integer", KD_EFORMAT},
        {"head_dim", "0", "head size 0: it is even", KD_ENOTSUP},
        {"head_dim", "-16", "head size -16", KD_ENOTSUP},
        {"head_dim", "9223372036854775806", "head size 9223372036854775806", KD_ENOTSUP},
        {"head_dim", "16.25", "\"head_dim\" is not an integer", KD_EFORMAT},
        {"model_type", NULL, "no \"model_type\"", KD_EFORMAT},
        {"model_type", "5", "\"model_type\" is not a string", KD_EFORMAT},
        {"model_type", "\"llama\\u0000\"", "\"model_type\" contains U+0000", KD_EFORMAT},
        {"model_type", "\"ll\\ud800ama\"", "config.json:2:18: half of a surrogate pair", KD_EFORMAT},
        {"model_type", "\"\xc0\xec\"", "config.json:2:16: not valid UTF-8", KD_EFORMAT},
        {"model_type", "\"\"", "unknown model_type \"\"", KD_ENOTSUP},
        {"rms_norm_eps", "-1e-5", "rms_norm_eps is -1e-05", KD_EFORMAT},
        {"rms_norm_eps", "\"small\"", "\"rms_norm_eps\" is not a number", KD_EFORMAT},
        {"bos_token_id", "300", "bos_token_id is 300, vocab_size 300", KD_EFORMAT},
        {"bos_token_id", "-2", "bos_token_id is -2, vocab_size 300", KD_EFORMAT},
        {"bos_token_id", "1.0", "bos_token_id is not an id", KD_EFORMAT},
        {"eos_token_id", "[300, 2]", "eos_token_id is 300, vocab_size 300", KD_EFORMAT},
        {"eos_token_id", "[\"2\"]", "eos_token_id is not an id", KD_EFORMAT},
        {"tie_word_embeddings", "1", "\"tie_word_embeddings\" is neither true nor false", KD_EFORMAT},
        {"attention_bias", "\"no\"", "\"attention_bias\" is neither true nor false", KD_EFORMAT},
        {"hidden_act", "7", "\"hidden_act\" is not a string", KD_EFORMAT},
        {"layer_types", "[1]", "layer_types: \"?\"", KD_ENOTSUP},
        {"rope_theta", "0", "rope_theta", KD_EFORMAT},
        {"rope_theta", "-1", "rope_theta", KD_EFORMAT},
        {"rope_theta", "\"1e4\"", "\"rope_theta\" is not a number", KD_EFORMAT},
        {"rope_scaling", "[]", "RoPE scaling is not an object", KD_EFORMAT},
        {"rope_scaling", "{\"type\": 5}", "\"type\" is not a string", KD_EFORMAT},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": 0}", "factor", KD_EFORMAT},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": -8}", "factor", KD_EFORMAT},
        {"rope_scaling", "{\"type\": \"linear\", \"factor\": [8]}", "\"factor\" is not a number", KD_EFORMAT},
        {"hidden_size\": 64, \"hidden_size", "64", "repeated key \"hidden_size\"", KD_EFORMAT},
        {"hidden_size\": 64, \"hidden\\u005fsize", "64", "repeated key \"hidden_size\"", KD_EFORMAT},
        {"a\\u0000b", "1", "config.json:9:1: U+0000 in a key", KD_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_config config;
        assert_fails(config_with(&config, cases[i].key, cases[i].value), cases[i].status, "config.json", cases[i].why);
        assert_null(config.text);
        assert_null(config.json);
    }
}

static void a_config_is_one_object_of_text(void **state) {
    (void)state;
    static const struct { const char *text; int64_t size; const char *why; } cases[] = {
        {"", 0, "config.json:1:1: the file ends where an object"},
        {" \n", 2, "config.json:2:1: the file ends where an object"},
        {"[]", 2, "config.json: not an object"},
        {"null", 4, "config.json:1:1: an object or a list expected"},
        {"\xef\xbb\xbf{}", 5, "config.json:1:1: an object or a list expected"},
        {"{}{}", 4, "config.json:1:3: something follows the end"},
        {"{}\0", 3, "config.json:1:3: something follows the end"},
        {"{\0}", 3, "config.json:1:2: a key expected"},
        {"{} // llama", 11, "config.json:1:4: something follows the end"},
        {"{\"a\": \"", 7, "config.json:1:8: the file ends where the end of a string should be"},
        {"\xff\xfe{\0}\0", 6, "config.json:1:1: not valid UTF-8"},
        {"{\"a\": \"\xf4\x90\x80\x80\"}", 13, "config.json:1:8: not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_config config;
        assert_fails(kd_config_parse(&config, cases[i].text, cases[i].size, "config.json"), KD_EFORMAT, cases[i].why);
    }
}

static void a_config_of_a_hundred_thousand_keys_or_levels_is_read_or_refused(void **state) {
    (void)state;
    kd_config config;
    char *deep = repeated("{\"a\": ", "[", 100000, "");
    assert_fails(parse_config(&config, deep), KD_EFORMAT, "config.json:1:70: nested deeper than 64");
    free(deep);
    deep = repeated("{\"a\": ", "{\"a\":", 100000, "");
    assert_fails(parse_config(&config, deep), KD_EFORMAT, "nested deeper than 64");
    free(deep);
    char *wide = malloc(100000 * 16), *p = wide;
    *p++ = '{';
    for (int i = 0; i < 100000; i++) p += sprintf(p, "\"k%d\":0,", i);
    strcpy(p, "\"model_type\":\"mamba\"}");
    assert_fails(parse_config(&config, wide), KD_ENOTSUP, "unknown model_type \"mamba\"");
    free(wide);
}

static void a_model_that_no_memory_holds_is_refused(void **state) {
    (void)state;
    static const struct { const char *V, *C, *L, *H, *E; int64_t window; kd_status status; } cases[] = {
        {"16777216", "16777216", "1", "1048576", "2", 8, KD_ENOMEM},           /* 2 PiB of weights */
        {"16777216", "16777216", "16384", "1048576", "256", 8, KD_EFORMAT},    /* their number leaves int64 */
        {"259", "64", "1", "2", "32", 7, KD_EARG},                             /* leaves without a token */
        {"259", "4096", "16384", "32", "128", 16777215, KD_ENOMEM},
    };
    kd_ctx *ctx;
    assert_done(kd_ctx_open(&ctx, 1));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        kd_config config;
        kd_model *model;
        snprintf(text, sizeof text, "{\"model_type\": \"llama\", \"vocab_size\": %s, \"hidden_size\": %s, \"intermediate_size\": 16777216, "
                 "\"num_hidden_layers\": %s, \"num_attention_heads\": %s, \"head_dim\": %s}", cases[i].V, cases[i].C, cases[i].L,
                 cases[i].H, cases[i].E);
        assert_done(parse_config(&config, text));
        kd_model_options options = {.window = cases[i].window, .windows = 1, .micro = 1, .leaves = 8, .training = true};
        kd_status status = kd_model_open(&model, ctx, &config, &options);
        if (status != cases[i].status) fail_msg("case %d: %s: %s", (int)i, kd_status_name(status), kd_message());
        assert_null(model);
        kd_config_close(&config);
    }
    kd_ctx_close(ctx);
}

/* ---- JSON -------------------------------------------------------------------------------------------------- */

static void json_of_too_many_values_is_refused_before_it_takes_the_memory(void **state) {
    (void)state;
    static const char *const item[] = {"{},", "0,"};
    for (size_t i = 0; i < sizeof item / sizeof *item; i++) {
        char *text = repeated("[", item[i], 3000001, "0]");
        json_t *root;
        assert_fails(kd_json_parse(&root, text, (int64_t)strlen(text), "x.json"), KD_EFORMAT, "x.json:1:", "more than 3000000 values");
        assert_null(root);
        free(text);
    }
    struct rusage use;
    assert_int_equal(getrusage(RUSAGE_SELF, &use), 0);
    if (!SANITIZED && use.ru_maxrss > 2 << 20) fail_msg("%ld KiB", use.ru_maxrss);
}

/* jansson's reservations, of which number `countdown` from now fails, once or from then on. */
static int64_t countdown;
static bool once;

static void *failing_malloc(size_t size) {
    if (countdown > 0 && --countdown == 0) {
        if (!once) countdown = 1;
        return NULL;
    }
    return malloc(size);
}

static void json_without_memory_is_never_called_wrong_text(void **state) {
    (void)state;
    static const char text[] = "{\"a_key_longer_than_sixteen_bytes\": [1234567890123456789, 1.25e10, true, null, {\"\": []}], "
                               "\"meta\": \"a text that is longer than thirty-two bytes, so that buffers grow\"}";
    json_set_alloc_funcs(failing_malloc, free);
    for (int mode = 0; mode < 2; mode++) {
        int64_t failed = 0;
        kd_status status;
        do {
            json_t *root;
            char *printed;
            countdown = ++failed;
            once = mode == 0;
            status = kd_json_parse(&root, text, sizeof text - 1, "x.json");
            if (!status) {
                status = kd_json_print(&printed, root, JSON_COMPACT, "x.json");
                countdown = 0;
                if (!status) {
                    assert_non_null(strstr(printed, "[1234567890123456789,12500000000.0,true,null,{\"\":[]}],\"meta\":\"a text"));
                    free(printed);
                }
                json_decref(root);
            }
            countdown = 0;
            if (status && (status != KD_ENOMEM || strcmp(kd_message(), "x.json: out of memory")))
                fail_msg("allocation %d: %s: %s", (int)failed, kd_status_name(status), kd_message());
        } while (status);
        assert_true(failed > 20);
    }
    json_set_alloc_funcs(malloc, free);
}

/* ---- YAML -------------------------------------------------------------------------------------------------- */

static void a_yaml_map_of_very_many_keys_is_refused_at_once(void **state) {
    (void)state;
    char *text = malloc(200000 * 16), *p = text;
    kd_yaml *root;
    for (int i = 0; i < 200000; i++) p += sprintf(p, "k%d:\n", i);
    assert_fails(kd_yaml_parse(&root, text, p - text, "run.yaml"), KD_ECONFIG, "run.yaml:4097:1: a map of more than 4096 keys");
    free(text);
    text = repeated("", "#", 5 << 20, "");
    kd_run_file run;
    assert_fails(kd_run_file_open(&run, scratch_text("run.yaml", text), NULL, 0), KD_EFORMAT, "run.yaml: larger than 4194304 bytes");
    free(text);
}

/* ---- shards ------------------------------------------------------------------------------------------------ */

static void put_tensor(const char *path, const char *name) {
    const kd_tensor_spec spec = {name, KD_U8, 1, {1}};
    kd_tensors_writer writer;
    assert_done(kd_tensors_create(&writer, in_scratch(path), &spec, 1, NULL, 0));
    assert_done(kd_tensors_put(&writer, "x", 1));
    assert_done(kd_tensors_finish(&writer));
}

static void assert_folder_refused(const char *index, const char *why) {
    kd_tensors tensors;
    scratch_text("s/model.safetensors.index.json", index);
    kd_status status = kd_tensors_open_folder(&tensors, in_scratch("s"));
    if (status != KD_EFORMAT && status != KD_EIO) fail_msg("%s: %s: %s", index, kd_status_name(status), kd_message());
    if (!strstr(kd_message(), why) || !strstr(kd_message(), "s/")) fail_msg("\"%s\" does not say \"%s\"", kd_message(), why);
    assert_null(tensors.tensor);
    assert_null(tensors.file);
}

static void an_index_is_believed_only_about_its_own_folder(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "index.json:1:1: the file ends where an object"},
        {"[]", "index.json: \"weight_map\" is not an object with tensors"},
        {"{\"weight_map\": null}", "\"weight_map\" is not an object with tensors"},
        {"{\"weight_map\": {}}", "\"weight_map\" is not an object with tensors"},
        {"{\"weight_map\": \"a.safetensors\"}", "\"weight_map\" is not an object with tensors"},
        {"{\"weight_map\": {\"a\": 5}}", "\"a\" is not a string"},
        {"{\"weight_map\": {\"a\": [\"a.safetensors\"]}}", "\"a\" is not a string"},
        {"{\"weight_map\": {\"a\": true}}", "\"a\" is not a string"},
        {"{\"weight_map\": {\"a\": \"../s/a.safetensors\"}}", "is not a file of this folder"},
        {"{\"weight_map\": {\"a\": \"./a.safetensors\"}}", "is not a file of this folder"},
        {"{\"weight_map\": {\"a\": \"/dev/zero\"}}", "is not a file of this folder"},
        {"{\"weight_map\": {\"a\": \"a.safetensors/\"}}", "is not a file of this folder"},
        {"{\"weight_map\": {\"a\": \"a.safetensors\\u0000.txt\"}}", "contains U+0000"},
        {"{\"weight_map\": {\"a\\u0000\": \"a.safetensors\"}}", "index.json:1:17: U+0000 in a key"},
        {"{\"weight_map\": {\"a\": \"a.safetensors\", \"\\u0061\": \"b.safetensors\"}}", "index.json:1:39: repeated key \"a\""},
        {"{\"weight_map\": {\"a\": \"a.safetensors\"}, \"weight_map\": {\"b\": \"b.safetensors\"}}", "repeated key \"weight_map\""},
        {"{\"weight_map\": {\"a\": \"a.safetensors\", \"c\": \"a.safetensors\"}}", "tensor c is not in a.safetensors"},
        {"{\"weight_map\": {\"a\": \"a.safetensors\", \"b\": \"a.safetensors\"}}", "tensor b is not in a.safetensors"},
        {"{\"weight_map\": {\"a\": \"b.safetensors\", \"b\": \"a.safetensors\"}}", "tensor a is in a.safetensors and not in b.safetensors"},
        {"{\"weight_map\": {\"a\": \"a.safetensors\", \"b\": \"again.safetensors\"}}", "tensor a is in "},
        {"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", "index.json: shard gone.safetensors is missing"},
        {"{\"weight_map\": {\"a\": \"folder\"}}", "s/folder: is a folder"},
        {"{\"weight_map\": {\"a\": \"pipe\"}}", "s/pipe: is not a regular file"},
        {"{\"weight_map\": {\"a\": \"dangling\"}}", "shard dangling is missing"},
        {"{\"weight_map\": {\"a\": \"model.safetensors.index.json\"}}", "index.json: header of "},
        {"{\"weight_map\": {\"a\": \"both.safetensors\"}}", "s/both.safetensors is not in the map"},
    };
    assert_done(kd_make_folders(in_scratch("s/folder")));
    put_tensor("s/a.safetensors", "a");
    put_tensor("s/again.safetensors", "a");
    put_tensor("s/b.safetensors", "b");
    const kd_tensor_spec two[] = {{"a", KD_U8, 1, {0}}, {"b", KD_U8, 1, {0}}};
    kd_tensors_writer writer;
    assert_done(kd_tensors_create(&writer, in_scratch("s/both.safetensors"), two, 2, NULL, 0));
    assert_done(kd_tensors_finish(&writer));
    assert_int_equal(symlink("nowhere", in_scratch("s/dangling")), 0);
    char pipe[1024];
    snprintf(pipe, sizeof pipe, "mkfifo '%s'", in_scratch("s/pipe"));
    assert_int_equal(system(pipe), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_folder_refused(cases[i][0], cases[i][1]);
}

static void an_index_of_a_hundred_thousand_shards_ends_at_the_first_that_is_not_there(void **state) {
    (void)state;
    char *index = malloc(100000 * 24), *p = index;
    p = stpcpy(p, "{\"weight_map\": {");
    for (int i = 0; i < 100000; i++) p += sprintf(p, "%s\"%d\":\"%d\"", i ? "," : "", i, i);
    strcpy(p, "}}");
    assert_done(kd_make_folders(in_scratch("s")));
    assert_folder_refused(index, "index.json: shard 0 is missing");
    free(index);
}

static void a_tensor_of_a_wrong_shape_is_named_with_it_however_long(void **state) {
    (void)state;
    kd_tensor_spec spec = {"model.embed_tokens.weight", KD_F32, 8, {0}};
    kd_tensors_writer writer;
    kd_config config;
    kd_ctx *ctx;
    kd_model *model;
    for (int i = 1; i < 8; i++) spec.shape[i] = INT64_MAX;
    assert_done(kd_make_folders(in_scratch("shape")));
    assert_done(kd_tensors_create(&writer, in_scratch("shape/model.safetensors"), &spec, 1, NULL, 0));
    assert_done(kd_tensors_finish(&writer));
    assert_done(config_with(&config, "bos_token_id", "1"));
    assert_done(kd_ctx_open(&ctx, 1));
    kd_model_options options = {.window = 4, .windows = 1, .micro = 1, .leaves = 1};
    assert_done(kd_model_open(&model, ctx, &config, &options));
    assert_fails(kd_model_load(model, in_scratch("shape")), KD_EFORMAT, "shape/model.safetensors: tensor model.embed_tokens.weight: its shape is "
                 "[0, 9223372036854775807, ", "9223372036854775807], config.json needs [300, 64]");
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
}

/* Folders of the Hugging Face cache are links into its blobs. */
static void a_shard_may_be_a_link_and_an_index_comes_before_a_single_file(void **state) {
    (void)state;
    kd_tensors tensors;
    assert_done(kd_make_folders(in_scratch("link")));
    put_tensor("blob", "a");
    put_tensor("link/model.safetensors", "single");
    assert_int_equal(symlink("../blob", in_scratch("link/one.safetensors")), 0);
    scratch_text("link/model.safetensors.index.json", "{\"weight_map\": {\"a\": \"one.safetensors\"}}");
    assert_done(kd_tensors_open_folder(&tensors, in_scratch("link")));
    assert_int_equal(tensors.count, 1);
    assert_string_equal(tensors.tensor[0].name, "a");
    kd_tensors_close(&tensors);
}

/* ---- dumps ------------------------------------------------------------------------------------------------- */

/* A dump of one layer, 0 at two shifts, of which only the header lies in memory: its path, for as long as `fd` is open. */
static const char *hollow_dump(int *fd, int64_t H, int64_t T, int64_t E) {
    static char path[64];
    char text[1024] = "12345678{";
    int64_t end = 0;
    for (int i = 0; i < 4; i++) {
        int64_t heads = i % 2 ? 1 : H, begin = end;
        end += heads * T * E * 2;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"layers.0.%c.%d\":{\"dtype\":\"BF16\",\"shape\":[%lld,%lld,%lld],"
                 "\"data_offsets\":[%lld,%lld]}", i ? "," : "", i % 2 ? 'k' : 'q', i / 2, (long long)heads, (long long)T, (long long)E,
                 (long long)begin, (long long)end);
    }
    strcat(text, "}");
    uint64_t header = strlen(text) - 8;
    memcpy(text, &header, 8);
    snprintf(path, sizeof path, "/kedge-hollow-%lld", (long long)getpid());
    *fd = shm_open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(*fd >= 0 && !shm_unlink(path));
    assert_int_equal(write(*fd, text, 8 + header), 8 + header);
    assert_int_equal(ftruncate(*fd, 8 + (int64_t)header + end), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
    return path;
}

static void a_dump_that_no_memory_holds_is_refused(void **state) {
    (void)state;
    kd_dump dump;
    kd_ctx *ctx;
    int fd;
    assert_fails(kd_dump_open(&dump, hollow_dump(&fd, 1 << 20, 1 << 24, 4096)), KD_EFORMAT, "/proc/self/fd/", ": size ", "does not fit");
    assert_null(dump.shift);
    close(fd);
    assert_fails(kd_dump_open(&dump, hollow_dump(&fd, 1, (1 << 24) + 1, 64)), KD_EFORMAT, "1 query heads on 1 key heads of 64, 16777217 tokens");
    close(fd);
    assert_fails(kd_dump_open(&dump, hollow_dump(&fd, (1 << 20) + 1, 1, 64)), KD_EFORMAT, "1048577 query heads");
    close(fd);
    assert_done(kd_dump_open(&dump, hollow_dump(&fd, 1 << 14, 1 << 24, 64)));
    if (!SANITIZED) {  /* which ends a program that asks for 128 TiB */
        int64_t shift[] = {0, 1};
        const kd_probe p = {.grid = {.T = dump.T, .shift = shift, .shifts = 2, .against = 1, .longest = dump.T}, .texts = 1};
        kd_probe_curve curve = {.L = dump.L, .H = dump.H, .E = dump.E};
        assert_done(kd_ctx_open(&ctx, 1));
        assert_fails(kd_probe_dump(&curve, ctx, &p, &dump, 0), KD_ENOMEM, "/proc/self/fd/", ": out of memory: ");
        kd_ctx_close(ctx);
    }
    kd_dump_close(&dump);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_value_in_a_config_is_named_by_its_key),
        cmocka_unit_test(a_config_is_one_object_of_text),
        cmocka_unit_test(a_config_of_a_hundred_thousand_keys_or_levels_is_read_or_refused),
        cmocka_unit_test(a_model_that_no_memory_holds_is_refused),
        cmocka_unit_test(json_of_too_many_values_is_refused_before_it_takes_the_memory),
        cmocka_unit_test(json_without_memory_is_never_called_wrong_text),
        cmocka_unit_test(a_yaml_map_of_very_many_keys_is_refused_at_once),
        cmocka_unit_test(an_index_is_believed_only_about_its_own_folder),
        cmocka_unit_test(an_index_of_a_hundred_thousand_shards_ends_at_the_first_that_is_not_there),
        cmocka_unit_test(a_tensor_of_a_wrong_shape_is_named_with_it_however_long),
        cmocka_unit_test(a_dump_that_no_memory_holds_is_refused),
        cmocka_unit_test(a_shard_may_be_a_link_and_an_index_comes_before_a_single_file),
    };
    return cmocka_run_group_tests_name("hostile", tests, scratch_open, scratch_close);
}

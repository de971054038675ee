/* Weights out: dtypes, shards, and exports from folder to folder. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "scratch.h"
#include "base/half.h"
#include "model/model.h"

typedef struct fixture { kd_ctx *ctx; kd_config config; kd_model *model; float *weights; } fixture;

static void open_fixture(fixture *f, const char *arch, const kd_device *device) {
    char *text;
    assert_done(kd_ctx_open_on(&f->ctx, device, 2));
    assert_done(kd_config_preset(&text, arch, "tiny", &(kd_tokenizer){.bos = 256, .eos = 257}, 300, 64));
    assert_done(kd_config_parse(&f->config, text, (int64_t)strlen(text), "tiny"));
    free(text);
    kd_model_options options = {.window = 1, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    assert_done(kd_model_open(&f->model, f->ctx, &f->config, &options));
    assert_done(kd_model_init(f->model, &f->config, 7));
    int64_t count = kd_model_layout(f->model)->count;
    f->weights = malloc((size_t)count * sizeof *f->weights);
    assert_done(f->ctx->device->get(f->ctx, f->weights, kd_model_weights(f->model), count * (int64_t)sizeof *f->weights));
}

static void close_fixture(fixture *f) {
    free(f->weights);
    kd_model_close(f->model);
    kd_config_close(&f->config);
    kd_ctx_close(f->ctx);
}

static const char *fresh_folder(const char *name) {
    const char *folder = in_scratch(name);
    assert_done(kd_make_folders(folder));
    return folder;
}

static int64_t size_of(const char *folder, const char *name) {
    struct stat about;
    char path[2048];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(stat(path, &about), 0);
    return about.st_size;
}

static kd_tensors open_folder(const char *folder) {
    kd_tensors tensors;
    assert_done(kd_tensors_open_folder(&tensors, folder));
    return tensors;
}

static void name_of(char name[128], const kd_layout *layout, int64_t i) {
    kd_param_place p = kd_layout_tensor(layout, i);
    kd_param_name(name, p.kind, p.layer, layout->layered[p.kind]);
}

/* Every weight of the folder is the model's, rounded to `dtype`. */
static void folder_holds(const char *folder, const fixture *f, kd_dtype dtype) {
    kd_tensors tensors = open_folder(folder);
    const kd_layout *layout = kd_model_layout(f->model);
    assert_int_equal(tensors.count, layout->tensors);
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        char name[128];
        name_of(name, layout, i);
        const kd_tensor *tensor = kd_tensors_find(&tensors, name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dtype, dtype);
        float *stored = malloc((size_t)p.size * sizeof *stored);
        assert_done(kd_tensor_read_f32(stored, tensor, 0, p.size));
        for (int64_t k = 0; k < p.size; k++) {
            float x = f->weights[p.at + k];
            float want = dtype == KD_F32 ? x : dtype == KD_BF16 ? kd_bf16_widen(kd_bf16_round(x)) : kd_f16_widen(kd_f16_round(x));
            if (stored[k] != want) fail_msg("%s[%lld] is %g and not %g", name, (long long)k, stored[k], want);
        }
        free(stored);
    }
    kd_tensors_close(&tensors);
    json_t *config;
    char path[2048];
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_done(kd_json_load(&config, path));
    assert_string_equal(json_string_value(json_object_get(config, "torch_dtype")),
                        dtype == KD_F32 ? "float32" : dtype == KD_BF16 ? "bfloat16" : "float16");
    json_decref(config);
}

static void a_save_rounds_to_the_dtype_that_config_says(void **state) {
    (void)state;
    static const kd_dtype dtype[] = {KD_F32, KD_BF16, KD_F16};
    fixture f;
    open_fixture(&f, "qwen2", &kd_device_guard);
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "dtype-%d", i);
        const char *folder = fresh_folder(name);
        assert_done(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){dtype[i], 0}));
        folder_holds(folder, &f, dtype[i]);
    }
    const char *folder = fresh_folder("plain");
    assert_done(kd_model_save(f.model, &f.config, folder, NULL, NULL));
    folder_holds(folder, &f, KD_F32);
    assert_int_equal(size_of(folder, "model.safetensors") > 0, 1);
    close_fixture(&f);
}

/* The first tensors take 300 * 64 * 4 = 76,800 and 256 bytes: their data alone would fit into 77,120. */
static void no_shard_is_larger_than_asked_but_for_one_tensor_alone(void **state) {
    (void)state;
    static const int64_t asked[] = {1, 40 << 10, 77120, 100 << 10, 1 << 30};
    fixture f;
    open_fixture(&f, "llama", &kd_device_host);
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "shards-%d", i);
        const char *folder = fresh_folder(name);
        assert_done(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){KD_F32, asked[i]}));
        folder_holds(folder, &f, KD_F32);
        kd_tensors tensors = open_folder(folder);
        for (int64_t k = 0; k < tensors.files; k++) {
            kd_tensors one;
            struct stat about;
            assert_done(kd_tensors_open(&one, tensors.file[k].path));
            assert_int_equal(stat(tensors.file[k].path, &about), 0);
            if (about.st_size > asked[i]) assert_int_equal(one.count, 1);
            kd_tensors_close(&one);
        }
        if (i == 0) assert_int_equal(tensors.files, kd_model_layout(f.model)->tensors);
        if (i == 4) assert_int_equal(tensors.files, 1);  /* and it has its usual name: */
        if (i == 4) assert_true(size_of(folder, "model.safetensors") > 0);
        else assert_true(tensors.files > 1);
        kd_tensors_close(&tensors);
    }
    close_fixture(&f);
}

static void the_index_is_that_of_hugging_face_in_canonical_order(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "llama", &kd_device_host);
    const char *folder = fresh_folder("index");
    assert_done(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){KD_BF16, 40 << 10}));
    char path[2048], last[64] = "";
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    json_t *index;
    assert_done(kd_json_load(&index, path));
    const kd_layout *layout = kd_model_layout(f.model);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(index, "metadata"), "total_size")), layout->count * 2);
    json_t *map = json_object_get(index, "weight_map");
    assert_int_equal(json_object_size(map), layout->tensors);
    for (int64_t i = 0; i < layout->tensors; i++) {
        char name[128];
        name_of(name, layout, i);
        const char *shard = json_string_value(json_object_get(map, name));
        assert_non_null(shard);
        assert_true(strcmp(last, shard) <= 0);
        snprintf(last, sizeof last, "%s", shard);
    }
    assert_non_null(strstr(last, "model-00"));
    int number, of;
    assert_int_equal(sscanf(last, "model-%5d-of-%5d.safetensors", &number, &of), 2);
    assert_int_equal(number, of);
    json_decref(index);
    close_fixture(&f);
}

static void a_weight_beyond_the_dtype_is_named(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "llama", &kd_device_host);
    int64_t at = kd_model_layout(f.model)->at[KD_P_GATE] + 5;
    kd_model_weights(f.model)[at] = -65520;  /* rounds to infinity in f16 */
    const char *folder = fresh_folder("beyond");
    assert_fails(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){KD_F16, 0}), KD_ENUMERIC,
                 "model.layers.0.mlp.gate_proj.weight", "element 5", "-65520", "F16", folder);
    assert_false(kd_exists(in_scratch("beyond/model.safetensors")));
    assert_false(kd_exists(in_scratch("beyond/config.json")));
    kd_model_weights(f.model)[at] = 65519;   /* rounds to the largest */
    assert_done(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){KD_F16, 0}));
    kd_model_weights(f.model)[at] = 3.4e38f;
    assert_fails(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){KD_BF16, 0}), KD_ENUMERIC, "BF16", "element 5");
    close_fixture(&f);
}

static void shards_load_as_the_weights_that_were_saved(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "qwen2", &kd_device_host);
    const char *folder = fresh_folder("again");
    assert_done(kd_model_save(f.model, &f.config, folder, NULL, &(kd_weights_form){KD_F32, 50000}));
    int64_t bytes = kd_model_layout(f.model)->count * (int64_t)sizeof(float);
    memset(kd_model_weights(f.model), 0, (size_t)bytes);
    assert_done(kd_model_load(f.model, folder));
    assert_memory_equal(kd_model_weights(f.model), f.weights, (size_t)bytes);
    close_fixture(&f);
}

/* Two folders have the same tensors, byte for byte. */
static void same_tensors(const char *a, const char *b) {
    kd_tensors x = open_folder(a), y = open_folder(b);
    assert_int_equal(x.count, y.count);
    for (int64_t i = 0; i < x.count; i++) {
        assert_string_equal(x.tensor[i].name, y.tensor[i].name);
        assert_int_equal(x.tensor[i].dtype, y.tensor[i].dtype);
        assert_int_equal(x.tensor[i].count, y.tensor[i].count);
        size_t bytes = (size_t)(x.tensor[i].count * kd_dtype_size(x.tensor[i].dtype));
        char *of_a = malloc(bytes), *of_b = malloc(bytes);
        assert_done(kd_tensor_read(of_a, &x.tensor[i], 0, x.tensor[i].count));
        assert_done(kd_tensor_read(of_b, &y.tensor[i], 0, y.tensor[i].count));
        assert_memory_equal(of_a, of_b, bytes);
        free(of_a);
        free(of_b);
    }
    kd_tensors_close(&x);
    kd_tensors_close(&y);
}

static void an_export_is_what_a_save_would_have_written(void **state) {
    (void)state;
    fixture f;
    open_fixture(&f, "llama", &kd_device_host);
    const char *from = fresh_folder("from");
    scratch_text("from/tokenizer.json", "{}\n");
    scratch_text("from/optimizer.safetensors", "state");
    assert_done(kd_model_save(f.model, &f.config, from, NULL, &(kd_weights_form){KD_F32, 60000}));
    assert_done(kd_model_export(in_scratch("kept"), from, &(kd_weights_form){KD_WEIGHTS_AS_STORED, 0}, 0));
    same_tensors(from, in_scratch("kept"));
    assert_true(kd_exists(in_scratch("kept/tokenizer.json")));
    assert_false(kd_exists(in_scratch("kept/optimizer.safetensors")));
    assert_false(kd_exists(in_scratch("kept.tmp")));

    assert_done(kd_model_save(f.model, &f.config, fresh_folder("from2"), NULL, NULL));
    assert_done(kd_model_save(f.model, &f.config, fresh_folder("half"), NULL, &(kd_weights_form){KD_BF16, 30000}));
    assert_done(kd_model_export(in_scratch("half2"), in_scratch("from2"), &(kd_weights_form){KD_BF16, 30000}, 0));
    same_tensors(in_scratch("half"), in_scratch("half2"));
    assert_done(kd_model_export(in_scratch("half3"), in_scratch("half2"), &(kd_weights_form){KD_WEIGHTS_AS_STORED, 0}, 0));
    folder_holds(in_scratch("half3"), &f, KD_BF16);
    FILE *file = fopen(in_scratch("half3/model.safetensors"), "r+b");  /* a NaN whose bits conversions change */
    assert_non_null(file);
    assert_int_equal(fseek(file, -2, SEEK_END), 0);
    assert_int_equal(fwrite("\x81\x7f", 1, 2, file), 2);
    assert_int_equal(fclose(file), 0);
    assert_done(kd_model_export(in_scratch("half4"), in_scratch("half3"), &(kd_weights_form){KD_WEIGHTS_AS_STORED, 40000}, 0));
    same_tensors(in_scratch("half3"), in_scratch("half4"));
    close_fixture(&f);
}

static void an_export_overwrites_nothing_and_leaves_nothing_half_made(void **state) {
    (void)state;
    fixture f;
    const kd_weights_form form = {KD_F16, 0};
    open_fixture(&f, "llama", &kd_device_host);
    const char *from = fresh_folder("source");
    kd_model_weights(f.model)[0] = 1e6f;
    assert_done(kd_model_save(f.model, &f.config, from, NULL, NULL));
    assert_fails(kd_model_export(from, from, &form, 0), KD_ECONFIG, "holds a model already");
    fresh_folder("other");
    scratch_text("other/notes.txt", "mine");
    assert_fails(kd_model_export(in_scratch("other"), from, &form, 0), KD_ECONFIG, "not an empty folder");
    assert_fails(kd_model_export(in_scratch("target"), from, &form, 0), KD_ENUMERIC, "model.embed_tokens.weight", "element 0", "1e+06");
    assert_false(kd_exists(in_scratch("target")));
    assert_false(kd_exists(in_scratch("target.tmp")));
    fresh_folder("empty");
    assert_done(kd_model_export(in_scratch("empty/"), in_scratch("source"), &(kd_weights_form){KD_BF16, 0}, 0));
    assert_true(kd_exists(in_scratch("empty/config.json")));
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_save_rounds_to_the_dtype_that_config_says),
        cmocka_unit_test(no_shard_is_larger_than_asked_but_for_one_tensor_alone),
        cmocka_unit_test(the_index_is_that_of_hugging_face_in_canonical_order),
        cmocka_unit_test(a_weight_beyond_the_dtype_is_named),
        cmocka_unit_test(shards_load_as_the_weights_that_were_saved),
        cmocka_unit_test(an_export_is_what_a_save_would_have_written),
        cmocka_unit_test(an_export_overwrites_nothing_and_leaves_nothing_half_made),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

/* Folders go both ways between kedge and Hugging Face transformers. Needs a Python with torch and transformers, named in
 * KEDGE_PYTHON; skipped without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scratch.h"
#include "base/random.h"
#include "format/safetensors.h"
#include "train/train.h"

enum { T = 200 };

static const char *need_python(const char *test) {
    const char *python = getenv("KEDGE_PYTHON");
    if (python && *python) return python;
    print_message("skipped: %s: KEDGE_PYTHON names no Python with transformers\n", test);
    skip();
    return NULL;
}

static void train(const char *model, const char *output) {
    char yaml[2048];
    const char *data = in_scratch("data.jsonl"), *path = in_scratch("run.yaml");
    if (!kd_exists(data))
        scratch_text("data.jsonl", "{\"text\": \"the anchor is seen by every document, and a document sees itself\"}\n"
                         "{\"text\": \"positions are relative, unless they are rounded\"}\n"
                         "{\"text\": \"a window is exactly full, whatever the documents: the last one is cut and goes on\"}\n");
    snprintf(yaml, sizeof yaml,
             "model: {%s}\ntokenizer: bytes\ndata: {train: %s}\nwindow: 64\nbatch: {windows: 2, micro: 1}\n"
             "optim: {lr: 1e-3}\nsteps: 3\nthreads: 2\noutput: %s\n", model, data, output);
    scratch_text("run.yaml", yaml);
    kd_run_file run;
    assert_done(kd_run_file_open(&run, path, NULL, 0));
    assert_done(kd_train(&run, &(kd_train_options){.quiet = true}));
    kd_run_file_close(&run);
}

/* kedge's logits for the folder, beside the tokens. */
static void write_logits(const char *path, const char *folder) {
    kd_ctx *ctx;
    kd_config config;
    kd_model *model;
    kd_plan plan;
    int32_t token[T];
    assert_done(kd_ctx_open(&ctx, 2));
    assert_done(kd_config_open(&config, folder));
    for (int64_t t = 0; t < T; t++) token[t] = (int32_t)(kd_random_bits(9, 0, (uint64_t)t) % (uint64_t)config.V);
    kd_chunk chunk = {0, token, T, NULL};
    kd_piece piece = {.next = -1};
    assert_done(kd_plan_init(&plan, &(kd_plan_options){.mask = KD_MASK_FULL}, &piece, 1, &chunk, 1));
    const kd_plan *view = &plan;
    kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    assert_done(kd_model_open(&model, ctx, &config, &options));
    assert_done(kd_model_load(model, folder));
    assert_done(kd_model_forward(model, &view, 1, 0));
    float *logits = malloc((size_t)(T * config.V) * sizeof *logits);
    assert_done(kd_model_logits(model, logits, 0, T));
    kd_tensor_spec spec[] = {{"tokens", KD_I32, 1, {T}}, {"logits", KD_F32, 2, {T, config.V}}};
    kd_tensors_writer writer;
    assert_done(kd_tensors_create(&writer, path, spec, 2, NULL, 0));
    assert_done(kd_tensors_put(&writer, token, sizeof token));
    assert_done(kd_tensors_put(&writer, logits, T * config.V * (int64_t)sizeof *logits));
    assert_done(kd_tensors_finish(&writer));
    free(logits);
    kd_plan_free(&plan);
    kd_model_close(model);
    kd_config_close(&config);
    kd_ctx_close(ctx);
}

static void transformers_agrees(const char *python, const char *folder) {
    char command[2048];
    const char *logits = in_scratch("logits.safetensors");
    write_logits(logits, folder);
    snprintf(command, sizeof command, "PYTHONDONTWRITEBYTECODE=1 '%s' tools/check_transformers.py '%s' '%s' 1>&2", python, folder, logits);
    assert_int_equal(system(command), 0);
}

static void a_folder_kedge_trained_opens_in_transformers(void **state) {
    (void)state;
    const char *python = need_python(__func__);
    char folder[2048];
    const char *const init[] = {"init: {arch: llama, preset: tiny}", "init: {arch: qwen2, preset: tiny}",
                                "init: {arch: mistral, preset: tiny}"};
    for (int i = 0; i < 3; i++) {
        snprintf(folder, sizeof folder, "%s/fresh-%d", scratch, i);
        train(init[i], folder);
        strcat(folder, "/step-3");
        transformers_agrees(python, folder);
    }
}

/* The folder of those that transformers saves. */
static const char *need_made(const char *python) {
    static char made[1024];
    char command[4096];
    if (*made) return made;
    snprintf(made, sizeof made, "%s/made", scratch);
    snprintf(command, sizeof command, "PYTHONDONTWRITEBYTECODE=1 '%s' tools/check_transformers.py --make '%s' 1>&2", python, made);
    assert_int_equal(system(command), 0);
    return made;
}

/* What the run file changes is what transformers then reads, on weights whose logits show it. */
static void rope_that_a_run_asked_for_is_that_of_transformers(void **state) {
    (void)state;
    const char *python = need_python(__func__), *made = need_made(python);
    static const struct { const char *from, *rope; } row[] = {
        {"llama-plain-float32", "scaling: {type: yarn, factor: 4, beta_fast: 8, mscale: 1, mscale_all_dim: 0.5, truncate: false}"},
        {"llama-plain-float32", "scaling: {type: dynamic, factor: 4}"},
        {"llama-plain-float32", "scaling: {type: ntk, factor: 4}"},
        {"rope-longrope-float32", "theta: 3e4, scaling: {type: longrope, attention_factor: 1.5}"},
    };
    for (int i = 0; i < 4; i++) {
        char model[2048], output[1100];
        snprintf(model, sizeof model, "path: %s/%s, rope: {%s}", made, row[i].from, row[i].rope);
        snprintf(output, sizeof output, "%s/asked-%d", scratch, i);
        train(model, output);
        strcat(output, "/step-3");
        transformers_agrees(python, output);
    }
}

static void a_folder_transformers_saved_trains_in_kedge_and_goes_back(void **state) {
    (void)state;
    const char *python = need_python(__func__), *made = need_made(python);
    char model[2048], output[2048];
    kd_paths names = {0};
    assert_done(kd_list_folder(&names, made));
    assert_int_equal(names.count, 16);
    for (int64_t i = 0; i < names.count; i++) {
        bool slides = !strncmp(names.path[i], "mistral", 7);
        snprintf(model, sizeof model, "path: %s/%s%s", made, names.path[i], slides ? ", sliding_window: lift" : "");
        snprintf(output, sizeof output, "%s/out-%s", scratch, names.path[i]);
        train(model, output);
        strcat(output, "/step-3");
        transformers_agrees(python, output);
    }
    kd_paths_free(&names);
}

static void an_export_in_bf16_shards_opens_in_transformers(void **state) {
    (void)state;
    const char *python = need_python(__func__);
    char folder[2048], target[2048];
    static const char *const arch[] = {"llama", "mistral", "qwen2"};
    for (int i = 0; i < 3; i++) {
        char init[64];
        snprintf(init, sizeof init, "init: {arch: %s, preset: tiny}", arch[i]);
        snprintf(folder, sizeof folder, "%s/exported-%s", scratch, arch[i]);
        snprintf(target, sizeof target, "%s/bf16-%s", scratch, arch[i]);
        train(init, folder);
        strcat(folder, "/step-3");
        assert_done(kd_model_export(target, folder, &(kd_weights_form){KD_BF16, 100000}, 0));
        assert_true(kd_exists(strcat(strcpy(folder, target), "/model.safetensors.index.json")));
        transformers_agrees(python, target);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_kedge_trained_opens_in_transformers),
        cmocka_unit_test(an_export_in_bf16_shards_opens_in_transformers),
        cmocka_unit_test(rope_that_a_run_asked_for_is_that_of_transformers),
        cmocka_unit_test(a_folder_transformers_saved_trains_in_kedge_and_goes_back),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

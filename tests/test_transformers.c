/* Folders go both ways between kedge and Hugging Face transformers. Needs a Python with torch and transformers, named in
 * KEDGE_PYTHON; skipped without it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "format/safetensors.h"
#include "train/train.h"

#define OK(call) do { if (call) fail_msg("%s: %s", #call, kd_message()); } while (0)

enum { T = 200 };

static char home[] = "/tmp/kedge-test-XXXXXX";

static const char *need_python(const char *test) {
    const char *python = getenv("KEDGE_PYTHON");
    if (python && *python) return python;
    print_message("skipped: %s: KEDGE_PYTHON names no Python with transformers\n", test);
    skip();
    return NULL;
}

/* A file in the test's folder. */
static const char *in_home(const char *name) {
    static char path[4][512];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", home, name);
    return p;
}

static void write_text(const char *path, const char *text) { OK(kd_file_write(path, text, (int64_t)strlen(text))); }

static void train(const char *model, const char *output) {
    char yaml[2048];
    const char *data = in_home("data.jsonl"), *path = in_home("run.yaml");
    if (!kd_exists(data))
        write_text(data, "{\"text\": \"the anchor is seen by every document, and a document sees itself\"}\n"
                         "{\"text\": \"positions are relative, unless they are rounded\"}\n"
                         "{\"text\": \"a window is exactly full, whatever the documents: the last one is cut and goes on\"}\n");
    snprintf(yaml, sizeof yaml,
             "model: {%s}\ntokenizer: bytes\ndata: {train: %s}\nwindow: 64\nbatch: {windows: 2, micro: 1}\n"
             "optim: {lr: 1e-3}\nsteps: 3\nthreads: 2\noutput: %s\n", model, data, output);
    write_text(path, yaml);
    kd_run_file run;
    OK(kd_run_file_open(&run, path, NULL, 0));
    OK(kd_train(&run, &(kd_train_options){.quiet = true}));
    kd_run_file_close(&run);
}

/* kedge's logits for the folder, beside the tokens. */
static void write_logits(const char *path, const char *folder) {
    kd_ctx *ctx;
    kd_config config;
    kd_model *model;
    kd_plan plan;
    int32_t token[T];
    OK(kd_ctx_open(&ctx, 2));
    OK(kd_config_open(&config, folder));
    for (int64_t t = 0; t < T; t++) token[t] = (int32_t)(kd_random_bits(9, 0, (uint64_t)t) % (uint64_t)config.V);
    kd_chunk chunk = {0, token, T};
    kd_piece piece = {.next = -1};
    OK(kd_plan_init(&plan, &(kd_plan_options){.mask = KD_MASK_FULL}, &piece, 1, &chunk, 1));
    const kd_plan *view = &plan;
    kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    OK(kd_model_open(&model, ctx, &config, &options));
    OK(kd_model_load(model, folder));
    OK(kd_model_forward(model, &view, 1, 0));
    float *logits = malloc((size_t)(T * config.V) * sizeof *logits);
    OK(kd_model_logits(model, logits, 0, T));
    kd_tensor_spec spec[] = {{"tokens", KD_I32, 1, {T}}, {"logits", KD_F32, 2, {T, config.V}}};
    kd_tensors_writer writer;
    OK(kd_tensors_create(&writer, path, spec, 2, NULL, 0));
    OK(kd_tensors_put(&writer, token, sizeof token));
    OK(kd_tensors_put(&writer, logits, T * config.V * (int64_t)sizeof *logits));
    OK(kd_tensors_finish(&writer));
    free(logits);
    kd_plan_free(&plan);
    kd_model_close(model);
    kd_config_close(&config);
    kd_ctx_close(ctx);
}

static void transformers_agrees(const char *python, const char *folder) {
    char command[2048];
    const char *logits = in_home("logits.safetensors");
    write_logits(logits, folder);
    snprintf(command, sizeof command, "PYTHONDONTWRITEBYTECODE=1 '%s' tools/check_transformers.py '%s' '%s' 1>&2", python, folder, logits);
    assert_int_equal(system(command), 0);
}

static void a_folder_kedge_trained_opens_in_transformers(void **state) {
    (void)state;
    const char *python = need_python(__func__);
    char folder[600];
    const char *const init[] = {"init: {arch: llama, preset: tiny}", "init: {arch: qwen2, preset: tiny}"};
    for (int i = 0; i < 2; i++) {
        snprintf(folder, sizeof folder, "%s/fresh-%d", home, i);
        train(init[i], folder);
        strcat(folder, "/step-3");
        transformers_agrees(python, folder);
    }
}

static void a_folder_transformers_saved_trains_in_kedge_and_goes_back(void **state) {
    (void)state;
    const char *python = need_python(__func__);
    char command[2048], made[512], model[700], output[700];
    snprintf(made, sizeof made, "%s/made", home);
    snprintf(command, sizeof command, "PYTHONDONTWRITEBYTECODE=1 '%s' tools/check_transformers.py --make '%s' 1>&2", python, made);
    assert_int_equal(system(command), 0);
    kd_paths names = {0};
    OK(kd_list_folder(&names, made));
    assert_int_equal(names.count, 8);
    for (int64_t i = 0; i < names.count; i++) {
        snprintf(model, sizeof model, "path: %s/%s", made, names.path[i]);
        snprintf(output, sizeof output, "%s/out-%s", home, names.path[i]);
        train(model, output);
        strcat(output, "/step-3");
        transformers_agrees(python, output);
    }
    kd_paths_free(&names);
}

static int make_home(void **state) {
    (void)state;
    return mkdtemp(home) ? 0 : -1;
}

static int remove_home(void **state) {
    (void)state;
    return kd_remove_tree(home) ? -1 : 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_kedge_trained_opens_in_transformers),
        cmocka_unit_test(a_folder_transformers_saved_trains_in_kedge_and_goes_back),
    };
    return cmocka_run_group_tests(tests, make_home, remove_home);
}

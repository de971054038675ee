/* kedge info */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build_info.h"
#include "cli.h"
#include "format/safetensors.h"
#include "info_data.h"
#include "model/model.h"
#include "train/checkpoint.h"

/* Takes value over; NULL: memory was out. */
static kd_status put(json_t *to, const char *key, json_t *value) {
    return json_object_set_new(to, key, value) ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

/* Numbers of a folder, as JSON; printed as lines for people. */
static json_t *describe_config(const kd_config *c, const kd_layout *layout) {
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:s, s:f, s:I}", "model_type", c->model_type,
                     "parameters", (json_int_t)layout->count, "layers", (json_int_t)c->L, "hidden_size", (json_int_t)c->C,
                     "intermediate_size", (json_int_t)c->F, "heads", (json_int_t)c->H, "key_value_heads", (json_int_t)c->G,
                     "head_size", (json_int_t)c->E, "vocabulary", (json_int_t)c->V, "tied_embeddings", c->tied,
                     "qkv_bias", c->qkv_bias, "rope_type", kd_rope_type_name(c->rope.type), "rope_theta", c->rope.theta, "tensors",
                     (json_int_t)layout->tensors);
}

static kd_status describe_weights(json_t *to, const char *folder) {
    kd_tensors tensors;
    KD_TRY(kd_tensors_open_folder(&tensors, folder));
    int64_t bytes = 0;
    for (int64_t i = 0; i < tensors.count; i++) bytes += tensors.tensor[i].count * kd_dtype_size(tensors.tensor[i].dtype);
    kd_status status;
    KD_GO(put(to, "dtype", json_string(tensors.count ? kd_dtype_name(tensors.tensor[0].dtype) : "none")));
    KD_GO(put(to, "weight_files", json_integer(tensors.files)));
    KD_GO(put(to, "weight_bytes", json_integer(bytes)));
done:
    kd_tensors_close(&tensors);
    return status;
}

/* A checkpoint has its training state beside the weights; it and exported weights have a manifest. */
static kd_status describe_state(json_t *to, const char *folder) {
    char *path = kd_path_join(folder, "trainer_state.json"), *manifest = kd_path_join(folder, "manifest.json");
    json_t *state = NULL;
    kd_status status;
    if (!path || !manifest) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    bool training = kd_exists(path);
    if (training) {
        KD_GO(kd_json_load(&state, path));
        KD_GO(put(to, "training", state));
    }
    if (training || kd_exists(manifest)) {
        kd_status whole = kd_checkpoint_verify(folder);
        if (whole == KD_ENOMEM) KD_GO(whole);
        KD_GO(put(to, training ? "checkpoint" : "export", json_string(whole ? kd_message() : "complete")));
    }
    status = KD_OK;
done:
    free(manifest);
    free(path);
    return status;
}

/* A run's output folder holds no model itself. */
static kd_status refuse_run(const char *folder) {
    char *metrics = kd_path_join(folder, "metrics.jsonl");
    if (!metrics) return kd_fail(KD_ENOMEM, "out of memory");
    bool run = kd_exists(metrics);
    free(metrics);
    if (run) return kd_fail(KD_ECONFIG, "info: %s is a run; its checkpoints are what can be looked at: kedge info %s/step-N", folder, folder);
    return KD_OK;
}

static kd_status describe_folder(json_t *to, const char *folder) {
    kd_config config;
    kd_layout layout;
    KD_TRY(refuse_run(folder));
    KD_TRY(kd_config_open(&config, folder));
    kd_status status = kd_layout_init(&layout, &config);
    if (!status) {
        json_t *part = describe_config(&config, &layout);
        if (!part || json_object_update(to, part)) status = kd_fail(KD_ENOMEM, "out of memory");
        json_decref(part);
    }
    if (!status) status = describe_weights(to, folder);
    if (!status) status = describe_state(to, folder);
    kd_config_close(&config);
    return status;
}

static bool ends_with(const char *path, const char *suffix) {
    size_t length = strlen(path), end = strlen(suffix);
    return length >= end && !strcmp(path + length - end, suffix);
}

static kd_status describe_file(json_t *to, const char *path) {
    kd_tensors tensors;
    KD_TRY(kd_tensors_open(&tensors, path));
    json_t *list = json_array();
    kd_status status = put(to, "tensors", list);
    for (int64_t i = 0; i < tensors.count && !status; i++) {
        const kd_tensor *t = &tensors.tensor[i];
        json_t *shape = json_array();
        for (int64_t d = 0; d < t->rank && !status; d++)
            if (json_array_append_new(shape, json_integer(t->shape[d]))) status = kd_fail(KD_ENOMEM, "out of memory");
        json_t *row = status ? NULL : json_pack("{s:s, s:s, s:O}", "name", t->name, "dtype", kd_dtype_name(t->dtype), "shape", shape);
        if (!status && json_array_append_new(list, row)) status = kd_fail(KD_ENOMEM, "out of memory");
        json_decref(shape);
    }
    kd_tensors_close(&tensors);
    return status;
}

/* "key    value", or without a key the value alone. */
static kd_status print_json(const char *key, int indent, const json_t *value, size_t flags) {
    char *text;
    KD_TRY(kd_json_print(&text, value, flags, *key ? key : "output"));
    if (*key) printf("%*s%-22s %s\n", indent, "", key, text);
    else printf("%s\n", text);
    free(text);
    return KD_OK;
}

static kd_status print_lines(const json_t *object, int indent) {
    const char *key;
    json_t *value;
    kd_status status = KD_OK;
    json_object_foreach((json_t *)object, key, value) {
        if (status) break;
        if (json_is_object(value)) {
            printf("%*s%s\n", indent, "", key);
            status = print_lines(value, indent + 2);
        } else if (json_is_string(value)) {
            printf("%*s%-22s %s\n", indent, "", key, json_string_value(value));
        } else {
            status = print_json(key, indent, value, JSON_COMPACT);
        }
    }
    return status;
}

static kd_status print_tensors(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_array_get(list, i);
        char *shape;
        KD_TRY(kd_json_print(&shape, json_object_get(t, "shape"), JSON_COMPACT, "shape"));
        printf("%-6s %-20s %s\n", json_string_value(json_object_get(t, "dtype")), shape, json_string_value(json_object_get(t, "name")));
        free(shape);
    }
    return KD_OK;
}

static kd_status print(const json_t *out, bool as_json) {
    const json_t *tensors = json_object_get(out, "tensors");
    if (as_json) return print_json("", 0, out, JSON_INDENT(2));
    return json_is_array(tensors) ? print_tensors(tensors) : print_lines(out, 0);
}

int kd_cmd_info(int argc, char **argv) {
    bool as_json = false, done;
    const char *path = NULL;
    int64_t count;
    const kd_option option[] = {{"--json", KD_FLAG, &as_json, NULL, "one JSON object"}};
    const kd_usage usage = {"info", "[PATH] [--json]",
                            "Says what a model folder, a checkpoint, a pack, a token store or a safetensors file contains; without "
                            "a path, what this build can do. A checkpoint is verified against its manifest: its last line says "
                            "\"complete\", or what is wrong with it. So are a pack's files; of a token store their length.",
                            "  kedge info\n"
                            "  kedge info models/small\n"
                            "  kedge info runs/anchor/step-100 --json\n"
                            "  kedge info packs/64k\n"
                            "  kedge info models/small/model.safetensors\n", option, 1};
    kd_status status = kd_options_read(&usage, argc, argv, &path, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    bool data = false;
    if (path && kd_is_folder(path)) status = kd_info_is_data(&data, path);
    if (status || data) return kd_exit_code(status ? status : kd_info_data(path, as_json));
    json_t *out = json_object();
    if (!out) status = kd_fail(KD_ENOMEM, "out of memory");
    if (!status && !path && as_json) status = put(out, "kedge", json_string(KD_VERSION));
    if (!status && !path) status = kd_build_describe(out);
    else if (!status && kd_is_folder(path)) status = describe_folder(out, path);
    else if (!status && kd_exists(path) && !ends_with(path, ".safetensors"))
        status = kd_fail(KD_ECONFIG, "info: %s: a folder of a model, checkpoint or pack, or a .safetensors file is needed", path);
    else if (!status) status = describe_file(out, path);
    if (!status && !path && !as_json) printf("kedge %s\n", KD_VERSION);
    if (!status) status = print(out, as_json);
    json_decref(out);
    return kd_exit_code(status);
}

#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* What absent keys of config.json mean is each family's own, as in transformers 4 and 5. */
typedef struct family {
    const char *model_type, *architecture;
    bool qkv_bias;
    int64_t max_positions;    /* max_position_embeddings */
    int64_t kv_heads;         /* num_key_value_heads; 0: as many as heads */
    int64_t sliding_window;   /* 0: the family has none */
    int64_t sliding_layers;   /* max_window_layers: the first layer that slides, where use_sliding_window is true; -1: the
                                 family has no such keys, all layers slide */
} family;

static const family families[] = {
    {"llama", "LlamaForCausalLM", false, 2048, 0, 0, -1},
    {"mistral", "MistralForCausalLM", false, 4096 * 32, 8, 4096, -1},
    {"qwen2", "Qwen2ForCausalLM", true, 32768, 32, 4096, 28},
};
enum { FAMILIES = sizeof families / sizeof *families };
#define FAMILY_NAMES "llama, mistral, qwen2"

static const family *find_family(const char *model_type) {
    for (int i = 0; i < FAMILIES; i++)
        if (!strcmp(model_type, families[i].model_type)) return &families[i];
    return NULL;
}

/* Keys that do not change what a training step computes, beside those that are read below. */
static const char *const harmless[] = {
    "_name_or_path", "architectures", "attention_dropout", "bos_token_id", "dtype", "eos_token_id", "head_dim",
    "hidden_act", "hidden_size", "initializer_range", "intermediate_size", "layer_types", "max_position_embeddings",
    "max_window_layers", "model_type", "num_attention_heads", "num_hidden_layers", "num_key_value_heads", "original_max_position_embeddings",
    "pad_token_id", "pretraining_tp", "rms_norm_eps", "rope_ntk", "rope_parameters", "rope_scaling", "rope_theta",
    "sliding_window", "tie_word_embeddings", "torch_dtype", "transformers_version", "unk_token_id", "use_cache",
    "use_sliding_window", "vocab_size", "attention_bias", "mlp_bias", "quantization_config",
};

static kd_status parse_family(const family **found, kd_config *config, const json_t *json, const char *name) {
    const char *type = NULL;
    KD_TRY(kd_json_maybe_string(&type, json, "model_type", name));
    if (!type) return kd_fail(KD_EFORMAT, "%s: no \"model_type\"", name);
    *found = find_family(type);
    if (!*found) return kd_fail(KD_ENOTSUP, "%s: unknown model_type \"%s\"; known here: " FAMILY_NAMES, name, type);
    snprintf(config->model_type, sizeof config->model_type, "%s", type);
    config->qkv_bias = (*found)->qkv_bias;
    return KD_OK;
}

static kd_status parse_shape(kd_config *config, const family *f, const json_t *json, const char *name) {
    const struct { const char *key; int64_t *to, most; } size[] = {
        {"vocab_size", &config->V, 1 << 24}, {"hidden_size", &config->C, 1 << 24}, {"intermediate_size", &config->F, 1 << 24},
        {"num_hidden_layers", &config->L, 1 << 14}, {"num_attention_heads", &config->H, 1 << 20},
    };
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        KD_TRY(kd_json_int(size[i].to, json, size[i].key, name));
        if (*size[i].to < 1 || *size[i].to > size[i].most)
            return kd_fail(KD_EFORMAT, "%s: %s is %lld, outside 1..%lld", name, size[i].key, (long long)*size[i].to,
                           (long long)size[i].most);
    }
    config->G = f->kv_heads && !json_object_get(json, "num_key_value_heads") ? f->kv_heads : config->H;
    KD_TRY(kd_json_maybe_int(&config->G, NULL, json, "num_key_value_heads", name));
    bool given;
    KD_TRY(kd_json_maybe_int(&config->E, &given, json, "head_dim", name));
    if (!given) {
        if (config->C % config->H)
            return kd_fail(KD_EFORMAT, "%s: hidden_size %lld is not a multiple of %lld heads and there is no head_dim",
                           name, (long long)config->C, (long long)config->H);
        config->E = config->C / config->H;
    }
    if (config->G < 1 || config->H % config->G)
        return kd_fail(KD_EFORMAT, "%s: %lld heads do not divide into %lld key/value heads", name,
                       (long long)config->H, (long long)config->G);
    if (config->E < 2 || config->E % 2 || config->E > 256)
        return kd_fail(KD_ENOTSUP, "%s: head size %lld: it is even and at most 256 here", name, (long long)config->E);
    return KD_OK;
}

/* A switch that would change the maths must stand where kedge's maths is. */
static kd_status need_off(const json_t *json, const char *key, const char *name) {
    bool on = false;
    KD_TRY(kd_json_maybe_bool(&on, NULL, json, key, name));
    return on ? kd_fail(KD_ENOTSUP, "%s: %s is true: not in this build yet", name, key) : KD_OK;
}

static kd_status parse_switches(kd_config *config, const json_t *json, const char *name) {
    const char *act = "silu";
    KD_TRY(kd_json_maybe_string(&act, json, "hidden_act", name));
    if (strcmp(act, "silu")) return kd_fail(KD_ENOTSUP, "%s: hidden_act \"%s\": only silu is known here", name, act);
    KD_TRY(need_off(json, "attention_bias", name));
    KD_TRY(need_off(json, "mlp_bias", name));
    double dropout = 0;
    KD_TRY(kd_json_maybe_number(&dropout, NULL, json, "attention_dropout", name));
    if (dropout != 0) return kd_fail(KD_ENOTSUP, "%s: attention_dropout %g: only 0 is known here", name, dropout);
    const json_t *quantization = json_object_get(json, "quantization_config");
    if (quantization && !json_is_null(quantization)) return kd_fail(KD_ENOTSUP, "%s: quantized weights are not trained here", name);
    KD_TRY(kd_json_maybe_bool(&config->tied, NULL, json, "tie_word_embeddings", name));
    return KD_OK;
}

/* Layers that slide by name: only where the family looks at such names, and then only with a window to slide. */
static kd_status parse_layer_types(bool *slides, bool known, const json_t *json, const char *name) {
    const json_t *types = json_object_get(json, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        bool sliding = type && known && !strcmp(type, "sliding_attention");
        if (!sliding && (!type || strcmp(type, "full_attention")))
            return kd_fail(KD_ENOTSUP, "%s: layer_types: \"%s\": only full_attention is known here", name, type ? type : "?");
        *slides |= sliding;
    }
    return KD_OK;
}

/* Mistral: every layer slides unless sliding_window is null. Qwen2: the layers from max_window_layers on, or those of
 * layer_types, where use_sliding_window is true. */
static kd_status parse_sliding_window(kd_config *config, const family *f, const json_t *json, const char *name) {
    bool by_layer = f->sliding_layers >= 0, on = !by_layer && f->sliding_window, slides = !by_layer;
    int64_t window = f->sliding_window, from = f->sliding_layers;
    if (json_is_null(json_object_get(json, "sliding_window"))) window = 0;
    KD_TRY(kd_json_maybe_int(&window, NULL, json, "sliding_window", name));
    if (by_layer) KD_TRY(kd_json_maybe_bool(&on, NULL, json, "use_sliding_window", name));
    KD_TRY(kd_json_maybe_int(&from, NULL, json, "max_window_layers", name));
    KD_TRY(parse_layer_types(&slides, by_layer && on && window > 0, json, name));
    if (by_layer && !json_array_size(json_object_get(json, "layer_types"))) slides = config->L > from;
    if (on && window < 0) return kd_fail(KD_EFORMAT, "%s: sliding_window is %lld", name, (long long)window);
    config->sliding_window = on && slides ? window : 0;
    return KD_OK;
}

/* A single id, the first of a list, or none. */
static kd_status parse_token(int64_t *id, const json_t *json, const char *key, int64_t V, const char *name) {
    const json_t *value = json_object_get(json, key);
    *id = -1;
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (!value || json_is_null(value)) return KD_OK;
    if (!json_is_integer(value)) return kd_fail(KD_EFORMAT, "%s: %s is not an id", name, key);
    *id = json_integer_value(value);
    if (*id < -1 || *id >= V)
        return kd_fail(KD_EFORMAT, "%s: %s is %lld, vocab_size %lld", name, key, (long long)*id, (long long)V);
    return KD_OK;
}

const char *kd_config_stranger(const kd_config *config, int64_t n) {
    const char *key;
    json_t *value;
    json_object_foreach(config->json, key, value) {
        bool known = false;
        for (size_t i = 0; i < sizeof harmless / sizeof *harmless && !known; i++) known = !strcmp(key, harmless[i]);
        if (!known && n-- == 0) return key;
    }
    return NULL;
}

static void warn_unknown(const kd_config *config, const char *name) {
    const char *key;
    int64_t n = 0, more = 0;
    for (; n < 16 && (key = kd_config_stranger(config, n)); n++) kd_warn("%s: key \"%s\" is not known here; it is kept as it is", name, key);
    while (n == 16 && kd_config_stranger(config, n + more)) more++;
    if (more) kd_warn("%s: %lld more keys are not known here", name, (long long)more);
}

kd_status kd_config_parse(kd_config *config, const char *text, int64_t size, const char *name) {
    *config = (kd_config){.eps = 1e-6, .init_range = 0.02};
    kd_status status;
    KD_GO(kd_new(&config->text, size + 1, 1));
    memcpy(config->text, text, (size_t)size);
    config->text_size = size;
    KD_GO(kd_json_parse(&config->json, text, size, name));
    if (!json_is_object(config->json)) {
        status = kd_fail(KD_EFORMAT, "%s: not an object", name);
        goto done;
    }
    const family *f;
    KD_GO(parse_family(&f, config, config->json, name));
    KD_GO(parse_shape(config, f, config->json, name));
    KD_GO(parse_switches(config, config->json, name));
    KD_GO(parse_sliding_window(config, f, config->json, name));
    KD_GO(kd_json_maybe_number(&config->eps, NULL, config->json, "rms_norm_eps", name));
    KD_GO(kd_json_maybe_number(&config->init_range, NULL, config->json, "initializer_range", name));
    if (!(config->eps > 0)) {
        status = kd_fail(KD_EFORMAT, "%s: rms_norm_eps is %g", name, config->eps);
        goto done;
    }
    KD_GO(parse_token(&config->bos, config->json, "bos_token_id", config->V, name));
    KD_GO(parse_token(&config->eos, config->json, "eos_token_id", config->V, name));
    int64_t max_positions = f->max_positions;
    KD_GO(kd_json_maybe_int(&max_positions, NULL, config->json, "max_position_embeddings", name));
    if (max_positions < 1) {
        status = kd_fail(KD_EFORMAT, "%s: max_position_embeddings is %lld", name, (long long)max_positions);
        goto done;
    }
    KD_GO(kd_rope_parse(&config->rope, config->json, config->E, max_positions, name));
    warn_unknown(config, name);
done:
    if (status) kd_config_close(config);
    return status;
}

kd_status kd_config_open(kd_config *config, const char *folder) {
    *config = (kd_config){0};
    char *path = kd_path_join(folder, "config.json"), *text = NULL;
    if (!path) return kd_fail(KD_ENOMEM, "out of memory");
    int64_t size;
    kd_status status = KD_OK;
    if (!kd_exists(path))
        status = kd_fail(KD_EIO, "%s: %s: a model is a Hugging Face folder on this machine (config.json, model.safetensors, ...); "
                         "nothing is downloaded", folder, kd_exists(folder) ? "no config.json in it" : "no such folder");
    if (!status) status = kd_file_read(&text, &size, path, 16 << 20);
    if (!status) status = kd_config_parse(config, text, size, path);
    free(text);
    free(path);
    return status;
}

void kd_config_close(kd_config *config) {
    free(config->text);
    json_decref(config->json);
    *config = (kd_config){0};
}

/* Makes the text follow the object after a change. */
static kd_status reprint(char **text, int64_t *size, const json_t *json) {
    char *printed;
    KD_TRY(kd_json_print(&printed, json, JSON_INDENT(2), "config.json"));
    int64_t length = (int64_t)strlen(printed);
    kd_status status = kd_new(text, length + 2, 1);
    if (!status) {
        memcpy(*text, printed, (size_t)length);
        (*text)[length] = '\n';
        *size = length + 1;
    }
    free(printed);
    return status;
}

/* The text follows the object after a change. */
static kd_status follow(kd_config *config) {
    char *text;
    KD_TRY(reprint(&text, &config->text_size, config->json));
    free(config->text);
    config->text = text;
    return KD_OK;
}

kd_status kd_config_set_rope(kd_config *config, const kd_rope_config *rope) {
    if (kd_rope_same(&config->rope, rope, config->E)) return KD_OK;
    config->rope = *rope;
    KD_TRY(kd_rope_write(config->json, rope, config->E));
    return follow(config);
}

kd_status kd_config_set_positions(kd_config *config, int64_t positions) {
    kd_rope_config rope;
    if (positions < 1 || positions > INT32_MAX) return kd_fail(KD_ECONFIG, "%lld positions: it is 1 to 2^31-1", (long long)positions);
    if (json_object_set_new(config->json, "max_position_embeddings", json_integer(positions)))
        return kd_fail(KD_ENOMEM, "out of memory while writing config.json");
    KD_TRY(kd_rope_parse(&rope, config->json, config->E, positions, "config.json"));
    rope.max_positions = config->rope.max_positions;
    if (rope.type == KD_ROPE_DYNAMIC || !kd_rope_same(&config->rope, &rope, config->E))
        return kd_fail(KD_ECONFIG, "rope type %s: rotary frequencies follow from max_position_embeddings here; with others it would be another model",
                       kd_rope_type_name(rope.type));
    config->rope.max_positions = positions;
    return follow(config);
}

kd_status kd_config_lift_sliding_window(kd_config *config) {
    if (!config->sliding_window) return KD_OK;
    config->sliding_window = 0;
    bool bad = json_object_set_new(config->json, "sliding_window", json_null());
    if (json_object_get(config->json, "use_sliding_window"))
        bad |= json_object_set_new(config->json, "use_sliding_window", json_false());
    json_t *types = json_object_get(config->json, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) bad |= json_array_set_new(types, i, json_string("full_attention"));
    return bad ? kd_fail(KD_ENOMEM, "out of memory while writing config.json") : follow(config);
}

kd_status kd_config_print(char **text, int64_t *size, const kd_config *config, const char *dtype) {
    /* transformers 4 reads torch_dtype, 5 reads dtype before it; without either, float32 is meant. */
    const char *said = json_string_value(json_object_get(config->json, "dtype"));
    const char *key = said ? "dtype" : "torch_dtype";
    if (!said) said = json_string_value(json_object_get(config->json, "torch_dtype"));
    if (!dtype || !strcmp(said ? said : "float32", dtype)) {
        KD_TRY(kd_new(text, config->text_size + 1, 1));
        memcpy(*text, config->text, (size_t)config->text_size);
        *size = config->text_size;
        return KD_OK;
    }
    json_t *copy = json_copy(config->json);
    if (!copy || !json_equal(copy, config->json) ||  /* a copy can lose members where memory is out */
        json_object_set_new(copy, key, json_string(dtype)) ||
        (json_object_get(copy, "torch_dtype") && json_object_set_new(copy, "torch_dtype", json_string(dtype)))) {
        json_decref(copy);
        return kd_fail(KD_ENOMEM, "out of memory while writing config.json");
    }
    kd_status status = reprint(text, size, copy);
    json_decref(copy);
    return status;
}

typedef struct preset { const char *name; int64_t C, F, L, H, G; } preset;

static const preset presets[] = {
    {"tiny", 64, 176, 2, 4, 2},        /* for tests */
    {"demo", 128, 352, 2, 2, 1},       /* a third of a million parameters: minutes on two cores */
    {"5m", 256, 704, 6, 4, 4},
    {"10m", 320, 864, 8, 5, 5},        /* about 10M parameters with a byte vocabulary */
    {"124m", 768, 2048, 12, 12, 12},
};
enum { PRESETS = sizeof presets / sizeof *presets };

const char *kd_preset_names(void) { return "tiny, demo, 5m, 10m, 124m"; }

static json_t *id_of(int32_t id) { return id < 0 ? json_null() : json_integer(id); }

kd_status kd_config_preset(char **text, const char *arch, const char *name, const kd_tokenizer *tokenizer, int64_t vocabulary,
                           int64_t window) {
    const preset *p = NULL;
    const family *f = find_family(arch);
    for (int i = 0; i < PRESETS; i++)
        if (!strcmp(name, presets[i].name)) p = &presets[i];
    if (!f) return kd_fail(KD_ECONFIG, "arch \"%s\": it is one of " FAMILY_NAMES, arch);
    if (!p) return kd_fail(KD_ECONFIG, "preset \"%s\": it is one of %s", name, kd_preset_names());
    json_t *json = json_pack(
        "{s:[s], s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:n, s:o, s:o, s:b, s:s, s:b}",
        "architectures", f->architecture, "model_type", f->model_type, "hidden_act", "silu",
        "vocab_size", (json_int_t)vocabulary, "hidden_size", (json_int_t)p->C, "intermediate_size", (json_int_t)p->F,
        "num_hidden_layers", (json_int_t)p->L, "num_attention_heads", (json_int_t)p->H,
        "num_key_value_heads", (json_int_t)p->G, "max_position_embeddings", (json_int_t)window,
        "rms_norm_eps", f->qkv_bias ? 1e-6 : 1e-5, "initializer_range", 0.02, "rope_theta", 10000.0, "rope_scaling",
        "bos_token_id", id_of(tokenizer->bos), "eos_token_id", id_of(tokenizer->eos), "tie_word_embeddings", 1,
        "torch_dtype", "float32", "use_cache", 1);
    if (!json || (f->sliding_window && f->sliding_layers < 0 && json_object_set_new(json, "sliding_window", json_null()))) {
        json_decref(json);
        return kd_fail(KD_ENOMEM, "out of memory while writing config.json");
    }
    int64_t size;
    kd_status status = reprint(text, &size, json);
    json_decref(json);
    return status;
}

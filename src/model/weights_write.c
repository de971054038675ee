#define _GNU_SOURCE
/* Weights out: one list of tensors, from the device or from another folder's maps, to files of a Hugging Face folder; and
 * the flat arrays of the optimizer in the same form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "weights.h"

/* Files beside the weights that belong to the tokenizer or to generation: copied byte for byte. */
static const char *const companions[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
};

/* A tensor to be written, and where its elements are: one of device and stored. */
typedef struct source {
    char name[160];
    int64_t count, bytes;
    const float *device;
    const kd_tensor *stored;
} source;

/* All of them, with their descriptions beside them. */
typedef struct sources {
    source *from;             /* [count] */
    kd_tensor_spec *spec;     /* [count] */
    int64_t count;
} sources;

static void close_sources(sources *s) {
    free(s->from);
    free(s->spec);
}

/* Tensor i of the table with a suffix to its name. */
static source *describe(sources *s, int64_t at, const kd_layout *layout, int64_t i, const char *suffix, kd_dtype dtype) {
    kd_param_place p = kd_layout_tensor(layout, i);
    source *from = &s->from[at];
    char plain[128];
    kd_param_name(plain, p.kind, p.layer, layout->layered[p.kind]);
    snprintf(from->name, sizeof from->name, "%s%s", plain, suffix);
    from->count = p.size;
    from->bytes = p.size * kd_dtype_size(dtype);
    s->spec[at] = (kd_tensor_spec){from->name, dtype, layout->columns[p.kind] ? 2 : 1,
                                   {layout->rows[p.kind], layout->columns[p.kind]}};
    return from;
}

static kd_status open_sources(sources *s, int64_t count) {
    *s = (sources){.count = count};
    KD_TRY(kd_new(&s->from, count, sizeof *s->from));
    return kd_new(&s->spec, count, sizeof *s->spec);
}

/* ---- one file ---------------------------------------------------------------------------------------------- */

/* float32 to two bytes each, in place; `at` is the index of the first. */
static kd_status narrow(float *stage, kd_dtype dtype, const source *from, int64_t at, int64_t n) {
    uint16_t *out = (uint16_t *)stage;
    bool half = dtype == KD_F16;
    for (int64_t i = 0; i < n; i++) {
        float x = stage[i];
        uint16_t bits = half ? kd_f16_round(x) : kd_bf16_round(x);
        if (isfinite(x) && (bits & 0x7fff) == (half ? 0x7c00 : 0x7f80))
            return kd_fail(KD_ENUMERIC, "tensor %s: element %lld is %g, which does not fit into %s", from->name,
                           (long long)(at + i), x, kd_dtype_name(dtype));
        memcpy(&out[i], &bits, sizeof bits);
    }
    return KD_OK;
}

static kd_status put_tensor(kd_tensors_writer *writer, kd_ctx *ctx, const source *from, kd_dtype dtype, float *stage) {
    bool as_stored = from->stored && from->stored->dtype == dtype;
    for (int64_t at = 0; at < from->count; at += KD_PIECE) {
        int64_t n = from->count - at < KD_PIECE ? from->count - at : KD_PIECE;
        if (as_stored) KD_TRY(kd_tensor_read(stage, from->stored, at, n));
        else if (from->stored) KD_TRY(kd_tensor_read_f32(stage, from->stored, at, n));
        else KD_TRY(ctx->device->get(ctx, stage, from->device + at, n * (int64_t)sizeof *stage));
        if (dtype != KD_F32 && !as_stored) KD_TRY(narrow(stage, dtype, from, at, n));
        KD_TRY(kd_tensors_put(writer, stage, n * kd_dtype_size(dtype)));
    }
    return KD_OK;
}

/* Tensors first .. first+count-1; ctx is needed for those on the device. */
static kd_status write_file(const char *path, kd_ctx *ctx, const sources *s, int64_t first, int64_t count) {
    float *stage = NULL;
    kd_tensors_writer writer = {0};
    bool open = false;
    kd_status status;
    KD_GO(kd_new(&stage, KD_PIECE, sizeof *stage));
    KD_GO(kd_tensors_create(&writer, path, s->spec + first, count, NULL, 0));
    open = true;
    for (int64_t i = first; i < first + count; i++) {
        status = put_tensor(&writer, ctx, &s->from[i], s->spec[i].dtype, stage);
        if (status == KD_ENUMERIC) kd_fail_prefix(status, "%s", path);
        if (status) goto done;
    }
    KD_GO(kd_tensors_finish(&writer));
done:
    if (status && open) kd_tensors_abandon(&writer);
    free(stage);
    return status;
}

kd_status kd_model_save_flat(kd_model *m, const char *path, const float *const *array, const char *const *suffix,
                             int64_t arrays) {
    sources s;
    kd_status status = open_sources(&s, m->layout.tensors * arrays);
    for (int64_t i = 0; i < s.count && !status; i++) {
        int64_t tensor = i % m->layout.tensors, a = i / m->layout.tensors;
        describe(&s, i, &m->layout, tensor, suffix[a], KD_F32)->device = array[a] + kd_layout_tensor(&m->layout, tensor).at;
    }
    if (!status) status = write_file(path, m->ctx, &s, 0, s.count);
    close_sources(&s);
    return status;
}

/* ---- a folder's files -------------------------------------------------------------------------------------- */

/* What a tensor adds to a file at most: its data and its line of the header. */
static int64_t cost(const source *from) { return from->bytes + (int64_t)strlen(from->name) + 128; }

enum { EMPTY_FILE = 64 };  /* bytes of a header without tensors */

/* The end of the file that begins with tensor `first`: greedy, at least one tensor. */
static int64_t file_end(const sources *s, int64_t first, int64_t shard_bytes) {
    int64_t end = first, size = EMPTY_FILE;
    while (end < s->count && (!shard_bytes || end == first || cost(&s->from[end]) <= shard_bytes - size))
        size += cost(&s->from[end++]);
    return end;
}

/* Takes the index over. */
static kd_status write_index(json_t *index, const char *folder) {
    char *text = NULL, *path = kd_path_join(folder, "model.safetensors.index.json");
    kd_status status = index && path ? kd_json_print(&text, index, JSON_INDENT(2), path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_file_write(path, text, (int64_t)strlen(text));
    json_decref(index);
    free(text);
    free(path);
    return status;
}

static kd_status write_weights(const char *folder, kd_ctx *ctx, const sources *s, int64_t shard_bytes) {
    int64_t files = 0, total = 0;
    for (int64_t at = 0; at < s->count; files++) at = file_end(s, at, shard_bytes);
    json_t *map = json_object();
    kd_status status = map ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    for (int64_t file = 0, at = 0; file < files && !status; file++) {
        char name[64] = "model.safetensors";
        int64_t end = file_end(s, at, shard_bytes);
        if (files > 1) snprintf(name, sizeof name, "model-%05lld-of-%05lld.safetensors", (long long)file + 1, (long long)files);
        char *path = kd_path_join(folder, name);
        status = path ? write_file(path, ctx, s, at, end - at) : kd_fail(KD_ENOMEM, "out of memory");
        free(path);
        for (; at < end && !status; at++) {
            total += s->from[at].bytes;
            if (json_object_set_new(map, s->from[at].name, json_string(name))) status = kd_fail(KD_ENOMEM, "out of memory");
        }
    }
    if (!status && files > 1)
        status = write_index(json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map), folder);
    json_decref(map);
    return status;
}

/* dtype NULL: as it was read. */
static kd_status write_config(const kd_config *config, const char *folder, const char *dtype) {
    char *text = NULL, *path = kd_path_join(folder, "config.json");
    int64_t size;
    kd_status status = path ? kd_config_print(&text, &size, config, dtype) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_file_write(path, text, size);
    free(text);
    free(path);
    return status;
}

static kd_status copy_companion(const char *folder, const char *from, const char *name) {
    char *to = kd_path_join(folder, name), *old = kd_path_join(from, name);
    kd_status status = to && old ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    if (!status && kd_exists(old)) status = kd_copy_file(to, old);
    free(old);
    free(to);
    return status;
}

/* config.json last: without it a folder is no model. */
static kd_status write_folder(const char *folder, kd_ctx *ctx, const sources *s, const kd_config *config,
                              const kd_weights_form *form, const char *from) {
    static const char *const names[] = {[KD_F64] = "float64", [KD_F32] = "float32", [KD_F16] = "float16", [KD_BF16] = "bfloat16"};
    const char *dtype = names[s->spec[0].dtype];
    for (int64_t i = 0; i < s->count; i++)
        if (s->spec[i].dtype != s->spec[0].dtype) dtype = NULL;
    KD_TRY(write_weights(folder, ctx, s, form->shard_bytes));
    for (size_t i = 0; i < sizeof companions / sizeof *companions && from; i++)
        KD_TRY(copy_companion(folder, from, companions[i]));
    return write_config(config, folder, dtype);
}

static kd_status check_form(const kd_weights_form *form, bool may_keep) {
    bool known = form->dtype == KD_F32 || form->dtype == KD_BF16 || form->dtype == KD_F16;
    if ((known || (may_keep && form->dtype == KD_WEIGHTS_AS_STORED)) && form->shard_bytes >= 0) return KD_OK;
    return kd_fail(KD_EARG, "weights: dtype %d, shards of %lld bytes", (int)form->dtype, (long long)form->shard_bytes);
}

kd_status kd_model_save(kd_model *m, const kd_config *config, const char *folder, const char *from,
                        const kd_weights_form *form) {
    const kd_weights_form plain = {KD_F32, 0};
    if (!form) form = &plain;
    KD_TRY(check_form(form, false));
    sources s;
    kd_status status = open_sources(&s, m->layout.tensors);
    for (int64_t i = 0; i < s.count && !status; i++)
        describe(&s, i, &m->layout, i, "", form->dtype)->device = m->w + kd_layout_tensor(&m->layout, i).at;
    if (!status) status = write_folder(folder, m->ctx, &s, config, form, from);
    close_sources(&s);
    return status;
}

/* ---- from folder to folder --------------------------------------------------------------------------------- */

static kd_status find_stored(sources *s, const kd_layout *layout, const kd_tensors *tensors, const char *from,
                             const kd_weights_form *form) {
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        char name[128];
        kd_param_name(name, p.kind, p.layer, layout->layered[p.kind]);
        const kd_tensor *stored = kd_tensors_find(tensors, name);
        if (!stored) return kd_fail(KD_EFORMAT, "%s: tensor %s is missing", from, name);
        KD_TRY(kd_weights_check_shape(layout, stored, p.kind));
        if (stored->dtype > KD_BF16)
            return kd_fail(KD_EFORMAT, "%s: tensor %s: %s is not a floating-point type", stored->path, name,
                           kd_dtype_name(stored->dtype));
        kd_dtype dtype = form->dtype == KD_WEIGHTS_AS_STORED ? stored->dtype : form->dtype;
        describe(s, i, layout, i, "", dtype)->stored = stored;
    }
    return KD_OK;
}

/* A folder that is missing or empty takes the model; the path without slashes at its end, on the heap. */
static kd_status check_target(char **out, const char *to) {
    kd_paths names = {0};
    size_t size = strlen(to);
    while (size > 1 && to[size - 1] == '/') size--;
    if (kd_is_folder(to)) KD_TRY(kd_list_folder(&names, to));
    bool model = false, taken = names.count > 0 || (kd_exists(to) && !kd_is_folder(to));
    for (int64_t i = 0; i < names.count; i++) model |= !strcmp(names.path[i], "config.json");
    kd_paths_free(&names);
    if (taken) return kd_fail(KD_ECONFIG, "%s %s", to, model ? "holds a model already: name another folder" : "is there already and is not an empty folder: name another");
    if (!size) return kd_fail(KD_ECONFIG, "\"%s\" is no folder", to);
    *out = strndup(to, size);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "%s: out of memory", to);
}

kd_status kd_model_export(const char *to, const char *from, const kd_weights_form *form) {
    KD_TRY(check_form(form, true));
    kd_config config = {0};
    kd_layout layout;
    kd_tensors tensors = {0};
    sources s = {0};
    char *target = NULL, *aside = NULL;
    kd_status status;
    KD_GO(check_target(&target, to));
    if (asprintf(&aside, "%s.tmp", target) < 0) {
        aside = NULL;
        KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    }
    KD_GO(kd_config_open(&config, from));
    KD_GO(kd_layout_init(&layout, &config));
    KD_GO(kd_tensors_open_folder(&tensors, from));
    KD_GO(kd_weights_check_strangers(&layout, config.tied, &tensors));
    KD_GO(open_sources(&s, layout.tensors));
    KD_GO(find_stored(&s, &layout, &tensors, from, form));
    KD_GO(kd_remove_tree(aside));
    KD_GO(kd_make_folders(aside));
    status = write_folder(aside, NULL, &s, &config, form, from);
    if (!status) status = kd_sync_folder(aside);
    if (!status && rename(aside, target)) status = kd_fail_errno(KD_EIO, "%s: rename to %s", aside, target);
    if (status) kd_remove_tree(aside);
done:
    close_sources(&s);
    kd_tensors_close(&tensors);
    kd_config_close(&config);
    free(aside);
    free(target);
    return status;
}

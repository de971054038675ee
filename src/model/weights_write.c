#define _GNU_SOURCE
/* Weights out: a Hugging Face folder from the device or from another folder; and the arrays of the optimizer in the same form. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "weights.h"

/* Files beside the weights that belong to the tokenizer or to generation: copied byte for byte. */
static const char *const companions[] = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.model", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
};

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

/* What stands beside the weights; config.json last: without it a folder is no model. */
static kd_status write_rest(const char *folder, const kd_weights_sources *s, const kd_config *config, const char *from) {
    static const char *const names[] = {[KD_F64] = "float64", [KD_F32] = "float32", [KD_F16] = "float16", [KD_BF16] = "bfloat16"};
    const char *dtype = names[s->spec[0].dtype];
    for (int64_t i = 0; i < s->count; i++)
        if (s->spec[i].dtype != s->spec[0].dtype) dtype = NULL;
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
    kd_weights_sources s;
    kd_status status = kd_comm_agree(m->world, "a list of tensors", kd_weights_sources_open(&s, m->layout.tensors));
    for (int64_t i = 0; i < s.count && !status; i++) {
        kd_weights_source *source = kd_weights_describe(&s, i, &m->layout, i, "", form->dtype);
        if (m->zero >= 3) source->owned = m->w;
        else source->device = m->w + source->place.at;
    }
    if (!status) status = kd_weights_write_files(m, &s, folder, "model", form->shard_bytes);
    if (!status) status = kd_comm_agree(m->world, "writing files", kd_comm_rank(m->world) ? KD_OK : write_rest(folder, &s, config, from));
    kd_weights_sources_close(&s);
    return status;
}

kd_status kd_model_save_owned(kd_model *m, const char *folder, const char *stem, const kd_owned *array, const char *const *suffix,
                              int64_t arrays, int64_t shard_bytes) {
    kd_weights_sources s;
    kd_status status = kd_comm_agree(m->world, "a list of tensors", kd_weights_sources_open(&s, m->layout.tensors * arrays));
    for (int64_t i = 0; i < s.count && !status; i++) {
        int64_t a = i / m->layout.tensors;
        kd_weights_source *source = kd_weights_describe(&s, i, &m->layout, i % m->layout.tensors, suffix[a], KD_F32);
        source->owned = array[a].f32;
        if (!array[a].f32) source->coded = kd_owned_tensor(array[a].coded, i % m->layout.tensors, source->place.at), source->is_signed = array[a].is_signed;
    }
    if (!status) status = kd_weights_write_files(m, &s, folder, stem, shard_bytes);
    kd_weights_sources_close(&s);
    return status;
}

/* ---- from folder to folder --------------------------------------------------------------------------------- */

static kd_status find_stored(kd_weights_sources *s, const kd_layout *layout, const kd_tensors *tensors, const char *from,
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
        kd_weights_describe(s, i, layout, i, "", dtype)->stored = stored;
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

kd_status kd_model_export(const char *to, const char *from, const kd_weights_form *form, int64_t positions) {
    KD_TRY(check_form(form, true));
    kd_config config = {0};
    kd_layout layout;
    kd_tensors tensors = {0};
    kd_weights_sources s = {0};
    char *target = NULL, *aside = NULL;
    kd_status status;
    KD_GO(check_target(&target, to));
    if (asprintf(&aside, "%s.tmp", target) < 0) {
        aside = NULL;
        KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    }
    KD_GO(kd_config_open(&config, from));
    if (positions) KD_GO(kd_config_set_positions(&config, positions));
    KD_GO(kd_layout_init(&layout, &config));
    KD_GO(kd_tensors_open_folder(&tensors, from));
    KD_GO(kd_weights_check_strangers(&layout, config.tied, &tensors));
    KD_GO(kd_weights_sources_open(&s, layout.tensors));
    KD_GO(find_stored(&s, &layout, &tensors, from, form));
    KD_GO(kd_remove_tree(aside));
    KD_GO(kd_make_folders(aside));
    status = kd_weights_write_files(NULL, &s, aside, "model", form->shard_bytes);
    if (!status) status = write_rest(aside, &s, &config, from);
    if (!status) status = kd_sync_folder(aside);
    if (!status && rename(aside, target)) status = kd_fail_errno(KD_EIO, "%s: rename to %s", aside, target);
    if (status) kd_remove_tree(aside);
done:
    kd_weights_sources_close(&s);
    kd_tensors_close(&tensors);
    kd_config_close(&config);
    free(aside);
    free(target);
    return status;
}

/* bos and eos. The files that a model comes with say them; the first in which a key stands decides, null meaning none. A
 * tokenizer.json alone shows them: the template puts bos in front, and eos has one of a few names. */
#include <stdlib.h>

#include "base/file.h"
#include "tokenizer_model.h"

static const struct { const char *file; const char *bos, *eos; } beside[] = {
    {"tokenizer_config.json", "bos_token", "eos_token"},
    {"special_tokens_map.json", "bos_token", "eos_token"},
    {"config.json", "bos_token_id", "eos_token_id"},
    {"generation_config.json", "bos_token_id", "eos_token_id"},
};

static const char *const eos_name[] = {"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "<|im_end|>", "<|eot_id|>", "<|end|>"};

static bool find_name(int32_t *id, const kd_tokenizer *tokenizer, const char *name, int64_t size) {
    const kd_added *added = kd_added_find(&tokenizer->model->added, name, size);
    const kd_token *token = kd_vocabulary_find(&tokenizer->model->vocabulary, name, size);
    if (!added && !token) return false;
    *id = added ? added->id : token->id;
    return true;
}

/* "</s>", {"content": "</s>"}, 2, [2, 3] (the first), null. */
static kd_status read_mark(int32_t *id, bool *known, const kd_tokenizer *tokenizer, const json_t *root, const char *key,
                           const char *path) {
    const json_t *value = json_object_get(root, key);
    if (!value || *known) return KD_OK;
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (json_is_object(value)) value = json_object_get(value, "content");
    *known = true;
    if (!value || json_is_null(value)) return *id = -1, KD_OK;
    if (json_is_string(value)) {
        if (find_name(id, tokenizer, json_string_value(value), (int64_t)json_string_length(value))) return KD_OK;
        return kd_fail(KD_EFORMAT, "%s: %s \"%.60s\" is no token of %s", path, key, json_string_value(value), tokenizer->name);
    }
    if (!json_is_integer(value)) return kd_fail(KD_EFORMAT, "%s: %s is neither a token nor an id", path, key);
    long long number = json_integer_value(value);
    if (!kd_added_id(&tokenizer->model->added, number) && !kd_vocabulary_id(&tokenizer->model->vocabulary, number))
        return kd_fail(KD_EFORMAT, "%s: %s %lld is no id of %s", path, key, number, tokenizer->name);
    *id = (int32_t)number;
    return KD_OK;
}

static kd_status read_beside(kd_tokenizer *tokenizer, bool *bos, bool *eos, size_t index) {
    kd_status status = KD_OK;
    json_t *root = NULL;
    const char *slash = strrchr(tokenizer->name, '/');
    char *folder = slash ? strndup(tokenizer->name, (size_t)(slash - tokenizer->name) + (slash == tokenizer->name)) : strdup(".");
    char *path = folder ? kd_path_join(folder, beside[index].file) : NULL;
    if (!path) KD_GO(kd_fail(KD_ENOMEM, "out of memory: the path of %s", beside[index].file));
    if (!kd_exists(path)) goto done;
    KD_GO(kd_json_load(&root, path));
    KD_GO(read_mark(&tokenizer->bos, bos, tokenizer, root, beside[index].bos, path));
    KD_GO(read_mark(&tokenizer->eos, eos, tokenizer, root, beside[index].eos, path));
done:
    json_decref(root);
    free(folder);
    free(path);
    return status;
}

void kd_marks_inside(kd_tokenizer *tokenizer) {
    const kd_ids *prefix = &tokenizer->model->parts.prefix;
    if (prefix->count) tokenizer->bos = prefix->id[0];
    for (size_t i = 0; i < sizeof eos_name / sizeof *eos_name && tokenizer->eos < 0; i++) {
        const kd_added *added = kd_added_find(&tokenizer->model->added, eos_name[i], (int64_t)strlen(eos_name[i]));
        if (added) tokenizer->eos = added->id;
    }
}

kd_status kd_marks_beside(kd_tokenizer *tokenizer) {
    bool bos = false, eos = false;
    for (size_t i = 0; i < sizeof beside / sizeof *beside && !(bos && eos); i++) KD_TRY(read_beside(tokenizer, &bos, &eos, i));
    return KD_OK;
}

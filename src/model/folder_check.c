#include "folder_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weights.h"

enum { MOST = 16 };  /* lines of one kind; the rest is counted */

kd_status kd_find(kd_findings *f, kd_finding_level level, const char *part, const char *format, ...) {
    va_list args;
    KD_TRY(kd_grow(&f->row, &f->room, f->count + 1, sizeof *f->row));
    kd_finding *row = &f->row[f->count++];
    row->level = level, row->part = part;
    va_start(args, format);
    vsnprintf(row->text, sizeof row->text, format, args);
    va_end(args);
    kd_text_plain(row->text);
    f->of[level]++;
    return KD_OK;
}

/* What has just failed, as a finding; memory that is out stays a failure of the check itself. */
static kd_status find_message(kd_findings *f, kd_status status, const char *part) {
    return status == KD_ENOMEM ? status : kd_find(f, KD_FINDING_FAILURE, part, "%s", kd_message());
}

/* One more of a kind of which `*so_far` have been found: a line for the first ones alone. */
static kd_status find_one(kd_findings *f, int64_t *so_far, kd_finding_level level, const char *part, const char *text) {
    f->of[level] += *so_far >= MOST;
    return (*so_far)++ < MOST ? kd_find(f, level, part, "%s", text) : KD_OK;
}

static kd_status find_more(kd_findings *f, int64_t found, kd_finding_level level, const char *part, const char *of) {
    if (found <= MOST) return KD_OK;
    f->of[level]--;
    return kd_find(f, level, part, "and %lld more %s", (long long)found - MOST, of);
}

/* ---- config.json --------------------------------------------------------------------------------------------------- */

static kd_status check_config(kd_findings *f, const kd_config *c, const kd_layout *layout) {
    const char *key;
    char text[300];
    int64_t strangers = 0;
    KD_TRY(kd_find(f, KD_FINDING_OK, "config", "%s, %.2fM parameters, %lld layers of %lld, %lld heads on %lld of %lld, %lld ids",
                   c->model_type, (double)layout->count * 1e-6, (long long)c->L, (long long)c->C, (long long)c->H, (long long)c->G,
                   (long long)c->E, (long long)c->V));
    while ((key = kd_config_stranger(c, strangers))) {
        snprintf(text, sizeof text, "key \"%.200s\" is not known here and does nothing", key);
        KD_TRY(find_one(f, &strangers, KD_FINDING_WARNING, "config", text));
    }
    KD_TRY(find_more(f, strangers, KD_FINDING_WARNING, "config", "keys that are not known"));
    if (c->sliding_window > 0 && c->sliding_window < c->rope.max_positions)
        KD_TRY(kd_find(f, KD_FINDING_WARNING, "config", "a token sees %lld tokens (sliding_window), max_position_embeddings is %lld",
                       (long long)c->sliding_window, (long long)c->rope.max_positions));
    return KD_OK;
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

static bool is_open(const kd_tensors *tensors, const char *name) {
    for (int64_t i = 0; i < tensors->files; i++) {
        const char *slash = strrchr(tensors->file[i].path, '/');
        if (!strcmp(slash ? slash + 1 : tensors->file[i].path, name)) return true;
    }
    return false;
}

/* Files of weights that the index does not name: another engine may read them. optimizer.safetensors is a checkpoint's. */
static kd_status check_files(kd_findings *f, const kd_tensors *tensors, const char *folder) {
    kd_paths names;
    int64_t found = 0;
    KD_TRY(kd_list_folder(&names, folder));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < names.count && !status; i++) {
        const char *name = names.path[i], *end = strstr(name, ".safetensors");
        char text[300];
        if (!end || end[12] || is_open(tensors, name) || !strncmp(name, "optimizer", 9)) continue;
        snprintf(text, sizeof text, "%.200s is read by nobody: the index does not name it", name);
        status = find_one(f, &found, KD_FINDING_WARNING, "files", text);
    }
    if (!status) status = find_more(f, found, KD_FINDING_WARNING, "files", "files that nobody reads");
    kd_paths_free(&names);
    if (!status && (!tensors->metadata || !strstr(tensors->metadata, "\"format\"")))
        status = kd_find(f, KD_FINDING_WARNING, "files", "%s has no metadata \"format\": older transformers refuse it",
                         tensors->file[0].path);
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------------------------------- */

static bool is_weight(kd_dtype dtype) { return dtype == KD_F32 || dtype == KD_BF16 || dtype == KD_F16; }

/* Every tensor of the table, once. */
static kd_status check_table(kd_findings *f, bool *known, const kd_layout *layout, const kd_tensors *tensors) {
    int64_t missing = 0, wrong = 0;
    char name[128], text[300];
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        kd_param_name(name, p.kind, p.layer, layout->layered[p.kind]);
        const kd_tensor *tensor = kd_tensors_find(tensors, name);
        if (!tensor) {
            snprintf(text, sizeof text, "%s is missing", name);
            KD_TRY(find_one(f, &missing, KD_FINDING_FAILURE, "tensors", text));
            continue;
        }
        known[tensor - tensors->tensor] = true;
        if (kd_weights_check_shape(layout, tensor, p.kind)) KD_TRY(find_one(f, &wrong, KD_FINDING_FAILURE, "tensors", kd_message()));
        if (is_weight(tensor->dtype)) continue;
        snprintf(text, sizeof text, "%s is %s: weights are F32, BF16 or F16", name, kd_dtype_name(tensor->dtype));
        KD_TRY(find_one(f, &wrong, KD_FINDING_FAILURE, "tensors", text));
    }
    KD_TRY(find_more(f, missing, KD_FINDING_FAILURE, "tensors", "are missing"));
    KD_TRY(find_more(f, wrong, KD_FINDING_FAILURE, "tensors", "have another shape or dtype"));
    if (missing + wrong) return KD_OK;
    return kd_find(f, KD_FINDING_OK, "tensors", "%lld tensors in %lld file%s with the names and shapes that config.json needs",
                   (long long)layout->tensors, (long long)tensors->files, tensors->files == 1 ? "" : "s");
}

/* What the table has not; frequencies and a tied head's copy are left out by everybody. */
static kd_status check_strangers(kd_findings *f, const bool *known, bool tied, const kd_tensors *tensors) {
    int64_t found = 0;
    for (int64_t i = 0; i < tensors->count; i++) {
        const char *name = tensors->tensor[i].name;
        char text[300];
        if (known[i]) continue;
        bool idle = (tied && !strcmp(name, "lm_head.weight")) || strstr(name, "rotary_emb.inv_freq");
        snprintf(text, sizeof text, idle ? "%.200s is not read: config.json says it" : "%.200s is surplus: no tensor of this model", name);
        if (idle) KD_TRY(kd_find(f, KD_FINDING_OK, "tensors", "%s", text));
        else KD_TRY(find_one(f, &found, KD_FINDING_FAILURE, "tensors", text));
    }
    return find_more(f, found, KD_FINDING_FAILURE, "tensors", "are surplus");
}

/* "float32" of config.json as safetensors says it; NULL: another. */
static const char *said_dtype(const kd_config *c) {
    static const char *const pair[][2] = {{"float32", "F32"}, {"bfloat16", "BF16"}, {"float16", "F16"}};
    const char *said = json_string_value(json_object_get(c->json, "dtype"));
    if (!said) said = json_string_value(json_object_get(c->json, "torch_dtype"));
    for (int i = 0; i < 3 && said; i++)
        if (!strcmp(said, pair[i][0])) return pair[i][1];
    return NULL;
}

static kd_status check_dtypes(kd_findings *f, const kd_config *c, const kd_tensors *tensors) {
    int64_t count[KD_DTYPES] = {0}, kinds = 0;
    char text[200] = "";
    const char *said = said_dtype(c), *only = NULL;
    for (int64_t i = 0; i < tensors->count; i++) count[tensors->tensor[i].dtype]++;
    for (int d = 0; d < KD_DTYPES; d++) {
        if (!count[d]) continue;
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%lld of %s", kinds++ ? ", " : "", (long long)count[d], kd_dtype_name((kd_dtype)d));
        only = kd_dtype_name((kd_dtype)d);
    }
    if (kinds > 1) return kd_find(f, KD_FINDING_WARNING, "tensors", "of several dtypes: %s", text);
    if (kinds == 1 && said && strcmp(said, only))
        return kd_find(f, KD_FINDING_WARNING, "tensors", "%s, config.json says %s: engines that believe it convert", text, said);
    return kd_find(f, KD_FINDING_OK, "tensors", "%s", text);
}

static kd_status check_tensors(kd_findings *f, const kd_config *c, const kd_layout *layout, const kd_tensors *tensors) {
    bool *known;
    KD_TRY(kd_new(&known, tensors->count, sizeof *known));
    kd_status status = check_table(f, known, layout, tensors);
    if (!status) status = check_strangers(f, known, c->tied, tensors);
    if (!status) status = check_dtypes(f, c, tensors);
    free(known);
    return status;
}

/* ---- tokenizer ----------------------------------------------------------------------------------------------------- */

static kd_status check_id(kd_findings *f, const char *what, int64_t config, int32_t tokenizer) {
    if (config == tokenizer || config < 0 || tokenizer < 0) return KD_OK;
    return kd_find(f, KD_FINDING_WARNING, "tokenizer", "%s is %d, config.json says %lld", what, (int)tokenizer, (long long)config);
}

static kd_status check_tokenizer(kd_findings *f, const kd_config *c, const char *folder) {
    kd_tokenizer tokenizer;
    bool has;
    KD_TRY(kd_holds(&has, folder, "tokenizer.json"));
    if (!has && c->V >= KD_BYTES_VOCABULARY && c->bos == KD_BYTES_BOS)
        return kd_find(f, KD_FINDING_OK, "tokenizer", "no tokenizer.json; the ids are those of `bytes`");
    if (!has) return kd_find(f, KD_FINDING_WARNING, "tokenizer", "no tokenizer.json: texts need another folder's");
    kd_status status = kd_tokenizer_open(&tokenizer, folder);
    if (status) return find_message(f, status, "tokenizer");
    if (tokenizer.vocabulary > c->V)
        status = kd_find(f, KD_FINDING_FAILURE, "tokenizer", "%lld ids, the embedding has %lld rows: ids without a row",
                         (long long)tokenizer.vocabulary, (long long)c->V);
    else status = kd_find(f, KD_FINDING_OK, "tokenizer", "%lld ids for %lld rows, BOS %d, EOS %d", (long long)tokenizer.vocabulary,
                          (long long)c->V, (int)tokenizer.bos, (int)tokenizer.eos);
    if (!status && tokenizer.bos < 0 && tokenizer.eos < 0)
        status = kd_find(f, KD_FINDING_WARNING, "tokenizer", "neither BOS nor EOS: nothing can be an anchor");
    if (!status) status = check_id(f, "BOS", c->bos, tokenizer.bos);
    if (!status) status = check_id(f, "EOS", c->eos, tokenizer.eos);
    kd_tokenizer_close(&tokenizer);
    return status;
}

/* ---- the folder ---------------------------------------------------------------------------------------------------- */

static kd_status scan(kd_findings *f, const kd_tensors *tensors, const kd_folder_options *o) {
    kd_pool *pool;
    if (o->no_scan) return KD_OK;
    KD_TRY(kd_pool_new(&pool, o->threads));
    kd_status status = kd_folder_scan(f, tensors, pool);
    kd_pool_free(pool);
    return status;
}

kd_status kd_folder_check(kd_findings *f, const char *folder, const kd_folder_options *o) {
    kd_config config = {0};
    kd_layout layout;
    kd_tensors tensors = {0};
    kd_status status;
    *f = (kd_findings){0};
    if (!kd_is_folder(folder)) return kd_fail(KD_EIO, "%s: no such folder", folder);
    status = kd_config_open(&config, folder);
    bool described = !status;
    if (!status) status = kd_layout_init(&layout, &config);
    if (status) KD_GO(find_message(f, status, "config"));
    else KD_GO(check_config(f, &config, &layout));
    if (described) KD_GO(kd_folder_check_rope(f, &config));
    status = kd_tensors_open_folder(&tensors, folder);
    if (status) KD_GO(find_message(f, status, "files"));
    else KD_GO(check_files(f, &tensors, folder));
    if (described && tensors.count) KD_GO(check_tensors(f, &config, &layout, &tensors));
    if (tensors.count) KD_GO(scan(f, &tensors, o));
    if (described) KD_GO(check_tokenizer(f, &config, folder));
done:
    kd_tensors_close(&tensors);
    kd_config_close(&config);
    return status;
}

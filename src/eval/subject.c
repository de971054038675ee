#include "subject.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev/memory.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/yaml.h"

enum { SAMPLE = 1024, SEQUENCES = 16 };

const char *kd_switch_name(kd_switch way) {
    static const char *const name[] = {"auto", "on", "off"};
    return name[way];
}

/* ---- the run that made the folder ------------------------------------------------------------------------------------ */

/* The run file of a checkpoint stands in it; of an export, run/export/step-N, in the run's folder. NULL: there is none. */
static kd_status find_run_file(char **path, const char *folder) {
    size_t size = strlen(folder), from;
    while (size > 1 && folder[size - 1] == '/') size--;
    for (from = size; from > 0 && folder[from - 1] != '/'; from--) {}
    kd_text export = {0}, above = {0};
    kd_text_print(&export, "%s/../../export/%.*s", folder, (int)(size - from), folder + from);
    kd_text_print(&above, "%s/../../run.yaml", folder);
    *path = kd_path_join(folder, "run.yaml");
    kd_status status = !*path || export.failed || above.failed ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
    if (!status && !kd_exists(*path)) {
        free(*path);
        *path = NULL;
        if (kd_exists(export.data) && kd_exists(above.data) && !(*path = strdup(above.data))) status = kd_fail(KD_ENOMEM, "out of memory");
    }
    kd_text_free(&export);
    kd_text_free(&above);
    return status;
}

/* Two words of it, on the heap; NULL: it does not say. What else stands there is for those who train. */
typedef struct recorded { char *mask, *tokenizer; } recorded;

static kd_status copy_word(char **out, const kd_yaml *root, const char *key) {
    const kd_yaml *node = root->kind == KD_YAML_MAP ? kd_yaml_get(root, key) : NULL;
    if (!node || node->kind != KD_YAML_SCALAR || !node->text) return KD_OK;
    *out = strdup(node->text);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

static kd_status read_recorded(recorded *r, const char *folder) {
    char *path = NULL, *text = NULL;
    kd_yaml *root = NULL;
    int64_t size;
    kd_status status;
    KD_GO(find_run_file(&path, folder));
    if (!path) goto done;
    KD_GO(kd_file_read(&text, &size, path, 1 << 20));
    KD_GO(kd_yaml_parse(&root, text, size, path));
    KD_GO(copy_word(&r->mask, root, "mask"));
    KD_GO(copy_word(&r->tokenizer, root, "tokenizer"));
done:
    kd_yaml_free(root);
    free(text);
    free(path);
    return status;
}

/* ---- tokenizer ----------------------------------------------------------------------------------------------------------- */

/* A folder without tokenizer.json was made with `bytes` where its run says so, or its vocabulary is that of `bytes`. */
static kd_status open_tokenizer(kd_subject *s, const kd_subject_options *o, const recorded *r) {
    bool has = false;
    if (o->tokenizer) return kd_tokenizer_open(&s->tokenizer, o->tokenizer);
    KD_TRY(kd_holds(&has, o->model, "tokenizer.json"));
    bool bytes = r->tokenizer ? !strcmp(r->tokenizer, "bytes") : s->config.V == KD_BYTES_VOCABULARY;
    if (!has && !bytes) return kd_fail(KD_ECONFIG, "%s has no tokenizer.json: name one with --tokenizer", o->model);
    return kd_tokenizer_open(&s->tokenizer, has ? o->model : "bytes");
}

static kd_status choose_lead(kd_subject *s, const kd_subject_options *o, const recorded *r) {
    const kd_tokenizer *t = &s->tokenizer;
    int32_t id = t->bos;
    s->anchor = o->anchor == KD_ON || (o->anchor == KD_AUTO && r->mask && !strcmp(r->mask, "anchor"));
    s->options.anchor = s->anchor ? KD_ON : KD_OFF;
    if (s->anchor && id < 0) id = t->eos;
    if (id < 0 && (s->anchor || o->bos == KD_ON))
        return kd_fail(KD_ECONFIG, "%s has no BOS%s that could lead a prompt", t->name, s->anchor ? " and no EOS" : "");
    if (!s->anchor && o->bos == KD_AUTO) return kd_encode(&s->lead, s->encoder, "", 0, KD_ENCODE_SPECIALS);
    if (!s->anchor && o->bos == KD_OFF) return KD_OK;
    KD_TRY(kd_ids_reserve(&s->lead, 1));
    s->lead.id[s->lead.count++] = id;
    return KD_OK;
}

kd_status kd_subject_encode_with(kd_ids *ids, const kd_subject *s, kd_encoder *encoder, const char *text, int64_t size, bool lead) {
    int64_t first = ids->count, leading = lead ? s->lead.count : 0;
    bool own = lead && !s->anchor && s->options.bos == KD_AUTO;  /* whatever else the post-processor adds stands too */
    KD_TRY(kd_ids_reserve(ids, leading + 1));
    for (int64_t i = 0; i < leading && !own; i++) ids->id[ids->count++] = s->lead.id[i];
    kd_status status = kd_encode(ids, encoder, text, size, own ? KD_ENCODE_SPECIALS : 0);
    if (status) ids->count = first;
    if (status || leading != 1 || ids->count < first + 2 || ids->id[first + 1] != s->lead.id[0] || ids->id[first] != s->lead.id[0]) return status;
    ids->count--;
    memmove(ids->id + first, ids->id + first + 1, (size_t)(ids->count - first) * sizeof *ids->id);
    return KD_OK;
}

kd_status kd_subject_encode(kd_ids *ids, kd_subject *s, const char *text, int64_t size, bool lead) {
    return kd_subject_encode_with(ids, s, s->encoder, text, size, lead);
}

/* ---- which model it is ------------------------------------------------------------------------------------------------- */

/* Checkpoints of one run differ in their numbers alone, and reading all of them takes longer than many a question. */
static kd_status hash_model(kd_subject *s, const char *folder) {
    kd_tensors tensors;
    kd_text text = {0};
    char piece[SAMPLE * 8];
    KD_TRY(kd_tensors_open_folder(&tensors, folder));
    kd_status status = KD_OK;
    kd_text_add(&text, s->config.text, s->config.text_size);
    for (int64_t i = 0; i < tensors.count; i++) {
        const kd_tensor *t = &tensors.tensor[i];
        int64_t count = t->count < SAMPLE ? t->count : SAMPLE;
        kd_text_print(&text, "%s %s", t->name, kd_dtype_name(t->dtype));
        for (int64_t d = 0; d < t->rank; d++) kd_text_print(&text, " %lld", (long long)t->shape[d]);
        if (count) KD_GO(kd_tensor_read(piece, t, 0, count));
        kd_text_add(&text, piece, count * kd_dtype_size(t->dtype));
    }
    KD_GO(kd_text_status(&text));
    s->hash = kd_hash(text.data ? text.data : "", text.size);
done:
    kd_text_free(&text);
    kd_tensors_close(&tensors);
    return status;
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------- */

static kd_status copy_options(kd_subject *s, const kd_subject_options *o) {
    s->options = *o;
    s->options.tokenizer = NULL;
    s->options.model = strdup(o->model);
    return s->options.model ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

/* As many as are usual, or as half of the free memory holds. */
static int64_t sequences_of(const kd_subject *s) {
    const kd_decoder_options one = {s->options.length, 1, s->options.bf16_cache};
    int64_t free_bytes = kd_memory_available(), fit = free_bytes / 2 / kd_decoder_sequence_bytes(&s->config, &one);
    return !free_bytes || fit > SEQUENCES ? SEQUENCES : fit > 1 ? fit : 1;
}

static kd_status open_parts(kd_subject *s, const kd_subject_options *o, const recorded *r) {
    KD_TRY(open_tokenizer(s, o, r));
    if (s->tokenizer.vocabulary > s->config.V)
        return kd_fail(KD_ECONFIG, "%s has %lld ids, the model's vocabulary %lld", s->tokenizer.name, (long long)s->tokenizer.vocabulary,
                       (long long)s->config.V);
    s->options.tokenizer = s->tokenizer.name;
    if (!s->options.length) s->options.length = s->config.rope.max_positions;
    if (s->options.length > 0 && !s->options.sequences) s->options.sequences = sequences_of(s);
    if (s->options.length < 1 || s->options.sequences < 1)
        return kd_fail(KD_ECONFIG, "a length of %lld tokens, %lld sequences at once: both are 1 or more", (long long)s->options.length,
                       (long long)s->options.sequences);
    KD_TRY(kd_encoder_new(&s->encoder, &s->tokenizer));
    KD_TRY(choose_lead(s, o, r));
    KD_TRY(hash_model(s, o->model));
    const kd_decoder_options size = {s->options.length, s->options.sequences, o->bf16_cache};
    KD_TRY(kd_ctx_open(&s->ctx, o->threads));
    KD_TRY(kd_decoder_open(&s->decoder, s->ctx, &s->config, o->model, &size));
    return kd_engine_open(&s->engine, s->decoder, &s->config, &size, &s->tokenizer);
}

kd_status kd_subject_open(kd_subject *s, const kd_subject_options *o) {
    recorded r = {NULL, NULL};
    kd_status status;
    *s = (kd_subject){.tokenizer = {.bos = -1, .eos = -1}};
    KD_GO(copy_options(s, o));
    KD_GO(kd_config_open(&s->config, o->model));
    if (o->anchor == KD_AUTO || !o->tokenizer) KD_GO(read_recorded(&r, o->model));
    KD_GO(open_parts(s, o, &r));
done:
    free(r.mask);
    free(r.tokenizer);
    if (status) kd_subject_close(s);
    return status;
}

void kd_subject_close(kd_subject *s) {
    if (s->engine) kd_engine_close(s->engine);
    if (s->decoder) kd_decoder_close(s->decoder);
    kd_ctx_close(s->ctx);
    kd_encoder_free(s->encoder);
    free(s->lead.id);
    kd_tokenizer_close(&s->tokenizer);
    kd_config_close(&s->config);
    free((char *)s->options.model);
    *s = (kd_subject){.tokenizer = {.bos = -1, .eos = -1}};
}

kd_status kd_subject_json(json_t **out, const kd_subject *s) {
    char model[20], tokenizer[20], unicode[64];
    json_t *lead = json_array();
    bool whole = lead;
    for (int64_t i = 0; i < s->lead.count && whole; i++) whole = !json_array_append_new(lead, json_integer(s->lead.id[i]));
    snprintf(model, sizeof model, "%016llx", (unsigned long long)s->hash);
    snprintf(tokenizer, sizeof tokenizer, "%016llx", (unsigned long long)s->tokenizer.hash);
    kd_tokenizer_unicode(unicode, &s->tokenizer);
    *out = whole ? json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:s, s:O, s:I, s:s}", "kedge", KD_VERSION, "model", s->options.model, "model_hash",
                             model, "tokenizer", s->tokenizer.name, "tokenizer_hash", tokenizer, "unicode", unicode, "anchor", s->anchor, "bos",
                             kd_switch_name(s->options.bos), "lead", lead, "length", (json_int_t)s->options.length, "cache",
                             s->options.bf16_cache ? "bf16" : "f32")
                 : NULL;
    json_decref(lead);
    if (*out) return KD_OK;
    return kd_fail(KD_ENOMEM, "out of memory, or a path that is no UTF-8: %s", s->options.model);
}

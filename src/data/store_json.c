#include "data/store_json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/json.h"

#define FORMAT "kedge token store"
enum { VERSION = 1 };

json_t *kd_hash_json(uint64_t hash) {
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

kd_status kd_hash_read(uint64_t *hash, const json_t *object, const char *key, const char *name) {
    const char *text = json_string_value(json_object_get(object, key));
    if (!text || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return kd_fail(KD_EFORMAT, "%s: %s is not 16 hexadecimal digits", name, key);
    *hash = strtoull(text, NULL, 16);
    return KD_OK;
}

static kd_status hash_json(uint64_t *hash, const json_t *root, const char *name) {
    char *text;
    KD_TRY(kd_json_print(&text, root, JSON_COMPACT | JSON_SORT_KEYS, name));
    *hash = kd_hash(text, (int64_t)strlen(text));
    free(text);
    return KD_OK;
}

kd_status kd_json_seal(json_t *root, const char *name) {
    uint64_t hash;
    KD_TRY(hash_json(&hash, root, name));
    return json_object_set_new(root, "seal", kd_hash_json(hash)) ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

kd_status kd_json_unseal(json_t *root, const char *name) {
    uint64_t said, hash;
    KD_TRY(kd_hash_read(&said, root, "seal", name));
    json_object_del(root, "seal");
    KD_TRY(hash_json(&hash, root, name));
    return hash == said ? KD_OK : kd_fail(KD_EFORMAT, "%s: not what was written", name);
}

json_t *kd_tokenizer_identity(const kd_tokenizer *t) {
    return json_pack("{s:o, s:I, s:i, s:i}", "hash", kd_hash_json(t->hash), "vocabulary", (json_int_t)t->vocabulary, "bos",
                     (int)t->bos, "eos", (int)t->eos);
}

/* ---- identity ---------------------------------------------------------------------------------------------- */

/* A file is the same if its path, size and time of change are. */
static json_t *list_inputs(const kd_paths *inputs) {
    json_t *list = json_array();
    for (int64_t i = 0; i < inputs->count; i++) {
        struct stat s = {0};
        char changed[48];
        stat(inputs->path[i], &s);
        snprintf(changed, sizeof changed, "%lld.%09ld", (long long)s.st_mtim.tv_sec, (long)s.st_mtim.tv_nsec);
        json_t *row = json_pack("{s:s, s:I, s:s}", "path", inputs->path[i], "bytes", (json_int_t)s.st_size, "changed", changed);
        if (json_array_append_new(list, row)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

kd_status kd_store_json_init(kd_store_json *said, const kd_ingest_options *o, const kd_paths *inputs, int64_t shard) {
    char unicode[64];
    *said = (kd_store_json){0};
    kd_tokenizer_unicode(unicode, o->tokenizer);
    said->identity = json_pack("{s:o, s:s, s:s, s:s, s:I, s:o}", "tokenizer", kd_tokenizer_identity(o->tokenizer), "unicode", unicode,
                               "specials", o->parse_specials ? "parse" : "text", "bad_lines", o->skip_bad_lines ? "skip" : "stop",
                               "shard_tokens", (json_int_t)shard, "inputs", list_inputs(inputs));
    return said->identity ? KD_OK : kd_fail(KD_ENOMEM, "out of memory: a name of a file is not UTF-8, or memory is out");
}

bool kd_store_json_same(const kd_store_json *a, const kd_store_json *b) { return json_equal(a->identity, b->identity); }

kd_status kd_store_json_add(kd_store_json *said, const kd_shard_json *shard) {
    if ((said->shards & (said->shards - 1)) == 0) {  /* full at every power of two */
        int64_t room = said->shards ? 2 * said->shards : 1;
        kd_shard_json *larger = realloc(said->shard, (size_t)room * sizeof *larger);
        if (!larger) return kd_fail(KD_ENOMEM, "out of memory: %lld shards", (long long)room);
        said->shard = larger;
    }
    said->shard[said->shards++] = *shard;
    return KD_OK;
}

void kd_store_json_free(kd_store_json *said) {
    json_decref(said->identity);
    for (int64_t s = 0; s < said->sources; s++) free(said->source[s]);
    free(said->source);
    free(said->shard);
    *said = (kd_store_json){0};
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static json_t *list_shards(const kd_store_json *said) {
    json_t *list = json_array();
    for (int64_t s = 0; s < said->shards; s++) {
        const kd_shard_json *shard = &said->shard[s];
        json_t *row = json_pack("{s:s, s:I, s:o, s:I, s:I}", "file", shard->file, "bytes", (json_int_t)shard->bytes, "xxh3",
                                kd_hash_json(shard->hash), "documents", (json_int_t)shard->documents, "tokens",
                                (json_int_t)shard->tokens);
        if (json_array_append_new(list, row)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *list_sources(const kd_store_json *said) {
    json_t *list = json_array();
    for (int64_t s = 0; s < said->sources; s++)
        if (json_array_append_new(list, json_string(said->source[s]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

kd_status kd_store_json_write(const kd_store_json *said, const char *folder) {
    const kd_ingest_counts *c = &said->counts;
    char *path = kd_path_join(folder, KD_STORE_FILE), *text = NULL;
    json_t *root = json_pack("{s:s, s:i, s:b, s:O, s:o, s:o, s:{s:I, s:I, s:I, s:I}, s:o, s:{s:I, s:I}}", "format", FORMAT, "version",
                             VERSION, "complete", said->complete, "identity", said->identity, "sources", list_sources(said), "shards",
                             list_shards(said), "counts", "documents", (json_int_t)c->documents, "bytes", (json_int_t)c->bytes,
                             "empty", (json_int_t)c->empty, "bad_lines", (json_int_t)c->bad_lines, "hash", kd_hash_json(said->hash),
                             "next", "file", (json_int_t)said->next_file, "read", (json_int_t)said->next_read);
    kd_status status = path && root ? kd_json_seal(root, path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_json_print(&text, root, JSON_INDENT(1), path);
    if (!status) status = kd_file_replace(path, text, (int64_t)strlen(text));
    json_decref(root);
    free(text);
    free(path);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static kd_status read_shards(kd_store_json *said, const json_t *list, const char *path) {
    if (!json_is_array(list)) return kd_fail(KD_EFORMAT, "%s: shards is not a list", path);
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row) {
        kd_shard_json shard = {0};
        const char *file = json_string_value(json_object_get(row, "file"));
        if (!file || strchr(file, '/') || strlen(file) >= sizeof shard.file)
            return kd_fail(KD_EFORMAT, "%s: shard %lld: file is not a name in the folder", path, (long long)i);
        strcpy(shard.file, file);
        KD_TRY(kd_json_int(&shard.bytes, row, "bytes", path));
        KD_TRY(kd_json_int(&shard.documents, row, "documents", path));
        KD_TRY(kd_json_int(&shard.tokens, row, "tokens", path));
        KD_TRY(kd_hash_read(&shard.hash, row, "xxh3", path));
        if (shard.tokens < 1 || shard.documents < 1 || shard.documents > shard.tokens || shard.tokens > INT64_MAX / 8)
            return kd_fail(KD_EFORMAT, "%s: shard %s: %lld documents of %lld tokens", path, shard.file, (long long)shard.documents,
                           (long long)shard.tokens);
        KD_TRY(kd_store_json_add(said, &shard));
    }
    return KD_OK;
}

static kd_status read_sources(kd_store_json *said, const json_t *list, const char *path) {
    size_t i;
    json_t *name;
    if (!json_is_array(list)) return kd_fail(KD_EFORMAT, "%s: sources is not a list", path);
    KD_TRY(kd_new(&said->source, (int64_t)json_array_size(list), sizeof *said->source));
    json_array_foreach(list, i, name) {
        if (!json_is_string(name)) return kd_fail(KD_EFORMAT, "%s: source %lld is not a text", path, (long long)i);
        said->source[i] = strdup(json_string_value(name));
        if (!said->source[i]) return kd_fail(KD_ENOMEM, "out of memory");
        said->sources++;
    }
    return KD_OK;
}

static kd_status read_root(kd_store_json *said, json_t *root, const char *path) {
    const char *format = json_string_value(json_object_get(root, "format"));
    json_t *counts = json_object_get(root, "counts"), *next = json_object_get(root, "next");
    int64_t version;
    if (!format || strcmp(format, FORMAT)) return kd_fail(KD_EFORMAT, "%s: not a " FORMAT, path);
    KD_TRY(kd_json_int(&version, root, "version", path));
    if (version != VERSION) return kd_fail(KD_ENOTSUP, "%s: version %lld, this build knows %d", path, (long long)version, VERSION);
    said->complete = json_is_true(json_object_get(root, "complete"));
    said->identity = json_incref(json_object_get(root, "identity"));
    if (!json_is_object(said->identity)) return kd_fail(KD_EFORMAT, "%s: no identity", path);
    KD_TRY(read_sources(said, json_object_get(root, "sources"), path));
    KD_TRY(read_shards(said, json_object_get(root, "shards"), path));
    KD_TRY(kd_json_int(&said->counts.documents, counts, "documents", path));
    KD_TRY(kd_json_int(&said->counts.bytes, counts, "bytes", path));
    KD_TRY(kd_json_int(&said->counts.empty, counts, "empty", path));
    KD_TRY(kd_json_int(&said->counts.bad_lines, counts, "bad_lines", path));
    KD_TRY(kd_json_int(&said->next_file, next, "file", path));
    KD_TRY(kd_json_int(&said->next_read, next, "read", path));
    return kd_hash_read(&said->hash, root, "hash", path);
}

kd_status kd_store_json_read(kd_store_json *said, const char *folder) {
    char *path = kd_path_join(folder, KD_STORE_FILE);
    json_t *root = NULL;
    *said = (kd_store_json){0};
    kd_status status = path ? kd_json_load(&root, path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_json_unseal(root, path);
    if (!status) status = read_root(said, root, path);
    if (status) kd_store_json_free(said);
    json_decref(root);
    free(path);
    return status;
}

#include "data/pack.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "data/pack_json.h"
#include "format/json.h"

#define FORMAT "kedge pack"
enum { VERSION = 1 };

const char *const kd_part_names[KD_PARTS] = {"train", "valid"};

/* ---- making it --------------------------------------------------------------------------------------------- */

/* PACK/tokens/train. */
static char *store_folder(const char *folder, const char *part) {
    char name[32];
    snprintf(name, sizeof name, "tokens/%s", part);
    return kd_path_join(folder, name);
}

static char *segments_file(const char *folder, const char *part) {
    char name[32];
    snprintf(name, sizeof name, "%s.safetensors", part);
    return kd_path_join(folder, name);
}

static kd_status fill_part(kd_pack *pack, const kd_pack_options *o, kd_part part) {
    const kd_dataset_options *options = &o->part[part];
    kd_dataset *dataset = &pack->part[part];
    char *store = store_folder(o->folder, kd_part_names[part]);
    bool kept;
    kd_status status;
    if (!store) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_store_make(&kept, store, &options->ingest, options->pattern, options->patterns, o->shard));
    if (kept) kd_info("%s: its tokens are kept", store);
    KD_GO(kd_store_open(&dataset->corpus, store, options->ingest.tokenizer, o->verify));
    KD_GO(kd_choice_init(&dataset->choice, &dataset->corpus, &options->choice));
    KD_GO(kd_windows_open(&dataset->windows, &dataset->corpus, &dataset->choice, &options->window));
done:
    free(store);
    return status ? kd_fail_prefix(status, "data.%s", kd_part_names[part]) : KD_OK;
}

static kd_status write_part(const kd_pack *pack, const kd_pack_options *o, kd_part part) {
    char *file = segments_file(o->folder, kd_part_names[part]);
    kd_status status = file ? kd_pack_write_segments(file, &pack->part[part].windows) : kd_fail(KD_ENOMEM, "out of memory");
    free(file);
    return status;
}

static kd_status describe_part(json_t *parts, const kd_pack *pack, const kd_pack_options *o, kd_part part) {
    const kd_windows *w = &pack->part[part].windows;
    const kd_corpus *c = &pack->part[part].corpus;
    char *file = segments_file(o->folder, kd_part_names[part]);
    uint64_t hash;
    int64_t bytes;
    kd_status status = file ? kd_file_hash(&hash, &bytes, file) : kd_fail(KD_ENOMEM, "out of memory");
    free(file);
    KD_TRY(status);
    json_t *row = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "xxh3", kd_hash_json(hash), "bytes",
                            (json_int_t)bytes, "windows", (json_int_t)w->count, "segments", (json_int_t)w->first[w->count],
                            "documents", (json_int_t)c->documents, "tokens", (json_int_t)c->tokens, "dropped", (json_int_t)w->dropped,
                            "truncated", (json_int_t)w->truncated, "short_rests", (json_int_t)w->short_rests, "choice",
                            kd_pack_choosing(&o->part[part].choice), "store", kd_hash_json(c->hash));
    return json_object_set_new(parts, kd_part_names[part], row) ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK;
}

static kd_status write_json(const kd_pack *pack, const kd_pack_options *o) {
    const kd_dataset_options *any = &o->part[KD_PART_TRAIN];
    char *path = kd_path_join(o->folder, KD_PACK_FILE), *text = NULL;
    json_t *parts = json_object(), *root = NULL;
    kd_status status;
    if (!path || !parts) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    for (kd_part part = 0; part < KD_PARTS; part++)
        if (o->part[part].patterns) KD_GO(describe_part(parts, pack, o, part));
    root = json_pack("{s:s, s:i, s:s, s:o, s:o, s:O}", "format", FORMAT, "version", VERSION, "kedge", KD_VERSION, "tokenizer",
                     kd_tokenizer_identity(any->ingest.tokenizer), "filling", kd_pack_filling(&any->window), "parts", parts);
    if (!root) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_json_seal(root, path));
    KD_GO(kd_json_print(&text, root, JSON_INDENT(1), path));
    KD_GO(kd_file_replace(path, text, (int64_t)strlen(text)));
    KD_GO(kd_sync_folder(o->folder));
done:
    json_decref(root);
    json_decref(parts);
    free(text);
    free(path);
    return status;
}

/* An old pack.json would say what is no longer so. */
static kd_status forget(const char *folder) {
    char *path = kd_path_join(folder, KD_PACK_FILE);
    if (!path) return kd_fail(KD_ENOMEM, "out of memory");
    kd_status status = kd_exists(path) && unlink(path) ? kd_fail_errno(KD_EIO, "%s: cannot be removed", path) : KD_OK;
    free(path);
    return status;
}

kd_status kd_pack_make(kd_pack *pack, const kd_pack_options *o) {
    int lock = -1;
    char *lock_path = kd_path_join(o->folder, ".lock");
    kd_status status;
    *pack = (kd_pack){0};
    if (!lock_path) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_make_folders(o->folder));
    status = kd_lock_open(&lock, lock_path);
    if (status) {
        lock = -1;
        kd_fail_prefix(status, "%s is being packed", o->folder);
        goto done;
    }
    for (kd_part part = 0; part < KD_PARTS; part++)
        if (o->part[part].patterns) KD_GO(fill_part(pack, o, part));
    KD_GO(forget(o->folder));  /* what cannot be packed leaves an older pack as it was */
    for (kd_part part = 0; part < KD_PARTS; part++)
        if (o->part[part].patterns) KD_GO(write_part(pack, o, part));
    KD_GO(write_json(pack, o));
done:
    if (lock >= 0) kd_lock_close(lock);
    free(lock_path);
    return status;
}

void kd_pack_close(kd_pack *pack) {
    for (kd_part part = 0; part < KD_PARTS; part++) kd_dataset_close(&pack->part[part]);
}

/* ---- opening it -------------------------------------------------------------------------------------------- */

static kd_status check_root(const json_t *root, const kd_dataset_options *o, const char *folder) {
    const char *format = json_string_value(json_object_get(root, "format"));
    const kd_tokenizer *tokenizer = o->ingest.tokenizer;
    json_t *then = json_object_get(root, "tokenizer"), *now = tokenizer ? kd_tokenizer_identity(tokenizer) : json_incref(then);
    int64_t version;
    bool same = now && json_equal(now, then), had = now;
    json_decref(now);
    if (!had) return tokenizer ? kd_fail(KD_ENOMEM, "out of memory") : kd_fail(KD_EFORMAT, "%s/" KD_PACK_FILE ": no tokenizer", folder);
    if (!format || strcmp(format, FORMAT)) return kd_fail(KD_EFORMAT, "%s/" KD_PACK_FILE ": not a " FORMAT, folder);
    KD_TRY(kd_json_int(&version, root, "version", folder));
    if (version != VERSION) return kd_fail(KD_ENOTSUP, "%s: a pack of version %lld, this build knows %d", folder, (long long)version, VERSION);
    if (same) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s: packed with another tokenizer than %s (%lld ids; that one has %lld)", folder, o->ingest.tokenizer->name,
                   (long long)o->ingest.tokenizer->vocabulary, (long long)json_integer_value(json_object_get(then, "vocabulary")));
}

static kd_status open_part(kd_dataset *d, const char *folder, const json_t *part, const kd_dataset_options *o) {
    char *store = store_folder(folder, o->part), *file = segments_file(folder, o->part);
    int64_t count, bytes, said_bytes, *first = NULL;
    kd_segment *segment = NULL;
    uint64_t hash, said;
    kd_status status;
    if (!store || !file) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_hash_read(&said, part, "xxh3", folder));
    KD_GO(kd_json_int(&said_bytes, part, "bytes", folder));
    KD_GO(kd_file_hash(&hash, &bytes, file));
    if (hash != said || bytes != said_bytes) KD_GO(kd_fail(KD_EFORMAT, "%s: not the bytes that were written", file));
    KD_GO(kd_store_open(&d->corpus, store, o->ingest.tokenizer, false));
    KD_GO(kd_hash_read(&said, part, "store", folder));
    if (said != d->corpus.hash) KD_GO(kd_fail(KD_EFORMAT, "%s: other tokens than were packed: kedge pack again", store));
    KD_GO(kd_pack_read_segments(&count, &first, &segment, file));
    status = kd_windows_restore(&d->windows, &d->corpus, &o->window, count, first, segment);
    if (status) kd_fail_prefix(status, "%s", file);
    if (status) goto done;
    KD_GO(kd_json_int(&d->windows.dropped, part, "dropped", folder));
    KD_GO(kd_json_int(&d->windows.truncated, part, "truncated", folder));
    KD_GO(kd_json_int(&d->windows.short_rests, part, "short_rests", folder));
done:
    free(file);
    free(store);
    return status;
}

kd_status kd_pack_open(kd_dataset *d, const char *folder, const kd_dataset_options *asked) {
    kd_dataset_options as_packed = *asked, *o = &as_packed;
    char *path = kd_path_join(folder, KD_PACK_FILE);
    json_t *root = NULL, *part;
    kd_status status;
    *d = (kd_dataset){0};
    if (!path) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_json_load(&root, path));
    KD_GO(kd_json_unseal(root, path));
    KD_GO(check_root(root, o, folder));
    part = json_object_get(json_object_get(root, "parts"), o->part);
    if (!part) KD_GO(kd_fail(KD_ECONFIG, "%s: the pack has no part %s", folder, o->part));
    if (!asked->window.window) KD_GO(kd_pack_filled(&as_packed.window, json_object_get(root, "filling"), folder));
    if (as_packed.window.tag && !asked->ingest.tokenizer) KD_GO(kd_fail(KD_ECONFIG, "%s: its documents have tags: their tokenizer must be named", folder));
    KD_GO(kd_pack_check(json_object_get(root, "filling"), json_object_get(part, "choice"), o, folder));
    KD_GO(open_part(d, folder, part, o));
done:
    json_decref(root);
    free(path);
    if (status) kd_dataset_close(d);
    return status;
}

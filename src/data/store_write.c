/* Making a token store: shard by shard, store.json after each. Reading one is in store.c. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "data/store.h"
#include "data/store_json.h"
#include "format/safetensors.h"

typedef struct maker {
    const char *folder;
    kd_store_json said;        /* what store.json says so far */
    kd_corpus buffer;          /* the documents that are not in a shard yet */
    int64_t shard;             /* tokens of a shard */
    int64_t next_file, next_read;
} maker;

/* ---- one shard --------------------------------------------------------------------------------------------- */

static kd_status put_origins(kd_tensors_writer *writer, const kd_corpus *c) {
    for (int64_t d = 0; d < c->documents; d++) {
        const kd_origin *o = &c->origin[d];
        const int64_t row[3] = {o->file, o->line, o->part};
        KD_TRY(kd_tensors_put(writer, row, sizeof row));
    }
    return KD_OK;
}

static kd_status write_tensors(const char *path, const kd_corpus *c) {
    const bool narrow = kd_corpus_narrow(c);
    const kd_tensor_spec spec[] = {  /* the widest first: each is aligned */
        {"doc_start", KD_I64, 1, {c->documents + 1}},
        {"doc_origin", KD_I64, 2, {c->documents, 3}},
        {"tokens", narrow ? KD_U16 : KD_U32, 1, {c->tokens}},
        {"doc_source", KD_U16, 1, {c->documents}},
        {"loss", KD_U8, 1, {c->tokens}},
    };
    kd_tensors_writer writer;
    KD_TRY(kd_tensors_create(&writer, path, spec, c->loss ? 5 : 4, NULL, 0));
    kd_status status;
    KD_GO(kd_tensors_put(&writer, c->start, (c->documents + 1) * 8));
    KD_GO(put_origins(&writer, c));
    if (narrow) KD_GO(kd_tensors_put(&writer, c->narrow, c->tokens * 2));
    else KD_GO(kd_tensors_put(&writer, c->wide, c->tokens * 4));
    KD_GO(kd_tensors_put(&writer, c->source, c->documents * 2));
    if (c->loss) KD_GO(kd_tensors_put(&writer, c->loss, c->tokens));
    return kd_tensors_finish(&writer);
done:
    kd_tensors_abandon(&writer);
    return status;
}

static kd_status write_json(maker *m, bool complete) {
    m->said.complete = complete;
    m->said.next_file = m->next_file;
    m->said.next_read = m->next_read;
    m->said.counts = m->buffer.counts;
    m->said.hash = m->buffer.hash;
    m->said.source = m->buffer.source_name;
    m->said.sources = m->buffer.sources;
    return kd_store_json_write(&m->said, m->folder);
}

/* Written aside and renamed, and only then named in store.json. */
static kd_status flush(maker *m) {
    kd_corpus *c = &m->buffer;
    kd_shard_json shard = {.documents = c->documents, .tokens = c->tokens};
    char *path = NULL, *aside = NULL;
    kd_status status = KD_OK;
    if (!c->documents) return KD_OK;
    snprintf(shard.file, sizeof shard.file, "tokens-%05lld.safetensors", (long long)m->said.shards + 1);
    path = kd_path_join(m->folder, shard.file);
    aside = kd_path_join(m->folder, "shard.tmp");
    if (!path || !aside) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(write_tensors(aside, c));
    KD_GO(kd_file_hash(&shard.hash, &shard.bytes, aside));
    if (rename(aside, path)) {
        status = kd_fail_errno(KD_EIO, "%s", path);
        goto done;
    }
    KD_GO(kd_sync_folder(m->folder));
    KD_GO(kd_store_json_add(&m->said, &shard));
    kd_corpus_clear(c);
    KD_GO(write_json(m, false));
done:
    if (status && aside) unlink(aside);
    free(aside);
    free(path);
    return status;
}

static kd_status sink(void *arg, const kd_ingested *document) {
    maker *m = arg;
    KD_TRY(kd_corpus_append(&m->buffer, document));
    m->next_file = document->origin.file;
    m->next_read = document->read;
    return m->buffer.tokens >= m->shard ? flush(m) : KD_OK;
}

/* ---- what is there already --------------------------------------------------------------------------------- */

/* Whether the shards that store.json names are there, as long as it says. */
static bool shards_are_there(const kd_store_json *said, const char *folder) {
    bool there = true;
    for (int64_t s = 0; s < said->shards && there; s++) {
        char *path = kd_path_join(folder, said->shard[s].file);
        struct stat about;
        there = path && !stat(path, &about) && about.st_size == said->shard[s].bytes;
        free(path);
    }
    return there;
}

/* The sources, counts and hash of the shards that are there; what was read stands in m->next_*. */
static kd_status restore(maker *m, const kd_store_json *old) {
    for (int64_t s = 0; s < old->sources; s++) {
        int64_t index;
        KD_TRY(kd_corpus_source(&index, &m->buffer, old->source[s]));
    }
    for (int64_t s = 0; s < old->shards; s++) KD_TRY(kd_store_json_add(&m->said, &old->shard[s]));
    m->buffer.counts = old->counts;
    m->buffer.hash = old->hash;
    m->next_file = old->next_file;
    m->next_read = old->next_read;
    return KD_OK;
}

/* Everything in the folder but the lock. */
static kd_status empty_folder(const char *folder) {
    kd_paths names = {0};
    kd_status status = kd_list_folder(&names, folder);
    for (int64_t i = 0; i < names.count && !status; i++) {
        if (!strcmp(names.path[i], ".lock")) continue;
        char *path = kd_path_join(folder, names.path[i]);
        status = path ? kd_remove_tree(path) : kd_fail(KD_ENOMEM, "out of memory");
        free(path);
    }
    kd_paths_free(&names);
    return status;
}

/* Only what this program wrote is thrown away. */
static kd_status begin_anew(const char *folder) {
    kd_paths names = {0};
    KD_TRY(kd_list_folder(&names, folder));
    bool ours = true;
    for (int64_t i = 0; i < names.count && ours; i++) {
        const char *name = names.path[i];
        ours = !strcmp(name, ".lock") || !strncmp(name, KD_STORE_FILE, strlen(KD_STORE_FILE)) || !strcmp(name, "shard.tmp") ||
               !strncmp(name, "tokens-", 7);
        if (!ours) kd_fail(KD_ECONFIG, "%s: holds %s, which is of no token store: name an empty folder", folder, name);
    }
    kd_paths_free(&names);
    return ours ? empty_folder(folder) : KD_ECONFIG;
}

/* Takes over what an earlier store of the same identity has. *complete: all of it is there. */
static kd_status take_over(bool *complete, maker *m) {
    kd_store_json old = {0};
    *complete = false;
    bool there;
    KD_TRY(kd_holds(&there, m->folder, KD_STORE_FILE));
    kd_status status = kd_store_json_read(&old, m->folder);
    if (status == KD_ENOMEM) return status;
    if (status && there) kd_warn("tokenised anew: %s", kd_message());
    bool same = !status && kd_store_json_same(&old, &m->said) && shards_are_there(&old, m->folder);
    if (same && old.complete) *complete = true;
    else if (same) status = restore(m, &old);
    else status = begin_anew(m->folder);
    if (same && !old.complete) kd_info("%s: goes on behind %lld documents", m->folder, (long long)old.counts.documents);
    kd_store_json_free(&old);
    return status;
}

/* ---- making it --------------------------------------------------------------------------------------------- */

static kd_status make(maker *m, const kd_paths *paths, const kd_ingest_options *options) {
    kd_ingest_options from = *options;
    kd_ingest_counts counts;
    from.file = m->next_file;
    from.read = m->next_read;
    from.counted = m->buffer.counts;
    KD_TRY(kd_ingest(&counts, paths, &from, sink, m));
    KD_TRY(flush(m));
    m->buffer.counts = counts;
    m->next_file = paths->count;
    m->next_read = 0;
    return write_json(m, true);
}

kd_status kd_store_make(bool *kept, const char *folder, const kd_ingest_options *options, const char *const *pattern, int64_t patterns,
                        int64_t shard) {
    maker m = {.folder = folder, .shard = shard};
    kd_paths paths;
    int lock = -1;
    *kept = false;
    KD_TRY(kd_ingest_files(&paths, pattern, patterns));
    kd_status status;
    char *lock_path = kd_path_join(folder, ".lock");
    if (!lock_path) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_make_folders(folder));
    status = kd_lock_open(&lock, lock_path);
    if (status) {
        lock = -1;
        status = kd_fail_prefix(status, "%s is being written", folder);
        goto done;
    }
    KD_GO(kd_corpus_init(&m.buffer, options->tokenizer, &paths));
    KD_GO(kd_store_json_init(&m.said, options, &paths, shard));
    KD_GO(take_over(kept, &m));
    if (!*kept) KD_GO(make(&m, &paths, options));
done:
    if (lock >= 0) kd_lock_close(lock);
    m.said.source = NULL;  /* the buffer's */
    m.said.sources = 0;
    kd_store_json_free(&m.said);
    kd_corpus_close(&m.buffer);
    kd_paths_free(&paths);
    free(lock_path);
    return status;
}

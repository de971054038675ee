#include "data/corpus.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

enum { SOURCES = 1 << 16, NARROW = 1 << 16 };

enum room { ROOM_START, ROOM_SOURCE, ROOM_ORIGIN, ROOM_NAMES, ROOM_TOKENS, ROOM_LOSS };

bool kd_corpus_narrow(const kd_corpus *c) { return c->tokenizer.vocabulary <= NARROW; }

/* ---- growing ----------------------------------------------------------------------------------------------- */

kd_status kd_corpus_source(int64_t *out, kd_corpus *c, const char *name) {
    for (*out = 0; *out < c->sources; ++*out)
        if (!strcmp(c->source_name[*out], name)) return KD_OK;
    if (c->sources == SOURCES) return kd_fail(KD_ENOTSUP, "source %s: more than %d sources", name, SOURCES);
    KD_TRY(kd_grow(&c->source_name, &c->room[ROOM_NAMES], c->sources + 1, sizeof *c->source_name));
    char *copy = strdup(name);
    if (!copy) return kd_fail(KD_ENOMEM, "out of memory: the name of source %s", name);
    c->source_name[c->sources++] = copy;
    return KD_OK;
}

/* A document's hash joins what the ones before it gave: the same however documents are stored. */
static void join_hash(kd_corpus *c, const kd_ingested *d) {
    uint64_t part[4] = {c->hash, kd_hash(d->id, d->count * (int64_t)sizeof *d->id), kd_hash(d->source, (int64_t)strlen(d->source)), 0};
    for (int64_t i = 0; d->loss && i < d->count; i++)
        if (!d->loss[i]) {
            part[3] = kd_hash(d->loss, d->count);
            break;
        }
    c->hash = kd_hash(part, sizeof part);
}

/* Loss flags begin to exist with the first token that is no target. */
static kd_status append_loss(kd_corpus *c, const uint8_t *loss, int64_t count) {
    bool all = true;
    for (int64_t i = 0; loss && i < count; i++) all &= loss[i] != 0;
    if (all && !c->loss) return KD_OK;
    bool begins = !c->loss;
    KD_TRY(kd_grow(&c->loss, &c->room[ROOM_LOSS], c->tokens + count, 1));
    if (begins) memset(c->loss, 1, (size_t)c->tokens);
    for (int64_t i = 0; i < count; i++) c->loss[c->tokens + i] = !loss || loss[i];
    return KD_OK;
}

kd_status kd_corpus_append(kd_corpus *c, const kd_ingested *d) {
    int64_t source;
    KD_TRY(kd_corpus_source(&source, c, d->source));
    KD_TRY(kd_grow(&c->source, &c->room[ROOM_SOURCE], c->documents + 1, sizeof *c->source));
    KD_TRY(kd_grow(&c->origin, &c->room[ROOM_ORIGIN], c->documents + 1, sizeof *c->origin));
    KD_TRY(kd_grow(&c->start, &c->room[ROOM_START], c->documents + 2, sizeof *c->start));
    bool narrow = kd_corpus_narrow(c);
    KD_TRY(narrow ? kd_grow(&c->narrow, &c->room[ROOM_TOKENS], c->tokens + d->count, sizeof *c->narrow)
                  : kd_grow(&c->wide, &c->room[ROOM_TOKENS], c->tokens + d->count, sizeof *c->wide));
    KD_TRY(append_loss(c, d->loss, d->count));
    for (int64_t i = 0; i < d->count; i++) {
        assert(d->id[i] >= 0 && d->id[i] < c->tokenizer.vocabulary);
        if (narrow) c->narrow[c->tokens + i] = (uint16_t)d->id[i];
        else c->wide[c->tokens + i] = (uint32_t)d->id[i];
    }
    c->tokens += d->count;
    c->source[c->documents] = (uint16_t)source;
    c->origin[c->documents++] = d->origin;
    c->start[c->documents] = c->tokens;
    c->counts = d->so_far;
    join_hash(c, d);
    return KD_OK;
}

void kd_corpus_clear(kd_corpus *c) {
    c->documents = c->tokens = 0;
    free(c->loss);
    c->loss = NULL;
    c->room[ROOM_LOSS] = 0;
}

/* "chunk1/example_3.jsonl.zst": a corpus may move, and files may be added to it, and draws stay. */
static uint64_t key_of(const char *path) {
    const char *from = path + strlen(path);
    for (int parts = 0; from > path && parts < 2; from--)
        if (from[-1] == '/' && ++parts == 2) break;
    return kd_hash(from, (int64_t)strlen(from));
}

kd_status kd_corpus_init(kd_corpus *c, const kd_tokenizer *tokenizer, const kd_paths *files) {
    kd_status status;
    *c = (kd_corpus){.tokenizer = *tokenizer};
    KD_GO(kd_grow(&c->start, &c->room[ROOM_START], 1, sizeof *c->start));
    c->start[0] = 0;
    KD_GO(kd_new(&c->file_key, files->count, sizeof *c->file_key));
    c->files = files->count;
    for (int64_t f = 0; f < files->count; f++) c->file_key[f] = key_of(files->path[f]);
done:
    if (status) kd_corpus_close(c);
    return status;
}

static kd_status sink(void *corpus, const kd_ingested *document) { return kd_corpus_append(corpus, document); }

kd_status kd_corpus_read_files(kd_corpus *c, const kd_ingest_options *options, const char *const *pattern, int64_t patterns) {
    kd_paths paths;
    *c = (kd_corpus){0};
    KD_TRY(kd_ingest_files(&paths, pattern, patterns));
    kd_status status;
    KD_GO(kd_corpus_init(c, options->tokenizer, &paths));
    KD_GO(kd_ingest(&c->counts, &paths, options, sink, c));
done:
    kd_paths_free(&paths);
    if (status) kd_corpus_close(c);
    return status;
}

void kd_corpus_close(kd_corpus *c) {
    for (int64_t s = 0; s < c->sources; s++) free(c->source_name[s]);
    for (int64_t s = 0; s < c->shards; s++) free(c->shard[s].path);
    free(c->source_name);
    free(c->shard);
    free(c->source);
    free(c->origin);
    free(c->file_key);
    free(c->start);
    free(c->narrow);
    free(c->wide);
    free(c->loss);
    *c = (kd_corpus){0};
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static kd_shard *shard_of(const kd_corpus *c, int64_t token) {
    int64_t low = 0, high = c->shards;  /* the answer is in low .. high-1 */
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (c->shard[middle].first <= token) low = middle;
        else high = middle;
    }
    return &c->shard[low];
}

/* A bit that flipped on a disk would be a token that nobody wrote. */
static kd_status verify(kd_shard *shard) {
    uint64_t hash;
    int64_t bytes;
    if (shard->verified) return KD_OK;
    KD_TRY(kd_file_hash(&hash, &bytes, shard->path));
    if (hash != shard->hash) return kd_fail(KD_EFORMAT, "%s: not the bytes that were written", shard->path);
    shard->verified = true;
    return KD_OK;
}

/* Ids of the file's width are read to where they fit below the wider ones, and widened from the last one down. */
static kd_status read_shard(int32_t *id, uint8_t *loss, const kd_corpus *c, kd_shard *shard, int64_t from, int64_t count) {
    kd_source file;
    bool narrow = kd_corpus_narrow(c);
    int64_t at = from - shard->first;
    uint16_t *raw = (uint16_t *)id;
    KD_TRY(verify(shard));
    KD_TRY(kd_source_open(&file, shard->path));
    kd_status status;
    if (narrow) KD_GO(kd_source_read(raw, &file, shard->token_at + 2 * at, 2 * count));
    else KD_GO(kd_source_read(id, &file, shard->token_at + 4 * at, 4 * count));
    for (int64_t i = count - 1; narrow && i >= 0; i--) id[i] = raw[i];
    for (int64_t i = 0; i < count; i++)
        if (id[i] < 0 || id[i] >= c->tokenizer.vocabulary) {
            status = kd_fail(KD_EFORMAT, "%s: token %lld is %lld, the tokenizer has %lld ids", shard->path, (long long)(at + i),
                             (long long)(uint32_t)id[i], (long long)c->tokenizer.vocabulary);
            goto done;
        }
    if (loss && shard->loss_at >= 0) KD_GO(kd_source_read(loss, &file, shard->loss_at + at, count));
    else if (loss) memset(loss, 1, (size_t)count);
done:
    kd_source_close(&file);
    return status;
}

kd_status kd_corpus_read(int32_t *id, uint8_t *loss, const kd_corpus *c, int64_t from, int64_t count) {
    assert(from >= 0 && count >= 0 && count <= c->tokens - from);
    if (c->narrow || c->wide) {
        for (int64_t i = 0; i < count; i++) id[i] = c->narrow ? (int32_t)c->narrow[from + i] : (int32_t)c->wide[from + i];
        if (loss && c->loss) memcpy(loss, c->loss + from, (size_t)count);
        else if (loss) memset(loss, 1, (size_t)count);
        return KD_OK;
    }
    while (count > 0) {  /* a document is in one shard; what is asked for need not be one document */
        kd_shard *shard = shard_of(c, from);
        int64_t here = shard->first + shard->tokens - from;
        if (here > count) here = count;
        KD_TRY(read_shard(id, loss, c, shard, from, here));
        id += here;
        if (loss) loss += here;
        from += here;
        count -= here;
    }
    return KD_OK;
}

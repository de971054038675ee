#include "data/corpus.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "format/jsonl.h"

enum { SOURCES = 1 << 16, NARROW = 1 << 16 };

/* A corpus while it is read: arrays with room to grow in. */
typedef struct builder {
    kd_corpus *corpus;
    kd_encoder *encoder;
    kd_ids ids;                             /* of one document */
    int64_t starts, sources, names, tokens; /* room in the arrays */
} builder;

/* Room for `need` elements of a heap array, doubled when it is short: the cost of growing stays linear. */
static kd_status reserve(void *array, int64_t *room, int64_t need, int64_t element) {
    if (need <= *room) return KD_OK;
    int64_t more = *room > 512 ? *room : 512, bytes;
    while (more < need && more <= INT64_MAX / 2) more *= 2;
    KD_TRY(kd_size_multiply(&bytes, more, element));
    void *memory;
    memcpy(&memory, array, sizeof memory);
    memory = realloc(memory, (size_t)bytes);
    if (!memory) return kd_fail(KD_ENOMEM, "out of memory: %lld bytes for the corpus", (long long)bytes);
    memcpy(array, &memory, sizeof memory);
    *room = more;
    return KD_OK;
}

static kd_status find_source(int64_t *out, builder *b, const char *name) {
    kd_corpus *c = b->corpus;
    for (*out = 0; *out < c->sources; ++*out)
        if (!strcmp(c->source_name[*out], name)) return KD_OK;
    if (c->sources == SOURCES) return kd_fail(KD_ENOTSUP, "source %s: more than %d sources", name, SOURCES);
    KD_TRY(reserve(&c->source_name, &b->names, c->sources + 1, sizeof *c->source_name));
    char *copy = strdup(name);
    if (!copy) return kd_fail(KD_ENOMEM, "out of memory: the name of source %s", name);
    c->source_name[c->sources++] = copy;
    return KD_OK;
}

static kd_status append(builder *b, const kd_document *document) {
    kd_corpus *c = b->corpus;
    b->ids.count = 0;
    KD_TRY(kd_encode(&b->ids, b->encoder, document->text, document->size, 0));
    int64_t count = b->ids.count, source;
    if (!count) {
        c->empty++;
        return KD_OK;
    }
    KD_TRY(find_source(&source, b, document->source));
    KD_TRY(reserve(&c->source, &b->sources, c->documents + 1, sizeof *c->source));
    KD_TRY(reserve(&c->start, &b->starts, c->documents + 2, sizeof *c->start));
    bool narrow = c->tokenizer.vocabulary <= NARROW;
    KD_TRY(narrow ? reserve(&c->narrow, &b->tokens, c->tokens + count, sizeof *c->narrow)
                  : reserve(&c->wide, &b->tokens, c->tokens + count, sizeof *c->wide));
    for (int64_t i = 0; i < count; i++) {
        assert(b->ids.id[i] >= 0 && b->ids.id[i] < c->tokenizer.vocabulary);
        if (narrow) c->narrow[c->tokens + i] = (uint16_t)b->ids.id[i];
        else c->wide[c->tokens + i] = (uint32_t)b->ids.id[i];
    }
    c->tokens += count;
    c->source[c->documents++] = (uint16_t)source;
    c->start[c->documents] = c->tokens;
    return KD_OK;
}

static kd_status read_file(builder *b, const char *path) {
    kd_reader *reader = NULL;
    KD_TRY(kd_reader_open(&reader, path));
    kd_status status;
    for (;;) {
        kd_document document;
        bool more = false;
        KD_GO(kd_reader_next(reader, &document, &more));
        if (!more) break;
        if (!document.text) {
            status = kd_fail(KD_ENOTSUP, "%s: documents that are tokenised already are not in this build yet", path);
            goto done;
        }
        KD_GO(append(b, &document));
    }
    b->corpus->files++;
done:
    kd_reader_close(reader);
    return status;
}

/* A file's identity, whatever its name. */
typedef struct identity { dev_t device; ino_t inode; int64_t index; } identity;

static int by_identity(const void *left, const void *right) {
    const identity *a = left, *b = right;
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    if (a->inode != b->inode) return a->inode < b->inode ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* repeated[i]: path i is a file that an earlier path names too. */
static kd_status find_repeated(bool *repeated, const kd_paths *paths) {
    identity *file = NULL;
    kd_status status;
    KD_GO(kd_new(&file, paths->count, sizeof *file));
    for (int64_t i = 0; i < paths->count; i++) {
        struct stat s;
        if (stat(paths->path[i], &s)) {
            status = kd_fail_errno(KD_EIO, "%s", paths->path[i]);
            goto done;
        }
        file[i] = (identity){s.st_dev, s.st_ino, i};
    }
    qsort(file, (size_t)paths->count, sizeof *file, by_identity);
    for (int64_t i = 1; i < paths->count; i++)
        repeated[file[i].index] = file[i].device == file[i - 1].device && file[i].inode == file[i - 1].inode;
done:
    free(file);
    return status;
}

static kd_status read_files(builder *b, const kd_paths *paths) {
    bool *repeated = NULL;
    int64_t left_out = 0, latest = 0;
    kd_status status;
    KD_GO(kd_new(&repeated, paths->count, sizeof *repeated));
    KD_GO(find_repeated(repeated, paths));
    for (int64_t i = 0; i < paths->count; i++) {
        if (repeated[i]) left_out++, latest = i;
        else KD_GO(read_file(b, paths->path[i]));
    }
    if (left_out)
        kd_warn("%s%s: named more than once, read once", paths->path[latest], left_out > 1 ? " and others" : "");
done:
    free(repeated);
    return status;
}

/* The hash of hashes: of the tokens, of the document table, and of the sources' names, which become tags. */
static uint64_t hash_of(const kd_corpus *c) {
    uint64_t part[4] = {
        c->narrow ? kd_hash(c->narrow, c->tokens * 2) : kd_hash(c->wide, c->tokens * 4),
        kd_hash(c->start, (c->documents + 1) * 8),
        kd_hash(c->source, c->documents * 2),
    };
    for (int64_t s = 0; s < c->sources; s++) {
        uint64_t pair[2] = {part[3], kd_hash(c->source_name[s], (int64_t)strlen(c->source_name[s]))};
        part[3] = kd_hash(pair, sizeof pair);
    }
    return kd_hash(part, sizeof part);
}

kd_status kd_corpus_open(kd_corpus *corpus, const kd_tokenizer *tokenizer, const char *const *pattern,
                         int64_t patterns) {
    *corpus = (kd_corpus){.tokenizer = *tokenizer};
    builder b = {.corpus = corpus};
    kd_paths paths = {0};
    kd_status status;
    KD_GO(kd_encoder_new(&b.encoder, tokenizer));
    KD_GO(reserve(&corpus->start, &b.starts, 1, sizeof *corpus->start));
    corpus->start[0] = 0;
    for (int64_t i = 0; i < patterns; i++) {
        if (kd_is_folder(pattern[i])) {
            status = kd_fail(KD_ENOTSUP, "%s: a folder: packs are not in this build yet; name files, as in %s/**/*.jsonl",
                             pattern[i], pattern[i]);
            goto done;
        }
        KD_GO(kd_glob(&paths, pattern[i]));
    }
    KD_GO(read_files(&b, &paths));
    corpus->hash = hash_of(corpus);
done:
    kd_paths_free(&paths);
    kd_encoder_free(b.encoder);
    free(b.ids.id);
    if (status) kd_corpus_close(corpus);
    return status;
}

void kd_corpus_close(kd_corpus *corpus) {
    for (int64_t s = 0; s < corpus->sources; s++) free(corpus->source_name[s]);
    free(corpus->source_name);
    free(corpus->source);
    free(corpus->start);
    free(corpus->narrow);
    free(corpus->wide);
    *corpus = (kd_corpus){0};
}

void kd_corpus_read(int32_t *id, const kd_corpus *corpus, int64_t from, int64_t count) {
    assert(from >= 0 && count >= 0 && count <= corpus->tokens - from);
    for (int64_t i = 0; i < count; i++)
        id[i] = corpus->narrow ? (int32_t)corpus->narrow[from + i] : (int32_t)corpus->wide[from + i];
}

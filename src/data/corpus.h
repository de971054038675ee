/* A corpus: documents as ids, in the order of their files. Tables of documents are in memory; tokens are in memory, two
 * bytes each where the vocabulary allows it, or in the shards of a token store. */
#ifndef KD_CORPUS_H
#define KD_CORPUS_H

#include "data/ingest.h"

/* A file of a token store (store.h). */
typedef struct kd_shard {
    char *path;
    int64_t first, tokens;   /* of the corpus' tokens: first .. first+tokens-1 */
    int64_t token_at;        /* bytes of the file where tokens begin, */
    int64_t loss_at;         /* and their loss flags; -1: all are targets */
    uint64_t hash;           /* XXH3-64 of the file, looked at before it is first read */
    bool verified;
} kd_shard;

typedef struct kd_corpus {
    kd_tokenizer tokenizer;  /* borrowed */
    int64_t documents, tokens;
    int64_t *start;          /* [documents+1] first token of each */
    uint16_t *source;        /* [documents] index into source_name */
    kd_origin *origin;       /* [documents] */
    char **source_name;      /* [sources] */
    int64_t sources;
    uint64_t *file_key;      /* [files] what draws know a file by: the hash of the last two parts of its path */
    int64_t files;
    uint16_t *narrow;        /* [tokens] where the vocabulary has at most 65536 ids, else NULL */
    uint32_t *wide;          /* [tokens] otherwise; both NULL: in shards */
    uint8_t *loss;           /* [tokens] 0: not a target; NULL: all are, or in shards */
    kd_shard *shard;         /* [shards] */
    int64_t shards;
    kd_ingest_counts counts;
    uint64_t hash;           /* of ids, loss flags, document table and source names: what a resumed run compares */
    int64_t room[6];         /* of the arrays while they grow */
} kd_corpus;

/* Reads texts, or documents that are ids already, out of every file that the patterns name (kd_ingest). options->tokenizer
 * is borrowed. KD_ECONFIG for a folder; what kd_ingest gives. Free with kd_corpus_close. */
kd_status kd_corpus_read_files(kd_corpus *corpus, const kd_ingest_options *options, const char *const *pattern, int64_t patterns);
void kd_corpus_close(kd_corpus *corpus);

/* count ids from token `from`; loss [count], may be NULL: 1 where they may be targets. KD_EIO, and KD_EFORMAT for a
 * shard that is not what was written. Not for several threads at once. */
kd_status kd_corpus_read(int32_t *id, uint8_t *loss, const kd_corpus *corpus, int64_t from, int64_t count);

/* ---- growing (also the buffer that a token store is written from) ---------------------------------------------- */

kd_status kd_corpus_init(kd_corpus *corpus, const kd_tokenizer *tokenizer, const kd_paths *files);
kd_status kd_corpus_append(kd_corpus *corpus, const kd_ingested *document);
/* Forgets documents and tokens; sources, files, counts and hash stay. */
void kd_corpus_clear(kd_corpus *corpus);
/* The index of a source, new or known. KD_ENOTSUP above 65536, KD_ENOMEM. */
kd_status kd_corpus_source(int64_t *out, kd_corpus *corpus, const char *name);
/* Whether ids are two bytes. */
bool kd_corpus_narrow(const kd_corpus *corpus);

#endif

/* A corpus: the documents of some files as ids, in the order of the files, and a window's worth of segments of it.
 *
 * Tokens are held in memory, two bytes each where the vocabulary allows it. */
#ifndef KD_CORPUS_H
#define KD_CORPUS_H

#include "format/tokenizer.h"

typedef struct kd_corpus {
    kd_tokenizer tokenizer;  /* borrowed */
    int64_t documents, tokens;
    int64_t *start;        /* [documents+1] first token of each */
    uint16_t *source;      /* [documents] index into source_name */
    char **source_name;    /* [sources] */
    int64_t sources;
    uint16_t *narrow;      /* [tokens] where the vocabulary has at most 65536 ids, else NULL */
    uint32_t *wide;        /* [tokens] otherwise */
    int64_t files, empty;  /* files read; documents without a token, skipped and counted */
    uint64_t hash;         /* of tokens and document table: what a resumed run compares */
} kd_corpus;

/* Reads every file that the patterns name, pattern by pattern; a file that is named again is read once, with a warning.
 * Stops at the first bad line or file, with its place. Documents without a token are counted in `empty`.
 * KD_ENOTSUP for a folder. What the tokenizer holds is borrowed. Free with kd_corpus_close. */
kd_status kd_corpus_open(kd_corpus *corpus, const kd_tokenizer *tokenizer, const char *const *pattern, int64_t patterns);
void kd_corpus_close(kd_corpus *corpus);

/* count ids from token `from`. */
void kd_corpus_read(int32_t *id, const kd_corpus *corpus, int64_t from, int64_t count);

#endif

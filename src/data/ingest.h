/* Documents out of files, as ids: read in the order of the files, encoded by every thread, handed on in order. */
#ifndef KD_INGEST_H
#define KD_INGEST_H

#include "base/file.h"
#include "base/pool.h"
#include "format/tokenizer.h"

/* Where a document comes from: what draws of random numbers are keyed by. */
typedef struct kd_origin {
    int32_t file;          /* index of its file */
    int32_t part;          /* of its line, from 0: rows of several documents */
    int64_t line;          /* from 1 */
} kd_origin;

typedef struct kd_ingest_counts {
    int64_t documents;     /* handed on */
    int64_t bytes;         /* of their text; 4 for each id of those that came as ids */
    int64_t empty;         /* without a token: left out */
    int64_t bad_lines;     /* left out, where that is allowed */
} kd_ingest_counts;

/* Valid during the call. */
typedef struct kd_ingested {
    const int32_t *id;     /* [count] without BOS, count > 0 */
    const uint8_t *loss;   /* [count] 0: not a target; NULL: all are */
    int64_t count;
    const char *source;
    kd_origin origin;
    int64_t read;          /* what was read of its file up to this document: where to go on behind it */
    kd_ingest_counts so_far;
} kd_ingested;

typedef kd_status kd_ingest_sink(void *arg, const kd_ingested *document);

typedef struct kd_ingest_progress {
    int64_t file, files;       /* files that are read, of how many */
    int64_t read, bytes;       /* the same in bytes as they lie on disk */
    kd_ingest_counts counts;
} kd_ingest_progress;

typedef struct kd_ingest_options {
    const kd_tokenizer *tokenizer;
    kd_pool *pool;              /* NULL: this thread alone */
    bool parse_specials;        /* "<s>" in a text becomes BOS, as Hugging Face does; otherwise it is text */
    bool skip_bad_lines;        /* a line that is wrong is counted and left out; otherwise it ends everything */
    int64_t file, read;         /* to go on: behind the first `read` documents and bad lines of file `file` */
    kd_ingest_counts counted;   /* what was counted before */
    void (*progress)(void *arg, const kd_ingest_progress *progress);  /* now and then; may be NULL */
    void *progress_arg;
} kd_ingest_options;

/* The files that patterns name, pattern by pattern, each once: a file named again is left out with a warning.
 * KD_ECONFIG for a folder. Free with kd_paths_free. */
kd_status kd_ingest_files(kd_paths *paths, const char *const *pattern, int64_t patterns);

/* Calls sink for every document; counts is the whole tally. Documents that came as ids lose a leading BOS: packing puts it
 * there; where a row of a packed file cut a document, it is joined again. Stops at the first bad line (unless they are
 * skipped), at a broken file, and when sink fails: everything before it was handed on. The documents do not depend on the
 * number of threads. Memory: two batches of about 4 MiB of text, or of one document where it is larger. */
kd_status kd_ingest(kd_ingest_counts *counts, const kd_paths *paths, const kd_ingest_options *options, kd_ingest_sink *sink,
                    void *arg);

#endif

/* The texts that a command is given: files in order, standard input, their lines or documents. */
#ifndef KD_TEXT_SOURCE_H
#define KD_TEXT_SOURCE_H

#include "base/file.h"
#include "format/input.h"
#include "format/jsonl.h"

typedef struct kd_text_source {
    kd_paths paths;
    int64_t next;              /* the path that is opened next */
    bool lines;                /* a line of a plain file is a text */
    bool plain;                /* .jsonl and .json are plain files too */
    kd_reader *reader;         /* of JSON lines */
    kd_input *input;           /* of a plain file */
    char suffix[32];           /* its source */
    char *buffer;              /* [room] of a plain file */
    int64_t room, begin, end, line;
    bool at_end;
} kd_text_source;

/* A text, any bytes; valid until the next call. source as in jsonl.h. */
typedef struct kd_given {
    const char *text, *source, *path;
    int64_t size, line;
    const int32_t *id;         /* [ids] of a document that is tokens: text is NULL then */
    int64_t ids;
} kd_given;

/* patterns [count]: files, kd_glob's patterns, "-" for standard input, which is also what no pattern at all means. */
kd_status kd_text_source_open(kd_text_source *source, const char *const *pattern, int64_t count, bool lines, bool plain);
/* The next text; *more false at the end. Files *.jsonl and *.json, plain or zstd, are documents of kd_reader; any other
 * file, plain or zstd, is one text, or a text a line. KD_EFORMAT, KD_EIO, KD_ENOMEM: the source is of no more use. */
kd_status kd_text_source_next(kd_given *given, kd_text_source *source, bool *more);
void kd_text_source_close(kd_text_source *source);

#endif

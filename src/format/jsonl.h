/* Documents from text files: JSON lines, plain or zstd (*.jsonl, *.jsonl.zst, *.json, *.json.zst), as SlimPajama's
 * records {"text": ..., "meta": {"redpajama_set_name": ...}} or plain {"text": ...}; any other file is one document.
 * Policies, the same for every file: a text must be valid UTF-8 (no overlong forms, no surrogates: an escaped lone
 * surrogate is an error too); a repeated key is an error; a leading byte order mark is an error; blank lines are skipped;
 * U+0000 is an ordinary character; nesting is limited to 64. Concatenated and skippable zstd frames are read; a frame
 * that ends early, fails its checksum or wants a window above 128 MiB is an error. Messages name file and line, or file
 * and offset: "path:line: what", "path: byte N: what". */
#ifndef KD_JSONL_H
#define KD_JSONL_H

#include "base/file.h"

typedef struct kd_document {
    const char *text;     /* [size] valid until the next call */
    int64_t size;
    const char *source;   /* redpajama_set_name without "RedPajama", or "" ; a plain file: its suffix ("md") */
    int64_t line;         /* 1 for the first; plain files: 1 */
} kd_document;

typedef struct kd_reader kd_reader;

kd_status kd_reader_open(kd_reader **out, const char *path);
/* The next document; *more false at the end. After KD_EFORMAT for a bad line the reader stands behind it and may be
 * asked again; after an error of the zstd stream it may not (it repeats the error). */
kd_status kd_reader_next(kd_reader *reader, kd_document *document, bool *more);
void kd_reader_close(kd_reader *reader);

/* The offset of the first byte that is not valid UTF-8, or -1. */
int64_t kd_utf8_invalid(const char *text, int64_t size);

#endif

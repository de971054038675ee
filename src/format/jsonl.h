/* Documents from files. JSON lines, plain or zstd (*.jsonl, *.jsonl.zst, *.json, *.json.zst):
 *   {"text": ..., "meta": {"redpajama_set_name": ...}}     SlimPajama's records; meta may be absent
 *   {"input_ids": [...], "labels": [...]}                  tokens; labels are the ids themselves, or -100: not a target
 *   {"input_ids": [...], "loss_mask": [...]}               the same said with 0 and 1
 *   {"input_ids": [...], "labels": N, "source": [{"source": ..., "start": ..., "end": ...}, ...]}
 *                                                          a packed row: its documents one by one; id N follows the row
 * "source" as a string serves where meta names none; a set's name loses its prefix "RedPajama". Ids are 0 .. 2^31-2. Other
 * members are ignored, but an attention_mask must be all 1. Megatron's x.idx or x.bin: see megatron.h. Any other file is
 * one document.
 * Policies, the same for every file: a text must be valid UTF-8 (no overlong forms, no surrogates: an escaped lone
 * surrogate is an error too); a repeated key is an error; a leading byte order mark is an error; blank lines are skipped;
 * U+0000 is an ordinary character; nesting is limited to 64. Concatenated and skippable zstd frames are read; a frame
 * that ends early, fails its checksum or wants a window above 128 MiB is an error. Messages name file and line, or file
 * and offset: "path:line: what", "path: byte N: what". */
#ifndef KD_JSONL_H
#define KD_JSONL_H

#include "base/file.h"

typedef struct kd_document {
    const char *text;     /* [size] valid until the next call, as all here; NULL: the document is ids */
    int64_t size;
    const char *source;   /* redpajama_set_name without "RedPajama", or "" ; a plain file: its suffix ("md"); Megatron: the
                             file's stem */
    int64_t line;         /* 1 for the first; plain files: 1; Megatron: the document's number, from 1 */
    const int32_t *id;    /* [ids] with whatever BOS and EOS the file has */
    int64_t ids;
    const uint8_t *loss;  /* [ids] 0: the token is not a target; NULL: all are */
    /* A packed row cuts the document at its end, which goes on as the first of the next row, without BOS. So two documents
     * are parts of one where the first one's next is the second one's id[0], the second has row_first and begins with
     * no BOS, and the sources are the same. Where documents have no BOS nobody can tell. */
    bool row_first;       /* the first of a packed row */
    int32_t next;         /* the last of a packed row: the id that follows the row; otherwise -1 */
} kd_document;

typedef struct kd_reader kd_reader;

kd_status kd_reader_open(kd_reader **out, const char *path);
/* The next document; *more false at the end. After KD_EFORMAT for a bad line the reader stands behind it and may be
 * asked again; after an error of the zstd stream it may not (it repeats the error). */
kd_status kd_reader_next(kd_reader *reader, kd_document *document, bool *more);
/* Bytes of the file, as it lies on disk, that were read; 0 for Megatron's. */
int64_t kd_reader_at(const kd_reader *reader);
void kd_reader_close(kd_reader *reader);

/* The offset of the first byte that is not valid UTF-8, or -1. */
int64_t kd_utf8_invalid(const char *text, int64_t size);

#endif

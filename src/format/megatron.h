/* Megatron-LM's indexed datasets: x.bin holds ids, x.idx says which of them are a sequence and which sequences a document.
 * x.idx, little-endian and nowhere aligned:
 *   "MMIDIDX\0\0"            9 bytes
 *   u64 1                    the version
 *   u8                       the type in x.bin: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 8 u16 (6 and 7 are real numbers: refused)
 *   u64 sequences, u64 entries
 *   i32 length[sequences]    in ids
 *   i64 offset[sequences]    in bytes of x.bin
 *   i64 document[entries]    the first sequence of each document, and at last `sequences`; entries = documents + 1
 * Source: NVIDIA/Megatron-LM, megatron/core/datasets/indexed_dataset.py. Sequence modes, which multimodal datasets have
 * behind that, are refused. */
#ifndef KD_MEGATRON_H
#define KD_MEGATRON_H

#include "base/file.h"

/* "x.idx" or "x.bin": the name of such a file, whether or not it is there. */
bool kd_megatron_named(const char *path);

typedef struct kd_megatron kd_megatron;

/* path: x.idx or x.bin; both are opened. KD_EFORMAT unless the tables fill x.idx to the byte, KD_ENOTSUP for a type or a
 * version that is not read. Memory is that of the longest document. */
kd_status kd_megatron_open(kd_megatron **out, const char *path);
int64_t kd_megatron_documents(const kd_megatron *megatron);
/* The next document, its sequences joined: ids 0 .. 2^31-2, valid until the next call. *more false at the end. KD_EFORMAT
 * "x.idx: document N: what", N from 1, for one whose ids or their place are wrong; the next call goes on behind it. A wrong
 * document index stays wrong. */
kd_status kd_megatron_next(const int32_t **id, int64_t *ids, bool *more, kd_megatron *megatron);
void kd_megatron_close(kd_megatron *megatron);  /* NULL is allowed */

/* ---- writing ----------------------------------------------------------------------------------------------- */

typedef struct kd_megatron_writer kd_megatron_writer;

/* path: x.idx or x.bin. Ids are below `vocabulary`: they are written as u16 where it is below 65500, as Megatron does, else
 * as i32. Everything goes to x.bin.tmp and x.idx.tmp first. */
kd_status kd_megatron_create(kd_megatron_writer **out, const char *path, int64_t vocabulary);
/* A document, as one sequence; count >= 1. Memory is 4 bytes for each. KD_EARG for an id beyond the vocabulary. */
kd_status kd_megatron_put(kd_megatron_writer *writer, const int32_t *id, int64_t count);
/* Writes the index, syncs, and gives both files their names. An older x.idx goes before the new x.bin comes, so that no
 * index ever stands beside ids that are not its own. Then, or after a failure: kd_megatron_free. */
kd_status kd_megatron_finish(kd_megatron_writer *writer);
void kd_megatron_free(kd_megatron_writer *writer);  /* removes what is not finished; NULL is allowed */

#endif

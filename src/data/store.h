/* A token store: documents as ids on disk, so that windows, mixtures and tags can change without tokenising again.
 *
 * A folder of shards and store.json, which says what they hold and is written after each of them: a run that is killed
 * goes on behind the last shard, and the bytes are the same as if it had not been. A shard is a safetensors file:
 *   tokens      [n]      U16 where the vocabulary has at most 65536 ids, else U32; documents without BOS
 *   loss        [n]      U8, 0: not a target; only where some token is not
 *   doc_start   [D+1]    I64 first token of each document in the shard
 *   doc_source  [D]      U16 index into store.json's sources
 *   doc_origin  [D, 3]   I64 index into store.json's inputs, line from 1, part of the line from 0 */
#ifndef KD_STORE_H
#define KD_STORE_H

#include "data/corpus.h"

#define KD_STORE_FILE "store.json"

/* Tokenises the files that the patterns name into `folder`, or makes sure that this is done: a store of the same tokenizer,
 * files (path, size, time of change) and policies is kept, or gone on with. shard: tokens of a shard, about. Shards that
 * are left from something else are removed. What kd_ingest gives; KD_EIO. *kept: nothing had to be read. */
kd_status kd_store_make(bool *kept, const char *folder, const kd_ingest_options *options, const char *const *pattern, int64_t patterns,
                        int64_t shard);

/* Opens a store that is complete; its tables are read, its tokens stay where they are. verify: every shard's hash is
 * checked, which reads all of it. KD_ECONFIG for a store of another tokenizer, or an unfinished one; KD_EFORMAT. Free with
 * kd_corpus_close. The tokenizer is borrowed; NULL: whichever it was, corpus->tokenizer then has its numbers alone. */
kd_status kd_store_open(kd_corpus *corpus, const char *folder, const kd_tokenizer *tokenizer, bool verify);

/* The documents as a Megatron dataset, x.idx and x.bin (format/megatron.h), each behind an EOS where eos is asked for. Loss
 * flags have no place there: *flags counts the tokens that are no target. KD_ECONFIG: an EOS where there is none. */
kd_status kd_store_export_megatron(int64_t *flags, const char *path, const char *folder, bool eos);

#endif

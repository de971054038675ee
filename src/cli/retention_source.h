/* The documents that kedge eval retention reads. */
#ifndef KD_RETENTION_SOURCE_H
#define KD_RETENTION_SOURCE_H

#include "cli.h"
#include "eval/retention.h"
#include "train/run_file.h"

typedef struct kd_retention_source {
    kd_list text;              /* files or patterns */
    const char *pack;          /* or a pack, or a token store; with neither what the run validates by */
    const kd_run_file *run;
    int64_t documents;         /* that are taken, evenly over all; 0: all */
} kd_retention_source;

/* Appends the beginnings of documents to items->texts; *hash of all their tokens and of which are scored. KD_ECONFIG where there are
 * none, or where the run has no validation data; what kd_corpus_read_files, kd_store_open and kd_pack_open give. */
kd_status kd_retention_texts(kd_retention_items *items, uint64_t *hash, const kd_retention_source *source, const kd_tokenizer *tokenizer,
                             kd_pool *pool);
/* What settings call it. */
const char *kd_retention_name(const kd_retention_source *source);

#endif

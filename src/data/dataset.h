/* What a run reads: files, a token store or a pack, as windows. */
#ifndef KD_DATASET_H
#define KD_DATASET_H

#include "data/windows.h"

typedef struct kd_dataset {
    kd_corpus corpus;
    kd_choice choice;        /* fate NULL: out of a pack, which has chosen */
    kd_windows windows;
} kd_dataset;

typedef struct kd_dataset_options {
    const char *const *pattern;    /* files; or one folder: a token store, a pack or a part of one */
    int64_t patterns;
    const char *part;              /* of a pack: "train" or "valid" */
    kd_ingest_options ingest;
    kd_choice_options choice;
    kd_window_options window;
} kd_dataset_options;

/* KD_ECONFIG: a store or pack of another tokenizer, a pack whose windows are filled otherwise than asked for; what
 * kd_corpus_read_files, kd_store_open, kd_pack_open, kd_choice_init and kd_windows_open give. options->ingest.tokenizer is borrowed.
 * Free with kd_dataset_close; it must not be moved while it is open. */
kd_status kd_dataset_open(kd_dataset *dataset, const kd_dataset_options *options);
void kd_dataset_close(kd_dataset *dataset);

#endif

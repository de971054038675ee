/* A pack: windows that are filled, on disk. A folder:
 *   pack.json                    what it was made with, and the files below with their hashes
 *   train.safetensors            the segments of the training windows; valid.safetensors those of validation
 *   tokens/train, tokens/valid   the token stores that they point into (store.h), which survive another packing
 * A part's tensors: first I64 [windows+1], the first segment of each window; and, one for each segment, document I64,
 * from I64 (token of the document's text), count I64, place I64 (token of the window where its BOS, tag or text begins),
 * flags U8 (1: goes on from an earlier window, 2: goes on in the next). */
#ifndef KD_PACK_H
#define KD_PACK_H

#include "data/dataset.h"

#define KD_PACK_FILE "pack.json"

typedef enum kd_part { KD_PART_TRAIN, KD_PART_VALID, KD_PARTS } kd_part;
extern const char *const kd_part_names[KD_PARTS];

typedef struct kd_pack_options {
    const char *folder;
    kd_dataset_options part[KD_PARTS];   /* no patterns: the part is not there */
    int64_t shard;                       /* tokens of a shard of the token stores */
    bool verify;                         /* read every shard's hash */
} kd_pack_options;

/* A pack while it is made: what a report looks at. */
typedef struct kd_pack {
    kd_dataset part[KD_PARTS];           /* corpus.documents 0: not there */
} kd_pack;

/* Tokenises (or goes on with it, or keeps what is there), chooses, fills windows and writes them; pack.json comes last.
 * pack stays open for a report; kd_pack_close in any case. KD_EBUSY when another process packs into the folder. */
kd_status kd_pack_make(kd_pack *pack, const kd_pack_options *options);
void kd_pack_close(kd_pack *pack);

/* The training or validation part of a pack. KD_ECONFIG where options ask for windows that are filled otherwise, naming the
 * key; KD_EFORMAT for a file that is not what was written. options->window.window 0: the windows as they were filled, mask anchor
 * where they have one, else document. No tokenizer: whichever it was, and KD_ECONFIG where there are tags. */
kd_status kd_pack_open(kd_dataset *dataset, const char *folder, const kd_dataset_options *options);

#endif

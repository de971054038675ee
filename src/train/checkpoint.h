/* A checkpoint is complete or it is not there. It is a Hugging Face folder with the training state beside it:
 *
 *   step-N/ config.json model.safetensors [tokenizer files] optimizer.safetensors trainer_state.json run.yaml manifest.json
 *
 * Written into step-N.tmp, every file synced, the manifest (names, sizes, XXH3 hashes, its own hash) last; then the folder is
 * synced, renamed, and its parent synced. A reader believes the manifest and nothing else. Exported weights go the same way. */
#ifndef KD_CHECKPOINT_H
#define KD_CHECKPOINT_H

#include "base/file.h"

typedef kd_status kd_checkpoint_fill(void *arg, const char *folder);

/* Commits output/step-<step>; fill writes the files. KD_OK: it is there, whole and synced. After a failure the half-made
 * folder is gone and what was there before is untouched (after a failed sync of `output`, the last thing, the new one
 * stands). A step-<step> that is there with the same bytes already stays; another is replaced. Leftovers of saves that
 * were interrupted, step-<digits>.tmp and .del, are removed: `output` must be the caller's alone. */
kd_status kd_checkpoint_save(const char *output, int64_t step, kd_checkpoint_fill *fill, void *arg);

/* KD_OK if the manifest is whole and every file is there with its size and hash, and beside a training state no other
 * (hidden names aside); else KD_EFORMAT naming the file. */
kd_status kd_checkpoint_verify(const char *folder);

/* The newest checkpoint that verifies: *folder on the heap, or NULL if there is none at all. A newer one that does not
 * verify is named in a warning; KD_EFORMAT if there are some and none verifies. */
kd_status kd_checkpoint_newest(char **folder, int64_t *step, const char *output);

/* Of the checkpoints up to `step`, removes all but the newest `keep`. Later ones, which a resumed run did not use, stay
 * until it writes them again. */
kd_status kd_checkpoint_prune(const char *output, int64_t step, int64_t keep);

#endif

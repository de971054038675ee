/* A checkpoint is complete or it is not there. It is a Hugging Face folder with the training state beside it:
 *
 *   step-N/ config.json model.safetensors [tokenizer files] optimizer.safetensors trainer_state.json run.yaml manifest.json
 *
 * Written into step-N.tmp, every file synced, the manifest (names, sizes, XXH3 hashes) last; then the folder is synced,
 * renamed, and its parent synced. A reader believes the manifest and nothing else. */
#ifndef KD_CHECKPOINT_H
#define KD_CHECKPOINT_H

#include "base/file.h"

typedef kd_status kd_checkpoint_fill(void *arg, const char *folder);

/* Commits output/step-<step>; fill writes the files. After a failure the half-made folder is gone and what was there
 * before is untouched. Leftovers of saves that were interrupted are removed. */
kd_status kd_checkpoint_save(const char *output, int64_t step, kd_checkpoint_fill *fill, void *arg);

/* KD_OK if every file is there with its size and hash; else KD_EFORMAT naming the file. */
kd_status kd_checkpoint_verify(const char *folder);

/* The newest checkpoint that verifies: *folder on the heap, or NULL if there is none. A newer one that does not verify is
 * named in a warning. */
kd_status kd_checkpoint_newest(char **folder, int64_t *step, const char *output);

/* Removes all but the newest `keep`. */
kd_status kd_checkpoint_prune(const char *output, int64_t keep);

#endif

/* What pack.json says about how windows were filled. Private to src/data. */
#ifndef KD_PACK_JSON_H
#define KD_PACK_JSON_H

#include "data/pack.h"
#include "data/store_json.h"

/* {"window", "anchor", "bos", "eos", "tag", "long_documents", "shortest"}: what segments depend on. NULL: memory is out. */
json_t *kd_pack_filling(const kd_window_options *options);
/* The reverse: options that ask for such windows, mask anchor or document, positions running. KD_EFORMAT. */
kd_status kd_pack_filled(kd_window_options *options, const json_t *filling, const char *folder);
/* {"mixture", "tokens", "upsample", "seed"}: which documents were chosen; null without a choice. NULL: memory is out. */
json_t *kd_pack_choosing(const kd_choice_options *options);
/* Names the first thing that a pack was made with and the options do not ask for. */
kd_status kd_pack_check(const json_t *filling, const json_t *choosing, const kd_dataset_options *options, const char *folder);

/* The segments of a part as a file, and back. */
kd_status kd_pack_write_segments(const char *path, const kd_windows *windows);
kd_status kd_pack_read_segments(int64_t *count, int64_t **first, kd_segment **segment, const char *path);

#endif

/* Whether a model's folder is whole, and says the same everywhere: what `kedge check model` finds. */
#ifndef KD_FOLDER_CHECK_H
#define KD_FOLDER_CHECK_H

#include "base/pool.h"
#include "config.h"
#include "format/safetensors.h"

typedef enum kd_finding_level { KD_FINDING_OK, KD_FINDING_WARNING, KD_FINDING_FAILURE } kd_finding_level;

/* One line: what, and where. */
typedef struct kd_finding { kd_finding_level level; const char *part; char text[400]; } kd_finding;  /* part: "config", "rope", "tensors", ... */

typedef struct kd_findings {
    kd_finding *row;
    int64_t count, room, of[KD_FINDING_FAILURE + 1];
} kd_findings;

typedef struct kd_folder_options {
    bool no_scan;            /* weights are not read: tables alone */
    int64_t threads;         /* that read them; < 1: one for each core */
} kd_folder_options;

/* Looks at config.json, its RoPE, the files and tensors, every weight (a piece at a time: memory does not grow with the model) and the
 * tokenizer. A failure is what kedge would refuse or compute wrongly with; a warning what other engines may read otherwise. KD_OK
 * whatever is found; KD_ENOMEM, KD_EIO where the folder is not there. Free row with free(). */
kd_status kd_folder_check(kd_findings *findings, const char *folder, const kd_folder_options *options);

/* Adds one; KD_ENOMEM. */
kd_status kd_find(kd_findings *findings, kd_finding_level level, const char *part, const char *format, ...) __attribute__((format(printf,
                                                                                                                                  4, 5)));

/* The parts, for kd_folder_check: RoPE of a configuration (folder_rope.c), and NaN, infinity and ranges of all weights (folder_scan.c). */
kd_status kd_folder_check_rope(kd_findings *findings, const kd_config *config);
kd_status kd_folder_scan(kd_findings *findings, const kd_tensors *tensors, kd_pool *pool);

#endif

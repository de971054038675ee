/* The check of the mask that `kedge check mask` makes: windows of a run, or of a pack, several touches of each. */
#ifndef KD_MASK_RUN_H
#define KD_MASK_RUN_H

#include "mask_check.h"
#include "run_file.h"

typedef struct kd_mask_options {
    int64_t windows;          /* the first so many */
    int64_t documents;        /* touched one by one in each */
    bool attention_alone;     /* no model is made */
    bool expects;             /* another mask than the windows' own is what they must keep: */
    kd_mask mask;
    const char *checkpoint;   /* of a run: the folder that weights are read from instead of the run file's model; NULL: that */
    const char *tokenizer;    /* of a pack with tags; NULL: its numbers, as the pack says them, are enough */
    int64_t threads;          /* of a pack */
} kd_mask_options;

typedef struct kd_mask_found { int64_t window; bool of_model; kd_mask_row row; } kd_mask_found;

typedef struct kd_mask_report {
    kd_mask_found *found;
    int64_t count, room;
    int64_t windows, T, documents, ranks;   /* documents: of all windows looked at */
    kd_mask mask;                           /* that was compared with */
    kd_precision precision;
    kd_sequence_mode mode;
} kd_mask_report;

/* Attention in the way the run has it, and its model: ranks that share a window are threads here, each with the weights it has in the
 * run. What moves is in the report, whatever it is; KD_ENUMERIC alone where a window's plan is not of the window's tokens. Free with
 * kd_mask_report_free in any case. */
kd_status kd_mask_run(kd_mask_report *report, const kd_run_file *run, const kd_mask_options *options);
/* Attention of exact positions on a pack's training windows. KD_ECONFIG: a pack with tags and no tokenizer. */
kd_status kd_mask_pack(kd_mask_report *report, const char *folder, const kd_mask_options *options);
void kd_mask_report_free(kd_mask_report *report);

#endif

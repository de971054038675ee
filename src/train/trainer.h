/* What a run holds while it trains. Private to src/train. */
#ifndef KD_TRAINER_H
#define KD_TRAINER_H

#include "base/log.h"
#include "metrics.h"
#include "optimizer.h"
#include "train.h"

/* What the check of the mask found at the start (mask_start.c). */
typedef struct kd_mask_start { int64_t documents, touches, touched, inside, outside_of; double seconds; } kd_mask_start;

typedef struct kd_trainer {
    const kd_run_file *run;
    const kd_train_options *options;
    kd_comm *world, *sequence, *data;  /* all ranks; those that share this one's windows; those with its part of other windows */
    kd_comm *alone;
    kd_ctx *ctx;
    kd_config config;
    kd_tokenizer tokenizer;
    kd_dataset train, valid;         /* valid.windows.count 0: no validation */
    kd_model *model;
    kd_optimizer optimizer;
    kd_metrics metrics;
    int lock;
    char *companions;                /* the folder whose tokenizer files go with every checkpoint, or NULL */
    int64_t step;                    /* steps done */
    int64_t skipped, bad_in_a_row;   /* steps whose loss or gradient was not finite */
    int64_t lost_exports, first_lost;  /* exports that could not be written, and the first one's step */
    double *losses;                  /* [T] one validation window on the host */
    kd_clock clock;                  /* of the step under way */
    kd_mask_start mask;              /* seconds 0: it was not checked */
    double peak, peak_measured;      /* FLOP/s of the device, the best so far; when it was last measured */
} kd_trainer;

/* What a step was. */
typedef struct kd_step_report {
    kd_step_sums sums;
    int64_t targets, pairs;
    double lr, seconds;
    int64_t sent;                    /* bytes that this rank sent to others */
    double moving;                   /* of the seconds, those in moves between ranks, waiting included */
} kd_step_report;

/* Opens everything the run names; reads the newest checkpoint when resuming (trainer_open.c). */
kd_status kd_trainer_open(kd_trainer *trainer, const kd_run_file *run, const kd_train_options *options);
void kd_trainer_close(kd_trainer *trainer);

/* What both training and planning begin with: configuration, data, context. checkpoint: NULL, or the folder that the
 * configuration comes from instead of the run file's model. */
kd_status kd_trainer_prepare(kd_trainer *trainer, const char *checkpoint);
kd_model_options kd_trainer_model_options(const kd_trainer *trainer);
/* Whether attention sees what the mask says, on the first window (mask_start.c); nothing where check.mask is false. Collective; all ranks return the
 * same. KD_ENUMERIC: it does not. */
kd_status kd_trainer_check_mask(kd_trainer *trainer);

/* Several ranks (trainer_ranks.c): opens the communicators, closes them; whether this rank is the one that writes; one status
 * for all ranks; ends the job if this rank's status is its own. */
kd_status kd_trainer_share(kd_trainer *trainer);
void kd_trainer_part(kd_trainer *trainer);
/* Of this rank: the run file's, or its share of the host's cores. Collective. */
kd_status kd_trainer_threads(int64_t *threads, kd_trainer *trainer);
bool kd_trainer_leads(const kd_trainer *trainer);
/* Bytes sent and seconds in moves so far, added to the report's times `sign`. */
void kd_trainer_count_moves(kd_step_report *report, const kd_trainer *trainer, int sign);
kd_status kd_trainer_agree(const kd_trainer *trainer, const char *what, kd_status status);
kd_status kd_trainer_give_up(const kd_trainer *trainer, kd_status status);
/* Checkpoints (trainer_state.c); writing is collective, as every rank writes some of the files. */
kd_status kd_trainer_save(kd_trainer *trainer);
kd_status kd_trainer_load(kd_trainer *trainer, const char *folder);
/* The weights alone, as output/export/step-N: a Hugging Face folder in the run file's dtype and shards. */
kd_status kd_trainer_export(kd_trainer *trainer);

/* Rows of metrics (trainer_rows.c): a start, with what the run and the machine are; a step. */
kd_status kd_trainer_write_start(kd_trainer *trainer);
kd_status kd_trainer_write_step(kd_trainer *trainer, const kd_step_report *report);
/* output/window.svg: the first window that is trained on. */
void kd_trainer_draw_window(kd_trainer *trainer);

/* Mean loss over the first windows of the validation data, by position too; one line of metrics (validate.c). */
kd_status kd_trainer_validate(kd_trainer *trainer);

#endif

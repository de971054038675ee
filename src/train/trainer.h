/* What a run holds while it trains. Private to src/train. */
#ifndef KD_TRAINER_H
#define KD_TRAINER_H

#include "base/log.h"
#include "metrics.h"
#include "optimizer.h"
#include "train.h"

typedef struct kd_trainer {
    const kd_run_file *run;
    const kd_train_options *options;
    kd_ctx *ctx;
    kd_config config;
    kd_tokenizer tokenizer;
    kd_corpus train_corpus, valid_corpus;
    kd_windows train, valid;         /* valid.count 0: no validation */
    kd_model *model;
    kd_optimizer optimizer;
    kd_metrics metrics;
    int lock;
    char *companions;                /* the folder whose tokenizer files go with every checkpoint, or NULL */
    int64_t step;                    /* steps done */
    int64_t skipped, bad_in_a_row;   /* steps whose loss or gradient was not finite */
    double *losses;                  /* [T] one validation window on the host */
} kd_trainer;

/* Opens everything the run names; reads the newest checkpoint when resuming (trainer_open.c). */
kd_status kd_trainer_open(kd_trainer *trainer, const kd_run_file *run, const kd_train_options *options);
void kd_trainer_close(kd_trainer *trainer);

/* Checkpoints (trainer_state.c). */
kd_status kd_trainer_save(kd_trainer *trainer);
kd_status kd_trainer_load(kd_trainer *trainer, const char *folder);

/* Mean loss over the first windows of the validation data, by position too; one line of metrics (validate.c). */
kd_status kd_trainer_validate(kd_trainer *trainer);

#endif

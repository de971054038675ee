/* The run file: strict YAML, one schema table. Every key of the documentation is accepted or refused with "not in this
 * build yet", never ignored; an unknown key names the nearest known one. */
#ifndef KD_RUN_FILE_H
#define KD_RUN_FILE_H

#include "data/windows.h"
#include "format/yaml.h"
#include "model/model.h"

typedef enum kd_schedule { KD_CONSTANT, KD_LINEAR, KD_COSINE } kd_schedule;

typedef struct kd_strings { char **text; int64_t count; } kd_strings;

typedef struct kd_run_file {
    char *model_path;                    /* model.path, or NULL and */
    char *init_arch, *init_preset;       /* model.init */
    char *init_config;                   /* model.init.config: a config.json instead of a preset */
    int64_t init_seed;
    bool rope_theta_given;
    double rope_theta;
    char *rope_scaling;                  /* NULL: as the checkpoint says; "none": removed; "linear", "llama3" */
    double rope_factor;                  /* of linear and llama3; 0: as the checkpoint says */
    double rope_low_freq_factor, rope_high_freq_factor;  /* of llama3, as the next one; 0: as the checkpoint says */
    int64_t rope_original_positions;     /* original_max_position_embeddings */
    kd_frame frame;                      /* document */
    char *tokenizer;
    kd_strings train, valid;
    int64_t batch_windows, micro;
    kd_window_options window;            /* everything about windows; seed is `seed` */
    double lr, beta1, beta2, eps, weight_decay, clip;
    kd_schedule schedule;
    int64_t warmup;
    bool decay_all;                      /* decay: all; otherwise matrices */
    int64_t steps, seed;
    kd_recompute recompute;
    int64_t leaves;
    int64_t save_every, save_keep;
    int64_t save_shard;                  /* bytes of a file of weights at most; 0: one file */
    int64_t eval_every, eval_windows;
    int64_t threads;                     /* 0: one for each core; results do not depend on it */
    char *output;
    kd_yaml *tree;                       /* with the overrides applied */
} kd_run_file;

/* Reads and checks; overrides are "a.b=c". KD_ECONFIG: "run.yaml:12: optim.lrr: unknown key, did you mean lr?".
 * Relative paths are relative to the working directory. Free with kd_run_file_close. */
kd_status kd_run_file_open(kd_run_file *run, const char *path, const char *const *override, int64_t overrides);
void kd_run_file_close(kd_run_file *run);

/* The resolved run file: every key with its value in the schema's order, as YAML text; free() it. */
kd_status kd_run_file_print(char **text, const kd_run_file *run);

#endif

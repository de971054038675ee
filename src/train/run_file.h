/* The run file: strict YAML, one schema table. Every key of the documentation is accepted or refused with "not in this
 * build yet", never ignored; an unknown key names the nearest known one. */
#ifndef KD_RUN_FILE_H
#define KD_RUN_FILE_H

#include <string.h>

#include "data/dataset.h"
#include "format/yaml.h"
#include "model/model.h"

typedef enum kd_schedule { KD_CONSTANT, KD_LINEAR, KD_COSINE } kd_schedule;

typedef enum kd_yes_no { KD_ABSENT, KD_YES, KD_NO } kd_yes_no;

typedef struct kd_strings { char **text; int64_t count; } kd_strings;

typedef struct kd_shares { char **source; double *share; int64_t count; } kd_shares;

typedef struct kd_run_file {
    char *model_path;                    /* model.path, or NULL and */
    char *init_arch, *init_preset;       /* model.init */
    char *init_config;                   /* model.init.config: a config.json instead of a preset */
    int64_t init_seed;
    bool lift_sliding_window;            /* model.sliding_window: lift; otherwise as the checkpoint says */
    bool rope_theta_given;
    char *rope_scaling;                  /* NULL: as the checkpoint says; "none": removed; or a type */
    bool rope_numbers_given;             /* false: as the checkpoint says */
    kd_rope_config rope;                 /* theta and numbers of scaling; 0: absent */
    kd_yes_no rope_truncate;
    kd_precision precision;              /* exact; of bf16 activations f16-store */
    kd_frame frame;                      /* document */
    char *tokenizer;
    kd_strings train, valid;
    char *pack;                          /* folder of a pack that is read instead of the two, or NULL */
    kd_shares mixture;                   /* of tokens, relative; none: as the files are */
    int64_t data_tokens;                 /* in all; 0: as many as there are */
    int64_t upsample_below;              /* documents of fewer tokens are kept by chance; 0: all */
    double upsample_keep;
    bool upsample_every_source;          /* sources keep their shares */
    bool parse_specials, skip_bad_lines;
    int64_t store_shard;                 /* tokens of a file of the token store */
    int64_t batch_windows, micro;
    kd_window_options window;            /* everything about windows; seed is `seed` */
    double lr, beta1, beta2, eps, weight_decay, clip;
    kd_schedule schedule;
    int64_t warmup;
    bool decay_all;                      /* decay: all; otherwise matrices */
    int64_t steps, seed;
    kd_view_type weights, activations;   /* dtype */
    char *device;                        /* host, cuda or cuda:N */
    kd_recompute recompute;
    int64_t leaves;
    int64_t sequence_ranks, data_ranks;  /* parallel.sequence, parallel.data */
    kd_sequence_mode mode;               /* parallel.mode */
    int64_t zero;                        /* parallel.zero: what each rank has a shard of alone */
    int64_t deadline;                    /* seconds that a rank waits for another */
    char *offload_state, *offload_activations;  /* folders, KD_PLACE_HOST, or NULL */
    bool moments_coded;                  /* dtype.moments: i8 */
    int64_t save_every, save_keep;
    int64_t save_shard;                  /* bytes of a file of weights at most; 0: one file */
    int64_t export_every, export_last;   /* weights alone: every so many steps counted from the last, the last so many; 0: all */
    kd_dtype export_dtype;
    int64_t export_shard;                /* as save_shard */
    int64_t eval_every, eval_windows;
    bool check_mask;                     /* check.mask: at the start */
    int64_t threads;                     /* 0: one for each core; results do not depend on it */
    char *output;
    kd_yaml *tree;                       /* with the overrides applied */
} kd_run_file;

/* Reads and checks; overrides are "a.b=c". KD_ECONFIG: "run.yaml:12: optim.lrr: unknown key, did you mean lr?".
 * Relative paths are relative to the working directory. Free with kd_run_file_close. */
kd_status kd_run_file_open(kd_run_file *run, const char *path, const char *const *override, int64_t overrides);
/* The same from text; `name` stands in messages. */
kd_status kd_run_file_parse(kd_run_file *run, const char *text, int64_t size, const char *name,
                            const char *const *override, int64_t overrides);
void kd_run_file_close(kd_run_file *run);

static inline bool kd_run_on_host(const kd_run_file *run) { return !strcmp(run->device, "host"); }

/* What the run reads: its training or validation data (run_data.c), out of data.pack where it is given, unless it is to be
 * packed. The run and the tokenizer are borrowed. */
kd_dataset_options kd_run_data(const kd_run_file *run, bool valid, bool to_pack, const kd_tokenizer *tokenizer, kd_pool *pool);

/* RoPE and sliding window as the run file asks, over the checkpoint's (run_model.c). KD_ECONFIG where a resumed run's RoPE is
 * not the one it goes on with, and where a sliding window is shorter than the run's window and not lifted. */
kd_status kd_run_configure(kd_config *config, const kd_run_file *run, bool resumed);

/* The resolved run file: every key with its value in the schema's order, as YAML text; free() it. */
kd_status kd_run_file_print(char **text, const kd_run_file *run);

#endif

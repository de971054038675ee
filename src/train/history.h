/* What metrics.jsonl says, as arrays: for reports and comparisons. Steps that were lost before a resume and done again count
 * once, as they were done last; lines that are cut short or no JSON are left out and counted. Rows of older versions lack
 * some columns: their values are NAN. */
#ifndef KD_HISTORY_H
#define KD_HISTORY_H

#include "format/json.h"
#include "format/text.h"
#include "format/yaml.h"

/* X(column, key of a step's row); NULL: derived */
#define KD_HISTORY_COLUMNS(X)                                                                                          \
    X(STEP, "step")                                                                                                    \
    X(LOSS, "loss")                                                                                                    \
    X(TARGETS, "targets")                                                                                              \
    X(GRAD_NORM, "grad_norm")                                                                                          \
    X(LR, "lr")                                                                                                        \
    X(PAIRS, "pairs")                                                                                                  \
    X(SKIPPED, "skipped")                                                                                              \
    X(SECONDS, "seconds")                                                                                              \
    X(RATE, "tokens_per_second")                                                                                       \
    X(FLOPS, "flops")                                                                                                  \
    X(PEAK, "peak_flops")                                                                                              \
    X(SHARE, "share_of_peak") /* of the best peak of the run, where operations and peak are there */                   \
    X(MEMORY, "memory")                                                                                                \
    X(TIME, "time")                                                                                                    \
    X(TOKENS, NULL)  /* seen up to and with this step */                                                               \
    X(ELAPSED, NULL) /* seconds of all steps up to and with this one */

typedef enum kd_column {
#define X(column, key) KD_H_##column,
    KD_HISTORY_COLUMNS(X)
#undef X
    KD_H_COLUMNS
} kd_column;

enum { KD_HISTORY_BUCKETS = 32 };

typedef struct kd_validation {
    double step, loss, targets, tokens, elapsed;  /* tokens, elapsed: of the training before it */
    int64_t buckets;
    double from[KD_HISTORY_BUCKETS], by_position[KD_HISTORY_BUCKETS];
} kd_validation;

typedef struct kd_start {
    json_t *row;           /* with event start or resume */
    int64_t lost;          /* steps that stand before it and were lost */
} kd_start;

typedef struct kd_history {
    char *folder, *name;   /* the run's folder, and its last part */
    int64_t steps;
    double *column[KD_H_COLUMNS];  /* [steps] */
    kd_validation *valid;  /* [valids] ascending steps */
    int64_t valids;
    kd_start *start;       /* [starts] as they stand */
    int64_t starts;
    int64_t left_out;      /* lines */
    kd_yaml *run;          /* run.yaml, or NULL */
    char *run_text;
} kd_history;

/* Reads folder/metrics.jsonl and folder/run.yaml; the run may be going on. KD_EIO naming the file if there are no metrics;
 * a missing run.yaml is none. Free with kd_history_close. */
kd_status kd_history_open(kd_history *history, const char *folder);
void kd_history_close(kd_history *history);

/* Where a bucket of lengths from .. 2 from - 1 stands on an axis: in its middle; that of 0 holds lengths below 256. */
double kd_bucket_middle(double from);

/* The value of a dotted key of the run file as text ("[0.9, 0.95]" for lists), into out; "" if absent. Returns out. */
const char *kd_history_key(char *out, int64_t size, const kd_history *history, const char *key);
/* A number of the latest start that has it, under `within` if that is not NULL; NAN: none. Text: NULL. */
double kd_history_number(const kd_history *history, const char *within, const char *key);
const char *kd_history_text(const kd_history *history, const char *key);

/* A run in a few numbers; NAN where the metrics do not say. */
typedef struct kd_summary {
    double steps, tokens, seconds;
    double loss;                        /* of training, mean of the last twentieth of the steps */
    double valid_before, valid_after;   /* first and last validation; one alone is `before` at step 0, else `after` */
    double tokens_per_second, share_of_peak;  /* over all steps */
    double peak;                              /* FLOP/s, the best that was measured */
    double pairs;                       /* of a step, mean */
    double memory;                      /* bytes, the most */
    double not_taken;                   /* steps */
} kd_summary;
kd_summary kd_history_summary(const kd_history *history);

#endif

/* LongBench, version 1: its data sets, what is asked of them, and how answers are scored. Source: Bai et al. 2023; THUDM/LongBench, folder
 * LongBench: pred.py, eval.py, metrics.py. */
#ifndef KD_LONGBENCH_H
#define KD_LONGBENCH_H

#include "format/tokenizer.h"
#include "json_lines.h"

typedef enum kd_longbench_group {
    KD_LB_SINGLE_DOC, KD_LB_MULTI_DOC, KD_LB_SUMMARIZATION, KD_LB_FEW_SHOT, KD_LB_SYNTHETIC, KD_LB_CODE, KD_LB_GROUPS
} kd_longbench_group;
/* key: in files; name: for people. */
extern const struct kd_longbench_group_name { const char *key, *name; } kd_longbench_groups[KD_LB_GROUPS];

typedef enum kd_longbench_metric {
    KD_LB_F1, KD_LB_ROUGE_L, KD_LB_CLASSIFICATION, KD_LB_COUNT, KD_LB_RETRIEVAL, KD_LB_RETRIEVAL_ZH, KD_LB_CODE_SIM, KD_LB_JIEBA
} kd_longbench_metric;

typedef struct kd_longbench_task {
    const char *name;
    kd_longbench_group group;
    kd_longbench_metric metric;   /* KD_LB_JIEBA: words of Chinese are told apart by a dictionary that is not here: not supported */
    int64_t tokens;               /* generated at most */
    bool chinese;                 /* counts in no group */
    bool first_line;              /* of the answer the first line is scored */
    bool e;                       /* LongBench-E has it too */
    const char *prompt;           /* in our own words, as the authors' dataset2prompt.json has theirs */
} kd_longbench_task;

enum { KD_LB_TASKS = 21 };
extern const kd_longbench_task kd_longbench_tasks[KD_LB_TASKS];
extern const char *const kd_longbench_metrics[];   /* by kd_longbench_metric, for people */
/* KD_ECONFIG naming the nearest; KD_ENOTSUP for a set whose metric is not. */
kd_status kd_longbench_find(const kd_longbench_task **task, const char *name);

/* ---- questions ------------------------------------------------------------------------------------------------------------ */

typedef struct kd_longbench_row { json_t *record; const char *input, *context; } kd_longbench_row;

typedef struct kd_longbench_set { kd_longbench_row *row; int64_t count, room; uint64_t hash; } kd_longbench_set;

/* JSON lines of {"input", "context", "answers": [...], "length", "all_classes": [...] or null}; limit: the first rows alone, 0: all. */
kd_status kd_longbench_open(kd_longbench_set *set, const char *path, int64_t limit);
void kd_longbench_close(kd_longbench_set *set);

/* Prompts and numbers of tokens by data set: ours, or those of dataset2prompt.json and dataset2maxlen.json in folder, folder/config or
 * folder/LongBench/config. */
typedef struct kd_longbench_prompts { json_t *prompt, *tokens; uint64_t hash; } kd_longbench_prompts;
kd_status kd_longbench_prompts_open(kd_longbench_prompts *prompts, const char *folder);
void kd_longbench_prompts_close(kd_longbench_prompts *prompts);
/* KD_ECONFIG where folder's files do not have the set. */
kd_status kd_longbench_prompt_of(const char **prompt, int64_t *tokens, const kd_longbench_prompts *prompts, const kd_longbench_task *task);

/* Python's str.format of a prompt with {context} and {input}; {{ and }} are braces. KD_EFORMAT for other names. Appended. */
kd_status kd_longbench_format(kd_text *text, const char *prompt, const char *context, const char *input);

/* Of n tokens, where more than `most`, the first and last most / 2 are kept: [0, *left) and [*right, n). As in Python's slices, half of
 * 1 keeps none and all. */
void kd_longbench_cut(int64_t *left, int64_t *right, int64_t n, int64_t most);

/* ---- scores --------------------------------------------------------------------------------------------------------------- */

typedef struct kd_prediction { const char *pred; const json_t *answers, *classes; int64_t length; } kd_prediction;  /* all borrowed */

enum { KD_LB_BUCKETS = 3 };  /* of LongBench-E: below 4000 words, below 8000, the rest */
extern const char *const kd_longbench_buckets[KD_LB_BUCKETS];

/* 0 .. 100; NAN: none */
typedef struct kd_longbench_score { double score, bucket[KD_LB_BUCKETS]; int64_t count, counts[KD_LB_BUCKETS]; } kd_longbench_score;

/* A sample's score is that of the best of its answers; a set's the mean, times 100, to two decimals. Classes are those of the last row. */
kd_status kd_longbench_score_of(kd_longbench_score *score, const kd_longbench_task *task, const kd_prediction *prediction, int64_t count);

/* score [KD_LB_TASKS], in the order of kd_longbench_tasks, NAN: not asked. A group is the mean of its English sets and NAN where one is
 * missing; average the mean of six groups. */
void kd_longbench_average(double group[KD_LB_GROUPS], double *average, const double *score);

/* A file of predictions, pred/MODEL/SET.jsonl: {"pred", "answers", "all_classes", "length"} a line. */
typedef struct kd_predictions { kd_prediction *prediction; int64_t count, room; json_t *rows; uint64_t hash; } kd_predictions;
kd_status kd_predictions_open(kd_predictions *p, const char *path);
void kd_predictions_close(kd_predictions *p);
/* Appends a line. */
kd_status kd_prediction_print(kd_text *text, const kd_prediction *prediction);

#endif

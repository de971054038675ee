/* Evaluations: a file each, with its own table of options. */
#ifndef KD_EVAL_H
#define KD_EVAL_H

#include "eval/results.h"
#include "subject_options.h"

/* What every evaluation of a model takes. */
typedef struct kd_eval_words {
    kd_subject_words subject;
    const char *out;
    int64_t limit;
    bool json;
} kd_eval_words;

#define KD_EVAL_DEFAULTS {.subject = KD_SUBJECT_DEFAULTS}
#define KD_EVAL_OPTIONS(words)                                                                                                            \
    {"--out", KD_TEXT, &(words).out, "DIR", "keeps answers and results there, and goes on with what is there; unless given results "      \
                                            "are printed alone"},                                                                         \
    {"--json", KD_FLAG, &(words).json, NULL, "one JSON object on stdout, instead of tables"},                                             \
    KD_SUBJECT_OPTIONS((words).subject)

/* {"task", "subject": {...}} and the members of `own`, which is taken over in any case; subject NULL: there is none. */
kd_status kd_eval_settings(json_t **out, const char *task, const kd_subject *subject, json_t *own);
/* A hash as settings state it: the 16 digits of JSON. NULL when memory is out. */
json_t *kd_json_of_hash(uint64_t hash);
/* The last part of a path: settings name data by it and by their hash, so that a folder may move. */
const char *kd_name_of_path(const char *path);

/* The end of every evaluation: writes the files of its folder, if there is one, and tells the scores on stdout: the tables, or with
 * json what result.json has. */
kd_status kd_eval_tell(kd_results *results, const kd_outcome *outcome, bool json);

int kd_eval_ruler(int argc, char **argv);
int kd_eval_longbench(int argc, char **argv);
int kd_eval_hellaswag(int argc, char **argv);
int kd_eval_mmlu(int argc, char **argv);
int kd_eval_ppl(int argc, char **argv);
int kd_eval_retention(int argc, char **argv);

#endif

/* MMLU's files and what is asked of them. Source: Hendrycks et al. 2021; lm-evaluation-harness, tasks/mmlu/default. */
#ifndef KD_MMLU_H
#define KD_MMLU_H

#include "multiple_choice.h"

typedef enum kd_mmlu_group { KD_MMLU_STEM, KD_MMLU_OTHER, KD_MMLU_SOCIAL, KD_MMLU_HUMANITIES, KD_MMLU_GROUPS } kd_mmlu_group;
extern const char *const kd_mmlu_group_names[KD_MMLU_GROUPS];

enum { KD_MMLU_SUBJECTS = 57 };
typedef struct kd_mmlu_subject { const char *name; kd_mmlu_group group; } kd_mmlu_subject;
extern const kd_mmlu_subject kd_mmlu_subjects[KD_MMLU_SUBJECTS];
int64_t kd_mmlu_find(const char *subject);   /* -1: there is none of that name */

typedef struct kd_mmlu_row { char *text[1 + KD_CHOICES]; int64_t subject, answer; } kd_mmlu_row;  /* question, choices */

/* Questions in the order of subjects, then of the file. */
typedef struct kd_mmlu {
    kd_mmlu_row *row;
    int64_t count, room;
    int64_t first[KD_MMLU_SUBJECTS + 1];
    uint64_t hash;             /* of the files */
} kd_mmlu;

/* path: a folder with SUBJECT_<split>.csv in it or in its folder <split> (question, four choices, letter; no header), or a file of JSON
 * lines {"question", "subject", "choices": [4], "answer": 0 .. 3 or a letter}. only [wanted] are read, all with 0: of a folder all 57
 * must be there then. KD_EFORMAT "path:line: what". */
kd_status kd_mmlu_open(kd_mmlu *set, const char *path, const char *split, const int64_t *only, int64_t wanted);
void kd_mmlu_close(kd_mmlu *set);

/* What leads the questions of each subject. path NULL: a sentence of our own; a folder of lm-evaluation-harness (tasks/mmlu/default) with
 * a YAML file for each, whose key description it is; or a YAML or JSON file of subjects and texts. */
typedef struct kd_mmlu_descriptions { char *text[KD_MMLU_SUBJECTS]; uint64_t hash; } kd_mmlu_descriptions;
kd_status kd_mmlu_descriptions_open(kd_mmlu_descriptions *d, const char *path, const kd_mmlu *set);
void kd_mmlu_descriptions_close(kd_mmlu_descriptions *d);

/* The first `limit` questions of each subject (0: all), led by its description and its first `shots` questions of dev, solved. KD_ECONFIG
 * naming the subject where dev has fewer. Appended; an item's group is its subject. */
kd_status kd_mmlu_ask(kd_choice_items *items, const kd_mmlu *set, const kd_mmlu *dev, const kd_mmlu_descriptions *d, int64_t shots,
                      int64_t limit);

/* Accuracy by subject, group and in all. macro: the mean over subjects. */
typedef struct kd_mmlu_scores {
    kd_mean subject[KD_MMLU_SUBJECTS], group[KD_MMLU_GROUPS], all;
    double macro;
    int64_t subjects;
} kd_mmlu_scores;
kd_mmlu_scores kd_mmlu_score(const kd_choice_items *items, const double *right);

#endif

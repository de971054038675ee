/* RULER's thirteen tasks (Hsieh et al. 2024, arXiv 2404.06654) and their numbers, as scripts/synthetic.yaml of its repository has them. */
#ifndef KD_RULER_TASKS_H
#define KD_RULER_TASKS_H

#include "base/error.h"

/* What a task is made by. */
typedef enum kd_ruler_kind {
    KD_RULER_NIAH,    /* values of keys, hidden in a haystack */
    KD_RULER_CHAINS,  /* variables that follow each other, hidden in noise */
    KD_RULER_COMMON,  /* a numbered list, of which ten words stand in it most often */
    KD_RULER_CODED,   /* a text of code words whose counts fall as a power of their rank */
    KD_RULER_QA,      /* a question to some of many documents */
    KD_RULER_KINDS,
} kd_ruler_kind;

typedef enum kd_ruler_haystack { KD_RULER_NOISE, KD_RULER_ESSAYS, KD_RULER_NEEDLES } kd_ruler_haystack;
typedef enum kd_ruler_type { KD_RULER_WORDS, KD_RULER_NUMBERS, KD_RULER_UUIDS } kd_ruler_type;

enum { KD_RULER_TASKS = 13, KD_RULER_NEEDLES_MOST = 4 };

typedef struct kd_ruler_task {
    const char *name;
    kd_ruler_kind kind;
    int64_t generate;          /* tokens */
    bool any;                  /* one of the references is enough */
    kd_ruler_haystack haystack;
    kd_ruler_type key, value;
    int64_t keys, values, queries;  /* keys: those that are asked for included */
    bool second;               /* of the questions: HotpotQA, not SQuAD */
} kd_ruler_task;

/* In the order of RULER's tables. */
extern const kd_ruler_task kd_ruler_tasks[KD_RULER_TASKS];

/* Which are meant by "all", or by names with commas between them: ascending places in the table, each once. KD_ECONFIG naming the
 * nearest. */
kd_status kd_ruler_tasks_named(int64_t place[KD_RULER_TASKS], int64_t *count, const char *names);
/* The place of a name, -1: there is none. */
int64_t kd_ruler_task_place(const char *name, int64_t size);

#endif

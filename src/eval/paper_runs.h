/* Results gathered by the run whose checkpoints they are of. */
#ifndef KD_PAPER_RUNS_H
#define KD_PAPER_RUNS_H

#include "longbench.h"
#include "paper_tables.h"

enum { KD_PAPER_LENGTHS = 6 };
extern const int64_t kd_paper_lengths[KD_PAPER_LENGTHS];   /* 128K .. 4K */

/* A sum over checkpoints. */
typedef struct kd_paper_mean { double sum; int64_t count; } kd_paper_mean;

typedef struct kd_paper_run {
    char *folder;                  /* of the run, or of a model that no run here made */
    char *name;
    kd_paper_method method;        /* KD_PAPER_METHODS: none of the paper's */
    char words[64];                /* how it was trained, for people */
    int64_t window;                /* 0: not known */
    bool has_shape;
    kd_paper_shape shape;          /* of config.json */
    kd_paper_mean ruler[KD_PAPER_LENGTHS], hellaswag, mmlu, group[KD_LB_GROUPS], average;
    int64_t checkpoints;           /* the most that one of these is of */
    json_t *seen;                  /* "task model" of every result */
} kd_paper_run;

typedef struct kd_paper_runs { kd_paper_run *run; int64_t count, room; json_t *first; /* settings by task */ } kd_paper_runs;

/* Adds a result.json. tasks: of RULER, 11 or 13. notes: a line where its settings differ from those of the first of its task, or tasks are
 * missing. */
kd_status kd_paper_runs_add(kd_paper_runs *runs, kd_text *notes, const char *path, int64_t tasks);
void kd_paper_runs_free(kd_paper_runs *runs);
double kd_paper_mean_of(kd_paper_mean mean);   /* NAN: none */

#endif

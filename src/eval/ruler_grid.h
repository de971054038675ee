/* RULER's tasks at some lengths, out of files or made: what is asked, what came back, and what it is worth. */
#ifndef KD_RULER_GRID_H
#define KD_RULER_GRID_H

#include "averages.h"
#include "results.h"
#include "ruler_files.h"
#include "subject.h"

enum { KD_RULER_LENGTHS = 32 };

/* A task at a length. */
typedef struct kd_ruler_cell {
    const kd_ruler_task *task;
    int64_t length, samples, generate;
    int64_t first;             /* questions before it */
    char *path;                /* of its file; NULL: its samples are made */
    uint64_t hash;             /* of the file */
    kd_ruler_maker maker;
} kd_ruler_cell;

/* Length by length, task by task. */
typedef struct kd_ruler_grid {
    int64_t length[KD_RULER_LENGTHS], lengths, place[KD_RULER_TASKS], tasks;
    kd_ruler_cell *cell;       /* [lengths * tasks] */
    int64_t questions;
    const kd_ruler_source *source;  /* NULL: samples are read */
    kd_ruler_draft *draft;
    kd_json_lines lines;       /* of the cell whose file is being read, */
    int64_t open, next;        /* that cell, -1: none, and the line that comes next */
} kd_ruler_grid;

/* Samples are made: so many of each task; kd_ruler_maker's errors. The source is borrowed. */
kd_status kd_ruler_grid_make(kd_ruler_grid *grid, const kd_ruler_source *source, const int64_t *length, int64_t lengths,
                             const int64_t *place, int64_t tasks, int64_t samples);
/* Samples of a folder's files are read (kd_ruler_file_find), the first so many (0: all). some: a task that has no file at any length is
 * left out, with a warning. KD_ECONFIG for one that is missing. All files are checked now. */
kd_status kd_ruler_grid_read(kd_ruler_grid *grid, const char *folder, const int64_t *length, int64_t lengths, const int64_t *place,
                             int64_t tasks, int64_t samples, bool some);
void kd_ruler_grid_close(kd_ruler_grid *grid);

/* Sample `line` of a cell; fastest in order. */
kd_status kd_ruler_grid_sample(kd_ruler_sample *sample, kd_ruler_grid *grid, int64_t cell, int64_t line, bool positions);

/* Asks what results do not hold: {"pred", "outputs"} by "LENGTH/TASK/LINE". */
kd_status kd_ruler_grid_ask(kd_ruler_grid *grid, kd_results *results, kd_subject *subject);
/* Writes each cell's samples as DIR/LENGTH/data/TASK/validation.jsonl. */
kd_status kd_ruler_grid_write(kd_ruler_grid *grid, const char *folder);
/* Writes answers as DIR/LENGTH/pred/TASK.jsonl, and the summary beside them, as RULER's evaluate.py wants and writes them. */
kd_status kd_ruler_grid_predict(kd_ruler_grid *grid, const kd_results *results, const char *folder);

/* Of each cell, in percent: RULER's score, to two decimals; its standard error; empty answers. */
typedef struct kd_ruler_scored { double score, error; int64_t nulls; } kd_ruler_scored;
/* Of each length: the mean of its tasks, its standard error; then averages over lengths. */
typedef struct kd_ruler_scores {
    kd_ruler_scored *cell;     /* as the grid's */
    double mean[KD_RULER_LENGTHS], error[KD_RULER_LENGTHS];
    kd_ruler_average average;
} kd_ruler_scores;
kd_status kd_ruler_scores_open(kd_ruler_scores *scores, const kd_ruler_grid *grid, const kd_results *results);
/* The means over count > 0 others; errors: those of the means over them. */
kd_status kd_ruler_scores_mean(kd_ruler_scores *out, const kd_ruler_grid *grid, const kd_ruler_scores *scores, int64_t count);
void kd_ruler_scores_close(kd_ruler_scores *scores);

#endif

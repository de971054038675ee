/* What kedge eval ruler shows: tables by task and length, charts, some answers. */
#ifndef KD_RULER_TELL_H
#define KD_RULER_TELL_H

#include "eval.h"
#include "eval/ruler_grid.h"
#include "run_steps.h"

enum { KD_RULER_TABLES = 5, KD_RULER_CURVES = 5 };

typedef struct kd_ruler_tables {
    char length_name[KD_RULER_LENGTHS][24];
    kd_table_column column[KD_RULER_LENGTHS + 1], count_column[KD_RULER_LENGTHS + 1], step_column[KD_RULER_LENGTHS + 3];
    kd_table table[KD_RULER_TABLES];
    const kd_table *shown[KD_RULER_TABLES];
    int64_t count;
    double x[KD_RULER_LENGTHS], y[KD_RULER_CURVES][KD_RULER_LENGTHS];
    kd_series series[KD_RULER_CURVES];
    kd_chart chart;
    json_t *scores;
} kd_ruler_tables;

/* Scores, standard errors, averages; empty answers where there are any; a chart by length where there are several. The table of steps is
 * added by kd_ruler_tables_steps. Free with kd_ruler_tables_close, also after a failure. */
kd_status kd_ruler_tables_open(kd_ruler_tables *tables, const kd_ruler_grid *grid, const kd_ruler_scores *scores);
/* scores [count] of the steps. */
kd_status kd_ruler_tables_steps(kd_ruler_tables *tables, const kd_ruler_grid *grid, const kd_run_step *step, const kd_ruler_scores *scores,
                                int64_t count);
void kd_ruler_tables_close(kd_ruler_tables *tables);

/* The first answer to each task, at the first length; texts are its own. */
typedef struct kd_ruler_examples {
    kd_example example[KD_RULER_TASKS];
    char *text[3 * KD_RULER_TASKS];
    int64_t count, texts;
} kd_ruler_examples;
kd_status kd_ruler_examples_open(kd_ruler_examples *examples, kd_ruler_grid *grid, const kd_results *results);
void kd_ruler_examples_close(kd_ruler_examples *examples);

#endif

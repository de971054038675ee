/* The results of an evaluation: a folder that one which was stopped goes on with. Nothing answered is asked again.
 *
 *   settings.json   of what it is: written first; an evaluation with other settings does not go on here
 *   answers.jsonl   {"key": ..., ...}, a line as soon as there is an answer; a last line that was cut short is asked again
 *   result.json     settings, scores, tables, time: written with the files below when all is answered
 *   result.csv      the first table, and NAME.csv each further one
 *   report.html     one page: scores, tables, charts, settings, some answers */
#ifndef KD_RESULTS_H
#define KD_RESULTS_H

#include "format/chart.h"
#include "result_table.h"

#define KD_RESULT_FILE "result.json"

typedef struct kd_results kd_results;

/* folder NULL: nothing is written and nothing is found. settings: an object, borrowed; what must be the same to go on. KD_ECONFIG
 * naming the first key that is not, KD_EBUSY while another process writes there, KD_EFORMAT "path:line: what". */
kd_status kd_results_open(kd_results **out, const char *folder, const json_t *settings);
void kd_results_close(kd_results *results);   /* NULL is allowed */

/* An earlier answer, or one of this evaluation: an object; NULL: there is none. */
const json_t *kd_results_find(const kd_results *results, const char *key);
/* How many there were before this evaluation. */
int64_t kd_results_found(const kd_results *results);
/* Keeps an answer, an object without "key", which is taken over in any case (NULL is KD_ENOMEM). KD_EARG for a key that has one. */
kd_status kd_results_add(kd_results *results, const char *key, json_t *answer);

/* A string of a text that may be no UTF-8: what is not valid becomes U+FFFD. NULL when memory is out. */
json_t *kd_json_of_text(const char *text, int64_t size);

/* What was asked and answered, for people; wanted, scored: NULL where there is none. */
typedef struct kd_example { const char *asked, *answered, *wanted, *scored; } kd_example;

/* What an evaluation ends with; all borrowed. */
typedef struct kd_outcome {
    const char *task;            /* "hellaswag" */
    const char *title, *about;   /* of the page */
    const json_t *scores;        /* {"acc": 0.71, ...} what others look up; null where there is none */
    const kd_table *const *table;
    int64_t tables;
    const kd_chart *chart;
    int64_t charts;
    const kd_example *example;
    int64_t examples;
    double seconds;              /* of this evaluation */
} kd_outcome;

/* {"kedge", "task", "settings", "scores", "tables": {NAME: [...]}, "time": {...}}; what depends on how often it was stopped is in time. */
kd_status kd_results_json(json_t **out, const kd_results *results, const kd_outcome *outcome);
/* The tables as they stand on a terminal. Appended. */
kd_status kd_results_text(kd_text *text, const kd_results *results, const kd_outcome *outcome);
/* Writes the files, each whole or as it was; without a folder nothing. */
kd_status kd_results_finish(kd_results *results, const kd_outcome *outcome);

/* A result.json that was written: folder, or the file itself. KD_EFORMAT for another file. json_decref it. */
kd_status kd_results_load(json_t **out, const char *path);

#endif

/* RULER's files: samples as its generators write them, predictions and summaries as its evaluate.py reads and writes them. */
#ifndef KD_RULER_FILES_H
#define KD_RULER_FILES_H

#include "json_lines.h"
#include "ruler_make.h"

/* Where a task's samples of a length lie in a folder, the first that is there:
 *   LENGTH/data/TASK/validation.jsonl   as RULER's run.sh lays them out, and kedge
 *   LENGTH/TASK/validation.jsonl        LENGTH/TASK.jsonl
 *   data/TASK/validation.jsonl, TASK/validation.jsonl, TASK.jsonl       where only: the folder is of one length
 * *path on the heap, NULL: nowhere. */
kd_status kd_ruler_file_find(char **path, const char *folder, int64_t length, const char *task, bool only);
/* The lengths that a folder has by name, ascending. KD_EFORMAT for more than `most`. */
kd_status kd_ruler_file_lengths(int64_t *length, int64_t *count, int64_t most, const char *folder);

/* The next sample; *more false at the end. Of 2024 and of later: answer_prefix and length may be missing. KD_EFORMAT naming file, line,
 * key. */
kd_status kd_ruler_sample_next(kd_ruler_sample *sample, bool *more, kd_json_lines *lines);
/* How many there are: all of them are read. */
kd_status kd_ruler_file_count(int64_t *count, uint64_t *hash, const char *path);

/* A line of data: index, input, outputs, length, length_w_model_temp, answer_prefix, and where it is counted token_position_answer.
 * index is the line's number. */
kd_status kd_ruler_sample_json(json_t **out, const kd_ruler_sample *sample);
/* A line of predictions: index, pred, input (the whole prompt), outputs, others, truncation, length. */
kd_status kd_ruler_prediction_json(json_t **out, const kd_ruler_sample *sample, const char *pred);

/* A file of such lines, under its name when it is whole: opened, put line by line, closed. */
typedef struct kd_ruler_writer_file { kd_writer writer; char *path, *aside; } kd_ruler_writer_file;
kd_status kd_ruler_writer_open(kd_ruler_writer_file *file, const char *path);  /* makes its folders */
kd_status kd_ruler_writer_put(kd_ruler_writer_file *file, json_t *line);       /* which is taken over */
kd_status kd_ruler_writer_close(kd_ruler_writer_file *file, bool keep);        /* keep: it gets its name */

/* What a sample's answer is worth by RULER's rule, 0 to 1, and whether there is none. */
kd_status kd_ruler_score(double *score, bool *null, const kd_ruler_task *task, const char *pred, const json_t *outputs);

/* summary.csv in a folder of predictions, or summary-TASK.csv for one task: scores to two decimals, as Python prints them. */
typedef struct kd_ruler_line { const char *task; double score; int64_t nulls, samples; } kd_ruler_line;
kd_status kd_ruler_summary_write(const char *folder, const kd_ruler_line *line, int64_t count);

#endif

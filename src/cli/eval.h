/* Evaluations: a file each, with its own table of options. */
#ifndef KD_EVAL_H
#define KD_EVAL_H

#include "cli.h"
#include "eval/results.h"

/* The end of every evaluation: writes the files of its folder, if there is one, and tells the scores on stdout: the tables, or with
 * json what result.json has. */
kd_status kd_eval_tell(kd_results *results, const kd_outcome *outcome, bool json);

int kd_eval_longbench(int argc, char **argv);
int kd_eval_hellaswag(int argc, char **argv);
int kd_eval_mmlu(int argc, char **argv);
int kd_eval_ppl(int argc, char **argv);

#endif

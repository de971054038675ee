/* Scores of one answer, as the programs whose numbers are published compute them, digit for digit: LongBench's metrics.py, with
 * rouge 1.0.1 and fuzzywuzzy 0.18 on difflib, and RULER's evaluate.py. Texts are UTF-8 and end with NUL. KD_ENOMEM. */
#ifndef KD_SCORES_H
#define KD_SCORES_H

#include "base/error.h"

/* ---- LongBench: 0 to 1 ---------------------------------------------------------------------------------------------- */

/* Words that answer and truth share, after normalisation (SQuAD's): lower case, no punctuation, no articles. */
kd_status kd_score_f1(double *score, const char *answer, const char *truth);
/* ROUGE-L over sets of words (score_rouge.c). */
kd_status kd_score_rouge_l(double *score, const char *answer, const char *truth);
/* One of the classes is the truth: 1 over how many of them the answer names. */
kd_status kd_score_classification(double *score, const char *answer, const char *truth, const char *const *classes, int64_t count);
/* The share of the answer's numbers that are the truth's; of retrieval the truth is "Paragraph N". */
kd_status kd_score_count(double *score, const char *answer, const char *truth);
kd_status kd_score_retrieval(double *score, const char *answer, const char *truth);
/* How alike the answer's first line of code and the truth are, in whole hundredths (score_edit.c). */
kd_status kd_score_code(double *score, const char *answer, const char *truth);

/* difflib.SequenceMatcher(None, a, b).ratio() with autojunk. matches: characters in common, unless NULL. */
kd_status kd_difflib_ratio(double *ratio, int64_t *matches, const char *a, const char *b);

/* ---- RULER ---------------------------------------------------------------------------------------------------------- */

/* What is scored of an answer: control characters are line breaks, both ends stripped. On the heap. */
kd_status kd_ruler_answer(char **out, const char *answer);
/* How many of the references the answer has in it, in any case: of all of them, 0 to 1; any: 1 if it has one. */
kd_status kd_score_ruler(double *score, const char *answer, const char *const *reference, int64_t count, bool any);

#endif

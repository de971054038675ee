/* LongBench's questions put to a model. */
#ifndef KD_LONGBENCH_ASK_H
#define KD_LONGBENCH_ASK_H

#include "longbench.h"
#include "results.h"
#include "subject.h"

typedef struct kd_longbench_asking {
    const kd_longbench_task *task;
    const kd_longbench_set *set;
    const char *prompt;
    int64_t tokens;       /* generated at most */
    int64_t most;         /* tokens of a prompt, what leads it included: of a longer one the middle goes */
} kd_longbench_asking;

/* The authors' limit of a prompt for a model of so many tokens: 3500 of 4K, 7500 of 8K, 31500 of 32K; with room for the answer. */
int64_t kd_longbench_most(int64_t length, int64_t tokens);

/* Asks what has no answer yet: {"key": "qasper/0", "pred": text, "cut": tokens that went out of the middle; absent: none}. */
kd_status kd_longbench_ask(kd_results *results, kd_subject *subject, const kd_longbench_asking *asking);
/* The answers, in the order of the set, which must outlive them. */
kd_status kd_longbench_answers(kd_predictions *out, const kd_results *results, const kd_longbench_asking *asking);

#endif

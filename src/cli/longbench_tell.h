/* What kedge eval longbench says and writes. */
#ifndef KD_LONGBENCH_TELL_H
#define KD_LONGBENCH_TELL_H

#include "eval.h"
#include "eval/longbench.h"

enum { KD_LB_EXAMPLES = 6 };

/* Scores that gather, set by set. */
typedef struct kd_longbench_told {
    bool e;
    bool has[KD_LB_TASKS];
    kd_longbench_score score[KD_LB_TASKS];
    kd_example example[KD_LB_EXAMPLES];
    char *text[KD_LB_EXAMPLES][3];
    int64_t examples;
    json_t *written;             /* of result.json beside the predictions */
} kd_longbench_told;

void kd_longbench_told_free(kd_longbench_told *told);

/* Scores a set. KD_ECONFIG if it was before. */
kd_status kd_longbench_tell_set(kd_longbench_told *told, const kd_longbench_task *task, const kd_prediction *prediction, int64_t count);
/* Writes its predictions to out/pred/MODEL/SET.jsonl (pred_e for LongBench-E), and beside them result.json with all scores so far. */
kd_status kd_longbench_write(kd_longbench_told *told, const char *out, const char *model, const kd_longbench_task *task,
                             const kd_prediction *prediction,
                             int64_t count);
kd_status kd_longbench_tell(const kd_longbench_told *told, kd_results *results, double seconds, bool json);

#endif

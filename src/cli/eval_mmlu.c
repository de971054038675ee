#include "eval.h"

int kd_eval_mmlu(int argc, char **argv) {
    (void)argc, (void)argv;
    return kd_exit_code(kd_fail(KD_ENOTSUP, "eval mmlu: not in this build yet"));
}

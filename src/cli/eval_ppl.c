#include "eval.h"

int kd_eval_ppl(int argc, char **argv) {
    (void)argc, (void)argv;
    return kd_exit_code(kd_fail(KD_ENOTSUP, "eval ppl: not in this build yet"));
}

#include "eval.h"

int kd_eval_longbench(int argc, char **argv) {
    (void)argc, (void)argv;
    return kd_exit_code(kd_fail(KD_ENOTSUP, "eval longbench: not in this build yet"));
}

/* kedge check: one table of checks. */
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "subcommands.h"

static const kd_subcommand checks[] = {
    {"mask", "whether documents of a run's, or a pack's, windows see each other: tokens are touched, and what moves is counted",
     kd_check_mask},
    {"rope", "whether rotary positions are precise: a model's, or those another stack wrote", kd_check_rope},
    {"model", "whether a model's folder is whole: tensors, tokenizer, RoPE, NaN", kd_check_model},
};

kd_status kd_check_print_json(json_t *whole) {
    char *text;
    if (!whole) return kd_fail(KD_ENOMEM, "out of memory");
    kd_status status = kd_json_print(&text, whole, JSON_INDENT(2), "check");
    json_decref(whole);
    KD_TRY(status);
    printf("%s\n", text);
    free(text);
    return KD_OK;
}

int kd_cmd_check(int argc, char **argv) {
    const kd_subcommands commands = {"check", "WHAT [options]",
                                     "Looks for one fault and says what it found: exit code 0 where all holds, 1 where something does "
                                     "not, 2 where it was asked wrongly; with --json as one object. Made for jobs that must stop at the "
                                     "first wrong thing.",
                                     checks, sizeof checks / sizeof *checks};
    return kd_subcommand_run(&commands, argc, argv);
}

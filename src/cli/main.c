/* kedge: the command. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "format/yaml.h"

static const struct { const char *name, *about; int (*run)(int argc, char **argv); } commands[] = {
    {"init", "a fresh model as a Hugging Face folder", kd_cmd_init},
    {"train", "the main job: train a checkpoint on packed documents", kd_cmd_train},
    {"info", "what a model or a checkpoint contains", kd_cmd_info},
    {"bench", "speed beside the machine's own limit", kd_cmd_bench},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_usage(FILE *out) {
    fprintf(out, "usage: kedge COMMAND ...\n\n"
                 "Trains long-context language models without letting low precision break their positions.\n\n");
    for (int i = 0; i < COMMANDS; i++) fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].about);
    fprintf(out, "\n  kedge COMMAND --help   options and examples\n  kedge --version\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return KD_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return KD_EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("kedge %s\n", KD_VERSION);
        return KD_EXIT_OK;
    }
    const char *name[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        name[i] = commands[i].name;
        if (!strcmp(argv[1], name[i])) {
            int code = commands[i].run(argc - 1, argv + 1);
            if (fflush(stdout) || ferror(stdout)) return kd_exit_code(kd_fail(KD_EIO, "standard output could not be written"));
            return code;
        }
    }
    const char *near = kd_nearest(argv[1], name, COMMANDS);
    if (near) return kd_exit_code(kd_fail(KD_ECONFIG, "unknown command \"%s\", did you mean %s?", argv[1], near));
    return kd_exit_code(kd_fail(KD_ECONFIG, "unknown command \"%s\"; kedge --help lists them", argv[1]));
}

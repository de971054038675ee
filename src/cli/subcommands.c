#include "subcommands.h"

#include <stdio.h>
#include <string.h>

#include "format/yaml.h"
#include "help.h"

static void print_usage(FILE *out, const kd_subcommands *c) {
    char more[64];
    int width = snprintf(more, sizeof more, "kedge help %s WHAT", c->command);
    fprintf(out, "usage: kedge %s %s\n\n", c->command, c->synopsis);
    kd_help_text(out, c->about);
    fprintf(out, "\nwhat:\n");
    for (int64_t i = 0; i < c->rows; i++) kd_help_row(out, c->row[i].name, 10, c->row[i].about);
    fprintf(out, "\nmore:\n");
    kd_help_row(out, more, width, "options and examples");
}

int kd_subcommand_run(const kd_subcommands *c, int argc, char **argv) {
    const char *name[32];
    if (argc < 2) {
        print_usage(stderr, c);
        return KD_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_usage(stdout, c);
        return KD_EXIT_OK;
    }
    if (!strcmp(argv[1], KD_HELP_JSON)) return kd_exit_code(kd_help_json_subcommands(c));
    for (int64_t i = 0; i < c->rows; i++) {
        name[i] = c->row[i].name;
        if (!strcmp(argv[1], name[i])) return c->row[i].run(argc - 1, argv + 1);
    }
    const char *near = kd_nearest(argv[1], name, c->rows);
    if (near) return kd_exit_code(kd_fail(KD_ECONFIG, "%s: unknown \"%s\", did you mean %s?", c->command, argv[1], near));
    return kd_exit_code(kd_fail(KD_ECONFIG, "%s: unknown \"%s\"; kedge %s --help lists what there is", c->command, argv[1], c->command));
}

/* Commands that are tables of others: kedge bench WHAT, kedge eval WHAT. */
#ifndef KD_SUBCOMMANDS_H
#define KD_SUBCOMMANDS_H

#include <stdint.h>

typedef struct kd_subcommand { const char *name, *about; int (*run)(int argc, char **argv); } kd_subcommand;

typedef struct kd_subcommands {
    const char *command;    /* "bench" */
    const char *synopsis;   /* "WHAT [options]" */
    const char *about;      /* a paragraph */
    const kd_subcommand *row;
    int64_t rows;           /* at most 32 */
} kd_subcommands;

/* argv[1] names the one that runs, with what follows; --help tells all. The exit code. */
int kd_subcommand_run(const kd_subcommands *commands, int argc, char **argv);

#endif

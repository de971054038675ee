/* Printed help. Texts are given as paragraphs: they are wrapped here. */
#ifndef KD_HELP_H
#define KD_HELP_H

#include <stdio.h>

#include "cli.h"
#include "subcommands.h"

/* Paragraphs are separated by empty lines; a line that begins with a space is kept as it is. */
void kd_help_text(FILE *out, const char *text);

/* "  left  right", right wrapped beside a column of `width`; a longer left stands on a line of its own. */
void kd_help_row(FILE *out, const char *left, int width, const char *right);

/* What `kedge COMMAND --help` prints. Options show the values that their variables hold as defaults. */
void kd_help_print(const kd_usage *usage);

/* What an option's variable holds before options are read, as the help shows it; "" where that is nothing. */
void kd_help_default(char *out, size_t size, const kd_option *option);

/* A run file to begin with, and every key that has a choice. */
kd_status kd_help_run_file(void);

/* The same for programs, each one JSON value on stdout: a command, a table of commands with all that it lists, the run file's keys, a
 * text, a member of a list of commands (its own help by its own `run`). Documentation and its tests are made of them. KD_ENOMEM, KD_EIO. */
#define KD_HELP_JSON "--help=json"
kd_status kd_help_json_usage(const kd_usage *usage);
kd_status kd_help_json_subcommands(const kd_subcommands *commands);
kd_status kd_help_json_run_file(void);
kd_status kd_help_json_text(const char *text);
kd_status kd_help_json_command(const char *name, const char *about, int (*run)(int argc, char **argv));

#endif

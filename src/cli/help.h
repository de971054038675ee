/* Printed help. Texts are given as paragraphs: they are wrapped here. */
#ifndef KD_HELP_H
#define KD_HELP_H

#include <stdio.h>

#include "cli.h"

/* Paragraphs are separated by empty lines; a line that begins with a space is kept as it is. */
void kd_help_text(FILE *out, const char *text);

/* "  left  right", right wrapped beside a column of `width`; a longer left stands on a line of its own. */
void kd_help_row(FILE *out, const char *left, int width, const char *right);

/* What `kedge COMMAND --help` prints. Options show the values that their variables hold as defaults. */
void kd_help_print(const kd_usage *usage);

/* A run file to begin with, and every key that has a choice. */
kd_status kd_help_run_file(void);

#endif

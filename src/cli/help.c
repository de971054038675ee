/* Printed help, wrapped to the terminal or to 100 columns. The manual pages are made from this text (tools/man). */
#include "help.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS = 100, NARROW = 50, LEFT = 26 };

static int columns(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col >= COLUMNS) return COLUMNS;
    return size.ws_col < NARROW ? NARROW : size.ws_col;
}

/* Words from text to its end or to an empty line; the column is `indent`, and later lines begin there. A line that
 * begins with a space is printed as it is. Returns where it stopped. */
static const char *print_words(FILE *out, const char *text, int indent) {
    int width = columns(), at = indent;
    const char *begin = text;
    while (*text && strncmp(text, "\n\n", 2)) {
        if (*text == ' ' && (text == begin || text[-1] == '\n')) {
            int length = (int)strcspn(text, "\n");
            fprintf(out, "%s%.*s", text == begin ? "" : "\n", length, text);
            text += length;
            at = width;
            continue;
        }
        if (*text == ' ' || *text == '\n') {
            text++;
            continue;
        }
        int length = (int)strcspn(text, " \n");
        if (at > indent && at + 1 + length > width) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        }
        at += fprintf(out, "%s%.*s", at > indent ? " " : "", length, text);
        text += length;
    }
    fputc('\n', out);
    return text;
}

void kd_help_text(FILE *out, const char *text) {
    while (*text) {
        text = print_words(out, text, 0);
        if (*text) fputc('\n', out);
        while (*text == '\n') text++;
    }
}

void kd_help_row(FILE *out, const char *left, int width, const char *right) {
    if ((int)strlen(left) <= width) fprintf(out, "  %-*s  ", width, left);
    else fprintf(out, "  %s\n%*s", left, width + 4, "");
    print_words(out, right, width + 4);
}

static void option_left(char *out, size_t size, const kd_option *o) {
    snprintf(out, size, "%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
}

void kd_help_default(char *out, size_t size, const kd_option *o) {
    const char *text = o->kind == KD_TEXT ? *(const char *const *)o->to : NULL;
    int64_t number = o->kind == KD_INTEGER ? *(const int64_t *)o->to : 0;
    if (text) snprintf(out, size, "%s", text);
    else if (number > 0 && number % (1 << 20) == 0) snprintf(out, size, "%lldM", (long long)number >> 20);
    else if (number > 0 && number % 1024 == 0) snprintf(out, size, "%lldK", (long long)number / 1024);
    else if (number > 0) snprintf(out, size, "%lld", (long long)number);
    else *out = 0;
}

static void option_right(char *out, size_t size, const kd_option *o) {
    char value[128];
    kd_help_default(value, sizeof value, o);
    if (*value) snprintf(out, size, "%s (default %s)", o->help, value);
    else snprintf(out, size, "%s", o->help);
}

void kd_help_print(const kd_usage *u) {
    char left[64], right[1024];
    int width = (int)strlen("-h, --help");
    for (int64_t i = 0; i < u->options; i++) {
        option_left(left, sizeof left, &u->option[i]);
        int length = (int)strlen(left);
        if (length > width && length <= LEFT) width = length;
    }
    printf("usage: kedge %s %s\n\n", u->command, u->synopsis);
    kd_help_text(stdout, u->about);
    printf("\noptions:\n");
    for (int64_t i = 0; i < u->options; i++) {
        option_left(left, sizeof left, &u->option[i]);
        option_right(right, sizeof right, &u->option[i]);
        kd_help_row(stdout, left, width, right);
    }
    kd_help_row(stdout, "-h, --help", width, "prints this text");
    if (u->examples) printf("\nexamples:\n%s", u->examples);
}

/* The resolved run file as YAML: every key that has a value, in the schema's order. What is printed reads back as the
 * same values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "train/run_schema.h"

static void print_number(FILE *out, double value) {
    char text[KD_NUMBER_TEXT];
    kd_number_print(text, value);
    fputs(text, out);
}

/* In double quotes; what YAML does not take there as it is, control characters and the line breaks of Unicode
 * (U+0080..U+009F, U+2028, U+2029), is escaped. */
static void print_text(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\') {
            fprintf(out, "\\%c", *c);
        } else if (*c < 0x20 || *c == 0x7f) {
            fprintf(out, "\\x%02X", *c);
        } else if (*c == 0xc2 && c[1] < 0xa0) {
            fprintf(out, "\\x%02X", *++c);
        } else if (*c == 0xe2 && c[1] == 0x80 && (c[2] | 1) == 0xa9) {
            fprintf(out, "\\u20%02X", c[2] - 0x80);
            c += 2;
        } else {
            fputc(*c, out);
        }
    }
    fputc('"', out);
}

static const char *word_of(const kd_run_word *word, int value) {
    while (word->text && word->value != value) word++;
    return word->text;
}

/* A key that is checked and not stored: as the file says it, or its default. */
static void print_unstored(FILE *out, const kd_run_row *row, const kd_yaml *tree) {
    int line;
    const kd_yaml *node = kd_run_node(tree, row->key, &line);
    fputs(node ? node->text : row->absent, out);
}

static void print_value(FILE *out, const kd_run_row *row, const kd_run_file *run) {
    if (row->offset == KD_RUN_NOWHERE) {
        print_unstored(out, row, run->tree);
        return;
    }
    const void *at = (const char *)run + row->offset;
    const kd_strings *list = at;
    const kd_shares *shares = at;
    const double *number = at;
    switch (row->type) {
    case KD_RUN_TEXT:
        if (row->word) fputs(*(char *const *)at, out);
        else print_text(out, *(char *const *)at);
        break;
    case KD_RUN_LIST:
        for (int64_t i = 0; i < list->count; i++) {
            fputs(i ? ", " : "[", out);
            print_text(out, list->text[i]);
        }
        fputc(']', out);
        break;
    case KD_RUN_SHARES:
        for (int64_t i = 0; i < shares->count; i++) {
            fputs(i ? ", " : "{", out);
            print_text(out, shares->source[i]);
            fputs(": ", out);
            print_number(out, shares->share[i]);
        }
        fputc('}', out);
        break;
    case KD_RUN_INTEGER:
    case KD_RUN_SIZE:
        fprintf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case KD_RUN_NUMBER:
        print_number(out, *number);
        break;
    case KD_RUN_PAIR:
        fputc('[', out);
        print_number(out, number[0]);
        fputs(", ", out);
        print_number(out, number[1]);
        fputc(']', out);
        break;
    case KD_RUN_BOOL:
        fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case KD_RUN_WORD:
        fputs(word_of(row->word, *(const int *)at), out);
        break;
    case KD_RUN_SWITCH:
        fputs(word_of(row->word, *(const bool *)at), out);
        break;
    }
}

/* "  name: ", after the lines of the groups that the previous key is not in. */
static void print_key(FILE *out, const char *key, const char *previous) {
    size_t shared = 0;
    for (size_t i = 0; key[i] && key[i] == previous[i]; i++)
        if (key[i] == '.') shared = i + 1;
    int depth = 0;
    for (size_t i = 0; i < shared; i++) depth += key[i] == '.';
    for (const char *part = key + shared;; depth++) {
        size_t size = strcspn(part, ".");
        fprintf(out, "%*s%.*s:", depth * 2, "", (int)size, part);
        if (!part[size]) break;
        fputc('\n', out);
        part += size + 1;
    }
    fputc(' ', out);
}

kd_status kd_run_file_print(char **text, const kd_run_file *run) {
    size_t size;
    const char *previous = "";
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) return kd_fail(KD_ENOMEM, "out of memory: the text of a run file");
    for (int64_t i = 0; i < kd_run_rows; i++) {
        const kd_run_row *row = &kd_run_schema[i];
        if (!kd_run_has(run->tree, row)) continue;
        print_key(out, row->key, previous);
        print_value(out, row, run);
        fputc('\n', out);
        previous = row->key;
    }
    bool whole = !ferror(out);
    whole &= !fclose(out);
    if (whole && *text) return KD_OK;  /* closing can lose the text and not say so */
    free(*text);
    *text = NULL;
    return kd_fail(KD_ENOMEM, "out of memory: the text of a run file");
}

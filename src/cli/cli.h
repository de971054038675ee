/* The command line: one table of commands, one table of options for each. */
#ifndef KD_CLI_H
#define KD_CLI_H

#include "base/error.h"

enum { KD_EXIT_OK = 0, KD_EXIT_FAILED = 1, KD_EXIT_USAGE = 2, KD_EXIT_AGAIN = 75, KD_EXIT_INTERRUPTED = 130 };

typedef enum kd_option_kind { KD_FLAG, KD_TEXT, KD_INTEGER /* may end in K, M or G */, KD_LIST } kd_option_kind;

/* A list option may be given several times. */
typedef struct kd_list { const char *text[64]; int64_t count; } kd_list;

typedef struct kd_option {
    const char *name;      /* "--resume" */
    kd_option_kind kind;
    void *to;              /* bool, const char *, int64_t or kd_list */
    const char *value;     /* what stands for its value in the help: "N", or NULL for a flag */
    const char *help;
} kd_option;

typedef struct kd_usage {
    const char *command;   /* "train" */
    const char *synopsis;  /* "RUN.yaml [options]" */
    const char *about;     /* what it does, a paragraph */
    const char *examples;  /* lines */
    const kd_option *option;
    int64_t options;
} kd_usage;

/* Reads options anywhere on the line; --opt value and --opt=value; "--" ends them. positional [most] receives the rest.
 * *done is true when --help was printed. KD_ECONFIG with a message: the caller ends with KD_EXIT_USAGE. */
kd_status kd_options_read(const kd_usage *usage, int argc, char **argv, const char **positional, int64_t most,
                          int64_t *count, bool *done);

/* "0,16,128K" to out [most]. command: NULL where the caller puts it before messages. */
kd_status kd_options_integers(int64_t *out, int64_t most, int64_t *count, const char *command, const char *option, const char *text);

/* Prints "kedge: message" for a failure and gives the exit code that goes with it. */
int kd_exit_code(kd_status status);
int kd_code_of(kd_status status);  /* without the message */

int kd_cmd_init(int argc, char **argv);
int kd_cmd_tokenize(int argc, char **argv);
int kd_cmd_pack(int argc, char **argv);
int kd_cmd_plan(int argc, char **argv);
int kd_cmd_train(int argc, char **argv);
int kd_cmd_export(int argc, char **argv);
int kd_cmd_report(int argc, char **argv);
int kd_cmd_compare(int argc, char **argv);
int kd_cmd_info(int argc, char **argv);
int kd_cmd_probe(int argc, char **argv);
int kd_cmd_eval(int argc, char **argv);
int kd_cmd_generate(int argc, char **argv);
int kd_cmd_serve(int argc, char **argv);
int kd_cmd_check(int argc, char **argv);
int kd_cmd_bench(int argc, char **argv);

#endif

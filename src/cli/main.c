/* kedge: the command. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "format/yaml.h"
#include "help.h"

/* Commands of one purpose stand together; a purpose is named in the first row of its group. */
static const struct { const char *purpose, *name, *about; int (*run)(int argc, char **argv); } commands[] = {
    {"models", "init", "makes a fresh model: a Hugging Face folder", kd_cmd_init},
    {NULL, "export", "writes a model or a checkpoint as a plain Hugging Face folder", kd_cmd_export},
    {"data", "tokenize", "text to ids and back, counts and speed", kd_cmd_tokenize},
    {NULL, "pack", "makes windows of documents, once for many runs", kd_cmd_pack},
    {"training", "plan", "says what a run will take: memory, disk, operations, time", kd_cmd_plan},
    {NULL, "train", "trains a model on documents packed into long windows", kd_cmd_train},
    {"asking models", "generate", "goes on from a text", kd_cmd_generate},
    {NULL, "serve", "answers completions over HTTP", kd_cmd_serve},
    {"looking at runs", "report", "writes a run's report: one HTML page", kd_cmd_report},
    {NULL, "compare", "sets runs side by side: table, JSON, page", kd_cmd_compare},
    {"looking inside", "info", "says what a model, a checkpoint or this build contains", kd_cmd_info},
    {NULL, "probe", "measures what low precision does to a model's rotary positions", kd_cmd_probe},
    {NULL, "check", "looks for one fault: documents that see each other, positions that move, a model that is not whole", kd_cmd_check},
    {"evaluation", "eval", "measures a model: RULER, LongBench, HellaSwag, MMLU, perplexity", kd_cmd_eval},
    {"speed", "bench", "measures speed beside the machine's own limit", kd_cmd_bench},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

typedef struct row { const char *left, *right; } row;

static const row exits[] = {
    {"0", "done"},
    {"1", "failed, or a check failed"},
    {"2", "wrong usage or a wrong run file: nothing was changed"},
    {"75", "stopped by SIGTERM or SIGUSR1 and saved, or a rank was lost: the same command with --resume goes on"},
    {"130", "interrupted (Ctrl-C) and saved"},
};
static const row variables[] = {
    {"KEDGE_ISA", "ref, avx2 or avx512: the most that may be used of the machine's instructions"},
    {"NO_COLOR", "when set, the progress bar has no colour"},
};

static void print_rows(FILE *out, const char *title, const row *rows, size_t count) {
    fprintf(out, "\n%s:\n", title);
    for (size_t i = 0; i < count; i++) kd_help_row(out, rows[i].left, 10, rows[i].right);
}

static void print_usage(FILE *out) {
    fprintf(out, "usage: kedge COMMAND ...\n\n");
    kd_help_text(out, "Trains long-context language models without letting low precision break their positions.");
    for (int i = 0; i < COMMANDS; i++) {
        if (commands[i].purpose) fprintf(out, "\n%s:\n", commands[i].purpose);
        kd_help_row(out, commands[i].name, 10, commands[i].about);
    }
    static const row more[] = {
        {"kedge help COMMAND", "options and examples; the same as kedge COMMAND --help"},
        {"kedge help run-file", "what a run file says: one to begin with, and every key"},
        {"kedge help --json", "all of it for programs: commands, options, keys of the run file"},
        {"kedge --version", "what this build contains; with --json as one object"},
    };
    fprintf(out, "\nmore:\n");
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) kd_help_row(out, more[i].left, 19, more[i].right);
}

static void print_help(void) {
    print_usage(stdout);
    print_rows(stdout, "exit codes", exits, sizeof exits / sizeof *exits);
    print_rows(stdout, "environment", variables, sizeof variables / sizeof *variables);
}

static kd_status print_json_rows(const char *title, const row *rows, size_t count) {
    printf(",\"%s\":{", title);
    for (size_t i = 0; i < count; i++) {
        if (i) putchar(',');
        KD_TRY(kd_help_json_text(rows[i].left));
        putchar(':');
        KD_TRY(kd_help_json_text(rows[i].right));
    }
    putchar('}');
    return KD_OK;
}

static kd_status print_json(void) {
    printf("{\"commands\":[");
    for (int i = 0; i < COMMANDS; i++) {
        if (commands[i].purpose) printf("%s{\"purpose\":\"%s\",\"commands\":[", i ? "]}," : "", commands[i].purpose);
        else putchar(',');
        KD_TRY(kd_help_json_command(commands[i].name, commands[i].about, commands[i].run));
    }
    printf("]}]");
    KD_TRY(print_json_rows("exit_codes", exits, sizeof exits / sizeof *exits));
    KD_TRY(print_json_rows("environment", variables, sizeof variables / sizeof *variables));
    printf(",\"run_file\":");
    KD_TRY(kd_help_json_run_file());
    printf("}\n");
    return KD_OK;
}

static int run(int argc, char **argv) {
    const char *name[COMMANDS];
    for (int i = 0; i < COMMANDS; i++) {
        name[i] = commands[i].name;
        if (strcmp(argv[0], name[i])) continue;
        int code = commands[i].run(argc, argv);
        if (fflush(stdout) || ferror(stdout)) return kd_exit_code(kd_fail(KD_EIO, "standard output could not be written"));
        return code;
    }
    const char *near = kd_nearest(argv[0], name, COMMANDS);
    if (near) return kd_exit_code(kd_fail(KD_ECONFIG, "unknown command \"%s\", did you mean %s?", argv[0], near));
    return kd_exit_code(kd_fail(KD_ECONFIG, "unknown command \"%s\"; kedge --help lists them", argv[0]));
}

int main(int argc, char **argv) {
    kd_log_level(KD_INFO);
    if (argc < 2) {
        print_usage(stderr);
        return KD_EXIT_USAGE;
    }
    bool help = !strcmp(argv[1], "help");
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || (help && argc == 2)) {
        print_help();
        return KD_EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) return kd_cmd_info(argc - 1, argv + 1);
    if (!help) return run(argc - 1, argv + 1);
    if (!strcmp(argv[2], "--json")) return kd_exit_code(print_json());
    bool as_json = !strcmp(argv[argc - 1], "--json");
    if (!strcmp(argv[2], "run-file")) return kd_exit_code(as_json ? kd_help_json_run_file() : kd_help_run_file());
    /* kedge help train: the name moves to where it stands in kedge train --help */
    static char text[] = "--help", json[] = KD_HELP_JSON;
    argc -= as_json;
    for (int i = 1; i + 1 < argc; i++) argv[i] = argv[i + 1];
    argv[argc - 1] = as_json ? json : text;
    return run(argc - 1, argv + 1);
}

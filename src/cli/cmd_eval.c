/* kedge eval: one table of evaluations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "format/yaml.h"
#include "help.h"

static const struct { const char *name, *about; int (*run)(int argc, char **argv); } evaluations[] = {
    {"ruler", "RULER: thirteen tasks at any length, made or out of files", kd_eval_ruler},
    {"longbench", "LongBench: questions about long texts, six groups", kd_eval_longbench},
    {"hellaswag", "HellaSwag: which ending follows, as lm-evaluation-harness asks it", kd_eval_hellaswag},
    {"mmlu", "MMLU: 57 subjects, as lm-evaluation-harness asks it", kd_eval_mmlu},
    {"ppl", "perplexity of texts or packs: sliding or rolling windows, by position", kd_eval_ppl},
    {"retention", "what a run keeps of its base model's short-context ability", kd_eval_retention},
};
enum { EVALUATIONS = sizeof evaluations / sizeof *evaluations };

json_t *kd_json_of_hash(uint64_t hash) {
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    return json_string(text);
}

const char *kd_name_of_path(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

kd_status kd_eval_settings(json_t **out, const char *task, const kd_subject *subject, json_t *own) {
    json_t *asked = NULL;
    kd_status status = own ? KD_OK : kd_fail(KD_ENOMEM, "out of memory, or a name that is no UTF-8");
    *out = NULL;
    if (!status && subject) status = kd_subject_json(&asked, subject);
    if (!status) {
        *out = json_pack("{s:s, s:O*}", "task", task, "subject", asked);
        if (!*out || json_object_update(*out, own)) status = kd_fail(KD_ENOMEM, "out of memory");
    }
    json_decref(asked);
    json_decref(own);
    return status;
}

kd_status kd_eval_tell(kd_results *results, const kd_outcome *outcome, bool json) {
    kd_text text = {0};
    json_t *object = NULL;
    char *printed = NULL;
    kd_status status;
    KD_GO(kd_results_finish(results, outcome));
    if (json) {
        KD_GO(kd_results_json(&object, results, outcome));
        KD_GO(kd_json_print(&printed, object, JSON_INDENT(2), "result"));
        printf("%s\n", printed);
    } else {
        KD_GO(kd_results_text(&text, results, outcome));
        fputs(text.data, stdout);
    }
done:
    free(printed);
    json_decref(object);
    kd_text_free(&text);
    return status;
}

static void print_usage(FILE *out) {
    fprintf(out, "usage: kedge eval WHAT --model DIR [options]\n\n");
    kd_help_text(out, "Measures what a model can do. Data are the files that each benchmark publishes; scores are computed as the programs "
                      "whose numbers are published compute them. With --out DIR every answer is kept as soon as it is there: the same "
                      "command goes on where it was stopped.");
    fprintf(out, "\nwhat:\n");
    for (int i = 0; i < EVALUATIONS; i++) kd_help_row(out, evaluations[i].name, 10, evaluations[i].about);
    fprintf(out, "\nmore:\n");
    kd_help_row(out, "kedge help eval WHAT", 20, "options and examples");
}

int kd_cmd_eval(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return KD_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_usage(stdout);
        return KD_EXIT_OK;
    }
    const char *name[EVALUATIONS];
    for (int i = 0; i < EVALUATIONS; i++) {
        name[i] = evaluations[i].name;
        if (!strcmp(argv[1], name[i])) return evaluations[i].run(argc - 1, argv + 1);
    }
    const char *near = kd_nearest(argv[1], name, EVALUATIONS);
    if (near) return kd_exit_code(kd_fail(KD_ECONFIG, "eval: unknown \"%s\", did you mean %s?", argv[1], near));
    return kd_exit_code(kd_fail(KD_ECONFIG, "eval: unknown \"%s\"; kedge eval --help lists what there is", argv[1]));
}

/* kedge eval: one table of evaluations. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "subcommands.h"

static const kd_subcommand evaluations[] = {
    {"ruler", "RULER: thirteen tasks at any length, made or out of files", kd_eval_ruler},
    {"longbench", "LongBench: questions about long texts, six groups", kd_eval_longbench},
    {"hellaswag", "HellaSwag: which ending follows, as lm-evaluation-harness asks it", kd_eval_hellaswag},
    {"mmlu", "MMLU: 57 subjects, as lm-evaluation-harness asks it", kd_eval_mmlu},
    {"ppl", "perplexity of texts or packs: sliding or rolling windows, by position", kd_eval_ppl},
    {"retention", "what a run keeps of its base model's short-context ability", kd_eval_retention},
};

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

int kd_cmd_eval(int argc, char **argv) {
    const kd_subcommands commands = {"eval", "WHAT --model DIR [options]",
                                     "Measures what a model can do. Data are the files that each benchmark publishes; scores are computed as the "
                                     "programs whose numbers are published compute them. With --out DIR every answer is kept as soon as it is "
                                     "there: the same command goes on where it was stopped.",
                                     evaluations, sizeof evaluations / sizeof *evaluations};
    return kd_subcommand_run(&commands, argc, argv);
}

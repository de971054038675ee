/* kedge check model */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "check.h"
#include "format/jsonl.h"
#include "model/folder_check.h"

static const char *const level_words[] = {"ok", "warning", "FAILED"};
static const char *const level_keys[] = {"ok", "warning", "failure"};

static void print_lines(const kd_findings *f) {
    for (int64_t i = 0; i < f->count; i++) {
        const kd_finding *x = &f->row[i];
        printf("%-8s %-10s %s\n", level_words[x->level], x->part, x->text);
    }
}

/* JSON has only text: a name may be any bytes. */
static json_t *finding_json(const kd_finding *x) {
    bool plain = kd_utf8_invalid(x->text, (int64_t)strlen(x->text)) < 0;
    return json_pack("{s:s, s:s, s:s}", "level", level_keys[x->level], "part", x->part, "what", plain ? x->text : "(its name is no text)");
}

static kd_status print_json(const kd_findings *f, const char *folder, bool holds) {
    json_t *rows = json_array();
    bool bad = !rows;
    for (int64_t i = 0; i < f->count && !bad; i++) bad = json_array_append_new(rows, finding_json(&f->row[i]));
    if (bad) {
        json_decref(rows);
        return kd_fail(KD_ENOMEM, "out of memory");
    }
    if (kd_utf8_invalid(folder, (int64_t)strlen(folder)) >= 0) folder = "unknown";
    return kd_check_print_json(json_pack("{s:s, s:s, s:b, s:I, s:I, s:o}", "check", "model", "folder", folder, "holds", holds, "failures",
                                         (json_int_t)f->of[KD_FINDING_FAILURE], "warnings", (json_int_t)f->of[KD_FINDING_WARNING], "findings", rows));
}

static kd_status tell(const kd_findings *f, const char *folder, bool json, bool strict) {
    long long failures = (long long)f->of[KD_FINDING_FAILURE], warnings = (long long)f->of[KD_FINDING_WARNING];
    bool holds = failures == 0 && (!strict || warnings == 0);
    if (json) KD_TRY(print_json(f, folder, holds));
    else print_lines(f);
    if (holds) return KD_OK;
    return kd_fail(KD_EFORMAT, "%s: %lld failure%s, %lld warning%s%s", folder, failures, failures == 1 ? "" : "s", warnings,
                   warnings == 1 ? "" : "s", strict && !failures ? " (--strict)" : "");
}

int kd_check_model(int argc, char **argv) {
    kd_folder_options o = {.threads = 0};
    bool json = false, strict = false, done;
    const kd_option option[] = {
        {"--no-scan", KD_FLAG, &o.no_scan, NULL, "weights are not read: tables, shapes and words alone, in a moment"},
        {"--strict", KD_FLAG, &strict, NULL, "a warning is a failure too"},
        {"--threads", KD_INTEGER, &o.threads, "N", "that read weights; one for each core unless given"},
        {"--json", KD_FLAG, &json, NULL, "one JSON object"},
    };
    const kd_usage usage = {
        "check model", "DIR [options]",
        "Whether a Hugging Face folder is whole, a line for what was looked at: config.json and its RoPE in the dialects of transformers "
        "4 and 5, files and index, every tensor's name, shape and dtype, NaN and infinity in all weights (read piece by piece), and the "
        "tokenizer beside the embedding. Failures are what cannot be trained or asked; warnings are what other engines may read "
        "otherwise.",
        "  kedge check model models/llama-3-8b\n"
        "  kedge check model runs/anchor/step-100 --strict\n"
        "  kedge check model models/llama-3-8b --no-scan --json\n",
        option, sizeof option / sizeof *option};
    const char *folder = NULL;
    int64_t count;
    kd_findings findings = {0};
    kd_status status = kd_options_read(&usage, argc, argv, &folder, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "check model: which folder? kedge check model DIR"));
    kd_log_level(KD_QUIET);  /* what reading warns of is among the findings */
    status = kd_folder_check(&findings, folder, &o);
    if (!status) status = tell(&findings, folder, json, strict);
    free(findings.row);
    return kd_exit_code(status);
}

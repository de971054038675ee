/* kedge check mask */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "check.h"
#include "data/pack.h"
#include "train/checkpoint.h"
#include "train/mask_run.h"

typedef struct options {
    const char *path, *expect;
    kd_list set;
    kd_mask_options check;
    bool json;
} options;

static const char *const mask_names[] = {[KD_MASK_FULL] = "full", [KD_MASK_DOCUMENT] = "document", [KD_MASK_ANCHOR] = "anchor"};

static kd_status check_options(options *o) {
    kd_mask_options *c = &o->check;
    if (c->windows < 1 || c->windows > 1 << 20) return kd_fail(KD_ECONFIG, "check mask: --windows %lld: 1 or more", (long long)c->windows);
    if (c->documents < 0 || c->documents > 1 << 20) return kd_fail(KD_ECONFIG, "check mask: --documents %lld: 0 or more",
                                                                   (long long)c->documents);
    for (int i = 0; i < 3 && o->expect; i++)
        if (!strcmp(o->expect, mask_names[i])) c->expects = true, c->mask = (kd_mask)i;
    if (o->expect && !c->expects) return kd_fail(KD_ECONFIG, "check mask: --expect %s: it is full, document or anchor", o->expect);
    return KD_OK;
}

/* ---- what is looked at --------------------------------------------------------------------------------------------- */

static kd_status check_run_file(kd_mask_report *r, const options *o, const char *path) {
    kd_run_file run;
    KD_TRY(kd_run_file_open(&run, path, o->set.text, o->set.count));
    kd_status status = kd_mask_run(r, &run, &o->check);
    kd_run_file_close(&run);
    return status;
}

/* A run's folder, with its newest checkpoint if there is one; or a checkpoint. */
static kd_status check_run_folder(kd_mask_report *r, options *o) {
    char *path = kd_path_join(o->path, "run.yaml"), *newest = NULL;
    bool is_checkpoint = false;
    int64_t step;
    kd_status status = path ? kd_holds(&is_checkpoint, o->path, "config.json") : kd_fail(KD_ENOMEM, "out of memory");
    if (!status && !is_checkpoint) status = kd_checkpoint_newest(&newest, &step, o->path);
    o->check.checkpoint = is_checkpoint ? o->path : newest;
    if (!status) status = check_run_file(r, o, path);
    free(newest);
    free(path);
    return status;
}

static kd_status check(kd_mask_report *r, options *o) {
    bool pack = false, run = false;
    if (!kd_is_folder(o->path)) return check_run_file(r, o, o->path);
    KD_TRY(kd_holds(&pack, o->path, KD_PACK_FILE));
    KD_TRY(kd_holds(&run, o->path, "run.yaml"));
    if (pack && o->set.count) return kd_fail(KD_ECONFIG, "check mask: --set is of a run file, %s is a pack", o->path);
    if (pack) return kd_mask_pack(r, o->path, &o->check);
    if (run) return check_run_folder(r, o);
    return kd_fail(KD_ECONFIG, "check mask: %s: neither a run's folder (run.yaml) nor a pack (" KD_PACK_FILE ")", o->path);
}

/* ---- what was found ------------------------------------------------------------------------------------------------ */

static void print_moved(const kd_moved *m) {
    char inside[48], outside[48];
    snprintf(inside, sizeof inside, "%lld/%lld", (long long)m->inside, (long long)m->inside_of);
    snprintf(outside, sizeof outside, "%lld/%lld", (long long)m->outside, (long long)m->outside_of);
    printf("  %15s  %15s", inside, outside);
}

static void print_table(const kd_mask_report *r) {
    int width = 7;
    for (int64_t i = 0; i < r->count; i++)
        if ((int)strlen(r->found[i].row.touched) > width) width = (int)strlen(r->found[i].row.touched);
    printf("%-6s  %-9s  %-*s  %15s  %15s  %15s  %15s  verdict\n", "window", "of", width, "touched", "outputs inside", "outside",
           "gradients inside", "outside");
    for (int64_t i = 0; i < r->count; i++) {
        const kd_mask_found *f = &r->found[i];
        printf("%-6lld  %-9s  %-*s", (long long)f->window, f->of_model ? "model" : "attention", width, f->row.touched);
        print_moved(&f->row.output);
        print_moved(&f->row.gradient);
        printf("  %s\n", kd_mask_verdict_name(f->row.verdict));
    }
    printf("tokens that moved when others were touched, of those that see them (inside) and of those that may not (outside)\n"
           "%lld window%s of %lld tokens, %lld documents, mask %s, precision %s", (long long)r->windows, r->windows == 1 ? "" : "s",
           (long long)r->T, (long long)r->documents, mask_names[r->mask], kd_precision_name(r->precision));
    if (r->ranks > 1) printf(", %lld ranks by %s", (long long)r->ranks, kd_sequence_mode_name(r->mode));
    printf("\n");
}

static json_t *moved_json(const kd_moved *m) {
    return json_pack("{s:I, s:I, s:I, s:I}", "inside", (json_int_t)m->inside, "inside_of", (json_int_t)m->inside_of, "outside",
                     (json_int_t)m->outside, "outside_of", (json_int_t)m->outside_of);
}

static json_t *row_json(const kd_mask_found *f) {
    const kd_mask_row *r = &f->row;
    static const char *const verdict[] = {"holds", "leak", "blind"};
    return json_pack("{s:I, s:s, s:s, s:I, s:I, s:o, s:o, s:s}", "window", (json_int_t)f->window, "of",
                     f->of_model ? "model" : "attention", "touched", r->touched, "documents_touched",
                     (json_int_t)r->documents, "tokens_touched", (json_int_t)r->tokens, "outputs_moved",
                     moved_json(&r->output), "gradients_moved", moved_json(&r->gradient), "verdict", verdict[r->verdict]);
}

static kd_status print_json(const kd_mask_report *r, bool holds) {
    json_t *rows = json_array();
    bool bad = !rows;
    for (int64_t i = 0; i < r->count && !bad; i++) bad = json_array_append_new(rows, row_json(&r->found[i]));
    if (bad) {
        json_decref(rows);
        return kd_fail(KD_ENOMEM, "out of memory");
    }
    return kd_check_print_json(json_pack("{s:s, s:b, s:I, s:I, s:I, s:s, s:s, s:I, s:s, s:o}", "check", "mask", "holds", holds, "windows",
                                         (json_int_t)r->windows, "tokens", (json_int_t)r->T, "documents", (json_int_t)r->documents, "mask",
                                         mask_names[r->mask], "precision", kd_precision_name(r->precision), "ranks",
                                         (json_int_t)r->ranks, "mode", kd_sequence_mode_name(r->mode), "rows", rows));
}

/* One that does not hold is enough to fail. */
static kd_status tell(const kd_mask_report *r, bool json) {
    int64_t bad = 0;
    while (bad < r->count && r->found[bad].row.verdict == KD_MASK_HOLDS) bad++;
    if (json) KD_TRY(print_json(r, bad == r->count));
    else print_table(r);
    if (bad == r->count) return KD_OK;
    char what[48];
    const kd_mask_found *f = &r->found[bad];
    snprintf(what, sizeof what, "window %lld, %s", (long long)f->window, f->of_model ? "model" : "attention");
    return kd_mask_judge(&f->row, 1, what);
}

int kd_check_mask(int argc, char **argv) {
    options o = {.check = {.windows = 1, .documents = 3}};
    const kd_option option[] = {
        {"--set", KD_LIST, &o.set, "a.b=c", "overrides a key of the run file; may be given several times"},
        {"--windows", KD_INTEGER, &o.check.windows, "N", "the first so many are looked at"},
        {"--documents", KD_INTEGER, &o.check.documents, "N", "whose first and last tokens are touched one by one, besides every other "
                                                             "document at once"},
        {"--expect", KD_TEXT, &o.expect, "MASK", "full, document or anchor: what the windows must keep, where that is not their own mask"},
        {"--attention", KD_FLAG, &o.check.attention_alone, NULL, "of a run attention alone, of random numbers, and not its model: for "
                                                                 "models that are too large here"},
        {"--tokenizer", KD_TEXT, &o.check.tokenizer, "DIR", "of a pack whose documents have tags"},
        {"--threads", KD_INTEGER, &o.check.threads, "N", "of a pack; a run's are its run file's"},
        {"--json", KD_FLAG, &o.json, NULL, "one JSON object"},
    };
    const kd_usage usage = {
        "check mask", "RUN.yaml | RUN_DIR | PACK [options]",
        "Whether packed documents see each other. Tokens of some documents are touched, that is, changed, and it is counted whose "
        "outputs and gradients move: in a document that may not see them none may, in a single bit; that is a leak. Where they may be seen "
        "they must move: a mask that hides everything is no better. Who may see whom is worked out from the documents, without the plan "
        "that attention obeys.\n\n"
        "Of a run: its first windows with its own mask, positions, chunks, tags and precision, attention first, then its whole model, of "
        "the newest checkpoint where there is one; ranks that share a window are threads here. Of a pack: attention on its windows.\n\n"
        "Every training begins with a short form of it (check.mask in the run file).",
        "  kedge check mask run.yaml\n"
        "  kedge check mask run.yaml --windows 4 --set parallel.sequence=4 --set parallel.mode=zigzag\n"
        "  kedge check mask runs/anchor-16k --json\n"
        "  kedge check mask packs/16k --documents 16\n"
        "  kedge check mask run.yaml --set mask=full --expect document\n",
        option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_mask_report report = {0};
    kd_status status = kd_options_read(&usage, argc, argv, &o.path, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "check mask: of what? kedge check mask RUN.yaml"));
    kd_log_level(KD_WARN);
    status = check_options(&o);
    if (!status) status = check(&report, &o);
    if (!status) status = tell(&report, o.json);
    kd_mask_report_free(&report);
    return kd_exit_code(status);
}

/* kedge compare */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eval/paper_tables.h"
#include "train/compare.h"

enum { MOST_RUNS = 64 };

typedef struct options {
    const char *path, *layout, *paper;
    int64_t tasks;
    bool json, csv, markdown;
} options;

static kd_status print_json(const kd_comparison *c) {
    json_t *out = NULL;
    char *text = NULL;
    kd_status status = kd_comparison_json(&out, c);
    if (!status) status = kd_json_print(&text, out, JSON_INDENT(2), "comparison");
    if (!status) printf("%s\n", text);
    free(text);
    json_decref(out);
    return status;
}

static kd_status compare(const char *const *folder, int64_t folders, const char *path, bool as_json) {
    kd_comparison c;
    kd_text table = {0}, page = {0};
    kd_status status;
    KD_GO(kd_comparison_open(&c, folder, folders));
    if (path) {
        KD_GO(kd_comparison_page(&page, &c));
        KD_GO(kd_file_replace(path, page.data, page.size));
    }
    if (as_json) KD_GO(print_json(&c));
    if (as_json) goto done;
    KD_GO(kd_comparison_table(&table, &c));
    fputs(table.data, stdout);
done:
    kd_text_free(&page);
    kd_text_free(&table);
    kd_comparison_close(&c);
    return status;
}

/* ---- the paper's tables ----------------------------------------------------------------------------------------------- */

static kd_status find_layout(kd_paper_layout *out, const char *name) {
    for (kd_paper_layout l = 0; l < KD_PAPER_LAYOUTS; l++)
        if (!strcmp(name, kd_paper_layout_names[l])) {
            *out = l;
            return KD_OK;
        }
    const char *near = kd_nearest(name, kd_paper_layout_names, KD_PAPER_LAYOUTS);
    return kd_fail(KD_ECONFIG, "compare: --layout %s: %s%s", name, near ? "did you mean " : "known are table5, table6, table7, table12",
                   near ? near : "");
}

static kd_status layout_json(char **out, const kd_paper_table *table) {
    json_t *rows = NULL, *all = NULL;
    kd_status status;
    KD_GO(kd_table_json(&rows, &table->table));
    all = json_pack("{s:s, s:O, s:s}", "layout", table->table.name, "rows", rows, "notes", table->notes.data);
    if (!all) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    status = kd_json_print(out, all, JSON_INDENT(2), "comparison");
done:
    json_decref(all);
    json_decref(rows);
    return status;
}

static kd_status lay_out(const char *const *path, int64_t paths, const options *o) {
    kd_paper_options paper = {.tasks = o->tasks};
    kd_paper_table table = {.notes = {0}};
    kd_text text = {0};
    char *json = NULL;
    kd_status status;
    KD_GO(find_layout(&paper.layout, o->layout));
    if (o->paper) KD_GO(kd_paper_find(&paper.beside, paper.layout, o->paper));
    KD_GO(kd_paper_table_open(&table, path, paths, &paper));
    if (o->json) KD_GO(layout_json(&json, &table));
    else if (o->csv) kd_table_csv(&text, &table.table);
    else {
        kd_text_print(&text, "%s\n%s", table.table.title, o->markdown ? "\n" : "");
        if (o->markdown) kd_table_markdown(&text, &table.table);
        else kd_table_print(&text, &table.table);
        kd_text_print(&text, "\n%s", table.notes.data);
    }
    KD_GO(kd_text_status(&text));
    if (json) printf("%s\n", json);
    else fputs(text.data, stdout);
done:
    free(json);
    kd_text_free(&text);
    kd_paper_table_close(&table);
    return status;
}

static kd_status check(const options *o, int64_t count) {
    if (o->layout && o->path) return kd_fail(KD_ECONFIG, "compare: --layout writes no page: --out is of runs");
    if (!o->layout && (o->csv || o->markdown || o->paper || o->tasks))
        return kd_fail(KD_ECONFIG, "compare: --csv, --markdown, --paper and --tasks go with --layout");
    if (o->json + o->csv + o->markdown > 1) return kd_fail(KD_ECONFIG, "compare: one of --json, --csv and --markdown");
    if (o->tasks && o->tasks != 11 && o->tasks != 13) return kd_fail(KD_ECONFIG, "compare: --tasks %lld: 11 or 13", (long long)o->tasks);
    if (!count)
        return kd_fail(KD_ECONFIG, "compare: which %s? kedge compare %s...", o->layout ? "results" : "runs",
                       o->layout ? "--layout NAME RESULTS" : "RUN_DIR");
    return KD_OK;
}

int kd_cmd_compare(int argc, char **argv) {
    const char *folder[MOST_RUNS];
    options o = {.path = NULL};
    int64_t count;
    bool done;
    const kd_option option[] = {
        {"--json", KD_FLAG, &o.json, NULL, "one JSON object"},
        {"--out", KD_TEXT, &o.path, "FILE.html", "also a page: the table, curves on one axis, the keys that differ"},
        {"--layout", KD_TEXT, &o.layout, "NAME", "table5, table6, table7 or table12 of the paper, from folders of results (kedge eval "
                                                 "--out) in place of runs"},
        {"--paper", KD_TEXT, &o.paper, "SET", "its figures beside them: slimpajama-64k, slimpajama-128k or upsampledmix-128k; of table6 "
                                              "llama-3-8b, mistral-7b-v0.3 or qwen1.5-1.8b. You say that data are the same; shape, window "
                                              "and training must be"},
        {"--tasks", KD_INTEGER, &o.tasks, "N", "of RULER, 11 or 13: in table5 11 unless given, in table6 13"},
        {"--markdown", KD_FLAG, &o.markdown, NULL, "a layout as Markdown"},
        {"--csv", KD_FLAG, &o.csv, NULL, "a layout as CSV"},
    };
    const kd_usage usage = {
        "compare", "RUN_DIR... [options]",
        "Sets runs side by side: validation loss before and after training and by position, speed, share of the machine's peak, "
        "pairs that attention had to compute, memory and time. With --layout, results of evaluations as tables of the paper: a row a run, "
        "the mean over its checkpoints.",
        "  kedge compare runs/full-16k runs/anchor-16k\n"
        "  kedge compare runs/*-16k --out masks.html\n"
        "  kedge compare --layout table5 --paper slimpajama-64k results/*\n",
        option, sizeof option / sizeof *option};
    kd_status status = kd_options_read(&usage, argc, argv, folder, MOST_RUNS, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&o, count);
    if (!status) status = o.layout ? lay_out(folder, count, &o) : compare(folder, count, o.path, o.json);
    return kd_exit_code(status);
}

/* kedge compare */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "train/compare.h"

enum { MOST_RUNS = 64 };

/* The paper's tables that are made from results of evaluation. */
static kd_status check_layout(const char *layout) {
    static const char *const known[] = {"table5", "table6", "table7", "table12"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(layout, known[i]))
            return kd_fail(KD_ENOTSUP, "compare: --layout %s: results of evaluation are not in this build yet", layout);
    const char *near = kd_nearest(layout, known, 4);
    return kd_fail(KD_ECONFIG, "compare: --layout %s: %s%s", layout, near ? "did you mean " : "known are table5, table6, table7, table12",
                   near ? near : "");
}

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

int kd_cmd_compare(int argc, char **argv) {
    const char *folder[MOST_RUNS], *path = NULL, *layout = NULL;
    int64_t count;
    bool as_json = false, done;
    const kd_option option[] = {
        {"--json", KD_FLAG, &as_json, NULL, "one JSON object"},
        {"--out", KD_TEXT, &path, "FILE.html", "also a page: the table, curves on one axis, the keys that differ"},
        {"--layout", KD_TEXT, &layout, "NAME", "table5, table6, table7 or table12 of the paper, from results of evaluation"},
    };
    const kd_usage usage = {
        "compare", "RUN_DIR... [options]",
        "Sets runs side by side: validation loss before and after training and by position, speed, share of the machine's peak, "
        "pairs that attention had to compute, memory and time.",
        "  kedge compare runs/full-16k runs/anchor-16k\n"
        "  kedge compare runs/*-16k --out masks.html\n",
        option, sizeof option / sizeof *option};
    kd_status status = kd_options_read(&usage, argc, argv, folder, MOST_RUNS, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (layout) return kd_exit_code(check_layout(layout));
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "compare: which runs? kedge compare RUN_DIR..."));
    return kd_exit_code(compare(folder, count, path, as_json));
}

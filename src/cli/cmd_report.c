/* kedge report */
#include <stdio.h>

#include "cli.h"
#include "train/report.h"

int kd_cmd_report(int argc, char **argv) {
    const char *folder = NULL, *path = NULL;
    int64_t count;
    bool done;
    const kd_option option[] = {{"-o", KD_TEXT, &path, "FILE", "instead of RUN_DIR/report.html"}};
    const kd_usage usage = {
        "report", "RUN_DIR [-o FILE]",
        "Writes a run's report from its metrics.jsonl, run.yaml and window.svg: one HTML page with curves, the first window's "
        "mask, events, the machine and the run file; and what evaluations in the run's folder found, as kedge eval retention leaves it "
        "in RUN_DIR/retention. kedge train writes it at its end; this does at any time, also while a run "
        "is going on. The page holds everything it shows.",
        "  kedge report runs/anchor-16k\n  kedge report runs/anchor-16k -o anchor.html\n", option, 1};
    kd_status status = kd_options_read(&usage, argc, argv, &folder, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "report: which run? kedge report RUN_DIR"));
    status = kd_report_write(folder, path);
    if (!status) printf(path ? "%s\n" : "%s/report.html\n", path ? path : folder);
    return kd_exit_code(status);
}

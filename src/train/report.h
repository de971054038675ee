/* The report of a run: one self-contained HTML page made from what the run's folder holds. */
#ifndef KD_REPORT_H
#define KD_REPORT_H

#include "base/error.h"

/* Reads folder/metrics.jsonl, run.yaml, window.svg and the results of evaluations, NAME/result.json (all but the first may be missing) and
 * replaces `path` (NULL: folder/report.html) whole. The run may be going on. KD_EIO, KD_ENOMEM. */
kd_status kd_report_write(const char *folder, const char *path);

#endif

/* metrics.jsonl: one object a line, append only. The truth about a run; everything else is derived from it, the scalars
 * for TensorBoard in tb/ as they come. */
#ifndef KD_METRICS_H
#define KD_METRICS_H

#include "format/json.h"
#include "format/tfevents.h"

typedef struct kd_metrics {
    int fd;
    bool cut;          /* in the midst of a line */
    int64_t lost;
    char *path;
    kd_tfevents events;
} kd_metrics;

/* Appends to output/metrics.jsonl; a last line that was cut short by a crash is ended first. `step`: the first that will be
 * written. Without a folder for TensorBoard a run goes on with a warning. */
kd_status kd_metrics_open(kd_metrics *metrics, const char *output, int64_t step);
/* One line, with `time` in Unix seconds added; takes over the reference to row (NULL: memory was out, KD_ENOMEM). A full
 * disk does not stop a run: the first lost line is a warning, all are counted. */
kd_status kd_metrics_write(kd_metrics *metrics, json_t *row);
void kd_metrics_close(kd_metrics *metrics);

#endif

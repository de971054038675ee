/* Several runs side by side: a table for a terminal, JSON, and a page with their curves on one axis. */
#ifndef KD_COMPARE_H
#define KD_COMPARE_H

#include "history.h"

typedef struct kd_comparison { kd_history *run; int64_t runs; } kd_comparison;

/* Every folder's history; the same errors. Free with kd_comparison_close. */
kd_status kd_comparison_open(kd_comparison *comparison, const char *const *folder, int64_t folders);
void kd_comparison_close(kd_comparison *comparison);

/* A line a run, then loss by position a column a run. Appended. KD_ENOMEM. */
kd_status kd_comparison_table(kd_text *text, const kd_comparison *comparison);
/* {"runs": [{"name", "folder", "mask", "steps", "tokens", ...}]}; what is not known is null. */
kd_status kd_comparison_json(json_t **out, const kd_comparison *comparison);
/* A self-contained page: the table, loss over steps, tokens and time, validation by position, speed, and the keys of the run
 * files that differ. */
kd_status kd_comparison_page(kd_text *page, const kd_comparison *comparison);

#endif

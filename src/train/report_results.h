/* What a run's report says of evaluations whose results lie in the run's folder. */
#ifndef KD_REPORT_RESULTS_H
#define KD_REPORT_RESULTS_H

#include "format/page.h"

/* folder/retention/result.json as a section: scores and changes, curves over steps; and a line for every other folder/NAME/result.json.
 * Nothing where there is none; what cannot be read is said on the page. links: the page lies in folder. KD_ENOMEM. */
kd_status kd_report_results(kd_text *page, const char *folder, bool links);

#endif

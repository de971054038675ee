/* Messages to people: stderr, one line each. stdout is for results. */
#ifndef KD_LOG_H
#define KD_LOG_H

#include "error.h"

void kd_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* "kedge: warning: ..." */
void kd_info(const char *format, ...) __attribute__((format(printf, 1, 2)));  /* "kedge: ..." */

/* A progress bar on a terminal, redrawn in place at most ten times a second; off a terminal a plain line at most every
 * ten seconds and at the end. NO_COLOR and TERM=dumb are honoured. kd_warn and kd_info clear and redraw it. */
typedef struct kd_progress { int64_t total; double started, drawn; bool terminal, colour, open, parts; } kd_progress;
void kd_progress_open(kd_progress *progress, int64_t total);
/* done and total are no numbers for people, as bytes are: only their ratio is shown. */
void kd_progress_parts(kd_progress *progress);
/* done of total, and a short note ("loss 2.31  4.1K tokens/s"). */
void kd_progress_set(kd_progress *progress, int64_t done, const char *note);
void kd_progress_close(kd_progress *progress);

/* Seconds of a monotonic clock. */
double kd_now(void);

#endif

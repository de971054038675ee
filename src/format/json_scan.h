/* The words of JSON: strings decoded where they stand, numbers and names skipped. Readers of records and of trees share
 * them. */
#ifndef KD_JSON_SCAN_H
#define KD_JSON_SCAN_H

#include <stdbool.h>
#include <stdint.h>

/* Text that is overwritten while it is read. *end is behind it and holds a NUL, so that reading *at is always allowed. */
typedef struct kd_scan {
    char *at, *end;
    const char *wrong;     /* after a failure: what is wrong at `at` */
    bool missing;          /* or what should be there and is not */
} kd_scan;

void kd_scan_space(kd_scan *scan);
bool kd_scan_take(kd_scan *scan, char c);                /* space, then c; false if something else stands there */
bool kd_scan_name(kd_scan *scan, const char *name);      /* true, false, null */
/* A string, at its opening quote: *text is in the text and ends with a NUL, valid UTF-8 if the text was. U+0000 is an
 * ordinary character. */
bool kd_scan_string(char **text, int64_t *size, kd_scan *scan);
bool kd_scan_number(bool *whole, kd_scan *scan);         /* whole: no fraction, no exponent, and not -0 */

#endif

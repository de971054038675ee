/* A text that grows: for pages and pictures. A text that could not grow stays as it is and says so at the end, so that
 * writers need not ask after every word. */
#ifndef KD_TEXT_H
#define KD_TEXT_H

#include "base/error.h"

typedef struct kd_text { char *data; int64_t size, room; bool failed; } kd_text;  /* data: NUL-terminated; NULL: empty */

void kd_text_put(kd_text *text, const char *what);
void kd_text_add(kd_text *text, const char *what, int64_t size);
#define KD_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
/* As UTF-8, with U+FFFD for what is invalid, one for each longest beginning of a character, or else byte (Unicode 15, section 3.9;
 * Rust's from_utf8_lossy). */
void kd_text_add_lossy(kd_text *text, const char *data, int64_t size);
void kd_text_print(kd_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* For HTML and XML, inside elements and quoted attributes: & < > " ' become entities, control characters and invalid UTF-8
 * question marks. NULL is nothing. */
void kd_text_escape(kd_text *text, const char *what);
/* A field of CSV (RFC 4180): in quotes where it needs them, quotes doubled. */
void kd_text_field(kd_text *text, const char *what);
/* A string of JSON, in its quotes; what is not UTF-8 in it becomes U+FFFD. */
void kd_text_quote(kd_text *text, const char *what, int64_t size);
/* Base64 (RFC 4648), for data: addresses. */
void kd_text_base64(kd_text *text, const void *data, int64_t size);
/* KD_ENOMEM if something is missing. */
kd_status kd_text_status(const kd_text *text);
void kd_text_free(kd_text *text);

#endif

/* Texts as Python's str has them: code points, white space, letters, lower case. Scores that others published depend on these. */
#ifndef KD_LETTERS_H
#define KD_LETTERS_H

#include "base/error.h"

typedef struct kd_letters { int32_t *c; int64_t n; } kd_letters;

/* From UTF-8; a byte that is not valid becomes U+FFFD. Free with kd_letters_free. */
kd_status kd_letters_open(kd_letters *letters, const char *text, int64_t size);
void kd_letters_free(kd_letters *letters);

bool kd_letter_space(int32_t c);  /* str.isspace */
bool kd_letter_word(int32_t c);   /* \w of re */

/* str.lower, the final sigma included. */
kd_status kd_letters_lower(kd_letters *letters, const char *text, int64_t size);
/* str.capitalize: the first in title case, all others as str.lower has them. */
kd_status kd_letters_capitalize(kd_letters *letters, const char *text, int64_t size);
/* To UTF-8, on the heap. */
kd_status kd_letters_text(char **out, int64_t *size, const kd_letters *letters);

/* str.strip of UTF-8: the stretch of text that is left. */
void kd_text_strip(const char **out, int64_t *size, const char *text, int64_t length);

#endif

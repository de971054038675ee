/* The haystack of essays: one long text of which samples take the beginning, cut behind a word, and in whose gaps between sentences needles
 * are hidden. */
#ifndef KD_RULER_ESSAYS_H
#define KD_RULER_ESSAYS_H

#include "format/text.h"

typedef struct kd_ruler_essays {
    kd_text text;          /* words, one space between them */
    int64_t *end;          /* [words] behind each word */
    int64_t words;
    int64_t *sentence;     /* [sentences] where each begins: behind . ! or ? and a space */
    int64_t sentences;
    int64_t own;           /* words of the text that was given; they are repeated where they do not suffice */
} kd_ruler_essays;

/* Of so many words: the text's, white space made one; NULL: sentences made by a small grammar, which have no digits. KD_ECONFIG for a
 * text without a word. Free with kd_ruler_essays_close. */
kd_status kd_ruler_essays_open(kd_ruler_essays *essays, const char *text, int64_t size, int64_t words);
void kd_ruler_essays_close(kd_ruler_essays *essays);

/* The depths in percent at which needles may lie: 0 to 100 in 39 steps, to nearest, ties to even. */
enum { KD_RULER_DEPTHS = 40 };
int64_t kd_ruler_depth(int64_t i);
/* Before which of n sentences. */
int64_t kd_ruler_depth_place(int64_t depth, int64_t sentences);

/* Appends the first `words` words with needles at ascending depths, everything joined by single spaces. */
void kd_ruler_essays_hide(kd_text *out, const kd_ruler_essays *essays, int64_t words, const char *const *needle, const int64_t *depth,
                          int64_t count);

/* Sentences of the grammar, from the first-th on, at least so many words, appended. */
void kd_ruler_prose(kd_text *text, int64_t first, int64_t words);

#endif

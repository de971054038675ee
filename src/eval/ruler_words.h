/* Keys, code words and words to be counted, for those who bring none. */
#ifndef KD_RULER_WORDS_H
#define KD_RULER_WORDS_H

#include "draws.h"
#include "format/text.h"

enum { KD_RULER_KEY = 48, KD_RULER_CODE = 7 };

/* Key i of kd_ruler_keys(): an adjective, a hyphen, a noun. None is part of another: no adjective ends in another, no noun begins with
 * another. */
int64_t kd_ruler_keys(void);
void kd_ruler_key(char out[KD_RULER_KEY], int64_t i);

/* Word i of kd_ruler_invented(): six letters that can be spoken; two of them are equal nowhere. */
int64_t kd_ruler_invented(void);
void kd_ruler_invent(char out[KD_RULER_CODE], int64_t i);

/* Six letters as they come. */
void kd_ruler_code(char out[KD_RULER_CODE], kd_draws *draws);

/* Words, none of which is part of another. */
typedef struct kd_ruler_words { char (*word)[16]; int64_t count, real; } kd_ruler_words;

/* As many as are needed: first those of a text (NULL: none), 4 to 12 small letters a to z, in the order in which they come; then those
 * of the keys; so far they are real ones. Then invented ones, as far as there are any. Free with kd_ruler_words_close. */
kd_status kd_ruler_words_open(kd_ruler_words *words, const char *text, int64_t size, int64_t need);
void kd_ruler_words_close(kd_ruler_words *words);

#endif

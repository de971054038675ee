/* What generated ids say, as they come: whole characters, behind the prompt's last tokens, up to the first stop string. */
#ifndef KD_ANSWER_TEXT_H
#define KD_ANSWER_TEXT_H

#include "format/tokenizer.h"

typedef struct kd_answer_text {
    const kd_tokenizer *tokenizer;
    const char *const *stop;
    int64_t stops, longest;   /* bytes of the longest stop string */
    kd_ids ids;               /* the prompt's last, which spaces depend on, and what came */
    int64_t from, read;       /* ids from .. read-1 are in the text, and are decoded again in front of those behind them */
    kd_text before, window;   /* what ids from .. read-1 say, and all from `from` on */
    kd_text raw, text;        /* text: UTF-8, ends before a stop string */
    bool stopped;
} kd_answer_text;

/* The prompt's last tokens come first. Stop strings are borrowed. Free with kd_answer_text_close, also after a failure. */
kd_status kd_answer_text_open(kd_answer_text *t, const kd_tokenizer *tokenizer, const int32_t *prompt, int64_t count,
                              const char *const *stop, int64_t stops);
void kd_answer_text_close(kd_answer_text *t);

/* One more id: of an id that is no token nothing is said. t->stopped: a stop string is there, and the text is final. */
kd_status kd_answer_text_add(kd_answer_text *t, int32_t id);
/* No more will come: what is no whole character is U+FFFD. */
kd_status kd_answer_text_end(kd_answer_text *t);

/* Bytes of the text that nothing can change any more: what may become a stop string is held back until the end. */
int64_t kd_answer_text_settled(const kd_answer_text *t, bool ended);

#endif

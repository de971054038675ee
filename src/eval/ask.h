/* Questions of an evaluation put to an engine, some at a time; each answer is heard as soon as it is there, in any order. */
#ifndef KD_ASK_H
#define KD_ASK_H

#include "engine.h"

typedef struct kd_asking {
    int64_t count;           /* questions 0 .. count-1 */
    /* Fills the question but for token and count, and appends the prompt's tokens to ids, which are empty; what the question points to
     * lives until it is heard. No tokens: the answer is known, and nothing is asked. */
    kd_status (*ask)(kd_question *question, kd_ids *ids, void *opaque, int64_t index);
    /* Both are freed afterwards. */
    kd_status (*hear)(void *opaque, int64_t index, const kd_question *question, const kd_answer *answer);
    /* For messages: the question's name, valid until the next call. */
    const char *(*name)(void *opaque, int64_t index);
    void *opaque;
} kd_asking;

/* at_once: questions under way, more than the engine has sequences. A progress line on a terminal. The first failure ends it: of ask or
 * hear, of an answer (named), of the engine; nothing is under way then. */
kd_status kd_ask(kd_engine *engine, const kd_asking *asking, int64_t at_once);

#endif

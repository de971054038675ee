/* A long text cut into windows that a model can see, each token scored once. */
#ifndef KD_EXCERPTS_H
#define KD_EXCERPTS_H

#include "base/error.h"

/* Tokens begin .. end-1 of a text are seen, of which first .. end-1 are scored. begin -1: a prefix token stands before token 0. */
typedef struct kd_excerpt { int64_t begin, end, first; } kd_excerpt;

/* lm-evaluation-harness's rolling windows of n >= 1 tokens: at most `most` are seen for the last scored one, at least `context` for the first (1
 * <= context <= most). Free with free(). */
kd_status kd_excerpts_rolling(kd_excerpt **out, int64_t *count, int64_t n, int64_t most, int64_t context);

/* YaRN's sliding windows: of `length` tokens at every `stride`, a BOS before each if there is one (which is not counted here; without one what
 * stands first in a window is not scored), until the text ends; truncate: one window. KD_EARG if tokens would lie between windows. */
kd_status kd_excerpts_sliding(kd_excerpt **out, int64_t *count, int64_t n, int64_t length, int64_t stride, bool bos, bool truncate);

#endif

/* How much haystack a prompt can have: the most that fits. */
#ifndef KD_RULER_FIT_H
#define KD_RULER_FIT_H

#include "base/error.h"

typedef struct kd_ruler_fit {
    int64_t least, most;   /* sizes that are possible */
    int64_t budget;        /* tokens */
    int64_t slack;         /* a size that leaves at most so many tokens unused is good enough; 0: the largest is found */
    int64_t guess;         /* a size to begin with; 0: least */
    /* The tokens of a prompt of this size, which about grow with it. */
    kd_status (*cost)(void *opaque, int64_t size, int64_t *tokens);
    void *opaque;
    int64_t probes;        /* how often it was asked */
} kd_ruler_fit;

/* The size and its tokens; the last size that was asked for is this one. KD_ECONFIG "its shortest prompt has ... tokens" where even the
 * least does not fit. By secants between a size that fits and one that does not, halving where they do not help: a few probes. */
kd_status kd_ruler_fit_find(int64_t *size, int64_t *tokens, kd_ruler_fit *fit);

#endif

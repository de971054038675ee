/* Interleaved chunks: which documents are cut, where, and in which order the chunks of a window come.
 *
 * Source: AnchorContext (Wang et al. 2024) as intended. A share of 64..2048 tokens is cut into 2 or 3 chunks, another
 * stays whole; chunk k of a document sorts by key r + k * e^u. So the first chunks and the whole documents of a window
 * come first, shuffled, and later chunks behind them. */
#ifndef KD_INTERLEAVE_H
#define KD_INTERLEAVE_H

#include <stdint.h>

enum { KD_INTERLEAVE_PARTS = 3 };  /* chunks of a document at most */

typedef struct kd_interleave {
    int64_t parts;                           /* chunks, 1 .. KD_INTERLEAVE_PARTS */
    int64_t cut[KD_INTERLEAVE_PARTS + 1];    /* chunk k is tokens cut[k] .. cut[k+1]-1 of the share; cut[0] = 0 */
    double key[KD_INTERLEAVE_PARTS];         /* ascending; chunks of a window are sorted by it */
} kd_interleave;

/* The cuts of a document's share: `count` tokens from its token `from`. Cuts are uniform in [0.2 count, 0.8 count], two
 * of them at least 12 apart. A function of (seed, document, from, count) alone. count >= 1. */
kd_interleave kd_interleave_share(uint64_t seed, int64_t document, int64_t from, int64_t count);

#endif

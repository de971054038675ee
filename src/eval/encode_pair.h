/* A context and what may follow it as tokens, as lm-evaluation-harness cuts them. */
#ifndef KD_ENCODE_PAIR_H
#define KD_ENCODE_PAIR_H

#include "format/tokenizer.h"

/* Appends the ids of a text, with all that leads one. */
typedef kd_status kd_encode_text(kd_ids *ids, void *opaque, const char *text, int64_t size);

/* White space that ends the context begins the continuation. ids: those of the context alone, then those of both together from there
 * on, by number: where a tokenizer joins across the seam these are not the continuation's, or there are none. *scored: how many.
 * prefix: the id that stands for an empty context, unless the continuation begins with it; -1: there is none, KD_ECONFIG.
 * ids is overwritten. */
kd_status kd_encode_pair(kd_ids *ids, int64_t *scored, kd_encode_text *encode, void *opaque, int32_t prefix, const char *context,
                         const char *continuation);

/* Cuts ids to the last `most`, of which the first `lead` are kept in front in any case; returns how many went. KD_EARG if that would
 * touch the last `scored`. */
kd_status kd_cut_left(kd_ids *ids, int64_t *cut, int64_t most, int64_t lead, int64_t scored);

#endif

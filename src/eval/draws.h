/* Numbers drawn one after another from a stream of their own: the n-th is a function of seed, stream and n (base/random.h). */
#ifndef KD_DRAWS_H
#define KD_DRAWS_H

#include "base/random.h"

typedef struct kd_draws { uint64_t seed, stream, at; } kd_draws;

static inline uint64_t kd_draw_bits(kd_draws *d) { return kd_random_bits(d->seed, d->stream, d->at++); }
/* Of 0 .. n-1. */
static inline int64_t kd_draw_below(kd_draws *d, int64_t n) { return (int64_t)(kd_draw_bits(d) % (uint64_t)n); }

#endif

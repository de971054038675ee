/* The next token, drawn from logits. */
#ifndef KD_SAMPLER_H
#define KD_SAMPLER_H

#include "engine.h"

typedef struct kd_candidate { int32_t token; float logit; double weight; } kd_candidate;

/* Scratch for one thread. */
typedef struct kd_sampler { kd_candidate *candidate; int64_t V; } kd_sampler;
kd_status kd_sampler_open(kd_sampler *sampler, int64_t V);
void kd_sampler_close(kd_sampler *sampler);

/* KD_EARG with the value: temperature and top_k are 0 or more, top_p is in [0, 1]. At top_p 0 the likeliest is left. */
kd_status kd_sampling_check(const kd_sampling *sampling);

/* The n-th token of an answer, from logits [V], as kd_sampling says; never one of banned [bans]. Ids from `most` on are none that can be
 * drawn. Which set of tokens is left decides, and not how it came about: top_k of all of them is top_k 0.
 * KD_ENUMERIC where a logit is NaN or +infinity, or no token is left. */
kd_status kd_sample(int32_t *token, kd_sampler *sampler, const float *logits, int64_t most, const kd_sampling *sampling, int64_t n,
                    const int32_t *banned, int64_t bans);

#endif

/* Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011). A number is a function of (seed, stream, index):
 * no state to save, and the same whatever the order or the thread. */
#ifndef KD_RANDOM_H
#define KD_RANDOM_H

#include <stdint.h>

/* 64 random bits. */
uint64_t kd_random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* Uniform in [0, 1), 53 bits. */
double kd_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);

/* Standard normal (Box-Muller; both uniforms from one block). */
double kd_random_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* A bijection of [0, n), keyed by (seed, stream): a Feistel network with cycle walking. 0 <= index < n. */
uint64_t kd_random_permute(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);

#endif

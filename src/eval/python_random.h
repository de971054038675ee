/* The numbers that Python's random.Random and numpy's old RandomState draw: examples that others drew are drawn again.
 * Source: Matsumoto & Nishimura 1998 (MT19937); the drawing of CPython's Lib/random.py. */
#ifndef KD_PYTHON_RANDOM_H
#define KD_PYTHON_RANDOM_H

#include "base/error.h"

typedef struct kd_python_random { uint32_t state[624]; int at; } kd_python_random;

void kd_python_seed(kd_python_random *r, uint64_t seed);  /* random.Random(seed) */
void kd_numpy_seed(kd_python_random *r, uint32_t seed);   /* numpy.random.seed(seed) */

uint32_t kd_python_bits32(kd_python_random *r);
double kd_python_uniform(kd_python_random *r);                 /* random(): [0, 1) */
int64_t kd_python_below(kd_python_random *r, int64_t n);       /* randrange(n), n >= 1; choice(s) is s[below(len(s))] */
int64_t kd_numpy_between(kd_python_random *r, int64_t low, int64_t end);  /* randint(low, end): below 2^32 values */

/* shuffle of n things of `size` bytes each, at most 64. */
void kd_python_shuffle(kd_python_random *r, void *things, int64_t n, int64_t size);
/* sample(range(n), k): out [k]. KD_EARG if k > n, KD_ENOMEM. */
kd_status kd_python_sample(int64_t *out, kd_python_random *r, int64_t n, int64_t k);

#endif

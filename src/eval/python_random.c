#include "python_random.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"

enum { N = 624, M = 397 };

void kd_numpy_seed(kd_python_random *r, uint32_t seed) {
    r->state[0] = seed;
    for (uint32_t i = 1; i < N; i++) r->state[i] = 1812433253u * (r->state[i - 1] ^ (r->state[i - 1] >> 30)) + i;
    r->at = N;
}

/* By the seed's words, the lowest first. */
void kd_python_seed(kd_python_random *r, uint64_t seed) {
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, keys = key[1] ? 2 : 1, i = 1, j = 0, *s = r->state;
    kd_numpy_seed(r, 19650218);
    for (int k = 0; k < N; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + key[j] + j;
        if (++i == N) s[0] = s[N - 1], i = 1;
        if (++j == keys) j = 0;
    }
    for (int k = 1; k < N; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - i;
        if (++i == N) s[0] = s[N - 1], i = 1;
    }
    s[0] = 0x80000000u;
    r->at = N;
}

static void twist(kd_python_random *r) {
    uint32_t *s = r->state;
    for (int i = 0; i < N; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % N] & 0x7fffffffu);
        s[i] = s[(i + M) % N] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->at = 0;
}

uint32_t kd_python_bits32(kd_python_random *r) {
    if (r->at == N) twist(r);
    uint32_t y = r->state[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

double kd_python_uniform(kd_python_random *r) {
    uint32_t high = kd_python_bits32(r) >> 5, low = kd_python_bits32(r) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

/* getrandbits(bits), 1 to 63. */
static uint64_t bits_of(kd_python_random *r, int bits) {
    if (bits <= 32) return kd_python_bits32(r) >> (32 - bits);
    uint64_t low = kd_python_bits32(r);
    return low | (uint64_t)(kd_python_bits32(r) >> (64 - bits)) << 32;
}

int64_t kd_python_below(kd_python_random *r, int64_t n) {
    int bits = 64 - __builtin_clzll((unsigned long long)n);
    uint64_t draw;
    do draw = bits_of(r, bits);
    while (draw >= (uint64_t)n);
    return (int64_t)draw;
}

int64_t kd_numpy_between(kd_python_random *r, int64_t low, int64_t end) {
    uint32_t range = (uint32_t)(end - 1 - low), mask = range, draw;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    if (range == 0) return low;
    do draw = kd_python_bits32(r) & mask;
    while (draw > range);
    return low + draw;
}

void kd_python_shuffle(kd_python_random *r, void *things, int64_t n, int64_t size) {
    char *at = things, swap[64];
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = kd_python_below(r, i + 1);
        memcpy(swap, at + i * size, (size_t)size);
        memmove(at + i * size, at + j * size, (size_t)size);
        memcpy(at + j * size, swap, (size_t)size);
    }
}

/* Few of many are drawn until they differ, many of few are taken from a pool: by which is smaller in CPython. */
kd_status kd_python_sample(int64_t *out, kd_python_random *r, int64_t n, int64_t k) {
    if (k < 0 || k > n) return kd_fail(KD_EARG, "a sample of %lld out of %lld", (long long)k, (long long)n);
    int64_t set = 21, *pool = NULL;
    char *taken = NULL;
    if (k > 5)
        for (int64_t size = 1;; size *= 4)
            if (size >= 3 * k) {
                set += size;
                break;
            }
    if (n <= set) {
        KD_TRY(kd_new(&pool, n, sizeof *pool));
        for (int64_t i = 0; i < n; i++) pool[i] = i;
        for (int64_t i = 0; i < k; i++) {
            int64_t j = kd_python_below(r, n - i);
            out[i] = pool[j];
            pool[j] = pool[n - i - 1];
        }
    } else {
        KD_TRY(kd_new(&taken, n, 1));
        for (int64_t i = 0; i < k; i++) {
            do out[i] = kd_python_below(r, n);
            while (taken[out[i]]);
            taken[out[i]] = 1;
        }
    }
    free(taken);
    free(pool);
    return KD_OK;
}

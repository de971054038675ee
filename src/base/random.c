#include "random.h"

#include <math.h>

typedef struct block { uint32_t word[4]; } block;

static block philox(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (block){{c[0], c[1], c[2], c[3]}};
}

static uint64_t join(uint32_t low, uint32_t high) { return (uint64_t)high << 32 | low; }

uint64_t kd_random_bits(uint64_t seed, uint64_t stream, uint64_t index) {
    block b = philox(seed, stream, index);
    return join(b.word[0], b.word[1]);
}

double kd_random_uniform(uint64_t seed, uint64_t stream, uint64_t index) {
    return (double)(kd_random_bits(seed, stream, index) >> 11) * 0x1p-53;
}

double kd_random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    block b = philox(seed, stream, index);
    double radius = ((double)(join(b.word[0], b.word[1]) >> 11) + 1) * 0x1p-53;  /* (0, 1]: its logarithm is finite */
    double turn = (double)(join(b.word[2], b.word[3]) >> 11) * 0x1p-53;
    return sqrt(-2 * log(radius)) * cos(6.283185307179586477 * turn);
}

uint64_t kd_random_permute(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
    int half = 1;
    while (half < 32 && (n - 1) >> (2 * half)) half++;
    uint64_t mask = ((uint64_t)1 << half) - 1;
    do {  /* at most 4 times as many values as needed, so few turns on average */
        uint64_t left = index >> half, right = index & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t mixed = left ^ (kd_random_bits(seed, stream, round << 32 | right) & mask);
            left = right;
            right = mixed;
        }
        index = left << half | right;
    } while (index >= n);
    return index;
}

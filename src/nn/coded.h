/* Moments in 8 bits: blocks of KD_CODED_BLOCK numbers, of which the one of largest size, the first of equals, is kept in float32, and for
 * each number the code of its share of that one, which itself is 1. Codes stand for 256 shares in ascending order, finer toward 0: the dynamic 8-bit numbers of Dettmers et al. 2022
 * ("8-bit Optimizers via Block-wise Quantization"), signed for the first moment, positive for the second. What is widened and coded
 * again is the same code and the same scale, so a checkpoint in float32 loses nothing. */
#ifndef KD_CODED_H
#define KD_CODED_H

#include <stdbool.h>
#include <stdint.h>

enum { KD_CODED_BLOCK = 256 };

#if defined(__CUDACC__)
#define KD_ON_BOTH __host__ __device__
#else
#define KD_ON_BOTH
#endif

/* Block b is numbers 256 b .. 256 b + 255 of `code`, of which the last block may have fewer; scale has one number a block. */
typedef struct kd_coded { uint8_t *code; float *scale; } kd_coded;

/* The shares that codes stand for, ascending; and between each two the middle, from which on the upper one is nearer (the last: infinity). */
typedef struct kd_coded_shares { float share[256], middle[256]; } kd_coded_shares;
const kd_coded_shares *kd_coded_shares_of(bool is_signed);

/* The code of x, which is at most 1 in size. A positive x never becomes 0 where there are no negative numbers: what is divided by the second
 * moment's root must not grow without bound. */
static inline KD_ON_BOTH uint8_t kd_share_code(const kd_coded_shares *s, float x) {
    int code = 0;
    for (int step = 128; step; step /= 2)
        if (x >= s->middle[code + step - 1]) code += step;
    if (s->share[0] == 0.0f && code == 0 && x > 0.0f) code = 1;
    return (uint8_t)code;
}

/* n numbers from the beginning of a block on, on the host. */
void kd_coded_widen(float *out, kd_coded in, bool is_signed, int64_t n);
void kd_coded_narrow(kd_coded out, const float *in, bool is_signed, int64_t n);

#endif

/* bf16 and f16 are storage: conversions to and from float32, round to nearest, ties to even. */
#ifndef KD_HALF_H
#define KD_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t kd_bits_of(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float kd_float_of(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

static inline float kd_bf16_widen(uint16_t x) { return kd_float_of((uint32_t)x << 16); }

static inline uint16_t kd_bf16_round(float x) {
    uint32_t u = kd_bits_of(x);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);  /* a NaN stays one */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* By masks and signed comparisons, the one form that gcc and clang both turn into vectors. */
static inline float kd_f16_widen(uint16_t x) {
    int32_t rest = (x & 0x7fff) << 13, is_small = -(rest < 0x800000), is_top = -(rest >= 0x0f800000);
    int32_t large = rest + 0x38000000 + (is_top & 0x38000000);                          /* infinity, NaN: to the top */
    float small = kd_float_of((uint32_t)(rest & 0x7fffff) | 0x38800000) - 0x1p-14f;     /* subnormal, exactly */
    uint32_t bits = (kd_bits_of(small) & (uint32_t)is_small) | ((uint32_t)large & ~(uint32_t)is_small);
    return kd_float_of((uint32_t)(x & 0x8000) << 16 | bits);
}

static inline uint16_t kd_f16_round(float x) {
    uint32_t u = kd_bits_of(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00);
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                    /* 65520 and above */
    if (a < 0x38800000)                                                      /* subnormal: adding 2^-1 rounds at 2^-24 */
        return (uint16_t)(sign | (kd_bits_of(kd_float_of(a) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | ((a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13));
}

#endif

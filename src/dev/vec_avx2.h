/* The vector vocabulary on AVX2: 8 lanes of float32. Sources written in it (*_vec.inc) give the same bits on every
 * vocabulary, because each lane does the same operations in the same order. FMA is explicit; nothing is contracted. */
#ifndef KD_VEC_H
#define KD_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define VISA avx2
#define VW 8            /* lanes */
#define VREGS 16        /* vector registers */

typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vmask;   /* all ones in a lane: true */

static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static inline vf v_set(float x) { return _mm256_set1_ps(x); }
static inline vf v_zero(void) { return _mm256_setzero_ps(); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }    /* a*b + c */
static inline vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }  /* c - a*b */
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }               /* b where a is NaN */
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf v_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }

static inline vi v_iset(int32_t x) { return _mm256_set1_epi32(x); }
static inline vi v_iota(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
static inline vi v_iload(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline vi v_iadd(vi a, vi b) { return _mm256_add_epi32(a, b); }
static inline vi v_isub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
static inline vi v_iand(vi a, vi b) { return _mm256_and_si256(a, b); }
static inline vi v_ior(vi a, vi b) { return _mm256_or_si256(a, b); }
#define v_shift_left(a, n) _mm256_slli_epi32(a, n)
#define v_shift_right(a, n) _mm256_srai_epi32(a, n)
static inline vf v_as_float(vi a) { return _mm256_castsi256_ps(a); }
static inline vi v_as_int(vf a) { return _mm256_castps_si256(a); }
static inline vf v_to_float(vi a) { return _mm256_cvtepi32_ps(a); }
static inline vi v_to_int(vf a) { return _mm256_cvtps_epi32(a); }  /* nearest, ties to even */

static inline vmask v_igreater(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b)); }
static inline vmask v_less(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vf v_select(vmask m, vf yes, vf no) { return _mm256_blendv_ps(no, yes, m); }

/* The first n lanes (0 <= n <= VW); the others read as zero and are not written. A masked store takes some 20 cycles on AMD,
 * so whole vectors, which are nearly all, go around it. */
static inline vi v_first(int64_t n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)n), v_iota()); }
static inline vf v_load_first(const float *p, int64_t n) { return _mm256_maskload_ps(p, v_first(n)); }
static inline vf v_select_first(vf yes, vf no, int64_t n) { return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(v_first(n))); }
static inline void v_store_first(float *p, vf a, int64_t n) {
    if (n >= VW) _mm256_storeu_ps(p, a);
    else _mm256_maskstore_ps(p, v_first(n), a);
}

/* 16-bit numbers: widened, and rounded to nearest, ties to even. */
static inline vf v_load_bf16(const uint16_t *p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static inline vf v_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
static inline vf v_low_f16(vi a) {  /* the lower half of each lane, a float16 number */
    __m256i low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08)));
}
static inline void v_store_high(uint16_t *p, vf a) {  /* the upper half of each lane */
    __m256i high = _mm256_srli_epi32(_mm256_castps_si256(a), 16);
    __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(both));
}
static inline void v_store_f16(uint16_t *p, vf a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Transposes VW rows of VW: lane r of out[c] is p[r*stride + c]. */
static inline void v_load_columns(vf *out, const float *p, int64_t stride) {
    for (int q = 0; q < 2; q++) {  /* four columns at a time: rows r and r+4 in the halves, 4x4 inside each half */
        vf t[4];
        for (int i = 0; i < 4; i++) {
            const float *row = p + i * stride + 4 * q;
            t[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row)), _mm_loadu_ps(row + 4 * stride), 1);
        }
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(t[0], t[1])), b = _mm256_castps_pd(_mm256_unpacklo_ps(t[2], t[3]));
        __m256d c = _mm256_castps_pd(_mm256_unpackhi_ps(t[0], t[1])), d = _mm256_castps_pd(_mm256_unpackhi_ps(t[2], t[3]));
        out[4 * q] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
        out[4 * q + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        out[4 * q + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(c, d));
        out[4 * q + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(c, d));
    }
}

/* The same of vectors. */
static inline __attribute__((always_inline)) void v_turn(vf x[8]) {
    vf t[8];
    _Pragma("GCC unroll 2") for (int i = 0; i < 8; i += 4) {
        __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(x[i], x[i + 1])), b = _mm256_castps_pd(_mm256_unpacklo_ps(x[i + 2], x[i + 3]));
        __m256d c = _mm256_castps_pd(_mm256_unpackhi_ps(x[i], x[i + 1])), d = _mm256_castps_pd(_mm256_unpackhi_ps(x[i + 2], x[i + 3]));
        t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));  /* columns 0 and 4 of rows i .. i+3 */
        t[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
        t[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(c, d));
        t[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(c, d));
    }
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {
        x[j] = _mm256_permute2f128_ps(t[j], t[j + 4], 0x20);
        x[j + 4] = _mm256_permute2f128_ps(t[j], t[j + 4], 0x31);
    }
}

#endif

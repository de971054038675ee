/* The vector vocabulary on AVX-512: 16 lanes of float32. See vec_avx2.h. */
#ifndef KD_VEC_H
#define KD_VEC_H

#include <immintrin.h>
#include <stdint.h>

#define VISA avx512
#define VW 16
#define VREGS 32

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vmask;

static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf v_set(float x) { return _mm512_set1_ps(x); }
static inline vf v_zero(void) { return _mm512_setzero_ps(); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_neg(vf a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }

static inline vi v_iset(int32_t x) { return _mm512_set1_epi32(x); }
static inline vi v_iota(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
static inline vi v_iload(const int32_t *p) { return _mm512_loadu_si512(p); }
static inline vi v_iadd(vi a, vi b) { return _mm512_add_epi32(a, b); }
static inline vi v_isub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
static inline vi v_iand(vi a, vi b) { return _mm512_and_si512(a, b); }
static inline vi v_ior(vi a, vi b) { return _mm512_or_si512(a, b); }
#define v_shift_left(a, n) _mm512_slli_epi32(a, n)
#define v_shift_right(a, n) _mm512_srai_epi32(a, n)
static inline vf v_as_float(vi a) { return _mm512_castsi512_ps(a); }
static inline vi v_as_int(vf a) { return _mm512_castps_si512(a); }
static inline vf v_to_float(vi a) { return _mm512_cvtepi32_ps(a); }
static inline vi v_to_int(vf a) { return _mm512_cvtps_epi32(a); }

static inline vmask v_igreater(vi a, vi b) { return _mm512_cmpgt_epi32_mask(a, b); }
static inline vmask v_less(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vf v_select(vmask m, vf yes, vf no) { return _mm512_mask_blend_ps(m, no, yes); }

static inline __mmask16 v_first(int64_t n) { return (__mmask16)((1u << n) - 1); }
static inline vf v_load_first(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
static inline vf v_select_first(vf yes, vf no, int64_t n) { return _mm512_mask_blend_ps(v_first(n), no, yes); }
static inline void v_store_first(float *p, vf a, int64_t n) { _mm512_mask_storeu_ps(p, v_first(n), a); }

static inline vf v_load_bf16(const uint16_t *p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline vf v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline vf v_low_f16(vi a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
static inline void v_store_high(uint16_t *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(a), 16)));
}
static inline void v_store_f16(uint16_t *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Transposes VW rows of VW: lane r of out[c] is p[r*stride + c]. */
static inline void v_load_columns(vf *out, const float *p, int64_t stride) {
    for (int q = 0; q < 4; q++) {  /* four columns at a time: rows r, r+4, r+8, r+12 in the quarters, 4x4 inside each */
        vf t[4];
        for (int i = 0; i < 4; i++) {
            const float *row = p + i * stride + 4 * q;
            t[i] = _mm512_castps128_ps512(_mm_loadu_ps(row));
            t[i] = _mm512_insertf32x4(t[i], _mm_loadu_ps(row + 4 * stride), 1);
            t[i] = _mm512_insertf32x4(t[i], _mm_loadu_ps(row + 8 * stride), 2);
            t[i] = _mm512_insertf32x4(t[i], _mm_loadu_ps(row + 12 * stride), 3);
        }
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(t[0], t[1])), b = _mm512_castps_pd(_mm512_unpacklo_ps(t[2], t[3]));
        __m512d c = _mm512_castps_pd(_mm512_unpackhi_ps(t[0], t[1])), d = _mm512_castps_pd(_mm512_unpackhi_ps(t[2], t[3]));
        out[4 * q] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
        out[4 * q + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        out[4 * q + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        out[4 * q + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
}

/* The same of vectors. */
static inline __attribute__((always_inline)) void v_turn(vf x[16]) {
    vf t[16];
    _Pragma("GCC unroll 4") for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x[i], x[i + 1])), b = _mm512_castps_pd(_mm512_unpacklo_ps(x[i + 2], x[i + 3]));
        __m512d c = _mm512_castps_pd(_mm512_unpackhi_ps(x[i], x[i + 1])), d = _mm512_castps_pd(_mm512_unpackhi_ps(x[i + 2], x[i + 3]));
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));  /* columns 0, 4, 8, 12 of rows i .. i+3 */
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
    }
    _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) {
        vf low = _mm512_shuffle_f32x4(t[j], t[j + 4], 0x88), odd = _mm512_shuffle_f32x4(t[j], t[j + 4], 0xdd);  /* columns j and j+8; j+4 and j+12 */
        vf low2 = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0x88), odd2 = _mm512_shuffle_f32x4(t[j + 8], t[j + 12], 0xdd);
        x[j] = _mm512_shuffle_f32x4(low, low2, 0x88);
        x[j + 8] = _mm512_shuffle_f32x4(low, low2, 0xdd);
        x[j + 4] = _mm512_shuffle_f32x4(odd, odd2, 0x88);
        x[j + 12] = _mm512_shuffle_f32x4(odd, odd2, 0xdd);
    }
}

#endif

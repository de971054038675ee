#include "ladder.h"

#include <math.h>

#include "base/half.h"

const kd_rung kd_ladder[KD_PRECISIONS] = {
    [KD_PRECISION_EXACT] = {"exact", KD_ANGLES_DOUBLE, KD_STORE_F32, false, false},
    [KD_PRECISION_F32_ANGLE] = {"f32-angle", KD_ANGLES_F32, KD_STORE_F32, false, false},
    [KD_PRECISION_SPLIT] = {"split", KD_ANGLES_DOUBLE, KD_STORE_PAIR, false, false},
    [KD_PRECISION_F16_STORE] = {"f16-store", KD_ANGLES_DOUBLE, KD_STORE_F16, false, false},
    [KD_PRECISION_BF16_STORE] = {"bf16-store", KD_ANGLES_F32, KD_STORE_BF16, false, false},
    [KD_PRECISION_BF16] = {"bf16", KD_ANGLES_BF16, KD_STORE_BF16, true, false},
    [KD_PRECISION_BF16_EAGER] = {"bf16-eager", KD_ANGLES_BF16, KD_STORE_BF16, true, true},
};

const char *kd_precision_name(kd_precision precision) {
    return (unsigned)precision < KD_PRECISIONS ? kd_ladder[precision].name : NULL;
}

static float bf16(float x) { return kd_bf16_widen(kd_bf16_round(x)); }

/* A finite number beyond float16's largest would become infinity, or, saturated, another number: neither is a rounding. */
static bool fits_f16(float x) { return fabsf(x) <= 65504 || !isfinite(x); }

bool kd_rung_turn(float *out, float *low, const float *x, const float *row, float sign, int64_t E, const kd_rung *rung) {
    int64_t half = E / 2;
    bool fits = true;
    for (int64_t e = 0; e < half; e++) {
        float c = row[e], s = sign * row[e + half], a = x[e], b = x[e + half];
        if (rung->bf16_products) {
            a = bf16(a), b = bf16(b);
            out[e] = bf16(a * c) - bf16(b * s);
            out[e + half] = bf16(b * c) + bf16(a * s);
        } else {
            out[e] = a * c - b * s;
            out[e + half] = b * c + a * s;
        }
    }
    for (int64_t e = 0; e < E; e++) {
        float y = out[e];
        if (rung->storage == KD_STORE_F16) fits &= fits_f16(y), out[e] = kd_f16_widen(kd_f16_round(y));
        else if (rung->storage != KD_STORE_F32) out[e] = bf16(y);
        if (rung->storage == KD_STORE_PAIR) low[e] = bf16(y - out[e]);
    }
    return fits;
}

kd_status kd_rung_unfit(const kd_attn *a, const char *what, int64_t t, int64_t head) {
    return kd_fail(KD_ENUMERIC, "attention: precision %s: token %lld, %s head %lld: a rotated number is beyond 65504, the "
                   "largest of float16", kd_rung_of(a)->name, (long long)t, what, (long long)head);
}

float kd_eager_logit(float product, float scale) { return bf16(bf16(product) * scale); }
float kd_eager_probability(float probability) { return bf16(probability); }

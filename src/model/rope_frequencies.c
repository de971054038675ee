/* Inverse frequencies in float32, step by step, as transformers 5 computes them: checkpoints were trained with these
 * roundings. Numbers that are Python's there are double here, tensors float. */
#include <math.h>

#include "rope_config.h"

static const double pi = 3.14159265358979323846;

double kd_rope_ntk_theta(const kd_rope_config *rope, int64_t E) {
    return rope->theta * pow(rope->factor, (double)E / (double)(E - 2));
}

/* The base that ntk and dynamic make; dynamic's grows with the length beyond max_positions, which is a tensor there. */
static float base_of(const kd_rope_config *rope, int64_t E, int64_t length) {
    if (rope->type == KD_ROPE_NTK) return (float)kd_rope_ntk_theta(rope, E);
    if (rope->type != KD_ROPE_DYNAMIC || length <= rope->max_positions) return (float)rope->theta;
    float stretch = (float)rope->factor * (float)length / (float)rope->max_positions - (float)(rope->factor - 1);
    return (float)rope->theta * (float)pow(stretch, (double)E / (double)(E - 2));
}

static float llama3(const kd_rope_config *rope, float f) {
    float factor = (float)rope->factor, low = (float)rope->low_freq_factor, high = (float)rope->high_freq_factor;
    float original = (float)rope->original, wavelength = 6.283185307179586f / f;
    if (wavelength > original / low) return f / factor;
    if (wavelength < original / high) return f;
    float smooth = (original / wavelength - low) / (high - low);
    return (1 - smooth) * f / factor + smooth * f;
}

/* The pair (a fraction of one) that turns `rotations` times within the original length. */
static double pair_of(const kd_rope_config *rope, double rotations, int64_t E) {
    return (double)E * log(rope->original / (rotations * 2 * pi)) / (2 * log(rope->theta));
}

/* Yarn: fast pairs as they are, slow ones divided by the factor, a linear ramp from pair low to pair high between. */
static float yarn(const kd_rope_config *rope, float power, int64_t e, int64_t E) {
    double low = pair_of(rope, rope->beta_fast, E), high = pair_of(rope, rope->beta_slow, E);
    if (rope->truncate != 0) low = floor(low), high = ceil(high);
    low = fmax(low, 0);
    high = fmin(high, (double)(E - 1));
    if (low == high) high += 0.001;
    float ramp = ((float)e - (float)low) / (float)(high - low);
    float kept = 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
    return 1.0f / ((float)rope->factor * power) * (1 - kept) + 1.0f / power * kept;
}

void kd_rope_frequencies(double *inv_freq, const kd_rope_config *rope, int64_t E, int64_t length) {
    float base = base_of(rope, E, length);
    const double *stretch = (double)length > rope->original ? rope->long_factor : rope->short_factor;
    for (int64_t e = 0; e < E / 2; e++) {
        float power = powf(base, (float)(2 * e) / (float)E), f = 1.0f / power;
        if (rope->type == KD_ROPE_LINEAR) f /= (float)rope->factor;
        if (rope->type == KD_ROPE_LLAMA3) f = llama3(rope, f);
        if (rope->type == KD_ROPE_YARN) f = yarn(rope, power, e, E);
        if (rope->type == KD_ROPE_LONGROPE) f = 1.0f / ((float)stretch[e] * power);
        inv_freq[e] = f;
    }
}

/* 0.1 m ln(factor) + 1: what yarn's paper recommends, with m = 1. */
static double yarn_scale(double factor, double m) { return factor <= 1 ? 1 : 0.1 * m * log(factor) + 1; }

double kd_rope_attention_factor(const kd_rope_config *rope) {
    bool yarned = rope->type == KD_ROPE_YARN;
    if (!yarned && rope->type != KD_ROPE_LONGROPE) return 1;
    if (rope->attention_factor != 0) return rope->attention_factor;
    if (yarned && rope->mscale != 0 && rope->mscale_all_dim != 0)
        return yarn_scale(rope->factor, rope->mscale) / yarn_scale(rope->factor, rope->mscale_all_dim);
    if (yarned) return yarn_scale(rope->factor, 1);
    return rope->factor <= 1 ? 1 : sqrt(1 + log(rope->factor) / log(rope->original));
}

/* RoPE as config.json declares it, in the dialects of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters). */
#include <math.h>
#include <string.h>

#include "config.h"

typedef struct rope_type_name { const char *name; bool here; kd_rope_type type; } rope_type_name;

/* Those that are here stand in the order of the enum. */
static const rope_type_name rope_types[] = {
    {"default", true, KD_ROPE_DEFAULT}, {"linear", true, KD_ROPE_LINEAR}, {"llama3", true, KD_ROPE_LLAMA3},
    {"dynamic", false, 0}, {"yarn", false, 0}, {"longrope", false, 0}, {"su", false, 0}, {"ntk", false, 0},
};
enum { ROPE_TYPES = sizeof rope_types / sizeof *rope_types };

const char *kd_rope_type_name(kd_rope_type type) { return rope_types[type].name; }

static kd_status parse_type(kd_rope_type *type, const json_t *scaling, const char *name) {
    const char *text = NULL;
    KD_TRY(kd_json_maybe_string(&text, scaling, "rope_type", name));
    if (!text) KD_TRY(kd_json_maybe_string(&text, scaling, "type", name));
    *type = KD_ROPE_DEFAULT;
    if (!text) return KD_OK;
    for (int i = 0; i < ROPE_TYPES; i++) {
        if (strcmp(text, rope_types[i].name)) continue;
        if (!rope_types[i].here) return kd_fail(KD_ENOTSUP, "%s: RoPE type \"%s\": not in this build yet", name, text);
        *type = rope_types[i].type;
        return KD_OK;
    }
    return kd_fail(KD_ENOTSUP, "%s: unknown RoPE type \"%s\"; known here: default, linear, llama3", name, text);
}

static kd_status need_number(double *out, const json_t *scaling, const char *key, const char *name) {
    bool found;
    KD_TRY(kd_json_maybe_number(out, &found, scaling, key, name));
    if (!found) return kd_fail(KD_EFORMAT, "%s: RoPE scaling has no \"%s\"", name, key);
    if (!(*out > 0) || !isfinite(*out)) return kd_fail(KD_EFORMAT, "%s: RoPE %s is %g", name, key, *out);
    return KD_OK;
}

kd_status kd_rope_parse(kd_rope_config *rope, const json_t *config, const char *name) {
    *rope = (kd_rope_config){.theta = 10000};
    bool found;
    KD_TRY(kd_json_maybe_number(&rope->theta, &found, config, "rope_theta", name));
    const json_t *scaling = json_object_get(config, "rope_parameters");
    if (!scaling || json_is_null(scaling)) scaling = json_object_get(config, "rope_scaling");
    if (scaling && !json_is_null(scaling)) {
        if (!json_is_object(scaling)) return kd_fail(KD_EFORMAT, "%s: RoPE scaling is not an object", name);
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)scaling, key, value) {
            if (json_is_object(value))
                return kd_fail(KD_ENOTSUP, "%s: RoPE by layer type (\"%s\"): not in this build yet", name, key);
        }
        KD_TRY(kd_json_maybe_number(&rope->theta, &found, scaling, "rope_theta", name));
        KD_TRY(parse_type(&rope->type, scaling, name));
        double partial = 1;
        KD_TRY(kd_json_maybe_number(&partial, &found, scaling, "partial_rotary_factor", name));
        if (partial != 1) return kd_fail(KD_ENOTSUP, "%s: partial_rotary_factor %g: not in this build yet", name, partial);
        if (rope->type != KD_ROPE_DEFAULT) KD_TRY(need_number(&rope->factor, scaling, "factor", name));
        if (rope->type == KD_ROPE_LLAMA3) {
            double original = 0;
            KD_TRY(need_number(&rope->low_freq_factor, scaling, "low_freq_factor", name));
            KD_TRY(need_number(&rope->high_freq_factor, scaling, "high_freq_factor", name));
            KD_TRY(need_number(&original, scaling, "original_max_position_embeddings", name));
            rope->original = (int64_t)original;
            if (rope->high_freq_factor <= rope->low_freq_factor)
                return kd_fail(KD_EFORMAT, "%s: RoPE high_freq_factor %g is not above low_freq_factor %g", name,
                               rope->high_freq_factor, rope->low_freq_factor);
        }
    }
    if (!(rope->theta > 0) || !isfinite(rope->theta)) return kd_fail(KD_EFORMAT, "%s: rope_theta is %g", name, rope->theta);
    return KD_OK;
}

kd_status kd_rope_write(json_t *config, const kd_rope_config *rope) {
    const char *type = kd_rope_type_name(rope->type);
    json_t *five = json_pack("{s:s, s:f}", "rope_type", type, "rope_theta", rope->theta);
    json_t *four = rope->type == KD_ROPE_DEFAULT ? json_null() : json_pack("{s:s}", "rope_type", type);
    bool bad = !five || !four;
    for (int dialect = 0; dialect < 2 && !bad && rope->type != KD_ROPE_DEFAULT; dialect++) {
        json_t *to = dialect ? five : four;
        bad |= json_object_set_new(to, "factor", json_real(rope->factor));
        if (rope->type != KD_ROPE_LLAMA3) continue;
        bad |= json_object_set_new(to, "low_freq_factor", json_real(rope->low_freq_factor));
        bad |= json_object_set_new(to, "high_freq_factor", json_real(rope->high_freq_factor));
        bad |= json_object_set_new(to, "original_max_position_embeddings", json_integer(rope->original));
    }
    bad |= json_object_set_new(config, "rope_theta", json_real(rope->theta));
    bad |= json_object_set_new(config, "rope_scaling", four);
    bad |= json_object_set_new(config, "rope_parameters", five);
    return bad ? kd_fail(KD_ENOMEM, "out of memory while writing config.json") : KD_OK;
}

/* In float32, step by step, as transformers computes them: checkpoints were trained with these roundings. */
void kd_rope_frequencies(double *inv_freq, const kd_rope_config *rope, int64_t E) {
    for (int64_t e = 0; e < E / 2; e++) {
        float f = 1.0f / powf((float)rope->theta, (float)(2 * e) / (float)E);
        if (rope->type == KD_ROPE_LINEAR) f /= (float)rope->factor;
        if (rope->type == KD_ROPE_LLAMA3) {
            float factor = (float)rope->factor, low = (float)rope->low_freq_factor, high = (float)rope->high_freq_factor;
            float original = (float)rope->original, wavelength = 6.283185307179586f / f;
            if (wavelength > original / low) {
                f /= factor;
            } else if (!(wavelength < original / high)) {
                float smooth = (original / wavelength - low) / (high - low);
                f = (1 - smooth) * f / factor + smooth * f;
            }
        }
        inv_freq[e] = f;
    }
}

/* RoPE as config.json declares it, in the dialects of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters). */
#include "rope_config.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/log.h"

static const char *const names[KD_ROPE_TYPES] = {"default", "linear", "dynamic", "ntk", "llama3", "yarn", "longrope"};

enum {
    LINEAR = 1 << KD_ROPE_LINEAR, DYNAMIC = 1 << KD_ROPE_DYNAMIC, NTK = 1 << KD_ROPE_NTK, LLAMA3 = 1 << KD_ROPE_LLAMA3,
    YARN = 1 << KD_ROPE_YARN, LONGROPE = 1 << KD_ROPE_LONGROPE,
};
#define AT(field) offsetof(kd_rope_config, field)

const kd_rope_number kd_rope_numbers[] = {
    {"factor", AT(factor), LINEAR | DYNAMIC | NTK | LLAMA3 | YARN, LINEAR | DYNAMIC | NTK | LLAMA3 | YARN | LONGROPE, 0, 1, KD_ROPE_REAL},
    {"low_freq_factor", AT(low_freq_factor), LLAMA3, LLAMA3, 0, 1e-6, KD_ROPE_REAL},
    {"high_freq_factor", AT(high_freq_factor), LLAMA3, LLAMA3, 0, 1e-6, KD_ROPE_REAL},
    {"original_max_position_embeddings", AT(original), LLAMA3, LLAMA3 | YARN | LONGROPE, 0, 2, KD_ROPE_WHOLE},
    {"attention_factor", AT(attention_factor), 0, YARN | LONGROPE, 0, 1e-6, KD_ROPE_REAL},
    {"beta_fast", AT(beta_fast), 0, YARN, 32, 1e-6, KD_ROPE_REAL},
    {"beta_slow", AT(beta_slow), 0, YARN, 1, 1e-6, KD_ROPE_REAL},
    {"mscale", AT(mscale), 0, YARN, 0, 1e-6, KD_ROPE_REAL},
    {"mscale_all_dim", AT(mscale_all_dim), 0, YARN, 0, 1e-6, KD_ROPE_REAL},
    {"truncate", AT(truncate), 0, YARN, 1, 0, KD_ROPE_SWITCH},
};
const int64_t kd_rope_number_count = sizeof kd_rope_numbers / sizeof *kd_rope_numbers;

/* The lists of longrope. */
static const struct { const char *key; size_t at; } lists[] = {{"short_factor", AT(short_factor)}, {"long_factor", AT(long_factor)}};

static double *list_of(const kd_rope_config *rope, int which) { return (double *)((char *)rope + lists[which].at); }

/* Other keys of a scaling object that are known. */
static const char *const others[] = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "short_factor", "long_factor"};

const char *kd_rope_type_name(kd_rope_type type) { return names[type]; }

kd_rope_type kd_rope_type_find(const char *name) {
    if (!strcmp(name, "none")) return KD_ROPE_DEFAULT;
    if (!strcmp(name, "su")) return KD_ROPE_LONGROPE;
    kd_rope_type type = 0;
    while (type < KD_ROPE_TYPES && strcmp(name, names[type])) type++;
    return type;
}

void kd_rope_clear(kd_rope_config *rope, kd_rope_type type, double theta, int64_t max_positions) {
    *rope = (kd_rope_config){.type = type, .theta = theta, .max_positions = max_positions};
    for (int64_t i = 0; i < kd_rope_number_count; i++) *kd_rope_number_of(rope, &kd_rope_numbers[i]) = kd_rope_numbers[i].absent;
}

static bool has(const kd_rope_config *rope, unsigned types) { return types >> rope->type & 1; }

kd_status kd_rope_check(const kd_rope_config *rope, int64_t E, const char *name, kd_status failure) {
    const char *type = kd_rope_type_name(rope->type);
    if (!(rope->theta > 0) || !isfinite(rope->theta)) return kd_fail(failure, "%s: rope_theta is %g", name, rope->theta);
    for (int64_t i = 0; i < kd_rope_number_count; i++) {
        const kd_rope_number *n = &kd_rope_numbers[i];
        double value = *kd_rope_number_of(rope, n);
        if (!has(rope, n->allowed) || (value == n->absent && !has(rope, n->needed))) continue;
        if (value == n->absent) return kd_fail(failure, "%s: RoPE type %s needs \"%s\"", name, type, n->key);
        if (!(value >= n->least) || !isfinite(value))
            return kd_fail(failure, "%s: RoPE %s is %g, the least is %g", name, n->key, value, n->least);
        if (n->kind == KD_ROPE_WHOLE && (value != floor(value) || value > 0x1p53))
            return kd_fail(failure, "%s: RoPE %s is %.17g, which is no whole number", name, n->key, value);
    }
    if (has(rope, LLAMA3) && rope->high_freq_factor <= rope->low_freq_factor)
        return kd_fail(failure, "%s: RoPE high_freq_factor %g is not above low_freq_factor %g", name,
                       rope->high_freq_factor, rope->low_freq_factor);
    if (has(rope, YARN) && rope->beta_fast < rope->beta_slow)
        return kd_fail(failure, "%s: RoPE beta_fast %g is below beta_slow %g", name, rope->beta_fast, rope->beta_slow);
    if (has(rope, YARN) && rope->theta <= 1)
        return kd_fail(failure, "%s: RoPE type yarn needs a rope_theta above 1, it is %g", name, rope->theta);
    if (has(rope, DYNAMIC | NTK) && E < 4)
        return kd_fail(failure, "%s: RoPE type %s needs heads of 4 or more, they have %lld", name, type, (long long)E);
    for (int which = 0; which < 2 && has(rope, LONGROPE); which++)
        for (int64_t e = 0; e < E / 2; e++)
            if (!(list_of(rope, which)[e] > 0) || !isfinite(list_of(rope, which)[e]))
                return kd_fail(failure, "%s: RoPE %s[%lld] is %g", name, lists[which].key, (long long)e, list_of(rope, which)[e]);
    return KD_OK;
}

bool kd_rope_same(const kd_rope_config *a, const kd_rope_config *b, int64_t E) {
    bool same = a->type == b->type && a->theta == b->theta;
    for (int64_t i = 0; i < kd_rope_number_count && same; i++)
        if (has(a, kd_rope_numbers[i].allowed))
            same = *kd_rope_number_of(a, &kd_rope_numbers[i]) == *kd_rope_number_of(b, &kd_rope_numbers[i]);
    for (int which = 0; which < 2 && same && has(a, LONGROPE); which++)
        same = !memcmp(list_of(a, which), list_of(b, which), (size_t)(E / 2) * sizeof(double));
    return same;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static kd_status parse_type(kd_rope_type *type, const json_t *scaling, const char *name) {
    const char *text = NULL;
    KD_TRY(kd_json_maybe_string(&text, scaling, "rope_type", name));
    if (!text) KD_TRY(kd_json_maybe_string(&text, scaling, "type", name));
    *type = text ? kd_rope_type_find(text) : KD_ROPE_DEFAULT;
    if (*type == KD_ROPE_TYPES || *type == KD_ROPE_NTK)  /* the latter is not of config.json */
        return kd_fail(KD_ENOTSUP, "%s: unknown RoPE type \"%s\"; known here: default, linear, dynamic, llama3, yarn, longrope",
                       name, text);
    return KD_OK;
}

/* E/2 numbers. */
static kd_status parse_list(double *out, const json_t *scaling, const char *key, int64_t E, const char *name) {
    const json_t *list = json_object_get(scaling, key);
    if (!json_is_array(list) || (int64_t)json_array_size(list) != E / 2)
        return kd_fail(KD_EFORMAT, "%s: RoPE %s: %lld numbers, a head of %lld needs a list of %lld", name, key,
                       (long long)json_array_size(list), (long long)E, (long long)E / 2);
    for (int64_t e = 0; e < E / 2; e++) {
        const json_t *value = json_array_get(list, (size_t)e);
        if (!json_is_number(value)) return kd_fail(KD_EFORMAT, "%s: RoPE %s[%lld] is not a number", name, key, (long long)e);
        out[e] = json_number_value(value);
    }
    return KD_OK;
}

static kd_status check_keys(const json_t *scaling, const char *name) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)scaling, key, value) {
        bool known = false;
        if (json_is_object(value)) return kd_fail(KD_ENOTSUP, "%s: RoPE by layer type (\"%s\"): not in this build yet", name, key);
        for (int64_t i = 0; i < kd_rope_number_count; i++) known |= !strcmp(key, kd_rope_numbers[i].key);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) known |= !strcmp(key, others[i]);
        if (!known) kd_warn("%s: RoPE key \"%s\" is not known here; it is kept as long as RoPE stays as it is", name, key);
    }
    return KD_OK;
}

static kd_status check_partial(const json_t *object, const char *name) {
    double partial = 1;
    KD_TRY(kd_json_maybe_number(&partial, NULL, object, "partial_rotary_factor", name));
    return partial == 1 ? KD_OK : kd_fail(KD_ENOTSUP, "%s: partial_rotary_factor %g: not in this build yet", name, partial);
}

/* What transformers fills in where a type's number is absent. */
static void fill_in(kd_rope_config *rope, const json_t *config) {
    const json_t *outer = json_object_get(config, "original_max_position_embeddings");  /* beside scaling: goes before */
    if (!has(rope, LLAMA3 | YARN | LONGROPE)) return;
    if (json_is_number(outer)) rope->original = json_number_value(outer);
    if (rope->original == 0) rope->original = (double)rope->max_positions;
    if (rope->factor == 0 && has(rope, YARN | LONGROPE)) rope->factor = (double)rope->max_positions / rope->original;
    if (rope->factor < 1 && has(rope, LONGROPE)) rope->factor = 1;  /* it makes the attention factor alone, which is 1 */
}

/* rope->theta is what stands beside the scaling object. */
static kd_status parse_scaling(kd_rope_config *rope, const json_t *scaling, const json_t *config, int64_t E, const char *name) {
    kd_rope_type type;
    if (!json_is_object(scaling)) return kd_fail(KD_EFORMAT, "%s: RoPE scaling is not an object", name);
    KD_TRY(check_keys(scaling, name));
    KD_TRY(check_partial(scaling, name));
    KD_TRY(parse_type(&type, scaling, name));
    kd_rope_clear(rope, type, rope->theta, rope->max_positions);
    KD_TRY(kd_json_maybe_number(&rope->theta, NULL, scaling, "rope_theta", name));
    for (int64_t i = 0; i < kd_rope_number_count; i++) {
        const kd_rope_number *n = &kd_rope_numbers[i];
        double *to = kd_rope_number_of(rope, n);
        bool on = *to != 0, found = false;
        if (!has(rope, n->allowed)) continue;
        if (n->kind == KD_ROPE_SWITCH) {
            KD_TRY(kd_json_maybe_bool(&on, NULL, scaling, n->key, name));
            *to = on;
            continue;
        }
        KD_TRY(kd_json_maybe_number(to, &found, scaling, n->key, name));
        if (found && *to < n->least) return kd_fail(KD_EFORMAT, "%s: RoPE %s is %g, the least is %g", name, n->key, *to, n->least);
    }
    for (int which = 0; which < 2 && type == KD_ROPE_LONGROPE; which++)
        KD_TRY(parse_list(list_of(rope, which), scaling, lists[which].key, E, name));
    fill_in(rope, config);
    return KD_OK;
}

/* "rope_ntk", which kd_rope_write left: believed as long as the base is the one it made. */
static kd_status parse_ntk(kd_rope_config *rope, const json_t *config, int64_t E, const char *name) {
    const json_t *ntk = json_object_get(config, "rope_ntk");
    kd_rope_config made = *rope;
    if (!json_is_object(ntk) || rope->type != KD_ROPE_DEFAULT || E < 4) return KD_OK;
    made.type = KD_ROPE_NTK;
    KD_TRY(kd_json_maybe_number(&made.theta, NULL, ntk, "rope_theta", name));
    KD_TRY(kd_json_maybe_number(&made.factor, NULL, ntk, "factor", name));
    if (fabs(kd_rope_ntk_theta(&made, E) - rope->theta) <= 1e-12 * rope->theta) *rope = made;
    else kd_warn("%s: rope_ntk does not make its rope_theta of %g, and is ignored", name, rope->theta);
    return KD_OK;
}

kd_status kd_rope_parse(kd_rope_config *rope, const json_t *config, int64_t E, int64_t max_positions, const char *name) {
    static const char *const dialect[] = {"rope_scaling", "rope_parameters"};
    double theta = 10000;
    bool read = false;
    KD_TRY(kd_json_maybe_number(&theta, NULL, config, "rope_theta", name));
    KD_TRY(check_partial(config, name));
    kd_rope_clear(rope, KD_ROPE_DEFAULT, theta, max_positions);
    for (int i = 0; i < 2; i++) {
        const json_t *scaling = json_object_get(config, dialect[i]);
        if (!scaling || json_is_null(scaling) || (json_is_object(scaling) && !json_object_size(scaling))) continue;
        kd_rope_config said;
        kd_rope_clear(&said, KD_ROPE_DEFAULT, theta, max_positions);
        KD_TRY(parse_scaling(&said, scaling, config, E, name));
        if (read && !kd_rope_same(&said, rope, E))
            return kd_fail(KD_EFORMAT, "%s: rope_scaling and rope_parameters say different things (%s with theta %g, %s with "
                           "theta %g): take one of them away", name, kd_rope_type_name(rope->type), rope->theta,
                           kd_rope_type_name(said.type), said.theta);
        *rope = said;
        read = true;
    }
    KD_TRY(parse_ntk(rope, config, E, name));
    return kd_rope_check(rope, E, name, KD_EFORMAT);
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

/* The numbers and lists of scaling that are there. */
static bool put_numbers(json_t *to, const kd_rope_config *rope, int64_t E) {
    bool bad = false;
    for (int64_t i = 0; i < kd_rope_number_count; i++) {
        const kd_rope_number *n = &kd_rope_numbers[i];
        double value = *kd_rope_number_of(rope, n);
        if (!has(rope, n->allowed) || value == n->absent) continue;
        bad |= json_object_set_new(to, n->key, n->kind == KD_ROPE_SWITCH  ? json_boolean(value != 0)
                                               : n->kind == KD_ROPE_WHOLE ? json_integer((json_int_t)value)
                                                                          : json_real(value));
    }
    for (int which = 0; which < 2 && has(rope, LONGROPE); which++) {
        json_t *list = json_array();
        for (int64_t e = 0; e < E / 2; e++) bad |= json_array_append_new(list, json_real(list_of(rope, which)[e]));
        bad |= json_object_set_new(to, lists[which].key, list);
    }
    return bad;
}

kd_status kd_rope_write(json_t *config, const kd_rope_config *rope, int64_t E) {
    bool ntk = rope->type == KD_ROPE_NTK, scaled = !ntk && rope->type != KD_ROPE_DEFAULT;
    const char *type = scaled ? kd_rope_type_name(rope->type) : "default";
    double theta = ntk ? kd_rope_ntk_theta(rope, E) : rope->theta;
    json_t *five = json_pack("{s:s, s:f}", "rope_type", type, "rope_theta", theta);
    json_t *four = scaled ? json_pack("{s:s}", "rope_type", type) : json_null();
    bool bad = !five || !four;
    if (scaled && !bad) {
        bad |= put_numbers(four, rope, E);
        bad |= put_numbers(five, rope, E);
    }
    bad |= json_object_set_new(config, "rope_theta", json_real(theta));
    bad |= json_object_set_new(config, "rope_scaling", four);
    bad |= json_object_set_new(config, "rope_parameters", five);
    json_object_del(config, "rope_ntk");
    if (ntk) bad |= json_object_set_new(config, "rope_ntk", json_pack("{s:f, s:f}", "rope_theta", rope->theta, "factor", rope->factor));
    /* Beside scaling it would go before the number inside. */
    if (has(rope, LLAMA3 | YARN | LONGROPE)) json_object_del(config, "original_max_position_embeddings");
    return bad ? kd_fail(KD_ENOMEM, "out of memory while writing config.json") : KD_OK;
}

/* Rotary frequencies as a checkpoint declares them: read from config.json in both dialects, checked, computed, written. */
#ifndef KD_ROPE_CONFIG_H
#define KD_ROPE_CONFIG_H

#include "format/json.h"

typedef enum kd_rope_type {
    KD_ROPE_DEFAULT, KD_ROPE_LINEAR, KD_ROPE_DYNAMIC, KD_ROPE_NTK, KD_ROPE_LLAMA3, KD_ROPE_YARN, KD_ROPE_LONGROPE,
    KD_ROPE_TYPES
} kd_rope_type;

enum { KD_ROPE_PAIRS = 128 };      /* of the largest head */

/* Source: transformers 5, modeling_rope_utils.py; ntk (a larger base, once and for all) is kedge's name for what config.json
 * says as type default with that base. A number that a type does not have is not looked at. */
typedef struct kd_rope_config {
    kd_rope_type type;
    double theta;                  /* the base before dynamic and ntk enlarge it */
    int64_t max_positions;         /* max_position_embeddings: from there on dynamic depends on the length */
    double factor;
    double low_freq_factor, high_freq_factor;
    double original;               /* original_max_position_embeddings, a whole number */
    double attention_factor;       /* 0: what the factor implies */
    double beta_fast, beta_slow;
    double mscale, mscale_all_dim; /* 0: absent */
    double truncate;               /* 1: the range of yarn's ramp is rounded outwards; 0: it is not */
    double short_factor[KD_ROPE_PAIRS], long_factor[KD_ROPE_PAIRS];  /* [E/2] longrope's, up to `original` and beyond */
} kd_rope_config;

/* The numbers of scaling, one row each: reading, writing, comparing and the run file walk them. */
typedef struct kd_rope_number {
    const char *key;               /* in config.json and in the run file */
    size_t at;                     /* in kd_rope_config */
    unsigned needed, allowed;      /* by which types: bits 1 << type */
    double absent;                 /* what an absent one is */
    double least;                  /* the value's lower bound */
    enum { KD_ROPE_REAL, KD_ROPE_WHOLE, KD_ROPE_SWITCH } kind;
} kd_rope_number;
extern const kd_rope_number kd_rope_numbers[];
extern const int64_t kd_rope_number_count;

static inline double *kd_rope_number_of(const kd_rope_config *rope, const kd_rope_number *number) {
    return (double *)((char *)rope + number->at);
}

const char *kd_rope_type_name(kd_rope_type type);   /* "llama3" */
/* The type of a name; KD_ROPE_TYPES: there is none. "none" is default, "su" longrope. */
kd_rope_type kd_rope_type_find(const char *name);

/* A type whose numbers are all absent. */
void kd_rope_clear(kd_rope_config *rope, kd_rope_type type, double theta, int64_t max_positions);

/* Whether the numbers can be computed with, for heads of E; a message after `name` with the value, and `failure`. */
kd_status kd_rope_check(const kd_rope_config *rope, int64_t E, const char *name, kd_status failure);

bool kd_rope_same(const kd_rope_config *a, const kd_rope_config *b, int64_t E);

/* RoPE of a parsed config.json: rope_theta and rope_scaling (transformers 4), rope_parameters (5); where both are there
 * they must say the same. */
kd_status kd_rope_parse(kd_rope_config *rope, const json_t *config, int64_t E, int64_t max_positions, const char *name);
/* Writes both dialects into a config object. ntk is written as type default with its base, and "rope_ntk" beside it with
 * what made it, so that reading the folder again and asking for the same factor does not apply it twice. */
kd_status kd_rope_write(json_t *config, const kd_rope_config *rope, int64_t E);

/* inv_freq [E/2]: float32 as transformers computes them, promoted to double. length: of the longest sequence, on which
 * dynamic and longrope depend; training has its window there. */
void kd_rope_frequencies(double *inv_freq, const kd_rope_config *rope, int64_t E, int64_t length);
/* What transformers multiplies cosines and sines with (yarn, longrope; else 1): attention's logits get its square. */
double kd_rope_attention_factor(const kd_rope_config *rope);
/* theta that ntk makes: theta * factor^(E / (E-2)). */
double kd_rope_ntk_theta(const kd_rope_config *rope, int64_t E);

#endif

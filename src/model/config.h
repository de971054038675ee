/* What a model is: read from config.json of a Hugging Face folder, and written back with as little changed as can be. */
#ifndef KD_CONFIG_H
#define KD_CONFIG_H

#include "format/tokenizer.h"
#include "rope_config.h"

typedef struct kd_config {
    char model_type[16];           /* "llama", "mistral", "qwen2" */
    int64_t V, C, F, L, H, G, E;
    double eps, init_range;
    bool tied;                     /* lm_head is embed_tokens */
    bool qkv_bias;                 /* Qwen: q, k and v have biases */
    int64_t bos, eos;              /* -1: none */
    int64_t sliding_window;        /* tokens that a token of some layer sees, itself included; 0: all before it */
    kd_rope_config rope;
    char *text;                    /* config.json as it was read, byte for byte */
    int64_t text_size;
    json_t *json;                  /* the same, parsed */
} kd_config;

/* Reads folder/config.json. KD_ENOTSUP for a model_type, RoPE type or switch that changes the maths and is not
 * implemented, by its name; keys that are not known are kept and named in a warning. Free with kd_config_close. */
kd_status kd_config_open(kd_config *config, const char *folder);
/* The same from text; `name` stands in messages. */
kd_status kd_config_parse(kd_config *config, const char *text, int64_t size, const char *name);
void kd_config_close(kd_config *config);
/* Key number n, from 0, of those that are not known here; NULL: there are no more. Borrowed. */
const char *kd_config_stranger(const kd_config *config, int64_t n);

/* Replaces theta and scaling, both dialects of config.json included. */
kd_status kd_config_set_rope(kd_config *config, const kd_rope_config *rope);
/* Takes a sliding window away, for every other engine too: config.json then says so. */
kd_status kd_config_lift_sliding_window(kd_config *config);
/* max_position_embeddings: how long a text other programs let it read. KD_ECONFIG where rotary frequencies would change with it; config
 * is then good for nothing but closing. */
kd_status kd_config_set_positions(kd_config *config, int64_t positions);

/* config.json for weights stored as `dtype` ("float32"; NULL: as it says): the text as it was read when it says so already,
 * else the same object with only that key changed. free() *text. */
kd_status kd_config_print(char **text, int64_t *size, const kd_config *config, const char *dtype);

/* A fresh config.json. arch: llama, mistral, qwen2; preset: see kd_preset_names; vocabulary: rows of the embedding, at least
 * the tokenizer's ids, from which BOS and EOS are. free() *text. */
kd_status kd_config_preset(char **text, const char *arch, const char *preset, const kd_tokenizer *tokenizer, int64_t vocabulary,
                           int64_t window);
const char *kd_preset_names(void);

#endif

/* What a decoder holds. Private to src/model. */
#ifndef KD_DECODER_STATE_H
#define KD_DECODER_STATE_H

#include "attn/cache.h"
#include "decoder.h"
#include "format/safetensors.h"
#include "params.h"

enum { KD_DECODER_HEAD = 64 };  /* tokens whose logits are made at once */

typedef struct kd_decoder_sequence {
    kd_arena cache;           /* [L][2] keys and values; placed when it is first read */
    int64_t held;
} kd_decoder_sequence;

struct kd_decoder {
    kd_ctx *ctx;
    kd_layout layout;
    int64_t V, C, F, L, H, G, E;
    float eps, scale;
    bool tied;
    kd_decoder_options options;
    int64_t room;             /* options.length, in whole tiles */

    kd_tensors files;         /* open as long as their maps */
    const void **map;         /* [files.file] */
    kd_array *weight;         /* [KD_PARAM_KINDS, L]: matrices as they are stored, vectors as float32 */
    kd_arena copies;          /* of what is not read in a map */
    int64_t mapped;

    kd_rope rope;
    kd_plan plan;             /* that tokens stand where they stand */
    kd_arena work;
    kd_decoder_sequence *sequence;  /* [options.sequences] */

    /* Of a block, on the device. */
    float *turn;              /* bf16_cache: for keys */
    int32_t *token;           /* [KD_BLOCK] */
    float *x, *mid, *h;       /* [KD_BLOCK, C] */
    float *q, *k, *v, *o;     /* [KD_BLOCK, H*E], [KD_BLOCK, G*E] */
    float *gate, *up;         /* [KD_BLOCK, F] */
    float *rinv;              /* [KD_BLOCK] */
    float *picked, *logits;   /* [KD_DECODER_HEAD, C], [KD_DECODER_HEAD, V] */
    int32_t *target;          /* [KD_DECODER_HEAD] */
    kd_likelihood *likelihood;
    kd_likely *top;           /* [KD_DECODER_HEAD, KD_TOPS] */
    kd_reading *reading;      /* [options.sequences], on the host */
};

/* Opens the weights of a folder: maps, and copies of the rest (decoder_weights.c). */
kd_status kd_decoder_weights_open(kd_decoder *decoder, const char *folder);
void kd_decoder_weights_close(kd_decoder *decoder);

static inline kd_view_type kd_decoder_type(const kd_decoder *d) { return d->options.bf16_cache ? KD_VIEW_BF16 : KD_VIEW_F32; }
/* Memory for what sequence i holds, once. */
kd_status kd_decoder_sequence_place(kd_decoder *decoder, int64_t i);
/* A layer's keys, or values, of a sequence that has its memory. */
void *kd_decoder_cache(const kd_decoder *decoder, int64_t sequence, int64_t layer, bool value);

/* The tensor of a kind and layer: of a bias, perhaps nothing. */
static inline kd_array kd_decoder_weight(const kd_decoder *d, kd_param kind, int64_t layer) { return d->weight[kind * d->L + layer]; }

#endif

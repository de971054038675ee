/* A model that is asked: a Hugging Face folder, or a checkpoint or export of a run, with all that an answer takes. */
#ifndef KD_SUBJECT_H
#define KD_SUBJECT_H

#include <jansson.h>

#include "engine.h"

typedef enum kd_switch { KD_AUTO, KD_ON, KD_OFF } kd_switch;
const char *kd_switch_name(kd_switch way);  /* "auto", "on", "off" */

typedef struct kd_subject_options {
    const char *model;      /* the folder */
    const char *tokenizer;  /* a folder, tokenizer.json or `bytes`; NULL: the model's own */
    kd_switch anchor;       /* whether the anchor leads every prompt; auto: the run that made the folder trained with it (its run.yaml) */
    kd_switch bos;          /* whether BOS leads every prompt that no anchor leads; auto: as the tokenizer's post-processor does */
    int64_t length;         /* tokens of a prompt and its answer at most; 0: as many as config.json declares */
    int64_t sequences;      /* at once; 0: 16, fewer where half of the free memory does not hold them */
    bool bf16_cache;
    int64_t threads;        /* 0: one for each core */
} kd_subject_options;

typedef struct kd_subject {
    kd_subject_options options;  /* as they turned out: nothing is 0 or auto but bos and threads; texts are the subject's */
    kd_ctx *ctx;
    kd_config config;
    kd_tokenizer tokenizer;
    kd_encoder *encoder;         /* for one thread */
    kd_decoder *decoder;
    kd_engine *engine;
    bool anchor;
    kd_ids lead;                 /* what leads a prompt: the anchor (BOS, EOS where there is none) or BOS; or nothing */
    uint64_t hash;               /* of config.json, and of each tensor's name, type, shape and first 1024 elements */
} kd_subject;

/* KD_ECONFIG where anchor or BOS is asked for and the tokenizer has none, where the tokenizer has more ids than the model, or the length
 * is beyond what the model has (kd_decoder_open). Free with kd_subject_close, also after a failure. */
kd_status kd_subject_open(kd_subject *subject, const kd_subject_options *options);
void kd_subject_close(kd_subject *subject);

/* Appends the ids of a text; lead: behind what leads a prompt, once, also where the text begins with it in writing. */
kd_status kd_subject_encode(kd_ids *ids, kd_subject *subject, const char *text, int64_t size, bool lead);
/* The same with an encoder of the thread's own. */
kd_status kd_subject_encode_with(kd_ids *ids, const kd_subject *subject, kd_encoder *encoder, const char *text, int64_t size, bool lead);

/* What every result states: model, tokenizer, hashes, anchor, what leads a prompt, length, cache, version. */
kd_status kd_subject_json(json_t **out, const kd_subject *subject);

#endif

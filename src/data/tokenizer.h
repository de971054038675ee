/* From text to ids. In this build: `bytes`, 256 bytes and three specials behind them. */
#ifndef KD_TOKENIZER_H
#define KD_TOKENIZER_H

#include "base/arena.h"

enum { KD_BYTES_BOS = 256, KD_BYTES_EOS = 257, KD_BYTES_PAD = 258, KD_BYTES_VOCABULARY = 259 };

typedef struct kd_tokenizer {
    int32_t bos, eos;     /* -1: there is none */
    int64_t vocabulary;   /* ids are below it */
} kd_tokenizer;

/* name: "bytes"; a folder with tokenizer.json is KD_ENOTSUP in this build. */
kd_status kd_tokenizer_open(kd_tokenizer *tokenizer, const char *name);

/* Ids of text [size], at most size of them, into id; returns how many. */
int64_t kd_tokenizer_encode(const kd_tokenizer *tokenizer, int32_t *id, const char *text, int64_t size);

#endif

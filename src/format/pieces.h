/* What each id says by itself: a decoder may treat a text's first token apart, so an id is decoded behind another one. */
#ifndef KD_PIECES_H
#define KD_PIECES_H

#include "tokenizer.h"

/* Read-only once it is open. The tokenizer is borrowed. */
typedef struct kd_pieces {
    const kd_tokenizer *tokenizer;
    int32_t anchor;        /* an id whose text stands whole in front of any other's */
    kd_text anchor_text;
} kd_pieces;

kd_status kd_pieces_open(kd_pieces *pieces, const kd_tokenizer *tokenizer);
void kd_pieces_close(kd_pieces *pieces);

/* Appends the text of one id, special tokens included; bytes that are no UTF-8 by themselves are as kd_decode has them. */
kd_status kd_pieces_put(kd_text *text, const kd_pieces *pieces, int32_t id);

#endif

#include "pieces.h"

#include <stdlib.h>
#include <string.h>

kd_status kd_pieces_open(kd_pieces *p, const kd_tokenizer *tokenizer) {
    kd_ids ids = {0};
    kd_encoder *encoder;
    *p = (kd_pieces){.tokenizer = tokenizer};
    KD_TRY(kd_encoder_new(&encoder, tokenizer));
    kd_status status = kd_encode(&ids, encoder, "a", 1, 0);
    if (!status && ids.count) p->anchor = ids.id[ids.count - 1];
    if (!status) status = kd_decode(&p->anchor_text, tokenizer, &p->anchor, 1, false);
    free(ids.id);
    kd_encoder_free(encoder);
    return status;
}

void kd_pieces_close(kd_pieces *p) {
    kd_text_free(&p->anchor_text);
    *p = (kd_pieces){0};
}

kd_status kd_pieces_put(kd_text *text, const kd_pieces *p, int32_t id) {
    const int32_t pair[] = {p->anchor, id};
    int64_t begin = text->size, skip = p->anchor_text.size;
    KD_TRY(kd_decode(text, p->tokenizer, pair, 2, false));
    if (text->size - begin < skip || (skip && memcmp(text->data + begin, p->anchor_text.data, (size_t)skip))) {  /* the two became one */
        text->size = begin;
        return kd_decode(text, p->tokenizer, &id, 1, false);
    }
    if (!skip) return KD_OK;
    memmove(text->data + begin, text->data + begin + skip, (size_t)(text->size - begin - skip) + 1);
    text->size -= skip;
    return KD_OK;
}

/* Tokenizers as kedge.h shows them: on the heap, and what an encoder gives in its own memory. */
#include <stdlib.h>

#include "tokenizer_model.h"

kd_status kd_tokenizer_new(kd_tokenizer **out, const char *name) {
    *out = NULL;
    kd_tokenizer *tokenizer;
    KD_TRY(kd_new(&tokenizer, 1, sizeof *tokenizer));
    kd_status status = kd_tokenizer_open(tokenizer, name);
    if (status) free(tokenizer);
    else *out = tokenizer;
    return status;
}

void kd_tokenizer_free(kd_tokenizer *tokenizer) {
    if (!tokenizer) return;
    kd_tokenizer_close(tokenizer);
    free(tokenizer);
}

int32_t kd_tokenizer_bos(const kd_tokenizer *tokenizer) { return tokenizer->bos; }
int32_t kd_tokenizer_eos(const kd_tokenizer *tokenizer) { return tokenizer->eos; }
int64_t kd_tokenizer_vocabulary(const kd_tokenizer *tokenizer) { return tokenizer->vocabulary; }

kd_status kd_encoder_ids(kd_encoder *encoder, const int32_t **id, int64_t *count, const char *text, int64_t size, int flags) {
    kd_ids *given = &encoder->given_ids;
    given->count = 0;
    kd_status status = kd_encode(given, encoder, text, size, flags);
    *id = given->id;
    *count = given->count;
    return status;
}

kd_status kd_encoder_text(kd_encoder *encoder, const char **text, int64_t *size, const int32_t *id, int64_t count, bool skip_specials) {
    kd_text *given = &encoder->given_text;
    given->size = 0;
    given->failed = false;
    kd_text_add(given, "", 0);
    kd_status status = kd_decode(given, encoder->tokenizer, id, count, skip_specials);
    if (!status) status = kd_text_status(given);
    *text = given->data;
    *size = given->size;
    return status;
}

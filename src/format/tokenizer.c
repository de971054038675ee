#include "tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

struct kd_encoder { const kd_tokenizer *tokenizer; };

static kd_status open_bytes(kd_tokenizer *tokenizer) {
    *tokenizer = (kd_tokenizer){.bos = KD_BYTES_BOS, .eos = KD_BYTES_EOS, .vocabulary = KD_BYTES_VOCABULARY, .hash = kd_hash("bytes", 5)};
    tokenizer->name = strdup("bytes");
    return tokenizer->name ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

kd_status kd_tokenizer_open(kd_tokenizer *tokenizer, const char *name) {
    *tokenizer = (kd_tokenizer){.bos = -1, .eos = -1};
    if (!strcmp(name, "bytes")) return open_bytes(tokenizer);
    char *file = kd_path_join(name, "tokenizer.json");
    if (!file) return kd_fail(KD_ENOMEM, "out of memory: the path of tokenizer.json in %s", name);
    kd_status status = kd_exists(file)
                           ? kd_fail(KD_ENOTSUP, "tokenizer: %s: not in this build yet, it has `bytes`", file)
                           : kd_fail(KD_ECONFIG, "tokenizer: %s: neither `bytes` nor a folder with tokenizer.json", name);
    free(file);
    return status;
}

void kd_tokenizer_close(kd_tokenizer *tokenizer) {
    free(tokenizer->name);
    *tokenizer = (kd_tokenizer){.bos = -1, .eos = -1};
}

kd_status kd_ids_reserve(kd_ids *ids, int64_t more) {
    if (more <= ids->room - ids->count) return KD_OK;
    int64_t room = ids->room > 256 ? ids->room : 256, bytes;
    while (room < ids->count + more) room *= 2;
    KD_TRY(kd_size_multiply(&bytes, room, sizeof *ids->id));
    int32_t *larger = realloc(ids->id, (size_t)bytes);
    if (!larger) return kd_fail(KD_ENOMEM, "out of memory: %lld bytes of ids", (long long)bytes);
    ids->id = larger;
    ids->room = room;
    return KD_OK;
}

kd_status kd_encoder_new(kd_encoder **out, const kd_tokenizer *tokenizer) {
    KD_TRY(kd_new(out, 1, sizeof **out));
    (*out)->tokenizer = tokenizer;
    return KD_OK;
}

void kd_encoder_free(kd_encoder *encoder) { free(encoder); }

kd_status kd_encode(kd_ids *ids, kd_encoder *encoder, const char *text, int64_t size, int flags) {
    (void)encoder;
    KD_TRY(kd_ids_reserve(ids, size + 1));
    if (flags & KD_ENCODE_SPECIALS) ids->id[ids->count++] = KD_BYTES_BOS;
    for (int64_t i = 0; i < size; i++) ids->id[ids->count++] = (unsigned char)text[i];
    return KD_OK;
}

kd_status kd_decode(kd_text *text, const kd_tokenizer *tokenizer, const int32_t *id, int64_t count, bool skip_specials) {
    static const char *const special[] = {"<bos>", "<eos>", "<pad>"};
    for (int64_t i = 0; i < count; i++) {
        if (id[i] < 0 || id[i] >= tokenizer->vocabulary)
            return kd_fail(KD_EFORMAT, "id %d: the vocabulary has %lld", (int)id[i], (long long)tokenizer->vocabulary);
        char byte = (char)id[i];
        if (id[i] < 256) kd_text_add(text, &byte, 1);
        else if (!skip_specials) kd_text_put(text, special[id[i] - 256]);
    }
    return kd_text_status(text);
}

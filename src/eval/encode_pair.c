#include "encode_pair.h"

#include <stdlib.h>
#include <string.h>

#include "letters.h"

/* Bytes of text up to the white space that ends it, as str.rstrip cuts. */
static int64_t stripped(const char *text, int64_t size) {
    const char *from;
    int64_t inside;
    kd_text_strip(&from, &inside, text, size);
    return inside ? from - text + inside : 0;
}

static kd_status encode_empty(kd_ids *ids, int64_t *scored, kd_encode_text *encode, void *opaque, int32_t prefix,
                              const char *continuation) {
    if (prefix < 0) return kd_fail(KD_ECONFIG, "a context is empty, and the tokenizer has neither BOS nor EOS to stand for it");
    ids->count = 0;
    KD_TRY(encode(ids, opaque, continuation, (int64_t)strlen(continuation)));
    if (ids->count == 0 || ids->id[0] != prefix) {
        KD_TRY(kd_ids_reserve(ids, 1));
        memmove(ids->id + 1, ids->id, (size_t)ids->count * sizeof *ids->id);
        ids->id[0] = prefix;
        ids->count++;
    }
    *scored = ids->count - 1;
    return KD_OK;
}

kd_status kd_encode_pair(kd_ids *ids, int64_t *scored, kd_encode_text *encode, void *opaque, int32_t prefix, const char *context,
                         const char *continuation) {
    int64_t size = (int64_t)strlen(context), kept = stripped(context, size);
    kd_ids whole = {0};
    kd_text text = {0};
    kd_status status;
    *scored = 0;
    if (!size) return encode_empty(ids, scored, encode, opaque, prefix, continuation);
    ids->count = 0;
    kd_text_print(&text, "%s%s", context, continuation);
    KD_GO(kd_text_status(&text));
    KD_GO(encode(&whole, opaque, text.data, text.size));
    KD_GO(encode(ids, opaque, context, kept));
    if (whole.count <= ids->count) goto done;
    *scored = whole.count - ids->count;
    KD_GO(kd_ids_reserve(ids, *scored));
    memcpy(ids->id + ids->count, whole.id + ids->count, (size_t)*scored * sizeof *ids->id);
    ids->count = whole.count;
done:
    free(whole.id);
    kd_text_free(&text);
    return status;
}

kd_status kd_cut_left(kd_ids *ids, int64_t *cut, int64_t most, int64_t lead, int64_t scored) {
    *cut = ids->count > most ? ids->count - most : 0;
    if (!*cut) return KD_OK;
    if (most < lead + scored + (lead == 0))
        return kd_fail(KD_EARG, "%lld tokens are scored, %lld are seen at most: a larger --length is needed", (long long)scored,
                       (long long)most);
    memmove(ids->id + lead, ids->id + lead + *cut, (size_t)(ids->count - lead - *cut) * sizeof *ids->id);
    ids->count = most;
    return KD_OK;
}

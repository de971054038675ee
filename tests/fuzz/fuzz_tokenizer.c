/* tokenizer.json: whatever opens encodes every text, to ids below its vocabulary that can be decoded, the same ones each
 * time. */
#include "format/tokenizer.h"
#include "format/tokenizer_model.h"
#include "fuzz.h"

static const char *const texts[] = {
    "", "a", " a", "ab ba  abc\n", "The quick brown fox, it's 12345 o'clock.\r\n\t x", "caf\xc3\xa9 e\xcc\x81\xcc\xa3\xcc\x81 \xe2\x96\x81\xe2\x96\x81x",
    "<s>a</s> <unk><|im_end|> <x> word", "\xf0\x9f\x98\x80\xe6\x97\xa5\xe6\x9c\xac\xea\xb0\x80\xe1\x84\x80\xe1\x85\xa1", "    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa    ",
};
enum { TEXTS = sizeof texts / sizeof *texts };

static void encode(kd_ids *ids, kd_encoder *encoder, const char *text, int64_t size, int flags, int64_t vocabulary) {
    int64_t before = ids->count;
    kd_status status = kd_encode(ids, encoder, text, size, flags);
    FUZZ_ASSERT(!status || status == KD_ENOTSUP || status == KD_EFORMAT);  /* a pattern may be too deep for PCRE2 */
    if (status) FUZZ_ASSERT(ids->count == before);
    for (int64_t i = 0; i < ids->count; i++) FUZZ_ASSERT(ids->id[i] >= 0 && ids->id[i] < vocabulary);
}

static void check_text(const kd_tokenizer *t, kd_encoder *encoder, const char *text, int64_t size) {
    for (int flags = 0; flags < 4; flags++) {
        kd_ids one = {0}, two = {0};
        kd_text back = {0};
        encode(&one, encoder, text, size, flags, t->vocabulary);
        encode(&two, encoder, text, size, flags, t->vocabulary);
        FUZZ_ASSERT(one.count == two.count && (!one.count || !memcmp(one.id, two.id, (size_t)one.count * sizeof *one.id)));
        FUZZ_ASSERT(!kd_decode(&back, t, one.id, one.count, flags & 1));
        kd_text_free(&back);
        free(one.id);
        free(two.id);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_tokenizer t;
    kd_encoder *encoder;
    kd_log_level(KD_QUIET);
    kd_status status = kd_tokenizer_parse(&t, (const char *)data, (int64_t)size, "tokenizer.json");
    if (status) {
        FUZZ_ASSERT((status == KD_EFORMAT || status == KD_ENOTSUP) && !t.name && !t.model);
        fuzz_refused("tokenizer.json");
        return 0;
    }
    FUZZ_ASSERT(t.vocabulary >= 0 && t.bos >= -1 && t.bos < t.vocabulary && t.eos >= -1 && t.eos < t.vocabulary);
    FUZZ_ASSERT(!kd_encoder_new(&encoder, &t));
    for (int i = 0; i < TEXTS; i++) check_text(&t, encoder, texts[i], (int64_t)strlen(texts[i]));
    check_text(&t, encoder, "a\0b", 3);
    /* The file as a text: its own vocabulary stands in it. */
    check_text(&t, encoder, (const char *)data, (int64_t)size < 512 ? (int64_t)size : 512);
    kd_encoder_free(encoder);
    kd_tokenizer_close(&t);
    return 0;
}

/* Words to ids, each worked out once: a cache of short words in sets of two, one set a cache line. Which words it holds
 * changes the time and nothing else. And the encoder, whose largest part it is. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "tokenizer_model.h"

enum { STACK = 32 << 10, STACK_MOST = 16 << 20 };  /* bytes for PCRE2's compiled code */

kd_status kd_encoder_new(kd_encoder **out, const kd_tokenizer *tokenizer) {
    kd_status status = KD_OK;
    KD_TRY(kd_new(out, 1, sizeof **out));
    kd_encoder *encoder = *out;
    encoder->tokenizer = tokenizer;
    encoder->model = tokenizer->model;
    if (!encoder->model) return KD_OK;
    KD_GO(kd_new(&encoder->classes, 0x110000, 1));
    KD_GO(kd_new(&encoder->word, 2 * KD_WORD_SETS, sizeof *encoder->word));
    encoder->match = pcre2_match_data_create(2, NULL);
    encoder->context = pcre2_match_context_create(NULL);
    encoder->stack = pcre2_jit_stack_create(STACK, STACK_MOST, NULL);  /* NULL without a compiler: not needed then */
    if (!encoder->match || !encoder->context) KD_GO(kd_fail(KD_ENOMEM, "out of memory: an encoder"));
    if (encoder->stack) pcre2_jit_stack_assign(encoder->context, NULL, encoder->stack);
    kd_class_ask(encoder, 0);  /* scanners rely on it */
    status = encoder->wrong;
done:
    if (status) {
        kd_encoder_free(encoder);
        *out = NULL;
    }
    return status;
}

void kd_encoder_free(kd_encoder *encoder) {
    if (!encoder) return;
    free(encoder->classes);
    free(encoder->word);
    pcre2_match_data_free(encoder->match);
    pcre2_match_context_free(encoder->context);
    pcre2_jit_stack_free(encoder->stack);
    kd_text_free(&encoder->valid);
    for (int i = 0; i < 2; i++) kd_text_free(&encoder->normal[i]);
    for (int i = 0; i < KD_PARTS; i++) kd_text_free(&encoder->step[i]);
    free(encoder->raw_hits.hit);
    free(encoder->normal_hits.hit);
    free(encoder->characters);
    free(encoder->sorted);
    free(encoder->symbol);
    free(encoder->heap);
    free(encoder->given_ids.id);
    kd_text_free(&encoder->given_text);
    free(encoder);
}

/* ---- the cache --------------------------------------------------------------------------------------------- */

static inline uint64_t load8(const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

static inline uint64_t load4(const char *p) {
    uint32_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* The word and its size in 16 bytes, by loads that overlap and no loop. Sizes from 1 to KD_WORD_BYTES. The order of bytes
 * in a word of the machine does not matter: two words are the same or they are not. */
static inline void make_key(uint64_t key[2], const char *text, int64_t size) {
    const unsigned char *p = (const unsigned char *)text;
    key[1] = (uint64_t)size << 56;
    if (size >= 8) {
        key[0] = load8(text);
        if (size > 8) key[1] |= load8(text + size - 8) >> (128 - 8 * size);
    } else if (size >= 4) {
        key[0] = load4(text) | load4(text + size - 4) << 32;
    } else {
        key[0] = p[0] | (uint64_t)p[size / 2] << 8 | (uint64_t)p[size - 1] << 16;
    }
}

static inline kd_word *set_of(const kd_encoder *encoder, const uint64_t key[2]) {
    uint64_t hash = (key[0] ^ key[1] * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    return encoder->word + 2 * ((hash ^ hash >> 32) & (KD_WORD_SETS - 1));
}

static kd_status put_symbols(kd_encoder *encoder) {
    kd_ids *ids = encoder->ids;
    KD_TRY(kd_ids_reserve(ids, encoder->symbols));
    for (int64_t i = 0; i < encoder->symbols; i++) ids->id[ids->count++] = encoder->symbol[i].id;
    return KD_OK;
}

static kd_status put_id(kd_encoder *encoder, int32_t id) {
    KD_TRY(kd_ids_reserve(encoder->ids, 1));
    encoder->ids->id[encoder->ids->count++] = id;
    return KD_OK;
}

/* As it is worked out, without a cache. whole: the word is a pre-token and not a part cut out of one. */
static kd_status work_out(kd_encoder *encoder, const char *text, int64_t size, bool whole) {
    const kd_vocabulary *vocabulary = &encoder->model->vocabulary;
    if (vocabulary->ignore_merges && whole && size <= vocabulary->longest) {
        const kd_token *token = encoder->model->parts.bytes ? kd_vocabulary_spelled(vocabulary, text, size)
                                                            : kd_vocabulary_find(vocabulary, text, size);
        if (token) {
            KD_TRY(kd_bpe_reserve(encoder, 1));
            encoder->symbol[0].id = token->id;
            encoder->symbols = 1;
            return KD_OK;
        }
    }
    return kd_bpe_run(encoder, text, size);
}

static kd_status add_word(kd_encoder *encoder, const char *text, int64_t size, bool whole) {
    uint64_t key[2];
    if (size > KD_WORD_BYTES) {
        KD_TRY(work_out(encoder, text, size, whole));
        return put_symbols(encoder);
    }
    make_key(key, text, size);
    kd_word *set = set_of(encoder, key);
    for (int i = 0; i < 2; i++) {
        if (set[i].key[0] != key[0] || set[i].key[1] != key[1]) continue;
        kd_ids *ids = encoder->ids;
        if (ids->room - ids->count < KD_WORD_IDS) KD_TRY(kd_ids_reserve(ids, KD_WORD_IDS));
        memcpy(ids->id + ids->count, set[i].id, sizeof set[i].id);
        ids->count += set[i].count;
        return KD_OK;
    }
    KD_TRY(work_out(encoder, text, size, whole));
    if (encoder->symbols <= KD_WORD_IDS) {
        set[1] = set[0];
        set[0] = (kd_word){.key = {key[0], key[1]}, .count = (int32_t)encoder->symbols};
        for (int64_t i = 0; i < encoder->symbols; i++) set[0].id[i] = encoder->symbol[i].id;
    }
    return put_symbols(encoder);
}

/* ---- cuts -------------------------------------------------------------------------------------------------- */

static inline int join_class(const unsigned char *p) {
    if (*p < 128) return *p;
    return p[0] == 0xe2 && p[1] == 0x96 && p[2] == 0x81 ? KD_JOIN_MARK : KD_JOIN_OTHER;
}

kd_status kd_word_add(kd_encoder *encoder, const char *text, int64_t size) {
    const kd_vocabulary *vocabulary = &encoder->model->vocabulary;
    if (!vocabulary->cuts) return add_word(encoder, text, size, true);
    if (vocabulary->ignore_merges && size <= vocabulary->longest) {
        const kd_token *token = kd_vocabulary_find(vocabulary, text, size);
        if (token) return put_id(encoder, token->id);
    }
    const unsigned char *begin = (const unsigned char *)text, *end = begin + size, *p = begin;
    const uint8_t *row = vocabulary->join[KD_JOINS];  /* what may follow the character before p: at first anything */
    while (p < end) {
        while (*p < 128 && row[*p]) {
            row = vocabulary->join[*p];
            if (++p == end) return add_word(encoder, (const char *)begin, end - begin, false);
        }
        int class = join_class(p);
        if (!row[class]) {
            KD_TRY(add_word(encoder, (const char *)begin, p - begin, false));
            begin = p;
        }
        row = vocabulary->join[class];
        p += kd_utf8_size(*p);
    }
    return add_word(encoder, (const char *)begin, end - begin, false);
}

/* Characters: written, mended, and their classes, which are PCRE2's, so that a scanner and a pattern agree whatever
 * version of Unicode it has. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "jsonl.h"
#include "tokenizer_model.h"

int kd_utf8_put(char out[4], uint32_t c) {
    if (c < 0x80) return out[0] = (char)c, 1;
    if (c < 0x800) return out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3f)), 2;
    if (c < 0x10000)
        return out[0] = (char)(0xe0 | c >> 12), out[1] = (char)(0x80 | (c >> 6 & 0x3f)), out[2] = (char)(0x80 | (c & 0x3f)), 3;
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Bytes of the longest beginning of a character at p, at least one. */
static int64_t subpart(const unsigned char *p, int64_t size) {
    unsigned char lead = p[0], low = 0x80, high = 0xbf;
    int64_t whole = lead < 0xc2 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 1, have = 1;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    for (; have < whole && have < size; have++, low = 0x80, high = 0xbf)
        if (p[have] < low || p[have] > high) break;
    return have;
}

void kd_text_add_lossy(kd_text *text, const char *data, int64_t size) {
    while (size > 0) {
        int64_t bad = kd_utf8_invalid(data, size), skip = bad < 0 ? size : bad;
        kd_text_add(text, data, skip);
        if (bad < 0) return;
        kd_text_put(text, KD_REPLACEMENT);
        skip += subpart((const unsigned char *)data + bad, size - bad);
        data += skip;
        size -= skip;
    }
}

kd_status kd_text_room(kd_text *text, int64_t size) {
    if (size <= text->room) return KD_OK;
    char *data = realloc(text->data, (size_t)size);
    if (!data) return kd_fail(KD_ENOMEM, "out of memory: a text of %lld bytes", (long long)size);
    text->data = data;
    text->room = size;
    return KD_OK;
}

/* ---- ByteLevel's alphabet: bytes that print stand for themselves, the others for U+0100 and up, in order --------- */

static bool prints(int byte) { return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174; }

/* The others are 0 .. 32, 127 .. 160 and 173. */
enum { LOW = 33, MIDDLE = 34 };

int kd_byte_character(unsigned char byte) {
    if (prints(byte)) return byte;
    return 0x100 + (byte < LOW ? byte : byte < 173 ? byte - 127 + LOW : LOW + MIDDLE);
}

int kd_character_byte(uint32_t character) {
    if (character < 0x100) return prints((int)character) ? (int)character : -1;
    uint32_t other = character - 0x100;
    if (other < LOW) return (int)other;
    if (other < LOW + MIDDLE) return (int)other - LOW + 127;
    return other == LOW + MIDDLE ? 173 : -1;
}

/* ---- classes ----------------------------------------------------------------------------------------------- */

/* Rust's \w, by which Hugging Face finds the ends of words, is UTS 18's and not PCRE2's. */
static const struct { uint8_t class; const char *pattern; } class_pattern[KD_CLASS_PATTERNS] = {
    {KD_CLASS_LETTER, "\\p{L}+"},
    {KD_CLASS_NUMBER, "\\p{N}+"},
    {KD_CLASS_SPACE, "\\p{White_Space}+"},
    {KD_CLASS_WORD, "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]+"},
};

kd_status kd_class_patterns_new(kd_class_patterns *patterns) {
    for (int i = 0; i < KD_CLASS_PATTERNS; i++) {
        int error;
        size_t at;
        patterns->code[i] = pcre2_compile((PCRE2_SPTR)class_pattern[i].pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at,
                                          NULL);
        if (!patterns->code[i])
            return error == PCRE2_ERROR_HEAP_FAILED
                       ? kd_fail(KD_ENOMEM, "out of memory: a class of characters")
                       : kd_fail(KD_ENOTSUP, "PCRE2 has no %s (error %d)", class_pattern[i].pattern, error);
    }
    return KD_OK;
}

void kd_class_patterns_free(kd_class_patterns *patterns) {
    for (int i = 0; i < KD_CLASS_PATTERNS; i++) pcre2_code_free(patterns->code[i]);
}

enum { BLOCK = 128 };  /* characters; all of a block have as many bytes in UTF-8 */

static kd_status ask(uint8_t *classes, kd_encoder *encoder, uint32_t first) {
    char text[4 * BLOCK];
    int64_t size = 0;
    int width = 0;
    for (uint32_t i = 0; i < BLOCK; i++) size += width = kd_utf8_put(text + size, first + i);
    for (int c = 0; c < KD_CLASS_PATTERNS; c++) {
        for (size_t at = 0; at < (size_t)size;) {
            int got = pcre2_match(encoder->model->classes.code[c], (PCRE2_SPTR)text, (size_t)size, at, PCRE2_NO_UTF_CHECK, encoder->match,
                                  NULL);
            if (got == PCRE2_ERROR_NOMATCH) break;
            if (got < 0) return kd_fail(KD_ENOMEM, "out of memory: the class of U+%04X (PCRE2 error %d)", (unsigned)first, got);
            const size_t *match = pcre2_get_ovector_pointer(encoder->match);
            for (at = match[0]; at < match[1]; at += (size_t)width) classes[at / (size_t)width] |= class_pattern[c].class;
        }
    }
    return KD_OK;
}

uint8_t kd_class_ask(kd_encoder *encoder, uint32_t character) {
    uint32_t first = character / BLOCK * BLOCK;
    uint8_t classes[BLOCK] = {0};
    kd_status status = ask(classes, encoder, first);
    if (status) {
        encoder->wrong = status;
        return KD_CLASS_KNOWN;
    }
    if (first == 0) classes['\r'] |= KD_CLASS_LINE, classes['\n'] |= KD_CLASS_LINE;
    for (uint32_t i = 0; i < BLOCK; i++)
        encoder->classes[first + i] = KD_CLASS_KNOWN | classes[i] | (kd_restless(first + i) ? KD_CLASS_RESTLESS : 0);
    return encoder->classes[character];
}

void kd_tokenizer_unicode(char text[64], const kd_tokenizer *tokenizer) {
    char letters[32] = "?";
    if (pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, NULL) < (int)sizeof letters) pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, letters);
    if (tokenizer->model) snprintf(text, 64, "letters %.20s, NFC %.20s", letters, utf8proc_unicode_version());
    else strcpy(text, "none");
}

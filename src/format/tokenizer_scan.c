/* The patterns of GPT-2, Llama-3 and Qwen by hand. A scanner gives what its pattern gives, on any text; tests compare them.
 *
 * Llama-3:  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * Qwen:     the same with \p{N} for \p{N}{1,3}
 * GPT-2:    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * A character is a letter, a number, whitespace or other; every word is read off the class of its first character or two. */
#include "tokenizer_model.h"

enum { LETTER = KD_CLASS_LETTER, NUMBER = KD_CLASS_NUMBER, SPACE = KD_CLASS_SPACE, LINE = KD_CLASS_LINE };
enum { SOMETHING = LETTER | NUMBER | SPACE };  /* not other */

/* The class of the character at p, 0 at the end; *size: its bytes. */
static inline uint8_t class_at(kd_encoder *encoder, const char *p, const char *end, int *size) {
    *size = 0;
    if (p >= end) return SPACE;  /* (?!\S) holds at the end too */
    if ((unsigned char)*p < 128) return *size = 1, encoder->classes[(unsigned char)*p];
    return kd_class(encoder, kd_utf8_get((const unsigned char *)p, size));
}

/* The end of a run of characters whose class meets `any` (other: any == 0, none of SOMETHING). */
static inline const char *run_end(kd_encoder *encoder, const char *p, const char *end, uint8_t any) {
    const uint8_t *classes = encoder->classes;  /* those below 128 are known */
    for (int size; p < end; p += size) {
        unsigned char lead = (unsigned char)*p;
        uint8_t class = lead < 128 ? (size = 1, classes[lead]) : kd_class(encoder, kd_utf8_get((const unsigned char *)p, &size));
        if (any ? !(class & any) : class & SOMETHING) break;
    }
    return p;
}

/* 's 't 'm 'd 're 've 'll at an apostrophe; folded, where U+017F folds to s as well. 0: none of them. */
static int contraction(const char *p, const char *end, bool fold) {
    if (end - p < 2) return 0;
    unsigned char a = (unsigned char)p[1], b = end - p > 2 ? (unsigned char)p[2] : 0;
    if (fold && a == 0xc5 && b == 0xbf) return 3;
    if (fold) {
        a |= a >= 'A' && a <= 'Z' ? 0x20 : 0;
        b |= b >= 'A' && b <= 'Z' ? 0x20 : 0;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* \s*[\r\n]+ (lines) | \s+(?!\S) | \s+ at whitespace. */
static const char *scan_space(kd_encoder *encoder, const char *p, const char *end, bool lines) {
    const char *at = p, *last = p, *line = NULL;
    for (int size; at < end; at += size) {
        uint8_t class = kd_class(encoder, kd_utf8_get((const unsigned char *)at, &size));
        if (!(class & SPACE)) break;
        last = at;
        if (class & LINE) line = at + size;
    }
    if (lines && line) return line;
    return at == end || last == p ? at : last;
}

static const char *scan_lines(kd_encoder *encoder, const char *p, const char *end, int numbers) {
    int size, next_size;
    uint8_t class = class_at(encoder, p, end, &size);
    if (class & LETTER) return run_end(encoder, p + size, end, LETTER);
    if (class & NUMBER) {
        for (p += size; --numbers > 0 && class_at(encoder, p, end, &size) & NUMBER;) p += size;
        return p;
    }
    if (*p == '\'') {
        int bytes = contraction(p, end, true);
        if (bytes) return p + bytes;
    }
    uint8_t next = class_at(encoder, p + size, end, &next_size);
    if (!(class & LINE) && next & LETTER) return run_end(encoder, p + size + next_size, end, LETTER);
    if (!(class & SPACE) || (*p == ' ' && !(next & SOMETHING))) {
        p = run_end(encoder, p + size, end, 0);
        while (p < end && (*p == '\r' || *p == '\n')) p++;
        return p;
    }
    return scan_space(encoder, p, end, true);
}

static const char *scan_gpt2(kd_encoder *encoder, const char *p, const char *end) {
    int size, next_size;
    uint8_t class = class_at(encoder, p, end, &size);
    if (*p == '\'') {
        int bytes = contraction(p, end, false);
        if (bytes) return p + bytes;
    }
    if (*p == ' ') {
        uint8_t next = class_at(encoder, p + size, end, &next_size);
        if (!(next & SPACE)) {
            class = next;
            p += size;
            size = next_size;
        }
    }
    if (class & SPACE) return scan_space(encoder, p, end, false);
    return run_end(encoder, p + size, end, class & (LETTER | NUMBER));
}

const char *kd_scan_word(kd_encoder *encoder, enum kd_scan_kind kind, const char *p, const char *end) {
    if (kind == KD_SCAN_GPT2) return scan_gpt2(encoder, p, end);
    return scan_lines(encoder, p, end, kind == KD_SCAN_LLAMA3 ? 3 : 1);
}

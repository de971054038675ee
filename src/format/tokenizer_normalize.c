/* Normalizers: text in, text out, each stretch between added tokens on its own. */
#include <stdlib.h>
#include <utf8proc.h>

#include "tokenizer_model.h"

enum { DECOMPOSED = 18 };  /* more than a canonical decomposition has, which is 4 */

/* ---- NFC --------------------------------------------------------------------------------------------------- */

bool kd_restless(uint32_t c) {
    if (c < 0x300) return false;
    if (c >= 0x1160 && c <= 0x11ff) return true;
    const utf8proc_property_t *about = utf8proc_get_property((utf8proc_int32_t)c);
    if (about->combining_class || about->category == UTF8PROC_CATEGORY_MN || about->category == UTF8PROC_CATEGORY_MC ||
        about->category == UTF8PROC_CATEGORY_ME)
        return true;
    int last_class = 0;
    int32_t parts[DECOMPOSED];
    utf8proc_ssize_t count = utf8proc_decompose_char((utf8proc_int32_t)c, parts, DECOMPOSED, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
                                                     &last_class);
    if (count < 1 || count > DECOMPOSED) return false;
    count = utf8proc_normalize_utf32(parts, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    return count != 1 || parts[0] != (int32_t)c;
}

static kd_status room(kd_encoder *encoder, int64_t count) {
    if (count <= encoder->characters_room) return KD_OK;
    int64_t more = encoder->characters_room + encoder->characters_room / 2;
    if (more < count) more = count;
    free(encoder->characters);
    free(encoder->sorted);
    encoder->characters = encoder->sorted = NULL;
    encoder->characters_room = 0;
    KD_TRY(kd_new(&encoder->characters, more, sizeof *encoder->characters));
    KD_TRY(kd_new(&encoder->sorted, more, sizeof *encoder->sorted));
    encoder->characters_room = more;
    return KD_OK;
}

/* Marks in the order of their classes, equal ones as they stand: counted, since a text may be a million of them. */
static void sort_marks(int32_t *mark, int32_t *aside, int64_t count) {
    int64_t at[256] = {0}, sum = 0;
    for (int64_t i = 0; i < count; i++) at[utf8proc_get_property(mark[i])->combining_class]++;
    for (int c = 0; c < 256; c++) {
        int64_t here = at[c];
        at[c] = sum;
        sum += here;
    }
    for (int64_t i = 0; i < count; i++) aside[at[utf8proc_get_property(mark[i])->combining_class]++] = mark[i];
    memcpy(mark, aside, (size_t)count * sizeof *mark);
}

static kd_status compose(kd_text *out, kd_encoder *encoder, const char *text, int64_t size) {
    int64_t count = 0;
    KD_TRY(room(encoder, size * 2 + DECOMPOSED));  /* a character of 2 bytes becomes at most 4 */
    int32_t *c = encoder->characters;
    for (int64_t at = 0, step; at < size; at += step) {
        int bytes, last_class = 0;
        uint32_t character = kd_utf8_get((const unsigned char *)text + at, &bytes);
        step = bytes;
        utf8proc_ssize_t got = utf8proc_decompose_char((utf8proc_int32_t)character, c + count, DECOMPOSED,
                                                       UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &last_class);
        if (got < 0 || got > DECOMPOSED) return kd_fail(KD_ENOTSUP, "U+%04X: utf8proc error %d", (unsigned)character, (int)got);
        count += got;
    }
    for (int64_t i = 0, from; i < count; i++) {
        for (from = i; i < count && utf8proc_get_property(c[i])->combining_class; i++) {}
        if (i - from > 1) sort_marks(c + from, encoder->sorted, i - from);
    }
    utf8proc_ssize_t got = utf8proc_normalize_utf32(c, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (got < 0) return kd_fail(KD_ENOTSUP, "NFC: utf8proc error %d", (int)got);
    for (int64_t i = 0; i < got; i++) {
        char bytes[4];
        kd_text_add(out, bytes, kd_utf8_put(bytes, (uint32_t)c[i]));
    }
    return KD_OK;
}

static bool restless_at(kd_encoder *encoder, const char *p, int *size) {
    return kd_class(encoder, kd_utf8_get((const unsigned char *)p, size)) & KD_CLASS_RESTLESS;
}

/* Only a restless character and its kin behind a quiet one are worked on; the rest is copied. */
static kd_status run_nfc(const char **out, int64_t *out_size, kd_text *to, kd_encoder *encoder, const char *text, int64_t size) {
    int64_t copied = 0, quiet = 0;  /* quiet: where the last quiet character begins */
    bool changed = false;
    to->size = 0;
    to->failed = false;
    for (int64_t at = 0; at < size;) {
        unsigned char lead = (unsigned char)text[at];
        int step = 1;
        if (lead < 0xcc || !restless_at(encoder, text + at, &step)) {
            quiet = at;
            at += lead < 0xcc ? kd_utf8_size(lead) : step;
            continue;
        }
        do at += step;
        while (at < size && restless_at(encoder, text + at, &step));
        kd_text_add(to, text + copied, quiet - copied);
        KD_TRY(compose(to, encoder, text + quiet, at - quiet));
        changed = true;
        copied = quiet = at;
    }
    if (!changed) return *out = text, *out_size = size, KD_OK;
    kd_text_add(to, text + copied, size - copied);
    KD_TRY(kd_text_status(to));
    *out = to->data;
    *out_size = to->size;
    return KD_OK;
}

/* ---- the others -------------------------------------------------------------------------------------------- */

enum { SHORT = 4 };

/* A byte that becomes a few: by far the most frequent of replacements, a space that becomes a bar. */
static kd_status replace_byte(kd_text *to, const kd_normalizer *normalizer, const char *text, int64_t size) {
    const char byte = normalizer->finder.literal[0];
    char with[SHORT] = {0};
    int64_t step = normalizer->size;
    memcpy(with, normalizer->content, (size_t)step);
    KD_TRY(kd_text_room(to, size * (step > 1 ? step : 1) + SHORT));
    char *out = to->data;
    for (const char *end = text + size; text < end; text++) {
        bool hit = *text == byte;
        memcpy(out, with, SHORT);  /* what is too much is overwritten next */
        out[0] = hit ? with[0] : *text;
        out += hit ? step : 1;
    }
    to->size = out - to->data;
    return KD_OK;
}

static kd_status run_replace(kd_text *to, const kd_normalizer *normalizer, kd_encoder *encoder, const char *text, int64_t size) {
    kd_search search = {.text = text, .size = size};
    kd_match match;
    int64_t copied = 0;
    for (;;) {
        KD_TRY(kd_finder_next(&match, &normalizer->finder, &search, encoder));
        if (!match.found) break;
        kd_text_add(to, text + copied, match.begin - copied);
        kd_text_add(to, normalizer->content, normalizer->size);
        copied = match.end;
        if (to->failed || to->size > kd_most_grown(size)) break;
    }
    kd_text_add(to, text + copied, size - copied);
    return kd_text_status(to);
}

static kd_status run(const char **out, int64_t *out_size, kd_text *to, const kd_normalizer *normalizer, kd_encoder *encoder,
                     const char *text, int64_t size) {
    if (normalizer->kind == KD_NORMALIZE_NFC) return run_nfc(out, out_size, to, encoder, text, size);
    to->size = 0;
    to->failed = false;
    if (normalizer->kind == KD_NORMALIZE_PREPEND) {
        kd_text_add(to, normalizer->content, size ? normalizer->size : 0);
        kd_text_add(to, text, size);
        KD_TRY(kd_text_status(to));
    } else {
        bool byte = !normalizer->finder.code && normalizer->finder.size == 1 && normalizer->size <= SHORT;
        if (byte) KD_TRY(replace_byte(to, normalizer, text, size));
        else KD_TRY(run_replace(to, normalizer, encoder, text, size));
    }
    *out = to->size ? to->data : "";
    *out_size = to->size;
    return KD_OK;
}

kd_status kd_normalize(const char **out, int64_t *out_size, kd_encoder *encoder, const char *text, int64_t size) {
    const kd_parts *parts = &encoder->model->parts;
    *out = text;
    *out_size = size;
    for (int64_t i = 0; i < parts->normalizers; i++) {
        kd_text *to = &encoder->normal[*out == encoder->normal[0].data];
        KD_TRY(run(out, out_size, to, &parts->normalizer[i], encoder, *out, *out_size));
        if (*out_size > kd_most_grown(size))
            return kd_fail(KD_ENOTSUP, "normalizers make more than %lld bytes of %lld", (long long)kd_most_grown(size), (long long)size);
    }
    return KD_OK;
}

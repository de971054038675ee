/* From ids to text: a list of strings that each decoder rewrites, joined at the end. */
#include <stdlib.h>

#include "jsonl.h"
#include "tokenizer_model.h"

/* Strings behind one another: string i ends at end[i]. */
typedef struct strings { kd_text text; int64_t *end, count, room; } strings;

static kd_status close_string(strings *s) {
    if (s->count == s->room) {
        int64_t room = s->room ? 2 * s->room : 256;
        int64_t *end = realloc(s->end, (size_t)room * sizeof *end);
        if (!end) return kd_fail(KD_ENOMEM, "out of memory: %lld tokens to decode", (long long)room);
        s->end = end;
        s->room = room;
    }
    s->end[s->count++] = s->text.size;
    return KD_OK;
}

static kd_status add(strings *s, const char *text, int64_t size) {
    kd_text_add(&s->text, text, size);
    return close_string(s);
}

static const char *get(int64_t *size, const strings *s, int64_t i) {
    int64_t begin = i ? s->end[i - 1] : 0;
    *size = s->end[i] - begin;
    return *size ? s->text.data + begin : "";
}

static void free_strings(strings *s) {
    kd_text_free(&s->text);
    free(s->end);
}

/* ---- decoders ---------------------------------------------------------------------------------------------- */

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of a token <0x41>, or -1. */
static int byte_token(const char *text, int64_t size) {
    if (size != 6 || memcmp(text, "<0x", 3) || text[5] != '>' || hex(text[3]) < 0 || hex(text[4]) < 0) return -1;
    return hex(text[3]) << 4 | hex(text[4]);
}

/* Bytes that are valid together are text; else each is one U+FFFD. */
static kd_status add_run(strings *out, kd_text *run) {
    if (run->size && kd_utf8_invalid(run->data, run->size) < 0) KD_TRY(add(out, run->data, run->size));
    else
        for (int64_t i = 0; i < run->size; i++) KD_TRY(add(out, KD_REPLACEMENT, 3));
    run->size = 0;
    return kd_text_status(run);
}

static kd_status byte_fallback(strings *out, const strings *in) {
    kd_text run = {0};
    kd_status status = KD_OK;
    for (int64_t i = 0; i < in->count; i++) {
        int64_t size;
        const char *text = get(&size, in, i);
        int byte = byte_token(text, size);
        if (byte >= 0) {
            kd_text_add(&run, &(char){(char)byte}, 1);
            continue;
        }
        KD_GO(add_run(out, &run));
        KD_GO(add(out, text, size));
    }
    status = add_run(out, &run);
done:
    kd_text_free(&run);
    return status;
}

/* A token of which a character is no byte's stands as it is; what is not valid in all of them together is replaced. */
static kd_status byte_level(strings *out, const strings *in) {
    kd_text bytes = {0};
    int16_t byte_of[0x200];
    for (uint32_t c = 0; c < 0x200; c++) byte_of[c] = (int16_t)kd_character_byte(c);
    for (int64_t i = 0; i < in->count; i++) {
        int64_t size, before = bytes.size, at = 0;
        const char *text = get(&size, in, i);
        for (int step; at < size; at += step) {
            uint32_t c = kd_utf8_get((const unsigned char *)text + at, &step);
            if (c >= 0x200 || byte_of[c] < 0) break;
            kd_text_add(&bytes, &(char){(char)byte_of[c]}, 1);
        }
        if (at == size || bytes.failed) continue;
        bytes.size = before;
        kd_text_add(&bytes, text, size);
    }
    kd_text_add_lossy(&out->text, bytes.data ? bytes.data : "", bytes.size);
    kd_status status = kd_text_status(&bytes);
    kd_text_free(&bytes);
    return status ? status : close_string(out);
}

static kd_status replace(strings *out, const strings *in, const kd_decoder *decoder, kd_encoder *encoder) {
    int64_t most = kd_most_grown(in->text.size);
    for (int64_t i = 0; i < in->count; i++) {
        kd_search search = {0};
        kd_match match;
        int64_t copied = 0;
        search.text = get(&search.size, in, i);
        for (;;) {
            KD_TRY(kd_finder_next(&match, &decoder->finder, &search, encoder));
            if (!match.found) break;
            kd_text_add(&out->text, search.text + copied, match.begin - copied);
            kd_text_add(&out->text, decoder->content, decoder->size);
            copied = match.end;
            if (out->text.size > most)
                return kd_fail(KD_ENOTSUP, "a decoder makes more than %lld bytes of %lld", (long long)most, (long long)in->text.size);
        }
        KD_TRY(add(out, search.text + copied, search.size - copied));
    }
    return KD_OK;
}

static bool is_at(const char *text, const kd_decoder *decoder) { return !memcmp(text, decoder->content, (size_t)decoder->size); }

static kd_status strip(strings *out, const strings *in, const kd_decoder *decoder) {
    for (int64_t i = 0; i < in->count; i++) {
        int64_t size, begin = 0, unit = decoder->size;
        const char *text = get(&size, in, i);
        for (int64_t n = 0; n < decoder->start && size - begin >= unit && is_at(text + begin, decoder); n++) begin += unit;
        for (int64_t n = 0; n < decoder->stop && size - begin >= unit && is_at(text + size - unit, decoder); n++) size -= unit;
        KD_TRY(add(out, text + begin, size - begin));
    }
    return KD_OK;
}

static kd_status metaspace(strings *out, const strings *in, const kd_decoder *decoder) {
    for (int64_t i = 0; i < in->count; i++) {
        int64_t size;
        const char *text = get(&size, in, i);
        for (int64_t at = 0, step; at < size; at += step) {
            step = kd_utf8_size((unsigned char)text[at]);
            if (step != decoder->size || memcmp(text + at, decoder->content, (size_t)step)) kd_text_add(&out->text, text + at, step);
            else if (i || !decoder->drop) kd_text_put(&out->text, " ");
        }
        KD_TRY(close_string(out));
    }
    return KD_OK;
}

static kd_status run(strings *out, const strings *in, const kd_decoder *decoder, kd_encoder *encoder) {
    switch (decoder->kind) {
    case KD_DECODE_REPLACE: return replace(out, in, decoder, encoder);
    case KD_DECODE_BYTE_FALLBACK: return byte_fallback(out, in);
    case KD_DECODE_FUSE: return add(out, in->text.size ? in->text.data : "", in->text.size);
    case KD_DECODE_STRIP: return strip(out, in, decoder);
    case KD_DECODE_BYTES: return byte_level(out, in);
    case KD_DECODE_METASPACE: return metaspace(out, in, decoder);
    }
    return KD_OK;
}

/* ---- ids --------------------------------------------------------------------------------------------------- */

static kd_status look_up(strings *out, const kd_tokenizer *tokenizer, const int32_t *id, int64_t count, bool skip_specials) {
    const kd_tokenizer_model *model = tokenizer->model;
    for (int64_t i = 0; i < count; i++) {
        const kd_added *added = kd_added_id(&model->added, id[i]);
        const kd_token *token = added ? NULL : kd_vocabulary_id(&model->vocabulary, id[i]);
        if (!added && !token)
            return kd_fail(KD_EFORMAT, "id %d is no token of %s, whose vocabulary has %lld", (int)id[i], tokenizer->name,
                           (long long)tokenizer->vocabulary);
        if (added && skip_specials && added->skipped) continue;
        if (token) KD_TRY(add(out, model->vocabulary.strings + token->at, token->size));
        else if (added->normal) KD_TRY(add(out, added->normal, added->normal_size));
        else KD_TRY(add(out, added->content, added->size));
    }
    return kd_text_status(&out->text);
}

static kd_status decode_model(kd_text *text, const kd_tokenizer *tokenizer, const int32_t *id, int64_t count, bool skip_specials) {
    const kd_parts *parts = &tokenizer->model->parts;
    strings both[2] = {0};
    kd_encoder *encoder = NULL;
    kd_status status = KD_OK;
    KD_GO(look_up(&both[0], tokenizer, id, count, skip_specials));
    int64_t now = 0;
    for (int64_t i = 0; i < parts->decoders; i++) {
        if (parts->decoder[i].finder.code && !encoder) KD_GO(kd_encoder_new(&encoder, tokenizer));
        now = !now;
        both[now].text.size = both[now].count = 0;
        KD_GO(run(&both[now], &both[!now], &parts->decoder[i], encoder));
        KD_GO(kd_text_status(&both[now].text));
    }
    for (int64_t i = 0; i < both[now].count; i++) {
        int64_t size;
        const char *part = get(&size, &both[now], i);
        if (i && !parts->decodes) kd_text_put(text, " ");
        kd_text_add(text, part, size);
    }
    status = kd_text_status(text);
done:
    kd_encoder_free(encoder);
    free_strings(&both[0]);
    free_strings(&both[1]);
    return status;
}

static kd_status decode_bytes(kd_text *text, const kd_tokenizer *tokenizer, const int32_t *id, int64_t count, bool skip_specials) {
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

kd_status kd_decode(kd_text *text, const kd_tokenizer *tokenizer, const int32_t *id, int64_t count, bool skip_specials) {
    return (tokenizer->model ? decode_model : decode_bytes)(text, tokenizer, id, count, skip_specials);
}

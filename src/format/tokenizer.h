/* From text to ids and back: `bytes`, and Hugging Face's tokenizer.json, whose ids are those of its own package (BPE models;
 * letters, numbers and marks are those of the Unicode version that PCRE2 and utf8proc have). */
#ifndef KD_TOKENIZER_H
#define KD_TOKENIZER_H

#include "base/arena.h"
#include "text.h"

enum { KD_BYTES_BOS = 256, KD_BYTES_EOS = 257, KD_BYTES_PAD = 258, KD_BYTES_VOCABULARY = 259 };

typedef struct kd_tokenizer_model kd_tokenizer_model;

/* Read-only once it is open: any number of threads may share it. */
struct kd_tokenizer {
    char *name;                 /* "bytes", or the path of its tokenizer.json */
    int32_t bos, eos;           /* -1: there is none */
    int64_t vocabulary;         /* ids are below it; a checkpoint may have more rows */
    uint64_t hash;              /* XXH3-64 of tokenizer.json; of "bytes" */
    kd_tokenizer_model *model;  /* NULL: bytes */
};

/* name: "bytes", a folder with tokenizer.json, or such a file. KD_ECONFIG when it is none of them, KD_ENOTSUP naming the
 * part of tokenizer.json that is not implemented, KD_EFORMAT. bos and eos: as tokenizer_config.json, special_tokens_map.json,
 * config.json or generation_config.json beside it say, the first in which the key stands; else what its template puts in
 * front, and the token of a usual name. Free with kd_tokenizer_close. */
kd_status kd_tokenizer_open(kd_tokenizer *tokenizer, const char *name);
void kd_tokenizer_close(kd_tokenizer *tokenizer);

/* The versions of Unicode that its ids may depend on: "letters 14.0.0, NFC 15.0.0"; of `bytes` "none". */
void kd_tokenizer_unicode(char text[64], const kd_tokenizer *tokenizer);

/* Ids that grow; zeroed at first, free id with free(). */
typedef struct kd_ids { int32_t *id; int64_t count, room; } kd_ids;
kd_status kd_ids_reserve(kd_ids *ids, int64_t more);   /* room for `more` behind count. KD_ENOMEM */

/* Appends the ids of text [size]; flags are kd_encode_flags. `bytes` takes any bytes; the others fail with KD_EFORMAT "byte N: not valid UTF-8", N
 * from 0, ids as they were after any failure. Takes n log n steps of any text of n bytes. KD_ENOTSUP: an expression of the
 * file, other than the known ones, needs too many steps; or its normalizers make too much of a text. */
kd_status kd_encode(kd_ids *ids, kd_encoder *encoder, const char *text, int64_t size, int flags);

/* Appends the text of ids [count]; skip_specials: special tokens are left out. KD_EFORMAT for an id that is not in the
 * vocabulary. */
kd_status kd_decode(kd_text *text, const kd_tokenizer *tokenizer, const int32_t *id, int64_t count, bool skip_specials);

#endif

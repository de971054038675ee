/* What is behind kd_tokenizer and kd_encoder; for the tokenizer's own files and its tests. */
#ifndef KD_TOKENIZER_MODEL_H
#define KD_TOKENIZER_MODEL_H

#include <string.h>

#include "json.h"
#include "tokenizer.h"

/* ---- characters -------------------------------------------------------------------------------------------- */

/* The character at p of valid UTF-8; *size: its bytes. */
static inline uint32_t kd_utf8_get(const unsigned char *p, int *size) {
    if (p[0] < 0x80) return *size = 1, p[0];
    if (p[0] < 0xe0) return *size = 2, (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    if (p[0] < 0xf0) return *size = 3, (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    return *size = 4, (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 | (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}

/* Bytes of the character whose first byte is `lead`. */
static inline int kd_utf8_size(unsigned char lead) { return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4; }
int kd_utf8_put(char out[4], uint32_t character);                /* bytes written */

enum {  /* classes of a character; KNOWN: the others have been asked for */
    KD_CLASS_LETTER = 1, KD_CLASS_NUMBER = 2, KD_CLASS_SPACE = 4, KD_CLASS_LINE = 8, KD_CLASS_WORD = 16, KD_CLASS_RESTLESS = 32,
    KD_CLASS_KNOWN = 128,
};
enum { KD_CLASS_PATTERNS = 4 };
typedef struct kd_class_patterns { void *code[KD_CLASS_PATTERNS]; } kd_class_patterns;
kd_status kd_class_patterns_new(kd_class_patterns *patterns);
void kd_class_patterns_free(kd_class_patterns *patterns);

/* A character that NFC changes, or that may go together with the one before it: below U+0300 there is none. Marks, and the
 * vowels and finals of Hangul, are all that does the latter. */
bool kd_restless(uint32_t character);

/* ---- patterns ---------------------------------------------------------------------------------------------- */

enum kd_scan_kind { KD_SCAN_NONE, KD_SCAN_GPT2, KD_SCAN_QWEN, KD_SCAN_LLAMA3 };

/* What a Split or a Replace looks for: a string, or a regular expression, which a scanner may serve. */
typedef struct kd_finder {
    char *literal;
    int64_t size;
    void *code;               /* PCRE2's, or NULL: literal */
    enum kd_scan_kind scan;
} kd_finder;

#define KD_GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* KD_ENOTSUP naming what of the expression PCRE2 would read in another way than Oniguruma, KD_EFORMAT. */
kd_status kd_finder_regex(kd_finder *finder, const char *pattern, int64_t size);
kd_status kd_finder_literal(kd_finder *finder, const char *literal, int64_t size);
void kd_finder_free(kd_finder *finder);

/* Where a search stands: zeroed but for text and size. Matches come from left to right and do not overlap. */
typedef struct kd_search { const char *text; int64_t size, at, last; bool again; } kd_search;
typedef struct kd_match { int64_t begin, end; bool found; } kd_match;
kd_status kd_finder_next(kd_match *match, const kd_finder *finder, kd_search *search, kd_encoder *encoder);

/* ---- the parts of a file ----------------------------------------------------------------------------------- */

typedef struct kd_normalizer {
    enum { KD_NORMALIZE_NFC, KD_NORMALIZE_PREPEND, KD_NORMALIZE_REPLACE } kind;
    kd_finder finder;         /* Replace */
    char *content;            /* Replace, Prepend */
    int64_t size;
} kd_normalizer;

typedef struct kd_splitter {
    enum { KD_SPLIT_PATTERN, KD_SPLIT_METASPACE, KD_SPLIT_BYTES } kind;
    enum { KD_SPLIT_ISOLATED, KD_SPLIT_REMOVED, KD_SPLIT_PREVIOUS, KD_SPLIT_NEXT, KD_SPLIT_CONTIGUOUS } behavior;
    bool invert;
    bool cut;                 /* Metaspace: split; ByteLevel: use_regex */
    bool space;               /* ByteLevel: add_prefix_space */
    enum { KD_PREPEND_ALWAYS, KD_PREPEND_FIRST, KD_PREPEND_NEVER } prepend;
    kd_finder finder;         /* Split, and ByteLevel where it cuts */
    char mark[4];             /* Metaspace: its replacement */
    int64_t size;
} kd_splitter;

typedef struct kd_decoder {
    enum { KD_DECODE_REPLACE, KD_DECODE_BYTE_FALLBACK, KD_DECODE_FUSE, KD_DECODE_STRIP, KD_DECODE_BYTES, KD_DECODE_METASPACE } kind;
    kd_finder finder;         /* Replace */
    char *content;            /* Replace; Strip and Metaspace: one character */
    int64_t size;
    int64_t start, stop;      /* Strip */
    bool drop;                /* Metaspace: the first token loses its marks */
} kd_decoder;

enum { KD_PARTS = 32 };       /* parts of a kind in a file */
enum { KD_TEMPLATE = 1024 };  /* ids that a post-processor may put around a text */
/* What a chain of replacements may make of `size` bytes; a file of a few lines could ask for 2^32 times as much. */
static inline int64_t kd_most_grown(int64_t size) { return 64 * size + 4096; }
enum { KD_PLACE = 4400 };     /* bytes of a path and of a place in that file */

typedef struct kd_parts {
    kd_normalizer normalizer[KD_PARTS];
    kd_splitter splitter[KD_PARTS];
    kd_decoder decoder[KD_PARTS];
    int64_t normalizers, splitters, decoders;
    bool decodes;             /* there is a decoder, be it an empty sequence */
    bool bytes;               /* words are spelled in bytes: the last pre-tokenizer is ByteLevel */
    kd_ids prefix, suffix;    /* what the post-processor adds */
} kd_parts;

/* ---- vocabulary -------------------------------------------------------------------------------------------- */

/* A token's text is strings[at .. at+size-1]; spelled in bytes it is bytes[at ..] with `spelled` of them, -1 where a
 * character of it is no byte's. */
typedef struct kd_token { int32_t id, size, spelled; int64_t at; } kd_token;
typedef struct kd_lookup { int32_t *slot; uint64_t mask; } kd_lookup;
typedef struct kd_merge { uint64_t pair; uint32_t rank; int32_t id; } kd_merge;  /* pair: left << 32 | right */
typedef struct kd_start { uint32_t character; int32_t id; } kd_start;

#define KD_NO_PAIR UINT64_MAX
enum { KD_JOIN_MARK = 128, KD_JOIN_OTHER = 129, KD_JOINS = 130 };

typedef struct kd_vocabulary {
    kd_token *token;          /* [count] by id */
    int64_t count;
    char *strings, *bytes;
    kd_lookup by_string, by_bytes;
    int64_t longest;          /* bytes of the longest string */
    kd_merge *merge;          /* [merge_mask + 1] open addressing, KD_NO_PAIR: empty */
    uint64_t merge_mask;
    int32_t ascii[128];       /* the symbol a character starts as, -1: none */
    kd_start *start;          /* [start_mask + 1] the same for the other characters; id -1: empty */
    uint64_t start_mask;
    int32_t byte[256];        /* words spelled in bytes: the symbol of a byte */
    int32_t fallback[256];    /* <0x00> .. <0xFF>, -1: none */
    int32_t unknown;          /* -1: none */
    char *unknown_name;       /* unk_token that is not in the vocabulary, else NULL */
    bool fuse_unknown, byte_fallback, ignore_merges;
    bool faithful;            /* what symbols merge to is their texts together: no merge names a byte or the unknown */
    bool cuts;                /* join is exact: see tokenizer_bpe.c */
    uint8_t join[KD_JOINS + 1][KD_JOINS + 2];  /* the last row: before the first character */
} kd_vocabulary;

kd_status kd_vocabulary_read(kd_vocabulary *vocabulary, const json_t *model, bool bytes, const char *name);
void kd_vocabulary_free(kd_vocabulary *vocabulary);
const kd_token *kd_vocabulary_find(const kd_vocabulary *vocabulary, const char *text, int64_t size);  /* or NULL */
const kd_token *kd_vocabulary_spelled(const kd_vocabulary *vocabulary, const char *text, int64_t size);
const kd_token *kd_vocabulary_id(const kd_vocabulary *vocabulary, int64_t id);
int kd_byte_character(unsigned char byte);    /* ByteLevel's character for a byte, */
int kd_character_byte(uint32_t character);    /* and back: -1 for any other */

static inline uint64_t kd_pair_hash(uint64_t pair) {
    pair = (pair ^ pair >> 32) * 0x9e3779b97f4a7c15u;
    return pair ^ pair >> 29;
}

/* The merge of two symbols, or NULL. */
static inline const kd_merge *kd_merge_find(const kd_vocabulary *vocabulary, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t at = kd_pair_hash(pair);; at++) {
        const kd_merge *merge = &vocabulary->merge[at & vocabulary->merge_mask];
        if (merge->pair == pair) return merge;
        if (merge->pair == KD_NO_PAIR) return NULL;
    }
}

/* ---- added tokens ------------------------------------------------------------------------------------------ */

typedef struct kd_added {
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool skipped;             /* when decoding without specials */
    char *content, *normal;   /* normal: as the normalizer leaves it, NULL: the same */
    int64_t size, normal_size;
} kd_added;

/* Aho and Corasick's automaton over reversed strings: see tokenizer_added.c. */
typedef struct kd_trie_edge { uint64_t key; int32_t to; } kd_trie_edge;
typedef struct kd_matcher {
    kd_trie_edge *edge;
    uint64_t edge_mask;
    int32_t *fail, *longest;  /* [states] longest: index of the added token, -1: none */
    int32_t root[256];
    int64_t states;
    int last;                 /* the one byte that all tokens end with, -1: there are several */
} kd_matcher;

typedef struct kd_added_tokens {
    kd_added *token, **by_content;  /* [count] by id, and by size and content */
    int64_t count;
    kd_matcher raw, normal;
} kd_added_tokens;

kd_status kd_added_read(kd_added_tokens *added, const json_t *list, const kd_vocabulary *vocabulary, const char *name);
/* With an encoder of the tokenizer, for the tokens that are normalized. */
kd_status kd_added_prepare(kd_added_tokens *added, kd_encoder *encoder, const char *name);
void kd_added_free(kd_added_tokens *added);
const kd_added *kd_added_id(const kd_added_tokens *added, int64_t id);  /* or NULL */
const kd_added *kd_added_find(const kd_added_tokens *added, const char *text, int64_t size);

typedef struct kd_hit { int64_t begin, end; int32_t token; } kd_hit;
typedef struct kd_hits { kd_hit *hit; int64_t count, room; } kd_hits;
/* The tokens in a text, leftmost and longest first; the last of them stands first in hits. */
kd_status kd_matcher_run(kd_hits *hits, const kd_matcher *matcher, const kd_added_tokens *added, const char *text, int64_t size);

/* ---- the model --------------------------------------------------------------------------------------------- */

struct kd_tokenizer_model {
    kd_parts parts;
    kd_vocabulary vocabulary;
    kd_added_tokens added;
    kd_class_patterns classes;
    bool force_pattern;       /* for tests: PCRE2 splits even where a scanner could */
};

kd_status kd_parts_read(kd_parts *parts, const json_t *root, const char *name);
void kd_parts_free(kd_parts *parts);
/* bos and eos as the file itself shows them, and then as the files beside it say them. */
void kd_marks_inside(kd_tokenizer *tokenizer);
kd_status kd_marks_beside(kd_tokenizer *tokenizer);
/* The text of a tokenizer.json, without the files beside it. After a failure *tokenizer is closed. */
kd_status kd_tokenizer_parse(kd_tokenizer *tokenizer, const char *data, int64_t size, const char *name);

/* ---- an encoder's insides ---------------------------------------------------------------------------------- */

typedef struct kd_bpe_entry { uint64_t key; int32_t id; } kd_bpe_entry;        /* key: rank << 32 | position */
/* id -1: merged into its left neighbour; pair: what it and the next merge to, -1: nothing. */
typedef struct kd_bpe_symbol { int32_t id, previous, next, pair; } kd_bpe_symbol;

enum { KD_WORD_BYTES = 15, KD_WORD_IDS = 3, KD_WORD_SETS = 1 << 15 };
typedef struct kd_word { uint64_t key[2]; int32_t count, id[KD_WORD_IDS]; } kd_word;

struct kd_encoder {
    const kd_tokenizer *tokenizer;
    const kd_tokenizer_model *model;
    kd_ids *ids;              /* of the call under way */
    kd_status wrong;          /* a class that could not be had */
    uint8_t *classes;         /* [0x110000] as far as they have been asked for */
    void *match, *context, *stack;  /* PCRE2's */
    kd_text valid, normal[2], step[KD_PARTS];
    kd_hits raw_hits, normal_hits;
    int32_t *characters, *sorted;   /* NFC */
    int64_t characters_room;
    kd_bpe_symbol *symbol;
    int64_t symbol_room, symbols;
    kd_bpe_entry *heap;
    int64_t heap_room, heap_count;
    kd_word *word;            /* [KD_WORD_SETS * 2] */
    kd_ids given_ids;         /* kd_encoder_ids, */
    kd_text given_text;       /* kd_encoder_text: what they gave last */
};

kd_status kd_text_room(kd_text *text, int64_t size);       /* room for size bytes from the start; KD_ENOMEM */
uint8_t kd_class_ask(kd_encoder *encoder, uint32_t character);  /* fills the classes of the characters around it */

static inline uint8_t kd_class(kd_encoder *encoder, uint32_t character) {
    uint8_t known = encoder->classes[character];
    return known ? known : kd_class_ask(encoder, character);
}

/* The end of the word at p; p < end. */
const char *kd_scan_word(kd_encoder *encoder, enum kd_scan_kind kind, const char *p, const char *end);

/* *out [*out_size]: text as the normalizers leave it, in the encoder's memory or text itself. */
kd_status kd_normalize(const char **out, int64_t *out_size, kd_encoder *encoder, const char *text, int64_t size);
/* Appends the ids of a normalized text that is no added token; first: it begins where the text given begins. */
kd_status kd_split(kd_encoder *encoder, const char *text, int64_t size, bool first);
/* Appends the ids of a word. */
kd_status kd_word_add(kd_encoder *encoder, const char *text, int64_t size);
kd_status kd_bpe_reserve(kd_encoder *encoder, int64_t symbols);
/* Leaves the symbols of a word in symbol[0 .. symbols-1].id, without looking at ignore_merges. */
kd_status kd_bpe_run(kd_encoder *encoder, const char *text, int64_t size);

#endif

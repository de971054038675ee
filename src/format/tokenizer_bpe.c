/* Byte pair encoding of one word, to the letter of Hugging Face's: symbols in a list, possible merges in a heap by rank and
 * then by place; a merge taken from it stands if the pair now there still gives the id it was entered for.
 *
 * Cuts. Where a word is a whole text (Llama-2, Mistral) it is cut between two characters that no merged token has side by
 * side: no merge can reach over such a place, so the two sides go their own ways and may be looked up alone. */
#include <stdlib.h>

#include "tokenizer_model.h"

/* ---- memory ------------------------------------------------------------------------------------------------ */

kd_status kd_bpe_reserve(kd_encoder *encoder, int64_t symbols) {
    if (symbols <= encoder->symbol_room) return KD_OK;
    return kd_grow(&encoder->symbol, &encoder->symbol_room, symbols, sizeof *encoder->symbol);
}

/* ---- symbols ----------------------------------------------------------------------------------------------- */

static void add(kd_encoder *encoder, int32_t id) { encoder->symbol[encoder->symbols++].id = id; }

static int32_t start_of(const kd_vocabulary *vocabulary, uint32_t character) {
    if (character < 128) return vocabulary->ascii[character];
    for (uint64_t at = kd_pair_hash(character);; at++) {
        const kd_start *start = &vocabulary->start[at & vocabulary->start_mask];
        if (start->id < 0 || start->character == character) return start->id;
    }
}

/* A character as its own symbol, as the bytes of its UTF-8, or as unknown, which waits: it may grow (fuse_unk), and bytes
 * overtake it. That is how the package does it. */
static kd_status add_character(kd_encoder *encoder, bool *waits, uint32_t character, int32_t id) {
    const kd_vocabulary *vocabulary = &encoder->model->vocabulary;
    if (id >= 0) {
        if (*waits) add(encoder, vocabulary->unknown);
        *waits = false;
        add(encoder, id);
        return KD_OK;
    }
    if (vocabulary->byte_fallback) {
        char utf8[4];
        int size = kd_utf8_put(utf8, character), have = 0;
        for (; have < size && vocabulary->fallback[(unsigned char)utf8[have]] >= 0; have++) {}
        for (int i = 0; i < size && have == size; i++) add(encoder, vocabulary->fallback[(unsigned char)utf8[i]]);
        if (have == size) return KD_OK;
    }
    if (vocabulary->unknown_name)
        return kd_fail(KD_EFORMAT, "U+%04X is no token, and unk_token \"%s\" is not in the vocabulary", (unsigned)character,
                       vocabulary->unknown_name);
    if (vocabulary->unknown < 0) return KD_OK;  /* and so it is lost */
    if (*waits && !vocabulary->fuse_unknown) add(encoder, vocabulary->unknown);
    *waits = true;
    return KD_OK;
}

static kd_status start(kd_encoder *encoder, const char *text, int64_t size) {
    const kd_vocabulary *vocabulary = &encoder->model->vocabulary;
    bool bytes = encoder->model->parts.bytes, waits = false;
    int64_t need = 2 * size + 2;  /* a byte's character may fall back to two bytes */
    if (need >= INT32_MAX) return kd_fail(KD_ENOTSUP, "a word of %lld bytes", (long long)size);
    KD_TRY(kd_bpe_reserve(encoder, need));
    encoder->symbols = 0;
    for (int64_t at = 0; at < size;) {
        int step = 1;
        unsigned char lead = (unsigned char)text[at];
        uint32_t character = bytes ? lead : kd_utf8_get((const unsigned char *)text + at, &step);
        int32_t id = bytes ? vocabulary->byte[lead] : start_of(vocabulary, character);
        if (bytes && id < 0) character = (uint32_t)kd_byte_character(lead);
        KD_TRY(add_character(encoder, &waits, character, id));
        at += step;
    }
    if (waits) add(encoder, vocabulary->unknown);
    return KD_OK;
}

/* ---- merging ----------------------------------------------------------------------------------------------- */

enum { FEW = 32 };  /* symbols, up to which looking at all of them is faster than a heap */
#define NO_MERGE UINT64_MAX

static inline uint64_t pair_of(const kd_vocabulary *vocabulary, int32_t left, int32_t right) {
    const kd_merge *merge = kd_merge_find(vocabulary, left, right);
    return merge ? (uint64_t)merge->rank << 32 | (uint32_t)merge->id : NO_MERGE;
}

/* Enters the pair at a position, if it merges. */
static void push(kd_encoder *encoder, int32_t position) {
    kd_bpe_symbol *left = &encoder->symbol[position];
    const kd_merge *merge = kd_merge_find(&encoder->model->vocabulary, left->id, encoder->symbol[left->next].id);
    left->pair = merge ? merge->id : -1;
    if (!merge) return;
    kd_bpe_entry *heap = encoder->heap, entry = {(uint64_t)merge->rank << 32 | (uint32_t)position, merge->id};
    int64_t at = encoder->heap_count++;
    for (int64_t up; at > 0 && heap[up = (at - 1) / 2].key > entry.key; at = up) heap[at] = heap[up];
    heap[at] = entry;
}

static kd_bpe_entry pop(kd_encoder *encoder) {
    kd_bpe_entry *heap = encoder->heap, top = heap[0], last = heap[--encoder->heap_count];
    int64_t at = 0, count = encoder->heap_count;
    for (int64_t down; (down = 2 * at + 1) < count; at = down) {
        if (down + 1 < count && heap[down + 1].key < heap[down].key) down++;
        if (heap[down].key >= last.key) break;
        heap[at] = heap[down];
    }
    heap[at] = last;
    return top;
}

static void merge_all(kd_encoder *encoder) {
    kd_bpe_symbol *symbol = encoder->symbol;
    int32_t count = (int32_t)encoder->symbols;
    encoder->heap_count = 0;
    for (int32_t i = 0; i < count; i++) {
        symbol[i].previous = i - 1;
        symbol[i].next = i + 1;
        if (i + 1 < count) push(encoder, i);
    }
    if (count) symbol[count - 1].next = symbol[count - 1].pair = -1;
    while (encoder->heap_count) {
        kd_bpe_entry top = pop(encoder);
        int32_t at = (int32_t)(uint32_t)top.key, right = symbol[at].next, next, previous;
        if (symbol[at].pair != top.id) continue;  /* merged away, the last, or another pair now */
        next = symbol[right].next;
        previous = symbol[at].previous;
        symbol[at].id = top.id;
        symbol[at].next = next;
        symbol[at].pair = symbol[right].pair = -1;
        if (next >= 0) symbol[next].previous = at;
        if (previous >= 0) push(encoder, previous);
        if (next >= 0) push(encoder, at);
    }
    int64_t kept = 0;
    for (int32_t i = 0; i >= 0 && i < count; i = symbol[i].next) symbol[kept++].id = symbol[i].id;
    encoder->symbols = kept;
}

/* A few symbols: the lowest rank, the leftmost of equals, is looked for each time. An entry of the heap that has been
 * overtaken never stands here, as it does not where merges are faithful: a pair that grew spells another token. */
static void merge_few(kd_encoder *encoder) {
    const kd_vocabulary *vocabulary = &encoder->model->vocabulary;
    int32_t id[FEW];
    uint64_t pair[FEW];  /* rank and id of what symbols i and i + 1 merge to */
    int count = (int)encoder->symbols;
    for (int i = 0; i < count; i++) id[i] = encoder->symbol[i].id;
    for (int i = 0; i + 1 < count; i++) pair[i] = pair_of(vocabulary, id[i], id[i + 1]);
    while (count > 1) {
        int at = 0;
        uint64_t best = pair[0];
        for (int i = 1; i + 1 < count; i++)
            if (pair[i] < best) best = pair[i], at = i;
        if (best == NO_MERGE) break;
        id[at] = (int32_t)(uint32_t)best;
        count--;
        for (int i = at + 1; i < count; i++) id[i] = id[i + 1], pair[i - 1] = pair[i];
        if (at + 1 < count) pair[at] = pair_of(vocabulary, id[at], id[at + 1]);
        if (at > 0) pair[at - 1] = pair_of(vocabulary, id[at - 1], id[at]);
    }
    for (int i = 0; i < count; i++) encoder->symbol[i].id = id[i];
    encoder->symbols = count;
}

kd_status kd_bpe_run(kd_encoder *encoder, const char *text, int64_t size) {
    KD_TRY(start(encoder, text, size));
    if (encoder->symbols <= FEW && encoder->model->vocabulary.faithful) return merge_few(encoder), KD_OK;
    /* Of n symbols at most n - 1 pairs stand at first, and each of n - 1 merges enters two more and takes one. */
    int64_t need = 2 * encoder->symbols + 2;
    if (need > encoder->heap_room) KD_TRY(kd_grow(&encoder->heap, &encoder->heap_room, need, sizeof *encoder->heap));
    merge_all(encoder);
    return KD_OK;
}

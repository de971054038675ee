/* The vocabulary and the merges of tokenizer.json's model: read, checked, and laid out for looking up. */
#include <limits.h>
#include <stdlib.h>
#include <xxhash.h>

#include "tokenizer_model.h"

#define IDS (INT32_MAX - 1) /* ids are below */

/* ---- looking up -------------------------------------------------------------------------------------------- */

static const char *text_of(int64_t *size, const kd_vocabulary *vocabulary, const kd_token *token, bool spelled) {
    *size = spelled ? token->spelled : token->size;
    return (spelled ? vocabulary->bytes : vocabulary->strings) + token->at;
}

/* The slot of a text, or the free one where it would stand. */
static int32_t *slot_of(const kd_vocabulary *vocabulary, const char *text, int64_t size, bool spelled) {
    const kd_lookup *lookup = spelled ? &vocabulary->by_bytes : &vocabulary->by_string;
    for (uint64_t at = XXH3_64bits(text, (size_t)size);; at++) {
        int32_t *slot = &lookup->slot[at & lookup->mask];
        if (*slot < 0) return slot;
        int64_t have;
        const char *other = text_of(&have, vocabulary, &vocabulary->token[*slot], spelled);
        if (have == size && !memcmp(other, text, (size_t)size)) return slot;
    }
}

static const kd_token *find(const kd_vocabulary *vocabulary, const char *text, int64_t size, bool spelled) {
    if (!vocabulary->count) return NULL;
    int32_t index = *slot_of(vocabulary, text, size, spelled);
    return index < 0 ? NULL : &vocabulary->token[index];
}

const kd_token *kd_vocabulary_find(const kd_vocabulary *vocabulary, const char *text, int64_t size) {
    return find(vocabulary, text, size, false);
}

const kd_token *kd_vocabulary_spelled(const kd_vocabulary *vocabulary, const char *text, int64_t size) {
    return find(vocabulary, text, size, true);
}

const kd_token *kd_vocabulary_id(const kd_vocabulary *vocabulary, int64_t id) {
    if (id >= 0 && id < vocabulary->count && vocabulary->token[id].id == id) return &vocabulary->token[id];
    int64_t low = 0, high = vocabulary->count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (vocabulary->token[middle].id < id) low = middle + 1;
        else high = middle;
    }
    return low < vocabulary->count && vocabulary->token[low].id == id ? &vocabulary->token[low] : NULL;
}

/* Powers of two, at most half full. */
static int64_t slots_for(int64_t count) {
    int64_t slots = 16;
    while (slots < 2 * count) slots *= 2;
    return slots;
}

static kd_status index_tokens(kd_vocabulary *vocabulary, bool spelled) {
    kd_lookup *lookup = spelled ? &vocabulary->by_bytes : &vocabulary->by_string;
    int64_t slots = slots_for(vocabulary->count);
    KD_TRY(kd_new(&lookup->slot, slots, sizeof *lookup->slot));
    lookup->mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < slots; i++) lookup->slot[i] = -1;
    for (int64_t i = 0; i < vocabulary->count; i++) {
        int64_t size;
        const char *text = text_of(&size, vocabulary, &vocabulary->token[i], spelled);
        if (size >= 0) *slot_of(vocabulary, text, size, spelled) = (int32_t)i;
    }
    return KD_OK;
}

/* ---- tokens ------------------------------------------------------------------------------------------------ */

static int by_id(const void *a, const void *b) {
    const kd_token *left = a, *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

/* Written behind `at` of bytes; -1 if a character is no byte's. No longer than the string. */
static int32_t spell(char *out, const char *text, int64_t size, const int16_t byte_of[0x200]) {
    int32_t count = 0;
    for (int64_t at = 0; at < size;) {
        int step;
        uint32_t character = kd_utf8_get((const unsigned char *)text + at, &step);
        if (character >= 0x200 || byte_of[character] < 0) return -1;
        out[count++] = (char)byte_of[character];
        at += step;
    }
    return count;
}

static kd_status add_token(kd_vocabulary *vocabulary, int64_t *used, const char *text, int64_t size, const json_t *id, const char *name) {
    if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= IDS)
        return kd_fail(KD_EFORMAT, "%s: model: vocab: the id of \"%.60s\" is not a number from 0 to %d", name, text, IDS - 1);
    kd_token *token = &vocabulary->token[vocabulary->count++];
    *token = (kd_token){.id = (int32_t)json_integer_value(id), .size = (int32_t)size, .spelled = -1, .at = *used};
    memcpy(vocabulary->strings + *used, text, (size_t)size);
    *used += size;
    if (size > vocabulary->longest) vocabulary->longest = size;
    return KD_OK;
}

static kd_status read_tokens(kd_vocabulary *vocabulary, json_t *vocab, bool bytes, const char *name) {
    int64_t total = 0, used = 0, count = (int64_t)json_object_size(vocab);
    const char *key;
    json_t *id;
    json_object_foreach(vocab, key, id) total += (int64_t)strlen(key);
    KD_TRY(kd_new(&vocabulary->token, count, sizeof *vocabulary->token));
    KD_TRY(kd_new(&vocabulary->strings, total + 1, 1));
    json_object_foreach(vocab, key, id) KD_TRY(add_token(vocabulary, &used, key, (int64_t)strlen(key), id, name));
    if (count) qsort(vocabulary->token, (size_t)count, sizeof *vocabulary->token, by_id);
    for (int64_t i = 1; i < count; i++) {
        const kd_token *a = &vocabulary->token[i - 1], *b = &vocabulary->token[i];
        if (a->id == b->id)
            return kd_fail(KD_EFORMAT, "%s: model: vocab: \"%.*s\" and \"%.*s\" have the same id %d", name,
                           a->size < 60 ? a->size : 60, vocabulary->strings + a->at, b->size < 60 ? b->size : 60,
                           vocabulary->strings + b->at, (int)a->id);
    }
    KD_TRY(index_tokens(vocabulary, false));
    if (!bytes) return KD_OK;
    KD_TRY(kd_new(&vocabulary->bytes, total + 1, 1));
    int16_t byte_of[0x200];
    for (uint32_t c = 0; c < 0x200; c++) byte_of[c] = (int16_t)kd_character_byte(c);
    for (int64_t i = 0; i < count; i++) {
        kd_token *token = &vocabulary->token[i];
        token->spelled = spell(vocabulary->bytes + token->at, vocabulary->strings + token->at, token->size, byte_of);
    }
    return vocabulary->ignore_merges ? index_tokens(vocabulary, true) : KD_OK;
}

/* ---- what a word starts as --------------------------------------------------------------------------------- */

static int32_t id_of(const kd_vocabulary *vocabulary, const char *text, int64_t size) {
    const kd_token *token = kd_vocabulary_find(vocabulary, text, size);
    return token ? token->id : -1;
}

static bool is_one_character(const kd_vocabulary *vocabulary, const kd_token *token, uint32_t *character) {
    int size;
    if (!token->size) return false;
    *character = kd_utf8_get((const unsigned char *)vocabulary->strings + token->at, &size);
    return size == token->size;
}

static kd_status read_starts(kd_vocabulary *vocabulary) {
    char text[8];
    for (int i = 0; i < 128; i++) vocabulary->ascii[i] = id_of(vocabulary, (char[]){(char)i}, 1);
    for (int i = 0; i < 256; i++) {
        vocabulary->byte[i] = id_of(vocabulary, text, kd_utf8_put(text, (uint32_t)kd_byte_character((unsigned char)i)));
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)i & 0xff);
        vocabulary->fallback[i] = id_of(vocabulary, text, 6);
    }
    int64_t count = 0, slots;
    uint32_t character;
    for (int64_t i = 0; i < vocabulary->count; i++) count += is_one_character(vocabulary, &vocabulary->token[i], &character);
    slots = slots_for(count);
    KD_TRY(kd_new(&vocabulary->start, slots, sizeof *vocabulary->start));
    vocabulary->start_mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < slots; i++) vocabulary->start[i].id = -1;
    for (int64_t i = 0; i < vocabulary->count; i++) {
        if (!is_one_character(vocabulary, &vocabulary->token[i], &character)) continue;
        uint64_t at = kd_pair_hash(character);
        while (vocabulary->start[at & vocabulary->start_mask].id >= 0) at++;
        vocabulary->start[at & vocabulary->start_mask] = (kd_start){character, vocabulary->token[i].id};
    }
    return KD_OK;
}

/* ---- merges ------------------------------------------------------------------------------------------------ */

static const char *half(int64_t *size, const json_t *value) {
    *size = (int64_t)json_string_length(value);
    return json_string_value(value);
}

/* The halves of "a b" or ["a", "b"]. */
static bool halves(const char *text[2], int64_t size[2], const json_t *merge) {
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            if (!json_is_string(json_array_get(merge, i))) return false;
            text[i] = half(&size[i], json_array_get(merge, i));
        }
        return true;
    }
    if (!json_is_string(merge)) return false;
    int64_t whole;
    text[0] = half(&whole, merge);
    const char *space = memchr(text[0], ' ', (size_t)whole);
    if (!space) return false;
    size[0] = space - text[0];
    text[1] = space + 1;
    size[1] = whole - size[0] - 1;
    return !memchr(text[1], ' ', (size_t)size[1]);
}

/* Marks the characters that stand side by side in a token. */
static void mark_joins(kd_vocabulary *vocabulary, const char *text, int64_t size) {
    for (int64_t at = 0, left = -1, right; at < size; left = right) {
        int step;
        uint32_t character = kd_utf8_get((const unsigned char *)text + at, &step);
        right = character < 128 ? (int64_t)character : character == 0x2581 ? KD_JOIN_MARK : KD_JOIN_OTHER;
        if (left >= 0) vocabulary->join[left][right] = 1;
        at += step;
    }
}

typedef struct merge_reader { kd_vocabulary *vocabulary; char *joined; const char *name; } merge_reader;

static kd_status add_merge(merge_reader *r, const json_t *merge, int64_t rank) {
    const char *text[2];
    int64_t size[2];
    kd_vocabulary *vocabulary = r->vocabulary;
    if (!halves(text, size, merge))
        return kd_fail(KD_EFORMAT, "%s: model: merges[%lld] is neither \"a b\" nor [\"a\", \"b\"]", r->name, (long long)rank);
    const kd_token *token[3] = {0};
    for (int i = 0; i < 2; i++) {
        token[i] = kd_vocabulary_find(vocabulary, text[i], size[i]);
        if (!token[i])
            return kd_fail(KD_EFORMAT, "%s: model: merges[%lld]: \"%.*s\" is not in vocab", r->name, (long long)rank,
                           (int)(size[i] < 60 ? size[i] : 60), text[i]);
    }
    int64_t both = size[0] + size[1];
    if (both <= vocabulary->longest) {
        memcpy(r->joined, text[0], (size_t)size[0]);
        memcpy(r->joined + size[0], text[1], (size_t)size[1]);
        token[2] = kd_vocabulary_find(vocabulary, r->joined, both);
    }
    if (!token[2])
        return kd_fail(KD_EFORMAT, "%s: model: merges[%lld]: \"%.*s%.*s\" is not in vocab", r->name, (long long)rank,
                       (int)(size[0] < 60 ? size[0] : 60), text[0], (int)(size[1] < 60 ? size[1] : 60), text[1]);
    for (int i = 0; i < 3; i++) {
        if (token[i]->id == vocabulary->unknown) vocabulary->faithful = false;
        for (int b = 0; b < 256 && token[i]->size == 6 && vocabulary->faithful; b++)
            if (vocabulary->fallback[b] == token[i]->id) vocabulary->faithful = false;
    }
    mark_joins(vocabulary, r->joined, both);
    uint64_t pair = (uint64_t)(uint32_t)token[0]->id << 32 | (uint32_t)token[1]->id, at = kd_pair_hash(pair);
    kd_merge *slot;
    while (slot = &vocabulary->merge[at++ & vocabulary->merge_mask], slot->pair != pair && slot->pair != KD_NO_PAIR) {}
    *slot = (kd_merge){pair, (uint32_t)rank, token[2]->id};  /* the last of equal ones counts */
    return KD_OK;
}

static kd_status read_merges(kd_vocabulary *vocabulary, const json_t *merges, bool bytes, const char *name) {
    if (!json_is_array(merges)) return kd_fail(KD_EFORMAT, "%s: model: \"merges\" is not a list", name);
    int64_t count = (int64_t)json_array_size(merges), slots = slots_for(count);
    merge_reader r = {vocabulary, NULL, name};
    kd_status status = KD_OK;
    KD_GO(kd_new(&r.joined, vocabulary->longest + 1, 1));
    KD_GO(kd_new(&vocabulary->merge, slots, sizeof *vocabulary->merge));
    vocabulary->merge_mask = (uint64_t)slots - 1;
    for (int64_t i = 0; i < slots; i++) vocabulary->merge[i].pair = KD_NO_PAIR;
    vocabulary->faithful = true;
    memset(vocabulary->join[KD_JOINS], 1, sizeof vocabulary->join[KD_JOINS]);
    for (int64_t i = 0; i < count; i++) KD_GO(add_merge(&r, json_array_get(merges, (size_t)i), i));
    /* Cuts are exact where no character becomes unknown (which may fuse with the next) but is spelled in bytes, and byte
     * tokens stay out of merges, since their names are not their text. */
    vocabulary->cuts = !bytes && vocabulary->byte_fallback && vocabulary->faithful;
    for (int b = 0; b < 256; b++)
        if (vocabulary->fallback[b] < 0) vocabulary->cuts = false;
done:
    free(r.joined);
    return status;
}

/* ---- the model --------------------------------------------------------------------------------------------- */

static kd_status refuse_affix(const json_t *model, const char *key, const char *name) {
    const char *value = "";
    KD_TRY(kd_json_maybe_string(&value, model, key, name));
    return *value ? kd_fail(KD_ENOTSUP, "%s: %s \"%.60s\"", name, key, value) : KD_OK;
}

static kd_status read_options(kd_vocabulary *vocabulary, const json_t *model, const char *name) {
    const char *type = "BPE";
    double dropout = 0;
    KD_TRY(kd_json_maybe_string(&type, model, "type", name));
    if (strcmp(type, "BPE")) return kd_fail(KD_ENOTSUP, "%s: type \"%.60s\", only BPE is implemented", name, type);
    KD_TRY(kd_json_maybe_number(&dropout, NULL, model, "dropout", name));
    if (dropout != 0) return kd_fail(KD_ENOTSUP, "%s: dropout %g", name, dropout);
    KD_TRY(refuse_affix(model, "continuing_subword_prefix", name));
    KD_TRY(refuse_affix(model, "end_of_word_suffix", name));
    KD_TRY(kd_json_maybe_bool(&vocabulary->fuse_unknown, NULL, model, "fuse_unk", name));
    KD_TRY(kd_json_maybe_bool(&vocabulary->byte_fallback, NULL, model, "byte_fallback", name));
    return kd_json_maybe_bool(&vocabulary->ignore_merges, NULL, model, "ignore_merges", name);
}

static kd_status read_unknown(kd_vocabulary *vocabulary, const json_t *model, const char *name) {
    const char *unknown = NULL;
    vocabulary->unknown = -1;
    KD_TRY(kd_json_maybe_string(&unknown, model, "unk_token", name));
    if (!unknown) return KD_OK;
    vocabulary->unknown = id_of(vocabulary, unknown, (int64_t)strlen(unknown));
    if (vocabulary->unknown >= 0) return KD_OK;
    vocabulary->unknown_name = strdup(unknown);  /* an error only where it is needed, as in the package */
    return vocabulary->unknown_name ? KD_OK : kd_fail(KD_ENOMEM, "%s: out of memory", name);
}

kd_status kd_vocabulary_read(kd_vocabulary *vocabulary, const json_t *model, bool bytes, const char *name) {
    char place[KD_PLACE];
    snprintf(place, sizeof place, "%s: model", name);
    if (!json_is_object(model)) return kd_fail(KD_EFORMAT, "%s: \"model\" is not an object", name);
    json_t *vocab = json_object_get(model, "vocab");
    KD_TRY(read_options(vocabulary, model, place));
    if (!json_is_object(vocab)) return kd_fail(KD_EFORMAT, "%s: \"vocab\" is not an object", place);
    KD_TRY(read_tokens(vocabulary, vocab, bytes, name));
    KD_TRY(read_starts(vocabulary));
    KD_TRY(read_unknown(vocabulary, model, place));
    return read_merges(vocabulary, json_object_get(model, "merges"), bytes, name);
}

void kd_vocabulary_free(kd_vocabulary *vocabulary) {
    free(vocabulary->token);
    free(vocabulary->strings);
    free(vocabulary->bytes);
    free(vocabulary->by_string.slot);
    free(vocabulary->by_bytes.slot);
    free(vocabulary->merge);
    free(vocabulary->start);
    free(vocabulary->unknown_name);
}

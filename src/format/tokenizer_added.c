/* Added tokens: read, and found in a text.
 *
 * Leftmost, then longest, without overlap. An automaton that reads from the left would have to go back after a long token
 * that did not come true, which for a bad set of tokens takes the square of the text. So the strings are reversed and the
 * text is read from its end, where Aho and Corasick's automaton knows at each place the longest token that begins there;
 * a walk from the left then takes the first and jumps over it. */
#define _GNU_SOURCE /* memrchr */
#include <stdlib.h>

#include "tokenizer_model.h"

#define STATES ((int64_t)4 << 20) /* bytes of all added tokens */

/* ---- reading ----------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b) {
    const kd_added *left = a, *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

static int by_content(const void *a, const void *b) {
    const kd_added *const *left = a, *const *right = b;
    if ((*left)->size != (*right)->size) return ((*left)->size > (*right)->size) - ((*left)->size < (*right)->size);
    return memcmp((*left)->content, (*right)->content, (size_t)(*left)->size);
}

static kd_status copy(char **out, const char *text, int64_t size) {
    KD_TRY(kd_new(out, size + 1, 1));
    memcpy(*out, text, (size_t)size);
    return KD_OK;
}

static kd_status read_token(kd_added *token, const json_t *value, const char *name, int64_t index) {
    const json_t *content = json_object_get(value, "content");
    char place[KD_PLACE];
    snprintf(place, sizeof place, "%s: added_tokens[%lld]", name, (long long)index);
    int64_t id = -1;
    KD_TRY(kd_json_int(&id, value, "id", place));
    if (id < 0 || id >= INT32_MAX - 1) return kd_fail(KD_EFORMAT, "%s: id %lld", place, (long long)id);
    if (!json_is_string(content)) return kd_fail(KD_EFORMAT, "%s: \"content\" is not a string", place);
    token->id = (int32_t)id;
    token->size = (int64_t)json_string_length(content);
    KD_TRY(kd_json_maybe_bool(&token->single_word, NULL, value, "single_word", place));
    KD_TRY(kd_json_maybe_bool(&token->lstrip, NULL, value, "lstrip", place));
    KD_TRY(kd_json_maybe_bool(&token->rstrip, NULL, value, "rstrip", place));
    KD_TRY(kd_json_maybe_bool(&token->special, NULL, value, "special", place));
    token->normalized = !token->special;
    token->skipped = token->special;
    KD_TRY(kd_json_maybe_bool(&token->normalized, NULL, value, "normalized", place));
    return copy(&token->content, json_string_value(content), token->size);
}

/* Ids are what the package would give: the vocabulary's, or the next behind it. One that differs in the file is an error:
 * the package would go on with its own and say so on a log. */
static kd_status check_id(const kd_added *token, const kd_vocabulary *vocabulary, int64_t *next, const char *name) {
    const kd_token *known = kd_vocabulary_find(vocabulary, token->content, token->size);
    int64_t id = known ? known->id : *next;
    if (token->id != id)
        return kd_fail(KD_EFORMAT, "%s: added token \"%.60s\": id %d, %s %lld", name, token->content, (int)token->id,
                       known ? "in the vocabulary it is" : "the next free one is", (long long)id);
    if (!known) ++*next;
    return KD_OK;
}

kd_status kd_added_read(kd_added_tokens *added, const json_t *list, const kd_vocabulary *vocabulary, const char *name) {
    if (!list || json_is_null(list)) return KD_OK;
    if (!json_is_array(list)) return kd_fail(KD_EFORMAT, "%s: \"added_tokens\" is not a list", name);
    int64_t count = (int64_t)json_array_size(list), next = vocabulary->count, bytes = 0;
    KD_TRY(kd_new(&added->token, count, sizeof *added->token));
    for (int64_t i = 0; i < count; i++) {
        kd_added *token = &added->token[added->count];
        added->count++;  /* so that what it holds is freed whatever happens */
        KD_TRY(read_token(token, json_array_get(list, (size_t)i), name, i));
        bytes += token->size;
        if (bytes > STATES) return kd_fail(KD_ENOTSUP, "%s: more than %lld bytes of added tokens", name, (long long)STATES);
        if (token->size == 0) {  /* the package passes over it */
            free(token->content);
            *token = (kd_added){0};
            added->count--;
            continue;
        }
        KD_TRY(check_id(token, vocabulary, &next, name));
    }
    if (added->count) qsort(added->token, (size_t)added->count, sizeof *added->token, by_id);
    for (int64_t i = 1; i < added->count; i++)
        if (added->token[i].id == added->token[i - 1].id)
            return kd_fail(KD_EFORMAT, "%s: added token \"%.60s\" stands there twice", name, added->token[i].content);
    KD_TRY(kd_new(&added->by_content, added->count, sizeof(kd_added *)));
    for (int64_t i = 0; i < added->count; i++) added->by_content[i] = &added->token[i];
    if (added->count) qsort(added->by_content, (size_t)added->count, sizeof(kd_added *), by_content);
    return KD_OK;
}

void kd_added_free(kd_added_tokens *added) {
    for (int64_t i = 0; i < added->count; i++) {
        free(added->token[i].content);
        free(added->token[i].normal);
    }
    free(added->token);
    free(added->by_content);
    kd_matcher *both[] = {&added->raw, &added->normal};
    for (int i = 0; i < 2; i++) {
        free(both[i]->edge);
        free(both[i]->fail);
        free(both[i]->longest);
    }
}

const kd_added *kd_added_id(const kd_added_tokens *added, int64_t id) {
    int64_t low = 0, high = added->count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (added->token[middle].id < id) low = middle + 1;
        else high = middle;
    }
    return low < added->count && added->token[low].id == id ? &added->token[low] : NULL;
}

const kd_added *kd_added_find(const kd_added_tokens *added, const char *text, int64_t size) {
    if (!added->count) return NULL;
    const kd_added key = {.content = (char *)(uintptr_t)text, .size = size}, *wanted = &key;
    const kd_added *const *found = bsearch(&wanted, added->by_content, (size_t)added->count, sizeof wanted, by_content);
    return found ? *found : NULL;
}

/* ---- the automaton ----------------------------------------------------------------------------------------- */

enum { NOWHERE = -1 };

static kd_trie_edge *edge_at(const kd_matcher *matcher, int32_t state, unsigned char byte) {
    uint64_t key = (uint64_t)state << 8 | byte;
    for (uint64_t at = kd_pair_hash(key);; at++) {
        kd_trie_edge *edge = &matcher->edge[at & matcher->edge_mask];
        if (edge->to == 0 || edge->key == key) return edge;
    }
}

/* From a state by an edge of the trie; 0: there is none. */
static int32_t child(const kd_matcher *matcher, int32_t state, unsigned char byte) {
    return state ? edge_at(matcher, state, byte)->to : matcher->root[byte];
}

static int32_t follow(const kd_matcher *matcher, int32_t state, unsigned char byte) {
    for (;;) {
        int32_t to = child(matcher, state, byte);
        if (to || !state) return to;
        state = matcher->fail[state];
    }
}

static const char *spelling(int64_t *size, const kd_added *token) {
    *size = token->normal ? token->normal_size : token->size;
    return token->normal ? token->normal : token->content;
}

static kd_status insert(kd_matcher *matcher, int32_t *parent, unsigned char *by, const kd_added_tokens *added, int32_t index,
                        const char *name) {
    int64_t size;
    const char *text = spelling(&size, &added->token[index]);
    int32_t state = 0;
    for (int64_t i = size - 1; i >= 0; i--) {
        unsigned char byte = (unsigned char)text[i];
        int32_t to = child(matcher, state, byte);
        if (!to) {
            to = (int32_t)matcher->states++;
            parent[to] = state;
            by[to] = byte;
            matcher->longest[to] = NOWHERE;
            if (!state) matcher->root[byte] = to;
            else *edge_at(matcher, state, byte) = (kd_trie_edge){(uint64_t)state << 8 | byte, to};
        }
        state = to;
    }
    if (!state) return KD_OK;  /* its normalizer leaves nothing of it */
    if (matcher->longest[state] >= 0)
        return kd_fail(KD_EFORMAT, "%s: added tokens \"%.60s\" and \"%.60s\" are normalized to the same text", name,
                       added->token[matcher->longest[state]].content, added->token[index].content);
    matcher->longest[state] = index;
    return KD_OK;
}

/* States in the order of their depth: children are counted in from their parents. */
static void link_states(kd_matcher *matcher, const int32_t *parent, const unsigned char *by, int32_t *order, int32_t *depth) {
    int64_t states = matcher->states;
    depth[0] = 0;
    for (int64_t s = 1; s < states; s++) depth[s] = depth[parent[s]] + 1;  /* a parent is older */
    int32_t *begin = matcher->fail;  /* not needed yet */
    for (int64_t s = 0; s < states; s++) begin[s] = 0;
    for (int64_t s = 0; s < states; s++)
        if (depth[s] + 1 < states) begin[depth[s] + 1]++;
    for (int64_t d = 1; d < states; d++) begin[d] += begin[d - 1];
    for (int64_t s = 0; s < states; s++) order[begin[depth[s]]++] = (int32_t)s;
    matcher->fail[0] = 0;
    for (int64_t i = 1; i < states; i++) {
        int32_t state = order[i], from = parent[state];
        int32_t fail = from ? follow(matcher, matcher->fail[from], by[state]) : 0;
        matcher->fail[state] = fail;
        if (matcher->longest[state] < 0) matcher->longest[state] = matcher->longest[fail];
    }
}

static kd_status build(kd_matcher *matcher, const kd_added_tokens *added, bool normalized, const char *name) {
    int64_t most = 1, size, slots = 4;
    for (int64_t i = 0; i < added->count; i++) {
        if (added->token[i].normalized != normalized) continue;
        spelling(&size, &added->token[i]);
        most += size;
        if (most > STATES) return kd_fail(KD_ENOTSUP, "%s: more than %lld bytes of added tokens", name, (long long)STATES);
    }
    if (most == 1) return KD_OK;
    while (slots < 2 * most) slots *= 2;
    kd_status status = KD_OK;
    int32_t *parent = NULL, *order = NULL, *depth = NULL;
    unsigned char *by = NULL;
    KD_GO(kd_new(&matcher->edge, slots, sizeof *matcher->edge));
    matcher->edge_mask = (uint64_t)slots - 1;
    KD_GO(kd_new(&matcher->fail, most, sizeof *matcher->fail));
    KD_GO(kd_new(&matcher->longest, most, sizeof *matcher->longest));
    KD_GO(kd_new(&parent, most, sizeof *parent));
    KD_GO(kd_new(&order, most, sizeof *order));
    KD_GO(kd_new(&depth, most, sizeof *depth));
    KD_GO(kd_new(&by, most, 1));
    matcher->states = 1;
    matcher->longest[0] = NOWHERE;
    for (int64_t i = 0; i < added->count; i++)
        if (added->token[i].normalized == normalized) KD_GO(insert(matcher, parent, by, added, (int32_t)i, name));
    link_states(matcher, parent, by, order, depth);
    matcher->last = -1;
    for (int b = 0, ends = 0; b < 256; b++)
        if (matcher->root[b]) matcher->last = ++ends == 1 ? b : -1;
done:
    free(parent);
    free(order);
    free(depth);
    free(by);
    return status;
}

kd_status kd_added_prepare(kd_added_tokens *added, kd_encoder *encoder, const char *name) {
    for (int64_t i = 0; i < added->count; i++) {
        kd_added *token = &added->token[i];
        const char *text;
        int64_t size;
        if (!token->normalized) continue;
        KD_TRY(kd_normalize(&text, &size, encoder, token->content, token->size));
        KD_TRY(encoder->wrong);
        if (size == token->size && !memcmp(text, token->content, (size_t)size)) continue;
        token->normal_size = size;
        KD_TRY(copy(&token->normal, text, size));
        /* When it decodes, the package asks whether the text is a special token's: after its normalizer it may be none. */
        const kd_added *same = kd_added_find(added, token->normal, size);
        token->skipped = same && same->special;
    }
    KD_TRY(build(&added->raw, added, false, name));
    return build(&added->normal, added, true, name);
}

/* ---- searching --------------------------------------------------------------------------------------------- */

static kd_status add_hit(kd_hits *hits, kd_hit hit) {
    if (hits->count == hits->room) {
        int64_t room = hits->room ? 2 * hits->room : 64;
        kd_hit *more = realloc(hits->hit, (size_t)room * sizeof *more);
        if (!more) return kd_fail(KD_ENOMEM, "out of memory: %lld added tokens in a text", (long long)room);
        hits->hit = more;
        hits->room = room;
    }
    hits->hit[hits->count++] = hit;
    return KD_OK;
}

/* The last place up to `at` where a token may end, -1: nowhere. Most text is passed here. */
static int64_t skip(const kd_matcher *matcher, const char *text, int64_t at) {
    if (matcher->last >= 0) {
        const char *found = memrchr(text, matcher->last, (size_t)at + 1);
        return found ? found - text : -1;
    }
    while (at >= 0 && !matcher->root[(unsigned char)text[at]]) at--;
    return at;
}

kd_status kd_matcher_run(kd_hits *hits, const kd_matcher *matcher, const kd_added_tokens *added, const char *text, int64_t size) {
    int32_t state = 0;
    hits->count = 0;
    for (int64_t at = size - 1; at >= 0; at--) {
        if (!state && (at = skip(matcher, text, at)) < 0) break;
        state = follow(matcher, state, (unsigned char)text[at]);
        int32_t token = matcher->longest[state];
        int64_t length;
        if (token < 0) continue;
        spelling(&length, &added->token[token]);
        KD_TRY(add_hit(hits, (kd_hit){at, at + length, token}));
    }
    /* From the left: what begins inside the one taken before falls out. The kept ones move to the back and then down. */
    int64_t keep = hits->count, end = 0;
    for (int64_t i = hits->count - 1; i >= 0; i--) {
        if (hits->hit[i].begin < end) continue;
        end = hits->hit[i].end;
        hits->hit[--keep] = hits->hit[i];
    }
    hits->count -= keep;
    if (hits->count) memmove(hits->hit, hits->hit + keep, (size_t)hits->count * sizeof *hits->hit);
    return KD_OK;
}

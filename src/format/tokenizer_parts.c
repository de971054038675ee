/* Normalizers, pre-tokenizers, post-processors and decoders of tokenizer.json, sequences laid flat. What is not known is
 * refused by its name and place. */
#include <stdlib.h>

#include "tokenizer_model.h"

typedef struct reader {
    kd_parts *parts;
    char place[KD_PLACE];     /* "DIR/tokenizer.json: pre_tokenizer Sequence[1]" */
} reader;

typedef kd_status (*part_fn)(reader *r, const json_t *part, const char *type);

static kd_status bad(const reader *r, const char *what) {
    return kd_fail(KD_EFORMAT, "%s: %s", r->place, what);
}

static kd_status refuse(const reader *r, const char *what) {
    return kd_fail(KD_ENOTSUP, "%s: %s is not implemented", r->place, what);
}

static kd_status refuse_value(const reader *r, const char *what, const char *value) {
    return kd_fail(KD_ENOTSUP, "%s: %s \"%.60s\" is not implemented", r->place, what, value);
}

/* Gives the members of a part and of the sequences in it, in order. */
static kd_status walk(reader *r, const json_t *part, const char *list_key, part_fn read) {
    const char *type = NULL;
    if (!part || json_is_null(part)) return KD_OK;
    if (!json_is_object(part)) return bad(r, "not an object");
    KD_TRY(kd_json_maybe_string(&type, part, "type", r->place));
    if (!type) return bad(r, "\"type\" is missing");
    if (strcmp(type, "Sequence")) return read(r, part, type);
    const json_t *list = json_object_get(part, list_key);
    if (!json_is_array(list)) return kd_fail(KD_EFORMAT, "%s: \"%s\" is not a list", r->place, list_key);
    size_t before = strlen(r->place);
    for (size_t i = 0; i < json_array_size(list); i++) {
        snprintf(r->place + before, sizeof r->place - before, " Sequence[%zu]", i);
        KD_TRY(walk(r, json_array_get(list, i), list_key, read));
    }
    r->place[before] = 0;
    return KD_OK;
}

static kd_status next_of(int64_t *index, int64_t *count, const reader *r) {
    *index = 0;
    if (*count == KD_PARTS) return refuse(r, "a part beyond 32");
    *index = (*count)++;
    return KD_OK;
}

static kd_status read_string(char **out, int64_t *size, const reader *r, const json_t *part, const char *key) {
    const json_t *value = json_object_get(part, key);
    if (!json_is_string(value)) return kd_fail(KD_EFORMAT, "%s: \"%s\" is not a string", r->place, key);
    *size = (int64_t)json_string_length(value);
    KD_TRY(kd_new(out, *size + 1, 1));
    memcpy(*out, json_string_value(value), (size_t)*size);
    return KD_OK;
}

static kd_status read_character(char out[4], int64_t *size, const reader *r, const json_t *part, const char *key) {
    const json_t *value = json_object_get(part, key);
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    *size = kd_utf8_size((unsigned char)*text);
    if (!json_is_string(value) || (int64_t)json_string_length(value) != *size)
        return kd_fail(KD_EFORMAT, "%s: \"%s\" is not one character", r->place, key);
    memcpy(out, text, (size_t)*size);
    return KD_OK;
}

/* "pattern": {"String": s} or {"Regex": s} */
static kd_status read_pattern(kd_finder *finder, const reader *r, const json_t *part) {
    const json_t *pattern = json_object_get(part, "pattern"), *literal = json_object_get(pattern, "String"),
                 *regex = json_object_get(pattern, "Regex");
    kd_status status;
    if (json_is_string(regex)) status = kd_finder_regex(finder, json_string_value(regex), (int64_t)json_string_length(regex));
    else if (json_is_string(literal))
        status = kd_finder_literal(finder, json_string_value(literal), (int64_t)json_string_length(literal));
    else return bad(r, "\"pattern\" is neither {\"String\": ...} nor {\"Regex\": ...}");
    return status ? kd_fail_prefix(status, "%s", r->place) : KD_OK;
}

/* ---- normalizers ------------------------------------------------------------------------------------------- */

static kd_status read_normalizer(reader *r, const json_t *part, const char *type) {
    int64_t index;
    KD_TRY(next_of(&index, &r->parts->normalizers, r));
    kd_normalizer *normalizer = &r->parts->normalizer[index];
    if (!strcmp(type, "NFC")) return normalizer->kind = KD_NORMALIZE_NFC, KD_OK;
    if (!strcmp(type, "Prepend")) {
        normalizer->kind = KD_NORMALIZE_PREPEND;
        return read_string(&normalizer->content, &normalizer->size, r, part, "prepend");
    }
    if (strcmp(type, "Replace")) return refuse_value(r, "type", type);
    normalizer->kind = KD_NORMALIZE_REPLACE;
    KD_TRY(read_string(&normalizer->content, &normalizer->size, r, part, "content"));
    return read_pattern(&normalizer->finder, r, part);
}

/* ---- pre-tokenizers ---------------------------------------------------------------------------------------- */

static kd_status read_behavior(kd_splitter *splitter, const reader *r, const json_t *part, const char *value) {
    static const char *const behavior[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
    KD_TRY(kd_json_maybe_string(&value, part, "behavior", r->place));
    if (!value) return bad(r, "\"behavior\" is missing");
    for (int i = 0; i < 5; i++)
        if (!strcmp(value, behavior[i])) return splitter->behavior = i, KD_OK;
    return refuse_value(r, "behavior", value);
}

static kd_status read_metaspace(kd_splitter *splitter, const reader *r, const json_t *part) {
    static const char *const scheme[] = {"always", "first", "never"};
    const char *value = "always";
    bool prefix = true, said = json_object_get(part, "prepend_scheme") != NULL;
    int known = 0;
    splitter->kind = KD_SPLIT_METASPACE;
    splitter->cut = true;
    KD_TRY(read_character(splitter->mark, &splitter->size, r, part, "replacement"));
    KD_TRY(kd_json_maybe_bool(&splitter->cut, NULL, part, "split", r->place));
    KD_TRY(kd_json_maybe_bool(&prefix, NULL, part, "add_prefix_space", r->place));
    KD_TRY(kd_json_maybe_string(&value, part, "prepend_scheme", r->place));
    if (!prefix && !said) value = "never";
    while (known < 3 && strcmp(value, scheme[known])) known++;
    if (known == 3) return refuse_value(r, "prepend_scheme", value);
    if (!prefix && known != KD_PREPEND_NEVER) return bad(r, "add_prefix_space is false, prepend_scheme is not \"never\"");
    splitter->prepend = known;
    return KD_OK;
}

/* Words are spelled in bytes from here on; a step of its own only where it cuts or puts a space in front. */
static kd_status read_bytes(reader *r, const json_t *part) {
    bool cut = true, space = true;
    int64_t index;
    r->parts->bytes = true;
    KD_TRY(kd_json_maybe_bool(&cut, NULL, part, "use_regex", r->place));
    KD_TRY(kd_json_maybe_bool(&space, NULL, part, "add_prefix_space", r->place));
    if (!cut && !space) return KD_OK;
    KD_TRY(next_of(&index, &r->parts->splitters, r));
    kd_splitter *splitter = &r->parts->splitter[index];
    *splitter = (kd_splitter){.kind = KD_SPLIT_BYTES, .cut = cut, .space = space};
    return cut ? kd_finder_regex(&splitter->finder, KD_GPT2_PATTERN, sizeof KD_GPT2_PATTERN - 1) : KD_OK;
}

/* Pre-tokenizers that are a Split by another name. */
#define RUST_WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"
static const struct { const char *type, *pattern; int behavior; bool invert; } as_split[] = {
    {"Digits", "\\p{N}", KD_SPLIT_CONTIGUOUS, false},
    {"Punctuation", "[\\p{P}$+<=>\\^`|~]", KD_SPLIT_ISOLATED, false},
    {"Whitespace", "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+", KD_SPLIT_REMOVED, true},
    {"WhitespaceSplit", "\\s", KD_SPLIT_REMOVED, false},
};

static kd_status read_as_split(kd_splitter *splitter, const reader *r, const json_t *part, const char *type) {
    for (size_t i = 0; i < sizeof as_split / sizeof *as_split; i++) {
        bool single = false;
        if (strcmp(type, as_split[i].type)) continue;
        splitter->behavior = as_split[i].behavior;
        splitter->invert = as_split[i].invert;
        KD_TRY(kd_json_maybe_bool(&single, NULL, part, "individual_digits", r->place));
        if (single && i == 0) splitter->behavior = KD_SPLIT_ISOLATED;
        if (i == 1) KD_TRY(read_behavior(splitter, r, part, "Isolated"));
        return kd_finder_regex(&splitter->finder, as_split[i].pattern, (int64_t)strlen(as_split[i].pattern));
    }
    return refuse_value(r, "type", type);
}

static kd_status read_splitter(reader *r, const json_t *part, const char *type) {
    int64_t index;
    if (r->parts->bytes) return refuse(r, "a pre-tokenizer behind ByteLevel");
    if (!strcmp(type, "ByteLevel")) return read_bytes(r, part);
    KD_TRY(next_of(&index, &r->parts->splitters, r));
    kd_splitter *splitter = &r->parts->splitter[index];
    if (!strcmp(type, "Metaspace")) return read_metaspace(splitter, r, part);
    if (strcmp(type, "Split")) return read_as_split(splitter, r, part, type);
    KD_TRY(read_behavior(splitter, r, part, NULL));
    KD_TRY(kd_json_maybe_bool(&splitter->invert, NULL, part, "invert", r->place));
    return read_pattern(&splitter->finder, r, part);
}

/* ---- post-processors --------------------------------------------------------------------------------------- */

static kd_status add_ids(kd_ids *ids, const reader *r, const json_t *part, const char *name) {
    const json_t *list = json_object_get(json_object_get(json_object_get(part, "special_tokens"), name), "ids");
    if (!json_is_array(list)) return kd_fail(KD_EFORMAT, "%s: special token \"%.60s\" has no list of ids", r->place, name);
    if (ids->count + (int64_t)json_array_size(list) > KD_TEMPLATE) return refuse(r, "a template of more than 1024 ids");
    KD_TRY(kd_ids_reserve(ids, (int64_t)json_array_size(list)));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) >= INT32_MAX - 1)
            return kd_fail(KD_EFORMAT, "%s: an id of \"%.60s\" is no id", r->place, name);
        ids->id[ids->count++] = (int32_t)json_integer_value(id);
    }
    return KD_OK;
}

/* What stands before and behind the text. */
static kd_status read_template(kd_ids *prefix, kd_ids *suffix, const reader *r, const json_t *part) {
    const json_t *single = json_object_get(part, "single");
    int texts = 0;
    if (!json_is_array(single)) return bad(r, "\"single\" is not a list");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *piece = json_array_get(single, i), *sequence = json_object_get(piece, "Sequence"),
                     *special = json_object_get(piece, "SpecialToken");
        const char *id = NULL;
        KD_TRY(kd_json_maybe_string(&id, sequence ? sequence : special, "id", r->place));
        if (!id) return bad(r, "a piece of \"single\" is neither a Sequence nor a SpecialToken");
        if (special) KD_TRY(add_ids(texts ? suffix : prefix, r, part, id));
        else if (strcmp(id, "A") || texts++) return refuse(r, "a \"single\" without exactly one Sequence A");
    }
    return texts ? KD_OK : refuse(r, "a \"single\" without exactly one Sequence A");
}

static kd_status append(kd_ids *to, const kd_ids *from, const reader *r) {
    if (to->count + from->count > KD_TEMPLATE) return refuse(r, "a template of more than 1024 ids");
    KD_TRY(kd_ids_reserve(to, from->count));
    for (int64_t i = 0; i < from->count; i++) to->id[to->count++] = from->id[i];
    return KD_OK;
}

/* A template behind another one stands around it. */
static kd_status read_processor(reader *r, const json_t *part, const char *type) {
    kd_ids prefix = {0}, suffix = {0};
    kd_status status = KD_OK;
    if (!strcmp(type, "ByteLevel")) return KD_OK;  /* it trims offsets, which nobody asks for */
    if (strcmp(type, "TemplateProcessing")) return refuse_value(r, "type", type);
    KD_GO(read_template(&prefix, &suffix, r, part));
    KD_GO(append(&prefix, &r->parts->prefix, r));
    KD_GO(append(&r->parts->suffix, &suffix, r));
    free(r->parts->prefix.id);
    r->parts->prefix = prefix;
    prefix = (kd_ids){0};
done:
    free(prefix.id);
    free(suffix.id);
    return status;
}

/* ---- decoders ---------------------------------------------------------------------------------------------- */

static kd_status read_strip(kd_decoder *decoder, const reader *r, const json_t *part) {
    decoder->kind = KD_DECODE_STRIP;
    KD_TRY(kd_new(&decoder->content, 4, 1));
    KD_TRY(read_character(decoder->content, &decoder->size, r, part, "content"));
    KD_TRY(kd_json_int(&decoder->start, part, "start", r->place));
    KD_TRY(kd_json_int(&decoder->stop, part, "stop", r->place));
    return decoder->start < 0 || decoder->stop < 0 ? bad(r, "\"start\" or \"stop\" is negative") : KD_OK;
}

static kd_status read_decoder(reader *r, const json_t *part, const char *type) {
    int64_t index;
    KD_TRY(next_of(&index, &r->parts->decoders, r));
    kd_decoder *decoder = &r->parts->decoder[index];
    if (!strcmp(type, "ByteFallback")) return decoder->kind = KD_DECODE_BYTE_FALLBACK, KD_OK;
    if (!strcmp(type, "Fuse")) return decoder->kind = KD_DECODE_FUSE, KD_OK;
    if (!strcmp(type, "ByteLevel")) return decoder->kind = KD_DECODE_BYTES, KD_OK;
    if (!strcmp(type, "Strip")) return read_strip(decoder, r, part);
    if (!strcmp(type, "Replace")) {
        decoder->kind = KD_DECODE_REPLACE;
        KD_TRY(read_string(&decoder->content, &decoder->size, r, part, "content"));
        return read_pattern(&decoder->finder, r, part);
    }
    if (strcmp(type, "Metaspace")) return refuse_value(r, "type", type);
    kd_splitter metaspace = {0};
    KD_TRY(read_metaspace(&metaspace, r, part));
    decoder->kind = KD_DECODE_METASPACE;
    decoder->drop = metaspace.prepend != KD_PREPEND_NEVER;
    return read_string(&decoder->content, &decoder->size, r, part, "replacement");
}

/* ---- the file ---------------------------------------------------------------------------------------------- */

kd_status kd_parts_read(kd_parts *parts, const json_t *root, const char *name) {
    static const struct { const char *key, *list; part_fn read; } kind[] = {
        {"normalizer", "normalizers", read_normalizer},
        {"pre_tokenizer", "pretokenizers", read_splitter},
        {"post_processor", "processors", read_processor},
        {"decoder", "decoders", read_decoder},
    };
    const char *version = "1.0";
    KD_TRY(kd_json_maybe_string(&version, root, "version", name));
    if (strcmp(version, "1.0")) return kd_fail(KD_ENOTSUP, "%s: version \"%.60s\", only 1.0 is implemented", name, version);
    for (size_t i = 0; i < sizeof kind / sizeof *kind; i++) {
        reader r = {.parts = parts};
        snprintf(r.place, sizeof r.place, "%s: %s", name, kind[i].key);
        KD_TRY(walk(&r, json_object_get(root, kind[i].key), kind[i].list, kind[i].read));
    }
    const json_t *decoder = json_object_get(root, "decoder");
    parts->decodes = decoder && !json_is_null(decoder);
    return KD_OK;
}

void kd_parts_free(kd_parts *parts) {
    for (int64_t i = 0; i < parts->normalizers; i++) {
        kd_finder_free(&parts->normalizer[i].finder);
        free(parts->normalizer[i].content);
    }
    for (int64_t i = 0; i < parts->splitters; i++) kd_finder_free(&parts->splitter[i].finder);
    for (int64_t i = 0; i < parts->decoders; i++) {
        kd_finder_free(&parts->decoder[i].finder);
        free(parts->decoder[i].content);
    }
    free(parts->prefix.id);
    free(parts->suffix.id);
}

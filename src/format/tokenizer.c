/* Opening and closing, and the order of work: added tokens in the text as it is, then each stretch between them
 * normalized, added tokens in that, and words in what is left. */
#include "tokenizer.h"

#include <stdlib.h>

#include "base/file.h"
#include "jsonl.h"
#include "tokenizer_model.h"

#define LIMIT ((int64_t)64 << 20) /* bytes of tokenizer.json: json.h has no more either */

/* ---- tokenizers -------------------------------------------------------------------------------------------- */

static kd_status open_bytes(kd_tokenizer *tokenizer) {
    *tokenizer = (kd_tokenizer){.bos = KD_BYTES_BOS, .eos = KD_BYTES_EOS, .vocabulary = KD_BYTES_VOCABULARY, .hash = kd_hash("bytes", 5)};
    tokenizer->name = strdup("bytes");
    return tokenizer->name ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

/* Every id that an encoder can give lies below it. */
static kd_status measure(kd_tokenizer *tokenizer) {
    const kd_tokenizer_model *model = tokenizer->model;
    const kd_vocabulary *vocabulary = &model->vocabulary;
    int64_t above = vocabulary->count ? (int64_t)vocabulary->token[vocabulary->count - 1].id + 1 : 0;
    for (int64_t i = 0; i < model->added.count; i++)
        if (model->added.token[i].id >= above) above = (int64_t)model->added.token[i].id + 1;
    tokenizer->vocabulary = above;
    const kd_ids *template[] = {&model->parts.prefix, &model->parts.suffix};
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < template[side]->count; i++)
            if (!kd_vocabulary_id(vocabulary, template[side]->id[i]) && !kd_added_id(&model->added, template[side]->id[i]))
                return kd_fail(KD_EFORMAT, "%s: post_processor: id %d is no token's", tokenizer->name, (int)template[side]->id[i]);
    return KD_OK;
}

static kd_status read_model(kd_tokenizer *tokenizer, const json_t *root) {
    kd_tokenizer_model *model = tokenizer->model;
    const char *name = tokenizer->name;
    kd_encoder *encoder = NULL;
    kd_status status = KD_OK;
    KD_GO(kd_class_patterns_new(&model->classes));
    KD_GO(kd_parts_read(&model->parts, root, name));
    KD_GO(kd_vocabulary_read(&model->vocabulary, json_object_get(root, "model"), model->parts.bytes, name));
    KD_GO(kd_added_read(&model->added, json_object_get(root, "added_tokens"), &model->vocabulary, name));
    KD_GO(measure(tokenizer));
    KD_GO(kd_encoder_new(&encoder, tokenizer));
    KD_GO(kd_added_prepare(&model->added, encoder, name));
    kd_marks_inside(tokenizer);
done:
    kd_encoder_free(encoder);
    return status;
}

kd_status kd_tokenizer_parse(kd_tokenizer *tokenizer, const char *data, int64_t size, const char *name) {
    json_t *root = NULL;
    kd_status status = KD_OK;
    *tokenizer = (kd_tokenizer){.bos = -1, .eos = -1, .hash = kd_hash(data, size)};
    tokenizer->name = strdup(name);
    if (!tokenizer->name) KD_GO(kd_fail(KD_ENOMEM, "%s: out of memory", name));
    KD_GO(kd_new(&tokenizer->model, 1, sizeof *tokenizer->model));
    KD_GO(kd_json_parse(&root, data, size, name));
    KD_GO(read_model(tokenizer, root));
done:
    json_decref(root);
    if (status) kd_tokenizer_close(tokenizer);
    return status;
}

kd_status kd_tokenizer_open(kd_tokenizer *tokenizer, const char *name) {
    kd_status status = KD_OK;
    char *path = NULL, *data = NULL;
    int64_t size;
    *tokenizer = (kd_tokenizer){.bos = -1, .eos = -1};
    if (!strcmp(name, "bytes")) return open_bytes(tokenizer);
    path = kd_is_folder(name) ? kd_path_join(name, "tokenizer.json") : strdup(name);
    if (!path) KD_GO(kd_fail(KD_ENOMEM, "out of memory: the path of tokenizer.json in %s", name));
    if (!kd_exists(path))
        KD_GO(kd_fail(KD_ECONFIG, "tokenizer: %s: neither `bytes` nor a folder with tokenizer.json nor such a file", name));
    KD_GO(kd_file_read(&data, &size, path, LIMIT));
    KD_GO(kd_tokenizer_parse(tokenizer, data, size, path));
    KD_GO(kd_marks_beside(tokenizer));
done:
    free(path);
    free(data);
    if (status) kd_tokenizer_close(tokenizer);
    return status;
}

void kd_tokenizer_close(kd_tokenizer *tokenizer) {
    if (tokenizer->model) {
        kd_parts_free(&tokenizer->model->parts);
        kd_vocabulary_free(&tokenizer->model->vocabulary);
        kd_added_free(&tokenizer->model->added);
        kd_class_patterns_free(&tokenizer->model->classes);
        free(tokenizer->model);
    }
    free(tokenizer->name);
    *tokenizer = (kd_tokenizer){.bos = -1, .eos = -1};
}

kd_status kd_ids_reserve(kd_ids *ids, int64_t more) {
    return kd_grow(&ids->id, &ids->room, ids->count + more, sizeof *ids->id);
}

/* ---- added tokens in a text -------------------------------------------------------------------------------- */

/* The whitespace behind `at`, looked at once however often it is asked for. */
typedef struct blank { int64_t begin, end; } blank;

static int64_t blank_end(blank *known, kd_encoder *encoder, const char *text, int64_t size, int64_t at) {
    if (at >= known->begin && at <= known->end) return known->end;
    known->begin = at;
    for (int step; at < size; at += step)
        if (!(kd_class(encoder, kd_utf8_get((const unsigned char *)text + at, &step)) & KD_CLASS_SPACE)) break;
    return known->end = at;
}

static int64_t character_before(const char *text, int64_t at) {
    do at--;
    while (((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

static uint8_t class_at(kd_encoder *encoder, const char *text, int64_t at) {
    int size;
    return kd_class(encoder, kd_utf8_get((const unsigned char *)text + at, &size));
}

/* The beginning of the whitespace before `at`, not before `from`. */
static int64_t blank_begin(kd_encoder *encoder, const char *text, int64_t at, int64_t from) {
    while (at > from) {
        int64_t before = character_before(text, at);
        if (!(class_at(encoder, text, before) & KD_CLASS_SPACE)) break;
        at = before;
    }
    return at;
}

static bool inside_word(kd_encoder *encoder, const char *text, int64_t size, const kd_hit *hit) {
    return (hit->begin > 0 && class_at(encoder, text, character_before(text, hit->begin)) & KD_CLASS_WORD) ||
           (hit->end < size && class_at(encoder, text, hit->end) & KD_CLASS_WORD);
}

static kd_status put(kd_ids *ids, const int32_t *id, int64_t count) {
    KD_TRY(kd_ids_reserve(ids, count));
    if (count) memcpy(ids->id + ids->count, id, (size_t)count * sizeof *id);
    ids->count += count;
    return KD_OK;
}

typedef kd_status (*stretch_fn)(kd_encoder *encoder, const char *text, int64_t size, bool first, int flags);

/* Gives the ids of the added tokens in a text, and the stretches between them to `other`. As Hugging Face's find_matches
 * to the letter: a token that is passed over is not looked into, and rstrip may reach over the next. */
static kd_status with_added(kd_encoder *encoder, kd_hits *hits, const kd_matcher *matcher, const char *text, int64_t size, bool first,
                            int flags, stretch_fn other) {
    const kd_added_tokens *added = &encoder->model->added;
    if (size == 0) return KD_OK;
    if (!matcher->states) return other(encoder, text, size, first, flags);
    KD_TRY(kd_matcher_run(hits, matcher, added, text, size));
    int64_t done = 0;
    blank known = {-1, -1};
    for (int64_t i = hits->count - 1; i >= 0; i--) {
        kd_hit hit = hits->hit[i];
        const kd_added *token = &added->token[hit.token];
        if (flags & KD_ENCODE_SPECIALS_AS_TEXT && token->special) continue;
        if (token->single_word && inside_word(encoder, text, size, &hit)) continue;
        if (token->lstrip) {
            int64_t begin = blank_begin(encoder, text, hit.begin, done);
            hit.begin = begin > done ? begin : done;
        }
        if (token->rstrip) hit.end = blank_end(&known, encoder, text, size, hit.end);
        if (done < hit.begin) KD_TRY(other(encoder, text + done, hit.begin - done, first && done == 0, flags));
        KD_TRY(put(encoder->ids, &token->id, 1));
        done = hit.end;
    }
    return done < size ? other(encoder, text + done, size - done, first && done == 0, flags) : KD_OK;
}

static kd_status encode_words(kd_encoder *encoder, const char *text, int64_t size, bool first, int flags) {
    (void)flags;
    return kd_split(encoder, text, size, first);
}

static kd_status encode_stretch(kd_encoder *encoder, const char *text, int64_t size, bool first, int flags) {
    KD_TRY(kd_normalize(&text, &size, encoder, text, size));
    return with_added(encoder, &encoder->normal_hits, &encoder->model->added.normal, text, size, first, flags, encode_words);
}

/* ---- encoding ---------------------------------------------------------------------------------------------- */

static kd_status encode_bytes(kd_ids *ids, const char *text, int64_t size, int flags) {
    KD_TRY(kd_ids_reserve(ids, size + 1));
    if (flags & KD_ENCODE_SPECIALS) ids->id[ids->count++] = KD_BYTES_BOS;
    for (int64_t i = 0; i < size; i++) ids->id[ids->count++] = (unsigned char)text[i];
    return KD_OK;
}

kd_status kd_encode(kd_ids *ids, kd_encoder *encoder, const char *text, int64_t size, int flags) {
    const kd_tokenizer_model *model = encoder->model;
    if (!model) return encode_bytes(ids, text, size, flags);
    int64_t before = ids->count, bad = kd_utf8_invalid(text, size);
    if (bad >= 0) {
        if (!(flags & KD_ENCODE_REPLACE)) return kd_fail(KD_EFORMAT, "byte %lld: not valid UTF-8", (long long)bad);
        encoder->valid.size = 0;
        encoder->valid.failed = false;
        kd_text_add_lossy(&encoder->valid, text, size);
        KD_TRY(kd_text_status(&encoder->valid));
        text = encoder->valid.data;
        size = encoder->valid.size;
    }
    encoder->ids = ids;
    encoder->wrong = KD_OK;
    kd_status status = KD_OK;
    if (flags & KD_ENCODE_SPECIALS) KD_GO(put(ids, model->parts.prefix.id, model->parts.prefix.count));
    KD_GO(with_added(encoder, &encoder->raw_hits, &model->added.raw, text, size, true, flags, encode_stretch));
    if (flags & KD_ENCODE_SPECIALS) KD_GO(put(ids, model->parts.suffix.id, model->parts.suffix.count));
    status = encoder->wrong;
done:
    encoder->ids = NULL;
    if (status) ids->count = before;
    return status;
}

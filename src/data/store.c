/* Reading a token store: its tables at once, its tokens when they are asked for. Making one is in store_write.c. */
#include "data/store.h"

#include <stdlib.h>
#include <string.h>

#include "data/store_json.h"
#include "format/json.h"
#include "format/safetensors.h"

static kd_status find(const kd_tensor **out, const kd_tensors *tensors, const char *path, const char *name, kd_dtype dtype,
                      int64_t count) {
    *out = kd_tensors_find(tensors, name);
    if (!*out) return kd_fail(KD_EFORMAT, "%s: no tensor %s", path, name);
    if ((*out)->dtype != dtype || (*out)->count != count)
        return kd_fail(KD_EFORMAT, "%s: %s: %lld of %s, %lld of %s are needed", path, name, (long long)(*out)->count,
                       kd_dtype_name((*out)->dtype), (long long)count, kd_dtype_name(dtype));
    return KD_OK;
}

/* The shard's tables behind those of the shards before it. `origin` is room for documents * 3 numbers. */
static kd_status read_tables(kd_corpus *c, const kd_tensors *tensors, const kd_shard_json *said, const char *path, int64_t inputs,
                             int64_t *origin) {
    const kd_tensor *tensor;
    int64_t *start = c->start + c->documents, before = c->tokens;
    KD_TRY(find(&tensor, tensors, path, "doc_start", KD_I64, said->documents + 1));
    KD_TRY(kd_tensor_read(start, tensor, 0, tensor->count));
    if (start[0] != 0 || start[said->documents] != said->tokens) return kd_fail(KD_EFORMAT, "%s: doc_start is not 0 .. tokens", path);
    for (int64_t d = 0; d < said->documents; d++) {
        if (start[d + 1] <= start[d] || start[d + 1] > said->tokens)
            return kd_fail(KD_EFORMAT, "%s: document %lld: tokens %lld to %lld", path, (long long)d, (long long)start[d], (long long)start[d + 1]);
    }
    for (int64_t d = 0; d <= said->documents; d++) start[d] += before;
    KD_TRY(find(&tensor, tensors, path, "doc_source", KD_U16, said->documents));
    KD_TRY(kd_tensor_read(c->source + c->documents, tensor, 0, tensor->count));
    KD_TRY(find(&tensor, tensors, path, "doc_origin", KD_I64, 3 * said->documents));
    KD_TRY(kd_tensor_read(origin, tensor, 0, tensor->count));
    for (int64_t d = 0; d < said->documents; d++) {
        const int64_t *o = origin + 3 * d;
        if (c->source[c->documents + d] >= c->sources || o[0] < 0 || o[0] >= inputs || o[2] < 0 || o[2] > INT32_MAX)
            return kd_fail(KD_EFORMAT, "%s: document %lld: source %d, file %lld: not in " KD_STORE_FILE, path, (long long)d,
                           c->source[c->documents + d], (long long)o[0]);
        c->origin[c->documents + d] = (kd_origin){(int32_t)o[0], (int32_t)o[2], o[1]};
    }
    return KD_OK;
}

static kd_status read_shard(kd_corpus *c, const char *folder, const kd_shard_json *said, int64_t inputs, bool verify, int64_t *origin) {
    kd_shard *shard = &c->shard[c->shards];
    const kd_tensor *tokens, *loss;
    kd_tensors tensors = {0};
    kd_status status;
    *shard = (kd_shard){.path = kd_path_join(folder, said->file), .first = c->tokens, .tokens = said->tokens, .loss_at = -1,
                        .hash = said->hash, .verified = verify};
    if (!shard->path) return kd_fail(KD_ENOMEM, "out of memory");
    c->shards++;
    if (verify) {
        uint64_t hash;
        int64_t bytes;
        KD_TRY(kd_file_hash(&hash, &bytes, shard->path));
        if (hash != said->hash || bytes != said->bytes) return kd_fail(KD_EFORMAT, "%s: not the bytes that were written", shard->path);
    }
    KD_GO(kd_tensors_open(&tensors, shard->path));
    KD_GO(read_tables(c, &tensors, said, shard->path, inputs, origin));
    KD_GO(find(&tokens, &tensors, shard->path, "tokens", kd_corpus_narrow(c) ? KD_U16 : KD_U32, said->tokens));
    shard->token_at = tokens->at;
    loss = kd_tensors_find(&tensors, "loss");
    if (loss) KD_GO(find(&loss, &tensors, shard->path, "loss", KD_U8, said->tokens));
    if (loss) shard->loss_at = loss->at;
    c->documents += said->documents;
    c->tokens += said->tokens;
done:
    kd_tensors_close(&tensors);
    return status;
}

/* Names what differs. */
static kd_status check_tokenizer(const kd_store_json *said, const kd_tokenizer *tokenizer, const char *folder) {
    json_t *now = kd_tokenizer_identity(tokenizer), *then = json_object_get(said->identity, "tokenizer");
    bool same = now && json_equal(now, then);
    json_t *old_size = json_object_get(then, "vocabulary");
    bool had = now;
    json_decref(now);
    if (same) return KD_OK;
    if (!had) return kd_fail(KD_ENOMEM, "out of memory");
    return kd_fail(KD_ECONFIG, "%s: made with another tokenizer than %s (%lld ids; that one has %lld)", folder, tokenizer->name,
                   (long long)tokenizer->vocabulary, (long long)json_integer_value(old_size));
}

/* What the store says of its tokenizer, which is not at hand. */
static kd_status say_tokenizer(kd_tokenizer *tokenizer, const kd_store_json *said, const char *folder) {
    const json_t *then = json_object_get(said->identity, "tokenizer");
    int64_t bos = -1, eos = -1;
    *tokenizer = (kd_tokenizer){0};
    KD_TRY(kd_json_int(&tokenizer->vocabulary, then, "vocabulary", folder));
    KD_TRY(kd_json_int(&bos, then, "bos", folder));
    KD_TRY(kd_json_int(&eos, then, "eos", folder));
    if (bos < -1 || eos < -1 || bos >= tokenizer->vocabulary || eos >= tokenizer->vocabulary || tokenizer->vocabulary > INT32_MAX)
        return kd_fail(KD_EFORMAT, "%s: BOS %lld, EOS %lld of %lld ids", folder, (long long)bos, (long long)eos, (long long)tokenizer->vocabulary);
    tokenizer->bos = (int32_t)bos;
    tokenizer->eos = (int32_t)eos;
    return kd_hash_read(&tokenizer->hash, then, "hash", folder);
}

static kd_status take_sources(kd_corpus *c, const kd_store_json *said, const char *folder) {
    for (int64_t s = 0; s < said->sources; s++) {
        int64_t index;
        KD_TRY(kd_corpus_source(&index, c, said->source[s]));
        if (index != s) return kd_fail(KD_EFORMAT, "%s: source %s is named twice", folder, said->source[s]);
    }
    return KD_OK;
}

static kd_status take_inputs(kd_paths *inputs, const kd_store_json *said, const char *folder) {
    json_t *list = json_object_get(said->identity, "inputs"), *row;
    size_t i;
    KD_TRY(kd_new(&inputs->path, (int64_t)json_array_size(list), sizeof *inputs->path));
    json_array_foreach(list, i, row) {
        const char *path = json_string_value(json_object_get(row, "path"));
        if (!path) return kd_fail(KD_EFORMAT, "%s: input %lld has no path", folder, (long long)i);
        inputs->path[i] = strdup(path);
        if (!inputs->path[i]) return kd_fail(KD_ENOMEM, "out of memory");
        inputs->count++;
    }
    return KD_OK;
}

static kd_status read_store(kd_corpus *c, const char *folder, const kd_store_json *said, int64_t inputs, bool verify) {
    int64_t documents = 0, largest = 0, *origin = NULL;
    kd_status status;
    for (int64_t s = 0; s < said->shards; s++) {
        if (documents > INT64_MAX / 64 - said->shard[s].documents) return kd_fail(KD_EFORMAT, "%s: too many documents", folder);
        documents += said->shard[s].documents;
        if (said->shard[s].documents > largest) largest = said->shard[s].documents;
    }
    free(c->start);
    c->start = NULL;
    KD_GO(kd_new(&c->start, documents + 1, sizeof *c->start));
    KD_GO(kd_new(&c->source, documents, sizeof *c->source));
    KD_GO(kd_new(&c->origin, documents, sizeof *c->origin));
    KD_GO(kd_new(&c->shard, said->shards, sizeof *c->shard));
    KD_GO(kd_new(&origin, 3 * largest, sizeof *origin));
    for (int64_t s = 0; s < said->shards; s++) KD_GO(read_shard(c, folder, &said->shard[s], inputs, verify, origin));
    c->counts = said->counts;
    c->hash = said->hash;
done:
    free(origin);
    return status;
}

kd_status kd_store_open(kd_corpus *c, const char *folder, const kd_tokenizer *tokenizer, bool verify) {
    kd_store_json said;
    kd_tokenizer unknown;
    kd_paths inputs = {0};
    *c = (kd_corpus){0};
    KD_TRY(kd_store_json_read(&said, folder));
    kd_status status;
    if (tokenizer) KD_GO(check_tokenizer(&said, tokenizer, folder));
    else KD_GO(say_tokenizer(&unknown, &said, folder));
    if (!said.complete) {
        status = kd_fail(KD_ECONFIG, "%s: unfinished: kedge pack goes on with it", folder);
        goto done;
    }
    KD_GO(take_inputs(&inputs, &said, folder));
    KD_GO(kd_corpus_init(c, tokenizer ? tokenizer : &unknown, &inputs));
    KD_GO(take_sources(c, &said, folder));
    KD_GO(read_store(c, folder, &said, inputs.count, verify));
done:
    kd_paths_free(&inputs);
    kd_store_json_free(&said);
    if (status) kd_corpus_close(c);
    return status;
}

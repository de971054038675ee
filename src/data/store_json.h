/* store.json, what a token store says of itself. Private to src/data. */
#ifndef KD_STORE_JSON_H
#define KD_STORE_JSON_H

#include <jansson.h>

#include "data/store.h"

typedef struct kd_shard_json {
    char file[40];
    int64_t bytes, documents, tokens;
    uint64_t hash;             /* XXH3-64 of the file */
} kd_shard_json;

typedef struct kd_store_json {
    json_t *identity;          /* tokenizer, policies, inputs, shard: what must agree to go on */
    char **source;             /* [sources] */
    int64_t sources;
    kd_shard_json *shard;      /* [shards] */
    int64_t shards;
    int64_t next_file, next_read;
    kd_ingest_counts counts;
    uint64_t hash;
    bool complete;
} kd_store_json;

kd_status kd_store_json_init(kd_store_json *said, const kd_ingest_options *options, const kd_paths *inputs, int64_t shard);
kd_status kd_store_json_add(kd_store_json *said, const kd_shard_json *shard);
bool kd_store_json_same(const kd_store_json *a, const kd_store_json *b);
/* store.json of a folder. KD_EIO, KD_EFORMAT. */
kd_status kd_store_json_read(kd_store_json *said, const char *folder);
kd_status kd_store_json_write(const kd_store_json *said, const char *folder);
void kd_store_json_free(kd_store_json *said);

/* {"hash", "vocabulary", "bos", "eos"}: what of a tokenizer ids depend on, for packs too. NULL when memory is out. */
json_t *kd_tokenizer_identity(const kd_tokenizer *tokenizer);
/* Adds "seal": the hash of everything else in the object, however it is laid out; and looks whether it is still so, and
 * takes it away. KD_EFORMAT naming the file, KD_ENOMEM. */
kd_status kd_json_seal(json_t *root, const char *name);
kd_status kd_json_unseal(json_t *root, const char *name);
/* A hash as text: 16 hexadecimal digits. */
json_t *kd_hash_json(uint64_t hash);
kd_status kd_hash_read(uint64_t *hash, const json_t *object, const char *key, const char *name);

#endif

/* Writing: ids as they come, the index from the lengths at the end. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "megatron.h"
#include "tokenizer.h"

enum { BLOCK = 64 << 10, I32 = 4, U16 = 8 };  /* the types' numbers in the index */

struct kd_megatron_writer {
    char *index_path, *data_path;   /* x.idx, x.bin */
    kd_writer index, data;          /* the same with .tmp */
    bool finished;
    int type;
    int64_t vocabulary;
    kd_ids length;                  /* of each document */
    unsigned char *block;           /* [BLOCK] on its way to `file` */
    int64_t used;
};

static kd_status flush(kd_megatron_writer *w, kd_writer *file) {
    KD_TRY(kd_writer_put(file, w->block, w->used));
    w->used = 0;
    return KD_OK;
}

/* Little-endian, through the block. */
static kd_status put(kd_megatron_writer *w, kd_writer *file, uint64_t value, int bytes) {
    if (w->used + bytes > BLOCK) KD_TRY(flush(w, file));
    for (int i = 0; i < bytes; i++) w->block[w->used++] = (unsigned char)(value >> 8 * i);
    return KD_OK;
}

/* x.idx as x + suffix, on the heap. */
static kd_status name(char **out, const char *path, const char *suffix) {
    size_t stem = strlen(path) - 4;
    KD_TRY(kd_new(out, (int64_t)(stem + strlen(suffix) + 1), 1));
    memcpy(*out, path, stem);
    memcpy(*out + stem, suffix, strlen(suffix));
    return KD_OK;
}

static kd_status open_aside(kd_writer *file, const char *path, const char *suffix) {
    char *aside = NULL;
    KD_TRY(name(&aside, path, suffix));
    kd_status status = kd_writer_open(file, aside);
    free(aside);
    return status;
}

kd_status kd_megatron_create(kd_megatron_writer **out, const char *path, int64_t vocabulary) {
    kd_megatron_writer *w;
    kd_status status;
    *out = NULL;
    if (!kd_megatron_named(path)) return kd_fail(KD_EARG, "%s: neither .idx nor .bin", path);
    if (vocabulary < 1 || vocabulary > INT32_MAX)
        return kd_fail(KD_EARG, "%s: a vocabulary of %lld", path, (long long)vocabulary);
    KD_TRY(kd_new(&w, 1, sizeof *w));
    w->vocabulary = vocabulary;
    w->type = vocabulary < 65500 ? U16 : I32;
    KD_GO(name(&w->index_path, path, ".idx"));
    KD_GO(name(&w->data_path, path, ".bin"));
    KD_GO(kd_new(&w->block, BLOCK, 1));
    KD_GO(open_aside(&w->data, path, ".bin.tmp"));
    KD_GO(open_aside(&w->index, path, ".idx.tmp"));
    *out = w;
done:
    if (status) kd_megatron_free(w);
    return status;
}

kd_status kd_megatron_put(kd_megatron_writer *w, const int32_t *id, int64_t count) {
    long long document = w->length.count + 1;
    if (count < 1 || count > INT32_MAX)
        return kd_fail(KD_EARG, "%s: document %lld: %lld tokens", w->data_path, document, (long long)count);
    for (int64_t i = 0; i < count; i++)
        if (id[i] < 0 || id[i] >= w->vocabulary)
            return kd_fail(KD_EARG, "%s: document %lld: token %lld is %d, the vocabulary has %lld", w->data_path, document,
                           (long long)i, (int)id[i], (long long)w->vocabulary);
    KD_TRY(kd_ids_reserve(&w->length, 1));
    for (int64_t i = 0; i < count; i++) KD_TRY(put(w, &w->data, (uint64_t)id[i], w->type == U16 ? 2 : 4));
    w->length.id[w->length.count++] = (int32_t)count;
    return KD_OK;
}

static kd_status write_index(kd_megatron_writer *w) {
    int64_t documents = w->length.count, offset = 0;
    KD_TRY(kd_writer_put(&w->index, "MMIDIDX\0", 9));
    KD_TRY(put(w, &w->index, 1, 8));
    KD_TRY(put(w, &w->index, (uint64_t)w->type, 1));
    KD_TRY(put(w, &w->index, (uint64_t)documents, 8));
    KD_TRY(put(w, &w->index, (uint64_t)documents + 1, 8));
    for (int64_t i = 0; i < documents; i++) KD_TRY(put(w, &w->index, (uint64_t)w->length.id[i], 4));
    for (int64_t i = 0; i < documents; i++) {
        KD_TRY(put(w, &w->index, (uint64_t)offset, 8));
        offset += (int64_t)w->length.id[i] * (w->type == U16 ? 2 : 4);
    }
    for (int64_t i = 0; i <= documents; i++) KD_TRY(put(w, &w->index, (uint64_t)i, 8));
    return flush(w, &w->index);
}

static kd_status rename_to(const char *path, const kd_writer *file) {
    if (rename(file->path, path)) return kd_fail_errno(KD_EIO, "%s: cannot be renamed to %s", file->path, path);
    return KD_OK;
}

static kd_status sync_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (!folder) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    kd_status status = kd_sync_folder(folder);
    free(folder);
    return status;
}

kd_status kd_megatron_finish(kd_megatron_writer *w) {
    KD_TRY(flush(w, &w->data));
    KD_TRY(write_index(w));
    KD_TRY(kd_writer_sync(&w->data));
    KD_TRY(kd_writer_sync(&w->index));
    if (kd_exists(w->index_path) && unlink(w->index_path))
        return kd_fail_errno(KD_EIO, "%s: cannot be removed", w->index_path);
    KD_TRY(rename_to(w->data_path, &w->data));
    KD_TRY(rename_to(w->index_path, &w->index));
    w->finished = true;
    return sync_folder_of(w->index_path);
}

void kd_megatron_free(kd_megatron_writer *w) {
    if (!w) return;
    if (!w->finished && w->data.path) unlink(w->data.path);
    if (!w->finished && w->index.path) unlink(w->index.path);
    if (w->data.path) (void)kd_writer_close(&w->data);
    if (w->index.path) (void)kd_writer_close(&w->index);
    free(w->index_path);
    free(w->data_path);
    free(w->length.id);
    free(w->block);
    free(w);
}

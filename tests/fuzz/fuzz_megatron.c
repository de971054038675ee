/* Megatron's indexed datasets: what is read can be written and read again. Data: the index's size in two bytes, the index,
 * the ids. */
#include "format/megatron.h"
#include "format/tokenizer.h"
#include "fuzz.h"

/* The documents of x.idx, one after the other: counts in `length`, ids in `id`. False if it cannot be opened. */
static bool read_all(kd_ids *id, kd_ids *length, const char *path) {
    kd_megatron *megatron;
    kd_status status = kd_megatron_open(&megatron, path);
    if (status) {
        FUZZ_ASSERT(!megatron && (status == KD_EFORMAT || status == KD_ENOTSUP));
        fuzz_refused("x.idx");
        return false;
    }
    for (int64_t number = 0; number <= kd_megatron_documents(megatron); number++) {
        const int32_t *one;
        int64_t count;
        bool more;
        if (kd_megatron_next(&one, &count, &more, megatron)) {
            fuzz_refused("x.idx: document ");
            continue;
        }
        FUZZ_ASSERT(more == (number < kd_megatron_documents(megatron)) && (one != NULL) == more);
        if (!more) break;
        FUZZ_ASSERT(!kd_ids_reserve(id, count) && !kd_ids_reserve(length, 1));
        for (int64_t i = 0; i < count; i++) {
            FUZZ_ASSERT(one[i] >= 0 && one[i] < INT32_MAX);
            id->id[id->count++] = one[i];
        }
        length->id[length->count++] = (int32_t)count;
    }
    kd_megatron_close(megatron);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t index = data[0] | (size_t)data[1] << 8;
    if (index > size - 2) index = size - 2;
    fuzz_file("x.bin", data + 2 + index, size - 2 - index);
    kd_ids id = {0}, length = {0};
    bool read = read_all(&id, &length, fuzz_file("x.idx", data + 2, index));
    /* The writer waits for a disk: rarely. */
    if (read && size % 16 == 0) {
        char path[300];
        kd_megatron_writer *writer;
        kd_ids again = {0}, counts = {0};
        snprintf(path, sizeof path, "%s/w.idx", fuzz_folder);
        FUZZ_ASSERT(!kd_megatron_create(&writer, path, INT32_MAX));
        for (int64_t d = 0, at = 0; d < length.count; at += length.id[d++])
            FUZZ_ASSERT(!length.id[d] || !kd_megatron_put(writer, id.id + at, length.id[d]));
        FUZZ_ASSERT(!kd_megatron_finish(writer));
        kd_megatron_free(writer);
        FUZZ_ASSERT(read_all(&again, &counts, path));
        FUZZ_ASSERT(again.count == id.count && (!id.count || !memcmp(again.id, id.id, (size_t)id.count * 4)));
        free(again.id);
        free(counts.id);
    }
    free(id.id);
    free(length.id);
    return 0;
}

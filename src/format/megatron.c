/* Reading: the index in blocks, every number of it judged before it is used. */
#include "megatron.h"

#include <stdlib.h>
#include <string.h>

#include "tokenizer.h"

enum {
    HEADER = 34,             /* bytes in front of the lengths */
    BLOCK = 64 << 10,        /* bytes of a table, or of ids, that are read at once */
    LARGEST = INT32_MAX - 1, /* id */
    TYPES = 9,
};

static const struct type { const char *name; int bytes; bool real; } types[TYPES] = {
    [1] = {"u8", 1, false}, [2] = {"i8", 1, false}, [3] = {"i16", 2, false}, [4] = {"i32", 4, false},
    [5] = {"i64", 8, false}, [6] = {"f64", 8, true}, [7] = {"f32", 4, true}, [8] = {"u16", 2, false},
};

/* A table of the index: integers that are read in order, a block of them in memory. */
typedef struct table {
    int64_t at, count;       /* where it begins in the file, and entries */
    int bytes;               /* of an entry */
    int64_t from, held;      /* entries in memory: from .. from+held-1 */
    unsigned char *block;    /* [BLOCK] */
} table;

struct kd_megatron {
    kd_source index, data;
    int type;
    table length, offset, document;
    int64_t next;            /* the document that comes next, from 0 */
    unsigned char *block;    /* [BLOCK] ids as they lie in the file */
    kd_ids ids;
};

static bool ends_with(const char *text, const char *suffix) {
    size_t size = strlen(text), tail = strlen(suffix);
    return size > tail && strcmp(text + size - tail, suffix) == 0;
}

bool kd_megatron_named(const char *path) { return ends_with(path, ".idx") || ends_with(path, ".bin"); }

static int64_t value_of(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << 8 * i;
    if (bytes == 4) return (int32_t)(uint32_t)value;
    return (int64_t)value;
}

/* ---- the index --------------------------------------------------------------------------------------------- */

static kd_status read_entry(int64_t *out, kd_megatron *m, table *t, int64_t i) {
    if (i < t->from || i >= t->from + t->held) {
        int64_t most = BLOCK / t->bytes;
        t->from = i;
        t->held = 0;  /* should the read fail */
        int64_t count = t->count - i < most ? t->count - i : most;
        KD_TRY(kd_source_read(t->block, &m->index, t->at + i * t->bytes, count * t->bytes));
        t->held = count;
    }
    *out = value_of(t->block + (i - t->from) * t->bytes, t->bytes);
    return KD_OK;
}

static kd_status place_table(table *t, int64_t *at, int64_t count, int bytes) {
    *t = (table){.at = *at, .count = count, .bytes = bytes};
    *at += count * bytes;
    return kd_new(&t->block, BLOCK, 1);
}

/* The tables must be the rest of the file, to the byte. */
static kd_status place_tables(kd_megatron *m, uint64_t sequences, uint64_t entries) {
    const char *path = m->index.path;
    uint64_t room = (uint64_t)m->index.size - HEADER;
    if (sequences > room / 12 || entries > (room - 12 * sequences) / 8)
        return kd_fail(KD_EFORMAT, "%s: %llu sequences and %llu document entries do not fit in its %lld bytes", path,
                       (unsigned long long)sequences, (unsigned long long)entries, (long long)m->index.size);
    uint64_t left = room - 12 * sequences - 8 * entries;
    if (left && left == sequences)
        return kd_fail(KD_ENOTSUP, "%s: has sequence modes: multimodal datasets are not supported", path);
    if (left)
        return kd_fail(KD_EFORMAT, "%s: %llu bytes follow its %llu sequences and %llu document entries", path,
                       (unsigned long long)left, (unsigned long long)sequences, (unsigned long long)entries);
    if (!entries) return kd_fail(KD_EFORMAT, "%s: its document index is empty, it should end with %llu", path,
                                 (unsigned long long)sequences);
    int64_t at = HEADER;
    KD_TRY(place_table(&m->length, &at, (int64_t)sequences, 4));
    KD_TRY(place_table(&m->offset, &at, (int64_t)sequences, 8));
    return place_table(&m->document, &at, (int64_t)entries, 8);
}

static kd_status read_header(kd_megatron *m) {
    unsigned char header[HEADER];
    const char *path = m->index.path;
    if (m->index.size < HEADER)
        return kd_fail(KD_EFORMAT, "%s: %lld bytes, the header of a Megatron index has %d", path, (long long)m->index.size,
                       HEADER);
    KD_TRY(kd_source_read(header, &m->index, 0, HEADER));
    if (memcmp(header, "MMIDIDX\0", 9) != 0) return kd_fail(KD_EFORMAT, "%s: does not begin as a Megatron index", path);
    uint64_t version = (uint64_t)value_of(header + 9, 8);
    if (version != 1) return kd_fail(KD_ENOTSUP, "%s: version %llu, 1 is supported", path, (unsigned long long)version);
    m->type = header[17];
    if (m->type >= TYPES || !types[m->type].name)
        return kd_fail(KD_EFORMAT, "%s: type %d, 1 to 8 are known", path, m->type);
    if (types[m->type].real) return kd_fail(KD_ENOTSUP, "%s: type %s: ids are integers", path, types[m->type].name);
    KD_TRY(place_tables(m, (uint64_t)value_of(header + 18, 8), (uint64_t)value_of(header + 26, 8)));
    int64_t first;
    KD_TRY(read_entry(&first, m, &m->document, 0));
    if (first) return kd_fail(KD_EFORMAT, "%s: its document index begins with %lld, not 0", path, (long long)first);
    return KD_OK;
}

kd_status kd_megatron_open(kd_megatron **out, const char *path) {
    kd_megatron *m;
    kd_status status;
    *out = NULL;
    if (!kd_megatron_named(path)) return kd_fail(KD_EARG, "%s: neither .idx nor .bin", path);
    KD_TRY(kd_new(&m, 1, sizeof *m));
    char *name = strdup(path);
    if (!name) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
        goto done;
    }
    char *suffix = name + strlen(name) - 3;
    memcpy(suffix, "idx", 3);
    KD_GO(kd_source_open(&m->index, name));
    memcpy(suffix, "bin", 3);
    KD_GO(kd_source_open(&m->data, name));
    KD_GO(read_header(m));
    KD_GO(kd_new(&m->block, BLOCK, 1));
    KD_GO(kd_ids_reserve(&m->ids, 1));  /* so that a document without tokens has an address, too */
    *out = m;
done:
    free(name);
    if (status) kd_megatron_close(m);
    return status;
}

int64_t kd_megatron_documents(const kd_megatron *m) { return m->document.count - 1; }

void kd_megatron_close(kd_megatron *m) {
    if (!m) return;
    kd_source_close(&m->index);
    kd_source_close(&m->data);
    free(m->length.block);
    free(m->offset.block);
    free(m->document.block);
    free(m->block);
    free(m->ids.id);
    free(m);
}

/* ---- documents --------------------------------------------------------------------------------------------- */

/* Appends block[count] as ids. */
static kd_status convert(kd_megatron *m, int64_t count) {
    int bytes = types[m->type].bytes;
    for (int64_t i = 0; i < count; i++) {
        const unsigned char *at = m->block + i * bytes;
        int64_t value = value_of(at, bytes);
        if (m->type == 2) value = (int8_t)at[0];
        if (m->type == 3) value = (int16_t)(uint16_t)value;
        if (value < 0 || value > LARGEST)
            return kd_fail(KD_EFORMAT, "token %lld is %lld, not 0 to %d", (long long)m->ids.count, (long long)value,
                           LARGEST);
        m->ids.id[m->ids.count++] = (int32_t)value;
    }
    return KD_OK;
}

/* Appends a sequence. */
static kd_status read_sequence(kd_megatron *m, int64_t sequence) {
    int64_t length, offset, bytes = types[m->type].bytes;
    KD_TRY(read_entry(&length, m, &m->length, sequence));
    KD_TRY(read_entry(&offset, m, &m->offset, sequence));
    if (length < 0 || offset < 0 || offset > m->data.size || length > (m->data.size - offset) / bytes)
        return kd_fail(KD_EFORMAT, "sequence %lld: %lld ids of %s at byte %lld, %s has %lld bytes", (long long)sequence,
                       (long long)length, types[m->type].name, (long long)offset, m->data.path, (long long)m->data.size);
    /* Sequences that lie on each other could make a small file's document as large as they like. */
    if (m->ids.count + length > m->data.size / bytes)
        return kd_fail(KD_EFORMAT, "its sequences have more ids than %s, which has %lld bytes", m->data.path,
                       (long long)m->data.size);
    KD_TRY(kd_ids_reserve(&m->ids, length));
    for (int64_t done = 0; done < length;) {
        int64_t most = BLOCK / bytes, count = length - done < most ? length - done : most;
        KD_TRY(kd_source_read(m->block, &m->data, offset + done * bytes, count * bytes));
        KD_TRY(convert(m, count));
        done += count;
    }
    return KD_OK;
}

/* The sequences of the next document. They come in order, or nothing is read any more: no sequence is read twice. */
static kd_status find_document(int64_t *from, int64_t *to, kd_megatron *m) {
    int64_t sequences = m->length.count;
    KD_TRY(read_entry(from, m, &m->document, m->next));
    KD_TRY(read_entry(to, m, &m->document, m->next + 1));
    if (*from < 0 || *to < *from || *to > sequences)
        return kd_fail(KD_EFORMAT, "from sequence %lld to %lld of %lld", (long long)*from, (long long)*to,
                       (long long)sequences);
    if (m->next + 2 == m->document.count && *to != sequences)
        return kd_fail(KD_EFORMAT, "the last one, ends at sequence %lld of %lld", (long long)*to, (long long)sequences);
    return KD_OK;
}

static kd_status read_document(kd_megatron *m) {
    int64_t from, to;
    KD_TRY(find_document(&from, &to, m));
    m->next++;
    m->ids.count = 0;
    for (int64_t s = from; s < to; s++) KD_TRY(read_sequence(m, s));
    return KD_OK;
}

kd_status kd_megatron_next(const int32_t **id, int64_t *ids, bool *more, kd_megatron *m) {
    *id = NULL;
    *ids = 0;
    *more = false;
    if (m->next == kd_megatron_documents(m)) return KD_OK;
    int64_t number = m->next + 1;
    kd_status status = read_document(m);
    if (status) return kd_fail_prefix(status, "%s: document %lld", m->index.path, (long long)number);
    *id = m->ids.id;
    *ids = m->ids.count;
    *more = true;
    return KD_OK;
}

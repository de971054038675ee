/* What the tests of tokenizers share: vectors, which are JSON lines, ids beside what they should be, SHA-256 of ids.
 * Include cmocka.h first. */
#ifndef KD_TOKENIZER_TEST_H
#define KD_TOKENIZER_TEST_H

#include <time.h>

#include "format/json.h"
#include "format/tokenizer.h"
#include "scratch.h"

enum { SHOWN_FAULTS = 6 };

/* Of this thread: other programs do not count. */
static inline double processor_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Seconds to encode `size` bytes of a unit that is repeated. */
static inline double seconds_of_run(kd_encoder *e, const char *unit, int64_t size) {
    char *text = malloc((size_t)size);
    int64_t step = (int64_t)strlen(unit), count = size / step;
    kd_ids ids = {0};
    assert_non_null(text);
    for (int64_t i = 0; i < count; i++) memcpy(text + i * step, unit, (size_t)step);
    double begin = processor_seconds();
    assert_done(kd_encode(&ids, e, text, count * step, 0));
    double seconds = processor_seconds() - begin;
    free(ids.id);
    free(text);
    return seconds;
}

/* Calls each(arg, object) for every line of a file. */
static inline void for_each_line(const char *path, void (*each)(void *arg, const json_t *object), void *arg) {
    char *data;
    int64_t size;
    assert_done(kd_file_read(&data, &size, path, 1 << 28));
    for (char *line = data, *end; line < data + size; line = end + 1) {
        end = memchr(line, '\n', (size_t)(data + size - line));
        if (!end) end = data + size;
        json_t *object;
        assert_done(kd_json_parse(&object, line, end - line, path));
        each(arg, object);
        json_decref(object);
    }
    free(data);
}

static inline void add_array(kd_ids *ids, const json_t *array) {
    assert_done(kd_ids_reserve(ids, (int64_t)json_array_size(array)));
    for (size_t i = 0; i < json_array_size(array); i++) ids->id[ids->count++] = (int32_t)json_integer_value(json_array_get(array, i));
}

static inline bool same_ids(const kd_ids *a, const kd_ids *b) {
    return a->count == b->count && (!a->count || !memcmp(a->id, b->id, (size_t)a->count * sizeof *a->id));
}

static inline void print_ids(const char *what, const kd_ids *ids) {
    char line[400];
    int at = 0;
    for (int64_t i = 0; i < ids->count && at < 380; i++) at += snprintf(line + at, sizeof line - (size_t)at, " %d", (int)ids->id[i]);
    line[at] = 0;
    print_error("    %s:%s%s\n", what, line, at >= 380 ? " ..." : "");
}

static inline bool same_text(const kd_text *text, const json_t *wanted) {
    return text->size == (int64_t)json_string_length(wanted) &&
           (!text->size || !memcmp(text->data, json_string_value(wanted), (size_t)text->size));
}

/* SHA-256 (FIPS 180-4) of ids as little-endian 32-bit words, as hexadecimal digits. */
static inline void sha256_block(uint32_t h[8], const unsigned char *p) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], v[8];
#define ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))
    for (int i = 0; i < 16; i++) w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (ROTATE(w[i - 15], 7) ^ ROTATE(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (ROTATE(w[i - 2], 17) ^ ROTATE(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t one = v[7] + (ROTATE(v[4], 6) ^ ROTATE(v[4], 11) ^ ROTATE(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t two = (ROTATE(v[0], 2) ^ ROTATE(v[0], 13) ^ ROTATE(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
#undef ROTATE
}

static inline void ids_digest(char hex[65], const kd_ids *ids) {
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char block[64];
    int64_t bytes = 4 * ids->count, padded = (bytes + 9 + 63) / 64 * 64;
    for (int64_t i = 0; i < padded; i++) {
        uint64_t bits = 8 * (uint64_t)bytes;
        block[i % 64] = i < bytes             ? (unsigned char)((uint32_t)ids->id[i / 4] >> 8 * (i % 4))
                        : i == bytes          ? 0x80
                        : i >= padded - 8     ? (unsigned char)(bits >> 8 * (padded - 1 - i))
                                              : 0;
        if (i % 64 == 63) sha256_block(h, block);
    }
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", (unsigned)h[i]);
}

#endif

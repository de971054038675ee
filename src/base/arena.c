#include "arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int64_t kd_arena_bytes(int64_t count, int64_t element) {
    int64_t bytes = 0;
    bool overflow = __builtin_mul_overflow(count, element, &bytes);
    assert(!overflow && bytes >= 0 && bytes <= INT64_MAX - KD_ALIGN);
    (void)overflow;
    return (bytes + KD_ALIGN - 1) / KD_ALIGN * KD_ALIGN;
}

void *kd_arena_take(kd_arena *arena, int64_t count, int64_t element) {
    int64_t at = arena->used;
    arena->used += kd_arena_bytes(count, element);
    if (!arena->base) return (void *)(uintptr_t)(KD_ALIGN + at); /* an address to compute with, not to touch */
    assert(arena->used <= arena->size);
    return arena->base + at;
}

kd_status kd_size_multiply(int64_t *out, int64_t a, int64_t b) {
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, out))
        return kd_fail(KD_EFORMAT, "size %lld x %lld does not fit", (long long)a, (long long)b);
    return KD_OK;
}

kd_status kd_new(void *out, int64_t count, int64_t element) {
    int64_t bytes = 0;
    KD_TRY(kd_size_multiply(&bytes, count, element));
    void *memory = calloc(1, bytes > 0 ? (size_t)bytes : 1);
    memcpy(out, &memory, sizeof memory);
    if (!memory) return kd_fail(KD_ENOMEM, "out of memory: %lld bytes", (long long)bytes);
    return KD_OK;
}

kd_status kd_grow(void *array, int64_t *room, int64_t need, int64_t element) {
    if (need <= *room) return KD_OK;
    int64_t more = *room > 256 ? *room : 256, bytes = 0;
    while (more < need && more <= INT64_MAX / 2) more *= 2;
    KD_TRY(kd_size_multiply(&bytes, more, element));
    void *memory;
    memcpy(&memory, array, sizeof memory);
    memory = realloc(memory, (size_t)bytes);
    if (!memory) return kd_fail(KD_ENOMEM, "out of memory: %lld bytes", (long long)bytes);
    memcpy(array, &memory, sizeof memory);
    *room = more;
    return KD_OK;
}

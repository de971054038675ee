/* Memory is measured, allocated once, and placed. An arena without a base only counts: the same walk that places
 * buffers measures them first. */
#ifndef KD_ARENA_H
#define KD_ARENA_H

#include <stddef.h>

#include "error.h"

#define KD_ALIGN 64 /* bytes: a cache line, and a vector of AVX-512 */

typedef struct kd_arena {
    char *base;    /* NULL: measuring */
    int64_t size;  /* bytes behind base */
    int64_t used;  /* bytes taken so far */
} kd_arena;

/* The next `count` elements of `element` bytes, aligned to KD_ALIGN; while measuring an address that may be computed
 * with but not touched.
 * Taking more than was measured is a bug and asserts. */
void *kd_arena_take(kd_arena *arena, int64_t count, int64_t element);

/* Bytes of `count` elements, rounded up as kd_arena_take does; asserts on overflow. */
int64_t kd_arena_bytes(int64_t count, int64_t element);

/* a*b for sizes that come from files: KD_EFORMAT when the product leaves int64. */
kd_status kd_size_multiply(int64_t *out, int64_t a, int64_t b);

/* Heap with a message on failure; zeroed. Free with free(). */
kd_status kd_new(void *out, int64_t count, int64_t element);

/* Room for `need` elements of a heap array (array: the address of its pointer), doubled when it is short, so that growing
 * costs linear time. What is new is not zeroed. KD_ENOMEM; the array then is as it was. */
kd_status kd_grow(void *array, int64_t *room, int64_t need, int64_t element);

#endif

/* One line of JSON: {"text": ..., "meta": {"redpajama_set_name": ...}}, decoded where it stands. */
#ifndef KD_RECORD_H
#define KD_RECORD_H

#include "base/arena.h"

typedef struct kd_key { const char *text; int64_t size; } kd_key;

/* The keys of the objects that are open: the only memory a line needs besides itself. */
typedef struct kd_keys { kd_key *key; int64_t count, room; } kd_keys;

typedef struct kd_record {
    const char *text;      /* [size] in the line */
    int64_t size;
    const char *source;    /* in the line, NUL-terminated; "" where there is none */
} kd_record;

/* Decodes line[size], which is valid UTF-8 and is overwritten; line[size] can be written. Everything in the line is
 * validated, what is not asked for too. KD_EFORMAT "byte N: what", N from 1 in the line. keys: zeroed before the first
 * line, then kept from line to line; free keys->key. */
kd_status kd_record_parse(kd_record *record, char *line, int64_t size, kd_keys *keys);

#endif

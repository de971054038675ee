/* One line of JSON, decoded where it stands: {"text": ..., "meta": {"redpajama_set_name": ...}}, or the same with ids in
 * place of the text. */
#ifndef KD_RECORD_H
#define KD_RECORD_H

#include "tokenizer.h"

typedef struct kd_key { const char *text; int64_t size; } kd_key;

/* The keys of the objects that are open. */
typedef struct kd_keys { kd_key *key; int64_t count, room; } kd_keys;

/* Tokens start .. end-1 of a record are one document. */
typedef struct kd_record_span { const char *source; int64_t start, end; } kd_record_span;

/* The members of a record that are lists of numbers. */
typedef enum kd_list { KD_LIST_IDS, KD_LIST_LABELS, KD_LIST_LOSS_MASK, KD_LIST_ATTENTION_MASK, KD_LISTS } kd_list;

/* What a line needs besides itself, kept from line to line: zeroed before the first, freed with kd_record_memory_free. */
typedef struct kd_record_memory {
    kd_keys keys;
    kd_ids list[KD_LISTS];
    uint8_t *loss;         /* [loss_room] */
    kd_record_span *span;  /* [span_room] */
    int64_t loss_room, span_room;
} kd_record_memory;
void kd_record_memory_free(kd_record_memory *memory);

typedef struct kd_record {
    const char *text;      /* [size] in the line; NULL: the record is ids, and what follows source says more */
    int64_t size;
    const char *source;    /* in the line, NUL-terminated; "" where there is none */
    const int32_t *id;     /* [ids] */
    int64_t ids;
    const uint8_t *loss;   /* [ids] 0: not a target; NULL: all are */
    bool row;              /* a packed row: "source" is a list, or "labels" is one id */
    int32_t next;          /* this one; -1: it is not */
    const kd_record_span *span;  /* [spans] without gaps, from 0 to ids; one where the record names none */
    int64_t spans;
} kd_record;

/* Decodes line[size], which is valid UTF-8 and is overwritten; line[size] can be written. Everything in the line is
 * validated, what is not asked for too. KD_EFORMAT "byte N: what", N from 1 in the line. */
kd_status kd_record_parse(kd_record *record, char *line, int64_t size, kd_record_memory *memory);

#endif

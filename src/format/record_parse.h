/* What the files that read a record share. */
#ifndef KD_RECORD_PARSE_H
#define KD_RECORD_PARSE_H

#include <string.h>

#include "json_scan.h"
#include "record.h"

/* Where a value stands: this alone decides which members mean something. */
typedef enum kd_place { KD_ELSEWHERE, KD_IN_RECORD, KD_IN_META, KD_IN_SPAN } kd_place;

typedef struct kd_record_parser {
    char *line;
    kd_scan text;
    kd_record_memory *memory;
    kd_record *record;
    bool has_text, has[KD_LISTS], has_spans;
    const char *name;      /* "source" where it is one string, or NULL */
    char odd[256];         /* what is wrong with the first member that only a record of ids would mind; "": nothing */
} kd_record_parser;

static inline bool kd_key_is(const char *key, int64_t size, const char *word) {
    return size == (int64_t)strlen(word) && memcmp(key, word, (size_t)size) == 0;
}

/* "byte N: what is expected": tells the end of the line from a wrong character. */
kd_status kd_record_fail_expected(const kd_record_parser *p, const char *what);
kd_status kd_record_fail_scan(const kd_record_parser *p);  /* what the scan found wrong */

/* p->text.at is at a value's first character; depth: objects and arrays around it. Skipped, and validated; an object's
 * members mean what they mean in `where`. */
kd_status kd_record_value(kd_record_parser *p, kd_place where, int depth);

/* A string without U+0000 that names a source; *valid false and *name NULL if the value is something else. */
kd_status kd_record_name(const char **name, kd_record_parser *p, int depth);

/* A member that means something in a record of ids: *known false, and nothing read, if `key` is no such. p->text.at is at
 * its value. Whether the record is one is known at its end only, so what is wrong is noted in p->odd. */
kd_status kd_record_ids_member(bool *known, kd_record_parser *p, const char *key, int64_t size, int depth);
/* A member of an entry of "source". */
kd_status kd_record_span_member(bool *known, kd_record_parser *p, const char *key, int64_t size, int depth);
/* At the record's end: the lists against each other, then the record's fields. */
kd_status kd_record_ids_finish(kd_record_parser *p);

#endif

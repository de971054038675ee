/* Comma-separated values (RFC 4180), read: fields in quotes may have commas, line breaks and doubled quotes; lines end with LF or CRLF. */
#ifndef KD_CSV_H
#define KD_CSV_H

#include "base/file.h"

typedef struct kd_csv {
    const char *name;          /* for messages */
    const char *at, *end;
    int64_t line, first;       /* lines read; that on which the last record begins, from 1 */
    char *text;                /* the fields of the last record, each with a NUL; [text_room] */
    const char **field;        /* [fields] */
    int64_t *start;
    int64_t fields, text_room, field_room, start_room;
} kd_csv;

/* text [size] and name are borrowed. */
void kd_csv_init(kd_csv *csv, const char *text, int64_t size, const char *name);
/* The next record; *more false at the end. Empty lines are skipped. KD_EFORMAT "name:line: what": a quote that is not closed, something
 * behind a closing quote, U+0000, invalid UTF-8. */
kd_status kd_csv_next(kd_csv *csv, bool *more);
void kd_csv_free(kd_csv *csv);

#endif

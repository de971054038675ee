/* Files of JSON lines as benchmarks publish them: an object a line, blank lines skipped. */
#ifndef KD_JSON_LINES_H
#define KD_JSON_LINES_H

#include "format/json.h"

typedef struct kd_json_lines {
    char *path, *place;       /* place: "path:line" of the object that came last, for messages */
    char *data;
    int64_t size, at, line;
    uint64_t hash;            /* of the file */
} kd_json_lines;

/* The file is read whole, plain or out of zstd: at most 4 GiB. Free with kd_json_lines_close. */
kd_status kd_json_lines_open(kd_json_lines *lines, const char *path);
void kd_json_lines_close(kd_json_lines *lines);
/* The next object, json_decref it; NULL at the end. KD_EFORMAT "path:line:column: what". */
kd_status kd_json_lines_next(json_t **object, kd_json_lines *lines);

/* Members that must be there; KD_EFORMAT naming place and key. Texts are the object's and have no U+0000. */
kd_status kd_json_text(const char **out, const json_t *object, const char *key, const char *place);
/* A list of `count` texts, or of any number from 1 with count 0. */
kd_status kd_json_texts(const json_t **out, const json_t *object, const char *key, int64_t count, const char *place);

#endif

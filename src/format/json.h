/* JSON as jansson's tree, strict: a repeated key, bytes after the end, invalid UTF-8, U+0000 in a key, an integer beyond
 * 64 bits or nesting beyond 64 is an error with its place. */
#ifndef KD_JSON_H
#define KD_JSON_H

#include <jansson.h>

#include "base/file.h"

/* An object or an array; free with json_decref. KD_EFORMAT "name:line:column: what" (columns are bytes), KD_ENOMEM. Never
 * more than 3 million values, so that the tree stays below a gigabyte. -0 is a real number: integers have no such zero. */
kd_status kd_json_parse(json_t **out, const char *data, int64_t size, const char *name);
/* The same of a line of a file of JSON lines. */
kd_status kd_json_parse_line(json_t **out, const char *data, int64_t size, const char *name, int64_t line);
kd_status kd_json_load(json_t **out, const char *path);

/* The text of a value, with jansson's flags (JSON_INDENT(2), JSON_COMPACT); free() it. KD_ENOMEM; `name` stands in the
 * message. To be preferred to json_dumps, which can leave a key away when memory is out and report success. */
kd_status kd_json_print(char **text, const json_t *value, size_t flags, const char *name);

/* A member of an object with its type checked; KD_EFORMAT naming file and key. The `maybe` forms leave *out alone when
 * the key is absent or null and set *found accordingly (found may be NULL). Integers given as 4096.0 are accepted. */
kd_status kd_json_int(int64_t *out, const json_t *object, const char *key, const char *name);
kd_status kd_json_maybe_int(int64_t *out, bool *found, const json_t *object, const char *key, const char *name);
kd_status kd_json_maybe_number(double *out, bool *found, const json_t *object, const char *key, const char *name);
kd_status kd_json_maybe_bool(bool *out, bool *found, const json_t *object, const char *key, const char *name);
kd_status kd_json_maybe_string(const char **out, const json_t *object, const char *key, const char *name);

#endif

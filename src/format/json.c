#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT ((int64_t)256 << 20) /* bytes of a file: the largest tokenizer.json is 1/10 of it */

kd_status kd_json_parse(json_t **out, const char *data, int64_t size, const char *name) {
    json_error_t error;
    *out = NULL;
    const char *nul = size > 0 ? memchr(data, 0, (size_t)size) : NULL;  /* jansson overlooks one behind a number */
    if (nul) return kd_fail(KD_EFORMAT, "%s: byte %lld: NUL", name, (long long)(nul - data));
    /* U+0000 is a character of tokenizer files; readers of C strings refuse it below. */
    *out = json_loadb(data, (size_t)size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (*out) return KD_OK;
    /* Without a place nothing is wrong with the text. */
    if (json_error_code(&error) == json_error_out_of_memory || error.line < 0)
        return kd_fail(KD_ENOMEM, "%s: out of memory", name);
    return kd_fail(KD_EFORMAT, "%s:%d:%d: %s", name, error.line, error.column, error.text);
}

kd_status kd_json_load(json_t **out, const char *path) {
    char *data;
    int64_t size;
    *out = NULL;
    KD_TRY(kd_file_read(&data, &size, path, LIMIT));
    kd_status status = kd_json_parse(out, data, size, path);
    free(data);
    return status;
}

/* The text is believed once it reads as the same value. */
kd_status kd_json_print(char **text, const json_t *value, size_t flags, const char *name) {
    *text = json_dumps(value, flags | JSON_ENCODE_ANY);
    json_t *back = *text ? json_loads(*text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL) : NULL;
    bool same = back && json_equal(back, value);
    json_decref(back);
    if (same) return KD_OK;
    free(*text);
    *text = NULL;
    return kd_fail(KD_ENOMEM, "%s: out of memory", name);
}

/* The member, or NULL where it is absent or null. */
static kd_status find(json_t **out, const json_t *object, const char *key, const char *name) {
    *out = NULL;
    if (!json_is_object(object))
        return kd_fail(KD_EFORMAT, "%s: \"%s\" is looked for in what is not an object", name, key);
    json_t *value = json_object_get(object, key);
    if (value && !json_is_null(value)) *out = value;
    return KD_OK;
}

kd_status kd_json_maybe_int(int64_t *out, bool *found, const json_t *object, const char *key, const char *name) {
    json_t *value;
    if (found) *found = false;
    KD_TRY(find(&value, object, key, name));
    if (!value) return KD_OK;
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
    } else {
        double number = json_is_real(value) ? json_real_value(value) : NAN;
        if (!(fabs(number) <= 0x1p53) || number != floor(number))  /* beyond, a double no longer counts by one */
            return kd_fail(KD_EFORMAT, "%s: \"%s\" is not an integer", name, key);
        *out = (int64_t)number;
    }
    if (found) *found = true;
    return KD_OK;
}

kd_status kd_json_int(int64_t *out, const json_t *object, const char *key, const char *name) {
    bool found;
    KD_TRY(kd_json_maybe_int(out, &found, object, key, name));
    return found ? KD_OK : kd_fail(KD_EFORMAT, "%s: \"%s\" is missing", name, key);
}

kd_status kd_json_maybe_number(double *out, bool *found, const json_t *object, const char *key, const char *name) {
    json_t *value;
    if (found) *found = false;
    KD_TRY(find(&value, object, key, name));
    if (!value) return KD_OK;
    if (!json_is_number(value)) return kd_fail(KD_EFORMAT, "%s: \"%s\" is not a number", name, key);
    *out = json_number_value(value);
    if (found) *found = true;
    return KD_OK;
}

kd_status kd_json_maybe_bool(bool *out, bool *found, const json_t *object, const char *key, const char *name) {
    json_t *value;
    if (found) *found = false;
    KD_TRY(find(&value, object, key, name));
    if (!value) return KD_OK;
    if (!json_is_boolean(value)) return kd_fail(KD_EFORMAT, "%s: \"%s\" is neither true nor false", name, key);
    *out = json_is_true(value);
    if (found) *found = true;
    return KD_OK;
}

kd_status kd_json_maybe_string(const char **out, const json_t *object, const char *key, const char *name) {
    json_t *value;
    KD_TRY(find(&value, object, key, name));
    if (!value) return KD_OK;
    if (!json_is_string(value)) return kd_fail(KD_EFORMAT, "%s: \"%s\" is not a string", name, key);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return kd_fail(KD_EFORMAT, "%s: \"%s\" contains U+0000", name, key);
    *out = json_string_value(value);
    return KD_OK;
}

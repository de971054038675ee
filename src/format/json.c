/* The tree is jansson's, the reading is not: its reader drops bytes of a word, or reads on behind its buffer, when memory
 * for a longer word cannot be had, and so can neither be believed nor told from wrong text. */
#include "json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "json_scan.h"
#include "jsonl.h"

#define LIMIT ((int64_t)64 << 20)  /* bytes of a file: twice the largest tokenizer.json */
#define VALUES 3000000
#define DEPTH 64

typedef struct parser {
    kd_scan text;
    const char *copy, *data;  /* the text being overwritten, and as it was given */
    const char *name;
    int64_t line;             /* of the file, where the text begins */
    int64_t values;
} parser;

static kd_status fail_at(const parser *p, const char *at, const char *what) {
    int64_t offset = at - p->copy, line = p->line, first = 0;
    for (int64_t i = 0; i < offset; i++) {
        if (p->data[i] != '\n') continue;
        line++;
        first = i + 1;
    }
    return kd_fail(KD_EFORMAT, "%s:%lld:%lld: %s", p->name, (long long)line, (long long)(offset - first) + 1, what);
}

static kd_status fail_expected(const parser *p, const char *what) {
    char text[100];
    snprintf(text, sizeof text, p->text.at >= p->text.end ? "the file ends where %s should be" : "%s expected", what);
    return fail_at(p, p->text.at, text);
}

static kd_status fail_scan(const parser *p) {
    return p->text.missing ? fail_expected(p, p->text.wrong) : fail_at(p, p->text.at, p->text.wrong);
}

static kd_status made(json_t **out, json_t *value, const parser *p) {
    *out = value;
    return value ? KD_OK : kd_fail(KD_ENOMEM, "%s: out of memory", p->name);
}

/* ---- values ------------------------------------------------------------------------------------------------ */

static kd_status parse_value(json_t **out, parser *p, int depth);

static kd_status parse_object(json_t *object, parser *p, int depth) {
    p->text.at++;
    if (kd_scan_take(&p->text, '}')) return KD_OK;
    do {
        char *key, what[160];
        int64_t size;
        json_t *value;
        kd_scan_space(&p->text);
        const char *at = p->text.at;
        if (*at != '"') return fail_expected(p, "a key");
        if (!kd_scan_string(&key, &size, &p->text)) return fail_scan(p);
        if ((int64_t)strlen(key) != size) return fail_at(p, at, "U+0000 in a key");
        if (json_object_get(object, key)) {
            snprintf(what, sizeof what, "repeated key \"%.100s\"", key);
            return fail_at(p, at, what);
        }
        if (!kd_scan_take(&p->text, ':')) return fail_expected(p, "a colon");
        KD_TRY(parse_value(&value, p, depth + 1));
        if (json_object_set_new_nocheck(object, key, value)) return kd_fail(KD_ENOMEM, "%s: out of memory", p->name);
    } while (kd_scan_take(&p->text, ','));
    return kd_scan_take(&p->text, '}') ? KD_OK : fail_expected(p, "a comma or }");
}

static kd_status parse_array(json_t *array, parser *p, int depth) {
    p->text.at++;
    if (kd_scan_take(&p->text, ']')) return KD_OK;
    do {
        json_t *value;
        KD_TRY(parse_value(&value, p, depth + 1));
        if (json_array_append_new(array, value)) return kd_fail(KD_ENOMEM, "%s: out of memory", p->name);
    } while (kd_scan_take(&p->text, ','));
    return kd_scan_take(&p->text, ']') ? KD_OK : fail_expected(p, "a comma or ]");
}

static kd_status parse_number(json_t **out, parser *p) {
    const char *first = p->text.at;
    bool whole;
    if (!kd_scan_number(&whole, &p->text)) return fail_scan(p);
    if (whole) {
        errno = 0;
        long long value = strtoll(first, NULL, 10);
        if (errno == ERANGE) return fail_at(p, first, "an integer beyond 64 bits");
        return made(out, json_integer(value), p);
    }
    double value = kd_number_parse(first, NULL);
    if (!isfinite(value)) return fail_at(p, first, "a number beyond the range of double");
    return made(out, json_real(value), p);
}

/* *out is NULL after a failure. depth: objects and arrays around the value. */
static kd_status parse_value(json_t **out, parser *p, int depth) {
    char *text;
    int64_t size;
    *out = NULL;
    kd_scan_space(&p->text);
    char c = *p->text.at;
    if (++p->values > VALUES) return fail_at(p, p->text.at, "more than 3000000 values");
    if (c == '{' || c == '[') {
        if (depth >= DEPTH) return fail_at(p, p->text.at, "nested deeper than 64");
        KD_TRY(made(out, c == '{' ? json_object() : json_array(), p));
        kd_status status = c == '{' ? parse_object(*out, p, depth) : parse_array(*out, p, depth);
        if (!status) return KD_OK;
        json_decref(*out);
        *out = NULL;
        return status;
    }
    if (c == '"') {
        if (!kd_scan_string(&text, &size, &p->text)) return fail_scan(p);
        return made(out, json_stringn_nocheck(text, (size_t)size), p);
    }
    if (c == '-' || (c >= '0' && c <= '9')) return parse_number(out, p);
    if (kd_scan_name(&p->text, "true")) return made(out, json_true(), p);
    if (kd_scan_name(&p->text, "false")) return made(out, json_false(), p);
    if (kd_scan_name(&p->text, "null")) return made(out, json_null(), p);
    return fail_expected(p, "a value");
}

static kd_status parse_text(json_t **out, const char *data, int64_t size, const char *name, int64_t line, bool any) {
    char *copy;
    *out = NULL;
    KD_TRY(kd_new(&copy, size + 1, 1));
    memcpy(copy, data, (size_t)size);
    parser p = {.text = {.at = copy, .end = copy + size}, .copy = copy, .data = data, .name = name, .line = line};
    kd_status status;
    int64_t bad = kd_utf8_invalid(data, size);
    if (bad >= 0) KD_GO(fail_at(&p, copy + bad, "not valid UTF-8"));
    kd_scan_space(&p.text);
    if (!any && *p.text.at != '{' && *p.text.at != '[') KD_GO(fail_expected(&p, "an object or a list"));
    KD_GO(parse_value(out, &p, 0));
    kd_scan_space(&p.text);
    if (p.text.at < p.text.end) KD_GO(fail_at(&p, p.text.at, "something follows the end"));
done:
    if (status) {
        json_decref(*out);
        *out = NULL;
    }
    free(copy);
    return status;
}

kd_status kd_json_parse(json_t **out, const char *data, int64_t size, const char *name) {
    return parse_text(out, data, size, name, 1, false);
}

kd_status kd_json_parse_line(json_t **out, const char *data, int64_t size, const char *name, int64_t line) {
    return parse_text(out, data, size, name, line, false);
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
    json_t *back = NULL;
    *text = json_dumps(value, flags | JSON_ENCODE_ANY);
    bool same = *text && !parse_text(&back, *text, (int64_t)strlen(*text), name, 1, true) && json_equal(back, value);
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

/* As much of Python as the files need in which RULER keeps its texts: literals that are assigned to a name. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "format/jsonl.h"
#include "letters.h"
#include "ruler_wording.h"

typedef struct python { const char *text; int64_t at, size; const char *path; int64_t depth; /* brackets that are open */ } python;

static int64_t line_of(const python *p) {
    int64_t line = 1;
    for (int64_t i = 0; i < p->at && i < p->size; i++) line += p->text[i] == '\n';
    return line;
}

static kd_status fail(const python *p, const char *what) {
    return kd_fail(KD_EFORMAT, "%s:%lld: %s", p->path, (long long)line_of(p), what);
}

static char peek(const python *p, int64_t ahead) { return p->at + ahead < p->size ? p->text[p->at + ahead] : 0; }

static bool is_name(char c) { return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80; }

/* ---- strings ---------------------------------------------------------------------------------------------------------------- */

static kd_status add_point(kd_text *out, const python *p, int32_t c) {
    char *text;
    int64_t size;
    kd_letters one = {&c, 1};
    if (c <= 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return fail(p, "an escape that is no character");
    KD_TRY(kd_letters_text(&text, &size, &one));
    kd_text_add(out, text, size);
    free(text);
    return KD_OK;
}

static kd_status add_digits(kd_text *out, python *p, int digits) {
    int32_t c = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        char d = peek(p, 0);
        if (!isxdigit((unsigned char)d)) return fail(p, "an escape with too few digits");
        c = c > 0x10ffff ? c : c * 16 + (isdigit((unsigned char)d) ? d - '0' : (d | 32) - 'a' + 10);
    }
    return add_point(out, p, c);
}

/* Behind the backslash. */
static kd_status add_escape(kd_text *out, python *p) {
    static const char letter[] = "ntr\\'\"abfv", meaning[] = "\n\t\r\\'\"\a\b\f\v";
    char c = peek(p, 0);
    p->at++;
    if (c == '\n') return KD_OK;
    const char *known = c ? strchr(letter, c) : NULL;
    if (known) {
        kd_text_add(out, &meaning[known - letter], 1);
        return KD_OK;
    }
    if (c == 'x') return add_digits(out, p, 2);
    if (c == 'u') return add_digits(out, p, 4);
    if (c == 'U') return add_digits(out, p, 8);
    return fail(p, "an escape that is not understood here");
}

/* A string at its opening quote or prefix; out NULL: it is passed over. */
static kd_status read_string(kd_text *out, python *p) {
    kd_text nothing = {0};
    bool raw = false, format = false;
    for (; is_name(peek(p, 0)); p->at++) {
        raw |= (peek(p, 0) | 32) == 'r';
        format |= !strchr("rRuU", peek(p, 0));
    }
    if (format && out) return fail(p, "only plain and raw strings are understood here");
    char quote = peek(p, 0);
    bool three = peek(p, 1) == quote && peek(p, 2) == quote;
    kd_status status = KD_OK;
    kd_text *to = out ? out : &nothing;
    p->at += three ? 3 : 1;
    while (!status) {
        char c = peek(p, 0);
        if (p->at >= p->size || (c == '\n' && !three)) {
            status = fail(p, "a string that does not end");
        } else if (c == quote && (!three || (peek(p, 1) == quote && peek(p, 2) == quote))) {
            p->at += three ? 3 : 1;
            break;
        } else if (!c || (c == '\\' && raw && !peek(p, 1))) {
            status = fail(p, "a NUL in a string, or its end");
        } else if (c == '\\' && raw) {
            kd_text_add(to, p->text + p->at, 2);
            p->at += 2;
        } else if (c == '\\' && out) {
            p->at++;
            status = add_escape(to, p);
        } else {
            if (c == '\\') p->at++;
            kd_text_add(to, &c, 1);
            p->at++;
        }
    }
    kd_text_free(&nothing);
    return status;
}

static bool at_string(const python *p) {
    int64_t i = 0;
    while (i < 3 && strchr("rRuUbBfF", peek(p, i)) && peek(p, i)) i++;
    return peek(p, i) == '"' || peek(p, i) == '\'';
}

/* ---- values ----------------------------------------------------------------------------------------------------------------- */

/* Spaces and comments, and inside brackets line ends. */
static void skip_space(python *p) {
    for (;; p->at++) {
        char c = peek(p, 0);
        if (c == '#')
            while (p->at < p->size && peek(p, 0) != '\n') p->at++;
        c = peek(p, 0);
        if (c == '\\' && peek(p, 1) == '\n') p->at++;
        else if (c != ' ' && c != '\t' && c != '\r' && !(c == '\n' && p->depth)) return;
    }
}

static kd_status read_value(json_t **out, python *p, int nesting);

static kd_status read_texts(json_t **out, python *p) {
    kd_text text = {0};
    kd_status status = KD_OK;
    for (skip_space(p); at_string(p) && !status; skip_space(p)) status = read_string(&text, p);
    if (!status) status = kd_text_status(&text);
    if (!status && text.size && kd_utf8_invalid(text.data, text.size) >= 0) status = fail(p, "a string that is not UTF-8");
    if (!status && !(*out = json_stringn(text.data ? text.data : "", (size_t)text.size))) status = kd_fail(KD_ENOMEM, "out of memory");
    kd_text_free(&text);
    return status;
}

static kd_status read_pair(json_t *dictionary, python *p, int nesting) {
    json_t *key = NULL, *value = NULL;
    kd_status status;
    if (!at_string(p)) return fail(p, "a key that is no string");
    KD_GO(read_texts(&key, p));
    if (peek(p, 0) != ':') {
        status = fail(p, "no colon behind a key");
        goto done;
    }
    p->at++;
    KD_GO(read_value(&value, p, nesting + 1));
    if (json_object_get(dictionary, json_string_value(key))) {
        status = kd_fail(KD_EFORMAT, "%s:%lld: the key \"%s\" stands twice", p->path, (long long)line_of(p), json_string_value(key));
        goto done;
    }
    if (json_object_set(dictionary, json_string_value(key), value)) status = kd_fail(KD_ENOMEM, "out of memory");
done:
    json_decref(key);
    json_decref(value);
    return status;
}

static kd_status read_dictionary(json_t **out, python *p, int nesting) {
    kd_status status = KD_OK;
    *out = json_object();
    if (!*out) return kd_fail(KD_ENOMEM, "out of memory");
    p->depth++;
    p->at++;
    for (skip_space(p); !status && peek(p, 0) != '}'; skip_space(p)) {
        status = read_pair(*out, p, nesting);
        skip_space(p);
        if (!status && peek(p, 0) == ',') p->at++;
        else if (!status && peek(p, 0) != '}') status = fail(p, "neither a comma nor a closing brace");
    }
    p->depth--;
    p->at++;
    return status;
}

static kd_status read_number(json_t **out, python *p) {
    int64_t n = 0;
    for (; isdigit((unsigned char)peek(p, 0)); p->at++) {
        if (n > 1000000000) return fail(p, "a number that is too large");
        n = n * 10 + peek(p, 0) - '0';
    }
    if (is_name(peek(p, 0)) || peek(p, 0) == '.') return fail(p, "a number that is not whole");
    *out = json_integer(n);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

static kd_status read_value(json_t **out, python *p, int nesting) {
    if (nesting > 8) return fail(p, "nested too deep");
    skip_space(p);
    if (at_string(p)) return read_texts(out, p);
    if (peek(p, 0) == '{') return read_dictionary(out, p, nesting);
    if (isdigit((unsigned char)peek(p, 0))) return read_number(out, p);
    if (peek(p, 0) != '(') return fail(p, "a value that is no literal");
    p->depth++;
    p->at++;
    kd_status status = read_value(out, p, nesting + 1);
    skip_space(p);
    p->depth--;
    if (!status && peek(p, 0) != ')') status = fail(p, "no closing bracket");
    p->at++;
    return status;
}

/* ---- statements ------------------------------------------------------------------------------------------------------------- */

static bool begins_literal(const python *p) {
    char c = peek(p, 0);
    return at_string(p) || c == '{' || c == '(' || isdigit((unsigned char)c);
}

/* To behind the end of a statement. */
static kd_status skip_statement(python *p) {
    while (p->at < p->size) {
        char c = peek(p, 0);
        bool word = p->at > 0 && is_name(p->text[p->at - 1]);
        if (c == '#') {
            while (p->at < p->size && peek(p, 0) != '\n') p->at++;
            continue;
        }
        if (c == '\\' && peek(p, 1) == '\n') p->at++;
        else if (!word && at_string(p)) {
            KD_TRY(read_string(NULL, p));
            continue;
        } else if (c == '"' || c == '\'') {
            KD_TRY(read_string(NULL, p));
            continue;
        } else if (strchr("([{", c) && c) p->depth++;
        else if (strchr(")]}", c) && c) p->depth -= p->depth > 0;
        p->at++;
        if (c == '\n' && !p->depth) return KD_OK;
    }
    p->depth = 0;
    return KD_OK;
}

/* At the value of an assignment to the name; *yes false: the statement is another. */
static bool assigns(python *p, const char *name) {
    int64_t n = (int64_t)strlen(name);
    while (peek(p, 0) == ' ' || peek(p, 0) == '\t') p->at++;
    if (p->size - p->at <= n || memcmp(p->text + p->at, name, (size_t)n) || is_name(peek(p, n))) return false;
    p->at += n;
    skip_space(p);
    if (peek(p, 0) != '=' || peek(p, 1) == '=') return false;
    p->at++;
    skip_space(p);
    return begins_literal(p);
}

kd_status kd_python_literal_parse(json_t **out, const char *text, int64_t size, const char *path, const char *name) {
    python p = {text, 0, size, path, 0};
    kd_status status = KD_OK;
    *out = NULL;
    while (p.at < p.size && !status) {
        if (!assigns(&p, name)) {
            status = skip_statement(&p);
            continue;
        }
        status = read_value(out, &p, 0);
        skip_space(&p);
        if (!status && p.at < p.size && peek(&p, 0) != '\n' && peek(&p, 0) != ';') status = fail(&p, "more than a literal");
        break;
    }
    if (!status && !*out) status = kd_fail(KD_EFORMAT, "%s: no literal is assigned to %s", path, name);
    if (status) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}

kd_status kd_python_literal(json_t **out, const char *path, const char *name) {
    char *text = NULL;
    int64_t size;
    *out = NULL;
    KD_TRY(kd_file_read(&text, &size, path, 16 << 20));
    kd_status status = kd_python_literal_parse(out, text, size, path, name);
    free(text);
    return status;
}

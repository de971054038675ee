/* A scalar's text as a number, a size or a bool; and the nearest word for a misspelt one. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "yaml.h"

static kd_status fail_type(const kd_yaml *node, const char *where, const char *name, const char *wanted) {
    char place[64] = "", value[128];
    if (node->line > 0) snprintf(place, sizeof place, ":%d", node->line);
    if (node->kind == KD_YAML_LIST) snprintf(value, sizeof value, "a list");
    else if (node->kind == KD_YAML_MAP) snprintf(value, sizeof value, "a map");
    else if (node->quoted) snprintf(value, sizeof value, "\"%.80s\" in quotes is a text and", node->text);
    else if (!*node->text) snprintf(value, sizeof value, "an empty value");
    else snprintf(value, sizeof value, "\"%.80s\"", node->text);
    return kd_fail(KD_ECONFIG, "%s%s: %s%s: %s is not %s", name, place, where, node->line > 0 ? "" : " (override)",
                   value, wanted);
}

static const char *plain(const kd_yaml *node) {
    return node->kind == KD_YAML_SCALAR && !node->quoted ? node->text : "";
}

/* [+-] digits into out, *end behind them; false if there are none or too many. */
static bool read_int(int64_t *out, const char **end, const char *text) {
    const char *digit = text + (*text == '-' || *text == '+');
    if (*digit < '0' || *digit > '9') return false;  /* strtoll would skip spaces */
    char *stop;
    errno = 0;
    long long value = strtoll(text, &stop, 10);
    *out = value;
    *end = stop;
    return errno == 0;
}

kd_status kd_yaml_int(int64_t *out, const kd_yaml *node, const char *where, const char *name) {
    const char *end;
    int64_t value;
    if (!read_int(&value, &end, plain(node)) || *end) return fail_type(node, where, name, "an integer");
    *out = value;
    return KD_OK;
}

kd_status kd_yaml_size(int64_t *out, const kd_yaml *node, const char *where, const char *name) {
    const char *end;
    int64_t value, unit = 1;
    bool right = read_int(&value, &end, plain(node)) && value >= 0;
    if (right && *end) unit = *end == 'K' ? 1 << 10 : *end == 'M' ? 1 << 20 : *end == 'G' ? 1 << 30 : 1;
    if (unit > 1) end++;
    if (!right || *end || __builtin_mul_overflow(value, unit, &value))
        return fail_type(node, where, name, "a size (such as 4096, 64K or 1M)");
    *out = value;
    return KD_OK;
}

/* [+-] digits [. digits] [e [+-] digits], with a digit before or behind the point: no hexadecimal, no infinity. */
static bool looks_like_number(const char *text) {
    const char *p = text + (*text == '-' || *text == '+');
    size_t whole = strspn(p, "0123456789"), part = 0;
    p += whole;
    if (*p == '.') {
        part = strspn(++p, "0123456789");
        p += part;
    }
    if (!whole && !part) return false;
    if (*p == 'e' || *p == 'E') {
        p += 1 + (p[1] == '-' || p[1] == '+');
        size_t power = strspn(p, "0123456789");
        if (!power) return false;
        p += power;
    }
    return *p == 0;
}

kd_status kd_yaml_number(double *out, const kd_yaml *node, const char *where, const char *name) {
    const char *text = plain(node);
    char *end = NULL;
    double value = looks_like_number(text) ? kd_number_parse(text, &end) : 0;
    if (!end || *end || !isfinite(value)) return fail_type(node, where, name, "a number");
    *out = value;
    return KD_OK;
}

kd_status kd_yaml_bool(bool *out, const kd_yaml *node, const char *where, const char *name) {
    bool yes = strcmp(plain(node), "true") == 0;
    if (!yes && strcmp(plain(node), "false") != 0) return fail_type(node, where, name, "true or false");
    *out = yes;
    return KD_OK;
}

/* ---- did you mean ------------------------------------------------------------------------------------------ */

#define WORD 64 /* characters of the longest word that is compared */

/* Levenshtein 1966, one row of the table at a time. */
static int64_t distance(const char *a, const char *b) {
    int64_t row[WORD + 1], size_a = (int64_t)strlen(a), size_b = (int64_t)strlen(b);
    if (size_a > WORD || size_b > WORD) return INT64_MAX;
    for (int64_t j = 0; j <= size_b; j++) row[j] = j;
    for (int64_t i = 1; i <= size_a; i++) {
        int64_t corner = row[0];
        row[0] = i;
        for (int64_t j = 1; j <= size_b; j++) {
            int64_t best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[size_b];
}

const char *kd_nearest(const char *word, const char *const *candidate, int64_t count) {
    const char *nearest = NULL;
    int64_t size = (int64_t)strlen(word), limit = size / 2 > 2 ? size / 2 : 2;
    for (int64_t i = 0; i < count; i++) {
        int64_t d = distance(word, candidate[i]);
        /* Two short words without a letter in common are as far apart as the longer one is long. */
        int64_t longer = (int64_t)strlen(candidate[i]) > size ? (int64_t)strlen(candidate[i]) : size;
        if (d > limit || d >= longer) continue;
        nearest = candidate[i];
        limit = d - 1;
    }
    return nearest;
}

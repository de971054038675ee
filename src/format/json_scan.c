/* Strings are decoded in place, which never needs more room than their escaped form. Source: RFC 8259. */
#include "json_scan.h"

#include <string.h>

static bool fail(kd_scan *s, char *at, const char *wrong) {
    s->at = at;
    s->wrong = wrong;
    s->missing = false;
    return false;
}

void kd_scan_space(kd_scan *s) {
    while (*s->at == ' ' || *s->at == '\t' || *s->at == '\r' || *s->at == '\n') s->at++;
}

bool kd_scan_take(kd_scan *s, char c) {
    kd_scan_space(s);
    if (*s->at != c || s->at >= s->end) return false;
    s->at++;
    return true;
}

bool kd_scan_name(kd_scan *s, const char *name) {
    size_t size = strlen(name);
    if ((size_t)(s->end - s->at) < size || memcmp(s->at, name, size) != 0) return false;
    s->at += size;
    return true;
}

/* ---- strings ----------------------------------------------------------------------------------------------- */

/* Four hexadecimal digits at `at`, or -1. */
static int hex4(const char *at) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];  /* the NUL at the end stops this before it leaves the line */
        char letter = (char)(c | 0x20);
        if (c >= '0' && c <= '9') value = value << 4 | (c - '0');
        else if (letter >= 'a' && letter <= 'f') value = value << 4 | (letter - 'a' + 10);
        else return -1;
    }
    return value;
}

static char *put_utf8(char *out, int c) {
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* s->at is behind a backslash; *out advances by the character. */
static bool decode_escape(kd_scan *s, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = *s->at;
    const char *found = c ? strchr(from, c) : NULL;
    if (found) {
        *(*out)++ = to[found - from];
        s->at++;
        return true;
    }
    if (c != 'u') return fail(s, s->at - 1, "not an escape");
    int unit = hex4(s->at + 1);
    if (unit < 0) return fail(s, s->at - 1, "\\u without four hexadecimal digits");
    if (unit >= 0xd800 && unit < 0xe000) {
        int second = unit < 0xdc00 && s->at[5] == '\\' && s->at[6] == 'u' ? hex4(s->at + 7) : -1;
        if (second < 0xdc00 || second > 0xdfff) return fail(s, s->at - 1, "half of a surrogate pair");
        unit = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
        s->at += 6;
    }
    *out = put_utf8(*out, unit);
    s->at += 5;
    return true;
}

/* Not 0 iff a byte of x is below n <= 128. Source: Anderson, Bit Twiddling Hacks. */
static uint64_t below(uint64_t x, uint64_t n) {
    return (x - n * 0x0101010101010101u) & ~x & 0x8080808080808080u;
}

/* Does the word hold a quote, a backslash or a control character? */
static uint64_t special(uint64_t x) {
    return below(x, 0x20) | below(x ^ 0x2222222222222222u, 1) | below(x ^ 0x5c5c5c5c5c5c5c5cu, 1);
}

bool kd_scan_string(char **text, int64_t *size, kd_scan *s) {
    char *out = ++s->at;
    *text = out;
    for (;;) {
        /* out <= at, and a word is stored only when all of it is taken: what is not read yet is never overwritten. */
        for (uint64_t word; s->end - s->at >= 8; s->at += 8, out += 8) {
            memcpy(&word, s->at, 8);
            if (special(word)) break;
            memcpy(out, &word, 8);
        }
        unsigned char c = (unsigned char)*s->at;
        while (c >= 0x20 && c != '"' && c != '\\') {
            *out++ = (char)c;
            c = (unsigned char)*++s->at;
        }
        if (c == '"') break;
        if (s->at >= s->end) {
            s->wrong = "the end of a string";
            s->missing = true;
            return false;
        }
        if (c != '\\') return fail(s, s->at, "a control character in a string");
        s->at++;
        if (!decode_escape(s, &out)) return false;
    }
    s->at++;
    *size = out - *text;
    *out = 0;
    return true;
}

/* ---- numbers ----------------------------------------------------------------------------------------------- */

static bool digits(kd_scan *s) {
    const char *first = s->at;
    while (*s->at >= '0' && *s->at <= '9') s->at++;
    return s->at > first;
}

bool kd_scan_number(bool *whole, kd_scan *s) {
    char *first = s->at;
    bool right = true;
    if (*s->at == '-') s->at++;
    *whole = *s->at != '0' || s->at == first;
    if (*s->at == '0') s->at++;
    else right = digits(s);
    if (right && *s->at == '.') {
        s->at++;
        *whole = false;
        right = digits(s);
    }
    if (right && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        *whole = false;
        if (*s->at == '+' || *s->at == '-') s->at++;
        right = digits(s);
    }
    return right || fail(s, first, "not a number");
}

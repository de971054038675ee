#include "letters.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/arena.h"

enum { REPLACED = 0xfffd, DOTTED_I = 0x130, SIGMA = 0x3a3, FINAL_SIGMA = 0x3c2 };

/* The character at text, of which `left` bytes are left; its bytes. */
static int64_t get(int32_t *c, const char *text, int64_t left) {
    utf8proc_ssize_t size = utf8proc_iterate((const utf8proc_uint8_t *)text, left, c);
    if (size > 0) return size;
    *c = REPLACED;
    return 1;
}

kd_status kd_letters_open(kd_letters *l, const char *text, int64_t size) {
    *l = (kd_letters){0};
    KD_TRY(kd_new(&l->c, size, sizeof *l->c));
    for (int64_t at = 0; at < size; l->n++) at += get(&l->c[l->n], text + at, size - at);
    return KD_OK;
}

void kd_letters_free(kd_letters *l) {
    free(l->c);
    *l = (kd_letters){0};
}

bool kd_letter_space(int32_t c) {
    if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 28 && c <= 32);
    return c == 0x85 || utf8proc_category(c) == UTF8PROC_CATEGORY_ZS || c == 0x2028 || c == 0x2029;
}

bool kd_letter_word(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return c == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static bool cased(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT;
}

/* What stands between letters without being one: marks, formats, modifiers, and the apostrophe and its like. */
static bool ignored(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_ME || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_LM ||
           category == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x2019;
}

static bool final_sigma(const kd_letters *l, int64_t at) {
    int64_t before = at - 1, after = at + 1;
    while (before >= 0 && ignored(l->c[before])) before--;
    while (after < l->n && ignored(l->c[after])) after++;
    return before >= 0 && cased(l->c[before]) && !(after < l->n && cased(l->c[after]));
}

/* Letters from `from` on in lower case; out has room for twice as many. */
static void lower(kd_letters *out, const kd_letters *l, int64_t from) {
    for (int64_t i = from; i < l->n; i++) {
        int32_t c = l->c[i];
        out->c[out->n++] = c == SIGMA && final_sigma(l, i) ? FINAL_SIGMA : c == DOTTED_I ? 'i' : utf8proc_tolower(c);
        if (c == DOTTED_I) out->c[out->n++] = 0x307;
    }
}

/* Letters whose title case is more than one. */
static const struct { int32_t c; const char *title; } longer[] = {
    {0xdf, "Ss"}, {0xfb00, "Ff"}, {0xfb01, "Fi"}, {0xfb02, "Fl"}, {0xfb03, "Ffi"}, {0xfb04, "Ffl"}, {0xfb05, "St"}, {0xfb06, "St"}};

static void title(kd_letters *out, int32_t c) {
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++)
        if (longer[i].c == c) {
            for (const char *t = longer[i].title; *t; t++) out->c[out->n++] = *t;
            return;
        }
    out->c[out->n++] = utf8proc_totitle(c);
}

static kd_status change(kd_letters *out, const char *text, int64_t size, bool capital) {
    kd_letters l;
    kd_status status;
    *out = (kd_letters){0};
    KD_GO(kd_letters_open(&l, text, size));
    KD_GO(kd_new(&out->c, 2 * l.n + 4, sizeof *out->c));
    if (capital && l.n > 0) title(out, l.c[0]);
    lower(out, &l, capital && l.n > 0);
done:
    kd_letters_free(&l);
    return status;
}

kd_status kd_letters_lower(kd_letters *out, const char *text, int64_t size) { return change(out, text, size, false); }
kd_status kd_letters_capitalize(kd_letters *out, const char *text, int64_t size) { return change(out, text, size, true); }

kd_status kd_letters_text(char **out, int64_t *size, const kd_letters *l) {
    KD_TRY(kd_new(out, 4 * l->n + 1, 1));
    *size = 0;
    for (int64_t i = 0; i < l->n; i++) *size += utf8proc_encode_char(l->c[i], (utf8proc_uint8_t *)*out + *size);
    return KD_OK;
}

void kd_text_strip(const char **out, int64_t *size, const char *text, int64_t length) {
    int64_t begin = 0, end = 0;
    bool inside = false;
    int32_t c;
    for (int64_t at = 0, step; at < length; at += step) {
        step = get(&c, text + at, length - at);
        if (kd_letter_space(c)) continue;
        if (!inside) begin = at;
        inside = true;
        end = at + step;
    }
    *out = text + begin, *size = inside ? end - begin : 0;
}

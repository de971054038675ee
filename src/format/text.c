#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonl.h"

static bool grow(kd_text *text, int64_t more) {
    if (text->failed) return false;
    if (text->size + more < text->room) return true;
    int64_t room = text->room ? text->room : 4096;
    while (room <= text->size + more) room *= 2;
    char *data = realloc(text->data, (size_t)room);
    text->failed = !data;
    if (!data) return false;
    text->data = data;
    text->room = room;
    return true;
}

void kd_text_add(kd_text *text, const char *what, int64_t size) {
    if (!grow(text, size)) return;
    memcpy(text->data + text->size, what, (size_t)size);
    text->size += size;
    text->data[text->size] = 0;
}

void kd_text_put(kd_text *text, const char *what) { kd_text_add(text, what, (int64_t)strlen(what)); }

void kd_text_print(kd_text *text, const char *format, ...) {
    va_list list;
    va_start(list, format);
    int size = vsnprintf(NULL, 0, format, list);
    va_end(list);
    if (size < 0 || !grow(text, size)) return;
    va_start(list, format);
    vsnprintf(text->data + text->size, (size_t)size + 1, format, list);
    va_end(list);
    text->size += size;
}

void kd_text_escape(kd_text *text, const char *what) {
    if (!what) return;
    int64_t left = (int64_t)strlen(what), valid = kd_utf8_invalid(what, left);
    if (valid < 0) valid = left;
    for (; left; what++, left--, valid--) {
        char c = *what;
        if (!valid) {
            kd_text_put(text, "?");
            valid = kd_utf8_invalid(what + 1, left - 1);
            valid = valid < 0 ? left : valid + 1;
        } else if (c == '&') kd_text_put(text, "&amp;");
        else if (c == '<') kd_text_put(text, "&lt;");
        else if (c == '>') kd_text_put(text, "&gt;");
        else if (c == '"') kd_text_put(text, "&quot;");
        else if (c == '\'') kd_text_put(text, "&#39;");
        else if ((unsigned char)c == 127 || ((unsigned char)c < 32 && c != '\n' && c != '\t')) kd_text_put(text, "?");
        else kd_text_add(text, &c, 1);
    }
}

void kd_text_quote(kd_text *out, const char *text, int64_t size) {
    kd_text_put(out, "\"");
    while (size > 0) {
        int64_t valid = kd_utf8_invalid(text, size), begin = 0;
        if (valid < 0) valid = size;
        for (int64_t i = 0; i <= valid; i++) {
            unsigned char c = i < valid ? (unsigned char)text[i] : 0;
            if (c >= 0x20 && c != '"' && c != '\\') continue;
            kd_text_add(out, text + begin, i - begin);
            begin = i + 1;
            if (i == valid) break;
            if (c == '\n') kd_text_put(out, "\\n");
            else if (c < 0x20) kd_text_print(out, "\\u%04x", c);
            else kd_text_print(out, "\\%c", c);
        }
        if (valid < size) kd_text_put(out, "\xef\xbf\xbd");
        valid += valid < size;
        text += valid;
        size -= valid;
    }
    kd_text_put(out, "\"");
}

void kd_text_field(kd_text *text, const char *what) {
    if (!strpbrk(what, ",\"\r\n")) {
        kd_text_put(text, what);
        return;
    }
    kd_text_put(text, "\"");
    for (; *what; what++) {
        if (*what == '"') kd_text_put(text, "\"");
        kd_text_add(text, what, 1);
    }
    kd_text_put(text, "\"");
}

void kd_text_base64(kd_text *text, const void *data, int64_t size) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *at = data;
    for (int64_t i = 0; i < size; i += 3) {
        int64_t have = size - i < 3 ? size - i : 3;
        uint32_t bits = (uint32_t)at[i] << 16 | (have > 1 ? (uint32_t)at[i + 1] << 8 : 0) | (have > 2 ? at[i + 2] : 0);
        char four[4];
        for (int k = 0; k < 4; k++) four[k] = k <= have ? digit[bits >> (18 - 6 * k) & 63] : '=';
        kd_text_add(text, four, 4);
    }
}

kd_status kd_text_status(const kd_text *text) {
    return text->failed ? kd_fail(KD_ENOMEM, "out of memory: a text of %lld bytes", (long long)text->size) : KD_OK;
}

void kd_text_free(kd_text *text) {
    free(text->data);
    *text = (kd_text){0};
}

/* Valid UTF-8 as Unicode 15, table 3-7, has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#include <string.h>

#include "jsonl.h"

/* Bytes of the character at p, of which there are `left`; 0 if it is not valid. */
static int64_t character(const unsigned char *p, int64_t left) {
    unsigned char lead = p[0], low = 0x80, high = 0xbf;
    int64_t size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (size > left) return 0;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    if (size > 1 && (p[1] < low || p[1] > high)) return 0;
    for (int64_t i = 2; i < size; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return size;
}

int64_t kd_utf8_invalid(const char *text, int64_t size) {
    for (int64_t at = 0; at < size;) {
        uint64_t word[4];
        if (size - at >= (int64_t)sizeof word) {  /* most text is ASCII most of the time */
            memcpy(word, text + at, sizeof word);
            if (((word[0] | word[1] | word[2] | word[3]) & 0x8080808080808080u) == 0) {
                at += (int64_t)sizeof word;
                continue;
            }
        }
        /* A stretch of the same length one character at a time, so that it is not looked at again and again. */
        for (int64_t end = at + (int64_t)sizeof word; at < size && at < end;) {
            int64_t step = character((const unsigned char *)text + at, size - at);
            if (step == 0) return at;
            at += step;
        }
    }
    return -1;
}

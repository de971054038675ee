#define _GNU_SOURCE
#include "number.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

/* The locale "C" takes no memory, in glibc and in musl. Should it not be had, the program's own is used, which is right
 * in most programs. */
static locale_t plain_locale(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); }

double kd_number_parse(const char *text, char **end) {
    locale_t plain = plain_locale();
    if (!plain) return strtod(text, end);
    double value = strtod_l(text, end, plain);
    freelocale(plain);
    return value;
}

void kd_number_print(char text[KD_NUMBER_TEXT], double value) {
    locale_t plain = plain_locale(), before = plain ? uselocale(plain) : (locale_t)0;
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, KD_NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    if (!plain) return;
    uselocale(before);
    freelocale(plain);
}

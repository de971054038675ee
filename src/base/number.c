#define _GNU_SOURCE
#include "number.h"

#include <locale.h>
#include <stdlib.h>

/* newlocale gives "C" without a reservation of memory, here and in musl; were it to fail, strtod is right in most
 * programs. */
double kd_number_parse(const char *text, char **end) {
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) return strtod(text, end);
    double value = strtod_l(text, end, plain);
    freelocale(plain);
    return value;
}

/* The thread's message: the only mutable state of the library that is not an object. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_SIZE 1024

static _Thread_local char message[MESSAGE_SIZE] = "no error";

const char *kd_message(void) { return message; }

void kd_text_plain(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) *text = '?';
}

void kd_message_set(const char *text) {
    if (text != message) snprintf(message, sizeof message, "%s", text);
    kd_text_plain(message);
}

const char *kd_status_name(kd_status status) {
    static const char *const name[] = {"ok", "argument", "memory", "io", "format", "config",
                                       "not supported", "busy", "numeric", "again", "lost"};
    return (unsigned)status < sizeof name / sizeof *name ? name[status] : "unknown";
}

kd_status kd_fail(kd_status status, const char *format, ...) {
    char text[MESSAGE_SIZE];  /* the arguments may point into the old message */
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    kd_message_set(text);
    return status;
}

kd_status kd_fail_errno(kd_status status, const char *format, ...) {
    bool out_of_memory = errno == ENOMEM;
    const char *reason = strerror(errno);
    char text[MESSAGE_SIZE];
    va_list list;
    va_start(list, format);
    int used = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (used >= 0 && used < (int)sizeof text) snprintf(text + used, sizeof text - (size_t)used, ": %s", reason);
    kd_message_set(text);
    return out_of_memory ? KD_ENOMEM : status;
}

kd_status kd_fail_prefix(kd_status status, const char *format, ...) {
    char text[MESSAGE_SIZE];
    va_list list;
    va_start(list, format);
    int used = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (used < 0 || used > MESSAGE_SIZE / 2) used = MESSAGE_SIZE / 2;
    snprintf(text + used, sizeof text - (size_t)used, ": %.*s", MESSAGE_SIZE / 2 - 8, message);
    kd_message_set(text);
    return status;
}

/* Failures: found once, with values, in one line; then propagated unchanged. */
#ifndef KD_ERROR_H
#define KD_ERROR_H

#include "kedge.h"

/* Records the message for this thread and returns status. */
kd_status kd_fail(kd_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As kd_fail, with the system's reason (errno) appended; KD_ENOMEM where that is ENOMEM. */
kd_status kd_fail_errno(kd_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " in front of the recorded message; returns status. For a caller that knows the place. */
kd_status kd_fail_prefix(kd_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes over a message that another thread recorded. Control characters become question marks: names out of files stand
 * in messages, which are one line and no orders to a terminal. */
void kd_message_set(const char *message);
void kd_text_plain(char *text);  /* that, for any text */

#define KD_TRY(call)                                                                                              \
    do {                                                                                                          \
        kd_status kd_try_status = (call);                                                                         \
        if (kd_try_status) return kd_try_status;                                                                  \
    } while (0)

/* The same in a function with one exit: a local `status` and a label `done`. */
#define KD_GO(call)                                                                                               \
    do {                                                                                                          \
        status = (call);                                                                                          \
        if (status) goto done;                                                                                    \
    } while (0)

#endif

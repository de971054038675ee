/* What tests of files share: a folder of their own, and what a failure said. Include cmocka.h first. */
#ifndef KD_TEST_SCRATCH_H
#define KD_TEST_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "sanitized.h"

static char scratch[512];  /* the folder */

static inline int scratch_open(void **state) {
    const char *folder = getenv("TMPDIR");
    (void)state;
    snprintf(scratch, sizeof scratch, "%s/kedge-test-XXXXXX", folder && *folder ? folder : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

/* For tests that sync thousands of times; call before scratch_open. */
static inline void scratch_in_memory(void) {
    if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
}

static inline int scratch_close(void **state) {
    (void)state;
    return kd_remove_tree(scratch) ? -1 : 0;
}

/* "folder/name", valid until the eighth call after it. */
static inline const char *in_scratch(const char *name) {
    static char path[8][1024];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", scratch, name);
    return path[turn];
}

/* Writes a file into the folder and returns its path; without a sync, which thousands of small files would wait for. */
static inline const char *scratch_file(const char *name, const void *data, int64_t size) {
    const char *path = in_scratch(name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, (size_t)size, file), size);
    assert_int_equal(fclose(file), 0);
    return path;
}

static inline const char *scratch_text(const char *name, const char *text) {
    return scratch_file(name, text, (int64_t)strlen(text));
}

/* The call failed with this status, and its message has all of these words. */
#define assert_fails(call, wanted, ...)                                                                           \
    do {                                                                                                          \
        kd_status kd_got = (call);                                                                                \
        const char *const kd_words[] = {__VA_ARGS__};                                                             \
        assert_string_equal(kd_status_name(kd_got), kd_status_name(wanted));                                      \
        for (size_t kd_i = 0; kd_i < sizeof kd_words / sizeof *kd_words; kd_i++)                                  \
            if (!strstr(kd_message(), kd_words[kd_i]))                                                            \
                fail_msg("\"%s\" is not in \"%s\"", kd_words[kd_i], kd_message());                                \
    } while (0)

/* The call succeeded; otherwise its message is shown. */
#define assert_done(call)                                                                                         \
    do {                                                                                                          \
        if (call) fail_msg("%s", kd_message());                                                                   \
    } while (0)

#endif

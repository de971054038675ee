/* What the targets share. Each is one file with LLVMFuzzerTestOneInput: linked with libFuzzer by `make fuzz`, and with
 * replay.c, which runs it over its corpus in `make check`. A target aborts when what it read contradicts itself. */
#ifndef KD_FUZZ_H
#define KD_FUZZ_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_ASSERT(condition)                                                                                    \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, kd_message());            \
            abort();                                                                                              \
        }                                                                                                         \
    } while (0)

/* A failure names the file or its place, in one line. */
static inline void fuzz_refused(const char *name) {
    FUZZ_ASSERT(strstr(kd_message(), name));
    for (const char *c = kd_message(); *c; c++) FUZZ_ASSERT((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static char fuzz_folder[256];

static inline void fuzz_remove(void) { (void)kd_remove_tree(fuzz_folder); }

/* A file of these bytes; its name, always the same in a target (two at most), tells what it is taken for. It lies in
 * memory: a disk would take milliseconds. */
static inline const char *fuzz_file(const char *name, const uint8_t *data, size_t size) {
    static struct { char name[64], path[512]; int fd; } files[2];
    const size_t most = sizeof files / sizeof *files;
    size_t i = 0;
    while (i < most && *files[i].name && strcmp(files[i].name, name) != 0) i++;
    FUZZ_ASSERT(i < most);
    if (!*files[i].name) {
        const char *folder = getenv("TMPDIR");
        char memory[64];
        snprintf(files[i].name, sizeof files[i].name, "%s", name);
        snprintf(memory, sizeof memory, "/kedge-fuzz-%lld", (long long)getpid());
        files[i].fd = shm_open(memory, O_RDWR | O_CREAT | O_EXCL, 0600);
        FUZZ_ASSERT(files[i].fd >= 0 && !shm_unlink(memory));
        if (!*fuzz_folder) {
            snprintf(fuzz_folder, sizeof fuzz_folder, "%s/kedge-fuzz-XXXXXX", folder && *folder ? folder : "/tmp");
            FUZZ_ASSERT(mkdtemp(fuzz_folder));
            atexit(fuzz_remove);
        }
        snprintf(files[i].path, sizeof files[i].path, "%s/%s", fuzz_folder, name);
        snprintf(memory, sizeof memory, "/proc/self/fd/%d", files[i].fd);
        FUZZ_ASSERT(!symlink(memory, files[i].path));
    }
    FUZZ_ASSERT(!ftruncate(files[i].fd, 0) && pwrite(files[i].fd, data, size, 0) == (ssize_t)size);
    return files[i].path;
}

#endif

/* Makes the k-th failable call of a program fail: built as a shared object and put in front of libc by LD_PRELOAD.
 *
 * Two families are counted, each from 1: calls that touch files (those that libkedge makes, see FILES below), and
 * requests for memory and threads. What fails is said by the environment
 *
 *   FAULT_CALL=k       the k-th file call; counting starts with the FAULT_SAVE-th mkdir of a "step-N.tmp" (0: at once)
 *   FAULT_WAY=way      before|after|torn (the process is killed), nospace|io|interrupted|short (the call says so)
 *   FAULT_LOG=path     one line for every counted file call: number, name, path
 *   FAULT_MEMORY=n     the n-th request for memory fails; FAULT_FOREVER=1: and all after it
 *   FAULT_STACKS=path  writes, for each place in the program that asks for memory for the first time, the request's number
 *
 * or by a program that calls fault_arm. */
#define _GNU_SOURCE
#include "fault_shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* ---- file calls ---------------------------------------------------------------------------------------------- */

static bool counting;
static long calls, saves_to_wait, fail_at;
static fault_way fail_way;
static int log_fd = -1;

static const char *const way_name[FAULT_WAYS] = {"before", "after", "torn", "nospace", "io", "interrupted", "short"};

static long write_raw(int fd, const void *data, size_t size) { return syscall(SYS_write, fd, data, size); }

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

void fault_arm(long call, fault_way way, int log) {
    counting = true;
    calls = 0;
    fail_at = call;
    fail_way = way;
    log_fd = log;
}

long fault_calls(void) {
    counting = false;
    return calls;
}

/* Counts a call and logs it; whether it is the one. */
static bool its_turn(const char *name, const char *path, int fd) {
    if (!counting) return false;
    calls++;
    if (log_fd >= 0) {
        char link[32], place[512], line[640];
        ssize_t size = -1;
        if (!path) {
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            size = readlink(link, place, sizeof place - 1);
            place[size > 0 ? size : 0] = 0;
            path = place;
        }
        int used = snprintf(line, sizeof line, "%ld %s %s\n", calls, name, path);
        write_raw(log_fd, line, (size_t)used);
    }
    return calls == fail_at;
}

/* A call as a whole: killed before or after it, or an error in its place. */
#define FILES(name, path, fd, interruptible, call)                                                                \
    do {                                                                                                          \
        if (!its_turn(name, path, fd)) return call;                                                               \
        if (fail_way == FAULT_BEFORE) die();                                                                      \
        if (fail_way == FAULT_AFTER || fail_way == FAULT_TORN) {                                                  \
            (void)call;                                                                                           \
            die();                                                                                                \
        }                                                                                                         \
        if (fail_way == FAULT_INTERRUPTED && !(interruptible)) return call;                                       \
        if (fail_way == FAULT_SHORT) return call;                                                                 \
        errno = fail_way == FAULT_NOSPACE ? ENOSPC : fail_way == FAULT_IO ? EIO : EINTR;                          \
        return -1;                                                                                                \
    } while (0)

static int open_mode(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0; }

#define OPEN_MODE(flags)                                                                                          \
    va_list list;                                                                                                 \
    va_start(list, flags);                                                                                        \
    int mode = open_mode(flags, list);                                                                            \
    va_end(list)

int open(const char *path, int flags, ...) {
    OPEN_MODE(flags);
    FILES("open", path, -1, true, (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

int openat(int at, const char *path, int flags, ...) {
    OPEN_MODE(flags);
    FILES("openat", path, -1, true, (int)syscall(SYS_openat, at, path, flags, mode));
}

int mkdir(const char *path, mode_t mode) {
    size_t size = strlen(path);
    if (saves_to_wait && size > 4 && !strcmp(path + size - 4, ".tmp") && strstr(path, "step-"))
        if (--saves_to_wait == 0) counting = true;
    FILES("mkdir", path, -1, false, (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int rename(const char *from, const char *to) {
    FILES("rename", from, -1, false, (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to));
}

int unlinkat(int at, const char *path, int flags) { FILES("unlinkat", path, -1, false, (int)syscall(SYS_unlinkat, at, path, flags)); }
int unlink(const char *path) { FILES("unlink", path, -1, false, (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0)); }
int rmdir(const char *path) { FILES("rmdir", path, -1, false, (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)); }
int ftruncate(int fd, off_t size) { FILES("ftruncate", NULL, fd, true, (int)syscall(SYS_ftruncate, fd, size)); }
int dup(int fd) { FILES("dup", NULL, fd, false, (int)syscall(SYS_dup, fd)); }
int fsync(int fd) { FILES("fsync", NULL, fd, true, (int)syscall(SYS_fsync, fd)); }
int fdatasync(int fd) { FILES("fdatasync", NULL, fd, true, (int)syscall(SYS_fdatasync, fd)); }

/* The descriptor is closed whatever close() says, as on Linux. */
int close(int fd) {
    if (!its_turn("close", NULL, fd)) return (int)syscall(SYS_close, fd);
    if (fail_way == FAULT_BEFORE) die();
    int failed = (int)syscall(SYS_close, fd);
    if (fail_way == FAULT_AFTER || fail_way == FAULT_TORN) die();
    if (fail_way == FAULT_SHORT) return failed;
    errno = fail_way == FAULT_NOSPACE ? ENOSPC : fail_way == FAULT_IO ? EIO : EINTR;
    return -1;
}

/* A transfer can also be cut: half of it is done. */
#define TRANSFER(name, fd, size, whole, half)                                                                     \
    do {                                                                                                          \
        if (its_turn(name, NULL, fd)) {                                                                           \
            if (fail_way == FAULT_BEFORE) die();                                                                  \
            if (fail_way == FAULT_TORN) {                                                                         \
                (void)half;                                                                                       \
                die();                                                                                            \
            }                                                                                                     \
            if (fail_way == FAULT_AFTER) {                                                                        \
                (void)whole;                                                                                      \
                die();                                                                                            \
            }                                                                                                     \
            if (fail_way == FAULT_SHORT) return (size) > 1 ? half : whole;                                        \
            errno = fail_way == FAULT_NOSPACE ? ENOSPC : fail_way == FAULT_IO ? EIO : EINTR;                      \
            return -1;                                                                                            \
        }                                                                                                         \
        return whole;                                                                                             \
    } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    if (fd == 2) return write_raw(fd, data, size);
    TRANSFER("write", fd, size, syscall(SYS_write, fd, data, size), syscall(SYS_write, fd, data, size / 2));
}

ssize_t read(int fd, void *data, size_t size) {
    TRANSFER("read", fd, size, syscall(SYS_read, fd, data, size), syscall(SYS_read, fd, data, size / 2));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    TRANSFER("pwrite", fd, size, syscall(SYS_pwrite64, fd, data, size, at), syscall(SYS_pwrite64, fd, data, size / 2, at));
}

/* Calls without a number to return: an error is NULL. */
#define LISTING(name, fd, call)                                                                                   \
    do {                                                                                                          \
        if (!its_turn(name, NULL, fd)) return call;                                                               \
        if (fail_way == FAULT_BEFORE || fail_way == FAULT_AFTER || fail_way == FAULT_TORN) die();                 \
        if (fail_way == FAULT_SHORT || fail_way == FAULT_INTERRUPTED) return call;                                \
        errno = fail_way == FAULT_NOSPACE ? ENOSPC : EIO;                                                         \
        return NULL;                                                                                              \
    } while (0)

static DIR *(*real_fdopendir)(int);
static struct dirent *(*real_readdir)(DIR *);
static int (*real_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

/* libc's own. Constructors of other libraries may come here before ours. */
static void find_real(void) {
    if (real_pthread_create) return;
    *(void **)&real_fdopendir = dlsym(RTLD_NEXT, "fdopendir");
    *(void **)&real_readdir = dlsym(RTLD_NEXT, "readdir");
    *(void **)&real_pthread_create = dlsym(RTLD_NEXT, "pthread_create");
}

DIR *fdopendir(int fd) {
    find_real();
    LISTING("fdopendir", fd, real_fdopendir(fd));
}

struct dirent *readdir(DIR *folder) {
    find_real();
    LISTING("readdir", dirfd(folder), real_readdir(folder));
}

/* ---- memory and threads -------------------------------------------------------------------------------------- */

enum { PLACES = 1 << 16, DEPTH = 24 };

static atomic_long requests;
static long fail_memory;
static bool forever, ready;
static int stacks_fd = -1;
static _Thread_local bool inside;
static uint64_t seen[PLACES];

/* The first request from a place: the chain of callers. */
static void note_place(long number) {
    void *stack[DEPTH];
    uint64_t hash = 14695981039346656037u;
    inside = true;
    int depth = backtrace(stack, DEPTH);
    for (int i = 0; i < depth; i++) hash = (hash ^ (uint64_t)(uintptr_t)stack[i]) * 1099511628211u;
    uint64_t at = hash % PLACES;
    while (seen[at] && seen[at] != hash) at = (at + 1) % PLACES;
    if (!seen[at]) {
        char line[32];
        seen[at] = hash;
        write_raw(stacks_fd, line, (size_t)snprintf(line, sizeof line, "%ld\n", number));
    }
    inside = false;
}

static bool no_memory(void) {
    if (!ready || inside) return false;
    long number = atomic_fetch_add(&requests, 1) + 1;
    if (stacks_fd >= 0) note_place(number);
    return fail_memory && (number == fail_memory || (forever && number > fail_memory));
}

#define MEMORY(call)                                                                                              \
    do {                                                                                                          \
        if (!no_memory()) return call;                                                                            \
        errno = ENOMEM;                                                                                           \
        return NULL;                                                                                              \
    } while (0)

void *malloc(size_t size) { MEMORY(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { MEMORY(__libc_calloc(count, size)); }
void *realloc(void *old, size_t size) { MEMORY(__libc_realloc(old, size)); }
void *aligned_alloc(size_t align, size_t size) { MEMORY(__libc_memalign(align, size)); }

int posix_memalign(void **out, size_t align, size_t size) {
    if (no_memory()) return ENOMEM;
    *out = __libc_memalign(align, size);
    return *out ? 0 : ENOMEM;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (no_memory()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg) {
    find_real();
    return no_memory() ? EAGAIN : real_pthread_create(thread, attributes, run, arg);
}

/* ---- the beginning ------------------------------------------------------------------------------------------- */

static long number_of(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
    find_real();
    const char *way = getenv("FAULT_WAY"), *log = getenv("FAULT_LOG"), *stacks = getenv("FAULT_STACKS");
    const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    for (int i = 0; way && i < FAULT_WAYS; i++)
        if (!strcmp(way, way_name[i])) fail_way = (fault_way)i;
    fail_at = number_of("FAULT_CALL");
    saves_to_wait = number_of("FAULT_SAVE");
    if (log) log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, flags, 0666);
    counting = !saves_to_wait && (fail_at || log);
    fail_memory = number_of("FAULT_MEMORY");
    forever = number_of("FAULT_FOREVER");
    if (stacks) {
        void *warm[4];
        backtrace(warm, 4);  /* loads the unwinder, which asks for memory */
        stacks_fd = (int)syscall(SYS_openat, AT_FDCWD, stacks, flags, 0666);
    }
    ready = fail_memory || stacks;
}

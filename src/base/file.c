/* Single files: read, written, copied, locked, hashed. Folders and patterns are in folder.c. */
#define _DEFAULT_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define BLOCK (256 * 1024) /* bytes of a read when copying and hashing */

static int open_again(const char *path, int flags) {
    int fd;
    do fd = open(path, flags | O_CLOEXEC, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Opens for reading and refuses a folder here, where the reason can still be named. */
static kd_status open_to_read(int *fd, struct stat *about, const char *path, int flags) {
    *fd = open_again(path, O_RDONLY | flags);
    if (*fd < 0) return kd_fail_errno(KD_EIO, "%s: cannot open", path);
    kd_status status = KD_OK;
    if (fstat(*fd, about)) status = kd_fail_errno(KD_EIO, "%s: cannot inspect", path);
    else if (S_ISDIR(about->st_mode)) status = kd_fail(KD_EIO, "%s: is a folder, a file is needed", path);
    if (!status) return KD_OK;
    close(*fd);
    *fd = -1;
    return status;
}

/* Up to size bytes from `at`; *got < size only at the end of the file. */
static kd_status read_full(int64_t *got, int fd, char *data, int64_t size, const char *path, int64_t at) {
    *got = 0;
    while (*got < size) {
        ssize_t n = read(fd, data + *got, (size_t)(size - *got));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail_errno(KD_EIO, "%s: cannot read at byte %lld", path, (long long)(at + *got));
        if (n == 0) return KD_OK;
        *got += n;
    }
    return KD_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

kd_status kd_source_open(kd_source *source, const char *path) {
    *source = (kd_source){.fd = -1};
    struct stat about;
    int fd;
    KD_TRY(open_to_read(&fd, &about, path, O_NONBLOCK));  /* so that a named pipe is refused and not waited for */
    kd_status status = KD_OK;
    char *copy = NULL;
    if (!S_ISREG(about.st_mode)) status = kd_fail(KD_EIO, "%s: is not a regular file", path);
    else if (!(copy = strdup(path))) status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
    else *source = (kd_source){fd, copy, about.st_size};
    if (status) close(fd);
    return status;
}

kd_status kd_source_read(void *out, const kd_source *source, int64_t at, int64_t size) {
    for (int64_t done = 0; done < size;) {
        ssize_t n = pread(source->fd, (char *)out + done, (size_t)(size - done), at + done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail_errno(KD_EIO, "%s: cannot read at byte %lld", source->path, (long long)(at + done));
        if (n == 0)
            return kd_fail(KD_EFORMAT, "%s: ends at or before byte %lld, it had %lld bytes when it was opened",
                           source->path, (long long)(at + done), (long long)source->size);
        done += n;
    }
    return KD_OK;
}

kd_status kd_source_map(const void **bytes, const kd_source *source) {
    void *map = source->size ? mmap(NULL, (size_t)source->size, PROT_READ, MAP_SHARED, source->fd, 0) : NULL;
    *bytes = NULL;
    if (map == MAP_FAILED)
        return kd_fail_errno(errno == ENOMEM ? KD_ENOMEM : KD_EIO, "%s: cannot map %lld bytes", source->path, (long long)source->size);
    if (map) posix_madvise(map, (size_t)source->size, POSIX_MADV_WILLNEED);  /* advice: a refusal changes nothing */
    *bytes = map;
    return KD_OK;
}

void kd_source_unmap(const void *bytes, const kd_source *source) {
    if (bytes) munmap((void *)bytes, (size_t)source->size);
}

void kd_source_close(kd_source *source) {
    if (source->path) close(source->fd);
    free(source->path);
    *source = (kd_source){.fd = -1};
}

kd_status kd_file_read(char **data, int64_t *size, const char *path, int64_t limit) {
    *data = NULL;
    *size = 0;
    struct stat about;
    int fd;
    KD_TRY(open_to_read(&fd, &about, path, 0));
    /* One byte more than the file says it has: reading it finds the end, or a file that grows. A pipe says 0. */
    int64_t room = (S_ISREG(about.st_mode) ? about.st_size : 0) + 1, got = 0;
    kd_status status = KD_OK;
    char *memory = NULL;
    for (;;) {
        if (room > limit + 1) room = limit + 1;
        char *larger = realloc(memory, (size_t)room + 1);
        if (!larger) {
            status = kd_fail(KD_ENOMEM, "%s: out of memory: %lld bytes", path, (long long)room + 1);
            goto done;
        }
        memory = larger;
        int64_t more;
        KD_GO(read_full(&more, fd, memory + got, room - got, path, got));
        got += more;
        if (got < room) break;
        if (got > limit) {
            status = kd_fail(KD_EFORMAT, "%s: larger than %lld bytes", path, (long long)limit);
            goto done;
        }
        room += room < BLOCK ? BLOCK : room;
    }
    memory[got] = 0;
    *data = memory;
    *size = got;
    memory = NULL;
done:
    free(memory);
    close(fd);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

kd_status kd_writer_open(kd_writer *writer, const char *path) {
    *writer = (kd_writer){.fd = -1};
    char *copy = strdup(path);
    if (!copy) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    int fd = open_again(path, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0) {
        free(copy);
        return kd_fail_errno(KD_EIO, "%s: cannot create", path);
    }
    *writer = (kd_writer){fd, copy, 0};
    return KD_OK;
}

kd_status kd_writer_put(kd_writer *writer, const void *data, int64_t size) {
    for (int64_t done = 0; done < size;) {
        ssize_t n = write(writer->fd, (const char *)data + done, (size_t)(size - done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return kd_fail_errno(KD_EIO, "%s: cannot write at byte %lld", writer->path, (long long)writer->written);
        done += n;
        writer->written += n;
    }
    return KD_OK;
}

/* What has no storage behind it (a pipe, a terminal) answers EINVAL: there is nothing to wait for. */
static kd_status sync_fd(int fd, const char *path) {
    int failed;
    do failed = fsync(fd);
    while (failed && errno == EINTR);
    if (failed && errno != EINVAL) return kd_fail_errno(KD_EIO, "%s: cannot sync", path);
    return KD_OK;
}

kd_status kd_writer_sync(kd_writer *writer) { return sync_fd(writer->fd, writer->path); }

kd_status kd_writer_close(kd_writer *writer) {
    kd_status status = KD_OK;
    /* After EINTR Linux has closed the descriptor; a second close could hit another thread's. */
    if (writer->path && close(writer->fd) && errno != EINTR)
        status = kd_fail_errno(KD_EIO, "%s: cannot close after byte %lld", writer->path, (long long)writer->written);
    free(writer->path);
    *writer = (kd_writer){.fd = -1};
    return status;
}

/* Syncs unless something failed before, and closes in any case; the first failure stays the message. */
static kd_status finish(kd_writer *writer, kd_status status) {
    if (!status) status = kd_writer_sync(writer);
    if (!status) return kd_writer_close(writer);
    close(writer->fd);
    free(writer->path);
    *writer = (kd_writer){.fd = -1};
    return status;
}

kd_status kd_file_write(const char *path, const void *data, int64_t size) {
    kd_writer writer;
    KD_TRY(kd_writer_open(&writer, path));
    return finish(&writer, kd_writer_put(&writer, data, size));
}

/* The folder part of a path, on the heap. */
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

kd_status kd_file_replace(const char *path, const void *data, int64_t size) {
    kd_status status = KD_OK;
    bool made = false;
    size_t room = strlen(path) + sizeof ".tmp";
    char *aside = malloc(room), *folder = folder_of(path);
    if (!aside || !folder) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
        goto done;
    }
    snprintf(aside, room, "%s.tmp", path);
    made = true;
    KD_GO(kd_file_write(aside, data, size));
    if (rename(aside, path)) {
        status = kd_fail_errno(KD_EIO, "%s: cannot be renamed to %s", aside, path);
        goto done;
    }
    made = false;
    status = kd_sync_folder(folder);
done:
    if (made) unlink(aside);
    free(aside);
    free(folder);
    return status;
}

kd_status kd_copy_file(const char *to, const char *from) {
    struct stat source, target;
    kd_writer writer;
    int fd;
    KD_TRY(open_to_read(&fd, &source, from, 0));
    kd_status status = KD_OK;
    char *block = NULL;
    /* Opening the target would empty the source. */
    if (!stat(to, &target) && target.st_dev == source.st_dev && target.st_ino == source.st_ino) {
        status = kd_fail(KD_EARG, "%s and %s are the same file", to, from);
        goto done;
    }
    KD_GO(kd_new(&block, 1, BLOCK));
    KD_GO(kd_writer_open(&writer, to));
    for (;;) {
        int64_t got;
        status = read_full(&got, fd, block, BLOCK, from, writer.written);
        if (status || got == 0) break;
        status = kd_writer_put(&writer, block, got);
        if (status) break;
    }
    status = finish(&writer, status);
done:
    free(block);
    close(fd);
    return status;
}

/* ---- locks ------------------------------------------------------------------------------------------------- */

/* flock and not O_EXCL: the system releases it when the process dies, so nobody has to judge what is stale. */
kd_status kd_lock_open(int *fd, const char *path) {
    char text[512];
    *fd = open_again(path, O_RDWR | O_CREAT);
    if (*fd < 0) return kd_fail_errno(KD_EIO, "%s: cannot create", path);
    kd_status status = KD_OK;
    if (flock(*fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK) {
            status = kd_fail_errno(KD_EIO, "%s: cannot lock", path);
            goto done;
        }
        char pid[32], host[256];
        ssize_t size = pread(*fd, text, sizeof text - 1, 0);
        text[size > 0 ? size : 0] = 0;
        if (sscanf(text, "%31s %255s", pid, host) == 2)
            status = kd_fail(KD_EBUSY, "%s: held by process %s on %s", path, pid, host);
        else  /* it has the lock and has not written yet */
            status = kd_fail(KD_EBUSY, "%s: held by another process", path);
        goto done;
    }
    char host[256] = "?";
    gethostname(host, sizeof host - 1);
    int size = snprintf(text, sizeof text, "%lld %s\n", (long long)getpid(), host);
    if (ftruncate(*fd, 0) || pwrite(*fd, text, (size_t)size, 0) != size)
        status = kd_fail_errno(KD_EIO, "%s: cannot write", path);
done:
    if (status) {
        close(*fd);
        *fd = -1;
    }
    return status;
}

void kd_lock_close(int fd) {
    if (fd < 0) return;
    if (ftruncate(fd, 0)) errno = 0;  /* nobody holds it: what is left names nobody. That this failed hurts nobody either. */
    close(fd);
}

/* ---- checksums --------------------------------------------------------------------------------------------- */

uint64_t kd_hash(const void *data, int64_t size) { return XXH3_64bits(data, (size_t)size); }

kd_status kd_file_hash(uint64_t *hash, int64_t *size, const char *path) {
    *hash = 0;
    *size = 0;
    struct stat about;
    int fd;
    KD_TRY(open_to_read(&fd, &about, path, 0));
    kd_status status = KD_OK;
    char *block = NULL;
    XXH3_state_t *state = XXH3_createState();
    if (!state) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
        goto done;
    }
    XXH3_64bits_reset(state);
    KD_GO(kd_new(&block, 1, BLOCK));
    for (;;) {
        int64_t got;
        KD_GO(read_full(&got, fd, block, BLOCK, path, *size));
        if (got == 0) break;
        XXH3_64bits_update(state, block, (size_t)got);
        *size += got;
    }
    *hash = XXH3_64bits_digest(state);
done:
    XXH3_freeState(state);
    free(block);
    close(fd);
    return status;
}

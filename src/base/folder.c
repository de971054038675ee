/* Folders: made, listed, removed; and the patterns that name files in them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

bool kd_exists(const char *path) {
    struct stat about;
    return stat(path, &about) == 0;
}

kd_status kd_holds(bool *yes, const char *folder, const char *name) {
    char *path = kd_path_join(folder, name);
    if (!path) return kd_fail(KD_ENOMEM, "out of memory: the path of %s in %s", name, folder);
    *yes = kd_exists(path);
    free(path);
    return KD_OK;
}

kd_status kd_folder_replace(const char *folder, const char *name, const void *data, int64_t size) {
    char *path = kd_path_join(folder, name);
    kd_status status = path ? kd_file_replace(path, data, size) : kd_fail(KD_ENOMEM, "out of memory: the path of %s in %s", name, folder);
    free(path);
    return status;
}

bool kd_is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

kd_status kd_make_folders(const char *path) {
    char *part = strdup(path);
    if (!part) return kd_fail(KD_ENOMEM, "%s: out of memory", path);
    kd_status status = KD_OK;
    for (char *p = part; !status && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char kept = *p;
        *p = 0;
        if (mkdir(part, 0777) && errno != EEXIST)
            status = kd_fail_errno(KD_EIO, "%s: cannot make folder", part);
        else if (!kd_is_folder(part))
            status = kd_fail(KD_EIO, "%s: exists and is not a folder", part);
        *p = kept;
    }
    free(part);
    return status;
}

/* openat of a folder, again after a signal; -1 and errno. */
static int open_folder(int parent, const char *name, int flags) {
    int fd;
    do fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags);
    while (fd < 0 && errno == EINTR);
    return fd;
}

kd_status kd_sync_folder(const char *path) {
    int fd = open_folder(AT_FDCWD, path, 0);
    if (fd < 0) return kd_fail_errno(KD_EIO, "%s: cannot open folder", path);
    int failed;
    do failed = fsync(fd);
    while (failed && errno == EINTR);
    kd_status status = failed ? kd_fail_errno(KD_EIO, "%s: cannot sync folder", path) : KD_OK;
    close(fd);
    return status;
}

char *kd_path_join(const char *folder, const char *name) {
    if (name[0] == '/' || folder[0] == 0) return strdup(name);
    size_t size = strlen(folder);
    bool slash = folder[size - 1] != '/';
    char *path = malloc(size + slash + strlen(name) + 1);
    if (path) sprintf(path, "%s%s%s", folder, slash ? "/" : "", name);
    return path;
}

/* ---- lists of paths ---------------------------------------------------------------------------------------- */

void kd_paths_free(kd_paths *paths) {
    for (int64_t i = 0; i < paths->count; i++) free(paths->path[i]);
    free(paths->path);
    *paths = (kd_paths){0};
}

/* Takes the path over, also when it fails; NULL stands for memory that was out. */
static kd_status append(kd_paths *paths, char *path) {
    if (path && (paths->count & (paths->count - 1)) == 0) {  /* a power of two is full: double it */
        size_t room = paths->count ? (size_t)paths->count * 2 : 1;
        char **larger = realloc(paths->path, room * sizeof *larger);
        if (larger) {
            paths->path = larger;
        } else {
            free(path);
            path = NULL;
        }
    }
    if (!path) return kd_fail(KD_ENOMEM, "out of memory: path %lld of a list", (long long)paths->count);
    paths->path[paths->count++] = path;
    return KD_OK;
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void sort(kd_paths *paths, int64_t from) {
    if (paths->count > from) qsort(paths->path + from, (size_t)(paths->count - from), sizeof *paths->path, by_bytes);
}

/* Takes over fd. path is for messages. */
static kd_status list(kd_paths *names, int fd, const char *path) {
    *names = (kd_paths){0};
    DIR *folder = fdopendir(fd);
    if (!folder) {
        close(fd);
        return kd_fail_errno(KD_EIO, "%s: cannot list", path);
    }
    kd_status status = KD_OK;
    while (!status) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno) status = kd_fail_errno(KD_EIO, "%s: cannot list", path);
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = append(names, strdup(entry->d_name));
    }
    closedir(folder);
    if (status) kd_paths_free(names);
    sort(names, 0);
    return status;
}

kd_status kd_list_folder(kd_paths *names, const char *path) {
    *names = (kd_paths){0};
    int fd = open_folder(AT_FDCWD, path, 0);
    if (fd < 0) return kd_fail_errno(KD_EIO, "%s: cannot open folder", path);
    return list(names, fd, path);
}

/* ---- removal ----------------------------------------------------------------------------------------------- */

/* Relative to an open folder and with O_NOFOLLOW: nothing outside the tree is reached, even if a link is put in the
 * place of a folder meanwhile. */
static kd_status remove_at(int parent, const char *name, const char *path) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return KD_OK;
    if (errno != EISDIR && errno != EPERM) return kd_fail_errno(KD_EIO, "%s: cannot remove", path);
    int fd = open_folder(parent, name, O_NOFOLLOW);
    if (fd < 0) return kd_fail_errno(KD_EIO, "%s: cannot remove", path);
    kd_paths names = {0};
    kd_status status = KD_OK;
    int copy = dup(fd);
    if (copy < 0) status = kd_fail_errno(KD_EIO, "%s: cannot list", path);
    else status = list(&names, copy, path);
    for (int64_t i = 0; i < names.count && !status; i++) {
        char *below = kd_path_join(path, names.path[i]);
        status = below ? remove_at(fd, names.path[i], below) : kd_fail(KD_ENOMEM, "%s: out of memory", path);
        free(below);
    }
    kd_paths_free(&names);
    close(fd);
    if (!status && unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOENT)
        status = kd_fail_errno(KD_EIO, "%s: cannot remove", path);
    return status;
}

kd_status kd_remove_tree(const char *path) { return remove_at(AT_FDCWD, path, path); }

/* ---- patterns ---------------------------------------------------------------------------------------------- */

static bool is_plain_file(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode);
}

static bool is_real_folder(const char *path) {
    struct stat about;
    return lstat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

static kd_status expand(kd_paths *paths, const char *folder, const char *pattern);

/* Goes on with one name of the pattern's first part. `last`: nothing follows it in the pattern. */
static kd_status enter(kd_paths *paths, const char *folder, const char *name, const char *rest, bool last, bool wild) {
    char *path = kd_path_join(folder, name);
    if (!path) return kd_fail(KD_ENOMEM, "%s: out of memory", folder);
    kd_status status = KD_OK;
    if (last && is_plain_file(path)) return append(paths, path);
    if (!last && (wild ? is_real_folder(path) : kd_is_folder(path))) status = expand(paths, path, rest);
    free(path);
    return status;
}

static kd_status expand(kd_paths *paths, const char *folder, const char *pattern) {
    size_t size = strcspn(pattern, "/");
    const char *rest = pattern + size;
    rest += strspn(rest, "/");
    bool last = *rest == 0;
    bool deep = size == 2 && memcmp(pattern, "**", 2) == 0;
    char *part = strndup(pattern, size);
    if (!part) return kd_fail(KD_ENOMEM, "%s: out of memory", pattern);
    kd_status status = KD_OK;
    kd_paths names = {0};
    if (!strpbrk(part, "*?[\\")) {
        status = enter(paths, folder, part, rest, last, false);
        goto done;
    }
    if (deep && !last) KD_GO(expand(paths, folder, rest));
    KD_GO(kd_list_folder(&names, *folder ? folder : "."));
    for (int64_t i = 0; i < names.count; i++) {
        const char *name = names.path[i];
        if (fnmatch(part, name, FNM_PERIOD)) continue;
        if (deep) {
            KD_GO(enter(paths, folder, name, pattern, false, true));
            if (last) KD_GO(enter(paths, folder, name, rest, true, true));
        } else {
            KD_GO(enter(paths, folder, name, rest, last, true));
        }
    }
done:
    kd_paths_free(&names);
    free(part);
    return status;
}

kd_status kd_glob(kd_paths *paths, const char *pattern) {
    int64_t from = paths->count;
    if (kd_exists(pattern)) {
        if (kd_is_folder(pattern)) return kd_fail(KD_EIO, "%s: is a folder, files are needed", pattern);
        char *copy = strdup(pattern);
        return append(paths, copy);
    }
    size_t slashes = strspn(pattern, "/");
    KD_TRY(expand(paths, slashes ? "/" : "", pattern + slashes));
    if (paths->count == from) return kd_fail(KD_EIO, "%s: no file matches; * stays in a folder, ** crosses folders", pattern);
    sort(paths, from);
    int64_t kept = from + 1;  /* two ** can reach one file in several ways */
    for (int64_t i = kept; i < paths->count; i++) {
        if (strcmp(paths->path[i], paths->path[kept - 1]) == 0) free(paths->path[i]);
        else paths->path[kept++] = paths->path[i];
    }
    paths->count = kept;
    return KD_OK;
}

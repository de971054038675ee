/* Which files patterns name: each once, whatever its names. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "format/megatron.h"
#include "ingest.h"

/* A file's identity, whatever its name. */
typedef struct identity { dev_t device; ino_t inode; int64_t index; } identity;

static int by_identity(const void *left, const void *right) {
    const identity *a = left, *b = right;
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    if (a->inode != b->inode) return a->inode < b->inode ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* Megatron's x.bin is read through its x.idx: they are one. */
static kd_status identify(identity *file, const char *path, int64_t index) {
    struct stat s;
    char *other = NULL;
    size_t size = strlen(path);
    if (kd_megatron_named(path) && !strcmp(path + size - 4, ".bin")) {
        other = strdup(path);
        if (!other) return kd_fail(KD_ENOMEM, "out of memory");
        memcpy(other + size - 4, ".idx", 4);
    }
    kd_status status = (!other || stat(other, &s)) && stat(path, &s) ? kd_fail_errno(KD_EIO, "%s", path) : KD_OK;
    free(other);
    if (!status) *file = (identity){s.st_dev, s.st_ino, index};
    return status;
}

/* Frees and takes out each path that is a file which an earlier path names too. */
static kd_status drop_repeated(kd_paths *paths) {
    identity *file = NULL;
    const char *latest = NULL;
    int64_t kept = 0, dropped = 0;
    kd_status status;
    KD_GO(kd_new(&file, paths->count, sizeof *file));
    for (int64_t i = 0; i < paths->count; i++) KD_GO(identify(&file[i], paths->path[i], i));
    qsort(file, (size_t)paths->count, sizeof *file, by_identity);
    for (int64_t i = paths->count - 1; i > 0; i--) {
        if (file[i].device != file[i - 1].device || file[i].inode != file[i - 1].inode) continue;
        if (dropped++) free(paths->path[file[i].index]);
        else latest = paths->path[file[i].index];
        paths->path[file[i].index] = NULL;
    }
    if (dropped) kd_warn("%s%s: named more than once, read once", latest, dropped > 1 ? " and others" : "");
    free((char *)latest);
    for (int64_t i = 0; i < paths->count; i++)
        if (paths->path[i]) paths->path[kept++] = paths->path[i];
    paths->count = kept;
done:
    free(file);
    return status;
}

kd_status kd_ingest_files(kd_paths *paths, const char *const *pattern, int64_t patterns) {
    kd_status status = KD_OK;
    *paths = (kd_paths){0};
    for (int64_t i = 0; i < patterns; i++) {
        if (kd_is_folder(pattern[i])) {
            status = kd_fail(KD_ECONFIG, "%s: a folder: a pack or a token store stands alone, and this is neither or not alone; of other folders name the files, as in %s/**/*.jsonl",
                             pattern[i], pattern[i]);
            goto done;
        }
        KD_GO(kd_glob(paths, pattern[i]));
    }
    KD_GO(drop_repeated(paths));
done:
    if (status) kd_paths_free(paths);
    return status;
}

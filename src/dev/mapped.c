/* Memory elsewhere than on the device: in a file, of which the system keeps what it has room for; or in the host's memory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "ctx.h"

/* A file without a name: it goes when it is unmapped, however the program ends. */
static kd_status unnamed_file(int *fd, const char *folder) {
    char *path = kd_path_join(folder, "kedge-XXXXXX");
    if (!path) return kd_fail(KD_ENOMEM, "out of memory");
    *fd = mkostemp(path, O_CLOEXEC);
    kd_status status = *fd < 0 || unlink(path) ? kd_fail_errno(KD_EIO, "%s: cannot make a file in it", folder) : KD_OK;
    free(path);
    return status;
}

kd_status kd_ctx_place_in(kd_ctx *ctx, kd_arena *arena, const char *folder) {
    if (folder && !strcmp(folder, KD_PLACE_HOST) && ctx->device->alloc_host) {
        void *memory;
        int64_t size = arena->used > 0 ? arena->used : KD_ALIGN;
        KD_TRY(ctx->device->alloc_host(ctx, &memory, size));
        *arena = (kd_arena){memory, arena->used, 0};
        return KD_OK;
    }
    if (!folder || !strcmp(folder, KD_PLACE_HOST)) return kd_ctx_place(ctx, arena);
    if (!ctx->device->host_may_touch) return kd_fail(KD_ENOTSUP, "%s: memory of device %s does not lie in files", folder, ctx->device->name);
    int64_t size = arena->used > 0 ? arena->used : KD_ALIGN;
    int fd = -1;
    KD_TRY(kd_make_folders(folder));
    KD_TRY(unnamed_file(&fd, folder));
    /* All of it now: a disk that is full later would end the program. */
    int code = posix_fallocate(fd, 0, size);
    void *memory = code ? MAP_FAILED : mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (code) errno = code;
    kd_status status = memory == MAP_FAILED ? kd_fail_errno(KD_EIO, "%s: a file of %lld bytes", folder, (long long)size) : KD_OK;
    close(fd);
    if (!status) *arena = (kd_arena){memory, arena->used, 0};
    return status;
}

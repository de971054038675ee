#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

struct kd_input {
    char *path;
    int fd;
    int64_t offset;          /* bytes read from the file */
    ZSTD_DStream *zstd;      /* NULL: a plain file */
    char *block;             /* compressed bytes */
    ZSTD_inBuffer in;        /* what of them is not decoded yet */
    bool whole;              /* no frame is open */
    kd_status status;        /* a failure, kept */
    char *message;
};

static kd_status keep(kd_input *input, kd_status status) {
    input->status = status;
    input->message = strdup(kd_message());
    return status;
}

static bool ends_with(const char *text, const char *suffix) {
    size_t size = strlen(text), tail = strlen(suffix);
    return size >= tail && strcmp(text + size - tail, suffix) == 0;
}

kd_status kd_input_open(kd_input **out, const char *path) {
    kd_input *input;
    struct stat about;
    *out = NULL;
    KD_TRY(kd_new(&input, 1, sizeof *input));
    kd_status status = KD_OK;
    input->fd = -1;
    input->path = strdup(path);
    if (!input->path) {
        status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
        goto done;
    }
    do input->fd = open(path, O_RDONLY | O_CLOEXEC);
    while (input->fd < 0 && errno == EINTR);
    if (input->fd < 0 || fstat(input->fd, &about)) {
        status = kd_fail_errno(KD_EIO, "%s: cannot open", path);
        goto done;
    }
    if (S_ISDIR(about.st_mode)) {
        status = kd_fail(KD_EIO, "%s: is a folder, a file is needed", path);
        goto done;
    }
    if (ends_with(path, ".zst")) {
        input->zstd = ZSTD_createDStream();
        input->block = malloc(ZSTD_DStreamInSize());
        if (!input->zstd || !input->block) {
            status = kd_fail(KD_ENOMEM, "%s: out of memory", path);
            goto done;
        }
        input->in.src = input->block;
    }
    *out = input;
done:
    if (status) kd_input_close(input);
    return status;
}

void kd_input_close(kd_input *input) {
    if (!input) return;
    if (input->fd >= 0) close(input->fd);
    ZSTD_freeDStream(input->zstd);
    free(input->block);
    free(input->path);
    free(input->message);
    free(input);
}

int64_t kd_input_at(const kd_input *input) { return input->offset; }

static kd_status read_some(char *out, int64_t *got, kd_input *input, int64_t size) {
    ssize_t n;
    do n = read(input->fd, out, (size_t)size);
    while (n < 0 && errno == EINTR);
    *got = n > 0 ? n : 0;
    if (n < 0) return kd_fail_errno(KD_EIO, "%s: cannot read at byte %lld", input->path, (long long)input->offset);
    input->offset += n;
    return KD_OK;
}

static kd_status inflate(char *out, int64_t *got, kd_input *input, int64_t size) {
    ZSTD_outBuffer to = {out, (size_t)size, 0};
    while (to.pos == 0) {
        if (input->in.pos == input->in.size) {
            int64_t more;
            KD_TRY(read_some(input->block, &more, input, (int64_t)ZSTD_DStreamInSize()));
            input->in.size = (size_t)more;
            input->in.pos = 0;
            /* At the end of the file zstd may still hold decoded bytes: it is asked once more before it is judged. */
            if (more == 0 && input->whole) return KD_OK;
        }
        size_t before = input->in.pos, hint = ZSTD_decompressStream(input->zstd, &to, &input->in);
        int64_t at = input->offset - (int64_t)(input->in.size - input->in.pos);
        if (ZSTD_isError(hint) && ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation)
            return kd_fail(KD_ENOMEM, "%s: byte %lld: out of memory", input->path, (long long)at);
        if (ZSTD_isError(hint))
            return kd_fail(KD_EFORMAT, "%s: byte %lld: zstd: %s", input->path, (long long)at, ZSTD_getErrorName(hint));
        input->whole = hint == 0;
        if (to.pos == 0 && input->in.size == 0 && before == 0)
            return kd_fail(KD_EFORMAT, "%s: byte %lld: zstd: unexpected end of file", input->path, (long long)at);
    }
    *got = (int64_t)to.pos;
    return KD_OK;
}

kd_status kd_input_read(char *out, int64_t *got, kd_input *input, int64_t size) {
    *got = 0;
    if (input->status) {
        kd_message_set(input->message ? input->message : "out of memory");
        return input->status;
    }
    kd_status status = input->zstd ? inflate(out, got, input, size) : read_some(out, got, input, size);
    return status ? keep(input, status) : KD_OK;
}

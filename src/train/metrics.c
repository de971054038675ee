#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

kd_status kd_metrics_open(kd_metrics *metrics, const char *output) {
    *metrics = (kd_metrics){.fd = -1, .path = kd_path_join(output, "metrics.jsonl")};
    if (!metrics->path) return kd_fail(KD_ENOMEM, "out of memory");
    metrics->fd = open(metrics->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (metrics->fd < 0) {
        kd_status status = kd_fail_errno(KD_EIO, "%s", metrics->path);
        kd_metrics_close(metrics);
        return status;
    }
    char last = '\n';
    off_t size = lseek(metrics->fd, 0, SEEK_END);
    if (size > 0 && pread(metrics->fd, &last, 1, size - 1) == 1 && last != '\n') kd_metrics_write(metrics, "");
    return KD_OK;
}

void kd_metrics_write(kd_metrics *metrics, const char *line) {
    size_t length = strlen(line);
    char *text = malloc(length + 1);
    bool whole = false;
    if (text) {
        memcpy(text, line, length);
        text[length] = '\n';
        ssize_t written;
        do written = write(metrics->fd, text, length + 1);  /* one write: lines do not mix */
        while (written < 0 && errno == EINTR);
        whole = written == (ssize_t)length + 1;
    }
    if (!whole && metrics->lost++ == 0) kd_warn("%s: a line could not be written: %s", metrics->path, strerror(errno));
    free(text);
}

void kd_metrics_close(kd_metrics *metrics) {
    if (metrics->lost) kd_warn("%s: %lld lines were lost", metrics->path, (long long)metrics->lost);
    if (metrics->fd >= 0) close(metrics->fd);
    free(metrics->path);
    *metrics = (kd_metrics){.fd = -1};
}

#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

static void append(kd_metrics *metrics, const char *line, size_t length) {
    ssize_t written;
    do written = write(metrics->fd, line, length);  /* one write: lines do not mix */
    while (written < 0 && errno == EINTR);
    if (written != (ssize_t)length && metrics->lost++ == 0)
        kd_warn("%s: a line could not be written: %s", metrics->path, written < 0 ? strerror(errno) : "cut short");
}

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
    if (size > 0 && pread(metrics->fd, &last, 1, size - 1) == 1 && last != '\n') append(metrics, "\n", 1);
    return KD_OK;
}

kd_status kd_metrics_write(kd_metrics *metrics, json_t *row) {
    char *text = NULL;
    kd_status status = row ? kd_json_print(&text, row, JSON_COMPACT, metrics->path) : kd_fail(KD_ENOMEM, "out of memory");
    json_decref(row);
    if (status) return status;
    size_t length = strlen(text);
    text[length] = '\n';  /* in the place of the ending NUL */
    append(metrics, text, length + 1);
    free(text);
    return KD_OK;
}

void kd_metrics_close(kd_metrics *metrics) {
    if (metrics->lost) kd_warn("%s: %lld lines were lost", metrics->path, (long long)metrics->lost);
    if (metrics->fd >= 0) close(metrics->fd);
    free(metrics->path);
    *metrics = (kd_metrics){.fd = -1};
}

#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* One write: lines do not mix. A line that was cut short is ended before the next, so that it spoils no other. */
static void append(kd_metrics *metrics, const char *line, size_t length) {
    ssize_t written = 1;
    const char *text[] = {"\n", line};
    const size_t size[] = {1, length};
    for (int i = metrics->cut ? 0 : 1; i < 2 && written >= 0; i++) {
        do written = write(metrics->fd, text[i], size[i]);
        while (written < 0 && errno == EINTR);
        if (written == (ssize_t)size[i]) metrics->cut = false;
        else if (written > 0) metrics->cut = true;
    }
    if (written != (ssize_t)length && metrics->lost++ == 0)
        kd_warn("%s: a line could not be written: %s", metrics->path, written < 0 ? strerror(errno) : "cut short");
}

static double unix_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What TensorBoard shows of a step. */
static const char *const step_scalar[] = {"loss", "grad_norm", "lr", "tokens_per_second", "share_of_peak", "memory"};

static int64_t add_scalar(kd_scalar *scalar, int64_t count, const char *tag, const json_t *value) {
    if (!json_is_number(value) || count == KD_TFEVENTS_SCALARS) return count;
    scalar[count].value = (float)json_number_value(value);
    snprintf(scalar[count].tag, sizeof scalar[count].tag, "%s", tag);
    return count + 1;
}

static void publish(kd_metrics *metrics, const json_t *row) {
    const char *event = json_string_value(json_object_get(row, "event"));
    kd_scalar scalar[KD_TFEVENTS_SCALARS];
    int64_t count = 0;
    if (!event) {
        for (size_t i = 0; i < sizeof step_scalar / sizeof *step_scalar; i++)
            count = add_scalar(scalar, count, step_scalar[i], json_object_get(row, step_scalar[i]));
    } else if (!strcmp(event, "valid")) {
        const json_t *by_position = json_object_get(row, "by_position");
        count = add_scalar(scalar, count, "valid/loss", json_object_get(row, "loss"));
        for (size_t i = 0; i < json_array_size(by_position); i++) {
            const json_t *bucket = json_array_get(by_position, i);
            char tag[KD_TFEVENTS_TAG + 1];
            snprintf(tag, sizeof tag, "valid/loss_by_position/%lld",
                     (long long)json_integer_value(json_object_get(bucket, "from")));
            count = add_scalar(scalar, count, tag, json_object_get(bucket, "loss"));
        }
    }
    kd_tfevents_write(&metrics->events, json_number_value(json_object_get(row, "time")),
                      json_integer_value(json_object_get(row, "step")), scalar, count);
}

kd_status kd_metrics_open(kd_metrics *metrics, const char *output, int64_t step) {
    *metrics = (kd_metrics){.fd = -1, .events.fd = -1, .path = kd_path_join(output, "metrics.jsonl")};
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
    char *folder = kd_path_join(output, "tb");
    if (!folder) return kd_fail(KD_ENOMEM, "out of memory");
    if (kd_tfevents_open(&metrics->events, folder, unix_seconds(), step))
        kd_warn("nothing for TensorBoard: %s", kd_message());
    free(folder);
    return KD_OK;
}

kd_status kd_metrics_write(kd_metrics *metrics, json_t *row) {
    char *text = NULL;
    kd_status status = KD_OK;
    if (!row || json_object_set_new(row, "time", json_real(unix_seconds()))) status = kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_json_print(&text, row, JSON_COMPACT, metrics->path);
    if (!status) {
        size_t length = strlen(text);
        text[length] = '\n';  /* in the place of the ending NUL */
        append(metrics, text, length + 1);
        publish(metrics, row);
    }
    free(text);
    json_decref(row);
    return status;
}

void kd_metrics_close(kd_metrics *metrics) {
    if (metrics->lost) kd_warn("%s: %lld lines were lost", metrics->path, (long long)metrics->lost);
    if (metrics->fd >= 0) close(metrics->fd);
    kd_tfevents_close(&metrics->events);
    free(metrics->path);
    *metrics = (kd_metrics){.fd = -1, .events.fd = -1};
}

#include "tfevents.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* A record at its largest: framing, time and step, and for each scalar its tag, its value and the lengths around them. */
enum { RECORD = 64 + KD_TFEVENTS_SCALARS * (KD_TFEVENTS_TAG + 16) };

/* Protobuf wire types, and the fields of Event, SessionLog, Summary and Summary.Value. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { WALL_TIME = 1, STEP = 2, FILE_VERSION = 3, SUMMARY = 5, SESSION_LOG = 7 };
enum { STATUS = 1, VALUE = 1, TAG = 1, SIMPLE_VALUE = 2 };
enum { SESSION_START = 1 };

/* Bytes that grow from the front. */
typedef struct bytes { int64_t size; unsigned char data[RECORD]; } bytes;

uint32_t kd_crc32c(const void *data, int64_t size) {
    const unsigned char *at = data;
    uint32_t crc = ~(uint32_t)0;
    for (int64_t i = 0; i < size; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);  /* the polynomial, bits reversed */
    }
    return ~crc;
}

/* TFRecord stores a CRC rotated and moved, so that the CRC of a file of records stays a good one. */
static uint32_t masked(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8; }

static void put(bytes *to, const void *data, int64_t size) {
    assert(to->size + size <= RECORD);
    memcpy(to->data + to->size, data, (size_t)size);
    to->size += size;
}

/* Little-endian, whatever the machine. */
static void put_fixed(bytes *to, uint64_t value, int size) {
    for (int i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)(value >> 8 * i);
        put(to, &byte, 1);
    }
}

static void put_varint(bytes *to, uint64_t value) {
    for (; value > 127; value >>= 7) put_fixed(to, value % 128 + 128, 1);
    put_fixed(to, value, 1);
}

static void put_key(bytes *to, int field, int wire) { put_varint(to, (uint64_t)(field << 3 | wire)); }

static void put_bytes(bytes *to, int field, const void *data, int64_t size) {
    put_key(to, field, BYTES);
    put_varint(to, (uint64_t)size);
    put(to, data, size);
}

static void put_event(bytes *event, double time, int64_t step) {
    uint64_t bits;
    memcpy(&bits, &time, sizeof bits);
    event->size = 0;
    put_key(event, WALL_TIME, FIXED64);
    put_fixed(event, bits, 8);
    if (!step) return;  /* protobuf's default is not written */
    put_key(event, STEP, VARINT);
    put_varint(event, (uint64_t)step);
}

static void put_scalar(bytes *summary, const kd_scalar *scalar) {
    bytes value = {0};
    uint32_t bits;
    memcpy(&bits, &scalar->value, sizeof bits);
    put_bytes(&value, TAG, scalar->tag, (int64_t)strlen(scalar->tag));
    put_key(&value, SIMPLE_VALUE, FIXED32);
    put_fixed(&value, bits, 4);
    put_bytes(summary, VALUE, value.data, value.size);
}

static void append(kd_tfevents *events, const bytes *event) {
    bytes record = {0};
    ssize_t written;
    put_fixed(&record, (uint64_t)event->size, 8);
    put_fixed(&record, masked(kd_crc32c(record.data, 8)), 4);
    put(&record, event->data, event->size);
    put_fixed(&record, masked(kd_crc32c(event->data, event->size)), 4);
    do written = write(events->fd, record.data, (size_t)record.size);
    while (written < 0 && errno == EINTR);
    if (written != record.size && events->lost++ == 0)
        kd_warn("%s: a record could not be written: %s", events->path, written < 0 ? strerror(errno) : "cut short");
}

static void begin(kd_tfevents *events, double time, int64_t step) {
    static const char version[] = "brain.Event:2";
    bytes event, log = {0};
    put_event(&event, time, 0);
    put_bytes(&event, FILE_VERSION, version, sizeof version - 1);
    append(events, &event);
    put_key(&log, STATUS, VARINT);
    put_varint(&log, SESSION_START);
    put_event(&event, time, step);
    put_bytes(&event, SESSION_LOG, log.data, log.size);
    append(events, &event);
}

kd_status kd_tfevents_open(kd_tfevents *events, const char *folder, double time, int64_t step) {
    *events = (kd_tfevents){.fd = -1};
    char host[64] = "host", name[160];
    KD_TRY(kd_make_folders(folder));
    gethostname(host, sizeof host - 1);
    for (int n = 0; events->fd < 0; n++) {
        snprintf(name, sizeof name, "events.out.tfevents.%010lld.%s.%ld.%d", (long long)time, host, (long)getpid(), n);
        events->path = kd_path_join(folder, name);
        if (!events->path) return kd_fail(KD_ENOMEM, "out of memory");
        events->fd = open(events->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (events->fd >= 0) break;
        kd_status status = errno == EEXIST ? KD_OK : kd_fail_errno(KD_EIO, "%s", events->path);
        free(events->path);
        events->path = NULL;
        if (status) return status;
    }
    begin(events, time, step);
    return KD_OK;
}

void kd_tfevents_write(kd_tfevents *events, double time, int64_t step, const kd_scalar *scalar, int64_t count) {
    if (!events->path || !count) return;
    bytes event, summary = {0};
    for (int64_t i = 0; i < count; i++) put_scalar(&summary, &scalar[i]);
    put_event(&event, time, step);
    put_bytes(&event, SUMMARY, summary.data, summary.size);
    append(events, &event);
}

void kd_tfevents_close(kd_tfevents *events) {
    if (events->path && events->lost) kd_warn("%s: %lld records were lost", events->path, (long long)events->lost);
    if (events->path) close(events->fd);
    free(events->path);
    *events = (kd_tfevents){.fd = -1};
}

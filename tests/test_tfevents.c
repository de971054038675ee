/* Event files for TensorBoard: the checksum, the bytes, and that a failed write does no harm. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "format/tfevents.h"
#include "scratch.h"

/* RFC 3720, appendix B.4. */
static void the_checksum_is_crc32c(void **state) {
    (void)state;
    unsigned char data[32];
    memset(data, 0, 32);
    assert_int_equal(kd_crc32c(data, 32), 0x8a9136aa);
    memset(data, 255, 32);
    assert_int_equal(kd_crc32c(data, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++) data[i] = (unsigned char)i;
    assert_int_equal(kd_crc32c(data, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++) data[i] = (unsigned char)(31 - i);
    assert_int_equal(kd_crc32c(data, 32), 0x113fdb5c);
    assert_int_equal(kd_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(kd_crc32c("", 0), 0);
}

static uint64_t little(const unsigned char *at, int size) {
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; i--) value = value << 8 | at[i];
    return value;
}

/* The next record of a file; its framing is checked. Returns where the one behind it begins. */
static const unsigned char *read_record(const unsigned char **event, int64_t *size, const unsigned char *at) {
    *size = (int64_t)little(at, 8);
    *event = at + 12;
    uint32_t crc[2] = {(uint32_t)little(at + 8, 4), (uint32_t)little(*event + *size, 4)};
    for (int i = 0; i < 2; i++) {  /* undo the mask */
        uint32_t moved = crc[i] - 0xa282ead8;
        crc[i] = moved >> 17 | moved << 15;
    }
    assert_int_equal(crc[0], kd_crc32c(at, 8));
    assert_int_equal(crc[1], kd_crc32c(*event, *size));
    return *event + *size + 4;
}

static void a_file_has_these_bytes(void **state) {
    (void)state;
    static const unsigned char time[] = "\x09\0\0\0\0\0\0\x04\x40";  /* field 1, eight bytes: 2.5 */
    static const unsigned char first[] = "\x1a\x0d" "brain.Event:2";
    static const unsigned char session[] = "\x10\x07" "\x3a\x02\x08\x01";  /* step 7; session_log {status: START} */
    static const unsigned char scalars[] = "\x10\xac\x02"  /* step 300 */
        "\x2a\x1e" "\x0a\x0b" "\x0a\x04" "loss" "\x15\0\0\x80\x3f" "\x0a\x0f" "\x0a\x08" "valid/ab" "\x15\0\0\0\xc0";
    kd_tfevents events;
    assert_done(kd_tfevents_open(&events, in_scratch("bytes/tb"), 2.5, 7));
    kd_tfevents_write(&events, 2.5, 300, (kd_scalar[]){{"loss", 1}, {"valid/ab", -2}}, 2);
    kd_tfevents_write(&events, 2.5, 301, NULL, 0);  /* nothing to say, nothing written */
    assert_non_null(strstr(events.path, "/events.out.tfevents.0000000002."));
    char *data;
    int64_t size, length;
    assert_done(kd_file_read(&data, &size, events.path, 1 << 20));
    kd_tfevents_close(&events);
    const unsigned char *at = (unsigned char *)data, *event;
    const struct { const unsigned char *bytes; int64_t size; } rest[] = {
        {first, sizeof first - 1}, {session, sizeof session - 1}, {scalars, sizeof scalars - 1}};
    for (int i = 0; i < 3; i++) {
        at = read_record(&event, &length, at);
        assert_int_equal(length, 9 + rest[i].size);
        assert_memory_equal(event, time, 9);
        assert_memory_equal(event + 9, rest[i].bytes, rest[i].size);
    }
    assert_ptr_equal(at, data + size);
    free(data);
}

static void two_starts_in_a_second_are_two_files(void **state) {
    (void)state;
    kd_tfevents a, b;
    kd_paths names;
    assert_done(kd_tfevents_open(&a, in_scratch("two"), 5, 0));
    assert_done(kd_tfevents_open(&b, in_scratch("two"), 5, 0));
    assert_string_not_equal(a.path, b.path);
    kd_tfevents_close(&a);
    kd_tfevents_close(&b);
    assert_done(kd_list_folder(&names, in_scratch("two")));
    assert_int_equal(names.count, 2);
    kd_paths_free(&names);
}

static void the_largest_record_fits(void **state) {
    (void)state;
    kd_scalar scalar[KD_TFEVENTS_SCALARS];
    for (int i = 0; i < KD_TFEVENTS_SCALARS; i++) {
        memset(scalar[i].tag, 'x', KD_TFEVENTS_TAG);
        scalar[i].tag[KD_TFEVENTS_TAG] = 0;
        scalar[i].value = 1;
    }
    kd_tfevents events;
    assert_done(kd_tfevents_open(&events, in_scratch("large"), 1e9, INT64_MAX));
    kd_tfevents_write(&events, 1e9, INT64_MAX, scalar, KD_TFEVENTS_SCALARS);
    assert_int_equal(events.lost, 0);
    kd_tfevents_close(&events);
}

static void a_lost_record_is_counted_and_nothing_more(void **state) {
    (void)state;
    kd_log_level(KD_QUIET);
    kd_tfevents events, none = {.fd = -1};
    assert_done(kd_tfevents_open(&events, in_scratch("lost"), 1, 0));
    int full = open("/dev/full", O_WRONLY);
    assert_true(full >= 0);
    dup2(full, events.fd);
    close(full);
    for (int i = 0; i < 3; i++) kd_tfevents_write(&events, 1, i, (kd_scalar[]){{"loss", 1}}, 1);
    assert_int_equal(events.lost, 3);
    kd_tfevents_close(&events);
    kd_tfevents_write(&none, 1, 1, (kd_scalar[]){{"loss", 1}}, 1);
    kd_tfevents_close(&none);
    kd_log_level(KD_INFO);
}

static void a_folder_that_cannot_be_made_is_named(void **state) {
    (void)state;
    kd_tfevents events;
    const char *file = scratch_text("file", "");
    char folder[600];
    snprintf(folder, sizeof folder, "%s/tb", file);
    assert_fails(kd_tfevents_open(&events, folder, 1, 0), KD_EIO, "file");
    kd_tfevents_close(&events);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_checksum_is_crc32c),
        cmocka_unit_test(a_file_has_these_bytes),
        cmocka_unit_test(two_starts_in_a_second_are_two_files),
        cmocka_unit_test(the_largest_record_fits),
        cmocka_unit_test(a_lost_record_is_counted_and_nothing_more),
        cmocka_unit_test(a_folder_that_cannot_be_made_is_named),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

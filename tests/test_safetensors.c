/* safetensors: what is written is read back, and no header is believed that does not tile its data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <unistd.h>

#include <cmocka.h>

#include "base/half.h"
#include "format/safetensors.h"
#include "scratch.h"

/* A file of a header, a number of data bytes 0, 1, 2 ..., and its path. */
static const char *file_of(const char *header, int64_t header_size, int64_t data_size) {
    unsigned char *bytes = malloc((size_t)(8 + header_size + data_size));
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)((uint64_t)header_size >> 8 * i);
    memcpy(bytes + 8, header, (size_t)header_size);
    for (int64_t i = 0; i < data_size; i++) bytes[8 + header_size + i] = (unsigned char)i;
    const char *path = scratch_file("x.safetensors", bytes, 8 + header_size + data_size);
    free(bytes);
    return path;
}

static const char *file_with(const char *header, int64_t data_size) {
    return file_of(header, (int64_t)strlen(header), data_size);
}

static void assert_refused(const char *path, const char *why) {
    kd_tensors tensors;
    assert_fails(kd_tensors_open(&tensors, path), KD_EFORMAT, "x.safetensors", why);
    assert_int_equal(tensors.count, 0);
    assert_null(tensors.tensor);
    kd_tensors_close(&tensors);
}

/* ---- what is right ----------------------------------------------------------------------------------------- */

static void what_is_written_is_read_back(void **state) {
    (void)state;
    static const float weight[6] = {1, -2, 3.5f, 0, 1e-30f, -1e30f};
    static const int64_t index[2] = {-5, INT64_MAX};
    static const uint16_t half[3] = {0x3f80, 0xc000, 0x7f80};
    static const char *const metadata[] = {"step", "12", "note", "\xc3\xa9 \"quoted\""};
    const kd_tensor_spec spec[] = {
        {"b.weight", KD_F32, 2, {2, 3}}, {"index", KD_I64, 1, {2}}, {"a.half", KD_BF16, 1, {3}},
        {"scalar", KD_U8, 0, {0}}, {"nothing", KD_F32, 2, {0, 7}}, {"\xe4\xb8\xad \"x\\", KD_BOOL, 1, {1}},
    };
    kd_tensors_writer writer;
    const char *path = in_scratch("model.safetensors");
    assert_done(kd_tensors_create(&writer, path, spec, 6, metadata, 2));
    assert_done(kd_tensors_put(&writer, weight, 12));
    assert_done(kd_tensors_put(&writer, (const char *)weight + 12, 12));
    assert_done(kd_tensors_put(&writer, index, sizeof index));
    assert_done(kd_tensors_put(&writer, half, sizeof half));
    assert_done(kd_tensors_put(&writer, "\x07", 1));
    assert_done(kd_tensors_put(&writer, "\x01", 1));
    assert_done(kd_tensors_finish(&writer));

    kd_tensors tensors;
    float wide[6];
    int64_t number[2];
    assert_done(kd_tensors_open(&tensors, path));
    assert_int_equal(tensors.count, 6);
    assert_int_equal(kd_tensors_find(&tensors, "b.weight")->at % 8, 0);
    for (int64_t i = 1; i < 6; i++) assert_true(strcmp(tensors.tensor[i - 1].name, tensors.tensor[i].name) < 0);
    for (int64_t i = 0; i < 6; i++) {
        const kd_tensor *tensor = kd_tensors_find(&tensors, spec[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dtype, spec[i].dtype);
        assert_int_equal(tensor->rank, spec[i].rank);
        assert_memory_equal(tensor->shape, spec[i].shape, (size_t)tensor->rank * 8);
    }
    assert_int_equal(kd_tensors_find(&tensors, "scalar")->count, 1);
    assert_int_equal(kd_tensors_find(&tensors, "nothing")->count, 0);
    assert_null(kd_tensors_find(&tensors, "b.weigh"));
    assert_done(kd_tensor_read_f32(wide, kd_tensors_find(&tensors, "b.weight"), 0, 6));
    assert_memory_equal(wide, weight, sizeof weight);
    uint16_t stored[2];
    assert_done(kd_tensor_read(stored, kd_tensors_find(&tensors, "a.half"), 1, 2));
    assert_memory_equal(stored, half + 1, sizeof stored);
    assert_done(kd_tensor_read_f32(wide, kd_tensors_find(&tensors, "a.half"), 1, 2));
    assert_true(wide[0] == -2 && wide[1] > 3e38f);
    assert_done(kd_tensor_read_i64(number, kd_tensors_find(&tensors, "index"), 0, 2));
    assert_memory_equal(number, index, sizeof index);
    assert_string_equal(tensors.metadata, "{\"format\":\"pt\",\"step\":\"12\",\"note\":\"\xc3\xa9 \\\"quoted\\\"\"}");
    kd_tensors_close(&tensors);
}

static void headers_of_other_writers_are_read(void **state) {
    (void)state;
    static const struct { const char *header; int64_t data, tensors; } cases[] = {
        {"{}", 0, 0},
        {"{}      ", 0, 0},
        {"{\"__metadata__\":{}}", 0, 0},
        {"{\"a\":{\"data_offsets\":[0,4],\"shape\":[4],\"dtype\":\"I8\"}}  ", 4, 1},
        {"{\n \"a\" : { \"dtype\" : \"F32\", \"shape\" : [ ], \"data_offsets\" : [ 0, 4 ] }\n}", 4, 1},
        {"{\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 4, 3},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,2],\"data_offsets\":[0,2]}}", 2, 1},
        {"{\"-{[\\\"-\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, 1},
        {"{\"../../etc/passwd\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_tensors tensors;
        assert_done(kd_tensors_open(&tensors, file_with(cases[i].header, cases[i].data)));
        assert_int_equal(tensors.count, cases[i].tensors);
        kd_tensors_close(&tensors);
    }
}

static void a_hundred_thousand_tensors_are_found(void **state) {
    (void)state;
    enum { COUNT = 100000 };
    char *header = malloc(COUNT * 80), *p = header;
    *p++ = '{';
    for (int i = 0; i < COUNT; i++)
        p += sprintf(p, "%s\"t%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i, i, i + 1);
    *p++ = '}';
    kd_tensors tensors;
    assert_done(kd_tensors_open(&tensors, file_of(header, p - header, COUNT)));
    assert_int_equal(tensors.count, COUNT);
    for (int i = 0; i < COUNT; i += 997) {
        char name[16];
        int64_t value;
        snprintf(name, sizeof name, "t%d", i);
        assert_done(kd_tensor_read_i64(&value, kd_tensors_find(&tensors, name), 0, 1));
        assert_int_equal(value, i & 255);
    }
    kd_tensors_close(&tensors);
    free(header);
}

/* ---- elements ---------------------------------------------------------------------------------------------- */

static void every_type_is_widened_wherever_it_lies(void **state) {
    (void)state;
    enum { COUNT = 20000 };  /* more than two of the reader's pieces, and a rest */
    static char memory[COUNT * 8 + 8];
    static float wide[COUNT];
    static int64_t number[COUNT];
    for (size_t i = 0; i < sizeof memory; i++) memory[i] = (char)(i * 2654435761u >> 11);
    for (size_t i = 7; i < sizeof memory; i += 8) memory[i] &= 0x7f;  /* as U64 it fits, wherever it begins by eights */
    kd_source file;
    assert_done(kd_source_open(&file, scratch_file("elements", memory, sizeof memory)));
    for (int dtype = 0; dtype < KD_DTYPES; dtype++) {
        for (int shift = 0; shift < 3; shift++) {
            if (dtype == KD_U64 && shift) continue;
            kd_tensor tensor = {.name = (char *)(uintptr_t)"t", .path = "p", .dtype = (kd_dtype)dtype, .count = COUNT, .file = &file, .at = shift};
            int64_t from = shift * 3, count = COUNT - from;
            bool real = dtype <= KD_BF16, integer = dtype >= KD_I64 && dtype <= KD_U8;
            kd_status as_real = kd_tensor_read_f32(wide, &tensor, from, count);
            kd_status as_integer = kd_tensor_read_i64(number, &tensor, from, count);
            assert_int_equal(as_real, real ? KD_OK : KD_EFORMAT);
            assert_int_equal(as_integer, integer ? KD_OK : KD_EFORMAT);
            for (int64_t i = 0; i < count; i++) {
                union { char bytes[8]; double f64; float f32; uint16_t u16; int64_t i64; int32_t i32; int16_t i16; int8_t i8;
                        uint32_t u32; uint8_t u8; } x = {{0}};
                memcpy(x.bytes, memory + shift + (from + i) * kd_dtype_size(tensor.dtype), (size_t)kd_dtype_size(tensor.dtype));
                float f = dtype == KD_F64 ? (float)x.f64 : dtype == KD_F32 ? x.f32 : dtype == KD_F16 ? kd_f16_widen(x.u16) : kd_bf16_widen(x.u16);
                int64_t n = dtype == KD_I32 ? x.i32 : dtype == KD_I16 ? x.i16 : dtype == KD_I8 ? x.i8 : dtype == KD_U32 ? x.u32
                          : dtype == KD_U16 ? x.u16 : dtype == KD_U8 ? x.u8 : x.i64;
                if (real && f == f) assert_true(wide[i] == f);
                if (real && f != f) assert_true(wide[i] != wide[i]);
                if (integer) assert_true(number[i] == n);
            }
        }
    }
    kd_source_close(&file);
}

static void what_lies_outside_a_tensor_is_not_read(void **state) {
    (void)state;
    float out[4] = {0}, data[4] = {0};
    int64_t number;
    uint64_t large = (uint64_t)1 << 63;
    kd_source file;
    assert_done(kd_source_open(&file, scratch_file("elements", data, sizeof data)));
    kd_tensor tensor = {.name = (char *)(uintptr_t)"t", .path = "p", .dtype = KD_F32, .count = 4, .file = &file};
    assert_done(kd_tensor_read_f32(out, &tensor, 4, 0));
    assert_fails(kd_tensor_read_f32(out, &tensor, 4, 1), KD_EARG, "p: tensor t: 1 elements from 4 of 4");
    assert_fails(kd_tensor_read_f32(out, &tensor, -1, 1), KD_EARG, "tensor t");
    assert_fails(kd_tensor_read_f32(out, &tensor, 5, -1), KD_EARG, "tensor t");
    assert_fails(kd_tensor_read_f32(out, &tensor, 1, INT64_MAX), KD_EARG, "tensor t");
    kd_source_close(&file);
    assert_done(kd_source_open(&file, scratch_file("elements", &large, sizeof large)));
    tensor = (kd_tensor){.name = tensor.name, .path = "p", .dtype = KD_U64, .count = 1, .file = &file};
    assert_fails(kd_tensor_read_i64(&number, &tensor, 0, 1), KD_EFORMAT, "tensor t: 9223372036854775808 does not fit");
    kd_source_close(&file);
}

static void a_file_that_shrinks_under_a_tensor_is_an_error(void **state) {
    (void)state;
    kd_tensors tensors;
    float wide[3000];
    int64_t number;
    const char *path = file_with("{\"a\":{\"dtype\":\"BF16\",\"shape\":[3000],\"data_offsets\":[0,6000]},"
                                 "\"b\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[6000,6001]}}    ", 6001);
    assert_done(kd_tensors_open(&tensors, path));
    assert_int_equal(truncate(path, 1000), 0);
    assert_fails(kd_tensor_read_f32(wide, &tensors.tensor[0], 0, 3000), KD_EFORMAT, "x.safetensors: ends at or before byte 1000, it had 61");
    assert_fails(kd_tensor_read_i64(&number, &tensors.tensor[1], 0, 1), KD_EFORMAT, "x.safetensors: ends at or before byte 61");
    kd_tensors_close(&tensors);
}

/* ---- attacks ----------------------------------------------------------------------------------------------- */

static void a_header_length_is_not_believed(void **state) {
    (void)state;
    static const struct { uint64_t length; const char *why; } cases[] = {
        {0, "not one {...}"}, {1, "not one {...}"}, {11, "header of 11 bytes in a file of 18"}, {18, "in a file of 18"},
        {100000000, "in a file of 18"}, {100000001, "at most 100000000"}, {(uint64_t)1 << 32, "at most 100000000"},
        {(uint64_t)1 << 63, "at most 100000000"}, {UINT64_MAX, "at most 100000000"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char bytes[18] = "12345678{}        ";
        for (int k = 0; k < 8; k++) bytes[k] = (unsigned char)(cases[i].length >> 8 * k);
        assert_refused(scratch_file("x.safetensors", bytes, sizeof bytes), cases[i].why);
    }
    for (int64_t size = 0; size < 8; size++) assert_refused(scratch_file("x.safetensors", "\2\0\0\0\0\0\0\0", size), "not even a header's length");
    assert_refused(scratch_file("x.safetensors", "\2\0\0\0\0\0\0\0{", 9), "header of 2 bytes in a file of 9");
}

static void a_header_is_one_object_and_spaces(void **state) {
    (void)state;
    static const char *const cases[] = {" {}", "[]", "{}\n", "{}\t", "{} {}", "{}x", "{", "\"{}\"", "\xef\xbb\xbf{}", "{}}", "{\"a\"}"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_refused(file_with(cases[i], 0), "");
    assert_refused(file_of("{}\0\0", 4, 0), "padded with spaces");
    assert_refused(file_of("{\0}", 3, 0), "");
}

static void a_header_is_valid_text(void **state) {
    (void)state;
    static const char *const name[] = {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\\ud800", "a\\u0000b", "\x01"};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char header[200];
        snprintf(header, sizeof header, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name[i]);
        assert_refused(file_with(header, 1), "x.safetensors:1:");
    }
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    char *header = malloc(2000001);
    memcpy(header, "{\"a\":", 5);
    memset(header + 5, '[', 1999994);
    header[1999999] = '}';
    assert_refused(file_of(header, 2000000, 0), "x.safetensors:1:69: nested deeper than 64");
    free(header);
    assert_refused(file_with("{\"a\":{\"dtype\":\"U8\",\"shape\":[[1]],\"data_offsets\":[0,1]}}", 1), "shape[0] is not an integer");
}

/* Each with one tensor t over four bytes of data, but for what is wrong with it. */
static void an_entry_is_exactly_right_or_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"7", "not exactly dtype, shape and data_offsets"},
        {"{\"dtype\":\"U8\",\"shape\":[4]}", "not exactly"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"more\":1}", "not exactly"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"dtype\":\"U8\",\"data_offsets\":[0,4]}", "repeated key"},
        {"{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}", "tensor t: unknown dtype F31"},
        {"{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}", "unknown dtype f32"},
        {"{\"dtype\":\"F4\",\"shape\":[8],\"data_offsets\":[0,4]}", "unknown dtype F4"},
        {"{\"dtype\":\"U8\\u0000\",\"shape\":[4],\"data_offsets\":[0,4]}", "unknown dtype U8"},
        {"{\"dtype\":5,\"shape\":[4],\"data_offsets\":[0,4]}", "dtype is not a string"},
        {"{\"dtype\":\"U8\",\"shape\":4,\"data_offsets\":[0,4]}", "shape is not a list"},
        {"{\"dtype\":\"U8\",\"shape\":[4.0],\"data_offsets\":[0,4]}", "shape[0] is not an integer"},
        {"{\"dtype\":\"U8\",\"shape\":[4e0],\"data_offsets\":[0,4]}", "shape[0] is not an integer"},
        {"{\"dtype\":\"U8\",\"shape\":[\"4\"],\"data_offsets\":[0,4]}", "shape[0] is not an integer"},
        {"{\"dtype\":\"U8\",\"shape\":[true],\"data_offsets\":[0,4]}", "shape[0] is not an integer"},
        {"{\"dtype\":\"U8\",\"shape\":[-4],\"data_offsets\":[0,4]}", "shape[0] is -4"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-0,4]}", "data_offsets[0] is not an integer"},
        {"{\"dtype\":\"U8\",\"shape\":[-1,-4],\"data_offsets\":[0,4]}", "shape[0] is -1"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,99999999999999999999]}", "an integer beyond 64 bits"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,1e999]}", "beyond the range of double"},
        {"{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,4],\"data_offsets\":[0,4]}", "shape has 9 numbers, at most 8"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}", "data_offsets [0, -1]"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[]}", "data_offsets [-1, -1]"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4,4]}", "data_offsets has 3 numbers"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{}}", "data_offsets is not a list"},
        {"{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,0]}", "data_offsets [4, 0]"},
        {"{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]}", "data_offsets [0, 5] in 4 bytes"},
        {"{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,4]}", "4 bytes, its shape needs 3"},
        {"{\"dtype\":\"U16\",\"shape\":[4],\"data_offsets\":[0,4]}", "4 bytes, its shape needs 8"},
        {"{\"dtype\":\"U8\",\"shape\":[8589934592,2147483648],\"data_offsets\":[0,4]}", "tensor t: size 8589934592 x 2147483648 does not fit"},
        {"{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}", "does not fit"},
        {"{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}", "the tensors end at byte 3 of 4"},
        {"{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[1,4]}", "begins at byte 1 of the data, leaving a hole from byte 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[300];
        snprintf(header, sizeof header, "{\"t\":%s}", cases[i][0]);
        assert_refused(file_with(header, 4), cases[i][1]);
    }
}

static void tensors_neither_overlap_nor_leave_holes(void **state) {
    (void)state;
    static const struct { int64_t a, b, c, d; const char *why; } cases[] = {
        {0, 2, 2, 4, NULL}, {2, 4, 0, 2, NULL}, {0, 0, 0, 4, NULL}, {0, 4, 4, 4, NULL},
        {0, 3, 2, 4, "overlapping what ends at byte 3"},
        {0, 4, 0, 4, "overlapping what ends at byte 4"},
        {0, 4, 1, 1, "overlapping what ends at byte 4"},
        {0, 1, 2, 4, "leaving a hole from byte 1"},
        {0, 1, 1, 3, "the tensors end at byte 3 of 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char header[300];
        kd_tensors tensors;
        snprintf(header, sizeof header,
                 "{\"x\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]},\"y\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}",
                 (int)(cases[i].b - cases[i].a), (int)cases[i].a, (int)cases[i].b, (int)(cases[i].d - cases[i].c), (int)cases[i].c,
                 (int)cases[i].d);
        if (cases[i].why) {
            assert_refused(file_with(header, 4), cases[i].why);
        } else {
            assert_done(kd_tensors_open(&tensors, file_with(header, 4)));
            kd_tensors_close(&tensors);
        }
    }
    assert_refused(file_with("{}", 1), "the tensors end at byte 0 of 1");
}

static void a_name_stands_once_however_it_is_escaped(void **state) {
    (void)state;
    static const char *const second[] = {"a", "\\u0061"};
    for (int i = 0; i < 2; i++) {
        char header[300];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
                 second[i]);
        assert_refused(file_with(header, 2), "repeated key");
    }
}

static void metadata_is_texts_by_name(void **state) {
    (void)state;
    assert_refused(file_with("{\"__metadata__\":{\"a\":1}}", 0), "__metadata__: a is not a string");
    assert_refused(file_with("{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0), "__metadata__: a is not a string");
    assert_refused(file_with("{\"__metadata__\":[]}", 0), "__metadata__ is not an object");
    assert_refused(file_with("{\"__metadata__\":null}", 0), "__metadata__ is not an object");
}

/* ---- folders ----------------------------------------------------------------------------------------------- */

#define ONE(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"

static void put_shard(const char *path, const char *header) {
    char *bytes;
    int64_t size;
    assert_done(kd_file_read(&bytes, &size, file_with(header, 1), 1 << 20));
    scratch_file(path, bytes, size);
    free(bytes);
}

static void shards_are_one_table(void **state) {
    (void)state;
    kd_tensors tensors;
    assert_done(kd_make_folders(in_scratch("m")));
    put_shard("m/one.safetensors", ONE("b"));
    put_shard("m/two.safetensors", ONE("a"));
    scratch_text("m/model.safetensors.index.json",
                 "{\"metadata\":{\"total_size\":2},\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}");
    assert_done(kd_tensors_open_folder(&tensors, in_scratch("m")));
    assert_int_equal(tensors.count, 2);
    assert_int_equal(tensors.files, 2);
    assert_string_equal(tensors.tensor[0].name, "a");
    assert_non_null(strstr(kd_tensors_find(&tensors, "a")->path, "m/two.safetensors"));
    assert_non_null(strstr(kd_tensors_find(&tensors, "b")->path, "m/one.safetensors"));
    kd_tensors_close(&tensors);
}

static void a_folder_without_index_has_one_file(void **state) {
    (void)state;
    kd_tensors tensors;
    assert_done(kd_make_folders(in_scratch("single")));
    assert_fails(kd_tensors_open_folder(&tensors, in_scratch("single")), KD_EIO, "single: neither model.safetensors nor");
    kd_tensors_close(&tensors);
    put_shard("single/model.safetensors", ONE("b"));
    assert_done(kd_tensors_open_folder(&tensors, in_scratch("single")));
    assert_non_null(kd_tensors_find(&tensors, "b"));
    kd_tensors_close(&tensors);
}

static void a_wrong_index_is_refused(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "\"weight_map\" is not an object"},
        {"{\"weight_map\":[]}", "\"weight_map\" is not an object"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"a\":\"two.safetensors\"}}", "repeated key"},
        {"{\"weight_map\":{\"a\":5}}", "\"a\" is not a string"},
        {"{\"weight_map\":{\"a\":null}}", "tensor a: no shard"},
        {"{\"weight_map\":{\"a\":\"\"}}", "tensor a: shard  is not a file of this folder"},
        {"{\"weight_map\":{\"a\":\"..\"}}", "shard .. is not a file of this folder"},
        {"{\"weight_map\":{\"a\":\".\"}}", "shard . is not a file of this folder"},
        {"{\"weight_map\":{\"a\":\"../x.safetensors\"}}", "shard ../x.safetensors is not a file of this folder"},
        {"{\"weight_map\":{\"a\":\"/etc/passwd\"}}", "shard /etc/passwd is not a file of this folder"},
        {"{\"weight_map\":{\"a\":\"sub/one.safetensors\"}}", "is not a file of this folder"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\\u0000\"}}", "contains U+0000"},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", "tensor a is in two.safetensors and not in one.safetensors"},
        {"{\"weight_map\":{\"a\":\"two.safetensors\",\"c\":\"two.safetensors\"}}", "tensor c is not in two.safetensors"},
        {"{\"weight_map\":{\"a\":\"two.safetensors\",\"d\":\"copy.safetensors\"}}", "tensor a is in "},
    };
    assert_done(kd_make_folders(in_scratch("w")));
    put_shard("w/one.safetensors", ONE("b"));
    put_shard("w/two.safetensors", ONE("a"));
    put_shard("w/copy.safetensors", ONE("a"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_tensors tensors;
        scratch_text("w/model.safetensors.index.json", cases[i][0]);
        assert_fails(kd_tensors_open_folder(&tensors, in_scratch("w")), KD_EFORMAT, "model.safetensors.index.json", cases[i][1]);
        assert_null(tensors.tensor);
    }
    kd_tensors tensors;
    scratch_text("w/model.safetensors.index.json", "{\"weight_map\":{\"a\":\"two.safetensors\",\"d\":\"gone.safetensors\"}}");
    assert_fails(kd_tensors_open_folder(&tensors, in_scratch("w")), KD_EIO, "shard gone.safetensors is missing");
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static void a_writer_refuses_what_no_reader_would_take(void **state) {
    (void)state;
    static const struct { kd_tensor_spec spec[2]; int64_t count; const char *why; } cases[] = {
        {{{"a", KD_F32, 1, {1}}, {"a", KD_F32, 1, {1}}}, 2, "repeated name"},
        {{{"", KD_F32, 1, {1}}}, 1, "empty"},
        {{{"__metadata__", KD_F32, 1, {1}}}, 1, "reserved"},
        {{{"a", KD_F32, 9, {1}}}, 1, "rank 9"},
        {{{"a", KD_DTYPES, 1, {1}}}, 1, "dtype 13"},
        {{{"a", KD_F32, 1, {-1}}}, 1, "tensor a: size"},
        {{{"a", KD_F32, 2, {INT64_MAX / 2, 4}}}, 1, "does not fit"},
        {{{"a", KD_F64, 1, {INT64_MAX / 8}}, {"b", KD_F64, 1, {INT64_MAX / 8}}}, 2, "tensor b: its data does not fit"},
        {{{"a", KD_U8, 1, {INT64_MAX}}}, 1, "do not fit behind the header"},
        {{{"\xff", KD_F32, 1, {1}}}, 1, "\xff\" is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_tensors_writer writer;
        assert_fails(kd_tensors_create(&writer, in_scratch("new"), cases[i].spec, cases[i].count, NULL, 0), KD_EARG, cases[i].why);
        kd_tensors_abandon(&writer);
        assert_false(kd_exists(in_scratch("new")));
    }
    static const char *const metadata[] = {"key", "\xc0\x80"};
    kd_tensors_writer writer;
    assert_fails(kd_tensors_create(&writer, in_scratch("new"), NULL, 0, metadata, 1), KD_EARG, "\xc0\x80\" is not UTF-8");
    kd_tensors_abandon(&writer);
}

static void a_writer_gets_exactly_the_bytes_it_promised(void **state) {
    (void)state;
    const kd_tensor_spec spec = {"a", KD_F32, 1, {2}};
    kd_tensors_writer writer;
    assert_done(kd_tensors_create(&writer, in_scratch("new"), &spec, 1, NULL, 0));
    assert_done(kd_tensors_put(&writer, "1234", 4));
    assert_fails(kd_tensors_finish(&writer), KD_EARG, "new: ", "the header promises");
    assert_fails(kd_tensors_put(&writer, "12345", 5), KD_EARG, "new: 5 bytes at byte ");
    kd_tensors_abandon(&writer);
    kd_tensors_abandon(&writer);
    assert_false(kd_exists(in_scratch("new")));
    assert_fails(kd_tensors_create(&writer, in_scratch("absent/new"), &spec, 1, NULL, 0), KD_EIO, "absent/new: cannot create");
    kd_tensors_abandon(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(headers_of_other_writers_are_read),
        cmocka_unit_test(a_hundred_thousand_tensors_are_found),
        cmocka_unit_test(every_type_is_widened_wherever_it_lies),
        cmocka_unit_test(what_lies_outside_a_tensor_is_not_read),
        cmocka_unit_test(a_file_that_shrinks_under_a_tensor_is_an_error),
        cmocka_unit_test(a_header_length_is_not_believed),
        cmocka_unit_test(a_header_is_one_object_and_spaces),
        cmocka_unit_test(a_header_is_valid_text),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(an_entry_is_exactly_right_or_refused),
        cmocka_unit_test(tensors_neither_overlap_nor_leave_holes),
        cmocka_unit_test(a_name_stands_once_however_it_is_escaped),
        cmocka_unit_test(metadata_is_texts_by_name),
        cmocka_unit_test(shards_are_one_table),
        cmocka_unit_test(a_folder_without_index_has_one_file),
        cmocka_unit_test(a_wrong_index_is_refused),
        cmocka_unit_test(a_writer_refuses_what_no_reader_would_take),
        cmocka_unit_test(a_writer_gets_exactly_the_bytes_it_promised),
    };
    return cmocka_run_group_tests_name("safetensors", tests, scratch_open, scratch_close);
}

/* JSON lines, plain and zstd: every document or an error, never a silent short read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <zstd.h>

#include "base/random.h"
#include "format/json.h"
#include "format/jsonl.h"
#include "scratch.h"

static kd_reader *open_file(const char *path) {
    kd_reader *reader;
    assert_done(kd_reader_open(&reader, path));
    return reader;
}

static kd_reader *open_text(const char *name, const char *text) { return open_file(scratch_text(name, text)); }

static void expect(kd_reader *reader, const char *text, int64_t size, const char *source, int64_t line) {
    kd_document document;
    bool more;
    assert_done(kd_reader_next(reader, &document, &more));
    assert_true(more);
    assert_int_equal(document.size, size);
    assert_memory_equal(document.text, text, (size_t)size);
    assert_string_equal(document.source, source);
    assert_int_equal(document.line, line);
}

static void expect_end(kd_reader *reader) {
    kd_document document;
    bool more = true;
    for (int i = 0; i < 2; i++) {
        assert_done(kd_reader_next(reader, &document, &more));
        assert_false(more);
    }
    kd_reader_close(reader);
}

static void expect_failure(kd_reader *reader, const char *place, const char *why) {
    kd_document document;
    bool more = true;
    assert_fails(kd_reader_next(reader, &document, &more), KD_EFORMAT, place, why);
    assert_false(more);
}

/* ---- zstd frames ------------------------------------------------------------------------------------------- */

typedef struct bytes { unsigned char data[4096]; int64_t size; } bytes;

static void add_bytes(bytes *out, const char *data, int64_t size) {
    memcpy(out->data + out->size, data, (size_t)size);
    out->size += size;
}

static void add_frame(bytes *out, const char *text, bool checksum) {
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum);
    size_t size = ZSTD_compress2(context, out->data + out->size, sizeof out->data - (size_t)out->size, text, strlen(text));
    ZSTD_freeCCtx(context);
    assert_false(ZSTD_isError(size));
    out->size += (int64_t)size;
}

static const char *zst_file(const bytes *content) { return scratch_file("x.jsonl.zst", content->data, content->size); }

/* ---- what is read ------------------------------------------------------------------------------------------ */

static void a_line_is_a_document(void **state) {
    (void)state;
    kd_reader *reader = open_text("x.jsonl", "{\"text\": \"one\", \"meta\": {\"redpajama_set_name\": \"RedPajamaArXiv\"}}\n"
                                             "{\"text\":\"\"}\n"
                                             "{ \"meta\" : { \"a\" : [1, {\"text\": \"no\"}], \"redpajama_set_name\" : \"News\" } , \"id\" : -1.5e+3,\t\"text\" : \"two\" }");
    expect(reader, "one", 3, "ArXiv", 1);
    expect(reader, "", 0, "", 2);
    expect(reader, "two", 3, "News", 3);
    expect_end(reader);
}

static void blank_lines_and_carriage_returns_are_skipped(void **state) {
    (void)state;
    kd_reader *reader = open_text("x.jsonl", "\r\n\n  \t\n{\"text\": \"a\"}\r\n\r\n{\"text\": \"b\"}\r\n\n");
    expect(reader, "a", 1, "", 4);
    expect(reader, "b", 1, "", 6);
    expect_end(reader);
    expect_end(open_text("x.jsonl", ""));
    expect_end(open_text("x.jsonl", "\n"));
}

static void escapes_are_decoded(void **state) {
    (void)state;
    static const char wanted[] = "caf\xc3\xa9 \xe4\xb8\xad \xf0\x9f\xa6\x99 \"\\/\b\f\n\r\t \x7f\0\x01\x1f \xef\xbf\xbf \xc2\x80 \xe0\xa0\x80 \xf4\x8f\xbf\xbf";
    kd_reader *reader = open_text("x.jsonl", "{\"text\": \"caf\\u00e9 \\u4E2d \\ud83e\\uDD99 \\\"\\\\\\/\\b\\f\\n\\r\\t \x7f\\u0000\\u0001\\u001f "
                                             "\\uffff \\u0080 \\u0800 \\udbff\\udfff\"}\n");
    expect(reader, wanted, sizeof wanted - 1, "", 1);
    expect_end(reader);
}

static void keys_are_compared_decoded(void **state) {
    (void)state;
    kd_reader *reader = open_text("x.jsonl", "{\"t\\u0065xt\": \"a\", \"tex\": 1, \"textt\": 2, \"text\\u0000\": 3}\n");
    expect(reader, "a", 1, "", 1);
    expect_end(reader);
}

/* Every position of an escape relative to the words that are read at once, every length of the tail. */
static void an_escape_may_stand_anywhere(void **state) {
    (void)state;
    for (int before = 0; before < 40; before++) {
        for (int after = 0; after < 20; after++) {
            char line[200], wanted[100];
            sprintf(line, "{\"text\": \"%.*s\\u00e9%.*s\\n\"}", before, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP", after, "0123456789zyxwvutsrqp");
            sprintf(wanted, "%.*s\xc3\xa9%.*s\n", before, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP", after, "0123456789zyxwvutsrqp");
            kd_reader *reader = open_text("x.jsonl", line);
            expect(reader, wanted, (int64_t)strlen(wanted), "", 1);
            kd_reader_close(reader);
        }
    }
}

/* Random texts, written by jansson in its two ways, longer and shorter than what is read at once. */
static void texts_come_back_as_jansson_wrote_them(void **state) {
    (void)state;
    static const char *const piece[] = {"a", "\n", "\"", "\\", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\xa6\x99", "the quick brown fox ",
                                        "\t", "\x01", "{", "}", "/", "12345678", "\x7f", "\xef\xbb\xbf"};
    enum { LINES = 60 };
    static char *text[LINES];
    char *file = calloc(1, 24 << 20);
    int64_t size = 0;
    for (int i = 0; i < LINES; i++) {
        uint64_t pieces = i % 10 == 9 ? 60000 : kd_random_bits(1, 0, (uint64_t)i) % 3000;
        text[i] = malloc(pieces * 24 + 1);
        char *p = text[i];
        for (uint64_t k = 0; k < pieces; k++) p = stpcpy(p, piece[kd_random_bits(2, (uint64_t)i, k) % 16]);
        *p = 0;
        json_t *record = json_pack("{s:s, s:{s:s}}", "text", text[i], "meta", "redpajama_set_name", "RedPajamaBook");
        char *line = json_dumps(record, i % 2 ? JSON_ENSURE_ASCII : 0);
        size += sprintf(file + size, "%s\n", line);
        free(line);
        json_decref(record);
    }
    kd_reader *reader = open_file(scratch_file("x.jsonl", file, size));
    for (int i = 0; i < LINES; i++) {
        expect(reader, text[i], (int64_t)strlen(text[i]), "Book", i + 1);
        free(text[i]);
    }
    expect_end(reader);
    free(file);
}

static void any_other_file_is_one_document(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"notes.md", "md"}, {"Makefile", ""}, {".hidden", ""}, {"a.tar.c", "c"}, {"x.jsonl.bak", "bak"}, {"end.", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_reader *reader = open_text(cases[i][0], "line\n{\"text\"\n\n");
        expect(reader, "line\n{\"text\"\n\n", 14, cases[i][1], 1);
        expect_end(reader);
    }
    kd_reader *reader = open_text("empty.txt", "");
    expect(reader, "", 0, "txt", 1);
    expect_end(reader);
    bytes content = {.size = 0};
    add_frame(&content, "inside", true);
    reader = open_file(scratch_file("n.md.zst", content.data, content.size));
    expect(reader, "inside", 6, "md", 1);
    expect_end(reader);
}

static void a_plain_file_must_be_utf8(void **state) {
    (void)state;
    kd_reader *reader = open_text("x.txt", "abc\xff");
    expect_failure(reader, "x.txt: byte 3: ", "not valid UTF-8");
    expect_end(reader);
    reader = open_text("x.txt", "\xef\xbb\xbfmark");
    expect_failure(reader, "x.txt: ", "byte order mark");
    expect_end(reader);
}

/* ---- what is refused --------------------------------------------------------------------------------------- */

static void a_bad_line_is_named_and_the_next_is_read(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"text\": null}", "byte 10: text is not a string"},
        {"{\"text\": 5, \"meta\": 3}", "byte 10: text is not a string"},
        {"{\"text\": [\"a\"]}", "text is not a string"},
        {"{\"meta\": {}}", "no \"text\""},
        {"{}", "no \"text\""},
        {"{\"text\": \"a\", \"meta\": 3}", "byte 23: meta is not an object"},
        {"{\"text\": \"a\", \"meta\": null}", "meta is not an object"},
        {"{\"text\": \"a\", \"meta\": {\"redpajama_set_name\": 1}}", "redpajama_set_name is not a string"},
        {"{\"text\": \"a\", \"meta\": {\"redpajama_set_name\": \"a\\u0000b\"}}", "U+0000 in redpajama_set_name"},
        {"[1,2]", "byte 1: an object expected"},
        {"\"str\"", "an object expected"},
        {"7", "an object expected"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "byte 16: repeated key \"text\""},
        {"{\"text\": \"a\", \"t\\u0065xt\": \"b\"}", "repeated key \"text\""},
        {"{\"text\": \"a\", \"meta\": {\"x\": 1, \"y\": 2, \"x\": 3}}", "repeated key \"x\""},
        {"{\"text\": \"a\", \"more\": [{\"x\": 1, \"x\": 3}]}", "repeated key \"x\""},
        {"{\"text\": \"a\"", "byte 13: the line ends where a comma or } should be"},
        {"{\"text\": \"a", "byte 12: the line ends where the end of a string should be"},
        {"{\"text\": \"a\\", "byte 12: not an escape"},
        {"{\"text\": \"a\\u12", "byte 12: \\u without four hexadecimal digits"},
        {"{\"text\":", "byte 9: the line ends where a value should be"},
        {"{\"text\"", "the line ends where a colon should be"},
        {"{\"text\": \"a\",", "the line ends where a key should be"},
        {"{", "the line ends where a key should be"},
        {"{\"text\": \"a\",}", "a key expected"},
        {"{\"text\" \"a\"}", "a colon expected"},
        {"{\"text\": \"a\" \"b\": 1}", "a comma or } expected"},
        {"{\"text\": \"a\"} {}", "byte 15: something follows the object"},
        {"{\"text\": \"a\"}}", "something follows the object"},
        {"{\"text\": \"a\"}\x01", "something follows the object"},
        {"{\"text\": \"a\\x\"}", "byte 12: not an escape"},
        {"{\"text\": \"x\\ud83dy\"}", "byte 12: half of a surrogate pair"},
        {"{\"text\": \"x\\ud83d\\u0041\"}", "half of a surrogate pair"},
        {"{\"text\": \"x\\ud83d\\ud83d\"}", "half of a surrogate pair"},
        {"{\"text\": \"x\\udc00z\"}", "half of a surrogate pair"},
        {"{\"text\": \"a\", \"b\": \"\\ud83d\"}", "half of a surrogate pair"},
        {"{\"text\": \"a\", \"\\udc00\": 1}", "half of a surrogate pair"},
        {"{\"text\": \"tab\there\"}", "byte 14: a control character in a string"},
        {"{\"text\": \"a\x1f\"}", "a control character in a string"},
        {"{\"text\": \"\xff\"}", "byte 11: not valid UTF-8"},
        {"{\"text\": \"a\", \"x\": \"\xc0\xaf\"}", "not valid UTF-8"},
        {"{\"text\": \"\xed\xa0\x80\"}", "not valid UTF-8"},
        {"{\"text\": \"\xf4\x90\x80\x80\"}", "not valid UTF-8"},
        {"{\"text\": \"\xe4\xb8\"}", "not valid UTF-8"},
        {"{\"text\": \"a\", \"n\": 01}", "a comma or } expected"},
        {"{\"text\": \"a\", \"n\": -}", "byte 20: not a number"},
        {"{\"text\": \"a\", \"n\": 1.}", "not a number"},
        {"{\"text\": \"a\", \"n\": 1e+}", "not a number"},
        {"{\"text\": \"a\", \"n\": .5}", "a value expected"},
        {"{\"text\": \"a\", \"n\": +1}", "a value expected"},
        {"{\"text\": \"a\", \"n\": nul}", "a value expected"},
        {"{\"text\": \"a\", \"n\": nullx}", "a comma or } expected"},
        {"{\"text\": \"a\", \"n\": NaN}", "a value expected"},
        {"{\"text\": \"a\", \"n\": [1,]}", "a value expected"},
        {"{\"text\": \"a\", \"n\": [1 2]}", "a comma or ] expected"},
        {"{\"text\": \"a\", \"n\": [1", "the line ends where a comma or ] should be"},
        {"{'text': 'a'}", "a key expected"},
        {"{\"text\": \"a\" /* c */}", "a comma or } expected"},
        {"\xef\xbb\xbf{\"text\": \"a\"}", "byte order mark"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[300];
        snprintf(text, sizeof text, "%s\n{\"text\": \"good\"}\n%s\n{\"text\": \"end\"}\n%s", cases[i][0], cases[i][0], cases[i][0]);
        kd_reader *reader = open_text("x.jsonl", text);
        expect_failure(reader, "x.jsonl:1: ", cases[i][1]);
        expect(reader, "good", 4, "", 2);
        expect_failure(reader, "x.jsonl:3: ", i + 1 < sizeof cases / sizeof *cases ? cases[i][1] : "an object expected");
        expect(reader, "end", 3, "", 4);
        expect_failure(reader, "x.jsonl:5: ", "");
        expect_end(reader);
    }
}

static void nul_bytes_are_refused_and_do_not_end_a_line(void **state) {
    (void)state;
    static const char *const cases[] = {"{\"text\": \"a@b\"}", "{\"text\": @\"a\"}", "{\"text\": \"a\"}@", "@{\"text\": \"a\"}",
                                        "{\"text\": \"abcdefgh@jklmnop\"}", "{\"text\": \"a\", \"n\": 1@}", "{\"text\": \"a\\u00@0\"}"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[100];
        int64_t size = snprintf(text, sizeof text, "%s\n{\"text\": \"good\"}", cases[i]);
        *strchr(text, '@') = 0;
        kd_reader *reader = open_file(scratch_file("x.jsonl", text, size));
        expect_failure(reader, "x.jsonl:1: ", "");
        expect(reader, "good", 4, "", 2);
        expect_end(reader);
    }
}

static void lines_are_nested_64_deep_and_no_deeper(void **state) {
    (void)state;
    char text[300];
    snprintf(text, sizeof text, "{\"x\": %.*s%.*s, \"text\": \"a\"}\n", 63, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
             63, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    kd_reader *reader = open_text("x.jsonl", text);
    expect(reader, "a", 1, "", 1);
    expect_end(reader);
    char *deep = malloc(2000000);
    memset(deep, '[', 2000000);
    memcpy(deep, "{\"x\":", 5);
    reader = open_file(scratch_file("x.jsonl", deep, 2000000));
    expect_failure(reader, "x.jsonl:1: byte 69: ", "nested deeper than 64");
    expect_end(reader);
    free(deep);
}

static void a_thousand_keys_are_compared(void **state) {
    (void)state;
    static char line[40000];
    int used = snprintf(line, sizeof line, "{\"text\": \"a\"");
    for (int i = 0; i < 1000; i++)
        used += snprintf(line + used, sizeof line - (size_t)used, ", \"k%d\": {\"k%d\": %d}", i, i, i);
    snprintf(line + used, sizeof line - (size_t)used, "}\n");
    kd_reader *reader = open_text("x.jsonl", line);
    expect(reader, "a", 1, "", 1);
    expect_end(reader);
    snprintf(line + used, sizeof line - (size_t)used, ", \"k500\": 0}\n");
    reader = open_text("x.jsonl", line);
    expect_failure(reader, "x.jsonl:1: ", "repeated key \"k500\"");
    expect_end(reader);
}

/* ---- UTF-8 ------------------------------------------------------------------------------------------------- */

static void utf8_is_judged_as_unicode_has_it(void **state) {
    (void)state;
    char text[64];
    for (uint32_t c = 0; c < 0x120000; c++) {  /* every code point, and as many that are none */
        char at[4];
        int size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (int i = size - 1, rest = (int)c; i > 0; i--, rest >>= 6) at[i] = (char)(0x80 | (rest & 63));
        at[0] = (char)(size == 1 ? c : size == 2 ? 0xc0 | c >> 6 : size == 3 ? 0xe0 | c >> 12 : 0xf0 | c >> 18);
        bool valid = c < 0x110000 && (c < 0xd800 || c > 0xdfff);
        assert_int_equal(kd_utf8_invalid(at, size), valid ? -1 : 0);
        if (size > 1) assert_int_equal(kd_utf8_invalid(at, size - 1), 0);
    }
    static const char *const overlong[] = {"\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf", "\xf0\x80\x80\x80", "\xf0\x8f\xbf\xbf",
                                           "\x80", "\xbf", "\xf8\x88\x80\x80\x80", "\xfe", "\xff", "\xc3\x28", "\xe4\xb8\x28"};
    for (size_t i = 0; i < sizeof overlong / sizeof *overlong; i++) {
        for (int64_t before = 0; before < 50; before++) {
            memset(text, 'a', sizeof text);
            memcpy(text + before, overlong[i], strlen(overlong[i]));
            assert_int_equal(kd_utf8_invalid(text, sizeof text), before);
            memset(text, 'a', sizeof text);
            memcpy(text + before, "\xf0\x9f\xa6\x99", 4);
            assert_int_equal(kd_utf8_invalid(text, sizeof text), -1);
        }
    }
    assert_int_equal(kd_utf8_invalid(NULL, 0), -1);
}

/* ---- zstd -------------------------------------------------------------------------------------------------- */

static void frames_follow_each_other(void **state) {
    (void)state;
    bytes content = {.size = 0};
    add_bytes(&content, "\x5f\x2a\x4d\x18\x03\0\0\0abc", 11);
    add_frame(&content, "{\"text\": \"one\"}\n{\"te", true);
    add_bytes(&content, "\x50\x2a\x4d\x18\0\0\0\0", 8);
    add_frame(&content, "xt\": \"two\"}\n", false);
    add_frame(&content, "", true);
    kd_reader *reader = open_file(zst_file(&content));
    expect(reader, "one", 3, "", 1);
    expect(reader, "two", 3, "", 2);
    expect_end(reader);
    content.size = 0;
    add_frame(&content, "", false);
    expect_end(open_file(zst_file(&content)));
    content.size = 0;
    add_bytes(&content, "\x50\x2a\x4d\x18\0\0\0\0", 8);
    expect_end(open_file(zst_file(&content)));
}

/* Whatever is cut off, the file ends in an error, and what came before it is whole lines of the original. */
static void a_cut_frame_is_an_error_and_stays_one(void **state) {
    (void)state;
    bytes content = {.size = 0}, cut;
    add_frame(&content, "{\"text\": \"one\"}\n", true);
    int64_t first = content.size;
    add_frame(&content, "{\"text\": \"two\"}\n", true);
    for (int64_t size = 0; size < content.size; size++) {
        cut = content;
        cut.size = size;
        kd_reader *reader = open_file(zst_file(&cut));
        if (size >= first) expect(reader, "one", 3, "", 1);
        if (size == first) {
            expect_end(reader);
            continue;
        }
        kd_document document;
        bool more = true;
        kd_status status = KD_OK;
        for (int i = 0; i < 3 && !status; i++) status = kd_reader_next(reader, &document, &more);
        char place[64];
        snprintf(place, sizeof place, "x.jsonl.zst: byte %d: zstd: unexpected end of file", (int)size);
        assert_int_equal(status, KD_EFORMAT);
        if (!strstr(kd_message(), place)) fail_msg("\"%s\" is not in \"%s\"", place, kd_message());
        kd_fail(KD_EIO, "another");
        expect_failure(reader, place, "zstd");
        kd_reader_close(reader);
    }
}

/* Of every flipped bit: an error, or, where the format has a bit that means nothing, the same document. */
static void a_damaged_frame_never_gives_another_text(void **state) {
    (void)state;
    static const char text[] = "The quick brown fox jumps over the lazy dog";
    bytes content = {.size = 0}, damaged;
    int64_t harmless = 0;
    add_frame(&content, "{\"text\": \"The quick brown fox jumps over the lazy dog\"}\n", true);
    for (int64_t bit = 0; bit < content.size * 8; bit++) {
        kd_document document = {.text = ""};
        bool more = true;
        damaged = content;
        damaged.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        kd_reader *reader = open_file(zst_file(&damaged));
        kd_status status = kd_reader_next(reader, &document, &more);
        bool same = !status && more && strcmp(document.text, text) == 0;
        /* The checksum stands behind the text: a wrong one is found by asking for more. */
        if (!status && more) status = kd_reader_next(reader, &document, &more);
        if (!status) assert_true(same && !more);
        if (status && strstr(kd_message(), "zstd")) {
            char first[512];
            snprintf(first, sizeof first, "%s", kd_message());
            kd_fail(KD_EIO, "another");
            expect_failure(reader, first, "zstd");
        }
        harmless += !status;
        kd_reader_close(reader);
    }
    assert_in_range(harmless, 0, 4);
    add_bytes(&content, "garbage", 7);
    kd_reader *reader = open_file(zst_file(&content));
    kd_document document;
    bool more;
    assert_done(kd_reader_next(reader, &document, &more));
    assert_true(more);
    expect_failure(reader, "x.jsonl.zst: byte ", "zstd: Unknown frame descriptor");
    kd_reader_close(reader);
    expect_failure(reader = open_file(scratch_text("x.jsonl.zst", "{\"text\": \"plain\"}\n")), "x.jsonl.zst: byte ", "zstd: ");
    kd_reader_close(reader);
}

/* Hand-made: a frame header that declares a window of 2^27 or 2^28 bytes, and one raw block of 16 bytes. */
static void a_window_above_128_mib_is_refused(void **state) {
    (void)state;
    for (int log = 27; log <= 31; log++) {
        bytes content = {.size = 0};
        char window = (char)((log - 10) << 3);
        add_bytes(&content, "\x28\xb5\x2f\xfd\0", 5);
        add_bytes(&content, &window, 1);
        add_bytes(&content, "\x79\0\0{\"text\":\"wide\"}", 18);
        kd_reader *reader = open_file(zst_file(&content));
        if (log == 27) {
            expect(reader, "wide", 4, "", 1);
            expect_end(reader);
        } else {
            expect_failure(reader, "x.jsonl.zst: byte ", "too much memory");
            kd_reader_close(reader);
        }
    }
}

static void what_is_no_file_is_not_opened(void **state) {
    (void)state;
    kd_reader *reader;
    assert_fails(kd_reader_open(&reader, in_scratch("absent.jsonl")), KD_EIO, "absent.jsonl: cannot open");
    assert_null(reader);
    assert_fails(kd_reader_open(&reader, scratch), KD_EIO, "is a folder");
    kd_reader_close(NULL);
}

/* ---- the corpus of edges ----------------------------------------------------------------------------------- */

static const struct { const char *file; int64_t records, bad; const char *source, *why; } edge[] = {
    {"01_multiframe.jsonl.zst", 2, 0, NULL, NULL},
    {"02_skippable_frame.jsonl.zst", 1, 0, NULL, NULL},
    {"03_no_trailing_newline.jsonl", 2, 0, NULL, NULL},
    {"04_crlf_blank_lines.jsonl", 2, 0, NULL, NULL},
    {"05_ascii_escapes.jsonl", 1, 0, NULL, NULL},
    {"06_key_order_extra_fields.jsonl", 1, 0, "Github", NULL},
    {"07_text_only.jsonl", 1, 0, "", NULL},
    {"08_nul_and_controls.jsonl", 1, 0, NULL, NULL},
    {"09_empty_and_short.jsonl", 4, 0, NULL, NULL},
    {"10_lone_surrogate.jsonl", 0, 1, NULL, ":1: byte 12: half of a surrogate pair"},
    {"11_invalid_utf8.jsonl", 1, 1, NULL, ":1: "},
    {"12_overlong_surrogate_utf8.jsonl", 0, 1, NULL, "not valid UTF-8"},
    {"13_truncated.jsonl.zst", 0, 1, NULL, "13_truncated.jsonl.zst: byte 102: zstd: unexpected end of file"},
    {"14_truncated_json.jsonl", 1, 1, NULL, ":2: "},
    {"15_checksum_bad.jsonl.zst", 0, 1, NULL, "checksum"},
    {"16_long_window.jsonl.zst", 0, 1, NULL, "too much memory"},
    {"17_special_tokens_in_text.jsonl", 8, 0, NULL, NULL},
    {"18_duplicate_keys.jsonl", 0, 1, NULL, "repeated key \"text\""},
    {"19_bom.jsonl", 0, 1, NULL, "byte order mark"},
    {"20_unknown_source.jsonl", 1, 0, "News", NULL},
    {"21_one_huge_line.jsonl.zst", 1, 0, NULL, NULL},
    {"22_wrong_types.jsonl", 1, 4, NULL, "byte 1: an object expected"},
    {"23_deep_nesting.jsonl", 0, 1, NULL, "nested deeper than 64"},
    {"24_empty.jsonl.zst", 0, 0, NULL, NULL},
    {"25_zero_bytes.jsonl.zst", 0, 1, NULL, "unexpected end of file"},
};

static void every_edge_file_reads_as_expected(void **state) {
    (void)state;
    const char *assets = getenv("KEDGE_ASSETS");
    char path[1024];
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) {
        snprintf(path, sizeof path, "%s/corpus/edge/%s", assets && *assets ? assets : "../shared/assets", edge[i].file);
        if (!kd_exists(path)) skip();
        kd_reader *reader = open_file(path);
        int64_t records = 0, bad = 0;
        char why[1024] = "";
        for (bool more = true; more;) {
            kd_document document;
            kd_status status = kd_reader_next(reader, &document, &more);
            bad += status == KD_EFORMAT;
            records += !status && more;
            if (status) snprintf(why, sizeof why, "%s", kd_message());
            if (!status && more && edge[i].source) assert_string_equal(document.source, edge[i].source);
            /* A bad line is passed, a bad stream is not. */
            if (status) more = !strstr(why, "zstd");
        }
        if (records != edge[i].records || bad != edge[i].bad || (edge[i].why && !strstr(why, edge[i].why)))
            fail_msg("%s: %d records, %d bad, %s", edge[i].file, (int)records, (int)bad, why);
        kd_reader_close(reader);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_document),
        cmocka_unit_test(blank_lines_and_carriage_returns_are_skipped),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(keys_are_compared_decoded),
        cmocka_unit_test(an_escape_may_stand_anywhere),
        cmocka_unit_test(texts_come_back_as_jansson_wrote_them),
        cmocka_unit_test(any_other_file_is_one_document),
        cmocka_unit_test(a_plain_file_must_be_utf8),
        cmocka_unit_test(a_bad_line_is_named_and_the_next_is_read),
        cmocka_unit_test(nul_bytes_are_refused_and_do_not_end_a_line),
        cmocka_unit_test(lines_are_nested_64_deep_and_no_deeper),
        cmocka_unit_test(a_thousand_keys_are_compared),
        cmocka_unit_test(utf8_is_judged_as_unicode_has_it),
        cmocka_unit_test(frames_follow_each_other),
        cmocka_unit_test(a_cut_frame_is_an_error_and_stays_one),
        cmocka_unit_test(a_damaged_frame_never_gives_another_text),
        cmocka_unit_test(a_window_above_128_mib_is_refused),
        cmocka_unit_test(what_is_no_file_is_not_opened),
        cmocka_unit_test(every_edge_file_reads_as_expected),
    };
    return cmocka_run_group_tests_name("jsonl", tests, scratch_open, scratch_close);
}

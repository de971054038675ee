/* Megatron's indexed datasets: what is read, what is refused, and what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "format/jsonl.h"
#include "format/megatron.h"
#include "scratch.h"

/* ---- files ------------------------------------------------------------------------------------------------- */

typedef struct bytes { unsigned char data[8192]; int64_t size; } bytes;

static void add(bytes *b, uint64_t value, int size) {
    for (int i = 0; i < size; i++) b->data[b->size++] = (unsigned char)(value >> 8 * i);
}

/* An index as numbers; most tests change one of them. */
typedef struct layout {
    uint64_t version, type, sequences, entries;
    int64_t length[8], offset[8], document[8];
    int64_t lengths, offsets, documents;  /* how many of each are written */
} layout;

static bytes index_bytes(const layout *x) {
    bytes b = {.size = 0};
    memcpy(b.data, "MMIDIDX\0", 9);
    b.size = 9;
    add(&b, x->version, 8);
    add(&b, x->type, 1);
    add(&b, x->sequences, 8);
    add(&b, x->entries, 8);
    for (int64_t i = 0; i < x->lengths; i++) add(&b, (uint64_t)x->length[i], 4);
    for (int64_t i = 0; i < x->offsets; i++) add(&b, (uint64_t)x->offset[i], 8);
    for (int64_t i = 0; i < x->documents; i++) add(&b, (uint64_t)x->document[i], 8);
    return b;
}

/* Ids 10 .. 15 as u16: sequences 10 11 12 | 13 | 14 15, documents 10 11 12 13 | none | 14 15. */
static const layout GOOD = {.version = 1, .type = 8, .sequences = 3, .entries = 4, .length = {3, 1, 2}, .offset = {0, 6, 8},
                            .document = {0, 2, 2, 3}, .lengths = 3, .offsets = 3, .documents = 4};
static const unsigned char DATA[] = {10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15, 0};

static const char *put_files(const bytes *index, const void *data, int64_t size) {
    scratch_file("x.bin", data, size);
    return scratch_file("x.idx", index->data, index->size);
}

static const char *put_index(const layout *x) {
    bytes b = index_bytes(x);
    return put_files(&b, DATA, sizeof DATA);
}

static kd_reader *open_reader(const char *path) {
    kd_reader *reader;
    assert_done(kd_reader_open(&reader, path));
    return reader;
}

static void expect(kd_reader *reader, int64_t number, int64_t count, const int32_t *id) {
    kd_document d;
    bool more;
    assert_done(kd_reader_next(reader, &d, &more));
    assert_true(more);
    assert_null(d.text);
    assert_null(d.loss);
    assert_string_equal(d.source, "x");
    assert_int_equal(d.line, number);
    assert_int_equal(d.next, -1);
    assert_false(d.row_first);
    assert_int_equal(d.ids, count);
    for (int64_t i = 0; i < count; i++) assert_int_equal(d.id[i], id[i]);
}

#define IDS(...) sizeof((int32_t[]){__VA_ARGS__}) / 4, (int32_t[]){__VA_ARGS__}

static void expect_end(kd_reader *reader) {
    kd_document d;
    bool more = true;
    for (int i = 0; i < 2; i++) {
        assert_done(kd_reader_next(reader, &d, &more));
        assert_false(more);
    }
    kd_reader_close(reader);
}

/* ---- reading ----------------------------------------------------------------------------------------------- */

static void a_document_is_its_sequences(void **state) {
    (void)state;
    const char *idx = put_index(&GOOD);
    for (int i = 0; i < 2; i++) {
        kd_reader *reader = open_reader(i ? in_scratch("x.bin") : idx);
        expect(reader, 1, IDS(10, 11, 12, 13));
        expect(reader, 2, 0, NULL);
        expect(reader, 3, IDS(14, 15));
        expect_end(reader);
    }
    kd_megatron *megatron;
    assert_done(kd_megatron_open(&megatron, idx));
    assert_int_equal(kd_megatron_documents(megatron), 3);
    kd_megatron_close(megatron);
    kd_megatron_close(NULL);
}

static void every_integer_type_is_read(void **state) {
    (void)state;
    static const int size[] = {0, 1, 1, 2, 4, 8, 0, 0, 2};
    static const int64_t most[] = {0, 255, 127, 32767, INT32_MAX - 1, INT32_MAX - 1, 0, 0, 65535};
    for (int type = 1; type <= 8; type++) {
        if (!size[type]) continue;
        layout x = {.version = 1, .type = (uint64_t)type, .sequences = 1, .entries = 2, .length = {2}, .offset = {1},
                    .document = {0, 1}, .lengths = 1, .offsets = 1, .documents = 2};
        bytes index = index_bytes(&x), data = {.size = 0};
        add(&data, 99, 1);  /* so that nothing is aligned */
        add(&data, 7, size[type]);
        add(&data, (uint64_t)most[type], size[type]);
        kd_reader *reader = open_reader(put_files(&index, data.data, data.size));
        expect(reader, 1, IDS(7, (int32_t)most[type]));
        expect_end(reader);
    }
}

static void an_id_that_is_none_is_refused(void **state) {
    (void)state;
    static const struct { uint64_t type; int size; uint64_t value; const char *why; } cases[] = {
        {2, 1, 0xff, "document 1: token 1 is -1, not 0 to 2147483646"},
        {3, 2, 0x8000, "token 1 is -32768, not"},
        {4, 4, 0xffffff9c, "token 1 is -100, not"},
        {4, 4, 0x7fffffff, "token 1 is 2147483647, not"},
        {5, 8, 0x80000000, "token 1 is 2147483648, not"},
        {5, 8, UINT64_MAX, "token 1 is -1, not"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        layout x = {.version = 1, .type = cases[i].type, .sequences = 2, .entries = 3, .length = {2, 1}, .offset = {0, 0},
                    .document = {0, 1, 2}, .lengths = 2, .offsets = 2, .documents = 3};
        bytes index = index_bytes(&x), data = {.size = 0};
        add(&data, 7, cases[i].size);
        add(&data, cases[i].value, cases[i].size);
        kd_reader *reader = open_reader(put_files(&index, data.data, data.size));
        kd_document d;
        bool more;
        assert_fails(kd_reader_next(reader, &d, &more), KD_EFORMAT, "x.idx: ", cases[i].why);
        assert_false(more);
        expect(reader, 2, IDS(7));  /* the next is read */
        expect_end(reader);
    }
}

static void an_index_without_documents_is_an_end(void **state) {
    (void)state;
    layout x = {.version = 1, .type = 4, .entries = 1, .documents = 1};
    expect_end(open_reader(put_index(&x)));
}

static void expect_refused(const bytes *index, kd_status wanted, const char *why) {
    kd_reader *reader;
    const char *path = put_files(index, DATA, sizeof DATA);
    assert_fails(kd_reader_open(&reader, path), wanted, "x.idx: ", why);
    assert_null(reader);
}

static void a_wrong_index_is_not_opened(void **state) {
    (void)state;
    layout x = GOOD;
    bytes b;
#define CHANGED(change, status, why) (x = GOOD, change, b = index_bytes(&x), expect_refused(&b, status, why))
    CHANGED(x.version = 2, KD_ENOTSUP, "version 2, 1 is supported");
    CHANGED(x.version = UINT64_MAX, KD_ENOTSUP, "version 18446744073709551615");
    CHANGED(x.type = 0, KD_EFORMAT, "type 0, 1 to 8 are known");
    CHANGED(x.type = 9, KD_EFORMAT, "type 9");
    CHANGED(x.type = 255, KD_EFORMAT, "type 255");
    CHANGED(x.type = 6, KD_ENOTSUP, "type f64: ids are integers");
    CHANGED(x.type = 7, KD_ENOTSUP, "type f32: ids are integers");
    CHANGED(x.sequences = 4, KD_EFORMAT, "4 sequences and 4 document entries do not fit in its 102 bytes");
    CHANGED(x.sequences = 2, KD_EFORMAT, "12 bytes follow its 2 sequences and 4 document entries");
    CHANGED(x.sequences = UINT64_MAX, KD_EFORMAT, "do not fit");
    CHANGED(x.sequences = UINT64_C(1) << 62, KD_EFORMAT, "do not fit");
    CHANGED(x.sequences = UINT64_C(0x1555555555555556), KD_EFORMAT, "do not fit");  /* 12 times this is 8 more than 2^64 */
    CHANGED(x.entries = UINT64_MAX, KD_EFORMAT, "do not fit");
    CHANGED(x.entries = (UINT64_C(1) << 61) + 4, KD_EFORMAT, "do not fit");         /* 8 times this is 32 more than 2^64 */
    CHANGED(x.entries = 5, KD_EFORMAT, "do not fit");
    CHANGED(x.entries = 3, KD_EFORMAT, "8 bytes follow");
    CHANGED((x.entries = 0, x.documents = 0), KD_EFORMAT, "its document index is empty, it should end with 3");
    CHANGED(x.document[0] = 1, KD_EFORMAT, "its document index begins with 1, not 0");
#undef CHANGED
    b = index_bytes(&GOOD);
    add(&b, 0, 3);
    expect_refused(&b, KD_ENOTSUP, "has sequence modes: multimodal datasets are not supported");
    b = index_bytes(&GOOD);
    b.data[0] = 'm';
    expect_refused(&b, KD_EFORMAT, "does not begin as a Megatron index");
    for (b.size = 0; b.size < 102; b.size++) {
        bytes whole = index_bytes(&GOOD);
        memcpy(b.data, whole.data, sizeof b.data);
        expect_refused(&b, KD_EFORMAT, b.size < 34 ? "bytes, the header of a Megatron index has 34" : "do not fit");
    }
}

static void expect_first(const layout *x, int64_t good, const char *why, bool stays) {
    kd_reader *reader = open_reader(put_index(x));
    kd_document d;
    bool more;
    for (int64_t i = 0; i < good; i++) assert_done(kd_reader_next(reader, &d, &more));
    for (int i = 0; i < 1 + stays; i++) {
        assert_fails(kd_reader_next(reader, &d, &more), KD_EFORMAT, "x.idx: document ", why);
        assert_false(more);
    }
    kd_reader_close(reader);
}

static void a_wrong_place_is_refused(void **state) {
    (void)state;
    layout x = GOOD;
#define CHANGED(change, good, stays, why) (x = GOOD, change, expect_first(&x, good, why, stays))
    CHANGED(x.length[0] = -1, 0, false, "document 1: sequence 0: -1 ids of u16 at byte 0");
    CHANGED(x.length[0] = 7, 0, false, "sequence 0: 7 ids of u16 at byte 0, ");
    CHANGED(x.length[2] = INT32_MAX, 2, false, "document 3: sequence 2: 2147483647 ids of u16 at byte 8");
    CHANGED(x.offset[1] = -2, 0, false, "sequence 1: 1 ids of u16 at byte -2");
    CHANGED(x.offset[1] = 11, 0, false, "sequence 1: 1 ids of u16 at byte 11, ");
    CHANGED(x.offset[1] = 13, 0, false, "at byte 13");
    CHANGED((x.length[1] = 0, x.offset[1] = 13), 0, false, "sequence 1: 0 ids of u16 at byte 13");
    CHANGED(x.offset[1] = INT64_MAX, 0, false, "at byte 9223372036854775807");
    CHANGED((x.length[0] = 6, x.offset[1] = 0), 0, false, "its sequences have more ids than");
    CHANGED(x.document[1] = -1, 0, true, "document 1: from sequence 0 to -1 of 3");
    CHANGED(x.document[1] = 4, 0, true, "from sequence 0 to 4 of 3");
    CHANGED(x.document[2] = 1, 1, true, "document 2: from sequence 2 to 1 of 3");
    CHANGED(x.document[2] = INT64_MIN, 1, true, "to -9223372036854775808");
    CHANGED((x.document[2] = 1, x.document[1] = 1, x.document[3] = 2), 2, true, "document 3: the last one, ends at sequence 2 of 3");
#undef CHANGED
}

static void files_that_shrink_are_noticed(void **state) {
    (void)state;
    kd_reader *reader = open_reader(put_index(&GOOD));
    kd_document d;
    bool more;
    assert_int_equal(truncate(in_scratch("x.bin"), 7), 0);
    assert_fails(kd_reader_next(reader, &d, &more), KD_EFORMAT, "x.idx: document 1: ", "x.bin: ends at or before byte 7");
    kd_reader_close(reader);
}

static void both_files_are_needed(void **state) {
    (void)state;
    kd_reader *reader;
    put_index(&GOOD);
    assert_int_equal(unlink(in_scratch("x.bin")), 0);
    assert_fails(kd_reader_open(&reader, in_scratch("x.idx")), KD_EIO, "x.bin: cannot open");
    assert_fails(kd_reader_open(&reader, in_scratch("y.bin")), KD_EIO, "y.idx: cannot open");
    assert_null(reader);
    kd_megatron *megatron;
    assert_fails(kd_megatron_open(&megatron, "x.txt"), KD_EARG, "x.txt: neither .idx nor .bin");
    assert_false(kd_megatron_named(".idx"));
}

/* ---- writing ----------------------------------------------------------------------------------------------- */

static kd_megatron_writer *create(const char *name, int64_t vocabulary) {
    kd_megatron_writer *writer;
    assert_done(kd_megatron_create(&writer, in_scratch(name), vocabulary));
    return writer;
}

static void expect_file(const char *name, const void *data, int64_t size) {
    char *got;
    int64_t got_size;
    assert_done(kd_file_read(&got, &got_size, in_scratch(name), 1 << 20));
    assert_int_equal(got_size, size);
    assert_memory_equal(got, data, (size_t)size);
    free(got);
}

/* Byte for byte what Megatron-LM's builder writes for [5, 65499], end_document, [258], end_document. */
static void the_layout_is_megatrons(void **state) {
    (void)state;
    static const char narrow[] = "MMIDIDX\0\0" "\1\0\0\0\0\0\0\0" "\10" "\2\0\0\0\0\0\0\0" "\3\0\0\0\0\0\0\0"
                                 "\2\0\0\0" "\1\0\0\0" "\0\0\0\0\0\0\0\0" "\4\0\0\0\0\0\0\0"
                                 "\0\0\0\0\0\0\0\0" "\1\0\0\0\0\0\0\0" "\2\0\0\0\0\0\0\0";
    static const char wide[] = "MMIDIDX\0\0" "\1\0\0\0\0\0\0\0" "\4" "\2\0\0\0\0\0\0\0" "\3\0\0\0\0\0\0\0"
                               "\2\0\0\0" "\1\0\0\0" "\0\0\0\0\0\0\0\0" "\10\0\0\0\0\0\0\0"
                               "\0\0\0\0\0\0\0\0" "\1\0\0\0\0\0\0\0" "\2\0\0\0\0\0\0\0";
    for (int i = 0; i < 2; i++) {  /* 65500 ids are the first that Megatron writes as i32 */
        kd_megatron_writer *writer = create(i ? "w.bin" : "w.idx", i ? 65500 : 65499);
        assert_done(kd_megatron_put(writer, (const int32_t[]){5, 65498 + i}, 2));
        assert_done(kd_megatron_put(writer, (const int32_t[]){258}, 1));
        assert_false(kd_exists(in_scratch("w.idx")) && i == 0);
        assert_done(kd_megatron_finish(writer));
        kd_megatron_free(writer);
        expect_file("w.idx", i ? wide : narrow, sizeof narrow - 1);
        if (i) expect_file("w.bin", "\5\0\0\0\333\377\0\0\2\1\0\0", 12);
        else expect_file("w.bin", "\5\0\332\377\2\1", 6);
        assert_false(kd_exists(in_scratch("w.idx.tmp")) || kd_exists(in_scratch("w.bin.tmp")));
    }
}

/* Documents from one token to more than a block, more of them than a block of the index holds. */
static void what_is_written_reads_back(void **state) {
    (void)state;
    enum { DOCUMENTS = 20000, LONG = 100000 };
    static int32_t id[LONG];
    for (int wide = 0; wide < 2; wide++) {
        int64_t vocabulary = wide ? 128256 : 32000;
        kd_megatron_writer *writer = create("x.idx", vocabulary);
        for (int64_t d = 0; d < DOCUMENTS; d++) {
            int64_t count = d % 7000 == 6999 ? LONG : 1 + (int64_t)(kd_random_bits(3, 0, (uint64_t)d) % 20);
            for (int64_t i = 0; i < count; i++) id[i] = (int32_t)((d * 31 + i * 7) % vocabulary);
            assert_done(kd_megatron_put(writer, id, count));
        }
        assert_done(kd_megatron_finish(writer));
        kd_megatron_free(writer);
        kd_reader *reader = open_reader(in_scratch("x.bin"));
        for (int64_t d = 0; d < DOCUMENTS; d++) {
            kd_document document;
            bool more;
            assert_done(kd_reader_next(reader, &document, &more));
            assert_int_equal(document.ids, d % 7000 == 6999 ? LONG : 1 + (int64_t)(kd_random_bits(3, 0, (uint64_t)d) % 20));
            for (int64_t i = 0; i < document.ids; i++)
                if (document.id[i] != (d * 31 + i * 7) % vocabulary) fail_msg("document %d, token %d", (int)d, (int)i);
        }
        expect_end(reader);
    }
}

static void nothing_is_left_of_what_is_not_finished(void **state) {
    (void)state;
    static const int32_t old[] = {1, 2}, wrong[] = {3, 9}, negative[] = {-1};
    kd_megatron_writer *writer = create("x.idx", 9);
    assert_done(kd_megatron_put(writer, old, 2));
    assert_done(kd_megatron_finish(writer));
    kd_megatron_free(writer);
    writer = create("x.idx", 9);
    assert_done(kd_megatron_put(writer, old, 1));
    assert_fails(kd_megatron_put(writer, wrong, 2), KD_EARG, "x.bin: document 2: token 1 is 9, the vocabulary has 9");
    assert_fails(kd_megatron_put(writer, negative, 1), KD_EARG, "token 0 is -1");
    assert_fails(kd_megatron_put(writer, old, 0), KD_EARG, "document 2: 0 tokens");
    kd_megatron_free(writer);
    assert_false(kd_exists(in_scratch("x.idx.tmp")) || kd_exists(in_scratch("x.bin.tmp")));
    kd_reader *reader = open_reader(in_scratch("x.idx"));  /* what was there is there */
    expect(reader, 1, IDS(1, 2));
    expect_end(reader);
    assert_fails(kd_megatron_create(&writer, in_scratch("x.txt"), 9), KD_EARG, "neither .idx nor .bin");
    assert_fails(kd_megatron_create(&writer, in_scratch("x.idx"), 0), KD_EARG, "a vocabulary of 0");
    assert_fails(kd_megatron_create(&writer, in_scratch("none/x.idx"), 9), KD_EIO, "none/x.bin.tmp: cannot create");
    assert_null(writer);
    kd_megatron_free(NULL);
}

/* Neither a new one's while an old writer is freed, nor an old index beside ids that are not its own. */
static void files_of_two_writers_are_not_mixed(void **state) {
    (void)state;
    static const int32_t one[] = {1}, two[] = {2, 3};
    kd_megatron_writer *first = create("x.idx", 9), *second;
    assert_done(kd_megatron_put(first, one, 1));
    assert_done(kd_megatron_finish(first));
    second = create("x.idx", 9);
    kd_megatron_free(first);
    assert_done(kd_megatron_put(second, two, 2));
    assert_done(kd_megatron_finish(second));
    kd_megatron_free(second);
    kd_reader *reader = open_reader(in_scratch("x.idx"));
    expect(reader, 1, IDS(2, 3));
    expect_end(reader);
    assert_int_equal(unlink(in_scratch("x.bin")), 0);
    assert_done(kd_make_folders(in_scratch("x.bin/in the way")));
    first = create("x.idx", 9);
    assert_fails(kd_megatron_finish(first), KD_EIO, "x.bin.tmp: cannot be renamed to ");
    kd_megatron_free(first);
    assert_false(kd_exists(in_scratch("x.idx")) || kd_exists(in_scratch("x.idx.tmp")) || kd_exists(in_scratch("x.bin.tmp")));
    assert_done(kd_remove_tree(in_scratch("x.bin")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_its_sequences),
        cmocka_unit_test(every_integer_type_is_read),
        cmocka_unit_test(an_id_that_is_none_is_refused),
        cmocka_unit_test(an_index_without_documents_is_an_end),
        cmocka_unit_test(a_wrong_index_is_not_opened),
        cmocka_unit_test(a_wrong_place_is_refused),
        cmocka_unit_test(files_that_shrink_are_noticed),
        cmocka_unit_test(both_files_are_needed),
        cmocka_unit_test(the_layout_is_megatrons),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(nothing_is_left_of_what_is_not_finished),
        cmocka_unit_test(files_of_two_writers_are_not_mixed),
    };
    return cmocka_run_group_tests_name("megatron", tests, scratch_open, scratch_close);
}

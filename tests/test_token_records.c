/* JSON lines of ids: lists with labels or masks, packed rows, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "format/jsonl.h"
#include "scratch.h"

static kd_reader *open_text(const char *text) {
    kd_reader *reader;
    assert_done(kd_reader_open(&reader, scratch_text("x.jsonl", text)));
    return reader;
}

static kd_document next(kd_reader *reader) {
    kd_document document;
    bool more;
    assert_done(kd_reader_next(reader, &document, &more));
    assert_true(more);
    return document;
}

/* A document of these ids; loss: one character 0 or 1 for each, or NULL. */
static kd_document expect(kd_reader *reader, int64_t line, const char *source, const char *loss, int64_t count,
                          const int32_t *id) {
    kd_document d = next(reader);
    assert_null(d.text);
    assert_non_null(d.id);
    assert_int_equal(d.line, line);
    assert_string_equal(d.source, source);
    assert_int_equal(d.ids, count);
    for (int64_t i = 0; i < count; i++) assert_int_equal(d.id[i], id[i]);
    assert_int_equal(d.loss != NULL, loss != NULL);
    for (int64_t i = 0; loss && i < count; i++) assert_int_equal(d.loss[i], loss[i] - '0');
    return d;
}

#define IDS(...) sizeof((int32_t[]){__VA_ARGS__}) / 4, (int32_t[]){__VA_ARGS__}
#define NONE 0, NULL

static void expect_end(kd_reader *reader) {
    kd_document document;
    bool more = true;
    assert_done(kd_reader_next(reader, &document, &more));
    assert_false(more);
    kd_reader_close(reader);
}

/* ---- what is read ------------------------------------------------------------------------------------------ */

static void a_record_may_hold_ids_instead_of_text(void **state) {
    (void)state;
    kd_reader *reader = open_text("{\"input_ids\": [1, 2147483646,0 ,\t7 ], \"meta\": {\"redpajama_set_name\": \"RedPajamaBook\"}}\n"
                                  "{\"text\": \"a\"}\n"
                                  "{\"input_ids\":[]}\n"
                                  "{\"attention_mask\": [1, 1.0], \"token_type_ids\": [0, 0], \"input_ids\": [5, 6], \"source\": \"RedPajamaArXiv\"}\n"
                                  "{\"input_ids\": [5], \"source\": \"x\", \"meta\": {\"redpajama_set_name\": \"y\"}}\n");
    kd_document d = expect(reader, 1, "Book", NULL, IDS(1, 2147483646, 0, 7));
    assert_int_equal(d.next, -1);
    assert_false(d.row_first);
    d = next(reader);
    assert_string_equal(d.text, "a");
    assert_null(d.id);
    assert_int_equal(d.next, -1);
    expect(reader, 3, "", NULL, NONE);
    expect(reader, 4, "ArXiv", NULL, IDS(5, 6));
    expect(reader, 5, "y", NULL, IDS(5));
    expect_end(reader);
}

static void labels_say_which_tokens_are_targets(void **state) {
    (void)state;
    kd_reader *reader = open_text("{\"input_ids\": [5, 6, 7], \"labels\": [-100, 6, 7]}\n"
                                  "{\"labels\": [5, -100], \"input_ids\": [5, 6]}\n"
                                  "{\"labels\": [5, 6], \"input_ids\": [5, 6]}\n");
    kd_document d = expect(reader, 1, "", "011", IDS(5, 6, 7));
    assert_int_equal(d.next, -1);
    expect(reader, 2, "", "10", IDS(5, 6));
    expect(reader, 3, "", NULL, IDS(5, 6));
    expect_end(reader);
}

static void a_loss_mask_says_it_too(void **state) {
    (void)state;
    kd_reader *reader = open_text("{\"input_ids\": [5, 6, 7], \"loss_mask\": [0, 1, 1]}\n"
                                  "{\"input_ids\": [5, 6, 7], \"loss_mask\": [true, false, true]}\n"
                                  "{\"input_ids\": [5, 6, 7], \"loss_mask\": [0.0, 1.00, 1]}\n"
                                  "{\"input_ids\": [5, 6], \"loss_mask\": [true, 1.0]}\n");
    expect(reader, 1, "", "011", IDS(5, 6, 7));
    expect(reader, 2, "", "101", IDS(5, 6, 7));
    expect(reader, 3, "", "011", IDS(5, 6, 7));
    expect(reader, 4, "", NULL, IDS(5, 6));
    expect_end(reader);
}

static void a_packed_row_is_its_documents(void **state) {
    (void)state;
    kd_reader *reader = open_text(
        "{\"input_ids\": [1, 10, 11, 1, 12], \"labels\": 13, \"source\": [{\"source\": \"RedPajamaGithub\", \"start\": 0, \"end\": 3}, "
        "{\"end\": 5, \"start\": 3, \"source\": \"News\"}]}\n"
        "{\"source\": [{\"source\": \"News\", \"start\": 0, \"end\": 1, \"id\": [7]}, {\"source\": \"\", \"start\": 1, \"end\": 1}], \"labels\": 0, \"input_ids\": [13]}\n"
        "{\"input_ids\": [], \"source\": []}\n"
        "{\"input_ids\": [3], \"labels\": 4}\n"
        "{\"input_ids\": [4, 5, 6], \"labels\": [4, -100, -100], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 2}, "
        "{\"source\": \"b\", \"start\": 2, \"end\": 3}]}\n");
    kd_document d = expect(reader, 1, "Github", NULL, IDS(1, 10, 11));
    assert_true(d.row_first);
    assert_int_equal(d.next, -1);
    d = expect(reader, 1, "News", NULL, IDS(1, 12));
    assert_false(d.row_first);
    assert_int_equal(d.next, 13);
    d = expect(reader, 2, "News", NULL, IDS(13));
    assert_true(d.row_first);
    assert_int_equal(d.next, -1);
    d = expect(reader, 2, "", NULL, NONE);
    assert_false(d.row_first);
    assert_int_equal(d.next, 0);
    d = expect(reader, 4, "", NULL, IDS(3));
    assert_true(d.row_first);
    assert_int_equal(d.next, 4);
    d = expect(reader, 5, "a", "10", IDS(4, 5));
    assert_true(d.row_first);
    d = expect(reader, 5, "b", "0", IDS(6));
    assert_false(d.row_first);
    assert_int_equal(d.next, -1);
    expect_end(reader);
}

/* What only a record of ids reads is nothing but JSON in a record of text. */
static void a_text_may_have_members_of_these_names(void **state) {
    (void)state;
    kd_reader *reader = open_text("{\"labels\": [1.5, \"x\"], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 9}, 3], \"text\": \"a\", \"loss_mask\": 7}\n"
                                  "{\"labels\": 3, \"text\": \"b\", \"source\": \"web\"}\n");
    kd_document d = next(reader);
    assert_string_equal(d.text, "a");
    d = next(reader);
    assert_string_equal(d.text, "b");
    assert_string_equal(d.source, "");
    assert_int_equal(d.next, -1);
    assert_false(d.row_first);
    expect_end(reader);
}

/* Longer than what is read at once, and one after another with shorter ones between. */
static void long_records_leave_nothing_behind(void **state) {
    (void)state;
    enum { MOST = 300000 };
    static const int64_t counts[] = {MOST, 3, 0, 70000, 1, MOST};
    char *text = malloc(16 << 20), *at = text;
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        at = stpcpy(at, "{\"input_ids\": [");
        for (int64_t i = 0; i < counts[k]; i++) at += sprintf(at, "%s%lld", i ? ", " : "", (long long)(i * 7919 % 128256));
        if (k % 2) {
            at = stpcpy(at, "], \"loss_mask\": [");
            for (int64_t i = 0; i < counts[k]; i++) at += sprintf(at, "%s%d", i ? "," : "", i % 3 == 0);
        }
        at = stpcpy(at, "]}\n");
    }
    kd_reader *reader = open_text(text);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
        kd_document d = next(reader);
        assert_int_equal(d.ids, counts[k]);
        for (int64_t i = 0; i < d.ids; i++) {
            if (d.id[i] != i * 7919 % 128256) fail_msg("record %d: token %d is %d", (int)k, (int)i, (int)d.id[i]);
            if (d.loss && d.loss[i] != (i % 3 == 0)) fail_msg("record %d: loss %d is %d", (int)k, (int)i, d.loss[i]);
        }
        assert_int_equal(d.loss != NULL, k % 2 && counts[k] > 1);
    }
    expect_end(reader);
    free(text);
}

/* ---- what is refused --------------------------------------------------------------------------------------- */

static void a_wrong_record_is_named_and_the_next_is_read(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"input_ids\": [1], \"text\": \"a\"}", "both \"text\" and \"input_ids\""},
        {"{\"text\": \"a\", \"input_ids\": 5}", "both \"text\" and \"input_ids\""},
        {"{\"labels\": [1]}", "no \"text\" and no \"input_ids\""},
        {"{\"input_ids\": 5}", "byte 15: input_ids is not an array"},
        {"{\"input_ids\": null}", "input_ids is not an array"},
        {"{\"input_ids\": [1, -1]}", "byte 19: input_ids[1] is -1, not an integer from 0 to 2147483646"},
        {"{\"input_ids\": [2147483647]}", "input_ids[0] is 2147483647, not"},
        {"{\"input_ids\": [99999999999999999999999999999999]}", "input_ids[0] is 999999999999999999999999, not"},
        {"{\"input_ids\": [1.0]}", "input_ids[0] is 1.0, not an integer"},
        {"{\"input_ids\": [1e3]}", "input_ids[0] is 1e3, not"},
        {"{\"input_ids\": [-0]}", "input_ids[0] is -0, not"},
        {"{\"input_ids\": [1, \"2\"]}", "input_ids[1] is not an integer"},
        {"{\"input_ids\": [true]}", "input_ids[0] is not an integer"},
        {"{\"input_ids\": [[1]]}", "input_ids[0] is not an integer"},
        {"{\"input_ids\": [-100]}", "input_ids[0] is -100, not"},
        {"{\"input_ids\": [1,]}", "byte 18: a value expected"},
        {"{\"input_ids\": [1 2]}", "a comma or ] expected"},
        {"{\"input_ids\": [01]}", "a comma or ] expected"},
        {"{\"input_ids\": [1", "the line ends where a comma or ] should be"},
        {"{\"input_ids\": [", "the line ends where a value should be"},
        {"{\"input_ids\": [1], \"input_ids\": [1]}", "repeated key \"input_ids\""},
        {"{\"input_ids\": [1], \"labels\": [1, 2]}", "labels has 2 values, input_ids 1"},
        {"{\"input_ids\": [1, 6], \"labels\": [1, 5]}", "labels[1] is 5, input_ids[1] is 6: labels other than the tokens themselves are not supported"},
        {"{\"input_ids\": [1], \"labels\": [-1]}", "labels[0] is -1, not -100 or an integer from 0 to 2147483646"},
        {"{\"input_ids\": [1], \"labels\": [-100.0]}", "labels[0] is -100.0, not -100 or"},
        {"{\"input_ids\": [1], \"labels\": -100}", "labels is -100, not an integer from 0"},
        {"{\"input_ids\": [1], \"labels\": 1.5}", "labels is 1.5, not"},
        {"{\"input_ids\": [1], \"labels\": null}", "labels is not an array"},
        {"{\"input_ids\": [1], \"loss_mask\": []}", "loss_mask has 0 values, input_ids 1"},
        {"{\"input_ids\": [1], \"loss_mask\": [2]}", "loss_mask[0] is 2, not 0 or 1"},
        {"{\"input_ids\": [1], \"loss_mask\": [0.5]}", "loss_mask[0] is 0.5, not 0 or 1"},
        {"{\"input_ids\": [1], \"loss_mask\": [1e0]}", "loss_mask[0] is 1e0, not"},
        {"{\"input_ids\": [1], \"loss_mask\": [null]}", "loss_mask[0] is not 0 or 1"},
        {"{\"input_ids\": [1], \"loss_mask\": [1], \"labels\": [1]}", "a list \"labels\" and \"loss_mask\""},
        {"{\"input_ids\": [1, 0], \"attention_mask\": [1, 0]}", "attention_mask[1] is 0: padding is not supported"},
        {"{\"input_ids\": [1], \"source\": 3}", "source is neither an array nor a string"},
        {"{\"input_ids\": [1], \"source\": \"a\\u0000\"}", "source is neither an array nor a string without U+0000"},
        {"{\"input_ids\": [1], \"source\": [3]}", "source[0] is not an object"},
        {"{\"input_ids\": [1], \"source\": []}", "input_ids has 1 values, source ends at 0"},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": 0}]}", "source[0] has no \"end\" of at least 0"},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": -1, \"end\": 1}]}", "source[0] has no \"start\" of at least 0"},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": \"0\", \"end\": 1}]}", "source[0] has no \"start\""},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": 0.0, \"end\": 1}]}", "source[0] has no \"start\""},
        {"{\"input_ids\": [1], \"source\": [{\"source\": null, \"start\": 0, \"end\": 1}]}", "source[0] has no string \"source\""},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 2}]}", "source[0] ends at 2, input_ids has 1 values"},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": 1, \"end\": 1}]}", "source[0] starts at 1, the one before it ends at 0"},
        {"{\"input_ids\": [1,2,3], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 1}, {\"source\": \"a\", \"start\": 2, \"end\": 3}]}",
         "source[1] starts at 2, the one before it ends at 1"},
        {"{\"input_ids\": [1,2,3], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 2}, {\"source\": \"a\", \"start\": 1, \"end\": 3}]}",
         "source[1] starts at 1, the one before it ends at 2"},
        {"{\"input_ids\": [1,2,3], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 2}, {\"source\": \"a\", \"start\": 2, \"end\": 1}]}",
         "source[1] ends at 1, before its start 2"},
        {"{\"input_ids\": [1,2,3], \"source\": [{\"source\": \"a\", \"start\": 0, \"end\": 2}]}", "input_ids has 3 values, source ends at 2"},
        {"{\"input_ids\": [1], \"source\": [{\"source\": \"a\", \"start\": 0, \"start\": 0, \"end\": 1}]}", "repeated key \"start\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[600];
        snprintf(text, sizeof text, "%s\n{\"input_ids\": [7]}\n%s\n", cases[i][0], cases[i][0]);
        kd_reader *reader = open_text(text);
        kd_document document;
        bool more = true;
        assert_fails(kd_reader_next(reader, &document, &more), KD_EFORMAT, "x.jsonl:1: ", cases[i][1]);
        assert_false(more);
        expect(reader, 2, "", NULL, IDS(7));
        assert_fails(kd_reader_next(reader, &document, &more), KD_EFORMAT, "x.jsonl:3: ", cases[i][1]);
        expect_end(reader);
    }
}

static void lists_count_as_nesting(void **state) {
    (void)state;
    char text[400];
    snprintf(text, sizeof text, "{\"input_ids\": [%.*s%.*s]}\n", 63, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
             63, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    kd_reader *reader = open_text(text);
    kd_document document;
    bool more;
    assert_fails(kd_reader_next(reader, &document, &more), KD_EFORMAT, "nested deeper than 64");
    kd_reader_close(reader);
}

/* ---- real rows --------------------------------------------------------------------------------------------- */

/* The rows of one file are one stream of tokens, cut anywhere: each row's label is the first id of the next. */
static void rows_follow_each_other(void **state) {
    (void)state;
    static const char *const tokenizer[] = {"llama2", "llama3", "mistral_v3", "qwen"};
    const char *assets = getenv("KEDGE_ASSETS");
    for (size_t t = 0; t < 4; t++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/corpus/golden_packing/%s_franxyao_chunk2304.jsonl",
                 assets && *assets ? assets : "../shared/assets", tokenizer[t]);
        if (!kd_exists(path)) {
            printf("skipped: no corpus/golden_packing in %s\n", assets && *assets ? assets : "../shared/assets");
            skip();
        }
        kd_reader *reader;
        kd_document d;
        int64_t rows = 0, documents = 0, tokens = 0, label = -1;
        assert_done(kd_reader_open(&reader, path));
        for (bool more;; documents++) {
            assert_done(kd_reader_next(reader, &d, &more));
            if (!more) break;
            assert_true(d.ids > 0 && d.source[0] && strncmp(d.source, "RedPajama", 9) != 0);
            if (d.row_first && rows++ > 0) assert_int_equal(d.id[0], label);
            tokens += d.ids;
            label = d.next;
        }
        kd_reader_close(reader);
        assert_int_equal(rows, 3);
        assert_int_equal(tokens, 3 * 2304);
        assert_true(documents >= 20);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_may_hold_ids_instead_of_text),
        cmocka_unit_test(labels_say_which_tokens_are_targets),
        cmocka_unit_test(a_loss_mask_says_it_too),
        cmocka_unit_test(a_packed_row_is_its_documents),
        cmocka_unit_test(a_text_may_have_members_of_these_names),
        cmocka_unit_test(long_records_leave_nothing_behind),
        cmocka_unit_test(a_wrong_record_is_named_and_the_next_is_read),
        cmocka_unit_test(lists_count_as_nesting),
        cmocka_unit_test(rows_follow_each_other),
    };
    return cmocka_run_group_tests_name("token_records", tests, scratch_open, scratch_close);
}

/* tokenizer.json: ids and texts as Hugging Face's tokenizers makes them (tests/golden/tokenizers), and the policies that
 * are kedge's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/pool.h"
#include "base/random.h"
#include "format/tokenizer_model.h"
#include "tokenizer_test.h"

#define GOLDEN "tests/golden/tokenizers/"

static const char *const golden[] = {"llama2", "mistral", "crossing", "llama3", "qwen", "flags_bytes", "flags_pieces", "loose"};
enum { GOLDENS = sizeof golden / sizeof *golden };

static void open_golden(kd_tokenizer *t, kd_encoder **e, const char *name) {
    char path[256];
    snprintf(path, sizeof path, GOLDEN "%s", name);
    assert_done(kd_tokenizer_open(t, path));
    assert_done(kd_encoder_new(e, t));
}

static void close_both(kd_tokenizer *t, kd_encoder *e) {
    kd_encoder_free(e);
    kd_tokenizer_close(t);
}

/* ---- golden files -------------------------------------------------------------------------------------------- */

typedef struct golden_run { const char *name; kd_tokenizer t; kd_encoder *e; int64_t lines, faults; } golden_run;

static void complain(golden_run *r, const json_t *line, const char *what, const kd_ids *got, const kd_ids *wanted) {
    if (r->faults++ >= SHOWN_FAULTS) return;
    char *text = json_dumps(json_object_get(line, "text"), JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    print_error("  %s, line %lld: %s of %s\n", r->name, (long long)r->lines, what, text ? text : "ids");
    free(text);
    print_ids("got   ", got);
    print_ids("wanted", wanted);
}

static void expect_encoding(golden_run *r, const json_t *line, const char *what, int flags, const kd_ids *wanted) {
    const json_t *text = json_object_get(line, "text");
    kd_ids got = {0};
    assert_done(kd_encode(&got, r->e, json_string_value(text), (int64_t)json_string_length(text), flags));
    if (!same_ids(&got, wanted)) complain(r, line, what, &got, wanted);
    free(got.id);
}

static void expect_decoding(golden_run *r, const json_t *line, const char *key, bool skip, const kd_ids *ids) {
    kd_text text = {0};
    assert_done(kd_decode(&text, &r->t, ids->id, ids->count, skip));
    if (!same_text(&text, json_object_get(line, key)) && r->faults++ < SHOWN_FAULTS) {
        char *wanted = json_dumps(json_object_get(line, key), JSON_ENCODE_ANY);
        print_error("  %s, line %lld: %s is \"%.*s\", not %s\n", r->name, (long long)r->lines, key, (int)text.size, text.size ? text.data : "",
                    wanted);
        free(wanted);
    }
    kd_text_free(&text);
}

static void check_golden(void *arg, const json_t *line) {
    golden_run *r = arg;
    kd_ids plain = {0}, whole = {0}, as_text = {0};
    r->lines++;
    add_array(&plain, json_object_get(line, "ids"));
    add_array(&whole, json_object_get(line, "before"));
    add_array(&whole, json_object_get(line, "ids"));
    add_array(&whole, json_object_get(line, "after"));
    add_array(&as_text, json_object_get(line, json_object_get(line, "as_text") ? "as_text" : "ids"));
    if (json_object_get(line, "text")) {
        expect_encoding(r, line, "ids", 0, &plain);
        expect_encoding(r, line, "ids with specials", KD_ENCODE_SPECIALS, &whole);
        expect_encoding(r, line, "specials as text", KD_ENCODE_SPECIALS_AS_TEXT, &as_text);
    }
    expect_decoding(r, line, "decoded", false, &whole);
    expect_decoding(r, line, "plain", true, &whole);
    free(plain.id);
    free(whole.id);
    free(as_text.id);
}

/* One tokenizer of tests/golden/tokenizers. */
static void follow(const char *name) {
    golden_run r = {.name = name};
    char path[256];
    open_golden(&r.t, &r.e, name);
    snprintf(path, sizeof path, GOLDEN "%s/vectors.jsonl", name);
    for_each_line(path, check_golden, &r);
    close_both(&r.t, r.e);
    assert_true(r.lines > 150);
    if (r.faults) fail_msg("%lld differ from Hugging Face's", (long long)r.faults);
}

#define FOLLOW(test, name)                                                                                        \
    static void test(void **state) {                                                                              \
        (void)state;                                                                                              \
        follow(name);                                                                                             \
    }
FOLLOW(pieces_that_fall_back_to_bytes, "llama2")
FOLLOW(a_bar_before_the_first_piece_only, "mistral")
FOLLOW(pieces_in_which_a_bar_stands_behind_others, "crossing")
FOLLOW(words_that_no_merge_reaches, "llama3")
FOLLOW(texts_in_normal_form_c, "qwen")
FOLLOW(words_that_the_byte_level_cuts, "loose")
FOLLOW(added_tokens_of_every_flag, "flags_bytes")
FOLLOW(added_tokens_that_are_normalized, "flags_pieces")

/* ---- the encoder --------------------------------------------------------------------------------------------- */

static const char *const sentences[] = {"The window of the model.\n", "  a\tb \xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac <s> </s>", "", "12345 it's\r\n\r\n  x",
                                        "\xf0\x9f\x98\x80", "caf\xc3\xa9 two words tok <lr> word"};
enum { SENTENCES = sizeof sentences / sizeof *sentences };

static void encode_text(kd_ids *ids, kd_encoder *e, const char *text, int flags) {
    assert_done(kd_encode(ids, e, text, (int64_t)strlen(text), flags));
}

static void ids_are_appended(void **state) {
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *e;
        kd_ids one = {0}, two = {0};
        open_golden(&t, &e, golden[g]);
        encode_text(&one, e, sentences[0], KD_ENCODE_SPECIALS);
        encode_text(&two, e, sentences[0], KD_ENCODE_SPECIALS);
        encode_text(&two, e, sentences[0], KD_ENCODE_SPECIALS);
        assert_int_equal(two.count, 2 * one.count);
        assert_memory_equal(two.id, one.id, (size_t)one.count * sizeof *one.id);
        assert_memory_equal(two.id + one.count, one.id, (size_t)one.count * sizeof *one.id);
        free(one.id);
        free(two.id);
        close_both(&t, e);
    }
}

/* A text of many sentences; free() it. */
static char *make_text(int64_t *size, uint64_t seed, int64_t count) {
    kd_text text = {0};
    for (int64_t i = 0; i < count; i++) kd_text_put(&text, sentences[kd_random_bits(seed, 1, (uint64_t)i) % SENTENCES]);
    *size = text.size;
    return text.data;
}

static void ids_do_not_depend_on_what_was_encoded_before(void **state) {
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *used, *fresh;
        open_golden(&t, &used, golden[g]);
        for (int i = 0; i < 20; i++) {
            kd_ids a = {0}, b = {0};
            int64_t size;
            char *text = make_text(&size, (uint64_t)i, i % 2 ? 3000 : 3);
            assert_done(kd_encoder_new(&fresh, &t));
            assert_done(kd_encode(&a, used, text, size, 0));
            assert_done(kd_encode(&b, fresh, text, size, 0));
            assert_true(same_ids(&a, &b));
            kd_encoder_free(fresh);
            free(a.id);
            free(b.id);
            free(text);
        }
        close_both(&t, used);
    }
}

/* ---- fast ways and plain ones -------------------------------------------------------------------------------- */

/* Text of characters of every class a pattern knows, and of none. */
static void put_classes(kd_text *text, uint64_t seed, int64_t count) {
    static const char *const some[] = {
        " ", " ", "  ", "\n", "\r", "\t", "\x0b", "\x1c", "a", "b", "Z", "s", "S", "t", "re", "ve", "LL", "m", "d", "'", "'", "0", "1", "9", ".", "-",
        "\xc2\xa0", "\xc2\x85", "\xe2\x80\xa8", "\xe3\x80\x80", "\xe1\xa0\x8e", "\xe2\x80\x8b", "\xef\xbb\xbf", "\xc3\xa9", "e\xcc\x81", "\xcc\x81",
        "\xc5\xbf", "\xe2\x84\xaa", "\xc7\x85", "\xd0\x96", "\xd7\x90", "\xe0\xa4\x95\xe0\xa5\x8d", "\xe6\x97\xa5", "\xed\x95\x9c", "\xe1\x84\x80", "\xe1\x85\xa1",
        "\xd9\xa3", "\xc2\xbd", "\xe2\x85\xa7", "\xf0\x9d\x9f\x98", "\xf0\x90\x8d\x88", "\xf0\x9f\x98\x80", "\xe2\x80\x8d", "\xf4\x8f\xbf\xbf", "\xef\xbf\xbd", "_",
    };
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = kd_random_bits(seed, 7, (uint64_t)i);
        if (bits % 16) {
            kd_text_put(text, some[bits / 16 % (sizeof some / sizeof *some)]);
        } else {  /* any character at all */
            char out[4];
            uint32_t c = (uint32_t)(bits / 16 % (bits & 16 ? 0x3000 : 0x110000));
            if (c < 0xd800 || c >= 0xe000) kd_text_add(text, out, kd_utf8_put(out, c));
        }
    }
}

static void expect_both_ways(const char *name, kd_encoder *fast, kd_encoder *plain, uint64_t seeds, const char *what) {
    for (uint64_t seed = 0; seed < seeds; seed++) {
        kd_text text = {0};
        kd_ids a = {0}, b = {0};
        put_classes(&text, seed, 1 + (int64_t)(seed % 40) * (seed % 40));
        assert_done(kd_encode(&a, fast, text.size ? text.data : "", text.size, 0));
        assert_done(kd_encode(&b, plain, text.size ? text.data : "", text.size, 0));
        if (!same_ids(&a, &b)) {
            print_ids("fast ", &a);
            print_ids("plain", &b);
            fail_msg("%s, text %d: %s gives other ids", name, (int)seed, what);
        }
        kd_text_free(&text);
        free(a.id);
        free(b.id);
    }
}

static void scanners_cut_as_pcre2_does(void **state) {
    static const char *const scanned[] = {"llama3", "qwen", "loose"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        kd_tokenizer t, slow;
        kd_encoder *e, *s;
        open_golden(&t, &e, scanned[i]);
        open_golden(&slow, &s, scanned[i]);
        slow.model->force_pattern = true;
        expect_both_ways(scanned[i], e, s, SANITIZED ? 300 : 3000, "a scanner");
        close_both(&t, e);
        close_both(&slow, s);
    }
}

static void cutting_a_text_before_its_bars_changes_nothing(void **state) {
    static const char *const cut[] = {"llama2", "mistral", "flags_pieces", "crossing"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        kd_tokenizer t, whole;
        kd_encoder *e, *w;
        open_golden(&t, &e, cut[i]);
        open_golden(&whole, &w, cut[i]);
        assert_true(t.model->vocabulary.cuts);
        whole.model->vocabulary.cuts = false;
        expect_both_ways(cut[i], e, w, SANITIZED ? 300 : 3000, "cutting");
        close_both(&t, e);
        close_both(&whole, w);
    }
}

enum { TASKS = 64, THREADS = 8 };

typedef struct threads_run { const kd_tokenizer *t; kd_encoder *e[THREADS]; kd_ids got[TASKS]; char *text[TASKS]; int64_t size[TASKS]; } threads_run;

static kd_status encode_task(void *arg, int64_t task, int64_t thread) {
    threads_run *r = arg;
    return kd_encode(&r->got[task], r->e[thread], r->text[task], r->size[task], KD_ENCODE_SPECIALS);
}

static void threads_share_a_tokenizer(void **state) {
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *alone;
        kd_pool *pool;
        static threads_run r;
        memset(&r, 0, sizeof r);
        open_golden(&t, &alone, golden[g]);
        assert_done(kd_pool_new(&pool, THREADS));
        for (int i = 0; i < THREADS; i++) assert_done(kd_encoder_new(&r.e[i], &t));
        for (int i = 0; i < TASKS; i++) r.text[i] = make_text(&r.size[i], (uint64_t)i, 40);
        assert_done(kd_pool_run(pool, encode_task, &r, TASKS));
        for (int i = 0; i < TASKS; i++) {
            kd_ids ids = {0};
            assert_done(kd_encode(&ids, alone, r.text[i], r.size[i], KD_ENCODE_SPECIALS));
            assert_true(same_ids(&ids, &r.got[i]));
            free(ids.id);
            free(r.got[i].id);
            free(r.text[i]);
        }
        for (int i = 0; i < THREADS; i++) kd_encoder_free(r.e[i]);
        kd_pool_free(pool);
        close_both(&t, alone);
    }
}

/* ---- bytes that are not UTF-8 -------------------------------------------------------------------------------- */

#define MARK "\xef\xbf\xbd"
static const struct { const char *bytes; int offset; const char *replaced; } broken[] = {
    {"\xff", 0, MARK}, {"a\xff", 1, "a" MARK}, {"ab\x80z", 2, "ab" MARK "z"}, {"\xe2\x82", 0, MARK}, {"\xe2\x82z", 0, MARK "z"},
    {"\xe2\x28\xa1", 0, MARK "(" MARK}, {"\xf0\x9f\x98", 0, MARK}, {"\xf0\x80\x80", 0, MARK MARK MARK}, {"\xc0\xaf", 0, MARK MARK},
    {"x\xed\xa0\x80y", 1, "x" MARK MARK MARK "y"}, {"\xf4\x90\x80\x80", 0, MARK MARK MARK MARK}, {"caf\xc3", 3, "caf" MARK},
    {"\xf0\x9f\x98\x80\xf0\x9f", 4, "\xf0\x9f\x98\x80" MARK}, {"<s>\xe2\x82<s>", 3, "<s>" MARK "<s>"},
};

static void invalid_bytes_are_an_error_with_their_place(void **state) {
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *e;
        kd_ids ids = {0}, after = {0}, wanted = {0};
        open_golden(&t, &e, golden[g]);
        encode_text(&ids, e, "kept", 0);
        encode_text(&wanted, e, "kept", 0);
        for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
            char place[64];
            snprintf(place, sizeof place, "byte %d: not valid UTF-8", broken[i].offset);
            assert_fails(kd_encode(&ids, e, broken[i].bytes, (int64_t)strlen(broken[i].bytes), KD_ENCODE_SPECIALS), KD_EFORMAT, place);
            assert_true(same_ids(&ids, &wanted));
        }
        encode_text(&after, e, "kept", 0);
        assert_true(same_ids(&after, &wanted));
        free(ids.id);
        free(after.id);
        free(wanted.id);
        close_both(&t, e);
    }
}

static void invalid_bytes_are_replaced_when_asked(void **state) {
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *e;
        open_golden(&t, &e, golden[g]);
        for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
            kd_ids got = {0}, wanted = {0};
            encode_text(&got, e, broken[i].bytes, KD_ENCODE_REPLACE);
            encode_text(&wanted, e, broken[i].replaced, 0);
            if (!same_ids(&got, &wanted)) fail_msg("%s, text %d: not as its replacement", golden[g], (int)i);
            free(got.id);
            free(wanted.id);
        }
        close_both(&t, e);
    }
}

static void ids_outside_the_vocabulary_are_not_decoded(void **state) {
    (void)state;
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *e;
        kd_text text = {0};
        open_golden(&t, &e, golden[g]);
        const int32_t wrong[] = {-1, (int32_t)t.vocabulary, INT32_MAX, INT32_MIN};
        for (int i = 0; i < 4; i++) assert_fails(kd_decode(&text, &t, &wrong[i], 1, false), KD_EFORMAT, "vocabulary");
        assert_done(kd_decode(&text, &t, NULL, 0, false));
        assert_int_equal(text.size, 0);
        kd_text_free(&text);
        close_both(&t, e);
    }
}

/* ---- time ---------------------------------------------------------------------------------------------------- */

static const struct { const char *name, *unit; } runs[] = {
    {"spaces", " "}, {"letters", "a"}, {"two letters", "ab"}, {"digits", "0123456789"}, {"newlines", "\n"}, {"equals", "="},
    {"letters with marks", "a\xcc\x81"}, {"marks out of order", "\xcc\x87\xcc\xa3"}, {"ideographs", "\xe6\x97\xa5\xe6\x9c\xac"},
    {"spaces and newlines", " \n"}, {"apostrophes", "'"}, {"specials", "<s>"}, {"half specials", "<"}, {"bars", "\xe2\x96\x81"},
    {"emoji", "\xf0\x9f\x98\x80"},
};

/* A long run takes n log n steps in memory that outgrows the caches: four times the text, six times the time. n^2 would be
 * sixteen times. */
static void four_times_the_text_takes_less_than_ten_times_the_time(void **state) {
    (void)state;
    if (SANITIZED) {
        print_message("skipped: time of long runs: a sanitizer is in the way\n");
        skip();
    }
    for (int g = 0; g < GOLDENS; g++) {
        kd_tokenizer t;
        kd_encoder *e;
        open_golden(&t, &e, golden[g]);
        for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
            double one = 0, four = 1;
            for (int turn = 0; turn < 5 && (!turn || four > 10 * one + 10e-3); turn++) {  /* another program may have taken the machine */
                double a = seconds_of_run(e, runs[i].unit, 128 << 10), b = seconds_of_run(e, runs[i].unit, 512 << 10);
                if (!turn || a < one) one = a;
                if (!turn || b < four) four = b;
            }
            if (four > 10 * one + 10e-3) fail_msg("%s, %s: 128 KiB %.4f s, 512 KiB %.4f s", golden[g], runs[i].name, one, four);
        }
        close_both(&t, e);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_that_fall_back_to_bytes),
        cmocka_unit_test(a_bar_before_the_first_piece_only),
        cmocka_unit_test(pieces_in_which_a_bar_stands_behind_others),
        cmocka_unit_test(words_that_no_merge_reaches),
        cmocka_unit_test(texts_in_normal_form_c),
        cmocka_unit_test(words_that_the_byte_level_cuts),
        cmocka_unit_test(added_tokens_of_every_flag),
        cmocka_unit_test(added_tokens_that_are_normalized),
        cmocka_unit_test(ids_are_appended),
        cmocka_unit_test(ids_do_not_depend_on_what_was_encoded_before),
        cmocka_unit_test(scanners_cut_as_pcre2_does),
        cmocka_unit_test(cutting_a_text_before_its_bars_changes_nothing),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(invalid_bytes_are_an_error_with_their_place),
        cmocka_unit_test(invalid_bytes_are_replaced_when_asked),
        cmocka_unit_test(ids_outside_the_vocabulary_are_not_decoded),
        cmocka_unit_test(four_times_the_text_takes_less_than_ten_times_the_time),
    };
    return cmocka_run_group_tests_name("tokenizer", tests, NULL, NULL);
}

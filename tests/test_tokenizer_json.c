/* Opening tokenizer.json: what is taken, what is refused and by which name, BOS and EOS. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "tokenizer_test.h"

#define VOCAB "'vocab': {'a': 0, 'b': 1, 'ab': 2, 'c': 3, '\\u2581': 4}"
#define BPE "'model': {'type': 'BPE', " VOCAB ", 'merges': ['a b']}"
#define LEVEL "{'type': 'ByteLevel', 'add_prefix_space': false, 'trim_offsets': true, 'use_regex': false}"
#define SPLIT(pattern, behavior, invert) \
    "{'type': 'Split', 'pattern': {'Regex': '" pattern "'}, 'behavior': '" behavior "', 'invert': " invert "}"
#define TOKEN(id, text, flags) \
    "{'id': " id ", 'content': '" text "', 'single_word': false, 'lstrip': false, 'rstrip': false, " flags "}"
#define PLAIN "'normalized': false, 'special': true"

/* Apostrophes stand for quotation marks. */
static const char *quoted(const char *text) {
    static char out[1 << 14];
    size_t i = 0;
    for (; text[i]; i++) out[i] = text[i] == '\'' ? '"' : text[i];
    out[i] = 0;
    return out;
}

static kd_status open_text(kd_tokenizer *t, const char *text) { return kd_tokenizer_open(t, scratch_text("tokenizer.json", quoted(text))); }

/* ---- refusals ------------------------------------------------------------------------------------------------ */

static const struct { const char *text; kd_status status; const char *words[2]; } refused[] = {
    /* what no tokenizer.json is */
    {"", KD_EFORMAT, {"tokenizer.json"}},
    {"{", KD_EFORMAT, {"tokenizer.json:1:"}},
    {"[]", KD_EFORMAT, {"tokenizer.json"}},
    {"{}", KD_EFORMAT, {"model"}},
    {"{'model': 5}", KD_EFORMAT, {"model"}},
    {"{'model': {'type': 'BPE', 'merges': []}}", KD_EFORMAT, {"vocab"}},
    {"{'model': {'type': 'BPE', 'vocab': [], 'merges': []}}", KD_EFORMAT, {"vocab"}},
    {"{'model': {'type': 'BPE', 'vocab': {'a': 0}}}", KD_EFORMAT, {"merges"}},
    {"{'model': {'type': 'BPE', 'vocab': {'a': 0}, 'merges': {}}}", KD_EFORMAT, {"merges"}},
    /* vocabularies */
    {"{'model': {'type': 'BPE', 'vocab': {'a': -1}, 'merges': []}}", KD_EFORMAT, {"a"}},
    {"{'model': {'type': 'BPE', 'vocab': {'a': 'x'}, 'merges': []}}", KD_EFORMAT, {"a"}},
    {"{'model': {'type': 'BPE', 'vocab': {'a': 1.5}, 'merges': []}}", KD_EFORMAT, {"a"}},
    {"{'model': {'type': 'BPE', 'vocab': {'a': 4294967296}, 'merges': []}}", KD_EFORMAT, {"a"}},
    {"{'model': {'type': 'BPE', 'vocab': {'a': 0, 'b': 0}, 'merges': []}}", KD_EFORMAT, {"0"}},
    /* merges */
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': ['a z']}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': ['z a']}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': ['a c']}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': ['ab']}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': ['a b c']}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': [['a']]}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': [['a', 5]]}}", KD_EFORMAT, {"merge"}},
    {"{'model': {'type': 'BPE', " VOCAB ", 'merges': [5]}}", KD_EFORMAT, {"merge"}},
    /* models */
    {"{'model': {'type': 'WordPiece', 'vocab': {'a': 0}, 'unk_token': 'a'}}", KD_ENOTSUP, {"WordPiece"}},
    {"{'model': {'type': 'Unigram', 'vocab': [['a', 0.0]], 'unk_id': 0}}", KD_ENOTSUP, {"Unigram"}},
    {"{'model': {'type': 'WordLevel', 'vocab': {'a': 0}, 'unk_token': 'a'}}", KD_ENOTSUP, {"WordLevel"}},
    {"{'model': {'type': 'BPE', 'continuing_subword_prefix': '##', " VOCAB ", 'merges': []}}", KD_ENOTSUP, {"continuing_subword_prefix"}},
    {"{'model': {'type': 'BPE', 'end_of_word_suffix': '</w>', " VOCAB ", 'merges': []}}", KD_ENOTSUP, {"end_of_word_suffix"}},
    {"{'model': {'type': 'BPE', 'dropout': 0.1, " VOCAB ", 'merges': []}}", KD_ENOTSUP, {"dropout"}},
    {"{'model': {'type': 'BPE', 'byte_fallback': 'yes', " VOCAB ", 'merges': []}}", KD_EFORMAT, {"byte_fallback"}},
    /* normalizers */
    {"{'normalizer': {'type': 'Lowercase'}, " BPE "}", KD_ENOTSUP, {"normalizer", "Lowercase"}},
    {"{'normalizer': {'type': 'NFKC'}, " BPE "}", KD_ENOTSUP, {"normalizer", "NFKC"}},
    {"{'normalizer': {'type': 'BertNormalizer'}, " BPE "}", KD_ENOTSUP, {"normalizer", "BertNormalizer"}},
    {"{'normalizer': {'type': 'Sequence', 'normalizers': [{'type': 'NFC'}, {'type': 'StripAccents'}]}, " BPE "}", KD_ENOTSUP, {"StripAccents"}},
    {"{'normalizer': {'type': 'Precompiled', 'precompiled_charsmap': 'AA=='}, " BPE "}", KD_ENOTSUP, {"Precompiled"}},
    {"{'normalizer': {'type': 'no\\nsuch'}, " BPE "}", KD_ENOTSUP, {"no?such"}},
    {"{'normalizer': {'type': 'Prepend'}, " BPE "}", KD_EFORMAT, {"prepend"}},
    {"{'normalizer': 5, " BPE "}", KD_EFORMAT, {"normalizer"}},
    {"{'normalizer': {}, " BPE "}", KD_EFORMAT, {"normalizer"}},
    /* pre-tokenizers */
    {"{'pre_tokenizer': {'type': 'UnicodeScripts'}, " BPE "}", KD_ENOTSUP, {"pre_tokenizer", "UnicodeScripts"}},
    {"{'pre_tokenizer': {'type': 'BertPreTokenizer'}, " BPE "}", KD_ENOTSUP, {"pre_tokenizer", "BertPreTokenizer"}},
    {"{'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [{'type': 'CharDelimiterSplit', 'delimiter': '-'}]}, " BPE "}", KD_ENOTSUP,
     {"CharDelimiterSplit", "Sequence[0]"}},
    {"{'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': [" LEVEL ", {'type': 'Digits'}]}, " BPE "}", KD_ENOTSUP, {"behind ByteLevel"}},
    {"{'version': '2.0', " BPE "}", KD_ENOTSUP, {"version", "2.0"}},
    {"{'pre_tokenizer': {'type': 'Sequence', 'pretokenizers': 5}, " BPE "}", KD_EFORMAT, {"pretokenizers"}},
    {"{'pre_tokenizer': " SPLIT("a", "Torn", "false") ", " BPE "}", KD_ENOTSUP, {"Torn"}},
    {"{'pre_tokenizer': " SPLIT("(", "Isolated", "false") ", " BPE "}", KD_ENOTSUP, {"parenthesis"}},
    {"{'pre_tokenizer': {'type': 'Metaspace', 'replacement': '_', 'prepend_scheme': 'sometimes', 'split': false}, " BPE "}", KD_ENOTSUP,
     {"sometimes"}},
    /* post-processors, decoders */
    {"{'post_processor': {'type': 'BertProcessing', 'sep': ['a', 0], 'cls': ['b', 1]}, " BPE "}", KD_ENOTSUP, {"post_processor", "BertProcessing"}},
    {"{'post_processor': {'type': 'TemplateProcessing', 'single': [{'SpecialToken': {'id': '<s>', 'type_id': 0}}], 'pair': [], "
     "'special_tokens': {}}, " BPE "}", KD_EFORMAT, {"<s>"}},
    {"{'decoder': {'type': 'WordPiece', 'prefix': '##', 'cleanup': true}, " BPE "}", KD_ENOTSUP, {"decoder", "WordPiece"}},
    {"{'decoder': {'type': 'CTC'}, " BPE "}", KD_ENOTSUP, {"decoder", "CTC"}},
    /* added tokens */
    {"{'added_tokens': 5, " BPE "}", KD_EFORMAT, {"added_tokens"}},
    {"{'added_tokens': [5], " BPE "}", KD_EFORMAT, {"added_tokens"}},
    {"{'added_tokens': [{'content': 'x'}], " BPE "}", KD_EFORMAT, {"id"}},
    {"{'added_tokens': [" TOKEN("-4", "x", PLAIN) "], " BPE "}", KD_EFORMAT, {"added_tokens"}},
};

static void what_cannot_be_followed_is_refused_by_name(void **state) {
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        kd_tokenizer t;
        kd_status status = open_text(&t, refused[i].text);
        bool named = status == refused[i].status;
        for (int k = 0; k < 2 && refused[i].words[k] && named; k++) named = strstr(kd_message(), refused[i].words[k]);
        if (!named || !strstr(kd_message(), "tokenizer.json")) {
            print_error("  %s\n    %s: %s\n", refused[i].text, kd_status_name(status), status ? kd_message() : "taken");
            wrong++;
        }
        kd_tokenizer_close(&t);  /* allowed after a failure too */
    }
    if (wrong) fail_msg("%d of %d are not refused as they should", wrong, (int)(sizeof refused / sizeof *refused));
}

/* ---- what is taken ------------------------------------------------------------------------------------------- */

/* Ids of a text as "1 2 3". */
static const char *ids_of(const char *json, const char *text, int flags) {
    static char line[512];
    kd_tokenizer t;
    kd_encoder *e;
    kd_ids ids = {0};
    int at = 0;
    assert_done(open_text(&t, json));
    assert_done(kd_encoder_new(&e, &t));
    assert_done(kd_encode(&ids, e, text, (int64_t)strlen(text), flags));
    line[0] = 0;
    for (int64_t i = 0; i < ids.count; i++) at += snprintf(line + at, sizeof line - (size_t)at, "%s%d", i ? " " : "", (int)ids.id[i]);
    free(ids.id);
    kd_encoder_free(e);
    kd_tokenizer_close(&t);
    return line;
}

static void merges_are_taken_in_both_forms(void **state) {
    (void)state;
    assert_string_equal(ids_of("{" BPE "}", "abcab", 0), "2 3 2");
    assert_string_equal(ids_of("{'model': {" VOCAB ", 'merges': [['a', 'b']]}}", "abcab", 0), "2 3 2");
    assert_string_equal(ids_of("{'model': {'type': 'BPE', 'vocab': {'a': 0, ' ': 1, 'a ': 2, 'a a': 3}, 'merges': [['a', ' '], ['a ', 'a']]}}", "a a", 0),
                        "3");
    assert_string_equal(ids_of("{'model': {'type': 'BPE', " VOCAB ", 'merges': []}}", "abc", 0), "0 1 3");
}

static void ids_have_gaps_and_an_order_of_their_own(void **state) {
    kd_tokenizer t;
    (void)state;
    const char *json = "{'model': {'type': 'BPE', 'vocab': {'b': 70000, 'ab': 3, 'a': 900}, 'merges': ['a b']}}";
    assert_string_equal(ids_of(json, "abba", 0), "3 70000 900");
    assert_done(open_text(&t, json));
    assert_true(t.vocabulary == 70001);
    kd_text text = {0};
    const int32_t hole = 5, last = 70000;
    assert_fails(kd_decode(&text, &t, &hole, 1, false), KD_EFORMAT, "5");
    assert_done(kd_decode(&text, &t, &last, 1, false));
    assert_string_equal(text.data, "b");
    kd_text_free(&text);
    kd_tokenizer_close(&t);
}

static void the_lowest_rank_merges_first_and_the_left_one_of_equals(void **state) {
    (void)state;
    const char *json = "{'model': {'type': 'BPE', 'vocab': {'a': 0, 'b': 1, 'c': 2, 'bc': 3, 'ab': 4, 'aa': 5}, 'merges': ['b c', 'a b', 'a a']}}";
    assert_string_equal(ids_of(json, "abc", 0), "0 3");
    assert_string_equal(ids_of(json, "aaa", 0), "5 0");
    assert_string_equal(ids_of(json, "aaab", 0), "5 4");
}

static void the_unknown_token_stands_for_what_is_not_known(void **state) {
    (void)state;
    assert_string_equal(ids_of("{'model': {'type': 'BPE', 'unk_token': 'c', " VOCAB ", 'merges': []}}", "axyb", 0), "0 3 3 1");
    assert_string_equal(ids_of("{'model': {'type': 'BPE', 'unk_token': 'c', 'fuse_unk': true, " VOCAB ", 'merges': []}}", "axyb", 0), "0 3 1");
    kd_tokenizer t;
    kd_encoder *e;
    kd_ids ids = {0};
    assert_done(open_text(&t, "{'model': {'type': 'BPE', 'unk_token': 'zz', " VOCAB ", 'merges': []}}"));
    assert_done(kd_encoder_new(&e, &t));
    assert_done(kd_encode(&ids, e, "ab", 2, 0));
    assert_fails(kd_encode(&ids, e, "axb", 3, 0), KD_EFORMAT, "zz");
    assert_int_equal(ids.count, 2);
    free(ids.id);
    kd_encoder_free(e);
    kd_tokenizer_close(&t);
    assert_string_equal(ids_of("{" BPE "}", "axyb", 0), "2");  /* nothing stands for it: its neighbours meet */
}

static void added_tokens_are_cut_out_longest_first(void **state) {
    (void)state;
    const char *json = "{'added_tokens': [" TOKEN("5", "<", PLAIN) ", " TOKEN("6", "<ab", PLAIN) "], " BPE "}";
    assert_string_equal(ids_of(json, "<a<ab<", 0), "5 0 6 5");
    assert_string_equal(ids_of(json, "<a<ab<", KD_ENCODE_SPECIALS_AS_TEXT), "0 2");
}

static void a_template_puts_tokens_before_and_behind(void **state) {
    (void)state;
#define TEMPLATE(single) \
    "{'post_processor': {'type': 'TemplateProcessing', 'single': [" single "], 'pair': [], 'special_tokens': " \
    "{'x': {'id': 'x', 'ids': [5, 6], 'tokens': ['x', 'y']}, 'z': {'id': 'z', 'ids': [7], 'tokens': ['z']}}}, " \
    "'added_tokens': [" TOKEN("5", "x", PLAIN) ", " TOKEN("6", "y", PLAIN) ", " TOKEN("7", "z", PLAIN) "], " BPE "}"
#define SPECIAL(name) "{'SpecialToken': {'id': '" name "', 'type_id': 0}}"
#define TEXT_A "{'Sequence': {'id': 'A', 'type_id': 0}}"
    const char *both = TEMPLATE(SPECIAL("x") ", " TEXT_A ", " SPECIAL("z"));
    assert_string_equal(ids_of(both, "ab", KD_ENCODE_SPECIALS), "5 6 2 7");
    assert_string_equal(ids_of(both, "", KD_ENCODE_SPECIALS), "5 6 7");
    assert_string_equal(ids_of(both, "ab", 0), "2");
    assert_string_equal(ids_of(TEMPLATE(TEXT_A ", " SPECIAL("z")), "ab", KD_ENCODE_SPECIALS), "2 7");
}

static void a_folder_or_the_file_itself_is_opened(void **state) {
    kd_tokenizer folder, file;
    (void)state;
    assert_done(open_text(&file, "{" BPE "}"));
    assert_done(kd_tokenizer_open(&folder, scratch));
    assert_string_equal(file.name, in_scratch("tokenizer.json"));
    assert_string_equal(folder.name, file.name);
    assert_true(folder.hash == file.hash && folder.vocabulary == 5 && folder.bos == -1 && folder.eos == -1);
    kd_tokenizer_close(&folder);
    kd_tokenizer_close(&file);
    uint64_t before = file.hash;
    assert_done(open_text(&file, "{ " BPE "}"));
    assert_true(file.hash != before);
    kd_tokenizer_close(&file);
    assert_fails(kd_tokenizer_open(&file, in_scratch("none")), KD_ECONFIG, "none", "neither");
}

/* ---- every part, as Hugging Face's tokenizers has it ------------------------------------------------------------ */

typedef struct parts_run { int64_t tokenizers, texts, faults; } parts_run;

static bool same_part(const kd_tokenizer *t, kd_encoder *e, const json_t *text) {
    kd_ids ids = {0}, wanted = {0};
    kd_text back = {0};
    const json_t *given = json_array_get(text, 0);
    add_array(&wanted, json_array_get(text, 1));
    assert_done(kd_encode(&ids, e, json_string_value(given), (int64_t)json_string_length(given), 0));
    assert_done(kd_decode(&back, t, wanted.id, wanted.count, false));
    bool same = same_ids(&ids, &wanted), back_too = same_text(&back, json_array_get(text, 2));
    if (!same || !back_too) print_error("  \"%s\": decoded \"%.*s\"\n", json_string_value(given), (int)back.size, back.size ? back.data : "");
    if (!same) {
        print_ids("got   ", &ids);
        print_ids("wanted", &wanted);
    }
    kd_text_free(&back);
    free(ids.id);
    free(wanted.id);
    return same && back_too;
}

static void check_part(void *arg, const json_t *line) {
    parts_run *r = arg;
    kd_tokenizer t;
    kd_encoder *e;
    char path[256], *text;
    json_t *root;
    int64_t before = r->faults;
    r->tokenizers++;
    snprintf(path, sizeof path, "tests/golden/tokenizers/%s/tokenizer.json", json_string_value(json_object_get(line, "of")));
    assert_done(kd_json_load(&root, path));
    assert_int_equal(json_object_update(root, json_object_get(line, "put")), 0);
    assert_done(kd_json_print(&text, root, JSON_COMPACT, path));
    json_decref(root);
    kd_status status = kd_tokenizer_open(&t, scratch_text("tokenizer.json", text));
    if (!status) assert_done(kd_encoder_new(&e, &t));
    for (size_t i = 0; !status && i < json_array_size(json_object_get(line, "texts")); i++, r->texts++)
        if (r->faults - before < 2) r->faults += !same_part(&t, e, json_array_get(json_object_get(line, "texts"), i));
    if (status) r->faults++;
    if (r->faults > before) {
        char *put = json_dumps(json_object_get(line, "put"), JSON_COMPACT);
        print_error("  tokenizer %lld, %s with %.300s%s%s\n", (long long)r->tokenizers, json_string_value(json_object_get(line, "of")), put,
                    status ? ": " : "", status ? kd_message() : "");
        free(put);
    }
    free(text);
    if (!status) kd_encoder_free(e);
    kd_tokenizer_close(&t);
}

static void every_part_does_what_it_says(void **state) {
    parts_run r = {0};
    (void)state;
    for_each_line("tests/golden/tokenizers/parts.jsonl", check_part, &r);
    print_message("%lld tokenizers, %lld texts\n", (long long)r.tokenizers, (long long)r.texts);
    assert_true(r.tokenizers > 60);
    if (r.faults) fail_msg("%lld differ from Hugging Face's", (long long)r.faults);
}

/* ---- BOS and EOS --------------------------------------------------------------------------------------------- */

#define FOUR "{'added_tokens': [" TOKEN("5", "<s>", PLAIN) ", " TOKEN("6", "</s>", PLAIN) ", " TOKEN("7", "<pad>", PLAIN) "], " BPE "}"

static const struct { const char *config; int bos, eos; } named[] = {
    {"{'bos_token': '<s>', 'eos_token': '</s>'}", 5, 6},
    {"{'bos_token': {'content': '<s>', 'lstrip': false}, 'eos_token': {'content': '<pad>'}}", 5, 7},
    {"{'bos_token': null, 'eos_token': '</s>'}", -1, 6},
};

static void bos_and_eos_are_what_the_configuration_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        kd_tokenizer t;
        scratch_text("tokenizer.json", quoted(FOUR));
        scratch_text("tokenizer_config.json", quoted(named[i].config));
        assert_done(kd_tokenizer_open(&t, scratch));
        if (t.bos != named[i].bos || t.eos != named[i].eos) fail_msg("%s: %d, %d", named[i].config, (int)t.bos, (int)t.eos);
        kd_tokenizer_close(&t);
        unlink(in_scratch("tokenizer_config.json"));
    }
}

/* ---- files that do harm -------------------------------------------------------------------------------------- */

static void a_huge_id_takes_no_memory_of_its_size(void **state) {
    kd_tokenizer t;
    (void)state;
    kd_status status = open_text(&t, "{'model': {'type': 'BPE', 'vocab': {'a': 2147483646, 'b': 1}, 'merges': []}}");
    assert_true(!status || status == KD_EFORMAT);
    if (!status) assert_true(t.vocabulary == 2147483647);
    kd_tokenizer_close(&t);
}

static void parts_without_end_are_refused(void **state) {
    static const struct { const char *head, *middle, *tail; } list[] = {
        {"{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}", ", {\"type\": \"NFC\"}", "]}, "},
        {"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}", ", {\"type\": \"ByteLevel\"}", "]}, "},
        {"{\"decoder\": {\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Fuse\"}", ", {\"type\": \"Fuse\"}", "]}, "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        kd_tokenizer t;
        kd_text text = {0};
        kd_text_put(&text, list[i].head);
        for (int k = 0; k < 10000; k++) kd_text_put(&text, list[i].middle);
        kd_text_put(&text, list[i].tail);
        kd_text_put(&text, quoted(BPE "}"));
        assert_fails(kd_tokenizer_open(&t, scratch_file("tokenizer.json", text.data, text.size)), KD_ENOTSUP, "tokenizer.json");
        kd_text_free(&text);
    }
}

/* Every way to part a run of letters would be tried. */
static void a_pattern_that_goes_back_without_end_is_given_up(void **state) {
    kd_tokenizer t;
    kd_encoder *e;
    kd_ids ids = {0};
    char text[65];
    (void)state;
    memset(text, 'a', 64);
    text[64] = 0;
    assert_done(open_text(&t, "{'pre_tokenizer': " SPLIT("(a|aa|aaa)+(a|aa)+\\\\d", "Isolated", "false") ", " BPE "}"));
    assert_done(kd_encoder_new(&e, &t));
    double begin = kd_now();
    kd_status status = kd_encode(&ids, e, text, 64, 0);
    assert_true(status == KD_ENOTSUP || status == KD_EFORMAT);
    assert_true(kd_now() - begin < (SANITIZED ? 60 : 10));
    assert_int_equal(ids.count, 0);
    assert_done(kd_encode(&ids, e, "ab", 2, 0));
    assert_int_equal(ids.count, 1);
    free(ids.id);
    kd_encoder_free(e);
    kd_tokenizer_close(&t);
}

int main(void) {
    kd_log_level(KD_QUIET);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_followed_is_refused_by_name),
        cmocka_unit_test(merges_are_taken_in_both_forms),
        cmocka_unit_test(ids_have_gaps_and_an_order_of_their_own),
        cmocka_unit_test(the_lowest_rank_merges_first_and_the_left_one_of_equals),
        cmocka_unit_test(the_unknown_token_stands_for_what_is_not_known),
        cmocka_unit_test(added_tokens_are_cut_out_longest_first),
        cmocka_unit_test(a_template_puts_tokens_before_and_behind),
        cmocka_unit_test(a_folder_or_the_file_itself_is_opened),
        cmocka_unit_test(every_part_does_what_it_says),
        cmocka_unit_test(a_huge_id_takes_no_memory_of_its_size),
        cmocka_unit_test(parts_without_end_are_refused),
        cmocka_unit_test(a_pattern_that_goes_back_without_end_is_given_up),
        cmocka_unit_test(bos_and_eos_are_what_the_configuration_says),
    };
    return cmocka_run_group_tests_name("tokenizer.json", tests, scratch_open, scratch_close);
}

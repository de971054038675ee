/* The tokenizers of four families of models against vectors of others and digests of documents, counted. They are no part of
 * the repository: KEDGE_ASSETS names the folder in which tokenizers/ and corpus/ lie. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/pool.h"
#include "format/input.h"
#include "format/jsonl.h"
#include "format/tokenizer_model.h"
#include "tokenizer_test.h"

static const struct { const char *name, *llama_cpp; } family[] = {
    {"llama2", "llama-spm"}, {"mistral_v3", NULL}, {"llama3", "llama-bpe"}, {"qwen", "qwen2"}};
enum { FAMILIES = sizeof family / sizeof *family };

static char assets[512];

static const char *asset(const char *format, const char *a, const char *b) {
    static char path[4][1024];
    static int turn;
    int at;
    turn = (turn + 1) % 4;
    at = snprintf(path[turn], sizeof path[turn], "%s/", assets);
    snprintf(path[turn] + at, sizeof path[turn] - (size_t)at, format, a, b);
    return path[turn];
}

static void need_assets(void) {
    if (kd_exists(asset("tokenizers/%s/tokenizer.json", "llama2", "")) && kd_exists(asset("corpus/validation", "", ""))) return;
    print_message("skipped: tokenizers of models: none in %s/tokenizers (KEDGE_ASSETS)\n", assets);
    skip();
}

/* ---- one tokenizer and what was found of it ------------------------------------------------------------------ */

enum { EDGE, LLAMA_CPP, LONG, DOCUMENTS, TEXTS_BACK, KINDS };
static const char *const kind_name[KINDS] = {"edge texts", "llama.cpp", "long runs", "documents", "decoded"};

typedef struct found {
    const char *name;
    kd_tokenizer t;
    kd_encoder *e;
    int64_t right[KINDS], all[KINDS];
    int shown;
    bool skip_specials;      /* texts in which special tokens stand are passed over: the names of these are others */
    kd_reader *reader;       /* of documents */
    char shard[256];
    int64_t line;            /* the next one of the shard */
} found;

static void open_found(found *f, const char *name, const char *path) {
    *f = (found){.name = name};
    assert_done(kd_tokenizer_open(&f->t, path));
    assert_done(kd_encoder_new(&f->e, &f->t));
}

static void close_found(found *f) {
    kd_reader_close(f->reader);
    kd_encoder_free(f->e);
    kd_tokenizer_close(&f->t);
}

static bool count(found *f, int kind, bool right, const char *text, int64_t size) {
    f->all[kind]++;
    f->right[kind] += right;
    bool show = !right && f->shown++ < SHOWN_FAULTS;
    if (show) print_error("  %s, %s %lld: %.*s\n", f->name, kind_name[kind], (long long)f->all[kind], (int)(size < 200 ? size : 200), text);
    return show;
}

static void compare(found *f, int kind, const char *text, int64_t size, int flags, const kd_ids *wanted) {
    kd_ids got = {0};
    assert_done(kd_encode(&got, f->e, text, size, flags));
    if (count(f, kind, same_ids(&got, wanted), text, size)) {
        print_ids("got   ", &got);
        print_ids("wanted", wanted);
    }
    free(got.id);
}

/* ---- kinds of vectors ---------------------------------------------------------------------------------------- */

static void check_edge(void *arg, const json_t *line) {
    found *f = arg;
    const json_t *text = json_object_get(line, "text");
    if (f->skip_specials && strstr(json_string_value(text), "<|")) return;
    kd_ids ids = {0};
    add_array(&ids, json_object_get(line, "ids"));
    compare(f, EDGE, json_string_value(text), (int64_t)json_string_length(text), KD_ENCODE_SPECIALS, &ids);
    for (int skip = 0; skip < 2; skip++) {
        const json_t *wanted = json_object_get(line, skip ? "decoded_skip_special" : "decoded");
        kd_text back = {0};
        if (!wanted || (f->skip_specials && !skip)) continue;
        assert_done(kd_decode(&back, &f->t, ids.id, ids.count, skip));
        count(f, TEXTS_BACK, same_text(&back, wanted), json_string_value(text), (int64_t)json_string_length(text));
        kd_text_free(&back);
    }
    free(ids.id);
}

static void compare_digest(found *f, int kind, const char *text, int64_t size, const json_t *line) {
    kd_ids ids = {0};
    char hex[65];
    assert_done(kd_encode(&ids, f->e, text, size, KD_ENCODE_SPECIALS));
    ids_digest(hex, &ids);
    count(f, kind, !strcmp(hex, json_string_value(json_object_get(line, "sha256_u32le"))), text, size);
    assert_int_equal(ids.count, json_integer_value(json_object_get(line, "n")));
    free(ids.id);
}

/* spec: "U+0020 x 100000", or a JSON string in its place. */
static void check_long(void *arg, const json_t *line) {
    const char *spec = json_string_value(json_object_get(line, "spec")), *times = strstr(spec, " x ");
    char unit[64] = " ";
    int64_t size = json_integer_value(json_object_get(line, "bytes")), step = 1;
    if (*spec == '"') {
        json_error_t error;
        json_t *string = json_loadb(spec, (size_t)(times - spec), JSON_DECODE_ANY, &error);
        snprintf(unit, sizeof unit, "%s", json_string_value(string));
        json_decref(string);
        step = (int64_t)strlen(unit);
    }
    assert_int_equal(size, step * strtoll(times + 3, NULL, 10));
    char *text = malloc((size_t)size);
    assert_non_null(text);
    for (int64_t i = 0; i < size; i += step) memcpy(text + i, unit, (size_t)step);
    compare_digest(arg, LONG, text, size, line);
    free(text);
}

static void check_document(void *arg, const json_t *line) {
    found *f = arg;
    const char *shard = json_string_value(json_object_get(line, "shard"));
    kd_document document;
    bool more;
    if (strcmp(f->shard, shard)) {
        kd_reader_close(f->reader);
        assert_done(kd_reader_open(&f->reader, asset("corpus/%s", shard, "")));
        snprintf(f->shard, sizeof f->shard, "%s", shard);
        f->line = 0;
    }
    do {
        assert_done(kd_reader_next(f->reader, &document, &more));
        assert_true(more);
    } while (f->line++ < json_integer_value(json_object_get(line, "line")));
    compare_digest(f, DOCUMENTS, document.text, document.size, line);
}

/* Texts are parted by a line; ids stand a line a text. */
static void check_llama_cpp(found *f, const char *folder, const char *vocabulary) {
    static const char part[] = "\n__ggml_vocab_test__\n";
    char name[128], *texts, *ids;
    int64_t size;
    snprintf(name, sizeof name, "vectors/llamacpp_%s.inp", vocabulary);
    assert_done(kd_file_read(&texts, &size, asset("tokenizers/%s/%s", folder, name), 1 << 20));
    char *end_of_texts = texts + size;
    memcpy(strrchr(name, '.'), ".out", 5);
    assert_done(kd_file_read(&ids, &size, asset("tokenizers/%s/%s", folder, name), 1 << 20));
    for (char *text = texts, *line = ids; line <= ids + size;) {  /* behind the last newline stands the empty text */
        kd_ids wanted = {0};
        char *stop = strstr(text, part), *newline = strchr(line, '\n');
        if (!stop) stop = end_of_texts;
        if (!newline) newline = ids + size;
        *newline = 0;
        for (char *next;; line = next) {
            long id = strtol(line, &next, 10);
            if (next == line) break;
            assert_done(kd_ids_reserve(&wanted, 1));
            wanted.id[wanted.count++] = (int32_t)id;
        }
        compare(f, LLAMA_CPP, text, stop - text, 0, &wanted);
        free(wanted.id);
        text = stop + sizeof part - 1;
        line = newline + 1;
    }
    free(texts);
    free(ids);
}

static void check_all(found *f, const char *folder, const char *llama_cpp) {
    for_each_line(asset("tokenizers/%s/vectors/edge.jsonl", folder, ""), check_edge, f);
    for_each_line(asset("tokenizers/%s/vectors/pathological.jsonl", folder, ""), check_long, f);
    for_each_line(asset("tokenizers/%s/vectors/corpus_validation.jsonl", folder, ""), check_document, f);
    if (llama_cpp) check_llama_cpp(f, folder, llama_cpp);
}

static int64_t print_row(const found *f) {
    int64_t wrong = 0;
    print_message("%-22s", f->name);
    for (int k = 0; k < KINDS; k++) {
        char cell[32] = "-";
        if (f->all[k]) snprintf(cell, sizeof cell, "%lld/%lld", (long long)f->right[k], (long long)f->all[k]);
        print_message(" %12s", cell);
        wrong += f->all[k] - f->right[k];
    }
    print_message("\n");
    return wrong;
}

static void print_head(void) {
    print_message("%-22s", "");
    for (int k = 0; k < KINDS; k++) print_message(" %12s", kind_name[k]);
    print_message("\n");
}

static void every_vector_of_every_family_is_met(void **state) {
    (void)state;
    need_assets();
    int64_t wrong = 0;
    print_head();
    for (int i = 0; i < FAMILIES; i++) {
        found f;
        open_found(&f, family[i].name, asset("tokenizers/%s", family[i].name, ""));
        check_all(&f, family[i].name, family[i].llama_cpp);
        assert_true(f.all[EDGE] > 200 && f.all[DOCUMENTS] == 144 && f.all[LONG] == 6);
        assert_true(!family[i].llama_cpp || f.all[LLAMA_CPP] == 47);
        wrong += print_row(&f);
        close_found(&f);
    }
    if (wrong) fail_msg("%lld vectors are not met", (long long)wrong);
}

/* ---- other serialisations of the same ------------------------------------------------------------------------ */

/* A *.json.zst of the assets as scratch/tokenizer.json. */
static const char *unpack(const char *folder, const char *name) {
    kd_input *input;
    char *data = malloc(32 << 20);
    int64_t size = 0, got = 1;
    assert_non_null(data);
    assert_done(kd_input_open(&input, asset("tokenizers/%s/%s.json.zst", folder, name)));
    while (got > 0) {
        assert_done(kd_input_read(data + size, &got, input, (32 << 20) - size));
        size += got;
    }
    kd_input_close(input);
    const char *path = scratch_file("tokenizer.json", data, size);
    free(data);
    return path;
}

static void other_serialisations_give_the_same_ids(void **state) {
    static const struct { const char *folder, *name, *llama_cpp; bool renamed; } other[] = {
        {"llama3", "tokenizer_3.1", "llama-bpe", true},
        {"llama3", "tokenizer_merges_pairs", "llama-bpe", false},
        {"mistral_v3", "tokenizer_60b94575", NULL, false},
    };
    (void)state;
    need_assets();
    int64_t wrong = 0;
    print_head();
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        found f;
        open_found(&f, other[i].name, unpack(other[i].folder, other[i].name));
        f.skip_specials = other[i].renamed;
        check_all(&f, other[i].folder, other[i].llama_cpp);
        wrong += print_row(&f);
        close_found(&f);
    }
    if (wrong) fail_msg("%lld vectors are not met", (long long)wrong);
}

static void check_legacy(void *arg, const json_t *line) {
    found *both = arg;  /* the legacy form and the new one */
    const char *text = json_string_value(json_object_get(line, "text"));
    int64_t size = (int64_t)json_string_length(json_object_get(line, "text"));
    if (!size) return;
    for (const char *c = text; c < text + size; c++)
        if (*c == '[' || *c == '<') return;  /* behind a special token they differ */
    kd_ids wanted = {0};
    char *longer = malloc((size_t)size + 1);
    assert_non_null(longer);
    longer[0] = ' ';
    memcpy(longer + 1, text, (size_t)size);
    assert_done(kd_encode(&wanted, both[1].e, longer, size + 1, KD_ENCODE_SPECIALS));
    compare(&both[0], EDGE, text, size, KD_ENCODE_SPECIALS, &wanted);
    free(longer);
    free(wanted.id);
}

/* The old conversion puts a bar in front of every text, the new one only where none is. */
static void the_legacy_form_is_the_new_one_behind_a_space(void **state) {
    found both[2];
    (void)state;
    need_assets();
    open_found(&both[0], "legacy", unpack("mistral_v3", "tokenizer_legacy_DERIVED"));
    open_found(&both[1], "mistral_v3", asset("tokenizers/mistral_v3", "", ""));
    for_each_line(asset("tokenizers/mistral_v3/vectors/edge.jsonl", "", ""), check_legacy, both);
    assert_true(both[0].all[EDGE] > 100);
    assert_int_equal(both[0].right[EDGE], both[0].all[EDGE]);
    print_message("%lld texts in both forms\n", (long long)both[0].all[EDGE]);
    close_found(&both[0]);
    close_found(&both[1]);
}

/* ---- fast ways and plain ones over the corpus -------------------------------------------------------------------- */

typedef struct both_ways { kd_encoder *fast[2], *plain[2]; kd_paths paths; int64_t documents[2], bytes[2], differ[2]; } both_ways;

static kd_status compare_shard(void *arg, int64_t task, int64_t thread) {
    both_ways *b = arg;
    kd_reader *reader;
    kd_document document;
    kd_ids one = {0}, two = {0};
    bool more = true;
    kd_status status;
    KD_GO(kd_reader_open(&reader, b->paths.path[task]));
    for (;;) {
        KD_GO(kd_reader_next(reader, &document, &more));
        if (!more) break;
        one.count = two.count = 0;
        KD_GO(kd_encode(&one, b->fast[thread], document.text, document.size, 0));
        KD_GO(kd_encode(&two, b->plain[thread], document.text, document.size, 0));
        b->documents[thread]++;
        b->bytes[thread] += document.size;
        b->differ[thread] += !same_ids(&one, &two);
    }
done:
    kd_reader_close(reader);
    free(one.id);
    free(two.id);
    return status;
}

/* A third of the corpus, or all of it with KEDGE_CORPUS=whole, which takes a minute. */
static void fast_ways_are_the_plain_ones_on_the_corpus(void **state) {
    kd_pool *pool;
    const char *wanted = getenv("KEDGE_CORPUS");
    bool whole = wanted && !strcmp(wanted, "whole");
    (void)state;
    need_assets();
    assert_done(kd_pool_new(&pool, 2));
    for (int i = 0; i < FAMILIES; i++) {
        kd_tokenizer t, plain;
        both_ways b = {0};
        assert_done(kd_glob(&b.paths, asset("corpus/validation/**/*.jsonl.zst", "", "")));
        if (!SANITIZED) assert_done(kd_glob(&b.paths, asset("corpus/train/%s/*.jsonl.zst", whole ? "**" : "chunk1", "")));
        assert_done(kd_tokenizer_open(&t, asset("tokenizers/%s", family[i].name, "")));
        assert_done(kd_tokenizer_open(&plain, asset("tokenizers/%s", family[i].name, "")));
        assert_true(t.model->vocabulary.cuts || t.model->parts.bytes);
        plain.model->force_pattern = true;
        plain.model->vocabulary.cuts = false;
        for (int k = 0; k < 2; k++) {
            assert_done(kd_encoder_new(&b.fast[k], &t));
            assert_done(kd_encoder_new(&b.plain[k], &plain));
        }
        assert_done(kd_pool_run(pool, compare_shard, &b, b.paths.count));
        print_message("%s: %lld documents, %lld bytes, %lld differ\n", family[i].name, (long long)(b.documents[0] + b.documents[1]),
                      (long long)(b.bytes[0] + b.bytes[1]), (long long)(b.differ[0] + b.differ[1]));
        assert_int_equal(b.differ[0] + b.differ[1], 0);
        for (int k = 0; k < 2; k++) {
            kd_encoder_free(b.fast[k]);
            kd_encoder_free(b.plain[k]);
        }
        kd_paths_free(&b.paths);
        kd_tokenizer_close(&t);
        kd_tokenizer_close(&plain);
    }
    kd_pool_free(pool);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static void two_megabytes_take_little_more_than_twice_the_time_of_one(void **state) {
    static const char *const unit[] = {" ", "a", "ab", "\n", "=", "0123456789", "\xcc\x87\xcc\xa3", "\xe6\x97\xa5\xe6\x9c\xac", "xq ", "<s>"};
    (void)state;
    need_assets();
    if (SANITIZED) {
        print_message("skipped: time of long runs: a sanitizer is in the way\n");
        skip();
    }
    for (int i = 0; i < FAMILIES; i += 2) {  /* one of each kind: the four take a minute */
        kd_tokenizer t;
        kd_encoder *e;
        double worst = 0, slowest = 0;
        assert_done(kd_tokenizer_open(&t, asset("tokenizers/%s", family[i].name, "")));
        assert_done(kd_encoder_new(&e, &t));
        for (size_t u = 0; u < sizeof unit / sizeof *unit; u++) {
            double one = 0, two = 1;
            for (int turn = 0; turn < 5 && (!turn || two > 3.2 * one + 10e-3); turn++) {  /* another program may have taken the machine */
                double a = seconds_of_run(e, unit[u], 1000000), b = seconds_of_run(e, unit[u], 2000000);
                if (!turn || a < one) one = a;
                if (!turn || b < two) two = b;
            }
            if (two > 3.2 * one + 10e-3) fail_msg("%s, unit %d: 1 MB %.3f s, 2 MB %.3f s", family[i].name, (int)u, one, two);
            if (two / one > worst) worst = two / one;
            if (two > slowest) slowest = two;
        }
        print_message("%s: 2 MB in at most %.3f s, at most %.2f times 1 MB\n", family[i].name, slowest, worst);
        kd_encoder_free(e);
        kd_tokenizer_close(&t);
    }
}

int main(void) {
    const char *folder = getenv("KEDGE_ASSETS");
    snprintf(assets, sizeof assets, "%s", folder && *folder ? folder : "../shared/assets");
    kd_log_level(KD_QUIET);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_of_every_family_is_met),
        cmocka_unit_test(other_serialisations_give_the_same_ids),
        cmocka_unit_test(the_legacy_form_is_the_new_one_behind_a_space),
        cmocka_unit_test(fast_ways_are_the_plain_ones_on_the_corpus),
        cmocka_unit_test(two_megabytes_take_little_more_than_twice_the_time_of_one),
    };
    return cmocka_run_group_tests_name("tokenizer vectors", tests, scratch_open, scratch_close);
}

/* Documents to windows: what is in a window, what is predicted, what is lost, and that it is counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the four above. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "base/file.h"
#include "data/interleave.h"
#include "data/windows.h"
#include "format/jsonl.h"

enum { BOS = KD_BYTES_BOS, EOS = KD_BYTES_EOS, FIRST_ID = 1000 };

static void ok(kd_status status) {
    if (status) fail_msg("%s: %s", kd_status_name(status), kd_message());
}

/* ---- a corpus made by hand: token i of it has the id FIRST_ID + i, so an id says where it comes from ---------- */

typedef struct made { kd_corpus corpus; int64_t *document_of; } made;

static made make_corpus(const int64_t *length, int64_t documents) {
    static char *names[] = {"C4", "", "Wikipedia"};
    made m = {.corpus = {.tokenizer = {.bos = BOS, .eos = EOS}, .documents = documents, .source_name = names, .sources = 3}};
    kd_corpus *c = &m.corpus;
    ok(kd_new(&c->start, documents + 1, sizeof *c->start));
    ok(kd_new(&c->source, documents, sizeof *c->source));
    for (int64_t d = 0; d < documents; d++) {
        c->start[d + 1] = c->start[d] + length[d];
        c->source[d] = (uint16_t)(d % 3);
    }
    c->tokens = c->start[documents];
    c->tokenizer.vocabulary = FIRST_ID + c->tokens;
    ok(kd_new(&c->wide, c->tokens, sizeof *c->wide));
    ok(kd_new(&m.document_of, c->tokens, sizeof *m.document_of));
    for (int64_t d = 0; d < documents; d++)
        for (int64_t i = c->start[d]; i < c->start[d + 1]; i++) {
            c->wide[i] = (uint32_t)(FIRST_ID + i);
            m.document_of[i] = d;
        }
    return m;
}

static void free_corpus(made *m) {
    free(m->corpus.start);
    free(m->corpus.source);
    free(m->corpus.wide);
    free(m->document_of);
}

/* Lengths that meet every case: one token, shares to cut, longer than a window. */
static const int64_t LENGTHS[] = {1, 2, 1, 70, 5, 64, 1, 900, 63, 12, 300, 3, 3, 1, 129, 7, 2500, 80, 90, 100, 1, 33, 256, 65};
enum { DOCUMENTS = sizeof LENGTHS / sizeof *LENGTHS };

/* ---- every combination ------------------------------------------------------------------------------------- */

typedef void combination(const kd_windows *w, const made *m);

static void each_combination(combination *see) {
    static const int64_t window[] = {12, 13, 64, 257, 1000};
    made m = make_corpus(LENGTHS, DOCUMENTS);
    for (int bits = 0; bits < 64; bits++)
        for (kd_mask mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++)
            for (int separator = 0; separator < 4; separator++)
                for (int t = 0; t < 5; t++) {
                    kd_window_options o = {.window = window[t], .mask = mask, .separator = (kd_separator)separator,
                                           .reset = bits & 1, .anchor_is_bos = bits & 2, .interleave = bits & 4,
                                           .tag = bits & 8, .truncate = bits & 16,
                                           .predict_boundary = bits & 32, .seed = 7};
                    kd_windows w;
                    if (o.anchor_is_bos && mask != KD_MASK_ANCHOR) continue;
                    ok(kd_windows_open(&w, &m.corpus, &o));
                    see(&w, &m);
                    kd_windows_close(&w);
                }
    free_corpus(&m);
}

static void check_length(const kd_windows *w, const made *m) {
    (void)m;
    assert_true(w->count > 0);
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan;
        ok(kd_windows_plan(&plan, w, i, false));
        assert_int_equal(plan.T, w->options.window);
        assert_int_equal(plan.start[plan.N], w->options.window);
        kd_plan_free(&plan);
    }
}

static void a_window_has_exactly_its_tokens(void **state) {
    (void)state;
    each_combination(check_length);
}

/* Marks in seen [tokens] how often each id of the text is an input, in windows 0 .. count-1 of a pass. */
static void see_pass(int64_t *seen, int64_t *eos, const kd_windows *w, const made *m) {
    int64_t *latest;  /* [documents] the last id of each */
    ok(kd_new(&latest, m->corpus.documents, sizeof *latest));
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan;
        ok(kd_windows_plan(&plan, w, i, false));
        for (int64_t t = 0; t < plan.T; t++) {
            int64_t id = plan.token[t] - FIRST_ID;
            *eos += plan.token[t] == EOS;
            if (id < 0) continue;
            assert_true(id < m->corpus.tokens);
            seen[id]++;
            int64_t d = m->document_of[id];
            assert_true(id >= latest[d]);  /* in text order, also across windows */
            latest[d] = id + 1;
        }
        kd_plan_free(&plan);
    }
    free(latest);
}

static void check_once(const kd_windows *w, const made *m) {
    int64_t *seen, eos = 0, inputs = 0;
    bool with_eos = w->options.separator & KD_SEPARATE_EOS;
    ok(kd_new(&seen, m->corpus.tokens, sizeof *seen));
    see_pass(seen, &eos, w, m);
    for (int64_t i = 0; i < m->corpus.tokens; i++) {
        assert_in_range(seen[i], 0, 1);
        inputs += seen[i];
    }
    assert_int_equal(inputs + eos + w->dropped + w->truncated,
                     m->corpus.tokens + with_eos * m->corpus.documents);
    if (!w->options.truncate) {  /* what is missing is the end of the corpus */
        assert_int_equal(w->truncated, 0);
        for (int64_t i = 1; i < m->corpus.tokens; i++) assert_true(seen[i] <= seen[i - 1]);
    }
    free(seen);
}

static void every_token_is_once_in_a_pass_or_counted_and_in_text_order(void **state) {
    (void)state;
    each_combination(check_once);
}

static void check_predictions(const kd_windows *w, const made *m) {
    if (w->options.predict_boundary || w->options.truncate) return;
    const int64_t *start = m->corpus.start;
    int64_t *seen, *predicted, eos = 0, predicted_eos = 0, ahead = 0;
    ok(kd_new(&seen, m->corpus.tokens, sizeof *seen));
    ok(kd_new(&predicted, m->corpus.tokens, sizeof *predicted));
    see_pass(seen, &eos, w, m);
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan;
        ok(kd_windows_plan(&plan, w, i, false));
        for (int64_t t = 0; t < plan.T; t++) {
            int64_t id = plan.token[t] - FIRST_ID;
            bool last = id >= 0 && id + 1 == start[m->document_of[id] + 1];
            int64_t next = id < 0 ? -1 : !last ? id + 1 + FIRST_ID : w->options.separator & KD_SEPARATE_EOS ? EOS : -1;
            assert_int_equal(plan.target[t], next);
            if (next >= FIRST_ID) predicted[next - FIRST_ID]++;
            predicted_eos += next == EOS;
        }
        kd_plan_free(&plan);
    }
    for (int64_t i = 0; i < m->corpus.tokens; i++) {
        bool first = start[m->document_of[i]] == i;
        if (seen[i] || first) assert_int_equal(predicted[i], !first);
        else ahead += predicted[i];
    }
    ahead += predicted_eos - eos;
    assert_in_range(ahead, 0, 1);  /* the first token behind the last whole window */
    free(seen);
    free(predicted);
}

static void every_token_but_a_first_is_predicted_once_in_a_pass(void **state) {
    (void)state;
    each_combination(check_predictions);
}

/* ---- single windows, letter by letter ------------------------------------------------------------------------ */

/* '^' BOS, '$' EOS, '.' no target, other letters: the text. Documents are separated by spaces; all are of source XY. */
typedef struct letters { kd_corpus corpus; } letters;

static letters spell(const char *text) {
    static char *names[] = {"XY"};
    letters l = {{.tokenizer = {.bos = BOS, .eos = EOS, .vocabulary = KD_BYTES_VOCABULARY}, .source_name = names, .sources = 1, .documents = 1}};
    kd_corpus *c = &l.corpus;
    int64_t size = (int64_t)strlen(text);
    ok(kd_new(&c->start, size + 1, sizeof *c->start));
    ok(kd_new(&c->source, size, sizeof *c->source));
    ok(kd_new(&c->narrow, size, sizeof *c->narrow));
    for (int64_t i = 0; i < size; i++)
        if (text[i] == ' ') c->start[c->documents++] = c->tokens;
        else c->narrow[c->tokens++] = (uint16_t)text[i];
    c->start[c->documents] = c->tokens;
    return l;
}

static void free_letters(letters *l) {
    free(l->corpus.start);
    free(l->corpus.source);
    free(l->corpus.narrow);
}

static void expect_ids(const int32_t *id, const char *expected) {
    char text[100] = "";
    size_t size = strlen(expected);
    for (size_t i = 0; i < size; i++)
        text[i] = (char)(id[i] == -1 ? '.' : id[i] == BOS ? '^' : id[i] == EOS ? '$' : id[i]);
    assert_string_equal(text, expected);
}

/* Window `index` of the documents in `text` has these inputs and targets. */
static void expect(const char *text, kd_window_options o, int64_t index, const char *input, const char *target) {
    letters l = spell(text);
    kd_windows w;
    kd_plan plan;
    o.window = (int64_t)strlen(input);
    ok(kd_windows_open(&w, &l.corpus, &o));
    ok(kd_windows_plan(&plan, &w, index, false));
    expect_ids(plan.token, input);
    expect_ids(plan.target, target);
    kd_plan_free(&plan);
    kd_windows_close(&w);
    free_letters(&l);
}

static const char TEXT[] = "abc defgh ijklmnopq";
#define OPTIONS(...) (kd_window_options){__VA_ARGS__}

static void a_cut_document_goes_on_and_its_next_token_is_the_target(void **state) {
    (void)state;
    kd_window_options anchor = OPTIONS(.mask = KD_MASK_ANCHOR, .separator = KD_SEPARATE_BOS);
    expect(TEXT, anchor, 0, "^abcde", ".bc.ef");
    expect(TEXT, anchor, 1, "^fghij", ".gh.jk");
    expect(TEXT, anchor, 2, "^klmno", ".lmnop");
    kd_window_options document = OPTIONS(.mask = KD_MASK_DOCUMENT, .separator = KD_SEPARATE_BOS);
    expect(TEXT, document, 0, "^abc^d", ".bc..e");
    expect(TEXT, document, 2, "^ijklm", ".jklmn");
}

static void a_document_without_room_begins_anew_behind_what_fills_the_window(void **state) {
    (void)state;
    kd_window_options o = OPTIONS(.mask = KD_MASK_DOCUMENT, .separator = KD_SEPARATE_BOS);
    expect(TEXT, o, 1, "^efgh^", ".fgh..");
    expect(TEXT, o, 2, "^ijklm", ".jklmn");
    o.tag = true;
    expect(TEXT, o, 0, "^XYabc^", "...bc..");
    expect(TEXT, o, 1, "^XYdefg", "...efgh");
    expect(TEXT, o, 2, "^XYh^XY", ".......");
    expect(TEXT, o, 3, "^XYijkl", "...jklm");
    o.mask = KD_MASK_ANCHOR;
    expect(TEXT, o, 0, "^XYabcX", "...bc..");
    o.predict_boundary = true;
    expect(TEXT, o, 0, "^XYabcX", "...bc..");
}

static void separators_place_bos_and_eos(void **state) {
    (void)state;
    expect(TEXT, OPTIONS(.mask = KD_MASK_DOCUMENT), 0, "abcdefg", "bc.efgh");
    expect(TEXT, OPTIONS(.mask = KD_MASK_DOCUMENT, .separator = KD_SEPARATE_EOS), 0, "abc$def", "bc$.efg");
    expect(TEXT, OPTIONS(.mask = KD_MASK_DOCUMENT, .separator = KD_SEPARATE_BOTH), 0, "^abc$^d", ".bc$..e");
    expect(TEXT, OPTIONS(.mask = KD_MASK_FULL, .separator = KD_SEPARATE_BOTH), 0, "^abc$^d", ".bc$..e");
    for (int s = 0; s < 2; s++) {  /* with a shared anchor bos says nothing more */
        kd_separator without = s ? KD_SEPARATE_BOS : KD_SEPARATE_NONE, with = s ? KD_SEPARATE_BOTH : KD_SEPARATE_EOS;
        expect(TEXT, OPTIONS(.mask = KD_MASK_ANCHOR, .separator = without), 0, "^abcdef", ".bc.efg");
        expect(TEXT, OPTIONS(.mask = KD_MASK_ANCHOR, .separator = with), 0, "^abc$de", ".bc$.ef");
        expect(TEXT, OPTIONS(.mask = KD_MASK_ANCHOR, .separator = with, .anchor_is_bos = true), 0, "^abc$^d", ".bc$..e");
    }
}

static void an_eos_may_be_all_that_is_left_for_the_next_window(void **state) {
    (void)state;
    kd_window_options o = OPTIONS(.mask = KD_MASK_ANCHOR, .separator = KD_SEPARATE_EOS);
    expect("abcde fghijkl", o, 0, "^abcde", ".bcde$");
    expect("abcde fghijkl", o, 1, "^$fghi", "..ghij");
}

static void predict_trains_bos_and_joints(void **state) {
    (void)state;
    kd_window_options o = OPTIONS(.mask = KD_MASK_FULL, .separator = KD_SEPARATE_BOS, .predict_first = true,
                                  .predict_boundary = true);
    expect(TEXT, o, 0, "^abc^d", "abc^de");
    expect(TEXT, o, 1, "^efgh^", "efgh^.");
    o.mask = KD_MASK_DOCUMENT;
    expect(TEXT, o, 0, "^abc^d", "abc^de");
    o.separator = KD_SEPARATE_NONE;
    expect(TEXT, o, 0, "abcdef", "bcdefg");
}

static void eos_stands_in_where_there_is_no_bos(void **state) {
    (void)state;
    letters l = spell(TEXT);
    l.corpus.tokenizer.bos = -1;
    kd_windows w;
    kd_plan plan;
    kd_window_options o = {.window = 6, .mask = KD_MASK_ANCHOR, .separator = KD_SEPARATE_BOS};
    ok(kd_windows_open(&w, &l.corpus, &o));
    ok(kd_windows_plan(&plan, &w, 0, false));
    expect_ids(plan.token, "$abcde");
    kd_plan_free(&plan);
    kd_windows_close(&w);
    l.corpus.tokenizer.eos = -1;
    assert_int_equal(kd_windows_open(&w, &l.corpus, &o), KD_ECONFIG);
    assert_non_null(strstr(kd_message(), "mask: anchor"));
    o.mask = KD_MASK_DOCUMENT;
    o.separator = KD_SEPARATE_EOS;
    assert_int_equal(kd_windows_open(&w, &l.corpus, &o), KD_ECONFIG);
    o.separator = KD_SEPARATE_NONE;
    ok(kd_windows_open(&w, &l.corpus, &o));
    kd_windows_close(&w);
    free_letters(&l);
}

static void truncate_drops_the_rest_counts_it_and_still_predicts_it(void **state) {
    (void)state;
    kd_window_options o = OPTIONS(.window = 6, .mask = KD_MASK_ANCHOR, .truncate = true);
    expect(TEXT, o, 0, "^abcde", ".bc.ef");
    expect(TEXT, o, 1, "^ijklm", ".jklmn");
    letters l = spell("abc defgh ijklmnopq rs");
    kd_windows w;
    ok(kd_windows_open(&w, &l.corpus, &o));
    assert_int_equal(w.count, 2);
    assert_int_equal(w.truncated, 3 + 4);
    assert_int_equal(w.dropped, 2);
    kd_windows_close(&w);
    free_letters(&l);
}

static void too_little_for_one_window_is_said(void **state) {
    (void)state;
    letters l = spell(TEXT);
    kd_windows w;
    kd_window_options o = {.window = 100, .mask = KD_MASK_ANCHOR};
    assert_int_equal(kd_windows_open(&w, &l.corpus, &o), KD_ECONFIG);
    assert_non_null(strstr(kd_message(), "3 documents of 17 tokens in all: not one window of 100"));
    o = OPTIONS(.window = 3, .mask = KD_MASK_ANCHOR, .tag = true);
    assert_int_equal(kd_windows_open(&w, &l.corpus, &o), KD_ECONFIG);
    assert_non_null(strstr(kd_message(), "need 4"));
    free_letters(&l);
}

/* ---- order --------------------------------------------------------------------------------------------------- */

/* Which window of the corpus each index of `pass` shows, by its first text token. */
static void order_of(int64_t *order, const kd_windows *w, int64_t pass) {
    int32_t *head;
    ok(kd_new(&head, w->count, sizeof *head));
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan;
        ok(kd_windows_plan(&plan, w, i, false));
        head[i] = plan.token[1];
        kd_plan_free(&plan);
    }
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan;
        ok(kd_windows_plan(&plan, w, pass * w->count + i, true));
        for (order[i] = 0; head[order[i]] != plan.token[1]; order[i]++) assert_true(order[i] + 1 < w->count);
        kd_plan_free(&plan);
    }
    free(head);
}

static void the_order_is_a_permutation_of_its_own_for_each_seed_and_pass(void **state) {
    (void)state;
    made m = make_corpus(LENGTHS, DOCUMENTS);
    int64_t order[4][500];
    for (int k = 0; k < 4; k++) {
        kd_window_options o = {.window = 16, .mask = KD_MASK_ANCHOR, .seed = k == 3 ? 2 : 1};
        kd_windows w;
        ok(kd_windows_open(&w, &m.corpus, &o));
        assert_in_range(w.count, 100, 500);
        order_of(order[k], &w, k == 1 ? 5 : 0);
        bool seen[500] = {0};
        for (int64_t i = 0; i < w.count; i++) {
            assert_false(seen[order[k][i]]);
            seen[order[k][i]] = true;
        }
        size_t size = (size_t)w.count * sizeof **order;
        if (k == 1) assert_true(memcmp(order[0], order[1], size));  /* another pass */
        if (k == 2) assert_false(memcmp(order[0], order[2], size)); /* the same again */
        if (k == 3) assert_true(memcmp(order[0], order[3], size));  /* another seed */
        kd_windows_close(&w);
    }
    free_corpus(&m);
}

/* ---- interleaving ---------------------------------------------------------------------------------------------- */

static void cuts_respect_their_bounds(void **state) {
    (void)state;
    int64_t parts[4] = {0};
    for (int64_t document = 0; document < 20; document++)
        for (int64_t count = 1; count < 2200; count += count < 100 ? 1 : 7) {
            kd_interleave x = kd_interleave_share(3, document, count / 7, count);  /* another coin each time */
            bool cut = count >= 64 && count <= 2048;
            assert_in_range(x.parts, cut ? 2 : 1, cut ? 3 : 1);
            assert_int_equal(x.cut[0], 0);
            assert_int_equal(x.cut[x.parts], count);
            assert_true(x.key[0] >= 0 && x.key[0] < 1);
            for (int64_t k = 1; k < x.parts; k++) {
                assert_true(5 * x.cut[k] >= count && 5 * x.cut[k] <= 4 * count);
                assert_true(x.key[k] - x.key[k - 1] >= 1 && x.key[k] - x.key[k - 1] < 2.7183);
                if (k > 1) assert_true(x.cut[k] - x.cut[k - 1] >= 12);
            }
            if (cut) parts[x.parts]++;
        }
    double share = (double)parts[2] / (double)(parts[2] + parts[3]);
    assert_true(share > 0.47 && share < 0.53);
}

/* The chunks of a document as its positions show them: where each begins, relative to the document. */
static int64_t chunks_of(int64_t *begin, const kd_plan *plan, int64_t n) {
    int64_t count = 0;
    for (int64_t t = plan->start[n]; t < plan->start[n + 1]; t++)
        if (t == plan->start[n] || plan->position[t] != plan->position[t - 1] + 1) begin[count++] = t - plan->start[n];
    return count;
}

static void a_documents_cuts_do_not_depend_on_its_neighbours(void **state) {
    (void)state;
    const int64_t before[2][3] = {{70, 90, 500}, {800, 3, 66}};
    int64_t cuts[2][3], count[2];
    for (int k = 0; k < 2; k++) {
        int64_t length[] = {before[k][0], before[k][1], before[k][2], 600, before[1 - k][0], before[k][1], 3000};
        made m = make_corpus(length, 7);
        kd_window_options o = {.window = 2500, .mask = KD_MASK_ANCHOR, .interleave = true, .seed = 1};
        kd_windows w;
        kd_plan plan;
        ok(kd_windows_open(&w, &m.corpus, &o));
        ok(kd_windows_plan(&plan, &w, 0, false));
        count[k] = chunks_of(cuts[k], &plan, 3);
        kd_interleave x = kd_interleave_share(1, 3, 0, 600);
        assert_int_equal(count[k], x.parts);
        for (int64_t i = 0; i < count[k]; i++) assert_int_equal(cuts[k][i], x.cut[i]);
        kd_plan_free(&plan);
        kd_windows_close(&w);
        free_corpus(&m);
    }
    assert_int_equal(count[0], count[1]);
}

static void later_chunks_come_behind_all_first_ones(void **state) {
    (void)state;
    int64_t length[40];
    for (int64_t d = 0; d < 40; d++) length[d] = 100;
    made m = make_corpus(length, 40);
    kd_window_options o = {.window = 3001, .mask = KD_MASK_ANCHOR, .interleave = true, .tag = true, .seed = 5};
    kd_windows w;
    kd_plan plan;
    ok(kd_windows_open(&w, &m.corpus, &o));
    ok(kd_windows_plan(&plan, &w, 0, false));
    int32_t last_first = 0, first_later = 3001;
    bool shuffled = false;
    for (int64_t n = 0; n < plan.N; n++) {
        int64_t begin[4], count = chunks_of(begin, &plan, n);
        const int32_t *position = plan.position + plan.start[n];
        if (position[0] > last_first) last_first = position[0];
        if (count > 1 && position[begin[1]] < first_later) first_later = position[begin[1]];
        if (n && position[0] < plan.position[plan.start[n - 1]]) shuffled = true;
    }
    assert_true(last_first < first_later);
    assert_true(shuffled);
    kd_plan_free(&plan);
    kd_windows_close(&w);
    free_corpus(&m);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static char *put(const char *name, const char *text) {
    char *path = kd_path_join(scratch, name);
    ok(kd_file_write(path, text, (int64_t)strlen(text)));
    return path;
}

static kd_status open_corpus(kd_corpus *c, const char *const *pattern, int64_t patterns) {
    static kd_tokenizer tokenizer;
    if (!tokenizer.name) ok(kd_tokenizer_open(&tokenizer, "bytes"));
    return kd_corpus_open(c, &tokenizer, pattern, patterns);
}

#define RECORD(text, set) "{\"text\": \"" text "\", \"meta\": {\"redpajama_set_name\": \"RedPajama" set "\"}}\n"

static void a_corpus_keeps_documents_in_order_with_their_sources(void **state) {
    (void)state;
    char *a = put("a.jsonl", RECORD("one", "C4") RECORD("", "Book") "{\"text\": \"two\"}\n" RECORD("\\u00e9", "C4"));
    char *b = put("b.md", "three");
    const char *pattern[] = {a, b};
    kd_corpus c;
    ok(open_corpus(&c, pattern, 2));
    assert_int_equal(c.documents, 4);
    assert_int_equal(c.empty, 1);
    assert_int_equal(c.files, 2);
    assert_int_equal(c.tokens, 3 + 3 + 2 + 5);
    assert_non_null(c.narrow);
    assert_int_equal(c.sources, 3);
    assert_string_equal(c.source_name[c.source[0]], "C4");
    assert_string_equal(c.source_name[c.source[1]], "");
    assert_int_equal(c.source[2], c.source[0]);
    assert_string_equal(c.source_name[c.source[3]], "md");
    int32_t id[5];
    kd_corpus_read(id, &c, c.start[2], 5);
    assert_int_equal(id[0], 0xc3);
    assert_int_equal(id[1], 0xa9);
    assert_int_equal(id[2], 't');
    kd_corpus_close(&c);
    free(a);
    free(b);
}

static void a_file_named_twice_is_read_once(void **state) {
    (void)state;
    char *a = put("twice.jsonl", RECORD("one", "C4")), again[600], glob[600];
    snprintf(again, sizeof again, "%s/./twice.jsonl", scratch);
    snprintf(glob, sizeof glob, "%s/twic*.jsonl", scratch);
    const char *pattern[] = {a, glob, again};
    kd_corpus c;
    ok(open_corpus(&c, pattern, 3));
    assert_int_equal(c.files, 1);
    assert_int_equal(c.documents, 1);
    kd_corpus_close(&c);
    free(a);
}

static uint64_t hash_of(const char *text) {
    char *path = put("hash.jsonl", text);
    const char *pattern[] = {path};
    kd_corpus c;
    ok(open_corpus(&c, pattern, 1));
    uint64_t hash = c.hash;
    kd_corpus_close(&c);
    unlink(path);
    free(path);
    return hash;
}

static void the_hash_tells_tokens_boundaries_and_sources(void **state) {
    (void)state;
    uint64_t hash = hash_of(RECORD("ab", "C4") RECORD("c", "C4"));
    assert_true(hash == hash_of(RECORD("ab", "C4") RECORD("c", "C4")));
    assert_true(hash != hash_of(RECORD("ab", "C4") RECORD("d", "C4")));
    assert_true(hash != hash_of(RECORD("a", "C4") RECORD("bc", "C4")));
    assert_true(hash != hash_of(RECORD("ab", "Book") RECORD("c", "Book")));
    assert_true(hash != hash_of(RECORD("ab", "C4") RECORD("c", "Book")));
}

static void a_bad_line_stops_with_its_place(void **state) {
    (void)state;
    char *path = put("bad.jsonl", RECORD("one", "C4") "{\"text\": 3}\n"), place[200];
    const char *pattern[] = {path};
    kd_corpus c;
    assert_int_equal(open_corpus(&c, pattern, 1), KD_EFORMAT);
    snprintf(place, sizeof place, "%s:2:", path);
    assert_non_null(strstr(kd_message(), place));
    assert_null(c.start);
    pattern[0] = scratch;
    assert_int_equal(open_corpus(&c, pattern, 1), KD_ENOTSUP);
    pattern[0] = "/no/such/*.jsonl";
    assert_int_equal(open_corpus(&c, pattern, 1), KD_EIO);
    assert_non_null(strstr(kd_message(), "/no/such/*.jsonl"));
    unlink(path);
    free(path);
}

static void a_tokenizer_that_is_not_there_is_named(void **state) {
    (void)state;
    kd_tokenizer tokenizer;
    assert_int_equal(kd_tokenizer_open(&tokenizer, "byte"), KD_ECONFIG);
    assert_non_null(strstr(kd_message(), "tokenizer: byte"));
    char *path = put("tokenizer.json", "{}");
    assert_int_equal(kd_tokenizer_open(&tokenizer, scratch), KD_EFORMAT);
    assert_non_null(strstr(kd_message(), "tokenizer.json: \"model\""));
    unlink(path);
    free(path);
}

static void the_real_corpus_has_seven_sources_and_every_byte(void **state) {
    (void)state;
    const char *assets = getenv("KEDGE_ASSETS");
    char glob[1000];
    snprintf(glob, sizeof glob, "%s/corpus/train/**/*.jsonl.zst", assets ? assets : "../shared/assets");
    kd_paths paths = {0};
    if (kd_glob(&paths, glob)) {
        print_message("skipped: no files %s\n", glob);
        skip();
    }
    int64_t bytes = 0, documents = 0;
    for (int64_t i = 0; i < paths.count; i++) {
        kd_reader *reader;
        kd_document document;
        bool more = true;
        ok(kd_reader_open(&reader, paths.path[i]));
        while (ok(kd_reader_next(reader, &document, &more)), more) bytes += document.size, documents++;
        kd_reader_close(reader);
    }
    const char *pattern[] = {glob};
    kd_corpus c;
    ok(open_corpus(&c, pattern, 1));
    assert_int_equal(c.sources, 7);
    assert_int_equal(c.files, paths.count);
    assert_int_equal(c.documents + c.empty, documents);
    assert_int_equal(c.tokens, bytes);
    kd_corpus_close(&c);
    kd_paths_free(&paths);
}

int main(void) {
    const struct CMUnitTest test[] = {
        cmocka_unit_test(a_window_has_exactly_its_tokens),
        cmocka_unit_test(every_token_is_once_in_a_pass_or_counted_and_in_text_order),
        cmocka_unit_test(every_token_but_a_first_is_predicted_once_in_a_pass),
        cmocka_unit_test(a_cut_document_goes_on_and_its_next_token_is_the_target),
        cmocka_unit_test(a_document_without_room_begins_anew_behind_what_fills_the_window),
        cmocka_unit_test(separators_place_bos_and_eos),
        cmocka_unit_test(an_eos_may_be_all_that_is_left_for_the_next_window),
        cmocka_unit_test(predict_trains_bos_and_joints),
        cmocka_unit_test(eos_stands_in_where_there_is_no_bos),
        cmocka_unit_test(truncate_drops_the_rest_counts_it_and_still_predicts_it),
        cmocka_unit_test(too_little_for_one_window_is_said),
        cmocka_unit_test(the_order_is_a_permutation_of_its_own_for_each_seed_and_pass),
        cmocka_unit_test(cuts_respect_their_bounds),
        cmocka_unit_test(a_documents_cuts_do_not_depend_on_its_neighbours),
        cmocka_unit_test(later_chunks_come_behind_all_first_ones),
        cmocka_unit_test(a_corpus_keeps_documents_in_order_with_their_sources),
        cmocka_unit_test(a_file_named_twice_is_read_once),
        cmocka_unit_test(the_hash_tells_tokens_boundaries_and_sources),
        cmocka_unit_test(a_bad_line_stops_with_its_place),
        cmocka_unit_test(a_tokenizer_that_is_not_there_is_named),
        cmocka_unit_test(the_real_corpus_has_seven_sources_and_every_byte),
    };
    return cmocka_run_group_tests_name("data", test, scratch_open, scratch_close);
}

/* The report of a pack: every token of a corpus is in one place, pairs are the plans' own, and the four ways to show it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdint.h>

#include "data/pack_report.h"
#include "format/json.h"
#include "markup.h"
#include "scratch.h"

enum { FIRST_ID = 1000, SOURCES = 3 };

/* ---- a corpus made by hand: token i has the id FIRST_ID + i ------------------------------------------------- */

static char *plain_names[] = {"Wikipedia", "", "C4"}, *hostile_names[] = {"<b onclick=\"x()\">&amp;", "a,b \"c\"\n\033[31md", "\xc3\xa9\xc3\xa9"};

typedef struct made { kd_corpus corpus; uint64_t key; } made;

static void make_corpus(made *m, const int64_t *length, int64_t documents, char **names) {
    kd_corpus *c = &m->corpus;
    *c = (kd_corpus){.tokenizer = {.bos = KD_BYTES_BOS, .eos = KD_BYTES_EOS}, .documents = documents, .source_name = names,
                     .sources = SOURCES, .file_key = &m->key, .files = 1, .counts = {.documents = documents, .empty = 3, .bad_lines = 2}};
    assert_done(kd_new(&c->start, documents + 1, sizeof *c->start));
    assert_done(kd_new(&c->source, documents, sizeof *c->source));
    assert_done(kd_new(&c->origin, documents, sizeof *c->origin));
    for (int64_t d = 0; d < documents; d++) {
        c->start[d + 1] = c->start[d] + length[d];
        c->source[d] = (uint16_t)(d % SOURCES);
        c->origin[d].line = d + 1;
    }
    c->tokens = c->start[documents];
    c->tokenizer.vocabulary = FIRST_ID + c->tokens;
    assert_done(kd_new(&c->wide, c->tokens, sizeof *c->wide));
    for (int64_t i = 0; i < c->tokens; i++) c->wide[i] = (uint32_t)(FIRST_ID + i);
}

static void free_corpus(made *m) {
    free(m->corpus.start);
    free(m->corpus.source);
    free(m->corpus.origin);
    free(m->corpus.wide);
}

static void assert_amount(kd_amount a, int64_t documents, int64_t tokens) {
    assert_int_equal(a.documents, documents);
    assert_int_equal(a.tokens, tokens);
}

/* ---- figures ----------------------------------------------------------------------------------------------- */

static void lengths_are_counted_by_powers_of_two(void **state) {
    (void)state;
    const int64_t edge[][2] = {{1, 0}, {511, 0}, {512, 1}, {1023, 1}, {1024, 2}, {65536, 8}, {131071, 8}, {131072, 9}, {INT64_MAX, 9}};
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) assert_int_equal(kd_length_bin(edge[i][0]), edge[i][1]);
    for (int64_t bin = 0; bin < KD_LENGTHS; bin++) assert_int_equal(kd_length_bin(kd_length_from(bin)), bin);
}

/* Three documents of 10, 600 and 5 tokens in windows of an anchor and 99 tokens of text: 6 windows, 21 tokens are left. */
static void numbers_that_a_hand_can_check(void **state) {
    (void)state;
    const int64_t length[] = {10, 600, 5};
    const kd_window_options o = {.window = 100, .mask = KD_MASK_ANCHOR};
    made m;
    kd_windows w;
    kd_part_report r;
    make_corpus(&m, length, 3, plain_names);
    assert_done(kd_windows_open(&w, &m.corpus, NULL, &o));
    assert_done(kd_part_report_init(&r, "train", &m.corpus, NULL, &w));
    assert_int_equal(r.sources, 3);
    assert_string_equal(r.source[0].name, "");  /* the largest first */
    assert_string_equal(r.source[1].name, "Wikipedia");
    assert_amount(r.source[0].there, 1, 600);
    assert_amount(r.source[0].packed, 1, 584);
    assert_amount(r.source[0].lost[KD_LOSS_DROPPED], 1, 16);
    assert_amount(r.source[2].packed, 0, 0);
    assert_amount(r.source[2].lost[KD_LOSS_DROPPED], 1, 5);
    assert_amount(r.all.there, 3, 615);
    assert_amount(r.all.chosen, 3, 615);
    assert_amount(r.all.packed, 2, 594);
    assert_amount(r.all.lost[KD_LOSS_DROPPED], 2, 21);
    assert_amount(r.all.before[0], 2, 15);
    assert_amount(r.all.before[1], 1, 600);
    assert_true(r.all.planned == -1 && r.source[0].planned == -1);
    const kd_windows_report *x = &r.windows;
    assert_true(x->count == 6 && x->tokens == 100 && x->shares == 7 && x->least == 1 && x->most == 2 && x->cut == 1 && x->widest == 6);
    assert_true(x->kind[KD_TOKEN_ANCHOR] == 6 && x->kind[KD_TOKEN_TEXT] == 594 && x->kind[KD_TOKEN_BOS] == 0);
    assert_true(x->pairs[KD_MASK_FULL] == 6 * 5050);
    assert_true(x->pairs[KD_MASK_DOCUMENT] == (1 + 55 + 4005) + 5 * (1 + 4950));
    assert_true(x->pairs[KD_MASK_ANCHOR] == (1 + 55 + 4005 + 99) + 5 * (1 + 4950 + 99));
    assert_true(x->visible[KD_MASK_DOCUMENT] == (55 + 4005 + 5 * 4950) / 594.0);
    assert_true(x->visible[KD_MASK_ANCHOR] == (55 + 4005 + 5 * 4950 + 594) / 594.0);
    assert_true(x->visible[KD_MASK_FULL] == 6 * 5049 / 594.0);
    assert_true(kd_report_speed_up(x, KD_MASK_ANCHOR) == x->pairs[KD_MASK_FULL] / x->pairs[KD_MASK_ANCHOR]);
    kd_part_report_close(&r);
    kd_windows_close(&w);
    free_corpus(&m);
}

/* Of 10 tokens a window holds the first 10; what is left counts its EOS when it is compared to `shortest`. */
static void a_rest_is_short_with_its_eos(void **state) {
    (void)state;
    for (int64_t rest = 1; rest < 9; rest++) {
        const int64_t length[] = {10 + rest};
        const kd_window_options o = {.window = 10, .mask = KD_MASK_DOCUMENT, .separator = KD_SEPARATE_EOS, .shortest = 6};
        made m;
        kd_windows w;
        kd_part_report r;
        make_corpus(&m, length, 1, plain_names);
        assert_done(kd_windows_open(&w, &m.corpus, NULL, &o));
        assert_done(kd_part_report_init(&r, "train", &m.corpus, NULL, &w));
        kd_loss cause = rest + 1 < 6 ? KD_LOSS_SHORT_RESTS : KD_LOSS_DROPPED;
        assert_amount(r.all.lost[cause], 1, rest);
        assert_int_equal(cause == KD_LOSS_SHORT_RESTS ? w.short_rests : w.dropped, rest + 1);
        kd_part_report_close(&r);
        kd_windows_close(&w);
        free_corpus(&m);
    }
}

/* A document is lost to each fate, whole. */
static void fates_are_losses_of_whole_documents(void **state) {
    (void)state;
    const int64_t length[] = {2, 40, 2000, 30, 50, 2000, 3000, 60, 2500, 30, 70, 2500};
    const char *const source[] = {"Wikipedia"};
    const double share[] = {7};
    const kd_choice_options o = {.source = source, .share = share, .shares = 1, .shorter_than = 100, .keep = 0, .shortest = 5, .seed = 1};
    const kd_window_options windows = {.window = 100, .mask = KD_MASK_ANCHOR};
    made m;
    kd_choice choice;
    kd_windows w;
    kd_part_report r;
    make_corpus(&m, length, 12, plain_names);
    assert_done(kd_choice_init(&choice, &m.corpus, &o));
    assert_done(kd_windows_open(&w, &m.corpus, &choice, &windows));
    assert_done(kd_part_report_init(&r, "train", &m.corpus, &choice, &w));
    assert_amount(r.all.lost[KD_LOSS_TOO_SHORT], 1, 2);
    assert_amount(r.all.lost[KD_LOSS_THINNED], 6, 30 + 30 + 40 + 50 + 60 + 70);
    assert_amount(r.all.lost[KD_LOSS_NO_SHARE], 4, 2000 + 2000 + 2500 + 2500);
    assert_amount(r.all.chosen, 1, 3000);
    assert_amount(r.all.after[3], 1, 3000);
    assert_amount(r.all.before[3], 3, 3000 + 2500 + 2500);
    for (int64_t s = 0; s < r.sources; s++) assert_true(r.source[s].planned == !strcmp(r.source[s].name, "Wikipedia"));
    kd_part_report_close(&r);
    kd_windows_close(&w);
    kd_choice_free(&choice);
    free_corpus(&m);
}

/* ---- every combination ------------------------------------------------------------------------------------- */

static const int64_t LENGTHS[] = {1, 2, 1, 70, 5, 64, 1, 900, 63, 12, 300, 3, 3, 1, 129, 7, 2500, 80, 90, 100, 1, 33, 256, 65};
enum { DOCUMENTS = sizeof LENGTHS / sizeof *LENGTHS };

static int64_t tokens_of(const kd_amount *a, int64_t count) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i].tokens;
    return sum;
}

static int64_t documents_of(const kd_amount *a, int64_t count) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += a[i].documents;
    return sum;
}

static void check_source(const kd_source_report *s) {
    assert_int_equal(s->there.tokens, s->packed.tokens + tokens_of(s->lost, KD_LOSSES));
    assert_int_equal(s->there.tokens, s->chosen.tokens + tokens_of(s->lost, KD_LOSS_NO_SHARE + 1));
    assert_int_equal(s->there.documents, s->chosen.documents + documents_of(s->lost, KD_LOSS_NO_SHARE + 1));
    assert_int_equal(s->there.tokens, tokens_of(s->before, KD_LENGTHS));
    assert_int_equal(s->there.documents, documents_of(s->before, KD_LENGTHS));
    assert_int_equal(s->chosen.tokens, tokens_of(s->after, KD_LENGTHS));
    assert_int_equal(s->chosen.documents, documents_of(s->after, KD_LENGTHS));
}

/* Against the plans that training is given. */
static void check_plans(const kd_windows_report *r, const kd_windows *w) {
    double pairs = 0, seen = 0;
    int64_t kind[KD_TOKEN_KINDS] = {0};
    for (int64_t i = 0; i < w->count; i++) {
        kd_plan plan;
        assert_done(kd_windows_plan(&plan, w, i, false));
        pairs += (double)kd_plan_pairs(&plan);
        for (int64_t n = 0; n < plan.N; n++)
            for (int64_t t = plan.start[n]; t < plan.start[n + 1]; t++)
                if (plan.token[t] >= FIRST_ID) seen += (double)(t - plan.start[n] + 1 + plan.anchors);
        for (int64_t t = 0; t < plan.T; t++)
            kind[plan.token[t] >= FIRST_ID       ? KD_TOKEN_TEXT
                 : plan.token[t] == KD_BYTES_EOS ? KD_TOKEN_EOS
                 : plan.token[t] != KD_BYTES_BOS ? KD_TOKEN_TAG
                 : t < plan.anchors              ? KD_TOKEN_ANCHOR
                                                 : KD_TOKEN_BOS]++;
        kd_plan_free(&plan);
    }
    kd_mask mask = w->plan.mask == KD_MASK_ANCHOR && w->plan.anchor_is_bos ? KD_MASK_DOCUMENT : w->plan.mask;
    assert_true(r->pairs[mask] == pairs);
    assert_true(r->visible[mask] == seen / (double)r->kind[KD_TOKEN_TEXT]);
    assert_memory_equal(kind, r->kind, sizeof kind);
}

static void check(const kd_corpus *c, const kd_choice *choice, const kd_window_options *o) {
    kd_windows w;
    kd_part_report r;
    assert_done(kd_windows_open(&w, c, choice, o));
    assert_done(kd_part_report_init(&r, "train", c, choice, &w));
    for (int64_t s = 0; s < r.sources; s++) check_source(&r.source[s]);
    check_source(&r.all);
    assert_amount(r.all.there, c->documents, c->tokens);
    assert_int_equal(r.all.packed.tokens, r.windows.kind[KD_TOKEN_TEXT]);
    int64_t sum = 0;
    for (int k = 0; k < KD_TOKEN_KINDS; k++) sum += r.windows.kind[k];
    assert_int_equal(sum, w.count * o->window);
    int64_t lost_eos = (o->separator & KD_SEPARATE_EOS ? r.all.chosen.documents : 0) - r.windows.kind[KD_TOKEN_EOS];
    assert_int_equal(w.dropped + w.truncated + w.short_rests,
                     lost_eos + tokens_of(r.all.lost + KD_LOSS_SHORT_RESTS, KD_LOSSES - KD_LOSS_SHORT_RESTS));
    if (!(o->separator & KD_SEPARATE_EOS)) {
        assert_int_equal(w.dropped, r.all.lost[KD_LOSS_DROPPED].tokens);
        assert_int_equal(w.truncated, r.all.lost[KD_LOSS_TRUNCATED].tokens);
        assert_int_equal(w.short_rests, r.all.lost[KD_LOSS_SHORT_RESTS].tokens);
    }
    check_plans(&r.windows, &w);
    kd_part_report_close(&r);
    kd_windows_close(&w);
}

static void every_token_is_in_one_place(void **state) {
    (void)state;
    static const int64_t window[] = {12, 13, 64, 257};
    const kd_choice_options choices[] = {{0}, {.shorter_than = 65, .keep = 0.5, .every_source = true, .shortest = 3, .seed = 5}};
    made m;
    make_corpus(&m, LENGTHS, DOCUMENTS, plain_names);
    for (int k = 0; k < 2; k++) {
        kd_choice choice;
        assert_done(kd_choice_init(&choice, &m.corpus, &choices[k]));
        for (int bits = 0; bits < 32; bits++)
            for (kd_mask mask = KD_MASK_FULL; mask <= KD_MASK_ANCHOR; mask++)
                for (int separator = 0; separator < 4; separator++)
                    for (int t = 0; t < 4; t++) {
                        const kd_window_options o = {.window = window[t], .mask = mask, .separator = (kd_separator)separator,
                                                     .anchor_is_bos = bits & 1, .interleave = (bits & 2) && mask != KD_MASK_FULL,
                                                     .tag = bits & 4, .truncate = bits & 8, .shortest = bits & 16 ? 6 : 1, .seed = 7};
                        if (!o.anchor_is_bos || mask == KD_MASK_ANCHOR) check(&m.corpus, k ? &choice : NULL, &o);
                    }
        kd_choice_free(&choice);
    }
    free_corpus(&m);
}

/* ---- how it is shown --------------------------------------------------------------------------------------- */

typedef struct shown { made m; kd_pack pack; kd_pack_report report; } shown;

static void open_shown(shown *s, char **names) {
    const kd_window_options o = {.window = 257, .mask = KD_MASK_ANCHOR, .tag = true};
    const kd_choice_options choices = {.shorter_than = 65, .keep = 0.5, .every_source = true, .seed = 5};
    kd_dataset *d = &s->pack.part[KD_PART_VALID];
    s->pack = (kd_pack){0};
    make_corpus(&s->m, LENGTHS, DOCUMENTS, names);
    d->corpus = s->m.corpus;
    assert_done(kd_choice_init(&d->choice, &d->corpus, &choices));
    assert_done(kd_windows_open(&d->windows, &d->corpus, &d->choice, &o));
    assert_done(kd_pack_report_init(&s->report, &s->pack));
    assert_int_equal(s->report.parts, 1);
}

static void close_shown(shown *s) {
    kd_pack_report_close(&s->report);
    kd_windows_close(&s->pack.part[KD_PART_VALID].windows);
    kd_choice_free(&s->pack.part[KD_PART_VALID].choice);
    free_corpus(&s->m);
}

static void a_page_stands_alone_whatever_sources_are_called(void **state) {
    (void)state;
    char **const names[] = {plain_names, hostile_names};
    for (int k = 0; k < 2; k++) {
        shown s;
        kd_text page = {0};
        open_shown(&s, names[k]);
        assert_done(kd_pack_report_page(&page, &s.report));
        assert_markup(page.data, false);
        assert_non_null(strstr(page.data, k ? "&lt;b onclick=" : "Wikipedia"));
        assert_non_null(strstr(page.data, "3 documents without a token, 2 bad lines"));
        kd_text_free(&page);
        close_shown(&s);
    }
}

static void a_table_has_at_most_100_columns(void **state) {
    (void)state;
    shown s;
    kd_text table = {0};
    open_shown(&s, hostile_names);
    assert_done(kd_pack_report_table(&table, &s.report));
    int64_t columns = 0;
    for (const char *at = table.data; *at; at++) {
        assert_true(*at == '\n' || (unsigned char)*at >= ' ');
        columns = *at == '\n' ? 0 : columns + (((unsigned char)*at & 0xc0) != 0x80);
        assert_true(columns <= 100);
    }
    assert_non_null(strstr(table.data, "thinned by upsampling"));
    assert_null(strstr(table.data, "truncated"));  /* what did not happen is not shown */
    kd_text_free(&table);
    close_shown(&s);
}

static void lines_have_seven_fields(void **state) {
    (void)state;
    shown s;
    kd_text csv = {0};
    int64_t lines = 0, fields = 1;
    bool quoted = false;
    open_shown(&s, hostile_names);
    assert_done(kd_pack_report_csv(&csv, &s.report));
    for (const char *at = csv.data; *at; at++) {
        if (*at == '"') quoted = !quoted;
        if (quoted) continue;
        fields += *at == ',';
        if (*at != '\n') continue;
        assert_int_equal(fields, 7);
        fields = 1;
        lines++;
    }
    assert_int_equal(lines, 1 + (SOURCES + 1) * (4 + KD_LOSSES + 2 * KD_LENGTHS));
    assert_non_null(strstr(csv.data, "valid,\"a,b \"\"c\"\"\n\033[31md\",planned,,,,"));
    kd_text_free(&csv);
    close_shown(&s);
}

static void json_says_what_the_report_says(void **state) {
    (void)state;
    shown s;
    json_t *root;
    char *text;
    open_shown(&s, hostile_names);
    assert_done(kd_pack_report_json(&root, &s.report));
    assert_done(kd_json_print(&text, root, JSON_INDENT(1), "report"));
    json_decref(root);
    assert_done(kd_json_parse(&root, text, (int64_t)strlen(text), "report"));
    const json_t *part = json_object_get(json_object_get(root, "parts"), "valid"), *all = json_object_get(part, "all");
    const kd_part_report *r = &s.report.part[0];
    assert_int_equal(json_integer_value(json_object_get(json_object_get(all, "windows"), "tokens")), r->all.packed.tokens);
    assert_int_equal(json_array_size(json_object_get(part, "sources")), SOURCES);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(all, "lost"), "thinned"), "documents")),
                     r->all.lost[KD_LOSS_THINNED].documents);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(part, "windows"), "count")), r->windows.count);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(part, "read"), "bad_lines")), 2);
    json_decref(root);
    free(text);
    close_shown(&s);
}

static void files_are_written_and_do_not_know_where_they_are(void **state) {
    (void)state;
    static const char *const file[] = {"report.json", "report.csv", "report.html"};
    shown s;
    open_shown(&s, plain_names);
    assert_done(kd_make_folders(in_scratch("one")));
    assert_done(kd_make_folders(in_scratch("two/three")));
    assert_done(kd_pack_report_write(&s.report, in_scratch("one")));
    assert_done(kd_pack_report_write(&s.report, in_scratch("two/three/")));
    for (int i = 0; i < 3; i++) {
        char a[64], b[64], *one, *two;
        int64_t size, other;
        snprintf(a, sizeof a, "one/%s", file[i]);
        snprintf(b, sizeof b, "two/three/%s", file[i]);
        assert_done(kd_file_read(&one, &size, in_scratch(a), 1 << 24));
        assert_done(kd_file_read(&two, &other, in_scratch(b), 1 << 24));
        assert_string_equal(one, two);
        free(one);
        free(two);
    }
    assert_fails(kd_pack_report_write(&s.report, in_scratch("none")), KD_EIO, "none/report.json");
    close_shown(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_counted_by_powers_of_two),
        cmocka_unit_test(numbers_that_a_hand_can_check),
        cmocka_unit_test(a_rest_is_short_with_its_eos),
        cmocka_unit_test(fates_are_losses_of_whole_documents),
        cmocka_unit_test(every_token_is_in_one_place),
        cmocka_unit_test(a_page_stands_alone_whatever_sources_are_called),
        cmocka_unit_test(a_table_has_at_most_100_columns),
        cmocka_unit_test(lines_have_seven_fields),
        cmocka_unit_test(json_says_what_the_report_says),
        cmocka_unit_test(files_are_written_and_do_not_know_where_they_are),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

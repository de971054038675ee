/* Which documents are packed: shares of tokens, length upsampling, and draws that depend on nothing but their place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

#include "base/random.h"
#include "data/windows.h"
#include "scratch.h"

enum { DOCUMENTS = 20000, FILES = 4 };
static char *names[] = {"C4", "Book", "Github"};

/* Many short documents, some long ones; Books are few and long, C4 many and short. skip: documents that are not there. */
static kd_corpus corpus_of(int64_t skip) {
    kd_corpus c = {.source_name = names, .sources = 3, .files = FILES};
    assert_done(kd_new(&c.start, DOCUMENTS + 1, sizeof *c.start));
    assert_done(kd_new(&c.source, DOCUMENTS, sizeof *c.source));
    assert_done(kd_new(&c.origin, DOCUMENTS, sizeof *c.origin));
    assert_done(kd_new(&c.file_key, FILES, sizeof *c.file_key));
    for (int64_t f = 0; f < FILES; f++) c.file_key[f] = kd_random_bits(1, 1, (uint64_t)f);
    for (int64_t i = skip; i < DOCUMENTS; i++) {
        double u = kd_random_uniform(2, 2, (uint64_t)i), length = exp(2 + 7 * u);
        int64_t d = c.documents++;
        c.source[d] = (uint16_t)(i % 50 == 0 ? 1 : i % 3 == 0 ? 2 : 0);
        c.start[d + 1] = c.start[d] + 1 + (int64_t)(c.source[d] == 1 ? 20 * length : length);
        c.origin[d] = (kd_origin){(int32_t)(i * FILES / DOCUMENTS), 0, i + 1};
    }
    c.tokens = c.start[c.documents];
    return c;
}

static void free_corpus(kd_corpus *c) {
    free(c->start);
    free(c->source);
    free(c->origin);
    free(c->file_key);
}

static int64_t kept_tokens(const kd_choice *choice, int64_t source) { return choice->source[source].tokens[KD_FATE_KEPT]; }

static double share_of(const kd_choice *choice, int64_t source) {
    double all = 0;
    for (int64_t s = 0; s < 3; s++) all += (double)kept_tokens(choice, s);
    return (double)kept_tokens(choice, source) / all;
}

static void without_options_all_are_kept(void **state) {
    (void)state;
    kd_corpus c = corpus_of(0);
    kd_choice choice;
    assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){0}));
    for (int64_t d = 0; d < c.documents; d++) assert_int_equal(choice.fate[d], KD_FATE_KEPT);
    assert_true(choice.source[0].planned == -1);
    kd_choice_free(&choice);
    free_corpus(&c);
}

static void a_mixture_keeps_its_shares_of_tokens(void **state) {
    (void)state;
    static const char *const source[] = {"Book", "C4"};
    static const double share[] = {3, 1};
    kd_corpus c = corpus_of(0);
    kd_choice choice;
    assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){.source = source, .share = share, .shares = 2, .seed = 1}));
    assert_true(choice.source[1].planned == 0.75 && choice.source[0].planned == 0.25 && choice.source[2].planned == 0);
    assert_true(fabs(share_of(&choice, 1) - 0.75) < 0.01);
    assert_int_equal(kept_tokens(&choice, 2), 0);
    assert_true(choice.source[2].documents[KD_FATE_NO_SHARE] > 0);
    /* As many as the shares allow: one of the two is used up. */
    assert_true(choice.source[0].tokens[KD_FATE_OVER_SHARE] == 0 || choice.source[1].tokens[KD_FATE_OVER_SHARE] == 0);
    kd_choice_free(&choice);
    free_corpus(&c);
}

/* The lengths that a share keeps are those that its source has; it is never more than a document of each length away. */
static void a_share_prefers_no_length(void **state) {
    (void)state;
    kd_corpus c = corpus_of(0);
    double there = 0, kept = 0;
    int64_t longest[3] = {0};
    for (int64_t d = 0; d < c.documents; d++)
        if (c.start[d + 1] - c.start[d] > longest[c.source[d]]) longest[c.source[d]] = c.start[d + 1] - c.start[d];
    for (uint64_t seed = 0; seed < 20; seed++) {
        kd_choice choice;
        assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){.tokens = c.tokens / 5, .seed = seed}));
        for (int64_t s = 0; s < 3; s++)
            assert_true(fabs((double)kept_tokens(&choice, s) - choice.source[s].planned * (double)(c.tokens / 5)) < 2 * (double)longest[s]);
        for (int64_t d = 0; d < c.documents; d++) {
            int64_t length = c.start[d + 1] - c.start[d];
            if (length < 2000) continue;
            there += 0.2 * (double)length;
            kept += choice.fate[d] == KD_FATE_KEPT ? (double)length : 0;
        }
        kd_choice_free(&choice);
    }
    assert_true(fabs(kept / there - 1) < 0.03);
    free_corpus(&c);
}

/* Kept documents stand evenly over the corpus, not at its beginning. */
static void a_share_is_spread_over_the_corpus(void **state) {
    (void)state;
    kd_corpus c = corpus_of(0);
    kd_choice choice;
    int64_t tenth[10] = {0};
    assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){.tokens = c.tokens / 4, .seed = 3}));
    for (int64_t d = 0; d < c.documents; d++)
        if (choice.fate[d] == KD_FATE_KEPT) tenth[d * 10 / c.documents] += c.start[d + 1] - c.start[d];
    for (int k = 0; k < 10; k++) assert_true(tenth[k] > c.tokens / 60 && tenth[k] < c.tokens / 27);
    kd_choice_free(&choice);
    free_corpus(&c);
}

static void upsampling_keeps_long_documents_and_some_of_the_short(void **state) {
    (void)state;
    kd_corpus c = corpus_of(0);
    kd_choice choice;
    assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){.shorter_than = 1000, .keep = 0.25, .seed = 4}));
    int64_t rest = 0, of = 0;
    for (int64_t d = 0; d < c.documents; d++) {
        int64_t length = c.start[d + 1] - c.start[d];
        if (length >= 1000) assert_int_equal(choice.fate[d], KD_FATE_KEPT);
        else of++, rest += choice.fate[d] == KD_FATE_KEPT;
    }
    assert_true(fabs((double)rest / (double)of - 0.25) < 0.02);
    kd_choice_free(&choice);
    free_corpus(&c);
}

/* Source: Fu et al. 2024, per-source length upsampling: the mixture stays what it was. */
static void upsampling_per_source_keeps_the_mixture(void **state) {
    (void)state;
    kd_corpus c = corpus_of(0);
    kd_choice all, choice;
    assert_done(kd_choice_init(&all, &c, &(kd_choice_options){0}));
    assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){.shorter_than = 500, .keep = 0.1, .every_source = true, .seed = 4}));
    for (int64_t s = 0; s < 3; s++) assert_true(fabs(share_of(&choice, s) - share_of(&all, s)) < 0.01);
    kd_choice_free(&choice);
    assert_done(kd_choice_init(&choice, &c, &(kd_choice_options){.shorter_than = 500, .keep = 0.1, .seed = 4}));
    assert_true(share_of(&choice, 1) > share_of(&all, 1) + 0.01);  /* per corpus: Books gain */
    kd_choice_free(&choice);
    kd_choice_free(&all);
    free_corpus(&c);
}

static void a_draw_depends_on_seed_file_and_line_alone(void **state) {
    (void)state;
    kd_corpus whole = corpus_of(0), part = corpus_of(777);
    kd_choice_options o = {.shorter_than = 1000, .keep = 0.5, .seed = 5};
    kd_choice a, b;
    int64_t differ = 0;
    assert_done(kd_choice_init(&a, &whole, &o));
    assert_done(kd_choice_init(&b, &part, &o));
    for (int64_t d = 0; d < part.documents; d++) assert_int_equal(a.fate[d + 777], b.fate[d]);
    kd_choice_free(&b);
    o.seed++;
    assert_done(kd_choice_init(&b, &whole, &o));
    for (int64_t d = 0; d < whole.documents; d++) differ += a.fate[d] != b.fate[d];
    assert_true(differ > DOCUMENTS / 4);
    kd_choice_free(&a);
    kd_choice_free(&b);
    free_corpus(&whole);
    free_corpus(&part);
}

static void mistakes_are_named(void **state) {
    (void)state;
    static const char *const wrong[] = {"Books"}, *const right[] = {"Book"};
    static const double one[] = {1}, none[] = {0};
    kd_corpus c = corpus_of(0);
    kd_choice choice;
    assert_fails(kd_choice_init(&choice, &c, &(kd_choice_options){.source = wrong, .share = one, .shares = 1}), KD_ECONFIG, "Books",
                 "C4, Book, Github");
    assert_fails(kd_choice_init(&choice, &c, &(kd_choice_options){.source = right, .share = none, .shares = 1}), KD_ECONFIG, "all shares are 0");
    assert_fails(kd_choice_init(&choice, &c, &(kd_choice_options){.shortest = 1 << 30}), KD_ECONFIG, "none of 20000 documents");
    assert_fails(kd_choice_init(&choice, &c, &(kd_choice_options){.source = right, .share = one, .shares = 1, .shorter_than = 1 << 30}),
                 KD_ECONFIG, "Book", "100%");
    free_corpus(&c);
}

/* What too short a rest of a document does: it is left out and counted, the window goes on with the next document. */
static void a_rest_below_the_shortest_is_left_out(void **state) {
    (void)state;
    int64_t start[] = {0, 11, 20, 30, 31};
    uint16_t source[4] = {0}, narrow[31];
    for (int i = 0; i < 31; i++) narrow[i] = (uint16_t)i;
    kd_corpus c = {.tokenizer = {.bos = 99, .eos = -1, .vocabulary = 100}, .documents = 4, .tokens = 31, .start = start, .source = source,
                   .source_name = names, .sources = 1, .narrow = narrow};
    kd_windows w;
    kd_plan plan;
    assert_done(kd_windows_open(&w, &c, NULL, &(kd_window_options){.window = 10, .mask = KD_MASK_DOCUMENT, .shortest = 3}));
    assert_int_equal(w.count, 3);                    /* 10 of the first; 9 and 1 of the next two; 9 and the last */
    assert_int_equal(w.short_rests, 1);
    assert_int_equal(w.dropped, 0);
    assert_done(kd_windows_plan(&plan, &w, 0, false));
    assert_int_equal(plan.target[9], 10);            /* its text does go on */
    kd_plan_free(&plan);
    assert_done(kd_windows_plan(&plan, &w, 1, false));
    assert_int_equal(plan.token[0], 11);
    kd_plan_free(&plan);
    kd_windows_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_options_all_are_kept),
        cmocka_unit_test(a_mixture_keeps_its_shares_of_tokens),
        cmocka_unit_test(a_share_prefers_no_length),
        cmocka_unit_test(a_share_is_spread_over_the_corpus),
        cmocka_unit_test(upsampling_keeps_long_documents_and_some_of_the_short),
        cmocka_unit_test(upsampling_per_source_keeps_the_mixture),
        cmocka_unit_test(a_draw_depends_on_seed_file_and_line_alone),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_rest_below_the_shortest_is_left_out),
    };
    return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}

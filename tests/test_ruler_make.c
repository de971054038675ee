/* RULER's samples as they are made: facts of its generators, and for four tokenizers that prompts fit, that what is asked stands there
 * once, that a seed gives the same bytes, and what perfect and empty answers are worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "eval/python_random.h"
#include "eval/ruler_files.h"
#include "eval/ruler_fit.h"
#include "eval_vectors.h"

enum { SAMPLES = SANITIZED ? 1 : 3 };

/* ---- facts ------------------------------------------------------------------------------------------------------------------- */

static void needles_lie_at_rulers_depths(void **state) {
    (void)state;
    json_t *file, *depths = cases_of(&file, "ruler_generator_facts", "niah_depths"), *row;
    size_t i, k;
    assert_int_equal(json_array_size(depths), KD_RULER_DEPTHS);
    for (i = 0; i < KD_RULER_DEPTHS; i++) assert_int_equal(kd_ruler_depth((int64_t)i), json_integer_value(json_array_get(depths, i)));
    json_array_foreach(json_object_get(file, "essay_insert_examples"), i, row) {
        json_t *at = json_object_get(row, "depths"), *position = json_object_get(row, "positions");
        assert_true(json_array_size(at) > 0);
        for (k = 0; k < json_array_size(at); k++)
            assert_int_equal(kd_ruler_depth_place(json_integer_value(json_array_get(at, k)),
                                                  json_integer_value(json_object_get(row, "n_sentences"))),
                                                      json_integer_value(json_array_get(position, k)));
    }
    json_decref(file);
}

static void fixed_shuffles_are_rulers(void **state) {
    (void)state;
    json_t *file, *order = cases_of(&file, "ruler_generator_facts", "fixed_needle_permutation_4"), *place;
    int64_t four[] = {0, 1, 2, 3};
    kd_python_random r;
    const char *count;
    kd_python_seed(&r, 42);
    kd_python_shuffle(&r, four, 4, sizeof *four);
    for (size_t i = 0; i < 4; i++) assert_int_equal(four[i], json_integer_value(json_array_get(order, i)));
    /* where the first of so many documents comes to stand */
    json_object_foreach(json_object_get(file, "qa_gold_position_1based"), count, place) {
        int64_t document[1000], n = atoll(count), at = 0;
        for (int64_t i = 0; i < n; i++) document[i] = i;
        kd_python_seed(&r, 42);
        kd_python_shuffle(&r, document, n, sizeof *document);
        while (document[at]) at++;
        assert_int_equal(at + 1, json_integer_value(place));
    }
    json_decref(file);
}

static void coded_words_come_as_often_as_rulers(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "ruler_generator_facts", "fwe_counts"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        int64_t count[200], vocabulary = (int64_t)number_of(row, "vocab_size"), total = 0;
        const json_t *wanted = json_object_get(row, "counts_nonzero");
        kd_ruler_coded_counts(count, (int64_t)number_of(row, "num_words"), vocabulary, number_of(row, "alpha"));
        for (int64_t k = 0; k < vocabulary; k++) {
            assert_int_equal(count[k], json_integer_value(json_array_get(wanted, (size_t)k)));  /* 0 behind its end */
            total += count[k];
        }
        assert_int_equal(total, number_of(row, "total"));
    }
    json_decref(file);
}

/* "int(120+27*n)", to which the tokens that are generated are added. */
typedef struct line { double from, step; int64_t generate, last; } line;

static kd_status on_line(void *opaque, int64_t size, int64_t *tokens) {
    line *l = opaque;
    l->last = size;
    *tokens = (int64_t)(l->from + l->step * (double)size) + l->generate;
    return KD_OK;
}

static void the_most_that_fits_is_rulers(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "ruler_generator_facts", "length_fit"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        line l = {.generate = (int64_t)number_of(row, "tokens_to_generate")};
        int64_t size, tokens, least = (int64_t)number_of(row, "incremental"), budget = (int64_t)number_of(row, "max_seq_length");
        assert_int_equal(sscanf(text_of(row, "cost"), "int(%lf+%lf*n)", &l.from, &l.step), 2);
        const json_t *probe = json_object_get(row, "probes");
        for (size_t k = 0; k < json_array_size(probe); k++) {  /* the line is the one that RULER's search saw */
            assert_done(on_line(&l, json_integer_value(json_array_get(json_array_get(probe, k), 0)), &tokens));
            assert_int_equal(tokens, json_integer_value(json_array_get(json_array_get(probe, k), 1)));
        }
        kd_ruler_fit f = {.least = least, .most = 1000000, .budget = budget, .cost = on_line, .opaque = &l};
        assert_done(on_line(&l, least, &tokens));
        if (tokens > budget) {  /* RULER goes on with a prompt that is too long */
            assert_int_equal(number_of(row, "result"), least);
            assert_fails(kd_ruler_fit_find(&size, &tokens, &f), KD_ECONFIG, "its shortest prompt has 4803 tokens with its answer, 4096 are "
                                                                            "allowed");
            continue;
        }
        assert_done(kd_ruler_fit_find(&size, &tokens, &f));
        assert_int_equal(size, number_of(row, "result"));
        assert_int_equal(l.last, size);
        assert_true(f.probes < (int64_t)json_array_size(probe));
    }
    json_decref(file);
}

static kd_status step_cost(void *opaque, int64_t size, int64_t *tokens) {
    ((line *)opaque)->last = size;
    *tokens = size * 7 + size * size % 13 * (size > 20) - 3;
    return KD_OK;
}

static void a_size_is_found_wherever_it_is_sought(void **state) {
    (void)state;
    for (int64_t budget = 4; budget < 900; budget += 7)
        for (int64_t guess = 0; guess < 200; guess += 17)
            for (int64_t most = 1; most < 300; most = most * 3 + 1) {
                line l = {0, 0, 0, 0};
                int64_t size, tokens, next;
                kd_ruler_fit f = {.least = 1, .most = most, .budget = budget, .guess = guess, .cost = step_cost, .opaque = &l};
                assert_done(kd_ruler_fit_find(&size, &tokens, &f));
                assert_int_equal(l.last, size);
                assert_true(size >= 1 && size <= most && tokens <= budget && f.probes < 40);
                step_cost(&l, size + 1, &next);
                assert_true(size == most || next > budget);
            }
}

/* ---- words ----------------------------------------------------------------------------------------------------------------------- */

static void no_key_is_part_of_another(void **state) {
    (void)state;
    enum { KEYS = 2000 };
    static char key[KEYS][KD_RULER_KEY];
    int64_t n = kd_ruler_keys();
    assert_true(n > 90000);
    for (int64_t i = 0; i < KEYS; i++) kd_ruler_key(key[i], i * (n / KEYS));
    for (int64_t i = 0; i < KEYS; i++)
        for (int64_t k = 0; k < KEYS; k++) assert_true(i == k || !strstr(key[i], key[k]));
    char first[KD_RULER_KEY], other[KD_RULER_KEY];  /* one noun after the other, one adjective after the other */
    kd_ruler_key(first, 0);
    int64_t nouns = 1;
    for (; kd_ruler_key(other, nouns), !strncmp(first, other, strcspn(first, "-") + 1);) nouns++;
    for (int64_t a = 0; a < nouns; a++)
        for (int64_t b = 0; b < nouns; b++) {
            kd_ruler_key(first, a);
            kd_ruler_key(other, b);
            assert_true(a == b || strncmp(first, other, strlen(first)));
        }
    for (int64_t a = 0; a < n; a += nouns)
        for (int64_t b = 0; b < n; b += nouns) {
            kd_ruler_key(first, a);
            kd_ruler_key(other, b);
            assert_true(a == b || !strstr(other, first));
        }
}

static void words_are_enough_and_no_word_is_part_of_another(void **state) {
    (void)state;
    static const char text[] = "The catalog of cats, a cat's logbook; catalog again. It's well-known that Alpha and alphabet differ from "
                               "alphabets x12 na\xc3\xafve oversized-words-with-hyphens understanding incomprehensibilities.";
    kd_ruler_words w;
    assert_done(kd_ruler_words_open(&w, text, sizeof text - 1, 300));
    const char *const wanted[] = {"catalog", "cats", "logbook", "again", "that", "alphabet", "differ", "from"};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) assert_string_equal(w.word[i], wanted[i]);
    assert_int_equal(w.count, 300);
    assert_int_equal(w.real, 300);
    for (int64_t i = 0; i < w.count; i++)
        for (int64_t k = 0; k < w.count; k++) assert_true(i == k || !strstr(w.word[i], w.word[k]));
    kd_ruler_words_close(&w);
    assert_done(kd_ruler_words_open(&w, NULL, 0, 9000));
    assert_int_equal(w.count, 9000);
    assert_true(w.real > 500 && w.real < 700);
    for (int64_t i = 0; i < w.count; i += 97)
        for (int64_t k = 0; k < w.count; k++) assert_true(i == k || (!strstr(w.word[i], w.word[k]) && !strstr(w.word[k], w.word[i])));
    kd_ruler_words_close(&w);
}

static void essays_are_cut_behind_words_and_hide_needles(void **state) {
    (void)state;
    static const char text[] = " One two.\n\nThree\tfour five! \"Six?\" Seven eight. ";
    kd_ruler_essays e;
    kd_text out = {0};
    const char *needle[] = {"HERE.", "THERE."};
    const int64_t ends[] = {0, 100}, middle[] = {51, 51};
    assert_done(kd_ruler_essays_open(&e, text, sizeof text - 1, 20));
    assert_int_equal(e.own, 8);
    assert_int_equal(e.words, 20);
    kd_ruler_essays_hide(&out, &e, 8, needle, ends, 2);
    assert_string_equal(out.data, " HERE. One two. Three four five! \"Six?\" Seven eight. THERE. ");
    out.size = 0;
    kd_ruler_essays_hide(&out, &e, 7, needle, middle, 2);  /* of four sentences, the last is cut */
    assert_string_equal(out.data, "One two. Three four five! HERE.  THERE. \"Six?\" Seven");
    out.size = 0;
    kd_ruler_essays_hide(&out, &e, 10, needle, ends, 1);
    assert_string_equal(out.data, " HERE. One two. Three four five! \"Six?\" Seven eight. One two.");
    kd_ruler_essays_close(&e);
    assert_fails(kd_ruler_essays_open(&e, " \n ", 3, 5), KD_ECONFIG, "no words");
    kd_text_free(&out);
    assert_done(kd_ruler_essays_open(&e, NULL, 0, 3000));
    assert_true(e.own >= 3000 && e.sentences > 100);
    for (int64_t i = 0; i < e.text.size; i++) assert_true(e.text.data[i] < '0' || e.text.data[i] > '9');
    assert_null(strstr(e.text.data, "-"));
    kd_ruler_essays_close(&e);
}

/* ---- samples of four tokenizers -------------------------------------------------------------------------------------------- */

static const char *const tokenizers[] = {"llama2", "llama3", "mistral_v3", "qwen"};

static int64_t count_of(const char *text, const char *what) {
    int64_t n = 0;
    for (; (text = strstr(text, what)); text += strlen(what)) n++;
    return n;
}

typedef struct setup { kd_tokenizer tokenizer; kd_ruler_source source; kd_ruler_draft *draft; } setup;

/* The n-th tokenizer, or without assets `bytes`, which is told. */
static bool open_setup(setup *s, int n, const kd_ruler_options *options) {
    const char *assets = getenv("KEDGE_ASSETS");
    int64_t place[KD_RULER_TASKS], tasks;
    kd_ruler_options o = *options;
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizers/%s", assets ? assets : "../shared/assets", tokenizers[n]);
    bool here = kd_exists(path);
    if (!here) print_message("skipped: %s is not here, bytes are in its place\n", path);
    assert_done(kd_tokenizer_open(&s->tokenizer, here ? path : "bytes"));
    o.tokenizer = &s->tokenizer;
    assert_done(kd_ruler_tasks_named(place, &tasks, "all"));
    assert_done(kd_ruler_source_open(&s->source, &o, place, tasks));
    assert_done(kd_ruler_draft_new(&s->draft, &s->source));
    return here;
}

static void close_setup(setup *s) {
    kd_ruler_draft_free(s->draft);
    kd_ruler_source_close(&s->source);
    kd_tokenizer_close(&s->tokenizer);
}

/* The most that one more unit of haystack can take: a line, a document, the ids of three words. */
static int64_t unit_of(const kd_ruler_task *t) { return t->kind == KD_RULER_QA ? 260 : t->kind == KD_RULER_CODED ? 100 : 110; }

static void check_length(const kd_ruler_sample *x, const setup *s, const kd_ruler_maker *m) {
    kd_encoder *e;
    kd_ids ids = {0};
    kd_text whole = {0};
    kd_text_put(&whole, x->input);
    kd_text_put(&whole, x->prefix);
    assert_done(kd_encoder_new(&e, &s->tokenizer));
    assert_done(kd_encode(&ids, e, whole.data, whole.size, 0));
    assert_int_equal(x->length, ids.count + m->task->generate);
    assert_true(x->length <= m->length);
    if (m->length - x->length > m->length / 1024 + unit_of(m->task))
        fail_msg("%s at %lld: a sample of %lld tokens", m->task->name, (long long)m->length, (long long)x->length);
    free(ids.id);
    kd_encoder_free(e);
    kd_text_free(&whole);
}

/* What the reader of the prompt finds: the answers belong to what is asked. */
static void check_niah(const kd_ruler_sample *x, const kd_ruler_task *t) {
    char pattern[160];
    assert_int_equal(x->outputs, t->queries * t->values);
    for (int64_t i = 0; i < x->outputs; i++) {
        const char *place = strstr(x->input, x->output[i]), *from = place;
        assert_non_null(place);
        assert_int_equal(count_of(x->input, x->output[i]) + count_of(x->prefix, x->output[i]), 1);
        while (strncmp(from, "the one of ", 11)) from--;  /* "... the one of KEY is VALUE." */
        snprintf(pattern, sizeof pattern, "%.*s", (int)(place - 4 - (from + 11)), from + 11);
        assert_memory_equal(place - 4, " is ", 4);
        assert_non_null(strstr(x->prefix, pattern));
        assert_int_equal(count_of(x->input, pattern), t->values + 1);
    }
}

static void check_chains(const kd_ruler_sample *x) {
    const char *query = strstr(x->prefix, "number ") + 7;
    char value[8], pattern[40];
    snprintf(value, sizeof value, "%.5s", query);
    assert_int_equal(x->outputs, 5);
    snprintf(pattern, sizeof pattern, "VAR %s = %s\n", x->output[0], value);
    const char *at = strstr(x->input, pattern);
    assert_non_null(at);
    for (int i = 1; i < 5; i++) {
        snprintf(pattern, sizeof pattern, "VAR %s = VAR %s \n", x->output[i], x->output[i - 1]);
        const char *next = strstr(x->input, pattern);
        assert_true(next && next > at);
        at = next;
    }
    const char *example = strstr(x->input, "VAR ");  /* three letters, another number, and its answer */
    assert_true(example[7] == ' ' && strstr(x->input, "Answer: ") && strncmp(example + 10, value, 5));
    assert_int_equal(count_of(x->input, "Question: "), 2);
}

static void check_common(const kd_ruler_sample *x, bool is_short) {
    const char *list = strstr(strstr(x->input, "1. ") + 3, "\n1. ");  /* the second list */
    while (strstr(list + 1, "\n1. ")) list = strstr(list + 1, "\n1. ");
    int64_t words = count_of(list, ". ");
    assert_int_equal(x->outputs, 10);
    assert_true(words > 100);
    for (int64_t i = 0; i < 10; i++) {
        char pattern[32];
        snprintf(pattern, sizeof pattern, ". %s", x->output[i]);
        assert_int_equal(count_of(list, pattern), is_short ? 6 : 30);
        assert_int_equal(count_of(x->input, x->output[i]), is_short ? 6 : 30);
    }
}

static void check_coded(const kd_ruler_sample *x) {
    int64_t noise = count_of(x->input, "... "), before = INT64_MAX;
    assert_int_equal(x->outputs, 3);
    for (int i = 0; i < 3; i++) {
        int64_t n = count_of(x->input, x->output[i]);
        assert_true(strlen(x->output[i]) == 6 && n > 0 && n <= before && n < noise);
        before = n;
    }
}

static void check_qa(const kd_ruler_sample *x, const setup *s, const kd_ruler_task *t) {
    const kd_ruler_question *q = &s->source.questions[t->second].question[x->line];
    assert_non_null(strstr(x->input, q->query));
    assert_int_equal(x->outputs, 1);
    int64_t holding = 0, times = 0;
    for (int64_t i = 0; i < q->owns + q->mores; i++) {
        const char *document = s->source.questions[t->second].document[i < q->owns ? q->own[i] : q->more[i - q->owns]];
        assert_int_equal(count_of(x->input, document), 1);
        if (i < q->owns) holding += strstr(document, x->output[0]) != NULL;
        times += count_of(document, x->output[0]);
    }
    assert_int_equal(holding, 1);
    assert_int_equal(count_of(x->input, x->output[0]), times);  /* in no other article, and not in the question */
}

static void check_sample(const kd_ruler_sample *x, const setup *s, const kd_ruler_maker *m) {
    check_length(x, s, m);
    if (m->task->kind == KD_RULER_NIAH) check_niah(x, m->task);
    if (m->task->kind == KD_RULER_CHAINS) check_chains(x);
    if (m->task->kind == KD_RULER_COMMON) check_common(x, m->length < 4096);
    if (m->task->kind == KD_RULER_CODED) check_coded(x);
    if (m->task->kind == KD_RULER_QA) check_qa(x, s, m->task);
}

/* A model that answers what is right in capitals among other words, one that says nothing, one that says another sample's. */
static void check_scores(const kd_ruler_sample *x, const kd_ruler_task *t, const kd_ruler_sample *other) {
    json_t *outputs = json_array();
    kd_text right = {0}, wrong = {0};
    double score;
    bool null;
    kd_text_put(&right, "Well: ");
    for (int64_t i = 0; i < x->outputs; i++) {
        json_array_append_new(outputs, json_string(x->output[i]));
        kd_text_print(&right, "\n\t%s;", x->output[i]);
    }
    for (char *c = right.data; *c; c++)
        if (*c >= 'a' && *c <= 'z') *c -= 32;
    assert_done(kd_ruler_score(&score, &null, t, right.data, outputs));
    assert_true(score == 1 && !null);
    assert_done(kd_ruler_score(&score, &null, t, " \n\x01 ", outputs));
    assert_true(score == 0 && null);
    for (int64_t i = 0; other && i < other->outputs; i++) kd_text_print(&wrong, "%s ", other->output[i]);
    if (other) assert_done(kd_ruler_score(&score, &null, t, wrong.data, outputs));
    assert_true(score < 0.5 && !(other && null));
    json_decref(outputs);
    kd_text_free(&right);
    kd_text_free(&wrong);
}

static void make_all(setup *s, int64_t length, int64_t samples) {
    for (int t = 0; t < KD_RULER_TASKS; t++) {
        kd_ruler_maker m;
        kd_ruler_sample before = {0}, x;
        assert_done(kd_ruler_maker_open(&m, &s->source, &kd_ruler_tasks[t], length, s->draft));
        for (int64_t i = 0; i < samples; i++) {
            assert_done(kd_ruler_make(&x, &m, s->draft, i, false));
            check_sample(&x, s, &m);
            check_scores(&x, m.task, i ? &before : NULL);
            assert_true(!i || strcmp(before.input, x.input));
            kd_ruler_sample_close(&before);
            before = x;
        }
        kd_ruler_sample_close(&before);
    }
}

static void samples_fit_and_can_be_answered(void **state) {
    (void)state;
    const kd_ruler_options o = {.longest = 16384, .seed = 42};
    for (int n = 0; n < 4; n++) {
        setup s;
        bool real = open_setup(&s, n, &o);
        if (real) make_all(&s, 4096, SAMPLES);
        if (real) make_all(&s, 4000, 1);
        if (real || !n) make_all(&s, 16384, 1);
        close_setup(&s);
    }
}

static void the_longest_samples_fit(void **state) {
    (void)state;
    const kd_ruler_options o = {.longest = SANITIZED ? 32768 : 131072, .seed = 7};
    setup s;
    if (open_setup(&s, 1, &o)) make_all(&s, o.longest, 1);
    close_setup(&s);
}

static void same_sample(const kd_ruler_sample *a, const kd_ruler_sample *b) {
    assert_string_equal(a->input, b->input);
    assert_string_equal(a->prefix, b->prefix);
    assert_int_equal(a->outputs, b->outputs);
    for (int64_t i = 0; i < a->outputs; i++) assert_string_equal(a->output[i], b->output[i]);
}

static void a_seed_gives_the_same_samples_in_any_order(void **state) {
    (void)state;
    const kd_ruler_options o = {.longest = 8192, .seed = 42}, longer = {.longest = 20000, .seed = 42},
        another = {.longest = 8192, .seed = 43};
    setup a, b, c;
    open_setup(&a, 0, &o);
    open_setup(&b, 0, &longer);  /* what longer samples need changes nothing */
    open_setup(&c, 0, &another);
    for (int t = 0; t < KD_RULER_TASKS; t++) {
        kd_ruler_maker m, n, other;
        kd_ruler_sample x[3], y, z;
        assert_done(kd_ruler_maker_open(&m, &a.source, &kd_ruler_tasks[t], 8192, a.draft));
        assert_done(kd_ruler_maker_open(&n, &b.source, &kd_ruler_tasks[t], 8192, b.draft));
        assert_done(kd_ruler_maker_open(&other, &c.source, &kd_ruler_tasks[t], 8192, c.draft));
        for (int64_t i = 0; i < 3; i++) assert_done(kd_ruler_make(&x[i], &m, a.draft, i, false));
        for (int64_t i = 2; i >= 0; i--) {
            assert_done(kd_ruler_make(&y, &n, b.draft, i, false));
            assert_done(kd_ruler_make(&z, &other, c.draft, i, false));
            same_sample(&x[i], &y);
            assert_string_not_equal(x[i].input, z.input);
            kd_ruler_sample_close(&x[i]);
            kd_ruler_sample_close(&y);
            kd_ruler_sample_close(&z);
        }
    }
    close_setup(&a);
    close_setup(&b);
    close_setup(&c);
}

static void the_place_of_an_answer_is_counted(void **state) {
    (void)state;
    const kd_ruler_options o = {.longest = 8192, .seed = 1};
    setup s;
    kd_ruler_maker m;
    kd_ruler_sample x;
    open_setup(&s, 0, &o);
    assert_done(kd_ruler_maker_open(&m, &s.source, &kd_ruler_tasks[2], 8192, s.draft));
    assert_done(kd_ruler_make(&x, &m, s.draft, 0, true));
    assert_true(x.position > 0 && x.position < x.length - 128);
    kd_ruler_sample_close(&x);
    close_setup(&s);
}

static void what_is_too_short_is_refused(void **state) {
    (void)state;
    const kd_ruler_options o = {.longest = 8192, .seed = 1};
    setup s;
    kd_ruler_maker m;
    open_setup(&s, 0, &o);
    for (int t = 0; t < KD_RULER_TASKS; t++)
        assert_fails(kd_ruler_maker_open(&m, &s.source, &kd_ruler_tasks[t], 130, s.draft), KD_ECONFIG, kd_ruler_tasks[t].name,
                     " at 130 tokens: ");
    close_setup(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(needles_lie_at_rulers_depths),
        cmocka_unit_test(fixed_shuffles_are_rulers),
        cmocka_unit_test(coded_words_come_as_often_as_rulers),
        cmocka_unit_test(the_most_that_fits_is_rulers),
        cmocka_unit_test(a_size_is_found_wherever_it_is_sought),
        cmocka_unit_test(no_key_is_part_of_another),
        cmocka_unit_test(words_are_enough_and_no_word_is_part_of_another),
        cmocka_unit_test(essays_are_cut_behind_words_and_hide_needles),
        cmocka_unit_test(samples_fit_and_can_be_answered),
        cmocka_unit_test(the_longest_samples_fit),
        cmocka_unit_test(a_seed_gives_the_same_samples_in_any_order),
        cmocka_unit_test(the_place_of_an_answer_is_counted),
        cmocka_unit_test(what_is_too_short_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

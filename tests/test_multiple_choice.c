/* HellaSwag and MMLU from their files to their scores, without a model: cases of the harness in eval_vectors, and files of our own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "eval/encode_pair.h"
#include "eval/hellaswag.h"
#include "eval/mmlu.h"
#include "eval_vectors.h"
#include "format/csv.h"

/* ---- context and continuation ------------------------------------------------------------------------------------------ */

/* The harness's toy: a token is spaces and what follows up to the next space, or spaces at the end. */
typedef struct toy { const json_t *vocabulary; bool bos; int32_t other; } toy;

static int32_t toy_id(toy *t, const char *text, int size) {
    char piece[64];
    const char *key;
    json_t *value;
    snprintf(piece, sizeof piece, "%.*s", size, text);
    json_object_foreach((json_t *)t->vocabulary, key, value) if (!strcmp(json_string_value(value), piece)) return (int32_t)atoi(key);
    return t->other++;
}

static kd_status toy_encode(kd_ids *ids, void *opaque, const char *text, int64_t size) {
    toy *t = opaque;
    KD_TRY(kd_ids_reserve(ids, size + 1));
    if (t->bos) ids->id[ids->count++] = 1;
    for (int64_t at = 0; at < size;) {
        int64_t end = at;
        while (end < size && text[end] == ' ') end++;
        while (end < size && text[end] != ' ') end++;
        ids->id[ids->count++] = toy_id(t, text + at, (int)(end - at));
        at = end;
    }
    return KD_OK;
}

static void same_ids(const int32_t *id, int64_t count, const json_t *wanted) {
    assert_int_equal(count, json_array_size(wanted));
    for (int64_t i = 0; i < count; i++) assert_int_equal(id[i], json_integer_value(json_array_get(wanted, (size_t)i)));
}

static void pairs_are_cut_as_the_harness_does(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "encode_pair", "cases"), *row;
    size_t i;
    json_array_foreach(cases, i, row) {
        toy t = {json_object_get(file, "toy_vocab"), json_is_true(json_object_get(row, "add_bos")), 100};
        kd_ids ids = {0};
        int64_t scored;
        assert_done(kd_encode_pair(&ids, &scored, toy_encode, &t, 1, text_of(row, "context"), text_of(row, "continuation")));
        same_ids(ids.id, ids.count - scored, json_object_get(row, "context_enc"));
        same_ids(ids.id + ids.count - scored, scored, json_object_get(row, "continuation_enc"));
        free(ids.id);
    }
    json_decref(file);
}

static void an_empty_context_is_the_prefix(void **state) {
    (void)state;
    json_t *vocabulary = json_pack("{s:s}", "10", "the");
    for (int bos = 0; bos < 2; bos++) {  /* added by the tokenizer, or not */
        toy t = {vocabulary, bos, 100};
        kd_ids ids = {0};
        int64_t scored;
        assert_done(kd_encode_pair(&ids, &scored, toy_encode, &t, 1, "", "the"));
        assert_int_equal(ids.count, 2);
        assert_int_equal(scored, 1);
        assert_true(ids.id[0] == 1 && ids.id[1] == 10);
        assert_fails(kd_encode_pair(&ids, &scored, toy_encode, &t, -1, "", "the"), KD_ECONFIG, "neither BOS nor EOS");
        free(ids.id);
    }
    json_decref(vocabulary);
}

static void contexts_are_cut_on_the_left(void **state) {
    (void)state;
    int32_t id[] = {1, 2, 3, 4, 5, 6, 7, 8};
    kd_ids ids = {id, 8, 8};
    int64_t cut;
    assert_done(kd_cut_left(&ids, &cut, 8, 0, 2));
    assert_true(cut == 0 && ids.count == 8);
    assert_done(kd_cut_left(&ids, &cut, 6, 0, 2));
    assert_true(cut == 2 && ids.count == 6 && id[0] == 3 && id[5] == 8);
    assert_done(kd_cut_left(&ids, &cut, 4, 1, 2));  /* what leads stays */
    assert_true(cut == 2 && ids.count == 4 && id[0] == 3 && id[1] == 6 && id[3] == 8);
    assert_fails(kd_cut_left(&ids, &cut, 3, 1, 3), KD_EARG, "3 tokens are scored, 3 are seen at most");
    assert_fails(kd_cut_left(&ids, &cut, 3, 0, 3), KD_EARG, "larger --length");
}

/* ---- HellaSwag ---------------------------------------------------------------------------------------------------------- */

static const char *hellaswag_file(const char *name, int items, int label) {
    kd_text text = {0};
    for (int i = 0; i < items; i++) {
        kd_text_print(&text, "{\"ind\": %d, \"activity_label\": \"%s\", \"ctx_a\": \"It is %d.\", \"ctx_b\": \"he\", \"endings\": [\" "
                             "a%d\", \"b [x]c\", \"c\", \"d\"], ", i,
                      name, i, i);
        kd_text_print(&text, i % 2 ? "\"label\": \"%d\"}\n" : "\"label\": %d}\n", label);
    }
    const char *path = scratch_file(name, text.data, text.size);
    kd_text_free(&text);
    return path;
}

static void hellaswag_is_asked_with_drawn_examples(void **state) {
    (void)state;
    kd_hellaswag set, train;
    kd_choice_items items = {0};
    assert_done(kd_hellaswag_open(&set, hellaswag_file("val", 3, 1)));
    assert_done(kd_hellaswag_open(&train, hellaswag_file("train", 100, 0)));
    assert_done(kd_hellaswag_ask(&items, &set, &train, 0, 1234, 2));
    assert_int_equal(items.count, 2);
    assert_string_equal(items.item[1].context, "val: It is 1. He");
    assert_string_equal(items.item[1].choice[0], "a1");
    assert_string_equal(items.item[1].choice[1], "b c");
    assert_int_equal(items.item[1].answer, 1);
    assert_string_equal(items.item[1].key, "hellaswag/1");
    kd_choice_items_free(&items);
    /* Random(1234).sample(range(100), 5) is 99 56 14 0 11, then 74 4 85 88 10: of each the first four. */
    assert_done(kd_hellaswag_ask(&items, &set, &train, 4, 1234, 0));
    assert_int_equal(items.count, 3);
    assert_string_equal(items.item[0].context, "train: It is 99. He a99\n\ntrain: It is 56. He a56\n\ntrain: It is 14. He a14\n\ntrain: It "
                                               "is 0. He a0\n\nval: It is 0. He");
    assert_string_equal(items.item[1].context, "train: It is 74. He a74\n\ntrain: It is 4. He a4\n\ntrain: It is 85. He a85\n\ntrain: It "
                                               "is 88. He a88\n\nval: It is 1. He");
    kd_choice_items_free(&items);
    assert_fails(kd_hellaswag_ask(&items, &set, &set, 3, 1234, 0), KD_ECONFIG, "3 shots");
    /* Out of its own file an item is no example of itself: of 3 of 3 drawn two are left. */
    assert_done(kd_hellaswag_ask(&items, &set, &set, 2, 1234, 0));
    for (int64_t i = 0; i < 3; i++) {
        char own[64];
        snprintf(own, sizeof own, "It is %d. He b", (int)i);
        assert_null(strstr(items.item[i].context, own));
    }
    kd_choice_items_free(&items);
    kd_hellaswag_close(&set);
    kd_hellaswag_close(&train);
}

static void what_is_no_item_is_named_by_line(void **state) {
    (void)state;
    kd_hellaswag set;
    static const struct { const char *text, *says; } bad[] = {
        {"", "no items in it"},
        {"{\"ctx_a\": 1}", "bad:1: \"activity_label\" is missing"},
        {"\n{\"activity_label\": \"a\", \"ctx_a\": 1}", "bad:2: \"ctx_a\" is not a text"},
        {"{\"activity_label\": \"a\", \"ctx_a\": \"\", \"ctx_b\": \"\", \"endings\": [\"a\"], \"label\": 0}",
         "bad:1: \"endings\" is not a list of 4 texts"},
        {"{\"activity_label\": \"a\", \"ctx_a\": \"\", \"ctx_b\": \"\", \"endings\": [\"a\", \"b\", \"c\", \"d\"], \"label\": 4}",
         "bad:1: \"label\""},
        {"{\"activity_label\": \"a\", \"ctx_a\": \"\", \"ctx_b\": \"\", \"endings\": [\"a\", \"b\", \"c\", \"d\"], \"label\": \"\"}",
         "test split"},
        {"{\"activity_label\": \"a\", \"ctx_a\": \"\", \"ctx_b\": \"\", \"endings\": [\"a\", \"b\", \"c\", \"d\"]}", "missing"},
        {"[]", "bad:1: not an object"},
        {"{\"a\": }", "bad:1:7"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(kd_hellaswag_open(&set, scratch_text("bad", bad[i].text)), KD_EFORMAT, bad[i].says);
    assert_fails(kd_hellaswag_open(&set, in_scratch("nothing")), KD_EIO, "nothing");
}

/* ---- MMLU --------------------------------------------------------------------------------------------------------------- */

static void subjects_are_in_four_groups(void **state) {
    (void)state;
    static const int64_t wanted[KD_MMLU_GROUPS] = {19, 13, 12, 13};
    int64_t count[KD_MMLU_GROUPS] = {0};
    for (int64_t i = 0; i < KD_MMLU_SUBJECTS; i++) {
        count[kd_mmlu_subjects[i].group]++;
        assert_int_equal(kd_mmlu_find(kd_mmlu_subjects[i].name), i);
    }
    assert_memory_equal(count, wanted, sizeof wanted);
    assert_int_equal(kd_mmlu_find("sailing"), -1);
}

static void csv_is_read_as_rfc_4180_has_it(void **state) {
    (void)state;
    kd_csv csv;
    bool more;
    static const char text[] = "a,\"b, \"\"c\"\"\",\r\n\n\"two\nlines\",x\"y,z";
    kd_csv_init(&csv, text, sizeof text - 1, "x.csv");
    assert_done(kd_csv_next(&csv, &more));
    assert_true(more && csv.fields == 3 && csv.first == 1);
    assert_string_equal(csv.field[1], "b, \"c\"");
    assert_string_equal(csv.field[2], "");
    assert_done(kd_csv_next(&csv, &more));
    assert_true(more && csv.fields == 3 && csv.first == 3);
    assert_string_equal(csv.field[0], "two\nlines");
    assert_string_equal(csv.field[1], "x\"y");
    assert_done(kd_csv_next(&csv, &more));
    assert_false(more);
    kd_csv_free(&csv);
    static const struct { const char *text, *says; int64_t size; } bad[] = {
        {"a\n\"b\nc", "x.csv:2: a quote is not closed", 6}, {"\"a\"b", "x.csv:1: something stands behind", 4},
        {"a\0b", "x.csv:1: U+0000", 3}, {"\xff,b", "x.csv:1: not valid", 3}};
    for (size_t i = 0; i < 4; i++) {
        kd_csv_init(&csv, bad[i].text, bad[i].size, "x.csv");
        if (i == 0) assert_done(kd_csv_next(&csv, &more));  /* a good line before the bad one */
        assert_fails(kd_csv_next(&csv, &more), KD_EFORMAT, bad[i].says);
        kd_csv_free(&csv);
    }
}

static void write_mmlu(void) {
    assert_done(kd_make_folders(in_scratch("mmlu/dev")));
    assert_done(kd_make_folders(in_scratch("mmlu/test")));
    scratch_text("mmlu/dev/anatomy_dev.csv", "d0,a,b,c,d,C\nd1,a,b,c,d,A\n");
    scratch_text("mmlu/dev/virology_dev.csv", "v0,a,b,c,d,B\nv1,a,b,c,d,D\n");
    scratch_text("mmlu/test/anatomy_test.csv", "\" \"\"Q\"\", one? \",w,x ,y,z,D\nq1,w,x,y,z,A\nq2,w,x,y,z,B\n");
    scratch_text("mmlu/test/virology_test.csv", "r0,w,x,y,z,B\n");
}

static void mmlu_is_asked_from_folders_and_lines(void **state) {
    (void)state;
    const int64_t only[] = {kd_mmlu_find("virology"), kd_mmlu_find("anatomy")};
    kd_mmlu set, dev, lines;
    kd_mmlu_descriptions d;
    kd_choice_items items = {0};
    write_mmlu();
    assert_done(kd_mmlu_open(&set, in_scratch("mmlu"), "test", only, 2));
    assert_done(kd_mmlu_open(&dev, in_scratch("mmlu"), "dev", only, 2));
    assert_done(kd_mmlu_descriptions_open(&d, NULL, &set));
    assert_done(kd_mmlu_ask(&items, &set, &dev, &d, 2, 0));
    assert_int_equal(items.count, 4);
    assert_string_equal(items.item[0].context, "Questions about anatomy, each with four choices and its answer.\n\nd0\nA. a\nB. b\nC. "
                                               "c\nD. d\nAnswer: C\n\nd1\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\n\"Q\", one?\nA. w\nB. x "
                                               "\nC. y\nD. z\nAnswer:");
    assert_string_equal(items.item[2].key, "anatomy/2");
    assert_string_equal(items.item[3].key, "virology/0");
    assert_true(items.item[0].answer == 3 && items.item[3].answer == 1 && !strcmp(items.item[3].choice[2], "C"));
    kd_choice_items_free(&items);
    assert_fails(kd_mmlu_ask(&items, &set, &dev, &d, 3, 0), KD_ECONFIG, "anatomy: 3 solved questions are asked for, 2 are there");
    assert_fails(kd_mmlu_open(&lines, in_scratch("mmlu"), "test", only, 0), KD_EIO, "abstract_algebra_test.csv");
    scratch_text("mmlu.jsonl", "{\"question\": \"r0\", \"subject\": \"virology\", \"choices\": [\"w\", \"x\", \"y\", \"z\"], \"answer\": "
                               "1}\n{\"question\": \"q1\", \"subject\": \"anatomy\", \"choices\": [\"w\", \"x\", \"y\", \"z\"], "
                               "\"answer\": \"A\"}\n");
    assert_done(kd_mmlu_open(&lines, in_scratch("mmlu.jsonl"), "test", NULL, 0));
    assert_true(lines.count == 2 && !strcmp(lines.row[0].text[0], "q1") && lines.row[1].answer == 1);
    kd_mmlu_close(&lines);
    kd_mmlu_descriptions_close(&d);
    kd_mmlu_close(&set);
    kd_mmlu_close(&dev);
}

static void descriptions_are_read_from_the_harness(void **state) {
    (void)state;
    const int64_t only[] = {kd_mmlu_find("anatomy")};
    kd_mmlu set;
    kd_mmlu_descriptions d;
    write_mmlu();
    assert_done(kd_mmlu_open(&set, in_scratch("mmlu"), "test", only, 1));
    assert_done(kd_make_folders(in_scratch("yaml")));
    scratch_text("yaml/mmlu_anatomy.yaml", "\"dataset_name\": \"anatomy\"\n\"description\": \"All about anatomy.\\n\\n\"\n\"include\": "
                                           "\"_template\"\n");
    assert_done(kd_mmlu_descriptions_open(&d, in_scratch("yaml"), &set));
    assert_string_equal(d.text[only[0]], "All about anatomy.\n\n");
    kd_mmlu_descriptions_close(&d);
    assert_done(kd_mmlu_descriptions_open(&d, scratch_text("d.json", "{\"anatomy\": \"Bones.\\n\"}"), &set));
    assert_string_equal(d.text[only[0]], "Bones.\n");
    kd_mmlu_descriptions_close(&d);
    assert_fails(kd_mmlu_descriptions_open(&d, scratch_text("d.json", "{\"virology\": \"x\"}"), &set), KD_EFORMAT, "no key anatomy");
    assert_fails(kd_mmlu_descriptions_open(&d, in_scratch("mmlu"), &set), KD_EIO, "mmlu_anatomy.yaml");
    kd_mmlu_close(&set);
}

static void what_is_no_question_is_named_by_line(void **state) {
    (void)state;
    const int64_t only[] = {kd_mmlu_find("anatomy")};
    kd_mmlu set;
    static const struct { const char *csv, *says; } bad[] = {
        {"q,a,b,c,d,A\nq,a,b,c,d\n", "anatomy_test.csv:2: 5 fields"}, {"q,a,b,c,d,E\n", "anatomy_test.csv:1: the answer is \"E\""},
            {"", "no questions in it"}};
    write_mmlu();
    for (size_t i = 0; i < 3; i++) {
        scratch_text("mmlu/test/anatomy_test.csv", bad[i].csv);
        assert_fails(kd_mmlu_open(&set, in_scratch("mmlu"), "test", only, 1), KD_EFORMAT, bad[i].says);
    }
    assert_fails(kd_mmlu_open(&set, scratch_text("m.jsonl", "{\"question\": \"q\", \"subject\": \"anatomi\", \"choices\": [\"a\", \"b\", "
                                                            "\"c\", \"d\"], \"answer\": 0}"), "test", NULL, 0),
                 KD_EFORMAT, "m.jsonl:1", "is it anatomy");
    assert_fails(kd_mmlu_open(&set, scratch_text("m.jsonl", "{\"question\": \"q\", \"subject\": \"anatomy\", \"choices\": [\"a\", \"b\", "
                                                            "\"c\", \"d\"], \"answer\": 4}"), "test", NULL, 0),
                 KD_EFORMAT, "m.jsonl:1", "\"answer\"");
}

static void groups_are_weighted_by_questions(void **state) {
    (void)state;
    kd_choice_items items = {0};
    double right[6] = {1, 0, 1, 1, 0, 0};
    const char *const subject[6] = {"anatomy", "anatomy", "anatomy", "anatomy", "astronomy", "virology"};
    for (int i = 0; i < 6; i++) kd_choice_items_next(&items)->group = kd_mmlu_find(subject[i]);
    kd_mmlu_scores s = kd_mmlu_score(&items, right);
    assert_true(s.subjects == 3 && s.all.n == 6 && fabs(s.all.mean - 0.5) < 1e-15 && fabs(s.macro - 0.25) < 1e-15);
    assert_true(fabs(s.group[KD_MMLU_STEM].mean - 0.6) < 1e-15 && s.group[KD_MMLU_OTHER].mean == 0 && s.group[KD_MMLU_HUMANITIES].n == 0);
    assert_true(s.subject[kd_mmlu_find("anatomy")].mean == 0.75);
    kd_choice_items_free(&items);
}

/* ---- scores ------------------------------------------------------------------------------------------------------------- */

static char *copy_of(const char *text) {
    char *copy = strdup(text);
    assert_non_null(copy);
    return copy;
}

/* Answers of a folder through to accuracies: the harness's cases. */
static void answers_are_scored_as_the_harness_does(void **state) {
    (void)state;
    json_t *file, *cases = cases_of(&file, "multiple_choice", "cases"), *row, *none = json_object();
    static const char *const wanted[] = {"acc", "acc_norm", "acc_bytes"};
    kd_choice_items items = {0};
    kd_results *results;
    kd_choice_scores scores;
    size_t i;
    assert_done(kd_results_open(&results, NULL, none));
    json_array_foreach(cases, i, row) {
        kd_choice_item *item = kd_choice_items_next(&items);
        item->key = copy_of(text_of(row, "name"));
        item->answer = (int64_t)number_of(row, "gold");
        for (size_t k = 0; k < KD_CHOICES; k++)
            item->choice[k] = copy_of(json_string_value(json_array_get(json_object_get(row, "choices"), k)));
        assert_done(kd_results_add(results, item->key, json_pack("{s:O}", "loglikelihood", json_object_get(row, "loglikelihoods"))));
    }
    assert_done(kd_choice_score(&scores, results, &items));
    json_array_foreach(cases, i, row)
        for (int n = 0; n < 3; n++) assert_true(scores.right[n][i] == number_of(row, wanted[n]));
    kd_choice_scores_free(&scores);
    kd_choice_item *more_items = kd_choice_items_next(&items);
    more_items->key = copy_of("unasked");
    assert_fails(kd_choice_score(&scores, results, &items), KD_EFORMAT, "unasked: no answer");
    kd_choice_items_free(&items);
    kd_results_close(results);
    json_decref(none);
    json_decref(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_cut_as_the_harness_does),
        cmocka_unit_test(an_empty_context_is_the_prefix),
        cmocka_unit_test(contexts_are_cut_on_the_left),
        cmocka_unit_test(hellaswag_is_asked_with_drawn_examples),
        cmocka_unit_test(what_is_no_item_is_named_by_line),
        cmocka_unit_test(subjects_are_in_four_groups),
        cmocka_unit_test(csv_is_read_as_rfc_4180_has_it),
        cmocka_unit_test(mmlu_is_asked_from_folders_and_lines),
        cmocka_unit_test(descriptions_are_read_from_the_harness),
        cmocka_unit_test(what_is_no_question_is_named_by_line),
        cmocka_unit_test(groups_are_weighted_by_questions),
        cmocka_unit_test(answers_are_scored_as_the_harness_does),
    };
    kd_log_level(KD_QUIET);
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

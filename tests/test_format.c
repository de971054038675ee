/* JSON and YAML: what is read, what is refused, and where the message says it is. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/number.h"
#include "format/json.h"
#include "format/yaml.h"
#include "scratch.h"
#include "train/run_file.h"

/* ---- JSON -------------------------------------------------------------------------------------------------- */

static kd_status parse_json(json_t **out, const char *text) { return kd_json_parse(out, text, (int64_t)strlen(text), "x.json"); }

static void json_is_loaded(void **state) {
    (void)state;
    json_t *root;
    int64_t value = 0;
    assert_done(kd_json_load(&root, scratch_text("x.json", "{\"a\": 7}\n")));
    assert_done(kd_json_int(&value, root, "a", "x.json"));
    assert_int_equal(value, 7);
    json_decref(root);
    assert_fails(kd_json_load(&root, in_scratch("absent.json")), KD_EIO, "absent.json");
    assert_null(root);
}

static void bad_json_is_named_with_its_place(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"a\": 1,\n \"a\": 2}", "x.json:2:2: repeated key \"a\""},
        {"{\"a\": 1, \"\\u0061\": 2}", "x.json:1:10: repeated key \"a\""},
        {"{\"a\": {\"b\": 1, \"b\": 2}}", "x.json:1:16: repeated key \"b\""},
        {"{} {}", "x.json:1:4: something follows the end"},
        {"", "x.json:1:1: the file ends where an object or a list should be"},
        {"7", "x.json:1:1: an object or a list expected"},
        {"{\"a\": \"\xff\"}", "x.json:1:8: not valid UTF-8"},
        {"{\"a\": \"\\ud800\"}", "x.json:1:8: half of a surrogate pair"},
        {"{\"a\": 99999999999999999999}", "x.json:1:7: an integer beyond 64 bits"},
        {"{\"a\": 1e999}", "x.json:1:7: a number beyond the range of double"},
        {"{\"a\": 01}", "x.json:1:8: a comma or } expected"},
        {"{\"a\": 1,}", "x.json:1:9: a key expected"},
        {"{\"a\\u0000b\": 1}", "x.json:1:2: U+0000 in a key"},
        {"\xef\xbb\xbf{}", "x.json:1:1: an object or a list expected"},
        {"{\"a\": [1, {\"b\": \"c", "x.json:1:19: the file ends where the end of a string should be"},
        {"[1\n,2\n 3]", "x.json:3:2: a comma or ] expected"},
        {"[\"a\\nb\", tru]", "x.json:1:10: a value expected"},
        {"[-]", "x.json:1:2: not a number"}, {"[+1]", "x.json:1:2: a value"}, {"[.5]", "a value"}, {"[1.]", "not a number"},
        {"[1e]", "not a number"}, {"[NaN]", "a value"}, {"[Infinity]", "a value"}, {"[\"\t\"]", "x.json:1:3: a control character"},
        {"[\"\\x\"]", "x.json:1:3: not an escape"}, {"['a']", "a value"}, {"[1] // no", "something follows"}, {"{a: 1}", "a key"},
        {"[\"\xed\xa0\x80\"]", "x.json:1:3: not valid UTF-8"}, {"[\"\xc0\xaf\"]", "x.json:1:3: not valid UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root;
        assert_fails(parse_json(&root, cases[i][0]), KD_EFORMAT, cases[i][1]);
        assert_null(root);
    }
}

static void a_nul_byte_is_no_json(void **state) {
    (void)state;
    static const char text[] = "{\"a\": 1\0}";
    json_t *root;
    assert_fails(kd_json_parse(&root, text, sizeof text - 1, "x.json"), KD_EFORMAT, "x.json:1:8: a comma or } expected");
    assert_null(root);
}

static void deeply_nested_json_is_refused(void **state) {
    (void)state;
    json_t *root;
    char *text = malloc(200001);
    memset(text, '[', 200000);
    text[200000] = 0;
    assert_fails(parse_json(&root, text), KD_EFORMAT, "x.json:1:65: nested deeper than 64");
    free(text);
}

static void printed_json_reads_as_the_same(void **state) {
    (void)state;
    json_t *root, *back;
    char *text;
    assert_done(parse_json(&root, "{\"b\": [1, 2.5, null, \"\\u0000\\u00e9\"], \"a\": {\"x\": true}}"));
    assert_done(kd_json_print(&text, root, JSON_COMPACT, "x.json"));
    assert_string_equal(text, "{\"b\":[1,2.5,null,\"\\u0000\xc3\xa9\"],\"a\":{\"x\":true}}");
    assert_done(parse_json(&back, text));
    assert_true(json_equal(root, back));
    json_decref(back);
    free(text);
    assert_done(kd_json_print(&text, json_object_get(root, "a"), JSON_INDENT(1), "x.json"));
    assert_string_equal(text, "{\n \"x\": true\n}");
    free(text);
    json_decref(root);
}

static void json_members_are_read_by_type(void **state) {
    (void)state;
    json_t *root;
    int64_t integer = -1;
    double number = -1;
    bool found = true, flag = false;
    const char *text = "kept";
    assert_done(parse_json(&root, "{\"i\": 12, \"r\": 4096.0, \"f\": 0.5, \"big\": 1e300, \"s\": \"x\", \"t\": true, \"n\": null, "
                                  "\"nul\": \"a\\u0000b\"}"));
    assert_done(kd_json_int(&integer, root, "r", "c"));
    assert_int_equal(integer, 4096);
    assert_done(kd_json_maybe_int(&integer, &found, root, "absent", "c"));
    assert_false(found);
    assert_int_equal(integer, 4096);
    assert_done(kd_json_maybe_int(&integer, NULL, root, "n", "c"));
    assert_done(kd_json_maybe_int(&integer, &found, root, "i", "c"));
    assert_true(found && integer == 12);
    assert_done(kd_json_maybe_number(&number, &found, root, "i", "c"));
    assert_true(found && number == 12);
    assert_done(kd_json_maybe_number(&number, &found, root, "f", "c"));
    assert_true(found && number == 0.5);
    assert_done(kd_json_maybe_bool(&flag, &found, root, "t", "c"));
    assert_true(found && flag);
    assert_done(kd_json_maybe_string(&text, root, "n", "c"));
    assert_string_equal(text, "kept");
    assert_done(kd_json_maybe_string(&text, root, "s", "c"));
    assert_string_equal(text, "x");
    assert_fails(kd_json_int(&integer, root, "absent", "c"), KD_EFORMAT, "c: \"absent\" is missing");
    assert_fails(kd_json_int(&integer, root, "f", "c"), KD_EFORMAT, "c: \"f\" is not an integer");
    assert_fails(kd_json_int(&integer, root, "big", "c"), KD_EFORMAT, "\"big\" is not an integer");
    assert_fails(kd_json_int(&integer, root, "s", "c"), KD_EFORMAT, "\"s\" is not an integer");
    assert_fails(kd_json_maybe_number(&number, NULL, root, "s", "c"), KD_EFORMAT, "\"s\" is not a number");
    assert_fails(kd_json_maybe_bool(&flag, NULL, root, "i", "c"), KD_EFORMAT, "\"i\" is neither true nor false");
    assert_fails(kd_json_maybe_string(&text, root, "i", "c"), KD_EFORMAT, "\"i\" is not a string");
    assert_fails(kd_json_maybe_string(&text, root, "nul", "c"), KD_EFORMAT, "\"nul\" contains U+0000");
    assert_fails(kd_json_int(&integer, NULL, "a", "c"), KD_EFORMAT, "not an object");
    json_decref(root);
}

/* ---- YAML -------------------------------------------------------------------------------------------------- */

static kd_status parse_yaml(kd_yaml **out, const char *text) { return kd_yaml_parse(out, text, (int64_t)strlen(text), "run.yaml"); }

/* The node that a dotted path names, or NULL. */
static const kd_yaml *at(const kd_yaml *node, const char *path) {
    char part[64];
    while (node && *path) {
        size_t size = strcspn(path, ".");
        snprintf(part, sizeof part, "%.*s", (int)size, path);
        node = kd_yaml_get(node, part);
        path += size + (path[size] == '.');
    }
    return node;
}

static void yaml_is_a_tree_with_lines(void **state) {
    (void)state;
    kd_yaml *root;
    assert_done(parse_yaml(&root, "# a run\nmodel:\n  path: here   # which\n  rope: {theta: 5.0e+6, frame: 'document'}\n"
                                  "data:\n  train: [\"a b\", c]\n  valid:\n    - d\n    - e\n    - {f: 1}\nempty:\n"));
    assert_int_equal(root->kind, KD_YAML_MAP);
    assert_int_equal(root->count, 3);
    assert_string_equal(root->key[1], "data");
    assert_int_equal(root->key_line[1], 5);
    assert_string_equal(at(root, "model.path")->text, "here");
    assert_int_equal(at(root, "model.path")->line, 3);
    assert_string_equal(at(root, "model.rope.theta")->text, "5.0e+6");
    assert_false(at(root, "model.rope.theta")->quoted);
    assert_true(at(root, "model.rope.frame")->quoted);
    assert_int_equal(at(root, "data.train")->kind, KD_YAML_LIST);
    assert_int_equal(at(root, "data.train")->count, 2);
    assert_string_equal(at(root, "data.train")->child[0]->text, "a b");
    assert_int_equal(at(root, "data.valid")->child[1]->line, 9);
    assert_string_equal(at(at(root, "data.valid")->child[2], "f")->text, "1");
    assert_string_equal(at(root, "empty")->text, "");
    assert_null(kd_yaml_get(root, "absent"));
    assert_null(kd_yaml_get(at(root, "data.train"), "absent"));
    assert_null(kd_yaml_get(NULL, "absent"));
    kd_yaml_free(root);
}

static void unread_yaml_is_refused_with_its_place(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"a: &x 1\n", "run.yaml:1:4: anchors"},
        {"a: &x [1]\n", "run.yaml:1:4: anchors"},
        {"a: &x {b: 1}\n", "run.yaml:1:4: anchors"},
        {"a: 1\nb: *a\n", "run.yaml:2:4: aliases"},
        {"a: !!int 1\n", "run.yaml:1:4: tags"},
        {"a: !mine [1]\n", "run.yaml:1:4: tags"},
        {"a: ! {b: 1}\n", "run.yaml:1:4: tags"},
        {"%TAG ! tag:x,2000:\n---\na: 1\n", "run.yaml:1:1: tags"},
        {"a: 1\n---\nb: 2\n", "run.yaml:2:1: a second document"},
        {"a: 1\nb: 2\na: 3\n", "run.yaml:3:1: a: repeated key, first in line 1"},
        {"m: {x: 1, \"x\": 2}\n", "run.yaml:1:11: x: repeated key"},
        {"? [a]\n: b\n", "run.yaml:1:3: a key must be a plain word"},
        {"? {a: 1}\n: b\n", "a key must be a plain word"},
        {"\"\": b\n", "run.yaml:1:1: an empty key"}, {"?\n: b\n", "an empty key"},
        {"a: \"x\\0y\"\n", "run.yaml:1:4: U+0000"},
        {"a: [1, 2\n", "run.yaml:2:1: "},
        {"a: 1\n b: 2\n", "run.yaml:2:3: "},
        {"a:\n\t- 1\n", "run.yaml:2:1: "},
        {"a: \xff\xfe\n", "run.yaml: byte 3: "},
        {"a: \x01\n", "run.yaml: byte "},
        {"a: }\n", "run.yaml:1:4: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_yaml *root;
        assert_fails(parse_yaml(&root, cases[i][0]), KD_ECONFIG, cases[i][1]);
        assert_null(root);
    }
}

static void yaml_is_nested_64_deep_and_no_deeper(void **state) {
    (void)state;
    kd_yaml *root;
    char text[200];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    text[128] = 0;
    assert_done(parse_yaml(&root, text));
    kd_yaml_free(root);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    text[130] = 0;
    assert_fails(parse_yaml(&root, text), KD_ECONFIG, "run.yaml:1:65: nested deeper than 64");
}

static void no_yaml_is_an_empty_scalar(void **state) {
    (void)state;
    static const char *const cases[] = {"", "# nothing\n", "---\n"};
    for (size_t i = 0; i < 3; i++) {
        kd_yaml *root;
        assert_done(parse_yaml(&root, cases[i]));
        assert_int_equal(root->kind, KD_YAML_SCALAR);
        assert_string_equal(root->text, "");
        kd_yaml_free(root);
    }
}

static void an_override_sets_adds_and_makes_maps(void **state) {
    (void)state;
    kd_yaml *root;
    assert_done(parse_yaml(&root, "optim: {lr: 1, eps: 2}\nempty:\nsteps: 5\n"));
    assert_done(kd_yaml_set(root, "optim.lr=3e-4"));
    assert_string_equal(at(root, "optim.lr")->text, "3e-4");
    assert_int_equal(at(root, "optim.lr")->line, 0);
    assert_string_equal(at(root, "optim.eps")->text, "2");
    assert_done(kd_yaml_set(root, "optim.betas=[0.9, 0.95]"));
    assert_int_equal(at(root, "optim.betas")->count, 2);
    assert_int_equal(at(root, "optim.betas")->child[1]->line, 0);
    assert_done(kd_yaml_set(root, "new.deep.key={x: 1}"));
    assert_string_equal(at(root, "new.deep.key.x")->text, "1");
    assert_done(kd_yaml_set(root, "empty.x=1"));
    assert_string_equal(at(root, "empty.x")->text, "1");
    assert_done(kd_yaml_set(root, "steps="));
    assert_string_equal(at(root, "steps")->text, "");
    assert_done(kd_yaml_set(root, "steps=\"a=b\""));
    assert_string_equal(at(root, "steps")->text, "a=b");
    assert_true(at(root, "steps")->quoted);
    assert_done(kd_yaml_set(root, "optim=none"));
    assert_null(at(root, "optim.lr"));
    kd_yaml_free(root);
    assert_done(parse_yaml(&root, ""));
    assert_done(kd_yaml_set(root, "a=1"));
    assert_string_equal(at(root, "a")->text, "1");
    kd_yaml_free(root);
}

static void a_wrong_override_says_why(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"lr", "lr: an override is written key=value"},
        {"=3", "=3: an override is written key=value"},
        {".a=1", "an empty key"},
        {"a.=1", "an empty key"},
        {"a..b=1", "an empty key"},
        {"steps.x=1", "steps.x=1: steps is not a map"},
        {"m.n.x.y=1", "m.n.x.y=1: m.n is not a map"},
        {"list.0=1", "list is not a map"},
        {"steps=[1", "steps=[1: "},
        {"steps=*x", "steps=*x: aliases"},
        {"steps={a: 1, a: 2}", "a: repeated key"},
    };
    kd_yaml *root;
    assert_done(parse_yaml(&root, "steps: 5\nlist: [1]\nm: {n: 3}\n"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_fails(kd_yaml_set(root, cases[i][0]), KD_ECONFIG, cases[i][1]);
    assert_string_equal(at(root, "steps")->text, "5");
    kd_yaml_free(root);
}

static void numbers_are_read_from_their_text(void **state) {
    (void)state;
    static const struct { const char *text; double value; } number[] = {
        {"1e-5", 1e-5}, {"5.0e+6", 5e6}, {".5", .5}, {"5.", 5}, {"-3", -3}, {"+0.25", .25}, {"1E3", 1000}, {"007", 7},
    };
    static const struct { const char *text; int64_t value; } size[] = {
        {"0", 0}, {"4096", 4096}, {"64K", 65536}, {"1M", 1 << 20}, {"8796093022207M", INT64_C(8796093022207) << 20},
    };
    kd_yaml node = {.kind = KD_YAML_SCALAR, .line = 12};
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        double value;
        node.text = (char *)(uintptr_t)number[i].text;
        assert_done(kd_yaml_number(&value, &node, "k", "f"));
        assert_true(value == number[i].value);
    }
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        int64_t value;
        node.text = (char *)(uintptr_t)size[i].text;
        assert_done(kd_yaml_size(&value, &node, "k", "f"));
        assert_true(value == size[i].value);
    }
    int64_t value;
    node.text = (char *)(uintptr_t)"-9223372036854775808";
    assert_done(kd_yaml_int(&value, &node, "k", "f"));
    assert_true(value == INT64_MIN);
    bool flag;
    node.text = (char *)(uintptr_t)"true";
    assert_done(kd_yaml_bool(&flag, &node, "k", "f"));
    assert_true(flag);
    node.text = (char *)(uintptr_t)"false";
    assert_done(kd_yaml_bool(&flag, &node, "k", "f"));
    assert_false(flag);
}

static void what_is_no_number_is_refused_with_its_line(void **state) {
    (void)state;
    static const char *const number[] = {"fast", "", "1e", "e5", ".", "1.2.3", "0x10", "inf", "nan", "1e999", "1 ", "1K", "--1", "1,5"};
    static const char *const integer[] = {"1.0", "", "1e3", "0x10", "9223372036854775808", "1K", "- 1", "+"};
    static const char *const size[] = {"-1", "1.5K", "K", "1KK", "1k", "1T", "1GB", "64 K", "8796093022208M", ""};
    static const char *const flag[] = {"yes", "True", "on", "1", ""};
    kd_yaml node = {.kind = KD_YAML_SCALAR, .line = 12};
    double d;
    int64_t i64;
    bool b;
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        node.text = (char *)(uintptr_t)number[i];
        assert_fails(kd_yaml_number(&d, &node, "optim.lr", "run.yaml"), KD_ECONFIG, "run.yaml:12: optim.lr: ", number[i], "is not a number");
    }
    for (size_t i = 0; i < sizeof integer / sizeof *integer; i++) {
        node.text = (char *)(uintptr_t)integer[i];
        assert_fails(kd_yaml_int(&i64, &node, "steps", "run.yaml"), KD_ECONFIG, "run.yaml:12: steps: ", "is not an integer");
    }
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        node.text = (char *)(uintptr_t)size[i];
        assert_fails(kd_yaml_size(&i64, &node, "window", "run.yaml"), KD_ECONFIG, "run.yaml:12: window: ", "is not a size");
    }
    for (size_t i = 0; i < sizeof flag / sizeof *flag; i++) {
        node.text = (char *)(uintptr_t)flag[i];
        assert_fails(kd_yaml_bool(&b, &node, "tag", "run.yaml"), KD_ECONFIG, "run.yaml:12: tag: ", "is not true or false");
    }
    node.text = (char *)(uintptr_t)"fast";
    assert_fails(kd_yaml_number(&d, &node, "optim.lr", "run.yaml"), KD_ECONFIG, "run.yaml:12: optim.lr: \"fast\" is not a number");
    node.line = 0;
    assert_fails(kd_yaml_number(&d, &node, "optim.lr", "run.yaml"), KD_ECONFIG, "run.yaml: optim.lr (override): \"fast\" is not a number");
    node = (kd_yaml){.kind = KD_YAML_SCALAR, .line = 3, .quoted = true, .text = (char *)(uintptr_t)"5"};
    assert_fails(kd_yaml_int(&i64, &node, "steps", "run.yaml"), KD_ECONFIG, "run.yaml:3: steps: \"5\" in quotes is a text");
    assert_fails(kd_yaml_number(&d, &node, "steps", "run.yaml"), KD_ECONFIG, "\"5\" in quotes is a text");
    node = (kd_yaml){.kind = KD_YAML_LIST, .line = 3};
    assert_fails(kd_yaml_size(&i64, &node, "steps", "run.yaml"), KD_ECONFIG, "run.yaml:3: steps: a list is not a size");
    node.kind = KD_YAML_MAP;
    assert_fails(kd_yaml_bool(&b, &node, "steps", "run.yaml"), KD_ECONFIG, "run.yaml:3: steps: a map is not true or false");
}

/* A program that uses the library may have chosen a locale; German is made for the test where the system has none. */
static void a_decimal_comma_of_the_program_changes_nothing(void **state) {
    (void)state;
    char command[1200], text[KD_NUMBER_TEXT], *printed;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 '%s' >'%s' 2>&1", in_scratch("de_DE.utf8"), in_scratch("log"));
    bool made = system(command) == 0;
    setenv("LOCPATH", scratch, 1);
    if (!made || !setlocale(LC_ALL, "de_DE.utf8")) {
        printf("skipped: a_decimal_comma_of_the_program_changes_nothing: no German locale and no localedef\n");
        unsetenv("LOCPATH");
        skip();
    }
    snprintf(text, sizeof text, "%g", 0.5);
    assert_string_equal(text, "0,5");
    json_t *root;
    assert_done(parse_json(&root, "[0.5, -1.25e-3]"));
    assert_true(json_real_value(json_array_get(root, 0)) == 0.5 && json_real_value(json_array_get(root, 1)) == -1.25e-3);
    assert_done(kd_json_print(&printed, root, JSON_COMPACT, "x.json"));
    assert_string_equal(printed, "[0.5,-0.00125]");
    free(printed);
    json_decref(root);
    kd_yaml node = {.kind = KD_YAML_SCALAR, .text = (char *)(uintptr_t)"0.95"};
    double value;
    assert_done(kd_yaml_number(&value, &node, "k", "f"));
    assert_true(value == 0.95);
    kd_number_print(text, 0.1);
    assert_string_equal(text, "0.1");
    kd_run_file run;
    const char *file = "model: {init: {arch: llama, preset: demo}}\ntokenizer: bytes\ndata: {train: x}\nwindow: 64K\nsteps: 1\n"
                       "optim: {lr: 0.25, betas: [0.5, 0.75]}\noutput: o\n";
    assert_done(kd_run_file_parse(&run, file, (int64_t)strlen(file), "run.yaml", NULL, 0));
    assert_true(run.lr == 0.25 && run.beta2 == 0.75);
    assert_done(kd_run_file_print(&printed, &run));
    assert_non_null(strstr(printed, "lr: 0.25"));
    free(printed);
    kd_run_file_close(&run);
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
}

static void a_misspelt_word_finds_its_nearest(void **state) {
    (void)state;
    static const char *const key[] = {"lr", "betas", "eps", "weight_decay", "clip", "schedule", "warmup", "decay"};
    static const char *const cases[][2] = {
        {"lrr", "lr"}, {"weigth_decay", "weight_decay"}, {"beta", "betas"}, {"shedule", "schedule"}, {"decai", "decay"},
        {"lr", "lr"}, {"LR", NULL}, {"zzzzzz", NULL}, {"", NULL}, {"xy", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *nearest = kd_nearest(cases[i][0], key, 8);
        if (cases[i][1]) assert_string_equal(nearest ? nearest : "none", cases[i][1]);
        else assert_null(nearest);
    }
    char giant[5000];
    memset(giant, 'w', sizeof giant);
    giant[sizeof giant - 1] = 0;
    assert_null(kd_nearest(giant, key, 8));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_loaded),
        cmocka_unit_test(bad_json_is_named_with_its_place),
        cmocka_unit_test(a_nul_byte_is_no_json),
        cmocka_unit_test(deeply_nested_json_is_refused),
        cmocka_unit_test(printed_json_reads_as_the_same),
        cmocka_unit_test(json_members_are_read_by_type),
        cmocka_unit_test(yaml_is_a_tree_with_lines),
        cmocka_unit_test(unread_yaml_is_refused_with_its_place),
        cmocka_unit_test(yaml_is_nested_64_deep_and_no_deeper),
        cmocka_unit_test(no_yaml_is_an_empty_scalar),
        cmocka_unit_test(an_override_sets_adds_and_makes_maps),
        cmocka_unit_test(a_wrong_override_says_why),
        cmocka_unit_test(numbers_are_read_from_their_text),
        cmocka_unit_test(what_is_no_number_is_refused_with_its_line),
        cmocka_unit_test(a_decimal_comma_of_the_program_changes_nothing),
        cmocka_unit_test(a_misspelt_word_finds_its_nearest),
    };
    return cmocka_run_group_tests_name("format", tests, scratch_open, scratch_close);
}

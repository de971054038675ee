/* RULER's files as others write and read them: sentences in Python, samples of 2024 and later, questions, predictions, summaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "eval/ruler_grid.h"
#include "scratch.h"

/* ---- Python ---------------------------------------------------------------------------------------------------------------- */

static kd_status literal(json_t **out, const char *text, const char *name) {
    return kd_python_literal_parse(out, text, (int64_t)strlen(text), "x.py", name);
}

static void reads(const char *text, const char *name, const char *wanted) {
    json_t *value;
    char *printed;
    if (literal(&value, text, name)) fail_msg("%s: %s", text, kd_message());
    assert_done(kd_json_print(&printed, value, JSON_COMPACT | JSON_ENCODE_ANY, "x"));
    assert_string_equal(printed, wanted);
    free(printed);
    json_decref(value);
}

static void literals_are_read_as_python_reads_them(void **state) {
    (void)state;
    reads("a = 'x'\n", "a", "\"x\"");
    reads("# a = 'no'\nb = \"a = 'no'\"\na='''one\n\"two\"\\\n three'''  # so\n", "a", "\"one\\n\\\"two\\\" three\"");
    reads("'''doc\na = 1\n'''\nif x:\n    a = \"\\t\\\\\\x41\\u00e9\\U0001F600\\'\"", "a", "\"\\t\\\\A\xc3\xa9\xf0\x9f\x98\x80'\"");
    reads("a = r'\\n\\'' 'b' \"c\" u'd'\n", "a", "\"\\\\n\\\\'bcd\"");
    reads("a = (\n  'one '  # first\n\n  'two'\n)\n", "a", "\"one two\"");
    reads("a = re.sub(r'\\s', ' ', b)\na = b\naa = 'no'\na == 'no'\nx.a = 'no'\nf(a='no')\na = 'yes'", "a", "\"yes\"");
    reads("A = {'k': 1, \"m\": {'n': \"\"\"x\"\"\",\n\n 'o': 20,},\n # end\n}\n", "A", "{\"k\":1,\"m\":{\"n\":\"x\",\"o\":20}}");
    reads("def f(x={'a': '(['}, y=\"#\"):\n    pass\na = 7;", "a", "7");
    reads("x = [1,\na == 2,\n'a = 3']\na = ''", "a", "\"\"");
}

static void what_is_not_understood_is_refused_with_its_line(void **state) {
    (void)state;
    json_t *value;
    assert_fails(literal(&value, "b = 1\n", "a"), KD_EFORMAT, "x.py: no literal is assigned to a");
    assert_fails(literal(&value, "\n\na = f'x{y}'\n", "a"), KD_EFORMAT, "x.py:3: only plain and raw strings");
    assert_fails(literal(&value, "a = b'x'\n", "a"), KD_EFORMAT, "x.py:1: only plain");
    assert_fails(literal(&value, "a = 'x' + y\n", "a"), KD_EFORMAT, "x.py:1: more than a literal");
    assert_fails(literal(&value, "a = 'x'.format(1)\n", "a"), KD_EFORMAT, "more than a literal");
    assert_fails(literal(&value, "a = {'x': y}\n", "a"), KD_EFORMAT, "x.py:1: a value that is no literal");
    assert_fails(literal(&value, "a = {\n'x': 1,\n'x': 2}\n", "a"), KD_EFORMAT, "x.py:3: the key \"x\" stands twice");
    assert_fails(literal(&value, "a = {1: 2}\n", "a"), KD_EFORMAT, "a key that is no string");
    assert_fails(literal(&value, "a = {'x' 2}\n", "a"), KD_EFORMAT, "no colon");
    assert_fails(literal(&value, "a = {'x': 2 'y': 3}\n", "a"), KD_EFORMAT, "neither a comma nor");
    assert_fails(literal(&value, "a = {'x': 2\n", "a"), KD_EFORMAT, "neither a comma nor");
    assert_fails(literal(&value, "a = 1.5\n", "a"), KD_EFORMAT, "a number that is not whole");
    assert_fails(literal(&value, "a = 99999999999999\n", "a"), KD_EFORMAT, "too large");
    assert_fails(literal(&value, "a = 'x\n'\n", "a"), KD_EFORMAT, "x.py:1: a string that does not end");
    assert_fails(literal(&value, "a = '''x\n\n", "a"), KD_EFORMAT, "a string that does not end");
    assert_fails(literal(&value, "a = '\\q'\n", "a"), KD_EFORMAT, "an escape that is not understood");
    assert_fails(literal(&value, "a = '\\ud800'\n", "a"), KD_EFORMAT, "an escape that is no character");
    assert_fails(literal(&value, "a = '\\u00'\n", "a"), KD_EFORMAT, "too few digits");
    assert_fails(literal(&value, "a = '\xff'\n", "a"), KD_EFORMAT, "not UTF-8");
    assert_fails(literal(&value, "a = ((((((((((1))))))))))\n", "a"), KD_EFORMAT, "nested too deep");
}

static void fields_are_filled_as_pythons_format_does(void **state) {
    (void)state;
    const kd_field field[] = {{"a", "one", -1}, {"long_name", "{b}", -1}, {"size", "x\0y", 3}};
    kd_text out = {0};
    assert_done(kd_ruler_fill(&out, "{a}{{a}} {long_name}}} {size}.", field, 3));
    assert_int_equal(out.size, 16);
    assert_memory_equal(out.data, "one{a} {b}} x\0y.", 16);
    kd_text_free(&out);
    assert_fails(kd_ruler_fill(&out, "{b}", field, 3), KD_EFORMAT, "{b} is no field");
    assert_fails(kd_ruler_fill(&out, "x}", field, 3), KD_EFORMAT, "a lone brace");
    assert_fails(kd_ruler_fill(&out, "{a", field, 3), KD_EFORMAT, "a lone brace");
    kd_text_free(&out);
}

/* ---- a checkout ------------------------------------------------------------------------------------------------------------ */

static const char constants[] =
    "TASKS = {\n    'niah': {'tokens_to_generate': 64, 'template': \"\"\"Some {type_needle_v} are there.\\n{context}\\nWhich "
    "{type_needle_v} are all of {query}?\"\"\",\n        'answer_prefix': \"\"\" The answers {type_needle_v} are\"\"\"},\n"
    "    'variable_tracking': {'tokens_to_generate': 30, 'template': 'Chains: {context}\\nQ {query}', 'answer_prefix': ' A {num_v} "
    "{query}: '},\n    'common_words_extraction': {'template': 'List {context}', 'answer_prefix': ' Ten:'},\n"
    "    'freq_words_extraction': {'template': 'Text {context}', 'answer_prefix': ' Three:'},\n"
    "    'qa': {'template': 'Documents {context} {query}', 'answer_prefix': ' A:'},\n}\n";

static void write_checkout(const char *other_constants) {
    assert_done(kd_make_folders(in_scratch("ruler/scripts/data/synthetic")));
    scratch_text("ruler/scripts/data/synthetic/constants.py", other_constants ? other_constants : constants);
    scratch_text("ruler/scripts/data/template.py", "Templates = {\n    'base': \"{task_template}\",\n    'chat': \"<You are> "
                                                   "{task_template} </You>\",\n    'none': 'x',\n}\n");
    scratch_text("ruler/scripts/data/synthetic/niah.py", "needle = \"The {type_needle_v} of {key}: {value}!\"\nif y:\n    haystack = "
                                                         "re.sub('a', b)\nelse:\n    haystack = \"Hay. Stack.\"\n");
    scratch_text("ruler/scripts/data/synthetic/variable_tracking.py", "haystack = 'Noise.'\n");
    scratch_text("ruler/scripts/data/synthetic/qa.py", "DOCUMENT_PROMPT = \"D{i}: {document}\"\n");
}

/* The first sample of a task with bytes as ids. */
static void make_one(kd_ruler_sample *x, const char *chat, const char *task, int64_t length) {
    kd_tokenizer bytes;
    kd_ruler_source source;
    kd_ruler_draft *draft;
    kd_ruler_maker maker;
    int64_t place = kd_ruler_task_place(task, (int64_t)strlen(task));
    assert_done(kd_tokenizer_open(&bytes, "bytes"));
    const kd_ruler_options o = {.tokenizer = &bytes, .templates = in_scratch("ruler"), .chat = chat, .longest = length, .seed = 42};
    assert_done(kd_ruler_source_open(&source, &o, &place, 1));
    assert_done(kd_ruler_draft_new(&draft, &source));
    assert_done(kd_ruler_maker_open(&maker, &source, &kd_ruler_tasks[place], length, draft));
    assert_done(kd_ruler_make(x, &maker, draft, 0, false));
    kd_ruler_draft_free(draft);
    kd_ruler_source_close(&source);
    kd_tokenizer_close(&bytes);
}

static void begins(const char *text, const char *with) {
    if (strncmp(text, with, strlen(with))) fail_msg("\"%.80s\" does not begin with \"%s\"", text, with);
}

static void ends(const char *text, const char *with) {
    if (strlen(text) < strlen(with) || strcmp(text + strlen(text) - strlen(with), with)) fail_msg("it does not end with \"%s\"", with);
}

static void sentences_are_a_checkouts(void **state) {
    (void)state;
    kd_ruler_sample x;
    char prefix[128];
    write_checkout(NULL);
    make_one(&x, NULL, "niah_single_1", 600);  /* one value: singular, wherever the letters stand */
    begins(x.input, "A number is there.\n");
    assert_non_null(strstr(x.input, "Hay. Stack.\nHay. Stack."));
    assert_non_null(strstr(x.input, "The numbers of "));
    assert_string_equal(x.prefix, " The answer number is");
    assert_int_equal(x.length, (int64_t)strlen(x.input) + (int64_t)strlen(x.prefix) + 64);  /* the checkout's tokens */
    kd_ruler_sample_close(&x);
    make_one(&x, "chat", "niah_single_1", 600);
    begins(x.input, "<You is> A number is there.\n");
    ends(x.input, "? </You>");
    assert_string_equal(x.prefix, " The answer number is");  /* behind the wrapper's end */
    kd_ruler_sample_close(&x);
    make_one(&x, "chat", "niah_multivalue", 900);
    begins(x.input, "<You are> Some numbers are there.\n");
    assert_string_equal(x.prefix, " The answers numbers are");
    kd_ruler_sample_close(&x);
    make_one(&x, "chat", "vt", 1400);  /* the example stands behind the wrapper's head, without a wrapper of its own */
    begins(x.input, "<You are> Chains: ");
    ends(x.input, " </You>");
    begins(x.prefix, " A 5 ");
    const char *second = strstr(x.input + 12, "Chains: ");
    assert_true(second && second[-1] == '\n' && second[-2] == '\n' && !strstr(second + 1, "Chains: "));
    assert_non_null(strstr(x.input, "Noise.\n"));
    kd_ruler_sample_close(&x);
    make_one(&x, "chat", "cwe", 8000);  /* the whole of it is repeated */
    begins(x.input, "<You are> List 1. ");
    second = strstr(x.input + 1, "\n<You are> List 1. ");
    assert_non_null(second);
    snprintf(prefix, sizeof prefix, " </You> Ten: 1. ");
    assert_true(strstr(x.input, prefix) && strstr(x.input, prefix) < second);
    assert_string_equal(x.prefix, " Ten:");
    kd_ruler_sample_close(&x);
    make_one(&x, NULL, "qa_1", 4000);
    begins(x.input, "Documents D1: ");
    assert_non_null(strstr(x.input, "\n\nD2: "));
    kd_ruler_sample_close(&x);
}

static void a_checkout_that_is_not_understood_is_refused(void **state) {
    (void)state;
    kd_ruler_wording w;
    write_checkout(NULL);
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "chatt"), KD_ECONFIG,
                 "template.py has no template \"chatt\", did you mean chat?");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "none"), KD_EFORMAT, "has no place, or two, for the task");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("nowhere"), "base"), KD_EIO, "constants.py");
    scratch_text("ruler/scripts/data/synthetic/qa.py", "DOCUMENT_PROMPT = 'D{n}'\n");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "base"), KD_EFORMAT, "{n} is no field");
    scratch_text("ruler/scripts/data/synthetic/qa.py", "\nDOCUMENT_PROMPT = f'{i}'\n");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "base"), KD_EFORMAT, "qa.py:2: only plain");
    write_checkout("TASKS = {'niah': {'template': 'x', 'answer_prefix': 'y'}}\n");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "base"), KD_EFORMAT, "constants.py: TASKS has no \"variable_tracking\"");
    write_checkout("TASKS = {'niah': {'template': 'x'}}\n");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "base"), KD_EFORMAT, "an answer_prefix is no string");
    write_checkout("TASKS = {'niah': {'template': 'x', 'answer_prefix': 'y', 'tokens_to_generate': 0}}\n");
    assert_fails(kd_ruler_wording_read(&w, in_scratch("ruler"), "base"), KD_EFORMAT, "tokens_to_generate");
}

/* ---- questions --------------------------------------------------------------------------------------------------------------- */

static void squads_questions_are_read(void **state) {
    (void)state;
    kd_ruler_questions q;
    const char *path = scratch_text("squad.json",
        "{\"version\": \"v2.0\", \"data\": [{\"title\": \"T\", \"paragraphs\": ["
        "{\"context\": \"Zebra text.\", \"qas\": [{\"question\": \"Q1?\", \"is_impossible\": false, \"answers\": [{\"text\": \"Zebra\", "
        "\"answer_start\": 0}, {\"text\": \"Zebra\"}]}, {\"question\": \"No?\", \"is_impossible\": true, \"answers\": []}]},"
        "{\"context\": \"Apple text.\", \"qas\": []}, {\"context\": \"Zebra text.\", \"qas\": [{\"question\": \"Q2?\", \"answers\": "
        "[{\"text\": \"x\"}]}]}]},{\"title\": \"U\", \"paragraphs\": [{\"context\": \"Milk text.\", \"qas\": [{\"question\": \"Q3?\", "
        "\"answers\": [{\"text\": \"m\"}]}]}]}]}");
    assert_done(kd_ruler_questions_squad(&q, path));
    assert_int_equal(q.documents, 3);  /* sorted, each once */
    assert_string_equal(q.document[0], "Apple text.");
    assert_string_equal(q.document[2], "Zebra text.");
    assert_int_equal(q.questions, 3);
    assert_string_equal(q.question[0].query, "Q1?");
    assert_int_equal(q.question[0].answers, 2);
    assert_int_equal(q.question[0].own[0], 2);
    assert_int_equal(q.question[0].mores, 1);
    assert_int_equal(q.question[0].more[0], 0);
    assert_string_equal(q.question[2].query, "Q3?");
    int64_t place[8];
    kd_ruler_question_documents(place, &q, 0, 2, 42);  /* its own, then its article's */
    assert_true(place[0] == 2 && place[1] == 0);
    kd_ruler_question_documents(place, &q, 0, 8, 42);  /* more than there are: all, again and again */
    for (int64_t i = 0; i < 8; i++) assert_int_equal(place[i], i % 3);
    kd_ruler_questions_close(&q);
    assert_fails(kd_ruler_questions_squad(&q, scratch_text("s1.json", "{\"data\": [{\"paragraphs\": [{\"qas\": []}]}]}")), KD_EFORMAT,
                 "s1.json: data[0].paragraphs[0]: no text \"context\"");
    const char *none = "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", \"answers\": []}]}]}]}";
    assert_fails(kd_ruler_questions_squad(&q, scratch_text("s2.json", none)), KD_EFORMAT,
                 "data[0].paragraphs[0].qas[0]: a question that can be answered has no answers");
    assert_fails(kd_ruler_questions_squad(&q, scratch_text("s3.json", "{\"data\": []}")), KD_EFORMAT, "no question that can be answered");
    assert_fails(kd_ruler_questions_squad(&q, scratch_text("s4.json", "[]")), KD_EFORMAT, "no list \"data\"");
}

static void hotpots_questions_are_read(void **state) {
    (void)state;
    kd_ruler_questions q;
    const char *path = scratch_text("hotpot.json", "[{\"_id\": \"1\", \"question\": \"Who?\", \"answer\": \"Ann\", \"context\": [[\"B\", "
                                                   "[\"One. \", \"Two.\"]], [\"A\", [\"Ann.\"]]]}, {\"question\": \"Where?\", \"answer\": "
                                                   "\"Here\", \"context\": [[\"A\", [\"Ann.\"]]]}]");
    assert_done(kd_ruler_questions_hotpot(&q, path));
    assert_int_equal(q.documents, 2);
    assert_string_equal(q.document[0], "A\nAnn.");
    assert_string_equal(q.document[1], "B\nOne. Two.");
    assert_true(q.questions == 2 && q.question[0].owns == 2 && q.question[0].own[0] == 1 && q.question[0].own[1] == 0);
    assert_string_equal(q.question[1].answer[0], "Here");
    kd_ruler_questions_close(&q);
    const char *untold = "[{\"question\": \"q\", \"answer\": \"a\", \"context\": [[\"t\"]]}]";
    assert_fails(kd_ruler_questions_hotpot(&q, scratch_text("h1.json", untold)), KD_EFORMAT,
                 "h1.json: [0]: no title with sentences");
    assert_fails(kd_ruler_questions_hotpot(&q, scratch_text("h2.json", "[{\"question\": \"q\", \"context\": []}]")), KD_EFORMAT,
                 "no text \"answer\"");
    assert_fails(kd_ruler_questions_hotpot(&q, scratch_text("h3.json", "{}")), KD_EFORMAT, "h3.json: no list of questions");
}

/* ---- samples and predictions ----------------------------------------------------------------------------------------------- */

static void samples_of_2024_and_later_are_read(void **state) {
    (void)state;
    kd_json_lines lines;
    kd_ruler_sample x;
    bool more;
    const char *path = scratch_text("both.jsonl",
        "{\"index\": 7, \"input\": \"prompt\", \"outputs\": [\"1\", \"2\"], \"length\": 4090, \"length_w_model_temp\": 4090, "
        "\"answer_prefix\": \" so: \", \"token_position_answer\": 5}\n\n{\"index\": 7, \"input\": \"whole\", \"outputs\": [\"x\"]}\n");
    assert_done(kd_json_lines_open(&lines, path));
    assert_done(kd_ruler_sample_next(&x, &more, &lines));
    assert_true(more && x.outputs == 2 && x.length == 4090);
    assert_string_equal(x.prefix, " so: ");
    kd_ruler_sample_close(&x);
    assert_done(kd_ruler_sample_next(&x, &more, &lines));
    assert_true(more && x.length == -1);
    assert_string_equal(x.prefix, "");
    kd_ruler_sample_close(&x);
    assert_done(kd_ruler_sample_next(&x, &more, &lines));
    assert_false(more);
    kd_json_lines_close(&lines);
    static const struct { const char *text, *says; } bad[] = {
        {"{\"input\": \"a\", \"outputs\": [\"b\"]}\n{\"outputs\": [\"b\"]}\n", "bad.jsonl:2: \"input\" is missing"},
        {"{\"input\": \"a\"}\n", "bad.jsonl:1: \"outputs\" is missing"},
        {"{\"input\": \"a\", \"outputs\": []}\n", "bad.jsonl:1: \"outputs\" is not a list of texts"},
        {"{\"input\": \"a\", \"outputs\": [1]}\n", "\"outputs\" is not a list of texts"},
        {"{\"input\": \"a\", \"outputs\": [\"b\"], \"answer_prefix\": 3}\n", "\"answer_prefix\" is not a text"},
        {"{\"input\": \"a\", \"outputs\": [\"b\"], \"length\": \"x\"}\n", "bad.jsonl:1"},
        {"\n{\"input\": \n", "bad.jsonl:2"},
        {"[]\n", "bad.jsonl:1: not an object"},
        {"\n", "bad.jsonl: no samples"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t count;
        uint64_t hash;
        assert_fails(kd_ruler_file_count(&count, &hash, scratch_text("bad.jsonl", bad[i].text)), KD_EFORMAT, bad[i].says);
    }
}

static void files_are_found_where_rulers_scripts_put_them(void **state) {
    (void)state;
    static const char *const place[] = {"qa_1.jsonl", "qa_1/validation.jsonl", "data/qa_1/validation.jsonl", "4096/qa_1.jsonl",
                                        "4096/qa_1/validation.jsonl", "4096/data/qa_1/validation.jsonl"};
    int64_t length[8], count;
    char *path;
    assert_done(kd_make_folders(in_scratch("found/4096/data/qa_1")));
    assert_done(kd_make_folders(in_scratch("found/4096/qa_1")));
    assert_done(kd_make_folders(in_scratch("found/data/qa_1")));
    assert_done(kd_make_folders(in_scratch("found/qa_1")));
    assert_done(kd_make_folders(in_scratch("found/131072")));
    assert_done(kd_make_folders(in_scratch("found/8192x")));
    assert_done(kd_ruler_file_find(&path, in_scratch("found"), 4096, "qa_1", true));
    assert_null(path);
    for (int i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "found/%s", place[i]);
        const char *wanted = scratch_text(name, "x");
        assert_done(kd_ruler_file_find(&path, in_scratch("found"), 4096, "qa_1", true));
        assert_string_equal(path, wanted);  /* the better place comes first */
        free(path);
        assert_done(kd_ruler_file_find(&path, in_scratch("found"), 4096, "qa_1", false));
        assert_true((path != NULL) == (i > 2));
        free(path);
    }
    assert_done(kd_ruler_file_lengths(length, &count, 8, in_scratch("found")));
    assert_true(count == 2 && length[0] == 4096 && length[1] == 131072);
}

/* The names and types that evaluate.py and RULER's clients read. */
static void lines_have_what_rulers_programs_read(void **state) {
    (void)state;
    char *output[] = {"caf\xc3\xa9", "2"};
    const kd_ruler_sample x = {3, "the input\n", " and: ", output, 2, 4000, 17};
    json_t *row;
    char *text;
    assert_done(kd_ruler_sample_json(&row, &x));
    assert_done(kd_json_print(&text, row, JSON_ENSURE_ASCII, "x"));
    assert_string_equal(text, "{\"index\": 3, \"input\": \"the input\\n\", \"outputs\": [\"caf\\u00E9\", \"2\"], \"length\": 4000, "
                              "\"length_w_model_temp\": 4000, \"answer_prefix\": \" and: \", \"token_position_answer\": 17}");
    free(text);
    json_decref(row);
    assert_done(kd_ruler_prediction_json(&row, &x, "caf\xc3\xa9 "));
    assert_done(kd_json_print(&text, row, JSON_ENSURE_ASCII, "x"));
    assert_string_equal(text, "{\"index\": 3, \"pred\": \"caf\\u00E9 \", \"input\": \"the input\\n and: \", \"outputs\": [\"caf\\u00E9\", "
                              "\"2\"], \"others\": {}, \"truncation\": -1, \"length\": 4000}");
    free(text);
    json_decref(row);
}

static void summary_is(const kd_ruler_line *line, int64_t count, const char *name, const char *wanted) {
    char *data;
    int64_t size;
    assert_done(kd_ruler_summary_write(scratch, line, count));
    assert_done(kd_file_read(&data, &size, in_scratch(name), 10000));
    assert_string_equal(data, wanted);
    free(data);
}

static void a_summary_is_pandass(void **state) {
    (void)state;
    const kd_ruler_line line[] = {{"niah_single_1", 100, 0, 500}, {"vt", 59.2, 3, 500}, {"fwe", 91.73, 0, 7}, {"qa_1", 0, 500, 500},
                                  {"qa_2", 61.005, 1, 2}};
    summary_is(line, 5, "summary.csv",
               "0,1,2,3,4,5\nTasks,niah_single_1,vt,fwe,qa_1,qa_2\nScore,100.0,59.2,91.73,0.0,61.01\nNulls,0/500,3/500,0/7,500/500,1/2\n");
    summary_is(line + 1, 1, "summary-vt.csv", "0,1\nTasks,vt\nScore,59.2\nNulls,3/500\n");
}

static void written_samples_are_read_again(void **state) {
    (void)state;
    kd_tokenizer bytes;
    kd_ruler_source source;
    kd_ruler_grid made, read;
    const int64_t length[] = {8192, 12288}, place[] = {1, 8, 11};
    assert_done(kd_tokenizer_open(&bytes, "bytes"));
    const kd_ruler_options o = {.tokenizer = &bytes, .longest = 12288, .seed = 5};
    assert_done(kd_ruler_source_open(&source, &o, place, 3));
    assert_done(kd_ruler_grid_make(&made, &source, length, 2, place, 3, 4));
    assert_int_equal(made.questions, 24);
    assert_done(kd_ruler_grid_write(&made, in_scratch("written")));
    assert_done(kd_ruler_grid_read(&read, in_scratch("written"), length, 2, place, 3, 3, false));
    assert_int_equal(read.questions, 18);
    for (int64_t cell = 0; cell < 6; cell++)
        for (int64_t i = 0; i < 3; i++) {
            kd_ruler_sample a, b;
            int64_t line = cell % 2 ? 2 - i : i;  /* forwards and backwards */
            assert_done(kd_ruler_grid_sample(&a, &made, cell, line, false));
            assert_done(kd_ruler_grid_sample(&b, &read, cell, line, false));
            assert_true(b.line == line && a.length == b.length && a.outputs == b.outputs);
            assert_string_equal(a.input, b.input);
            assert_string_equal(a.prefix, b.prefix);
            assert_string_equal(a.output[0], b.output[0]);
            kd_ruler_sample_close(&a);
            kd_ruler_sample_close(&b);
        }
    kd_ruler_grid_close(&read);
    kd_ruler_grid_close(&made);
    const int64_t all[] = {0, 1, 8, 11};
    assert_done(kd_ruler_grid_read(&read, in_scratch("written"), length, 2, all, 4, 0, true));  /* what is not there is left out */
    assert_true(read.tasks == 3 && read.questions == 24);
    kd_ruler_grid_close(&read);
    assert_fails(kd_ruler_grid_read(&read, in_scratch("written"), length, 2, all, 4, 0, false), KD_ECONFIG,
                 "no samples of niah_single_1 at 8192 tokens");
    assert_done(kd_remove_tree(in_scratch("written/12288/data/vt")));
    assert_fails(kd_ruler_grid_read(&read, in_scratch("written"), length, 2, all, 4, 0, true), KD_ECONFIG,
                 "no samples of vt at 12288 tokens");
    assert_fails(kd_ruler_grid_make(&made, &source, length, 2, place, 3, 1000000), KD_ECONFIG,
                 "qa_1: 1000000 samples are wanted, there are 33600 questions");
    kd_ruler_source_close(&source);
    kd_tokenizer_close(&bytes);
}

/* ---- scores ------------------------------------------------------------------------------------------------------------------- */

/* Answers to two tasks of two samples at two lengths. */
static void scores_are_rulers(void **state) {
    (void)state;
    static const struct { const char *key, *pred, *outputs[2]; } answer[] = {
        {"4096/vt/0", "ABC and def", {"abc", "XYZ"}}, {"4096/vt/1", "xyz abc", {"abc", "XYZ"}}, {"4096/qa_1/0", "none", {"a cat", "dog"}},
        {"4096/qa_1/1", "A dogma", {"a cat", "dog"}}, {"8192/vt/0", "\n", {"abc", "XYZ"}}, {"8192/vt/1", "", {"abc", "XYZ"}},
        {"8192/qa_1/0", "dog", {"a cat", "dog"}}, {"8192/qa_1/1", "a  cat", {"a cat", "dog"}}};
    kd_ruler_cell cell[4] = {{.length = 4096, .samples = 2}, {.length = 4096, .samples = 2}, {.length = 8192, .samples = 2},
                             {.length = 8192, .samples = 2}};
    for (int i = 0; i < 4; i++) cell[i].task = &kd_ruler_tasks[i % 2 ? 11 : 8];
    const kd_ruler_grid grid = {.length = {4096, 8192}, .lengths = 2, .place = {8, 11}, .tasks = 2, .cell = cell, .questions = 8,
                                .open = -1};
    kd_results *results;
    kd_ruler_scores s[2], mean;
    json_t *settings = json_object();
    assert_done(kd_results_open(&results, NULL, settings));
    for (size_t i = 0; i < sizeof answer / sizeof *answer; i++)
        assert_done(kd_results_add(results, answer[i].key, json_pack("{s:s, s:[s, s]}", "pred", answer[i].pred, "outputs",
                                                                     answer[i].outputs[0], answer[i].outputs[1])));
    assert_done(kd_ruler_scores_open(&s[0], &grid, results));
    const double wanted[] = {75, 50, 0, 50};
    for (int i = 0; i < 4; i++) assert_true(s[0].cell[i].score == wanted[i]);
    assert_true(s[0].cell[2].nulls == 2 && s[0].cell[0].nulls == 0);
    assert_true(s[0].cell[0].error == 25 && s[0].cell[1].error == 50);
    assert_true(s[0].mean[0] == 62.5 && s[0].mean[1] == 25 && s[0].average.mean == 43.75);
    assert_true(s[0].error[0] > 27.950 && s[0].error[0] < 27.951);  /* sqrt(25^2 + 50^2) / 2 */
    s[1] = s[0];
    s[1].cell = malloc(4 * sizeof *s[1].cell);
    assert_non_null(s[1].cell);
    for (int i = 0; i < 4; i++) s[1].cell[i] = (kd_ruler_scored){wanted[i] + 10, 0, 0};
    s[1].mean[0] += 10;
    s[1].mean[1] += 10;
    assert_done(kd_ruler_scores_mean(&mean, &grid, s, 2));
    assert_true(mean.cell[0].score == 80 && mean.mean[0] == 67.5 && mean.error[0] == 5 && mean.cell[0].error == 5);
    kd_ruler_scores_close(&mean);
    kd_ruler_scores_close(&s[0]);
    kd_ruler_scores_close(&s[1]);
    kd_results_close(results);
    json_decref(settings);
}

static void tasks_go_by_their_names(void **state) {
    (void)state;
    int64_t place[KD_RULER_TASKS], count;
    assert_done(kd_ruler_tasks_named(place, &count, "all"));
    assert_int_equal(count, 13);
    assert_done(kd_ruler_tasks_named(place, &count, "qa_2,vt,vt"));
    assert_true(count == 2 && place[0] == 8 && place[1] == 12);
    assert_fails(kd_ruler_tasks_named(place, &count, "vt,niah_single1"), KD_ECONFIG,
                 "unknown task \"niah_single1\", did you mean niah_single_1?");
    assert_fails(kd_ruler_tasks_named(place, &count, "vt,"), KD_ECONFIG, "unknown task \"\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literals_are_read_as_python_reads_them),
        cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
        cmocka_unit_test(fields_are_filled_as_pythons_format_does),
        cmocka_unit_test(sentences_are_a_checkouts),
        cmocka_unit_test(a_checkout_that_is_not_understood_is_refused),
        cmocka_unit_test(squads_questions_are_read),
        cmocka_unit_test(hotpots_questions_are_read),
        cmocka_unit_test(samples_of_2024_and_later_are_read),
        cmocka_unit_test(files_are_found_where_rulers_scripts_put_them),
        cmocka_unit_test(lines_have_what_rulers_programs_read),
        cmocka_unit_test(a_summary_is_pandass),
        cmocka_unit_test(written_samples_are_read_again),
        cmocka_unit_test(scores_are_rulers),
        cmocka_unit_test(tasks_go_by_their_names),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

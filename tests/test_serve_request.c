/* What clients send, as they send it, and what they read out of the reply. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "eval/serve_reply.h"
#include "eval_vectors.h"

static kd_status parse(kd_request *r, bool generate, const char *body) { return kd_request_parse(r, generate, body, (int64_t)strlen(body)); }

static kd_request taken(bool generate, const char *body) {
    kd_request r;
    assert_done(parse(&r, generate, body));
    return r;
}

static void completions_are_read(void **state) {
    (void)state;
    kd_request r = taken(false, "{\"model\":\"m\",\"prompt\":[[1,10,11],[1,12]],\"temperature\":0,\"max_tokens\":1,\"logprobs\":1,\"seed\":1234,\"echo\":true}");
    assert_int_equal(r.prompts, 2);
    assert_int_equal(r.prompt[0].ids.count, 3);
    assert_int_equal(r.prompt[1].ids.id[1], 12);
    assert_true(r.many && r.echo && r.seeded && !r.stream && !r.plain);
    assert_int_equal(r.most, 1);
    assert_int_equal(r.logprobs, 1);
    assert_int_equal(r.sampling.seed, 1234);
    assert_true(r.sampling.temperature == 0);
    kd_request_free(&r);
    r = taken(false, "{\"prompt\":\"a\\u0000b\",\"stop\":[\"x\",\"\\n\"],\"stream\":true,\"stream_options\":{\"include_usage\":true},\"seed\":-1,"
                     "\"stop_token_ids\":[3],\"top_k\":-1,\"min_tokens\":2,\"ignore_eos\":true,\"add_special_tokens\":false,\"max_tokens\":4.0}");
    assert_int_equal(r.prompt[0].size, 3);
    assert_memory_equal(r.prompt[0].text, "a\0b", 4);
    assert_true(!r.many && r.stream && r.usage && r.past_eos && r.plain);
    assert_int_equal(r.stops, 2);
    assert_string_equal(r.stop[1], "\n");
    assert_int_equal(r.stop_token.id[0], 3);
    assert_int_equal(r.least, 2);
    assert_int_equal(r.most, 4);
    assert_int_equal(r.sampling.top_k, 0);
    kd_request_free(&r);
    r = taken(false, "{\"prompt\":[5,6],\"max_tokens\":null,\"logprobs\":null,\"stop\":null,\"do_sample\":false,\"temperature\":0.7,\"n\":1,\"best_of\":1,"
                     "\"presence_penalty\":0,\"frequency_penalty\":0.0,\"suffix\":\"\",\"logit_bias\":{},\"skip_special_tokens\":true}");
    assert_int_equal(r.prompts, 1);
    assert_int_equal(r.prompt[0].ids.count, 2);
    assert_int_equal(r.most, 16);
    assert_int_equal(r.logprobs, -1);
    assert_true(r.sampling.temperature == 0);
    kd_request_free(&r);
    r = taken(false, "{\"prompt\":[\"a\",\"\"]}");
    assert_int_equal(r.prompts, 2);
    assert_true(r.sampling.temperature == 1 && r.sampling.top_p == 1);
    kd_request_free(&r);
}

static void rulers_clients_are_understood(void **state) {
    (void)state;
    kd_request r = taken(true, "{\"prompt\":\"p\",\"max_tokens\":128,\"temperature\":0.0,\"top_k\":32,\"top_p\":1.0,\"stop\":[]}");
    assert_int_equal(r.form, KD_FORM_VLLM);
    assert_int_equal(r.most, 128);
    assert_int_equal(r.sampling.top_k, 32);
    kd_request_free(&r);
    r = taken(true, "{\"prompts\":[\"p\",\"q\"],\"tokens_to_generate\":30,\"temperature\":0.0,\"top_k\":32,\"top_p\":1.0,\"random_seed\":7,"
                    "\"stop_words_list\":\"a,,b c\"}");
    assert_int_equal(r.form, KD_FORM_TRTLLM);
    assert_int_equal(r.prompts, 2);
    assert_int_equal(r.most, 30);
    assert_int_equal(r.stops, 2);
    assert_string_equal(r.stop[1], "b c");
    assert_int_equal(r.sampling.seed, 7);
    kd_request_free(&r);
    r = taken(true, "{\"text\":\"p\",\"sampling_params\":{\"max_new_tokens\":9,\"temperature\":0,\"stop\":\"x\"}}");
    assert_int_equal(r.form, KD_FORM_SGLANG);
    assert_int_equal(r.most, 9);
    assert_int_equal(r.stops, 1);
    kd_request_free(&r);
}

static void what_is_not_served_is_named(void **state) {
    (void)state;
    static const struct { bool generate; const char *body, *message; } cases[] = {
        {false, "{}", "prompt: missing"},
        {true, "{}", "prompt: missing"},
        {false, "[1]", "request: an object belongs here"},
        {false, "{\"prompt\":\"a\",\"n\":2}", "n: only 1"},
        {false, "{\"prompt\":\"a\",\"best_of\":3}", "best_of: only 1"},
        {false, "{\"prompt\":\"a\",\"presence_penalty\":0.5}", "presence_penalty: only 0"},
        {false, "{\"prompt\":\"a\",\"logit_bias\":{\"5\":1}}", "logit_bias: not served"},
        {false, "{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix: not served"},
        {false, "{\"prompt\":\"a\",\"skip_special_tokens\":false}", "skip_special_tokens: only 1 (true)"},
        {false, "{\"promt\":\"a\"}", "promt: unknown field, did you mean prompt?"},
        {false, "{\"prompt\":\"a\",\"tokens_to_generate\":3}", "tokens_to_generate: unknown field"},
        {true, "{\"prompt\":\"a\",\"echo\":true}", "echo: unknown field"},
        {false, "{\"prompt\":\"a\",\"stream_options\":{\"usage\":true}}", "usage: unknown field"},
        {false, "{\"prompt\":5}", "prompt: a text, a list of tokens, or a list of either"},
        {false, "{\"prompt\":[]}", "prompt: an empty list"},
        {false, "{\"prompt\":[[]]}", "prompt: an empty list of tokens"},
        {false, "{\"prompt\":[\"a\",[1]]}", "prompt: texts and tokens in one list"},
        {false, "{\"prompt\":[1,\"a\"]}", "prompt: a whole number belongs here"},
        {false, "{\"prompt\":[1,-1]}", "prompt: -1 is no token"},
        {false, "{\"prompt\":[4294967296]}", "prompt: 4294967296 is no token"},
        {false, "{\"prompt\":[1.5]}", "prompt: 1.5 is not a whole number"},
        {false, "{\"prompt\":[[[1]]]}", "prompt: a whole number belongs here"},
        {true, "{\"prompts\":\"a\"}", "prompts: a list of texts belongs here"},
        {true, "{\"prompts\":[[1]]}", "prompts: a list of texts belongs here"},
        {false, "{\"prompt\":\"a\",\"max_tokens\":-1}", "max_tokens: -1 is less than 0"},
        {false, "{\"prompt\":\"a\",\"max_tokens\":true}", "max_tokens: a whole number belongs here"},
        {false, "{\"prompt\":\"a\",\"max_tokens\":1e300}", "max_tokens: 1e+300 is not a whole number"},
        {false, "{\"prompt\":\"a\",\"logprobs\":65}", "logprobs: 65, at most 64"},
        {false, "{\"prompt\":\"a\",\"logprobs\":-1}", "logprobs: -1 is less than 0"},
        {false, "{\"prompt\":\"a\",\"logprobs\":1,\"stream\":true}", "stream: not served together with logprobs"},
        {false, "{\"prompt\":\"a\",\"temperature\":-0.1}", "temperature -0.1: 0 or more"},
        {false, "{\"prompt\":\"a\",\"temperature\":\"hot\"}", "temperature: a number belongs here"},
        {false, "{\"prompt\":\"a\",\"top_p\":1.01}", "top_p 1.01: 0 to 1"},
        {false, "{\"prompt\":\"a\",\"top_k\":-2}", "top_k: -2 is less than -1"},
        {false, "{\"prompt\":\"a\",\"stop\":[\"\"]}", "stop: a stop string is empty"},
        {false, "{\"prompt\":\"a\",\"stop\":\"\\u0000\"}", "stop: a stop string is empty, or has U+0000"},
        {false, "{\"prompt\":\"a\",\"stop\":7}", "stop: a text or a list of texts"},
        {false, "{\"prompt\":\"a\",\"echo\":1}", "echo: true or false belongs here"},
        {false, "{\"prompt\":\"a\",\"prompt\":\"b\"}", "request:1:"},
        {false, "{\"prompt\":\"a\"} x", "request:1:"},
        {false, "", "request:1:"},
        {true, "{\"text\":\"a\",\"sampling_params\":7}", "sampling_params: an object belongs here"},
        {true, "{\"text\":\"a\",\"sampling_params\":{\"prompt\":\"a\"}}", "prompt: unknown field"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_request r;
        kd_status status = parse(&r, cases[i].generate, cases[i].body);
        if (status != KD_EARG && status != KD_EFORMAT) fail_msg("%s: %s", cases[i].body, kd_status_name(status));
        if (!strstr(kd_message(), cases[i].message)) fail_msg("\"%s\" is not in \"%s\"", cases[i].message, kd_message());
        assert_null(r.prompt);
    }
}

static void the_tokenizers_requests_are_read(void **state) {
    (void)state;
    char *text;
    int64_t size;
    bool lead;
    kd_ids ids;
    const char *body = "{\"prompt\":\"ab\",\"add_special_tokens\":false}";
    assert_done(kd_request_tokenize(&text, &size, &lead, body, (int64_t)strlen(body)));
    assert_string_equal(text, "ab");
    assert_false(lead);
    free(text);
    assert_fails(kd_request_tokenize(&text, &size, &lead, "{\"prompt\":[1]}", 14), KD_EARG, "prompt");
    assert_fails(kd_request_tokenize(&text, &size, &lead, "{}", 2), KD_EARG, "prompt: missing");
    assert_done(kd_request_detokenize(&ids, "{\"tokens\":[1,2]}", 16));
    assert_int_equal(ids.count, 2);
    free(ids.id);
    assert_fails(kd_request_detokenize(&ids, "{\"tokens\":\"a\"}", 14), KD_EARG, "tokens");
    assert_fails(kd_request_detokenize(&ids, "{\"tokens\":[-5]}", 15), KD_EARG, "tokens: -5 is no token");
}

/* ---- requests of lm-evaluation-harness ---------------------------------------------------------------------------------------- */

static void harness_requests_are_understood(void **state) {
    (void)state;
    json_t *file;
    cases_of(&file, "local_completions", "expected_loglikelihood");
    static const char *const names[] = {"loglikelihood_request", "generate_request_tokens", "generate_request_string"};
    for (int i = 0; i < 3; i++) {
        char *text;
        json_t *body = json_object_get(file, names[i]);
        assert_non_null(body);
        assert_done(kd_json_print(&text, body, JSON_COMPACT, "body"));
        kd_request r = taken(false, text);
        assert_int_equal(r.most, json_integer_value(json_object_get(body, "max_tokens")));
        assert_int_equal(r.stops, json_array_size(json_object_get(body, "stop")));
        assert_int_equal(r.echo, json_is_true(json_object_get(body, "echo")));
        assert_int_equal(r.many, i < 2);
        kd_request_free(&r);
        free(text);
    }
    json_decref(file);
}

/* As its client does: slice [context:-1] of token_logprobs, and greedy where each is the largest of its top_logprobs. */
static double client_sum(bool *greedy, const json_t *logprobs, size_t context) {
    const json_t *logs = json_object_get(logprobs, "token_logprobs"), *tops = json_object_get(logprobs, "top_logprobs");
    double sum = 0;
    *greedy = true;
    for (size_t i = context; i + 1 < json_array_size(logs); i++) {
        double log = json_number_value(json_array_get(logs, i)), most = -INFINITY;
        const char *key;
        json_t *value;
        json_object_foreach(json_array_get(tops, i), key, value) most = fmax(most, json_number_value(value));
        sum += log;
        *greedy &= log == most;
    }
    return sum;
}

/* Prompt a b c and one more token: what the client adds up is what the answer says. */
static void replies_say_what_the_client_looks_for(void **state) {
    (void)state;
    kd_tokenizer tokenizer;
    kd_vocabulary_texts texts;
    assert_done(kd_tokenizer_open(&tokenizer, "bytes"));
    assert_done(kd_vocabulary_texts_open(&texts, &tokenizer, KD_BYTES_VOCABULARY + 5));
    kd_request r = taken(false, "{\"prompt\":[[256,97,200]],\"max_tokens\":1,\"logprobs\":2,\"echo\":true}");
    kd_likelihood likelihood[] = {{-1.0 / 3, true}, {-7.123456789012345678, false}};
    kd_likely top[] = {{97, -1.0 / 3}, {98, -2}, {201, -0.1}, {98, -3}, {257, -0.25}, {97, -4}};
    double log[] = {-INFINITY};
    const kd_answer answer = {.likelihood = likelihood, .top = top, .ids = {(int32_t[]){257}, 1, 1}, .log = log, .text = (char[]){"x\"\n"}, .text_size = 3};
    const kd_reply reply = {&r, &r.prompt[0].ids, (const char *[]){"a"}, (int64_t[]){1}, "cmpl-1", "m\"", 5, &texts};
    kd_text out = {0};
    kd_reply_put(&out, &reply, &answer);
    assert_done(kd_text_status(&out));
    json_t *root, *choice, *logprobs;
    assert_done(kd_json_parse(&root, out.data, out.size, "reply"));
    assert_string_equal(json_string_value(json_object_get(root, "model")), "m\"");
    choice = json_array_get(json_object_get(root, "choices"), 0);
    logprobs = json_object_get(choice, "logprobs");
    assert_string_equal(json_string_value(json_object_get(choice, "text")), "ax\"\n");
    assert_int_equal(json_array_size(json_object_get(logprobs, "token_logprobs")), 4);
    assert_true(json_is_null(json_array_get(json_object_get(logprobs, "token_logprobs"), 0)));
    assert_true(json_is_null(json_array_get(json_object_get(logprobs, "top_logprobs"), 0)));
    assert_true(json_number_value(json_array_get(json_object_get(logprobs, "token_logprobs"), 3)) == -1e30);
    assert_string_equal(json_string_value(json_array_get(json_object_get(logprobs, "tokens"), 0)), "<bos>");
    assert_int_equal(json_integer_value(json_array_get(json_object_get(logprobs, "text_offset"), 2)), 6);
    bool greedy;
    assert_true(client_sum(&greedy, logprobs, 1) == likelihood[0].log + likelihood[1].log);
    assert_false(greedy);
    /* 200 and 201 are no UTF-8 by themselves and say the same: the larger stays */
    const json_t *clash = json_array_get(json_object_get(logprobs, "top_logprobs"), 2);
    assert_int_equal(json_object_size(clash), 2);
    assert_true(json_number_value(json_object_get(clash, KD_REPLACEMENT)) == -0.1);
    likelihood[1] = (kd_likelihood){top[2].log, true};
    out.size = 0;
    kd_reply_put(&out, &reply, &answer);
    json_decref(root);
    assert_done(kd_json_parse(&root, out.data, out.size, "reply"));
    client_sum(&greedy, json_object_get(json_array_get(json_object_get(root, "choices"), 0), "logprobs"), 1);
    assert_true(greedy);
    json_decref(root);
    kd_text_free(&out);
    kd_request_free(&r);
    kd_vocabulary_texts_close(&texts);
    kd_tokenizer_close(&tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completions_are_read),
        cmocka_unit_test(rulers_clients_are_understood),
        cmocka_unit_test(what_is_not_served_is_named),
        cmocka_unit_test(the_tokenizers_requests_are_read),
        cmocka_unit_test(harness_requests_are_understood),
        cmocka_unit_test(replies_say_what_the_client_looks_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

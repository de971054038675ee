#include "serve_request.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "format/json.h"
#include "format/yaml.h"
#include "sampler.h"

/* ---- the fields -------------------------------------------------------------------------------------------------------- */

typedef enum kind {
    PROMPT,    /* a text, ids, or a list of either */
    PROMPTS,   /* a list of texts */
    INTEGER,   /* low .. */
    NUMBER,
    BOOL,
    SEED,
    STOP,      /* a text or a list of texts */
    WORDS,     /* texts with commas between them, or a list */
    IDS,
    NESTED,    /* an object with fields of its own */
    SAMPLE,    /* false: temperature 0 */
    NAME,      /* any text, which changes nothing */
    ONLY,      /* a number that may be nothing but `low`, or a bool: false for 0 */
    EMPTY,     /* "" or {} or [] */
} kind;

enum { C = 1 << KD_FORM_COMPLETIONS, V = 1 << KD_FORM_VLLM, T = 1 << KD_FORM_TRTLLM, S = 1 << KD_FORM_SGLANG, INNER = 1 << 4, USAGE = 1 << 5 };

typedef struct field { const char *name; int forms; kind kind; size_t offset; double low; } field;

#define AT(field) offsetof(kd_request, field)

/* INNER: in sampling_params of SGLANG; USAGE: in stream_options. */
static const field fields[] = {
    {"prompt", C | V, PROMPT, 0, 0},
    {"prompts", T, PROMPTS, 0, 0},
    {"text", S, PROMPT, 0, 0},
    {"model", C | V | S, NAME, 0, 0},
    {"user", C | V, NAME, 0, 0},
    {"max_tokens", C | V, INTEGER, AT(most), 0},
    {"tokens_to_generate", T, INTEGER, AT(most), 0},
    {"max_new_tokens", INNER, INTEGER, AT(most), 0},
    {"temperature", C | V | T | INNER, NUMBER, AT(sampling.temperature), 0},
    {"top_p", C | V | T | INNER, NUMBER, AT(sampling.top_p), 0},
    {"top_k", C | V | T | INNER, INTEGER, AT(sampling.top_k), -1},
    {"seed", C | V | INNER, SEED, 0, 0},
    {"random_seed", T, SEED, 0, 0},
    {"do_sample", C | V, SAMPLE, 0, 0},
    {"stop", C | V | INNER, STOP, 0, 0},
    {"stop_words_list", T, WORDS, 0, 0},
    {"stop_token_ids", C | V | INNER, IDS, AT(stop_token), 0},
    {"min_tokens", C | V, INTEGER, AT(least), 0},
    {"min_new_tokens", INNER, INTEGER, AT(least), 0},
    {"ignore_eos", C | V | INNER, BOOL, AT(past_eos), 0},
    {"add_special_tokens", C | V, BOOL, AT(plain), 1},
    {"echo", C, BOOL, AT(echo), 0},
    {"logprobs", C, INTEGER, AT(logprobs), 0},
    {"stream", C, BOOL, AT(stream), 0},
    {"stream_options", C, NESTED, USAGE, 0},
    {"include_usage", USAGE, BOOL, AT(usage), 0},
    {"sampling_params", S, NESTED, INNER, 0},
    {"stream", V | S, ONLY, 0, 0},
    {"return_logprob", S, ONLY, 0, 0},
    {"n", C | V | INNER, ONLY, 0, 1},
    {"best_of", C | V, ONLY, 0, 1},
    {"presence_penalty", C | V | INNER, ONLY, 0, 0},
    {"frequency_penalty", C | V | INNER, ONLY, 0, 0},
    {"repetition_penalty", C | V | T | INNER, ONLY, 0, 1},
    {"min_p", C | V | INNER, ONLY, 0, 0},
    {"use_beam_search", C | V, ONLY, 0, 0},
    {"skip_special_tokens", C | V | INNER, ONLY, 0, 1},
    {"suffix", C, EMPTY, 0, 0},
    {"logit_bias", C, EMPTY, 0, 0},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* ---- values --------------------------------------------------------------------------------------------------------------- */

static kd_status copy(char **out, const json_t *value) {
    int64_t size = (int64_t)json_string_length(value);
    KD_TRY(kd_new(out, size + 1, 1));
    memcpy(*out, json_string_value(value), (size_t)size);
    return KD_OK;
}

static kd_status integer(int64_t *out, const char *name, const json_t *value) {
    double number = json_number_value(value);
    if (!json_is_number(value)) return kd_fail(KD_EARG, "%s: a whole number belongs here", name);
    if (json_is_integer(value)) *out = json_integer_value(value);
    else if (fabs(number) <= 0x1p53 && number == floor(number)) *out = (int64_t)number;
    else return kd_fail(KD_EARG, "%s: %g is not a whole number", name, number);
    return KD_OK;
}

static kd_status read_ids(kd_ids *ids, const char *name, const json_t *list) {
    const size_t count = json_array_size(list);
    KD_TRY(kd_ids_reserve(ids, (int64_t)count + 1));
    for (size_t i = 0; i < count; i++) {
        int64_t id;
        KD_TRY(integer(&id, name, json_array_get(list, i)));
        if (id < 0 || id > INT32_MAX) return kd_fail(KD_EARG, "%s: %lld is no token", name, (long long)id);
        ids->id[ids->count++] = (int32_t)id;
    }
    return KD_OK;
}

static kd_status read_prompt(kd_prompt *prompt, const char *name, const json_t *value) {
    if (json_is_string(value)) {
        prompt->size = (int64_t)json_string_length(value);
        return copy(&prompt->text, value);
    }
    if (!json_is_array(value)) return kd_fail(KD_EARG, "%s: a text, a list of tokens, or a list of either belongs here", name);
    if (!json_array_size(value)) return kd_fail(KD_EARG, "%s: an empty list of tokens", name);
    return read_ids(&prompt->ids, name, value);
}

static kd_status read_prompts(kd_request *r, const field *f, const json_t *value) {
    const json_t *first = json_array_get(value, 0);
    size_t count = json_array_size(value);
    r->many = json_is_array(value) && !json_is_number(first);
    if (!r->many) count = 1;
    if (!count) return kd_fail(KD_EARG, "%s: an empty list", f->name);
    if (f->kind == PROMPTS && !json_is_string(first)) return kd_fail(KD_EARG, "%s: a list of texts belongs here", f->name);
    if (count > KD_REQUEST_PROMPTS) return kd_fail(KD_EARG, "%s: %zu prompts, at most %d", f->name, count, KD_REQUEST_PROMPTS);
    KD_TRY(kd_new(&r->prompt, (int64_t)count, sizeof *r->prompt));
    for (size_t i = 0; i < count; i++) {
        const json_t *one = r->many ? json_array_get(value, i) : value;
        if (r->many && json_typeof(one) != json_typeof(first)) return kd_fail(KD_EARG, "%s: texts and tokens in one list", f->name);
        r->prompts++;
        KD_TRY(read_prompt(&r->prompt[i], f->name, one));
    }
    return KD_OK;
}

/* ---- stop strings ------------------------------------------------------------------------------------------------------------ */

/* Makes room for one of `size` bytes. */
static kd_status add_stop(kd_request *r, const char *name, const char *text, size_t size) {
    if (!size || memchr(text, 0, size)) return kd_fail(KD_EARG, "%s: a stop string is empty, or has U+0000", name);
    if (r->stops == KD_REQUEST_STOPS) return kd_fail(KD_EARG, "%s: more than %d stop strings", name, KD_REQUEST_STOPS);
    if (!r->stop) KD_TRY(kd_new(&r->stop, KD_REQUEST_STOPS, sizeof *r->stop));
    KD_TRY(kd_new(&r->stop[r->stops], (int64_t)size + 1, 1));
    memcpy(r->stop[r->stops++], text, size);
    return KD_OK;
}

static kd_status read_stops(kd_request *r, const field *f, const json_t *value) {
    if (json_is_string(value) && f->kind == WORDS) {
        for (const char *at = json_string_value(value); *at;) {
            size_t size = strcspn(at, ",");
            if (size) KD_TRY(add_stop(r, f->name, at, size));
            at += size + (at[size] == ',');
        }
        return KD_OK;
    }
    if (json_is_string(value)) return add_stop(r, f->name, json_string_value(value), json_string_length(value));
    if (!json_is_array(value)) return kd_fail(KD_EARG, "%s: a text or a list of texts belongs here", f->name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *one = json_array_get(value, i);
        if (!json_is_string(one)) return kd_fail(KD_EARG, "%s: a text or a list of texts belongs here", f->name);
        KD_TRY(add_stop(r, f->name, json_string_value(one), json_string_length(one)));
    }
    return KD_OK;
}

/* ---- objects ----------------------------------------------------------------------------------------------------------------- */

static kd_status read_object(kd_request *r, const json_t *object, int form);

static kd_status read_field(kd_request *r, const field *f, const json_t *value) {
    void *to = (char *)r + f->offset;
    int64_t whole;
    switch (f->kind) {
    case PROMPT:
    case PROMPTS: return read_prompts(r, f, value);
    case STOP:
    case WORDS: return read_stops(r, f, value);
    case NESTED:
        if (!json_is_object(value)) return kd_fail(KD_EARG, "%s: an object belongs here", f->name);
        return read_object(r, value, (int)f->offset);
    case IDS:
        if (!json_is_array(value)) return kd_fail(KD_EARG, "%s: a list of tokens belongs here", f->name);
        if (json_array_size(value) > KD_STOP_TOKENS) return kd_fail(KD_EARG, "%s: more than %d tokens", f->name, KD_STOP_TOKENS);
        return read_ids(to, f->name, value);
    case INTEGER:
        KD_TRY(integer(&whole, f->name, value));
        if ((double)whole < f->low) return kd_fail(KD_EARG, "%s: %lld is less than %g", f->name, (long long)whole, f->low);
        memcpy(to, &whole, sizeof whole);
        return KD_OK;
    case SEED:
        r->seeded = true;
        KD_TRY(integer(&whole, f->name, value));
        r->sampling.seed = (uint64_t)whole;
        return KD_OK;
    case NUMBER:
        if (!json_is_number(value)) return kd_fail(KD_EARG, "%s: a number belongs here", f->name);
        *(double *)to = json_number_value(value);
        return KD_OK;
    case BOOL:
    case SAMPLE:
        if (!json_is_boolean(value)) return kd_fail(KD_EARG, "%s: true or false belongs here", f->name);
        if (f->kind == BOOL) *(bool *)to = json_is_true(value) != (f->low == 1);
        else r->greedy = !json_is_true(value);
        return KD_OK;
    case NAME: return json_is_string(value) ? KD_OK : kd_fail(KD_EARG, "%s: a text belongs here", f->name);
    case ONLY:
        if (json_is_boolean(value) ? json_is_true(value) == (f->low == 1) : json_is_number(value) && json_number_value(value) == f->low)
            return KD_OK;
        return kd_fail(KD_EARG, "%s: only %g (%s) is served", f->name, f->low, f->low == 1 ? "true" : "false");
    case EMPTY:
        if (json_string_length(value) || json_object_size(value) || json_array_size(value) || json_is_number(value) || json_is_true(value))
            return kd_fail(KD_EARG, "%s: not served", f->name);
        return KD_OK;
    }
    return KD_OK;
}

static kd_status unknown(const char *name, int form) {
    const char *known[FIELDS];
    int64_t count = 0;
    for (int i = 0; i < FIELDS; i++)
        if (fields[i].forms & form) known[count++] = fields[i].name;
    const char *near = kd_nearest(name, known, count);
    if (near) return kd_fail(KD_EARG, "%.100s: unknown field, did you mean %s?", name, near);
    return kd_fail(KD_EARG, "%.100s: unknown field", name);
}

static kd_status read_object(kd_request *r, const json_t *object, int form) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        int i = 0;
        while (i < FIELDS && (!(fields[i].forms & form) || strcmp(fields[i].name, name))) i++;
        if (i == FIELDS) return unknown(name, form);
        if (!json_is_null(value)) KD_TRY(read_field(r, &fields[i], value));
    }
    return KD_OK;
}

/* ---- requests ------------------------------------------------------------------------------------------------------------------ */

static kd_status check(kd_request *r) {
    static const char *const prompt[] = {"prompt", "prompt", "prompts", "text"};
    if (!r->prompts) return kd_fail(KD_EARG, "%s: missing", prompt[r->form]);
    if (r->logprobs > KD_TOPS) return kd_fail(KD_EARG, "logprobs: %lld, at most %d", (long long)r->logprobs, KD_TOPS);
    if (r->stream && r->logprobs >= 0) return kd_fail(KD_EARG, "stream: not served together with logprobs");
    if (r->greedy) r->sampling.temperature = 0;
    if (r->sampling.top_k < 0) r->sampling.top_k = 0;
    return kd_sampling_check(&r->sampling);
}

static kd_status parse(json_t **root, const char *body, int64_t size) {
    KD_TRY(kd_json_parse(root, body, size, "request"));
    if (json_is_object(*root)) return KD_OK;
    json_decref(*root);
    *root = NULL;
    return kd_fail(KD_EARG, "request: an object belongs here");
}

kd_status kd_request_parse(kd_request *r, bool generate, const char *body, int64_t size) {
    json_t *root;
    *r = (kd_request){.most = 16, .logprobs = -1, .sampling = {.temperature = 1, .top_p = 1}};
    KD_TRY(parse(&root, body, size));
    if (generate)
        r->form = json_object_get(root, "prompts") ? KD_FORM_TRTLLM : json_object_get(root, "text") ? KD_FORM_SGLANG : KD_FORM_VLLM;
    kd_status status = read_object(r, root, 1 << r->form);
    if (!status) status = check(r);
    json_decref(root);
    if (status) kd_request_free(r);
    return status;
}

void kd_request_free(kd_request *r) {
    for (int64_t i = 0; i < r->prompts; i++) {
        free(r->prompt[i].text);
        free(r->prompt[i].ids.id);
    }
    for (int64_t i = 0; i < r->stops; i++) free(r->stop[i]);
    free(r->prompt);
    free(r->stop);
    free(r->stop_token.id);
    *r = (kd_request){0};
}

kd_status kd_request_tokenize(char **text, int64_t *text_size, bool *lead, const char *body, int64_t size) {
    json_t *root, *value;
    const char *name;
    *text = NULL;
    *lead = true;
    KD_TRY(parse(&root, body, size));
    kd_status status = KD_OK;
    json_object_foreach(root, name, value) {
        if (!strcmp(name, "add_special_tokens") && json_is_boolean(value)) *lead = json_is_true(value);
        else if (!strcmp(name, "prompt") && json_is_string(value)) {
            *text_size = (int64_t)json_string_length(value);
            KD_GO(copy(text, value));
        } else if (strcmp(name, "model")) KD_GO(kd_fail(KD_EARG, "%.100s: \"prompt\" is a text, \"add_special_tokens\" true or false", name));
    }
    if (!*text) status = kd_fail(KD_EARG, "prompt: missing");
done:
    json_decref(root);
    if (status) {
        free(*text);
        *text = NULL;
    }
    return status;
}

kd_status kd_request_detokenize(kd_ids *ids, const char *body, int64_t size) {
    json_t *root;
    *ids = (kd_ids){0};
    KD_TRY(parse(&root, body, size));
    const json_t *list = json_object_get(root, "tokens");
    kd_status status = json_is_array(list) ? read_ids(ids, "tokens", list) : kd_fail(KD_EARG, "tokens: a list of tokens belongs here");
    json_decref(root);
    if (status) {
        free(ids->id);
        *ids = (kd_ids){0};
    }
    return status;
}

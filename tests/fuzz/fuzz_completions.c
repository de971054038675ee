/* Requests for completions and PUT /generate, and those of the tokenizer: what is taken keeps what it promises, what is refused says why. */
#include "eval/sampler.h"
#include "eval/serve_request.h"
#include "fuzz.h"

static void check(const kd_request *r) {
    FUZZ_ASSERT(r->prompt && r->prompts >= 1 && r->prompts <= KD_REQUEST_PROMPTS && (r->many || r->prompts == 1));
    for (int64_t i = 0; i < r->prompts; i++) {
        const kd_prompt *p = &r->prompt[i];
        FUZZ_ASSERT(p->text ? p->size >= 0 && !p->text[p->size] && !p->ids.count : p->ids.count > 0);
        FUZZ_ASSERT(!p->text == !r->prompt[0].text);
        for (int64_t j = 0; j < p->ids.count; j++) FUZZ_ASSERT(p->ids.id[j] >= 0);
    }
    FUZZ_ASSERT(r->most >= 0 && r->least >= 0 && r->logprobs >= -1 && r->logprobs <= KD_TOPS && !(r->stream && r->logprobs >= 0));
    FUZZ_ASSERT(r->stops >= 0 && r->stops <= KD_REQUEST_STOPS && r->stop_token.count <= KD_STOP_TOKENS && !kd_sampling_check(&r->sampling));
    for (int64_t i = 0; i < r->stops; i++) FUZZ_ASSERT(r->stop[i][0]);
    if (r->form != KD_FORM_COMPLETIONS) FUZZ_ASSERT(!r->echo && !r->stream && r->logprobs == -1);
}

static void refused(kd_status status, const kd_request *r) {
    FUZZ_ASSERT(status == KD_EARG || status == KD_EFORMAT);
    FUZZ_ASSERT(*kd_message() && !r->prompt && !r->stop && !r->stop_token.id && !r->prompts);
    fuzz_refused("");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_request r;
    kd_ids ids;
    char *text;
    int64_t text_size;
    bool lead;
    for (int generate = 0; generate < 2; generate++) {
        kd_status status = kd_request_parse(&r, generate, (const char *)data, (int64_t)size);
        if (status) {
            refused(status, &r);
            continue;
        }
        FUZZ_ASSERT(generate || r.form == KD_FORM_COMPLETIONS);
        check(&r);
        kd_request_free(&r);
    }
    kd_status status = kd_request_tokenize(&text, &text_size, &lead, (const char *)data, (int64_t)size);
    FUZZ_ASSERT(status ? !text && (status == KD_EARG || status == KD_EFORMAT) : text && !text[text_size]);
    free(text);
    status = kd_request_detokenize(&ids, (const char *)data, (int64_t)size);
    FUZZ_ASSERT(!status || (!ids.id && (status == KD_EARG || status == KD_EFORMAT)));
    free(ids.id);
    return 0;
}

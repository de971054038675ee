/* What transformers writes and thinks of texts (tools/gen_golden_decode.py): the same 64 tokens, the same likelihoods of 4096. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "format/safetensors.h"
#include "model/decoder.h"
#include "scratch.h"

enum { PROMPT = 20, WRITTEN = 64, LONG = 4096 };

static const char *const families[] = {"llama-plain", "llama-grouped", "mistral", "qwen2"};

static const kd_tensor *expected(const kd_tensors *all, const char *family, const char *what, int64_t count) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", family, what);
    const kd_tensor *tensor = kd_tensors_find(all, name);
    assert_non_null(tensor);
    assert_int_equal(tensor->count, count);
    return tensor;
}

static void ids(int32_t *out, const kd_tensors *all, const char *family, const char *what, int64_t count) {
    assert_done(kd_tensor_read(out, expected(all, family, what, count), 0, count));
}

typedef struct opened { kd_ctx *ctx; kd_config config; kd_decoder *decoder; } opened;

static opened open_family(const char *family, bool bf16_cache) {
    opened o;
    char folder[64];
    snprintf(folder, sizeof folder, "tests/golden/%s", family);
    assert_done(kd_ctx_open(&o.ctx, 2));
    assert_done(kd_config_open(&o.config, folder));
    if (o.config.sliding_window) assert_done(kd_config_lift_sliding_window(&o.config));
    assert_done(kd_decoder_open(&o.decoder, o.ctx, &o.config, folder, &(kd_decoder_options){LONG, 1, bf16_cache}));
    return o;
}

static void close_family(opened *o) {
    kd_decoder_close(o->decoder);
    kd_config_close(&o->config);
    kd_ctx_close(o->ctx);
}

static void greedy_texts_are_those_of_transformers(void **state) {
    (void)state;
    kd_tensors all;
    assert_done(kd_tensors_open(&all, "tests/golden/decode.safetensors"));
    for (int f = 0; f < 4; f++) {
        int32_t prompt[PROMPT], greedy[WRITTEN];
        kd_likely top[PROMPT];
        opened o = open_family(families[f], false);
        ids(prompt, &all, families[f], "prompt", PROMPT);
        ids(greedy, &all, families[f], "greedy", WRITTEN);
        assert_done(kd_decoder_read(o.decoder, &(kd_feed){.token = prompt, .count = PROMPT, .tops = 1, .top = top}, 1));
        int32_t next = top[PROMPT - 1].token;
        for (int64_t i = 0; i < WRITTEN; i++) {
            if (next != greedy[i]) fail_msg("%s: token %lld is %d, not %d", families[f], (long long)i, next, greedy[i]);
            assert_done(kd_decoder_read(o.decoder, &(kd_feed){.from = PROMPT + i, .token = &next, .count = 1, .tops = 1, .top = top}, 1));
            next = top[0].token;
        }
        close_family(&o);
    }
    kd_tensors_close(&all);
}

/* Of 4096 tokens: a float32 cache to 1e-4; a bf16 one is stated with what it may lose. */
static void likelihoods_are_those_of_transformers(void **state) {
    (void)state;
    kd_tensors all;
    assert_done(kd_tensors_open(&all, "tests/golden/decode.safetensors"));
    for (int f = 0; f < 4; f++)
        for (int bf16 = 0; bf16 < (SANITIZED ? 1 : 2); bf16++) {
            static int32_t tokens[LONG];
            static float logprobs[LONG - 1];
            static kd_likelihood likelihood[LONG];
            double most = 0, sum = 0;
            opened o = open_family(families[f], bf16);
            ids(tokens, &all, families[f], "tokens", LONG);
            assert_done(kd_tensor_read_f32(logprobs, expected(&all, families[f], "logprobs", LONG - 1), 0, LONG - 1));
            assert_done(kd_decoder_read(o.decoder, &(kd_feed){.token = tokens, .count = LONG - 1, .target = tokens + 1, .likelihood = likelihood}, 1));
            for (int64_t t = 0; t < LONG - 1; t++) most = fmax(most, fabs(likelihood[t].log - logprobs[t])), sum += likelihood[t].log - logprobs[t];
            print_message("%s, %s cache: at most %.1e off, %.1e on the mean\n", families[f], bf16 ? "bf16" : "float32", most, fabs(sum) / (LONG - 1));
            assert_true(most < (bf16 ? 0.2 : 1e-4) && fabs(sum) / (LONG - 1) < (bf16 ? 2e-3 : 1e-5));
            close_family(&o);
        }
    kd_tensors_close(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_texts_are_those_of_transformers),
        cmocka_unit_test(likelihoods_are_those_of_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A decoder gives what the model's forward gives, bit for bit, however sequences are read, side by side, forgotten and copied; from
 * weights as float32, bf16 and float16, in maps and in copies. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "model/decoder.h"
#include "model/model.h"
#include "sanitized.h"
#include "scratch.h"

enum { T = 300, V = 301 };

static char folder[3][1024];   /* a model as float32, bf16, float16 */
static int32_t token[T + 1];

static kd_config open_config(const char *where) {
    kd_config config;
    assert_done(kd_config_open(&config, where));
    return config;
}

/* Fresh weights of an architecture in all three forms. */
static void make_folders(const char *arch) {
    static const kd_dtype dtype[3] = {KD_F32, KD_BF16, KD_F16};
    char *text;
    kd_config config;
    kd_ctx *ctx;
    kd_model *model;
    assert_done(kd_config_preset(&text, arch, "tiny", &(kd_tokenizer){.bos = 256, .eos = 257}, V, T));
    assert_done(kd_config_parse(&config, text, (int64_t)strlen(text), "tiny"));
    free(text);
    assert_done(kd_ctx_open(&ctx, 2));
    kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 1};
    assert_done(kd_model_open(&model, ctx, &config, &options));
    assert_done(kd_model_init(model, &config, 7));
    for (int i = 0; i < 3; i++) {
        snprintf(folder[i], sizeof folder[i], "%s-%s", in_scratch(arch), kd_dtype_name(dtype[i]));
        assert_done(kd_remove_tree(folder[i]));
        assert_done(kd_make_folders(folder[i]));
        assert_done(kd_model_save(model, &config, folder[i], NULL, &(kd_weights_form){dtype[i], i == 1 ? 100000 : 0}));
    }
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
    for (int64_t t = 0; t <= T; t++) token[t] = (int32_t)(kd_random_bits(3, 0, (uint64_t)t) % V);
}

/* What kd_model_forward says of token[]: losses of each next token, and the last logits. */
static void forward(double losses[T], float last[V], const char *where) {
    kd_config config = open_config(where);
    kd_ctx *ctx;
    kd_model *model;
    kd_plan plan;
    const kd_plan *view = &plan;
    assert_done(kd_ctx_open(&ctx, 2));
    kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 1, .frame = KD_FRAME_DOCUMENT};
    assert_done(kd_model_open(&model, ctx, &config, &options));
    assert_done(kd_model_load(model, where));
    assert_done(kd_plan_init_even(&plan, &(kd_plan_options){.mask = KD_MASK_FULL}, token, T, T));
    for (int64_t t = 0; t < T; t++) plan.target[t] = token[t + 1];
    assert_done(kd_model_forward(model, &view, 1, 0));
    assert_done(kd_model_loss(model));
    memcpy(losses, kd_model_losses(model), T * sizeof *losses);
    assert_done(kd_model_logits(model, last, T - 1, 1));
    kd_plan_free(&plan);
    kd_model_close(model);
    kd_ctx_close(ctx);
    kd_config_close(&config);
}

typedef struct opened { kd_ctx *ctx; kd_config config; kd_decoder *decoder; } opened;

static opened open_decoder(const char *where, const kd_device *device, int64_t threads, const kd_decoder_options *options) {
    opened o = {.config = open_config(where)};
    assert_done(kd_ctx_open_on(&o.ctx, device, threads));
    assert_done(kd_decoder_open(&o.decoder, o.ctx, &o.config, where, options));
    return o;
}

static void close_decoder(opened *o) {
    kd_decoder_close(o->decoder);
    kd_ctx_close(o->ctx);
    kd_config_close(&o->config);
}

/* Reads token[0..T-1] as sequence i in pieces of these sizes over and over. */
static void read_pieces(kd_likelihood *likelihood, float *last, kd_decoder *d, int64_t sequence, const int64_t *size, int64_t sizes) {
    for (int64_t n = 0, i = 0, count; n < T; n += count, i = (i + 1) % sizes) {
        count = size[i] < T - n ? size[i] : T - n;
        assert_done(kd_decoder_read(d, &(kd_feed){.sequence = sequence, .from = n, .token = token + n, .count = count, .target = token + n + 1,
                                                  .likelihood = likelihood + n, .logits = last}, 1));
        assert_int_equal(kd_decoder_held(d, sequence), n + count);
    }
}

/* Likelihoods are the losses to the last place of a sum of the same numbers in another order; logits are the same bits. */
static void assert_same(const kd_likelihood *likelihood, const double *losses, const float *a, const float *b) {
    for (int64_t t = 0; t < T; t++)
        if (!(fabs(likelihood[t].log + losses[t]) < 1e-13 * fabs(losses[t]) + 1e-14))
            fail_msg("token %lld: %.17g, not %.17g", (long long)t, likelihood[t].log, -losses[t]);
    assert_memory_equal(a, b, V * sizeof *a);
}

static void a_decoder_is_the_forward(void **state) {
    static const char *const arch[] = {"llama", "mistral", "qwen2"};
    static const int64_t one[] = {T}, ones[] = {1}, mixed[] = {7, 1, 130, 3};
    (void)state;
    for (int a = 0; a < 3; a++) {
        make_folders(arch[a]);
        for (int f = 0; f < 3; f++) {
            double losses[T];
            float expected[V], last[V];
            kd_likelihood likelihood[T];
            forward(losses, expected, folder[f]);
            for (int way = 0; way < (SANITIZED ? 1 : 3); way++) {
                opened o = open_decoder(folder[f], way == 2 ? &kd_device_guard : &kd_device_host, 1 + way, &(kd_decoder_options){T, 3, false});
                kd_decoder_memory memory = kd_decoder_memory_use(o.decoder);
                assert_true(way == 2 ? memory.mapped == 0 : memory.mapped > memory.copied);
                read_pieces(likelihood, last, o.decoder, 1, one, 1);
                assert_same(likelihood, losses, last, expected);
                if (way == 0) read_pieces(likelihood, last, o.decoder, 2, ones, 1);
                else read_pieces(likelihood, last, o.decoder, 1, mixed, 4);
                assert_same(likelihood, losses, last, expected);
                close_decoder(&o);
            }
        }
    }
}

/* Sequences side by side, one going back, one copied: each as alone. */
static void sequences_do_not_touch(void **state) {
    (void)state;
    make_folders("llama");
    for (int bf16 = 0; bf16 < 2; bf16++) {
        opened o = open_decoder(folder[1], &kd_device_host, 2, &(kd_decoder_options){T, 4, bf16});
        kd_decoder *d = o.decoder;
        float alone[V], a[V], b[V], c[V];
        int32_t other[T];
        for (int64_t t = 0; t < T; t++) other[t] = token[T - 1 - t];
        assert_done(kd_decoder_read(d, &(kd_feed){.sequence = 0, .token = token, .count = T, .logits = alone}, 1));
        const kd_feed both[2] = {{.sequence = 2, .token = token, .count = 250, .logits = a}, {.sequence = 1, .token = other, .count = T, .logits = b}};
        assert_done(kd_decoder_read(d, both, 2));
        assert_done(kd_decoder_copy(d, 3, 2, 200));
        /* 3 goes on from 200, 1 goes back to 0 and becomes like the rest, 2 goes back to 249 */
        kd_likely top[5 * (T - 200)], *likeliest = top + 5 * (T - 201);
        const kd_feed three[3] = {{.sequence = 1, .from = 0, .token = token, .count = T, .logits = a},
                                  {.sequence = 3, .from = 200, .token = token + 200, .count = T - 200, .logits = b, .tops = 5, .top = top},
                                  {.sequence = 2, .from = 249, .token = token + 249, .count = T - 249, .logits = c}};
        assert_done(kd_decoder_read(d, three, 3));
        assert_memory_equal(a, alone, sizeof a);
        assert_memory_equal(b, alone, sizeof b);
        assert_memory_equal(c, alone, sizeof c);
        for (int i = 0; i < 5; i++) {
            int64_t before = 0;
            for (int64_t v = 0; v < V; v++) before += b[v] > b[likeliest[i].token] || (b[v] == b[likeliest[i].token] && v < likeliest[i].token);
            assert_int_equal(before, i);
        }
        close_decoder(&o);
    }
}

/* bf16 caches are near: what they lose is the rounding of keys and values. */
static void a_bf16_cache_is_near(void **state) {
    (void)state;
    make_folders("qwen2");
    double losses[T], most = 0;
    float expected[V], last[V];
    kd_likelihood likelihood[T];
    static const int64_t mixed[] = {50, 1, 1, 20};
    forward(losses, expected, folder[0]);
    opened o = open_decoder(folder[0], &kd_device_host, 2, &(kd_decoder_options){T, 1, true});
    read_pieces(likelihood, last, o.decoder, 0, mixed, 4);
    for (int64_t t = 0; t < T; t++) most = fmax(most, fabs(likelihood[t].log + losses[t]));
    assert_true(most > 1e-7 && most < 2e-2);
    close_decoder(&o);
}

static void what_cannot_be_read_is_refused(void **state) {
    (void)state;
    make_folders("llama");
    opened o = open_decoder(folder[0], &kd_device_host, 1, &(kd_decoder_options){T, 2, false});
    const int32_t bad[2] = {5, V};
    kd_feed feed = {.sequence = 0, .token = token, .count = T};
    assert_done(kd_decoder_read(o.decoder, &feed, 1));
    feed.from = 1;
    assert_int_equal(kd_decoder_read(o.decoder, &feed, 1), KD_EARG);
    feed = (kd_feed){.sequence = 1, .from = 1, .token = token, .count = 1};
    assert_int_equal(kd_decoder_read(o.decoder, &feed, 1), KD_EARG);
    feed = (kd_feed){.sequence = 1, .token = bad, .count = 2};
    assert_int_equal(kd_decoder_read(o.decoder, &feed, 1), KD_EARG);
    assert_non_null(strstr(kd_message(), "token 301 at 1"));
    assert_int_equal(kd_decoder_read(o.decoder, (kd_feed[2]){{.token = token, .count = 1}, {.token = token, .count = 1}}, 2), KD_EARG);
    assert_int_equal(kd_decoder_held(o.decoder, 0), T);
    assert_int_equal(kd_decoder_copy(o.decoder, 1, 0, T + 1), KD_EARG);
    kd_decoder *d;
    assert_int_equal(kd_decoder_open(&d, o.ctx, &o.config, folder[0], &(kd_decoder_options){1 << 20, 1 << 16, false}), KD_ENOMEM);
    assert_int_equal(kd_decoder_open(&d, o.ctx, &o.config, "nowhere", &(kd_decoder_options){T, 1, false}), KD_EIO);
    close_decoder(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_decoder_is_the_forward),
        cmocka_unit_test(sequences_do_not_touch),
        cmocka_unit_test(a_bf16_cache_is_near),
        cmocka_unit_test(what_cannot_be_read_is_refused),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

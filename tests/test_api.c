/* What kedge.h says of tokenizers, safetensors, windows and models, against what the layers below say, and against
 * Hugging Face's golden numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the three above. */
#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/pack.h"
#include "scratch.h"

#define TOKENIZERS "tests/golden/tokenizers/"

/* The call succeeded. */
static void good(kd_status status) {
    if (status) fail_msg("%s: %s", kd_status_name(status), kd_message());
}

/* ---- tokenizers ---------------------------------------------------------------------------------------------------------------- */

static void bytes_are_a_tokenizer(void **state) {
    static const char text[] = {'a', '\0', '\xff', 'z'};
    kd_tokenizer *tokenizer;
    kd_encoder *encoder;
    const int32_t *id;
    const char *back;
    int64_t count, size;
    (void)state;
    good(kd_tokenizer_new(&tokenizer, "bytes"));
    assert_int_equal(kd_tokenizer_bos(tokenizer), 256);
    assert_int_equal(kd_tokenizer_eos(tokenizer), 257);
    assert_int_equal(kd_tokenizer_vocabulary(tokenizer), 259);
    good(kd_encoder_new(&encoder, tokenizer));
    good(kd_encoder_text(encoder, &back, &size, NULL, 0, false));
    assert_string_equal(back, "");
    good(kd_encoder_ids(encoder, &id, &count, text, sizeof text, KD_ENCODE_SPECIALS));
    assert_int_equal(count, 5);
    assert_memory_equal(id, ((int32_t[]){256, 'a', 0, 255, 'z'}), 20);
    good(kd_encoder_text(encoder, &back, &size, id, count, true));
    assert_int_equal(size, 4);
    assert_memory_equal(back, text, sizeof text);
    assert_int_equal(back[4], 0);
    good(kd_encoder_text(encoder, &back, &size, id, 2, false));
    assert_string_equal(back, "<bos>a");
    assert_int_equal(kd_encoder_text(encoder, &back, &size, (int32_t[]){'x', 300}, 2, false), KD_EFORMAT);
    kd_encoder_free(encoder);
    kd_tokenizer_free(tokenizer);
    assert_int_equal(kd_tokenizer_new(&tokenizer, "tests"), KD_ECONFIG);
    assert_null(tokenizer);
    kd_tokenizer_free(tokenizer);
    kd_encoder_free(NULL);
}

enum { THREADS = 4, TURNS = 30 };
static const char *const texts[] = {"Hello world, \xc3\xa9t\xc3\xa9 2024!", "  two  spaces\n\nand lines\t", "<s> [INST] in a text </s>",
                                    "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e \xf0\x9f\x98\x80 I'm", ""};
enum { TEXTS = sizeof texts / sizeof *texts };

typedef struct encoded { const kd_tokenizer *tokenizer; int32_t id[TEXTS][200]; int64_t count[TEXTS]; bool same; } encoded;

/* Asserting is the main thread's: cmocka jumps. */
static void *encode_all(void *opaque) {
    encoded *e = opaque;
    kd_encoder *encoder;
    const int32_t *id;
    const char *back;
    int64_t count, size;
    e->same = !kd_encoder_new(&encoder, e->tokenizer);
    for (int turn = 0; turn < TURNS && e->same; turn++)
        for (int i = 0; i < TEXTS && e->same; i++) {
            e->same = !kd_encoder_ids(encoder, &id, &count, texts[i], (int64_t)strlen(texts[i]), KD_ENCODE_SPECIALS) && count < 200;
            if (!e->same) break;
            if (turn) e->same = count == e->count[i] && !memcmp(id, e->id[i], (size_t)count * sizeof *id);
            if (count) memcpy(e->id[i], id, (size_t)count * sizeof *id);
            e->count[i] = count;
            e->same &= !kd_encoder_text(encoder, &back, &size, e->id[i], count, true) && (int64_t)strlen(back) == size;
        }
    kd_encoder_free(encoder);
    return NULL;
}

static void a_tokenizer_serves_many_threads(void **state) {
    kd_tokenizer *tokenizer;
    static encoded each[THREADS + 1];
    pthread_t thread[THREADS];
    (void)state;
    good(kd_tokenizer_new(&tokenizer, TOKENIZERS "llama3"));
    for (int i = 0; i <= THREADS; i++) each[i].tokenizer = tokenizer;
    encode_all(&each[THREADS]);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&thread[i], NULL, encode_all, &each[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    assert_true(each[THREADS].same && each[THREADS].count[0] > 3);
    for (int i = 0; i < THREADS; i++) {
        assert_true(each[i].same);
        assert_memory_equal(each[i].id, each[THREADS].id, sizeof each[i].id);
    }
    kd_tokenizer_free(tokenizer);
}

/* ---- safetensors --------------------------------------------------------------------------------------------------------------- */

static void tensors_come_back_as_they_were_written(void **state) {
    static const float matrix[6] = {1, 2.5f, -3, 0, 1e30f, -1e-30f};
    static const uint16_t half[2] = {0x3f80, 0xc040};  /* bf16: 1, -3 */
    static const int64_t whole[1] = {-7};
    const kd_tensor_spec spec[] = {{"matrix", KD_F32, 2, {2, 3}}, {"whole", KD_I64, 0, {0}}, {"half", KD_BF16, 1, {2}},
                                   {"none", KD_F32, 1, {0}}};
    const void *const data[] = {matrix, whole, half, NULL};
    const char *const about[] = {"made by", "a test"};
    char path[600];
    kd_tensors *tensors;
    kd_tensor_spec is;
    float f[6];
    int64_t n;
    (void)state;
    snprintf(path, sizeof path, "%s/x.safetensors", scratch);
    good(kd_tensors_write(path, spec, data, 4, about, 1));
    good(kd_tensors_write(path, spec, data, 4, about, 1));  /* over the first */
    good(kd_tensors_new(&tensors, path));
    assert_int_equal(kd_tensors_count(tensors), 4);
    assert_non_null(strstr(kd_tensors_metadata(tensors), "a test"));
    assert_null(kd_tensors_at(tensors, 4));
    assert_null(kd_tensors_find(tensors, "other"));
    kd_tensor_describe(&is, kd_tensors_at(tensors, 1));  /* by name: half, matrix, none, whole */
    assert_string_equal(is.name, "matrix");
    assert_true(is.dtype == KD_F32 && is.rank == 2 && is.shape[0] == 2 && is.shape[1] == 3);
    assert_ptr_equal(kd_tensors_at(tensors, 1), kd_tensors_find(tensors, "matrix"));
    good(kd_tensor_read(f, kd_tensors_find(tensors, "matrix"), 0, 6));
    assert_memory_equal(f, matrix, sizeof matrix);
    good(kd_tensor_read_f32(f, kd_tensors_find(tensors, "half"), 1, 1));
    assert_true(f[0] == -3);
    good(kd_tensor_read_i64(&n, kd_tensors_find(tensors, "whole"), 0, 1));
    assert_int_equal(n, -7);
    assert_int_equal(kd_tensor_read_f32(f, kd_tensors_find(tensors, "whole"), 0, 1), KD_EFORMAT);
    assert_int_equal(kd_tensor_read(f, kd_tensors_find(tensors, "matrix"), 4, 3), KD_EARG);
    kd_tensors_free(tensors);
    assert_string_equal(kd_dtype_name(KD_BF16), "BF16");
    assert_int_equal(kd_dtype_size(KD_BF16), 2);
    assert_null(kd_dtype_name(KD_DTYPES));
    assert_int_equal(kd_dtype_size(KD_DTYPES), 0);

    /* What cannot be written leaves what was there, and nothing beside it. */
    const kd_tensor_spec twice[] = {{"a", KD_F32, 1, {1}}, {"a", KD_F32, 1, {1}}};
    assert_int_equal(kd_tensors_write(path, twice, data, 2, NULL, 0), KD_EARG);
    good(kd_tensors_new(&tensors, path));
    kd_tensors_free(tensors);
    strcat(path, ".tmp");
    assert_false(kd_exists(path));
    assert_int_equal(kd_tensors_new(&tensors, path), KD_EIO);
    assert_null(tensors);
}

/* ---- windows ------------------------------------------------------------------------------------------------------------------- */

static void windows_are_filled_with_documents_in_order(void **state) {
    enum { T = 8 };
    int32_t token[20];
    const int64_t start[] = {0, 5, 5, 13, 20};  /* 5, none, 8 and 7 tokens */
    kd_window_options options = {.window = T, .mask = KD_MASK_ANCHOR};
    kd_windows *windows;
    kd_plan plan;
    (void)state;
    for (int i = 0; i < 20; i++) token[i] = 1000000 + i;
    good(kd_windows_new(&windows, &options, token, NULL, start, 4, 1, 2));
    assert_int_equal(kd_windows_count(windows), 2);     /* 7 tokens each behind the anchor */
    assert_int_equal(kd_windows_dropped(windows), 6);
    memset(token, 0, sizeof token);                     /* they were copied */
    good(kd_windows_plan(&plan, windows, 1, false));
    assert_memory_equal(plan.token, ((int32_t[]){1, 1000007, 1000008, 1000009, 1000010, 1000011, 1000012, 1000013}), 4 * T);
    assert_memory_equal(plan.target, ((int32_t[]){-1, 1000008, 1000009, 1000010, 1000011, 1000012, -1, 1000014}), 4 * T);
    assert_memory_equal(plan.position, ((int32_t[]){0, 1, 2, 3, 4, 5, 6, 7}), 4 * T);
    assert_int_equal(plan.N, 2);
    kd_plan_free(&plan);
    assert_int_equal(kd_windows_plan(&plan, windows, -1, false), KD_EARG);
    kd_windows_free(windows);

    for (int i = 0; i < 20; i++) token[i] = i;
    options = (kd_window_options){.window = T, .mask = KD_MASK_DOCUMENT, .reset = true, .separator = KD_SEPARATE_BOTH, .truncate = true};
    const uint8_t loss[20] = {1, 0, 1, 1, 1, 1};
    good(kd_windows_new(&windows, &options, token, loss, start, 4, 30, 31));
    good(kd_windows_plan(&plan, windows, 0, false));
    assert_memory_equal(plan.token, ((int32_t[]){30, 0, 1, 2, 3, 4, 31, 30}), 4 * T);
    assert_memory_equal(plan.target, ((int32_t[]){-1, -1, 2, 3, 4, 31, -1, -1}), 4 * T);
    assert_memory_equal(plan.position, ((int32_t[]){0, 1, 2, 3, 4, 5, 6, 0}), 4 * T);
    kd_plan_free(&plan);
    kd_windows_free(windows);

    options.tag = true;
    assert_int_equal(kd_windows_new(&windows, &options, token, NULL, start, 4, 30, 31), KD_EARG);
    options.tag = false;
    assert_int_equal(kd_windows_new(&windows, &options, token, NULL, start, 4, -1, -1), KD_ECONFIG);
    assert_int_equal(kd_windows_new(&windows, &options, token, NULL, start, 1, 30, 31), KD_ECONFIG);  /* not one window */
    token[3] = -1;
    assert_int_equal(kd_windows_new(&windows, &options, token, NULL, start, 4, 30, 31), KD_EARG);
    assert_null(windows);
    kd_windows_free(windows);
}

static void training_order_has_every_window_once_a_pass(void **state) {
    enum { WINDOWS = 50, T = 4 };
    int32_t token[WINDOWS * T], first[2][WINDOWS];
    const int64_t start[] = {0, WINDOWS * T};
    const kd_window_options options = {.window = T, .mask = KD_MASK_FULL, .seed = 7};
    kd_windows *windows;
    kd_plan plan;
    (void)state;
    for (int i = 0; i < WINDOWS * T; i++) token[i] = i;
    good(kd_windows_new(&windows, &options, token, NULL, start, 1, -1, -1));
    assert_int_equal(kd_windows_count(windows), WINDOWS);
    for (int pass = 0; pass < 2; pass++) {
        bool seen[WINDOWS] = {false};
        for (int i = 0; i < WINDOWS; i++) {
            good(kd_windows_plan(&plan, windows, pass * WINDOWS + i, true));
            first[pass][i] = plan.token[0] / T;
            assert_false(seen[first[pass][i]]);
            seen[first[pass][i]] = true;
            kd_plan_free(&plan);
        }
    }
    assert_memory_not_equal(first[0], first[1], sizeof first[0]);
    kd_windows_free(windows);
}

static void windows_of_a_pack_are_those_that_were_packed(void **state) {
    const char *lines = scratch_text("texts.jsonl", "{\"text\": \"a first document\"}\n{\"text\": \"and another one, longer\"}\n");
    const kd_window_options asked = {.window = 12, .mask = KD_MASK_ANCHOR, .reset = true};
    kd_window_options wrong = asked;
    kd_tokenizer *tokenizer;
    kd_windows *windows;
    kd_pack pack;
    kd_plan plan, packed;
    (void)state;
    good(kd_tokenizer_new(&tokenizer, "bytes"));
    const kd_pack_options options = {.folder = in_scratch("pack"), .shard = 1000, .part[KD_PART_TRAIN] = {
        .pattern = &lines, .patterns = 1, .ingest.tokenizer = tokenizer, .window = {.window = 12, .mask = KD_MASK_ANCHOR}}};
    good(kd_pack_make(&pack, &options));
    good(kd_windows_of_pack(&windows, options.folder, "train", tokenizer, &asked));
    assert_int_equal(kd_windows_count(windows), 3);
    assert_int_equal(kd_windows_dropped(windows), 16 + 23 - 33);
    for (int64_t i = 0; i < 3; i++) {
        good(kd_windows_plan(&plan, windows, i, false));
        good(kd_windows_plan(&packed, &pack.part[KD_PART_TRAIN].windows, i, false));
        assert_memory_equal(plan.token, packed.token, 12 * sizeof *plan.token);
        assert_memory_equal(plan.target, packed.target, 12 * sizeof *plan.target);
        for (int64_t n = 0; n < plan.N; n++) assert_int_equal(plan.position[plan.start[n]], 1);  /* asked for now, not when it was packed */
        kd_plan_free(&plan);
        kd_plan_free(&packed);
    }
    kd_windows_free(windows);
    good(kd_windows_of_pack(&windows, options.folder, "train", tokenizer, NULL));
    assert_int_equal(kd_windows_count(windows), 3);
    kd_windows_free(windows);
    wrong.window = 13;
    assert_int_equal(kd_windows_of_pack(&windows, options.folder, "train", tokenizer, &wrong), KD_ECONFIG);
    assert_null(windows);
    kd_pack_close(&pack);
    kd_tokenizer_free(tokenizer);
}

/* ---- models -------------------------------------------------------------------------------------------------------------------- */

/* One text as a plan. */
static void plan_of(kd_plan *plan, const int32_t *token, int64_t count) {
    const kd_plan_options options = {.mask = KD_MASK_FULL};
    const kd_piece piece = {.next = -1};
    const kd_chunk chunk = {.token = token, .count = count};
    good(kd_plan_init(plan, &options, &piece, 1, &chunk, 1));
}

static void a_model_gives_transformers_logits(void **state) {
    static const char *const folder[] = {"tests/golden/llama-grouped", "tests/golden/qwen2"};
    kd_ctx *ctx;
    (void)state;
    good(kd_ctx_open(&ctx, 2));
    for (int f = 0; f < 2; f++) {
        char path[100];
        kd_tensors *expected;
        kd_tensor_spec spec;
        kd_model *model;
        kd_plan plan;
        snprintf(path, sizeof path, "%s/expected.safetensors", folder[f]);
        good(kd_tensors_new(&expected, path));
        kd_tensor_describe(&spec, kd_tensors_find(expected, "logits"));
        int64_t T = spec.shape[0], V = spec.shape[1], wide[300];
        float *wanted = malloc((size_t)(T * V) * 4), *logits = malloc((size_t)(T * V) * 4), *again = malloc((size_t)(T * V) * 4), most = 0;
        double loss[300], longer[300];
        int32_t token[300];
        assert_true(wanted && logits && again && T < 300);
        good(kd_tensor_read_f32(wanted, kd_tensors_find(expected, "logits"), 0, T * V));
        good(kd_tensor_read_i64(wide, kd_tensors_find(expected, "tokens"), 0, T));
        for (int64_t t = 0; t < T; t++) token[t] = (int32_t)wide[t];
        plan_of(&plan, token, T);
        good(kd_model_new(&model, ctx, folder[f], T, KD_FRAME_WINDOW, KD_PRECISION_EXACT));
        assert_int_equal(kd_model_vocabulary(model), V);
        assert_int_equal(kd_model_token_losses(model, loss), KD_EARG);
        assert_int_equal(kd_model_logits(model, logits, 0, 1), KD_EARG);
        good(kd_model_read(model, &plan));
        good(kd_model_logits(model, logits, 0, T));
        good(kd_model_token_losses(model, loss));
        for (int64_t i = 0; i < T * V; i++) most = fmaxf(most, fabsf(wanted[i]));
        for (int64_t i = 0; i < T * V; i++) assert_true(fabsf(logits[i] - wanted[i]) <= 2e-5f * most);
        for (int64_t t = 0; t < T; t++) {
            double sum = 0;
            for (int64_t v = 0; v < V; v++) sum += exp((double)logits[t * V + v]);
            double nats = plan.target[t] < 0 ? 0 : log(sum) - (double)logits[t * V + plan.target[t]];
            assert_true(fabs(nats - loss[t]) < 1e-5);
        }
        kd_model_free(model);

        /* Behind it there is room: no bit of it changes, nor of its beginning alone. */
        good(kd_model_new(&model, ctx, folder[f], T + 37, KD_FRAME_WINDOW, KD_PRECISION_EXACT));
        good(kd_model_read(model, &plan));
        kd_plan_free(&plan);
        good(kd_model_logits(model, again, 3, T - 3));
        assert_memory_equal(again, logits + 3 * V, (size_t)((T - 3) * V) * 4);
        good(kd_model_token_losses(model, longer));
        assert_memory_equal(longer, loss, (size_t)T * sizeof *loss);
        assert_int_equal(kd_model_logits(model, again, 3, T - 2), KD_EARG);
        plan_of(&plan, token, 5);
        good(kd_model_read(model, &plan));
        kd_plan_free(&plan);
        good(kd_model_logits(model, again, 0, 5));
        assert_memory_equal(again, logits, (size_t)(5 * V) * 4);
        token[2] = (int32_t)V;
        plan_of(&plan, token, 5);
        assert_int_equal(kd_model_read(model, &plan), KD_EARG);
        assert_int_equal(kd_model_token_losses(model, loss), KD_EARG);
        kd_plan_free(&plan);
        kd_model_free(model);
        kd_tensors_free(expected);
        free(wanted);
        free(logits);
        free(again);
    }
    kd_ctx_close(ctx);
}

static void a_model_that_is_none_is_refused(void **state) {
    kd_ctx *ctx;
    kd_model *model;
    (void)state;
    good(kd_ctx_open(&ctx, 1));
    assert_int_equal(kd_model_new(&model, ctx, "tests/golden", 10, KD_FRAME_WINDOW, KD_PRECISION_EXACT), KD_EIO);
    assert_null(model);
    assert_int_equal(kd_model_new(&model, ctx, "tests/golden/mistral", 81, KD_FRAME_WINDOW, KD_PRECISION_EXACT), KD_ENOTSUP);
    assert_non_null(strstr(kd_message(), "lets a token see 80"));
    assert_int_equal(kd_model_new(&model, ctx, "tests/golden/mistral", 0, KD_FRAME_WINDOW, KD_PRECISION_EXACT), KD_EARG);
    assert_int_equal(kd_model_new(&model, ctx, "tests/golden/mistral", 8, KD_FRAME_WINDOW, KD_PRECISIONS), KD_EARG);
    assert_null(model);
    kd_model_free(model);
    kd_ctx_close(ctx);
}

/* A packed window is what its documents are alone, each behind the anchor. */
static void documents_of_a_window_do_not_meet_in_a_model(void **state) {
    enum { T = 40 };
    int32_t token[T - 1];
    const int64_t start[] = {0, 11, 30, T - 1}, alone_start[] = {0, 19};
    const kd_window_options options = {.window = T, .mask = KD_MASK_ANCHOR, .reset = true};
    const kd_window_options alone = {.window = 20, .mask = KD_MASK_ANCHOR, .reset = true};
    kd_ctx *ctx;
    kd_model *model;
    kd_windows *windows;
    kd_plan plan;
    double together[T], single[T];
    (void)state;
    for (int i = 0; i < T - 1; i++) token[i] = 3 + i * 7 % 50;
    good(kd_ctx_open(&ctx, 2));
    good(kd_model_new(&model, ctx, "tests/golden/llama-grouped", T, KD_FRAME_DOCUMENT, KD_PRECISION_EXACT));
    good(kd_windows_new(&windows, &options, token, NULL, start, 3, 1, 2));
    good(kd_windows_plan(&plan, windows, 0, false));
    good(kd_model_read(model, &plan));
    good(kd_model_token_losses(model, together));
    kd_plan_free(&plan);
    kd_windows_free(windows);
    good(kd_windows_new(&windows, &alone, token + 11, NULL, alone_start, 1, 1, 2));
    good(kd_windows_plan(&plan, windows, 0, false));
    good(kd_model_read(model, &plan));
    good(kd_model_token_losses(model, single));
    assert_memory_equal(together + 12, single + 1, 19 * sizeof *single);
    assert_true(single[1] > 0);
    kd_plan_free(&plan);
    kd_windows_free(windows);
    kd_model_free(model);
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_a_tokenizer),
        cmocka_unit_test(a_tokenizer_serves_many_threads),
        cmocka_unit_test(tensors_come_back_as_they_were_written),
        cmocka_unit_test(windows_are_filled_with_documents_in_order),
        cmocka_unit_test(training_order_has_every_window_once_a_pass),
        cmocka_unit_test(windows_of_a_pack_are_those_that_were_packed),
        cmocka_unit_test(a_model_gives_transformers_logits),
        cmocka_unit_test(a_model_that_is_none_is_refused),
        cmocka_unit_test(documents_of_a_window_do_not_meet_in_a_model),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}

/* The CUDA device: contexts by name, memory, copies, faults that kernels note, tables that the host makes for it. */
#include "cuda_test.h"
#include "dev/memory.h"
#include "dev/peak.h"

#if defined(KD_CUDA)
#include "dev/cuda.h"
#endif

static void devices_have_names(void **state) {
    static const char *const wrong[] = {"", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:1x", "cuda:-1", "cuda:12345", "hosts"};
    kd_ctx *ctx;
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(kd_ctx_open_device(&ctx, wrong[i], 1), KD_ECONFIG);
        assert_null(ctx);
        assert_non_null(strstr(kd_message(), "one of host, cuda, or cuda:N"));
    }
    gpu_done(kd_ctx_open_device(&ctx, "host", 3));
    assert_string_equal(ctx->device->name, "host");
    assert_int_equal(kd_pool_threads(ctx->pool), 3);
    assert_int_equal(ctx->block, 512);
    assert_null(ctx->cuda);
    assert_int_equal(kd_ctx_use_stream(ctx, NULL), KD_EARG);
    assert_non_null(strstr(kd_message(), "device host has no streams"));
    gpu_done(kd_ctx_finish(ctx));
    int64_t left, all;
    gpu_done(kd_device_memory(ctx, &left, &all));
    assert_true(left > 0 && left <= all && all == kd_memory_total());
    kd_ctx_close(ctx);
}

static void what_is_not_there_is_said(void **state) {
    char words[200], version[32];
    kd_ctx *ctx = (kd_ctx *)&words;
    (void)state;
    kd_cuda_version(version);
    assert_int_equal(kd_ctx_open_device(&ctx, "cuda:9999", 1), KD_ENOTSUP);
    assert_null(ctx);
    assert_int_equal(kd_cuda_gpu_words(words, 9999), KD_ENOTSUP);
    assert_string_equal(words, "");
#if defined(KD_CUDA)
    assert_true(version[0] >= '1' && strchr(version, '.'));
    assert_non_null(strstr(kd_message(), "cuda:9999: "));
#else
    assert_string_equal(version, "");
    assert_non_null(strstr(kd_message(), "this build has no CUDA"));
#endif
}

/* Whatever GPU is here. */
static void every_gpu_has_its_code(void **state) {
    (void)state;
#if defined(KD_CUDA)
    static const struct { int major, minor; kd_isa isa; } gpu[] = {{8, 0, KD_ISA_SM80}, {8, 6, KD_ISA_SM80}, {8, 9, KD_ISA_SM80},
                                                                   {9, 0, KD_ISA_SM90}, {9, 1, KD_ISA_SM80}, {10, 0, KD_ISA_SM80},
                                                                   {12, 0, KD_ISA_SM80}};
    kd_isa isa;
    for (size_t i = 0; i < sizeof gpu / sizeof *gpu; i++) {
        gpu_done(kd_cuda_isa(&isa, "GPU", gpu[i].major, gpu[i].minor));
        assert_int_equal(isa, gpu[i].isa);
    }
    assert_int_equal(kd_cuda_isa(&isa, "Tesla T4", 7, 5), KD_ENOTSUP);
    assert_non_null(strstr(kd_message(), "Tesla T4 has compute capability 7.5"));
    assert_int_equal(kd_cuda_block(1), 64);
    assert_int_equal(kd_cuda_block(4), 64);
    assert_int_equal(kd_cuda_block(40), 1024);
    assert_int_equal(kd_cuda_block(132), 4096);
    assert_int_equal(kd_cuda_block(1000), 4096);
#endif
}

static void a_context_knows_its_device(void **state) {
    kd_ctx *ctx = gpu_open(), *other;
    char words[200];
    int64_t left, all;
    (void)state;
    assert_string_equal(ctx->device->name, "cuda");
    assert_false(ctx->device->host_may_touch);
    assert_true(ctx->isa == KD_ISA_SM80 || ctx->isa == KD_ISA_SM90);
    assert_true(ctx->block >= 64 && ctx->block <= 4096 && !(ctx->block & (ctx->block - 1)));
    assert_int_equal(kd_pool_threads(ctx->pool), 2);
    gpu_done(kd_device_memory(ctx, &left, &all));
    assert_true(left > 0 && left <= all);
    gpu_done(kd_cuda_gpu_words(words, 0));
    assert_non_null(strstr(words, "compute capability"));
    gpu_done(kd_ctx_open_device(&other, "cuda:0", 1));
    kd_ctx_close(other);
    kd_ctx_close(ctx);
}

static void kedge_isa_caps_its_own_kind(void **state) {
    kd_ctx *ctx = gpu_open();  /* skips where there is no GPU */
    const char *old = getenv("KEDGE_ISA");
    char *kept = old ? strdup(old) : NULL;
    kd_isa best = ctx->isa;
    (void)state;
    kd_ctx_close(ctx);
    setenv("KEDGE_ISA", "sm80", 1);
    gpu_done(kd_ctx_open_device(&ctx, "cuda", 1));
    assert_int_equal(ctx->isa, KD_ISA_SM80);
    kd_ctx_close(ctx);
    setenv("KEDGE_ISA", "ref", 1);
    gpu_done(kd_ctx_open_device(&ctx, "cuda", 1));
    assert_true(ctx->isa >= best);
    kd_ctx_close(ctx);
    if (kept) setenv("KEDGE_ISA", kept, 1);
    else unsetenv("KEDGE_ISA");
    free(kept);
}

static void memory_begins_as_zeros(void **state) {
    static const int64_t size[] = {1, 64, 4097, 1 << 20, 20 << 20};
    kd_ctx *ctx = gpu_open();
    (void)state;
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        for (int again = 0; again < 2; again++) {  /* again: what was given back is handed out once more */
            void *memory;
            char *host = malloc((size_t)size[i]);
            assert_non_null(host);
            memset(host, 1, (size_t)size[i]);
            gpu_done(ctx->device->alloc(ctx, &memory, size[i]));
            assert_int_equal((uintptr_t)memory % 256, 0);
            gpu_done(ctx->device->get(ctx, host, memory, size[i]));
            for (int64_t b = 0; b < size[i]; b++) assert_int_equal(host[b], 0);
            gpu_fill(ctx, memory, 0xff, size[i]);
            ctx->device->release(ctx, memory, size[i]);
            free(host);
        }
    kd_ctx_close(ctx);
}

static void more_than_there_is_cannot_be_had(void **state) {
    kd_ctx *ctx = gpu_open();
    void *memory = ctx;
    (void)state;
    assert_int_equal(ctx->device->alloc(ctx, &memory, (int64_t)1 << 50), KD_ENOMEM);
    assert_null(memory);
    assert_non_null(strstr(kd_message(), "1125899906842624 bytes on cuda:0"));
    kd_arena arena = {.used = 4096};
    assert_int_equal(kd_ctx_place_in(ctx, &arena, "."), KD_ENOTSUP);
    gpu_done(kd_ctx_place(ctx, &arena));  /* and nothing is the worse for it */
    kd_ctx_unplace(ctx, &arena);
    kd_ctx_close(ctx);
}

static unsigned char pattern(int64_t i, int64_t salt) { return (unsigned char)((uint64_t)(i * 31 + salt) * 2654435761u >> 13); }

static void copies_of_all_sizes_come_back(void **state) {
    static const int64_t size[] = {1, 3, 63, 64, 65, 4095, 100003, (8 << 20) - 64, 8 << 20, (8 << 20) + 1, 33 << 20};
    kd_ctx *ctx = gpu_open();
    (void)state;
    for (size_t s = 0; s < sizeof size / sizeof *size; s++) {
        unsigned char *host = malloc((size_t)size[s]), *back = malloc((size_t)size[s]);
        assert_true(host && back);
        for (int64_t i = 0; i < size[s]; i++) host[i] = pattern(i, (int64_t)s);
        void *memory = gpu_take(ctx, size[s]);
        gpu_done(ctx->device->put(ctx, memory, host, size[s]));
        memset(host, 0, (size_t)size[s]);  /* a copy is done with it when it returns */
        gpu_done(ctx->device->get(ctx, back, memory, size[s]));
        for (int64_t i = 0; i < size[s]; i++)
            if (back[i] != pattern(i, (int64_t)s)) fail_msg("%lld bytes: byte %lld", (long long)size[s], (long long)i);
        free(host);
        free(back);
        gpu_drop(ctx);
    }
    kd_ctx_close(ctx);
}

/* More than the ring of pinned memory holds, several times, in pieces of changing size that do not fill it evenly. */
static void many_small_copies_keep_their_order(void **state) {
    enum { PIECES = 700, MOST = 150000 };
    kd_ctx *ctx = gpu_open();
    static unsigned char host[MOST];
    static int64_t at[PIECES + 1];
    (void)state;
    for (int64_t p = 0; p < PIECES; p++) at[p + 1] = at[p] + 1 + p * 7919 % MOST;
    unsigned char *memory = gpu_take(ctx, at[PIECES]), *back = malloc((size_t)at[PIECES]);
    assert_non_null(back);
    for (int64_t turn = 0; turn < 2; turn++)  /* the second overwrites the first */
        for (int64_t p = 0; p < PIECES; p++) {
            int64_t count = at[p + 1] - at[p];
            for (int64_t i = 0; i < count; i++) host[i] = pattern(i, p + turn);
            gpu_done(ctx->device->put(ctx, memory + at[p], host, count));
        }
    gpu_done(ctx->device->get(ctx, back, memory, at[PIECES]));
    for (int64_t p = 0; p < PIECES; p++)
        for (int64_t i = at[p]; i < at[p + 1]; i++)
            if (back[i] != pattern(i - at[p], p + 1)) fail_msg("piece %lld, byte %lld", (long long)p, (long long)(i - at[p]));
    free(back);
    gpu_drop(ctx);
    kd_ctx_close(ctx);
}

static void two_contexts_do_not_meet(void **state) {
    kd_ctx *a = gpu_open(), *b;
    int32_t one[1000], two[1000], back[1000];
    void *x, *y;
    (void)state;
    gpu_done(kd_ctx_open_device(&b, "cuda", 1));
    for (int i = 0; i < 1000; i++) one[i] = i, two[i] = -i;
    gpu_done(a->device->alloc(a, &x, sizeof one));
    gpu_done(b->device->alloc(b, &y, sizeof two));
    gpu_done(a->device->put(a, x, one, sizeof one));
    gpu_done(b->device->put(b, y, two, sizeof two));
    gpu_done(a->device->get(a, back, x, sizeof back));
    assert_memory_equal(back, one, sizeof one);
    gpu_done(b->device->get(b, back, y, sizeof back));
    assert_memory_equal(back, two, sizeof two);
    b->device->release(b, y, sizeof two);
    kd_ctx_close(b);
    gpu_done(a->device->get(a, back, x, sizeof back));
    assert_memory_equal(back, one, sizeof one);
    a->device->release(a, x, sizeof one);
    kd_ctx_close(a);
}

static void a_stream_may_be_the_callers(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
#if defined(KD_CUDA)
    cudaStream_t mine, own = ctx->cuda->stream;
    int32_t number[1000], back[1000];
    assert_int_equal(cudaStreamCreateWithFlags(&mine, cudaStreamNonBlocking), cudaSuccess);
    void *const stream[] = {mine, mine, NULL, mine};  /* the same once more; CUDA's default stream, and back */
    int32_t *memory = gpu_take(ctx, sizeof number);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 1000; j++) number[j] = 1000 * i + j;
        gpu_done(ctx->device->put(ctx, memory, number, sizeof number));  /* on the stream of before */
        gpu_done(kd_ctx_use_stream(ctx, stream[i]));
        assert_ptr_equal(ctx->cuda->stream, stream[i]);
        gpu_done(ctx->device->get(ctx, back, memory, sizeof back));
        assert_memory_equal(number, back, sizeof back);
    }
    gpu_done(kd_ctx_finish(ctx));
    gpu_drop(ctx);
    assert_ptr_equal(ctx->cuda->own, own);
    kd_ctx_close(ctx);
    assert_int_equal(cudaStreamSynchronize(mine), cudaSuccess);  /* it is the caller's still */
    assert_int_equal(cudaStreamDestroy(mine), cudaSuccess);
#else
    kd_ctx_close(ctx);
#endif
}

static void a_fault_is_reported_once(void **state) {
    kd_ctx *ctx = gpu_open();
    (void)state;
#if defined(KD_CUDA)
    static const struct { int32_t fault[4]; const char *words; } fault[] = {
        {{KD_CUDA_BAD_TOKEN, 3, 99, 0}, "token 99 at 3"},
        {{KD_CUDA_BAD_TARGET, 70000, -2, 0}, "token -2 at 70000"},
    };
    char byte;
    for (size_t i = 0; i < 2 * sizeof fault / sizeof *fault; i++) {
        const int32_t *f = fault[i / 2].fault;
        gpu_done(ctx->device->put(ctx, ctx->cuda->fault, f, sizeof fault[0].fault));
        kd_status status = i % 2 ? ctx->device->finish(ctx) : ctx->device->get(ctx, &byte, ctx->cuda->fault, 1);
        assert_int_equal(status, KD_EARG);
        assert_non_null(strstr(kd_message(), fault[i / 2].words));
        gpu_done(ctx->device->finish(ctx));
    }
#endif
    kd_ctx_close(ctx);
}

/* A table of each kind, and that of two levels: the host's bits. */
static void rotations_are_the_hosts(void **state) {
    enum { E = 8 };
    static const struct { kd_precision precision; int64_t positions; } rope[] = {
        {KD_PRECISION_EXACT, 1000}, {KD_PRECISION_BF16, 300}, {KD_PRECISION_EXACT, 300000}, {KD_PRECISION_F32_ANGLE, 1}};
    double inv_freq[E / 2] = {1, 0.25, 0.0625, 0.015625};
    kd_ctx *ctx = gpu_open(), *host = nn_open(2);
    (void)state;
    for (size_t i = 0; i < sizeof rope / sizeof *rope; i++) {
        kd_rope here, there;
        int64_t P = rope[i].positions;
        gpu_done(kd_rope_init_for(&here, host, rope[i].precision, inv_freq, E, P));
        gpu_done(kd_rope_init_for(&there, ctx, rope[i].precision, inv_freq, E, P));
        const struct { const void *here, *there; int64_t bytes; } array[] = {{here.table, there.table, P * E * 4},
                                                                             {here.exact, there.exact, P * E * 4},
                                                                             {here.coarse, there.coarse, (P / 256 + 1) * E * 8},
                                                                             {here.fine, there.fine, 256 * E * 8}};
        for (int k = 0; k < 4; k++) {
            assert_int_equal(!array[k].here, !array[k].there);
            if (!array[k].here) continue;
            void *back = nn_take(array[k].bytes);
            gpu_done(ctx->device->get(ctx, back, array[k].there, array[k].bytes));
            nn_assert_same(back, array[k].here, array[k].bytes);
        }
        kd_rope_free(&here, host);
        kd_rope_free(&there, ctx);
        nn_drop();
    }
    kd_ctx_close(host);
    kd_ctx_close(ctx);
}

static void copies_within_its_memory_have_a_speed(void **state) {
    kd_ctx *ctx = gpu_open();
    double speed = 0, flops;
    (void)state;
    gpu_done(kd_peak_bandwidth(&speed, ctx));
    assert_true(speed > 0 && isfinite(speed));
    kd_ctx_close(ctx);
    ctx = nn_open(1);
    assert_int_equal(kd_peak_gemm(&flops, ctx), KD_ENOTSUP);
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_have_names),
        cmocka_unit_test(what_is_not_there_is_said),
        cmocka_unit_test(every_gpu_has_its_code),
        cmocka_unit_test(a_context_knows_its_device),
        cmocka_unit_test(kedge_isa_caps_its_own_kind),
        cmocka_unit_test(memory_begins_as_zeros),
        cmocka_unit_test(more_than_there_is_cannot_be_had),
        cmocka_unit_test(copies_of_all_sizes_come_back),
        cmocka_unit_test(many_small_copies_keep_their_order),
        cmocka_unit_test(two_contexts_do_not_meet),
        cmocka_unit_test(a_stream_may_be_the_callers),
        cmocka_unit_test(a_fault_is_reported_once),
        cmocka_unit_test(rotations_are_the_hosts),
        cmocka_unit_test(copies_within_its_memory_have_a_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

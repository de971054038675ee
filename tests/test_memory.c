/* Memory: nothing is asked for in a step but the first, and what a plan predicts is what a run takes. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"
#include "dev/memory.h"
#include "format/json.h"
#include "train/optimizer.h"

/* ---- every way to get memory, counted while `counting` ------------------------------------------------------- */

static atomic_bool counting;
static atomic_llong asked;

#if defined(__GLIBC__) && !SANITIZED
#define INTERPOSED true
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t align, size_t size);

static void count(void) {
    if (atomic_load(&counting)) atomic_fetch_add(&asked, 1);
}

void *malloc(size_t size) { return count(), __libc_malloc(size); }
void *calloc(size_t number, size_t size) { return count(), __libc_calloc(number, size); }
void *realloc(void *old, size_t size) { return count(), __libc_realloc(old, size); }
void *aligned_alloc(size_t align, size_t size) { return count(), __libc_memalign(align, size); }

int posix_memalign(void **out, size_t align, size_t size) {
    count();
    *out = __libc_memalign(align, size);
    return *out ? 0 : 12;
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    count();
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}
#else
#define INTERPOSED false
#endif

/* ---- a step ------------------------------------------------------------------------------------------------- */

enum { T = 1536 };

/* A window of documents of `length` tokens. */
static kd_plan make_plan(kd_mask mask, int64_t length) {
    static int32_t token[T];
    static kd_piece piece[T];
    static kd_chunk chunk[T];
    int64_t text = T - (mask == KD_MASK_ANCHOR), N = 0;
    for (int64_t used = 0; used < text; N++) {
        int64_t n = text - used < length ? text - used : length;
        piece[N].next = -1;
        chunk[N] = (kd_chunk){N, token, n, NULL};
        used += n;
    }
    kd_plan plan;
    assert_done(kd_plan_init(&plan, &(kd_plan_options){.mask = mask}, piece, N, chunk, N));
    assert_int_equal(plan.T, T);
    return plan;
}

static void step(kd_model *model, kd_optimizer *optimizer, const kd_plan *plan) {
    kd_step_sums sums;
    const kd_adamw adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    assert_done(kd_model_forward(model, &plan, 1, 0));
    assert_done(kd_model_backward(model, 1.0f / T));
    assert_done(kd_model_gradient_finish(model, 1));
    assert_done(kd_optimizer_step(optimizer, &sums, model, &adamw, T));
    assert_done(kd_model_forward(model, &plan, 1, 0));  /* validation */
    assert_done(kd_model_loss(model));
}

static void the_second_step_asks_for_no_memory_whatever_its_documents(void **state) {
    static const struct { kd_mask mask; int64_t length; } window[] = {
        {KD_MASK_DOCUMENT, 513}, {KD_MASK_ANCHOR, T}, {KD_MASK_ANCHOR, 1}, {KD_MASK_ANCHOR, 529}, {KD_MASK_FULL, T}};
    (void)state;
    if (!INTERPOSED) skip();
    char *text;
    kd_config config;
    kd_ctx *ctx;
    kd_model *model;
    kd_optimizer optimizer;
    assert_done(kd_config_preset(&text, "qwen2", "tiny", &(kd_tokenizer){.bos = 256, .eos = 257}, 300, T));
    assert_done(kd_config_parse(&config, text, (int64_t)strlen(text), "tiny"));
    for (kd_recompute recompute = KD_RECOMPUTE_LAYER; recompute <= KD_RECOMPUTE_NONE; recompute++) {
        assert_done(kd_ctx_open(&ctx, 2));
        kd_model_options options = {.window = T, .windows = 1, .micro = 1, .leaves = 8, .recompute = recompute, .frame = KD_FRAME_DOCUMENT,
                                    .training = true};
        assert_done(kd_model_open(&model, ctx, &config, &options));
        assert_done(kd_model_init(model, &config, 5));
        assert_done(kd_optimizer_open(&optimizer, ctx, model, &(kd_optimizer_options){0}));
        kd_plan first = make_plan(KD_MASK_DOCUMENT, 100);
        step(model, &optimizer, &first);
        kd_plan_free(&first);
        for (size_t i = 0; i < sizeof window / sizeof *window; i++) {
            kd_plan plan = make_plan(window[i].mask, window[i].length);
            atomic_store(&asked, 0);
            atomic_store(&counting, true);
            step(model, &optimizer, &plan);
            atomic_store(&counting, false);
            assert_int_equal(atomic_load(&asked), 0);
            kd_plan_free(&plan);
        }
        kd_optimizer_close(&optimizer);
        kd_model_close(model);
        kd_ctx_close(ctx);
    }
    kd_config_close(&config);
    free(text);
}

/* ---- the command -------------------------------------------------------------------------------------------- */

static char kedge[1024];

/* Runs the command with its output in scratch/out; the exit code, and the most memory it had in bytes. */
static int command(int64_t *memory, const char *const *word) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        if (!freopen(in_scratch("out"), "w", stdout) || !freopen(in_scratch("err"), "w", stderr)) _exit(127);
        execv(kedge, (char *const *)word);
        _exit(127);
    }
    int status;
    struct rusage usage;
    assert_int_equal(wait4(child, &status, 0, &usage), child);
    *memory = (int64_t)usage.ru_maxrss * 1024;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int64_t number(const json_t *plan, const char *group, const char *key) {
    return json_integer_value(json_object_get(group ? json_object_get(plan, group) : plan, key));
}

/* Short documents of words, about `bytes` in all, and a run file. */
static void write_run(int64_t bytes, const char *window, const char *recompute, int64_t windows) {
    FILE *data = fopen(in_scratch("text.jsonl"), "w");
    assert_non_null(data);
    for (int64_t i = 0, used = 0; used < bytes; i++) {
        int64_t length = 40 + i * 37 % 300;
        fprintf(data, "{\"text\": \"");
        for (int64_t c = 0; c < length; c++) fputc('a' + (int)((i + c * c) % 26), data);
        fprintf(data, "\"}\n");
        used += length;
    }
    fclose(data);
    char text[2048];
    snprintf(text, sizeof text,
             "model: {init: {arch: llama, preset: 10m}}\ntokenizer: bytes\ndata: {train: [%s]}\nwindow: %s\n"
             "batch: {windows: %lld}\nsteps: 1\nrecompute: %s\noutput: %s\n",
             in_scratch("text.jsonl"), window, (long long)windows, recompute, in_scratch("run"));
    scratch_text("run.yaml", text);
}

static json_t *plan_run(int expected) {
    int64_t memory;
    json_t *plan;
    const char *word[] = {"kedge", "plan", in_scratch("run.yaml"), "--json", "--no-time", NULL};
    assert_int_equal(command(&memory, word), expected);
    assert_done(kd_json_load(&plan, in_scratch("out")));
    return plan;
}

static void a_plan_predicts_the_memory_of_a_run_within_a_twentieth(void **state) {
    static const struct { const char *window, *recompute; int64_t windows; } run[] = {{"1K", "none", 2}, {"2K", "layer", 1}};
    (void)state;
    if (!INTERPOSED) skip();
    for (size_t i = 0; i < sizeof run / sizeof *run; i++) {
        write_run(40000, run[i].window, run[i].recompute, run[i].windows);
        json_t *plan = plan_run(0);
        double said = (double)number(plan, "memory", "total");
        json_decref(plan);
        int64_t memory;
        const char *word[] = {"kedge", "train", in_scratch("run.yaml"), "--quiet", NULL};
        assert_int_equal(command(&memory, word), 0);
        if ((double)memory < said * 0.95 || (double)memory > said * 1.05)
            fail_msg("%.1f MiB were predicted, %.1f MiB were used", said / (1 << 20), (double)memory / (1 << 20));
        assert_done(kd_remove_tree(in_scratch("run")));
    }
}

static void a_window_of_128k_of_short_documents_fits_into_4_gib(void **state) {
    (void)state;
    write_run(140000, "128K", "layer", 1);
    json_t *plan = plan_run(0);
    assert_int_equal(number(plan, NULL, "tokens_per_step"), 131072);
    assert_in_range(number(plan, "memory", "total"), (int64_t)2 << 30, (int64_t)4 << 30);
    json_decref(plan);
}

static void what_will_not_fit_is_said_before(void **state) {
    (void)state;
    write_run(40000, "32K", "none", 1);
    int64_t memory;
    const char *word[] = {"kedge", "plan", in_scratch("run.yaml"), "--no-time", "--set", "batch.windows=4096",
                          "--set", "batch.micro=4096", NULL};
    assert_int_equal(command(&memory, word), 1);
    char *text;
    int64_t size;
    assert_done(kd_file_read(&text, &size, in_scratch("err"), 1 << 16));
    assert_non_null(strstr(text, "it will not fit"));
    free(text);
}

static void memory_of_this_process_is_known(void **state) {
    (void)state;
    int64_t before = kd_memory_resident();
    assert_true(before > 0 && kd_memory_peak() >= before && kd_memory_available() > 0);
    volatile char *block = malloc(64 << 20);
    assert_non_null(block);
    for (int64_t i = 0; i < 64 << 20; i += 4096) block[i] = 1;
    assert_true(kd_memory_resident() - before > 60 << 20);
    free((void *)block);
    assert_true(kd_memory_peak() - before > 60 << 20);
}

/* Bytes that only this process has: those the system cannot put back where they came from. */
static int64_t anonymous(void) {
    char line[256];
    long long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "RssAnon: %lld", &kib);
    if (f) fclose(f);
    return kib * 1024;
}

static void memory_in_a_file_can_be_given_back(void **state) {
    (void)state;
    enum { BYTES = 64 << 20 };
    kd_ctx *ctx;
    kd_paths names;
    kd_arena arena = {.used = BYTES};
    const char *folder = in_scratch("files");
    assert_done(kd_ctx_open(&ctx, 1));
    int64_t before = anonymous();
    assert_done(kd_ctx_place_in(ctx, &arena, folder));
    assert_int_equal(arena.size, BYTES);
    for (int64_t i = 0; i < BYTES; i += 512) {
        assert_int_equal(arena.base[i], 0);
        arena.base[i] = (char)(i >> 9);
    }
    assert_true(SANITIZED || before < 0 || anonymous() - before < BYTES / 8);  /* a sanitizer has shadows of its own */
    for (int64_t i = 0; i < BYTES; i += 512) assert_int_equal(arena.base[i], (char)(i >> 9));
    assert_done(kd_list_folder(&names, folder));
    assert_int_equal(names.count, 0);  /* nothing is left, however the program ends */
    kd_paths_free(&names);
    kd_ctx_unplace(ctx, &arena);
    arena.used = (int64_t)1 << 50;
    assert_fails(kd_ctx_place_in(ctx, &arena, folder), KD_EIO, "a file of 1125899906842624 bytes");
    kd_ctx_close(ctx);
    assert_done(kd_ctx_open_on(&ctx, &kd_device_guard, 1));
    arena.used = BYTES;
    assert_fails(kd_ctx_place_in(ctx, &arena, folder), KD_ENOTSUP, "guard");
    kd_ctx_close(ctx);
}

int main(int argc, char **argv) {
    (void)argc;
    char *slash = strrchr(argv[0], '/');  /* build/gcc/tests/test_memory, beside build/gcc/kedge */
    snprintf(kedge, sizeof kedge, "%.*s/../kedge", slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
    if (!INTERPOSED) printf("skipped: 2 facts about memory: the sanitizers have their own allocator\n");
    const struct CMUnitTest test[] = {
        cmocka_unit_test(the_second_step_asks_for_no_memory_whatever_its_documents),
        cmocka_unit_test(a_plan_predicts_the_memory_of_a_run_within_a_twentieth),
        cmocka_unit_test(a_window_of_128k_of_short_documents_fits_into_4_gib),
        cmocka_unit_test(what_will_not_fit_is_said_before),
        cmocka_unit_test(memory_of_this_process_is_known),
        cmocka_unit_test(memory_in_a_file_can_be_given_back),
    };
    return cmocka_run_group_tests(test, scratch_open, scratch_close);
}

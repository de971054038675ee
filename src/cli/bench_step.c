/* kedge bench step: a whole training step, and what each operation takes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/attn.h"
#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "bench.h"
#include "bench_windows.h"
#include "cli.h"
#include "dev/memory.h"
#include "dev/peak.h"
#include "train/optimizer.h"
#include "train/speed.h"

enum { STEPS_MOST = 1000 };

typedef struct options {
    const char *device, *dtype, *moments, *preset, *config, *mask, *recompute, *pack, *tokenizer;
    int64_t window, windows, leaves, vocabulary, length, steps, threads;
    bool offload, json;
} options;

/* What is timed. */
typedef struct bench {
    kd_ctx *ctx;
    kd_config config;
    kd_model *model;
    kd_optimizer optimizer;
    kd_bench_windows windows;
    int64_t tokens, pairs, documents;  /* of all windows */
    kd_clock clock;
} bench;

static kd_status open_config(kd_config *config, const options *o) {
    char *text = NULL;
    int64_t size = 0;
    const kd_tokenizer bytes = {.bos = KD_BYTES_BOS, .eos = KD_BYTES_EOS, .vocabulary = KD_BYTES_VOCABULARY};
    if (o->config) KD_TRY(kd_file_read(&text, &size, o->config, 16 << 20));
    else KD_TRY(kd_config_preset(&text, "llama", o->preset, &bytes, o->vocabulary, o->window));
    if (!o->config) size = (int64_t)strlen(text);
    kd_status status = kd_config_parse(config, text, size, o->config ? o->config : "bench step");
    free(text);
    return status;
}

/* Documents of `length` tokens, random ones, that fill a window; 0: one document. */
static kd_status make_plan(kd_plan *plan, const options *o, const kd_config *config, uint64_t window) {
    bool anchor = !strcmp(o->mask, "anchor");
    int64_t text = o->window - anchor;
    const kd_plan_options layout = {.mask = anchor ? KD_MASK_ANCHOR : strcmp(o->mask, "full") ? KD_MASK_DOCUMENT : KD_MASK_FULL,
                                    .predict_boundary = true};
    int32_t *token;
    KD_TRY(kd_new(&token, text, sizeof *token));
    for (int64_t i = 0; i < text; i++) token[i] = (int32_t)(kd_random_bits(1, window, (uint64_t)i) % (uint64_t)config->V);
    kd_status status = kd_plan_init_even(plan, &layout, token, text, o->length ? o->length : text);
    free(token);
    return status;
}

static kd_status open_windows(bench *b, const options *o) {
    const kd_bench_windows_options of_pack = {.pack = o->pack, .tokenizer = o->tokenizer, .windows = o->windows};
    kd_bench_windows *w = &b->windows;
    if (o->pack) {
        KD_TRY(kd_bench_windows_open(w, &of_pack));
    } else {
        w->tokens = o->window;
        KD_TRY(kd_new(&w->plan, o->windows, sizeof *w->plan));
        for (; w->count < o->windows; w->count++) KD_TRY(make_plan(&w->plan[w->count], o, &b->config, (uint64_t)w->count));
    }
    b->tokens = w->count * w->tokens;
    for (int64_t i = 0; i < w->count; i++) {
        b->pairs += kd_plan_pairs(&w->plan[i]);
        b->documents += w->plan[i].N;
    }
    return KD_OK;
}

static void bench_close(bench *b) {
    kd_optimizer_close(&b->optimizer);
    kd_model_close(b->model);
    kd_bench_windows_close(&b->windows);
    kd_config_close(&b->config);
    kd_ctx_close(b->ctx);
}

static kd_status bench_open(bench *b, const options *o) {
    kd_model_options model = {.windows = o->windows, .micro = 1, .leaves = o->leaves, .frame = KD_FRAME_DOCUMENT, .training = true};
    const bool on_host = !strcmp(o->moments, "host");
    const kd_optimizer_options state = {.coded = !strcmp(o->moments, "i8"), .files = on_host ? KD_PLACE_HOST : NULL};
    kd_status status;
    *b = (bench){0};
    model.recompute = !strcmp(o->recompute, "none") ? KD_RECOMPUTE_NONE : !strcmp(o->recompute, "layer") ? KD_RECOMPUTE_LAYER : KD_RECOMPUTE_AUTO;
    if (!strcmp(o->dtype, "bf16")) {
        model.weights = model.activations = KD_VIEW_BF16;
        model.precision = KD_PRECISION_F16_STORE;
        model.masters = state.files;
    }
    model.files = o->offload ? KD_PLACE_HOST : NULL;
    KD_GO(kd_ctx_open_device(&b->ctx, o->device, o->threads));
    KD_GO(open_config(&b->config, o));
    KD_GO(open_windows(b, o));
    model.window = b->windows.tokens;
    KD_GO(kd_model_open(&b->model, b->ctx, &b->config, &model));
    KD_GO(kd_optimizer_open(&b->optimizer, b->ctx, b->model, &state));
    KD_GO(kd_model_init(b->model, &b->config, 1));
done:
    if (status) bench_close(b);
    return status;
}

static kd_status step(bench *b) {
    const kd_adamw adamw = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
    kd_step_sums sums;
    for (int64_t i = 0; i < b->windows.count; i++) {
        const kd_plan *plan = &b->windows.plan[i];
        KD_TRY(kd_model_forward(b->model, &plan, 1, i));
        KD_TRY(kd_model_backward(b->model, 1 / (float)b->tokens));
    }
    KD_TRY(kd_model_gradient_finish(b->model, b->windows.count));
    return kd_optimizer_step(&b->optimizer, &sums, b->model, &adamw, b->tokens);
}

/* With what is computed again. */
static void count_flops(double *useful, double *executed, const bench *b) {
    const kd_work work = kd_work_count(&b->config, b->tokens, 1, 1, kd_model_recompute(b->model), 0, 1);
    *useful = kd_model_flops(&b->config, b->tokens, b->pairs);
    *executed = work.products + (work.forward + work.backward) * (double)b->pairs;
}

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static int most_first(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a < b) - (a > b);
}

/* Of the host the most there ever was, of a GPU what is taken. */
static int64_t memory_used(const bench *b) {
    int64_t left, all;
    if (b->ctx->device->host_may_touch || kd_device_memory(b->ctx, &left, &all)) return kd_memory_peak();
    return all - left;
}

static void print(const bench *b, const options *o, double seconds, double peak, double copies) {
    double useful, executed, tokens = (double)b->tokens, all = 0;
    struct { double seconds; int64_t calls; char name[40]; } part[KD_CLOCK_OPS];
    count_flops(&useful, &executed, b);
    for (int64_t i = 0; i < b->clock.parts; i++) {
        part[i].seconds = b->clock.part[i].seconds / (double)o->steps;
        part[i].calls = b->clock.part[i].calls / o->steps;
        kd_op_words(part[i].name, b->clock.part[i].op);
        all += part[i].seconds;
    }
    qsort(part, (size_t)b->clock.parts, sizeof *part, most_first);
    const char *recompute = kd_model_recompute(b->model) == KD_RECOMPUTE_NONE ? "none" : "layer";
    if (o->json) {
        printf("{\"bench\": \"step\", \"device\": \"%s\", \"dtype\": \"%s\", \"moments\": \"%s\", \"parameters\": %lld, \"window\": %lld, \"windows\": %lld, \"mask\": \"%s\", \"documents\": %lld, \"pairs\": %lld, \"threads\": %lld, "
               "\"isa\": \"%s\", \"recompute\": \"%s\", \"seconds\": %.6g, \"tokens_per_second\": %.5g, \"gflops\": %.4g, \"executed_gflops\": %.4g, "
               "\"peak_gflops\": %.4g, \"share_of_peak\": %.4f, \"executed_share\": %.4f, \"memory\": %lld, \"parts\": {",
               o->device, o->dtype, o->moments, (long long)kd_model_layout(b->model)->count, (long long)b->windows.tokens, (long long)b->windows.count,
               o->pack ? "pack" : o->mask, (long long)b->documents, (long long)b->pairs,
               (long long)kd_pool_threads(b->ctx->pool), kd_isa_name(b->ctx->isa), recompute, seconds, tokens / seconds, useful / seconds * 1e-9,
               executed / seconds * 1e-9, peak * 1e-9, useful / seconds / peak, executed / seconds / peak, (long long)memory_used(b));
        for (int64_t i = 0; i < b->clock.parts; i++) printf("%s\"%s\": %.5g", i ? ", " : "", part[i].name, part[i].seconds);
        printf("}");
        if (copies > 0) printf(", \"copy_gbytes\": %.1f", copies * 1e-9);
        printf("}\n");
        return;
    }
    printf("%.4g seconds a step, %.0f tokens/s; useful %.1f GF/s, %.1f%% of the peak of %.1f; executed %.1f%%; recompute %s; %.2f GiB\n", seconds,
           tokens / seconds, useful / seconds * 1e-9, 100 * useful / seconds / peak, peak * 1e-9, 100 * executed / seconds / peak, recompute,
           (double)memory_used(b) * 0x1p-30);
    if (copies > 0) printf("peak: a large bf16 product; copies within the memory: %.0f GB/s read and written\n", copies * 1e-9);
    printf("%-24s %8s %10s %7s\n", "part", "calls", "seconds", "share");
    for (int64_t i = 0; i < b->clock.parts; i++)
        printf("%-24s %8lld %10.4g %6.1f%%\n", part[i].name, (long long)part[i].calls, part[i].seconds, 100 * part[i].seconds / all);
}

static kd_status run(const options *o) {
    double took[STEPS_MOST], peak[STEPS_MOST], copies;
    bench b;
    KD_TRY(bench_open(&b, o));
    kd_status status;
    KD_GO(step(&b));  /* pages and caches */
    b.ctx->clock = &b.clock;
    for (int64_t i = 0; i < o->steps; i++) {
        double began, ended;
        KD_GO(kd_bench_now(&began, b.ctx));
        KD_GO(step(&b));
        KD_GO(kd_bench_now(&ended, b.ctx));
        took[i] = ended - began;
        peak[i] = kd_peak_flops(b.ctx);
    }
    qsort(took, (size_t)o->steps, sizeof *took, ascending);
    qsort(peak, (size_t)o->steps, sizeof *peak, ascending);
    KD_GO(kd_bench_copies(&copies, b.ctx));
    print(&b, o, took[o->steps / 2], peak[o->steps - 1], copies);
done:
    bench_close(&b);
    return status;
}

static kd_status check(const options *o) {
    if (strcmp(o->mask, "full") && strcmp(o->mask, "document") && strcmp(o->mask, "anchor"))
        return kd_fail(KD_ECONFIG, "bench step: --mask %s: it is full, document or anchor", o->mask);
    if (strcmp(o->recompute, "auto") && strcmp(o->recompute, "layer") && strcmp(o->recompute, "none"))
        return kd_fail(KD_ECONFIG, "bench step: --recompute %s: it is auto, layer or none", o->recompute);
    if (strcmp(o->dtype, "f32") && strcmp(o->dtype, "bf16")) return kd_fail(KD_ECONFIG, "bench step: --dtype %s: it is f32 or bf16", o->dtype);
    if (strcmp(o->moments, "f32") && strcmp(o->moments, "i8") && strcmp(o->moments, "host"))
        return kd_fail(KD_ECONFIG, "bench step: --moments %s: it is f32, i8 or host", o->moments);
    if (!o->pack != !o->tokenizer) return kd_fail(KD_ECONFIG, "bench step: --pack and --tokenizer go together");
    if (o->window < 2 || o->windows < 1 || o->length < 0 || o->steps < 1 || o->steps > STEPS_MOST)
        return kd_fail(KD_ECONFIG, "bench step: --window %lld is at least 2, --windows %lld at least 1, --steps %lld 1 to %d", (long long)o->window,
                       (long long)o->windows, (long long)o->steps, STEPS_MOST);
    return KD_OK;
}

int kd_bench_step(int argc, char **argv) {
    options o = {.preset = "124m", .mask = "full", .recompute = "none", .window = 1024, .windows = 4, .leaves = 8, .vocabulary = 32000, .steps = 3,
                 .device = "host", .moments = "f32"};
    const kd_option option[] = {
        {"--preset", KD_TEXT, &o.preset, "NAME", "tiny, demo, 5m, 10m or 124m"},
        {"--config", KD_TEXT, &o.config, "FILE", "a config.json instead"},
        {"--vocabulary", KD_INTEGER, &o.vocabulary, "N", "of a preset"},
        {"--window", KD_INTEGER, &o.window, "N", "tokens"},
        {"--windows", KD_INTEGER, &o.windows, "N", "of a step, one after the other"},
        {"--mask", KD_TEXT, &o.mask, "NAME", "full, document or anchor"},
        {"--length", KD_INTEGER, &o.length, "N", "of the documents; one document a window unless given"},
        {"--pack", KD_TEXT, &o.pack, "DIR", "the first windows of a pack instead"},
        {"--tokenizer", KD_TEXT, &o.tokenizer, "DIR", "that the pack was made with"},
        {"--leaves", KD_INTEGER, &o.leaves, "N", "that a window is cut into for sums over tokens"},
        {"--device", KD_TEXT, &o.device, "NAME", "host, cuda or cuda:N"},
        {"--dtype", KD_TEXT, &o.dtype, "NAME", "of weights and activations: f32, or bf16 over float32 masters; bf16 on CUDA unless given"},
        {"--moments", KD_TEXT, &o.moments, "NAME", "f32, i8, or host: in the host's memory, as float32 weights beside bf16 ones"},
        {"--offload", KD_FLAG, &o.offload, NULL, "inputs of layers lie in the host's memory"},
        {"--recompute", KD_TEXT, &o.recompute, "NAME", "auto, layer or none"},
        {"--steps", KD_INTEGER, &o.steps, "N", "that are timed, after one that is not"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--json", KD_FLAG, &o.json, NULL, "one object"},
    };
    const kd_usage usage = {"bench step", "[options]",
                            "A training step of a fresh model on random tokens: the median of several, beside the device's limit (FMAs, or a large bf16 product) measured between them, and "
                            "what each operation takes. Useful operations are those of src/model/params.h; executed ones have what is computed again.",
                            "  kedge bench step\n"
                            "  kedge bench step --preset 10m --window 64K --windows 1 --mask anchor --length 2K --recompute layer\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!o.dtype) o.dtype = strncmp(o.device, "cuda", 4) ? "f32" : "bf16";
    status = check(&o);
    if (!status) status = run(&o);
    return kd_exit_code(status);
}

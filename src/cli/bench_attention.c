/* kedge bench attention: useful FLOPs (pairs that see each other, nothing else) beside the device's limit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/attn.h"
#include "base/half.h"
#include "base/log.h"
#include "base/random.h"
#include "bench.h"
#include "bench_windows.h"
#include "cli.h"
#include "dev/peak.h"

enum { REF_TOKENS = 512, RUNS_MOST = 1000 };
#define RUN_SECONDS 0.02

typedef struct options {
    kd_bench_windows_options window;
    int64_t heads, groups, size, threads, seconds;
    const char *device, *frame, *storage, *precision, *variant;
    bool against_full, json;
} options;

/* The options', or what a device computes by default; KD_PRECISIONS: there is none of that name. */
static kd_precision precision_of(const options *o) {
    const char *name = o->precision ? o->precision : strncmp(o->device, "cuda", 4) ? "exact" : "f16-store";
    kd_precision p = KD_PRECISION_EXACT;
    while (p < KD_PRECISIONS && strcmp(name, kd_precision_name(p))) p++;
    return p;
}

/* Windows, and the tensors that they take turns on. */
typedef struct bench {
    const options *o;
    kd_ctx *ctx;
    kd_bench_windows windows;
    kd_rope rope;
    kd_attn a;
    kd_arena arena;
    double copies;            /* bytes a second, of a GPU */
} bench;

/* By the number of kd_view_type. */
static const char *const storage_names[] = {"f32", "bf16", "f16"};

static kd_view_type storage_of(const options *o) {
    int i = 2;
    while (i > 0 && strcmp(o->storage, storage_names[i])) i--;
    return (kd_view_type)i;
}

static kd_view take(kd_arena *arena, kd_view_type type, int64_t n, int64_t heads, int64_t E) {
    if (type == KD_VIEW_F32) return kd_view_heads(kd_arena_take(arena, n, sizeof(float)), heads, E);
    return kd_view_half(kd_arena_take(arena, n, sizeof(uint16_t)), type, heads, E);
}

static void place(kd_attn *a, kd_arena *arena, kd_view_type type, int64_t T) {
    kd_view *of_queries[] = {&a->q, &a->o, &a->dout, &a->dq}, *of_keys[] = {&a->k, &a->v, &a->dk, &a->dv};
    for (int i = 0; i < 4; i++) {
        *of_queries[i] = take(arena, type, T * a->H * a->E, a->H, a->E);
        *of_keys[i] = take(arena, type, T * a->G * a->E, a->G, a->E);
    }
    a->lse = kd_arena_take(arena, a->H * T, sizeof *a->lse);
}

/* Uniform numbers of variance one; `stream` tells tensors apart. */
static kd_status fill(kd_ctx *ctx, const kd_view *to, int64_t n, uint64_t stream) {
    float *x;
    KD_TRY(kd_new(&x, n, sizeof *x));
    uint16_t *half = (uint16_t *)x;  /* number i of 16 bits lies where numbers up to i were */
    for (int64_t i = 0; i < n; i++) {
        float y = (float)((kd_random_uniform(1, stream, (uint64_t)i) - 0.5) * 3.4641016151377544);
        if (to->type == KD_VIEW_F32) x[i] = y;
        else half[i] = to->type == KD_VIEW_BF16 ? kd_bf16_round(y) : kd_f16_round(y);
    }
    kd_status status = to->type == KD_VIEW_F32 ? ctx->device->put(ctx, to->data, x, n * (int64_t)sizeof *x)
                                               : ctx->device->put(ctx, to->half, half, n * (int64_t)sizeof *half);
    free(x);
    return status;
}

/* Takes the windows over, also when it fails. */
static kd_status bench_open(bench *b, const options *o, kd_ctx *ctx, const kd_bench_windows *windows) {
    *b = (bench){.o = o, .ctx = ctx, .windows = *windows};
    int64_t T = windows->tokens;
    double inv_freq[128];
    for (int64_t e = 0; e < o->size / 2; e++) inv_freq[e] = (float)pow(1e4, -2.0 * (double)e / (double)o->size);
    KD_TRY(kd_rope_init_for(&b->rope, ctx, precision_of(o), inv_freq, o->size, T));
    b->a = (kd_attn){.plan = windows->plan, .rope = &b->rope, .H = o->heads, .G = o->groups, .E = o->size, .precision = precision_of(o),
                     .frame = strcmp(o->frame, "window") ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW};
    place(&b->a, &b->arena, storage_of(o), T);
    KD_TRY(kd_ctx_place(ctx, &b->arena));
    place(&b->a, &b->arena, storage_of(o), T);
    KD_TRY(fill(ctx, &b->a.q, T * o->heads * o->size, 1));
    KD_TRY(fill(ctx, &b->a.k, T * o->groups * o->size, 2));
    KD_TRY(fill(ctx, &b->a.v, T * o->groups * o->size, 3));
    KD_TRY(fill(ctx, &b->a.dout, T * o->heads * o->size, 4));
    return kd_attn_check(ctx, &b->a, true);
}

static void bench_close(bench *b) {
    if (!b->ctx) return;
    kd_ctx_unplace(b->ctx, &b->arena);
    if (b->rope.E) kd_rope_free(&b->rope, b->ctx);
    kd_bench_windows_close(&b->windows);
}

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x, int64_t n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

/* All windows once. */
static kd_status run(const bench *b, const kd_variant *variant) {
    kd_attn a = b->a;
    for (int64_t i = 0; i < b->windows.count; i++) {
        a.plan = &b->windows.plan[i];
        KD_TRY(kd_op_run_variant(b->ctx, variant, &a));
    }
    return KD_OK;
}

/* Medians over runs, each between two bursts; a run is as many calls as take some RUN_SECONDS. */
typedef struct result { double seconds, rate, peak, ratio; int64_t runs; } result;

static kd_status measure(result *r, const bench *b, const kd_variant *variant, bool backward) {
    const options *o = b->o;
    double flops = 4.0 * (double)o->size * (double)o->heads * kd_bench_windows_pairs(&b->windows) *
                   (double)b->windows.count * (backward ? 2.5 : 1);
    double seconds[RUNS_MOST], peak[RUNS_MOST], ratio[RUNS_MOST];
    int64_t runs = 0;
    double warm, begin, start, end;
    KD_TRY(run(b, variant));
    KD_TRY(kd_bench_now(&warm, b->ctx));
    KD_TRY(run(b, variant));
    KD_TRY(kd_bench_now(&begin, b->ctx));
    int64_t repeat = 1 + (int64_t)(RUN_SECONDS / (begin - warm));
    double before = kd_peak_flops(b->ctx);
    while (runs < 3 || (runs < RUNS_MOST && kd_now() - begin < (double)o->seconds)) {
        KD_TRY(kd_bench_now(&start, b->ctx));
        for (int64_t i = 0; i < repeat; i++) KD_TRY(run(b, variant));
        KD_TRY(kd_bench_now(&end, b->ctx));
        seconds[runs] = (end - start) / (double)repeat;
        double after = kd_peak_flops(b->ctx);
        peak[runs] = (before + after) / 2;
        ratio[runs] = flops / seconds[runs] / peak[runs];
        before = after;
        runs++;
    }
    *r = (result){median(seconds, runs) / (double)b->windows.count, 0, median(peak, runs), median(ratio, runs), runs};
    r->rate = flops / (double)b->windows.count / r->seconds;
    return KD_OK;
}

static double pairs_of_full(const kd_bench_windows *w) {
    return kd_bench_windows_pairs(w) / ((double)w->tokens * ((double)w->tokens + 1) / 2);
}

/* full: the same of one document, or NULL. */
static void print(const bench *b, const kd_variant *variant, bool backward, const result *r, const result *full) {
    static const char *const direction[] = {"forward", "backward"};
    const options *o = b->o;
    double of_full = pairs_of_full(&b->windows);
    if (o->json) {
        printf("{\"bench\": \"attention\", \"device\": \"%s\", \"precision\": \"%s\", \"variant\": \"%s\", \"direction\": \"%s\", \"tokens\": %lld, "
               "\"windows\": %lld, \"documents\": %.6g, \"anchor\": %s, \"frame\": \"%s\", \"storage\": \"%s\", \"size\": %lld, \"heads\": %lld, "
               "\"groups\": %lld, \"threads\": %lld, \"seconds\": %.6g, \"gflops\": %.2f, \"peak_gflops\": %.1f, "
               "\"ratio\": %.4f, \"runs\": %lld, \"pairs_of_full\": %.5f",
               o->device, kd_precision_name(precision_of(o)), variant->name, direction[backward], (long long)b->windows.tokens, (long long)b->windows.count,
               kd_bench_windows_documents(&b->windows), b->windows.plan->anchors ? "true" : "false", o->frame, o->storage, (long long)o->size,
               (long long)o->heads, (long long)o->groups, (long long)kd_pool_threads(b->ctx->pool), r->seconds, r->rate * 1e-9,
               r->peak * 1e-9, r->ratio, (long long)r->runs, of_full);
        if (full) printf(", \"time_of_full\": %.5f", r->seconds / full->seconds);
        if (b->copies > 0) printf(", \"copy_gbytes\": %.1f", b->copies * 1e-9);
        printf("}\n");
    } else {
        printf("%-8s %-9s %7lld %6.4g %4lld %3lld %3lld %3lld %9.1f %9.1f %6.1f%% %8.4f", variant->name, direction[backward],
               (long long)b->windows.tokens, kd_bench_windows_documents(&b->windows), (long long)o->size, (long long)o->heads,
               (long long)o->groups, (long long)kd_pool_threads(b->ctx->pool), r->rate * 1e-9, r->peak * 1e-9, 100 * r->ratio, of_full);
        if (full) printf(" %8.4f", r->seconds / full->seconds);
        printf("\n");
    }
    fflush(stdout);
}

static kd_status measure_variant(const bench *b, const bench *full, int64_t i) {
    for (int backward = 0; backward < 2; backward++) {
        const kd_variant *variant = &(backward ? &kd_attn_backward_op : &kd_attn_forward_op)->variant[i];
        result r, of_full;
        KD_TRY(measure(&r, b, variant, backward));
        if (full) KD_TRY(measure(&of_full, full, variant, backward));
        print(b, variant, backward, &r, full ? &of_full : NULL);
    }
    return KD_OK;
}

/* Whether it is the last of the list that this device has: slow, and there to be compared with. */
static bool is_definition(const kd_ctx *ctx, int64_t i) {
    for (i++; i < kd_attn_forward_op.count; i++)
        if (kd_isa_serves(ctx->isa, kd_attn_forward_op.variant[i].isa)) return false;
    return true;
}

/* The definition last, on a window it gets through. */
static kd_status measure_all(const options *o) {
    kd_ctx *ctx = NULL;
    kd_bench_windows windows;
    kd_bench_windows_options drawn = o->window;
    bench b = {0}, full = {0}, small = {0};
    kd_status status;
    KD_GO(kd_ctx_open_device(&ctx, o->device, o->threads));
    KD_GO(kd_bench_has(ctx, &kd_attn_forward_op, o->variant));
    KD_GO(kd_bench_windows_open(&windows, &o->window));
    KD_GO(bench_open(&b, o, ctx, &windows));
    if (!kd_op_choose(ctx, &kd_attn_forward_op, &b.a))
        KD_GO(kd_fail(KD_ENOTSUP, "bench attention: device %s has no kernel for precision %s", o->device, kd_precision_name(precision_of(o))));
    KD_GO(kd_bench_copies(&b.copies, ctx));
    if (o->against_full) {
        KD_GO(kd_bench_windows_full(&windows, b.windows.tokens));
        KD_GO(bench_open(&full, o, ctx, &windows));
    }
    drawn.tokens = b.windows.tokens < REF_TOKENS ? b.windows.tokens : REF_TOKENS;
    drawn.pack = NULL;
    KD_GO(kd_bench_windows_open(&windows, &drawn));
    KD_GO(bench_open(&small, o, ctx, &windows));
    small.copies = b.copies;
    if (!o->json && b.copies > 0) printf("peak: a large bf16 product; copies within the memory: %.0f GB/s read and written\n", b.copies * 1e-9);
    if (!o->json)
        printf("%-8s %-9s %7s %6s %4s %3s %3s %3s %9s %9s %7s %8s%s\n", "variant", "direction", "T", "N", "E", "H", "G",
               "thr", "GF/s", "peak", "ratio", "pairs", o->against_full ? "     time" : "");
    for (int64_t i = 0; i < kd_attn_forward_op.count; i++) {
        const kd_variant *variant = &kd_attn_forward_op.variant[i];
        bool definition = is_definition(ctx, i);
        if (!kd_bench_wants(ctx, variant, o->variant) || (variant->supports && !variant->supports(&b.a))) continue;
        KD_GO(measure_variant(definition ? &small : &b, !definition && o->against_full ? &full : NULL, i));
    }
done:
    bench_close(&small);
    bench_close(&full);
    bench_close(&b);
    kd_ctx_close(ctx);
    return status;
}

static kd_status check(const options *o) {
    const kd_bench_windows_options *w = &o->window;
    if (w->tokens < 2 || o->heads < 1 || o->groups < 1 || o->heads % o->groups || w->documents < 1 || w->windows < 1 ||
        w->mean_length < 0 || o->seconds < 0)
        return kd_fail(KD_ECONFIG, "bench attention: --tokens %lld --documents %lld --windows %lld --heads %lld --groups %lld: at least 2 "
                       "tokens, 1 of the others, and --groups divides --heads", (long long)w->tokens, (long long)w->documents,
                       (long long)w->windows, (long long)o->heads, (long long)o->groups);
    if (!w->pack != !w->tokenizer) return kd_fail(KD_ECONFIG, "bench attention: --pack and --tokenizer go together");
    if (!w->pack && w->windows > 1) return kd_fail(KD_ECONFIG, "bench attention: --windows %lld: of a --pack", (long long)w->windows);
    if (o->size < 2 || o->size > 256 || o->size % 2)
        return kd_fail(KD_ECONFIG, "bench attention: head size %lld is not even in 2..256", (long long)o->size);
    if (strcmp(o->frame, "window") && strcmp(o->frame, "document"))
        return kd_fail(KD_ECONFIG, "bench attention: --frame %s: it is window or document", o->frame);
    if (precision_of(o) == KD_PRECISIONS) return kd_fail(KD_ECONFIG, "bench attention: --precision %s: kedge bench rope lists them", o->precision);
    if (strcmp(o->storage, storage_names[storage_of(o)]))
        return kd_fail(KD_ECONFIG, "bench attention: --storage %s: it is f32, bf16 or f16", o->storage);
    return KD_OK;
}

int kd_bench_attention(int argc, char **argv) {
    options o = {.window = {.tokens = 4096, .documents = 1, .windows = 1}, .heads = 4, .size = 128, .seconds = 2,
                 .device = "host", .frame = "document"};
    const kd_option option[] = {
        {"--tokens", KD_INTEGER, &o.window.tokens, "N", "of the window"},
        {"--heads", KD_INTEGER, &o.heads, "N", "query heads"},
        {"--groups", KD_INTEGER, &o.groups, "N", "key/value heads; as many as query heads unless given"},
        {"--size", KD_INTEGER, &o.size, "N", "of a head"},
        {"--documents", KD_INTEGER, &o.window.documents, "N", "of equal length"},
        {"--mean-length", KD_INTEGER, &o.window.mean_length, "N", "documents of exponentially distributed length instead"},
        {"--anchor", KD_FLAG, &o.window.anchor, NULL, "every document sees the window's first token"},
        {"--pack", KD_TEXT, &o.window.pack, "DIR", "windows that kedge pack made instead: their documents, their anchor"},
        {"--tokenizer", KD_TEXT, &o.window.tokenizer, "DIR", "that the pack was made with"},
        {"--windows", KD_INTEGER, &o.window.windows, "N", "how many of the pack's, the first ones, in turn"},
        {"--against-full", KD_FLAG, &o.against_full, NULL, "measure one document of as many tokens too"},
        {"--frame", KD_TEXT, &o.frame, "NAME", "window or document"},
        {"--variant", KD_TEXT, &o.variant, "NAME", "this one alone"},
        {"--storage", KD_TEXT, &o.storage, "NAME", "of inputs and outputs: f32, bf16 or f16; f32 on the host and bf16 on CUDA unless given"},
        {"--precision", KD_TEXT, &o.precision, "NAME", "of rotations; exact on the host and f16-store on CUDA unless given"},
        {"--device", KD_TEXT, &o.device, "NAME", "host, cuda or cuda:N"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--seconds", KD_INTEGER, &o.seconds, "N", "for each line"},
        {"--json", KD_FLAG, &o.json, NULL, "one object a line"},
    };
    const kd_usage usage = {"bench attention", "[options]",
                            "Speed of every variant of attention in useful FLOPs (forward 4 E for each pair of tokens that see\n"
                            "each other, backward 2.5 times that), beside the limit of the device measured between the runs:\n"
                            "FMAs of the best instruction set, or a large bf16 product; then the pairs as a share of those of full attention and, if asked for, the time\n"
                            "as a share of its time. The last lines are the plain-C definition on a small window.",
                            "  kedge bench attention --threads 1\n"
                            "  kedge bench attention --tokens 64K --mean-length 2K --anchor --heads 8 --groups 2\n"
                            "  kedge bench attention --device cuda --tokens 32K --heads 64 --groups 8\n"
                            "  kedge bench attention --pack packs/64k --tokenizer llama2 --windows 4 --against-full\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (o.groups == 0) o.groups = o.heads;
    if (!o.storage) o.storage = strncmp(o.device, "cuda", 4) ? "f32" : "bf16";
    status = check(&o);
    if (!status) status = measure_all(&o);
    return kd_exit_code(status);
}

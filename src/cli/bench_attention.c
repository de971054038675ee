/* kedge bench attention: useful FLOPs (pairs that see each other, nothing else) beside the FMA peak. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attn/attn.h"
#include "base/log.h"
#include "base/random.h"
#include "bench.h"
#include "cli.h"
#include "dev/peak.h"

enum { REF_TOKENS = 512, RUNS_MOST = 1000 };

typedef struct options {
    int64_t tokens, heads, groups, size, documents, mean_length, threads, seconds;
    const char *frame;
    bool anchor, json;
} options;

/* One window and its tensors. */
typedef struct bench {
    const options *o;
    kd_ctx *ctx;
    kd_plan plan;
    kd_rope rope;
    kd_attn a;
    kd_arena arena;
} bench;

/* Lengths of documents that fill `tokens`: equal shares, or drawn from an exponential distribution. Returns how many. */
static int64_t draw_lengths(int64_t *length, const options *o, int64_t tokens) {
    int64_t N = 0, used = 0, equal = o->documents < tokens ? o->documents : tokens;
    while (used < tokens) {
        int64_t next = tokens * (N + 1) / equal - used;
        if (o->mean_length > 0)
            next = 1 + (int64_t)(-log(1 - kd_random_uniform(1, 0, (uint64_t)N)) * (double)o->mean_length);
        length[N] = next < tokens - used ? next : tokens - used;
        used += length[N++];
    }
    return N;
}

static kd_status make_plan(kd_plan *plan, const options *o, int64_t tokens) {
    int64_t *length = NULL, text = tokens - o->anchor;
    int32_t *token = NULL;
    kd_piece *piece = NULL;
    kd_chunk *chunk = NULL;
    kd_status status;
    KD_GO(kd_new(&length, tokens, sizeof *length));
    KD_GO(kd_new(&token, tokens, sizeof *token));
    KD_GO(kd_new(&piece, tokens, sizeof *piece));
    KD_GO(kd_new(&chunk, tokens, sizeof *chunk));
    int64_t N = draw_lengths(length, o, text);
    for (int64_t n = 0; n < N; n++) {
        piece[n] = (kd_piece){NULL, 0, -1};
        chunk[n] = (kd_chunk){n, token, length[n], NULL};
    }
    kd_plan_options switches = {.mask = o->anchor ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT};
    status = kd_plan_init(plan, &switches, piece, N, chunk, N);
done:
    free(length);
    free(token);
    free(piece);
    free(chunk);
    return status;
}

static kd_view take(kd_arena *arena, int64_t T, int64_t heads, int64_t E) {
    return kd_view_heads(kd_arena_take(arena, T * heads * E, sizeof(float)), heads, E);
}

static void place(kd_attn *a, kd_arena *arena, int64_t T) {
    a->q = take(arena, T, a->H, a->E);
    a->k = take(arena, T, a->G, a->E);
    a->v = take(arena, T, a->G, a->E);
    a->o = take(arena, T, a->H, a->E);
    a->lse = kd_arena_take(arena, a->H * T, sizeof *a->lse);
    a->dout = take(arena, T, a->H, a->E);
    a->dq = take(arena, T, a->H, a->E);
    a->dk = take(arena, T, a->G, a->E);
    a->dv = take(arena, T, a->G, a->E);
}

/* Uniform numbers of variance one; `stream` tells tensors apart. */
static kd_status fill(kd_ctx *ctx, float *to, int64_t n, uint64_t stream) {
    float *x;
    KD_TRY(kd_new(&x, n, sizeof *x));
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((kd_random_uniform(1, stream, (uint64_t)i) - 0.5) * 3.4641016151377544);
    kd_status status = ctx->device->put(ctx, to, x, n * (int64_t)sizeof *x);
    free(x);
    return status;
}

static kd_status bench_open(bench *b, const options *o, kd_ctx *ctx, int64_t tokens) {
    *b = (bench){.o = o, .ctx = ctx};
    KD_TRY(make_plan(&b->plan, o, tokens));
    double inv_freq[128];
    for (int64_t e = 0; e < o->size / 2; e++) inv_freq[e] = (float)pow(1e4, -2.0 * (double)e / (double)o->size);
    KD_TRY(kd_rope_init(&b->rope, ctx, inv_freq, o->size, tokens));
    b->a = (kd_attn){.plan = &b->plan, .rope = &b->rope, .H = o->heads, .G = o->groups, .E = o->size,
                     .frame = strcmp(o->frame, "window") ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW};
    place(&b->a, &b->arena, tokens);
    KD_TRY(kd_ctx_place(ctx, &b->arena));
    place(&b->a, &b->arena, tokens);
    KD_TRY(fill(ctx, b->a.q.data, tokens * o->heads * o->size, 1));
    KD_TRY(fill(ctx, b->a.k.data, tokens * o->groups * o->size, 2));
    KD_TRY(fill(ctx, b->a.v.data, tokens * o->groups * o->size, 3));
    KD_TRY(fill(ctx, b->a.dout.data, tokens * o->heads * o->size, 4));
    return kd_attn_check(ctx, &b->a, true);
}

static void bench_close(bench *b) {
    kd_ctx_unplace(b->ctx, &b->arena);
    if (b->rope.E) kd_rope_free(&b->rope, b->ctx);
    kd_plan_free(&b->plan);
}

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* Medians over runs, each between two bursts. */
static kd_status measure(const bench *b, const kd_variant *variant, bool backward) {
    static const char *const direction[] = {"forward", "backward"};
    const options *o = b->o;
    double flops = 4.0 * (double)o->size * (double)o->heads * (double)kd_plan_pairs(&b->plan) * (backward ? 2.5 : 1);
    double rate[RUNS_MOST], peak[RUNS_MOST], ratio[RUNS_MOST];
    int64_t runs = 0;
    KD_TRY(kd_op_run_variant(b->ctx, variant, &b->a));
    double begin = kd_now(), before = kd_peak_flops(b->ctx);
    while (runs < 3 || (runs < RUNS_MOST && kd_now() - begin < (double)o->seconds)) {
        double start = kd_now();
        KD_TRY(kd_op_run_variant(b->ctx, variant, &b->a));
        rate[runs] = flops / (kd_now() - start);
        double after = kd_peak_flops(b->ctx);
        peak[runs] = (before + after) / 2;
        ratio[runs] = rate[runs] / peak[runs];
        before = after;
        runs++;
    }
    qsort(rate, (size_t)runs, sizeof *rate, ascending);
    qsort(peak, (size_t)runs, sizeof *peak, ascending);
    qsort(ratio, (size_t)runs, sizeof *ratio, ascending);
    double r = rate[runs / 2] * 1e-9, p = peak[runs / 2] * 1e-9;
    if (o->json)
        printf("{\"bench\": \"attention\", \"variant\": \"%s\", \"direction\": \"%s\", \"tokens\": %lld, "
               "\"documents\": %lld, \"anchor\": %s, \"frame\": \"%s\", \"size\": %lld, \"heads\": %lld, "
               "\"groups\": %lld, \"threads\": %lld, \"gflops\": %.2f, \"peak_gflops\": %.1f, \"ratio\": %.4f, "
               "\"runs\": %lld}\n",
               variant->name, direction[backward], (long long)b->plan.T, (long long)b->plan.N,
               o->anchor ? "true" : "false", o->frame, (long long)o->size, (long long)o->heads, (long long)o->groups,
               (long long)kd_pool_threads(b->ctx->pool), r, p, ratio[runs / 2], (long long)runs);
    else
        printf("%-8s %-9s %7lld %5lld %4lld %3lld %3lld %3lld %9.1f %9.1f %6.1f%%\n", variant->name,
               direction[backward], (long long)b->plan.T, (long long)b->plan.N, (long long)o->size,
               (long long)o->heads, (long long)o->groups, (long long)kd_pool_threads(b->ctx->pool), r, p,
               100 * ratio[runs / 2]);
    fflush(stdout);
    return KD_OK;
}

/* The definition last, on a window it gets through. */
static kd_status measure_all(const options *o) {
    kd_ctx *ctx = NULL;
    bench b = {0}, small = {0};
    kd_status status;
    KD_GO(kd_ctx_open(&ctx, o->threads));
    KD_GO(bench_open(&b, o, ctx, o->tokens));
    KD_GO(bench_open(&small, o, ctx, o->tokens < REF_TOKENS ? o->tokens : REF_TOKENS));
    if (!o->json)
        printf("%-8s %-9s %7s %5s %4s %3s %3s %3s %9s %9s %7s\n", "variant", "direction", "T", "N", "E", "H", "G",
               "thr", "GF/s", "peak", "ratio");
    for (int64_t i = 0; i < kd_attn_forward_op.count; i++) {
        const kd_variant *forward = &kd_attn_forward_op.variant[i], *backward = &kd_attn_backward_op.variant[i];
        if (forward->isa > ctx->isa) continue;
        const bench *window = forward->isa == KD_ISA_REF ? &small : &b;
        KD_GO(measure(window, forward, false));
        KD_GO(measure(window, backward, true));
    }
done:
    bench_close(&small);
    bench_close(&b);
    kd_ctx_close(ctx);
    return status;
}

static kd_status check(const options *o) {
    if (o->tokens < 2 || o->heads < 1 || o->groups < 1 || o->heads % o->groups || o->documents < 1 ||
        o->mean_length < 0 || o->seconds < 0)
        return kd_fail(KD_ECONFIG, "bench attention: --tokens %lld --documents %lld --heads %lld --groups %lld: at least 2 tokens, 1 of the "
                       "others, and --groups divides --heads", (long long)o->tokens, (long long)o->documents, (long long)o->heads,
                       (long long)o->groups);
    if (o->size < 2 || o->size > 256 || o->size % 2)
        return kd_fail(KD_ECONFIG, "bench attention: head size %lld is not even in 2..256", (long long)o->size);
    if (strcmp(o->frame, "window") && strcmp(o->frame, "document"))
        return kd_fail(KD_ECONFIG, "bench attention: --frame %s: it is window or document", o->frame);
    return KD_OK;
}

int kd_bench_attention(int argc, char **argv) {
    options o = {.tokens = 4096, .heads = 4, .groups = 0, .size = 128, .documents = 1, .seconds = 2,
                 .frame = "document"};
    const kd_option option[] = {
        {"--tokens", KD_INTEGER, &o.tokens, "N", "of the window"},
        {"--heads", KD_INTEGER, &o.heads, "N", "query heads"},
        {"--groups", KD_INTEGER, &o.groups, "N", "key/value heads; as many as query heads unless given"},
        {"--size", KD_INTEGER, &o.size, "N", "of a head"},
        {"--documents", KD_INTEGER, &o.documents, "N", "of equal length"},
        {"--mean-length", KD_INTEGER, &o.mean_length, "N", "documents of exponentially distributed length instead"},
        {"--anchor", KD_FLAG, &o.anchor, NULL, "every document sees the window's first token"},
        {"--frame", KD_TEXT, &o.frame, "NAME", "window or document"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--seconds", KD_INTEGER, &o.seconds, "N", "for each line"},
        {"--json", KD_FLAG, &o.json, NULL, "one object a line"},
    };
    const kd_usage usage = {"bench attention", "[options]",
                            "Speed of every variant of attention in useful FLOPs (forward 4 E for each pair of tokens that see\n"
                            "each other, backward 2.5 times that), beside the FMA peak of the best instruction set measured\n"
                            "between the runs. The last lines are the plain-C definition on a small window.",
                            "  kedge bench attention --threads 1\n"
                            "  kedge bench attention --tokens 64K --mean-length 2K --anchor --heads 8 --groups 2\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (o.groups == 0) o.groups = o.heads;
    status = check(&o);
    if (!status) status = measure_all(&o);
    return kd_exit_code(status);
}

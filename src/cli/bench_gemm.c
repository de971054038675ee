/* kedge bench gemm: the three matrix products of a linear layer beside the FMA peak. */
#include <stdio.h>
#include <stdlib.h>

#include "base/half.h"
#include "base/log.h"
#include "bench.h"
#include "cli.h"
#include "dev/peak.h"
#include "nn/nn_ops.h"

enum { RUNS = 15, REF_FEATURES = 16 };

typedef struct options {
    int64_t M, N, K, threads;
    const char *variant;
    bool bf16, json;
} options;

/* y [M,N], x [M,K], w [N,K] of nn.h; each form reads two of them and writes the third. */
typedef struct bench { int64_t M, N, K; float *y, *x, *w; uint16_t *w16; kd_arena arena; } bench;

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static void place(bench *b, bool bf16) {
    b->y = kd_arena_take(&b->arena, b->M * b->N, sizeof *b->y);
    b->x = kd_arena_take(&b->arena, b->M * b->K, sizeof *b->x);
    b->w = kd_arena_take(&b->arena, b->N * b->K, sizeof *b->w);
    if (bf16) b->w16 = kd_arena_take(&b->arena, b->N * b->K, sizeof *b->w16);
}

/* Numbers without a pattern; the arena is the host's. */
static void fill(float *x, int64_t n) {
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        x[i] = (float)(state >> 8) * 0x1p-24f - 0.5f;
    }
}

static kd_matmul_args form_args(const bench *b, kd_form form) {
    kd_array x = kd_f32(b->x), y = kd_f32(b->y), w = b->w16 ? kd_bf16(b->w16) : kd_f32(b->w);
    switch (form) {
        case KD_FORM_NT: return (kd_matmul_args){.form = form, .out = y, .left = x, .right = w, .rows = b->M, .columns = b->N, .sum = b->K};
        case KD_FORM_NN: return (kd_matmul_args){.form = form, .out = x, .left = y, .right = w, .rows = b->M, .columns = b->K, .sum = b->N};
        default:
            return (kd_matmul_args){.form = form, .add = true, .out = kd_f32(b->w), .left = y, .right = x, .rows = b->N, .columns = b->K,
                                    .sum = b->M};
    }
}

/* Medians over runs, each between two bursts; a run is as many products as take some milliseconds. */
static kd_status measure(kd_ctx *ctx, const options *o, const bench *b, const kd_variant *variant, kd_form form) {
    static const char *const name[] = {"NT", "NN", "TN"};
    kd_matmul_args a = form_args(b, form);
    if (variant->supports && !variant->supports(&a)) return KD_OK;
    double flops = 2.0 * (double)b->M * (double)b->N * (double)b->K, rate[RUNS], peak[RUNS], ratio[RUNS];
    int64_t repeat = 1 + (variant->isa == KD_ISA_REF ? 0 : (int64_t)(1e9 / flops));
    KD_TRY(kd_op_run_variant(ctx, variant, &a));  /* pages and caches */
    double before = kd_peak_flops(ctx);
    for (int r = 0; r < RUNS; r++) {
        double start = kd_now();
        for (int64_t i = 0; i < repeat; i++) KD_TRY(kd_op_run_variant(ctx, variant, &a));
        rate[r] = flops * (double)repeat / (kd_now() - start);
        double after = kd_peak_flops(ctx);
        peak[r] = (before + after) / 2;
        ratio[r] = rate[r] / peak[r];
        before = after;
    }
    qsort(rate, RUNS, sizeof *rate, ascending);
    qsort(peak, RUNS, sizeof *peak, ascending);
    qsort(ratio, RUNS, sizeof *ratio, ascending);
    double g = rate[RUNS / 2] * 1e-9, p = peak[RUNS / 2] * 1e-9;
    const char *line = "%-8s %-4s %-7s %6lld %6lld %6lld %3lld %9.1f %9.1f %7.3f\n";
    if (o->json)
        line = "{\"bench\": \"gemm\", \"variant\": \"%s\", \"form\": \"%s\", \"weights\": \"%s\", \"M\": %lld, \"N\": %lld, \"K\": %lld, "
               "\"threads\": %lld, \"gflops\": %.2f, \"peak_gflops\": %.1f, \"ratio\": %.4f}\n";
    printf(line, variant->name, name[form], a.right.type == KD_VIEW_BF16 ? "bf16" : "f32", (long long)b->M, (long long)b->N,
           (long long)b->K, (long long)kd_pool_threads(ctx->pool), g, p, ratio[RUNS / 2]);
    fflush(stdout);
    return KD_OK;
}

static kd_status measure_shape(kd_ctx *ctx, const options *o, const kd_variant *variant, int64_t M, int64_t N, int64_t K) {
    bench b = {.M = M, .N = N, .K = K};
    place(&b, o->bf16);
    KD_TRY(kd_ctx_place(ctx, &b.arena));
    place(&b, o->bf16);
    fill(b.y, M * N);
    fill(b.x, M * K);
    fill(b.w, N * K);
    for (int64_t i = 0; b.w16 && i < N * K; i++) b.w16[i] = kd_bf16_round(b.w[i]);
    kd_status status = KD_OK;
    for (kd_form form = KD_FORM_NT; form <= KD_FORM_TN && !status; form++) status = measure(ctx, o, &b, variant, form);
    kd_ctx_unplace(ctx, &b.arena);
    return status;
}

/* The definition last, with few features. */
static kd_status measure_all(const options *o) {
    static const int64_t usual[][3] = {{2048, 5632, 2048}, {512, 2048, 2048}, {512, 256, 256}, {512, 2048, 768}};
    const int64_t given[][3] = {{o->M, o->N, o->K}}, (*shape)[3] = o->M ? given : usual;
    int64_t shapes = o->M ? 1 : 4;
    kd_ctx *ctx;
    KD_TRY(kd_ctx_open(&ctx, o->threads));
    kd_status status = kd_bench_has(ctx, &kd_matmul_op, o->variant);
    if (!o->json && !status)
        printf("%-8s %-4s %-7s %6s %6s %6s %3s %9s %9s %7s\n", "variant", "form", "weights", "M", "N", "K", "thr", "GF/s", "peak", "ratio");
    for (int64_t i = 0; i < kd_matmul_op.count && !status; i++) {
        const kd_variant *variant = &kd_matmul_op.variant[i];
        bool ref = variant->isa == KD_ISA_REF;
        if (!kd_bench_wants(ctx, variant, o->variant)) continue;
        for (int64_t s = 0; s < (ref ? 1 : shapes) && !status; s++) {
            int64_t N = ref && shape[s][1] > REF_FEATURES ? REF_FEATURES : shape[s][1];
            status = measure_shape(ctx, o, variant, shape[s][0], N, shape[s][2]);
        }
    }
    kd_ctx_close(ctx);
    return status;
}

int kd_bench_gemm(int argc, char **argv) {
    options o = {0};
    const kd_option option[] = {
        {"--m", KD_INTEGER, &o.M, "M", "tokens; with --n and --k: this shape instead of the usual ones"},
        {"--n", KD_INTEGER, &o.N, "N", "output features"},
        {"--k", KD_INTEGER, &o.K, "K", "input features"},
        {"--bf16", KD_FLAG, &o.bf16, NULL, "weights in bf16, but for TN, which makes their gradient"},
        {"--variant", KD_TEXT, &o.variant, "NAME", "this one alone"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--json", KD_FLAG, &o.json, NULL, "one object a line"},
    };
    const kd_usage usage = {"bench gemm", "[options]",
                            "Speed of every variant of the matrix products y = x w' (NT), dx = dy w (NN), dw += dy' x (TN), beside\n"
                            "the FMA peak of the best instruction set measured between the runs; medians of 15. The last\n"
                            "lines are the plain-C definition with few features.",
                            "  kedge bench gemm --threads 1\n"
                            "  KEDGE_ISA=avx2 kedge bench gemm --m 256 --n 2048 --k 768\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    if ((o.M || o.N || o.K) && (o.M < 1 || o.N < 1 || o.K < 1))
        status = kd_fail(KD_ECONFIG, "bench gemm: --m %lld --n %lld --k %lld: all three, each at least 1", (long long)o.M,
                         (long long)o.N, (long long)o.K);
    if (!status) status = measure_all(&o);
    return kd_exit_code(status);
}

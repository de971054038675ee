/* kedge bench rope: the ladder of rotary precisions: how far logits move when all positions do, and what each rung takes. */
#include "bench_rope.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "attn/attn.h"
#include "base/file.h"
#include "base/number.h"
#include "bench.h"
#include "cli.h"
#include "format/chart.h"

enum { SHIFTS = 8 };
static const int64_t shifts[SHIFTS] = {16, 256, 4096, 32768, 131072, 524288, 1 << 20, 1 << 23};
/* Those of the table; the others make the curves. */
static const int table_column[] = {0, 4, 6};
enum { COLUMNS = sizeof table_column / sizeof *table_column };

typedef struct options {
    kd_rope_bench bench;
    int64_t threads;
    const char *device, *theta, *svg;
    bool json, no_time;
} options;

static const char *const frames[] = {[KD_FRAME_WINDOW] = "window", [KD_FRAME_DOCUMENT] = "document"};

static void print_change_json(kd_precision p, kd_frame frame, const options *o, int64_t shift, const kd_rope_change *c) {
    printf("{\"bench\": \"rope\", \"precision\": \"%s\", \"frame\": \"%s\", \"shift\": %lld, \"max\": %.4g, \"rms\": %.4g, "
           "\"logit_rms\": %.4g, \"theta\": %.10g, \"size\": %lld, \"tokens\": %lld, \"heads\": %lld, \"samples\": %lld}\n",
           kd_precision_name(p), frames[frame], (long long)shift, c->most, c->rms, c->size, o->bench.theta,
           (long long)o->bench.size, (long long)o->bench.tokens, (long long)o->bench.heads, (long long)o->bench.samples);
}

static void print_change(kd_precision p, kd_frame frame, const kd_rope_change *change) {
    printf("%-10s  %-8s", kd_precision_name(p), frames[frame]);
    for (int i = 0; i < COLUMNS; i++) {
        const kd_rope_change *c = &change[table_column[i]];
        char text[64];
        snprintf(text, sizeof text, "%.1e / %.1e", c->most, c->rms);
        printf("  %19s", c->most == 0 ? "0 / 0" : text);
    }
    printf("\n");
    fflush(stdout);
}

static kd_status measure_changes(kd_rope_change (*window)[SHIFTS], kd_ctx *ctx, const options *o) {
    if (!o->json) {
        printf("logits: change when all positions grow by that much, largest / rms\n%-10s  %-8s", "precision", "frame");
        for (int i = 0; i < COLUMNS; i++) printf("  %19lld", (long long)shifts[table_column[i]]);
        printf("\n");
    }
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++)
        for (kd_frame frame = KD_FRAME_WINDOW; frame <= KD_FRAME_DOCUMENT; frame++) {
            kd_rope_change change[SHIFTS];
            KD_TRY(kd_rope_bench_change(change, ctx, &o->bench, p, frame, shifts, SHIFTS));
            if (frame == KD_FRAME_WINDOW) memcpy(window[p], change, sizeof change);
            for (int i = 0; i < SHIFTS && o->json; i++) print_change_json(p, frame, o, shifts[i], &change[i]);
            if (!o->json) print_change(p, frame, change);
        }
    if (!o->json)
        printf("rms of the logits: %.2f; %lld samples of %lld heads of %lld, %lld tokens, theta %.10g\n", window[0][0].size,
               (long long)o->bench.samples, (long long)o->bench.heads, (long long)o->bench.size, (long long)o->bench.tokens,
               o->bench.theta);
    return KD_OK;
}

static kd_status measure_times(kd_ctx *ctx, const options *o) {
    const char *line = "%-10s  %-7s %7lld %9.1f %9.1f %9.1f %9.3f %9.3f\n";
    if (o->json)
        line = "{\"bench\": \"rope\", \"precision\": \"%s\", \"variant\": \"%s\", \"time_tokens\": %lld, \"gflops\": %.2f, "
               "\"exact_gflops\": %.2f, \"peak_gflops\": %.1f, \"time_over_exact\": %.4f, \"median_over_exact\": %.4f}\n";
    else
        printf("\nattention forward in turn with exact, %lld times: time over exact's, of the best and the median\n"
               "%-10s  %-7s %7s %9s %9s %9s %9s %9s\n", (long long)o->bench.rounds, "precision", "variant", "T", "GF/s",
               "exact's", "peak", "best", "median");
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
        kd_rope_time t;
        KD_TRY(kd_rope_bench_time(&t, ctx, &o->bench, p));
        printf(line, kd_precision_name(p), t.variant, (long long)t.tokens, t.gflops, t.exact_gflops, t.peak_gflops,
               t.best, t.median);
        fflush(stdout);
    }
    return KD_OK;
}

/* Frame window: in frame document nothing moves. */
static kd_status draw(const char *path, kd_rope_change (*change)[SHIFTS], const options *o) {
    double x[SHIFTS], y[KD_PRECISIONS][SHIFTS];
    kd_series series[KD_PRECISIONS];
    char title[128];
    snprintf(title, sizeof title, "Change of logits when all positions shift, theta %.10g", o->bench.theta);
    for (int i = 0; i < SHIFTS; i++) x[i] = (double)shifts[i];
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
        for (int i = 0; i < SHIFTS; i++) y[p][i] = change[p][i].rms;
        series[p] = (kd_series){kd_precision_name(p), x, y[p], SHIFTS, KD_SERIES_POINTS, (int)p};
    }
    const kd_chart chart = {title, {.label = "shift, tokens", .scale = KD_LOG2_SCALE},
                            {.label = "rms change of a logit", .scale = KD_LOG_SCALE}, series, KD_PRECISIONS};
    kd_text text = {0};
    kd_status status = kd_chart_draw(&text, &chart, true);
    if (!status) status = kd_file_replace(path, text.data, text.size);
    kd_text_free(&text);
    return status;
}

/* On a GPU: rows of attention, and what a precision takes beside bf16-store, which others have. */
static kd_status measure_device(kd_ctx *ctx, const options *o) {
    double base[2] = {0}, took[2] = {0};
    if (!o->json) {
        printf("rows of attention: sum of changes over a row when all positions grow by that much, mean / largest; then the first key's share\n"
               "%-10s  %-10s  %-8s", "precision", "variant", "frame");
        for (int i = 0; i < COLUMNS; i++) printf("  %25lld", (long long)shifts[table_column[i]]);
        printf("\n");
    }
    for (kd_precision p = KD_PRECISION_EXACT; p < KD_PRECISIONS; p++) {
        const kd_plan plan = {.T = o->bench.tokens, .N = 1};
        const kd_attn asked = {.plan = &plan, .precision = p, .H = o->bench.heads, .G = o->bench.heads, .E = o->bench.size};
        const kd_variant *variant = kd_op_choose(ctx, &kd_attn_forward_op, &asked);
        for (kd_frame frame = KD_FRAME_WINDOW; variant && frame <= KD_FRAME_DOCUMENT; frame++) {
            kd_rope_change c[SHIFTS];
            KD_TRY(kd_rope_bench_rows(c, ctx, &o->bench, p, frame, shifts, SHIFTS));
            for (int i = 0; i < SHIFTS && o->json; i++)
                printf("{\"bench\": \"rope rows\", \"device\": \"%s\", \"variant\": \"%s\", \"precision\": \"%s\", \"frame\": \"%s\", \"shift\": "
                       "%lld, \"mean\": %.4g, \"max\": %.4g, \"first_key\": %.4g}\n", o->device, variant->name, kd_precision_name(p), frames[frame],
                       (long long)shifts[i], c[i].rms, c[i].most, c[i].size);
            if (o->json) continue;
            printf("%-10s  %-10s  %-8s", kd_precision_name(p), variant->name, frames[frame]);
            for (int i = 0; i < COLUMNS; i++) {
                const kd_rope_change *x = &c[table_column[i]];
                printf("  %8.1e /%8.1e %5.1f%%", x->rms, x->most, 100 * x->size);
            }
            printf("\n");
            fflush(stdout);
        }
    }
    if (o->no_time) return KD_OK;
    KD_TRY(kd_rope_bench_cost(base, ctx, &o->bench, KD_PRECISION_BF16_STORE));
    if (!o->json) printf("\nforward and backward of %lld tokens, %lld heads: milliseconds, and over bf16-store's\n", (long long)o->bench.time_tokens, (long long)o->bench.time_heads);
    static const kd_precision timed[] = {KD_PRECISION_BF16_STORE, KD_PRECISION_F16_STORE, KD_PRECISION_SPLIT};
    for (int i = 0; i < 3; i++) {
        KD_TRY(kd_rope_bench_cost(took, ctx, &o->bench, timed[i]));
        printf(o->json ? "{\"bench\": \"rope cost\", \"precision\": \"%s\", \"forward_ms\": %.4g, \"over\": %.4f, \"backward_ms\": %.4g, \"backward_over\": %.4f}\n"
                       : "%-10s  %8.3f %6.3f   %8.3f %6.3f\n",
               kd_precision_name(timed[i]), 1e3 * took[0], took[0] / base[0], 1e3 * took[1], took[1] / base[1]);
    }
    return KD_OK;
}

static kd_status run(const options *o) {
    kd_rope_change change[KD_PRECISIONS][SHIFTS];
    kd_ctx *ctx;
    kd_status status;
    KD_TRY(kd_ctx_open_device(&ctx, o->device, o->threads));
    if (!ctx->device->host_may_touch) {
        status = o->svg ? kd_fail(KD_ENOTSUP, "bench rope: --svg draws logits, which a host alone shows") : measure_device(ctx, o);
        goto done;
    }
    KD_GO(measure_changes(change, ctx, o));
    if (o->svg) KD_GO(draw(o->svg, change, o));
    if (!o->no_time) KD_GO(measure_times(ctx, o));
done:
    kd_ctx_close(ctx);
    return status;
}

static kd_status check(options *o) {
    kd_rope_bench *b = &o->bench;
    char *end;
    b->theta = kd_number_parse(o->theta, &end);
    if (*end || !(b->theta >= 1 && isfinite(b->theta)))
        return kd_fail(KD_ECONFIG, "bench rope: --theta %s: a number of at least 1", o->theta);
    if (b->size < 2 || b->size > 256 || b->size % 2)
        return kd_fail(KD_ECONFIG, "bench rope: head size %lld is not even in 2..256", (long long)b->size);
    if (b->tokens < 1 || b->tokens > 4096 || b->heads < 1 || b->samples < 1 || b->time_tokens < 1 ||
        b->time_documents < 1 || b->time_heads < 1 || b->rounds < 1)
        return kd_fail(KD_ECONFIG, "bench rope: --tokens %lld is 1 to 4096, what else is counted at least 1", (long long)b->tokens);
    return KD_OK;
}

int kd_bench_rope(int argc, char **argv) {
    options o = {.bench = {.tokens = 256, .heads = 8, .size = 128, .samples = 4, .time_tokens = 2048, .time_documents = 1,
                           .time_heads = 1, .rounds = 31}, .device = "host", .theta = "1e4"};
    const kd_option option[] = {
        {"--heads", KD_INTEGER, &o.bench.heads, "N", "whose logits are compared"},
        {"--samples", KD_INTEGER, &o.bench.samples, "N", "of queries and keys of each"},
        {"--tokens", KD_INTEGER, &o.bench.tokens, "N", "of a sample"},
        {"--size", KD_INTEGER, &o.bench.size, "N", "of a head"},
        {"--theta", KD_TEXT, &o.theta, "X", "base of the rotary frequencies"},
        {"--time-tokens", KD_INTEGER, &o.bench.time_tokens, "N", "of the window that is timed"},
        {"--time-documents", KD_INTEGER, &o.bench.time_documents, "N", "of equal length, that it is cut into"},
        {"--time-heads", KD_INTEGER, &o.bench.time_heads, "N", "of that window"},
        {"--rounds", KD_INTEGER, &o.bench.rounds, "N", "pairs of runs of each precision"},
        {"--device", KD_TEXT, &o.device, "NAME", "host, cuda or cuda:N: rows of attention of its own kernels instead of logits"},
        {"--no-time", KD_FLAG, &o.no_time, NULL, "compares logits alone"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--svg", KD_TEXT, &o.svg, "FILE", "the changes as curves over the shift"},
        {"--json", KD_FLAG, &o.json, NULL, "one object a line"},
    };
    const kd_usage usage = {"bench rope", "[options]",
                            "How exact each rope.precision is: the change of attention's logits (scaled by 1/sqrt(size)) when all\n"
                            "positions of a document grow by the same shift, which should change nothing. Queries and keys are\n"
                            "normal, key 0 is six times larger. Then the time of attention forward with each precision, run in\n"
                            "turn with exact by the same variant, beside the FMA peak. bf16-eager has the plain-C definition\n"
                            "alone and is timed on a small window.",
                            "  kedge bench rope\n"
                            "  kedge bench rope --theta 5e6 --svg rope.svg --no-time\n"
                            "  kedge bench rope --threads 1 --time-tokens 1K --rounds 101\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&o);
    if (!status) status = run(&o);
    return kd_exit_code(status);
}

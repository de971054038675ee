/* kedge bench decode: how fast a model reads a prompt and writes token after token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/random.h"
#include "bench.h"
#include "cli.h"
#include "dev/memory.h"
#include "dev/peak.h"
#include "model/decoder.h"
#include "model/params.h"

enum { BATCHES = 16 };

typedef struct options {
    const char *model, *batch, *cache;
    int64_t prompt, tokens, threads, batches, sequences[BATCHES];
    bool json;
} options;

typedef struct bench {
    kd_ctx *ctx;
    kd_config config;
    kd_decoder *decoder;
    kd_layout layout;
    int32_t *token;
    float *logits;
    double flops, bandwidth;       /* the machine's */
} bench;

static int64_t most_sequences(const options *o) {
    int64_t most = 1;
    for (int64_t i = 0; i < o->batches; i++)
        if (o->sequences[i] > most) most = o->sequences[i];
    return most;
}

static void bench_close(bench *b) {
    kd_decoder_close(b->decoder);
    kd_config_close(&b->config);
    kd_ctx_close(b->ctx);
    free(b->token);
    free(b->logits);
}

static kd_status bench_open(bench *b, const options *o) {
    const kd_decoder_options decoder = {o->prompt + o->tokens, most_sequences(o), !strcmp(o->cache, "bf16")};
    kd_status status;
    *b = (bench){0};
    KD_GO(kd_ctx_open(&b->ctx, o->threads));
    KD_GO(kd_config_open(&b->config, o->model));
    KD_GO(kd_layout_init(&b->layout, &b->config));
    KD_GO(kd_decoder_open(&b->decoder, b->ctx, &b->config, o->model, &decoder));
    KD_GO(kd_new(&b->token, o->prompt, sizeof *b->token));
    KD_GO(kd_new(&b->logits, b->config.V, sizeof *b->logits));
    for (int64_t i = 0; i < o->prompt; i++) b->token[i] = (int32_t)(kd_random_bits(1, 0, (uint64_t)i) % (uint64_t)b->config.V);
    KD_GO(kd_peak_bandwidth(&b->bandwidth, b->ctx));
    b->flops = kd_peak_flops(b->ctx);
done:
    if (status) bench_close(b);
    return status;
}

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* The prompt to every one of the sequences: seconds of the first. */
static kd_status prefill(double *seconds, bench *b, const options *o, int64_t sequences) {
    double began = kd_now();
    KD_TRY(kd_decoder_read(b->decoder, &(kd_feed){.token = b->token, .count = o->prompt, .logits = b->logits}, 1));
    *seconds = kd_now() - began;
    for (int64_t i = 1; i < sequences; i++) KD_TRY(kd_decoder_copy(b->decoder, i, 0, o->prompt));
    return KD_OK;
}

/* The median of the seconds of a step. */
static kd_status decode(double *seconds, bench *b, const options *o, int64_t sequences) {
    double *took = NULL;
    kd_feed *feed = NULL;
    kd_likely *top = NULL;
    int32_t *next = NULL;
    kd_status status;
    KD_GO(kd_new(&took, o->tokens, sizeof *took));
    KD_GO(kd_new(&feed, sequences, sizeof *feed));
    KD_GO(kd_new(&top, sequences, sizeof *top));
    KD_GO(kd_new(&next, sequences, sizeof *next));
    for (int64_t i = 0; i < sequences; i++) top[i].token = (int32_t)(i % b->config.V);
    for (int64_t t = 0; t < o->tokens; t++) {
        double began = kd_now();
        for (int64_t i = 0; i < sequences; i++) {
            next[i] = top[i].token;
            feed[i] = (kd_feed){.sequence = i, .from = o->prompt + t, .token = &next[i], .count = 1, .tops = 1, .top = &top[i]};
        }
        KD_GO(kd_decoder_read(b->decoder, feed, sequences));
        took[t] = kd_now() - began;
    }
    qsort(took, (size_t)o->tokens, sizeof *took, ascending);
    *seconds = took[o->tokens / 2];
done:
    free(next);
    free(top);
    free(feed);
    free(took);
    return status;
}

/* Bytes that a step of so many sequences has to read: all matrices once, and what attention sees. */
static double step_bytes(const bench *b, const options *o, int64_t sequences) {
    kd_decoder_memory memory = kd_decoder_memory_use(b->decoder);
    double table = (double)b->layout.size[KD_P_EMBED] / (double)b->layout.count, stored = (double)(memory.mapped + memory.copied);
    double weights = b->config.tied ? stored : stored * (1 - table);
    return weights + (double)sequences * (double)memory.cache_token * (double)(o->prompt + o->tokens / 2);
}

static double prompt_flops(const bench *b, const options *o) {
    const kd_config *c = &b->config;
    double P = (double)o->prompt, head = (double)(c->V * c->C), multiplied = (double)(b->layout.count - b->layout.size[KD_P_EMBED]);
    if (!c->tied) multiplied -= head;
    return 2 * multiplied * P + 2 * head + 4 * (double)(c->E * c->H * c->L) * P * (P + 1) / 2;
}

static void print_prompt(const bench *b, const options *o, double seconds) {
    kd_decoder_memory m = kd_decoder_memory_use(b->decoder);
    double rate = prompt_flops(b, o) / seconds, tokens = (double)o->prompt / seconds;
    if (!o->json) {
        printf("prompt of %lld: %.4g s, %.5g tokens/s; %.1f GF/s, %.1f%% of the peak of %.1f\n", (long long)o->prompt, seconds, tokens, rate * 1e-9,
               100 * rate / b->flops, b->flops * 1e-9);
        printf("%9s %12s %12s %10s %10s %8s\n", "sequences", "s a step", "tokens/s", "GB a step", "GB/s", "of peak");
        return;
    }
    printf("{\"bench\": \"decode\", \"parameters\": %lld, \"threads\": %lld, \"isa\": \"%s\", \"cache\": \"%s\", \"prompt\": %lld, ",
           (long long)b->layout.count, (long long)kd_pool_threads(b->ctx->pool), kd_isa_name(b->ctx->isa), o->cache, (long long)o->prompt);
    printf("\"prompt_seconds\": %.5g, \"prompt_tokens_per_second\": %.5g, \"gflops\": %.4g, \"peak_gflops\": %.4g, \"peak_gbytes\": %.4g, ", seconds,
           tokens, rate * 1e-9, b->flops * 1e-9, b->bandwidth * 1e-9);
    printf("\"weights\": %lld, \"cache_token\": %lld, \"steps\": [", (long long)(m.mapped + m.copied), (long long)m.cache_token);
}

static void print_step(const bench *b, const options *o, int64_t sequences, double seconds, bool first) {
    double bytes = step_bytes(b, o, sequences), tokens = (double)sequences / seconds, share = bytes / seconds / b->bandwidth;
    if (o->json)
        printf("%s{\"sequences\": %lld, \"seconds\": %.5g, \"tokens_per_second\": %.5g, \"bytes\": %.6g, \"share_of_bandwidth\": %.4f}",
               first ? "" : ", ", (long long)sequences, seconds, tokens, bytes, share);
    else printf("%9lld %12.4g %12.5g %10.4g %10.2f %7.1f%%\n", (long long)sequences, seconds, tokens, bytes * 1e-9, bytes / seconds * 1e-9, 100 * share);
    fflush(stdout);
}

static void print_end(const bench *b, const options *o) {
    double mapped = (double)kd_decoder_memory_use(b->decoder).mapped;
    if (o->json) printf("], \"memory\": %lld}\n", (long long)kd_memory_peak());
    else printf("memory reads %.2f GB/s; %.2f GiB in memory at most, %.2f GiB of it weights in maps\n", b->bandwidth * 1e-9,
                (double)kd_memory_peak() * 0x1p-30, mapped * 0x1p-30);
}

static kd_status run(const options *o) {
    bench b;
    kd_status status;
    double seconds;
    KD_TRY(bench_open(&b, o));
    KD_GO(prefill(&seconds, &b, o, 1));  /* pages and caches */
    KD_GO(prefill(&seconds, &b, o, 1));
    print_prompt(&b, o, seconds);
    for (int64_t i = 0; i < o->batches; i++) {
        KD_GO(prefill(&seconds, &b, o, o->sequences[i]));
        KD_GO(decode(&seconds, &b, o, o->sequences[i]));
        print_step(&b, o, o->sequences[i], seconds, i == 0);
    }
    print_end(&b, o);
done:
    bench_close(&b);
    return status;
}

static kd_status check(options *o) {
    if (!o->model) return kd_fail(KD_ECONFIG, "bench decode: --model is missing");
    if (strcmp(o->cache, "f32") && strcmp(o->cache, "bf16"))
        return kd_fail(KD_ECONFIG, "bench decode: --cache %s: it is f32 or bf16", o->cache);
    KD_TRY(kd_options_integers(o->sequences, BATCHES, &o->batches, "bench decode", "--batch", o->batch));
    for (int64_t i = 0; i < o->batches; i++)
        if (o->sequences[i] < 1 || o->sequences[i] > 512)
            return kd_fail(KD_ECONFIG, "bench decode: --batch %lld: 1 to 512", (long long)o->sequences[i]);
    if (o->prompt < 1 || o->prompt > 1 << 20 || o->tokens < 1 || o->tokens > 1 << 16)
        return kd_fail(KD_ECONFIG, "bench decode: --prompt %lld is 1 to 1M, --tokens %lld 1 to 64K", (long long)o->prompt,
                       (long long)o->tokens);
    return KD_OK;
}

int kd_bench_decode(int argc, char **argv) {
    options o = {.batch = "1,4,16", .cache = "f32", .prompt = 512, .tokens = 16};
    const kd_option option[] = {
        {"--model", KD_TEXT, &o.model, "DIR", "Hugging Face folder"},
        {"--prompt", KD_INTEGER, &o.prompt, "N", "tokens, random ones"},
        {"--tokens", KD_INTEGER, &o.tokens, "N", "written behind it"},
        {"--batch", KD_TEXT, &o.batch, "LIST", "sequences at once"},
        {"--cache", KD_TEXT, &o.cache, "NAME", "of keys and values: f32 or bf16"},
        {"--threads", KD_INTEGER, &o.threads, "N", "one for each core unless given"},
        {"--json", KD_FLAG, &o.json, NULL, "one object"},
    };
    const kd_usage usage = {"bench decode", "--model DIR [options]",
                            "A prompt read at once, beside the FMA peak, and tokens written one after another, beside the speed at which memory is "
                            "read: a step has to read every matrix, and the keys and values of every sequence. The median step.",
                            "  kedge bench decode --model models/llama-2-7b --cache bf16\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    status = check(&o);
    if (!status) status = run(&o);
    return kd_exit_code(status);
}

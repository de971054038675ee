/* kedge bench ranks: logits of a window that several ranks share beside those of one rank, as the paper's table 8 has them. Ranks are
 * threads of this process. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_windows.h"
#include "cli.h"
#include "model/model.h"

enum { RANKS_MOST = 64, SEED = 1 };
#define DEADLINE 1e6 /* seconds: as long as it takes */

typedef struct options {
    int64_t ranks, window, mean_length, heads, groups, size, layers, vocabulary;
    const char *model, *pack, *tokenizer, *mask, *mode, *activations;
    bool json;
} options;

/* One line: a window, how it is computed, and what came out. */
typedef struct trial {
    const options *o;
    const kd_config *config;
    const kd_plan *plan;
    const char *mask;
    bool bf16;
    kd_sequence_mode mode;
    const float *weights;            /* all */
    float *logits;                   /* [T, V] of one rank */
    double difference[RANKS_MOST], largest;
    int64_t pairs[RANKS_MOST], sent[RANKS_MOST];
} trial;

/* A bf16 network: float32 rotation, rotated queries and keys kept as bf16, positions of the window. Else kedge's own. */
static kd_status open_model(kd_model **model, kd_ctx *ctx, const trial *t, kd_comm *comm) {
    kd_model_options how = {.window = t->plan->T, .windows = 1, .micro = 1, .leaves = 1, .frame = t->bf16 ? KD_FRAME_WINDOW : KD_FRAME_DOCUMENT,
                            .precision = t->bf16 ? KD_PRECISION_BF16_STORE : KD_PRECISION_EXACT, .bf16_activations = t->bf16,
                            .sequence = comm, .mode = t->mode};
    KD_TRY(kd_model_open(model, ctx, t->config, &how));
    return ctx->device->put(ctx, kd_model_weights(*model), t->weights, kd_model_layout(*model)->count * (int64_t)sizeof(float));
}

/* Read, or drawn, once; free(). */
static kd_status make_weights(float **weights, const options *o, const kd_config *config) {
    const kd_model_options smallest = {.window = 1, .windows = 1, .micro = 1, .leaves = 1};
    kd_ctx *ctx = NULL;
    kd_model *model = NULL;
    kd_status status;
    KD_GO(kd_ctx_open(&ctx, 0));
    KD_GO(kd_model_open(&model, ctx, config, &smallest));
    KD_GO(o->model ? kd_model_load(model, o->model) : kd_model_init(model, config, SEED));
    int64_t count = kd_model_layout(model)->count;
    KD_GO(kd_new(weights, count, sizeof **weights));
    KD_GO(ctx->device->get(ctx, *weights, kd_model_weights(model), count * (int64_t)sizeof **weights));
done:
    kd_model_close(model);
    kd_ctx_close(ctx);
    return status;
}

/* logits [V] of tokens from .. from+count-1 of the window, the first rank's, are kept; the others' are compared to them. */
static void take(trial *t, int64_t rank, bool first, const float *logits, int64_t from, int64_t count) {
    int64_t V = t->config->V;
    float *of_one = t->logits + from * V;
    for (int64_t i = 0; i < count * V; i++) {
        double size = fabs((double)logits[i]), difference = fabs((double)logits[i] - of_one[i]);
        if (first) of_one[i] = logits[i];
        if (first && !(size <= t->largest)) t->largest = size;  /* a NaN stays */
        if (!first && !(difference <= t->difference[rank])) t->difference[rank] = difference;
    }
}

/* This rank's tokens; comm NULL: all, on one rank. */
static kd_status compute(trial *t, kd_comm *comm) {
    kd_ctx *ctx = NULL;
    kd_model *model = NULL;
    float *logits = NULL;
    int64_t rank = comm ? kd_comm_rank(comm) : 0, size = comm ? kd_comm_size(comm) : 1, T = t->plan->T;
    int64_t from = rank * T / size, end = (rank + 1) * T / size, threads = kd_cores() / size;
    kd_status status;
    KD_GO(kd_ctx_open(&ctx, threads > 1 ? threads : 1));
    KD_GO(open_model(&model, ctx, t, comm));
    KD_GO(kd_new(&logits, KD_BLOCK * t->config->V, sizeof *logits));
    int64_t sent = comm ? kd_comm_sent(comm) : 0;
    KD_GO(kd_model_forward(model, &t->plan, 1, 0));
    t->sent[rank] = comm ? kd_comm_sent(comm) - sent : 0;
    t->pairs[rank] = kd_model_pairs(model, t->plan);
    for (int64_t at = from; at < end; at += KD_BLOCK) {
        int64_t count = end - at < KD_BLOCK ? end - at : KD_BLOCK;
        KD_GO(kd_model_logits(model, logits, at - from, count));
        take(t, rank, !comm, logits, at, count);
    }
done:
    free(logits);
    kd_model_close(model);
    kd_ctx_close(ctx);
    return status;
}

static kd_status rank_body(void *arg, kd_comm *comm) {
    return kd_comm_agree(comm, "a forward", compute(arg, comm));
}

static void print(const trial *t) {
    double difference = 0, pairs = 0, busiest = 0, sent = 0;
    int64_t ranks = t->o->ranks;
    for (int64_t r = 0; r < ranks; r++) {
        if (!(t->difference[r] <= difference)) difference = t->difference[r];
        if ((double)t->pairs[r] > busiest) busiest = (double)t->pairs[r];
        pairs += (double)t->pairs[r], sent += (double)t->sent[r] / (double)ranks;
    }
    double work = busiest * (double)ranks / pairs;
    const char *activations = t->bf16 ? "bf16" : "f32", *mode = kd_sequence_mode_name(t->mode);
    if (t->o->json)
        printf("{\"bench\": \"ranks\", \"ranks\": %lld, \"window\": %lld, \"documents\": %lld, \"mask\": \"%s\", \"activations\": \"%s\", "
               "\"mode\": \"%s\", \"difference\": %.6g, \"largest\": %.6g, \"work\": %.4f, \"sent\": %.0f}\n",
               (long long)ranks, (long long)t->plan->T, (long long)t->plan->N, t->mask, activations, mode, difference, t->largest, work, sent);
    else
        printf("%-6s %5lld %-11s %-11s %10.3g %8.3g %8.3f %10.1f\n", t->mask, (long long)t->plan->N, activations, mode, difference,
               t->largest, work, sent / (1 << 20));
    fflush(stdout);
}

static bool wanted(const char *only, const char *name) { return !only || !strcmp(only, name); }

static kd_status run_mask(const options *o, const kd_config *config, const float *weights, const char *mask) {
    bool full = !strcmp(mask, "full");
    const kd_bench_windows_options drawn = {.tokens = o->window, .documents = 1, .mean_length = full ? 0 : o->mean_length,
                                            .vocabulary = config->V, .anchor = !full, .pack = o->pack, .tokenizer = o->tokenizer, .windows = 1};
    kd_bench_windows windows;
    float *logits = NULL;
    kd_status status;
    KD_TRY(kd_bench_windows_open(&windows, &drawn));
    KD_GO(kd_new(&logits, windows.tokens * config->V, sizeof *logits));
    for (int bf16 = 0; bf16 < 2; bf16++) {
        trial one = {.o = o, .config = config, .plan = windows.plan, .mask = mask, .bf16 = bf16, .weights = weights, .logits = logits};
        if (!wanted(o->activations, bf16 ? "bf16" : "f32")) continue;
        KD_GO(compute(&one, NULL));
        for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) {
            trial t = one;
            if (!wanted(o->mode, kd_sequence_mode_name(mode))) continue;
            t.mode = mode;
            KD_GO(kd_comm_threads(o->ranks, DEADLINE, rank_body, &t));
            print(&t);
        }
    }
done:
    free(logits);
    kd_bench_windows_close(&windows);
    return status;
}

/* Weights whose products keep the size of what they multiply. */
static kd_status open_config(kd_config *config, const options *o) {
    char text[600];
    int64_t C = o->heads * o->size;
    if (o->model) return kd_config_open(config, o->model);
    snprintf(text, sizeof text, "{\"model_type\": \"llama\", \"vocab_size\": %lld, \"hidden_size\": %lld, \"intermediate_size\": %lld, "
             "\"num_hidden_layers\": %lld, \"num_attention_heads\": %lld, \"num_key_value_heads\": %lld, \"head_dim\": %lld, "
             "\"rms_norm_eps\": 1e-5, \"rope_theta\": 5e6, \"max_position_embeddings\": %lld, \"initializer_range\": %.6g}", (long long)o->vocabulary, (long long)C,
             (long long)(C * 11 / 4), (long long)o->layers, (long long)o->heads, (long long)o->groups, (long long)o->size, (long long)o->window,
             1 / sqrt((double)C));
    return kd_config_parse(config, text, (int64_t)strlen(text), "bench ranks");
}

static kd_status run(const options *o) {
    static const char *const masks[] = {"full", "anchor"};
    kd_config config = {0};
    float *weights = NULL;
    kd_status status;
    KD_GO(open_config(&config, o));
    KD_GO(make_weights(&weights, o, &config));
    if (!o->json)
        printf("%-6s %5s %-11s %-11s %10s %8s %8s %10s\n", "mask", "N", "activations", "mode", "difference", "largest", "work", "MiB sent");
    if (o->pack) KD_GO(run_mask(o, &config, weights, "pack"));
    for (int i = 0; i < 2; i++)
        if (!o->pack && wanted(o->mask, masks[i])) KD_GO(run_mask(o, &config, weights, masks[i]));
done:
    free(weights);
    kd_config_close(&config);
    return status;
}

static kd_status check(const options *o) {
    bool known = !o->mode;
    for (kd_sequence_mode mode = 0; mode < KD_SEQUENCE_MODES; mode++) known |= wanted(o->mode, kd_sequence_mode_name(mode));
    if (!known) return kd_fail(KD_ECONFIG, "bench ranks: --mode %s: it is ulysses, allgather, zigzag or zigzag-bf16", o->mode);
    if (o->mask && strcmp(o->mask, "full") && strcmp(o->mask, "anchor"))
        return kd_fail(KD_ECONFIG, "bench ranks: --mask %s: it is full or anchor", o->mask);
    if (o->activations && strcmp(o->activations, "f32") && strcmp(o->activations, "bf16"))
        return kd_fail(KD_ECONFIG, "bench ranks: --activations %s: it is f32 or bf16", o->activations);
    if (o->ranks < 2 || o->ranks > RANKS_MOST || (o->ranks & (o->ranks - 1)))
        return kd_fail(KD_ECONFIG, "bench ranks: --ranks %lld: a power of two, 2 to %d", (long long)o->ranks, RANKS_MOST);
    if (!o->pack != !o->tokenizer || (o->pack && o->mask))
        return kd_fail(KD_ECONFIG, "bench ranks: --pack and --tokenizer go together, without --mask");
    if (o->window < 2 || o->window >= 1 << 24 || o->mean_length < 1 || o->heads < 1 || o->heads > 4096 || o->size < 2 || o->size > 256)
        return kd_fail(KD_ECONFIG, "bench ranks: --window %lld, --mean-length %lld, --heads %lld, --size %lld: out of range",
                       (long long)o->window, (long long)o->mean_length, (long long)o->heads, (long long)o->size);
    return KD_OK;
}

int kd_bench_ranks(int argc, char **argv) {
    options o = {.ranks = 8, .window = 4096, .heads = 8, .size = 64, .layers = 4, .vocabulary = 2048};
    const kd_option option[] = {
        {"--ranks", KD_INTEGER, &o.ranks, "N", "that share the window"},
        {"--window", KD_INTEGER, &o.window, "N", "tokens, random ones"},
        {"--mean-length", KD_INTEGER, &o.mean_length, "N", "of mask anchor's documents, exponentially distributed; window/16 unless given"},
        {"--pack", KD_TEXT, &o.pack, "DIR", "the first window of a pack instead"},
        {"--tokenizer", KD_TEXT, &o.tokenizer, "DIR", "that the pack was made with"},
        {"--mask", KD_TEXT, &o.mask, "NAME", "full or anchor; both unless given"},
        {"--mode", KD_TEXT, &o.mode, "NAME", "ulysses, allgather, zigzag or zigzag-bf16; all unless given"},
        {"--activations", KD_TEXT, &o.activations, "NAME", "f32 or bf16; both unless given"},
        {"--model", KD_TEXT, &o.model, "DIR", "a Hugging Face folder instead of random weights"},
        {"--heads", KD_INTEGER, &o.heads, "N", "query heads of random weights"},
        {"--groups", KD_INTEGER, &o.groups, "N", "key/value heads; as many as query heads unless given"},
        {"--size", KD_INTEGER, &o.size, "N", "of a head"},
        {"--layers", KD_INTEGER, &o.layers, "N", "of random weights"},
        {"--vocabulary", KD_INTEGER, &o.vocabulary, "N", "of random weights"},
        {"--json", KD_FLAG, &o.json, NULL, "one object a line"},
    };
    const kd_usage usage = {"bench ranks", "[options]",
                            "The largest difference between logits that several ranks compute and those of one rank, for each "
                            "parallel.mode: the paper's table 8, with the largest logit beside it. activations bf16: every operation's "
                            "output is rounded to bf16, rotated queries and keys too, as in a bf16 network; computing stays float32. "
                            "Then the query/key pairs of the busiest rank over the mean, and what a rank sends in the forward pass, on "
                            "average. Ranks are threads.",
                            "  kedge bench ranks\n"
                            "  kedge bench ranks --window 32K\n"
                            "  kedge bench ranks --model models/llama-2-7b --mask full --activations bf16\n",
                            option, sizeof option / sizeof *option};
    int64_t count;
    bool done;
    kd_status status = kd_options_read(&usage, argc, argv, NULL, 0, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (o.groups == 0) o.groups = o.heads;
    if (o.mean_length == 0) o.mean_length = o.window > 16 ? o.window / 16 : 1;
    status = check(&o);
    if (!status) status = run(&o);
    return kd_exit_code(status);
}

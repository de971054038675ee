/* Documents of drawn lengths, or those of a pack. */
#include "bench_windows.h"

#include <math.h>
#include <stdlib.h>

#include "attn/attn.h"
#include "base/random.h"
#include "data/pack.h"

/* Lengths of documents that fill `tokens`: equal shares, or drawn from an exponential distribution. Returns how many. */
static int64_t draw_lengths(int64_t *length, const kd_bench_windows_options *o, int64_t tokens) {
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

static kd_status draw_plan(kd_plan *plan, const kd_bench_windows_options *o) {
    const kd_plan_options switches = {.mask = o->anchor ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT};
    int64_t *length = NULL;
    int32_t *token = NULL;
    kd_status status;
    KD_GO(kd_new(&length, o->tokens, sizeof *length));
    KD_GO(kd_new(&token, o->tokens, sizeof *token));
    for (int64_t i = 0; i < o->tokens && o->vocabulary; i++) token[i] = (int32_t)(kd_random_bits(1, 1, (uint64_t)i) % (uint64_t)o->vocabulary);
    status = kd_plan_init_lengths(plan, &switches, token, length, draw_lengths(length, o, o->tokens - o->anchor));
done:
    free(length);
    free(token);
    return status;
}

static kd_status read_plans(kd_bench_windows *w, const kd_bench_windows_options *o) {
    kd_tokenizer tokenizer = {0};
    kd_dataset data = {0};
    kd_status status;
    KD_GO(kd_tokenizer_open(&tokenizer, o->tokenizer));
    const kd_dataset_options options = {.pattern = &o->pack, .patterns = 1, .part = "train", .ingest = {.tokenizer = &tokenizer}};
    KD_GO(kd_pack_open(&data, o->pack, &options));
    w->tokens = data.windows.options.window;
    if (data.windows.count < o->windows)
        KD_GO(kd_fail(KD_ECONFIG, "bench: --windows %lld: %s has %lld", (long long)o->windows, o->pack, (long long)data.windows.count));
    for (; w->count < o->windows; w->count++) KD_GO(kd_windows_plan(&w->plan[w->count], &data.windows, w->count, false));
done:
    kd_dataset_close(&data);
    kd_tokenizer_close(&tokenizer);
    return status;
}

kd_status kd_bench_windows_open(kd_bench_windows *w, const kd_bench_windows_options *o) {
    kd_status status;
    *w = (kd_bench_windows){.tokens = o->tokens};
    KD_GO(kd_new(&w->plan, o->windows, sizeof *w->plan));
    if (o->pack) {
        status = read_plans(w, o);
    } else {
        KD_GO(draw_plan(&w->plan[0], o));
        w->count = 1;
    }
done:
    if (status) kd_bench_windows_close(w);
    return status;
}

kd_status kd_bench_windows_full(kd_bench_windows *w, int64_t T) {
    const kd_bench_windows_options one_document = {.tokens = T, .documents = 1, .windows = 1};
    return kd_bench_windows_open(w, &one_document);
}

void kd_bench_windows_close(kd_bench_windows *w) {
    for (int64_t i = 0; i < w->count; i++) kd_plan_free(&w->plan[i]);
    free(w->plan);
    *w = (kd_bench_windows){0};
}

double kd_bench_windows_pairs(const kd_bench_windows *w) {
    int64_t pairs = 0;
    for (int64_t i = 0; i < w->count; i++) pairs += kd_plan_pairs(&w->plan[i]);
    return (double)pairs / (double)w->count;
}

double kd_bench_windows_documents(const kd_bench_windows *w) {
    int64_t documents = 0;
    for (int64_t i = 0; i < w->count; i++) documents += w->plan[i].N;
    return (double)documents / (double)w->count;
}

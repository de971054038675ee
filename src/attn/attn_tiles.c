/* How a window is cut into tiles for the vector kernels, and where their packed data lie. */
#include <math.h>
#include <sched.h>

#include "attn_variants.h"

enum {
    BATCH_TOKENS = 65536,  /* tokens x heads that make a batch worth its barriers */
    FREE_DOCUMENTS = 64,   /* tokens: plans whose documents are as long on average need no more workspace */
};

static int64_t padded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* Documents, as far as memory goes. */
static int64_t documents(const kd_plan *plan) { return max(plan->N, plan->T / FREE_DOCUMENTS + 1); }

static void place(kd_attn_work *w, const kd_ctx *ctx, const kd_attn *a, bool backward, kd_arena *arena) {
    const kd_plan *plan = a->plan;
    int64_t threads = kd_pool_threads(ctx->pool), N = documents(plan);
    int64_t tiles = plan->T / KD_QUERIES + N;
    *w = (kd_attn_work){.a = a, .Ep = padded(a->E, KD_PAD), .group = a->H / a->G};
    w->scale = a->scale > 0 ? a->scale : (float)(1 / sqrt((double)a->E));
    w->rows = plan->T + (KD_PAD - 1) * N;
    int64_t heads = max(2 * threads, BATCH_TOKENS / plan->T);
    w->batch = max(1, (heads + w->group - 1) / w->group);
    if (w->batch > a->G) w->batch = a->G;
    heads = w->batch * w->group;

    w->segment = kd_arena_take(arena, N, sizeof *w->segment);
    w->key = kd_arena_take(arena, w->batch * w->rows * w->Ep, sizeof(float));
    w->value = kd_arena_take(arena, w->batch * w->rows * w->Ep, sizeof(float));
    if (backward) {
        float **each[] = {&w->query, &w->dout, &w->query_t, &w->dout_t, &w->dquery_t, &w->dkey, &w->dvalue};
        float **row[] = {&w->lse2, &w->delta, &w->anchor_ds};
        w->key_by_e = kd_arena_take(arena, w->batch * w->rows * w->Ep, sizeof(float));
        for (int i = 0; i < 7; i++) *each[i] = kd_arena_take(arena, heads * w->rows * w->Ep, sizeof(float));
        for (int i = 0; i < 3; i++) *row[i] = kd_arena_take(arena, heads * w->rows, sizeof(float));
        w->turn = kd_arena_take(arena, heads * tiles, sizeof *w->turn);
        w->anchor_sum = kd_arena_take(arena, plan->anchors * heads * tiles * 2 * w->Ep, sizeof(float));
        w->scratch_floats = 2 * KD_KEYS * KD_QUERIES + 2 * KD_QUERIES * w->Ep;
    } else {
        w->scratch_floats = KD_KEYS * KD_QUERIES + (2 + 2 * KD_BLOCK_TILES) * KD_QUERIES * w->Ep +
                            (1 + 2 * KD_BLOCK_TILES) * KD_QUERIES;
    }
    w->scratch_floats = padded(w->scratch_floats, KD_PAD);
    w->scratch = kd_arena_take(arena, threads * w->scratch_floats, sizeof(float));
}

static int64_t workspace(const kd_ctx *ctx, const kd_attn *a, bool backward) {
    kd_attn_work work;
    kd_arena arena = {0};
    place(&work, ctx, a, backward, &arena);
    return arena.peak;
}

int64_t kd_attn_workspace_forward(const kd_ctx *ctx, const void *args) { return workspace(ctx, args, false); }
int64_t kd_attn_workspace_backward(const kd_ctx *ctx, const void *args) { return workspace(ctx, args, true); }

static int64_t length_class(int64_t length) { return 63 - __builtin_clzll((unsigned long long)length); }

/* Longest first, by powers of two: tasks that are handed out late are short, and threads finish together. */
static void order(kd_attn_work *w) {
    const kd_plan *plan = w->a->plan;
    int64_t next[64] = {0}, before = 0;
    for (int64_t n = 0; n < plan->N; n++) next[length_class(plan->start[n + 1] - plan->start[n])]++;
    for (int64_t c = 63; c >= 0; c--) {
        int64_t count = next[c];
        next[c] = before;
        before += count;
    }
    for (int64_t n = 0; n < plan->N; n++) {
        int64_t length = plan->start[n + 1] - plan->start[n];
        w->segment[next[length_class(length)]++] = (kd_attn_segment){n, plan->start[n], length, 0, 0, 0, 0};
    }
}

void kd_attn_work_init(kd_attn_work *w, const kd_ctx *ctx, const kd_attn *a, bool backward, void *memory) {
    kd_arena arena = {memory, workspace(ctx, a, backward), 0, 0};
    place(w, ctx, a, backward, &arena);
    order(w);
    w->segments = a->plan->N;
    int64_t row = 0;
    for (int64_t i = 0; i < w->segments; i++) {
        kd_attn_segment *s = &w->segment[i];
        s->row = row;
        s->key_tile = w->key_tiles;
        s->query_tile = w->query_tiles;
        s->query_block = w->query_blocks;
        row += padded(s->length, KD_PAD);
        w->key_tiles += padded(s->length, KD_KEYS) / KD_KEYS;
        w->query_tiles += padded(s->length, KD_QUERIES) / KD_QUERIES;
        w->query_blocks += padded(s->length, KD_QUERIES * KD_BLOCK_TILES) / (KD_QUERIES * KD_BLOCK_TILES);
    }
}

static const kd_attn_segment *owner(const kd_attn_work *w, int64_t tile, size_t field) {
    int64_t low = 0, high = w->segments;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (*(const int64_t *)((const char *)&w->segment[middle] + field) <= tile) low = middle;
        else high = middle;
    }
    return &w->segment[low];
}

const kd_attn_segment *kd_attn_key_tile(const kd_attn_work *w, int64_t tile) {
    return owner(w, tile, offsetof(kd_attn_segment, key_tile));
}

const kd_attn_segment *kd_attn_query_tile(const kd_attn_work *w, int64_t tile) {
    return owner(w, tile, offsetof(kd_attn_segment, query_tile));
}

const kd_attn_segment *kd_attn_query_block(const kd_attn_work *w, int64_t block) {
    return owner(w, block, offsetof(kd_attn_segment, query_block));
}

void kd_attn_wait_turn(atomic_int *turn, int64_t j) {
    enum { SPINS = 1000 };  /* then the core may be needed by the thread that is waited for */
    for (int64_t i = 0; atomic_load_explicit(turn, memory_order_acquire) != (int)j; i++)
        if (i >= SPINS) sched_yield();
}

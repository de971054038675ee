/* How a window is cut into tiles for the vector kernels, and where their packed data lie. */
#include <math.h>
#include <sched.h>

#include "attn_variants.h"

enum {
    BATCH_TOKENS = 65536,  /* tokens x heads that make a batch worth its barriers */
    STAGGER = 32,          /* floats: rows of dkey lie elsewhere in a page than those of query, or a load that follows a store
                              to the same place of another page waits for it */
};

static int64_t padded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static int64_t tiles_of(int64_t length, int64_t tile) { return (length + tile - 1) / tile; }

static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }

/* What of document n is computed. */
static kd_attn_segment segment_of(const kd_attn *a, int64_t n) {
    kd_stretch rows = kd_stretch_of_document(a->plan, n, kd_attn_rows(a)), keys = kd_stretch_of_document(a->plan, n, kd_attn_keys(a));
    keys = kd_stretch_both(keys, (kd_stretch){0, rows.to});
    return (kd_attn_segment){.document = n, .first_row = rows.from, .rows = kd_stretch_count(rows), .first_key = keys.from,
                             .keys = kd_stretch_count(keys), .lead = rows.from - keys.from};
}

/* What of a plan the workspace depends on. */
typedef struct extent {
    int64_t segments, anchors;
    int64_t query_rows, key_rows, query_tiles;  /* packed rows and tiles of segments that are not short */
    int64_t all_query_tiles;
    int64_t tasks;
} extent;

/* Rows of a segment that a task owns: keys of a tile, or queries of a block. */
static int64_t part_rows(bool backward) { return backward ? KD_KEYS : KD_BLOCK_TILES * KD_QUERIES; }

/* Into how many tasks a segment is cut. */
static int64_t tasks_of(const kd_attn_segment *s, bool backward) {
    return kd_attn_is_short(s) ? 1 : tiles_of(backward ? s->keys : s->rows, part_rows(backward));
}

static extent extent_of(const kd_attn *a, bool backward) {
    extent x = {.anchors = kd_attn_sees_anchor(a)};
    for (int64_t n = 0; n < a->plan->N; n++) {
        kd_attn_segment s = segment_of(a, n);
        if (!s.rows) continue;
        int64_t tiles = tiles_of(s.rows, KD_QUERIES);
        x.segments++;
        x.all_query_tiles += tiles;
        x.tasks += tasks_of(&s, backward);
        if (kd_attn_is_short(&s)) continue;
        x.query_rows += padded(s.rows, KD_PAD);
        x.key_rows += padded(s.keys, KD_PAD);
        x.query_tiles += tiles;
    }
    return x;
}

/* No plan goes beyond, of so many queries and keys. */
static extent extent_of_any(const kd_attn *a) {
    int64_t rows = kd_stretch_count(kd_attn_rows(a)), keys = kd_stretch_count(kd_attn_keys(a));
    bool part = a->rows.to || a->keys.to;  /* else each document has as many queries as keys */
    int64_t long_ones = (part ? rows + keys : rows) / KD_SHORT + 1;
    return (extent){rows, a->keys.from == 0, rows + KD_PAD * long_ones, keys + KD_PAD * long_ones, rows / KD_QUERIES + long_ones,
                    rows / KD_QUERIES + rows, part ? rows + keys : rows};
}

/* Packed data of `groups` key/value heads and `heads` query heads; `partials` heads have a dkey and dvalue. */
static void place_packed(kd_attn_work *w, kd_arena *arena, bool backward, int64_t groups, int64_t heads,
                         int64_t partials, int64_t query_tiles) {
    int64_t size = w->key_rows * w->Ep;
    w->key = kd_arena_take(arena, groups * size, sizeof(float));
    w->value = kd_arena_take(arena, groups * size, sizeof(float));
    if (!backward) return;
    float **each[] = {&w->query, &w->dout, &w->query_t, &w->dout_t, &w->dquery_t};
    float **row[] = {&w->lse2, &w->delta, &w->anchor_ds};
    w->key_by_e = kd_arena_take(arena, groups * size, sizeof(float));
    kd_arena_take(arena, STAGGER, sizeof(float));
    w->dkey = kd_arena_take(arena, partials * size, sizeof(float));
    w->dvalue = kd_arena_take(arena, partials * size, sizeof(float));
    kd_arena_take(arena, STAGGER, sizeof(float));
    for (int i = 0; i < 5; i++) *each[i] = kd_arena_take(arena, heads * w->query_rows * w->Ep, sizeof(float));
    for (int i = 0; i < 3; i++) *row[i] = kd_arena_take(arena, heads * w->query_rows, sizeof(float));
    w->turn = kd_arena_take(arena, heads * query_tiles, sizeof *w->turn);
}

/* The thread's packed data of one short document. */
static void place_short(kd_attn_work *w, kd_arena *arena, bool backward) {
    w->query_rows = w->key_rows = KD_SHORT;
    place_packed(w, arena, backward, 1, 1, w->group, tiles_of(KD_SHORT, KD_QUERIES));
}

static void place(kd_attn_work *w, const kd_ctx *ctx, const kd_attn *a, bool backward, kd_arena *arena) {
    extent x = ctx->measuring == KD_MEASURE_ANY ? extent_of_any(a) : extent_of(a, backward);
    int64_t threads = kd_pool_threads(ctx->pool);
    *w = (kd_attn_work){.a = a, .Ep = padded(a->E, KD_PAD), .group = a->H / a->G, .rows = kd_attn_rows(a), .keys = kd_attn_keys(a)};
    int64_t tokens = max(kd_stretch_count(w->rows), kd_stretch_count(w->keys));
    w->scale = a->scale > 0 ? a->scale : (float)(1 / sqrt((double)a->E));
    w->batch = min(a->G, tiles_of(max(2 * threads, BATCH_TOKENS / tokens), w->group));
    int64_t heads = w->batch * w->group;

    kd_attn_work one = *w;
    kd_arena measure = {0};
    place_short(&one, &measure, backward);
    w->tile_floats = 2 * KD_KEYS * KD_QUERIES + KD_KEYS * w->Ep;  /* the backward's; packing needs a key tile's rows */
    if (!backward)
        w->tile_floats = KD_KEYS * KD_QUERIES + (2 + 2 * KD_BLOCK_TILES) * KD_QUERIES * w->Ep +
                         (1 + 2 * KD_BLOCK_TILES) * KD_QUERIES;
    w->tile_floats = padded(w->tile_floats, KD_PAD);
    w->scratch_floats = w->tile_floats + measure.used / (int64_t)sizeof(float);

    w->segment = kd_arena_take(arena, x.segments, sizeof *w->segment);
    w->task = kd_arena_take(arena, x.tasks, sizeof *w->task);
    w->query_rows = x.query_rows, w->key_rows = x.key_rows;
    place_packed(w, arena, backward, w->batch, heads, heads, x.query_tiles);
    if (backward)
        w->anchor_sum = kd_arena_take(arena, x.anchors * heads * max(1, x.all_query_tiles) * 2 * w->Ep, sizeof(float));
    w->scratch = kd_arena_take(arena, threads * w->scratch_floats, sizeof(float));
}

static int64_t workspace(const kd_ctx *ctx, const kd_attn *a, bool backward) {
    kd_attn_work work;
    kd_arena arena = {0};
    place(&work, ctx, a, backward, &arena);
    return arena.used;
}

int64_t kd_attn_workspace_forward(const kd_ctx *ctx, const void *args) { return workspace(ctx, args, false); }
int64_t kd_attn_workspace_backward(const kd_ctx *ctx, const void *args) { return workspace(ctx, args, true); }

/* ---- order --------------------------------------------------------------------------------------------------- */

static void count_tiles(kd_attn_work *w, const kd_attn_segment *s) {
    w->key_tiles += tiles_of(s->keys, KD_KEYS);
    w->query_tiles += tiles_of(s->rows, KD_QUERIES);
}

static void cut_documents(kd_attn_work *w) {
    int64_t query_row = 0, key_row = 0;
    for (int is_short = 0; is_short < 2; is_short++)
        for (int64_t n = 0; n < w->a->plan->N; n++) {
            kd_attn_segment s = segment_of(w->a, n);
            if (!s.rows || kd_attn_is_short(&s) != is_short) continue;
            s.query_row = query_row, s.key_row = key_row;
            s.query_tile = w->all_query_tiles, s.key_tile = w->key_tiles;
            w->segment[w->all_segments++] = s;
            w->all_query_tiles += tiles_of(s.rows, KD_QUERIES);
            if (is_short) continue;
            w->segments++;
            query_row += padded(s.rows, KD_PAD);
            key_row += padded(s.keys, KD_PAD);
            count_tiles(w, &s);
        }
}

/* In pairs of tokens, about: packing a short document's row costs as much as some keys. */
static int64_t cost_of(const kd_attn_work *w, bool backward, const kd_attn_segment *s, int64_t part) {
    enum { PACKING = 64 };
    int64_t rows = part_rows(backward), last = (part + 1) * rows;
    if (kd_attn_is_short(s)) return w->group * s->rows * (s->keys / 2 + PACKING);
    return rows * (backward ? min(s->rows, s->rows + s->lead - part * rows) : max(0, min(s->keys, last + s->lead)));
}

/* Eight classes to a power of two. */
static int64_t cost_class(int64_t cost) {
    int64_t power = 63 - __builtin_clzll((unsigned long long)cost | 8);
    return 8 * power + ((cost >> (power - 3)) & 7);
}

/* A stable sort by falling class. Backward, key tiles come before short documents: packing one of these may fail, and then
 * no task behind it is begun, for which a key tile would wait. */
static void order_tasks(kd_attn_work *w, bool backward) {
    enum { CLASSES = 512 };
    int64_t next[2 * CLASSES] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < w->all_segments; i++) {
            const kd_attn_segment *s = &w->segment[i];
            int64_t parts = tasks_of(s, backward), base = backward && !kd_attn_is_short(s) ? CLASSES : 0;
            for (int64_t part = 0; part < parts; part++) {
                int64_t *at = &next[base + cost_class(cost_of(w, backward, s, part))];
                if (pass) w->task[*at] = (kd_attn_task){(int32_t)i, (int32_t)part};
                ++*at;
            }
        }
        if (pass) break;
        for (int64_t c = 2 * CLASSES - 1; c >= 0; c--) {
            int64_t count = next[c];
            next[c] = w->tasks;
            w->tasks += count;
        }
    }
}

void kd_attn_work_init(kd_attn_work *w, const kd_ctx *ctx, const kd_attn *a, bool backward, void *memory) {
    kd_arena arena = {memory, workspace(ctx, a, backward), 0};
    place(w, ctx, a, backward, &arena);
    cut_documents(w);
    order_tasks(w, backward);
}

void kd_attn_work_batch(kd_attn_work *w, int64_t g0) {
    w->g0 = g0;
    w->groups = min(w->batch, w->a->G - g0);
    w->h0 = g0 * w->group;
    w->heads = w->groups * w->group;
}

void kd_attn_work_narrow(kd_attn_work *mine, kd_attn_segment *segment, const kd_attn_work *w, const kd_attn_segment *of_work,
                         bool backward, int64_t g, int64_t thread) {
    int64_t bytes = w->scratch_floats * (int64_t)sizeof(float);
    kd_arena arena = {(char *)w->scratch + thread * bytes, bytes, 0};
    *mine = *w;
    kd_arena_take(&arena, w->tile_floats, sizeof(float));
    place_short(mine, &arena, backward);
    *segment = *of_work;
    segment->query_row = segment->key_row = segment->key_tile = segment->query_tile = 0;
    mine->segment = segment;
    mine->segments = 1;
    mine->key_tiles = mine->query_tiles = 0;
    count_tiles(mine, segment);
    mine->all_query_tiles = mine->query_tiles;
    mine->g0 = w->g0 + g;
    mine->groups = mine->heads = 1;
    mine->h0 = mine->g0 * w->group;
    mine->anchor_sum = NULL;
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

void kd_attn_wait_turn(atomic_int *turn, int64_t j) {
    enum { SPINS = 1000 };  /* then the core may be needed by the thread that is waited for */
    for (int64_t i = 0; atomic_load_explicit(turn, memory_order_acquire) != (int)j; i++)
        if (i >= SPINS) sched_yield();
}

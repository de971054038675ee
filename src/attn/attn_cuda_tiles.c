/* Work lists of CUDA kernels: tiles of all documents, longest first.
 *
 * Blocks of a grid take items from the list's start as they become free, so short ones fill what long ones leave. Backward, key tiles
 * of a document add to the gradient of a row in the order of their keys. Whoever waits was taken after the one it waits for, since a
 * tile that begins earlier in its document meets at least as many rows: so somebody always goes on, even a single block. */
#include "attn_cuda_tiles.h"

/* Eight classes to a power of two. */
enum { CLASSES = 512 };

typedef struct list {
    kd_gpu_tile *tile;         /* NULL: only counts */
    int64_t at[CLASSES];       /* tiles of each class; then where the class's next one goes */
    int64_t tiles, turns;
} list;

static int64_t class_of(int64_t cost) {
    if (cost < 8) return cost;
    int64_t power = 63 - __builtin_clzll((unsigned long long)cost);
    return 8 * (power - 2) + ((cost >> (power - 3)) & 7);
}

static void add(list *l, kd_gpu_tile tile) {
    int64_t *at = &l->at[class_of(tile.others)];
    if (l->tile) l->tile[*at] = tile;
    else l->tiles++;
    ++*at;
}

/* Counts become places, of the longest first. */
static void begin_placing(list *l, kd_gpu_tile *tile) {
    int64_t next = 0;
    l->tile = tile;
    l->turns = 0;
    for (int64_t c = CLASSES - 1; c >= 0; c--) {
        int64_t count = l->at[c];
        l->at[c] = next;
        next += count;
    }
}

static int64_t parts_of(kd_stretch x, int64_t part) { return (kd_stretch_count(x) + part - 1) / part; }

static kd_stretch part_of(kd_stretch x, int64_t part, int64_t n) {
    return kd_stretch_both(x, (kd_stretch){x.from + n * part, x.from + (n + 1) * part});
}

/* What of document n meets: keys behind all rows do not, nor any if there are no rows. */
static void meet(kd_stretch *rows, kd_stretch *keys, const kd_attn *a, int64_t n) {
    *rows = kd_stretch_of_document(a->plan, n, kd_attn_rows(a));
    *keys = kd_stretch_both(kd_stretch_of_document(a->plan, n, kd_attn_keys(a)), (kd_stretch){0, rows->to});
    if (!kd_stretch_count(*rows)) keys->to = keys->from;
}

static void list_forward(list *l, const kd_attn *a, kd_gpu_shape shape) {
    kd_stretch rows, keys;
    int64_t first_row = kd_attn_rows(a).from, first_key = kd_attn_keys(a).from;
    if (a->plan->anchors && first_row == 0) add(l, (kd_gpu_tile){.first = 0, .count = 1});
    for (int64_t n = 0; n < a->plan->N; n++) {
        meet(&rows, &keys, a, n);
        for (int64_t i = parts_of(rows, shape.rows) - 1; i >= 0; i--) {
            kd_stretch part = part_of(rows, shape.rows, i), seen = kd_stretch_both(keys, (kd_stretch){0, part.to});
            kd_gpu_tile tile = {.first = (int32_t)(part.from - first_row), .count = (int32_t)kd_stretch_count(part),
                                .others = (int32_t)kd_stretch_count(seen)};
            if (tile.others) tile.other = (int32_t)(seen.from - first_key);
            add(l, tile);
        }
    }
}

static void list_backward(list *l, const kd_attn *a, kd_gpu_shape shape) {
    kd_stretch rows, keys;
    int64_t first_row = kd_attn_rows(a).from, first_key = kd_attn_keys(a).from;
    for (int64_t n = 0; n < a->plan->N; n++) {
        meet(&rows, &keys, a, n);
        for (int64_t i = 0; i < parts_of(keys, shape.keys); i++) {
            kd_stretch part = part_of(keys, shape.keys, i);
            int64_t block = part.from > rows.from ? (part.from - rows.from) / shape.block : 0, row = rows.from + block * shape.block;
            add(l, (kd_gpu_tile){.first = (int32_t)(part.from - first_key), .count = (int32_t)kd_stretch_count(part),
                                 .other = (int32_t)(row - first_row), .others = (int32_t)(rows.to - row),
                                 .turn = (int32_t)(l->turns + block), .order = (int32_t)i});
        }
        l->turns += parts_of(rows, shape.block);
    }
}

int64_t kd_gpu_forward_tiles(kd_gpu_tile *tile, const kd_attn *a, kd_gpu_shape shape) {
    list l = {0};
    list_forward(&l, a, shape);
    if (!tile) return l.tiles;
    begin_placing(&l, tile);
    list_forward(&l, a, shape);
    return l.tiles;
}

int64_t kd_gpu_backward_tiles(kd_gpu_tile *tile, int64_t *turns, const kd_attn *a, kd_gpu_shape shape) {
    list l = {0};
    list_backward(&l, a, shape);
    if (tile) {
        begin_placing(&l, tile);
        list_backward(&l, a, shape);
    }
    *turns = l.turns;
    return l.tiles;
}

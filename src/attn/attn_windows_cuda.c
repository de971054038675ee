/* The windows seen last, by what they hold. A training step goes through its layers with one or a few; each would otherwise be cut anew,
 * and its positions copied, for every layer and direction. */
#include "attn_windows.h"

#include <stdlib.h>
#include <string.h>

enum {
    WINDOWS = 8,   /* of a step at once: micro-batches, or parts of a window that ranks share */
    LISTS = 4,     /* of a window: two directions, and what float16 falls back to */
};

/* Device memory that grows. */
typedef struct room { void *memory; int64_t bytes; } room;

typedef struct list {
    uint64_t used;             /* when it was; 0: it holds nothing */
    kd_gpu_shape shape;
    bool backward;
    room room;
    kd_gpu_list list;
} list;

struct kd_gpu_window {
    uint64_t used;             /* when it was; 0: it holds nothing */
    int64_t T, N, anchors;
    kd_stretch rows, keys;
    kd_frame frame;
    int64_t *start;            /* copies of the plan's */
    int32_t *position, *base;
    int64_t start_room, position_room, base_room;
    room rotation_room, position_on_device;
    list list[LISTS];
};

typedef struct kd_gpu_windows {
    kd_ctx *ctx;               /* whose they are */
    kd_gpu_window window[WINDOWS];
    uint64_t calls;
    room fallbacks;
    void *scratch;             /* a list, or rotations, on the way to the device */
    int64_t scratch_bytes;
} kd_gpu_windows;

static kd_status room_for(room *r, kd_ctx *ctx, int64_t bytes) {
    if (bytes <= r->bytes) return KD_OK;
    if (r->memory) ctx->device->release(ctx, r->memory, r->bytes);
    *r = (room){0};
    bytes += bytes / 4;  /* the next one may be a little longer */
    KD_TRY(ctx->device->alloc(ctx, &r->memory, bytes));
    r->bytes = bytes;
    return KD_OK;
}

static void room_free(room *r, kd_ctx *ctx) {
    if (r->memory) ctx->device->release(ctx, r->memory, r->bytes);
    *r = (room){0};
}

static void close_windows(kd_cuda *cuda) {
    kd_gpu_windows *all = cuda->windows;
    for (int i = 0; i < WINDOWS; i++) {
        kd_gpu_window *w = &all->window[i];
        free(w->start);
        free(w->position);
        free(w->base);
        room_free(&w->rotation_room, all->ctx);
        room_free(&w->position_on_device, all->ctx);
        for (int k = 0; k < LISTS; k++) room_free(&w->list[k].room, all->ctx);
    }
    room_free(&all->fallbacks, all->ctx);
    free(all->scratch);
    free(all);
    cuda->windows = NULL;
}

static kd_status open_windows(kd_ctx *ctx) {
    kd_gpu_windows *all;
    if (ctx->cuda->windows) return KD_OK;
    KD_TRY(kd_new(&all, 1, sizeof *all));
    all->ctx = ctx;
    ctx->cuda->windows = all;
    ctx->cuda->close_windows = close_windows;
    return KD_OK;
}

static bool same(const void *x, const void *y, int64_t count, int64_t size) { return !memcmp(x, y, (size_t)(count * size)); }

static bool is_window_of(const kd_gpu_window *w, const kd_attn *a) {
    const kd_plan *plan = a->plan;
    kd_stretch rows = kd_attn_rows(a), keys = kd_attn_keys(a);
    return w->used && w->T == plan->T && w->N == plan->N && w->anchors == plan->anchors && w->frame == a->frame &&
           w->rows.from == rows.from && w->rows.to == rows.to && w->keys.from == keys.from && w->keys.to == keys.to &&
           same(w->start, plan->start, plan->N + 1, sizeof *plan->start) && same(w->base, plan->base, plan->N, sizeof *plan->base) &&
           same(w->position, plan->position, plan->T, sizeof *plan->position);
}

static kd_status copy(void *array, int64_t *array_room, const void *from, int64_t count, int64_t size) {
    KD_TRY(kd_grow(array, array_room, count, size));
    if (count) memcpy(*(void **)array, from, (size_t)(count * size));
    return KD_OK;
}

static kd_status scratch_for(kd_gpu_windows *all, int64_t bytes) { return kd_grow(&all->scratch, &all->scratch_bytes, bytes, 1); }

/* Rotations as kd_attn_rotation has them; of the anchor its position, which it is turned by where it is kept. */
static kd_status put_positions(kd_gpu_window *w, kd_ctx *ctx, const kd_attn *a) {
    int64_t T = a->plan->T, bytes = T * (int64_t)sizeof(int32_t);
    kd_attn on_host = *a;
    on_host.position = NULL;
    KD_TRY(room_for(&w->rotation_room, ctx, bytes));
    KD_TRY(room_for(&w->position_on_device, ctx, bytes));
    KD_TRY(scratch_for(ctx->cuda->windows, bytes));
    int32_t *rotation = ctx->cuda->windows->scratch;
    memcpy(rotation, a->plan->position, (size_t)bytes);
    for (int64_t n = 0; n < a->plan->N; n++)
        for (int64_t t = a->plan->start[n]; t < a->plan->start[n + 1]; t++) rotation[t] = (int32_t)kd_attn_rotation(&on_host, n, t);
    KD_TRY(kd_cuda_put_later(ctx, w->rotation_room.memory, rotation, bytes));
    return kd_cuda_put_later(ctx, w->position_on_device.memory, a->plan->position, bytes);
}

static kd_status fill(kd_gpu_window *w, kd_ctx *ctx, const kd_attn *a) {
    const kd_plan *plan = a->plan;
    w->used = 0;  /* until it is whole */
    w->T = plan->T, w->N = plan->N, w->anchors = plan->anchors;
    w->rows = kd_attn_rows(a), w->keys = kd_attn_keys(a);
    w->frame = a->frame;
    for (int i = 0; i < LISTS; i++) w->list[i].used = 0;
    KD_TRY(copy(&w->start, &w->start_room, plan->start, plan->N + 1, sizeof *w->start));
    KD_TRY(copy(&w->base, &w->base_room, plan->base, plan->N, sizeof *w->base));
    KD_TRY(copy(&w->position, &w->position_room, plan->position, plan->T, sizeof *w->position));
    return put_positions(w, ctx, a);
}

kd_status kd_gpu_window_of(kd_gpu_window **out, kd_ctx *ctx, const kd_attn *a) {
    KD_TRY(open_windows(ctx));
    kd_gpu_windows *all = ctx->cuda->windows;
    kd_gpu_window *oldest = all->window;
    KD_TRY(room_for(&all->fallbacks, ctx, sizeof(int32_t)));
    for (int i = 0; i < WINDOWS; i++) {
        kd_gpu_window *w = &all->window[i];
        if (is_window_of(w, a)) {
            w->used = ++all->calls;
            *out = w;
            return KD_OK;
        }
        if (w->used < oldest->used) oldest = w;
    }
    KD_TRY(fill(oldest, ctx, a));
    oldest->used = ++all->calls;
    *out = oldest;
    return KD_OK;
}

const int32_t *kd_gpu_window_rotation(const kd_gpu_window *w) { return w->rotation_room.memory; }
const int32_t *kd_gpu_window_position(const kd_gpu_window *w) { return w->position_on_device.memory; }
int32_t *kd_gpu_windows_fallbacks(const kd_ctx *ctx) { return ctx->cuda->windows->fallbacks.memory; }

static bool same_shape(kd_gpu_shape x, kd_gpu_shape y, bool backward) {
    return backward ? x.keys == y.keys && x.block == y.block : x.rows == y.rows;
}

static kd_status make_list(list *l, kd_ctx *ctx, const kd_attn *a) {
    kd_gpu_windows *all = ctx->cuda->windows;
    int64_t turns = 0, tiles = l->backward ? kd_gpu_backward_tiles(NULL, &turns, a, l->shape) : kd_gpu_forward_tiles(NULL, a, l->shape);
    int64_t bytes = tiles * (int64_t)sizeof(kd_gpu_tile);
    KD_TRY(room_for(&l->room, ctx, bytes));
    KD_TRY(scratch_for(all, bytes));
    if (l->backward) kd_gpu_backward_tiles(all->scratch, &turns, a, l->shape);
    else kd_gpu_forward_tiles(all->scratch, a, l->shape);
    l->list = (kd_gpu_list){l->room.memory, tiles, turns};
    return bytes ? kd_cuda_put_later(ctx, l->room.memory, all->scratch, bytes) : KD_OK;
}

/* What one call asks for is not replaced by what it asks for next: it is the youngest then. */
kd_status kd_gpu_window_list(kd_gpu_list *out, kd_ctx *ctx, kd_gpu_window *w, const kd_attn *a, bool backward, kd_gpu_shape shape) {
    list *oldest = w->list;
    for (int i = 0; i < LISTS; i++) {
        list *l = &w->list[i];
        if (l->used && l->backward == backward && same_shape(l->shape, shape, backward)) {
            l->used = ++ctx->cuda->windows->calls;
            *out = l->list;
            return KD_OK;
        }
        if (l->used < oldest->used) oldest = l;
    }
    oldest->used = 0;
    oldest->backward = backward;
    oldest->shape = shape;
    KD_TRY(make_list(oldest, ctx, a));
    oldest->used = ++ctx->cuda->windows->calls;
    *out = oldest->list;
    return KD_OK;
}

/* Attention on CUDA: which kernels serve a call, what they need, and in what order they run.
 *
 * Key/value heads are served in batches, or a long window's packed numbers would need as much memory again as all activations. Both
 * directions cut the same batches: whether a batch's queries and keys fit into float16 is then found alike. */
#include "attn_cuda.h"

#include <math.h>
#include <string.h>

#include "attn_cuda_call.h"
#include "attn_variants.h"
#include "attn_windows.h"

enum {
    BATCH_BLOCKS = 512,      /* of ctx->block tokens x query heads: as much work as a GPU can want at once */
    COUNTERS = 16,           /* 32-bit words: see counters */
};

/* Zero before a batch; behind them the turns. */
typedef struct counters {
    int32_t next[2], unfit, most[3];
} counters;

/* The kernels of one variant, one direction. */
typedef struct kernels {
    bool (*shape)(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode);
    kd_status (*run)(const kd_gpu_attn *x);
    bool backward, plain, atomic;
} kernels;

static kd_gpu_mode mode_of(const kd_attn *a) {
    switch (a->precision) {
        case KD_PRECISION_F16_STORE: return KD_GPU_F16;
        case KD_PRECISION_SPLIT: return KD_GPU_SPLIT;
        default: return KD_GPU_BF16;
    }
}

static bool for_tensor_cores(const kd_attn *a) {
    return a->precision == KD_PRECISION_BF16_STORE || a->precision == KD_PRECISION_F16_STORE || a->precision == KD_PRECISION_SPLIT ||
           a->precision == KD_PRECISION_BF16;
}

/* The smallest padded head size there are kernels for, and their shapes, in other[1] of what float16 falls back to; 0: none. */
static int64_t padded_size(const kernels *k, const kd_attn *a, kd_gpu_shape shape[2]) {
    static const int64_t size[] = {64, 96, 128, 256};
    kd_gpu_mode mode = mode_of(a);
    for (int i = 0; i < 4; i++) {
        if (size[i] < a->E) continue;
        if (k->plain) {
            shape[0] = shape[1] = kd_attn_plain_shape(size[i]);
            return size[i];
        }
        shape[1] = (kd_gpu_shape){0};
        if (k->shape(&shape[0], size[i], mode) && (mode != KD_GPU_F16 || k->shape(&shape[1], size[i], KD_GPU_BF16))) return size[i];
    }
    return 0;
}

static bool serves(const kernels *k, const kd_attn *a) {
    kd_gpu_shape shape[2];
    return for_tensor_cores(a) && padded_size(k, a, shape) > 0;
}

/* ---- memory -------------------------------------------------------------------------------------------------------------------- */

typedef struct work {
    const kd_attn *a;
    const kernels *k;
    kd_gpu_call call;          /* of the first batch */
    kd_gpu_shape shape[2];
    int64_t batch, group;      /* key/value heads at once; query heads of each */
    counters *counters;
    int32_t *turn;
    int64_t zeros, turns;      /* bytes from counters on; turns that there is room for, of a head */
    double *inv_freq;
} work;

static int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

/* Blocks of rows in all documents: what a plan has, or the most that any has. */
static int64_t turns_of(const kd_ctx *ctx, const kd_attn *a, int64_t rows, int64_t block) {
    int64_t documents = ctx->measuring == KD_MEASURE_ANY ? rows : a->plan->N;
    return min(rows, rows / block + documents);
}

static void place(work *w, const kd_ctx *ctx, const kd_attn *a, const kernels *k, kd_arena *arena) {
    const kd_rung *rung = kd_rung_of(a);
    int64_t rows = kd_stretch_count(kd_attn_rows(a)), keys = kd_stretch_count(kd_attn_keys(a)), size = k->plain ? 4 : 2;
    *w = (work){.a = a, .k = k, .group = a->H / a->G};
    int64_t Ep = padded_size(k, a, w->shape);
    kd_gpu_call *c = &w->call;
    w->batch = max(1, min(a->G, BATCH_BLOCKS * ctx->block / (max(rows, keys) * w->group)));
    int64_t G = w->batch, H = G * w->group;
    bool anchors = ctx->measuring == KD_MEASURE_ANY ? a->keys.from == 0 : kd_attn_sees_anchor(a);
    bool pair = rung->storage == KD_STORE_PAIR && !k->plain;
    *c = (kd_gpu_call){.rows = (int32_t)rows, .keys = (int32_t)keys, .H = (int32_t)H, .G = (int32_t)G, .E = (int32_t)a->E,
                       .Ep = (int32_t)Ep, .sees_anchor = anchors, .plain = k->plain};

    w->counters = kd_arena_take(arena, COUNTERS, sizeof(int32_t));
    w->zeros = COUNTERS * (int64_t)sizeof(int32_t);
    if (k->backward && !k->plain && !k->atomic) {
        w->turns = turns_of(ctx, a, rows, min(w->shape[0].block, w->shape[1].block ? w->shape[1].block : w->shape[0].block));
        w->turn = kd_arena_take(arena, H * w->turns, sizeof *w->turn);
        w->zeros += H * w->turns * (int64_t)sizeof *w->turn;
    }
    w->inv_freq = kd_arena_take(arena, a->E / 2, sizeof *w->inv_freq);
    c->packed_q = kd_arena_take(arena, H * rows * Ep, size);
    c->packed_k = kd_arena_take(arena, G * keys * Ep, size);
    c->packed_v = kd_arena_take(arena, G * keys * Ep, size);
    if (pair) c->q_low = kd_arena_take(arena, H * rows * Ep, size);
    if (pair) c->k_low = kd_arena_take(arena, G * keys * Ep, size);
    if (anchors) {
        c->anchor_logit2 = kd_arena_take(arena, H * rows, sizeof(float));
        c->anchor_value = kd_arena_take(arena, G * Ep, sizeof(float));
    }
    if (!k->backward) return;
    c->packed_dout = kd_arena_take(arena, H * rows * Ep, size);
    c->lse2 = kd_arena_take(arena, H * rows, sizeof(float));
    c->delta = kd_arena_take(arena, H * rows, sizeof(float));
    c->sigma = kd_arena_take(arena, 2, sizeof(float));
    if (anchors) {
        c->anchor_ds = kd_arena_take(arena, H * rows, sizeof(float));
        c->parts = kd_arena_take(arena, kd_attn_parts(rows, a->E) * G * 2 * a->E, sizeof(float));
        c->sums = kd_arena_take(arena, G * 2 * a->E, sizeof(float));
    }
    c->packed_dq = kd_arena_take(arena, H * rows * Ep, sizeof(float));
    c->packed_dk = kd_arena_take(arena, G * keys * Ep, sizeof(float));
    c->packed_dv = kd_arena_take(arena, G * keys * Ep, sizeof(float));
}

static int64_t workspace_of(const kd_ctx *ctx, const kd_attn *a, const kernels *k) {
    work w;
    kd_arena arena = {0};
    place(&w, ctx, a, k, &arena);
    return arena.used;
}

/* ---- one call ------------------------------------------------------------------------------------------------------------------ */

/* Tables, positions, and what else of the call all batches share. */
static kd_status begin(work *w, kd_ctx *ctx, kd_gpu_window *window) {
    const kd_attn *a = w->a;
    const kd_rung *rung = kd_rung_of(a);
    const kd_rope *rope = a->rope;
    kd_gpu_call *c = &w->call;
    c->first_row = (int32_t)kd_attn_rows(a).from, c->first_key = (int32_t)kd_attn_keys(a).from;
    c->scale = a->scale > 0 ? a->scale : (float)(1 / sqrt((double)a->E));
    c->anchor_row = a->plan->anchors && c->first_row == 0;
    c->anchor_kept = kd_anchor_is_kept(a);
    c->bf16_products = rung->bf16_products, c->angles = rung->angles, c->storage = rung->storage;
    c->rotation = kd_gpu_window_rotation(window), c->position = kd_gpu_window_position(window);
    c->origin = a->plan->position[0];
    c->table = rope->table, c->exact = rope->exact, c->coarse = rope->coarse, c->fine = rope->fine;
    c->q = a->q, c->k = a->k, c->v = a->v, c->o = a->o, c->dout = a->dout, c->dq = a->dq, c->dk = a->dk, c->dv = a->dv;
    c->lse = a->lse;
    c->most = w->k->backward ? w->counters->most : NULL;
    c->unfit = c->storage == KD_STORE_F16 ? &w->counters->unfit : NULL;
    c->fallbacks = kd_gpu_windows_fallbacks(ctx);
    c->stream = ctx->cuda->stream;
    c->inv_freq = w->inv_freq;
    if (!rope->coarse) return KD_OK;
    return kd_cuda_put_later(ctx, w->inv_freq, rope->inv_freq, rope->E / 2 * (int64_t)sizeof *rope->inv_freq);
}

static kd_view from_head(kd_view x, int64_t head) {
    if (x.type == KD_VIEW_F32) x.data += head * x.head_stride;
    else x.half += head * x.head_stride;
    return x;
}

/* The call of the batch that begins with key/value head g. */
static kd_gpu_call batch_from(const work *w, int64_t g) {
    kd_gpu_call c = w->call;
    int64_t h = g * w->group;
    c.G = (int32_t)min(w->batch, w->a->G - g);
    c.H = (int32_t)(c.G * w->group);
    kd_view *of_queries[] = {&c.q, &c.o, &c.dout, &c.dq}, *of_keys[] = {&c.k, &c.v, &c.dk, &c.dv};
    for (int i = 0; i < 4; i++) {
        if (w->k->backward || i < 2) *of_queries[i] = from_head(*of_queries[i], h), *of_keys[i] = from_head(*of_keys[i], g);
    }
    c.lse += h * c.rows;
    return c;
}

/* A second time where float16 did not hold everything: each kernel looks by itself. */
static kd_gpu_call as_bf16(const kd_gpu_call *c) {
    kd_gpu_call again = *c;
    again.storage = KD_STORE_BF16;
    again.if_unfit = true;
    return again;
}

static kd_status prepare(const kd_gpu_call *c, bool backward) {
    KD_TRY(kd_attn_pack_keys(c));
    KD_TRY(kd_attn_pack_queries(c, backward));
    if (c->unfit) {
        kd_gpu_call again = as_bf16(c);
        KD_TRY(kd_attn_pack_keys(&again));
        KD_TRY(kd_attn_pack_queries(&again, backward));
    }
    return backward ? kd_attn_sum_parts(c) : KD_OK;
}

static kd_gpu_attn kernel_call(const work *w, const kd_ctx *ctx, const kd_gpu_call *c, const kd_gpu_list *list, bool again) {
    kd_gpu_attn x = {.rows = c->rows, .keys = c->keys, .H = c->H, .G = c->G, .Ep = c->Ep, .E = c->E, .lead = c->first_row - c->first_key,
                     .mode = again ? KD_GPU_BF16 : mode_of(w->a), .scale2 = c->scale * KD_LOG2_E, .tile = list->tile,
                     .tiles = (int32_t)list->tiles, .next = &w->counters->next[again], .q = c->packed_q, .q_low = c->q_low,
                     .k = c->packed_k, .k_low = c->k_low,
                     .v = c->packed_v, .anchor_logit2 = c->anchor_logit2, .anchor_value = c->anchor_value,
                     .unfit = c->unfit, .run_if_unfit = again, .o = c->o, .lse = w->k->backward ? NULL : (float *)c->lse,
                     .dout = c->packed_dout, .lse2 = c->lse2, .delta = c->delta, .sigma = c->sigma, .dq = c->packed_dq, .dk = c->packed_dk,
                     .dv = c->packed_dv, .turn = w->turn, .turns = (int32_t)list->turns, .multiprocessors = ctx->cuda->multiprocessors,
                     .stream = ctx->cuda->stream};
    return x;
}

static kd_status zero(const kd_gpu_call *c, void *array, int64_t numbers) {
    return kd_cuda_try("attention: zeroing", cudaMemsetAsync(array, 0, (size_t)numbers * sizeof(float), c->stream));
}

/* What no tile writes: rows that see no key, keys that no row sees; and all of dq, if tiles add to it as they come. */
static kd_status zero_gradients(const work *w, const kd_gpu_call *c) {
    bool part = w->a->rows.to || w->a->keys.to;
    if (part || w->k->atomic) KD_TRY(zero(c, c->packed_dq, (int64_t)c->H * c->rows * c->Ep));
    if (part) KD_TRY(zero(c, c->packed_dk, (int64_t)c->G * c->keys * c->Ep));
    return part ? zero(c, c->packed_dv, (int64_t)c->G * c->keys * c->Ep) : KD_OK;
}

static kd_status run_kernels(const work *w, kd_ctx *ctx, const kd_gpu_call *c, const kd_gpu_list list[2]) {
    kd_gpu_attn x = kernel_call(w, ctx, c, &list[0], false);
    if (w->k->plain) {  /* what is packed is as it should be: there is one kernel for either */
        if (!w->k->backward) return kd_attn_plain_forward(&x);
        return kd_attn_plain_backward(&x, list[1].tile, (int32_t)list[1].tiles);
    }
    if (!x.tiles) return KD_OK;
    KD_TRY(w->k->run(&x));
    if (!c->unfit) return KD_OK;
    x = kernel_call(w, ctx, c, &list[1], true);
    return w->k->run(&x);
}

static kd_status run(kd_ctx *ctx, const kd_attn *a, const kernels *k, void *workspace) {
    work w;
    kd_gpu_window *window;
    kd_gpu_list list[2] = {{0}};
    kd_arena arena = {workspace, workspace_of(ctx, a, k), 0};
    place(&w, ctx, a, k, &arena);
    KD_TRY(kd_gpu_window_of(&window, ctx, a));
    KD_TRY(kd_gpu_window_list(&list[0], ctx, window, a, k->backward, w.shape[0]));
    if (k->plain && k->backward) KD_TRY(kd_gpu_window_list(&list[1], ctx, window, a, false, w.shape[0]));
    else if (!k->plain && mode_of(a) == KD_GPU_F16) KD_TRY(kd_gpu_window_list(&list[1], ctx, window, a, k->backward, w.shape[1]));
    KD_TRY(begin(&w, ctx, window));
    for (int64_t g = 0; g < a->G; g += w.batch) {
        kd_gpu_call c = batch_from(&w, g);
        KD_TRY(kd_cuda_try("attention: zeroing", cudaMemsetAsync(w.counters, 0, (size_t)w.zeros, c.stream)));
        KD_TRY(prepare(&c, k->backward));
        if (k->backward) KD_TRY(zero_gradients(&w, &c));
        KD_TRY(run_kernels(&w, ctx, &c, list));
        if (!k->backward) continue;
        KD_TRY(kd_attn_unpack_dq(&c));
        KD_TRY(kd_attn_unpack_dkv(&c));
    }
    return KD_OK;
}

kd_status kd_attn_cuda_fallbacks(int64_t *count, kd_ctx *ctx) {
    int32_t now = 0;
    if (ctx->cuda->windows && kd_gpu_windows_fallbacks(ctx)) KD_TRY(ctx->device->get(ctx, &now, kd_gpu_windows_fallbacks(ctx), sizeof now));
    *count = now;
    return KD_OK;
}

/* ---- variants ------------------------------------------------------------------------------------------------------------------ */

static bool not_eager(const kd_attn *a) { return !kd_rung_of(a)->eager; }

#define VARIANT(name, supported, ...)                                                                                               \
    static const kernels name##_kernels = {__VA_ARGS__};                                                                            \
    bool kd_attn_supports_##name(const void *args) { return supported; }                                                            \
    int64_t kd_attn_workspace_##name(const kd_ctx *ctx, const void *args) { return workspace_of(ctx, args, &name##_kernels); }       \
    kd_status kd_attn_##name(kd_ctx *ctx, const void *args, void *workspace) { return run(ctx, args, &name##_kernels, workspace); }

VARIANT(forward_sm90, serves(&forward_sm90_kernels, args), .shape = kd_attn_sm90_forward_shape, .run = kd_attn_sm90_forward)
VARIANT(backward_sm90, serves(&backward_sm90_kernels, args), .shape = kd_attn_sm90_backward_shape, .run = kd_attn_sm90_backward,
        .backward = true)
VARIANT(backward_sm90_atomic, serves(&backward_sm90_kernels, args), .shape = kd_attn_sm90_backward_shape, .run = kd_attn_sm90_backward,
        .backward = true, .atomic = true)
VARIANT(forward_sm80, serves(&forward_sm80_kernels, args), .shape = kd_attn_sm80_shape, .run = kd_attn_sm80_forward)
VARIANT(backward_sm80, serves(&backward_sm80_kernels, args), .shape = kd_attn_sm80_shape, .run = kd_attn_sm80_backward, .backward = true)
VARIANT(forward_plain, not_eager(args), .plain = true)
VARIANT(backward_plain, not_eager(args), .plain = true, .backward = true)

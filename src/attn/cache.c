/* Attention of sequences that grow: the list of variants, the definition, and what goes into caches. */
#include "cache.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

int64_t kd_cache_numbers(int64_t tokens, int64_t G, int64_t E) {
    return G * ((tokens + KD_CACHE_TILE - 1) / KD_CACHE_TILE * KD_CACHE_TILE) * kd_cache_width(E);
}

float kd_extend_scale(const kd_extend *x) { return x->scale > 0 ? x->scale : (float)(1 / sqrt((double)x->E)); }

/* R(p) x, as the kernels turn rows. out may be x. */
static void turn_row(float *out, const float *x, const kd_rope *rope, int64_t p) {
    float made[KD_HEAD_MOST];
    int64_t half = rope->E / 2;
    const float *cosine = kd_rope_row(rope, KD_ANGLES_DOUBLE, p, made), *sine = cosine + half;
    for (int64_t e = 0; e < half; e++) {
        float low = x[e], high = x[e + half];
        out[e] = fmaf(-high, sine[e], low * cosine[e]);
        out[e + half] = fmaf(low, sine[e], high * cosine[e]);
    }
}

static void write_numbers(const kd_extend *x, void *tile, bool key, int64_t t, const float *row) {
    int64_t Ep = kd_cache_width(x->E);
    for (int64_t e = 0; e < x->E; e++) {
        int64_t at = key ? kd_cache_key(Ep, t, e) : kd_cache_value(t, e);
        if (x->type == KD_VIEW_F32) ((float *)tile)[at] = row[e];
        else ((uint16_t *)tile)[at] = kd_bf16_round(row[e]);
    }
}

static void *tile_of(const kd_extend *x, void *cache, int64_t g, int64_t t) {
    return (char *)cache + kd_cache_at(x, g, t) * (x->type == KD_VIEW_F32 ? 4 : 2);
}

void kd_cache_write(const kd_extend *x, const kd_reading *r, int64_t g) {
    static const float zeros[KD_HEAD_MOST];
    float turned[KD_HEAD_MOST];
    for (int64_t i = 0; i < r->count; i++) {
        int64_t t = r->from + i, at = ((r->row + i) * x->G + g) * x->E;
        const float *key = x->k + at;
        if (x->type == KD_VIEW_F32) {
            turn_row(turned, key, x->rope, t);
            key = turned;
        }
        write_numbers(x, tile_of(x, r->key, g, t), true, t, key);
        write_numbers(x, tile_of(x, r->value, g, t), false, t, x->v + at);
    }
    for (int64_t t = r->from + r->count; t % KD_CACHE_GROUP; t++) write_numbers(x, tile_of(x, r->value, g, t), false, t, zeros);
}

/* ---- the definition ---------------------------------------------------------------------------------------------------- */

static float number_at(const kd_extend *x, const void *tile, int64_t at) {
    return x->type == KD_VIEW_F32 ? ((const float *)tile)[at] : kd_bf16_widen(((const uint16_t *)tile)[at]);
}

static void read_key(float *out, const kd_extend *x, const kd_reading *r, int64_t g, int64_t t) {
    const void *tile = tile_of(x, r->key, g, t);
    for (int64_t e = 0; e < x->E; e++) out[e] = number_at(x, tile, kd_cache_key(kd_cache_width(x->E), t, e));
    if (x->type != KD_VIEW_F32) turn_row(out, out, x->rope, t);
}

typedef struct job { const kd_extend *x; float *logit; } job;

/* Token i of a reading, query head h; logit: room for all the keys. */
static void define_row(const kd_extend *x, const kd_reading *r, int64_t i, int64_t h, float *logit) {
    float q[KD_HEAD_MOST], key[KD_HEAD_MOST], maximum = -INFINITY;
    double sum = 0, out[KD_HEAD_MOST] = {0};
    int64_t g = h * x->G / x->H, at = ((r->row + i) * x->H + h) * x->E, p = r->from + i;
    turn_row(q, x->q + at, x->rope, p);
    for (int64_t t = 0; t <= p; t++) {
        read_key(key, x, r, g, t);
        float dot = 0;
        for (int64_t e = 0; e < x->E; e++) dot = fmaf(key[e], q[e], dot);
        logit[t] = kd_extend_scale(x) * dot;
        maximum = fmaxf(maximum, logit[t]);
    }
    for (int64_t t = 0; t <= p; t++) {
        double weight = exp((double)logit[t] - maximum);
        const void *tile = tile_of(x, r->value, g, t);
        sum += weight;
        for (int64_t e = 0; e < x->E; e++) out[e] += weight * number_at(x, tile, kd_cache_value(t, e));
    }
    for (int64_t e = 0; e < x->E; e++) x->o[at + e] = (float)(out[e] / sum);
}

static kd_status define_task(void *opaque, int64_t task, int64_t thread) {
    const job *j = opaque;
    const kd_extend *x = j->x;
    const kd_reading *r = &x->reading[task / x->G];
    int64_t g = task % x->G, group = x->H / x->G;
    kd_cache_write(x, r, g);
    for (int64_t i = 0; i < r->count; i++)
        for (int64_t h = g * group; h < (g + 1) * group; h++) define_row(x, r, i, h, j->logit + thread * x->room);
    return KD_OK;
}

static int64_t define_workspace(const kd_ctx *ctx, const void *args) {
    return kd_arena_bytes(kd_pool_threads(ctx->pool) * ((const kd_extend *)args)->room, sizeof(float));
}

static kd_status define(kd_ctx *ctx, const void *args, void *workspace) {
    const job j = {args, workspace};
    return kd_pool_run(ctx->pool, define_task, (void *)&j, j.x->readings * j.x->G);
}

/* ---- the operations ---------------------------------------------------------------------------------------------------- */

static const kd_variant extend_variants[] = {
    KD_ON_X86({"avx512", KD_ISA_AVX512, NULL, kd_attn_extend_workspace_avx512, kd_attn_extend_avx512})
    KD_ON_X86({"avx2", KD_ISA_AVX2, NULL, kd_attn_extend_workspace_avx2, kd_attn_extend_avx2})
    {"ref", KD_ISA_REF, NULL, define_workspace, define},
};
KD_OP(kd_attn_extend_op, extend_variants);

kd_status kd_attn_extend(kd_ctx *ctx, const kd_extend *x) {
    if (x->E < 2 || x->E > KD_HEAD_MOST || x->E % 2 || x->G < 1 || x->H < 1 || x->H % x->G || x->room % KD_CACHE_TILE)
        return kd_fail(KD_EARG, "attention: H=%lld, G=%lld, E=%lld, a cache for %lld tokens", (long long)x->H, (long long)x->G,
                       (long long)x->E, (long long)x->room);
    if (x->type != KD_VIEW_F32 && (x->type != KD_VIEW_BF16 || !x->turn)) return kd_fail(KD_EARG, "attention: a cache is float32 or bf16");
    if (x->rope->E != x->E || x->rope->precision != KD_PRECISION_EXACT)
        return kd_fail(KD_EARG, "attention: caches are of exact rotations of heads of %lld", (long long)x->E);
    for (int64_t i = 0; i < x->readings; i++) {
        const kd_reading *r = &x->reading[i];
        int64_t end = r->from + r->count;
        if (r->from < 0 || r->count < 1 || end > x->room || end > x->rope->positions || end > x->plan->T)
            return kd_fail(KD_EARG, "attention: tokens %lld..%lld of a cache for %lld, %lld positions, %lld places", (long long)r->from,
                           (long long)end, (long long)x->room, (long long)x->rope->positions, (long long)x->plan->T);
    }
    return x->readings ? kd_op_run(ctx, &kd_attn_extend_op, x) : KD_OK;
}

typedef struct turns { float *turn; const kd_rope *rope; } turns;

static kd_status turns_task(void *opaque, int64_t group, int64_t thread) {
    const turns *t = opaque;
    int64_t half = t->rope->E / 2;
    (void)thread;
    for (int64_t i = 0; i < KD_CACHE_GROUP; i++) {
        float made[KD_HEAD_MOST];
        int64_t p = group * KD_CACHE_GROUP + i;
        if (p >= t->rope->positions) return KD_OK;
        const float *row = kd_rope_row(t->rope, KD_ANGLES_DOUBLE, p, made);
        for (int64_t e = 0; e < half; e++)
            for (int64_t k = 0; k < 2; k++) t->turn[((group * half + e) * 2 + k) * KD_CACHE_GROUP + i] = row[k * half + e];
    }
    return KD_OK;
}

typedef struct turns_args { turns t; int64_t groups; } turns_args;

static kd_status turns_ref(kd_ctx *ctx, const void *args, void *workspace) {
    turns_args a = *(const turns_args *)args;
    (void)workspace;
    return kd_pool_run(ctx->pool, turns_task, &a.t, a.groups);
}

static const kd_variant turns_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, turns_ref}};
static KD_OP(cache_turns, turns_variants);

int64_t kd_cache_turns_count(int64_t room, int64_t E) { return room * E; }

kd_status kd_cache_turns(kd_ctx *ctx, float *turn, const kd_rope *rope, int64_t room) {
    return kd_op_run(ctx, &cache_turns, &(turns_args){{turn, rope}, room / KD_CACHE_GROUP});
}

typedef struct copy_args { const kd_extend *x; char *to[2]; const char *from[2]; int64_t count; } copy_args;

static kd_status copy_task(void *opaque, int64_t task, int64_t thread) {
    const copy_args *a = opaque;
    int64_t tile = task / 2 * KD_CACHE_TILE, size = a->x->type == KD_VIEW_F32 ? 4 : 2;
    int64_t at = kd_cache_at(a->x, 0, tile) * size, end = kd_cache_at(a->x, 0, tile + KD_CACHE_TILE) * size;
    (void)thread;
    memcpy(a->to[task % 2] + at, a->from[task % 2] + at, (size_t)(end - at));
    return KD_OK;
}

static kd_status copy_ref(kd_ctx *ctx, const void *args, void *workspace) {
    (void)workspace;
    return kd_pool_run(ctx->pool, copy_task, (void *)args, 2 * ((((const copy_args *)args)->count + KD_CACHE_TILE - 1) / KD_CACHE_TILE));
}

static const kd_variant copy_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, copy_ref}};
static KD_OP(cache_copy, copy_variants);

kd_status kd_cache_copy(kd_ctx *ctx, const kd_extend *x, void *to_key, void *to_value, const void *key, const void *value, int64_t count) {
    if (count < 0 || count > x->room)
        return kd_fail(KD_EARG, "a cache for %lld tokens: %lld of them", (long long)x->room, (long long)count);
    return kd_op_run(ctx, &cache_copy, &(copy_args){x, {to_key, to_value}, {key, value}, count});
}

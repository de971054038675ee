/* Rotation alone, for callers whose attention is another one: the definition, row by row. Attention turns its rows itself. */
#include <stdlib.h>

#include "attn.h"
#include "base/half.h"

typedef struct rotate_args {
    kd_view out, x;
    const kd_rope *rope;
    const kd_rung *rung;
    const int32_t *position;
    int64_t T, heads;
    bool back;
} rotate_args;

enum { ROTATE_TOKENS = 64 };  /* that a task turns */

static void read_row(float *to, const kd_view *from, int64_t at, int64_t E) {
    for (int64_t e = 0; e < E; e++)
        to[e] = from->type == KD_VIEW_F32    ? from->data[at + e]
                : from->type == KD_VIEW_BF16 ? kd_bf16_widen(from->half[at + e])
                                             : kd_f16_widen(from->half[at + e]);
}

static void write_row(const kd_view *to, int64_t at, const float *from, int64_t E) {
    for (int64_t e = 0; e < E; e++)
        if (to->type == KD_VIEW_F32) to->data[at + e] = from[e];
        else to->half[at + e] = to->type == KD_VIEW_BF16 ? kd_bf16_round(from[e]) : kd_f16_round(from[e]);
}

static kd_status rotate_tokens(void *opaque, int64_t task, int64_t thread) {
    const rotate_args *a = opaque;
    int64_t E = a->rope->E, end = (task + 1) * ROTATE_TOKENS < a->T ? (task + 1) * ROTATE_TOKENS : a->T;
    const kd_rung plain = {.name = a->rung->name, .angles = a->rung->angles};  /* a gradient is not rounded */
    const kd_rung *rung = a->back ? &plain : a->rung;
    float x[KD_HEAD_MOST], low[KD_HEAD_MOST], made[KD_HEAD_MOST];
    (void)thread;
    for (int64_t t = task * ROTATE_TOKENS; t < end; t++) {
        int64_t p = a->position[t];
        const float *row = kd_rope_row(a->rope, rung->angles, llabs(p), made);
        for (int64_t h = 0; h < a->heads; h++) {
            read_row(x, &a->x, t * a->x.token_stride + h * a->x.head_stride, E);
            if (!kd_rung_turn(x, low, x, row, (p < 0) != a->back ? -1 : 1, E, rung))
                return kd_fail(KD_ENUMERIC, "rotation: precision %s: token %lld, head %lld: a rotated number is beyond 65504, the largest "
                               "of float16", rung->name, (long long)t, (long long)h);
            for (int64_t e = 0; e < E && rung->storage == KD_STORE_PAIR; e++) x[e] += low[e];  /* exact: of 24 bits */
            write_row(&a->out, t * a->out.token_stride + h * a->out.head_stride, x, E);
        }
    }
    return KD_OK;
}

static kd_status rotate_ref(kd_ctx *ctx, const void *opaque, void *workspace) {
    const rotate_args *a = opaque;
    (void)workspace;
    return kd_pool_run(ctx->pool, rotate_tokens, (void *)a, (a->T + ROTATE_TOKENS - 1) / ROTATE_TOKENS);
}

static const kd_variant rotate_variants[] = {{"ref", KD_ISA_REF, NULL, NULL, rotate_ref}};
static KD_OP(rotation, rotate_variants);

static kd_status check(const rotate_args *a) {
    const kd_view *view[] = {&a->out, &a->x};
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "x" : "out";
        if ((unsigned)view[i]->type > KD_VIEW_F16)
            return kd_fail(KD_EARG, "rotation: %s: there is no view of type %d", name, (int)view[i]->type);
        if (view[i]->type == KD_VIEW_F32 ? !view[i]->data : !view[i]->half) return kd_fail(KD_EARG, "rotation: %s is missing", name);
    }
    if (a->T < 0 || a->heads < 1)
        return kd_fail(KD_EARG, "rotation: %lld tokens of %lld heads", (long long)a->T, (long long)a->heads);
    for (int64_t t = 0; t < a->T; t++)
        if (llabs((long long)a->position[t]) >= a->rope->positions)
            return kd_fail(KD_EARG, "rotation: token %lld turns by %lld, the rotary table has %lld positions", (long long)t,
                           (long long)a->position[t], (long long)a->rope->positions);
    return KD_OK;
}

kd_status kd_rope_rotate(kd_ctx *ctx, const kd_view *out, const kd_view *x, const kd_rope *rope, kd_precision precision,
                         const int32_t *position, int64_t T, int64_t heads, bool back) {
    const char *name = kd_precision_name(precision);
    if (!name) return kd_fail(KD_EARG, "rotation: there is no precision %d", (int)precision);
    if (kd_ladder[rope->precision].angles != kd_ladder[precision].angles)
        return kd_fail(KD_EARG, "rotation: precision %s, the rotary table is made for %s", name, kd_precision_name(rope->precision));
    const rotate_args a = {*out, *x, rope, &kd_ladder[precision], position, T, heads, back};
    KD_TRY(check(&a));
    return kd_op_run(ctx, &rotation, &a);
}

#include "optimizer.h"

#include <stdlib.h>
#include <string.h>

#include "nn/nn_ops.h"

_Static_assert(KD_SHARD_UNIT % KD_NORM_SEGMENT == 0, "pieces begin where segments do");

static int64_t segments_of(int64_t count) { return kd_segments(count, KD_NORM_SEGMENT); }

/* Segments of all parts, or of what a rank has of them. */
static int64_t count_segments(const kd_parts *parts, int64_t rank) {
    int64_t sum = 0;
    for (int64_t i = 0; i < parts->count; i++) sum += segments_of(rank < 0 ? kd_part_whole(parts, i).count : kd_part_piece_of(parts, i, rank).count);
    return sum;
}

/* Arrays in 8 bits are zeros as they come: codes do not matter where the scale is 0. */
static void place_moments(kd_owned *x, kd_optimizer *o, const kd_model *model, bool is_signed) {
    int64_t own = kd_parts_own(kd_model_parts(model));
    *x = (kd_owned){.is_signed = is_signed};
    if (o->options.coded) {
        x->coded.code = kd_arena_take(&o->arena, own, sizeof *x->coded.code);
        x->coded.scale = kd_arena_take(&o->arena, kd_owned_scales(kd_model_layout(model), own), sizeof *x->coded.scale);
    } else {
        x->f32 = kd_arena_take(&o->arena, own, sizeof *x->f32);
    }
}

static void place(kd_optimizer *o, const kd_model *model) {
    const kd_parts *parts = kd_model_parts(model);
    place_moments(&o->m, o, model, true);
    place_moments(&o->v, o, model, false);
    o->sums = kd_arena_take(&o->arena, 1, sizeof *o->sums);
    o->partial = kd_arena_take(&o->arena, o->segments, sizeof *o->partial);
    o->own = parts->ranks == 1 ? o->partial : kd_arena_take(&o->arena, count_segments(parts, parts->rank), sizeof *o->own);
}

int64_t kd_optimizer_bytes(const kd_model *model, bool coded) {
    kd_optimizer o = {.options.coded = coded, .segments = count_segments(kd_model_parts(model), -1)};
    place(&o, model);
    return o.arena.used;
}

kd_status kd_optimizer_open(kd_optimizer *o, kd_ctx *ctx, const kd_model *model, const kd_optimizer_options *options) {
    const kd_parts *parts = kd_model_parts(model);
    *o = (kd_optimizer){.ctx = ctx, .options = *options, .segments = count_segments(parts, -1)};
    if (options->coded && parts->ranks > 1) return kd_fail(KD_ENOTSUP, "moments in 8 bits are of one rank alone");
    place(o, model);
    KD_TRY(kd_ctx_place_in(ctx, &o->arena, options->files));  /* zeroed: the moments start from 0 */
    place(o, model);
    if (parts->ranks == 1) return KD_OK;
    KD_TRY(kd_new(&o->gathered, o->segments, sizeof *o->gathered));
    KD_TRY(kd_new(&o->ordered, o->segments, sizeof *o->ordered));
    KD_TRY(kd_new(&o->at, 2 * parts->ranks, sizeof *o->at));
    o->bytes = o->at + parts->ranks;
    return KD_OK;
}

void kd_optimizer_close(kd_optimizer *o) {
    if (o->ctx) kd_ctx_unplace(o->ctx, &o->arena);
    free(o->gathered);
    free(o->ordered);
    free(o->at);
    *o = (kd_optimizer){0};
}

/* Every rank's partial sums to all, in the order of parts and of segments in them. */
static kd_status gather_partial(kd_optimizer *o, const kd_parts *parts, kd_comm *world) {
    int64_t size = (int64_t)sizeof(double), end = 0, at = 0;
    for (int64_t r = 0; r < parts->ranks; r++) {
        o->at[r] = end, o->bytes[r] = count_segments(parts, r) * size;
        end += o->bytes[r];
    }
    KD_TRY(o->ctx->device->get(o->ctx, o->gathered + o->at[parts->rank] / size, o->own, o->bytes[parts->rank]));
    KD_TRY(kd_comm_gather(world, "norms", o->gathered, o->at, o->bytes));
    for (int64_t i = 0; i < parts->count; i++) {
        kd_range whole = kd_part_whole(parts, i);
        for (int64_t r = 0; r < parts->ranks; r++) {
            kd_range piece = kd_part_piece_of(parts, i, r);
            int64_t first = at + (piece.at - whole.at) / KD_NORM_SEGMENT, n = segments_of(piece.count);
            memcpy(o->ordered + first, o->gathered + o->at[r] / size, (size_t)(n * size));
            o->at[r] += n * size;
        }
        at += segments_of(whole.count);
    }
    return o->ctx->device->put(o->ctx, o->partial, o->ordered, o->segments * size);
}

static kd_status sum_norm(kd_optimizer *o, kd_model *model) {
    const kd_parts *parts = kd_model_parts(model);
    double *to = o->own;
    for (int64_t i = 0; i < parts->count; i++) {
        kd_slice piece = kd_part_piece(parts, i);
        if (piece.count == 0) continue;
        KD_TRY(kd_sum_squares(o->ctx, to, kd_model_gradient_of(model, piece), piece.count));
        to += segments_of(piece.count);
    }
    if (parts->ranks > 1) KD_TRY(gather_partial(o, parts, kd_model_world(model)));
    return kd_sum_norm(o->ctx, o->sums, o->partial, o->segments);
}

kd_status kd_optimizer_step(kd_optimizer *o, kd_step_sums *sums, kd_model *model, const kd_adamw *adamw,
                            int64_t tokens) {
    const kd_layout *layout = kd_model_layout(model);
    KD_TRY(kd_sum_loss(o->ctx, o->sums, kd_model_losses(model), tokens));
    KD_TRY(sum_norm(o, model));
    kd_adamw step = *adamw;
    step.step = o->updates + 1;
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        kd_slice s = kd_parts_tensor(kd_model_parts(model), &p);
        if (s.count == 0) continue;
        step.weight_decay = o->options.decay_all || kd_param_is_matrix(layout, p.kind) ? adamw->weight_decay : 0;
        float *w = kd_model_weights_of(model, s), *g = kd_model_gradient_of(model, s);
        kd_array rounded = kd_model_rounded_of(model, s);
        if (o->options.coded)
            KD_TRY(kd_adamw_coded_step(o->ctx, w, rounded, kd_owned_tensor(o->m.coded, i, s.own), kd_owned_tensor(o->v.coded, i, s.own), g, o->sums,
                                       &step, s.count));
        else KD_TRY(kd_adamw_step(o->ctx, w, rounded, o->m.f32 + s.own, o->v.f32 + s.own, g, o->sums, &step, s.count));
    }
    KD_TRY(kd_model_weights_changed(model, true));
    KD_TRY(o->ctx->device->get(o->ctx, sums, o->sums, sizeof *sums));
    o->updates += sums->finite != 0;
    return KD_OK;
}

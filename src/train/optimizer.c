#include "optimizer.h"

static void place(kd_optimizer *o, const kd_layout *layout) {
    o->m = kd_arena_take(&o->arena, layout->count, sizeof *o->m);
    o->v = kd_arena_take(&o->arena, layout->count, sizeof *o->v);
    o->sums = kd_arena_take(&o->arena, 1, sizeof *o->sums);
}

kd_status kd_optimizer_open(kd_optimizer *o, kd_ctx *ctx, const kd_model *model, kd_comm *world, bool decay_all) {
    *o = (kd_optimizer){.ctx = ctx, .world = world, .decay_all = decay_all};
    place(o, kd_model_layout(model));
    KD_TRY(kd_ctx_place(ctx, &o->arena));  /* zeroed: the moments start from 0 */
    place(o, kd_model_layout(model));
    return KD_OK;
}

void kd_optimizer_close(kd_optimizer *o) {
    if (o->ctx) kd_ctx_unplace(o->ctx, &o->arena);
    *o = (kd_optimizer){0};
}

kd_status kd_optimizer_step(kd_optimizer *o, kd_step_sums *sums, kd_model *model, const kd_adamw *adamw,
                            int64_t tokens) {
    const kd_layout *layout = kd_model_layout(model);
    float *w = kd_model_weights(model), *g = kd_model_gradient(model);
    KD_TRY(kd_sum_loss(o->ctx, o->sums, kd_model_losses(model), tokens));
    KD_TRY(kd_sum_norm(o->ctx, o->sums, g, layout->count));
    kd_adamw step = *adamw;
    step.step = o->updates + 1;
    kd_range own = o->world ? kd_rank_range(layout->count, kd_comm_size(o->world), kd_comm_rank(o->world)) : (kd_range){0, layout->count};
    for (int64_t i = 0; i < layout->tensors; i++) {
        kd_param_place p = kd_layout_tensor(layout, i);
        int64_t at = p.at > own.at ? p.at : own.at, end = p.at + p.size < own.at + own.count ? p.at + p.size : own.at + own.count;
        if (at >= end) continue;
        bool decays = o->decay_all || kd_param_is_matrix(layout, p.kind);
        step.weight_decay = decays ? adamw->weight_decay : 0;
        KD_TRY(kd_adamw_step(o->ctx, w + at, o->m + at, o->v + at, g + at, o->sums, &step, end - at));
    }
    if (o->world) KD_TRY(kd_gather_shards(o->world, "weights", w, layout->count));
    KD_TRY(o->ctx->device->get(o->ctx, sums, o->sums, sizeof *sums));
    o->updates += sums->finite != 0;
    return KD_OK;
}

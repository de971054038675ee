#include "walk.h"

#include <stdlib.h>
#include <string.h>

#include "weights.h"

static kd_status find(const kd_tensor **out, const kd_walk *w, kd_param kind, int64_t layer) {
    char name[128];
    kd_param_name(name, kind, layer, w->layout.layered[kind]);
    *out = kd_tensors_find(&w->tensors, name);
    if (!*out) return kd_fail(KD_EFORMAT, "%s: tensor %s is missing", w->tensors.tensor[0].path, name);
    return kd_weights_check_shape(&w->layout, *out, kind);
}

/* All that will be read is there: what a late layer lacks is not found after the others were walked. */
static kd_status open_weights(kd_walk *w, const kd_config *config, const char *folder) {
    const kd_tensor *tensor;
    KD_TRY(kd_tensors_open_folder(&w->tensors, folder));
    if (!w->tensors.count) return kd_fail(KD_EFORMAT, "%s: its model.safetensors has no tensors", folder);
    KD_TRY(kd_weights_check_strangers(&w->layout, config->tied, &w->tensors));
    for (int64_t i = 0; i < w->layout.tensors; i++) {
        const kd_param_place p = kd_layout_tensor(&w->layout, i);
        if (p.kind == KD_P_EMBED || w->layout.layered[p.kind]) KD_TRY(find(&tensor, w, p.kind, p.layer));
    }
    return KD_OK;
}

kd_status kd_walk_open(kd_walk *w, kd_ctx *ctx, const kd_config *config, const char *folder, int64_t seed,
                       const kd_walk_options *o) {
    /* Neither embedding nor head is held: rows of the one are read, the other is not walked to. */
    kd_config one = *config;
    one.L = one.V = 1;
    one.tied = true;
    const kd_model_options options = {.window = o->T, .windows = 1, .micro = 1, .leaves = 1, .frame = o->frame,
                                      .precision = o->precision, .positions = o->positions};
    kd_status status;
    *w = (kd_walk){.T = o->T, .C = config->C, .L = config->L, .H = config->H, .G = config->G, .E = config->E, .V = config->V,
                   .seed = (uint64_t)seed};
    KD_GO(kd_layout_init(&w->layout, config));
    if (folder) KD_GO(open_weights(w, config, folder));
    KD_GO(kd_new(&w->stage, KD_PIECE, sizeof *w->stage));
    KD_GO(kd_model_open(&w->model, ctx, &one, &options));
done:
    if (status) kd_walk_close(w);
    return status;
}

void kd_walk_close(kd_walk *w) {
    kd_model_close(w->model);
    kd_tensors_close(&w->tensors);
    free(w->stage);
    *w = (kd_walk){0};
}

int64_t kd_walk_bytes(const kd_walk *w) {
    kd_model_memory m = kd_model_memory_use(w->model);
    return m.weights + m.activations + m.scratch + KD_PIECE * (int64_t)sizeof *w->stage;
}

kd_status kd_walk_embed(float *x, kd_walk *w, const int32_t *token) {
    const kd_fresh fresh = {.kaiming = true, .seed = w->seed};
    const kd_tensor *tensor = NULL;
    if (w->tensors.count) KD_TRY(find(&tensor, w, KD_P_EMBED, 0));
    for (int64_t t = 0; t < w->T; t++, x += w->C) {
        if (token[t] < 0 || token[t] >= w->V)
            return kd_fail(KD_EARG, "token %lld is %d, the model's vocabulary has %lld", (long long)t, (int)token[t], (long long)w->V);
        if (tensor) KD_TRY(kd_tensor_read_f32(x, tensor, token[t] * w->C, w->C));
        else
            for (int64_t c = 0; c < w->C; c++) x[c] = kd_fresh_weight(&fresh, KD_P_EMBED, w->C, w->layout.at[KD_P_EMBED] + token[t] * w->C + c);
    }
    return KD_OK;
}

kd_status kd_walk_load(kd_walk *w, int64_t layer) {
    const kd_fresh fresh = {.kaiming = true, .seed = w->seed};
    for (kd_param kind = 0; kind < KD_PARAM_KINDS; kind++) {
        if (!w->layout.layered[kind] || !w->layout.size[kind]) continue;
        const kd_param_place place = {kind, layer, kd_layout_at(&w->layout, kind, layer), w->layout.size[kind]};
        float *to = kd_floats(kd_weight(w->model, kind, 0));
        const kd_tensor *tensor;
        if (w->tensors.count) {
            KD_TRY(find(&tensor, w, kind, layer));
            KD_TRY(kd_weights_read(w->model, to, tensor, 0, tensor->count, w->stage));
        } else {
            KD_TRY(kd_weights_draw(w->model, to, &w->layout, &place, &fresh, w->stage));
        }
    }
    return KD_OK;
}

kd_status kd_walk_project(float *q, float *k, kd_walk *w, const float *x, const kd_plan *plan) {
    kd_model *m = w->model;
    const kd_device *device = m->ctx->device;
    int64_t bytes = w->T * (int64_t)sizeof(float);
    w->plan = plan;
    KD_TRY(kd_model_take_plans(m, &w->plan, 1, 0));
    KD_TRY(device->put(m->ctx, kd_layer_input(m, 0).data, x, bytes * w->C));
    KD_TRY(kd_layer_project(m, 0));
    if (q) KD_TRY(device->get(m->ctx, q, kd_acts(m, 0)->q.data, bytes * w->H * w->E));
    if (k) KD_TRY(device->get(m->ctx, k, kd_acts(m, 0)->k.data, bytes * w->G * w->E));
    return KD_OK;
}

kd_status kd_walk_finish(float *x, kd_walk *w) {
    kd_model *m = w->model;
    KD_TRY(kd_layer_attend(m, 0));
    KD_TRY(kd_layer_mlp(m, 0));
    return m->ctx->device->get(m->ctx, x, kd_layer_input(m, 1).data, w->T * w->C * (int64_t)sizeof *x);
}

kd_attn kd_walk_attn(const kd_walk *w) {
    const kd_model *m = w->model;
    return (kd_attn){.plan = w->plan, .rope = &m->rope, .frame = m->options.frame, .precision = m->options.precision, .H = m->H, .G = m->G,
                     .E = m->E, .scale = m->scale};
}

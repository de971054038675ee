/* Inputs of layers in the host's memory: what the backward of every layer begins with, and most of what long windows keep.
 *
 * Two inputs are on the device, those of layers with even and with odd numbers. Forward, an input is copied to the host while its layer
 * runs, and its place is written again two layers later. Backward, a layer's input comes while the layer above it runs, to the place of
 * the input of the one above that. Copies are in order of the lanes: out to the host and in from it, even and odd. */
#include "model_state.h"

static int64_t lane_out(int64_t layer) { return layer % 2; }
static int64_t lane_in(int64_t layer) { return 2 + layer % 2; }

static int64_t numbers(const kd_model *m) { return m->options.micro * m->T * m->C; }

static void *far_input(const kd_model *m, int64_t layer) { return kd_at(m->x, layer * numbers(m)).data; }

kd_status kd_input_room(kd_model *m, int64_t layer) {
    if (!m->offloads || m->ctx->measuring) return KD_OK;
    KD_TRY(kd_ctx_await_copy(m->ctx, lane_out(layer)));
    return kd_ctx_await_copy(m->ctx, lane_in(layer));
}

/* The last two stay where they are until the backward has used them; no layer has the very last. */
kd_status kd_input_done(kd_model *m, int64_t layer) {
    if (!m->offloads || m->ctx->measuring || layer >= m->L - 1) return KD_OK;
    return kd_ctx_copy_beside(m->ctx, far_input(m, layer), kd_layer_input(m, layer).data, numbers(m) * kd_type_size(m->type), lane_out(layer));
}

kd_status kd_input_need(kd_model *m, int64_t layer, int64_t next) {
    if (!m->offloads || m->ctx->measuring) return KD_OK;
    KD_TRY(kd_ctx_await_copy(m->ctx, lane_in(layer)));
    if (next < 0) return KD_OK;
    return kd_ctx_copy_beside(m->ctx, kd_layer_input(m, next).data, far_input(m, next), numbers(m) * kd_type_size(m->type), lane_in(next));
}

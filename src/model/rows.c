/* What a check looks at from outside: a model's rows, token by token, and what its attention is of. */
#include "model_state.h"

kd_attn kd_model_attn(const kd_model *m) {
    return (kd_attn){.rope = &m->rope, .frame = m->options.frame, .precision = m->options.precision, .H = m->H, .G = m->G, .E = m->E,
                     .scale = m->scale};
}

kd_view_type kd_model_type(const kd_model *m) { return m->type; }

kd_stretch kd_model_tokens(const kd_model *m) { return (kd_stretch){m->t0, m->t0 + m->T}; }

int64_t kd_model_row_bytes(const kd_model *m) { return m->C * kd_type_size(m->type); }

static kd_status get_rows(void *out, kd_model *m, kd_array rows, int64_t from, int64_t count) {
    if (from < 0 || count < 0 || from + count > m->count * m->T)
        return kd_fail(KD_EARG, "rows %lld..%lld of %lld", (long long)from, (long long)(from + count), (long long)(m->count * m->T));
    return m->ctx->device->get(m->ctx, out, kd_at(rows, from * m->C).data, count * kd_model_row_bytes(m));
}

kd_status kd_model_output_rows(void *out, kd_model *m, int64_t from, int64_t count) {
    return get_rows(out, m, kd_layer_input(m, m->L), from, count);
}

kd_status kd_model_gradient_rows(void *out, kd_model *m, int64_t from, int64_t count) { return get_rows(out, m, m->dx, from, count); }

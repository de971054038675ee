/* The forward pass. x: a layer's input [M, C]; M this rank's tokens of all the windows at once; B a block. */
#include "model_state.h"

/* Copies what operations read of the plans to the device. */
static kd_status mirror(kd_model *m) {
    const kd_device *device = m->ctx->device;
    int64_t T = m->options.window, size = (int64_t)sizeof(int32_t);
    for (int64_t j = 0; j < m->count && !m->ctx->measuring; j++) {
        const kd_plan *plan = m->plan[j];
        KD_TRY(device->put(m->ctx, m->token + j * m->T, plan->token + m->t0, m->T * size));
        KD_TRY(device->put(m->ctx, m->target + j * m->T, plan->target + m->t0, m->T * size));
        KD_TRY(device->put(m->ctx, m->position + j * T, plan->position, T * size));
        if (m->window_token != m->token) KD_TRY(device->put(m->ctx, m->window_token + j * T, plan->token, T * size));
    }
    return KD_OK;
}

kd_status kd_model_store(kd_model *m, float *x, int64_t n) { return m->options.bf16_activations ? kd_round_bf16(m->ctx, kd_f32(x), n) : KD_OK; }

/* out [B,N] = residual + x w^T: two operations where each is stored. out is not residual. */
static kd_status add_linear(kd_model *m, float *out, const float *x, const float *w, const float *residual, int64_t B, int64_t N, int64_t K) {
    if (!m->options.bf16_activations) return kd_linear_forward(m->ctx, kd_f32(out), kd_f32(x), kd_f32(w), kd_none(), kd_f32(residual), B, N, K);
    KD_TRY(kd_linear_forward(m->ctx, kd_f32(out), kd_f32(x), kd_f32(w), kd_none(), kd_none(), B, N, K));
    KD_TRY(kd_model_store(m, out, B * N));
    KD_TRY(kd_add(m->ctx, kd_f32(out), kd_f32(residual), B * N));
    return kd_model_store(m, out, B * N);
}

kd_attn kd_layer_attn(const kd_model *m, const kd_layer_acts *a, int64_t j) {
    int64_t T = m->T, HE = m->H * m->E, GE = m->G * m->E;
    return (kd_attn){
        .plan = m->plan[j], .position = m->position + j * m->options.window, .rope = &m->rope, .frame = m->options.frame,
        .precision = m->options.precision,
        .H = m->H, .G = m->G, .E = m->E,
        .q = kd_view_heads(a->q + j * T * HE, m->H, m->E), .k = kd_view_heads(a->k + j * T * GE, m->G, m->E),
        .v = kd_view_heads(a->v + j * T * GE, m->G, m->E), .o = kd_view_heads(a->o + j * T * HE, m->H, m->E),
        .scale = m->scale,
    };
}

kd_status kd_layer_project(kd_model *m, int64_t l) {
    kd_ctx *ctx = m->ctx;
    const kd_layer_acts *a = kd_acts(m, l);
    const float *x = kd_layer_input(m, l);
    int64_t C = m->C, HE = m->H * m->E, GE = m->G * m->E, M = m->count * m->T;
    bool biased = m->layout.size[KD_P_Q_BIAS] > 0;
    const float *q_bias = biased ? kd_weight(m, KD_P_Q_BIAS, l) : NULL, *k_bias = biased ? kd_weight(m, KD_P_K_BIAS, l) : NULL,
                *v_bias = biased ? kd_weight(m, KD_P_V_BIAS, l) : NULL;
    for (int64_t t = 0; t < M; t += KD_BLOCK) {
        int64_t B = kd_block(t, M);
        KD_TRY(kd_rmsnorm_forward(ctx, kd_f32(m->h), a->rinv1 + t, kd_f32(x + t * C), kd_f32(kd_weight(m, KD_P_INPUT_NORM, l)), m->eps, B, C));
        KD_TRY(kd_model_store(m, m->h, B * C));
        KD_TRY(kd_linear_forward(ctx, kd_f32(a->q + t * HE), kd_f32(m->h), kd_f32(kd_weight(m, KD_P_Q, l)), kd_f32(q_bias), kd_none(), B, HE, C));
        KD_TRY(kd_linear_forward(ctx, kd_f32(a->k + t * GE), kd_f32(m->h), kd_f32(kd_weight(m, KD_P_K, l)), kd_f32(k_bias), kd_none(), B, GE, C));
        KD_TRY(kd_linear_forward(ctx, kd_f32(a->v + t * GE), kd_f32(m->h), kd_f32(kd_weight(m, KD_P_V, l)), kd_f32(v_bias), kd_none(), B, GE, C));
        KD_TRY(kd_model_store(m, a->q + t * HE, B * HE));
        KD_TRY(kd_model_store(m, a->k + t * GE, B * GE));
        KD_TRY(kd_model_store(m, a->v + t * GE, B * GE));
    }
    return KD_OK;
}

kd_status kd_layer_attend(kd_model *m, int64_t l) {
    kd_ctx *ctx = m->ctx;
    const kd_layer_acts *a = kd_acts(m, l);
    const float *x = kd_layer_input(m, l);
    int64_t C = m->C, HE = m->H * m->E, M = m->count * m->T;
    for (int64_t j = 0; j < m->count; j++) {
        kd_attn attn = kd_layer_attn(m, a, j);
        kd_sequence_kept kept = kd_sequence_kept_of(&a->kept, &m->attention, j);
        KD_TRY(kd_sequence_forward(ctx, &m->attention, &attn, &kept));
    }
    for (int64_t t = 0; t < M; t += KD_BLOCK) {
        int64_t B = kd_block(t, M);
        KD_TRY(kd_model_store(m, a->o + t * HE, B * HE));
        KD_TRY(add_linear(m, a->mid + t * C, a->o + t * HE, kd_weight(m, KD_P_O, l), x + t * C, B, C, HE));
    }
    return KD_OK;
}

kd_status kd_layer_attention(kd_model *m, int64_t l) {
    KD_TRY(kd_layer_project(m, l));
    return kd_layer_attend(m, l);
}

kd_status kd_layer_mlp(kd_model *m, int64_t l) {
    kd_ctx *ctx = m->ctx;
    const kd_layer_acts *a = kd_acts(m, l);
    float *out = kd_layer_input(m, l + 1);
    int64_t C = m->C, F = m->F, M = m->count * m->T;
    for (int64_t t = 0; t < M; t += KD_BLOCK) {
        int64_t B = kd_block(t, M);
        float *gate = a->gate ? a->gate + t * F : m->gate, *up = a->up ? a->up + t * F : m->up;
        KD_TRY(kd_rmsnorm_forward(ctx, kd_f32(m->h), a->rinv2 + t, kd_f32(a->mid + t * C), kd_f32(kd_weight(m, KD_P_POST_NORM, l)), m->eps, B, C));
        KD_TRY(kd_model_store(m, m->h, B * C));
        KD_TRY(kd_linear_forward(ctx, kd_f32(gate), kd_f32(m->h), kd_f32(kd_weight(m, KD_P_GATE, l)), kd_none(), kd_none(), B, F, C));
        KD_TRY(kd_linear_forward(ctx, kd_f32(up), kd_f32(m->h), kd_f32(kd_weight(m, KD_P_UP, l)), kd_none(), kd_none(), B, F, C));
        KD_TRY(kd_model_store(m, gate, B * F));
        KD_TRY(kd_model_store(m, up, B * F));
        KD_TRY(kd_swiglu_forward(ctx, kd_f32(m->act), kd_f32(gate), kd_f32(up), B * F));
        KD_TRY(kd_model_store(m, m->act, B * F));
        KD_TRY(add_linear(m, out + t * C, m->act, kd_weight(m, KD_P_DOWN, l), a->mid + t * C, B, C, F));
    }
    return KD_OK;
}

kd_status kd_model_take_plans(kd_model *m, const kd_plan *const *plan, int64_t count, int64_t first) {
    if (count < 1 || count > m->options.micro || first < 0 || first + count > m->options.windows)
        return kd_fail(KD_EARG, "windows %lld..%lld of %lld, %lld at once", (long long)first, (long long)(first + count),
                       (long long)m->options.windows, (long long)m->options.micro);
    for (int64_t j = 0; j < count; j++)
        if (plan[j]->T != m->options.window)
            return kd_fail(KD_EARG, "a window of %lld tokens, the model is laid out for %lld", (long long)plan[j]->T,
                           (long long)m->options.window);
    m->plan = plan;
    m->count = count;
    m->first = first;
    return mirror(m);
}

kd_status kd_model_forward(kd_model *m, const kd_plan *const *plan, int64_t count, int64_t first) {
    KD_TRY(kd_model_take_plans(m, plan, count, first));
    int64_t M = count * m->T;
    KD_TRY(kd_embedding_need(m));
    for (int64_t t = 0; t < M; t += KD_BLOCK)
        KD_TRY(kd_embedding_forward(m->ctx, kd_f32(kd_layer_input(m, 0) + t * m->C), kd_f32(kd_weight(m, KD_P_EMBED, 0)), m->token + t,
                                    kd_block(t, M), m->V, m->C));
    KD_TRY(kd_model_store(m, kd_layer_input(m, 0), M * m->C));
    for (int64_t l = 0; l < m->L; l++) {
        KD_TRY(kd_layer_need(m, l, l + 1 < m->L ? l + 1 : -1));
        KD_TRY(kd_layer_attention(m, l));
        KD_TRY(kd_layer_mlp(m, l));
    }
    return KD_OK;
}

kd_status kd_block_logits(kd_model *m, int64_t t, int64_t B) {
    const float *x = kd_layer_input(m, m->L) + t * m->C, *head = kd_weight(m, m->tied ? KD_P_EMBED : KD_P_LM_HEAD, 0);
    KD_TRY(kd_rmsnorm_forward(m->ctx, kd_f32(m->h), m->rinv_last + t, kd_f32(x), kd_f32(kd_weight(m, KD_P_NORM, 0)), m->eps, B, m->C));
    KD_TRY(kd_model_store(m, m->h, B * m->C));
    KD_TRY(kd_linear_forward(m->ctx, kd_f32(m->logits), kd_f32(m->h), kd_f32(head), kd_none(), kd_none(), B, m->V, m->C));
    return kd_model_store(m, m->logits, B * m->V);
}

kd_status kd_model_loss(kd_model *m) {
    KD_TRY(kd_head_need(m));
    for (int64_t j = 0; j < m->count; j++) {
        double *losses = m->losses + (m->first + j) * m->options.window + m->t0;
        for (int64_t t = 0; t < m->T; t += KD_BLOCK) {
            int64_t B = kd_block(t, m->T), at = j * m->T + t;
            KD_TRY(kd_block_logits(m, at, B));
            KD_TRY(kd_cross_entropy(m->ctx, losses + t, m->logits, kd_f32(m->logits), m->target + at, 0, B, m->V));
        }
    }
    return kd_losses_share(m, m->first, m->count);
}

kd_status kd_model_logits(kd_model *m, float *logits, int64_t from, int64_t count) {
    if (count < 1 || count > KD_BLOCK || from < 0 || from + count > m->count * m->T)
        return kd_fail(KD_EARG, "logits of tokens %lld..%lld", (long long)from, (long long)(from + count));
    KD_TRY(kd_head_need(m));
    KD_TRY(kd_block_logits(m, from, count));
    return m->ctx->device->get(m->ctx, logits, m->logits, count * m->V * (int64_t)sizeof *logits);
}

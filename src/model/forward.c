/* The forward pass. x: a layer's input [M, C]; M this rank's tokens of all the windows at once; B a block. */
#include "model_state.h"
#include "nn/nn_ops.h"

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

kd_status kd_model_store(kd_model *m, kd_array x, int64_t n) { return m->options.bf16_activations ? kd_round_bf16(m->ctx, x, n) : KD_OK; }

/* out [B,N] = residual + x w^T: two operations where each is stored. out is not residual. */
static kd_status add_linear(kd_model *m, kd_array out, kd_array x, kd_array w, kd_array residual, int64_t B, int64_t N, int64_t K) {
    if (!m->options.bf16_activations) return kd_linear_forward(m->ctx, out, x, w, kd_none(), residual, B, N, K);
    KD_TRY(kd_linear_forward(m->ctx, out, x, w, kd_none(), kd_none(), B, N, K));
    KD_TRY(kd_model_store(m, out, B * N));
    KD_TRY(kd_add(m->ctx, out, residual, B * N));
    return kd_model_store(m, out, B * N);
}

kd_attn kd_layer_attn(const kd_model *m, const kd_layer_acts *a, int64_t j) {
    int64_t T = m->T, HE = m->H * m->E, GE = m->G * m->E;
    return (kd_attn){
        .plan = m->plan[j], .position = m->position + j * m->options.window, .rope = &m->rope, .frame = m->options.frame,
        .precision = m->options.precision,
        .H = m->H, .G = m->G, .E = m->E,
        .q = kd_heads_of(kd_at(a->q, j * T * HE), m->H, m->E), .k = kd_heads_of(kd_at(a->k, j * T * GE), m->G, m->E),
        .v = kd_heads_of(kd_at(a->v, j * T * GE), m->G, m->E), .o = kd_heads_of(kd_at(a->o, j * T * HE), m->H, m->E),
        .scale = m->scale,
    };
}

/* A projection of what stands in m->h, with its bias where there are biases. */
static kd_status project(kd_model *m, kd_array out, kd_param kind, kd_param bias, int64_t l, int64_t B) {
    int64_t N = m->layout.rows[kind];
    kd_array b = m->layout.size[bias] > 0 ? kd_weight(m, bias, l) : kd_none();
    KD_TRY(kd_linear_forward(m->ctx, out, m->h, kd_weight(m, kind, l), b, kd_none(), B, N, m->C));
    return kd_model_store(m, out, B * N);
}

kd_status kd_layer_project(kd_model *m, int64_t l) {
    const kd_layer_acts *a = kd_acts(m, l);
    kd_array x = kd_layer_input(m, l), norm = kd_weight(m, KD_P_INPUT_NORM, l);
    int64_t C = m->C, HE = m->H * m->E, GE = m->G * m->E, M = m->count * m->T;
    for (int64_t t = 0; t < M; t += m->block) {
        int64_t B = kd_block(m, t, M);
        KD_TRY(kd_rmsnorm_forward(m->ctx, m->h, a->rinv1 + t, kd_at(x, t * C), norm, m->eps, B, C));
        KD_TRY(kd_model_store(m, m->h, B * C));
        KD_TRY(project(m, kd_at(a->q, t * HE), KD_P_Q, KD_P_Q_BIAS, l, B));
        KD_TRY(project(m, kd_at(a->k, t * GE), KD_P_K, KD_P_K_BIAS, l, B));
        KD_TRY(project(m, kd_at(a->v, t * GE), KD_P_V, KD_P_V_BIAS, l, B));
    }
    return KD_OK;
}

kd_status kd_layer_attend(kd_model *m, int64_t l) {
    const kd_layer_acts *a = kd_acts(m, l);
    kd_array x = kd_layer_input(m, l);
    int64_t C = m->C, HE = m->H * m->E, M = m->count * m->T;
    for (int64_t j = 0; j < m->count; j++) {
        kd_attn attn = kd_layer_attn(m, a, j);
        kd_sequence_kept kept = kd_sequence_kept_of(&a->kept, &m->attention, j);
        KD_TRY(kd_sequence_forward(m->ctx, &m->attention, &attn, &kept));
    }
    for (int64_t t = 0; t < M; t += m->block) {
        int64_t B = kd_block(m, t, M);
        kd_array o = kd_at(a->o, t * HE);
        KD_TRY(kd_model_store(m, o, B * HE));
        KD_TRY(add_linear(m, kd_at(a->mid, t * C), o, kd_weight(m, KD_P_O, l), kd_at(x, t * C), B, C, HE));
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
    kd_array out = kd_layer_input(m, l + 1), norm = kd_weight(m, KD_P_POST_NORM, l);
    int64_t C = m->C, F = m->F, M = m->count * m->T;
    for (int64_t t = 0; t < M; t += m->block) {
        int64_t B = kd_block(m, t, M);
        kd_array gate = a->gate.data ? kd_at(a->gate, t * F) : m->gate, up = a->up.data ? kd_at(a->up, t * F) : m->up;
        kd_array mid = kd_at(a->mid, t * C);
        KD_TRY(kd_rmsnorm_forward(ctx, m->h, a->rinv2 + t, mid, norm, m->eps, B, C));
        KD_TRY(kd_model_store(m, m->h, B * C));
        KD_TRY(kd_linear_forward(ctx, gate, m->h, kd_weight(m, KD_P_GATE, l), kd_none(), kd_none(), B, F, C));
        KD_TRY(kd_linear_forward(ctx, up, m->h, kd_weight(m, KD_P_UP, l), kd_none(), kd_none(), B, F, C));
        KD_TRY(kd_model_store(m, gate, B * F));
        KD_TRY(kd_model_store(m, up, B * F));
        KD_TRY(kd_swiglu_forward(ctx, m->act, gate, up, B * F));
        KD_TRY(kd_model_store(m, m->act, B * F));
        KD_TRY(add_linear(m, kd_at(out, t * C), m->act, kd_weight(m, KD_P_DOWN, l), mid, B, C, F));
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

/* What an operation on a GPU could not say when it is called. */
static kd_status check_tokens(const kd_model *m) {
    for (int64_t j = 0; j < m->count && !m->ctx->measuring; j++) {
        KD_TRY(kd_tokens_check("embedding forward", m->plan[j]->token, m->options.window, 0, m->V));
        KD_TRY(kd_tokens_check("cross entropy", m->plan[j]->target, m->options.window, -1, m->V));
    }
    return KD_OK;
}

kd_status kd_model_forward(kd_model *m, const kd_plan *const *plan, int64_t count, int64_t first) {
    KD_TRY(kd_model_take_plans(m, plan, count, first));
    KD_TRY(check_tokens(m));
    int64_t M = count * m->T;
    kd_array x = kd_layer_input(m, 0);
    KD_TRY(kd_embedding_need(m));
    KD_TRY(kd_input_room(m, 0));
    for (int64_t t = 0; t < M; t += m->block)
        KD_TRY(kd_embedding_forward(m->ctx, kd_at(x, t * m->C), kd_weight(m, KD_P_EMBED, 0), m->token + t, kd_block(m, t, M), m->V, m->C));
    KD_TRY(kd_model_store(m, x, M * m->C));
    KD_TRY(kd_input_done(m, 0));
    for (int64_t l = 0; l < m->L; l++) {
        KD_TRY(kd_layer_need(m, l, l + 1 < m->L ? l + 1 : -1));
        KD_TRY(kd_layer_attention(m, l));
        KD_TRY(kd_input_room(m, l + 1));
        KD_TRY(kd_layer_mlp(m, l));
        KD_TRY(kd_input_done(m, l + 1));
    }
    return KD_OK;
}

kd_status kd_block_logits(kd_model *m, int64_t t, int64_t B) {
    kd_array x = kd_at(kd_layer_input(m, m->L), t * m->C), head = kd_weight(m, m->tied ? KD_P_EMBED : KD_P_LM_HEAD, 0);
    KD_TRY(kd_rmsnorm_forward(m->ctx, m->h, m->rinv_last + t, x, kd_weight(m, KD_P_NORM, 0), m->eps, B, m->C));
    KD_TRY(kd_model_store(m, m->h, B * m->C));
    KD_TRY(kd_linear_forward(m->ctx, kd_f32(m->logits), m->h, head, kd_none(), kd_none(), B, m->V, m->C));
    return kd_model_store(m, kd_f32(m->logits), B * m->V);
}

kd_status kd_model_loss(kd_model *m) {
    KD_TRY(kd_head_need(m));
    for (int64_t j = 0; j < m->count; j++) {
        double *losses = m->losses + (m->first + j) * m->options.window + m->t0;
        for (int64_t t = 0; t < m->T; t += m->block) {
            int64_t B = kd_block(m, t, m->T), at = j * m->T + t;
            KD_TRY(kd_block_logits(m, at, B));
            KD_TRY(kd_cross_entropy(m->ctx, losses + t, m->logits, kd_none(), m->target + at, 0, B, m->V));
        }
    }
    return kd_losses_share(m, m->first, m->count);
}

kd_status kd_model_logits(kd_model *m, float *logits, int64_t from, int64_t count) {
    int64_t all = m->read_tokens ? m->read_tokens : m->count * m->T;
    if (count < 1 || from < 0 || from > all || count > all - from)
        return kd_fail(KD_EARG, "logits of tokens %lld..%lld", (long long)from, (long long)(from + count));
    KD_TRY(kd_head_need(m));
    for (int64_t t = from, end = from + count; t < end; t += m->block, logits += m->block * m->V) {
        int64_t B = kd_block(m, t, end);
        KD_TRY(kd_block_logits(m, t, B));
        KD_TRY(m->ctx->device->get(m->ctx, logits, m->logits, B * m->V * (int64_t)sizeof *logits));
    }
    return KD_OK;
}

/* The backward pass, layer by layer in reverse; sums over tokens go leaf by leaf into a binary tree.
 *
 * A phase is a stretch of the flat order whose gradients are complete at the same time: the head with the last norm; a
 * layer's MLP, second norm and output projection; its query, key and value projections with the first norm. */
#include "model_state.h"

typedef struct phase { int64_t at, count; } phase;

/* Partial sum number `depth` of the leaves: the first stands where the window's own sum will be. */
static float *leaf_sum(const kd_model *m, phase p, int64_t window, int64_t depth) {
    return depth ? m->leaf[depth] : m->slot[__builtin_popcountll((unsigned long long)window)] + p.at;
}

/* Where leaf `leaf` of window number `window` adds up, zeroed. */
static kd_status leaf_begin(float **sum, kd_model *m, phase p, int64_t window, int64_t leaf) {
    *sum = leaf_sum(m, p, window, __builtin_popcountll((unsigned long long)leaf));
    return kd_zero(m->ctx, *sum, p.count);
}

/* Item i of a tree is complete: as many neighbours merge as i has trailing ones. */
static int64_t merges(int64_t i) { return __builtin_ctzll(~(unsigned long long)i); }

static kd_status leaf_end(kd_model *m, phase p, int64_t window, int64_t leaf) {
    int64_t depth = __builtin_popcountll((unsigned long long)leaf);
    for (int64_t k = 0; k < merges(leaf); k++, depth--)
        KD_TRY(kd_add(m->ctx, leaf_sum(m, p, window, depth - 1), leaf_sum(m, p, window, depth), p.count));
    return KD_OK;
}

static kd_status window_end(kd_model *m, phase p, int64_t window) {
    int64_t depth = __builtin_popcountll((unsigned long long)window);
    for (int64_t k = 0; k < merges(window); k++, depth--)
        KD_TRY(kd_add(m->ctx, m->slot[depth - 1] + p.at, m->slot[depth] + p.at, p.count));
    return KD_OK;
}

kd_status kd_model_gradient_finish(kd_model *m, int64_t windows) {
    for (int64_t depth = __builtin_popcountll((unsigned long long)windows) - 1; depth > 0; depth--)
        KD_TRY(kd_add(m->ctx, m->slot[depth - 1], m->slot[depth], m->gradient_count));
    if (m->tied) KD_TRY(kd_add(m->ctx, m->slot[0], m->slot[0] + m->layout.count, m->V * m->C));
    return KD_OK;
}

/* One block of a phase: tokens t .. t+B-1 of all at once; g points at the gradient of the phase's first float. */
typedef kd_status block_backward(kd_model *m, int64_t layer, int64_t t, int64_t B, float *g, float scale);

static kd_status walk(kd_model *m, phase p, int64_t layer, float scale, block_backward *run) {
    int64_t T = m->options.window, leaves = m->options.leaves;
    for (int64_t j = 0; j < m->count; j++) {
        for (int64_t leaf = 0; leaf < leaves; leaf++) {
            float *g;
            KD_TRY(leaf_begin(&g, m, p, m->first + j, leaf));
            int64_t end = (leaf + 1) * T / leaves;
            for (int64_t t = leaf * T / leaves; t < end; t += KD_BLOCK)
                KD_TRY(run(m, layer, j * T + t, kd_block(t, end), g, scale));
            KD_TRY(leaf_end(m, p, m->first + j, leaf));
        }
        KD_TRY(window_end(m, p, m->first + j));
    }
    return KD_OK;
}

static kd_status head_block(kd_model *m, int64_t layer, int64_t t, int64_t B, float *g, float scale) {
    kd_ctx *ctx = m->ctx;
    (void)layer;
    const float *x = kd_layer_input(m, m->L) + t * m->C, *head = kd_weight(m, m->tied ? KD_P_EMBED : KD_P_LM_HEAD, 0);
    const float *norm = kd_weight(m, KD_P_NORM, 0);
    float *dx = m->dx + t * m->C;
    KD_TRY(kd_block_logits(m, t, B));
    KD_TRY(kd_cross_entropy(ctx, m->losses + m->first * m->options.window + t, m->logits, m->target + t, scale, B, m->V));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, m->logits, head, false, B, m->V, m->C));
    KD_TRY(kd_linear_backward_weight(ctx, g + m->C, NULL, m->logits, m->h, B, m->V, m->C));
    KD_TRY(kd_zero(ctx, dx, B * m->C));
    return kd_rmsnorm_backward(ctx, dx, g, m->dh, x, m->rinv_last + t, norm, B, m->C);
}

/* dx comes in as the gradient of the layer's output and leaves as that of `mid`; dout is attention's. */
static kd_status mlp_block(kd_model *m, int64_t l, int64_t t, int64_t B, float *g, float scale) {
    kd_ctx *ctx = m->ctx;
    (void)scale;
    const kd_layer_acts *a = kd_acts(m, l);
    int64_t C = m->C, F = m->F, HE = m->H * m->E, at = m->layout.at[KD_P_O];
    float *dx = m->dx + t * C, *mid = a->mid + t * C;
    float *gate = a->gate ? a->gate + t * F : m->gate, *up = a->up ? a->up + t * F : m->up;
    const float *norm = kd_weight(m, KD_P_POST_NORM, l);
#define G(kind) (g + (m->layout.at[KD_P_##kind] - at))
    KD_TRY(kd_rmsnorm_forward(ctx, m->h, a->rinv2 + t, mid, norm, m->eps, B, C));
    if (!a->gate) {
        KD_TRY(kd_linear_forward(ctx, gate, m->h, kd_weight(m, KD_P_GATE, l), NULL, B, F, C));
        KD_TRY(kd_linear_forward(ctx, up, m->h, kd_weight(m, KD_P_UP, l), NULL, B, F, C));
    }
    KD_TRY(kd_linear_backward_input(ctx, m->dact, dx, kd_weight(m, KD_P_DOWN, l), false, B, C, F));
    KD_TRY(kd_swiglu_backward(ctx, gate, up, m->act, m->dact, gate, up, B * F));  /* gate, up become their gradients */
    KD_TRY(kd_linear_backward_weight(ctx, G(DOWN), NULL, dx, m->act, B, C, F));
    KD_TRY(kd_linear_backward_weight(ctx, G(GATE), NULL, gate, m->h, B, F, C));
    KD_TRY(kd_linear_backward_weight(ctx, G(UP), NULL, up, m->h, B, F, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, gate, kd_weight(m, KD_P_GATE, l), false, B, F, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, up, kd_weight(m, KD_P_UP, l), true, B, F, C));
    KD_TRY(kd_rmsnorm_backward(ctx, dx, G(POST_NORM), m->dh, mid, a->rinv2 + t, norm, B, C));
    KD_TRY(kd_linear_backward_weight(ctx, G(O), NULL, dx, a->o + t * HE, B, C, HE));
    return kd_linear_backward_input(ctx, m->dout + t * HE, dx, kd_weight(m, KD_P_O, l), false, B, C, HE);
#undef G
}

/* dx comes in as the gradient of `mid` and leaves as that of the layer's input. */
static kd_status qkv_block(kd_model *m, int64_t l, int64_t t, int64_t B, float *g, float scale) {
    kd_ctx *ctx = m->ctx;
    (void)scale;
    const kd_layer_acts *a = kd_acts(m, l);
    int64_t C = m->C, HE = m->H * m->E, GE = m->G * m->E, at = m->layout.at[KD_P_INPUT_NORM];
    const float *x = kd_layer_input(m, l) + t * C, *norm = kd_weight(m, KD_P_INPUT_NORM, l);
    bool biased = m->layout.size[KD_P_Q_BIAS] > 0;
#define G(kind) (g + (m->layout.at[KD_P_##kind] - at))
    KD_TRY(kd_rmsnorm_forward(ctx, m->h, a->rinv1 + t, x, norm, m->eps, B, C));
    KD_TRY(kd_linear_backward_weight(ctx, G(Q), biased ? G(Q_BIAS) : NULL, m->dq + t * HE, m->h, B, HE, C));
    KD_TRY(kd_linear_backward_weight(ctx, G(K), biased ? G(K_BIAS) : NULL, m->dk + t * GE, m->h, B, GE, C));
    KD_TRY(kd_linear_backward_weight(ctx, G(V), biased ? G(V_BIAS) : NULL, m->dv + t * GE, m->h, B, GE, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, m->dq + t * HE, kd_weight(m, KD_P_Q, l), false, B, HE, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, m->dk + t * GE, kd_weight(m, KD_P_K, l), true, B, GE, C));
    KD_TRY(kd_linear_backward_input(ctx, m->dh, m->dv + t * GE, kd_weight(m, KD_P_V, l), true, B, GE, C));
    return kd_rmsnorm_backward(ctx, m->dx + t * C, G(INPUT_NORM), m->dh, x, a->rinv1 + t, norm, B, C);
#undef G
}

static kd_status attention_backward(kd_model *m, int64_t l) {
    int64_t T = m->options.window, HE = m->H * m->E, GE = m->G * m->E;
    for (int64_t j = 0; j < m->count; j++) {
        kd_attn attn = kd_layer_attn(m, kd_acts(m, l), j);
        attn.dout = kd_view_heads(m->dout + j * T * HE, m->H, m->E);
        attn.dq = kd_view_heads(m->dq + j * T * HE, m->H, m->E);
        attn.dk = kd_view_heads(m->dk + j * T * GE, m->G, m->E);
        attn.dv = kd_view_heads(m->dv + j * T * GE, m->G, m->E);
        KD_TRY(kd_attn_backward(m->ctx, &attn));
    }
    return KD_OK;
}

/* Rows of the embedding are added in token order, window by window: one chain a row. */
static kd_status embedding_backward(kd_model *m) {
    int64_t T = m->options.window;
    phase p = {m->layout.at[KD_P_EMBED], m->V * m->C};
    for (int64_t j = 0; j < m->count; j++) {
        float *g;
        KD_TRY(leaf_begin(&g, m, p, m->first + j, 0));
        for (int64_t t = 0; t < T; t += KD_BLOCK)
            KD_TRY(kd_embedding_backward(m->ctx, g, m->dx + (j * T + t) * m->C, m->token + j * T + t,
                                         kd_block(t, T), m->V, m->C));
        KD_TRY(window_end(m, p, m->first + j));
    }
    return KD_OK;
}

kd_status kd_model_backward(kd_model *m, float scale) {
    const int64_t *at = m->layout.at;
    /* A tied head's gradient stands behind the flat order, where an untied one stands in it: right after the norm's. */
    KD_TRY(walk(m, (phase){at[KD_P_NORM], m->C + m->V * m->C}, 0, scale, head_block));
    for (int64_t l = m->L - 1; l >= 0; l--) {
        int64_t layer_at = l * m->layout.layer_stride, end = m->layout.layers_at + m->layout.layer_stride;
        /* The last layer's activations are still there. */
        if (m->options.recompute == KD_RECOMPUTE_LAYER && l < m->L - 1) KD_TRY(kd_layer_attention(m, l));
        KD_TRY(walk(m, (phase){at[KD_P_O] + layer_at, end - at[KD_P_O]}, l, scale, mlp_block));
        KD_TRY(attention_backward(m, l));
        KD_TRY(walk(m, (phase){at[KD_P_INPUT_NORM] + layer_at, at[KD_P_O] - at[KD_P_INPUT_NORM]}, l, scale, qkv_block));
    }
    return embedding_backward(m);
}

/* Memory of a model: measured by the same walk that places it. */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dev/memory.h"
#include "model_state.h"

/* Partial sums that a binary tree over n items in order keeps at once, the one being filled included. */
static int64_t tree_slots(int64_t n) {
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t depth = __builtin_popcountll((unsigned long long)i) + 1;
        if (depth > most) most = depth;
    }
    return most;
}

static void place_gradients(kd_model *m, kd_arena *arena) {
    int64_t attention = m->layout.at[KD_P_O] - m->layout.layers_at, rest = m->layout.layer_stride - attention;
    int64_t phase = m->C + m->V * m->C;  /* the head's */
    if (attention > phase) phase = attention;
    if (rest > phase) phase = rest;
    for (int64_t i = 0; i < tree_slots(m->options.windows); i++)
        m->slot[i] = kd_arena_take(arena, m->gradient_count, sizeof(float));
    for (int64_t i = 1; i < tree_slots(m->leaves); i++) m->leaf[i] = kd_arena_take(arena, phase, sizeof(float));
    int64_t room = kd_reduce_room(phase, kd_comm_size(m->sequence)), all = kd_reduce_room(m->gradient_count, kd_comm_size(m->data));
    m->room = kd_arena_take(arena, room > all ? room : all, sizeof(float));
}

static kd_status place_activations(kd_model *m, kd_arena *arena) {
    bool training = m->options.training, keep = m->options.recompute == KD_RECOMPUTE_NONE;
    bool several = kd_comm_size(m->sequence) > 1;
    int64_t M = m->options.micro * m->T, all = m->options.micro * m->options.window, B = KD_BLOCK, HE = m->H * m->E, GE = m->G * m->E;
#define TAKE(n) kd_arena_take(arena, (n), sizeof(float))
    KD_TRY(kd_sequence_init(&m->attention, m->options.mode, m->sequence, m->options.window, m->H, m->G, m->E, training, arena));
    m->x = TAKE((training ? m->L + 1 : 1) * M * m->C);
    for (int64_t l = 0; l < (keep ? m->L : 1); l++) {
        kd_layer_acts *a = &m->acts[l];
        bool own = l == 0 || !m->attention.keeps_inputs;
        a->q = own ? TAKE(M * HE) : m->acts->q, a->k = own ? TAKE(M * GE) : m->acts->k, a->v = own ? TAKE(M * GE) : m->acts->v;
        a->rinv1 = TAKE(M), a->o = TAKE(M * HE), a->mid = TAKE(M * m->C), a->rinv2 = TAKE(M);
        a->gate = keep ? TAKE(M * m->F) : NULL, a->up = keep ? TAKE(M * m->F) : NULL;
        kd_sequence_keep(&a->kept, &m->attention, m->options.micro, arena);
    }
    m->rinv_last = TAKE(M);
    m->h = TAKE(B * m->C);
    m->gate = TAKE(B * m->F);
    m->up = TAKE(B * m->F);
    m->act = TAKE(B * m->F);
    m->logits = TAKE(B * m->V);
    if (training) {
        m->dh = TAKE(B * m->C);
        m->dact = TAKE(B * m->F);
        m->dx = TAKE(M * m->C);
        m->dout = TAKE(M * HE);
        m->dq = TAKE(M * HE);
        m->dk = TAKE(M * GE);
        m->dv = TAKE(M * GE);
    }
#undef TAKE
    m->losses = kd_arena_take(arena, kd_comm_size(m->data) * m->options.windows * m->options.window, sizeof *m->losses);
    m->token = kd_arena_take(arena, M, sizeof(int32_t));
    m->target = kd_arena_take(arena, M, sizeof(int32_t));
    m->position = kd_arena_take(arena, all, sizeof(int32_t));
    m->window_token = several ? kd_arena_take(arena, all, sizeof(int32_t)) : m->token;
    return KD_OK;
}

static int64_t activation_bytes(kd_model *m) {
    kd_arena measure = {0};
    (void)place_activations(m, &measure);  /* it has gone well before */
    return measure.used;
}

static void choose_recompute(kd_model *m) {
    if (!m->options.training) m->options.recompute = KD_RECOMPUTE_LAYER;
    if (m->options.recompute != KD_RECOMPUTE_AUTO) return;
    m->options.recompute = KD_RECOMPUTE_NONE;
    /* Half of what is free: the page cache and the data want the rest. */
    if (activation_bytes(m) > kd_memory_available() / 2) m->options.recompute = KD_RECOMPUTE_LAYER;
}

/* The step's walk without running it: how much scratch the operations ask for. */
static kd_status measure_scratch(int64_t *bytes, kd_model *m, const kd_plan *plan, kd_measuring measuring) {
    kd_ctx *ctx = m->ctx;
    ctx->measuring = measuring;
    ctx->scratch_need = 0;
    kd_status status = kd_model_forward(m, &plan, 1, 0);
    if (!status) status = m->options.training ? kd_model_backward(m, 1) : kd_model_loss(m);
    ctx->measuring = KD_MEASURE_NOTHING;
    *bytes = ctx->scratch_need;
    m->plan = NULL;
    return status;
}

/* Documents do not matter here: none are given. */
static kd_status measure_any(int64_t *bytes, kd_model *m) {
    const kd_plan plan = {.T = m->options.window};
    return measure_scratch(bytes, m, &plan, KD_MEASURE_ANY);
}

kd_status kd_model_scratch(int64_t *bytes, kd_model *m, const kd_plan *plan) {
    return measure_scratch(bytes, m, plan, KD_MEASURE_THIS);
}

static kd_status check_options(const kd_model_options *o) {
    if (o->window < 1 || o->window >= 1 << 24) return kd_fail(KD_EARG, "window: %lld tokens", (long long)o->window);
    if (o->windows < 1 || o->micro < 1 || o->micro > o->windows || o->windows >= 1 << (KD_TREE_SLOTS - 1))
        return kd_fail(KD_EARG, "%lld windows at once of %lld in a step", (long long)o->micro, (long long)o->windows);
    if (o->leaves < 1 || o->leaves >= 1 << (KD_TREE_SLOTS - 1) || (o->leaves & (o->leaves - 1)))
        return kd_fail(KD_EARG, "leaves: %lld is not a power of two in 1..%d", (long long)o->leaves, 1 << (KD_TREE_SLOTS - 2));
    if (o->training && o->bf16_activations) return kd_fail(KD_ENOTSUP, "bf16 activations are emulated in the forward alone: not for training");
    if (o->training && o->leaves > o->window)
        return kd_fail(KD_EARG, "leaves: %lld of a window of %lld tokens", (long long)o->leaves, (long long)o->window);
    return KD_OK;
}

/* So that no product below leaves int64: a layer keeps fewer than 16 numbers for each token and unit of width. */
static kd_status check_size(const kd_model *m) {
    int64_t width = m->H * m->E, tokens = m->options.micro * m->options.window, bytes;
    if (m->C > width) width = m->C;
    if (m->F > width) width = m->F;
    if (!__builtin_mul_overflow(tokens, (m->L + 1) * 16 * (int64_t)sizeof(float), &bytes) &&
        !__builtin_mul_overflow(bytes, width, &bytes)) return KD_OK;
    return kd_fail(KD_ENOMEM, "out of memory: %lld tokens at once in %lld layers of width %lld", (long long)tokens,
                   (long long)m->L, (long long)width);
}

kd_status kd_model_measure(kd_model **out, kd_ctx *ctx, const kd_config *c, const kd_model_options *options) {
    *out = NULL;
    KD_TRY(check_options(options));
    kd_model *m;
    KD_TRY(kd_new(&m, 1, sizeof *m));
    m->ctx = ctx;
    m->options = *options;
    m->V = c->V, m->C = c->C, m->F = c->F, m->L = c->L, m->H = c->H, m->G = c->G, m->E = c->E;
    m->eps = (float)c->eps;
    m->tied = c->tied;
    m->rope = (kd_rope){.E = c->E, .positions = options->positions ? options->positions : options->window + 1, .precision = options->precision};
    double factor = kd_rope_attention_factor(&c->rope);  /* of rotated queries and of rotated keys: its square */
    if (factor != 1) m->scale = (float)(factor * factor / sqrt((double)c->E));
    kd_status status;
    KD_GO(kd_layout_init(&m->layout, c));
    KD_GO(check_size(m));
    KD_GO(kd_model_share(m));
    m->gradient_count = m->layout.count + (c->tied ? c->V * c->C : 0);
    KD_GO(kd_new(&m->acts, c->L, sizeof *m->acts));
    KD_GO(place_activations(m, &(kd_arena){0}));
    choose_recompute(m);
    m->w = kd_arena_take(&m->weights, m->layout.count, sizeof(float));
    if (options->training) place_gradients(m, &m->gradients);
    KD_GO(place_activations(m, &m->activations));
    KD_GO(measure_any(&m->scratch, m));
    *out = m;
done:
    if (status) kd_model_close(m);
    return status;
}

kd_status kd_model_open(kd_model **out, kd_ctx *ctx, const kd_config *c, const kd_model_options *options) {
    kd_model *m;
    double inv_freq[KD_ROPE_PAIRS];
    kd_status status;
    KD_TRY(kd_model_measure(&m, ctx, c, options));
    kd_rope_frequencies(inv_freq, &c->rope, c->E, options->window);
    KD_GO(kd_rope_init_for(&m->rope, ctx, options->precision, inv_freq, m->rope.E, m->rope.positions));
    KD_GO(kd_ctx_reserve(ctx, m->scratch));
    KD_GO(kd_ctx_place(ctx, &m->weights));
    m->w = kd_arena_take(&m->weights, m->layout.count, sizeof(float));
    KD_GO(kd_ctx_place(ctx, &m->activations));
    KD_GO(place_activations(m, &m->activations));
    if (options->training) {
        KD_GO(kd_ctx_place(ctx, &m->gradients));
        place_gradients(m, &m->gradients);
    }
done:
    if (status) kd_model_close(m);
    *out = status ? NULL : m;
    return status;
}

void kd_model_close(kd_model *m) {
    if (!m) return;
    kd_rope_free(&m->rope, m->ctx);
    kd_ctx_unplace(m->ctx, &m->weights);
    kd_ctx_unplace(m->ctx, &m->gradients);
    kd_ctx_unplace(m->ctx, &m->activations);
    kd_comm_free(m->alone);
    free(m->acts);
    free(m);
}

const kd_layout *kd_model_layout(const kd_model *m) { return &m->layout; }
kd_recompute kd_model_recompute(const kd_model *m) { return m->options.recompute; }
float *kd_model_weights(kd_model *m) { return m->w; }
float *kd_model_gradient(kd_model *m) { return m->slot[0]; }
double *kd_model_losses(kd_model *m) { return m->losses; }
int64_t kd_model_pairs(kd_model *m, const kd_plan *plan) { return kd_sequence_pairs(&m->attention, plan); }

kd_model_memory kd_model_memory_use(const kd_model *m) {
    int64_t rope = kd_rope_bytes(m->rope.precision, m->E, m->rope.positions);
    return (kd_model_memory){m->weights.used, m->gradients.used, m->activations.used + rope, m->scratch};
}

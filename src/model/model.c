/* Memory of a model: measured by the same walk that places it. */
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model_state.h"

/* Partial sums that a binary tree over n items in order keeps at once, the one being filled included; unless apart: then an
 * item is made elsewhere and stored only if there is none to add it to, as every second one. */
static int64_t tree_slots(int64_t n, bool apart) {
    int64_t most = 0;
    for (int64_t i = 0; i < n; i += apart ? 2 : 1) {
        int64_t depth = __builtin_popcountll((unsigned long long)i) + 1;
        if (depth > most) most = depth;
    }
    return most;
}

static void place_weights(kd_model *m, kd_arena *arena, kd_arena *masters) {
    kd_arena *of_masters = m->options.masters && m->options.weights == KD_VIEW_BF16 ? masters : arena;
    m->w = kd_arena_take(of_masters, m->zero < 3 ? m->layout.count : kd_parts_own(&m->own), sizeof(float));
    m->w16 = m->options.weights == KD_VIEW_BF16 ? kd_arena_take(arena, m->layout.count, sizeof *m->w16) : NULL;
    if (m->zero < 3) return;
    for (int i = 0; i < 2; i++) m->gathering[i].w = kd_arena_take(arena, m->layout.layer_stride, sizeof(float));
    m->table = kd_arena_take(arena, m->V * m->C, sizeof(float));
    m->norm = kd_arena_take(arena, m->C, sizeof(float));
}

static void place_gradients(kd_model *m, kd_arena *arena) {
    bool apart = m->zero >= 2;
    int64_t phase = m->C + m->V * m->C;  /* the head's */
    if (m->own.attention > phase) phase = m->own.attention;
    if (m->own.rest > phase) phase = m->own.rest;
    for (int64_t i = 0; i < tree_slots(m->options.windows, apart); i++) m->slot[i] = kd_arena_take(arena, m->gradient_count, sizeof(float));
    for (int64_t i = !apart; i < tree_slots(m->leaves, false); i++) m->leaf[i] = kd_arena_take(arena, phase, sizeof(float));
    m->room = kd_arena_take(arena, kd_reduce_room(phase, m->own.ranks), sizeof(float));
}

static kd_array take(const kd_model *m, kd_arena *arena, int64_t n) {
    return (kd_array){kd_arena_take(arena, n, kd_type_size(m->type)), m->type};
}

/* What the backward of every layer begins with; inputs: where it lies. */
static void place_inputs(kd_model *m, kd_arena *inputs) {
    int64_t count = !m->options.training ? 1 : m->offloads ? m->L - 1 : m->L + 1;
    m->x = take(m, inputs, count * m->options.micro * m->T * m->C);
}

static kd_status place_activations(kd_model *m, kd_arena *arena) {
    bool training = m->options.training, keep = m->options.recompute == KD_RECOMPUTE_NONE;
    bool several = kd_comm_size(m->sequence) > 1;
    int64_t M = m->options.micro * m->T, all = m->options.micro * m->options.window, B = m->block, HE = m->H * m->E, GE = m->G * m->E;
#define TAKE(n) take(m, arena, n)
#define TAKE_FLOATS(n) kd_arena_take(arena, (n), sizeof(float))
    KD_TRY(kd_sequence_init(&m->attention, m->options.mode, m->sequence, m->options.window, m->H, m->G, m->E, training, arena));
    if (!m->options.files) place_inputs(m, arena);
    for (int i = 0; i < 2 && m->offloads; i++) m->near[i] = TAKE(M * m->C);
    for (int64_t l = 0; l < (keep ? m->L : 1); l++) {
        kd_layer_acts *a = &m->acts[l];
        bool own = l == 0 || !m->attention.keeps_inputs;
        a->q = own ? TAKE(M * HE) : m->acts->q, a->k = own ? TAKE(M * GE) : m->acts->k, a->v = own ? TAKE(M * GE) : m->acts->v;
        a->rinv1 = TAKE_FLOATS(M), a->o = TAKE(M * HE), a->mid = TAKE(M * m->C), a->rinv2 = TAKE_FLOATS(M);
        a->gate = keep ? TAKE(M * m->F) : kd_none(), a->up = keep ? TAKE(M * m->F) : kd_none();
        kd_sequence_keep(&a->kept, &m->attention, m->options.micro, arena);
    }
    m->rinv_last = TAKE_FLOATS(M);
    m->h = TAKE(B * m->C);
    m->gate = TAKE(B * m->F);
    m->up = TAKE(B * m->F);
    m->act = TAKE(B * m->F);
    m->logits = TAKE_FLOATS(B * m->V);
    if (training) {
        m->dlogits = m->type == KD_VIEW_F32 ? kd_f32(m->logits) : TAKE(B * m->V);
        m->dh = TAKE(B * m->C);
        m->dact = TAKE(B * m->F);
        m->dx = TAKE(M * m->C);
        m->dout = TAKE(M * HE);
        m->dq = TAKE(M * HE);
        m->dk = TAKE(M * GE);
        m->dv = TAKE(M * GE);
    }
#undef TAKE_FLOATS
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

/* Whether activations fit. Of a host's memory half of what is free: the page cache and the data want the rest. A GPU's is the model's
 * alone: 7/8 of what is free hold activations, and the weights, gradients and moments that are not placed yet. */
static kd_status fits(bool *yes, const kd_model *m, int64_t activations) {
    int64_t available, total;
    KD_TRY(kd_device_memory(m->ctx, &available, &total));
    bool gpu = m->ctx->isa >= KD_ISA_SM80;
    int64_t rest = m->weights.used + m->gradients.used + 2 * kd_parts_own(&m->own) * (int64_t)sizeof(float);
    *yes = gpu ? activations + rest <= available / 8 * 7 : activations <= available / 2;
    return KD_OK;
}

static kd_status choose_recompute(kd_model *m) {
    bool yes;
    if (!m->options.training) m->options.recompute = KD_RECOMPUTE_LAYER;
    if (m->options.recompute != KD_RECOMPUTE_AUTO) return KD_OK;
    m->options.recompute = m->options.files ? KD_RECOMPUTE_LAYER : KD_RECOMPUTE_NONE;
    KD_TRY(fits(&yes, m, activation_bytes(m)));
    if (!yes) m->options.recompute = KD_RECOMPUTE_LAYER;
    return KD_OK;
}

/* The step's walk without running it: how much scratch the operations ask for. */
static kd_status measure_scratch(int64_t *bytes, kd_model *m, const kd_plan *plan, kd_measuring measuring) {
    kd_ctx *ctx = m->ctx;
    int64_t layers = m->L;
    ctx->measuring = measuring;
    ctx->scratch_need = 0;
    m->L = 1;  /* they are alike */
    kd_status status = kd_model_forward(m, &plan, 1, 0);
    if (!status) status = m->options.training ? kd_model_backward(m, 1) : kd_model_loss(m);
    m->L = layers;
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

/* float32 anywhere; bf16 on a GPU, by ranks that share no window and no weights. */
static kd_status check_types(const kd_model *m) {
    static const char *const name[] = {"f32", "bf16", "f16"};
    const kd_model_options *o = &m->options;
    if (o->weights != o->activations || (o->weights != KD_VIEW_F32 && o->weights != KD_VIEW_BF16))
        return kd_fail(KD_ENOTSUP, "weights in %s with activations in %s: both are f32, or both bf16", name[o->weights],
                       name[o->activations]);
    if (o->weights == KD_VIEW_F32) return KD_OK;
    if (m->ctx->isa < KD_ISA_SM80) return kd_fail(KD_ENOTSUP, "bf16 weights and activations need device: cuda");
    if (o->bf16_activations) return kd_fail(KD_EARG, "bf16 activations are emulated in float32 alone");
    if (kd_comm_size(m->sequence) > 1) return kd_fail(KD_ENOTSUP, "bf16 activations of windows that several ranks share are not supported");
    if (m->zero >= 2) return kd_fail(KD_ENOTSUP, "bf16 weights with zero %lld are not supported: zero 1", (long long)m->zero);
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
    m->block = ctx->block;
    m->type = options->activations;
    m->offloads = options->training && options->files && !strcmp(options->files, KD_PLACE_HOST);
    m->eps = (float)c->eps;
    m->tied = c->tied;
    m->rope = (kd_rope){.E = c->E, .positions = options->positions ? options->positions : options->window + 1, .precision = options->precision};
    double factor = kd_rope_attention_factor(&c->rope);  /* of rotated queries and of rotated keys: its square */
    if (factor != 1) m->scale = (float)(factor * factor / sqrt((double)c->E));
    kd_status status;
    KD_GO(kd_layout_init(&m->layout, c));
    KD_GO(check_size(m));
    KD_GO(kd_model_share(m));
    KD_GO(check_types(m));
    kd_weights_forget(m);
    m->gradient_count = m->zero >= 2 ? kd_parts_own_gradient(&m->own) : m->layout.count + (c->tied ? c->V * c->C : 0);
    for (int i = 0; i < 2 && m->zero >= 3; i++) KD_GO(kd_new(&m->gathering[i].counts, 8 * m->own.ranks, sizeof(int64_t)));
    KD_GO(kd_new(&m->acts, c->L, sizeof *m->acts));
    KD_GO(place_activations(m, &(kd_arena){0}));
    place_weights(m, &m->weights, &m->masters);
    if (options->training) place_gradients(m, &m->gradients);
    KD_GO(choose_recompute(m));
    KD_GO(place_activations(m, &m->activations));
    if (options->files) place_inputs(m, &m->inputs);
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
    if (m->masters.used) KD_GO(kd_ctx_place_in(ctx, &m->masters, options->masters));
    place_weights(m, &m->weights, &m->masters);
    KD_GO(kd_ctx_place(ctx, &m->activations));
    KD_GO(place_activations(m, &m->activations));
    if (options->files) {
        KD_GO(kd_ctx_place_in(ctx, &m->inputs, options->files));
        place_inputs(m, &m->inputs);
    }
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
    kd_ctx_unplace(m->ctx, &m->masters);
    kd_ctx_unplace(m->ctx, &m->gradients);
    kd_ctx_unplace(m->ctx, &m->activations);
    kd_ctx_unplace(m->ctx, &m->inputs);
    kd_comm_free(m->alone);
    for (int i = 0; i < 2; i++) free(m->gathering[i].counts);
    free(m->acts);
    free(m);
}

const kd_layout *kd_model_layout(const kd_model *m) { return &m->layout; }
const kd_parts *kd_model_parts(const kd_model *m) { return &m->own; }
kd_comm *kd_model_world(const kd_model *m) { return m->world; }
kd_recompute kd_model_recompute(const kd_model *m) { return m->options.recompute; }
float *kd_model_weights(kd_model *m) { return m->w; }
float *kd_model_gradient(kd_model *m) { return m->slot[0]; }
float *kd_model_weights_of(kd_model *m, kd_slice s) { return m->w + (m->zero < 3 ? s.at : s.own); }
float *kd_model_gradient_of(kd_model *m, kd_slice s) { return m->slot[0] + (m->zero < 2 ? s.at : s.own); }
kd_array kd_model_rounded_of(kd_model *m, kd_slice s) { return kd_at(kd_bf16(m->w16), s.at); }
double *kd_model_losses(kd_model *m) { return m->losses; }
int64_t kd_model_pairs(kd_model *m, const kd_plan *plan) { return kd_sequence_pairs(&m->attention, plan); }

kd_model_memory kd_model_memory_use(const kd_model *m) {
    int64_t rope = kd_rope_bytes(m->rope.precision, m->E, m->rope.positions);
    return (kd_model_memory){m->weights.used, m->gradients.used, m->activations.used + rope, m->scratch,
                             m->inputs.used + m->masters.used};
}

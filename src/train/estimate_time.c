/* Seconds of a step before it runs: a piece of the model is timed on this machine and scaled by counted operations. */
#include <stdlib.h>
#include <string.h>

#include "attn/attn.h"
#include "dev/peak.h"
#include "estimate.h"

enum { WIDEST = 1024, VOCABULARY = 8192, SHORTEST = 1024, LONGEST = 4096, RUNS = 4 };

/* The piece: the same model, fewer layers, no wider than is needed to run as fast as the whole one does. */
static kd_config piece_config(const kd_config *c, int64_t layers) {
    kd_config piece = *c;
    piece.L = layers;
    piece.V = c->V < VOCABULARY ? c->V : VOCABULARY;
    if (c->C <= WIDEST) return piece;
    int64_t group = c->H / c->G, heads = WIDEST / c->E;
    piece.C = WIDEST;
    piece.F = (c->F * WIDEST / c->C + 15) / 16 * 16;
    piece.G = heads / group > 1 ? heads / group : 1;
    piece.H = piece.G * group;
    return piece;
}

static double at_least_0(double x) { return x > 0 ? x : 0; }

static int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

/* Documents of `length` tokens that fill a window of T. */
static kd_status piece_plan(kd_plan *plan, const kd_windows *windows, int64_t T, int64_t length) {
    bool anchor = windows->plan.mask == KD_MASK_ANCHOR && !windows->plan.anchor_is_bos;
    const kd_plan_options options = {.mask = anchor ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT};
    int32_t *token;
    KD_TRY(kd_new(&token, T, sizeof *token));
    kd_status status = kd_plan_init_even(plan, &options, token, T - anchor, length);
    free(token);
    return status;
}

/* Seconds of a window through the piece with so many layers, and of an update of its weights. */
static kd_status time_layers(double *window, double *update, const kd_trainer *t, const kd_config *config,
                             const kd_plan *plan, kd_recompute recompute) {
    kd_model *model = NULL;
    kd_optimizer optimizer = {0};
    kd_status status;
    kd_model_options options = kd_trainer_model_options(t->run);
    options.window = plan->T;
    options.windows = options.micro = 1;
    options.recompute = recompute;
    KD_GO(kd_model_open(&model, t->ctx, config, &options));
    KD_GO(kd_optimizer_open(&optimizer, t->ctx, model, false));
    KD_GO(kd_model_init(model, config, 1));
    *window = *update = 1e30;
    for (int run = 0; run < RUNS; run++) {
        kd_step_sums sums;
        const kd_adamw adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
        double start = kd_now();
        KD_GO(kd_model_forward(model, &plan, 1, 0));
        KD_GO(kd_model_backward(model, 1));
        KD_GO(kd_model_gradient_finish(model, 1));
        double middle = kd_now();
        KD_GO(kd_optimizer_step(&optimizer, &sums, model, &adamw, plan->T));
        double end = kd_now();
        if (middle - start < *window) *window = middle - start;
        if (end - middle < *update) *update = end - middle;
    }
done:
    kd_optimizer_close(&optimizer);
    kd_model_close(model);
    return status;
}

/* Seconds of a layer's attention. */
static kd_status time_attention(double *forward, double *backward, const kd_trainer *t, const kd_config *c, const kd_plan *plan) {
    kd_arena arena = {0};
    kd_rope rope = {0};
    kd_attn a = {.plan = plan, .rope = &rope, .frame = t->run->frame, .precision = t->run->precision,
                 .H = c->H, .G = c->G, .E = c->E};
    double inv_freq[128] = {0};
    kd_status status;
    KD_GO(kd_rope_init_for(&rope, t->ctx, a.precision, inv_freq, c->E, plan->T + 1));
    for (int placing = 0; placing < 2; placing++) {
        kd_view *query[] = {&a.q, &a.o, &a.dout, &a.dq}, *key[] = {&a.k, &a.v, &a.dk, &a.dv};
        for (int i = 0; i < 4; i++) {
            *query[i] = kd_view_heads(kd_arena_take(&arena, plan->T * c->H * c->E, sizeof(float)), c->H, c->E);
            *key[i] = kd_view_heads(kd_arena_take(&arena, plan->T * c->G * c->E, sizeof(float)), c->G, c->E);
        }
        a.lse = kd_arena_take(&arena, plan->T * c->H, sizeof *a.lse);
        if (!placing) KD_GO(kd_ctx_place(t->ctx, &arena));
    }
    *forward = *backward = 1e30;
    for (int run = 0; run < RUNS; run++) {
        double start = kd_now();
        KD_GO(kd_attn_forward(t->ctx, &a));
        double middle = kd_now();
        KD_GO(kd_attn_backward(t->ctx, &a));
        double end = kd_now();
        if (middle - start < *forward) *forward = middle - start;
        if (end - middle < *backward) *backward = end - middle;
    }
done:
    kd_ctx_unplace(t->ctx, &arena);
    if (rope.E) kd_rope_free(&rope, t->ctx);
    return status;
}

kd_status kd_estimate_time(kd_estimate *e, const kd_trainer *t) {
    int64_t window = t->run->window.window, length = clamp((int64_t)e->length, 16, LONGEST);
    int64_t T = clamp(length, SHORTEST < window ? SHORTEST : window, window < LONGEST ? window : LONGEST);
    kd_config one = piece_config(&t->config, 1), two = piece_config(&t->config, 2), single = t->config;
    single.L = 1;
    double first, second, forward = 0, backward = 0, update, ignored;
    kd_plan plan;
    kd_layout layout;
    KD_TRY(kd_layout_init(&layout, &two));
    KD_TRY(piece_plan(&plan, &t->train.windows, T, length));
    kd_status status;
    KD_GO(time_layers(&first, &ignored, t, &one, &plan, e->recompute));
    KD_GO(time_layers(&second, &update, t, &two, &plan, e->recompute));
    KD_GO(time_attention(&forward, &backward, t, &one, &plan));
    e->peak = kd_peak_flops(t->ctx);

    /* One layer with embedding and head, and L-1 more, which alone are computed again. Attention goes with pairs and heads,
     * the rest with tokens and the weights that multiply them. */
    double more = (double)(t->config.L - 1), again = e->recompute == KD_RECOMPUTE_LAYER ? forward : 0;
    double attention = (more + 1) * (forward + backward) + more * again;
    double with_head = at_least_0(first - forward - backward), without = at_least_0(second - first - forward - backward - again);
    double pairs = e->pairs / (double)kd_plan_pairs(&plan) * (double)t->config.H / (double)one.H;
    double tokens = (double)e->tokens / (double)T;
    double head = kd_model_flops(&single, 1, 0), head_piece = kd_model_flops(&one, 1, 0);
    double layers = kd_model_flops(&t->config, 1, 0) - head, layer_piece = kd_model_flops(&two, 1, 0) - head_piece;
    e->seconds = attention * pairs + with_head * tokens * head / head_piece + without * tokens * layers / layer_piece +
                 update * (double)e->parameters / (double)layout.count;
done:
    kd_plan_free(&plan);
    return status;
}

/* How fast this machine does what a step consists of. */
#include <stdlib.h>
#include <string.h>

#include "attn/attn.h"
#include "dev/peak.h"
#include "nn/nn_ops.h"
#include "speed.h"

enum { WIDEST = 1024, VOCABULARY = 8192, SHORTEST = 1024, LONGEST = 2048, TOKENS = 8192, RUNS = 3 };

static const double BUDGET = 0.4;  /* of a second of the peak: what one run of anything may take */

/* A class counts when it has so much of the pairs or of the tokens. */
static const double WORTH = 0.005;

/* ---- attention -------------------------------------------------------------------------------------------- */

/* One window of documents of these lengths. */
static kd_status plan_of(kd_plan *plan, const kd_windows *windows, const int64_t *length, int64_t documents) {
    bool anchor = windows->plan.mask == KD_MASK_ANCHOR && !windows->plan.anchor_is_bos;
    const kd_plan_options options = {.mask = anchor ? KD_MASK_ANCHOR : KD_MASK_DOCUMENT};
    int64_t tokens = 0;
    int32_t *token;
    for (int64_t n = 0; n < documents; n++) tokens += length[n];
    KD_TRY(kd_new(&token, tokens, sizeof *token));
    kd_status status = kd_plan_init_lengths(plan, &options, token, length, documents);
    free(token);
    return status;
}

static kd_view take_heads(kd_arena *arena, kd_view_type type, int64_t T, int64_t heads, int64_t E) {
    void *data = kd_arena_take(arena, T * heads * E, kd_type_size(type));
    return type == KD_VIEW_F32 ? kd_view_heads(data, heads, E) : kd_view_half(data, type, heads, E);
}

/* Seconds of attention with `groups` key/value heads of the model. */
static kd_status time_attention(double *forward, double *backward, const kd_trainer *t, const kd_plan *plan, int64_t groups) {
    const kd_config *c = &t->config;
    kd_arena arena = {0};
    kd_rope rope = {0};
    kd_attn a = {.plan = plan, .rope = &rope, .frame = t->run->frame, .precision = t->run->precision,
                 .H = groups * (c->H / c->G), .G = groups, .E = c->E};
    double inv_freq[KD_ROPE_PAIRS] = {0};
    kd_status status;
    KD_GO(kd_rope_init_for(&rope, t->ctx, a.precision, inv_freq, c->E, plan->T + 1));
    for (int placing = 0; placing < 2; placing++) {
        kd_view *query[] = {&a.q, &a.o, &a.dout, &a.dq}, *key[] = {&a.k, &a.v, &a.dk, &a.dv};
        for (int i = 0; i < 4; i++) {
            *query[i] = take_heads(&arena, t->run->activations, plan->T, a.H, c->E);
            *key[i] = take_heads(&arena, t->run->activations, plan->T, a.G, c->E);
        }
        a.lse = kd_arena_take(&arena, plan->T * a.H, sizeof *a.lse);
        if (!placing) KD_GO(kd_ctx_place(t->ctx, &arena));
    }
    *forward = *backward = 1e30;
    for (int run = 0; run < RUNS; run++) {
        double start = kd_now();
        KD_GO(kd_attn_forward(t->ctx, &a));
        KD_GO(kd_ctx_finish(t->ctx));
        double middle = kd_now();
        KD_GO(kd_attn_backward(t->ctx, &a));
        KD_GO(kd_ctx_finish(t->ctx));
        double end = kd_now();
        if (middle - start < *forward) *forward = middle - start;
        if (end - middle < *backward) *backward = end - middle;
    }
done:
    kd_ctx_unplace(t->ctx, &arena);
    if (rope.E) kd_rope_free(&rope, t->ctx);
    return status;
}

static double cost(const kd_config *c, double length) { return 14 * (double)(c->H / c->G * c->E) * length * length / 2; }

/* A point of both curves: documents of the class, about TOKENS tokens of them, as many heads as the budget allows. */
static kd_status measure_class(kd_speed *s, const kd_trainer *t, const kd_length_class *class) {
    int64_t length[TOKENS], documents = 0, kept = class->count < KD_LENGTHS_KEPT ? class->count : KD_LENGTHS_KEPT;
    double tokens = 0, in_pair = 0, one = 0, forward = 0, backward = 0;
    kd_plan plan;
    while (documents < TOKENS && tokens < TOKENS) {
        double n = (double)(length[documents] = class->kept[documents % kept]);
        tokens += n;
        in_pair += n * n * n / 2;
        one += cost(&t->config, n);
        documents++;
        if (one > BUDGET * s->peak) break;
    }
    double fits = BUDGET * s->peak / one;
    int64_t groups = fits < 1 ? 1 : fits > (double)t->config.G ? t->config.G : (int64_t)fits;
    KD_TRY(plan_of(&plan, &t->train.windows, length, documents));
    kd_status status = time_attention(&forward, &backward, t, &plan, groups);
    double heads = (double)(groups * (t->config.H / t->config.G)), pairs = (double)kd_plan_pairs(&plan) * heads * (double)t->config.E;
    kd_plan_free(&plan);
    if (status) return status;
    int64_t i = s->forward.count++;
    s->backward.count++;
    s->forward.length[i] = s->backward.length[i] = in_pair / (one / (14 * (double)(t->config.H / t->config.G * t->config.E)));
    s->forward.rate[i] = 4 * pairs / forward;
    s->backward.rate[i] = 10 * pairs / backward;
    return KD_OK;
}

/* Documents that take too long by themselves are as fast as the longest that does not. */
static kd_status measure_attention(kd_speed *s, const kd_trainer *t, const kd_lengths *lengths) {
    double pairs = kd_lengths_pairs(lengths), tokens = kd_lengths_tokens(lengths);
    kd_length_class longest = {.count = 0};
    for (int k = 0; k < KD_LENGTH_CLASSES; k++) {
        const kd_length_class *c = &lengths->class[k];
        int64_t most = INT64_C(1) << k;
        if (!c->count || (c->pairs < WORTH * pairs && c->tokens < WORTH * tokens)) continue;
        if (most > 1024 && cost(&t->config, (double)most) > BUDGET * s->peak) {
            while (most > 1024 && cost(&t->config, (double)most) > BUDGET * s->peak) most /= 2;
            longest = (kd_length_class){.count = 1, .kept = {most}};
            break;
        }
        KD_TRY(measure_class(s, t, c));
    }
    int64_t last = s->forward.count - 1;
    if (longest.count && (last < 0 || s->forward.length[last] < (double)longest.kept[0])) KD_TRY(measure_class(s, t, &longest));
    return KD_OK;
}

/* ---- the rest --------------------------------------------------------------------------------------------- */

/* The same model; where it takes too long fewer layers, tokens and ids, no wider than is needed to run as fast as the whole one does. */
typedef struct piece {
    kd_config config;
    kd_model_options options;
    kd_recompute recompute;
} piece;

static double products(const piece *p) {
    return kd_work_count(&p->config, p->options.window, 1, 1, p->recompute, 0, 1).products;
}

static piece piece_of(const kd_trainer *t, kd_recompute recompute, double peak) {
    piece p = {t->config, kd_trainer_model_options(t), recompute};
    kd_config *c = &p.config;
    int64_t group = c->H / c->G, heads = WIDEST / c->E, T = p.options.window, whole = c->L;
    if (c->C > WIDEST) {
        c->F = (c->F * WIDEST / c->C + 15) / 16 * 16;
        c->C = WIDEST;
        c->G = heads / group > 1 ? heads / group : 1;
        c->H = c->G * group;
    }
    c->L = whole < 2 ? whole : 2;
    p.options.window = T < SHORTEST ? T : SHORTEST;
    if (c->V > VOCABULARY && products(&p) > BUDGET * peak) c->V = VOCABULARY;
    p.options.window = T < LONGEST ? T : LONGEST;
    if (p.options.window > SHORTEST && products(&p) > BUDGET * peak) p.options.window = SHORTEST;
    for (c->L = whole; c->L > 2 && products(&p) > BUDGET * peak;) c->L--;
    /* As long as the run's leaves are, or as long as can be. */
    while (p.options.leaves > 1 && p.options.window / p.options.leaves < T / t->run->leaves) p.options.leaves /= 2;
    /* A window after the first adds its gradient to others. */
    p.options.windows = t->run->batch_windows > 1 && T <= LONGEST ? 2 : 1;
    p.options.micro = t->run->micro < p.options.windows ? t->run->micro : p.options.windows;
    p.options.recompute = recompute;
    return p;
}

static double seconds_of(const kd_clock *clock, const kd_op *op) {
    for (int64_t i = 0; i < clock->parts; i++)
        if (clock->part[i].op == op) return clock->part[i].seconds;
    return 0;
}

/* A step of the piece: seconds of products, of what is neither products nor attention, and of the update. */
static kd_status run_piece(double took[3], kd_model *model, kd_optimizer *optimizer, const kd_trainer *t, const piece *p, const kd_plan *plan) {
    const kd_adamw adamw = {.lr = 1e-3, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    const kd_plan *view[] = {plan, plan};
    kd_clock clock = {.parts = 0};
    kd_step_sums sums;
    kd_status status;
    t->ctx->clock = &clock;
    double start = kd_now();
    for (int64_t i = 0; i < p->options.windows; i += p->options.micro) {
        KD_GO(kd_model_forward(model, view, p->options.micro, i));
        KD_GO(kd_model_backward(model, 1));
    }
    KD_GO(kd_model_gradient_finish(model, p->options.windows));
    KD_GO(kd_ctx_finish(t->ctx));
    double middle = kd_now();
    t->ctx->clock = NULL;
    KD_GO(kd_optimizer_step(optimizer, &sums, model, &adamw, p->options.windows * plan->T));
    took[0] = seconds_of(&clock, &kd_matmul_op);
    took[1] = middle - start - took[0] - seconds_of(&clock, &kd_attn_forward_op) - seconds_of(&clock, &kd_attn_backward_op);
    took[2] = kd_now() - middle;
done:
    t->ctx->clock = NULL;
    return status;
}

static kd_status measure_rest(kd_speed *s, const kd_trainer *t, kd_recompute recompute) {
    piece p = piece_of(t, recompute, s->peak);
    int64_t length[LONGEST], documents = 0, left = p.options.window - (t->train.windows.plan.mask == KD_MASK_ANCHOR && !t->train.windows.plan.anchor_is_bos);
    double least[3] = {1e30, 1e30, 1e30}, took[3];
    kd_model *model = NULL;
    kd_optimizer optimizer = {0};
    kd_plan plan = {0};
    kd_status status;
    for (; left > 0; left -= length[documents++]) length[documents] = left < 256 ? left : 256;  /* attention is not looked at */
    KD_GO(plan_of(&plan, &t->train.windows, length, documents));
    KD_GO(kd_model_open(&model, t->ctx, &p.config, &p.options));
    KD_GO(kd_optimizer_open(&optimizer, t->ctx, model, &(kd_optimizer_options){.coded = t->run->moments_coded}));
    KD_GO(kd_model_init(model, &p.config, 1));
    for (int run = 0; run < RUNS; run++) {
        KD_GO(run_piece(took, model, &optimizer, t, &p, &plan));
        for (int i = 0; i < 3; i++) least[i] = took[i] < least[i] ? took[i] : least[i];
    }
    double parameters = (double)kd_model_layout(model)->count;
    kd_work work = kd_work_count(&p.config, p.options.window, p.options.windows, p.options.micro, recompute, parameters, 1);
    s->products = work.products / least[0];
    s->numbers = work.numbers / least[1];
    s->update = parameters / least[2];
done:
    kd_plan_free(&plan);
    kd_optimizer_close(&optimizer);
    kd_model_close(model);
    return status;
}

kd_status kd_speed_measure(kd_speed *s, const kd_trainer *t, const kd_lengths *lengths, kd_recompute recompute) {
    *s = (kd_speed){.name = "this machine", .devices = 1, .peak = kd_peak_flops(t->ctx)};
    KD_TRY(measure_attention(s, t, lengths));
    return measure_rest(s, t, recompute);
}

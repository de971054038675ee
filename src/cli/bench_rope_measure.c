#include <math.h>
#include <stdlib.h>

#include "attn/attn.h"
#include "base/log.h"
#include "base/random.h"
#include "bench_rope.h"
#include "dev/peak.h"

enum { REF_TOKENS = 256, ROUNDS_MOST = 1000 };

/* Documents of equal length and their tensors; the host's. */
typedef struct window {
    kd_ctx *ctx;
    kd_plan plan;
    kd_rope rope;
    kd_attn a;
    kd_arena arena;
    float *logit, *shifted;   /* [H, T, T] if asked for */
} window;

static void place(window *w, kd_arena *arena, bool logits) {
    int64_t T = w->plan.T, H = w->a.H, E = w->a.E;
    kd_view *view[] = {&w->a.q, &w->a.k, &w->a.v, &w->a.o};
    for (int i = 0; i < 4; i++) *view[i] = kd_view_heads(kd_arena_take(arena, T * H * E, sizeof(float)), H, E);
    w->a.lse = kd_arena_take(arena, H * T, sizeof(float));
    w->plan.start = kd_arena_take(arena, w->plan.N + 1, sizeof *w->plan.start);
    w->plan.base = kd_arena_take(arena, w->plan.N, sizeof *w->plan.base);
    w->plan.position = kd_arena_take(arena, T, sizeof *w->plan.position);
    w->logit = logits ? kd_arena_take(arena, H * T * T, sizeof(float)) : NULL;
    w->shifted = logits ? kd_arena_take(arena, H * T * T, sizeof(float)) : NULL;
}

static void move_to(window *w, int64_t shift) {
    for (int64_t n = 0; n < w->plan.N; n++) w->plan.base[n] = (int32_t)(shift + w->plan.start[n]);
    for (int64_t t = 0; t < w->plan.T; t++) w->plan.position[t] = (int32_t)(shift + t);
}

/* Normal numbers; the first key is six times larger: where training leaves a large one, and rounding hurts most. */
static void draw(window *w, int64_t sample) {
    int64_t H = w->a.H, E = w->a.E, n = w->plan.T * H * E;
    kd_view view[] = {w->a.q, w->a.k, w->a.v};
    for (int i = 0; i < 3; i++)
        for (int64_t j = 0; j < n; j++)
            view[i].data[j] = (float)kd_random_normal(1, (uint64_t)(3 * sample + i), (uint64_t)j);
    for (int64_t j = 0; j < H * E; j++) w->a.k.data[j] *= 6;
}

static void window_close(window *w) {
    kd_ctx_unplace(w->ctx, &w->arena);
    if (w->rope.E) kd_rope_free(&w->rope, w->ctx);
}

static kd_status window_open(window *w, kd_ctx *ctx, const kd_rope_bench *b, kd_precision precision, int64_t tokens,
                             int64_t documents, int64_t heads, int64_t positions, bool logits) {
    double inv_freq[128];
    kd_status status;
    *w = (window){.ctx = ctx, .plan = {.T = tokens, .N = documents < tokens ? documents : tokens}};
    w->a = (kd_attn){.plan = &w->plan, .rope = &w->rope, .precision = precision, .H = heads, .G = heads, .E = b->size};
    for (int64_t e = 0; e < b->size / 2; e++) inv_freq[e] = (float)pow(b->theta, -2.0 * (double)e / (double)b->size);
    KD_GO(kd_rope_init_for(&w->rope, ctx, precision, inv_freq, b->size, positions));
    place(w, &w->arena, logits);
    KD_GO(kd_ctx_place(ctx, &w->arena));
    place(w, &w->arena, logits);
    for (int64_t n = 0; n <= w->plan.N; n++) w->plan.start[n] = tokens * n / w->plan.N;
    move_to(w, 0);
done:
    if (status) window_close(w);
    return status;
}

/* ---- how far logits move ------------------------------------------------------------------------------------- */

/* Squares are summed, and turned into roots at the end. */
static void compare(kd_rope_change *c, const window *w) {
    int64_t T = w->plan.T;
    for (int64_t h = 0; h < w->a.H; h++)
        for (int64_t i = 0; i < T; i++)
            for (int64_t j = 0; j <= i; j++) {
                double x = w->logit[(h * T + i) * T + j], d = fabs(w->shifted[(h * T + i) * T + j] - x);
                if (!(d <= c->most)) c->most = d;
                c->rms += d * d;
                c->size += x * x;
            }
}

kd_status kd_rope_bench_change(kd_rope_change *change, kd_ctx *ctx, const kd_rope_bench *b, kd_precision precision,
                               kd_frame frame, const int64_t *shift, int64_t shifts) {
    window w;
    int64_t furthest = 0, T = b->tokens;
    for (int64_t i = 0; i < shifts; i++) furthest = shift[i] > furthest ? shift[i] : furthest;
    KD_TRY(window_open(&w, ctx, b, precision, T, 1, b->heads, furthest + T, true));
    kd_status status = KD_OK;
    w.a.frame = frame;
    for (int64_t i = 0; i < shifts; i++) change[i] = (kd_rope_change){0, 0, 0};
    for (int64_t sample = 0; sample < b->samples; sample++) {
        draw(&w, sample);
        move_to(&w, 0);
        KD_GO(kd_attn_logits(ctx, w.logit, &w.a));
        for (int64_t i = 0; i < shifts; i++) {
            move_to(&w, shift[i]);
            KD_GO(kd_attn_logits(ctx, w.shifted, &w.a));
            compare(&change[i], &w);
        }
    }
    double pairs = (double)(b->samples * b->heads) * (double)(T * (T + 1) / 2);
    for (int64_t i = 0; i < shifts; i++) {
        change[i].rms = sqrt(change[i].rms / pairs);
        change[i].size = sqrt(change[i].size / pairs);
    }
done:
    window_close(&w);
    return status;
}

/* ---- what it takes ------------------------------------------------------------------------------------------- */

static int ascending(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double *sorted(double *x, int64_t n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x;
}

static kd_status seconds(double *out, const window *w, const kd_variant *variant) {
    double start = kd_now();
    KD_TRY(kd_op_run_variant(w->ctx, variant, &w->a));
    *out = kd_now() - start;
    return KD_OK;
}

/* Each round runs both in turn, the one that is first the last round's second, between two bursts. */
static kd_status take_turns(kd_rope_time *time, const window *both, const kd_variant *variant, int64_t rounds) {
    double ratio[ROUNDS_MOST], took[2][ROUNDS_MOST], peak[ROUNDS_MOST];
    int64_t n = rounds < ROUNDS_MOST ? rounds : ROUNDS_MOST;
    for (int i = 0; i < 2; i++) KD_TRY(seconds(&took[i][0], &both[i], variant));  /* pages and caches */
    for (int64_t r = 0; r < n; r++) {
        for (int i = 0; i < 2; i++) {
            int64_t which = (r + i) % 2;
            KD_TRY(seconds(&took[which][r], &both[which], variant));
        }
        peak[r] = kd_peak_flops(both->ctx);
        ratio[r] = took[1][r] / took[0][r];
    }
    double flops = 4.0 * (double)both->a.E * (double)both->a.H * (double)kd_plan_pairs(&both->plan) * 1e-9;
    double exact = sorted(took[0], n)[0], own = sorted(took[1], n)[0];
    *time = (kd_rope_time){variant->name, both->plan.T, own / exact, sorted(ratio, n)[n / 2], flops / own, flops / exact,
                           sorted(peak, n)[n - 1] * 1e-9};
    return KD_OK;
}

kd_status kd_rope_bench_time(kd_rope_time *time, kd_ctx *ctx, const kd_rope_bench *b, kd_precision precision) {
    window both[2] = {{0}, {0}};
    kd_attn asked = {.precision = precision};
    const kd_variant *variant = kd_op_choose(ctx, &kd_attn_forward_op, &asked);
    int64_t T = variant->isa == KD_ISA_REF && b->time_tokens > REF_TOKENS ? REF_TOKENS : b->time_tokens;
    kd_status status;
    KD_GO(window_open(&both[0], ctx, b, KD_PRECISION_EXACT, T, b->time_documents, b->time_heads, T, false));
    KD_GO(window_open(&both[1], ctx, b, precision, T, b->time_documents, b->time_heads, T, false));
    for (int i = 0; i < 2; i++) draw(&both[i], 0);
    status = take_turns(time, both, variant, b->rounds);
done:
    for (int i = 0; i < 2; i++)
        if (both[i].ctx) window_close(&both[i]);
    return status;
}

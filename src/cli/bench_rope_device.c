/* kedge bench rope on a GPU: the ladder as its own kernels have it. Logits never leave a kernel, so rows of attention are compared instead: values
 * that are 1 in one place make an output of E probabilities, and T / E of them the whole row. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "attn/attn.h"
#include "base/random.h"
#include "bench.h"
#include "bench_rope.h"

/* One document, its tensors on the device in float32. */
typedef struct window {
    kd_ctx *ctx;
    kd_plan plan;
    kd_rope rope;
    kd_attn a;
    kd_arena arena;
    float *stage;              /* [T, H, E] on the host */
    bool backward;
} window;

static void place(window *w, kd_arena *arena) {
    int64_t T = w->plan.T, H = w->a.H, E = w->a.E;
    kd_view *view[] = {&w->a.q, &w->a.k, &w->a.v, &w->a.o, &w->a.dout, &w->a.dq, &w->a.dk, &w->a.dv};
    for (int i = 0; i < (w->backward ? 8 : 4); i++) *view[i] = kd_view_heads(kd_arena_take(arena, T * H * E, sizeof(float)), H, E);
    w->a.lse = kd_arena_take(arena, H * T, sizeof(float));
}

static int64_t bytes_of(const window *w) { return w->plan.T * w->a.H * w->a.E * (int64_t)sizeof(float); }

/* Normal numbers to a tensor; the first token's `first` times larger. */
static kd_status draw(window *w, const kd_view *to, uint64_t stream, float first) {
    int64_t row = w->a.H * w->a.E, n = w->plan.T * row;
    for (int64_t i = 0; i < n; i++) w->stage[i] = (float)kd_random_normal(1, stream, (uint64_t)i) * (i < row ? first : 1.0f);
    return w->ctx->device->put(w->ctx, to->data, w->stage, bytes_of(w));
}

static void window_close(window *w) {
    kd_ctx_unplace(w->ctx, &w->arena);
    if (w->rope.E) kd_rope_free(&w->rope, w->ctx);
    kd_plan_free(&w->plan);
    free(w->stage);
}

static kd_status window_open(window *w, kd_ctx *ctx, const kd_rope_bench *b, kd_precision precision, int64_t T, int64_t H, int64_t positions,
                             bool backward) {
    const kd_plan_options full = {.mask = KD_MASK_FULL};
    double inv_freq[128];
    int32_t *token;
    kd_status status;
    *w = (window){.ctx = ctx, .backward = backward};
    w->a = (kd_attn){.plan = &w->plan, .rope = &w->rope, .precision = precision, .H = H, .G = H, .E = b->size};
    for (int64_t e = 0; e < b->size / 2; e++) inv_freq[e] = (float)pow(b->theta, -2.0 * (double)e / (double)b->size);
    KD_TRY(kd_new(&token, T, sizeof *token));
    KD_GO(kd_plan_init_even(&w->plan, &full, token, T, T));
    KD_GO(kd_new(&w->stage, T * H * b->size, sizeof *w->stage));
    KD_GO(kd_rope_init_for(&w->rope, ctx, precision, inv_freq, b->size, positions));
    place(w, &w->arena);
    KD_GO(kd_ctx_place(ctx, &w->arena));
    place(w, &w->arena);
    KD_GO(draw(w, &w->a.v, 2, 1));
    if (backward) KD_GO(draw(w, &w->a.dout, 3, 1));
    KD_GO(draw(w, &w->a.q, 0, 1));
    KD_GO(draw(w, &w->a.k, 1, 6));
done:
    free(token);
    if (status) window_close(w);
    return status;
}

/* row [T, H, T]: the probabilities of a window whose positions begin with `shift`. */
static kd_status rows(float *row, window *w, int64_t shift) {
    int64_t T = w->plan.T, H = w->a.H, E = w->a.E;
    for (int64_t t = 0; t < T; t++) w->plan.position[t] = (int32_t)(shift + t);
    w->plan.base[0] = (int32_t)shift;
    for (int64_t from = 0; from < T; from += E) {
        for (int64_t i = 0; i < T * H * E; i++) w->stage[i] = 0;
        for (int64_t t = from; t < T && t < from + E; t++)
            for (int64_t h = 0; h < H; h++) w->stage[(t * H + h) * E + t - from] = 1;
        KD_TRY(w->ctx->device->put(w->ctx, w->a.v.data, w->stage, bytes_of(w)));
        KD_TRY(kd_attn_forward(w->ctx, &w->a));
        KD_TRY(w->ctx->device->get(w->ctx, w->stage, w->a.o.data, bytes_of(w)));
        for (int64_t i = 0; i < T * H; i++)
            for (int64_t e = 0; e < E && from + e < T; e++) row[i * T + from + e] = w->stage[i * E + e];
    }
    return KD_OK;
}

/* Mean and largest sum of |change| over a row, and the first key's share of all change. */
static kd_rope_change compare(const float *a, const float *b, int64_t count, int64_t T) {
    double sum = 0, most = 0, first = 0;
    for (int64_t i = 0; i < count; i++) {
        double row = 0;
        for (int64_t j = 0; j < T; j++) row += fabs((double)a[i * T + j] - b[i * T + j]);
        first += fabs((double)a[i * T] - b[i * T]);
        sum += row;
        if (!(row <= most)) most = row;
    }
    return (kd_rope_change){most, sum / (double)count, sum > 0 ? first / sum : 0};
}

kd_status kd_rope_bench_rows(kd_rope_change *change, kd_ctx *ctx, const kd_rope_bench *b, kd_precision precision, kd_frame frame,
                             const int64_t *shift, int64_t shifts) {
    window w;
    float *at_0 = NULL, *at_shift = NULL;
    int64_t furthest = 0, T = b->tokens, H = b->heads;
    for (int64_t i = 0; i < shifts; i++) furthest = shift[i] > furthest ? shift[i] : furthest;
    KD_TRY(window_open(&w, ctx, b, precision, T, H, furthest + T, false));
    kd_status status;
    w.a.frame = frame;
    KD_GO(kd_new(&at_0, T * H * T, sizeof *at_0));
    KD_GO(kd_new(&at_shift, T * H * T, sizeof *at_shift));
    KD_GO(rows(at_0, &w, 0));
    for (int64_t i = 0; i < shifts; i++) {
        KD_GO(rows(at_shift, &w, shift[i]));
        change[i] = compare(at_0, at_shift, T * H, T);
    }
done:
    free(at_0);
    free(at_shift);
    window_close(&w);
    return status;
}

/* Seconds of so many runs, best of three. */
static kd_status seconds(double *out, window *w, bool backward) {
    enum { RUNS = 10 };
    *out = INFINITY;
    for (int round = 0; round < 4; round++) {
        double began, ended;
        KD_TRY(kd_bench_now(&began, w->ctx));
        for (int i = 0; i < RUNS; i++) KD_TRY(backward ? kd_attn_backward(w->ctx, &w->a) : kd_attn_forward(w->ctx, &w->a));
        KD_TRY(kd_bench_now(&ended, w->ctx));
        if (round > 0) *out = fmin(*out, (ended - began) / RUNS);
    }
    return KD_OK;
}

kd_status kd_rope_bench_cost(double took[2], kd_ctx *ctx, const kd_rope_bench *b, kd_precision precision) {
    window w;
    KD_TRY(window_open(&w, ctx, b, precision, b->time_tokens, b->time_heads, b->time_tokens, true));
    kd_status status = seconds(&took[0], &w, false);
    if (!status) status = seconds(&took[1], &w, true);
    window_close(&w);
    return status;
}

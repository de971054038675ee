#include "attn_oracle.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const part_name[PARTS] = {"o", "lse", "dq", "dk", "dv"};

void *oracle_new(int64_t count, int64_t size) {
    void *memory = calloc((size_t)(count > 0 ? count : 1), (size_t)size);
    assert_non_null(memory);
    return memory;
}

void window_plan(kd_plan *plan, const window *w) {
    int64_t cuts = w->cuts > 0 ? w->cuts : 1, chunks = 0, used = 0, T = 0;
    for (int64_t n = 0; n < w->N; n++) T += w->length[n];
    int32_t *token = oracle_new(T, sizeof *token), *text[ORACLE_DOCUMENTS];
    kd_piece *piece = oracle_new(w->N, sizeof *piece);
    kd_chunk *chunk = oracle_new(w->N * cuts, sizeof *chunk);
    for (int64_t n = 0; n < w->N; n++) {
        text[n] = token + used;
        for (int64_t i = 0; i < w->length[n]; i++)
            text[n][i] = (int32_t)((w->first_token[n] ? w->first_token[n] : 10000 * (n + 1)) + i);
        used += w->length[n];
        piece[n] = (kd_piece){NULL, 0, -1};
    }
    for (int64_t c = 0; c < cuts; c++)
        for (int64_t i = 0; i < w->N; i++) {
            int64_t n = c % 2 ? w->N - 1 - i : i, from = w->length[n] * c / cuts, to = w->length[n] * (c + 1) / cuts;
            chunk[chunks++] = (kd_chunk){n, text[n] + from, to - from, NULL};
        }
    kd_plan_options o = {.mask = w->mask, .reset = w->reset, .anchor_is_bos = w->own_bos, .lead_bos = w->own_bos,
                         .bos = ORACLE_BOS};
    assert_int_equal(kd_plan_init(plan, &o, piece, w->N, chunk, chunks), KD_OK);
    free(token);
    free(piece);
    free(chunk);
}

/* About normal: the sum of four uniform numbers, from a hash. */
static float value(uint64_t kind, uint64_t token, uint64_t head, uint64_t e) {
    uint64_t x = (((kind * 1000003 + token) * 1000003 + head) * 1000003 + e) * 0x9e3779b97f4a7c15u, sum = 0;
    for (int i = 0; i < 4; i++) {
        x ^= x >> 29;
        x *= 0xbf58476d1ce4e5b9u;
        sum += x >> 40;
    }
    return (float)((double)sum / (1 << 24) - 2) * 1.7f;
}

/* A strided view of fresh memory, and the same numbers in double unless NULL. */
static kd_view fill(double **copy, const problem *x, uint64_t kind, int64_t heads, double bos_scale) {
    int64_t E = x->a.E, T = x->plan.T, stride = heads * E + x->gap;
    kd_view view = {.data = oracle_new(T * stride, sizeof(float)), .token_stride = stride, .head_stride = E};
    if (copy) *copy = oracle_new(T * heads * E, sizeof(double));
    for (int64_t t = 0; t < T; t++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t e = 0; e < E && copy; e++) {
                float y = value(kind, (uint64_t)x->plan.token[t], (uint64_t)h, (uint64_t)e);
                if (x->plan.token[t] == ORACLE_BOS) y *= (float)bos_scale;
                view.data[t * stride + h * E + e] = y;
                (*copy)[(t * heads + h) * E + e] = y;
            }
    return view;
}

void problem_init(problem *x, kd_ctx *ctx, const window *w, int64_t H, int64_t G, int64_t E, kd_frame frame,
                  double first_key) {
    double inv_freq[128];
    *x = (problem){.ctx = ctx, .gap = 5};
    window_plan(&x->plan, w);
    int64_t T = x->plan.T;
    for (int64_t e = 0; e < E / 2; e++) inv_freq[e] = (float)pow(1e4, -2.0 * (double)e / (double)E);
    assert_int_equal(kd_rope_init(&x->rope, ctx, inv_freq, E, T + 1), KD_OK);
    x->a = (kd_attn){.plan = &x->plan, .rope = &x->rope, .frame = frame, .H = H, .G = G, .E = E};
    x->a.q = fill(&x->q, x, 1, H, 1);
    x->a.k = fill(&x->k, x, 2, G, first_key);
    x->a.v = fill(&x->v, x, 3, G, 1);
    x->a.dout = fill(&x->dout, x, 4, H, 1);
    x->a.o = fill(NULL, x, 0, H, 0);
    x->a.dq = fill(NULL, x, 0, H, 0);
    x->a.dk = fill(NULL, x, 0, G, 0);
    x->a.dv = fill(NULL, x, 0, G, 0);
    x->a.lse = oracle_new(H * T, sizeof(float));
    const int64_t count[PARTS] = {T * H * E, H * T, T * H * E, T * G * E, T * G * E};
    for (int i = 0; i < PARTS; i++) x->out.from[i + 1] = x->out.from[i] + count[i];
    x->out.f = oracle_new(x->out.from[PARTS], sizeof(float));
    x->out.d = oracle_new(x->out.from[PARTS], sizeof(double));
}

void problem_free(problem *x) {
    float *view[] = {x->a.q.data, x->a.k.data, x->a.v.data, x->a.o.data, x->a.dout.data, x->a.dq.data, x->a.dk.data,
                     x->a.dv.data, x->a.lse, x->out.f};
    double *wide[] = {x->q, x->k, x->v, x->dout, x->out.d};
    for (size_t i = 0; i < sizeof view / sizeof *view; i++) free(view[i]);
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) free(wide[i]);
    kd_rope_free(&x->rope, x->ctx);
    kd_plan_free(&x->plan);
}

void problem_set_precision(problem *x, kd_precision precision, int64_t positions) {
    double inv_freq[128];
    memcpy(inv_freq, x->rope.inv_freq, (size_t)x->a.E / 2 * sizeof *inv_freq);
    kd_rope_free(&x->rope, x->ctx);
    x->a.precision = precision;
    assert_int_equal(kd_rope_init_for(&x->rope, x->ctx, precision, inv_freq, x->a.E, positions), KD_OK);
}

void problem_move(problem *x, int32_t anchor, int32_t documents) {
    for (int64_t t = 0; t < x->plan.T; t++) x->plan.position[t] += t < x->plan.anchors ? anchor : documents;
    for (int64_t n = 0; n < x->plan.N; n++) x->plan.base[n] += documents;
}

bool problem_is_served(const problem *x, int64_t variant) {
    const kd_variant *forward = &kd_attn_forward_op.variant[variant], *backward = &kd_attn_backward_op.variant[variant];
    return (!forward->supports || forward->supports(&x->a)) && (!backward->supports || backward->supports(&x->a));
}

static const float poison = NAN;

static void poison_view(const problem *x, kd_view view) {
    for (int64_t i = 0; i < x->plan.T * view.token_stride; i++) view.data[i] = poison;
}

/* Out of the view, into the results; what lies between tokens must be untouched. */
static void collect(const problem *x, kd_view view, int64_t heads, float *to) {
    for (int64_t t = 0; t < x->plan.T; t++) {
        const float *row = view.data + t * view.token_stride;
        memcpy(to + t * heads * x->a.E, row, (size_t)(heads * x->a.E) * sizeof *to);
        for (int64_t i = heads * x->a.E; i < view.token_stride; i++)
            assert_memory_equal(row + i, &poison, sizeof poison);
    }
}

static void run_poisoned(const problem *x, const kd_variant *variant) {
    int64_t need = variant->workspace(x->ctx, &x->a);
    assert_int_equal(kd_ctx_reserve(x->ctx, need), KD_OK);
    memset(x->ctx->scratch, 0xff, (size_t)x->ctx->scratch_bytes);
    assert_int_equal(kd_op_run_variant(x->ctx, variant, &x->a), KD_OK);
}

void problem_run(problem *x, int64_t variant) {
    kd_view out[] = {x->a.o, x->a.dq, x->a.dk, x->a.dv};
    for (int i = 0; i < 4; i++) poison_view(x, out[i]);
    for (int64_t i = 0; i < x->a.H * x->plan.T; i++) x->a.lse[i] = poison;
    assert_int_equal(kd_attn_check(x->ctx, &x->a, true), KD_OK);
    run_poisoned(x, &kd_attn_forward_op.variant[variant]);
    run_poisoned(x, &kd_attn_backward_op.variant[variant]);
    collect(x, x->a.o, x->a.H, x->out.f + x->out.from[PART_O]);
    memcpy(x->out.f + x->out.from[PART_LSE], x->a.lse, (size_t)(x->a.H * x->plan.T) * sizeof(float));
    collect(x, x->a.dq, x->a.H, x->out.f + x->out.from[PART_DQ]);
    collect(x, x->a.dk, x->a.G, x->out.f + x->out.from[PART_DK]);
    collect(x, x->a.dv, x->a.G, x->out.f + x->out.from[PART_DV]);
}

void problem_define(problem *x) {
    double *d = x->out.d;
    const int64_t *from = x->out.from;
    assert_int_equal(kd_attn_define_forward(d, d + from[PART_LSE], x->q, x->k, x->v, &x->a), KD_OK);
    assert_int_equal(kd_attn_define_backward(d + from[PART_DQ], d + from[PART_DK], d + from[PART_DV], x->dout, x->q,
                                             x->k, x->v, d, d + from[PART_LSE], &x->a), KD_OK);
}

int64_t first_variant(void) {
    int64_t i = 0;
    kd_ctx *ctx;  /* KEDGE_ISA may cap it */
    assert_int_equal(kd_ctx_open(&ctx, 1), KD_OK);
    while (!kd_isa_serves(ctx->isa, kd_attn_forward_op.variant[i].isa)) i++;
    kd_ctx_close(ctx);
    return i;
}

error part_error(const problem *x, enum part part) {
    error e = {0, 0, 0};
    int64_t from = x->out.from[part], to = x->out.from[part + 1];
    for (int64_t i = from; i < to; i++) {
        double difference = fabs((double)x->out.f[i] - x->out.d[i]);
        if (!(difference <= e.most)) e.most = difference;  /* a NaN stays */
        e.rms += difference * difference / (double)(to - from);
        e.size = fmax(e.size, fabs(x->out.d[i]));
    }
    e.rms = sqrt(e.rms);
    return e;
}

bool *plan_sight(const kd_plan *plan) {
    int64_t T = plan->T;
    bool *seen = oracle_new(T * T, sizeof *seen);
    for (int64_t i = 0; i < T; i++)
        for (int64_t j = 0; j < plan->anchors; j++) seen[i * T + j] = true;
    for (int64_t n = 0; n < plan->N; n++)
        for (int64_t i = plan->start[n]; i < plan->start[n + 1]; i++)
            for (int64_t j = plan->start[n]; j <= i; j++) seen[i * T + j] = true;
    return seen;
}

/* y = x turned by p, pair by pair. */
static void turn(double *y, const double *x, double p, const dense_attention *d) {
    int64_t half = d->E / 2;
    for (int64_t e = 0; e < half; e++) {
        double c = cos(p * d->inv_freq[e]), s = sin(p * d->inv_freq[e]), a = x[e], b = x[e + half];
        y[e] = c * a - s * b;
        y[e + half] = s * a + c * b;
    }
}

static double inner(const double *x, const double *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* One head, as a textbook has it: P and dS whole. */
static void dense_head(const dense_attention *x, int64_t h) {
    int64_t T = x->T, E = x->E, H = x->H, G = x->G, g = h * G / H;
    double *q = oracle_new(T * E, 8), *k = oracle_new(T * E, 8), *P = oracle_new(T * T, 8), *y = oracle_new(E, 8);
    double scale = 1 / sqrt((double)E);
    for (int64_t t = 0; t < T; t++) {
        turn(q + t * E, x->q + (t * H + h) * E, x->position[t], x);
        turn(k + t * E, x->k + (t * G + g) * E, x->position[t], x);
    }
    for (int64_t i = 0; i < T; i++) {
        double sum = 0, *row = P + i * T, *o = x->o + (i * H + h) * E;
        const double *dout = x->dout + (i * H + h) * E;
        for (int64_t j = 0; j < T; j++) {
            row[j] = x->seen[i * T + j] ? exp(scale * inner(q + i * E, k + j * E, E)) : 0;
            sum += row[j];
        }
        x->lse[h * T + i] = log(sum);
        memset(o, 0, (size_t)E * sizeof *o);
        for (int64_t j = 0; j < T; j++) {
            row[j] /= sum;
            for (int64_t e = 0; e < E; e++) o[e] += row[j] * x->v[(j * G + g) * E + e];
        }
        for (int64_t j = 0; j < T; j++) {
            double *dv = x->dv + (j * G + g) * E;
            for (int64_t e = 0; e < E; e++) dv[e] += row[j] * dout[e];
            row[j] *= scale * (inner(dout, x->v + (j * G + g) * E, E) - inner(dout, o, E));
        }
    }
    for (int64_t i = 0; i < T; i++) {  /* P holds scale * dS */
        double *dq = x->dq + (i * H + h) * E, *dk = x->dk + (i * G + g) * E;
        memset(y, 0, (size_t)E * sizeof *y);
        for (int64_t j = 0; j < T; j++)
            for (int64_t e = 0; e < E; e++) y[e] += P[i * T + j] * k[j * E + e];
        turn(dq, y, -x->position[i], x);
        memset(y, 0, (size_t)E * sizeof *y);
        for (int64_t j = 0; j < T; j++)
            for (int64_t e = 0; e < E; e++) y[e] += P[j * T + i] * q[j * E + e];
        turn(y, y, -x->position[i], x);
        for (int64_t e = 0; e < E; e++) dk[e] += y[e];
    }
    free(q);
    free(k);
    free(P);
    free(y);
}

void dense_run(const dense_attention *x) {
    memset(x->dk, 0, (size_t)(x->T * x->G * x->E) * sizeof *x->dk);
    memset(x->dv, 0, (size_t)(x->T * x->G * x->E) * sizeof *x->dv);
    for (int64_t h = 0; h < x->H; h++) dense_head(x, h);
}

/* Attention's problems on a GPU, or the one that the host plays: a problem's numbers in views of any type on the device, and what one
 * variant makes of them. And the bound for kernels that round: the same roundings, done plainly. */
#ifndef ATTN_GPU_H
#define ATTN_GPU_H

#include "attn_oracle.h"
#include "cuda_test.h"

enum { GPU_VIEWS = 8, GPU_GAP = 8 };  /* q, k, v, o, dout, dq, dk, dv; numbers between the tokens of a view */

/* What a run is given besides the problem. */
typedef struct gpu_run_of {
    kd_stretch rows, keys;           /* {0, 0}: all */
    const double *o, *lse;           /* [T,H,E], [H,T] the window's own, for the backward of a part; NULL: the forward's */
    kd_view_type type[GPU_VIEWS];
    int64_t gap;                     /* GPU_GAP unless set */
    int64_t positions;               /* of the rotary table; 0: the problem's */
    bool no_rope;                    /* q and k come rotated */
} gpu_run_of;

/* The problem's inputs, rounded to what the types hold, in float and double alike. */
static inline void gpu_problem_round(problem *x, const kd_view_type type[GPU_VIEWS]) {
    kd_view *view[] = {&x->a.q, &x->a.k, &x->a.v, &x->a.dout};
    double *wide[] = {x->q, x->k, x->v, x->dout};
    const int which[] = {0, 1, 2, 4};
    for (int i = 0; i < 4; i++) {
        int64_t n = (i == 0 || i == 3 ? x->a.H : x->a.G) * x->a.E;
        for (int64_t t = 0; t < x->plan.T; t++)
            for (int64_t e = 0; e < n; e++) {
                float *y = view[i]->data + t * view[i]->token_stride + e;
                *y = gpu_as_stored(*y, type[which[i]]);
                wide[i][t * n + e] = *y;
            }
    }
}

/* A view on the device; from: [T, heads, E] contiguous, of which tokens `of` go there, or NULL: NaN to be overwritten. */
static inline kd_view gpu_view(kd_ctx *gpu, const double *from, kd_stretch of, int64_t heads, int64_t E, kd_view_type type, int64_t gap) {
    int64_t n = heads * E, stride = n + gap, count = kd_stretch_count(of), bytes = count * stride * kd_type_size(type);
    char *host = oracle_new(bytes, 1);
    memset(host, 0xff, (size_t)bytes);
    for (int64_t t = 0; t < count && from; t++)
        for (int64_t i = 0; i < n; i++) {
            float y = (float)from[(of.from + t) * n + i];
            if (type == KD_VIEW_F32) ((float *)host)[t * stride + i] = y;
            else ((uint16_t *)host)[t * stride + i] = type == KD_VIEW_BF16 ? kd_bf16_round(y) : kd_f16_round(y);
        }
    void *memory = gpu_put(gpu, host, bytes);
    free(host);
    kd_view x = {.token_stride = stride, .head_stride = E, .type = type};
    if (type == KD_VIEW_F32) x.data = memory;
    else x.half = memory;
    return x;
}

/* [count, heads, E] out of a view; between its tokens there still must be NaN. */
static inline void gpu_collect(kd_ctx *gpu, float *to, const kd_view *x, int64_t count, int64_t heads, int64_t E) {
    int64_t n = heads * E, size = kd_type_size(x->type), bytes = count * x->token_stride * size;
    char *host = oracle_new(bytes, 1);
    gpu_done(gpu->device->get(gpu, host, x->type == KD_VIEW_F32 ? (void *)x->data : (void *)x->half, bytes));
    for (int64_t t = 0; t < count; t++) {
        for (int64_t i = 0; i < n; i++) {
            const char *at = host + (t * x->token_stride + i) * size;
            if (x->type == KD_VIEW_F32) memcpy(to + t * n + i, at, sizeof *to);
            else to[t * n + i] = x->type == KD_VIEW_BF16 ? kd_bf16_widen(*(const uint16_t *)at) : kd_f16_widen(*(const uint16_t *)at);
        }
        for (int64_t i = n * size; i < x->token_stride * size; i++)
            assert_int_equal((unsigned char)host[t * x->token_stride * size + i], 0xff);
    }
    free(host);
}

static inline const kd_variant *gpu_serving(const kd_ctx *gpu, const kd_op *op, int64_t variant, const kd_attn *a) {
    const kd_variant *v = &op->variant[variant];
    return kd_isa_serves(gpu->isa, v->isa) && (!v->supports || v->supports(a)) ? v : NULL;
}

/* Forward and backward by this variant, into the parts of `out`, contiguous, of the rows and keys alone; where it serves one direction
 * alone, the other is by the one that would be chosen. False: it serves none here. */
static inline bool gpu_attention(float *out[PARTS], kd_ctx *gpu, const problem *x, int64_t variant, const gpu_run_of *r) {
    kd_attn a = x->a;
    kd_rope rope;
    a.rows = r->rows, a.keys = r->keys;
    const kd_variant *forward = gpu_serving(gpu, &kd_attn_forward_op, variant, &a);
    const kd_variant *backward = gpu_serving(gpu, &kd_attn_backward_op, variant, &a);
    if (!forward && !backward) return false;
    if (!forward) forward = kd_op_choose(gpu, &kd_attn_forward_op, &a);
    if (!backward) backward = kd_op_choose(gpu, &kd_attn_backward_op, &a);
    int64_t T = x->plan.T, H = a.H, G = a.G, E = a.E, gap = r->gap ? r->gap : GPU_GAP;
    kd_stretch rows = kd_attn_rows(&a), keys = kd_attn_keys(&a);
    int64_t R = kd_stretch_count(rows), K = kd_stretch_count(keys);
    gpu_done(kd_rope_init_for(&rope, gpu, a.precision, x->rope.inv_freq, E, r->positions ? r->positions : x->rope.positions));
    const kd_rope still = kd_rope_still(E, a.precision);
    a.rope = r->no_rope ? &still : &rope;
    a.position = gpu_put(gpu, x->plan.position, T * (int64_t)sizeof *a.position);
    a.q = gpu_view(gpu, x->q, rows, H, E, r->type[0], gap);
    a.k = gpu_view(gpu, x->k, keys, G, E, r->type[1], gap);
    a.v = gpu_view(gpu, x->v, keys, G, E, r->type[2], gap);
    a.o = gpu_view(gpu, NULL, rows, H, E, r->type[3], gap);
    a.dout = gpu_view(gpu, x->dout, rows, H, E, r->type[4], gap);
    a.dq = gpu_view(gpu, NULL, rows, H, E, r->type[5], gap);
    a.dk = gpu_view(gpu, NULL, keys, G, E, r->type[6], gap);
    a.dv = gpu_view(gpu, NULL, keys, G, E, r->type[7], gap);
    a.lse = gpu_take(gpu, H * R * (int64_t)sizeof(float));
    gpu_done(kd_attn_check(gpu, &a, true));
    assert_true(gpu_run(gpu, forward, &a));
    gpu_collect(gpu, out[PART_O], &a.o, R, H, E);
    gpu_done(gpu->device->get(gpu, out[PART_LSE], a.lse, H * R * (int64_t)sizeof(float)));
    if (r->o) {
        float *lse = oracle_new(H * R, sizeof *lse);
        for (int64_t i = 0; i < H * R; i++) lse[i] = (float)r->lse[i / R * T + rows.from + i % R];
        a.o = gpu_view(gpu, r->o, rows, H, E, r->type[3], gap);
        a.lse = gpu_put(gpu, lse, H * R * (int64_t)sizeof(float));
        free(lse);
    }
    assert_true(gpu_run(gpu, backward, &a));
    gpu_collect(gpu, out[PART_DQ], &a.dq, R, H, E);
    gpu_collect(gpu, out[PART_DK], &a.dk, K, G, E);
    gpu_collect(gpu, out[PART_DV], &a.dv, K, G, E);
    kd_rope_free(&rope, gpu);
    gpu_drop(gpu);
    return true;
}

/* The parts of a whole problem's results. */
static inline void gpu_parts(float *out[PARTS], const problem *x) {
    for (int i = 0; i < PARTS; i++) out[i] = x->out.f + x->out.from[i];
}

/* ---- the same roundings, done plainly ---------------------------------------------------------------------------------------- */

static inline double gpu_bf16_of(double x) { return kd_bf16_widen(kd_bf16_round((float)x)); }
static inline double gpu_f16_of(double x) { return kd_f16_widen(kd_f16_round((float)x)); }

/* What is kept of x turned by p, in double. */
static inline void gpu_naive_keep(double *out, const double *x, const problem *p, int64_t position, const kd_rung *rung) {
    float row[KD_HEAD_MOST], in[KD_HEAD_MOST], kept[KD_HEAD_MOST], low[KD_HEAD_MOST] = {0};
    for (int64_t e = 0; e < p->a.E / 2; e++) {
        kd_rope_entry(row + e, row + e + p->a.E / 2, rung->angles, p->rope.inv_freq[e], llabs(position));
        if (position < 0) row[e + p->a.E / 2] *= -1;
    }
    for (int64_t e = 0; e < p->a.E; e++) in[e] = (float)x[e];
    kd_rung_turn(kept, low, in, row, 1, p->a.E, rung);
    for (int64_t e = 0; e < p->a.E; e++) out[e] = (double)kept[e] + (rung->storage == KD_STORE_PAIR ? low[e] : 0);
}

static inline void gpu_naive_turn(double *x, const problem *p, int64_t position) {
    int64_t half = p->a.E / 2;
    for (int64_t e = 0; e < half; e++) {
        double angle = (double)position * p->rope.inv_freq[e], c = cos(angle), s = sin(angle), a = x[e], b = x[e + half];
        x[e] = c * a - s * b;
        x[e + half] = s * a + c * b;
    }
}

static inline double gpu_naive_dot(const double *x, const double *y, int64_t E) {
    double sum = 0;
    for (int64_t e = 0; e < E; e++) sum += x[e] * y[e];
    return sum;
}

/* One row: P rounded to bf16 before it meets values (v, dout: bf16), dS rounded to bf16, or to float16 times sigma; the rest in double. All
 * of the window; the anchor, whose share is float32, is not rounded. dk, dv: [T, E] sums of this key/value head, dk of turned keys. */
static inline void gpu_naive_row(const problem *x, const kd_rung *rung, int64_t n, int64_t h, int64_t i, const double *key, double sigma,
                                 float *out[PARTS], double *dk, double *dv) {
    const kd_attn *a = &x->a;
    int64_t T = x->plan.T, H = a->H, E = a->E, g = h * a->G / H, G = a->G, start = x->plan.start[n];
    double query[KD_HEAD_MOST], distant[KD_HEAD_MOST], o[KD_HEAD_MOST] = {0}, dq[KD_HEAD_MOST] = {0}, *s = oracle_new(T, sizeof *s),
        most, sum, scale;
    const double *dout = x->dout + (i * H + h) * E, *va = x->v + g * E;
    bool anchor = x->plan.anchors, kept = kd_anchor_is_kept(a);
    scale = a->scale > 0 ? a->scale : 1 / sqrt((double)E);
    gpu_naive_keep(query, x->q + (i * H + h) * E, x, kd_attn_rotation(a, n, i), rung);
    memcpy(distant, kept ? query : x->q + (i * H + h) * E, (size_t)E * sizeof *distant);
    if (!kept) gpu_naive_turn(distant, x, kd_attn_distance(a, i));
    double anchor_logit = anchor ? scale * gpu_naive_dot(distant, kept ? key : x->k + g * E, E) : -INFINITY;
    most = anchor_logit;
    for (int64_t j = start; j <= i; j++) most = fmax(most, s[j] = scale * gpu_naive_dot(query, key + j * E, E));
    sum = exp(anchor_logit - most);
    for (int64_t j = start; j <= i; j++) sum += exp(s[j] - most);
    double lse = most + log(sum), delta = 0;
    out[PART_LSE][h * T + i] = (float)lse;
    for (int64_t e = 0; e < E && anchor; e++) o[e] = exp(anchor_logit - lse) * va[e];
    for (int64_t j = start; j <= i; j++)
        for (int64_t e = 0; e < E; e++) o[e] += gpu_bf16_of(exp(s[j] - lse)) * gpu_bf16_of(x->v[(j * G + g) * E + e]);
    for (int64_t e = 0; e < E; e++) {
        delta += o[e] * dout[e];
        out[PART_O][(i * H + h) * E + e] = (float)o[e];
    }
    for (int64_t j = start; j <= i; j++) {
        double p = exp(s[j] - lse), ds = 0;
        for (int64_t e = 0; e < E; e++) ds += gpu_bf16_of(dout[e]) * gpu_bf16_of(x->v[(j * G + g) * E + e]);
        ds = p * (ds - delta);
        ds = rung->storage == KD_STORE_F16 ? gpu_f16_of(ds * sigma) / sigma : gpu_bf16_of(ds);
        for (int64_t e = 0; e < E; e++) {
            dq[e] += scale * ds * key[j * E + e];
            dk[j * E + e] += scale * ds * query[e];
            dv[j * E + e] += gpu_bf16_of(p) * gpu_bf16_of(dout[e]);
        }
    }
    double p = exp(anchor_logit - lse), ds = anchor ? p * (gpu_naive_dot(dout, va, E) - delta) : 0, turned[KD_HEAD_MOST];
    for (int64_t e = 0; e < E && anchor; e++) {
        if (kept) dq[e] += scale * ds * key[e];
        dk[e] += scale * ds * distant[e];
        dv[e] += p * dout[e];
    }
    gpu_naive_turn(dq, x, -kd_attn_rotation(a, n, i));
    memcpy(turned, x->k + g * E, (size_t)E * sizeof *turned);
    gpu_naive_turn(turned, x, -kd_attn_distance(a, i));
    for (int64_t e = 0; e < E; e++) out[PART_DQ][(i * H + h) * E + e] = (float)(dq[e] + (anchor && !kept ? scale * ds * turned[e] : 0));
    free(s);
}

/* The anchor's own row: its value, and the gradient of it. */
static inline void gpu_naive_anchor(const problem *x, int64_t h, const double *key, const kd_rung *rung, float *out[PARTS], double *dv) {
    int64_t H = x->a.H, E = x->a.E, g = h * x->a.G / H;
    double query[KD_HEAD_MOST], scale = x->a.scale > 0 ? x->a.scale : 1 / sqrt((double)E);
    bool kept = kd_anchor_is_kept(&x->a);
    gpu_naive_keep(query, x->q + h * E, x, kd_attn_position(&x->a, 0), rung);
    out[PART_LSE][h * x->plan.T] = (float)(scale * gpu_naive_dot(kept ? query : x->q + h * E, kept ? key : x->k + g * E, E));
    for (int64_t e = 0; e < E; e++) {
        out[PART_O][h * E + e] = (float)x->v[g * E + e];
        out[PART_DQ][h * E + e] = 0;
        dv[e] += x->dout[h * E + e];
    }
}

/* Into out, of the whole problem. storage: what the rung keeps, or bf16 where float16 would not do. */
static inline void gpu_naive(float *out[PARTS], const problem *x, kd_storage storage) {
    kd_rung rung = *kd_rung_of(&x->a);
    int64_t T = x->plan.T, E = x->a.E, G = x->a.G, group = x->a.H / G;
    double sigma = 1, *key = oracle_new(3 * T * E, sizeof *key), *dk = key + T * E, *dv = dk + T * E, v2 = 0, g2 = 0;
    rung.storage = storage;
    for (int64_t t = 0; t < T * G; t++) v2 = fmax(v2, gpu_naive_dot(x->v + t * E, x->v + t * E, E));
    for (int64_t t = 0; t < T * x->a.H; t++) g2 = fmax(g2, gpu_naive_dot(x->dout + t * E, x->dout + t * E, E));
    if (v2 > 0 && g2 > 0) sigma = exp2(floor(log2(32768 / (2 * sqrt(v2 * g2)))));
    for (int64_t g = 0; g < G; g++) {
        memset(dk, 0, (size_t)(2 * T * E) * sizeof *dk);
        for (int64_t n = -x->plan.anchors; n < x->plan.N; n++)
            for (int64_t t = n < 0 ? 0 : x->plan.start[n]; t < (n < 0 ? 1 : x->plan.start[n + 1]); t++)
                gpu_naive_keep(key + t * E, x->k + (t * G + g) * E, x,
                               n < 0 ? kd_attn_position(&x->a, 0) : kd_attn_rotation(&x->a, n, t), &rung);
        for (int64_t h = g * group; h < (g + 1) * group; h++) {
            if (x->plan.anchors) gpu_naive_anchor(x, h, key, &rung, out, dv);
            for (int64_t n = 0; n < x->plan.N; n++)
                for (int64_t i = x->plan.start[n]; i < x->plan.start[n + 1]; i++) gpu_naive_row(x, &rung, n, h, i, key, sigma, out, dk, dv);
        }
        for (int64_t n = -x->plan.anchors; n < x->plan.N; n++)
            for (int64_t t = n < 0 ? 0 : x->plan.start[n]; t < (n < 0 ? 1 : x->plan.start[n + 1]); t++) {
                if (n >= 0) gpu_naive_turn(dk + t * E, x, -kd_attn_rotation(&x->a, n, t));
                else if (kd_anchor_is_kept(&x->a)) gpu_naive_turn(dk, x, -kd_attn_position(&x->a, 0));
                for (int64_t e = 0; e < E; e++) {
                    out[PART_DK][(t * G + g) * E + e] = (float)dk[t * E + e];
                    out[PART_DV][(t * G + g) * E + e] = (float)dv[t * E + e];
                }
            }
    }
    free(key);
}

/* Contexts of a program's tests; gpu NULL: there is none. */
static kd_ctx *host, *gpu;

static inline int open_both(void **state) {
    (void)state;
    kd_status status = kd_ctx_open_device(&gpu, "cuda", 2);
    if (status && status != KD_ENOTSUP) return -1;
    if (status) print_message("skipped: %s\n", kd_message());
    return kd_ctx_open(&host, 2);
}

static inline int close_both(void **state) {
    (void)state;
    kd_ctx_close(gpu);
    kd_ctx_close(host);
    return 0;
}

#endif

/* The portable tensor-core kernels of attention, fed with packed operands, against the definition in double: within what rounding of P, dS
 * and the results explains, number by number. */
#include "attn_oracle.h"
#include "cuda_test.h"

#include "attn/attn_sm80.h"

enum { CARD = 99 << 10, LARGE = 227 << 10 };  /* shared memory of a block: of consumers' cards, of an H100 */

/* A window, what of it is computed, and how. */
typedef struct setting {
    window w;
    kd_stretch rows, keys;
    int32_t H, G, Ep, E;
    kd_gpu_mode mode;
    kd_view_type type;         /* of o */
    int32_t gap;               /* numbers between the rows of o */
    float large;               /* logits are about as large */
} setting;

/* Operands here and on the device, the definition's results, and how far from them rounding may lead. */
typedef struct problem80 {
    const setting *s;
    kd_ctx *ctx;
    kd_plan plan;
    kd_attn a;
    kd_gpu_shape shape;
    kd_gpu_attn x;
    int64_t R, K, o_numbers;
    float *q, *k, *v, *dout, *q_low, *k_low, *anchor, *value, *lse2, *delta;
    double *o, *lse, *dq, *dk, *dv, *far_o, *far_lse, *far_dq, *far_dk, *far_dv;
    kd_gpu_tile *forward, *backward;
    int64_t forwards, backwards, turns;
    kd_array out, out_lse, out_dq, out_dk, out_dv;
} problem80;

static uint16_t narrow(float x, bool f16) { return f16 ? kd_f16_round(x) : kd_bf16_round(x); }

/* n rows of E numbers and zeros up to Ep, which become what is kept of them; on the device in `high`, and what that lacks in `low`, which
 * the numbers here then have too: apart in x_low. */
static float *operand(const problem80 *p, int64_t n, float size, bool f16, const uint16_t **high, const uint16_t **low, float **x_low) {
    const int64_t Ep = p->s->Ep;
    float *x = nn_random(n * Ep, size);
    uint16_t *h = nn_take(n * Ep * 2), *l = nn_take(n * Ep * 2);
    if (x_low) *x_low = nn_floats(n * Ep);
    for (int64_t i = 0; i < n * Ep; i++) {
        if (i % Ep >= p->s->E) x[i] = 0;
        h[i] = narrow(x[i], f16);
        float kept = f16 ? kd_f16_widen(h[i]) : kd_bf16_widen(h[i]);
        l[i] = kd_bf16_round(x[i] - kept);
        if (x_low) (*x_low)[i] = low ? kd_bf16_widen(l[i]) : 0;
        x[i] = kept;
    }
    *high = gpu_put(p->ctx, h, n * Ep * 2);
    if (low) *low = gpu_put(p->ctx, l, n * Ep * 2);
    return x;
}

static bool sees(const problem80 *p, int64_t r, int64_t j) {
    int64_t row = kd_attn_rows(&p->a).from + r, key = kd_attn_keys(&p->a).from + j, n = 0;
    if (row < p->plan.start[0] || key < p->plan.start[0] || key > row) return false;
    while (p->plan.start[n + 1] <= row) n++;
    return key >= p->plan.start[n];
}

/* The logit in base 2; slip: what sums in float32, some of them cut off and not rounded, and one exponential change P by, as a part
 * of it. */
static double logit2(const problem80 *p, int64_t h, int64_t r, int64_t j, double *slip) {
    const int64_t Ep = p->s->Ep, q = (h * p->R + r) * Ep, k = (h / (p->s->H / p->s->G) * p->K + j) * Ep;
    double s = 0, size = 0;
    for (int64_t e = 0; e < Ep; e++) {
        s += (double)p->q[q + e] * p->k[k + e] + (double)p->q[q + e] * p->k_low[k + e] + (double)p->q_low[q + e] * p->k[k + e];
        size += fabs((double)p->q[q + e] * p->k[k + e]);
    }
    *slip = 0x1p-22 * (p->x.scale2 * size + 16);
    return p->x.scale2 * s;
}

#define BF16 (0x1p-8 * 1.01)  /* half a unit in the last place */

/* o, lse, and from them what the backward takes. */
static void define_forward(problem80 *p) {
    const int64_t Ep = p->s->Ep;
    for (int64_t h = 0; h < p->s->H; h++)
        for (int64_t r = 0; r < p->R; r++) {
            const int64_t row = h * p->R + r, g = h / (p->s->H / p->s->G);
            double *o = p->o + row * Ep, *far = p->far_o + row * Ep, slip, worst = 0x1p-18, sum = 0;
            double most = p->anchor ? p->anchor[row] : -INFINITY;
            for (int64_t j = 0; j < p->K; j++)
                if (sees(p, r, j)) most = fmax(most, logit2(p, h, r, j, &slip)), worst = fmax(worst, slip);
            for (int64_t e = 0; e < Ep; e++) o[e] = far[e] = 0;
            for (int64_t j = -1; j < p->K; j++) {
                if (j < 0 ? !p->anchor : !sees(p, r, j)) continue;
                double w = exp2((j < 0 ? p->anchor[row] : logit2(p, h, r, j, &slip)) - most);
                const float *v = j < 0 ? p->value + g * Ep : p->v + (g * p->K + j) * Ep;
                sum += w;
                for (int64_t e = 0; e < Ep; e++) o[e] += w * v[e], far[e] += ((j < 0 ? 0 : BF16) + 2 * worst) * w * fabs(v[e]);
            }
            p->lse[row] = sum > 0 ? log(2) * (most + log2(sum)) : -INFINITY;
            p->far_lse[row] = worst + 0x1p-22 * fabs(p->lse[row]);
            double dot = 0;
            for (int64_t e = 0; e < Ep; e++) {
                if (sum > 0) o[e] /= sum, far[e] /= sum;
                far[e] += gpu_half_unit(fabs(o[e]) + far[e], p->s->type) * 1.01;
                dot += o[e] * p->dout[row * Ep + e];
            }
            p->lse2[row] = sum > 0 ? (float)(p->lse[row] / log(2)) : INFINITY;
            p->delta[row] = (float)dot;
        }
}

static void define_backward(problem80 *p) {
    const int64_t Ep = p->s->Ep;
    const double unit = p->s->mode == KD_GPU_F16 ? 0x1p-11 * 1.01 : BF16, low = p->s->mode == KD_GPU_SPLIT ? BF16 : 0;
    memset(p->dq, 0, (size_t)(p->s->H * p->R * Ep) * sizeof(double));
    memset(p->far_dq, 0, (size_t)(p->s->H * p->R * Ep) * sizeof(double));
    for (int64_t i = 0; i < p->s->G * p->K * Ep; i++) p->dk[i] = p->dv[i] = p->far_dk[i] = p->far_dv[i] = 0;
    for (int64_t h = 0; h < p->s->H; h++)
        for (int64_t r = 0; r < p->R; r++)
            for (int64_t j = 0; j < p->K; j++) {
                if (!sees(p, r, j)) continue;
                const int64_t row = h * p->R + r, q = row * Ep, k = (h / (p->s->H / p->s->G) * p->K + j) * Ep;
                double slip, w = exp2(logit2(p, h, r, j, &slip) - p->lse2[row]), dp = 0, size = fabs(p->delta[row]);
                for (int64_t e = 0; e < Ep; e++) dp += (double)p->dout[q + e] * p->v[k + e], size += fabs(p->dout[q + e] * p->v[k + e]);
                double ds = w * (dp - p->delta[row]), far = (unit + slip) * fabs(ds) + 0x1p-20 * w * size + 1e-8;
                for (int64_t e = 0; e < Ep; e++) {
                    p->dq[q + e] += ds * ((double)p->k[k + e] + p->k_low[k + e]);
                    p->far_dq[q + e] += (far + low * fabs(ds)) * fabs(p->k[k + e]);
                    p->dk[k + e] += ds * ((double)p->q[q + e] + p->q_low[q + e]);
                    p->far_dk[k + e] += (far + low * fabs(ds)) * fabs(p->q[q + e]);
                    p->dv[k + e] += w * p->dout[q + e];
                    p->far_dv[k + e] += (BF16 + slip) * w * fabs(p->dout[q + e]);
                }
            }
}

static void cut_backward(problem80 *p) {
    p->backwards = kd_gpu_backward_tiles(NULL, &p->turns, &p->a, p->shape);
    p->backward = nn_take(p->backwards * (int64_t)sizeof *p->backward);
    kd_gpu_backward_tiles(p->backward, &p->turns, &p->a, p->shape);
    p->x.turns = (int32_t)p->turns;
}

static void set_up(problem80 *p, const setting *s) {
    *p = (problem80){.s = s, .ctx = gpu_open()};
    window_plan(&p->plan, &s->w);
    p->a = (kd_attn){.plan = &p->plan, .rows = s->rows, .keys = s->keys};
    p->R = kd_stretch_count(kd_attn_rows(&p->a)), p->K = kd_stretch_count(kd_attn_keys(&p->a));
    assert_true(kd_attn_sm80_shape(&p->shape, s->Ep, s->mode));
    p->x = (kd_gpu_attn){.rows = (int32_t)p->R, .keys = (int32_t)p->K, .H = s->H, .G = s->G, .Ep = s->Ep, .E = s->E, .mode = s->mode,
                         .lead = (int32_t)(kd_attn_rows(&p->a).from - kd_attn_keys(&p->a).from), .multiprocessors = 3,
                         .scale2 = 1.4426950408889634f * s->large / sqrtf((float)s->E), .stream = p->ctx->cuda->stream};
    const bool f16 = s->mode == KD_GPU_F16, split = s->mode == KD_GPU_SPLIT;
    const int64_t rows = s->H * p->R, keys = s->G * p->K;
    p->q = operand(p, rows, 1.7f, f16, &p->x.q, split ? &p->x.q_low : NULL, &p->q_low);
    p->k = operand(p, keys, 1.7f, f16, &p->x.k, split ? &p->x.k_low : NULL, &p->k_low);
    p->v = operand(p, keys, 1.0f, false, &p->x.v, NULL, NULL);
    p->dout = operand(p, rows, 1.0f, false, &p->x.dout, NULL, NULL);
    if (kd_attn_sees_anchor(&p->a)) {
        p->anchor = nn_random(rows, 4.0f);
        p->value = nn_random(s->G * s->Ep, 1.0f);
        for (int64_t i = 0; i < s->G * s->Ep; i++)
            if (i % s->Ep >= s->E) p->value[i] = 0;
        p->x.anchor_logit2 = gpu_put(p->ctx, p->anchor, rows * 4);
        p->x.anchor_value = gpu_put(p->ctx, p->value, s->G * s->Ep * 4);
    }
    p->o = nn_doubles(rows * s->Ep), p->far_o = nn_doubles(rows * s->Ep);
    p->lse = nn_doubles(rows), p->far_lse = nn_doubles(rows);
    p->lse2 = nn_floats(rows), p->delta = nn_floats(rows);
    p->dq = nn_doubles(rows * s->Ep), p->far_dq = nn_doubles(rows * s->Ep);
    p->dk = nn_doubles(keys * s->Ep), p->far_dk = nn_doubles(keys * s->Ep);
    p->dv = nn_doubles(keys * s->Ep), p->far_dv = nn_doubles(keys * s->Ep);
    define_forward(p);
    const float sigma[2] = {f16 ? 16 : 1, f16 ? 0.0625f : 1};
    p->x.lse2 = gpu_put(p->ctx, p->lse2, rows * 4);
    p->x.delta = gpu_put(p->ctx, p->delta, rows * 4);
    p->x.sigma = gpu_put(p->ctx, sigma, sizeof sigma);
    p->forwards = kd_gpu_forward_tiles(NULL, &p->a, p->shape);
    p->forward = nn_take(p->forwards * (int64_t)sizeof *p->forward);
    kd_gpu_forward_tiles(p->forward, &p->a, p->shape);
    cut_backward(p);
}

static void tear_down(problem80 *p) {
    gpu_drop(p->ctx);
    nn_drop();
    kd_plan_free(&p->plan);
    kd_ctx_close(p->ctx);
}

static int32_t *zeros(const problem80 *p, int64_t n) {
    int32_t *to = gpu_take(p->ctx, n * 4);
    gpu_fill(p->ctx, to, 0, n * 4);
    return to;
}

static void run_forward(problem80 *p) {
    const setting *s = p->s;
    const int64_t stride = (int64_t)s->H * s->E + s->gap;
    p->o_numbers = p->R * stride;
    p->out = gpu_output(p->ctx, p->o_numbers, s->type);
    p->out_lse = gpu_output(p->ctx, s->H * p->R, KD_VIEW_F32);
    p->x.o = (kd_view){.token_stride = stride, .head_stride = s->E, .type = s->type};
    if (s->type == KD_VIEW_F32) p->x.o.data = p->out.data;
    else p->x.o.half = p->out.data;
    p->x.lse = p->out_lse.data;
    p->x.next = zeros(p, 1);
    p->x.tile = gpu_put(p->ctx, p->forward, p->forwards * (int64_t)sizeof *p->forward);
    p->x.tiles = (int32_t)p->forwards;
    gpu_done(kd_attn_sm80_forward(&p->x));
    gpu_done(p->ctx->device->finish(p->ctx));
}

static void run_backward(problem80 *p, bool turns, int bytes) {
    const int64_t rows = p->s->H * p->R * p->s->Ep, keys = p->s->G * p->K * p->s->Ep;
    p->out_dq = gpu_output(p->ctx, rows, KD_VIEW_F32);
    if (!turns) gpu_fill(p->ctx, p->out_dq.data, 0, rows * 4);
    p->out_dk = gpu_output(p->ctx, keys, KD_VIEW_F32);
    p->out_dv = gpu_output(p->ctx, keys, KD_VIEW_F32);
    p->x.dq = p->out_dq.data, p->x.dk = p->out_dk.data, p->x.dv = p->out_dv.data;
    p->x.turn = turns ? zeros(p, p->s->H * p->turns) : NULL;
    p->x.next = zeros(p, 1);
    p->x.tile = gpu_put(p->ctx, p->backward, p->backwards * (int64_t)sizeof *p->backward);
    p->x.tiles = (int32_t)p->backwards;
    gpu_done(bytes ? kd_attn_sm80_backward_within(&p->x, bytes) : kd_attn_sm80_backward(&p->x));
    gpu_done(p->ctx->device->finish(p->ctx));
}

static void assert_near(double got, double wanted, double far, const problem80 *p, const char *what, int64_t head, int64_t row, int64_t e) {
    if (!(fabs(got - wanted) <= far) && !(got == wanted))
        fail_msg("%s, heads of %d, mode %d: head %lld, row %lld, number %lld is %.9g, not %.9g +- %.2g", what, (int)p->s->Ep,
                 (int)p->s->mode, (long long)head, (long long)row, (long long)e, got, wanted, far);
}

static void check_forward(const problem80 *p) {
    const setting *s = p->s;
    const float *o = gpu_read(p->ctx, p->out, p->o_numbers), *lse = gpu_read(p->ctx, p->out_lse, s->H * p->R);
    const int64_t stride = p->x.o.token_stride;
    for (int64_t r = 0; r < p->R; r++) {
        for (int64_t h = 0; h < s->H; h++) {
            const int64_t row = h * p->R + r;
            assert_near(lse[row], p->lse[row], p->far_lse[row], p, "lse", h, r, 0);
            for (int64_t e = 0; e < s->E; e++)
                assert_near(o[r * stride + h * s->E + e], p->o[row * s->Ep + e], p->far_o[row * s->Ep + e], p, "o", h, r, e);
        }
        for (int64_t i = s->H * s->E; i < stride; i++) assert_true(isnan(o[r * stride + i]));  /* between rows */
    }
}

static void check_backward(const problem80 *p, bool turns) {
    const setting *s = p->s;
    const int64_t Ep = s->Ep, rows = s->H * p->R * Ep, keys = s->G * p->K * Ep;
    const float *dq = gpu_read(p->ctx, p->out_dq, rows), *dk = gpu_read(p->ctx, p->out_dk, keys), *dv = gpu_read(p->ctx, p->out_dv, keys);
    const double sigma = s->mode == KD_GPU_F16 ? 16 : 1;
    for (int64_t i = 0; i < rows; i++) {
        bool sees_one = false;
        for (int64_t j = 0; j < p->K && !sees_one; j++) sees_one = sees(p, i / Ep % p->R, j);
        if (!sees_one && isnan(dq[i]) && turns) continue;
        assert_near(dq[i] / sigma, p->dq[i], p->far_dq[i], p, "dq", i / Ep / p->R, i / Ep % p->R, i % Ep);
    }
    for (int64_t i = 0; i < keys; i++) {
        const int64_t j = i / Ep % p->K;
        bool is_in_a_tile = false;
        for (int64_t t = 0; t < p->backwards; t++)
            is_in_a_tile |= j >= p->backward[t].first && j < p->backward[t].first + p->backward[t].count;
        if (!is_in_a_tile) assert_true(isnan(dk[i]) && isnan(dv[i]));  /* nobody's */
        if (!is_in_a_tile) continue;
        assert_near(dk[i] / sigma, p->dk[i], p->far_dk[i], p, "dk", i / Ep / p->K, j, i % Ep);
        assert_near(dv[i], p->dv[i], p->far_dv[i], p, "dv", i / Ep / p->K, j, i % Ep);
    }
}

static const int heads[] = {64, 96, 128, 256};
static const window packed = {.mask = KD_MASK_ANCHOR, .N = 4, .length = {1, 131, 64, 35}};
static const window plain = {.mask = KD_MASK_DOCUMENT, .N = 3, .length = {40, 150, 17}};

static void every_head_size_and_mode(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (int mode = 0; mode < KD_GPU_MODES; mode++) {
            const setting s = {packed, {0, 0}, {0, 0}, 4, 2, heads[i], heads[i] - (mode == KD_GPU_F16 ? 6 : 0), mode,
                               (kd_view_type)((i + (size_t)mode) % 3), mode == KD_GPU_F16 ? 3 : 8, 3};
            problem80 p;
            set_up(&p, &s);
            run_forward(&p);
            check_forward(&p);
            define_backward(&p);
            run_backward(&p, true, 0);
            check_backward(&p, true);
            tear_down(&p);
        }
}

/* Rows without keys, keys without rows, rows far behind their keys; with the anchor among the keys, and without. */
static void some_rows_and_keys_of_a_window(void **state) {
    static const struct { const window *w; kd_stretch rows, keys; } part[] = {
        {&plain, {60, 207}, {0, 207}}, {&plain, {0, 207}, {50, 150}}, {&plain, {100, 120}, {3, 110}}, {&packed, {140, 232}, {0, 200}},
        {&packed, {0, 100}, {20, 232}}, {&plain, {0, 30}, {45, 60}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        for (int all = 0; all < 2; all++) {
            const setting s = {*part[i].w, part[i].rows, part[i].keys, 3, all ? 3 : 1, heads[i % 4], heads[i % 4] - 2 * (int)i,
                               (kd_gpu_mode)((i + (size_t)all) % KD_GPU_MODES), (kd_view_type)(i % 3), 0, 2};
            problem80 p;
            set_up(&p, &s);
            run_forward(&p);
            check_forward(&p);
            define_backward(&p);
            for (int turns = 0; turns < 2; turns++) {
                run_backward(&p, turns, 0);
                check_backward(&p, turns);
            }
            tear_down(&p);
        }
}

/* Sharp maxima, which move late: sums are scaled again and again. */
static void large_logits(void **state) {
    (void)state;
    for (int mode = 0; mode < KD_GPU_MODES; mode++) {
        const setting s = {packed, {0, 0}, {0, 0}, 2, 1, 64, 64, mode, KD_VIEW_F32, 0, 30};
        problem80 p;
        set_up(&p, &s);
        run_forward(&p);
        check_forward(&p);
        define_backward(&p);
        run_backward(&p, true, 0);
        check_backward(&p, true);
        tear_down(&p);
    }
}

static void *bytes_of(const problem80 *p, kd_array a, int64_t n) {
    void *bytes = nn_take(n * kd_type_size(a.type));
    gpu_done(p->ctx->device->get(p->ctx, bytes, a.data, n * kd_type_size(a.type)));
    return bytes;
}

/* The gradients of two runs. */
static void assert_same_gradients(const problem80 *p, kd_array dq, kd_array dk, kd_array dv) {
    const int64_t rows = p->s->H * p->R * p->s->Ep, keys = p->s->G * p->K * p->s->Ep;
    nn_assert_same(bytes_of(p, dq, rows), bytes_of(p, p->out_dq, rows), rows * 4);
    nn_assert_same(bytes_of(p, dk, keys), bytes_of(p, p->out_dk, keys), keys * 4);
    nn_assert_same(bytes_of(p, dv, keys), bytes_of(p, p->out_dv, keys), keys * 4);
}

/* But for heads of 256 numbers, whose tiles are smaller then. */
static void less_shared_memory_is_the_same_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < 4; i++)
        for (int mode = 0; mode < KD_GPU_MODES; mode++) {
            const setting s = {plain, {0, 0}, {0, 0}, 2, 1, heads[i], heads[i], mode, KD_VIEW_BF16, 0, 2};
            problem80 p;
            set_up(&p, &s);
            run_backward(&p, true, LARGE);
            kd_array dq = p.out_dq, dk = p.out_dk, dv = p.out_dv;
            define_backward(&p);
            check_backward(&p, true);
            assert_true(kd_attn_sm80_backward_shape(&p.shape, s.Ep, s.mode, CARD));
            cut_backward(&p);
            run_backward(&p, true, CARD);
            if (heads[i] == 256) check_backward(&p, true);
            else assert_same_gradients(&p, dq, dk, dv);
            assert_false(kd_attn_sm80_backward_shape(&p.shape, s.Ep, s.mode, 48 << 10));
            assert_int_equal(kd_attn_sm80_backward_within(&p.x, 48 << 10), KD_ENOTSUP);
            assert_non_null(strstr(kd_message(), "49152 bytes of shared memory"));
            tear_down(&p);
        }
}

static void any_number_of_multiprocessors_is_the_same_bits(void **state) {
    const setting s = {packed, {0, 0}, {0, 0}, 4, 2, 128, 128, KD_GPU_BF16, KD_VIEW_BF16, 0, 2};
    problem80 p;
    (void)state;
    set_up(&p, &s);
    p.x.multiprocessors = 1;
    run_forward(&p);
    run_backward(&p, true, 0);
    kd_array o = p.out, lse = p.out_lse, dq = p.out_dq, dk = p.out_dk, dv = p.out_dv;
    p.x.multiprocessors = 100;
    run_forward(&p);
    run_backward(&p, true, 0);
    nn_assert_same(bytes_of(&p, o, p.o_numbers), bytes_of(&p, p.out, p.o_numbers), p.o_numbers * 2);
    nn_assert_same(bytes_of(&p, lse, s.H * p.R), bytes_of(&p, p.out_lse, s.H * p.R), s.H * p.R * 4);
    assert_same_gradients(&p, dq, dk, dv);
    tear_down(&p);
}

/* The same row in tiles that begin elsewhere. */
static void a_row_does_not_depend_on_the_rows_beside_it(void **state) {
    enum { FROM = 77, TO = 200 };
    const setting whole = {plain, {0, 0}, {0, 0}, 2, 1, 64, 64, KD_GPU_F16, KD_VIEW_F32, 0, 8};
    setting part = whole;
    problem80 p, p2;
    (void)state;
    part.rows = (kd_stretch){FROM, TO};
    set_up(&p, &whole);
    run_forward(&p);
    set_up(&p2, &part);
    for (int64_t h = 0; h < 2; h++) {  /* the same numbers: device memory of one is read as the other's */
        int64_t bytes = (int64_t)(TO - FROM) * 64 * 2, row = (h * p.R + FROM) * 64;
        char *q = nn_take(bytes);
        gpu_done(p.ctx->device->get(p.ctx, q, (void *)(p.x.q + row), bytes));
        gpu_done(p.ctx->device->put(p.ctx, (void *)(p2.x.q + h * p2.R * 64), q, bytes));
    }
    p2.x.k = p.x.k, p2.x.v = p.x.v;
    gpu_done(p.ctx->device->finish(p.ctx));
    run_forward(&p2);
    const float *o = gpu_read(p.ctx, p.out, p.o_numbers), *o2 = gpu_read(p2.ctx, p2.out, p2.o_numbers);
    const float *lse = gpu_read(p.ctx, p.out_lse, 2 * p.R), *lse2 = gpu_read(p2.ctx, p2.out_lse, 2 * p2.R);
    nn_assert_same(o + FROM * 2 * 64, o2, (int64_t)(TO - FROM) * 2 * 64 * 4);
    for (int64_t h = 0; h < 2; h++) nn_assert_same(lse + h * p.R + FROM, lse2 + h * p2.R, (TO - FROM) * 4);
    gpu_drop(p.ctx);
    nn_drop();
    kd_plan_free(&p.plan);
    kd_plan_free(&p2.plan);
    kd_ctx_close(p2.ctx);
    kd_ctx_close(p.ctx);
}

/* Both modes are launched, and one runs: which, the device knows. */
static void numbers_beyond_float16_are_left_to_bf16(void **state) {
    (void)state;
    for (int mode = 0; mode < 2; mode++)
        for (int32_t unfit = 0; unfit < 2; unfit++) {
            const setting s = {plain, {0, 0}, {0, 0}, 1, 1, 64, 64, mode, KD_VIEW_F32, 0, 2};
            problem80 p;
            set_up(&p, &s);
            p.x.unfit = gpu_put(p.ctx, &unfit, sizeof unfit);
            p.x.run_if_unfit = mode == KD_GPU_BF16;
            run_forward(&p);
            run_backward(&p, true, 0);
            if ((mode == KD_GPU_BF16) == unfit) {
                check_forward(&p);
                define_backward(&p);
                check_backward(&p, true);
            } else {
                const kd_array all[] = {p.out, p.out_lse, p.out_dq, p.out_dk, p.out_dv};
                const int64_t n[] = {p.o_numbers, p.R, p.R * 64, p.K * 64, p.K * 64};
                for (size_t i = 0; i < 5; i++) {
                    const float *x = gpu_read(p.ctx, all[i], n[i]);
                    for (int64_t j = 0; j < n[i]; j++) assert_true(isnan(x[j]));
                }
            }
            tear_down(&p);
        }
}

static void other_heads_have_no_kernel(void **state) {
    kd_gpu_shape shape;
    kd_gpu_attn x = {.Ep = 80, .H = 1, .G = 1, .tiles = 1, .multiprocessors = 1};
    kd_ctx *ctx = gpu_open();
    (void)state;
    for (int Ep = 0; Ep <= 512; Ep += 16)
        for (int mode = 0; mode < KD_GPU_MODES; mode++)
            assert_int_equal(kd_attn_sm80_shape(&shape, Ep, mode), Ep == 64 || Ep == 96 || Ep == 128 || Ep == 256);
    assert_int_equal(kd_attn_sm80_forward(&x), KD_ENOTSUP);
    assert_int_equal(kd_attn_sm80_backward(&x), KD_ENOTSUP);
    kd_ctx_close(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_size_and_mode),
        cmocka_unit_test(some_rows_and_keys_of_a_window),
        cmocka_unit_test(large_logits),
        cmocka_unit_test(less_shared_memory_is_the_same_bits),
        cmocka_unit_test(any_number_of_multiprocessors_is_the_same_bits),
        cmocka_unit_test(a_row_does_not_depend_on_the_rows_beside_it),
        cmocka_unit_test(numbers_beyond_float16_are_left_to_bf16),
        cmocka_unit_test(other_heads_have_no_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The same in doubles of AVX2: ROWS queries at a time, 4 of them by 8 keys in registers; a shift's keys are read once for all
 * of the rows. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "drift.h"

enum { ROWS = 16, AT_ONCE = 4, LANES = 4 };

/* ROWS rows of a head at one shift, [ROWS][width]: by token. Unseen keys within `first .. last` have logit and attention 0. */
typedef struct block { double *scaled, *attention; double *first; } block;

typedef struct place { const kd_drift *d; int64_t h, from, i0, rows, width; double *query; } place;

/* e^x for x <= 0, -infinity included, or NaN: 2^n e^r, |r| <= ln 2 / 2, Taylor's sum to r^13 (off by less than 1e-17). */
static inline __m256d exp_of(__m256d x) {
    const __m256d log2e = _mm256_set1_pd(1.4426950408889634), high = _mm256_set1_pd(0x1.62e42fefa38p-1),
                  low = _mm256_set1_pd(0x1.ef35793c7673p-45), magic = _mm256_set1_pd(0x1.8p52);
    static const double term[] = {1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                  1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1};
    __m256d zero = _mm256_cmp_pd(x, _mm256_set1_pd(-708), _CMP_LT_OQ);
    x = _mm256_max_pd(_mm256_set1_pd(-708), x);  /* the second where one is NaN */
    __m256d shifted = _mm256_fmadd_pd(x, log2e, magic), n = _mm256_sub_pd(shifted, magic);
    __m256d r = _mm256_fnmadd_pd(n, low, _mm256_fnmadd_pd(n, high, x)), sum = _mm256_set1_pd(term[0]);
    for (int i = 1; i < 14; i++) sum = _mm256_fmadd_pd(sum, r, _mm256_set1_pd(term[i]));
    __m256i power = _mm256_slli_epi64(_mm256_add_epi64(_mm256_castpd_si256(shifted), _mm256_set1_epi64x(1023)), 52);
    return _mm256_andnot_pd(zero, _mm256_mul_pd(sum, _mm256_castsi256_pd(power)));
}

static inline double add_up(__m256d x) {
    double lane[LANES];
    _mm256_storeu_pd(lane, x);
    return (lane[0] + lane[1]) + (lane[2] + lane[3]);
}

/* Products of 4 queries with a group of 8 keys. query [W][4], key [W][8]. */
static inline void products(double *out, int64_t width, const double *query, const float *key, int64_t W) {
    __m256d sum[AT_ONCE][2];
#pragma GCC unroll 4
    for (int r = 0; r < AT_ONCE; r++) sum[r][0] = sum[r][1] = _mm256_setzero_pd();
    for (int64_t e = 0; e < W; e++) {
        __m256d k0 = _mm256_cvtps_pd(_mm_loadu_ps(key + 8 * e)), k1 = _mm256_cvtps_pd(_mm_loadu_ps(key + 8 * e + 4));
#pragma GCC unroll 4
        for (int r = 0; r < AT_ONCE; r++) {  /* unrolled, or the sums would lie in memory */
            __m256d q = _mm256_broadcast_sd(query + AT_ONCE * e + r);
            sum[r][0] = _mm256_fmadd_pd(q, k0, sum[r][0]);
            sum[r][1] = _mm256_fmadd_pd(q, k1, sum[r][1]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < AT_ONCE; r++) {
        _mm256_storeu_pd(out + r * width, sum[r][0]);
        _mm256_storeu_pd(out + r * width + LANES, sum[r][1]);
    }
}

/* The first group that the rows see any key of, and the one behind the last. */
static inline int64_t first_group(const place *p) { return p->from / KD_DRIFT_KEYS; }
static inline int64_t group_behind(int64_t i) { return i / KD_DRIFT_KEYS + 1; }

static void multiply(const block *x, const place *p, const kd_turned *t) {
    const kd_drift *d = p->d;
    int64_t T = d->plan->T, W = d->W;
    const float *rows = t->query + (p->h * T + p->i0) * W;
    const float *keys = t->key + p->h * d->G / d->H * kd_drift_groups(T) * W * KD_DRIFT_KEYS;
    for (int64_t r = 0; r < ROWS; r++)
        for (int64_t e = 0; e < W; e++)
            p->query[(r / AT_ONCE * W + e) * AT_ONCE + r % AT_ONCE] = r < p->rows ? (double)rows[r * W + e] : 0;
    for (int64_t g = first_group(p); g < group_behind(p->i0 + p->rows - 1); g++)
        for (int64_t r = 0; r < p->rows; r += AT_ONCE)
            products(x->scaled + r * p->width + g * KD_DRIFT_KEYS, p->width, p->query + r * W, keys + g * W * KD_DRIFT_KEYS, W);
}

/* Products of row i to attention, in place; x->first gets the first key's logit. */
static void normalise(const block *x, const place *p, const kd_turned *t, int64_t r) {
    const kd_drift *d = p->d;
    int64_t i = p->i0 + r, begin = first_group(p) * KD_DRIFT_KEYS, end = group_behind(i) * KD_DRIFT_KEYS;
    double *scaled = x->scaled + r * p->width, *attention = x->attention + r * p->width;
    double anchor = t->anchor ? t->anchor[p->h * d->plan->T + i] : 0, most = t->anchor ? anchor * d->scale : -INFINITY, sum = 0;
    x->first[r] = t->anchor ? anchor : scaled[p->from];
    for (int64_t j = begin; j < p->from; j++) scaled[j] = -INFINITY;
    for (int64_t j = i + 1; j < end; j++) scaled[j] = -INFINITY;
    __m256d largest = _mm256_set1_pd(most), scale = _mm256_set1_pd(d->scale);
    for (int64_t j = begin; j < end; j += LANES) {
        __m256d logit = _mm256_mul_pd(_mm256_loadu_pd(scaled + j), scale);
        _mm256_storeu_pd(scaled + j, logit);
        largest = _mm256_max_pd(logit, largest);  /* the second where one is NaN */
    }
    double lane[LANES];
    _mm256_storeu_pd(lane, largest);
    for (int l = 0; l < LANES; l++) most = lane[l] > most ? lane[l] : most;
    __m256d sums = _mm256_setzero_pd(), top = _mm256_set1_pd(most);
    for (int64_t j = begin; j < end; j += LANES) {
        __m256d e = exp_of(_mm256_sub_pd(_mm256_loadu_pd(scaled + j), top));
        _mm256_storeu_pd(attention + j, e);
        sums = _mm256_add_pd(sums, e);
    }
    sum = add_up(sums);
    double own = t->anchor ? exp(anchor * d->scale - most) : 0;
    __m256d total = _mm256_set1_pd(sum + own);
    for (int64_t j = begin; j < end; j += LANES) _mm256_storeu_pd(attention + j, _mm256_div_pd(_mm256_loadu_pd(attention + j), total));
    for (int64_t j = begin; j < p->from; j++) scaled[j] = attention[j] = 0;
    for (int64_t j = i + 1; j < end; j++) scaled[j] = attention[j] = 0;
    if (t->anchor) {  /* token 0, of no document: its place is free unless its group is this document's first */
        scaled[0] = anchor * d->scale;
        attention[0] = own / (sum + own);
    }
    /* Rows below see more keys than this one. */
    int64_t rest = group_behind(p->i0 + p->rows - 1) * KD_DRIFT_KEYS - end;
    memset(scaled + end, 0, (size_t)rest * sizeof(double));
    memset(attention + end, 0, (size_t)rest * sizeof(double));
}

static void look(const block *x, const place *p, const kd_turned *t) {
    multiply(x, p, t);
    for (int64_t r = 0; r < p->rows; r++) normalise(x, p, t, r);
}

/* One key, for the anchor when it stands apart from the document's groups. */
static void compare_one(const kd_drift *d, int64_t at, double *most, const block *x, const block *y, const place *p) {
    for (int64_t r = 0; r < p->rows; r++) {
        double change = x->attention[r * p->width] - y->attention[r * p->width];
        double logit = fabs(x->scaled[r * p->width] - y->scaled[r * p->width]);
        d->key[at] += fabs(change);
        d->key_signed[at] += change;
        if (!(logit <= *most)) *most = logit;
    }
}

static void compare(const place *p, int64_t pair, const block *x, const block *y) {
    const kd_drift *d = p->d;
    int64_t at = kd_drift_at(d, p->h, pair), begin = first_group(p) * KD_DRIFT_KEYS;
    int64_t T = d->plan->T, end = group_behind(p->i0 + p->rows - 1) * KD_DRIFT_KEYS;
    double *most = d->most + p->h * d->bases * d->shifts + pair;
    const __m256d sign = _mm256_set1_pd(-0.0);
    __m256d top = _mm256_setzero_pd();
    for (int64_t j = begin; j < end; j += LANES) {
        __m256d sum = _mm256_setzero_pd(), sum_signed = sum;
        for (int64_t r = 0; r < p->rows; r++) {
            int64_t o = r * p->width + j;
            __m256d change = _mm256_sub_pd(_mm256_loadu_pd(x->attention + o), _mm256_loadu_pd(y->attention + o));
            __m256d logit = _mm256_sub_pd(_mm256_loadu_pd(x->scaled + o), _mm256_loadu_pd(y->scaled + o));
            sum = _mm256_add_pd(sum, _mm256_andnot_pd(sign, change));
            sum_signed = _mm256_add_pd(sum_signed, change);
            top = _mm256_max_pd(_mm256_andnot_pd(sign, logit), top);
        }
        double lane[2][LANES];
        _mm256_storeu_pd(lane[0], sum);
        _mm256_storeu_pd(lane[1], sum_signed);
        for (int64_t l = 0; l < LANES && j + l < T; l++) {
            d->key[at + j + l] += lane[0][l];
            d->key_signed[at + j + l] += lane[1][l];
        }
    }
    double lane[LANES];
    _mm256_storeu_pd(lane, top);
    for (int l = 0; l < LANES; l++)
        if (!(lane[l] <= *most)) *most = lane[l];
    if (d->plan->anchors && begin > 0) compare_one(d, at, most, x, y, p);
    for (int64_t r = 0; r < p->rows; r++) d->first[at + p->i0 + r] = fabs(x->first[r] - y->first[r]);
}

/* A row is a cache line longer than its keys: rows that are a power of two apart would meet in the same sets. */
static int64_t width_of(const kd_drift *d) { return (kd_drift_groups(d->plan->T) + 1) * KD_DRIFT_KEYS; }

static int64_t block_doubles(const kd_drift *d) { return 2 * ROWS * width_of(d) + ROWS; }

static int64_t scratch_of(const kd_drift *d) { return (d->bases + 1) * block_doubles(d) + ROWS * d->W; }

static block block_at(double *memory, const kd_drift *d, int64_t i) {
    int64_t half = ROWS * width_of(d);
    double *at = memory + i * block_doubles(d);
    return (block){at, at + half, at + 2 * half};
}

static void add_sinks(const place *p, const block *x, int64_t *behind) {
    const kd_drift *d = p->d;
    for (int64_t r = 0; r < p->rows; r++) {
        if (p->i0 + r == p->from && !d->plan->anchors) continue;
        d->sink[p->h] += x->attention[r * p->width + (d->plan->anchors ? 0 : p->from)];
        ++*behind;
    }
}

static void head(const kd_drift *d, int64_t h, double *scratch) {
    block base[2], x = block_at(scratch, d, d->bases);
    int64_t behind = 0;
    place p = {.d = d, .h = h, .width = width_of(d), .query = scratch + (d->bases + 1) * block_doubles(d)};
    for (int64_t b = 0; b < d->bases; b++) base[b] = block_at(scratch, d, b);
    for (int64_t n = 0; n < d->plan->N; n++)
        for (p.from = p.i0 = d->plan->start[n]; p.i0 < d->plan->start[n + 1]; p.i0 += p.rows) {
            int64_t left = d->plan->start[n + 1] - p.i0;
            p.rows = left < ROWS ? left : ROWS;
            for (int64_t b = 0; b < d->bases; b++) look(&base[b], &p, &d->turned[d->base[b]]);
            for (int64_t s = 0; s < d->shifts; s++) {
                const block *at = &x;
                for (int64_t b = 0; b < d->bases; b++)
                    if (d->base[b] == s) at = &base[b];
                if (at == &x) look(&x, &p, &d->turned[s]);
                for (int64_t b = 0; b < d->bases; b++) compare(&p, b * d->shifts + s, at, &base[b]);
                if (s == 0) add_sinks(&p, at, &behind);
            }
        }
    if (behind) d->sink[h] /= (double)behind;
}

int64_t kd_drift_workspace_avx2(const kd_ctx *ctx, const void *args) {
    return kd_pool_threads(ctx->pool) * scratch_of(args) * (int64_t)sizeof(double);
}

kd_status kd_drift_avx2(kd_ctx *ctx, const void *args, void *workspace) {
    return kd_drift_heads(ctx, args, head, workspace, scratch_of(args));
}

/* Attention in float32 on ordinary units: the GPU's own definition, for every precision that tensor cores cannot keep and every head size
 * they have no kernel for. Correct before fast: tiles in shared memory, one product at a time, nothing kept between the passes.
 *
 * A block has SIDE rows or keys and goes through as many of the others at once. Two buffers hold rows of the head, `score` the products
 * between them. Thread (y, x) makes products x, x + ACROSS, .. of row y, and elements x, x + ACROSS, .. of its sums: the threads of a row
 * lie in one warp. */
#include "attn_cuda_rows.cuh"

enum { THREADS = 256, ELEMENTS = 16 };

template <int SIDE> struct plain {
    enum { ACROSS = THREADS / SIDE, PRODUCTS = SIDE / ACROSS };
};

/* Shared memory: buffers with a float more to a row, so that a column lies in all banks. */
template <int SIDE> struct buffers {
    float *own, *other, *score;
    int pitch;
};

template <int SIDE> GPU buffers<SIDE> buffers_of(float *shared, int Ep)
{
    buffers<SIDE> b;
    b.pitch = Ep + 1;
    b.own = shared;
    b.other = b.own + SIDE * b.pitch;
    b.score = b.other + SIDE * b.pitch;
    return b;
}

template <int SIDE> static size_t bytes_of(int64_t Ep) { return sizeof(float) * SIDE * (2 * (Ep + 1) + SIDE + 1); }

/* `count` packed rows, behind them zeros. Before and behind it all threads meet. */
template <int SIDE> GPU void load_rows(float *to, const float *from, int first, int count, int Ep)
{
    __syncthreads();
    for (int i = threadIdx.x; i < SIDE * Ep; i += THREADS) {
        int row = i / Ep, e = i % Ep;
        to[row * (Ep + 1) + e] = row < count ? from[(int64_t)(first + row) * Ep + e] : 0;
    }
    __syncthreads();
}

/* out[n] = own row y . other row x + n ACROSS */
template <int SIDE> GPU void products(float *out, const buffers<SIDE> &b, int y, int x, int Ep)
{
#pragma unroll
    for (int n = 0; n < plain<SIDE>::PRODUCTS; n++) {
        const float *p = b.own + y * b.pitch, *q = b.other + (x + n * plain<SIDE>::ACROSS) * b.pitch;
        float sum = 0;
        for (int e = 0; e < Ep; e++) sum = fmaf(p[e], q[e], sum);
        out[n] = sum;
    }
}

/* Scores of row y, which its own warp alone reads. */
template <int SIDE> GPU void keep_scores(const buffers<SIDE> &b, const float *value, int y, int x)
{
    __syncwarp();
#pragma unroll
    for (int n = 0; n < plain<SIDE>::PRODUCTS; n++) b.score[y * (SIDE + 1) + x + n * plain<SIDE>::ACROSS] = value[n];
    __syncwarp();
}

/* sum[i] += score row y . column x + i ACROSS of the other rows */
template <int SIDE> GPU void add_weighted(float *sum, const buffers<SIDE> &b, int y, int x, int Ep, int count)
{
    const float *score = b.score + y * (SIDE + 1);
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++) {
        int e = x + i * plain<SIDE>::ACROSS;
        if (e >= Ep) continue;
        for (int j = 0; j < count; j++) sum[i] = fmaf(score[j], b.other[j * b.pitch + e], sum[i]);
    }
}

template <int SIDE> GPU float row_sum(float x)
{
    for (int i = plain<SIDE>::ACROSS / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
}

template <int SIDE> GPU float row_most(float x)
{
    for (int i = plain<SIDE>::ACROSS / 2; i > 0; i /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, i));
    return x;
}

/* ---- forward ------------------------------------------------------------------------------------------------------------------- */

template <int SIDE> __global__ void __launch_bounds__(THREADS, 2) plain_forward(const kd_gpu_attn a)
{
    KD_SHARED(float, shared);
    constexpr int ACROSS = plain<SIDE>::ACROSS, PRODUCTS = plain<SIDE>::PRODUCTS;
    const kd_gpu_tile tile = a.tile[blockIdx.x / a.H];
    int h = blockIdx.x % a.H, g = h / (a.H / a.G), y = threadIdx.x / ACROSS, x = threadIdx.x % ACROSS, row = tile.first + y;
    bool there = y < tile.count;
    buffers<SIDE> b = buffers_of<SIDE>(shared, a.Ep);
    const float *q = (const float *)a.q + (int64_t)h * a.rows * a.Ep;
    const float *k = (const float *)a.k + (int64_t)g * a.keys * a.Ep, *v = (const float *)a.v + (int64_t)g * a.keys * a.Ep;
    float out[ELEMENTS], most = -INFINITY, sum = 0;
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++) out[i] = 0;
    if (a.anchor_logit2 && there) {
        most = a.anchor_logit2[(int64_t)h * a.rows + row];
        sum = 1;
#pragma unroll
        for (int i = 0; i < ELEMENTS; i++)
            if (x + i * ACROSS < a.Ep) out[i] = a.anchor_value[g * a.Ep + x + i * ACROSS];
    }
    for (int first = tile.other; first < tile.other + tile.others; first += SIDE) {
        int count = min((int)SIDE, tile.other + tile.others - first);
        float score[PRODUCTS], now = most;
        load_rows<SIDE>(b.own, q, tile.first, tile.count, a.Ep);
        load_rows<SIDE>(b.other, k, first, count, a.Ep);
        products(score, b, y, x, a.Ep);
#pragma unroll
        for (int n = 0; n < PRODUCTS; n++) {
            int j = x + n * ACROSS;
            score[n] = j < count && first + j <= row + a.lead ? score[n] * a.scale2 : -INFINITY;
            now = fmaxf(now, score[n]);
        }
        now = row_most<SIDE>(now);
        float less = now == -INFINITY ? 0 : now, weaker = exp2f(most - less), here = 0;
#pragma unroll
        for (int n = 0; n < PRODUCTS; n++) here += score[n] = exp2f(score[n] - less);
        sum = sum * weaker + row_sum<SIDE>(here);
        most = now;
#pragma unroll
        for (int i = 0; i < ELEMENTS; i++) out[i] *= weaker;
        keep_scores(b, score, y, x);
        load_rows<SIDE>(b.other, v, first, count, a.Ep);
        add_weighted(out, b, y, x, a.Ep, count);
    }
    if (!there) return;
    if (x == 0) a.lse[(int64_t)h * a.rows + row] = 0.693147180559945309417f * (most + log2f(sum));
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++) {
        int e = x + i * ACROSS;
        if (e >= a.E) continue;
        int64_t at = gpu_view_at(a.o, row, h) + e;
        float value = sum == 0 ? 0 : out[i] / sum;  /* it sees nothing: zeros and -infinity */
        if (a.o.type == KD_VIEW_F32) a.o.data[at] = value;
        else a.o.half[at] = a.o.type == KD_VIEW_F16 ? gpu_f16(value) : gpu_bf16(value);
    }
}

/* ---- backward ------------------------------------------------------------------------------------------------------------------ */

/* Probability of a row and a key, and the gradient of its logit. */
GPU float probability_of(const kd_gpu_attn &a, float product, int row, int key, int64_t at, bool there)
{
    return there && key <= row + a.lead ? exp2f(product * a.scale2 - a.lse2[at + row]) : 0;
}

template <int SIDE> __global__ void __launch_bounds__(THREADS, 2) plain_dq(const kd_gpu_attn a, const kd_gpu_tile *tiles)
{
    KD_SHARED(float, shared);
    constexpr int ACROSS = plain<SIDE>::ACROSS, PRODUCTS = plain<SIDE>::PRODUCTS;
    const kd_gpu_tile tile = tiles[blockIdx.x / a.H];
    int h = blockIdx.x % a.H, g = h / (a.H / a.G), y = threadIdx.x / ACROSS, x = threadIdx.x % ACROSS, row = tile.first + y;
    bool there = y < tile.count;
    int64_t at = (int64_t)h * a.rows;
    buffers<SIDE> b = buffers_of<SIDE>(shared, a.Ep);
    const float *q = (const float *)a.q + at * a.Ep, *dout = (const float *)a.dout + at * a.Ep;
    const float *k = (const float *)a.k + (int64_t)g * a.keys * a.Ep, *v = (const float *)a.v + (int64_t)g * a.keys * a.Ep;
    float dq[ELEMENTS], delta = there ? a.delta[at + row] : 0;
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++) dq[i] = 0;
    for (int first = tile.other; first < tile.other + tile.others; first += SIDE) {
        int count = min((int)SIDE, tile.other + tile.others - first);
        float p[PRODUCTS], ds[PRODUCTS];
        load_rows<SIDE>(b.own, q, tile.first, tile.count, a.Ep);
        load_rows<SIDE>(b.other, k, first, count, a.Ep);
        products(p, b, y, x, a.Ep);
        load_rows<SIDE>(b.own, dout, tile.first, tile.count, a.Ep);
        load_rows<SIDE>(b.other, v, first, count, a.Ep);
        products(ds, b, y, x, a.Ep);
#pragma unroll
        for (int n = 0; n < PRODUCTS; n++)
            ds[n] = (ds[n] - delta) * probability_of(a, p[n], row, first + x + n * ACROSS, at, there && x + n * ACROSS < count);
        keep_scores(b, ds, y, x);
        load_rows<SIDE>(b.other, k, first, count, a.Ep);
        add_weighted(dq, b, y, x, a.Ep, count);
    }
    if (!there || !tile.others) return;
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++)
        if (x + i * ACROSS < a.Ep) a.dq[(at + row) * a.Ep + x + i * ACROSS] = dq[i];
}

template <int SIDE> __global__ void __launch_bounds__(THREADS, 2) plain_dkv(const kd_gpu_attn a)
{
    KD_SHARED(float, shared);
    constexpr int ACROSS = plain<SIDE>::ACROSS, PRODUCTS = plain<SIDE>::PRODUCTS;
    const kd_gpu_tile tile = a.tile[blockIdx.x / a.G];
    int g = blockIdx.x % a.G, y = threadIdx.x / ACROSS, x = threadIdx.x % ACROSS, key = tile.first + y, group = a.H / a.G;
    bool there = y < tile.count;
    buffers<SIDE> b = buffers_of<SIDE>(shared, a.Ep);
    const float *k = (const float *)a.k + (int64_t)g * a.keys * a.Ep, *v = (const float *)a.v + (int64_t)g * a.keys * a.Ep;
    float dk[ELEMENTS], dv[ELEMENTS];
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++) dk[i] = dv[i] = 0;
    for (int h = g * group; h < (g + 1) * group; h++) {
        int64_t at = (int64_t)h * a.rows;
        const float *q = (const float *)a.q + at * a.Ep, *dout = (const float *)a.dout + at * a.Ep;
        for (int first = tile.other; first < tile.other + tile.others; first += SIDE) {
            int count = min((int)SIDE, tile.other + tile.others - first);
            float p[PRODUCTS], ds[PRODUCTS];
            load_rows<SIDE>(b.own, k, tile.first, tile.count, a.Ep);
            load_rows<SIDE>(b.other, q, first, count, a.Ep);
            products(p, b, y, x, a.Ep);
            load_rows<SIDE>(b.own, v, tile.first, tile.count, a.Ep);
            load_rows<SIDE>(b.other, dout, first, count, a.Ep);
            products(ds, b, y, x, a.Ep);
#pragma unroll
            for (int n = 0; n < PRODUCTS; n++) {
                int row = first + x + n * ACROSS;
                bool both = there && x + n * ACROSS < count;
                p[n] = probability_of(a, p[n], row, key, at, both);
                ds[n] = both ? p[n] * (ds[n] - a.delta[at + row]) : 0;
            }
            keep_scores(b, p, y, x);
            add_weighted(dv, b, y, x, a.Ep, count);
            load_rows<SIDE>(b.other, q, first, count, a.Ep);
            keep_scores(b, ds, y, x);
            add_weighted(dk, b, y, x, a.Ep, count);
        }
    }
    if (!there) return;
#pragma unroll
    for (int i = 0; i < ELEMENTS; i++) {
        int64_t to = ((int64_t)g * a.keys + key) * a.Ep + x + i * ACROSS;
        if (x + i * ACROSS >= a.Ep) continue;
        a.dk[to] = dk[i];
        a.dv[to] = dv[i];
    }
}

/* ---- on the host ----------------------------------------------------------------------------------------------------------------- */

enum { WIDE_SIDE = 16, SIDE = 32, WIDE_HEAD = 128 };  /* heads beyond 128 have fewer rows, or they would not fit into shared memory */

kd_gpu_shape kd_attn_plain_shape(int64_t Ep)
{
    int32_t side = Ep > WIDE_HEAD ? WIDE_SIDE : SIDE;
    kd_gpu_shape shape = {side, side, side};
    return shape;
}

kd_status kd_attn_plain_forward(const kd_gpu_attn *x)
{
    dim3 grid((unsigned)(x->tiles * x->H)), block(THREADS);
    if (x->Ep > WIDE_HEAD) KD_LAUNCH(plain_forward<WIDE_SIDE>, grid, block, bytes_of<WIDE_SIDE>(x->Ep), x->stream, *x);
    else KD_LAUNCH(plain_forward<SIDE>, grid, block, bytes_of<SIDE>(x->Ep), x->stream, *x);
    return kd_cuda_launched("attention in float32");
}

kd_status kd_attn_plain_backward(const kd_gpu_attn *x, const kd_gpu_tile *forward_tile, int32_t forward_tiles)
{
    dim3 rows((unsigned)(forward_tiles * x->H)), keys((unsigned)(x->tiles * x->G)), block(THREADS);
    if (x->Ep > WIDE_HEAD) {
        KD_LAUNCH(plain_dq<WIDE_SIDE>, rows, block, bytes_of<WIDE_SIDE>(x->Ep), x->stream, *x, forward_tile);
        if (x->tiles) KD_LAUNCH(plain_dkv<WIDE_SIDE>, keys, block, bytes_of<WIDE_SIDE>(x->Ep), x->stream, *x);
    } else {
        KD_LAUNCH(plain_dq<SIDE>, rows, block, bytes_of<SIDE>(x->Ep), x->stream, *x, forward_tile);
        if (x->tiles) KD_LAUNCH(plain_dkv<SIDE>, keys, block, bytes_of<SIDE>(x->Ep), x->stream, *x);
    }
    return kd_cuda_launched("attention's gradients in float32");
}

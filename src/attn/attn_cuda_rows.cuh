/* Rows of heads in pieces: how the kernels around attention read, turn and write them.
 *
 * A group of `lanes` threads of a warp holds one row: each thread one piece, N elements of the row's first half and the N elements of the
 * second half that they are turned with. WIDE rows are read 16 bytes at a time, eight elements a piece; others element by element. */
#ifndef KD_ATTN_CUDA_ROWS_CUH
#define KD_ATTN_CUDA_ROWS_CUH

#include "dev/gpu.cuh"

extern "C" {
#include "attn_cuda_call.h"
}

enum { GPU_ROW_THREADS = 256 };

template <bool WIDE> struct gpu_piece {
    enum { N = WIDE ? 8 : 4 };
    float low[N], high[N];
};

/* Where a thread stands. */
struct gpu_row_place {
    int lanes, lane, row, rows;  /* of a block: `rows` rows at once; this thread's is `row` of them */
    int from, half;              /* its piece begins with element `from`, of rows of 2 half */
    bool busy;                   /* it has a piece */
};

/* Threads to a row: a power of two that has one for each piece. */
static inline __host__ __device__ int gpu_row_lanes(int E, bool wide)
{
    int pieces = wide ? E / 16 : (E / 2 + 3) / 4, lanes = 1;
    while (lanes < pieces) lanes *= 2;
    return lanes;
}

template <bool WIDE> GPU gpu_row_place gpu_row_here(int E)
{
    gpu_row_place p;
    p.lanes = gpu_row_lanes(E, WIDE);
    p.lane = threadIdx.x % p.lanes;
    p.row = threadIdx.x / p.lanes;
    p.rows = GPU_ROW_THREADS / p.lanes;
    p.half = E / 2;
    p.from = p.lane * gpu_piece<WIDE>::N;
    p.busy = p.from < p.half;
    return p;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------ */

GPU float gpu_widen(uint16_t x, kd_view_type type) { return type == KD_VIEW_BF16 ? gpu_widen_bf16(x) : gpu_widen_f16(x); }

GPU void gpu_widen_pair(float *out, uint32_t x, kd_view_type type)
{
    out[0] = gpu_widen((uint16_t)(x & 0xffff), type);
    out[1] = gpu_widen((uint16_t)(x >> 16), type);
}

/* Eight numbers at `at` elements behind the view's beginning. */
GPU void gpu_load8(float *out, const kd_view &x, int64_t at)
{
    if (x.type == KD_VIEW_F32) {
        float4 a = ((const float4 *)(x.data + at))[0], b = ((const float4 *)(x.data + at))[1];
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w, out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
        return;
    }
    uint4 a = *(const uint4 *)(x.half + at);
    gpu_widen_pair(out, a.x, x.type);
    gpu_widen_pair(out + 2, a.y, x.type);
    gpu_widen_pair(out + 4, a.z, x.type);
    gpu_widen_pair(out + 6, a.w, x.type);
}

GPU uint32_t gpu_narrow_pair(float first, float second, bool f16)
{
    return f16 ? gpu_pair_f16(first, second) : gpu_pair_bf16(first, second);
}

GPU void gpu_store8_half(uint16_t *to, const float *x, bool f16)
{
    uint4 y;
    y.x = gpu_narrow_pair(x[0], x[1], f16);
    y.y = gpu_narrow_pair(x[2], x[3], f16);
    y.z = gpu_narrow_pair(x[4], x[5], f16);
    y.w = gpu_narrow_pair(x[6], x[7], f16);
    *(uint4 *)to = y;
}

GPU void gpu_store8_f32(float *to, const float *x)
{
    float4 a, b;
    a.x = x[0], a.y = x[1], a.z = x[2], a.w = x[3], b.x = x[4], b.y = x[5], b.z = x[6], b.w = x[7];
    ((float4 *)to)[0] = a;
    ((float4 *)to)[1] = b;
}

GPU int64_t gpu_view_at(const kd_view &x, int64_t row, int64_t head) { return row * x.token_stride + head * x.head_stride; }

/* A piece of a row of a view; zeros in threads that have none, and where !there. */
template <bool WIDE> GPU void gpu_load_piece(gpu_piece<WIDE> &out, const kd_view &x, int64_t row, int64_t head, const gpu_row_place &p,
                                             bool there)
{
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) out.low[i] = out.high[i] = 0;
    if (!there || !p.busy) return;
    int64_t at = gpu_view_at(x, row, head) + p.from;
    if constexpr (WIDE) {
        gpu_load8(out.low, x, at);
        gpu_load8(out.high, x, at + p.half);
    } else {
#pragma unroll
        for (int i = 0; i < gpu_piece<WIDE>::N; i++) {
            if (p.from + i >= p.half) continue;
            out.low[i] = x.type == KD_VIEW_F32 ? x.data[at + i] : gpu_widen(x.half[at + i], x.type);
            out.high[i] = x.type == KD_VIEW_F32 ? x.data[at + p.half + i] : gpu_widen(x.half[at + p.half + i], x.type);
        }
    }
}

/* Rounded once, to nearest, ties to even. */
template <bool WIDE> GPU void gpu_store_piece(const kd_view &to, int64_t row, int64_t head, const gpu_piece<WIDE> &x,
                                              const gpu_row_place &p, bool there)
{
    if (!there || !p.busy) return;
    int64_t at = gpu_view_at(to, row, head) + p.from;
    bool f16 = to.type == KD_VIEW_F16;
    if constexpr (WIDE) {
        if (to.type == KD_VIEW_F32) {
            gpu_store8_f32(to.data + at, x.low);
            gpu_store8_f32(to.data + at + p.half, x.high);
        } else {
            gpu_store8_half(to.half + at, x.low, f16);
            gpu_store8_half(to.half + at + p.half, x.high, f16);
        }
    } else {
#pragma unroll
        for (int i = 0; i < gpu_piece<WIDE>::N; i++) {
            if (p.from + i >= p.half) continue;
            if (to.type == KD_VIEW_F32) {
                to.data[at + i] = x.low[i];
                to.data[at + p.half + i] = x.high[i];
            } else {
                to.half[at + i] = f16 ? gpu_f16(x.low[i]) : gpu_bf16(x.low[i]);
                to.half[at + p.half + i] = f16 ? gpu_f16(x.high[i]) : gpu_bf16(x.high[i]);
            }
        }
    }
}

/* A packed row as a view: of 16 bits or float32, dense. */
GPU kd_view gpu_packed(void *data, bool f32, bool f16, int64_t rows, int64_t Ep)
{
    kd_view x;
    x.data = (float *)data;
    x.half = (uint16_t *)data;
    x.token_stride = Ep;
    x.head_stride = rows * Ep;
    x.type = f32 ? KD_VIEW_F32 : f16 ? KD_VIEW_F16 : KD_VIEW_BF16;
    return x;
}

/* The row's padding, from element E. */
GPU void gpu_store_padding(const kd_view &packed, int64_t row, int64_t head, int E, int Ep, const gpu_row_place &p, bool there)
{
    if (!there) return;
    int64_t at = gpu_view_at(packed, row, head);
    for (int e = E + p.lane; e < Ep; e += p.lanes) {
        if (packed.type == KD_VIEW_F32) packed.data[at + e] = 0;
        else packed.half[at + e] = 0;
    }
}

/* ---- turning ------------------------------------------------------------------------------------------------------------------- */
/* Plain float32 and double without fused operations, as ladder.h and rope.c define them: hence the names that no compiler fuses. */

template <bool WIDE> struct gpu_angle {
    float cosine[gpu_piece<WIDE>::N], sine[gpu_piece<WIDE>::N];
};

/* kd_rope_make's one pair. */
GPU void gpu_make_angle(float *cosine, float *sine, const kd_gpu_call &x, kd_angles angles, int e, int p)
{
    int half = x.E / 2;
    const double *high = x.coarse + (int64_t)(p / 256) * x.E, *low = x.fine + (int64_t)(p % 256) * x.E;
    double c = __dadd_rn(__dmul_rn(high[e], low[e]), -__dmul_rn(high[e + half], low[e + half]));
    double s = __dadd_rn(__dmul_rn(high[e + half], low[e]), __dmul_rn(high[e], low[e + half]));
    if (angles != KD_ANGLES_DOUBLE) {
        double angle = __dmul_rn((double)p, x.inv_freq[e]), d = __dadd_rn((double)(float)angle, -angle), y = __dmul_rn(d, d);
        double a = __dadd_rn(1, -y / 90), b = __dadd_rn(1, -y / 72);
        a = __dadd_rn(1, -__dmul_rn(y / 56, a)), a = __dadd_rn(1, -__dmul_rn(y / 30, a)), a = __dadd_rn(1, -__dmul_rn(y / 12, a));
        a = __dadd_rn(1, -__dmul_rn(y / 2, a));
        b = __dadd_rn(1, -__dmul_rn(y / 42, b)), b = __dadd_rn(1, -__dmul_rn(y / 20, b));
        b = __dmul_rn(d, __dadd_rn(1, -__dmul_rn(y / 6, b)));
        double turned = __dadd_rn(__dmul_rn(c, a), -__dmul_rn(s, b));
        s = __dadd_rn(__dmul_rn(s, a), __dmul_rn(c, b));
        c = turned;
    }
    *cosine = (float)c;
    *sine = (float)s;
    if (angles == KD_ANGLES_BF16) *cosine = gpu_widen_bf16(gpu_bf16(*cosine)), *sine = gpu_widen_bf16(gpu_bf16(*sine));
}

/* Cosines and sines of position p, of either sign, for this thread's piece. */
template <bool WIDE> GPU void gpu_angle_at(gpu_angle<WIDE> &out, const kd_gpu_call &x, kd_angles angles, int p, const gpu_row_place &at)
{
    constexpr int N = gpu_piece<WIDE>::N;
    int size = p < 0 ? -p : p;
    const float *table = angles == KD_ANGLES_DOUBLE ? x.exact : x.table;
#pragma unroll
    for (int i = 0; i < N; i++) out.cosine[i] = 1, out.sine[i] = 0;
    if (!at.busy || (!table && !x.coarse)) return;
    if (!table) {
#pragma unroll 1
        for (int i = 0; i < N; i++) {
            float cosine, sine;
            if (at.from + i >= at.half) break;
            gpu_make_angle(&cosine, &sine, x, angles, at.from + i, size);
#pragma unroll
            for (int j = 0; j < N; j++)  /* a register has no number that is known only now */
                if (j == i) out.cosine[j] = cosine, out.sine[j] = sine;
        }
    } else if constexpr (WIDE) {
        kd_view row;
        row.data = (float *)table;
        row.type = KD_VIEW_F32;
        gpu_load8(out.cosine, row, (int64_t)size * x.E + at.from);
        gpu_load8(out.sine, row, (int64_t)size * x.E + at.half + at.from);
    } else {
        const float *row = table + (int64_t)size * x.E + at.from;
#pragma unroll
        for (int i = 0; i < N; i++)
            if (at.from + i < at.half) out.cosine[i] = row[i], out.sine[i] = row[at.half + i];
    }
    if (p >= 0) return;
#pragma unroll
    for (int i = 0; i < N; i++) out.sine[i] = -out.sine[i];
}

/* x = R(angle) x; back: R(-angle) x. */
template <bool WIDE> GPU void gpu_turn(gpu_piece<WIDE> &x, const gpu_angle<WIDE> &by, bool back)
{
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) {
        float c = by.cosine[i], s = back ? -by.sine[i] : by.sine[i], a = x.low[i], b = x.high[i];
        x.low[i] = __fadd_rn(__fmul_rn(a, c), -__fmul_rn(b, s));
        x.high[i] = __fadd_rn(__fmul_rn(b, c), __fmul_rn(a, s));
    }
}

GPU float gpu_round_bf16(float x) { return gpu_widen_bf16(gpu_bf16(x)); }

/* kd_rung_turn's turning, before what is kept of it. */
template <bool WIDE> GPU void gpu_turn_rung(gpu_piece<WIDE> &x, const gpu_angle<WIDE> &by, bool bf16_products)
{
    if (!bf16_products) {
        gpu_turn(x, by, false);
        return;
    }
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) {
        float c = by.cosine[i], s = by.sine[i], a = gpu_round_bf16(x.low[i]), b = gpu_round_bf16(x.high[i]);
        x.low[i] = __fadd_rn(gpu_round_bf16(__fmul_rn(a, c)), -gpu_round_bf16(__fmul_rn(b, s)));
        x.high[i] = __fadd_rn(gpu_round_bf16(__fmul_rn(b, c)), gpu_round_bf16(__fmul_rn(a, s)));
    }
}

/* What is kept of one number; low: of a pair the second. fits becomes false where a finite number is beyond float16. */
GPU float gpu_keep_number(float x, float *low, kd_storage storage, bool *fits)
{
    *low = 0;
    if (storage == KD_STORE_F32) return x;
    if (storage == KD_STORE_F16) {
        float size = fabsf(x);
        if (size > 65504.0f && size <= 3.4028234664e38f) *fits = false;
        return gpu_widen_f16(gpu_f16(x));
    }
    float y = gpu_round_bf16(x);
    if (storage == KD_STORE_PAIR) *low = gpu_round_bf16(__fadd_rn(x, -y));
    return y;
}

/* x becomes what is kept of it, low the second numbers of pairs. */
template <bool WIDE> GPU void gpu_keep_piece(gpu_piece<WIDE> &x, gpu_piece<WIDE> &low, kd_storage storage, bool *fits)
{
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) {
        x.low[i] = gpu_keep_number(x.low[i], &low.low[i], storage, fits);
        x.high[i] = gpu_keep_number(x.high[i], &low.high[i], storage, fits);
    }
}

template <bool WIDE> GPU void gpu_add_piece(gpu_piece<WIDE> &x, const gpu_piece<WIDE> &y)
{
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) x.low[i] += y.low[i], x.high[i] += y.high[i];
}

template <bool WIDE> GPU void gpu_scale_piece(gpu_piece<WIDE> &x, float by)
{
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) x.low[i] *= by, x.high[i] *= by;
}

/* x += by y */
template <bool WIDE> GPU void gpu_add_scaled(gpu_piece<WIDE> &x, const gpu_piece<WIDE> &y, float by)
{
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) x.low[i] = fmaf(by, y.low[i], x.low[i]), x.high[i] = fmaf(by, y.high[i], x.high[i]);
}

/* The row's sum, in every thread that has a piece of it. All threads of the warp call. */
GPU float gpu_row_sum(float x, int lanes)
{
    for (int i = lanes / 2; i > 0; i /= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
}

/* A row's product with another, of which every thread of the row has the same pieces. */
template <bool WIDE> GPU float gpu_row_dot(const gpu_piece<WIDE> &x, const gpu_piece<WIDE> &y, int lanes)
{
    float sum = 0;
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) sum = fmaf(x.low[i], y.low[i], sum);
#pragma unroll
    for (int i = 0; i < gpu_piece<WIDE>::N; i++) sum = fmaf(x.high[i], y.high[i], sum);
    return gpu_row_sum(sum, lanes);
}

/* The largest of numbers that are not negative, in any order: their bits are in the same order, and a NaN's are above all. */
GPU void gpu_note_most(int32_t *most, float x)
{
    int32_t bits = __float_as_int(x);
    for (int i = 16; i > 0; i /= 2) {
        int32_t other = __shfl_xor_sync(0xffffffffu, bits, i);
        if (other > bits) bits = other;
    }
    if (threadIdx.x % 32 == 0 && bits > 0) atomicMax(most, bits);
}

/* ---- on the host ---------------------------------------------------------------------------------------------------------------- */

static inline bool gpu_view_is_wide(const kd_view *x)
{
    uintptr_t address = x->type == KD_VIEW_F32 ? (uintptr_t)x->data : (uintptr_t)x->half;
    return address % 16 == 0 && x->token_stride % 8 == 0 && x->head_stride % 8 == 0;
}

#endif

/* What attention's kernels read, made from what the caller has: queries and keys turned and kept as the precision says, packed by head.
 * In the same pass over a row, its logit with the anchor, which needs no tile of its own; backward, all that is needed of its output and
 * gradient, and the anchor's share.
 *
 * Threads of a row keep their piece's angle, and go through the heads. All that is read of a head is asked for before the first of it is
 * written: loads do not pass stores. */
#include "attn_cuda_rows.cuh"

enum { HEADS_AT_ONCE = 8 };  /* about: of a block, for which it reads angles once */

/* ---- keys ---------------------------------------------------------------------------------------------------------------------- */

/* `groups` key/value heads of this block, from blockIdx.y on. */
template <bool WIDE> __global__ void __launch_bounds__(GPU_ROW_THREADS, 2) pack_keys(const kd_gpu_call x, int groups)
{
    if (x.if_unfit && !*x.unfit) return;
    gpu_row_place p = gpu_row_here<WIDE>(x.E);
    int64_t row = (int64_t)blockIdx.x * p.rows + p.row;
    bool there = row < x.keys, fits = true, f16 = x.storage == KD_STORE_F16, anchor = there && row == 0 && x.sees_anchor;
    int64_t token = x.first_key + (there ? row : 0);
    kd_view k = gpu_packed(x.packed_k, x.plain, f16, x.keys, x.Ep), k_low = gpu_packed(x.k_low, false, false, x.keys, x.Ep);
    kd_view v = gpu_packed(x.packed_v, x.plain, false, x.keys, x.Ep);
    gpu_angle<WIDE> angle;
    gpu_angle_at(angle, x, x.angles, anchor && !x.anchor_kept ? 0 : x.rotation[token], p);
    float most = 0;
    for (int g = blockIdx.y * groups; g < x.G && g < (int)(blockIdx.y + 1) * groups; g++) {
        gpu_piece<WIDE> piece, low, value;
        gpu_load_piece(piece, x.k, row, g, p, there);
        gpu_load_piece(value, x.v, row, g, p, there);
        gpu_turn_rung(piece, angle, x.bf16_products);
        bool all_fit = true;
        gpu_keep_piece(piece, low, x.storage, &all_fit);
        if (anchor && !x.anchor_kept) all_fit = true;  /* nobody reads it */
        fits = fits && all_fit;
        if (x.plain) gpu_add_piece(piece, low);
        gpu_store_piece(k, row, g, piece, p, there);
        gpu_store_padding(k, row, g, x.E, x.Ep, p, there);
        if (x.k_low) {
            gpu_store_piece(k_low, row, g, low, p, there);
            gpu_store_padding(k_low, row, g, x.E, x.Ep, p, there);
        }
        gpu_store_piece(v, row, g, value, p, there);
        gpu_store_padding(v, row, g, x.E, x.Ep, p, there);
        if (anchor) {
            kd_view its_value = gpu_packed(x.anchor_value, true, false, 1, x.Ep);
            gpu_store_piece(its_value, 0, g, value, p, true);
            gpu_store_padding(its_value, 0, g, x.E, x.Ep, p, true);
        }
        most = fmaxf(most, gpu_row_dot(value, value, p.lanes));
    }
    if (x.most) gpu_note_most(x.most + 1, most);
    if (x.unfit && !x.if_unfit && !fits) *x.unfit = 1;
    if (x.if_unfit && blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *x.fallbacks += 1;
}

/* ---- queries ------------------------------------------------------------------------------------------------------------------- */

/* The anchor's key as queries meet it: kept like every key, or as it came. */
template <bool WIDE> GPU void anchor_key(gpu_piece<WIDE> &key, const kd_gpu_call &x, int g, const gpu_row_place &p)
{
    gpu_load_piece(key, x.k, 0, g, p, true);
    if (!x.anchor_kept) return;
    gpu_angle<WIDE> angle;
    gpu_piece<WIDE> low;
    bool fits = true;
    gpu_angle_at(angle, x, x.angles, x.origin, p);
    gpu_turn_rung(key, angle, x.bf16_products);
    gpu_keep_piece(key, low, x.storage, &fits);
    gpu_add_piece(key, low);
}

/* The block's rows added up, into parts[block][g][which]. All threads call; `sum` is a static shared array. */
template <bool WIDE> GPU void add_rows(const kd_gpu_call &x, gpu_piece<WIDE> &piece, int g, int which, const gpu_row_place &p,
                                       float (*sum)[KD_HEAD_MOST])
{
    constexpr int N = gpu_piece<WIDE>::N;
    int warp = threadIdx.x / 32;
    for (int i = 16; i >= p.lanes; i /= 2)
#pragma unroll
        for (int j = 0; j < N; j++) {
            piece.low[j] += __shfl_xor_sync(0xffffffffu, piece.low[j], i);
            piece.high[j] += __shfl_xor_sync(0xffffffffu, piece.high[j], i);
        }
    __syncthreads();  /* the last one's sums have been read */
    if ((int)threadIdx.x % 32 < p.lanes && p.busy)
#pragma unroll
        for (int j = 0; j < N; j++) {
            if (!WIDE && p.from + j >= p.half) continue;
            sum[warp][p.from + j] = piece.low[j];
            sum[warp][p.half + p.from + j] = piece.high[j];
        }
    __syncthreads();
    if ((int)threadIdx.x >= x.E) return;
    float y = 0;
    for (int w = 0; w < GPU_ROW_THREADS / 32; w++) y += sum[w][threadIdx.x];
    x.parts[(((int64_t)blockIdx.x * x.G + g) * 2 + which) * x.E + threadIdx.x] = y;
}

/* Key/value heads as above, with their query heads. */
template <bool WIDE, bool BACKWARD>
__global__ void __launch_bounds__(GPU_ROW_THREADS, BACKWARD ? 1 : 2) pack_queries(const kd_gpu_call x, int groups)
{
    __shared__ float sum[GPU_ROW_THREADS / 32][KD_HEAD_MOST];
    if (x.if_unfit && !*x.unfit) return;
    gpu_row_place p = gpu_row_here<WIDE>(x.E);
    int64_t row = (int64_t)blockIdx.x * p.rows + p.row;
    bool there = row < x.rows, fits = true, f16 = x.storage == KD_STORE_F16, anchor = there && row == 0 && x.anchor_row;
    int64_t token = x.first_row + (there ? row : 0);
    kd_view q = gpu_packed(x.packed_q, x.plain, f16, x.rows, x.Ep), q_low = gpu_packed(x.q_low, false, false, x.rows, x.Ep);
    kd_view dout = gpu_packed(x.packed_dout, x.plain, false, x.rows, x.Ep);
    gpu_angle<WIDE> angle, distance;
    gpu_angle_at(angle, x, x.angles, anchor && !x.anchor_kept ? 0 : x.rotation[token], p);
    if (x.sees_anchor && !x.anchor_kept) gpu_angle_at(distance, x, KD_ANGLES_DOUBLE, x.position[token] - x.origin, p);
    float most_dout = 0, most_delta = 0;
    int group = x.H / x.G;
    for (int g = blockIdx.y * groups; g < x.G && g < (int)(blockIdx.y + 1) * groups; g++) {
        gpu_piece<WIDE> key, value, dkey, dvalue;
        if (x.sees_anchor) {
            anchor_key(key, x, g, p);
            if (BACKWARD) gpu_load_piece(value, x.v, 0, g, p, true);
        }
#pragma unroll
        for (int i = 0; i < gpu_piece<WIDE>::N; i++) dkey.low[i] = dkey.high[i] = dvalue.low[i] = dvalue.high[i] = 0;
        for (int h = g * group; h < (g + 1) * group; h++) {
            gpu_piece<WIDE> query, gradient, low;
            float logit2 = 0, delta = 0, lse2 = 0;
            int64_t at = (int64_t)h * x.rows + row;
            gpu_load_piece(query, x.q, row, h, p, there);
            if (BACKWARD) {
                gpu_load_piece(gradient, x.dout, row, h, p, there);
                gpu_load_piece(low, x.o, row, h, p, there);
                float lse = there ? x.lse[at] : 0;
                lse2 = lse == -INFINITY ? INFINITY : KD_LOG2_E * lse;
                delta = gpu_row_dot(gradient, low, p.lanes);
            }
            gpu_turn_rung(query, angle, x.bf16_products);
            bool all_fit = true;
            gpu_keep_piece(query, low, x.storage, &all_fit);
            if (anchor && !x.anchor_kept) all_fit = true;
            fits = fits && all_fit;
            if (x.plain) gpu_add_piece(query, low);
            gpu_store_piece(q, row, h, query, p, there);
            gpu_store_padding(q, row, h, x.E, x.Ep, p, there);
            if (x.q_low) {
                gpu_store_piece(q_low, row, h, low, p, there);
                gpu_store_padding(q_low, row, h, x.E, x.Ep, p, there);
            }
            if (x.sees_anchor) {
                if (x.anchor_kept) {
                    if (!x.plain) gpu_add_piece(query, low);
                } else {
                    gpu_load_piece(query, x.q, row, h, p, there);
                    gpu_turn(query, distance, false);
                }
                logit2 = x.scale * KD_LOG2_E * gpu_row_dot(query, key, p.lanes);
                if (there && p.lane == 0) x.anchor_logit2[at] = logit2;
            }
            if (!BACKWARD) continue;
            gpu_store_piece(dout, row, h, gradient, p, there);
            gpu_store_padding(dout, row, h, x.E, x.Ep, p, there);
            most_dout = fmaxf(most_dout, gpu_row_dot(gradient, gradient, p.lanes));
            most_delta = fmaxf(most_delta, fabsf(delta));
            if (there && p.lane == 0) {
                x.lse2[at] = lse2;
                x.delta[at] = delta;
            }
            if (!x.sees_anchor) continue;
            float probability = exp2f(logit2 - lse2), ds = probability * (gpu_row_dot(gradient, value, p.lanes) - delta);
            if (anchor) probability = 1, ds = 0;  /* it sees itself alone */
            if (!there) probability = ds = 0;
            if (there && p.lane == 0) x.anchor_ds[at] = ds;
            gpu_add_scaled(dkey, query, ds);
            gpu_add_scaled(dvalue, gradient, probability);
        }
        if (BACKWARD && x.sees_anchor) {
            add_rows(x, dkey, g, 0, p, sum);
            add_rows(x, dvalue, g, 1, p, sum);
        }
    }
    if (BACKWARD && x.most) {
        gpu_note_most(x.most, most_dout);
        gpu_note_most(x.most + 2, most_delta);
    }
    if (x.unfit && !x.if_unfit && !fits) *x.unfit = 1;
}

/* ---- sums ---------------------------------------------------------------------------------------------------------------------- */

enum { STRIPS = 4 };

/* One block to a key/value head and `which`: strips of parts, then the strips, each in ascending order. */
__global__ void __launch_bounds__(STRIPS * KD_HEAD_MOST) sum_parts(const kd_gpu_call x, int64_t parts)
{
    __shared__ double strip[STRIPS][KD_HEAD_MOST];
    int64_t at = (int64_t)blockIdx.x * x.E + threadIdx.x, each = (parts + STRIPS - 1) / STRIPS, from = threadIdx.y * each;
    int64_t to = from + each < parts ? from + each : parts, stride = (int64_t)2 * x.G * x.E;
    double sum = 0;
    if ((int)threadIdx.x < x.E) {
#pragma unroll 8
        for (int64_t i = from; i < to; i++) sum += x.parts[i * stride + at];
        strip[threadIdx.y][threadIdx.x] = sum;
    }
    __syncthreads();
    if (threadIdx.y > 0 || (int)threadIdx.x >= x.E) return;
    for (int i = 1; i < STRIPS; i++) sum += strip[i][threadIdx.x];
    x.sums[at] = (float)sum;
}

/* What float16's dS is multiplied by: |dS| <= |dout| |v| + |delta|, which then is between 2^14 and 2^15, half of what float16 holds or
 * less. A power of two, so that nothing is rounded. Where a bound is 0, infinite or not a number, there is nothing to save. */
__global__ void choose_sigma(const kd_gpu_call x)
{
    float dout = __int_as_float(x.most[0]), value = __int_as_float(x.most[1]), delta = __int_as_float(x.most[2]), sigma = 1;
    float most = sqrtf(dout) * sqrtf(value) + delta;
    bool unfit = x.unfit && *x.unfit;
    if (x.storage == KD_STORE_F16 && !x.plain && !unfit && most > 0 && most <= 3.4028234664e38f) {
        int power = 14 - ((__float_as_int(most) >> 23 & 0xff) - 127);
        power = power > 100 ? 100 : power < -100 ? -100 : power;
        sigma = __int_as_float((power + 127) << 23);
    }
    x.sigma[0] = sigma;
    x.sigma[1] = 1 / sigma;
}

/* ---- on the host ----------------------------------------------------------------------------------------------------------------- */

static dim3 grid_of(const kd_gpu_call *x, int64_t rows, bool wide, int *groups)
{
    int64_t at_once = GPU_ROW_THREADS / gpu_row_lanes(x->E, wide), group = x->H / x->G;
    *groups = group >= HEADS_AT_ONCE ? 1 : (int)(HEADS_AT_ONCE / group);
    return dim3((unsigned)((rows + at_once - 1) / at_once), (unsigned)((x->G + *groups - 1) / *groups));
}

static bool wide_keys(const kd_gpu_call *x) { return x->E % 16 == 0 && gpu_view_is_wide(&x->k) && gpu_view_is_wide(&x->v); }

static bool wide_queries(const kd_gpu_call *x, bool backward)
{
    return x->E % 16 == 0 && gpu_view_is_wide(&x->q) && (!x->sees_anchor || wide_keys(x)) &&
           (!backward || (gpu_view_is_wide(&x->o) && gpu_view_is_wide(&x->dout)));
}

/* There is room for what either width makes. */
int64_t kd_attn_parts(int64_t rows, int64_t E)
{
    int64_t wide = GPU_ROW_THREADS / gpu_row_lanes((int)E, true), narrow = GPU_ROW_THREADS / gpu_row_lanes((int)E, false);
    int64_t least = wide < narrow ? wide : narrow;
    return (rows + least - 1) / least;
}

kd_status kd_attn_pack_keys(const kd_gpu_call *x)
{
    int groups;
    bool wide = wide_keys(x);
    dim3 grid = grid_of(x, x->keys, wide, &groups);
    if (wide) KD_LAUNCH(pack_keys<true>, grid, dim3(GPU_ROW_THREADS), 0, x->stream, *x, groups);
    else KD_LAUNCH(pack_keys<false>, grid, dim3(GPU_ROW_THREADS), 0, x->stream, *x, groups);
    return kd_cuda_launched("attention's keys");
}

kd_status kd_attn_pack_queries(const kd_gpu_call *x, bool backward)
{
    int groups;
    bool wide = wide_queries(x, backward);
    dim3 grid = grid_of(x, x->rows, wide, &groups), block(GPU_ROW_THREADS);
    if (wide && backward) KD_LAUNCH((pack_queries<true, true>), grid, block, 0, x->stream, *x, groups);
    else if (wide) KD_LAUNCH((pack_queries<true, false>), grid, block, 0, x->stream, *x, groups);
    else if (backward) KD_LAUNCH((pack_queries<false, true>), grid, block, 0, x->stream, *x, groups);
    else KD_LAUNCH((pack_queries<false, false>), grid, block, 0, x->stream, *x, groups);
    return kd_cuda_launched("attention's queries");
}

kd_status kd_attn_sum_parts(const kd_gpu_call *x)
{
    int groups;
    int64_t parts = grid_of(x, x->rows, wide_queries(x, true), &groups).x;
    if (x->sees_anchor) KD_LAUNCH(sum_parts, dim3((unsigned)(2 * x->G)), dim3(KD_HEAD_MOST, STRIPS), 0, x->stream, *x, parts);
    KD_TRY(kd_cuda_launched("the anchor's sums"));
    if (x->most) KD_LAUNCH(choose_sigma, dim3(1), dim3(1), 0, x->stream, *x);
    return kd_cuda_launched("attention's scale");
}

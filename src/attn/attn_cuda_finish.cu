/* What attention's kernels made, as the caller wants it: gradients of turned queries and keys times scale, turned back, with the anchor's
 * share, in the types and places of the caller's views. */
#include "attn_cuda_rows.cuh"

enum { HEADS_AT_ONCE = 8 };

/* `heads` of this block, from blockIdx.y on. The anchor's key gives a row's gradient one product more, which is turned back with the others
 * where the key was kept like others, and by the row's distance from it where it was not. */
template <bool WIDE> __global__ void __launch_bounds__(GPU_ROW_THREADS) unpack_dq(const kd_gpu_call x, int heads)
{
    gpu_row_place p = gpu_row_here<WIDE>(x.E);
    int64_t row = (int64_t)blockIdx.x * p.rows + p.row;
    bool there = row < x.rows, anchor = there && row == 0 && x.anchor_row;
    int64_t token = x.first_row + (there ? row : 0);
    float factor = x.scale * x.sigma[1];
    kd_view packed = gpu_packed(x.packed_dq, true, false, x.rows, x.Ep);
    gpu_angle<WIDE> angle, distance, of_anchor;
    gpu_angle_at(angle, x, x.angles, anchor ? 0 : x.rotation[token], p);
    if (x.sees_anchor && x.anchor_kept) gpu_angle_at(of_anchor, x, x.angles, x.origin, p);
    else if (x.sees_anchor) gpu_angle_at(distance, x, KD_ANGLES_DOUBLE, x.position[token] - x.origin, p);
    for (int h = blockIdx.y * heads; h < x.H && h < (int)(blockIdx.y + 1) * heads; h++) {
        gpu_piece<WIDE> gradient, key, low;
        gpu_load_piece(gradient, packed, row, h, p, there && !anchor);  /* no tile has the anchor's row: its gradient is 0 */
        gpu_scale_piece(gradient, factor);
        if (x.sees_anchor) {
            float ds = there ? x.scale * x.anchor_ds[(int64_t)h * x.rows + row] : 0;
            gpu_load_piece(key, x.k, 0, h / (x.H / x.G), p, !anchor);
            if (x.anchor_kept) {
                bool fits = true;
                bool refused = x.unfit && *x.unfit;
                gpu_turn_rung(key, of_anchor, x.bf16_products);
                gpu_keep_piece(key, low, refused ? KD_STORE_BF16 : x.storage, &fits);
                gpu_add_piece(key, low);
                gpu_add_scaled(gradient, key, ds);
                gpu_turn(gradient, angle, true);
            } else {
                gpu_turn(gradient, angle, true);
                gpu_turn(key, distance, true);
                gpu_add_scaled(gradient, key, ds);
            }
        } else {
            gpu_turn(gradient, angle, true);
        }
        gpu_store_piece(x.dq, row, h, gradient, p, there);
    }
}

/* [G][2][E] sums as a view, whose rows are the two. */
GPU kd_view sums_of(const kd_gpu_call &x)
{
    kd_view sums = gpu_packed(x.sums, true, false, 2, x.E);
    return sums;
}

template <bool WIDE> __global__ void __launch_bounds__(GPU_ROW_THREADS) unpack_dkv(const kd_gpu_call x, int groups)
{
    gpu_row_place p = gpu_row_here<WIDE>(x.E);
    int64_t row = (int64_t)blockIdx.x * p.rows + p.row;
    bool there = row < x.keys, anchor = there && row == 0 && x.sees_anchor;
    int64_t token = x.first_key + (there ? row : 0);
    float factor = anchor ? x.scale : x.scale * x.sigma[1];
    kd_view dk = gpu_packed(x.packed_dk, true, false, x.keys, x.Ep), dv = gpu_packed(x.packed_dv, true, false, x.keys, x.Ep);
    gpu_angle<WIDE> angle;
    gpu_angle_at(angle, x, x.angles, anchor && !x.anchor_kept ? 0 : x.rotation[token], p);
    for (int g = blockIdx.y * groups; g < x.G && g < (int)(blockIdx.y + 1) * groups; g++) {
        gpu_piece<WIDE> piece;
        gpu_load_piece(piece, anchor ? sums_of(x) : dk, anchor ? 0 : row, g, p, there);
        gpu_scale_piece(piece, factor);
        gpu_turn(piece, angle, true);
        gpu_store_piece(x.dk, row, g, piece, p, there);
        gpu_load_piece(piece, anchor ? sums_of(x) : dv, anchor ? 1 : row, g, p, there);
        gpu_store_piece(x.dv, row, g, piece, p, there);
    }
}

static dim3 grid_of(int64_t rows, int64_t E, int64_t heads, int at_once, bool wide)
{
    int64_t of_block = GPU_ROW_THREADS / gpu_row_lanes((int)E, wide);
    return dim3((unsigned)((rows + of_block - 1) / of_block), (unsigned)((heads + at_once - 1) / at_once));
}

kd_status kd_attn_unpack_dq(const kd_gpu_call *x)
{
    bool wide = x->E % 16 == 0 && gpu_view_is_wide(&x->dq) && (!x->sees_anchor || gpu_view_is_wide(&x->k));
    dim3 grid = grid_of(x->rows, x->E, x->H, HEADS_AT_ONCE, wide);
    if (wide) KD_LAUNCH(unpack_dq<true>, grid, dim3(GPU_ROW_THREADS), 0, x->stream, *x, (int)HEADS_AT_ONCE);
    else KD_LAUNCH(unpack_dq<false>, grid, dim3(GPU_ROW_THREADS), 0, x->stream, *x, (int)HEADS_AT_ONCE);
    return kd_cuda_launched("attention's dq");
}

kd_status kd_attn_unpack_dkv(const kd_gpu_call *x)
{
    bool wide = x->E % 16 == 0 && gpu_view_is_wide(&x->dk) && gpu_view_is_wide(&x->dv);
    dim3 grid = grid_of(x->keys, x->E, x->G, HEADS_AT_ONCE, wide);
    if (wide) KD_LAUNCH(unpack_dkv<true>, grid, dim3(GPU_ROW_THREADS), 0, x->stream, *x, (int)HEADS_AT_ONCE);
    else KD_LAUNCH(unpack_dkv<false>, grid, dim3(GPU_ROW_THREADS), 0, x->stream, *x, (int)HEADS_AT_ONCE);
    return kd_cuda_launched("attention's dk and dv");
}

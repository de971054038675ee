/* What CUDA kernels read of a window, on the device: positions of its tokens and its tiles, put there once for all layers. */
#ifndef KD_ATTN_WINDOWS_H
#define KD_ATTN_WINDOWS_H

#include "attn_cuda_tiles.h"
#include "dev/cuda.h"

typedef struct kd_gpu_window kd_gpu_window;

/* A list of tiles of a window, on the device. */
typedef struct kd_gpu_list {
    const kd_gpu_tile *tile;
    int64_t tiles, turns;
} kd_gpu_list;

/* The window of a's plan, rows, keys and frame, by their contents: one that was seen lately, or it is put on the device now. Borrowed until
 * the next call. */
kd_status kd_gpu_window_of(kd_gpu_window **out, kd_ctx *ctx, const kd_attn *a);

/* [T] on the device: what each token is turned by among its document's, and its position in the window. */
const int32_t *kd_gpu_window_rotation(const kd_gpu_window *window);
const int32_t *kd_gpu_window_position(const kd_gpu_window *window);

/* Its forward or backward tiles of this shape. */
kd_status kd_gpu_window_list(kd_gpu_list *out, kd_ctx *ctx, kd_gpu_window *window, const kd_attn *a, bool backward, kd_gpu_shape shape);

/* On the device: batches of heads so far that were done again because a number was beyond float16. After kd_gpu_window_of. */
int32_t *kd_gpu_windows_fallbacks(const kd_ctx *ctx);

#endif

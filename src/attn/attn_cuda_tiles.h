/* How a window is cut into tiles for CUDA kernels. Host code, which every build has: a plan's tables can be tested anywhere. */
#ifndef KD_ATTN_CUDA_TILES_H
#define KD_ATTN_CUDA_TILES_H

#include "attn.h"

/* Tiles of a document, counted from its first row or key; a tile spans one document. Built on the host (attn_cuda_tiles.c), longest
 * first. Work item w of tiles * H (forward) or tiles * G (backward) is tile w / H for head w % H: heads that share keys stand together. */
typedef struct kd_gpu_tile {
    int32_t first, count;     /* forward: rows; backward: keys */
    int32_t other, others;    /* forward: keys that any of the rows sees, 0: none; backward: rows from the block of rows (counted from the
                                 document's first) in which the first row that sees a key lies */
    int32_t turn;             /* backward: the place in kd_gpu_attn.turn of the block of rows that `other` begins; one more each block */
    int32_t order;            /* backward: how many key tiles of the document come before: the turn at which this one adds to dq */
} kd_gpu_tile;

/* Rows of a forward tile, keys of a backward tile, rows of a block inside it: the kernel's, by head size. */
typedef struct kd_gpu_shape { int32_t rows, keys, block; } kd_gpu_shape;

/* Tiles of a plan; tile NULL: only counts. turns: blocks of rows in all documents together (backward). A row outside all documents (the
 * shared anchor) is a forward tile of its own without keys. */
int64_t kd_gpu_forward_tiles(kd_gpu_tile *tile, const kd_attn *a, kd_gpu_shape shape);
int64_t kd_gpu_backward_tiles(kd_gpu_tile *tile, int64_t *turns, const kd_attn *a, kd_gpu_shape shape);

#endif

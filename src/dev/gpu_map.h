/* A map of a tensor in a device's global memory, by which Hopper's copy engine finds boxes of it (gpu_sm90.cuh: gpu_tma_...). Made on the
 * host, passed to kernels by value as `const __grid_constant__ gpu_map`. */
#ifndef KD_GPU_MAP_H
#define KD_GPU_MAP_H

#include "base/error.h"

/* The driver's CUtensorMap, which is opaque. */
typedef struct gpu_map { uint64_t word[16]; } __attribute__((aligned(64))) gpu_map;

typedef enum gpu_map_type { GPU_MAP_16, GPU_MAP_F32 } gpu_map_type;  /* 16-bit numbers of any kind; float32, which can be added to */

/* How a box lies in shared memory: rows of the innermost dimension one behind the other. With a swizzle of 64 or 128 bytes such a row is at
 * most that long, and its 16-byte pieces are permuted by address bits: bits 4-5 are XORed with bits 7-8 (64), bits 4-6 with 7-9 (128).
 * The box then begins at a multiple of 512 or 1024 bytes. */
typedef enum gpu_map_swizzle { GPU_MAP_PLAIN, GPU_MAP_64B, GPU_MAP_128B } gpu_map_swizzle;

/* dims and box: numbers, innermost first, `rank` (1..5) of them; strides: bytes of dims 1..rank-1, multiples of 16; a box has at most 256
 * in each dimension and whole pieces of 16 bytes. What lies out of bounds is loaded as 0 and not stored. Source: CUDA driver API,
 * cuTensorMapEncodeTiled. KD_EARG if the driver refuses these, KD_ENOTSUP if it has no such maps. */
kd_status gpu_map_init(gpu_map *map, gpu_map_type type, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                       const uint32_t *box, gpu_map_swizzle swizzle);

#endif

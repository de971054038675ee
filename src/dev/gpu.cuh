/* The GPU vocabulary: what kernels say that CUDA C++ has no word for, in thin functions over PTX. Kernels are written in it and in
 * plain CUDA alone, without further libraries, so that the same sources also run on the host (tests/simt), thread by thread, where
 * there is no GPU. Source of every instruction's meaning: NVIDIA, PTX ISA 9.0; its section is named beside it.
 *
 * 16-bit numbers are uint16_t, two of them uint32_t, the first in the lower half. */
#ifndef KD_GPU_CUH
#define KD_GPU_CUH

#include <stdint.h>

#if defined(KD_SIMT)
#include "simt.h"
#else
/* (bodies) */
#endif

/* ==== what both sides give =========================================================================================

// launches: kernel<<<grid, block, shared, stream>>>(...); usable on the host side of a .cu as an expression statement
KD_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)
KD_SHARED(type, name)                      // extern __shared__ __align__(1024) memory of the launch, as type *name

// numbers
float    gpu_widen_bf16(uint16_t), gpu_widen_f16(uint16_t);
uint16_t gpu_bf16(float), gpu_f16(float);                 // round to nearest even
uint32_t gpu_pair_bf16(float first, float second), gpu_pair_f16(float first, float second);
float    gpu_exp2(float);                                 // ex2.approx.ftz.f32
// tensor cores of one warp, m16n8k16: d += a b (D,C f32 fragments as in the PTX tables)
void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]);
void gpu_mma_f16 (float d[4], const uint32_t a[4], const uint32_t b[2]);
void gpu_load_matrix4(uint32_t d[4], const void *row);            // ldmatrix.x4: lane l gives the address of row l%8 of matrix l/8
void gpu_load_matrix4_t(uint32_t d[4], const void *row);          // .trans
void gpu_store_matrix4(void *row, const uint32_t d[4]);           // stmatrix.x4 (sm_90)
void gpu_store_matrix4_t(void *row, const uint32_t d[4]);
// asynchronous copies of 16 bytes, global -> shared; zeros where !there
void gpu_copy16(void *shared, const void *global, bool there);
void gpu_copy_commit(void);
template <int N> void gpu_copy_wait(void);                        // at most N groups under way
// warps and blocks: use __shfl_sync, __shfl_xor_sync, __syncwarp, __syncthreads, atomicAdd, atomicMax, __threadfence of CUDA
void gpu_barrier_sync(int id, int threads);                       // bar.sync, named barrier
void gpu_barrier_arrive(int id, int threads);                     // bar.arrive
void gpu_wait_turn(const int32_t *turn, int32_t value);           // one thread: until *turn == value, acquire, device scope
void gpu_pass_turn(int32_t *turn, int32_t value);                 // release store, device scope

// ---- Hopper (sm_90a) ----
// mbarriers in shared memory
void gpu_mbar_init(uint64_t *bar, int arrivals);
void gpu_mbar_fence_init(void);                                   // fence.mbarrier_init
void gpu_mbar_expect(uint64_t *bar, int bytes);                   // arrive.expect_tx
void gpu_mbar_arrive(uint64_t *bar);
void gpu_mbar_wait(uint64_t *bar, int parity);                    // try_wait.parity loop
// the copy engine. gpu_map is CUtensorMap, passed to kernels as const __grid_constant__ gpu_map
void gpu_tma_load3(void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z);   // and load2, load4
void gpu_tma_store3(const gpu_map *map, const void *shared, int x, int y, int z);           // and store2
void gpu_tma_add3(const gpu_map *map, const void *shared, int x, int y, int z);             // reduce.add, f32
void gpu_bulk_add_f32(float *global, const float *shared, int bytes);   // cp.reduce.async.bulk ... .add.f32
void gpu_bulk_store(void *global, const void *shared, int bytes);
void gpu_bulk_commit(void);
template <int N> void gpu_bulk_wait(void);                        // all but N groups done, writes visible
template <int N> void gpu_bulk_wait_read(void);                   // all but N groups have read shared memory
void gpu_fence_async(void);                                       // fence.proxy.async.shared::cta
// tensor cores of a warpgroup. Descriptors: gpu_tile_128b(address, lbo, sbo) with the 128-byte swizzle, offsets in bytes
uint64_t gpu_tile_128b(const void *shared, int lead_bytes, int stride_bytes);
uint64_t gpu_tile_64b(const void *shared, int lead_bytes, int stride_bytes);
void gpu_wgmma_fence(void), gpu_wgmma_commit(void);
template <int N> void gpu_wgmma_wait(void);
template <int n> void gpu_keep(float (&d)[n]);                    // compiler barrier over the accumulators ("+f" each)
// m64 n N k16, f32 accumulators d[N/2]; F16: float16 operands, else bf16; TA, TB: operand stored transposed (MN-major); !accumulate: d = a b
template <int N, bool F16, bool TA, bool TB> void gpu_wgmma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate);
template <int N, bool F16, bool TB> void gpu_wgmma_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate);
template <int N> void gpu_registers_more(void);                   // setmaxnreg.inc
template <int N> void gpu_registers_fewer(void);                  // setmaxnreg.dec
bool gpu_one_of_warp(void);                                       // elect.sync: true in one lane

// host side: a map of a tensor of 16-bit or 32-bit numbers; dims and box innermost first, strides in bytes of dims 1..rank-1
kd_status gpu_map_init(gpu_map *map, gpu_map_type type, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                       const uint32_t *box, gpu_map_swizzle swizzle);     // zeros out of bounds
==================================================================================================================== */

#endif

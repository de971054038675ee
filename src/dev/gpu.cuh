/* The GPU vocabulary: what kernels say that CUDA C++ has no word for, in thin functions over PTX. Kernels are written in it and in
 * plain CUDA alone, without further libraries, so that the same sources also run on the host (tests/simt), thread by thread, where
 * there is no GPU. Source of every instruction's meaning: NVIDIA, PTX ISA 9.0; the instruction is named beside it.
 *
 * 16-bit numbers are uint16_t, two of them uint32_t, the first in the lower half. Here is what compute capability 8.0 has; gpu_sm90.cuh,
 * included at the end, adds what 9.0a has, to be called in *_sm90*.cu alone. The host's half, for maps of tensors: gpu_map.h. */
#ifndef KD_GPU_CUH
#define KD_GPU_CUH

#include <stdint.h>

extern "C" {
#include "gpu_map.h"
}

#if defined(KD_SIMT)
#include <simt.h>
#else

/* Launches: an expression statement of the host. A template's instance with a comma in its name is put in parentheses. */
#define KD_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__)
/* The launch's shared memory as `type *name`, aligned for every swizzle. */
#define KD_SHARED(type, name)                                     \
    extern __shared__ __align__(1024) unsigned char gpu_shared[]; \
    type *name = reinterpret_cast<type *>(gpu_shared)

#define GPU __device__ __forceinline__

GPU uint32_t gpu_shared_address(const void *shared) { return (uint32_t)__cvta_generic_to_shared(shared); }

/* ---- numbers -------------------------------------------------------------------------------------------------------------- */
GPU float gpu_widen_bf16(uint16_t x) { return __uint_as_float((uint32_t)x << 16); }
GPU float gpu_widen_f16(uint16_t x) {
    float out;
    asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x));
    return out;
}

/* To nearest, ties to even. */
GPU uint16_t gpu_bf16(float x) {
    uint16_t out;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(x));
    return out;
}
GPU uint16_t gpu_f16(float x) {
    uint16_t out;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(x));
    return out;
}
GPU uint32_t gpu_pair_bf16(float first, float second)  /* cvt's first source goes to the upper half */
{
    uint32_t out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(second), "f"(first));
    return out;
}
GPU uint32_t gpu_pair_f16(float first, float second) {
    uint32_t out;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(second), "f"(first));
    return out;
}

/* 2^x with an error of 2 units in the last place; subnormal results are 0; -infinity gives 0. */
GPU float gpu_exp2(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

/* ---- tensor cores of one warp: mma.sync.m16n8k16, d [16,8] += a [16,16] b [16,8] -------------------------------------------
 * Lane l, with r = l / 4 and c = 2 (l % 4), holds
 *   d[0..3]  (r, c), (r, c+1), (r+8, c), (r+8, c+1)
 *   a[0..3]  pairs of columns from c: row r, row r+8; then columns from c+8: row r, row r+8
 *   b[0..1]  pairs of rows from c, then from c+8, of column r */
GPU void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
GPU void gpu_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* ldmatrix.x4: four matrices of 8x8 16-bit numbers. Lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned so), and
 * gets in d[i] of matrix i the pair of columns from 2 (l % 4) of row l / 4; of the transposed matrix in _t. */
GPU void gpu_load_matrix4(uint32_t d[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(gpu_shared_address(row)) : "memory");
}
GPU void gpu_load_matrix4_t(uint32_t d[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(gpu_shared_address(row)) : "memory");
}

/* ---- asynchronous copies ---------------------------------------------------------------------------------------------------- */
/* cp.async: 16 bytes, both addresses aligned so; zeros where !there, and nothing is read. A thread waits for its own copies; others see
 * them after a barrier behind the wait. */
GPU void gpu_copy16(void *shared, const void *global, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(gpu_shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(there ? 16 : 0) : "memory");
}
GPU void gpu_copy_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* Until at most the N youngest groups are under way. */
template <int N> GPU void gpu_copy_wait(void) { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }

/* ---- between warps and blocks ----------------------------------------------------------------------------------------------- */
/* Named barriers 1..15 (0 is __syncthreads): complete when `threads` threads, whole warps, have come by either; arrive does not wait. */
GPU void gpu_barrier_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory"); }
GPU void gpu_barrier_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory"); }

/* Turns between blocks, by one thread of each: waits until *turn is value, and has seen what the thread that passed it had seen
 * (ld.acquire, st.release at the device's scope). The other threads of a block join by a barrier. A block may wait only for one that
 * is running or done: work is taken by an atomic counter, in the order of turns. */
GPU void gpu_wait_turn(const int32_t *turn, int32_t value) {
    int32_t now;
    do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(__cvta_generic_to_global(turn)) : "memory");
    while (now != value);
}
GPU void gpu_pass_turn(int32_t *turn, int32_t value) {
    asm volatile("st.release.gpu.global.s32 [%0], %1;" :: "l"(__cvta_generic_to_global(turn)), "r"(value) : "memory");
}

#include "gpu_sm90.cuh"

#endif
#endif

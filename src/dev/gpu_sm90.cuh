/* The GPU vocabulary, continued: compute capability 9.0a (Hopper). Barriers with transactions, the copy engine, tensor cores of a
 * warpgroup. Included by gpu.cuh; to be called in *_sm90*.cu, which are compiled for 9.0a alone, as no other has these instructions.
 *
 * Two views ("proxies") of shared memory: threads' own loads and stores, and the asynchronous one of the copy engine and of wgmma.
 * What threads wrote is seen by the latter after gpu_fence_async by the writers and a barrier behind it; what the copy engine wrote is
 * seen by threads that waited for its mbarrier, and by wgmma that such threads issue. */
#ifndef KD_GPU_SM90_CUH
#define KD_GPU_SM90_CUH

/* ---- mbarriers: 8 bytes in shared memory, aligned so ------------------------------------------------------------------------
 * A phase is complete when `arrivals` have arrived and as many bytes have come as were expected in it; the next one then begins by itself.
 * wait(parity) returns when the phase of this parity is complete: phases count from 0, so the first wait is for parity 0, and
 * wait(1) on a fresh barrier returns at once (the phase "before"). */
GPU void gpu_mbar_init(uint64_t *bar, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(gpu_shared_address(bar)), "r"(arrivals) : "memory");
}
/* By the thread that initialized, before the block's barrier: the copy engine sees the initialization too. */
GPU void gpu_mbar_fence_init(void) { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
/* Arrives, and expects so many bytes more in this phase. */
GPU void gpu_mbar_expect(uint64_t *bar, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(gpu_shared_address(bar)), "r"(bytes) : "memory");
}
GPU void gpu_mbar_arrive(uint64_t *bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(gpu_shared_address(bar)) : "memory");
}
GPU void gpu_mbar_wait(uint64_t *bar, int parity) {
    uint32_t complete;
    do
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}"
                     : "=r"(complete) : "r"(gpu_shared_address(bar)), "r"(parity) : "memory");
    while (!complete);
}

/* ---- the copy engine: one thread asks for a whole box -----------------------------------------------------------------------
 * x, y, z: where the box begins, in numbers, innermost first; may be out of bounds, also negative. The map is a kernel parameter
 * `const __grid_constant__ gpu_map`. Shared addresses are multiples of 128 bytes (of the swizzle's period, 512 or 1024, with a swizzle).
 * A load counts the bytes of the whole box on `bar`, out of bounds or not. */
GPU void gpu_tma_load2(void *shared, const gpu_map *map, uint64_t *bar, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 :: "r"(gpu_shared_address(shared)), "l"(map), "r"(gpu_shared_address(bar)), "r"(x), "r"(y) : "memory");
}
GPU void gpu_tma_load3(void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                 :: "r"(gpu_shared_address(shared)), "l"(map), "r"(gpu_shared_address(bar)), "r"(x), "r"(y), "r"(z) : "memory");
}
GPU void gpu_tma_load4(void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
                 :: "r"(gpu_shared_address(shared)), "l"(map), "r"(gpu_shared_address(bar)), "r"(x), "r"(y), "r"(z), "r"(w) : "memory");
}

/* From shared memory, in the thread's current bulk group: gpu_fence_async and a barrier before, commit and wait behind. add: float32
 * added in global memory, number by number, in no order. */
GPU void gpu_tma_store2(const gpu_map *map, const void *shared, int x, int y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];"
                 :: "l"(map), "r"(gpu_shared_address(shared)), "r"(x), "r"(y) : "memory");
}
GPU void gpu_tma_store3(const gpu_map *map, const void *shared, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];"
                 :: "l"(map), "r"(gpu_shared_address(shared)), "r"(x), "r"(y), "r"(z) : "memory");
}
GPU void gpu_tma_add3(const gpu_map *map, const void *shared, int x, int y, int z) {
    asm volatile("cp.reduce.async.bulk.tensor.3d.global.shared::cta.add.tile.bulk_group [%0, {%2, %3, %4}], [%1];"
                 :: "l"(map), "r"(gpu_shared_address(shared)), "r"(x), "r"(y), "r"(z) : "memory");
}

/* The same without a map: `bytes` in one piece; bytes and both addresses multiples of 16. */
GPU void gpu_bulk_add_f32(float *global, const float *shared, int bytes) {
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;"
                 :: "l"(__cvta_generic_to_global(global)), "r"(gpu_shared_address(shared)), "r"(bytes) : "memory");
}
GPU void gpu_bulk_store(void *global, const void *shared, int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;"
                 :: "l"(__cvta_generic_to_global(global)), "r"(gpu_shared_address(shared)), "r"(bytes) : "memory");
}
GPU void gpu_bulk_commit(void) { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
/* Until all but the N youngest groups of this thread are done and their writes visible to it; _read: until they have read shared memory. */
template <int N> GPU void gpu_bulk_wait(void) { asm volatile("cp.async.bulk.wait_group %0;" :: "n"(N) : "memory"); }
template <int N> GPU void gpu_bulk_wait_read(void) { asm volatile("cp.async.bulk.wait_group.read %0;" :: "n"(N) : "memory"); }
GPU void gpu_fence_async(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* The same between what a thread has seen or passed on in global memory (turns) and bulk copies there, its own before or behind. */
GPU void gpu_fence_async_global(void) { asm volatile("fence.proxy.async.global;" ::: "memory"); }

/* ---- the warp: stmatrix, the counterparts of ldmatrix in gpu.cuh ------------------------------------------------------------ */
GPU void gpu_store_matrix4(void *row, const uint32_t d[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
                 :: "r"(gpu_shared_address(row)), "r"(d[0]), "r"(d[1]), "r"(d[2]), "r"(d[3]) : "memory");
}
GPU void gpu_store_matrix4_t(void *row, const uint32_t d[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};"
                 :: "r"(gpu_shared_address(row)), "r"(d[0]), "r"(d[1]), "r"(d[2]), "r"(d[3]) : "memory");
}
/* True in one lane of the warp, all of which call. */
GPU bool gpu_one_of_warp(void) {
    uint32_t one;
    asm volatile("{\n"
                 ".reg .pred p;\n"
                 "elect.sync _|p, 0xffffffff;\n"
                 "selp.u32 %0, 1, 0, p;\n"
                 "}"
                 : "=r"(one));
    return one != 0;
}
/* All warps of a warpgroup call: registers of a thread from here on, a multiple of 8 in 24..256. The kernel has
 * __launch_bounds__(threads, 1), so that its count at the start is known. */
template <int N> GPU void gpu_registers_more(void) { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N)); }
template <int N> GPU void gpu_registers_fewer(void) { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N)); }

/* ---- tensor cores of a warpgroup: wgmma.m64nNk16, d [64,N] (+)= a [64,16] b [16,N] ------------------------------------------
 * Four warps call together, warps 4g..4g+3 of the block. Warp w (of four) has rows 16 w..16 w + 15: lane l, with r = l / 4 and
 * c = 2 (l % 4), holds
 *   d[4 j + 0..3]  (16 w + r, 8 j + c), the next column, then the same of row 16 w + r + 8: mma's fragments side by side
 *   a[0..3]        from registers: mma's fragment of the warp's 16 rows
 *
 * In shared memory an operand is K-major (one row for each of M or N, in which numbers along K lie together: TA, TB false) or MN-major
 * (one row for each k, in which numbers along M or N lie together: TA, TB true). A descriptor says where, for 128-byte swizzle:
 *   K-major   rows of 128 bytes hold 64 numbers along K, that is 4 steps of 16. stride: from 8 rows to the next 8, 1024 where rows are
 *             dense. lead: unused. The next step along K: the same tile from shared + 32 bytes; after 4 steps the next block of 64.
 *   MN-major  rows of 128 bytes hold 64 numbers along M or N. lead: from these 64 to the next 64, that is the bytes of a whole box of 64
 *             by all k, as the copy engine leaves them one behind the other; unused where there are at most 64 (of A there are 64).
 *             stride: from 8 k to the next 8, 1024 where rows are dense. The next step along K: shared + 2048 bytes, 16 rows further.
 * Blocks begin at multiples of 1024 bytes, so that the swizzle's period is the address's: only then may steps be added to the address.
 * 64-byte swizzle: the same with rows of 64 bytes, 32 numbers: two steps of 16 along K, a dense stride of 512, MN-major steps of 1024.
 * Source: PTX ISA, "Asynchronous warpgroup level matrix shared memory layout" (descriptor: address, lead and stride in units of 16
 * bytes at bits 0, 16 and 32; swizzle at bit 62, 1: 128 bytes, 2: 64 bytes). */
GPU uint64_t gpu_tile_128b(const void *shared, int lead_bytes, int stride_bytes) {
    return (uint64_t)1 << 62 | (uint64_t)((stride_bytes >> 4) & 0x3fff) << 32 | (uint64_t)((lead_bytes >> 4) & 0x3fff) << 16 |
           (uint64_t)((gpu_shared_address(shared) >> 4) & 0x3fff);
}
GPU uint64_t gpu_tile_64b(const void *shared, int lead_bytes, int stride_bytes) {
    return (uint64_t)2 << 62 | (uint64_t)((stride_bytes >> 4) & 0x3fff) << 32 | (uint64_t)((lead_bytes >> 4) & 0x3fff) << 16 |
           (uint64_t)((gpu_shared_address(shared) >> 4) & 0x3fff);
}

/* fence: before the first wgmma of a thread, and whenever registers of d or a were touched by other instructions since. commit: what was
 * issued is a group. wait: until all but the N youngest groups are done; registers of d and a, and shared operands, are free only then. */
GPU void gpu_wgmma_fence(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
GPU void gpu_wgmma_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> GPU void gpu_wgmma_wait(void) { asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory"); }

/* Keeps the compiler from moving what it does with d across this point: before a fence, and behind a wait. */
template <int n> GPU void gpu_keep(float (&d)[n]) {
#pragma unroll
    for (int i = 0; i < n; i++) asm volatile("" : "+f"(d[i]) :: "memory");
}

/* Register lists of the instruction, by eights: in its text, and as operands of asm. */
#define GPU_O0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define GPU_O1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define GPU_O2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define GPU_O3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define GPU_O4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define GPU_O5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define GPU_O6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define GPU_O7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define GPU_O8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define GPU_O9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define GPU_O10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define GPU_O11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define GPU_O12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define GPU_O13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define GPU_O14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define GPU_O15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define GPU_T16 GPU_O0 ", " GPU_O1
#define GPU_T32 GPU_T16 ", " GPU_O2 ", " GPU_O3
#define GPU_T48 GPU_T32 ", " GPU_O4 ", " GPU_O5
#define GPU_T64 GPU_T48 ", " GPU_O6 ", " GPU_O7
#define GPU_T96 GPU_T64 ", " GPU_O8 ", " GPU_O9 ", " GPU_O10 ", " GPU_O11
#define GPU_T128 GPU_T96 ", " GPU_O12 ", " GPU_O13 ", " GPU_O14 ", " GPU_O15
#define GPU_D8(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define GPU_D16 GPU_D8(0), GPU_D8(8)
#define GPU_D32 GPU_D16, GPU_D8(16), GPU_D8(24)
#define GPU_D48 GPU_D32, GPU_D8(32), GPU_D8(40)
#define GPU_D64 GPU_D48, GPU_D8(48), GPU_D8(56)
#define GPU_D96 GPU_D64, GPU_D8(64), GPU_D8(72), GPU_D8(80), GPU_D8(88)
#define GPU_D128 GPU_D96, GPU_D8(96), GPU_D8(104), GPU_D8(112), GPU_D8(120)

template <int N> struct gpu_wgmma_n;

/* The instruction for R = N / 2 registers of d; o0..o6: the numbers of the operands behind them. */
#define GPU_WGMMA_SS(N, R, type, o0, o1, o2, o3, o4)                                                                    \
    asm volatile("{\n"                                                                                                  \
                 ".reg .pred p;\n"                                                                                      \
                 "setp.ne.b32 p, %" #o2 ", 0;\n"                                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" GPU_T##R "}, "                    \
                 "%" #o0 ", %" #o1 ", p, 1, 1, %" #o3 ", %" #o4 ";\n"                                                   \
                 "}"                                                                                                    \
                 : GPU_D##R : "l"(a), "l"(b), "r"((int)accumulate), "n"((int)TA), "n"((int)TB) : "memory")
#define GPU_WGMMA_RS(N, R, type, o0, o1, o2, o3, o4, o5, o6)                                                            \
    asm volatile("{\n"                                                                                                  \
                 ".reg .pred p;\n"                                                                                      \
                 "setp.ne.b32 p, %" #o5 ", 0;\n"                                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." type "." type " {" GPU_T##R "}, "                    \
                 "{%" #o0 ", %" #o1 ", %" #o2 ", %" #o3 "}, %" #o4 ", p, 1, 1, %" #o6 ";\n"                             \
                 "}"                                                                                                    \
                 : GPU_D##R : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)accumulate), "n"((int)TB) : "memory")
#define GPU_WGMMA(N, R, o0, o1, o2, o3, o4, o5, o6)                                                                     \
    template <> struct gpu_wgmma_n<N> {                                                                                 \
        template <bool F16, bool TA, bool TB> GPU static void ss(float (&d)[R], uint64_t a, uint64_t b, bool accumulate) { \
            if constexpr (F16) GPU_WGMMA_SS(N, R, "f16", o0, o1, o2, o3, o4);                                           \
            else GPU_WGMMA_SS(N, R, "bf16", o0, o1, o2, o3, o4);                                                        \
        }                                                                                                               \
        template <bool F16, bool TB> GPU static void rs(float (&d)[R], const uint32_t (&a)[4], uint64_t b, bool accumulate) { \
            if constexpr (F16) GPU_WGMMA_RS(N, R, "f16", o0, o1, o2, o3, o4, o5, o6);                                   \
            else GPU_WGMMA_RS(N, R, "bf16", o0, o1, o2, o3, o4, o5, o6);                                                \
        }                                                                                                               \
    };
GPU_WGMMA(32, 16, 16, 17, 18, 19, 20, 21, 22)
GPU_WGMMA(64, 32, 32, 33, 34, 35, 36, 37, 38)
GPU_WGMMA(96, 48, 48, 49, 50, 51, 52, 53, 54)
GPU_WGMMA(128, 64, 64, 65, 66, 67, 68, 69, 70)
GPU_WGMMA(192, 96, 96, 97, 98, 99, 100, 101, 102)
GPU_WGMMA(256, 128, 128, 129, 130, 131, 132, 133, 134)

/* N: 32, 64, 96, 128, 192, 256. F16: float16 operands, else bf16. !accumulate: d = a b. ss: a and b by descriptors; rs: a in registers.
 * Asynchronous: see fence, commit, wait. */
template <int N, bool F16, bool TA, bool TB> GPU void gpu_wgmma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
    gpu_wgmma_n<N>::template ss<F16, TA, TB>(d, a, b, accumulate);
}
template <int N, bool F16, bool TB> GPU void gpu_wgmma_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    gpu_wgmma_n<N>::template rs<F16, TB>(d, a, b, accumulate);
}

#endif

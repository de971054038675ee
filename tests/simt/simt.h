/* CUDA C++ and the GPU vocabulary for the host's compiler: what dev/gpu.cuh includes in builds with CUDA=simulated. Meanings are written at
 * dev/gpu.cuh and dev/gpu_sm90.cuh, which have the same names over PTX; here stand the types and the calls into the simulator.
 *
 * A thread runs alone until it meets others (a barrier, a warp's collective) or waits: nothing else makes threads take turns, but with
 * KEDGE_SIMT_SEED=n the order is drawn anew at each such place. What is asynchronous happens as late as it may, or at random. */
#ifndef KD_SIMT_H
#define KD_SIMT_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>
#include <utility>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
/* Each block has its own: the program's thread-local memory is exchanged when blocks take turns. */
#define __shared__ static thread_local
#define GPU inline

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* The thread that runs. */
struct simt_thread { dim3 index, block, threads, grid; };
extern simt_thread *simt_now;
#define threadIdx (simt_now->index)
#define blockIdx (simt_now->block)
#define blockDim (simt_now->threads)
#define gridDim (simt_now->grid)
constexpr int warpSize = 32;

/* ---- launches -------------------------------------------------------------------------------------------------------------- */
/* A kernel with its arguments, kept until the stream comes to it. */
struct simt_call {
    virtual void run() = 0;
    virtual ~simt_call() {}
};
void simt_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared, cudaStream_t stream, simt_call *call);
template <class T> struct simt_same { typedef T type; };

template <class F> struct simt_bound final : simt_call {
    F f;
    explicit simt_bound(F f_) : f(std::move(f_)) {}
    void run() override { f(); }
};
template <class F> simt_call *simt_bind(F f) { return new simt_bound<F>(std::move(f)); }

template <class... P>
void simt_launch_kernel(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                        typename simt_same<P>::type... argument) {
    simt_launch(name, (const void *)kernel, grid, block, shared, stream, simt_bind([=]() { kernel(argument...); }));
}
#define KD_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    simt_launch_kernel(#kernel, kernel, grid, block, shared_bytes, stream, ##__VA_ARGS__)
void *simt_dynamic_shared();
#define KD_SHARED(type, name) type *name = static_cast<type *>(simt_dynamic_shared())

template <class... P> cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
    return cudaFuncSetAttribute((const void *)kernel, attribute, value);
}

/* ---- vectors of numbers ---------------------------------------------------------------------------------------------------- */
#define SIMT_VECTORS(T, name, bytes)                                                                    \
    struct __attribute__((aligned(2 * bytes))) name##2 { T x, y; };                                     \
    struct name##3 { T x, y, z; };                                                                      \
    struct __attribute__((aligned(4 * bytes > 16 ? 16 : 4 * bytes))) name##4 { T x, y, z, w; };         \
    inline name##2 make_##name##2(T x, T y) { return name##2{x, y}; }                                   \
    inline name##3 make_##name##3(T x, T y, T z) { return name##3{x, y, z}; }                           \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return name##4{x, y, z, w}; }
SIMT_VECTORS(float, float, 4)
SIMT_VECTORS(double, double, 8)
SIMT_VECTORS(int, int, 4)
SIMT_VECTORS(unsigned, uint, 4)
SIMT_VECTORS(short, short, 2)
SIMT_VECTORS(unsigned short, ushort, 2)
SIMT_VECTORS(long long, longlong, 8)
#undef SIMT_VECTORS

/* ---- numbers --------------------------------------------------------------------------------------------------------------- */
template <class To, class From> inline To simt_bits(From x) {
    static_assert(sizeof(To) == sizeof(From), "the same size");
    To out;
    memcpy(&out, &x, sizeof out);
    return out;
}
inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
inline float __int_as_float(int x) { return simt_bits<float>(x); }
inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
inline int __float_as_int(float x) { return simt_bits<int>(x); }
inline double __longlong_as_double(long long x) { return simt_bits<double>(x); }
inline long long __double_as_longlong(double x) { return simt_bits<long long>(x); }
inline float rsqrtf(float x) { return (float)(1 / sqrt((double)x)); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __exp2f(float x) { return exp2f(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline int __float2int_rn(float x) { return (int)lrintf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline int __float2int_rd(float x) { return (int)floorf(x); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __double2float_rn(double x) { return (float)x; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((uint64_t)x * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    uint64_t both = (uint64_t)y << 32 | x;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) out |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
    return out;
}
template <class T> inline T __ldg(const T *x) { return *x; }
template <class T> inline T __ldcs(const T *x) { return *x; }
template <class T> inline T __ldcg(const T *x) { return *x; }
template <class T> inline T __ldca(const T *x) { return *x; }
template <class T> inline void __stcs(T *x, T value) { *x = value; }
template <class T> inline void __stcg(T *x, T value) { *x = value; }

#define SIMT_MIN_MAX(T)                                    \
    inline T min(T x, T y) { return x < y ? x : y; }       \
    inline T max(T x, T y) { return x > y ? x : y; }
SIMT_MIN_MAX(int)
SIMT_MIN_MAX(unsigned)
SIMT_MIN_MAX(long)
SIMT_MIN_MAX(unsigned long)
SIMT_MIN_MAX(long long)
SIMT_MIN_MAX(unsigned long long)
#undef SIMT_MIN_MAX
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }
inline int64_t min(int x, int64_t y) { return min((int64_t)x, y); }
inline int64_t min(int64_t x, int y) { return min(x, (int64_t)y); }
inline int64_t max(int x, int64_t y) { return max((int64_t)x, y); }
inline int64_t max(int64_t x, int y) { return max(x, (int64_t)y); }

/* ---- threads --------------------------------------------------------------------------------------------------------------- */
int simt_sync_threads(int kind, int predicate);  /* 0: barrier; 1: how many are true; 2: whether any is; 3: whether all are */
inline void __syncthreads() { simt_sync_threads(0, 0); }
inline int __syncthreads_count(int x) { return simt_sync_threads(1, x); }
inline int __syncthreads_or(int x) { return simt_sync_threads(2, x); }
inline int __syncthreads_and(int x) { return simt_sync_threads(3, x); }
void simt_sync_warp(unsigned mask);
inline void __syncwarp(unsigned mask = 0xffffffff) { simt_sync_warp(mask); }
void simt_pause();  /* others may run */
inline void __threadfence() { simt_pause(); }
inline void __threadfence_block() { simt_pause(); }
inline void __threadfence_system() { simt_pause(); }
inline void __nanosleep(unsigned) { simt_pause(); }
[[noreturn]] void simt_fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
inline void __trap() { simt_fault("__trap"); }
long long clock64();
unsigned simt_active();
inline unsigned __activemask() { return simt_active(); }

/* 0: from a lane, 1: from below, 2: from above, 3: from the lane's number XORed */
uint64_t simt_shuffle(unsigned mask, uint64_t value, int kind, int which, int width);
template <class T> inline T simt_shuffled(unsigned mask, T value, int kind, int which, int width) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a number");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = simt_shuffle(mask, bits, kind, which, width);
    memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T> inline T __shfl_sync(unsigned mask, T x, int lane, int width = 32) { return simt_shuffled(mask, x, 0, lane, width); }
template <class T> inline T __shfl_up_sync(unsigned mask, T x, unsigned d, int width = 32) {
    return simt_shuffled(mask, x, 1, (int)d, width);
}
template <class T> inline T __shfl_down_sync(unsigned mask, T x, unsigned d, int width = 32) {
    return simt_shuffled(mask, x, 2, (int)d, width);
}
template <class T> inline T __shfl_xor_sync(unsigned mask, T x, int lanes, int width = 32) {
    return simt_shuffled(mask, x, 3, lanes, width);
}
unsigned simt_ballot(unsigned mask, int predicate);
inline unsigned __ballot_sync(unsigned mask, int x) { return simt_ballot(mask, x); }
inline int __any_sync(unsigned mask, int x) { return simt_ballot(mask, x) != 0; }
inline int __all_sync(unsigned mask, int x) { return simt_ballot(mask, !x) == 0; }
/* 0: sum, 1: unsigned max, 2: unsigned min, 3: or, 4: and, 5: int max, 6: int min */
uint64_t simt_reduce(unsigned mask, uint64_t value, int kind);
inline unsigned __reduce_add_sync(unsigned mask, unsigned x) { return (unsigned)simt_reduce(mask, x, 0); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned x) { return (unsigned)simt_reduce(mask, x, 1); }
inline unsigned __reduce_min_sync(unsigned mask, unsigned x) { return (unsigned)simt_reduce(mask, x, 2); }
inline unsigned __reduce_or_sync(unsigned mask, unsigned x) { return (unsigned)simt_reduce(mask, x, 3); }
inline unsigned __reduce_and_sync(unsigned mask, unsigned x) { return (unsigned)simt_reduce(mask, x, 4); }
inline int __reduce_add_sync(unsigned mask, int x) { return (int)simt_reduce(mask, (unsigned)x, 0); }
inline int __reduce_max_sync(unsigned mask, int x) { return (int)simt_reduce(mask, (unsigned)x, 5); }
inline int __reduce_min_sync(unsigned mask, int x) { return (int)simt_reduce(mask, (unsigned)x, 6); }

/* Every so many others may run: who spins on an atomic does not stop the world. */
void simt_atomic(const void *at);
#define SIMT_ATOMIC(name, value_of)                                                                       \
    template <class T> inline T name(T *at, typename simt_same<T>::type x) {                              \
        simt_atomic(at);                                                                                    \
        T old = *at;                                                                                      \
        *at = value_of;                                                                                   \
        return old;                                                                                       \
    }
SIMT_ATOMIC(atomicAdd, (T)(old + x))
SIMT_ATOMIC(atomicSub, (T)(old - x))
SIMT_ATOMIC(atomicMax, old > x ? old : x)
SIMT_ATOMIC(atomicMin, old < x ? old : x)
SIMT_ATOMIC(atomicOr, (T)(old | x))
SIMT_ATOMIC(atomicAnd, (T)(old & x))
SIMT_ATOMIC(atomicXor, (T)(old ^ x))
SIMT_ATOMIC(atomicExch, x)
#undef SIMT_ATOMIC
template <class T> inline T atomicCAS(T *at, typename simt_same<T>::type expected, typename simt_same<T>::type x) {
    simt_atomic(at);
    T old = *at;
    if (old == expected) *at = x;
    return old;
}

/* ---- the vocabulary of dev/gpu.cuh ----------------------------------------------------------------------------------------- */
uint32_t gpu_shared_address(const void *shared);
inline float gpu_widen_bf16(uint16_t x) { return __uint_as_float((uint32_t)x << 16); }
float gpu_widen_f16(uint16_t x);
uint16_t gpu_bf16(float x);
uint16_t gpu_f16(float x);
inline uint32_t gpu_pair_bf16(float first, float second) { return gpu_bf16(first) | (uint32_t)gpu_bf16(second) << 16; }
inline uint32_t gpu_pair_f16(float first, float second) { return gpu_f16(first) | (uint32_t)gpu_f16(second) << 16; }
inline float gpu_exp2(float x) {
    float y = exp2f(x);
    return fabsf(y) < 0x1p-126f ? 0 : y;
}
void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]);
void gpu_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]);
void gpu_load_matrix4(uint32_t d[4], const void *row);
void gpu_load_matrix4_t(uint32_t d[4], const void *row);
void gpu_copy16(void *shared, const void *global, bool there);
void gpu_copy_commit();
void simt_copy_wait(int groups);
template <int N> inline void gpu_copy_wait() { simt_copy_wait(N); }
void gpu_barrier_sync(int id, int threads);
void gpu_barrier_arrive(int id, int threads);
void gpu_wait_turn(const int32_t *turn, int32_t value);
void gpu_pass_turn(int32_t *turn, int32_t value);

/* ---- of dev/gpu_sm90.cuh --------------------------------------------------------------------------------------------------- */
void gpu_mbar_init(uint64_t *bar, int arrivals);
void gpu_mbar_fence_init();
void gpu_mbar_expect(uint64_t *bar, int bytes);
void gpu_mbar_arrive(uint64_t *bar);
void gpu_mbar_wait(uint64_t *bar, int parity);
void simt_tma_load(int rank, void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z, int w);
inline void gpu_tma_load2(void *shared, const gpu_map *map, uint64_t *bar, int x, int y) { simt_tma_load(2, shared, map, bar, x, y, 0, 0); }
inline void gpu_tma_load3(void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z) {
    simt_tma_load(3, shared, map, bar, x, y, z, 0);
}
inline void gpu_tma_load4(void *shared, const gpu_map *map, uint64_t *bar, int x, int y, int z, int w) {
    simt_tma_load(4, shared, map, bar, x, y, z, w);
}
void simt_tma_store(int rank, bool add, const gpu_map *map, const void *shared, int x, int y, int z);
inline void gpu_tma_store2(const gpu_map *map, const void *shared, int x, int y) { simt_tma_store(2, false, map, shared, x, y, 0); }
inline void gpu_tma_store3(const gpu_map *map, const void *shared, int x, int y, int z) { simt_tma_store(3, false, map, shared, x, y, z); }
inline void gpu_tma_add3(const gpu_map *map, const void *shared, int x, int y, int z) { simt_tma_store(3, true, map, shared, x, y, z); }
void gpu_bulk_add_f32(float *global, const float *shared, int bytes);
void gpu_bulk_store(void *global, const void *shared, int bytes);
void gpu_bulk_commit();
void simt_bulk_wait(int groups, bool read);
template <int N> inline void gpu_bulk_wait() { simt_bulk_wait(N, false); }
template <int N> inline void gpu_bulk_wait_read() { simt_bulk_wait(N, true); }
void gpu_fence_async();
inline void gpu_fence_async_global() {}
void gpu_store_matrix4(void *row, const uint32_t d[4]);
void gpu_store_matrix4_t(void *row, const uint32_t d[4]);
bool gpu_one_of_warp();
void simt_registers(int count, bool more);
template <int N> inline void gpu_registers_more() { simt_registers(N, true); }
template <int N> inline void gpu_registers_fewer() { simt_registers(N, false); }
inline uint64_t simt_tile(const void *shared, int lead, int stride, uint64_t swizzle) {
    return swizzle << 62 | (uint64_t)(stride >> 4 & 0x3fff) << 32 | (uint64_t)(lead >> 4 & 0x3fff) << 16 |
           (gpu_shared_address(shared) >> 4 & 0x3fff);
}
inline uint64_t gpu_tile_128b(const void *shared, int lead, int stride) { return simt_tile(shared, lead, stride, 1); }
inline uint64_t gpu_tile_64b(const void *shared, int lead, int stride) { return simt_tile(shared, lead, stride, 2); }
void gpu_wgmma_fence();
void gpu_wgmma_commit();
void simt_wgmma_wait(int groups);
template <int N> inline void gpu_wgmma_wait() { simt_wgmma_wait(N); }
template <int n> inline void gpu_keep(float (&)[n]) {}
struct simt_wgmma { int n; bool f16, a_turned, b_turned, a_in_registers, accumulate; uint64_t a, b; };
void simt_wgmma_issue(const simt_wgmma &op, float *d, const uint32_t *a);
template <int N, bool F16, bool TA, bool TB> inline void gpu_wgmma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate) {
    simt_wgmma_issue(simt_wgmma{N, F16, TA, TB, false, accumulate, a, b}, d, nullptr);
}
template <int N, bool F16, bool TB> inline void gpu_wgmma_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
    simt_wgmma_issue(simt_wgmma{N, F16, false, TB, true, accumulate, 0, b}, d, a);
}

#endif

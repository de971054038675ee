/* The GPU vocabulary of compute capability 9.0a (dev/gpu_sm90.cuh), word by word, beside its definition. */
#include "gpu_test.h"

#define MAP const __grid_constant__ gpu_map

static gpu_map map_of(gpu_map_type type, int rank, const void *base, uint64_t x, uint64_t y, uint64_t z, uint32_t bx, uint32_t by,
                      uint32_t bz, gpu_map_swizzle swizzle) {
    uint64_t size = type == GPU_MAP_F32 ? 4 : 2;
    uint64_t dims[] = {x, y, z}, strides[] = {x * size, x * y * size};
    uint32_t box[] = {bx, by, bz};
    gpu_map map;
    if (gpu_map_init(&map, type, rank, base, dims, strides, box, swizzle)) fail_msg("%s", kd_message());
    return map;
}

/* Where byte `at` of a box lies behind a multiple of 1024. */
static int swizzled(int at, gpu_map_swizzle swizzle) {
    int mask = swizzle == GPU_MAP_128B ? 7 : swizzle == GPU_MAP_64B ? 3 : 0;
    return (at & ~127) + ((at % 128) ^ (at / 128 % 8 & mask) << 4);
}

/* ---- stmatrix, elect ------------------------------------------------------------------------------------------------------- */
static __global__ void store_matrices(const uint32_t *d, uint16_t *out, int *chosen) {
    __shared__ __align__(16) uint16_t rows[2 * 32 * 8];
    int lane = (int)threadIdx.x;
    gpu_store_matrix4(rows + lane * 8, d + lane * 4);
    gpu_store_matrix4_t(rows + 256 + lane * 8, d + lane * 4);
    __syncwarp();
    for (int i = 0; i < 16; i++) out[lane * 16 + i] = rows[lane * 16 + i];  /* both, one behind the other */
    bool one = gpu_one_of_warp(), again = gpu_one_of_warp();
    if (one) atomicAdd(chosen, 1);
    if (one != again) atomicAdd(chosen, 100);
}

static void store_matrix_puts_rows_or_columns(void **state) {
    (void)state;
    gpu_need(90);
    uint32_t d[128];
    for (uint32_t i = 0; i < 128; i++) d[i] = 2 * i + (2 * i + 1) * 65536;
    int zero = 0, *dchosen = gpu_copy_of(&zero, 1);
    uint32_t *dd = gpu_copy_of(d, 128);
    uint16_t *dout = gpu_new<uint16_t>(512);
    KD_LAUNCH(store_matrices, 1, 32, 0, 0, dd, dout, dchosen);
    uint16_t *out = gpu_fetch(dout, 512);
    int *chosen = gpu_fetch(dchosen, 1);
    assert_int_equal(*chosen, 1);
    for (int m = 0; m < 4; m++)
        for (int r = 0; r < 8; r++)
            for (int c = 0; c < 8; c++) {
                int lane = r * 4 + c / 2;
                assert_int_equal(out[m * 64 + r * 8 + c], (lane * 4 + m) * 2 + c % 2);
                assert_int_equal(out[256 + m * 64 + c * 8 + r], (lane * 4 + m) * 2 + c % 2);
            }
    cudaFree(dd), cudaFree(dout), cudaFree(dchosen), free(out), free(chosen);
}

/* ---- the copy engine ------------------------------------------------------------------------------------------------------- */
static __global__ void load_box(MAP map, int rank, int x, int y, int z, int bytes, unsigned char *out) {
    KD_SHARED(unsigned char, shared);
    __shared__ __align__(8) uint64_t bar;
    if (threadIdx.x == 0) {
        gpu_mbar_init(&bar, 1);
        gpu_mbar_fence_init();
        gpu_mbar_expect(&bar, bytes);
        if (rank == 2) gpu_tma_load2(shared, &map, &bar, x, y);
        else gpu_tma_load3(shared, &map, &bar, x, y, z);
    }
    __syncthreads();
    gpu_mbar_wait(&bar, 0);
    for (int i = (int)threadIdx.x; i < bytes; i += (int)blockDim.x) out[i] = shared[i];
}

/* Boxes inside, across every edge, and wholly outside. */
static void boxes_are_loaded_with_zeros_outside(void **state) {
    (void)state;
    gpu_need(90);
    enum { X = 72, Y = 21, Z = 3, BY = 16, BZ = 2 };
    static const int places[][3] = {{0, 0, 0}, {8, 3, 1}, {-5, -2, -1}, {41, 13, 2}, {70, 20, 2}, {100, 0, 0}, {0, 0, 7}};
    uint16_t x[X * Y * Z];
    for (int i = 0; i < X * Y * Z; i++) x[i] = (uint16_t)(i + 1);
    uint16_t *dx = gpu_copy_of(x, X * Y * Z);
    for (int s = 0; s < 3; s++)
        for (int rank = 2; rank <= 3; rank++)
            for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
                gpu_map_swizzle swizzle = (gpu_map_swizzle)s;
                int bx = swizzle == GPU_MAP_64B ? 32 : swizzle == GPU_MAP_128B ? 64 : 24, bz = rank == 2 ? 1 : BZ, bytes = bx * BY * bz * 2;
                gpu_map map = map_of(GPU_MAP_16, rank, dx, X, Y, Z, (uint32_t)bx, BY, (uint32_t)bz, swizzle);
                unsigned char *dout = gpu_new<unsigned char>(bytes);
                KD_LAUNCH(load_box, 1, 96, (size_t)bytes, 0, map, rank, places[p][0], places[p][1], places[p][2], bytes, dout);
                unsigned char *out = gpu_fetch(dout, bytes);
                for (int i = 0; i < bytes / 2; i++) {
                    int gx = places[p][0] + i % bx, gy = places[p][1] + i / bx % BY, gz = rank == 2 ? 0 : places[p][2] + i / bx / BY;
                    bool inside = gx >= 0 && gx < X && gy >= 0 && gy < Y && gz >= 0 && gz < Z;
                    uint16_t got;
                    memcpy(&got, out + swizzled(2 * i, swizzle), 2);
                    assert_int_equal(got, inside ? x[(gz * Y + gy) * X + gx] : 0);
                }
                cudaFree(dout), free(out);
            }
    cudaFree(dx);
}

static __global__ void store_box(MAP map, int kind, int x, int y, int z, int count, float *global) {
    KD_SHARED(float, shared);
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x) shared[i] = (float)(i + 1);
    gpu_fence_async();
    __syncthreads();
    if (threadIdx.x == 0) {
        if (kind == 0) gpu_tma_store2(&map, shared, x, y);
        if (kind == 1) gpu_tma_store3(&map, shared, x, y, z);
        if (kind == 2) gpu_tma_add3(&map, shared, x, y, z);
        if (kind == 3) gpu_bulk_store(global + x, shared, count * 4);
        if (kind == 4) gpu_bulk_add_f32(global + x, shared, count * 4);
        gpu_bulk_commit();
        gpu_bulk_wait_read<0>();
        shared[0] = -1000;  /* which nobody sees */
        gpu_bulk_wait<0>();
    }
}

static void boxes_are_stored_and_added_inside_alone(void **state) {
    (void)state;
    gpu_need(90);
    enum { X = 40, Y = 9, Z = 4, N = X * Y * Z };
    static const int places[][3] = {{4, 2, 1}, {-4, -3, -1}, {20, 5, 3}};
    float x[N];
    for (int i = 0; i < N; i++) x[i] = (float)(-i);
    for (int kind = 0; kind < 5; kind++)
        for (int s = 0; s < 3; s++)
            for (int p = 0; p < 3; p++) {
                gpu_map_swizzle swizzle = (gpu_map_swizzle)s;
                int bx = swizzle == GPU_MAP_64B    ? 16
                         : swizzle == GPU_MAP_128B ? 32
                                                   : 8,
                    by = 4, bz = kind == 0 ? 1 : 2, count = bx * by * bz;
                float *dx = gpu_copy_of(x, N);
                gpu_map map = map_of(GPU_MAP_F32, kind == 0 ? 2 : 3, dx, X, Y, Z, (uint32_t)bx, (uint32_t)by, (uint32_t)bz, swizzle);
                KD_LAUNCH(store_box, 1, 64, (size_t)count * 4, 0, map, kind, kind < 3 ? places[p][0] : 100, places[p][1], places[p][2],
                          count, dx);
                float *out = gpu_fetch(dx, N);
                for (int i = 0; i < N; i++) {
                    int inx = i % X - places[p][0], iny = i / X % Y - places[p][1], inz = i / X / Y - (kind == 0 ? 0 : places[p][2]);
                    bool inside =
                        kind < 3 ? inx >= 0 && inx < bx && iny >= 0 && iny < by && inz >= 0 && inz < bz : i >= 100 && i < 100 + count;
                    int at = kind < 3 ? swizzled(((inz * by + iny) * bx + inx) * 4, swizzle) / 4 : i - 100;
                    float right = inside ? (float)(at + 1) + (kind == 2 || kind == 4 ? x[i] : 0) : x[i];
                    assert_true(out[i] == right);
                }
                cudaFree(dx), free(out);
            }
}

/* ---- mbarriers: a pipeline ------------------------------------------------------------------------------------------------- */
/* One warp loads boxes into two places, two warps add them up; each place has a barrier that says full, and one that says empty. */
static __global__ void __launch_bounds__(96) pipeline(MAP map, int boxes, float *out) {
    KD_SHARED(float, places);
    __shared__ __align__(8) uint64_t full[2], empty[2];
    int t = (int)threadIdx.x;
    if (t == 0) {
        for (int i = 0; i < 2; i++) gpu_mbar_init(&full[i], 1), gpu_mbar_init(&empty[i], 64);
        gpu_mbar_fence_init();
    }
    __syncthreads();
    if (t >= 64) {
        if (!gpu_one_of_warp()) return;
        for (int i = 0; i < boxes; i++) {
            gpu_mbar_wait(&empty[i % 2], (i / 2 & 1) ^ 1);  /* at first at once */
            gpu_mbar_expect(&full[i % 2], 4 * 64 * 4);
            gpu_tma_load2(places + i % 2 * 256, &map, &full[i % 2], 0, 4 * i);
        }
        return;
    }
    float sum = 0;
    for (int i = 0; i < boxes; i++) {
        gpu_mbar_wait(&full[i % 2], i / 2 & 1);
        for (int r = 0; r < 4; r++) sum = sum * 0.5f + places[i % 2 * 256 + r * 64 + (t ^ 33)];
        gpu_mbar_arrive(&empty[i % 2]);
    }
    out[t] = sum;
}

static void a_pipeline_keeps_the_order(void **state) {
    (void)state;
    gpu_need(90);
    enum { BOXES = 9 };
    float x[BOXES * 4 * 64];
    for (int i = 0; i < BOXES * 256; i++) x[i] = gpu_eighth(4, i);
    float *dx = gpu_copy_of(x, BOXES * 256), *dout = gpu_new<float>(64);
    KD_LAUNCH(pipeline, 1, 96, 2048, 0, map_of(GPU_MAP_F32, 2, dx, 64, BOXES * 4, 1, 64, 4, 1, GPU_MAP_PLAIN), BOXES, dout);
    float *out = gpu_fetch(dout, 64);
    for (int t = 0; t < 64; t++) {
        float sum = 0;
        for (int i = 0; i < BOXES * 4; i++) sum = sum * 0.5f + x[i * 64 + (t ^ 33)];
        assert_true(out[t] == sum);
    }
    cudaFree(dx), cudaFree(dout), free(out);
}

/* ---- tensor cores of a warpgroup ------------------------------------------------------------------------------------------- */
/* d [64, N] = start + a [64, 64] b [64, N], operands K-major or MN-major as they lie in global memory, in boxes of 128-byte or 64-byte
 * rows: a box holds WIDE numbers of its inner dimension by all of the outer. */
template <int N, bool F16, bool TA, bool TB, bool RS, int WIDE>
static __global__ void __launch_bounds__(128) wgmma_product(MAP map_a, MAP map_b, const uint16_t *a, float *d) {
    KD_SHARED(unsigned char, shared);
    __shared__ __align__(8) uint64_t bar;
    enum { ROW = WIDE * 2, BOX_A = 64 * ROW, B_OUTER = TB ? 64 : N, B_INNER = TB ? N : 64, BOX_B = B_OUTER * ROW };
    unsigned char *at_a = shared, *at_b = shared + 64 * 64 * 2;
    int t = (int)threadIdx.x;
    if (t == 0) {
        gpu_mbar_init(&bar, 1);
        gpu_mbar_fence_init();
        gpu_mbar_expect(&bar, 64 * 64 * 2 + N * 64 * 2);
        for (int i = 0; i < 64 / WIDE; i++) gpu_tma_load2(at_a + i * BOX_A, &map_a, &bar, i * WIDE, 0);
        for (int i = 0; i < B_INNER / WIDE; i++) gpu_tma_load2(at_b + i * BOX_B, &map_b, &bar, i * WIDE, 0);
    }
    __syncthreads();
    float acc[N / 2];
    int row = t / 32 * 16 + t % 32 / 4, column = t % 4 * 2;
    for (int j = 0; j < N / 2; j++) acc[j] = d[(row + j / 2 % 2 * 8) * N + j / 4 * 8 + column + j % 2];
    gpu_mbar_wait(&bar, 0);
    gpu_keep(acc);
    uint32_t fragment[4][4];
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++) {
            const uint16_t *at = a + (row + i % 2 * 8) * 64 + k * 16 + column + i / 2 * 8;
            fragment[k][i] = at[0] | (uint32_t)at[1] << 16;
        }
    gpu_wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        /* A step of 16 along K. */
        int in_a = TA ? k * 16 * ROW : k * 16 / WIDE * BOX_A + k * 16 % WIDE * 2;
        int in_b = TB ? k * 16 * ROW : k * 16 / WIDE * BOX_B + k * 16 % WIDE * 2;
        uint64_t da = WIDE == 64 ? gpu_tile_128b(at_a + in_a, BOX_A, 8 * ROW) : gpu_tile_64b(at_a + in_a, BOX_A, 8 * ROW);
        uint64_t db = WIDE == 64 ? gpu_tile_128b(at_b + in_b, BOX_B, 8 * ROW) : gpu_tile_64b(at_b + in_b, BOX_B, 8 * ROW);
        if constexpr (RS) gpu_wgmma_rs<N, F16, TB>(acc, fragment[k], db, true);
        else gpu_wgmma_ss<N, F16, TA, TB>(acc, da, db, true);
    }
    gpu_wgmma_commit();
    gpu_wgmma_wait<0>();
    gpu_keep(acc);
    for (int j = 0; j < N / 2; j++) d[(row + j / 2 % 2 * 8) * N + j / 4 * 8 + column + j % 2] = acc[j];
}

template <int N, bool F16, bool TA, bool TB, bool RS, int WIDE> static void check_product() {
    float *x = (float *)malloc(64 * 64 * 4), *y = (float *)malloc(64 * N * 4), *d = (float *)malloc(64 * N * 4);
    uint16_t *a = (uint16_t *)malloc(64 * 64 * 2), *b = (uint16_t *)malloc(64 * N * 2), *rows = (uint16_t *)malloc(64 * 64 * 2);
    for (int m = 0; m < 64; m++)
        for (int k = 0; k < 64; k++) {
            rows[m * 64 + k] = gpu_short_of(x[m * 64 + k] = gpu_eighth(5, m * 64 + k), F16);
            a[TA ? k * 64 + m : m * 64 + k] = rows[m * 64 + k];
        }
    for (int k = 0; k < 64; k++)
        for (int n = 0; n < N; n++) b[TB ? k * N + n : n * 64 + k] = gpu_short_of(y[k * N + n] = gpu_eighth(6, k * N + n), F16);
    for (int i = 0; i < 64 * N; i++) d[i] = gpu_eighth(8, i);
    uint16_t *da = gpu_copy_of(a, 64 * 64), *db = gpu_copy_of(b, 64 * N), *drows = gpu_copy_of(rows, 64 * 64);
    float *dd = gpu_copy_of(d, 64 * N);
    gpu_map_swizzle swizzle = WIDE == 64 ? GPU_MAP_128B : GPU_MAP_64B;
    gpu_map map_a = map_of(GPU_MAP_16, 2, da, 64, 64, 1, WIDE, 64, 1, swizzle);
    gpu_map map_b =
        TB ? map_of(GPU_MAP_16, 2, db, N, 64, 1, WIDE, 64, 1, swizzle) : map_of(GPU_MAP_16, 2, db, 64, N, 1, WIDE, N, 1, swizzle);
    auto kernel = wgmma_product<N, F16, TA, TB, RS, WIDE>;
    int shared = 64 * 64 * 2 + N * 64 * 2;
    gpu_ok(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    KD_LAUNCH(kernel, 1, 128, (size_t)shared, 0, map_a, map_b, drows, dd);
    float *out = gpu_fetch(dd, 64 * N);
    for (int m = 0; m < 64; m++)
        for (int n = 0; n < N; n++) {
            double sum = d[m * N + n];
            for (int k = 0; k < 64; k++) sum += (double)x[m * 64 + k] * y[k * N + n];
            if (out[m * N + n] != sum)
                fail_msg("N %d, float16 %d, TA %d, TB %d, registers %d, %d wide: (%d, %d) is %g, should be %g", N, F16, TA, TB, RS, WIDE, m,
                         n, out[m * N + n], sum);
        }
    cudaFree(da), cudaFree(db), cudaFree(drows), cudaFree(dd);
    free(x), free(y), free(d), free(a), free(b), free(rows), free(out);
}

/* Each N and kind; MN-major needs N in whole boxes. */
static void wgmma_is_a_product(void **state) {
    (void)state;
    gpu_need(90);
    check_product<32, false, false, false, false, 64>();
    check_product<64, true, false, false, false, 64>();
    check_product<96, false, false, false, false, 64>();
    check_product<128, false, false, false, false, 64>();
    check_product<192, true, false, false, false, 64>();
    check_product<256, false, false, false, false, 64>();
}

static void wgmma_takes_operands_turned(void **state) {
    (void)state;
    gpu_need(90);
    check_product<64, false, true, false, false, 64>();
    check_product<64, false, false, true, false, 64>();
    check_product<128, true, false, true, false, 64>();
    check_product<192, false, true, true, false, 64>();
    check_product<256, false, true, true, false, 64>();
}

static void wgmma_takes_a_from_registers(void **state) {
    (void)state;
    gpu_need(90);
    check_product<64, false, false, false, true, 64>();
    check_product<96, true, false, false, true, 64>();
    check_product<128, false, false, true, true, 64>();
    check_product<256, true, false, true, true, 64>();
}

static void wgmma_takes_rows_of_64_bytes(void **state) {
    (void)state;
    gpu_need(90);
    check_product<32, false, false, false, false, 32>();
    check_product<96, false, true, true, false, 32>();
    check_product<128, true, false, true, false, 32>();
    check_product<96, false, false, true, true, 32>();
    check_product<192, false, true, false, false, 32>();
}

/* Two groups under way, of accumulators of their own; the first is read while the second may still run. accumulate is false at first: what
 * the registers hold is of no account. */
static __global__ void __launch_bounds__(128) two_groups(MAP map, float *out) {
    KD_SHARED(unsigned char, shared);
    __shared__ __align__(8) uint64_t bar;
    int t = (int)threadIdx.x;
    if (t == 0) {
        gpu_mbar_init(&bar, 1);
        gpu_mbar_fence_init();
        gpu_mbar_expect(&bar, 64 * 64 * 2);
        gpu_tma_load2(shared, &map, &bar, 0, 0);
    }
    __syncthreads();
    float first[32], second[32];
    for (int i = 0; i < 32; i++) first[i] = second[i] = NAN;
    gpu_mbar_wait(&bar, 0);
    gpu_wgmma_fence();
    for (int k = 0; k < 4; k++)
        gpu_wgmma_ss<64, false, false, false>(first, gpu_tile_128b(shared + 32 * k, 1, 1024), gpu_tile_128b(shared + 32 * k, 1, 1024),
                                              k > 0);
    gpu_wgmma_commit();
    for (int k = 0; k < 4; k++)
        gpu_wgmma_ss<64, false, true, true>(second, gpu_tile_128b(shared + 2048 * k, 1, 1024), gpu_tile_128b(shared + 2048 * k, 1, 1024),
                                            k > 0);
    gpu_wgmma_commit();
    gpu_wgmma_wait<1>();
    gpu_keep(first);
    for (int i = 0; i < 32; i++) out[i * 128 + t] = first[i];
    gpu_wgmma_wait<0>();
    gpu_keep(second);
    for (int i = 0; i < 32; i++) out[(32 + i) * 128 + t] = second[i];
}

static void groups_end_one_by_one(void **state) {
    (void)state;
    gpu_need(90);
    uint16_t x[64 * 64];
    float w[64 * 64];
    for (int i = 0; i < 64 * 64; i++) x[i] = gpu_short_of(w[i] = gpu_eighth(9, i), false);
    uint16_t *dx = gpu_copy_of(x, 64 * 64);
    float *dout = gpu_new<float>(64 * 128);
    KD_LAUNCH(two_groups, 1, 128, 8192, 0, map_of(GPU_MAP_16, 2, dx, 64, 64, 1, 64, 64, 1, GPU_MAP_128B), dout);
    float *out = gpu_fetch(dout, 64 * 128);
    for (int t = 0; t < 128; t++)
        for (int i = 0; i < 32; i++) {
            int m = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, n = i / 4 * 8 + t % 4 * 2 + i % 2;
            double rows = 0, columns = 0;
            for (int k = 0; k < 64; k++) rows += (double)w[m * 64 + k] * w[n * 64 + k], columns += (double)w[k * 64 + m] * w[k * 64 + n];
            assert_true(out[i * 128 + t] == rows);
            assert_true(out[(32 + i) * 128 + t] == columns);
        }
    cudaFree(dx), cudaFree(dout), free(out);
}

/* ---- registers change hands ------------------------------------------------------------------------------------------------ */
static __global__ void __launch_bounds__(384, 1) change_registers(float *out) {
    if (threadIdx.x < 128) gpu_registers_fewer<24>();
    else gpu_registers_more<240>();
    __syncthreads();
    out[threadIdx.x] = (float)threadIdx.x;
}

static void registers_change_hands(void **state) {
    (void)state;
    gpu_need(90);
    float *dout = gpu_new<float>(384);
    KD_LAUNCH(change_registers, 2, 384, 0, 0, dout);
    float *out = gpu_fetch(dout, 384);
    for (int i = 0; i < 384; i++) assert_true(out[i] == (float)i);
    cudaFree(dout), free(out);
}

static void maps_that_cannot_be_are_refused(void **state) {
    (void)state;
    gpu_need(90);
    float *x = gpu_new<float>(64 * 64);
    uint64_t dims[] = {64, 64}, strides[] = {256}, odd[] = {260};
    uint32_t box[] = {32, 8}, wide[] = {64, 8}, tall[] = {32, 257};
    gpu_map map;
    assert_int_equal(gpu_map_init(&map, GPU_MAP_F32, 2, x, dims, strides, box, GPU_MAP_128B), KD_OK);
    assert_int_equal(gpu_map_init(&map, GPU_MAP_F32, 2, x, dims, odd, box, GPU_MAP_128B), KD_EARG);
    assert_int_equal(gpu_map_init(&map, GPU_MAP_F32, 2, x, dims, strides, wide, GPU_MAP_128B), KD_EARG);
    assert_int_equal(gpu_map_init(&map, GPU_MAP_F32, 2, x, dims, strides, tall, GPU_MAP_128B), KD_EARG);
    assert_int_equal(gpu_map_init(&map, GPU_MAP_F32, 2, x + 1, dims, strides, box, GPU_MAP_128B), KD_EARG);
    assert_int_equal(gpu_map_init(&map, GPU_MAP_F32, 6, x, dims, strides, box, GPU_MAP_128B), KD_EARG);
    cudaFree(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_matrix_puts_rows_or_columns),
        cmocka_unit_test(boxes_are_loaded_with_zeros_outside),
        cmocka_unit_test(boxes_are_stored_and_added_inside_alone),
        cmocka_unit_test(a_pipeline_keeps_the_order),
        cmocka_unit_test(wgmma_is_a_product),
        cmocka_unit_test(wgmma_takes_operands_turned),
        cmocka_unit_test(wgmma_takes_a_from_registers),
        cmocka_unit_test(wgmma_takes_rows_of_64_bytes),
        cmocka_unit_test(groups_end_one_by_one),
        cmocka_unit_test(registers_change_hands),
        cmocka_unit_test(maps_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

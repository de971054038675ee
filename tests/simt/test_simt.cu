/* That the simulator finds what is wrong in a kernel: each kernel here has one fault. Some show in every order of threads; a race may need
 * the order to be drawn (KEDGE_SIMT_SEED). */
#include "gpu_test.h"

#define MAP const __grid_constant__ gpu_map

/* The kernel is stopped, and this is said of it. */
static void is_found(const char *words) {
    cudaError_t error = cudaDeviceSynchronize();
    const char *said = simt_forget_fault();
    if (error != cudaErrorLaunchFailure || !strstr(said, words)) fail_msg("\"%s\" was to be found, said was \"%s\"", words, said);
}

static gpu_map square_map(const uint16_t *base) {
    uint64_t dims[] = {64, 64}, strides[] = {128};
    uint32_t box[] = {64, 64};
    gpu_map map;
    assert_int_equal(gpu_map_init(&map, GPU_MAP_16, 2, base, dims, strides, box, GPU_MAP_128B), KD_OK);
    return map;
}

static uint16_t *ones() {
    uint16_t x[64 * 64];
    for (int i = 0; i < 64 * 64; i++) x[i] = kd_bf16_round(1);
    return gpu_copy_of(x, 64 * 64);
}

/* ---- missing synchronization ----------------------------------------------------------------------------------------------- */
template <bool RIGHT> static __global__ void neighbours(float *out) {
    __shared__ float x[64];
    int t = (int)threadIdx.x;
    x[t] = (float)t;
    if (RIGHT) __syncthreads();
    out[t] = x[63 - t];
}

static void a_missing_barrier_shows_nan(void **state) {
    (void)state;
    float *dout = gpu_new<float>(64);
    for (int right = 0; right < 2; right++) {
        if (right) KD_LAUNCH(neighbours<true>, 1, 64, 0, 0, dout);
        else KD_LAUNCH(neighbours<false>, 1, 64, 0, 0, dout);
        float *out = gpu_fetch(dout, 64);
        int wrong = 0;
        for (int i = 0; i < 64; i++) wrong += out[i] != (float)(63 - i);
        assert_true(right ? wrong == 0 : wrong > 0);
        free(out);
    }
    cudaFree(dout);
}

/* In the usual order the last thread comes first, and what it writes is there for all. */
static __global__ void last_writes(float *out) {
    __shared__ float x;
    if (threadIdx.x == 63) x = 1;
    out[threadIdx.x] = x;
}

static void a_race_shows_in_some_order(void **state) {
    (void)state;
    float *dout = gpu_new<float>(64);
    int wrong_in = 0;
    const char *given = getenv("KEDGE_SIMT_SEED");
    char kept[32];
    snprintf(kept, sizeof kept, "%s", given ? given : "");
    for (int seed = 0; seed <= 8; seed++) {
        char text[8];
        snprintf(text, sizeof text, "%d", seed);
        setenv("KEDGE_SIMT_SEED", seed ? text : "", 1);
        KD_LAUNCH(last_writes, 1, 64, 0, 0, dout);
        float *out = gpu_fetch(dout, 64);
        int wrong = 0;
        for (int i = 0; i < 64; i++) wrong += out[i] != 1;
        if (!seed) assert_int_equal(wrong, 0);
        wrong_in += wrong > 0;
        free(out);
    }
    setenv("KEDGE_SIMT_SEED", kept, 1);
    assert_true(wrong_in > 0);
    cudaFree(dout);
}

static __global__ void half_a_block() { if (threadIdx.x < 64) gpu_barrier_sync(1, 96); }
static __global__ void half_a_warp() {
    if (threadIdx.x % 32 < 16) gpu_barrier_sync(1, 32);
    __syncthreads();
}
static __global__ void two_opinions() { gpu_barrier_sync(1, threadIdx.x < 32 ? 64 : 96); }

static void barriers_that_do_not_complete_are_told(void **state) {
    (void)state;
    KD_LAUNCH(half_a_block, 1, 96, 0, 0);
    is_found("threads 0..63 wait in gpu_barrier_sync (1: 64 of 96 threads have come)");
    KD_LAUNCH(half_a_warp, 1, 64, 0, 0);
    is_found("complete with lanes 0x0000ffff of warp");
    KD_LAUNCH(two_opinions, 1, 96, 0, 0);
    is_found("others said");
}

static __global__ void diverged() {
    if (threadIdx.x < 16) __syncwarp();
    else __shfl_sync(0xffffffff, 1, 0);
}
static __global__ void from_nowhere(int *out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffff, 1, 20);
}

static void diverged_warps_are_found(void **state) {
    (void)state;
    KD_LAUNCH(diverged, 1, 32, 0, 0);
    is_found("while lanes of its warp wait in");
    int *dout = gpu_new<int>(32);
    KD_LAUNCH(from_nowhere, 1, 32, 0, 0, dout);
    is_found("reads lane 20, which does not take part");
    cudaFree(dout);
}

/* ---- the copy engine ------------------------------------------------------------------------------------------------------- */
enum { NO_WAIT, WRONG_PARITY, TOO_FEW_BYTES, NO_FENCE, NO_MBARRIER, LEAVES };
static __global__ void load_wrongly(MAP map, int how, uint16_t *out) {
    KD_SHARED(uint16_t, tile);
    __shared__ __align__(8) uint64_t bar;
    if (threadIdx.x == 0) {
        if (how != NO_MBARRIER) gpu_mbar_init(&bar, 1);
        if (how != NO_FENCE) gpu_mbar_fence_init();
        gpu_mbar_expect(&bar, how == TOO_FEW_BYTES ? 64 * 64 * 2 + 16 : 64 * 64 * 2);
        gpu_tma_load2(tile, &map, &bar, 0, 0);
    }
    __syncthreads();
    if (how == LEAVES) return;
    if (how != NO_WAIT) gpu_mbar_wait(&bar, 0);
    if (how == WRONG_PARITY) gpu_mbar_wait(&bar, 1);
    out[threadIdx.x] = tile[threadIdx.x];
    if (how == NO_WAIT) gpu_mbar_wait(&bar, 0);
}

static void wrong_loads_are_found(void **state) {
    (void)state;
    uint16_t *dx = ones(), *dout = gpu_new<uint16_t>(64);
    for (int how = NO_WAIT; how <= WRONG_PARITY; how++) {
        KD_LAUNCH(load_wrongly, 1, 64, 8192, 0, square_map(dx), how, dout);
        if (how == WRONG_PARITY) {
            is_found("wait in gpu_mbar_wait (shared + ");
            continue;
        }
        uint16_t *out = gpu_fetch(dout, 64);
        int wrong = 0;
        for (int i = 0; i < 64; i++) wrong += out[i] != kd_bf16_round(1);
        assert_true(getenv("KEDGE_SIMT_SEED") ? wrong >= 0 : wrong == 64);
        free(out);
    }
    KD_LAUNCH(load_wrongly, 1, 64, 8192, 0, square_map(dx), TOO_FEW_BYTES, dout);
    is_found("0 of 1 arrivals and 16 bytes are missing");
    KD_LAUNCH(load_wrongly, 1, 64, 8192, 0, square_map(dx), NO_FENCE, dout);
    is_found("without gpu_mbar_fence_init");
    KD_LAUNCH(load_wrongly, 1, 64, 8192, 0, square_map(dx), NO_MBARRIER, dout);
    is_found("there is no mbarrier");
    KD_LAUNCH(load_wrongly, 1, 64, 4096, 0, square_map(dx), LEAVES, dout);
    is_found("are not shared memory");
    cudaFree(dx), cudaFree(dout);
}

enum { UNFENCED, NOT_AWAITED, TOO_EARLY, OUT_OF_BOUNDS, TURN_TOO_EARLY };
static __global__ void store_wrongly(int how, uint32_t *out) {
    KD_SHARED(uint32_t, tile);
    int lane = (int)threadIdx.x;
    uint32_t d[4] = {1, 1, 1, 1};
    gpu_store_matrix4(tile + lane * 4, d);
    if (how != UNFENCED) gpu_fence_async();
    __syncwarp();
    if (lane == 0) {
        gpu_bulk_store(how == OUT_OF_BOUNDS ? out + 64 : out, tile, 512);
        gpu_bulk_commit();
        if (how == TOO_EARLY) tile[5] = 2;
        if (how == TURN_TOO_EARLY) {
            gpu_bulk_wait_read<0>();
            gpu_pass_turn((int32_t *)out + 127, 1);
        }
        if (how != NOT_AWAITED) gpu_bulk_wait<0>();
    }
}

static void wrong_stores_are_found(void **state) {
    (void)state;
    uint32_t *dout = gpu_new<uint32_t>(256);
    KD_LAUNCH(store_wrongly, 1, 32, 512, 0, UNFENCED, dout);
    is_found("without gpu_fence_async behind");
    if (!getenv("KEDGE_SIMT_SEED")) {  /* it may have happened by chance */
        KD_LAUNCH(store_wrongly, 1, 32, 512, 0, NOT_AWAITED, dout);
        is_found("copies under way that touch its shared memory");
        KD_LAUNCH(store_wrongly, 1, 32, 512, 0, TURN_TOO_EARLY, dout + 128);
        is_found("gpu_pass_turn while 1 bulk stores of the thread are under way");
        KD_LAUNCH(store_wrongly, 1, 32, 512, 0, TOO_EARLY, dout);
        uint32_t *out = gpu_fetch(dout, 128);
        assert_int_equal(out[4], 1);
        assert_int_equal(out[5], 2);
        free(out);
    }
    KD_LAUNCH(store_wrongly, 1, 32, 512, 0, OUT_OF_BOUNDS, dout + 128);
    is_found("are not all memory of the device");
    cudaFree(dout);
}

static __global__ void copy_wrongly(int how, const float *x, float *out) {
    KD_SHARED(float, tile);
    int t = (int)threadIdx.x;
    gpu_copy16(tile + 4 * t + (how == 1), x + 4 * t, true);
    gpu_copy_commit();
    if (how == 2) return;
    out[t] = tile[4 * t];
    gpu_copy_wait<0>();
}

static void wrong_copies_are_found(void **state) {
    (void)state;
    float x[256] = {0}, *dx = gpu_copy_of(x, 256), *dout = gpu_new<float>(64);
    KD_LAUNCH(copy_wrongly, 1, 32, 1024, 0, 0, dx, dout);
    float *out = gpu_fetch(dout, 32);
    for (int i = 0; i < 32; i++) assert_true(isnan(out[i]));
    KD_LAUNCH(copy_wrongly, 1, 32, 1024, 0, 1, dx, dout);
    is_found("multiples of 16");
    KD_LAUNCH(copy_wrongly, 1, 32, 1024, 0, 2, dx, dout);
    is_found("copies of 16 bytes not waited for");
    cudaFree(dx), cudaFree(dout), free(out);
}

/* ---- wgmma ----------------------------------------------------------------------------------------------------------------- */
enum { RIGHT, NO_WGMMA_FENCE, NO_WGMMA_WAIT, READ_EARLY, REUSED, WRONG_STRIDE, NOT_UNIFORM, WRITTEN_UNFENCED };
static __global__ void multiply_wrongly(MAP map, int how, float *out) {
    KD_SHARED(unsigned char, tile);
    __shared__ __align__(8) uint64_t bar;
    int t = (int)threadIdx.x;
    if (t == 0) {
        gpu_mbar_init(&bar, 1);
        gpu_mbar_fence_init();
        gpu_mbar_expect(&bar, 64 * 64 * 2);
        gpu_tma_load2(tile, &map, &bar, 0, 0);
    }
    __syncthreads();
    gpu_mbar_wait(&bar, 0);
    __syncthreads();
    if (how == WRITTEN_UNFENCED && t < 32) {
        uint32_t d[4] = {0, 0, 0, 0};
        gpu_store_matrix4(tile + 128 * (t % 32), d);
    }
    __syncthreads();
    float d[32];
    uint64_t a = gpu_tile_128b(tile, 1, how == WRONG_STRIDE ? 1024 + 512 : 1024),
             b = gpu_tile_128b(tile + (how == NOT_UNIFORM && t == 99 ? 32 : 0), 1, 1024);
    if (how != NO_WGMMA_FENCE) gpu_wgmma_fence();
    gpu_wgmma_ss<64, false, false, false>(d, a, b, false);
    gpu_wgmma_commit();
    if (how == REUSED) tile[t % 16] = (unsigned char)t;
    if (how == READ_EARLY) out[t] = d[0];
    if (how == NO_WGMMA_WAIT) return;
    gpu_wgmma_wait<0>();
    gpu_keep(d);
    if (how != READ_EARLY) out[t] = d[0];
}

static void wrong_wgmma_is_found(void **state) {
    (void)state;
    uint16_t *dx = ones();
    float *dout = gpu_new<float>(128);
    auto launch = [&](int how) { KD_LAUNCH(multiply_wrongly, 1, 128, 8192, 0, square_map(dx), how, dout); };
    launch(RIGHT);
    float *out = gpu_fetch(dout, 128);
    for (int i = 0; i < 128; i++) assert_true(out[i] == 16);
    free(out);
    launch(READ_EARLY);
    out = gpu_fetch(dout, 128);
    for (int i = 0; i < 128; i++) assert_true(isnan(out[i]));
    free(out);
    launch(NO_WGMMA_FENCE);
    is_found("wgmma without gpu_wgmma_fence");
    launch(NO_WGMMA_WAIT);
    is_found("wgmma that it has not waited for");
    launch(REUSED);
    is_found("changed between its issue and its end");
    launch(WRONG_STRIDE);
    is_found("wgmma: reads 16 bytes at shared address 0x");
    launch(NOT_UNIFORM);
    is_found("threads of a warpgroup disagree");
    launch(WRITTEN_UNFENCED);
    is_found("without gpu_fence_async behind");
    cudaFree(dx), cudaFree(dout);
}

static __global__ void __launch_bounds__(256, 1) too_many_registers() { gpu_registers_more<256>(); }
static __global__ void __launch_bounds__(384, 1) more_than_there_are() { gpu_registers_more<240>(); }

static void registers_that_are_not_there_are_found(void **state) {
    (void)state;
    float *dout = gpu_new<float>(1);
    KD_LAUNCH(more_than_there_are, 1, 384, 0, 0);
    is_found("its warpgroups ask for 92160 registers, there are 65536");
    KD_LAUNCH(too_many_registers, 1, 256, 0, 0);
    gpu_ok(cudaDeviceSynchronize());  /* 256 times 256 */
    cudaFree(dout);
}

/* ---- what the runtime keeps ------------------------------------------------------------------------------------------------ */
static __global__ void put_one(float *x) { *x = 1; }

static void what_is_enqueued_has_not_run(void **state) {
    (void)state;
    float *dx = gpu_new<float>(1), host = 0, *pinned;
    gpu_ok(cudaMallocHost((void **)&pinned, 4));
    *pinned = 5;
    KD_LAUNCH(put_one, 1, 1, 0, 0, dx);
    gpu_ok(cudaMemcpyAsync(&host, dx, 4, cudaMemcpyDeviceToHost, 0));
    assert_true(host == 0);
    gpu_ok(cudaStreamSynchronize(0));
    assert_true(host == 1);
    gpu_ok(cudaMemcpyAsync(dx, pinned, 4, cudaMemcpyHostToDevice, 0));
    *pinned = 6;  /* too early */
    gpu_ok(cudaMemcpy(&host, dx, 4, cudaMemcpyDeviceToHost));
    assert_true(host == 6);
    assert_int_equal(cudaMemcpy(dx, &host, 4, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaMemcpy(dx, &host, 8, cudaMemcpyHostToDevice), cudaErrorInvalidValue);
    cudaGetLastError();
    KD_LAUNCH(put_one, 1, 2000, 0, 0, dx);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    KD_LAUNCH(put_one, 1, 32, 50000, 0, dx);  /* more than 48 KiB must be asked for */
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidConfiguration);
    cudaFree(dx), cudaFreeHost(pinned);
}

/* ---- races, with RACES=1 --------------------------------------------------------------------------------------------------- */
#if defined(SIMT_RACES)
enum { ORDERED, NO_SYNC_WARP, ONLY_SHUFFLED };
static __global__ void row_of_a_warp(int how, uint32_t *out) {
    __shared__ __align__(16) uint32_t rows[32 * 4];
    int lane = (int)threadIdx.x;
    for (int i = 0; i < 4; i++) rows[(lane ^ 1) * 4 + i] = (uint32_t)i;
    if (how == ORDERED) __syncwarp();
    if (how == ONLY_SHUFFLED) out[lane] = __shfl_sync(0xffffffff, (uint32_t)lane, 0);
    uint32_t d[4];
    gpu_load_matrix4(d, rows + lane * 4);
    out[lane] = d[0];
}

enum { PIPELINED, NOT_EMPTIED, READ_LATE, WRITTEN_OVER, STORED_UNFENCED, FENCED_LATE };
/* Loads two boxes into one place, one after the other; then a thread writes there and stores it. */
static __global__ void one_place(MAP map, int how, uint16_t *out) {
    KD_SHARED(uint16_t, place);
    __shared__ __align__(8) uint64_t full, empty;
    int t = (int)threadIdx.x;
    if (t == 0) {
        gpu_mbar_init(&full, 1), gpu_mbar_init(&empty, 32);
        gpu_mbar_fence_init();
    }
    __syncthreads();
    for (int i = 0; i < 2; i++) {
        if (t == 32) {
            gpu_mbar_wait(how == NOT_EMPTIED ? &full : &empty, i ^ 1);
            gpu_mbar_expect(&full, 8192);
            gpu_tma_load2(place, &map, &full, 0, 0);
        }
        if (t >= 32) continue;
        gpu_mbar_wait(&full, i);
        uint16_t x = place[t];
        if (how == READ_LATE) gpu_mbar_arrive(&empty), x = place[t + 1];
        out[t] = x;
        if (how != READ_LATE) gpu_mbar_arrive(&empty);
    }
    if (how == WRITTEN_OVER && t == 33) place[5] = 1;
    __syncthreads();
    if (t == 7) place[t] = 2;
    if (t == 7 && how != STORED_UNFENCED && how != FENCED_LATE) gpu_fence_async();
    __syncthreads();
    if (t == 7 && how == FENCED_LATE) gpu_fence_async();
    if (t == 0) {
        gpu_bulk_store(out, place, 128);
        gpu_bulk_commit();
        gpu_bulk_wait<0>();
    }
}

static void races_are_found(void **state) {
    (void)state;
    uint16_t *dx = ones(), *dout = gpu_new<uint16_t>(64);
    uint32_t *dwords = gpu_new<uint32_t>(64);
    KD_LAUNCH(neighbours<true>, 1, 64, 0, 0, (float *)dwords);
    gpu_ok(cudaDeviceSynchronize());
    KD_LAUNCH(neighbours<false>, 1, 64, 0, 0, (float *)dwords);
    is_found("race: ");
    KD_LAUNCH(last_writes, 1, 64, 0, 0, (float *)dwords);
    is_found("with nothing that orders them");
    KD_LAUNCH(row_of_a_warp, 1, 32, 0, 0, ORDERED, dwords);
    gpu_ok(cudaDeviceSynchronize());
    KD_LAUNCH(row_of_a_warp, 1, 32, 0, 0, NO_SYNC_WARP, dwords);
    is_found("race: gpu_load_matrix4 reads");
    KD_LAUNCH(row_of_a_warp, 1, 32, 0, 0, ONLY_SHUFFLED, dwords);
    is_found("race: gpu_load_matrix4 reads");
    auto launch = [&](int how) { KD_LAUNCH(one_place, 1, 64, 8192, 0, square_map(dx), how, dout); };
    launch(PIPELINED);
    gpu_ok(cudaDeviceSynchronize());
    launch(NOT_EMPTIED);
    is_found("race: ");
    launch(READ_LATE);
    is_found("race: ");
    launch(WRITTEN_OVER);
    is_found("race: ");
    launch(STORED_UNFENCED);
    is_found("a bulk store reads shared address 0xe, which thread 7 wrote without gpu_fence_async behind");
    launch(FENCED_LATE);
    is_found("a bulk store reads shared address 0xe, which thread 7 wrote without gpu_fence_async behind");
    cudaFree(dx), cudaFree(dout), cudaFree(dwords);
}
#endif

int main(void) {
#if defined(SIMT_RACES)
    const struct CMUnitTest races[] = {cmocka_unit_test(races_are_found)};
    return cmocka_run_group_tests(races, NULL, NULL);
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_barrier_shows_nan),
        cmocka_unit_test(a_race_shows_in_some_order),
        cmocka_unit_test(barriers_that_do_not_complete_are_told),
        cmocka_unit_test(diverged_warps_are_found),
        cmocka_unit_test(wrong_loads_are_found),
        cmocka_unit_test(wrong_stores_are_found),
        cmocka_unit_test(wrong_copies_are_found),
        cmocka_unit_test(wrong_wgmma_is_found),
        cmocka_unit_test(registers_that_are_not_there_are_found),
        cmocka_unit_test(what_is_enqueued_has_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

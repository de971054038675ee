/* The GPU vocabulary (dev/gpu.cuh), word by word, beside its definition; and what kernels take from CUDA itself. */
#include "gpu_test.h"

/* ---- numbers --------------------------------------------------------------------------------------------------------------- */
enum { NUMBERS = 1 << 16 };

static __global__ void round_and_widen(const float *x, const uint16_t *stored, uint16_t *bf16, uint16_t *f16, uint32_t *pairs,
                                       float *widened) {
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    bf16[i] = gpu_bf16(x[i]);
    f16[i] = gpu_f16(x[i]);
    pairs[2 * i] = gpu_pair_bf16(x[i], x[i ^ 1]);
    pairs[2 * i + 1] = gpu_pair_f16(x[i], x[i ^ 1]);
    widened[2 * i] = gpu_widen_bf16(stored[i]);
    widened[2 * i + 1] = gpu_widen_f16(stored[i]);
}

static bool same_number(float x, float y) { return (isnan(x) && isnan(y)) || (x == y && signbit(x) == signbit(y)); }

static void numbers_round_to_nearest_even(void **state) {
    (void)state;
    gpu_need(80);
    float *x = (float *)malloc(NUMBERS * sizeof *x);
    uint16_t *stored = (uint16_t *)malloc(NUMBERS * sizeof *stored);
    for (int i = 0; i < NUMBERS; i++) {
        stored[i] = (uint16_t)i;
        x[i] = i % 3 == 0
                   ? kd_f16_widen((uint16_t)i) * (1 + (float)(i % 5 - 2) * 0x1p-11f) /* near ties, subnormals and the limits of both */
               : i % 3 == 1 ? kd_bf16_widen((uint16_t)i) * (1 + (float)(i % 5 - 2) * 0x1p-9f)
                            : (float)kd_random_normal(1, 2, (uint64_t)i);
    }
    float *dx = gpu_copy_of(x, NUMBERS), *widened = gpu_new<float>(2 * NUMBERS);
    uint16_t *dstored = gpu_copy_of(stored, NUMBERS), *bf16 = gpu_new<uint16_t>(NUMBERS), *f16 = gpu_new<uint16_t>(NUMBERS);
    uint32_t *pairs = gpu_new<uint32_t>(2 * NUMBERS);
    KD_LAUNCH(round_and_widen, NUMBERS / 256, 256, 0, 0, dx, dstored, bf16, f16, pairs, widened);
    float *w = gpu_fetch(widened, 2 * NUMBERS);
    uint16_t *b = gpu_fetch(bf16, NUMBERS), *f = gpu_fetch(f16, NUMBERS);
    uint32_t *p = gpu_fetch(pairs, 2 * NUMBERS);
    for (int i = 0; i < NUMBERS; i++) {
        assert_true(same_number(w[2 * i], kd_bf16_widen((uint16_t)i)));
        assert_true(same_number(w[2 * i + 1], kd_f16_widen((uint16_t)i)));
        if (isnan(x[i])) {
            assert_true(isnan(kd_bf16_widen(b[i])) && isnan(kd_f16_widen(f[i])));
            continue;
        }
        assert_int_equal(b[i], kd_bf16_round(x[i]));
        assert_int_equal(f[i], kd_f16_round(x[i]));
        assert_int_equal(p[2 * i] & 0xffff, b[i]);
        assert_int_equal(p[2 * i] >> 16, b[i ^ 1]);
        assert_int_equal(p[2 * i + 1] & 0xffff, f[i]);
        assert_int_equal(p[2 * i + 1] >> 16, f[i ^ 1]);
    }
    void *device[] = {dx, widened, dstored, bf16, f16, pairs}, *host[] = {x, stored, w, b, f, p};
    for (int i = 0; i < 6; i++) cudaFree(device[i]), free(host[i]);
}

static __global__ void powers_of_two(const float *x, float *y) { y[threadIdx.x] = gpu_exp2(x[threadIdx.x]); }

static void exp2_is_close_and_flushes_to_zero(void **state) {
    (void)state;
    gpu_need(80);
    float x[256];
    for (int i = 0; i < 256; i++) x[i] = (float)(i - 160) + (float)kd_random_uniform(3, 1, (uint64_t)i);
    x[0] = -INFINITY;
    x[1] = 0;
    x[2] = -1e30f;
    float *dx = gpu_copy_of(x, 256), *dy = gpu_new<float>(256);
    KD_LAUNCH(powers_of_two, 1, 256, 0, 0, dx, dy);
    float *y = gpu_fetch(dy, 256);
    for (int i = 0; i < 256; i++) {
        double right = exp2((double)x[i]);
        if (x[i] < -126) assert_true(y[i] == 0);
        else assert_true(fabs(y[i] - right) <= right * 0x1p-21);
    }
    cudaFree(dx), cudaFree(dy), free(y);
}

/* ---- tensor cores of a warp ------------------------------------------------------------------------------------------------ */
/* Fragments are taken number by number, as the table beside gpu_mma_bf16 has them. */
template <bool F16> static __global__ void one_product(const uint16_t *a, const uint16_t *b, float *d) {
    int lane = (int)threadIdx.x, r = lane / 4, c = lane % 4 * 2;
    auto pair = [](uint16_t first, uint16_t second) { return first | (uint32_t)second << 16; };
    uint32_t fa[4], fb[2];
    for (int i = 0; i < 4; i++) {
        const uint16_t *at = a + (r + i % 2 * 8) * 16 + c + i / 2 * 8;
        fa[i] = pair(at[0], at[1]);
    }
    for (int i = 0; i < 2; i++) fb[i] = pair(b[(c + 8 * i) * 8 + r], b[(c + 8 * i + 1) * 8 + r]);
    float f[4];
    for (int i = 0; i < 4; i++) f[i] = d[(r + i / 2 * 8) * 8 + c + i % 2];
    if (F16) gpu_mma_f16(f, fa, fb);
    else gpu_mma_bf16(f, fa, fb);
    for (int i = 0; i < 4; i++) d[(r + i / 2 * 8) * 8 + c + i % 2] = f[i];
}

template <bool F16> static void mma_is_a_product(void **state) {
    (void)state;
    gpu_need(80);
    uint16_t a[16 * 16], b[16 * 8];
    float d[16 * 8], x[16 * 16], y[16 * 8];
    for (int i = 0; i < 16 * 16; i++) a[i] = gpu_short_of(x[i] = gpu_eighth(1, i), F16);
    for (int i = 0; i < 16 * 8; i++) b[i] = gpu_short_of(y[i] = gpu_eighth(2, i), F16), d[i] = gpu_eighth(3, i);
    uint16_t *da = gpu_copy_of(a, 16 * 16), *db = gpu_copy_of(b, 16 * 8);
    float *dd = gpu_copy_of(d, 16 * 8);
    KD_LAUNCH(one_product<F16>, 1, 32, 0, 0, da, db, dd);
    float *out = gpu_fetch(dd, 16 * 8);
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 8; n++) {
            double sum = d[m * 8 + n];
            for (int k = 0; k < 16; k++) sum += (double)x[m * 16 + k] * y[k * 8 + n];
            assert_float_equal(out[m * 8 + n], sum, 0);  /* eighths: exact in float32 */
        }
    cudaFree(da), cudaFree(db), cudaFree(dd), free(out);
}

static __global__ void load_matrices(const uint16_t *x, uint32_t *out) {
    __shared__ __align__(16) uint16_t rows[32 * 24];  /* rows 48 bytes apart */
    int lane = (int)threadIdx.x;
    for (int i = 0; i < 8; i++) rows[lane * 24 + i] = x[lane * 8 + i];
    __syncthreads();
    uint32_t d[4], t[4];
    gpu_load_matrix4(d, rows + lane * 24);
    gpu_load_matrix4_t(t, rows + lane * 24);
    for (int i = 0; i < 4; i++) out[lane * 8 + i] = d[i], out[lane * 8 + 4 + i] = t[i];
}

static void load_matrix_gives_rows_or_columns(void **state) {
    (void)state;
    gpu_need(80);
    uint16_t x[256];
    for (int i = 0; i < 256; i++) x[i] = (uint16_t)(1000 + i);
    uint16_t *dx = gpu_copy_of(x, 256);
    uint32_t *dout = gpu_new<uint32_t>(256);
    KD_LAUNCH(load_matrices, 1, 32, 0, 0, dx, dout);
    uint32_t *out = gpu_fetch(dout, 256);
    for (int l = 0; l < 32; l++)
        for (int m = 0; m < 4; m++) {
            const uint16_t *matrix = x + 64 * m;
            int r = l / 4, c = l % 4 * 2;
            assert_int_equal(out[l * 8 + m], matrix[8 * r + c] | (uint32_t)matrix[8 * r + c + 1] << 16);
            assert_int_equal(out[l * 8 + 4 + m], matrix[8 * c + r] | (uint32_t)matrix[8 * (c + 1) + r] << 16);
        }
    cudaFree(dx), cudaFree(dout), free(out);
}

/* ---- copies ---------------------------------------------------------------------------------------------------------------- */
static __global__ void copy_in_groups(const float *x, float *out, int there) {
    KD_SHARED(float, mine);
    int t = (int)threadIdx.x;
    for (int g = 0; g < 3; g++) {
        gpu_copy16(mine + (g * 64 + t) * 4, x + (g * 64 + t) * 4, g * 64 + t < there);
        gpu_copy_commit();
    }
    gpu_copy_wait<2>();  /* the first has come */
    for (int i = 0; i < 4; i++) out[t * 4 + i] = mine[t * 4 + i];
    gpu_copy_wait<0>();
    __syncthreads();
    for (int g = 1; g < 3; g++)
        for (int i = 0; i < 4; i++) out[(g * 64 + t) * 4 + i] = mine[(g * 64 + (t ^ 1)) * 4 + i];  /* another thread's */
}

static void copies_come_in_groups_and_give_zeros(void **state) {
    (void)state;
    gpu_need(80);
    float x[3 * 64 * 4];
    for (int i = 0; i < 768; i++) x[i] = (float)i + 1;
    float *dx = gpu_copy_of(x, 768), *dout = gpu_new<float>(768);
    KD_LAUNCH(copy_in_groups, 1, 64, 3 * 64 * 16, 0, dx, dout, 150);
    float *out = gpu_fetch(dout, 768);
    for (int i = 0; i < 768; i++) {
        int from = i / 4 < 64 ? i : (i / 4 ^ 1) * 4 + i % 4;
        assert_true(out[i] == (from / 4 < 150 ? x[from] : 0));
    }
    cudaFree(dx), cudaFree(dout), free(out);
}

/* ---- barriers and turns ---------------------------------------------------------------------------------------------------- */
/* Warps 0 and 1 fill a place, warp 2 takes it, by two named barriers; warp 3 is not concerned. */
static __global__ void hand_over(int rounds, float *out) {
    __shared__ float place[64];
    int t = (int)threadIdx.x, warp = t / 32;
    for (int i = 0; i < rounds && warp < 2; i++) {
        if (i) gpu_barrier_sync(2, 96);
        place[t] = (float)(i * 100 + t);
        gpu_barrier_arrive(1, 96);
    }
    for (int i = 0; i < rounds && warp == 2; i++) {
        gpu_barrier_sync(1, 96);
        int lane = t % 32;
        out[i * 64 + lane] = place[63 - lane];
        out[i * 64 + 32 + lane] = place[lane];
        if (i + 1 < rounds) gpu_barrier_arrive(2, 96);
    }
}

static void named_barriers_hand_over(void **state) {
    (void)state;
    gpu_need(80);
    enum { ROUNDS = 5 };
    float *dout = gpu_new<float>(ROUNDS * 64);
    KD_LAUNCH(hand_over, 2, 128, 0, 0, ROUNDS, dout);
    float *out = gpu_fetch(dout, ROUNDS * 64);
    for (int i = 0; i < ROUNDS; i++)
        for (int l = 0; l < 32; l++) {
            assert_true(out[i * 64 + l] == (float)(i * 100 + 63 - l));
            assert_true(out[i * 64 + 32 + l] == (float)(i * 100 + l));
        }
    cudaFree(dout), free(out);
}

/* Blocks take work by a counter; each adds to x in turn: the result tells the order. */
static __global__ void in_turn(int32_t *next, int32_t *turn, uint32_t *x, int works) {
    __shared__ int work;
    for (;;) {
        if (threadIdx.x == 0) work = atomicAdd(next, 1);
        __syncthreads();
        int mine = work;
        if (mine >= works) break;
        if (threadIdx.x == 0) gpu_wait_turn(turn, mine);
        __syncthreads();
        x[threadIdx.x] = x[threadIdx.x] * 31 + (uint32_t)mine;
        __syncthreads();
        if (threadIdx.x == 0) gpu_pass_turn(turn, mine + 1);
    }
}

static void turns_pass_in_order(void **state) {
    (void)state;
    gpu_need(80);
    int32_t zero[2] = {0, 0};
    uint32_t x[64], right = 5;
    for (int i = 0; i < 64; i++) x[i] = 5;
    for (uint32_t i = 0; i < 40; i++) right = right * 31 + i;
    int32_t *counters = gpu_copy_of(zero, 2);
    uint32_t *dx = gpu_copy_of(x, 64);
    KD_LAUNCH(in_turn, 4, 64, 0, 0, counters, counters + 1, dx, 40);
    uint32_t *out = gpu_fetch(dx, 64);
    for (int i = 0; i < 64; i++) assert_int_equal(out[i], right);
    cudaFree(counters), cudaFree(dx), free(out);
}

/* ---- what kernels take from CUDA ------------------------------------------------------------------------------------------- */
static __global__ void votes_and_shuffles(int *out) {
    int t = (int)threadIdx.x, lane = t % 32, *mine = out + t * 10;
    mine[0] = __shfl_sync(0xffffffff, t, 5);
    mine[1] = __shfl_xor_sync(0xffffffff, t, 6);
    mine[2] = __shfl_up_sync(0xffffffff, t, 3);
    mine[3] = __shfl_down_sync(0xffffffff, t, 4, 8);
    mine[4] = (int)__ballot_sync(0xffffffff, lane % 3 == 0);
    mine[5] = __any_sync(0xffffffff, t == 40) * 2 + __all_sync(0xffffffff, t < 64);
    mine[6] = __syncthreads_count(t % 5 == 0);
    mine[7] = (int)(2 * __shfl_sync(0xffffffff, (double)t / 2, lane ^ 1));
    unsigned half = lane < 16 ? 0xffff : 0xffff0000;
    mine[8] = lane < 16 ? __shfl_xor_sync(half, t, 1) : __shfl_xor_sync(half, t, 2);
    if (lane >= 20) return;
    mine[9] = __shfl_sync(0xfffff, t, 19);
}

static void votes_and_shuffles_are_cudas(void **state) {
    (void)state;
    gpu_need(80);
    int *dout = gpu_new<int>(640);
    KD_LAUNCH(votes_and_shuffles, 1, 64, 0, 0, dout);
    int *out = gpu_fetch(dout, 640);
    for (int t = 0; t < 64; t++) {
        int *mine = out + 10 * t, lane = t % 32, base = t - lane;
        assert_int_equal(mine[0], base + 5);
        assert_int_equal(mine[1], t ^ 6);
        assert_int_equal(mine[2], lane < 3 ? t : t - 3);
        assert_int_equal(mine[3], lane % 8 + 4 > 7 ? t : t + 4);
        assert_int_equal(mine[4], 0x49249249);
        assert_int_equal(mine[5], 2 * (t >= 32) + 1);
        assert_int_equal(mine[6], 13);
        assert_int_equal(mine[7], t ^ 1);
        assert_int_equal(mine[8], lane < 16 ? t ^ 1 : t ^ 2);
        if (lane < 20) assert_int_equal(mine[9], base + 19);
    }
    cudaFree(dout), free(out);
}

/* Each block has its own variables, also while it waits for others. */
static __global__ void sum_of_block(int32_t *turn, int *out) {
    __shared__ int values[96], total;
    int t = (int)threadIdx.x, n = (int)gridDim.x;
    values[t] = (int)blockIdx.x * 1000 + t;
    if (t == 0) total = 0;
    __syncthreads();
    if (t == 0) gpu_wait_turn(turn, n - 1 - (int)blockIdx.x);  /* the last first */
    __syncthreads();
    atomicAdd(&total, values[95 - t]);
    __syncthreads();
    if (t) return;
    out[blockIdx.x] = total;
    gpu_pass_turn(turn, n - (int)blockIdx.x);
}

static void blocks_have_their_own_shared_memory(void **state) {
    (void)state;
    gpu_need(80);
    int32_t zero = 0, *turn = gpu_copy_of(&zero, 1);
    int *dout = gpu_new<int>(4);
    KD_LAUNCH(sum_of_block, 4, 96, 0, 0, turn, dout);
    int *out = gpu_fetch(dout, 4);
    for (int b = 0; b < 4; b++) assert_int_equal(out[b], b * 96000 + 95 * 48);
    cudaFree(turn), cudaFree(dout), free(out);
}

static __global__ void where_am_i(int *out) {
    unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    out[block * 24 + thread] = (int)(block * 1000 + thread);
}

static void threads_know_where_they_are(void **state) {
    (void)state;
    gpu_need(80);
    int *dout = gpu_new<int>(30 * 24);
    KD_LAUNCH(where_am_i, dim3(5, 2, 3), dim3(4, 3, 2), 0, 0, dout);
    int *out = gpu_fetch(dout, 30 * 24);
    for (int i = 0; i < 30 * 24; i++) assert_int_equal(out[i], i / 24 * 1000 + i % 24);
    cudaFree(dout), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_round_to_nearest_even),
        cmocka_unit_test(exp2_is_close_and_flushes_to_zero),
        cmocka_unit_test(mma_is_a_product<false>),
        cmocka_unit_test(mma_is_a_product<true>),
        cmocka_unit_test(load_matrix_gives_rows_or_columns),
        cmocka_unit_test(copies_come_in_groups_and_give_zeros),
        cmocka_unit_test(named_barriers_hand_over),
        cmocka_unit_test(turns_pass_in_order),
        cmocka_unit_test(votes_and_shuffles_are_cudas),
        cmocka_unit_test(blocks_have_their_own_shared_memory),
        cmocka_unit_test(threads_know_where_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A GPU's limits, for what is measured on it: a large product in its tensor cores, and copies within its memory. */
#include <stdlib.h>

#include "base/arena.h"
#include "base/half.h"
#include "base/random.h"
#include "blas_cuda.h"
#include "peak.h"

enum {
    RUNS = 9,
    SIDE_BLOCKS = 2,           /* a product of 8192 x 8192 x 8192 on a large GPU */
    COPY_EACH = 128 << 10,     /* bytes copied for each token of the context's block: 512 MiB */
    NUMBERS = 1 << 20,         /* random ones; a matrix repeats them */
};

typedef kd_status work(kd_ctx *ctx, void *const memory[3], int64_t size);

/* Seconds of one run: the median of some, after one that is not counted. */
static kd_status time_of(double *seconds, kd_ctx *ctx, work *run, void *const memory[3], int64_t size) {
    cudaEvent_t mark[RUNS + 1] = {0};
    float took[RUNS];
    kd_status status;
    for (int i = 0; i <= RUNS; i++) KD_GO(kd_cuda_try("making an event", cudaEventCreate(&mark[i])));
    KD_GO(run(ctx, memory, size));
    for (int i = 0; i <= RUNS; i++) {
        if (i > 0) KD_GO(run(ctx, memory, size));
        KD_GO(kd_cuda_try("an event", cudaEventRecord(mark[i], ctx->cuda->stream)));
    }
    KD_GO(kd_cuda_try("waiting for the GPU", cudaEventSynchronize(mark[RUNS])));
    for (int i = 0; i < RUNS; i++) {
        int at = i;
        float t;
        KD_GO(kd_cuda_try("an event", cudaEventElapsedTime(&t, mark[i], mark[i + 1])));
        for (; at > 0 && took[at - 1] > t; at--) took[at] = took[at - 1];
        took[at] = t;
    }
    *seconds = took[RUNS / 2] * 1e-3;
done:
    for (int i = 0; i <= RUNS; i++)
        if (mark[i]) cudaEventDestroy(mark[i]);
    return status;
}

/* The same with memory of its own, `bytes` each. */
static kd_status measure(double *seconds, kd_ctx *ctx, work *fill, work *run, int count, int64_t bytes, int64_t size) {
    void *memory[3] = {0};
    kd_status status = KD_OK;
    for (int i = 0; i < count && !status; i++) status = ctx->device->alloc(ctx, &memory[i], bytes);
    if (!status && fill) status = fill(ctx, memory, size);
    if (!status) status = time_of(seconds, ctx, run, memory, size);
    for (int i = 0; i < count; i++)
        if (memory[i]) ctx->device->release(ctx, memory[i], bytes);
    return status;
}

/* ---- the product --------------------------------------------------------------------------------------------------------------- */

/* Of numbers that change every bit: equal ones take less power, and run faster than work does. */
static kd_status fill_random(kd_ctx *ctx, void *const memory[3], int64_t side) {
    uint16_t *number;
    KD_TRY(kd_new(&number, NUMBERS, sizeof *number));
    kd_status status = KD_OK;
    for (int64_t i = 0; i < NUMBERS; i++) number[i] = kd_bf16_round((float)(2 * kd_random_uniform(1, 0, (uint64_t)i) - 1));
    int64_t all = side * side, first = all < NUMBERS ? all : NUMBERS;
    for (int m = 0; m < 2 && !status; m++) {
        uint16_t *matrix = memory[m];
        status = ctx->device->put(ctx, matrix, number, first * (int64_t)sizeof *number);
        for (int64_t at = first, count; at < all && !status; at += count) {  /* what is there once more */
            count = all - at < at ? all - at : at;
            status = kd_cuda_try("copying on the GPU", cudaMemcpyAsync(matrix + at, matrix, (size_t)count * sizeof *number,
                                                                       cudaMemcpyDeviceToDevice, ctx->cuda->stream));
        }
    }
    free(number);
    return status;
}

static kd_status multiply(kd_ctx *ctx, void *const memory[3], int64_t side) {
    const kd_blas_product p = {.right_turned = true, .type = KD_VIEW_BF16, .out_type = KD_VIEW_BF16, .rows = side, .columns = side,
                               .sum = side, .usual_rows = side, .usual_sum = side, .left_stride = side, .out = memory[2],
                               .left = memory[0], .right = memory[1]};
    return kd_blas_multiply(ctx, &p, ctx->scratch);
}

kd_status kd_peak_gemm(double *flops, kd_ctx *ctx) {
    if (!ctx->cuda) return kd_fail(KD_ENOTSUP, "a product's limit is measured on CUDA devices alone, not on %s", ctx->device->name);
    int64_t side = SIDE_BLOCKS * ctx->block;
    double seconds;
    KD_TRY(kd_ctx_reserve(ctx, KD_BLAS_WORKSPACE));
    ctx->device->enter(ctx);
    kd_status status = measure(&seconds, ctx, fill_random, multiply, 3, side * side * 2, side);
    if (status == KD_ENOMEM) {  /* beside a model there may be less room */
        side /= 4;
        status = measure(&seconds, ctx, fill_random, multiply, 3, side * side * 2, side);
    }
    *flops = status ? 0 : 2.0 * (double)side * (double)side * (double)side / seconds;
    return status;
}

/* ---- the memory ---------------------------------------------------------------------------------------------------------------- */

static kd_status copy(kd_ctx *ctx, void *const memory[3], int64_t bytes) {
    return kd_cuda_try("copying on the GPU",
                       cudaMemcpyAsync(memory[1], memory[0], (size_t)bytes, cudaMemcpyDeviceToDevice, ctx->cuda->stream));
}

kd_status kd_cuda_copy_bandwidth(double *bytes_per_second, kd_ctx *ctx) {
    int64_t bytes = ctx->block * COPY_EACH;
    double seconds;
    ctx->device->enter(ctx);
    KD_TRY(measure(&seconds, ctx, NULL, copy, 2, bytes, bytes));
    *bytes_per_second = 2.0 * (double)bytes / seconds;
    return KD_OK;
}

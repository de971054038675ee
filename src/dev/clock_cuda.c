/* Times of operations on a stream: a pair of events around each, read when the stream has been waited for. */
#include <stdlib.h>

#include "base/arena.h"
#include "cuda.h"
#include "op.h"

enum { PAIRS = 1024 };  /* of a stream that nobody waits for: then it is waited for here */

typedef struct kd_cuda_clock {
    struct { cudaEvent_t from, to; const kd_op *op; } pair[PAIRS];
    int64_t used, made;
} kd_cuda_clock;

static bool one_more(kd_cuda_clock *clock) {
    if (clock->used < clock->made) return true;
    cudaEvent_t from, to;
    if (cudaEventCreate(&from)) return false;
    if (cudaEventCreate(&to)) {
        cudaEventDestroy(from);
        return false;
    }
    clock->pair[clock->made].from = from;
    clock->pair[clock->made++].to = to;
    return true;
}

int64_t kd_cuda_mark(kd_ctx *ctx) {
    kd_cuda *cuda = ctx->cuda;
    ctx->device->enter(ctx);
    if (!cuda->clock && kd_new(&cuda->clock, 1, sizeof *cuda->clock)) return -1;
    kd_cuda_clock *clock = cuda->clock;
    if (clock->used == PAIRS && cudaStreamSynchronize(cuda->stream) == cudaSuccess) kd_cuda_clock_read(ctx);
    if (clock->used == PAIRS || !one_more(clock) || cudaEventRecord(clock->pair[clock->used].from, cuda->stream)) return -1;
    clock->pair[clock->used].op = NULL;
    return clock->used++;
}

void kd_cuda_count(kd_ctx *ctx, const kd_op *op, int64_t mark) {
    if (mark < 0) return;
    kd_cuda_clock *clock = ctx->cuda->clock;
    if (!cudaEventRecord(clock->pair[mark].to, ctx->cuda->stream)) clock->pair[mark].op = op;
}

void kd_cuda_clock_read(kd_ctx *ctx) {
    kd_cuda_clock *clock = ctx->cuda->clock;
    if (!clock) return;
    for (int64_t i = 0; i < clock->used; i++) {
        float milliseconds;
        if (!ctx->clock || !clock->pair[i].op || cudaEventElapsedTime(&milliseconds, clock->pair[i].from, clock->pair[i].to)) continue;
        kd_clock_count(ctx->clock, clock->pair[i].op, milliseconds * 1e-3);
    }
    clock->used = 0;
}

void kd_cuda_clock_close(kd_cuda *cuda) {
    for (int64_t i = 0; cuda->clock && i < cuda->clock->made; i++) {
        cudaEventDestroy(cuda->clock->pair[i].from);
        cudaEventDestroy(cuda->clock->pair[i].to);
    }
    free(cuda->clock);
    cuda->clock = NULL;
}

/* What a GPU's memory has no room for, in the host's: pinned, so that kernels use it over the bus and copies go on beside kernels. */
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

/* Copies go one after another on a stream of their own. An event stands behind what the kernels' stream had when the last copy of a lane
 * was asked for, another behind the copy. */
typedef struct kd_cuda_beside {
    cudaStream_t stream;
    cudaEvent_t asked[KD_LANES], done[KD_LANES];
    kd_region *pinned;
} kd_cuda_beside;

static kd_status open_beside(kd_cuda *cuda) {
    if (cuda->beside) return KD_OK;
    KD_TRY(kd_new(&cuda->beside, 1, sizeof *cuda->beside));
    kd_cuda_beside *b = cuda->beside;
    KD_TRY(kd_cuda_try("making a stream", cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking)));
    for (int i = 0; i < KD_LANES; i++) {
        KD_TRY(kd_cuda_try("making an event", cudaEventCreateWithFlags(&b->asked[i], cudaEventDisableTiming)));
        KD_TRY(kd_cuda_try("making an event", cudaEventCreateWithFlags(&b->done[i], cudaEventDisableTiming)));
    }
    return KD_OK;
}

void kd_cuda_beside_close(kd_cuda *cuda) {
    kd_cuda_beside *b = cuda->beside;
    if (!b) return;
    for (kd_region *r = b->pinned, *next; r; r = next) {
        next = r->next;
        cudaFreeHost(r->memory);
        free(r);
    }
    for (int i = 0; i < KD_LANES; i++) {
        if (b->asked[i]) cudaEventDestroy(b->asked[i]);
        if (b->done[i]) cudaEventDestroy(b->done[i]);
    }
    if (b->stream) cudaStreamDestroy(b->stream);
    free(b);
    cuda->beside = NULL;
}

kd_status kd_cuda_alloc_host(kd_ctx *ctx, void **out, int64_t bytes) {
    kd_region *region;
    *out = NULL;
    KD_TRY(open_beside(ctx->cuda));
    KD_TRY(kd_new(&region, 1, sizeof *region));
    cudaError_t code = cudaMallocHost(out, (size_t)bytes);
    if (code) {
        free(region);
        return kd_fail_prefix(kd_cuda_try("pinned memory", code), "%lld bytes of the host's memory", (long long)bytes);
    }
    memset(*out, 0, (size_t)bytes);
    *region = (kd_region){*out, bytes, ctx->cuda->beside->pinned};
    ctx->cuda->beside->pinned = region;
    return KD_OK;
}

bool kd_cuda_release_host(kd_ctx *ctx, void *memory) {
    kd_cuda_beside *b = ctx->cuda->beside;
    for (kd_region **at = b ? &b->pinned : NULL; at && *at; at = &(*at)->next) {
        kd_region *region = *at;
        if (region->memory != memory) continue;
        *at = region->next;
        cudaStreamSynchronize(b->stream);
        cudaFreeHost(memory);
        free(region);
        return true;
    }
    return false;
}

kd_status kd_cuda_copy_beside(kd_ctx *ctx, void *to, const void *from, int64_t bytes, int64_t lane) {
    KD_TRY(open_beside(ctx->cuda));
    kd_cuda_beside *b = ctx->cuda->beside;
    KD_TRY(kd_cuda_try("a copy beside", cudaEventRecord(b->asked[lane], ctx->cuda->stream)));
    KD_TRY(kd_cuda_try("a copy beside", cudaStreamWaitEvent(b->stream, b->asked[lane], 0)));
    KD_TRY(kd_cuda_try("a copy beside", cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDefault, b->stream)));
    return kd_cuda_try("a copy beside", cudaEventRecord(b->done[lane], b->stream));
}

/* Of a lane that has copied nothing there is nothing to wait for. */
kd_status kd_cuda_await_copy(kd_ctx *ctx, int64_t lane) {
    if (!ctx->cuda->beside) return KD_OK;
    return kd_cuda_try("awaiting a copy", cudaStreamWaitEvent(ctx->cuda->stream, ctx->cuda->beside->done[lane], 0));
}

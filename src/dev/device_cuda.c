/* A GPU as a device. Everything is enqueued on one stream, in order: an operation's memory is ready when its turn comes, and the host
 * waits only to read. What must not wait, small arguments of operations, is copied through a ring of pinned memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "cuda.h"

enum {
    RING = 16 << 20,       /* bytes; half of it is the most that kd_cuda_put_later takes without waiting */
    BLOCK_MOST = 4096,     /* tokens of a matrix product: of a large GPU, whose multiprocessors all have work then */
    BLOCK_LEAST = 64,
    BLOCK_EACH = 16,       /* tokens for each multiprocessor: tiles enough for several rounds */
    LEAST_MAJOR = 8,       /* compute capability 8.0: bf16 in tensor cores, asynchronous copies */
};

kd_status kd_cuda_try(const char *call, cudaError_t code) {
    if (code == cudaSuccess) return KD_OK;
    cudaGetLastError();  /* or the next launch would be blamed for it */
    return kd_fail(code == cudaErrorMemoryAllocation ? KD_ENOMEM : KD_EIO, "%s: CUDA: %s", call, cudaGetErrorString(code));
}

kd_status kd_cuda_launched(const char *kernel) { return kd_cuda_try(kernel, cudaGetLastError()); }

/* ---- memory ---------------------------------------------------------------------------------------------------------------- */

/* CUDA's calls work on the device that the calling thread last chose. */
static void cuda_enter(kd_ctx *ctx) { cudaSetDevice(ctx->cuda->device); }

static kd_status cuda_memory(kd_ctx *ctx, int64_t *free, int64_t *total) {
    size_t left = 0, all = 0;
    cuda_enter(ctx);
    KD_TRY(kd_cuda_try("the GPU's memory", cudaMemGetInfo(&left, &all)));
    *free = (int64_t)left;
    *total = (int64_t)all;
    return KD_OK;
}

static kd_status cuda_alloc(kd_ctx *ctx, void **out, int64_t bytes) {
    *out = NULL;
    cuda_enter(ctx);
    cudaError_t code = cudaMalloc(out, (size_t)bytes);
    if (code == cudaErrorMemoryAllocation) {
        int64_t left, all;
        cudaGetLastError();
        KD_TRY(cuda_memory(ctx, &left, &all));
        return kd_fail(KD_ENOMEM, "out of memory: %lld bytes on cuda:%d, which has %lld of %lld left", (long long)bytes, ctx->cuda->device,
                       (long long)left, (long long)all);
    }
    KD_TRY(kd_cuda_try("memory of the GPU", code));
    kd_status status = kd_cuda_try("zeroing memory", cudaMemsetAsync(*out, 0, (size_t)bytes, ctx->cuda->stream));
    if (status) {
        cudaFree(*out);
        *out = NULL;
    }
    return status;
}

static void cuda_release(kd_ctx *ctx, void *memory, int64_t bytes) {
    (void)bytes;
    cuda_enter(ctx);
    cudaStreamSynchronize(ctx->cuda->stream);  /* what was enqueued may use it still */
    if (!kd_cuda_release_host(ctx, memory)) cudaFree(memory);
}

/* ---- copies ---------------------------------------------------------------------------------------------------------------- */

/* A kernel cannot fail, so it notes what it found. Once said it is forgotten. */
static kd_status report_fault(kd_ctx *ctx) {
    kd_cuda *cuda = ctx->cuda;
    int32_t what = cuda->found[0], index = cuda->found[1], value = cuda->found[2];
    if (what == KD_CUDA_FINE) return KD_OK;
    KD_TRY(kd_cuda_try("clearing a fault", cudaMemsetAsync(cuda->fault, 0, 4 * sizeof *cuda->fault, cuda->stream)));
    if (what == KD_CUDA_BAD_TOKEN) return kd_fail(KD_EARG, "embedding: token %d at %d is outside the vocabulary", value, index);
    return kd_fail(KD_EARG, "cross entropy: token %d at %d is outside the vocabulary", value, index);
}

static kd_status cuda_finish(kd_ctx *ctx) {
    kd_cuda *cuda = ctx->cuda;
    cuda_enter(ctx);
    KD_TRY(kd_cuda_try("reading faults",
                       cudaMemcpyAsync(cuda->found, cuda->fault, 4 * sizeof *cuda->fault, cudaMemcpyDeviceToHost, cuda->stream)));
    KD_TRY(kd_cuda_try("waiting for the GPU", cudaStreamSynchronize(cuda->stream)));
    kd_cuda_clock_read(ctx);
    return report_fault(ctx);
}

static kd_status cuda_get(kd_ctx *ctx, void *host, const void *from, int64_t bytes) {
    cuda_enter(ctx);
    KD_TRY(kd_cuda_try("copying to the host", cudaMemcpyAsync(host, from, (size_t)bytes, cudaMemcpyDefault, ctx->cuda->stream)));
    return cuda_finish(ctx);
}

static kd_status put_waiting(kd_ctx *ctx, void *to, const void *host, int64_t bytes) {
    KD_TRY(kd_cuda_try("copying to the GPU", cudaMemcpyAsync(to, host, (size_t)bytes, cudaMemcpyDefault, ctx->cuda->stream)));
    return kd_cuda_try("copying to the GPU", cudaStreamSynchronize(ctx->cuda->stream));
}

/* The ring is filled half by half; a half is written again when the copies out of it are done. */
kd_status kd_cuda_put_later(kd_ctx *ctx, void *to, const void *host, int64_t bytes) {
    kd_cuda *cuda = ctx->cuda;
    int64_t half = cuda->stage_bytes / 2, place = (bytes + KD_ALIGN - 1) / KD_ALIGN * KD_ALIGN;
    cuda_enter(ctx);
    if (place > half) return put_waiting(ctx, to, host, bytes);
    if (cuda->stage_at + place > half) {
        KD_TRY(kd_cuda_try("the copies' ring", cudaEventRecord(cuda->staged[cuda->stage_half], cuda->stream)));
        cuda->stage_half = 1 - cuda->stage_half;
        cuda->stage_at = 0;
        KD_TRY(kd_cuda_try("the copies' ring", cudaEventSynchronize(cuda->staged[cuda->stage_half])));
    }
    char *from = (char *)cuda->stage + cuda->stage_half * half + cuda->stage_at;
    memcpy(from, host, (size_t)bytes);
    cuda->stage_at += place;
    return kd_cuda_try("copying to the GPU", cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDefault, cuda->stream));
}

static kd_status cuda_put(kd_ctx *ctx, void *to, const void *host, int64_t bytes) { return kd_cuda_put_later(ctx, to, host, bytes); }

/* ---- streams ----------------------------------------------------------------------------------------------------------------- */

/* The context's memory is used in the order of its stream; the next one takes it over where this one is done with it. */
static kd_status cuda_use_stream(kd_ctx *ctx, void *stream) {
    kd_cuda *cuda = ctx->cuda;
    cudaEvent_t done;
    if (stream == cuda->stream) return KD_OK;
    cuda_enter(ctx);
    KD_TRY(kd_cuda_try("making an event", cudaEventCreateWithFlags(&done, cudaEventDisableTiming)));
    kd_status status = kd_cuda_try("leaving a stream", cudaEventRecord(done, cuda->stream));
    if (!status) status = kd_cuda_try("taking a stream", cudaStreamWaitEvent(stream, done, 0));
    cudaEventDestroy(done);  /* CUDA keeps it until it has been waited for */
    if (!status) cuda->stream = stream;
    return status;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------------------- */

static void cuda_close(kd_ctx *ctx) {
    kd_cuda *cuda = ctx->cuda;
    if (!cuda) return;
    cuda_enter(ctx);
    if (cuda->own) cudaStreamSynchronize(cuda->stream);
    if (cuda->close_blas) cuda->close_blas(cuda);
    if (cuda->close_windows) cuda->close_windows(cuda);
    kd_cuda_clock_close(cuda);
    kd_cuda_beside_close(cuda);
    for (int i = 0; i < 2; i++)
        if (cuda->staged[i]) cudaEventDestroy(cuda->staged[i]);
    if (cuda->stage) cudaFreeHost(cuda->stage);
    if (cuda->found) cudaFreeHost(cuda->found);
    if (cuda->fault) cudaFree(cuda->fault);
    if (cuda->own) cudaStreamDestroy(cuda->own);
    free(cuda);
    ctx->cuda = NULL;
}

static const kd_device kd_device_cuda = {.name = "cuda", .alloc = cuda_alloc, .release = cuda_release, .put = cuda_put, .get = cuda_get,
                                         .enter = cuda_enter, .finish = cuda_finish, .memory = cuda_memory,
                                         .use_stream = cuda_use_stream, .mark = kd_cuda_mark,
                                         .count = kd_cuda_count, .alloc_host = kd_cuda_alloc_host,
                                         .copy_beside = kd_cuda_copy_beside, .await_copy = kd_cuda_await_copy, .close = cuda_close};

static kd_status attribute(int *value, enum cudaDeviceAttr which, int device) {
    return kd_cuda_try("looking at the GPU", cudaDeviceGetAttribute(value, which, device));
}

/* KD_ENOTSUP unless the machine has a GPU of this number. A machine without a driver is no failure of CUDA's. */
static kd_status there_is(int64_t number) {
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code) {
        cudaGetLastError();
        return kd_fail(KD_ENOTSUP, "device cuda:%lld: CUDA finds no GPU here: %s", (long long)number, cudaGetErrorString(code));
    }
    if (number < count) return KD_OK;
    return kd_fail(KD_ENOTSUP, "device cuda:%lld: this machine has %d GPU%s", (long long)number, count, count == 1 ? "" : "s");
}

kd_status kd_cuda_isa(kd_isa *isa, const char *name, int major, int minor) {
    if (major < LEAST_MAJOR)
        return kd_fail(KD_ENOTSUP, "%s has compute capability %d.%d: kedge needs 8.0 (Ampere) or more", name, major, minor);
    *isa = major == 9 && minor == 0 ? KD_ISA_SM90 : KD_ISA_SM80;
    return KD_OK;
}

int64_t kd_cuda_block(int multiprocessors) {
    int64_t block = BLOCK_LEAST;
    while (block < BLOCK_MOST && block < (int64_t)multiprocessors * BLOCK_EACH) block *= 2;
    return block;
}

static kd_status open_cuda(kd_ctx *ctx, int device) {
    struct cudaDeviceProp about;
    KD_TRY(kd_new(&ctx->cuda, 1, sizeof *ctx->cuda));
    kd_cuda *cuda = ctx->cuda;
    cuda->device = device;
    KD_TRY(kd_cuda_try("looking at the GPU", cudaGetDeviceProperties(&about, device)));
    KD_TRY(kd_cuda_isa(&ctx->isa, about.name, about.major, about.minor));
    KD_TRY(kd_isa_cap(&ctx->isa));
    KD_TRY(attribute(&cuda->multiprocessors, cudaDevAttrMultiProcessorCount, device));
    KD_TRY(attribute(&cuda->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    ctx->block = kd_cuda_block(cuda->multiprocessors);
    cuda->stage_bytes = RING;
    KD_TRY(kd_cuda_try("choosing the GPU", cudaSetDevice(device)));
    KD_TRY(kd_cuda_try("making a stream", cudaStreamCreateWithFlags(&cuda->own, cudaStreamNonBlocking)));
    cuda->stream = cuda->own;
    KD_TRY(kd_cuda_try("memory of the GPU", cudaMalloc((void **)&cuda->fault, 4 * sizeof *cuda->fault)));
    KD_TRY(kd_cuda_try("memory of the GPU", cudaMemsetAsync(cuda->fault, 0, 4 * sizeof *cuda->fault, cuda->stream)));
    KD_TRY(kd_cuda_try("pinned memory", cudaMallocHost((void **)&cuda->found, 4 * sizeof *cuda->found)));
    KD_TRY(kd_cuda_try("pinned memory", cudaMallocHost(&cuda->stage, (size_t)cuda->stage_bytes)));
    for (int i = 0; i < 2; i++) KD_TRY(kd_cuda_try("making an event", cudaEventCreateWithFlags(&cuda->staged[i], cudaEventDisableTiming)));
    return kd_cuda_try("opening the GPU", cudaStreamSynchronize(cuda->stream));
}

kd_status kd_ctx_open_cuda(kd_ctx **out, int64_t number, int64_t threads) {
    kd_ctx *ctx;
    *out = NULL;
    KD_TRY(there_is(number));
    KD_TRY(kd_ctx_open_on(&ctx, &kd_device_cuda, threads));
    kd_status status = open_cuda(ctx, (int)number);
    if (status) kd_ctx_close(ctx);
    else *out = ctx;
    return status;
}

/* ---- for people ------------------------------------------------------------------------------------------------------------ */

void kd_cuda_version(char version[32]) { snprintf(version, 32, "%d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10); }

kd_status kd_cuda_gpu_words(char words[200], int64_t number) {
    struct cudaDeviceProp about;
    words[0] = 0;
    KD_TRY(there_is(number));
    KD_TRY(kd_cuda_try("looking at the GPU", cudaGetDeviceProperties(&about, (int)number)));
    snprintf(words, 200, "%.100s, compute capability %d.%d, %d multiprocessors, %.1f GiB", about.name, about.major, about.minor,
             about.multiProcessorCount, (double)about.totalGlobalMem / (1 << 30));
    return KD_OK;
}

/* What a CUDA context has besides (device_cuda.c). For *_cuda.c and *.cu alone. */
#ifndef KD_CUDA_H
#define KD_CUDA_H

#include <cuda_runtime_api.h>

#include "ctx.h"

typedef struct kd_cuda {
    int device;                /* its number */
    int multiprocessors;
    int shared_bytes;          /* that a block can have at most */
    cudaStream_t stream;       /* on which every operation of the context is enqueued, in order: its own, or the caller's */
    cudaStream_t own;
    int32_t *fault;            /* [4] the device's: a kernel that meets a bad argument writes {what, index, value, 0} once (kd_cuda_fault);
                                  the context reports it with the next get or finish */
    void *stage;               /* pinned host memory through which small copies to the device go: a ring, so that put returns at once */
    int64_t stage_bytes;
    int64_t stage_half, stage_at;  /* which half is being filled, and how far */
    cudaEvent_t staged[2];     /* behind the last copy out of each half of the ring */
    int32_t *found;            /* [4] pinned host memory: the fault as it was last read */
    struct kd_cuda_beside *beside;   /* beside_cuda.c; NULL until something lies in the host's memory */
    struct kd_cuda_clock *clock;     /* clock_cuda.c; NULL until operations are timed */
    struct kd_blas *blas;      /* blas_cuda.c; NULL until the first product */
    struct kd_gpu_windows *windows;  /* attn/attn_cuda.c: tile tables of the windows last seen; NULL until then */
    void (*close_blas)(struct kd_cuda *);     /* set by whoever made these two */
    void (*close_windows)(struct kd_cuda *);
} kd_cuda;

/* What a kernel can find wrong: the first number of kd_cuda.fault. */
typedef enum kd_cuda_fault { KD_CUDA_FINE, KD_CUDA_BAD_TOKEN, KD_CUDA_BAD_TARGET } kd_cuda_fault;

/* KD_EIO naming the call and CUDA's words for it, unless code is success; KD_ENOMEM where memory is short. */
kd_status kd_cuda_try(const char *call, cudaError_t code);
/* After a launch: what the launch itself was refused for. */
kd_status kd_cuda_launched(const char *kernel);

/* The host's memory and copies beside the stream (beside_cuda.c), for kd_device. Whether memory was of that kind, and is given back. */
kd_status kd_cuda_alloc_host(kd_ctx *ctx, void **out, int64_t bytes);
bool kd_cuda_release_host(kd_ctx *ctx, void *memory);
kd_status kd_cuda_copy_beside(kd_ctx *ctx, void *to, const void *from, int64_t bytes, int64_t lane);
kd_status kd_cuda_await_copy(kd_ctx *ctx, int64_t lane);
void kd_cuda_beside_close(kd_cuda *cuda);

/* What GPUs of a compute capability run: sm_90a's code is for 9.0 alone, later ones take the code for all. KD_ENOTSUP below 8.0. */
kd_status kd_cuda_isa(kd_isa *isa, const char *name, int major, int minor);
/* kd_ctx.block for as many multiprocessors. */
int64_t kd_cuda_block(int multiprocessors);

/* Times between marks on the stream (clock_cuda.c), for kd_device; what is over goes to ctx->clock with kd_cuda_clock_read, which is called
 * when the stream has been waited for. */
int64_t kd_cuda_mark(kd_ctx *ctx);
void kd_cuda_count(kd_ctx *ctx, const struct kd_op *op, int64_t mark);
void kd_cuda_clock_read(kd_ctx *ctx);
void kd_cuda_clock_close(kd_cuda *cuda);

/* Bytes to the device through the context's pinned ring, in stream order; `host` may change at once. */
kd_status kd_cuda_put_later(kd_ctx *ctx, void *to, const void *host, int64_t bytes);

#endif

/* What a CUDA context has besides (device_cuda.c). For *_cuda.c and *.cu alone. */
#ifndef KD_CUDA_H
#define KD_CUDA_H

#include <cuda_runtime_api.h>

#include "ctx.h"

typedef struct kd_cuda {
    int device;                /* its number */
    int multiprocessors;
    int shared_bytes;          /* that a block can have at most */
    cudaStream_t stream;       /* on which every operation of the context is enqueued, in order */
    int32_t *fault;            /* [4] the device's: a kernel that meets a bad argument writes {what, index, value, 0} once (kd_cuda_fault);
                                  the context reports it with the next get or finish */
    void *stage;               /* pinned host memory through which small copies to the device go: a ring, so that put returns at once */
    int64_t stage_bytes, stage_at;
    struct kd_blas *blas;      /* nn/matmul_cuda.c; NULL until the first product */
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

/* Bytes to the device through the context's pinned ring, in stream order; `host` may change at once. */
kd_status kd_cuda_put_later(kd_ctx *ctx, void *to, const void *host, int64_t bytes);

#endif

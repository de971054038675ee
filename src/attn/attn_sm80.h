/* The portable tensor-core kernels, for tests and for each other; what a caller needs is in attn_cuda.h. */
#ifndef KD_ATTN_SM80_H
#define KD_ATTN_SM80_H

#include "attn_cuda.h"
#include "dev/cuda.h"

/* The tiles of the two directions; false: there is no kernel. The backward's is the one that makes the most of so many bytes of shared
 * memory a block; kd_attn_sm80_shape and kd_attn_sm80_backward ask the device that is current how many it has. */
bool kd_attn_sm80_forward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode);
bool kd_attn_sm80_backward_shape(kd_gpu_shape *shape, int64_t Ep, kd_gpu_mode mode, int shared_bytes);

/* kd_attn_sm80_backward by that kernel, for its tiles. KD_ENOTSUP: there is none. */
kd_status kd_attn_sm80_backward_within(const kd_gpu_attn *x, int shared_bytes);

#endif

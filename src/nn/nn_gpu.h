/* What the layers' CUDA kernels give each other and matmul, beside the operations. For *_cuda.c and *.cu alone. */
#ifndef KD_NN_GPU_H
#define KD_NN_GPU_H

#include <cuda_runtime_api.h>

#include "nn.h"

/* out[i] += x[i] */
kd_status kd_gpu_add_f32(float *out, const float *x, int64_t n, cudaStream_t stream);

/* The last two steps of a sum over tokens (nn_ops.h): out[c] += the groups' sums part[g,c]. */
kd_status kd_gpu_add_groups(float *out, const float *part, int64_t groups, int64_t C, cudaStream_t stream);

/* The arrays of a call must be of one type, or KD_ENOTSUP; those without data do not count. */
kd_status kd_gpu_same_type(const char *what, const kd_array *arrays, int64_t count);

#endif

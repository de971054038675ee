/* The machine's own limit, to stand beside every speed. */
#ifndef KD_PEAK_H
#define KD_PEAK_H

#include "ctx.h"

/* FLOP/s of float32 FMAs (one is two FLOPs) on all threads of the context at once, in registers only, with the best
 * instruction set the context allows: the best burst of half a millisecond in 50 ms. Clocks drift and neighbours
 * come and go, so measure it right before and after what it is compared with. Of a CUDA context: kd_peak_gemm, or 0 where that fails. */
double kd_peak_flops(kd_ctx *ctx);

/* Of a CUDA context: FLOP/s of a large bf16 product, the median of some (peak_cuda.c). KD_ENOTSUP on other devices. */
kd_status kd_peak_gemm(double *flops, kd_ctx *ctx);

/* Bytes that all threads of the context together read of the host's memory in a second: the best of some passes over 768 MiB
 * (bandwidth.c). Of a CUDA context: bytes read and written by copies within the device's memory. KD_ENOMEM. */
kd_status kd_peak_bandwidth(double *bytes_per_second, kd_ctx *ctx);
kd_status kd_cuda_copy_bandwidth(double *bytes_per_second, kd_ctx *ctx);

/* A burst: `rounds` times a set of independent FMAs. Returns the FLOPs done. */
int64_t kd_peak_burst_avx2(int64_t rounds);
int64_t kd_peak_burst_avx512(int64_t rounds);

#endif

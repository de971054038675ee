/* A build without CUDA measures no GPU. */
#include "peak.h"

kd_status kd_peak_gemm(double *flops, kd_ctx *ctx) {
    *flops = 0;
    return kd_fail(KD_ENOTSUP, "a product's limit is measured on CUDA devices alone, not on %s", ctx->device->name);
}

kd_status kd_cuda_copy_bandwidth(double *bytes_per_second, kd_ctx *ctx) {
    double none;
    *bytes_per_second = 0;
    return kd_peak_gemm(&none, ctx);
}

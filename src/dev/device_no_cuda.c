/* A build without CUDA has no GPUs. */
#include "ctx.h"

static kd_status none(void) { return kd_fail(KD_ENOTSUP, "device cuda: this build has no CUDA; build with make CUDA=1"); }

kd_status kd_ctx_open_cuda(kd_ctx **out, int64_t number, int64_t threads) {
    (void)number;
    (void)threads;
    *out = NULL;
    return none();
}

void kd_cuda_version(char version[32]) { version[0] = 0; }

kd_status kd_cuda_gpu_words(char words[200], int64_t number) {
    (void)number;
    words[0] = 0;
    return none();
}

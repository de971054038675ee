#include "peak.h"

#include "base/log.h"

enum { ROUNDS = 250000 };   /* about half a millisecond */
static const double SECONDS = 0.05;  /* a core that was idle needs some of it to get to speed */

/* Without a vocabulary: what plain C gets from the machine. */
static int64_t burst_ref(int64_t rounds) {
    enum { CHAINS = 8 };
    volatile float start = 1;
    float x[CHAINS], factor = 0.999f, term = 0.001f;
    for (int i = 0; i < CHAINS; i++) x[i] = start + (float)i;
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * factor + term;
    for (int i = 0; i < CHAINS; i++) start = start + x[i];
    return rounds * CHAINS * 2;
}

/* Each thread that takes a task runs one burst; args are the bursts' FLOPs, one for each task. */
typedef struct burst_args { int64_t (*burst)(int64_t rounds); int64_t flops; } burst_args;

static kd_status burst_task(void *opaque, int64_t task, int64_t thread) {
    burst_args *a = opaque;
    (void)thread;
    int64_t flops = a->burst(ROUNDS);
    if (task == 0) a->flops = flops;
    return KD_OK;
}

double kd_peak_flops(kd_ctx *ctx) {
    if (ctx->cuda) {
        double flops;
        return kd_peak_gemm(&flops, ctx) ? 0 : flops;
    }
    burst_args a = {burst_ref, 0};
#if defined(KD_X86)
    if (ctx->isa >= KD_ISA_AVX512) a.burst = kd_peak_burst_avx512;
    else if (ctx->isa >= KD_ISA_AVX2) a.burst = kd_peak_burst_avx2;
#endif
    int64_t threads = kd_pool_threads(ctx->pool);
    double best = 0, start = kd_now(), end = start;
    while (end - start < SECONDS) {
        double begin = end;
        kd_pool_run(ctx->pool, burst_task, &a, threads);
        end = kd_now();
        double rate = (double)(threads * a.flops) / (end - begin);
        if (rate > best) best = rate;
    }
    return best;
}

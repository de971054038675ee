/* kedge bench: one table of benchmarks. */
#include "bench.h"

#include <string.h>

#include "base/log.h"
#include "cli.h"
#include "dev/peak.h"
#include "subcommands.h"

static const kd_subcommand benches[] = {
    {"attention", "forward and backward of every variant, beside the FMA peak", kd_bench_attention},
    {"gemm", "the matrix products of a linear layer, beside the FMA peak", kd_bench_gemm},
    {"step", "a training step, what each part of it takes, beside the FMA peak", kd_bench_step},
    {"decode", "a model that reads a prompt and writes, beside the FMA peak and the memory's speed", kd_bench_decode},
    {"rope", "how exact each rope.precision is, and the time it takes in attention", kd_bench_rope},
    {"ranks", "how far a window shared by several ranks is from one rank, mode by mode", kd_bench_ranks},
};

bool kd_bench_wants(const kd_ctx *ctx, const kd_variant *variant, const char *name) {
    return (kd_isa_serves(ctx->isa, variant->isa) || variant->isa == KD_ISA_YARDSTICK) && (!name || !strcmp(name, variant->name));
}

kd_status kd_bench_has(const kd_ctx *ctx, const kd_op *op, const char *name) {
    for (int64_t i = 0; i < op->count; i++)
        if (kd_bench_wants(ctx, &op->variant[i], name)) return KD_OK;
    return kd_fail(KD_ECONFIG, "bench: --variant %s: this build and machine have none of that name", name);
}

kd_status kd_bench_now(double *seconds, kd_ctx *ctx) {
    KD_TRY(kd_ctx_finish(ctx));
    *seconds = kd_now();
    return KD_OK;
}

kd_status kd_bench_copies(double *bytes_per_second, kd_ctx *ctx) {
    *bytes_per_second = 0;
    return ctx->device->host_may_touch ? KD_OK : kd_peak_bandwidth(bytes_per_second, ctx);
}

int kd_cmd_bench(int argc, char **argv) {
    const kd_subcommands commands = {"bench", "WHAT [options]",
                                     "Measures the speed of one part and states it beside the limit of this machine, measured in the same run. "
                                     "Figures are comparable only on a machine that does nothing else.",
                                     benches, sizeof benches / sizeof *benches};
    return kd_subcommand_run(&commands, argc, argv);
}

/* kedge bench: one table of benchmarks. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#include "format/yaml.h"
#include "help.h"

static const struct { const char *name, *about; int (*run)(int argc, char **argv); } benches[] = {
    {"attention", "forward and backward of every variant, beside the FMA peak", kd_bench_attention},
    {"gemm", "the matrix products of a linear layer, beside the FMA peak", kd_bench_gemm},
    {"step", "a training step, what each part of it takes, beside the FMA peak", kd_bench_step},
    {"decode", "a model that reads a prompt and writes, beside the FMA peak and the memory's speed", kd_bench_decode},
    {"rope", "how exact each rope.precision is, and the time it takes in attention", kd_bench_rope},
    {"ranks", "how far a window shared by several ranks is from one rank, mode by mode", kd_bench_ranks},
};
enum { BENCHES = sizeof benches / sizeof *benches };

bool kd_bench_wants(const kd_ctx *ctx, const kd_variant *variant, const char *name) {
    return (variant->isa <= ctx->isa || variant->isa == KD_ISA_YARDSTICK) && (!name || !strcmp(name, variant->name));
}

kd_status kd_bench_has(const kd_ctx *ctx, const kd_op *op, const char *name) {
    for (int64_t i = 0; i < op->count; i++)
        if (kd_bench_wants(ctx, &op->variant[i], name)) return KD_OK;
    return kd_fail(KD_ECONFIG, "bench: --variant %s: this build and machine have none of that name", name);
}

static void print_usage(FILE *out) {
    fprintf(out, "usage: kedge bench WHAT [options]\n\n");
    kd_help_text(out, "Measures the speed of one part and states it beside the limit of this machine, measured in the same run. "
                      "Figures are comparable only on a machine that does nothing else.");
    fprintf(out, "\nwhat:\n");
    for (int i = 0; i < BENCHES; i++) kd_help_row(out, benches[i].name, 10, benches[i].about);
    fprintf(out, "\nmore:\n");
    kd_help_row(out, "kedge help bench WHAT", 21, "options and examples");
}

int kd_cmd_bench(int argc, char **argv) {
    if (argc < 2) {
        print_usage(stderr);
        return KD_EXIT_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        print_usage(stdout);
        return KD_EXIT_OK;
    }
    const char *name[BENCHES];
    for (int i = 0; i < BENCHES; i++) {
        name[i] = benches[i].name;
        if (!strcmp(argv[1], name[i])) return benches[i].run(argc - 1, argv + 1);
    }
    const char *near = kd_nearest(argv[1], name, BENCHES);
    if (near) return kd_exit_code(kd_fail(KD_ECONFIG, "bench: unknown \"%s\", did you mean %s?", argv[1], near));
    return kd_exit_code(kd_fail(KD_ECONFIG, "bench: unknown \"%s\"; kedge bench --help lists what there is", argv[1]));
}

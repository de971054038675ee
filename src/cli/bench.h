/* Benchmarks: each states its figures beside the machine's own limit, measured in the same run. */
#ifndef KD_BENCH_H
#define KD_BENCH_H

#include "dev/op.h"

/* Whether a variant is measured: this machine runs it, and it has the name that --variant gives; NULL: any. */
bool kd_bench_wants(const kd_ctx *ctx, const kd_variant *variant, const char *name);
/* KD_ECONFIG where an operation has no variant that is wanted. */
kd_status kd_bench_has(const kd_ctx *ctx, const kd_op *op, const char *name);

/* Seconds since some moment, once all that was enqueued has run. */
kd_status kd_bench_now(double *seconds, kd_ctx *ctx);

/* Bytes a second that copies within a GPU's memory read and write, the other limit there; of a host 0. */
kd_status kd_bench_copies(double *bytes_per_second, kd_ctx *ctx);

int kd_bench_attention(int argc, char **argv);
int kd_bench_gemm(int argc, char **argv);
int kd_bench_step(int argc, char **argv);
int kd_bench_decode(int argc, char **argv);
int kd_bench_rope(int argc, char **argv);
int kd_bench_ranks(int argc, char **argv);

#endif

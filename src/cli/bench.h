/* Benchmarks: each states its figures beside the machine's own limit, measured in the same run. */
#ifndef KD_BENCH_H
#define KD_BENCH_H

int kd_bench_attention(int argc, char **argv);
int kd_bench_gemm(int argc, char **argv);
int kd_bench_step(int argc, char **argv);
int kd_bench_rope(int argc, char **argv);

#endif

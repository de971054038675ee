/* The windows that kedge bench measures attention and steps on, and what they are asked for with. */
#ifndef KD_CLI_BENCH_WINDOWS_H
#define KD_CLI_BENCH_WINDOWS_H

#include "kedge.h"

typedef struct kd_bench_windows_options {
    int64_t tokens, documents, mean_length;
    int64_t vocabulary;            /* of random tokens; 0: they do not matter */
    bool anchor;
    const char *pack, *tokenizer;  /* pack NULL: one window is drawn */
    int64_t windows;               /* of the pack, the first ones */
} kd_bench_windows_options;

/* Windows of `tokens` tokens each. */
typedef struct kd_bench_windows {
    kd_plan *plan;                 /* [count] */
    int64_t count, tokens;
} kd_bench_windows;

/* KD_ECONFIG where the pack has fewer windows; what kd_pack_open gives. Free with kd_bench_windows_close. */
kd_status kd_bench_windows_open(kd_bench_windows *windows, const kd_bench_windows_options *options);
/* The one window of a plan that sees everything: T tokens, mask full. */
kd_status kd_bench_windows_full(kd_bench_windows *windows, int64_t T);
void kd_bench_windows_close(kd_bench_windows *windows);

/* Mean over the windows. */
double kd_bench_windows_pairs(const kd_bench_windows *windows);
double kd_bench_windows_documents(const kd_bench_windows *windows);

#endif

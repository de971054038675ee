/* An operation is one ordered list of variants, best first, the plain-C definition last. Dispatch, tests and
 * benchmarks walk the same list. */
#ifndef KD_OP_H
#define KD_OP_H

#include "ctx.h"

typedef struct kd_variant {
    const char *name;
    kd_isa isa;                                              /* the least instruction set it needs */
    bool (*supports)(const void *args);                      /* NULL: everything */
    int64_t (*workspace)(const kd_ctx *ctx, const void *args);  /* bytes of scratch; NULL: none */
    kd_status (*run)(kd_ctx *ctx, const void *args, void *workspace);
} kd_variant;

typedef struct kd_op {
    const char *name;
    const kd_variant *variant;
    int64_t count;
} kd_op;

/* What operations took since it was cleared: of a context that has one. */
enum { KD_CLOCK_OPS = 32 };
typedef struct kd_clock {
    struct { const kd_op *op; double seconds; int64_t calls; } part[KD_CLOCK_OPS];
    int64_t parts;             /* in the order in which they ran first; what no longer fits is not counted */
} kd_clock;
void kd_clock_count(kd_clock *clock, const kd_op *op, double seconds);
/* "matmul" of an operation named kd_matmul_op. */
void kd_op_words(char out[40], const kd_op *op);

#define KD_OP(op, list) const kd_op op = {#op, list, sizeof list / sizeof *list}

/* Rows of variant lists that exist on x86 only. */
#if defined(KD_X86)
#define KD_ON_X86(...) __VA_ARGS__,
#else
#define KD_ON_X86(...)
#endif

/* Rows of builds with CUDA. */
#if defined(KD_CUDA)
#define KD_ON_CUDA(...) __VA_ARGS__,
#else
#define KD_ON_CUDA(...)
#endif

/* Rows that a library gives, in builds that ask for it. */
#if defined(KD_CBLAS)
#define KD_ON_CBLAS(...) __VA_ARGS__,
#else
#define KD_ON_CBLAS(...)
#endif

/* The variant that kd_op_run would take; NULL if none serves. */
const kd_variant *kd_op_choose(const kd_ctx *ctx, const kd_op *op, const void *args);

/* Runs the best variant that the context allows. While ctx->measuring: only notes the scratch it needs.
 * Outside a measured step scratch grows when it must. */
kd_status kd_op_run(kd_ctx *ctx, const kd_op *op, const void *args);

/* Runs this variant, whatever the best one is: for tests and benchmarks. */
kd_status kd_op_run_variant(kd_ctx *ctx, const kd_variant *variant, const void *args);

#endif

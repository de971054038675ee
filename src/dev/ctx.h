/* The seam to devices: a context is a device, its memory, threads, an instruction set and scratch.
 * Model code holds device pointers and never dereferences them: it calls operations. */
#ifndef KD_CTX_H
#define KD_CTX_H

#include "base/arena.h"
#include "base/pool.h"

/* Instruction sets of the host, then of CUDA devices: a variant serves contexts of its own kind alone (kd_isa_serves).
 * KD_ISA_YARDSTICK is beyond every machine: such a variant is measured beside the others and never chosen. */
typedef enum kd_isa { KD_ISA_REF, KD_ISA_AVX2, KD_ISA_AVX512, KD_ISA_SM80, KD_ISA_SM90, KD_ISA_YARDSTICK } kd_isa;

/* Whether a context of `have` runs what needs `need`. */
static inline bool kd_isa_serves(kd_isa have, kd_isa need) { return need <= have && (need >= KD_ISA_SM80) == (have >= KD_ISA_SM80); }

/* Tokens that a matrix product sees on a host: activations of as many stay in its caches. */
enum { KD_HOST_BLOCK = 512 };

struct kd_op;

typedef struct kd_device {
    const char *name;
    bool host_may_touch;  /* host code may read and write the device's memory */
    kd_status (*alloc)(kd_ctx *ctx, void **out, int64_t bytes);              /* zeroed, aligned to a page */
    void (*release)(kd_ctx *ctx, void *memory, int64_t bytes);
    kd_status (*put)(kd_ctx *ctx, void *to, const void *host, int64_t bytes);
    kd_status (*get)(kd_ctx *ctx, void *host, const void *from, int64_t bytes);
    void (*enter)(kd_ctx *ctx);  /* an operation begins: its memory may be touched; NULL: nothing to do */
    void (*leave)(kd_ctx *ctx);
    kd_status (*finish)(kd_ctx *ctx);  /* waits for what was enqueued; NULL: operations have run when they return */
    kd_status (*memory)(kd_ctx *ctx, int64_t *free, int64_t *total);
    kd_status (*use_stream)(kd_ctx *ctx, void *stream);  /* as kd_ctx_use_stream; NULL: it has none */
    /* Where operations are only enqueued: notes the time at which the device gets here, for count; -1: it cannot. The clock has the
     * seconds in between after the next get or finish. NULL: the time on the host is the operation's. */
    int64_t (*mark)(kd_ctx *ctx);
    void (*count)(kd_ctx *ctx, const struct kd_op *op, int64_t mark);
    /* Memory of the host's that operations of the device use too, zeroed, given back by release; and copies between it and the device's, which
     * begin when what is enqueued so far has run and go on beside what comes later. NULL, all three: the device's memory is the host's. */
    kd_status (*alloc_host)(kd_ctx *ctx, void **out, int64_t bytes);
    kd_status (*copy_beside)(kd_ctx *ctx, void *to, const void *from, int64_t bytes, int64_t lane);
    kd_status (*await_copy)(kd_ctx *ctx, int64_t lane);
    void (*close)(kd_ctx *ctx);        /* gives back what the context has besides its memory; NULL: nothing */
} kd_device;

extern const kd_device kd_device_host;   /* ordinary memory */
extern const kd_device kd_device_guard;  /* for tests: memory that faults when touched outside an operation */

/* Instead of running, operations only say how much scratch they need: for these arguments, or the most that any window
 * of as many tokens can make them need. */
typedef enum kd_measuring { KD_MEASURE_NOTHING, KD_MEASURE_THIS, KD_MEASURE_ANY } kd_measuring;

typedef struct kd_region { void *memory; int64_t bytes; struct kd_region *next; } kd_region;

struct kd_ctx {
    const kd_device *device;
    kd_pool *pool;
    kd_isa isa;                /* the best variant that may be used */
    kd_measuring measuring;
    int64_t scratch_need;      /* bytes, the most that a measured operation asked for */
    void *scratch;             /* device memory for one operation at a time */
    int64_t scratch_bytes;
    kd_region *guarded;        /* what the guard device has handed out */
    int64_t entered;           /* depth of operations under way */
    struct kd_clock *clock;    /* borrowed; NULL: nothing is timed */
    int64_t block;             /* tokens that a matrix product of a model sees at once */
    struct kd_cuda *cuda;      /* dev/cuda.h; NULL on the host */
};

/* As kd_ctx_open, on a device. */
kd_status kd_ctx_open_on(kd_ctx **out, const kd_device *device, int64_t threads);

/* A context on GPU `number`. KD_ENOTSUP where the build has no CUDA or the machine no such GPU (device_cuda.c, device_no_cuda.c). */
kd_status kd_ctx_open_cuda(kd_ctx **out, int64_t number, int64_t threads);

/* What the build knows of GPUs, for people: the version of CUDA ("13.0"), and GPU `number` in words or, from the first that is not there
 * on, KD_ENOTSUP with why. version is empty where the build has no CUDA. */
void kd_cuda_version(char version[32]);
kd_status kd_cuda_gpu_words(char words[200], int64_t number);

/* The best instruction set of this machine's host. */
kd_isa kd_isa_best(void);
const char *kd_isa_name(kd_isa isa);
/* Lowers it to what KEDGE_ISA says, if that names one of its kind. KD_ECONFIG if it names none. */
kd_status kd_isa_cap(kd_isa *isa);

/* Bytes of the device's memory that can still be had, and all of it; 0 where the system does not say. */
kd_status kd_device_memory(kd_ctx *ctx, int64_t *free, int64_t *total);

/* Makes sure that operations find `bytes` of scratch. Not while an operation runs. */
kd_status kd_ctx_reserve(kd_ctx *ctx, int64_t bytes);

/* Device memory in one piece, for an arena that has been measured: arena->base is set. */
kd_status kd_ctx_place(kd_ctx *ctx, kd_arena *arena);
/* The same elsewhere, zeroed: in a file of this folder (mapped.c), KD_EIO when the disk has no room, KD_ENOTSUP for a device whose memory
 * is not the host's; or KD_PLACE_HOST: in the host's memory, which operations use too, at the speed of the way to it. NULL: in memory. */
#define KD_PLACE_HOST "host"
kd_status kd_ctx_place_in(kd_ctx *ctx, kd_arena *arena, const char *folder);
void kd_ctx_unplace(kd_ctx *ctx, kd_arena *arena);

/* A copy between the device's memory and what kd_ctx_place_in(KD_PLACE_HOST) placed, in one of KD_LANES: it begins when what is enqueued so far has
 * run, and goes on beside what is enqueued after it. What uses `to`, or writes `from`, comes after kd_ctx_await_copy of the lane's last copy. */
enum { KD_LANES = 4 };
kd_status kd_ctx_copy_beside(kd_ctx *ctx, void *to, const void *from, int64_t bytes, int64_t lane);
kd_status kd_ctx_await_copy(kd_ctx *ctx, int64_t lane);

#endif

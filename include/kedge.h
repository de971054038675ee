/* kedge.h: the public face of kedge, long-context training without broken positions.
 *
 * Legend. Shapes are row-major, the last index contiguous, written [T, H, E]:
 *   T tokens        H query heads     G key/value heads   E head size       C model size
 *   F feed-forward  V vocabulary      L layers            N documents       R ranks
 * Sizes and indexes are int64_t. Outputs come first, inputs are const, the gradient of x is dx.
 * The verb tells who frees: open/close something of the system, new/free heap, init the caller's memory,
 * view borrowed.
 *
 * Every function that can fail returns a kd_status; kd_message() then says what happened, in one line, with
 * the values. Nothing here prints, exits, or reads the environment but kd_ctx_open and kd_ctx_open_device.
 */
#ifndef KEDGE_H
#define KEDGE_H

#include <stdbool.h>
#include <stdint.h>

#define KD_VERSION "0.1.0"

/* The number of the binary interface, and of the shared library's name, libkedge.so.KD_ABI. It is raised when a program that was compiled with
 * the header of before would go wrong: a function is gone or takes something else, a struct has another size or order, a constant another
 * value. What is added at the end, a function or a constant, leaves it alone. */
#define KD_ABI 0

/* Marks what the libraries export: these functions and nothing else. Without the lines that begin with # and this word, the header is plain
 * declarations, as cffi reads them. */
#if defined(__cplusplus)
#define KD_API extern "C" __attribute__((visibility("default")))
#else
#define KD_API __attribute__((visibility("default")))
#endif

/* KD_VERSION of the library that runs, which may be newer than this header. */
KD_API const char *kd_version(void);
/* KD_ABI of the library that runs: for callers that found it by a path instead of by its name. */
KD_API int64_t kd_abi(void);
/* Bytes of a struct of this header by its name, "kd_plan", in the library that runs; -1: it has no such struct. For callers that write
 * the structs down again, as ctypes does. */
KD_API int64_t kd_struct_bytes(const char *name);

typedef enum kd_status {
    KD_OK = 0,
    KD_EARG,      /* an argument is out of its range */
    KD_ENOMEM,    /* memory could not be had */
    KD_EIO,       /* the system refused: open, read, write, rename */
    KD_EFORMAT,   /* a file is not what it says */
    KD_ECONFIG,   /* a run file, an option or a configuration is wrong */
    KD_ENOTSUP,   /* right, but not in this build */
    KD_EBUSY,     /* somebody else holds it */
    KD_ENUMERIC,  /* NaN or infinity where there must be none */
    KD_EAGAIN,    /* stopped by a signal, the state is saved: run again */
    KD_ELOST,     /* another rank is gone or silent: run again */
} kd_status;

/* The last failure of this thread, one line, never NULL. Borrowed until the thread's next failure. */
KD_API const char *kd_message(void);
KD_API const char *kd_status_name(kd_status status);

/* ---- context ---------------------------------------------------------------------------------------- */

/* Device, threads and instruction set; every operation takes one. A context serves one thread at a time. */
typedef struct kd_ctx kd_ctx;

/* Opens a context on the host. threads < 1: one for each core the process may use.
 * KEDGE_ISA=ref|avx2|avx512 caps the instruction set. Free with kd_ctx_close (NULL is allowed). */
KD_API kd_status kd_ctx_open(kd_ctx **out, int64_t threads);
/* The same on a device by its name: "host", "cuda" or "cuda:N", the GPU of number N, whose instruction set KEDGE_ISA=sm80|sm90 caps; threads
 * are the host's. KD_ENOTSUP, with the reason, where the build or the machine has no such device. */
KD_API kd_status kd_ctx_open_device(kd_ctx **out, const char *device, int64_t threads);
KD_API void kd_ctx_close(kd_ctx *ctx);
/* What is computed from now on is enqueued on this stream of the caller's (a cudaStream_t; NULL: CUDA's default stream), after what the
 * context has enqueued before. The context's own stream, used until then, waits for no other. The stream stays the caller's, and must live
 * until the context is closed or uses another. KD_EARG on the host, which has none. */
KD_API kd_status kd_ctx_use_stream(kd_ctx *ctx, void *stream);
/* Waits for what was enqueued, and says what was found wrong on the way. On the host functions are done when they return. */
KD_API kd_status kd_ctx_finish(kd_ctx *ctx);

/* ---- plan: who sees whom -------------------------------------------------------------------------------- */

/* One window of T tokens, stored document by document (mask full: one document in window order).
 * Token i sees token j iff j is of i's document and j <= i, or j is the anchor. */
typedef struct kd_plan {
    int64_t T, N;
    int64_t anchors;         /* leading tokens shared by all documents, 0 or 1; of no document */
    int64_t *start;          /* [N+1]  document n is tokens start[n] .. start[n+1]-1; start[0] = anchors */
    int32_t *position;       /* [T]    RoPE position, in the window's frame; the shared anchor's is position[0] */
    int32_t *base;           /* [N]    what frame document subtracts from the document's positions */
    int32_t *target;         /* [T]    the token to be predicted, or -1: no loss */
    int32_t *token;          /* [T]    the token itself */
    int32_t *depth;          /* [T]    how many tokens of its own text precede it in the window */
} kd_plan;

typedef enum kd_mask { KD_MASK_FULL, KD_MASK_DOCUMENT, KD_MASK_ANCHOR } kd_mask;

/* The switches of the paper, independent of each other. */
typedef struct kd_plan_options {
    kd_mask mask;
    bool reset;               /* positions from 0 in every document (with an anchor: from 1) */
    bool anchor_is_bos;       /* anchor_form bos: every document has its own BOS at position 0, no shared anchor */
    bool lead_bos;            /* a BOS leads every document (masks full and document) */
    bool predict_boundary;    /* a document's last token is trained on the next token of the window */
    bool predict_first;       /* a BOS is trained on its document's first token */
    int32_t bos;              /* the id used for BOS and anchor */
    int32_t offset;           /* added to every position: to see what large ones do. At least 0 */
} kd_plan_options;

/* One document's share of the window. */
typedef struct kd_piece {
    const int32_t *tag;       /* [tag_count] its domain tag, after BOS or anchor, before its first chunk; never trained */
    int64_t tag_count;
    int32_t next;             /* the token that follows this share in the document's text; -1: none; -2: one that is no target */
} kd_piece;

/* A run of one document's text. Chunks come in window order; those of one document in text order. */
typedef struct kd_chunk {
    int64_t piece;            /* index of its document */
    const int32_t *token;     /* [count] */
    int64_t count;
    const uint8_t *loss;      /* [count] 0: never a target; NULL: all may be */
} kd_chunk;

/* Tokens a window takes for its text's sake besides the text: the BOS or tag tokens of each piece, the anchor. */
KD_API int64_t kd_plan_tokens(const kd_plan_options *options, const kd_piece *piece, int64_t pieces,
                              const kd_chunk *chunk, int64_t chunks);

/* Lays out a window: BOS and tags are placed, positions and targets fixed in window order, then documents are
 * joined by a stable sort. A shared anchor stands at position 0, plus the offset. Every piece must have at least one chunk (a chunk may be
 * empty).
 * plan is overwritten; free with kd_plan_free. KD_EARG with values, KD_ENOMEM. */
KD_API kd_status kd_plan_init(kd_plan *plan, const kd_plan_options *options, const kd_piece *piece, int64_t pieces,
                              const kd_chunk *chunk, int64_t chunks);
KD_API void kd_plan_free(kd_plan *plan);

/* Query/key pairs with i seeing j, the anchor's included: what attention has to compute, for one head. */
KD_API int64_t kd_plan_pairs(const kd_plan *plan);

/* ---- rotary positions -------------------------------------------------------------------------------- */

typedef enum kd_frame { KD_FRAME_WINDOW, KD_FRAME_DOCUMENT } kd_frame;

/* How exactly queries and keys are rotated and kept: the ladder, from exact to what others do. What comes after is
 * float32.
 * Rounding is to nearest, ties to even; the backward takes it for the identity. With frame window the anchor's key is
 * rotated and kept like every key; with frame document the anchor's logit is exact at every precision. */
typedef enum kd_precision {
    KD_PRECISION_EXACT,       /* double angles, float32 rotation */
    KD_PRECISION_F32_ANGLE,   /* angle = position * inv_freq in float32: what "float32 RoPE" means elsewhere */
    KD_PRECISION_SPLIT,       /* double angles, float32 rotation, kept as a sum of two bf16, three products a logit */
    KD_PRECISION_F16_STORE,   /* double angles, float32 rotation, kept as float16; beyond 65504: KD_ENUMERIC */
    KD_PRECISION_BF16_STORE,  /* float32 angles, float32 rotation, kept as bf16 */
    KD_PRECISION_BF16,        /* bf16 of q, k, cosines and sines; products and sum each rounded to bf16 */
    KD_PRECISION_BF16_EAGER,  /* the same; products q.k, logits and probabilities rounded to bf16 too */
    KD_PRECISIONS
} kd_precision;

/* "exact", "f32-angle", "split", "f16-store", "bf16-store", "bf16", "bf16-eager"; NULL where there is none. */
KD_API const char *kd_precision_name(kd_precision precision);

/* R(p) turns the pairs (x[e], x[e+E/2]) by p * inv_freq[e] (half-split layout of Hugging Face checkpoints).
 * Cosines and sines are float32: off by at most 3.2e-8 from those of the angle. Where a table of all positions would be
 * large there is one of two levels, R(p) = R(256 * high) R(low), in double. */
typedef struct kd_rope {
    int64_t E, positions;
    kd_precision precision;   /* whose angles, and rounding of cosines and sines, `table` has */
    double *inv_freq;         /* [E/2] on the host */
    float *table;             /* [positions, 2, E/2] cosines, then sines; on the device, as what follows */
    float *exact;             /* the same of double angles: `table` itself unless precision has others */
    double *coarse, *fine;    /* [positions/256 + 1, 2, E/2], [256, 2, E/2]; NULL where there is a table */
} kd_rope;

/* inv_freq [E/2], float32 numbers; positions: the table serves -positions+1 .. positions-1. Free with kd_rope_free.
 * KD_EARG unless E is even, 2 <= E <= 256 and 1 <= positions <= 2^24. */
KD_API kd_status kd_rope_init(kd_rope *rope, kd_ctx *ctx, const double *inv_freq, int64_t E, int64_t positions);
/* The same for attention of another precision than exact. Precisions with the same angles can share it. */
KD_API kd_status kd_rope_init_for(kd_rope *rope, kd_ctx *ctx, kd_precision precision, const double *inv_freq, int64_t E,
                                  int64_t positions);
KD_API void kd_rope_free(kd_rope *rope, kd_ctx *ctx);

/* ---- attention ------------------------------------------------------------------------------------------ */

/* How a view keeps its numbers. Attention is float32 inside: 16-bit numbers are widened as they are read, and rounded once,
 * to nearest, ties to even, as they are written; beyond a type's range is infinity. */
typedef enum kd_view_type { KD_VIEW_F32, KD_VIEW_BF16, KD_VIEW_F16 } kd_view_type;

/* A view of [T, heads, E] with element stride 1; strides count elements. Views of one call may be of different types. */
typedef struct kd_view {
    float *data;              /* type f32 */
    int64_t token_stride, head_stride;
    kd_view_type type;        /* f32 unless set */
    uint16_t *half;           /* the other types */
} kd_view;

/* Contiguous [T, heads, E] of float32; the same of 16-bit numbers. */
KD_API kd_view kd_view_heads(float *data, int64_t heads, int64_t E);
KD_API kd_view kd_view_half(uint16_t *half, kd_view_type type, int64_t heads, int64_t E);

/* Tokens from .. to-1 of a window; {0, 0}: all. */
typedef struct kd_stretch { int64_t from, to; } kd_stretch;

/* What both directions share. q [T,H,E], k and v [T,G,E] are not rotated: rotation happens inside.
 * Query head h reads key/value head h*G/H. Logits are scale * (R q).(R k); with frame document, and at precision exact,
 * the anchor's is scale * (R(p_i - p_a) q).k of window positions p.
 *
 * Of some of the queries or keys: q, o, dout, dq and lse hold tokens `rows` alone, k, v, dk and dv tokens `keys`. The anchor is
 * among the keys if token 0 is. A row does not depend on which are computed beside it, in any bit; one that sees none of the keys
 * has o = 0, lse = -infinity. Parts of a row are merged by their lse; the backward takes the merged o and lse, and makes the part
 * of dq that is of these keys, and of dk and dv that is of these rows. */
typedef struct kd_attn {
    const kd_plan *plan;
    const int32_t *position;  /* [T] plan->position where the device can read it; NULL: plan->position */
    const kd_rope *rope;
    kd_frame frame;
    kd_precision precision;   /* exact unless set; the rope's angles must be its own */
    int64_t H, G, E;          /* G divides H, E even, E <= 256 */
    float scale;              /* at least 0; 0: 1/sqrt(E) */
    kd_view q, k, v, o;
    float *lse;               /* [H, T] log-sum-exp of each row's logits, natural logarithm; of a part [H, rows] */
    kd_view dout, dq, dk, dv; /* the backward only */
    kd_stretch rows, keys;    /* all unless set */
} kd_attn;

/* o [T,H,E] and lse [H,T] overwritten. Source: Wang et al. 2024 (AnchorAttention), Dao 2023 (online softmax);
 * the anchor is the initial state of the online softmax. KD_EARG, KD_ENOTSUP (plan->anchors > 1), KD_ENUMERIC (f16-store:
 * a rotated number beyond 65504, named by token and head). */
KD_API kd_status kd_attn_forward(kd_ctx *ctx, const kd_attn *attn);

/* dq [T,H,E], dk, dv [T,G,E] overwritten, from dout and the forward's q, k, v, o, lse. dk and dv are one partial
 * sum per query head, then a binary tree over the group's heads. */
KD_API kd_status kd_attn_backward(kd_ctx *ctx, const kd_attn *attn);

#endif

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
 * the values. Nothing here prints unless kd_log_level asks for it, exits, or reads the environment but kd_ctx_open and kd_ctx_open_device.
 *
 * Threads: calls on different handles may run at once; where one handle may be shared, it says so. What a call only reads, a const plan,
 * rope or view, may be shared with any others. On a GPU what views and kd_attn's lse and position point to is its memory; all else is the
 * host's.
 */
#ifndef KEDGE_H
#define KEDGE_H

#include <stdbool.h>
#include <stdint.h>

#define KD_VERSION "0.1.0"

/* The number of the binary interface, and of the shared library's name, libkedge.so.KD_ABI. It is raised when a program that was
 * compiled with the header of before would go wrong: a function is gone or takes something else, a struct has another size or order,
 * a constant another value. What is added, a function or a constant, leaves it alone. */
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

/* Whether it was done, and whose fault it was that it was not. */
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
/* In words: "argument". */
KD_API const char *kd_status_name(kd_status status);

/* Which notes and warnings go to stderr, of all threads: these and those before; none at the start. */
typedef enum kd_level { KD_QUIET, KD_WARN, KD_INFO, KD_DEBUG } kd_level;
KD_API void kd_log_level(kd_level most);

/* ---- context ---------------------------------------------------------------------------------------- */

/* Device, threads and instruction set; every operation takes one. A context serves one thread at a time. */
typedef struct kd_ctx kd_ctx;

/* Opens a context on the host. threads < 1: one for each core the process may use.
 * KEDGE_ISA=ref|avx2|avx512 caps the instruction set. Free with kd_ctx_close (NULL is allowed). */
KD_API kd_status kd_ctx_open(kd_ctx **out, int64_t threads);
/* The same on a device by its name: "host", "cuda" or "cuda:N", the GPU of number N, whose instruction set KEDGE_ISA=sm80|sm90 caps;
 * threads are the host's. Calls then make that GPU the current one of the thread they come from. KD_ENOTSUP, with the reason, where the
 * build or the machine has no such device. */
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

/* Whom a token sees besides itself: what precedes it in the window, which is one text; in its document; in its document, and the anchor. */
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

/* ---- views --------------------------------------------------------------------------------------------- */

/* How a view keeps its numbers. Computing is float32: 16-bit numbers are widened as they are read, and rounded once,
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

/* ---- rotary positions -------------------------------------------------------------------------------- */

/* What tokens of a document are rotated by: their window positions, or those less the document's base. */
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

/* out[t,h,:] = R(position[t]) x[t,h,:]: rotation alone, for callers whose attention is another one (kd_attn rotates by itself).
 *   out, x    [T, heads, rope->E]; out overwritten, may be x
 *   position  [T] of either sign, |position| < rope->positions; the host's
 *   precision what the ladder keeps of it: of `split` the pair's sum, which is a float32 number. The rope's angles must be its own
 *   back      R(-position[t]) x[t,h,:], not rounded to what is kept: the gradient of x where x is that of out
 * KD_EARG; KD_ENUMERIC (f16-store: a number beyond 65504, named by token and head); KD_ENOTSUP on a GPU. */
KD_API kd_status kd_rope_rotate(kd_ctx *ctx, const kd_view *out, const kd_view *x, const kd_rope *rope, kd_precision precision,
                                const int32_t *position, int64_t T, int64_t heads, bool back);

/* ---- attention ------------------------------------------------------------------------------------------ */

/* Tokens from .. to-1 of a window; {0, 0}: all. */
typedef struct kd_stretch { int64_t from, to; } kd_stretch;

/* What both directions share. q [T,H,E], k and v [T,G,E] are not rotated: rotation happens inside. Without a rope they come
 * rotated: nothing is turned, and positions do not matter.
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
    const kd_rope *rope;      /* NULL: q and k come rotated, dq and dk are those of what came */
    kd_frame frame;
    kd_precision precision;   /* exact unless set; the rope's angles must be its own. What is kept is rounded without a rope too */
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

/* ---- text to ids and back --------------------------------------------------------------------------------- */

/* Read-only: many threads may use one at once. */
typedef struct kd_tokenizer kd_tokenizer;

/* name: "bytes", a folder with tokenizer.json, or such a file, whose ids are those of Hugging Face's own package. Free with
 * kd_tokenizer_free (NULL is allowed). KD_ECONFIG when it is none of them, KD_ENOTSUP naming the part of tokenizer.json that is not
 * implemented, KD_EFORMAT. */
KD_API kd_status kd_tokenizer_new(kd_tokenizer **out, const char *name);
KD_API void kd_tokenizer_free(kd_tokenizer *tokenizer);
/* Ids of BOS and EOS, as the files beside tokenizer.json say; -1: there is none. Ids are below the vocabulary; a checkpoint may have more
 * rows. */
KD_API int32_t kd_tokenizer_bos(const kd_tokenizer *tokenizer);
KD_API int32_t kd_tokenizer_eos(const kd_tokenizer *tokenizer);
KD_API int64_t kd_tokenizer_vocabulary(const kd_tokenizer *tokenizer);

/* What a thread needs to encode and decode: caches, scratch, and what it last gave. Serves one thread at a time. The tokenizer is
 * borrowed. Free with kd_encoder_free (NULL is allowed). */
typedef struct kd_encoder kd_encoder;
KD_API kd_status kd_encoder_new(kd_encoder **out, const kd_tokenizer *tokenizer);
KD_API void kd_encoder_free(kd_encoder *encoder);

/* Bits. */
typedef enum kd_encode_flags {
    KD_ENCODE_SPECIALS = 1,          /* adds what the post-processor adds: BOS */
    KD_ENCODE_SPECIALS_AS_TEXT = 2,  /* "<s>" in a text is three characters, not BOS */
    KD_ENCODE_REPLACE = 4            /* invalid UTF-8 becomes U+FFFD, one for each maximal subpart */
} kd_encode_flags;

/* id [count]: the ids of text [size], the encoder's until its next call. `bytes` takes any bytes; the others fail with KD_EFORMAT "byte N:
 * not valid UTF-8", N from 0. KD_ENOTSUP: an expression of the file needs too many steps, or its normalizers make too much of a text. */
KD_API kd_status kd_encoder_ids(kd_encoder *encoder, const int32_t **id, int64_t *count, const char *text, int64_t size, int flags);
/* text [size], and a NUL behind it: of id [count], the encoder's until its next call. skip_specials: special tokens are left out.
 * KD_EFORMAT for an id that is not in the vocabulary. */
KD_API kd_status kd_encoder_text(kd_encoder *encoder, const char **text, int64_t *size, const int32_t *id, int64_t count,
                                 bool skip_specials);

/* ---- safetensors ------------------------------------------------------------------------------------------ */

/* What elements of a tensor are. */
typedef enum kd_dtype {
    KD_F64, KD_F32, KD_F16, KD_BF16, KD_I64, KD_I32, KD_I16, KD_I8, KD_U64, KD_U32, KD_U16, KD_U8, KD_BOOL,
    KD_DTYPES
} kd_dtype;

/* As in files: "F32"; bytes of an element. NULL and 0 where there is none. */
KD_API const char *kd_dtype_name(kd_dtype dtype);
KD_API int64_t kd_dtype_size(kd_dtype dtype);

/* What a tensor is. */
typedef struct kd_tensor_spec {
    const char *name;
    kd_dtype dtype;
    int64_t rank, shape[8];   /* [rank], at most 8 */
} kd_tensor_spec;

/* The tensors of a file, or of a model's folder and its shards, by name. Read-only: many threads may use one at once. */
typedef struct kd_tensors kd_tensors;
/* One of them, borrowed from it. */
typedef struct kd_tensor kd_tensor;

/* path: a file, or a folder with model.safetensors or model.safetensors.index.json and its shards. Headers are read and checked, data
 * when it is asked for. Free with kd_tensors_free (NULL is allowed). KD_EFORMAT naming file, tensor and figures; KD_EIO. */
KD_API kd_status kd_tensors_new(kd_tensors **out, const char *path);
KD_API void kd_tensors_free(kd_tensors *tensors);
KD_API int64_t kd_tensors_count(const kd_tensors *tensors);
/* Number i, 0 <= i < count, in the order of names; by its name. NULL: there is none. */
KD_API const kd_tensor *kd_tensors_at(const kd_tensors *tensors, int64_t i);
KD_API const kd_tensor *kd_tensors_find(const kd_tensors *tensors, const char *name);
/* The first file's __metadata__ as JSON; NULL: it has none. */
KD_API const char *kd_tensors_metadata(const kd_tensors *tensors);

/* Its name (borrowed), type and shape. */
KD_API void kd_tensor_describe(kd_tensor_spec *spec, const kd_tensor *tensor);
/* `count` elements from element `from`: as they lie in the file, count * kd_dtype_size bytes; widened to float32 (F64, which is rounded,
 * F32, F16, BF16); any integers to int64. KD_EARG: not that many; KD_EFORMAT: another type, or the file has shrunk; KD_EIO. */
KD_API kd_status kd_tensor_read(void *out, const kd_tensor *tensor, int64_t from, int64_t count);
KD_API kd_status kd_tensor_read_f32(float *out, const kd_tensor *tensor, int64_t from, int64_t count);
KD_API kd_status kd_tensor_read_i64(int64_t *out, const kd_tensor *tensor, int64_t from, int64_t count);

/* Writes a file of `count` tensors in this order, data[i] as many bytes as spec[i] has, with __metadata__ {"format":"pt"} and `pairs`
 * keys and values, metadata[2*pairs]. It is there whole or not at all. KD_EARG, KD_EIO. */
KD_API kd_status kd_tensors_write(const char *path, const kd_tensor_spec *spec, const void *const *data, int64_t count,
                                  const char *const *metadata, int64_t pairs);

/* ---- windows of packed documents ------------------------------------------------------------------------ */

/* Bits: a BOS before a document, an EOS after it. */
typedef enum kd_separator { KD_SEPARATE_NONE = 0, KD_SEPARATE_BOS = 1, KD_SEPARATE_EOS = 2, KD_SEPARATE_BOTH = 3 } kd_separator;

/* How windows are filled, and what their plans say: the switches of `kedge pack`. */
typedef struct kd_window_options {
    int64_t window;            /* T of every window */
    kd_mask mask;
    bool reset;                /* as kd_plan_options, as what follows */
    bool anchor_is_bos;
    bool interleave;           /* documents are cut into chunks, which are shuffled */
    bool tag;                  /* each document is led by the name of its source: of a pack alone */
    bool truncate;             /* a document that crosses a window's end is cut there; else it goes on in the next window */
    bool predict_boundary, predict_first;
    kd_separator separator;    /* masks full and document: BOS leads every document; with an anchor it does not */
    int64_t offset;            /* of every position */
    int64_t shortest;          /* text tokens of a document's rest that is still taken into the next window; 0 is 1 */
    uint64_t seed;             /* of the order of windows and of the interleaved cuts */
} kd_window_options;

/* Windows that are filled; their plans are made when they are asked for. Serves one thread at a time. */
typedef struct kd_windows kd_windows;

/* Fills windows with documents in their order, each with as much of them as it has room for. A window holds exactly T tokens; what is
 * left at the end and does not fill one is dropped (kd_windows_dropped).
 *   token [start[documents]]  document d is tokens start[d] .. start[d+1]-1, without BOS and EOS; copied
 *   loss  [start[documents]]  0: never a target; NULL: all may be
 *   bos, eos                  ids that are put in by mask and separator; -1: there is none; BOS is then EOS
 * KD_EARG; KD_ECONFIG: not one window, no BOS or EOS where one is needed, a window too short for a token of text. */
KD_API kd_status kd_windows_new(kd_windows **out, const kd_window_options *options, const int32_t *token, const uint8_t *loss,
                                const int64_t *start, int64_t documents, int32_t bos, int32_t eos);
/* Those of a folder that `kedge pack` has written: part "train" or "valid". options NULL: as they were filled, mask anchor where they have
 * one, else document; otherwise what does not change how they are filled may be chosen: mask, reset, targets, interleave, offset, seed. The
 * tokenizer is the one that made the pack, and borrowed. KD_ECONFIG, KD_EFORMAT, KD_EIO. */
KD_API kd_status kd_windows_of_pack(kd_windows **out, const char *folder, const char *part, const kd_tokenizer *tokenizer,
                                    const kd_window_options *options);
KD_API void kd_windows_free(kd_windows *windows);

/* Whole windows; text tokens (EOS included) of the last partial one. */
KD_API int64_t kd_windows_count(const kd_windows *windows);
KD_API int64_t kd_windows_dropped(const kd_windows *windows);

/* The plan of window `index`, index >= 0, counted on through passes over all of them. shuffled: in training order, another one in every
 * pass; else in the order of the documents. plan is overwritten; free with kd_plan_free. KD_EARG, KD_ENOMEM; of a pack KD_EIO and
 * KD_EFORMAT. */
KD_API kd_status kd_windows_plan(kd_plan *plan, const kd_windows *windows, int64_t index, bool shuffled);

/* ---- model ------------------------------------------------------------------------------------------------ */

/* A Llama, Mistral or Qwen2 in float32 that reads windows. Serves one thread at a time, as its context does, which must outlive it. */
typedef struct kd_model kd_model;

/* Reads a Hugging Face folder (config.json, safetensors) and makes room for windows of up to `window` tokens. RoPE whose frequencies depend
 * on a length has those of `window`. Free with kd_model_free (NULL is allowed). KD_EFORMAT naming the tensor or key; KD_ENOTSUP: another
 * architecture, or a window beyond the model's sliding window; KD_EARG, KD_EIO, KD_ENOMEM. */
KD_API kd_status kd_model_new(kd_model **out, kd_ctx *ctx, const char *folder, int64_t window, kd_frame frame, kd_precision precision);
KD_API void kd_model_free(kd_model *model);

/* V, rows of the embedding: ids are below it. */
KD_API int64_t kd_model_vocabulary(const kd_model *model);

/* The forward pass over plan->token, 1 <= plan->T <= window: what follows is of it. A token's bits do not depend on what is read after
 * it, nor on `window`. The plan may be freed. KD_EARG: a token that is not in the vocabulary, a plan that is too long, a position above
 * `window`; what kd_attn_forward gives. */
KD_API kd_status kd_model_read(kd_model *model, const kd_plan *plan);
/* logits [count, V] after tokens from .. from+count-1 of the plan, on the host. KD_EARG. */
KD_API kd_status kd_model_logits(kd_model *model, float *logits, int64_t from, int64_t count);
/* loss [T] on the host: -log p(plan->target[t]) in nats, 0 where a token has no target. */
KD_API kd_status kd_model_token_losses(kd_model *model, double *loss);

#endif

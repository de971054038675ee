/* The implementations behind the two lists of attn.c, and how vector kernels cut a window into tiles.
 *
 * Tiles are counted from a document's start and span one document, so a document's arithmetic does not know where it
 * stands; of some of the window's queries and keys, from the first of each in the document. A query tile is KD_QUERIES rows in
 * the vector lanes; a key tile is KD_KEYS keys. Packed rows of a document are padded to KD_PAD, which every vector width divides. */
#ifndef KD_ATTN_VARIANTS_H
#define KD_ATTN_VARIANTS_H

#include <stdatomic.h>

#include "attn.h"

enum {
    KD_QUERIES = 48,  /* a register tile of 3 vectors of 16 */
    KD_KEYS = 128,    /* with 48 queries a tile of probabilities is 24 KiB: half a first-level cache */
    KD_GROUP = 8,     /* keys, or elements of a head, that are broadcast side by side */
    KD_PAD = 16,
    KD_BLOCK_TILES = 4,  /* query tiles that share a key tile while it is in the second-level cache */
    KD_SHORT = 512,      /* documents of fewer tokens are one task, packed data and all, in a thread's own cache */
};

/* A document as the kernels see it. Its row i sees its key j iff j <= i + lead. */
typedef struct kd_attn_segment {
    int64_t document;
    int64_t first_row, rows;       /* tokens, at least one */
    int64_t first_key, keys;       /* those that any of the rows sees */
    int64_t lead;                  /* first_row - first_key */
    int64_t query_row, key_row;    /* of the first ones in packed memory, multiples of KD_PAD */
    int64_t query_tile, key_tile;  /* how many precede its own */
} kd_attn_segment;

static inline bool kd_attn_is_short(const kd_attn_segment *s) { return s->rows < KD_SHORT && s->keys < KD_SHORT; }

/* What one thread does for a query head: a block of query tiles (backward: a key tile) of a document, or a short one whole. */
typedef struct kd_attn_task { int32_t segment, part; } kd_attn_task;

/* One run of a vector kernel: what it reads, and where in the workspace its packed data lie.
 * Key/value heads are served in batches, or long windows would need as much scratch again as all activations. */
typedef struct kd_attn_work {
    const kd_attn *a;
    float scale;
    int64_t group;           /* query heads of a key/value head */
    int64_t batch;           /* key/value heads at once */
    int64_t g0, groups;      /* this batch's first key/value head, and how many */
    int64_t h0, heads;       /* the first query head, and how many */
    int64_t Ep;              /* E padded to KD_PAD: the row length of packed data */
    kd_stretch rows, keys;   /* of the window */
    int64_t query_rows, key_rows;        /* packed ones of a head */
    kd_attn_segment *segment;            /* long ones, then short ones */
    int64_t segments, all_segments;      /* how many are not short; how many */
    kd_attn_task *task;                  /* costliest first: threads finish together. A key tile stands behind the one before it */
    int64_t tasks;
    int64_t key_tiles;                   /* of segments, not of short ones */
    int64_t query_tiles, all_query_tiles;  /* all: of short ones too */
    /* Each [heads or groups][query_rows or key_rows][Ep], tiles inside as the kernel wants them. */
    float *key, *value;                  /* [key/8][e][8]; the forward's value: as key_by_e */
    float *key_by_e;                     /* [e/8][key][8], the key tile's width */
    float *query, *dout;                 /* rows */
    float *query_t, *dout_t, *dquery_t;  /* [e][query], the query tile's width */
    float *dkey, *dvalue;                /* rows: one partial sum for each query head */
    float *lse2, *delta;                 /* [heads][query_rows]: log-sum-exp in base 2, and dO.O */
    float *anchor_ds;                    /* [heads][query_rows]: the gradient of the anchor's logit */
    float *anchor_sum;                   /* [heads][all_query_tiles][2][Ep]: shares of dk_a, dv_a */
    atomic_int *turn;                    /* [heads][query_tiles]: the key tile whose share of dquery_t comes next */
    const struct kd_extend *cached;      /* keys and values are a cache's, reading's (cache.h); NULL: packed ones */
    const struct kd_reading *reading;
    float *scratch;                      /* [threads][scratch_floats]: tiles, then a short document's packed data */
    int64_t scratch_floats, tile_floats;
} kd_attn_work;

/* Bytes of workspace: what the plan's documents need, or while KD_MEASURE_ANY the most that as many tokens can need. */
int64_t kd_attn_workspace_forward(const kd_ctx *ctx, const void *args);
int64_t kd_attn_workspace_backward(const kd_ctx *ctx, const void *args);

/* Cuts the plan into segments and places the packed data. */
void kd_attn_work_init(kd_attn_work *work, const kd_ctx *ctx, const kd_attn *a, bool backward, void *workspace);

/* Turns to the batch of key/value heads that begins with g0. */
void kd_attn_work_batch(kd_attn_work *work, int64_t g0);

/* The work of one short document and one key/value head of the batch, in the thread's own memory. segment becomes its only
 * one; it has room for one query head at a time and for every head's dkey and dvalue, and anchor_sum is NULL. */
void kd_attn_work_narrow(kd_attn_work *mine, kd_attn_segment *segment, const kd_attn_work *work, const kd_attn_segment *of_work,
                         bool backward, int64_t g, int64_t thread);

/* The segment that owns a tile of that sort: the last one whose first tile is not after it. */
const kd_attn_segment *kd_attn_key_tile(const kd_attn_work *work, int64_t tile);
const kd_attn_segment *kd_attn_query_tile(const kd_attn_work *work, int64_t tile);

/* Waits until it is key tile j's turn; the tiles before it are in the hands of threads that do not wait for it. */
void kd_attn_wait_turn(atomic_int *turn, int64_t j);

int64_t kd_attn_workspace_forward_ref(const kd_ctx *ctx, const void *args);
int64_t kd_attn_workspace_backward_ref(const kd_ctx *ctx, const void *args);
kd_status kd_attn_forward_ref(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_attn_backward_ref(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_attn_forward_avx2(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_attn_backward_avx2(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_attn_forward_avx512(kd_ctx *ctx, const void *args, void *workspace);
kd_status kd_attn_backward_avx512(kd_ctx *ctx, const void *args, void *workspace);

/* On CUDA (attn_cuda.c). */
#define KD_ATTN_VARIANT_ON_CUDA(name)                                              \
    bool kd_attn_supports_##name(const void *args);                                \
    int64_t kd_attn_workspace_##name(const kd_ctx *ctx, const void *args);         \
    kd_status kd_attn_##name(kd_ctx *ctx, const void *args, void *workspace)
KD_ATTN_VARIANT_ON_CUDA(forward_sm90);
KD_ATTN_VARIANT_ON_CUDA(forward_sm80);
KD_ATTN_VARIANT_ON_CUDA(forward_plain);
KD_ATTN_VARIANT_ON_CUDA(backward_sm90);
KD_ATTN_VARIANT_ON_CUDA(backward_sm90_atomic);
KD_ATTN_VARIANT_ON_CUDA(backward_sm80);
KD_ATTN_VARIANT_ON_CUDA(backward_plain);

#endif

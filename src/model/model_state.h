/* What a model holds while it computes. Private to src/model. */
#ifndef KD_MODEL_STATE_H
#define KD_MODEL_STATE_H

#include "attn/attn.h"
#include "model.h"

enum { KD_TREE_SLOTS = 16 };  /* partial sums alive at once: enough for 2^15 leaves or windows */

/* A layer's activations. M = this rank's tokens at once. With recompute: layer there is one of these, shared by all layers. */
typedef struct kd_layer_acts {
    float *rinv1;             /* [M]       of the norm before attention */
    kd_array q, k, v;         /* [M, H*E], [M, G*E] not rotated; all layers' in one place where the sequence mode keeps its own */
    kd_array o;               /* [M, H*E]  attention's output */
    kd_sequence_kept kept;    /* of each window at once */
    kd_array mid;             /* [M, C]    after attention's residual */
    float *rinv2;             /* [M]       of the norm before the MLP */
    kd_array gate, up;        /* [M, F]    recompute: none only */
} kd_layer_acts;

/* A layer's weights that come, or have come, from the ranks that own them. */
typedef struct kd_gathering {
    float *w;                 /* [layout.layer_stride] */
    int64_t layer;            /* -1: none */
    bool under_way;
    kd_flight flight[2];      /* of its two parts */
    kd_move move[2];
    int64_t *counts;          /* [2][4][ranks] of the moves */
} kd_gathering;

struct kd_model {
    kd_ctx *ctx;
    kd_layout layout;
    kd_parts own;             /* what of the flat order is this rank's */
    int64_t zero;             /* the options', 0 on one rank */
    kd_model_options options;
    int64_t V, C, F, L, H, G, E;
    int64_t block;            /* tokens that a matrix product sees: the context's */
    kd_view_type type;        /* of activations and their gradients */
    float eps, scale;         /* scale: of attention's logits; 0: 1/sqrt(E) */
    bool tied;
    kd_rope rope;
    kd_arena weights, masters, gradients, activations, inputs;
    kd_comm *alone;           /* stands for a communicator that the options do not have */
    kd_comm *world, *sequence, *data;
    kd_sequence attention;
    int64_t T, t0;            /* this rank's tokens of a window, and the first */
    int64_t leaves, leaf0;    /* its leaves, and the first */
    int64_t scratch;          /* bytes the operations asked for */

    float *w;                             /* [layout.count]; zero 3: what this rank owns */
    uint16_t *w16;                        /* [layout.count] the same in bf16, which operations read; NULL: they read w */
    kd_gathering gathering[2];            /* zero 3: of layers with even and odd numbers */
    float *table, *norm;                  /* zero 3: [V, C] of the embedding or the head, [C] of the last norm */
    int64_t table_part;                   /* what table holds; -1: nothing */
    bool norm_held;
    int64_t gradient_count;               /* layout.count, and behind it the head's own [V, C] when it is tied; zero >= 2: what is owned */
    float *slot[KD_TREE_SLOTS];           /* [gradient_count] partial sums over windows */
    float *leaf[KD_TREE_SLOTS];           /* partial sums over leaves of one phase; zero < 2: leaf[0] stands in the window's slot */
    float *room;                          /* of sums over ranks */
    double *losses;                       /* [data ranks, windows, the window's T] */

    kd_array x;               /* [L+1, M, C] inputs of the layers, or [M, C] without training; [L-1, M, C] on the host if it offloads */
    bool offloads;            /* inputs of layers lie in the host's memory, but for two (offload.c) */
    kd_array near[2];         /* [M, C] those two */
    kd_layer_acts *acts;      /* [L] or [1] */
    float *rinv_last;         /* [M] of the last norm */
    kd_array dx;              /* [M, C] */
    kd_array dout, dq;        /* [M, H*E] */
    kd_array dk, dv;          /* [M, G*E] */
    kd_array h, dh;           /* [block, C] */
    kd_array gate, up, act, dact;  /* [block, F] */
    float *logits;            /* [block, V] */
    kd_array dlogits;         /* [block, V] their gradient: in their place, or apart from them in 16 bits */
    int32_t *token, *target;              /* [M] the plans' mirrors */
    int32_t *position, *window_token;     /* [windows at once, the window's T] */

    const kd_plan *const *plan;  /* of the windows last forwarded */
    int64_t count, first;

    kd_plan read;             /* kd_model_read's window, filled up; of it read_tokens are the caller's; 0: it was not called */
    const kd_plan *reads[1];
    int64_t read_tokens;
};

/* Weights of a tensor, as operations read them; zero 3: where kd_layer_need or kd_table_need has brought them. */
static inline kd_array kd_weight(const kd_model *m, kd_param kind, int64_t layer) {
    int64_t at = kd_layout_at(&m->layout, kind, layer);
    if (m->w16) return kd_at(kd_bf16(m->w16), at);
    if (m->zero < 3) return kd_f32(m->w + at);
    if (m->layout.layered[kind]) return kd_f32(m->gathering[layer % 2].w + m->layout.at[kind] - m->layout.layers_at);
    return kd_f32(kind == KD_P_NORM ? m->norm : m->table);
}

static inline kd_array kd_layer_input(const kd_model *m, int64_t layer) {
    if (m->offloads) return m->near[layer % 2];
    return kd_at(m->x, m->options.training ? layer * m->options.micro * m->T * m->C : 0);
}

static inline kd_layer_acts *kd_acts(const kd_model *m, int64_t layer) {
    return &m->acts[m->options.recompute == KD_RECOMPUTE_NONE ? layer : 0];
}

/* Tokens of the block that begins at t. */
static inline int64_t kd_block(const kd_model *m, int64_t t, int64_t end) { return end - t < m->block ? end - t : m->block; }

/* Rows of heads, as attention takes them. */
static inline kd_view kd_heads_of(kd_array a, int64_t heads, int64_t E) {
    return a.type == KD_VIEW_F32 ? kd_view_heads(kd_floats(a), heads, E) : kd_view_half((uint16_t *)a.data, a.type, heads, E);
}

/* x [n], an operation's output, as it is stored. */
kd_status kd_model_store(kd_model *model, kd_array x, int64_t n);
/* model->logits of tokens t .. t+B-1, from the last norm of the last layer's output, which stays in model->h. */
kd_status kd_block_logits(kd_model *model, int64_t t, int64_t B);
/* The plans that the following is of, checked and mirrored. */
kd_status kd_model_take_plans(kd_model *model, const kd_plan *const *plan, int64_t count, int64_t first);
/* A layer's attention half in two steps, q, k and v from its input, then o, lse and mid; and both. */
kd_status kd_layer_project(kd_model *model, int64_t layer);
kd_status kd_layer_attend(kd_model *model, int64_t layer);
kd_status kd_layer_attention(kd_model *model, int64_t layer);
/* The next layer's input from mid. */
kd_status kd_layer_mlp(kd_model *model, int64_t layer);
/* What attention needs, for window j of those at once; lse is kept's. */
kd_attn kd_layer_attn(const kd_model *model, const kd_layer_acts *acts, int64_t j);

/* ---- several ranks (parallel.c) ------------------------------------------------------------------------------------- */

/* A phase is a stretch of the flat order whose gradients are complete at the same time (backward.c): one part, or two. */
typedef struct kd_phase { int64_t at, count, part, parts; } kd_phase;
kd_phase kd_phase_head(const kd_model *model);
kd_phase kd_phase_mlp(const kd_model *model, int64_t layer);
kd_phase kd_phase_qkv(const kd_model *model, int64_t layer);

/* Opens the communicators and says what this rank has. */
kd_status kd_model_share(kd_model *model);
/* Where a window's sums of a stretch of the flat order are made, whole. */
float *kd_window_sum(const kd_model *model, int64_t at, int64_t window, kd_phase phase);
/* A window's sums of the ranks that share it -> this rank's shard of their sum, merged with those of the windows before. */
kd_status kd_phase_reduce(kd_model *model, kd_phase phase, int64_t window);
/* The same of the embedding, of which x is this rank's shard already: of the ranks that share a window (kd_rank_range). */
kd_status kd_embedding_reduce(kd_model *model, float *x, int64_t window);
/* Sums of windows and ranks -> what this rank owns of the gradient. */
kd_status kd_gradient_reduce(kd_model *model, int64_t windows);
/* Losses of windows first .. first+count-1 come to the ranks that share them. */
kd_status kd_losses_share(kd_model *model, int64_t first, int64_t count);

/* ---- weights in shards, zero 3 (weights_gather.c); otherwise these do nothing ------------------------------------------ */

/* A layer's weights are there, and those of `next` (-1: none) on their way. Collective, as all of these. */
kd_status kd_layer_need(kd_model *model, int64_t layer, int64_t next);
kd_status kd_embedding_need(kd_model *model);
kd_status kd_head_need(kd_model *model);
/* What was brought is of weights that have changed. */
void kd_weights_forget(kd_model *model);
/* The copy in bf16, where there is one, is made again. */
kd_status kd_weights_round(kd_model *model);

/* ---- inputs of layers in the host's memory (offload.c); otherwise these do nothing ------------------------------------ */

/* Before a layer's input is written; when it has been; before a layer goes back, `next` (-1: none) is the one after it. */
kd_status kd_input_room(kd_model *model, int64_t layer);
kd_status kd_input_done(kd_model *model, int64_t layer);
kd_status kd_input_need(kd_model *model, int64_t layer, int64_t next);

#endif

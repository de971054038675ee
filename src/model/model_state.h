/* What a model holds while it computes. Private to src/model. */
#ifndef KD_MODEL_STATE_H
#define KD_MODEL_STATE_H

#include "attn/attn.h"
#include "model.h"
#include "par/shards.h"

enum { KD_TREE_SLOTS = 16 };  /* partial sums alive at once: enough for 2^15 leaves or windows */

/* A layer's activations. M = this rank's tokens at once. With recompute: layer there is one of these, shared by all layers. */
typedef struct kd_layer_acts {
    float *rinv1;             /* [M]       of the norm before attention */
    float *q, *k, *v;         /* [M, H*E], [M, G*E] not rotated; all layers' in one place where the sequence mode keeps its own */
    float *o;                 /* [M, H*E]  attention's output */
    kd_sequence_kept kept;    /* of each window at once */
    float *mid;               /* [M, C]    after attention's residual */
    float *rinv2;             /* [M]       of the norm before the MLP */
    float *gate, *up;         /* [M, F]    recompute: none only; else NULL */
} kd_layer_acts;

struct kd_model {
    kd_ctx *ctx;
    kd_layout layout;
    kd_model_options options;
    int64_t V, C, F, L, H, G, E;
    float eps, scale;         /* scale: of attention's logits; 0: 1/sqrt(E) */
    bool tied;
    kd_rope rope;
    kd_arena weights, gradients, activations;
    kd_comm *alone;           /* stands for a communicator that the options do not have */
    kd_comm *sequence, *data;
    kd_sequence attention;
    int64_t T, t0;            /* this rank's tokens of a window, and the first */
    int64_t leaves, leaf0;    /* its leaves, and the first */
    int64_t scratch;          /* bytes the operations asked for */

    float *w;                             /* [layout.count] */
    int64_t gradient_count;               /* layout.count, and behind it the head's own [V, C] when it is tied */
    float *slot[KD_TREE_SLOTS];           /* [gradient_count] partial sums over windows */
    float *leaf[KD_TREE_SLOTS];           /* partial sums over leaves of one phase; leaf[0] stands in the window's slot */
    float *room;                          /* of sums over ranks */
    double *losses;                       /* [data ranks, windows, the window's T] */

    float *x;                 /* [L+1, M, C] inputs of the layers, or [M, C] without training */
    kd_layer_acts *acts;      /* [L] or [1] */
    float *rinv_last;         /* [M] of the last norm */
    float *dx;                /* [M, C] */
    float *dout, *dq;         /* [M, H*E] */
    float *dk, *dv;           /* [M, G*E] */
    float *h, *dh;            /* [KD_BLOCK, C] */
    float *gate, *up, *act, *dact;  /* [KD_BLOCK, F] */
    float *logits;            /* [KD_BLOCK, V] */
    int32_t *token, *target;              /* [M] the plans' mirrors */
    int32_t *position, *window_token;     /* [windows at once, the window's T] */

    const kd_plan *const *plan;  /* of the windows last forwarded */
    int64_t count, first;
};

/* Weights of a tensor. */
static inline float *kd_weight(const kd_model *m, kd_param kind, int64_t layer) {
    return m->w + kd_layout_at(&m->layout, kind, layer);
}

static inline float *kd_layer_input(const kd_model *m, int64_t layer) {
    return m->x + (m->options.training ? layer * m->options.micro * m->T * m->C : 0);
}

static inline kd_layer_acts *kd_acts(const kd_model *m, int64_t layer) {
    return &m->acts[m->options.recompute == KD_RECOMPUTE_NONE ? layer : 0];
}

/* Tokens of the block that begins at t. */
static inline int64_t kd_block(int64_t t, int64_t end) { return end - t < KD_BLOCK ? end - t : KD_BLOCK; }

/* x [n], an operation's output, as it is stored. */
kd_status kd_model_store(kd_model *model, float *x, int64_t n);
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

/* A phase is a stretch of the flat order whose gradients are complete at the same time (backward.c). */
typedef struct kd_phase { int64_t at, count; } kd_phase;
kd_phase kd_phase_head(const kd_model *model);
kd_phase kd_phase_mlp(const kd_model *model, int64_t layer);
kd_phase kd_phase_qkv(const kd_model *model, int64_t layer);

/* Opens the communicators and says what this rank has. */
kd_status kd_model_share(kd_model *model);
/* A window's sums of the ranks that share it -> their sum, in this rank's shard of the phase, merged with those of the windows before. */
kd_status kd_phase_reduce(kd_model *model, kd_phase phase, int64_t window);
/* Merges the window's sums [count] at `at` with those of the windows before. */
kd_status kd_window_merge(kd_model *model, int64_t at, int64_t count, int64_t window);
/* Shards and windows of all ranks -> the gradient, on each. */
kd_status kd_gradient_gather(kd_model *model);
/* Losses of windows first .. first+count-1 come to the ranks that share them. */
kd_status kd_losses_share(kd_model *model, int64_t first, int64_t count);

#endif

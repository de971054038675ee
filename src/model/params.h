/* The one table of a model's tensors. Sizes, the canonical flat order, loading, saving, checks and decay groups are walks
 * over it. */
#ifndef KD_PARAMS_H
#define KD_PARAMS_H

#include "config.h"

/* X(member, name on disk, section, rows, columns (0: a vector), present)
 * in the canonical order; rows, columns and present are expressions over the config `c`. */
#define KD_PARAMS(X)                                                                                                   \
    X(EMBED,          "model.embed_tokens.weight",       ONCE,  c->V,        c->C,        true)                        \
    X(INPUT_NORM,     "input_layernorm.weight",          LAYER, c->C,        0,           true)                        \
    X(Q,              "self_attn.q_proj.weight",         LAYER, c->H * c->E, c->C,        true)                        \
    X(Q_BIAS,         "self_attn.q_proj.bias",           LAYER, c->H * c->E, 0,           c->qkv_bias)                 \
    X(K,              "self_attn.k_proj.weight",         LAYER, c->G * c->E, c->C,        true)                        \
    X(K_BIAS,         "self_attn.k_proj.bias",           LAYER, c->G * c->E, 0,           c->qkv_bias)                 \
    X(V,              "self_attn.v_proj.weight",         LAYER, c->G * c->E, c->C,        true)                        \
    X(V_BIAS,         "self_attn.v_proj.bias",           LAYER, c->G * c->E, 0,           c->qkv_bias)                 \
    X(O,              "self_attn.o_proj.weight",         LAYER, c->C,        c->H * c->E, true)                        \
    X(POST_NORM,      "post_attention_layernorm.weight", LAYER, c->C,        0,           true)                        \
    X(GATE,           "mlp.gate_proj.weight",            LAYER, c->F,        c->C,        true)                        \
    X(UP,             "mlp.up_proj.weight",              LAYER, c->F,        c->C,        true)                        \
    X(DOWN,           "mlp.down_proj.weight",            LAYER, c->C,        c->F,        true)                        \
    X(NORM,           "model.norm.weight",               LAST,  c->C,        0,           true)                        \
    X(LM_HEAD,        "lm_head.weight",                  LAST,  c->V,        c->C,        !c->tied)

typedef enum kd_param {
#define X(member, name, section, rows, columns, present) KD_P_##member,
    KD_PARAMS(X)
#undef X
    KD_PARAM_KINDS
} kd_param;

/* Where everything lies in the flat order. Indexes count floats and are unpadded. */
typedef struct kd_layout {
    int64_t count;                        /* floats of the whole model */
    int64_t layers, layers_at, layer_stride;
    int64_t at[KD_PARAM_KINDS];           /* of the kind, in layer 0 for layered ones */
    int64_t rows[KD_PARAM_KINDS], columns[KD_PARAM_KINDS];  /* columns 0: a vector */
    int64_t size[KD_PARAM_KINDS];         /* floats of one tensor; 0: this model does not have it */
    bool layered[KD_PARAM_KINDS];
    int64_t tensors;                      /* how many tensors on disk */
} kd_layout;

/* KD_EFORMAT when the sizes do not fit into int64. */
kd_status kd_layout_init(kd_layout *layout, const kd_config *config);

/* The flat index of a tensor. */
static inline int64_t kd_layout_at(const kd_layout *layout, kd_param kind, int64_t layer) {
    return layout->at[kind] + (layout->layered[kind] ? layer * layout->layer_stride : 0);
}

/* Tensor i of layout->tensors in the flat order. */
typedef struct kd_param_place { kd_param kind; int64_t layer, at, size; } kd_param_place;
kd_param_place kd_layout_tensor(const kd_layout *layout, int64_t i);

/* The name on disk, at most 127 characters. */
void kd_param_name(char name[128], kd_param kind, int64_t layer, bool layered);

/* Useful floating-point operations of one training step: 6 for each weight that multiplies a token (the embedding is a
 * lookup, the head is not), 14 E for each query head, layer and pair of tokens that see each other (4 E forward, 2.5 times
 * that backward). What recomputation repeats is not counted. */
double kd_model_flops(const kd_config *config, int64_t tokens, int64_t pairs);

/* Matrices decay, norms and biases do not. */
static inline bool kd_param_is_matrix(const kd_layout *layout, kd_param kind) { return layout->columns[kind] > 0; }

#endif

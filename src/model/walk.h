/* A model walked layer by layer, by one who looks at what its layers make: one layer's weights at a time, out of the files,
 * so memory does not grow with the number of layers. Hidden states are the caller's, on the host. */
#ifndef KD_WALK_H
#define KD_WALK_H

#include "attn/attn.h"
#include "format/safetensors.h"
#include "params.h"

typedef struct kd_walk_options {
    int64_t T;               /* tokens of every plan */
    int64_t positions;       /* that rotations serve: greater than every |position| */
    kd_frame frame;
    kd_precision precision;
} kd_walk_options;

typedef struct kd_walk {
    int64_t T, C, L, H, G, E, V;
    struct kd_model *model;  /* of one layer */
    kd_layout layout;        /* of all */
    kd_tensors tensors;      /* count 0: the weights are drawn */
    uint64_t seed;
    float *stage;
    const kd_plan *plan;     /* last projected with */
} kd_walk;

/* folder NULL: fresh weights as PyTorch begins (Kaiming uniform, weights.h), of this seed. RoPE of types whose frequencies depend on a length
 * has those of T. KD_EFORMAT (a tensor that is missing, or of another shape), KD_ENOTSUP, KD_ENOMEM. Free with kd_walk_close;
 * it must not be moved while it is open. */
kd_status kd_walk_open(kd_walk *walk, kd_ctx *ctx, const kd_config *config, const char *folder, int64_t seed,
                       const kd_walk_options *options);
void kd_walk_close(kd_walk *walk);

/* Bytes of memory that a walk takes, the weights of a layer included. */
int64_t kd_walk_bytes(const kd_walk *walk);

/* x [T, C]: the embeddings of token [T]. KD_EARG for one that is not in the vocabulary. */
kd_status kd_walk_embed(float *x, kd_walk *walk, const int32_t *token);
/* Reads a layer's weights: what follows is of it. */
kd_status kd_walk_load(kd_walk *walk, int64_t layer);
/* q [T, H, E] and k [T, G, E], not rotated, of a layer's input x [T, C] (NULL: they are not wanted). The plan is borrowed by
 * what follows. */
kd_status kd_walk_project(float *q, float *k, kd_walk *walk, const float *x, const kd_plan *plan);
/* x [T, C]: the layer's output, from what was last projected. */
kd_status kd_walk_finish(float *x, kd_walk *walk);

/* Attention of what was last projected: plan, rope, frame, precision, sizes, scale; no tensors of it are the host's. */
kd_attn kd_walk_attn(const kd_walk *walk);

#endif

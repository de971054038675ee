/* Weights as tensors on disk: what reading and writing of them share. Private to src/model. */
#ifndef KD_WEIGHTS_H
#define KD_WEIGHTS_H

#include "model_state.h"

enum { KD_PIECE = 1 << 20 };  /* floats staged on the host at once */

/* KD_EFORMAT naming file, tensor and both shapes if the tensor is not of this kind. */
kd_status kd_weights_check_shape(const kd_layout *layout, const kd_tensor *tensor, kd_param kind);
/* Elements from .. from+count-1 of a tensor of the files to the device; stage [KD_PIECE]. */
kd_status kd_weights_read(kd_model *model, float *to, const kd_tensor *tensor, int64_t from, int64_t count, float *stage);
/* Every tensor of a model folder is one of the table's; rotary_emb.inv_freq, and lm_head.weight where it is tied, are
 * left out. Tensors that nobody asked for would be silently dropped weights. */
kd_status kd_weights_check_strangers(const kd_layout *layout, bool tied, const kd_tensors *tensors);

/* Fresh weights: matrices normal with a range; or as PyTorch's layers begin, Kaiming uniform with a = sqrt(5), which is
 * +-1/sqrt(columns), and the embedding standard normal. Norms 1, biases 0. A number is a function of the seed and its flat index. */
typedef struct kd_fresh { bool kaiming; double range; uint64_t seed; } kd_fresh;
/* Of a matrix of so many columns, at this flat index. */
float kd_fresh_weight(const kd_fresh *fresh, kd_param kind, int64_t columns, int64_t at);
/* A tensor, at its place in layout, to the device; stage [KD_PIECE]. */
kd_status kd_weights_draw(kd_model *model, float *to, const kd_layout *layout, const kd_param_place *place, const kd_fresh *fresh,
                          float *stage);

/* ---- files out (weights_files.c) ------------------------------------------------------------------------------------- */

/* A tensor to be written, and where its elements are: in an array of the device's, in one of what ranks own, in 8 bits, or in other files. */
typedef struct kd_weights_source {
    char name[160];
    int64_t count, bytes;
    const float *device;
    const float *owned;       /* this rank's array; place: the tensor's */
    kd_coded coded;           /* of the device's, in 8 bits */
    bool is_signed;
    kd_param_place place;
    const kd_tensor *stored;
} kd_weights_source;

/* All of them, with their descriptions beside them. */
typedef struct kd_weights_sources {
    kd_weights_source *from;  /* [count] */
    kd_tensor_spec *spec;     /* [count] */
    int64_t count;
} kd_weights_sources;

kd_status kd_weights_sources_open(kd_weights_sources *sources, int64_t count);
void kd_weights_sources_close(kd_weights_sources *sources);
/* Number `at` of them is tensor i of the table with a suffix to its name. */
kd_weights_source *kd_weights_describe(kd_weights_sources *sources, int64_t at, const kd_layout *layout, int64_t i, const char *suffix,
                                       kd_dtype dtype);

/* <stem>.safetensors, or files of at most shard_bytes and an index. model NULL: all are stored. Otherwise collective over the model's
 * world: rank r of P writes files r, r+P, ..., what it does not own comes from the owners, and all have the same status. */
kd_status kd_weights_write_files(kd_model *model, const kd_weights_sources *sources, const char *folder, const char *stem, int64_t shard_bytes);

#endif

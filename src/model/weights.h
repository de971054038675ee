/* Weights as tensors on disk: what reading and writing of them share. Private to src/model. */
#ifndef KD_WEIGHTS_H
#define KD_WEIGHTS_H

#include "model_state.h"

enum { KD_PIECE = 1 << 20 };  /* floats staged on the host at once */

/* KD_EFORMAT naming file, tensor and both shapes if the tensor is not of this kind. */
kd_status kd_weights_check_shape(const kd_layout *layout, const kd_tensor *tensor, kd_param kind);
/* A tensor of the files to the device; stage [KD_PIECE]. */
kd_status kd_weights_read(kd_model *model, float *to, const kd_tensor *tensor, float *stage);
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

#endif

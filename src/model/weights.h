/* Weights as tensors on disk: what reading and writing of them share. Private to src/model. */
#ifndef KD_WEIGHTS_H
#define KD_WEIGHTS_H

#include "model_state.h"

enum { KD_PIECE = 1 << 20 };  /* floats staged on the host at once */

/* KD_EFORMAT naming file, tensor and both shapes if the tensor is not of this kind. */
kd_status kd_weights_check_shape(const kd_layout *layout, const kd_tensor *tensor, kd_param kind);
/* Every tensor of a model folder is one of the table's; rotary_emb.inv_freq, and lm_head.weight where it is tied, are
 * left out. Tensors that nobody asked for would be silently dropped weights. */
kd_status kd_weights_check_strangers(const kd_layout *layout, bool tied, const kd_tensors *tensors);

#endif

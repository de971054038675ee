/* Everything but the matrix products, on AVX-512. */
#include "dev/vec_avx512.h"
#include "dev/vec_math.inc"
#include "nn_ops.h"

#include "adamw_vec.inc"
#include "cross_entropy_vec.inc"
#include "likelihood_vec.inc"
#include "pointwise_vec.inc"
#include "rmsnorm_vec.inc"

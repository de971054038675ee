/* Everything but the matrix products, on AVX2. */
#include "dev/vec_avx2.h"
#include "dev/vec_math.inc"
#include "nn_ops.h"

#include "adamw_vec.inc"
#include "cross_entropy_vec.inc"
#include "likelihood_vec.inc"
#include "pointwise_vec.inc"
#include "rmsnorm_vec.inc"

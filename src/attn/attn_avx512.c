/* Attention on AVX-512: the vector sources in that vocabulary. */
#include <math.h>

#include "attn_variants.h"

#include "dev/vec_avx512.h"
#include "dev/vec_math.inc"
#include "dev/vec_transpose.inc"

#include "attn_vec_tile.inc"
#include "attn_vec_cache_tile.inc"
#include "attn_vec_forward.inc"
#include "attn_vec_cached.inc"
#include "attn_vec_backward.inc"

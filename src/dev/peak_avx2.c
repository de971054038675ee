/* The burst on AVX2. */
#include "peak.h"
#include "vec_avx2.h"

#include "peak_vec.inc"

/* The burst on AVX-512. */
#include "peak.h"
#include "vec_avx512.h"

#include "peak_vec.inc"

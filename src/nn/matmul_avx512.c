/* Matrix products on AVX-512: tiles of 14 rows by 32 columns. */
#include "dev/vec_avx512.h"
#include "matmul_vec.inc"
#include "matmul_few.inc"

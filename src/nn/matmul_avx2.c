/* Matrix products on AVX2: tiles of 6 rows by 16 columns. */
#include "dev/vec_avx2.h"
#include "matmul_vec.inc"
#include "matmul_few.inc"

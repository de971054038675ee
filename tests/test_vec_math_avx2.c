/* The vector vocabulary's mathematics on AVX2. */
#if defined(KD_X86)
#include "dev/vec_avx2.h"
#include "vec_math_test.inc"

int main(void) { return run_vec_math(KD_ISA_AVX2); }
#else
int main(void) { return 0; }
#endif

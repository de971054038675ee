/* The vector vocabulary's mathematics on AVX-512. */
#if defined(KD_X86)
#include "dev/vec_avx512.h"
#include "vec_math_test.inc"

int main(void) { return run_vec_math(KD_ISA_AVX512); }
#else
int main(void) { return 0; }
#endif

/* Dense products on CUDA by cuBLASLt, which is opened when the first is wanted. For *_cuda.c alone. */
#ifndef KD_BLAS_CUDA_H
#define KD_BLAS_CUDA_H

#include "cuda.h"

/* A function of cuBLASLt by its name; NULL, with a message, where the library or the function is not to be had (blas_library_cuda.c). */
void *kd_blas_symbol(const char *name);

/* out[i,j] = beta * start[i,j] + (sum_p left(i,p) * right(p,j) + bias[j]), row-major, in float32 (true float32: no shorter products) and
 * rounded once. out and start are [rows, columns], left [rows, sum] or turned [sum, rows], right [sum, columns] or turned [columns, sum].
 *
 * Products alike in all but rows or sum are made by one algorithm, chosen for usual_rows and usual_sum, that does not share out the sum
 * over p: so an element does not depend on how many rows there are. */
typedef struct kd_blas_product {
    bool left_turned, right_turned;
    kd_view_type type, out_type;    /* of left and right; of out, start and bias */
    int64_t rows, columns, sum;
    int64_t usual_rows, usual_sum;
    int64_t left_stride;            /* elements from one stored row of left to the next */
    void *out;
    const void *left, *right;
    const void *bias;               /* NULL: none */
    const void *start;              /* NULL: beta is 0, else 1; it may be out */
} kd_blas_product;

enum { KD_BLAS_WORKSPACE = 32 << 20 };  /* bytes of scratch, of which an algorithm takes what it needs */

kd_status kd_blas_multiply(kd_ctx *ctx, const kd_blas_product *product, void *workspace);

#endif

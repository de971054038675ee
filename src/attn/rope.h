/* Cosines and sines of positions, inside the library. */
#ifndef KD_ROPE_H
#define KD_ROPE_H

#include "kedge.h"

#include "base/error.h"

enum { KD_HEAD_MOST = 256 };  /* elements of the largest head */

/* What is turned by: a double product, its rounding to float32, or that with bf16 cosines and sines. */
typedef enum kd_angles { KD_ANGLES_DOUBLE, KD_ANGLES_F32, KD_ANGLES_BF16 } kd_angles;

/* The definition: cosine and sine of position p, |p| < 2^24; inv_freq holds a float32 number. */
void kd_rope_entry(float *cosine, float *sine, kd_angles angles, double inv_freq, int64_t p);

/* What turns nothing, without tables: for queries and keys that come turned. */
kd_rope kd_rope_still(int64_t E, kd_precision precision);

/* Cosines [E/2], then sines [E/2], of position p out of the two levels; ones and zeros without them. p >= 0. */
void kd_rope_make(float *row, const kd_rope *rope, kd_angles angles, int64_t p);

/* The same out of the table if there is one, else made in `made` [E]. angles: DOUBLE, or those the rope was made for. */
static inline const float *kd_rope_row(const kd_rope *rope, kd_angles angles, int64_t p, float *made) {
    if (rope->table) return (angles == KD_ANGLES_DOUBLE ? rope->exact : rope->table) + p * rope->E;
    kd_rope_make(made, rope, angles, p);
    return made;
}

/* Bytes that kd_rope_init_for asks the device for. */
int64_t kd_rope_bytes(kd_precision precision, int64_t E, int64_t positions);

#endif

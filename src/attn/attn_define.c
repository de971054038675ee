/* The definition in double, for tests: angles, sines and sums. */
#include <math.h>
#include <stdlib.h>

#include "attn.h"

#define REAL double
#define EXP exp
#define LOG log

static void rotation(double *cosine, double *sine, const kd_rope *rope, kd_angles angles, int64_t p) {
    for (int64_t e = 0; e < rope->E / 2 && !rope->inv_freq; e++) cosine[e] = 1, sine[e] = 0;
    for (int64_t e = 0; e < rope->E / 2 && rope->inv_freq; e++) {
        float c, s;
        cosine[e] = cos((double)p * rope->inv_freq[e]);
        sine[e] = sin((double)p * rope->inv_freq[e]);
        if (angles == KD_ANGLES_DOUBLE) continue;
        kd_rope_entry(&c, &s, angles, rope->inv_freq[e], p);
        cosine[e] = c;
        sine[e] = s;
    }
}

#include "attn_ref.inc"

static view contiguous(const double *data, int64_t heads, int64_t E, kd_stretch of) {
    return (view){(double *)data, heads * E, E, of};
}

/* Scratch of the definition in one piece, x->logit first. */
static kd_status allocate(problem *x, bool backward) {
    const kd_attn *a = x->shape;
    int64_t room = backward ? sums_of(a) * 2 * kd_stretch_count(kd_attn_keys(a)) * a->E : 0;
    KD_TRY(kd_new(&x->logit, a->G * (a->plan->T * (2 * a->E + 1) + 4 * a->E + room), sizeof *x->logit));
    x->rotated = x->logit + a->G * a->plan->T;
    x->turned = x->rotated + 2 * a->G * a->plan->T * a->E;
    x->sums = x->turned + a->G * 4 * a->E;
    return KD_OK;
}

kd_status kd_attn_define_forward(double *o, double *lse, const double *q, const double *k, const double *v,
                                 const kd_attn *a) {
    kd_stretch rows = kd_attn_rows(a), keys = kd_attn_keys(a);
    problem x = {.shape = a, .q = contiguous(q, a->H, a->E, rows), .k = contiguous(k, a->G, a->E, keys),
                 .v = contiguous(v, a->G, a->E, keys), .o = contiguous(o, a->H, a->E, rows), .lse = lse};
    KD_TRY(allocate(&x, false));
    kd_status status = KD_OK;
    for (int64_t g = 0; g < a->G && !status; g++) status = forward_group(&x, g);
    free(x.logit);
    return status;
}

kd_status kd_attn_define_backward(double *dq, double *dk, double *dv, const double *dout, const double *q,
                                  const double *k, const double *v, const double *o, const double *lse,
                                  const kd_attn *a) {
    kd_stretch rows = kd_attn_rows(a), keys = kd_attn_keys(a);
    problem x = {.shape = a, .q = contiguous(q, a->H, a->E, rows), .k = contiguous(k, a->G, a->E, keys),
                 .v = contiguous(v, a->G, a->E, keys), .o = contiguous(o, a->H, a->E, rows),
                 .dout = contiguous(dout, a->H, a->E, rows), .dq = contiguous(dq, a->H, a->E, rows),
                 .dk = contiguous(dk, a->G, a->E, keys), .dv = contiguous(dv, a->G, a->E, keys), .lse = (double *)lse};
    KD_TRY(allocate(&x, true));
    kd_status status = KD_OK;
    for (int64_t g = 0; g < a->G && !status; g++) status = backward_group(&x, g);
    free(x.logit);
    return status;
}

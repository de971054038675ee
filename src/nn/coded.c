#include "coded.h"

#include <math.h>
#include <pthread.h>

static kd_coded_shares shares[2];
static pthread_once_t made = PTHREAD_ONCE_INIT;

/* Seven decades below 1, each of twice as many levels as the one below it, which are the middles of equal parts of 0.1 .. 1; then 0 and 1. */
static void make(kd_coded_shares *s, bool is_signed) {
    int positive = is_signed ? 128 : 255, zero = is_signed ? 127 : 0, at = zero + 1;
    double decade = 1e-6;
    s->share[zero] = 0.0f;
    for (int i = 0; i < 7; i++, decade *= 10.0) {
        int levels = (is_signed ? 1 : 2) << i;
        for (int k = 0; k < levels; k++) s->share[at++] = (float)(decade * (0.1 + 0.9 * (k + 0.5) / levels));
    }
    s->share[at] = 1.0f;
    for (int i = 1; is_signed && i < positive; i++) s->share[zero - i] = -s->share[zero + i];
    for (int i = 0; i < 255; i++) s->middle[i] = (float)((0.0 + s->share[i] + s->share[i + 1]) / 2.0);
    s->middle[255] = INFINITY;
}

static void make_both(void) {
    make(&shares[0], false);
    make(&shares[1], true);
}

const kd_coded_shares *kd_coded_shares_of(bool is_signed) {
    pthread_once(&made, make_both);
    return &shares[is_signed];
}

static int64_t block_end(int64_t from, int64_t n) { return from + KD_CODED_BLOCK < n ? from + KD_CODED_BLOCK : n; }

void kd_coded_widen(float *out, kd_coded in, bool is_signed, int64_t n) {
    const kd_coded_shares *s = kd_coded_shares_of(is_signed);
    for (int64_t i = 0; i < n; i++) out[i] = s->share[in.code[i]] * in.scale[i / KD_CODED_BLOCK];
}

void kd_coded_narrow(kd_coded out, const float *in, bool is_signed, int64_t n) {
    const kd_coded_shares *s = kd_coded_shares_of(is_signed);
    for (int64_t from = 0; from < n; from += KD_CODED_BLOCK) {
        float most = in[from];
        for (int64_t i = from + 1; i < block_end(from, n); i++)
            if (fabsf(in[i]) > fabsf(most)) most = in[i];
        out.scale[from / KD_CODED_BLOCK] = most;
        for (int64_t i = from; i < block_end(from, n); i++) out.code[i] = kd_share_code(s, most != 0.0f ? in[i] / most : 0.0f);
    }
}

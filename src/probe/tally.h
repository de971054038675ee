/* Sums over the layers and heads of one text, out of which a curve's numbers are made. Private to src/probe. */
#ifndef KD_TALLY_H
#define KD_TALLY_H

#include "drift.h"
#include "probe.h"

/* Of one text, or of its run on longer lengths; pairs as the drift's that is added. */
typedef struct kd_tally {
    int64_t L, H, T, shifts, bases;
    const kd_plan *plan;
    double *key, *key_signed;  /* [pairs, T] summed over layers and heads, divided by the queries that see a key */
    double *d_head;            /* [L, H] D of the main pair */
    double *first;             /* [T] of the main pair: the first key's change of logit, summed over layers and heads */
    double *most;              /* [pairs] */
    double *rows;              /* [pairs] summed over layers, heads and queries */
    double *sink;              /* [L, H] */
    int64_t main_pair;
} kd_tally;

kd_status kd_tally_init(kd_tally *tally, int64_t L, int64_t H, int64_t T, int64_t shifts, int64_t bases, int64_t main_pair);
void kd_tally_free(kd_tally *tally);
void kd_tally_clear(kd_tally *tally, const kd_plan *plan);
/* A layer's changes. */
void kd_tally_add(kd_tally *tally, const kd_drift *drift, int64_t layer);

/* The tally of a text into a curve's numbers, mode by mode; sinks from the first mode that is given. */
kd_status kd_tally_finish(kd_probe_curve *curve, kd_probe_mode mode, const kd_probe *probe, int64_t text, const kd_tally *tally);
/* D_logit of the lengths above `from` and up to `to`. */
void kd_tally_lengths(kd_probe_numbers *numbers, const kd_probe *probe, int64_t text, const kd_tally *tally, int64_t from, int64_t to);

#endif

/* Scales of charts: what an axis shows, where its ticks are and what they say. Private to src/format. */
#ifndef KD_AXIS_H
#define KD_AXIS_H

#include "chart.h"

enum { KD_TICKS = 64 };

typedef struct kd_ticks {
    kd_scale scale;
    double min, max;           /* the domain; min < max */
    double from, to;           /* where they lie in the picture */
    int64_t count;
    double at[KD_TICKS];       /* values within the domain */
    char label[KD_TICKS][32];
    int exponent;              /* the labels are to be multiplied by ten to it: for the axis' name */
} kd_ticks;

/* A domain for values lo .. hi (lo > hi: there are none), about `wanted` ticks. snug: it ends where the values end,
 * otherwise at a tick or a little behind them. */
void kd_ticks_init(kd_ticks *ticks, const kd_axis *axis, double lo, double hi, int64_t wanted, bool snug);
/* Where a value lies; NAN for what the scale cannot show. */
double kd_ticks_place(const kd_ticks *ticks, double value);
/* The widest label. */
double kd_ticks_width(const kd_ticks *ticks);
/* "label, x1e-5" with the exponent, if there is one. */
void kd_ticks_name(char out[128], const kd_ticks *ticks, const char *label);

#endif

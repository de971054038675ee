/* Measurements in a few figures, and which curves they are compared by. */
#ifndef KD_PROBE_SUMMARY_H
#define KD_PROBE_SUMMARY_H

#include "probe.h"

/* Of the values that are finite, `stride` apart. sd: of a sample, NAN of fewer than two; all are NAN of none. */
typedef struct kd_spread { double mean, sd, min, max; int64_t count; } kd_spread;
kd_spread kd_spread_of(const double *value, int64_t count, int64_t stride);
/* Over texts, of an array [texts, width]; NULL: of none. */
static inline kd_spread kd_over_texts(const kd_probe *p, const double *array, int64_t width, int64_t column) {
    return kd_spread_of(array ? array + column : NULL, p->texts, width);
}

/* One mode of one curve between shift[0] and `against`, in a few figures; NAN where there are none. */
typedef struct kd_probe_row {
    const kd_probe_curve *curve;
    kd_probe_mode mode;
    int64_t number;             /* of the curve */
    kd_spread d;                /* D */
    double ratio;               /* D over the smallest of the same model and mode that is not 0 */
    double first, first_other;  /* the first key's D_j over the median key's, over the largest of the others; means */
    double most;                /* the largest change of a logit, of any text */
    double logit, growth;       /* D_logit at the longest T; the slope of its logarithm over that of T */
    double far;                 /* D between shift[0] and the last shift, over that between shift[0] and `against` */
    double sink, sink_most;     /* attention on the first key: mean, and the head that has most */
} kd_probe_row;

/* Every curve of one mode, then of the other; mode: the first that any curve has, which charts and words are about. */
typedef struct kd_probe_table { const kd_probe *probe; kd_probe_row *row; int64_t rows; kd_probe_mode mode; } kd_probe_table;
kd_status kd_probe_table_open(kd_probe_table *table, const kd_probe *probe);
void kd_probe_table_close(kd_probe_table *table);

extern const char *const kd_probe_mode_names[KD_PROBE_MODES];
kd_probe_mode kd_probe_main_mode(const kd_probe *probe);
bool kd_is_bf16(const kd_probe_curve *curve);  /* one of bf16's kinds */
/* The curve that is shown text by text and head by head: of a kind of bf16 and trained; else the first. NULL: none. */
const kd_probe_curve *kd_probe_shown(const kd_probe *probe);
/* In the main mode. Of a model (NULL: of any), trained models first and kinds of bf16 first: the largest D. NULL: none. */
const kd_probe_row *kd_table_worst(const kd_probe_table *table, const char *model);
/* Of the same model and mode as `row`, but not it: the smallest D. NULL: none. */
const kd_probe_row *kd_table_best(const kd_probe_table *table, const kd_probe_row *row);

void kd_show_power(char out[32], double exponent);   /* T^0.30 */
void kd_show_factor(char out[32], double factor);    /* three digits: 0.0123, 2.52, 1200; a dash for NAN */

/* What tells curves apart in few words: "bf16", "bf16, random", with several models "bf16, toy". */
enum { KD_CURVE_NAME = 96 };
const char *kd_only_model(const kd_probe *probe);     /* that is trained; NULL: there are several, or none */
void kd_curve_name(char out[KD_CURVE_NAME], const kd_probe *probe, const kd_probe_curve *curve);

#endif

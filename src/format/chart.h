/* Charts as SVG: lines, heat maps, bars. Ticks are at 1, 2 and 5; numbers end in K, M, G (thousands); lines are named where
 * they end; labels that would meet are left out. Values that are not finite are gaps; a chart without a value says so. */
#ifndef KD_CHART_H
#define KD_CHART_H

#include "svg.h"

typedef enum kd_scale {
    KD_LINEAR_SCALE,
    KD_LOG_SCALE,     /* ticks at powers of ten, and at 1, 2 and 5 between few of them; values below or at 0 are gaps */
    KD_TOKENS_SCALE,  /* linear, for lengths in tokens: steps are powers of two, K and M are 1024 and 1024 squared */
    KD_LOG2_SCALE,    /* the same, logarithmic */
} kd_scale;

typedef struct kd_axis {
    const char *label;      /* what and in which unit */
    kd_scale scale;
    bool whole;             /* ticks at whole numbers alone: steps */
    double min, max;        /* the axis shows at least this much; both 0: what the values need */
    const char *const *name;  /* [names] of the values 0, 1 ..: for what is not spaced by a scale; NULL: numbers */
    int64_t names;
    const char *nothing;    /* of y: what a chart without a value says; NULL: "no values yet" */
} kd_axis;

typedef enum kd_series_style {
    KD_SERIES_LINE,
    KD_SERIES_TREND,        /* faint as it is, and a running mean over a twentieth of the points */
    KD_SERIES_POINTS,       /* joined points */
} kd_series_style;

typedef struct kd_series {
    const char *name;       /* at its end; NULL: none */
    const double *x, *y;    /* [n] x ascending */
    int64_t n;
    kd_series_style style;
    int colour;             /* 0 .. KD_SVG_COLOURS-1, taken modulo; every second round is dashed */
} kd_series;

typedef struct kd_chart {
    const char *title;
    kd_axis x, y;
    const kd_series *series;
    int64_t count;
} kd_chart;

/* A matrix as shades of one colour; where values have both signs two colours, around 0. */
typedef struct kd_heat_map {
    const char *title, *row_label, *column_label;
    const char *const *row, *const *column;  /* [rows], [columns] names; NULL: counted from 0 */
    const double *value;                     /* [rows, columns] */
    int64_t rows, columns;
    const char *unit;
} kd_heat_map;

/* Named values from 0; with several series, bars of different colours below each other. */
typedef struct kd_bars {
    const char *title, *unit;
    const char *const *name;    /* [count] */
    const double *value;        /* [many, count] */
    int64_t count;
    const char *const *series;  /* [many] names in the key; NULL: one series, without a name */
    int64_t many;               /* 0 is 1 */
    bool aim;                   /* the last series is a mark across the bars of each name: what was aimed at */
} kd_bars;

/* Appended to text. alone: a file of its own (kd_svg_open). KD_ENOMEM. */
kd_status kd_chart_draw(kd_text *text, const kd_chart *chart, bool alone);
kd_status kd_heat_map_draw(kd_text *text, const kd_heat_map *map, bool alone);
kd_status kd_bars_draw(kd_text *text, const kd_bars *bars, bool alone);

/* A number for people, about four digits: "12.3K", "1.05M", "0.0123", "2e-5"; binary: K is 1024. */
void kd_number_format(char out[32], double value, bool binary);

#endif

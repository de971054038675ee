/* What the files of a probe are made from. Private to src/probe. */
#ifndef KD_PROBE_WRITE_H
#define KD_PROBE_WRITE_H

#include "format/page.h"
#include "probe_summary.h"

/* ---- pictures of lines (probe_figure.c) ---- */

typedef struct kd_figure {
    kd_chart chart;             /* its axes and title are the caller's to set; title is kept here */
    char title[160];
    kd_series *series;          /* [room] chart.count of them begun */
    char (*name)[KD_CURVE_NAME];
    double *x, *y;              /* [room, points] */
    char (*shift)[24];          /* names along x */
    const char **shift_name;
    int64_t room, points;
} kd_figure;

kd_status kd_figure_open(kd_figure *figure, int64_t lines, int64_t points);
void kd_figure_close(kd_figure *figure);
/* Shifts along x: unevenly spaced, hence names at 0, 1 .. */
kd_status kd_figure_shifts(kd_figure *figure, const kd_probe_grid *grid, const char *label);
void kd_figure_line(kd_figure *figure, const char *name, kd_series_style style, int64_t colour);
void kd_figure_point(kd_figure *figure, double x, double y);  /* of the line that was begun last */
/* Appended: a file's text, or a figure of a page. */
kd_status kd_figure_draw(kd_text *text, kd_figure *figure, bool alone);

/* ---- lines for spreadsheets (probe_figure.c) ---- */

/* Begins a line with "model,precision,mode"; the names of the columns stand before the first one. */
void kd_csv_line(kd_text *text, const char *head, const kd_probe_curve *curve, kd_probe_mode mode);
void kd_csv_whole(kd_text *text, int64_t value);
void kd_csv_number(kd_text *text, double value);              /* nothing where it is not finite */
void kd_csv_end(kd_text *text);

/* ---- the files ---- Each is appended; what has no numbers is nothing. alone: a file of its own, else a page's figure. */

kd_status kd_figure1_left(kd_text *text, const kd_probe *probe, kd_probe_mode mode, bool alone);
kd_status kd_figure1_middle(kd_text *text, const kd_probe *probe, bool alone);
kd_status kd_figure1_right(kd_text *text, const kd_probe *probe, bool alone);
kd_status kd_figure1_left_csv(kd_text *text, const kd_probe *probe);
kd_status kd_figure1_middle_csv(kd_text *text, const kd_probe *probe);
kd_status kd_figure1_right_csv(kd_text *text, const kd_probe *probe);
bool kd_figure1_is_binned(const kd_probe *probe);             /* the picture of the middle */
kd_status kd_figure7(kd_text *text, const kd_probe *probe, int base, bool alone);
kd_status kd_figure7_csv(kd_text *text, const kd_probe *probe, int base);
kd_status kd_heads_csv(kd_text *text, const kd_probe *probe);
kd_status kd_heads_map(kd_text *text, const kd_probe *probe, const kd_probe_curve *curve, bool alone);
kd_status kd_sink_map(kd_text *text, const kd_probe *probe, const kd_probe_curve *curve, bool alone);
kd_status kd_probe_json(kd_text *text, const kd_probe *probe);
kd_status kd_probe_page(kd_text *page, const kd_probe *probe);
/* Plain sentences that follow from the table, a list a model. */
kd_status kd_probe_words(kd_text *page, const kd_probe_table *table);

#endif

/* Pictures of lines that are gathered point by point, and lines of CSV. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/number.h"
#include "probe_write.h"

kd_status kd_figure_open(kd_figure *f, int64_t lines, int64_t points) {
    *f = (kd_figure){.room = lines, .points = points};
    f->chart.title = f->title;
    KD_TRY(kd_new(&f->series, lines, sizeof *f->series));
    KD_TRY(kd_new(&f->name, lines, sizeof *f->name));
    KD_TRY(kd_new(&f->x, lines * points, sizeof *f->x));
    KD_TRY(kd_new(&f->y, lines * points, sizeof *f->y));
    f->chart.series = f->series;
    return KD_OK;
}

void kd_figure_close(kd_figure *f) {
    free(f->shift_name);
    free(f->shift);
    free(f->y);
    free(f->x);
    free(f->name);
    free(f->series);
}

kd_status kd_figure_shifts(kd_figure *f, const kd_probe_grid *g, const char *label) {
    KD_TRY(kd_new(&f->shift, g->shifts, sizeof *f->shift));
    KD_TRY(kd_new(&f->shift_name, g->shifts, sizeof *f->shift_name));
    for (int64_t s = 0; s < g->shifts; s++) {
        snprintf(f->shift[s], sizeof f->shift[s], "%lld", (long long)g->shift[s]);
        f->shift_name[s] = f->shift[s];
    }
    f->chart.x = (kd_axis){.label = label, .name = f->shift_name, .names = g->shifts};
    return KD_OK;
}

void kd_figure_line(kd_figure *f, const char *name, kd_series_style style, int64_t colour) {
    int64_t k = f->chart.count++;
    assert(k < f->room);
    snprintf(f->name[k], sizeof f->name[k], "%s", name);
    f->series[k] = (kd_series){f->name[k], f->x + k * f->points, f->y + k * f->points, 0, style, (int)colour};
}

void kd_figure_point(kd_figure *f, double x, double y) {
    int64_t k = f->chart.count - 1, i = f->series[k].n++;
    assert(i < f->points);
    f->x[k * f->points + i] = x;
    f->y[k * f->points + i] = y;
}

/* Where nothing is more than 0 there is nothing to see, and it is said. */
kd_status kd_figure_draw(kd_text *text, kd_figure *f, bool alone) {
    bool any = false, zero = false;
    for (int64_t k = 0; k < f->chart.count; k++)
        for (int64_t i = 0; i < f->series[k].n; i++) {
            any |= f->series[k].y[i] > 0;
            zero |= f->series[k].y[i] == 0;
        }
    if (!any && !zero) return KD_OK;
    if (!any) f->chart.count = 0;
    f->chart.y.nothing = "exactly 0 everywhere";
    return alone ? kd_chart_draw(text, &f->chart, true) : kd_page_chart(text, &f->chart);
}

void kd_csv_line(kd_text *t, const char *head, const kd_probe_curve *c, kd_probe_mode mode) {
    if (!t->size) kd_text_print(t, "model,precision,mode,%s\n", head);
    kd_text_field(t, c->model);
    kd_text_put(t, ",");
    kd_text_field(t, c->precision);
    kd_text_print(t, ",%s", kd_probe_mode_names[mode]);
}

void kd_csv_whole(kd_text *t, int64_t value) { kd_text_print(t, ",%lld", (long long)value); }

void kd_csv_number(kd_text *t, double value) {
    char number[KD_NUMBER_TEXT] = "";
    if (isfinite(value)) kd_number_print(number, value);
    kd_text_print(t, ",%s", number);
}

void kd_csv_end(kd_text *t) { kd_text_put(t, "\n"); }

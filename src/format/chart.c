/* Line charts; heat maps and bars are in chart_area.c. */
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "axis.h"
#include "base/arena.h"

enum { WIDTH = 440, HEIGHT = 280, TOP = 48, BOTTOM = 42, LINE = 14, GAP = 6, NAME = 20, MOST_NAMES = 12 };

typedef struct box { double left, right, top, bottom; } box;

static bool shown(const kd_ticks *x, const kd_ticks *y, const kd_series *s, int64_t i, double *px, double *py) {
    *px = kd_ticks_place(x, s->x[i]);
    *py = kd_ticks_place(y, s->y[i]);
    return isfinite(*px) && isfinite(*py);
}

/* ---- lines ------------------------------------------------------------------------------------------------- */

/* A path being drawn; points of one column of the picture are gathered, and the lowest and highest drawn: a line of a
 * million points looks the same and stays small. */
typedef struct pen {
    kd_text *text;
    bool down;             /* the line goes on from a point */
    int64_t held;          /* points gathered */
    double column, x[2], y[2];  /* of the lowest and the highest */
    bool swapped;          /* the highest came first */
} pen;

static void draw_point(pen *p, double x, double y) {
    if (p->down) kd_svg_draw(p->text, x, y);
    else kd_svg_move(p->text, x, y);
    p->down = true;
}

static void flush(pen *p) {
    if (p->held == 1) draw_point(p, p->x[0], p->y[0]);
    if (p->held > 1)
        for (int k = 0; k < 2; k++) draw_point(p, p->x[k ^ p->swapped], p->y[k ^ p->swapped]);
    p->held = 0;
}

static void add_point(pen *p, double x, double y) {
    double column = floor(x * 2);
    if (p->held && column != p->column) flush(p);
    p->column = column;
    if (!p->held) {
        p->x[0] = p->x[1] = x;
        p->y[0] = p->y[1] = y;
        p->swapped = false;
    } else if (y < p->y[0]) {
        p->x[0] = x;
        p->y[0] = y;
        p->swapped = true;
    } else if (y >= p->y[1]) {
        p->x[1] = x;
        p->y[1] = y;
        p->swapped = false;
    }
    p->held++;
}

static void draw_line(kd_text *text, const char *class, const kd_ticks *x, const kd_ticks *y, const kd_series *s) {
    pen p = {.text = text};
    double px, py;
    kd_svg_path(text, class);
    for (int64_t i = 0; i < s->n; i++) {
        if (shown(x, y, s, i, &px, &py)) {
            add_point(&p, px, py);
        } else {
            flush(&p);
            p.down = false;
        }
    }
    flush(&p);
    kd_svg_path_close(text, NULL);
}

/* Means over i-h .. i+h, h a fortieth of the points: at the beginning no more than there are before i, where a loss falls
 * fastest; at the end as many as there are behind it. */
static kd_status smooth(double *out, const kd_series *s) {
    double *sum;
    KD_TRY(kd_new(&sum, 2 * (s->n + 1), sizeof *sum));
    double *count = sum + s->n + 1;
    for (int64_t i = 0; i < s->n; i++) {
        bool there = isfinite(s->y[i]);
        sum[i + 1] = sum[i] + (there ? s->y[i] : 0);
        count[i + 1] = count[i] + there;
    }
    for (int64_t i = 0; i < s->n; i++) {
        int64_t h = s->n / 40;
        if (h > i) h = i;
        int64_t end = i + h + 1 < s->n ? i + h + 1 : s->n;
        double n = count[end] - count[i - h];
        out[i] = n > 0 ? (sum[end] - sum[i - h]) / n : NAN;
    }
    free(sum);
    return KD_OK;
}

static void draw_dots(kd_text *text, const char *class, const kd_chart *c, const kd_ticks *x, const kd_ticks *y,
                      const kd_series *s) {
    for (int64_t i = 0; i < s->n; i++) {
        double px, py;
        char at[32], value[32], hint[128];
        bool named = s->x[i] >= 0 && s->x[i] < (double)c->x.names;
        if (!shown(x, y, s, i, &px, &py)) continue;
        kd_number_format(at, s->x[i], c->x.scale >= KD_TOKENS_SCALE);
        kd_number_format(value, s->y[i], false);
        snprintf(hint, sizeof hint, "%.50s: %s at %.30s", s->name ? s->name : c->title, value,
                 named ? c->x.name[(int64_t)s->x[i]] : at);
        kd_svg_dot(text, class, px, py, s->n > 60 ? 1.8 : 3, hint);
    }
}

static kd_status draw_series(kd_text *text, const kd_chart *c, const kd_ticks *x, const kd_ticks *y, const kd_series *s) {
    char class[48];
    int colour = s->colour % KD_SVG_COLOURS;
    kd_series line = *s;
    double *mean = NULL, px, py;
    int64_t there = 0;
    for (int64_t i = 0; i < s->n; i++) there += shown(x, y, s, i, &px, &py);
    if (s->style == KD_SERIES_TREND) {
        snprintf(class, sizeof class, "k%d k-faint", colour);
        draw_line(text, class, x, y, s);
        KD_TRY(kd_new(&mean, s->n, sizeof *mean));
        kd_status status = smooth(mean, s);
        if (status) {
            free(mean);
            return status;
        }
        line.y = mean;
    }
    snprintf(class, sizeof class, "k%d k-line%s", colour, s->colour / KD_SVG_COLOURS % 2 ? " k-dash" : "");
    if (there) draw_line(text, class, x, y, &line);
    snprintf(class, sizeof class, "k%d k-halo", colour);
    if (there == 1 || s->style == KD_SERIES_POINTS) draw_dots(text, class, c, x, y, s);
    free(mean);
    return KD_OK;
}

/* ---- names at the lines' ends ------------------------------------------------------------------------------ */

typedef struct name { char text[4 * NAME + 8]; double y, from; int colour; } name;

/* Cut to NAME characters. */
static void shorten(char *out, const char *words) {
    int count = 0;
    char *at = out;
    for (; *words && count <= NAME; words++) {
        count += ((unsigned char)*words & 0xc0) != 0x80;
        if (count <= NAME) *at++ = *words;
        if (at - out >= 4 * NAME) break;
    }
    *at = 0;
    if (*words || count > NAME) strcpy(at, "\u2026");
}

static int by_height(const void *a, const void *b) {
    const name *left = a, *right = b;
    return left->from < right->from ? -1 : left->from > right->from;
}

static int64_t collect_names(name *out, const kd_chart *c) {
    int64_t count = 0;
    for (int64_t k = 0; k < c->count && count < MOST_NAMES; k++) {
        const kd_series *s = &c->series[k];
        if (!s->name || !*s->name || !s->n) continue;
        shorten(out[count].text, s->name);
        out[count++].colour = s->colour % KD_SVG_COLOURS;
    }
    return count;
}

/* Each at its line's last point, pushed apart where they would meet. */
static int64_t place_names(name *out, const kd_chart *c, const kd_ticks *x, const kd_ticks *y, const box *b) {
    int64_t count = 0;
    for (int64_t k = 0; k < c->count && count < MOST_NAMES; k++) {
        const kd_series *s = &c->series[k];
        double px, py;
        int64_t last = s->n - 1;
        if (!s->name || !*s->name) continue;
        while (last >= 0 && !shown(x, y, s, last, &px, &py)) last--;
        if (last < 0) continue;
        shorten(out[count].text, s->name);
        out[count].from = out[count].y = py;
        out[count++].colour = s->colour % KD_SVG_COLOURS;
    }
    qsort(out, (size_t)count, sizeof *out, by_height);
    for (int64_t i = 1; i < count; i++) out[i].y = fmax(out[i].y, out[i - 1].y + LINE);
    double limit = b->bottom + 4;
    for (int64_t i = count - 1; i >= 0; i--, limit -= LINE) out[i].y = fmin(out[i].y, limit);
    return count;
}

static void draw_names(kd_text *text, const name *label, int64_t count, const box *b) {
    for (int64_t i = 0; i < count; i++) {
        char class[48];
        snprintf(class, sizeof class, "k%d k-fill k-name", label[i].colour);
        kd_svg_words(text, class, KD_START, b->right + 8, label[i].y + 4, label[i].text);
    }
}

/* ---- the frame --------------------------------------------------------------------------------------------- */

static void range(double *lo, double *hi, const kd_chart *c, bool of_y) {
    *lo = INFINITY;
    *hi = -INFINITY;
    kd_scale scale = of_y ? c->y.scale : c->x.scale;
    for (int64_t k = 0; k < c->count; k++)
        for (int64_t i = 0; i < c->series[k].n; i++) {
            double value = of_y ? c->series[k].y[i] : c->series[k].x[i];
            if (!isfinite(value) || ((scale == KD_LOG_SCALE || scale == KD_LOG2_SCALE) && value <= 0)) continue;
            *lo = fmin(*lo, value);
            *hi = fmax(*hi, value);
        }
}

/* The ticks along x. The last label is there, and from the left those that meet neither it nor each other. */
static void draw_columns(kd_text *text, const kd_ticks *x, const box *b) {
    double end = -INFINITY, limit = INFINITY;
    for (int64_t k = 0; k < x->count; k++) {
        int64_t i = k ? k - 1 : x->count - 1;  /* the last one first */
        double at = kd_ticks_place(x, x->at[i]), half = (kd_svg_width(x->label[i]) + GAP) / 2;
        kd_svg_line(text, "k-axis", at, b->bottom, at, b->bottom + 4);
        if (at - half < end || at + half > limit) continue;
        kd_svg_words(text, "k-tick", KD_MIDDLE, at, b->bottom + 17, x->label[i]);
        if (k) end = at + half;
        else limit = at - half;
    }
}

static void draw_frame(kd_text *text, const kd_chart *c, const kd_ticks *x, const kd_ticks *y, const box *b) {
    char label[128];
    kd_svg_words(text, "k-title", KD_START, 2, 16, c->title);
    kd_ticks_name(label, y, c->y.label);
    kd_svg_words(text, "k-label", KD_START, 2, 33, label);
    for (int64_t i = 0; i < y->count; i++) {
        double at = kd_ticks_place(y, y->at[i]);
        kd_svg_line(text, "k-grid", b->left, at, b->right, at);
        kd_svg_words(text, "k-tick", KD_END, b->left - 7, at + 4, y->label[i]);
    }
    kd_svg_line(text, "k-axis", b->left, b->bottom, b->right, b->bottom);
    draw_columns(text, x, b);
    kd_ticks_name(label, x, c->x.label);
    kd_svg_words(text, "k-label", KD_END, b->right, HEIGHT - 6, label);
}

kd_status kd_chart_draw(kd_text *text, const kd_chart *c, bool alone) {
    name names[MOST_NAMES];
    double lo, hi, wide = 0;
    kd_ticks x, y;
    int64_t count = collect_names(names, c);
    for (int64_t i = 0; i < count; i++) wide = fmax(wide, kd_svg_width(names[i].text));
    range(&lo, &hi, c, true);
    bool empty = lo > hi;
    kd_ticks_init(&y, &c->y, lo, hi, 5, false);
    box b = {kd_ticks_width(&y) + 12, WIDTH - 14 - (wide > 0 ? wide - 2 : 0), TOP, HEIGHT - BOTTOM};
    range(&lo, &hi, c, false);
    kd_ticks_init(&x, &c->x, lo, hi, (int64_t)((b.right - b.left) / 60), true);
    x.from = b.left + 4;
    x.to = b.right - 2;
    y.from = b.bottom;
    y.to = b.top;
    kd_svg_open(text, WIDTH, HEIGHT, c->title, alone);
    if (empty) {
        kd_svg_words(text, "k-title", KD_START, 2, 16, c->title);
        kd_svg_words(text, "k-label", KD_MIDDLE, WIDTH / 2, HEIGHT / 2,
                     c->y.nothing ? c->y.nothing : "no values yet");
    } else {
        draw_frame(text, c, &x, &y, &b);
        for (int64_t k = 0; k < c->count; k++) KD_TRY(draw_series(text, c, &x, &y, &c->series[k]));
        draw_names(text, names, place_names(names, c, &x, &y, &b), &b);
    }
    kd_svg_close(text);
    return kd_text_status(text);
}

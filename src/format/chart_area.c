/* Heat maps and bars. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "axis.h"

enum { WIDTH = 440, ROW = 22, TOP = 48 };

/* ---- heat maps --------------------------------------------------------------------------------------------- */

/* A name, or its number. */
static const char *name_of(char out[24], const char *const *name, int64_t i) {
    if (name) return name[i];
    snprintf(out, 24, "%lld", (long long)i);
    return out;
}

static double names_width(const char *const *name, int64_t count) {
    char number[24];
    double width = 0;
    for (int64_t i = 0; i < count; i++) width = fmax(width, kd_svg_width(name_of(number, name, i)));
    return width;
}

/* A cell is its colour in the strength of its value, over the paper. */
static void draw_cell(kd_text *text, double x, double y, double width, double height, double value, double most,
                      const char *hint) {
    kd_text_print(text, "<g class=\"k%d\" fill-opacity=\"", value < 0);
    kd_svg_number(text, most > 0 ? 0.04 + 0.96 * fabs(value) / most : 0.04);
    kd_text_put(text, "\">");
    kd_svg_path(text, "k-fill");
    kd_svg_move(text, x, y);
    kd_svg_draw(text, x + width, y);
    kd_svg_draw(text, x + width, y + height);
    kd_svg_draw(text, x, y + height);
    kd_svg_path_close(text, hint);
    kd_text_put(text, "</g>");
}

static void draw_key(kd_text *text, double right, double lo, double hi, double most, const char *unit) {
    enum { STEPS = 24, LONG = 120 };
    char label[64], number[32];
    double left = right - LONG;
    for (int i = 0; i < STEPS; i++)
        draw_cell(text, left + LONG * i / (double)STEPS, 24, LONG / (double)STEPS + 0.3, 8, lo + (hi - lo) * (i + 0.5) / STEPS,
                  most, NULL);
    kd_number_format(number, lo, false);
    kd_svg_words(text, "k-tick", KD_START, left, 44, number);
    kd_number_format(number, hi, false);
    snprintf(label, sizeof label, "%s%s%.24s", number, unit ? " " : "", unit ? unit : "");
    kd_svg_words(text, "k-tick", KD_END, right, 44, label);
}

kd_status kd_heat_map_draw(kd_text *text, const kd_heat_map *m, bool alone) {
    char number[24], value[32], hint[200];
    double lo = 0, hi = 0;
    for (int64_t i = 0; i < m->rows * m->columns; i++) {
        if (!isfinite(m->value[i])) continue;
        lo = fmin(lo, m->value[i]);
        hi = fmax(hi, m->value[i]);
    }
    double most = fmax(hi, -lo), left = names_width(m->row, m->rows) + 14, top = TOP + 24, right = WIDTH - 8;
    double width = (right - left) / (double)(m->columns ? m->columns : 1);
    double height = fmax(3, fmin(width, m->rows ? fmax(ROW, 320.0 / (double)m->rows) : ROW));
    if (height * (double)m->rows > 480) height = 480 / (double)m->rows;
    double bottom = top + height * (double)m->rows;
    kd_svg_open(text, WIDTH, bottom + 40, m->title, alone);
    kd_svg_words(text, "k-title", KD_START, 2, 16, m->title);
    kd_svg_words(text, "k-label", KD_START, 2, 33, m->row_label ? m->row_label : "");
    if (m->rows < 1 || m->columns < 1) kd_svg_words(text, "k-label", KD_MIDDLE, WIDTH / 2, top, "no values yet");
    else draw_key(text, right, lo, hi, most, m->unit);
    for (int64_t r = 0; r < m->rows; r++)
        for (int64_t c = 0; c < m->columns; c++) {
            double v = m->value[r * m->columns + c];
            if (!isfinite(v)) continue;
            kd_number_format(value, v, false);
            snprintf(hint, sizeof hint, "%.60s, ", name_of(number, m->row, r));
            snprintf(hint + strlen(hint), sizeof hint - strlen(hint), "%.60s: %s", name_of(number, m->column, c), value);
            draw_cell(text, left + width * (double)c, top + height * (double)r, width - fmin(0.6, width / 10),
                      height - fmin(0.6, height / 10), v, most, hint);
        }
    int64_t row_step = (int64_t)ceil(13 / height);
    int64_t column_step = (int64_t)ceil((names_width(m->column, m->columns) + 6) / width);
    for (int64_t r = 0; r < m->rows; r += row_step)
        kd_svg_words(text, "k-tick", KD_END, left - 6, top + height * ((double)r + 0.5) + 4, name_of(number, m->row, r));
    for (int64_t c = 0; c < m->columns; c += column_step)
        kd_svg_words(text, "k-tick", KD_MIDDLE, left + width * ((double)c + 0.5), bottom + 16,
                     name_of(number, m->column, c));
    kd_svg_words(text, "k-label", KD_END, right, bottom + 33, m->column_label ? m->column_label : "");
    kd_svg_close(text);
    return kd_text_status(text);
}

/* ---- bars -------------------------------------------------------------------------------------------------- */

enum { BAR = 15, THIN = 12, GAP = 9, NUMBER = 44 };  /* heights: a bar alone, one among several, between
                                                         names; and the width of a number */

static int64_t many(const kd_bars *b) { return b->many ? b->many : 1; }
static int64_t drawn(const kd_bars *b) { return many(b) - b->aim; }  /* series that are bars */
static double bar_height(const kd_bars *b) { return drawn(b) > 1 ? THIN : BAR; }

/* Which colour tells what, right of the unit. */
static void draw_series_key(kd_text *text, const kd_bars *b) {
    double right = WIDTH - 4;
    for (int64_t k = many(b) - 1; k >= 0 && b->series; k--) {
        char class[32];
        double left = right - kd_svg_width(b->series[k]);
        bool mark = b->aim && k == many(b) - 1;
        kd_svg_words(text, "k-label", KD_END, right, 33, b->series[k]);
        snprintf(class, sizeof class, "k%d", (int)(k % KD_SVG_COLOURS));
        kd_text_print(text, "<g class=\"%s\">", mark ? "k-ink" : class);
        kd_svg_rect(text, mark ? "k-ink" : "k-fill", left - (mark ? 9 : 14), mark ? 22 : 24, mark ? 2 : 9, mark ? 13 : 9);
        kd_text_put(text, "</g>\n");
        right = left - 26;
    }
}

/* The bars of one name, and its mark. */
static void draw_group(kd_text *text, const kd_bars *b, int64_t i, double y, double left, double scale) {
    double height = bar_height(b), group = height * (double)drawn(b);
    kd_svg_words(text, "k-ink", KD_END, left - 8, y + group / 2 + 4, b->name[i]);
    double aim = b->aim ? b->value[(many(b) - 1) * b->count + i] : NAN, mark = left + aim * scale;
    for (int64_t k = 0; k < drawn(b); k++, y += height) {
        double value = b->value[k * b->count + i], length = isfinite(value) && value > 0 ? value * scale : 0;
        double words = left + length + 6;
        if (mark > words - 4 && mark < words + NUMBER) words = mark + 6;
        char number[32];
        if (drawn(b) > 1 && value >= 0.01 && value < 1000) snprintf(number, sizeof number, value < 1 ? "%.2g" : "%.3g", value);
        else kd_number_format(number, value, false);
        kd_text_print(text, "<g class=\"k%d\">", (int)(k % KD_SVG_COLOURS));
        kd_svg_rect(text, "k-fill", left, y, length, height - (drawn(b) > 1));
        kd_text_put(text, "</g>");
        kd_svg_words(text, "k-tick", KD_START, words, y + height / 2 + 4, number);
    }
    if (isfinite(mark) && aim >= 0) kd_svg_rect(text, "k-ink", mark - 1, y - group - 2, 2, group + 3);
}

kd_status kd_bars_draw(kd_text *text, const kd_bars *b, bool alone) {
    double left = fmin(names_width(b->name, b->count), WIDTH / 2.0) + 12, most = 0;
    double step = bar_height(b) * (double)drawn(b) + GAP;
    for (int64_t i = 0; i < b->count * many(b); i++)
        if (isfinite(b->value[i])) most = fmax(most, b->value[i]);
    kd_svg_open(text, WIDTH, TOP + step * (double)(b->count ? b->count : 1) + 6, b->title, alone);
    kd_svg_words(text, "k-title", KD_START, 2, 16, b->title);
    kd_svg_words(text, "k-label", KD_START, 2, 33, b->unit ? b->unit : "");
    draw_series_key(text, b);
    if (!b->count) kd_svg_words(text, "k-label", KD_MIDDLE, WIDTH / 2, TOP + ROW / 2.0, "no values yet");
    for (int64_t i = 0; i < b->count; i++)
        draw_group(text, b, i, TOP + 3 + step * (double)i, left, most > 0 ? (WIDTH - left - NUMBER - 20) / most : 0);
    kd_svg_close(text);
    return kd_text_status(text);
}

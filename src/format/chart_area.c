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

kd_status kd_bars_draw(kd_text *text, const kd_bars *bars, bool alone) {
    double left = fmin(names_width(bars->name, bars->count), WIDTH / 2.0) + 12, most = 0, room = WIDTH - left - 64;
    for (int64_t i = 0; i < bars->count; i++)
        if (isfinite(bars->value[i])) most = fmax(most, bars->value[i]);
    kd_svg_open(text, WIDTH, TOP + ROW * (double)(bars->count ? bars->count : 1) + 6, bars->title, alone);
    kd_svg_words(text, "k-title", KD_START, 2, 16, bars->title);
    kd_svg_words(text, "k-label", KD_START, 2, 33, bars->unit ? bars->unit : "");
    if (!bars->count) kd_svg_words(text, "k-label", KD_MIDDLE, WIDTH / 2, TOP + ROW / 2.0, "no values yet");
    for (int64_t i = 0; i < bars->count; i++) {
        double y = TOP + ROW * (double)i, value = bars->value[i];
        double length = isfinite(value) && value > 0 && most > 0 ? room * value / most : 0;
        char number[32];
        kd_number_format(number, value, false);
        kd_svg_words(text, "k-ink", KD_END, left - 8, y + 14, bars->name[i]);
        kd_text_put(text, "<g class=\"k0\">");
        kd_svg_rect(text, "k-fill", left, y + 3, length, ROW - 7);
        kd_text_put(text, "</g>");
        kd_svg_words(text, "k-tick", KD_START, left + length + 6, y + 14, number);
    }
    kd_svg_close(text);
    return kd_text_status(text);
}

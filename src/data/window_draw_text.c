/* A window for a terminal. */
#include <stdio.h>
#include <stdlib.h>

#include "data/window_view.h"
#include "format/chart.h"

enum { COLUMNS = 56, ROWS = 28, TICK = 7 };  /* in all 63 columns */

/* A part of the matrix: pairs of it that are seen, and the document that most of them are of. */
typedef struct cell { double seen, possible, majority; int64_t document; } cell;

typedef struct grid {
    const kd_window_view *view;
    int64_t rows, columns, wide;  /* wide: characters of a cell */
    cell *cell;                   /* [rows, columns] */
    int64_t first[COLUMNS + 1];   /* the token a column begins with */
} grid;

static int64_t row_of(const grid *g, int64_t token) { return token * g->rows / g->view->T; }

/* The majority vote of Boyer and Moore, by pairs. */
static void count(cell *c, double pairs, int64_t document) {
    c->seen += pairs;
    c->majority += c->document == document ? pairs : -pairs;
    if (c->majority >= 0) return;
    c->document = document;
    c->majority = -c->majority;
}

/* Keys from .. to-1 of one query. */
static void count_keys(grid *g, int64_t query, int64_t from, int64_t to, int64_t document) {
    cell *row = g->cell + row_of(g, query) * g->columns;
    int64_t column = from * g->columns / g->view->T;
    while (column > 0 && g->first[column] > from) column--;
    for (; column < g->columns && g->first[column] < to; column++) {
        int64_t a = g->first[column] > from ? g->first[column] : from;
        int64_t b = g->first[column + 1] < to ? g->first[column + 1] : to;
        if (b > a) count(&row[column], (double)(b - a), document);
    }
}

static void fill(grid *g) {
    const kd_window_view *v = g->view;
    for (int64_t s = 0; s < v->spans; s++)
        for (int64_t i = 0; i < v->span[s].count; i++) {
            int64_t query = v->span[s].from + i, document = v->span[s].document;
            cell *row = g->cell + row_of(g, query) * g->columns;
            for (int64_t k = 0; k < g->columns && g->first[k] <= query; k++)
                row[k].possible += (double)(g->first[k + 1] - g->first[k]);
            if (v->anchor) count_keys(g, query, 0, 1, -1);
            if (v->mask == KD_MASK_FULL) {
                count_keys(g, query, 0, query + 1, document);
                continue;
            }
            for (int64_t k = 0; k <= s; k++) {
                int64_t end = v->span[k].from + v->span[k].count;
                if (v->span[k].document != document) continue;
                count_keys(g, query, v->span[k].from, end <= query ? end : query + 1, document);
            }
        }
}

static const char *shade(double part, bool fine) {
    static const char *const block[] = {"\u2591", "\u2592", "\u2593", "\u2588"}, *const plain[] = {".", ":", "+", "#"};
    int level = part <= 0.2 ? 0 : part <= 0.45 ? 1 : part <= 0.7 ? 2 : 3;
    return (fine ? block : plain)[level];
}

/* Colours of 256 for documents in turn; the anchor's first. */
static int code_of(int64_t document) {
    static const int code[] = {32, 36, 133, 178, 74};
    return document < 0 ? 166 : code[document % 5];
}

static void draw_cell(kd_text *text, const grid *g, int64_t row, int64_t column, bool colour, bool fine) {
    const cell *c = &g->cell[row * g->columns + column];
    bool anchor = g->view->anchor && column == 0 && c->seen > 0;
    if (c->seen <= 0) {
        for (int64_t k = 0; k < g->wide; k++) kd_text_put(text, " ");
        return;
    }
    if (colour) kd_text_print(text, "\033[38;5;%dm", code_of(anchor ? -1 : c->document));
    for (int64_t k = 0; k < g->wide; k++)
        kd_text_put(text, anchor ? (fine ? "\u258c" : "|") : shade(c->seen / c->possible, fine));
    if (colour) kd_text_put(text, "\033[0m");
}

/* Mean positions as heights: a saw for positions that are reset, a ramp for positions that run on. */
static void draw_positions(kd_text *text, const grid *g, bool fine) {
    static const char *const bar[] = {"\u2581", "\u2582", "\u2583", "\u2584", "\u2585", "\u2586", "\u2587", "\u2588"};
    const kd_window_view *v = g->view;
    double sum[COLUMNS] = {0};
    int64_t most = 1, column = 0;
    for (int64_t s = 0; s < v->spans; s++)
        for (int64_t i = 0; i < v->span[s].count; i++) {
            while (g->first[column + 1] <= v->span[s].from + i) column++;
            sum[column] += (double)(v->span[s].position + i);
            if (v->span[s].position + i > most) most = v->span[s].position + i;
        }
    kd_text_print(text, "%*s ", TICK - 1, "RoPE");
    for (int64_t k = 0; k < g->columns; k++) {
        double height = sum[k] / (double)(g->first[k + 1] - g->first[k]) / (double)most;
        int level = (int)(height * 7.99);
        for (int64_t w = 0; w < g->wide; w++)
            if (fine) kd_text_put(text, bar[level]);
            else kd_text_print(text, "%d", (int)(height * 9.99));
    }
    kd_text_print(text, "\n%*s positions 0 to %lld\n", TICK - 1, "", (long long)most);
}

kd_status kd_window_draw_text(kd_text *text, const kd_window_view *v, bool colour, bool fine) {
    if (v->T < 1) return kd_text_status(text);
    bool small = v->T <= ROWS;
    grid g = {.view = v, .rows = small ? v->T : ROWS, .columns = small ? v->T : COLUMNS, .wide = small ? 2 : 1};
    if (g.columns > v->T) g.columns = v->T;
    char about[160], tick[32];
    KD_TRY(kd_new(&g.cell, g.rows * g.columns, sizeof *g.cell));
    for (int64_t k = 0; k <= g.columns; k++) g.first[k] = (k * v->T + g.columns - 1) / g.columns;
    fill(&g);
    kd_window_describe(about, v);
    kd_text_print(text, "%s\n", about);
    for (int64_t r = 0; r < g.rows; r++) {
        kd_number_format(tick, (double)(r * v->T / g.rows), true);
        kd_text_print(text, "%*s ", TICK - 1, r % 4 == 0 ? tick : "");
        for (int64_t k = 0; k < g.columns; k++) draw_cell(text, &g, r, k, colour, fine);
        kd_text_put(text, "\n");
    }
    draw_positions(text, &g, fine);
    free(g.cell);
    return kd_text_status(text);
}

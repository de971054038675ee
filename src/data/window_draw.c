/* A window as SVG: the attention matrix, and below it the positions. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/window_view.h"
#include "format/axis.h"

enum { WIDTH = 440, LEFT = 46, RIGHT = 18, TOP = 82, SIDE = WIDTH - LEFT - RIGHT, GAP = 44, PLOT = 96, BOTTOM = 40 };
enum { CELLS = 32 };    /* windows of so many tokens at most are drawn cell by cell */
enum { CROWD = 80 };    /* positions of so many runs are drawn thin */
enum { ANCHOR_COLOUR = 1 };

/* A run of tokens of one document: neighbouring spans of it. */
typedef struct block { int64_t document, from, to; } block;

typedef struct canvas {
    kd_text *text;
    const kd_window_view *view;
    block *block;           /* [blocks] in window order, without the anchor */
    int64_t blocks;
    double unit;            /* of a token */
    kd_ticks x, y;          /* tokens across, positions up */
} canvas;

/* Documents take turns with the colours that are not the anchor's. */
static int colour_of(int64_t document) {
    static const int turn[] = {0, 2, 3, 4, 5};
    return document < 0 ? ANCHOR_COLOUR : turn[document % 5];
}

static double across(const canvas *c, double token) { return LEFT + c->unit * token; }
static double down(const canvas *c, double token) { return TOP + c->unit * token; }

static int by_document(const void *a, const void *b) {
    const block *left = a, *right = b;
    if (left->document != right->document) return left->document < right->document ? -1 : 1;
    return left->from < right->from ? -1 : left->from > right->from;
}

static kd_status find_blocks(canvas *c) {
    const kd_window_view *v = c->view;
    KD_TRY(kd_new(&c->block, v->spans, sizeof *c->block));
    for (int64_t s = 0; s < v->spans; s++) {
        const kd_span *span = &v->span[s];
        block *last = c->blocks ? &c->block[c->blocks - 1] : NULL;
        if (span->document < 0) continue;
        if (last && last->document == span->document) last->to += span->count;
        else c->block[c->blocks++] = (block){span->document, span->from, span->from + span->count};
    }
    qsort(c->block, (size_t)c->blocks, sizeof *c->block, by_document);
    return KD_OK;
}

static void open_area(canvas *c, const char *class, int colour) {
    char both[48];
    snprintf(both, sizeof both, "k%d %s", colour, class);
    kd_svg_path(c->text, both);
}

/* ---- long windows: polygons -------------------------------------------------------------------------------- */

static void draw_triangle(canvas *c, double from, double to) {
    kd_svg_move(c->text, across(c, from), down(c, from));
    kd_svg_draw(c->text, across(c, to), down(c, to));
    kd_svg_draw(c->text, across(c, from), down(c, to));
}

static void draw_blocks(canvas *c) {
    char hint[96];
    for (int64_t i = 0; i < c->blocks; i++) {
        const block *b = &c->block[i];
        open_area(c, "k-fill", colour_of(b->document));
        draw_triangle(c, (double)b->from, (double)b->to);
        for (int64_t k = i - 1; k >= 0 && c->block[k].document == b->document; k--) {  /* what earlier chunks it sees */
            const block *key = &c->block[k];
            kd_svg_move(c->text, across(c, (double)key->from), down(c, (double)b->from));
            kd_svg_draw(c->text, across(c, (double)key->to), down(c, (double)b->from));
            kd_svg_draw(c->text, across(c, (double)key->to), down(c, (double)b->to));
            kd_svg_draw(c->text, across(c, (double)key->from), down(c, (double)b->to));
        }
        snprintf(hint, sizeof hint, "document %lld: tokens %lld to %lld", (long long)b->document + 1, (long long)b->from,
                 (long long)b->to - 1);
        kd_svg_path_close(c->text, hint);
    }
}

static void draw_long(canvas *c) {
    const kd_window_view *v = c->view;
    if (v->mask == KD_MASK_FULL) {
        kd_svg_path(c->text, "k-shade");
        draw_triangle(c, 0, (double)v->T);
        kd_svg_path_close(c->text, "seen across documents");
    }
    draw_blocks(c);
    if (v->anchor) {
        kd_svg_path(c->text, "k1 k-fill");
        kd_svg_move(c->text, across(c, 0), down(c, 0));
        kd_svg_draw(c->text, across(c, 0) + 3, down(c, 0));
        kd_svg_draw(c->text, across(c, 0) + 3, down(c, (double)v->T));
        kd_svg_draw(c->text, across(c, 0), down(c, (double)v->T));
        kd_svg_path_close(c->text, "the anchor, seen by all");
    }
    /* A tag of a few tokens is seen, and many of them do not hide the documents. */
    double mark = fmin(2.5, 0.3 * SIDE / (double)(v->documents + 1));
    for (int64_t s = 0; s < v->spans; s++) {
        const kd_span *span = &v->span[s];
        if (span->role != KD_ROLE_TAG) continue;
        double size = fmax(c->unit * (double)span->count, mark);
        kd_svg_rect(c->text, "k-ink", across(c, (double)span->from), down(c, (double)span->from), size, size);
    }
}

/* ---- short windows: cells ---------------------------------------------------------------------------------- */

static const kd_span *span_of(const kd_window_view *v, int64_t token) {
    for (int64_t s = 0; s < v->spans; s++)
        if (token < v->span[s].from + v->span[s].count) return &v->span[s];
    return NULL;
}

static void draw_cell(canvas *c, int64_t query, int64_t key) {
    static const char *const letter[] = {"A", "B", "T", NULL};
    const kd_span *q = span_of(c->view, query), *k = span_of(c->view, key);
    bool own = q->document == k->document, anchor = c->view->anchor && key == 0;
    if (!own && !anchor && c->view->mask != KD_MASK_FULL) return;
    double x = across(c, (double)key), y = down(c, (double)query), size = c->unit - 1.2;
    if (!own && !anchor) {
        kd_svg_rect(c->text, "k-shade", x, y, size, size);
        return;
    }
    kd_text_print(c->text, "<g class=\"k%d\"%s>", anchor ? ANCHOR_COLOUR : colour_of(q->document),
                  q->role == KD_ROLE_TAG || k->role == KD_ROLE_TAG ? " fill-opacity=\".55\"" : "");
    kd_svg_rect(c->text, "k-fill", x, y, size, size);
    kd_text_put(c->text, "</g>");
    if (query == key && letter[q->role])
        kd_svg_words(c->text, "k-paper k-name", KD_MIDDLE, x + size / 2, y + size / 2 + 4, letter[q->role]);
}

static void draw_short(canvas *c) {
    const kd_window_view *v = c->view;
    for (int64_t query = 0; query < v->T; query++)
        for (int64_t key = 0; key <= query; key++) draw_cell(c, query, key);
    for (int64_t s = 0; s < v->spans; s++)
        for (int64_t i = 0; i < v->span[s].count; i++) {
            char number[24];
            double at = (double)(v->span[s].from + i) + 0.5;
            snprintf(number, sizeof number, "%lld", (long long)(v->span[s].position + i));
            kd_svg_words(c->text, "k-tick", KD_END, LEFT - 7, down(c, at) + 4, number);
            if (c->unit >= 18 || (v->span[s].from + i) % 2 == 0)
                kd_svg_words(c->text, "k-tick", KD_MIDDLE, across(c, at), TOP + SIDE + 16, number);
        }
}

/* ---- around it --------------------------------------------------------------------------------------------- */

static void draw_matrix_frame(canvas *c) {
    kd_svg_path(c->text, "k-axis");
    kd_svg_move(c->text, LEFT, TOP);
    kd_svg_draw(c->text, LEFT, TOP + SIDE);
    kd_svg_draw(c->text, LEFT + SIDE, TOP + SIDE);
    kd_svg_draw(c->text, LEFT, TOP);
    kd_svg_path_close(c->text, NULL);
    kd_svg_words(c->text, "k-label", KD_START, 2, TOP - 8, c->view->T > CELLS ? "query, token" : "query, position");
    if (c->view->T <= CELLS) {
        kd_svg_words(c->text, "k-label", KD_END, LEFT + SIDE, TOP + SIDE + 32, "key, position");
        return;
    }
    for (int64_t i = 0; i < c->x.count; i++) {
        double at = c->x.at[i];
        kd_svg_line(c->text, "k-axis", LEFT - 4, down(c, at), LEFT, down(c, at));
        kd_svg_words(c->text, "k-tick", KD_END, LEFT - 7, down(c, at) + 4, c->x.label[i]);
        kd_svg_line(c->text, "k-axis", across(c, at), TOP + SIDE, across(c, at), TOP + SIDE + 4);
        kd_svg_words(c->text, "k-tick", KD_MIDDLE, across(c, at), TOP + SIDE + 17, c->x.label[i]);
    }
    kd_svg_words(c->text, "k-label", KD_END, LEFT + SIDE, TOP + SIDE + 32, "key, token");
}

/* The meaning of the colours that are not a document's, in the empty half of the matrix. */
static void draw_key(canvas *c) {
    const kd_window_view *v = c->view;
    const struct { bool there; const char *class, *words; } row[] = {
        {v->anchor, "k1 k-fill", "anchor"},
        {v->tags && v->T > CELLS, "k-ink", "tag, not trained"},
        {v->tags && v->T <= CELLS, "k-shade", "T: tag, not trained"},
        {v->documents > 0, "k0 k-fill", "a document"},
        {v->documents > 1, "k2 k-fill", "the next one"},
        {v->mask == KD_MASK_FULL && v->documents > 1, "k-shade", "across documents"},
    };
    double y = TOP + 8;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        if (!row[i].there) continue;
        kd_svg_rect(c->text, row[i].class, LEFT + SIDE - 130, y, 11, 11);
        kd_svg_words(c->text, "k-label", KD_START, LEFT + SIDE - 113, y + 10, row[i].words);
        y += 19;
    }
}

/* Every token's position over its place in the window. */
static void draw_positions(canvas *c) {
    const kd_window_view *v = c->view;
    kd_svg_words(c->text, "k-label", KD_START, 2, c->y.to - 10, "RoPE position");
    for (int64_t i = 0; i < c->y.count; i++) {
        double at = kd_ticks_place(&c->y, c->y.at[i]);
        kd_svg_line(c->text, "k-grid", LEFT, at, LEFT + SIDE, at);
        kd_svg_words(c->text, "k-tick", KD_END, LEFT - 7, at + 4, c->y.label[i]);
    }
    kd_svg_line(c->text, "k-axis", LEFT, c->y.from, LEFT + SIDE, c->y.from);
    for (int64_t i = 0; i < c->x.count; i++) {
        double at = across(c, c->x.at[i]);
        kd_svg_line(c->text, "k-axis", at, c->y.from, at, c->y.from + 4);
        kd_svg_words(c->text, "k-tick", KD_MIDDLE, at, c->y.from + 17, c->x.label[i]);
    }
    kd_svg_words(c->text, "k-label", KD_END, LEFT + SIDE, c->y.from + 34, "token of the window");
    for (int64_t s = 0; s < v->spans; s++) {
        const kd_span *span = &v->span[s];
        double first = (double)span->position, last = first + (double)span->count;
        if (span->role == KD_ROLE_ANCHOR) {
            kd_svg_dot(c->text, "k1 k-halo", across(c, 0), kd_ticks_place(&c->y, 0), 3.5, "the anchor");
            continue;
        }
        open_area(c, v->spans > CROWD ? "k-line k-thin" : "k-line", colour_of(span->document));
        kd_svg_move(c->text, across(c, (double)span->from), kd_ticks_place(&c->y, first));
        kd_svg_draw(c->text, across(c, (double)(span->from + span->count)), kd_ticks_place(&c->y, last));
        kd_svg_path_close(c->text, NULL);
    }
}

kd_status kd_window_draw_svg(kd_text *text, const kd_window_view *v, bool alone) {
    static const char *const mask[] = {"Full attention", "Attention inside documents", "AnchorAttention"};
    canvas c = {.text = text, .view = v, .unit = (double)SIDE / (double)(v->T > 0 ? v->T : 1)};
    const kd_axis axis = {.scale = v->T > CELLS ? KD_TOKENS_SCALE : KD_LINEAR_SCALE, .whole = true};
    char title[96], about[160];
    int64_t most = 1;
    kd_status status = find_blocks(&c);
    if (status) return status;
    for (int64_t s = 0; s < v->spans; s++) {
        int64_t end = v->span[s].position + v->span[s].count;
        if (end > most) most = end;
    }
    double top = TOP + SIDE + GAP + 24, bottom = top + PLOT;
    kd_ticks_init(&c.x, &axis, 0, (double)v->T, v->T > CELLS ? 5 : 8, true);
    kd_ticks_init(&c.y, &axis, 0, (double)most, 3, true);
    c.y.from = bottom;
    c.y.to = top;
    snprintf(title, sizeof title, "%s%s%s", mask[v->mask], v->reset ? ", positions reset" : "",
             v->cut ? ", interleaved" : "");
    kd_window_describe(about, v);
    char *part = strchr(about, ';');  /* two lines */
    if (part) *part = 0;
    kd_svg_open(text, WIDTH, bottom + BOTTOM, title, alone);
    kd_svg_words(text, "k-title", KD_START, 2, 16, title);
    kd_svg_words(text, "k-label", KD_START, 2, 33, about);
    if (part) kd_svg_words(text, "k-label", KD_START, 2, 49, part + 2);
    draw_matrix_frame(&c);
    if (v->T > CELLS) draw_long(&c);
    else draw_short(&c);
    draw_key(&c);
    draw_positions(&c);
    kd_svg_close(text);
    free(c.block);
    return kd_text_status(text);
}

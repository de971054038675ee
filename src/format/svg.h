/* SVG: a few primitives and one style, for pictures that stand alone and for pictures inside a page. Colours are CSS
 * properties that follow the reader's light or dark scheme and print in light; renderers without them get the light ones. */
#ifndef KD_SVG_H
#define KD_SVG_H

#include "text.h"

/* Series have colours 0 .. KD_SVG_COLOURS-1 (classes k0 k1 ..), told apart by colour-blind readers; what comes after
 * begins again. Further classes: k-title k-label k-tick k-grid k-axis k-paper k-ink k-faint k-line k-dash k-fill. */
enum { KD_SVG_COLOURS = 6 };

/* The style, for a page's head. */
extern const char kd_svg_style[];

typedef enum kd_anchor_side { KD_START, KD_MIDDLE, KD_END } kd_anchor_side;

/* In a page: an element that scales with its column. Alone: a file with its own style and paper.
 * title: what a reader who cannot see it is told. */
void kd_svg_open(kd_text *text, double width, double height, const char *title, bool alone);
void kd_svg_close(kd_text *text);

/* A coordinate: hundredths, no more digits than needed. */
void kd_svg_number(kd_text *text, double x);

/* class is of this program and not escaped; what a reader sees is. */
void kd_svg_line(kd_text *text, const char *class, double x1, double y1, double x2, double y2);
void kd_svg_rect(kd_text *text, const char *class, double x, double y, double width, double height);
void kd_svg_dot(kd_text *text, const char *class, double x, double y, double radius, const char *hint);
void kd_svg_words(kd_text *text, const char *class, kd_anchor_side side, double x, double y, const char *words);
/* A path is opened, moved, drawn and closed. */
void kd_svg_path(kd_text *text, const char *class);
void kd_svg_move(kd_text *text, double x, double y);
void kd_svg_draw(kd_text *text, double x, double y);
void kd_svg_path_close(kd_text *text, const char *hint);

/* About how wide words are in the style's tick size: fonts differ. */
double kd_svg_width(const char *words);

#endif

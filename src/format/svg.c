#include "svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MARGIN = 12 };  /* around a picture that stands alone */

#define LIGHT                                                                                                          \
    "--k-paper:#fff;--k-ink:#1d2430;--k-soft:#5b6573;--k-grid:#e6e9ed;--k-axis:#aab2bd;--k-shade:#d5dae1;"             \
    "--k0:#2468a8;--k1:#c8581c;--k2:#1f8a65;--k3:#8e4fa3;--k4:#a8830c;--k5:#3a9cc4;"
#define DARK                                                                                                           \
    "--k-paper:#14181f;--k-ink:#e4e8ee;--k-soft:#9aa5b4;--k-grid:#272e38;--k-axis:#515c6b;--k-shade:#3a4350;"          \
    "--k0:#6db0ea;--k1:#f0935c;--k2:#57c49b;--k3:#c996da;--k4:#d9bd55;--k5:#86d2f0;"

/* The plain colour first: a renderer that does not know var() keeps it. */
#define COLOUR(n, hex) ".k" n "{color:" hex ";color:var(--k" n ")}"

const char kd_svg_style[] =
    ":root{color-scheme:light dark;" LIGHT "}"
    "@media (prefers-color-scheme:dark){:root{" DARK "}}"
    "@media print{:root{" LIGHT "}}"
    ".k-svg{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-size:12px}"
    ".k-paper{fill:#fff;fill:var(--k-paper)}"
    ".k-ink{fill:#1d2430;fill:var(--k-ink)}"
    ".k-title{fill:#1d2430;fill:var(--k-ink);font-size:14px;font-weight:600}"
    ".k-label,.k-tick{fill:#5b6573;fill:var(--k-soft)}"
    ".k-tick{font-variant-numeric:tabular-nums}"
    ".k-grid{stroke:#e6e9ed;stroke:var(--k-grid);fill:none}"
    ".k-axis{stroke:#aab2bd;stroke:var(--k-axis);fill:none}"
    ".k-shade{fill:#d5dae1;fill:var(--k-shade)}"
    COLOUR("0", "#2468a8") COLOUR("1", "#c8581c") COLOUR("2", "#1f8a65")
    COLOUR("3", "#8e4fa3") COLOUR("4", "#a8830c") COLOUR("5", "#3a9cc4")
    ".k-line{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}"
    ".k-faint{fill:none;stroke:currentColor;stroke-width:1;stroke-opacity:.3;stroke-linejoin:round}"
    ".k-thin{stroke-width:.8}"
    ".k-dash{stroke-dasharray:5 4}"
    ".k-fill{fill:currentColor}"
    ".k-name{font-weight:500}"
    ".k-halo{fill:currentColor;stroke:#fff;stroke:var(--k-paper);stroke-width:1.2}";

void kd_svg_number(kd_text *text, double x) {
    if (!(fabs(x) < 1e7)) x = x > 0 ? 1e7 : x < 0 ? -1e7 : 0;
    long long n = llround(x * 100);
    long long whole = llabs(n) / 100, rest = llabs(n) % 100;
    kd_text_print(text, "%s%lld", n < 0 ? "-" : "", whole);
    if (rest) kd_text_print(text, rest % 10 ? ".%02lld" : ".%01lld", rest % 10 ? rest : rest / 10);
}

static void attribute(kd_text *text, const char *name, double value) {
    kd_text_print(text, " %s=\"", name);
    kd_svg_number(text, value);
    kd_text_put(text, "\"");
}

void kd_svg_open(kd_text *text, double width, double height, const char *title, bool alone) {
    double margin = alone ? MARGIN : 0;
    width += 2 * margin;
    height += 2 * margin;
    kd_text_put(text, "<svg class=\"k-svg\" role=\"img\"");
    if (alone) {
        kd_text_put(text, " xmlns=\"http://www.w3.org/2000/svg\"");
        attribute(text, "width", width);
        attribute(text, "height", height);
    }
    kd_text_put(text, " viewBox=\"");
    const double box[] = {-margin, -margin, width, height};
    for (int i = 0; i < 4; i++) {
        kd_text_put(text, i ? " " : "");
        kd_svg_number(text, box[i]);
    }
    kd_text_put(text, "\">\n<title>");
    kd_text_escape(text, title);
    kd_text_put(text, "</title>\n");
    if (!alone) return;
    kd_text_print(text, "<style>%s</style>\n", kd_svg_style);
    kd_svg_rect(text, "k-paper", -margin, -margin, width, height);
}

void kd_svg_close(kd_text *text) { kd_text_put(text, "</svg>\n"); }

void kd_svg_line(kd_text *text, const char *class, double x1, double y1, double x2, double y2) {
    kd_svg_path(text, class);
    kd_svg_move(text, x1, y1);
    kd_svg_draw(text, x2, y2);
    kd_svg_path_close(text, NULL);
}

void kd_svg_rect(kd_text *text, const char *class, double x, double y, double width, double height) {
    kd_text_print(text, "<rect class=\"%s\"", class);
    attribute(text, "x", x);
    attribute(text, "y", y);
    attribute(text, "width", width);
    attribute(text, "height", height);
    kd_text_put(text, "/>\n");
}

static void end(kd_text *text, const char *element, const char *hint) {
    if (!hint) {
        kd_text_put(text, "/>\n");
        return;
    }
    kd_text_put(text, "><title>");
    kd_text_escape(text, hint);
    kd_text_print(text, "</title></%s>\n", element);
}

void kd_svg_dot(kd_text *text, const char *class, double x, double y, double radius, const char *hint) {
    kd_text_print(text, "<circle class=\"%s\"", class);
    attribute(text, "cx", x);
    attribute(text, "cy", y);
    attribute(text, "r", radius);
    end(text, "circle", hint);
}

void kd_svg_words(kd_text *text, const char *class, kd_anchor_side side, double x, double y, const char *words) {
    static const char *const anchor[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    kd_text_print(text, "<text class=\"%s\"%s", class, anchor[side]);
    attribute(text, "x", x);
    attribute(text, "y", y);
    kd_text_put(text, ">");
    kd_text_escape(text, words);
    kd_text_put(text, "</text>\n");
}

void kd_svg_path(kd_text *text, const char *class) { kd_text_print(text, "<path class=\"%s\" d=\"", class); }

static void point(kd_text *text, char command, double x, double y) {
    kd_text_print(text, "%c", command);
    kd_svg_number(text, x);
    kd_text_put(text, " ");
    kd_svg_number(text, y);
}

void kd_svg_move(kd_text *text, double x, double y) { point(text, 'M', x, y); }
void kd_svg_draw(kd_text *text, double x, double y) { point(text, 'L', x, y); }

void kd_svg_path_close(kd_text *text, const char *hint) {
    kd_text_put(text, "\"");
    end(text, "path", hint);
}

double kd_svg_width(const char *words) {
    double width = 0;
    for (; *words; words++) {
        if (((unsigned char)*words & 0xc0) == 0x80) continue;
        width += strchr(".,:;|'il -", *words) ? 4 : strchr("mwMWCGOQ%@", *words) ? 10 : 7.1;
    }
    return width;
}

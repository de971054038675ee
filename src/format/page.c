#include "page.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char style[] =
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--k-paper);color:var(--k-ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}"
    "main{max-width:1140px;margin:0 auto;padding:36px 20px 48px}"
    "h1{font-size:28px;line-height:1.2;margin:0 0 6px;overflow-wrap:anywhere}"
    "h2{font-size:18px;margin:44px 0 14px}"
    "p,ul{margin:0 0 10px;max-width:44em}ul{padding-left:1.2em}.scroll+p{margin-top:10px}.charts+.scroll,.scroll+.scroll{margin-top:22px}.about,footer,.note{color:var(--k-soft)}footer{margin-top:48px;font-size:13px}"
    ".tiles{display:grid;grid-template-columns:repeat(4,1fr);gap:1px;margin:24px 0 0;padding:0;"
    "background:var(--k-grid);border:1px solid var(--k-grid);border-radius:8px;overflow:hidden}"
    ".tiles div{background:var(--k-paper);padding:12px 14px}"
    ".tiles dt{color:var(--k-soft);font-size:13px}"
    ".tiles dd{margin:0;font-size:21px;font-weight:600;font-variant-numeric:tabular-nums}"
    ".tiles .note{font-size:12px;font-weight:400;line-height:1.35}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:34px 40px;"
    "align-items:start}"
    ".charts svg,.charts img{display:block;width:100%;height:auto}"
    "figure{margin:0;break-inside:avoid}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}"
    "th,td{padding:6px 18px 6px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--k-grid)}"
    "th{color:var(--k-soft);font-weight:500}a{color:inherit}.f{text-align:right;white-space:nowrap}"
    "details{margin-top:32px;border-top:1px solid var(--k-grid);padding-top:10px}"
    "summary{cursor:pointer;font-weight:600}pre{overflow-x:auto;font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}"
    "@media (max-width:640px){main{padding:22px 14px 32px}.tiles{grid-template-columns:1fr 1fr}.tiles dd{font-size:18px}"
    "th,td{padding-right:12px}}"
    "@media print{main{padding:0}.charts{grid-template-columns:1fr 1fr}}";

void kd_page_open(kd_text *page, const char *title, const char *about) {
    kd_text_put(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                      /* The browser is told so, too: nothing is loaded and nothing runs. */
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
                      "img-src data:\">\n<title>");
    kd_text_escape(page, title);
    kd_text_print(page, "</title>\n<style>%s%s</style>\n</head>\n<body>\n<main>\n<h1>", kd_svg_style, style);
    kd_text_escape(page, title);
    kd_text_put(page, "</h1>\n<p class=\"about\">");
    kd_text_escape(page, about);
    kd_text_put(page, "</p>\n");
}

void kd_page_close(kd_text *page, const char *words) {
    kd_text_put(page, "<footer>kedge " KD_VERSION ", ");
    kd_text_escape(page, words);
    kd_text_put(page, "</footer>\n</main>\n</body>\n</html>\n");
}

static void element(kd_text *page, const char *name, const char *class, const char *words) {
    kd_text_print(page, class ? "<%s class=\"%s\">" : "<%s>", name, class);
    kd_text_escape(page, words);
    kd_text_print(page, "</%s>", name);
}

void kd_page_section(kd_text *page, const char *title) {
    element(page, "h2", NULL, title);
    kd_text_put(page, "\n");
}

void kd_page_tiles(kd_text *page) { kd_text_put(page, "<dl class=\"tiles\">\n"); }
void kd_page_tiles_close(kd_text *page) { kd_text_put(page, "</dl>\n"); }

void kd_page_tile(kd_text *page, const char *value, const char *name, const char *note) {
    kd_text_put(page, "<div>");
    element(page, "dt", NULL, name);
    element(page, "dd", NULL, value);
    if (note) element(page, "dd", "note", note);
    kd_text_put(page, "</div>\n");
}

void kd_page_charts(kd_text *page) { kd_text_put(page, "<div class=\"charts\">\n"); }
void kd_page_charts_close(kd_text *page) { kd_text_put(page, "</div>\n"); }

kd_status kd_page_chart(kd_text *page, const kd_chart *chart) {
    kd_text_put(page, "<figure>");
    KD_TRY(kd_chart_draw(page, chart, false));
    kd_text_put(page, "</figure>\n");
    return kd_text_status(page);
}

kd_status kd_page_bars(kd_text *page, const kd_bars *bars) {
    kd_text_put(page, "<figure>");
    KD_TRY(kd_bars_draw(page, bars, false));
    kd_text_put(page, "</figure>\n");
    return kd_text_status(page);
}

kd_status kd_page_heat_map(kd_text *page, const kd_heat_map *map) {
    kd_text_put(page, "<figure>");
    KD_TRY(kd_heat_map_draw(page, map, false));
    kd_text_put(page, "</figure>\n");
    return kd_text_status(page);
}

void kd_page_table(kd_text *page) { kd_text_put(page, "<div class=\"scroll\"><table>\n<tr>"); }
void kd_page_row(kd_text *page) { kd_text_put(page, "</tr>\n<tr>"); }
void kd_page_cell(kd_text *page, const char *words, bool head, bool figure) {
    element(page, head ? "th" : "td", figure ? "f" : NULL, words);
}

/* "./" before it: no path is taken for a scheme. What is not plain in it is written as addresses have it. */
void kd_page_link(kd_text *page, const char *words, const char *path) {
    kd_text_put(page, "<td><a href=\"./");
    for (const unsigned char *c = (const unsigned char *)path; *c; c++)
        if ((*c < 128 && isalnum(*c)) || strchr("-._~/", *c)) kd_text_add(page, (const char *)c, 1);
        else kd_text_print(page, "%%%02X", *c);
    kd_text_put(page, "\">");
    kd_text_escape(page, words);
    kd_text_put(page, "</a></td>");
}

void kd_page_fact(kd_text *page, bool first, const char *name, const char *value) {
    if (!first) kd_page_row(page);
    kd_page_cell(page, name, true, false);
    kd_page_cell(page, value ? value : "\u2013", false, false);
}

void kd_page_table_close(kd_text *page) { kd_text_put(page, "</tr>\n</table></div>\n"); }

/* ---- figures ----------------------------------------------------------------------------------------------- */

/* Whether the value is one; otherwise a dash stands for it. */
static bool is_there(char out[32], double value) {
    if (isfinite(value)) return true;
    strcpy(out, "\u2013");
    return false;
}

void kd_show_number(char out[32], double value) {
    if (is_there(out, value)) kd_number_format(out, value, false);
}

void kd_show_unit(char out[32], double value, const char *unit) {
    char number[32];
    if (!is_there(out, value)) return;
    kd_number_format(number, value, false);
    size_t digits = strcspn(number, "KMGT");
    snprintf(out, 32, "%.*s %.2s%.12s", (int)(digits < 12 ? digits : 12), number, number + digits, unit);
}

void kd_show_fixed(char out[32], double value, int decimals) {
    if (is_there(out, value)) snprintf(out, 32, fabs(value) < 1e9 ? "%.*f" : "%.*g", decimals, value);
}

void kd_show_percent(char out[32], double part) {
    if (is_there(out, part)) snprintf(out, 32, "%.1f%%", part * 100);
}

void kd_show_bytes(char out[32], double bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int k = 0;
    if (!is_there(out, bytes)) return;
    while (bytes >= 1024 && k < 4) bytes /= 1024, k++;
    snprintf(out, 32, "%.*f %s", k && bytes < 100 ? 1 : 0, bytes, unit[k]);
}

void kd_show_time(char out[32], double seconds) {
    if (!is_there(out, seconds)) return;
    long long s = fabs(seconds) < 1e12 ? llround(seconds) : 0;
    if (s < 60) snprintf(out, 32, "%.1fs", seconds);
    else if (s < 3600) snprintf(out, 32, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400) snprintf(out, 32, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else snprintf(out, 32, "%lldd%02lldh", s / 86400, s / 3600 % 24);
}

void kd_show_date(char out[32], double time) {
    struct tm date;
    if (!is_there(out, fabs(time) < 1e11 ? time : NAN)) return;
    time_t seconds = (time_t)time;
    if (!gmtime_r(&seconds, &date) || !strftime(out, 32, "%Y-%m-%d %H:%M UTC", &date)) strcpy(out, "\u2013");
}

/* Pages: one self-contained HTML file, no scripts, nothing loaded from elsewhere. Light and dark as the reader's system is;
 * as wide as a desk or a telephone; printable. */
#ifndef KD_PAGE_H
#define KD_PAGE_H

#include "chart.h"

/* title and about are escaped. */
void kd_page_open(kd_text *page, const char *title, const char *about);
/* The last line: "kedge 0.1.0, " and this. */
void kd_page_close(kd_text *page, const char *words);
void kd_page_section(kd_text *page, const char *title);  /* a heading */
/* Tiles of figures: kd_page_tiles, kd_page_tile.., kd_page_tiles_close. note may be NULL. */
void kd_page_tiles(kd_text *page);
void kd_page_tile(kd_text *page, const char *value, const char *name, const char *note);
void kd_page_tiles_close(kd_text *page);
/* A grid of charts, as many beside each other as fit. */
void kd_page_charts(kd_text *page);
kd_status kd_page_chart(kd_text *page, const kd_chart *chart);
kd_status kd_page_bars(kd_text *page, const kd_bars *bars);
kd_status kd_page_heat_map(kd_text *page, const kd_heat_map *map);
void kd_page_charts_close(kd_text *page);
/* A table cell by cell; figures stand right. */
void kd_page_table(kd_text *page);
void kd_page_row(kd_text *page);
void kd_page_cell(kd_text *page, const char *words, bool head, bool figure);
/* A cell that leads to a file beside the page, by its path from there. */
void kd_page_link(kd_text *page, const char *words, const char *path);
/* A row of a name and what it is; first: the table's first row. value NULL: a dash. */
void kd_page_fact(kd_text *page, bool first, const char *name, const char *value);
void kd_page_table_close(kd_text *page);

/* Figures for people; "–" for NAN. */
void kd_show_number(char out[32], double value);               /* 12.3K */
void kd_show_unit(char out[32], double value, const char *unit);  /* 42.4 GFLOP/s */
void kd_show_fixed(char out[32], double value, int decimals);  /* 2.345 */
void kd_show_percent(char out[32], double part);               /* 31.4% */
void kd_show_bytes(char out[32], double bytes);                /* 312 MiB */
void kd_show_time(char out[32], double seconds);               /* 5m12s */
void kd_show_date(char out[32], double time);                  /* 2026-01-31 17:05 UTC, of Unix seconds */

#endif

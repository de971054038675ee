#include "result_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/number.h"
#include "format/page.h"
#include "results.h"

void kd_table_open(kd_table *t, const char *name, const char *title, const kd_table_column *column, int64_t columns) {
    *t = (kd_table){.name = name, .title = title, .column = column, .columns = columns};
}

void kd_table_close(kd_table *t) {
    for (int64_t i = 0; i < t->cells; i++) free(t->cell[i].words);
    free(t->cell);
    *t = (kd_table){0};
}

static kd_cell *next_cell(kd_table *t) {
    if (t->failed || kd_grow(&t->cell, &t->room, t->cells + 1, sizeof *t->cell)) {
        t->failed = true;
        return NULL;
    }
    return &t->cell[t->cells++];
}

void kd_table_words(kd_table *t, const char *words) {
    kd_cell *cell = next_cell(t);
    if (!cell) return;
    *cell = (kd_cell){words ? strdup(words) : NULL, NAN};
    t->failed |= words && !cell->words;
}

void kd_table_number(kd_table *t, double number) {
    kd_cell *cell = next_cell(t);
    if (cell) *cell = (kd_cell){NULL, number};
}

kd_status kd_table_status(const kd_table *t) { return t->failed ? kd_fail(KD_ENOMEM, "out of memory") : KD_OK; }
int64_t kd_table_rows(const kd_table *t) { return t->cells / t->columns; }

static bool is_figure(const kd_table *t, int64_t column) { return t->column[column].decimals >= 0; }
/* Whether files have the cell's number without a fraction. */
static bool is_whole(const kd_table *t, int64_t i) { return t->column[i % t->columns].decimals == 0 && fabs(t->cell[i].number) < 1e15; }

const char *kd_table_show(char out[64], const kd_table *t, int64_t i) {
    const kd_cell *cell = &t->cell[i];
    int decimals = t->column[i % t->columns].decimals;
    if (cell->words) return cell->words;
    if (isfinite(cell->number)) snprintf(out, 64, fabs(cell->number) < 1e15 ? "%.*f" : "%.*e", decimals < 0 ? 0 : decimals, cell->number);
    else snprintf(out, 64, isnan(cell->number) ? "\u2013" : cell->number > 0 ? "inf" : "-inf");
    return out;
}

/* ---- a terminal ------------------------------------------------------------------------------------------------------- */

static int64_t signs(const char *text) {
    int64_t count = 0;
    for (; *text; text++) count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static int64_t width_of(const kd_table *t, int64_t column) {
    int64_t width = signs(t->column[column].name);
    char out[64];
    for (int64_t i = column; i < t->cells; i += t->columns) {
        int64_t own = signs(kd_table_show(out, t, i));
        width = own > width ? own : width;
    }
    return width;
}

/* Words stand left, figures right; nothing stands behind the last words of a line. */
static void put(kd_text *text, const kd_table *t, int64_t column, const char *words) {
    int gap = (int)(width_of(t, column) - signs(words));
    const char *between = column ? "  " : "";
    if (is_figure(t, column)) kd_text_print(text, "%s%*s%s", between, gap, "", words);
    else kd_text_print(text, "%s%s%*s", between, words, column + 1 < t->columns ? gap : 0, "");
    if (column + 1 == t->columns) kd_text_put(text, "\n");
}

void kd_table_print(kd_text *text, const kd_table *t) {
    char out[64];
    for (int64_t k = 0; k < t->columns; k++) put(text, t, k, t->column[k].name);
    for (int64_t i = 0; i < t->cells; i++) put(text, t, i % t->columns, kd_table_show(out, t, i));
}

/* ---- files ------------------------------------------------------------------------------------------------------------ */

static void put_markdown(kd_text *text, const char *words) {
    for (; *words; words++) kd_text_print(text, *words == '|' ? "\\%c" : "%c", *words == '\n' ? ' ' : *words);
    kd_text_put(text, " |");
}

void kd_table_markdown(kd_text *text, const kd_table *t) {
    char out[64];
    kd_text_put(text, "|");
    for (int64_t k = 0; k < t->columns; k++) kd_text_put(text, " "), put_markdown(text, t->column[k].name);
    kd_text_put(text, "\n|");
    for (int64_t k = 0; k < t->columns; k++) kd_text_put(text, is_figure(t, k) ? "---:|" : "---|");
    kd_text_put(text, "\n");
    for (int64_t i = 0; i < t->cells; i++) {
        kd_text_put(text, i % t->columns ? " " : "| ");
        put_markdown(text, kd_table_show(out, t, i));
        if ((i + 1) % t->columns == 0) kd_text_put(text, "\n");
    }
}

void kd_figure_print(char out[64], double number) {
    if (number == 0 || (fabs(number) >= 1e-4 && fabs(number) < 1e15))
        for (int decimals = 0; decimals <= 20; decimals++) {
            snprintf(out, 64, "%.*f", decimals, number);
            if (kd_number_parse(out, NULL) == number) return;
        }
    kd_number_print(out, number);
}

void kd_table_csv(kd_text *text, const kd_table *t) {
    char out[64];
    for (int64_t k = 0; k < t->columns; k++) {
        if (k) kd_text_put(text, ",");
        kd_text_field(text, t->column[k].name);
    }
    kd_text_put(text, "\n");
    for (int64_t i = 0; i < t->cells; i++) {
        const kd_cell *cell = &t->cell[i];
        if (i % t->columns) kd_text_put(text, ",");
        if (cell->words) kd_text_field(text, cell->words);
        else if (isfinite(cell->number)) {
            if (is_whole(t, i)) snprintf(out, sizeof out, "%lld", llround(cell->number));
            else kd_figure_print(out, cell->number);
            kd_text_put(text, out);
        }
        if ((i + 1) % t->columns == 0) kd_text_put(text, "\n");
    }
}

void kd_table_page(kd_text *page, const kd_table *t) {
    char out[64];
    kd_page_section(page, t->title);
    kd_page_table(page);
    for (int64_t k = 0; k < t->columns; k++) kd_page_cell(page, t->column[k].name, true, is_figure(t, k));
    for (int64_t i = 0; i < t->cells; i++) {
        if (i % t->columns == 0) kd_page_row(page);
        kd_page_cell(page, kd_table_show(out, t, i), false, is_figure(t, i % t->columns));
    }
    kd_page_table_close(page);
}

/* Whole numbers have no decimals in JSON. */
static json_t *json_of(const kd_table *t, int64_t i) {
    const kd_cell *cell = &t->cell[i];
    if (cell->words) return kd_json_of_text(cell->words, (int64_t)strlen(cell->words));
    if (!isfinite(cell->number)) return json_null();
    return is_whole(t, i) ? json_integer((json_int_t)llround(cell->number)) : json_real(cell->number);
}

kd_status kd_table_json(json_t **out, const kd_table *t) {
    json_t *row = NULL;
    *out = json_array();
    bool failed = !*out;
    for (int64_t i = 0; i < t->cells && !failed; i++) {
        if (i % t->columns == 0) {
            row = json_object();
            failed = json_array_append_new(*out, row) != 0;
        }
        failed = failed || json_object_set_new(row, t->column[i % t->columns].name, json_of(t, i));
    }
    if (!failed) return KD_OK;
    json_decref(*out);
    *out = NULL;
    return kd_fail(KD_ENOMEM, "out of memory");
}

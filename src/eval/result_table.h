/* A table of results, filled row by row; shown on a terminal, in JSON, as CSV and on a page. What could not be kept for want of memory
 * is said at the end (kd_table_status), so that fillers need not ask after every cell. */
#ifndef KD_RESULT_TABLE_H
#define KD_RESULT_TABLE_H

#include "format/json.h"
#include "format/text.h"

typedef struct kd_table_column { const char *name; int decimals; } kd_table_column;  /* decimals -1: words */

typedef struct kd_cell { char *words; double number; } kd_cell;  /* words NULL: a number; NAN: nothing */

typedef struct kd_table {
    const char *name, *title;        /* in files, for people */
    const kd_table_column *column;   /* [columns] borrowed */
    int64_t columns;
    kd_cell *cell;                   /* [cells] */
    int64_t cells, room;
    bool failed;
} kd_table;

void kd_table_open(kd_table *table, const char *name, const char *title, const kd_table_column *column, int64_t columns);
void kd_table_close(kd_table *table);
/* The next cell; a row is full when there are as many as columns. Words are copied; NULL: nothing. */
void kd_table_words(kd_table *table, const char *words);
void kd_table_number(kd_table *table, double number);
kd_status kd_table_status(const kd_table *table);

/* A number for files: no exponent where one is not needed, as few digits as read back the same. */
void kd_figure_print(char out[64], double number);

int64_t kd_table_rows(const kd_table *table);
/* What a cell shows: a number to its column's decimals, "–" for nothing. Returns out, or the words. */
const char *kd_table_show(char out[64], const kd_table *table, int64_t cell);

void kd_table_print(kd_text *text, const kd_table *table);     /* aligned, a heading line first */
void kd_table_markdown(kd_text *text, const kd_table *table);
void kd_table_csv(kd_text *text, const kd_table *table);       /* all digits; nothing is an empty field */
void kd_table_page(kd_text *page, const kd_table *table);
/* [{"column": value, ...}, ...], nothing is null. KD_ENOMEM. */
kd_status kd_table_json(json_t **out, const kd_table *table);

#endif

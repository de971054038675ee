/* Results of evaluations laid out as tables 5, 6, 7 and 12 of the paper (Wang et al. 2024, arXiv 2411.13476 v2). */
#ifndef KD_PAPER_TABLES_H
#define KD_PAPER_TABLES_H

#include "results.h"

typedef enum kd_paper_layout { KD_PAPER_TABLE5, KD_PAPER_TABLE6, KD_PAPER_TABLE7, KD_PAPER_TABLE12, KD_PAPER_LAYOUTS } kd_paper_layout;
extern const char *const kd_paper_layout_names[KD_PAPER_LAYOUTS];

/* ---- the paper's figures (paper_figures.c) ---------------------------------------------------------------------------------- */

typedef enum kd_paper_method {
    KD_PAPER_UNTRAINED, KD_PAPER_FULL, KD_PAPER_INTRA, KD_PAPER_INTRA_RESET, KD_PAPER_INTRA_INTERLEAVED, KD_PAPER_ANCHOR,
        KD_PAPER_ANCHOR_TAG,
    KD_PAPER_ANCHOR_INTERLEAVED, KD_PAPER_METHODS
} kd_paper_method;
extern const char *const kd_paper_method_names[KD_PAPER_METHODS];

enum { KD_PAPER_FIGURES = 7 };  /* the most of a row */

/* A model as config.json says it. */
typedef struct kd_paper_shape { const char *name; int64_t hidden, layers, heads, groups, feed, vocabulary; } kd_paper_shape;

/* What a block of a table is of: model, window, data. */
typedef struct kd_paper_set {
    kd_paper_layout layout;
    const char *name;               /* "slimpajama-64k": as --paper has it */
    const char *about;              /* "Llama-2-7B, SlimPajama, windows of 64K" */
    const kd_paper_shape *shape;
    int64_t window;                 /* 0: the paper does not say */
    double figure[KD_PAPER_METHODS][KD_PAPER_FIGURES];   /* 0: it has none */
} kd_paper_set;
extern const kd_paper_set kd_paper_sets[];
extern const int64_t kd_paper_set_count;
/* KD_ECONFIG naming those that the layout has. */
kd_status kd_paper_find(const kd_paper_set **set, kd_paper_layout layout, const char *name);

/* ---- tables ------------------------------------------------------------------------------------------------------------------ */

typedef struct kd_paper_options {
    kd_paper_layout layout;
    const kd_paper_set *beside;     /* these figures of the paper stand beside runs of the same shape, window and method; NULL: none do */
    int64_t tasks;                  /* of RULER: 11 or 13; 0: 11 in table 5, 13 in table 6, as the paper */
} kd_paper_options;

typedef struct kd_paper_table {
    kd_table table;
    kd_text notes;                  /* lines: what is averaged, what could not be set beside the paper and why */
} kd_paper_table;

/* path [paths]: folders of results or their result.json; of a folder without one, those one level below. Results of a run's checkpoints are
 * averaged: they are a row. KD_EFORMAT; KD_ECONFIG for two results of one task and checkpoint. Free with kd_paper_table_close, also after a
 * failure. */
kd_status kd_paper_table_open(kd_paper_table *out, const char *const *path, int64_t paths, const kd_paper_options *options);
void kd_paper_table_close(kd_paper_table *table);

#endif

/* A window as it is read: runs of tokens in window order, for people. Plans store a window document by document, whatever
 * its order was; this is the order. */
#ifndef KD_WINDOW_VIEW_H
#define KD_WINDOW_VIEW_H

#include "data/windows.h"
#include "format/text.h"

typedef enum kd_role { KD_ROLE_ANCHOR, KD_ROLE_BOS, KD_ROLE_TAG, KD_ROLE_TEXT } kd_role;

typedef struct kd_span {
    int64_t document;        /* in the order they appear in; -1: the shared anchor */
    kd_role role;
    int64_t from, count;     /* tokens from .. from+count-1 of the window */
    int64_t position;        /* RoPE position of the first; the others count on */
} kd_span;

typedef struct kd_window_view {
    kd_mask mask;
    int64_t T, documents, pairs;  /* pairs: kd_plan_pairs */
    bool anchor;                  /* token 0 is seen by all */
    bool tags, reset, cut;        /* some span is a tag; positions begin anew; some document is in more than one chunk */
    kd_span *span;                /* [spans] every token once */
    int64_t spans;
} kd_window_view;

/* From what kd_plan_init takes; the same errors. Free with kd_window_view_free. */
kd_status kd_window_view_init(kd_window_view *view, const kd_plan_options *options, const kd_piece *piece, int64_t pieces,
                              const kd_chunk *chunk, int64_t chunks);
/* Window `index`, as kd_windows_plan. */
kd_status kd_window_view_open(kd_window_view *view, const kd_windows *windows, int64_t index, bool shuffled);
void kd_window_view_free(kd_window_view *view);

/* Who sees whom, and below it every token's position, as SVG: documents are triangles on the diagonal, interleaved chunks
 * blocks beside it, the anchor is the first column, tags are marked. Windows of at most 32 tokens cell by cell, with the
 * positions as numbers. Appended; alone: a file of its own. KD_ENOMEM. */
kd_status kd_window_draw_svg(kd_text *text, const kd_window_view *view, bool alone);

/* The same for a terminal, at most 64 columns: a cell is shaded by how many of its pairs are seen. colour: ANSI colours;
 * fine: Unicode blocks, otherwise ASCII. Appended. KD_ENOMEM. */
kd_status kd_window_draw_text(kd_text *text, const kd_window_view *view, bool colour, bool fine);

/* "16384 tokens, 23 documents in 41 chunks, anchor, tags; 8.1% of the pairs of full attention". */
void kd_window_describe(char out[160], const kd_window_view *view);

#endif

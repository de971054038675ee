/* Rows exactly as AnchorContext's own preprocessing makes them, its defects included: to compare a run with one of theirs,
 * and to show what kedge does otherwise (data/windows.h). Source: haonan3/AnchorContext @ 3af89f2, train.py: the
 * preprocessing functions and what the training step derives from a row.
 *
 * W = seq_length + 1 tokens are a window: inputs are tokens 0 .. seq_length-1 of a row, targets 1 .. seq_length.
 * Segments of at most two tokens are skipped where one begins.
 *
 *   tokenized, flash   each packed row gives one: its segments, each led by the anchor, cut at W. The rest is dropped.
 *   tokenized, flex    the same without anchors, cut at W - 1, and the anchor in front of the row.
 *   raw, flash         documents one after the other, each led by the anchor, cut at W; the rest goes on in the next row
 *                      behind an anchor of its own.
 *   raw, flex          the same without anchors, cut at W, and the anchor in front of the row.
 *
 * Of what is wrong with it this much shows here:
 *   raw, flex          rows have W + 1 tokens and are all dropped: kept is false.
 *   tokenized, flex    a row of no more than W tokens may be too short once the anchors are away: it stops.
 *   raw, flash         where a chunk fills the window to the end and an anchor is put before it, its last token is lost.
 *   raw                the unfinished window of each `batch` documents is dropped.
 *   raw                a document that fills a window has no end in it: eos is empty, or only the anchor's.
 *   flash              the window's second document has the number of its first, every later one of the one before it. */
#ifndef KD_UPSTREAM_H
#define KD_UPSTREAM_H

#include "format/text.h"

typedef enum kd_upstream_engine { KD_UPSTREAM_FLASH, KD_UPSTREAM_FLEX } kd_upstream_engine;
typedef enum kd_upstream_mode { KD_UPSTREAM_TOKENIZED, KD_UPSTREAM_RAW } kd_upstream_mode;

typedef struct kd_upstream_options {
    kd_upstream_engine engine;
    kd_upstream_mode mode;
    int64_t seq_length;       /* at least 1 */
    int32_t anchor;           /* the tokenizer's BOS, or its EOS where it has none */
    int64_t batch;            /* documents a batch, raw; theirs: 200 */
} kd_upstream_options;

typedef struct kd_upstream_row {
    int64_t index;            /* from 0 */
    bool kept;                /* whether training sees it */
    const int32_t *input, *target;                 /* [seq_length] */
    const int64_t *eos, *doc;                      /* [eoses], [docs] where segments end in the row; their numbers */
    int64_t eoses, docs;
    const int32_t *position, *document, *rotary;   /* [seq_length] from 0 in each segment; its number; what RoPE sees */
} kd_upstream_row;

/* Takes a row, borrowed. What it returns is returned by the call that made the row. */
typedef kd_status kd_upstream_take(void *context, const kd_upstream_row *row);

/* What became of the input, in ids. */
typedef struct kd_upstream_counts {
    int64_t rows, kept;       /* rows */
    int64_t skipped;          /* of segments of at most two */
    int64_t overflow;         /* of chunks whose anchor took the last place */
    int64_t unfinished;       /* of unfinished windows, anchors included */
    int64_t cut;              /* of packed rows, behind the window */
} kd_upstream_counts;

typedef struct kd_upstream kd_upstream;

/* KD_EARG for options out of range. Memory is that of a row. Free with kd_upstream_close. */
kd_status kd_upstream_open(kd_upstream **out, const kd_upstream_options *options, kd_upstream_take *take, void *context);
void kd_upstream_close(kd_upstream *upstream);    /* NULL is allowed */

/* A document with whatever BOS it has (raw), or the next segment of a packed row (tokenized); row_first: it begins one.
 * KD_EFORMAT where AnchorContext itself stops at an assertion: a packed row that does not fill the window, an anchor inside
 * a row of flex. Without that row the next may follow. */
kd_status kd_upstream_put(kd_upstream *upstream, const int32_t *id, int64_t count, bool row_first);
/* The end of the input. The same errors. */
kd_status kd_upstream_finish(kd_upstream *upstream);
kd_upstream_counts kd_upstream_count(const kd_upstream *upstream);

/* Appends the row as a line of JSON: engine, mode, seq_length, row, kept, input_ids, target_ids, source_eos, source_doc_ids,
 * position_ids, doc_ids, rotary_position_ids. A failure is told by kd_text_status. */
void kd_upstream_print(kd_text *text, const kd_upstream_options *options, const kd_upstream_row *row);

#endif

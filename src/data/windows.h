/* Documents to windows of exactly T tokens, and windows to plans.
 *
 * A pass over the documents that were chosen fills windows in document order; the document that crosses a window's end is
 * cut and goes on in the next one (or its rest is dropped). Only segments are kept: where they begin and how long they
 * are. The order in which windows are trained on is a keyed bijection per pass, so the place in the data is one integer. */
#ifndef KD_WINDOWS_H
#define KD_WINDOWS_H

#include "data/choose.h"

typedef struct kd_segment {
    int64_t document, from, count;   /* count text tokens of the document from its token `from`; an EOS, where asked for,
                                        is the document's last token and counted. 0 tokens, at a window's end: the
                                        document did not fit, its BOS and tag fill the window as far as they go */
} kd_segment;

struct kd_windows {
    const kd_corpus *corpus;
    kd_window_options options;
    int64_t count;             /* whole windows in a pass */
    int64_t *first;            /* [count+1] first segment of each */
    kd_segment *segment;
    int64_t dropped;           /* text tokens (EOS included) of the last partial window of a pass, not trained on */
    int64_t truncated;         /* text tokens (EOS included) dropped by long_documents: truncate */
    int64_t short_rests;       /* text tokens (EOS included) of rests that are shorter than `shortest` */
    int32_t *tag;              /* the tags of all sources, one after the other; */
    int64_t *tag_start;        /* [sources+1] where each begins; all 0 without tags */
    kd_plan_options plan;      /* what every plan is built with */
    uint64_t hash;             /* of the corpus, the segments and the tags: what a resumed run compares */
};

/* choice NULL: every document. KD_ECONFIG when there is no whole window, when the tokenizer has no BOS and no EOS where one
 * is needed, and when a window is too short for a token of text. The corpus is borrowed. Free with kd_windows_close. */
kd_status kd_windows_open(kd_windows *windows, const kd_corpus *corpus, const kd_choice *choice, const kd_window_options *options);
void kd_windows_close(kd_windows *windows);

/* The same windows as they were packed before: first [count+1] and segment are taken over (freed in any case). KD_EFORMAT
 * for segments that the corpus does not have or that do not fill their windows. */
kd_status kd_windows_restore(kd_windows *windows, const kd_corpus *corpus, const kd_window_options *options, int64_t count,
                             int64_t *first, kd_segment *segment);

/* Text tokens that stand before and behind a document's own: its BOS and tag, its EOS. */
int64_t kd_windows_head(const kd_windows *windows, int64_t source);
bool kd_windows_end_with_eos(const kd_windows *windows);
/* Tokens that are in a window whatever its documents: the shared anchor. */
int64_t kd_windows_anchors(const kd_windows *windows);

/* What a plan is made of, chunks in window order. */
typedef struct kd_window_parts {
    int32_t *token;            /* the text of all chunks */
    uint8_t *loss;             /* and what of it may be a target */
    kd_piece *piece;           /* tags are borrowed from the windows */
    kd_chunk *chunk;
    int64_t pieces, chunks;
} kd_window_parts;

/* As kd_windows_plan (kedge.h), before it is laid out. Free with kd_window_parts_free. */
kd_status kd_windows_parts(kd_window_parts *parts, const kd_windows *windows, int64_t index, bool shuffled);
void kd_window_parts_free(kd_window_parts *parts);

#endif

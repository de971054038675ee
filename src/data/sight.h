/* Who may see whom in a window, said a second time: from its documents as the data gives them, not from the plan that attention obeys.
 * What a check of the mask compares with. One rule: token i may see token j iff j is the shared anchor, or of i's document and not after
 * it; through any number of layers too, as the anchor sees itself alone. */
#ifndef KD_SIGHT_H
#define KD_SIGHT_H

#include "data/windows.h"

typedef struct kd_sight {
    int64_t T, N;              /* N: documents that have a token */
    int32_t *owner;            /* [T] each token's document, in the order in which tokens are stored; -1: the shared anchor */
    int32_t *token;            /* [T] and the token that must stand there */
    int64_t *first, *last;     /* [N] each document's first and last token */
} kd_sight;

/* The window that kd_plan_init lays out of the same, whose tokens see what `mask` lets them see: options->mask, or another one, to ask
 * whether the window keeps what that promises. Free with kd_sight_free. KD_EARG, KD_ENOMEM. */
kd_status kd_sight_init(kd_sight *sight, const kd_plan_options *options, kd_mask mask, const kd_piece *piece, int64_t pieces,
                        const kd_chunk *chunk, int64_t chunks);
/* Of window `index`, as kd_windows_plan. */
kd_status kd_sight_open(kd_sight *sight, const kd_windows *windows, kd_mask mask, int64_t index, bool shuffled);
void kd_sight_free(kd_sight *sight);

/* Whether the plan stores these tokens in this order; KD_ENUMERIC naming the first that it does not. */
kd_status kd_sight_matches(const kd_sight *sight, const kd_plan *plan);

/* What is touched, that is, changed, to see what moves. */
typedef enum kd_touch_kind {
    KD_TOUCH_TOKEN,    /* one token */
    KD_TOUCH_ANCHOR,   /* the shared anchor */
    KD_TOUCH_EVEN,     /* all tokens of documents 0, 2, 4, ... */
    KD_TOUCH_ODD,      /* all tokens of documents 1, 3, 5, ... */
    KD_TOUCH_LATER,    /* the later half of documents 1, 3, 5, ..., or of the only one */
} kd_touch_kind;
typedef struct kd_touch { kd_touch_kind kind; int64_t token; } kd_touch;

/* touched [T] is overwritten. */
void kd_touch_mark(bool *touched, const kd_sight *sight, kd_touch touch);

/* What a touch may move, and what it must move for a mask to be one, by token. An output may move where the token sees a touched one,
 * and must. A gradient may move in the whole document of a touched token, and in the anchor's place; it must in the tokens that an
 * output sees which moved and is learned from: trained [T], NULL: all are. A document of one token is left out of that: attention's
 * weights there are 1 in any case. All arrays [T], overwritten. KD_ENOMEM. */
typedef struct kd_reach { bool *output, *gradient, *must; } kd_reach;
kd_status kd_sight_reach(const kd_reach *reach, const kd_sight *sight, const bool *touched, const bool *trained);

#endif

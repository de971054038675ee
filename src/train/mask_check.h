/* The check of the mask: tokens of some documents are touched, that is, changed; then whatever moves in a token that may not see them is
 * a leak, and where nothing moves that should, the mask hides too much. kedge gives the same bits for the same numbers, so "moves" is
 * any bit.
 *
 * What is looked at is a subject: attention alone (mask_attention.c) or a whole model (mask_model.c), on one rank or on several that
 * share the window. Who may see whom comes from data/sight.h, which knows nothing of plans. */
#ifndef KD_MASK_CHECK_H
#define KD_MASK_CHECK_H

#include "data/sight.h"
#include "model/model.h"

/* Tokens that moved: of those that must, and of those that must not. */
typedef struct kd_moved { int64_t inside, inside_of, outside, outside_of; } kd_moved;

typedef enum kd_mask_verdict { KD_MASK_HOLDS, KD_MASK_LEAKS, KD_MASK_IS_BLIND } kd_mask_verdict;
const char *kd_mask_verdict_name(kd_mask_verdict verdict);  /* "holds", "LEAK", "BLIND" */

typedef struct kd_mask_row {
    kd_touch touch;
    char touched[80];            /* in words: "document 3, token 118" */
    int64_t documents, tokens;   /* touched; the anchor is of no document */
    kd_moved output, gradient;
    kd_mask_verdict verdict;     /* a leak: any outside; blind: fewer than half inside, of a coarse subject none */
} kd_mask_row;

typedef struct kd_mask_subject kd_mask_subject;
struct kd_mask_subject {
    /* Runs with these tokens [T] touched, NULL: none, and gives a hash of each of this rank's tokens' output and gradients, [count].
     * Collective. */
    kd_status (*run)(kd_mask_subject *self, const bool *touched, uint64_t *output, uint64_t *gradient);
    kd_comm *comm;               /* ranks that share the window; NULL: one */
    kd_stretch tokens;           /* this rank's */
    const bool *trained;         /* [T] what gradients come from; NULL: all */
    bool coarse;                 /* of 16-bit numbers, where a change may be too small to see */
};

/* One row for each touch, the same on all ranks. A mask that does not hold is no failure here: see the verdicts. KD_ENOMEM; the
 * subject's. */
kd_status kd_mask_check(kd_mask_row *row, kd_mask_subject *subject, const kd_sight *sight, const kd_touch *touch, int64_t touches);

/* Touches [KD_TOUCHES_START]: what the start of a run looks at: every other document, half of each of the others, the anchor. How many
 * there are. */
enum { KD_TOUCHES_START = 3 };
int64_t kd_touches_start(kd_touch *touch, const kd_sight *sight);
/* [KD_TOUCHES_START + 1 + 2 * documents]: besides them, one by one, the first and the last token of so many documents, evenly chosen. */
int64_t kd_touches_each(kd_touch *touch, const kd_sight *sight, int64_t documents);

/* The first row that does not hold, as a failure: KD_ENUMERIC, in words after `what`. */
kd_status kd_mask_judge(const kd_mask_row *row, int64_t rows, const char *what);

/* ---- subjects ------------------------------------------------------------------------------------------------------ */

/* Attention of one head, of as many as there are ranks where a rank has heads of its own, of random numbers: a function of the token,
 * the same for every run. like: rope, frame, precision, E and scale of the attention that is meant; type: of the views. plan and rope
 * are borrowed, as is ctx. */
typedef struct kd_mask_attention {
    kd_mask_subject subject;
    kd_ctx *ctx;
    kd_attn attn;
    kd_sequence sequence;
    kd_sequence_kept kept;
    kd_arena arena;
    void *stage;                 /* rows on their way, on the host */
} kd_mask_attention;
kd_status kd_mask_attention_open(kd_mask_attention *x, kd_ctx *ctx, kd_comm *comm, kd_sequence_mode mode, const kd_plan *plan,
                                 const kd_attn *like, kd_view_type type);
void kd_mask_attention_close(kd_mask_attention *x);

/* A model: what its last layer gives, and the gradient of the sum of losses at its input. A touched token becomes another one of the
 * window. */
typedef struct kd_mask_model {
    kd_mask_subject subject;
    kd_model *model;
    const kd_plan *plan;
    int32_t *token;              /* [T] what stands in the place of the plan's */
    bool *trained;
    void *stage;
} kd_mask_model;
kd_status kd_mask_model_open(kd_mask_model *x, kd_model *model, kd_comm *comm, const kd_plan *plan);
void kd_mask_model_close(kd_mask_model *x);

#endif

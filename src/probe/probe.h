/* The probe: how far a model's attention moves when all its positions do, which exact arithmetic would not let it.
 *
 * ATTN(d): attention's probabilities of a head when every position is d larger. Between two shifts, key by key,
 *   D_j = 1/n_j * sum_i |ATTN_ij(d1) - ATTN_ij(d2)|,  n_j: the queries that see key j;
 *   D = sum_j D_j, summed over layers and heads: equation 4 of Wang et al. 2024 (arXiv 2411.13476), figures 1 and 7;
 *   D_logit(T) = 1/T * sum_{i < T} |A_i1(d1) - A_i1(d2)| of the first key's logits without 1/sqrt(E), summed over layers and
 *   heads: its equation 5, figure 1 right. A prefix of a text has the attention of the text, so one run gives every T.
 * Propagated: the whole network runs at each shift. Isolated: queries and keys of the run at shift 0, turned at each shift:
 * what rotation does alone, without what layers make of it.
 *
 * Everything behind what a precision keeps of queries and keys is measured in double, so that the ruler is finer than
 * what it measures; the network between layers is kedge's own, in float32. */
#ifndef KD_PROBE_H
#define KD_PROBE_H

#include "model/config.h"

typedef enum kd_probe_mode { KD_PROPAGATED, KD_ISOLATED, KD_PROBE_MODES } kd_probe_mode;

/* What is compared: shift[s] with a base, b = 0: shift[0] (0 but for dumps; figures 1 middle and right, 7 right); b = 1:
 * `against` (figures 1 left, 7 left). A pair has the index b * shifts + s. */
enum { KD_PROBE_BASES = 2 };
typedef struct kd_probe_grid {
    int64_t T;                /* tokens of a text */
    int64_t *shift, shifts;   /* ascending, distinct, at least two; `against` is one of them */
    int64_t against;          /* the paper's 16 */
    int64_t *length, lengths; /* ascending T of D_logit, each at most `longest` */
    int64_t longest;          /* tokens that a text must have: T, or more where lengths go beyond */
} kd_probe_grid;

/* One mode of one curve, text by text. */
typedef struct kd_probe_numbers {
    double *d;                /* [texts, pairs] D */
    double *d_signed;         /* [texts, pairs] the same of |sum_i (ATTN_ij(d1) - ATTN_ij(d2))| / n_j */
    double *rows;             /* [texts, pairs] mean over layers, heads and queries of sum_j |change|: of 2 at most */
    double *most;             /* [texts, pairs] the largest change of a logit (with 1/sqrt(E)) */
    double *first;            /* [texts, pairs] D_j of the first key over the median D_j */
    double *first_other;      /* [texts, pairs] and over the largest of the others; both NAN where these are 0 */
    double *logit;            /* [texts, lengths] D_logit between shift[0] and against */
    double *key;              /* [T] D_j between shift[0] and against, mean over texts; layers and heads summed */
    double *head;             /* [L, H] D between shift[0] and against, mean over texts */
} kd_probe_numbers;

/* One model at one precision. */
typedef struct kd_probe_curve {
    char *model;              /* the folder's name, or "random" and its shape's, or the dump's */
    const char *precision;    /* of the ladder; of a dump: what its metadata say, or "as stored" */
    bool random;
    int64_t L, H, E;
    kd_probe_numbers mode[KD_PROBE_MODES];  /* a dump has the first alone; d NULL: not measured */
    double *sink;             /* [L, H] mean attention of the queries behind it on the first key, at shift[0], mean over texts */
    double seconds;
} kd_probe_curve;

typedef struct kd_probe {
    kd_probe_grid grid;
    int64_t texts;
    kd_probe_curve *curve;
    int64_t curves;
    const char *mask, *frame; /* "full", "window" */
    const char *source;       /* what the texts are, for people */
} kd_probe;

/* Writes the measurements into a folder that is there (probe_write.c): report.html, probe.json, figure1_left.svg and .csv,
 * figure1_middle, figure1_right, figure7_left, figure7_right, heads.csv, heads.svg, sink.svg; files of these names are replaced. What
 * has no numbers is not written, and what an earlier probe left under its name is removed. */
kd_status kd_probe_write(const kd_probe *probe, const char *folder);

/* Room for the numbers of `modes` modes of a curve, whose L and H are set; all 0. KD_ENOMEM. kd_probe_free frees it, and what else
 * a probe has on the heap: grid.shift, grid.length, curve, curve[].model. */
kd_status kd_probe_curve_init(kd_probe_curve *curve, const kd_probe *probe, int64_t modes);
void kd_probe_free(kd_probe *probe);

static inline int64_t kd_probe_pairs(const kd_probe_grid *grid) { return KD_PROBE_BASES * grid->shifts; }

/* The index of a shift; -1: it is not in the grid. */
static inline int64_t kd_probe_shift(const kd_probe_grid *grid, int64_t shift) {
    for (int64_t s = 0; s < grid->shifts; s++)
        if (grid->shift[s] == shift) return s;
    return -1;
}

/* The pair (shift[0], against), which per-key and per-head numbers are of. */
static inline int64_t kd_probe_main_pair(const kd_probe_grid *grid) { return kd_probe_shift(grid, grid->against); }

#endif

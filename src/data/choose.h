/* Which documents of a corpus are packed: length upsampling and mixture.
 *
 * Upsampling keeps every long document and a part of the short ones, drawn by chance. Source: Fu et al. 2024, "Data
 * Engineering for Scaling Language Models to 128K Context", per source and global. A mixture keeps of each source as many
 * tokens as its share of the whole needs, spread evenly over its documents and their lengths. Both count the tokens there are, not an
 * estimate by characters. Draws are a function of (seed, file, line), so they depend neither on threads nor on what else
 * the corpus holds. */
#ifndef KD_CHOOSE_H
#define KD_CHOOSE_H

#include "data/corpus.h"

#define KD_NO_SOURCE "(none)"    /* what documents without a source are called in a mixture */

typedef struct kd_choice_options {
    const char *const *source;   /* [shares] names; 0 shares: no mixture */
    const double *share;         /* [shares] of tokens, relative: they need not add up to 1 */
    int64_t shares;
    int64_t shorter_than;        /* upsampling: documents of fewer tokens are kept by chance; 0: none */
    double keep;                 /* the chance */
    bool every_source;           /* without a mixture: true: sources keep the shares they have before upsampling */
    int64_t tokens;              /* in all, about; 0: as many as the shares allow */
    int64_t shortest;            /* documents of fewer tokens are left out */
    uint64_t seed;
} kd_choice_options;

typedef enum kd_fate {
    KD_FATE_KEPT,
    KD_FATE_TOO_SHORT,           /* shorter than `shortest` */
    KD_FATE_THINNED,             /* short, and upsampling did not keep it */
    KD_FATE_OVER_SHARE,          /* its source, or the whole, has tokens enough */
    KD_FATE_NO_SHARE,            /* its source is not in the mixture */
    KD_FATES
} kd_fate;

/* Of one source. */
typedef struct kd_source_tally {
    double planned;              /* share of tokens that was asked for; -1: none was */
    int64_t documents[KD_FATES], tokens[KD_FATES];
} kd_source_tally;

typedef struct kd_choice {
    uint8_t *fate;               /* [documents] kd_fate */
    kd_source_tally *source;     /* [sources] */
} kd_choice;

/* KD_ECONFIG: a source of the mixture that the corpus does not have, or no document is left. Free with kd_choice_free. */
kd_status kd_choice_init(kd_choice *choice, const kd_corpus *corpus, const kd_choice_options *options);
void kd_choice_free(kd_choice *choice);

#endif

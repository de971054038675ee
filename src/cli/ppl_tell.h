/* What kedge eval ppl says and writes. */
#ifndef KD_PPL_TELL_H
#define KD_PPL_TELL_H

#include "eval.h"
#include "ppl_source.h"

typedef struct kd_ppl_told {
    const char *model, *about, *out;   /* out: NULL: nothing is written */
    const kd_ppl_given *given;
    const kd_ppl_options *options;
    double seconds;
    bool json;
} kd_ppl_told;

/* Tables of lengths and positions, a chart of each; with several lengths also lengths.csv, a line a model as YaRN's script writes it. */
kd_status kd_ppl_tell(kd_results *results, const kd_ppl_told *told);

#endif

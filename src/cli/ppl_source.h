/* What kedge eval ppl reads. */
#ifndef KD_PPL_SOURCE_H
#define KD_PPL_SOURCE_H

#include "cli.h"
#include "eval/perplexity.h"

typedef struct kd_ppl_source {
    kd_list text;            /* files */
    const char *pack;        /* or a pack */
    const char *part;        /* of it: "train", "valid" */
    int64_t least;           /* tokens of a text that is taken */
    int64_t most;            /* texts that are taken, windows of a pack; 0: all */
} kd_ppl_source;

typedef struct kd_ppl_given {
    kd_ppl_texts texts;
    int64_t shorter;         /* texts that were left out */
    int64_t windows;         /* of a pack */
    bool positions_differ;   /* its documents have other positions there than alone */
    uint64_t hash;           /* of all tokens and of which are scored */
} kd_ppl_given;

/* Texts in order: plain files whole, JSON lines each ("text", or "input_ids" whose leading BOS goes); of a pack the documents of its
 * windows, in corpus order, each with the target behind its last token. KD_ECONFIG where nothing is left, KD_EFORMAT. */
kd_status kd_ppl_given_open(kd_ppl_given *given, const kd_ppl_source *source, kd_subject *subject);
void kd_ppl_given_close(kd_ppl_given *given);

#endif

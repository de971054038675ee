/* What kedge probe reads: texts of so many tokens, as plans. */
#ifndef KD_CLI_PROBE_TEXTS_H
#define KD_CLI_PROBE_TEXTS_H

#include "cli.h"
#include "model/config.h"

typedef struct kd_probe_source {
    kd_list text;              /* files */
    const char *pack;          /* or a pack; neither: random tokens */
    const char *tokenizer;     /* NULL: the model's own */
    const char *mask;          /* of a pack's windows, "full", "document"; NULL: as it was packed */
    bool no_bos;
    int64_t seed;              /* of random tokens */
    int64_t texts, texts_most; /* how many must be there; how many are taken at most */
} kd_probe_source;

/* Texts at two lengths: their first T tokens and, where is_longer, their first `longest`. */
typedef struct kd_probe_plans {
    kd_plan *plan, *longer;    /* [count] */
    int64_t count;
    bool is_longer;
    const char *mask;
    char source[160];          /* for people */
} kd_probe_plans;

/* folder: the model's, for its tokenizer. KD_ECONFIG where there is less text than is asked for, KD_EFORMAT. */
kd_status kd_probe_plans_open(kd_probe_plans *plans, const kd_probe_source *source, const kd_config *config, const char *folder,
                              int64_t T, int64_t longest);
void kd_probe_plans_close(kd_probe_plans *plans);

#endif

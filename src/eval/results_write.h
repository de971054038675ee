/* What the files that make results share. */
#ifndef KD_RESULTS_WRITE_H
#define KD_RESULTS_WRITE_H

#include "results.h"

struct kd_results {
    char *folder;        /* NULL: nowhere */
    char *path;          /* of answers.jsonl */
    json_t *settings;
    json_t *answers;     /* key to answer */
    int64_t found;
    int lock, fd;        /* -1: none */
};

/* "answer" to dotted keys: every value of an object in objects, in order. Stops at a failure. */
typedef kd_status kd_leaf(void *opaque, const char *key, const json_t *value);
kd_status kd_each_leaf(const json_t *object, kd_leaf *leaf, void *opaque);
/* A value as it stands in JSON; strings without their quotes. Appended. */
kd_status kd_leaf_text(kd_text *text, const json_t *value);

#endif

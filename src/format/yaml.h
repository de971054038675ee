/* YAML as a tree of nodes that know their line: libyaml's events, strict. Anchors, aliases, tags, several documents and
 * repeated keys are refused with file and line. Scalars stay text; the reader of a key decides their type. */
#ifndef KD_YAML_H
#define KD_YAML_H

#include "base/file.h"

typedef enum kd_yaml_kind { KD_YAML_SCALAR, KD_YAML_LIST, KD_YAML_MAP } kd_yaml_kind;

typedef struct kd_yaml {
    kd_yaml_kind kind;
    int line;                 /* 1 for the first; 0: from an override */
    bool quoted;              /* a scalar in quotes is a string, never a number or null */
    char *text;               /* a scalar's text */
    int64_t count;            /* children of a list or map */
    char **key;               /* [count] of a map */
    int *key_line;            /* [count] of a map */
    struct kd_yaml **child;   /* [count] */
} kd_yaml;

/* KD_ECONFIG "name:line:column: what". A text without a node is an empty scalar. Free with kd_yaml_free. */
kd_status kd_yaml_parse(kd_yaml **out, const char *text, int64_t size, const char *name);
void kd_yaml_free(kd_yaml *node);

/* The child of a map, or NULL. */
kd_yaml *kd_yaml_get(const kd_yaml *map, const char *key);

/* Applies "a.b=value": the value is parsed as YAML (flow style), maps on the way are made. KD_ECONFIG where something
 * on the way is no map. */
kd_status kd_yaml_set(kd_yaml *root, const char *assignment);

/* Scalars by type; `where` is the dotted key, `name` the file: "run.yaml:12: optim.lr: ..." (KD_ECONFIG).
 * kd_yaml_size takes an optional K, M or G (2^10, 2^20, 2^30) and is not negative. Numbers accept 1e-5, 5.0e+6, .5 and are finite.
 * Bools: true or false only. */
kd_status kd_yaml_int(int64_t *out, const kd_yaml *node, const char *where, const char *name);
kd_status kd_yaml_size(int64_t *out, const kd_yaml *node, const char *where, const char *name);
kd_status kd_yaml_number(double *out, const kd_yaml *node, const char *where, const char *name);
kd_status kd_yaml_bool(bool *out, const kd_yaml *node, const char *where, const char *name);

/* The candidate nearest to word (edit distance <= 1/2 of its length, at least 2), or NULL; the first of
 * equals, and never one without a letter in common. */
const char *kd_nearest(const char *word, const char *const *candidate, int64_t count);

#endif

/* The schema of the run file: one row for each key. Reading, checking, suggesting, defaults and printing all walk it. */
#ifndef KD_RUN_SCHEMA_H
#define KD_RUN_SCHEMA_H

#include "train/run_file.h"

typedef enum kd_run_type {   /* what a value is, and what it is stored as */
    KD_RUN_TEXT,             /* char *, on the heap */
    KD_RUN_LIST,             /* kd_strings; one text stands for a list of one */
    KD_RUN_SHARES,           /* kd_shares: a map of names to numbers */
    KD_RUN_INTEGER,          /* int64_t */
    KD_RUN_SIZE,             /* int64_t, may end in K, M or G */
    KD_RUN_NUMBER,           /* double */
    KD_RUN_PAIR,             /* two doubles, one behind the other */
    KD_RUN_BOOL,             /* bool */
    KD_RUN_WORD,             /* an enum: the word's value */
    KD_RUN_SWITCH,           /* bool: the word's value */
} kd_run_type;

typedef struct kd_run_word {
    const char *text;        /* NULL ends the list */
    int value;
    bool later;              /* known, not in this build yet */
} kd_run_word;

typedef struct kd_run_row {
    const char *key;         /* dotted; the rows of a group stand together */
    kd_run_type type;
    const char *absent;      /* the value of an absent key, as YAML; NULL: none */
    int64_t offset;          /* in kd_run_file; KD_RUN_NOWHERE: checked, not stored */
    const char *range;       /* of numbers: "[0, 1)"; NULL: any */
    const kd_run_word *word; /* of TEXT, WORD and SWITCH: the allowed ones; NULL: any text */
    bool later;              /* the key itself is not in this build yet */
    const char *refused;     /* why the key is known and never taken */
    bool required;
    const char *about;       /* what it means, for people; needed where there is a choice */
    const char *within;      /* `absent` holds only where this group is in the file */
    const char *group;       /* what this row and those behind it are about; NULL: as the row before */
} kd_run_row;

enum { KD_RUN_NOWHERE = -1 };

extern const kd_run_row kd_run_schema[];
extern const int64_t kd_run_rows;

/* The node of a dotted key in a run file's tree, and its line (0: from an override); NULL: the key is absent, the line is
 * that of the innermost group that is there. A scalar in a group's place is the group's `type`. */
const kd_yaml *kd_run_node(const kd_yaml *tree, const char *key, int *line);

/* Whether a key has a value: it is in the tree, or `absent` holds. */
bool kd_run_has(const kd_yaml *tree, const kd_run_row *row);

#endif

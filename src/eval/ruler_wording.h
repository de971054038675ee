/* The sentences of RULER's prompts: kedge's own, or those of a checkout of RULER's repository. */
#ifndef KD_RULER_WORDING_H
#define KD_RULER_WORDING_H

#include "format/json.h"
#include "format/text.h"
#include "ruler_tasks.h"

/* Texts are Python's format strings: {field}, {{ and }}. A task's prompt is its template in the wrapper, then its prefix, which is an
 * answer that has been begun.
 * X(text, fields it may have) */
#define KD_RULER_TEXTS(X)                                                      \
    X(NIAH, "type_needle_v context query")                                     \
    X(NIAH_PREFIX, "type_needle_v context query")                              \
    X(NIAH_ONE, "type_needle_v context query")        /* with one value */     \
    X(NIAH_ONE_PREFIX, "type_needle_v context query")                          \
    X(CHAINS, "context query num_v")                                           \
    X(CHAINS_PREFIX, "context query num_v")                                    \
    X(COMMON, "context query num_cw")                                          \
    X(COMMON_PREFIX, "context query num_cw")                                   \
    X(CODED, "context query")                                                  \
    X(CODED_PREFIX, "context query")                                           \
    X(QA, "context query")                                                     \
    X(QA_PREFIX, "context query")                                              \
    X(NEEDLE, "type_needle_v key value")                                       \
    X(NOISE, "")                                                               \
    X(CHAINS_NOISE, "")                                                        \
    X(DOCUMENT, "i document")                                                  \
    X(WRAPPER, "task_template")                       /* of a chat */          \
    X(WRAPPER_ONE, "task_template")                   /* where NIAH has one value */

typedef enum kd_ruler_text {
#define X(text, fields) KD_RULER_TEXT_##text,
    KD_RULER_TEXTS(X)
#undef X
    KD_RULER_TEXT_COUNT
} kd_ruler_text;

typedef struct kd_ruler_wording {
    char *text[KD_RULER_TEXT_COUNT];
    char *source;                        /* "kedge", or where it is from */
    uint64_t hash;                       /* of all texts */
    int64_t generate[KD_RULER_KINDS];    /* tokens, where a checkout says; 0: as in the table */
} kd_ruler_wording;

/* kedge's own. KD_ENOMEM. Free with kd_ruler_wording_close. */
kd_status kd_ruler_wording_own(kd_ruler_wording *wording);
/* Read from a checkout: scripts/data/template.py and scripts/data/synthetic/{constants,niah,variable_tracking,qa}.py. chat: the name of a
 * wrapper in template.py. KD_EFORMAT naming file and line, KD_EIO, KD_ECONFIG for a chat that is not there. */
kd_status kd_ruler_wording_read(kd_ruler_wording *wording, const char *checkout, const char *chat);
void kd_ruler_wording_close(kd_ruler_wording *wording);

/* Appends a format string with its fields' values. KD_EFORMAT for a field that is not among them, or a lone brace. */
typedef struct kd_field { const char *name, *value; int64_t size; /* of value; -1: up to its NUL */ } kd_field;
kd_status kd_ruler_fill(kd_text *out, const char *format, const kd_field *field, int64_t fields);

/* The value of the first assignment of a literal to `name` in a Python file, wherever it is indented: strings in any quotes, side by
 * side too, whole numbers, dictionaries of these. An assignment of an expression that does not begin as a literal is passed over.
 * KD_EFORMAT "path:line: what" for anything else, KD_EIO. */
kd_status kd_python_literal(json_t **out, const char *path, const char *name);
kd_status kd_python_literal_parse(json_t **out, const char *text, int64_t size, const char *path, const char *name);

#endif

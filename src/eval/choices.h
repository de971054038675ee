/* Multiple choice as lm-evaluation-harness asks it: texts of HellaSwag and MMLU, and which choice a model takes. */
#ifndef KD_CHOICES_H
#define KD_CHOICES_H

#include "format/text.h"

/* HellaSwag's clean-up of a text: tags in brackets go, " [title]" becomes a full stop; on the heap. */
kd_status kd_hellaswag_clean(char **out, const char *text);
/* What leads the endings of an item: "activity: a B", cleaned; on the heap. */
kd_status kd_hellaswag_query(char **out, const char *activity, const char *ctx_a, const char *ctx_b);

enum { KD_MMLU_CHOICES = 4 };
typedef struct kd_mmlu_item { const char *question, *choice[KD_MMLU_CHOICES]; int64_t answer; } kd_mmlu_item;
/* Adds a question with its choices up to "Answer:"; solved: and its letter, and an empty line. */
void kd_mmlu_block(kd_text *text, const kd_mmlu_item *item, bool solved);

/* What choices are told apart by: log-likelihoods alone, or over the characters or bytes of each choice. */
typedef enum kd_choice_norm { KD_CHOICE_SUM, KD_CHOICE_CHARACTERS, KD_CHOICE_BYTES } kd_choice_norm;
/* The first of the best. */
int64_t kd_choice_best(const double *loglikelihood, const char *const *choice, int64_t count, kd_choice_norm norm);

#endif

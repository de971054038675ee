/* Questions with four choices: which continuation of a context is the likeliest, as lm-evaluation-harness scores it. */
#ifndef KD_MULTIPLE_CHOICE_H
#define KD_MULTIPLE_CHOICE_H

#include "averages.h"
#include "choices.h"
#include "results.h"
#include "subject.h"

enum { KD_CHOICES = KD_MMLU_CHOICES };

typedef struct kd_choice_item {
    char *key;                 /* of its answer: "hellaswag/12" */
    char *context;
    char *choice[KD_CHOICES];  /* a space stands before each where it follows the context */
    int64_t answer;            /* 0 .. 3 */
    int64_t group;             /* MMLU: its subject */
} kd_choice_item;

typedef struct kd_choice_items { kd_choice_item *item; int64_t count, room; } kd_choice_items;

/* Room for one more, zeroed; NULL after KD_ENOMEM. */
kd_choice_item *kd_choice_items_next(kd_choice_items *items);
void kd_choice_items_free(kd_choice_items *items);

/* Asks what has no answer yet: {"key", "loglikelihood": [4], "cut": tokens that a context was shortened by on its left; absent: none}. */
kd_status kd_choice_ask(kd_results *results, kd_subject *subject, const kd_choice_items *items);

/* 1 where the answer is the best choice, by each of the three measures; [count] each. KD_EFORMAT for answers that are none. */
typedef struct kd_choice_scores { double *right[3]; int64_t count, cut; } kd_choice_scores;
kd_status kd_choice_score(kd_choice_scores *scores, const kd_results *results, const kd_choice_items *items);
void kd_choice_scores_free(kd_choice_scores *scores);

/* The first answers, for a page; texts live until freed. */
typedef struct kd_choice_examples { kd_example *example; int64_t count; kd_text *text; } kd_choice_examples;
kd_status kd_choice_show(kd_choice_examples *examples, const kd_results *results, const kd_choice_items *items, int64_t most);
void kd_choice_examples_free(kd_choice_examples *examples);

#endif

/* Samples of RULER's tasks, made: prompts of a length, and what is right. */
#ifndef KD_RULER_MAKE_H
#define KD_RULER_MAKE_H

#include "format/tokenizer.h"
#include "ruler_essays.h"
#include "ruler_questions.h"
#include "ruler_wording.h"
#include "ruler_words.h"

typedef struct kd_ruler_options {
    const kd_tokenizer *tokenizer;     /* by which lengths are counted; borrowed */
    const char *essays;                /* [essays_size] a text for haystacks and words; NULL: made */
    int64_t essays_size;
    const char *squad, *hotpot;        /* files; NULL: made */
    const char *templates, *chat;      /* a checkout of RULER's repository, and the wrapper in it; NULL: kedge's own wording */
    int64_t longest;                   /* of the lengths that are asked for */
    uint64_t seed;
} kd_ruler_options;

/* What all samples are made of. Nothing changes once it is open: threads share it. */
typedef struct kd_ruler_source {
    kd_ruler_options options;          /* texts are not kept */
    kd_ruler_wording wording;
    kd_ruler_essays essays;
    kd_ruler_words words;
    kd_ruler_questions questions[2];   /* qa_1's, qa_2's */
} kd_ruler_source;

/* place [tasks]: of the tasks that are to be made; what they do not need is not read. KD_ECONFIG, KD_EFORMAT, KD_EIO. */
kd_status kd_ruler_source_open(kd_ruler_source *source, const kd_ruler_options *options, const int64_t *place, int64_t tasks);
void kd_ruler_source_close(kd_ruler_source *source);

typedef struct kd_ruler_sample {
    int64_t line;                      /* counted from 0: its place in its file */
    char *input, *prefix;              /* the prompt is the one and then the other; prefix "" in files of 2024 */
    char **output;                     /* [outputs] */
    int64_t outputs;
    int64_t length;                    /* tokens of the prompt without special ones, and those to generate; -1: unknown */
    int64_t position;                  /* tokens before the first output in input; -1: not counted */
} kd_ruler_sample;
void kd_ruler_sample_close(kd_ruler_sample *sample);

/* A thread's own memory. */
typedef struct kd_ruler_draft kd_ruler_draft;
kd_status kd_ruler_draft_new(kd_ruler_draft **out, const kd_ruler_source *source);
void kd_ruler_draft_free(kd_ruler_draft *draft);  /* NULL is allowed */

/* A task at a length. */
typedef struct kd_ruler_maker {
    const kd_ruler_source *source;
    const kd_ruler_task *task;
    int64_t length, generate;
    int64_t example;                   /* noise lines of variable tracking's example */
    int64_t guess;                     /* the size of sample 0's haystack, from which those of the others are sought */
    int64_t samples;                   /* how many there can be */
} kd_ruler_maker;

/* KD_ECONFIG naming task and length where not even the shortest prompt fits. */
kd_status kd_ruler_maker_open(kd_ruler_maker *maker, const kd_ruler_source *source, const kd_ruler_task *task, int64_t length,
                              kd_ruler_draft *draft);

/* Sample `line`: a function of source and maker, whoever makes it and in whatever order. It fills its length but for 1/1024, or one more
 * unit of haystack would be too much. Every output stands in the prompt where it belongs and nowhere else, in any case of letters.
 * positions: those of answers are counted. */
kd_status kd_ruler_make(kd_ruler_sample *sample, const kd_ruler_maker *maker, kd_ruler_draft *draft, int64_t line, bool positions);

/* How often the words of the coded text come, of n: floor(n k^-alpha / zeta(alpha)), k = 1 .. vocabulary. */
void kd_ruler_coded_counts(int64_t *count, int64_t n, int64_t vocabulary, double alpha);

#endif

/* A prompt that is being made: what the files ruler_niah.c, ruler_chains.c, ruler_counts.c and ruler_qa.c fill for ruler_make.c. */
#ifndef KD_RULER_DRAFT_H
#define KD_RULER_DRAFT_H

#include "ruler_make.h"

/* Must stand in the context so often, in any case of letters; alone: and nowhere else in the prompt. */
typedef struct kd_ruler_expected { char text[KD_RULER_KEY]; int64_t count; bool alone; } kd_ruler_expected;

enum { KD_RULER_EXPECTED = 16, KD_RULER_DRAFT_TEXTS = 8 + KD_RULER_NEEDLES_MOST };

struct kd_ruler_draft {
    kd_encoder *encoder;
    kd_ids ids;
    union {
        struct {
            kd_text context;  /* the haystack and what is hidden in it */
            kd_text query;
            kd_text before;   /* an example that stands before all, */
            kd_text within;   /* or behind the head of the chat's wrapper */
            kd_text output;   /* each with its NUL */
            kd_text whole;    /* the prompt; its first `split` bytes are its input */
            kd_text scratch, small, needle[KD_RULER_NEEDLES_MOST];
        };
        kd_text text[KD_RULER_DRAFT_TEXTS];
    };
    kd_ruler_expected expected[KD_RULER_EXPECTED];
    int64_t expecteds, outputs, split;
    int64_t *place, place_room;
    char (*code)[8];
    int64_t code_room;
};

/* What a sample's random numbers are drawn for: streams of their own. */
typedef enum kd_ruler_purpose {
    KD_RULER_FOR_KEYS, KD_RULER_FOR_VALUES, KD_RULER_FOR_PLACES, KD_RULER_FOR_QUERIES, KD_RULER_FOR_EXAMPLE,
} kd_ruler_purpose;

/* A sample that is being made: which, and which attempt at it. */
typedef struct kd_ruler_job { const kd_ruler_maker *maker; int64_t line, attempt; } kd_ruler_job;

uint64_t kd_ruler_stream(const kd_ruler_job *job, kd_ruler_purpose purpose);
void kd_ruler_output(kd_ruler_draft *draft, const char *text);
void kd_ruler_expect(kd_ruler_draft *draft, const char *text, int64_t count, bool alone);
/* count different places of 0 .. n-1, ascending. */
void kd_ruler_places(int64_t *place, const kd_ruler_job *job, int64_t n, int64_t count);
/* The task's template with this context and query, appended; prefix: that of its answer. */
kd_status kd_ruler_fill_task(kd_text *out, const kd_ruler_maker *maker, const kd_text *context, const kd_text *query, bool prefix);

/* Each fills context, query, outputs, expectations and examples, with so much haystack. */
typedef kd_status kd_ruler_writer(kd_ruler_draft *draft, const kd_ruler_job *job, int64_t size);
kd_ruler_writer kd_ruler_write_niah, kd_ruler_write_chains, kd_ruler_write_common, kd_ruler_write_coded, kd_ruler_write_qa;

/* The example of variable tracking, with so many lines of noise, into draft->within. */
kd_status kd_ruler_chains_example(kd_ruler_draft *draft, const kd_ruler_job *job, int64_t lines);
int64_t kd_ruler_vocabulary(const kd_ruler_maker *maker);  /* of the coded text */
int64_t kd_ruler_words_of(const kd_ruler_maker *maker);    /* from which those to be counted are chosen */
/* The sizes that are possible. */
void kd_ruler_sizes(int64_t *least, int64_t *most, const kd_ruler_maker *maker, int64_t line);

#endif

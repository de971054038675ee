/* Perplexity of texts that are longer than what a model sees. Sources: YaRN's eval/perplexity.py (sliding windows),
 * lm-evaluation-harness (rolling windows, loglikelihood_rolling). */
#ifndef KD_PERPLEXITY_H
#define KD_PERPLEXITY_H

#include "excerpts.h"
#include "results.h"
#include "subject.h"

/* A text as tokens, without what leads it. */
typedef struct kd_ppl_text {
    int32_t *id;
    int64_t count;
    uint8_t *silent;         /* [count] 1: seen and not scored; NULL: all are scored */
    int64_t words, bytes;    /* of the text; 0: not known */
} kd_ppl_text;

typedef struct kd_ppl_texts { kd_ppl_text *text; int64_t count, room; } kd_ppl_texts;
/* The next, zeroed; NULL after KD_ENOMEM. */
kd_ppl_text *kd_ppl_texts_next(kd_ppl_texts *texts);
void kd_ppl_texts_free(kd_ppl_texts *texts);
/* Pieces between runs of white space, as re.split counts them: one more than there are runs. */
int64_t kd_ppl_words(const char *text, int64_t size);

typedef enum kd_ppl_way {
    KD_PPL_SLIDING,  /* windows of `length` tokens, what leads them included, at every `stride` */
    KD_PPL_ROLLING,  /* windows that follow each other, each led by the token before it, the first by BOS or EOS */
    KD_PPL_WHOLE,    /* each text is one window */
} kd_ppl_way;

typedef struct kd_ppl_options {
    kd_ppl_way way;
    int64_t length[64], lengths;  /* ascending; one with KD_PPL_WHOLE */
    int64_t stride;
    bool truncate;                /* one window a text */
} kd_ppl_options;

/* The windows of a text at length k. lead: tokens that stand before each; anchor: they also do so where windows roll. Free with free(). */
kd_status kd_ppl_windows(kd_excerpt **out, int64_t *count, const kd_ppl_options *options, int64_t k, int64_t tokens, int64_t lead,
                         bool anchor);

/* Asks what has no answer yet: {"key": "LENGTH/TEXT", "windows": [[nats, tokens], ...], "positions": [[nats, tokens], ...]}: sums over
 * scored tokens, by how many are seen before a token. */
kd_status kd_ppl_ask(kd_results *results, kd_subject *subject, const kd_ppl_texts *texts, const kd_ppl_options *options);

/* Buckets of positions: below 16, below 32, below 64 .. */
enum { KD_PPL_BUCKETS = 40 };
int64_t kd_ppl_bucket(int64_t before);
int64_t kd_ppl_bucket_from(int64_t bucket);

typedef struct kd_ppl_sum { double nats; int64_t tokens; } kd_ppl_sum;
typedef struct kd_ppl_score {
    int64_t length, texts, windows, words, bytes;
    kd_ppl_sum all, bucket[KD_PPL_BUCKETS];
    double window_means;     /* sum over windows of each one's mean */
} kd_ppl_score;
/* Of all answers at length k; KD_EFORMAT for answers that are none. */
kd_status kd_ppl_score_of(kd_ppl_score *score, const kd_results *results, const kd_ppl_texts *texts, const kd_ppl_options *options,
                          int64_t k);

/* Of one text's answer. */
kd_status kd_ppl_sum_of(kd_ppl_sum *sum, const kd_results *results, const kd_ppl_options *options, int64_t k, int64_t text);

double kd_ppl_tokens(const kd_ppl_score *score);    /* e to the mean over tokens */
double kd_ppl_by_windows(const kd_ppl_score *score);  /* e to the mean over windows of their means: YaRN's */
double kd_ppl_of(double nats, int64_t count);       /* e to nats over count; NAN for none */
double kd_ppl_bits(double nats, int64_t bytes);

#endif

/* What a model keeps of its short-context ability while it is trained further: the same items put to the model before and after, and the
 * change with the error of the paired difference, which is smaller than that of two scores by what both find equally hard. */
#ifndef KD_RETENTION_H
#define KD_RETENTION_H

#include "mmlu.h"
#include "perplexity.h"

typedef enum kd_retention_measure {
    KD_RETAIN_LOSS,        /* nats per token of documents' first tokens; more is worse */
    KD_RETAIN_HELLASWAG,   /* acc_norm in percent; less is worse */
    KD_RETAIN_MMLU,        /* acc of all questions in percent */
    KD_RETENTION_MEASURES
} kd_retention_measure;

typedef struct kd_retention_words { const char *key, *title, *score, *unit; bool more_is_worse; } kd_retention_words;
extern const kd_retention_words kd_retention_measures[KD_RETENTION_MEASURES];

/* The items; a measure without any is not asked. */
typedef struct kd_retention_items {
    kd_ppl_texts texts;
    int64_t length;        /* of documents' tokens, what leads them included */
    kd_choice_items hellaswag, mmlu;
} kd_retention_items;
void kd_retention_items_free(kd_retention_items *items);
int64_t kd_retention_count(const kd_retention_items *items, kd_retention_measure measure);

/* Documents are cut so that what leads one (at most a token) and it are `length` tokens, whether or not a model has something to lead it;
 * and the first token of a document, which a model that nothing leads cannot be asked for, is scored of none: every model is asked for the
 * same tokens. Appends a document's beginning; loss [count] 0: not scored, NULL: all are. Those of fewer than two tokens are left out. */
kd_status kd_retention_add_document(kd_retention_items *items, const int32_t *id, const uint8_t *loss, int64_t count);

/* Asks what has no answer yet, all in one folder: kd_ppl_ask's, kd_choice_ask's keys. */
kd_status kd_retention_ask(kd_results *results, kd_subject *subject, const kd_retention_items *items);

/* A model's answers by item: nats and tokens of a document, 100 or 0 for a question. */
typedef struct kd_retention_answers {
    double *value[KD_RETENTION_MEASURES], *size;
    int64_t cut;           /* questions that lost their beginning */
} kd_retention_answers;
/* Free with kd_retention_answers_free, also after a failure. */
kd_status kd_retention_read(kd_retention_answers *answers, const kd_results *results, const kd_retention_items *items);
void kd_retention_answers_free(kd_retention_answers *answers);

/* A model's score; or with `base` what changed since, its error that of the mean of differences item by item. Documents count by their
 * tokens (kd_mean_by_size), MMLU's questions by themselves with the pooled error over subjects. error NAN where items are too few for one:
 * one document or item, one question a subject. KD_ENOMEM. */
kd_status kd_retention_mean(kd_mean *out, kd_retention_measure measure, const kd_retention_answers *answers,
                            const kd_retention_answers *base, const kd_retention_items *items);

#endif

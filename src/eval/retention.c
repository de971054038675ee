#include "retention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const kd_retention_words kd_retention_measures[KD_RETENTION_MEASURES] = {
    {"loss", "Short-context loss", "loss", "nats per token", true},
    {"hellaswag", "HellaSwag", "acc_norm", "percent", false},
    {"mmlu", "MMLU", "acc", "percent", false},
};

/* ---- items ------------------------------------------------------------------------------------------------------------------ */

void kd_retention_items_free(kd_retention_items *items) {
    kd_ppl_texts_free(&items->texts);
    kd_choice_items_free(&items->hellaswag);
    kd_choice_items_free(&items->mmlu);
    *items = (kd_retention_items){.length = 0};
}

static const kd_choice_items *choices_of(const kd_retention_items *items, kd_retention_measure measure) {
    return measure == KD_RETAIN_HELLASWAG ? &items->hellaswag : &items->mmlu;
}

int64_t kd_retention_count(const kd_retention_items *items, kd_retention_measure measure) {
    return measure == KD_RETAIN_LOSS ? items->texts.count : choices_of(items, measure)->count;
}

kd_status kd_retention_add_document(kd_retention_items *items, const int32_t *id, const uint8_t *loss, int64_t count) {
    if (count > items->length - 1) count = items->length - 1;
    if (count < 2) return KD_OK;
    kd_ppl_text *text = kd_ppl_texts_next(&items->texts);
    if (!text) return kd_fail(KD_ENOMEM, "out of memory");
    text->count = count;
    KD_TRY(kd_new(&text->id, count, sizeof *text->id));
    KD_TRY(kd_new(&text->silent, count, 1));
    memcpy(text->id, id, (size_t)count * sizeof *id);
    for (int64_t i = 0; i < count; i++) text->silent[i] = i == 0 || (loss && !loss[i]);
    return KD_OK;
}

/* ---- answers ---------------------------------------------------------------------------------------------------------------- */

static kd_ppl_options windows_of(const kd_retention_items *items) {
    return (kd_ppl_options){.way = KD_PPL_SLIDING, .length = {items->length}, .lengths = 1, .stride = items->length, .truncate = true};
}

kd_status kd_retention_ask(kd_results *results, kd_subject *subject, const kd_retention_items *items) {
    const kd_ppl_options windows = windows_of(items);
    if (subject->lead.count > 1)
        return kd_fail(KD_ENOTSUP, "%s: %lld tokens lead a text, here it is one at most", subject->options.model,
                       (long long)subject->lead.count);
    if (items->texts.count) KD_TRY(kd_ppl_ask(results, subject, &items->texts, &windows));
    if (items->hellaswag.count) KD_TRY(kd_choice_ask(results, subject, &items->hellaswag));
    return items->mmlu.count ? kd_choice_ask(results, subject, &items->mmlu) : KD_OK;
}

void kd_retention_answers_free(kd_retention_answers *a) {
    for (int m = 0; m < KD_RETENTION_MEASURES; m++) free(a->value[m]);
    free(a->size);
    *a = (kd_retention_answers){.size = NULL};
}

static kd_status read_choices(kd_retention_answers *a, kd_retention_measure measure, const kd_results *results,
                              const kd_choice_items *items, kd_choice_norm norm) {
    double **out = &a->value[measure];
    kd_choice_scores scores;
    if (!items->count) return KD_OK;
    KD_TRY(kd_choice_score(&scores, results, items));
    a->cut += scores.cut;
    *out = scores.right[norm];
    scores.right[norm] = NULL;
    kd_choice_scores_free(&scores);
    for (int64_t i = 0; i < items->count; i++) (*out)[i] *= 100;
    return KD_OK;
}

kd_status kd_retention_read(kd_retention_answers *a, const kd_results *results, const kd_retention_items *items) {
    const kd_ppl_options windows = windows_of(items);
    *a = (kd_retention_answers){.size = NULL};
    KD_TRY(kd_new(&a->size, items->texts.count + 1, sizeof *a->size));
    KD_TRY(kd_new(&a->value[KD_RETAIN_LOSS], items->texts.count + 1, sizeof *a->size));
    for (int64_t i = 0; i < items->texts.count; i++) {
        kd_ppl_sum sum;
        KD_TRY(kd_ppl_sum_of(&sum, results, &windows, 0, i));
        a->value[KD_RETAIN_LOSS][i] = sum.nats;
        a->size[i] = (double)sum.tokens;
    }
    KD_TRY(read_choices(a, KD_RETAIN_HELLASWAG, results, &items->hellaswag, KD_CHOICE_CHARACTERS));
    return read_choices(a, KD_RETAIN_MMLU, results, &items->mmlu, KD_CHOICE_SUM);
}

/* ---- scores ----------------------------------------------------------------------------------------------------------------- */

static kd_mean mean_of(kd_retention_measure measure, const double *value, const double *size, const kd_retention_items *items) {
    int64_t count = kd_retention_count(items, measure), strata = 1;
    kd_mean mean;
    if (measure == KD_RETAIN_LOSS) mean = kd_mean_by_size(value, size, count);
    else if (measure == KD_RETAIN_HELLASWAG) mean = kd_mean_of(value, count);
    else {
        kd_mmlu_scores scores = kd_mmlu_score(&items->mmlu, value);
        mean = scores.all;
        strata = scores.subjects;
    }
    if (count <= strata) mean.error = NAN;
    return mean;
}

kd_status kd_retention_mean(kd_mean *out, kd_retention_measure measure, const kd_retention_answers *a, const kd_retention_answers *base,
                            const kd_retention_items *items) {
    int64_t count = kd_retention_count(items, measure);
    double *difference;
    if (!base) {
        *out = mean_of(measure, a->value[measure], a->size, items);
        return KD_OK;
    }
    KD_TRY(kd_new(&difference, count + 1, sizeof *difference));
    for (int64_t i = 0; i < count; i++) difference[i] = a->value[measure][i] - base->value[measure][i];
    *out = mean_of(measure, difference, a->size, items);
    free(difference);
    return KD_OK;
}

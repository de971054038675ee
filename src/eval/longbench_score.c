/* LongBench's scores: eval.py's scorer and scorer_e. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "averages.h"
#include "longbench.h"
#include "results.h"
#include "scores.h"

/* Digits behind the first "段落" that has some: of Chinese retrieval the truth, as "Paragraph N" is of English. */
static kd_status score_retrieval_zh(double *score, const char *answer, const char *truth) {
    static const char word[] = "\u6bb5\u843d";
    char digits[32] = "";
    for (const char *at = truth; (at = strstr(at, word)) && !*digits; at += sizeof word - 1) {
        size_t size = strspn(at + sizeof word - 1, "0123456789");
        snprintf(digits, sizeof digits, "%.*s", (int)(size < 31 ? size : 31), at + sizeof word - 1);
    }
    return kd_score_count(score, answer, digits);
}

static kd_status score_pair(double *score, kd_longbench_metric metric, const char *answer, const char *truth, const char *const *classes,
                            int64_t count) {
    switch (metric) {
        case KD_LB_F1: return kd_score_f1(score, answer, truth);
        case KD_LB_ROUGE_L: return kd_score_rouge_l(score, answer, truth);
        case KD_LB_CLASSIFICATION: return kd_score_classification(score, answer, truth, classes, count);
        case KD_LB_COUNT: return kd_score_count(score, answer, truth);
        case KD_LB_RETRIEVAL: return kd_score_retrieval(score, answer, truth);
        case KD_LB_RETRIEVAL_ZH: return score_retrieval_zh(score, answer, truth);
        case KD_LB_CODE_SIM: return kd_score_code(score, answer, truth);
        case KD_LB_JIEBA: break;
    }
    return kd_fail(KD_ENOTSUP, "scores of Chinese words are not supported");
}

/* The first line, line breaks before it left out. On the heap. */
static char *first_line(const char *pred) {
    pred += strspn(pred, "\n");
    return strndup(pred, strcspn(pred, "\n"));
}

/* The best over the answers. */
static kd_status score_sample(double *score, const kd_longbench_task *task, const kd_prediction *p, const char *const *classes,
                              int64_t count) {
    char *line = task->first_line ? first_line(p->pred) : NULL;
    const char *pred = task->first_line ? line : p->pred;
    kd_status status = pred ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    *score = 0;
    for (size_t i = 0; i < json_array_size(p->answers) && !status; i++) {
        double own = 0;
        status = score_pair(&own, task->metric, pred, json_string_value(json_array_get(p->answers, i)), classes, count);
        if (own > *score) *score = own;
    }
    free(line);
    return status;
}

static int bucket_of(int64_t length) { return length < 4000 ? 0 : length < 8000 ? 1 : 2; }

static double percent(double sum, int64_t count) { return count ? kd_round_to(100 * (sum / (double)count), 2) : NAN; }

kd_status kd_longbench_score_of(kd_longbench_score *s, const kd_longbench_task *task, const kd_prediction *p, int64_t count) {
    const json_t *list = count ? p[count - 1].classes : NULL;
    int64_t classes = (int64_t)json_array_size(list);
    const char **name;
    double sum = 0, sums[KD_LB_BUCKETS] = {0};
    kd_status status = KD_OK;
    *s = (kd_longbench_score){.count = count};
    KD_TRY(kd_new(&name, classes, sizeof *name));
    for (int64_t i = 0; i < classes; i++) name[i] = json_string_value(json_array_get(list, (size_t)i));
    for (int64_t i = 0; i < count; i++) {
        double own;
        int bucket = bucket_of(p[i].length);
        status = score_sample(&own, task, &p[i], name, classes);
        if (status) KD_GO(kd_fail_prefix(status, "%s/%lld", task->name, (long long)i));
        sum += own;
        sums[bucket] += own;
        s->counts[bucket]++;
    }
    s->score = percent(sum, count);
    for (int b = 0; b < KD_LB_BUCKETS; b++) s->bucket[b] = percent(sums[b], s->counts[b]);
done:
    free(name);
    return status;
}

/* ---- files of predictions --------------------------------------------------------------------------------------------------- */

static kd_status read_prediction(kd_prediction *p, const json_t *row, const char *place) {
    *p = (kd_prediction){.classes = json_object_get(row, "all_classes")};
    KD_TRY(kd_json_text(&p->pred, row, "pred", place));
    KD_TRY(kd_json_texts(&p->answers, row, "answers", 0, place));
    KD_TRY(kd_json_int(&p->length, row, "length", place));
    if (!p->classes || json_is_null(p->classes)) {
        p->classes = NULL;
        return KD_OK;
    }
    return kd_json_texts(&p->classes, row, "all_classes", 0, place);
}

kd_status kd_predictions_open(kd_predictions *p, const char *path) {
    kd_json_lines lines;
    json_t *row;
    kd_status status = KD_OK;
    *p = (kd_predictions){.rows = json_array()};
    KD_TRY(kd_json_lines_open(&lines, path));
    p->hash = lines.hash;
    for (;;) {
        KD_GO(kd_json_lines_next(&row, &lines));
        if (!row) break;
        if (json_array_append_new(p->rows, row)) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
        KD_GO(kd_grow(&p->prediction, &p->room, p->count + 1, sizeof *p->prediction));
        KD_GO(read_prediction(&p->prediction[p->count++], row, lines.place));
    }
done:
    kd_json_lines_close(&lines);
    if (status) kd_predictions_close(p);
    return status;
}

void kd_predictions_close(kd_predictions *p) {
    free(p->prediction);
    json_decref(p->rows);
    *p = (kd_predictions){0};
}

kd_status kd_prediction_print(kd_text *text, const kd_prediction *p) {
    json_t *row = json_pack("{s:o, s:O, s:o, s:I}", "pred", kd_json_of_text(p->pred, (int64_t)strlen(p->pred)), "answers", p->answers,
                            "all_classes",
                            p->classes ? json_incref((json_t *)p->classes) : json_null(), "length", (json_int_t)p->length);
    char *line = NULL;
    kd_status status = row ? kd_json_print(&line, row, 0, "predictions") : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) kd_text_print(text, "%s\n", line);
    free(line);
    json_decref(row);
    return status ? status : kd_text_status(text);
}

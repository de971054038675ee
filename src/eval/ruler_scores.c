/* What answers to RULER's tasks are worth. */
#include <math.h>
#include <stdlib.h>

#include "ruler_grid.h"

void kd_ruler_scores_close(kd_ruler_scores *s) {
    free(s->cell);
    *s = (kd_ruler_scores){0};
}

static kd_status score_cell(kd_ruler_scored *out, const kd_ruler_cell *c, const kd_results *results, double *item) {
    *out = (kd_ruler_scored){0};
    for (int64_t i = 0; i < c->samples; i++) {
        char key[96];
        bool null;
        snprintf(key, sizeof key, "%lld/%s/%lld", (long long)c->length, c->task->name, (long long)i);
        const json_t *row = kd_results_find(results, key), *outputs = json_object_get(row, "outputs");
        const char *pred = json_string_value(json_object_get(row, "pred"));
        if (!pred || !json_is_array(outputs)) return kd_fail(KD_EFORMAT, "%s: its answer has no \"pred\" or no \"outputs\"", key);
        KD_TRY(kd_ruler_score(&item[i], &null, c->task, pred, outputs));
        out->nulls += null;
    }
    kd_mean mean = kd_mean_of(item, c->samples);
    out->score = kd_round_to(mean.mean * 100, 2);
    out->error = mean.error * 100;
    return KD_OK;
}

/* Over the tasks of each length, and then over lengths. Tasks are different samples: their errors do not depend on each other. */
static void average(kd_ruler_scores *s, const kd_ruler_grid *g, bool errors) {
    for (int64_t l = 0; l < g->lengths; l++) {
        double sum = 0, squares = 0;
        for (int64_t t = 0; t < g->tasks; t++) {
            const kd_ruler_scored *c = &s->cell[l * g->tasks + t];
            sum += c->score;
            squares += c->error * c->error;
        }
        s->mean[l] = sum / (double)g->tasks;
        if (errors) s->error[l] = sqrt(squares) / (double)g->tasks;
    }
    s->average = kd_ruler_average_of(s->mean, g->length, g->lengths);
}

kd_status kd_ruler_scores_open(kd_ruler_scores *s, const kd_ruler_grid *g, const kd_results *results) {
    double *item = NULL;
    int64_t most = 1;
    kd_status status;
    *s = (kd_ruler_scores){0};
    for (int64_t i = 0; i < g->lengths * g->tasks; i++)
        if (g->cell[i].samples > most) most = g->cell[i].samples;
    KD_GO(kd_new(&item, most, sizeof *item));
    KD_GO(kd_new(&s->cell, g->lengths * g->tasks, sizeof *s->cell));
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) KD_GO(score_cell(&s->cell[i], &g->cell[i], results, item));
    average(s, g, true);
done:
    free(item);
    if (status) kd_ruler_scores_close(s);
    return status;
}

kd_status kd_ruler_scores_mean(kd_ruler_scores *out, const kd_ruler_grid *g, const kd_ruler_scores *s, int64_t count) {
    double *item = NULL;
    kd_status status;
    *out = (kd_ruler_scores){0};
    KD_GO(kd_new(&item, count, sizeof *item));
    KD_GO(kd_new(&out->cell, g->lengths * g->tasks, sizeof *out->cell));
    for (int64_t i = 0; i < g->lengths * g->tasks; i++) {
        for (int64_t k = 0; k < count; k++) {
            item[k] = s[k].cell[i].score;
            out->cell[i].nulls += s[k].cell[i].nulls;
        }
        kd_mean mean = kd_mean_of(item, count);
        out->cell[i].score = mean.mean;
        out->cell[i].error = mean.error;
    }
    average(out, g, false);  /* checkpoints answer the same samples: the error of their mean is seen in their means */
    for (int64_t l = 0; l < g->lengths; l++) {
        for (int64_t k = 0; k < count; k++) item[k] = s[k].mean[l];
        out->error[l] = kd_mean_of(item, count).error;
    }
done:
    free(item);
    if (status) kd_ruler_scores_close(out);
    return status;
}

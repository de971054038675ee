/* RULER over the checkpoints of a run: the paper's scores are means over its last five exports, and its figure 4 sets RULER beside
 * perplexity. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "eval_ruler.h"
#include "train/history.h"

/* ---- perplexity -------------------------------------------------------------------------------------------------------------- */

typedef struct curve { double *x, *y; int64_t n; } curve;

static void curve_free(curve *c) {
    free(c->x);
    free(c->y);
}

static kd_status curve_new(curve *c, int64_t room) {
    KD_TRY(kd_new(&c->x, room + 1, sizeof *c->x));
    return kd_new(&c->y, room + 1, sizeof *c->y);
}

/* Of all validations, and of those at the steps. A run without metrics is none. */
static kd_status read_perplexity(curve *c, const char *run, kd_run_step *step, int64_t count) {
    kd_history h;
    kd_status status = kd_history_open(&h, run);
    if (status == KD_ENOMEM) return status;
    if (status) {
        kd_warn("no perplexity: %s", kd_message());
        return KD_OK;
    }
    status = curve_new(c, h.valids);
    for (int64_t i = 0; i < h.valids && !status; i++) {
        c->x[c->n] = h.valid[i].step;
        c->y[c->n++] = exp(h.valid[i].loss);
        for (int64_t k = 0; k < count; k++)
            if ((double)step[k].step == h.valid[i].step) step[k].perplexity = exp(h.valid[i].loss);
    }
    kd_history_close(&h);
    return status;
}

/* ---- all of them ------------------------------------------------------------------------------------------------------------- */

static kd_status settings_of(json_t **out, const kd_ruler_asked *a, const kd_ruler_session *s) {
    return kd_run_settings(out, "ruler", a->checkpoints, a->last, &s->subject, kd_ruler_settings(a, &s->opened));
}

/* The average over training and, of several lengths, the mean of each. The series borrow from c. */
static kd_status draw_steps(kd_series *series, int64_t *drawn, curve *c, const kd_ruler_tables *tables, const kd_ruler_grid *g,
                            const kd_run_step *step, const kd_ruler_scores *scores, int64_t count) {
    *drawn = g->lengths > 1 ? g->lengths + 1 : 1;
    KD_TRY(curve_new(c, *drawn * count));
    for (int64_t s = 0; s < *drawn; s++) {
        double *x = c->x + s * count, *y = c->y + s * count;
        const char *name = s ? tables->length_name[s - 1] : g->lengths > 1 ? "average" : "RULER";
        series[s] = (kd_series){name, x, y, count, KD_SERIES_POINTS, (int)s};
        for (int64_t i = 0; i < count; i++) {
            x[i] = (double)step[i].step;
            y[i] = s ? scores[i].mean[s - 1] : scores[i].average.mean;
        }
    }
    return KD_OK;
}

static kd_status tell(const kd_ruler_asked *a, kd_ruler_session *s, const kd_run_step *step, const kd_ruler_scores *scores, int64_t count,
                      const curve *perplexity, double seconds) {
    kd_ruler_tables tables = {0};
    kd_ruler_scores mean = {0};
    kd_results *results = NULL;
    json_t *settings = NULL;
    kd_series by_length[KD_RULER_LENGTHS + 1];
    int64_t drawn;
    curve ruler = {0};
    const kd_ruler_grid *g = &s->opened.grid;
    char about[240];
    kd_status status;
    KD_GO(kd_ruler_scores_mean(&mean, g, scores, count));
    KD_GO(kd_ruler_tables_open(&tables, g, &mean));
    KD_GO(kd_ruler_tables_steps(&tables, g, step, scores, count));
    KD_GO(draw_steps(by_length, &drawn, &ruler, &tables, g, step, scores, count));
    /* Both over the same steps. Perplexity falls by powers of ten where a run begins with random weights. */
    double first = (double)step[0].step, last = (double)step[count - 1].step;
    if (perplexity->n) {
        first = fmin(first, perplexity->x[0]);
        last = fmax(last, perplexity->x[perplexity->n - 1]);
    }
    const kd_axis steps = {.label = "step", .whole = true, .min = first, .max = last};
    const kd_series losses = {"perplexity", perplexity->x, perplexity->y, perplexity->n, KD_SERIES_POINTS, (int)drawn};
    const kd_chart chart[] = {{"RULER over training", steps, {.label = "score, %"}, by_length, drawn},
                              {"Perplexity of validation over training", steps, {.label = "perplexity", .scale = KD_LOG_SCALE}, &losses, 1},
                              tables.chart};
    snprintf(about, sizeof about, "Means over %lld checkpoints of %.80s, steps %lld to %lld; errors are those of the mean over "
                                  "checkpoints.", (long long)count, kd_name_of_path(a->checkpoints), (long long)step[0].step,
             (long long)step[count - 1].step);
    KD_GO(settings_of(&settings, a, s));
    KD_GO(kd_results_open(&results, a->words.out, settings));
    const kd_outcome outcome = {"ruler", "RULER over checkpoints", about, tables.scores, tables.shown, tables.count, chart,
                                g->lengths > 1 ? 3 : 2, NULL, 0, seconds};
    status = kd_eval_tell(results, &outcome, a->words.json);
done:
    kd_results_close(results);
    json_decref(settings);
    curve_free(&ruler);
    kd_ruler_scores_close(&mean);
    kd_ruler_tables_close(&tables);
    return status;
}

static kd_status ask_one(const kd_ruler_asked *a, const kd_subject_options *options, const kd_run_step *step, kd_ruler_session *session,
                         kd_ruler_scores *scores) {
    kd_subject_options o = *options;
    kd_text folder = {0};
    o.model = step->folder;
    if (a->words.out) kd_text_print(&folder, "%s/step-%lld", a->words.out, (long long)step->step);
    kd_status status = kd_text_status(&folder);
    if (!status) status = kd_ruler_session_run(session, a, &o, folder.data);
    kd_text_free(&folder);
    KD_TRY(status);
    KD_TRY(kd_ruler_scores_open(scores, &session->opened.grid, session->results));
    return kd_ruler_session_tell(session, a, scores, true);
}

kd_status kd_ruler_checkpoints(const kd_ruler_asked *a, const kd_subject_options *options, kd_run_step *step, int64_t count) {
    kd_ruler_session session = {.opened.grid.open = -1};
    kd_ruler_scores *scores = NULL;
    curve perplexity = {0};
    double started = kd_now();
    kd_status status;
    KD_GO(read_perplexity(&perplexity, a->checkpoints, step, count));
    KD_GO(kd_new(&scores, count, sizeof *scores));
    for (int64_t i = 0; i < count; i++) {
        kd_info("step %lld, %lld of %lld", (long long)step[i].step, (long long)i + 1, (long long)count);
        kd_ruler_session_close(&session);
        KD_GO(ask_one(a, options, &step[i], &session, &scores[i]));
    }
    status = tell(a, &session, step, scores, count, &perplexity, kd_now() - started);
done:
    for (int64_t i = 0; scores && i < count; i++) kd_ruler_scores_close(&scores[i]);
    free(scores);
    curve_free(&perplexity);
    kd_ruler_session_close(&session);
    return status;
}

/* Validation: the same windows every time, in corpus order, by how much of its own text a token has seen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trainer.h"

enum { BUCKETS = 12 };

/* Bucket b holds depths below its end: 256, 512, 1K, ... the last without end. */
static int64_t bucket_end(int64_t b) { return b + 1 < BUCKETS ? (int64_t)256 << b : INT64_MAX; }

typedef struct tally { double loss[BUCKETS]; int64_t targets[BUCKETS]; } tally;

/* The window's mean loss. */
static double count_window(tally *sum, const kd_plan *plan, const double *losses) {
    double loss = 0;
    int64_t targets = 0;
    for (int64_t t = 0; t < plan->T; t++) {
        if (plan->target[t] < 0) continue;
        int64_t b = 0;
        while (plan->depth[t] >= bucket_end(b)) b++;
        sum->loss[b] += losses[t];
        sum->targets[b]++;
        loss += losses[t];
        targets++;
    }
    return targets ? loss / (double)targets : 0;
}

static kd_status validate_windows(tally *sum, json_t *by_window, kd_trainer *t, int64_t windows) {
    int64_t T = t->run->window.window;
    for (int64_t i = 0; i < windows; i++) {
        kd_plan plan;
        const kd_plan *one = &plan;
        KD_TRY(kd_windows_plan(&plan, &t->valid.windows, i, false));
        kd_status status = kd_model_forward(t->model, &one, 1, 0);
        if (!status) status = kd_model_loss(t->model);
        if (!status) status = t->ctx->device->get(t->ctx, t->losses, kd_model_losses(t->model), T * (int64_t)sizeof *t->losses);
        double mean = status ? 0 : count_window(sum, &plan, t->losses);
        if (!status && json_array_append_new(by_window, isfinite(mean) ? json_real(mean) : json_null()))
            status = kd_fail(KD_ENOMEM, "out of memory");
        kd_plan_free(&plan);
        if (status) return status;
    }
    return KD_OK;
}

kd_status kd_trainer_validate(kd_trainer *t) {
    int64_t windows = t->run->eval_windows < t->valid.windows.count ? t->run->eval_windows : t->valid.windows.count;
    if (windows == 0) return KD_OK;
    tally sum = {0};
    double began = kd_now(), loss = 0;
    int64_t targets = 0;
    json_t *by_window = json_array(), *by_position = json_array();
    kd_status status = validate_windows(&sum, by_window, t, windows);
    if (status) {
        json_decref(by_window);
        json_decref(by_position);
        return status;
    }
    bool whole = true;
    for (int64_t b = 0; b < BUCKETS; b++) {
        loss += sum.loss[b];
        targets += sum.targets[b];
        if (!sum.targets[b]) continue;
        json_t *bucket = json_pack("{s:I, s:f, s:I}", "from", (json_int_t)(b ? bucket_end(b - 1) : 0), "loss",
                                   sum.loss[b] / (double)sum.targets[b], "targets", (json_int_t)sum.targets[b]);
        whole &= !json_array_append_new(by_position, bucket);
    }
    loss = targets ? loss / (double)targets : 0;
    if (!whole || !isfinite(loss)) {
        json_decref(by_window);
        json_decref(by_position);
        return whole ? kd_fail(KD_ENUMERIC, "validation loss after step %lld is not finite", (long long)t->step)
                     : kd_fail(KD_ENOMEM, "out of memory");
    }
    json_t *row = json_pack("{s:s, s:I, s:f, s:I, s:I, s:f, s:o, s:o}", "event", "valid", "step", (json_int_t)t->step, "loss", loss,
                            "targets", (json_int_t)targets, "windows", (json_int_t)windows, "seconds", kd_now() - began,
                            "by_position", by_position, "by_window", by_window);
    if (kd_trainer_leads(t)) KD_TRY(kd_metrics_write(&t->metrics, row));
    else json_decref(row);
    kd_info("step %lld: validation loss %.4f over %lld targets", (long long)t->step, loss, (long long)targets);
    return KD_OK;
}

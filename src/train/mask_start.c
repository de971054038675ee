/* The check of the mask that every training begins with: attention of one head on the first window that this rank trains on, and no more
 * of the model, so that it takes a small part of a step. It runs before anything is written; weights, data and their order do not know
 * of it. */
#include <stdlib.h>

#include "mask_check.h"
#include "trainer.h"

/* The window as the data gives it, and as it is trained on. */
static kd_status open_window(kd_sight *sight, kd_plan *plan, const kd_trainer *t) {
    int64_t index = t->step * t->run->batch_windows + kd_model_window(t->model, 0);
    *sight = (kd_sight){0};
    *plan = (kd_plan){0};
    KD_TRY(kd_sight_open(sight, &t->train.windows, t->run->window.mask, index, true));
    KD_TRY(kd_windows_plan(plan, &t->train.windows, index, true));
    return kd_sight_matches(sight, plan);
}

static kd_status check(kd_mask_start *out, kd_trainer *t, const kd_sight *sight, const kd_plan *plan) {
    kd_mask_row row[KD_TOUCHES_START];
    kd_touch touch[KD_TOUCHES_START];
    kd_mask_attention attention;
    const kd_attn like = kd_model_attn(t->model);
    int64_t touches = kd_touches_start(touch, sight);
    kd_status status = kd_mask_attention_open(&attention, t->ctx, t->sequence, t->run->mode, plan, &like, kd_model_type(t->model));
    status = kd_trainer_agree(t, "memory for the mask's check", status);
    if (!status) status = kd_mask_check(row, &attention.subject, sight, touch, touches);
    kd_mask_attention_close(&attention);
    if (status) return status;
    *out = (kd_mask_start){.documents = sight->N, .touches = touches};
    for (int64_t i = 0; i < touches; i++) {
        out->touched += row[i].tokens;
        out->inside += row[i].output.inside + row[i].gradient.inside;
        out->outside_of += row[i].output.outside_of + row[i].gradient.outside_of;
    }
    return kd_mask_judge(row, touches, "the first window");
}

kd_status kd_trainer_check_mask(kd_trainer *t) {
    kd_sight sight;
    kd_plan plan;
    double began = kd_now();
    if (!t->run->check_mask) return KD_OK;
    kd_status status = open_window(&sight, &plan, t);
    if (status == KD_ENUMERIC) kd_fail_prefix(status, "the first window");
    status = kd_trainer_agree(t, "the first window", status);
    if (!status) status = kd_trainer_agree(t, "the mask's check", check(&t->mask, t, &sight, &plan));
    t->mask.seconds = kd_now() - began;
    kd_plan_free(&plan);
    kd_sight_free(&sight);
    if (status == KD_ENUMERIC) kd_fail_prefix(status, "check.mask");
    if (!status && kd_trainer_leads(t))
        kd_info("mask checked: %lld document%s, %lld tokens touched in %lld go%s, %lld outputs and gradients moved inside, 0 of %lld "
                "outside (%.2f s)",
                (long long)t->mask.documents, t->mask.documents == 1 ? "" : "s", (long long)t->mask.touched, (long long)t->mask.touches,
                t->mask.touches == 1 ? "" : "es", (long long)t->mask.inside, (long long)t->mask.outside_of, t->mask.seconds);
    return status;
}

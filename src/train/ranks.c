/* Memory and time of a rank. */
#include "ranks.h"

kd_ranks kd_ranks_of(const kd_run_file *run) {
    return (kd_ranks){run->sequence_ranks, run->data_ranks, run->zero, run->mode, run->recompute, run->leaves};
}

static bool power_of_two(int64_t n) { return n > 0 && !(n & (n - 1)); }

static int64_t windows_of(const kd_ranks *s, const kd_trainer *t) { return t->run->batch_windows / s->data; }

kd_status kd_ranks_check(const kd_ranks *s, const kd_trainer *t) {
    int64_t windows = t->run->batch_windows, P = s->sequence, T = t->run->window.window, H = t->config.H, G = t->config.G;
    if (!power_of_two(P) || !power_of_two(s->data)) return kd_fail(KD_EARG, "ranks are powers of two");
    if (windows % s->data || (s->data > 1 && s->zero < 2 && !power_of_two(windows / s->data)))
        return kd_fail(KD_EARG, "%lld windows a step are not shared by %lld: batch.windows", (long long)windows, (long long)s->data);
    if (s->leaves % P || s->leaves > T)
        return kd_fail(KD_EARG, "%lld leaves of a window of %lld tokens are not shared by %lld", (long long)s->leaves, (long long)T,
                       (long long)P);
    if (s->mode == KD_SEQUENCE_ULYSSES && H % P)
        return kd_fail(KD_EARG, "%lld heads are not shared by %lld ranks, allgather does it", (long long)H, (long long)P);
    if (s->mode == KD_SEQUENCE_ULYSSES && (P <= G ? G % P : P % G || !power_of_two(P / G) || !power_of_two(H / P)))
        return kd_fail(KD_EARG, "%lld key/value heads of %lld heads are not shared by %lld", (long long)G, (long long)H, (long long)P);
    return KD_OK;
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

int64_t kd_ranks_heads(const kd_ranks *s, const kd_config *c) {
    int64_t heads = c->H / (2 * s->sequence);
    return heads < 1 ? 1 : heads < c->G ? heads : c->G;
}

/* Of the run's first window; what the others need is not far. */
static kd_status scratch_of(kd_estimate *e, kd_model *model, const kd_trainer *t) {
    kd_plan plan;
    KD_TRY(kd_windows_plan(&plan, &t->train.windows, 0, true));
    kd_status status = kd_estimate_window(e, model, &plan);
    kd_plan_free(&plan);
    return status;
}

kd_status kd_ranks_memory(kd_estimate *e, const kd_trainer *t, const kd_ranks *s) {
    kd_model_options o = kd_trainer_model_options(t);
    kd_comm *sequence = NULL, *data = NULL, *world = NULL;
    kd_model *model = NULL;
    kd_status status;
    o.windows = windows_of(s, t);
    o.micro = t->run->micro < o.windows ? t->run->micro : o.windows;
    o.leaves = s->leaves, o.recompute = s->recompute, o.mode = s->mode, o.zero = s->zero;
    KD_GO(kd_comm_on_paper(&sequence, 0, s->sequence));
    KD_GO(kd_comm_on_paper(&data, 0, s->data));
    KD_GO(kd_comm_on_paper(&world, 0, s->sequence * s->data));
    o.sequence = sequence, o.data = data, o.world = world;
    KD_GO(kd_model_measure(&model, t->ctx, &t->config, &o));
    e->scratch = 0;
    e->plans = e->plans / t->run->batch_windows * o.windows;
    KD_GO(scratch_of(e, model, t));
    kd_estimate_model(e, model, t->run);
    kd_estimate_total(e);
done:
    kd_model_close(model);
    kd_comm_free(sequence);
    kd_comm_free(data);
    kd_comm_free(world);
    return status;
}

/* ---- time ---------------------------------------------------------------------------------------------------------- */

kd_seconds kd_ranks_seconds(const kd_estimate *e, const kd_trainer *t, const kd_ranks *s, const kd_speed *speed, const kd_sent *sent) {
    kd_speed shared = *speed;
    int64_t windows = t->run->batch_windows;
    kd_work work = kd_work_count(&t->config, e->tokens / windows, windows, t->run->micro, e->recompute, (double)e->parameters, 1);
    shared.devices = (double)(s->sequence * s->data);
    shared.link = 0;
    kd_seconds time = kd_speed_seconds(&shared, &work, &e->lengths, e->share);
    int64_t k = 0, moves = 0;
    while (k + 1 < KD_STRETCHES && INT64_C(1) << k < s->sequence) k++;
    if (s->mode == KD_SEQUENCE_ALLGATHER) time.attention *= e->worst[k];
    for (int use = 0; use < KD_SENT_USES; use++) moves += sent->moves[use];
    if (speed->inside > 0) time.sent += (double)kd_sent_bytes(sent, 0) / speed->inside;
    if (speed->between > 0) time.sent += (double)kd_sent_bytes(sent, 1) / speed->between;
    if (speed->inside > 0 || speed->between > 0) time.sent += (double)moves * speed->latency;
    time.all = time.products + time.attention + time.numbers + time.update + time.sent;
    return time;
}

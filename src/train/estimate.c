#include "estimate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/arena.h"
#include "base/file.h"
#include "dev/memory.h"

static int64_t plan_bytes(const kd_plan *plan) {
    return plan->T * 4 * (int64_t)sizeof(int32_t) + (plan->N + 1) * (int64_t)(sizeof(int64_t) + sizeof(int32_t));
}

kd_status kd_estimate_window(kd_estimate *e, kd_model *model, const kd_plan *plan) {
    int64_t scratch;
    KD_TRY(kd_model_scratch(&scratch, model, plan));
    if (scratch > e->scratch) e->scratch = scratch;
    return KD_OK;
}

/* Adds, for each k, the most pairs that one of 2^k ranks gets of a window, times 2^k. Blocks are dealt out evenly (src/par), so it is the
 * mean, unless a block has more. */
static kd_status add_worst(kd_estimate *e, const kd_plan *plan) {
    enum { FINEST = KD_DEALT << (KD_STRETCHES - 1) };
    double *pairs;
    KD_TRY(kd_new(&pairs, FINEST, sizeof *pairs));
    for (int64_t n = 0; n < plan->N; n++)
        for (int64_t t = plan->start[n]; t < plan->start[n + 1]; t++)
            pairs[t * FINEST / plan->T] += (double)(t - plan->start[n] + 1 + plan->anchors);
    double all = (double)kd_plan_pairs(plan);
    for (int k = KD_STRETCHES - 1; k >= 0; k--) {
        double ranks = (double)(INT64_C(1) << k), most = all / ranks;
        for (int64_t i = 0; i < KD_DEALT << k; i++) most = pairs[i] > most ? pairs[i] : most;
        e->worst[k] += most * ranks;
        for (int64_t i = 0; i < (KD_DEALT << k) / 2; i++) pairs[i] = pairs[2 * i] + pairs[2 * i + 1];
    }
    free(pairs);
    return KD_OK;
}

/* Adds up what one window has; its scratch counts as the most of any. */
static kd_status sample(kd_estimate *e, kd_model *model, const kd_plan *plan) {
    KD_TRY(kd_estimate_window(e, model, plan));
    KD_TRY(add_worst(e, plan));
    if (plan_bytes(plan) > e->plans) e->plans = plan_bytes(plan);
    e->documents += plan->N;
    e->pairs += (double)kd_plan_pairs(plan);
    kd_lengths_add_plan(&e->lengths, plan);
    for (int64_t t = 0; t < plan->T; t++) e->targets += plan->target[t] >= 0;
    e->sampled++;
    return KD_OK;
}

/* Sums over the sample become means of a step. */
static void finish(kd_estimate *e, const kd_trainer *t) {
    double T = (double)t->run->window.window, share = (double)t->run->batch_windows / (double)e->sampled;
    e->share = share;
    for (int k = 0; k < KD_STRETCHES; k++) e->worst[k] /= e->pairs;
    e->pairs *= share;
    e->targets *= share;
    e->documents = (int64_t)((double)e->documents * share + 0.5);
    e->plans *= kd_run_on_host(t->run) ? t->run->batch_windows : 0;
    e->tokens = t->run->batch_windows * t->run->window.window;
    e->full_pairs = (double)t->run->batch_windows * T * (T + 1) / 2;
    e->flops = kd_model_flops(&t->config, e->tokens, (int64_t)e->pairs);
}

/* The output folder, or the nearest one above it that is there. */
static int64_t disk_available(const char *output) {
    char *path = strdup(output);
    struct statvfs disk;
    int64_t free_bytes = -1;
    while (path && *path && statvfs(path, &disk)) {
        char *slash = strrchr(path, '/');
        if (!slash || slash == path) strcpy(path, slash ? "/" : ".");
        else *slash = 0;
    }
    if (path && *path && !statvfs(path, &disk)) free_bytes = (int64_t)disk.f_bavail * (int64_t)disk.f_frsize;
    free(path);
    return free_bytes;
}

/* Checkpoints hold weights and moments; a new one stands beside those that are kept until it is whole. Exports stay. */
static void measure_disk(kd_estimate *e, const kd_trainer *t) {
    const kd_run_file *run = t->run;
    e->checkpoint = 3 * e->parameters * (int64_t)sizeof(float);
    int64_t saves = run->save_every ? (run->steps + run->save_every - 1) / run->save_every : 1;
    int64_t most = run->save_keep + 1;
    int64_t exports = run->export_every ? (run->steps + run->export_every - 1) / run->export_every : 0;
    if (run->export_last && exports > run->export_last) exports = run->export_last;
    e->disk = (saves < most ? saves : most) * e->checkpoint + exports * e->parameters * kd_dtype_size(run->export_dtype);
    e->disk_available = disk_available(run->output);
}

void kd_estimate_model(kd_estimate *e, const kd_model *model, const kd_run_file *run) {
    kd_model_memory memory = kd_model_memory_use(model);
    e->weights = memory.weights;
    e->gradients = memory.gradients;
    e->activations = memory.activations;
    int64_t state = kd_optimizer_bytes(model, run->moments_coded);
    e->moments = run->offload_state ? 0 : state;
    e->files = memory.files + state - e->moments;
    e->recompute = kd_model_recompute(model);
}

void kd_estimate_total(kd_estimate *e) {
    e->memory = e->weights + e->gradients + e->activations + e->moments + e->scratch + e->plans + e->program;
    if (e->memory < e->reading) e->memory = e->reading;
}

kd_status kd_estimate_memory(kd_estimate *e, const kd_trainer *t, int64_t windows) {
    bool host = kd_run_on_host(t->run);
    int64_t total;
    *e = (kd_estimate){.program = host ? kd_memory_resident() : 0, .reading = host ? kd_memory_peak() : 0};
    KD_TRY(kd_device_memory(t->ctx, &e->available, &total));
    kd_model *model;
    kd_model_options options = kd_trainer_model_options(t);
    options.windows = t->run->batch_windows, options.micro = t->run->micro;
    options.sequence = options.data = options.world = NULL;
    KD_TRY(kd_model_measure(&model, t->ctx, &t->config, &options));
    int64_t all = t->run->steps * t->run->batch_windows;
    kd_status status = KD_OK;
    for (int64_t i = 0; i < windows && i < all && !status; i++) {
        kd_plan plan;
        KD_GO(kd_windows_plan(&plan, &t->train.windows, i, true));
        status = sample(e, model, &plan);
        kd_plan_free(&plan);
    }
    if (status) goto done;
    finish(e, t);
    e->parameters = kd_model_layout(model)->count;
    kd_estimate_model(e, model, t->run);
    kd_estimate_total(e);
    measure_disk(e, t);
done:
    kd_model_close(model);
    return status;
}

kd_seconds kd_estimate_seconds(const kd_estimate *e, const kd_trainer *t, const kd_speed *speed) {
    int64_t windows = t->run->batch_windows;
    kd_work work = kd_work_count(&t->config, e->tokens / windows, windows, t->run->micro, e->recompute, (double)e->parameters, speed->devices);
    return kd_speed_seconds(speed, &work, &e->lengths, e->share);
}

kd_status kd_estimate_fits(const kd_estimate *e) {
    const double gib = 1 << 30;
    if (e->available && e->memory - e->program > e->available)
        return kd_fail(KD_ENOMEM, "it will not fit: %.2f GiB of memory are needed, %.2f GiB can be had; a shorter window, "
                       "batch.micro: 1 and recompute: layer need less", (double)e->memory / gib,
                       (double)(e->program + e->available) / gib);
    if (e->disk_available >= 0 && e->disk > e->disk_available)
        return kd_fail(KD_EIO, "it will not fit: checkpoints need %.2f GiB of disk, %.2f GiB are free; a smaller save.keep "
                       "needs less", (double)e->disk / gib, (double)e->disk_available / gib);
    return KD_OK;
}

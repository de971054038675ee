/* The loop. */
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"
#include "trainer.h"

enum { BAD_STEPS = 3 };  /* not finite so many times in a row: the run stops */

static double learning_rate(const kd_run_file *run, int64_t step) {
    if (step < run->warmup) return run->lr * (double)(step + 1) / (double)run->warmup;
    double span = (double)(run->steps - run->warmup), at = span > 0 ? (double)(step - run->warmup) / span : 0;
    if (run->schedule == KD_LINEAR) return run->lr * (1 - at);
    if (run->schedule == KD_COSINE) return run->lr * 0.5 * (1 + cos(3.14159265358979323846 * at));
    return run->lr;
}

static kd_status run_windows(kd_trainer *t, const kd_plan *plan, const kd_plan **view, float scale) {
    int64_t windows = t->run->batch_windows / t->run->data_ranks, micro = t->run->micro;
    for (int64_t first = 0; first < windows; first += micro) {
        int64_t count = windows - first < micro ? windows - first : micro;
        for (int64_t j = 0; j < count; j++) view[j] = &plan[first + j];
        KD_TRY(kd_model_forward(t->model, view, count, first));
        KD_TRY(kd_model_backward(t->model, scale));
    }
    return kd_model_gradient_finish(t->model, windows);
}

static kd_status run_step(kd_step_report *report, kd_trainer *t, kd_plan *plan, const kd_plan **view) {
    const kd_run_file *run = t->run;
    int64_t windows = run->batch_windows / run->data_ranks, first = t->step * run->batch_windows, built = 0;
    double began = kd_now();
    *report = (kd_step_report){.lr = learning_rate(run, t->step)};
    kd_trainer_count_moves(report, t, -1);
    t->clock.parts = 0;
    t->ctx->clock = &t->clock;
    kd_status status = KD_OK;
    for (; built < windows; built++) {
        status = kd_windows_plan(&plan[built], &t->train.windows, first + kd_model_window(t->model, built), true);
        if (status) break;
        report->pairs += kd_plan_pairs(&plan[built]);
        for (int64_t i = 0; i < plan[built].T; i++) report->targets += plan[built].target[i] >= 0;
    }
    KD_GO(kd_trainer_agree(t, "windows", status));
    int64_t sums[] = {report->pairs, report->targets};
    KD_GO(kd_comm_sum(t->data, "targets", sums, 2));
    report->pairs = sums[0], report->targets = sums[1];
    /* The loss is the mean over the targets of the whole step. Without any there is nothing to learn from. */
    float scale = report->targets ? (float)(1 / (double)report->targets) : 0;
    if (!report->targets) KD_GO(kd_fail(KD_ECONFIG, "step %lld: its windows have no targets", (long long)t->step + 1));
    KD_GO(kd_trainer_give_up(t, run_windows(t, plan, view, scale)));
    kd_adamw adamw = {report->lr, run->beta1, run->beta2, run->eps, run->weight_decay, run->clip, 0};
    KD_GO(kd_trainer_give_up(t, kd_optimizer_step(&t->optimizer, &report->sums, t->model, &adamw, run->batch_windows * run->window.window)));
    report->seconds = kd_now() - began;
    kd_trainer_count_moves(report, t, 1);
done:
    t->ctx->clock = NULL;
    for (int64_t i = 0; i < built; i++) kd_plan_free(&plan[i]);
    return status;
}

/* A step that must not be taken is counted; the weights are as they were. */
static kd_status judge(kd_trainer *t, const kd_step_report *r) {
    if (r->sums.finite) {
        t->bad_in_a_row = 0;
        return KD_OK;
    }
    t->skipped++;
    t->bad_in_a_row++;
    kd_warn("step %lld: loss %g, gradient norm %g: the step is not taken (%lld in a row)", (long long)t->step,
            r->sums.loss / (double)r->targets, r->sums.grad_norm, (long long)t->bad_in_a_row);
    if (t->bad_in_a_row < BAD_STEPS) return KD_OK;
    return kd_fail(KD_ENUMERIC, "step %lld: loss or gradient was not finite %d times in a row; the last good checkpoint is "
                   "in %s", (long long)t->step, BAD_STEPS, t->run->output);
}

/* Saves when the run file says so; a save that fails is fatal only at the end. */
static kd_status save(kd_trainer *t, bool must) {
    kd_status status = kd_trainer_save(t);
    if (!status || must) return status;
    kd_warn("step %lld could not be saved, going on: %s", (long long)t->step, kd_message());
    return KD_OK;
}

/* Counted from the last step, so that the last of all is among them: steps 2000, every 10, last 5 are 1960, 1970 ... 2000. */
static bool export_due(const kd_run_file *run, int64_t step) {
    int64_t left = run->steps - step;
    return run->export_every > 0 && left % run->export_every == 0 && (!run->export_last || left / run->export_every < run->export_last);
}

/* Before the step's checkpoint: a run that is killed between the two comes here again. What is lost is not made up for
 * later, so it is counted and said at the end. */
static void export(kd_trainer *t) {
    if (!kd_trainer_export(t)) return;
    if (t->lost_exports++ == 0) t->first_lost = t->step;
    kd_warn("step %lld could not be exported, going on: %s", (long long)t->step, kd_message());
}

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static void show(kd_progress *bar, const kd_trainer *t, const kd_step_report *r) {
    char note[96];
    double rate = (double)(t->run->batch_windows * t->run->window.window) / r->seconds;
    snprintf(note, sizeof note, "loss %.4f  %.0f tokens/s", r->sums.loss / (double)r->targets, rate);
    kd_progress_set(bar, t->step, note);
}

static kd_status validate(kd_trainer *t) { return kd_trainer_give_up(t, kd_trainer_validate(t)); }

/* Whether any rank is asked to stop. */
static kd_status asked_to_stop(bool *stop, const kd_trainer *t) {
    double asked = t->options->stop && *t->options->stop;
    KD_TRY(kd_comm_max(t->world, "the end of a step", &asked, 1));
    *stop = asked > 0;
    return KD_OK;
}

static kd_status loop(kd_trainer *t, kd_plan *plan, const kd_plan **view, kd_progress *bar) {
    const kd_run_file *run = t->run;
    bool leads = kd_trainer_leads(t);
    if (t->step == 0) KD_TRY(validate(t));
    while (t->step < run->steps) {
        kd_step_report report;
        KD_TRY(run_step(&report, t, plan, view));
        t->step++;
        KD_TRY(judge(t, &report));
        KD_TRY(kd_trainer_agree(t, "metrics", leads ? kd_trainer_write_step(t, &report) : KD_OK));
        if (leads && !t->options->quiet) show(bar, t, &report);
        bool last = t->step == run->steps, stop;
        KD_TRY(asked_to_stop(&stop, t));
        if (!stop && (last || due(t->step, run->eval_every))) KD_TRY(validate(t));
        if (export_due(run, t->step)) export(t);
        if (last || stop || due(t->step, run->save_every)) KD_TRY(save(t, last || stop));
        if (stop && !last) return kd_fail(KD_EAGAIN, "stopped after step %lld and saved: --resume goes on", (long long)t->step);
    }
    if (t->lost_exports)
        return kd_fail(KD_EIO, "all steps are done and saved; %lld exports could not be written, the first at step %lld",
                       (long long)t->lost_exports, (long long)t->first_lost);
    return KD_OK;
}

static void announce(const kd_trainer *t) {
    const kd_run_file *run = t->run;
    kd_model_memory memory = kd_model_memory_use(t->model);
    kd_info("%s, %.2fM parameters; window %lld, %lld windows a step; %lld documents, %lld tokens, %lld windows a pass",
            t->config.model_type, (double)kd_model_layout(t->model)->count * 1e-6, (long long)run->window.window,
            (long long)run->batch_windows, (long long)t->train.corpus.documents, (long long)t->train.corpus.tokens,
            (long long)t->train.windows.count);
    double mib = 1.0 / (1 << 20);
    const char *elsewhere = kd_run_on_host(run) ? "in a file" : "in the host's memory";
    char files[64] = "";
    if (memory.files) snprintf(files, sizeof files, " and %.1f %s", (double)memory.files * mib, elsewhere);
    kd_info("memory in MiB: weights %.1f, gradients %.1f, moments %.1f%s, activations %.1f%s (recompute: %s), scratch %.1f; "
            "%lld threads, %s", (double)memory.weights * mib, (double)memory.gradients * mib,
            (double)t->optimizer.arena.size * mib, run->offload_state ? kd_run_on_host(run) ? " in a file" : " in the host's memory" : "",
            (double)memory.activations * mib, files,
            kd_model_recompute(t->model) == KD_RECOMPUTE_NONE ? "none" : "layer", (double)memory.scratch * mib,
            (long long)kd_pool_threads(t->ctx->pool), kd_isa_name(t->ctx->isa));
    if (t->train.corpus.counts.empty) kd_warn("%lld documents had no token and were skipped", (long long)t->train.corpus.counts.empty);
    if (t->train.windows.dropped || t->train.windows.truncated)
        kd_info("each pass leaves out %lld tokens at the end (no whole window) and %lld of cut documents",
                (long long)t->train.windows.dropped, (long long)t->train.windows.truncated);
}

/* However the run ended, what it did can be looked at; why it ended stays the message. */
static void report(const kd_trainer *t, kd_status status) {
    char message[1024];
    if (!t->step || !kd_trainer_leads(t)) return;
    snprintf(message, sizeof message, "%s", kd_message());
    if (kd_report_write(t->run->output, NULL)) kd_warn("no report: %s", kd_message());
    else if (!status) kd_info("report: %s/report.html", t->run->output);
    kd_message_set(message);
}

kd_status kd_train(const kd_run_file *run, const kd_train_options *options) {
    kd_trainer t;
    KD_TRY(kd_trainer_open(&t, run, options));
    kd_plan *plan = NULL;
    const kd_plan **view = NULL;
    kd_progress bar = {0};
    kd_status status;
    status = kd_new(&plan, run->batch_windows, sizeof *plan);
    if (!status) status = kd_new(&view, run->micro, sizeof *view);
    KD_GO(kd_trainer_agree(&t, "memory for windows", status));
    bool leads = kd_trainer_leads(&t), shows = leads && !options->quiet;
    announce(&t);
    KD_GO(kd_trainer_agree(&t, "metrics", leads ? kd_trainer_write_start(&t) : KD_OK));
    if (leads) kd_trainer_draw_window(&t);
    if (t.step) kd_info("going on after step %lld", (long long)t.step);
    if (shows) kd_progress_open(&bar, run->steps);
    status = loop(&t, plan, view, &bar);
    if (shows) kd_progress_close(&bar);
    if (!status) kd_info("done: %s/step-%lld", run->output, (long long)t.step);
    report(&t, status);
done:
    if (status && kd_comm_broken(t.world)) kd_trainer_give_up(&t, status);
    free(view);
    free(plan);
    kd_trainer_close(&t);
    return status;
}

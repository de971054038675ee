/* Opening a run: configuration, data, model, and what is in the output folder already. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint.h"
#include "ranks.h"
#include "trainer.h"

static kd_status open_config(kd_trainer *t, const char *checkpoint) {
    const kd_run_file *run = t->run;
    if (checkpoint) return kd_config_open(&t->config, checkpoint);
    if (run->model_path) return kd_config_open(&t->config, run->model_path);
    char *text = NULL;
    int64_t size = 0;
    if (run->init_config) KD_TRY(kd_file_read(&text, &size, run->init_config, 16 << 20));
    else KD_TRY(kd_config_preset(&text, run->init_arch, run->init_preset, &t->tokenizer, t->tokenizer.vocabulary, run->window.window));
    if (!run->init_config) size = (int64_t)strlen(text);
    kd_status status = kd_config_parse(&t->config, text, size, run->init_config ? run->init_config : "model.init");
    free(text);
    return status;
}

static kd_status open_dataset(kd_dataset *dataset, const kd_trainer *t, bool valid) {
    kd_dataset_options options = kd_run_data(t->run, valid, false, &t->tokenizer, t->ctx->pool);
    if (t->run->pack && !kd_exists(t->run->pack))
        return kd_fail(KD_ECONFIG, "data.pack: %s is not there: kedge pack makes it", t->run->pack);
    kd_status status = kd_dataset_open(dataset, &options);
    return status ? kd_fail_prefix(status, t->run->pack ? "data.pack" : valid ? "data.valid" : "data.train") : KD_OK;
}

/* Ids of another tokenizer than the one a checkpoint was trained with mean other words. A file that is laid out otherwise
 * may still give the same ids, so what can be compared decides, and the rest is said. `bytes` is asked for by name. */
static kd_status check_models_tokenizer(const kd_trainer *t) {
    const kd_tokenizer *given = &t->tokenizer;
    const char *folder = t->run->model_path;
    kd_tokenizer own;
    bool has = false;
    if (folder) KD_TRY(kd_holds(&has, folder, "tokenizer.json"));
    if (!has || !given->model) return KD_OK;
    kd_status status = kd_tokenizer_open(&own, folder);
    if (status == KD_ENOMEM) return status;
    bool same = !status && own.hash == given->hash;
    if (status) kd_warn("model.path: its own tokenizer is not looked at: %s", kd_message());
    else if (own.vocabulary != given->vocabulary || own.bos != given->bos || own.eos != given->eos)
        status = kd_fail(KD_ECONFIG, "tokenizer %s has %lld ids, BOS %d, EOS %d; the model's own has %lld, %d, %d: name the model's", given->name,
                         (long long)given->vocabulary, (int)given->bos, (int)given->eos, (long long)own.vocabulary, (int)own.bos, (int)own.eos);
    else if (!same) kd_warn("%s: another file than %s/tokenizer.json: its ids may mean other tokens", given->name, folder);
    kd_tokenizer_close(&own);
    return status == KD_ECONFIG ? status : KD_OK;
}

static kd_status open_data(kd_trainer *t) {
    const kd_run_file *run = t->run;
    if (t->tokenizer.vocabulary > t->config.V)
        return kd_fail(KD_ECONFIG, "tokenizer %s has %lld ids, the model's vocabulary %lld: a model with a larger vocabulary is "
                       "needed (kedge init makes one)", run->tokenizer,
                       (long long)t->tokenizer.vocabulary, (long long)t->config.V);
    KD_TRY(check_models_tokenizer(t));
    KD_TRY(open_dataset(&t->train, t, false));
    if (run->valid.count == 0 || run->eval_windows == 0) return KD_OK;
    return open_dataset(&t->valid, t, true);
}

kd_status kd_trainer_prepare(kd_trainer *t, const char *checkpoint) {
    int64_t threads;
    KD_TRY(kd_trainer_threads(&threads, t));
    KD_TRY(kd_tokenizer_open(&t->tokenizer, t->run->tokenizer));
    KD_TRY(open_config(t, checkpoint));
    KD_TRY(kd_run_configure(&t->config, t->run, checkpoint != NULL));
    KD_TRY(kd_ctx_open_device(&t->ctx, t->run->device, threads));
    return open_data(t);
}

kd_model_options kd_trainer_model_options(const kd_trainer *t) {
    const kd_run_file *run = t->run;
    int64_t windows = run->batch_windows / run->data_ranks;
    return (kd_model_options){.window = run->window.window, .windows = windows, .micro = run->micro < windows ? run->micro : windows,
                              .positions = run->window.window + 1 + run->window.offset, .leaves = run->leaves, .frame = run->frame,
                              .recompute = run->recompute, .training = true,
                              .activations = run->activations, .weights = run->weights, .precision = run->precision, .sequence = t->sequence,
                              .mode = run->mode, .data = t->data, .world = t->world,
                              .zero = run->zero, .files = run->offload_activations,
                              .masters = run->offload_state && !strcmp(run->offload_state, KD_PLACE_HOST) ? KD_PLACE_HOST : NULL};
}

/* A guess of the system's is no reason to refuse, and a run that is killed loses little; but who waits for it should know. */
static kd_status warn_of_memory(const kd_trainer *t) {
    kd_estimate e;
    if (kd_comm_size(t->world) > 1) return KD_OK;  /* other ranks are on this machine, or not */
    KD_TRY(kd_estimate_memory(&e, t, 4));
    if (e.available && e.memory - e.program > e.available)
        kd_warn("this run needs %.2f GiB of memory, %.2f GiB are free: it may be killed; kedge plan says where they go",
                (double)e.memory / (1 << 30), (double)(e.program + e.available) / (1 << 30));
    return KD_OK;
}

/* What no operation of a GPU serves is a matter of these. */
static kd_status name_types(const kd_trainer *t, kd_status status) {
    const kd_run_file *run = t->run;
    if (status != KD_ENOTSUP || kd_run_on_host(run)) return status;
    return kd_fail_prefix(status, "device %s, dtype %s, precision %s", run->device, run->weights == KD_VIEW_BF16 ? "bf16" : "f32",
                          kd_precision_name(run->precision));
}

static kd_status open_model(kd_trainer *t) {
    const kd_run_file *run = t->run;
    kd_model_options options = kd_trainer_model_options(t);
    const kd_optimizer_options optimizer = {run->decay_all, run->moments_coded, run->offload_state};
    kd_ranks ranks = kd_ranks_of(run);
    if (kd_comm_size(t->world) > 1 && kd_ranks_check(&ranks, t)) return kd_fail_prefix(KD_ECONFIG, "parallel");
    KD_TRY(kd_model_open(&t->model, t->ctx, &t->config, &options));
    KD_TRY(kd_optimizer_open(&t->optimizer, t->ctx, t->model, &optimizer));
    return kd_new(&t->losses, run->window.window, sizeof *t->losses);
}

static kd_status write_run_file(const kd_trainer *t) {
    char *text, *path = kd_path_join(t->run->output, "run.yaml");
    kd_status status = path ? kd_run_file_print(&text, t->run) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) {
        status = kd_file_replace(path, text, (int64_t)strlen(text));
        free(text);
    }
    free(path);
    return status;
}

/* The output folder is this run's alone, and what an earlier run left there is not overwritten. */
static kd_status claim_output(kd_trainer *t, char **checkpoint, int64_t *step) {
    const char *output = t->run->output;
    char *lock = kd_path_join(output, ".lock"), *metrics = kd_path_join(output, "metrics.jsonl");
    kd_status status;
    if (!lock || !metrics) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_make_folders(output));
    status = kd_lock_open(&t->lock, lock);
    if (status) {
        t->lock = -1;
        status = kd_fail_prefix(status, "output %s is in use by another run", output);
        goto done;
    }
    KD_GO(kd_checkpoint_newest(checkpoint, step, output));
    if (!*checkpoint) *step = -1;
    if (!t->options->resume && (*checkpoint || kd_exists(metrics)))
        status = kd_fail(KD_ECONFIG, "output %s holds a run already: --resume goes on with it, or name another output", output);
    else if (t->options->resume && !*checkpoint)
        kd_warn("output %s has no checkpoint to resume: starting from the beginning", output);
done:
    free(metrics);
    free(lock);
    return status;
}

/* Rank 0 claims the output and finds the checkpoint; the others are told of which step it is. */
static kd_status find_checkpoint(kd_trainer *t, char **checkpoint) {
    int64_t step = -1;
    KD_TRY(kd_trainer_agree(t, "the output folder", kd_trainer_leads(t) ? claim_output(t, checkpoint, &step) : KD_OK));
    KD_TRY(kd_comm_broadcast(t->world, "the checkpoint to resume from", 0, &step, sizeof step));
    if (step < 0 || *checkpoint) return KD_OK;
    char name[32];
    snprintf(name, sizeof name, "step-%lld", (long long)step);
    *checkpoint = kd_path_join(t->run->output, name);
    return *checkpoint ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

static kd_status open_files(kd_trainer *t) {
    KD_TRY(kd_metrics_open(&t->metrics, t->run->output, t->step ? t->step + 1 : 0));
    return write_run_file(t);
}

kd_status kd_trainer_open(kd_trainer *t, const kd_run_file *run, const kd_train_options *options) {
    *t = (kd_trainer){.run = run, .options = options, .lock = -1, .metrics.fd = -1};
    char *checkpoint = NULL;
    bool existed = kd_exists(run->output), shared = false;
    kd_status status;
    KD_GO(kd_trainer_share(t));
    KD_GO(find_checkpoint(t, &checkpoint));
    shared = true;
    KD_GO(kd_trainer_prepare(t, checkpoint));
    KD_GO(name_types(t, warn_of_memory(t)));
    KD_GO(name_types(t, open_model(t)));
    const char *from = checkpoint ? checkpoint : run->model_path ? run->model_path : kd_is_folder(run->tokenizer) ? run->tokenizer : NULL;
    if (from && !(t->companions = strdup(from))) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    if (checkpoint) KD_GO(kd_trainer_load(t, checkpoint));
    else if (run->model_path) KD_GO(kd_model_load(t->model, run->model_path));
    else KD_GO(kd_model_init(t->model, &t->config, run->init_seed));
done:
    if (shared) status = kd_trainer_agree(t, "opening the run", status);
    if (!status) status = kd_trainer_check_mask(t);
    if (!status) status = kd_trainer_agree(t, "the run's files", kd_trainer_leads(t) ? open_files(t) : KD_OK);
    free(checkpoint);
    if (status) {
        if (t->world && kd_comm_broken(t->world)) kd_trainer_give_up(t, status);
        bool claimed = t->lock >= 0;
        kd_trainer_close(t);
        if (!existed && claimed) {  /* a run that never began leaves nothing behind */
            char *lock = kd_path_join(run->output, ".lock");
            if (lock && !unlink(lock)) rmdir(run->output);
            free(lock);
        }
    }
    return status;
}

void kd_trainer_close(kd_trainer *t) {
    if (t->metrics.fd >= 0) kd_metrics_close(&t->metrics);
    kd_optimizer_close(&t->optimizer);
    kd_model_close(t->model);
    kd_trainer_part(t);
    kd_dataset_close(&t->train);
    kd_dataset_close(&t->valid);
    kd_tokenizer_close(&t->tokenizer);
    kd_config_close(&t->config);
    kd_ctx_close(t->ctx);
    free(t->companions);
    free(t->losses);
    if (t->lock >= 0) kd_lock_close(t->lock);
    *t = (kd_trainer){.lock = -1, .metrics.fd = -1};
}

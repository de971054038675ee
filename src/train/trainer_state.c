/* What a checkpoint holds beside the weights: moments, counters, and what must be the same to go on bit for bit. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "trainer.h"

static const char *const moment_suffix[] = {".exp_avg", ".exp_avg_sq"};

/* Numbers that a resumed run must agree on, because the place in the data and the order of sums follow from them. */
static json_t *identity(const kd_trainer *t) {
    const kd_run_file *run = t->run;
    const kd_window_options *w = &run->window;
    char hash[20];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)t->train.windows.hash);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:b, s:b, s:b, s:b, s:b, s:b, s:b, s:i, s:s, s:s}",
                     "seed", (json_int_t)run->seed, "window", (json_int_t)w->window, "batch_windows",
                     (json_int_t)run->batch_windows, "leaves", (json_int_t)run->leaves, "frame", (json_int_t)run->frame,
                     "offset", (json_int_t)w->offset, "precision", kd_precision_name(run->precision), "reset", w->reset, "anchor_is_bos", w->anchor_is_bos, "interleave", w->interleave, "tag", w->tag,
                     "truncate", w->truncate, "predict_boundary", w->predict_boundary, "predict_first",
                     w->predict_first, "separator", (int)w->separator, "mask",
                     w->mask == KD_MASK_FULL       ? "full"
                     : w->mask == KD_MASK_DOCUMENT ? "document"
                                                   : "anchor",
                     "data", hash);
}

/* What may change the bits and not the meaning. Other modes than ulysses have sums of their own for every number of ranks. */
static json_t *variants(const kd_trainer *t) {
    char sums[64] = "one rank's";
    if (t->run->mode != KD_SEQUENCE_ULYSSES && t->run->sequence_ranks > 1)
        snprintf(sums, sizeof sums, "%s on %lld ranks", kd_sequence_mode_name(t->run->mode), (long long)t->run->sequence_ranks);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "kedge", KD_VERSION, "device", t->ctx->device->name, "isa",
                     kd_isa_name(t->ctx->isa), "dtype", t->run->weights == KD_VIEW_BF16 ? "bf16" : "f32", "moments", t->run->moments_coded ? "i8" : "f32", "sums", sums);
}

static kd_status save_state(const kd_trainer *t, const char *folder) {
    char *path = kd_path_join(folder, "trainer_state.json"), *text = NULL;
    json_t *state = json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "step", (json_int_t)t->step, "updates",
                              (json_int_t)t->optimizer.updates, "skipped", (json_int_t)t->skipped, "bad_in_a_row",
                              (json_int_t)t->bad_in_a_row, "next_window", (json_int_t)(t->step * t->run->batch_windows),
                              "must_agree", identity(t), "made_by", variants(t));
    kd_status status = path && state ? kd_json_print(&text, state, JSON_INDENT(1), path) : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) status = kd_file_write(path, text, (int64_t)strlen(text));
    json_decref(state);
    free(text);
    free(path);
    return status;
}

static kd_status fill(kd_trainer *t, const char *folder) {
    const kd_owned moments[] = {t->optimizer.m, t->optimizer.v};
    char *run = NULL, *text = NULL;
    kd_status status;
    KD_GO(kd_model_save(t->model, &t->config, folder, t->companions, &(kd_weights_form){KD_F32, t->run->save_shard}));
    KD_GO(kd_model_save_owned(t->model, folder, "optimizer", moments, moment_suffix, 2, t->run->save_shard));
    if (!kd_trainer_leads(t)) goto done;
    if (!(run = kd_path_join(folder, "run.yaml"))) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_run_file_print(&text, t->run));
    KD_GO(kd_file_write(run, text, (int64_t)strlen(text)));
    KD_GO(save_state(t, folder));
done:
    free(text);
    free(run);
    return status;
}

static kd_status fill_export(kd_trainer *t, const char *folder) {
    const kd_weights_form form = {t->run->export_dtype, t->run->export_shard};
    return kd_model_save(t->model, &t->config, folder, t->companions, &form);
}

/* A folder that all ranks fill: rank 0 makes it, and when all have written, makes it whole. */
typedef struct filling {
    kd_trainer *t;
    kd_status (*fill)(kd_trainer *t, const char *folder);
    bool begun;
} filling;

static kd_status fill_together(void *opaque, const char *folder) {
    filling *f = opaque;
    f->begun = true;
    KD_TRY(kd_trainer_agree(f->t, "a folder to save in", KD_OK));
    return kd_trainer_agree(f->t, "saving", f->fill(f->t, folder));
}

static kd_status save_together(kd_trainer *t, const char *output, kd_status (*fill_one)(kd_trainer *t, const char *folder)) {
    filling f = {t, fill_one, false};
    kd_status status;
    if (kd_trainer_leads(t)) {
        status = kd_checkpoint_save(output, t->step, fill_together, &f);
        if (!f.begun) return kd_trainer_agree(t, "a folder to save in", status);
    } else {
        char name[40];
        snprintf(name, sizeof name, "step-%lld.tmp", (long long)t->step);
        char *folder = kd_path_join(output, name);
        status = kd_trainer_agree(t, "a folder to save in", folder ? KD_OK : kd_fail(KD_ENOMEM, "out of memory"));
        if (status) {
            free(folder);
            return status;
        }
        status = kd_trainer_agree(t, "saving", fill_one(t, folder));
        free(folder);
    }
    return kd_trainer_agree(t, "what is saved", status);
}

/* The checkpoint's folder is found before it is made: nothing can fail between saving and knowing it. */
kd_status kd_trainer_save(kd_trainer *t) {
    char name[32];
    snprintf(name, sizeof name, "step-%lld", (long long)t->step);
    char *folder = kd_path_join(t->run->output, name);
    kd_status status = kd_trainer_agree(t, "saving", folder ? KD_OK : kd_fail(KD_ENOMEM, "out of memory"));
    if (!status) status = save_together(t, t->run->output, fill);
    if (!status && t->companions) {  /* from now on out of this checkpoint: the one that was resumed from will be pruned */
        char *old = t->companions;
        t->companions = folder;
        folder = old;
    }
    free(folder);
    if (!status && kd_trainer_leads(t) && kd_checkpoint_prune(t->run->output, t->step, t->run->save_keep))
        kd_warn("step %lld is saved, an older checkpoint could not be removed: %s", (long long)t->step, kd_message());
    return status;
}

kd_status kd_trainer_export(kd_trainer *t) {
    char *folder = kd_path_join(t->run->output, "export");
    kd_status status = kd_trainer_agree(t, "saving", folder ? KD_OK : kd_fail(KD_ENOMEM, "out of memory"));
    if (!status) status = save_together(t, folder, fill_export);
    free(folder);
    return status;
}

/* Names the first thing that differs. */
static kd_status check_identity(const kd_trainer *t, const json_t *said, const char *path) {
    json_t *now = identity(t), *value;
    const char *key;
    kd_status status = now ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
    json_object_foreach(now, key, value) {
        const json_t *then = json_object_get(said, key);
        if (status || (then && json_equal(then, value))) continue;
        char *a = then ? json_dumps(then, JSON_ENCODE_ANY) : NULL, *b = json_dumps(value, JSON_ENCODE_ANY);
        status = kd_fail(KD_ECONFIG, "%s: %s was %s and is now %s: this run cannot go on from it; "
                         "to train further from its weights name the folder as model.path", path, key, a ? a : "absent", b ? b : "?");
        free(a);
        free(b);
    }
    json_decref(now);
    return status;
}

static void warn_variants(const kd_trainer *t, const json_t *said, const char *path) {
    json_t *now = variants(t), *value;
    const char *key;
    json_object_foreach(now, key, value) {
        const char *then = json_string_value(json_object_get(said, key));
        if (!then && !strcmp(key, "sums")) then = "one rank's";  /* from before there were others */
        if (!then && (!strcmp(key, "dtype") || !strcmp(key, "moments"))) then = "f32";
        if (!then || strcmp(then, json_string_value(value)))
            kd_warn("%s: made with %s %s, going on with %s: the bits may differ", path, key, then ? then : "unknown",
                    json_string_value(value));
    }
    json_decref(now);
}

kd_status kd_trainer_load(kd_trainer *t, const char *folder) {
    char *path = kd_path_join(folder, "trainer_state.json");
    json_t *state = NULL;
    const kd_owned moments[] = {t->optimizer.m, t->optimizer.v};
    kd_status status;
    if (!path) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_json_load(&state, path));
    KD_GO(kd_json_int(&t->step, state, "step", path));
    KD_GO(kd_json_int(&t->optimizer.updates, state, "updates", path));
    KD_GO(kd_json_int(&t->skipped, state, "skipped", path));
    KD_GO(kd_json_int(&t->bad_in_a_row, state, "bad_in_a_row", path));
    json_t *said = json_object_get(state, "must_agree");
    if (json_is_object(said) && !json_object_get(said, "precision"))  /* from before there were others */
        json_object_set_new(said, "precision", json_string("exact"));
    if (json_is_object(said) && !json_object_get(said, "offset")) json_object_set_new(said, "offset", json_integer(0));
    KD_GO(check_identity(t, said, path));
    warn_variants(t, json_object_get(state, "made_by"), path);
    KD_GO(kd_model_load(t->model, folder));
    KD_GO(kd_model_load_owned(t->model, folder, "optimizer", moments, moment_suffix, 2));
done:
    json_decref(state);
    free(path);
    return status;
}

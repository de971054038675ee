#include "mask_run.h"

#include <math.h>
#include <stdlib.h>

#include "data/pack.h"
#include "trainer.h"

void kd_mask_report_free(kd_mask_report *r) {
    free(r->found);
    *r = (kd_mask_report){0};
}

/* ---- one window ------------------------------------------------------------------------------------------------------ */

typedef struct window { int64_t index; kd_sight sight; kd_plan plan; } window;

static void close_window(window *w) {
    kd_plan_free(&w->plan);
    kd_sight_free(&w->sight);
}

static kd_status open_window(window *w, const kd_windows *windows, int64_t index, bool shuffled, const kd_mask_options *o) {
    *w = (window){.index = index};
    KD_TRY(kd_sight_open(&w->sight, windows, o->expects ? o->mask : windows->options.mask, index, shuffled));
    KD_TRY(kd_windows_plan(&w->plan, windows, index, shuffled));
    kd_status status = kd_sight_matches(&w->sight, &w->plan);
    return status ? kd_fail_prefix(status, "window %lld", (long long)index) : KD_OK;
}

/* report NULL: another rank's thread writes it. */
static kd_status look(kd_mask_report *r, kd_mask_subject *subject, const window *w, bool of_model, int64_t documents) {
    int64_t most = KD_TOUCHES_START + 1 + 2 * documents;
    kd_touch *touch = NULL;
    kd_mask_row *row = NULL;
    kd_status status = kd_new(&touch, most, sizeof *touch);
    if (!status) status = kd_new(&row, most, sizeof *row);
    if (!status && r) status = kd_grow(&r->found, &r->room, r->count + most, sizeof *r->found);
    if (subject->comm) status = kd_comm_agree(subject->comm, "memory for the check", status);
    if (status) goto done;
    int64_t count = kd_touches_each(touch, &w->sight, documents);
    KD_GO(kd_mask_check(row, subject, &w->sight, touch, count));
    for (int64_t i = 0; i < count && r; i++) r->found[r->count++] = (kd_mask_found){w->index, of_model, row[i]};
done:
    free(row);
    free(touch);
    return status;
}

/* What a window is looked at with. */
typedef struct means { kd_ctx *ctx; kd_comm *comm; kd_sequence_mode mode; kd_attn like; kd_view_type type; kd_model *model; } means;

static kd_status look_at_attention(kd_mask_report *r, const means *m, const window *w, int64_t documents) {
    kd_mask_attention x;
    kd_status status = kd_mask_attention_open(&x, m->ctx, m->comm, m->mode, &w->plan, &m->like, m->type);
    status = kd_comm_agree(m->comm, "memory for attention", status);
    if (!status) status = look(r, &x.subject, w, false, documents);
    kd_mask_attention_close(&x);
    return status;
}

static kd_status look_at_model(kd_mask_report *r, const means *m, const window *w, int64_t documents) {
    kd_mask_model x;
    kd_status status = kd_mask_model_open(&x, m->model, m->comm, &w->plan);
    status = kd_comm_agree(m->comm, "memory for the model's rows", status);
    if (!status) status = look(r, &x.subject, w, true, documents);
    kd_mask_model_close(&x);
    return status;
}

static kd_status look_at_window(kd_mask_report *r, const means *m, const kd_windows *windows, int64_t index, bool shuffled,
                                const kd_mask_options *o) {
    window w;
    kd_status status = open_window(&w, windows, index, shuffled, o);
    status = kd_comm_agree(m->comm, "a window", status);
    if (!status) status = look_at_attention(r, m, &w, o->documents);
    if (!status && m->model) status = look_at_model(r, m, &w, o->documents);
    if (r) r->documents += w.sight.N;
    close_window(&w);
    return status;
}

/* ---- a run --------------------------------------------------------------------------------------------------------- */

typedef struct job { kd_mask_report *report; const kd_run_file *run; const kd_mask_options *options; } job;

/* The run's attention without its model. */
static kd_status attention_of(kd_attn *like, kd_rope *rope, const kd_trainer *t) {
    const kd_run_file *run = t->run;
    double inv_freq[KD_ROPE_PAIRS], factor = kd_rope_attention_factor(&t->config.rope);
    kd_rope_frequencies(inv_freq, &t->config.rope, t->config.E, run->window.window);
    KD_TRY(kd_rope_init_for(rope, t->ctx, run->precision, inv_freq, t->config.E, run->window.window + 1 + run->window.offset));
    *like = (kd_attn){.rope = rope, .frame = run->frame, .precision = run->precision, .E = t->config.E};
    if (factor != 1) like->scale = (float)(factor * factor / sqrt((double)t->config.E));
    return KD_OK;
}

static kd_status open_model(kd_trainer *t, const char *checkpoint) {
    const kd_run_file *run = t->run;
    kd_model_options options = kd_trainer_model_options(t);
    KD_TRY(kd_model_open(&t->model, t->ctx, &t->config, &options));
    if (checkpoint || run->model_path) return kd_model_load(t->model, checkpoint ? checkpoint : run->model_path);
    return kd_model_init(t->model, &t->config, run->init_seed);
}

/* One rank. */
static kd_status check_run(void *arg, kd_comm *comm) {
    const job *j = arg;
    const kd_train_options train = {.quiet = true, .world = comm};
    kd_trainer t = {.run = j->run, .options = &train, .lock = -1, .metrics.fd = -1};
    kd_mask_report *report = kd_comm_rank(comm) == 0 ? j->report : NULL;
    kd_rope rope = {0};
    kd_status status = kd_trainer_share(&t);
    if (!status) status = kd_trainer_prepare(&t, j->options->checkpoint);
    means m = {.ctx = t.ctx, .comm = t.sequence, .mode = j->run->mode, .type = j->run->activations};
    if (!status && j->options->attention_alone) status = attention_of(&m.like, &rope, &t);
    if (!status && !j->options->attention_alone) status = open_model(&t, j->options->checkpoint);
    KD_GO(kd_comm_agree(comm, "opening the run", status));
    if (t.model) m.like = kd_model_attn(m.model = t.model);
    for (int64_t i = 0; i < j->options->windows; i++) KD_GO(look_at_window(report, &m, &t.train.windows, i, true, j->options));
done:
    if (t.ctx) kd_rope_free(&rope, t.ctx);
    kd_trainer_close(&t);
    return status;
}

kd_status kd_mask_run(kd_mask_report *r, const kd_run_file *given, const kd_mask_options *o) {
    kd_run_file run = *given;  /* windows one after another, whatever a step has of them; other ranks' windows are no part of a mask */
    run.batch_windows = run.micro = run.data_ranks = 1;
    *r = (kd_mask_report){.windows = o->windows, .T = run.window.window, .ranks = run.sequence_ranks,
                          .mask = o->expects ? o->mask : run.window.mask, .precision = run.precision, .mode = run.mode};
    return kd_comm_threads(run.sequence_ranks, (double)run.deadline, check_run, &(job){r, &run, o});
}

/* ---- a pack -------------------------------------------------------------------------------------------------------- */

static kd_status open_pack(kd_dataset *data, kd_tokenizer *tokenizer, const char *folder, const kd_mask_options *o) {
    if (o->tokenizer) KD_TRY(kd_tokenizer_open(tokenizer, o->tokenizer));
    const kd_dataset_options options = {.part = "train", .ingest = {.tokenizer = o->tokenizer ? tokenizer : NULL}};
    KD_TRY(kd_pack_open(data, folder, &options));
    if (o->windows <= data->windows.count) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s has %lld windows, %lld are asked for", folder, (long long)data->windows.count, (long long)o->windows);
}

kd_status kd_mask_pack(kd_mask_report *r, const char *folder, const kd_mask_options *o) {
    enum { E = 64 };
    kd_dataset data = {0};
    kd_tokenizer tokenizer = {0};
    kd_rope rope = {0};
    double inv_freq[KD_ROPE_PAIRS];
    const kd_rope_config plain = {.theta = 10000};
    means m = {0};
    kd_status status;
    *r = (kd_mask_report){.windows = o->windows, .ranks = 1};
    KD_GO(kd_ctx_open(&m.ctx, o->threads));
    KD_GO(kd_comm_self(&m.comm));
    KD_GO(open_pack(&data, &tokenizer, folder, o));
    r->T = data.windows.options.window, r->mask = o->expects ? o->mask : data.windows.options.mask;
    kd_rope_frequencies(inv_freq, &plain, E, r->T);
    KD_GO(kd_rope_init(&rope, m.ctx, inv_freq, E, r->T + 1));
    m.like = (kd_attn){.rope = &rope, .frame = KD_FRAME_DOCUMENT, .E = E};
    for (int64_t i = 0; i < o->windows; i++) KD_GO(look_at_window(r, &m, &data.windows, i, false, o));
done:
    if (m.ctx) kd_rope_free(&rope, m.ctx);
    kd_dataset_close(&data);
    kd_tokenizer_close(&tokenizer);
    kd_comm_free(m.comm);
    kd_ctx_close(m.ctx);
    return status;
}

/* What a run tells of itself: a row of metrics and a picture at its start, a row for every step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/window_view.h"
#include "dev/memory.h"
#include "dev/peak.h"
#include "format/jsonl.h"
#include "trainer.h"

static const char *cpu_name(char *line, size_t size) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char *name = NULL;
    while (file && !name && fgets(line, (int)size, file))
        if (!strncmp(line, "model name", 10)) name = strchr(line, ':');
    if (file) fclose(file);
    if (!name) return "unknown";
    name += 1 + strspn(name + 1, " \t");
    name[strcspn(name, "\n")] = 0;
    return kd_utf8_invalid(name, (int64_t)strlen(name)) < 0 ? name : "unknown";
}

/* Of a host every ten seconds: once at the start would meet a busy moment too often. A GPU is the run's alone. */
static void measure_peak(kd_trainer *t) {
    enum { SECONDS = 10 };
    if (t->peak_measured > 0 && (!kd_run_on_host(t->run) || kd_now() - t->peak_measured < SECONDS)) return;
    double now = kd_peak_flops(t->ctx);
    if (now > t->peak) t->peak = now;
    t->peak_measured = kd_now();
}

/* The GPU of a run on one, in words. */
static json_t *gpu_of(const kd_trainer *t) {
    char words[200];
    const char *number = strchr(t->run->device, ':');
    if (kd_run_on_host(t->run) || kd_cuda_gpu_words(words, number ? atoi(number + 1) : 0)) return json_null();
    return json_string(words);
}

/* NULL, and no key, where the mask was not checked. */
static json_t *mask_of(const kd_mask_start *m) {
    if (m->seconds <= 0) return NULL;
    return json_pack("{s:I, s:I, s:I, s:I, s:i, s:I, s:f}", "documents", (json_int_t)m->documents, "goes", (json_int_t)m->touches, "touched",
                     (json_int_t)m->touched, "moved_inside", (json_int_t)m->inside, "moved_outside", 0, "outside", (json_int_t)m->outside_of, "seconds",
                     m->seconds);
}

kd_status kd_trainer_write_start(kd_trainer *t) {
    kd_model_memory memory = kd_model_memory_use(t->model);
    char line[256];
    measure_peak(t);
    json_t *row = json_pack(
        "{s:s, s:I, s:s, s:s, s:s, s:o, s:s, s:s, s:I, s:I, s:s, s:I, s:f, s:I, s:o*, s:{s:I, s:I, s:I, s:I, s:I}}", "event",
        t->step ? "resume" : "start", "step", (json_int_t)t->step, "kedge", KD_VERSION, "device", t->ctx->device->name,
        "cpu", cpu_name(line, sizeof line), "gpu", gpu_of(t), "isa", kd_isa_name(t->ctx->isa), "dtype",
        t->run->weights == KD_VIEW_BF16 ? "bf16" : "f32", "threads",
        (json_int_t)kd_pool_threads(t->ctx->pool), "ranks", (json_int_t)kd_comm_size(t->world), "model_type", t->config.model_type, "parameters",
        (json_int_t)kd_model_layout(t->model)->count, "peak_flops", t->peak * (double)kd_comm_size(t->world), "tokens_per_step",
        (json_int_t)(t->run->batch_windows * t->run->window.window), "mask", mask_of(&t->mask), "memory", "weights", (json_int_t)memory.weights,
        "gradients", (json_int_t)memory.gradients, "moments", (json_int_t)t->optimizer.arena.size, "activations",
        (json_int_t)memory.activations, "scratch", (json_int_t)memory.scratch);
    return kd_metrics_write(&t->metrics, row);
}

/* A picture that cannot be drawn or written is a warning. */
void kd_trainer_draw_window(kd_trainer *t) {
    char *path = kd_path_join(t->run->output, "window.svg");
    kd_window_view view = {0};
    kd_text text = {0};
    kd_status status;
    if (!path) KD_GO(kd_fail(KD_ENOMEM, "out of memory"));
    KD_GO(kd_window_view_open(&view, &t->train.windows, 0, true));
    KD_GO(kd_window_draw_svg(&text, &view, true));
    KD_GO(kd_file_replace(path, text.data, text.size));
done:
    if (status) kd_warn("window.svg: %s", kd_message());
    kd_text_free(&text);
    kd_window_view_free(&view);
    free(path);
}

/* Seconds of the step by operation, of several ranks with those in moves between them. NULL: memory is out. */
static json_t *parts_of(const kd_clock *clock, int64_t ranks, double moving) {
    json_t *parts = json_object();
    bool whole = parts && (ranks == 1 || !json_object_set_new(parts, "moves", json_real(moving)));
    for (int64_t i = 0; i < clock->parts && whole; i++) {
        char name[40];
        kd_op_words(name, clock->part[i].op);
        whole = !json_object_set_new(parts, name, json_real(clock->part[i].seconds));
    }
    if (whole) return parts;
    json_decref(parts);
    return NULL;
}

kd_status kd_trainer_write_step(kd_trainer *t, const kd_step_report *r) {
    int64_t tokens = t->run->batch_windows * t->run->window.window;
    double flops = kd_model_flops(&t->config, tokens, r->pairs);
    bool finite = r->sums.finite;
    int64_t ranks = kd_comm_size(t->world);
    measure_peak(t);
    double peak = t->peak * (double)ranks;
    json_t *row = json_pack("{s:I, s:o, s:I, s:o, s:f, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:I, s:I, s:o}", "step", (json_int_t)t->step,
                            "loss", finite ? json_real(r->sums.loss / (double)r->targets) : json_null(), "targets",
                            (json_int_t)r->targets, "grad_norm", finite ? json_real(r->sums.grad_norm) : json_null(), "lr",
                            r->lr, "pairs", (json_int_t)r->pairs, "skipped", (json_int_t)t->skipped, "seconds", r->seconds,
                            "tokens_per_second", (double)tokens / r->seconds, "flops", flops, "peak_flops",
                            peak, "share_of_peak", peak > 0 ? json_real(flops / r->seconds / peak) : json_null(), "memory",
                            (json_int_t)kd_memory_resident(), "sent", (json_int_t)r->sent, "parts", parts_of(&t->clock, ranks, r->moving));
    return kd_metrics_write(&t->metrics, row);
}

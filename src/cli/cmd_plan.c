/* kedge plan */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "data/window_view.h"
#include "format/json.h"
#include "plan.h"

static double gib(int64_t bytes) { return (double)bytes / (1 << 30); }

const char *kd_plan_duration(char text[32], double seconds) {
    static const struct { const char *unit; double seconds; } units[] = {
        {"years", 31557600}, {"days", 86400}, {"hours", 3600}, {"minutes", 60}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (seconds >= 2 * units[i].seconds) {
            snprintf(text, 32, "%.1f %s", seconds / units[i].seconds, units[i].unit);
            return text;
        }
    snprintf(text, 32, seconds < 1 ? "%.3g seconds" : seconds < 10 ? "%.2f seconds" : "%.0f seconds", seconds);
    return text;
}

static const struct { const char *what, *key; size_t at; } memory_row[] = {
    {"weights", "weights", offsetof(kd_estimate, weights)}, {"gradients", "gradients", offsetof(kd_estimate, gradients)},
    {"moments", "moments", offsetof(kd_estimate, moments)}, {"activations", "activations", offsetof(kd_estimate, activations)},
    {"scratch", "scratch", offsetof(kd_estimate, scratch)}, {"windows of a step", "windows", offsetof(kd_estimate, plans)},
    {"documents and program", "program", offsetof(kd_estimate, program)},
    {"most while reading", "reading", offsetof(kd_estimate, reading)}, {"in files, or the host", "files", offsetof(kd_estimate, files)},
};
enum { MEMORY_ROWS = sizeof memory_row / sizeof *memory_row, FILES = MEMORY_ROWS - 1 };

static int64_t memory_of(const kd_estimate *e, int i) { return *(const int64_t *)((const char *)e + memory_row[i].at); }

static const char *recompute_name(const kd_estimate *e) { return e->recompute == KD_RECOMPUTE_NONE ? "none" : "layer"; }

/* alone: of one rank, beside it; or NULL. */
static void print_memory(const kd_estimate *e, const kd_estimate *alone) {
    printf("memory%-15s  %9.3f GiB of %.3f that can be had   (recompute: %s)\n", alone ? " of a rank" : "", gib(e->memory),
           gib(e->program + e->available), recompute_name(e));
    if (alone)
        printf("%32s   alone   (recompute: %s)\n  %-22s %7.3f %9.3f\n", "a rank", recompute_name(alone), "in all", gib(e->memory),
               gib(alone->memory));
    for (int i = 0; i < MEMORY_ROWS; i++) {
        if (i == FILES && !e->files) continue;
        printf("  %-22s %7.3f", memory_row[i].what, gib(memory_of(e, i)));
        if (alone) printf(" %9.3f", gib(memory_of(alone, i)));
        printf("\n");
    }
    printf("disk                   %9.3f GiB", gib(e->disk));
    if (e->disk_available >= 0) printf(" of %.3f that are free", gib(e->disk_available));
    printf("   (a checkpoint: %.3f)\n", gib(e->checkpoint));
}

static void print_time(const kd_estimate *e, const kd_trainer *t, const kd_speed *s, const kd_seconds *time, const kd_plan_ranks *ranks) {
    const struct { const char *what; double seconds; } row[] = {{"products", time->products}, {"attention", time->attention},
        {"other", time->numbers}, {"update", time->update}, {"sent", time->sent}};
    char text[32];
    double tokens = (double)e->tokens, devices = ranks ? (double)(ranks->ranks.sequence * ranks->ranks.data) : s->devices;
    printf("time                   %s a step", kd_plan_duration(text, time->all));
    if (ranks) printf(" on %.0f ranks, each", devices);
    printf(" on %s, %.4g tokens/s, %.1f%% of %s %.4g GFLOP/s:", s->name, tokens / time->all,
           100 * e->flops / time->all / s->peak / devices, ranks ? "their" : "its", s->peak * devices * 1e-9);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        if (row[i].seconds > 0) printf("%s %s %.1f%%", i ? "," : "", row[i].what, 100 * row[i].seconds / time->all);
    printf("\n                       %s for the run of %lld steps", kd_plan_duration(text, time->all * (double)t->run->steps), (long long)t->run->steps);
    printf(", %s for a billion tokens (validation and saving not counted)\n", kd_plan_duration(text, time->all / tokens * 1e9));
}

static void print_lines(const kd_estimate *e, const kd_trainer *t, const kd_plan_ranks *ranks) {
    double steps = (double)t->run->steps, tokens = (double)e->tokens;
    printf("model                  %s, %.2fM parameters\n", t->config.model_type, (double)e->parameters * 1e-6);
    printf("data                   %lld documents, %lld tokens, %lld windows a pass; the run takes %.2f passes\n",
           (long long)t->train.corpus.documents, (long long)t->train.corpus.tokens, (long long)t->train.windows.count,
           steps * (double)t->run->batch_windows / (double)t->train.windows.count);
    printf("step                   %lld tokens in %lld windows, %lld documents, %.1f%% of the tokens are targets\n",
           (long long)e->tokens, (long long)t->run->batch_windows, (long long)e->documents, 100 * e->targets / tokens);
    printf("attention              %.3g pairs a step for one head, %.1f%% of full attention\n", e->pairs,
           100 * e->pairs / e->full_pairs);
    printf("rotation               precision %s, frame %s\n", kd_precision_name(t->run->precision),
           t->run->frame == KD_FRAME_WINDOW ? "window" : "document");
    print_memory(e, ranks ? &ranks->alone : NULL);
    if (ranks) kd_plan_ranks_print(ranks);
    printf("operations             %.3g a step\n", e->flops);
}

json_t *kd_plan_parts(const kd_seconds *t) {
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "products", t->products, "attention", t->attention, "other", t->numbers, "update",
                     t->update, "sent", t->sent);
}

static json_t *curve_of(const kd_speed_curve *c) {
    json_t *map = json_object();
    for (int64_t i = 0; i < c->count && map; i++) {
        char length[32];
        snprintf(length, sizeof length, "%.0f", c->length[i]);
        if (json_object_set_new(map, length, json_real(c->rate[i]))) {
            json_decref(map);
            return NULL;
        }
    }
    return map;
}

json_t *kd_plan_machine(const kd_speed *s) {
    return json_pack("{s:s, s:f, s:f, s:f, s:{s:o, s:o}, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "name", s->name, "devices", s->devices,
                     "peak", s->peak, "products", s->products, "attention", "forward", curve_of(&s->forward), "backward", curve_of(&s->backward),
                     "numbers", s->numbers, "update", s->update, "link", s->link, "hosts", s->hosts, "memory", s->memory, "inside", s->inside,
                     "between", s->between, "latency", s->latency);
}

json_t *kd_plan_memory(const kd_estimate *e) {
    json_t *memory = json_pack("{s:I, s:I}", "total", (json_int_t)e->memory, "available", (json_int_t)(e->program + e->available));
    for (int i = 0; i < MEMORY_ROWS && memory; i++)
        if (json_object_set_new(memory, memory_row[i].key, json_integer(memory_of(e, i)))) {
            json_decref(memory);
            return NULL;
        }
    return memory;
}

kd_status kd_plan_print_json(json_t *whole) {
    char *text = NULL;
    if (!whole) return kd_fail(KD_ENOMEM, "out of memory");
    kd_status status = kd_json_print(&text, whole, JSON_INDENT(2), "plan");
    if (!status) printf("%s\n", text);
    json_decref(whole);
    free(text);
    return status;
}

/* speed: NULL, no time was asked for; ranks: NULL, one. */
static kd_status print_json(const kd_estimate *e, const kd_trainer *t, bool fits, const kd_speed *speed, const kd_seconds *time,
                            const kd_plan_ranks *ranks) {
    double tokens = (double)e->tokens, devices = ranks ? (double)(ranks->ranks.sequence * ranks->ranks.data) : 0;
    json_t *out = json_pack("{s:b, s:I, s:I, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "fits", fits, "parameters",
                            (json_int_t)e->parameters, "tokens_per_step", (json_int_t)e->tokens, "recompute", recompute_name(e), "precision",
                            kd_precision_name(t->run->precision), "memory", kd_plan_memory(e), "checkpoint", (json_int_t)e->checkpoint, "disk",
                            (json_int_t)e->disk, "disk_available", (json_int_t)e->disk_available, "windows_sampled", (json_int_t)e->sampled,
                            "pairs", e->pairs, "full_pairs", e->full_pairs, "targets", e->targets, "flops", e->flops);
    bool whole = out;
    if (out && ranks) whole &= !json_object_set_new(out, "ranks", kd_plan_ranks_json(ranks, speed));
    if (out && speed) {
        whole &= !json_object_set_new(out, "peak_flops", json_real(speed->peak * (ranks ? devices : speed->devices)));
        whole &= !json_object_set_new(out, "seconds_per_step", json_real(time->all));
        whole &= !json_object_set_new(out, "parts", kd_plan_parts(time));
        whole &= !json_object_set_new(out, "seconds", json_real(time->all * (double)t->run->steps));
        whole &= !json_object_set_new(out, "seconds_per_billion_tokens", json_real(time->all / tokens * 1e9));
        whole &= !json_object_set_new(out, "machine", kd_plan_machine(speed));
    }
    if (whole) return kd_plan_print_json(out);
    json_decref(out);
    return kd_fail(KD_ENOMEM, "out of memory");
}

/* Whether the terminal's language has more than ASCII. */
static bool is_utf8(void) {
    const char *name[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(name[i]);
        if (value && *value) return strstr(value, "UTF-8") || strstr(value, "utf8");
    }
    return false;
}

/* One window of the training order, to the terminal and into a file. */
static kd_status draw(const kd_trainer *t, const kd_plan_command *o) {
    kd_window_view view = {0};
    kd_text terminal = {0}, svg = {0};
    kd_status status;
    if (o->window < 0) return kd_fail(KD_ECONFIG, "plan: --window %lld: windows count from 0", (long long)o->window);
    KD_TRY(kd_window_view_open(&view, &t->train.windows, o->window, true));
    if (o->draw) {
        bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
        KD_GO(kd_window_draw_text(&terminal, &view, colour, is_utf8()));
        printf("%s", terminal.data);
    }
    if (o->svg) {
        KD_GO(kd_window_draw_svg(&svg, &view, true));
        KD_GO(kd_file_replace(o->svg, svg.data, svg.size));
    }
done:
    kd_text_free(&terminal);
    kd_text_free(&svg);
    kd_window_view_free(&view);
    return status;
}

kd_status kd_plan_speed(kd_speed *speed, const kd_plan_command *o, const kd_trainer *t, const kd_lengths *lengths, kd_recompute recompute) {
    return o->machine ? kd_speed_read(speed, o->machine) : kd_speed_measure(speed, t, lengths, recompute);
}

static kd_status plan(const kd_run_file *run, const kd_plan_command *o) {
    kd_trainer t = {.run = run, .lock = -1, .metrics.fd = -1};
    kd_estimate e;
    kd_speed speed;
    kd_plan_ranks several, *ranks = run->sequence_ranks * run->data_ranks > 1 ? &several : NULL;
    kd_seconds time = {0};
    kd_status status;
    if (o->machine) KD_GO(kd_speed_read(&speed, o->machine));  /* what is wrong there is said before the data are read */
    KD_GO(kd_trainer_prepare(&t, NULL));
    if (o->draw || o->svg) {
        status = draw(&t, o);
        goto done;
    }
    KD_GO(kd_estimate_memory(&e, &t, KD_PLAN_SAMPLED));
    if (ranks) KD_GO(kd_plan_ranks_open(ranks, &e, &t, o->machine ? &speed : NULL));
    if (o->machine && speed.memory > 0) e.available = (int64_t)speed.memory - e.program;
    status = kd_estimate_fits(&e);
    bool fits = !status;
    char why[512];
    snprintf(why, sizeof why, "%s", kd_message());
    if (!o->no_time) {
        KD_GO(kd_plan_speed(&speed, o, &t, &e.lengths, e.recompute));
        time = ranks ? kd_ranks_seconds(&e, &t, &ranks->ranks, &speed, &ranks->sent) : kd_estimate_seconds(&e, &t, &speed);
        if (ranks) {
            const kd_ranks one = {.sequence = 1, .data = 1};
            ranks->alone_time = kd_ranks_seconds(&ranks->alone, &t, &one, &speed, &(kd_sent){.moves = {0}});
        }
    }
    if (o->json) KD_GO(print_json(&e, &t, fits, o->no_time ? NULL : &speed, &time, ranks));
    else print_lines(&e, &t, ranks);
    if (!o->json && !o->no_time) print_time(&e, &t, &speed, &time, ranks);
    if (!o->json && !o->no_time && ranks) kd_plan_ranks_print_time(ranks, &time, &speed);
    if (!fits) status = kd_fail(KD_ENOMEM, "%s", why);
done:
    kd_trainer_close(&t);
    return status;
}

int kd_cmd_plan(int argc, char **argv) {
    kd_plan_command o = {.window = 0};
    bool done;
    const kd_option option[] = {
        {"--set", KD_LIST, &o.set, "a.b=c", "overrides a key of the run file; may be repeated"},
        {"--draw", KD_FLAG, &o.draw, NULL, "prints instead who sees whom in a window, and every token's position"},
        {"--svg", KD_TEXT, &o.svg, "FILE", "the same as a picture"},
        {"--window", KD_INTEGER, &o.window, "N", "which window of the training order is drawn; default 0, the first"},
        {"--windows", KD_TEXT, &o.windows, "LIST", "8K,16K,...: the time of a billion tokens by window instead, under full attention and the run's own "
                                                    "mask; --svg draws it"},
        {"--machine", KD_TEXT, &o.machine, "FILE", "predicts another machine's time from its figures (examples/machines)"},
        {"--cluster", KD_TEXT, &o.cluster, "FILE", "lists the layouts of ranks that fit a cluster (examples/machines) by their time instead, "
                                                   "and why others do not"},
        {"--hosts", KD_INTEGER, &o.hosts, "N", "with so many of its hosts"},
        {"--no-time", KD_FLAG, &o.no_time, NULL, "does not run a piece of the model to predict the time of a step"},
        {"--json", KD_FLAG, &o.json, NULL, "one JSON object"},
    };
    const kd_usage usage = {
        "plan", "RUN.yaml [options]",
        "Says what a run will take before it runs: memory, disk, operations and time, for a step, for the run and for a\n"
        "billion tokens. Memory is measured by the same code that allocates it, time by running a piece of the model here.\n"
        "Of several ranks: what one of them holds and sends, beside one rank alone; each is a machine like this one.\n"
        "Ends with 1 when memory or disk will not do.",
        "  kedge plan run.yaml\n"
        "  kedge plan run.yaml --set window=128K --set recompute=layer\n"
        "  kedge plan run.yaml --draw --set interleave=true\n"
        "  kedge plan run.yaml --svg window.svg\n"
        "  kedge plan run.yaml --windows 8K,32K,128K --machine examples/machines/a100x8.yaml --svg time.svg\n"
        "  kedge plan run.yaml --set parallel.sequence=4 --set parallel.data=2\n"
        "  kedge plan run.yaml --cluster examples/machines/h100-cluster.yaml --hosts 16\n"
        "  kedge plan run.yaml --json --no-time\n",
        option, sizeof option / sizeof *option};
    const char *path = NULL;
    int64_t count;
    kd_status status = kd_options_read(&usage, argc, argv, &path, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "plan: which run file? kedge plan RUN.yaml"));
    o.path = path;
    if (o.windows) return kd_exit_code(kd_plan_windows(&o));
    if (o.cluster || o.hosts) return kd_exit_code(kd_plan_cluster(&o));
    kd_run_file run;
    status = kd_run_file_open(&run, path, o.set.text, o.set.count);
    if (status) return kd_exit_code(status);
    status = plan(&run, &o);
    kd_run_file_close(&run);
    return kd_exit_code(status);
}

/* kedge plan */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "data/window_view.h"
#include "format/json.h"
#include "train/estimate.h"

enum { SAMPLED = 32 };

static double gib(int64_t bytes) { return (double)bytes / (1 << 30); }

/* "3.2 hours" */
static const char *duration(char text[32], double seconds) {
    static const struct { const char *unit; double seconds; } units[] = {
        {"years", 31557600}, {"days", 86400}, {"hours", 3600}, {"minutes", 60}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (seconds >= 2 * units[i].seconds) {
            snprintf(text, 32, "%.1f %s", seconds / units[i].seconds, units[i].unit);
            return text;
        }
    snprintf(text, 32, seconds < 10 ? "%.2f seconds" : "%.0f seconds", seconds);
    return text;
}

static void print_memory(const kd_estimate *e) {
    const struct { const char *what; int64_t bytes; } row[] = {
        {"weights", e->weights},         {"gradients", e->gradients}, {"moments", e->moments},
        {"activations", e->activations}, {"scratch", e->scratch},     {"windows of a step", e->plans},
        {"documents and program", e->program},
    };
    printf("memory                 %9.3f GiB of %.3f that can be had   (recompute: %s)\n", gib(e->memory),
           gib(e->program + e->available), e->recompute == KD_RECOMPUTE_NONE ? "none" : "layer");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) printf("  %-22s %7.3f\n", row[i].what, gib(row[i].bytes));
    printf("disk                   %9.3f GiB", gib(e->disk));
    if (e->disk_available >= 0) printf(" of %.3f that are free", gib(e->disk_available));
    printf("   (a checkpoint: %.3f)\n", gib(e->checkpoint));
}

static void print_lines(const kd_estimate *e, const kd_trainer *t) {
    char text[32];
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
    print_memory(e);
    printf("operations             %.3g a step\n", e->flops);
    if (!e->seconds) return;
    printf("time                   %s a step", duration(text, e->seconds));
    printf(", %.0f tokens/s, %.1f%% of the %.0f GFLOP/s that this machine can do\n", tokens / e->seconds,
           100 * e->flops / e->seconds / e->peak, e->peak * 1e-9);
    printf("                       %s for the run of %lld steps", duration(text, e->seconds * steps), (long long)t->run->steps);
    printf(", %s for a billion tokens (validation and saving not counted)\n", duration(text, e->seconds / tokens * 1e9));
}

static kd_status print_json(const kd_estimate *e, const kd_trainer *t, bool fits) {
    double tokens = (double)e->tokens;
    json_t *memory = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "weights", (json_int_t)e->weights, "gradients",
                               (json_int_t)e->gradients, "moments", (json_int_t)e->moments, "activations",
                               (json_int_t)e->activations, "scratch", (json_int_t)e->scratch, "windows", (json_int_t)e->plans,
                               "program", (json_int_t)e->program, "total", (json_int_t)e->memory, "available",
                               (json_int_t)(e->program + e->available));
    json_t *out = json_pack("{s:b, s:I, s:I, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f}", "fits", fits, "parameters",
                            (json_int_t)e->parameters, "tokens_per_step", (json_int_t)e->tokens, "recompute",
                            e->recompute == KD_RECOMPUTE_NONE ? "none" : "layer", "precision",
                            kd_precision_name(t->run->precision), "memory", memory, "checkpoint",
                            (json_int_t)e->checkpoint, "disk", (json_int_t)e->disk, "disk_available",
                            (json_int_t)e->disk_available, "windows_sampled", (json_int_t)e->sampled, "pairs", e->pairs,
                            "full_pairs", e->full_pairs, "targets", e->targets, "flops", e->flops);
    bool whole = out;
    if (out && e->seconds) {
        whole &= !json_object_set_new(out, "peak_flops", json_real(e->peak));
        whole &= !json_object_set_new(out, "seconds_per_step", json_real(e->seconds));
        whole &= !json_object_set_new(out, "seconds", json_real(e->seconds * (double)t->run->steps));
        whole &= !json_object_set_new(out, "seconds_per_billion_tokens", json_real(e->seconds / tokens * 1e9));
    }
    char *text = NULL;
    kd_status status = whole ? kd_json_print(&text, out, JSON_INDENT(2), "plan") : kd_fail(KD_ENOMEM, "out of memory");
    if (!status) printf("%s\n", text);
    json_decref(out);
    free(text);
    return status;
}

typedef struct plan_options { bool json, no_time, draw; const char *svg; int64_t window; } plan_options;

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
static kd_status draw(const kd_trainer *t, const plan_options *o) {
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

static kd_status plan(const kd_run_file *run, const plan_options *o) {
    kd_trainer t = {.run = run, .lock = -1, .metrics.fd = -1};
    kd_estimate e;
    kd_status status;
    KD_GO(kd_trainer_prepare(&t, NULL));
    if (o->draw || o->svg) {
        status = draw(&t, o);
        goto done;
    }
    KD_GO(kd_estimate_memory(&e, &t, SAMPLED));
    status = kd_estimate_fits(&e);
    bool fits = !status;
    char why[512];
    snprintf(why, sizeof why, "%s", kd_message());
    if (!o->no_time) KD_GO(kd_estimate_time(&e, &t));
    if (o->json) KD_GO(print_json(&e, &t, fits));
    else print_lines(&e, &t);
    if (!fits) status = kd_fail(KD_ENOMEM, "%s", why);
done:
    kd_trainer_close(&t);
    return status;
}

int kd_cmd_plan(int argc, char **argv) {
    kd_list set = {.count = 0};
    plan_options o = {.window = 0};
    bool done;
    const kd_option option[] = {
        {"--set", KD_LIST, &set, "a.b=c", "overrides a key of the run file; may be repeated"},
        {"--draw", KD_FLAG, &o.draw, NULL, "prints instead who sees whom in a window, and every token's position"},
        {"--svg", KD_TEXT, &o.svg, "FILE", "the same as a picture"},
        {"--window", KD_INTEGER, &o.window, "N", "which window of the training order is drawn; default 0, the first"},
        {"--no-time", KD_FLAG, &o.no_time, NULL, "does not run a piece of the model to predict the time of a step"},
        {"--json", KD_FLAG, &o.json, NULL, "one JSON object"},
    };
    const kd_usage usage = {
        "plan", "RUN.yaml [options]",
        "Says what a run will take before it runs: memory, disk, operations and time, for a step, for the run and for a\n"
        "billion tokens. Memory is measured by the same code that allocates it, time by running a piece of the model here.\n"
        "Ends with 1 when memory or disk will not do.",
        "  kedge plan run.yaml\n"
        "  kedge plan run.yaml --set window=128K --set recompute=layer\n"
        "  kedge plan run.yaml --draw --set interleave=true\n"
        "  kedge plan run.yaml --svg window.svg\n"
        "  kedge plan run.yaml --json --no-time\n",
        option, sizeof option / sizeof *option};
    const char *path = NULL;
    int64_t count;
    kd_status status = kd_options_read(&usage, argc, argv, &path, 1, &count, &done);
    if (status || done) return kd_exit_code(status);
    if (!count) return kd_exit_code(kd_fail(KD_ECONFIG, "plan: which run file? kedge plan RUN.yaml"));
    kd_run_file run;
    status = kd_run_file_open(&run, path, set.text, set.count);
    if (status) return kd_exit_code(status);
    status = plan(&run, &o);
    kd_run_file_close(&run);
    return kd_exit_code(status);
}

/* kedge plan --windows: the time of a billion tokens by window, under full attention and under the run's own mask. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/chart.h"
#include "format/json.h"
#include "plan.h"

enum { WINDOWS = 16 };

typedef struct row {
    int64_t window;
    kd_estimate full, own;
    kd_seconds full_time, own_time;
} row;

typedef struct plan_table {
    row row[WINDOWS];
    int64_t count;
    const char *mask;       /* the run's own; NULL: full */
    kd_speed speed;
} plan_table;

static double billion(const kd_estimate *e, const kd_seconds *t) { return t->all / (double)e->tokens * 1e9; }

/* The run with this window. */
static kd_status open_run(kd_run_file *run, const kd_plan_command *o, int64_t window) {
    kd_list set = o->set;
    char text[32];
    if (set.count == sizeof set.text / sizeof *set.text) return kd_fail(KD_ECONFIG, "plan: too many --set");
    snprintf(text, sizeof text, "window=%lld", (long long)window);
    set.text[set.count++] = text;
    return kd_run_file_open(run, o->path, set.text, set.count);
}

/* Windows that are one document each. */
static void make_full(kd_estimate *full, const kd_estimate *own, const kd_config *config, int64_t window, int64_t windows) {
    *full = *own;
    full->lengths = (kd_lengths){0};
    kd_lengths_add(&full->lengths, window, false);
    full->sampled = 1;
    full->share = (double)windows;
    full->pairs = full->full_pairs;
    full->flops = kd_model_flops(config, full->tokens, (int64_t)full->pairs);
}

static kd_status sample(row *r, kd_trainer *t, kd_lengths *all, const kd_run_file *run) {
    KD_TRY(kd_estimate_memory(&r->own, t, KD_PLAN_SAMPLED));
    make_full(&r->full, &r->own, &t->config, run->window.window, run->batch_windows);
    kd_lengths_merge(all, &r->own.lengths);
    kd_lengths_merge(all, &r->full.lengths);
    return KD_OK;
}

/* Documents first, of every window; then the machine once, with the last one's run. */
static kd_status fill(plan_table *table, const kd_plan_command *o) {
    kd_lengths all = {0};
    kd_status status = KD_OK;
    for (int64_t i = 0; i < table->count && !status; i++) {
        kd_run_file run = {0};
        kd_trainer t = {.run = &run, .lock = -1, .metrics.fd = -1};
        row *r = &table->row[i];
        KD_TRY(open_run(&run, o, r->window));
        table->mask = run.window.mask == KD_MASK_FULL ? NULL : run.window.mask == KD_MASK_ANCHOR ? "anchor" : "document";
        status = kd_trainer_prepare(&t, NULL);
        if (!status) status = sample(r, &t, &all, &run);
        if (!status && i == table->count - 1) {
            status = kd_plan_speed(&table->speed, o, &t, &all, r->own.recompute);
            for (int64_t j = 0; j <= i && !status; j++) {
                table->row[j].own_time = kd_estimate_seconds(&table->row[j].own, &t, &table->speed);
                table->row[j].full_time = kd_estimate_seconds(&table->row[j].full, &t, &table->speed);
            }
        }
        kd_trainer_close(&t);
        kd_run_file_close(&run);
    }
    return status;
}

static void print_side(const kd_estimate *e, const kd_seconds *t) {
    char text[32], rate[32];
    kd_number_format(rate, (double)e->tokens / t->all, false);
    printf("  %6.1f%%  %12s  %9s  %8.1f%%", 100 * e->pairs / e->full_pairs, kd_plan_duration(text, billion(e, t)), rate,
           100 * t->attention / t->all);
}

static void print_table(const plan_table *t) {
    printf("Time of a billion tokens on %s\n\n%8s  %-42s", t->speed.name, "", "full");
    printf(t->mask ? "  %s\n%8s" : "\n%8s", t->mask ? t->mask : "window", "window");
    for (int side = 0; side < (t->mask ? 2 : 1); side++) printf("  %7s  %12s  %9s  %9s", "pairs", "time", "tokens/s", "attention");
    printf(t->mask ? "  of full\n" : "\n");
    for (int64_t i = 0; i < t->count; i++) {
        const row *r = &t->row[i];
        char window[32];
        kd_number_format(window, (double)r->window, true);
        printf("%8s", window);
        print_side(&r->full, &r->full_time);
        if (t->mask) {
            print_side(&r->own, &r->own_time);
            printf("  %6.1f%%", 100 * billion(&r->own, &r->own_time) / billion(&r->full, &r->full_time));
        }
        printf("\n");
    }
}

static json_t *side_json(const char *mask, const kd_estimate *e, const kd_seconds *t) {
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:o}", "mask", mask, "pairs_of_full", e->pairs / e->full_pairs, "seconds_per_billion_tokens",
                     billion(e, t), "seconds_per_step", t->all, "tokens_per_second", (double)e->tokens / t->all, "parts", kd_plan_parts(t));
}

static kd_status print_json(const plan_table *t) {
    json_t *windows = json_array(), *out;
    bool whole = windows;
    for (int64_t i = 0; i < t->count && whole; i++) {
        const row *r = &t->row[i];
        json_t *sides = json_pack("[o]", side_json("full", &r->full, &r->full_time));
        whole = sides && (!t->mask || !json_array_append_new(sides, side_json(t->mask, &r->own, &r->own_time)));
        whole &= !json_array_append_new(windows, json_pack("{s:I, s:o}", "window", (json_int_t)r->window, "masks", sides));
    }
    out = whole ? json_pack("{s:o, s:o}", "machine", kd_plan_machine(&t->speed), "windows", windows) : NULL;
    if (!out) {
        if (!whole) json_decref(windows);
        return kd_fail(KD_ENOMEM, "out of memory");
    }
    return kd_plan_print_json(out);
}

static kd_status draw(const plan_table *t, const char *path) {
    static const struct { const char *label; double seconds; } units[] = {{"years", 31557600}, {"days", 86400}, {"hours", 3600}};
    double x[WINDOWS], y[2][WINDOWS], least = 1e300;
    char title[160], label[64];
    kd_text svg = {0};
    kd_status status;
    for (int64_t i = 0; i < t->count; i++) least = billion(&t->row[i].own, &t->row[i].own_time) < least ? billion(&t->row[i].own, &t->row[i].own_time) : least;
    int unit = least < units[1].seconds / 4 ? 2 : least < units[0].seconds;
    for (int64_t i = 0; i < t->count; i++) {
        x[i] = (double)t->row[i].window;
        y[0][i] = billion(&t->row[i].full, &t->row[i].full_time) / units[unit].seconds;
        y[1][i] = billion(&t->row[i].own, &t->row[i].own_time) / units[unit].seconds;
    }
    const kd_series series[] = {{"full", x, y[0], t->count, KD_SERIES_POINTS, 0}, {t->mask, x, y[1], t->count, KD_SERIES_POINTS, 1}};
    snprintf(title, sizeof title, "Time of a billion tokens on %s", t->speed.name);
    snprintf(label, sizeof label, "%s a billion tokens", units[unit].label);
    const kd_chart chart = {title, {.label = "window, tokens", .scale = KD_LOG2_SCALE}, {.label = label, .max = 1e-9}, series, t->mask ? 2 : 1};
    KD_GO(kd_chart_draw(&svg, &chart, true));
    KD_GO(kd_file_replace(path, svg.data, svg.size));
done:
    kd_text_free(&svg);
    return status;
}

static kd_status check(plan_table *t, const kd_plan_command *o) {
    int64_t window[WINDOWS];
    KD_TRY(kd_options_integers(window, WINDOWS, &t->count, "plan", "--windows", o->windows));
    for (int64_t i = 0; i < t->count; i++) {
        if (window[i] < 2 || (i && window[i] <= window[i - 1]))
            return kd_fail(KD_ECONFIG, "plan: --windows %s: they ascend from 2", o->windows);
        t->row[i].window = window[i];
    }
    if (o->draw || o->no_time) return kd_fail(KD_ECONFIG, "plan: --windows is about time: --draw and --no-time do not go with it");
    return o->machine ? kd_speed_read(&t->speed, o->machine) : KD_OK;
}

kd_status kd_plan_windows(const kd_plan_command *o) {
    plan_table *t;
    KD_TRY(kd_new(&t, 1, sizeof *t));
    kd_status status = check(t, o);
    if (!status) status = fill(t, o);
    if (!status && o->svg) status = draw(t, o->svg);
    if (!status && o->json) status = print_json(t);
    else if (!status) print_table(t);
    free(t);
    return status;
}

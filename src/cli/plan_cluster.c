/* kedge plan --cluster: every way to share a run among all ranks of a cluster, in powers of two; those that fit by their time. */
#include <stdio.h>
#include <stdlib.h>

#include "format/axis.h"
#include "format/json.h"
#include "plan.h"

enum { SHOWN = 12, ZEROS = 3, MOST = 2 * ZEROS * KD_STRETCHES };

typedef struct layout {
    kd_ranks ranks;
    kd_estimate memory;
    kd_sent sent;
    kd_seconds time;
    bool counted, fits;
    char why[200];
} layout;

typedef struct cluster {
    kd_speed speed;
    int64_t ranks, count, fit;
    kd_estimate run;       /* of one rank, with the sampled windows */
    layout layout[MOST];   /* those that fit first, the fastest first */
} cluster;

static double gib(double bytes) { return bytes / (1 << 30); }

static const char *recompute_name(const layout *l) { return l->ranks.recompute == KD_RECOMPUTE_NONE ? "none" : "layer"; }

static double peak(const cluster *c) { return c->speed.peak * (double)c->ranks; }

/* ---- what there is --------------------------------------------------------------------------------------------------- */

static kd_status read_cluster(cluster *c, const kd_plan_command *o) {
    kd_speed *s = &c->speed;
    if (!o->cluster) return kd_fail(KD_ECONFIG, "plan: --hosts goes with --cluster");
    if (o->draw || o->svg || o->no_time || o->machine)
        return kd_fail(KD_ECONFIG, "plan: --cluster lists layouts: --draw, --svg, --machine and --no-time do not go with it");
    KD_TRY(kd_speed_read(s, o->cluster));
    if (o->hosts < 0) return kd_fail(KD_ECONFIG, "plan: --hosts %lld", (long long)o->hosts);
    if (o->hosts) s->hosts = (double)o->hosts;
    if (s->hosts < 1) s->hosts = 1;
    if (!(s->memory > 0)) return kd_fail(KD_ECONFIG, "%s: memory, the bytes of a device, is missing", o->cluster);
    if (s->hosts > 1 && !(s->between > 0)) return kd_fail(KD_ECONFIG, "%s: between, the bytes a second to other hosts, is missing", o->cluster);
    c->ranks = 1;
    while (c->ranks < 1 << (KD_STRETCHES - 1) && (double)(2 * c->ranks) <= s->devices * s->hosts) c->ranks *= 2;
    return KD_OK;
}

/* What it takes of a device, and when it would be done. */
static kd_status count(layout *l, const cluster *c, const kd_trainer *t) {
    l->memory = c->run;
    KD_TRY(kd_ranks_memory(&l->memory, t, &l->ranks));
    KD_TRY(kd_sent_count(&l->sent, t, &l->ranks, 0, (int64_t)c->speed.devices));
    l->time = kd_ranks_seconds(&l->memory, t, &l->ranks, &c->speed, &l->sent);
    l->counted = true;
    l->memory.available = (int64_t)c->speed.memory - l->memory.program;
    l->fits = (double)l->memory.memory <= c->speed.memory;
    if (!l->fits) snprintf(l->why, sizeof l->why, "%.1f GiB of memory, a device has %.1f", gib((double)l->memory.memory), gib(c->speed.memory));
    return KD_OK;
}

/* Keys are gathered where heads cannot be shared. */
static kd_status add(cluster *c, const kd_trainer *t, kd_ranks ranks) {
    layout l = {.ranks = ranks};
    bool shared = !kd_ranks_check(&l.ranks, t);
    if (!shared) {
        l.ranks.mode = KD_SEQUENCE_ALLGATHER;
        shared = !kd_ranks_check(&l.ranks, t);
    }
    if (shared) KD_TRY(count(&l, c, t));
    else snprintf(l.why, sizeof l.why, "%s", kd_message());
    c->layout[c->count++] = l;
    c->fit += l.fits;
    return KD_OK;
}

static int faster(const void *a, const void *b) {
    const layout *x = a, *y = b;
    if (x->fits != y->fits) return x->fits ? -1 : 1;
    double d = x->fits ? x->time.all - y->time.all : (double)(x->ranks.sequence - y->ranks.sequence);
    if (d == 0) d = (double)(x->ranks.zero - y->ranks.zero);
    return (d > 0) - (d < 0);
}

static kd_status fill(cluster *c, const kd_trainer *t) {
    const kd_run_file *run = t->run;
    KD_TRY(kd_estimate_memory(&c->run, t, KD_PLAN_SAMPLED));
    for (int64_t sequence = 1; sequence <= c->ranks; sequence *= 2)
        for (int64_t zero = 1; zero <= ZEROS; zero++)
            for (int keep = 0; keep < 2; keep++) {
                kd_recompute recompute = keep ? KD_RECOMPUTE_NONE : KD_RECOMPUTE_LAYER;
                if (run->recompute != KD_RECOMPUTE_AUTO && run->recompute != recompute) continue;
                int64_t leaves = run->leaves > sequence ? run->leaves : sequence;
                KD_TRY(add(c, t, (kd_ranks){sequence, c->ranks / sequence, zero, KD_SEQUENCE_ULYSSES, recompute, leaves}));
            }
    qsort(c->layout, (size_t)c->count, sizeof *c->layout, faster);
    return KD_OK;
}

/* ---- for people ------------------------------------------------------------------------------------------------------- */

/* "parallel.sequence=8", one after the other; NULL at the end. */
static const char *setting(char text[48], const layout *l, const kd_run_file *run, int i) {
    const kd_ranks *s = &l->ranks;
    switch (i) {
    case 0: snprintf(text, 48, "parallel.sequence=%lld", (long long)s->sequence); break;
    case 1: snprintf(text, 48, "parallel.data=%lld", (long long)s->data); break;
    case 2: snprintf(text, 48, "parallel.zero=%lld", (long long)s->zero); break;
    case 3: snprintf(text, 48, "parallel.mode=%s", kd_sequence_mode_name(s->mode)); break;
    case 4: snprintf(text, 48, "recompute=%s", recompute_name(l)); break;
    case 5:
        if (s->leaves == run->leaves) return NULL;
        snprintf(text, 48, "leaves=%lld", (long long)s->leaves);
        break;
    default: return NULL;
    }
    return text;
}

static void print_row(const layout *l, const cluster *c, bool best) {
    char inside[32], between[32], time[32], rate[32];
    kd_number_format(inside, (double)kd_sent_bytes(&l->sent, 0), true);
    kd_number_format(between, (double)kd_sent_bytes(&l->sent, 1), true);
    kd_number_format(rate, (double)c->run.tokens / l->time.all, false);
    printf("%c %8lld %6lld  %4lld  %-9s  %-9s  %10.2f  %9s %9s  %15s  %5.1f%%  %8s  %6.1f%%\n", best ? '*' : ' ',
           (long long)l->ranks.sequence, (long long)l->ranks.data, (long long)l->ranks.zero, recompute_name(l),
           kd_sequence_mode_name(l->ranks.mode), gib((double)l->memory.memory), inside, between,
           kd_plan_duration(time, l->time.all), 100 * l->time.sent / l->time.all, rate, 100 * c->run.flops / l->time.all / peak(c));
}

/* Of a number of ranks a window that fits in no way, the reason of what is nearest to fitting. */
static void print_reason(const cluster *c, int64_t sequence, bool *said) {
    const layout *nearest = NULL;
    for (int64_t i = 0; i < c->count; i++) {
        const layout *l = &c->layout[i];
        if (l->ranks.sequence != sequence) continue;
        if (l->fits) return;
        if (!nearest || (l->counted && l->memory.memory < nearest->memory.memory)) nearest = l;
    }
    if (!*said) printf("\nDo not fit:\n");
    *said = true;
    printf("  %8lld %6lld  ", (long long)sequence, (long long)nearest->ranks.data);
    if (nearest->counted) printf("%4lld  %-9s  ", (long long)nearest->ranks.zero, recompute_name(nearest));
    printf("%s\n", nearest->why);
}

static void print_best(const cluster *c, const kd_run_file *run, const char *path) {
    const layout *best = &c->layout[0];
    const struct { const char *what; double seconds; } part[] = {{"products", best->time.products}, {"attention", best->time.attention},
        {"other", best->time.numbers}, {"update", best->time.update}, {"sent", best->time.sent}};
    char text[48];
    printf("\n* %s a step:", kd_plan_duration(text, best->time.all));
    for (int i = 0; i < 5; i++) printf("%s %s %.1f%%", i ? "," : "", part[i].what, 100 * part[i].seconds / best->time.all);
    printf("; %s for a billion tokens\n  kedge train %s", kd_plan_duration(text, best->time.all / (double)c->run.tokens * 1e9), path);
    for (int i = 0; setting(text, best, run, i); i++) printf(" --set %s", text);
    printf("\n");
}

static void print_table(const cluster *c, const kd_trainer *t, const char *path) {
    char window[32], tokens[32];
    const kd_run_file *run = t->run;
    kd_number_format(window, (double)run->window.window, true);
    kd_number_format(tokens, (double)c->run.tokens, true);
    printf("%lld ranks on %s, hosts of %.0f: %.0f; %s, %.2fM parameters; %s tokens a step in %lld windows of %s, %.1f%% of full attention\n\n",
           (long long)c->ranks, c->speed.name, c->speed.devices, c->speed.hosts, t->config.model_type, (double)c->run.parameters * 1e-6,
           tokens, (long long)run->batch_windows, window, 100 * c->run.pairs / c->run.full_pairs);
    printf("%60s  %19s\n", "memory", "bytes that leave it");
    printf("  %8s %6s  %4s  %-9s  %-9s  %10s  %9s %9s  %15s  %6s  %8s  %7s\n", "sequence", "data", "zero", "recompute", "mode",
           "GiB a rank", "in a host", "to others", "time a step", "sent", "tokens/s", "of peak");
    for (int64_t i = 0; i < c->fit && i < SHOWN; i++) print_row(&c->layout[i], c, i == 0);
    if (c->fit > SHOWN) printf("  and %lld slower ones that fit\n", (long long)(c->fit - SHOWN));
    bool said = false;
    for (int64_t sequence = 1; sequence <= c->ranks; sequence *= 2) print_reason(c, sequence, &said);
    if (c->fit) print_best(c, run, path);
}

/* ---- for programs ------------------------------------------------------------------------------------------------------ */

static json_t *layout_json(const layout *l, const cluster *c) {
    const kd_ranks *s = &l->ranks;
    json_t *out = json_pack("{s:I, s:I, s:I, s:s, s:s, s:I, s:b}", "sequence", (json_int_t)s->sequence, "data", (json_int_t)s->data, "zero",
                            (json_int_t)s->zero, "mode", kd_sequence_mode_name(s->mode), "recompute", recompute_name(l), "leaves",
                            (json_int_t)s->leaves, "fits", l->fits);
    bool whole = out;
    if (whole && *l->why) whole &= !json_object_set_new(out, "why", json_string(l->why));
    if (whole && l->counted) {
        whole &= !json_object_set_new(out, "memory", kd_plan_memory(&l->memory));
        whole &= !json_object_set_new(out, "sent", kd_plan_sent(&l->sent));
        whole &= !json_object_set_new(out, "seconds_per_step", json_real(l->time.all));
        whole &= !json_object_set_new(out, "parts", kd_plan_parts(&l->time));
        whole &= !json_object_set_new(out, "tokens_per_second", json_real((double)c->run.tokens / l->time.all));
        whole &= !json_object_set_new(out, "share_of_peak", json_real(c->run.flops / l->time.all / peak(c)));
    }
    if (whole) return out;
    json_decref(out);
    return NULL;
}

static kd_status print_json(const cluster *c, const kd_run_file *run) {
    char text[48];
    json_t *layouts = json_array(), *set = json_array();
    bool whole = layouts && set;
    for (int64_t i = 0; i < c->count && whole; i++) whole = !json_array_append_new(layouts, layout_json(&c->layout[i], c));
    for (int i = 0; c->fit && whole && setting(text, &c->layout[0], run, i); i++) whole = !json_array_append_new(set, json_string(text));
    if (!whole) {
        json_decref(layouts);
        json_decref(set);
        return kd_fail(KD_ENOMEM, "out of memory");
    }
    return kd_plan_print_json(json_pack("{s:o, s:I, s:I, s:I, s:f, s:o, s:o}", "cluster", kd_plan_machine(&c->speed), "ranks",
                                        (json_int_t)c->ranks, "parameters", (json_int_t)c->run.parameters, "tokens_per_step",
                                        (json_int_t)c->run.tokens, "flops", c->run.flops, "layouts", layouts, "set", set));
}

static kd_status list(cluster *c, const kd_run_file *run, const kd_plan_command *o) {
    kd_trainer t = {.run = run, .lock = -1, .metrics.fd = -1};
    kd_status status;
    KD_GO(kd_trainer_prepare(&t, NULL));
    KD_GO(fill(c, &t));
    if (o->json) KD_GO(print_json(c, run));
    else print_table(c, &t, o->path);
    if (!c->fit)
        status = kd_fail(KD_ENOMEM, "no layout fits %lld ranks: more hosts, a shorter window or another batch.windows may", (long long)c->ranks);
done:
    kd_trainer_close(&t);
    return status;
}

kd_status kd_plan_cluster(const kd_plan_command *o) {
    cluster *c;
    kd_run_file run;
    KD_TRY(kd_new(&c, 1, sizeof *c));
    kd_status status = read_cluster(c, o);
    if (!status) status = kd_run_file_open(&run, o->path, o->set.text, o->set.count);
    if (!status) {
        status = list(c, &run, o);
        kd_run_file_close(&run);
    }
    free(c);
    return status;
}

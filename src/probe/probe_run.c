/* One model at one precision: its layers are walked at all shifts at once, so that a layer's attention at one shift meets that
 * at another while neither is kept. */
#include "probe_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dev/memory.h"
#include "model/walk.h"
#include "tally.h"

/* All that a run over texts of T tokens holds. */
typedef struct run {
    kd_ctx *ctx;
    kd_walk walk;
    const int64_t *shift;     /* [shifts] */
    int64_t shifts, bases, base[KD_PROBE_BASES];
    kd_plan *plan;            /* [shifts] the text's, moved; its tables are `positions` */
    int32_t *positions;       /* [shifts, 2 T] positions, then bases */
    float *x;                 /* [shifts, T, C] */
    float *q, *k;             /* [T, H, E], [T, G, E] of one shift */
    float *q0, *k0;           /* of shift 0 */
    kd_turned *turned;        /* [shifts] in `memory` */
    float *memory;
    double *anchor;           /* [shifts, H, T] */
    kd_drift drift;
    double *sums;             /* the drift's outputs */
    kd_tally tally[KD_PROBE_MODES];
    kd_progress *progress;
    int64_t *done;
} run;

static void run_close(run *r) {
    kd_walk_close(&r->walk);
    for (int m = 0; m < KD_PROBE_MODES; m++) kd_tally_free(&r->tally[m]);
    void *const all[] = {r->plan, r->positions, r->x, r->q, r->k, r->q0, r->k0, r->turned, r->memory, r->anchor, r->sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static kd_status place_turned(run *r, const kd_attn *a, bool anchors) {
    const kd_walk *w = &r->walk;
    int64_t W = kd_turned_width(a), queries = w->H * w->T * W, keys = w->G * kd_drift_groups(w->T) * W * KD_DRIFT_KEYS;
    KD_TRY(kd_new(&r->turned, r->shifts, sizeof *r->turned));
    KD_TRY(kd_new(&r->memory, r->shifts * (queries + keys), sizeof *r->memory));
    if (anchors) KD_TRY(kd_new(&r->anchor, r->shifts * w->H * w->T, sizeof *r->anchor));
    for (int64_t s = 0; s < r->shifts; s++) {
        float *at = r->memory + s * (queries + keys);
        r->turned[s] = (kd_turned){at, at + queries, anchors ? r->anchor + s * w->H * w->T : NULL};
    }
    return KD_OK;
}

static kd_status place_drift(run *r, const kd_attn *a) {
    const kd_walk *w = &r->walk;
    r->drift = (kd_drift){.turned = r->turned, .shifts = r->shifts, .base = r->base, .bases = r->bases, .H = w->H, .G = w->G,
                          .W = kd_turned_width(a), .scale = a->scale > 0 ? (double)a->scale : 1 / sqrt((double)w->E),
                          .eager = kd_rung_of(a)->eager};
    KD_TRY(kd_drift_sums(&r->sums, &r->drift, w->T));
    for (int m = 0; m < KD_PROBE_MODES; m++)
        KD_TRY(kd_tally_init(&r->tally[m], w->L, w->H, w->T, r->shifts, r->bases, r->base[1]));
    return KD_OK;
}

/* What is asked for is touched later: who waits for it should know now. */
static void warn_of_memory(const run *r, const kd_attn *a) {
    const kd_walk *w = &r->walk;
    int64_t pairs = r->bases * r->shifts, states = w->C + (w->H + w->G) * kd_turned_width(a);
    int64_t bytes = kd_walk_bytes(w) + r->shifts * w->T * states * (int64_t)sizeof(float) + (3 * w->H + 4) * pairs * w->T * (int64_t)sizeof(double);
    int64_t free = kd_memory_available();
    if (free > 0 && bytes > free)
        kd_warn("%.1f GiB of memory are needed, %.1f are free: fewer --shifts or a shorter --length need less", (double)bytes * 0x1p-30,
                (double)free * 0x1p-30);
}

static kd_status run_open(run *r, kd_ctx *ctx, const kd_probe_subject *s, int64_t T, const int64_t *shift, int64_t shifts, int64_t bases,
                          int64_t against, bool anchors) {
    int64_t furthest = 0;
    kd_status status;
    *r = (run){.ctx = ctx, .shift = shift, .shifts = shifts, .bases = bases};
    for (int64_t i = 0; i < shifts; i++) {
        if (shift[i] == against) r->base[1] = i;
        furthest = shift[i] > furthest ? shift[i] : furthest;
    }
    const kd_walk_options options = {T, furthest + T, s->frame, s->precision};
    if (options.positions > 1 << 24)
        return kd_fail(KD_ECONFIG, "probe: a shift of %lld and a text of %lld tokens: positions end at 2^24 = 16777216", (long long)furthest,
                       (long long)T);
    KD_GO(kd_walk_open(&r->walk, ctx, s->config, s->folder, s->seed, &options));
    const kd_walk *w = &r->walk;
    const kd_attn a = kd_walk_attn(w);
    KD_GO(kd_new(&r->plan, shifts, sizeof *r->plan));
    KD_GO(kd_new(&r->positions, shifts * 2 * T, sizeof *r->positions));
    KD_GO(kd_new(&r->x, shifts * T * w->C, sizeof *r->x));
    KD_GO(kd_new(&r->q, T * w->H * w->E, sizeof *r->q));
    KD_GO(kd_new(&r->k, T * w->G * w->E, sizeof *r->k));
    KD_GO(kd_new(&r->q0, T * w->H * w->E, sizeof *r->q0));
    KD_GO(kd_new(&r->k0, T * w->G * w->E, sizeof *r->k0));
    KD_GO(place_turned(r, &a, anchors));
    KD_GO(place_drift(r, &a));
    warn_of_memory(r, &a);
done:
    if (status) run_close(r);
    return status;
}

/* The text at each shift: everything moves, the anchor and what frame document subtracts among it. */
static void move(run *r, const kd_plan *text) {
    for (int64_t s = 0; s < r->shifts; s++) {
        kd_plan *plan = &r->plan[s];
        *plan = *text;
        plan->position = r->positions + s * 2 * text->T;
        plan->base = plan->position + text->T;
        for (int64_t t = 0; t < text->T; t++) plan->position[t] = (int32_t)(text->position[t] + r->shift[s]);
        for (int64_t n = 0; n < text->N; n++) plan->base[n] = (int32_t)(text->base[n] + r->shift[s]);
    }
}

static kd_status add_layer(run *r, kd_probe_mode mode, int64_t layer) {
    KD_TRY(kd_drift_run(r->ctx, &r->drift));
    kd_tally_add(&r->tally[mode], &r->drift, layer);
    return KD_OK;
}

static kd_status walk_layer(run *r, int64_t layer) {
    kd_walk *w = &r->walk;
    KD_TRY(kd_walk_load(w, layer));
    for (int64_t s = 0; s < r->shifts; s++) {
        float *x = r->x + s * w->T * w->C, *q = s ? r->q : r->q0, *k = s ? r->k : r->k0;
        KD_TRY(kd_walk_project(q, k, w, x, &r->plan[s]));
        const kd_attn a = kd_walk_attn(w);
        KD_TRY(kd_turn(r->ctx, &r->turned[s], &a, q, k));
        if (layer + 1 < w->L) KD_TRY(kd_walk_finish(x, w));
        kd_progress_set(r->progress, ++*r->done, "");
    }
    KD_TRY(add_layer(r, KD_PROPAGATED, layer));
    for (int64_t s = 0; s < r->shifts; s++) {
        kd_attn a = kd_walk_attn(w);
        a.plan = &r->plan[s];
        KD_TRY(kd_turn(r->ctx, &r->turned[s], &a, r->q0, r->k0));
    }
    return add_layer(r, KD_ISOLATED, layer);
}

static kd_status read_text(run *r, const kd_plan *text) {
    kd_walk *w = &r->walk;
    move(r, text);
    r->drift.plan = text;
    for (int m = 0; m < KD_PROBE_MODES; m++) kd_tally_clear(&r->tally[m], text);
    KD_TRY(kd_walk_embed(r->x, w, text->token));
    for (int64_t s = 1; s < r->shifts; s++) memcpy(r->x + s * w->T * w->C, r->x, (size_t)(w->T * w->C) * sizeof *r->x);
    for (int64_t l = 0; l < w->L; l++) KD_TRY(walk_layer(r, l));
    return KD_OK;
}

kd_status kd_probe_model(kd_probe_curve *c, kd_ctx *ctx, const kd_probe *p, const kd_probe_subject *subject, const kd_probe_texts *texts,
                         kd_progress *progress, int64_t *done) {
    const kd_probe_grid *g = &p->grid;
    const int64_t both[] = {g->shift[0], g->against};
    bool anchors = p->texts && texts->plan[0].anchors;
    double began = kd_now();
    run r;
    kd_status status;
    KD_TRY(run_open(&r, ctx, subject, g->T, g->shift, g->shifts, KD_PROBE_BASES, g->against, anchors));
    r.progress = progress, r.done = done;
    for (int64_t i = 0; i < p->texts; i++) {
        KD_GO(read_text(&r, &texts->plan[i]));
        for (int m = 0; m < KD_PROBE_MODES; m++) KD_GO(kd_tally_finish(c, m, p, i, &r.tally[m]));
    }
    if (texts->longer) {
        run_close(&r);
        KD_TRY(run_open(&r, ctx, subject, g->longest, both, 2, 1, g->against, anchors));
        r.progress = progress, r.done = done;
        for (int64_t i = 0; i < p->texts; i++) {
            KD_GO(read_text(&r, &texts->longer[i]));
            for (int m = 0; m < KD_PROBE_MODES; m++) kd_tally_lengths(&c->mode[m], p, i, &r.tally[m], g->T, g->longest);
        }
    }
    c->seconds = kd_now() - began;
done:
    run_close(&r);
    return status;
}

int64_t kd_probe_units(const kd_probe *p, const kd_config *config) {
    return p->texts * config->L * (p->grid.shifts + (p->grid.longest > p->grid.T ? 2 : 0));
}

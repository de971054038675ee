/* Measuring what a command line asks for: models, or dumps of other stacks, at the shifts, lengths and precisions of a preset. */
#include "probe_ask.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"
#include "probe/dump.h"
#include "probe/probe_run.h"

enum { NUMBERS = 64 };

/* What a command line without options means; "paper" is what figures 1 and 7 of arXiv 2411.13476 are of. */
typedef struct preset {
    const char *name;
    int64_t length, texts;
    const char *shifts, *lengths, *precisions;
    bool random;
} preset;

static const preset presets[] = {
    {"small", 1024, 8, "0,1,2,4,8,12,14,15,16,17,18,20,24,32,64,128,256,512,1K,2K,16K,128K", "64,128,256,512,1K",
     "bf16,bf16-store,f32-angle,exact", false},
    {"paper", 4096, 50, "0,2,4,6,8,10,12,14,15,16,17,18,20,22,50,100,200,500,1000,2000", "64,128,256,512,1K,2K,4K,8K",
     "bf16,bf16-store,f32-angle", true},
};
enum { PRESETS = sizeof presets / sizeof *presets };

/* What the options say, read. */
typedef struct asked {
    kd_precision precision[KD_PRECISIONS];
    int64_t precisions;
    kd_frame frame;
    kd_probe_limits limits;
} asked;

/* ---- reading options --------------------------------------------------------------------------------------------- */

static kd_status use_preset(kd_probe_ask *o) {
    const preset *p = NULL;
    const char *name = o->preset ? o->preset : presets[0].name;
    for (int i = 0; i < PRESETS; i++)
        if (!strcmp(name, presets[i].name)) p = &presets[i];
    if (!p) return kd_fail(KD_ECONFIG, "--preset %s: it is small or paper", name);
    if (!o->length) o->length = p->length;
    if (!o->shifts) o->shifts = p->shifts;
    if (!o->lengths) o->lengths = p->lengths;
    if (!o->precisions) o->precisions = p->precisions;
    o->random |= p->random;
    o->source.texts_most = o->source.texts ? o->source.texts : p->texts;
    if (!o->source.texts) o->source.texts = o->preset ? p->texts : 1;  /* a preset by name is meant; else what there is will do */
    return KD_OK;
}

static kd_status read_precisions(asked *a, const char *text) {
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ",");
        kd_precision p = 0;
        while (p < KD_PRECISIONS && (strlen(kd_precision_name(p)) != size || strncmp(kd_precision_name(p), at, size))) p++;
        if (p == KD_PRECISIONS || a->precisions == KD_PRECISIONS)
            return kd_fail(KD_ECONFIG, "--precisions %s: some of exact, f32-angle, split, f16-store, bf16-store, bf16, bf16-eager", text);
        a->precision[a->precisions++] = p;
        at += size;
        if (!*at) return KD_OK;
    }
}

static kd_status read_limit(double *limit, const char *option, const char *text) {
    char *end;
    *limit = INFINITY;
    if (!text) return KD_OK;
    *limit = kd_number_parse(text, &end);
    return *end || end == text || !(*limit >= 0) ? kd_fail(KD_ECONFIG, "%s %s: a number from 0", option, text) : KD_OK;
}

static kd_status check(asked *a, kd_probe_ask *o) {
    KD_TRY(use_preset(o));
    KD_TRY(read_precisions(a, o->precisions));
    KD_TRY(read_limit(&a->limits.d, "--max-d", o->most_d));
    KD_TRY(read_limit(&a->limits.logit, "--max-logit", o->most_logit));
    a->frame = !strcmp(o->frame, "document") ? KD_FRAME_DOCUMENT : KD_FRAME_WINDOW;
    if (strcmp(o->frame, "document") && strcmp(o->frame, "window"))
        return kd_fail(KD_ECONFIG, "--frame %s: it is window or document", o->frame);
    if (!o->model.count == !o->dump.count)
        return kd_fail(KD_ECONFIG, "--model or --dump is needed%s", o->model.count ? ", not both" : "");
    if (o->source.pack && o->source.text.count) return kd_fail(KD_ECONFIG, "--text or --pack, not both");
    if (o->source.mask && !o->source.pack) return kd_fail(KD_ECONFIG, "--mask is of a pack's windows: a text has full attention");
    if (o->length < 2 || o->length > 1 << 20) return kd_fail(KD_ECONFIG, "--length %lld: 2 to 1M tokens", (long long)o->length);
    if (o->source.texts < 0 || o->source.texts_most < 1 || o->source.texts_most > 100000)
        return kd_fail(KD_ECONFIG, "--texts %lld: 1 to 100000", (long long)o->source.texts);
    return KD_OK;
}

/* ---- the grid ------------------------------------------------------------------------------------------------------ */

static int ascending(const void *x, const void *y) {
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

static int64_t sort_distinct(int64_t *x, int64_t count) {
    int64_t kept = 0;
    qsort(x, (size_t)count, sizeof *x, ascending);
    for (int64_t i = 0; i < count; i++)
        if (!kept || x[i] != x[kept - 1]) x[kept++] = x[i];
    return kept;
}

/* Lengths beyond --length are read on, unless they are a preset's and nobody asked for them. */
static kd_status read_lengths(kd_probe_grid *g, const kd_probe_ask *o) {
    KD_TRY(kd_options_integers(g->length, NUMBERS, &g->lengths, NULL, "--lengths", o->lengths));
    bool default_ones = o->lengths == presets[0].lengths;
    int64_t kept = 0;
    g->lengths = sort_distinct(g->length, g->lengths);
    for (int64_t i = 0; i < g->lengths; i++) {
        if (g->length[i] < 1 || g->length[i] > 1 << 20)
            return kd_fail(KD_ECONFIG, "--lengths %lld: 1 to 1M tokens", (long long)g->length[i]);
        if (!default_ones || g->length[i] <= g->T) g->length[kept++] = g->length[i];
    }
    g->lengths = kept;
    g->longest = kept && g->length[kept - 1] > g->T ? g->length[kept - 1] : g->T;
    return KD_OK;
}

static kd_status check_shift(int64_t shift, int64_t T, const char *option) {
    if (shift >= 0 && shift <= (1 << 24) - T) return KD_OK;
    return kd_fail(KD_ECONFIG, "%s %lld: 0 to 2^24 less the %lld tokens of a text, %lld", option, (long long)shift, (long long)T,
                   (long long)((1 << 24) - T));
}

static kd_status make_grid(kd_probe_grid *g, const kd_probe_ask *o) {
    *g = (kd_probe_grid){.T = o->length, .against = o->against};
    KD_TRY(kd_new(&g->shift, NUMBERS + 2, sizeof *g->shift));
    KD_TRY(kd_new(&g->length, NUMBERS, sizeof *g->length));
    KD_TRY(read_lengths(g, o));
    KD_TRY(kd_options_integers(g->shift, NUMBERS, &g->shifts, NULL, "--shifts", o->shifts));
    for (int64_t i = 0; i < g->shifts; i++) KD_TRY(check_shift(g->shift[i], g->longest, "--shifts"));
    KD_TRY(check_shift(g->against, g->longest, "--against"));
    if (!g->against) return kd_fail(KD_ECONFIG, "--against 0: the shift 0 is there anyway");
    g->shift[g->shifts++] = 0;
    g->shift[g->shifts++] = g->against;
    g->shifts = sort_distinct(g->shift, g->shifts);
    return KD_OK;
}

/* ---- models -------------------------------------------------------------------------------------------------------- */

/* The last part of a folder's path, two of a checkpoint's; "random" before it. */
static kd_status name_of(char **out, const char *folder, bool random) {
    size_t end = strlen(folder), begin;
    while (end > 1 && folder[end - 1] == '/') end--;
    for (begin = end; begin > 0 && folder[begin - 1] != '/'; begin--) {}
    if (!strncmp(folder + begin, "step-", 5) && begin > 1)
        for (begin--; begin > 0 && folder[begin - 1] != '/'; begin--) {}
    int size = (int)(end - begin);
    char text[512];
    snprintf(text, sizeof text, "%s%.*s", random ? "random " : "", size, folder + begin);
    *out = strdup(text);
    return *out ? KD_OK : kd_fail(KD_ENOMEM, "out of memory");
}

typedef struct models { kd_config config[64]; int64_t opened; } models;

static kd_status probe_one(kd_probe *p, const kd_probe_ask *o, const asked *a, kd_ctx *ctx, const kd_probe_texts *texts, const kd_config *config,
                           const char *folder, bool random, kd_progress *progress, int64_t *done) {
    for (int64_t i = 0; i < a->precisions; i++) {
        kd_probe_curve *c = &p->curve[p->curves++];
        *c = (kd_probe_curve){.precision = kd_precision_name(a->precision[i]), .random = random, .L = config->L, .H = config->H, .E = config->E};
        const kd_probe_subject subject = {config, random ? NULL : folder, o->source.seed, a->precision[i], a->frame};
        KD_TRY(name_of(&c->model, folder, random));
        KD_TRY(kd_probe_curve_init(c, p, KD_PROBE_MODES));
        kd_status status = kd_probe_model(c, ctx, p, &subject, texts, progress, done);
        if (status) return status == KD_EARG ? kd_fail_prefix(status, "%s", folder) : status;
    }
    return KD_OK;
}

static kd_status probe_models(kd_probe *p, const kd_probe_ask *o, const asked *a, kd_ctx *ctx, const models *m, const kd_probe_plans *plans) {
    const kd_probe_texts texts = {plans->plan, plans->is_longer ? plans->longer : NULL};
    kd_progress progress;
    int64_t total = 0, done = 0;
    for (int64_t i = 0; i < o->model.count; i++) total += (1 + o->random) * a->precisions * kd_probe_units(p, &m->config[i]);
    KD_TRY(kd_new(&p->curve, (1 + o->random) * o->model.count * a->precisions, sizeof *p->curve));
    kd_progress_open(&progress, total);
    kd_progress_parts(&progress);
    kd_status status = KD_OK;
    for (int64_t i = 0; i < o->model.count; i++)
        for (int random = 0; random <= o->random; random++)
            KD_GO(probe_one(p, o, a, ctx, &texts, &m->config[i], o->model.text[i], random, &progress, &done));
done:
    kd_progress_close(&progress);
    return status;
}

/* Every token sees all that precedes it here. */
static kd_status open_configs(models *m, const kd_probe_ask *o, const kd_probe_grid *g) {
    for (; m->opened < o->model.count; m->opened++) {
        kd_config *config = &m->config[m->opened];
        const char *folder = o->model.text[m->opened];
        KD_TRY(kd_config_open(config, folder));
        if (!config->sliding_window || config->sliding_window >= g->longest) continue;
        kd_status status = kd_fail(KD_ECONFIG, "%s lets a token see %lld tokens, a text has %lld (--length, --lengths)", folder,
                                   (long long)config->sliding_window, (long long)g->longest);
        kd_config_close(config);
        return status;
    }
    return KD_OK;
}

static kd_status run_models(kd_probe *p, const kd_probe_ask *o, const asked *a, kd_ctx *ctx) {
    models m = {.opened = 0};
    kd_probe_plans plans = {0};
    kd_status status;
    KD_GO(make_grid(&p->grid, o));
    KD_GO(open_configs(&m, o, &p->grid));
    KD_GO(kd_probe_plans_open(&plans, &o->source, &m.config[0], o->model.text[0], p->grid.T, p->grid.longest));
    p->texts = plans.count;
    p->mask = plans.mask;
    p->source = plans.source;
    KD_GO(probe_models(p, o, a, ctx, &m, &plans));
    KD_GO(o->tell(o->arg, p, &a->limits));
done:
    while (m.opened--) kd_config_close(&m.config[m.opened]);
    kd_probe_plans_close(&plans);
    return status;
}

/* ---- dumps --------------------------------------------------------------------------------------------------------- */

static kd_status grid_of_dump(kd_probe_grid *g, const kd_probe_ask *o, const kd_dump *d) {
    KD_TRY(kd_new(&g->shift, d->shifts, sizeof *g->shift));
    KD_TRY(kd_new(&g->length, NUMBERS, sizeof *g->length));
    g->T = d->T;
    g->shifts = d->shifts;
    memcpy(g->shift, d->shift, (size_t)d->shifts * sizeof *g->shift);
    g->against = o->against;
    if (kd_probe_shift(g, g->against) < 1) g->against = g->shift[g->shifts - 1];
    KD_TRY(read_lengths(g, o));
    while (g->lengths && g->length[g->lengths - 1] > g->T) g->lengths--;
    g->longest = g->T;
    return KD_OK;
}

static kd_status check_same(const kd_probe *p, const kd_probe_curve *c, const kd_dump *d) {
    bool same = d->L == c->L && d->H == c->H && d->E == c->E && d->T == p->grid.T && d->shifts == p->grid.shifts;
    for (int64_t i = 0; same && i < d->shifts; i++) same = d->shift[i] == p->grid.shift[i];
    return same ? KD_OK : kd_fail(KD_EFORMAT, "%s: other layers, heads, tokens or shifts than the first dump's: texts of one curve are alike", d->path);
}

static kd_status begin_curve(kd_probe *p, const kd_probe_ask *o, const kd_dump *d, char precision[64]) {
    kd_probe_curve *c = p->curve;
    *c = (kd_probe_curve){.precision = precision, .L = d->L, .H = d->H, .E = d->E};
    snprintf(precision, 64, "%s", *d->precision ? d->precision : "as stored");
    KD_TRY(name_of(&c->model, *d->model ? d->model : d->path, false));
    KD_TRY(grid_of_dump(&p->grid, o, d));
    return kd_probe_curve_init(c, p, 1);
}

static kd_status add_dump(kd_probe *p, const kd_probe_ask *o, kd_ctx *ctx, char precision[64], int64_t text) {
    kd_dump d;
    kd_status status;
    KD_TRY(kd_dump_open(&d, o->dump.text[text]));
    if (text == 0) KD_GO(begin_curve(p, o, &d, precision));
    KD_GO(check_same(p, p->curve, &d));
    KD_GO(kd_probe_dump(p->curve, ctx, p, &d, text));
done:
    kd_dump_close(&d);
    return status;
}

/* All dumps are texts of one curve. */
static kd_status run_dumps(kd_probe *p, const kd_probe_ask *o, const asked *a, kd_ctx *ctx) {
    char precision[64];
    KD_TRY(kd_new(&p->curve, 1, sizeof *p->curve));
    p->curves = 1;
    p->texts = o->dump.count;
    p->mask = "full";
    p->source = "a dump of queries and keys";
    for (int64_t i = 0; i < p->texts; i++) KD_TRY(add_dump(p, o, ctx, precision, i));
    return o->tell(o->arg, p, &a->limits);
}

/* ---- both ----------------------------------------------------------------------------------------------------------- */

static kd_status measure(const kd_probe_ask *o, const asked *a) {
    kd_probe p = {.frame = o->frame};
    kd_ctx *ctx;
    KD_TRY(kd_ctx_open(&ctx, o->threads));
    kd_status status = o->dump.count ? run_dumps(&p, o, a, ctx) : run_models(&p, o, a, ctx);
    kd_probe_free(&p);
    kd_ctx_close(ctx);
    return status;
}

kd_status kd_probe_ask_run(kd_probe_ask *o) {
    asked a = {.precisions = 0};
    kd_status status = check(&a, o);
    if (!status && o->before) status = o->before(o->arg);
    if (!status) status = measure(o, &a);
    return status == KD_ECONFIG ? kd_fail_prefix(status, "%s", o->command) : status;
}

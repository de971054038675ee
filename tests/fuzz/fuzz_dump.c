/* A dump of queries and keys: one that is taken can be measured, and what is measured is what attention can do. */
#include <math.h>

#include "format/jsonl.h"
#include "fuzz.h"
#include "probe/dump.h"

enum { LARGEST = 1 << 18 };  /* products of a query and a key that are worth the time */

/* As `kedge probe --dump` makes it: against 16 where that is among the shifts. */
static void make_grid(kd_probe_grid *g, const kd_dump *d) {
    *g = (kd_probe_grid){.T = d->T, .shifts = d->shifts, .lengths = 1, .longest = d->T};
    g->shift = malloc((size_t)d->shifts * sizeof *g->shift);
    g->length = malloc(sizeof *g->length);
    FUZZ_ASSERT(g->shift && g->length);
    memcpy(g->shift, d->shift, (size_t)d->shifts * sizeof *g->shift);
    g->length[0] = d->T;
    g->against = kd_probe_shift(g, 16) < 1 ? d->shift[d->shifts - 1] : 16;
}

/* Changes of attention over a key sum up to 2 at most a query, and rounding; NaN where logits left double. */
static void check_numbers(const kd_probe *p, const kd_dump *d) {
    const kd_probe_numbers *x = p->curve->mode;
    for (int64_t pair = 0; pair < kd_probe_pairs(&p->grid); pair++) {
        FUZZ_ASSERT(!(x->rows[pair] < 0) && !(x->rows[pair] > 2 + 1e-9) && !(x->d_signed[pair] > x->d[pair] * (1 + 1e-9) + 1e-300));
        bool same = p->grid.shift[pair % d->shifts] == (pair < d->shifts ? p->grid.shift[0] : p->grid.against);
        FUZZ_ASSERT(!same || !(x->d[pair] > 0));
    }
    for (int64_t i = 0; i < d->L * d->H; i++) FUZZ_ASSERT(!(p->curve->sink[i] < 0) && !(p->curve->sink[i] > 1 + 1e-9));
}

static void measure(kd_ctx *ctx, const kd_dump *d) {
    kd_probe p = {.texts = 1, .curves = 1, .curve = calloc(1, sizeof *p.curve)};
    FUZZ_ASSERT(p.curve);
    make_grid(&p.grid, d);
    *p.curve = (kd_probe_curve){.L = d->L, .H = d->H, .E = d->E};
    FUZZ_ASSERT(!kd_probe_curve_init(p.curve, &p, 1));
    kd_status status = kd_probe_dump(p.curve, ctx, &p, d, 0);
    FUZZ_ASSERT(!status || status == KD_ENUMERIC);
    if (status) fuzz_refused("x.safetensors: tensor layers.");
    else check_numbers(&p, d);
    kd_probe_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static kd_ctx *ctx;
    kd_dump d;
    if (!ctx) FUZZ_ASSERT(!kd_ctx_open(&ctx, 1));
    kd_status status = kd_dump_open(&d, fuzz_file("x.safetensors", data, size));
    if (status) {
        FUZZ_ASSERT(status == KD_EFORMAT || status == KD_ENOMEM);
        FUZZ_ASSERT(!d.tensors.tensor && !d.tensors.file && !d.tensors.metadata && !d.shift && !d.path);
        fuzz_refused("x.safetensors");
        return 0;
    }
    FUZZ_ASSERT(d.shifts >= 2 && d.shift[0] >= 0 && d.scale > 0 && d.H % d.G == 0 && d.tensors.count == 2 * d.L * d.shifts);
    for (const char *c = d.model; *c; c++) FUZZ_ASSERT((unsigned char)*c >= 0x20 && *c != 0x7f);
    FUZZ_ASSERT(kd_utf8_invalid(d.model, (int64_t)strlen(d.model)) < 0);
    for (int64_t s = 1; s < d.shifts; s++) FUZZ_ASSERT(d.shift[s - 1] < d.shift[s]);
    /* A file is 4 KiB here: none of these products is large. */
    if (d.L * d.shifts * d.H * d.T * d.T * d.E <= LARGEST) measure(ctx, &d);
    kd_dump_close(&d);
    return 0;
}

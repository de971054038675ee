/* What was measured: memory, and numbers of a text out of sums over its layers. */
#include "probe.h"

#include <stdlib.h>

#include "base/arena.h"
#include "tally.h"

static kd_status numbers_init(kd_probe_numbers *x, const kd_probe_curve *c, const kd_probe *p) {
    int64_t pairs = kd_probe_pairs(&p->grid);
    double **const each_pair[] = {&x->d, &x->d_signed, &x->rows, &x->most, &x->first, &x->first_other};
    for (size_t i = 0; i < sizeof each_pair / sizeof *each_pair; i++) KD_TRY(kd_new(each_pair[i], p->texts * pairs, sizeof(double)));
    KD_TRY(kd_new(&x->logit, p->texts * p->grid.lengths, sizeof(double)));
    KD_TRY(kd_new(&x->key, p->grid.T, sizeof(double)));
    return kd_new(&x->head, c->L * c->H, sizeof(double));
}

static void numbers_free(kd_probe_numbers *x) {
    double *const all[] = {x->d, x->d_signed, x->rows, x->most, x->first, x->first_other, x->logit, x->key, x->head};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

kd_status kd_probe_curve_init(kd_probe_curve *curve, const kd_probe *probe, int64_t modes) {
    for (int64_t m = 0; m < modes; m++) KD_TRY(numbers_init(&curve->mode[m], curve, probe));
    return kd_new(&curve->sink, curve->L * curve->H, sizeof(double));
}

void kd_probe_free(kd_probe *p) {
    for (int64_t i = 0; i < p->curves && p->curve; i++) {
        for (int m = 0; m < KD_PROBE_MODES; m++) numbers_free(&p->curve[i].mode[m]);
        free(p->curve[i].sink);
        free(p->curve[i].model);
    }
    free(p->curve);
    free(p->grid.shift);
    free(p->grid.length);
    *p = (kd_probe){0};
}

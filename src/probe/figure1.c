/* Figure 1: attention moves with its positions (left), the first key's most of all (middle), and more with length (right). */
#include <math.h>
#include <stdio.h>

#include "probe_write.h"

static bool measured(const kd_probe_curve *c, kd_probe_mode mode) { return c->mode[mode].d; }

/* ---- left: D between a shift and `against` ----------------------------------------------------------------- */

/* Of both modes, whose pictures stand beside each other. */
static void span(kd_axis *y, const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        for (int64_t k = 0; k < KD_PROBE_MODES * p->grid.shifts; k++) {
            int64_t mode = k / p->grid.shifts, s = k % p->grid.shifts;
            double d = kd_over_texts(p, p->curve[i].mode[mode].d, kd_probe_pairs(&p->grid), p->grid.shifts + s).mean;
            if (!(d > 0)) continue;
            y->min = y->max > 0 ? fmin(y->min, d) : d;
            y->max = fmax(y->max, d);
        }
}

kd_status kd_figure1_left(kd_text *text, const kd_probe *p, kd_probe_mode mode, bool alone) {
    const kd_probe_grid *g = &p->grid;
    kd_figure f = {0};
    kd_status status;
    if (g->shifts < 3) return KD_OK;  /* one of them is `against`, where D is 0 */
    KD_GO(kd_figure_open(&f, p->curves, g->shifts));
    KD_GO(kd_figure_shifts(&f, g, "d1, the shift of all positions"));
    f.chart.y = (kd_axis){.label = "D, mean over texts", .scale = KD_LOG_SCALE};
    span(&f.chart.y, p);
    snprintf(f.title, sizeof f.title, "D(d1, %lld), %s", (long long)g->against,
             mode == KD_ISOLATED ? "rotation alone (isolated)" : "the whole network (propagated)");
    for (int64_t i = 0; i < p->curves; i++) {
        char name[KD_CURVE_NAME];
        if (!measured(&p->curve[i], mode)) continue;
        kd_curve_name(name, p, &p->curve[i]);
        kd_figure_line(&f, name, KD_SERIES_POINTS, i);
        for (int64_t s = 0; s < g->shifts; s++)
            kd_figure_point(&f, (double)s, kd_over_texts(p, p->curve[i].mode[mode].d, kd_probe_pairs(g), g->shifts + s).mean);
    }
    KD_GO(kd_figure_draw(text, &f, alone));
done:
    kd_figure_close(&f);
    return status;
}

kd_status kd_figure1_left_csv(kd_text *t, const kd_probe *p) {
    const kd_probe_grid *g = &p->grid;
    for (int64_t i = 0; i < p->curves; i++)
        for (int m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t s = 0; s < g->shifts && measured(&p->curve[i], m); s++) {
                kd_spread d = kd_over_texts(p, p->curve[i].mode[m].d, kd_probe_pairs(g), g->shifts + s);
                kd_csv_line(t, "d1,d2,mean,sd,min,max,texts", &p->curve[i], m);
                kd_csv_whole(t, g->shift[s]);
                kd_csv_whole(t, g->against);
                kd_csv_number(t, d.mean);
                kd_csv_number(t, d.sd);
                kd_csv_number(t, d.min);
                kd_csv_number(t, d.max);
                kd_csv_whole(t, d.count);
                kd_csv_end(t);
            }
    return kd_text_status(t);
}

/* ---- middle: key by key ------------------------------------------------------------------------------------ */

/* In the picture of a long text a point is the largest D_j of a run of keys a 32nd as long as what lies before it; keys
 * below 64 are all there. A mean would draw the others smaller than they are, and the first key larger beside them. */
enum { EVERY_KEY = 1024, PARTS = 32 };

bool kd_figure1_is_binned(const kd_probe *p) { return p->grid.T > EVERY_KEY; }

/* Keys that stand for one point, from the j-th on. */
static int64_t bin_at(const kd_probe *p, int64_t j) {
    int64_t size = kd_figure1_is_binned(p) && j >= 2 * PARTS ? j / PARTS : 1;
    return j + size < p->grid.T ? size : p->grid.T - j;
}

kd_status kd_figure1_middle(kd_text *text, const kd_probe *p, bool alone) {
    const kd_probe_grid *g = &p->grid;
    kd_probe_mode mode = kd_probe_main_mode(p);
    int64_t points = 0;
    kd_figure f = {0};
    kd_status status;
    if (g->T < 2) return KD_OK;
    for (int64_t j = 0; j < g->T; j += bin_at(p, j)) points++;
    KD_GO(kd_figure_open(&f, p->curves, points));
    f.chart.x = (kd_axis){.label = "key, counted from 1", .scale = KD_LOG2_SCALE};
    f.chart.y = (kd_axis){.label = "D_j, mean over texts", .scale = KD_LOG_SCALE};
    snprintf(f.title, sizeof f.title, "D_j(%lld, %lld), key by key", (long long)g->shift[0], (long long)g->against);
    for (int64_t i = 0; i < p->curves; i++) {
        const double *key = p->curve[i].mode[mode].key;
        char name[KD_CURVE_NAME];
        if (!key) continue;
        kd_curve_name(name, p, &p->curve[i]);
        kd_figure_line(&f, name, KD_SERIES_LINE, i);
        for (int64_t j = 0, size; j < g->T; j += size) {
            int64_t most = j;
            size = bin_at(p, j);
            for (int64_t k = j + 1; k < j + size; k++)
                if (key[k] > key[most]) most = k;
            kd_figure_point(&f, (double)most + 1, key[most]);
        }
    }
    KD_GO(kd_figure_draw(text, &f, alone));
done:
    kd_figure_close(&f);
    return status;
}

kd_status kd_figure1_middle_csv(kd_text *t, const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        for (int m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t j = 0; j < p->grid.T && p->curve[i].mode[m].key; j++) {
                kd_csv_line(t, "key,d", &p->curve[i], m);
                kd_csv_whole(t, j);
                kd_csv_number(t, p->curve[i].mode[m].key[j]);
                kd_csv_end(t);
            }
    return kd_text_status(t);
}

/* ---- right: the first key's logits by length --------------------------------------------------------------- */

kd_status kd_figure1_right(kd_text *text, const kd_probe *p, bool alone) {
    const kd_probe_grid *g = &p->grid;
    kd_probe_mode mode = kd_probe_main_mode(p);
    kd_figure f = {0};
    kd_status status;
    if (g->lengths < 2) return KD_OK;
    KD_GO(kd_figure_open(&f, p->curves, g->lengths));
    f.chart.x = (kd_axis){.label = "T, tokens", .scale = KD_LOG2_SCALE};
    f.chart.y = (kd_axis){.label = "D_logit of the first key, mean over texts", .scale = KD_LOG_SCALE};
    snprintf(f.title, sizeof f.title, "D_logit(%lld, %lld) by length", (long long)g->shift[0], (long long)g->against);
    for (int64_t i = 0; i < p->curves; i++) {
        const double *logit = p->curve[i].mode[mode].logit;
        char name[KD_CURVE_NAME];
        if (!logit) continue;
        kd_curve_name(name, p, &p->curve[i]);
        kd_figure_line(&f, name, KD_SERIES_POINTS, i);
        for (int64_t k = 0; k < g->lengths; k++)
            kd_figure_point(&f, (double)g->length[k], kd_over_texts(p, logit, g->lengths, k).mean);
    }
    KD_GO(kd_figure_draw(text, &f, alone));
done:
    kd_figure_close(&f);
    return status;
}

kd_status kd_figure1_right_csv(kd_text *t, const kd_probe *p) {
    const kd_probe_grid *g = &p->grid;
    for (int64_t i = 0; i < p->curves; i++)
        for (int m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t k = 0; k < g->lengths && p->curve[i].mode[m].logit; k++) {
                kd_spread d = kd_over_texts(p, p->curve[i].mode[m].logit, g->lengths, k);
                kd_csv_line(t, "T,mean,sd,texts", &p->curve[i], m);
                kd_csv_whole(t, g->length[k]);
                kd_csv_number(t, d.mean);
                kd_csv_number(t, d.sd);
                kd_csv_whole(t, d.count);
                kd_csv_end(t);
            }
    return kd_text_status(t);
}

/* Figure 7: the same of single texts, against `against` (base 1, left) and against the first shift (base 0, right). */
#include <stdio.h>

#include "probe_write.h"

enum { MOST_TEXTS = 5 };

/* Linear from 0: texts of one curve are near each other, and the 0 at d1 = d2 is to be seen. */
kd_status kd_figure7(kd_text *text, const kd_probe *p, int base, bool alone) {
    const kd_probe_grid *g = &p->grid;
    const kd_probe_curve *c = kd_probe_shown(p);
    kd_probe_mode mode = kd_probe_main_mode(p);
    int64_t texts = p->texts < MOST_TEXTS ? p->texts : MOST_TEXTS;
    char name[KD_CURVE_NAME], d[24];
    kd_figure f = {0};
    kd_status status;
    if (!c || !c->mode[mode].d || g->shifts < 3) return KD_OK;
    KD_GO(kd_figure_open(&f, texts, g->shifts));
    KD_GO(kd_figure_shifts(&f, g, base ? "d1, the shift of all positions" : "d2, the shift of all positions"));
    f.chart.y = (kd_axis){.label = "D", .max = 1e-9};
    kd_curve_name(name, p, c);
    snprintf(d, sizeof d, "%lld", (long long)(base ? g->against : g->shift[0]));
    snprintf(f.title, sizeof f.title, base ? "D(d1, %s) text by text, %s" : "D(%s, d2) text by text, %s", d, name);
    for (int64_t i = 0; i < texts; i++) {
        snprintf(name, sizeof name, "text %lld", (long long)i);
        kd_figure_line(&f, name, KD_SERIES_POINTS, i);
        for (int64_t s = 0; s < g->shifts; s++)
            kd_figure_point(&f, (double)s, c->mode[mode].d[i * kd_probe_pairs(g) + base * g->shifts + s]);
    }
    KD_GO(kd_figure_draw(text, &f, alone));
done:
    kd_figure_close(&f);
    return status;
}

static void put_text(kd_text *t, const kd_probe *p, const kd_probe_curve *c, kd_probe_mode mode, int base, int64_t text) {
    static const char head[] =
        "text,d1,d2,d,d_signed,rows,first_over_median,first_over_largest_other,largest_logit_change";
    const kd_probe_grid *g = &p->grid;
    const kd_probe_numbers *n = &c->mode[mode];
    for (int64_t s = 0; s < g->shifts; s++) {
        int64_t at = text * kd_probe_pairs(g) + base * g->shifts + s;
        kd_csv_line(t, head, c, mode);
        kd_csv_whole(t, text);
        kd_csv_whole(t, base ? g->shift[s] : g->shift[0]);
        kd_csv_whole(t, base ? g->against : g->shift[s]);
        kd_csv_number(t, n->d[at]);
        kd_csv_number(t, n->d_signed[at]);
        kd_csv_number(t, n->rows[at]);
        kd_csv_number(t, n->first[at]);
        kd_csv_number(t, n->first_other[at]);
        kd_csv_number(t, n->most[at]);
        kd_csv_end(t);
    }
}

kd_status kd_figure7_csv(kd_text *t, const kd_probe *p, int base) {
    for (int64_t i = 0; i < p->curves; i++)
        for (int m = 0; m < KD_PROBE_MODES; m++)
            for (int64_t text = 0; text < p->texts && p->curve[i].mode[m].d; text++)
                put_text(t, p, &p->curve[i], (kd_probe_mode)m, base, text);
    return kd_text_status(t);
}

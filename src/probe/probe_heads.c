/* Layer by layer and head by head: how far attention moves, and what the first key gets of it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "probe_write.h"

kd_status kd_heads_csv(kd_text *t, const kd_probe *p) {
    for (int64_t i = 0; i < p->curves; i++)
        for (int m = 0; m < KD_PROBE_MODES; m++) {
            const kd_probe_curve *c = &p->curve[i];
            for (int64_t h = 0; h < c->L * c->H && c->mode[m].head; h++) {
                kd_csv_line(t, "layer,head,d,sink", c, (kd_probe_mode)m);
                kd_csv_whole(t, h / c->H);
                kd_csv_whole(t, h % c->H);
                kd_csv_number(t, c->mode[m].head[h]);
                kd_csv_number(t, c->sink[h]);
                kd_csv_end(t);
            }
        }
    return kd_text_status(t);
}

static kd_status draw(kd_text *text, const kd_probe_curve *c, const char *title, const double *value, const char *unit, bool alone) {
    const kd_heat_map map = {title, "layer", "head", NULL, NULL, value, c->L, c->H, unit};
    return alone ? kd_heat_map_draw(text, &map, true) : kd_page_heat_map(text, &map);
}

kd_status kd_heads_map(kd_text *text, const kd_probe *p, const kd_probe_curve *c, bool alone) {
    char name[KD_CURVE_NAME], title[160];
    kd_probe_mode mode = kd_probe_main_mode(p);
    if (!c || !c->mode[mode].head) return KD_OK;
    kd_curve_name(name, p, c);
    snprintf(title, sizeof title, "D(%lld, %lld) by head, %s", (long long)p->grid.shift[0], (long long)p->grid.against, name);
    return draw(text, c, title, c->mode[mode].head, NULL, alone);
}

kd_status kd_sink_map(kd_text *text, const kd_probe *p, const kd_probe_curve *c, bool alone) {
    char name[KD_CURVE_NAME], title[160];
    double *percent;
    if (!c || !c->sink) return KD_OK;
    KD_TRY(kd_new(&percent, c->L * c->H, sizeof *percent));
    for (int64_t h = 0; h < c->L * c->H; h++) percent[h] = 100 * c->sink[h];
    kd_curve_name(name, p, c);
    snprintf(title, sizeof title, "Attention on the first key, %s", name);
    kd_status status = draw(text, c, title, percent, "%", alone);
    free(percent);
    return status;
}
